//! The simulated Deribit over its WebSocket: commands, heartbeats, channels, and the market that is the same as over REST.

mod common;

use std::time::Duration;

use common::deribit::{Applied, Book, Deribit, IDS, options, rules};
use common::{Client, End, Scene, get, start};
use serde_json::{Value, json};

async fn result(scene: &Scene, target: &str) -> Value {
    let body = get(&scene.sim, &format!("/api/v2/public/{target}")).await.json();
    assert!(body.get("result").is_some(), "{target}: {body}");
    body["result"].clone()
}

fn error(code: i64, message: &str) -> Value {
    json!({"code": code, "message": message})
}

#[tokio::test]
async fn commands_are_answered_as_the_exchange_answers_them() {
    let scene = start(options()).await;
    let mut deribit = Deribit::connect(&scene.sim).await;
    let channels = ["quote.BTC-PERPETUAL", "book.BTC-PERPETUAL.100ms", "trades.NONE.100ms", "user.orders.any.any.raw", "x"];
    let reply = deribit.call("public/subscribe", json!({"channels": channels})).await;
    assert_eq!(reply["result"], json!(["quote.BTC-PERPETUAL", "book.BTC-PERPETUAL.100ms"]), "in its own order: {reply}");
    for key in ["usIn", "usOut", "usDiff"] {
        assert!(reply[key].is_u64(), "{reply}");
    }
    assert_eq!((&reply["jsonrpc"], &reply["testnet"]), (&json!("2.0"), &json!(false)));
    let reply = deribit.call("public/unsubscribe", json!({"channels": ["quote.BTC-PERPETUAL", "quote.BTC_USDC"]})).await;
    assert_eq!(reply["result"], json!(["quote.BTC-PERPETUAL"]));
    assert_eq!(deribit.call("public/unsubscribe_all", json!({})).await["result"], "ok");
    for (method, params, expected) in [
        ("public/subscribe", json!({}), -32_602),
        ("public/subscribe", json!({"channels": "quote.BTC_USDC"}), -32_602),
        ("public/set_heartbeat", json!({"interval": 9}), -32_602),
        ("public/set_heartbeat", json!({}), -32_602),
        ("public/get_order_book", json!({"instrument_name": "NONE"}), -32_602),
        ("public/fly", json!({}), -32_601),
        ("private/get_account_summary", json!({"currency": "BTC"}), 13_009),
        ("private/subscribe", json!({"channels": ["trades.BTC-PERPETUAL.raw"]}), 13_009),
    ] {
        let reply = deribit.call(method, params.clone()).await;
        assert_eq!(reply["error"]["code"], expected, "{method} {params}: {reply}");
    }
    let reply = deribit.call("public/subscribe", json!({"channels": 7})).await;
    let data = json!({"reason": "must be a list of strings", "param": "channels"});
    assert_eq!(reply["error"], json!({"code": -32_602, "message": "Invalid params", "data": data}));
    deribit.client.send("hello").await;
    let reply = loop {
        let reply: Value = serde_json::from_str(&deribit.next_text().await.unwrap()).unwrap();
        if reply.get("params").is_none() {
            break reply;
        }
    };
    assert_eq!((&reply["error"], reply.get("id")), (&error(-32_700, "Parse error"), None));
    // Whatever REST answers is answered here too.
    let trades = deribit.call("public/get_last_trades_by_instrument", json!({"instrument_name": IDS[0], "count": 3})).await;
    assert_eq!(trades["result"]["trades"].as_array().unwrap().len(), 3, "{trades}");
    assert_eq!(deribit.call("public/test", json!({})).await["result"], json!({"version": "1.2.26"}));
    deribit.client.send(&"x".repeat(32_769)).await;
    assert_eq!(deribit.client.end().await, End::Clean("Message Too Big: limit 32768B".into()));
    scene.finish().await;
}

#[tokio::test]
async fn raw_channels_are_for_those_who_have_said_who_they_are() {
    let scene = start(options()).await;
    let mut deribit = Deribit::connect(&scene.sim).await;
    let channels = json!({"channels": ["book.BTC-PERPETUAL.raw", "quote.BTC-PERPETUAL"]});
    let reply = deribit.call("public/subscribe", channels.clone()).await;
    assert_eq!(reply["error"], error(13_778, "raw_subscriptions_not_available_for_unauthorized"));
    let who = json!({"grant_type": "client_credentials", "client_id": "a", "client_secret": "b"});
    let reply = deribit.call("public/auth", who.clone()).await;
    assert_eq!(reply["result"]["token_type"], "bearer", "{reply}");
    let reply = deribit.call("private/subscribe", channels).await;
    assert_eq!(reply["result"], json!(["quote.BTC-PERPETUAL", "book.BTC-PERPETUAL.raw"]));
    let mut book = Book::default();
    while book.changes < 100 {
        assert_eq!(book.apply(&deribit.next_of("book.BTC-PERPETUAL.raw").await), Applied::Fits);
    }
    deribit.subscribe("trades.BTC-PERPETUAL.raw").await;
    let first = deribit.next_of("trades.BTC-PERPETUAL.raw").await;
    let times: Vec<&Value> = first.as_array().unwrap().iter().map(|row| &row["timestamp"]).collect();
    assert!(times.iter().all(|time| *time == times[0]), "of one order: {first}");
    scene.finish().await;
    let scene = start(rules("auth=false")).await;
    let mut deribit = Deribit::connect(&scene.sim).await;
    assert_eq!(deribit.call("public/auth", who).await["error"], error(13_004, "invalid_credentials"));
    scene.finish().await;
}

