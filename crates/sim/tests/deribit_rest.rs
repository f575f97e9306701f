//! The simulated Deribit over REST: its lists, pages, errors and credits.

mod common;

use std::collections::BTreeMap;

use common::deribit::{IDS, options, rules};
use common::{Scene, get, start};
use dccd_sim::deep::{Candle, Truth};
use dccd_sim::{Fault, MarketOptions, RestFault, SimOptions};
use serde_json::{Value, json};

const MINUTE_MS: i64 = 60_000;

async fn body(scene: &Scene, target: &str) -> (u16, Value) {
    let reply = get(&scene.sim, &format!("/api/v2/public/{target}")).await;
    (reply.status, reply.json())
}

async fn result(scene: &Scene, target: &str) -> Value {
    let (status, body) = body(scene, target).await;
    assert_eq!(status, 200, "{target}: {body}");
    assert_eq!((&body["jsonrpc"], &body["testnet"]), (&json!("2.0"), &json!(false)), "{body}");
    body["result"].clone()
}

#[allow(clippy::cast_possible_truncation)] // prices and amounts of a simulated market
fn e8(value: &Value) -> i64 {
    (value.as_f64().unwrap() * 1e8).round() as i64
}

/// Nothing is traded live: the past goes on, and all of it is known.
fn still() -> SimOptions {
    let options = options();
    let market = MarketOptions { trades_per_second: 0.0, book_updates_per_second: 0.0, ..options.market.clone() };
    SimOptions { market, deep: Some("listed=2024-03-01,trades=600,halts=0,outages=0".parse().unwrap()), ..options }
}

