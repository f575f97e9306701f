//! The history side of an adapter: what it says it has and what it asks for agree; and, against an exchange that answers,
//! pages that are what was asked for.

use std::collections::HashSet;

use dccd_model::{Candle, Span, Trade, UnixNanos};

use crate::{Adapter, CandlePages, History, HistoryError, Market, Markets, RestRequest, TradeCursor};

/// Sends a request to an exchange and returns the body of its answer.
pub type Fetch<'f> = dyn FnMut(&RestRequest) -> Vec<u8> + 'f;

/// When our answers came, as far as this suite is concerned.
const TS_RECV: UnixNanos = UnixNanos(1);
/// Monday 1970-01-05, where weeks begin.
const FIRST_MONDAY_SECS: i64 = 4 * 86_400;

pub(super) fn check(adapter: &dyn Adapter, markets: &Markets) {
    let Some(history) = adapter.history() else {
        let refusal = adapter.candle_pages(Span::ONE_SECOND).expect_err("candle pages without a history").to_string();
        assert!(refusal.contains(adapter.name()), "refusal without the exchange's name: {refusal}");
        return;
    };
    spans_and_pages_agree(adapter, history);
    let market = markets.iter().next().expect("there are markets");
    for span in history.spans() {
        let span = Span::from_secs(*span).expect("a span is not zero");
        candle_requests_are_well_formed(adapter, history, market, span);
    }
    trade_requests_are_well_formed(adapter, history, market);
    what_is_no_answer_is_an_error(history);
}

fn spans_and_pages_agree(adapter: &dyn Adapter, history: &dyn History) {
    let spans = history.spans();
    assert!(spans.is_sorted_by(|a, b| a < b), "spans don't ascend: {spans:?}");
    let tried = [1, 7, 60, 90, 120, 420, 86_400, 172_800, 604_800, 604_801, u32::MAX];
    for seconds in spans.iter().copied().chain(tried) {
        let Some(span) = Span::from_secs(seconds) else { panic!("a span of no time") };
        let offered = spans.contains(&seconds);
        let pages = history.candle_pages(span);
        assert_eq!(pages.is_some(), offered, "{span}: spans and pages disagree");
        match adapter.candle_pages(span) {
            Ok(checked) => assert_eq!(Some(checked), pages, "{span}: adapter and history disagree"),
            Err(refusal) => {
                let text = refusal.to_string();
                assert!(!offered && text.contains(adapter.name()) && text.contains(&span.to_string()), "{text}");
            }
        }
        if let Some(CandlePages { per_page, reach, .. }) = pages {
            assert!(per_page >= 1 && reach.is_none_or(|reach| reach >= 1), "{span}: pages of nothing");
        }
    }
}

fn is_well_formed(adapter: &dyn Adapter, request: &RestRequest) {
    let path = &request.path_and_query;
    assert!(path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic()), "{request:?}");
    let largest = adapter.limits_of(request.product).rest.largest_request();
    assert!(request.weight >= 1 && request.weight <= largest, "{request:?}");
    assert!(!request.subject.is_empty() && request.subject.len() <= usize::from(u16::MAX), "{request:?}");
}

fn candle_requests_are_well_formed(adapter: &dyn Adapter, history: &dyn History, market: &Market, span: Span) {
    let step = i64::from(span.as_secs());
    let page = history.candle_pages(span).map_or(1, |pages| pages.per_page);
    let mut subjects = HashSet::new();
    for first in [0, 1, 1_000_000] {
        let (from, to) = (UnixNanos::from_secs(first * step), UnixNanos::from_secs((first + 100) * step));
        let request = history.candles_request(market, span, from, to, page);
        is_well_formed(adapter, &request);
        assert!(first == 1 || subjects.insert(request.subject.clone()), "different windows under one subject: {request:?}");
        assert_eq!(
            request,
            history.candles_request(market, span, from, to, page),
            "a request depends on more than its window"
        );
    }
    for (from, to) in [(i64::MIN, i64::MAX), (0, 0), (i64::MAX, i64::MIN)] {
        for limit in [0, 1, page, u32::MAX] {
            is_well_formed(adapter, &history.candles_request(market, span, UnixNanos(from), UnixNanos(to), limit));
        }
    }
}

fn trade_requests_are_well_formed(adapter: &dyn Adapter, history: &dyn History, market: &Market) {
    let Some(pages) = history.trade_pages() else { return };
    assert!(pages.per_page >= 1, "pages of no trades");
    for number in [0, 1, 1_700_000_000_000_000_000, i64::MAX.unsigned_abs(), u64::MAX] {
        let time = UnixNanos(i64::try_from(number).unwrap_or(i64::MIN));
        for cursor in [TradeCursor::Time(time), TradeCursor::Id(number), TradeCursor::Mark(number)] {
            is_well_formed(adapter, &history.trades_page_request(market, cursor));
        }
    }
}

