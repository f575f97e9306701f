//! Faults of the simulated Bybit: those that every exchange has, by category, topic and market, and its own.

mod common;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use common::bybit::{Book, Bybit, options};
use common::{End, Scene, get, start};
use dccd_sim::{Corruption, Disconnection, Fault, FrameStatus, InjectError, LedgerRecord, Target};
use serde_json::{Value, json};

const TRADES: &str = "spot:publicTrade:BTCUSDT";
const BOOK: &str = "linear:orderbook:BTCUSDT:50";
const TOPIC: &str = "orderbook.50.BTCUSDT";
const PERPETUAL: &str = "BTC/USDT:USDT";

async fn inject(scene: &Scene, fault: Fault) -> String {
    scene.sim.faults().inject(fault).await.unwrap()
}

async fn subscribed(category: &str, topic: &str) -> (Scene, Bybit) {
    let scene = start(options()).await;
    let mut bybit = Bybit::connect(&scene.sim, category).await;
    bybit.subscribe(&[topic]).await;
    (scene, bybit)
}

/// A connection with a perpetual's book of 50 levels, its snapshot applied.
async fn following() -> (Scene, Bybit, Book) {
    let (scene, mut bybit) = subscribed("linear", TOPIC).await;
    let mut book = Book::default();
    assert!(book.apply(&bybit.next_of(TOPIC).await));
    (scene, bybit, book)
}

/// Messages until one does not follow the book: that message.
async fn until_broken(bybit: &mut Bybit, book: &mut Book) -> Value {
    for _ in 0..2_000 {
        let message = bybit.next_of(TOPIC).await;
        if !book.clone().apply(&message) {
            return message;
        }
        book.apply(&message);
    }
    panic!("2000 messages and each followed");
}

fn number(message: &Value) -> u64 {
    message["data"]["u"].as_u64().unwrap()
}

fn ids(message: &Value) -> Vec<u64> {
    message["data"].as_array().unwrap().iter().map(|row| row["i"].as_str().unwrap().parse().unwrap()).collect()
}

/// Frames of a stream with this status in the ledger: as they should have been, and as they were sent.
async fn entered(scene: &Scene, of: &str, wanted: FrameStatus) -> Vec<(Value, Option<String>)> {
    let frames = scene.ledger().await.into_iter().filter_map(|record| match record {
        LedgerRecord::Frame { stream, status, raw, wire, .. } if stream == of && status == wanted => {
            Some((serde_json::from_str(&raw).unwrap(), wire))
        }
        _ => None,
    });
    frames.collect()
}

#[tokio::test]
async fn a_dropped_delta_leaves_a_number_out_and_a_new_subscription_mends_it() {
    let (scene, mut bybit, mut book) = following().await;
    inject(&scene, Fault::Drop { target: Target::stream(BOOK), count: 1 }).await;
    let message = until_broken(&mut bybit, &mut book).await;
    assert_eq!(number(&message), book.u + 2);
    let dropped = entered(&scene, BOOK, FrameStatus::Dropped).await;
    assert_eq!((dropped.len(), number(&dropped[0].0)), (1, book.u + 1));
    bybit.ask("unsubscribe", &[TOPIC]).await;
    bybit.subscribe(&[TOPIC]).await;
    let mut later = Book::default();
    let mut shown = bybit.next_of(TOPIC).await;
    while shown["type"] != "snapshot" {
        shown = bybit.next_of(TOPIC).await;
    }
    assert!(later.apply(&shown));
    for _ in 0..30 {
        assert!(later.apply(&bybit.next_of(TOPIC).await));
    }
    scene.finish().await;
}

#[tokio::test]
async fn numbers_that_are_skipped_belong_to_changes_that_nobody_was_told_of() {
    let (scene, mut bybit, mut book) = following().await;
    inject(&scene, Fault::Gap { symbol: PERPETUAL.into(), channel: "book".into(), count: 5 }).await;
    let message = until_broken(&mut bybit, &mut book).await;
    assert_eq!(number(&message), book.u + 6);
    // The spot market of the same name is another one.
    let mut spot = Bybit::connect(&scene.sim, "spot").await;
    spot.subscribe(&[TOPIC]).await;
    let mut other = Book::default();
    for _ in 0..30 {
        assert!(other.apply(&spot.next_of(TOPIC).await));
    }
    let lost = inject(&scene, Fault::Gap { symbol: "BTC/USDT".into(), channel: "trades".into(), count: 3 }).await;
    assert!(lost.contains("will never exist"), "{lost}");
    scene.finish().await;
}

