//! Faults of the simulated Bitfinex: those that every exchange has, by channel and market, and its own.

mod common;

use std::time::{Duration, Instant};

use common::bitfinex::{Bitfinex, Book, CHECKSUM, Chain, Message, SEQUENCE, options, rules};
use common::{Client, End, Scene, get, start};
use dccd_sim::{Corruption, Disconnection, Fault, FrameStatus, InjectError, LedgerRecord, Target};
use serde_json::{Value, json};

const TRADES: &str = "trades:tBTCUSD";
const BOOK: &str = "book:tBTCUSD:P0:F0:25";

async fn inject(scene: &Scene, fault: Fault) -> String {
    scene.sim.faults().inject(fault).await.unwrap()
}

async fn hearing(flags: u32) -> (Scene, Bitfinex, u64) {
    let scene = start(options()).await;
    let mut bitfinex = Bitfinex::with_flags(&scene.sim, flags).await;
    let channel = bitfinex.subscribe("trades", json!({"symbol": "tBTCUSD"})).await;
    (scene, bitfinex, channel)
}

async fn following() -> (Scene, Bitfinex, u64, Book) {
    let scene = start(options()).await;
    let mut bitfinex = Bitfinex::with_flags(&scene.sim, CHECKSUM).await;
    let channel = bitfinex.book("tBTCUSD", "P0", 25).await;
    let mut book = Book::default();
    book.apply(&bitfinex.next_of(channel).await);
    (scene, bitfinex, channel, book)
}

/// How many checksums of the next ones are wrong.
async fn wrong_of(bitfinex: &mut Bitfinex, channel: u64, checksums: usize) -> usize {
    let mut wrong = 0;
    let mut book = Book::default();
    for _ in 0..checksums {
        loop {
            match book.apply(&bitfinex.next_of(channel).await) {
                None => {}
                Some(is_right) => {
                    wrong += usize::from(!is_right);
                    break;
                }
            }
        }
    }
    wrong
}

/// Frames of a stream with this status in the ledger.
async fn entered(scene: &Scene, of: &str, wanted: FrameStatus) -> Vec<(String, Option<String>)> {
    let frames = scene.ledger().await.into_iter().filter_map(|record| match record {
        LedgerRecord::Frame { stream, status, raw, wire, .. } if stream == of && status == wanted => Some((raw, wire)),
        _ => None,
    });
    frames.collect()
}

