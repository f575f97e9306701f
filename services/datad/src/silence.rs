//! Feeds that say nothing although their market trades: a subscription that was acknowledged and stays empty, or fell asleep. Learns how
//! often each feed speaks, and asks whether the market traded meanwhile before anything is torn down: a quiet market is no
//! error. Keeps time by what it is told; does nothing itself.

use std::collections::HashMap;
use std::time::Duration;

use dccd_exchange::FeedIndex;
use tokio::time::Instant;

/// A feed is silent when it says nothing for this many of its usual intervals,
const INTERVALS: u32 = 20;
/// but not before this time, nor later than that.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(1_800));
/// How long one that never spoke since it was subscribed may take.
const FIRST: Duration = Duration::from_secs(60);
/// How much of an interval's average the newest one is.
const NEWEST: u32 = 16;
/// Between two questions about any of the feeds: what a whole exchange that stands still may cost.
const QUESTION_EVERY: Duration = Duration::from_secs(2);
/// Before the same is asked again of a feed whose market was quiet, or could not be asked.
const AGAIN: Duration = Duration::from_secs(30);

/// What is known of one feed.
struct Watched {
    /// Records so far.
    records: u64,
    /// When the last one came, or the feed was subscribed.
    active: Instant,
    /// The usual interval between records; `None` before there are two.
    interval: Option<Duration>,
    /// Not asked about before.
    not_before: Instant,
    /// Remedies since it last spoke.
    remedies: u32,
}

impl Watched {
    fn patience(&self) -> Duration {
        self.interval.map_or(FIRST, |interval| (interval * INTERVALS).clamp(PATIENCE.0, PATIENCE.1))
    }
}

/// Whether a market traded while one of its feeds was silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// The feed.
    pub(crate) feed: FeedIndex,
    /// How long it has been silent.
    pub(crate) silence: Duration,
}

/// What is to be done about a feed that is silent for no good reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// It is subscribed anew.
    Resubscribe,
    /// That was of no use: the connection is replaced, too.
    Replace,
}

/// All feeds. One question at a time.
pub(crate) struct Silence {
    feeds: HashMap<FeedIndex, Watched>,
    /// The feed that was asked about, and when it had been active last.
    asked: Option<(FeedIndex, Instant)>,
    next_question: Instant,
}

impl Silence {
    pub(crate) fn new(now: Instant) -> Self {
        Self { feeds: HashMap::new(), asked: None, next_question: now }
    }

    /// How many records a feed has given so far. One without a connection can say nothing, and is patiently waited for.
    pub(crate) fn look(&mut self, feed: FeedIndex, records: u64, is_connected: bool, now: Instant) {
        let of =
            self.feeds.entry(feed).or_insert(Watched { records, active: now, interval: None, not_before: now, remedies: 0 });
        if records > of.records {
            let new = u32::try_from(records - of.records).unwrap_or(u32::MAX);
            let newest = now.duration_since(of.active) / new;
            of.interval = Some(of.interval.map_or(newest, |usual| (usual * (NEWEST - 1) + newest) / NEWEST));
            (of.records, of.active, of.remedies) = (records, now, 0);
        } else if !is_connected {
            of.active = now;
        }
    }

    /// The question that is due, if none is open: about the feed that has been silent longest beyond its patience.
    pub(crate) fn question(&mut self, now: Instant) -> Option<Question> {
        if self.asked.is_some() || now < self.next_question {
            return None;
        }
        let silent = |of: &Watched| now.duration_since(of.active).checked_sub(of.patience());
        let due = self.feeds.iter().filter(|(_, of)| now >= of.not_before);
        let (_, feed) = due.filter_map(|(feed, of)| Some((silent(of)?, *feed))).max()?;
        let active = self.feeds.get(&feed)?.active;
        self.asked = Some((feed, active));
        self.next_question = now + QUESTION_EVERY;
        Some(Question { feed, silence: now.duration_since(active) })
    }

