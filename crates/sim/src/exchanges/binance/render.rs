//! Messages as Binance writes them, appended to byte buffers. Allocates only when a buffer grows.

use crate::digits::{push_e8, push_i64, push_u64};
use crate::market::history::{AggRow, Bar, BarSpan, TradeRow};
use crate::market::{Ladder, Quote};

/// The unit of `E`, `T` and candle times on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeUnit {
    Millis,
    Micros,
}

impl TimeUnit {
    /// Microseconds since the epoch, in this unit.
    pub(crate) fn of(self, micros: i64) -> i64 {
        match self {
            Self::Millis => micros.div_euclid(1_000),
            Self::Micros => micros,
        }
    }
}

fn push_bool(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

fn head(out: &mut Vec<u8>, event: &str, now_us: i64, id: &str, unit: TimeUnit) {
    out.extend_from_slice(b"{\"e\":\"");
    out.extend_from_slice(event.as_bytes());
    out.extend_from_slice(b"\",\"E\":");
    push_i64(out, unit.of(now_us));
    out.extend_from_slice(b",\"s\":\"");
    out.extend_from_slice(id.as_bytes());
    out.push(b'"');
}

pub(crate) fn trade(out: &mut Vec<u8>, id: &str, row: &TradeRow, now_us: i64, unit: TimeUnit) {
    head(out, "trade", now_us, id, unit);
    out.extend_from_slice(b",\"t\":");
    push_u64(out, row.id);
    out.extend_from_slice(b",\"p\":\"");
    push_e8(out, row.price);
    out.extend_from_slice(b"\",\"q\":\"");
    push_e8(out, row.amount);
    out.extend_from_slice(b"\",\"T\":");
    push_i64(out, unit.of(row.time_us));
    out.extend_from_slice(b",\"m\":");
    push_bool(out, row.buyer_is_maker);
    out.extend_from_slice(b",\"M\":true}");
}

pub(crate) fn agg_trade(out: &mut Vec<u8>, id: &str, row: &AggRow, now_us: i64, unit: TimeUnit) {
    head(out, "aggTrade", now_us, id, unit);
    out.extend_from_slice(b",\"a\":");
    agg_fields(out, row, unit);
}

fn agg_fields(out: &mut Vec<u8>, row: &AggRow, unit: TimeUnit) {
    push_u64(out, row.id);
    out.extend_from_slice(b",\"p\":\"");
    push_e8(out, row.price);
    out.extend_from_slice(b"\",\"q\":\"");
    push_e8(out, row.amount);
    out.extend_from_slice(b"\",\"f\":");
    push_u64(out, row.first);
    out.extend_from_slice(b",\"l\":");
    push_u64(out, row.last);
    out.extend_from_slice(b",\"T\":");
    push_i64(out, unit.of(row.time_us));
    out.extend_from_slice(b",\"m\":");
    push_bool(out, row.buyer_is_maker);
    out.extend_from_slice(b",\"M\":true}");
}

pub(crate) fn book_ticker(out: &mut Vec<u8>, id: &str, quote: &Quote) {
    out.extend_from_slice(b"{\"u\":");
    push_u64(out, quote.update_id);
    out.extend_from_slice(b",\"s\":\"");
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(b"\",\"b\":\"");
    push_e8(out, quote.bid);
    out.extend_from_slice(b"\",\"B\":\"");
    push_e8(out, quote.bid_amount);
    out.extend_from_slice(b"\",\"a\":\"");
    push_e8(out, quote.ask);
    out.extend_from_slice(b"\",\"A\":\"");
    push_e8(out, quote.ask_amount);
    out.extend_from_slice(b"\"}");
}

pub(crate) fn levels(out: &mut Vec<u8>, levels: &[(i64, i64)]) {
    out.push(b'[');
    for (i, (price, amount)) in levels.iter().enumerate() {
        out.extend_from_slice(if i == 0 { b"[\"" } else { b",[\"" });
        push_e8(out, *price);
        out.extend_from_slice(b"\",\"");
        push_e8(out, *amount);
        out.extend_from_slice(b"\"]");
    }
    out.push(b']');
}

/// A diff: the absolute amounts of every level touched by the updates `first..=last`.
pub(crate) fn depth_update(
    out: &mut Vec<u8>,
    id: &str,
    (first, last): (u64, u64),
    changed: &Ladder,
    now_us: i64,
    unit: TimeUnit,
) {
    head(out, "depthUpdate", now_us, id, unit);
    out.extend_from_slice(b",\"U\":");
    push_u64(out, first);
    out.extend_from_slice(b",\"u\":");
    push_u64(out, last);
    out.extend_from_slice(b",\"b\":");
    levels(out, &changed.bids);
    out.extend_from_slice(b",\"a\":");
    levels(out, &changed.asks);
    out.push(b'}');
}

/// A partial book, and the body of a REST snapshot.
pub(crate) fn depth(out: &mut Vec<u8>, update_id: u64, ladder: &Ladder) {
    out.extend_from_slice(b"{\"lastUpdateId\":");
    push_u64(out, update_id);
    out.extend_from_slice(b",\"bids\":");
    levels(out, &ladder.bids);
    out.extend_from_slice(b",\"asks\":");
    levels(out, &ladder.asks);
    out.push(b'}');
}

/// A candle as the stream tells it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kline<'a> {
    pub id: &'a str,
    pub interval: &'a str,
    pub span: BarSpan,
    pub bar: Bar,
    pub closed: bool,
}

