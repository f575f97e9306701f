//! Messages as Deribit writes them: prices and amounts as JSON numbers with a decimal at least, times in milliseconds, keys in the
//! exchange's own order.

use super::book::{Level, Levels};
use super::instruments::{Instrument, Kind};
use crate::deep::past::mix;
use crate::digits::{push_e8, push_i64, push_u64};
use crate::market::Quote;
use crate::market::history::{Bar, TradeRow};

const ONE: i64 = 100_000_000;
const CENT: i64 = 1_000_000;

/// A number of hundred-millionths without the zeros at its end but one behind the point: `37240.0`, `0.00000255`.
pub(super) fn push_number(out: &mut Vec<u8>, e8: i64) {
    push_e8(out, e8);
    while out.last() == Some(&b'0') {
        out.pop();
    }
    if out.last() == Some(&b'.') {
        out.push(b'0');
    }
}

pub(super) fn put(out: &mut Vec<u8>, texts: &[&str]) {
    texts.iter().for_each(|text| out.extend_from_slice(text.as_bytes()));
}

fn number(out: &mut Vec<u8>, name: &str, e8: i64) {
    put(out, &[",\"", name, "\":"]);
    push_number(out, e8);
}

fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    put(out, &[",\"", name, "\":\"", value, "\""]);
}

fn whole(out: &mut Vec<u8>, name: &str, n: u64) {
    put(out, &[",\"", name, "\":"]);
    push_u64(out, n);
}

pub(super) fn millis(out: &mut Vec<u8>, us: i64) {
    push_i64(out, us.div_euclid(1_000));
}

/// All up to the data.
fn head(out: &mut Vec<u8>, channel: &str) {
    put(out, &["{\"jsonrpc\":\"2.0\",\"method\":\"subscription\",\"params\":{\"channel\":\"", channel, "\",\"data\":"]);
}

fn tail(out: &mut Vec<u8>) {
    out.extend_from_slice(b"}}");
}

/// A trade, and the price of the one before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub row: TradeRow,
    pub before: i64,
}

impl Told {
    /// Up, as high as after going up, down, as low as after going down. Of the same price, the side of the taker decides.
    const fn direction(&self) -> u64 {
        let Self { row, before } = self;
        if row.price > *before {
            0
        } else if row.price < *before {
            2
        } else if row.buyer_is_maker {
            3
        } else {
            1
        }
    }
}

/// A price that is beside the traded one: the market behind has no index and no mark. `salt` tells them apart.
fn beside(price: i64, seq: u64, salt: u64) -> i64 {
    let drawn = i64::try_from(mix(seq ^ (salt << 56)) % 401).unwrap_or(0) - 200;
    (price + price / 200_000 * drawn) / CENT * CENT
}

fn index_price(price: i64, seq: u64) -> i64 {
    beside(price, seq, 1)
}

fn mark_price(price: i64, seq: u64) -> i64 {
    beside(price, seq, 2)
}

/// A trade, the same on the WebSocket and over REST.
pub(super) fn trade(out: &mut Vec<u8>, instrument: &Instrument, told: &Told) {
    let row = &told.row;
    out.extend_from_slice(b"{\"timestamp\":");
    millis(out, row.time_us);
    number(out, "price", row.price);
    number(out, "amount", row.amount);
    text(out, "direction", if row.buyer_is_maker { "sell" } else { "buy" });
    number(out, "index_price", index_price(row.price, row.id));
    text(out, "instrument_name", &instrument.id);
    whole(out, "trade_seq", row.id);
    number(out, "mark_price", mark_price(row.price, row.id));
    whole(out, "tick_direction", told.direction());
    if instrument.kind != Kind::Spot {
        // Some are there because somebody had to close a position.
        if mix(row.id).is_multiple_of(97) {
            text(out, "liquidation", "T");
        }
        number(out, "contracts", row.amount / instrument.step * ONE);
    }
    text(out, "trade_id", &instrument.trade_id(row.id));
    out.push(b'}');
}

/// `trades.…`.
pub(super) fn trades(out: &mut Vec<u8>, channel: &str, instrument: &Instrument, told: &[Told]) {
    head(out, channel);
    for (i, one) in told.iter().enumerate() {
        out.push(if i == 0 { b'[' } else { b',' });
        trade(out, instrument, one);
    }
    out.push(b']');
    tail(out);
}

/// Levels, with or without what becomes of them.
fn levels(out: &mut Vec<u8>, list: &[Level], with_action: bool) {
    out.push(b'[');
    for (i, level) in list.iter().enumerate() {
        out.extend_from_slice(if i == 0 { b"[" } else { b",[" });
        if with_action {
            put(out, &["\"", level.action.name(), "\","]);
        }
        push_number(out, level.price);
        out.push(b',');
        push_number(out, level.amount);
        out.push(b']');
    }
    out.push(b']');
}

/// Where a message of a book stands among the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub id: u64,
    /// Of the message before; none of a snapshot.
    pub prev: Option<u64>,
    pub time_us: i64,
}

