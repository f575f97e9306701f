//! What is wrong with the collection from one exchange and worth telling somebody: looked at each second, whatever the other parts of
//! the process are at. The words are those that `status` and `/health` have; here they are told apart by kind.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use dccd_model::UnixNanos;
use dccd_net::Snapshot;
use dccd_rpc::condition::Severity;
use dccd_rpc::datad::{FeedInfo, JobInfo};
use dccd_service::Conditions;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::clock;
use crate::doubts::{Doubts, Seen};
use crate::rpc::Server;
use crate::shared::Part;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Looks between two at feeds and jobs; for the feeds the hot thread is asked.
const FEEDS_EVERY: u32 = 10;

/// What is put up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Failures of a history job in a row.
    pub max_consecutive_errors: u64,
    /// How long a recorded feed may be without data.
    pub stale_after: Duration,
    /// How long gaps may wait to be made good.
    pub gap_after: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { max_consecutive_errors: 3, stale_after: Duration::from_secs(60), gap_after: Duration::from_secs(900) }
    }
}

/// Looks on until the runtime ends, with as much patience as the configuration has. Should it panic, alerts alone are missing.
pub(crate) async fn watch(server: Server, conditions: Conditions, patience: watch::Receiver<Patience>) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watch = Watch::new(server.adapter.name(), conditions, *patience.borrow());
    // What the process before this one knew, this one learns in time only.
    watch.conditions.settled(false);
    for look in 0_u32.. {
        ticks.tick().await;
        watch.patience = *patience.borrow();
        let running = server.running().is_ok();
        watch.parts(&server.shared.troubles(), running);
        watch.requests(&server.rest.busiest(), clock::now());
        watch.closed(server.closed_feeds());
        let wanted = running && server.has_configured_feeds();
        let connected = !wanted || server.shared.connections.load(Ordering::Relaxed) > 0;
        watch.connection(connected, Instant::now());
        if look.is_multiple_of(FEEDS_EVERY) {
            // A thread that gives no answer is reported as such, and says nothing of the feeds.
            if let Ok(feeds) = server.feed_list().await {
                watch.feeds(&feeds, Instant::now());
                watch.settle(&feeds, running, Instant::now());
            }
            watch.jobs(&server.known_histo_jobs());
        }
    }
}

/// Whether something has been so for long enough.
#[derive(Debug, Default)]
struct Lasting(HashMap<String, Instant>);

impl Lasting {
    /// Those of the names that have been given without a pause for so long.
    fn for_long<'a>(&mut self, names: impl Iterator<Item = &'a str>, long: Duration, now: Instant) -> Vec<String> {
        let before = std::mem::take(&mut self.0);
        self.0 = names.map(|name| (name.to_owned(), before.get(name).copied().unwrap_or(now))).collect();
        let long = self.0.iter().filter(|(_, since)| now.duration_since(**since) >= long);
        long.map(|(name, _)| name.clone()).collect()
    }
}

struct Watch {
    exchange: String,
    conditions: Conditions,
    patience: Patience,
    unconnected_since: Option<Instant>,
    /// Feeds that are told to be without data.
    stale: HashSet<String>,
    not_live: Lasting,
    with_gaps: Lasting,
    doubts: Doubts,
}

impl Watch {
    fn new(exchange: &str, conditions: Conditions, patience: Patience) -> Self {
        let (not_live, with_gaps) = (Lasting::default(), Lasting::default());
        let exchange = exchange.to_owned();
        Self {
            exchange,
            conditions,
            patience,
            unconnected_since: None,
            stale: HashSet::new(),
            not_live,
            with_gaps,
            doubts: Doubts::new(Instant::now()),
        }
    }

    /// Says what this process can't tell yet. Before it collects that is everything.
    fn settle(&mut self, feeds: &[FeedInfo], running: bool, now: Instant) {
        if !running || self.doubts.are_over() {
            return;
        }
        let seen = |feed: &FeedInfo| Seen {
            name: self.name(feed),
            is_live: feed.state == "live",
            has_spoken: feed.last_recv > 0,
            has_gaps: feed.open_gaps > 0,
        };
        let seen: Vec<Seen> = feeds.iter().filter(|feed| feed.recorded).map(seen).collect();
        let said = self.conditions.list();
        let told = |kind: &str, subject: Option<&str>| {
            said.iter().any(|said| said.kind == kind && subject.is_none_or(|subject| said.subject == subject))
        };
        let is_connected = self.unconnected_since.is_none();
        self.conditions.doubt(self.doubts.left(&seen, is_connected, told, self.patience.stale_after, now));
        self.conditions.settled(true);
    }

