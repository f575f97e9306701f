//! From the wire's bytes to the model's records. Pure: no I/O, no clock; whatever it is given, it returns.

mod live;
mod rest;

use dccd_model::Side;

pub(super) use live::{Told, message, stream_of, subscriptions};
pub(super) use rest::{candles, trades};

use crate::FrameError;
use crate::wire::Cursor;

/// A whole number, quoted or not.
fn whole(cursor: &mut Cursor<'_>, event: &'static str, field: &'static str) -> Result<u64, FrameError> {
    let number = cursor.decimal()?;
    let whole = u64::try_from(number.mantissa).ok().filter(|_| number.exponent == 0);
    whole.ok_or(FrameError::OutOfRange { event, field })
}

/// The side of the taker, from that of the maker, whose order stood in the book.
fn taker(maker: &[u8]) -> Side {
    match maker {
        b"buy" => Side::Sell,
        b"sell" => Side::Buy,
        _ => Side::Unknown,
    }
}
