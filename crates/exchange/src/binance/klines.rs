//! A page of candles, from its bytes to [`Candle`]s in one pass: nothing is allocated but room for the candles themselves.
//!
//! `[[1499040000000,"0.01634790","0.80000000","0.01575800","0.01577100","148976.11427815",1499644799999,"2434.19055334",308,
//! "1756.87402397","28.46694368","0"],..]`: open time, open, high, low, close, volume, close time, quote volume, trades, what
//! takers bought in base and in quote, unused. What may come to follow is skipped.

use std::fmt;

use dccd_model::{Candle, Decimal, Flags, Span, UnixNanos};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};

use super::parse::time;
use crate::wire::{DigitsSeed, NumberSeed};

/// Appends the page's candles in its order.
pub(super) fn read(body: &[u8], span: Span, ts_recv: UnixNanos, out: &mut Vec<Candle>) -> Result<(), serde_json::Error> {
    let begin = out.len();
    // Numbers without quotes, which this exchange doesn't send, are read by their tokens the second time.
    page(body, PageSeed { out, row: RowSeed { span, ts_recv, numbers: DigitsSeed } }).or_else(|_| {
        out.truncate(begin);
        page(body, PageSeed { out, row: RowSeed { span, ts_recv, numbers: NumberSeed { raw: true } } })
    })
}

/// How a row's decimals are read.
trait Numbers: for<'de> DeserializeSeed<'de, Value = Decimal> + Copy {}

impl Numbers for DigitsSeed {}
impl Numbers for NumberSeed {}

fn page<N: Numbers>(body: &[u8], seed: PageSeed<'_, N>) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    seed.deserialize(&mut deserializer)?;
    deserializer.end()
}

struct PageSeed<'o, N> {
    out: &'o mut Vec<Candle>,
    row: RowSeed<N>,
}

impl<'de, N: Numbers> DeserializeSeed<'de> for PageSeed<'_, N> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, N: Numbers> Visitor<'de> for PageSeed<'_, N> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("candles")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<(), S::Error> {
        while let Some(candle) = list.next_element_seed(self.row)? {
            self.out.push(candle);
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct RowSeed<N> {
    span: Span,
    ts_recv: UnixNanos,
    numbers: N,
}

impl<'de, N: Numbers> DeserializeSeed<'de> for RowSeed<N> {
    type Value = Candle;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Candle, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, N: Numbers> Visitor<'de> for RowSeed<N> {
    type Value = Candle;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a candle of at least nine fields")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Candle, S::Error> {
        let short = |at| S::Error::invalid_length(at, &self);
        let numbers = self.numbers;
        let ts_open = time(list.next_element()?.ok_or_else(|| short(0))?);
        let open = list.next_element_seed(numbers)?.ok_or_else(|| short(1))?;
        let high = list.next_element_seed(numbers)?.ok_or_else(|| short(2))?;
        let low = list.next_element_seed(numbers)?.ok_or_else(|| short(3))?;
        let close = list.next_element_seed(numbers)?.ok_or_else(|| short(4))?;
        let volume = list.next_element_seed(numbers)?.ok_or_else(|| short(5))?;
        list.next_element::<IgnoredAny>()?.ok_or_else(|| short(6))?;
        let quote_volume = list.next_element_seed(numbers)?.ok_or_else(|| short(7))?;
        let trades = list.next_element()?.ok_or_else(|| short(8))?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Candle {
            ts_open,
            ts_recv: self.ts_recv,
            open,
            high,
            low,
            close,
            volume,
            quote_volume,
            trades,
            span: self.span,
            flags: Flags::NONE,
        })
    }
}
