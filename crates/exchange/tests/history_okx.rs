//! The past of OKX: what is asked for, how answers are read, how refusals are told apart; and its markets.

mod support;

use dccd_exchange::conformance::candle_page;
use dccd_exchange::{Capabilities, HistoryError, Market, MarketStatus, RestRequest, TradeCursor, TradeHole};
use dccd_model::{Candle, Channel, Decimal, Span, UnixNanos};
use support::okx::{SPOT, SWAP, markets, okx};

fn span(label: &str) -> Span {
    label.parse().unwrap()
}

fn market(symbol: &str) -> Market {
    markets().by_symbol(&symbol.parse().unwrap()).unwrap().clone()
}

fn candles(symbol: &str, body: &str, now: UnixNanos) -> Result<Vec<Candle>, HistoryError> {
    let mut out = Vec::new();
    let okx = okx();
    okx.history().unwrap().parse_candles_of(&market(symbol), body.as_bytes(), span("1m"), now, &mut out).map(|()| out)
}

#[test]
fn markets_are_spot_and_linear_swaps_in_base_units() {
    let swaps = okx().parse_markets(SWAP).unwrap();
    assert_eq!((swaps.len(), swaps.skipped()), (2, 1), "the inverse swap is left out");
    let list: Vec<String> = markets()
        .iter()
        .map(|m| {
            let numbers = [m.price_tick, m.amount_step, m.amount_min, m.amount_max, m.contract_size];
            let numbers = numbers.map(|n| n.map_or_else(|| "-".to_owned(), |n| n.to_string()));
            format!("{} {} {:?} {}", m.symbol, m.id, m.status, numbers.join(" "))
        })
        .collect();
    assert_eq!(
        list,
        [
            "BTC/USDT BTC-USDT Trading 0.1 0.00000001 0.00001 9999999999 -",
            "BTC/USDT:USDT BTC-USDT-SWAP Trading 0.1 0.0001 0.0001 1000000.00 0.01",
            "ETH/USDT ETH-USDT Halted 0.01 0.000001 0.0001 9999999999 -",
            "PEPE/USDT:USDT PEPE-USDT-SWAP Halted 0.000000001 1000000.0 1000000.0 1000000000000000 10000000",
        ]
    );
    assert_eq!(markets().by_id("BTC-USDT-SWAP").unwrap().status, MarketStatus::Trading);
}

