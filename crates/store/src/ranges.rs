//! Sets of half-open stretches of time: what is covered, what is missing. Pure.

use dccd_model::UnixNanos;
use serde::{Deserialize, Serialize};

/// Stretches `[from, to)` that are ascending, not empty, and neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(UnixNanos, UnixNanos)>", into = "Vec<(UnixNanos, UnixNanos)>")]
pub struct Ranges(Vec<(UnixNanos, UnixNanos)>);

/// A stretch that ends before it begins, in a list that was written by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stretch from {from} to {to}")]
pub struct BackwardsRange {
    from: UnixNanos,
    to: UnixNanos,
}

impl TryFrom<Vec<(UnixNanos, UnixNanos)>> for Ranges {
    type Error = BackwardsRange;

    fn try_from(list: Vec<(UnixNanos, UnixNanos)>) -> Result<Self, BackwardsRange> {
        let mut ranges = Self::default();
        for (from, to) in list {
            if to < from {
                return Err(BackwardsRange { from, to });
            }
            ranges.insert(from, to);
        }
        Ok(ranges)
    }
}

impl From<Ranges> for Vec<(UnixNanos, UnixNanos)> {
    fn from(ranges: Ranges) -> Self {
        ranges.0
    }
}

impl Ranges {
    /// All stretches, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (UnixNanos, UnixNanos)> + '_ {
        self.0.iter().copied()
    }

    /// How many stretches there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this moment is in it.
    #[must_use]
    pub fn contains(&self, ts: UnixNanos) -> bool {
        let next = self.0.partition_point(|(_, to)| *to <= ts);
        self.0.get(next).is_some_and(|(from, _)| *from <= ts)
    }

    /// Whether any moment of `[from, to)` is in it.
    #[must_use]
    pub fn overlaps(&self, from: UnixNanos, to: UnixNanos) -> bool {
        let next = self.0.partition_point(|(_, end)| *end <= from);
        from < to && self.0.get(next).is_some_and(|(begin, _)| *begin < to)
    }

    /// Adds a stretch; one without length adds nothing. At the end, where stretches mostly grow, this takes no time.
    pub fn insert(&mut self, from: UnixNanos, to: UnixNanos) {
        if from >= to {
            return;
        }
        // The stretches that it overlaps or touches.
        let first = match self.0.last() {
            Some((_, end)) if *end < from => self.0.len(),
            _ => self.0.partition_point(|(_, end)| *end < from),
        };
        let after = first + self.0[first..].partition_point(|(begin, _)| *begin <= to);
        if first == after {
            self.0.insert(first, (from, to));
            return;
        }
        let joined = (self.0[first].0.min(from), self.0[after - 1].1.max(to));
        self.0[first] = joined;
        self.0.drain(first + 1..after);
    }

    /// Both together.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        other.iter().for_each(|(from, to)| self.insert(from, to));
        self
    }

    /// What of `[from, to)` is in it.
    #[must_use]
    pub fn clip(&self, from: UnixNanos, to: UnixNanos) -> Self {
        let first = self.0.partition_point(|(_, end)| *end <= from);
        let within = self.0[first..].iter().take_while(|(begin, _)| *begin < to);
        Self(within.map(|(begin, end)| ((*begin).max(from), (*end).min(to))).filter(|(begin, end)| begin < end).collect())
    }

    /// What of `[from, to)` is not in it.
    #[must_use]
    pub fn holes(&self, from: UnixNanos, to: UnixNanos) -> Self {
        let mut holes = Vec::new();
        let mut reached = from;
        for (begin, end) in self.clip(from, to).iter() {
            if reached < begin {
                holes.push((reached, begin));
            }
            reached = end;
        }
        if reached < to {
            holes.push((reached, to));
        }
        Self(holes)
    }

    /// What is in it and not in `other`.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut rest = Vec::new();
        let mut next = 0;
        for (from, to) in self.iter() {
            let mut reached = from;
            while let Some((_, end)) = other.0.get(next)
                && *end <= from
            {
                next += 1;
            }
            for (begin, end) in other.0[next..].iter().take_while(|(begin, _)| *begin < to) {
                if reached < *begin {
                    rest.push((reached, *begin));
                }
                reached = reached.max(*end);
            }
            if reached < to {
                rest.push((reached, to));
            }
        }
        Self(rest)
    }
}

impl FromIterator<(UnixNanos, UnixNanos)> for Ranges {
    fn from_iter<I: IntoIterator<Item = (UnixNanos, UnixNanos)>>(list: I) -> Self {
        let mut ranges = Self::default();
        list.into_iter().for_each(|(from, to)| ranges.insert(from, to));
        ranges
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn set(ranges: &Ranges) -> BTreeSet<i64> {
        ranges.iter().flat_map(|(from, to)| from.0..to.0).collect()
    }

    #[test]
    fn agrees_with_a_plain_set_on_random_stretches() {
        let mut random = fastrand::Rng::with_seed(11);
        for round in 0..500 {
            let mut build = || {
                let (mut ranges, mut plain) = (Ranges::default(), BTreeSet::new());
                for _ in 0..random.usize(0..12) {
                    let from = random.i64(0..60);
                    let to = from + random.i64(-1..9);
                    ranges.insert(UnixNanos(from), UnixNanos(to));
                    plain.extend(from..to);
                    assert_eq!(set(&ranges), plain, "round {round}");
                }
                assert!(ranges.0.windows(2).all(|w| w[0].1 < w[1].0), "{ranges:?}");
                (ranges, plain)
            };
            let ((a, plain_a), (b, plain_b)) = (build(), build());
            let (from, to) = (random.i64(0..60), random.i64(0..70));
            let within = |ts: &i64| (from..to).contains(ts);
            assert_eq!(set(&a.minus(&b)), &plain_a - &plain_b);
            assert_eq!(set(&a.clone().union(&b)), &plain_a | &plain_b);
            assert_eq!(set(&a.clip(UnixNanos(from), UnixNanos(to))), plain_a.iter().copied().filter(within).collect());
            let holes = a.holes(UnixNanos(from), UnixNanos(to));
            assert_eq!(set(&holes), (from..to).filter(|ts| !plain_a.contains(ts)).collect());
            assert_eq!(a.overlaps(UnixNanos(from), UnixNanos(to)), plain_a.iter().any(within));
            assert!((0..70).all(|ts| a.contains(UnixNanos(ts)) == plain_a.contains(&ts)));
        }
    }

    #[test]
    fn a_list_of_others_is_joined_and_one_that_goes_back_is_refused() {
        let ranges: Ranges = serde_json::from_str("[[5,9],[1,3],[3,5],[20,20]]").unwrap();
        assert_eq!(serde_json::to_string(&ranges).unwrap(), "[[1,9]]");
        assert!(serde_json::from_str::<Ranges>("[[5,2]]").is_err());
    }
}
