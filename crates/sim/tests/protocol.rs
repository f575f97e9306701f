//! The socket's rules: commands and their errors, pings, limits, the end of a connection's life.

mod common;

use std::time::Duration;

use common::{Client, DEADLINE, End, limits, options, start};
use dccd_sim::{LedgerRecord, Limits, SimOptions};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

/// A market that says nothing by itself.
fn quiet(limits: Limits) -> SimOptions {
    let mut options = SimOptions { limits, ..options() };
    options.market.trades_per_second = 0.0;
    options.market.book_updates_per_second = 0.0;
    options
}

#[tokio::test]
async fn commands_are_answered_as_the_exchange_answers_them() {
    let scene = start(quiet(Limits { client_messages_per_second: 1_000, ..limits() })).await;
    let mut client = Client::connect(&scene.sim, "/ws/btcusdt@trade/nothing@trade").await;
    let (reply, _) = client.ask("LIST_SUBSCRIPTIONS", Value::Null).await;
    assert_eq!(reply["result"], json!(["btcusdt@trade", "nothing@trade"]));
    client.subscribe(&["ethusdt@depth@100ms", "btcusdt@trade"]).await;
    let (reply, _) = client.ask("UNSUBSCRIBE", json!(["btcusdt@trade", "never@trade"])).await;
    assert_eq!(reply, json!({"result": null, "id": 3}));
    let (reply, _) = client.ask("LIST_SUBSCRIPTIONS", Value::Null).await;
    assert_eq!(reply["result"], json!(["ethusdt@depth@100ms", "nothing@trade"]));
    let (reply, _) = client.ask("GET_PROPERTY", json!(["combined"])).await;
    assert_eq!(reply["result"], json!(false));
    let (reply, _) = client.ask("SET_PROPERTY", json!(["combined", true])).await;
    assert_eq!(reply["result"], Value::Null);
    let (reply, _) = client.ask("GET_PROPERTY", json!(["combined"])).await;
    assert_eq!(reply["result"], json!(true));

    for (request, code, message, id) in [
        ("nonsense", 3, "Invalid JSON: ", Value::Null),
        (r#"{"method":"SUBSCRIBE","params":["a@trade"],"#, 3, "Invalid JSON: ", Value::Null),
        (r#"{"params":["a@trade"],"id":7}"#, 2, "Invalid request: missing field `method`", json!(7)),
        (
            r#"{"method":"subscribe","id":8}"#,
            2,
            "Invalid request: unknown variant `subscribe`, expected one of `SUBSCRIBE`",
            json!(8),
        ),
        (r#"{"method":"SUBSCRIBE","params":[1],"id":9}"#, 2, "Invalid request: stream name must be a string", json!(9)),
        (r#"{"method":"SUBSCRIBE","id":9}"#, 2, "Invalid request: empty parameters", json!(9)),
        (
            r#"{"method":"SUBSCRIBE","params":["a@trade"],"id":-1}"#,
            2,
            "Invalid request: request ID must be an unsigned integer",
            Value::Null,
        ),
        (r#"{"method":"SET_PROPERTY","params":["combined",1],"id":1}"#, 1, "Invalid value type: expected Boolean", json!(1)),
        (r#"{"method":"SET_PROPERTY","params":["other",true],"id":1}"#, 0, "Unknown property", json!(1)),
    ] {
        client.send(request).await;
        let reply = client.next_json().await;
        assert_eq!((&reply["error"]["code"], &reply["id"]), (&json!(code), &id), "{request}: {reply}");
        assert!(reply["error"]["msg"].as_str().unwrap().starts_with(message), "{request}: {reply}");
    }
    let ledger = scene.finish().await;
    assert!(ledger.iter().any(|r| matches!(r, LedgerRecord::Received { raw, .. } if raw == "nonsense")));
}

#[tokio::test]
async fn a_connection_holds_so_many_streams_and_no_more() {
    let scene = start(quiet(Limits { streams_per_connection: 3, ..limits() })).await;
    let mut client = Client::connect(&scene.sim, "/stream").await;
    client.subscribe(&["btcusdt@trade", "btcusdt@depth"]).await;
    let (reply, _) = client.ask("SUBSCRIBE", json!(["ethusdt@trade", "ethusdt@depth"])).await;
    assert_eq!(reply["error"]["code"], 2, "{reply}");
    let (reply, _) = client.ask("LIST_SUBSCRIPTIONS", Value::Null).await;
    assert_eq!(reply["result"].as_array().unwrap().len(), 2, "a refused request subscribes to nothing");
    client.subscribe(&["btcusdt@trade", "ethusdt@trade"]).await;
    let mut more = Client::connect(&scene.sim, "/ws/a@trade/b@trade/c@trade/d@trade").await;
    assert!(matches!(more.end().await, End::Clean(_)));
    scene.finish().await;
}

#[tokio::test]
async fn too_many_messages_in_a_second_end_the_connection() {
    let scene = start(quiet(Limits { client_messages_per_second: 5, ..limits() })).await;
    let mut client = Client::connect(&scene.sim, "/ws").await;
    for i in 0..6 {
        // Pings count like commands.
        let message =
            if i % 2 == 0 { Message::Ping("x".into()) } else { Message::text(r#"{"method":"LIST_SUBSCRIPTIONS","id":1}"#) };
        client.socket.send(message).await.unwrap();
    }
    assert_eq!(client.end().await, End::Reset);
    let ledger = scene.finish().await;
    assert!(ledger.iter().any(|r| matches!(r, LedgerRecord::Closed { reason, .. } if reason.starts_with("more than 5"))));
}

#[tokio::test]
async fn an_address_may_connect_so_often_and_then_has_to_wait() {
    let scene = start(quiet(Limits { connects_per_window: 2, ..limits() })).await;
    let _first = Client::connect(&scene.sim, "/ws").await;
    let _second = Client::connect(&scene.sim, "/ws").await;
    match Client::try_connect(&scene.sim, "/ws").await.map(|_| ()) {
        Err(WsError::Http(response)) => {
            assert_eq!(response.status(), 429);
            let wait: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((290..=300).contains(&wait), "{wait}");
        }
        other => panic!("{other:?}"),
    }
    scene.finish().await;
}

#[tokio::test]
async fn pings_come_and_who_never_answers_is_dropped() {
    let limits = Limits {
        ping_interval: Duration::from_millis(200),
        pong_timeout: Duration::from_secs(2),
        client_messages_per_second: 1_000,
        ..limits()
    };
    let scene = start(quiet(limits)).await;
    let mut good = Client::connect(&scene.sim, "/ws").await;
    // This client answers pings while it is read; the other one is not read at all.
    let _bad = Client::connect(&scene.sim, "/ws").await;
    let mut pings = 0;
    while pings < 14 {
        match tokio::time::timeout(DEADLINE, good.socket.next()).await.unwrap() {
            Some(Ok(Message::Ping(_))) => pings += 1,
            Some(Ok(_)) => {}
            other => panic!("the good client was dropped: {other:?}"),
        }
    }
    let ledger = scene.ledger().await;
    let closed: Vec<_> = ledger.iter().filter(|r| matches!(r, LedgerRecord::Closed { .. })).collect();
    assert!(
        matches!(closed.as_slice(), [LedgerRecord::Closed { conn: 2, reason, .. }] if reason.starts_with("no pong")),
        "{closed:?}"
    );
    scene.finish().await;
}

#[tokio::test]
async fn a_life_ends_as_announced() {
    let limits = Limits { lifetime: Duration::from_millis(400), shutdown_notice: Duration::from_millis(250), ..limits() };
    for (path, stream) in [("/ws", None), ("/stream", Some("!serverShutdown"))] {
        let scene = start(quiet(limits.clone())).await;
        let mut client = Client::connect(&scene.sim, path).await;
        let frame = client.next_json().await;
        let event = match stream {
            Some(name) => {
                assert_eq!(frame["stream"], name);
                &frame["data"]
            }
            None => &frame,
        };
        assert_eq!(event["e"], "serverShutdown");
        assert!(event["E"].is_i64());
        assert!(matches!(client.end().await, End::Clean(reason) if reason.contains("lives for")));
        scene.finish().await;
    }
}

#[tokio::test]
async fn who_breaks_the_protocol_is_dropped() {
    let scene = start(quiet(limits())).await;
    let client = Client::connect(&scene.sim, "/ws").await;
    let tokio_tungstenite::MaybeTlsStream::Plain(mut socket) = client.socket.into_inner() else { panic!("no TLS here") };
    // An unmasked text frame.
    tokio::io::AsyncWriteExt::write_all(&mut socket, b"\x81\x02hi").await.unwrap();
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(DEADLINE, tokio::io::AsyncReadExt::read_to_end(&mut socket, &mut rest)).await.unwrap();
    let ledger = scene.finish().await;
    assert!(ledger.iter().any(|r| matches!(r, LedgerRecord::Closed { reason, .. } if reason.contains("not masked"))));
}

#[tokio::test]
async fn who_reads_too_slowly_is_dropped_and_the_ledger_counts_what_was_not_sent() {
    let mut options = options();
    options.limits.queue_bytes = 64 << 10;
    options.market.trades_per_second = 50_000.0;
    let scene = start(options).await;
    let mut client = Client::connect(&scene.sim, "/stream").await;
    client.subscribe(&["btcusdt@trade", "ethusdt@trade", "btcusdt@bookTicker", "ethusdt@bookTicker"]).await;
    dccd_testkit::wait_for(
        DEADLINE,
        || scene.written_endings(),
        |ends| ends.iter().any(|(reason, unsent)| reason.contains("reads too slowly") && *unsent > 0),
    );
    scene.finish().await;
}
