//! Recorded candles of the sockets pass through the sessions: each comes with its own digits, closed where the exchange says so.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use dccd_exchange::conformance::{Event, Recorded};
use dccd_exchange::{AdapterOptions, Market, MarketStatus, Markets, adapter};
use dccd_model::{Candle, Entry, EntryKind, Flags, UnixNanos};
use dccd_testkit::{fixtures, read_fixture_frames, skip};
use serde_json::Value;

/// Of each exchange: its files, the socket that they are of, and what the symbols of that socket are settled in.
const FILES: &[(&str, &str, &str, &str)] = &[
    ("binance", "ws_spot_btcusdt_ethusdt_dotusdt_depth_aggtrade_kline_20210404", "", ""),
    ("binance", "ws_spot_10pairs_20210417", "", ""),
    ("binance", "ws_usdm_4pairs_20210417", "usdm/market", ":USDT"),
    ("bybit", "ws_v5_spot_BTCUSDT_20260809", "spot", ""),
    ("bybit", "ws_v5_linear_BTCUSDT_SOLUSDT_20260809", "linear", ":USDT"),
];

/// A candle as its message has it: symbol, open time in milliseconds, open, high, low, close, volume, quote volume, closed.
type Row = (String, i64, [String; 6], bool);

/// The candles of one minute in a message, by the exchange's own names.
fn expected(exchange: &str, raw: &str) -> Vec<Row> {
    let message: Value = serde_json::from_str(raw).unwrap_or_default();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let row = |id: &str, kline: &Value, keys: [&str; 8]| {
        let numbers = [keys[1], keys[2], keys[3], keys[4], keys[5], keys[6]].map(|key| text(&kline[key]));
        (id.to_owned(), kline[keys[0]].as_i64().unwrap(), numbers, kline[keys[7]].as_bool().unwrap())
    };
    if exchange == "binance" {
        let event = message.get("data").unwrap_or(&message);
        let kline = &event["k"];
        let keys = ["t", "o", "h", "l", "c", "v", "q", "x"];
        let is_ours = event["e"] == "kline" && kline["i"] == "1m";
        return is_ours.then(|| row(event["s"].as_str().unwrap(), kline, keys)).into_iter().collect();
    }
    let Some(id) = message["topic"].as_str().and_then(|topic| topic.strip_prefix("kline.1.")) else { return Vec::new() };
    let keys = ["start", "open", "high", "low", "close", "volume", "turnover", "confirm"];
    message["data"].as_array().into_iter().flatten().map(|kline| row(id, kline, keys)).collect()
}

fn row(id: &str, c: &Candle) -> Row {
    let numbers = [c.open, c.high, c.low, c.close, c.volume, c.quote_volume].map(|number| number.to_string());
    (id.to_owned(), c.ts_open.as_millis(), numbers, c.flags.contains(Flags::CLOSED))
}

fn markets(ids: &BTreeSet<String>, settle: &str) -> Arc<Markets> {
    let market = |id: &String| Market {
        symbol: format!("{}/USDT{settle}", id.strip_suffix("USDT").unwrap()).parse().unwrap(),
        id: id.clone(),
        status: MarketStatus::Trading,
        price_tick: None,
        amount_step: None,
        amount_min: None,
        amount_max: None,
        notional_min: None,
        contract_size: None,
    };
    Arc::new(ids.iter().filter(|id| id.ends_with("USDT")).map(market).collect())
}

/// How many candles the file has, and how many of them are closed.
fn check(directory: &Path, (exchange, name, socket, settle): (&str, &str, &str, &str)) -> (usize, usize) {
    let path = directory.join(exchange).join(format!("{name}.frames.jsonl.zst"));
    let frames: Vec<(String, Vec<Row>)> = read_fixture_frames(path)
        .unwrap()
        .map(|frame| frame.unwrap().raw)
        .map(|raw| (raw.clone(), expected(exchange, &raw)))
        .filter(|(_, rows)| rows.iter().any(|(id, ..)| id.ends_with("USDT")))
        .collect();
    let ids: BTreeSet<String> = frames.iter().flat_map(|(_, rows)| rows).map(|(id, ..)| id.clone()).collect();
    let markets = markets(&ids, settle);
    let mut session = adapter(exchange, &AdapterOptions::default()).unwrap().session(markets.clone());
    let mut out = Recorded::default();
    let mut apply = |kind, subject: &str, payload: &str, out: &mut Recorded| {
        session.apply(&Entry { kind, conn: 1, ts_recv: UnixNanos(7), subject, payload: payload.as_bytes() }, out);
    };
    let feeds: Vec<&Market> = markets.iter().collect();
    feeds.iter().for_each(|market| apply(EntryKind::FeedOpened, &format!("{} ohlc", market.symbol), "", &mut out));
    apply(EntryKind::Opened, socket, "", &mut out);
    frames.iter().for_each(|(raw, _)| apply(EntryKind::Frame, "", raw, &mut out));
    let got: Vec<Row> = out
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Candle(feed, candle) => Some(row(&feeds[*feed as usize].id, candle)),
            Event::Gap(_, gap) => panic!("{name}: {gap:?}"),
            _ => None,
        })
        .collect();
    let all: Vec<Row> = frames.into_iter().flat_map(|(_, rows)| rows).collect();
    assert_eq!(got, all, "{name}");
    (got.len(), got.iter().filter(|(.., closed)| *closed).count())
}

#[test]
fn every_recorded_candle_comes_with_its_own_digits() {
    let name = "every_recorded_candle_comes_with_its_own_digits";
    let Some(directory) = fixtures() else { return skip(name, "no recorded messages; set DCCD_FIXTURES") };
    let counts: Vec<_> = FILES.iter().map(|file| check(&directory, *file)).collect();
    let all = counts.iter().fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    assert!(all.0 >= 250 && all.1 >= 3, "{counts:?}");
}