    fn name(&self, feed: &FeedInfo) -> String {
        format!("{}/{}/{}", self.exchange, feed.symbol, feed.channel)
    }

    /// The parts of the process that are in trouble. `running`: it has begun to collect.
    fn parts(&self, troubles: &[(Part, String)], running: bool) {
        for part in Part::ALL {
            let (kind, severity) = match kind_of(part) {
                // Without them nothing can begin.
                (kind @ "markets_unknown", _) if !running => (kind, Severity::Critical),
                named => named,
            };
            let words = troubles.iter().find(|(known, _)| *known == part).map(|(_, words)| words.clone());
            self.conditions.set(kind, &self.exchange, words.map(|words| (severity, words)));
        }
    }

    /// Whether the exchange takes requests.
    fn requests(&self, account: &Snapshot, now: UnixNanos) {
        let frozen = account.frozen_until.filter(|until| *until > now.0).map(|until| {
            let (severity, why) = match account.frozen_status {
                Some(status @ (403 | 418)) => (Severity::Critical, format!("it answered {status}, a ban")),
                Some(status @ 300..) => (Severity::Warning, format!("it answered {status}")),
                _ => (Severity::Warning, "it said that its rate limit is exceeded".to_owned()),
            };
            let until = UnixNanos(until);
            let words = format!("{} takes no requests until {until}: {why}; live data goes on, gaps wait", self.exchange);
            (severity, words)
        });
        self.conditions.set("ban", &self.exchange, frozen);
    }

    /// Whether there is a connection, where there should be one.
    fn connection(&mut self, connected: bool, now: Instant) {
        self.unconnected_since = if connected { None } else { self.unconnected_since.or(Some(now)) };
        let long = self.patience.stale_after;
        let is_long = self.unconnected_since.is_some_and(|since| now.duration_since(since) >= long);
        let words = format!("not connected to {} for {} s or more; trying on", self.exchange, long.as_secs());
        self.conditions.set("disconnected", &self.exchange, is_long.then_some((Severity::Critical, words)));
    }

    /// Feeds without data, books that can't be kept, gaps that stay.
    fn feeds(&mut self, feeds: &[FeedInfo], now: Instant) {
        let recorded: HashMap<String, &FeedInfo> =
            feeds.iter().filter(|feed| feed.recorded).map(|feed| (self.name(feed), feed)).collect();
        let named = |is: fn(&FeedInfo) -> bool| {
            let of = recorded.iter().filter(move |(_, feed)| is(feed));
            of.map(|(name, _)| name.as_str()).collect::<Vec<_>>()
        };
        let long = self.patience.gap_after;
        let gaps = self.with_gaps.for_long(named(|feed| feed.open_gaps > 0).into_iter(), long, now);
        let words = |name: String| {
            let words = format!("gaps have waited for {} s or more to be made good; `dccd gaps` lists them", long.as_secs());
            (name, Severity::Warning, words)
        };
        self.conditions.set_all("gap_not_repaired", gaps.into_iter().map(words));
        if self.unconnected_since.is_some() {
            // None is live then, and that is one thing to tell. When there is a connection again, they have their time again.
            self.not_live = Lasting::default();
            return;
        }
        let long = self.patience.stale_after;
        let not_live = named(|feed| feed.state != "live");
        let mut names: HashSet<String> = self.not_live.for_long(not_live.iter().copied(), long, now).into_iter().collect();
        // One that was told is over when it is live, and not before.
        names.extend(not_live.into_iter().filter(|name| self.stale.contains(*name)).map(str::to_owned));
        self.stale.clone_from(&names);
        let (mut stale, mut books) = (Vec::new(), Vec::new());
        for name in names {
            let Some(feed) = recorded.get(&name) else { continue };
            let why = feed.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
            let seconds = long.as_secs();
            if feed.state == "syncing" {
                let words = format!("its order book has not been valid for {seconds} s or more{why}");
                books.push((name, Severity::Warning, words));
            } else {
                let words = format!("it has been {} for {seconds} s or more{why}", feed.state);
                stale.push((name, Severity::Critical, words));
            }
        }
        self.conditions.set_all("data_stale", stale);
        self.conditions.set_all("book_invalid", books);
    }

    /// Feeds that can't be opened, with the reason.
    fn closed(&self, feeds: Vec<(String, String)>) {
        let words = |(name, reason)| (name, Severity::Critical, format!("it can't be opened: {reason}"));
        self.conditions.set_all("feed_closed", feeds.into_iter().map(words));
    }

