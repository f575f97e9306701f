//! Frames of the socket: one pass over the bytes, numbers by their own digits. Allocates nothing for a message of the usual shape
//! once the batch is warm.

use dccd_model::{Channel, Decimal};

use super::{fault, millis, same_instrument, trade};
use crate::FrameError;
use crate::deribit::messages::{Batch, BookPart, Fault, Message, Platform};
use crate::deribit::subscribe::PLATFORM;
use crate::session::{Level, Quoted};
use crate::wire::{Cursor, positive, values_after};

/// What a channel is about, and the exchange's own id of the instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::deribit) enum Topic<'a> {
    Trades(&'a [u8]),
    Quote(&'a [u8]),
    Book(&'a [u8]),
    Platform,
    Other,
}

impl<'a> Topic<'a> {
    /// `trades.BTC-PERPETUAL.100ms`, `quote.BTC-PERPETUAL`. The raw ones say the same, with each change; what was recorded of old is
    /// of them. Books in groups and trades of a whole currency have more parts.
    pub(in crate::deribit) fn of(channel: &'a [u8]) -> Self {
        if channel == PLATFORM.as_bytes() {
            return Self::Platform;
        }
        let mut parts = channel.split(|byte| *byte == b'.');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(b"trades"), Some(id), Some(b"100ms" | b"raw"), None) => Self::Trades(id),
            (Some(b"book"), Some(id), Some(b"100ms" | b"raw"), None) => Self::Book(id),
            (Some(b"quote"), Some(id), None, None) => Self::Quote(id),
            _ => Self::Other,
        }
    }

    /// The id as text, and our channel.
    pub(in crate::deribit) fn stream(self) -> Option<(&'a str, Channel)> {
        let (id, channel) = match self {
            Self::Trades(id) => (id, Channel::Trades),
            Self::Quote(id) => (id, Channel::Quotes),
            Self::Book(id) => (id, Channel::Book),
            Self::Platform | Self::Other => return None,
        };
        Some((std::str::from_utf8(id).ok()?, channel))
    }
}

/// What a message says beside its data.
#[derive(Default)]
struct Envelope<'a> {
    id: Option<u64>,
    method: Option<&'a [u8]>,
    result: Option<Cursor<'a>>,
    fault: Option<Fault<'a>>,
    /// Of the parameters.
    topic: Option<Topic<'a>>,
    kind: Option<&'a [u8]>,
    platform: Option<Platform<'a>>,
    has_data: bool,
}

/// How all that is subscribed nearly always begins.
const OPENING: &[u8] = br#"{"jsonrpc":"2.0","method":"subscription","params":"#;

/// Reads one frame. What its `data` holds is left in `batch`.
pub(in crate::deribit) fn message<'a>(frame: &'a [u8], batch: &mut Batch) -> Result<Message<'a>, FrameError> {
    batch.clear();
    let mut cursor = Cursor::new(frame);
    let mut envelope = Envelope::default();
    let mut first = true;
    if cursor.takes_exactly(OPENING) && cursor.peek() == Some(b'{') {
        envelope.method = Some(b"subscription");
        first = false;
        params(&mut cursor, &mut envelope, batch)?;
    } else {
        cursor = Cursor::new(frame);
        cursor.object()?;
    }
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"method" if cursor.peek() == Some(b'"') => envelope.method = Some(cursor.text()?),
            b"params" if cursor.peek() == Some(b'{') => params(&mut cursor, &mut envelope, batch)?,
            b"id" if cursor.peek().is_some_and(|byte| byte.is_ascii_digit()) => envelope.id = Some(cursor.integer()?),
            b"result" => {
                envelope.result = Some(cursor);
                cursor.skip()?;
            }
            b"error" if cursor.peek() == Some(b'{') => envelope.fault = Some(fault(&mut cursor)?),
            _ => cursor.skip()?,
        }
    }
    cursor.end()?;
    match (envelope.method, envelope.kind) {
        (Some(b"subscription"), _) => notification(&envelope, batch),
        (Some(b"heartbeat"), Some(b"test_request")) => Ok(Message::TestRequest),
        (Some(b"heartbeat"), _) => Ok(Message::Alive),
        (Some(_), _) => Ok(Message::Other),
        (None, _) => Ok(reply(envelope)),
    }
}

