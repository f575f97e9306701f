//! Messages and rows of perpetuals as the exchange writes them since the summer of 2026, appended to byte buffers.
//!
//! Their order is that of recorded messages; `st` and `ps` stand where the exchange's documents have them.

use super::market::Market;
use crate::digits::{push_fixed, push_i64, push_u64};
use crate::market::history::{AggRow, Bar, BarSpan, TradeRow};
use crate::market::{Ladder, Quote};

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn millis(out: &mut Vec<u8>, us: i64) {
    push_i64(out, us.div_euclid(1_000));
}

fn flag(out: &mut Vec<u8>, value: bool) {
    put(out, if value { "true" } else { "false" });
}

/// `{"e":"trade","E":1723161256322`
fn head(out: &mut Vec<u8>, event: &str, now_us: i64) {
    put(out, "{\"e\":\"");
    put(out, event);
    put(out, "\",\"E\":");
    millis(out, now_us);
}

fn price(out: &mut Vec<u8>, key: &str, market: &Market, e8: i64) {
    put(out, key);
    market.push_price(out, e8);
    out.push(b'"');
}

fn amount(out: &mut Vec<u8>, key: &str, market: &Market, e8: i64) {
    put(out, key);
    market.push_amount(out, e8);
    out.push(b'"');
}

fn symbol(out: &mut Vec<u8>, market: &Market) {
    put(out, ",\"s\":\"");
    put(out, &market.id);
    out.push(b'"');
}

/// A single trade: a stream that is in no document, but is served.
pub(super) fn trade(out: &mut Vec<u8>, market: &Market, row: &TradeRow, now_us: i64) {
    head(out, "trade", now_us);
    put(out, ",\"T\":");
    millis(out, row.time_us);
    symbol(out, market);
    put(out, ",\"t\":");
    push_u64(out, row.id);
    price(out, ",\"p\":\"", market, row.price);
    amount(out, ",\"q\":\"", market, row.amount);
    put(out, ",\"X\":\"MARKET\",\"m\":");
    flag(out, row.buyer_is_maker);
    put(out, ",\"st\":1}");
}

/// An aggregated trade. There are no retail price improvement orders here: `nq`, which leaves them out, is `q`.
pub(super) fn agg_trade(out: &mut Vec<u8>, market: &Market, row: &AggRow, now_us: i64) {
    head(out, "aggTrade", now_us);
    put(out, ",\"a\":");
    push_u64(out, row.id);
    symbol(out, market);
    price(out, ",\"p\":\"", market, row.price);
    amount(out, ",\"q\":\"", market, row.amount);
    amount(out, ",\"nq\":\"", market, row.amount);
    orders(out, row);
    put(out, ",\"st\":1}");
}

/// `,"f":42831257,"l":42831257,"T":1602819697783,"m":true`
fn orders(out: &mut Vec<u8>, row: &AggRow) {
    put(out, ",\"f\":");
    push_u64(out, row.first);
    put(out, ",\"l\":");
    push_u64(out, row.last);
    put(out, ",\"T\":");
    millis(out, row.time_us);
    put(out, ",\"m\":");
    flag(out, row.buyer_is_maker);
}

pub(super) fn book_ticker(out: &mut Vec<u8>, market: &Market, quote: &Quote, now_us: i64) {
    put(out, "{\"e\":\"bookTicker\",\"u\":");
    push_u64(out, market.update_id(quote.update_id));
    symbol(out, market);
    price(out, ",\"b\":\"", market, quote.bid);
    amount(out, ",\"B\":\"", market, quote.bid_amount);
    price(out, ",\"a\":\"", market, quote.ask);
    amount(out, ",\"A\":\"", market, quote.ask_amount);
    put(out, ",\"T\":");
    millis(out, now_us);
    put(out, ",\"E\":");
    millis(out, now_us);
    put(out, ",\"st\":1,\"ps\":\"");
    put(out, &market.id);
    put(out, "\"}");
}

fn levels(out: &mut Vec<u8>, market: &Market, levels: &[(i64, i64)]) {
    out.push(b'[');
    for (i, (price, amount)) in levels.iter().enumerate() {
        put(out, if i == 0 { "[\"" } else { ",[\"" });
        market.push_price(out, *price);
        put(out, "\",\"");
        market.push_amount(out, *amount);
        put(out, "\"]");
    }
    out.push(b']');
}

/// The changes that a message of a book tells of, by the book's own count: first and last.
pub(super) type Ids = (u64, u64);

/// A diff, or the best levels: both have this form. `pu` is where the message before ended.
pub(super) fn depth_update(out: &mut Vec<u8>, market: &Market, (first, last): Ids, ladder: &Ladder, now_us: i64) {
    head(out, "depthUpdate", now_us);
    put(out, ",\"T\":");
    millis(out, now_us);
    symbol(out, market);
    put(out, ",\"ps\":\"");
    put(out, &market.id);
    put(out, "\",\"st\":1,\"U\":");
    push_u64(out, market.update_id(first));
    put(out, ",\"u\":");
    push_u64(out, market.update_id(last));
    put(out, ",\"pu\":");
    push_u64(out, market.update_id(first - 1));
    put(out, ",\"b\":");
    levels(out, market, &ladder.bids);
    put(out, ",\"a\":");
    levels(out, market, &ladder.asks);
    out.push(b'}');
}

