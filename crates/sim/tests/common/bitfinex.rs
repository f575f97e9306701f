//! A client of the simulated Bitfinex's WebSocket, with a book that it keeps as the exchange tells it to.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use dccd_sim::{BitfinexOptions, MarketOptions, SimHandle, SimOptions};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Client, End};

pub(crate) const TIMESTAMP: u32 = 32_768;
pub(crate) const SEQUENCE: u32 = 65_536;
pub(crate) const CHECKSUM: u32 = 131_072;
pub(crate) const BULK: u32 = 536_870_912;

/// A live Bitfinex.
pub(crate) fn options() -> SimOptions {
    rules("")
}

/// The same with these rules beside no limits of requests and connections.
pub(crate) fn rules(text: &str) -> SimOptions {
    let bitfinex: BitfinexOptions = format!("limits=false,connects=1000,ticker=0.2,{text}").parse().unwrap();
    SimOptions {
        exchange: "bitfinex".into(),
        market: MarketOptions {
            symbols: ["BTC/USD", "BTC/USDT", "DOGE/USD", "BTC/USDT:USDT"].map(str::to_owned).to_vec(),
            trades_per_second: 150.0,
            book_updates_per_second: 800.0,
            // More than are told, so that some fall out of the depth and come back.
            levels: 300,
            ..MarketOptions::default()
        },
        bitfinex,
        ..SimOptions::default()
    }
}

/// Within which whatever a test waits for has come.
const LIFE_MAX: Duration = Duration::from_secs(40);

pub(crate) struct Bitfinex {
    pub(crate) client: Client,
    /// What came before replies that were waited for.
    held: VecDeque<String>,
    connected: Instant,
}

/// A message of a channel, its parts as they are in the text.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) channel: u64,
    pub(crate) parts: Vec<String>,
}

impl Message {
    /// `None` of what is no message of a channel.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let parts: Vec<&RawValue> = serde_json::from_str(text).ok()?;
        let mut parts = parts.into_iter().map(|part| part.get().to_owned());
        Some(Self { channel: parts.next()?.parse().ok()?, parts: parts.collect() })
    }

    pub(crate) fn is(&self, word: &str) -> bool {
        self.parts[0] == format!("\"{word}\"")
    }

    pub(crate) fn value(&self, at: usize) -> Value {
        serde_json::from_str(&self.parts[at]).unwrap()
    }
}

impl Bitfinex {
    /// A connection that was greeted.
    pub(crate) async fn connect(sim: &SimHandle) -> Self {
        let mut client = Client::connect(sim, "/ws/2").await;
        let welcome = client.next_json().await;
        assert_eq!((&welcome["event"], &welcome["version"]), (&json!("info"), &json!(2)), "{welcome}");
        Self { client, held: VecDeque::new(), connected: Instant::now() }
    }

