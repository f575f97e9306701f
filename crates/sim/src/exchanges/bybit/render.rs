//! Messages as Bybit's public WebSockets write them. The two categories have their keys in different orders.

use super::markets::{Category, Market, push_short};
use super::streams::{INTERVALS, Topic};
use crate::digits::{push_i64, push_u64};
use crate::market::Ladder;
use crate::market::history::{Bar, TradeRow};

/// A message's kind and time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub is_snapshot: bool,
    /// When it is sent, microseconds.
    pub now_us: i64,
}

const fn kind(is_snapshot: bool) -> &'static str {
    if is_snapshot { "snapshot" } else { "delta" }
}

pub(super) fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn millis(out: &mut Vec<u8>, us: i64) {
    push_i64(out, us.div_euclid(1_000));
}

fn topic_field(out: &mut Vec<u8>, topic: Topic, market: &Market) {
    put(out, "\"topic\":\"");
    topic.push(out, &market.id);
    out.push(b'"');
}

fn kind_field(out: &mut Vec<u8>, head: Head) {
    put(out, "\"type\":\"");
    put(out, kind(head.is_snapshot));
    out.push(b'"');
}

fn time_field(out: &mut Vec<u8>, head: Head) {
    put(out, "\"ts\":");
    millis(out, head.now_us);
}

/// `{"topic":"publicTrade.BTCUSDT","ts":1,"type":"snapshot"`, the last two the other way round on linear.
fn open(out: &mut Vec<u8>, topic: Topic, market: &Market, head: Head) {
    out.push(b'{');
    topic_field(out, topic, market);
    out.push(b',');
    match market.category {
        Category::Spot => {
            time_field(out, head);
            out.push(b',');
            kind_field(out, head);
        }
        Category::Linear => {
            kind_field(out, head);
            out.push(b',');
            time_field(out, head);
        }
    }
}

/// Levels as pairs of texts.
pub(super) fn levels(out: &mut Vec<u8>, market: &Market, levels: &[(i64, i64)]) {
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

/// What tells a book's message from the others of its topic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub u: u64,
    pub seq: u64,
    /// When what it tells of came about, microseconds.
    pub changed_us: i64,
}

pub(super) fn book(out: &mut Vec<u8>, topic: Topic, market: &Market, head: Head, ladder: &Ladder, numbers: Numbers) {
    open(out, topic, market, head);
    put(out, ",\"data\":{\"s\":\"");
    put(out, &market.id);
    put(out, "\",\"b\":");
    levels(out, market, &ladder.bids);
    put(out, ",\"a\":");
    levels(out, market, &ladder.asks);
    put(out, ",\"u\":");
    push_u64(out, numbers.u);
    put(out, ",\"seq\":");
    push_u64(out, numbers.seq);
    put(out, "},\"cts\":");
    millis(out, numbers.changed_us);
    out.push(b'}');
}

/// A trade with how its price moved.
pub(super) type Moved = (TradeRow, &'static str);

pub(super) const fn side(row: &TradeRow) -> &'static str {
    if row.buyer_is_maker { "Sell" } else { "Buy" }
}

