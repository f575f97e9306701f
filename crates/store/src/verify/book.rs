//! Order books: each epoch begins with a snapshot, and applied row by row the book is never crossed after an event.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use dccd_model::{BookSide, Gap, UnixNanos};

use super::{Findings, Problem, Rule, gap_before};
use crate::rows::BookRow;

/// A price that orders.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Price(f64);

impl Eq for Price {}

impl PartialOrd for Price {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Price {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

#[derive(Default)]
pub(super) struct Book {
    bids: BTreeMap<Price, f64>,
    asks: BTreeMap<Price, f64>,
    last: Option<Last>,
    /// A declared gap lies before the day: its first epoch may lack its beginning.
    excused: bool,
    /// The epoch was found bad, or lacks its beginning: nothing more can be said about it.
    unknown: bool,
}

#[derive(Clone, Copy)]
struct Last {
    ts: UnixNanos,
    epoch: u32,
    update_id: u64,
    is_snapshot: bool,
    number: u64,
}

impl Book {
    fn begin(&mut self) {
        self.bids.clear();
        self.asks.clear();
        self.unknown = false;
    }

    fn end_of_event(&mut self, number: u64, findings: &mut Findings<'_>) {
        if self.unknown {
            return;
        }
        if let (Some((bid, _)), Some((ask, _))) = (self.bids.last_key_value(), self.asks.first_key_value())
            && bid >= ask
        {
            findings.add(Problem::Crossed { row: number, bid: bid.0, ask: ask.0 });
            self.unknown = true;
        }
    }
}

impl Rule<BookRow> for Book {
    fn day(&mut self, day: i64, _contiguous_ids: bool, gaps: &[Gap]) {
        self.excused = gap_before(gaps, day);
    }

    fn row(&mut self, row: &BookRow, number: u64, findings: &mut Findings<'_>) {
        let same_epoch = self.last.is_some_and(|last| last.epoch == row.epoch);
        if let Some(last) = self.last {
            let same_event =
                same_epoch && (last.ts, last.update_id, last.is_snapshot) == (row.ts, row.update_id, row.is_snapshot);
            if !same_event {
                // `number` restarts with each file; an event never spans two.
                self.end_of_event(if number == 0 { last.number } else { number - 1 }, findings);
            }
            let back = row.epoch < last.epoch || (same_epoch && row.update_id != 0 && row.update_id < last.update_id);
            if back && !self.unknown {
                findings.add(Problem::Backwards { row: number });
                self.unknown = true;
            }
            if same_epoch && row.is_snapshot && !last.is_snapshot && !self.unknown {
                findings.add(Problem::LateSnapshot { row: number, epoch: row.epoch });
                self.unknown = true;
            }
        }
        if !same_epoch {
            self.begin();
            if !row.is_snapshot {
                if !self.excused {
                    findings.add(Problem::NoSnapshot { row: number, epoch: row.epoch });
                }
                self.unknown = true;
            }
        }
        self.excused = false;
        let side = match row.side {
            BookSide::Bid => &mut self.bids,
            BookSide::Ask => &mut self.asks,
        };
        if row.amount == 0.0 {
            side.remove(&Price(row.price));
        } else {
            side.insert(Price(row.price), row.amount);
        }
        self.last =
            Some(Last { ts: row.ts, epoch: row.epoch, update_id: row.update_id, is_snapshot: row.is_snapshot, number });
    }

    fn end_of_file(&mut self, findings: &mut Findings<'_>) {
        if let Some(last) = self.last {
            self.end_of_event(last.number, findings);
        }
    }
}
