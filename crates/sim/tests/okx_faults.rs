//! Faults of the simulated OKX: those that every exchange has, by channel and market, and its own.

mod common;

use std::time::{Duration, Instant};

use common::okx::{Applied, Book, Okx, options, rules};
use common::{Client, End, Scene, get, start};
use dccd_sim::{Corruption, Disconnection, Fault, FrameStatus, InjectError, LedgerRecord, SimOptions, Target};
use serde_json::{Value, json};

const TRADES: &str = "trades-all:BTC-USDT";
const BOOK: &str = "books:BTC-USDT";

async fn inject(scene: &Scene, fault: Fault) -> String {
    scene.sim.faults().inject(fault).await.unwrap()
}

fn id(value: &Value) -> u64 {
    value["data"][0]["tradeId"].as_str().unwrap().parse().unwrap()
}

async fn hearing(options: SimOptions) -> (Scene, Okx) {
    let scene = start(options).await;
    let mut okx = Okx::connect(&scene.sim, "business").await;
    okx.subscribe("trades-all", "BTC-USDT").await;
    (scene, okx)
}

/// A connection with a book, its snapshot applied.
async fn following(options: SimOptions) -> (Scene, Okx, Book) {
    let scene = start(options).await;
    let mut okx = Okx::connect(&scene.sim, "public").await;
    okx.subscribe("books", "BTC-USDT").await;
    let mut book = Book::default();
    assert_eq!(book.apply(&okx.next_of("books").await.0), Applied::Fits);
    (scene, okx, book)
}

/// Messages until one doesn't fit, and what it does instead.
async fn until_unfit(okx: &mut Okx, book: &mut Book) -> Applied {
    for _ in 0..200 {
        let applied = book.apply(&okx.next_of("books").await.0);
        if applied != Applied::Fits {
            return applied;
        }
    }
    panic!("200 messages and all fit");
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
    let (scene, mut okx) = hearing(options()).await;
    let mut last = id(&okx.next_of("trades-all").await.0);
    inject(&scene, Fault::Drop { target: Target::stream(TRADES), count: 3 }).await;
    let next = loop {
        let fresh = id(&okx.next_of("trades-all").await.0);
        if fresh != last + 1 {
            break fresh;
        }
        last = fresh;
    };
    assert_eq!((next, entered(&scene, TRADES, FrameStatus::Dropped).await.len()), (last + 4, 3));
    let page = get(&scene.sim, &format!("/api/v5/market/history-trades?instId=BTC-USDT&after={next}&limit=3")).await.json();
    let ids: Vec<u64> = page["data"].as_array().unwrap().iter().map(|row| id(&json!({"data": [row]}))).collect();
    assert_eq!(ids, [last + 3, last + 2, last + 1]);
    scene.finish().await;
}

#[tokio::test]
async fn skipped_ids_are_in_neither_side() {
    let (scene, mut okx) = hearing(options()).await;
    let mut last = id(&okx.next_of("trades-all").await.0);
    inject(&scene, Fault::Gap { symbol: "BTC/USDT".into(), channel: "trades".into(), count: 4 }).await;
    loop {
        let fresh = id(&okx.next_of("trades-all").await.0);
        if fresh != last + 1 {
            assert_eq!(fresh, last + 5);
            break;
        }
        last = fresh;
    }
    let page =
        get(&scene.sim, &format!("/api/v5/market/history-trades?instId=BTC-USDT&after={}&limit=1", last + 5)).await.json();
    assert_eq!(id(&page), last);
    scene.finish().await;
}

#[tokio::test]
async fn duplicated_delayed_reordered_and_damaged_frames_are_what_they_say() {
    let (scene, mut okx) = hearing(options()).await;
    let target = || Target::stream(TRADES);
    inject(&scene, Fault::Duplicate { target: target(), count: 1 }).await;
    let mut last = 0;
    loop {
        let fresh = id(&okx.next_of("trades-all").await.0);
        if fresh == last {
            break;
        }
        last = fresh;
    }
    inject(&scene, Fault::Reorder { target: target(), count: 1 }).await;
    loop {
        let fresh = id(&okx.next_of("trades-all").await.0);
        if fresh < last {
            assert_eq!(fresh + 1, last);
            break;
        }
        last = fresh;
    }
    inject(&scene, Fault::Delay { target: target(), count: 1, ms: 60 }).await;
    // What follows a frame that is held waits behind it, whatever else would become of it.
    while entered(&scene, TRADES, FrameStatus::Delayed).await.is_empty() {
        okx.next_of("trades-all").await;
    }
    inject(&scene, Fault::Corrupt { target: target(), count: 1, how: Corruption::Truncate }).await;
    let damaged = loop {
        let text = okx.next_text().await.unwrap();
        if serde_json::from_str::<Value>(&text).is_err() {
            break text;
        }
    };
    // The market is a thread of its own: the ledger's lines are there once asked for.
    for status in [FrameStatus::Duplicated, FrameStatus::Reordered] {
        assert_eq!(entered(&scene, TRADES, status).await.len(), 1, "{status:?}");
    }
    let corrupted = entered(&scene, TRADES, FrameStatus::Corrupted).await;
    assert_eq!((corrupted.len(), corrupted[0].1.as_deref()), (1, Some(damaged.as_str())));
    scene.finish().await;
}

