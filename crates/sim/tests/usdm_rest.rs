//! The REST side of the simulated Binance's perpetuals: pages, weights, errors, and that it agrees with the streams.

mod common;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::usdm::{e8, options};
use common::{Scene, get, limits, request, start};
use dccd_sim::deep::DeepOptions;
use dccd_sim::{LedgerRecord, Limits, SimOptions, UsdmOptions};
use serde_json::{Value, json};

async fn body(scene: &Scene, target: &str) -> Value {
    let reply = get(&scene.sim, target).await;
    assert_eq!(reply.status, 200, "{target}: {}", reply.body);
    reply.json()
}

async fn rows(scene: &Scene, target: &str) -> Vec<Value> {
    body(scene, target).await.as_array().unwrap().clone()
}

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// As with an API key: the exchange wants one for old trades.
async fn old_trades(scene: &Scene, query: &str) -> Vec<Value> {
    let text = format!(
        "GET /fapi/v1/historicalTrades?{query} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\nX-MBX-APIKEY: key\r\n\r\n"
    );
    request(&scene.sim, &text).await.json().as_array().unwrap().clone()
}

#[tokio::test]
async fn each_side_lists_its_own_markets() {
    let scene = start(options()).await;
    let info = body(&scene, "/fapi/v1/exchangeInfo").await;
    let ids: Vec<_> = info["symbols"].as_array().unwrap().iter().map(|s| s["symbol"].as_str().unwrap()).collect();
    assert_eq!(ids, ["BTCUSDT", "ETHUSDT"]);
    let bitcoin = &info["symbols"][0];
    assert_eq!((&bitcoin["contractType"], &bitcoin["marginAsset"]), (&json!("PERPETUAL"), &json!("USDT")));
    assert_eq!((&bitcoin["filters"][0]["tickSize"], &bitcoin["filters"][1]["stepSize"]), (&json!("0.10"), &json!("0.001")));
    let spot = body(&scene, "/api/v3/exchangeInfo").await;
    assert_eq!(spot["symbols"].as_array().unwrap().len(), 1);
    assert_eq!(get(&scene.sim, "/api/v3/depth?symbol=ETHUSDT").await.code(), -1121);
    assert_eq!(spot["symbols"][0]["filters"][0]["tickSize"], "0.01000000");
    assert_eq!(rows(&scene, "/api/v3/ticker/price").await.len(), 1);
    scene.finish().await;
}

#[tokio::test]
async fn candles_trades_and_aggregates_tell_the_same() {
    let scene = start(options()).await;
    scene.sim.pause().await.unwrap();
    let candles = rows(&scene, "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=30").await;
    assert_eq!(candles.len(), 30);
    let candle = candles[27].as_array().unwrap();
    let (from, to) = (candle[0].as_i64().unwrap(), candle[6].as_i64().unwrap());
    assert_eq!(to - from, 59_999);
    let aggs = rows(&scene, &format!("/fapi/v1/aggTrades?symbol=BTCUSDT&startTime={from}&endTime={to}&limit=1000")).await;
    assert!(aggs.iter().all(|row| (from..=to).contains(&row["T"].as_i64().unwrap())));
    let amount: i64 = aggs.iter().map(|row| e8(&row["q"])).sum();
    assert_eq!((&candle[1], &candle[4]), (&aggs[0]["p"], &aggs.last().unwrap()["p"]));
    assert_eq!(amount, e8(&candle[5]));
    let next = aggs[0]["a"].as_u64().unwrap() + 5;
    let page = rows(&scene, &format!("/fapi/v1/aggTrades?symbol=BTCUSDT&fromId={next}&limit=7")).await;
    let ids: Vec<_> = page.iter().map(|row| row["a"].as_u64().unwrap()).collect();
    assert_eq!(ids, (next..next + 7).collect::<Vec<_>>());
    let trades = rows(&scene, "/fapi/v1/trades?symbol=BTCUSDT&limit=1000").await;
    assert_eq!(trades.len(), 1_000);
    let id = trades[990]["id"].as_u64().unwrap();
    let old = old_trades(&scene, &format!("symbol=BTCUSDT&fromId={id}&limit=500")).await;
    assert_eq!(old[..], trades[990..]);
    assert_eq!(old_trades(&scene, "symbol=BTCUSDT&limit=1000").await.len(), 500);
    assert_eq!(old_trades(&scene, "symbol=BTCUSDT").await.len(), 100);
    assert_eq!(rows(&scene, "/fapi/v1/ticker/price").await[0]["price"], trades[999]["price"]);
    let day = body(&scene, "/fapi/v1/ticker/24hr?symbol=BTCUSDT").await;
    assert_eq!((&day["lastPrice"], &day["lastId"]), (&trades[999]["price"], &trades[999]["id"]));
    let best = body(&scene, "/fapi/v1/ticker/bookTicker?symbol=BTCUSDT").await;
    let book = body(&scene, "/fapi/v1/depth?symbol=BTCUSDT&limit=5").await;
    assert_eq!((&best["bidPrice"], &best["askQty"]), (&book["bids"][0][0], &book["asks"][0][1]));
    assert_eq!(best["lastUpdateId"], book["lastUpdateId"]);
    scene.finish().await;
}

