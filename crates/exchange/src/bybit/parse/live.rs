//! Frames of the public sockets: one pass over the bytes, numbers by their own digits, keys in any order. Allocates nothing for
//! a message of the usual shape once the batch is warm.

use std::borrow::Cow;

use dccd_model::{Channel, Side, UnixNanos};

use super::{millis, trade_id};
use crate::FrameError;
use crate::bybit::candle;
use crate::bybit::messages::{Batch, BookPart, Message};
use crate::session::Executed;
use crate::wire::{self, Cursor, positive};

/// What a topic is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Topic<'a> {
    /// `publicTrade.BTCUSDT`.
    Trades(&'a str),
    /// `orderbook.200.BTCUSDT`.
    Book(u64, &'a str),
    /// `kline.1.BTCUSDT`: read by [`crate::bybit::candle`].
    Candles(&'a str),
    Other,
}

impl<'a> Topic<'a> {
    fn of(topic: &'a [u8]) -> Self {
        let read = || {
            let topic = std::str::from_utf8(topic).ok()?;
            if let Some(symbol) = topic.strip_prefix("publicTrade.") {
                return Some(Self::Trades(symbol));
            }
            if let Some(symbol) = topic.strip_prefix(candle::TOPIC) {
                return Some(Self::Candles(symbol));
            }
            let (depth, symbol) = topic.strip_prefix("orderbook.")?.split_once('.')?;
            Some(Self::Book(depth.parse().ok()?, symbol))
        };
        read().unwrap_or(Self::Other)
    }

    fn symbol(self) -> &'a str {
        match self {
            Self::Trades(symbol) | Self::Book(_, symbol) | Self::Candles(symbol) => symbol,
            Self::Other => "",
        }
    }
}

/// What a message says beside its `data`.
#[derive(Default)]
struct Envelope<'a> {
    kind: Option<&'a [u8]>,
    ts: Option<UnixNanos>,
    cts: Option<UnixNanos>,
    update: Option<u64>,
    sequence: Option<u64>,
    has_data: bool,
    op: Option<&'a [u8]>,
    id: Option<u64>,
    success: Option<bool>,
    words: Option<Cow<'a, str>>,
}

/// Reads one frame. What its `data` holds is left in `batch`.
pub(in crate::bybit) fn message<'a>(frame: &'a [u8], batch: &mut Batch) -> Result<Message<'a>, FrameError> {
    batch.trades.clear();
    batch.levels.clear();
    let mut cursor = Cursor::new(frame);
    let mut envelope = Envelope::default();
    let mut topic = None;
    // Where the data stand when they come before the topic.
    let mut early = None;
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"topic" if cursor.peek() == Some(b'"') => topic = Some(Topic::of(cursor.text()?)),
            b"data" => match topic {
                Some(topic) => data(&mut cursor, topic, &mut envelope, batch)?,
                None => {
                    early = Some(cursor);
                    cursor.skip()?;
                }
            },
            b"type" if cursor.peek() == Some(b'"') => envelope.kind = Some(cursor.text()?),
            b"ts" => envelope.ts = Some(millis(&mut cursor, "message", "ts")?),
            b"cts" => envelope.cts = Some(millis(&mut cursor, "message", "cts")?),
            b"op" if cursor.peek() == Some(b'"') => envelope.op = Some(cursor.text()?),
            b"ret_msg" if cursor.peek() == Some(b'"') => envelope.words = Some(cursor.words()?),
            // One that isn't a number is none of ours.
            b"req_id" if cursor.peek() == Some(b'"') => {
                envelope.id = std::str::from_utf8(cursor.text()?).ok().and_then(|id| id.parse().ok());
            }
            b"success" if matches!(cursor.peek(), Some(b't' | b'f')) => envelope.success = Some(cursor.truth()?),
            _ => cursor.skip()?,
        }
    }
    cursor.end()?;
    if let (Some(mut data_at), Some(topic)) = (early, topic) {
        data(&mut data_at, topic, &mut envelope, batch)?;
    }
    match topic {
        Some(Topic::Trades(_)) if !envelope.has_data => Err(FrameError::Missing { event: "publicTrade", field: "data" }),
        Some(Topic::Trades(symbol)) => Ok(Message::Trades(symbol)),
        Some(Topic::Book(depth, symbol)) => book(symbol, depth, &envelope).map(Message::Book),
        Some(Topic::Candles(_) | Topic::Other) => Ok(Message::Other),
        None => Ok(reply(envelope)),
    }
}

