//! REST: the rows of an answer become candles or trades in one pass. Pure, never panics.
//!
//! `{"error":[],"result":{"XXBTZUSD":[[..],..],"last":..}}`; keys may come in any order. Times are read from their digits.

use std::borrow::Cow;
use std::fmt;

use dccd_model::{Candle, Decimal, Flags, Side, Span, Trade, TradeId, UnixNanos};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::kraken::messages::Reply;
use crate::wire::{NumberSeed, TextSeed, number};

/// How one row becomes a record.
pub(in crate::kraken) trait Row: Copy {
    /// The record.
    type Record;
    /// What a row is, for errors.
    const EXPECTED: &'static str;
    /// Reads the fields of one row.
    fn read<'de, S: SeqAccess<'de>>(self, fields: &mut S) -> Result<Self::Record, S::Error>;
}

/// Reads an answer and appends the records of its rows, in their order.
pub(in crate::kraken) fn reply<'a, R: Row>(
    body: &'a [u8],
    row: R,
    out: &mut Vec<R::Record>,
) -> Result<Reply<'a>, serde_json::Error> {
    let mut reply = Reply::default();
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    EnvelopeSeed { reply: &mut reply, row, out }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(reply)
}

/// Seconds with a fraction, in nanoseconds; what is below is cut off. `None`: before the epoch, or too late.
pub(in crate::kraken) fn nanos(seconds: Decimal) -> Option<UnixNanos> {
    if seconds.mantissa < 0 {
        return None;
    }
    let steps = i32::from(seconds.exponent) + 9;
    let power = 10i64.checked_pow(steps.unsigned_abs());
    let nanos = match (steps >= 0, power) {
        (true, Some(power)) => seconds.mantissa.checked_mul(power)?,
        (true, None) if seconds.mantissa == 0 => 0,
        (true, None) => return None,
        (false, Some(power)) => seconds.mantissa / power,
        (false, None) => 0,
    };
    Some(UnixNanos(nanos))
}

/// `[1688671200,"30306.1","30306.2","30305.7","30305.7","30306.1","3.39243896",23]`: open time, open, high, low, close,
/// average price, volume, trades.
#[derive(Clone, Copy)]
pub(in crate::kraken) struct CandleRow {
    pub(in crate::kraken) span: Span,
    pub(in crate::kraken) ts_recv: UnixNanos,
}

impl Row for CandleRow {
    type Record = Candle;
    const EXPECTED: &'static str = "a candle of at least eight fields";

    fn read<'de, S: SeqAccess<'de>>(self, fields: &mut S) -> Result<Candle, S::Error> {
        let short = |at| S::Error::invalid_length(at, &Self::EXPECTED);
        let numbers = NumberSeed { raw: false };
        let ts_open = UnixNanos::from_secs(fields.next_element()?.ok_or_else(|| short(0))?);
        let open = fields.next_element_seed(numbers)?.ok_or_else(|| short(1))?;
        let high = fields.next_element_seed(numbers)?.ok_or_else(|| short(2))?;
        let low = fields.next_element_seed(numbers)?.ok_or_else(|| short(3))?;
        let close = fields.next_element_seed(numbers)?.ok_or_else(|| short(4))?;
        fields.next_element::<IgnoredAny>()?.ok_or_else(|| short(5))?;
        let volume = fields.next_element_seed(numbers)?.ok_or_else(|| short(6))?;
        let trades = fields.next_element()?.ok_or_else(|| short(7))?;
        Ok(Candle {
            ts_open,
            ts_recv: self.ts_recv,
            open,
            high,
            low,
            close,
            volume,
            quote_volume: Decimal::ZERO,
            trades,
            span: self.span,
            flags: Flags::NONE,
        })
    }
}

/// `["105433.60000","0.00027625",1762795433.9717445,"b","l","",10218208]`: price, amount, time, side of the taker, kind of
/// its order, anything else, id.
#[derive(Clone, Copy)]
pub(in crate::kraken) struct TradeRow {
    pub(in crate::kraken) ts_recv: UnixNanos,
}

impl Row for TradeRow {
    type Record = Trade;
    const EXPECTED: &'static str = "a trade of at least seven fields";

