//! The simulated perpetuals' messages beside recorded ones of the real ones: the same keys in the same order, numbers of the same form.
//! What the exchange added since they were recorded is known by name.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::usdm::{Applied, Book, options};
use common::{Client, get, start};
use dccd_testkit::{FixtureFrame, fixtures, read_fixture_frames, skip};
use serde_json::Value;

/// Fields that are newer than the recordings.
const SINCE: [&str; 3] = ["st", "ps", "nq"];

/// Keys in their order, as far as the recordings know them, with the form of their values: of numbers in texts how many decimals.
fn shape(text: &str) -> Vec<(String, String)> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(begin) = rest.find('"') {
        let Some(length) = rest[begin + 1..].find('"') else { break };
        let (key, after) = (&rest[begin + 1..begin + 1 + length], &rest[begin + 2 + length..]);
        rest = after;
        let Some(value) = after.trim_start().strip_prefix(':') else { continue };
        let value = value.trim_start();
        if !SINCE.contains(&key) {
            parts.push((key.to_owned(), form(value)));
        }
        // A text that is a value is no key.
        if let Some(text) = value.strip_prefix('"') {
            rest = &text[text.find('"').unwrap() + 1..];
        }
    }
    parts
}

fn form(value: &str) -> String {
    let Some(text) = value.strip_prefix('"') else {
        return match value.as_bytes()[0] {
            b'0'..=b'9' | b'-' => "number".to_owned(),
            b't' | b'f' => "flag".to_owned(),
            other => char::from(other).to_string(),
        };
    };
    let text = &text[..text.find('"').unwrap()];
    let number = text.strip_prefix('-').unwrap_or(text);
    match number.split_once('.') {
        Some((_, fraction)) if fraction.bytes().all(|b| b.is_ascii_digit()) => format!("{} decimals", fraction.len()),
        _ if number.bytes().all(|b| b.is_ascii_digit()) => "whole".to_owned(),
        _ => "word".to_owned(),
    }
}

/// Shapes by the event's name and whether it came wrapped, one each.
type Shapes = BTreeMap<(String, bool), Vec<(String, String)>>;

/// Of markets whose numbers have other decimals, only that there are numbers.
fn enter(shapes: &mut Shapes, text: &str, is_exact: bool) {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    let Some(event) = value.get("data").unwrap_or(&value)["e"].as_str() else { return };
    let mut shape = shape(text);
    if !is_exact {
        let is_number = |form: &str| form == "whole" || form.ends_with("decimals");
        shape.iter_mut().filter(|(_, form)| is_number(form)).for_each(|(_, form)| "number in a text".clone_into(form));
    }
    shapes.entry((event.to_owned(), value.get("stream").is_some())).or_insert(shape);
}

fn recorded(test: &str, name: &str) -> Option<Vec<FixtureFrame>> {
    let path = fixtures().map(|root| root.join("binance").join(name)).filter(|path| path.is_file());
    if path.is_none() {
        skip(test, &format!("there are no recorded messages binance/{name}"));
    }
    Some(read_fixture_frames(path?).unwrap().map(Result::unwrap).collect())
}

/// One message of each kind that the simulated exchange sends.
async fn sent(streams: &[(&str, &str)], is_exact: bool) -> Shapes {
    let scene = start(options()).await;
    let mut shapes = Shapes::new();
    for (route, stream) in streams {
        let mut client = Client::connect(&scene.sim, &format!("{route}{stream}")).await;
        enter(&mut shapes, &client.next_text().await, is_exact);
    }
    scene.finish().await;
    shapes
}

#[tokio::test]
async fn messages_look_as_they_did_on_the_wire() {
    let test = "messages_look_as_they_did_on_the_wire";
    let public = "/public/stream?streams=";
    let exact = [(public, "btcusdt@trade"), (public, "btcusdt@bookTicker"), (public, "btcusdt@depth@0ms")];
    let market = "/market/stream?streams=";
    let rough = [
        (market, "ethusdt@aggTrade"),
        (market, "ethusdt@kline_1m"),
        (public, "ethusdt@depth@100ms"),
        (public, "ethusdt@bookTicker"),
    ];
    let raw = [("/public/ws/", "ethusdt@depth")];
    for (name, streams, is_exact) in [
        ("ws_usdm_BTCUSDT_depth0ms_trade_bookticker_20240808.frames.jsonl.zst", &exact[..], true),
        ("ws_usdm_4pairs_20210417.frames.jsonl.zst", &rough, false),
        ("ws_usdm_ETHUSDT_depth_20231230.frames.jsonl.zst", &raw, true),
    ] {
        let Some(frames) = recorded(test, name) else { return };
        let mut theirs = Shapes::new();
        frames.iter().filter(|frame| frame.dir == "in").for_each(|frame| enter(&mut theirs, &frame.raw, is_exact));
        assert_eq!(theirs.len(), streams.len(), "{name}");
        assert_eq!(sent(streams, is_exact).await, theirs, "{name}");
    }
}

