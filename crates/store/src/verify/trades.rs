//! Trades: every id once, and no hole in contiguous ids that isn't declared.

use dccd_model::{Gap, UnixNanos};
use rustc_hash::FxHashMap;

use super::{Findings, Problem, Rule, covers};
use crate::rows::sealed::Codec;
use crate::rows::{IdSet, TradeRow};

/// Trades at the edges of id runs whose times are remembered; past that holes are judged by declared ids alone.
const EDGES_MAX: usize = 1 << 20;

#[derive(Default)]
pub(super) struct Trades {
    seen: <TradeRow as Codec>::Seen,
    numbers: IdSet,
    sparse: bool,
    last: Option<(u64, UnixNanos)>,
    /// Times of trades whose neighbour by id isn't their neighbour by time.
    edges: FxHashMap<u64, UnixNanos>,
}

impl Rule<TradeRow> for Trades {
    fn day(&mut self, _day: i64, contiguous_ids: bool, _gaps: &[Gap]) {
        self.sparse |= !contiguous_ids;
    }

    fn row(&mut self, row: &TradeRow, number: u64, findings: &mut Findings<'_>) {
        if !row.admit(&mut self.seen) {
            findings.add(Problem::Duplicate { row: number, id: row.id.0 });
        }
        let Some(id) = row.number().filter(|_| !self.sparse) else { return };
        self.numbers.insert(id);
        match self.last {
            Some((last, _)) if last.checked_add(1) == Some(id) => {}
            last if self.edges.len() < EDGES_MAX => {
                self.edges.extend(last);
                self.edges.insert(id, row.ts);
            }
            _ => {}
        }
        self.last = Some((id, row.ts));
    }

    fn end(&mut self, gaps: &[Gap], findings: &mut Findings<'_>) {
        if self.sparse {
            return;
        }
        self.edges.extend(self.last);
        let mut declared: Vec<(u64, u64)> = gaps.iter().filter(|g| !g.repaired).filter_map(|g| g.ids).collect();
        declared.sort_unstable();
        let runs: Vec<(u64, u64)> = self.numbers.runs().iter().map(|(first, last)| (*first, *last)).collect();
        for pair in runs.windows(2) {
            let (before, after) = (pair[0].1, pair[1].0);
            for (first, last) in undeclared(before + 1, after - 1, &declared) {
                let times = (self.edges.get(&before), self.edges.get(&after));
                if let (Some(from), Some(to)) = times
                    && covers(gaps, *from, *to)
                {
                    continue;
                }
                findings.add(Problem::Hole { first, last, after: times.0.copied().unwrap_or_default() });
            }
        }
    }
}

/// What of `first..=last` no declared range holds; `declared` ascends.
fn undeclared(first: u64, last: u64, declared: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut holes = Vec::new();
    let mut next = first;
    for (from, to) in declared {
        if *to < next {
            continue;
        }
        if *from > last {
            break;
        }
        if *from > next {
            holes.push((next, from - 1));
        }
        match to.checked_add(1) {
            Some(after) if after <= last => next = after,
            _ => return holes,
        }
    }
    holes.push((next, last));
    holes
}

#[cfg(test)]
mod tests {
    use super::undeclared;

    #[test]
    fn what_is_declared_is_taken_out_of_a_hole() {
        for (declared, expected) in [
            (vec![], vec![(10, 20)]),
            (vec![(10, 20)], vec![]),
            (vec![(0, 100)], vec![]),
            (vec![(0, 12), (15, 16)], vec![(13, 14), (17, 20)]),
            (vec![(0, 5), (21, 30)], vec![(10, 20)]),
            (vec![(12, 15), (12, 18), (19, 25)], vec![(10, 11)]),
        ] {
            assert_eq!(undeclared(10, 20, &declared), expected, "{declared:?}");
        }
    }
}
