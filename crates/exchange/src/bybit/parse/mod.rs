//! What comes from the exchange, read. Pure: no I/O, and whatever it is given, it returns.

mod live;
mod rest;

use dccd_model::{Flags, TradeId, UnixNanos};

pub(super) use live::{message, stream_of};
pub(super) use rest::{CandleRow, TradeRow, reply};

use crate::FrameError;
use crate::wire::Cursor;

/// Milliseconds since the epoch, quoted or not.
fn millis(cursor: &mut Cursor<'_>, event: &'static str, field: &'static str) -> Result<UnixNanos, FrameError> {
    let out_of_range = FrameError::OutOfRange { event, field };
    let number = cursor.decimal()?;
    if number.exponent != 0 || number.mantissa < 0 {
        return Err(out_of_range);
    }
    number.mantissa.checked_mul(1_000_000).map(UnixNanos).ok_or(out_of_range)
}

/// A trade's id: of spot a number, of derivatives a UUID. `None`: neither.
fn trade_id(text: &[u8]) -> Option<(TradeId, Flags)> {
    if text.len() != 36 {
        // Zero is what says that there is none.
        return number(text).filter(|number| *number != 0).map(|number| (TradeId(number), Flags::NONE));
    }
    // Each half by itself: numbers of 128 bits take longer to shift.
    let (mut id, mut half) = (0u128, 0u64);
    for (at, byte) in text.iter().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            if *byte != b'-' {
                return None;
            }
            continue;
        }
        half = half << 4 | u64::from(hex_digit(*byte)?);
        if at == 17 {
            id = u128::from(std::mem::take(&mut half)) << 64;
        }
    }
    id |= u128::from(half);
    (id != 0).then_some((TradeId(id), Flags::WIDE_ID))
}

/// Numbers of 128 bits take longer to multiply: they are needed but for the longest.
fn number(digits: &[u8]) -> Option<u128> {
    let digit = |byte: &u8| Some(byte.wrapping_sub(b'0')).filter(|digit| *digit < 10);
    if digits.len() < 20 {
        return digits.iter().try_fold(0u64, |number, byte| Some(number * 10 + u64::from(digit(byte)?))).map(u128::from);
    }
    digits.iter().try_fold(0u128, |number, byte| number.checked_mul(10)?.checked_add(digit(byte)?.into()))
}

const fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_numbers_or_uuids() {
        assert_eq!(trade_id(b"2290000001189048101"), Some((TradeId(2_290_000_001_189_048_101), Flags::NONE)));
        let uuid = TradeId(0x20f4_3950_d8dd_5b31_9112_a178_eb60_23af);
        assert_eq!(trade_id(b"20f43950-d8dd-5b31-9112-a178eb6023af"), Some((uuid, Flags::WIDE_ID)));
        assert_eq!(trade_id(b"20F43950-D8DD-5B31-9112-A178EB6023AF"), Some((uuid, Flags::WIDE_ID)));
        let wrong = [
            "",
            "0",
            "12a",
            "-5",
            "20f43950-d8dd-5b31-9112_a178eb6023af",
            "20f43950-d8dd-5b31-9112-a178eb6023ag",
            "00000000-0000-0000-0000-000000000000",
            "340282366920938463463374607431768211456",
        ];
        wrong.iter().for_each(|text| assert_eq!(trade_id(text.as_bytes()), None, "{text}"));
    }

    #[test]
    fn times_are_whole_milliseconds() {
        let read = |text: &str| millis(&mut Cursor::new(text.as_bytes()), "trade", "T").ok();
        assert_eq!(
            (read("1672304486865"), read("\"5\"")),
            (Some(UnixNanos(1_672_304_486_865_000_000)), Some(UnixNanos(5_000_000)))
        );
        assert_eq!([read("-1"), read("1.5"), read("9223372036854775807"), read("x")], [None; 4]);
    }
}
