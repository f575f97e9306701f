//! A client of the simulated Bybit's WebSockets, with a book that it keeps as the exchange tells it to.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use dccd_sim::{MarketOptions, SimHandle, SimOptions};
use serde_json::{Value, json};

use super::{Client, End};

/// A live Bybit with one currency in both categories, and one on spot alone.
pub(crate) fn options() -> SimOptions {
    SimOptions {
        exchange: "bybit".into(),
        market: MarketOptions {
            symbols: ["BTC/USDT", "BTC/USDT:USDT", "ETH/USDT"].map(str::to_owned).to_vec(),
            trades_per_second: 150.0,
            book_updates_per_second: 600.0,
            levels: 1_200,
            ..MarketOptions::default()
        },
        ..SimOptions::default()
    }
}

/// Within which whatever a test waits for has come.
const LIFE_MAX: Duration = Duration::from_secs(40);

pub(crate) struct Bybit {
    pub(crate) client: Client,
    /// What came before replies that were waited for.
    held: VecDeque<String>,
    connected: Instant,
}

impl Bybit {
    /// Connects to the WebSocket of a category.
    pub(crate) async fn connect(sim: &SimHandle, category: &str) -> Self {
        let client = Client::connect(sim, &format!("/v5/public/{category}")).await;
        Self { client, held: VecDeque::new(), connected: Instant::now() }
    }

    /// Sends a text and gives its reply, as it is.
    pub(crate) async fn ask_text(&mut self, request: &str) -> String {
        self.client.send(request).await;
        loop {
            let text = self.client.next_text().await;
            let value: Value = serde_json::from_str(&text).unwrap();
            if value.get("success").is_some() {
                return text;
            }
            self.held.push_back(text);
        }
    }

    pub(crate) async fn ask(&mut self, op: &str, args: &[&str]) -> Value {
        let request = json!({"req_id": "7", "op": op, "args": args});
        serde_json::from_str(&self.ask_text(&request.to_string()).await).unwrap()
    }

    /// Subscribes to topics.
    pub(crate) async fn subscribe(&mut self, args: &[&str]) {
        let reply = self.ask("subscribe", args).await;
        assert_eq!((&reply["success"], &reply["req_id"]), (&json!(true), &json!("7")), "{reply}");
    }

    /// The next frame, as it is.
    pub(crate) async fn next_text(&mut self) -> Result<String, End> {
        assert!(self.connected.elapsed() < LIFE_MAX, "frames come, and what was waited for is not among them");
        match self.held.pop_front() {
            Some(text) => Ok(text),
            None => self.client.next().await,
        }
    }

    /// The next message of a topic.
    pub(crate) async fn next_of(&mut self, topic: &str) -> Value {
        loop {
            let text = self.next_text().await.expect("a frame, not an end");
            let value: Value = serde_json::from_str(&text).unwrap();
            if value["topic"] == topic {
                return value;
            }
        }
    }
}

/// A number of a message as hundred-millionths.
pub(crate) fn e8(value: &Value) -> i64 {
    let text = value.as_str().unwrap();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{fraction:0<8}").parse().unwrap()
}

/// A book as its messages make it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    pub(crate) bids: BTreeMap<i64, i64>,
    pub(crate) asks: BTreeMap<i64, i64>,
    /// The last message's number.
    pub(crate) u: u64,
    pub(crate) seq: u64,
}

impl Book {
    /// Applies a message; whether it follows the one before.
    pub(crate) fn apply(&mut self, message: &Value) -> bool {
        let data = &message["data"];
        let u = data["u"].as_u64().unwrap();
        let is_snapshot = message["type"] == "snapshot";
        let follows = is_snapshot || u == self.u + 1;
        if is_snapshot {
            (self.bids, self.asks) = Default::default();
        }
        (self.u, self.seq) = (u, data["seq"].as_u64().unwrap());
        for (side, name) in [(&mut self.bids, "b"), (&mut self.asks, "a")] {
            for level in data[name].as_array().unwrap() {
                let (price, amount) = (e8(&level[0]), e8(&level[1]));
                if amount == 0 {
                    assert!(side.remove(&price).is_some() || !follows, "a level was ended that nobody had: {message}");
                } else {
                    side.insert(price, amount);
                }
            }
        }
        follows
    }

    /// Price and amount, best first.
    pub(crate) fn sides(&self) -> [Vec<(i64, i64)>; 2] {
        [self.bids.iter().rev().map(|(p, a)| (*p, *a)).collect(), self.asks.iter().map(|(p, a)| (*p, *a)).collect()]
    }
}
