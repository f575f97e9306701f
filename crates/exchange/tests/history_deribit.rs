//! Deribit's lists of markets and candles: what is asked for and what is made of the answers, by hand-written ones.

mod support;

use dccd_exchange::{HistoryError, MarketStatus};
use dccd_model::{Span, UnixNanos};
use support::deribit::{FUTURE, SPOT, deribit, markets};

#[test]
fn the_list_of_markets_comes_in_two_parts_without_options() {
    let deribit = deribit();
    let first = deribit.markets_request();
    assert_eq!(first.path_and_query, "/api/v2/public/get_instruments?currency=any&kind=spot&expired=false");
    let second = deribit.markets_next(&first, SPOT).unwrap().unwrap();
    assert_eq!(second.path_and_query, "/api/v2/public/get_instruments?currency=any&kind=future&expired=false");
    assert_eq!(deribit.markets_next(&second, FUTURE).unwrap(), None);
    let markets = markets();
    use MarketStatus::{Halted, Trading, Unknown};
    let listed: Vec<_> =
        markets.iter().map(|m| (m.symbol.as_str(), m.id.as_str(), m.status, m.symbol.amount_currency())).collect();
    let expected = [
        ("BTC/USD:BTC", "BTC-PERPETUAL", Trading, "USD"),
        ("BTC/USD:BTC-261225", "BTC-25DEC26", Trading, "USD"),
        ("BTC/USDC", "BTC_USDC", Trading, "BTC"),
        ("BTC/USDC:USDC", "BTC_USDC-PERPETUAL", Trading, "BTC"),
        ("ETH/BTC", "ETH_BTC", Halted, "ETH"),
        ("ETH/USDC:USDC-270108", "ETH_USDC-8JAN27", Unknown, "ETH"),
    ];
    // One is settled in a third currency, one can't be read; an option is no market of ours.
    assert_eq!((listed.as_slice(), markets.skipped()), (expected.as_slice(), 2));
    let rules = |symbol: &str| {
        let m = markets.by_symbol(&symbol.parse().unwrap()).unwrap();
        [m.price_tick, m.amount_step, m.amount_min].map(|n| n.map_or(String::new(), |n| n.to_string()))
    };
    assert_eq!(rules("BTC/USD:BTC"), ["0.5", "10.0", "10.0"]);
    assert_eq!(rules("ETH/BTC"), ["0.000010", "0.0001", "0.0001"]);
    let refused = deribit
        .parse_markets(br#"{"jsonrpc":"2.0","id":9,"error":{"code":10028,"message":"too_many_requests"},"testnet":false}"#)
        .unwrap_err();
    assert_eq!(refused.to_string(), "deribit refused the list of markets with code 10028: too_many_requests");
    assert!(deribit.parse_markets(br#"{"jsonrpc":"2.0"}"#).is_err());
}

#[test]
fn candles_are_asked_for_by_the_page_and_are_read_from_their_columns() {
    let (deribit, markets) = (deribit(), markets());
    let history = deribit.history().unwrap();
    let market = markets.by_symbol(&"BTC/USD:BTC".parse().unwrap()).unwrap();
    let ask = |span: u32, from: i64, to: i64, limit: u32| {
        let (from, to) = (UnixNanos::from_secs(from), UnixNanos::from_secs(to));
        history.candles_request(market, Span::from_secs(span).unwrap(), from, to, limit).path_and_query
    };
    let path = "/api/v2/public/get_tradingview_chart_data?instrument_name=BTC-PERPETUAL";
    assert_eq!(ask(60, 60, 180, 5_000), format!("{path}&start_timestamp=60000&end_timestamp=179999&resolution=1"));
    assert_eq!(
        ask(86_400, 0, 86_400 * 10_000, u32::MAX),
        format!("{path}&start_timestamp=0&end_timestamp=431999999999&resolution=1D")
    );
    assert_eq!(
        ask(10_800, 10_800, 43_200, 2),
        format!("{path}&start_timestamp=10800000&end_timestamp=32399999&resolution=180")
    );
    assert_eq!(history.spans().len(), 12);
    assert!(history.trade_pages().is_none());

    let span = Span::from_secs(60).unwrap();
    let read = |body: &str| {
        let mut out = Vec::new();
        history.parse_candles(body.as_bytes(), span, UnixNanos(9), &mut out).map(|()| out)
    };
    let body = r#"{"jsonrpc":"2.0","result":{"volume":[2.94375216,0.0],"ticks":[1766483460000,1766483520000],"status":"ok","open":[87451.0,87456.5],"low":[87451.0,87456.5],"high":[87456.5,87456.5],"cost":[257490.0,0.0],"close":[87456.5,87456.5]},"usIn":1,"testnet":false}"#;
    let candles = read(body).unwrap();
    let lines: Vec<String> = candles
        .iter()
        .map(|c| {
            format!("{} {} {} {} {} {} {}", c.ts_open.as_millis(), c.open, c.high, c.low, c.close, c.volume, c.quote_volume)
        })
        .collect();
    assert_eq!(
        lines,
        [
            "1766483460000 87451.0 87456.5 87451.0 87456.5 2.94375216 257490.0",
            "1766483520000 87456.5 87456.5 87456.5 87456.5 0.0 0.0"
        ]
    );
    for none in [
        r#"{"result":{"status":"no_data"}}"#,
        r#"{"result":{"volume":[],"ticks":[],"status":"no_data","open":[],"low":[],"high":[],"cost":[],"close":[]}}"#,
    ] {
        assert_eq!(read(none).unwrap(), []);
    }
    let cut = body.replace("\"cost\":[257490.0,0.0]", "\"cost\":[257490.0]");
    assert!(matches!(read(&cut), Err(HistoryError::BadRow { row: 1, field: "cost", .. })));
    let turned = body.replace("\"high\":[87456.5", "\"high\":[87450.5");
    assert!(matches!(read(&turned), Err(HistoryError::BadRow { row: 0, field: "high", .. })));
    for wrong in [
        body.replace("\"ok\"", "\"new\""),
        body.replace("\"status\":\"ok\",", ""),
        body.replace("\"volume\":[2.94375216,0.0],", ""),
        body.replace("1766483460000", "-1"),
        body.replace("2.94375216", "null"),
        body[..body.len() - 2].to_owned(),
    ] {
        assert!(matches!(read(&wrong), Err(HistoryError::Unreadable { .. })), "{wrong}");
    }
    let refused = read(r#"{"error":{"code":10028,"message":"too_many_requests"}}"#);
    assert!(matches!(&refused, Err(HistoryError::RateLimited { wait, .. }) if wait.as_secs() == 5), "{refused:?}");
    let refused = read(
        r#"{"error":{"message":"Invalid params","data":{"reason":"wrong format","param":"resolution"},"code":-32602}}"#,
    );
    assert_eq!(refused.unwrap_err().to_string(), "deribit refuses the request: Invalid params (-32602)");
}