pub(crate) fn kline(out: &mut Vec<u8>, kline: &Kline<'_>, now_us: i64, unit: TimeUnit) {
    let Kline { id, interval, span, bar, closed } = *kline;
    head(out, "kline", now_us, id, unit);
    out.extend_from_slice(b",\"k\":{\"t\":");
    push_i64(out, unit.of(span.open_us));
    out.extend_from_slice(b",\"T\":");
    push_i64(out, unit.of(span.next_us) - 1);
    out.extend_from_slice(b",\"s\":\"");
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(b"\",\"i\":\"");
    out.extend_from_slice(interval.as_bytes());
    out.extend_from_slice(b"\",\"f\":");
    push_i64(out, if bar.trades == 0 { -1 } else { i64::try_from(bar.first_id).unwrap_or(-1) });
    out.extend_from_slice(b",\"L\":");
    push_i64(out, if bar.trades == 0 { -1 } else { i64::try_from(bar.last_id).unwrap_or(-1) });
    for (key, value) in [("o", bar.open), ("c", bar.close), ("h", bar.high), ("l", bar.low), ("v", bar.volume)] {
        text_field(out, key, value);
    }
    out.extend_from_slice(b",\"n\":");
    push_u64(out, bar.trades);
    out.extend_from_slice(b",\"x\":");
    push_bool(out, closed);
    for (key, value) in [("q", bar.quote_volume), ("V", bar.taker_volume), ("Q", bar.taker_quote_volume)] {
        text_field(out, key, value);
    }
    out.extend_from_slice(b",\"B\":\"0\"}}");
}

fn text_field(out: &mut Vec<u8>, key: &str, value: i64) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":\"");
    push_e8(out, value);
    out.push(b'"');
}

/// One row of `GET klines`.
pub(crate) fn kline_row(out: &mut Vec<u8>, span: BarSpan, bar: &Bar, unit: TimeUnit) {
    out.push(b'[');
    push_i64(out, unit.of(span.open_us));
    for value in [bar.open, bar.high, bar.low, bar.close, bar.volume] {
        out.extend_from_slice(b",\"");
        push_e8(out, value);
        out.push(b'"');
    }
    out.push(b',');
    push_i64(out, unit.of(span.next_us) - 1);
    out.extend_from_slice(b",\"");
    push_e8(out, bar.quote_volume);
    out.extend_from_slice(b"\",");
    push_u64(out, bar.trades);
    out.extend_from_slice(b",\"");
    push_e8(out, bar.taker_volume);
    out.extend_from_slice(b"\",\"");
    push_e8(out, bar.taker_quote_volume);
    out.extend_from_slice(b"\",\"0\"]");
}

/// One row of `GET aggTrades`.
pub(crate) fn agg_row(out: &mut Vec<u8>, row: &AggRow, unit: TimeUnit) {
    out.extend_from_slice(b"{\"a\":");
    agg_fields(out, row, unit);
}

/// One row of `GET trades` and `GET historicalTrades`.
pub(crate) fn trade_row(out: &mut Vec<u8>, row: &TradeRow, unit: TimeUnit) {
    out.extend_from_slice(b"{\"id\":");
    push_u64(out, row.id);
    out.extend_from_slice(b",\"price\":\"");
    push_e8(out, row.price);
    out.extend_from_slice(b"\",\"qty\":\"");
    push_e8(out, row.amount);
    out.extend_from_slice(b"\",\"quoteQty\":\"");
    push_e8(out, row.quote_amount());
    out.extend_from_slice(b"\",\"time\":");
    push_i64(out, unit.of(row.time_us));
    out.extend_from_slice(b",\"isBuyerMaker\":");
    push_bool(out, row.buyer_is_maker);
    out.extend_from_slice(b",\"isBestMatch\":true}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trade_reads_as_the_exchange_writes_it() {
        let row = TradeRow {
            id: 3_735_683_259,
            price: 6_183_763_000_000,
            amount: 2_000_000,
            time_us: 1_723_161_255_342_111,
            buyer_is_maker: true,
        };
        let mut out = Vec::new();
        trade(&mut out, "BTCUSDT", &row, 1_723_161_255_343_999, TimeUnit::Millis);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}"#
        );
    }
}
