//! Faults of the simulated Coinbase: those that every exchange has, by channel and market, and what they mean for books without
//! numbers.

mod common;

use std::time::{Duration, Instant};

use common::coinbase::{Book, Coinbase, get, options};
use common::{Client, End, Scene, start};
use dccd_sim::{Corruption, Disconnection, Fault, FrameStatus, InjectError, LedgerRecord, SimOptions, Target};
use serde_json::Value;

const TRADES: &str = "matches:BTC-USD";
const BOOK: &str = "level2_batch:BTC-USD";

async fn inject(scene: &Scene, fault: Fault) -> String {
    scene.sim.faults().inject(fault).await.unwrap()
}

fn id(message: &Value) -> u64 {
    message["trade_id"].as_u64().unwrap()
}

async fn hearing(options: SimOptions) -> (Scene, Coinbase) {
    let scene = start(options).await;
    let mut coinbase = Coinbase::connect(&scene.sim).await;
    coinbase.subscribe(&["matches"], "BTC-USD").await;
    (scene, coinbase)
}

/// The next trade that does not follow on the one before, and that one.
async fn until_gap(coinbase: &mut Coinbase) -> (u64, u64) {
    let mut last = id(&coinbase.next_of(&["match"]).await);
    loop {
        let fresh = id(&coinbase.next_of(&["match"]).await);
        if fresh != last + 1 {
            return (last, fresh);
        }
        last = fresh;
    }
}

/// A connection with a book, its snapshot applied.
async fn following(scene: &Scene) -> (Coinbase, Book) {
    let mut coinbase = Coinbase::connect(&scene.sim).await;
    coinbase.subscribe(&["level2_batch"], "BTC-USD").await;
    let mut book = Book::default();
    book.apply(&coinbase.next_of(&["snapshot"]).await);
    (coinbase, book)
}

/// What a client has once the market stands still, and what the exchange has.
async fn at_rest(scene: &Scene, coinbase: &mut Coinbase, book: &mut Book) -> Book {
    scene.sim.pause().await.unwrap();
    coinbase.subscribe(&["heartbeat"], "BTC-USD").await;
    for _ in 0..2 {
        loop {
            let message = coinbase.next_of(&["l2update", "heartbeat"]).await;
            if message["type"] == "heartbeat" {
                break;
            }
            book.apply(&message);
        }
    }
    let mut told = Book::default();
    told.apply(&get(&scene.sim, "/products/BTC-USD/book?level=2").await.json());
    told
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
    let (scene, mut coinbase) = hearing(options()).await;
    coinbase.next_of(&["match"]).await;
    inject(&scene, Fault::Drop { target: Target::stream(TRADES), count: 3 }).await;
    let (last, next) = until_gap(&mut coinbase).await;
    assert_eq!((next, entered(&scene, TRADES, FrameStatus::Dropped).await.len()), (last + 4, 3));
    let page = get(&scene.sim, &format!("/products/BTC-USD/trades?after={next}&limit=3")).await.json();
    let ids: Vec<u64> = page.as_array().unwrap().iter().map(id).collect();
    assert_eq!(ids, [last + 3, last + 2, last + 1]);
    scene.finish().await;
}

#[tokio::test]
async fn a_heartbeat_tells_of_trades_that_were_dropped() {
    let (scene, mut coinbase) = hearing(options()).await;
    coinbase.subscribe(&["heartbeat"], "BTC-USD").await;
    inject(&scene, Fault::Silence { target: Target::stream("matches"), ms: 60_000 }).await;
    // What was on its way when the silence began is over with the first heartbeat after it.
    coinbase.next_of(&["heartbeat"]).await;
    coinbase.next_of(&["heartbeat"]).await;
    let (mut told, mut beat) = (0, 0);
    for _ in 0..2 {
        let message = coinbase.next_of(&["heartbeat", "match"]).await;
        if message["type"] == "match" {
            told = id(&message);
        }
        beat = message["last_trade_id"].as_u64().unwrap_or(beat);
    }
    assert!(told == 0 && beat > 0, "{told} {beat}");
    let silenced = entered(&scene, TRADES, FrameStatus::Silenced).await;
    assert!(silenced.iter().any(|(raw, _)| raw.contains(&format!("\"trade_id\":{beat},"))));
    scene.finish().await;
}

