//! The past: `candles`, back to the listing, at most 1,500 a page, the newest first; a candle without trades is left out, and none
//! says how many trades it holds. Trades of the past can't be had here, only the newest hundred.

use dccd_model::{Candle, Span, Trade, UnixNanos};
use serde::de::Error as _;

use super::Kucoin;
use super::consts::{CANDLES_PER_PAGE, NAME, SPANS};
use super::http::{self, refusal};
use super::messages::Reply;
use super::parse;
use crate::candles;
use crate::wire::encoded;
use crate::{
    CandlePages, FrameError, History, HistoryError, Market, Product, RestRequest, TradeCursor, TradePage, TradePages,
};

/// What a page of trades is called in errors.
const TRADES: &str = "trades";

/// What the exchange calls a span.
fn interval(span: Span) -> String {
    match span.as_secs() {
        seconds @ 86_400.. => format!("{}day", seconds / 86_400),
        seconds @ 3_600.. => format!("{}hour", seconds / 3_600),
        seconds => format!("{}min", seconds / 60),
    }
}

impl History for Kucoin {
    fn spans(&self) -> &'static [u32] {
        SPANS
    }

    fn candle_pages(&self, span: Span) -> Option<CandlePages> {
        SPANS.contains(&span.as_secs()).then_some(CandlePages {
            per_page: CANDLES_PER_PAGE,
            reach: None,
            sends_empty: false,
            has_quote_volume: true,
            has_trades: false,
            begins_at_listing: false,
        })
    }

    /// Of a longer stretch than a page the exchange gives the end, so no more than a page is asked for. Bounds are in seconds, and the
    /// last is a second before a candle would open, so that it doesn't matter whether it is one of them.
    fn candles_request(&self, market: &Market, span: Span, from: UnixNanos, to: UnixNanos, limit: u32) -> RestRequest {
        let limit = limit.clamp(1, CANDLES_PER_PAGE);
        let second = 1_000_000_000;
        let start = from.0.max(0).saturating_add(second - 1) / second;
        let page = i64::from(span.as_secs()) * i64::from(limit);
        let end = (to.0.saturating_sub(1).max(0) / second).min(start.saturating_add(page - 1));
        RestRequest {
            product: Product::Spot,
            path_and_query: format!(
                "/api/v1/market/candles?symbol={}&type={}&startAt={start}&endAt={end}",
                encoded(&market.id),
                interval(span)
            ),
            weight: 3,
            subject: format!("candles {} {span} {start}", market.symbol),
        }
    }

    fn parse_candles(&self, body: &[u8], span: Span, ts_recv: UnixNanos, out: &mut Vec<Candle>) -> Result<(), HistoryError> {
        let begin = out.len();
        let reply = parse::reply(body, |cursor| {
            out.push(parse::candle(cursor, span, ts_recv)?);
            Ok(())
        });
        check(body, candles::SUBJECT, reply)?;
        candles::check(NAME, &mut out[begin..])
    }

    fn trade_pages(&self) -> Option<TradePages> {
        None
    }

    /// The newest trades, wherever it is to begin.
    fn trades_page_request(&self, market: &Market, cursor: TradeCursor) -> RestRequest {
        http::trades_request(&market.symbol, &market.id, since(cursor))
    }

    fn parse_trades_page(
        &self,
        body: &[u8],
        cursor: TradeCursor,
        ts_recv: UnixNanos,
        out: &mut Vec<Trade>,
    ) -> Result<TradePage, HistoryError> {
        let mut rows = Vec::new();
        let reply = parse::reply(body, |cursor| {
            rows.push(parse::trade(cursor)?);
            Ok(())
        });
        check(body, TRADES, reply)?;
        rows.sort_by_key(|row| row.ts_venue);
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
        Ok(TradePage { next: cursor, is_last: true })
    }
}

/// What the newest trades are wanted for.
pub(super) fn since(cursor: TradeCursor) -> UnixNanos {
    match cursor {
        TradeCursor::Time(time) => time,
        TradeCursor::Id(_) | TradeCursor::Mark(_) => UnixNanos::UNKNOWN,
    }
}

/// Whether an answer is one, and has rows.
fn check(body: &[u8], subject: &'static str, reply: Result<Reply<'_>, FrameError>) -> Result<(), HistoryError> {
    let unreadable = |source| HistoryError::Unreadable { exchange: NAME, subject, bytes: body.len(), source };
    let reply = reply.map_err(|fault| {
        unreadable(match fault {
            FrameError::Json(source) => source,
            fault => serde_json::Error::custom(fault),
        })
    })?;
    let code = reply.code.ok_or_else(|| unreadable(serde_json::Error::missing_field("code")))?;
    match refusal(&code, &reply.words) {
        Some(refusal) => Err(refusal),
        None if !reply.has_rows => Err(unreadable(serde_json::Error::missing_field("data"))),
        None => Ok(()),
    }
}
