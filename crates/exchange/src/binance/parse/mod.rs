//! Wire to model: a frame's bytes become a [`Message`]. Pure, never panics, allocates nothing for a message of the usual shape.
//!
//! Keys may come in any order, with or without the combined-stream wrapper; unknown keys are skipped. Numbers are read from
//! their own digits, quoted or not. What nearly every message looks like is read straight from its bytes (`usual`); whatever is
//! different in anything is left to serde_json (`fields`), which also says what is wrong with it: one pass reads quoted digits and whole
//! numbers; only when an unquoted fraction comes along (which serde_json would hand over as a double) the message is read again by
//! its raw tokens.
//!
//! Times are milliseconds or microseconds, as the connection asked for; which of them is told by the magnitude: from 1e14 on
//! they are microseconds (1e14 ms is the year 5138, 1e14 µs was 1973).

mod fields;
#[cfg(test)]
mod tests;
mod usual;

use std::borrow::Cow;

use dccd_model::{Side, UnixNanos};
use serde::de::{DeserializeSeed, Error as _, Unexpected};
use serde_json::value::RawValue;

use super::messages::{DepthEvent, Message, QuoteEvent, TradeEvent};
use crate::FrameError;
use crate::integrity::IdSpace;
use crate::session::Levels;
pub(super) use fields::LevelsSeed;
use fields::{Fields, FieldsSeed, Mixed};

/// Reads one frame. The levels of a `depthUpdate` are left in `levels`.
pub(super) fn message<'a>(frame: &'a [u8], levels: &mut Levels) -> Result<Message<'a>, FrameError> {
    match usual::fields(frame, levels) {
        Some(fields) => assemble(fields, levels),
        None => thorough(frame, levels),
    }
}

/// Reads a frame of which anything is unusual, or wrong.
fn thorough<'a>(frame: &'a [u8], levels: &mut Levels) -> Result<Message<'a>, FrameError> {
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
    let channel = rest.split('@').next().filter(|c| ["trade", "aggTrade", "bookTicker", "depth", "kline_1m"].contains(c))?;
    Some((id, channel))
}

const OURS: [&str; 5] = ["trade", "aggTrade", "depthUpdate", "bookTicker", "serverShutdown"];

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
        previous: f.previous,
        ts_venue: time(f.trade_time.or(f.event_time).ok_or(missing("E"))?),
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
