//! Faults of the simulated KuCoin: those that every exchange has, by channel and market, and its own.

mod common;

use std::time::{Duration, Instant};

use common::kucoin::{Applied, Book, Kucoin, options, token};
use common::{Client, End, Scene, get, start};
use dccd_sim::{Corruption, Disconnection, Fault, FrameStatus, InjectError, LedgerRecord, Target};
use serde_json::{Value, json};

const TRADES: &str = "match:BTC-USDT";
const MATCH: &str = "/market/match:BTC-USDT";
const BOOK: &str = "level2:BTC-USDT";
const LEVEL2: &str = "/market/level2:BTC-USDT";

async fn inject(scene: &Scene, fault: Fault) -> String {
    scene.sim.faults().inject(fault).await.unwrap()
}

fn id(message: &Value) -> u64 {
    message["data"]["tradeId"].as_str().unwrap().parse().unwrap()
}

async fn hearing() -> (Scene, Kucoin) {
    let scene = start(options()).await;
    let mut kucoin = Kucoin::classic(&scene.sim).await;
    kucoin.subscribe(MATCH).await;
    (scene, kucoin)
}

/// A connection with a book that goes on from REST.
async fn following() -> (Scene, Kucoin, Book) {
    let scene = start(options()).await;
    let mut kucoin = Kucoin::classic(&scene.sim).await;
    kucoin.subscribe(LEVEL2).await;
    kucoin.next_of(LEVEL2).await;
    let mut book = Book::fetch(&scene.sim, "BTC-USDT").await;
    while book.apply(&kucoin.next_of(LEVEL2).await.0) == Applied::Old {}
    assert_eq!(book.updates, 1, "what is not old fits");
    (scene, kucoin, book)
}

/// Messages until one doesn't fit, and what it does instead.
async fn until_unfit(kucoin: &mut Kucoin, book: &mut Book) -> Applied {
    for _ in 0..2_000 {
        let applied = book.apply(&kucoin.next_of(LEVEL2).await.0);
        if applied != Applied::Fits {
            return applied;
        }
    }
    panic!("2000 messages and all fit");
}

/// Frames of a stream with this status in the ledger.
async fn entered(scene: &Scene, of: &str, wanted: FrameStatus) -> Vec<(String, Option<String>)> {
    let frames = scene.ledger().await.into_iter().filter_map(|record| match record {
        LedgerRecord::Frame { stream, status, raw, wire, .. } if stream == of && status == wanted => Some((raw, wire)),
        _ => None,
    });
    frames.collect()
}

#[tokio::test]
async fn dropped_trades_are_missing_and_rest_has_them() {
    let (scene, mut kucoin) = hearing().await;
    kucoin.next_of(MATCH).await;
    inject(&scene, Fault::Drop { target: Target::stream(TRADES), count: 3 }).await;
    let dropped = loop {
        kucoin.next_of(MATCH).await;
        let dropped = entered(&scene, TRADES, FrameStatus::Dropped).await;
        if dropped.len() == 3 {
            break dropped;
        }
    };
    let page = get(&scene.sim, "/api/v1/market/histories?symbol=BTC-USDT").await.json();
    let rows = page["data"].as_array().unwrap();
    for (raw, _) in dropped {
        let trade: Value = serde_json::from_str(&raw).unwrap();
        let row = rows.iter().find(|row| row["sequence"] == trade["data"]["sequence"]).unwrap();
        assert_eq!((&row["price"], &row["size"]), (&trade["data"]["price"], &trade["data"]["size"]));
    }
    scene.finish().await;
}

