//! Streams of the simulated Binance's perpetuals: routes, forms, books that link, and limits.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::usdm::{Applied, Book, e8, follow, options};
use common::{Client, End, get, start};
use dccd_sim::{LedgerRecord, Limits, MarketOptions, SimOptions, UsdmOptions};
use serde_json::{Value, json};

const PERPETUAL: &str = "BTC/USDT:USDT";

#[tokio::test]
async fn trades_are_contiguous_and_those_of_spot_are_others() {
    let scene = start(options()).await;
    let mut market = Client::connect(&scene.sim, "/market/stream").await;
    let mut public = Client::connect(&scene.sim, "/public/stream?streams=btcusdt@trade").await;
    let mut spot = Client::connect(&scene.sim, "/stream").await;
    market.subscribe(&["btcusdt@aggTrade"]).await;
    spot.subscribe(&["btcusdt@aggTrade"]).await;
    let (mut last, mut traded) = (0, 0);
    for _ in 0..40 {
        let frame = market.next_json().await;
        let data = &frame["data"];
        assert_eq!(frame["stream"], "btcusdt@aggTrade");
        let id = data["a"].as_u64().unwrap();
        assert!(last == 0 || id == last + 1, "{last} {id}");
        let (first, through) = (data["f"].as_u64().unwrap(), data["l"].as_u64().unwrap());
        assert!(traded == 0 || first == traded + 1, "{data}");
        (last, traded) = (id, through);
        assert_eq!((&data["s"], &data["st"], &data["nq"]), (&json!("BTCUSDT"), &json!(1), &data["q"]));
        assert_eq!(data["p"].as_str().unwrap().split_once('.').unwrap().1.len(), 2);
        assert_eq!(data["q"].as_str().unwrap().split_once('.').unwrap().1.len(), 3);
    }
    let mut single = 0;
    for _ in 0..40 {
        let data = public.next_json().await["data"].clone();
        let id = data["t"].as_u64().unwrap();
        assert!(single == 0 || id == single + 1);
        single = id;
    }
    // Spot keeps its own form and its own trades.
    let data = spot.next_json().await["data"].clone();
    assert_eq!((data["p"].as_str().unwrap().split_once('.').unwrap().1.len(), &data["M"]), (8, &json!(true)));
    assert!(data.get("st").is_none() && data.get("nq").is_none());
    assert!(data["a"].as_u64().unwrap().abs_diff(last) > 100_000);
    let ledger = scene.finish().await;
    let frames =
        |name: &str| ledger.iter().filter(|r| matches!(r, LedgerRecord::Frame { stream, .. } if stream == name)).count();
    assert!(frames("usdm:btcusdt@aggTrade") >= 40 && frames("usdm:btcusdt@trade") >= 40 && frames("btcusdt@aggTrade") > 0);
}

#[tokio::test]
async fn a_snapshot_and_the_diffs_rebuild_the_book_at_each_pace() {
    let scene = start(options()).await;
    let mut followed = Vec::new();
    for stream in ["btcusdt@depth@0ms", "btcusdt@depth@100ms", "btcusdt@depth", "btcusdt@depth@500ms"] {
        followed.push(follow(&scene.sim, "BTCUSDT", stream).await);
    }
    let mut holes = 0;
    for (client, book) in &mut followed {
        for _ in 0..5 {
            let event = client.next_json().await;
            assert_eq!((&event["e"], &event["ps"], &event["st"]), (&json!("depthUpdate"), &json!("BTCUSDT"), &json!(1)));
            holes += u64::from(event["U"].as_u64().unwrap() > event["pu"].as_u64().unwrap() + 1);
            assert_ne!(book.apply(&event), Applied::Gap, "{event}");
        }
    }
    assert!(holes > 0, "numbers follow each other without holes, as the exchange's don't");
    scene.sim.pause().await.unwrap();
    let exact = scene.sim.book(PERPETUAL).await.unwrap().unwrap();
    let told = Book::fetch(&scene.sim, "BTCUSDT").await;
    assert_eq!(told.last, exact.update_id);
    let levels = |side: &[(dccd_model::Decimal, dccd_model::Decimal)]| {
        let e8 = |d: &dccd_model::Decimal| e8(&json!(d.to_string()));
        side.iter().map(|(p, a)| (e8(p), e8(a))).collect::<Vec<_>>()
    };
    for (client, book) in &mut followed {
        while book.last < exact.update_id {
            assert_eq!(book.apply(&client.next_json().await), Applied::Yes);
        }
        assert_eq!(book.last, exact.update_id);
        assert_eq!(book.sides(), [levels(&exact.bids), levels(&exact.asks)]);
    }
    scene.finish().await;
}

