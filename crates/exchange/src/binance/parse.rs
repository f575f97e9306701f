//! Wire to model: a frame's bytes become a [`Message`]. Pure, never panics, allocates nothing for a message of the usual shape.
//!
//! Keys may come in any order, with or without the combined-stream wrapper; unknown keys are skipped. Numbers are read from
//! their own digits, quoted or not: one pass reads quoted digits and whole numbers; only when an unquoted fraction comes
//! along (which serde_json would hand over as a double) the message is read again by its raw tokens.
//!
//! Times are milliseconds or microseconds, as the connection asked for; which of them is told by the magnitude: from 1e14 on
//! they are microseconds (1e14 ms is the year 5138, 1e14 µs was 1973).

use std::borrow::Cow;
use std::fmt;

use dccd_model::{Decimal, Side, UnixNanos};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};
use serde_json::value::RawValue;

use super::messages::{DepthEvent, Level, Levels, Message, QuoteEvent, TradeEvent};
use crate::FrameError;
use crate::integrity::IdSpace;

/// Reads one frame. The levels of a `depthUpdate` are left in `levels`.
pub(super) fn message<'a>(frame: &'a [u8], levels: &mut Levels) -> Result<Message<'a>, FrameError> {
    let text = std::str::from_utf8(frame)
        .map_err(|_| FrameError::Json(serde_json::Error::invalid_value(Unexpected::Bytes(&[]), &"text in UTF-8")))?;
    let first = fields(text, levels, false).and_then(|fields| assemble(fields, levels));
    match first {
        Err(FrameError::Json(_)) => {}
        done => return done,
    }
    match fields(text, levels, true).and_then(|fields| assemble(fields, levels)) {
        // Fields of the types we know, in a message we don't: not for us, and so nothing that is wrong.
        Err(FrameError::Json(error)) => match kind(text) {
            Some(event) if !OURS.contains(&event.as_ref()) => Ok(Message::Other),
            _ => Err(FrameError::Json(error)),
        },
        done => done,
    }
}

/// Milliseconds or microseconds since the epoch, by magnitude.
pub(super) const fn time(wire: i64) -> UnixNanos {
    if wire >= 100_000_000_000_000 { UnixNanos::from_micros(wire) } else { UnixNanos::from_millis(wire) }
}

/// The stream that a frame belongs to, `btcusdt` and `trade`, as far as its beginning tells, whatever is wrong with the rest.
pub(super) fn stream_name(frame: &[u8]) -> Option<(&str, &str)> {
    let name = frame.strip_prefix(b"{\"stream\":\"")?;
    let name = std::str::from_utf8(&name[..name.iter().position(|b| *b == b'"')?]).ok()?;
    let (id, rest) = name.split_once('@')?;
    let channel = rest.split('@').next().filter(|c| ["trade", "aggTrade", "bookTicker", "depth"].contains(c))?;
    Some((id, channel))
}

const OURS: [&str; 5] = ["trade", "aggTrade", "depthUpdate", "bookTicker", "serverShutdown"];

/// The union of the fields of all messages; one letter has one place whatever it means there.
#[derive(Default)]
struct Fields<'a> {
    event: Option<Cow<'a, str>>,
    stream: Option<Cow<'a, str>>,
    event_time: Option<i64>,
    trade_time: Option<i64>,
    symbol: Option<Cow<'a, str>>,
    id: Option<u64>,
    price: Option<Decimal>,
    amount: Option<Decimal>,
    buyer_is_maker: Option<bool>,
    first: Option<u64>,
    last: Option<u64>,
    ask: Mixed,
    bid: Mixed,
    ask_amount: Option<Decimal>,
    bid_amount: Option<Decimal>,
    request: Option<u64>,
    has_result: bool,
    code: Option<i64>,
    message: Option<Cow<'a, str>>,
}

/// `a` and `b` are ids, prices or lists of levels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Mixed {
    #[default]
    Absent,
    Integer(u64),
    Number(Decimal),
    Levels,
}

impl Mixed {
    fn number(self) -> Option<Decimal> {
        match self {
            Self::Number(number) => Some(number),
            Self::Integer(integer) => Some(Decimal::new(i64::try_from(integer).ok()?, 0)),
            _ => None,
        }
    }
}

