//! Answers made of a deep past: candles and trades that are computed when they are asked for.

use crate::clock::now_us;
use crate::deep::bars::Wanted;
use crate::deep::past::Past;
use crate::exchanges::binance::render::{self, TimeUnit};
use crate::market::interval::Interval;
use crate::rest::Answer;
use crate::rest::params::{ApiError, Params};

/// Bytes of a candle's row, about.
const ROW_BYTES: usize = 170;

/// Candles, as `klines` has them.
pub(super) fn klines(
    past: &Past,
    interval: Interval,
    from_us: Option<i64>,
    to_us: i64,
    limit: usize,
    unit: TimeUnit,
) -> Answer {
    let mut body = Vec::with_capacity(limit * ROW_BYTES + 2);
    body.push(b'[');
    past.bars(Wanted { interval, from_us, to_us, now_us: now_us() - past.late_us, limit }, |span, bar| {
        if body.len() > 1 {
            body.push(b',');
        }
        render::kline_row(&mut body, span, bar, unit);
    });
    body.push(b']');
    Answer { body, ..Answer::default() }
}

/// The index of the trade or order with this id, counted from the first.
fn index_of(past: &Past, id: i64) -> i64 {
    id.saturating_sub(past.first_id.cast_signed()).max(0)
}

/// Trades from an id on, or the newest.
pub(super) fn trades(past: &Past, from_id: Option<i64>, limit: usize, unit: TimeUnit) -> Answer {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let count = past.count_until(now_us());
    let begin = from_id.map_or_else(|| (count - limit).max(0), |id| index_of(past, id));
    let mut page = Page::new();
    past.trades(begin, count.min(begin.saturating_add(limit)), |row| {
        render::trade_row(page.next(row.id), &row, unit);
        true
    });
    page.answer()
}

/// Aggregated trades from an id or a time on, or the newest.
pub(super) fn aggregated(past: &Past, params: &mut Params, limit: usize, unit: TimeUnit) -> Result<Answer, ApiError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let from_id = params.integer("fromId")?;
    let (from, to) = (params.time("startTime")?, params.time("endTime")?);
    if from_id.is_some() && (from.is_some() || to.is_some()) {
        return Err(ApiError::new(-1128, "Combination of optional parameters invalid."));
    }
    // Times are inclusive to the unit they were sent in; a millisecond holds a thousand of ours.
    let until_us = to.map_or(now_us(), |to| now_us().min(to.saturating_add(999)));
    let count = past.count_until(until_us);
    let orders = if count > 0 { past.order_with(count - 1) + 1 } else { 0 };
    let begin = match (from_id, from) {
        (Some(id), _) => index_of(past, id),
        (None, Some(from)) => {
            let before = past.count_until(from - 1);
            if before > 0 { past.order_with(before - 1) + 1 } else { 0 }
        }
        (None, None) => (orders - limit).max(0),
    };
    let mut page = Page::new();
    past.orders(begin, orders.min(begin.saturating_add(limit)), |row| {
        render::agg_row(page.next(row.id), &row, unit);
    });
    Ok(page.answer())
}

/// A JSON list of rows with ids.
struct Page {
    body: Vec<u8>,
    ids: Option<(u64, u64)>,
}

impl Page {
    fn new() -> Self {
        Self { body: vec![b'['], ids: None }
    }

    /// Where the row with this id goes.
    fn next(&mut self, id: u64) -> &mut Vec<u8> {
        if self.ids.is_some() {
            self.body.push(b',');
        }
        self.ids = Some((self.ids.map_or(id, |ids| ids.0), id));
        &mut self.body
    }

    fn answer(mut self) -> Answer {
        self.body.push(b']');
        Answer { body: self.body, ids: self.ids, ..Answer::default() }
    }
}
