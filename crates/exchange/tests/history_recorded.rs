//! Recorded answers of the real exchanges about their past are read whole, with their own digits. What is expected is worked
//! out here a second time, plainly, from `serde_json::Value`s and texts.

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

/// Fields of the row, by their places, as the wire wrote them.
fn check_row(candle: &Candle, row: &Value, places: [usize; 5], trades: usize) {
    let fields = [candle.open, candle.high, candle.low, candle.close, candle.volume];
    for (decimal, at) in fields.into_iter().zip(places) {
        assert_eq!(decimal.to_string(), row[at].as_str().unwrap(), "{row}");
    }
    assert_eq!(candle.trades, row[trades].as_u64().unwrap(), "{row}");
}

#[test]
fn recorded_pages_of_binance_are_read() {
    let Some(directory) = directory("binance", "recorded_pages_of_binance_are_read") else { return };
    let history = exchange("binance");
    let history = history.history().unwrap();
    let (mut pages, mut rows, mut trade_pages, mut refused) = (0, 0, 0, 0);
    for frame in read_fixture_frames(directory.join("rest/gct2025_spot.frames.jsonl.zst")).unwrap() {
        let frame = frame.unwrap();
        let value: Value = serde_json::from_str(&frame.raw).unwrap();
        if frame.conn.contains("/api/v3/klines?") {
            let label = frame.conn.split("interval=").nth(1).unwrap().split('&').next().unwrap();
            let span: Span = label.parse().unwrap();
            match candles("binance", span, frame.raw.as_bytes()) {
                Ok(candles) => {
                    let listed = value.as_array().unwrap();
                    assert_eq!(candles.len(), listed.len(), "{}", frame.conn);
                    for (candle, row) in candles.iter().zip(listed) {
                        check_row(candle, row, [1, 2, 3, 4, 5], 8);
                        assert_eq!(candle.quote_volume.to_string(), row[7].as_str().unwrap());
                        assert_eq!(candle.ts_open.as_millis(), row[0].as_i64().unwrap());
                        assert_eq!(candle.ts_open.0 % (i64::from(span.as_secs()) * 1_000_000_000), 0, "{row}");
                    }
                    assert!(candles.is_sorted_by(|a, b| a.ts_open < b.ts_open), "{}", frame.conn);
                    (pages, rows) = (pages + 1, rows + candles.len());
                }
                Err(error) => {
                    assert!(matches!(error, HistoryError::Refused { .. }) && value.get("code").is_some(), "{error}");
                    refused += 1;
                }
            }
        } else if frame.conn.contains("Trades?") || frame.conn.contains("/trades?") {
            let Some(listed) = value.as_array() else { continue };
            let aggregated = frame.conn.contains("aggTrades");
            let mut trades: Vec<Trade> = Vec::new();
            let cursor = if aggregated { TradeCursor::Time(UnixNanos(1)) } else { TradeCursor::Id(1) };
            let page = history.parse_trades_page(frame.raw.as_bytes(), cursor, UnixNanos(1), &mut trades).unwrap();
            if aggregated {
                assert_eq!(page.next, TradeCursor::Id(listed[0]["f"].as_u64().unwrap()), "{}", frame.conn);
            } else {
                assert_eq!(trades.len(), listed.len());
                for (trade, row) in trades.iter().zip(listed) {
                    assert_eq!(trade.price.to_string(), row["price"].as_str().unwrap());
                    assert_eq!(trade.amount.to_string(), row["qty"].as_str().unwrap());
                    assert_eq!(trade.id, TradeId(row["id"].as_u64().unwrap().into()));
                    assert_eq!(trade.side == Side::Sell, row["isBuyerMaker"].as_bool().unwrap());
                }
                assert_eq!(page.next, TradeCursor::Id(trades.last().unwrap().id.low() + 1));
            }
            trade_pages += 1;
        }
    }
    assert!(
        pages >= 12 && rows > 100 && trade_pages >= 20,
        "{pages} pages, {rows} rows, {trade_pages} of trades, {refused}"
    );
}

#[test]
fn recorded_candles_of_kraken_are_read() {
    let Some(directory) = directory("kraken", "recorded_candles_of_kraken_are_read") else { return };
    let body = body(&directory, "rest/nautilus_ohlc_XBTUSDT_1m_20251110.json.zst");
    let kraken = exchange("kraken");
    let span = Span::from_secs(60).unwrap();
    let candles = candles("kraken", span, &body).unwrap();
    let value: Value = serde_json::from_slice(&body).unwrap();
    let listed = value["result"]["XBTUSDT"].as_array().unwrap();
    assert_eq!(candles.len(), listed.len());
    for (candle, row) in candles.iter().zip(listed) {
        check_row(candle, row, [1, 2, 3, 4, 6], 7);
        assert_eq!(candle.ts_open, UnixNanos::from_secs(row[0].as_i64().unwrap()));
    }
    // What the adapter says about it: quiet minutes are sent, 720 are closed, and one more is open.
    assert!(candles.windows(2).all(|w| w[1].ts_open.0 - w[0].ts_open.0 == 60_000_000_000));
    assert!(candles.iter().any(|c| c.trades == 0 && c.volume.is_zero() && c.open == c.close));
    let pages = kraken.candle_pages(span).unwrap();
    assert_eq!((pages.per_page as usize, pages.reach), (candles.len(), Some(720)));
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
