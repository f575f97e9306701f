//! The simulated KuCoin's frames beside recorded ones of the real one: the same keys, numbers of the same form, and in what is recent
//! the same order. The exchange's encoder of 2021 wrote keys in no order.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;

use common::kucoin::{Book, Kucoin, options};
use common::{get, start};
use dccd_testkit::{fixtures, read_fixture_frames, skip};
use serde_json::{Value, json};

/// What a text looks like: a number, one with zeros at its end, or another word.
fn form(text: &str) -> &'static str {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    match text.split_once('.') {
        Some((whole, fraction)) if digits(whole) && digits(fraction) && fraction.ends_with('0') => "number with zeros",
        Some((whole, fraction)) if digits(whole) && digits(fraction) => "number",
        None if digits(text) => "number",
        _ => "word",
    }
}

/// The shape of a JSON text, its keys sorted; elements of a list that look the same count once.
fn shape(value: &Value) -> String {
    match value {
        Value::Object(object) => {
            let parts = object.iter().map(|(key, value)| format!("{key}:{}", shape(value)));
            format!("{{{}}}", parts.collect::<Vec<_>>().join(","))
        }
        Value::Array(rows) => {
            let mut parts: Vec<String> = rows.iter().map(shape).collect();
            parts.dedup();
            format!("[{}]", parts.join("|"))
        }
        Value::String(text) => format!("text {}", form(text)),
        Value::Number(_) => "bare".into(),
        other => other.to_string(),
    }
}

/// All keys of a text in their order, each once: a parsed text has them sorted.
fn keys(text: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut rest = text;
    while let Some(begin) = rest.find('"') {
        let end = begin + 1 + rest[begin + 1..].find('"').unwrap();
        let word = &rest[begin + 1..end];
        rest = &rest[end + 1..];
        if rest.starts_with(':') && !keys.contains(&word.to_owned()) {
            keys.push(word.to_owned());
        }
    }
    keys
}

/// What a frame is: its type or subject, and which sides of a book it changes.
fn sort_of(text: &str) -> Option<String> {
    let value: Value = serde_json::from_str(text).ok()?;
    if value["data"].get("bids").is_some() && value.get("code").is_some() {
        // Books of contracts name their market; some recorders made messages of their own of what REST answered.
        return (value["data"].get("symbol").is_none() && value.get("topic").is_none()).then(|| "rest book".into());
    }
    if value.get("T").is_some() || value.get("topic").is_some_and(|topic| topic.as_str().unwrap().contains("contract")) {
        return None;
    }
    let Some(subject) = value["subject"].as_str() else { return value["type"].as_str().map(str::to_owned) };
    let changes = &value["data"]["changes"];
    let has = |side: &str| changes[side].as_array().is_some_and(|side| !side.is_empty());
    Some(format!("{subject}{}{}", if has("bids") { " bids" } else { "" }, if has("asks") { " asks" } else { "" }))
}

