//! Faults: what can go wrong on command ([`Fault`]) or by a seeded plan ([`FaultPlan`]), and the state that decides it frame by
//! frame.

mod damage;
mod plan;
mod state;

use serde::{Deserialize, Serialize};

pub use crate::rest::faults::RestFault;
pub(crate) use damage::corrupt;
pub use plan::FaultPlan;
pub(crate) use state::{Action, FaultState};

/// Which frames a fault meets; what is left out matches anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Target {
    /// A stream's name, e.g. `btcusdt@trade` on Binance, of its perpetuals `usdm:btcusdt@aggTrade`. On Kraken `trade:BTC/USD`, `ticker:BTC/USD:bbo`, `book:BTC/USD:10`,
    /// `ohlc:BTC/USD:1`, `instrument`. On Bybit `spot:publicTrade:BTCUSDT`, `linear:orderbook:BTCUSDT:50`, `linear:tickers:BTCUSDT`,
    /// `spot:kline:BTCUSDT:1`. On OKX `trades:BTC-USDT`, `trades-all:BTC-USDT-SWAP`, `bbo-tbt:BTC-USDT`, `books:BTC-USDT`,
    /// `books5:BTC-USDT`, `tickers:BTC-USDT`, `candle1m:BTC-USDT`. On Coinbase `matches:BTC-USD`, `ticker:BTC-USD`,
    /// `ticker_batch:BTC-USD`, `level2_batch:BTC-USD`, `heartbeat:BTC-USD`, `status`. On KuCoin `match:BTC-USDT`,
    /// `level1:BTC-USDT`, `ticker:BTC-USDT`, `level2:BTC-USDT`, `candles:BTC-USDT:1min`, of unified accounts `uta-trade:BTC-USDT`,
    /// `obu:BTC-USDT:increment@10ms`. On Bitfinex `trades:tBTCUSD`, `ticker:tBTCUSD`, `book:tBTCUSD:P0:F0:25`,
    /// `candles:tBTCUSD:1m`. On Deribit channels with colons for dots: `trades:BTC-PERPETUAL:100ms`,
    /// `book:BTC-PERPETUAL`, `quote:BTC_USDC`, `chart:trades:BTC_USDC:1`. Without what stands behind a colon a target means all of them: `book:BTC/USD` at any depth, `book`
    /// of any market.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// A connection's number, as the ledger counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conn: Option<u32>,
}

impl Target {
    /// Every frame of one stream.
    #[must_use]
    pub fn stream(name: &str) -> Self {
        Self { stream: Some(name.to_owned()), conn: None }
    }

    pub(crate) fn meets(&self, conn: u32, stream: &str) -> bool {
        let named = |wanted: &str| stream.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'));
        self.conn.is_none_or(|c| c == conn) && self.stream.as_deref().is_none_or(named)
    }
}

/// How a frame is damaged. It stays a text frame of valid UTF-8 in each case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Corruption {
    /// Its second half is missing.
    #[default]
    Truncate,
    /// Some of its bytes are others.
    Flip,
    /// The checksum in it is another, all else is as it should be. Meets frames that have one.
    Checksum,
    /// The highest of its bids stands at a price with one more digit, all else is as it should be: a level that nobody ends. Meets
    /// frames that list bids as Binance and Bybit do.
    Price,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disconnection {
    /// With a close frame, after everything queued.
    #[default]
    Clean,
    /// By a TCP reset, in the middle of anything.
    Abrupt,
}

fn one() -> u32 {
    1
}

