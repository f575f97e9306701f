//! The simulated KuCoin over its sockets: tokens, commands, channels, and the market that is the same as over REST.

mod common;

use std::time::Duration;

use common::kucoin::{Applied, Book, Kucoin, options, rules, token};
use common::{Client, End, Scene, get, post, start};
use dccd_sim::LedgerRecord;
use serde_json::{Value, json};

async fn data(scene: &Scene, target: &str) -> Value {
    let body = get(&scene.sim, &format!("/api/v1/{target}")).await.json();
    assert_eq!(body["code"], "200000", "{target}: {body}");
    body["data"].clone()
}

fn number(value: &Value) -> f64 {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_token_opens_the_socket_and_nothing_else_does() {
    let scene = start(rules("token=1")).await;
    let body = post(&scene.sim, "/api/v1/bullet-public", "").await.json();
    let server = &body["data"]["instanceServers"][0];
    let told = ["pingInterval", "pingTimeout"].map(|key| server[key].as_i64().unwrap());
    assert_eq!((told, &server["protocol"]), ([18_000, 10_000], &json!("websocket")));
    // Its address is the name by which the client knows the host.
    assert_eq!(server["endpoint"], "ws://sim/endpoint");
    for (query, why) in [("", "token is invalid"), ("?token=2neAiuYvAU61", "token is invalid")] {
        let mut client = Client::connect(&scene.sim, &format!("/endpoint{query}")).await;
        let told = client.next_json().await;
        assert_eq!((&told["type"], &told["code"], &told["data"]), (&json!("error"), &json!(401), &json!(why)));
        assert_eq!(client.end().await, End::Clean("Bye".into()));
    }
    let token = token(&scene.sim).await;
    let mut client = Client::connect(&scene.sim, &format!("/endpoint?token={}", token.replace('=', "%3D"))).await;
    let welcome = client.next_json().await;
    assert_eq!((&welcome["type"], welcome["id"].as_str().unwrap().len()), (&json!("welcome"), 24));
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    let mut late = Client::connect(&scene.sim, &format!("/endpoint?token={token}")).await;
    assert_eq!(late.next_json().await["data"], "token is expired");
    assert_eq!(late.end().await, End::Clean("Bye".into()));
    // Who is in stays in.
    client.send(r#"{"id":"1","type":"ping"}"#).await;
    assert_eq!(client.next_text().await, r#"{"id":"1","type":"pong"}"#);
    scene.finish().await;
}

#[tokio::test]
async fn commands_are_answered_as_the_exchange_answers_them() {
    let scene = start(options()).await;
    let mut kucoin = Kucoin::classic(&scene.sim).await;
    let ask = |topic: &str| format!(r#"{{"id":7,"type":"subscribe","topic":"{topic}","response":true}}"#);
    for (text, code, why) in [
        (ask("/market/match:NO-PAIR"), 404, "topic /market/match:NO-PAIR is not found"),
        (ask("/market/match:BTC-USDT,NO-PAIR"), 404, "topic /market/match:NO-PAIR is not found"),
        (ask("/market/level3:BTC-USDT"), 404, "topic /market/level3:BTC-USDT is not found"),
        (ask("/market/candles:BTC-USDT_7min"), 404, "topic /market/candles:BTC-USDT_7min is not found"),
        (ask(""), 406, "topic is required"),
        (
            r#"{"id":7,"type":"subscribe","topic":"/spotMarket/tradeOrders","privateChannel":true}"#.into(),
            403,
            "login is required",
        ),
        (r#"{"id":7,"type":"fly"}"#.into(), 415, "type is not supported"),
    ] {
        assert_eq!(kucoin.ask(&text).await, format!(r#"{{"id":"7","type":"error","code":{code},"data":"{why}"}}"#));
    }
    // What is no message at all is answered under the connection's own name.
    assert!(kucoin.ask("[]").await.starts_with(r#"{"id":"me","type":"error","code":415"#));
    kucoin.subscribe("/market/match: BTC-USDT,ETH-USDT").await;
    for id in ["BTC-USDT", "ETH-USDT"] {
        kucoin.next_of(&format!("/market/match:{id}")).await;
    }
    kucoin.topic("unsubscribe", "/market/match:BTC-USDT").await;
    let mut seen = 0;
    for _ in 0..200 {
        seen += usize::from(kucoin.next_text().await.unwrap().contains(":BTC-USDT"));
    }
    assert!(seen < 150, "{seen}");
    // Without a wish for it there is no acknowledgement.
    kucoin.client.send(r#"{"id":"8","type":"subscribe","topic":"/market/ticker:all"}"#).await;
    let (ticker, _) = kucoin.next_of("/market/ticker:all").await;
    assert!(["BTC-USDT", "ETH-USDT"].contains(&ticker["subject"].as_str().unwrap()));
    scene.finish().await;
}

#[tokio::test]
async fn topics_and_messages_are_limited() {
    let scene = start(rules("topics=3,messages=6")).await;
    let mut kucoin = Kucoin::classic(&scene.sim).await;
    kucoin.subscribe("/market/match:BTC-USDT,ETH-USDT").await;
    let full = kucoin.ask(r#"{"id":"5","type":"subscribe","topic":"/market/ticker:BTC-USDT,ETH-USDT"}"#).await;
    assert_eq!(
        full,
        r#"{"id":"5","type":"error","code":509,"data":"exceed max subscription count limitation of 3 per session"}"#
    );
    kucoin.subscribe("/market/ticker:BTC-USDT").await;
    let many = vec!["BTC-USDT"; 101].join(",");
    let told = kucoin.ask(&format!(r#"{{"id":"6","type":"subscribe","topic":"/market/match:{many}"}}"#)).await;
    assert!(told.contains("exceed max subscription count limitation of 100 per time"), "{told}");
    for _ in 0..2 {
        assert!(kucoin.ask(r#"{"id":"9","type":"ping"}"#).await.contains("pong"));
    }
    let told = kucoin.ask(r#"{"id":"9","type":"ping"}"#).await;
    assert_eq!(told, r#"{"id":"me","type":"error","code":509,"data":"exceed max permits per second"}"#);
    assert_eq!(kucoin.client.end().await, End::Clean("Bye".into()));
    let records = scene.finish().await;
    let asked = |r: &&LedgerRecord| matches!(r, LedgerRecord::Received { raw, .. } if raw.contains("subscribe"));
    assert_eq!(records.iter().filter(asked).count(), 4);
}

#[tokio::test]
async fn who_does_not_ping_is_closed_whatever_else_goes_on() {
    let scene = start(rules("ping=0.4,timeout=0.3")).await;
    let mut silent = Kucoin::classic(&scene.sim).await;
    silent.subscribe("/market/match:BTC-USDT").await;
    let mut pinging = Kucoin::classic(&scene.sim).await;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(350)).await;
        assert!(pinging.ask(r#"{"id":"1","type":"ping"}"#).await.contains("pong"));
    }
    let mut last = String::new();
    while let Ok(text) = silent.client.next().await {
        last = text;
    }
    assert_eq!(last, r#"{"id":"me","type":"error","code":400,"data":"ping timeout"}"#);
    scene.finish().await;
}

#[tokio::test]
async fn each_trade_over_either_socket_is_the_one_over_rest() {
    let scene = start(options()).await;
    let mut kucoin = Kucoin::classic(&scene.sim).await;
    let mut unified = Kucoin::unified(&scene.sim).await;
    kucoin.subscribe("/market/match:BTC-USDT").await;
    unified.follow("trade", "BTC-USDT", Value::Null).await;
    let mut sent = Vec::new();
    while sent.len() < 60 {
        sent.push(kucoin.next_of("/market/match:BTC-USDT").await.0["data"].clone());
    }
    let ids: Vec<u64> = sent.iter().map(|row| row["tradeId"].as_str().unwrap().parse().unwrap()).collect();
    assert!(ids.windows(2).all(|pair| (1..=5).contains(&(pair[1] - pair[0]))), "{ids:?}");
    let rows = data(&scene, "market/histories?symbol=BTC-USDT").await;
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 100);
    let mut compared = 0;
    for row in rows {
        let Some(ours) = sent.iter().find(|sent| sent["sequence"] == row["sequence"]) else { continue };
        assert!(["price", "size", "side"].iter().all(|key| ours[*key] == row[*key]), "{ours} {row}");
        assert_eq!(ours["time"], row["time"].to_string());
        compared += 1;
    }
    assert!(compared > 20, "{compared}");
    let whole = |value: &Value| value.as_u64().unwrap();
    assert!(rows.windows(2).all(|pair| whole(&pair[0]["time"]) <= whole(&pair[1]["time"])), "oldest first");
    compared = 0;
    while compared < 20 {
        let row = unified.next_of("trade.SPOT").await.0["d"].clone();
        let Some(ours) = sent.iter().find(|sent| sent["tradeId"] == row["ti"]) else { continue };
        assert_eq!((&ours["price"], &ours["size"], &ours["side"]), (&row["p"], &row["q"], &row["S"]));
        assert_eq!(
            (ours["time"].as_str(), ours["sequence"].as_str()),
            (Some(&*row["M"].to_string()), Some(&*row["E"].to_string()))
        );
        compared += 1;
    }
    scene.finish().await;
}

#[tokio::test]
async fn a_book_of_rest_and_the_changes_after_it_is_the_exchanges_own() {
    let scene = start(options()).await;
    let mut kucoin = Kucoin::classic(&scene.sim).await;
    kucoin.subscribe("/market/level2:BTC-USDT").await;
    let first = kucoin.next_of("/market/level2:BTC-USDT").await.0;
    let mut book = Book::fetch(&scene.sim, "BTC-USDT").await;
    // What the answer holds already is passed over.
    assert_eq!(book.apply(&first), Applied::Old);
    let mut ranges = 0;
    while book.updates < 300 {
        let message = kucoin.next_of("/market/level2:BTC-USDT").await.0;
        assert_ne!(book.apply(&message), Applied::Gap);
        ranges += usize::from(message["data"]["sequenceStart"] != message["data"]["sequenceEnd"]);
    }
    assert!(ranges > 5 && book.unseen > 5, "{ranges} {}", book.unseen);
    scene.sim.pause().await.unwrap();
    let exact = Book::fetch(&scene.sim, "BTC-USDT").await;
    while book.seq < exact.seq {
        assert_eq!(book.apply(&kucoin.next_of("/market/level2:BTC-USDT").await.0), Applied::Fits);
    }
    for is_bid in [true, false] {
        assert!(book.side(is_bid, 10_000).len() > 400);
        assert_eq!(book.side(is_bid, 10_000), exact.side(is_bid, 10_000));
    }
    let hundred = Book::fetch_hundred(&scene.sim, "BTC-USDT").await;
    assert_eq!((hundred.seq, hundred.side(true, 101)), (exact.seq, exact.side(true, 100)));
    scene.finish().await;
}

#[tokio::test]
async fn a_unified_account_s_book_begins_with_a_snapshot_and_has_500_levels() {
    let scene = start(options()).await;
    let mut unified = Kucoin::unified(&scene.sim).await;
    unified.follow("obu", "BTC-USDT", json!({"depth": "increment@10ms"})).await;
    let first = unified.next_of("obu.SPOT").await.0;
    assert_eq!((&first["t"], &first["dp"]), (&json!("snapshot"), &json!("increment@10ms")));
    let mut book = Book::default();
    book.apply_unified(&first);
    while book.updates < 30 {
        assert_eq!(book.apply_unified(&unified.next_of("obu.SPOT").await.0), Applied::Fits);
    }
    scene.sim.pause().await.unwrap();
    // Both number the same changes; those beyond the depth are in no message.
    let exact = loop {
        let exact = Book::fetch(&scene.sim, "BTC-USDT").await;
        if book.side(true, 500) == exact.side(true, 500) && book.side(false, 500) == exact.side(false, 500) {
            break exact;
        }
        assert_eq!(book.apply_unified(&unified.next_of("obu.SPOT").await.0), Applied::Fits);
    };
    assert!(book.seq <= exact.seq && exact.seq - book.seq < 2_000);
    scene.sim.resume().await.unwrap();
    let mut few = Kucoin::unified(&scene.sim).await;
    for (depth, levels) in [("1", 1), ("5", 5), ("50", 50)] {
        few.follow("obu", "ETH-USDT", json!({"depth": depth})).await;
        let message = loop {
            let (message, _) = few.next_of("obu.SPOT").await;
            if message["dp"] == depth {
                break message;
            }
        };
        assert_eq!((&message["t"], message["d"]["a"].as_array().unwrap().len()), (&json!("snapshot"), levels));
    }
    let bad = few
        .ask(r#"{"id":"9","action":"subscribe","channel":"obu","tradeType":"SPOT","symbol":"NO-PAIR","depth":"5"}"#)
        .await;
    assert_eq!(bad, r#"{"id":"9","result":false,"reason":"invalid symbol"}"#);
    assert!(few.ask(r#"{"id":"1","type":"ping"}"#).await.starts_with(r#"{"id":"1","type":"pong","ts":""#));
    scene.finish().await;
}

#[tokio::test]
async fn best_prices_depths_tickers_and_the_day_agree_with_themselves() {
    let scene = start(options()).await;
    let mut kucoin = Kucoin::classic(&scene.sim).await;
    for topic in [
        "/spotMarket/level1:BTC-USDT",
        "/spotMarket/level2Depth5:BTC-USDT",
        "/spotMarket/level2Depth50:BTC-USDT",
        "/market/ticker:BTC-USDT",
        "/market/snapshot:BTC-USDT",
    ] {
        kucoin.subscribe(topic).await;
    }
    let mut seen = [0; 5];
    while seen.iter().zip([20, 10, 10, 10, 1]).any(|(count, wanted)| *count < wanted) {
        let text = kucoin.next_text().await.unwrap();
        let message: Value = serde_json::from_str(&text).unwrap();
        let row = &message["data"];
        match message["topic"].as_str().unwrap().split(':').next().unwrap() {
            "/spotMarket/level1" => {
                seen[0] += 1;
                assert!(number(&row["bids"][0]) < number(&row["asks"][0]) && row["timestamp"].is_i64(), "{text}");
            }
            "/spotMarket/level2Depth5" => {
                seen[1] += 1;
                assert!(row["asks"].as_array().unwrap().len() == 5 && message["subject"] == "level2", "{text}");
            }
            "/spotMarket/level2Depth50" => {
                seen[2] += 1;
                assert!(row["bids"].as_array().unwrap().len() == 50, "{text}");
            }
            "/market/ticker" => {
                seen[3] += 1;
                assert!(number(&row["bestBid"]) < number(&row["bestAsk"]) && row["sequence"].is_string(), "{text}");
            }
            _ => {
                seen[4] += 1;
                let row = &row["data"];
                let [high, low, last] = ["high", "low", "lastTradedPrice"].map(|key| row[key].as_f64().unwrap());
                assert!(low <= last && last <= high && row["symbol"] == "BTC-USDT", "{text}");
            }
        }
    }
    scene.finish().await;
}

#[tokio::test]
async fn an_open_candle_grows_and_is_the_one_over_rest() {
    let scene = start(options()).await;
    let mut kucoin = Kucoin::classic(&scene.sim).await;
    let mut unified = Kucoin::unified(&scene.sim).await;
    kucoin.subscribe("/market/candles:BTC-USDT_1hour").await;
    unified.follow("kline", "BTC-USDT", json!({"interval": "1hour"})).await;
    let topic = "/market/candles:BTC-USDT_1hour";
    let mut rows: Vec<Value> = Vec::new();
    for _ in 0..3 {
        let (message, text) = kucoin.next_of(topic).await;
        assert!(message["subject"].as_str().unwrap().starts_with("trade.candles."), "{text}");
        rows.push(message["data"]["candles"].clone());
    }
    for pair in rows.windows(2).filter(|pair| pair[0][0] == pair[1][0]) {
        assert!(number(&pair[0][5]) < number(&pair[1][5]), "{pair:?}");
    }
    let same = unified.next_of("kline.SPOT").await.0["d"].clone();
    let ours = rows.iter().find(|row| row[5] == same["v"]).expect("the same candle on both sockets");
    assert_eq!([&ours[1], &ours[2], &ours[3], &ours[4]], [&same["o"], &same["c"], &same["h"], &same["l"]]);
    scene.sim.pause().await.unwrap();
    let rest = data(&scene, "market/candles?symbol=BTC-USDT&type=1hour").await;
    let open = rest.as_array().unwrap().iter().find(|row| row[0] == rows[2][0]).unwrap();
    assert!(number(&open[5]) >= number(&rows[2][5]) && open[1] == rows[2][1], "{open} {:?}", rows[2]);
    scene.finish().await;
}
