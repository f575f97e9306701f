//! Frames of the socket, and the answer that holds a book: one pass over the bytes, numbers by their own digits, because checksums
//! are computed over them. Allocates nothing for a message of the usual shape once the batch is warm.

use std::borrow::Cow;

use dccd_model::{Channel, Decimal, Side, UnixNanos};

use super::rest::refused;
use crate::FrameError;
use crate::integrity::IdSpace;
use crate::okx::candle;
use crate::okx::messages::{Batch, BookPart, Message};
use crate::session::{Level, Quoted, Traded};
use crate::wire::{Cursor, levels, positive, values_after};

/// What a message's `data` is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Trades,
    Quotes,
    Book,
    /// That of candles is read by [`crate::okx::candle`].
    Other,
}

impl Kind {
    fn of(channel: &[u8]) -> Self {
        match channel {
            // The first was the same as the second until it began to put several trades into one message; see `trade`.
            b"trades" | b"trades-all" => Self::Trades,
            b"bbo-tbt" => Self::Quotes,
            // The same book, sent with each change instead of ten times a second; what was recorded of old is of it.
            b"books" | b"books-l2-tbt" => Self::Book,
            _ => Self::Other,
        }
    }

    fn channel(self) -> Option<Channel> {
        match self {
            Self::Trades => Some(Channel::Trades),
            Self::Quotes => Some(Channel::Quotes),
            Self::Book => Some(Channel::Book),
            Self::Other => None,
        }
    }
}

/// What a message says beside its `data`.
#[derive(Default)]
struct Envelope<'a> {
    event: Option<&'a [u8]>,
    kind: Option<Kind>,
    instrument: Option<&'a [u8]>,
    is_snapshot: bool,
    id: Option<u64>,
    code: Option<i64>,
    words: Cow<'a, str>,
}

/// Reads one frame. What its `data` holds is left in `batch`.
pub(in crate::okx) fn message<'a>(frame: &'a [u8], batch: &mut Batch) -> Result<Message<'a>, FrameError> {
    batch.clear();
    if frame == b"pong" {
        return Ok(Message::Alive);
    }
    let mut cursor = Cursor::new(frame);
    let mut envelope = Envelope::default();
    // Where the data stand when they come before what they are of.
    let mut early = None;
    let mut has_data = false;
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"arg" if cursor.peek() == Some(b'{') => argument(&mut cursor, &mut envelope)?,
            b"action" if cursor.peek() == Some(b'"') => envelope.is_snapshot = cursor.text()? == b"snapshot",
            b"data" => {
                has_data = true;
                match envelope.kind {
                    Some(kind) => data(&mut cursor, kind, batch)?,
                    None => {
                        early = Some(cursor);
                        cursor.skip()?;
                    }
                }
            }
            b"event" if cursor.peek() == Some(b'"') => envelope.event = Some(cursor.text()?),
            b"code" if cursor.peek() == Some(b'"') => envelope.code = number(cursor.text()?),
            b"msg" if cursor.peek() == Some(b'"') => envelope.words = cursor.words()?,
            b"id" if cursor.peek() == Some(b'"') => {
                envelope.id = number(cursor.text()?).and_then(|id| u64::try_from(id).ok());
            }
            _ => cursor.skip()?,
        }
    }
    cursor.end()?;
    if let (Some(mut data_at), Some(kind)) = (early, envelope.kind) {
        data(&mut data_at, kind, batch)?;
    }
    if envelope.event.is_some() {
        return Ok(event(envelope));
    }
    let kind = envelope.kind.filter(|kind| *kind != Kind::Other);
    let Some(kind) = kind else { return Ok(Message::Other) };
    let missing = |field| FrameError::Missing { event: name(kind), field };
    let id = envelope.instrument.ok_or(missing("instId"))?;
    if !has_data {
        return Err(missing("data"));
    }
    Ok(match kind {
        Kind::Trades => Message::Trades { id },
        Kind::Quotes => Message::Quotes { id },
        Kind::Book | Kind::Other => {
            let part = batch.book.ok_or(missing("data"))?;
            let is_snapshot = envelope.is_snapshot || part.is_first;
            if !is_snapshot && part.seq.is_some() && part.prev.is_none() {
                return Err(missing("prevSeqId"));
            }
            Message::Book { id, is_snapshot }
        }
    })
}

fn event(e: Envelope<'_>) -> Message<'_> {
    match (e.event, e.code) {
        (Some(b"subscribe" | b"unsubscribe"), _) => Message::Ack { id: e.id },
        (Some(b"error"), code) => Message::Refusal { id: e.id, code: code.unwrap_or_default(), words: e.words },
        (Some(b"notice"), Some(64_008)) => Message::Shutdown,
        _ => Message::Other,
    }
}

const fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Trades => "trades",
        Kind::Quotes => "bbo-tbt",
        Kind::Book | Kind::Other => "books",
    }
}

