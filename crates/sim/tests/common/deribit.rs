//! A client of the simulated Deribit's WebSocket, with a book that it keeps as the exchange tells it to.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use dccd_sim::{DeribitOptions, MarketOptions, SimHandle, SimOptions};
use serde_json::{Value, json};

use super::{Client, End};

/// Its markets in these tests, by the exchange's names.
pub(crate) const IDS: [&str; 3] = ["BTC_USDC", "BTC_USDC-PERPETUAL", "BTC-PERPETUAL"];

/// A live Deribit with a market of each kind.
pub(crate) fn options() -> SimOptions {
    rules("")
}

/// The same with these rules beside no credits and no limit of connections.
pub(crate) fn rules(text: &str) -> SimOptions {
    let deribit: DeribitOptions = format!("credits=false,connects=1000,{text}").parse().unwrap();
    SimOptions {
        exchange: "deribit".into(),
        market: MarketOptions {
            symbols: vec!["BTC/USDC".into(), "BTC/USDC:USDC".into(), "BTC/USD:BTC".into()],
            trades_per_second: 150.0,
            book_updates_per_second: 600.0,
            levels: 200,
            ..MarketOptions::default()
        },
        deribit,
        ..SimOptions::default()
    }
}

/// Within which whatever a test waits for has come.
const LIFE_MAX: Duration = Duration::from_secs(40);

pub(crate) struct Deribit {
    pub(crate) client: Client,
    /// What came before replies that were waited for.
    held: VecDeque<String>,
    next_id: u64,
    connected: Instant,
}

impl Deribit {
    pub(crate) async fn connect(sim: &SimHandle) -> Self {
        let client = Client::connect(sim, "/ws/api/v2").await;
        Self { client, held: VecDeque::new(), next_id: 1, connected: Instant::now() }
    }

    /// Calls a method and gives the whole reply.
    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.next_id;
        self.next_id += 1;
        self.client.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()).await;
        loop {
            let text = self.client.next_text().await;
            let value: Value = serde_json::from_str(&text).unwrap_or_default();
            if value["id"] == id {
                return value;
            }
            self.held.push_back(text);
        }
    }

    /// Subscribes to a channel that exists.
    pub(crate) async fn subscribe(&mut self, channel: &str) {
        let reply = self.call("public/subscribe", json!({"channels": [channel]})).await;
        assert_eq!(reply["result"], json!([channel]), "{reply}");
    }

    pub(crate) async fn unsubscribe(&mut self, channel: &str) {
        let reply = self.call("public/unsubscribe", json!({"channels": [channel]})).await;
        assert_eq!(reply["result"], json!([channel]), "{reply}");
    }

    /// The next frame, as it is.
    pub(crate) async fn next_text(&mut self) -> Result<String, End> {
        assert!(self.connected.elapsed() < LIFE_MAX, "frames come, and what was waited for is not among them");
        match self.held.pop_front() {
            Some(text) => Ok(text),
            None => self.client.next().await,
        }
    }

    /// The next data of a channel.
    pub(crate) async fn next_of(&mut self, channel: &str) -> Value {
        loop {
            let text = self.next_text().await.expect("a frame, not an end");
            let value: Value = serde_json::from_str(&text).unwrap_or_default();
            if value["params"]["channel"] == channel {
                return value["params"]["data"].clone();
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
}

/// A book of texts.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// Amounts by price in hundredths, those of bids negative.
    bids: BTreeMap<i64, [String; 2]>,
    asks: BTreeMap<i64, [String; 2]>,
    pub(crate) id: u64,
    pub(crate) changes: usize,
    pub(crate) snapshots: usize,
}

#[allow(clippy::cast_possible_truncation)] // prices of a simulated market
fn hundredths(price: &Value) -> i64 {
    (price.as_f64().unwrap() * 100.0).round() as i64
}

impl Book {
    /// Applies a message.
    pub(crate) fn apply(&mut self, data: &Value) -> Applied {
        let id = data["change_id"].as_u64().unwrap();
        if data["type"] == "snapshot" {
            (self.bids, self.asks) = Default::default();
            assert!(data.get("prev_change_id").is_none());
            self.snapshots += 1;
        } else if data["prev_change_id"] != self.id {
            return Applied::Gap;
        } else {
            assert!(id > self.id);
            self.changes += 1;
        }
        self.id = id;
        for (name, side, sign) in [("bids", &mut self.bids, -1), ("asks", &mut self.asks, 1)] {
            for level in data[name].as_array().unwrap() {
                let key = sign * hundredths(&level[1]);
                let is_there = side.contains_key(&key);
                match level[0].as_str().unwrap() {
                    "new" => assert!(!is_there, "{level}"),
                    "change" => assert!(is_there, "{level}"),
                    "delete" => {
                        assert!(is_there && level[2] == 0.0, "{level}");
                        side.remove(&key);
                        continue;
                    }
                    other => panic!("{other}"),
                }
                assert!(level[2].as_f64().unwrap() > 0.0, "{level}");
                side.insert(key, [level[1].to_string(), level[2].to_string()]);
            }
        }
        Applied::Fits
    }

    /// Price and amount of the levels of one side, best first.
    pub(crate) fn side(&self, is_bid: bool) -> Vec<[String; 2]> {
        let side = if is_bid { &self.bids } else { &self.asks };
        side.values().cloned().collect()
    }
}
