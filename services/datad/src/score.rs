//! One number for each feed: of how much of its time nothing is missing.

use std::collections::BTreeMap;

use dccd_model::{Gap, UnixNanos};

/// Gaps of a feed that can still be made good; of more the oldest is taken for lost.
const OPEN_MAX: usize = 1_024;

/// The time of a feed in this process, and what is missing of it. Gaps may overlap, and what stays missing of one that is settled
/// in parts is given out with its times once for each part: a moment is missing or not, however often that was said.
#[derive(Clone, Debug)]
pub(crate) struct Score {
    opened: UnixNanos,
    /// Gaps that were not made good, each with how often it was given out.
    open: BTreeMap<(UnixNanos, UnixNanos), u32>,
    /// What will never be made good: the time up to which it was counted, and the nanoseconds until then.
    lost: (UnixNanos, i64),
}

impl Score {
    /// Of a feed that was opened now.
    pub(crate) const fn new(opened: UnixNanos) -> Self {
        Self { opened, open: BTreeMap::new(), lost: (opened, 0) }
    }

    /// A gap was found, or made good. What lies before the feed was opened doesn't count.
    pub(crate) fn gap(&mut self, gap: &Gap) {
        let key = (gap.from, gap.to);
        if !gap.repaired {
            *self.open.entry(key).or_default() += 1;
            if self.open.len() > OPEN_MAX
                && let Some(((from, to), _)) = self.open.pop_first()
            {
                let (until, lost) = self.lost;
                self.lost = (until.max(to), lost + to.0.saturating_sub(from.0.max(until.0)).max(0));
            }
            return;
        }
        if let Some(times) = self.open.get_mut(&key) {
            *times -= 1;
            if *times == 0 {
                self.open.remove(&key);
            }
        }
    }

    /// Nanoseconds that are missing, with all since `down_since`, up to `now`.
    fn missing(&self, now: UnixNanos, down_since: Option<UnixNanos>) -> i64 {
        let down = down_since.map(|since| (since, now));
        let (mut until, mut missing) = self.lost;
        let mut gaps: Vec<(UnixNanos, UnixNanos)> = self.open.keys().copied().chain(down).collect();
        gaps.sort_unstable();
        for (from, to) in gaps {
            missing = missing.saturating_add(to.0.saturating_sub(from.0.max(until.0)).max(0));
            until = until.max(to);
        }
        missing
    }

    /// Per cent of the time since it was opened of which nothing is missing, to two decimals; 100 only where nothing is at all.
    /// `down_since`: since when nothing comes.
    pub(crate) fn percent(&self, now: UnixNanos, down_since: Option<UnixNanos>) -> f64 {
        let total = now.0.saturating_sub(self.opened.0).max(1);
        let missing = self.missing(now, down_since).clamp(0, total);
        if missing == 0 {
            return 100.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let share = (total - missing) as f64 / total as f64;
        // Rounded down: a little that is missing must show.
        ((share * 10_000.0).floor() / 100.0).min(99.99)
    }
}

#[cfg(test)]
mod tests {
    use dccd_model::GapReason;

    use super::*;

    const fn s(seconds: i64) -> UnixNanos {
        UnixNanos(seconds * 1_000_000_000)
    }

    fn gap(from: i64, to: i64, repaired: bool) -> Gap {
        Gap { from: s(from), to: s(to), reason: GapReason::Disconnected, repaired, ids: None }
    }

    #[test]
    #[allow(clippy::float_cmp)] // exact by construction
    fn the_score_is_the_share_of_time_without_a_gap() {
        let mut score = Score::new(s(1_000));
        assert_eq!(score.percent(s(1_000), None), 100.0);
        // Half of it lies before the feed was opened.
        score.gap(&gap(990, 1_010, false));
        assert_eq!(score.percent(s(1_100), None), 90.0);
        score.gap(&gap(1_050, 1_060, false));
        assert_eq!(score.percent(s(1_100), None), 80.0);
        score.gap(&gap(1_050, 1_060, true));
        assert_eq!(score.percent(s(1_100), None), 90.0);
        score.gap(&gap(1_050, 1_060, false));
        score.gap(&gap(1_050, 1_060, true));
        // Right now nothing comes.
        assert_eq!(score.percent(s(1_200), Some(s(1_190))), 90.0);
        // What is down since before the last gap began is missing once.
        score.gap(&gap(1_050, 1_060, false));
        assert_eq!(score.percent(s(1_100), Some(s(1_040))), 30.0);
        score.gap(&gap(990, 1_010, true));
        assert_eq!(score.percent(s(1_200), None), 95.0);
        score.gap(&gap(1_050, 1_060, true));
        assert_eq!(score.percent(s(1_200), None), 100.0);
        score.gap(&Gap { to: UnixNanos(s(1_000).0 + 1), ..gap(1_000, 0, false) });
        assert_eq!(score.percent(s(1_000_000), None), 99.99);
        assert_eq!(score.percent(s(2_000), Some(s(0))), 0.0);
    }

    #[test]
    #[allow(clippy::float_cmp)] // exact by construction
    fn a_moment_is_missing_once_however_many_gaps_tell_of_it() {
        let mut score = Score::new(s(1_000));
        score.gap(&gap(1_010, 1_020, false));
        // The exchange has a part of it: two pieces of the rest take its place, with the same times.
        score.gap(&gap(1_010, 1_020, true));
        score.gap(&gap(1_010, 1_020, false));
        score.gap(&gap(1_010, 1_020, false));
        assert_eq!(score.percent(s(1_100), None), 90.0);
        // One of them comes after all; it is the other's time, too.
        score.gap(&gap(1_010, 1_020, true));
        assert_eq!(score.percent(s(1_100), None), 90.0);
        // Another, of another reason, overlaps.
        score.gap(&gap(1_015, 1_030, false));
        assert_eq!(score.percent(s(1_100), None), 80.0);
        // That an earlier process's gap is made good says nothing of this one's time.
        score.gap(&gap(1_040, 1_090, true));
        assert_eq!(score.percent(s(1_100), None), 80.0);
    }

    #[test]
    #[allow(clippy::float_cmp)] // exact by construction
    fn gaps_without_end_are_counted_within_bounds() {
        let mut score = Score::new(s(0));
        for n in 0..10_000 {
            score.gap(&gap(n * 10, n * 10 + 5, false));
        }
        assert_eq!(score.open.len(), OPEN_MAX);
        assert_eq!(score.percent(s(100_000), None), 50.0);
    }
}
