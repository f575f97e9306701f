//! The simulated Kraken's frames beside recorded ones of the real one: the same keys in the same order, numbers and times of the
//! same form.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;

use common::kraken::{Kraken, options};
use common::{Client, start};
use dccd_testkit::{fixtures, read_fixture_frames, skip};
use serde_json::{Value, json};

/// What a JSON text looks like, its values aside.
struct Shape<'a> {
    rest: &'a str,
    /// Whether numbers keep the count of their decimals.
    decimals: bool,
}

impl Shape<'_> {
    fn of(text: &str, decimals: bool) -> String {
        Shape { rest: text, decimals }.value()
    }

    fn skip_to(&mut self, at: usize) -> &str {
        let (done, rest) = self.rest.split_at(at);
        self.rest = rest;
        done
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn text(&mut self) -> String {
        let end = self.rest[1..].find('"').unwrap() + 2;
        self.skip_to(end).to_owned()
    }

    fn value(&mut self) -> String {
        self.space();
        match self.rest.as_bytes()[0] {
            b'{' => self.object(),
            b'[' => self.list(),
            // Times by their digits, words as words.
            b'"' => {
                let text = self.text();
                if text.contains(|c: char| c.is_ascii_digit()) {
                    text.replace(|c: char| c.is_ascii_digit(), "9")
                } else {
                    "word".into()
                }
            }
            _ => {
                let end = self.rest.find([',', ']', '}']).unwrap();
                let decimals = self.decimals;
                let word = self.skip_to(end).trim();
                match word.split_once('.') {
                    _ if word == "true" || word == "false" => "bool".into(),
                    _ if !decimals => "number".into(),
                    Some((_, fraction)) => format!("number.{}", fraction.len()),
                    None => "number".into(),
                }
            }
        }
    }

    fn object(&mut self) -> String {
        let mut parts = Vec::new();
        self.skip_to(1);
        self.space();
        while !self.rest.starts_with('}') {
            let key = self.text();
            self.space();
            self.skip_to(1);
            parts.push(format!("{key}:{}", self.value()));
            self.space();
            let comma = usize::from(self.rest.starts_with(','));
            self.skip_to(comma);
            self.space();
        }
        self.skip_to(1);
        format!("{{{}}}", parts.join(","))
    }

    /// Elements of one shape count as one.
    fn list(&mut self) -> String {
        let mut parts: Vec<String> = Vec::new();
        self.skip_to(1);
        self.space();
        while !self.rest.starts_with(']') {
            let part = self.value();
            if !parts.contains(&part) {
                parts.push(part);
            }
            self.space();
            let comma = usize::from(self.rest.starts_with(','));
            self.skip_to(comma);
            self.space();
        }
        self.skip_to(1);
        format!("[{}]", parts.join("|"))
    }
}

/// What a frame is: channel and type, or method and outcome.
fn sort_of(text: &str) -> Option<String> {
    let value: Value = serde_json::from_str(text).ok()?;
    let word =
        |name: &str| value.get(name).map_or(String::new(), |word| word.as_str().map_or(word.to_string(), str::to_owned));
    let book_sides = value["data"][0]["bids"].as_array().zip(value["data"][0]["asks"].as_array());
    // An update tells of one side or of both: an empty list has no shape.
    let sides = book_sides.map_or(String::new(), |(bids, asks)| format!(" {} {}", bids.is_empty(), asks.is_empty()));
    Some(format!("{} {} {} {}{sides}", word("channel"), word("type"), word("method"), word("success")))
}

