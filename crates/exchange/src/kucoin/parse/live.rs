//! Frames of both sockets: one pass over the bytes, numbers by their own digits, keys in any order. Allocates nothing for a message
//! of the usual shape once the batch is warm.

use std::borrow::Cow;

use dccd_model::{Channel, Decimal, Side};

use super::{number, time, trade_id};
use crate::FrameError;
use crate::kucoin::consts::BOOK_DEPTH;
use crate::kucoin::messages::{Batch, BookPart, Message};
use crate::session::{Executed, Level, Quoted};
use crate::wire::{self, Cursor, positive, values_after};

const MILLIS: i64 = 1_000_000;
const NANOS: i64 = 1;

/// What a message of the classic socket is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Topic<'a> {
    /// `/market/match:BTC-USDT`.
    Trades(&'a str),
    /// `/spotMarket/level1:BTC-USDT`.
    Quotes(&'a str),
    Other,
}

impl<'a> Topic<'a> {
    fn of(topic: &'a [u8]) -> Self {
        let Ok(topic) = std::str::from_utf8(topic) else { return Self::Other };
        match topic.split_once(':') {
            Some(("/market/match", symbol)) => Self::Trades(symbol),
            Some(("/spotMarket/level1", symbol)) => Self::Quotes(symbol),
            _ => Self::Other,
        }
    }
}

/// What a message says beside its data. The classic socket's keys are words, the other's are letters.
#[derive(Default)]
struct Envelope<'a> {
    topic: Option<Topic<'a>>,
    kind: Option<&'a [u8]>,
    /// `data`, where it stands.
    data: Option<Cursor<'a>>,
    channel: Option<&'a [u8]>,
    depth: Option<&'a [u8]>,
    step: Option<&'a [u8]>,
    /// `d`, where it stands.
    book: Option<Cursor<'a>>,
    id: Option<u64>,
    result: Option<bool>,
    code: Option<i64>,
    words: Option<Cow<'a, str>>,
}

/// Reads one frame. The levels of a book are left in `batch`.
pub(in crate::kucoin) fn message<'a>(frame: &'a [u8], batch: &mut Batch) -> Result<Message<'a>, FrameError> {
    batch.levels.clear();
    let mut cursor = Cursor::new(frame);
    let mut e = Envelope::default();
    let mut done = None;
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"topic" if cursor.peek() == Some(b'"') => e.topic = Some(Topic::of(cursor.text()?)),
            b"data" if cursor.peek() == Some(b'"') => e.words = Some(cursor.words()?),
            // Read at once where it is known what it is, and later where it stands before that.
            b"data" if done.is_none() && matches!(e.topic, Some(Topic::Trades(_) | Topic::Quotes(_))) => {
                done = data(&mut cursor, e.topic)?;
            }
            b"data" => {
                e.data = Some(cursor);
                cursor.skip()?;
            }
            b"type" if cursor.peek() == Some(b'"') => e.kind = Some(cursor.text()?),
            b"T" if cursor.peek() == Some(b'"') => e.channel = Some(cursor.text()?),
            b"dp" if cursor.peek() == Some(b'"') => e.depth = Some(cursor.text()?),
            b"t" if cursor.peek() == Some(b'"') => e.step = Some(cursor.text()?),
            b"d" if done.is_none() && e.is_book() && e.step.is_some() => {
                done = Some(Message::Book(book(&mut cursor, e.step, batch)?));
            }
            b"d" => {
                e.book = Some(cursor);
                cursor.skip()?;
            }
            // One that isn't a number is none of ours.
            b"id" if cursor.peek() == Some(b'"') => {
                e.id = std::str::from_utf8(cursor.text()?).ok().and_then(|id| id.parse().ok());
            }
            b"result" if cursor.peek() == Some(b'"') => e.result = Some(cursor.text()? == b"true"),
            b"result" if matches!(cursor.peek(), Some(b't' | b'f')) => e.result = Some(cursor.truth()?),
            b"code" if cursor.peek() != Some(b'n') => e.code = Some(code(&mut cursor)?),
            b"msg" | b"message" | b"reason" if cursor.peek() == Some(b'"') => e.words = Some(cursor.words()?),
            _ => cursor.skip()?,
        }
    }
    cursor.end()?;
    match done {
        Some(message) => Ok(message),
        None => late(e, batch),
    }
}

