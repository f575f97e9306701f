//! The store's side of the session's feeds: which are recorded, and where the series of the others end. A feed that is recorded again, or
//! for the first time into files that are there, declares what lies between, which nobody recorded.

use dccd_exchange::{FeedIndex, FeedStatus, Session, Want};
use dccd_model::{Channel, Entry, EntryKind, Gap, GapReason, SeriesEnd, Symbol, UnixNanos};
use dccd_store::{Recorder, SeriesHandle, StoreError};
use serde::{Deserialize, Serialize};

use super::saved::SavedState;

/// Payload of a `FeedOpened` entry whose feed goes to the store.
pub(crate) const RECORDED: &[u8] = b"recorded";
/// Payload of a `FeedOpened` entry whose feed is only handed on.
pub(crate) const LIVE_ONLY: &[u8] = b"live";

/// Where the store's series of a feed ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Left {
    /// Up to then there are rows, or what is missing is declared.
    ts: UnixNanos,
    /// The last trade, where ids count.
    id: Option<u64>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Feeds {
    /// Ids of trades count.
    counts: bool,
    handles: Vec<Option<SeriesHandle>>,
    keys: Vec<(Symbol, Channel)>,
    recorded: Vec<bool>,
    /// Where a series ends whose feed isn't recorded, or has had no record since it is.
    left: Vec<Option<Left>>,
}

impl Feeds {
    /// None yet. `counts`: ids of trades are contiguous.
    pub(super) fn new(counts: bool) -> Self {
        Self { counts, ..Self::default() }
    }

    /// Goes on with what was saved.
    pub(super) fn resume(&mut self, saved: &SavedState<'_>) {
        self.recorded.clone_from(&saved.recorded);
        for (feed, left) in &saved.left {
            *self.left_of(*feed as usize) = Some(*left);
        }
    }

    /// Which feeds are recorded, by index.
    pub(super) fn recorded(&self) -> &[bool] {
        &self.recorded
    }

    /// What [`Self::resume`] needs.
    pub(super) fn left(&self) -> Vec<(FeedIndex, Left)> {
        (0..).zip(&self.left).filter_map(|(feed, left)| Some((feed, (*left)?))).collect()
    }

    fn left_of(&mut self, at: usize) -> &mut Option<Left> {
        if self.left.len() <= at {
            self.left.resize(at + 1, None);
        }
        &mut self.left[at]
    }

    /// Whether it is known what the store has of this series.
    pub(super) fn is_known(&self, symbol: &Symbol, channel: Channel) -> bool {
        let at = self.keys.iter().position(|(of, kind)| of == symbol && *kind == channel);
        at.is_some_and(|at| self.recorded.get(at) == Some(&true) || self.left.get(at).is_some_and(Option::is_some))
    }

    pub(super) fn handle(&self, feed: FeedIndex) -> Option<SeriesHandle> {
        self.handles.get(feed as usize).copied().flatten()
    }

    /// The series of a handle.
    pub(super) fn name(&self, handle: SeriesHandle) -> Option<(Symbol, Channel)> {
        let at = self.handles.iter().position(|of| *of == Some(handle))?;
        self.keys.get(at).cloned()
    }

    /// Opens the series of feeds that the session has and we don't.
    pub(super) fn follow(&mut self, session: &dyn Session, recorder: &mut Recorder) -> Result<(), StoreError> {
        for (index, feed) in session.feeds().iter().enumerate() {
            if self.handles.len() <= index {
                self.handles.push(None);
                self.keys.push((feed.symbol.clone(), feed.channel));
            }
            if self.recorded.len() <= index {
                self.recorded.push(false);
            }
            // Candles have a writer of their own.
            let is_stored = self.recorded[index] && feed.channel != Channel::Ohlc;
            if is_stored && self.handles[index].is_none() {
                self.handles[index] = Some(recorder.series(&feed.symbol, feed.channel)?);
            } else if !is_stored {
                self.handles[index] = None;
            }
        }
        Ok(())
    }

