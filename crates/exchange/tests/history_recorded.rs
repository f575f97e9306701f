//! Recorded and documented answers about the past, beside those in `recorded_history.rs`: aggregates, times to the digit, the
//! list of Kraken's markets, quoted errors. What is expected is worked out here a second time, from `Value`s and texts.

use std::path::PathBuf;

use dccd_exchange::{Adapter, AdapterOptions, HistoryError, TradeCursor, adapter};
use dccd_model::{Candle, Side, Span, Trade, TradeId, UnixNanos};
use dccd_testkit::{fixtures, read_fixture_frames, skip};
use serde_json::Value;

fn exchange(name: &str) -> std::sync::Arc<dyn Adapter> {
    adapter(name, &AdapterOptions::default()).unwrap()
}

fn directory(name: &str, test: &str) -> Option<PathBuf> {
    let found = fixtures().map(|path| path.join(name)).filter(|path| path.is_dir());
    if found.is_none() {
        skip(test, &format!("no recorded messages of {name}; set DCCD_FIXTURES"));
    }
    found
}

fn body(directory: &std::path::Path, name: &str) -> Vec<u8> {
    zstd::decode_all(std::fs::File::open(directory.join(name)).unwrap()).unwrap()
}

fn candles(name: &str, span: Span, body: &[u8]) -> Result<Vec<Candle>, HistoryError> {
    let mut out = Vec::new();
    exchange(name).history().unwrap().parse_candles(body, span, UnixNanos(1), &mut out).map(|()| out)
}

#[test]
fn recorded_aggregates_of_binance_tell_the_single_trade_to_begin_with_and_recent_trades_are_read() {
    let test = "recorded_aggregates_of_binance_tell_the_single_trade_to_begin_with_and_recent_trades_are_read";
    let Some(directory) = directory("binance", test) else { return };
    let binance = exchange("binance");
    let history = binance.history().unwrap();
    let (mut found, mut read) = (0, 0);
    for frame in read_fixture_frames(directory.join("rest/gct2025_spot.frames.jsonl.zst")).unwrap() {
        let frame = frame.unwrap();
        let Ok(Value::Array(rows)) = serde_json::from_str(&frame.raw) else { continue };
        let mut trades: Vec<Trade> = Vec::new();
        let mut page = |cursor| history.parse_trades_page(frame.raw.as_bytes(), cursor, UnixNanos(1), &mut trades).unwrap();
        if frame.conn.contains("/aggTrades?") {
            assert_eq!(page(TradeCursor::Time(UnixNanos(1))).next, TradeCursor::Id(rows[0]["f"].as_u64().unwrap()));
            assert!(trades.is_empty(), "aggregates came out as single trades");
            found += 1;
        } else if frame.conn.contains("/trades?") {
            let next = page(TradeCursor::Id(1)).next;
            assert_eq!(trades.len(), rows.len());
            for (trade, row) in trades.iter().zip(&rows) {
                assert_eq!(trade.price.to_string(), row["price"].as_str().unwrap());
                assert_eq!(trade.amount.to_string(), row["qty"].as_str().unwrap());
                assert_eq!(trade.id, TradeId(row["id"].as_u64().unwrap().into()));
                assert_eq!(trade.side == Side::Sell, row["isBuyerMaker"].as_bool().unwrap());
            }
            assert_eq!(next, TradeCursor::Id(trades.last().unwrap().id.low() + 1));
            read += 1;
        }
    }
    assert!(found >= 20 && read == 3, "{found} answers of aggregates, {read} of recent trades");
}