#[tokio::test]
async fn levels_and_snapshots_look_as_they_did_on_the_wire() {
    let name = "ws_usdm_BTCUSDT_depth0ms_trade_bookticker_20240808.frames.jsonl.zst";
    let Some(frames) = recorded("levels_and_snapshots_look_as_they_did_on_the_wire", name) else { return };
    let theirs = frames.iter().find(|frame| frame.dir == "http").unwrap();
    let scene = start(options()).await;
    let ours = get(&scene.sim, "/fapi/v1/depth?symbol=BTCUSDT&limit=1000").await.body;
    assert_eq!(shape(&ours), shape(&theirs.raw));
    let level = |text: &str| {
        let value: Value = serde_json::from_str(text).unwrap();
        let decimals = |value: &Value| value.as_str().unwrap().split_once('.').map(|(_, fraction)| fraction.len());
        (decimals(&value["bids"][3][0]), decimals(&value["asks"][5][1]))
    };
    assert_eq!(level(&ours), level(&theirs.raw));
    scene.finish().await;
}

/// The rule by which the tests here keep a book holds for the real exchange's messages, too.
#[tokio::test]
async fn recorded_books_link_by_the_same_rule() {
    for (name, least) in [
        ("ws_usdm_BTCUSDT_depth0ms_trade_bookticker_20240808.frames.jsonl.zst", 6_000),
        ("ws_usdm_ETHUSDT_depth_20231230.frames.jsonl.zst", 40),
    ] {
        let Some(frames) = recorded("recorded_books_link_by_the_same_rule", name) else { return };
        let snapshot = frames.iter().find(|frame| frame.dir == "http").unwrap();
        let mut book = Book::of(&serde_json::from_str(&snapshot.raw).unwrap());
        let mut applied = 0;
        for frame in frames.iter().filter(|frame| frame.dir == "in" && frame.raw.contains("depthUpdate")) {
            let value: Value = serde_json::from_str(&frame.raw).unwrap();
            match book.apply(value.get("data").unwrap_or(&value)) {
                Applied::Yes => applied += 1,
                Applied::Old => {}
                Applied::Gap => panic!("{name}: {}", frame.raw),
            }
        }
        assert!(applied > least, "{name}: {applied}");
    }
}

/// All keys of an object, or of the first in a list.
fn keys(value: &Value) -> BTreeSet<String> {
    let object = if value.is_array() { &value[0] } else { value };
    object.as_object().map(|object| object.keys().cloned().collect()).unwrap_or_default()
}

#[tokio::test]
async fn answers_have_the_keys_of_recorded_ones() {
    let name = "rest/gct2025_usdm.frames.jsonl.zst";
    let Some(frames) = recorded("answers_have_the_keys_of_recorded_ones", name) else { return };
    let scene = start(options()).await;
    let mut compared = 0;
    for (path, query, since) in [
        ("time", "", &[][..]),
        ("aggTrades", "?symbol=BTCUSDT", &[]),
        ("trades", "?symbol=BTCUSDT", &["isRPITrade"]),
        ("depth", "?symbol=BTCUSDT&limit=5", &[]),
        ("ticker/24hr", "?symbol=BTCUSDT", &[]),
        ("ticker/price", "?symbol=BTCUSDT", &[]),
        ("ticker/bookTicker", "?symbol=BTCUSDT", &["lastUpdateId"]),
        ("premiumIndex", "?symbol=BTCUSDT", &[]),
        ("openInterest", "?symbol=BTCUSDT", &[]),
        ("exchangeInfo", "", &[]),
        ("klines", "?symbol=BTCUSDT&interval=1d&limit=2", &[]),
        ("fundingRate", "?symbol=BTCUSDT", &["markPrice"]),
    ] {
        let begin = format!("https://fapi.binance.com/fapi/v1/{path}");
        let is_it = |conn: &str| conn.strip_prefix(&begin).is_some_and(|rest| rest.is_empty() || rest.starts_with('?'));
        let answers = frames.iter().filter(|frame| is_it(&frame.conn));
        let answers = answers.map(|frame| serde_json::from_str::<Value>(&frame.raw).unwrap());
        let theirs = answers.filter(|value| value.get("code").is_none()).max_by_key(|value| keys(value).len()).unwrap();
        let ours = get(&scene.sim, &format!("/fapi/v1/{path}{query}")).await.json();
        let mut mine = keys(&ours);
        since.iter().for_each(|key| assert!(mine.remove(*key), "{path} {key}"));
        assert_eq!(mine, keys(&theirs), "{path}");
        if path == "exchangeInfo" {
            let filters = |value: &Value| {
                let filters = value["symbols"][0]["filters"].as_array().unwrap().iter();
                filters.map(|filter| (filter["filterType"].to_string(), keys(filter))).collect::<Vec<_>>()
            };
            assert_eq!(keys(&ours["symbols"]), keys(&theirs["symbols"]));
            assert_eq!(filters(&ours), filters(&theirs));
        }
        assert_eq!(ours[0].as_array().map(Vec::len), theirs[0].as_array().map(Vec::len));
        compared += 1;
    }
    assert_eq!(compared, 12);
    scene.finish().await;
}
