//! The past: candles and trades back to the listing, ten thousand a page, the oldest first. A candle without trades is left out, and
//! none says how many trades it holds. Pages of trades are asked for by time, in milliseconds, and overlap by one of them.

use dccd_model::{Candle, Span, Trade, UnixNanos};

use super::Bitfinex;
use super::consts::{CANDLES_PER_PAGE, CANDLES_WEIGHT, NAME, SPANS, TRADES_PER_PAGE};
use super::http::{self, json};
use super::parse;
use crate::candles;
use crate::session::Executed;
use crate::{
    CandlePages, FrameError, History, HistoryError, Market, Product, RestRequest, TradeCursor, TradePage, TradePages,
};

/// What a page of trades is called in errors.
const TRADES: &str = "trades";

/// What the exchange calls a span.
fn frame(span: Span) -> String {
    match span.as_secs() {
        86_400 => "1D".to_owned(),
        seconds if seconds.is_multiple_of(3_600) => format!("{}h", seconds / 3_600),
        seconds => format!("{}m", seconds / 60),
    }
}

/// What stands in the place of rows, or why they can't be read.
fn read<T>(body: &[u8], subject: &'static str, rows: Result<T, FrameError>) -> Result<T, HistoryError> {
    if let Some((code, words)) = parse::refusal(body) {
        return Err(http::refusal(code, &words));
    }
    let unreadable = |fault| HistoryError::Unreadable { exchange: NAME, subject, bytes: body.len(), source: json(fault) };
    rows.map_err(unreadable)
}

/// A page of trades, in the order of time.
pub(super) fn trades(body: &[u8]) -> Result<Vec<Executed>, HistoryError> {
    read(body, TRADES, parse::trades(body))
}

/// Where the page after one begins that was asked for here: at its last trade, whose time others may share. `None`: it has room left.
pub(super) fn next(asked: TradeCursor, trades: &[Executed]) -> Option<TradeCursor> {
    let last = trades.last().filter(|_| trades.len() >= TRADES_PER_PAGE as usize)?;
    // A page of one millisecond would come again and again.
    let past = UnixNanos(http::since(asked).saturating_add(1).saturating_mul(1_000_000));
    Some(TradeCursor::Time(last.ts_venue.max(past)))
}

impl History for Bitfinex {
    fn spans(&self) -> &'static [u32] {
        SPANS
    }

    fn candle_pages(&self, span: Span) -> Option<CandlePages> {
        SPANS.contains(&span.as_secs()).then_some(CandlePages {
            per_page: CANDLES_PER_PAGE,
            reach: None,
            sends_empty: false,
            has_quote_volume: false,
            has_trades: false,
            begins_at_listing: true,
        })
    }

    fn candles_request(&self, market: &Market, span: Span, from: UnixNanos, to: UnixNanos, limit: u32) -> RestRequest {
        let limit = limit.clamp(1, CANDLES_PER_PAGE);
        // Both bounds are inclusive and in milliseconds: the first that isn't before `from`, the last that is before `to`.
        let start = from.0.max(0).saturating_add(999_999) / 1_000_000;
        let end = to.0.saturating_sub(1).max(0) / 1_000_000;
        let (frame, id) = (frame(span), http::path(&market.id));
        RestRequest {
            product: Product::Spot,
            path_and_query: format!("/v2/candles/trade:{frame}:{id}/hist?start={start}&end={end}&limit={limit}&sort=1"),
            weight: CANDLES_WEIGHT,
            subject: format!("candles {} {span} {start}", market.symbol),
        }
    }

    fn parse_candles(&self, body: &[u8], span: Span, ts_recv: UnixNanos, out: &mut Vec<Candle>) -> Result<(), HistoryError> {
        let begin = out.len();
        read(body, candles::SUBJECT, parse::candles(body, span, ts_recv, out))?;
        candles::check(NAME, &mut out[begin..])
    }

    fn trade_pages(&self) -> Option<TradePages> {
        Some(TradePages { per_page: TRADES_PER_PAGE, contiguous_ids: false })
    }

    fn trades_page_request(&self, market: &Market, cursor: TradeCursor) -> RestRequest {
        http::trades_request(&market.symbol, &market.id, cursor)
    }

    fn parse_trades_page(
        &self,
        body: &[u8],
        cursor: TradeCursor,
        ts_recv: UnixNanos,
        out: &mut Vec<Trade>,
    ) -> Result<TradePage, HistoryError> {
        let rows = trades(body)?;
        let next = next(cursor, &rows);
        out.extend(rows.into_iter().map(|row| Trade {
            ts_venue: row.ts_venue,
            ts_recv,
            price: row.price,
            amount: row.amount,
            id: row.id,
            side: row.side,
            flags: row.flags,
            epoch: 0,
        }));
        Ok(TradePage { next: next.unwrap_or(cursor), is_last: next.is_none() })
    }
}
