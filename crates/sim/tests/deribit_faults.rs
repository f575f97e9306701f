//! Faults of the simulated Deribit: those that every exchange has, by channel and market, and its own.

mod common;

use std::time::{Duration, Instant};

use common::deribit::{Applied, Book, Deribit, options};
use common::{Client, End, Scene, get, start};
use dccd_sim::{Corruption, Disconnection, Fault, FrameStatus, InjectError, LedgerRecord, Target};
use serde_json::{Value, json};

const TRADES: &str = "trades.BTC-PERPETUAL.100ms";
const BOOK: &str = "book.BTC-PERPETUAL.100ms";
const SYMBOL: &str = "BTC/USD:BTC";

/// The stream of a channel.
fn stream(channel: &str) -> String {
    channel.replace('.', ":")
}

fn target(channel: &str) -> Target {
    Target::stream(&stream(channel))
}

async fn inject(scene: &Scene, fault: Fault) -> String {
    scene.sim.faults().inject(fault).await.unwrap()
}

/// First and last number of a batch, which has no hole.
fn ends(batch: &Value) -> (u64, u64) {
    let seqs: Vec<u64> = batch.as_array().unwrap().iter().map(|row| row["trade_seq"].as_u64().unwrap()).collect();
    assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seqs:?}");
    (seqs[0], seqs[seqs.len() - 1])
}

async fn hearing() -> (Scene, Deribit) {
    let scene = start(options()).await;
    let mut deribit = Deribit::connect(&scene.sim).await;
    deribit.subscribe(TRADES).await;
    (scene, deribit)
}

/// A connection with a book, its snapshot applied.
async fn following() -> (Scene, Deribit, Book) {
    let scene = start(options()).await;
    let mut deribit = Deribit::connect(&scene.sim).await;
    deribit.subscribe(BOOK).await;
    let mut book = Book::default();
    assert_eq!(book.apply(&deribit.next_of(BOOK).await), Applied::Fits);
    (scene, deribit, book)
}

/// Messages until one doesn't fit.
async fn until_gap(deribit: &mut Deribit, book: &mut Book) {
    for _ in 0..200 {
        if book.apply(&deribit.next_of(BOOK).await) == Applied::Gap {
            return;
        }
    }
    panic!("200 messages and all fit");
}

/// Frames of a channel with this status in the ledger.
async fn entered(scene: &Scene, of: &str, wanted: FrameStatus) -> Vec<(String, Option<String>)> {
    let of = self::stream(of);
    let frames = scene.ledger().await.into_iter().filter_map(|record| match record {
        LedgerRecord::Frame { stream, status, raw, wire, .. } if stream == of && status == wanted => Some((raw, wire)),
        _ => None,
    });
    frames.collect()
}

/// Batches until one does not follow the one before: where that ended, and where it begins.
async fn until_hole(deribit: &mut Deribit, mut last: u64) -> (u64, u64) {
    loop {
        let (first, end) = ends(&deribit.next_of(TRADES).await);
        if first != last + 1 {
            return (last, first);
        }
        last = end;
    }
}

