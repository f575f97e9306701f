//! All exchanges at once, under one configuration.

use std::path::Path;

use crate::Exchange;

/// Each with two markets; and whether its trades have numbers that count.
pub const EXCHANGES: [(&str, [&str; 2], bool); 8] = [
    ("binance", ["BTC/USDT", "ETH/USDT"], true),
    ("bitfinex", ["BTC/USD", "BTC/USDT:USDT"], false),
    ("bybit", ["BTC/USDT", "BTC/USDT:USDT"], false),
    ("coinbase", ["BTC/USD", "ETH/USD"], true),
    ("deribit", ["BTC/USD:BTC", "BTC/USDC:USDC"], true),
    ("kraken", ["BTC/USD", "ETH/USD"], true),
    ("kucoin", ["BTC/USDT", "ETH/USDT"], false),
    ("okx", ["BTC/USDT", "BTC/USDT:USDT"], true),
];

/// A configuration that records these channels of all their markets. `more`: further sections.
#[must_use]
pub fn config_of(exchanges: &[Exchange], channels: &str, data_path: &Path, more: &str) -> String {
    let job = |exchange: &Exchange| {
        let (name, pairs) = (exchange.name(), exchange.symbols().join(", "));
        format!("  - {{exchange: {name}, pairs: [{pairs}], channels: [{channels}], time_step: 1, depth: 5000}}\n")
    };
    let addresses = |exchange: &Exchange| {
        format!("  {}: {{rest_url: '{}', ws_url: '{}'}}\n", exchange.name(), exchange.rest_url(), exchange.ws_url())
    };
    format!(
        "settings: {{data_path: '{}', timezone: UTC}}\nstream_jobs:\n{}exchanges:\n{}{more}",
        data_path.display(),
        exchanges.iter().map(job).collect::<String>(),
        exchanges.iter().map(addresses).collect::<String>(),
    )
}
