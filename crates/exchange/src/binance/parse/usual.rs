//! The fields of the events that a subscription brings, read straight from their bytes where everything in them is as it mostly is.

use std::borrow::Cow;

use super::fields::{Fields, Mixed};
use crate::session::{Level, Levels};
use crate::wire::{self, Cursor};

/// The fields of one message; `None`: something is unusual, and nothing was said.
pub(super) fn fields<'a>(frame: &'a [u8], levels: &mut Levels) -> Option<Fields<'a>> {
    let mut cursor = Cursor::new(frame);
    let mut fields = Fields::default();
    levels.clear();
    object(&mut cursor, &mut fields, levels, false)?;
    cursor.end().ok()?;
    fields.symbol.is_some().then_some(fields)
}

/// `is_inner`: this is the `data` of another one.
fn object<'a>(cursor: &mut Cursor<'a>, f: &mut Fields<'a>, levels: &mut Levels, is_inner: bool) -> Option<()> {
    cursor.object().ok()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first).ok()? {
        match key {
            b"e" => f.event = Some(text(cursor)?),
            b"s" => f.symbol = Some(text(cursor)?),
            b"E" => f.event_time = Some(time(cursor)?),
            b"T" => f.trade_time = Some(time(cursor)?),
            b"t" => f.id = Some(cursor.integer().ok()?),
            b"U" => f.first = Some(cursor.integer().ok()?),
            b"u" => f.last = Some(cursor.integer().ok()?),
            b"pu" => f.previous = Some(cursor.integer().ok()?),
            b"m" => f.buyer_is_maker = Some(cursor.truth().ok()?),
            b"p" => f.price = Some(cursor.decimal().ok()?),
            b"q" => f.amount = Some(cursor.decimal().ok()?),
            b"A" => f.ask_amount = Some(cursor.decimal().ok()?),
            b"B" => f.bid_amount = Some(cursor.decimal().ok()?),
            b"a" => f.ask = mixed(cursor, &mut levels.asks)?,
            b"b" => f.bid = mixed(cursor, &mut levels.bids)?,
            b"stream" => f.stream = Some(text(cursor)?),
            b"data" if !is_inner => object(cursor, f, levels, true)?,
            // Of what is asked for, not of what is subscribed.
            b"data" | b"id" | b"result" | b"error" | b"code" | b"msg" => return None,
            _ => cursor.skip().ok()?,
        }
    }
    Some(())
}

/// A text without escapes.
fn text<'a>(cursor: &mut Cursor<'a>) -> Option<Cow<'a, str>> {
    match cursor.words().ok()? {
        Cow::Borrowed(text) => Some(Cow::Borrowed(text)),
        Cow::Owned(_) => None,
    }
}

fn time(cursor: &mut Cursor<'_>) -> Option<i64> {
    i64::try_from(cursor.integer().ok()?).ok()
}

/// `a` or `b`: an id, a price, or a side of a book.
fn mixed(cursor: &mut Cursor<'_>, side: &mut Vec<Level>) -> Option<Mixed> {
    match cursor.peek()? {
        b'[' => {
            side.clear();
            wire::levels(cursor, "depthUpdate", side).ok()?;
            Some(Mixed::Levels)
        }
        b'"' => cursor.decimal().ok().map(Mixed::Number),
        _ => cursor.integer().ok().map(Mixed::Integer),
    }
}