#[tokio::test]
async fn a_restarted_service_begins_at_one_with_a_snapshot() {
    let (scene, mut bybit, mut book) = following().await;
    let mut best = Bybit::connect(&scene.sim, "linear").await;
    best.subscribe(&["orderbook.1.BTCUSDT"]).await;
    assert!(number(&best.next_of("orderbook.1.BTCUSDT").await) > 1);
    inject(&scene, Fault::SequenceReset { symbol: PERPETUAL.into() }).await;
    loop {
        let message = bybit.next_of(TOPIC).await;
        let is_snapshot = message["type"] == "snapshot";
        assert!(book.apply(&message), "{message}");
        if is_snapshot {
            break;
        }
    }
    assert_eq!((book.u, book.bids.len(), book.asks.len()), (1, 50, 50));
    for u in 2..20 {
        assert!(book.apply(&bybit.next_of(TOPIC).await));
        assert_eq!(book.u, u);
    }
    while number(&best.next_of("orderbook.1.BTCUSDT").await) != 1 {}
    // Whoever comes later goes on from there.
    let mut later = Bybit::connect(&scene.sim, "linear").await;
    later.subscribe(&["orderbook.200.BTCUSDT"]).await;
    assert_eq!(number(&later.next_of("orderbook.200.BTCUSDT").await), 1);
    let binance = start(common::options()).await;
    let refused = binance.sim.faults().inject(Fault::SequenceReset { symbol: "BTC/USDT".into() }).await;
    assert!(matches!(refused, Err(InjectError::Refused { .. })), "{refused:?}");
    binance.finish().await;
    scene.finish().await;
}

#[tokio::test]
async fn a_topic_may_be_acknowledged_and_silent() {
    let scene = start(options()).await;
    inject(&scene, Fault::Mute { target: Target::stream("spot:orderbook"), count: 1 }).await;
    let mut bybit = Bybit::connect(&scene.sim, "spot").await;
    bybit.subscribe(&[TOPIC, "publicTrade.BTCUSDT"]).await;
    for _ in 0..20 {
        let text = bybit.next_text().await.unwrap();
        assert!(text.contains("publicTrade"), "{text}");
    }
    assert_eq!(bybit.ask("subscribe", &[TOPIC]).await["success"], json!(false));
    bybit.ask("unsubscribe", &[TOPIC]).await;
    bybit.subscribe(&[TOPIC]).await;
    assert_eq!(bybit.next_of(TOPIC).await["type"], "snapshot");
    scene.finish().await;
}

#[tokio::test]
async fn dropped_trades_are_missing_and_rest_has_them() {
    let (scene, mut bybit) = subscribed("spot", "publicTrade.BTCUSDT").await;
    let mut last = *ids(&bybit.next_of("publicTrade.BTCUSDT").await).last().unwrap();
    inject(&scene, Fault::Drop { target: Target::stream(TRADES), count: 2 }).await;
    let next = loop {
        let fresh = ids(&bybit.next_of("publicTrade.BTCUSDT").await);
        if fresh[0] != last + 1 {
            break fresh[0];
        }
        last = *fresh.last().unwrap();
    };
    let dropped = entered(&scene, TRADES, FrameStatus::Dropped).await;
    let missing: Vec<u64> = dropped.iter().flat_map(|(raw, _)| ids(raw)).collect();
    assert_eq!((dropped.len(), missing.clone()), (2, (last + 1..next).collect()));
    let page = get(&scene.sim, "/v5/market/recent-trade?category=spot&symbol=BTCUSDT").await.json();
    let told: BTreeSet<u64> = page["result"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["execId"].as_str().unwrap().parse().unwrap())
        .collect();
    assert!(missing.iter().all(|id| told.contains(id)), "{missing:?}");
    scene.finish().await;
}

