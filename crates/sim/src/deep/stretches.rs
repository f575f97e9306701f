//! Sets of minutes as sorted ranges that neither overlap nor touch.

/// Minutes since the epoch, half-open ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stretches(Vec<(i64, i64)>);

impl Stretches {
    /// Sorts ranges and joins those that overlap or touch; empty ones vanish, what lies before `first` is cut off.
    pub(crate) fn new(ranges: impl IntoIterator<Item = (i64, i64)>, first: i64) -> Self {
        let mut sorted: Vec<_> = ranges.into_iter().map(|(from, to)| (from.max(first), to)).filter(|(f, t)| f < t).collect();
        sorted.sort_unstable();
        let mut joined: Vec<(i64, i64)> = Vec::with_capacity(sorted.len());
        for (from, to) in sorted {
            match joined.last_mut() {
                Some(last) if last.1 >= from => last.1 = last.1.max(to),
                _ => joined.push((from, to)),
            }
        }
        Self(joined)
    }

    pub(crate) fn ranges(&self) -> &[(i64, i64)] {
        &self.0
    }

    /// The range that holds this minute.
    pub(crate) fn holding(&self, minute: i64) -> Option<(i64, i64)> {
        let at = self.0.partition_point(|(_, to)| *to <= minute);
        self.0.get(at).copied().filter(|(from, _)| *from <= minute)
    }

    /// The first range that ends after this minute, whether it has begun or not.
    pub(crate) fn next(&self, minute: i64) -> Option<(i64, i64)> {
        self.0.get(self.0.partition_point(|(_, to)| *to <= minute)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined_and_found() {
        let set = Stretches::new([(20, 30), (5, 8), (28, 40), (8, 10), (50, 50), (-5, 3)], 1);
        assert_eq!(set.ranges(), [(1, 3), (5, 10), (20, 40)]);
        assert_eq!(
            [2, 3, 5, 9, 10, 39, 40].map(|m| set.holding(m).is_some()),
            [true, false, true, true, false, true, false]
        );
        assert_eq!((set.next(10), set.next(25), set.next(40)), (Some((20, 40)), Some((20, 40)), None));
    }
}
