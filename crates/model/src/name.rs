//! Names of exchanges, channels and series, in the forms that configuration, CLI, files and rings use.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Span, Symbol};

/// An exchange's name: 1 to 32 lower-case letters, digits, `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExchangeName(String);

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not an exchange name.
    #[error("\"{text}\" is not an exchange name (lower-case letters, digits and _, at most 32)")]
    Exchange {
        /// What was to be read.
        text: String,
    },
    /// Not a channel.
    #[error("\"{text}\" is not a channel (trades, book, quotes, ohlc)")]
    Channel {
        /// What was to be read.
        text: String,
    },
    /// Not a series.
    #[error("\"{text}\" is not a series; one looks like binance/BTC/USDT/trades or binance/BTC/USDT/1h")]
    Series {
        /// What was to be read.
        text: String,
    },
}

impl ExchangeName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ExchangeName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let ok = !text.is_empty()
            && text.len() <= 32
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if ok { Ok(Self(text.to_owned())) } else { Err(NameError::Exchange { text: text.to_owned() }) }
    }
}

impl TryFrom<String> for ExchangeName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ExchangeName> for String {
    fn from(name: ExchangeName) -> Self {
        name.0
    }
}

impl fmt::Display for ExchangeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What a live feed carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// Every trade.
    Trades,
    /// Order book, level by level.
    Book,
    /// Best bid and ask.
    Quotes,
    /// Candles.
    Ohlc,
}

impl Channel {
    /// All of them, in the order in which they are listed to users.
    pub const ALL: [Self; 4] = [Self::Trades, Self::Book, Self::Quotes, Self::Ohlc];

    /// The name in configuration, CLI and ring names.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trades => "trades",
            Self::Book => "book",
            Self::Quotes => "quotes",
            Self::Ohlc => "ohlc",
        }
    }

    /// The name of its directory in the store.
    #[must_use]
    pub const fn directory(self) -> &'static str {
        match self {
            Self::Book => "orderbook",
            other => other.as_str(),
        }
    }
}

impl FromStr for Channel {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::ALL
            .into_iter()
            .find(|c| c.as_str() == text || c.directory() == text)
            .ok_or_else(|| NameError::Channel { text: text.to_owned() })
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The last part of a series' name: candles of one span, or a live channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SeriesKind {
    /// Candles of this span.
    Candles(Span),
    /// A live channel.
    Live(Channel),
}

impl fmt::Display for SeriesKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Candles(span) => span.fmt(f),
            Self::Live(channel) => channel.fmt(f),
        }
    }
}

/// One series: `binance/BTC/USDT/1h`, `kraken/BTC/USD/trades`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeriesId {
    /// Where it is traded.
    pub exchange: ExchangeName,
    /// What is traded.
    pub symbol: Symbol,
    /// Candles of a span, or a channel.
    pub kind: SeriesKind,
}

impl fmt::Display for SeriesId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.exchange, self.symbol, self.kind)
    }
}

impl FromStr for SeriesId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let error = || NameError::Series { text: text.to_owned() };
        let (exchange, rest) = text.split_once('/').ok_or_else(error)?;
        let (symbol, last) = rest.rsplit_once('/').ok_or_else(error)?;
        let kind = match last.parse::<Channel>() {
            Ok(channel) => SeriesKind::Live(channel),
            Err(_) => SeriesKind::Candles(last.parse().map_err(|_| error())?),
        };
        Ok(Self { exchange: exchange.parse().map_err(|_| error())?, symbol: symbol.parse().map_err(|_| error())?, kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_names_round_trip() {
        for text in
            ["binance/BTC/USDT/1h", "kraken/BTC/USD/trades", "bybit/BTC/USDT:USDT/book", "okx/BTC/USD:BTC-261225/quotes"]
        {
            let id: SeriesId = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
        }
        for bad in ["", "binance", "binance/BTC/USDT", "Binance/BTC/USDT/1h", "binance/BTC/USDT/2x", "binance//1h"] {
            assert!(bad.parse::<SeriesId>().is_err(), "{bad}");
        }
    }
}
