//! The past: `klines` for candles; for trades `historicalTrades` by id, whose first id after a time `aggTrades` tells.
//!
//! Candles reach back to the listing, at most a thousand a page, the oldest first; a candle without trades is sent, flat.
//! Trades by id cost 25 a page whatever is on it, aggregated ones 4; an adapter for aggregated trades gives these. Of perpetuals
//! no more than a day of trades can be had, so nothing is built of them.

use std::time::Duration;

use dccd_model::{Candle, Flags, Span, Symbol, Trade, TradeId, UnixNanos};

use super::Binance;
use super::consts::{HISTORICAL_TRADES_WEIGHT, KLINES_PER_PAGE, KLINES_WEIGHT, LIMITS, NAME, SPANS, linear_klines_weight};
use super::http::{ErrorBody, PageRow, agg_trades_weight, root};
use super::klines;
use super::subscribe::product;
use crate::candles;
use crate::integrity::IdSpace;
use crate::wire::encoded;
use crate::{
    CandlePages, FrameError, History, HistoryError, Market, Product, RestRequest, TradeCursor, TradePage, TradePages,
};

/// What a page of trades is called in errors.
const TRADES: &str = "trades";
/// How long to keep away when the exchange says "too often" without saying how long: its weights are counted by the minute.
const RATE_WAIT: Duration = Duration::from_secs(60);
/// Aggregated trades asked for to find an id: the first may be one of the old ones that stand for no trades at all (`"f":-1`).
const FINDING: u32 = 10;

impl History for Binance {
    fn spans(&self) -> &'static [u32] {
        SPANS
    }

    fn candle_pages(&self, span: Span) -> Option<CandlePages> {
        SPANS.contains(&span.as_secs()).then_some(CandlePages {
            per_page: KLINES_PER_PAGE,
            reach: None,
            sends_empty: true,
            has_quote_volume: true,
            has_trades: true,
            begins_at_listing: true,
        })
    }

    fn candles_request(&self, market: &Market, span: Span, from: UnixNanos, to: UnixNanos, limit: u32) -> RestRequest {
        // Both bounds are inclusive and in milliseconds: the first that isn't before `from`, the last that is before `to`.
        let start = from.0.max(0).saturating_add(999_999) / 1_000_000;
        let end = to.0.saturating_sub(1).max(0) / 1_000_000;
        let limit = limit.clamp(1, KLINES_PER_PAGE);
        let product = product(&market.symbol);
        RestRequest {
            path_and_query: format!(
                "{}/klines?symbol={}&interval={span}&startTime={start}&endTime={end}&limit={limit}",
                root(product),
                encoded(&market.id)
            ),
            weight: match product {
                Product::Spot => KLINES_WEIGHT,
                Product::Linear => linear_klines_weight(limit),
            },
            subject: format!("klines {} {span} {start}", market.symbol),
            product,
        }
    }

    fn parse_candles(&self, body: &[u8], span: Span, ts_recv: UnixNanos, out: &mut Vec<Candle>) -> Result<(), HistoryError> {
        let begin = out.len();
        klines::read(body, span, ts_recv, out).map_err(|source| refusal(body, candles::SUBJECT, ts_recv, source))?;
        candles::check(NAME, &mut out[begin..])
    }

    fn trade_pages(&self) -> Option<TradePages> {
        Some(TradePages { per_page: LIMITS.trades_per_request, contiguous_ids: true })
    }

    fn trade_pages_of(&self, symbol: &Symbol) -> Option<TradePages> {
        self.trade_pages().filter(|_| product(symbol) == Product::Spot)
    }

    fn trades_page_request(&self, market: &Market, cursor: TradeCursor) -> RestRequest {
        let (id, limit) = (encoded(&market.id), LIMITS.trades_per_request);
        let product = product(&market.symbol);
        let (root, of_aggregates) = (root(product), agg_trades_weight(product));
        let (path, weight, from) = match (cursor, self.id_space(product)) {
            (TradeCursor::Time(time), space) => {
                let limit = if space == IdSpace::Single { FINDING } else { limit };
                let start = time.as_millis().max(0);
                let path = format!("{root}/aggTrades?symbol={id}&startTime={start}&limit={limit}");
                (path, of_aggregates, format!("at {start}"))
            }
            (TradeCursor::Id(from) | TradeCursor::Mark(from), IdSpace::Single) => {
                let path = format!("{root}/historicalTrades?symbol={id}&fromId={from}&limit={limit}");
                (path, HISTORICAL_TRADES_WEIGHT, from.to_string())
            }
            (TradeCursor::Id(from) | TradeCursor::Mark(from), IdSpace::Aggregated) => {
                let path = format!("{root}/aggTrades?symbol={id}&fromId={from}&limit={limit}");
                (path, of_aggregates, from.to_string())
            }
        };
        RestRequest { path_and_query: path, weight, subject: format!("trades {} {from}", market.symbol), product }
    }

    fn parse_trades_page(
        &self,
        body: &[u8],
        cursor: TradeCursor,
        ts_recv: UnixNanos,
        out: &mut Vec<Trade>,
    ) -> Result<TradePage, HistoryError> {
        let rows: Vec<PageRow> = serde_json::from_slice(body).map_err(|source| refusal(body, TRADES, ts_recv, source))?;
        let space = self.id_space(Product::Spot);
        match cursor {
            TradeCursor::Time(time) if space == IdSpace::Single => Ok(first_id(&rows, time)),
            _ => page(&rows, cursor, space, ts_recv, out),
        }
    }
}

