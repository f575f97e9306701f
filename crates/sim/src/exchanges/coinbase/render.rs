//! Messages as Coinbase writes them: prices and sizes of trades without zeros at their end, those of the book with all decimals of
//! their product, keys in the exchange's own order.

use std::iter;

use super::products::Product;
use crate::deep::past::mix;
use crate::digits::{push_fixed, push_i64, push_short, push_u64};
use crate::instants::{push_time, push_time_ns};
use crate::market::history::{Bar, TradeRow};
use crate::market::{Ladder, Quote};

/// A trade as the WebSocket tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Match {
    pub row: TradeRow,
    /// Its place among all that happened to the product's orders.
    pub sequence: u64,
    /// The first trade of the same order.
    pub first_id: u64,
}

fn put(out: &mut Vec<u8>, texts: &[&str]) {
    texts.iter().for_each(|text| out.extend_from_slice(text.as_bytes()));
}

fn key(out: &mut Vec<u8>, name: &str) {
    put(out, &[",\"", name, "\":"]);
}

fn whole(out: &mut Vec<u8>, name: &str, n: u64) {
    key(out, name);
    push_u64(out, n);
}

fn word(out: &mut Vec<u8>, name: &str, text: &str) {
    put(out, &[",\"", name, "\":\"", text, "\""]);
}

/// A number as text, without zeros at its end.
fn short(out: &mut Vec<u8>, name: &str, e8: i64) {
    put(out, &[",\"", name, "\":\""]);
    push_short(out, e8);
    out.push(b'"');
}

/// A number as text, with so many decimals.
fn fixed(out: &mut Vec<u8>, name: &str, e8: i64, digits: u32) {
    put(out, &[",\"", name, "\":\""]);
    push_fixed(out, e8, digits);
    out.push(b'"');
}

fn time(out: &mut Vec<u8>, us: i64) {
    out.extend_from_slice(b",\"time\":\"");
    push_time(out, us);
    out.push(b'"');
}

/// An id in the form of a random UUID; the same number gives the same.
fn push_uuid(out: &mut Vec<u8>, n: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let bits = u128::from(mix(n ^ 0x636f_696e)) << 64 | u128::from(mix(n ^ 0x6261_7365));
    for at in 0..32_u32 {
        if matches!(at, 8 | 12 | 16 | 20) {
            out.push(b'-');
        }
        let nibble = bits.to_be_bytes()[usize::try_from(at / 2).unwrap_or(0)] >> (4 * (1 - at % 2)) & 15;
        let nibble = match at {
            12 => 4,
            16 => 8 | nibble & 3,
            _ => nibble,
        };
        out.push(DIGITS[usize::from(nibble)]);
    }
}

fn uuid(out: &mut Vec<u8>, name: &str, n: u64) {
    put(out, &[",\"", name, "\":\""]);
    push_uuid(out, n);
    out.push(b'"');
}

/// The side of the order that rested.
const fn maker(row: &TradeRow) -> &'static str {
    if row.buyer_is_maker { "buy" } else { "sell" }
}

/// The side of the order that took.
const fn taker(row: &TradeRow) -> &'static str {
    if row.buyer_is_maker { "sell" } else { "buy" }
}

/// `match`, or `last_match` for what a new subscriber is shown.
pub(super) fn matched(out: &mut Vec<u8>, kind: &str, product: &Product, told: &Match) {
    let Match { row, sequence, first_id } = told;
    put(out, &["{\"type\":\"", kind, "\""]);
    whole(out, "trade_id", row.id);
    uuid(out, "maker_order_id", mix(row.id));
    uuid(out, "taker_order_id", !mix(*first_id));
    word(out, "side", maker(row));
    short(out, "size", row.amount);
    short(out, "price", row.price);
    word(out, "product_id", &product.id);
    whole(out, "sequence", *sequence);
    time(out, row.time_us);
    out.push(b'}');
}

/// The figures of a ticker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticker {
    pub told: Match,
    pub quote: Quote,
    /// The last 24 hours.
    pub day: Bar,
}

/// The trades of thirty days are told as thirty times those of the last one.
const fn month(day: &Bar) -> i64 {
    day.volume.saturating_mul(30)
}

