//! The simulated Bybit over HTTP: what it serves is its truth, and its refusals are in the body, but for the last.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::bybit::{e8, options};
use common::{Scene, get, start};
use dccd_sim::deep::Truth;
use dccd_sim::{Fault, MarketOptions, RestFault, SimOptions};
use serde_json::{Value, json};

const HOUR_NS: i64 = 3_600_000_000_000;

/// Without a live market the past goes on as the truth has it.
fn still(rules: &str) -> SimOptions {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now_ns = i64::try_from(since.as_nanos()).unwrap();
    let listed_ns = (now_ns / HOUR_NS - 60) * HOUR_NS;
    let deep = "trades=409,outages=2000,halts=0".parse().unwrap();
    let deep = dccd_sim::deep::DeepOptions { listed_ns, ..deep };
    let market = MarketOptions { trades_per_second: 0.0, book_updates_per_second: 0.0, ..options().market };
    SimOptions { deep: Some(deep), bybit: rules.parse().unwrap(), market, ..options() }
}

async fn result(scene: &Scene, target: &str) -> Value {
    let reply = get(&scene.sim, &format!("/v5/market/{target}")).await;
    let body = reply.json();
    assert_eq!((reply.status, &body["retCode"], &body["retMsg"]), (200, &json!(0), &json!("OK")), "{target}");
    body["result"].clone()
}

#[tokio::test]
async fn candles_are_paged_through_from_their_end_and_are_the_truth() {
    let options = still("requests=0");
    let truth = Truth::new(&options).unwrap();
    let scene = start(options).await;
    for (category, symbol) in [("spot", "BTC/USDT"), ("linear", "BTC/USDT:USDT")] {
        let listed_ms = truth.listed(symbol).unwrap() / 1_000_000;
        let query = format!("kline?category={category}&symbol=BTCUSDT&interval=1");
        let first = result(&scene, &format!("{query}&start={}&limit=1", listed_ms - 86_400_000)).await;
        assert_eq!(first["list"][0][0].as_str(), Some(listed_ms.to_string().as_str()));
        let (mut end_ms, mut rows) = (listed_ms + 2_999 * 60_000, Vec::new());
        while end_ms >= listed_ms {
            let page = result(&scene, &format!("{query}&start={listed_ms}&end={end_ms}&limit=1000")).await;
            let list = page["list"].as_array().unwrap().clone();
            let times: Vec<i64> = list.iter().map(|row| row[0].as_str().unwrap().parse().unwrap()).collect();
            assert!(times.windows(2).all(|pair| pair[0] - pair[1] == 60_000), "newest first, without holes");
            end_ms = times.last().unwrap() - 60_000;
            rows.extend(list);
        }
        assert_eq!(rows.len(), 3_000);
        let mut flat = 0;
        for row in rows {
            let open_ns = row[0].as_str().unwrap().parse::<i64>().unwrap() * 1_000_000;
            let told = truth.candles(symbol, 60, open_ns, open_ns + 1).next().filter(|candle| candle.trades > 0);
            let Some(told) = told else {
                assert!(row[1] == row[4] && row[2] == row[3] && row[5] == "0" && row[6] == "0", "{row}");
                flat += 1;
                continue;
            };
            let seen = [1, 2, 3, 4, 5, 6].map(|at| e8(&row[at]));
            assert_eq!(seen, [told.open, told.high, told.low, told.close, told.volume, told.quote_volume]);
        }
        assert!(flat > 0);
    }
    scene.finish().await;
}

#[tokio::test]
async fn refusals_are_in_the_body_until_too_much_was_asked() {
    let scene = start(still("requests=12,window=60,ban=1")).await;
    for (target, code, message) in [
        ("kline?category=spot&symbol=NOPE&interval=1", 10_001, "Not supported symbols"),
        ("kline?category=spot&symbol=BTCUSDT&interval=7", 10_001, "Invalid period!"),
        ("kline?category=stocks&symbol=BTCUSDT&interval=1", 10_001, "Illegal category"),
        ("orderbook?category=spot&symbol=BTCUSDT&limit=x", 10_001, "params error"),
        ("recent-trade?category=linear&symbol=ETHUSDT", 10_001, "Not supported symbols"),
    ] {
        let reply = get(&scene.sim, &format!("/v5/market/{target}")).await;
        let body = reply.json();
        assert_eq!((reply.status, &body["retCode"], &body["retMsg"]), (200, &json!(code), &json!(message)), "{target}");
        assert_eq!(body["result"], json!({}));
    }
    assert_eq!(get(&scene.sim, "/v5/market/nothing").await.status, 404);
    scene.sim.faults().inject(Fault::RestLimit { count: 1, ban_ms: None }).await.unwrap();
    let busy = get(&scene.sim, "/v5/market/time").await;
    assert_eq!((busy.status, busy.json()["retCode"].as_i64()), (200, Some(10_006)));
    for left in [4, 3, 2, 1, 0] {
        let reply = get(&scene.sim, "/v5/market/time").await;
        let header = |name: &str| reply.header(name).and_then(|text| text.parse::<i64>().ok());
        assert_eq!((reply.status, header("X-Bapi-Limit"), header("X-Bapi-Limit-Status")), (200, Some(12), Some(left)));
        let ends = header("X-Bapi-Limit-Reset-Timestamp").unwrap();
        assert!((1..=60_000).contains(&(ends - reply.json()["time"].as_i64().unwrap())));
    }
    let banned = get(&scene.sim, "/v5/market/time").await;
    assert_eq!((banned.status, banned.body.as_str()), (403, "access too frequent"));
    assert_eq!(get(&scene.sim, "/v5/market/time").await.status, 403);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    // The window is another one than the ban.
    assert_eq!(get(&scene.sim, "/v5/market/time").await.status, 403);
    scene.finish().await;
}

