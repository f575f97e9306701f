//! Frames of the second version of the socket: one pass over the bytes, numbers by their own digits, because checksums are
//! computed over them. Allocates nothing for a message of the usual shape once the batch is warm.

use std::borrow::Cow;
use std::ops::Range;

use dccd_model::{Channel, Side, UnixNanos};

use crate::FrameError;
use crate::integrity::IdSpace;
use crate::kraken::messages::{Batch, BookPart, Message};
use crate::session::{Level, Quoted, Traded};
use crate::wire::{Cursor, positive, values_after};

/// What a message's `data` is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Trade,
    Ticker,
    Book,
    Status,
    Heartbeat,
    Other,
}

impl Kind {
    fn of(channel: &[u8]) -> Self {
        match channel {
            b"trade" => Self::Trade,
            b"ticker" => Self::Ticker,
            b"book" => Self::Book,
            b"status" => Self::Status,
            b"heartbeat" => Self::Heartbeat,
            _ => Self::Other,
        }
    }
}

/// What a message says beside its `data`.
#[derive(Default)]
struct Envelope<'a> {
    is_snapshot: bool,
    method: Option<&'a [u8]>,
    id: Option<u64>,
    success: Option<bool>,
    error: Option<Cow<'a, str>>,
    symbol: Option<&'a [u8]>,
    book: Option<(&'a [u8], u64)>,
    system: Option<Cow<'a, str>>,
}

/// Reads one frame. What its `data` holds is left in `batch`.
pub(in crate::kraken) fn message<'a>(frame: &'a [u8], batch: &mut Batch) -> Result<Message<'a>, FrameError> {
    batch.clear();
    let mut cursor = Cursor::new(frame);
    let mut envelope = Envelope::default();
    let mut kind = None;
    // Where the data stand when they come before the channel's name.
    let mut early = None;
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"channel" if cursor.peek() == Some(b'"') => kind = Some(Kind::of(cursor.text()?)),
            b"data" => match kind {
                Some(kind) => data(&mut cursor, kind, &mut envelope, batch)?,
                None => {
                    early = Some(cursor);
                    cursor.skip()?;
                }
            },
            b"type" if cursor.peek() == Some(b'"') => envelope.is_snapshot = cursor.text()? == b"snapshot",
            b"method" if cursor.peek() == Some(b'"') => envelope.method = Some(cursor.text()?),
            b"symbol" if cursor.peek() == Some(b'"') => envelope.symbol = Some(cursor.text()?),
            b"error" | b"Error" if cursor.peek() == Some(b'"') => envelope.error = Some(cursor.words()?),
            b"success" if !cursor.is_null() => envelope.success = Some(cursor.truth()?),
            b"req_id" if !cursor.is_null() => envelope.id = Some(cursor.integer()?),
            b"result" if cursor.peek() == Some(b'{') => result(&mut cursor, &mut envelope)?,
            // A `null` that was taken by the guards above.
            b"success" | b"req_id" => {}
            _ => cursor.skip()?,
        }
    }
    cursor.end()?;
    if let (Some(mut data_at), Some(kind)) = (early, kind) {
        data(&mut data_at, kind, &mut envelope, batch)?;
    }
    Ok(match kind {
        Some(Kind::Trade) => Message::Trades,
        Some(Kind::Ticker) => Message::Quotes,
        Some(Kind::Book) => Message::Books { is_snapshot: envelope.is_snapshot },
        Some(Kind::Status) => envelope.system.map_or(Message::Other, Message::Status),
        Some(Kind::Heartbeat) => Message::Alive,
        Some(Kind::Other) => Message::Other,
        None => reply(envelope),
    })
}

