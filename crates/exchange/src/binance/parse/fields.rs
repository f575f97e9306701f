//! The fields of all messages, read in one pass with serde's visitors: no allocation but for escaped text.

use std::borrow::Cow;
use std::fmt;

use dccd_model::Decimal;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::session::{Level, Levels};
use crate::wire::{NumberSeed, TextSeed, decimal, number};

/// The union of the fields of all messages; one letter has one place whatever it means there.
#[derive(Default)]
pub(super) struct Fields<'a> {
    pub(super) event: Option<Cow<'a, str>>,
    pub(super) stream: Option<Cow<'a, str>>,
    pub(super) event_time: Option<i64>,
    pub(super) trade_time: Option<i64>,
    pub(super) symbol: Option<Cow<'a, str>>,
    pub(super) id: Option<u64>,
    pub(super) price: Option<Decimal>,
    pub(super) amount: Option<Decimal>,
    pub(super) buyer_is_maker: Option<bool>,
    pub(super) first: Option<u64>,
    pub(super) last: Option<u64>,
    pub(super) previous: Option<u64>,
    pub(super) ask: Mixed,
    pub(super) bid: Mixed,
    pub(super) ask_amount: Option<Decimal>,
    pub(super) bid_amount: Option<Decimal>,
    pub(super) request: Option<u64>,
    pub(super) has_result: bool,
    pub(super) code: Option<i64>,
    pub(super) message: Option<Cow<'a, str>>,
}

/// `a` and `b` are ids, prices or lists of levels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Mixed {
    #[default]
    Absent,
    Integer(u64),
    Number(Decimal),
    Levels,
}

impl Mixed {
    pub(super) fn number(self) -> Option<Decimal> {
        match self {
            Self::Number(number) => Some(number),
            Self::Integer(integer) => Some(Decimal::new(i64::try_from(integer).ok()?, 0)),
            _ => None,
        }
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
    Previous,
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
            b"pu" => Key::Previous,
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
pub(super) struct FieldsSeed<'f, 'a> {
    pub(super) fields: &'f mut Fields<'a>,
    pub(super) levels: &'f mut Levels,
    /// Read raw tokens, see [`NumberSeed::raw`].
    pub(super) raw: bool,
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
                Key::Previous => f.previous = Some(map.next_value()?),
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
        decimal(text).map(Mixed::Number)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, list: S) -> Result<Mixed, S::Error> {
        LevelsSeed { side: self.side, raw: self.raw }.visit_seq(list)?;
        Ok(Mixed::Levels)
    }
}

/// `[["0.0024","10"],..]`, replacing what is in the vector.
pub(in crate::binance) struct LevelsSeed<'l> {
    pub(in crate::binance) side: &'l mut Vec<Level>,
    pub(in crate::binance) raw: bool,
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