#[tokio::test]
async fn instruments_come_by_pages_on_linear_and_whole_on_spot() {
    let mut options = still("requests=0");
    options.market.symbols =
        ["BTC/USDT", "ETH/USDT", "XRP/USDT:USDT", "BTC/USDT:USDT", "SOL/USDT:USDT"].map(str::to_owned).to_vec();
    let scene = start(options).await;
    let ids =
        |result: &Value| result["list"].as_array().unwrap().iter().map(|row| row["symbol"].clone()).collect::<Vec<_>>();
    let spot = result(&scene, "instruments-info?category=spot&limit=1").await;
    assert_eq!((ids(&spot), spot.get("nextPageCursor")), (vec![json!("BTCUSDT"), json!("ETHUSDT")], None));
    let mut seen = Vec::new();
    let mut cursor = String::new();
    for _ in 0..5 {
        let page = result(&scene, &format!("instruments-info?category=linear&limit=2&cursor={cursor}")).await;
        seen.extend(ids(&page));
        cursor = page["nextPageCursor"].as_str().unwrap().to_owned();
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(seen, [json!("BTCUSDT"), json!("SOLUSDT"), json!("XRPUSDT")]);
    let one = result(&scene, "instruments-info?category=linear&symbol=BTCUSDT").await;
    assert_eq!(
        (&one["list"][0]["priceFilter"]["tickSize"], &one["list"][0]["settleCoin"]),
        (&json!("0.10"), &json!("USDT"))
    );
    assert_eq!(ids(&result(&scene, "instruments-info?category=inverse").await), Vec::<Value>::new());
    scene.finish().await;
}

#[tokio::test]
async fn answers_are_wrong_on_purpose() {
    let scene = start(still("requests=0")).await;
    let target = "/v5/market/kline?category=spot&symbol=BTCUSDT&interval=1&limit=20&end=1";
    let end = result(&scene, "kline?category=spot&symbol=BTCUSDT&interval=1&limit=1").await["list"][0][0]
        .as_str()
        .unwrap()
        .to_owned();
    let target = target.replace("end=1", &format!("end={}", end.parse::<i64>().unwrap() - 60_000));
    let good = get(&scene.sim, &target).await.json()["result"]["list"].clone();
    let mut seen = BTreeSet::new();
    for what in [
        RestFault::Empty,
        RestFault::Omit,
        RestFault::Duplicate,
        RestFault::Reorder,
        RestFault::Descending,
        RestFault::Outside,
        RestFault::Truncate,
        RestFault::Error,
    ] {
        scene.sim.faults().inject(Fault::Rest { what, count: 1 }).await.unwrap();
        let reply = get(&scene.sim, &target).await;
        let rows = serde_json::from_str::<Value>(&reply.body).map_or(Value::Null, |body| body["result"]["list"].clone());
        assert!(reply.status != 200 || rows != good, "{what:?}");
        seen.insert(rows.to_string());
    }
    assert!(seen.len() >= 7, "{seen:?}");
    assert_eq!(get(&scene.sim, &target).await.json()["result"]["list"], good);
    scene.sim.faults().inject(Fault::RestLimit { count: 1, ban_ms: Some(400) }).await.unwrap();
    assert_eq!(get(&scene.sim, &target).await.json()["retCode"], 10_006);
    assert_eq!(get(&scene.sim, &target).await.status, 403);
    tokio::time::sleep(Duration::from_millis(450)).await;
    assert_eq!(get(&scene.sim, &target).await.status, 200);
    scene.finish().await;
}