fn reply(e: Envelope<'_>) -> Message<'_> {
    match (e.success, e.op, e.words) {
        (Some(false), _, words) => Message::Refusal { id: e.id, words: words.unwrap_or_default() },
        (_, Some(b"pong" | b"ping"), _) => Message::Alive,
        (Some(true), Some(_), _) => Message::Ack(e.id),
        _ => Message::Other,
    }
}

fn book<'a>(symbol: &'a str, depth: u64, e: &Envelope<'_>) -> Result<BookPart<'a>, FrameError> {
    let event = "orderbook";
    let missing = |field| FrameError::Missing { event, field };
    let update = e.update.ok_or(missing("u"))?;
    let is_snapshot = match e.kind.ok_or(missing("type"))? {
        b"snapshot" => true,
        // What comes after the exchange's service began anew is whole, whatever it is called.
        b"delta" => update == 1,
        _ => return Err(FrameError::OutOfRange { event, field: "type" }),
    };
    let ts_venue = e.cts.or(e.ts).ok_or(missing("cts"))?;
    Ok(BookPart { symbol, depth, is_snapshot, update, sequence: e.sequence.ok_or(missing("seq"))?, ts_venue })
}

fn data<'a>(
    cursor: &mut Cursor<'a>,
    topic: Topic<'a>,
    envelope: &mut Envelope<'a>,
    batch: &mut Batch,
) -> Result<(), FrameError> {
    match topic {
        Topic::Candles(_) | Topic::Other => return cursor.skip(),
        Topic::Trades(symbol) => {
            cursor.list()?;
            let mut first = true;
            while cursor.item(&mut first)? {
                batch.trades.push(trade(cursor, symbol)?);
            }
        }
        Topic::Book(..) => levels(cursor, topic.symbol(), envelope, batch)?,
    }
    envelope.has_data = true;
    Ok(())
}

/// What a topic is about must be what its data are about.
fn same_symbol(cursor: &mut Cursor<'_>, symbol: &str, event: &'static str) -> Result<(), FrameError> {
    if cursor.text()? == symbol.as_bytes() { Ok(()) } else { Err(FrameError::OutOfRange { event, field: "s" }) }
}

/// `{"T":1672304486865,"s":"BTCUSDT","S":"Buy","v":"0.001","p":"16578.50","L":"PlusTick","i":"20f43950-d8dd-..","BT":false,
/// "RPI":false,"seq":1783284617}`; the side is the taker's.
fn trade(cursor: &mut Cursor<'_>, symbol: &str) -> Result<Executed, FrameError> {
    let event = "publicTrade";
    let (mut side, mut price, mut amount, mut id, mut time) = (Side::Unknown, None, None, None, None);
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"s" => same_symbol(cursor, symbol, event)?,
            b"S" => {
                side = match cursor.text()? {
                    b"Buy" => Side::Buy,
                    b"Sell" => Side::Sell,
                    _ => Side::Unknown,
                }
            }
            b"p" => price = Some(positive(cursor, event, "p")?),
            b"v" => amount = Some(positive(cursor, event, "v")?),
            b"i" => id = Some(trade_id(cursor.text()?).ok_or(FrameError::OutOfRange { event, field: "i" })?),
            b"T" => time = Some(millis(cursor, event, "T")?),
            _ => cursor.skip()?,
        }
    }
    let missing = |field| FrameError::Missing { event, field };
    let (id, flags) = id.ok_or(missing("i"))?;
    Ok(Executed {
        id,
        flags,
        ts_venue: time.ok_or(missing("T"))?,
        price: price.ok_or(missing("p"))?,
        amount: amount.ok_or(missing("v"))?,
        side,
    })
}

/// `{"s":"BTCUSDT","b":[["16493.50","0.006"]],"a":[["16611.00","0.029"]],"u":18521288,"seq":7961638724}`.
fn levels<'a>(
    cursor: &mut Cursor<'a>,
    symbol: &str,
    envelope: &mut Envelope<'a>,
    batch: &mut Batch,
) -> Result<(), FrameError> {
    let event = "orderbook";
    let (mut has_bids, mut has_asks) = (false, false);
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"s" => same_symbol(cursor, symbol, event)?,
            b"b" => {
                wire::levels(cursor, event, &mut batch.levels.bids)?;
                has_bids = true;
            }
            b"a" => {
                wire::levels(cursor, event, &mut batch.levels.asks)?;
                has_asks = true;
            }
            b"u" => envelope.update = Some(cursor.integer()?),
            b"seq" => envelope.sequence = Some(cursor.integer()?),
            _ => cursor.skip()?,
        }
    }
    if has_bids && has_asks {
        return Ok(());
    }
    Err(FrameError::Missing { event, field: if has_bids { "a" } else { "b" } })
}

/// The symbol and the channel that a frame is about, whatever is wrong with the rest of it.
pub(in crate::bybit) fn stream_of(frame: &[u8]) -> Option<(&str, Channel)> {
    const KEY: &[u8] = b"\"topic\":\"";
    let at = frame.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let rest = frame.get(at..)?;
    match Topic::of(rest.get(..rest.iter().position(|byte| *byte == b'"')?)?) {
        Topic::Trades(symbol) => Some((symbol, Channel::Trades)),
        Topic::Book(1, symbol) => Some((symbol, Channel::Quotes)),
        Topic::Book(_, symbol) => Some((symbol, Channel::Book)),
        Topic::Candles(symbol) => Some((symbol, Channel::Ohlc)),
        Topic::Other => None,
    }
}
