//! A client of the simulated OKX's WebSocket, with a book that it keeps as the exchange tells it to.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use dccd_sim::{MarketOptions, OkxOptions, SimHandle, SimOptions};
use serde_json::{Value, json};

use super::{Client, End};

/// A live OKX with a spot market and a perpetual.
pub(crate) fn options() -> SimOptions {
    rules("")
}

/// The same with these rules beside no limits of requests and connections.
pub(crate) fn rules(text: &str) -> SimOptions {
    let okx: OkxOptions = format!("limits=false,connects=1000,{text}").parse().unwrap();
    SimOptions {
        exchange: "okx".into(),
        market: MarketOptions {
            symbols: vec!["BTC/USDT".into(), "BTC/USDT:USDT".into()],
            trades_per_second: 150.0,
            book_updates_per_second: 600.0,
            // More than are told, so that some fall out of the depth and come back.
            levels: 420,
            ..MarketOptions::default()
        },
        okx,
        ..SimOptions::default()
    }
}

/// Within which whatever a test waits for has come.
const LIFE_MAX: Duration = Duration::from_secs(40);

pub(crate) struct Okx {
    pub(crate) client: Client,
    /// What came before replies that were waited for.
    held: VecDeque<String>,
    connected: Instant,
}

impl Okx {
    pub(crate) async fn connect(sim: &SimHandle, address: &str) -> Self {
        let client = Client::connect(sim, &format!("/ws/v5/{address}")).await;
        Self { client, held: VecDeque::new(), connected: Instant::now() }
    }

    /// Sends a text and gives its first reply.
    pub(crate) async fn ask(&mut self, text: &str) -> String {
        self.client.send(text).await;
        loop {
            let text = self.client.next_text().await;
            if text == "pong" || text.contains("\"event\":") {
                return text;
            }
            self.held.push_back(text);
        }
    }

    /// Subscribes to a channel of a market.
    pub(crate) async fn subscribe(&mut self, channel: &str, id: &str) {
        let arg = json!({"channel": channel, "instId": id});
        let reply = self.ask(&json!({"op": "subscribe", "args": [arg]}).to_string()).await;
        let reply: Value = serde_json::from_str(&reply).unwrap();
        assert_eq!((&reply["event"], &reply["arg"]), (&json!("subscribe"), &arg), "{reply}");
    }

    /// The next frame, as it is.
    pub(crate) async fn next_text(&mut self) -> Result<String, End> {
        assert!(self.connected.elapsed() < LIFE_MAX, "frames come, and what was waited for is not among them");
        match self.held.pop_front() {
            Some(text) => Ok(text),
            None => self.client.next().await,
        }
    }

    /// The next message of a channel, and its text.
    pub(crate) async fn next_of(&mut self, channel: &str) -> (Value, String) {
        loop {
            let text = self.next_text().await.expect("a frame, not an end");
            let value: Value = serde_json::from_str(&text).unwrap_or_default();
            if value["arg"]["channel"] == channel && value.get("data").is_some() {
                return (value, text);
            }
        }
    }
}

/// What a message does to a book.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// It begins or goes on where the one before ended.
    Fits,
    /// Something between is missing.
    Gap,
    /// It says nothing.
    Alive,
    /// It fits, and numbers begin anew.
    Reset,
}

/// A book of texts: never a float.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// Levels by price in tenths, those of bids negative: price and size as they were written.
    bids: BTreeMap<i64, [String; 2]>,
    asks: BTreeMap<i64, [String; 2]>,
    pub(crate) seq: i64,
    /// The last message's checksum.
    pub(crate) told: i64,
    pub(crate) updates: usize,
}

fn tenths(price: &str) -> i64 {
    let (whole, tenth) = price.split_once('.').unwrap_or((price, "0"));
    whole.parse::<i64>().unwrap() * 10 + tenth.parse::<i64>().unwrap()
}

impl Book {
    /// Applies a message.
    pub(crate) fn apply(&mut self, message: &Value) -> Applied {
        let data = &message["data"][0];
        let (seq, prev) = (data["seqId"].as_i64().unwrap(), data["prevSeqId"].as_i64().unwrap());
        self.told = data["checksum"].as_i64().unwrap();
        if message["action"] == "snapshot" {
            (self.bids, self.asks) = Default::default();
            assert_eq!(prev, -1);
        } else if prev != self.seq {
            return Applied::Gap;
        } else {
            self.updates += 1;
        }
        let before = std::mem::replace(&mut self.seq, seq);
        self.set(data);
        let is_empty = |side: &str| data[side].as_array().unwrap().is_empty();
        if prev == seq {
            assert!(is_empty("bids") && is_empty("asks"));
            return Applied::Alive;
        }
        if prev >= 0 && seq < before { Applied::Reset } else { Applied::Fits }
    }

    /// Sets the levels of a message or of an answer.
    pub(crate) fn set(&mut self, data: &Value) {
        for (name, side, sign) in [("bids", &mut self.bids, -1), ("asks", &mut self.asks, 1)] {
            for level in data[name].as_array().unwrap() {
                let text = |at: usize| level[at].as_str().unwrap().to_owned();
                let price = sign * tenths(&text(0));
                if text(1) == "0" {
                    assert!(side.remove(&price).is_some(), "a level was ended that nobody had");
                    assert_eq!(text(3), "0");
                } else {
                    side.insert(price, [text(0), text(1)]);
                }
            }
            assert!(side.len() <= 400, "{}", side.len());
        }
    }

    /// Whether the last message's checksum is this book's: of the texts as they came.
    pub(crate) fn is_right(&self) -> bool {
        let (bids, asks): (Vec<_>, Vec<_>) = (self.bids.values().collect(), self.asks.values().collect());
        let pairs = (0..25).flat_map(|at| [bids.get(at), asks.get(at)]).flatten();
        let text = pairs.map(|level| level.join(":")).collect::<Vec<_>>().join(":");
        i64::from(crc32fast::hash(text.as_bytes()).cast_signed()) == self.told
    }

    /// Price and size of the levels of one side, best first.
    pub(crate) fn side(&self, is_bid: bool) -> Vec<[String; 2]> {
        let side = if is_bid { &self.bids } else { &self.asks };
        side.values().cloned().collect()
    }
}