fn what_is_no_answer_is_an_error(history: &dyn History) {
    let (span, cursor) = (Span::from_secs(60).unwrap_or(Span::ONE_SECOND), TradeCursor::Time(UnixNanos(1)));
    for body in ["", "{", "[", "null", "1", "\"\"", "{}", "[1]", "[[]]", "[{}]", "<html>", "\u{0}", "{\"result\":{}}"] {
        let candles = history.parse_candles(body.as_bytes(), span, TS_RECV, &mut Vec::new());
        assert!(candles.is_err(), "read as candles: {body}");
        if history.trade_pages().is_some() {
            let trades = history.parse_trades_page(body.as_bytes(), cursor, TS_RECV, &mut Vec::new());
            assert!(trades.is_err(), "read as trades: {body}");
        }
    }
}

/// Asks for one page of candles that open in `[from, to)` and checks the answer: readable, ascending, each at a multiple of
/// its span, no more than a page, and inside of what was asked for where the exchange can be asked so. Returns those inside.
///
/// # Errors
/// The exchange's own, for the caller to judge.
///
/// # Panics
/// When the page isn't what it must be, or the span isn't offered.
pub fn candle_page(
    adapter: &dyn Adapter,
    market: &Market,
    span: Span,
    from: UnixNanos,
    to: UnixNanos,
    fetch: &mut Fetch<'_>,
) -> Result<Vec<Candle>, HistoryError> {
    let history = adapter.history().expect("an exchange with a past");
    let pages = adapter.candle_pages(span).unwrap_or_else(|error| panic!("{error}"));
    let request = history.candles_request(market, span, from, to, pages.per_page);
    is_well_formed(adapter, &request);
    let body = fetch(&request);
    let mut page = Vec::new();
    history.parse_candles_of(market, &body, span, TS_RECV, &mut page)?;
    let path = &request.path_and_query;
    assert!(page.len() <= pages.per_page as usize, "{path}: {} candles on a page", page.len());
    assert!(page.is_sorted_by(|a, b| a.ts_open < b.ts_open), "{path}: candles don't ascend");
    let step = i64::from(span.as_secs()) * dccd_model::time::NANOS_PER_SECOND;
    let origin = if span.as_secs() == 604_800 { FIRST_MONDAY_SECS * dccd_model::time::NANOS_PER_SECOND } else { 0 };
    for candle in &page {
        assert_eq!((candle.ts_open.0 - origin).rem_euclid(step), 0, "{path}: a candle between the steps: {candle:?}");
        assert_eq!((candle.span, candle.ts_recv), (span, TS_RECV), "{path}: {candle:?}");
        let inside = candle.ts_open >= from && candle.ts_open < to;
        assert!(inside || pages.reach.is_some(), "{path}: a candle outside: {candle:?}");
        assert!(pages.has_quote_volume || candle.quote_volume.is_zero(), "{path}: a quote volume: {candle:?}");
    }
    page.retain(|candle| candle.ts_open >= from && candle.ts_open < to);
    Ok(page)
}

/// Follows the trades from `from` for at most `pages_max` pages, or to the present, and checks each page: readable, no more
/// than a page, in the order of ids without a hole, times that never go back, a cursor that goes on. Returns the trades, each
/// once, and whether the present was reached.
///
/// # Errors
/// The exchange's own, for the caller to judge.
///
/// # Panics
/// When a page isn't what it must be, or there are no trades of the past.
pub fn trade_pages(
    adapter: &dyn Adapter,
    market: &Market,
    from: TradeCursor,
    pages_max: usize,
    fetch: &mut Fetch<'_>,
) -> Result<(Vec<Trade>, bool), HistoryError> {
    let history = adapter.history().expect("an exchange with a past");
    let pages = history.trade_pages().expect("trades of the past");
    let mut trades: Vec<Trade> = Vec::new();
    let mut cursor = from;
    for _ in 0..pages_max {
        let request = history.trades_page_request(market, cursor);
        is_well_formed(adapter, &request);
        let path = &request.path_and_query;
        let body = fetch(&request);
        let mut rows = Vec::new();
        let page = history.parse_trades_page(&body, cursor, TS_RECV, &mut rows)?;
        assert!(rows.len() <= pages.per_page as usize, "{path}: {} trades on a page", rows.len());
        for trade in rows {
            if let Some(last) = trades.last() {
                if trade.id <= last.id {
                    assert!(trades.iter().rev().any(|known| known.id == trade.id), "{path}: ids go back: {trade:?}");
                    continue;
                }
                assert!(trade.ts_venue >= last.ts_venue, "{path}: time goes back: {last:?} {trade:?}");
                assert!(!pages.contiguous_ids || trade.id.0 == last.id.0 + 1, "{path}: a hole: {last:?} {trade:?}");
            }
            trades.push(trade);
        }
        if page.is_last {
            return Ok((trades, true));
        }
        assert_ne!(page.next, cursor, "{path}: the next page is this one again");
        cursor = page.next;
    }
    Ok((trades, false))
}