fn fields<'a>(text: &'a str, levels: &mut Levels, raw: bool) -> Result<Fields<'a>, FrameError> {
    levels.clear();
    let mut fields = Fields::default();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    FieldsSeed { fields: &mut fields, levels, raw }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(fields)
}

fn assemble<'a>(f: Fields<'a>, levels: &Levels) -> Result<Message<'a>, FrameError> {
    match f.event.as_deref() {
        Some("trade") => trade(f, "trade", IdSpace::Single),
        Some("aggTrade") => trade(f, "aggTrade", IdSpace::Aggregated),
        Some("depthUpdate") => depth(f, levels),
        Some("bookTicker") => quote(f),
        Some("serverShutdown") => Ok(Message::Shutdown),
        Some(_) => Ok(Message::Other),
        None if f.stream.as_deref() == Some("!serverShutdown") => Ok(Message::Shutdown),
        // Spot's bookTicker is the one message without a name.
        None if f.symbol.is_some() && f.last.is_some() && f.first.is_none() => quote(f),
        None => Ok(match (f.code, f.request, f.has_result) {
            (Some(code), id, _) => Message::Error { id, code, message: f.message.unwrap_or_default() },
            (None, Some(id), true) => Message::Ack { id },
            _ => Message::Other,
        }),
    }
}

fn trade<'a>(f: Fields<'a>, event: &'static str, space: IdSpace) -> Result<Message<'a>, FrameError> {
    let missing = |field| FrameError::Missing { event, field };
    let id = match (space, f.ask) {
        (IdSpace::Single, _) => f.id.ok_or(missing("t"))?,
        (IdSpace::Aggregated, Mixed::Integer(id)) => id,
        (IdSpace::Aggregated, _) => return Err(missing("a")),
    };
    let price = f.price.ok_or(missing("p"))?;
    let amount = f.amount.ok_or(missing("q"))?;
    if price.mantissa < 0 || amount.mantissa < 0 {
        return Err(FrameError::OutOfRange { event, field: if price.mantissa < 0 { "p" } else { "q" } });
    }
    Ok(Message::Trade(TradeEvent {
        space,
        symbol: f.symbol.ok_or(missing("s"))?,
        id,
        ts_venue: time(f.trade_time.or(f.event_time).ok_or(missing("T"))?),
        price,
        amount,
        side: match f.buyer_is_maker {
            Some(true) => Side::Sell,
            Some(false) => Side::Buy,
            None => Side::Unknown,
        },
    }))
}

fn quote(f: Fields<'_>) -> Result<Message<'_>, FrameError> {
    let event = "bookTicker";
    let missing = |field| FrameError::Missing { event, field };
    let quote = QuoteEvent {
        symbol: f.symbol.ok_or(missing("s"))?,
        number: f.last.ok_or(missing("u"))?,
        ts_venue: f.trade_time.or(f.event_time).map_or(UnixNanos::UNKNOWN, time),
        bid: f.bid.number().ok_or(missing("b"))?,
        bid_amount: f.bid_amount.ok_or(missing("B"))?,
        ask: f.ask.number().ok_or(missing("a"))?,
        ask_amount: f.ask_amount.ok_or(missing("A"))?,
    };
    for (value, field) in [(quote.bid, "b"), (quote.bid_amount, "B"), (quote.ask, "a"), (quote.ask_amount, "A")] {
        if value.mantissa < 0 {
            return Err(FrameError::OutOfRange { event, field });
        }
    }
    Ok(Message::Quote(quote))
}

fn depth<'a>(f: Fields<'a>, levels: &Levels) -> Result<Message<'a>, FrameError> {
    let event = "depthUpdate";
    let missing = |field| FrameError::Missing { event, field };
    if f.bid != Mixed::Levels || f.ask != Mixed::Levels {
        return Err(missing(if f.bid == Mixed::Levels { "a" } else { "b" }));
    }
    let depth = DepthEvent {
        symbol: f.symbol.ok_or(missing("s"))?,
        first: f.first.ok_or(missing("U"))?,
        last: f.last.ok_or(missing("u"))?,
        ts_venue: time(f.event_time.ok_or(missing("E"))?),
    };
    if depth.first > depth.last || depth.last == u64::MAX {
        return Err(FrameError::OutOfRange { event, field: "U" });
    }
    check(levels, event)?;
    Ok(Message::Depth(depth))
}

