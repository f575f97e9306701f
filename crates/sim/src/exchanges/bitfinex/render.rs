//! Messages and rows as the exchange writes them.

use serde_json::{Map, Value};

use super::book::Row;
use super::numbers::{double, push, push_double};
use crate::deep::past::mix;
use crate::digits::{push_i64, push_u64};
use crate::market::history::{Bar, TradeRow};

/// `[id,ms,±amount,price]`.
pub(super) fn trade(out: &mut Vec<u8>, id: u64, row: &TradeRow) {
    out.push(b'[');
    push_u64(out, id);
    out.push(b',');
    push_i64(out, row.time_us.div_euclid(1_000));
    out.push(b',');
    push(out, if row.buyer_is_maker { -row.amount } else { row.amount });
    out.push(b',');
    push(out, row.price);
    out.push(b']');
}

/// `[ms,open,close,high,low,volume]`. With dust the volume is what a sum of doubles may be: now and then a hair more or less.
pub(super) fn candle(out: &mut Vec<u8>, bar: &Bar, with_dust: bool) {
    out.push(b'[');
    push_i64(out, bar.open_us.div_euclid(1_000));
    for price in [bar.open, bar.close, bar.high, bar.low] {
        out.push(b',');
        push(out, price);
    }
    out.push(b',');
    let volume = double(bar.volume);
    let chance = mix(bar.open_us.cast_unsigned() ^ bar.volume.cast_unsigned()) % 8;
    // One number has nothing to be summed with.
    match chance {
        0 if with_dust && bar.trades > 1 => push_double(out, volume.next_up()),
        1 if with_dust && bar.trades > 1 => push_double(out, volume.next_down()),
        _ => push(out, bar.volume),
    }
    out.push(b']');
}

/// A ticker's figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ticker {
    /// Best prices, `e8`, and what the best 25 levels offer together.
    pub bid: i64,
    pub bid_size: f64,
    pub ask: i64,
    pub ask_size: f64,
    pub last: i64,
    /// The last 24 hours.
    pub day: Bar,
}

/// The figures of a ticker, commas between them.
pub(super) fn ticker(out: &mut Vec<u8>, ticker: &Ticker) {
    let Ticker { bid, bid_size, ask, ask_size, last, day } = ticker;
    let change = last - day.open;
    push(out, *bid);
    out.push(b',');
    push_double(out, *bid_size);
    out.push(b',');
    push(out, *ask);
    out.push(b',');
    push_double(out, *ask_size);
    for figure in [change, part(change, day.open), *last, day.volume, day.high, day.low] {
        out.push(b',');
        push(out, figure);
    }
}

/// A part of a whole, `e8`.
fn part(part: i64, whole: i64) -> i64 {
    if whole == 0 {
        return 0;
    }
    i64::try_from(i128::from(part) * 100_000_000 / i128::from(whole)).unwrap_or(0)
}

/// Rows of a book within brackets.
pub(super) fn book<'a>(out: &mut Vec<u8>, rows: impl Iterator<Item = (bool, &'a Row)>) {
    out.push(b'[');
    for (at, (is_bid, row)) in rows.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        row.push(out, is_bid);
    }
    out.push(b']');
}

/// How every connection is greeted.
pub(super) fn welcome(server: u64, is_up: bool) -> String {
    let (high, low) = (mix(server), mix(server.wrapping_add(1)));
    let id = format!(
        "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 52,
        low & 0xffff_ffff_ffff
    );
    let status = u8::from(is_up);
    format!(r#"{{"event":"info","version":2,"serverId":"{id}","platform":{{"status":{status}}}}}"#)
}

/// Something that all connections are told.
pub(super) fn info(code: u16, message: &str) -> String {
    format!(r#"{{"event":"info","code":{code},"msg":"{message}"}}"#)
}

/// What became of a request that was refused: the request, the error, and the market's name where there is one.
pub(super) fn refusal(request: &Map<String, Value>, code: u16, message: &str) -> String {
    let mut text = String::from("{");
    for (name, value) in request.iter().filter(|(name, _)| *name != "event" && *name != "pair") {
        text.push_str(&format!("{}:{value},", Value::from(name.as_str())));
    }
    text.push_str(&format!(r#""event":"error","msg":"{message}","code":{code}"#));
    let symbol = request.get("symbol").or_else(|| request.get("pair")).and_then(Value::as_str);
    if let Some(symbol) = symbol {
        text.push_str(&format!(r#","pair":{}"#, Value::from(symbol.strip_prefix('t').unwrap_or(symbol))));
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rows_read_as_the_exchange_writes_them() {
        let row = TradeRow {
            id: 3,
            price: 11_895_000_000_000,
            amount: 14_761,
            time_us: 1_755_235_069_543_210,
            buyer_is_maker: true,
        };
        assert_eq!(written(|out| trade(out, 1_795_583_311, &row)), "[1795583311,1755235069543,-0.00014761,118950]");
        let bar = Bar {
            open_us: 1_654_076_100_000_000,
            open: 7,
            close: 5,
            high: 9,
            low: 4,
            volume: 300_000_000,
            trades: 1,
            ..Bar::default()
        };
        assert_eq!(written(|out| candle(out, &bar, true)), "[1654076100000,7e-8,5e-8,9e-8,4e-8,3]");
        let order = Row { order: Some(96_124_382_782), price: 3_153_400_000_000, count: 1, amount: 2_850_000 };
        let level = Row { order: None, price: 725_450_000_000, count: 3, amount: 330_000_000 };
        assert_eq!(
            written(|out| book(out, [(true, &level), (false, &order)].into_iter())),
            "[[7254.5,3,3.3],[96124382782,31534,-0.0285]]"
        );
        let gone = [(false, &Row { count: 0, ..order }), (true, &Row { count: 0, ..level })];
        assert_eq!(written(|out| book(out, gone.into_iter())), "[[96124382782,0,-1],[7254.5,0,1]]");
        let day = Bar {
            open: 12_262_000_000_000,
            high: 12_262_000_000_000,
            low: 11_719_000_000_000,
            volume: 37_210_417_038,
            ..bar
        };
        let figures = Ticker {
            bid: 11_894_000_000_000,
            bid_size: 47.914_412_330_000_005,
            ask: 11_895_000_000_000,
            ask_size: 44.5,
            last: 11_891_000_000_000,
            day,
        };
        assert_eq!(
            written(|out| ticker(out, &figures)),
            "118940,47.914412330000005,118950,44.5,-3710,-0.03025607,118910,372.10417038,122620,117190"
        );
    }

    #[test]
    fn dust_is_a_hair_and_only_on_sums() {
        let bars = (0..64).map(|n| Bar { open_us: n * 60_000_000, volume: 1_548_609, trades: 2, ..Bar::default() });
        let texts: Vec<String> = bars.map(|bar| written(|out| candle(out, &bar, true))).collect();
        let dusty = texts.iter().filter(|text| !text.ends_with(",0.01548609]")).count();
        assert!((1..40).contains(&dusty), "{texts:?}");
        assert!(texts.iter().any(|text| text.ends_with(",0.015486090000000001]")));
    }

    #[test]
    fn a_refusal_holds_the_request() {
        let request = serde_json::json!({"event": "subscribe", "channel": "trades", "symbol": "tNOSUCH"});
        assert_eq!(
            refusal(request.as_object().unwrap(), 10_300, "symbol: invalid"),
            r#"{"channel":"trades","symbol":"tNOSUCH","event":"error","msg":"symbol: invalid","code":10300,"pair":"NOSUCH"}"#
        );
    }
}
