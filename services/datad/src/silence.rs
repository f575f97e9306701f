//! Feeds that say nothing although their market trades: a subscription that was acknowledged and stays empty, or fell asleep. Learns how
//! often each feed speaks, and asks whether the market traded meanwhile before anything is torn down: a quiet market is no
//! error. Keeps time by what it is told; does nothing itself.

use std::collections::HashMap;
use std::time::Duration;

use dccd_exchange::FeedIndex;
use dccd_model::UnixNanos;
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
/// Before the same is asked again of a feed whose market was quiet, or could not be asked: longer each time, up to the latter.
const AGAIN: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(1_800));
/// How long a feed may still take to tell what the market has told already: the two ways are not equally fast.
const GRACE: Duration = Duration::from_secs(5);
/// A question without an answer for so long will get none.
const ANSWER: Duration = Duration::from_secs(60);

/// What is known of one feed.
struct Watched {
    /// Records so far.
    records: u64,
    /// Host time of the last one that came by itself.
    last_recv: UnixNanos,
    /// When that was, or when the feed was subscribed.
    active: Instant,
    /// The usual interval between records; `None` before there are two.
    interval: Option<Duration>,
    /// Not asked about before.
    not_before: Instant,
    /// When it was asked about last.
    asked: Option<Instant>,
    /// How often that led to nothing since it last spoke.
    in_vain: u32,
    /// Remedies since it last spoke.
    remedies: u32,
    /// Remedies ever: one that needs them often is one of which too much is expected.
    alarms: u32,
}

impl Watched {
    fn patience(&self) -> Duration {
        let usual = self.interval.map_or(FIRST, |interval| (interval * INTERVALS).clamp(PATIENCE.0, PATIENCE.1));
        usual.saturating_mul(1 << self.alarms.min(6)).min(PATIENCE.1)
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
    /// The feed that was asked about, when it had been active last, and when that was.
    asked: Option<(FeedIndex, Instant, Instant)>,
    /// The feed whose market has traded, when it had been active last, and until when it may still tell.
    suspect: Option<(FeedIndex, Instant, Instant)>,
    next_question: Instant,
}

impl Silence {
    pub(crate) fn new(now: Instant) -> Self {
        Self { feeds: HashMap::new(), asked: None, suspect: None, next_question: now }
    }

    /// How many records a feed has given so far, and when the last one came by itself: what was fetched says nothing about the
    /// subscription. One without a connection can say nothing, and is patiently waited for.
    pub(crate) fn look(&mut self, feed: FeedIndex, spoken: (u64, UnixNanos), is_connected: bool, now: Instant) {
        let (records, last_recv) = spoken;
        let of = self.feeds.entry(feed).or_insert(Watched {
            records,
            last_recv,
            active: now,
            interval: None,
            not_before: now,
            asked: None,
            in_vain: 0,
            remedies: 0,
            alarms: 0,
        });
        if last_recv > of.last_recv {
            let new = u32::try_from(records.saturating_sub(of.records)).unwrap_or(u32::MAX).max(1);
            let newest = now.duration_since(of.active) / new;
            of.interval = Some(of.interval.map_or(newest, |usual| (usual * (NEWEST - 1) + newest) / NEWEST));
            (of.last_recv, of.active, of.remedies, of.in_vain) = (last_recv, now, 0, 0);
        } else if !is_connected {
            of.active = now;
        }
        of.records = records;
    }

    /// The question that is due, if none is open: of the feeds that have been silent beyond their patience about the one that was asked
    /// about longest ago, so that each has its turn.
    pub(crate) fn question(&mut self, now: Instant) -> Option<Question> {
        if self.asked.is_some_and(|(.., at)| now.duration_since(at) >= ANSWER) {
            self.answered(None, now);
        }
        if self.asked.is_some() || self.suspect.is_some() || now < self.next_question {
            return None;
        }
        let is_due = |of: &Watched| now >= of.not_before && now.duration_since(of.active) >= of.patience();
        let due = self.feeds.iter().filter(|(_, of)| is_due(of));
        let (feed, of) = due.min_by_key(|(feed, of)| (of.asked, of.active, **feed))?;
        let (feed, active) = (*feed, of.active);
        self.feeds.get_mut(&feed)?.asked = Some(now);
        self.asked = Some((feed, active, now));
        self.next_question = now + QUESTION_EVERY;
        Some(Question { feed, silence: now.duration_since(active) })
    }

    /// The answer to the last question: whether the market traded; `None` when that could not be learnt.
    pub(crate) fn answered(&mut self, traded: Option<bool>, now: Instant) {
        let Some((feed, active, _)) = self.asked.take() else { return };
        let Some(of) = self.feeds.get_mut(&feed) else { return };
        // It may have spoken meanwhile.
        if of.active != active {
            return;
        }
        if traded == Some(true) {
            self.suspect = Some((feed, active, now + GRACE));
            return;
        }
        of.not_before = now + AGAIN.0.saturating_mul(1 << of.in_vain.min(6)).min(AGAIN.1);
        of.in_vain += 1;
    }

    /// Since when the feed has said nothing whose market has traded, if there is one that may still tell.
    pub(crate) fn suspected_since(&self) -> Option<Instant> {
        self.suspect.map(|(_, active, _)| active)
    }

