//! One number for each feed: of how much of its time nothing is missing.

use dccd_model::{Gap, UnixNanos};

/// The time of a feed in this process, and what is missing of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Score {
    opened: UnixNanos,
    /// Nanoseconds in gaps that were not made good.
    missing: i64,
}

impl Score {
    /// Of a feed that was opened now.
    pub(crate) const fn new(opened: UnixNanos) -> Self {
        Self { opened, missing: 0 }
    }

    /// A gap was found, or made good. What lies before the feed was opened doesn't count.
    pub(crate) fn gap(&mut self, gap: &Gap) {
        let length = gap.to.0.saturating_sub(gap.from.0.max(self.opened.0)).max(0);
        self.missing = if gap.repaired { self.missing.saturating_sub(length) } else { self.missing.saturating_add(length) };
    }

    /// Per cent of the time since it was opened of which nothing is missing, to two decimals; 100 only where nothing is at all.
    /// `down_since`: since when nothing comes.
    pub(crate) fn percent(&self, now: UnixNanos, down_since: Option<UnixNanos>) -> f64 {
        let total = now.0.saturating_sub(self.opened.0).max(1);
        let down = down_since.map_or(0, |since| now.0.saturating_sub(since.0.max(self.opened.0)).max(0));
        let missing = self.missing.saturating_add(down).clamp(0, total);
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
        score.gap(&gap(1_050, 1_060, true));
        assert_eq!(score.percent(s(1_100), None), 90.0);
        // Right now nothing comes.
        assert_eq!(score.percent(s(1_200), Some(s(1_190))), 90.0);
        score.gap(&gap(990, 1_010, true));
        assert_eq!(score.percent(s(1_200), None), 100.0);
        score.gap(&Gap { to: UnixNanos(s(1_000).0 + 1), ..gap(1_000, 0, false) });
        assert_eq!(score.percent(s(1_000_000), None), 99.99);
        assert_eq!(score.percent(s(2_000), Some(s(0))), 0.0);
    }
}
