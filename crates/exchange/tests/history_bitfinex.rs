//! Bitfinex' candles and trades of the past: what is asked for and what is made of the answers, by hand-written ones.

mod support;

use dccd_exchange::conformance::{candle_page, trade_pages};
use dccd_exchange::{HistoryError, Market, RestRequest, TradeCursor, TradeHole};
use dccd_model::{Candle, Side, Span, UnixNanos};
use support::bitfinex::{bitfinex, markets};

fn span(label: &str) -> Span {
    label.parse().unwrap()
}

fn market(symbol: &str) -> Market {
    markets().by_symbol(&symbol.parse().unwrap()).unwrap().clone()
}

fn candles(body: &str) -> Result<Vec<Candle>, HistoryError> {
    let mut candles = Vec::new();
    let bitfinex = bitfinex();
    let read = bitfinex.history().unwrap().parse_candles(body.as_bytes(), span("1m"), UnixNanos(7), &mut candles);
    read.map(|()| candles)
}

#[test]
fn candles_are_asked_for_with_the_oldest_first() {
    let ask = |symbol: &str, label: &str, limit: u32| {
        let (from, to) = (UnixNanos::from_secs(60), UnixNanos::from_secs(180));
        bitfinex().history().unwrap().candles_request(&market(symbol), span(label), from, to, limit).path_and_query
    };
    let window = "hist?start=60000&end=179999";
    assert_eq!(ask("BTC/USD", "1m", 10_000), format!("/v2/candles/trade:1m:tBTCUSD/{window}&limit=10000&sort=1"));
    assert_eq!(ask("DOGE/USD", "3h", 99_999), format!("/v2/candles/trade:3h:tDOGE:USD/{window}&limit=10000&sort=1"));
    assert_eq!(ask("BTC/USDT:USDT", "1d", 0), format!("/v2/candles/trade:1D:tBTCF0:USTF0/{window}&limit=1&sort=1"));
    let spans: Vec<String> =
        bitfinex().history().unwrap().spans().iter().map(|s| Span::from_secs(*s).unwrap().to_string()).collect();
    assert_eq!(spans, ["1m", "5m", "15m", "30m", "1h", "3h", "6h", "12h", "1d"]);
}

#[test]
fn the_columns_of_a_candle_are_open_close_high_low() {
    let candle = candles("[[60000,2,3.5,4,1,1.5e-8,\"new\"]]").unwrap().remove(0);
    let numbers = [candle.open, candle.high, candle.low, candle.close, candle.volume].map(|n| n.to_string());
    assert_eq!(numbers, ["2", "4", "1", "3.5", "0.000000015"]);
    assert_eq!((candle.ts_open, candle.ts_recv, candle.trades), (UnixNanos::from_secs(60), UnixNanos(7), 0));
    assert_eq!(candles("[]").unwrap(), []);
}