/// One frame of each sort that the simulated exchange sends.
async fn sent() -> BTreeMap<String, String> {
    let scene = start(options()).await;
    let mut sorts = BTreeMap::new();
    let mut note = |text: &str| sort_of(text).map(|sort| sorts.insert(sort, text.to_owned()));
    let mut client = Client::connect(&scene.sim, "/v2").await;
    for params in [
        json!({"channel": "book", "symbol": ["BTC/USD"]}),
        json!({"channel": "trade", "symbol": ["BTC/USD"], "snapshot": true}),
        json!({"channel": "ticker", "symbol": ["BTC/USD"]}),
        json!({"channel": "ohlc", "symbol": ["BTC/USD"]}),
        json!({"channel": "instrument"}),
    ] {
        client.send(&json!({"method": "subscribe", "params": params}).to_string()).await;
    }
    for _ in 0..800 {
        note(&client.next_text().await);
    }
    scene.sim.pause().await.unwrap();
    while !client.next_text().await.contains("heartbeat") {}
    note(r#"{"channel":"heartbeat"}"#);
    // What was asked for last, so that these replies are the ones kept.
    let mut kraken = Kraken::connect(&scene.sim).await;
    for request in [
        json!({"method": "subscribe", "params": {"channel": "book", "symbol": ["BTC/USD"], "depth": 27}}),
        json!({"method": "subscribe", "params": {"channel": "book", "symbol": ["ETH/USD"]}}),
        json!({"method": "ping", "req_id": 42}),
    ] {
        note(&kraken.ask(request).await.to_string());
    }
    scene.finish().await;
    sorts
}

/// The fixture of this name, or a word that it is missing.
fn recorded(test: &str, name: &str) -> Option<PathBuf> {
    let path = fixtures().map(|root| root.join("kraken").join(name)).filter(|path| path.is_file());
    if path.is_none() {
        skip(test, &format!("there are no recorded messages kraken/{name}"));
    }
    path
}

#[tokio::test]
async fn frames_look_as_they_did_on_the_wire() {
    let test = "frames_look_as_they_did_on_the_wire";
    let Some(path) = recorded(test, "ws_v2_BTCUSD_book10_verbatim_20260824.frames.jsonl.zst") else { return };
    let sorts = sent().await;
    let mut compared = BTreeMap::new();
    for frame in read_fixture_frames(&path).unwrap().map(Result::unwrap).filter(|frame| frame.dir == "in") {
        let sort = sort_of(&frame.raw).unwrap();
        let ours = sorts.get(&sort).unwrap_or_else(|| panic!("nothing of the sort {sort} was sent: {sorts:#?}"));
        assert_eq!(Shape::of(ours, true), Shape::of(&frame.raw, true), "\n{ours}\n{}", frame.raw);
        *compared.entry(sort).or_insert(0) += 1;
    }
    assert_eq!((compared.len(), compared.values().sum::<i32>()), (5, 8), "{compared:?}");
    let Some(path) = recorded(test, "rest/errors_quoted.frames.jsonl.zst") else { return };
    let quoted =
        read_fixture_frames(&path).unwrap().map(Result::unwrap).find(|frame| frame.raw.contains("depth not supported"));
    let ours = &sorts["  subscribe false"];
    assert_eq!(Shape::of(ours, true), Shape::of(&quoted.unwrap().raw, true));
}

/// The documentation's examples are trimmed and their numbers went through other programs: their keys alone are held against ours.
#[tokio::test]
async fn frames_look_as_the_documentation_shows_them() {
    let test = "frames_look_as_the_documentation_shows_them";
    let (Some(nautilus), Some(jkorf)) = (recorded(test, "docs_nautilus.jsonl.zst"), recorded(test, "docs_jkorf.jsonl.zst"))
    else {
        return;
    };
    let sorts = sent().await;
    let documents = |path: &PathBuf| {
        let bytes = zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap();
        let lines = String::from_utf8(bytes).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let find = |documents: &[Value], name: &str| {
        let found = documents.iter().find(|document| document["file"].as_str().unwrap().ends_with(name));
        found.unwrap()["text"].as_str().unwrap().to_owned()
    };
    let nautilus = documents(&nautilus);
    for (file, sort) in [("ws_ticker_snapshot.json", "ticker snapshot  "), ("ws_pong.json", "  pong ")] {
        assert_eq!(Shape::of(&sorts[sort], false), Shape::of(&find(&nautilus, file), false), "{file}");
    }
    let candles = find(&documents(&jkorf), "Spot/Kline.txt");
    let candles = candles.split_once("= ").unwrap().1;
    assert_eq!(Shape::of(&sorts["ohlc update  "], false), Shape::of(candles, false));
}

#[tokio::test]
async fn instruments_look_as_they_did_on_the_wire() {
    let Some(path) = recorded("instruments_look_as_they_did_on_the_wire", "ws_v2_instrument_snapshot_2023.json.zst") else {
        return;
    };
    let bytes = zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap();
    let theirs = Shape::of(&String::from_utf8(bytes).unwrap(), false);
    let sorts = sent().await;
    let ours = Shape::of(&sorts["instrument snapshot  "], false);
    // Of the shapes that assets and pairs have there, ours are one each.
    for part in ["assets", "pairs"] {
        let of = |shape: &str| {
            let begin = shape.find(&format!("\"{part}\":[")).unwrap() + part.len() + 4;
            shape[begin..begin + shape[begin..].find(']').unwrap()].replace("word", "text").replace("\"9", "\"").to_owned()
        };
        let (ours, theirs) = (of(&ours), of(&theirs));
        assert!(!ours.contains('|') && theirs.split('|').any(|shape| shape == ours), "{ours}\n{theirs}");
    }
}