/// A whole number in text.
fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `{"channel":"books","instId":"BTC-USDT"}`.
fn argument<'a>(cursor: &mut Cursor<'a>, envelope: &mut Envelope<'a>) -> Result<(), FrameError> {
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"channel" => envelope.kind = Some(Kind::of(cursor.text()?)),
            b"instId" => envelope.instrument = Some(cursor.text()?),
            _ => cursor.skip()?,
        }
    }
    Ok(())
}

fn data(cursor: &mut Cursor<'_>, kind: Kind, batch: &mut Batch) -> Result<(), FrameError> {
    if kind == Kind::Other {
        return cursor.skip();
    }
    cursor.list()?;
    let mut first = true;
    while cursor.item(&mut first)? {
        match kind {
            Kind::Trades => batch.trades.push(trade(cursor)?),
            Kind::Quotes => {
                let quote = quote(cursor, batch)?;
                batch.quotes.push(quote);
            }
            Kind::Book | Kind::Other => {
                if batch.book.is_some() {
                    return Err(FrameError::OutOfRange { event: name(kind), field: "data" });
                }
                batch.levels.clear();
                batch.book = Some(book(cursor, batch)?);
            }
        }
    }
    Ok(())
}

/// A whole number, quoted or not.
fn whole(cursor: &mut Cursor<'_>, event: &'static str, field: &'static str) -> Result<i64, FrameError> {
    let number = cursor.decimal()?;
    if number.exponent == 0 { Ok(number.mantissa) } else { Err(FrameError::OutOfRange { event, field }) }
}

/// A number that is one of a sequence.
fn sequence(number: i64, field: &'static str) -> Result<Option<u64>, FrameError> {
    u64::try_from(number).map(Some).map_err(|_| FrameError::OutOfRange { event: "books", field })
}

/// Milliseconds since the epoch.
fn time(cursor: &mut Cursor<'_>, event: &'static str) -> Result<UnixNanos, FrameError> {
    let ms = whole(cursor, event, "ts")?;
    ms.checked_mul(1_000_000).filter(|ns| *ns >= 0).map(UnixNanos).ok_or(FrameError::OutOfRange { event, field: "ts" })
}

/// `{"instId":"BTC-USDT","tradeId":"130639474","px":"42219.9","sz":"0.12060306","side":"buy","ts":"1630048897897"}`; the side is the
/// taker's. One with a `count` above 1 stands for several trades, whose own amounts it doesn't tell: not what was subscribed.
fn trade(cursor: &mut Cursor<'_>) -> Result<Traded, FrameError> {
    let event = "trades";
    let (mut side, mut price, mut amount, mut id, mut at, mut count) = (Side::Unknown, None, None, None, None, 1);
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"tradeId" => id = Some(whole(cursor, event, "tradeId")?),
            b"px" => price = Some(positive(cursor, event, "px")?),
            b"sz" => amount = Some(positive(cursor, event, "sz")?),
            b"side" => {
                side = match cursor.text()? {
                    b"buy" => Side::Buy,
                    b"sell" => Side::Sell,
                    _ => Side::Unknown,
                }
            }
            b"ts" => at = Some(time(cursor, event)?),
            b"count" => count = whole(cursor, event, "count")?,
            _ => cursor.skip()?,
        }
    }
    let missing = |field| FrameError::Missing { event, field };
    let out_of_range = |field| FrameError::OutOfRange { event, field };
    let id = u64::try_from(id.ok_or(missing("tradeId"))?).map_err(|_| out_of_range("tradeId"))?;
    if count != 1 {
        return Err(out_of_range("count"));
    }
    Ok(Traded {
        space: IdSpace::Single,
        id,
        ts_venue: at.ok_or(missing("ts"))?,
        price: price.ok_or(missing("px"))?,
        amount: amount.ok_or(missing("sz"))?,
        side,
    })
}

/// `{"asks":[["31774.7","0.14368878","0","3"]],"bids":[["31774.6","0.3392211","0","3"]],"ts":"1654032991947"}`. Where nobody offers
/// or bids, price and amount are zero.
fn quote(cursor: &mut Cursor<'_>, batch: &mut Batch) -> Result<Quoted, FrameError> {
    let event = "bbo-tbt";
    batch.levels.clear();
    let part = sides(cursor, batch, event)?;
    let best = |levels: &[Level]| levels.first().map_or((Decimal::ZERO, Decimal::ZERO), |level| (level.price, level.amount));
    let ((bid, bid_amount), (ask, ask_amount)) = (best(&batch.levels.bids), best(&batch.levels.asks));
    Ok(Quoted { number: 0, ts_venue: part.ts_venue, bid, bid_amount, ask, ask_amount })
}

