//! Streams: what clients are sent, in which form, and that the ledger tells the same.

mod common;

use std::collections::BTreeMap;

use common::{Client, End, get, options, start};
use dccd_sim::{FrameStatus, LedgerRecord, Limits, Sim, SimHandle, SimOptions};
use serde_json::{Value, json};

#[tokio::test]
async fn trades_are_contiguous_and_the_ledger_equals_what_was_received() {
    let scene = start(options()).await;
    let mut client = Client::connect(&scene.sim, "/stream").await;
    let mut received = client.subscribe(&["btcusdt@trade", "ethusdt@aggTrade", "btcusdt@bookTicker"]).await;
    while received.len() < 1_000 {
        received.push(client.next_text().await);
    }
    let (reply, before) =
        client.ask("UNSUBSCRIBE", json!(["btcusdt@trade", "ethusdt@aggTrade", "btcusdt@bookTicker"])).await;
    assert_eq!(reply["result"], Value::Null);
    received.extend(before);

    let (mut last_trade, mut last_agg, mut last_ticker) = (0, 0, 0);
    for text in &received {
        let frame: Value = serde_json::from_str(text).unwrap();
        let data = &frame["data"];
        match frame["stream"].as_str().unwrap() {
            "btcusdt@trade" => {
                let id = data["t"].as_u64().unwrap();
                assert!(last_trade == 0 || id == last_trade + 1, "{last_trade} {id}");
                last_trade = id;
            }
            "ethusdt@aggTrade" => {
                let id = data["a"].as_u64().unwrap();
                assert!(last_agg == 0 || id == last_agg + 1);
                last_agg = id;
            }
            "btcusdt@bookTicker" => {
                assert!(data["u"].as_u64().unwrap() > last_ticker);
                last_ticker = data["u"].as_u64().unwrap();
                let number = |key: &str| data[key].as_str().unwrap().parse::<f64>().unwrap();
                assert!(number("b") < number("a"));
            }
            other => panic!("nobody subscribed to {other}"),
        }
    }
    assert!(last_trade > 0 && last_agg > 0 && last_ticker > 0);

    drop(client);
    let ledger = scene.finish().await;
    let told: Vec<_> = ledger
        .iter()
        .filter_map(|record| match record {
            LedgerRecord::Frame { stream, raw, status: FrameStatus::Sent, .. } if !stream.is_empty() => Some(raw.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(told.len(), received.len());
    assert_eq!(told, received);
    assert!(matches!(ledger.first(), Some(LedgerRecord::Started { seed: 1, .. })));
    assert!(matches!(ledger.last(), Some(LedgerRecord::Stopped { .. })));
    assert!(ledger.iter().any(|r| matches!(r, LedgerRecord::Opened { conn: 1, target, .. } if target == "/stream")));
    assert!(ledger.iter().any(|r| matches!(r, LedgerRecord::Closed { conn: 1, .. })));
}

/// A book kept as a client keeps it, by the rule in the exchange's documents.
#[derive(Default)]
struct Kept {
    bids: BTreeMap<u64, String>,
    asks: BTreeMap<u64, String>,
    last: u64,
}

fn e8(text: &str) -> u64 {
    text.replace('.', "").parse().unwrap()
}

impl Kept {
    fn put(&mut self, value: &Value, bids: &str, asks: &str) {
        for (side, key) in [(&mut self.bids, bids), (&mut self.asks, asks)] {
            for level in value[key].as_array().unwrap() {
                let (price, amount) = (e8(level[0].as_str().unwrap()), level[1].as_str().unwrap());
                if e8(amount) == 0 {
                    side.remove(&price)
                } else {
                    side.insert(price, amount.to_owned())
                };
            }
        }
    }

    fn apply(&mut self, event: &Value) {
        let (first, last) = (event["U"].as_u64().unwrap(), event["u"].as_u64().unwrap());
        if last <= self.last {
            return;
        }
        assert!(first <= self.last + 1, "a gap: {first} after {}", self.last);
        self.put(event, "b", "a");
        self.last = last;
    }
}

async fn sim_book(sim: &SimHandle, symbol: &str) -> Kept {
    let book = sim.book(symbol).await.unwrap().unwrap();
    let side = |levels: Vec<(dccd_model::Decimal, dccd_model::Decimal)>| {
        levels.into_iter().map(|(p, a)| (e8(&p.to_string()), a.to_string())).collect()
    };
    Kept { bids: side(book.bids), asks: side(book.asks), last: book.update_id }
}

#[tokio::test]
async fn a_snapshot_and_the_diffs_rebuild_the_book() {
    for stream in ["ethusdt@depth@100ms", "ethusdt@depth"] {
        let scene = start(options()).await;
        let mut client = Client::connect(&scene.sim, &format!("/ws/{stream}")).await;
        let mut events = vec![client.next_json().await];
        let snapshot = get(&scene.sim, "/api/v3/depth?symbol=ETHUSDT&limit=5000").await.json();
        let mut kept = Kept { last: snapshot["lastUpdateId"].as_u64().unwrap(), ..Kept::default() };
        kept.put(&snapshot, "bids", "asks");
        while events.len() < 3 {
            events.push(client.next_json().await);
        }
        scene.sim.pause().await.unwrap();
        let exact = sim_book(&scene.sim, "ETH/USDT").await;
        for event in &events {
            assert_eq!(event["e"], "depthUpdate");
            kept.apply(event);
        }
        while kept.last < exact.last {
            kept.apply(&client.next_json().await);
        }
        assert_eq!(kept.last, exact.last);
        assert_eq!(kept.bids, exact.bids);
        assert_eq!(kept.asks, exact.asks);
        scene.finish().await;
    }
}

#[tokio::test]
async fn a_seed_gives_one_sequence_of_trades_at_any_pace() {
    async fn trades(seed: u64, rate: f64) -> Vec<(u64, String, String, bool)> {
        // Asked again and again while the market runs, far more often than the exchange allows.
        let limits = Limits { weight_per_minute: u32::MAX, ..Limits::default() };
        let mut options = SimOptions { seed, limits, ..options() };
        options.market.trades_per_second = rate;
        options.market.book_updates_per_second = 2.0 * rate;
        // Little past, so that what is compared comes from the running market.
        options.market.history = std::time::Duration::from_secs(60);
        let sim = Sim::start(options).await.unwrap();
        let (first, _) = sim.trade_ids("BTC/USDT").await.unwrap().unwrap();
        let mut rows = Vec::new();
        while rows.len() < 4_500 {
            let next = first + rows.len() as u64;
            let page = get(&sim, &format!("/api/v3/historicalTrades?symbol=BTCUSDT&fromId={next}&limit=1000")).await;
            rows.extend(page.json().as_array().unwrap().iter().map(|row| {
                (
                    row["id"].as_u64().unwrap(),
                    row["price"].as_str().unwrap().to_owned(),
                    row["qty"].as_str().unwrap().to_owned(),
                    row["isBuyerMaker"].as_bool().unwrap(),
                )
            }));
        }
        sim.stop().await;
        rows.truncate(4_500);
        rows
    }
    let slow = trades(5, 4_000.0).await;
    assert_eq!(slow, trades(5, 20_000.0).await);
    assert_ne!(slow, trades(6, 20_000.0).await);
}

#[tokio::test]
async fn raw_and_combined_frames_and_both_time_units() {
    let scene = start(options()).await;
    let mut raw = Client::connect(&scene.sim, "/ws/btcusdt@trade").await;
    let mut combined = Client::connect(&scene.sim, "/stream?streams=btcusdt@trade&timeUnit=MICROSECOND").await;
    let raw = raw.next_json().await;
    let combined = combined.next_json().await;
    assert_eq!((raw["e"].as_str(), raw["s"].as_str()), (Some("trade"), Some("BTCUSDT")));
    assert_eq!(combined["stream"], "btcusdt@trade");
    let (millis, micros) = (raw["T"].as_i64().unwrap(), combined["data"]["T"].as_i64().unwrap());
    assert!(millis < 100_000_000_000_000 && micros > 1_000_000_000_000_000, "{millis} {micros}");
    assert!((micros / 1_000 - millis).abs() < 20_000);
    scene.finish().await;
}

#[tokio::test]
async fn partial_books_and_candles_come_as_streams() {
    let scene = start(options()).await;
    let mut client = Client::connect(&scene.sim, "/stream").await;
    client.subscribe(&["btcusdt@depth5@100ms", "btcusdt@depth20", "btcusdt@kline_1s", "btcusdt@kline_1m"]).await;
    let mut seen: BTreeMap<String, Value> = BTreeMap::new();
    let mut closed = false;
    while seen.len() < 4 || !closed {
        let frame = client.next_json().await;
        closed |= frame["data"]["k"]["x"] == json!(true);
        seen.insert(frame["stream"].as_str().unwrap().to_owned(), frame["data"].clone());
    }
    assert_eq!(seen["btcusdt@depth5@100ms"]["bids"].as_array().unwrap().len(), 5);
    assert_eq!(seen["btcusdt@depth20"]["asks"].as_array().unwrap().len(), 20);
    let candle = &seen["btcusdt@kline_1m"]["k"];
    assert_eq!((candle["i"].as_str(), candle["t"].as_i64().unwrap() % 60_000), (Some("1m"), 0));
    assert_eq!(candle["T"].as_i64().unwrap() - candle["t"].as_i64().unwrap(), 59_999);
    scene.finish().await;
}

#[tokio::test]
async fn stopping_closes_connections_in_order() {
    let scene = start(options()).await;
    let mut client = Client::connect(&scene.sim, "/ws").await;
    client.subscribe(&["btcusdt@trade"]).await;
    let (ledger, end) = tokio::join!(scene.finish(), client.end());
    assert_eq!(end, End::Clean("the exchange stops".into()));
    assert!(matches!(ledger.last(), Some(LedgerRecord::Stopped { .. })));
}
