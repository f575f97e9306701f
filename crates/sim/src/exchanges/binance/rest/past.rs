//! Answers made of a deep past: candles and trades that are computed when they are asked for. `write` writes a row in the form
//! of the side that was asked.

use crate::clock::now_us;
use crate::deep::bars::Wanted;
use crate::deep::past::Past;
use crate::market::history::{AggRow, Bar, BarSpan, TradeRow};
use crate::rest::Answer;
use crate::rest::params::{ApiError, Params};

/// Bytes of a candle's row, about.
const ROW_BYTES: usize = 170;

/// Candles, as `klines` has them.
pub(super) fn klines(past: &Past, wanted: Wanted, write: impl Fn(&mut Vec<u8>, BarSpan, &Bar)) -> Answer {
    let mut body = Vec::with_capacity(wanted.limit * ROW_BYTES + 2);
    body.push(b'[');
    past.bars(Wanted { now_us: now_us() - past.late_us, ..wanted }, |span, bar| {
        if body.len() > 1 {
            body.push(b',');
        }
        write(&mut body, span, bar);
    });
    body.push(b']');
    Answer { body, ..Answer::default() }
}

/// The index of the trade or order with this id, counted from the first.
fn index_of(past: &Past, id: i64) -> i64 {
    id.saturating_sub(past.first_id.cast_signed()).max(0)
}

/// Trades from an id on, or the newest; none older than `oldest_us`.
pub(super) fn trades(
    past: &Past,
    (from_id, oldest_us): (Option<i64>, i64),
    limit: usize,
    write: impl Fn(&mut Vec<u8>, &TradeRow),
) -> Answer {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let count = past.count_until(now_us());
    let begin = from_id.map_or_else(|| (count - limit).max(0), |id| index_of(past, id));
    let begin = begin.max(past.count_until(oldest_us.saturating_sub(1)));
    let mut page = Page::new();
    past.trades(begin, count.min(begin.saturating_add(limit)), |row| {
        write(page.next(row.id), &row);
        true
    });
    page.answer()
}

/// Which aggregated trades are wanted, microseconds, ends inclusive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AggWanted {
    pub from_id: Option<i64>,
    pub from: Option<i64>,
    pub to: Option<i64>,
    /// None before this are given.
    pub oldest: i64,
}

impl AggWanted {
    /// What a request asks for.
    pub(crate) fn read(params: &mut Params) -> Result<Self, ApiError> {
        let from_id = params.integer("fromId")?;
        let (from, to) = (params.time("startTime")?, params.time("endTime")?);
        if from_id.is_some() && (from.is_some() || to.is_some()) {
            return Err(ApiError::new(-1128, "Combination of optional parameters invalid."));
        }
        Ok(Self { from_id, from, to, oldest: 0 })
    }

    /// The last microsecond: times are inclusive to the unit they were sent in, and a millisecond holds a thousand of ours.
    pub(super) fn until(&self) -> Option<i64> {
        self.to.map(|to| to.saturating_add(999))
    }
}

/// Aggregated trades from an id or a time on, or the newest.
pub(super) fn aggregated(past: &Past, wanted: &AggWanted, limit: usize, write: impl Fn(&mut Vec<u8>, &AggRow)) -> Answer {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let orders_before = |count: i64| if count > 0 { past.order_with(count - 1) + 1 } else { 0 };
    let since = |from: i64| orders_before(past.count_until(from - 1));
    let orders = orders_before(past.count_until(wanted.until().map_or(now_us(), |until| now_us().min(until))));
    let begin = match (wanted.from_id, wanted.from) {
        (Some(id), _) => index_of(past, id),
        (None, Some(from)) => since(from),
        (None, None) => (orders - limit).max(0),
    };
    let begin = begin.max(since(wanted.oldest));
    let mut page = Page::new();
    past.orders(begin, orders.min(begin.saturating_add(limit)), |row| write(page.next(row.id), &row));
    page.answer()
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