#[tokio::test]
async fn instruments_are_listed_by_currency_and_kind() {
    let scene = start(options()).await;
    let names = async |query: &str| {
        let list = result(&scene, &format!("get_instruments?{query}")).await;
        list.as_array().unwrap().iter().map(|row| row["instrument_name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("currency=any").await, IDS);
    assert_eq!(names("").await, IDS);
    assert_eq!(names("currency=BTC&kind=future&expired=false").await, ["BTC-PERPETUAL"]);
    assert_eq!(names("currency=USDC&kind=future").await, ["BTC_USDC-PERPETUAL"]);
    assert_eq!(names("currency=USDC&kind=spot").await, ["BTC_USDC"]);
    assert!(names("currency=BTC&kind=option").await.is_empty() && names("expired=true").await.is_empty());
    let one = result(&scene, "get_instrument?instrument_name=BTC-PERPETUAL").await;
    assert_eq!(
        ["kind", "instrument_type", "settlement_period", "base_currency", "quote_currency"].map(|key| one[key].clone()),
        ["future", "reversed", "perpetual", "BTC", "USD"].map(|text| json!(text))
    );
    assert!(result(&scene, "get_time").await.as_i64().unwrap() > 1_700_000_000_000);
    assert_eq!(result(&scene, "status").await, json!({"locked": "false"}));
    let summary = result(&scene, "get_book_summary_by_currency?currency=USDC&kind=future").await;
    assert_eq!(summary[0]["instrument_name"], "BTC_USDC-PERPETUAL");
    assert_eq!(result(&scene, "ticker?instrument_name=BTC_USDC").await["state"], "open");
    assert_eq!(result(&scene, "get_currencies").await[0]["currency"], "BTC");
    scene.finish().await;
}

#[tokio::test]
async fn errors_come_with_status_400_and_without_credits_with_429() {
    let scene = start(rules("credits=true")).await;
    for (target, reason, param) in [
        ("get_order_book?instrument_name=NONE", "instrument not found", "instrument_name"),
        ("get_order_book", "value is required", "instrument_name"),
        ("get_instruments?currency=NOPE", "invalid currency", "currency"),
        ("get_book_summary_by_currency", "value is required", "currency"),
        ("get_last_trades_by_instrument?instrument_name=BTC_USDC&count=1001", "out of range", "count"),
        ("get_last_trades_by_instrument?instrument_name=BTC_USDC&sorting=up", "invalid value", "sorting"),
        (
            "get_tradingview_chart_data?instrument_name=BTC_USDC&start_timestamp=0&end_timestamp=9&resolution=7",
            "invalid resolution",
            "resolution",
        ),
    ] {
        let (status, body) = body(&scene, target).await;
        let error = json!({"code": -32_602, "message": "Invalid params", "data": {"reason": reason, "param": param}});
        assert_eq!((status, &body["error"]), (400, &error), "{target}");
        assert!(body.get("result").is_none() && body["usIn"].is_u64(), "{body}");
    }
    for (target, code, message) in
        [("nope", -32_601, "Method not found"), ("set_heartbeat?interval=10", 10_030, "must_be_websocket_request")]
    {
        let (status, body) = body(&scene, target).await;
        assert_eq!((status, &body["error"]), (400, &json!({"code": code, "message": message})));
    }
    let mut refused = None;
    for _ in 0..400 {
        let (status, body) = body(&scene, "get_time").await;
        if status != 200 {
            refused = Some((status, body["error"].clone()));
            break;
        }
    }
    assert_eq!(refused, Some((429, json!({"code": 10_028, "message": "too_many_requests"}))));
    // Lists of instruments have credits of their own.
    assert_eq!(body(&scene, "get_instruments?currency=BTC").await.0, 200);
    scene.finish().await;
}

async fn chart(scene: &Scene, id: &str, from: i64, to: i64, resolution: &str) -> Value {
    let target = format!(
        "get_tradingview_chart_data?instrument_name={id}&start_timestamp={from}&end_timestamp={to}&resolution={resolution}"
    );
    result(scene, &target).await
}

#[tokio::test]
async fn candles_come_in_columns_without_holes_and_are_made_of_the_trades() {
    let options = still();
    let truth = Truth::new(&options).unwrap();
    let scene = start(options).await;
    let begin = 1_710_000_000_000;
    let until = begin + 700 * MINUTE_MS;
    for (id, symbol) in [("BTC_USDC", "BTC/USDC"), ("BTC-PERPETUAL", "BTC/USD:BTC")] {
        let told = chart(&scene, id, begin, until - 1, "1").await;
        assert_eq!(told["status"], "ok");
        let rows: Vec<_> = truth.candles(symbol, 60, begin * 1_000_000, until * 1_000_000).collect();
        assert_eq!(rows.len(), 700);
        for (at, candle) in rows.iter().enumerate() {
            let columns = ["open", "high", "low", "close", "volume", "cost"].map(|name| e8(&told[name][at]));
            assert_eq!(told["ticks"][at], candle.open_ns / 1_000_000);
            let Candle { open, high, low, close, volume, quote_volume, .. } = *candle;
            assert_eq!(columns, [open, high, low, close, volume, quote_volume]);
        }
        // The trades of an hour make its candles: amounts of the inverse perpetual are its cost.
        let hour = format!("instrument_name={id}&start_timestamp={begin}&end_timestamp={}", begin + 60 * MINUTE_MS - 1);
        let target = format!("get_last_trades_by_instrument_and_time?{hour}&count=1000&sorting=asc");
        let trades = result(&scene, &target).await;
        assert_eq!(trades["has_more"], false);
        let (mut cost, mut count) = (BTreeMap::<i64, i64>::new(), 0);
        for row in trades["trades"].as_array().unwrap() {
            let (amount, price) = (e8(&row["amount"]), e8(&row["price"]));
            let worth = i64::try_from(i128::from(amount) * i128::from(price) / 100_000_000).unwrap();
            let minute = row["timestamp"].as_i64().unwrap() / MINUTE_MS * MINUTE_MS;
            *cost.entry(minute).or_default() += if id == "BTC-PERPETUAL" { amount } else { worth };
            count += 1;
        }
        assert_eq!(count, 600);
        for (minute, cost) in cost {
            let at = usize::try_from((minute - begin) / MINUTE_MS).unwrap();
            assert_eq!(e8(&told["cost"][at]), cost, "{id} {minute}");
        }
    }
    // Of too many the newest; before the listing none.
    let most = chart(&scene, "BTC_USDC", begin, begin + 5_002 * MINUTE_MS, "1").await;
    let ticks = most["ticks"].as_array().unwrap();
    assert_eq!((ticks.len(), &ticks[0]), (5_000, &json!(begin + 3 * MINUTE_MS)));
    let none = chart(&scene, "BTC_USDC", 1_600_000_000_000, 1_700_000_000_000, "1").await;
    assert_eq!((&none["status"], &none["ticks"], &none["close"]), (&json!("no_data"), &json!([]), &json!([])));
    let day = chart(&scene, "BTC_USDC", begin, begin + 3 * 86_400_000, "1D").await;
    assert!(day["ticks"].as_array().unwrap().iter().all(|tick| tick.as_i64().unwrap() % 86_400_000 == 0));
    scene.finish().await;
}

#[tokio::test]
async fn trades_are_paged_by_sequence_number_in_both_directions_and_by_time() {
    let scene = start(still()).await;
    let trades = async |query: &str| {
        let by = if query.contains("timestamp") { "_and_time" } else { "" };
        let told = result(&scene, &format!("get_last_trades_by_instrument{by}?instrument_name=BTC_USDC&{query}")).await;
        (told["trades"].as_array().unwrap().clone(), told["has_more"] == true)
    };
    let seqs = |rows: &[Value]| rows.iter().map(|row| row["trade_seq"].as_i64().unwrap()).collect::<Vec<_>>();
    let (oldest, has_more) = trades("start_seq=1&count=5&sorting=asc").await;
    assert_eq!((seqs(&oldest), has_more), ((1..=5).collect(), true));
    let (newest, has_more) = trades("count=500").await;
    let last = newest[0]["trade_seq"].as_i64().unwrap();
    assert_eq!((seqs(&newest), has_more), ((last - 499..=last).rev().collect(), true));
    assert_eq!(trades("").await.0.len(), 10);
    let (upwards, has_more) = trades(&format!("start_seq={}&end_seq={}&count=1000&sorting=asc", last - 9, last - 3)).await;
    assert_eq!((seqs(&upwards), has_more), ((last - 9..=last - 3).collect(), false));
    // The page's direction changes nothing of its rows.
    let mut downwards = trades(&format!("start_seq={}&end_seq={}&sorting=desc", last - 9, last - 3)).await.0;
    downwards.reverse();
    assert_eq!(upwards, downwards);
    let time = |row: &Value| row["timestamp"].as_i64().unwrap();
    let (from, to) = (time(&newest[300]), time(&newest[200]));
    let (by_time, _) = trades(&format!("start_timestamp={from}&end_timestamp={to}&count=1000&sorting=asc")).await;
    let expected: Vec<_> = newest.iter().rev().filter(|row| (from..=to).contains(&time(row))).cloned().collect();
    assert_eq!(by_time, expected);
    assert!(trades(&format!("start_seq={}", last + 1_000)).await.0.is_empty());
    scene.finish().await;
}

#[tokio::test]
async fn wrong_answers_and_refusals_come_on_command() {
    let scene = start(still()).await;
    let begin = 1_710_000_000_000;
    let candles = async || chart(&scene, "BTC-PERPETUAL", begin, begin + 9 * MINUTE_MS, "1").await;
    let target = "get_last_trades_by_instrument?instrument_name=BTC_USDC&start_seq=100&count=10&sorting=asc";
    let (right, right_trades) = (candles().await, result(&scene, target).await);
    let lengths = |told: &Value| ["ticks", "close", "volume"].map(|name| told[name].as_array().unwrap().len());
    for (what, count) in
        [(RestFault::Empty, 0), (RestFault::Omit, 9), (RestFault::Duplicate, 11), (RestFault::Descending, 10)]
    {
        for _ in 0..2 {
            scene.sim.faults().inject(Fault::Rest { what, count: 1 }).await.unwrap();
        }
        let wrong = candles().await;
        assert!(lengths(&wrong) == [count; 3] && wrong != right, "{what:?}");
        let wrong = result(&scene, target).await;
        assert!(wrong["trades"].as_array().unwrap().len() == count && wrong != right_trades, "{what:?}");
    }
    scene.sim.faults().inject(Fault::Rest { what: RestFault::Outside, count: 2 }).await.unwrap();
    assert_eq!(candles().await["ticks"][0], begin / 2);
    let wrong = result(&scene, target).await;
    assert_eq!(wrong["trades"][0]["timestamp"], right_trades["trades"][0]["timestamp"].as_i64().unwrap() / 2);
    scene.sim.faults().inject(Fault::RestLimit { count: 1, ban_ms: None }).await.unwrap();
    let (status, refusal) = body(&scene, target).await;
    assert_eq!((status, &refusal["error"]["code"]), (429, &json!(10_028)));
    assert_eq!((candles().await, result(&scene, target).await), (right, right_trades));
    scene.finish().await;
}
