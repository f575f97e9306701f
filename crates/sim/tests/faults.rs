//! Faults: each one reaches the client as it should, and stands in the ledger.

mod common;

use std::time::{Duration, Instant};

use common::{Client, DEADLINE, End, Scene, get, options, post, start};
use dccd_sim::{Corruption, Disconnection, Fault, FaultPlan, FrameStatus, LedgerRecord, SimOptions, Target};
use serde_json::{Value, json};

const TRADES: &str = "btcusdt@trade";

async fn inject(scene: &Scene, fault: Fault) -> String {
    scene.sim.faults().inject(fault).await.unwrap()
}

fn id(text: &str) -> u64 {
    serde_json::from_str::<Value>(text).unwrap()["t"].as_u64().unwrap()
}

/// Frames of the trade stream with this status in the ledger.
fn entered(ledger: &[LedgerRecord], wanted: FrameStatus) -> Vec<String> {
    let frames = ledger.iter().filter_map(|r| match r {
        LedgerRecord::Frame { stream, status, raw, .. } if stream == TRADES && *status == wanted => Some(raw.clone()),
        _ => None,
    });
    frames.collect()
}

/// A client of the trade stream that has received its first trade.
async fn trading() -> (Scene, Client, u64) {
    let scene = start(options()).await;
    let mut client = Client::connect(&scene.sim, &format!("/ws/{TRADES}")).await;
    let first = id(&client.next_text().await);
    (scene, client, first)
}

/// Frames after which what was ordered must have come.
const ENOUGH: usize = 3_000;

/// Trades until something else than the next id comes: what came, and the id that would have been next.
async fn until_odd(client: &mut Client, mut last: u64) -> (String, u64) {
    for _ in 0..ENOUGH {
        let text = client.next_text().await;
        match serde_json::from_str::<Value>(&text).ok().and_then(|v| v["t"].as_u64()) {
            Some(id) if id == last + 1 => last = id,
            _ => return (text, last + 1),
        }
    }
    panic!("{ENOUGH} trades and nothing odd among them");
}

#[tokio::test]
async fn dropped_frames_are_missing_and_rest_has_them() {
    let (scene, mut client, first) = trading().await;
    inject(&scene, Fault::Drop { target: Target::stream(TRADES), count: 3 }).await;
    let (after, missing) = until_odd(&mut client, first).await;
    assert_eq!(id(&after), missing + 3);
    let page = get(&scene.sim, &format!("/api/v3/historicalTrades?symbol=BTCUSDT&fromId={missing}&limit=3")).await.json();
    assert_eq!(page.as_array().unwrap().len(), 3);
    assert_eq!(page[0]["id"], json!(missing));
    let ledger = scene.finish().await;
    let dropped: Vec<u64> = entered(&ledger, FrameStatus::Dropped).iter().map(|t| id(t)).collect();
    assert_eq!(dropped, [missing, missing + 1, missing + 2]);
    let armed =
        ledger.iter().filter(|r| matches!(r, LedgerRecord::Fault { by, fault: Fault::Drop { .. }, .. } if by == "command"));
    assert_eq!(armed.count(), 1);
}

#[tokio::test]
async fn duplicated_frames_come_twice() {
    let (scene, mut client, first) = trading().await;
    inject(&scene, Fault::Duplicate { target: Target::stream(TRADES), count: 1 }).await;
    let (again, next) = until_odd(&mut client, first).await;
    assert_eq!(id(&again), next - 1);
    let ledger = scene.finish().await;
    assert_eq!(entered(&ledger, FrameStatus::Duplicated), [again]);
}

#[tokio::test]
async fn reordered_frames_change_places() {
    let (scene, mut client, first) = trading().await;
    inject(&scene, Fault::Reorder { target: Target::stream(TRADES), count: 1 }).await;
    let (early, expected) = until_odd(&mut client, first).await;
    assert_eq!(id(&early), expected + 1);
    let late = client.next_text().await;
    assert_eq!(id(&late), expected);
    assert_eq!(id(&client.next_text().await), expected + 2);
    assert_eq!(entered(&scene.finish().await, FrameStatus::Reordered), [late]);
}

#[tokio::test]
async fn delayed_frames_come_late_and_in_order() {
    let (scene, mut client, mut last) = trading().await;
    inject(&scene, Fault::Delay { target: Target::stream(TRADES), count: 1, ms: 300 }).await;
    let mut longest = Duration::ZERO;
    let mut before = Instant::now();
    for frame in 0.. {
        if longest >= Duration::from_millis(250) {
            break;
        }
        assert!(frame < ENOUGH, "no frame came late");
        let next = id(&client.next_text().await);
        assert_eq!(next, last + 1);
        last = next;
        longest = longest.max(before.elapsed());
        before = Instant::now();
    }
    let ledger = scene.finish().await;
    assert!(entered(&ledger, FrameStatus::Delayed).len() > 1, "those behind it waited, too");
}

