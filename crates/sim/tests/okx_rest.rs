//! The simulated OKX over REST: its lists, pages, errors and limits.

mod common;

use std::collections::BTreeMap;

use common::okx::{options, rules};
use common::{Scene, get, start};
use dccd_sim::deep::Truth;
use dccd_sim::{Fault, MarketOptions, RestFault, SimOptions};
use serde_json::{Value, json};

const MINUTE_MS: i64 = 60_000;

async fn body(scene: &Scene, target: &str) -> (u16, Value) {
    let reply = get(&scene.sim, &format!("/api/v5/{target}")).await;
    (reply.status, reply.json())
}

async fn rows(scene: &Scene, target: &str) -> Vec<Value> {
    let (status, body) = body(scene, target).await;
    assert_eq!((status, &body["code"]), (200, &json!("0")), "{target}: {body}");
    body["data"].as_array().unwrap().clone()
}

fn whole(value: &Value) -> i64 {
    value.as_str().unwrap().parse().unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_str().unwrap().parse().unwrap()
}

#[allow(clippy::cast_possible_truncation)] // prices and amounts of a simulated market
fn e8(number: f64) -> i64 {
    (number * 1e8).round() as i64
}

/// Nothing is traded live: the past goes on, and all of it is known.
fn still() -> SimOptions {
    let options = options();
    let market = MarketOptions { trades_per_second: 0.0, book_updates_per_second: 0.0, ..options.market.clone() };
    SimOptions { market, deep: Some("listed=2024-03-01,trades=600,halts=0,outages=0".parse().unwrap()), ..options }
}

#[tokio::test]
async fn instruments_are_listed_by_their_kind() {
    let scene = start(options()).await;
    let spot = rows(&scene, "public/instruments?instType=SPOT").await;
    let swap = rows(&scene, "public/instruments?instType=SWAP").await;
    assert_eq!((spot.len(), swap.len()), (1, 1));
    assert_eq!(
        (&spot[0]["instId"], &spot[0]["baseCcy"], &spot[0]["tickSz"]),
        (&json!("BTC-USDT"), &json!("BTC"), &json!("0.1"))
    );
    let told = ["instId", "uly", "settleCcy", "ctVal", "lotSz", "ctType"].map(|key| swap[0][key].as_str().unwrap());
    assert_eq!(told, ["BTC-USDT-SWAP", "BTC-USDT", "USDT", "0.01", "0.01", "linear"]);
    assert!(rows(&scene, "public/instruments?instType=FUTURES").await.is_empty());
    let now = whole(&rows(&scene, "public/time").await[0]["ts"]);
    assert!(now > 1_700_000_000_000, "{now}");
    assert_eq!(rows(&scene, "market/tickers?instType=SWAP").await[0]["instId"], "BTC-USDT-SWAP");
    scene.finish().await;
}

#[tokio::test]
async fn errors_come_in_an_envelope_with_status_200_and_too_many_requests_do_not() {
    let scene = start(rules("limits=true")).await;
    for (target, code, message) in [
        ("market/trades?instId=NO-PAIR", "51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist."),
        ("market/candles?instId=BTC-USDT&bar=7m", "51000", "Parameter bar error"),
        ("market/candles?instId=BTC-USDT&after=x", "51000", "Parameter after error"),
        ("market/books", "50014", "Parameter instId can not be empty."),
        ("public/instruments", "50014", "Parameter instType can not be empty."),
    ] {
        assert_eq!(body(&scene, target).await, (200, json!({"code": code, "msg": message, "data": []})), "{target}");
    }
    assert_eq!(body(&scene, "market/none").await.0, 404);
    let mut refused = 0;
    for _ in 0..14 {
        let (status, body) = body(&scene, "public/time").await;
        if status == 429 {
            assert_eq!(body, json!({"code": "50011", "msg": "Too Many Requests"}));
            refused += 1;
        }
    }
    assert_eq!(refused, 4);
    // Each endpoint is counted by itself.
    assert_eq!(body(&scene, "market/trades?instId=BTC-USDT").await.0, 200);
    scene.finish().await;
}

