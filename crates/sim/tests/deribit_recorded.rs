//! The simulated Deribit's frames beside recorded ones of the real one: the same keys in the same order, numbers of the same form.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use common::deribit::{Deribit, options};
use common::{get, start};
use dccd_testkit::{fixtures, read_fixture_frames, skip};
use serde_json::Value;

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

/// What stands under each key: whole numbers, numbers with decimals, texts.
fn forms(value: &Value, key: &str, out: &mut BTreeMap<String, BTreeSet<&'static str>>) {
    let form = match value {
        Value::Object(object) => return object.iter().for_each(|(key, value)| forms(value, key, out)),
        Value::Array(rows) => return rows.iter().for_each(|row| forms(row, key, out)),
        Value::Number(number) if number.is_f64() => "decimal",
        Value::Number(_) => "whole",
        Value::String(_) => "text",
        Value::Bool(_) => "bool",
        Value::Null => return,
    };
    out.entry(key.to_owned()).or_default().insert(form);
}

/// What a frame is.
fn sort_of(text: &str) -> Option<String> {
    let value: Value = serde_json::from_str(text).ok()?;
    if value["method"] == "heartbeat" {
        return Some("heartbeat".into());
    }
    let Some(channel) = value["params"]["channel"].as_str() else {
        return value["result"][0].is_string().then(|| "subscribed".into());
    };
    let parts: Vec<&str> = channel.split('.').collect();
    let data = &value["params"]["data"];
    // Options, futures and those without a trade have other fields.
    let is_ours = parts[1] == "trades" || parts[1] == "BTC-PERPETUAL" || parts[0] == "book";
    is_ours.then(|| match parts.as_slice() {
        ["book", _, _] => {
            let side = |name: &str| !data[name].as_array().unwrap().is_empty();
            format!("book {} {} {}", data["type"].as_str().unwrap_or(""), side("bids"), side("asks"))
        }
        ["book", ..] => "top".into(),
        [first, ..] => (*first).to_owned(),
        [] => String::new(),
    })
}

/// One frame of each sort that the simulated exchange sends.
async fn sent() -> BTreeMap<String, String> {
    let scene = start(options()).await;
    let mut sorts = BTreeMap::new();
    let mut deribit = Deribit::connect(&scene.sim).await;
    let id = "BTC-PERPETUAL";
    let channels =
        ["trades.X.100ms", "book.X.100ms", "book.X.none.20.100ms", "quote.X", "ticker.X.100ms", "chart.trades.X.1"];
    let channels: Vec<String> = channels.iter().map(|text| text.replace('X', id)).collect();
    let command =
        serde_json::json!({"jsonrpc": "2.0", "id": 0, "method": "public/subscribe", "params": {"channels": channels}});
    deribit.client.send(&command.to_string()).await;
    for _ in 0..500 {
        let text = deribit.next_text().await.unwrap();
        // Only some trades are of a forced end of a position.
        if let Some(sort) = sort_of(&text).filter(|_| !text.contains("liquidation")) {
            sorts.insert(sort, text);
        }
    }
    for (sort, target) in [
        ("rest book", "get_order_book?instrument_name=BTC-PERPETUAL&depth=3"),
        ("rest summary", "get_book_summary_by_instrument?instrument_name=BTC-PERPETUAL"),
        ("rest trades", "get_last_trades_by_instrument?instrument_name=BTC-PERPETUAL&count=3"),
        (
            "rest chart",
            "get_tradingview_chart_data?instrument_name=BTC-PERPETUAL&start_timestamp=1700000000000&end_timestamp=1700000600000&resolution=1",
        ),
        ("rest inverse", "get_instrument?instrument_name=BTC-PERPETUAL"),
        ("rest linear", "get_instrument?instrument_name=BTC_USDC-PERPETUAL"),
    ] {
        sorts.insert(sort.into(), get(&scene.sim, &format!("/api/v2/public/{target}")).await.body);
    }
    scene.sim.faults().inject(dccd_sim::Fault::RestLimit { count: 1, ban_ms: None }).await.unwrap();
    sorts.insert("refusal".into(), get(&scene.sim, "/api/v2/public/get_time").await.body);
    scene.finish().await;
    sorts
}

/// The fixture of this name, or a word that it is missing.
fn recorded(test: &str, name: &str) -> Option<PathBuf> {
    let path = fixtures().map(|root| root.join("deribit").join(name)).filter(|path| path.is_file());
    if path.is_none() {
        skip(test, &format!("there are no recorded messages deribit/{name}"));
    }
    path
}

/// What the real exchange has added since, and what only some of its messages have.
const LATER: [&str; 4] = ["volume_notional", "contracts", "funding_8h", "current_funding"];
/// What ours never have: parts of combos, an interest that is accrued.
const NEVER: [&str; 2] = ["combo_trade_id", "interest_value"];