#[tokio::test]
async fn a_dropped_update_of_a_book_shows_in_the_next_number() {
    let (scene, mut okx, mut book) = following(options()).await;
    inject(&scene, Fault::Drop { target: Target::stream(BOOK), count: 1 }).await;
    assert_eq!(until_unfit(&mut okx, &mut book).await, Applied::Gap);
    assert_eq!(entered(&scene, BOOK, FrameStatus::Dropped).await.len(), 1);
    // Subscribed anew, the snapshot replaces what was wrong; without that none comes.
    okx.subscribe("books", "BTC-USDT").await;
    assert_eq!(okx.next_of("books").await.0["action"], "update");
    okx.ask(r#"{"op":"unsubscribe","args":[{"channel":"books","instId":"BTC-USDT"}]}"#).await;
    okx.subscribe("books", "BTC-USDT").await;
    while okx.next_of("books").await.0["action"] != "snapshot" {}
    scene.finish().await;
}

#[tokio::test]
async fn changes_that_the_exchange_never_told_of_show_in_the_next_number_of_everybody() {
    let (scene, mut okx, mut book) = following(options()).await;
    let mut other = Okx::connect(&scene.sim, "public").await;
    other.subscribe("books", "BTC-USDT").await;
    let mut second = Book::default();
    second.apply(&other.next_of("books").await.0);
    let told = inject(&scene, Fault::Gap { symbol: "BTC/USDT".into(), channel: "book".into(), count: 4 }).await;
    assert!(told.contains("4 levels of BTC-USDT changed"), "{told}");
    assert_eq!(until_unfit(&mut okx, &mut book).await, Applied::Gap);
    assert_eq!(until_unfit(&mut other, &mut second).await, Applied::Gap);
    scene.finish().await;
}

#[tokio::test]
async fn numbers_that_begin_anew_go_on_with_the_same_book() {
    let (scene, mut okx, mut book) = following(rules("checksum=true")).await;
    let before = book.seq;
    inject(&scene, Fault::SequenceReset { symbol: "BTC/USDT".into() }).await;
    assert_eq!(until_unfit(&mut okx, &mut book).await, Applied::Reset);
    assert!(book.seq < 1_000 && before > 1_000_000, "{before} {}", book.seq);
    for _ in 0..10 {
        assert_eq!(book.apply(&okx.next_of("books").await.0), Applied::Fits);
        assert!(book.is_right());
    }
    let error = scene.sim.faults().inject(Fault::SequenceReset { symbol: "NO/PAIR".into() }).await;
    assert!(matches!(error, Err(InjectError::Refused { .. })), "{error:?}");
    scene.finish().await;
}

#[tokio::test]
async fn a_wrong_checksum_is_wrong_once_and_where_it_is_0_there_is_none() {
    let (scene, mut okx, mut book) = following(rules("checksum=true")).await;
    inject(&scene, Fault::Corrupt { target: Target::stream(BOOK), count: 1, how: Corruption::Checksum }).await;
    let mut wrong = 0;
    for _ in 0..15 {
        assert_eq!(book.apply(&okx.next_of("books").await.0), Applied::Fits);
        wrong += usize::from(!book.is_right());
    }
    assert_eq!((wrong, entered(&scene, BOOK, FrameStatus::Corrupted).await.len()), (1, 1));
    scene.finish().await;
    let scene = start(options()).await;
    let fault = Fault::Corrupt { target: Target::stream(BOOK), count: 1, how: Corruption::Checksum };
    assert!(matches!(scene.sim.faults().inject(fault).await, Err(InjectError::Refused { .. })));
    scene.finish().await;
}

#[tokio::test]
async fn a_muted_channel_is_acknowledged_and_silent_until_subscribed_anew() {
    let scene = start(options()).await;
    let mut okx = Okx::connect(&scene.sim, "public").await;
    inject(&scene, Fault::Mute { target: Target::stream(BOOK), count: 1 }).await;
    okx.subscribe("books", "BTC-USDT").await;
    okx.subscribe("books", "BTC-USDT-SWAP").await;
    for _ in 0..20 {
        let message = okx.next_of("books").await.0;
        assert_eq!(message["arg"]["instId"], "BTC-USDT-SWAP");
    }
    assert_eq!(okx.ask("ping").await, "pong");
    okx.subscribe("books", "BTC-USDT").await;
    while okx.next_of("books").await.0["arg"]["instId"] != "BTC-USDT" {}
    scene.finish().await;
}

#[tokio::test]
async fn a_stale_snapshot_is_older_than_the_updates_after_it() {
    let scene = start(options()).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    inject(&scene, Fault::StaleSnapshot { symbol: Some("BTC/USDT".into()), count: 1 }).await;
    let mut okx = Okx::connect(&scene.sim, "public").await;
    okx.subscribe("books", "BTC-USDT").await;
    let mut book = Book::default();
    book.apply(&okx.next_of("books").await.0);
    assert_eq!(until_unfit(&mut okx, &mut book).await, Applied::Gap);
    scene.finish().await;
}

#[tokio::test]
async fn connections_end_slow_down_and_are_refused_while_the_exchange_is_down() {
    let (scene, mut okx) = hearing(options()).await;
    let clean = Fault::Disconnect { target: Target::stream("trades-all"), how: Disconnection::Clean };
    inject(&scene, clean).await;
    assert!(matches!(okx.client.end().await, End::Clean(_)));
    let mut okx = Okx::connect(&scene.sim, "business").await;
    okx.subscribe("trades-all", "BTC-USDT").await;
    inject(&scene, Fault::Silence { target: Target::stream("trades-all"), ms: 500 }).await;
    let began = Instant::now();
    let before = id(&okx.next_of("trades-all").await.0);
    while id(&okx.next_of("trades-all").await.0) < before + 20 {}
    assert!(began.elapsed() > Duration::from_millis(400));
    inject(&scene, Fault::Down { ms: 300 }).await;
    assert_eq!(okx.client.end().await, End::Reset);
    assert!(Client::try_connect(&scene.sim, "/ws/v5/public").await.is_err());
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut okx = Okx::connect(&scene.sim, "public").await;
    assert_eq!(okx.ask("ping").await, "pong");
    scene.finish().await;
}
