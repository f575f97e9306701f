//! Levels of books as most exchanges write them: a list that begins with a price and an amount.

use dccd_model::Decimal;

use super::Cursor;
use crate::FrameError;
use crate::session::Level;

/// An amount or a price: nothing below zero.
#[inline]
pub(crate) fn positive(cursor: &mut Cursor<'_>, event: &'static str, field: &'static str) -> Result<Decimal, FrameError> {
    let number = cursor.decimal()?;
    if number.mantissa < 0 { Err(FrameError::OutOfRange { event, field }) } else { Ok(number) }
}

/// `"10101.80000000","0.162567"`, the rest of a list that was begun, with whatever may follow them. `first`: as [`Cursor::item`] has it.
#[inline]
pub(crate) fn level(cursor: &mut Cursor<'_>, event: &'static str, first: &mut bool) -> Result<Level, FrameError> {
    let (price, amount) = match cursor.quoted_pair(first) {
        Some(pair) => pair,
        None => unusual(cursor, event, first)?,
    };
    while cursor.item(first)? {
        cursor.skip()?;
    }
    Ok(Level { price, amount })
}

#[cold]
fn unusual(cursor: &mut Cursor<'_>, event: &'static str, first: &mut bool) -> Result<(Decimal, Decimal), FrameError> {
    let mut field = |cursor: &mut Cursor<'_>, field| {
        if cursor.item(first)? { positive(cursor, event, field) } else { Err(FrameError::Missing { event, field }) }
    };
    Ok((field(cursor, "price")?, field(cursor, "size")?))
}

/// `[["8476.98","415","0","13"],..]`, appended.
pub(crate) fn levels(cursor: &mut Cursor<'_>, event: &'static str, levels: &mut Vec<Level>) -> Result<(), FrameError> {
    cursor.list()?;
    let mut first = true;
    while cursor.item(&mut first)? {
        cursor.list()?;
        levels.push(level(cursor, event, &mut true)?);
    }
    Ok(())
}