fn book(cursor: &mut Cursor<'_>, batch: &mut Batch) -> Result<BookPart, FrameError> {
    let part = sides(cursor, batch, "books")?;
    if part.seq.is_none() && part.checksum.is_none() {
        // Nothing would say whether it fits.
        return Err(FrameError::Missing { event: "books", field: "seqId" });
    }
    Ok(part)
}

/// Both sides, appended to the batch's levels, and what stands beside them.
fn sides(cursor: &mut Cursor<'_>, batch: &mut Batch, event: &'static str) -> Result<BookPart, FrameError> {
    let (mut bids, mut asks, mut at) = (false, false, None);
    let mut part = BookPart::default();
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"asks" => {
                levels(cursor, event, &mut batch.levels.asks)?;
                asks = true;
            }
            b"bids" => {
                levels(cursor, event, &mut batch.levels.bids)?;
                bids = true;
            }
            b"ts" => at = Some(time(cursor, event)?),
            b"checksum" if !cursor.is_null() => {
                let checksum = i32::try_from(whole(cursor, event, "checksum")?);
                let checksum = checksum.map_err(|_| FrameError::OutOfRange { event, field: "checksum" })?;
                part.checksum = Some(checksum).filter(|checksum| *checksum != 0);
            }
            b"seqId" if !cursor.is_null() => part.seq = sequence(whole(cursor, event, "seqId")?, "seqId")?,
            b"prevSeqId" if !cursor.is_null() => match whole(cursor, event, "prevSeqId")? {
                -1 => part.is_first = true,
                number => part.prev = sequence(number, "prevSeqId")?,
            },
            // A `null` that was taken by the guards above.
            b"checksum" | b"seqId" | b"prevSeqId" => {}
            _ => cursor.skip()?,
        }
    }
    let missing = |field| FrameError::Missing { event, field };
    part.ts_venue = at.ok_or(missing("ts"))?;
    match (bids, asks) {
        (true, true) => Ok(part),
        (false, _) => Err(missing("bids")),
        (_, false) => Err(missing("asks")),
    }
}

/// An answer with a book: `{"code":"0","msg":"","data":[{"asks":[..],"bids":[..],"ts":"1629966436396","seqId":3235851742}]}`, left in
/// `batch`. Without a number it can't be joined to anything. `Ok(Err(..))`: the exchange's own refusal.
#[allow(clippy::type_complexity)] // what is read, or the refusal, or what can't be read
pub(in crate::okx) fn snapshot(body: &[u8], batch: &mut Batch) -> Result<Result<BookPart, (i64, String)>, FrameError> {
    batch.clear();
    let mut cursor = Cursor::new(body);
    let (mut code, mut words) = (None, Cow::Borrowed(""));
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"code" => code = Some(cursor.words()?),
            b"msg" if cursor.peek() == Some(b'"') => words = cursor.words()?,
            b"data" if cursor.peek() == Some(b'[') => {
                cursor.list()?;
                let mut first = true;
                while cursor.item(&mut first)? {
                    batch.levels.clear();
                    batch.book = Some(sides(&mut cursor, batch, "books")?);
                }
            }
            _ => cursor.skip()?,
        }
    }
    cursor.end()?;
    let missing = |field| FrameError::Missing { event: "books", field };
    let code = code.ok_or(missing("code"))?;
    if let Some(refusal) = refused(&code, &words) {
        return Ok(Err(refusal));
    }
    let part = batch.book.ok_or(missing("data"))?;
    part.seq.ok_or(missing("seqId"))?;
    Ok(Ok(part))
}

impl Batch {
    fn clear(&mut self) {
        self.trades.clear();
        self.quotes.clear();
        self.book = None;
        self.levels.clear();
    }
}

/// The feed that a frame is about, whatever is wrong with it: its channel, and the one instrument that stands in it.
pub(in crate::okx) fn stream_of(frame: &[u8]) -> Option<(&str, Channel)> {
    let channel = match values_after(frame, b"\"channel\":\"").next()? {
        name if name == candle::CHANNEL.as_bytes() => Channel::Ohlc,
        name => Kind::of(name).channel()?,
    };
    let mut instruments = values_after(frame, b"\"instId\":\"");
    let instrument = instruments.next()?;
    if instruments.any(|other| other != instrument) {
        return None;
    }
    Some((std::str::from_utf8(instrument).ok()?, channel))
}