fn reply(e: Envelope<'_>) -> Message<'_> {
    match (e.error, e.success, e.method) {
        (Some(words), _, _) => Message::Refusal { id: e.id, symbol: e.symbol, words },
        (None, Some(false), _) => Message::Refusal { id: e.id, symbol: e.symbol, words: Cow::Borrowed("") },
        (None, _, Some(b"pong")) => Message::Alive,
        (None, Some(true), Some(_)) => Message::Ack { id: e.id, book: e.book },
        _ => Message::Other,
    }
}

/// `{"channel":"book","symbol":"BTC/USD","depth":10,"snapshot":true}`.
fn result<'a>(cursor: &mut Cursor<'a>, envelope: &mut Envelope<'a>) -> Result<(), FrameError> {
    let (mut is_book, mut symbol, mut depth) = (false, None, None);
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"channel" if cursor.peek() == Some(b'"') => is_book = cursor.text()? == b"book",
            b"symbol" if cursor.peek() == Some(b'"') => symbol = Some(cursor.text()?),
            b"depth" if cursor.peek().is_some_and(|byte| byte.is_ascii_digit()) => depth = Some(cursor.integer()?),
            _ => cursor.skip()?,
        }
    }
    envelope.book = symbol.zip(depth).filter(|_| is_book);
    Ok(())
}

fn data<'a>(cursor: &mut Cursor<'a>, kind: Kind, envelope: &mut Envelope<'a>, batch: &mut Batch) -> Result<(), FrameError> {
    if matches!(kind, Kind::Other | Kind::Heartbeat) {
        return cursor.skip();
    }
    cursor.list()?;
    let mut first = true;
    while cursor.item(&mut first)? {
        match kind {
            Kind::Trade => batch.trades.push(trade(cursor)?),
            Kind::Ticker => batch.quotes.push(quote(cursor)?),
            Kind::Book => {
                let part = book(cursor, batch)?;
                batch.books.push(part);
            }
            Kind::Status => status(cursor, envelope)?,
            Kind::Other | Kind::Heartbeat => cursor.skip()?,
        }
    }
    Ok(())
}

fn status<'a>(cursor: &mut Cursor<'a>, envelope: &mut Envelope<'a>) -> Result<(), FrameError> {
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"system" if cursor.peek() == Some(b'"') => envelope.system = Some(cursor.words()?),
            _ => cursor.skip()?,
        }
    }
    Ok(())
}

/// `{"symbol":"BTC/USD","side":"buy","price":105944.20,"qty":0.00027625,"ord_type":"limit","trade_id":10218208,
/// "timestamp":"2023-10-06T17:35:55.440295Z"}`; the side is the taker's.
fn trade(cursor: &mut Cursor<'_>) -> Result<(Range<usize>, Traded), FrameError> {
    let event = "trade";
    let (mut symbol, mut side, mut price, mut amount, mut id, mut time) = (None, Side::Unknown, None, None, None, None);
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"symbol" => symbol = Some(cursor.text_range()?),
            b"side" => {
                side = match cursor.text()? {
                    b"buy" => Side::Buy,
                    b"sell" => Side::Sell,
                    _ => Side::Unknown,
                }
            }
            b"price" => price = Some(positive(cursor, event, "price")?),
            b"qty" => amount = Some(positive(cursor, event, "qty")?),
            b"trade_id" => id = Some(cursor.integer()?),
            b"timestamp" => time = Some(cursor.time()?),
            _ => cursor.skip()?,
        }
    }
    let missing = |field| FrameError::Missing { event, field };
    let traded = Traded {
        space: IdSpace::Single,
        id: id.ok_or(missing("trade_id"))?,
        ts_venue: time.ok_or(missing("timestamp"))?,
        price: price.ok_or(missing("price"))?,
        amount: amount.ok_or(missing("qty"))?,
        side,
    };
    Ok((symbol.ok_or(missing("symbol"))?, traded))
}

/// `{"symbol":"BTC/USD","bid":105944.20,"bid_qty":2.5,"ask":105944.30,"ask_qty":3.2,"last":..,"timestamp":".."}`.
fn quote(cursor: &mut Cursor<'_>) -> Result<(Range<usize>, Quoted), FrameError> {
    let event = "ticker";
    let mut symbol = None;
    let (mut bid, mut bid_amount, mut ask, mut ask_amount, mut time) = (None, None, None, None, None);
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"symbol" => symbol = Some(cursor.text_range()?),
            b"bid" => bid = Some(positive(cursor, event, "bid")?),
            b"bid_qty" => bid_amount = Some(positive(cursor, event, "bid_qty")?),
            b"ask" => ask = Some(positive(cursor, event, "ask")?),
            b"ask_qty" => ask_amount = Some(positive(cursor, event, "ask_qty")?),
            b"timestamp" => time = Some(cursor.time()?),
            _ => cursor.skip()?,
        }
    }
    let missing = |field| FrameError::Missing { event, field };
    let quoted = Quoted {
        number: 0,
        ts_venue: time.unwrap_or(UnixNanos::UNKNOWN),
        bid: bid.ok_or(missing("bid"))?,
        bid_amount: bid_amount.ok_or(missing("bid_qty"))?,
        ask: ask.ok_or(missing("ask"))?,
        ask_amount: ask_amount.ok_or(missing("ask_qty"))?,
    };
    Ok((symbol.ok_or(missing("symbol"))?, quoted))
}

