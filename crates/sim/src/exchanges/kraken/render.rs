//! Messages as Kraken's WebSocket v2 writes them: numbers bare, with all decimals of their pair; keys of data in the exchange's own
//! order, keys of replies by the alphabet.

use serde_json::{Map, Value};

use super::pairs::{Digits, Pair};
use crate::digits::{push_fixed, push_i64, push_u64};
pub(super) use crate::instants::push_time;
use crate::instants::push_time_ns;
use crate::market::history::{Bar, TradeRow};
use crate::market::{Ladder, Quote};

/// Sent each second in which nothing else was.
pub(super) const HEARTBEAT: &str = r#"{"channel":"heartbeat"}"#;
/// The reply to a message too many.
pub(super) const EXCEEDED: &str = r#"{"Error":"Exceeded msg rate"}"#;

/// A time as text.
pub(super) fn time(us: i64) -> String {
    let mut out = Vec::with_capacity(28);
    push_time(&mut out, us);
    String::from_utf8_lossy(&out).into_owned()
}

/// The state of the exchange, as every connection is told first.
pub(super) fn status(system: &str, connection_id: u64) -> String {
    format!(
        r#"{{"channel":"status","type":"update","data":[{{"version":"2.0.10","system":"{system}","api_version":"v2","connection_id":{connection_id}}}]}}"#
    )
}

fn head(out: &mut Vec<u8>, channel: &str, kind: &str) {
    for part in ["{\"channel\":\"", channel, "\",\"type\":\"", kind, "\""] {
        out.extend_from_slice(part.as_bytes());
    }
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn symbol(out: &mut Vec<u8>, pair: &Pair) {
    out.extend_from_slice(b"{\"symbol\":\"");
    out.extend_from_slice(pair.symbol.as_bytes());
    out.push(b'"');
}

fn timestamp(out: &mut Vec<u8>, name: &str, us: i64) {
    key(out, name);
    out.push(b'"');
    push_time(out, us);
    out.push(b'"');
}

/// The kind of a message that begins a subscription, and of those after it.
const fn kind(is_snapshot: bool) -> &'static str {
    if is_snapshot { "snapshot" } else { "update" }
}

/// Trades, each with whether its taker's order was a market order.
pub(super) fn trades(out: &mut Vec<u8>, pair: &Pair, is_snapshot: bool, rows: &[(TradeRow, bool)]) {
    head(out, "trade", kind(is_snapshot));
    out.extend_from_slice(b",\"data\":[");
    for (i, (row, is_market)) in rows.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        symbol(out, pair);
        out.extend_from_slice(if row.buyer_is_maker { b",\"side\":\"sell\"" } else { b",\"side\":\"buy\"" });
        key(out, "price");
        push_fixed(out, row.price, pair.digits.price);
        key(out, "qty");
        push_fixed(out, row.amount, pair.digits.amount);
        let ord_type: &[u8] = if *is_market { b",\"ord_type\":\"market\"" } else { b",\"ord_type\":\"limit\"" };
        out.extend_from_slice(ord_type);
        key(out, "trade_id");
        push_u64(out, row.id);
        timestamp(out, "timestamp", row.time_us);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}

/// A ticker's figures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticker {
    pub quote: Quote,
    pub last: i64,
    /// The last 24 hours.
    pub day: Bar,
    /// Their average price.
    pub vwap: i64,
}