/// A snapshot over REST.
pub(super) fn depth(out: &mut Vec<u8>, market: &Market, count: u64, ladder: &Ladder, now_us: i64) {
    put(out, "{\"lastUpdateId\":");
    push_u64(out, market.update_id(count));
    put(out, ",\"E\":");
    millis(out, now_us);
    put(out, ",\"T\":");
    millis(out, now_us);
    put(out, ",\"bids\":");
    levels(out, market, &ladder.bids);
    put(out, ",\"asks\":");
    levels(out, market, &ladder.asks);
    out.push(b'}');
}

/// What mark price streams tell, `e8`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub mark: i64,
    pub index: i64,
    pub rate: i64,
    pub next_funding_us: i64,
}

pub(super) fn mark_price(out: &mut Vec<u8>, market: &Market, mark: &Mark, now_us: i64) {
    head(out, "markPriceUpdate", now_us);
    symbol(out, market);
    for (key, e8) in [("p", mark.mark), ("ap", mark.mark), ("P", mark.index), ("i", mark.index), ("r", mark.rate)] {
        put(out, ",\"");
        put(out, key);
        put(out, "\":\"");
        push_fixed(out, e8, 8);
        out.push(b'"');
    }
    put(out, ",\"T\":");
    millis(out, mark.next_funding_us);
    put(out, ",\"st\":1}");
}

/// A candle as the stream tells it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kline<'a> {
    pub interval: &'a str,
    pub span: BarSpan,
    pub bar: Bar,
    pub closed: bool,
}

pub(super) fn kline(out: &mut Vec<u8>, market: &Market, kline: &Kline<'_>, now_us: i64) {
    let Kline { interval, span, bar, closed } = *kline;
    head(out, "kline", now_us);
    symbol(out, market);
    put(out, ",\"k\":{\"t\":");
    millis(out, span.open_us);
    put(out, ",\"T\":");
    push_i64(out, span.next_us.div_euclid(1_000) - 1);
    symbol(out, market);
    put(out, ",\"i\":\"");
    put(out, interval);
    put(out, "\",\"f\":");
    push_i64(out, if bar.trades == 0 { -1 } else { i64::try_from(bar.first_id).unwrap_or(-1) });
    put(out, ",\"L\":");
    push_i64(out, if bar.trades == 0 { -1 } else { i64::try_from(bar.last_id).unwrap_or(-1) });
    price(out, ",\"o\":\"", market, bar.open);
    price(out, ",\"c\":\"", market, bar.close);
    price(out, ",\"h\":\"", market, bar.high);
    price(out, ",\"l\":\"", market, bar.low);
    amount(out, ",\"v\":\"", market, bar.volume);
    put(out, ",\"n\":");
    push_u64(out, bar.trades);
    put(out, ",\"x\":");
    flag(out, closed);
    put(out, ",\"q\":\"");
    market.push_value(out, bar.quote_volume);
    out.push(b'"');
    amount(out, ",\"V\":\"", market, bar.taker_volume);
    put(out, ",\"Q\":\"");
    market.push_value(out, bar.taker_quote_volume);
    put(out, "\",\"B\":\"0\"}}");
}

/// One row of `GET klines`.
pub(super) fn kline_row(out: &mut Vec<u8>, market: &Market, span: BarSpan, bar: &Bar) {
    out.push(b'[');
    millis(out, span.open_us);
    for value in [bar.open, bar.high, bar.low, bar.close] {
        price(out, ",\"", market, value);
    }
    amount(out, ",\"", market, bar.volume);
    out.push(b',');
    push_i64(out, span.next_us.div_euclid(1_000) - 1);
    put(out, ",\"");
    market.push_value(out, bar.quote_volume);
    put(out, "\",");
    push_u64(out, bar.trades);
    amount(out, ",\"", market, bar.taker_volume);
    put(out, ",\"");
    market.push_value(out, bar.taker_quote_volume);
    put(out, "\",\"0\"]");
}

/// One row of `GET aggTrades`.
pub(super) fn agg_row(out: &mut Vec<u8>, market: &Market, row: &AggRow) {
    put(out, "{\"a\":");
    push_u64(out, row.id);
    price(out, ",\"p\":\"", market, row.price);
    amount(out, ",\"q\":\"", market, row.amount);
    orders(out, row);
    out.push(b'}');
}

/// One row of `GET trades` and `GET historicalTrades`.
pub(super) fn trade_row(out: &mut Vec<u8>, market: &Market, row: &TradeRow) {
    put(out, "{\"id\":");
    push_u64(out, row.id);
    price(out, ",\"price\":\"", market, row.price);
    amount(out, ",\"qty\":\"", market, row.amount);
    price(out, ",\"quoteQty\":\"", market, row.quote_amount());
    put(out, ",\"time\":");
    millis(out, row.time_us);
    put(out, ",\"isBuyerMaker\":");
    flag(out, row.buyer_is_maker);
    put(out, ",\"isRPITrade\":false}");
}

#[cfg(test)]
mod tests {
    use super::super::market::spec;
    use super::*;

    #[test]
    fn an_aggregated_trade_reads_as_the_exchange_writes_it() {
        let market = Market::of(&spec("BTC/USDT:USDT").unwrap(), 1);
        let row = AggRow {
            id: 3_339_472_008,
            first: 7_786_568_797,
            last: 7_786_568_801,
            price: 6_433_920_000_000,
            amount: 12_300_000,
            time_us: 1_781_416_438_926_111,
            buyer_is_maker: true,
        };
        let mut out = Vec::new();
        agg_trade(&mut out, &market, &row, 1_781_416_439_080_999);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"e":"aggTrade","E":1781416439080,"a":3339472008,"s":"BTCUSDT","p":"64339.20","q":"0.123","nq":"0.123","f":7786568797,"l":7786568801,"T":1781416438926,"m":true,"st":1}"#
        );
    }
}