#[tokio::test]
async fn damaged_frames_are_damaged_and_the_ledger_has_both_forms() {
    for how in [Corruption::Truncate, Corruption::Flip] {
        let (scene, mut client, first) = trading().await;
        inject(&scene, Fault::Corrupt { target: Target::stream(TRADES), count: 1, how }).await;
        let (odd, expected) = until_odd(&mut client, first).await;
        let ledger = scene.finish().await;
        let found = ledger.iter().find_map(|r| match r {
            LedgerRecord::Frame { status: FrameStatus::Corrupted, raw, wire, .. } => Some((raw.clone(), wire.clone())),
            _ => None,
        });
        let (raw, wire) = found.expect("an entry");
        assert_eq!(id(&raw), expected);
        assert_eq!(wire, Some(odd));
    }
}

#[tokio::test]
async fn gaps_skip_ids_that_nothing_ever_had() {
    let (scene, mut client, first) = trading().await;
    let told = inject(&scene, Fault::Gap { symbol: "BTC/USDT".into(), channel: "trades".into(), count: 4 }).await;
    let (after, missing) = until_odd(&mut client, first).await;
    assert_eq!(id(&after), missing + 4);
    assert_eq!(told, format!("trade ids {missing}..={} of BTC/USDT will never exist", missing + 3));
    let page = get(&scene.sim, &format!("/api/v3/historicalTrades?symbol=BTCUSDT&fromId={missing}&limit=1")).await.json();
    assert_eq!(page[0]["id"], json!(missing + 4));

    let mut book = Client::connect(&scene.sim, "/ws/btcusdt@depth@100ms").await;
    let mut last = book.next_json().await["u"].as_u64().unwrap();
    inject(&scene, Fault::Gap { symbol: "BTC/USDT".into(), channel: "book".into(), count: 6 }).await;
    for event in 0.. {
        assert!(event < 100, "no gap came");
        let event = book.next_json().await;
        let first = event["U"].as_u64().unwrap();
        if first != last + 1 {
            assert_eq!(first, last + 7);
            break;
        }
        last = event["u"].as_u64().unwrap();
    }
    let refused = scene.sim.faults().inject(Fault::Gap { symbol: "NO/SUCH".into(), channel: "book".into(), count: 1 }).await;
    assert!(refused.unwrap_err().to_string().contains("NO/SUCH"));
    scene.finish().await;
}

#[tokio::test]
async fn silence_is_acknowledged_and_says_nothing() {
    let scene = start(options()).await;
    inject(&scene, Fault::Silence { target: Target::stream(TRADES), ms: 60_000 }).await;
    let mut client = Client::connect(&scene.sim, "/stream").await;
    client.subscribe(&[TRADES, "ethusdt@trade"]).await;
    for _ in 0..200 {
        assert_eq!(client.next_json().await["stream"], "ethusdt@trade");
    }
    let ledger = scene.finish().await;
    assert!(!entered(&ledger, FrameStatus::Silenced).is_empty());
    assert!(entered(&ledger, FrameStatus::Sent).is_empty());
}

#[tokio::test]
async fn connections_end_cleanly_or_by_a_reset() {
    for (how, expected) in
        [(Disconnection::Clean, End::Clean("disconnected by a fault".into())), (Disconnection::Abrupt, End::Reset)]
    {
        let (scene, mut client, _) = trading().await;
        let mut other = Client::connect(&scene.sim, "/ws/ethusdt@trade").await;
        let told = inject(&scene, Fault::Disconnect { target: Target::stream(TRADES), how }).await;
        assert_eq!(told, "connections: 1");
        assert_eq!(client.end().await, expected);
        other.next_text().await;
        scene.finish().await;
    }
}

#[tokio::test]
async fn slow_connections_are_slow() {
    let (scene, mut client, mut last) = trading().await;
    let begun = Instant::now();
    inject(&scene, Fault::Slow { target: Target::default(), bytes_per_second: 2_000, ms: 700 }).await;
    let mut count = 0;
    while begun.elapsed() < Duration::from_millis(400) {
        let next = id(&client.next_text().await);
        assert_eq!(next, last + 1);
        last = next;
        count += 1;
    }
    // 2 kB/s are some 14 frames a second; what was on its way before the fault comes on top. The market makes 200 a second.
    assert!(count < 40, "{count} frames in 400 ms");
    scene.finish().await;
}

