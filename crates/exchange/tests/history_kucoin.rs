//! KuCoin's list of markets and candles: what is asked for and what is made of the answers, by hand-written ones.

mod support;

use dccd_exchange::{HistoryError, MarketStatus, TradeCursor};
use dccd_model::{Span, UnixNanos};
use support::kucoin::{kucoin, markets, page};

#[test]
fn the_list_of_markets_is_read() {
    let kucoin = kucoin();
    assert_eq!(kucoin.markets_request().path_and_query, "/api/v2/symbols");
    let markets = markets();
    let listed: Vec<_> = markets.iter().map(|m| (m.symbol.as_str(), m.id.as_str(), m.status)).collect();
    use MarketStatus::{Halted, Trading, Unknown};
    let expected = [
        ("BTC/USDT", "BTC-USDT", Trading),
        ("ETH/USDT", "ETH-USDT", Trading),
        ("GALAX/USDT", "GALAX-USDT", Halted),
        ("XRP/USDT", "XRP-USDT", Unknown),
    ];
    assert_eq!((listed.as_slice(), markets.skipped()), (expected.as_slice(), 2));
    let rules = |symbol: &str| {
        let m = markets.by_symbol(&symbol.parse().unwrap()).unwrap();
        [m.price_tick, m.amount_step, m.amount_min, m.amount_max, m.notional_min]
            .map(|n| n.map_or(String::new(), |n| n.to_string()))
    };
    assert_eq!(rules("BTC/USDT"), ["0.1", "0.00000001", "0.00001", "10000000000", "0.1"]);
    assert_eq!(rules("ETH/USDT"), ["", "0.0000001", "", "", ""]);
    let refused = kucoin.parse_markets(br#"{"code":"429000","msg":"Too Many Requests"}"#).unwrap_err();
    assert_eq!(refused.to_string(), "kucoin refused the list of markets with code 429000: Too Many Requests");
    assert!(kucoin.parse_markets(br#"{"code":"200000"}"#).is_err());
}

#[test]
fn candles_are_asked_for_by_the_page_and_come_in_the_order_of_time() {
    let (kucoin, markets) = (kucoin(), markets());
    let history = kucoin.history().unwrap();
    let market = markets.by_symbol(&"BTC/USDT".parse().unwrap()).unwrap();
    let ask = |span: u32, from: i64, to: i64, limit: u32| {
        let span = Span::from_secs(span).unwrap();
        history.candles_request(market, span, UnixNanos::from_secs(from), UnixNanos::from_secs(to), limit).path_and_query
    };
    let path = "/api/v1/market/candles?symbol=BTC-USDT&type";
    assert_eq!(ask(60, 60, 180, 1_500), format!("{path}=1min&startAt=60&endAt=179"));
    // Of a longer stretch the exchange would give the end.
    assert_eq!(ask(3_600, 0, 36_000, 2), format!("{path}=1hour&startAt=0&endAt=7199"));
    assert_eq!(ask(60, 0, 900_000, 9_999), format!("{path}=1min&startAt=0&endAt=89999"));
    let names = [(1_800, "30min"), (28_800, "8hour"), (86_400, "1day")];
    names.iter().for_each(|(span, name)| assert!(ask(*span, 0, 1, 5).contains(&format!("type={name}&")), "{name}"));
    // Open, CLOSE, HIGH, LOW; the newest first.
    let body = br#"{"code":"200000","data":[["120","2","3","4","1","10.5","21.00"],["60","2","2","2","2","0","0"]]}"#;
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
fn refusals_are_told_apart() {
    let kucoin = kucoin();
    let history = kucoin.history().unwrap();
    let read = |body: &str| {
        history.parse_candles(body.as_bytes(), Span::from_secs(60).unwrap(), UnixNanos(1), &mut Vec::new()).unwrap_err()
    };
    let code = |code: u32| read(&format!(r#"{{"code":"{code}","msg":"words"}}"#));
    assert!(matches!(code(429_000), HistoryError::RateLimited { wait, .. } if wait.as_secs() == 30));
    assert!(matches!(code(500_000), HistoryError::Unavailable { .. }));
    let refused = code(400_100);
    assert_eq!(refused.to_string(), "kucoin refuses the request: words (400100)");
    assert!(!refused.is_worth_retrying());
    // High below close: the columns would be those of another exchange.
    let row = |row: &str| read(&format!(r#"{{"code":"200000","data":[{row}]}}"#));
    assert!(matches!(row(r#"["60","2","4","3","1","1","1"]"#), HistoryError::BadRow { row: 0, .. }));
    for broken in [r#"["60","2"]"#, r#"["60.5","2","3","4","1","1","1"]"#, r#"{}"#] {
        assert!(matches!(row(broken), HistoryError::Unreadable { .. }), "{broken}");
    }
    assert!(matches!(read(r#"{"data":[]}"#), HistoryError::Unreadable { .. }));
    assert!(history.trade_pages().is_none());
    let mut trades = Vec::new();
    history
        .parse_trades_page(page([6, 5, 7].into_iter()).as_bytes(), TradeCursor::Id(0), UnixNanos(1), &mut trades)
        .unwrap();
    assert_eq!(trades.iter().map(|t| t.ts_venue.as_millis()).collect::<Vec<_>>(), [5, 6, 7]);
}
