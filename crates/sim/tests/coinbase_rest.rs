//! The simulated Coinbase over REST: its lists, pages, errors and limits.

mod common;

use std::collections::BTreeMap;

use common::coinbase::{get, options, rules};
use common::{Scene, start};
use dccd_sim::deep::Truth;
use dccd_sim::{Fault, MarketOptions, RestFault, SimOptions};
use serde_json::{Value, json};

const MINUTE: i64 = 60;

async fn body(scene: &Scene, target: &str) -> (u16, Value) {
    let reply = get(&scene.sim, target).await;
    (reply.status, reply.json())
}

async fn rows(scene: &Scene, target: &str) -> Vec<Value> {
    let (status, body) = body(scene, target).await;
    assert_eq!(status, 200, "{target}: {body}");
    body.as_array().unwrap().clone()
}

fn message(text: &str) -> Value {
    json!({ "message": text })
}

#[allow(clippy::cast_possible_truncation)] // prices and amounts of a simulated market
fn e8(number: f64) -> i64 {
    (number * 1e8).round() as i64
}

/// Nothing is traded live: the past goes on, and all of it is known.
fn still() -> SimOptions {
    let options = options();
    let market = MarketOptions { trades_per_second: 0.0, book_updates_per_second: 0.0, ..options.market.clone() };
    SimOptions { market, deep: Some("listed=2024-03-01,trades=60,quiet=0.5,halts=0,outages=0".parse().unwrap()), ..options }
}

fn candles(id: &str, width: i64, start: i64, end: i64) -> String {
    format!("/products/{id}/candles?granularity={width}&start={start}&end={end}")
}