#[tokio::test]
async fn requests_are_refused_and_then_the_address_is_banned() {
    let scene = start(options()).await;
    inject(&scene, Fault::RestLimit { count: 2, ban_ms: Some(1_500) }).await;
    for _ in 0..2 {
        let reply = get(&scene.sim, "/api/v3/time").await;
        assert_eq!((reply.status, reply.code()), (429, -1003));
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
    let reply = get(&scene.sim, "/api/v3/time").await;
    assert_eq!((reply.status, reply.code()), (418, -1003));
    assert!(reply.json()["msg"].as_str().unwrap().contains("IP banned until 1"));
    assert_eq!(reply.header("retry-after"), Some("2"));
    scene.finish().await;
}

#[tokio::test]
async fn a_stale_snapshot_is_older_than_every_diff() {
    let scene = start(options()).await;
    let mut client = Client::connect(&scene.sim, "/ws/btcusdt@depth@100ms").await;
    client.next_json().await;
    let first = client.next_json().await["U"].as_u64().unwrap();
    inject(&scene, Fault::StaleSnapshot { symbol: Some("BTC/USDT".into()), count: 1 }).await;
    let last = |reply: common::Reply| reply.json()["lastUpdateId"].as_u64().unwrap();
    let other = last(get(&scene.sim, "/api/v3/depth?symbol=ETHUSDT").await);
    assert!(other > 0);
    let stale = last(get(&scene.sim, "/api/v3/depth?symbol=BTCUSDT").await);
    assert!(stale + 1 < first, "{stale} {first}");
    assert!(last(get(&scene.sim, "/api/v3/depth?symbol=BTCUSDT").await) >= first);
    let ledger = scene.finish().await;
    assert!(ledger.iter().any(|r| matches!(r, LedgerRecord::Rest { fault: Some(f), .. } if f == "a stale snapshot")));
}

#[tokio::test]
async fn an_exchange_that_is_down_refuses_connections_and_comes_back() {
    let (scene, mut client, _) = trading().await;
    let address = scene.sim.address();
    inject(&scene, Fault::Down { ms: 400 }).await;
    assert_eq!(client.end().await, End::Reset);
    let refused = || std::net::TcpStream::connect(address).map(drop).map_err(|e| e.kind());
    let _ = dccd_testkit::wait_for(DEADLINE, refused, |r| *r == Err(std::io::ErrorKind::ConnectionRefused));
    let _ = dccd_testkit::wait_for(DEADLINE, refused, Result::is_ok);
    let mut again = Client::connect(&scene.sim, &format!("/ws/{TRADES}")).await;
    again.next_text().await;
    scene.finish().await;
}

#[tokio::test]
async fn an_announced_shutdown_ends_the_connection() {
    let (scene, mut client, _) = trading().await;
    inject(&scene, Fault::Shutdown { ms: 200 }).await;
    let mut announced = false;
    for _ in 0..ENOUGH {
        match client.next().await {
            Ok(text) => announced |= text.contains("serverShutdown"),
            Err(end) => {
                assert!(announced && matches!(end, End::Clean(_)), "{end:?}");
                scene.finish().await;
                return;
            }
        }
    }
    panic!("the connection lives on");
}

#[tokio::test]
async fn faults_can_be_ordered_over_http() {
    let scene = start(options()).await;
    let reply = post(&scene.sim, "/sim/fault", r#"{"kind":"gap","symbol":"ETH/USDT","channel":"book","count":2}"#).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let reply = post(&scene.sim, "/sim/fault", r#"{"kind":"gone"}"#).await;
    assert_eq!(reply.status, 400);
    assert!(reply.body.contains("unknown variant"), "{}", reply.body);
    let reply = post(&scene.sim, "/sim/pause", "").await;
    assert_eq!(reply.status, 200);
    let stats = get(&scene.sim, "/sim/stats").await.json();
    assert_eq!(stats["paused"], true);
    assert_eq!(
        stats,
        serde_json::to_value(scene.sim.stats().await.unwrap())
            .map(|mut v| {
                v["uptime_ms"] = stats["uptime_ms"].clone();
                v
            })
            .unwrap()
    );
    scene.finish().await;
}

#[tokio::test]
async fn a_plan_meets_frames_and_the_ledger_tells_which() {
    let faults = FaultPlan { seed: 3, drop: 0.05, duplicate: 0.05, reorder: 0.05, corrupt: 0.05, ..FaultPlan::default() };
    let scene = start(SimOptions { faults, ..options() }).await;
    let mut client = Client::connect(&scene.sim, &format!("/ws/{TRADES}")).await;
    let mut received = Vec::new();
    while received.len() < 500 {
        received.push(client.next_text().await);
    }
    let ledger = scene.ledger().await;
    let mut wire = Vec::new();
    for record in &ledger {
        if let LedgerRecord::Frame { status, raw, wire: damaged, .. } = record
            && !matches!(status, FrameStatus::Dropped | FrameStatus::Silenced)
        {
            wire.push(damaged.clone().unwrap_or_else(|| raw.clone()));
        }
    }
    assert_eq!(received[..500], wire[..500]);
    for status in [FrameStatus::Dropped, FrameStatus::Duplicated, FrameStatus::Reordered, FrameStatus::Corrupted] {
        assert!(!entered(&ledger, status).is_empty(), "no frame was {status:?}");
    }
    scene.finish().await;
}
