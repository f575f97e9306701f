//! Recorded answers of the REST sides pass through the history parsers: every candle and trade once, with its own digits.
//! What is expected is worked out here a second time, plainly, from `serde_json::Value`s.

use std::path::PathBuf;
use std::sync::Arc;

use dccd_exchange::{Adapter, AdapterOptions, HistoryError, TradeCursor, adapter};
use dccd_model::{Candle, Decimal, Side, Span, Trade, UnixNanos};
use dccd_testkit::{fixtures, read_fixture_frames, skip};
use serde_json::Value;

const TS_RECV: UnixNanos = UnixNanos(7);

fn named(name: &str) -> Arc<dyn Adapter> {
    adapter(name, &AdapterOptions::default()).unwrap()
}

fn file(test: &str, path: &str) -> Option<PathBuf> {
    let found = fixtures().map(|directory| directory.join(path)).filter(|path| path.is_file());
    if found.is_none() {
        skip(test, "no recorded messages; set DCCD_FIXTURES");
    }
    found
}

fn decompressed(path: &PathBuf) -> Vec<u8> {
    zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap()
}

fn decimal(value: &Value) -> Decimal {
    match value {
        Value::String(text) => Decimal::parse(text.as_bytes()).unwrap(),
        other => Decimal::parse(other.to_string().as_bytes()).unwrap(),
    }
}

fn digits(decimal: Decimal) -> (i64, i8) {
    (decimal.mantissa, decimal.exponent)
}

fn span_of(label: &str) -> Span {
    label.parse().unwrap()
}

fn parameter<'a>(address: &'a str, name: &str) -> Option<&'a str> {
    address.split(['?', '&']).find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

#[test]
fn every_recorded_kline_of_binance_keeps_its_digits_and_lies_on_its_grid() {
    let test = "every_recorded_kline_of_binance_keeps_its_digits_and_lies_on_its_grid";
    let Some(path) = file(test, "binance/rest/gct2025_spot.frames.jsonl.zst") else { return };
    let binance = named("binance");
    let history = binance.history().unwrap();
    let (mut pages, mut rows) = (0, 0);
    for frame in read_fixture_frames(&path).unwrap().map(Result::unwrap).filter(|frame| frame.conn.contains("/klines?")) {
        let span = span_of(parameter(&frame.conn, "interval").unwrap());
        let mut candles: Vec<Candle> = Vec::new();
        history
            .parse_candles(frame.raw.as_bytes(), span, TS_RECV, &mut candles)
            .unwrap_or_else(|e| panic!("{}: {e}", frame.conn));
        let expected: Vec<Vec<Value>> = serde_json::from_str(&frame.raw).unwrap();
        assert_eq!(candles.len(), expected.len(), "{}", frame.conn);
        for (candle, row) in candles.iter().zip(&expected) {
            assert_eq!(candle.ts_open.as_millis(), row[0].as_i64().unwrap());
            for (ours, theirs) in [
                (candle.open, &row[1]),
                (candle.high, &row[2]),
                (candle.low, &row[3]),
                (candle.close, &row[4]),
                (candle.volume, &row[5]),
                (candle.quote_volume, &row[7]),
            ] {
                assert_eq!(digits(ours), digits(decimal(theirs)), "{}", frame.conn);
            }
            assert_eq!((candle.trades, candle.ts_recv, candle.span), (row[8].as_u64().unwrap(), TS_RECV, span));
            assert_eq!(candle.ts_open.0 % (i64::from(span.as_secs()) * 1_000_000_000), 0);
        }
        pages += 1;
        rows += candles.len();
    }
    assert!(pages >= 12 && rows > 2_000, "{pages} pages, {rows} rows");
}

#[test]
fn recorded_trades_of_binance_by_id_are_read_and_the_next_page_follows_them() {
    let test = "recorded_trades_of_binance_by_id_are_read_and_the_next_page_follows_them";
    let Some(path) = file(test, "binance/rest/gct2025_spot.frames.jsonl.zst") else { return };
    let binance = named("binance");
    let history = binance.history().unwrap();
    let mut pages = 0;
    for frame in read_fixture_frames(&path).unwrap().map(Result::unwrap).filter(|f| f.conn.contains("/historicalTrades?")) {
        let mut trades: Vec<Trade> = Vec::new();
        let page = history.parse_trades_page(frame.raw.as_bytes(), TradeCursor::Id(0), TS_RECV, &mut trades).unwrap();
        let expected: Vec<Value> = serde_json::from_str(&frame.raw).unwrap();
        assert_eq!(trades.len(), expected.len());
        for (trade, row) in trades.iter().zip(&expected) {
            assert_eq!(trade.id.low(), row["id"].as_u64().unwrap());
            assert_eq!(digits(trade.price), digits(decimal(&row["price"])));
            assert_eq!(digits(trade.amount), digits(decimal(&row["qty"])));
            assert_eq!(trade.side == Side::Sell, row["isBuyerMaker"].as_bool().unwrap());
        }
        assert_eq!(page.next, TradeCursor::Id(trades.last().unwrap().id.low() + 1));
        pages += 1;
    }
    assert!(pages >= 1);
}

