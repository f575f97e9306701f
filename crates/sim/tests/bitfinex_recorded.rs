//! The simulated Bitfinex's frames beside recorded ones of the real one: the same keys in the same order, lists of the same length with
//! numbers of the same form.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;

use common::bitfinex::{Bitfinex, CHECKSUM, SEQUENCE, rules};
use common::{get, start};
use dccd_testkit::{fixtures, read_fixture_frames, skip};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// What a part of a message looks like: a number as the exchange writes them, a time, a word, a list of those.
fn form(raw: &RawValue) -> String {
    let text = raw.get();
    if text.starts_with('[') {
        let parts: Vec<&RawValue> = serde_json::from_str(text).unwrap();
        let mut forms: Vec<String> = parts.into_iter().map(form).collect();
        // Rows that look the same count once.
        if forms.iter().all(|form| form.starts_with('[')) {
            forms.sort();
            forms.dedup();
        }
        return format!("[{}]", forms.join(","));
    }
    if text.starts_with('"') || text == "null" {
        return text.to_owned();
    }
    let number = text.strip_prefix('-').unwrap_or(text);
    let (plain, exponent) = number.split_once('e').unwrap_or((number, "-7"));
    let (whole, fraction) = plain.split_once('.').unwrap_or((plain, "1"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let is_right = digits(whole) && digits(fraction) && !fraction.ends_with('0') && ["-7", "-8"].contains(&exponent);
    if is_right { "number".to_owned() } else { format!("strange {text}") }
}

/// Which kind of message of a channel a frame is, and how it looks.
fn look(channel: &str, raw: &str) -> Option<(String, String)> {
    let parts: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
    let body = parts.get(1)?.get();
    let kind = match body {
        "\"hb\"" | "\"te\"" | "\"tu\"" | "\"cs\"" => body.trim_matches('"'),
        // Of nothing nobody can say how it looks.
        "[]" => return None,
        _ if body.starts_with("[[") => "snapshot",
        _ => "update",
    };
    let forms: Vec<String> = parts.into_iter().map(form).collect();
    Some((format!("{channel} {kind}"), forms.join(" ")))
}

/// All keys of a text in their order.
fn keys(text: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut rest = text;
    while let Some(begin) = rest.find('"') {
        let end = begin + 1 + rest[begin + 1..].find('"').unwrap();
        let word = &rest[begin + 1..end];
        rest = &rest[end + 1..];
        if rest.starts_with(':') {
            keys.push(word.to_owned());
        }
    }
    keys
}

/// Looks of the frames of a stream by their kinds, and the keys of what is no list, by event and channel.
#[derive(Debug, Default)]
struct Looks {
    channels: BTreeMap<u64, String>,
    lists: BTreeMap<String, Vec<String>>,
    events: BTreeMap<String, Vec<String>>,
}

impl Looks {
    fn take(&mut self, raw: &str) {
        let Ok(value) = serde_json::from_str::<Value>(raw) else { return };
        if let Some(event) = value["event"].as_str() {
            let channel = value["channel"].as_str().unwrap_or("").to_owned();
            // Funding currencies have other rows, and keys of their own.
            if value.get("currency").is_some() {
                return;
            }
            self.events.insert(format!("{event} {channel}"), keys(raw));
            if let Some(number) = value["chanId"].as_u64() {
                self.channels.insert(number, channel);
            }
            return;
        }
        let channel = value[0].as_u64().and_then(|number| self.channels.get(&number));
        if let Some((kind, form)) = channel.and_then(|channel| look(channel, raw)) {
            let forms = self.lists.entry(kind).or_default();
            if !forms.contains(&form) {
                forms.push(form);
            }
        }
    }
}

/// What the simulated exchange sends to a connection with these flags.
async fn sent(flags: u32) -> Looks {
    let scene = start(rules("heartbeat=0.3,appended=false")).await;
    let mut bitfinex = Bitfinex::connect(&scene.sim).await;
    let mut looks = Looks::default();
    if flags != 0 {
        bitfinex.client.send(&json!({"event": "conf", "flags": flags}).to_string()).await;
    }
    for (channel, more) in [
        ("ticker", json!({"symbol": "tBTCUSD"})),
        ("trades", json!({"symbol": "tBTCUSD"})),
        ("book", json!({"symbol": "tBTCUSD", "prec": "P0", "freq": "F0", "len": "25"})),
        ("candles", json!({"key": "trade:1m:tBTCUSD"})),
        ("book", json!({"symbol": "tDOGE:USD", "prec": "P4", "freq": "F1", "len": "1"})),
    ] {
        let mut request = json!({"event": "subscribe", "channel": channel});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        bitfinex.client.send(&request.to_string()).await;
    }
    let mut beats = 0;
    while beats < 3 {
        let text = bitfinex.next_text().await.unwrap();
        beats += usize::from(text.contains("\"hb\""));
        looks.take(&text);
    }
    scene.finish().await;
    looks
}

/// The fixture of this name, or a word that it is missing.
fn recorded(test: &str, name: &str) -> Option<PathBuf> {
    let path = fixtures().map(|root| root.join("bitfinex").join(name)).filter(|path| path.is_file());
    if path.is_none() {
        skip(test, &format!("there are no recorded messages bitfinex/{name}"));
    }
    path
}

/// The real exchange's looks in these recordings.
fn read(test: &str, names: &[&str]) -> Option<Looks> {
    let mut looks = Looks::default();
    for name in names {
        for frame in read_fixture_frames(&recorded(test, name)?).unwrap().map(Result::unwrap) {
            if frame.dir == "in" {
                looks.take(&frame.raw);
            }
        }
    }
    Some(looks)
}

/// Ours look like theirs, as far as theirs were recorded.
fn compare(ours: &Looks, theirs: &Looks, wanted: &[&str]) {
    for kind in wanted {
        let (mine, real) = (&ours.lists[*kind], &theirs.lists[*kind]);
        // Sizes in a ticker and amounts of zero decimals differ from frame to frame, not in their form.
        assert!(mine.iter().all(|form| real.contains(form)), "{kind}: {mine:?} {real:?}");
    }
    for (event, keys) in &theirs.events {
        assert_eq!(ours.events.get(event).unwrap_or(keys), keys, "{event}");
    }
}

#[tokio::test]
async fn plain_frames_look_as_they_did_on_the_wire() {
    let test = "plain_frames_look_as_they_did_on_the_wire";
    let Some(theirs) = read(test, &["ws_v2_tBTCUSD_fUST_book_trades_ticker_20250815.frames.jsonl.zst"]) else { return };
    let kinds = ["ticker update", "trades snapshot", "trades te", "trades tu", "book snapshot", "book update", "book hb"];
    let ours = sent(0).await;
    compare(&ours, &theirs, &kinds);
    assert!(theirs.events.contains_key("subscribed book") && theirs.events.len() == 4, "{:?}", theirs.events);
}

#[tokio::test]
async fn numbered_frames_look_as_they_did_on_the_wire() {
    let test = "numbered_frames_look_as_they_did_on_the_wire";
    let Some(theirs) = read(test, &["ws_v2_8pairs_seqall_20210405.frames.jsonl.zst"]) else { return };
    let kinds = ["ticker update", "trades snapshot", "trades te", "trades tu", "book snapshot", "book update", "book hb"];
    compare(&sent(SEQUENCE).await, &theirs, &kinds);
    for event in ["info ", "conf ", "subscribed trades"] {
        assert!(theirs.events.contains_key(event), "{:?}", theirs.events);
    }
}

#[tokio::test]
async fn checksums_look_as_they_did_on_the_wire() {
    let test = "checksums_look_as_they_did_on_the_wire";
    let Some(theirs) = read(test, &["ws_v2_tXRPBTC_book_checksum_cs.frames.jsonl.zst"]) else { return };
    let ours = sent(CHECKSUM).await;
    compare(&ours, &Looks { events: BTreeMap::new(), ..theirs }, &["book snapshot", "book update", "book cs"]);
}

#[tokio::test]
async fn rest_answers_look_as_they_did_on_the_wire() {
    let test = "rest_answers_look_as_they_did_on_the_wire";
    let Some(path) = recorded(test, "rest/bbgo_TestClient_202508.frames.jsonl.zst") else { return };
    let scene = start(rules("")).await;
    let mut compared = 0;
    for frame in read_fixture_frames(&path).unwrap().map(Result::unwrap) {
        let Some((_, target)) = frame.conn.split_once("/v2/") else { continue };
        let ours = get(&scene.sim, &format!("/v2/{target}")).await;
        assert_eq!(ours.status, 200, "{target}");
        if target.starts_with("conf/") {
            let first = |text: &str| serde_json::from_str::<Value>(text).unwrap()[0][0].clone();
            let (mine, real) = (first(&ours.body), first(&frame.raw));
            let kinds = |row: &Value| row[1].as_array().unwrap().iter().map(|part| part.is_string()).collect::<Vec<_>>();
            assert_eq!((kinds(&mine), mine[0].is_string()), (kinds(&real), true), "{mine} {real}");
        } else {
            let form = |text: &str| form(serde_json::from_str(text).unwrap());
            assert_eq!(form(&ours.body), form(&frame.raw), "{target}");
        }
        compared += 1;
    }
    assert_eq!(compared, 3);
    scene.finish().await;
}