/// The trades of one order.
pub(super) fn trades(out: &mut Vec<u8>, market: &Market, now_us: i64, rows: &[Moved], seq: u64) {
    open(out, Topic::Trades, market, Head { is_snapshot: true, now_us });
    put(out, ",\"data\":[");
    for (i, (row, moved)) in rows.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        match market.category {
            Category::Spot => {
                put(out, "{\"i\":\"");
                market.push_trade_id(out, row.id);
                put(out, "\",\"T\":");
                millis(out, row.time_us);
                put(out, ",\"p\":\"");
                market.push_price(out, row.price);
                put(out, "\",\"v\":\"");
                market.push_amount(out, row.amount);
                put(out, "\",\"S\":\"");
                put(out, side(row));
                put(out, "\",\"seq\":");
                push_u64(out, seq);
                put(out, ",\"s\":\"");
                put(out, &market.id);
                put(out, "\",\"BT\":false,\"RPI\":false}");
            }
            Category::Linear => {
                put(out, "{\"T\":");
                millis(out, row.time_us);
                put(out, ",\"s\":\"");
                put(out, &market.id);
                put(out, "\",\"S\":\"");
                put(out, side(row));
                put(out, "\",\"v\":\"");
                market.push_amount(out, row.amount);
                put(out, "\",\"p\":\"");
                market.push_price(out, row.price);
                put(out, "\",\"L\":\"");
                put(out, moved);
                put(out, "\",\"i\":\"");
                market.push_trade_id(out, row.id);
                put(out, "\",\"BT\":false,\"RPI\":false,\"seq\":");
                push_u64(out, seq);
                out.push(b'}');
            }
        }
    }
    put(out, "]}");
}

/// A candle, the instant before the next one opens (microseconds), and whether it is closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candle {
    pub bar: Bar,
    pub next_us: i64,
    pub is_closed: bool,
}

/// Candles, one or, on linear, the closed one with the one after it.
pub(super) fn candles(out: &mut Vec<u8>, market: &Market, interval: usize, now_us: i64, candles: &[Candle]) {
    let (topic, head) = (Topic::Candles(interval), Head { is_snapshot: true, now_us });
    out.push(b'{');
    if market.category == Category::Spot {
        kind_field(out, head);
        out.push(b',');
    }
    topic_field(out, topic, market);
    put(out, ",\"data\":[");
    for (i, Candle { bar, next_us, is_closed }) in candles.iter().enumerate() {
        put(out, if i == 0 { "{\"start\":" } else { ",{\"start\":" });
        millis(out, bar.open_us);
        put(out, ",\"end\":");
        millis(out, *next_us - 1);
        put(out, ",\"interval\":\"");
        put(out, INTERVALS[interval].0);
        for (name, value) in [
            ("open", bar.open),
            ("close", bar.close),
            ("high", bar.high),
            ("low", bar.low),
            ("volume", bar.volume),
            ("turnover", bar.quote_volume),
        ] {
            put(out, "\",\"");
            put(out, name);
            put(out, "\":\"");
            push_short(out, value);
        }
        put(out, "\",\"confirm\":");
        put(out, if *is_closed { "true" } else { "false" });
        put(out, ",\"timestamp\":");
        millis(out, now_us);
        out.push(b'}');
    }
    put(out, "],");
    time_field(out, head);
    if market.category == Category::Linear {
        out.push(b',');
        kind_field(out, head);
    }
    out.push(b'}');
}

/// A name and a text; of tickers all values are texts.
pub(super) type Field = (&'static str, String);

pub(super) fn fields(out: &mut Vec<u8>, id: &str, fields: &[Field]) {
    put(out, "{\"symbol\":\"");
    put(out, id);
    out.push(b'"');
    for (name, value) in fields {
        put(out, ",\"");
        put(out, name);
        put(out, "\":\"");
        put(out, value);
        out.push(b'"');
    }
    out.push(b'}');
}

pub(super) fn ticker(out: &mut Vec<u8>, market: &Market, head: Head, told: &[Field], seq: u64) {
    let cs = |out: &mut Vec<u8>| {
        put(out, ",\"cs\":");
        push_u64(out, seq);
    };
    match market.category {
        Category::Spot => {
            open(out, Topic::Tickers, market, head);
            cs(out);
            put(out, ",\"data\":");
            fields(out, &market.id, told);
        }
        Category::Linear => {
            out.push(b'{');
            topic_field(out, Topic::Tickers, market);
            out.push(b',');
            kind_field(out, head);
            put(out, ",\"data\":");
            fields(out, &market.id, told);
            cs(out);
            out.push(b',');
            time_field(out, head);
        }
    }
    out.push(b'}');
}
