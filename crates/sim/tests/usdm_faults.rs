//! Faults of the simulated Binance's perpetuals: those that break the chain of a book, silence, and what other sides don't notice.

mod common;

use std::time::Duration;

use common::usdm::{Applied, Book, follow, options};
use common::{Client, End, Scene, get, start};
use dccd_sim::{Fault, FrameStatus, InjectError, LedgerRecord, RestFault, Target};
use serde_json::{Value, json};

const PERPETUAL: &str = "BTC/USDT:USDT";
const STREAM: &str = "btcusdt@depth@100ms";
const ENTERED: &str = "usdm:btcusdt@depth@100ms";

async fn inject(scene: &Scene, fault: Fault) -> String {
    scene.sim.faults().inject(fault).await.unwrap()
}

/// Messages until one does not link: that message.
async fn until_broken(client: &mut Client, book: &mut Book) -> Value {
    for _ in 0..300 {
        let event = client.next_json().await;
        if book.apply(&event) == Applied::Gap {
            return event;
        }
    }
    panic!("300 messages and each linked");
}

/// A new snapshot: from there on all links again.
async fn mend(scene: &Scene, client: &mut Client) {
    let mut book = Book::fetch(&scene.sim, "BTCUSDT").await;
    let mut linked = 0;
    while linked < 5 {
        match book.apply(&client.next_json().await) {
            Applied::Yes => linked += 1,
            Applied::Old => {}
            Applied::Gap => panic!("no link to a new snapshot"),
        }
    }
}

async fn sent(scene: &Scene, of: &str, wanted: FrameStatus) -> Vec<Value> {
    let frames = scene.ledger().await.into_iter().filter_map(|record| match record {
        LedgerRecord::Frame { stream, status, raw, .. } if stream == of && status == wanted => {
            Some(serde_json::from_str(&raw).unwrap())
        }
        _ => None,
    });
    frames.collect()
}

#[tokio::test]
async fn a_dropped_diff_breaks_the_chain_and_a_snapshot_mends_it() {
    let scene = start(options()).await;
    let (mut client, mut book) = follow(&scene.sim, "BTCUSDT", STREAM).await;
    inject(&scene, Fault::Drop { target: Target::stream(ENTERED), count: 1 }).await;
    let event = until_broken(&mut client, &mut book).await;
    let dropped = sent(&scene, ENTERED, FrameStatus::Dropped).await;
    assert_eq!((dropped.len(), &dropped[0]["u"]), (1, &event["pu"]));
    assert_eq!(dropped[0]["pu"], json!(book.last));
    mend(&scene, &mut client).await;
    scene.finish().await;
}

#[tokio::test]
async fn a_gap_and_an_engine_restart_name_a_predecessor_that_nobody_was_sent() {
    let scene = start(options()).await;
    for fault in [
        Fault::Gap { symbol: PERPETUAL.into(), channel: "book".into(), count: 3 },
        Fault::SequenceReset { symbol: PERPETUAL.into() },
    ] {
        let (mut client, mut book) = follow(&scene.sim, "BTCUSDT", STREAM).await;
        // The spot market of the same name is another one.
        let mut spot = Client::connect(&scene.sim, "/ws/btcusdt@depth@100ms").await;
        let mut last = spot.next_json().await["u"].as_u64().unwrap();
        inject(&scene, fault).await;
        let event = until_broken(&mut client, &mut book).await;
        assert!(event["pu"].as_u64().unwrap() > book.last);
        mend(&scene, &mut client).await;
        for _ in 0..10 {
            let event = spot.next_json().await;
            assert_eq!(event["U"], json!(last + 1));
            last = event["u"].as_u64().unwrap();
        }
    }
    let spot = scene.sim.faults().inject(Fault::SequenceReset { symbol: "BTC/USDT".into() }).await;
    assert!(matches!(spot, Err(InjectError::Refused { .. })), "{spot:?}");
    scene.finish().await;
}

#[tokio::test]
async fn an_engine_restart_leaves_the_book_as_the_snapshot_has_it() {
    let scene = start(options()).await;
    let (mut client, _) = follow(&scene.sim, "BTCUSDT", STREAM).await;
    let told = inject(&scene, Fault::SequenceReset { symbol: PERPETUAL.into() }).await;
    assert!(told.contains(PERPETUAL), "{told}");
    let mut book = Book::fetch(&scene.sim, "BTCUSDT").await;
    scene.sim.pause().await.unwrap();
    let exact = Book::fetch(&scene.sim, "BTCUSDT").await;
    while book.last < exact.last {
        assert_ne!(book.apply(&client.next_json().await), Applied::Gap);
    }
    assert_eq!(book.sides(), exact.sides());
    scene.finish().await;
}

