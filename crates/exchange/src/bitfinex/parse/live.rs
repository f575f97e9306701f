//! Frames: one pass over the bytes, numbers by their own digits. What a list means depends on what its channel is, which only the
//! connection knows: the head is read first, the rest when that is looked up. Allocates nothing once the batch is warm.

use dccd_model::Decimal;

use super::{item, rest_of_list, signed, trade};
use crate::FrameError;
use crate::bitfinex::messages::{Batch, Body, Event, Kind, Message, Tail};
use crate::session::{Level, Levels};
use crate::wire::Cursor;

/// Reads the beginning of a frame: a whole event, or the number of a channel.
pub(in crate::bitfinex) fn head(frame: &[u8]) -> Result<Message<'_>, FrameError> {
    let mut cursor = Cursor::new(frame);
    if cursor.peek() == Some(b'{') {
        return event(cursor).map(Message::Event);
    }
    let mut first = true;
    cursor.list()?;
    item(&mut cursor, &mut first, "channel", "chanId")?;
    let chan_id = cursor.integer()?;
    Ok(Message::Data(chan_id, cursor))
}

fn event(mut cursor: Cursor<'_>) -> Result<Event<'_>, FrameError> {
    let mut event = Event::default();
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        let is_text = cursor.peek() == Some(b'"');
        match key {
            b"event" if is_text => event.event = cursor.text()?,
            b"msg" if is_text => event.words = cursor.words()?,
            b"status" if is_text => event.status = cursor.text()?,
            b"channel" if is_text => event.channel = cursor.text()?,
            b"symbol" if is_text => event.symbol = cursor.text()?,
            b"prec" if is_text => event.precision = cursor.text()?,
            b"platform" if cursor.peek() == Some(b'{') => event.platform = platform(&mut cursor)?,
            b"code" => event.code = whole(&mut cursor)?,
            b"flags" => event.flags = whole(&mut cursor)?,
            b"chanId" => event.chan_id = whole(&mut cursor)?,
            b"len" => event.length = whole(&mut cursor)?,
            b"subId" => event.id = whole(&mut cursor)?,
            _ => cursor.skip()?,
        }
    }
    cursor.end()?;
    Ok(event)
}

/// A whole number, quoted or not; `None`: something else.
fn whole(cursor: &mut Cursor<'_>) -> Result<Option<u64>, FrameError> {
    match cursor.peek() {
        Some(b'"') => Ok(std::str::from_utf8(cursor.text()?).ok().and_then(|text| text.parse().ok())),
        Some(b'0'..=b'9') => cursor.integer().map(Some),
        _ => cursor.skip().map(|()| None),
    }
}

/// `{"status":1}`.
fn platform(cursor: &mut Cursor<'_>) -> Result<Option<u64>, FrameError> {
    let mut status = None;
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"status" => status = whole(cursor)?,
            _ => cursor.skip()?,
        }
    }
    Ok(status)
}

/// Reads what follows the number of a channel of this kind. What it holds is left in `batch`.
pub(in crate::bitfinex) fn body(cursor: &mut Cursor<'_>, kind: Kind, batch: &mut Batch) -> Result<(Body, Tail), FrameError> {
    batch.trades.clear();
    batch.levels.clear();
    let mut first = false;
    item(cursor, &mut first, "channel", "content")?;
    let body = match cursor.peek() {
        Some(b'"') => worded(cursor, &mut first, kind, batch)?,
        _ => content(cursor, kind, batch)?,
    };
    let mut tail = [None; 2];
    for number in &mut tail {
        if !cursor.item(&mut first)? {
            cursor.end()?;
            return Ok((body, tail));
        }
        match cursor.peek() {
            Some(b'0'..=b'9') => *number = Some(cursor.integer()?),
            _ => cursor.skip()?,
        }
    }
    rest_of_list(cursor, &mut first)?;
    cursor.end()?;
    Ok((body, tail))
}

/// `"hb"`, `"cs",-890884919`, `"te",[..]` and so on.
fn worded(cursor: &mut Cursor<'_>, first: &mut bool, kind: Kind, batch: &mut Batch) -> Result<Body, FrameError> {
    match cursor.text()? {
        b"hb" => Ok(Body::Heartbeat),
        b"cs" => {
            item(cursor, first, "cs", "checksum")?;
            let is_negative = cursor.peek() == Some(b'-') && cursor.takes_exactly(b"-");
            let size = i64::try_from(cursor.integer()?).ok();
            let signed = size.map(|size| if is_negative { -size } else { size }).and_then(|sum| i32::try_from(sum).ok());
            signed.map(Body::Checksum).ok_or(FrameError::OutOfRange { event: "cs", field: "checksum" })
        }
        word @ (b"te" | b"tu") if kind == Kind::Trades => {
            item(cursor, first, "trades", "trade")?;
            batch.trades.push(trade(cursor)?);
            Ok(if word == b"te" { Body::Trade } else { Body::Update })
        }
        _ => {
            item(cursor, first, "channel", "content")?;
            cursor.skip()?;
            Ok(Body::Other)
        }
    }
}

fn content(cursor: &mut Cursor<'_>, kind: Kind, batch: &mut Batch) -> Result<Body, FrameError> {
    if kind == Kind::Other {
        return cursor.skip().map(|()| Body::Other);
    }
    // A list of lists, or one alone.
    let mut inside = *cursor;
    inside.list()?;
    let is_nested = matches!(inside.peek(), Some(b'[' | b']'));
    match kind {
        Kind::Trades if is_nested => {
            let mut first = true;
            cursor.list()?;
            while cursor.item(&mut first)? {
                batch.trades.push(trade(cursor)?);
            }
            batch.trades.sort_by_key(|trade| (trade.ts_venue, trade.id));
            Ok(Body::Trades)
        }
        Kind::Trades => Err(FrameError::Missing { event: "trades", field: "te" }),
        _ if is_nested => {
            let mut first = true;
            cursor.list()?;
            while cursor.item(&mut first)? {
                level(cursor, &mut batch.levels)?;
            }
            Ok(Body::Levels)
        }
        _ => level(cursor, &mut batch.levels).map(|()| Body::Change),
    }
}

/// `[7254.5,3,-0.5]`: price, orders (0: the level ends), amount, below zero for an ask.
fn level(cursor: &mut Cursor<'_>, levels: &mut Levels) -> Result<(), FrameError> {
    let event = "book";
    let mut first = true;
    cursor.list()?;
    item(cursor, &mut first, event, "price")?;
    let price = cursor.decimal()?;
    item(cursor, &mut first, event, "count")?;
    let count = cursor.integer()?;
    item(cursor, &mut first, event, "amount")?;
    let (is_ask, amount) = signed(cursor, event, "amount")?;
    rest_of_list(cursor, &mut first)?;
    if price.mantissa < 0 {
        return Err(FrameError::OutOfRange { event, field: "price" });
    }
    if amount.is_zero() {
        return Err(FrameError::OutOfRange { event, field: "amount" });
    }
    let side = if is_ask { &mut levels.asks } else { &mut levels.bids };
    side.push(Level { price, amount: if count == 0 { Decimal::ZERO } else { amount } });
    Ok(())
}