#[tokio::test]
async fn products_currencies_and_the_time_are_told() {
    let scene = start(options()).await;
    let products = rows(&scene, "/products").await;
    let ids: Vec<_> = products.iter().map(|product| product["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["BTC-USD", "ETH-USD"]);
    let facts = ["base_currency", "quote_currency", "quote_increment", "base_increment", "status"];
    assert_eq!(facts.map(|key| products[0][key].as_str().unwrap()), ["BTC", "USD", "0.01", "0.00000001", "online"]);
    assert_eq!(body(&scene, "/products/ETH-USD").await.1, products[1]);
    assert_eq!(rows(&scene, "/currencies").await.len(), 3);
    let clock = body(&scene, "/time").await.1;
    assert!(clock["epoch"].as_f64().unwrap() > 1.7e9 && clock["iso"].as_str().unwrap().ends_with('Z'), "{clock}");
    let (ticker, stats) =
        (body(&scene, "/products/BTC-USD/ticker").await.1, body(&scene, "/products/BTC-USD/stats").await.1);
    let number = |value: &Value| value.as_str().unwrap().parse::<f64>().unwrap();
    assert!(number(&ticker["bid"]) < number(&ticker["ask"]) && ticker["trade_id"].is_u64(), "{ticker}");
    assert!(number(&stats["low"]) <= number(&stats["last"]) && number(&stats["last"]) <= number(&stats["high"]), "{stats}");
    scene.finish().await;
}

#[tokio::test]
async fn errors_have_a_status_and_a_message() {
    let scene = start(options()).await;
    let many = candles("BTC-USD", 60, 1_710_000_000, 1_710_000_000 + 301 * MINUTE);
    for (target, status, told) in [
        ("/products/NO-PAIR/trades", 404, "NotFound"),
        ("/products/BTC-USD/gossip", 404, "NotFound"),
        ("/nothing", 404, "NotFound"),
        ("/products/BTC-USD/candles?granularity=7", 400, "Unsupported granularity"),
        (&many, 400, "granularity too small for the requested time range. Count of aggregations requested exceeds 300"),
        ("/products/BTC-USD/candles?start=x&end=1710000000", 400, "Invalid start"),
        ("/products/BTC-USD/trades?after=x", 400, "Invalid after"),
        ("/products/BTC-USD/book?level=4", 400, "Invalid level"),
    ] {
        assert_eq!(body(&scene, target).await, (status, message(told)), "{target}");
    }
    // Whoever does not say who asks is refused.
    let reply = common::get(&scene.sim, "/products").await;
    assert_eq!((reply.status, reply.json()), (400, message("User-Agent header is required.")));
    scene.finish().await;
}

#[tokio::test]
async fn fifteen_requests_pass_at_once_and_then_ten_a_second() {
    let scene = start(rules("limits=true")).await;
    let (mut passed, mut refused) = (0, 0);
    while refused < 3 {
        match body(&scene, "/time").await {
            (200, _) => passed += 1,
            (status, told) => {
                assert_eq!((status, told), (429, message("Public rate limit exceeded")));
                refused += 1;
            }
        }
        assert!(passed < 1_000, "nothing was refused");
    }
    assert!(passed >= 15, "{passed}");
    scene.finish().await;
}

#[tokio::test]
async fn candles_lie_within_their_bounds_newest_first_without_empty_ones() {
    let options = still();
    let truth = Truth::new(&options).unwrap();
    let scene = start(options).await;
    let begin = 1_710_000_000;
    for (width, span) in [(60, 300), (300, 200), (3_600, 100)] {
        let end = begin + span * width;
        let page = rows(&scene, &candles("BTC-USD", width, begin, end)).await;
        assert!(page.windows(2).all(|pair| pair[0][0].as_i64() > pair[1][0].as_i64()));
        let seen: BTreeMap<i64, Value> = page.into_iter().map(|row| (row[0].as_i64().unwrap(), row)).collect();
        let span_s = u32::try_from(width).unwrap();
        let all: Vec<_> = truth.candles("BTC/USD", span_s, begin * 1_000_000_000, (end + 1) * 1_000_000_000).collect();
        // Both bounds count.
        assert_eq!(i64::try_from(all.len()).unwrap(), span + 1);
        let traded: Vec<_> = all.iter().filter(|candle| candle.trades > 0).collect();
        assert_eq!(traded.len(), seen.len());
        assert!(width > 60 || seen.len() < 200, "{}", seen.len());
        for candle in traded {
            let row = &seen[&(candle.open_ns / 1_000_000_000)];
            let told = [1, 2, 3, 4, 5].map(|at| e8(row[at].as_f64().unwrap()));
            assert_eq!(told, [candle.low, candle.high, candle.open, candle.close, candle.volume], "{row}");
        }
    }
    // The same by their names, and with one bound alone the newest.
    let by_name = "/products/BTC-USD/candles?granularity=60&start=2024-03-09T16:00:00Z&end=2024-03-09T21:00:00.000Z";
    assert_eq!(rows(&scene, by_name).await, rows(&scene, &candles("BTC-USD", 60, begin, begin + 300 * MINUTE)).await);
    let newest = rows(&scene, "/products/BTC-USD/candles?granularity=86400").await;
    assert_eq!(newest.len(), 350);
    assert_eq!(rows(&scene, "/products/BTC-USD/candles?granularity=86400&start=1710000000").await, newest);
    assert!(rows(&scene, &candles("BTC-USD", 60, 1_600_000_000, 1_600_000_600)).await.is_empty());
    scene.finish().await;
}

#[tokio::test]
async fn a_candle_is_not_there_until_it_is_old_enough() {
    let newest = |options: SimOptions| async {
        let scene = start(options).await;
        let clock = |value: Value| e8(value["epoch"].as_f64().unwrap()) / 100_000_000;
        let before = clock(body(&scene, "/time").await.1);
        let first = rows(&scene, "/products/BTC-USD/candles?granularity=60").await[0][0].as_i64().unwrap();
        scene.finish().await;
        before - first
    };
    // There is a trade in each minute.
    let busy =
        |late: &str| SimOptions { deep: Some("trades=6000,quiet=0,halts=0,outages=0".parse().unwrap()), ..rules(late) };
    let late = newest(busy("late=180")).await;
    assert!((180..180 + 2 * MINUTE).contains(&late), "{late}");
    let now = newest(busy("late=0")).await;
    assert!((-MINUTE..MINUTE).contains(&now), "{now}");
}

#[tokio::test]
async fn trades_are_paged_by_cursors_in_both_directions() {
    let scene = start(still()).await;
    let newest = rows(&scene, "/products/BTC-USD/trades").await;
    assert_eq!(newest.len(), 1_000);
    let id = |row: &Value| row["trade_id"].as_u64().unwrap();
    assert!(newest.windows(2).all(|pair| id(&pair[0]) == id(&pair[1]) + 1));
    let reply = get(&scene.sim, &format!("/products/BTC-USD/trades?limit=100&after={}", id(&newest[99]))).await;
    assert_eq!(reply.json(), Value::from(newest[100..200].to_vec()));
    let cursors = [reply.header("cb-before"), reply.header("cb-after")];
    assert_eq!(cursors, [Some(id(&newest[100]).to_string().as_str()), Some(id(&newest[199]).to_string().as_str())]);
    // Newer than a cursor are the newest, not the next.
    let newer = rows(&scene, &format!("/products/BTC-USD/trades?limit=5&before={}", id(&newest[300]))).await;
    assert!(id(&newer[0]) >= id(&newest[0]) && newer.len() == 5);
    assert_eq!(rows(&scene, "/products/BTC-USD/trades?limit=5000").await.len(), 1_000);
    let oldest = get(&scene.sim, "/products/BTC-USD/trades?after=4").await;
    assert_eq!((oldest.json().as_array().unwrap().len(), oldest.header("cb-after")), (3, Some("1")));
    let nothing = get(&scene.sim, "/products/BTC-USD/trades?after=1").await;
    assert_eq!((nothing.json(), nothing.header("cb-after")), (json!([]), None));
    scene.finish().await;
}

#[tokio::test]
async fn the_book_has_three_levels_of_detail() {
    let scene = start(still()).await;
    let book = |level: u32| {
        let scene = &scene;
        async move { body(scene, &format!("/products/BTC-USD/book?level={level}")).await.1 }
    };
    let (best, levels, orders) = (book(1).await, book(2).await, book(3).await);
    assert!(best["bids"].as_array().unwrap().len() == 1 && best["bids"][0] == levels["bids"][0]);
    assert_eq!(body(&scene, "/products/BTC-USD/book").await.1["asks"], best["asks"]);
    for side in ["bids", "asks"] {
        let mut orders = orders[side].as_array().unwrap().iter().peekable();
        for level in levels[side].as_array().unwrap() {
            let number = |value: &Value| e8(value.as_str().unwrap().parse::<f64>().unwrap());
            let (mut count, mut size) = (0, 0);
            while let Some(order) = orders.next_if(|order| order[0] == level[0]) {
                assert_eq!(order[2].as_str().unwrap().len(), 36);
                (count, size) = (count + 1, size + number(&order[1]));
            }
            assert_eq!((level[2].as_i64().unwrap(), number(&level[1])), (count, size), "{level}");
        }
        assert_eq!(orders.next(), None);
    }
    assert!(levels["sequence"].is_u64() && levels["auction"].is_null());
    scene.finish().await;
}

#[tokio::test]
async fn wrong_answers_and_refusals_come_on_command() {
    let scene = start(still()).await;
    let target = "/products/BTC-USD/trades?after=1000&limit=10";
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
    assert!(rows(&scene, target).await[0]["time"].as_str().unwrap().starts_with("1996-"));
    scene.sim.faults().inject(Fault::RestLimit { count: 1, ban_ms: None }).await.unwrap();
    assert_eq!(body(&scene, target).await, (429, message("Public rate limit exceeded")));
    assert_eq!(rows(&scene, target).await, right);
    scene.finish().await;
}
