//! Bybit's lists of markets and candles: what is asked for and what is made of the answers, by hand-written ones.

mod support;

use dccd_exchange::{HistoryError, MarketStatus, TradeCursor};
use dccd_model::{Span, UnixNanos};
use support::bybit::{LINEAR, SPOT, bybit, markets, page};

#[test]
fn the_list_of_markets_comes_in_parts() {
    let bybit = bybit();
    let first = bybit.markets_request();
    assert_eq!(first.path_and_query, "/v5/market/instruments-info?category=spot");
    let second = bybit.markets_next(&first, SPOT).unwrap().unwrap();
    assert_eq!(second.path_and_query, "/v5/market/instruments-info?category=linear&limit=1000");
    let third = bybit.markets_next(&second, LINEAR).unwrap().unwrap();
    assert_eq!(third.path_and_query, format!("{}&cursor=first%3DBTCUSDT%26last%3DNOSETTLE", second.path_and_query));
    // The same cursor again, and none, are the end.
    assert_eq!(bybit.markets_next(&third, LINEAR).unwrap(), None);
    let last = br#"{"retCode":0,"retMsg":"OK","result":{"list":[],"nextPageCursor":""}}"#;
    assert_eq!(bybit.markets_next(&third, last).unwrap(), None);
    let markets = markets();
    let listed: Vec<_> = markets.iter().map(|m| (m.symbol.as_str(), m.id.as_str(), m.status)).collect();
    use MarketStatus::{Halted, Trading, Unknown};
    let expected = [
        ("BTC/USDC:USDC", "BTCPERP", Trading),
        ("BTC/USDT", "BTCUSDT", Trading),
        ("BTC/USDT:USDT", "BTCUSDT", Trading),
        ("ETH/USDT", "ETHUSDT", Unknown),
        ("SOL/USDT:USDT", "SOLUSDT", Halted),
    ];
    assert_eq!((listed.as_slice(), markets.skipped()), (expected.as_slice(), 3));
    let rules = |symbol: &str| {
        let m = markets.by_symbol(&symbol.parse().unwrap()).unwrap();
        [m.price_tick, m.amount_step, m.amount_min, m.amount_max, m.notional_min]
            .map(|n| n.map_or(String::new(), |n| n.to_string()))
    };
    assert_eq!(rules("BTC/USDT"), ["0.1", "0.000001", "0.000048", "71.5", "5"]);
    assert_eq!(rules("BTC/USDT:USDT"), ["0.10", "0.001", "0.001", "1190.000", "5"]);
    assert_eq!(rules("ETH/USDT"), ["", "0.00001", "", "", ""]);
    let refused = bybit.parse_markets(br#"{"retCode":10006,"retMsg":"Too many visits.","result":null}"#).unwrap_err();
    assert_eq!(refused.to_string(), "bybit refused the list of markets with code 10006: Too many visits.");
}

#[test]
fn candles_are_asked_for_by_the_page_and_come_in_the_order_of_time() {
    let (bybit, markets) = (bybit(), markets());
    let history = bybit.history().unwrap();
    let market = |symbol: &str| markets.by_symbol(&symbol.parse().unwrap()).unwrap();
    let ask = |symbol: &str, span: u32, from: i64, to: i64, limit: u32| {
        let span = Span::from_secs(span).unwrap();
        history
            .candles_request(market(symbol), span, UnixNanos::from_secs(from), UnixNanos::from_secs(to), limit)
            .path_and_query
    };
    let path = "/v5/market/kline?category";
    assert_eq!(
        ask("BTC/USDT", 60, 60, 180, 1_000),
        format!("{path}=spot&symbol=BTCUSDT&interval=1&start=60000&end=179999&limit=1000")
    );
    // Of a longer stretch the exchange would give the end.
    let hours = format!("{path}=linear&symbol=BTCUSDT&interval=60&start=0&end=7199999&limit=2");
    assert_eq!(ask("BTC/USDT:USDT", 3_600, 0, 36_000, 2), hours);
    assert!(
        ask("BTC/USDT", 86_400, 0, 1, 5).contains("interval=D") && ask("BTC/USDT", 604_800, 0, 1, 5).contains("interval=W")
    );
    let body = br#"{"retCode":0,"retMsg":"OK","result":{"symbol":"BTCUSDT","category":"spot","list":[
        ["120000","2","4","1","3","10.5","21.00"],["60000","2","2","2","2","0","0"]]},"retExtInfo":{},"time":1}"#;
    let mut candles = Vec::new();
    let span = Span::from_secs(60).unwrap();
    history.parse_candles(body, span, UnixNanos(7), &mut candles).unwrap();
    let read: Vec<String> = candles
        .iter()
        .map(|c| {
            let values = [c.open, c.high, c.low, c.close, c.volume, c.quote_volume].map(|n| n.to_string()).join(" ");
            format!("{} {values} {}", c.ts_open.as_millis(), c.trades)
        })
        .collect();
    assert_eq!(read, ["60000 2 2 2 2 0 0 0", "120000 2 4 1 3 10.5 21.00 0"]);
}

#[test]
fn refusals_with_status_200_are_told_apart() {
    let bybit = bybit();
    let history = bybit.history().unwrap();
    let read = |body: &str| {
        history.parse_candles(body.as_bytes(), Span::from_secs(60).unwrap(), UnixNanos(1), &mut Vec::new()).unwrap_err()
    };
    let code = |code: u32| read(&format!(r#"{{"retCode":{code},"retMsg":"words","result":{{}}}}"#));
    assert!(matches!(code(10_006), HistoryError::RateLimited { wait, .. } if wait.as_secs() == 5));
    assert!(matches!(code(10_018), HistoryError::RateLimited { wait, .. } if wait.as_secs() == 600));
    assert!(matches!(code(10_016), HistoryError::Unavailable { .. }));
    let refused = code(10_001);
    assert_eq!(refused.to_string(), "bybit refuses the request: words (10001)");
    assert!(!refused.is_worth_retrying());
    assert!(matches!(
        read(r#"{"retCode":0,"result":{"list":[["1","2","1","2","2","1","1"]]}}"#),
        HistoryError::BadRow { row: 0, .. }
    ));
    assert_eq!(bybit.limits().forbidden_wait.map(|wait| wait.as_secs()), Some(600));
    assert!(history.trade_pages().is_none());
    let mut trades = Vec::new();
    history.parse_trades_page(page(true, 5..=7).as_bytes(), TradeCursor::Id(0), UnixNanos(1), &mut trades).unwrap();
    assert_eq!(trades.iter().map(|t| t.ts_venue.as_millis()).collect::<Vec<_>>(), [5, 6, 7]);
}