/// `ticker`; the side is the taker's.
pub(super) fn ticker(out: &mut Vec<u8>, product: &Product, ticker: &Ticker) {
    let Ticker { told: Match { row, sequence, .. }, quote, day } = ticker;
    let (price, size) = product.digits;
    out.extend_from_slice(b"{\"type\":\"ticker\"");
    whole(out, "sequence", *sequence);
    word(out, "product_id", &product.id);
    short(out, "price", row.price);
    short(out, "open_24h", day.open);
    fixed(out, "volume_24h", day.volume, 8);
    short(out, "low_24h", day.low);
    short(out, "high_24h", day.high);
    fixed(out, "volume_30d", month(day), 8);
    fixed(out, "best_bid", quote.bid, price);
    fixed(out, "best_bid_size", quote.bid_amount, size);
    fixed(out, "best_ask", quote.ask, price);
    fixed(out, "best_ask_size", quote.ask_amount, size);
    word(out, "side", taker(row));
    time(out, row.time_us);
    whole(out, "trade_id", row.id);
    short(out, "last_size", row.amount);
    out.push(b'}');
}

/// `heartbeat`.
pub(super) fn heartbeat(out: &mut Vec<u8>, product: &Product, last_trade_id: u64, sequence: u64, now_us: i64) {
    out.extend_from_slice(b"{\"type\":\"heartbeat\"");
    whole(out, "last_trade_id", last_trade_id);
    word(out, "product_id", &product.id);
    whole(out, "sequence", sequence);
    time(out, now_us);
    out.push(b'}');
}

/// `["80691.53","0.20084671"`, which an element more or a bracket ends.
fn level(out: &mut Vec<u8>, (price, size): (i64, i64), digits: (u32, u32)) {
    out.extend_from_slice(b"[\"");
    push_fixed(out, price, digits.0);
    out.extend_from_slice(b"\",\"");
    push_fixed(out, size, digits.1);
    out.push(b'"');
}

/// `snapshot`: all of the book.
pub(super) fn snapshot(out: &mut Vec<u8>, product: &Product, ladder: &Ladder) {
    out.extend_from_slice(b"{\"type\":\"snapshot\"");
    word(out, "product_id", &product.id);
    for (name, side) in [("asks", &ladder.asks), ("bids", &ladder.bids)] {
        key(out, name);
        out.push(b'[');
        for (i, told) in side.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            level(out, *told, product.digits);
            out.push(b']');
        }
        out.push(b']');
    }
    out.push(b'}');
}

/// `l2update`: levels to set; no size: gone.
pub(super) fn update(out: &mut Vec<u8>, product: &Product, changes: &Ladder, now_us: i64) {
    out.extend_from_slice(b"{\"type\":\"l2update\"");
    word(out, "product_id", &product.id);
    key(out, "changes");
    let all = [("buy", &changes.bids), ("sell", &changes.asks)];
    let all = all.into_iter().flat_map(|(side, levels)| levels.iter().map(move |level| (side, *level)));
    for (i, (side, (price, size))) in all.enumerate() {
        put(out, &[if i == 0 { "[[\"" } else { ",[\"" }, side, "\",\""]);
        push_fixed(out, price, product.digits.0);
        out.extend_from_slice(b"\",\"");
        push_fixed(out, size, product.digits.1);
        out.extend_from_slice(b"\"]");
    }
    out.push(b']');
    time(out, now_us);
    out.push(b'}');
}

/// A trade as REST gives it: with eight decimals.
pub(super) fn rest_trade(out: &mut Vec<u8>, row: &TradeRow) {
    out.extend_from_slice(b"{\"trade_id\":");
    push_u64(out, row.id);
    word(out, "side", maker(row));
    fixed(out, "size", row.amount, 8);
    fixed(out, "price", row.price, 8);
    time(out, row.time_us);
    out.push(b'}');
}

/// A number that is bare, as JavaScript writes it: without zeros at its end, with an exponent below a millionth.
fn push_bare(out: &mut Vec<u8>, e8: i64) {
    match e8 {
        1..10 => {
            push_i64(out, e8);
            out.extend_from_slice(b"e-8");
        }
        10..100 => {
            push_i64(out, e8 / 10);
            if e8 % 10 > 0 {
                out.push(b'.');
                push_i64(out, e8 % 10);
            }
            out.extend_from_slice(b"e-7");
        }
        _ => push_short(out, e8),
    }
}

