//! A client of the simulated KuCoin's sockets, with a book that it keeps as the exchange tells it to.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use dccd_sim::{KucoinOptions, MarketOptions, SimHandle, SimOptions};
use serde_json::{Value, json};

use super::{Client, End, get, post};

/// A live KuCoin with two markets.
pub(crate) fn options() -> SimOptions {
    rules("")
}

/// The same with these rules beside no limits of requests and connections.
pub(crate) fn rules(text: &str) -> SimOptions {
    let kucoin: KucoinOptions = format!("weight=0,connects=1000,{text}").parse().unwrap();
    SimOptions {
        exchange: "kucoin".into(),
        market: MarketOptions {
            symbols: vec!["BTC/USDT".into(), "ETH/USDT".into()],
            trades_per_second: 150.0,
            book_updates_per_second: 600.0,
            // More than a unified account's book tells, so that some fall out of the depth and come back.
            levels: 520,
            ..MarketOptions::default()
        },
        kucoin,
        ..SimOptions::default()
    }
}

/// Within which whatever a test waits for has come.
const LIFE_MAX: Duration = Duration::from_secs(40);

/// A fresh token for the classic socket.
pub(crate) async fn token(sim: &SimHandle) -> String {
    let body = post(sim, "/api/v1/bullet-public", "").await.json();
    body["data"]["token"].as_str().unwrap_or_else(|| panic!("{body}")).to_owned()
}

pub(crate) struct Kucoin {
    pub(crate) client: Client,
    /// What came before replies that were waited for.
    held: VecDeque<String>,
    connected: Instant,
    count: u64,
}

impl Kucoin {
    fn of(client: Client) -> Self {
        Self { client, held: VecDeque::new(), connected: Instant::now(), count: 0 }
    }

