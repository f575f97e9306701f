//! The simulated KuCoin over REST: its lists, pages, errors and limits.

mod common;

use common::kucoin::{options, rules};
use common::{Scene, get, post, start};
use dccd_sim::deep::Truth;
use dccd_sim::{Fault, MarketOptions, RestFault, SimOptions};
use serde_json::{Value, json};

async fn body(scene: &Scene, target: &str) -> (u16, Value) {
    let reply = get(&scene.sim, target).await;
    (reply.status, reply.json())
}

async fn data(scene: &Scene, target: &str) -> Value {
    let (status, body) = body(scene, target).await;
    assert_eq!((status, &body["code"]), (200, &json!("200000")), "{target}: {body}");
    body["data"].clone()
}

async fn candles(scene: &Scene, more: &str) -> Vec<Value> {
    data(scene, &format!("/api/v1/market/candles?symbol=BTC-USDT&{more}")).await.as_array().unwrap().clone()
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
    SimOptions { market, deep: Some("listed=2024-03-01,trades=600,quiet=0.1,halts=0,outages=0".parse().unwrap()), ..options }
}

#[tokio::test]
async fn markets_prices_and_books_are_told() {
    let scene = start(options()).await;
    let symbols = data(&scene, "/api/v2/symbols").await;
    let told = ["symbol", "baseCurrency", "quoteCurrency", "priceIncrement", "baseIncrement", "market"];
    assert_eq!(told.map(|key| symbols[0][key].as_str().unwrap()), ["BTC-USDT", "BTC", "USDT", "0.1", "0.00000001", "USDS"]);
    assert_eq!(data(&scene, "/api/v2/symbols/ETH-USDT").await, symbols[1]);
    assert_eq!(data(&scene, "/api/v1/status").await["status"], "open");
    assert!(data(&scene, "/api/v1/timestamp").await.as_i64().unwrap() > 1_700_000_000_000);
    let first = data(&scene, "/api/v1/market/orderbook/level1?symbol=BTC-USDT").await;
    assert!(number(&first["bestBid"]) < number(&first["bestAsk"]), "{first}");
    for depth in [20, 100] {
        let book = data(&scene, &format!("/api/v1/market/orderbook/level2_{depth}?symbol=BTC-USDT")).await;
        let rows = |side: &str| book[side].as_array().unwrap().clone();
        assert_eq!((rows("bids").len(), rows("asks").len()), (depth, depth));
        assert!(number(&rows("bids")[0][0]) < number(&rows("asks")[0][0]) && whole(&book["sequence"]) > 1_000_000);
        assert!(rows("bids").windows(2).all(|pair| number(&pair[0][0]) > number(&pair[1][0])));
    }
    let all = data(&scene, "/api/v1/market/allTickers").await;
    let stats = data(&scene, "/api/v1/market/stats?symbol=ETH-USDT").await;
    assert_eq!((&all["ticker"][1]["symbol"], &all["ticker"][1]["takerFeeRate"]), (&json!("ETH-USDT"), &json!("0.001")));
    for row in [&all["ticker"][1], &stats] {
        assert!(number(&row["low"]) <= number(&row["last"]) && number(&row["last"]) <= number(&row["high"]), "{row}");
    }
    scene.finish().await;
}

#[tokio::test]
async fn errors_come_in_an_envelope_and_what_needs_a_login_is_refused() {
    let scene = start(options()).await;
    for (target, status, code, message) in [
        ("/api/v1/market/candles?symbol=NO-PAIR&type=1min", 400, "400100", "This pair is not provided at present"),
        ("/api/v1/market/candles?symbol=BTC-USDT&type=7min", 400, "400100", "Incorrect candlestick type"),
        ("/api/v1/market/candles?symbol=BTC-USDT&type=1min&startAt=x", 400, "400100", "Parameter Error"),
        ("/api/v1/market/histories", 400, "400100", "Parameter Error"),
        ("/api/v1/market/histories?symbol=NO-PAIR", 200, "900001", "symbol not exists"),
        ("/api/v1/market/none", 404, "404000", "URL Not Found"),
        ("/api/v1/bullet-public", 404, "404000", "URL Not Found"),
    ] {
        assert_eq!(body(&scene, target).await, (status, json!({"code": code, "msg": message})), "{target}");
    }
    assert_eq!(data(&scene, "/api/v1/market/orderbook/level1?symbol=NO-PAIR").await, Value::Null);
    let (status, refused) = body(&scene, "/api/v3/market/orderbook/level2?symbol=BTC-USDT").await;
    assert_eq!((status, &refused["code"]), (401, &json!("400001")), "{refused}");
    assert_eq!(post(&scene.sim, "/api/v1/bullet-private", "").await.status, 401);
    scene.finish().await;
}