pub(super) fn ticker(out: &mut Vec<u8>, pair: &Pair, is_snapshot: bool, ticker: &Ticker, now_us: i64) {
    let Ticker { quote, last, day, vwap } = ticker;
    let Digits { price, amount } = pair.digits;
    let change = last - day.open;
    head(out, "ticker", kind(is_snapshot));
    out.extend_from_slice(b",\"data\":[");
    symbol(out, pair);
    for (name, value, digits) in [
        ("bid", quote.bid, price),
        ("bid_qty", quote.bid_amount, amount),
        ("ask", quote.ask, price),
        ("ask_qty", quote.ask_amount, amount),
        ("last", *last, price),
        ("volume", day.volume, amount),
        ("vwap", *vwap, price),
        ("low", day.low, price),
        ("high", day.high, price),
        ("change", change, price),
        ("change_pct", percent(change, day.open), 2),
    ] {
        key(out, name);
        push_fixed(out, value, digits);
    }
    timestamp(out, "timestamp", now_us);
    out.extend_from_slice(b"}]}");
}

/// A part of a whole in percent, `e8`.
fn percent(part: i64, whole: i64) -> i64 {
    if whole == 0 {
        return 0;
    }
    i64::try_from(i128::from(part) * 10_000_000_000 / i128::from(whole)).unwrap_or(0)
}

fn levels(out: &mut Vec<u8>, levels: &[(i64, i64)], digits: Digits) {
    out.push(b'[');
    for (i, (price, amount)) in levels.iter().enumerate() {
        out.extend_from_slice(if i == 0 { b"{\"price\":" } else { b",{\"price\":" });
        push_fixed(out, *price, digits.price);
        out.extend_from_slice(b",\"qty\":");
        push_fixed(out, *amount, digits.amount);
        out.push(b'}');
    }
    out.push(b']');
}

pub(super) fn book(out: &mut Vec<u8>, pair: &Pair, is_snapshot: bool, ladder: &Ladder, checksum: u32, now_us: i64) {
    head(out, "book", kind(is_snapshot));
    out.extend_from_slice(b",\"data\":[");
    symbol(out, pair);
    key(out, "bids");
    levels(out, &ladder.bids, pair.digits);
    key(out, "asks");
    levels(out, &ladder.asks, pair.digits);
    key(out, "checksum");
    push_u64(out, checksum.into());
    timestamp(out, "timestamp", now_us);
    out.extend_from_slice(b"}]}");
}

/// Candles of some minutes each, with their average prices.
pub(super) fn candles(out: &mut Vec<u8>, pair: &Pair, is_snapshot: bool, minutes: i64, bars: &[(Bar, i64)], now_us: i64) {
    let Digits { price, amount } = pair.digits;
    head(out, "ohlc", kind(is_snapshot));
    key(out, "timestamp");
    out.push(b'"');
    push_time_ns(out, now_us);
    out.extend_from_slice(b"\",\"data\":[");
    for (i, (bar, vwap)) in bars.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        symbol(out, pair);
        for (name, value) in [("open", bar.open), ("high", bar.high), ("low", bar.low), ("close", bar.close)] {
            key(out, name);
            push_fixed(out, value, price);
        }
        key(out, "trades");
        push_u64(out, bar.trades);
        key(out, "volume");
        push_fixed(out, bar.volume, amount);
        key(out, "vwap");
        push_fixed(out, *vwap, price);
        key(out, "interval_begin");
        out.push(b'"');
        push_time_ns(out, bar.open_us);
        out.push(b'"');
        key(out, "interval");
        push_i64(out, minutes);
        timestamp(out, "timestamp", bar.open_us + minutes * 60_000_000);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}

