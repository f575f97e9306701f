//! The simulated Kraken over its WebSocket: commands, channels, and the market that is the same as over REST.

mod common;

use std::time::{Duration, Instant};

use common::kraken::{Book, Kraken, levels, options};
use common::{Client, get, post, start};
use dccd_model::Decimal;
use dccd_sim::{LedgerRecord, SimOptions};
use serde_json::{Value, json};

async fn result(scene: &common::Scene, target: &str) -> Value {
    let body = get(&scene.sim, &format!("/0/public/{target}")).await.json();
    assert_eq!(body["error"], json!([]), "{target}");
    body["result"].clone()
}

#[tokio::test]
async fn commands_are_answered_once_per_market_as_the_exchange_answers_them() {
    let scene = start(options()).await;
    let mut kraken = Kraken::connect(&scene.sim).await;
    let pong = kraken.ask(json!({"method": "ping", "req_id": 42})).await;
    assert_eq!(
        (&pong["method"], &pong["req_id"], pong["time_in"].as_str().unwrap().len()),
        (&json!("pong"), &json!(42), 27)
    );
    for (channel, more, told) in [
        ("trade", json!({}), json!({"channel": "trade", "snapshot": false, "symbol": "BTC/USD"})),
        (
            "ticker",
            json!({}),
            json!({"channel": "ticker", "event_trigger": "trades", "snapshot": true, "symbol": "BTC/USD"}),
        ),
        ("book", json!({"depth": 25}), json!({"channel": "book", "depth": 25, "snapshot": true, "symbol": "BTC/USD"})),
        (
            "ohlc",
            json!({"interval": 5, "snapshot": false}),
            json!({"channel": "ohlc", "interval": 5, "snapshot": false, "symbol": "BTC/USD",
                "warnings": ["timestamp is deprecated, use interval_begin"]}),
        ),
    ] {
        let reply = kraken.subscribe(channel, "BTC/USD", more).await;
        assert_eq!(reply["result"], told);
    }
    for (method, params, error, symbol) in [
        ("subscribe", json!({"channel": "trade", "symbol": ["XBT/USD"]}), "Currency pair not supported XBT/USD", "XBT/USD"),
        (
            "subscribe",
            json!({"channel": "book", "symbol": ["ETH/USD"], "depth": 27}),
            "Subscription depth not supported",
            "",
        ),
        ("subscribe", json!({"channel": "book", "symbol": ["BTC/USD"], "depth": 10}), "Already subscribed", "BTC/USD"),
        ("subscribe", json!({"channel": "trade", "symbol": ["BTC/USD"]}), "Already subscribed", "BTC/USD"),
        (
            "subscribe",
            json!({"channel": "ohlc", "symbol": ["BTC/USD"], "interval": 1}),
            "Already subscribed to one ohlc interval on this symbol",
            "BTC/USD",
        ),
        (
            "subscribe",
            json!({"channel": "ohlc", "symbol": ["ETH/USD"], "interval": 7}),
            "Subscription ohlc interval not supported",
            "",
        ),
        ("subscribe", json!({"channel": "nothing", "symbol": ["BTC/USD"]}), "Subscription name invalid", ""),
        ("unsubscribe", json!({"channel": "trade", "symbol": ["ETH/USD"]}), "Subscription Not Found", "ETH/USD"),
        ("subscribe", json!({"channel": "trade"}), "Malformed request", ""),
        ("add_order", json!({}), "Unsupported method", ""),
    ] {
        let reply = kraken.ask(json!({"method": method, "params": params, "req_id": 9})).await;
        assert_eq!((&reply["error"], &reply["success"], &reply["req_id"]), (&json!(error), &json!(false), &json!(9)));
        assert_eq!(reply.get("symbol").and_then(Value::as_str).unwrap_or(""), symbol, "{reply}");
    }
    // Two markets in one command: two replies, one of which may be a refusal.
    kraken.send(json!({"method": "subscribe", "params": {"channel": "trade", "symbol": ["ETH/USD", "NO/SUCH"]}})).await;
    let mut told = Vec::new();
    while told.len() < 2 {
        let value: Value = serde_json::from_str(&kraken.next_text().await.unwrap()).unwrap();
        if value["method"] == "subscribe" {
            told.push((value["success"].clone(), value.get("req_id").cloned()));
        }
    }
    assert_eq!(told, [(json!(true), None), (json!(false), None)]);
    let reply = kraken
        .ask(json!({"method": "unsubscribe", "params": {"channel": "book", "symbol": ["BTC/USD"], "depth": 25}}))
        .await;
    assert_eq!(reply["result"], json!({"channel": "book", "depth": 25, "symbol": "BTC/USD"}));
    scene.finish().await;
}