/// `book.…`.
pub(super) fn book(out: &mut Vec<u8>, channel: &str, instrument: &Instrument, told: &Levels, numbers: Numbers) {
    head(out, channel);
    let kind = if numbers.prev.is_some() { "change" } else { "snapshot" };
    put(out, &["{\"type\":\"", kind, "\",\"timestamp\":"]);
    millis(out, numbers.time_us);
    if let Some(prev) = numbers.prev {
        whole(out, "prev_change_id", prev);
    }
    text(out, "instrument_name", &instrument.id);
    whole(out, "change_id", numbers.id);
    out.extend_from_slice(b",\"bids\":");
    levels(out, &told.bids, true);
    out.extend_from_slice(b",\"asks\":");
    levels(out, &told.asks, true);
    out.push(b'}');
    tail(out);
}

/// The best levels of a book, whole.
pub(super) fn top(
    out: &mut Vec<u8>,
    channel: &str,
    instrument: &Instrument,
    whole_book: &Levels,
    depth: usize,
    at: Numbers,
) {
    head(out, channel);
    out.extend_from_slice(b"{\"timestamp\":");
    millis(out, at.time_us);
    text(out, "instrument_name", &instrument.id);
    whole(out, "change_id", at.id);
    let best = |side: &'_ [Level]| side[..depth.min(side.len())].to_vec();
    out.extend_from_slice(b",\"bids\":");
    levels(out, &best(&whole_book.bids), false);
    out.extend_from_slice(b",\"asks\":");
    levels(out, &best(&whole_book.asks), false);
    out.push(b'}');
    tail(out);
}

/// `quote.…`.
pub(super) fn quote(out: &mut Vec<u8>, channel: &str, instrument: &Instrument, quote: &Quote, time_us: i64) {
    head(out, channel);
    out.extend_from_slice(b"{\"timestamp\":");
    millis(out, time_us);
    text(out, "instrument_name", &instrument.id);
    number(out, "best_ask_price", quote.ask);
    number(out, "best_bid_price", quote.bid);
    number(out, "best_ask_amount", quote.ask_amount);
    number(out, "best_bid_amount", quote.bid_amount);
    out.push(b'}');
    tail(out);
}

/// `chart.trades.…`: volume in the base currency, cost in the quote currency.
pub(super) fn chart(out: &mut Vec<u8>, channel: &str, bar: &Bar) {
    head(out, channel);
    out.extend_from_slice(b"{\"tick\":");
    millis(out, bar.open_us);
    for (name, value) in [
        ("open", bar.open),
        ("high", bar.high),
        ("low", bar.low),
        ("close", bar.close),
        ("volume", bar.volume),
        ("cost", bar.quote_volume),
    ] {
        number(out, name, value);
    }
    out.push(b'}');
    tail(out);
}

/// A ticker's figures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticker {
    pub quote: Quote,
    /// Price and number of the last trade.
    pub last: i64,
    pub seq: u64,
    /// The last 24 hours.
    pub day: Bar,
    pub now_us: i64,
}

impl Ticker {
    /// How far the price has moved in a day, percent.
    pub(super) fn price_change(&self) -> i64 {
        let moved = i128::from(self.last - self.day.open) * 1_000_000 / i128::from(self.day.open.max(1));
        i64::try_from(moved).unwrap_or(0) * 10_000
    }

    pub(super) fn mark(&self) -> i64 {
        mark_price(self.last, self.seq)
    }

    pub(super) fn index(&self) -> i64 {
        index_price(self.last, self.seq)
    }

    /// All positions, drawn by the minute: of inverse perpetuals a whole number.
    pub(super) fn push_open_interest(&self, out: &mut Vec<u8>, instrument: &Instrument) {
        let drawn = mix(self.now_us.div_euclid(60_000_000).cast_unsigned()) % 1_000_000;
        let amount = i64::try_from(50_000_000 + drawn).unwrap_or(0).saturating_mul(instrument.step);
        out.extend_from_slice(b"\"open_interest\":");
        match instrument.kind {
            Kind::Inverse => push_i64(out, amount / ONE),
            _ => push_number(out, amount),
        }
    }

    /// The rate at this instant, for eight hours, and that of the last eight hours.
    pub(super) fn funding(&self) -> (i64, i64) {
        let rate = i128::from(self.mark() - self.index()) * i128::from(ONE) / i128::from(self.index().max(1));
        let drawn = mix(self.now_us.div_euclid(3_600_000_000).cast_unsigned()) % 2_000;
        (i64::try_from(rate).unwrap_or(0), i64::try_from(drawn).unwrap_or(0) - 1_000)
    }
}

/// `ticker.…`.
pub(super) fn ticker(out: &mut Vec<u8>, channel: &str, instrument: &Instrument, ticker: &Ticker) {
    head(out, channel);
    figures(out, instrument, ticker, None);
    tail(out);
}

