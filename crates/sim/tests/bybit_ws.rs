//! The simulated Bybit's WebSockets: what is acknowledged and refused, and what each topic tells.

mod common;

use std::time::{Duration, Instant};

use common::bybit::{Book, Bybit, e8, options};
use common::{Client, End, get, start};
use dccd_sim::{BybitOptions, MarketOptions, SimHandle, SimOptions};
use serde_json::{Value, json};

/// A reply with its connection's name taken out.
fn without_conn_id(reply: &str) -> String {
    let (before, rest) = reply.split_once("\"conn_id\":\"").unwrap();
    let (conn_id, after) = rest.split_once('"').unwrap();
    assert_eq!((conn_id.len(), conn_id.find('-')), (26, Some(20)), "{reply}");
    format!("{before}\"conn_id\":\"\"{after}")
}

#[tokio::test]
async fn each_request_is_answered_in_its_category_s_words() {
    let scene = start(options()).await;
    let eleven = json!({"op": "subscribe", "args": vec!["publicTrade.BTCUSDT"; 11]}).to_string();
    let ack = r#"{"op":"subscribe","args":["publicTrade.BTCUSDT","orderbook.50.BTCUSDT"]}"#;
    let again = r#"{"req_id":"a","op":"subscribe","args":["tickers.BTCUSDT","publicTrade.BTCUSDT"]}"#;
    let spot = [
        (r#"{"op":"ping"}"#, r#"{"success":true,"ret_msg":"pong","conn_id":"","op":"ping"}"#),
        (r#"{"req_id":"1","op":"ping"}"#, r#"{"success":true,"ret_msg":"pong","conn_id":"","req_id":"1","op":"ping"}"#),
        (ack, r#"{"success":true,"ret_msg":"subscribe","conn_id":"","op":"subscribe"}"#),
        (
            again,
            r#"{"success":false,"ret_msg":"error:already subscribed,topic:publicTrade.BTCUSDT","conn_id":"","req_id":"a","op":"subscribe"}"#,
        ),
        (&eleven, r#"{"success":false,"ret_msg":"args size >10","conn_id":"","op":"subscribe"}"#),
        (
            r#"{"op":"subscribe","args":["tickers.NOPEUSDT"]}"#,
            r#"{"success":false,"ret_msg":"Invalid symbol :[tickers.NOPEUSDT]","conn_id":"","op":"subscribe"}"#,
        ),
        (
            r#"{"op":"subscribe","args":["orderbook.30.BTCUSDT"]}"#,
            r#"{"success":false,"ret_msg":"Invalid topic: orderbook.30.BTCUSDT","conn_id":"","op":"subscribe"}"#,
        ),
        (
            r#"{"op":"unsubscribe","args":["publicTrade.BTCUSDT"]}"#,
            r#"{"success":true,"ret_msg":"unsubscribe","conn_id":"","op":"unsubscribe"}"#,
        ),
    ];
    let linear = [
        (r#"{"op":"ping"}"#, r#"{"success":true,"ret_msg":"pong","conn_id":"","req_id":"","op":"ping"}"#),
        (r#"{"req_id":3,"op":"ping"}"#, r#"{"success":true,"ret_msg":"pong","conn_id":"","req_id":"3","op":"ping"}"#),
        (ack, r#"{"success":true,"ret_msg":"","conn_id":"","req_id":"","op":"subscribe"}"#),
        (
            again,
            r#"{"success":false,"ret_msg":"error:already subscribed,topic:publicTrade.BTCUSDT","conn_id":"","req_id":"a","op":"subscribe"}"#,
        ),
        // One topic that is not there takes all of its request along; no market of spot alone is there.
        (
            r#"{"op":"subscribe","args":["tickers.BTCUSDT","tickers.ETHUSDT"]}"#,
            r#"{"success":false,"ret_msg":"error:handler not found,topic:tickers.ETHUSDT","conn_id":"","req_id":"","op":"subscribe"}"#,
        ),
        (
            r#"{"op":"subscribe","args":["tickers.BTCUSDT"]}"#,
            r#"{"success":true,"ret_msg":"","conn_id":"","req_id":"","op":"subscribe"}"#,
        ),
        (r#"{"op":"nope"}"#, r#"{"success":false,"ret_msg":"error:invalid op","conn_id":"","req_id":"","op":"nope"}"#),
        (
            r#"{"op":"unsubscribe","args":["publicTrade.BTCUSDT"]}"#,
            r#"{"success":true,"ret_msg":"","conn_id":"","req_id":"","op":"unsubscribe"}"#,
        ),
    ];
    for (category, asked) in [("spot", spot), ("linear", linear)] {
        let mut bybit = Bybit::connect(&scene.sim, category).await;
        for (request, reply) in asked {
            assert_eq!(without_conn_id(&bybit.ask_text(request).await), reply, "{category} {request}");
        }
        // Not JSON at all: the connection goes on.
        let reply = bybit.ask_text("hello").await;
        assert!(reply.contains("Failed to decode incoming data:readObjectStart: expect { or n, but found h"), "{reply}");
        bybit.ask_text(r#"{"op":"ping"}"#).await;
    }
    scene.finish().await;
}

#[tokio::test]
async fn many_topics_are_refused_together_and_taken_one_by_one_up_to_the_characters_of_a_connection() {
    let bybit: BybitOptions = "args=40".parse().unwrap();
    let scene = start(SimOptions { bybit, ..options() }).await;
    let mut bybit = Bybit::connect(&scene.sim, "linear").await;
    bybit.subscribe(&["publicTrade.BTCUSDT", "kline.1.BTCUSDT"]).await;
    assert_eq!(bybit.ask("subscribe", &["tickers.BTCUSDT"]).await["success"], json!(false));
    bybit.ask("unsubscribe", &["kline.1.BTCUSDT"]).await;
    bybit.subscribe(&["tickers.BTCUSDT"]).await;
    scene.finish().await;
}

/// The book of the exchange itself, so deep.
async fn exact(sim: &SimHandle, symbol: &str, depth: usize) -> [Vec<(i64, i64)>; 2] {
    let book = sim.book(symbol).await.unwrap().unwrap();
    [book.bids, book.asks].map(|side| {
        let level = |(price, amount): &(dccd_model::Decimal, dccd_model::Decimal)| (price.mantissa, amount.mantissa);
        side.iter().take(depth).map(level).collect()
    })
}

#[tokio::test]
async fn books_of_each_depth_follow_number_by_number_and_are_the_exchange_s_own() {
    let scene = start(options()).await;
    for (category, symbol) in [("spot", "BTC/USDT"), ("linear", "BTC/USDT:USDT")] {
        let mut bybit = Bybit::connect(&scene.sim, category).await;
        let depths = [50, 200, 1_000];
        let topics = depths.map(|depth| format!("orderbook.{depth}.BTCUSDT"));
        bybit.subscribe(&topics.each_ref().map(String::as_str)).await;
        let mut books = [Book::default(), Book::default(), Book::default()];
        let mut told = [0; 3];
        let mut seq = [0; 3];
        let mut paused_at: Option<Instant> = None;
        while paused_at.is_none_or(|at| at.elapsed() < Duration::from_millis(700)) {
            if paused_at.is_none() && told.iter().min() >= Some(&8) {
                scene.sim.pause().await.unwrap();
                paused_at = Some(Instant::now());
            }
            let next = tokio::time::timeout(Duration::from_millis(200), bybit.next_text()).await;
            let Ok(text) = next else { continue };
            let message: Value = serde_json::from_str(&text.unwrap()).unwrap();
            let Some(at) = topics.iter().position(|topic| message["topic"] == topic.as_str()) else { continue };
            assert_eq!(message["type"], if told[at] == 0 { "snapshot" } else { "delta" });
            assert!(books[at].apply(&message), "{message}");
            assert!(books[at].seq > seq[at] && message["ts"].as_i64() >= message["cts"].as_i64(), "{message}");
            seq[at] = books[at].seq;
            told[at] += 1;
            let sides = books[at].sides();
            assert_eq!(sides.each_ref().map(Vec::len), [depths[at]; 2]);
        }
        for (book, depth) in books.iter().zip(depths) {
            assert_eq!(book.sides(), exact(&scene.sim, symbol, depth).await, "{symbol} {depth}");
        }
        // What REST gives has the number of the deepest topic.
        let rest =
            get(&scene.sim, &format!("/v5/market/orderbook?category={category}&symbol=BTCUSDT&limit=1000")).await.json();
        let (told, number) = (rest["result"]["u"].as_u64(), Some(books[2].u));
        assert_eq!(told, number);
        let mut from_rest = Book::default();
        from_rest.apply(&json!({"type": "snapshot", "data": rest["result"]}));
        assert_eq!(from_rest.sides(), books[2].sides());
        scene.sim.resume().await.unwrap();
    }
    scene.finish().await;
}

#[tokio::test]
async fn best_prices_are_snapshots_alone_and_are_told_again_after_three_seconds() {
    let scene = start(options()).await;
    let mut bybit = Bybit::connect(&scene.sim, "linear").await;
    bybit.subscribe(&["orderbook.1.BTCUSDT"]).await;
    let mut last = bybit.next_of("orderbook.1.BTCUSDT").await;
    for _ in 0..30 {
        let next = bybit.next_of("orderbook.1.BTCUSDT").await;
        assert_eq!(next["type"], "snapshot");
        assert_eq!(next["data"]["u"].as_u64(), last["data"]["u"].as_u64().map(|u| u + 1));
        assert!(next["data"]["b"] != last["data"]["b"] || next["data"]["a"] != last["data"]["a"]);
        last = next;
    }
    scene.sim.pause().await.unwrap();
    let mut again = Vec::new();
    while again.len() < 2 {
        let next = bybit.next_of("orderbook.1.BTCUSDT").await;
        if next["data"] == last["data"] {
            assert!((3_000..3_500).contains(&(next["ts"].as_i64().unwrap() - last["ts"].as_i64().unwrap())));
            again.push(next.clone());
        }
        last = next;
    }
    assert_eq!(again[0]["data"]["u"], again[1]["data"]["u"]);
    scene.finish().await;
}

#[tokio::test]
async fn trades_are_counted_on_spot_and_rest_tells_the_same() {
    let scene = start(options()).await;
    for (category, count) in [("spot", 60), ("linear", 1_000)] {
        let mut bybit = Bybit::connect(&scene.sim, category).await;
        bybit.subscribe(&["publicTrade.BTCUSDT"]).await;
        let mut rows: Vec<Value> = Vec::new();
        while rows.len() < 30 {
            let message = bybit.next_of("publicTrade.BTCUSDT").await;
            let data = message["data"].as_array().unwrap();
            // The trades of an order share their number.
            assert!(data.iter().all(|row| row["seq"] == data[0]["seq"] && row["s"] == "BTCUSDT"));
            rows.extend(data.iter().cloned());
        }
        let seqs: Vec<_> = rows.iter().map(|row| row["seq"].as_u64().unwrap()).collect();
        assert!(seqs.is_sorted() && seqs[0] < seqs[29], "{seqs:?}");
        let page = get(&scene.sim, &format!("/v5/market/recent-trade?category={category}&symbol=BTCUSDT&limit=1000")).await;
        let told = page.json()["result"]["list"].as_array().unwrap().clone();
        assert_eq!(told.len(), count);
        let told_seqs: Vec<u64> = told.iter().rev().map(|row| row["seq"].as_str().unwrap().parse().unwrap()).collect();
        assert!(told_seqs.is_sorted(), "{told_seqs:?}");
        let mut met = 0;
        for row in &rows {
            let Some(same) = told.iter().find(|other| other["execId"] == row["i"]) else { continue };
            let of = |row: &Value, names: [&str; 3]| names.map(|name| row[name].clone());
            assert_eq!(of(same, ["price", "size", "side"]), of(row, ["p", "v", "S"]));
            assert_eq!(
                (same["time"].as_str(), same["seq"].as_str()),
                (Some(row["T"].to_string().as_str()), Some(row["seq"].to_string().as_str()))
            );
            met += 1;
        }
        assert!(met > 5, "{met}");
        if category == "spot" {
            let ids: Vec<u64> = rows.iter().map(|row| row["i"].as_str().unwrap().parse().unwrap()).collect();
            assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "{ids:?}");
        }
    }
    scene.finish().await;
}

#[tokio::test]
async fn a_linear_ticker_is_a_snapshot_and_what_differs_from_it() {
    let scene = start(options()).await;
    let mut bybit = Bybit::connect(&scene.sim, "linear").await;
    bybit.subscribe(&["tickers.BTCUSDT"]).await;
    let first = bybit.next_of("tickers.BTCUSDT").await;
    assert_eq!((first["type"].as_str(), first["data"].as_object().unwrap().len()), (Some("snapshot"), 27));
    let mut held = first["data"].clone();
    let mut deltas = 0;
    let mut paused_at: Option<Instant> = None;
    while paused_at.is_none_or(|at| at.elapsed() < Duration::from_millis(400)) {
        if deltas == 30 && paused_at.is_none() {
            scene.sim.pause().await.unwrap();
            paused_at = Some(Instant::now());
        }
        let Ok(text) = tokio::time::timeout(Duration::from_millis(200), bybit.next_text()).await else { continue };
        let message: Value = serde_json::from_str(&text.unwrap()).unwrap();
        let told = message["data"].as_object().unwrap();
        assert_eq!(message["type"], "delta");
        assert!(told.len() > 1 && told.len() < 27, "{message}");
        for (name, value) in told {
            held[name] = value.clone();
        }
        deltas += 1;
    }
    // Whoever comes later sees the same.
    let mut later = Bybit::connect(&scene.sim, "linear").await;
    later.subscribe(&["tickers.BTCUSDT"]).await;
    let shown = later.next_of("tickers.BTCUSDT").await["data"].clone();
    let rest = get(&scene.sim, "/v5/market/tickers?category=linear&symbol=BTCUSDT").await.json();
    let rest = &rest["result"]["list"][0];
    for name in [
        "lastPrice",
        "bid1Price",
        "bid1Size",
        "ask1Price",
        "ask1Size",
        "volume24h",
        "turnover24h",
        "highPrice24h",
        "prevPrice24h",
    ] {
        assert_eq!((&held[name], &held[name]), (&shown[name], &rest[name]), "{name}");
    }
    assert!(e8(&held["bid1Price"]) < e8(&held["ask1Price"]));
    scene.finish().await;
}

#[tokio::test]
async fn a_candle_is_told_as_it_grows_and_once_as_closed() {
    let scene = start(options()).await;
    let mut clients = Vec::new();
    for category in ["spot", "linear"] {
        let mut client = Client::connect(&scene.sim, &format!("/v5/public/{category}")).await;
        client.send(r#"{"op":"subscribe","args":["kline.1.BTCUSDT"]}"#).await;
        clients.push((category, client));
    }
    // A minute and a little at most.
    for (category, mut client) in clients {
        let (mut open, mut closed) = (0, None);
        while closed.is_none() {
            let message = client.next_json().await;
            for row in message["data"].as_array().into_iter().flatten() {
                assert_eq!(row["end"].as_i64().unwrap() - row["start"].as_i64().unwrap(), 59_999);
                if row["confirm"] == true {
                    closed = Some(row.clone());
                    // On linear the next one comes with it.
                    assert_eq!(message["data"].as_array().unwrap().len(), if category == "spot" { 1 } else { 2 });
                } else {
                    open += 1;
                }
            }
        }
        let closed = closed.unwrap();
        let target =
            format!("/v5/market/kline?category={category}&symbol=BTCUSDT&interval=1&end={}&limit=1", closed["start"]);
        let row = get(&scene.sim, &target).await.json()["result"]["list"][0].clone();
        assert_eq!(row[0].as_str(), Some(closed["start"].to_string().as_str()));
        for (at, name) in ["open", "high", "low", "close", "volume", "turnover"].into_iter().enumerate() {
            assert_eq!(row[at + 1], closed[name], "{category} {name}");
        }
        assert!(open > 0);
    }
    scene.finish().await;
}

#[tokio::test]
async fn silent_connections_are_closed_and_pings_keep_them() {
    let bybit: BybitOptions = "idle=0.6,connects=3,connect_window=60".parse().unwrap();
    let market = MarketOptions { trades_per_second: 0.0, book_updates_per_second: 0.0, ..options().market };
    let scene = start(SimOptions { bybit, market, ..options() }).await;
    let mut silent = Bybit::connect(&scene.sim, "spot").await;
    let mut awake = Bybit::connect(&scene.sim, "spot").await;
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        awake.ask_text(r#"{"op":"ping"}"#).await;
    }
    assert!(matches!(silent.client.end().await, End::Clean(_)));
    drop(Client::connect(&scene.sim, "/v5/public/linear").await);
    let refused = Client::try_connect(&scene.sim, "/v5/public/linear").await;
    assert!(refused.err().is_some_and(|error| error.to_string().contains("429")));
    scene.finish().await;
}
