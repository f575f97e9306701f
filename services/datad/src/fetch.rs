//! The fetcher: gets by REST what a session wants (book snapshots, missing trades) and hands the bodies to the hot thread,
//! which journals them. One attempt in flight per feed, paced; everything draws on the exchange's one rate governor.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dccd_exchange::{Adapter, Markets, RestRequest, Want};
use dccd_model::Symbol;
use dccd_net::{HttpClient, Priority, Retry};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::error::chain;
use crate::hot::Command;

/// Requests under way at once.
const REQUESTS_AT_ONCE: usize = 4;
/// Trades asked for in one page.
const TRADES_PER_PAGE: u32 = 1_000;
/// Trades fetched for one gap at most; a longer one is left to a backfill and stays declared.
const TRADES_PER_GAP: u64 = 100_000;
/// Attempts for one request before it is given up until it is wanted again.
const ATTEMPTS: u32 = 8;
/// First and longest pause between snapshots of one book that keeps asking.
const SNAPSHOT_PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// A book that didn't ask for this long after its pause is forgiven and starts with the shortest one again.
const SNAPSHOT_CALM: Duration = Duration::from_secs(3);

/// What the fetcher is asked for.
#[derive(Debug)]
pub(crate) enum FetchRequest {
    /// A session's want.
    Want(Want),
}