#[tokio::test]
async fn skipped_ids_are_in_neither_side() {
    let (scene, mut coinbase) = hearing(options()).await;
    coinbase.next_of(&["match"]).await;
    inject(&scene, Fault::Gap { symbol: "BTC/USD".into(), channel: "trades".into(), count: 4 }).await;
    let (last, next) = until_gap(&mut coinbase).await;
    assert_eq!(next, last + 5);
    let page = get(&scene.sim, &format!("/products/BTC-USD/trades?after={next}&limit=1")).await.json();
    assert_eq!(id(&page[0]), last);
    scene.finish().await;
}

#[tokio::test]
async fn duplicated_delayed_reordered_and_damaged_frames_are_what_they_say() {
    let (scene, mut coinbase) = hearing(options()).await;
    let target = || Target::stream(TRADES);
    coinbase.next_of(&["match"]).await;
    inject(&scene, Fault::Duplicate { target: target(), count: 1 }).await;
    let (last, again) = until_gap(&mut coinbase).await;
    assert_eq!(last, again);
    inject(&scene, Fault::Reorder { target: target(), count: 1 }).await;
    let (last, later) = until_gap(&mut coinbase).await;
    assert_eq!((later, id(&coinbase.next_of(&["match"]).await)), (last + 2, last + 1));
    inject(&scene, Fault::Delay { target: target(), count: 1, ms: 60 }).await;
    // What follows a frame that is held waits behind it, whatever else would become of it.
    while entered(&scene, TRADES, FrameStatus::Delayed).await.is_empty() {
        coinbase.next_of(&["match"]).await;
    }
    inject(&scene, Fault::Corrupt { target: target(), count: 1, how: Corruption::Truncate }).await;
    let damaged = loop {
        let text = coinbase.next_text().await.unwrap();
        if serde_json::from_str::<Value>(&text).is_err() {
            break text;
        }
    };
    for status in [FrameStatus::Duplicated, FrameStatus::Reordered] {
        assert_eq!(entered(&scene, TRADES, status).await.len(), 1, "{status:?}");
    }
    let corrupted = entered(&scene, TRADES, FrameStatus::Corrupted).await;
    assert_eq!((corrupted.len(), corrupted[0].1.as_deref()), (1, Some(damaged.as_str())));
    scene.finish().await;
}

#[tokio::test]
async fn a_lost_update_of_a_book_shows_over_rest_alone_and_a_new_snapshot_mends_it() {
    let scene = start(options()).await;
    let (mut coinbase, mut book) = following(&scene).await;
    inject(&scene, Fault::Drop { target: Target::stream(BOOK), count: 20 }).await;
    while entered(&scene, BOOK, FrameStatus::Dropped).await.len() < 20 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let told = at_rest(&scene, &mut coinbase, &mut book).await;
    assert_ne!(told.levels(), book.levels());
    coinbase.unsubscribe("level2_batch", "BTC-USD").await;
    coinbase.subscribe(&["level2_batch"], "BTC-USD").await;
    book.apply(&coinbase.next_of(&["snapshot"]).await);
    assert_eq!(told.levels(), book.levels());
    scene.finish().await;
}

#[tokio::test]
async fn changes_that_the_exchange_never_told_of_show_over_rest_alone() {
    let scene = start(options()).await;
    let (mut coinbase, mut book) = following(&scene).await;
    let before = at_rest(&scene, &mut coinbase, &mut book).await;
    assert_eq!(before.levels(), book.levels());
    let told = inject(&scene, Fault::Gap { symbol: "BTC/USD".into(), channel: "book".into(), count: 4 }).await;
    assert!(told.contains("4 of the best levels of BTC-USD changed"), "{told}");
    let after = at_rest(&scene, &mut coinbase, &mut book).await;
    let ([bids, asks], [old_bids, old_asks]) = (after.levels(), before.levels());
    let differ = |new: &[[String; 2]], old: &[[String; 2]]| new.iter().zip(old).filter(|(a, b)| a != b).count();
    assert_eq!((differ(&bids, &old_bids), differ(&asks, &old_asks)), (2, 2));
    assert_eq!(before.levels(), book.levels());
    scene.finish().await;
}

