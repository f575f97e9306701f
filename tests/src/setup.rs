//! The configuration of a process tree.

use std::path::{Path, PathBuf};

use crate::Exchange;

/// What a configuration says. Everything but the addresses has a default.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The exchange.
    pub name: String,
    /// Base address of the REST side.
    pub rest_url: String,
    /// Base address of the WebSocket side.
    pub ws_url: String,
    /// Symbols.
    pub pairs: Vec<String>,
    /// Channels of each.
    pub channels: Vec<String>,
    /// Seconds between two Parquet parts.
    pub time_step: u32,
    /// Order-book levels a side to ask for; what a snapshot costs of the exchange's request weight goes by it.
    pub depth: u32,
    /// Another store than the one in the place.
    pub data_path: Option<PathBuf>,
    /// More keys of the exchange: `trade_stream: aggregated`.
    pub exchange: String,
    /// More sections.
    pub more: String,
}

impl Setup {
    /// All symbols of the exchange, all channels, parts every second, restarts without a wait.
    #[must_use]
    pub fn new(exchange: &Exchange) -> Self {
        let (name, pairs) = (exchange.name().to_owned(), exchange.symbols().to_vec());
        Self { name, pairs, ..Self::at(exchange.rest_url(), exchange.ws_url()) }
    }

    /// A simulated Binance with both symbols of [`Exchange::busy`] at these addresses.
    #[must_use]
    pub fn at(rest_url: String, ws_url: String) -> Self {
        Self {
            name: "binance".to_owned(),
            rest_url,
            ws_url,
            pairs: vec!["BTC/USDT".to_owned(), "ETH/USDT".to_owned()],
            channels: ["trades", "book", "quotes"].map(str::to_owned).to_vec(),
            time_step: 1,
            depth: 1_000,
            data_path: None,
            exchange: String::new(),
            more: "daemon: {orphan_grace: 60, restart: {max_restarts: 1000, window: 600, base_delay: 0, max_delay: 1}}\n"
                .to_owned(),
        }
    }

    /// As YAML.
    #[must_use]
    pub fn text(&self, data_path: &Path) -> String {
        let Self { name, rest_url, ws_url, time_step, depth, exchange, more, .. } = self;
        let exchange = if exchange.is_empty() { String::new() } else { format!(", {exchange}") };
        format!(
            "settings: {{data_path: '{}', timezone: UTC}}\nstream_jobs:\n  - {{exchange: {name}, pairs: [{}], channels: [{}], \
             time_step: {time_step}, depth: {depth}}}\nexchanges:\n  {name}: {{rest_url: '{rest_url}', ws_url: '{ws_url}'{exchange}}}\n{more}",
            data_path.display(),
            self.pairs.join(", "),
            self.channels.join(", "),
        )
    }
}