/// The fetcher and what it owns.
pub(crate) struct Fetcher {
    /// The exchange's adapter.
    pub(crate) adapter: Arc<dyn Adapter>,
    /// Its markets.
    pub(crate) markets: Arc<Markets>,
    /// The client; it carries the governor.
    pub(crate) http: HttpClient,
    /// Wants; 1,024 wait at most, then a new one is dropped and counted (later events raise it again).
    pub(crate) requests: mpsc::Receiver<FetchRequest>,
    /// The hot thread.
    pub(crate) hot: mpsc::Sender<Command>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Job {
    Snapshot(Symbol),
    Trades(Symbol, u64, u64),
}

struct Pace {
    last: Instant,
    pause: Duration,
}

impl Fetcher {
    /// Fetches until nobody can ask any more.
    pub(crate) async fn run(mut self) {
        let mut running: JoinSet<Job> = JoinSet::new();
        let mut in_flight: HashMap<Job, bool> = HashMap::new(); // true: wanted again meanwhile
        let mut paces: HashMap<Symbol, Pace> = HashMap::new();
        let slots = Arc::new(Semaphore::new(REQUESTS_AT_ONCE));
        loop {
            tokio::select! {
                request = self.requests.recv() => {
                    let Some(FetchRequest::Want(want)) = request else { return };
                    let job = match want {
                        Want::BookSnapshot { symbol, .. } => Job::Snapshot(symbol),
                        Want::Trades { symbol, from_id, to_id, .. } => Job::Trades(symbol, from_id, to_id),
                        Want::Replace { .. } => continue, // the hot thread's own business
                    };
                    if let Some(again) = in_flight.get_mut(&job) {
                        *again = true;
                        continue;
                    }
                    in_flight.insert(job.clone(), false);
                    self.start(&mut running, job, &mut paces, &slots);
                }
                Some(done) = running.join_next(), if !running.is_empty() => {
                    let Ok(job) = done else { continue };
                    match in_flight.remove(&job) {
                        // A snapshot that was wanted again while it was fetched may be too old: fetch another.
                        Some(true) if matches!(job, Job::Snapshot(_)) => {
                            in_flight.insert(job.clone(), false);
                            self.start(&mut running, job, &mut paces, &slots);
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    fn start(&self, running: &mut JoinSet<Job>, job: Job, paces: &mut HashMap<Symbol, Pace>, slots: &Arc<Semaphore>) {
        let pause = match &job {
            Job::Snapshot(symbol) => next_pause(paces, symbol, Instant::now()),
            Job::Trades(..) => Duration::ZERO,
        };
        let worker = Worker {
            adapter: self.adapter.clone(),
            markets: self.markets.clone(),
            http: self.http.clone(),
            hot: self.hot.clone(),
        };
        let slots = slots.clone();
        running.spawn(async move {
            tokio::time::sleep(pause).await;
            // The semaphore is never closed.
            let _slot = slots.acquire_owned().await;
            match &job {
                Job::Snapshot(symbol) => worker.snapshot(symbol).await,
                Job::Trades(symbol, from, to) => worker.trades(symbol, *from, *to).await,
            }
            job
        });
    }
}

/// How long this book's next snapshot has to wait: nothing at first, then longer each time it asks again soon.
fn next_pause(paces: &mut HashMap<Symbol, Pace>, symbol: &Symbol, now: Instant) -> Duration {
    match paces.get_mut(symbol) {
        Some(pace) if now.duration_since(pace.last) < pace.pause + SNAPSHOT_CALM => {
            let pause = pace.pause;
            pace.pause = (pause * 2).min(SNAPSHOT_PAUSE.1);
            pace.last = now + pause;
            pause
        }
        _ => {
            paces.insert(symbol.clone(), Pace { last: now, pause: SNAPSHOT_PAUSE.0 });
            Duration::ZERO
        }
    }
}

struct Worker {
    adapter: Arc<dyn Adapter>,
    markets: Arc<Markets>,
    http: HttpClient,
    hot: mpsc::Sender<Command>,
}

impl Worker {
    async fn snapshot(&self, symbol: &Symbol) {
        let request = self.adapter.snapshot_request(symbol, &self.markets);
        self.get(&request).await;
    }

    /// Fetches the missing trades page by page; stops early when a page can't be had.
    async fn trades(&self, symbol: &Symbol, from_id: u64, to_id: u64) {
        let missing = to_id.saturating_sub(from_id).saturating_add(1);
        if missing > TRADES_PER_GAP {
            info!(%symbol, missing, "a gap is too long to repair live; it stays declared until a backfill");
            return;
        }
        let mut next = from_id;
        while next <= to_id {
            let limit = u32::try_from(to_id - next + 1).unwrap_or(u32::MAX).min(TRADES_PER_PAGE);
            let request = self.adapter.trades_request(symbol, next, limit, &self.markets);
            if !self.get(&request).await {
                return;
            }
            next += u64::from(limit);
        }
        info!(%symbol, from_id, to_id, "fetched the trades of a gap");
    }

    /// Gets one answer and hands it to the hot thread; says whether it did.
    async fn get(&self, request: &RestRequest) -> bool {
        for attempt in 1..=ATTEMPTS {
            match self.http.get(&request.path_and_query, request.weight, Priority::Live).await {
                Ok(response) => {
                    let fetched = Command::Fetched { subject: request.subject.clone(), body: response.body };
                    return self.hot.send(fetched).await.is_ok();
                }
                Err(error) => {
                    let text = chain(&error);
                    let pause = match error.retry() {
                        Retry::No => {
                            warn!(request = request.subject, error = text, "the exchange refuses a request");
                            return false;
                        }
                        Retry::Now => Duration::from_millis(100),
                        Retry::After(pause) => pause,
                    };
                    debug!(request = request.subject, attempt, error = text, "a request failed and is tried again");
                    tokio::time::sleep(pause.max(Duration::from_millis(100) * attempt)).await;
                }
            }
        }
        warn!(request = request.subject, attempts = ATTEMPTS, "gave a request up until it is wanted again");
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_book_that_keeps_asking_waits_longer_each_time_and_is_forgiven_when_calm() {
        let mut paces = HashMap::new();
        let symbol: Symbol = "BTC/USDT".parse().unwrap();
        let now = Instant::now();
        let pauses: Vec<u128> = (0..8).map(|_| next_pause(&mut paces, &symbol, now).as_millis()).collect();
        assert_eq!(pauses, [0, 250, 500, 1_000, 2_000, 4_000, 8_000, 10_000]);
        assert_eq!(next_pause(&mut paces, &symbol, now + Duration::from_secs(60)), Duration::ZERO);
    }
}