/// `[time,low,high,open,close,volume]`
pub(super) fn candle(out: &mut Vec<u8>, bar: &Bar) {
    out.push(b'[');
    push_i64(out, bar.open_us.div_euclid(1_000_000));
    for value in [bar.low, bar.high, bar.open, bar.close, bar.volume] {
        out.push(b',');
        push_bare(out, value);
    }
    out.push(b']');
}

/// Of how many orders a level consists: the market behind doesn't know, but the same level has always as many.
fn orders(price: i64, size: i64) -> i64 {
    let drawn = mix(price.cast_unsigned() ^ size.cast_unsigned().rotate_left(32)) % 4;
    (1 + drawn.cast_signed()).min(size.max(1))
}

/// How much of a level is told, as the levels of `/book` have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// Each level with how many orders make it.
    Levels,
    /// Each order with its id.
    Orders,
}

fn entry(out: &mut Vec<u8>, (price, size): (i64, i64)) {
    out.extend_from_slice(b"[\"");
    push_short(out, price);
    out.extend_from_slice(b"\",\"");
    push_short(out, size);
    out.extend_from_slice(b"\",");
}

/// `/book`.
pub(super) fn book(out: &mut Vec<u8>, ladder: &Ladder, detail: Detail, sequence: u64, now_us: i64) {
    for (name, side) in [("{\"bids\":[", &ladder.bids), ("],\"asks\":[", &ladder.asks)] {
        put(out, &[name]);
        let mut is_first = true;
        for (price, size) in side {
            let count = orders(*price, *size);
            // The last order has what the others leave.
            let parts = match detail {
                Detail::Levels => 1,
                Detail::Orders => count,
            };
            let sizes = iter::repeat_n(size / parts, usize::try_from(parts - 1).unwrap_or(0));
            for (n, part) in sizes.chain([size - size / parts * (parts - 1)]).enumerate() {
                if !std::mem::take(&mut is_first) {
                    out.push(b',');
                }
                entry(out, (*price, part));
                match detail {
                    Detail::Levels => push_i64(out, count),
                    Detail::Orders => {
                        out.push(b'"');
                        push_uuid(out, mix(price.cast_unsigned()) ^ u64::try_from(n).unwrap_or(0));
                        out.push(b'"');
                    }
                }
                out.push(b']');
            }
        }
    }
    out.push(b']');
    whole(out, "sequence", sequence);
    out.extend_from_slice(b",\"auction_mode\":false,\"auction\":null,\"time\":\"");
    push_time_ns(out, now_us);
    out.extend_from_slice(b"\"}");
}

/// `/ticker`.
pub(super) fn rest_ticker(out: &mut Vec<u8>, ticker: &Ticker) {
    let Ticker { told: Match { row, .. }, quote, day } = ticker;
    out.extend_from_slice(b"{\"ask\":\"");
    push_short(out, quote.ask);
    out.push(b'"');
    short(out, "bid", quote.bid);
    short(out, "volume", day.volume);
    whole(out, "trade_id", row.id);
    short(out, "price", row.price);
    short(out, "size", row.amount);
    out.extend_from_slice(b",\"time\":\"");
    push_time_ns(out, row.time_us);
    out.extend_from_slice(b"\",\"rfq_volume\":\"0.000000\"}");
}

/// `/stats`.
pub(super) fn stats(out: &mut Vec<u8>, ticker: &Ticker) {
    let Ticker { told: Match { row, .. }, day, .. } = ticker;
    out.extend_from_slice(b"{\"open\":\"");
    push_short(out, day.open);
    out.push(b'"');
    for (name, value) in
        [("high", day.high), ("low", day.low), ("last", row.price), ("volume", day.volume), ("volume_30day", month(day))]
    {
        short(out, name, value);
    }
    out.extend_from_slice(b",\"rfq_volume_24hour\":\"0.000000\",\"rfq_volume_30day\":\"0.000000\"}");
}

