//! A client of the simulated Kraken's WebSocket, with a book that it keeps as the exchange tells it to.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use dccd_sim::{KrakenOptions, MarketOptions, SimHandle, SimOptions};
use serde_json::{Value, json};

use super::{Client, End};

/// A live Kraken with one old market and one young.
pub(crate) fn options() -> SimOptions {
    let rules: KrakenOptions = "rate=0".parse().unwrap();
    SimOptions {
        exchange: "kraken".into(),
        market: MarketOptions {
            symbols: vec!["BTC/USD".into(), "ETH/USD".into()],
            trades_per_second: 150.0,
            book_updates_per_second: 600.0,
            levels: 150,
            ..MarketOptions::default()
        },
        kraken: rules,
        ..SimOptions::default()
    }
}

/// Within which whatever a test waits for has come.
const LIFE_MAX: Duration = Duration::from_secs(40);

pub(crate) struct Kraken {
    pub(crate) client: Client,
    /// What came before replies that were waited for.
    held: VecDeque<String>,
    connected: Instant,
}

impl Kraken {
    /// Connects and takes the greeting.
    pub(crate) async fn connect(sim: &SimHandle) -> Self {
        let mut client = Client::connect(sim, "/v2").await;
        let status = client.next_json().await;
        assert_eq!((&status["channel"], &status["data"][0]["system"]), (&json!("status"), &json!("online")), "{status}");
        Self { client, held: VecDeque::new(), connected: Instant::now() }
    }

    pub(crate) async fn send(&mut self, request: Value) {
        self.client.send(&request.to_string()).await;
    }

    /// Sends a command and gives its first reply.
    pub(crate) async fn ask(&mut self, request: Value) -> Value {
        let method = request["method"].as_str().unwrap().replace("ping", "pong");
        self.send(request).await;
        loop {
            let text = self.client.next_text().await;
            let value: Value = serde_json::from_str(&text).unwrap();
            if value["method"] == method.as_str() || value.get("error").is_some() {
                return value;
            }
            self.held.push_back(text);
        }
    }

    /// Subscribes to a channel of a market; gives the reply.
    pub(crate) async fn subscribe(&mut self, channel: &str, symbol: &str, more: Value) -> Value {
        let mut params = json!({"channel": channel, "symbol": [symbol]});
        for (key, value) in more.as_object().into_iter().flatten() {
            params[key] = value.clone();
        }
        let reply = self.ask(json!({"method": "subscribe", "params": params, "req_id": 7})).await;
        assert_eq!((&reply["success"], &reply["req_id"]), (&json!(true), &json!(7)), "{reply}");
        reply
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
            let value: Value = serde_json::from_str(&text).unwrap();
            if value["channel"] == channel {
                return (value, text);
            }
        }
    }
}

/// A book of digits: never a float.
#[derive(Debug, Default)]
pub(crate) struct Book {
    depth: usize,
    /// Amounts by price, each in digits without a point; the prices of bids negative.
    bids: BTreeMap<i64, String>,
    asks: BTreeMap<i64, String>,
    pub(crate) updates: usize,
}

/// The levels of one side in a message's text: price and amount as written.
pub(crate) fn levels(text: &str, side: &str) -> Vec<(String, String)> {
    let begin = text.find(&format!("\"{side}\":[")).unwrap() + side.len() + 4;
    let end = begin + text[begin..].find(']').unwrap();
    let rows = text[begin..end].split("{\"price\":").skip(1);
    let level = |row: &str| {
        let (price, rest) = row.split_once(",\"qty\":").unwrap();
        (price.to_owned(), rest[..rest.find('}').unwrap()].to_owned())
    };
    rows.map(level).collect()
}

impl Book {
    pub(crate) fn new(depth: usize) -> Self {
        Self { depth, ..Self::default() }
    }

    /// Applies a message; whether the checksum is the one it tells.
    pub(crate) fn apply(&mut self, text: &str) -> bool {
        let value: Value = serde_json::from_str(text).unwrap();
        if value["type"] == "snapshot" {
            (self.bids, self.asks) = Default::default();
        } else {
            self.updates += 1;
        }
        for (name, side, sign) in [("bids", &mut self.bids, -1), ("asks", &mut self.asks, 1)] {
            for (price, amount) in levels(text, name) {
                let price = sign * price.replace('.', "").parse::<i64>().unwrap();
                let digits = amount.replace('.', "");
                if digits.bytes().all(|b| b == b'0') {
                    side.remove(&price);
                } else {
                    side.insert(price, digits);
                }
            }
            while side.len() > self.depth {
                side.pop_last();
            }
        }
        let part = |side: &BTreeMap<i64, String>| {
            let level = |(price, digits): (&i64, &String)| format!("{}{}", price.abs(), digits.trim_start_matches('0'));
            side.iter().take(10).map(level).collect::<String>()
        };
        let sum = crc32fast::hash((part(&self.asks) + &part(&self.bids)).as_bytes());
        value["data"][0]["checksum"] == sum
    }

    /// Levels held on each side.
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.bids.len(), self.asks.len())
    }

    /// Best first, as hundred-millionths of price and amount.
    pub(crate) fn side(&self, is_bid: bool, price_digits: u32) -> Vec<(i64, i64)> {
        let side = if is_bid { &self.bids } else { &self.asks };
        let scale = 10_i64.pow(8 - price_digits);
        side.iter().map(|(price, digits)| (price.abs() * scale, digits.parse().unwrap())).collect()
    }
}