    /// The classic socket, welcomed.
    pub(crate) async fn classic(sim: &SimHandle) -> Self {
        let path = format!("/endpoint?token={}&connectId=me", token(sim).await);
        let mut client = Client::connect(sim, &path).await;
        assert_eq!(client.next_text().await, r#"{"id":"me","type":"welcome"}"#);
        Self::of(client)
    }

    /// The socket of unified accounts, welcomed.
    pub(crate) async fn unified(sim: &SimHandle) -> Self {
        let mut client = Client::connect(sim, "/").await;
        let welcome = client.next_json().await;
        assert_eq!((&welcome["message"], &welcome["pingInterval"]), (&json!("welcome"), &json!(18_000)), "{welcome}");
        Self::of(client)
    }

    /// Sends a text and gives its first reply.
    pub(crate) async fn ask(&mut self, text: &str) -> String {
        self.client.send(text).await;
        loop {
            let text = self.client.next_text().await;
            if text.contains(r#""type":"ack""#)
                || text.contains(r#""type":"error""#)
                || text.contains(r#""type":"pong""#)
                || text.contains(r#""result":"#)
            {
                return text;
            }
            self.held.push_back(text);
        }
    }

    /// Sends a subscription or its end to a topic of the classic socket, which is to be acknowledged.
    pub(crate) async fn topic(&mut self, kind: &str, topic: &str) {
        self.count += 1;
        let id = self.count;
        let reply = self.ask(&json!({"id": id, "type": kind, "topic": topic, "response": true}).to_string()).await;
        assert_eq!(reply, format!(r#"{{"id":"{id}","type":"ack"}}"#), "{topic}");
    }

    pub(crate) async fn subscribe(&mut self, topic: &str) {
        self.topic("subscribe", topic).await;
    }

    /// Subscribes to a channel of the socket of unified accounts.
    pub(crate) async fn follow(&mut self, channel: &str, symbol: &str, more: Value) {
        self.count += 1;
        let mut request = json!({
            "id": self.count.to_string(), "action": "subscribe", "channel": channel, "tradeType": "SPOT", "symbol": symbol,
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            request[key] = value.clone();
        }
        assert_eq!(self.ask(&request.to_string()).await, format!(r#"{{"id":"{}","result":true}}"#, self.count));
    }

    /// The next frame, as it is.
    pub(crate) async fn next_text(&mut self) -> Result<String, End> {
        assert!(self.connected.elapsed() < LIFE_MAX, "frames come, and what was waited for is not among them");
        match self.held.pop_front() {
            Some(text) => Ok(text),
            None => self.client.next().await,
        }
    }

    /// The next message of a topic or unified channel, and its text.
    pub(crate) async fn next_of(&mut self, topic: &str) -> (Value, String) {
        loop {
            let text = self.next_text().await.expect("a frame, not an end");
            let value: Value = serde_json::from_str(&text).unwrap_or_default();
            if value["topic"] == topic || value["T"] == topic {
                return (value, text);
            }
        }
    }
}

/// What a message does to a book.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// It goes on where the one before ended, or begins anew with a snapshot.
    Fits,
    /// Something between is missing.
    Gap,
    /// It is in the book already.
    Old,
    /// Its numbers begin with 1.
    Reset,
}

/// A book of texts: never a float.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// Sizes by price in hundredths, those of bids negative.
    bids: BTreeMap<i64, [String; 2]>,
    asks: BTreeMap<i64, [String; 2]>,
    pub(crate) seq: u64,
    pub(crate) updates: usize,
    /// Entries without a price.
    pub(crate) unseen: usize,
}

fn hundredths(price: &str) -> i64 {
    let (whole, fraction) = price.split_once('.').unwrap_or((price, ""));
    whole.parse::<i64>().unwrap() * 100 + format!("{fraction:0<2}").parse::<i64>().unwrap()
}

impl Book {
    /// The book as REST has it.
    pub(crate) async fn fetch(sim: &SimHandle, id: &str) -> Self {
        let text = format!(
            "GET /api/v3/market/orderbook/level2?symbol={id} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\nKC-API-KEY: k\r\n\
             KC-API-SIGN: s\r\nKC-API-TIMESTAMP: 1\r\nKC-API-PASSPHRASE: p\r\n\r\n"
        );
        Self::of(&super::request(sim, &text).await.json()["data"])
    }

    /// The best hundred levels as REST has them.
    pub(crate) async fn fetch_hundred(sim: &SimHandle, id: &str) -> Self {
        Self::of(&get(sim, &format!("/api/v1/market/orderbook/level2_100?symbol={id}")).await.json()["data"])
    }

    fn of(data: &Value) -> Self {
        let mut book = Self { seq: data["sequence"].as_str().unwrap().parse().unwrap(), ..Self::default() };
        book.set(&data["bids"], &data["asks"]);
        book
    }

    fn set(&mut self, bids: &Value, asks: &Value) {
        for (rows, side, sign) in [(bids, &mut self.bids, -1), (asks, &mut self.asks, 1)] {
            for level in rows.as_array().unwrap() {
                let text = |at: usize| level[at].as_str().unwrap().to_owned();
                let price = sign * hundredths(&text(0));
                if price == 0 {
                    self.unseen += 1;
                } else if text(1) == "0" {
                    side.remove(&price);
                } else {
                    side.insert(price, [text(0), text(1)]);
                }
            }
        }
    }

    fn step(&mut self, first: u64, last: u64, bids: &Value, asks: &Value) -> Applied {
        let is_reset = first == 1 && self.seq > 1;
        if last <= self.seq && !is_reset {
            return Applied::Old;
        }
        if first > self.seq + 1 {
            return Applied::Gap;
        }
        // Only the first after an answer of REST may hold something that is in the book already.
        assert!(first == self.seq + 1 || self.updates == 0 || is_reset, "{first} after {}", self.seq);
        self.set(bids, asks);
        self.seq = last;
        self.updates += 1;
        if is_reset { Applied::Reset } else { Applied::Fits }
    }

    /// Applies a message of `/market/level2`.
    pub(crate) fn apply(&mut self, message: &Value) -> Applied {
        let data = &message["data"];
        let number = |key: &str| data[key].as_u64().unwrap();
        let (first, last) = (number("sequenceStart"), number("sequenceEnd"));
        assert!(first <= last, "{data}");
        for entry in
            [&data["changes"]["bids"], &data["changes"]["asks"]].into_iter().flat_map(|side| side.as_array().unwrap())
        {
            assert!((first..=last).contains(&entry[2].as_str().unwrap().parse().unwrap()), "{data}");
        }
        self.step(first, last, &data["changes"]["bids"], &data["changes"]["asks"])
    }

    /// Applies a message of a unified account's book.
    pub(crate) fn apply_unified(&mut self, message: &Value) -> Applied {
        let data = &message["d"];
        let (first, last) = (data["O"].as_u64().unwrap(), data["C"].as_u64().unwrap());
        if message["t"] == "snapshot" {
            *self = Self { seq: last, updates: self.updates.max(1), ..Self::default() };
            self.set(&data["b"], &data["a"]);
            assert_eq!(first, last);
            return Applied::Fits;
        }
        let applied = self.step(first, last, &data["b"], &data["a"]);
        assert!(self.bids.len() <= 500 && self.asks.len() <= 500, "{} {}", self.bids.len(), self.asks.len());
        applied
    }

    /// Price and size of the best levels of one side.
    pub(crate) fn side(&self, is_bid: bool, depth: usize) -> Vec<[String; 2]> {
        let side = if is_bid { &self.bids } else { &self.asks };
        side.values().take(depth).cloned().collect()
    }
}