/// `/time`: the same instant twice.
pub(super) fn clock(out: &mut Vec<u8>, now_us: i64) {
    out.extend_from_slice(b"{\"iso\":\"");
    crate::instants::push_time_ms(out, now_us);
    out.extend_from_slice(b"\",\"epoch\":");
    push_short(out, now_us.div_euclid(1_000) * 100_000);
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::super::products::spec;
    use super::*;

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn btc() -> Product {
        Product::of(&spec("BTC/USD").unwrap())
    }

    const ROW: TradeRow = TradeRow {
        id: 1_081_862_675,
        price: 8_069_150_000_000,
        amount: 120,
        time_us: 1_787_628_957_198_335,
        buyer_is_maker: false,
    };

    #[test]
    fn a_match_reads_as_it_was_recorded() {
        let told = Match { row: ROW, sequence: 134_905_860_111, first_id: 1_081_862_675 };
        let text = written(|out| matched(out, "match", &btc(), &told));
        let (head, rest) = text.split_once("\"maker_order_id\":\"").unwrap();
        assert_eq!(head, r#"{"type":"match","trade_id":1081862675,"#);
        let (ids, tail) = rest.split_once("\",\"side\"").unwrap();
        let (one, other) = ids.split_once("\",\"taker_order_id\":\"").unwrap();
        for id in [one, other] {
            let parts: Vec<_> = id.split('-').map(str::len).collect();
            assert!(parts == [8, 4, 4, 4, 12] && id.as_bytes()[14] == b'4' && b"89ab".contains(&id.as_bytes()[19]), "{id}");
        }
        assert_ne!(one, other);
        assert_eq!(
            tail,
            r#":"sell","size":"0.0000012","price":"80691.5","product_id":"BTC-USD","sequence":134905860111,"time":"2026-08-25T03:35:57.198335Z"}"#
        );
        assert_eq!(
            written(|out| rest_trade(out, &ROW)),
            r#"{"trade_id":1081862675,"side":"sell","size":"0.00000120","price":"80691.50000000","time":"2026-08-25T03:35:57.198335Z"}"#
        );
    }

    #[test]
    fn books_have_all_decimals_over_the_socket_and_none_too_many_over_rest() {
        let ladder = Ladder { bids: vec![(8_068_800_000_000, 0)], asks: vec![(8_074_516_000_000, 20_558_270)] };
        assert_eq!(
            written(|out| update(out, &btc(), &ladder, 1_787_628_957_300_000)),
            r#"{"type":"l2update","product_id":"BTC-USD","changes":[["buy","80688.00","0.00000000"],["sell","80745.16","0.20558270"]],"time":"2026-08-25T03:35:57.300000Z"}"#
        );
        assert_eq!(
            written(|out| snapshot(out, &btc(), &ladder)),
            r#"{"type":"snapshot","product_id":"BTC-USD","asks":[["80745.16","0.20558270"]],"bids":[["80688.00","0.00000000"]]}"#
        );
        let rest = |detail| {
            let ladder = Ladder { bids: vec![(200_000_000, 100_000_003)], asks: vec![(300_000_000, 1)] };
            written(|out| book(out, &ladder, detail, 7, 1_787_628_957_300_000))
        };
        let levels = rest(Detail::Levels);
        assert!(levels.starts_with(r#"{"bids":[["2","1.00000003","#), "{levels}");
        let end = r#"[["3","0.00000001",1]],"sequence":7,"auction_mode":false,"auction":null,"time":"2026-08-25T03:35:57.300000000Z"}"#;
        assert!(levels.ends_with(end), "{levels}");
        let orders: serde_json::Value = serde_json::from_str(&rest(Detail::Orders)).unwrap();
        let sizes =
            orders["bids"].as_array().unwrap().iter().map(|order| order[1].as_str().unwrap().parse::<f64>().unwrap());
        assert!((sizes.sum::<f64>() - 1.000_000_03).abs() < 1e-12, "{orders}");
    }

    #[test]
    fn bare_numbers_are_those_of_javascript() {
        let texts = [1, 12, 90, 100, 61_798_602, 11_558_800_000_000].map(|e8| written(|out| push_bare(out, e8)));
        assert_eq!(texts, ["1e-8", "1.2e-7", "9e-7", "0.000001", "0.61798602", "115588"]);
        assert_eq!(
            written(|out| clock(out, 1_781_887_413_180_999)),
            r#"{"iso":"2026-06-19T16:43:33.180Z","epoch":1781887413.18}"#
        );
    }
}
