//! Candles as the business socket sends them: the one that grows each second or so, and each once more when it is closed.
//!
//! `{"arg":{"channel":"candle1m","instId":"BTC-USDT"},"data":[["1597026383085","8533.02","8553.74","8527.17","8548.26","45247",
//! "529.5858061","5529.5858061","1"]]}`: open time, open, high, low, close, volume, volume in the currency, in the quote currency, whether
//! it is closed. The volume of a swap is in contracts, and the next in base units. They are few: nothing is gained by reading them as
//! fast as trades.

use std::borrow::Cow;

use dccd_model::{Candle, Decimal, Flags, Span, UnixNanos};
use serde::Deserialize;

use super::{parse, subscribe};
use crate::FrameError;
use crate::candles;

/// The exchange's name of the channel of candles of one minute.
pub(super) const CHANNEL: &str = "candle1m";

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    arg: Argument<'a>,
    #[serde(borrow)]
    data: Vec<Vec<Cow<'a, str>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow)]
    inst_id: Cow<'a, str>,
}

/// Reads a frame of candles of one minute, with their instrument; `None` where it is something else.
pub(super) fn read(frame: &[u8], ts_recv: UnixNanos) -> Option<Result<(String, Vec<Candle>), FrameError>> {
    const DATA: &[u8] = b"\"data\"";
    let has = |part: &[u8]| frame.windows(part.len()).any(|window| window == part);
    if !has(CHANNEL.as_bytes()) || !has(DATA) {
        return None;
    }
    let message: Message<'_> = match serde_json::from_slice(frame) {
        Ok(message) => message,
        Err(error) => return Some(Err(FrameError::Json(error))),
    };
    let id = message.arg.inst_id.as_ref();
    if message.arg.channel != CHANNEL {
        return None;
    }
    let candles: Result<Vec<Candle>, FrameError> = message.data.iter().map(|row| candle(row, id, ts_recv)).collect();
    Some(candles.map(|candles| (id.to_owned(), candles)))
}

fn candle(row: &[Cow<'_, str>], id: &str, ts_recv: UnixNanos) -> Result<Candle, FrameError> {
    let columns = if id.ends_with(subscribe::SWAP) { SWAP_COLUMNS } else { SPOT_COLUMNS };
    let of_row = of_row(row, Span::ONE_MINUTE, columns, ts_recv);
    candles::live(of_row.map_err(|field| FrameError::OutOfRange { event: CHANNEL, field })?, CHANNEL)
}

/// Where the amount and that of the quote currency stand in a row.
pub(super) type Columns = (usize, usize);

/// `vol` in base units, `volCcyQuote`.
pub(super) const SPOT_COLUMNS: Columns = (5, 7);
/// `vol` is in contracts, `volCcy` in base units.
pub(super) const SWAP_COLUMNS: Columns = (6, 7);

/// The candle of a row, of the socket or over REST, [closed](Flags::CLOSED) where it says so; an error names the field.
pub(super) fn of_row(
    row: &[Cow<'_, str>],
    span: Span,
    columns: Columns,
    ts_recv: UnixNanos,
) -> Result<Candle, &'static str> {
    let text = |at: usize, field| row.get(at).map(AsRef::as_ref).ok_or(field);
    let number = |at, field| Decimal::parse(text(at, field)?.as_bytes()).map_err(|_| field);
    Ok(Candle {
        ts_open: parse::millis(text(0, "ts")?).ok_or("ts")?,
        ts_recv,
        open: number(1, "o")?,
        high: number(2, "h")?,
        low: number(3, "l")?,
        close: number(4, "c")?,
        volume: number(columns.0, "volume")?,
        quote_volume: number(columns.1, "volCcyQuote")?,
        trades: 0,
        span,
        flags: if text(8, "confirm")? == "1" { Flags::CLOSED } else { Flags::NONE },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: &str = r#"{"arg":{"channel":"candle1m","instId":"BTC-USDT"},"data":[["1597026360000","8533.02","8553.74","8527.17","8548.26","45247","529.5858061","5529.5858061","1"]]}"#;

    #[test]
    fn volumes_are_in_base_units_of_spot_and_of_swaps() {
        for (id, volume) in [("BTC-USDT", "45247"), ("BTC-USDT-SWAP", "529.5858061")] {
            let frame = FRAME.replace("BTC-USDT", id);
            let (symbol, candles) = read(frame.as_bytes(), UnixNanos(7)).unwrap().unwrap();
            let candle = candles[0];
            assert_eq!((symbol.as_str(), candle.volume.to_string().as_str()), (id, volume));
            assert_eq!((candle.quote_volume.to_string().as_str(), candle.flags), ("5529.5858061", Flags::CLOSED));
        }
    }

    #[test]
    fn what_is_no_candle_of_a_minute_is_none_and_one_that_cant_be_is_an_error() {
        let ack = r#"{"id":"7","event":"subscribe","arg":{"channel":"candle1m","instId":"BTC-USDT"},"connId":"a4d3ae55"}"#;
        for other in [ack.to_owned(), FRAME.replace("candle1m", "candle5m")] {
            assert!(read(other.as_bytes(), UnixNanos(7)).is_none(), "{other}");
        }
        for (from, to) in [("8553.74", "8530.0"), (r#","1"]"#, "]"), ("1597026360000", "1597026360001")] {
            assert!(read(FRAME.replace(from, to).as_bytes(), UnixNanos(7)).unwrap().is_err(), "{to}");
        }
    }
}
