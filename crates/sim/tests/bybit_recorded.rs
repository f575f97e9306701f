//! The simulated Bybit's frames beside recorded ones of the real one: the same keys in the same order, numbers of the same form.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use common::bybit::{Bybit, options};
use common::{get, start};
use dccd_testkit::{fixtures, read_fixture_frames, skip};
use serde_json::Value;

/// Fields that are short even where others are not.
const SHORT: [&str; 3] = ["price24hPcnt", "fundingRate", "singleOpenInterest"];

/// Keys and values of a JSON text in their order, values by their form: of numbers how many decimals they have, where that is
/// fixed, else that no zero stands at their end; digits aside.
fn shape(text: &str, is_fixed: bool) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(begin) = rest.find(|c: char| !c.is_whitespace()) {
        rest = &rest[begin..];
        let first = rest.as_bytes()[0];
        let end = match first {
            b'"' => rest[1..].find('"').unwrap() + 2,
            b'{' | b'}' | b'[' | b']' | b',' | b':' => 1,
            _ => rest.find([',', '}', ']']).unwrap(),
        };
        let (part, after) = rest.split_at(end);
        let is_key = first == b'"' && after.trim_start().starts_with(':');
        let key = parts.iter().rev().nth(1).filter(|_| parts.last().is_some_and(|last| last == ":"));
        let is_fixed = is_fixed && !key.is_some_and(|key| SHORT.contains(&key.trim_matches('"')));
        parts.push(if is_key { part.to_owned() } else { form(part, is_fixed) });
        rest = after;
    }
    parts
}

fn form(part: &str, is_fixed: bool) -> String {
    let text = part.trim_matches('"');
    let number = text.strip_prefix('-').unwrap_or(text);
    let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let quote = if part.starts_with('"') { "text " } else { "" };
    match (is_number, number.split_once('.')) {
        (true, Some((_, fraction))) if is_fixed => format!("{quote}number with {} decimals", fraction.len()),
        (true, Some((_, fraction))) => {
            assert!(!fraction.ends_with('0'), "{part}");
            format!("{quote}number")
        }
        // A level that is gone is a bare zero, whatever decimals others have.
        (true, None) => format!("{quote}{}", if is_fixed && number == "0" { "zero" } else { "number" }),
        (false, _) if text.len() == 36 && text.matches('-').count() == 4 => "uuid".to_owned(),
        (false, _) if part.starts_with('"') && !text.is_empty() => "word".to_owned(),
        _ => part.to_owned(),
    }
}

/// Elements of lists that have the same shape count as one.
fn folded(parts: &[String]) -> String {
    let mut text = parts.concat();
    loop {
        let before = text.len();
        // Levels and rows that repeat.
        for pattern in repeated(&text) {
            text = text.replace(&format!("{pattern},{pattern}"), &pattern);
        }
        if text.len() == before {
            return text;
        }
    }
}

/// Innermost lists and objects that stand twice in a row.
fn repeated(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (open, close) in [('[', ']'), ('{', '}')] {
        for (begin, _) in text.match_indices(open) {
            let Some(length) = text[begin + 1..].find([open, close]) else { continue };
            let end = begin + 1 + length + 1;
            let part = &text[begin..end];
            if part.ends_with(close) && text[end..].strip_prefix(',').is_some_and(|next| next.starts_with(part)) {
                found.insert(part.to_owned());
            }
        }
    }
    found
}

/// What sort of frame it is: topic without its market, type, or the request's kind and outcome.
fn sort_of(text: &str) -> Option<String> {
    let value: Value = serde_json::from_str(text).ok()?;
    let word =
        |name: &str| value.get(name).map_or(String::new(), |word| word.as_str().map_or(word.to_string(), str::to_owned));
    let topic = word("topic").rsplit_once('.').map_or(String::new(), |(topic, _)| topic.to_owned());
    Some(format!("{topic} {} {} {}", word("type"), word("op"), word("success")))
}

/// All forms of each sort that the simulated exchange sends in a category.
async fn sent(category: &str, topics: &[&str]) -> BTreeMap<String, Vec<String>> {
    let scene = start(options()).await;
    let mut bybit = Bybit::connect(&scene.sim, category).await;
    let mut sorts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for topic in topics {
        let request = serde_json::json!({"op": "subscribe", "args": [topic]});
        let reply = bybit.ask_text(&request.to_string()).await;
        sorts.entry(sort_of(&reply).unwrap()).or_default().push(reply);
    }
    for _ in 0..400 {
        let text = bybit.next_text().await.unwrap();
        sorts.entry(sort_of(&text).unwrap()).or_default().push(text);
    }
    scene.finish().await;
    sorts
}

fn recorded(test: &str, name: &str) -> Option<PathBuf> {
    let path = fixtures().map(|root| root.join("bybit").join(name)).filter(|path| path.is_file());
    if path.is_none() {
        skip(test, &format!("there are no recorded messages bybit/{name}"));
    }
    path
}

