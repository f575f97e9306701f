//! Candles of one stretch of time out of a year file and staged windows: ascending, each open time once, the newest answer first.
//!
//! A window is opened when the rows before it have been taken. Rows go through in slices as long as no other source has one
//! among them, which is almost always.

use std::cmp::Reverse;

use dccd_model::UnixNanos;

use super::stage::{StageRows, Window};
use crate::error::StoreError;
use crate::file::Rows;
use crate::rows::CandleRow;

/// Rows read of a window at once.
const CHUNK_ROWS: u32 = 4096;

/// Why merging ended early.
pub(crate) enum MergeError {
    /// The year file is damaged.
    Old(StoreError),
    /// Row groups that were taken over didn't come out the same.
    Head(StoreError),
    /// Anything else.
    Other(StoreError),
}

impl MergeError {
    pub(crate) fn into_store(self) -> StoreError {
        match self {
            Self::Old(error) | Self::Head(error) | Self::Other(error) => error,
        }
    }
}

enum Rest {
    /// A file of ours: each open time once.
    Old(Box<Rows<CandleRow>>),
    /// A file of another program: of rows of one time the last counts.
    Foreign(Box<Rows<CandleRow>>, Option<CandleRow>),
    Staged {
        window: Window,
        next: u32,
    },
}

struct Source {
    /// Grows with age: of two answers the one with the higher rank counts.
    rank: usize,
    rest: Rest,
    chunk: Vec<CandleRow>,
    taken: usize,
}

impl Source {
    fn rows(&self) -> &[CandleRow] {
        match &self.rest {
            Rest::Old(rows) => rows.decoded(),
            _ => &self.chunk[self.taken..],
        }
    }

    /// Takes rows off; `false` when none are left.
    fn take(&mut self, count: usize, stage: Option<&StageRows>) -> Result<bool, MergeError> {
        match &mut self.rest {
            Rest::Old(rows) => {
                rows.take_decoded(count);
                return rows.refill().map_err(old_error);
            }
            Rest::Foreign(rows, ahead) => {
                self.taken += count;
                if self.taken == self.chunk.len() {
                    (self.taken, *ahead) = (0, fill_foreign(rows, *ahead, &mut self.chunk).map_err(old_error)?);
                }
            }
            Rest::Staged { window, next } => {
                self.taken += count;
                if self.taken == self.chunk.len() && *next < window.rows {
                    let more = CHUNK_ROWS.min(window.rows - *next);
                    self.taken = 0;
                    self.chunk.clear();
                    if let Some(stage) = stage {
                        stage.read(window, *next, more, &mut self.chunk).map_err(MergeError::Other)?;
                    }
                    *next += more;
                }
            }
        }
        Ok(self.taken < self.chunk.len())
    }
}

fn old_error(error: StoreError) -> MergeError {
    if error.is_damage() && !error.is_foreign_form() { MergeError::Old(error) } else { MergeError::Other(error) }
}

/// The next rows of a file in which a time may stand more than once; returns the first row of the time after them.
fn fill_foreign(
    rows: &mut Rows<CandleRow>,
    ahead: Option<CandleRow>,
    chunk: &mut Vec<CandleRow>,
) -> Result<Option<CandleRow>, StoreError> {
    chunk.clear();
    let Some(mut last) = ahead.map_or_else(|| rows.next().transpose(), |row| Ok(Some(row)))? else { return Ok(None) };
    while chunk.len() < CHUNK_ROWS as usize {
        match rows.next().transpose()? {
            Some(row) if row.ts == last.ts => last = row,
            Some(row) => chunk.push(std::mem::replace(&mut last, row)),
            None => {
                chunk.push(last);
                return Ok(None);
            }
        }
    }
    Ok(Some(last))
}

/// The merge itself; ask it for rows until there are none.
pub(crate) struct Merge {
    stage: Option<StageRows>,
    /// Popped from the end: the earliest last.
    waiting: Vec<(usize, Window)>,
    active: Vec<Source>,
    from: UnixNanos,
    to: UnixNanos,
    /// Rows for which a later answer said something else.
    pub(crate) replaced: u64,
    /// A row of the year file that lies outside the stretch.
    pub(crate) outside: Option<UnixNanos>,
}