#[test]
fn the_recorded_candles_of_kraken_are_its_720_and_the_open_one_quiet_minutes_among_them() {
    let test = "the_recorded_candles_of_kraken_are_its_720_and_the_open_one_quiet_minutes_among_them";
    let Some(path) = file(test, "kraken/rest/nautilus_ohlc_XBTUSDT_1m_20251110.json.zst") else { return };
    let kraken = named("kraken");
    let body = decompressed(&path);
    let mut candles: Vec<Candle> = Vec::new();
    kraken.history().unwrap().parse_candles(&body, span_of("1m"), TS_RECV, &mut candles).unwrap();
    let value: Value = serde_json::from_slice(&body).unwrap();
    let rows = value["result"]["XBTUSDT"].as_array().unwrap();
    assert_eq!((candles.len(), rows.len()), (721, 721));
    for (candle, row) in candles.iter().zip(rows) {
        assert_eq!(candle.ts_open.as_millis() / 1_000, row[0].as_i64().unwrap());
        for (ours, at) in [(candle.open, 1), (candle.high, 2), (candle.low, 3), (candle.close, 4), (candle.volume, 6)] {
            assert_eq!(digits(ours), digits(decimal(&row[at])));
        }
        assert_eq!(candle.trades, row[7].as_u64().unwrap());
    }
    assert!(candles.windows(2).all(|pair| pair[1].ts_open.since(pair[0].ts_open).as_secs() == 60));
    let pages = kraken.history().unwrap().candle_pages(span_of("1m")).unwrap();
    assert!(pages.sends_empty && candles.iter().filter(|candle| candle.trades == 0).count() == 216);
}

#[test]
fn the_recorded_trades_of_kraken_have_contiguous_ids_and_the_cursor_overlaps_by_the_last_nanosecond() {
    let test = "the_recorded_trades_of_kraken_have_contiguous_ids_and_the_cursor_overlaps_by_the_last_nanosecond";
    let Some(path) = file(test, "kraken/rest/nautilus_trades_XBTUSDT_20251110.json.zst") else { return };
    let kraken = named("kraken");
    let body = decompressed(&path);
    let mut trades: Vec<Trade> = Vec::new();
    let page =
        kraken.history().unwrap().parse_trades_page(&body, TradeCursor::Time(UnixNanos(1)), TS_RECV, &mut trades).unwrap();
    assert_eq!(trades.len(), 1_000);
    assert!(trades.windows(2).all(|pair| pair[1].id.low() == pair[0].id.low() + 1));
    // `last` as recorded, to the nanosecond, less one.
    assert_eq!(page.next, TradeCursor::Mark(1_762_820_035_982_277_753));
    assert!(!page.is_last);
    let first = &trades[0];
    assert_eq!((first.id.low(), first.side), (10_218_208, Side::Buy));
    assert_eq!((digits(first.price), digits(first.amount)), ((10_543_360_000, -5), (27_625, -8)));
    assert_eq!(first.ts_venue, UnixNanos(1_762_795_433_971_744_500));
}

#[test]
fn the_quoted_errors_of_kraken_are_told_apart() {
    let test = "the_quoted_errors_of_kraken_are_told_apart";
    let Some(path) = file(test, "kraken/rest/errors_quoted.frames.jsonl.zst") else { return };
    let kraken = named("kraken");
    let history = kraken.history().unwrap();
    let mut kinds = Vec::new();
    for frame in read_fixture_frames(&path).unwrap().map(Result::unwrap).filter(|f| f.raw.starts_with("{\"error\":[")) {
        kinds.push(match history.parse_candles(frame.raw.as_bytes(), span_of("1m"), TS_RECV, &mut Vec::new()) {
            Err(HistoryError::Refused { message, .. }) => format!("refused {message}"),
            Err(HistoryError::RateLimited { message, .. }) => format!("limited {message}"),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(kinds, ["refused EQuery:Unknown asset pair", "limited EGeneral:Too many requests"]);
}

#[test]
fn the_recorded_markets_of_kraken_are_read() {
    let test = "the_recorded_markets_of_kraken_are_read";
    let Some(path) = file(test, "kraken/rest/cf_0_public_AssetPairs_20210417.json.zst") else { return };
    let markets = named("kraken").parse_markets(&decompressed(&path)).unwrap();
    let id = |symbol: &str| markets.by_symbol(&symbol.parse().unwrap()).map(|market| market.id.clone());
    assert!(markets.len() > 280, "{}", markets.len());
    assert!(id("BTC/USD").is_some() && id("DOGE/USD").is_some() && id("ETH/EUR").is_some());
}