#[test]
fn recorded_trades_of_kraken_are_read_and_their_mark_is_the_last_ones_time() {
    let test = "recorded_trades_of_kraken_are_read_and_their_mark_is_the_last_ones_time";
    let Some(directory) = directory("kraken", test) else { return };
    let body = body(&directory, "rest/nautilus_trades_XBTUSDT_20251110.json.zst");
    let kraken = exchange("kraken");
    let mut trades = Vec::new();
    let page = kraken
        .history()
        .unwrap()
        .parse_trades_page(&body, TradeCursor::Time(UnixNanos(1)), UnixNanos(1), &mut trades)
        .unwrap();
    assert_eq!(trades.len(), 1_000);
    assert!(trades.windows(2).all(|w| w[1].id.0 == w[0].id.0 + 1 && w[1].ts_venue >= w[0].ts_venue));
    // The digits, by the texts of the rows themselves.
    let text: String = String::from_utf8(body).unwrap().split_ascii_whitespace().collect();
    for trade in &trades {
        let (seconds, nanos) = (trade.ts_venue.0 / 1_000_000_000, trade.ts_venue.0 % 1_000_000_000);
        let fraction = format!("{nanos:09}");
        let fraction = fraction.trim_end_matches('0');
        let side = if trade.side == Side::Buy { "b" } else { "s" };
        let row = format!(r#"["{}","{}",{seconds}.{fraction},"{side}","#, trade.price, trade.amount);
        assert!(text.contains(&row), "{row} is not on the page");
    }
    let last: i64 = text.split("\"last\":\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
    assert!((trades[999].ts_venue.0 - last).abs() < 240, "the row's time is a rounded double");
    assert_eq!((page.next, page.is_last), (TradeCursor::Mark(last.unsigned_abs() - 1), false));
}

#[test]
fn the_recorded_list_of_krakens_markets_is_read() {
    let Some(directory) = directory("kraken", "the_recorded_list_of_krakens_markets_is_read") else { return };
    let body = body(&directory, "rest/cf_0_public_AssetPairs_20210417.json.zst");
    let markets = exchange("kraken").parse_markets(&body).unwrap();
    let value: Value = serde_json::from_slice(&body).unwrap();
    let listed = value["result"].as_object().unwrap();
    let dark = listed.keys().filter(|id| id.ends_with(".d")).count();
    assert_eq!((markets.len(), markets.skipped()), (listed.len() - dark, 0));
    for (symbol, id) in
        [("BTC/USD", "XXBTZUSD"), ("DOGE/USDT", "XDGUSDT"), ("DOGE/BTC", "XXDGXXBT"), ("AAVE/ETH", "AAVEETH")]
    {
        assert_eq!(markets.by_symbol(&symbol.parse().unwrap()).unwrap().id, id);
    }
}

#[test]
fn quoted_errors_and_documented_answers_are_understood() {
    let test = "quoted_errors_and_documented_answers_are_understood";
    let (Some(binance), Some(kraken)) = (directory("binance", test), directory("kraken", test)) else { return };
    let span = Span::from_secs(60).unwrap();
    let errors = |directory: &PathBuf, name: &str| -> Vec<HistoryError> {
        read_fixture_frames(directory.join("rest/errors_quoted.frames.jsonl.zst"))
            .unwrap()
            .map(|frame| frame.unwrap().raw)
            .filter(|raw| !raw.contains("\"method\""))
            .map(|raw| candles(name, span, raw.as_bytes()).unwrap_err())
            .collect()
    };
    let of_binance = errors(&binance, "binance");
    assert!(matches!(
        of_binance[..],
        [HistoryError::RateLimited { .. }, HistoryError::RateLimited { .. }, HistoryError::Refused { .. }]
    ));
    assert!(matches!(errors(&kraken, "kraken")[..], [HistoryError::Refused { .. }, HistoryError::RateLimited { .. }]));
    let mut read = 0;
    for (directory, name, path) in [(&binance, "binance", "/api/v3/uiKlines"), (&kraken, "kraken", "/0/public/OHLC")] {
        let lines = String::from_utf8(body(directory, "docs_jkorf.jsonl.zst")).unwrap();
        for line in lines.lines() {
            let value: Value = serde_json::from_str(line).unwrap();
            let text = value["text"].as_str().unwrap();
            if text.starts_with(&format!("GET\n{path}\n")) {
                let answer = text.splitn(4, '\n').nth(3).unwrap();
                assert!(!candles(name, span, answer.as_bytes()).unwrap().is_empty());
                read += 1;
            }
        }
    }
    assert_eq!(read, 2);
}
