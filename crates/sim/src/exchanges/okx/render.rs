//! Messages as OKX writes them: numbers as texts without zeros at their end, times in milliseconds, keys in the exchange's own order.

use super::book::{Level, Levels};
use super::instruments::Instrument;
use crate::deep::past::mix;
use crate::digits::{push_i64, push_short, push_u64};
use crate::market::Quote;
use crate::market::history::{AggRow, Bar, TradeRow};

/// Of how many orders a level consists: the market behind doesn't know, but the same level has always as many.
pub(super) const fn orders(price: i64, size: i64) -> u64 {
    if size == 0 { 0 } else { 1 + mix(price.cast_unsigned() ^ size.cast_unsigned().rotate_left(32)) % 4 }
}

fn put(out: &mut Vec<u8>, texts: &[&str]) {
    texts.iter().for_each(|text| out.extend_from_slice(text.as_bytes()));
}

fn quoted(out: &mut Vec<u8>, e8: i64) {
    out.push(b'"');
    push_short(out, e8);
    out.push(b'"');
}

fn key(out: &mut Vec<u8>, name: &str) {
    put(out, &[",\"", name, "\":"]);
}

fn number(out: &mut Vec<u8>, name: &str, e8: i64) {
    key(out, name);
    quoted(out, e8);
}

fn whole(out: &mut Vec<u8>, name: &str, n: u64) {
    put(out, &[",\"", name, "\":\""]);
    push_u64(out, n);
    out.push(b'"');
}

fn time(out: &mut Vec<u8>, us: i64) {
    out.extend_from_slice(b",\"ts\":\"");
    push_i64(out, us.div_euclid(1_000));
    out.push(b'"');
}

/// All up to the data, and what the data begins with.
fn head(out: &mut Vec<u8>, channel: &str, id: &str) {
    put(out, &["{\"arg\":{\"channel\":\"", channel, "\",\"instId\":\"", id, "\"}"]);
}

const fn side(buyer_is_maker: bool) -> &'static str {
    if buyer_is_maker { "sell" } else { "buy" }
}

/// `trades`: what one order took at one price, under its last trade's id.
pub(super) fn trades(out: &mut Vec<u8>, instrument: &Instrument, row: &AggRow) {
    head(out, "trades", &instrument.id);
    trade(out, instrument, row.last, row.price, row.amount, row.buyer_is_maker, row.time_us);
    whole(out, "count", row.last + 1 - row.first);
    out.extend_from_slice(b"}]}");
}

/// `trades-all`.
pub(super) fn trades_all(out: &mut Vec<u8>, instrument: &Instrument, row: &TradeRow) {
    head(out, "trades-all", &instrument.id);
    trade(out, instrument, row.id, row.price, row.amount, row.buyer_is_maker, row.time_us);
    out.extend_from_slice(b"}]}");
}

fn trade(out: &mut Vec<u8>, instrument: &Instrument, id: u64, price: i64, amount: i64, buyer_is_maker: bool, us: i64) {
    put(out, &[",\"data\":[{\"instId\":\"", &instrument.id, "\""]);
    whole(out, "tradeId", id);
    number(out, "px", price);
    number(out, "sz", instrument.size(amount));
    put(out, &[",\"side\":\"", side(buyer_is_maker), "\""]);
    time(out, us);
}

/// A trade as REST gives it.
pub(super) fn rest_trade(out: &mut Vec<u8>, instrument: &Instrument, row: &TradeRow) {
    put(out, &["{\"instId\":\"", &instrument.id, "\",\"side\":\"", side(row.buyer_is_maker), "\""]);
    number(out, "sz", instrument.size(row.amount));
    number(out, "px", row.price);
    whole(out, "tradeId", row.id);
    time(out, row.time_us);
    out.push(b'}');
}

fn levels(out: &mut Vec<u8>, levels: &[Level]) {
    out.push(b'[');
    for (i, level) in levels.iter().enumerate() {
        out.extend_from_slice(if i == 0 { b"[" } else { b",[" });
        quoted(out, level.price);
        out.push(b',');
        quoted(out, level.size);
        out.extend_from_slice(b",\"0\",\"");
        push_u64(out, level.orders);
        out.extend_from_slice(b"\"]");
    }
    out.push(b']');
}

