//! The past: `OHLC` for the newest candles, `Trades` for everything since the listing.
//!
//! `OHLC` answers with its newest 720 candles and the open one, whatever it is asked for, quiet ones among them, flat at the
//! last price. `Trades` is paged by `since`, nanoseconds, exclusive. A row's own time is a decimal fraction of about seven
//! digits, a rounded double; only the answer's `last` is exact, so a trade's time here may be off by up to 240 ns.

use dccd_model::{Candle, Span, Symbol, Trade, UnixNanos};
use serde::de::Error as _;

use super::Kraken;
use super::consts::{CANDLES_PER_PAGE, CANDLES_REACH, NAME, SPANS, TRADES_PER_PAGE};
use super::http::refusal;
use super::parse::{self, CandleRow, TradeRow};
use crate::candles;
use crate::wire::encoded;
use crate::{CandlePages, History, HistoryError, Market, Product, RestRequest, TradeCursor, TradePage, TradePages};

/// What a page of trades is called in errors.
const TRADES: &str = "trades";

impl History for Kraken {
    fn spans(&self) -> &'static [u32] {
        SPANS
    }

    fn candle_pages(&self, span: Span) -> Option<CandlePages> {
        SPANS.contains(&span.as_secs()).then_some(CandlePages {
            per_page: CANDLES_PER_PAGE,
            reach: Some(CANDLES_REACH),
            sends_empty: true,
            has_quote_volume: false,
            has_trades: true,
            begins_at_listing: false,
        })
    }

    /// Neither `to` nor `limit` can be asked for. Whether `since` itself is included its documents leave open: a second
    /// before is on the safe side of both.
    fn candles_request(&self, market: &Market, span: Span, from: UnixNanos, _: UnixNanos, _: u32) -> RestRequest {
        let since = (from.as_millis().div_euclid(1_000) - 1).max(0);
        let minutes = span.as_secs() / 60;
        RestRequest {
            path_and_query: format!("/0/public/OHLC?pair={}&interval={minutes}&since={since}", encoded(&market.id)),
            weight: 1,
            subject: format!("ohlc {} {span} {since}", market.symbol),
            product: Product::Spot,
        }
    }

    fn parse_candles(&self, body: &[u8], span: Span, ts_recv: UnixNanos, out: &mut Vec<Candle>) -> Result<(), HistoryError> {
        let begin = out.len();
        let unreadable = |source| unreadable(body, candles::SUBJECT, source);
        let reply = parse::reply(body, CandleRow { span, ts_recv }, out).map_err(unreadable)?;
        if let Some(refusal) = refusal(&reply.errors) {
            return Err(refusal);
        }
        if !reply.has_rows {
            return Err(unreadable(serde_json::Error::custom("no rows and no error")));
        }
        candles::check(NAME, &mut out[begin..])
    }

    fn trade_pages(&self) -> Option<TradePages> {
        Some(TradePages { per_page: TRADES_PER_PAGE, contiguous_ids: true })
    }

    /// The exchange can't be asked for an id, and no page gives one as cursor: asked all the same, it begins with the
    /// market's first trade.
    fn trades_page_request(&self, market: &Market, cursor: TradeCursor) -> RestRequest {
        trades_request(&market.symbol, &market.id, cursor)
    }

    fn parse_trades_page(
        &self,
        body: &[u8],
        cursor: TradeCursor,
        ts_recv: UnixNanos,
        out: &mut Vec<Trade>,
    ) -> Result<TradePage, HistoryError> {
        let begin = out.len();
        let unreadable = |source| unreadable(body, TRADES, source);
        let reply = parse::reply(body, TradeRow { ts_recv }, out).map_err(unreadable)?;
        if let Some(refusal) = refusal(&reply.errors) {
            return Err(refusal);
        }
        if !reply.has_rows {
            return Err(unreadable(serde_json::Error::custom("no rows and no error")));
        }
        let last = reply.last.ok_or_else(|| unreadable(serde_json::Error::missing_field("last")))?;
        let rows = &out[begin..];
        for (row, trade) in rows.iter().enumerate() {
            if trade.price.mantissa < 0 || trade.amount.mantissa < 0 {
                let field = if trade.price.mantissa < 0 { "price" } else { "volume" };
                return Err(HistoryError::BadRow { exchange: NAME, subject: TRADES, row, field });
            }
        }
        let is_last = rows.len() < TRADES_PER_PAGE as usize;
        Ok(TradePage { next: TradeCursor::Mark(next(since(cursor), last, is_last)), is_last })
    }
}

/// The request for the page of trades that begins here, under the exchange's own id of the market.
pub(super) fn trades_request(symbol: &Symbol, id: &str, cursor: TradeCursor) -> RestRequest {
    let since = since(cursor);
    RestRequest {
        path_and_query: format!("/0/public/Trades?pair={}&since={since}&count={TRADES_PER_PAGE}", encoded(id)),
        weight: 1,
        subject: format!("trades {symbol} since {since}"),
        product: Product::Spot,
    }
}

/// `since` of the page that begins at a cursor.
fn since(cursor: TradeCursor) -> u64 {
    match cursor {
        TradeCursor::Time(time) => u64::try_from(time.0.saturating_sub(1)).unwrap_or(0),
        TradeCursor::Mark(mark) => mark,
        TradeCursor::Id(_) => 0,
    }
}

/// `since` of the page after one that ended at `last`. Other trades may share that nanosecond and be on the next page alone,
/// so the pages overlap by it; unless a full page holds nothing else, because then the next would be the same again.
fn next(asked: u64, last: u64, is_last: bool) -> u64 {
    let overlapping = last.saturating_sub(1);
    if is_last || overlapping > asked { overlapping.max(asked) } else { last.max(asked.saturating_add(1)) }
}

fn unreadable(body: &[u8], subject: &'static str, source: serde_json::Error) -> HistoryError {
    HistoryError::Unreadable { exchange: NAME, subject, bytes: body.len(), source }
}
