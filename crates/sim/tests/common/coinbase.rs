//! A client of the simulated Coinbase's WebSocket, with a book of texts, and requests that say who asks.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use dccd_sim::{CoinbaseOptions, MarketOptions, SimHandle, SimOptions};
use serde_json::{Value, json};

use super::{Client, End, Reply, request};

/// A live Coinbase with two products.
pub(crate) fn options() -> SimOptions {
    rules("")
}

/// The same with these rules beside no limits of requests and connections.
pub(crate) fn rules(text: &str) -> SimOptions {
    let coinbase: CoinbaseOptions = format!("limits=false,connects=1000,{text}").parse().unwrap();
    SimOptions {
        exchange: "coinbase".into(),
        market: MarketOptions {
            symbols: vec!["BTC/USD".into(), "ETH/USD".into()],
            trades_per_second: 150.0,
            book_updates_per_second: 600.0,
            levels: 300,
            ..MarketOptions::default()
        },
        coinbase,
        ..SimOptions::default()
    }
}

/// Asks as a client does that has a name.
pub(crate) async fn get(sim: &SimHandle, target: &str) -> Reply {
    request(sim, &format!("GET {target} HTTP/1.1\r\nhost: sim\r\nuser-agent: test\r\nconnection: close\r\n\r\n")).await
}

/// Within which whatever a test waits for has come.
const LIFE_MAX: Duration = Duration::from_secs(40);

pub(crate) struct Coinbase {
    pub(crate) client: Client,
    /// What came before replies that were waited for.
    held: VecDeque<String>,
    connected: Instant,
}

impl Coinbase {
    pub(crate) async fn connect(sim: &SimHandle) -> Self {
        Self { client: Client::connect(sim, "/").await, held: VecDeque::new(), connected: Instant::now() }
    }

    /// Sends a text and gives its reply.
    pub(crate) async fn ask(&mut self, text: &str) -> String {
        self.client.send(text).await;
        loop {
            let text = self.client.next_text().await;
            if text.starts_with(r#"{"type":"subscriptions""#) || text.starts_with(r#"{"type":"error""#) {
                return text;
            }
            self.held.push_back(text);
        }
    }

    /// Subscribes to channels of a product.
    pub(crate) async fn subscribe(&mut self, channels: &[&str], id: &str) {
        let reply = self.ask(&json!({"type": "subscribe", "product_ids": [id], "channels": channels}).to_string()).await;
        assert!(reply.starts_with(r#"{"type":"subscriptions""#), "{reply}");
    }

    pub(crate) async fn unsubscribe(&mut self, channel: &str, id: &str) {
        let reply = self.ask(&json!({"type": "unsubscribe", "product_ids": [id], "channels": [channel]}).to_string()).await;
        assert!(reply.starts_with(r#"{"type":"subscriptions""#), "{reply}");
    }

    /// The next frame, as it is.
    pub(crate) async fn next_text(&mut self) -> Result<String, End> {
        assert!(self.connected.elapsed() < LIFE_MAX, "frames come, and what was waited for is not among them");
        match self.held.pop_front() {
            Some(text) => Ok(text),
            None => self.client.next().await,
        }
    }

    /// The next message of one of these types.
    pub(crate) async fn next_of(&mut self, kinds: &[&str]) -> Value {
        loop {
            let text = self.next_text().await.expect("a frame, not an end");
            let value: Value = serde_json::from_str(&text).unwrap_or_default();
            if kinds.iter().any(|kind| value["type"] == *kind) {
                return value;
            }
        }
    }
}

/// A book of texts: never a float.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Book {
    /// Sizes by price in cents, those of bids negative; price as it was written.
    bids: BTreeMap<i64, [String; 2]>,
    asks: BTreeMap<i64, [String; 2]>,
    pub(crate) updates: usize,
}

fn cents(price: &str) -> i64 {
    let (whole, cents) = price.split_once('.').unwrap_or((price, ""));
    whole.parse::<i64>().unwrap() * 100 + format!("{cents:0<2}").parse::<i64>().unwrap()
}

/// A number without zeros at its end.
pub(crate) fn short(text: &str) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text.to_owned() }
}

impl Book {
    /// Applies a snapshot, an update, or an answer of REST.
    pub(crate) fn apply(&mut self, message: &Value) {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        if let Some(changes) = message.get("changes") {
            for change in changes.as_array().unwrap() {
                let (side, sign) = if change[0] == "buy" { (&mut self.bids, -1) } else { (&mut self.asks, 1) };
                let price = sign * cents(&text(&change[1]));
                if change[2] == "0.00000000" {
                    side.remove(&price);
                } else {
                    side.insert(price, [text(&change[1]), text(&change[2])]);
                }
            }
            self.updates += 1;
            return;
        }
        *self = Self { updates: self.updates, ..Self::default() };
        for (name, side, sign) in [("bids", &mut self.bids, -1), ("asks", &mut self.asks, 1)] {
            for level in message[name].as_array().unwrap() {
                side.insert(sign * cents(&text(&level[0])), [text(&level[0]), text(&level[1])]);
            }
        }
    }

    pub(crate) fn is_crossed(&self) -> bool {
        let best = |side: &BTreeMap<i64, _>| side.keys().next().copied();
        best(&self.bids).zip(best(&self.asks)).is_none_or(|(bid, ask)| -bid >= ask)
    }

    /// Price and size of all levels, best first, without zeros at their ends: bids, asks.
    pub(crate) fn levels(&self) -> [Vec<[String; 2]>; 2] {
        let short = |side: &BTreeMap<i64, [String; 2]>| {
            side.values().map(|level| level.each_ref().map(|text| short(text))).collect()
        };
        [short(&self.bids), short(&self.asks)]
    }
}
