//! Which gaps stand in which files. Pure.

use std::collections::BTreeSet;

use dccd_model::time::{NANOS_PER_DAY, day_start};
use dccd_model::{Gap, GapReason, UnixNanos};
use serde::{Deserialize, Serialize};

/// Days between its ends in which a gap is looked for; one that lasts longer stands in the files of its ends.
const DAYS_MAX: i64 = 400;

/// Whether two say something about the same hole.
pub(crate) fn same_hole(a: &Gap, b: &Gap) -> bool {
    match (a.ids, b.ids) {
        (Some(a), Some(b)) => a == b,
        (None, None) => a.from == b.from,
        _ => false,
    }
}

/// Whether a hole that is open reaches beyond what is said of it now: what was declared isn't made good, and stays as it is. Where ids
/// tell what is missing, times don't matter.
fn outlasts(open: &Gap, gap: &Gap) -> bool {
    same_hole(open, gap) && gap.ids.is_none() && !open.repaired && gap.to < open.to
}

/// Adds a gap, in place of what was known of the same hole unless that is open and ends later; keeps the list in its one order.
pub(crate) fn upsert(list: &mut Vec<Gap>, gap: &Gap) {
    if list.iter().any(|g| outlasts(g, gap)) {
        return;
    }
    list.retain(|g| !same_hole(g, gap));
    let key = |g: &Gap| (g.from, g.to, g.ids);
    let at = list.partition_point(|g| key(g) < key(gap));
    list.insert(at, gap.clone());
}

/// The days of a gap's ends; the same twice when one end is unknown.
pub(crate) fn end_days(gap: &Gap) -> (i64, i64) {
    match (gap.from == UnixNanos::UNKNOWN, gap.to < gap.from) {
        (true, _) => (gap.to.day(), gap.to.day()),
        (false, true) => (gap.from.day(), gap.from.day()),
        (false, false) => (gap.from.day(), gap.to.day()),
    }
}

fn touches(gap: &Gap, day: i64) -> bool {
    let (from, to) = end_days(gap);
    (from..=to).contains(&day)
}

/// The gap of a day whose rows are lost or can't be trusted.
pub(crate) fn whole_day(day: i64) -> Gap {
    let from = day_start(day);
    let to = UnixNanos(from.0.saturating_add(NANOS_PER_DAY - 1));
    Gap { from, to, reason: GapReason::NotRecorded, repaired: false, ids: None }
}

/// A gap that doesn't stand yet in every file that it should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OpenGap {
    pub(crate) gap: Gap,
    /// Days whose file lacks it.
    days: BTreeSet<i64>,
}

/// All of a series' gaps that don't stand yet in every file that they should. Kept in the checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct OpenGaps(Vec<OpenGap>);

impl OpenGaps {
    pub(crate) fn add(&mut self, gap: &Gap) {
        if self.0.iter().any(|open| outlasts(&open.gap, gap)) {
            return;
        }
        let (from, to) = end_days(gap);
        let mut days: BTreeSet<i64> = [from, to].into();
        if to - from <= DAYS_MAX {
            days.extend(from..=to);
        }
        // Files that have what was known before need what is known now.
        for before in self.0.extract_if(.., |open| same_hole(&open.gap, gap)) {
            days.extend(before.days);
        }
        self.0.push(OpenGap { gap: gap.clone(), days });
    }

    pub(crate) fn days(&self) -> BTreeSet<i64> {
        self.0.iter().flat_map(|open| open.days.iter().copied()).collect()
    }

    pub(crate) fn waits_for(&self, day: i64) -> bool {
        self.0.iter().any(|open| open.days.contains(&day))
    }

    /// Whether a gap begins or ends in this day, so that it has to have a file.
    pub(crate) fn ends_in(&self, day: i64) -> bool {
        self.0.iter().any(|open| {
            let (from, to) = end_days(&open.gap);
            open.days.contains(&day) && (from == day || to == day)
        })
    }

    /// Puts the day's gaps into the list of its file.
    pub(crate) fn apply(&self, day: i64, list: &mut Vec<Gap>) {
        for open in &self.0 {
            if touches(&open.gap, day) {
                upsert(list, &open.gap);
            } else if open.days.contains(&day) {
                list.retain(|g| !same_hole(g, &open.gap) || outlasts(g, &open.gap));
            }
        }
    }