/// Refuses levels that can't be.
pub(super) fn check(levels: &Levels, event: &'static str) -> Result<(), FrameError> {
    for (side, field) in [(&levels.bids, "b"), (&levels.asks, "a")] {
        if side.iter().any(|level| level.price.mantissa < 0 || level.amount.mantissa < 0) {
            return Err(FrameError::OutOfRange { event, field });
        }
    }
    Ok(())
}

/// The message's name, read on its own; `Some("")` when it is a readable object without one of a known type.
fn kind(text: &str) -> Option<Cow<'_, str>> {
    #[derive(serde::Deserialize)]
    struct Named<'a> {
        #[serde(borrow, default)]
        e: Option<Cow<'a, str>>,
        #[serde(borrow, default)]
        data: Option<&'a RawValue>,
    }
    let named: Named<'_> = serde_json::from_str(text).ok()?;
    match (named.e, named.data) {
        (Some(event), _) => Some(event),
        (None, Some(data)) => serde_json::from_str::<Named<'_>>(data.get()).ok()?.e,
        (None, None) => None,
    }
}

enum Key {
    Event,
    EventTime,
    TradeTime,
    Symbol,
    Id,
    Price,
    Amount,
    Maker,
    First,
    Last,
    A,
    B,
    AskAmount,
    BidAmount,
    Stream,
    Data,
    Request,
    Result,
    Error,
    Code,
    Message,
    Unknown,
}

struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Key, E> {
        Ok(match key.as_bytes() {
            b"e" => Key::Event,
            b"E" => Key::EventTime,
            b"T" => Key::TradeTime,
            b"s" => Key::Symbol,
            b"t" => Key::Id,
            b"p" => Key::Price,
            b"q" => Key::Amount,
            b"m" => Key::Maker,
            b"U" => Key::First,
            b"u" => Key::Last,
            b"a" => Key::A,
            b"b" => Key::B,
            b"A" => Key::AskAmount,
            b"B" => Key::BidAmount,
            b"stream" => Key::Stream,
            b"data" => Key::Data,
            b"id" => Key::Request,
            b"result" => Key::Result,
            b"error" => Key::Error,
            b"code" => Key::Code,
            b"msg" => Key::Message,
            _ => Key::Unknown,
        })
    }
}

/// Fills [`Fields`] from an object, and from the object in its `data` or `error`.
struct FieldsSeed<'f, 'a> {
    fields: &'f mut Fields<'a>,
    levels: &'f mut Levels,
    raw: bool,
}

