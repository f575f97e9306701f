//! The simulated Bitfinex over REST: its lists, pages, errors and limits.

mod common;

use std::collections::BTreeMap;

use common::bitfinex::{options, rules};
use common::{Scene, get, start};
use dccd_sim::deep::Truth;
use dccd_sim::{Fault, MarketOptions, RestFault, SimOptions};
use serde_json::{Value, json};

const MINUTE_MS: i64 = 60_000;

async fn body(scene: &Scene, target: &str) -> (u16, Value) {
    let reply = get(&scene.sim, &format!("/v2/{target}")).await;
    (reply.status, reply.json())
}

async fn rows(scene: &Scene, target: &str) -> Vec<Value> {
    let (status, body) = body(scene, target).await;
    assert_eq!(status, 200, "{target}: {body}");
    body.as_array().unwrap().clone()
}

fn whole(value: &Value) -> i64 {
    value.as_i64().unwrap()
}

#[allow(clippy::cast_possible_truncation)] // prices and amounts of a simulated market
fn e8(value: &Value) -> i64 {
    (value.as_f64().unwrap() * 1e8).round() as i64
}

/// Nothing is traded live: the past goes on, and all of it is known.
fn still() -> SimOptions {
    let options = options();
    let market = MarketOptions { trades_per_second: 0.0, book_updates_per_second: 0.0, ..options.market.clone() };
    SimOptions { market, deep: Some("listed=2024-03-01,trades=100,quiet=0.4,halts=0,outages=0".parse().unwrap()), ..options }
}

#[tokio::test]
async fn pairs_are_listed_by_the_exchanges_names() {
    let scene = start(options()).await;
    let lists = rows(&scene, "conf/pub:list:pair:exchange,pub:list:pair:futures,pub:nothing").await;
    assert_eq!(lists, [json!(["BTCUSD", "BTCUST", "DOGE:USD"]), json!(["BTCF0:USTF0"]), json!([])]);
    let facts = rows(&scene, "conf/pub:info:pair").await;
    assert_eq!(facts.len(), 1);
    let (name, of) = (&facts[0][2][0], facts[0][2][1].as_array().unwrap());
    assert_eq!((name, of.len(), of[3].is_string()), (&json!("DOGE:USD"), 12, true));
    assert_eq!(rows(&scene, "platform/status").await, [json!(1)]);
    let all = rows(&scene, "tickers?symbols=ALL").await;
    let names: Vec<_> = all.iter().map(|row| row[0].as_str().unwrap()).collect();
    assert_eq!(names, ["tBTCUSD", "tBTCUST", "tDOGE:USD", "tBTCF0:USTF0"]);
    assert!(all.iter().all(|row| row.as_array().unwrap().len() == 11));
    let some = rows(&scene, "tickers?symbols=tDOGE:USD,tNOSUCH").await;
    assert_eq!((some.len(), &some[0][0]), (1, &json!("tDOGE:USD")));
    assert_eq!(rows(&scene, "ticker/tDOGE%3aUSD").await.len(), 10);
    scene.finish().await;
}

#[tokio::test]
async fn errors_are_lists_of_three_and_who_asks_too_often_is_blocked() {
    let scene = start(rules("limits=true,block=0.5")).await;
    for (target, message) in [
        ("trades/tNOSUCH/hist", "symbol: invalid"),
        ("ticker/BTCUSD", "symbol: invalid"),
        ("trades/tBTCUSD/hist?limit=10001", "limit: invalid"),
        ("candles/trade:7m:tBTCUSD/hist", "time_interval: invalid"),
        ("candles/something/hist", "key: invalid"),
        ("book/tBTCUSD/P9", "prec: invalid"),
        ("book/tBTCUSD/P0?len=24", "len: invalid"),
    ] {
        assert_eq!(body(&scene, target).await, (500, json!(["error", 10_020, message])), "{target}");
    }
    let lost = get(&scene.sim, "/v2/nothing").await;
    assert_eq!((lost.status, lost.body.contains("Cannot GET /v2/nothing")), (404, true));
    for _ in 0..30 {
        assert_eq!(body(&scene, "platform/status").await.0, 200);
    }
    let refusal = (429, json!(["error", 11_010, "ratelimit: error"]));
    assert_eq!(body(&scene, "platform/status").await, refusal);
    // It is the address that is blocked.
    assert_eq!(body(&scene, "conf/pub:list:pair:exchange").await, refusal);
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    assert_eq!(body(&scene, "conf/pub:list:pair:exchange").await.0, 200);
    scene.finish().await;
}