#[tokio::test]
async fn candles_of_years_are_paged_downwards_and_are_made_of_the_trades() {
    let options = still();
    let truth = Truth::new(&options).unwrap();
    let scene = start(options).await;
    for (id, symbol, contract) in [("BTC-USDT", "BTC/USDT", 1.0), ("BTC-USDT-SWAP", "BTC/USDT:USDT", 0.01)] {
        // Three pages of March 2024, by `after` alone.
        let begin = 1_710_000_000_000;
        let mut after = begin + 700 * MINUTE_MS;
        let mut seen: BTreeMap<i64, Value> = BTreeMap::new();
        while after > begin {
            let page = rows(&scene, &format!("market/history-candles?instId={id}&bar=1m&after={after}&limit=300")).await;
            assert!(page.len() == 300 && page.windows(2).all(|pair| whole(&pair[0][0]) == whole(&pair[1][0]) + MINUTE_MS));
            assert_eq!(whole(&page[0][0]), after - MINUTE_MS);
            after = whole(&page[299][0]);
            seen.extend(page.into_iter().map(|row| (whole(&row[0]), row)));
        }
        let mut compared = 0;
        for candle in truth.candles(symbol, 60, begin * 1_000_000, (begin + 700 * MINUTE_MS) * 1_000_000) {
            let row = &seen[&(candle.open_ns / 1_000_000)];
            let told = [1, 2, 3, 4].map(|at| e8(number(&row[at])));
            assert_eq!(told, [candle.open, candle.high, candle.low, candle.close], "{row}");
            assert_eq!((e8(number(&row[5]) * contract), &row[8]), (candle.volume, &json!("1")), "{row}");
            compared += 1;
        }
        assert_eq!(compared, 700);
    }
    // Before its listing there is nothing, and recent candles are no older than 1440.
    assert!(rows(&scene, "market/history-candles?instId=BTC-USDT&after=1709251200000").await.is_empty());
    assert!(rows(&scene, "market/candles?instId=BTC-USDT&after=1710000000000").await.is_empty());
    let recent = rows(&scene, "market/candles?instId=BTC-USDT&limit=3").await;
    assert_eq!([0, 1, 2].map(|at| recent[at][8].as_str().unwrap()), ["0", "1", "1"]);
    let day = rows(&scene, "market/history-candles?instId=BTC-USDT&bar=1D&after=1711000000000&limit=1").await;
    assert_eq!(whole(&day[0][0]).rem_euclid(86_400_000), 16 * 3_600_000, "days begin in Hong Kong");
    scene.finish().await;
}

#[tokio::test]
async fn trades_are_paged_by_id_and_by_time_and_reach_three_months_back() {
    let scene = start(still()).await;
    let newest = rows(&scene, "market/trades?instId=BTC-USDT&limit=500").await;
    assert_eq!(newest.len(), 500);
    let ids: Vec<i64> = newest.iter().map(|row| whole(&row["tradeId"])).collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1] + 1));
    let by_id = rows(&scene, &format!("market/history-trades?instId=BTC-USDT&after={}&limit=100", ids[100])).await;
    assert_eq!(by_id, newest[101..201]);
    let between =
        rows(&scene, &format!("market/history-trades?instId=BTC-USDT&type=1&after={}&before={}", ids[100], ids[110])).await;
    assert_eq!(between, newest[101..110]);
    let time = whole(&newest[300]["ts"]);
    let by_time = rows(&scene, &format!("market/history-trades?instId=BTC-USDT&type=2&after={time}&limit=20")).await;
    let first = newest.iter().position(|row| whole(&row["ts"]) < time).unwrap();
    assert_eq!(by_time, newest[first..first + 20]);
    let old = 24 * 91 * 600;
    let page = rows(&scene, &format!("market/history-trades?instId=BTC-USDT&after={}", ids[0] - old)).await;
    assert!(page.is_empty(), "{page:?}");
    scene.finish().await;
}

#[tokio::test]
async fn wrong_answers_and_refusals_come_on_command() {
    let scene = start(still()).await;
    let target = "market/history-candles?instId=BTC-USDT&after=1710000000000&limit=10";
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
    assert_eq!(whole(&rows(&scene, target).await[0][0]), whole(&right[0][0]) / 2);
    scene.sim.faults().inject(Fault::RestLimit { count: 1, ban_ms: None }).await.unwrap();
    assert_eq!(body(&scene, target).await, (429, json!({"code": "50011", "msg": "Too Many Requests"})));
    assert_eq!(rows(&scene, target).await, right);
    scene.finish().await;
}