#[tokio::test]
async fn a_stream_on_the_wrong_route_is_acknowledged_and_silent() {
    let scene = start(options()).await;
    let mut public = Client::connect(&scene.sim, "/public/ws").await;
    let mut market = Client::connect(&scene.sim, "/market/ws").await;
    let mut spot = Client::connect(&scene.sim, "/ws").await;
    public.subscribe(&["ethusdt@aggTrade", "ethusdt@markPrice@1s", "ethusdt@kline_1m"]).await;
    market.subscribe(&["ethusdt@depth@100ms", "ethusdt@bookTicker", "ethusdt@trade"]).await;
    // Without a route it is spot, where there is no such market.
    spot.subscribe(&["ethusdt@depth@100ms", "ethusdt@aggTrade"]).await;
    for client in [&mut public, &mut market, &mut spot] {
        let waited = tokio::time::timeout(Duration::from_millis(700), client.next()).await;
        assert!(waited.is_err(), "{waited:?}");
    }
    let (listed, _) = public.ask("LIST_SUBSCRIPTIONS", Value::Null).await;
    assert_eq!(listed["result"], json!(["ethusdt@aggTrade", "ethusdt@kline_1m", "ethusdt@markPrice@1s"]));
    public.subscribe(&["ethusdt@bookTicker"]).await;
    assert_eq!(public.next_json().await["e"], "bookTicker");
    let (ended, _) = public.ask("UNSUBSCRIBE", json!(["ethusdt@bookTicker"])).await;
    assert_eq!(ended["result"], Value::Null);
    let (listed, _) = public.ask("LIST_SUBSCRIPTIONS", Value::Null).await;
    assert_eq!(listed["result"].as_array().unwrap().len(), 3);
    scene.finish().await;
}

