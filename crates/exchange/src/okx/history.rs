//! The past: `history-candles`, the newest first, back to the listing. Trades of the past reach back three months `[K]` and are
//! asked for to fill holes only.

use std::borrow::Cow;

use dccd_model::{Candle, Flags, Span, Trade, UnixNanos};

use super::Okx;
use super::candle::{Columns, SPOT_COLUMNS, SWAP_COLUMNS, of_row};
use super::consts::{BARS, CANDLES_PER_PAGE, NAME, SPANS, WEIGHT};
use super::http;
use super::parse;
use crate::candles;
use crate::wire::encoded;
use crate::{CandlePages, History, HistoryError, Market, Product, RestRequest, TradeCursor, TradePage, TradePages};

impl History for Okx {
    fn spans(&self) -> &'static [u32] {
        SPANS
    }

    fn candle_pages(&self, span: Span) -> Option<CandlePages> {
        bar(span).map(|_| CandlePages {
            per_page: CANDLES_PER_PAGE,
            reach: None,
            sends_empty: true,
            has_quote_volume: true,
            has_trades: false,
            begins_at_listing: false,
        })
    }

    /// Both bounds are exclusive, and the newest come first: the window ends where the page does.
    fn candles_request(&self, market: &Market, span: Span, from: UnixNanos, to: UnixNanos, limit: u32) -> RestRequest {
        let limit = limit.clamp(1, CANDLES_PER_PAGE);
        let step = i64::from(span.as_secs()) * dccd_model::time::NANOS_PER_SECOND;
        let from = from.0.max(0);
        let to = to.0.min(from.saturating_add(step.saturating_mul(i64::from(limit)))).max(0);
        // The last millisecond before `from`, and the first that isn't before `to`.
        let before = from.saturating_add(999_999) / 1_000_000 - 1;
        let after = to.saturating_add(999_999) / 1_000_000;
        let bar = bar(span).unwrap_or_default();
        RestRequest {
            path_and_query: format!(
                "/api/v5/market/history-candles?instId={}&bar={bar}&after={after}&before={before}&limit={limit}",
                encoded(&market.id)
            ),
            weight: WEIGHT,
            subject: format!("candles {} {span} {before}", market.symbol),
            product: Product::Spot,
        }
    }

    /// As those of a spot market: which column holds the amount depends on the market, see [`Self::parse_candles_of`].
    fn parse_candles(&self, body: &[u8], span: Span, ts_recv: UnixNanos, out: &mut Vec<Candle>) -> Result<(), HistoryError> {
        read(body, span, SPOT_COLUMNS, ts_recv, out)
    }

    fn parse_candles_of(
        &self,
        market: &Market,
        body: &[u8],
        span: Span,
        ts_recv: UnixNanos,
        out: &mut Vec<Candle>,
    ) -> Result<(), HistoryError> {
        let columns = if market.contract_size.is_some() { SWAP_COLUMNS } else { SPOT_COLUMNS };
        read(body, span, columns, ts_recv, out)
    }

    fn trade_pages(&self) -> Option<TradePages> {
        None
    }

    fn trades_page_request(&self, market: &Market, cursor: TradeCursor) -> RestRequest {
        http::trades_request(&market.symbol, &market.id, super::first_id(cursor), u32::MAX)
    }

    /// None of what was there long ago can be had as a series; holes are filled by the session.
    fn parse_trades_page(
        &self,
        _: &[u8],
        _: TradeCursor,
        _: UnixNanos,
        _: &mut Vec<Trade>,
    ) -> Result<TradePage, HistoryError> {
        Err(HistoryError::Refused { exchange: NAME, message: "it has no series of trades of the past".to_owned() })
    }
}

fn bar(span: Span) -> Option<&'static str> {
    BARS.iter().find(|(seconds, _)| *seconds == span.as_secs()).map(|(_, bar)| *bar)
}

/// `["1597026383085","o","h","l","c","vol","volCcy","volCcyQuote","confirm"]`.
fn read(body: &[u8], span: Span, columns: Columns, ts_recv: UnixNanos, out: &mut Vec<Candle>) -> Result<(), HistoryError> {
    let begin = out.len();
    let subject = candles::SUBJECT;
    for (at, row) in parse::reply(body, subject)?.data.unwrap_or_default().into_iter().enumerate() {
        let unreadable = |source| HistoryError::Unreadable { exchange: NAME, subject, bytes: body.len(), source };
        let row: Vec<Cow<'_, str>> = serde_json::from_str(row.get()).map_err(unreadable)?;
        let bad = |field| HistoryError::BadRow { exchange: NAME, subject, row: at, field };
        let mut candle = of_row(&row, span, columns, ts_recv).map_err(bad)?;
        let is_closed = candle.flags.contains(Flags::CLOSED);
        // Of the past all are; only live it is worth a word.
        candle.flags = Flags::NONE;
        let end = candle.ts_open.0.saturating_add(i64::from(span.as_secs()).saturating_mul(1_000_000_000));
        if !is_closed && end <= ts_recv.0 {
            // By the clock it is over, and the exchange may still change it.
            let message = format!("the candle of {} is not closed yet", candle.ts_open);
            return Err(HistoryError::Unavailable { exchange: NAME, message });
        }
        out.push(candle);
    }
    candles::check(NAME, &mut out[begin..])
}
