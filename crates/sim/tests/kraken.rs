//! The simulated Kraken over HTTP: what it serves is its truth, and its refusals are in the body.

mod common;

use common::{Scene, get, start};
use dccd_sim::deep::Truth;
use dccd_sim::{KrakenOptions, MarketOptions, SimOptions};
use serde_json::{Value, json};

const HOUR_NS: i64 = 3_600_000_000_000;

fn options(rules: &str) -> SimOptions {
    let kraken: KrakenOptions = rules.parse().unwrap();
    let listed_ns = (now_ns() / HOUR_NS - 30) * HOUR_NS;
    let deep = "trades=409,outages=2000,halts=0".parse().unwrap();
    let deep = dccd_sim::deep::DeepOptions { listed_ns, ..deep };
    // Without a live market the past goes on as the truth has it.
    let market = MarketOptions { trades_per_second: 0.0, book_updates_per_second: 0.0, ..MarketOptions::default() };
    SimOptions { exchange: "kraken".to_owned(), deep: Some(deep), kraken, market, ..SimOptions::default() }
}

fn now_ns() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_nanos()).unwrap()
}

async fn result(scene: &Scene, target: &str) -> Value {
    let reply = get(&scene.sim, &format!("/0/public/{target}")).await;
    let body = reply.json();
    assert_eq!((reply.status, &body["error"]), (200, &json!([])), "{target}");
    body["result"].clone()
}

/// A number with its decimals as hundred-millionths.
fn e8(value: &Value) -> i64 {
    let text = value.as_str().unwrap();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{fraction:0<8}").parse().unwrap()
}

#[tokio::test]
async fn all_trades_are_paged_through_and_are_the_truth() {
    let options = options("rate=0");
    let truth = Truth::new(&options).unwrap();
    let scene = start(options).await;
    let listed = truth.listed("BTC/USD").unwrap();
    let mut expected = truth.trades("BTC/USD", listed, now_ns() + HOUR_NS);
    let (mut since, mut next_id, mut pages) = (0_i64, 1, 0);
    loop {
        let page = result(&scene, &format!("Trades?pair=XBTUSD&since={since}")).await;
        let rows = page["XXBTZUSD"].as_array().unwrap();
        for row in rows {
            if row[6].as_u64().unwrap() < next_id {
                // The pages overlap.
                continue;
            }
            let trade = expected.next().unwrap();
            assert_eq!((row[6].as_u64().unwrap(), e8(&row[0]), e8(&row[1])), (trade.id, trade.price, trade.amount));
            assert_eq!(row[3], if trade.buyer_is_maker { "s" } else { "b" });
            // To the digits that the exchange gives.
            let seconds = row[2].as_f64().unwrap();
            #[allow(clippy::cast_precision_loss)]
            let apart = seconds - trade.time_ns as f64 / 1e9;
            assert!((-3e-7..2e-6).contains(&apart), "{seconds} {}", trade.time_ns);
            next_id = trade.id + 1;
        }
        pages += 1;
        let last: i64 = page["last"].as_str().unwrap().parse().unwrap();
        if rows.len() < 1_000 {
            break;
        }
        since = last - 1;
    }
    assert!(pages > 10 && next_id > 10_000, "{pages} {next_id}");
    let stats = scene.sim.stats().await.unwrap().kraken.unwrap();
    assert_eq!((stats.requests, stats.refused, stats.locked_out), (pages, 0, 0));
    scene.finish().await;
}

#[tokio::test]
async fn the_newest_721_candles_come_without_holes_and_flat_where_nothing_was_traded() {
    let options = options("rate=0");
    let truth = Truth::new(&options).unwrap();
    let scene = start(options).await;
    let answer = result(&scene, "OHLC?pair=XBT/USD&since=0").await;
    let rows = answer["XXBTZUSD"].as_array().unwrap();
    assert_eq!(rows.len(), 721);
    let opens: Vec<i64> = rows.iter().map(|row| row[0].as_i64().unwrap()).collect();
    assert!(opens.windows(2).all(|pair| pair[1] - pair[0] == 60));
    assert_eq!(answer["last"], rows[719][0]);
    let mut flat = 0;
    for row in &rows[..720] {
        let open_ns = row[0].as_i64().unwrap() * 1_000_000_000;
        let told = truth.candles("BTC/USD", 60, open_ns, open_ns + 1).next().filter(|candle| candle.trades > 0);
        let Some(told) = told else {
            assert!(row[1] == row[2] && row[2] == row[3] && row[3] == row[4] && row[5] == "0.0", "{row}");
            assert_eq!((&row[6], &row[7]), (&json!("0.00000000"), &json!(0)));
            flat += 1;
            continue;
        };
        let seen = [1, 2, 3, 4, 6].map(|at| e8(&row[at]));
        assert_eq!(seen, [told.open, told.high, told.low, told.close, told.volume]);
        assert_eq!(row[7], told.trades);
    }
    assert!(flat > 0);
    let some = result(&scene, &format!("OHLC?pair=XBTUSD&interval=1&since={}", opens[710])).await;
    assert_eq!(some["XXBTZUSD"][0][0], opens[711]);
    scene.finish().await;
}

#[tokio::test]
async fn refusals_are_in_the_body_of_an_answer_with_status_200() {
    let scene = start(options("rate=0.001,burst=5,strikes=2,lockout=600")).await;
    let mut errors = Vec::new();
    for target in ["OHLC?pair=NOSUCH", "Trades?pair=XBTUSD&count=1001", "OHLC?pair=XBTUSD&interval=7", "Nothing", "Time"] {
        let reply = get(&scene.sim, &format!("/0/public/{target}")).await;
        assert_eq!(reply.status, 200);
        errors.push(reply.json()["error"][0].as_str().unwrap_or("none").to_owned());
    }
    let unanswered = ["EQuery:Unknown asset pair", "EGeneral:Invalid arguments", "EGeneral:Invalid arguments"];
    assert_eq!(errors[..3], unanswered);
    assert_eq!(errors[3..], ["EGeneral:Unknown method", "none"]);
    let mut refused = Vec::new();
    for _ in 0..4 {
        let reply = get(&scene.sim, "/0/public/Time").await;
        refused.push((reply.status, reply.json()["error"][0].as_str().unwrap_or("none").to_owned()));
    }
    let (often, locked) = ("EGeneral:Too many requests".to_owned(), "EGeneral:Temporary lockout".to_owned());
    assert_eq!(refused, [(200, often.clone()), (200, often), (200, locked.clone()), (200, locked)]);
    let stats = scene.sim.stats().await.unwrap().kraken.unwrap();
    assert_eq!((stats.requests, stats.refused, stats.locked_out), (9, 2, 2));
    scene.finish().await;
}