/// One frame of each sort that the simulated exchange sends.
async fn sent() -> BTreeMap<String, String> {
    let scene = start(options()).await;
    let mut sorts = BTreeMap::from([("welcome".to_owned(), r#"{"id":"me","type":"welcome"}"#.to_owned())]);
    let mut kucoin = Kucoin::classic(&scene.sim).await;
    for topic in ["/market/match", "/market/ticker", "/spotMarket/level2Depth5", "/market/snapshot", "/market/candles"] {
        let more = if topic.ends_with("candles") { "_1week" } else { "" };
        let text = format!(r#"{{"id":1,"type":"subscribe","topic":"{topic}:BTC-USDT{more}","response":true}}"#);
        sorts.insert("ack".into(), kucoin.ask(&text).await);
    }
    sorts.insert("pong".into(), kucoin.ask(r#"{"id":"1545910590801","type":"ping"}"#).await);
    kucoin.subscribe("/market/level2:BTC-USDT").await;
    while !sorts.contains_key("trade.snapshot") || !sorts.contains_key("trade.candles.update") {
        let text = kucoin.next_text().await.unwrap();
        sort_of(&text).map(|sort| sorts.insert(sort, text));
    }
    let target = "/api/v1/market/orderbook/level2_20?symbol=BTC-USDT";
    sorts.insert("rest book".into(), get(&scene.sim, target).await.body);
    sorts.insert("symbols".into(), get(&scene.sim, "/api/v1/symbols").await.body);
    assert!(Book::fetch(&scene.sim, "BTC-USDT").await.seq > 0);
    let mut unified = Kucoin::unified(&scene.sim).await;
    for (channel, more) in [("obu", json!({"depth": "increment@10ms"})), ("ticker", json!({})), ("trade", json!({}))] {
        unified.follow(channel, "BTC-USDT", more).await;
        let (_, text) = unified.next_of(&format!("{channel}.SPOT")).await;
        sorts.insert(channel.into(), text);
    }
    scene.finish().await;
    sorts
}

/// The fixture of this name, or a word that it is missing.
fn recorded(test: &str, name: &str) -> Option<PathBuf> {
    let path = fixtures().map(|root| root.join("kucoin").join(name)).filter(|path| path.is_file());
    if path.is_none() {
        skip(test, &format!("there are no recorded messages kucoin/{name}"));
    }
    path
}

/// Keys that the exchange has added since a message was recorded.
const LATER: [&str; 3] = ["time", "askSize", "bidSize"];

fn parts(shape: &str) -> Vec<String> {
    let mut parts: Vec<_> =
        shape.split([',', '{', '}', '[', ']', '|']).filter(|part| !part.is_empty()).map(str::to_owned).collect();
    parts.retain(|part| !LATER.iter().any(|key| part.starts_with(&format!("{key}:"))));
    parts.sort();
    parts.dedup();
    parts
}

fn compare(sort: &str, ours: &str, theirs: &str) {
    let shapes = [ours, theirs].map(|text| shape(&serde_json::from_str(text).unwrap()));
    assert!(!shapes[0].contains("zeros"), "{sort}: {}", shapes[0]);
    // A trade's id had letters until 2023; since then it is the number of the trade.
    let theirs_then = shapes[1].replace("tradeId:text word", "tradeId:text number");
    assert_eq!(parts(&shapes[0]), parts(&theirs_then), "{sort}: {ours} {theirs}");
    // Since 2022 the keys of data are in alphabetical order, as ours are.
    let data = |text: &str| keys(text.split_once(r#""data":"#).map_or("", |part| part.1));
    let theirs = data(theirs);
    if theirs.is_sorted() && !theirs.is_empty() {
        let ours: Vec<_> = data(ours).into_iter().filter(|key| theirs.contains(key)).collect();
        assert_eq!(ours, theirs, "{sort}");
    }
}

#[tokio::test]
async fn frames_look_as_they_did_on_the_wire() {
    let test = "frames_look_as_they_did_on_the_wire";
    let sorts = sent().await;
    let mut compared: BTreeMap<String, usize> = BTreeMap::new();
    for name in [
        "ws_spot_6pairs_20210425.frames.jsonl.zst",
        "ws_samples_cmp_kucoin.frames.jsonl.zst",
        "ws_samples_tardis_spot.frames.jsonl.zst",
    ] {
        let Some(path) = recorded(test, name) else { return };
        for frame in read_fixture_frames(&path).unwrap().map(Result::unwrap).filter(|frame| frame.dir != "out") {
            let Some(sort) = sort_of(&frame.raw) else { continue };
            let Some(ours) = sorts.get(&sort) else { continue };
            compare(&sort, ours, &frame.raw);
            *compared.entry(sort).or_insert(0) += 1;
        }
    }
    for sort in [
        "ack",
        "pong",
        "rest book",
        "trade.candles.update",
        "trade.l2update asks",
        "trade.l2update bids",
        "trade.l3match",
        "trade.ticker",
        "trade.snapshot",
        "welcome",
    ] {
        assert!(compared.contains_key(sort), "{sort}: {compared:?}");
    }
}

#[tokio::test]
async fn markets_have_the_keys_that_were_recorded_in_their_order() {
    let test = "markets_have_the_keys_that_were_recorded_in_their_order";
    let Some(path) = recorded(test, "rest/cf_api_v1_symbols_20210425.json.zst") else { return };
    let text = String::from_utf8(zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap()).unwrap();
    let theirs = keys(&text);
    let ours: Vec<_> = keys(&sent().await["symbols"]).into_iter().filter(|key| theirs.contains(key)).collect();
    assert_eq!(ours, theirs);
}

#[tokio::test]
async fn unified_messages_look_as_the_documentation_shows_them() {
    let Some(path) = recorded("unified_messages_look_as_the_documentation_shows_them", "docs_jkorf.jsonl.zst") else {
        return;
    };
    let lines = String::from_utf8(zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap()).unwrap();
    let documents: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sorts = sent().await;
    for (channel, name) in
        [("obu", "Unified/OrderBook.txt"), ("ticker", "Unified/Ticker.txt"), ("trade", "Unified/Trade.txt")]
    {
        let found = documents.iter().find(|document| document["file"].as_str().unwrap().ends_with(name));
        let text = found.unwrap()["text"].as_str().unwrap().split_once("\n= ").unwrap().1.replace(": ", ":");
        assert_eq!(keys(&sorts[channel]), keys(&text), "{channel}");
        let shapes = [&sorts[channel], &text].map(|text| parts(&shape(&serde_json::from_str(text).unwrap())));
        assert_eq!(shapes[0], shapes[1], "{channel}");
    }
}