/// `{"asks":[…],"bids":[…]` of both sides' levels.
pub(super) fn sides(out: &mut Vec<u8>, bids: &[Level], asks: &[Level]) {
    out.extend_from_slice(b"{\"asks\":");
    levels(out, asks);
    out.extend_from_slice(b",\"bids\":");
    levels(out, bids);
}

/// Where a message of a book stands among the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub checksum: i32,
    pub seq: u64,
    /// Of the message before; none of a snapshot.
    pub prev: Option<u64>,
    pub now_us: i64,
}

/// `books`.
pub(super) fn books(out: &mut Vec<u8>, instrument: &Instrument, told: &Levels, numbers: Numbers) {
    head(out, "books", &instrument.id);
    let action = if numbers.prev.is_some() { "update" } else { "snapshot" };
    put(out, &[",\"action\":\"", action, "\",\"data\":["]);
    sides(out, &told.bids, &told.asks);
    time(out, numbers.now_us);
    key(out, "checksum");
    push_i64(out, numbers.checksum.into());
    key(out, "seqId");
    push_u64(out, numbers.seq);
    key(out, "prevSeqId");
    match numbers.prev {
        Some(prev) => push_u64(out, prev),
        None => out.extend_from_slice(b"-1"),
    }
    out.extend_from_slice(b"}]}");
}

/// `books5`: each time all of its levels.
pub(super) fn books5(out: &mut Vec<u8>, instrument: &Instrument, book: &Levels, seq: u64, now_us: i64) {
    head(out, "books5", &instrument.id);
    out.extend_from_slice(b",\"data\":[");
    let (bids, asks) = book.best(5);
    sides(out, bids, asks);
    put(out, &[",\"instId\":\"", &instrument.id, "\""]);
    time(out, now_us);
    key(out, "seqId");
    push_u64(out, seq);
    out.extend_from_slice(b"}]}");
}

/// `bbo-tbt`.
pub(super) fn bbo(out: &mut Vec<u8>, instrument: &Instrument, quote: &Quote, seq: u64, now_us: i64) {
    head(out, "bbo-tbt", &instrument.id);
    out.extend_from_slice(b",\"data\":[");
    let level = |price, amount| {
        let size = instrument.size(amount);
        Level { price, size, orders: orders(price, size) }
    };
    let (bid, ask) = (level(quote.bid, quote.bid_amount), level(quote.ask, quote.ask_amount));
    let there = |level: Level| if level.size == 0 { Vec::new() } else { vec![level] };
    sides(out, &there(bid), &there(ask));
    time(out, now_us);
    key(out, "seqId");
    push_u64(out, seq);
    out.extend_from_slice(b"}]}");
}

/// A ticker's figures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticker {
    pub quote: Quote,
    pub last: i64,
    pub last_amount: i64,
    /// The last 24 hours.
    pub day: Bar,
    /// The price at midnight in UTC, and in Hong Kong.
    pub midnights: (i64, i64),
}

/// `tickers`.
pub(super) fn tickers(out: &mut Vec<u8>, instrument: &Instrument, ticker: &Ticker, now_us: i64) {
    head(out, "tickers", &instrument.id);
    out.extend_from_slice(b",\"data\":[");
    ticker_row(out, instrument, ticker, now_us);
    out.extend_from_slice(b"]}");
}

/// The row of a ticker, the same over REST.
pub(super) fn ticker_row(out: &mut Vec<u8>, instrument: &Instrument, ticker: &Ticker, now_us: i64) {
    let Ticker { quote, last, last_amount, day, midnights } = ticker;
    put(out, &["{\"instType\":\"", instrument.kind(), "\",\"instId\":\"", &instrument.id, "\""]);
    // Of a spot market the turnover of the quote currency, of a perpetual that of the base currency.
    let currency = if instrument.is_swap { day.volume } else { day.quote_volume };
    for (name, value) in [
        ("last", *last),
        ("lastSz", instrument.size(*last_amount)),
        ("askPx", quote.ask),
        ("askSz", instrument.size(quote.ask_amount)),
        ("bidPx", quote.bid),
        ("bidSz", instrument.size(quote.bid_amount)),
        ("open24h", day.open),
        ("high24h", day.high),
        ("low24h", day.low),
        ("sodUtc0", midnights.0),
        ("sodUtc8", midnights.1),
        ("volCcy24h", currency),
        ("vol24h", instrument.size(day.volume)),
    ] {
        number(out, name, value);
    }
    time(out, now_us);
    out.push(b'}');
}

