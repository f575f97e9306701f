//! Kraken: its markets, and its past: what is asked for, to the letter, and how answers are read, from messages written by hand.

use std::sync::Arc;
use std::time::Duration;

use dccd_exchange::{Adapter, AdapterOptions, HistoryError, Market, Markets, RestQuota, TradeCursor, TradePage, adapter};
use dccd_model::{Candle, Channel, Decimal, Flags, Side, Span, Trade, TradeId, UnixNanos};

const PAIRS: &[u8] = include_bytes!("../src/kraken/testdata/asset_pairs.json");
const NOW: UnixNanos = UnixNanos(1_763_630_000_000_000_000);
const OHLC: &str = r#"{"error":[],"result":{"XXBTZUSD":[[1688671200,"30306.1","30306.2","30305.7","30305.7","30306.1","3.39243896",23],[1688671260,"30305.7","30305.7","30305.7","30305.7","0.0","0.00000000",0]],"last":1688671200}}"#;

fn kraken() -> Arc<dyn Adapter> {
    adapter("kraken", &AdapterOptions::default()).unwrap()
}

fn markets() -> Markets {
    kraken().parse_markets(PAIRS).unwrap()
}

fn market() -> Market {
    markets().by_symbol(&"BTC/USD".parse().unwrap()).unwrap().clone()
}

fn span(label: &str) -> Span {
    label.parse().unwrap()
}

fn candles(body: &str) -> Result<Vec<Candle>, HistoryError> {
    let mut out = Vec::new();
    kraken().history().unwrap().parse_candles(body.as_bytes(), span("1m"), NOW, &mut out).map(|()| out)
}

fn trades(body: &str, cursor: TradeCursor) -> Result<(Vec<Trade>, TradePage), HistoryError> {
    let mut out = Vec::new();
    kraken().history().unwrap().parse_trades_page(body.as_bytes(), cursor, NOW, &mut out).map(|page| (out, page))
}

