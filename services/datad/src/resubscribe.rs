//! When a feed is subscribed anew so that its book begins with a snapshot: one attempt under way for each, farther from the last one
//! the more it keeps asking, nearer again where attempts hold, and no more on one connection than the exchange allows. Keeps time by
//! what it is told; does nothing itself.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use dccd_exchange::{FeedIndex, Limits};
use tokio::time::Instant;

/// A snapshot that doesn't come within this time after its subscription is asked for again.
const PATIENCE: Duration = Duration::from_secs(10);
/// First and longest distance between attempts for a feed that keeps asking.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(60));
/// A feed that didn't ask for so long after its pause is forgiven, and begins with no pause again.
const CALM: Duration = Duration::from_secs(60);
/// After an attempt that held until the next might be made, their distance is divided by this.
const CUT: u32 = 4;
/// After so many attempts that came to nothing it may be the connection: it is replaced, too.
const ATTEMPTS_PER_CONNECTION: u32 = 4;

/// One feed's attempts.
struct Attempts {
    /// The connection that is asked; 0: all that carry the feed.
    conn: u32,
    /// When the next one is made; `None`: none is asked for.
    due: Option<Instant>,
    /// When the exchange was last told to begin, by an attempt or by the connection's own subscriptions.
    subscribed: Option<Instant>,
    /// The least time between the last attempt and the next.
    pause: Duration,
    /// Attempts since the feed was last calm.
    count: u32,
}

/// What is to be done about one feed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) feed: FeedIndex,
    /// 0: all connections that carry the feed.
    pub(crate) conn: u32,
    /// So much came to nothing that the connection should be replaced.
    pub(crate) replaces: bool,
}

/// The attempts for all feeds. As large as the number of feeds and what the exchange's limit lets be recent.
pub(crate) struct Resubscribes {
    per_window: usize,
    window: Duration,
    feeds: HashMap<FeedIndex, Attempts>,
    /// Attempts made lately, by connection.
    recent: VecDeque<(u32, Instant)>,
}