#[test]
fn what_would_not_be_in_base_units_is_left_out() {
    let listed = |row: &str| {
        let markets = okx().parse_markets(format!(r#"{{"code":"0","data":[{row}]}}"#).as_bytes()).unwrap();
        (markets.len(), markets.skipped())
    };
    let swap = |value: &str, of: &str, kind: &str, settle: &str| {
        format!(
            r#"{{"instType":"SWAP","instId":"BTC-USDT-SWAP","settleCcy":"{settle}","ctVal":"{value}","ctMult":"1","ctValCcy":"{of}","ctType":"{kind}"}}"#
        )
    };
    assert_eq!(listed(&swap("0.01", "BTC", "linear", "USDT")), (1, 0));
    for row in [
        swap("0.01", "BTC", "linear", "BTC"),
        swap("100", "USDT", "linear", "USDT"),
        swap("100", "USD", "inverse", "BTC"),
        swap("", "BTC", "linear", "USDT"),
        swap("0", "BTC", "linear", "USDT"),
        r#"{"instType":"FUTURES","instId":"BTC-USDT-261225"}"#.to_owned(),
        r#"{"instType":"SPOT","instId":"","baseCcy":"","quoteCcy":""}"#.to_owned(),
        "7".to_owned(),
    ] {
        assert_eq!(listed(&row), (0, 1), "{row}");
    }
}

#[test]
fn the_list_of_markets_comes_in_two_parts() {
    let okx = okx();
    let first = okx.markets_request();
    let second = okx.markets_next(&first, SPOT).unwrap().unwrap();
    assert_eq!(first.path_and_query, "/api/v5/public/instruments?instType=SPOT");
    assert_eq!(second.path_and_query, "/api/v5/public/instruments?instType=SWAP");
    assert_eq!(okx.markets_next(&second, SWAP).unwrap(), None);
}

#[test]
fn trades_have_a_socket_of_their_own() {
    let okx = okx();
    let symbol = "BTC/USDT".parse().unwrap();
    let url = |channel| okx.socket_url(okx.socket_of(&symbol, channel), "wss://ws.okx.com:8443");
    assert_eq!(url(Channel::Trades), "wss://ws.okx.com:8443/ws/v5/business");
    assert_eq!(url(Channel::Book), "wss://ws.okx.com:8443/ws/v5/public");
    assert_eq!((url(Channel::Quotes), okx.sockets().len()), (okx.connect_url(okx.ws_url()), 2));
    let feeds = [("BTC/USDT", Channel::Trades), ("BTC/USDT:USDT", Channel::Book), ("NEW/USDT:USDT", Channel::Quotes)];
    let feeds = feeds.map(|(symbol, channel)| (symbol.parse().unwrap(), channel));
    let messages = okx.subscribe(&feeds, &markets(), 7);
    assert_eq!(
        messages[0].text,
        r#"{"args":[{"channel":"trades-all","instId":"BTC-USDT"},{"channel":"books","instId":"BTC-USDT-SWAP"},{"channel":"bbo-tbt","instId":"NEW-USDT-SWAP"}],"id":"7","op":"subscribe"}"#
    );
    let Capabilities { trade_ids_contiguous, trades_repairable, .. } = okx.capabilities();
    assert!(trade_ids_contiguous && trades_repairable);
}

#[test]
fn candles_are_asked_for_with_open_bounds_and_days_begin_at_utc() {
    let okx = okx();
    let history = okx.history().unwrap();
    let ask = |label: &str, from: i64, to: i64, limit| {
        let (from, to) = (UnixNanos::from_secs(from), UnixNanos::from_secs(to));
        history.candles_request(&market("BTC/USDT"), span(label), from, to, limit).path_and_query
    };
    let path = |bar: &str, after: i64, before: i64, limit: i64| {
        format!("/api/v5/market/history-candles?instId=BTC-USDT&bar={bar}&after={after}&before={before}&limit={limit}")
    };
    assert_eq!(ask("1m", 600, 1_200, 10), path("1m", 1_200_000, 599_999, 10));
    // The newest come first: a window that holds more than a page ends where the page does.
    assert_eq!(ask("1m", 600, 1_000_000, 1_000), path("1m", 6_600_000, 599_999, 100));
    assert_eq!(ask("1d", 86_400, 864_000, 100), path("1Dutc", 864_000_000, 86_399_999, 100));
    let bars: Vec<String> = history
        .spans()
        .iter()
        .map(|seconds| {
            let (from, to) = (UnixNanos(0), UnixNanos::from_secs(1));
            let request = history.candles_request(&market("BTC/USDT"), Span::from_secs(*seconds).unwrap(), from, to, 1);
            request.path_and_query.split("bar=").nth(1).unwrap().split('&').next().unwrap().to_owned()
        })
        .collect();
    assert_eq!(bars, ["1m", "3m", "5m", "15m", "30m", "1H", "2H", "4H", "6Hutc", "12Hutc", "1Dutc", "1Wutc"]);
}

const ROW: &str = r#"["60000","2","3","1","2.5","700","7","15.5","1"]"#;

#[test]
fn the_amount_of_a_candle_stands_where_the_market_has_it() {
    let body = format!(r#"{{"code":"0","msg":"","data":[["120000","2","3","1","2","0","0","0","0"],{ROW}]}}"#);
    let read = |symbol| candles(symbol, &body, UnixNanos::from_secs(150)).unwrap();
    let (spot, swap) = (read("BTC/USDT"), read("BTC/USDT:USDT"));
    let of = |candle: &Candle| (candle.ts_open.as_millis(), candle.close.to_string(), candle.volume, candle.quote_volume);
    let quote_volume = Decimal::new(155, -1);
    assert_eq!(of(&spot[0]), (60_000, "2.5".to_owned(), Decimal::new(700, 0), quote_volume));
    assert_eq!(of(&swap[0]), (60_000, "2.5".to_owned(), Decimal::new(7, 0), quote_volume));
    assert_eq!((spot.len(), spot[1].ts_open.as_millis()), (2, 120_000), "the open one is there, and last");
}

#[test]
fn a_candle_that_is_over_and_not_confirmed_is_asked_for_again() {
    let body = format!(r#"{{"code":"0","msg":"","data":[{}]}}"#, ROW.replace(r#""1"]"#, r#""0"]"#));
    assert_eq!(candles("BTC/USDT", &body, UnixNanos::from_secs(119)).unwrap().len(), 1);
    let error = candles("BTC/USDT", &body, UnixNanos::from_secs(120)).unwrap_err();
    assert!(matches!(error, HistoryError::Unavailable { .. }) && error.is_worth_retrying(), "{error}");
}

#[test]
fn refusals_with_status_200_are_told_apart() {
    let error = |body: &str| candles("BTC/USDT", body, UnixNanos(1)).unwrap_err();
    let refusal = |code: u32| error(&format!(r#"{{"code":"{code}","msg":"words","data":[]}}"#));
    assert!(matches!(refusal(50_011), HistoryError::RateLimited { wait, .. } if wait.as_secs() == 2));
    assert!(matches!(refusal(50_061), HistoryError::RateLimited { .. }));
    for code in [50_001, 50_004, 50_013, 50_026] {
        assert!(matches!(refusal(code), HistoryError::Unavailable { .. }), "{code}");
    }
    assert_eq!(refusal(51_001).to_string(), "okx refuses the request: code 51001: words");
    assert!(matches!(error(r#"{"code":"0","msg":""}"#), HistoryError::Unreadable { .. }));
    for (row, wrong) in [
        (r#"["60000","2","3","1","2.5","700","7"]"#, "volCcyQuote"),
        (r#"["60000","2","3","1","2.5","700","7","15.5"]"#, "confirm"),
        (r#"["x","2","3","1","2.5","700","7","15.5","1"]"#, "ts"),
        (r#"["60000","2","3","1","","700","7","15.5","1"]"#, "c"),
        (r#"["60000","2","1","3","2.5","700","7","15.5","1"]"#, "high"),
        (r#"["60000","2","3","1","2.5","-700","7","15.5","1"]"#, "volume"),
    ] {
        let error = error(&format!(r#"{{"code":"0","msg":"","data":[{row}]}}"#));
        assert!(matches!(error, HistoryError::BadRow { field, .. } if field == wrong), "{row}: {error}");
    }
}

/// An exchange with a candle for each minute up to a last one, which is open: asked as the documents say.
fn serve(request: &RestRequest, minutes: i64) -> Vec<u8> {
    let value =
        |key: &str| -> i64 { request.path_and_query.split(key).nth(1).unwrap().split('&').next().unwrap().parse().unwrap() };
    let (after, before, limit) = (value("after="), value("before="), usize::try_from(value("&limit=")).unwrap());
    let rows: Vec<String> = (0..=minutes)
        .rev()
        .filter(|minute| minute * 60_000 > before && minute * 60_000 < after)
        .take(limit)
        .map(|m| format!(r#"["{}","2","3","1","2","1","1","2","{}"]"#, m * 60_000, i32::from(m < minutes)))
        .collect();
    format!(r#"{{"code":"0","msg":"","data":[{}]}}"#, rows.join(",")).into_bytes()
}

#[test]
fn pages_follow_each_other_without_a_hole() {
    let (minute, okx) = (span("1m"), okx());
    let mut all = Vec::new();
    for page in 0..3 {
        let from = UnixNanos::from_secs(page * 6_000);
        let to = UnixNanos::from_secs(1_000_000);
        all.extend(candle_page(okx.as_ref(), &market("BTC/USDT"), minute, from, to, &mut |r| serve(r, 250)).unwrap());
    }
    let opens: Vec<i64> = all.iter().map(|candle| candle.ts_open.as_millis() / 60_000).collect();
    assert_eq!(opens, (0..=250).collect::<Vec<_>>());
}

#[test]
fn missing_trades_are_asked_for_with_their_neighbours() {
    let okx = okx();
    let symbol = "BTC/USDT:USDT".parse().unwrap();
    let hole = TradeHole { from_id: 1_000, to_id: 1_150, ts_before: UnixNanos(1) };
    let body = br#"{"code":"0","msg":"","data":[]}"#;
    let mut at = Some(okx.trades_begin(&hole));
    let mut asked = Vec::new();
    while let Some(cursor) = at {
        let TradeCursor::Id(from) = cursor else { panic!("{cursor:?}") };
        let limit = u32::try_from(hole.to_id - from + 1).unwrap().min(okx.limits().trades_per_request);
        asked.push(okx.trades_request(&symbol, cursor, limit, &markets()).path_and_query);
        at = okx.trades_next(&hole, cursor, limit, body).unwrap();
    }
    let path = |after| format!("/api/v5/market/history-trades?instId=BTC-USDT-SWAP&type=1&after={after}&limit=100");
    // 999 to 1098, and from there 1052 to 1151.
    assert_eq!(asked, [path(1_099), path(1_152)]);
    let refused = okx.trades_next(&hole, TradeCursor::Id(1_000), 100, br#"{"code":"50011","msg":"Too Many Requests"}"#);
    assert!(matches!(refused, Err(HistoryError::RateLimited { .. })), "{refused:?}");
}
