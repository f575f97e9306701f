//! The past of Binance: what is asked for, to the letter, and how answers are read, from messages written by hand.

mod support;

use std::sync::Arc;
use std::time::Duration;

use dccd_exchange::{Adapter, AdapterOptions, History, HistoryError, Market, Product, TradeCursor, TradePage, adapter};
use dccd_model::{Candle, Decimal, Flags, Side, Span, Trade, TradeId, UnixNanos};

const NOW: UnixNanos = UnixNanos(1_763_630_000_000_000_000);
/// Two candles and the beginning of a third's fields, as the exchange's documents have them.
const KLINES: &str = r#"[[1499040000000,"0.01634790","0.80000000","0.01575800","0.01577100","148976.11427815",1499644799999,"2434.19055334",308,"1756.87402397","28.46694368","0"],[1499644800000,"0.01577100","0.01577100","0.01577100","0.01577100","0.00000000",1500249599999,"0.00000000",0,"0.00000000","0.00000000","0"]]"#;

fn binance(aggregated_trades: bool) -> Arc<dyn Adapter> {
    adapter("binance", &AdapterOptions { aggregated_trades, depth: None }).unwrap()
}

fn market() -> Market {
    let markets = binance(false).parse_markets(support::EXCHANGE_INFO).unwrap();
    markets.by_symbol(&"BTC/USDT".parse().unwrap()).unwrap().clone()
}

fn span(label: &str) -> Span {
    label.parse().unwrap()
}

fn candles(body: &str) -> Result<Vec<Candle>, HistoryError> {
    let mut out = Vec::new();
    binance(false).history().unwrap().parse_candles(body.as_bytes(), span("1w"), NOW, &mut out).map(|()| out)
}

fn trades(history: &dyn History, body: &str, cursor: TradeCursor) -> Result<(Vec<Trade>, TradePage), HistoryError> {
    let mut out = Vec::new();
    history.parse_trades_page(body.as_bytes(), cursor, NOW, &mut out).map(|page| (out, page))
}

fn number(text: &str) -> Decimal {
    Decimal::parse(text.as_bytes()).unwrap()
}

#[test]
fn requests_for_candles_are_bounded_at_both_ends_and_cost_two() {
    let binance = binance(false);
    let history = binance.history().unwrap();
    let request = |label: &str, from: i64, to: i64, limit| {
        let request = history.candles_request(&market(), span(label), UnixNanos(from), UnixNanos(to), limit);
        assert_eq!(request.weight, 2);
        request.path_and_query
    };
    let minute = 60_000_000_000;
    let path = "/api/v3/klines?symbol=BTCUSDT";
    // The end is inclusive at the exchange and exclusive here.
    assert_eq!(request("1m", minute, 3 * minute, 2), format!("{path}&interval=1m&startTime=60000&endTime=179999&limit=2"));
    assert_eq!(request("1w", 0, minute, 5_000), format!("{path}&interval=1w&startTime=0&endTime=59999&limit=1000"));
    assert_eq!(request("4h", 1, 1_000_001, 0), format!("{path}&interval=4h&startTime=1&endTime=1&limit=1"));
    assert_eq!(request("3d", -5, -7, 1), format!("{path}&interval=3d&startTime=0&endTime=0&limit=1"));
    let labels: Vec<String> = history.spans().iter().map(|seconds| Span::from_secs(*seconds).unwrap().to_string()).collect();
    assert_eq!(
        labels,
        ["1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w"],
        "these are the exchange's own words"
    );
}

#[test]
fn a_span_that_is_not_offered_is_refused_with_those_that_are() {
    assert_eq!(
        binance(false).candle_pages(span("10m")).unwrap_err().to_string(),
        "binance has no candles of 10m; it has candles of 1m, 3m, 5m, 15m, 30m, 1h, 2h, 4h, 6h, 8h, 12h, 1d, 3d, 1w"
    );
}

