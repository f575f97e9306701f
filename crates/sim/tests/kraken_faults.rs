//! Faults of the simulated Kraken: those that every exchange has, by channel and market, and its own.

mod common;

use std::time::{Duration, Instant};

use common::kraken::{Book, Kraken, options};
use common::{Client, DEADLINE, End, Scene, get, start};
use dccd_sim::{Corruption, Disconnection, Fault, FrameStatus, InjectError, LedgerRecord, Target};
use serde_json::{Value, json};

const TRADES: &str = "trade:BTC/USD";
const BOOK: &str = "book:BTC/USD";

async fn inject(scene: &Scene, fault: Fault) -> String {
    scene.sim.faults().inject(fault).await.unwrap()
}

fn ids(value: &Value) -> Vec<u64> {
    value["data"].as_array().unwrap().iter().map(|row| row["trade_id"].as_u64().unwrap()).collect()
}

async fn subscribed(channel: &str, more: Value) -> (Scene, Kraken) {
    let scene = start(options()).await;
    let mut kraken = Kraken::connect(&scene.sim).await;
    kraken.subscribe(channel, "BTC/USD", more).await;
    (scene, kraken)
}

/// A connection with a book of ten levels, its snapshot applied.
async fn following() -> (Scene, Kraken, Book) {
    let (scene, mut kraken) = subscribed("book", json!({})).await;
    let mut book = Book::new(10);
    assert!(book.apply(&kraken.next_of("book").await.1));
    (scene, kraken, book)
}

/// Messages until the book's checksum is not the one told: how many were right before.
async fn until_wrong(kraken: &mut Kraken, book: &mut Book) -> usize {
    for right in 0..3_000 {
        let (_, text) = kraken.next_of("book").await;
        if !book.apply(&text) {
            return right;
        }
    }
    panic!("3000 messages and none was wrong");
}

/// Frames of a stream with this status in the ledger.
async fn entered(scene: &Scene, of: &str, wanted: FrameStatus) -> Vec<(String, Option<String>)> {
    let frames = scene.ledger().await.into_iter().filter_map(|record| match record {
        LedgerRecord::Frame { stream, status, raw, wire, .. } if stream.starts_with(of) && status == wanted => {
            Some((raw, wire))
        }
        _ => None,
    });
    frames.collect()
}

#[tokio::test]
async fn dropped_trades_are_missing_and_rest_has_them() {
    let (scene, mut kraken) = subscribed("trade", json!({})).await;
    let mut last = *ids(&kraken.next_of("trade").await.0).last().unwrap();
    inject(&scene, Fault::Drop { target: Target::stream(TRADES), count: 3 }).await;
    let next = loop {
        let fresh = ids(&kraken.next_of("trade").await.0);
        if fresh[0] != last + 1 {
            break fresh[0];
        }
        last = *fresh.last().unwrap();
    };
    let dropped = entered(&scene, TRADES, FrameStatus::Dropped).await;
    let missing: Vec<u64> = dropped.iter().flat_map(|(raw, _)| ids(&serde_json::from_str(raw).unwrap())).collect();
    assert_eq!((dropped.len(), missing.clone()), (3, (last + 1..next).collect()));
    let page = get(&scene.sim, "/0/public/Trades?pair=XBTUSD").await.json();
    let told: Vec<u64> = page["result"]["XXBTZUSD"].as_array().unwrap().iter().map(|row| row[6].as_u64().unwrap()).collect();
    assert!(missing.iter().all(|id| told.contains(id)), "{missing:?}");
    scene.finish().await;
}

#[tokio::test]
async fn skipped_ids_are_in_neither_side() {
    let (scene, mut kraken) = subscribed("trade", json!({})).await;
    let mut last = *ids(&kraken.next_of("trade").await.0).last().unwrap();
    inject(&scene, Fault::Gap { symbol: "BTC/USD".into(), channel: "trades".into(), count: 4 }).await;
    loop {
        let fresh = ids(&kraken.next_of("trade").await.0);
        if let Some(first) = fresh.iter().find(|id| **id > last + 1) {
            assert_eq!(*first, fresh.iter().rfind(|id| *id < first).copied().unwrap_or(last) + 5);
            break;
        }
        last = *fresh.last().unwrap();
    }
    let page = get(&scene.sim, "/0/public/Trades?pair=XBTUSD").await.json();
    let rows = page["result"]["XXBTZUSD"].as_array().unwrap();
    let apart = rows.windows(2).filter(|pair| pair[1][6].as_u64().unwrap() != pair[0][6].as_u64().unwrap() + 1).count();
    assert_eq!(apart, 1);
    scene.finish().await;
}

