//! The simulated OKX's frames beside recorded ones of the real one: the same keys in the same order, numbers of the same form.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;

use common::okx::{Okx, rules};
use common::{get, start};
use dccd_testkit::{fixtures, read_fixture_frames, skip};
use serde_json::Value;

/// What a text looks like: a whole number, one with decimals, or another word.
fn form(text: &str) -> &'static str {
    let number = text.strip_prefix('-').unwrap_or(text);
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    match number.split_once('.') {
        // No zero stands at an end.
        Some((whole, fraction)) if digits(whole) && digits(fraction) => {
            if fraction.ends_with('0') {
                "number with zeros"
            } else {
                "number"
            }
        }
        None if digits(number) => "number",
        _ if text.is_empty() => "nothing",
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

#[derive(Debug, PartialEq, Eq)]
struct Look {
    keys: Vec<String>,
    shape: String,
}

fn look(text: &str) -> Look {
    let value: Value = serde_json::from_str(text).unwrap();
    Look { keys: keys(text), shape: shape(&value) }
}

/// What a frame is: event or channel and action, spot or not, and which sides of a book it has.
fn sort_of(text: &str) -> Option<String> {
    let value: Value = serde_json::from_str(text).ok()?;
    let word = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let data = value.get("data").and_then(|data| data.get(0));
    let sides = data.and_then(|data| Some((data.get("bids")?.as_array()?.len(), data.get("asks")?.as_array()?.len())));
    let sides = sides.map_or(String::new(), |(bids, asks)| format!(" {} {}", bids > 0, asks > 0));
    let channel = word(&value["arg"]["channel"]).replace("books-l2-tbt", "books");
    Some(format!("{}{channel} {}{sides}", word(&value["event"]), word(&value["action"])))
}

/// One frame of each sort that the simulated exchange sends.
async fn sent() -> BTreeMap<String, String> {
    let scene = start(rules("checksum=true")).await;
    let mut sorts = BTreeMap::new();
    let mut note = |text: &str| sort_of(text).map(|sort| sorts.insert(sort, text.to_owned()));
    for (address, channels) in [
        ("public", ["trades", "bbo-tbt", "books", "books5", "tickers"].as_slice()),
        ("business", &["candle1m", "trades-all"]),
    ] {
        let mut okx = Okx::connect(&scene.sim, address).await;
        for channel in channels {
            okx.client
                .send(&format!(r#"{{"op":"subscribe","args":[{{"channel":"{channel}","instId":"BTC-USDT"}}]}}"#))
                .await;
        }
        for _ in 0..300 {
            note(&okx.next_text().await.unwrap());
        }
    }
    let body = |target: &'static str| {
        let sim = &scene.sim;
        async move { get(sim, target).await.body }
    };
    sorts.insert("spot".into(), body("/api/v5/public/instruments?instType=SPOT").await);
    sorts.insert("swap".into(), body("/api/v5/public/instruments?instType=SWAP").await);
    sorts.insert("rest book".into(), body("/api/v5/market/books?instId=BTC-USDT&sz=3").await);
    sorts.insert("unknown".into(), body("/api/v5/market/books?instId=NO-PAIR").await);
    scene.finish().await;
    sorts
}

/// The fixture of this name, or a word that it is missing.
fn recorded(test: &str, name: &str) -> Option<PathBuf> {
    let path = fixtures().map(|root| root.join("okx").join(name)).filter(|path| path.is_file());
    if path.is_none() {
        skip(test, &format!("there are no recorded messages okx/{name}"));
    }
    path
}

/// What the real exchange has added since a message was recorded: the keys of ours are those and the recorded ones, in their order.
fn later(sort: &str) -> &'static [&'static str] {
    match sort.split([' ', ':']).next().unwrap_or("") {
        "trades" => &["count"],
        "bbo-tbt" | "books5" => &["seqId"],
        "books" => &["seqId", "prevSeqId"],
        _ => &[],
    }
}

fn compare(sort: &str, ours: &str, theirs: &str) {
    let (ours, theirs) = (look(ours), look(theirs));
    let known: Vec<_> =
        ours.keys.iter().filter(|key| theirs.keys.contains(key) || !later(sort).contains(&key.as_str())).collect();
    assert_eq!(known, theirs.keys.iter().collect::<Vec<_>>(), "{sort}");
    assert!(!ours.shape.contains("zeros"), "{sort}: {}", ours.shape);
    let value_forms = |shape: &str| {
        let mut forms: Vec<_> =
            shape.split([',', '{', '}', '[', ']', '|']).filter(|part| !part.is_empty()).map(str::to_owned).collect();
        forms.retain(|form| !later(sort).iter().any(|key| form.starts_with(&format!("{key}:"))));
        forms.sort();
        forms.dedup();
        forms
    };
    // A market without a bid has nothing where its price would stand.
    assert_eq!(value_forms(&ours.shape), value_forms(&theirs.shape.replace("nothing", "number")), "{sort}");
}

#[tokio::test]
async fn frames_look_as_they_did_on_the_wire() {
    let test = "frames_look_as_they_did_on_the_wire";
    let sorts = sent().await;
    let mut compared: BTreeMap<String, usize> = BTreeMap::new();
    for name in [
        "ws_v5_books_BTC-USDT_updates_checksum0_20260824.frames.jsonl.zst",
        "ws_v5_20210722_conn1.frames.jsonl.zst",
        "ws_samples_cmp_okx.frames.jsonl.zst",
        "ws_samples_tardis_spot.frames.jsonl.zst",
    ] {
        let Some(path) = recorded(test, name) else { return };
        for frame in read_fixture_frames(&path).unwrap().map(Result::unwrap).filter(|frame| frame.dir == "in") {
            let Some(sort) = sort_of(&frame.raw) else { continue };
            // Candles had two columns less then; a subscription's confirmation had no connection in it.
            if !sorts.contains_key(&sort) || sort.starts_with("candle") || sort.starts_with("subscribe") {
                continue;
            }
            compare(&sort, &sorts[&sort], &frame.raw);
            *compared.entry(sort).or_insert(0) += 1;
        }
    }
    for sort in ["trades ", "trades-all ", "tickers ", "bbo-tbt  true true", "books5  true true", "books update true true"] {
        assert!(compared.contains_key(sort), "{sort}: {compared:?}");
    }
    let Some(path) = recorded(test, "rest/errors_quoted.frames.jsonl.zst") else { return };
    let quoted = read_fixture_frames(&path).unwrap().map(Result::unwrap).find(|frame| frame.raw.contains("51001"));
    assert_eq!(look(&sorts["unknown"]), look(&quoted.unwrap().raw));
}

#[tokio::test]
async fn instruments_have_the_keys_that_were_recorded_in_their_order() {
    let sorts = sent().await;
    for (sort, name) in [
        ("spot", "rest/cf_api_v5_public_instruments_instType_SPOT_20210722.json.zst"),
        ("swap", "rest/cf_api_v5_public_instruments_instType_SWAP_20210722.json.zst"),
    ] {
        let Some(path) = recorded("instruments_have_the_keys_that_were_recorded_in_their_order", name) else { return };
        let text = String::from_utf8(zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap()).unwrap();
        let theirs = keys(&text);
        let ours: Vec<_> = keys(&sorts[sort]).into_iter().filter(|key| theirs.contains(key)).collect();
        assert_eq!(ours, theirs, "{sort}");
    }
}

#[tokio::test]
async fn candles_and_confirmations_look_as_the_documentation_shows_them() {
    let Some(path) = recorded("candles_and_confirmations_look_as_the_documentation_shows_them", "docs_jkorf.jsonl.zst")
    else {
        return;
    };
    let lines = String::from_utf8(zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap()).unwrap();
    let documents: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let find = |name: &str| {
        let found = documents.iter().find(|document| document["file"].as_str().unwrap().ends_with(name));
        found.unwrap()["text"].as_str().unwrap().to_owned()
    };
    let sorts = sent().await;
    let text = find("ExchangeData/Klines.txt");
    let (ack, candle) = text.split_once("< ").unwrap().1.split_once("= ").unwrap();
    let columns = |text: &str| serde_json::from_str::<Value>(text).unwrap()["data"][0].as_array().unwrap().len();
    assert_eq!(columns(&sorts["candle1m "]), columns(candle));
    assert_eq!(keys(&sorts["candle1m "]), keys(&candle.replace(": ", ":")));
    assert_eq!(keys(&sorts["subscribecandle1m "]), keys(&ack.replace(": ", ":")));
}
