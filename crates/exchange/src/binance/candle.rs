//! Candles as the socket sends them: the one that grows every second or two, and each once more when it is closed.
//!
//! `{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":..,"s":"BTCUSDT","k":{"t":1672515780000,"T":1672515839999,"s":"BTCUSDT","i":"1m",
//! "f":100,"L":200,"o":"0.0010","c":"0.0020","h":"0.0025","l":"0.0015","v":"1000","n":100,"x":false,"q":"1.0000","V":"500","Q":"0.500",
//! "B":"123456"}}}`, with or without the wrapper. They are few: nothing is gained by reading them as fast as trades.

use std::borrow::Cow;

use dccd_model::{Candle, Flags, Span, UnixNanos};
use serde::Deserialize;

use super::parse::time;
use crate::FrameError;
use crate::candles;
use crate::wire::WireNumber;

#[derive(Deserialize)]
struct Wrapper<'a> {
    #[serde(borrow)]
    data: Event<'a>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    e: Cow<'a, str>,
    #[serde(borrow)]
    s: Cow<'a, str>,
    #[serde(borrow)]
    k: Kline<'a>,
}

#[derive(Deserialize)]
struct Kline<'a> {
    t: i64,
    #[serde(borrow)]
    i: Cow<'a, str>,
    o: WireNumber,
    c: WireNumber,
    h: WireNumber,
    l: WireNumber,
    v: WireNumber,
    n: u64,
    x: bool,
    q: WireNumber,
}

/// Reads a frame that is a candle of one minute, with its symbol; `None` where it is something else.
pub(super) fn read(frame: &[u8], ts_recv: UnixNanos) -> Option<Result<(Cow<'_, str>, Candle), FrameError>> {
    if !frame.windows(NAME.len()).any(|window| window == NAME) {
        return None;
    }
    let event = match serde_json::from_slice::<Wrapper<'_>>(frame) {
        Ok(wrapper) => wrapper.data,
        Err(_) => match serde_json::from_slice::<Event<'_>>(frame) {
            Ok(event) => event,
            Err(error) => return Some(Err(FrameError::Json(error))),
        },
    };
    if event.e != "kline" || event.k.i != "1m" {
        return None;
    }
    let Kline { t, o, c, h, l, v, n, x, q, .. } = event.k;
    let candle = Candle {
        ts_open: time(t),
        ts_recv,
        open: o.0,
        high: h.0,
        low: l.0,
        close: c.0,
        volume: v.0,
        quote_volume: q.0,
        trades: n,
        span: Span::ONE_MINUTE,
        flags: if x { Flags::CLOSED } else { Flags::NONE },
    };
    Some(candles::live(candle, "kline").map(|candle| (event.s, candle)))
}

const NAME: &[u8] = b"\"kline\"";

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: &str = r#"{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":1672515782136,"s":"BTCUSDT","k":{"t":1672515780000,"T":1672515839999,"s":"BTCUSDT","i":"1m","f":100,"L":200,"o":"0.0015","c":"0.0020","h":"0.0025","l":"0.0010","v":"1000","n":100,"x":true,"q":"1.5000","V":"500","Q":"0.500","B":"0"}}}"#;

    #[test]
    fn a_candle_is_read_with_and_without_the_wrapper_and_in_either_unit_of_time() {
        let inner = FRAME.split_once(r#""data":"#).unwrap().1.strip_suffix('}').unwrap();
        let micros = FRAME.replace("1672515780000,", "1672515780000000,");
        for frame in [FRAME, inner, &micros] {
            let (symbol, candle) = read(frame.as_bytes(), UnixNanos(7)).unwrap().unwrap();
            assert_eq!((symbol.as_ref(), candle.ts_open), ("BTCUSDT", UnixNanos::from_millis(1_672_515_780_000)));
            let prices = [candle.open, candle.high, candle.low, candle.close, candle.volume, candle.quote_volume];
            assert_eq!(prices.map(|p| p.to_string()), ["0.0015", "0.0025", "0.0010", "0.0020", "1000", "1.5000"]);
            assert_eq!((candle.trades, candle.flags, candle.span), (100, Flags::CLOSED, Span::ONE_MINUTE));
        }
    }

    #[test]
    fn what_is_no_candle_of_a_minute_is_none_and_one_that_cant_be_is_an_error() {
        for other in [FRAME.replace("\"1m\"", "\"5m\""), FRAME.replace("\"kline\"", "\"trade\""), "{}".to_owned()] {
            assert!(read(other.as_bytes(), UnixNanos(7)).is_none(), "{other}");
        }
        for bad in [
            FRAME.replace(r#""h":"0.0025""#, r#""h":"0.0012""#),
            FRAME.replace(r#""x":true,"#, ""),
            FRAME.replace(r#""v":"1000""#, r#""v":"-1""#),
        ] {
            assert!(read(bad.as_bytes(), UnixNanos(7)).unwrap().is_err(), "{bad}");
        }
    }
}