#[tokio::test]
async fn a_dropped_update_of_a_book_shows_in_the_next_checksum() {
    let (scene, mut kraken, mut book) = following().await;
    inject(&scene, Fault::Drop { target: Target::stream(BOOK), count: 1 }).await;
    until_wrong(&mut kraken, &mut book).await;
    assert_eq!(entered(&scene, BOOK, FrameStatus::Dropped).await.len(), 1);
    // Subscribed anew, the snapshot replaces what was wrong.
    kraken.ask(json!({"method": "unsubscribe", "params": {"channel": "book", "symbol": ["BTC/USD"]}})).await;
    kraken.subscribe("book", "BTC/USD", json!({})).await;
    loop {
        let (value, text) = kraken.next_of("book").await;
        if value["type"] == "snapshot" {
            assert!(book.apply(&text));
            break;
        }
    }
    for _ in 0..50 {
        assert!(book.apply(&kraken.next_of("book").await.1));
    }
    scene.finish().await;
}

#[tokio::test]
async fn changes_that_the_exchange_never_told_of_show_in_the_next_checksum_of_everybody() {
    let (scene, mut kraken, mut book) = following().await;
    let mut other = Kraken::connect(&scene.sim).await;
    other.subscribe("book", "BTC/USD", json!({"depth": 100})).await;
    let mut deep = Book::new(100);
    assert!(deep.apply(&other.next_of("book").await.1));
    let told = inject(&scene, Fault::Gap { symbol: "BTC/USD".into(), channel: "book".into(), count: 4 }).await;
    assert!(told.contains("4 of the best levels of BTC/USD"), "{told}");
    until_wrong(&mut kraken, &mut book).await;
    until_wrong(&mut other, &mut deep).await;
    scene.finish().await;
}

#[tokio::test]
async fn a_wrong_checksum_is_wrong_once_and_the_ledger_has_the_right_one() {
    let (scene, mut kraken, mut book) = following().await;
    inject(&scene, Fault::Corrupt { target: Target::stream(BOOK), count: 1, how: Corruption::Checksum }).await;
    until_wrong(&mut kraken, &mut book).await;
    for _ in 0..50 {
        assert!(book.apply(&kraken.next_of("book").await.1), "its levels were as they should be");
    }
    let damaged = entered(&scene, BOOK, FrameStatus::Corrupted).await;
    let (raw, wire) = (&damaged[0].0, damaged[0].1.as_ref().unwrap());
    let sum = |text: &str| serde_json::from_str::<Value>(text).unwrap()["data"][0]["checksum"].clone();
    assert!(sum(raw) != sum(wire) && raw.split("\"checksum\"").next() == wire.split("\"checksum\"").next());
    let binance = start(common::options()).await;
    let fault = Fault::Corrupt { target: Target::default(), count: 1, how: Corruption::Checksum };
    let refused = binance.sim.faults().inject(fault).await.unwrap_err();
    assert!(matches!(refused, InjectError::Refused { reason } if reason == "binance sends no checksums"));
    scene.finish().await;
    binance.finish().await;
}

#[tokio::test]
async fn an_update_out_of_its_order_shows_in_its_checksum() {
    let (scene, mut kraken, mut book) = following().await;
    inject(&scene, Fault::Reorder { target: Target::stream(BOOK), count: 1 }).await;
    until_wrong(&mut kraken, &mut book).await;
    assert_eq!(entered(&scene, BOOK, FrameStatus::Reordered).await.len(), 1);
    scene.finish().await;
}

#[tokio::test]
async fn duplicated_delayed_and_damaged_frames_are_those_of_their_channel() {
    let (scene, mut kraken) = subscribed("trade", json!({})).await;
    kraken.subscribe("ticker", "BTC/USD", json!({"event_trigger": "bbo"})).await;
    kraken.subscribe("ohlc", "BTC/USD", json!({})).await;
    inject(&scene, Fault::Duplicate { target: Target::stream("ticker:BTC/USD:bbo"), count: 2 }).await;
    inject(&scene, Fault::Delay { target: Target::stream(TRADES), count: 1, ms: 150 }).await;
    inject(&scene, Fault::Corrupt { target: Target::stream("ohlc"), count: 2, how: Corruption::Flip }).await;
    let (mut before, mut twice) = (String::new(), 0);
    let (begun, mut corrupted) = (Instant::now(), 0);
    while twice < 2 || corrupted < 2 || begun.elapsed() < Duration::from_millis(600) {
        assert!(begun.elapsed() < DEADLINE, "{twice} came twice, {corrupted} corrupted");
        let text = kraken.next_text().await.unwrap();
        twice += usize::from(text == before);
        before = text;
        corrupted = entered(&scene, "ohlc:BTC/USD:1", FrameStatus::Corrupted).await.len();
    }
    assert_eq!(twice, 2);
    assert_eq!(entered(&scene, "ticker", FrameStatus::Duplicated).await.len(), 2);
    assert!(!entered(&scene, TRADES, FrameStatus::Delayed).await.is_empty());
    assert_eq!(entered(&scene, "ohlc:BTC/USD:1", FrameStatus::Corrupted).await.len(), 2);
    scene.finish().await;
}