impl Envelope<'_> {
    /// Other channels and other depths are none of ours.
    fn is_book(&self) -> bool {
        self.channel.is_some_and(|channel| channel.eq_ignore_ascii_case(b"obu.SPOT"))
            && self.depth == Some(BOOK_DEPTH.as_bytes())
    }
}

/// What a message is whose data stand before what they are, or that has none.
fn late<'a>(e: Envelope<'a>, batch: &mut Batch) -> Result<Message<'a>, FrameError> {
    if e.is_book() {
        let mut cursor = e.book.ok_or(FrameError::Missing { event: "obu", field: "d" })?;
        return Ok(Message::Book(book(&mut cursor, e.step, batch)?));
    }
    if let Some(topic) = e.topic {
        let missing = FrameError::Missing { event: "message", field: "data" };
        return match (topic, e.data) {
            (Topic::Other, _) => Ok(Message::Other),
            (_, None) => Err(missing),
            (topic, Some(mut cursor)) => data(&mut cursor, Some(topic))?.ok_or(missing),
        };
    }
    if e.channel.is_some() {
        return Ok(Message::Other);
    }
    Ok(match (e.kind, e.result) {
        (Some(b"ack"), _) | (_, Some(true)) => Message::Ack(e.id),
        (Some(b"error"), _) | (_, Some(false)) => {
            Message::Refusal { id: e.id, code: e.code.unwrap_or_default(), words: e.words.unwrap_or_default() }
        }
        (Some(b"welcome" | b"pong"), _) => Message::Alive,
        _ if e.words.as_deref() == Some("welcome") => Message::Alive,
        _ => Message::Other,
    })
}

fn code(cursor: &mut Cursor<'_>) -> Result<i64, FrameError> {
    let code = cursor.decimal()?;
    (code.exponent == 0).then_some(code.mantissa).ok_or(FrameError::OutOfRange { event: "error", field: "code" })
}

fn data<'a>(cursor: &mut Cursor<'a>, topic: Option<Topic<'a>>) -> Result<Option<Message<'a>>, FrameError> {
    Ok(match topic {
        Some(Topic::Trades(symbol)) => Some(Message::Trade(symbol, executed(cursor, symbol)?)),
        Some(Topic::Quotes(symbol)) => Some(Message::Quote(symbol, quote(cursor)?)),
        Some(Topic::Other) | None => None,
    })
}

/// `{"symbol":"XRP-USDT","side":"sell","type":"match","makerOrderId":"..","sequence":"1622936939836","size":"66.5603","price":"0.37587",
/// "takerOrderId":"..","time":"1660608033110362773","tradeId":".."}`; the side is the taker's.
fn executed(cursor: &mut Cursor<'_>, symbol: &str) -> Result<Executed, FrameError> {
    let event = "match";
    let (mut side, mut price, mut amount, mut id, mut at) = (Side::Unknown, None, None, None, None);
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            // What a topic is about must be what its data are about.
            b"symbol" if cursor.text()? != symbol.as_bytes() => {
                return Err(FrameError::OutOfRange { event, field: "symbol" });
            }
            b"symbol" => {}
            b"side" => side = self::side(cursor.text()?),
            b"price" => price = Some(positive(cursor, event, "price")?),
            b"size" => amount = Some(positive(cursor, event, "size")?),
            b"sequence" => id = Some(trade_id(cursor, event)?),
            b"time" => at = Some(time(cursor, NANOS, event, "time")?),
            _ => cursor.skip()?,
        }
    }
    let missing = |field| FrameError::Missing { event, field };
    Ok(Executed {
        id: id.ok_or(missing("sequence"))?,
        flags: dccd_model::Flags::NONE,
        ts_venue: at.ok_or(missing("time"))?,
        price: price.ok_or(missing("price"))?,
        amount: amount.ok_or(missing("size"))?,
        side,
    })
}

/// The taker's side.
pub(super) fn side(word: &[u8]) -> Side {
    match word {
        b"buy" => Side::Buy,
        b"sell" => Side::Sell,
        _ => Side::Unknown,
    }
}