    fn read<'de, S: SeqAccess<'de>>(self, fields: &mut S) -> Result<Trade, S::Error> {
        let short = |at| S::Error::invalid_length(at, &Self::EXPECTED);
        let numbers = NumberSeed { raw: false };
        let price = fields.next_element_seed(numbers)?.ok_or_else(|| short(0))?;
        let amount = fields.next_element_seed(numbers)?.ok_or_else(|| short(1))?;
        let time: &RawValue = fields.next_element()?.ok_or_else(|| short(2))?;
        let ts_venue = nanos(number(time).map_err(S::Error::custom)?)
            .ok_or_else(|| S::Error::custom(format_args!("{time} is no time in seconds since 1970")))?;
        let SideWord(side) = fields.next_element()?.ok_or_else(|| short(3))?;
        fields.next_element::<IgnoredAny>()?.ok_or_else(|| short(4))?;
        fields.next_element::<IgnoredAny>()?.ok_or_else(|| short(5))?;
        let id: u64 = fields.next_element()?.ok_or_else(|| short(6))?;
        let (id, flags) = (TradeId(u128::from(id)), Flags::NONE);
        Ok(Trade { ts_venue, ts_recv: self.ts_recv, price, amount, id, side, flags, epoch: 0 })
    }
}

/// `b` or `s`.
struct SideWord(Side);

impl<'de> Deserialize<'de> for SideWord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = TextSeed.deserialize(deserializer)?;
        Ok(Self(match word.as_ref() {
            "b" => Side::Buy,
            "s" => Side::Sell,
            _ => Side::Unknown,
        }))
    }
}

/// The whole answer.
struct EnvelopeSeed<'r, 'a, R: Row> {
    reply: &'r mut Reply<'a>,
    row: R,
    out: &'r mut Vec<R::Record>,
}

impl<'de, R: Row> DeserializeSeed<'de> for EnvelopeSeed<'_, 'de, R> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, R: Row> Visitor<'de> for EnvelopeSeed<'_, 'de, R> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an answer with \"error\" and \"result\"")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            match key.as_ref() {
                "error" => self.reply.errors = map.next_value()?,
                "result" => map.next_value_seed(ResultSeed { reply: self.reply, row: self.row, out: self.out })?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// What is in `result`: the rows under the market's name, and `last`.
struct ResultSeed<'r, 'a, R: Row> {
    reply: &'r mut Reply<'a>,
    row: R,
    out: &'r mut Vec<R::Record>,
}

impl<'de, R: Row> DeserializeSeed<'de> for ResultSeed<'_, 'de, R> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, R: Row> Visitor<'de> for ResultSeed<'_, 'de, R> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rows of one market, and \"last\"")
    }

    /// `"result":null` beside an error.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            match key.as_ref() {
                "last" => self.reply.last = Some(map.next_value::<LastMark>()?.0),
                market if self.reply.has_rows => {
                    return Err(M::Error::custom(format_args!("rows of a second market, \"{market}\"")));
                }
                _ => {
                    map.next_value_seed(RowsSeed { row: self.row, out: &mut *self.out })?;
                    self.reply.has_rows = true;
                }
            }
        }
        Ok(())
    }
}

/// `last`, quoted or not.
struct LastMark(u64);

impl<'de> Deserialize<'de> for LastMark {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let token: &RawValue = Deserialize::deserialize(deserializer)?;
        let text = token.get();
        let digits = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
        digits.parse().map(Self).map_err(|_| D::Error::custom(format_args!("\"last\" is {text}, no whole number")))
    }
}

struct RowsSeed<'r, R: Row> {
    row: R,
    out: &'r mut Vec<R::Record>,
}

impl<'de, R: Row> DeserializeSeed<'de> for RowsSeed<'_, R> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, R: Row> Visitor<'de> for RowsSeed<'_, R> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rows")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<(), S::Error> {
        while let Some(record) = list.next_element_seed(RowSeed(self.row))? {
            self.out.push(record);
        }
        Ok(())
    }
}

struct RowSeed<R: Row>(R);

impl<'de, R: Row> DeserializeSeed<'de> for RowSeed<R> {
    type Value = R::Record;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<R::Record, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, R: Row> Visitor<'de> for RowSeed<R> {
    type Value = R::Record;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(R::EXPECTED)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut fields: S) -> Result<R::Record, S::Error> {
        let record = self.0.read(&mut fields)?;
        while fields.next_element::<IgnoredAny>()?.is_some() {}
        Ok(record)
    }
}