#[test]
fn refusals_and_what_is_no_page_are_told_apart() {
    let refused = |code: u32, words: &str| candles(&format!(r#"["error",{code},"{words}"]"#)).unwrap_err();
    let limited = refused(11_010, "ratelimit: error");
    assert!(matches!(limited, HistoryError::RateLimited { wait, .. } if wait.as_secs() == 60));
    assert_eq!(limited.to_string(), "bitfinex says that it is asked too often: ratelimit: error (11010)");
    assert!(matches!(refused(10_000, "ERR_RATELIMIT"), HistoryError::RateLimited { .. }));
    assert!(matches!(refused(20_060, "maintenance"), HistoryError::Unavailable { .. }));
    assert_eq!(refused(10_020, "symbol: invalid").to_string(), "bitfinex refuses the request: symbol: invalid (10020)");
    for body in ["", "{}", "[[60000,2,3,4]]", "[[60000,2,3,4,1,\"x\"]]", "[[-1,2,3,4,1,1]]", "[[60000,2,3,4,1,1]", "[1]"] {
        assert!(matches!(candles(body), Err(HistoryError::Unreadable { .. })), "{body}");
    }
    for (row, wrong) in [("[60000,2,3,1,4,1]", "high"), ("[60000,5,3,4,1,1]", "open"), ("[60000,2,3,4,1,-1]", "volume")] {
        let error = candles(&format!("[{row}]")).unwrap_err();
        assert!(matches!(error, HistoryError::BadRow { field, .. } if field == wrong), "{row}: {error}");
    }
    let mut trades = Vec::new();
    let bitfinex = bitfinex();
    let history = bitfinex.history().unwrap();
    let mut read = |body: &[u8]| history.parse_trades_page(body, TradeCursor::Mark(0), UnixNanos(7), &mut trades);
    assert!(matches!(read(br#"["error",11010,"ratelimit: error"]"#), Err(HistoryError::RateLimited { .. })));
    assert!(matches!(read(b"[[1,2,3]]"), Err(HistoryError::Unreadable { .. })));
}

fn value(request: &RestRequest, key: &str) -> i64 {
    request.path_and_query.split(key).nth(1).unwrap().split('&').next().unwrap().parse().unwrap()
}

/// An exchange with a candle for each minute but every seventh, in which nothing was traded.
fn serve_candles(request: &RestRequest, minutes: i64) -> Vec<u8> {
    let (start, end, limit) = (value(request, "start="), value(request, "end="), value(request, "limit="));
    let rows: Vec<String> = (0..=minutes)
        .filter(|minute| minute % 7 != 0 && (start..=end).contains(&(minute * 60_000)))
        .take(usize::try_from(limit).unwrap())
        .map(|minute| format!("[{},2,2,3,1,1]", minute * 60_000))
        .collect();
    format!("[{}]", rows.join(",")).into_bytes()
}

#[test]
fn pages_of_candles_are_what_was_asked_for() {
    let (from, to) = (UnixNanos::from_secs(600), UnixNanos::from_secs(6_000));
    let page =
        candle_page(bitfinex().as_ref(), &market("BTC/USD"), span("1m"), from, to, &mut |r| serve_candles(r, 250)).unwrap();
    let opens: Vec<i64> = page.iter().map(|candle| candle.ts_open.as_millis() / 60_000).collect();
    assert_eq!(opens, (10..100).filter(|minute| minute % 7 != 0).collect::<Vec<_>>());
}

/// Trade n has id 10 n and came at n / 3 milliseconds: three share each, and a page may end between them.
fn serve_trades(request: &RestRequest, count: i64) -> Vec<u8> {
    let (start, limit) = (value(request, "start="), value(request, "limit="));
    let rows: Vec<String> = (0..count)
        .filter(|n| n / 3 >= start)
        .take(usize::try_from(limit).unwrap())
        .map(|n| format!("[{},{},{},100.5]", n * 10, n / 3, if n % 2 == 0 { "1.5" } else { "-2" }))
        .collect();
    format!("[{}]", rows.join(",")).into_bytes()
}

#[test]
fn pages_of_trades_overlap_and_lose_none() {
    let from = TradeCursor::Time(UnixNanos::from_millis(1));
    let (trades, present) =
        trade_pages(bitfinex().as_ref(), &market("BTC/USD"), from, 10, &mut |r| serve_trades(r, 25_001)).unwrap();
    assert_eq!((trades.len(), present, trades[0].id.0), (24_998, true, 30));
    assert_eq!((trades[0].side, trades[1].side, trades[0].amount.to_string()), (Side::Sell, Side::Buy, "2".into()));
    let request = bitfinex().history().unwrap().trades_page_request(&market("DOGE/USD"), from);
    assert_eq!(request.path_and_query, "/v2/trades/tDOGE:USD/hist?start=1&limit=10000&sort=1");
}

#[test]
fn the_trades_of_a_hole_are_asked_for_by_time_until_a_page_has_room() {
    let bitfinex = bitfinex();
    let symbol = "BTC/USDT:USDT".parse().unwrap();
    let hole = TradeHole { from_id: 5, to_id: 5, ts_before: UnixNanos::from_millis(5) };
    let mut at = Some(bitfinex.trades_begin(&hole));
    let mut asked = Vec::new();
    while let Some(cursor) = at {
        let request = bitfinex.trades_request(&symbol, cursor, 1, &markets());
        at = bitfinex.trades_next(&hole, cursor, 1, &serve_trades(&request, 15_000)).unwrap();
        asked.push(request.path_and_query);
    }
    let path = |start| format!("/v2/trades/tBTCF0:USTF0/hist?start={start}&limit=10000&sort=1");
    assert_eq!(asked, [path(5), path(3_338)]);
    let refused = bitfinex.trades_next(&hole, TradeCursor::Time(UnixNanos(1)), 1, br#"["error",11010,"ratelimit: error"]"#);
    assert!(matches!(refused, Err(HistoryError::RateLimited { .. })), "{refused:?}");
    // A page of one millisecond goes on after it.
    let crowd: Vec<String> = (0..10_000).map(|id| format!("[{id},7,1,1]")).collect();
    let next = bitfinex.trades_next(
        &hole,
        TradeCursor::Time(UnixNanos::from_millis(7)),
        1,
        format!("[{}]", crowd.join(",")).as_bytes(),
    );
    assert_eq!(next.unwrap(), Some(TradeCursor::Time(UnixNanos::from_millis(8))));
}