/// `{"asks":["68145.8","0.51987471"],"bids":["68145.7","1.29267802"],"timestamp":1729816058766}`; a side without orders is empty,
/// price and amount are then zero.
fn quote(cursor: &mut Cursor<'_>) -> Result<Quoted, FrameError> {
    let event = "level1";
    let (mut bid, mut ask, mut at) = (None, None, None);
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"bids" => bid = Some(best(cursor)?),
            b"asks" => ask = Some(best(cursor)?),
            b"timestamp" => at = Some(time(cursor, MILLIS, event, "timestamp")?),
            _ => cursor.skip()?,
        }
    }
    let missing = |field| FrameError::Missing { event, field };
    let (bid, ask) = (bid.ok_or(missing("bids"))?, ask.ok_or(missing("asks"))?);
    Ok(Quoted {
        number: 0,
        ts_venue: at.ok_or(missing("timestamp"))?,
        bid: bid.price,
        bid_amount: bid.amount,
        ask: ask.price,
        ask_amount: ask.amount,
    })
}

fn best(cursor: &mut Cursor<'_>) -> Result<Level, FrameError> {
    let nobody = Level { price: Decimal::ZERO, amount: Decimal::ZERO };
    Ok(level(cursor, "level1")?.unwrap_or(nobody))
}

/// `["68145.8","0.51987471"]`, with whatever may come to follow; `None`: `[]`.
fn level(cursor: &mut Cursor<'_>, event: &'static str) -> Result<Option<Level>, FrameError> {
    cursor.list()?;
    if cursor.peek() == Some(b']') {
        return cursor.item(&mut true).map(|_| None);
    }
    wire::level(cursor, event, &mut true).map(Some)
}

/// What stands under `d`; see [`BookPart`].
fn book<'a>(cursor: &mut Cursor<'a>, step: Option<&[u8]>, batch: &mut Batch) -> Result<BookPart<'a>, FrameError> {
    let event = "obu";
    let is_snapshot = match step.ok_or(FrameError::Missing { event, field: "t" })? {
        b"snapshot" => true,
        b"delta" => false,
        _ => return Err(FrameError::OutOfRange { event, field: "t" }),
    };
    let (mut bids, mut asks) = (false, false);
    let (mut symbol, mut first_change, mut last, mut at) = (None, None, None, None);
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"s" => symbol = std::str::from_utf8(cursor.text()?).ok(),
            b"O" => first_change = Some(number(cursor, event, "O")?),
            b"C" => last = Some(number(cursor, event, "C")?),
            b"M" => at = Some(time(cursor, NANOS, event, "M")?),
            b"b" => {
                levels(cursor, &mut batch.levels.bids)?;
                bids = true;
            }
            b"a" => {
                levels(cursor, &mut batch.levels.asks)?;
                asks = true;
            }
            _ => cursor.skip()?,
        }
    }
    let missing = |field| FrameError::Missing { event, field };
    let (first, last) = (first_change.ok_or(missing("O"))?, last.ok_or(missing("C"))?);
    if first > last {
        return Err(FrameError::OutOfRange { event, field: "C" });
    }
    if !bids || !asks {
        return Err(missing(if bids { "a" } else { "b" }));
    }
    Ok(BookPart { symbol: symbol.ok_or(missing("s"))?, is_snapshot, first, last, ts_venue: at.ok_or(missing("M"))? })
}

fn levels(cursor: &mut Cursor<'_>, levels: &mut Vec<Level>) -> Result<(), FrameError> {
    let event = "obu";
    cursor.list()?;
    let mut first = true;
    while cursor.item(&mut first)? {
        let level = level(cursor, event)?.ok_or(FrameError::Missing { event, field: "price" })?;
        // A price of zero is no level: on the classic socket it stands for a change that has none.
        if !level.price.is_zero() {
            levels.push(level);
        }
    }
    Ok(())
}

/// The symbol and the channel that a frame is about, whatever is wrong with the rest of it.
pub(in crate::kucoin) fn stream_of(frame: &[u8]) -> Option<(&str, Channel)> {
    if let Some(topic) = values_after(frame, b"\"topic\":\"").next() {
        return match Topic::of(topic) {
            Topic::Trades(symbol) => Some((symbol, Channel::Trades)),
            Topic::Quotes(symbol) => Some((symbol, Channel::Quotes)),
            Topic::Other => None,
        };
    }
    let channel = values_after(frame, b"\"T\":\"").next()?;
    let mut symbols = values_after(frame, b"\"s\":\"");
    let symbol = symbols.next().filter(|_| channel.eq_ignore_ascii_case(b"obu.SPOT") && symbols.next().is_none())?;
    Some((std::str::from_utf8(symbol).ok()?, Channel::Book))
}
