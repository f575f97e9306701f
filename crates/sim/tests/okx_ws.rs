//! The simulated OKX over its WebSocket: commands, channels, and the market that is the same as over REST.

mod common;

use std::time::{Duration, Instant};

use common::okx::{Applied, Book, Okx, options, rules};
use common::{Client, End, get, start};
use dccd_sim::LedgerRecord;
use serde_json::{Value, json};

async fn data(scene: &common::Scene, target: &str) -> Value {
    let body = get(&scene.sim, &format!("/api/v5/{target}")).await.json();
    assert_eq!(body["code"], "0", "{target}: {body}");
    body["data"].clone()
}

fn number(value: &Value) -> f64 {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn commands_are_answered_as_the_exchange_answers_them() {
    let scene = start(options()).await;
    let mut okx = Okx::connect(&scene.sim, "public").await;
    assert_eq!(okx.ask("ping").await, "pong");
    let reply = okx.ask(r#"{"id":"7","op":"subscribe","args":[{"channel":"trades","instId":"BTC-USDT"}]}"#).await;
    let (head, conn_id) = reply.split_once(r#","connId":""#).unwrap();
    assert_eq!(head, r#"{"id":"7","event":"subscribe","arg":{"channel":"trades","instId":"BTC-USDT"}"#);
    assert_eq!(conn_id.len(), "a4d3ae55\"}".len());
    for (channel, id) in
        [("candle1m", "BTC-USDT"), ("trades-all", "BTC-USDT"), ("books", "NO-PAIR"), ("books-l2-tbt", "BTC-USDT")]
    {
        let reply = okx.ask(&json!({"op": "subscribe", "args": [{"channel": channel, "instId": id}]}).to_string()).await;
        let message = format!("wrong URL or channel:{channel},instId:{id} doesn't exist.");
        assert!(reply.starts_with(r#"{"event":"error","msg":"#) && reply.contains(&message), "{reply}");
        assert!(reply.contains(r#","code":"60018","connId":""#), "{reply}");
    }
    for bad in
        ["pong?", "[]", r#"{"op":"fly"}"#, r#"{"op":"subscribe"}"#, r#"{"op":"subscribe","args":[{"instId":"BTC-USDT"}]}"#]
    {
        let reply: Value = serde_json::from_str(&okx.ask(bad).await).unwrap();
        assert_eq!((&reply["code"], &reply["msg"]), (&json!("60012"), &json!(format!("Invalid request: {bad}"))));
    }
    let gone = okx.ask(r#"{"op":"unsubscribe","args":[{"channel":"trades","instId":"BTC-USDT"}]}"#).await;
    assert!(
        gone.starts_with(r#"{"event":"unsubscribe","arg":{"channel":"trades","instId":"BTC-USDT"},"connId":""#),
        "{gone}"
    );
    let mut business = Okx::connect(&scene.sim, "business").await;
    business.subscribe("candle1m", "BTC-USDT").await;
    let reply = business.ask(r#"{"op":"subscribe","args":[{"channel":"books","instId":"BTC-USDT"}]}"#).await;
    assert!(reply.contains("60018"), "{reply}");
    scene.finish().await;
}

#[tokio::test]
async fn each_trade_over_the_socket_is_the_one_over_rest() {
    let scene = start(options()).await;
    for id in ["BTC-USDT", "BTC-USDT-SWAP"] {
        let mut okx = Okx::connect(&scene.sim, "business").await;
        okx.subscribe("trades-all", id).await;
        let mut sent = Vec::new();
        while sent.len() < 150 {
            sent.push(okx.next_of("trades-all").await.0["data"][0].clone());
        }
        let ids: Vec<u64> = sent.iter().map(|row| row["tradeId"].as_str().unwrap().parse().unwrap()).collect();
        assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "{ids:?}");
        let mut rows = Vec::new();
        let mut after = ids.last().unwrap() + 1;
        while after > ids[0] {
            let page = data(&scene, &format!("market/history-trades?instId={id}&after={after}&limit=60")).await;
            rows.extend(page.as_array().unwrap().iter().cloned());
            after = rows.last().unwrap()["tradeId"].as_str().unwrap().parse().unwrap();
        }
        rows.truncate(sent.len());
        rows.reverse();
        for (ours, theirs) in sent.iter().zip(&rows) {
            assert!(
                ["instId", "tradeId", "px", "sz", "side", "ts"].iter().all(|key| ours[key] == theirs[key]),
                "{ours} {theirs}"
            );
        }
    }
    scene.finish().await;
}

#[tokio::test]
async fn trades_of_one_order_come_as_one_with_the_last_ones_id() {
    let scene = start(options()).await;
    let mut okx = Okx::connect(&scene.sim, "public").await;
    okx.subscribe("trades", "BTC-USDT-SWAP").await;
    let (mut next, mut several) = (0, 0);
    for _ in 0..80 {
        let row = okx.next_of("trades").await.0["data"][0].clone();
        let whole = |key: &str| row[key].as_str().unwrap().parse::<u64>().unwrap();
        let (last, count) = (whole("tradeId"), whole("count"));
        assert!(next == 0 || last + 1 - count == next, "{row} after {next}");
        next = last + 1;
        several += usize::from(count > 1);
        let page = data(&scene, &format!("market/history-trades?instId=BTC-USDT-SWAP&after={next}&limit={count}")).await;
        let rows = page.as_array().unwrap();
        let sum: f64 = rows.iter().map(|row| number(&row["sz"])).sum();
        assert!((sum - number(&row["sz"])).abs() < 1e-9 && rows.iter().all(|one| one["px"] == row["px"]), "{row} {page}");
    }
    assert!(several > 5, "{several}");
    scene.finish().await;
}

#[tokio::test]
async fn a_book_followed_by_its_numbers_is_the_exchanges_own() {
    let scene = start(rules("checksum=true")).await;
    for id in ["BTC-USDT", "BTC-USDT-SWAP"] {
        let mut okx = Okx::connect(&scene.sim, "public").await;
        okx.subscribe("books", id).await;
        let mut book = Book::default();
        assert_eq!(book.apply(&okx.next_of("books").await.0), Applied::Fits);
        while book.updates < 40 {
            assert_eq!(book.apply(&okx.next_of("books").await.0), Applied::Fits);
            assert!(book.is_right(), "after {} updates", book.updates);
        }
        // REST shows the book as an update left it, with that update's number.
        scene.sim.pause().await.unwrap();
        let told = loop {
            let told = data(&scene, &format!("market/books?instId={id}&sz=400")).await[0].clone();
            while told["seqId"].as_i64().unwrap() > book.seq {
                assert_eq!(book.apply(&okx.next_of("books").await.0), Applied::Fits);
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
            if data(&scene, &format!("market/books?instId={id}&sz=400")).await[0]["seqId"] == told["seqId"] {
                break told;
            }
        };
        assert_eq!(told["seqId"], book.seq);
        for (name, is_bid) in [("bids", true), ("asks", false)] {
            let rows = told[name].as_array().unwrap();
            let rows: Vec<_> = rows.iter().map(|row| [0, 1].map(|at| row[at].as_str().unwrap().to_owned())).collect();
            assert!(rows.len() > 300 && rows == book.side(is_bid), "{} levels", rows.len());
        }
        scene.sim.resume().await.unwrap();
    }
    scene.finish().await;
}

#[tokio::test]
async fn the_checksum_is_0_as_in_production_unless_told() {
    let scene = start(options()).await;
    let mut okx = Okx::connect(&scene.sim, "public").await;
    okx.subscribe("books", "BTC-USDT").await;
    for _ in 0..5 {
        let (message, text) = okx.next_of("books").await;
        assert_eq!(message["data"][0]["checksum"], 0);
        assert!(text.contains(r#""checksum":0,"seqId":"#), "{text}");
    }
    scene.finish().await;
}

#[tokio::test]
async fn without_a_snapshot_the_book_begins_over_rest() {
    let scene = start(rules("snapshot=false")).await;
    let mut okx = Okx::connect(&scene.sim, "public").await;
    okx.subscribe("books", "BTC-USDT").await;
    let mut book = Book::default();
    let first = okx.next_of("books").await.0;
    assert_eq!(first["action"], "update");
    let told = data(&scene, "market/books?instId=BTC-USDT&sz=400").await[0].clone();
    book.set(&told);
    book.seq = told["seqId"].as_i64().unwrap();
    // Updates that the answer holds already are passed over.
    while book.updates < 20 {
        let message = okx.next_of("books").await.0;
        assert_eq!(message["action"], "update");
        if message["data"][0]["seqId"].as_i64().unwrap() > book.seq {
            assert_eq!(book.apply(&message), Applied::Fits);
        }
    }
    scene.finish().await;
}

#[tokio::test]
async fn a_quiet_book_says_that_it_is_alive_and_a_quiet_connection_is_closed() {
    let scene = start(rules("keepalive=0.4,idle=1")).await;
    let mut okx = Okx::connect(&scene.sim, "public").await;
    okx.subscribe("books", "BTC-USDT").await;
    let mut book = Book::default();
    scene.sim.pause().await.unwrap();
    book.apply(&okx.next_of("books").await.0);
    let mut alive = 0;
    let began = Instant::now();
    while alive < 4 {
        alive += usize::from(book.apply(&okx.next_of("books").await.0) == Applied::Alive);
    }
    assert!(began.elapsed() > Duration::from_millis(1_100));
    // One that pings lives; one that has nothing to hear and says nothing does not.
    let mut quiet = Client::connect(&scene.sim, "/ws/v5/public").await;
    let mut pinging = Okx::connect(&scene.sim, "business").await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(pinging.ask("ping").await, "pong");
    }
    assert_eq!(quiet.end().await, End::Clean("No data received in 1s".into()));
    scene.finish().await;
}

#[tokio::test]
async fn best_prices_tickers_and_five_levels_agree_with_themselves() {
    let scene = start(options()).await;
    let mut okx = Okx::connect(&scene.sim, "public").await;
    for channel in ["bbo-tbt", "tickers", "books5"] {
        okx.subscribe(channel, "BTC-USDT-SWAP").await;
    }
    let mut seen = [0; 3];
    while seen.iter().any(|count| *count < 10) {
        let text = okx.next_text().await.unwrap();
        let message: Value = serde_json::from_str(&text).unwrap();
        let row = &message["data"][0];
        match message["arg"]["channel"].as_str().unwrap() {
            "bbo-tbt" => {
                seen[0] += 1;
                assert!(number(&row["bids"][0][0]) < number(&row["asks"][0][0]), "{text}");
            }
            "tickers" => {
                seen[1] += 1;
                let [bid, ask, last, high, low, turnover, volume] =
                    ["bidPx", "askPx", "last", "high24h", "low24h", "volCcy24h", "vol24h"].map(|key| number(&row[key]));
                assert!(bid < ask && low <= last && last <= high, "{text}");
                // Contracts of a hundredth.
                assert!((turnover - volume / 100.0).abs() < 1e-6 && row["instType"] == "SWAP", "{text}");
            }
            _ => {
                seen[2] += 1;
                assert!(row["asks"].as_array().unwrap().len() == 5 && row["instId"] == "BTC-USDT-SWAP", "{text}");
            }
        }
    }
    scene.finish().await;
}

#[tokio::test]
async fn an_open_candle_grows_and_is_the_one_over_rest() {
    let scene = start(options()).await;
    let mut okx = Okx::connect(&scene.sim, "business").await;
    okx.subscribe("candle1m", "BTC-USDT").await;
    okx.subscribe("candle1Dutc", "BTC-USDT").await;
    let day = okx.next_of("candle1Dutc").await.0["data"][0].clone();
    let (mut volume, mut open) = (0.0, Value::Null);
    for _ in 0..4 {
        let row = okx.next_of("candle1m").await.0["data"][0].clone();
        if row[0] != open {
            (open, volume) = (row[0].clone(), 0.0);
        }
        assert!(number(&row[5]) >= volume, "{row}");
        volume = number(&row[5]);
    }
    let later = okx.next_of("candle1Dutc").await.0["data"][0].clone();
    assert!(later[0] != day[0] || number(&later[5]) > number(&day[5]), "{day} {later}");
    scene.sim.pause().await.unwrap();
    let rest = data(&scene, "market/candles?instId=BTC-USDT&bar=1m&limit=2").await;
    let same = rest.as_array().unwrap().iter().find(|row| row[0] == open).unwrap();
    assert!(number(&same[5]) >= volume, "{rest}");
    scene.finish().await;
}

#[tokio::test]
async fn connections_are_told_of_their_end_and_limited_in_number_and_commands() {
    let scene = start(rules("connects=2,window=5,commands=3")).await;
    let mut okx = Okx::connect(&scene.sim, "public").await;
    let subscribe = r#"{"op":"subscribe","args":[{"channel":"tickers","instId":"BTC-USDT"}]}"#;
    for expected in [true, true, true, false] {
        let reply = okx.ask(subscribe).await;
        assert_eq!(reply.contains(r#""event":"subscribe""#), expected, "{reply}");
        assert_eq!(reply.contains(r#""code":"60014""#), !expected, "{reply}");
    }
    let _other = Okx::connect(&scene.sim, "public").await;
    let third = Client::try_connect(&scene.sim, "/ws/v5/public").await.err();
    assert!(third.is_some_and(|error| error.to_string().contains("429")));
    scene.sim.faults().inject(dccd_sim::Fault::Shutdown { ms: 300 }).await.unwrap();
    let notice = loop {
        let text = okx.next_text().await.unwrap();
        if text.contains("notice") {
            break text;
        }
    };
    assert!(notice.starts_with(r#"{"event":"notice","code":"64008","msg":"The connection will soon be closed"#), "{notice}");
    assert!(matches!(okx.client.end().await, End::Clean(_)));
    let records = scene.finish().await;
    assert!(records.iter().any(|r| matches!(r, LedgerRecord::Received { raw, .. } if raw == subscribe)));
}