fn page(rows: impl IntoIterator<Item = String>, last: &str) -> String {
    let rows: Vec<String> = rows.into_iter().collect();
    format!(r#"{{"error":[],"result":{{"XXBTZUSD":[{}],"last":{last}}}}}"#, rows.join(","))
}

fn row(time: &str, id: u64) -> String {
    format!(r#"["105433.60000","0.00027625",{time},"b","l","",{id}]"#)
}

#[test]
fn markets_have_the_names_that_the_rest_of_the_world_uses() {
    let markets = markets();
    let lines: Vec<String> = markets
        .iter()
        .map(|m| {
            let numbers = [m.price_tick, m.amount_step, m.amount_min, m.notional_min];
            let numbers = numbers.map(|n| n.map_or_else(|| "-".to_owned(), |n| n.to_string())).join(" ");
            format!("{} {} {:?} {numbers}", m.symbol, m.id, m.status)
        })
        .collect();
    assert_eq!(
        lines,
        [
            "BTC/USD XXBTZUSD Trading 0.1 0.00000001 0.00005 0.5",
            "DOGE/USDT XDGUSDT Halted 0.0000001 0.00000001 13 -",
            "ETH/EUR XETHZEUR Halted 0.01 0.00000001 - -",
            "ETH2.S/ETH ETH2.SETH Unknown 0.0001 0.00000001 - -",
        ]
    );
    assert_eq!(markets.skipped(), 2, "the broken and the one without currencies, not the dark pool");
}

#[test]
fn a_list_of_markets_that_is_none_says_why() {
    let error = |body: &str| kraken().parse_markets(body.as_bytes()).unwrap_err().to_string();
    assert_eq!(
        error(r#"{"error":["EGeneral:Too many requests"]}"#),
        "kraken refused the list of markets: EGeneral:Too many requests"
    );
    assert_eq!(error(r#"{"error":[]}"#), "the list of markets of kraken can't be read (12 bytes)");
    assert_eq!(error("<html>"), "the list of markets of kraken can't be read (6 bytes)");
}

#[test]
fn what_is_not_offered_is_refused_by_name_and_what_another_version_saved_is_not_gone_on_with() {
    let kraken = kraken();
    let capabilities = kraken.capabilities();
    assert!(capabilities.builds(Channel::Ohlc) && capabilities.check(Channel::Ohlc).is_ok(), "candles are made of trades");
    let RestQuota::Paced { every, burst } = kraken.limits().rest else { panic!("requests are paced") };
    assert_eq!((every, burst), (Duration::from_secs(1), 1));
    assert_eq!(kraken.limits().rest.largest_request(), 1);
    for (saved, error) in [
        ("{}", "the saved state of the kraken session can't be read (2 bytes)"),
        (
            r#"{"version":9,"no_live":true}"#,
            "the saved state of the kraken session has version 9, and this program reads version 2",
        ),
        (
            r#"{"version":1,"state":{}}"#,
            "the saved state of the kraken session has version 1, and this program reads version 2",
        ),
    ] {
        match kraken.restore(Arc::new(markets()), saved.as_bytes()) {
            Ok(_) => panic!("restored from {saved}"),
            Err(refusal) => assert_eq!(refusal.to_string(), error),
        }
    }
}

#[test]
fn what_was_saved_while_nothing_was_collected_live_is_a_beginning() {
    let saved = r#"{"version":1,"no_live":true,"counters":{"entries":3,"frames":0,"unreadable":0,"unknown":0,"unrouted":0,"error_replies":0,"entry_faults":3,"overflowed":0}}"#;
    let session = kraken().restore(Arc::new(markets()), saved.as_bytes()).unwrap();
    assert_eq!(session.save(), kraken().session(Arc::new(markets())).save());
}

#[test]
fn requests_for_candles_begin_before_the_first_one_wanted() {
    let kraken = kraken();
    let history = kraken.history().unwrap();
    let request = |label: &str, from: i64| {
        let (from, to) = (UnixNanos::from_secs(from), UnixNanos::from_secs(from + 60_000));
        let request = history.candles_request(&market(), span(label), from, to, 10);
        assert_eq!(request.weight, 1);
        request.path_and_query
    };
    assert_eq!(request("1m", 1_688_671_200), "/0/public/OHLC?pair=XXBTZUSD&interval=1&since=1688671199");
    assert_eq!(request("1d", 0), "/0/public/OHLC?pair=XXBTZUSD&interval=1440&since=0");
    assert_eq!(
        kraken.candle_pages(span("1w")).unwrap_err().to_string(),
        "kraken has no candles of 1w; it has candles of 1m, 5m, 15m, 30m, 1h, 4h, 1d"
    );
}

#[test]
fn candles_keep_their_digits_and_say_what_they_dont_know() {
    let number = |text: &str| Decimal::parse(text.as_bytes()).unwrap();
    let candles = candles(OHLC).unwrap();
    let first = Candle {
        ts_open: UnixNanos::from_secs(1_688_671_200),
        ts_recv: NOW,
        open: number("30306.1"),
        high: number("30306.2"),
        low: number("30305.7"),
        close: number("30305.7"),
        volume: number("3.39243896"),
        quote_volume: Decimal::ZERO,
        trades: 23,
        span: span("1m"),
        flags: Flags::NONE,
    };
    assert_eq!((candles.len(), candles[0]), (2, first));
    assert_eq!((candles[1].trades, candles[1].volume.exponent), (0, -8));
}

#[test]
fn keys_may_come_in_any_order_and_with_others() {
    let turned = r#"{"more":{"a":[]},"result":{"last":"7","XXBTZUSD":[[60,"1","1","1","1","1","1",1,"more"]]},"error":["WGeneral:Soon"]}"#;
    assert_eq!(candles(turned).unwrap().len(), 1);
    let two = r#"{"error":[],"result":{"A":[],"B":[],"last":1}}"#;
    assert!(matches!(candles(two), Err(HistoryError::Unreadable { .. })), "rows of two markets were mixed");
}

#[test]
fn errors_with_status_200_are_told_apart() {
    let error = |text: &str| candles(&format!(r#"{{"error":["{text}"]}}"#)).unwrap_err();
    for (text, seconds) in
        [("EAPI:Rate limit exceeded", 10), ("EGeneral:Too many requests", 10), ("EGeneral:Temporary lockout", 900)]
    {
        let HistoryError::RateLimited { wait, message, .. } = error(text) else { panic!("{text} is another error") };
        assert_eq!((wait, message.as_str()), (Duration::from_secs(seconds), text));
    }
    for text in ["EService:Unavailable", "EService:Busy", "EGeneral:Internal error"] {
        assert!(matches!(error(text), HistoryError::Unavailable { .. }), "{text}");
    }
    let refused = error("EQuery:Unknown asset pair");
    assert_eq!(refused.to_string(), "kraken refuses the request: EQuery:Unknown asset pair");
    assert!(!refused.is_worth_retrying());
    for body in [r#"{"error":["EQuery:Unknown asset pair"],"result":null}"#, r#"{"result":{},"error":["EQuery:x"]}"#] {
        assert!(matches!(trades(body, TradeCursor::Mark(1)), Err(HistoryError::Refused { .. })), "{body}");
    }
    assert!(matches!(candles(r#"{"error":[]}"#), Err(HistoryError::Unreadable { .. })));
}

#[test]
fn an_answer_that_is_cut_off_anywhere_is_an_error() {
    let trades_body = page([row("1762795433.9717445", 1)], r#""1762795433971744512""#);
    for end in 0..OHLC.len() {
        assert!(matches!(candles(&OHLC[..end]), Err(HistoryError::Unreadable { bytes, .. }) if bytes == end), "{end}");
    }
    for end in 0..trades_body.len() {
        assert!(trades(&trades_body[..end], TradeCursor::Mark(1)).is_err(), "{end}");
    }
    assert!(trades(&trades_body, TradeCursor::Mark(1)).is_ok());
    let without_last = r#"{"error":[],"result":{"XXBTZUSD":[]}}"#;
    assert!(trades(without_last, TradeCursor::Mark(1)).is_err(), "nobody knows where to go on");
}

#[test]
fn trades_are_asked_for_from_the_nanosecond_before() {
    let kraken = kraken();
    let request = |cursor| kraken.history().unwrap().trades_page_request(&market(), cursor).path_and_query;
    let path = |since| format!("/0/public/Trades?pair=XXBTZUSD&since={since}&count=1000");
    assert_eq!(request(TradeCursor::Time(UnixNanos(1_700_000_000_000_000_000))), path(1_699_999_999_999_999_999_u64));
    assert_eq!(request(TradeCursor::Time(UnixNanos(0))), path(0));
    assert_eq!(request(TradeCursor::Mark(1_762_795_433_971_744_511)), path(1_762_795_433_971_744_511));
    assert_eq!(request(TradeCursor::Id(5)), path(0));
}

#[test]
fn times_are_read_from_their_digits() {
    for (time, nanos) in [
        ("1762795433.9717445", 1_762_795_433_971_744_500),
        ("1762795433", 1_762_795_433_000_000_000),
        ("1381095255.0", 1_381_095_255_000_000_000),
        ("1.7627954339717445e9", 1_762_795_433_971_744_500),
        ("1762795433.123456789", 1_762_795_433_123_456_789),
        ("\"1762795433.5\"", 1_762_795_433_500_000_000),
        ("0.0000000001", 0),
        ("0", 0),
    ] {
        let (trades, _) = trades(&page([row(time, 1)], "\"2\""), TradeCursor::Mark(1)).unwrap();
        assert_eq!(trades[0].ts_venue, UnixNanos(nanos), "{time}");
    }
    for time in ["-1", "1e19", "1e120", "null", "[]", "\"soon\"", "99999999999"] {
        let error = trades(&page([row(time, 1)], "\"2\""), TradeCursor::Mark(1));
        assert!(matches!(error, Err(HistoryError::Unreadable { .. })), "{time}: {error:?}");
    }
}

#[test]
fn a_trade_has_all_that_its_row_says() {
    let sold = r#"["1.10","2.0",1762795457.8,"s","m","",18446744073709551615]"#.to_owned();
    let odd = r#"["1","2",1762795457.8,"?","m","x",3,"more"]"#.to_owned();
    let body = page([row("1762795433.5", 10_218_208), sold, odd], "1762795457800000000");
    let (trades, page) = trades(&body, TradeCursor::Mark(5)).unwrap();
    let first = Trade {
        ts_venue: UnixNanos(1_762_795_433_500_000_000),
        ts_recv: NOW,
        price: Decimal::new(10_543_360_000, -5),
        amount: Decimal::new(27_625, -8),
        id: TradeId(10_218_208),
        side: Side::Buy,
        flags: Flags::NONE,
        epoch: 0,
    };
    assert_eq!(trades[0], first);
    assert_eq!((trades[0].price.exponent, trades[1].price.exponent), (-5, -2));
    assert_eq!((trades[1].side, trades[1].id), (Side::Sell, TradeId(u128::from(u64::MAX))));
    assert_eq!(trades[2].side, Side::Unknown);
    assert_eq!(page, TradePage { next: TradeCursor::Mark(1_762_795_457_799_999_999), is_last: true });
    let negative = body.replacen("\"0.00027625\"", "\"-1\"", 1);
    assert!(matches!(
        self::trades(&negative, TradeCursor::Mark(1)),
        Err(HistoryError::BadRow { row: 0, field: "volume", .. })
    ));
    let short = self::page([r#"["1","2",3,"b","l",""]"#.to_owned()], "1");
    assert!(self::trades(&short, TradeCursor::Mark(1)).is_err(), "a trade without an id was read");
}

#[test]
fn pages_overlap_by_their_last_nanosecond_and_always_go_on() {
    let full = |last: u64| page((0..1_000).map(|id| row("1.5", id)), &format!("\"{last}\""));
    let next = |body: &str, cursor| {
        let (_, page) = trades(body, cursor).unwrap();
        (page.next, page.is_last)
    };
    assert_eq!(next(&full(900), TradeCursor::Mark(100)), (TradeCursor::Mark(899), false));
    // All trades of the page share the nanosecond after the mark: the same page would come again.
    assert_eq!(next(&full(101), TradeCursor::Mark(100)), (TradeCursor::Mark(101), false));
    assert_eq!(next(&full(101), TradeCursor::Time(UnixNanos(101))), (TradeCursor::Mark(101), false));
    // Against an exchange that doesn't answer what it was asked.
    assert_eq!(next(&full(50), TradeCursor::Mark(100)), (TradeCursor::Mark(101), false));
    // At the present there is nothing to skip.
    assert_eq!(next(&page([], "\"100\""), TradeCursor::Mark(100)), (TradeCursor::Mark(100), true));
    assert_eq!(next(&page([row("1.5", 1)], "101"), TradeCursor::Mark(100)), (TradeCursor::Mark(100), true));
}