#[tokio::test]
async fn a_deep_past_gives_candles_of_years_and_trades_of_a_day() {
    let deep: DeepOptions = "listed=2020-01-01,trades=120,outages=0,halts=0".parse().unwrap();
    let scene = start(SimOptions { deep: Some(deep), ..options() }).await;
    let from = 1_600_000_020_000_i64;
    let candles = rows(&scene, &format!("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&startTime={from}&limit=1500")).await;
    assert_eq!((candles.len(), candles[0][0].as_i64()), (1_500, Some(from)));
    assert!(candles.windows(2).all(|pair| pair[1][0].as_i64().unwrap() - pair[0][0].as_i64().unwrap() == 60_000));
    let spot = rows(&scene, &format!("/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={from}&limit=1500")).await;
    assert_eq!(spot.len(), 1_000);
    assert_ne!(e8(&spot[0][1]), e8(&candles[0][1]));
    let day = 86_400_000;
    let times = |rows: &[Value]| rows.iter().map(|row| row["T"].as_i64().unwrap()).collect::<Vec<_>>();
    let first = rows(&scene, "/fapi/v1/aggTrades?symbol=BTCUSDT&fromId=0&limit=10").await;
    let oldest = now_ms() - day;
    assert!(times(&first).iter().all(|at| (oldest - 60_000..oldest + 7_200_000).contains(at)), "{first:?}");
    let since = rows(&scene, &format!("/fapi/v1/aggTrades?symbol=BTCUSDT&startTime={}&limit=10", oldest - day)).await;
    assert_eq!(times(&since)[0], times(&first)[0]);
    let ended = format!("/fapi/v1/aggTrades?symbol=BTCUSDT&startTime={}&endTime={}", oldest - day, oldest - day + 3_000_000);
    assert_eq!(rows(&scene, &ended).await.len(), 0);
    let month = old_trades(&scene, "symbol=BTCUSDT&fromId=1&limit=5").await;
    let at = month[0]["time"].as_i64().unwrap();
    assert!((-60_000..7_200_000).contains(&(at - (now_ms() - 30 * day))), "{at}");
    scene.finish().await;
}

#[tokio::test]
async fn funding_was_paid_each_eight_hours() {
    let scene = start(options()).await;
    let newest = rows(&scene, "/fapi/v1/fundingRate?symbol=BTCUSDT&limit=5").await;
    let at = |row: &Value| row["fundingTime"].as_i64().unwrap();
    assert!(newest.windows(2).all(|pair| at(&pair[1]) - at(&pair[0]) == 28_800_000), "{newest:?}");
    assert!((0..28_800_000).contains(&(now_ms() - at(&newest[4]))));
    let since = rows(&scene, &format!("/fapi/v1/fundingRate?symbol=BTCUSDT&startTime={}&limit=2", at(&newest[1]) - 1)).await;
    assert_eq!(since, newest[1..3]);
    let held = body(&scene, "/fapi/v1/openInterest?symbol=BTCUSDT").await;
    assert!(e8(&held["openInterest"]) > 0);
    scene.finish().await;
}