#[tokio::test]
async fn messages_past_the_rate_are_told_so_and_ignored_and_connections_have_a_limit_too() {
    let kraken = "rate=0,messages=3,connects=2,window=600".parse().unwrap();
    let scene = start(SimOptions { kraken, ..options() }).await;
    let mut client = Kraken::connect(&scene.sim).await;
    for req_id in 0..5 {
        client.send(json!({"method": "ping", "req_id": req_id})).await;
    }
    let mut told = Vec::new();
    for _ in 0..5 {
        told.push(client.next_text().await.unwrap());
    }
    assert!(told[..3].iter().all(|text| text.contains("pong")), "{told:?}");
    assert_eq!(told[3..], [r#"{"Error":"Exceeded msg rate"}"#, r#"{"Error":"Exceeded msg rate"}"#]);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(client.ask(json!({"method": "ping", "req_id": 6})).await["req_id"], 6);
    let _second = Client::connect(&scene.sim, "/").await;
    let refused = Client::try_connect(&scene.sim, "/v2").await.err().unwrap();
    assert!(refused.to_string().contains("429"), "{refused}");
    scene.finish().await;
}

#[tokio::test]
async fn heartbeats_come_by_the_second_where_nothing_else_does_once_there_is_a_subscription() {
    let scene = start(options()).await;
    post(&scene.sim, "/sim/pause", "").await;
    let mut kraken = Kraken::connect(&scene.sim).await;
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    kraken.subscribe("trade", "BTC/USD", json!({})).await;
    let begun = Instant::now();
    for _ in 0..2 {
        assert_eq!(kraken.next_text().await.unwrap(), r#"{"channel":"heartbeat"}"#);
    }
    let took = begun.elapsed();
    assert!((1_900..2_900).contains(&took.as_millis()), "{took:?}");
    post(&scene.sim, "/sim/resume", "").await;
    kraken.next_of("trade").await;
    for _ in 0..20 {
        let text = kraken.next_text().await.unwrap();
        assert!(!text.contains("heartbeat"), "{text}");
    }
    scene.finish().await;
}

#[tokio::test]
async fn a_book_is_kept_by_its_messages_at_every_depth_with_the_right_checksum() {
    let scene = start(options()).await;
    let mut tasks = Vec::new();
    for depth in [10, 25, 100, 500, 1_000] {
        let mut kraken = Kraken::connect(&scene.sim).await;
        // From the midst of things: others follow already.
        tokio::time::sleep(Duration::from_millis(30)).await;
        kraken.subscribe("book", "BTC/USD", json!({"depth": depth})).await;
        tasks.push((kraken, Book::new(depth)));
    }
    let mut tops = Vec::new();
    for (kraken, book) in &mut tasks {
        let (first, text) = kraken.next_of("book").await;
        assert_eq!(first["type"], "snapshot");
        assert!(book.apply(&text), "{text}");
        for _ in 0..300 {
            let (value, text) = kraken.next_of("book").await;
            assert_eq!(value["type"], "update");
            assert!(book.apply(&text), "{text}");
        }
    }
    scene.sim.pause().await.unwrap();
    let exact = scene.sim.book("BTC/USD").await.unwrap().unwrap();
    for (kraken, book) in &mut tasks {
        // All that was under way, up to the first heartbeat.
        loop {
            let text = kraken.next_text().await.unwrap();
            match serde_json::from_str::<Value>(&text).unwrap()["channel"].as_str() {
                Some("book") => assert!(book.apply(&text), "{text}"),
                _ => break,
            }
        }
        for (is_bid, side) in [(true, &exact.bids), (false, &exact.asks)] {
            let kept = book.side(is_bid, 1).into_iter().map(|(p, a)| (Decimal::new(p, -8), Decimal::new(a, -8)));
            let kept: Vec<_> = kept.collect();
            assert_eq!(kept[..], side[..kept.len()], "{is_bid}");
        }
        tops.push(book.len());
    }
    assert_eq!(tops[..3], [(10, 10), (25, 25), (100, 100)]);
    assert_eq!(tops[4], (exact.bids.len(), exact.asks.len()));
    let told = result(&scene, "Depth?pair=XBTUSD&count=3").await;
    let row = &told["XXBTZUSD"]["bids"][0];
    let same = |text: &Value, exact: Decimal| text.as_str().unwrap().parse::<f64>().unwrap() == exact.to_f64();
    assert!(same(&row[0], exact.bids[0].0) && same(&row[1], exact.bids[0].1), "{row} {:?}", exact.bids[0]);
    scene.finish().await;
}

/// What a trade was: id, price, amount, whether the taker bought, whether by a market order, microseconds.
type Trade = (u64, f64, f64, bool, bool, i64);

/// Microseconds of `2023-10-06T17:35:55.440295Z`.
fn micros(text: &str) -> i64 {
    let day = dccd_model::time::day_start(dccd_model::time::day_from_label(&text[..10]).unwrap()).0 / 1_000;
    let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().unwrap();
    day + (number(11..13) * 3_600 + number(14..16) * 60 + number(17..19)) * 1_000_000 + number(20..26)
}

fn over_ws(row: &Value) -> Trade {
    (
        row["trade_id"].as_u64().unwrap(),
        row["price"].as_f64().unwrap(),
        row["qty"].as_f64().unwrap(),
        row["side"] == "buy",
        row["ord_type"] == "market",
        micros(row["timestamp"].as_str().unwrap()),
    )
}

#[allow(clippy::cast_possible_truncation)] // to the microsecond, a double is exact
fn over_rest(row: &Value) -> Trade {
    let number = |value: &Value| value.as_str().unwrap().parse::<f64>().unwrap();
    let seconds = row[2].as_f64().unwrap();
    (
        row[6].as_u64().unwrap(),
        number(&row[0]),
        number(&row[1]),
        row[3] == "b",
        row[4] == "m",
        // The exchange's own rounding loses up to 240 ns.
        ((seconds * 1e6 - 0.3) as i64).max(0),
    )
}

#[tokio::test]
async fn what_is_traded_live_goes_on_with_the_past_and_rest_has_it_again() {
    let options = options();
    let truth = dccd_sim::deep::Truth::new(&options).unwrap();
    let scene = start(options).await;
    let mut kraken = Kraken::connect(&scene.sim).await;
    kraken.subscribe("trade", "BTC/USD", json!({"snapshot": true})).await;
    let (snapshot, _) = kraken.next_of("trade").await;
    assert_eq!((&snapshot["type"], snapshot["data"].as_array().unwrap().len()), (&json!("snapshot"), 50));
    let mut live: Vec<Trade> = snapshot["data"].as_array().unwrap().iter().map(over_ws).collect();
    while live.len() < 350 {
        let (update, _) = kraken.next_of("trade").await;
        live.extend(update["data"].as_array().unwrap().iter().map(over_ws));
    }
    assert!(live.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1), "ids are contiguous");
    // REST tells the same, from before the start of the exchange on.
    let LedgerRecord::Started { ts, .. } = scene.ledger().await[0].clone() else { panic!("a ledger begins with its start") };
    let since = (ts - 600_000_000_000).min(live[0].5 * 1_000 - 1);
    let (mut rows, mut next) = (Vec::new(), since);
    while rows.last().is_none_or(|row: &Trade| row.0 < live[349].0) {
        let page = result(&scene, &format!("Trades?pair=XBTUSD&since={next}")).await;
        let fresh = page["XXBTZUSD"].as_array().unwrap().iter().map(over_rest);
        let last = rows.last().map_or(0, |row: &Trade| row.0);
        rows.extend(fresh.filter(|row| row.0 > last));
        next = page["last"].as_str().unwrap().parse::<i64>().unwrap() - 1;
    }
    assert!(rows.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1 && pair[1].5 >= pair[0].5), "no hole where live begins");
    let first = live[0].0 - rows[0].0;
    let same = &rows[usize::try_from(first).unwrap()..][..live.len()];
    for (one, other) in live.iter().zip(same) {
        assert_eq!((one.0, one.1, one.2, one.3, one.4), (other.0, other.1, other.2, other.3, other.4));
        assert!((0..=1).contains(&(one.5 - other.5)), "{one:?} {other:?}");
    }
    // Before the start it is the truth; the first live trade is near the last price of it.
    let old = rows.iter().take_while(|row| row.5 * 1_000 < ts).count();
    let before = truth.trades("BTC/USD", since, ts).map(|trade| trade.id).last().unwrap();
    assert_eq!(rows[old - 1].0, before);
    let (last, first) = (rows[old - 1].1, rows[old].1);
    assert!((last - first).abs() < last / 1_000.0, "{last} {first}");
    scene.finish().await;
}

#[tokio::test]
async fn tickers_and_candles_agree_with_trades_and_with_rest() {
    let scene = start(options()).await;
    let mut kraken = Kraken::connect(&scene.sim).await;
    kraken.subscribe("ohlc", "BTC/USD", json!({"interval": 60})).await;
    kraken.subscribe("ticker", "BTC/USD", json!({"event_trigger": "bbo"})).await;
    kraken.subscribe("trade", "BTC/USD", json!({})).await;
    let (candles, text) = kraken.next_of("ohlc").await;
    assert_eq!((&candles["type"], candles["data"].as_array().unwrap().len()), (&json!("snapshot"), 13), "{text}");
    let (mut quotes, mut ticker) = (0, Value::Null);
    for _ in 0..60 {
        let (value, text) = kraken.next_of("ticker").await;
        ticker = value["data"][0].clone();
        let number = |name: &str| ticker[name].as_f64().unwrap();
        assert!(
            number("bid") < number("ask") && number("low") <= number("last") && number("last") <= number("high"),
            "{text}"
        );
        assert!(number("low") <= number("vwap") && number("vwap") <= number("high"), "{text}");
        quotes += usize::from(value["type"] == "update");
    }
    assert_eq!(quotes, 59);
    let mut candle = kraken.next_of("ohlc").await.0["data"][0].clone();
    scene.sim.pause().await.unwrap();
    loop {
        let value: Value = serde_json::from_str(&kraken.next_text().await.unwrap()).unwrap();
        match value["channel"].as_str() {
            Some("ohlc") => candle = value["data"][0].clone(),
            Some("ticker") => ticker = value["data"][0].clone(),
            Some("heartbeat") => break,
            _ => {}
        }
    }
    let told = result(&scene, "OHLC?pair=XBTUSD&interval=60").await;
    let row = told["XXBTZUSD"].as_array().unwrap().last().unwrap();
    let text = |value: &Value| value.as_str().unwrap().parse::<f64>().unwrap();
    let seen = ["open", "high", "low", "close", "vwap", "volume"].map(|name| candle[name].as_f64().unwrap());
    assert_eq!(seen.to_vec(), (1..7).map(|at| text(&row[at])).collect::<Vec<_>>());
    assert_eq!(candle["trades"], row[7]);
    assert!(candle["trades"].as_u64().unwrap() > 0);
    let told = result(&scene, "Ticker?pair=XBTUSD").await["XXBTZUSD"].clone();
    assert_eq!(
        [text(&told["b"][0]), text(&told["a"][0])],
        [ticker["bid"].as_f64().unwrap(), ticker["ask"].as_f64().unwrap()]
    );
    scene.finish().await;
}

#[tokio::test]
async fn instruments_are_told_with_their_digits_and_numbers_have_them() {
    let scene = start(options()).await;
    let mut kraken = Kraken::connect(&scene.sim).await;
    let reply = kraken.ask(json!({"method": "subscribe", "params": {"channel": "instrument"}})).await;
    assert_eq!(reply["result"]["warnings"], json!(["tick_size is deprecated, use price_increment"]));
    let (instruments, text) = kraken.next_of("instrument").await;
    assert!(text.contains(r#""price_increment":0.1,"qty_min":0.00005000"#), "{text}");
    let pairs = instruments["data"]["pairs"].as_array().unwrap();
    assert_eq!(pairs.iter().map(|pair| &pair["symbol"]).collect::<Vec<_>>(), ["BTC/USD", "ETH/USD"]);
    assert_eq!(pairs.iter().map(|pair| &pair["price_precision"]).collect::<Vec<_>>(), [1, 2]);
    for (symbol, digits) in [("BTC/USD", 1), ("ETH/USD", 2)] {
        kraken.subscribe("book", symbol, json!({})).await;
        let (_, text) = kraken.next_of("book").await;
        for (price, amount) in levels(&text, "bids") {
            assert_eq!([price, amount].map(|n| n.split_once('.').unwrap().1.len()), [digits, 8]);
        }
        kraken.ask(json!({"method": "unsubscribe", "params": {"channel": "book", "symbol": [symbol]}})).await;
    }
    scene.finish().await;
}