async fn page(scene: &Scene, from: u64, to: u64) -> Vec<u64> {
    let target = format!(
        "/api/v2/public/get_last_trades_by_instrument?instrument_name=BTC-PERPETUAL&start_seq={from}&end_seq={to}&count=1000&sorting=asc"
    );
    let page = get(&scene.sim, &target).await.json();
    let rows = page["result"]["trades"].as_array().unwrap();
    rows.iter().map(|row| row["trade_seq"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn dropped_trades_are_missing_and_rest_has_them() {
    let (scene, mut deribit) = hearing().await;
    let last = ends(&deribit.next_of(TRADES).await).1;
    inject(&scene, Fault::Drop { target: target(TRADES), count: 2 }).await;
    let (last, next) = until_hole(&mut deribit, last).await;
    assert_eq!(entered(&scene, TRADES, FrameStatus::Dropped).await.len(), 2);
    assert!(next > last + 2);
    assert_eq!(page(&scene, last + 1, next - 1).await, (last + 1..next).collect::<Vec<_>>());
    scene.finish().await;
}

#[tokio::test]
async fn skipped_numbers_are_on_neither_side() {
    let (scene, mut deribit) = hearing().await;
    deribit.next_of(TRADES).await;
    let told = inject(&scene, Fault::Gap { symbol: SYMBOL.into(), channel: "trades".into(), count: 4 }).await;
    let first: u64 = told.split([' ', '.']).find_map(|word| word.parse().ok()).unwrap();
    loop {
        let batch = deribit.next_of(TRADES).await;
        let seqs: Vec<u64> = batch.as_array().unwrap().iter().map(|row| row["trade_seq"].as_u64().unwrap()).collect();
        assert!(!seqs.iter().any(|seq| (first..first + 4).contains(seq)));
        if seqs.iter().any(|seq| *seq >= first + 4) {
            break;
        }
    }
    assert_eq!(page(&scene, first - 1, first + 4).await, [first - 1, first + 4]);
    scene.finish().await;
}

#[tokio::test]
async fn duplicated_delayed_reordered_and_damaged_frames_are_what_they_say() {
    let (scene, mut deribit) = hearing().await;
    inject(&scene, Fault::Duplicate { target: target(TRADES), count: 1 }).await;
    let mut last = (0, 0);
    loop {
        let fresh = ends(&deribit.next_of(TRADES).await);
        if fresh == last {
            break;
        }
        last = fresh;
    }
    inject(&scene, Fault::Reorder { target: target(TRADES), count: 1 }).await;
    loop {
        let fresh = ends(&deribit.next_of(TRADES).await);
        if fresh.1 < last.0 {
            assert_eq!(fresh.1 + 1, last.0);
            break;
        }
        last = fresh;
    }
    inject(&scene, Fault::Delay { target: target(TRADES), count: 1, ms: 60 }).await;
    // What follows a frame that is held waits behind it, whatever else would become of it.
    while entered(&scene, TRADES, FrameStatus::Delayed).await.is_empty() {
        deribit.next_of(TRADES).await;
    }
    inject(&scene, Fault::Corrupt { target: target(TRADES), count: 1, how: Corruption::Truncate }).await;
    let damaged = loop {
        let text = deribit.next_text().await.unwrap();
        if serde_json::from_str::<Value>(&text).is_err() {
            break text;
        }
    };
    for status in [FrameStatus::Duplicated, FrameStatus::Reordered] {
        assert_eq!(entered(&scene, TRADES, status).await.len(), 1, "{status:?}");
    }
    let corrupted = entered(&scene, TRADES, FrameStatus::Corrupted).await;
    assert_eq!((corrupted.len(), corrupted[0].1.as_deref()), (1, Some(damaged.as_str())));
    let checksum = Fault::Corrupt { target: target(BOOK), count: 1, how: Corruption::Checksum };
    assert!(matches!(scene.sim.faults().inject(checksum).await, Err(InjectError::Refused { .. })), "it has none");
    scene.finish().await;
}

#[tokio::test]
async fn a_dropped_change_of_a_book_shows_in_the_next_number() {
    let (scene, mut deribit, mut book) = following().await;
    inject(&scene, Fault::Drop { target: target(BOOK), count: 1 }).await;
    until_gap(&mut deribit, &mut book).await;
    assert_eq!(entered(&scene, BOOK, FrameStatus::Dropped).await.len(), 1);
    // Subscribed to once more it goes on as before; subscribed to anew, a snapshot replaces what was wrong.
    deribit.subscribe(BOOK).await;
    assert_eq!(deribit.next_of(BOOK).await["type"], "change");
    deribit.unsubscribe(BOOK).await;
    deribit.subscribe(BOOK).await;
    loop {
        let data = deribit.next_of(BOOK).await;
        if data["type"] == "snapshot" {
            assert_eq!(book.apply(&data), Applied::Fits);
            break;
        }
    }
    for _ in 0..5 {
        assert_eq!(book.apply(&deribit.next_of(BOOK).await), Applied::Fits);
    }
    scene.finish().await;
}

#[tokio::test]
async fn changes_that_the_exchange_never_told_of_show_in_the_next_number_of_everybody() {
    let (scene, mut deribit, mut book) = following().await;
    let mut other = Deribit::connect(&scene.sim).await;
    other.subscribe(BOOK).await;
    let mut second = Book::default();
    second.apply(&other.next_of(BOOK).await);
    let told = inject(&scene, Fault::Gap { symbol: SYMBOL.into(), channel: "book".into(), count: 4 }).await;
    assert!(told.contains("4 levels of BTC-PERPETUAL changed"), "{told}");
    until_gap(&mut deribit, &mut book).await;
    until_gap(&mut other, &mut second).await;
    scene.finish().await;
}

#[tokio::test]
async fn a_book_whose_numbers_begin_anew_is_sent_whole() {
    let (scene, mut deribit, mut book) = following().await;
    for _ in 0..5 {
        assert_eq!(book.apply(&deribit.next_of(BOOK).await), Applied::Fits);
    }
    let before = book.id;
    inject(&scene, Fault::SequenceReset { symbol: SYMBOL.into() }).await;
    while book.snapshots < 2 {
        assert_eq!(book.apply(&deribit.next_of(BOOK).await), Applied::Fits);
    }
    assert!(book.id == 1 && before > 1_000_000, "{before} {}", book.id);
    for _ in 0..10 {
        assert_eq!(book.apply(&deribit.next_of(BOOK).await), Applied::Fits);
    }
    let error = scene.sim.faults().inject(Fault::SequenceReset { symbol: "NO/PAIR".into() }).await;
    assert!(matches!(error, Err(InjectError::Refused { .. })), "{error:?}");
    scene.finish().await;
}

#[tokio::test]
async fn a_muted_channel_is_acknowledged_and_silent_until_subscribed_anew() {
    let scene = start(options()).await;
    let mut deribit = Deribit::connect(&scene.sim).await;
    inject(&scene, Fault::Mute { target: target(BOOK), count: 1 }).await;
    deribit.subscribe(BOOK).await;
    deribit.subscribe("book.BTC_USDC.100ms").await;
    for _ in 0..15 {
        let text = deribit.next_text().await.unwrap();
        assert!(text.contains("BTC_USDC"), "{text}");
    }
    assert_eq!(deribit.call("public/test", json!({})).await["result"]["version"], "1.2.26");
    deribit.subscribe(BOOK).await;
    assert_eq!(deribit.next_of(BOOK).await["type"], "snapshot");
    scene.finish().await;
}

#[tokio::test]
async fn a_stale_snapshot_is_older_than_the_changes_after_it() {
    let scene = start(options()).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    inject(&scene, Fault::StaleSnapshot { symbol: Some(SYMBOL.into()), count: 1 }).await;
    let mut deribit = Deribit::connect(&scene.sim).await;
    deribit.subscribe(BOOK).await;
    let mut book = Book::default();
    book.apply(&deribit.next_of(BOOK).await);
    until_gap(&mut deribit, &mut book).await;
    scene.finish().await;
}

#[tokio::test]
async fn connections_end_fall_silent_and_are_refused_while_the_exchange_is_down() {
    let (scene, mut deribit) = hearing().await;
    inject(&scene, Fault::Disconnect { target: Target::stream("trades"), how: Disconnection::Clean }).await;
    assert!(matches!(deribit.client.end().await, End::Clean(_)));
    let mut deribit = Deribit::connect(&scene.sim).await;
    deribit.subscribe(TRADES).await;
    let last = ends(&deribit.next_of(TRADES).await).1;
    inject(&scene, Fault::Silence { target: Target::stream("trades"), ms: 500 }).await;
    let began = Instant::now();
    let (last, next) = until_hole(&mut deribit, last).await;
    assert!(began.elapsed() > Duration::from_millis(400) && next > last + 1);
    inject(&scene, Fault::Down { ms: 300 }).await;
    assert_eq!(deribit.client.end().await, End::Reset);
    assert!(Client::try_connect(&scene.sim, "/ws/api/v2").await.is_err());
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut deribit = Deribit::connect(&scene.sim).await;
    assert_eq!(deribit.call("public/test", json!({})).await["id"], 1);
    scene.finish().await;
}
