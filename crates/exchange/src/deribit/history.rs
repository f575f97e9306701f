//! The past: `get_tradingview_chart_data` for candles, in columns, the oldest first, back to the listing; a candle without trades is
//! sent, flat at the last price. Trades reach back a day, and are asked for to fill holes only.

use dccd_model::{Candle, Span, Trade, UnixNanos};

use super::Deribit;
use super::consts::{CANDLES_PER_PAGE, NAME, RESOLUTIONS, SPANS, WEIGHT};
use super::{http, parse};
use crate::candles;
use crate::wire::encoded;
use crate::{CandlePages, History, HistoryError, Market, Product, RestRequest, TradeCursor, TradePage, TradePages};

impl History for Deribit {
    fn spans(&self) -> &'static [u32] {
        SPANS
    }

    fn candle_pages(&self, span: Span) -> Option<CandlePages> {
        resolution(span).map(|_| CandlePages {
            per_page: CANDLES_PER_PAGE,
            reach: None,
            sends_empty: true,
            has_quote_volume: true,
            has_trades: false,
            begins_at_listing: false,
        })
    }

    /// Both bounds are inclusive and in milliseconds: the first that isn't before `from`, the last that is before `to`, and no more than
    /// a page between them, since of more the exchange gives what it likes.
    fn candles_request(&self, market: &Market, span: Span, from: UnixNanos, to: UnixNanos, limit: u32) -> RestRequest {
        let limit = i64::from(limit.clamp(1, CANDLES_PER_PAGE));
        let start = from.0.max(0).saturating_add(999_999) / 1_000_000;
        let page = i64::from(span.as_secs()) * 1_000 * limit;
        let end = (to.0.saturating_sub(1).max(0) / 1_000_000).min(start.saturating_add(page - 1));
        RestRequest {
            product: Product::Spot,
            path_and_query: format!(
                "/api/v2/public/get_tradingview_chart_data?instrument_name={}&start_timestamp={start}&end_timestamp={end}&resolution={}",
                encoded(&market.id),
                resolution(span).unwrap_or_default()
            ),
            weight: WEIGHT,
            subject: format!("candles {} {span} {start}", market.symbol),
        }
    }

    fn parse_candles(&self, body: &[u8], span: Span, ts_recv: UnixNanos, out: &mut Vec<Candle>) -> Result<(), HistoryError> {
        let begin = out.len();
        parse::candles(body, span, ts_recv, out)?;
        candles::check(NAME, &mut out[begin..])
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

fn resolution(span: Span) -> Option<&'static str> {
    RESOLUTIONS.iter().find(|(seconds, _)| *seconds == span.as_secs()).map(|(_, name)| *name)
}
