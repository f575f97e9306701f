//! Perpetuals of the simulated Binance, and their book as a client keeps it by the rule in the exchange's documents.

use std::collections::BTreeMap;

use dccd_sim::{MarketOptions, SimHandle, SimOptions};
use serde_json::Value;

use super::{Client, get};

/// Bitcoin on both sides, and ether as a perpetual alone.
pub(crate) fn options() -> SimOptions {
    SimOptions {
        market: MarketOptions {
            symbols: ["BTC/USDT", "BTC/USDT:USDT", "ETH/USDT:USDT"].map(str::to_owned).to_vec(),
            trades_per_second: 300.0,
            book_updates_per_second: 600.0,
            levels: 300,
            ..MarketOptions::default()
        },
        ..SimOptions::default()
    }
}

/// A text's digits as hundred-millionths.
pub(crate) fn e8(value: &Value) -> i64 {
    let text = value.as_str().unwrap();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{fraction:0<8}").parse().unwrap()
}

/// The book of a perpetual.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    pub(crate) bids: BTreeMap<i64, i64>,
    pub(crate) asks: BTreeMap<i64, i64>,
    /// Where the last message ended.
    pub(crate) last: u64,
    /// Whether a message followed the snapshot.
    is_linked: bool,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    Yes,
    /// It is older than the book.
    Old,
    /// It does not link.
    Gap,
}

impl Book {
    pub(crate) fn of(snapshot: &Value) -> Self {
        let mut book = Self { last: snapshot["lastUpdateId"].as_u64().unwrap(), ..Self::default() };
        book.put(snapshot, "bids", "asks");
        book
    }

    /// Begins anew from a snapshot of REST.
    pub(crate) async fn fetch(sim: &SimHandle, id: &str) -> Self {
        Self::of(&get(sim, &format!("/fapi/v1/depth?symbol={id}&limit=1000")).await.json())
    }

    fn put(&mut self, value: &Value, bids: &str, asks: &str) {
        for (side, key) in [(&mut self.bids, bids), (&mut self.asks, asks)] {
            for level in value[key].as_array().unwrap() {
                let (price, amount) = (e8(&level[0]), e8(&level[1]));
                if amount == 0 {
                    side.remove(&price);
                } else {
                    side.insert(price, amount);
                }
            }
        }
    }

    pub(crate) fn apply(&mut self, event: &Value) -> Applied {
        let number = |key: &str| event[key].as_u64().unwrap();
        let (first, last, before) = (number("U"), number("u"), number("pu"));
        assert!(before < first && first <= last, "{event}");
        if last < self.last {
            return Applied::Old;
        }
        let links = before == self.last || (!self.is_linked && first <= self.last);
        if !links {
            return Applied::Gap;
        }
        self.put(event, "b", "a");
        (self.last, self.is_linked) = (last, true);
        Applied::Yes
    }

    /// Price and amount, best first.
    pub(crate) fn sides(&self) -> [Vec<(i64, i64)>; 2] {
        [self.bids.iter().rev().map(|(p, a)| (*p, *a)).collect(), self.asks.iter().map(|(p, a)| (*p, *a)).collect()]
    }
}

/// A connection with one stream, and the book that a snapshot and the message that links to it make.
pub(crate) async fn follow(sim: &SimHandle, id: &str, stream: &str) -> (Client, Book) {
    let mut client = Client::connect(sim, &format!("/public/ws/{stream}")).await;
    let mut event = client.next_json().await;
    let mut book = Book::fetch(sim, id).await;
    while book.apply(&event) == Applied::Old {
        event = client.next_json().await;
    }
    assert!(book.is_linked, "{event}");
    (client, book)
}