impl<'de> DeserializeSeed<'de> for FieldsSeed<'_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FieldsSeed<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let Self { fields: f, levels, raw } = self;
        while let Some(key) = map.next_key_seed(KeySeed)? {
            match key {
                Key::Event => f.event = Some(map.next_value_seed(TextSeed)?),
                Key::Symbol => f.symbol = Some(map.next_value_seed(TextSeed)?),
                Key::Stream => f.stream = Some(map.next_value_seed(TextSeed)?),
                Key::Message => f.message = Some(map.next_value_seed(TextSeed)?),
                Key::EventTime => f.event_time = Some(map.next_value()?),
                Key::TradeTime => f.trade_time = Some(map.next_value()?),
                Key::Code => f.code = Some(map.next_value()?),
                Key::Id => f.id = Some(map.next_value()?),
                Key::First => f.first = Some(map.next_value()?),
                Key::Last => f.last = Some(map.next_value()?),
                Key::Request => f.request = map.next_value()?,
                Key::Maker => f.buyer_is_maker = Some(map.next_value()?),
                Key::Price => f.price = Some(map.next_value_seed(NumberSeed { raw })?),
                Key::Amount => f.amount = Some(map.next_value_seed(NumberSeed { raw })?),
                Key::AskAmount => f.ask_amount = Some(map.next_value_seed(NumberSeed { raw })?),
                Key::BidAmount => f.bid_amount = Some(map.next_value_seed(NumberSeed { raw })?),
                Key::A => f.ask = map.next_value_seed(MixedSeed { side: &mut levels.asks, raw })?,
                Key::B => f.bid = map.next_value_seed(MixedSeed { side: &mut levels.bids, raw })?,
                Key::Data | Key::Error => map.next_value_seed(FieldsSeed { fields: f, levels, raw })?,
                Key::Result => {
                    map.next_value::<IgnoredAny>()?;
                    f.has_result = true;
                }
                Key::Unknown => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    /// Lists of other events, e.g. `!ticker@arr`.
    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<(), S::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Text, borrowed unless it has escapes.
struct TextSeed;

impl<'de> DeserializeSeed<'de> for TextSeed {
    type Value = Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for TextSeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// A decimal from its own digits, quoted or not.
#[derive(Clone, Copy)]
pub(super) struct NumberSeed {
    /// Read the raw token: needed for fractions without quotes.
    pub(super) raw: bool,
}

impl<'de> DeserializeSeed<'de> for NumberSeed {
    type Value = Decimal;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Decimal, D::Error> {
        if !self.raw {
            return deserializer.deserialize_any(self);
        }
        let token: &RawValue = serde::Deserialize::deserialize(deserializer)?;
        number(token).map_err(D::Error::custom)
    }
}

fn number(token: &RawValue) -> Result<Decimal, String> {
    let text = token.get();
    let text: Cow<'_, str> = match text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        Some(quoted) if quoted.contains('\\') => Cow::Owned(serde_json::from_str(text).map_err(|e| e.to_string())?),
        Some(quoted) => Cow::Borrowed(quoted),
        None => Cow::Borrowed(text),
    };
    Decimal::parse(text.as_bytes()).map_err(|e| e.to_string())
}

impl Visitor<'_> for NumberSeed {
    type Value = Decimal;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a decimal number")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Decimal, E> {
        Decimal::parse(text.as_bytes()).map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Decimal, E> {
        i64::try_from(number).map(|n| Decimal::new(n, 0)).map_err(E::custom)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Decimal, E> {
        Ok(Decimal::new(number, 0))
    }
}

/// `a` or `b`: an id, a price, or a side of a book.
struct MixedSeed<'l> {
    side: &'l mut Vec<Level>,
    raw: bool,
}

impl<'de> DeserializeSeed<'de> for MixedSeed<'_> {
    type Value = Mixed;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Mixed, D::Error> {
        if !self.raw {
            return deserializer.deserialize_any(self);
        }
        let token: &'de RawValue = serde::Deserialize::deserialize(deserializer)?;
        if token.get().starts_with('[') {
            let mut list = serde_json::Deserializer::from_str(token.get());
            LevelsSeed { side: self.side, raw: true }.deserialize(&mut list).map_err(D::Error::custom)?;
            return Ok(Mixed::Levels);
        }
        match token.get().parse() {
            Ok(integer) => Ok(Mixed::Integer(integer)),
            Err(_) => number(token).map(Mixed::Number).map_err(D::Error::custom),
        }
    }
}

impl<'de> Visitor<'de> for MixedSeed<'_> {
    type Value = Mixed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id, a price or levels")
    }

    fn visit_u64<E>(self, number: u64) -> Result<Mixed, E> {
        Ok(Mixed::Integer(number))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Mixed, E> {
        Decimal::parse(text.as_bytes()).map(Mixed::Number).map_err(E::custom)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, list: S) -> Result<Mixed, S::Error> {
        LevelsSeed { side: self.side, raw: self.raw }.visit_seq(list)?;
        Ok(Mixed::Levels)
    }
}

/// `[["0.0024","10"],..]`, replacing what is in the vector.
pub(super) struct LevelsSeed<'l> {
    pub(super) side: &'l mut Vec<Level>,
    pub(super) raw: bool,
}

impl<'de> DeserializeSeed<'de> for LevelsSeed<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for LevelsSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("levels")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<(), S::Error> {
        self.side.clear();
        while let Some(level) = list.next_element_seed(LevelSeed { raw: self.raw })? {
            self.side.push(level);
        }
        Ok(())
    }
}

/// `["0.0024","10"]`, with whatever may follow.
struct LevelSeed {
    raw: bool,
}

impl<'de> DeserializeSeed<'de> for LevelSeed {
    type Value = Level;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Level, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for LevelSeed {
    type Value = Level;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a price and an amount")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Level, S::Error> {
        let seed = NumberSeed { raw: self.raw };
        let price = list.next_element_seed(seed)?.ok_or_else(|| S::Error::invalid_length(0, &self))?;
        let amount = list.next_element_seed(seed)?.ok_or_else(|| S::Error::invalid_length(1, &self))?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Level { price, amount })
    }
}