    /// What is to be done about a feed whose market has traded and that has not spoken since.
    pub(crate) fn remedy(&mut self, now: Instant) -> Option<(FeedIndex, Remedy)> {
        let (feed, active, _) = self.suspect.take_if(|(.., until)| now >= *until)?;
        let of = self.feeds.get_mut(&feed).filter(|of| of.active == active)?;
        of.remedies += 1;
        of.alarms += 1;
        // From here on it has the time of one that was subscribed anew.
        (of.active, of.not_before) = (now, now + AGAIN.0);
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

    fn at(second: u64) -> UnixNanos {
        UnixNanos::from_secs(i64::try_from(second).unwrap())
    }

    /// A feed that spoke once a second for a minute, and its last moment.
    fn lively(silence: &mut Silence, feed: FeedIndex, begin: Instant) -> Instant {
        for n in 0..=60 {
            silence.look(feed, (n, at(n)), true, begin + s(n));
        }
        begin + s(60)
    }

    /// What comes of an answer that the market has traded, given then and looked at until the feed had time to tell.
    fn traded(silence: &mut Silence, then: Instant) -> Option<(FeedIndex, Remedy)> {
        silence.answered(Some(true), then);
        assert_eq!(silence.remedy(then + s(4)), None);
        silence.remedy(then + s(5))
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
        assert_eq!(traded(&mut silence, last + s(41)), Some((3, Remedy::Resubscribe)));
        // It has its patience again, and more of it than the first time.
        assert_eq!(silence.question(last + s(105)), None);
        silence.question(last + s(107)).unwrap();
        assert_eq!(traded(&mut silence, last + s(108)), Some((3, Remedy::Replace)));
        // What was fetched is no sign of life.
        silence.look(3, (90, at(60)), true, last + s(110));
        silence.question(last + s(400)).unwrap();
        assert_eq!(traded(&mut silence, last + s(401)), Some((3, Remedy::Replace)));
        // Once it has spoken, the next silence begins from the beginning.
        silence.look(3, (91, at(600)), true, last + s(410));
        silence.question(last + s(2_300)).unwrap();
        assert_eq!(traded(&mut silence, last + s(2_301)), Some((3, Remedy::Resubscribe)));
    }

    #[test]
    fn a_quiet_market_is_left_alone_and_asked_about_again_later_and_later() {
        let begin = Instant::now();
        let mut silence = Silence::new(begin);
        let last = lively(&mut silence, 1, begin);
        for (at, traded) in [(31, Some(false)), (70, None)] {
            silence.question(last + s(at)).unwrap();
            silence.answered(traded, last + s(at + 1));
            assert_eq!(silence.remedy(last + s(at + 10)), None);
            assert_eq!(silence.question(last + s(at + 10)), None);
        }
        assert_eq!(silence.question(last + s(130)), None);
        // One that speaks just after the market told is none that is silent; nor is one that spoke before the answer came.
        silence.question(last + s(135)).unwrap();
        silence.answered(Some(true), last + s(136));
        silence.look(1, (61, at(61)), true, last + s(137));
        assert_eq!(silence.remedy(last + s(141)), None);
        silence.question(last + s(400)).unwrap();
        silence.look(1, (62, at(62)), true, last + s(401));
        assert_eq!(traded(&mut silence, last + s(402)), None);
    }

    #[test]
    fn each_silent_feed_has_its_turn_and_an_answer_that_never_comes_holds_up_none() {
        let begin = Instant::now();
        let mut silence = Silence::new(begin);
        (0..40).for_each(|feed| silence.look(feed, (0, at(0)), true, begin));
        let mut asked: Vec<FeedIndex> = Vec::new();
        let mut now = begin + s(100);
        for _ in 0..40 {
            asked.push(silence.question(now).unwrap().feed);
            silence.answered(Some(false), now);
            now += s(2);
        }
        asked.sort_unstable();
        asked.dedup();
        assert_eq!(asked.len(), 40);
        silence.question(now).unwrap();
        assert_eq!(silence.question(now + s(59)), None);
        assert!(silence.question(now + s(61)).is_some());
    }

    #[test]
    fn patience_goes_by_how_often_a_feed_speaks() {
        let begin = Instant::now();
        let mut silence = Silence::new(begin);
        // Once in ten minutes; never; never, and closed; without a connection.
        silence.look(0, (0, at(0)), true, begin);
        silence.look(0, (1, at(600)), true, begin + s(600));
        silence.look(1, (0, at(0)), true, begin + s(590));
        silence.look(2, (0, at(0)), true, begin);
        silence.forget(2);
        silence.look(3, (0, at(0)), false, begin);
        silence.look(3, (0, at(0)), false, begin + s(640));
        assert_eq!(silence.question(begin + s(645)), None);
        assert_eq!(silence.question(begin + s(655)).unwrap().feed, 1);
        silence.answered(Some(false), begin + s(656));
        silence.forget(1);
        silence.forget(3);
        assert_eq!(silence.question(begin + s(600 + 1_799)), None);
        assert_eq!(silence.question(begin + s(600 + 1_801)).unwrap().feed, 0);
    }
}
