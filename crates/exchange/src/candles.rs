//! Whether the candles that an exchange sent can be, and their order; the same for all exchanges.

use dccd_model::{Candle, Grid};

use crate::{FrameError, HistoryError};

/// What the answer is called in errors.
pub(crate) const SUBJECT: &str = "candles";

/// Checks the candles of one answer, which stand in its order, and puts them into the order of time: some exchanges send
/// the newest first. Two of the same time stay as they are, one beside the other, for the pager to judge.
pub(crate) fn check(exchange: &'static str, candles: &mut [Candle]) -> Result<(), HistoryError> {
    for (row, candle) in candles.iter().enumerate() {
        if let Some(field) = impossible(candle) {
            return Err(HistoryError::BadRow { exchange, subject: SUBJECT, row, field });
        }
    }
    if !candles.is_sorted_by_key(|candle| candle.ts_open) {
        candles.sort_by_key(|candle| candle.ts_open);
    }
    Ok(())
}

/// A candle that came live in a message of this name, if it can be.
pub(crate) fn live(candle: Candle, event: &'static str) -> Result<Candle, FrameError> {
    let is_aligned = Grid::new(candle.span).is_open(candle.ts_open);
    match impossible(&candle).or((!is_aligned).then_some("open time")) {
        Some(field) => Err(FrameError::OutOfRange { event, field }),
        None => Ok(candle),
    }
}

/// The field that can't be as it is.
fn impossible(candle: &Candle) -> Option<&'static str> {
    let Candle { open, high, low, close, volume, quote_volume, .. } = candle;
    if low.mantissa < 0 {
        Some("low")
    } else if volume.mantissa < 0 {
        Some("volume")
    } else if quote_volume.mantissa < 0 {
        Some("quote volume")
    } else if high < low {
        Some("high")
    } else if open < low || open > high {
        Some("open")
    } else if close < low || close > high {
        Some("close")
    } else if candle.ts_open.0 < 0 {
        Some("open time")
    } else {
        None
    }
}