#[tokio::test]
async fn whoever_asks_for_heartbeats_is_to_answer_them() {
    let scene = start(rules("second=0.03")).await;
    let mut deribit = Deribit::connect(&scene.sim).await;
    assert_eq!(deribit.call("public/set_heartbeat", json!({"interval": 10})).await["result"], "ok");
    let beat = |kind: &str| json!({"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": kind}});
    // The one after a message of ours needs no answer; those that have one are followed by it.
    for _ in 0..3 {
        let mut seen = Vec::new();
        while seen.last() != Some(&beat("test_request")) {
            seen.push(serde_json::from_str::<Value>(&deribit.next_text().await.unwrap()).unwrap());
        }
        assert!(seen.iter().filter(|one| **one == beat("heartbeat")).count() + 1 == seen.len(), "{seen:?}");
        assert_eq!(deribit.call("public/test", json!({})).await["result"]["version"], "1.2.26");
    }
    assert_eq!(deribit.client.end().await, End::Clean("a heartbeat was not answered".into()));
    let mut quiet = Deribit::connect(&scene.sim).await;
    quiet.call("public/set_heartbeat", json!({"interval": 10})).await;
    assert_eq!(quiet.call("public/disable_heartbeat", json!({})).await["result"], "ok");
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    assert_eq!(quiet.call("public/test", json!({})).await["id"], 3);
    scene.finish().await;
}

#[tokio::test]
async fn each_trade_over_the_socket_is_the_one_over_rest() {
    let scene = start(options()).await;
    for id in IDS {
        let mut deribit = Deribit::connect(&scene.sim).await;
        let channel = format!("trades.{id}.100ms");
        deribit.subscribe(&channel).await;
        let (mut sent, mut batches) = (Vec::new(), 0);
        while sent.len() < 120 {
            sent.extend(deribit.next_of(&channel).await.as_array().unwrap().clone());
            batches += 1;
        }
        assert!(batches < sent.len(), "several come at once");
        let seqs: Vec<u64> = sent.iter().map(|row| row["trade_seq"].as_u64().unwrap()).collect();
        assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seqs:?}");
        let (first, last) = (seqs[0], seqs[seqs.len() - 1]);
        let target = format!(
            "get_last_trades_by_instrument?instrument_name={id}&start_seq={first}&end_seq={last}&count=1000&sorting=asc"
        );
        let told = result(&scene, &target).await;
        let rows = told["trades"].as_array().unwrap();
        assert_eq!((rows.len(), &told["has_more"]), (sent.len(), &json!(false)));
        for (ours, theirs) in sent.iter().zip(rows) {
            assert_eq!(ours, theirs);
        }
        let ids: Vec<&str> = sent.iter().map(|row| row["trade_id"].as_str().unwrap()).collect();
        let prefix = ["BTC_USDC-", "USDC-", ""][IDS.iter().position(|one| *one == id).unwrap()];
        assert!(ids.iter().all(|id| id.strip_prefix(prefix).is_some_and(|n| n.parse::<u64>().is_ok())), "{ids:?}");
        if id == "BTC-PERPETUAL" {
            assert!(sent.iter().all(|row| row["amount"].as_f64().unwrap() % 10.0 == 0.0), "US dollars, by tens");
            assert!(sent.iter().all(|row| row["contracts"].as_f64().unwrap() * 10.0 == row["amount"].as_f64().unwrap()));
        }
    }
    scene.finish().await;
}

#[tokio::test]
async fn a_book_followed_by_its_numbers_is_the_exchanges_own() {
    let scene = start(options()).await;
    for id in IDS {
        let mut deribit = Deribit::connect(&scene.sim).await;
        let channel = format!("book.{id}.100ms");
        deribit.subscribe(&channel).await;
        let mut book = Book::default();
        while book.changes < 30 {
            assert_eq!(book.apply(&deribit.next_of(&channel).await), Applied::Fits);
        }
        assert_eq!(book.snapshots, 1);
        scene.sim.pause().await.unwrap();
        // Nothing is on its way any more once there was a pulse to send it and a reply behind it.
        tokio::time::sleep(Duration::from_millis(300)).await;
        deribit.call("public/test", json!({})).await;
        deribit.client.send("{}").await;
        loop {
            let value: Value = serde_json::from_str(&deribit.next_text().await.unwrap()).unwrap();
            if value.get("error").is_some() {
                break;
            }
            assert_eq!(book.apply(&value["params"]["data"]), Applied::Fits);
        }
        let told = result(&scene, &format!("get_order_book?instrument_name={id}&depth=10000")).await;
        for (name, is_bid) in [("bids", true), ("asks", false)] {
            let rows = told[name].as_array().unwrap();
            let rows: Vec<_> = rows.iter().map(|row| [row[0].to_string(), row[1].to_string()]).collect();
            assert!(rows.len() > 100 && rows == book.side(is_bid), "{} levels of {id}", rows.len());
        }
        assert_eq!(told["bids"][0], json!([told["best_bid_price"], told["best_bid_amount"]]));
        assert!(told["change_id"].as_u64().unwrap() >= book.id);
        scene.sim.resume().await.unwrap();
    }
    scene.finish().await;
}