#[test]
fn candles_keep_their_digits_and_empty_ones_come_along() {
    let candles = candles(KLINES).unwrap();
    let first = Candle {
        ts_open: UnixNanos::from_secs(1_499_040_000),
        ts_recv: NOW,
        open: number("0.01634790"),
        high: number("0.80000000"),
        low: number("0.01575800"),
        close: number("0.01577100"),
        volume: number("148976.11427815"),
        quote_volume: number("2434.19055334"),
        trades: 308,
        span: span("1w"),
        flags: Flags::NONE,
    };
    assert_eq!(candles[0], first);
    assert_eq!((candles[0].open.mantissa, candles[0].open.exponent), (1_634_790, -8));
    assert_eq!(candles[1].ts_open, UnixNanos::from_secs(1_499_644_800));
    assert_eq!((candles[1].trades, candles[1].volume.exponent), (0, -8));
    assert_eq!(candles.len(), 2);
}

#[test]
fn times_in_microseconds_and_numbers_without_quotes_are_read_too() {
    let micros = KLINES.replace("1499040000000", "1499040000000000").replace("1499644800000", "1499644800000000");
    assert_eq!(candles(&micros).unwrap(), candles(KLINES).unwrap());
    let bare = KLINES.replace('"', "");
    assert_eq!(candles(&bare).unwrap(), candles(KLINES).unwrap());
    let kept = candles(&bare).unwrap();
    assert_eq!((kept[0].high.mantissa, kept[0].high.exponent), (80_000_000, -8));
}