#[tokio::test]
async fn candles_have_their_columns_and_leave_quiet_minutes_out() {
    let options = SimOptions { bitfinex: "limits=false,dust=false".parse().unwrap(), ..still() };
    let truth = Truth::new(&options).unwrap();
    let scene = start(options).await;
    for (id, symbol) in [("tBTCUSD", "BTC/USD"), ("tDOGE:USD", "DOGE/USD"), ("tBTCF0:USTF0", "BTC/USDT:USDT")] {
        // Two days of March 2024 on one page, oldest first.
        let (begin, end) = (1_710_000_000_000, 1_710_000_000_000 + 2_880 * MINUTE_MS);
        let range = format!("start={begin}&end={}&limit=10000", end - 1);
        let page = rows(&scene, &format!("candles/trade:1m:{id}/hist?{range}&sort=1")).await;
        let told: Vec<_> =
            truth.candles(symbol, 60, begin * 1_000_000, end * 1_000_000).filter(|candle| candle.trades > 0).collect();
        assert!((1_000..2_700).contains(&told.len()));
        assert_eq!(page.len(), told.len());
        for (row, candle) in page.iter().zip(&told) {
            let seen = [1, 2, 3, 4, 5].map(|at| e8(&row[at]));
            assert_eq!(whole(&row[0]), candle.open_ns / 1_000_000);
            assert_eq!(seen, [candle.open, candle.close, candle.high, candle.low, candle.volume], "{row}");
        }
        let mut down = rows(&scene, &format!("candles/trade:1m:{id}/hist?{range}&sort=-1")).await;
        down.reverse();
        assert_eq!(down, page);
        let newest = rows(&scene, &format!("candles/trade:1m:{id}/hist?limit=3")).await;
        assert!(newest.len() == 3 && newest.is_sorted_by_key(|row| -whole(&row[0])));
        assert_eq!(rows(&scene, &format!("candles/trade:1m:{id}/hist")).await.len(), 100);
        let last = rows(&scene, &format!("candles/trade:1h:{id}/last")).await;
        assert_eq!(last.len(), 6);
    }
    scene.finish().await;
}

#[tokio::test]
async fn trades_are_paged_by_time_from_either_end() {
    let options = still();
    let truth = Truth::new(&options).unwrap();
    let scene = start(options).await;
    let (begin, end) = (1_710_000_000_000, 1_710_000_000_000 + 1_440 * MINUTE_MS);
    for sort in [1, -1] {
        let mut seen: BTreeMap<i64, Value> = BTreeMap::new();
        let (mut start, mut stop) = (begin, end - 1);
        loop {
            let target = format!("trades/tBTCUST/hist?start={start}&end={stop}&limit=500&sort={sort}");
            let page = rows(&scene, &target).await;
            let before = seen.len();
            if let Some(last) = page.last() {
                if sort == 1 { start = whole(&last[1]) } else { stop = whole(&last[1]) }
            }
            seen.extend(page.into_iter().map(|row| (whole(&row[0]), row)));
            if seen.len() == before {
                break;
            }
        }
        let told: Vec<_> = truth.trades("BTC/USDT", begin * 1_000_000, end * 1_000_000).collect();
        assert!(told.len() > 2_000);
        assert_eq!(seen.len(), told.len());
        for (row, trade) in seen.values().zip(&told) {
            let amount = if trade.buyer_is_maker { -trade.amount } else { trade.amount };
            assert_eq!((whole(&row[1]), e8(&row[2]), e8(&row[3])), (trade.time_ns / 1_000_000, amount, trade.price));
        }
    }
    assert_eq!(rows(&scene, "trades/tBTCUST/hist").await.len(), 125);
    let ids = scene.sim.trade_ids("BTC/USDT").await.unwrap().unwrap();
    let newest = rows(&scene, "trades/tBTCUST/hist?limit=10").await;
    let most = newest.iter().map(|row| row[0].as_u64().unwrap()).max().unwrap();
    assert!(ids.1 >= most && ids.0 < 1_000_000_100, "{ids:?} {most}");
    scene.finish().await;
}

#[tokio::test]
async fn volumes_carry_dust_where_they_are_sums() {
    let scene = start(still()).await;
    let target = "candles/trade:1h:tBTCUSD/hist?start=1710000000000&sort=1&limit=300";
    let text = get(&scene.sim, &format!("/v2/{target}")).await.body;
    let long = text.split(']').filter(|row| row.rsplit(',').next().is_some_and(|volume| volume.len() > 14)).count();
    assert!((10..150).contains(&long), "{long}: {}", &text[..200]);
    scene.finish().await;
}

#[tokio::test]
async fn wrong_answers_and_refusals_come_on_command() {
    let scene = start(still()).await;
    let target = "trades/tBTCUSD/hist?start=1710000000000&sort=1&limit=10";
    let right = rows(&scene, target).await;
    let spoiled = |what| Fault::Rest { what, count: 1 };
    for (what, count) in
        [(RestFault::Empty, 0), (RestFault::Omit, 9), (RestFault::Duplicate, 11), (RestFault::Descending, 10)]
    {
        scene.sim.faults().inject(spoiled(what)).await.unwrap();
        let wrong = rows(&scene, target).await;
        assert!(wrong.len() == count && wrong != right, "{what:?}");
    }
    scene.sim.faults().inject(spoiled(RestFault::Outside)).await.unwrap();
    assert_eq!(whole(&rows(&scene, target).await[0][1]), whole(&right[0][1]) / 2);
    scene.sim.faults().inject(Fault::RestLimit { count: 1, ban_ms: None }).await.unwrap();
    assert_eq!(body(&scene, target).await, (429, json!(["error", 11_010, "ratelimit: error"])));
    assert_eq!(rows(&scene, target).await, right);
    scene.finish().await;
}