#[tokio::test]
async fn weight_is_counted_told_and_refused() {
    let scene = start(rules("weight=13")).await;
    let mut left = Vec::new();
    for _ in 0..8 {
        let reply = get(&scene.sim, "/api/v1/market/orderbook/level1?symbol=BTC-USDT").await;
        let header = |name: &str| reply.header(name).unwrap().parse::<i64>().unwrap();
        assert_eq!(header("gw-ratelimit-limit"), 13);
        assert!((1..=30_000).contains(&header("gw-ratelimit-reset")));
        left.push((reply.status, header("gw-ratelimit-remaining")));
        if reply.status == 429 {
            assert_eq!(reply.json(), json!({"code": "429000", "msg": "Too Many Requests"}));
        }
    }
    assert_eq!(left, [(200, 11), (200, 9), (200, 7), (200, 5), (200, 3), (200, 1), (429, 1), (429, 1)]);
    scene.finish().await;
}

#[tokio::test]
async fn candles_of_years_come_newest_first_without_the_quiet_ones_and_are_made_of_the_trades() {
    let options = still();
    let truth = Truth::new(&options).unwrap();
    let scene = start(options).await;
    let begin = 1_710_000_000;
    let rows = candles(&scene, &format!("type=1min&startAt={begin}&endAt={}", begin + 700 * 60)).await;
    let mut traded = Vec::new();
    for candle in truth.candles("BTC/USDT", 60, begin * 1_000_000_000, (begin + 700 * 60) * 1_000_000_000) {
        if candle.volume > 0 {
            traded.push(candle);
        }
    }
    assert!(traded.len() > 400 && traded.len() < 700, "{}", traded.len());
    assert_eq!(rows.len(), traded.len());
    for (row, candle) in rows.iter().zip(traded.iter().rev()) {
        assert_eq!(whole(&row[0]), candle.open_ns / 1_000_000_000);
        // Open, close, high, low.
        let told = [1, 2, 3, 4, 5].map(|at| e8(number(&row[at])));
        assert_eq!(told, [candle.open, candle.close, candle.high, candle.low, candle.volume], "{row}");
    }
    // The end is not among them, the start is.
    let times: Vec<i64> = rows.iter().map(|row| whole(&row[0])).collect();
    let (first, last) = (*times.last().unwrap(), times[0]);
    let page = candles(&scene, &format!("type=1min&startAt={first}&endAt={last}")).await;
    assert_eq!((whole(&page[0][0]), whole(&page[page.len() - 1][0])), (times[1], first));
    let most = candles(&scene, &format!("type=1min&startAt={begin}&endAt={}", begin + 9_000 * 60)).await;
    assert_eq!(most.len(), 1_500);
    assert!(whole(&most[0][0]) > begin + 8_900 * 60, "the newest where there are too many");
    assert_eq!(candles(&scene, "type=1min").await.len(), 1_500);
    assert!(candles(&scene, "type=1min&startAt=1&endAt=1709251200").await.is_empty());
    let week = candles(&scene, "type=1week&startAt=1711000000&endAt=1713000000").await;
    assert!(week.len() > 1 && week.iter().all(|row| whole(&row[0]).rem_euclid(7 * 86_400) == 0), "{week:?}");
    scene.finish().await;
}

#[tokio::test]
async fn wrong_answers_and_refusals_come_on_command() {
    let scene = start(still()).await;
    let target = "type=1min&startAt=1710000000&endAt=1710000600";
    let right = candles(&scene, target).await;
    let count = right.len();
    assert!(count > 4);
    for (what, expected) in [
        (RestFault::Empty, 0),
        (RestFault::Omit, count - 1),
        (RestFault::Duplicate, count + 1),
        (RestFault::Descending, count),
    ] {
        scene.sim.faults().inject(Fault::Rest { what, count: 1 }).await.unwrap();
        let wrong = candles(&scene, target).await;
        assert!(wrong.len() == expected && wrong != right, "{what:?}");
    }
    scene.sim.faults().inject(Fault::Rest { what: RestFault::Outside, count: 1 }).await.unwrap();
    assert_eq!(whole(&candles(&scene, target).await[0][0]), whole(&right[0][0]) / 2);
    scene.sim.faults().inject(Fault::Rest { what: RestFault::Omit, count: 1 }).await.unwrap();
    assert_eq!(data(&scene, "/api/v1/market/histories?symbol=BTC-USDT").await.as_array().unwrap().len(), 99);
    scene.sim.faults().inject(Fault::RestLimit { count: 1, ban_ms: None }).await.unwrap();
    let (status, refused) = body(&scene, "/api/v1/timestamp").await;
    assert_eq!((status, refused), (429, json!({"code": "429000", "msg": "Too Many Requests"})));
    assert_eq!(candles(&scene, target).await, right);
    scene.finish().await;
}