#[tokio::test]
async fn a_stale_snapshot_is_the_book_of_the_start() {
    let scene = start(options()).await;
    let mut first = Book::default();
    let (mut early, _) = following(&scene).await;
    while first.updates < 20 {
        first.apply(&early.next_of(&["l2update"]).await);
    }
    inject(&scene, Fault::StaleSnapshot { symbol: Some("BTC/USD".into()), count: 2 }).await;
    let (mut coinbase, mut book) = following(&scene).await;
    let stale = book.clone();
    let mut rest = Book::default();
    rest.apply(&get(&scene.sim, "/products/BTC-USD/book?level=2").await.json());
    assert_eq!(stale.levels(), rest.levels());
    // The updates after it go on from another book.
    let told = at_rest(&scene, &mut coinbase, &mut book).await;
    assert!(told.levels() != stale.levels() && told.levels() != book.levels());
    scene.finish().await;
}

#[tokio::test]
async fn what_has_no_checksum_and_no_numbers_can_have_none_of_their_faults() {
    let scene = start(options()).await;
    for fault in [
        Fault::Corrupt { target: Target::stream(BOOK), count: 1, how: Corruption::Checksum },
        Fault::SequenceReset { symbol: "BTC/USD".into() },
    ] {
        assert!(matches!(scene.sim.faults().inject(fault).await, Err(InjectError::Refused { .. })));
    }
    scene.finish().await;
}

#[tokio::test]
async fn a_muted_channel_is_acknowledged_and_silent_until_subscribed_anew() {
    let scene = start(options()).await;
    let mut coinbase = Coinbase::connect(&scene.sim).await;
    inject(&scene, Fault::Mute { target: Target::stream(BOOK), count: 1 }).await;
    coinbase.subscribe(&["level2_batch"], "BTC-USD").await;
    coinbase.subscribe(&["level2_batch"], "ETH-USD").await;
    for _ in 0..20 {
        assert_eq!(coinbase.next_of(&["snapshot", "l2update"]).await["product_id"], "ETH-USD");
    }
    coinbase.subscribe(&["level2_batch"], "BTC-USD").await;
    let first = loop {
        let message = coinbase.next_of(&["snapshot", "l2update"]).await;
        if message["product_id"] == "BTC-USD" {
            break message;
        }
    };
    assert_eq!(first["type"], "snapshot");
    scene.finish().await;
}

#[tokio::test]
async fn a_channel_that_is_left_out_is_not_listed_and_silent_until_subscribed_anew() {
    let scene = start(options()).await;
    let mut coinbase = Coinbase::connect(&scene.sim).await;
    inject(&scene, Fault::Omit { target: Target::stream("ticker"), count: 1 }).await;
    let subscribe = r#"{"type":"subscribe","product_ids":["BTC-USD"],"channels":["matches","ticker"]}"#;
    let reply = coinbase.ask(subscribe).await;
    assert!(reply.contains("matches") && !reply.contains("ticker"), "{reply}");
    let reply = coinbase.ask(subscribe).await;
    assert!(reply.contains("matches") && reply.contains("ticker"), "{reply}");
    coinbase.next_of(&["ticker"]).await;
    scene.finish().await;
}

#[tokio::test]
async fn connections_end_and_are_refused_while_the_exchange_is_down() {
    let (scene, mut coinbase) = hearing(options()).await;
    inject(&scene, Fault::Disconnect { target: Target::stream("matches"), how: Disconnection::Clean }).await;
    assert!(matches!(coinbase.client.end().await, End::Clean(_)));
    let mut coinbase = Coinbase::connect(&scene.sim).await;
    coinbase.subscribe(&["matches"], "BTC-USD").await;
    inject(&scene, Fault::Silence { target: Target::stream("matches"), ms: 500 }).await;
    let began = Instant::now();
    let before = id(&coinbase.next_of(&["last_match", "match"]).await);
    while id(&coinbase.next_of(&["match"]).await) < before + 20 {}
    assert!(began.elapsed() > Duration::from_millis(400));
    inject(&scene, Fault::Down { ms: 300 }).await;
    assert_eq!(coinbase.client.end().await, End::Reset);
    assert!(Client::try_connect(&scene.sim, "/").await.is_err());
    let back = async {
        while Client::try_connect(&scene.sim, "/").await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(common::DEADLINE, back).await.expect("the exchange comes back");
    scene.finish().await;
}