/// A candle's row: `["1597026383085","8533.02","8553.74","8527.17","8548.26","45247","529.5858061","5529.5858061","1"]`.
pub(super) fn candle_row(out: &mut Vec<u8>, instrument: &Instrument, bar: &Bar, is_closed: bool) {
    out.extend_from_slice(b"[\"");
    push_i64(out, bar.open_us.div_euclid(1_000));
    out.push(b'"');
    let currency = if instrument.is_swap { bar.volume } else { bar.quote_volume };
    for value in [bar.open, bar.high, bar.low, bar.close, instrument.size(bar.volume), currency, bar.quote_volume] {
        out.push(b',');
        quoted(out, value);
    }
    out.extend_from_slice(if is_closed { b",\"1\"]" } else { b",\"0\"]" });
}

/// `candle…`.
pub(super) fn candle(out: &mut Vec<u8>, channel: &str, instrument: &Instrument, bar: &Bar, is_closed: bool) {
    head(out, channel, &instrument.id);
    out.extend_from_slice(b",\"data\":[");
    candle_row(out, instrument, bar, is_closed);
    out.extend_from_slice(b"]}");
}

/// What a connection is told before it is cut on purpose.
pub(super) fn notice(conn_id: &str) -> String {
    format!(
        r#"{{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade. Please reconnect.","connId":"{conn_id}"}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::super::instruments::spec;
    use super::*;

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn messages_read_as_the_exchange_writes_them() {
        let [spot, swap] = ["BTC/USDT", "BTC/USDT:USDT"].map(|symbol| Instrument::of(&spec(symbol).unwrap()));
        let (price, time_us) = (4_356_880_000_000, 1_646_312_440_645_999);
        let row = TradeRow { id: 219_066_264, price, amount: 7_000_000, time_us, buyer_is_maker: false };
        assert_eq!(
            written(|out| trades_all(out, &swap, &row)),
            r#"{"arg":{"channel":"trades-all","instId":"BTC-USDT-SWAP"},"data":[{"instId":"BTC-USDT-SWAP","tradeId":"219066264","px":"43568.8","sz":"7","side":"buy","ts":"1646312440645"}]}"#
        );
        let agg = AggRow { id: 1, first: 7, last: 9, price, amount: 373_695, time_us, buyer_is_maker: true };
        assert_eq!(
            written(|out| trades(out, &spot, &agg)),
            r#"{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"9","px":"43568.8","sz":"0.00373695","side":"sell","ts":"1646312440645","count":"3"}]}"#
        );
        let asks = vec![Level { price: 7_892_500_000_000, size: 0, orders: 0 }];
        let numbers = Numbers { checksum: 0, seq: 9, prev: Some(7), now_us: 1_787_612_486_307_000 };
        assert_eq!(
            written(|out| books(out, &spot, &Levels { bids: vec![], asks: asks.clone() }, numbers)),
            r#"{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[{"asks":[["78925","0","0","0"]],"bids":[],"ts":"1787612486307","checksum":0,"seqId":9,"prevSeqId":7}]}"#
        );
        let bar = Bar {
            open_us: 1_662_716_640_000_000,
            open: price,
            high: price,
            low: price,
            close: price,
            volume: 40_700_000,
            quote_volume: 5,
            ..Bar::default()
        };
        assert_eq!(
            written(|out| candle(out, "candle1m", &swap, &bar, true)),
            r#"{"arg":{"channel":"candle1m","instId":"BTC-USDT-SWAP"},"data":[["1662716640000","43568.8","43568.8","43568.8","43568.8","40.7","0.407","0.00000005","1"]]}"#
        );
    }
}