fn book(cursor: &mut Cursor<'_>, batch: &mut Batch) -> Result<(Range<usize>, BookPart), FrameError> {
    let event = "book";
    let (mut symbol, mut bids, mut asks, mut checksum) = (None, None, None, None);
    let mut ts_venue = UnixNanos::UNKNOWN;
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"symbol" => symbol = Some(cursor.text_range()?),
            b"bids" => bids = Some(side(cursor, &mut batch.levels.bids)?),
            b"asks" => asks = Some(side(cursor, &mut batch.levels.asks)?),
            b"checksum" => checksum = Some(cursor.integer()?),
            b"timestamp" => ts_venue = cursor.time()?,
            _ => cursor.skip()?,
        }
    }
    let missing = |field| FrameError::Missing { event, field };
    let part = BookPart {
        bids: bids.ok_or(missing("bids"))?,
        asks: asks.ok_or(missing("asks"))?,
        checksum: u32::try_from(checksum.ok_or(missing("checksum"))?)
            .map_err(|_| FrameError::OutOfRange { event, field: "checksum" })?,
        ts_venue,
    };
    Ok((symbol.ok_or(missing("symbol"))?, part))
}

/// `[{"price":0.5666,"qty":4831.75496356},..]`, appended; returns where.
fn side(cursor: &mut Cursor<'_>, levels: &mut Vec<Level>) -> Result<Range<usize>, FrameError> {
    let begin = levels.len();
    cursor.list()?;
    let mut first = true;
    while cursor.item(&mut first)? {
        levels.push(level(cursor)?);
    }
    Ok(begin..levels.len())
}

fn level(cursor: &mut Cursor<'_>) -> Result<Level, FrameError> {
    let event = "book";
    // As it nearly always stands, without looking at each key.
    let mut usual = *cursor;
    if usual.takes_exactly(b"{\"price\":")
        && let Ok(price) = positive(&mut usual, event, "price")
        && usual.takes_exactly(b",\"qty\":")
        && let Ok(amount) = positive(&mut usual, event, "qty")
        && usual.takes_exactly(b"}")
    {
        *cursor = usual;
        return Ok(Level { price, amount });
    }
    let (mut price, mut amount) = (None, None);
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"price" => price = Some(positive(cursor, event, "price")?),
            b"qty" => amount = Some(positive(cursor, event, "qty")?),
            _ => cursor.skip()?,
        }
    }
    let missing = |field| FrameError::Missing { event, field };
    Ok(Level { price: price.ok_or(missing("price"))?, amount: amount.ok_or(missing("qty"))? })
}

impl Batch {
    fn clear(&mut self) {
        self.trades.clear();
        self.quotes.clear();
        self.books.clear();
        self.levels.clear();
    }
}

/// The feed that a frame is about, whatever is wrong with it: its channel, and the one symbol that stands in it.
pub(in crate::kraken) fn stream_of(frame: &[u8]) -> Option<(&str, Channel)> {
    let channel = match values_after(frame, b"\"channel\":\"").next()? {
        b"trade" => Channel::Trades,
        b"ticker" => Channel::Quotes,
        b"book" => Channel::Book,
        _ => return None,
    };
    let mut symbols = values_after(frame, b"\"symbol\":\"");
    let symbol = symbols.next()?;
    if symbols.any(|other| other != symbol) {
        return None;
    }
    Some((std::str::from_utf8(symbol).ok()?, channel))
}