    /// Takes in what an entry says of a feed; the session has applied it already. Returns what is missing where it is recorded from now on.
    pub(super) fn note(&mut self, session: &dyn Session, entry: &Entry<'_>) -> Option<(FeedIndex, Gap)> {
        let (symbol, channel) = entry.subject.rsplit_once(' ')?;
        let at = session.feeds().iter().position(|f| f.symbol.as_str() == symbol && f.channel.as_str() == channel)?;
        let (feed, channel) = (FeedIndex::try_from(at).ok()?, session.feeds().get(at)?.channel);
        if self.recorded.len() <= at {
            self.recorded.resize(at + 1, false);
        }
        match entry.kind {
            EntryKind::FeedOpened => {
                let is_recorded = entry.payload == RECORDED;
                let was_recorded = std::mem::replace(&mut self.recorded[at], is_recorded);
                let status = session.feed_status(feed);
                match (was_recorded, is_recorded) {
                    _ if channel == Channel::Ohlc => None,
                    (true, false) => {
                        self.leave(at, self.end(channel, &status));
                        None
                    }
                    (false, true) => {
                        // What is fetched of before it is recorded goes to the store: the series begins there.
                        self.leave(at, self.first_wanted(session, feed));
                        self.come_back(at, channel, &status).map(|gap| (feed, gap))
                    }
                    _ => None,
                }
            }
            EntryKind::Stored if !self.recorded[at] => {
                let end = serde_json::from_slice::<SeriesEnd>(entry.payload).ok();
                self.leave(at, end.map(|end| Left { ts: end.ts, id: end.last_id.filter(|_| self.counts) }));
                None
            }
            _ => None,
        }
    }

    /// Where the series of a feed ends that was recorded up to now.
    fn end(&self, channel: Channel, status: &FeedStatus) -> Option<Left> {
        let id = status.last_id.filter(|_| channel == Channel::Trades && self.counts);
        (status.last_ts != UnixNanos::UNKNOWN).then_some(Left { ts: status.last_ts, id })
    }

    /// What lies before the earliest trades of a feed that are still to be fetched.
    fn first_wanted(&self, session: &dyn Session, feed: FeedIndex) -> Option<Left> {
        let before = |want| match want {
            Want::Trades { feed: of, from_id, ts_before, .. } if of == feed => {
                Some(Left { ts: ts_before, id: from_id.checked_sub(1).filter(|_| self.counts) })
            }
            _ => None,
        };
        session.outstanding().into_iter().filter_map(before).min_by_key(|left| (left.ts, left.id))
    }

    /// Remembers an end, where there is no earlier one after which nothing was recorded.
    fn leave(&mut self, at: usize, end: Option<Left>) {
        let left = self.left_of(at);
        *left = left.or(end);
    }

    /// A feed is recorded from now on. What it has handed on since its series ended is missing.
    fn come_back(&mut self, at: usize, channel: Channel, status: &FeedStatus) -> Option<Gap> {
        let now = self.end(channel, status);
        let left = self.left_of(at);
        let (since, now) = (*left).zip(now).filter(|(since, now)| since.ts < now.ts)?;
        // A quote holds until the next, a book until its next snapshot: only then the store knows again what is.
        if channel == Channel::Trades {
            *left = None;
        }
        gap(since, now.ts, now.id)
    }

    /// A record of a feed goes to the store: the hole that ends with it. `id`: of a trade.
    pub(super) fn goes_on(&mut self, feed: FeedIndex, ts: UnixNanos, id: Option<u64>) -> Option<Gap> {
        let left = self.left.get_mut(feed as usize)?;
        let since = (*left)?;
        if since.id.zip(id).is_some_and(|(last, id)| id <= last) {
            // From before the hole.
            return None;
        }
        *left = None;
        // Of one time there may have been several, and the exchange's clock may have been set back.
        gap(since, ts.max(since.ts), id.and_then(|id| id.checked_sub(1)))
    }