#[tokio::test]
async fn a_stale_snapshot_is_older_than_any_diff() {
    let scene = start(options()).await;
    let mut client = Client::connect(&scene.sim, &format!("/public/ws/{STREAM}")).await;
    // The very first may hold what happened since the start.
    client.next_json().await;
    let second = client.next_json().await;
    inject(&scene, Fault::StaleSnapshot { symbol: Some(PERPETUAL.into()), count: 1 }).await;
    assert_eq!(Book::fetch(&scene.sim, "BTCUSDT").await.apply(&second), Applied::Gap);
    mend(&scene, &mut client).await;
    scene.finish().await;
}

#[tokio::test]
async fn trade_ids_that_were_skipped_are_nowhere() {
    let scene = start(options()).await;
    let mut client = Client::connect(&scene.sim, "/market/ws/btcusdt@aggTrade").await;
    let mut last = client.next_json().await["a"].as_u64().unwrap();
    inject(&scene, Fault::Gap { symbol: PERPETUAL.into(), channel: "trades".into(), count: 4 }).await;
    let next = loop {
        let id = client.next_json().await["a"].as_u64().unwrap();
        if id != last + 1 {
            break id;
        }
        last = id;
    };
    assert_eq!(next, last + 5);
    let page = get(&scene.sim, &format!("/fapi/v1/aggTrades?symbol=BTCUSDT&fromId={last}&limit=2")).await.json();
    assert_eq!((&page[0]["a"], &page[1]["a"]), (&json!(last), &json!(next)));
    scene.finish().await;
}

#[tokio::test]
async fn silence_and_mute_meet_the_perpetual_alone() {
    let scene = start(options()).await;
    inject(&scene, Fault::Mute { target: Target::stream("usdm:btcusdt@aggTrade"), count: 1 }).await;
    let mut spot = Client::connect(&scene.sim, "/ws/btcusdt@aggTrade").await;
    spot.next_json().await;
    let mut muted = Client::connect(&scene.sim, "/market/ws/btcusdt@aggTrade").await;
    let waited = tokio::time::timeout(Duration::from_millis(500), muted.next()).await;
    assert!(waited.is_err(), "{waited:?}");
    muted.ask("UNSUBSCRIBE", json!(["btcusdt@aggTrade"])).await;
    muted.subscribe(&["btcusdt@aggTrade"]).await;
    muted.next_json().await;
    inject(&scene, Fault::Silence { target: Target::stream("usdm:btcusdt@aggTrade"), ms: 60_000 }).await;
    spot.next_json().await;
    let silenced = async {
        while sent(&scene, "usdm:btcusdt@aggTrade", FrameStatus::Silenced).await.is_empty() {
            spot.next_json().await;
        }
    };
    tokio::time::timeout(common::DEADLINE, silenced).await.expect("something is not said");
    scene.finish().await;
}

#[tokio::test]
async fn a_shutdown_is_announced_and_pages_go_wrong() {
    let scene = start(options()).await;
    let mut raw = Client::connect(&scene.sim, "/market/ws").await;
    let mut combined = Client::connect(&scene.sim, "/public/stream").await;
    // Answers show that both are there.
    raw.ask("LIST_SUBSCRIPTIONS", Value::Null).await;
    combined.ask("LIST_SUBSCRIPTIONS", Value::Null).await;
    inject(&scene, Fault::Shutdown { ms: 50 }).await;
    let told = raw.next_json().await;
    assert_eq!(told["e"], "serverShutdown");
    assert!(told["E"].as_i64().unwrap() < 100_000_000_000_000);
    assert_eq!(combined.next_json().await["stream"], "!serverShutdown");
    assert!(matches!(raw.end().await, End::Clean(_)));
    inject(&scene, Fault::Rest { what: RestFault::Empty, count: 1 }).await;
    let target = "/fapi/v1/aggTrades?symbol=BTCUSDT";
    assert_eq!(get(&scene.sim, target).await.body, "[]");
    assert_ne!(get(&scene.sim, target).await.body, "[]");
    inject(&scene, Fault::RestLimit { count: 1, ban_ms: Some(60_000) }).await;
    assert_eq!(get(&scene.sim, target).await.status, 429);
    assert_eq!(get(&scene.sim, target).await.status, 418);
    // A ban of one side leaves the other alone.
    assert_eq!(get(&scene.sim, "/api/v3/time").await.status, 200);
    scene.finish().await;
}
