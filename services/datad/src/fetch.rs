//! The fetcher: gets by REST what a session wants (book snapshots, missing trades) and hands the bodies to the hot thread,
//! which journals them. One attempt in flight per feed, paced; everything draws on the rate governor of the exchange's address that it goes to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dccd_exchange::{Adapter, HistoryError, Markets, Product, RestRequest, TradeCursor, TradeHole, Want};
use dccd_history::RestClients;
use dccd_model::{Candle, Grid, Span, Symbol, UnixNanos};
use dccd_net::{Priority, Retry};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::clock;
use crate::error::chain;
use crate::hot::Command;

/// Requests under way at once to one address: one that doesn't answer holds up no other.
const REQUESTS_AT_ONCE: usize = 4;
/// Trades fetched for one gap at most; a longer one is left to a backfill and stays declared.
const TRADES_PER_GAP: u64 = 100_000;
/// Answers that are fetched for one gap at most beyond those that its trades fill: they also hold what is there already.
const ANSWERS_BESIDE: u64 = 16;
/// Attempts for one request before it is given up until it is wanted again.
const ATTEMPTS: u32 = 8;
/// Before an exchange that can't answer now is asked again.
const UNAVAILABLE_PAUSE: Duration = Duration::from_secs(1);
/// How long an answer to whether a market has traded is waited for.
const TRADED_TIMEOUT: Duration = Duration::from_secs(20);
/// A candle counts against a silent feed when it opened so long after the feed spoke last: the clocks may differ.
const SILENCE_SLACK: i64 = 2_000_000_000;
/// First and longest pause between snapshots of one book that keeps asking.
const SNAPSHOT_PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// A book that didn't ask for this long after its pause is forgiven and starts with the shortest one again.
const SNAPSHOT_CALM: Duration = Duration::from_secs(3);

/// What the fetcher is asked for.
#[derive(Debug)]
pub(crate) enum FetchRequest {
    /// A session's want.
    Want(Want),
    /// Whether this market has traded since; the answer goes to the hot thread.
    Traded {
        /// The market.
        symbol: Symbol,
        /// Since when.
        since: UnixNanos,
    },
}

