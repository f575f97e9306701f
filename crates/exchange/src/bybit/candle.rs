//! Candles as the sockets send them: the one that grows each second or so, and each once more when it is closed, on linear sockets together
//! with the one after it.
//!
//! `{"topic":"kline.1.BTCUSDT","type":"snapshot","ts":..,"data":[{"start":1672324800000,"end":1672324859999,"interval":"1","open":"16649.5",
//! "close":"16677","high":"16677","low":"16608","volume":"2.081","turnover":"34666.4005","confirm":false,"timestamp":1672324988882}]}`. They
//! are few: nothing is gained by reading them as fast as trades.

use std::borrow::Cow;

use dccd_model::{Candle, Flags, Span, UnixNanos};
use serde::Deserialize;

use crate::FrameError;
use crate::candles;
use crate::wire::WireNumber;

/// What the topics of candles of one minute begin with.
pub(super) const TOPIC: &str = "kline.1.";

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    data: Vec<Kline>,
}

#[derive(Deserialize)]
struct Kline {
    start: i64,
    open: WireNumber,
    close: WireNumber,
    high: WireNumber,
    low: WireNumber,
    volume: WireNumber,
    turnover: WireNumber,
    confirm: bool,
}

/// Reads a frame of candles of one minute, with their symbol; `None` where it is something else.
pub(super) fn read(frame: &[u8], ts_recv: UnixNanos) -> Option<Result<(String, Vec<Candle>), FrameError>> {
    if !frame.windows(TOPIC.len()).any(|window| window == TOPIC.as_bytes()) {
        return None;
    }
    let message: Message<'_> = match serde_json::from_slice(frame) {
        Ok(message) => message,
        Err(error) => return Some(Err(FrameError::Json(error))),
    };
    let symbol = message.topic.strip_prefix(TOPIC)?.to_owned();
    let candle = |kline: Kline| {
        let candle = Candle {
            ts_open: UnixNanos::from_millis(kline.start),
            ts_recv,
            open: kline.open.0,
            high: kline.high.0,
            low: kline.low.0,
            close: kline.close.0,
            volume: kline.volume.0,
            quote_volume: kline.turnover.0,
            trades: 0,
            span: Span::ONE_MINUTE,
            flags: if kline.confirm { Flags::CLOSED } else { Flags::NONE },
        };
        candles::live(candle, "kline")
    };
    let candles: Result<Vec<Candle>, FrameError> = message.data.into_iter().map(candle).collect();
    Some(candles.map(|candles| (symbol, candles)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: &str = r#"{"topic":"kline.1.BTCUSDT","data":[{"start":1672324800000,"end":1672324859999,"interval":"1","open":"16649.5","close":"16677","high":"16677","low":"16608","volume":"2.081","turnover":"34666.4005","confirm":true,"timestamp":1672324860001},{"start":1672324860000,"end":1672324919999,"interval":"1","open":"16677","close":"16677","high":"16677","low":"16677","volume":"0","turnover":"0","confirm":false,"timestamp":1672324860001}],"ts":1672324860001,"type":"snapshot"}"#;

    #[test]
    fn a_closed_candle_comes_with_the_one_after_it() {
        let (symbol, candles) = read(FRAME.as_bytes(), UnixNanos(7)).unwrap().unwrap();
        let seen: Vec<_> = candles.iter().map(|c| (c.ts_open.0 / 1_000_000_000, c.close.to_string(), c.flags)).collect();
        let expected =
            [(1_672_324_800, "16677".to_owned(), Flags::CLOSED), (1_672_324_860, "16677".to_owned(), Flags::NONE)];
        assert_eq!((symbol.as_str(), seen), ("BTCUSDT", expected.to_vec()));
        assert_eq!(
            (candles[0].volume.to_string(), candles[0].quote_volume.to_string()),
            ("2.081".into(), "34666.4005".into())
        );
    }

    #[test]
    fn what_is_no_candle_of_a_minute_is_none_and_one_that_cant_be_is_an_error() {
        assert!(read(FRAME.replace("kline.1.", "kline.15.").as_bytes(), UnixNanos(7)).is_none());
        for (from, to) in
            [(r#""low":"16608""#, r#""low":"16650""#), (r#""confirm":true,"#, ""), ("1672324800000", "1672324800001")]
        {
            assert!(read(FRAME.replace(from, to).as_bytes(), UnixNanos(7)).unwrap().is_err(), "{to}");
        }
    }
}