    /// The session declares something missing.
    pub(super) fn declared(&mut self, feed: FeedIndex, gap: &Gap) {
        if let Some(left) = self.left.get_mut(feed as usize)
            && left.is_some_and(|since| !gap.repaired && gap.from <= since.ts && since.ts <= gap.to)
        {
            *left = None;
        }
    }
}

/// What is missing from an end up to a time, and up to an id where ids count; `None` where the ids say that nothing is.
fn gap(since: Left, to: UnixNanos, last_id: Option<u64>) -> Option<Gap> {
    let known = since.id.zip(last_id);
    if known.is_some_and(|(before, last)| before == last) {
        return None;
    }
    // Ids that go back began anew: how many are missing nobody can tell.
    let ids = known.filter(|(before, last)| before < last).map(|(before, last)| (before + 1, last));
    Some(Gap { from: since.ts, to, reason: GapReason::NotRecorded, repaired: false, ids })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One feed whose series ended at 5, with trade 50 where ids count.
    fn left(counts: bool) -> Feeds {
        let mut feeds = Feeds::new(counts);
        feeds.leave(0, Some(Left { ts: UnixNanos(5), id: counts.then_some(50) }));
        // A later end is none: nothing was recorded since the first.
        feeds.leave(0, Some(Left { ts: UnixNanos(8), id: counts.then_some(80) }));
        feeds
    }

    fn hole(to: i64, ids: Option<(u64, u64)>) -> Gap {
        Gap { from: UnixNanos(5), to: UnixNanos(to), reason: GapReason::NotRecorded, repaired: false, ids }
    }

    #[test]
    fn the_first_record_ends_the_hole_and_ids_tell_what_is_missing() {
        for (counts, ts, id, expected) in [
            (false, 9, None, Some(hole(9, None))),
            (false, 9, Some(51), Some(hole(9, None))),
            (false, 3, None, Some(hole(5, None))),
            (true, 9, Some(53), Some(hole(9, Some((51, 52))))),
            (true, 9, Some(51), None),
            (true, 9, None, Some(hole(9, None))),
        ] {
            let mut feeds = left(counts);
            assert_eq!(feeds.goes_on(0, UnixNanos(ts), id), expected, "{counts} {ts} {id:?}");
            assert_eq!(feeds.goes_on(0, UnixNanos(20), Some(200)), None, "once");
        }
        // One from before it ends nothing.
        let mut feeds = left(true);
        assert_eq!((feeds.goes_on(0, UnixNanos(9), Some(50)), feeds.left().len()), (None, 1));
        assert_eq!(feeds.goes_on(1, UnixNanos(9), None), None);
    }

    #[test]
    fn what_the_session_declares_needs_no_second_word() {
        let gap = |from, to, repaired| Gap { from: UnixNanos(from), repaired, ..hole(to, None) };
        for (of, is_left) in
            [(gap(5, 9, false), false), (gap(5, 9, true), true), (gap(6, 9, false), true), (gap(1, 4, false), true)]
        {
            let mut feeds = left(false);
            feeds.declared(0, &of);
            assert_eq!(feeds.left().len(), usize::from(is_left), "{of:?}");
        }
    }

    #[test]
    fn what_was_handed_on_since_is_missing() {
        let status = |ts, id| FeedStatus { last_ts: UnixNanos(ts), last_id: Some(id), ..FeedStatus::default() };
        let back = |channel, ts, id| {
            let mut feeds = left(true);
            (feeds.come_back(0, channel, &status(ts, id)), feeds.left().len())
        };
        assert_eq!(back(Channel::Trades, 9, 90), (Some(hole(9, Some((51, 90)))), 0));
        assert_eq!(back(Channel::Trades, 9, 7), (Some(hole(9, None)), 0), "ids began anew");
        assert_eq!(back(Channel::Quotes, 9, 90), (Some(hole(9, None)), 1), "until the next quote");
        assert_eq!(back(Channel::Trades, 5, 50), (None, 1), "nothing was");
    }
}
