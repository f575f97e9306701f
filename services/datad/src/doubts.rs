//! What a process that has only begun can't tell yet of the things that may have been wrong before it: what it doesn't say of those is
//! no sign that they are over. Each doubt ends by itself: when the thing was seen to be well, or was told anew.

use std::collections::BTreeSet;
use std::time::Duration;

use dccd_rpc::condition::Doubt;
use tokio::time::Instant;

/// What nobody can know at first: these show when something is tried.
const SHOWN_IN_TIME: [&str; 9] = [
    "markets_unknown",
    "exchange_closed",
    "not_recording",
    "journal_damaged",
    "store_failing",
    "candles_failing",
    "thread_stuck",
    "feed_closed",
    "job_failing",
];
/// A feed that was subscribed and says nothing is asked about after a minute (`silence.rs`); until then it looks well.
const FIRST_WORD: Duration = Duration::from_secs(90);

/// What is seen of a recorded feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its name.
    pub(crate) name: String,
    /// It is subscribed, not silent for no reason, and its book is valid.
    pub(crate) is_live: bool,
    /// It has given data to this process.
    pub(crate) has_spoken: bool,
    /// Some of what it lacks waits to be made good.
    pub(crate) has_gaps: bool,
}

/// The doubts of one process.
#[derive(Debug)]
pub(crate) struct Doubts {
    begun: Instant,
    /// Whether there is a connection.
    connection: bool,
    /// Feeds that may be without data, or have no valid book; `None` before they were looked at.
    silent: Option<BTreeSet<String>>,
    /// Feeds whose gaps may stay.
    gaps: Option<BTreeSet<String>>,
    over: bool,
}

