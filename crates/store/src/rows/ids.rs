//! Which trade ids were there: runs of neighbouring numbers, so that a day of contiguous ids takes one entry.

use std::collections::BTreeMap;

/// Runs remembered at most; past that the lowest are forgotten. Ids that are contiguous never come near it; for others this
/// still finds every duplicate among the latest 65,536 ids.
const RUNS_MAX: usize = 1 << 16;

/// A set of numbers that is small when they are contiguous.
#[derive(Debug, Default)]
pub(crate) struct IdSet {
    /// First → last of each run; runs neither overlap nor touch.
    runs: BTreeMap<u64, u64>,
    /// The run that grew last, also in `runs` but maybe with an older end, and where the run after it begins.
    recent: Option<Recent>,
}

#[derive(Clone, Copy, Debug)]
struct Recent {
    first: u64,
    last: u64,
    next: u64,
}

impl IdSet {
    /// Adds a number; `false` when it was there.
    pub(crate) fn insert(&mut self, id: u64) -> bool {
        if let Some(recent) = &mut self.recent {
            if recent.first <= id && id <= recent.last {
                return false;
            }
            // One more at the end of the same run, and not yet touching the next.
            if id == recent.last.wrapping_add(1) && id != 0 && id < recent.next - 1 {
                recent.last = id;
                return true;
            }
        }
        self.store_recent();
        self.insert_slow(id)
    }

    /// The runs, ascending.
    pub(crate) fn runs(&mut self) -> &BTreeMap<u64, u64> {
        self.store_recent();
        &self.runs
    }

    fn store_recent(&mut self) {
        if let Some(recent) = self.recent.take() {
            self.runs.insert(recent.first, recent.last);
        }
    }

    fn insert_slow(&mut self, id: u64) -> bool {
        let before = self.runs.range(..=id).next_back().map(|(first, last)| (*first, *last));
        if before.is_some_and(|(_, last)| id <= last) {
            return false;
        }
        let first = match before {
            Some((first, last)) if last.checked_add(1) == Some(id) => first,
            _ => id,
        };
        let mut last = id;
        if let Some(after) = id.checked_add(1)
            && let Some(end) = self.runs.remove(&after)
        {
            last = end;
        }
        self.runs.insert(first, last);
        if self.runs.len() > RUNS_MAX {
            self.runs.pop_first();
        }
        if self.runs.contains_key(&first) {
            let next = last.checked_add(1).and_then(|n| self.runs.range(n..).next()).map_or(u64::MAX, |(n, _)| *n);
            self.recent = Some(Recent { first, last, next });
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn agrees_with_a_plain_set_on_every_kind_of_sequence() {
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..200 {
            let (mut set, mut plain) = (IdSet::default(), BTreeSet::new());
            let mut next = random.u64(0..50);
            for _ in 0..300 {
                let id = match random.u32(0..10) {
                    0 => random.u64(0..400),
                    1 => u64::MAX - random.u64(0..3),
                    _ => {
                        next += 1 + u64::from(random.u32(0..20) == 0);
                        next
                    }
                };
                assert_eq!(set.insert(id), plain.insert(id), "round {round}, id {id}");
            }
            let listed: Vec<u64> = set.runs().iter().flat_map(|(first, last)| *first..=*last).collect();
            assert_eq!(listed, plain.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn contiguous_ids_are_one_run_and_sparse_ones_are_bounded() {
        let mut set = IdSet::default();
        assert!((1000..100_000).all(|id| set.insert(id)));
        assert_eq!(set.runs().len(), 1);
        let mut set = IdSet::default();
        assert!((0..300_000).all(|id| set.insert(id * 7)));
        assert_eq!(set.runs().len(), RUNS_MAX);
        assert!(!set.insert(299_999 * 7));
    }
}
