//! REST: shapes, paging, weights and errors as the exchange has them.

mod common;

use common::{Scene, get, limits, options, request, start};
use dccd_sim::{LedgerRecord, Limits, Sim, SimError, SimOptions};
use serde_json::Value;

async fn json(scene: &Scene, target: &str) -> Value {
    let reply = get(&scene.sim, target).await;
    assert_eq!(reply.status, 200, "{target}: {}", reply.body);
    reply.json()
}

#[tokio::test]
async fn exchange_info_has_what_clients_read() {
    let scene = start(options()).await;
    let info = json(&scene, "/api/v3/exchangeInfo").await;
    assert_eq!(info["rateLimits"][0]["limit"], 6_000);
    assert_eq!(info["symbols"].as_array().unwrap().len(), 2);
    let symbol = &info["symbols"][0];
    assert_eq!((symbol["symbol"].as_str(), symbol["status"].as_str()), (Some("BTCUSDT"), Some("TRADING")));
    assert_eq!(symbol["filters"][0]["tickSize"], "0.01000000");
    assert_eq!(symbol["filters"][1]["stepSize"], "0.00001000");
    let one = json(&scene, "/api/v3/exchangeInfo?symbol=ETHUSDT").await;
    assert_eq!(one["symbols"].as_array().unwrap().len(), 1);
    let both = json(&scene, "/api/v3/exchangeInfo?symbols=%5B%22ETHUSDT%22,%22BTCUSDT%22%5D").await;
    assert_eq!(both["symbols"][1]["symbol"], "BTCUSDT");
    let halted = json(&scene, "/api/v3/exchangeInfo?symbolStatus=HALT").await;
    assert_eq!(halted["symbols"], serde_json::json!([]));
    scene.finish().await;
}

#[tokio::test]
async fn trades_page_by_id_and_agree_with_their_aggregates_and_candles() {
    let scene = start(options()).await;
    scene.sim.pause().await.unwrap();
    let (first, last) = scene.sim.trade_ids("BTC/USDT").await.unwrap().unwrap();
    let mut trades: Vec<Value> = Vec::new();
    let mut next = first;
    while next <= last {
        let page = json(&scene, &format!("/api/v3/historicalTrades?symbol=BTCUSDT&fromId={next}&limit=1000")).await;
        trades.extend(page.as_array().unwrap().clone());
        next = trades.last().unwrap()["id"].as_u64().unwrap() + 1;
    }
    assert_eq!(trades.len() as u64, last - first + 1);
    assert!(trades.windows(2).all(|w| w[0]["id"].as_u64().unwrap() + 1 == w[1]["id"].as_u64().unwrap()));
    let newest = json(&scene, "/api/v3/trades?symbol=BTCUSDT&limit=5").await;
    assert_eq!(newest.as_array().unwrap()[..], trades[trades.len() - 5..]);

    // Aggregates, by time from the very beginning, then on by id.
    let start_time = trades[0]["time"].as_i64().unwrap();
    let mut aggs: Vec<Value> = Vec::new();
    let mut query = format!("startTime={start_time}");
    loop {
        let page = json(&scene, &format!("/api/v3/aggTrades?symbol=BTCUSDT&limit=1000&{query}")).await;
        let page = page.as_array().unwrap().clone();
        if page.is_empty() {
            break;
        }
        query = format!("fromId={}", page.last().unwrap()["a"].as_u64().unwrap() + 1);
        aggs.extend(page);
    }
    assert_eq!((&aggs[0]["f"], &aggs.last().unwrap()["l"]), (&trades[0]["id"], &trades.last().unwrap()["id"]));
    assert!(aggs.windows(2).all(|w| w[0]["l"].as_u64().unwrap() + 1 == w[1]["f"].as_u64().unwrap()));
    let middle = aggs[aggs.len() / 2]["T"].as_i64().unwrap();
    let until = json(&scene, &format!("/api/v3/aggTrades?symbol=BTCUSDT&endTime={middle}&limit=3")).await;
    assert_eq!(until.as_array().unwrap().len(), 3);
    assert_eq!(until[2]["T"].as_i64().unwrap(), middle);

    // Candles over everything hold every trade and its amount once.
    let mut bars: Vec<Value> = Vec::new();
    let mut from = start_time - start_time.rem_euclid(60_000);
    loop {
        let page = json(&scene, &format!("/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={from}&limit=50")).await;
        let page = page.as_array().unwrap().clone();
        let Some(end) = page.last() else { break };
        from = end[6].as_i64().unwrap() + 1;
        bars.extend(page);
    }
    assert!(bars.windows(2).all(|w| w[0][0].as_i64().unwrap() + 60_000 == w[1][0].as_i64().unwrap()));
    assert_eq!(bars.iter().map(|b| b[8].as_u64().unwrap()).sum::<u64>(), trades.len() as u64);
    let e8 = |v: &Value| v.as_str().unwrap().replace('.', "").parse::<i64>().unwrap();
    assert_eq!(bars.iter().map(|b| e8(&b[5])).sum::<i64>(), trades.iter().map(|t| e8(&t["qty"])).sum::<i64>());
    assert_eq!(bars[0][1], trades[0]["price"]);
    let hours = json(&scene, "/api/v3/klines?symbol=BTCUSDT&interval=1h").await;
    assert!((3..=4).contains(&hours.as_array().unwrap().len()), "two hours lie in three or, at their edge, four");
    scene.finish().await;
}