#[tokio::test]
async fn where_there_are_perpetuals_alone_the_old_address_carries_public_streams_alone() {
    let market = MarketOptions { symbols: vec![PERPETUAL.to_owned()], ..options().market };
    let scene = start(SimOptions { market, ..options() }).await;
    let mut client = Client::connect(&scene.sim, "/stream").await;
    let mut frames =
        client.subscribe(&["btcusdt@aggTrade", "btcusdt@markPrice", "btcusdt@bookTicker", "btcusdt@depth@100ms"]).await;
    while frames.len() < 100 {
        frames.push(client.next_text().await);
    }
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for frame in &frames {
        let frame: Value = serde_json::from_str(frame).unwrap();
        *seen.entry(frame["stream"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["btcusdt@bookTicker", "btcusdt@depth@100ms"]);
    scene.finish().await;
}

#[tokio::test]
async fn marks_tickers_candles_and_best_levels_come() {
    let scene = start(options()).await;
    let mut client = Client::connect(&scene.sim, "/market/stream").await;
    let wanted = ["btcusdt@kline_1m", "btcusdt@markPrice", "btcusdt@markPrice@1s", "btcusdt@miniTicker", "btcusdt@ticker"];
    let mut frames = client.subscribe(&wanted).await;
    client.subscribe(&["btcusdt@forceOrder"]).await;
    let mut seen: BTreeMap<String, Value> = BTreeMap::new();
    while seen.len() < wanted.len() {
        let text = if frames.is_empty() { client.next_text().await } else { frames.remove(0) };
        let frame: Value = serde_json::from_str(&text).unwrap();
        seen.insert(frame["stream"].as_str().unwrap().to_owned(), frame["data"].clone());
    }
    assert_eq!(seen.keys().collect::<Vec<_>>(), wanted);
    let kline = &seen["btcusdt@kline_1m"]["k"];
    assert_eq!((kline["i"].as_str(), kline["T"].as_i64().unwrap() - kline["t"].as_i64().unwrap()), (Some("1m"), 59_999));
    let mark = &seen["btcusdt@markPrice@1s"];
    assert!((e8(&mark["p"]) - e8(&mark["i"])).abs() * 500 < e8(&mark["p"]), "{mark}");
    assert_eq!(mark["T"].as_i64().unwrap() % 28_800_000, 0);
    let premium = get(&scene.sim, "/fapi/v1/premiumIndex?symbol=BTCUSDT").await.json();
    assert_eq!((&premium["nextFundingTime"], &premium["lastFundingRate"]), (&mark["T"], &mark["r"]));
    let mut public = Client::connect(&scene.sim, "/public/ws/btcusdt@depth5@100ms").await;
    let mut last = 0;
    for _ in 0..4 {
        let best = public.next_json().await;
        assert_eq!((best["b"].as_array().unwrap().len(), best["a"].as_array().unwrap().len()), (5, 5));
        assert!(last == 0 || best["pu"] == json!(last));
        last = best["u"].as_u64().unwrap();
    }
    scene.finish().await;
}

#[tokio::test]
async fn each_side_has_its_own_limits() {
    let usdm = UsdmOptions { streams_per_connection: 2, client_messages_per_second: 6, ..UsdmOptions::default() };
    let limits = Limits { client_messages_per_second: 3, ..Limits::default() };
    let scene = start(SimOptions { usdm, limits, ..options() }).await;
    let mut client = Client::connect(&scene.sim, "/market/ws").await;
    let (refused, _) = client.ask("SUBSCRIBE", json!(["a@ticker", "b@ticker", "c@ticker"])).await;
    assert_eq!(refused["error"]["code"], 2, "{refused}");
    let mut spot = Client::connect(&scene.sim, "/ws").await;
    spot.subscribe(&["a@trade", "b@trade", "c@trade"]).await;
    let mut too_many = Client::connect(&scene.sim, "/market/stream?streams=a@ticker/b@ticker/c@ticker").await;
    assert!(matches!(too_many.end().await, End::Clean(why) if why.contains("2 streams")));
    let mut busy = Client::connect(&scene.sim, "/public/ws").await;
    for _ in 0..5 {
        busy.ask("LIST_SUBSCRIPTIONS", Value::Null).await;
    }
    for _ in 0..30 {
        busy.send(r#"{"method":"LIST_SUBSCRIPTIONS","id":1}"#).await;
    }
    assert_eq!(busy.end().await, End::Reset);
    scene.finish().await;
}

#[tokio::test]
async fn a_silent_client_is_pinged_and_dropped_at_the_perpetuals_pace() {
    let usdm = UsdmOptions {
        ping_interval: Duration::from_millis(100),
        pong_timeout: Duration::from_millis(300),
        ..UsdmOptions::default()
    };
    let scene = start(SimOptions { usdm, ..options() }).await;
    let mut quiet = tokio::net::TcpStream::connect(scene.sim.address()).await.unwrap();
    let request = "GET /market/ws HTTP/1.1\r\nhost: sim\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut quiet, request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut quiet, &mut bytes).await;
    let endings: Vec<_> = scene.ledger().await.into_iter().filter(|r| matches!(r, LedgerRecord::Closed { .. })).collect();
    assert!(matches!(&endings[..], [LedgerRecord::Closed { reason, .. }] if reason.contains("no pong")), "{endings:?}");
    scene.finish().await;
}
