//! The exchanges by name, and what each offers. The adapters themselves live elsewhere; a test of the executable holds
//! this table against them.

use dccd_model::{Channel, Trading};

/// One exchange as the configuration knows it.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// Its name.
    pub name: &'static str,
    /// The channels that can be collected live; `None` while this version collects nothing of the exchange live: stream
    /// jobs that name it are valid, warned about and not run.
    pub live: Option<&'static [Channel]>,
    /// Whether its past can be fetched; where not, history jobs that name it are valid, warned about and not run.
    pub history: bool,
    /// Whether orders can be sent.
    pub trading: Trading,
}

/// Trades, books, quotes, candles: the exchange's own, or built from its trades.
const ALL: Option<&[Channel]> = Some(&Channel::ALL);

/// Every exchange that may be named, in alphabetical order.
pub const EXCHANGES: &[Exchange] = &[
    Exchange { name: "binance", live: ALL, history: true, trading: Trading::NotYet },
    Exchange { name: "bitfinex", live: ALL, history: true, trading: Trading::NotYet },
    Exchange { name: "bybit", live: ALL, history: true, trading: Trading::NotYet },
    Exchange { name: "coinbase", live: ALL, history: true, trading: Trading::NotYet },
    Exchange { name: "deribit", live: ALL, history: true, trading: Trading::Never },
    Exchange { name: "gate", live: None, history: false, trading: Trading::NotYet },
    Exchange { name: "hyperliquid", live: None, history: false, trading: Trading::NotYet },
    Exchange { name: "kraken", live: ALL, history: true, trading: Trading::NotYet },
    Exchange { name: "kucoin", live: ALL, history: true, trading: Trading::Never },
    Exchange { name: "okx", live: ALL, history: true, trading: Trading::NotYet },
    Exchange { name: "polymarket", live: None, history: false, trading: Trading::NotYet },
];

/// Exchanges that are no more, and what there is to say to those who name them.
const CLOSED: &[(&str, &str)] =
    &[("bitmex", "BitMEX closed in September 2026: remove what names it; what is stored of it stays readable")];

/// Keys under an exchange that other programs want for trading, in small letters and without `_` and `-`.
const OF_TRADING: &[&str] = &[
    "apikey",
    "apisecret",
    "broker",
    "brokerd",
    "clientid",
    "clientsecret",
    "credentials",
    "key",
    "orders",
    "passphrase",
    "password",
    "privatekey",
    "secret",
    "secretkey",
    "trading",
    "uid",
    "walletaddress",
];

/// Whether who writes this key under an exchange wants to trade there.
#[must_use]
pub fn asks_for_trading(key: &str) -> bool {
    let plain: String = key.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect();
    OF_TRADING.contains(&plain.as_str())
}

/// What there is to say of an exchange of this name that is no more.
#[must_use]
pub fn closed(name: &str) -> Option<&'static str> {
    CLOSED.iter().find(|(closed, _)| name.eq_ignore_ascii_case(closed)).map(|(_, why)| *why)
}

/// The exchange of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Exchange> {
    EXCHANGES.iter().find(|exchange| exchange.name == name)
}