#[tokio::test]
async fn quotes_tickers_best_levels_and_candles_agree_with_themselves() {
    let scene = start(options()).await;
    let mut deribit = Deribit::connect(&scene.sim).await;
    let id = "BTC-PERPETUAL";
    let channels = [
        format!("quote.{id}"),
        format!("ticker.{id}.100ms"),
        format!("book.{id}.none.10.100ms"),
        format!("chart.trades.{id}.1"),
    ];
    for channel in &channels {
        deribit.subscribe(channel).await;
    }
    let mut seen = [0; 4];
    let (mut volume, mut tick) = (0.0, Value::Null);
    while seen[..3].iter().any(|count| *count < 10) || seen[3] < 3 {
        let text = deribit.next_text().await.unwrap();
        let message: Value = serde_json::from_str(&text).unwrap();
        let data = &message["params"]["data"];
        let number = |key: &str| data[key].as_f64().unwrap();
        let place = channels.iter().position(|channel| message["params"]["channel"] == **channel).unwrap();
        seen[place] += 1;
        match place {
            0 => assert!(number("best_bid_price") < number("best_ask_price"), "{text}"),
            1 => {
                let stats = &data["stats"];
                let (low, high) = (stats["low"].as_f64().unwrap(), stats["high"].as_f64().unwrap());
                assert!(low <= number("last_price") && number("last_price") <= high, "{text}");
                // Bitcoin and US dollars.
                let average = stats["volume_usd"].as_f64().unwrap() / stats["volume"].as_f64().unwrap();
                assert!(low <= average && average <= high, "{text}");
            }
            2 => assert!(data["bids"].as_array().unwrap().len() == 10 && data["bids"][0][0].is_f64(), "{text}"),
            _ => {
                if data["tick"] != tick {
                    (tick, volume) = (data["tick"].clone(), 0.0);
                }
                assert!(number("volume") >= volume && number("low") <= number("close"), "{text}");
                volume = number("volume");
            }
        }
    }
    scene.sim.pause().await.unwrap();
    let from = tick.as_i64().unwrap();
    let target =
        format!("get_tradingview_chart_data?instrument_name={id}&start_timestamp={from}&end_timestamp={from}&resolution=1");
    let chart = result(&scene, &target).await;
    assert!(chart["ticks"] == json!([from]) && chart["volume"][0].as_f64().unwrap() >= volume, "{chart}");
    scene.finish().await;
}

#[tokio::test]
async fn connections_cost_credits_and_are_told_of_maintenance() {
    let scene = start(rules("credits=true,connects=3,window=5")).await;
    let mut deribit = Deribit::connect(&scene.sim).await;
    let mut answered = 0;
    let refusal = loop {
        let reply = deribit.call("public/subscribe", json!({"channels": ["quote.BTC_USDC"]})).await;
        if reply.get("error").is_some() {
            break reply["error"].clone();
        }
        answered += 1;
    };
    assert_eq!(refusal, error(10_028, "too_many_requests"));
    assert!((10..30).contains(&answered), "{answered}");
    assert_eq!(deribit.client.end().await, End::Clean("too_many_requests".into()));
    let mut deribit = Deribit::connect(&scene.sim).await;
    let mut other = Deribit::connect(&scene.sim).await;
    assert!(Client::try_connect(&scene.sim, "/ws/api/v2").await.is_err());
    deribit.subscribe("platform_state").await;
    other.call("public/test", json!({})).await;
    let maintenance = |is_on: bool| json!({"maintenance": is_on});
    scene.sim.faults().inject(dccd_sim::Fault::Maintenance { ms: 500 }).await.unwrap();
    assert_eq!(deribit.next_of("platform_state").await, maintenance(true));
    let refused = other.call("public/subscribe", json!({"channels": ["quote.BTC_USDC"]})).await;
    assert_eq!(refused["error"], error(11_051, "system_maintenance"));
    assert_eq!(deribit.next_of("platform_state").await, maintenance(false));
    other.subscribe("quote.BTC_USDC").await;
    scene.sim.faults().inject(dccd_sim::Fault::Shutdown { ms: 200 }).await.unwrap();
    assert_eq!(deribit.next_of("platform_state").await, json!({"maintenance": true}));
    for client in [&mut deribit.client, &mut other.client] {
        assert!(matches!(client.end().await, End::Clean(_)));
    }
    scene.finish().await;
}
