//! Wire to model. Pure, never panics: `live` reads frames, `rest` the rows of answers.

mod live;
mod rest;

pub(super) use live::{body, head};
pub(super) use rest::{candles, pairs, refusal, trades};

use dccd_model::{Decimal, Side, TradeId, UnixNanos};

use crate::FrameError;
use crate::session::Executed;
use crate::wire::Cursor;

/// Milliseconds since the epoch.
fn millis(cursor: &mut Cursor<'_>, event: &'static str) -> Result<UnixNanos, FrameError> {
    let ms = cursor.integer()?;
    let nanos = i64::try_from(ms).ok().and_then(|ms| ms.checked_mul(1_000_000));
    nanos.map(UnixNanos).ok_or(FrameError::OutOfRange { event, field: "mts" })
}

/// The next item of a list, or what is missing.
fn item(cursor: &mut Cursor<'_>, first: &mut bool, event: &'static str, field: &'static str) -> Result<(), FrameError> {
    if cursor.item(first)? { Ok(()) } else { Err(FrameError::Missing { event, field }) }
}

/// Goes past whatever else is in a list: items may be added at the end at any time.
fn rest_of_list(cursor: &mut Cursor<'_>, first: &mut bool) -> Result<(), FrameError> {
    while cursor.item(first)? {
        cursor.skip()?;
    }
    Ok(())
}

/// A number with its sign taken off: whether it was below zero, and the number.
fn signed(cursor: &mut Cursor<'_>, event: &'static str, field: &'static str) -> Result<(bool, Decimal), FrameError> {
    let is_negative = cursor.peek() == Some(b'-') && cursor.takes_exactly(b"-");
    let number = cursor.decimal()?;
    if number.mantissa < 0 { Err(FrameError::OutOfRange { event, field }) } else { Ok((is_negative, number)) }
}

/// `[658733916,1617643611128,-0.7574881,230890]`: id, time, amount (below zero where the taker sold), price.
fn trade(cursor: &mut Cursor<'_>) -> Result<Executed, FrameError> {
    let event = "trades";
    let mut first = true;
    cursor.list()?;
    item(cursor, &mut first, event, "id")?;
    let id = TradeId(u128::from(cursor.integer()?));
    item(cursor, &mut first, event, "mts")?;
    let ts_venue = millis(cursor, event)?;
    item(cursor, &mut first, event, "amount")?;
    let (is_sale, amount) = signed(cursor, event, "amount")?;
    item(cursor, &mut first, event, "price")?;
    let price = cursor.decimal()?;
    rest_of_list(cursor, &mut first)?;
    if price.mantissa < 0 {
        return Err(FrameError::OutOfRange { event, field: "price" });
    }
    let side = if is_sale { Side::Sell } else { Side::Buy };
    Ok(Executed { id, flags: dccd_model::Flags::NONE, ts_venue, price, amount, side })
}