    /// Jobs that fail again and again.
    fn jobs(&self, jobs: &[JobInfo]) {
        let max = self.patience.max_consecutive_errors;
        let error = |job: &JobInfo| job.last_error.clone().unwrap_or_else(|| "nothing is known of the cause".to_owned());
        let failing =
            jobs.iter().filter(|job| job.kind == "histo" && job.state != "paused" && job.consecutive_errors >= max);
        let words = |job: &JobInfo| format!("it failed {} times in a row: {}", job.consecutive_errors, error(job));
        self.conditions.set_all("job_failing", failing.map(|job| (job.job.clone(), Severity::Warning, words(job))));
    }
}

/// What it is called when a part is in trouble, and how grave that is.
const fn kind_of(part: Part) -> (&'static str, Severity) {
    match part {
        Part::Markets => ("markets_unknown", Severity::Warning),
        Part::Venue => ("exchange_closed", Severity::Info),
        Part::Journal => ("not_recording", Severity::Critical),
        Part::Damage => ("journal_damaged", Severity::Critical),
        Part::Store => ("store_failing", Severity::Critical),
        Part::Candles => ("candles_failing", Severity::Warning),
        Part::Thread => ("thread_stuck", Severity::Critical),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> Watch {
        Watch::new("kraken", Conditions::default(), Patience::default())
    }

    /// Kind, subject and gravity of all that is wrong.
    fn wrong(watch: &Watch) -> Vec<String> {
        let of = |c: dccd_rpc::condition::Condition| format!("{} {} {}", c.severity, c.kind, c.subject);
        let mut all: Vec<String> = watch.conditions.list().into_iter().map(of).collect();
        all.sort();
        all
    }

    fn feed(symbol: &str, channel: &str, state: &str, open_gaps: u64) -> FeedInfo {
        FeedInfo {
            symbol: symbol.to_owned(),
            channel: channel.to_owned(),
            ring: String::new(),
            generation: 1,
            cursor: 0,
            state: state.to_owned(),
            book_state: None,
            epoch: 0,
            recorded: true,
            holders: 0,
            gaps: open_gaps,
            gaps_repaired: 0,
            score: 100.0,
            last_recv: 0,
            last_price: None,
            best: None,
            error: None,
            compared: None,
            open_gaps,
        }
    }

    #[test]
    fn feeds_that_stay_without_data_are_told_one_by_one() {
        let (mut watch, begin) = (watch(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        let sleeping = [
            feed("BTC/USD", "trades", "stale", 0),
            feed("BTC/USD", "book", "syncing", 0),
            feed("ETH/USD", "trades", "live", 2),
            FeedInfo { recorded: false, ..feed("X/USD", "trades", "silent", 9) },
        ];
        watch.feeds(&sleeping, at(0));
        watch.feeds(&sleeping, at(59));
        assert_eq!(wrong(&watch), [""; 0]);
        watch.feeds(&sleeping, at(60));
        let both = ["critical data_stale kraken/BTC/USD/trades", "warning book_invalid kraken/BTC/USD/book"];
        assert_eq!(wrong(&watch), both);
        watch.feeds(&sleeping, at(900));
        assert_eq!(wrong(&watch)[1..], [both[1], "warning gap_not_repaired kraken/ETH/USD/trades"]);
        // One moment of life, and its patience begins anew.
        watch.feeds(&[feed("BTC/USD", "trades", "live", 0)], at(905));
        watch.feeds(&sleeping, at(910));
        assert_eq!(wrong(&watch), [""; 0]);
    }

    #[test]
    fn one_cause_is_told_once() {
        let (mut watch, begin) = (watch(), Instant::now());
        let stale = [feed("BTC/USD", "trades", "stale", 0), feed("ETH/USD", "trades", "stale", 0)];
        for second in [0, 30, 60] {
            watch.connection(false, begin + Duration::from_secs(second));
            watch.feeds(&stale, begin + Duration::from_secs(second));
        }
        assert_eq!(wrong(&watch), ["critical disconnected kraken"]);
        for (second, told) in [(61, 0), (120, 0), (121, 2)] {
            watch.connection(true, begin + Duration::from_secs(second));
            watch.feeds(&stale, begin + Duration::from_secs(second));
            assert_eq!(wrong(&watch).len(), told, "connected for {} s, and two feeds still say nothing", second - 61);
        }
        // What was told stays so when the connection goes, too, and until the feed is live.
        watch.connection(false, begin + Duration::from_secs(122));
        watch.feeds(&stale, begin + Duration::from_secs(122));
        assert_eq!(wrong(&watch).len(), 2);
        watch.connection(true, begin + Duration::from_secs(130));
        watch.feeds(&[feed("BTC/USD", "trades", "live", 0), stale[1].clone()], begin + Duration::from_secs(130));
        assert_eq!(wrong(&watch), ["critical data_stale kraken/ETH/USD/trades"]);
    }

    #[test]
    fn a_new_process_says_what_it_cannot_tell_yet_and_nothing_before_it_collects() {
        let (mut watch, begin) = (watch(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        let doubted = |watch: &Watch| {
            let (doubts, kind) = (watch.conditions.doubts(), "gap_not_repaired");
            doubts.iter().filter(|d| d.kind == kind).filter_map(|d| d.subject.clone()).collect::<Vec<_>>()
        };
        watch.conditions.settled(false);
        let feeds = [feed("BTC/USD", "trades", "live", 1), feed("ETH/USD", "trades", "live", 0)];
        let feeds = feeds.map(|feed| FeedInfo { last_recv: 1, ..feed });
        for (second, running) in [(0, false), (20, true), (70, true), (899, true), (920, true)] {
            watch.feeds(&feeds, at(second));
            watch.settle(&feeds, running, at(second));
            assert_eq!(watch.conditions.is_settled(), running);
            let expected: &[&str] = match second {
                20 => &["kraken/BTC/USD/trades", "kraken/ETH/USD/trades"],
                70..920 => &["kraken/BTC/USD/trades"],
                _ => &[],
            };
            assert_eq!(doubted(&watch), expected, "at {second} s");
        }
        assert_eq!(wrong(&watch), ["warning gap_not_repaired kraken/BTC/USD/trades"], "it is told, and in doubt no more");
        assert!(watch.doubts.are_over());
    }

    #[test]
    fn a_ban_holds_as_long_as_it_is_said_to() {
        let watch = watch();
        let account = |status| Snapshot {
            used: 0,
            limit: 1,
            window_ends: 0,
            frozen_until: Some(2_000_000_000),
            frozen_status: Some(status),
            waiting: 0,
        };
        watch.requests(&account(418), UnixNanos(1));
        assert_eq!(wrong(&watch), ["critical ban kraken"]);
        assert!(watch.conditions.list()[0].message.contains("1970-01-01T00:00:02Z"));
        watch.requests(&account(429), UnixNanos(1));
        assert_eq!(wrong(&watch), ["warning ban kraken"]);
        watch.requests(&account(429), UnixNanos(2_000_000_000));
        assert_eq!(wrong(&watch), [""; 0]);
    }

    #[test]
    fn jobs_are_told_at_the_number_of_failures_that_was_asked_for() {
        let watch = watch();
        let job = |kind: &str, state: &str, consecutive_errors| JobInfo {
            job: "kraken/BTC/USD/1h".to_owned(),
            kind: kind.to_owned(),
            state: state.to_owned(),
            last_run: 0,
            last_success: 0,
            rows: 0,
            errors: 9,
            consecutive_errors,
            last_error: Some("no such pair".to_owned()),
            next_run: 0,
            market: None,
            process: dccd_rpc::datad::JobCounts::default(),
        };
        watch.jobs(&[job("histo", "failed", 2)]);
        assert_eq!(wrong(&watch), [""; 0]);
        watch.jobs(&[job("histo", "failed", 3)]);
        assert_eq!(wrong(&watch), ["warning job_failing kraken/BTC/USD/1h"]);
        assert_eq!(watch.conditions.list()[0].message, "it failed 3 times in a row: no such pair");
        watch.jobs(&[job("histo", "paused", 3), job("stream", "error", 9)]);
        assert_eq!(wrong(&watch), [""; 0]);
        watch.closed(vec![("kraken/BTC/USD/book".to_owned(), "no room in /dev/shm".to_owned())]);
        assert_eq!(wrong(&watch), ["critical feed_closed kraken/BTC/USD/book"]);
    }

    #[test]
    fn each_part_in_trouble_is_a_kind_of_its_own() {
        let watch = watch();
        let said = |part| (part, "words".to_owned());
        watch.parts(&Part::ALL.map(said), true);
        let mut kinds: Vec<String> = watch.conditions.list().into_iter().map(|c| c.kind).collect();
        kinds.sort();
        kinds.dedup();
        assert_eq!(kinds.len(), Part::ALL.len());
        watch.parts(&[said(Part::Journal)], true);
        assert_eq!(wrong(&watch), ["critical not_recording kraken"]);
        watch.parts(&[said(Part::Markets)], true);
        assert_eq!(wrong(&watch), ["warning markets_unknown kraken"]);
        watch.parts(&[said(Part::Markets)], false);
        assert_eq!(wrong(&watch), ["critical markets_unknown kraken"]);
    }
}
