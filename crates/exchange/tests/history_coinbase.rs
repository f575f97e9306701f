//! The past of Coinbase: what is asked for, how answers are read, how refusals are told apart; and its markets and subscriptions.

mod support;

use dccd_exchange::conformance::{candle_page, trade_pages};
use dccd_exchange::{HistoryError, Market, RestRequest, TradeCursor, TradeHole};
use dccd_model::{Candle, Channel, Decimal, Side, Span, Symbol, Trade, UnixNanos};
use proptest::prelude::*;
use support::coinbase::{PRODUCTS, coinbase, markets};

fn span(label: &str) -> Span {
    label.parse().unwrap()
}

fn market() -> Market {
    markets().by_symbol(&"BTC/USD".parse().unwrap()).unwrap().clone()
}

fn candles(body: &str) -> Result<Vec<Candle>, HistoryError> {
    let mut out = Vec::new();
    coinbase(None).history().unwrap().parse_candles(body.as_bytes(), span("1m"), UnixNanos(1), &mut out).map(|()| out)
}

#[test]
fn markets_bear_the_names_that_the_rest_of_the_world_knows() {
    let markets = coinbase(None).parse_markets(PRODUCTS).unwrap();
    let list: Vec<String> = markets
        .iter()
        .map(|m| {
            let numbers = [m.price_tick, m.amount_step, m.amount_min, m.amount_max, m.notional_min];
            let numbers = numbers.map(|n| n.map_or_else(|| "-".to_owned(), |n| n.to_string()));
            format!("{} {} {:?} {}", m.symbol, m.id, m.status, numbers.join(" "))
        })
        .collect();
    assert_eq!(
        list,
        [
            "BTC/USD BTC-USD Trading 0.01 0.00000001 - - 1",
            "CELO/USD CGLD-USD Halted 0.0001 0.01 0.1 34000 1",
            "ETH/USD ETH-USD Trading 0.01 0.00000001 - - 1",
            "NEW/USD NEW-USD Unknown - 1 - - -",
            "XRP/USD XRP-USD Halted 0.0001 0.000001 - - 1",
        ]
    );
    assert_eq!(markets.skipped(), 1, "the one that can't be read; the auction is none");
    let error = coinbase(None).parse_markets(br#"{"message":"Service under maintenance"}"#).unwrap_err().to_string();
    assert_eq!(error, "coinbase refused the list of markets: Service under maintenance");
    assert!(coinbase(None).parse_markets(b"<html>").is_err());
}

#[test]
fn each_feed_is_subscribed_by_a_message_of_its_own_and_trades_with_their_heartbeat() {
    let coinbase = coinbase(None);
    let feeds: [(Symbol, Channel); 4] = [
        ("BTC/USD", Channel::Trades),
        ("CELO/USD", Channel::Book),
        ("BTC/USD", Channel::Ohlc),
        ("NEW/CELO", Channel::Quotes),
    ]
    .map(|(symbol, channel)| (symbol.parse().unwrap(), channel));
    let texts: Vec<(String, u64, Vec<usize>)> =
        coinbase.subscribe(&feeds, &markets(), 5).into_iter().map(|m| (m.text, m.id, m.feeds)).collect();
    let message = |channels: &str, product: &str| {
        format!(r#"{{"channels":[{channels}],"product_ids":["{product}"],"type":"subscribe"}}"#)
    };
    assert_eq!(
        texts,
        [
            (message(r#""matches","heartbeat""#, "BTC-USD"), 5, vec![0]),
            (message(r#""level2_batch""#, "CGLD-USD"), 6, vec![1]),
            (message(r#""ticker""#, "NEW-CGLD"), 7, vec![3]),
        ]
    );
    let ends = coinbase.unsubscribe(&feeds[..1], &markets(), 1);
    assert_eq!(ends[0].text, message(r#""matches","heartbeat""#, "BTC-USD").replace("subscribe", "unsubscribe"));
    assert_eq!(coinbase.connect_url("ws://127.0.0.1:1/"), "ws://127.0.0.1:1");
}

#[test]
fn candles_are_asked_for_up_to_the_second_before_the_next() {
    let coinbase = coinbase(None);
    let history = coinbase.history().unwrap();
    let ask = |label: &str, from: i64, to: i64, limit| {
        let (from, to) = (UnixNanos::from_secs(from), UnixNanos::from_secs(to));
        history.candles_request(&market(), span(label), from, to, limit).path_and_query
    };
    let path = |granularity: i64, start: i64, end: i64| {
        format!("/products/BTC-USD/candles?granularity={granularity}&start={start}&end={end}")
    };
    assert_eq!(ask("1m", 600, 1_200, 300), path(60, 600, 1_199));
    assert_eq!(ask("1m", 600, 1_000_000, 1_000), path(60, 600, 600 + 300 * 60 - 1));
    assert_eq!(ask("6h", 0, 21_600_000, 10), path(21_600, 0, 215_999));
    assert_eq!(history.spans(), [60, 300, 900, 3_600, 21_600, 86_400]);
}

/// An exchange with candles of a minute at these minutes; it gives the newest 300 of what is asked for, and refuses longer stretches.
fn serve_candles(request: &RestRequest, minutes: &[i64], includes_end: bool) -> Vec<u8> {
    let value =
        |key: &str| -> i64 { request.path_and_query.split(key).nth(1).unwrap().split('&').next().unwrap().parse().unwrap() };
    let (start, end) = (value("start="), value("end="));
    if (end - start) / 60 > 300 {
        return br#"{"message":"granularity too small for the requested time range. Count of aggregations requested exceeds 300"}"#.to_vec();
    }
    let within = |at: &i64| *at >= start && (*at < end || (includes_end && *at == end));
    let rows: Vec<String> = minutes
        .iter()
        .map(|minute| minute * 60)
        .filter(within)
        .rev()
        .take(300)
        .map(|at| format!("[{at},1.5,3,2,2.5,3.77e-05]"))
        .collect();
    format!("[{}]", rows.join(",")).into_bytes()
}

#[test]
fn pages_follow_each_other_whether_the_end_is_included_or_not() {
    let (minute, coinbase) = (span("1m"), coinbase(None));
    let minutes: Vec<i64> = (0..=700).filter(|minute| minute % 7 != 3 && !(310..620).contains(minute)).collect();
    for includes_end in [false, true] {
        let mut all = Vec::new();
        for page in 0..4 {
            let from = UnixNanos::from_secs(page * 18_000);
            let mut fetch = |request: &RestRequest| serve_candles(request, &minutes, includes_end);
            all.extend(
                candle_page(coinbase.as_ref(), &market(), minute, from, UnixNanos::from_secs(42_060), &mut fetch).unwrap(),
            );
        }
        let opens: Vec<i64> = all.iter().map(|candle| candle.ts_open.as_millis() / 60_000).collect();
        assert_eq!(opens, minutes);
    }
    let row = &candles("[[60,1.5,3,2,2.5,3.77e-05]]").unwrap()[0];
    let numbers = [row.low, row.high, row.open, row.close, row.volume].map(|number| number.to_string());
    assert_eq!(numbers, ["1.5", "3", "2", "2.5", "0.0000377"]);
    assert!(candles("[]").unwrap().is_empty(), "nothing was traded");
}

#[test]
fn refusals_and_rows_that_cant_be_are_told_apart() {
    let refusal = |words: &str| candles(&format!(r#"{{"message":"{words}"}}"#)).unwrap_err();
    assert!(matches!(refusal("Public rate limit exceeded"), HistoryError::RateLimited { wait, .. } if wait.as_secs() == 1));
    for words in ["Internal server error", "Service is under maintenance", "Temporarily unavailable"] {
        assert!(matches!(refusal(words), HistoryError::Unavailable { .. }), "{words}");
    }
    assert_eq!(refusal("NotFound").to_string(), "coinbase refuses the request: NotFound");
    for (row, wrong) in [
        ("[60,1,3,2,2.5,-1]", "volume"),
        ("[60,-1,3,2,2.5,1]", "low"),
        ("[60,3,1,2,2.5,1]", "high"),
        ("[60,1,3,4,2.5,1]", "open"),
        ("[60.5,1,3,2,2.5,1]", "time"),
        ("[99999999999999,1,3,2,2.5,1]", "time"),
    ] {
        let error = candles(&format!("[[120,1,3,2,2.5,1],{row}]")).unwrap_err();
        assert!(matches!(error, HistoryError::BadRow { row: 1, field, .. } if field == wrong), "{row}: {error}");
    }
    for body in ["[[60,1,3,2,2.5]]", "[[60,1,3,2,\"x\",1]]", "[[60,1,3,2,2.5,1]", "[[60,1,3,2,2.5,1]]x", "{\"error\":1}"] {
        assert!(matches!(candles(body), Err(HistoryError::Unreadable { .. })), "{body}");
    }
}

/// When a trade happened, in milliseconds: three at a time, and long pauses here and there.
fn happened(id: u64) -> i64 {
    let n = i64::try_from(id / 3).unwrap();
    1_500_000_000_000 + n * 1_370 + n / 50 * 900_000
}

/// An exchange with the trades 1 to `newest`: pages that end before an id, the newest first.
fn serve_trades(request: &RestRequest, newest: u64) -> Vec<u8> {
    let value =
        |key: &str| -> u64 { request.path_and_query.split(key).nth(1).unwrap().split('&').next().unwrap().parse().unwrap() };
    let (after, limit) = (value("after="), value("limit="));
    assert!(limit <= 1_000, "{request:?}");
    let row = |id: u64| {
        let time = UnixNanos::from_millis(happened(id));
        format!(r#"{{"trade_id":{id},"side":"sell","size":"0.5","price":"9","time":"{time}"}}"#)
    };
    let last = newest.min(after.saturating_sub(1));
    let rows: Vec<String> = (1..=last).rev().take(usize::try_from(limit).unwrap()).map(row).collect();
    format!("[{}]", rows.join(",")).into_bytes()
}

/// The trades from a time on, and how many requests it took.
fn trades_from(from: UnixNanos, newest: u64, pages: usize) -> (Vec<Trade>, bool, usize) {
    let mut requests = 0;
    let mut fetch = |request: &RestRequest| {
        requests += 1;
        serve_trades(request, newest)
    };
    let (trades, is_last) =
        trade_pages(coinbase(None).as_ref(), &market(), TradeCursor::Time(from), pages, &mut fetch).unwrap();
    (trades, is_last, requests)
}

#[test]
fn trades_of_the_past_are_all_there_from_the_first_to_the_present() {
    for newest in [1, 999, 1_000, 1_001, 12_345] {
        let (trades, is_last, requests) = trades_from(UnixNanos(0), newest, 60);
        let ids: Vec<u64> = trades.iter().map(|trade| u64::try_from(trade.id.0).unwrap()).collect();
        assert!(is_last && ids.iter().copied().eq(1..=newest), "{newest}: {} trades", ids.len());
        assert!(requests <= 40, "{requests} requests");
    }
    let (none, is_last, _) = trades_from(UnixNanos::from_secs(1_900_000_000), 5_000, 60);
    assert!(is_last && none.is_empty(), "the future");
    assert!(trades_from(UnixNanos(0), 0, 60).0.is_empty(), "a market without a trade");
    let one = trades_from(UnixNanos(0), 1, 60).0[0];
    assert_eq!((one.side, one.price, one.amount), (Side::Buy, Decimal::new(9, 0), Decimal::new(5, -1)));
}

/// One answer without trades, wherever it comes, makes nobody believe that there are none.
#[test]
fn an_answer_without_trades_is_asked_for_again() {
    let coinbase = coinbase(None);
    for failing in 0..25 {
        let mut requests = 0;
        let mut fetch = |request: &RestRequest| {
            requests += 1;
            if requests == failing + 1 && request.subject.contains("before") {
                b"[]".to_vec()
            } else {
                serve_trades(request, 9_000)
            }
        };
        let from = TradeCursor::Time(UnixNanos::from_millis(happened(4_000)));
        let (trades, is_last) = trade_pages(coinbase.as_ref(), &market(), from, 60, &mut fetch).unwrap();
        let first = trades[0].id.low();
        assert!(
            is_last && (3_995..=4_000).contains(&first) && trades.len() as u64 == 9_001 - first,
            "{failing}: from {first}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn trades_begin_at_the_time_that_is_asked_for(newest in 1u64..400_000, at in any::<prop::sample::Index>(), off in -2_000i64..2_000) {
        let wanted = at.index(usize::try_from(newest).unwrap()) as u64 + 1;
        let from = UnixNanos::from_millis(happened(wanted) + off);
        let (trades, is_last, requests) = trades_from(from, newest, 25);
        let first = (1..=newest).find(|id| happened(*id) >= from.as_millis());
        let found = trades.iter().find(|trade| trade.ts_venue >= from).map(|trade| u64::try_from(trade.id.0).unwrap());
        prop_assert_eq!(found, first);
        prop_assert!(found.is_some() || is_last);
        // Seconds are searched for, and nothing before them is given.
        prop_assert!(trades.first().is_none_or(|trade| trade.ts_venue.as_millis() >= from.as_millis() - 1_000));
        prop_assert!(requests <= 25);
    }
}

#[test]
fn missing_trades_are_asked_for_with_their_neighbours() {
    let coinbase = coinbase(None);
    let symbol = "BTC/USD".parse().unwrap();
    let hole = TradeHole { from_id: 5_000, to_id: 6_500, ts_before: UnixNanos(1) };
    let mut at = Some(coinbase.trades_begin(&hole));
    let mut asked = Vec::new();
    while let Some(cursor) = at {
        let TradeCursor::Id(from) = cursor else { panic!("{cursor:?}") };
        let limit = u32::try_from(hole.to_id - from + 1).unwrap().min(coinbase.limits().trades_per_request);
        let request = coinbase.trades_request(&symbol, cursor, limit, &markets());
        at = coinbase.trades_next(&hole, cursor, limit, &serve_trades(&request, 100_000)).unwrap();
        asked.push(request.path_and_query);
    }
    // 4999 to 5998, and from there 5997 to 6501.
    let path = |limit: u32, after: u32| format!("/products/BTC-USD/trades?limit={limit}&after={after}");
    assert_eq!(asked, [path(1_000, 5_999), path(505, 6_502)]);
    let refused = coinbase.trades_next(&hole, TradeCursor::Id(1_000), 100, br#"{"message":"Public rate limit exceeded"}"#);
    assert!(matches!(refused, Err(HistoryError::RateLimited { .. })), "{refused:?}");
}