    /// The answer to the last question: whether the market traded; `None` when that could not be learnt.
    pub(crate) fn answered(&mut self, traded: Option<bool>, now: Instant) -> Option<(FeedIndex, Remedy)> {
        let (feed, active) = self.asked.take()?;
        let of = self.feeds.get_mut(&feed)?;
        of.not_before = now + AGAIN;
        // It may have spoken meanwhile.
        if of.active != active || traded != Some(true) {
            return None;
        }
        of.remedies += 1;
        // From here on it has the time of one that was subscribed anew.
        of.active = now;
        Some((feed, if of.remedies == 1 { Remedy::Resubscribe } else { Remedy::Replace }))
    }

    /// The feed is closed.
    pub(crate) fn forget(&mut self, feed: FeedIndex) {
        self.feeds.remove(&feed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A feed that spoke once a second for a minute, and its last moment.
    fn lively(silence: &mut Silence, feed: FeedIndex, begin: Instant) -> Instant {
        for n in 0..=60 {
            silence.look(feed, n, true, begin + s(n));
        }
        begin + s(60)
    }

    #[test]
    fn one_that_falls_silent_is_asked_about_and_subscribed_anew_then_its_connection_is_replaced() {
        let begin = Instant::now();
        let mut silence = Silence::new(begin);
        let last = lively(&mut silence, 3, begin);
        assert_eq!(silence.question(last + s(29)), None);
        let question = silence.question(last + s(31)).unwrap();
        assert_eq!(question, Question { feed: 3, silence: s(31) });
        assert_eq!(silence.question(last + s(40)), None, "one question at a time");
        assert_eq!(silence.answered(Some(true), last + s(41)), Some((3, Remedy::Resubscribe)));
        // It has its patience again.
        assert_eq!(silence.question(last + s(60)), None);
        silence.question(last + s(75)).unwrap();
        assert_eq!(silence.answered(Some(true), last + s(76)), Some((3, Remedy::Replace)));
        // Once it has spoken, the next silence begins from the beginning.
        silence.look(3, 61, true, last + s(77));
        silence.question(last + s(300)).unwrap();
        assert_eq!(silence.answered(Some(true), last + s(301)), Some((3, Remedy::Resubscribe)));
    }

    #[test]
    fn a_quiet_market_is_left_alone_and_asked_about_again_later() {
        let begin = Instant::now();
        let mut silence = Silence::new(begin);
        let last = lively(&mut silence, 1, begin);
        for (at, traded) in [(31, Some(false)), (70, None)] {
            silence.question(last + s(at)).unwrap();
            assert_eq!(silence.answered(traded, last + s(at + 1)), None);
            assert_eq!(silence.question(last + s(at + 10)), None);
        }
        // One that spoke while the answer was under way is none that is silent.
        silence.question(last + s(110)).unwrap();
        silence.look(1, 61, true, last + s(111));
        assert_eq!(silence.answered(Some(true), last + s(112)), None);
    }

    #[test]
    fn patience_goes_by_how_often_a_feed_speaks() {
        let begin = Instant::now();
        let mut silence = Silence::new(begin);
        // Once in ten minutes; never; never, and closed; without a connection.
        silence.look(0, 0, true, begin);
        silence.look(0, 1, true, begin + s(600));
        silence.look(1, 0, true, begin + s(590));
        silence.look(2, 0, true, begin);
        silence.forget(2);
        silence.look(3, 0, false, begin);
        silence.look(3, 0, false, begin + s(640));
        assert_eq!(silence.question(begin + s(645)), None);
        assert_eq!(silence.question(begin + s(655)).unwrap().feed, 1);
        assert_eq!(silence.answered(Some(false), begin + s(656)), None);
        assert_eq!(silence.question(begin + s(600 + 1_801)).unwrap().feed, 1);
        assert_eq!(silence.answered(None, begin + s(2_402)), None);
        silence.forget(1);
        silence.forget(3);
        assert_eq!(silence.question(begin + s(2_410)).unwrap().feed, 0);
    }
}