#[tokio::test]
async fn a_muted_subscription_is_acknowledged_and_silent_while_heartbeats_and_others_go_on() {
    let scene = start(options()).await;
    let mut kraken = Kraken::connect(&scene.sim).await;
    inject(&scene, Fault::Mute { target: Target::stream(BOOK), count: 1 }).await;
    kraken.subscribe("book", "BTC/USD", json!({"depth": 100})).await;
    let begun = Instant::now();
    assert_eq!(kraken.next_text().await.unwrap(), r#"{"channel":"heartbeat"}"#);
    assert!(begun.elapsed() > Duration::from_millis(900));
    kraken.subscribe("book", "ETH/USD", json!({"depth": 100})).await;
    for _ in 0..100 {
        assert_eq!(kraken.next_of("book").await.0["data"][0]["symbol"], "ETH/USD");
    }
    let params = json!({"channel": "book", "symbol": ["BTC/USD"], "depth": 100});
    let again = kraken.ask(json!({"method": "subscribe", "params": params})).await;
    assert_eq!(again["error"], "Already subscribed");
    kraken.ask(json!({"method": "unsubscribe", "params": params})).await;
    kraken.subscribe("book", "BTC/USD", json!({"depth": 100})).await;
    while kraken.next_of("book").await.0["data"][0]["symbol"] != "BTC/USD" {}
    scene.finish().await;
}

#[tokio::test]
async fn a_silence_takes_even_snapshots_and_ends() {
    let scene = start(options()).await;
    let mut kraken = Kraken::connect(&scene.sim).await;
    inject(&scene, Fault::Silence { target: Target::stream("book:BTC/USD:10"), ms: 1_500 }).await;
    let begun = Instant::now();
    kraken.subscribe("book", "BTC/USD", json!({})).await;
    let (first, _) = kraken.next_of("book").await;
    assert_eq!((&first["type"], begun.elapsed() > Duration::from_millis(1_400)), (&json!("update"), true));
    scene.finish().await;
}

#[tokio::test]
async fn a_stale_snapshot_is_right_in_itself_and_wrong_with_what_follows() {
    let scene = start(options()).await;
    let mut kraken = Kraken::connect(&scene.sim).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    inject(&scene, Fault::StaleSnapshot { symbol: Some("BTC/USD".into()), count: 1 }).await;
    kraken.subscribe("book", "BTC/USD", json!({})).await;
    let mut book = Book::new(10);
    assert!(book.apply(&kraken.next_of("book").await.1));
    assert!(!book.apply(&kraken.next_of("book").await.1));
    scene.finish().await;
}

#[tokio::test]
async fn maintenance_is_announced_on_both_sides_and_then_connections_are_cut() {
    let (scene, mut kraken) = subscribed("trade", json!({})).await;
    inject(&scene, Fault::Shutdown { ms: 400 }).await;
    let begun = Instant::now();
    let (status, _) = kraken.next_of("status").await;
    assert_eq!((&status["type"], &status["data"][0]["system"]), (&json!("update"), &json!("maintenance")));
    let told = get(&scene.sim, "/0/public/SystemStatus").await.json();
    assert_eq!(told["result"]["status"], "maintenance");
    let mut late = Client::connect(&scene.sim, "/v2").await;
    assert_eq!(late.next_json().await["data"][0]["system"], "maintenance");
    assert_eq!(kraken.client.end().await, End::Clean("the server shuts down as announced".into()));
    assert!(begun.elapsed() >= Duration::from_millis(390));
    Kraken::connect(&scene.sim).await;
    let told = get(&scene.sim, "/0/public/SystemStatus").await.json();
    assert_eq!(told["result"]["status"], "online");
    scene.finish().await;
}

#[tokio::test]
async fn connections_end_by_channel_and_the_exchange_comes_back() {
    let (scene, mut kraken) = subscribed("ticker", json!({})).await;
    let mut other = Kraken::connect(&scene.sim).await;
    other.subscribe("book", "BTC/USD", json!({"depth": 500})).await;
    let target = Target::stream("book:BTC/USD");
    let told = inject(&scene, Fault::Disconnect { target, how: Disconnection::Abrupt }).await;
    assert_eq!(told, "connections: 2");
    assert_eq!(other.client.end().await, End::Reset);
    kraken.next_of("ticker").await;
    inject(&scene, Fault::Down { ms: 200 }).await;
    assert_eq!(kraken.client.end().await, End::Reset);
    assert!(Client::try_connect(&scene.sim, "/v2").await.is_err());
    tokio::time::sleep(Duration::from_millis(400)).await;
    Kraken::connect(&scene.sim).await;
    scene.finish().await;
}