/// All assets and pairs.
pub(super) fn instruments(out: &mut Vec<u8>, pairs: &[Pair]) {
    head(out, "instrument", "snapshot");
    out.extend_from_slice(b",\"data\":{\"assets\":[");
    let mut assets: Vec<&str> = Vec::new();
    for pair in pairs {
        for asset in pair.symbol.split('/') {
            if !assets.contains(&asset) {
                assets.push(asset);
            }
        }
    }
    for (i, asset) in assets.iter().enumerate() {
        let (precision, display) = if ["USD", "EUR", "GBP", "CAD", "AUD"].contains(asset) { (4, 2) } else { (10, 5) };
        let comma = if i > 0 { "," } else { "" };
        let text = format!(
            r#"{comma}{{"id":"{asset}","status":"enabled","precision":{precision},"precision_display":{display},"borrowable":false,"collateral_value":0.00}}"#
        );
        out.extend_from_slice(text.as_bytes());
    }
    out.extend_from_slice(b"],\"pairs\":[");
    for (i, pair) in pairs.iter().enumerate() {
        let comma = if i > 0 { "," } else { "" };
        let (base, quote) = pair.symbol.split_once('/').unwrap_or((&pair.symbol, ""));
        let Digits { price, amount } = pair.digits;
        let fixed = |value, digits| {
            let mut out = Vec::new();
            push_fixed(&mut out, value, digits);
            String::from_utf8_lossy(&out).into_owned()
        };
        let (tick, step, least) = (fixed(pair.tick, price), fixed(pair.step, amount), fixed(pair.order_min(), 8));
        let text = format!(
            r#"{comma}{{"symbol":"{}","base":"{base}","quote":"{quote}","status":"online","qty_precision":{amount},"qty_increment":{step},"price_precision":{price},"cost_precision":5,"marginable":false,"has_index":true,"cost_min":0.50,"tick_size":{tick},"price_increment":{tick},"qty_min":{least}}}"#,
            pair.symbol
        );
        out.extend_from_slice(text.as_bytes());
    }
    out.extend_from_slice(b"]}}");
}

/// A reply to a command.
pub(super) struct Reply<'a> {
    pub method: &'a str,
    pub req_id: Option<u64>,
    /// When the command came.
    pub in_us: i64,
    /// When the reply went.
    pub out_us: i64,
}

impl Reply<'_> {
    /// With more of its own.
    pub(super) fn text(&self, more: impl IntoIterator<Item = (&'static str, Value)>) -> String {
        let mut reply = Map::new();
        if !self.method.is_empty() {
            reply.insert("method".to_owned(), self.method.into());
        }
        if let Some(id) = self.req_id {
            reply.insert("req_id".to_owned(), id.into());
        }
        reply.insert("time_in".to_owned(), time(self.in_us).into());
        reply.insert("time_out".to_owned(), time(self.out_us).into());
        reply.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
        Value::Object(reply).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::spec::Spec;

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_have_all_their_digits() {
        assert_eq!(time(1_696_613_755_440_295), "2023-10-06T17:35:55.440295Z");
        assert_eq!(time(1_696_613_700_000_007), "2023-10-06T17:35:00.000007Z");
        assert_eq!(written(|out| push_time_ns(out, 1_696_613_755_040_295)), "2023-10-06T17:35:55.040295000Z");
    }

    #[test]
    fn messages_read_as_the_exchange_writes_them() {
        let pair = Pair::of(&Spec::of("BTC/USD").unwrap());
        let row = TradeRow {
            id: 10_218_208,
            price: 10_594_420_000_000,
            amount: 27_600,
            time_us: 1_696_613_755_440_295,
            buyer_is_maker: false,
        };
        assert_eq!(
            written(|out| trades(out, &pair, false, &[(row, false)])),
            r#"{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":105944.2,"qty":0.00027600,"ord_type":"limit","trade_id":10218208,"timestamp":"2023-10-06T17:35:55.440295Z"}]}"#
        );
        let ladder = Ladder { bids: vec![(7_885_880_000_000, 0), (7_885_700_000_000, 34_775_324)], asks: vec![] };
        assert_eq!(
            written(|out| book(out, &pair, false, &ladder, 2_416_540_570, 1_787_610_118_343_688)),
            r#"{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":78858.8,"qty":0.00000000},{"price":78857.0,"qty":0.34775324}],"asks":[],"checksum":2416540570,"timestamp":"2026-08-24T22:21:58.343688Z"}]}"#
        );
        assert_eq!((percent(-23_940_000_000, 6_294_230_000_000), percent(1, 0)), (-38_034_835, 0));
    }
}