fn seq(message: &Message) -> u64 {
    message.parts.last().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_dropped_trade_shows_in_the_sequence_and_rest_has_it() {
    let (scene, mut bitfinex, channel) = hearing(SEQUENCE).await;
    let mut chain = Chain::default();
    assert!(chain.follows(seq(&bitfinex.next_of(channel).await)));
    inject(&scene, Fault::Drop { target: Target::stream(TRADES), count: 2 }).await;
    while chain.follows(seq(&bitfinex.next_of(channel).await)) {}
    let dropped = entered(&scene, TRADES, FrameStatus::Dropped).await;
    assert_eq!(dropped.len(), 2);
    let lost = Message::read(&dropped[0].0).unwrap().value(1);
    let ms = lost[1].as_i64().unwrap();
    let page = get(&scene.sim, &format!("/v2/trades/tBTCUSD/hist?start={ms}&end={ms}&limit=100")).await.json();
    assert!(page.as_array().unwrap().contains(&lost), "{page} {lost}");
    scene.finish().await;
}

#[tokio::test]
async fn duplicated_delayed_reordered_and_damaged_frames_are_what_they_say() {
    let (scene, mut bitfinex, channel) = hearing(SEQUENCE).await;
    let target = || Target::stream(TRADES);
    let mut last = 0;
    inject(&scene, Fault::Duplicate { target: target(), count: 1 }).await;
    loop {
        let fresh = seq(&bitfinex.next_of(channel).await);
        if fresh == last {
            break;
        }
        last = fresh;
    }
    inject(&scene, Fault::Reorder { target: target(), count: 1 }).await;
    loop {
        let fresh = seq(&bitfinex.next_of(channel).await);
        if fresh < last {
            assert_eq!(fresh + 1, last);
            break;
        }
        last = fresh;
    }
    inject(&scene, Fault::Delay { target: target(), count: 1, ms: 60 }).await;
    while entered(&scene, TRADES, FrameStatus::Delayed).await.is_empty() {
        bitfinex.next_of(channel).await;
    }
    inject(&scene, Fault::Corrupt { target: target(), count: 1, how: Corruption::Truncate }).await;
    let damaged = loop {
        let text = bitfinex.next_text().await.unwrap();
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
async fn a_wrong_checksum_is_wrong_once() {
    let (scene, mut bitfinex, channel, _) = following().await;
    bitfinex.ask(json!({"event": "unsubscribe", "chanId": channel})).await;
    inject(&scene, Fault::Corrupt { target: Target::stream(BOOK), count: 1, how: Corruption::Checksum }).await;
    let channel = bitfinex.book("tBTCUSD", "P0", 25).await;
    assert_eq!(wrong_of(&mut bitfinex, channel, 8).await, 1);
    let corrupted = entered(&scene, BOOK, FrameStatus::Corrupted).await;
    assert!(corrupted.len() == 1 && corrupted[0].0.contains("\"cs\""), "{corrupted:?}");
    scene.finish().await;
}

#[tokio::test]
async fn changes_that_the_exchange_never_told_of_show_in_the_checksums() {
    let (scene, mut bitfinex, channel, mut book) = following().await;
    let told = inject(&scene, Fault::Gap { symbol: "BTC/USD".into(), channel: "book".into(), count: 25 }).await;
    assert!(told.contains("25 levels of tBTCUSD changed"), "{told}");
    // A row that was never told may end as well: then there is nothing to end.
    let mut is_right = true;
    for _ in 0..2_000 {
        if book.apply(&bitfinex.next_of(channel).await) == Some(false) {
            is_right = false;
            break;
        }
    }
    assert!(!is_right);
    let error = scene.sim.faults().inject(Fault::SequenceReset { symbol: "BTC/USD".into() }).await;
    assert!(matches!(error, Err(InjectError::Refused { .. })), "{error:?}");
    scene.finish().await;
}

#[tokio::test]
async fn a_stale_snapshot_does_not_fit_what_follows() {
    let scene = start(options()).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    inject(&scene, Fault::StaleSnapshot { symbol: Some("BTC/USD".into()), count: 1 }).await;
    let mut bitfinex = Bitfinex::with_flags(&scene.sim, CHECKSUM).await;
    let channel = bitfinex.book("tBTCUSD", "P0", 25).await;
    let mut stale = Book::default();
    stale.apply(&bitfinex.next_of(channel).await);
    let mut fresh = Bitfinex::with_flags(&scene.sim, CHECKSUM).await;
    let channel = fresh.book("tBTCUSD", "P0", 25).await;
    let mut right = Book::default();
    right.apply(&fresh.next_of(channel).await);
    assert_ne!(stale.bids, right.bids);
    scene.finish().await;
}

#[tokio::test]
async fn a_silent_channel_takes_no_numbers_and_a_muted_one_is_acknowledged_alone() {
    let scene = start(rules("heartbeat=0.3")).await;
    let mut bitfinex = Bitfinex::with_flags(&scene.sim, SEQUENCE).await;
    inject(&scene, Fault::Mute { target: Target::stream("ticker"), count: 1 }).await;
    let muted = bitfinex.subscribe("ticker", json!({"symbol": "tBTCUSD"})).await;
    let silent = bitfinex.subscribe("trades", json!({"symbol": "tBTCUSD"})).await;
    bitfinex.subscribe("trades", json!({"symbol": "tBTCUST"})).await;
    let mut chain = Chain::default();
    inject(&scene, Fault::Silence { target: Target::stream(TRADES), ms: 1_000 }).await;
    let (began, mut heard) = (Instant::now(), Vec::new());
    while began.elapsed() < Duration::from_millis(1_500) {
        let message = Message::read(&bitfinex.next_text().await.unwrap()).unwrap();
        assert!(message.channel != muted && chain.follows(seq(&message)), "{message:?}");
        heard.extend((message.channel == silent).then(|| began.elapsed()));
    }
    assert!(heard.last().is_some_and(|at| *at > Duration::from_millis(900)), "{heard:?}");
    assert!(!entered(&scene, TRADES, FrameStatus::Silenced).await.is_empty());
    scene.finish().await;
}

#[tokio::test]
async fn a_maintenance_is_told_of_and_what_was_subscribed_to_before_stays_silent() {
    let (scene, mut bitfinex, channel) = hearing(0).await;
    inject(&scene, Fault::Maintenance { ms: 500 }).await;
    let mut codes = Vec::new();
    while codes.len() < 2 {
        let text = bitfinex.next_text().await.unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        if value["event"] == "info" {
            codes.push(value["code"].as_u64().unwrap());
            if codes.len() == 1 {
                assert_eq!(get(&scene.sim, "/v2/platform/status").await.body, "[0]");
            }
        } else {
            assert!(codes.is_empty(), "{text}");
        }
    }
    assert_eq!(codes, [20_060, 20_061]);
    assert_eq!(get(&scene.sim, "/v2/platform/status").await.body, "[1]");
    let gone = bitfinex.ask(json!({"event": "unsubscribe", "chanId": channel})).await;
    assert!(gone.contains("\"OK\""), "{gone}");
    let again = bitfinex.subscribe("trades", json!({"symbol": "tBTCUSD"})).await;
    for _ in 0..20 {
        assert_eq!(Message::read(&bitfinex.next_text().await.unwrap()).unwrap().channel, again);
    }
    scene.finish().await;
}

#[tokio::test]
async fn connections_are_told_to_come_back_end_and_are_refused_while_the_exchange_is_down() {
    let (scene, mut bitfinex, _) = hearing(0).await;
    inject(&scene, Fault::Shutdown { ms: 200 }).await;
    loop {
        let text = bitfinex.next_text().await.unwrap();
        if text.starts_with('{') {
            assert_eq!(text, r#"{"event":"info","code":20051,"msg":"Stopping. Please try to reconnect"}"#);
            break;
        }
    }
    assert!(matches!(bitfinex.client.end().await, End::Clean(_)));
    let mut bitfinex = Bitfinex::connect(&scene.sim).await;
    bitfinex.subscribe("trades", json!({"symbol": "tBTCUSD"})).await;
    inject(&scene, Fault::Disconnect { target: Target::stream("trades"), how: Disconnection::Clean }).await;
    assert!(matches!(bitfinex.client.end().await, End::Clean(_)));
    let mut bitfinex = Bitfinex::connect(&scene.sim).await;
    inject(&scene, Fault::Down { ms: 300 }).await;
    assert_eq!(bitfinex.client.end().await, End::Reset);
    assert!(Client::try_connect(&scene.sim, "/ws/2").await.is_err());
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut bitfinex = Bitfinex::connect(&scene.sim).await;
    assert!(bitfinex.ask(json!({"event": "ping"})).await.contains("pong"));
    scene.finish().await;
}