#[tokio::test]
async fn frames_come_twice_late_in_another_order_and_damaged() {
    let (scene, mut bybit, mut book) = following().await;
    let target = Target::stream(BOOK);
    inject(&scene, Fault::Duplicate { target: target.clone(), count: 1 }).await;
    let again = until_broken(&mut bybit, &mut book).await;
    assert_eq!(number(&again), book.u);
    inject(&scene, Fault::Reorder { target: target.clone(), count: 1 }).await;
    let early = until_broken(&mut bybit, &mut book).await;
    let late = bybit.next_of(TOPIC).await;
    assert_eq!((number(&early), number(&late)), (book.u + 2, book.u + 1));
    assert!(book.apply(&late) && book.apply(&early));
    inject(&scene, Fault::Delay { target: target.clone(), count: 1, ms: 300 }).await;
    for _ in 0..60 {
        assert!(book.apply(&bybit.next_of(TOPIC).await));
    }
    assert!(!entered(&scene, BOOK, FrameStatus::Delayed).await.is_empty());
    inject(&scene, Fault::Corrupt { target: target.clone(), count: 1, how: Corruption::Truncate }).await;
    while serde_json::from_str::<Value>(&bybit.next_text().await.unwrap()).is_ok() {}
    assert!(entered(&scene, BOOK, FrameStatus::Corrupted).await[0].1.is_some());
    let sum = Fault::Corrupt { target, count: 1, how: Corruption::Checksum };
    assert!(matches!(scene.sim.faults().inject(sum).await, Err(InjectError::Refused { .. })));
    scene.finish().await;
}

#[tokio::test]
async fn a_stale_snapshot_is_of_the_beginning_and_what_follows_does_not_follow_it() {
    let scene = start(options()).await;
    // Until the book is another one than in the beginning.
    tokio::time::sleep(Duration::from_millis(500)).await;
    inject(&scene, Fault::StaleSnapshot { symbol: Some(PERPETUAL.into()), count: 1 }).await;
    let mut first = Bybit::connect(&scene.sim, "linear").await;
    first.subscribe(&["orderbook.200.BTCUSDT"]).await;
    let stale = first.next_of("orderbook.200.BTCUSDT").await;
    let mut second = Bybit::connect(&scene.sim, "linear").await;
    second.subscribe(&["orderbook.200.BTCUSDT"]).await;
    let fresh = second.next_of("orderbook.200.BTCUSDT").await;
    assert!(number(&stale) < number(&fresh) && stale["data"]["seq"].as_u64() < fresh["data"]["seq"].as_u64());
    assert_ne!(stale["data"]["b"], fresh["data"]["b"]);
    assert!(number(&first.next_of("orderbook.200.BTCUSDT").await) > number(&stale) + 1);
    scene.finish().await;
}

#[tokio::test]
async fn connections_fall_silent_end_and_find_nobody() {
    let (scene, mut bybit, mut book) = following().await;
    inject(&scene, Fault::Silence { target: Target::stream("linear:orderbook:BTCUSDT"), ms: 300 }).await;
    let message = until_broken(&mut bybit, &mut book).await;
    assert!(number(&message) > book.u + 3);
    assert!(!entered(&scene, BOOK, FrameStatus::Silenced).await.is_empty());
    inject(&scene, Fault::Slow { target: Target::stream(BOOK), bytes_per_second: 500, ms: 400 }).await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(400) {
        bybit.next_of(TOPIC).await;
    }
    inject(&scene, Fault::Disconnect { target: Target::stream(BOOK), how: Disconnection::Clean }).await;
    assert!(matches!(bybit.client.end().await, End::Clean(_)));
    let mut other = Bybit::connect(&scene.sim, "spot").await;
    inject(&scene, Fault::Disconnect { target: Target::default(), how: Disconnection::Abrupt }).await;
    assert_eq!(other.client.end().await, End::Reset);
    let mut last = Bybit::connect(&scene.sim, "spot").await;
    inject(&scene, Fault::Shutdown { ms: 50 }).await;
    assert!(matches!(last.client.end().await, End::Clean(_)));
    inject(&scene, Fault::Down { ms: 500 }).await;
    // Nobody listens, once it has heard of it; then somebody does again.
    for is_there in [false, true] {
        let began = Instant::now();
        while tokio::net::TcpStream::connect(scene.sim.address()).await.is_ok() != is_there {
            assert!(began.elapsed() < Duration::from_secs(10), "{is_there}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let mut back = Bybit::connect(&scene.sim, "linear").await;
    back.subscribe(&[TOPIC]).await;
    assert_eq!(back.next_of(TOPIC).await["type"], "snapshot");
    scene.finish().await;
}
