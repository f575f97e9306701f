//! What comes from the exchange, read. Pure: no I/O, and whatever it is given, it returns.

mod live;
mod rest;

use dccd_model::{TradeId, UnixNanos};

pub(super) use live::{message, stream_of};
pub(super) use rest::{candle, reply, trade};

use crate::FrameError;
use crate::wire::Cursor;

/// A time as a whole number, quoted or not, in units of so many nanoseconds.
fn time(cursor: &mut Cursor<'_>, unit: i64, event: &'static str, field: &'static str) -> Result<UnixNanos, FrameError> {
    let out_of_range = FrameError::OutOfRange { event, field };
    let number = cursor.decimal()?;
    if number.exponent != 0 || number.mantissa < 0 {
        return Err(out_of_range);
    }
    number.mantissa.checked_mul(unit).map(UnixNanos).ok_or(out_of_range)
}

/// A whole number above zero, quoted or not.
fn number(cursor: &mut Cursor<'_>, event: &'static str, field: &'static str) -> Result<u64, FrameError> {
    let number = cursor.decimal()?;
    let is_whole = number.exponent == 0 && number.mantissa > 0;
    u64::try_from(number.mantissa).ok().filter(|_| is_whole).ok_or(FrameError::OutOfRange { event, field })
}

/// A trade's id is its `sequence`: `tradeId` is the same since 2023, was another one before, and answers over REST have none.
fn trade_id(cursor: &mut Cursor<'_>, event: &'static str) -> Result<TradeId, FrameError> {
    number(cursor, event, "sequence").map(|number| TradeId(number.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_numbers_are_whole() {
        let read = |text: &str, unit| time(&mut Cursor::new(text.as_bytes()), unit, "match", "time").ok();
        assert_eq!(read("\"1729843222921000000\"", 1), Some(UnixNanos(1_729_843_222_921_000_000)));
        assert_eq!(read("5", 1_000_000), Some(UnixNanos(5_000_000)));
        assert_eq!([read("-1", 1), read("1.5", 1), read("9223372036854775807", 10), read("x", 1)], [None; 4]);
        let id = |text: &str| trade_id(&mut Cursor::new(text.as_bytes()), "match").ok();
        assert_eq!([id("\"11067996711960577\""), id("7")], [Some(TradeId(11_067_996_711_960_577)), Some(TradeId(7))]);
        assert_eq!([id("0"), id("\"-1\""), id("\"6085c097\""), id("1.0")], [None; 4]);
    }
}
