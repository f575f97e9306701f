//! The simulated Coinbase over its WebSocket: commands, channels, and the market that is the same as over REST.

mod common;

use std::time::Duration;

use common::coinbase::{Book, Coinbase, get, options, rules, short};
use common::{Client, End, Scene, start};
use dccd_sim::{Fault, LedgerRecord};
use serde_json::{Value, json};

async fn body(scene: &Scene, target: &str) -> Value {
    let reply = get(&scene.sim, target).await;
    assert_eq!(reply.status, 200, "{target}: {}", reply.body);
    reply.json()
}

fn id(message: &Value) -> u64 {
    message["trade_id"].as_u64().unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn commands_are_answered_as_the_exchange_answers_them() {
    let scene = start(options()).await;
    let mut coinbase = Coinbase::connect(&scene.sim).await;
    for (bad, reason) in [
        (r#"{"type":"fly"}"#, "Type has to be either subscribe or unsubscribe"),
        (r#"{"type":"subscribe"}"#, "No channels provided"),
        (r#"{"type":"subscribe","channels":[],"product_ids":["BTC-USD"]}"#, "No channels provided"),
        (
            r#"{"type":"subscribe","channels":["matches"]}"#,
            "You need to specify at least one product ID for channel matches",
        ),
        (r#"{"type":"subscribe","channels":["matches"],"product_ids":["NO-PAIR"]}"#, "NO-PAIR is not a valid product"),
        (r#"{"type":"subscribe","channels":["gossip"],"product_ids":["BTC-USD"]}"#, "gossip is not a valid channel"),
    ] {
        let reply: Value = serde_json::from_str(&coinbase.ask(bad).await).unwrap();
        assert_eq!(reply, json!({"type": "error", "message": "Failed to subscribe", "reason": reason}), "{bad}");
    }
    for channel in ["level2", "level3", "full"] {
        // One bad channel, and nothing of the command happens.
        let command = json!({"type": "subscribe", "product_ids": ["BTC-USD"], "channels": ["matches", channel]});
        assert_eq!(
            coinbase.ask(&command.to_string()).await,
            r#"{"type":"error","message":"Failed to subscribe","reason":"level2, level3, and full channels now require authentication. https://docs.cloud.coinbase.com/exchange/docs/websocket-auth"}"#
        );
    }
    assert!(coinbase.ask("{").await.starts_with(r#"{"type":"error","message":"Malformed JSON""#));
    let ask = r#"{"type":"subscribe","product_ids":["ETH-USD"],"channels":["level2_batch",{"name":"matches","product_ids":["BTC-USD","ETH-USD"]}]}"#;
    assert_eq!(
        coinbase.ask(ask).await,
        r#"{"type":"subscriptions","channels":[{"name":"level2_50","product_ids":["ETH-USD"],"account_ids":null},{"name":"matches","product_ids":["BTC-USD","ETH-USD"],"account_ids":null}]}"#
    );
    let left = coinbase.ask(r#"{"type":"unsubscribe","channels":["matches"]}"#).await;
    assert_eq!(
        left,
        r#"{"type":"subscriptions","channels":[{"name":"level2_50","product_ids":["ETH-USD"],"account_ids":null}]}"#
    );
    let left = coinbase.ask(r#"{"type":"unsubscribe","product_ids":["ETH-USD"],"channels":["level2_50"]}"#).await;
    assert_eq!(left, r#"{"type":"subscriptions","channels":[]}"#);
    scene.finish().await;
}

#[tokio::test]
async fn each_trade_over_the_socket_is_the_one_over_rest_and_the_last_one_comes_first() {
    let scene = start(options()).await;
    let mut coinbase = Coinbase::connect(&scene.sim).await;
    coinbase.subscribe(&["matches"], "BTC-USD").await;
    let mut sent = vec![coinbase.next_of(&["last_match", "match"]).await];
    assert_eq!(sent[0]["type"], "last_match");
    while sent.len() < 150 {
        sent.push(coinbase.next_of(&["match", "last_match"]).await);
    }
    assert!(sent[1..].iter().all(|message| message["type"] == "match"));
    let ids: Vec<u64> = sent.iter().map(id).collect();
    assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "{ids:?}");
    let sequences: Vec<u64> = sent.iter().map(|message| message["sequence"].as_u64().unwrap()).collect();
    assert!(sequences[1..].windows(2).all(|pair| pair[1] > pair[0] + 1), "{sequences:?}");
    // Those that one order took name it; it never rests itself.
    let taker = |message: &Value| message["taker_order_id"].clone();
    assert!(
        sent.windows(2).any(|pair| taker(&pair[0]) == taker(&pair[1]))
            && sent.iter().all(|m| taker(m) != m["maker_order_id"])
    );
    let page = body(&scene, &format!("/products/BTC-USD/trades?after={}&limit=150", ids[149] + 1)).await;
    let rows = page.as_array().unwrap();
    assert_eq!(rows.len(), 150);
    for (ours, row) in sent.iter().zip(rows.iter().rev()) {
        assert!(["trade_id", "side", "time"].iter().all(|key| ours[key] == row[key]), "{ours} {row}");
        for key in ["price", "size"] {
            assert_eq!(ours[key].as_str().unwrap(), short(row[key].as_str().unwrap()), "{ours} {row}");
        }
    }
    scene.finish().await;
}

#[tokio::test]
async fn the_side_of_a_trade_is_that_of_the_order_that_rested() {
    let scene = start(options()).await;
    let mut coinbase = Coinbase::connect(&scene.sim).await;
    coinbase.subscribe(&["matches", "ticker"], "BTC-USD").await;
    let first = coinbase.next_of(&["ticker"]).await;
    let mut moves = [0; 2];
    let mut before = Value::Null;
    while moves.iter().any(|count| *count < 3) {
        let (trade, ticker) = (coinbase.next_of(&["match"]).await, coinbase.next_of(&["ticker"]).await);
        assert!(["trade_id", "sequence", "price", "time"].iter().all(|key| trade[key] == ticker[key]), "{trade} {ticker}");
        assert_eq!(trade["size"], ticker["last_size"]);
        // Of the ticker it is that of the order that took.
        assert_ne!(trade["side"], ticker["side"]);
        let [bid, ask, low, high] = ["best_bid", "best_ask", "low_24h", "high_24h"].map(|key| number(&ticker[key]));
        let last = number(&trade["price"]);
        assert!(bid < ask && low <= last && last <= high, "{ticker}");
        // One order that takes from sellers who rested pays more and more.
        if before["taker_order_id"] == trade["taker_order_id"] && before["price"] != trade["price"] {
            let has_risen = last > number(&before["price"]);
            assert_eq!(trade["side"], if has_risen { "sell" } else { "buy" }, "{before} {trade}");
            moves[usize::from(has_risen)] += 1;
        }
        before = trade;
    }
    assert!(first["trade_id"].is_u64());
    scene.finish().await;
}

#[tokio::test]
async fn a_book_followed_by_its_updates_is_the_exchanges_own() {
    let scene = start(options()).await;
    let mut coinbase = Coinbase::connect(&scene.sim).await;
    coinbase.subscribe(&["level2_batch"], "BTC-USD").await;
    let mut book = Book::default();
    let first = coinbase.next_of(&["snapshot", "l2update"]).await;
    assert_eq!(first["type"], "snapshot");
    book.apply(&first);
    while book.updates < 60 {
        book.apply(&coinbase.next_of(&["l2update"]).await);
        assert!(!book.is_crossed());
    }
    scene.sim.pause().await.unwrap();
    // What is still to be told comes with the next pulse; a heartbeat comes behind it.
    coinbase.subscribe(&["heartbeat"], "BTC-USD").await;
    for _ in 0..2 {
        loop {
            let message = coinbase.next_of(&["l2update", "heartbeat"]).await;
            if message["type"] == "heartbeat" {
                break;
            }
            book.apply(&message);
        }
    }
    let told = body(&scene, "/products/BTC-USD/book?level=2").await;
    let mut rest = Book::default();
    rest.apply(&told);
    assert!(rest.levels() == book.levels() && book.levels()[0].len() > 250);
    let best = body(&scene, "/products/BTC-USD/book?level=1").await;
    assert_eq!((&best["bids"][0], best["asks"].as_array().unwrap().len()), (&told["bids"][0], 1));
    // A newcomer is shown the same.
    let mut other = Coinbase::connect(&scene.sim).await;
    other.subscribe(&["level2_50"], "BTC-USD").await;
    let mut fresh = Book::default();
    fresh.apply(&other.next_of(&["snapshot"]).await);
    assert!(fresh.levels() == book.levels());
    scene.finish().await;
}

#[tokio::test]
async fn updates_of_a_book_are_batches_and_end_no_level_twice() {
    let scene = start(options()).await;
    let mut coinbase = Coinbase::connect(&scene.sim).await;
    coinbase.subscribe(&["level2_batch"], "ETH-USD").await;
    coinbase.next_of(&["snapshot"]).await;
    let (mut times, mut several) = (Vec::new(), 0);
    for _ in 0..40 {
        let update = coinbase.next_of(&["l2update"]).await;
        let changes = update["changes"].as_array().unwrap();
        several += usize::from(changes.len() > 1);
        let mut prices: Vec<_> = changes.iter().map(|change| (change[0].to_string(), change[1].to_string())).collect();
        prices.sort();
        prices.dedup();
        assert_eq!(prices.len(), changes.len(), "{update}");
        times.push(update["time"].as_str().unwrap().to_owned());
    }
    assert!(several > 20 && times.is_sorted(), "{several} {times:?}");
    scene.finish().await;
}

#[tokio::test]
async fn heartbeats_tell_the_last_trade_and_never_one_that_was_not_told() {
    let scene = start(options()).await;
    let mut coinbase = Coinbase::connect(&scene.sim).await;
    coinbase.subscribe(&["heartbeat", "matches"], "BTC-USD").await;
    let (mut last, mut sequence, mut beats) = (0, 0, 0);
    while beats < 3 {
        let message = coinbase.next_of(&["heartbeat", "match", "last_match"]).await;
        if message["type"] == "heartbeat" {
            assert_eq!(message["last_trade_id"].as_u64().unwrap(), last, "{message}");
            assert!(message["sequence"].as_u64().unwrap() >= sequence, "{message}");
            beats += 1;
        } else {
            last = id(&message);
        }
        sequence = message["sequence"].as_u64().unwrap();
    }
    scene.finish().await;
}

#[tokio::test]
async fn the_status_has_all_products_and_currencies() {
    let scene = start(options()).await;
    let mut coinbase = Coinbase::connect(&scene.sim).await;
    let reply = coinbase.ask(r#"{"type":"subscribe","channels":[{"name":"status"}]}"#).await;
    assert_eq!(reply, r#"{"type":"subscriptions","channels":[{"name":"status","product_ids":[],"account_ids":null}]}"#);
    let status = coinbase.next_of(&["status"]).await;
    let ids = |key: &str| status[key].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!((ids("products"), ids("currencies")), (vec!["BTC-USD", "ETH-USD"], vec!["BTC", "ETH", "USD"]));
    scene.finish().await;
}

#[tokio::test]
async fn a_connection_that_does_not_subscribe_is_closed_and_one_that_does_lives() {
    let scene = start(rules("subscribe=0.4")).await;
    let mut quiet = Client::connect(&scene.sim, "/").await;
    let mut coinbase = Coinbase::connect(&scene.sim).await;
    coinbase.subscribe(&["heartbeat"], "BTC-USD").await;
    coinbase.unsubscribe("heartbeat", "BTC-USD").await;
    assert_eq!(quiet.end().await, End::Clean("no subscribe message within 400ms".into()));
    tokio::time::sleep(Duration::from_millis(300)).await;
    coinbase.subscribe(&["matches"], "BTC-USD").await;
    coinbase.next_of(&["match"]).await;
    scene.finish().await;
}

#[tokio::test]
async fn connections_and_subscriptions_are_limited_and_ends_are_not_announced() {
    let scene = start(rules("connects=3,window=5,subscriptions=2")).await;
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(Coinbase::connect(&scene.sim).await);
    }
    let third = Client::try_connect(&scene.sim, "/").await.err();
    assert!(third.is_some_and(|error| error.to_string().contains("429")));
    let command = json!({"type": "subscribe", "product_ids": ["BTC-USD"], "channels": ["matches"]}).to_string();
    for (n, coinbase) in all.iter_mut().enumerate() {
        let reply = coinbase.ask(&command).await;
        assert_eq!(reply.contains("Too many subscriptions of matches:BTC-USD"), n == 2, "{reply}");
    }
    scene.sim.faults().inject(Fault::Shutdown { ms: 200 }).await.unwrap();
    assert!(matches!(all[0].client.end().await, End::Clean(_)));
    let records = scene.finish().await;
    assert!(records.iter().any(|r| matches!(r, LedgerRecord::Received { raw, .. } if *raw == command)));
    assert!(!records.iter().any(|r| matches!(r, LedgerRecord::Frame { raw, .. } if raw.contains("shut"))));
}