impl Merge {
    /// Of rows in `[from, to)`; those outside are passed over.
    pub(crate) fn new(
        old: Option<(Rows<CandleRow>, bool)>,
        stage: Option<StageRows>,
        windows: &[Window],
        (from, to): (UnixNanos, UnixNanos),
    ) -> Result<Self, MergeError> {
        let within = |window: &Window| window.rows > 0 && window.first < to && window.last >= from;
        let mut waiting: Vec<(usize, Window)> =
            (1..).zip(windows).filter(|(_, window)| within(window)).map(|(rank, window)| (rank, window.clone())).collect();
        waiting.sort_by_key(|(rank, window)| Reverse((window.first, *rank)));
        let mut merge = Self { stage, waiting, active: Vec::new(), from, to, replaced: 0, outside: None };
        if let Some((rows, is_ours)) = old {
            let rest = if is_ours { Rest::Old(Box::new(rows)) } else { Rest::Foreign(Box::new(rows), None) };
            merge.open(0, rest)?;
        }
        Ok(merge)
    }

    fn open(&mut self, rank: usize, rest: Rest) -> Result<(), MergeError> {
        let mut source = Source { rank, rest, chunk: Vec::new(), taken: 0 };
        if source.take(0, self.stage.as_ref())? {
            self.active.push(source);
        }
        Ok(())
    }

    /// Appends the next rows to `out`; `false` at the end.
    pub(crate) fn next(&mut self, out: &mut Vec<CandleRow>) -> Result<bool, MergeError> {
        loop {
            let head = |source: &Source| source.rows().first().map_or(UnixNanos(i64::MAX), |row| row.ts);
            let best = self.active.iter().enumerate().min_by_key(|(_, s)| (head(s), Reverse(s.rank)));
            let best = best.map(|(index, source)| (index, head(source)));
            // A window that begins at or before the best row may have a better one.
            if let Some((rank, window)) = self.waiting.pop_if(|(_, window)| best.is_none_or(|(_, ts)| window.first <= ts)) {
                self.open(rank, Rest::Staged { window, next: 0 })?;
                continue;
            }
            let Some((index, ts)) = best else { return Ok(false) };
            let others = self.active.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, source)| head(source));
            let limit = others.chain(self.waiting.last().map(|(_, window)| window.first)).min();
            let rows = self.active[index].rows();
            let count = limit.map_or(rows.len(), |limit| rows.partition_point(|row| row.ts < limit)).max(1);
            let (rows, newest) = (&rows[..count], rows[0]);
            let (first, end) =
                (rows.partition_point(|row| row.ts < self.from), rows.partition_point(|row| row.ts < self.to));
            if self.active[index].rank == 0 && (first > 0 || end < count) {
                self.outside = Some(rows[if first > 0 { 0 } else { end }].ts);
            }
            out.extend_from_slice(&rows[first..end.max(first)]);
            if count == 1 {
                self.drop_older(index, ts, &newest)?;
            }
            // Sources that end leave; their places close up, so the best is looked up by what is left of it.
            if !self.active[index].take(count, self.stage.as_ref())? {
                self.active.remove(index);
            }
            self.active.retain(|source| !source.rows().is_empty());
            if !out.is_empty() {
                return Ok(true);
            }
        }
    }

    /// Takes off what the other sources say about the same time.
    fn drop_older(&mut self, best: usize, ts: UnixNanos, newest: &CandleRow) -> Result<(), MergeError> {
        for (_, source) in self.active.iter_mut().enumerate().filter(|(index, _)| *index != best) {
            if let Some(row) = source.rows().first().filter(|row| row.ts == ts) {
                self.replaced += u64::from(row != newest);
                source.take(1, self.stage.as_ref())?;
            }
        }
        Ok(())
    }
}
