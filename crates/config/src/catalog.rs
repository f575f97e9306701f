//! The exchanges by name, and what each offers. The adapters themselves live elsewhere; a test of the executable holds
//! this table against them.

use dccd_model::Channel;

/// One exchange as the configuration knows it.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// Its name.
    pub name: &'static str,
    /// The channels that can be collected live; `None` while this version doesn't collect the exchange at all: jobs that
    /// name it are valid, warned about and not run.
    pub live: Option<&'static [Channel]>,
}

/// Every exchange that may be named, in alphabetical order.
pub const EXCHANGES: &[Exchange] = &[
    Exchange { name: "binance", live: Some(&[Channel::Trades, Channel::Book, Channel::Quotes]) },
    Exchange { name: "bitfinex", live: None },
    Exchange { name: "bitmex", live: None },
    Exchange { name: "bybit", live: None },
    Exchange { name: "coinbase", live: None },
    Exchange { name: "deribit", live: None },
    Exchange { name: "gate", live: None },
    Exchange { name: "hyperliquid", live: None },
    Exchange { name: "kraken", live: None },
    Exchange { name: "kucoin", live: None },
    Exchange { name: "okx", live: None },
    Exchange { name: "polymarket", live: None },
];

/// The exchange of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Exchange> {
    EXCHANGES.iter().find(|exchange| exchange.name == name)
}