fn reply(e: Envelope<'_>) -> Message<'_> {
    match (e.fault, e.id, e.result) {
        (Some(fault), id, _) => Message::Refusal { id, fault },
        (None, Some(id), Some(mut channels)) => match channels.peek() {
            Some(b'[') => Message::Channels { id, channels },
            _ => Message::Ack { id },
        },
        _ => Message::Other,
    }
}

fn notification<'a>(e: &Envelope<'a>, batch: &Batch) -> Result<Message<'a>, FrameError> {
    let data = |event| if e.has_data { Ok(()) } else { Err(FrameError::Missing { event, field: "data" }) };
    Ok(match e.topic {
        None => return Err(FrameError::Missing { event: "subscription", field: "channel" }),
        Some(Topic::Other) => Message::Other,
        Some(Topic::Trades(id)) => {
            data("trades")?;
            Message::Trades { id }
        }
        Some(Topic::Quote(id)) => {
            data("quote")?;
            Message::Quote { id }
        }
        Some(Topic::Book(id)) => {
            batch.book.ok_or(FrameError::Missing { event: "book", field: "data" })?;
            Message::Book { id }
        }
        Some(Topic::Platform) => {
            Message::Platform(e.platform.ok_or(FrameError::Missing { event: PLATFORM, field: "data" })?)
        }
    })
}

/// `{"channel":"book.BTC-PERPETUAL.100ms","data":{..}}`, or `{"type":"test_request"}`.
fn params<'a>(cursor: &mut Cursor<'a>, envelope: &mut Envelope<'a>, batch: &mut Batch) -> Result<(), FrameError> {
    // Where the data stand when they come before what they are of.
    let mut early = None;
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match (key, envelope.topic) {
            (b"channel", _) if cursor.peek() == Some(b'"') => envelope.topic = Some(Topic::of(cursor.text()?)),
            (b"type", _) if cursor.peek() == Some(b'"') => envelope.kind = Some(cursor.text()?),
            (b"data", Some(topic)) => data(cursor, topic, envelope, batch)?,
            (b"data", None) => {
                early = Some(*cursor);
                cursor.skip()?;
            }
            _ => cursor.skip()?,
        }
    }
    match (early, envelope.topic) {
        (Some(mut data_at), Some(topic)) => data(&mut data_at, topic, envelope, batch),
        _ => Ok(()),
    }
}

fn data<'a>(
    cursor: &mut Cursor<'a>,
    topic: Topic<'a>,
    envelope: &mut Envelope<'a>,
    batch: &mut Batch,
) -> Result<(), FrameError> {
    if std::mem::replace(&mut envelope.has_data, true) {
        return Err(FrameError::OutOfRange { event: "subscription", field: "data" });
    }
    match topic {
        Topic::Other => cursor.skip()?,
        Topic::Trades(id) => {
            cursor.list()?;
            let mut first = true;
            while cursor.item(&mut first)? {
                batch.trades.push(trade(cursor, Some(id))?);
            }
        }
        Topic::Quote(id) => batch.quote = Some(quote(cursor, id)?),
        Topic::Book(id) => batch.book = Some(book(cursor, id, batch)?),
        Topic::Platform => envelope.platform = Some(platform(cursor)?),
    }
    Ok(())
}

/// `{"maintenance":true}`, or `{"price_index":"sol_usdc","locked":true}`.
fn platform<'a>(cursor: &mut Cursor<'a>) -> Result<Platform<'a>, FrameError> {
    let mut platform = Platform::default();
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match (key, cursor.peek()) {
            (b"maintenance", Some(b't' | b'f')) => platform.maintenance = Some(cursor.truth()?),
            (b"locked", Some(b't' | b'f')) => platform.locked = Some(cursor.truth()?),
            (b"price_index", Some(b'"')) => platform.price_index = cursor.text()?,
            _ => cursor.skip()?,
        }
    }
    Ok(platform)
}