/// Where single trades begin at a time, by the aggregated ones from there on.
fn first_id(rows: &[PageRow], time: UnixNanos) -> TradePage {
    let first = rows.iter().find_map(PageRow::first_single);
    let next = match (first, rows.iter().map(PageRow::ts_venue).max()) {
        (Some(id), _) => TradeCursor::Id(id),
        // Nothing but what stands for no trades: the next look is after it, and in any case further on than this one.
        (None, Some(last)) => TradeCursor::Time(UnixNanos(last.max(time).0.saturating_add(1_000_000))),
        (None, None) => TradeCursor::Time(time),
    };
    TradePage { next, is_last: rows.is_empty() }
}

fn page(
    rows: &[PageRow],
    cursor: TradeCursor,
    wanted: IdSpace,
    ts_recv: UnixNanos,
    out: &mut Vec<Trade>,
) -> Result<TradePage, HistoryError> {
    let bad = |row, field| HistoryError::BadRow { exchange: NAME, subject: TRADES, row, field };
    let mut next = match cursor {
        TradeCursor::Id(id) | TradeCursor::Mark(id) => Some(id),
        TradeCursor::Time(_) => None,
    };
    out.reserve(rows.len());
    for (at, row) in rows.iter().enumerate() {
        let trade = row.trade().map_err(|error| match error {
            FrameError::Missing { field, .. } | FrameError::OutOfRange { field, .. } => bad(at, field),
            FrameError::Json(_) | FrameError::Syntax { .. } => bad(at, "row"),
        })?;
        if trade.space != wanted {
            return Err(bad(at, "id"));
        }
        next = Some(next.unwrap_or(0).max(trade.id.saturating_add(1)));
        out.push(Trade {
            ts_venue: trade.ts_venue,
            ts_recv,
            price: trade.price,
            amount: trade.amount,
            id: TradeId(u128::from(trade.id)),
            side: trade.side,
            flags: Flags::NONE,
            epoch: 0,
        });
    }
    let is_last = rows.len() < LIMITS.trades_per_request as usize;
    Ok(TradePage { next: next.map_or(cursor, TradeCursor::Id), is_last })
}

/// What a body is that couldn't be read as a page: the exchange's own error, or nothing that makes sense.
fn refusal(body: &[u8], subject: &'static str, now: UnixNanos, source: serde_json::Error) -> HistoryError {
    let Ok(ErrorBody { code, msg }) = serde_json::from_slice::<ErrorBody<'_>>(body) else {
        return HistoryError::Unreadable { exchange: NAME, subject, bytes: body.len(), source };
    };
    let message = format!("code {code}: {msg}");
    match code {
        // Too many requests, too much weight; a ban says until when.
        -1003 | -1015 | -1034 => {
            let until = msg.split_once("until ").and_then(|(_, rest)| {
                let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
                digits.parse().ok().map(UnixNanos::from_millis)
            });
            let wait = until.map_or(RATE_WAIT, |until| until.since(now)).max(Duration::from_secs(1));
            HistoryError::RateLimited { exchange: NAME, message, wait }
        }
        // Unknown, disconnected, unexpected answer inside, timeout, overloaded, shutting down.
        -1000 | -1001 | -1006 | -1007 | -1008 | -1016 => HistoryError::Unavailable { exchange: NAME, message },
        _ => HistoryError::Refused { exchange: NAME, message },
    }
}