/// The fetcher and what it owns.
pub(crate) struct Fetcher {
    /// The exchange's adapter.
    pub(crate) adapter: Arc<dyn Adapter>,
    /// Its markets, as the sessions know them.
    pub(crate) markets: watch::Receiver<Arc<Markets>>,
    /// The clients; they carry the governors.
    pub(crate) rest: RestClients,
    /// Wants; 1,024 wait at most, then a new one is dropped and counted (later events raise it again).
    pub(crate) requests: mpsc::Receiver<FetchRequest>,
    /// The hot thread.
    pub(crate) hot: mpsc::Sender<Command>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Job {
    Snapshot(Symbol),
    Trades(Symbol, u64, u64, UnixNanos),
    Traded(Symbol, UnixNanos),
}

impl Job {
    fn symbol(&self) -> &Symbol {
        match self {
            Self::Snapshot(symbol) | Self::Trades(symbol, ..) | Self::Traded(symbol, _) => symbol,
        }
    }
}

/// Room for requests under way, by the address that they go to.
type Slots = HashMap<Product, Arc<Semaphore>>;

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
        let products = self.adapter.rest_products().iter();
        let slots: Slots = products.map(|p| (*p, Arc::new(Semaphore::new(REQUESTS_AT_ONCE)))).collect();
        loop {
            tokio::select! {
                request = self.requests.recv() => {
                    let Some(request) = request else { return };
                    let job = match request {
                        FetchRequest::Traded { symbol, since } => Job::Traded(symbol, since),
                        FetchRequest::Want(Want::BookSnapshot { symbol, .. }) => Job::Snapshot(symbol),
                        FetchRequest::Want(Want::Trades { symbol, from_id, to_id, ts_before, .. }) => {
                            Job::Trades(symbol, from_id, to_id, ts_before)
                        }
                        // The hot thread's own business.
                        FetchRequest::Want(Want::Replace { .. } | Want::Resubscribe { .. } | Want::Pong { .. }) => continue,
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

    fn start(&self, running: &mut JoinSet<Job>, job: Job, paces: &mut HashMap<Symbol, Pace>, slots: &Slots) {
        let pause = match &job {
            Job::Snapshot(symbol) => next_pause(paces, symbol, Instant::now()),
            Job::Trades(..) | Job::Traded(..) => Duration::ZERO,
        };
        let worker = Worker {
            adapter: self.adapter.clone(),
            markets: self.markets.borrow().clone(),
            rest: self.rest.clone(),
            hot: self.hot.clone(),
        };
        let slots = slots.get(&self.adapter.rest_of(job.symbol())).cloned();
        running.spawn(async move {
            tokio::time::sleep(pause).await;
            // The semaphore is never closed.
            let _slot = match slots {
                Some(slots) => slots.acquire_owned().await.ok(),
                None => None,
            };
            match &job {
                Job::Snapshot(symbol) => worker.snapshot(symbol).await,
                Job::Trades(symbol, from_id, to_id, ts_before) => {
                    let hole = TradeHole { from_id: *from_id, to_id: *to_id, ts_before: *ts_before };
                    worker.trades(symbol, &hole).await;
                }
                Job::Traded(symbol, since) => {
                    // A hanging exchange tells nothing, and holds up no other question.
                    let traded = tokio::time::timeout(TRADED_TIMEOUT, worker.traded(symbol, *since)).await.ok().flatten();
                    // Without a hot thread nobody asks.
                    let _ = worker.hot.send(Command::Traded { traded }).await;
                }
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
    rest: RestClients,
    hot: mpsc::Sender<Command>,
}

impl Worker {
    async fn snapshot(&self, symbol: &Symbol) {
        let Some(request) = self.adapter.snapshot_request(symbol, &self.markets) else { return };
        if let Some(body) = self.get(&request, |_| Ok(())).await {
            self.hand_over(request.subject, body).await;
        }
    }

    /// Fetches the missing trades answer by answer; stops early when one can't be had.
    async fn trades(&self, symbol: &Symbol, hole: &TradeHole) {
        let missing = hole.to_id.saturating_sub(hole.from_id).saturating_add(1);
        if missing > TRADES_PER_GAP {
            info!(%symbol, missing, "a gap is too long to repair live; it stays declared until a backfill");
            return;
        }
        let per_answer = self.adapter.limits_of(self.adapter.rest_of(symbol)).trades_per_request.max(1);
        let answers_max = missing / u64::from(per_answer) + ANSWERS_BESIDE;
        let mut at = self.adapter.trades_begin(hole);
        for _ in 0..answers_max {
            let left = match at {
                TradeCursor::Id(id) => hole.to_id.saturating_sub(id).saturating_add(1),
                TradeCursor::Time(_) | TradeCursor::Mark(_) => u64::from(per_answer),
            };
            let limit = u32::try_from(left).unwrap_or(u32::MAX).min(per_answer);
            let request = self.adapter.trades_request(symbol, at, limit, &self.markets);
            let mut next = None;
            let read = |body: &[u8]| {
                next = self.adapter.trades_next(hole, at, limit, body)?;
                Ok(())
            };
            let Some(body) = self.get(&request, read).await else { return };
            if !self.hand_over(request.subject, body).await {
                return;
            }
            match next {
                Some(next) if next != at => at = next,
                _ => {
                    let (from_id, to_id) = (hole.from_id, hole.to_id);
                    info!(%symbol, from_id, to_id, "asked for the trades of a gap; what came is taken in, the rest stays declared");
                    return;
                }
            }
        }
        info!(%symbol, missing, "the exchange's answers did not reach the end of a gap; it stays declared");
    }

    /// Whether the market has traded since, by the exchange's own candles: those that opened since then. `None`: nobody can say.
    async fn traded(&self, symbol: &Symbol, since: UnixNanos) -> Option<bool> {
        let (history, market) = (self.adapter.history()?, self.markets.by_symbol(symbol)?);
        let span = history.spans().first().and_then(|seconds| Span::from_secs(*seconds))?;
        let grid = Grid::new(span);
        let (from, to) = (grid.ceil(UnixNanos(since.0 + SILENCE_SLACK)), grid.after(grid.floor(clock::now()), 1));
        if from >= to {
            return Some(false);
        }
        // Of a long silence the newest are as good as all.
        let per_page = history.candle_pages(span)?.per_page;
        let from = from.max(grid.after(to, -i64::from(per_page)));
        let limit = u32::try_from(grid.count(from, to)).unwrap_or(per_page);
        let request = history.candles_request(market, span, from, to, limit);
        let mut candles = Vec::new();
        let read = |body: &[u8]| {
            candles.clear();
            history.parse_candles_of(market, body, span, UnixNanos::UNKNOWN, &mut candles)
        };
        self.get(&request, read).await?;
        let has_traded = |candle: &Candle| candle.ts_open >= from && candle.ts_open < to && !candle.volume.is_zero();
        Some(candles.iter().any(has_traded))
    }

    /// Gives the hot thread an answer; says whether it took it.
    async fn hand_over(&self, subject: String, body: Bytes) -> bool {
        self.hot.send(Command::Fetched { subject, body }).await.is_ok()
    }

    /// Gets one answer. `read` says whether it is one: exchanges that refuse with status 200 say so in the body. What isn't
    /// readable at all is an answer: the session notes it, and it stays in the journal.
    async fn get(&self, request: &RestRequest, mut read: impl FnMut(&[u8]) -> Result<(), HistoryError>) -> Option<Bytes> {
        for attempt in 1..=ATTEMPTS {
            let (text, pause) = match self.rest.get(request, Priority::Live).await {
                Ok(response) => match read(&response.body) {
                    Ok(()) | Err(HistoryError::Unreadable { .. } | HistoryError::BadRow { .. }) => {
                        return Some(response.body);
                    }
                    Err(error @ HistoryError::Refused { .. }) => {
                        warn!(request = request.subject, error = chain(&error), "the exchange refuses a request");
                        return None;
                    }
                    Err(error) => {
                        // For all processes of this host: the next request waits until the exchange listens again.
                        if let HistoryError::RateLimited { wait, .. } = &error {
                            self.rest.governor(request.product).freeze(200, *wait);
                        }
                        (chain(&error), UNAVAILABLE_PAUSE)
                    }
                },
                Err(error) => {
                    let text = chain(&error);
                    match error.retry() {
                        Retry::No => {
                            warn!(request = request.subject, error = text, "the exchange refuses a request");
                            return None;
                        }
                        Retry::Now => (text, Duration::from_millis(100)),
                        Retry::After(pause) => (text, pause),
                    }
                }
            };
            debug!(request = request.subject, attempt, error = text, "a request failed and is tried again");
            tokio::time::sleep(pause.max(Duration::from_millis(100) * attempt)).await;
        }
        warn!(request = request.subject, attempts = ATTEMPTS, "gave a request up until it is wanted again");
        None
    }
}

#[cfg(test)]
mod tests {
    use dccd_model::{Entry, EntryKind};

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

    #[tokio::test]
    async fn an_address_that_does_not_answer_holds_up_no_requests_to_another() {
        dccd_net::install_crypto_provider();
        let spot = crate::served::serve(|path| path.starts_with("/api/v3/depth").then(|| "{}".to_owned())).await;
        let linear = crate::served::serve(|_| None).await;
        let adapter = dccd_exchange::adapter("binance", &dccd_exchange::AdapterOptions::default()).unwrap();
        let addresses = dccd_history::RestAddresses { base: Some(spot), linear: Some(linear), weight_per_minute: None };
        let rest = RestClients::new(&"binance".parse().unwrap(), adapter.as_ref(), &addresses, None).unwrap();
        let (wants, requests) = mpsc::channel(16);
        let (hot, mut fetched) = mpsc::channel(16);
        let fetching =
            tokio::spawn(Fetcher { adapter, markets: watch::channel(Arc::default()).1, rest, requests, hot }.run());
        let perpetuals = (0..2 * REQUESTS_AT_ONCE).map(|i| format!("C{i}/USDT:USDT"));
        for symbol in perpetuals.chain(["BTC/USDT".to_owned()]) {
            let want = Want::BookSnapshot { feed: 0, symbol: symbol.parse().unwrap() };
            wants.send(FetchRequest::Want(want)).await.unwrap();
        }
        let answer = tokio::time::timeout(Duration::from_secs(20), fetched.recv()).await.expect("an answer of spot");
        assert!(matches!(answer, Some(Command::Fetched { subject, .. }) if subject == "depth BTC/USDT"));
        fetching.abort();
    }

    /// Bitfinex' ids don't count, so nothing tells how long a hole is: it is fetched sixteen pages at a time.
    #[tokio::test]
    async fn a_hole_of_any_length_is_fetched_in_the_end() {
        const PAGE: u64 = 10_000;
        const LAST: u64 = 185_000;
        dccd_net::install_crypto_provider();
        let page = |path: &str| {
            let start: u64 = path.split_once("start=")?.1.split_once('&')?.0.parse().ok()?;
            let rows: Vec<String> = (start..(start + PAGE).min(LAST + 1)).map(|id| format!("[{id},{id},1,100]")).collect();
            Some(format!("[{}]", rows.join(",")))
        };
        let base = crate::served::serve(page).await;
        let adapter = dccd_exchange::adapter("bitfinex", &dccd_exchange::AdapterOptions::default()).unwrap();
        let addresses = dccd_history::RestAddresses { base: Some(base), linear: None, weight_per_minute: Some(1_000_000) };
        let rest = RestClients::new(&"bitfinex".parse().unwrap(), adapter.as_ref(), &addresses, None).unwrap();
        let mut session = adapter.session(Arc::default());
        let mut out = dccd_exchange::conformance::Recorded::default();
        let mut apply = |session: &mut dyn dccd_exchange::Session, kind, conn, subject: &str, payload: &[u8]| {
            session.apply(&Entry { kind, conn, ts_recv: UnixNanos(1), subject, payload }, &mut out);
        };
        apply(session.as_mut(), EntryKind::FeedOpened, 0, "BTC/USD trades", b"");
        for (conn, id) in [(1, 1), (2, LAST)] {
            apply(session.as_mut(), EntryKind::Opened, conn, "", b"");
            let subscribed = br#"{"event":"subscribed","channel":"trades","chanId":7,"symbol":"tBTCUSD","pair":"BTCUSD"}"#;
            apply(session.as_mut(), EntryKind::Frame, conn, "", subscribed);
            apply(session.as_mut(), EntryKind::Frame, conn, "", format!("[7,\"te\",[{id},{id},1,100]]").as_bytes());
            apply(session.as_mut(), EntryKind::Closed, conn, "gone", b"");
        }
        let (wants, requests) = mpsc::channel(16);
        let (hot, mut fetched) = mpsc::channel(16);
        let fetching = tokio::spawn(
            Fetcher { adapter, markets: tokio::sync::watch::channel(Arc::default()).1, rest, requests, hot }.run(),
        );
        let mut asked = Vec::new();
        while let Some(want) = session.outstanding().pop() {
            let Want::Trades { from_id, .. } = want else { panic!("{want:?}") };
            asked.push(from_id);
            wants.send(FetchRequest::Want(want)).await.unwrap();
            for _ in 0..ANSWERS_BESIDE {
                let answer = tokio::time::timeout(Duration::from_secs(60), fetched.recv()).await.expect("an answer");
                let Some(Command::Fetched { subject, body }) = answer else { panic!("no answer") };
                apply(session.as_mut(), EntryKind::Response, 0, &subject, &body);
                if session.outstanding().is_empty() {
                    break;
                }
            }
        }
        let status = session.feed_status(0);
        assert_eq!((status.records, status.repaired), (LAST, 1));
        assert_eq!(asked, [1, 1 + ANSWERS_BESIDE * (PAGE - 1)]);
        fetching.abort();
    }
}