/// Something that goes wrong. As JSON: `{"kind":"drop","stream":"btcusdt@trade","count":3}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// The next `count` frames are not sent; REST still has what they told.
    Drop {
        /// Which frames.
        #[serde(flatten)]
        target: Target,
        /// How many.
        #[serde(default = "one")]
        count: u32,
    },
    /// The next `count` frames come late, and all that follow on their stream behind them.
    Delay {
        /// Which frames.
        #[serde(flatten)]
        target: Target,
        /// How many.
        #[serde(default = "one")]
        count: u32,
        /// How late, milliseconds.
        ms: u64,
    },
    /// The next `count` frames are sent twice.
    Duplicate {
        /// Which frames.
        #[serde(flatten)]
        target: Target,
        /// How many.
        #[serde(default = "one")]
        count: u32,
    },
    /// The next `count` frames each change places with the one after it on their stream.
    Reorder {
        /// Which frames.
        #[serde(flatten)]
        target: Target,
        /// How many.
        #[serde(default = "one")]
        count: u32,
    },
    /// The next `count` frames are damaged.
    Corrupt {
        /// Which frames.
        #[serde(flatten)]
        target: Target,
        /// How many.
        #[serde(default = "one")]
        count: u32,
        /// How.
        #[serde(default)]
        how: Corruption,
    },
    /// The exchange itself skips sequence numbers of a symbol: trade ids that no trade has, or book updates that no diff
    /// tells of. No repair can find them. `channel` is `trades` or `book`. Kraken's books have no numbers: there, so many of the
    /// best levels change unheard, and the next checksum says so. Coinbase's have neither: only REST shows it.
    Gap {
        /// Unified symbol.
        symbol: String,
        /// `trades` or `book`.
        channel: String,
        /// How many numbers.
        #[serde(default = "one")]
        count: u32,
    },
    /// The numbers of a book's updates begin anew, as after maintenance. On Bybit those who follow one get a snapshot with the number 1;
    /// on OKX the next update names its predecessor and has a smaller number than that; on KuCoin the next update begins with 1; on Deribit those who follow a
    /// book are sent it whole under the number 1; on Binance's perpetuals, as when their engine restarts, numbers leap and the next update
    /// names a predecessor that nobody was sent. Binance's spot books can't.
    SequenceReset {
        /// Unified symbol.
        symbol: String,
    },
    /// The matching streams say nothing for a while, subscriptions are acknowledged and pings answered.
    Silence {
        /// Which streams.
        #[serde(flatten)]
        target: Target,
        /// For how long, milliseconds.
        ms: u64,
    },
    /// The next `count` subscriptions are acknowledged and deliver nothing, not even a snapshot, until they are made anew.
    Mute {
        /// Which subscriptions.
        #[serde(flatten)]
        target: Target,
        /// How many.
        #[serde(default = "one")]
        count: u32,
    },
    /// The next `count` subscriptions are not made, and left out of the answer that lists what is. On Coinbase, whose answers do.
    Omit {
        /// Which subscriptions.
        #[serde(flatten)]
        target: Target,
        /// How many.
        #[serde(default = "one")]
        count: u32,
    },
    /// Connections end.
    Disconnect {
        /// Which; `stream` means those subscribed to it.
        #[serde(flatten)]
        target: Target,
        /// How.
        #[serde(default)]
        how: Disconnection,
    },
    /// Connections are written to slowly.
    Slow {
        /// Which; `stream` means those subscribed to it.
        #[serde(flatten)]
        target: Target,
        /// How slowly.
        bytes_per_second: u32,
        /// For how long, milliseconds.
        ms: u64,
    },
    /// The next `count` REST requests are answered 429; when `ban_ms` is given, all after them 418 for that long. On Bybit: with its
    /// code 10006, and 403.
    RestLimit {
        /// How many.
        #[serde(default = "one")]
        count: u32,
        /// The ban after them, milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ban_ms: Option<u64>,
    },
    /// The next `count` answers to REST requests for candles or trades are wrong.
    Rest {
        /// How.
        what: RestFault,
        /// How many.
        #[serde(default = "one")]
        count: u32,
    },
    /// The next `count` book snapshots (of REST, on Kraken, Bybit and Deribit of the WebSocket, on Coinbase of both) are as old as the program itself: older than any
    /// diff sent.
    StaleSnapshot {
        /// Unified symbol; any when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        symbol: Option<String>,
        /// How many.
        #[serde(default = "one")]
        count: u32,
    },
    /// The exchange is down: connections are reset, new ones refused.
    Down {
        /// For how long, milliseconds.
        ms: u64,
    },
    /// The exchange goes into maintenance on living connections and tells of its beginning and its end (20060 and 20061 on Bitfinex,
    /// `platform_state` on Deribit); whoever had subscribed hears nothing more until it subscribes again, after the end. Of these two.
    Maintenance {
        /// For how long, milliseconds.
        ms: u64,
    },
    /// The end is announced to all connections (`serverShutdown` on Binance, the system status `maintenance` on Kraken, notice `64008`
    /// on OKX, info `20051` on Bitfinex, `platform_state` on Deribit; Coinbase announces nothing), which are closed after a while.
    Shutdown {
        /// Between announcement and close, milliseconds.
        ms: u64,
    },
    /// Nothing goes wrong from here on: the plan ends, and what waits for its frames is forgotten.
    Calm,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_json_form() {
        for text in [
            r#"{"kind":"drop","stream":"btcusdt@trade","count":3}"#,
            r#"{"kind":"delay","ms":50}"#,
            r#"{"kind":"corrupt","how":"flip"}"#,
            r#"{"kind":"gap","symbol":"BTC/USDT","channel":"book","count":2}"#,
            r#"{"kind":"sequence_reset","symbol":"BTC/USDT"}"#,
            r#"{"kind":"silence","conn":1,"ms":5}"#,
            r#"{"kind":"corrupt","stream":"book:BTC/USD","how":"checksum"}"#,
            r#"{"kind":"mute","stream":"trade:BTC/USD"}"#,
            r#"{"kind":"omit","stream":"ticker:BTC-USD","count":2}"#,
            r#"{"kind":"disconnect","how":"abrupt"}"#,
            r#"{"kind":"slow","bytes_per_second":1000,"ms":5}"#,
            r#"{"kind":"rest_limit","count":2,"ban_ms":1000}"#,
            r#"{"kind":"stale_snapshot"}"#,
            r#"{"kind":"sequence_reset","symbol":"BTC/USDT"}"#,
            r#"{"kind":"down","ms":10}"#,
            r#"{"kind":"maintenance","ms":10}"#,
        ] {
            let fault: Fault = serde_json::from_str(text).unwrap();
            let again: Fault = serde_json::from_str(&serde_json::to_string(&fault).unwrap()).unwrap();
            assert_eq!(fault, again);
        }
    }

    #[test]
    fn a_target_without_its_last_part_means_all_that_have_one() {
        let meets = |target, stream| Target::stream(target).meets(1, stream);
        assert!(
            meets("book:BTC/USD:10", "book:BTC/USD:10")
                && meets("book:BTC/USD", "book:BTC/USD:10")
                && meets("book", "book:A/B:10")
        );
        assert!(!meets("book:BTC/USD:1", "book:BTC/USD:10") && !meets("book:BTC/US", "book:BTC/USD:10"));
        assert!(!meets("btcusdt@trade", "btcusdt@trades"));
    }
}