/// `{"timestamp":1654012882984,"instrument_name":"BTC-PERPETUAL","best_bid_price":32143.0,"best_bid_amount":179960.0,
/// "best_ask_price":32143.5,"best_ask_amount":20.0}`. Where nobody offers or bids, price and amount are zero, or nothing.
fn quote(cursor: &mut Cursor<'_>, id: &[u8]) -> Result<Quoted, FrameError> {
    let event = "quote";
    let mut at = None;
    let mut numbers: [Option<Decimal>; 4] = [None; 4];
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        let (place, field) = match key {
            b"best_bid_price" => (0, "best_bid_price"),
            b"best_bid_amount" => (1, "best_bid_amount"),
            b"best_ask_price" => (2, "best_ask_price"),
            b"best_ask_amount" => (3, "best_ask_amount"),
            b"timestamp" => {
                at = Some(millis(cursor, event, "timestamp")?);
                continue;
            }
            b"instrument_name" => {
                same_instrument(cursor, Some(id), event)?;
                continue;
            }
            _ => {
                cursor.skip()?;
                continue;
            }
        };
        numbers[place] = Some(match cursor.peek() {
            Some(b'n') if cursor.is_null() => Decimal::ZERO,
            _ => positive(cursor, event, field)?,
        });
    }
    let missing = |field| FrameError::Missing { event, field };
    let [bid, bid_amount, ask, ask_amount] = numbers;
    Ok(Quoted {
        number: 0,
        ts_venue: at.ok_or(missing("timestamp"))?,
        bid: bid.ok_or(missing("best_bid_price"))?,
        bid_amount: bid_amount.ok_or(missing("best_bid_amount"))?,
        ask: ask.ok_or(missing("best_ask_price"))?,
        ask_amount: ask_amount.ok_or(missing("best_ask_amount"))?,
    })
}

fn book(cursor: &mut Cursor<'_>, id: &[u8], batch: &mut Batch) -> Result<BookPart, FrameError> {
    let event = "book";
    let (mut bids, mut asks, mut at, mut kind, mut change, mut prev) = (false, false, None, None, None, None);
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"type" => kind = Some(cursor.text()?),
            b"timestamp" => at = Some(millis(cursor, event, "timestamp")?),
            b"instrument_name" => same_instrument(cursor, Some(id), event)?,
            b"change_id" => change = Some(cursor.integer()?),
            b"prev_change_id" if !cursor.is_null() => prev = Some(cursor.integer()?),
            b"bids" => {
                levels(cursor, &mut batch.levels.bids, &mut batch.known.bids)?;
                bids = true;
            }
            b"asks" => {
                levels(cursor, &mut batch.levels.asks, &mut batch.known.asks)?;
                asks = true;
            }
            // A `null` that was taken by the guard above.
            b"prev_change_id" => {}
            _ => cursor.skip()?,
        }
    }
    let missing = |field| FrameError::Missing { event, field };
    let prev = match (kind, prev) {
        (Some(b"snapshot"), _) => None,
        (Some(b"change"), None) => return Err(missing("prev_change_id")),
        // In 2019 there was no type.
        (Some(b"change") | None, prev) => prev,
        (Some(_), _) => return Err(FrameError::OutOfRange { event, field: "type" }),
    };
    match (bids, asks) {
        (true, true) => {
            Ok(BookPart { ts_venue: at.ok_or(missing("timestamp"))?, change: change.ok_or(missing("change_id"))?, prev })
        }
        (false, _) => Err(missing("bids")),
        (_, false) => Err(missing("asks")),
    }
}

/// `[["new",36809.5,254870.0],["delete",36779.0,0.0]]`.
fn levels(cursor: &mut Cursor<'_>, levels: &mut Vec<Level>, known: &mut Vec<bool>) -> Result<(), FrameError> {
    let event = "book";
    // Of a side that stands twice the last counts, as of all keys.
    levels.clear();
    known.clear();
    cursor.list()?;
    let mut first = true;
    while cursor.item(&mut first)? {
        cursor.list()?;
        let mut first = true;
        let mut next = |cursor: &mut Cursor<'_>, field| {
            if cursor.item(&mut first)? { Ok(()) } else { Err(FrameError::Missing { event, field }) }
        };
        next(cursor, "action")?;
        let (is_known, is_end) = match cursor.text()? {
            b"new" => (false, false),
            b"change" => (true, false),
            b"delete" => (true, true),
            _ => return Err(FrameError::OutOfRange { event, field: "action" }),
        };
        next(cursor, "price")?;
        let price = positive(cursor, event, "price")?;
        next(cursor, "amount")?;
        let amount = positive(cursor, event, "amount")?;
        if amount.is_zero() != is_end {
            return Err(FrameError::OutOfRange { event, field: "amount" });
        }
        // What may come to follow.
        while cursor.item(&mut first)? {
            cursor.skip()?;
        }
        levels.push(Level { price, amount });
        known.push(is_known);
    }
    Ok(())
}

impl Batch {
    fn clear(&mut self) {
        self.trades.clear();
        self.quote = None;
        self.book = None;
        self.levels.clear();
        self.known.bids.clear();
        self.known.asks.clear();
    }
}

/// The feed that a frame is about, whatever is wrong with the rest of it.
pub(in crate::deribit) fn stream_of(frame: &[u8]) -> Option<(&str, Channel)> {
    Topic::of(values_after(frame, b"\"channel\":\"").next()?).stream()
}