impl Doubts {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { begun: now, connection: true, silent: None, gaps: None, over: false }
    }

    /// Whether none is left; none ever comes back.
    pub(crate) const fn are_over(&self) -> bool {
        self.over
    }

    /// Those that are left after a look at the feeds. `told`: whether this process says so of a kind and a subject, or, without one, of
    /// any. `stale_after`: after this long what may be wrong at once has shown.
    pub(crate) fn left(
        &mut self,
        feeds: &[Seen],
        is_connected: bool,
        told: impl Fn(&str, Option<&str>) -> bool,
        stale_after: Duration,
        now: Instant,
    ) -> Vec<Doubt> {
        let since = now.duration_since(self.begun);
        let (early, unheard) = (since < stale_after, since < stale_after.max(FIRST_WORD));
        self.connection &= !is_connected && !told("disconnected", None);
        let still = |known: Option<&BTreeSet<String>>, is_doubtful: &dyn Fn(&Seen) -> bool, kinds: &[&str]| {
            let was = |feed: &&Seen| known.is_none_or(|known| known.contains(&feed.name));
            let is_told = |feed: &Seen| kinds.iter().any(|kind| told(kind, Some(&feed.name)));
            let left = feeds.iter().filter(was).filter(|feed| is_doubtful(feed) && !is_told(feed));
            left.map(|feed| feed.name.clone()).collect::<BTreeSet<_>>()
        };
        let is_silent = |feed: &Seen| !feed.is_live || (unheard && !feed.has_spoken);
        let silent = still(self.silent.as_ref(), &is_silent, &["data_stale", "book_invalid"]);
        // Which gaps are open is known in time, too.
        let gaps = still(self.gaps.as_ref(), &|feed| early || feed.has_gaps, &["gap_not_repaired"]);
        let of = |kind: &str, subject: Option<&String>| Doubt { kind: kind.to_owned(), subject: subject.cloned() };
        let mut doubts: Vec<Doubt> = silent
            .iter()
            .flat_map(|name| ["data_stale", "book_invalid"].map(|kind| of(kind, Some(name))))
            .chain(gaps.iter().map(|name| of("gap_not_repaired", Some(name))))
            .chain(self.connection.then(|| of("disconnected", None)))
            .collect();
        if early {
            doubts.extend(SHOWN_IN_TIME.map(|kind| of(kind, None)));
        }
        (self.silent, self.gaps) = (Some(silent), Some(gaps));
        self.over = doubts.is_empty();
        doubts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALE_AFTER: Duration = Duration::from_secs(60);

    fn seen(name: &str, is_live: bool, has_spoken: bool, has_gaps: bool) -> Seen {
        Seen { name: name.to_owned(), is_live, has_spoken, has_gaps }
    }

    /// A process, and what it says.
    struct Bench {
        doubts: Doubts,
        begun: Instant,
        told: Vec<(&'static str, &'static str)>,
    }

    impl Bench {
        fn new() -> Self {
            let begun = Instant::now();
            Self { doubts: Doubts::new(begun), begun, told: Vec::new() }
        }

        /// What is left of the doubts about feeds and the connection after so many seconds, as words.
        fn at(&mut self, second: u64, is_connected: bool, feeds: &[Seen]) -> Vec<String> {
            let told = |kind: &str, subject: Option<&str>| {
                self.told.iter().any(|(known, of)| *known == kind && subject.is_none_or(|subject| subject == *of))
            };
            let now = self.begun + Duration::from_secs(second);
            let left = self.doubts.left(feeds, is_connected, told, STALE_AFTER, now);
            assert_eq!(self.doubts.are_over(), left.is_empty());
            let whole = left.iter().filter(|doubt| SHOWN_IN_TIME.contains(&doubt.kind.as_str())).count();
            assert_eq!(whole, if second < 60 { SHOWN_IN_TIME.len() } else { 0 });
            let others = left.iter().filter(|doubt| !SHOWN_IN_TIME.contains(&doubt.kind.as_str()));
            others.map(|doubt| format!("{} {}", doubt.kind, doubt.subject.as_deref().unwrap_or("*"))).collect()
        }
    }

    #[test]
    fn one_feed_whose_gap_stays_open_leaves_no_doubt_about_the_others() {
        let mut bench = Bench::new();
        let well = seen("a", true, true, false);
        let first = bench.at(1, true, &[seen("a", false, false, false), seen("b", true, true, true)]);
        assert_eq!(first, ["data_stale a", "book_invalid a", "gap_not_repaired a", "gap_not_repaired b"]);
        let heard = bench.at(10, true, &[well.clone(), seen("b", true, true, true)]);
        assert_eq!(heard, ["gap_not_repaired a", "gap_not_repaired b"], "a was seen to be well");
        // What comes later is no matter of the process before.
        let again = [seen("a", false, true, true), seen("b", true, true, true), seen("c", false, false, true)];
        assert_eq!(bench.at(20, true, &again), ["gap_not_repaired a", "gap_not_repaired b"]);
        assert_eq!(bench.at(60, true, &[well.clone(), seen("b", true, true, true)]), ["gap_not_repaired b"]);
        assert_eq!(bench.at(880, true, &[well.clone(), seen("b", true, true, true)]), ["gap_not_repaired b"]);
        bench.told.push(("gap_not_repaired", "b"));
        assert_eq!(bench.at(900, true, &[well, seen("b", true, true, true)]), [""; 0]);
    }

    #[test]
    fn one_that_was_never_heard_is_doubted_until_it_would_have_been_asked_about() {
        let mut bench = Bench::new();
        let quiet = [seen("a", true, false, false)];
        assert_eq!(bench.at(1, true, &quiet).len(), 3);
        assert_eq!(bench.at(89, true, &quiet), ["data_stale a", "book_invalid a"]);
        // It was asked about, and its market trades.
        assert_eq!(bench.at(95, true, &[seen("a", false, false, false)]), ["data_stale a", "book_invalid a"]);
        bench.told.push(("data_stale", "a"));
        assert_eq!(bench.at(155, true, &[seen("a", false, false, false)]), [""; 0]);
        let mut bench = Bench::new();
        bench.at(1, true, &quiet);
        assert_eq!(bench.at(90, true, &quiet), [""; 0], "a quiet market is no error");
    }

    #[test]
    fn without_a_connection_nothing_is_known_of_its_feeds() {
        let mut bench = Bench::new();
        let dead = [seen("a", false, false, false)];
        assert_eq!(bench.at(1, false, &dead).last().unwrap(), "disconnected *");
        bench.told.push(("disconnected", "x"));
        assert_eq!(bench.at(1_000, false, &dead), ["data_stale a", "book_invalid a"]);
        assert_eq!(bench.at(1_010, true, &[seen("a", true, true, false)]), [""; 0]);
        // Nothing is recorded any more: what was wrong with that is over.
        let mut bench = Bench::new();
        bench.at(1, false, &dead);
        assert_eq!(bench.at(61, true, &[]), [""; 0]);
    }
}