const TOPICS: [&str; 4] = ["publicTrade.BTCUSDT", "orderbook.200.BTCUSDT", "tickers.BTCUSDT", "kline.1.BTCUSDT"];

/// The fields of a ticker and the form of each, for messages that have some of them.
fn fields(text: &str) -> Vec<(String, String)> {
    let parts = shape(text, true);
    let pairs = parts.windows(3).filter(|w| w[1] == ":" && !["{", "["].contains(&w[2].as_str()));
    pairs.map(|w| (w[0].clone(), w[2].clone())).collect()
}

#[tokio::test]
async fn frames_look_as_they_did_on_the_wire() {
    let test = "frames_look_as_they_did_on_the_wire";
    for (category, name, expected) in [
        ("spot", "ws_v5_spot_BTCUSDT_20260809.frames.jsonl.zst", 6),
        ("linear", "ws_v5_linear_BTCUSDT_SOLUSDT_20260809.frames.jsonl.zst", 7),
    ] {
        let Some(path) = recorded(test, name) else { return };
        let sorts = sent(category, &TOPICS).await;
        let is_fixed = category == "linear";
        // Each sort's recorded and sent shapes: one must be found among the other's.
        let mut compared: BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
        let mut shapes_of = |text: &str, is_theirs: bool| {
            let Some(sort) = sort_of(text) else { return };
            // Candles are written short in both; a linear ticker's deltas have some fields each.
            let is_short = !is_fixed || sort.starts_with("kline");
            let entry = compared.entry(sort.clone()).or_default();
            let into = if is_theirs { &mut entry.0 } else { &mut entry.1 };
            if sort.starts_with("tickers delta") {
                into.extend(fields(text).into_iter().map(|(key, form)| format!("{key} {form}")));
            } else {
                into.insert(folded(&shape(text, !is_short)));
            }
        };
        let frames = read_fixture_frames(&path).unwrap().map(Result::unwrap);
        for frame in frames.filter(|frame| frame.dir == "in" && !frame.raw.contains("SOLUSDT")) {
            shapes_of(&frame.raw, true);
        }
        sorts.values().flatten().for_each(|text| shapes_of(text, false));
        assert_eq!(compared.len(), expected, "{:#?}", compared.keys());
        for (sort, (theirs, ours)) in &compared {
            assert!(!theirs.is_empty() && !ours.is_empty(), "{sort}: {theirs:?} {ours:?}");
            if sort.starts_with("tickers delta") {
                // Forms of the same field are the same; of theirs only rare ones were not met here.
                let forms = |list: &BTreeSet<String>| {
                    list.iter()
                        .map(|part| part.split_once(' ').unwrap())
                        .map(|(key, form)| (key.to_owned(), form.to_owned()))
                        .collect::<BTreeSet<_>>()
                };
                let (theirs, ours) = (forms(theirs), forms(ours));
                let keys: BTreeSet<_> = theirs.iter().map(|(key, _)| key.clone()).collect();
                for (key, form) in &ours {
                    assert!(!keys.contains(key) || theirs.contains(&(key.clone(), form.clone())), "{key} {form} {theirs:?}");
                }
                assert!(ours.len() >= 12, "{ours:?}");
                continue;
            }
            assert!(ours.iter().all(|shape| shape.len() < 2_000), "{sort} {ours:?}");
            assert!(theirs.intersection(ours).next().is_some(), "{sort}\n{theirs:#?}\n{ours:#?}");
            // Deltas of books have as many shapes as they have levels that are gone; of all else ours are among theirs.
            assert!(sort.ends_with("delta  ") || ours.is_subset(theirs), "{sort}\n{theirs:#?}\n{ours:#?}");
        }
    }
}

#[tokio::test]
async fn instruments_look_as_they_did_on_the_wire() {
    let name = "rest/cf_v5_market_instruments_info_category_linear_status_Trading_limit_1000_20260809.json.zst";
    let Some(path) = recorded("instruments_look_as_they_did_on_the_wire", name) else { return };
    let theirs = String::from_utf8(zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap()).unwrap();
    let scene = start(options()).await;
    let ours = get(&scene.sim, "/v5/market/instruments-info?category=linear&status=Trading&limit=1000").await.body;
    // The entry of one market, and what stands around the list.
    let entry = |text: &str| {
        let begin = text.find("{\"symbol\":\"BTCUSDT\"").unwrap();
        let end = begin + text[begin..].find("\"symbolId\":").unwrap();
        let tail = &text[text.rfind("],").unwrap()..];
        let head = &text[..text.find("\"list\":[").unwrap()];
        let words = |text: &str| shape(text, true).join("").replace("word", "text").replace("zero", "number");
        (words(head), words(&text[begin..end]), words(tail).replace("text number", "text"))
    };
    assert_eq!(entry(&ours), entry(&theirs));
    scene.finish().await;
}
