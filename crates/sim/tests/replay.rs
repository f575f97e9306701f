//! Replay: recorded frames go out exactly as they were, each once, in order; recorded snapshots link to them.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{Client, DEADLINE, Scene, get, start};
use dccd_sim::{LedgerRecord, ReplayOptions, ReplayStart, SimOptions};
use serde_json::Value;

fn line(dir: &str, conn: &str, raw: &str) -> String {
    serde_json::json!({"ts": 1_600_000_000.0, "dir": dir, "conn": conn, "raw": raw}).to_string()
}

fn diff(first: u64, last: u64, price: &str) -> String {
    format!(
        r#"{{"e":"depthUpdate","E":1600000000000,"s":"FOOUSDT","U":{first},"u":{last},"b":[["{price}","1.00"]],"a":[]}}"#
    )
}

fn combined(data: &str) -> String {
    format!(r#"{{"stream":"foousdt@depth@100ms","data":{data}}}"#)
}

async fn replay(files: Vec<PathBuf>, start_at: ReplayStart) -> Scene {
    let replay = ReplayOptions { start: start_at, ..ReplayOptions::new(files) };
    start(SimOptions { replay: Some(replay), ..SimOptions::default() }).await
}

async fn done(scene: &Scene) {
    tokio::time::timeout(DEADLINE, scene.sim.wait_replay_done()).await.expect("the replay ends");
    assert!(scene.sim.replay_done());
}

/// Five diffs with a snapshot fetched between the second and the third.
fn recording(dir: &Path) -> PathBuf {
    let path = dir.join("foo.frames.jsonl");
    let mut lines: Vec<String> = Vec::new();
    for (i, (first, last)) in [(10, 12), (13, 13), (14, 20), (21, 22), (23, 30)].into_iter().enumerate() {
        if i == 2 {
            let snapshot = r#"{"lastUpdateId": 15, "bids": [["9.00","5.0"],["8.00","1.0"]], "asks": [["11.00","2.0"]]}"#;
            lines.push(line("http", "https://api.binance.com/api/v3/depth?symbol=FOOUSDT&limit=1000", snapshot));
        }
        lines.push(line("in", "c", &combined(&diff(first, last, &format!("{}.50", 5 + i)))));
    }
    std::fs::write(&path, lines.join("\n")).unwrap();
    path
}

#[tokio::test]
async fn frames_go_out_as_recorded_and_the_snapshot_waits_for_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let scene = replay(vec![recording(dir.path())], ReplayStart::Streams(1)).await;
    let mut wrapped = Client::connect(&scene.sim, "/stream?streams=foousdt@depth@100ms").await;
    let mut received = vec![wrapped.next_text().await];
    let snapshot = get(&scene.sim, "/api/v3/depth?symbol=FOOUSDT&limit=1000").await;
    assert_eq!(snapshot.body, r#"{"lastUpdateId": 15, "bids": [["9.00","5.0"],["8.00","1.0"]], "asks": [["11.00","2.0"]]}"#);
    done(&scene).await;
    while received.len() < 5 {
        received.push(wrapped.next_text().await);
    }
    assert_eq!(received[0], combined(&diff(10, 12, "5.50")));
    assert_eq!(received[4], combined(&diff(23, 30, "9.50")));

    // Whoever comes later gets the book as it is by now.
    let later = get(&scene.sim, "/api/v3/depth?symbol=FOOUSDT&limit=1").await.json();
    assert_eq!(
        later,
        serde_json::json!({"lastUpdateId": 30, "bids": [["9.50000000","1.00000000"]], "asks": [["11.00000000","2.00000000"]]})
    );
    let info = get(&scene.sim, "/api/v3/exchangeInfo").await.json();
    assert_eq!(info["symbols"][0]["symbol"], "FOOUSDT");
    assert_eq!((info["symbols"][0]["baseAsset"].as_str(), info["symbols"].as_array().unwrap().len()), (Some("FOO"), 1));
    let ledger = scene.finish().await;
    assert!(ledger.iter().any(|r| matches!(r, LedgerRecord::ReplayDone { sent: 5, unwanted: 0, .. })));
}

#[tokio::test]
async fn a_raw_connection_gets_the_bare_data_and_another_pace_its_own_wrapper() {
    let dir = tempfile::tempdir().unwrap();
    let scene = replay(vec![recording(dir.path())], ReplayStart::Command).await;
    let mut raw = Client::connect(&scene.sim, "/ws/foousdt@depth@100ms").await;
    let mut slow = Client::connect(&scene.sim, "/stream?streams=foousdt@depth").await;
    scene.sim.replay_start().await.unwrap();
    assert_eq!(raw.next_text().await, diff(10, 12, "5.50"));
    assert_eq!(slow.next_text().await, format!(r#"{{"stream":"foousdt@depth","data":{}}}"#, diff(10, 12, "5.50")));
    let _ = get(&scene.sim, "/api/v3/depth?symbol=FOOUSDT").await;
    done(&scene).await;
    scene.finish().await;
}

#[tokio::test]
async fn a_request_before_the_replay_begins_is_answered_at_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let scene = replay(vec![recording(dir.path())], ReplayStart::Command).await;
    let mut client = Client::connect(&scene.sim, "/stream?streams=foousdt@depth@100ms").await;
    let asked = async {
        let reply = get(&scene.sim, "/api/v3/depth?symbol=FOOUSDT").await;
        assert_eq!(reply.json()["lastUpdateId"], 15);
    };
    let started = async {
        // The request stands in no ledger until it is answered; the replay may begin before or after it, both are right.
        scene.sim.replay_start().await.unwrap();
    };
    tokio::join!(asked, started);
    for _ in 0..5 {
        client.next_text().await;
    }
    done(&scene).await;
    scene.finish().await;
}

#[tokio::test]
async fn diffs_wait_at_a_snapshot_until_somebody_asks_or_for_so_long() {
    let dir = tempfile::tempdir().unwrap();
    let files = vec![recording(dir.path())];
    let scene = replay(files.clone(), ReplayStart::Streams(1)).await;
    let mut client = Client::connect(&scene.sim, "/stream?streams=foousdt@depth@100ms").await;
    client.next_text().await;
    client.next_text().await;
    assert!(tokio::time::timeout(Duration::from_millis(300), client.next()).await.is_err(), "the diffs ran on");
    assert!(!scene.sim.replay_done());
    get(&scene.sim, "/api/v3/depth?symbol=FOOUSDT").await;
    client.next_text().await;
    done(&scene).await;
    scene.finish().await;

    let replay = ReplayOptions { snapshot_wait: Duration::from_millis(50), ..ReplayOptions::new(files) };
    let scene = start(SimOptions { replay: Some(replay), ..SimOptions::default() }).await;
    let mut client = Client::connect(&scene.sim, "/stream?streams=foousdt@depth@100ms").await;
    for _ in 0..5 {
        client.next_text().await;
    }
    done(&scene).await;
    scene.finish().await;
}

#[tokio::test]
async fn the_recorded_pace_is_kept_or_sped_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pace.frames.jsonl");
    let trade = |id: u64, ts: f64| {
        let data =
            format!(r#"{{"e":"trade","E":1,"s":"FOOUSDT","t":{id},"p":"1","q":"1","T":1600000000000,"m":true,"M":true}}"#);
        serde_json::json!({"ts": ts, "dir": "in", "conn": "raw", "raw": data}).to_string()
    };
    std::fs::write(&path, [trade(1, 1e9), trade(2, 1e9 + 2.0), trade(3, 1e9 + 4.0)].join("\n")).unwrap();
    let replay = ReplayOptions { speed: 10.0, start: ReplayStart::Streams(1), ..ReplayOptions::new(vec![path]) };
    let scene = start(SimOptions { replay: Some(replay), ..SimOptions::default() }).await;
    let mut client = Client::connect(&scene.sim, "/ws/foousdt@trade").await;
    client.next_text().await;
    let begun = std::time::Instant::now();
    client.next_text().await;
    client.next_text().await;
    // Four seconds at ten times the pace; the first frame may have been read a little late.
    assert!(begun.elapsed() > Duration::from_millis(250), "{:?}", begun.elapsed());
    done(&scene).await;
    scene.finish().await;
}

#[tokio::test]
async fn a_replay_waits_for_whoever_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("many.frames.jsonl");
    let lines: Vec<String> = (1..=200_000_u64)
        .map(|id| {
            let data = format!(
                r#"{{"e":"trade","E":1,"s":"FOOUSDT","t":{id},"p":"1.0","q":"1.0","T":1600000000000,"m":true,"M":true}}"#
            );
            line("in", "raw", &data)
        })
        .collect();
    std::fs::write(&path, lines.join("\n")).unwrap();
    let scene = replay(vec![path], ReplayStart::Quiet(Duration::from_millis(50))).await;
    let id = |frame: &Value| frame["data"]["t"].as_u64().unwrap();

    let mut first = Client::connect(&scene.sim, "/stream?streams=foousdt@trade").await;
    assert_eq!(id(&first.next_json().await), 1);
    drop(first);
    // What was on its way to the first client is gone with it, and REST has it; the rest waited.
    let mut second = Client::connect(&scene.sim, "/stream?streams=foousdt@trade").await;
    let mut last = id(&second.next_json().await);
    assert!(last < 200_000, "the replay ran on with nobody there");
    let missed = get(&scene.sim, "/api/v3/historicalTrades?symbol=FOOUSDT&fromId=1&limit=1000").await.json();
    assert_eq!(missed[0]["id"], 1);
    while last < 200_000 {
        let next = id(&second.next_json().await);
        assert_eq!(next, last + 1);
        last = next;
    }
    done(&scene).await;
    scene.finish().await;
}

/// Serves a file to a client that wants all of it, and compares.
async fn serve_fixture(path: &Path) {
    let frames: Vec<_> = dccd_testkit::read_fixture_frames(path).unwrap().map(Result::unwrap).collect();
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for frame in frames.iter().filter(|f| f.dir == "in") {
        let value: Value = serde_json::from_str(&frame.raw).unwrap();
        let (name, text) = if let Some(name) = value["stream"].as_str() {
            (name.to_owned(), frame.raw.clone())
        } else {
            let symbol = value["s"].as_str().unwrap().to_lowercase();
            let name = match value["e"].as_str().unwrap() {
                "depthUpdate" => format!("{symbol}@depth@100ms"),
                event => format!("{symbol}@{event}"),
            };
            let text = format!(r#"{{"stream":"{name}","data":{}}}"#, frame.raw);
            (name, text)
        };
        expected.entry(name).or_default().push(text);
    }
    let total: usize = expected.values().map(Vec::len).sum();
    let scene = replay(vec![path.to_owned()], ReplayStart::Streams(expected.len())).await;
    let mut client = Client::connect(&scene.sim, "/stream").await;
    let streams: Vec<&str> = expected.keys().map(String::as_str).collect();
    let mut texts = client.subscribe(&streams).await;
    let books: Vec<String> = streams.iter().filter_map(|s| s.strip_suffix("@depth@100ms")).map(str::to_uppercase).collect();
    let sim = &scene.sim;
    // All at once, as a collector of several books asks.
    let snapshots = futures_util::future::join_all(books.iter().map(|id| async move {
        let reply = get(sim, &format!("/api/v3/depth?symbol={id}&limit=1000")).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        (id.clone(), reply.body)
    }));
    let frames_in = async {
        while texts.len() < total {
            texts.push(client.next_text().await);
        }
        texts
    };
    let (snapshots, texts) = tokio::join!(snapshots, frames_in);
    let snapshots: BTreeMap<String, String> = snapshots.into_iter().collect();
    done(&scene).await;

    let mut received: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for text in &texts {
        let value: Value = serde_json::from_str(text).unwrap();
        received.entry(value["stream"].as_str().unwrap().to_owned()).or_default().push(text.clone());
    }
    assert!(received == expected, "{}: other frames than recorded", path.display());
    for frame in frames.iter().filter(|f| f.dir == "http" && f.conn.contains("/depth?")) {
        let named = frame.conn.split_once("symbol=").and_then(|(_, rest)| rest.split('&').next());
        let Some(id) = named.or_else(|| books.first().map(String::as_str)) else { continue };
        let Some(served) = snapshots.get(id) else { continue };
        assert!(*served == frame.raw, "{}: another snapshot of {id} than recorded", path.display());
        let served: Value = serde_json::from_str(served).unwrap();
        let last = served["lastUpdateId"].as_u64().unwrap();
        let events = received[&format!("{}@depth@100ms", id.to_lowercase())].iter().map(|t| {
            let value: Value = serde_json::from_str(t).unwrap();
            (value["data"]["U"].as_u64().unwrap(), value["data"]["u"].as_u64().unwrap())
        });
        let link = events.clone().find(|(_, u)| *u > last);
        assert!(link.is_none_or(|(first, _)| first <= last + 1), "{id}: the snapshot does not link");
        assert!(events.clone().next().is_some_and(|(first, _)| first <= last + 1));
    }
    let ledger = scene.finish().await;
    let told = ledger.iter().filter(|r| matches!(r, LedgerRecord::Frame { stream, .. } if !stream.is_empty())).count();
    assert_eq!(told, total);
}

#[tokio::test]
async fn every_recorded_spot_frame_is_served_once_and_in_order() {
    let Some(fixtures) = dccd_testkit::fixtures() else {
        dccd_testkit::skip("every_recorded_spot_frame_is_served_once_and_in_order", "no recorded frames");
        return;
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(fixtures.join("binance"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("ws_spot_")))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        serve_fixture(&file).await;
    }
}