/// Holds a frame against a recorded one; `in_order` where the exchange has not changed its keys' order since.
fn compare(sort: &str, ours: &str, theirs: &str, in_order: bool) {
    let is_known = |key: &String, others: &[String]| others.contains(key) || !LATER.contains(&key.as_str());
    let (mut our_keys, mut their_keys) = (keys(ours), keys(theirs));
    our_keys.retain(|key| is_known(key, &their_keys));
    their_keys.retain(|key| !NEVER.contains(&key.as_str()) && key != "id");
    our_keys.retain(|key| key != "id");
    if !in_order {
        our_keys.sort();
        their_keys.sort();
    }
    assert_eq!(our_keys, their_keys, "{sort}: {ours} {theirs}");
    let [our_forms, their_forms] = [ours, theirs].map(|text| {
        let mut found = BTreeMap::new();
        forms(&serde_json::from_str(text).unwrap(), "", &mut found);
        found
    });
    for (key, form) in &their_forms {
        let is_same = our_forms.get(key).is_none_or(|our| our.is_subset(form) || form.is_subset(our));
        assert!(is_same, "{sort} {key}: {:?} {form:?}", our_forms.get(key));
    }
}

#[tokio::test]
async fn frames_look_as_they_did_on_the_wire() {
    let test = "frames_look_as_they_did_on_the_wire";
    let sorts = sent().await;
    let mut compared: BTreeMap<String, usize> = BTreeMap::new();
    for name in
        ["ws_samples_cmp_deribit.frames.jsonl.zst", "ws_v2_20210405.frames.jsonl.zst", "ws_v2_20210722.frames.jsonl.zst"]
    {
        let Some(path) = recorded(test, name) else { return };
        for frame in read_fixture_frames(&path).unwrap().map(Result::unwrap).filter(|frame| frame.dir == "in") {
            let Some(sort) = sort_of(&frame.raw) else { continue };
            let Some(ours) = sorts.get(&sort) else { continue };
            // Those have their keys in another order now: see the next test.
            let in_order = !["trades", "quote", "chart"].contains(&sort.as_str());
            compare(&sort, ours, &frame.raw, in_order);
            *compared.entry(sort).or_insert(0) += 1;
        }
    }
    for sort in
        ["trades", "quote", "chart", "ticker", "top", "book snapshot true true", "book change true true", "subscribed"]
    {
        assert!(compared.contains_key(sort), "{sort}: {compared:?}");
    }
    let Some(path) = recorded(test, "ws_samples_cmp_deribit.frames.jsonl.zst") else { return };
    for frame in read_fixture_frames(&path).unwrap().map(Result::unwrap) {
        if frame.raw.contains("\"asks\":[[") && frame.raw.contains("\"result\"") && frame.raw.contains("BTC-PERPETUAL") {
            compare("rest book", &sorts["rest book"], &frame.raw, true);
        } else if frame.raw.contains("\"mid_price\"") && frame.raw.contains("BTC-24JUN22") {
            compare("rest summary", &sorts["rest summary"], &frame.raw, true);
        }
    }
    let Some(path) = recorded(test, "rest/errors_quoted.frames.jsonl.zst") else { return };
    let quoted = read_fixture_frames(&path).unwrap().map(Result::unwrap).find(|frame| frame.raw.contains("10028")).unwrap();
    let [ours, theirs] = [&sorts["refusal"], &quoted.raw].map(|text| serde_json::from_str::<Value>(text).unwrap());
    assert_eq!((&ours["error"], &ours["jsonrpc"]), (&theirs["error"], &theirs["jsonrpc"]));
}

#[tokio::test]
async fn newer_messages_have_their_keys_in_the_newer_order() {
    let Some(path) = recorded("newer_messages_have_their_keys_in_the_newer_order", "docs_nautilus.jsonl.zst") else {
        return;
    };
    let lines = String::from_utf8(zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap()).unwrap();
    let documents: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sorts = sent().await;
    for (sort, file) in [("trades", "ws_trades.json"), ("quote", "ws_quote.json"), ("chart", "ws_chart.json")] {
        let found = documents.iter().find(|document| document["file"].as_str().unwrap().ends_with(file)).unwrap();
        compare(sort, &sorts[sort], found["text"].as_str().unwrap(), true);
    }
}

#[tokio::test]
async fn answers_have_the_keys_that_were_recorded() {
    let test = "answers_have_the_keys_that_were_recorded";
    let sorts = sent().await;
    // These were sorted by whoever recorded them.
    for (sort, name) in [
        ("rest book", "rest/nautilus_http_get_order_book.json"),
        ("rest trades", "rest/nautilus_http_get_last_trades.json"),
        ("rest chart", "rest/nautilus_http_get_tradingview_chart_data.json"),
    ] {
        let Some(path) = recorded(test, name) else { return };
        let text = std::fs::read_to_string(path).unwrap();
        compare(sort, &sorts[sort].replace("\"liquidation\":\"T\",", ""), &text, false);
    }
    for (sort, name, id) in [
        ("rest inverse", "rest/nautilus_http_get_instruments.json", "BTC-PERPETUAL"),
        (
            "rest linear",
            "rest/cf_api_v2_public_get_instruments_currency_USDC_expired_false_20210722.json",
            "BTC_USDC-PERPETUAL",
        ),
    ] {
        let Some(path) = recorded(test, name) else { return };
        let list: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let theirs = list["result"].as_array().unwrap().iter().find(|row| row["instrument_name"] == id).unwrap();
        let ours: Value = serde_json::from_str(&sorts[sort]).unwrap();
        for (key, value) in theirs.as_object().unwrap().iter().filter(|(key, _)| *key != "rfq") {
            let of_ours = &ours["result"][key];
            let is_alike = (value.is_number() && of_ours.is_number()) || (value.is_string() && of_ours.is_string());
            assert!(is_alike || value == of_ours, "{sort} {key}: {value} {of_ours}");
        }
    }
}