    /// One with these flags.
    pub(crate) async fn with_flags(sim: &SimHandle, flags: u32) -> Self {
        let mut connection = Self::connect(sim).await;
        let reply = connection.ask(json!({"event": "conf", "flags": flags})).await;
        assert_eq!(reply, format!(r#"{{"event":"conf","status":"OK","flags":{flags}}}"#));
        connection
    }

    /// Sends a request and gives its reply.
    pub(crate) async fn ask(&mut self, request: Value) -> String {
        self.client.send(&request.to_string()).await;
        loop {
            let text = self.client.next_text().await;
            if text.starts_with('{') {
                return text;
            }
            self.held.push_back(text);
        }
    }

    /// Subscribes: the number of the channel.
    pub(crate) async fn subscribe(&mut self, channel: &str, more: Value) -> u64 {
        let mut request = json!({"event": "subscribe", "channel": channel});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let reply: Value = serde_json::from_str(&self.ask(request).await).unwrap();
        assert_eq!((&reply["event"], &reply["channel"]), (&json!("subscribed"), &json!(channel)), "{reply}");
        reply["chanId"].as_u64().unwrap()
    }

    pub(crate) async fn book(&mut self, symbol: &str, precision: &str, length: usize) -> u64 {
        let more = json!({"symbol": symbol, "prec": precision, "freq": "F0", "len": length.to_string()});
        self.subscribe("book", more).await
    }

    /// The next frame, as it is.
    pub(crate) async fn next_text(&mut self) -> Result<String, End> {
        assert!(self.connected.elapsed() < LIFE_MAX, "frames come, and what was waited for is not among them");
        match self.held.pop_front() {
            Some(text) => Ok(text),
            None => self.client.next().await,
        }
    }

    /// The next message of a channel.
    pub(crate) async fn next_of(&mut self, channel: u64) -> Message {
        loop {
            let text = self.next_text().await.expect("a frame, not an end");
            if let Some(message) = Message::read(&text).filter(|message| message.channel == channel) {
                return message;
            }
        }
    }

    /// The next of these words on a channel.
    pub(crate) async fn next_word(&mut self, channel: u64, word: &str) -> Message {
        loop {
            let message = self.next_of(channel).await;
            if message.is(word) {
                return message;
            }
        }
    }
}

/// A book of texts: never a float. Of single orders the key is the id, else the price.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    /// Key and amount in the order of prices: the price to sort by, then the key.
    pub(crate) bids: Vec<[String; 3]>,
    pub(crate) asks: Vec<[String; 3]>,
    is_raw: bool,
    has_begun: bool,
    pub(crate) batches: usize,
}

fn rows(text: &str) -> Vec<[String; 3]> {
    let rows: Vec<&RawValue> = if text.starts_with("[[") || text == "[]" {
        serde_json::from_str(text).unwrap()
    } else {
        vec![serde_json::from_str(text).unwrap()]
    };
    rows.into_iter()
        .map(|row| {
            let parts: Vec<&RawValue> = serde_json::from_str(row.get()).unwrap();
            let parts: Vec<String> = parts.iter().map(|part| part.get().to_owned()).collect();
            parts.try_into().unwrap()
        })
        .collect()
}

impl Book {
    pub(crate) fn raw() -> Self {
        Self { is_raw: true, ..Self::default() }
    }

    /// Applies a message; of a checksum whether it is this book's. Wrong is also the end of a row that is not there.
    pub(crate) fn apply(&mut self, message: &Message) -> Option<bool> {
        if message.is("hb") {
            return None;
        }
        if message.is("cs") {
            self.batches += 1;
            return Some(message.parts[1] == self.checksum().to_string());
        }
        if !self.has_begun {
            assert!(message.parts[0].starts_with("[["), "it begins with all of it: {message:?}");
        }
        self.has_begun = true;
        let fits = rows(&message.parts[0]).iter().all(|row| self.set(row));
        let order =
            |row: &[String; 3], sign: f64| (sign * row[0].parse::<f64>().unwrap(), row[1].parse::<u64>().unwrap_or(0));
        self.bids.sort_by(|a, b| order(a, -1.0).partial_cmp(&order(b, -1.0)).unwrap());
        self.asks.sort_by(|a, b| order(a, 1.0).partial_cmp(&order(b, 1.0)).unwrap());
        if fits { None } else { Some(false) }
    }

    /// Kept as price, key, amount. Whether a row that ends was there.
    fn set(&mut self, row: &[String; 3]) -> bool {
        let is_raw = self.is_raw;
        let amount = row[2].clone();
        let side = if amount.starts_with('-') { &mut self.asks } else { &mut self.bids };
        let key = row[0].clone();
        let (price, is_gone) = if is_raw { (row[1].clone(), row[1] == "0") } else { (key.clone(), row[1] == "0") };
        let known = side.iter().position(|known| known[1] == key);
        match known {
            Some(at) if is_gone => drop(side.remove(at)),
            Some(at) => side[at] = [price, key, amount],
            None if is_gone => return false,
            None => side.push([price, key, amount]),
        }
        true
    }

    fn checksum(&self) -> i32 {
        let pairs = (0..25).flat_map(|at| [self.bids.get(at), self.asks.get(at)]).flatten();
        let text = pairs.map(|row| format!("{}:{}", row[1], row[2])).collect::<Vec<_>>().join(":");
        crc32fast::hash(text.as_bytes()).cast_signed()
    }
}

/// The numbers of all messages so far, each one more than the last.
#[derive(Debug, Default)]
pub(crate) struct Chain(pub(crate) HashMap<&'static str, u64>);

impl Chain {
    /// Whether a number is the next one.
    pub(crate) fn follows(&mut self, seq: u64) -> bool {
        let last = self.0.entry("seq").or_insert(0);
        let follows = seq == *last + 1;
        *last = seq;
        follows
    }
}