#[tokio::test]
async fn tickers_and_books_agree() {
    let scene = start(options()).await;
    scene.sim.pause().await.unwrap();
    let book = json(&scene, "/api/v3/depth?symbol=BTCUSDT&limit=5").await;
    assert_eq!((book["bids"].as_array().unwrap().len(), book["asks"].as_array().unwrap().len()), (5, 5));
    let best = json(&scene, "/api/v3/ticker/bookTicker?symbol=BTCUSDT").await;
    assert_eq!((&best["bidPrice"], &best["askQty"]), (&book["bids"][0][0], &book["asks"][0][1]));
    let all = json(&scene, "/api/v3/ticker/price").await;
    assert_eq!(all.as_array().unwrap().len(), 2);
    let newest = json(&scene, "/api/v3/trades?symbol=BTCUSDT&limit=1").await;
    assert_eq!(all[0]["price"], newest[0]["price"]);
    let day = json(&scene, "/api/v3/ticker/24hr?symbol=BTCUSDT").await;
    assert_eq!((&day["lastPrice"], &day["lastId"]), (&newest[0]["price"], &newest[0]["id"]));
    scene.finish().await;
}

#[tokio::test]
async fn times_come_in_microseconds_when_asked() {
    let scene = start(options()).await;
    let reply = request(
        &scene.sim,
        "GET /api/v3/trades?symbol=BTCUSDT&limit=1 HTTP/1.1\r\nhost: sim\r\nconnection: close\r\nX-MBX-TIME-UNIT: MICROSECOND\r\n\r\n",
    )
    .await;
    assert!(reply.json()[0]["time"].as_i64().unwrap() > 1_000_000_000_000_000);
    scene.finish().await;
}

#[tokio::test]
async fn errors_have_the_exchange_s_codes() {
    let scene = start(options()).await;
    for (target, status, code) in [
        ("/api/v3/depth?symbol=NOSUCH", 400, -1121),
        ("/api/v3/depth", 400, -1102),
        ("/api/v3/depth?symbol=btcusdt", 400, -1100),
        ("/api/v3/depth?symbol=BTCUSDT&limit=x", 400, -1100),
        ("/api/v3/depth?symbol=BTCUSDT&foo=1", 400, -1104),
        ("/api/v3/time?foo=1", 400, -1101),
        ("/api/v3/klines?symbol=BTCUSDT&interval=7m", 400, -1120),
        ("/api/v3/klines?symbol=BTCUSDT", 400, -1102),
        ("/api/v3/aggTrades?symbol=BTCUSDT&fromId=1&startTime=1", 400, -1128),
        ("/api/v3/exchangeInfo?symbol=NOSUCH", 400, -1121),
        ("/api/v3/nothing", 404, -1),
    ] {
        let reply = get(&scene.sim, target).await;
        assert_eq!((reply.status, reply.code()), (status, code), "{target}: {}", reply.body);
    }
    assert_eq!(get(&scene.sim, "/api/v3/ping").await.body, "{}");
    scene.finish().await;
}

#[tokio::test]
async fn weight_is_counted_and_past_the_limit_come_429_and_418() {
    let limits = Limits { weight_per_minute: 300, strikes_to_ban: 2, ..limits() };
    let scene = start(SimOptions { limits, ..options() }).await;
    // A minute that ends in between would forgive; then the sequence begins again.
    let mut used = 0;
    for (target, weight) in [
        ("/api/v3/time", 1),
        ("/api/v3/depth?symbol=BTCUSDT&limit=100", 5),
        ("/api/v3/depth?symbol=BTCUSDT&limit=1000", 50),
        ("/api/v3/exchangeInfo", 20),
        ("/api/v3/klines?symbol=BTCUSDT&interval=1m", 2),
        ("/api/v3/aggTrades?symbol=BTCUSDT", 4),
    ] {
        let reply = get(&scene.sim, target).await;
        let now: u32 = reply.header("x-mbx-used-weight-1m").unwrap().parse().unwrap();
        assert!(now == used + weight || now == weight, "{target}: {now} after {used}");
        used = now;
    }
    let mut statuses = Vec::new();
    while statuses.last() != Some(&418) && statuses.len() < 10 {
        let reply = get(&scene.sim, "/api/v3/depth?symbol=BTCUSDT&limit=5000").await;
        let wait = reply.header("retry-after").map(|w| w.parse::<u64>().unwrap());
        match reply.status {
            200 => assert_eq!(wait, None),
            429 => assert!(wait.is_some_and(|w| (1..=60).contains(&w))),
            418 => assert!(wait.is_some_and(|w| (119..=121).contains(&w))),
            other => panic!("{other}: {}", reply.body),
        }
        statuses.push(reply.status);
    }
    assert!(statuses.ends_with(&[429, 429, 418]), "{statuses:?}");
    let ledger = scene.finish().await;
    assert!(ledger.iter().any(|r| matches!(r, LedgerRecord::Rest { weight: 250, status: 429, .. })));
}

#[tokio::test]
async fn what_can_t_start_says_why() {
    let error = |options| async { Sim::start(options).await.map(drop).unwrap_err() };
    let unknown = error(SimOptions { exchange: "mtgox".into(), ..options() }).await;
    assert_eq!(
        unknown.to_string(),
        "there is no simulated exchange \"mtgox\"; there are: binance, bitfinex, bybit, coinbase, deribit, kraken, kucoin, okx"
    );
    let mut twice = options();
    twice.market.symbols = vec!["BTC/USDT".into(), "BTC/USDT".into()];
    assert!(matches!(error(twice).await, SimError::BadSymbol { symbol } if symbol == "BTC/USDT"));
    let running = start(options()).await;
    let taken = error(SimOptions { listen: running.sim.address(), ..options() }).await;
    assert!(taken.to_string().contains(&running.sim.address().to_string()));
    running.finish().await;
}