#[test]
fn candles_that_cannot_be_name_the_row_and_the_field() {
    let row = |o: &str, h: &str, l: &str, c: &str, v: &str, q: &str| {
        let good = r#"[0,"2","3","1","2","1",59999,"2",1,"0","0","0"]"#;
        format!(r#"[{good},[60000,"{o}","{h}","{l}","{c}","{v}",119999,"{q}",1,"0","0","0"]]"#)
    };
    for (body, field) in [
        (row("2", "1", "2", "2", "1", "1"), "high"),
        (row("4", "3", "1", "2", "1", "1"), "open"),
        (row("0.5", "3", "1", "2", "1", "1"), "open"),
        (row("2", "3", "1", "3.1", "1", "1"), "close"),
        (row("2", "3", "-1", "2", "1", "1"), "low"),
        (row("2", "3", "1", "2", "-1", "1"), "volume"),
        (row("2", "3", "1", "2", "1", "-1"), "quote volume"),
    ] {
        let error = candles(&body).unwrap_err();
        assert!(error.is_worth_retrying());
        assert_eq!(error.to_string(), format!("row 1 of the answer of binance to \"candles\" can't be: {field}"));
    }
    assert!(candles(&row("2", "3", "1", "2", "1", "1")).is_ok());
}

#[test]
fn candles_out_of_order_are_put_into_it_and_twins_stay() {
    let rows = |times: &[u64]| {
        let rows: Vec<String> =
            times.iter().map(|t| format!(r#"[{t},"2","3","1","2","1",0,"2",{t},"0","0","0",{{"more":[1]}}]"#)).collect();
        let candles = candles(&format!("[{}]", rows.join(","))).unwrap();
        candles.iter().map(|c| c.ts_open.as_millis()).collect::<Vec<_>>()
    };
    assert_eq!(rows(&[180_000, 120_000, 60_000]), [60_000, 120_000, 180_000]);
    assert_eq!(rows(&[60_000, 180_000, 60_000]), [60_000, 60_000, 180_000]);
}

#[test]
fn an_answer_that_is_cut_off_anywhere_is_an_error() {
    for end in 0..KLINES.len() {
        let error = candles(&KLINES[..end]).unwrap_err();
        let expected = format!("the answer of binance to \"candles\" can't be read ({end} bytes)");
        assert_eq!(error.to_string(), expected, "{}", &KLINES[..end]);
    }
}

#[test]
fn the_exchanges_own_errors_are_told_apart() {
    let error = |body: &str| candles(body).unwrap_err();
    let refused = error(r#"{"code":-1121,"msg":"Invalid symbol."}"#);
    assert!(!refused.is_worth_retrying());
    assert_eq!(refused.to_string(), "binance refuses the request: code -1121: Invalid symbol.");
    let HistoryError::RateLimited { wait, .. } = error(r#"{"code":-1003,"msg":"Too many requests."}"#) else {
        panic!("another error");
    };
    assert_eq!(wait, Duration::from_secs(60));
    let ban = r#"{"code":-1003,"msg":"Way too much request weight used; IP banned until 1763630628570. Use.."}"#;
    let HistoryError::RateLimited { wait, .. } = error(ban) else { panic!("another error") };
    assert_eq!(wait, Duration::from_millis(628_570));
    assert!(matches!(error(r#"{"code":-1001,"msg":"Internal error"}"#), HistoryError::Unavailable { .. }));
    assert!(matches!(error(r#"{"msg":"no code"}"#), HistoryError::Unreadable { .. }));
    let binance = binance(false);
    let refused = trades(binance.history().unwrap(), r#"{"code":-1121,"msg":"x"}"#, TradeCursor::Id(1)).unwrap_err();
    assert!(matches!(refused, HistoryError::Refused { .. }));
}

#[test]
fn single_trades_are_found_by_time_and_paged_by_id() {
    let binance = binance(false);
    let history = binance.history().unwrap();
    let request = |cursor| {
        let request = history.trades_page_request(&market(), cursor);
        (request.path_and_query, request.weight)
    };
    let time = TradeCursor::Time(UnixNanos(1_700_000_000_123_456_789));
    assert_eq!(request(time), ("/api/v3/aggTrades?symbol=BTCUSDT&startTime=1700000000123&limit=10".to_owned(), 4));
    assert_eq!(request(TradeCursor::Id(7)), ("/api/v3/historicalTrades?symbol=BTCUSDT&fromId=7&limit=1000".to_owned(), 25));
    let dummy = r#"{"a":1,"p":"0","q":"0","f":-1,"l":-1,"T":1700000000500,"m":true}"#;
    let found = r#"{"a":2,"p":"1","q":"1","f":4000000000,"l":4000000007,"T":1700000000600,"m":true}"#;
    let next = |body: String, cursor| {
        let (trades, page) = trades(history, &body, cursor).unwrap();
        assert!(trades.is_empty());
        (page.next, page.is_last)
    };
    assert_eq!(next(format!("[{dummy},{found}]"), time), (TradeCursor::Id(4_000_000_000), false));
    let later = TradeCursor::Time(UnixNanos::from_millis(1_700_000_000_501));
    assert_eq!(next(format!("[{dummy}]"), time), (later, false), "looking for trades stands still");
    assert_eq!(next("[]".to_owned(), time), (time, true));
}

#[test]
fn a_page_of_single_trades_says_where_the_next_begins() {
    let binance = binance(false);
    let history = binance.history().unwrap();
    let row = |id: u64| {
        format!(
            r#"{{"id":{id},"price":"4.00000100","qty":"12.00000000","quoteQty":"48.000012","time":1499865549590,"isBuyerMaker":{},"isBestMatch":true}}"#,
            id.is_multiple_of(2)
        )
    };
    let page = |ids: std::ops::Range<u64>| format!("[{}]", ids.map(row).collect::<Vec<_>>().join(","));
    let (trades, short) = trades(history, &page(28_457..28_459), TradeCursor::Id(28_457)).unwrap();
    let expected = Trade {
        ts_venue: UnixNanos::from_millis(1_499_865_549_590),
        ts_recv: NOW,
        price: number("4.00000100"),
        amount: number("12.00000000"),
        id: TradeId(28_457),
        side: Side::Buy,
        flags: Flags::NONE,
        epoch: 0,
    };
    assert_eq!(trades[0], expected);
    assert_eq!((trades[1].side, trades[0].price.exponent), (Side::Sell, -8));
    assert_eq!(short, TradePage { next: TradeCursor::Id(28_459), is_last: true });
    let (trades, full) = self::trades(history, &page(1..1_001), TradeCursor::Id(1)).unwrap();
    assert_eq!((trades.len(), full), (1_000, TradePage { next: TradeCursor::Id(1_001), is_last: false }));
    let (_, empty) = self::trades(history, "[]", TradeCursor::Id(9)).unwrap();
    assert_eq!(empty, TradePage { next: TradeCursor::Id(9), is_last: true });
    // Aggregated trades have ids of another space.
    let foreign = r#"[{"a":1,"p":"1","q":"1","f":1,"l":1,"T":1700000000500,"m":true}]"#;
    assert_eq!(
        self::trades(history, foreign, TradeCursor::Id(1)).unwrap_err().to_string(),
        "row 0 of the answer of binance to \"trades\" can't be: id"
    );
    let negative = page(1..3).replacen("12.0", "-12.0", 1);
    assert!(matches!(
        self::trades(history, &negative, TradeCursor::Id(1)),
        Err(HistoryError::BadRow { row: 0, field: "qty", .. })
    ));
}

#[test]
fn an_adapter_for_aggregated_trades_pages_these() {
    let binance = binance(true);
    let history = binance.history().unwrap();
    let request = |cursor| history.trades_page_request(&market(), cursor).path_and_query;
    let time = TradeCursor::Time(UnixNanos::from_millis(1_700_000_000_123));
    assert_eq!(request(time), "/api/v3/aggTrades?symbol=BTCUSDT&startTime=1700000000123&limit=1000");
    assert_eq!(request(TradeCursor::Id(7)), "/api/v3/aggTrades?symbol=BTCUSDT&fromId=7&limit=1000");
    let body = r#"[{"a":26129,"p":"0.01633102","q":"4.70443515","f":27781,"l":27781,"T":1498793709153,"m":true,"M":true}]"#;
    let (trades, page) = trades(history, body, time).unwrap();
    assert_eq!((trades[0].id, trades[0].side), (TradeId(26_129), Side::Sell));
    assert_eq!(page, TradePage { next: TradeCursor::Id(26_130), is_last: true });
}

#[test]
fn candles_of_perpetuals_come_from_their_address_and_their_trades_are_no_source() {
    let binance = binance(false);
    let history = binance.history().unwrap();
    let perpetual: Market = {
        let markets = binance.parse_markets(support::EXCHANGE_INFO_USDM).unwrap();
        markets.by_symbol(&"BTC/USDT:USDT".parse().unwrap()).unwrap().clone()
    };
    let minute = 60_000_000_000;
    for (limit, weight) in [(1, 1), (99, 1), (100, 2), (499, 2), (500, 5), (1_000, 5), (5_000, 5)] {
        let request = history.candles_request(&perpetual, span("1m"), UnixNanos(minute), UnixNanos(3 * minute), limit);
        let limit = limit.min(1_000);
        let path = format!("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&startTime=60000&endTime=179999&limit={limit}");
        let expected = (path, weight, "klines BTC/USDT:USDT 1m 60000", Product::Linear);
        assert_eq!((request.path_and_query, request.weight, request.subject.as_str(), request.product), expected);
    }
    assert!(history.trade_pages_of(&market().symbol).is_some(), "spot has all of them");
    assert!(history.trade_pages_of(&perpetual.symbol).is_none(), "a day is not the past");
    for (cursor, query) in
        [(TradeCursor::Time(UnixNanos(5_000_000)), "startTime=5&limit=1000"), (TradeCursor::Id(7), "fromId=7&limit=1000")]
    {
        let request = history.trades_page_request(&perpetual, cursor);
        assert_eq!((request.weight, request.product), (20, Product::Linear));
        assert_eq!(request.path_and_query, format!("/fapi/v1/aggTrades?symbol=BTCUSDT&{query}"));
    }
}
