//! The past: `kline` for candles, back to the listing, at most a thousand a page, the newest first; a candle without trades is
//! sent, flat `[K]`, and none says how many trades it holds. Trades of the past can't be had here, only the newest few.

use dccd_model::{Candle, Span, Trade, UnixNanos};
use serde::de::Error as _;

use super::Bybit;
use super::consts::{CANDLES_PER_PAGE, NAME, SPANS};
use super::http::{self, refusal};
use super::messages::Reply;
use super::parse::{self, CandleRow, TradeRow};
use crate::candles;
use crate::wire::encoded;
use crate::{
    CandlePages, FrameError, History, HistoryError, Market, Product, RestRequest, TradeCursor, TradePage, TradePages,
};

/// What a page of trades is called in errors.
const TRADES: &str = "trades";

/// What the exchange calls a span: minutes, or a letter.
fn interval(span: Span) -> String {
    match span.as_secs() {
        86_400 => "D".to_owned(),
        604_800 => "W".to_owned(),
        seconds => (seconds / 60).to_string(),
    }
}

impl History for Bybit {
    fn spans(&self) -> &'static [u32] {
        SPANS
    }

    fn candle_pages(&self, span: Span) -> Option<CandlePages> {
        SPANS.contains(&span.as_secs()).then_some(CandlePages {
            per_page: CANDLES_PER_PAGE,
            reach: None,
            sends_empty: true,
            has_quote_volume: true,
            has_trades: false,
            begins_at_listing: false,
        })
    }

    /// Of a longer stretch than a page the exchange gives the end, so no more than a page is asked for.
    fn candles_request(&self, market: &Market, span: Span, from: UnixNanos, to: UnixNanos, limit: u32) -> RestRequest {
        let limit = limit.clamp(1, CANDLES_PER_PAGE);
        // Both bounds are inclusive and in milliseconds: the first that isn't before `from`, the last that is before `to`.
        let start = from.0.max(0).saturating_add(999_999) / 1_000_000;
        let page = i64::from(span.as_secs()) * 1_000 * i64::from(limit);
        let end = (to.0.saturating_sub(1).max(0) / 1_000_000).min(start.saturating_add(page - 1));
        RestRequest {
            path_and_query: format!(
                "/v5/market/kline?category={}&symbol={}&interval={}&start={start}&end={end}&limit={limit}",
                http::category(&market.symbol),
                encoded(&market.id),
                interval(span)
            ),
            weight: 1,
            subject: format!("kline {} {span} {start}", market.symbol),
            product: Product::Spot,
        }
    }

    fn parse_candles(&self, body: &[u8], span: Span, ts_recv: UnixNanos, out: &mut Vec<Candle>) -> Result<(), HistoryError> {
        let begin = out.len();
        let reply = parse::reply(body, CandleRow { span, ts_recv }, out);
        check(body, candles::SUBJECT, reply)?;
        candles::check(NAME, &mut out[begin..])
    }

    fn trade_pages(&self) -> Option<TradePages> {
        None
    }

    /// The newest trades, wherever it is to begin.
    fn trades_page_request(&self, market: &Market, cursor: TradeCursor) -> RestRequest {
        let since = match cursor {
            TradeCursor::Time(time) => time,
            TradeCursor::Id(_) | TradeCursor::Mark(_) => UnixNanos::UNKNOWN,
        };
        http::trades_request(&market.symbol, &market.id, since)
    }

    fn parse_trades_page(
        &self,
        body: &[u8],
        cursor: TradeCursor,
        ts_recv: UnixNanos,
        out: &mut Vec<Trade>,
    ) -> Result<TradePage, HistoryError> {
        let mut rows = Vec::new();
        let reply = parse::reply(body, TradeRow, &mut rows);
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

/// Whether an answer is one, and has rows.
pub(super) fn check(body: &[u8], subject: &'static str, reply: Result<Reply<'_>, FrameError>) -> Result<(), HistoryError> {
    let unreadable = |source| HistoryError::Unreadable { exchange: NAME, subject, bytes: body.len(), source };
    let reply = reply.map_err(|fault| {
        unreadable(match fault {
            FrameError::Json(source) => source,
            fault => serde_json::Error::custom(fault),
        })
    })?;
    match refusal(&reply) {
        Some(refusal) => Err(refusal),
        None if reply.code.is_none() => Err(unreadable(serde_json::Error::missing_field("retCode"))),
        None if !reply.has_rows => Err(unreadable(serde_json::Error::missing_field("list"))),
        None => Ok(()),
    }
}