/// A ticker's object, over REST with the book in it.
pub(super) fn figures(out: &mut Vec<u8>, instrument: &Instrument, ticker: &Ticker, book: Option<(u64, &Levels)>) {
    let day = &ticker.day;
    let (mark, index, (funding, realized)) = (ticker.mark(), ticker.index(), ticker.funding());
    out.extend_from_slice(b"{\"timestamp\":");
    millis(out, ticker.now_us);
    out.extend_from_slice(b",\"stats\":{\"volume_usd\":");
    push_number(out, day.quote_volume);
    number(out, "volume_notional", day.quote_volume);
    number(out, "volume", day.volume);
    number(out, "price_change", ticker.price_change());
    number(out, "low", day.low);
    number(out, "high", day.high);
    out.push(b'}');
    text(out, "state", "open");
    let is_perpetual = instrument.kind != Kind::Spot;
    if is_perpetual {
        number(out, "settlement_price", day.open);
        out.push(b',');
        ticker.push_open_interest(out, instrument);
    }
    number(out, "min_price", (index - index / 67) / CENT * CENT);
    number(out, "max_price", (index + index / 67) / CENT * CENT);
    number(out, "mark_price", mark);
    number(out, "last_price", ticker.last);
    text(out, "instrument_name", &instrument.id);
    number(out, "index_price", index);
    if is_perpetual {
        number(out, "funding_8h", realized);
    }
    number(out, "estimated_delivery_price", index);
    if is_perpetual {
        number(out, "current_funding", funding);
    }
    if let Some((id, book)) = book {
        whole(out, "change_id", id);
        out.extend_from_slice(b",\"bids\":");
        levels(out, &book.bids, false);
    }
    number(out, "best_bid_price", ticker.quote.bid);
    number(out, "best_bid_amount", ticker.quote.bid_amount);
    number(out, "best_ask_price", ticker.quote.ask);
    number(out, "best_ask_amount", ticker.quote.ask_amount);
    if let Some((_, book)) = book {
        out.extend_from_slice(b",\"asks\":");
        levels(out, &book.asks, false);
    }
    out.push(b'}');
}

/// What those are told who follow the state of the platform.
pub(super) fn maintenance(is_on: bool) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"subscription","params":{{"channel":"platform_state","data":{{"maintenance":{is_on}}}}}}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::super::book::Action;
    use super::super::instruments::spec;
    use super::*;

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_have_a_decimal_and_no_more_than_they_need() {
        let texts = [3_724_000_000_000, 255, 0, 95_978_896, -150_000_000].map(|e8| written(|out| push_number(out, e8)));
        assert_eq!(texts, ["37240.0", "0.00000255", "0.0", "0.95978896", "-1.5"]);
    }

    #[test]
    fn messages_read_as_the_exchange_writes_them() {
        let spec = spec("BTC/USD:BTC").unwrap();
        let instrument = &Instrument::list(&[&spec])[0];
        let row = TradeRow {
            id: 271_252_854,
            price: 9_228_850_000_000,
            amount: 75_000_000_000,
            time_us: 1_765_531_356_452_999,
            buyer_is_maker: true,
        };
        let told = [Told { row, before: 9_229_450_000_000 }];
        let text = written(|out| trades(out, "trades.BTC-PERPETUAL.100ms", instrument, &told));
        let begin = r#"{"jsonrpc":"2.0","method":"subscription","params":{"channel":"trades.BTC-PERPETUAL.100ms","data":[{"timestamp":1765531356452,"price":92288.5,"amount":750.0,"direction":"sell","index_price":"#;
        let end = r#""tick_direction":2,"contracts":75.0,"trade_id":"271252854"}]}}"#;
        assert!(text.starts_with(begin) && text.ends_with(end), "{text}");
        let level = |action, price, amount| Level { action, price: price * ONE, amount: amount * ONE };
        let changes =
            Levels { bids: vec![level(Action::New, 36_809, 254_870)], asks: vec![level(Action::Delete, 37_462, 0)] };
        let numbers = Numbers { id: 31_479_598_217, prev: Some(31_479_598_064), time_us: 1_622_627_435_737_000 };
        assert_eq!(
            written(|out| book(out, "book.BTC-PERPETUAL.100ms", instrument, &changes, numbers)),
            r#"{"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.BTC-PERPETUAL.100ms","data":{"type":"change","timestamp":1622627435737,"prev_change_id":31479598064,"instrument_name":"BTC-PERPETUAL","change_id":31479598217,"bids":[["new",36809.0,254870.0]],"asks":[["delete",37462.0,0.0]]}}}"#
        );
        let bar = Bar {
            open_us: 1_767_200_040_000_000,
            open: ONE,
            high: 2 * ONE,
            low: ONE,
            close: ONE,
            volume: 5,
            ..Bar::default()
        };
        assert_eq!(
            written(|out| chart(out, "chart.trades.BTC-PERPETUAL.1", &bar)),
            r#"{"jsonrpc":"2.0","method":"subscription","params":{"channel":"chart.trades.BTC-PERPETUAL.1","data":{"tick":1767200040000,"open":1.0,"high":2.0,"low":1.0,"close":1.0,"volume":0.00000005,"cost":0.0}}}"#
        );
    }
}