    /// The day's file has its gaps now, or needs none.
    pub(crate) fn settle(&mut self, day: i64) {
        for open in &mut self.0 {
            open.days.remove(&day);
        }
        self.0.retain(|open| !open.days.is_empty());
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Gap> {
        self.0.iter().map(|open| &open.gap)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = NANOS_PER_DAY;

    fn gap(from: i64, to: i64, repaired: bool, ids: Option<(u64, u64)>) -> Gap {
        Gap { from: UnixNanos(from), to: UnixNanos(to), reason: GapReason::Disconnected, repaired, ids }
    }

    #[test]
    fn a_repaired_gap_takes_the_place_of_the_open_one() {
        let mut list = vec![];
        upsert(&mut list, &gap(10, 20, false, Some((5, 9))));
        upsert(&mut list, &gap(3, 4, false, None));
        upsert(&mut list, &gap(10, 20, true, Some((5, 9))));
        assert_eq!(list, [gap(3, 4, false, None), gap(10, 20, true, Some((5, 9)))]);
        upsert(&mut list, &gap(3, 7, true, None));
        assert_eq!(list, [gap(3, 7, true, None), gap(10, 20, true, Some((5, 9)))]);
    }

    #[test]
    fn what_is_open_ends_no_earlier_for_what_is_said_of_its_beginning() {
        let whole = gap(3, 9, false, None);
        for part in [gap(3, 8, true, None), gap(3, 8, false, None)] {
            let mut list = vec![whole.clone()];
            upsert(&mut list, &part);
            assert_eq!(list, std::slice::from_ref(&whole), "{part:?}");
            let mut open = OpenGaps::default();
            open.add(&whole);
            open.add(&part);
            assert_eq!(open.iter().collect::<Vec<_>>(), [&whole], "{part:?}");
        }
        let mut list = vec![whole];
        let made_good = gap(3, 9, true, None);
        for said in [made_good.clone(), gap(3, 8, true, None), made_good.clone()] {
            upsert(&mut list, &said);
            assert_eq!(list, [said]);
        }
    }

    #[test]
    fn gaps_that_take_the_place_of_a_longer_one_are_told_apart_by_their_ids() {
        let whole = |repaired| gap(10, DAY + 10, repaired, Some((100, 200)));
        let piece = |first, last, repaired| gap(10, DAY + 10, repaired, Some((first, last)));
        let mut open = OpenGaps::default();
        let mut list = vec![];
        open.add(&whole(false));
        open.apply(0, &mut list);
        open.settle(0);
        let (early, late) = (piece(100, 102, false), piece(199, 200, false));
        [whole(true), early.clone(), late.clone()].iter().for_each(|g| open.add(g));
        for day in [0, 1] {
            let mut list = if day == 0 { list.clone() } else { vec![] };
            open.apply(day, &mut list);
            assert_eq!(list, [early.clone(), whole(true), late.clone()], "day {day}");
        }
        open.add(&piece(100, 102, true));
        open.add(&gap(10, 20, false, None));
        open.apply(0, &mut list);
        assert_eq!(list, [gap(10, 20, false, None), piece(100, 102, true), whole(true), late]);
    }

    #[test]
    fn a_gap_over_days_waits_for_the_files_of_each() {
        let mut open = OpenGaps::default();
        open.add(&gap(DAY + 5, 3 * DAY + 5, false, None));
        assert_eq!(open.days().into_iter().collect::<Vec<_>>(), [1, 2, 3]);
        assert!(open.ends_in(1) && !open.ends_in(2) && open.ends_in(3));
        open.settle(1);
        open.settle(2);
        let mut list = vec![];
        open.apply(3, &mut list);
        assert_eq!(list.len(), 1);
        // Its file says so whether or not it waits for others yet.
        let part = gap(DAY + 5, DAY + 9, true, None);
        let mut later = OpenGaps::default();
        later.add(&gap(DAY + 5, 3 * DAY + 4, true, None));
        for open in [&mut open, &mut later] {
            open.add(&part);
            open.apply(3, &mut list);
            assert_eq!(list, [gap(DAY + 5, 3 * DAY + 5, false, None)]);
        }
        open.add(&gap(DAY + 5, 3 * DAY + 5, true, None));
        open.apply(3, &mut list);
        open.add(&part);
        open.apply(3, &mut list);
        assert!(list.is_empty(), "it turned out not to reach that day");
        [1, 2, 3].into_iter().for_each(|day| open.settle(day));
        assert!(open.is_empty());
    }

    #[test]
    fn replaying_gap_events_onto_their_outcome_changes_nothing() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..100 {
            let events: Vec<Gap> = (0..12)
                .map(|_| {
                    let id = random.u64(0..4);
                    let ids = random.bool().then_some((id * 10, id * 10 + 3));
                    gap(i64::try_from(id).unwrap(), random.i64(5..9), random.bool(), ids)
                })
                .collect();
            let mut once = vec![];
            events.iter().for_each(|g| upsert(&mut once, g));
            let mut again = once.clone();
            events[random.usize(0..12)..].iter().for_each(|g| upsert(&mut again, g));
            assert_eq!(once, again);
        }
    }
}