#[tokio::test]
async fn skipped_numbers_are_in_neither_side() {
    let (scene, mut kucoin) = hearing().await;
    let mut last = id(&kucoin.next_of(MATCH).await.0);
    inject(&scene, Fault::Gap { symbol: "BTC/USDT".into(), channel: "trades".into(), count: 40 }).await;
    let next = loop {
        let fresh = id(&kucoin.next_of(MATCH).await.0);
        if fresh > last + 5 {
            break fresh;
        }
        last = fresh;
    };
    assert!((100..140).contains(&(next - last)), "{}", next - last);
    let page = get(&scene.sim, "/api/v1/market/histories?symbol=BTC-USDT").await.json();
    let numbers: Vec<u64> =
        page["data"].as_array().unwrap().iter().map(|row| row["sequence"].as_str().unwrap().parse().unwrap()).collect();
    assert!(numbers.contains(&last) && !numbers.iter().any(|n| (last + 1..next).contains(n)), "{last} {next} {numbers:?}");
    scene.finish().await;
}

#[tokio::test]
async fn duplicated_delayed_reordered_and_damaged_frames_are_what_they_say() {
    let (scene, mut kucoin) = hearing().await;
    let target = || Target::stream(TRADES);
    inject(&scene, Fault::Duplicate { target: target(), count: 1 }).await;
    let mut last = 0;
    loop {
        let fresh = id(&kucoin.next_of(MATCH).await.0);
        if fresh == last {
            break;
        }
        last = fresh;
    }
    inject(&scene, Fault::Reorder { target: target(), count: 1 }).await;
    loop {
        let fresh = id(&kucoin.next_of(MATCH).await.0);
        if fresh < last {
            break;
        }
        last = fresh;
    }
    inject(&scene, Fault::Delay { target: target(), count: 1, ms: 60 }).await;
    // What follows a frame that is held waits behind it, whatever else would become of it.
    while entered(&scene, TRADES, FrameStatus::Delayed).await.is_empty() {
        kucoin.next_of(MATCH).await;
    }
    inject(&scene, Fault::Corrupt { target: target(), count: 1, how: Corruption::Truncate }).await;
    let damaged = loop {
        let text = kucoin.next_text().await.unwrap();
        if serde_json::from_str::<Value>(&text).is_err() {
            break text;
        }
    };
    for status in [FrameStatus::Duplicated, FrameStatus::Reordered] {
        assert_eq!(entered(&scene, TRADES, status).await.len(), 1, "{status:?}");
    }
    let corrupted = entered(&scene, TRADES, FrameStatus::Corrupted).await;
    assert_eq!((corrupted.len(), corrupted[0].1.as_deref()), (1, Some(damaged.as_str())));
    let fault = Fault::Corrupt { target: target(), count: 1, how: Corruption::Checksum };
    assert!(matches!(scene.sim.faults().inject(fault).await, Err(InjectError::Refused { .. })));
    scene.finish().await;
}

#[tokio::test]
async fn a_dropped_update_of_a_book_shows_in_the_next_number() {
    let (scene, mut kucoin, mut book) = following().await;
    inject(&scene, Fault::Drop { target: Target::stream(BOOK), count: 1 }).await;
    assert_eq!(until_unfit(&mut kucoin, &mut book).await, Applied::Gap);
    assert_eq!(entered(&scene, BOOK, FrameStatus::Dropped).await.len(), 1);
    // Another one of REST goes on without the one that was lost.
    let mut fresh = Book::fetch(&scene.sim, "BTC-USDT").await;
    while fresh.updates < 20 {
        assert_ne!(fresh.apply(&kucoin.next_of(LEVEL2).await.0), Applied::Gap);
    }
    scene.finish().await;
}

#[tokio::test]
async fn changes_that_the_exchange_never_told_of_show_in_the_next_number_on_both_sockets() {
    let (scene, mut kucoin, mut book) = following().await;
    let mut unified = Kucoin::unified(&scene.sim).await;
    unified.follow("obu", "BTC-USDT", json!({"depth": "increment@10ms"})).await;
    let mut other = Book::default();
    other.apply_unified(&unified.next_of("obu.SPOT").await.0);
    let told = inject(&scene, Fault::Gap { symbol: "BTC/USDT".into(), channel: "book".into(), count: 4 }).await;
    assert!(told.contains("4 levels of BTC-USDT changed"), "{told}");
    assert_eq!(until_unfit(&mut kucoin, &mut book).await, Applied::Gap);
    while other.apply_unified(&unified.next_of("obu.SPOT").await.0) == Applied::Fits {}
    assert_eq!(other.apply_unified(&unified.next_of("obu.SPOT").await.0), Applied::Gap);
    scene.finish().await;
}

