//! What comes from the exchange, read. Pure: no I/O, no clock; whatever it is given, it returns.

mod live;
mod rest;

use dccd_model::{Side, UnixNanos};

pub(super) use live::{Topic, message, stream_of};
pub(super) use rest::{candles, trades};

use super::messages::Fault;
use crate::FrameError;
use crate::integrity::IdSpace;
use crate::session::Traded;
use crate::wire::{Cursor, positive};

/// Milliseconds since the epoch.
fn millis(cursor: &mut Cursor<'_>, event: &'static str, field: &'static str) -> Result<UnixNanos, FrameError> {
    let out_of_range = FrameError::OutOfRange { event, field };
    let ms = i64::try_from(cursor.integer()?).map_err(|_| FrameError::OutOfRange { event, field })?;
    ms.checked_mul(1_000_000).map(UnixNanos).ok_or(out_of_range)
}

/// What something is about must be what its channel is about.
fn same_instrument(cursor: &mut Cursor<'_>, id: Option<&[u8]>, event: &'static str) -> Result<(), FrameError> {
    let named = cursor.text()?;
    if id.is_none_or(|id| id == named) {
        return Ok(());
    }
    Err(FrameError::OutOfRange { event, field: "instrument_name" })
}

/// `{"trade_seq":92836831,"trade_id":"137487241","timestamp":1616321478553,"tick_direction":1,"price":56168.0,"mark_price":56172.08,
/// "instrument_name":"BTC-PERPETUAL","index_price":56173.74,"direction":"buy","amount":5580.0}`, live and of the past; the direction is
/// the taker's. The record's id is `trade_seq`, which counts an instrument's trades one by one. `trade_id` counts those of all
/// instruments of a currency, and may have letters.
fn trade(cursor: &mut Cursor<'_>, id: Option<&[u8]>) -> Result<Traded, FrameError> {
    let event = "trades";
    let (mut side, mut price, mut amount, mut number, mut at) = (Side::Unknown, None, None, None, None);
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"trade_seq" => number = Some(cursor.integer()?),
            b"timestamp" => at = Some(millis(cursor, event, "timestamp")?),
            b"price" => price = Some(positive(cursor, event, "price")?),
            b"amount" => amount = Some(positive(cursor, event, "amount")?),
            b"instrument_name" => same_instrument(cursor, id, event)?,
            b"direction" => {
                side = match cursor.text()? {
                    b"buy" => Side::Buy,
                    b"sell" => Side::Sell,
                    _ => Side::Unknown,
                }
            }
            _ => cursor.skip()?,
        }
    }
    let missing = |field| FrameError::Missing { event, field };
    Ok(Traded {
        space: IdSpace::Single,
        id: number.ok_or(missing("trade_seq"))?,
        ts_venue: at.ok_or(missing("timestamp"))?,
        price: price.ok_or(missing("price"))?,
        amount: amount.ok_or(missing("amount"))?,
        side,
    })
}

/// `{"code":11050,"message":"bad_request","data":{"reason":"..","param":".."}}`.
fn fault<'a>(cursor: &mut Cursor<'a>) -> Result<Fault<'a>, FrameError> {
    let mut fault = Fault { code: 0, message: "".into() };
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"code" => {
                let code = cursor.decimal()?;
                let out_of_range = FrameError::OutOfRange { event: "error", field: "code" };
                fault.code = (code.exponent == 0).then_some(code.mantissa).ok_or(out_of_range)?;
            }
            b"message" if cursor.peek() == Some(b'"') => fault.message = cursor.words()?,
            _ => cursor.skip()?,
        }
    }
    Ok(fault)
}