impl Resubscribes {
    /// Within these limits.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            per_window: usize::try_from(limits.resubscribes_per_window).unwrap_or(usize::MAX),
            window: limits.resubscribe_window,
            feeds: HashMap::new(),
            recent: VecDeque::new(),
        }
    }

    fn of(&mut self, feed: FeedIndex) -> &mut Attempts {
        self.feeds.entry(feed).or_insert(Attempts { conn: 0, due: None, subscribed: None, pause: Duration::ZERO, count: 0 })
    }

    /// A connection subscribed this feed: its snapshot is on the way.
    pub(crate) fn subscribed(&mut self, feed: FeedIndex, now: Instant) {
        let of = self.of(feed);
        of.subscribed = Some(now);
        of.due = None;
    }

    /// The session wants the feed subscribed anew. What it had until now it had from the last attempt.
    pub(crate) fn ask(&mut self, feed: FeedIndex, conn: u32, now: Instant) {
        let of = self.of(feed);
        let held = of.subscribed.map(|at| now.duration_since(at));
        if of.due.is_none() && held.is_some_and(|held| held >= of.pause) {
            of.count = 0;
            of.pause = Some(of.pause / CUT).filter(|pause| *pause >= PAUSE.0).unwrap_or_default();
        }
        self.want(feed, conn, now);
    }

    fn want(&mut self, feed: FeedIndex, conn: u32, now: Instant) {
        let of = self.of(feed);
        of.conn = conn;
        if of.due.is_some() {
            return;
        }
        let calm = of.subscribed.is_none_or(|at| now.duration_since(at) > of.pause + CALM);
        if calm {
            (of.pause, of.count) = (Duration::ZERO, 0);
        }
        // Attempts keep their distance: one that held for so long has waited enough.
        of.due = Some(of.subscribed.map_or(now, |at| now.max(at + of.pause)));
        of.pause = (of.pause * 2).clamp(PAUSE.0, PAUSE.1);
    }

    /// The session still waits for this feed's snapshot: asked for again where it had time enough to come.
    pub(crate) fn remind(&mut self, feed: FeedIndex, conn: u32, now: Instant) {
        let of = self.of(feed);
        if of.due.is_none() && of.subscribed.is_none_or(|at| now.duration_since(at) >= PATIENCE) {
            self.want(feed, conn, now);
        }
    }

    /// What is due now. `carriers` tells which connections a feed would be subscribed on; there are none where the next one
    /// subscribes it by itself, or what was wanted has come meanwhile.
    pub(crate) fn take_due(&mut self, now: Instant, carriers: impl Fn(FeedIndex, u32) -> Vec<u32>) -> Vec<Attempt> {
        while self.recent.front().is_some_and(|(_, at)| now.duration_since(*at) >= self.window) {
            self.recent.pop_front();
        }
        let mut due: Vec<FeedIndex> =
            self.feeds.iter().filter(|(_, of)| of.due.is_some_and(|at| at <= now)).map(|(feed, _)| *feed).collect();
        // Who has waited longest comes first: one that keeps asking takes no place of another.
        due.sort_unstable_by_key(|feed| (self.feeds.get(feed).and_then(|of| of.subscribed), *feed));
        let mut attempts = Vec::new();
        for feed in due {
            let conn = self.of(feed).conn;
            let conns = carriers(feed, conn);
            let used = |conn: &u32| self.recent.iter().filter(|(of, _)| of == conn).count();
            if conns.iter().any(|conn| used(conn) >= self.per_window) {
                continue; // it stays due until the window has room
            }
            self.recent.extend(conns.iter().map(|conn| (*conn, now)));
            let of = self.of(feed);
            of.due = None;
            if conns.is_empty() {
                continue;
            }
            of.subscribed = Some(now);
            of.count += 1;
            attempts.push(Attempt { feed, conn, replaces: of.count.is_multiple_of(ATTEMPTS_PER_CONNECTION) });
        }
        attempts
    }

    /// The feed is closed.
    pub(crate) fn forget(&mut self, feed: FeedIndex) {
        self.feeds.remove(&feed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(per_window: u32) -> Limits {
        let kraken = dccd_exchange::adapter("kraken", &dccd_exchange::AdapterOptions::default()).unwrap();
        Limits { resubscribes_per_window: per_window, resubscribe_window: Duration::from_secs(60), ..*kraken.limits() }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Feeds that are due; all on connection 7.
    fn due(all: &mut Resubscribes, now: Instant) -> Vec<FeedIndex> {
        all.take_due(now, |_, _| vec![7]).into_iter().map(|attempt| attempt.feed).collect()
    }

    #[test]
    fn one_that_keeps_asking_waits_longer_each_time_and_is_forgiven_when_calm() {
        let mut all = Resubscribes::new(&limits(1_000));
        let mut now = Instant::now();
        let begin = now;
        let mut at = Vec::new();
        // It asks again as soon as an attempt was made.
        all.ask(1, 7, now);
        while now < begin + Duration::from_secs(200) {
            if due(&mut all, now) == [1] {
                at.push((now - begin).as_millis());
                all.ask(1, 7, now);
            }
            now += ms(50);
        }
        assert_eq!(at, [0, 250, 750, 1_750, 3_750, 7_750, 15_750, 31_750, 63_750, 123_750, 183_750]);
        now += Duration::from_secs(180);
        assert_eq!(due(&mut all, now), [1]);
        now += Duration::from_secs(180);
        all.ask(1, 7, now);
        assert_eq!(due(&mut all, now), [1], "after a calm time at once");
    }

    #[test]
    fn one_whose_attempts_hold_is_asked_for_at_once_and_one_that_failed_before_sooner_each_time() {
        let mut all = Resubscribes::new(&limits(1_000));
        let mut now = Instant::now();
        for _ in 0..10 {
            all.ask(1, 7, now);
            assert_eq!(all.take_due(now, |_, _| vec![7]), [Attempt { feed: 1, conn: 7, replaces: false }]);
            now += ms(3_000);
        }
        // Some come to nothing; then each holds for a second and a half, and then for ten.
        for _ in 0..4 {
            all.ask(1, 7, now);
            while due(&mut all, now).is_empty() {
                now += ms(50);
            }
        }
        let mut waited = Vec::new();
        for held in [1_500, 1_500, 10_000, 1_500, 1_500] {
            now += ms(held);
            let asked = now;
            all.ask(1, 7, now);
            while due(&mut all, now).is_empty() {
                now += ms(50);
            }
            waited.push((now - asked).as_millis());
        }
        assert_eq!(waited, [500, 2_500, 0, 2_500, 6_500]);
    }

    #[test]
    fn who_has_waited_longest_comes_first() {
        let mut all = Resubscribes::new(&limits(1));
        let now = Instant::now();
        all.subscribed(1, now + ms(500));
        all.subscribed(2, now);
        all.ask(1, 7, now + ms(1_000));
        all.ask(2, 7, now + ms(1_000));
        assert_eq!(due(&mut all, now + ms(1_000)), [2]);
        assert_eq!(due(&mut all, now + ms(61_000)), [1]);
    }

    #[test]
    fn while_an_attempt_is_under_way_no_other_is_made() {
        let mut all = Resubscribes::new(&limits(1_000));
        let now = Instant::now();
        all.subscribed(1, now);
        all.remind(1, 0, now + ms(9_000));
        assert_eq!(due(&mut all, now + ms(9_000)), [] as [FeedIndex; 0], "the first snapshot may be on its way");
        all.remind(1, 0, now + ms(10_000));
        all.remind(1, 0, now + ms(10_000));
        assert_eq!(due(&mut all, now + ms(10_000)), [1]);
        all.remind(1, 0, now + ms(11_000));
        assert_eq!(due(&mut all, now + ms(11_000)), [] as [FeedIndex; 0]);
        all.ask(1, 7, now + ms(11_000));
        all.subscribed(1, now + ms(11_100));
        assert_eq!(due(&mut all, now + ms(12_000)), [] as [FeedIndex; 0], "a new connection has subscribed it meanwhile");
    }

    #[test]
    fn a_storm_is_cut_to_what_the_exchange_allows_and_goes_on_when_there_is_room() {
        let mut all = Resubscribes::new(&limits(30));
        let now = Instant::now();
        for feed in 0..100 {
            all.ask(feed, 7, now);
        }
        assert_eq!(due(&mut all, now), (0..30).collect::<Vec<_>>());
        assert_eq!(due(&mut all, now + ms(59_000)), [] as [FeedIndex; 0]);
        assert_eq!(due(&mut all, now + ms(60_000)), (30..60).collect::<Vec<_>>());
        // Another connection has a budget of its own.
        let other = all.take_due(now + ms(60_000), |_, _| vec![8]);
        assert_eq!(other.len(), 30);
    }

    #[test]
    fn attempts_without_end_replace_the_connection_and_those_without_one_are_left() {
        let mut all = Resubscribes::new(&limits(1_000));
        let mut now = Instant::now();
        all.ask(3, 7, now);
        assert_eq!(all.take_due(now, |_, _| Vec::new()), []);
        let mut replaces = Vec::new();
        while replaces.len() < 8 {
            now += Duration::from_secs(1);
            all.remind(3, 7, now);
            replaces.extend(all.take_due(now, |_, _| vec![7]).into_iter().map(|attempt| attempt.replaces));
        }
        assert_eq!(replaces, [false, false, false, true, false, false, false, true]);
        all.ask(3, 7, now);
        all.forget(3);
        assert_eq!(all.take_due(now + Duration::from_secs(70), |_, _| vec![7]), []);
    }
}