#[tokio::test]
async fn numbers_that_begin_anew_go_on_with_the_same_book() {
    let (scene, mut kucoin, mut book) = following().await;
    let before = book.seq;
    inject(&scene, Fault::SequenceReset { symbol: "BTC/USDT".into() }).await;
    assert_eq!(until_unfit(&mut kucoin, &mut book).await, Applied::Reset);
    assert!(book.seq < 1_000 && before > 1_000_000, "{before} {}", book.seq);
    for _ in 0..100 {
        assert_eq!(book.apply(&kucoin.next_of(LEVEL2).await.0), Applied::Fits);
    }
    scene.sim.pause().await.unwrap();
    let exact = Book::fetch(&scene.sim, "BTC-USDT").await;
    while book.seq < exact.seq {
        assert_eq!(book.apply(&kucoin.next_of(LEVEL2).await.0), Applied::Fits);
    }
    assert_eq!(book.side(true, 10_000), exact.side(true, 10_000));
    scene.finish().await;
}

#[tokio::test]
async fn a_muted_topic_is_acknowledged_and_silent_until_subscribed_anew() {
    let scene = start(options()).await;
    let mut kucoin = Kucoin::classic(&scene.sim).await;
    inject(&scene, Fault::Mute { target: Target::stream(BOOK), count: 1 }).await;
    kucoin.subscribe("/market/level2:BTC-USDT,ETH-USDT").await;
    for _ in 0..40 {
        let text = kucoin.next_text().await.unwrap();
        assert!(text.contains("/market/level2:ETH-USDT"), "{text}");
    }
    kucoin.subscribe(LEVEL2).await;
    kucoin.next_of(LEVEL2).await;
    scene.finish().await;
}

#[tokio::test]
async fn a_stale_book_is_older_than_the_updates_after_it() {
    let (scene, mut kucoin, _) = following().await;
    inject(&scene, Fault::StaleSnapshot { symbol: Some("BTC/USDT".into()), count: 1 }).await;
    let mut stale = Book::fetch_hundred(&scene.sim, "BTC-USDT").await;
    assert_eq!(stale.apply(&kucoin.next_of(LEVEL2).await.0), Applied::Gap);
    let fresh = Book::fetch_hundred(&scene.sim, "BTC-USDT").await;
    assert!(fresh.seq > stale.seq);
    scene.finish().await;
}

#[tokio::test]
async fn connections_end_slow_down_and_are_refused_while_the_exchange_is_down() {
    let (scene, mut kucoin) = hearing().await;
    let clean = Fault::Disconnect { target: Target::stream("match"), how: Disconnection::Clean };
    inject(&scene, clean).await;
    assert!(matches!(kucoin.client.end().await, End::Clean(_)));
    let mut kucoin = Kucoin::classic(&scene.sim).await;
    kucoin.subscribe(MATCH).await;
    inject(&scene, Fault::Silence { target: Target::stream("match"), ms: 500 }).await;
    let began = Instant::now();
    let before = id(&kucoin.next_of(MATCH).await.0);
    while id(&kucoin.next_of(MATCH).await.0) < before + 60 {}
    assert!(began.elapsed() > Duration::from_millis(400));
    let kept = token(&scene.sim).await;
    inject(&scene, Fault::Down { ms: 300 }).await;
    assert_eq!(kucoin.client.end().await, End::Reset);
    assert!(Client::try_connect(&scene.sim, &format!("/endpoint?token={kept}")).await.is_err());
    tokio::time::sleep(Duration::from_millis(500)).await;
    // A token outlives that.
    let mut again = Client::connect(&scene.sim, &format!("/endpoint?token={kept}")).await;
    assert_eq!(again.next_json().await["type"], "welcome");
    scene.finish().await;
}