#[tokio::test]
async fn errors_have_the_exchange_s_codes() {
    let scene = start(options()).await;
    let hours = "startTime=1700000000000&endTime=1700007200000";
    for (target, status, code) in [
        ("/fapi/v1/depth?symbol=NOSUCH".to_owned(), 400, -1121),
        ("/fapi/v1/depth?symbol=BTCUSDT&limit=30".to_owned(), 400, -4021),
        ("/fapi/v1/depth?symbol=BTCUSDT&limit=5000".to_owned(), 400, -4021),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1s".to_owned(), 400, -1120),
        (format!("/fapi/v1/aggTrades?symbol=BTCUSDT&{hours}"), 400, -1127),
        ("/fapi/v1/aggTrades?symbol=BTCUSDT&fromId=1&startTime=1".to_owned(), 400, -1128),
        ("/fapi/v1/historicalTrades?symbol=BTCUSDT".to_owned(), 401, -2014),
        ("/fapi/v1/avgPrice?symbol=BTCUSDT".to_owned(), 404, -1),
        ("/fapi/v1/time?foo=1".to_owned(), 400, -1101),
    ] {
        let reply = get(&scene.sim, &target).await;
        assert_eq!((reply.status, reply.code()), (status, code), "{target}: {}", reply.body);
    }
    assert_eq!(get(&scene.sim, "/fapi/v1/depth?symbol=BTCUSDT&limit=30").await.json()["msg"], "30 is not valid depth limit");
    assert_eq!(get(&scene.sim, "/fapi/v1/ping").await.body, "{}");
    scene.finish().await;
}

#[tokio::test]
async fn its_weights_are_a_pool_of_its_own() {
    let usdm = UsdmOptions { weight_per_minute: 300, ..UsdmOptions::default() };
    let limits = Limits { strikes_to_ban: 2, ban: Duration::from_secs(120), ..limits() };
    let scene = start(SimOptions { usdm, limits, ..options() }).await;
    // A minute that ends in between would forgive; then the sequence begins again.
    let mut used = 0;
    for (target, weight) in [
        ("/fapi/v1/time", 1),
        ("/fapi/v1/depth?symbol=BTCUSDT&limit=1000", 20),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=1500", 10),
        ("/fapi/v1/aggTrades?symbol=BTCUSDT", 20),
    ] {
        let reply = get(&scene.sim, target).await;
        let now: u32 = reply.header("x-mbx-used-weight-1m").unwrap().parse().unwrap();
        assert!(now == used + weight || now == weight, "{target}: {now} after {used}");
        used = now;
    }
    let mut last = None;
    for _ in 0..10 {
        let reply = get(&scene.sim, "/fapi/v1/historicalTrades?symbol=BTCUSDT").await;
        let is_banned = reply.status == 418;
        let told = reply.json()["msg"].as_str().unwrap_or_default().to_owned();
        match reply.status {
            401 => {}
            429 => assert!(told.contains("current limit of IP(127.0.0.1) is 300 requests per minute"), "{told}"),
            418 => assert!(told.starts_with("Way too many requests; IP(127.0.0.1) banned until"), "{told}"),
            other => panic!("{other}: {told}"),
        }
        last = Some(reply);
        if is_banned {
            break;
        }
    }
    assert_eq!(last.unwrap().status, 418);
    assert_eq!(get(&scene.sim, "/api/v3/ping").await.status, 200);
    let ledger = scene.finish().await;
    assert!(ledger.iter().any(|r| matches!(r, LedgerRecord::Rest { weight: 200, status: 429, .. })));
}
