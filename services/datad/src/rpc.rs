//! The service that clients talk to. Every call is answered from shared counters or by one message to the hot thread.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use dccd_exchange::{Adapter, Market, MarketStatus};
use dccd_history::RestClients;
use dccd_history::Scope;
use dccd_model::{Channel, Symbol};
use dccd_rpc::datad::{
    BackfillInfo, BackfillRequest, BookSnapshot, Datad, FeedInfo, FlushReport, JobCounts, JobInfo, MarketInfo, SearchHit,
    Stats,
};
use dccd_rpc::{Greeting, Hello, HelloReply, RpcError};
use dccd_service::Shutdown;
use tarpc::context::Context;
use tokio::sync::{mpsc, oneshot};

use crate::history::{self, HistoryCommand};
use crate::hot::Command;
use crate::lister::Lists;
use crate::recorder::RecorderCommand;
use crate::shared::Shared;

/// How long the hot thread may take to answer; it answers in microseconds unless something is wrong.
const HOT_DEADLINE: Duration = Duration::from_secs(5);
/// How long the history thread may take; it may be writing a large file.
const HISTORY_DEADLINE: Duration = Duration::from_secs(5);
/// How long a flush may take.
const FLUSH_DEADLINE: Duration = Duration::from_secs(60);
/// How long somebody who names a symbol that is unknown may wait for the exchange's list.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(4);
/// How long an order may take: it may wait for the exchange.
const ORDER_DEADLINE: Duration = Duration::from_secs(25);
/// Search results at most.
const SEARCH_MAX: u32 = 1_000;

/// What a running datad is made of, for those who answer questions about it.
#[derive(Clone)]
pub(crate) struct Running {
    /// The hot thread.
    pub(crate) hot: mpsc::Sender<Command>,
    /// The recorder.
    pub(crate) recorder: std::sync::mpsc::SyncSender<RecorderCommand>,
    /// The exchange's markets.
    pub(crate) lists: Lists,
}

/// One connection's server; cheap to clone.
#[derive(Clone)]
pub(crate) struct Server {
    /// The exchange's adapter.
    pub(crate) adapter: Arc<dyn Adapter>,
    /// `None` until the exchange's markets are known.
    pub(crate) running: tokio::sync::watch::Receiver<Option<Running>>,
    /// Counters.
    pub(crate) shared: Arc<Shared>,
    /// The ways to the exchange's REST addresses, with their weights.
    pub(crate) rest: RestClients,
    /// Ends the process.
    pub(crate) shutdown: Shutdown,
    /// What the configuration wants, with what is wrong with it, if anything.
    pub(crate) jobs: Arc<std::sync::Mutex<Vec<ConfiguredFeed>>>,
    /// The history thread.
    pub(crate) history: mpsc::Sender<HistoryCommand>,
    /// Where successors of this process wait for it.
    pub(crate) successors: PathBuf,
    /// What a successor has to have in common with this process.
    pub(crate) profile: String,
    /// What it said of its jobs last.
    pub(crate) histo_jobs: Arc<std::sync::Mutex<Vec<JobInfo>>>,
    /// Orders to the main task.
    pub(crate) orders: mpsc::Sender<Order>,
}

/// The server of one connection.
#[derive(Clone)]
pub(crate) struct Session {
    /// What all connections share.
    pub(crate) server: Server,
    /// Whether this one has introduced itself.
    pub(crate) greeting: Greeting,
}

/// One feed that the configuration wants.
#[derive(Clone, Debug)]
pub(crate) struct ConfiguredFeed {
    /// What is traded.
    pub(crate) symbol: Symbol,
    /// What is wanted of it.
    pub(crate) channel: Channel,
    /// Why it could not be opened.
    pub(crate) error: Option<String>,
    /// Whether somebody has paused it.
    pub(crate) paused: bool,
}

impl ConfiguredFeed {
    /// One that is to be opened.
    pub(crate) fn new(symbol: Symbol, channel: Channel) -> Self {
        Self { symbol, channel, error: None, paused: false }
    }
}

/// What the main task is to do.
pub(crate) enum Order {
    /// Take the configuration in anew.
    Reload { reply: oneshot::Sender<Result<(), String>> },
    /// Pause or resume the live jobs whose names begin so; answered with their names.
    Pause { prefix: String, paused: bool, reply: oneshot::Sender<Result<Vec<String>, String>> },
}

fn market_info(market: &Market) -> MarketInfo {
    MarketInfo {
        symbol: market.symbol.to_string(),
        id: market.id.clone(),
        status: status_name(market.status).to_owned(),
        price_tick: market.price_tick.map(|d| d.to_string()),
        amount_step: market.amount_step.map(|d| d.to_string()),
    }
}

fn status_name(status: MarketStatus) -> &'static str {
    match status {
        MarketStatus::Trading => "trading",
        MarketStatus::Halted => "halted",
        MarketStatus::Unknown => "unknown",
    }
}

fn feed_key(symbol: &str, channel: &str) -> Result<(Symbol, Channel), RpcError> {
    let invalid = |argument: &str, reason: String| RpcError::Invalid { argument: argument.to_owned(), reason };
    let symbol = symbol.parse().map_err(|e: dccd_model::SymbolError| invalid("symbol", e.to_string()))?;
    let channel = channel.parse().map_err(|e: dccd_model::NameError| invalid("channel", e.to_string()))?;
    Ok((symbol, channel))
}

impl Server {
    fn unavailable(&self, reason: impl Into<String>) -> RpcError {
        RpcError::Unavailable { service: format!("datad.{}", self.adapter.name()), reason: reason.into() }
    }

    pub(crate) fn running(&self) -> Result<Running, RpcError> {
        let running = self.running.borrow().clone();
        running.ok_or_else(|| self.unavailable(self.shared.trouble().unwrap_or_else(|| "it is still starting".to_owned())))
    }

    /// Asks the hot thread and waits for its answer, both within the deadline.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, RpcError> {
        let running = self.running()?;
        let (reply, answer) = oneshot::channel();
        let asked = async {
            running.hot.send(command(reply)).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(HOT_DEADLINE, asked).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(self.unavailable("it is stopping")),
            Err(_) => Err(self.unavailable(format!("no answer within {HOT_DEADLINE:?}"))),
        }
    }

    /// Asks the history thread and waits for its answer, both within the deadline.
    async fn ask_history<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> HistoryCommand) -> Result<T, RpcError> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.history.send(command(reply)).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(HISTORY_DEADLINE, asked).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(self.unavailable("it is stopping")),
            Err(_) => Err(self.unavailable(format!("the history thread gave no answer within {HISTORY_DEADLINE:?}"))),
        }
    }

    /// The state of every feed.
    pub(crate) async fn feed_list(&self) -> Result<Vec<FeedInfo>, RpcError> {
        self.ask(|reply| Command::Feeds { reply }).await
    }

    /// Whether the configuration wants something recorded live.
    pub(crate) fn has_configured_feeds(&self) -> bool {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|job| !job.paused)
    }

    /// The jobs that keep the history, as they were known last (every ten seconds): nobody is asked.
    pub(crate) fn known_histo_jobs(&self) -> Vec<JobInfo> {
        self.histo_jobs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the configuration wants recorded and could not be opened: its name, and why.
    pub(crate) fn closed_feeds(&self) -> Vec<(String, String)> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let name = |job: &ConfiguredFeed| format!("{}/{}/{}", self.adapter.name(), job.symbol, job.channel);
        jobs.iter().filter_map(|job| Some((name(job), job.error.clone()?))).collect()
    }

    /// All jobs: those that record live, those that keep the history.
    async fn job_list(&self) -> Vec<JobInfo> {
        let mut jobs = self.stream_jobs().await;
        let histo = self.ask_history(|reply| HistoryCommand::Jobs { reply }).await;
        let mut known = self.histo_jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(histo) = histo {
            *known = histo;
        }
        jobs.extend(known.iter().cloned());
        drop(known);
        if let Ok(running) = self.running() {
            let markets = running.lists.newest.borrow().clone();
            for job in &mut jobs {
                job.market = self.symbol_of(&job.job).and_then(|symbol| markets.objection(&symbol)).map(str::to_owned);
            }
        }
        jobs
    }

    /// The symbol of `binance/BTC/USDT/trades`.
    fn symbol_of(&self, job: &str) -> Option<Symbol> {
        let (symbol, _) = job.strip_prefix(self.adapter.name())?.strip_prefix('/')?.rsplit_once('/')?;
        symbol.parse().ok()
    }

    fn searched(&self, pattern: &str, limit: usize) -> Result<Vec<SearchHit>, RpcError> {
        let markets = self.running()?.lists.newest.borrow().clone();
        let hits = dccd_exchange::search(markets.iter(), pattern, limit).into_iter();
        let exchange = self.adapter.name();
        Ok(hits
            .map(|hit| SearchHit { exchange: exchange.to_owned(), market: market_info(hit.market), score: hit.score })
            .collect())
    }

    /// The market with this symbol, or with this id at the exchange.
    fn found(&self, symbol: &str) -> Result<Option<MarketInfo>, RpcError> {
        let markets = self.running()?.lists.newest.borrow().clone();
        let found = symbol.parse::<Symbol>().ok().and_then(|s| markets.by_symbol(&s)).or_else(|| markets.by_id(symbol));
        Ok(found.map(market_info))
    }

    /// Has the list of markets renewed, because something is asked for that isn't on it.
    async fn renew_list(&self) -> Result<(), RpcError> {
        self.running()?.lists.renew(RENEWAL_PATIENCE).await;
        Ok(())
    }

    /// The configuration's feeds as jobs, each with the state of its feed.
    async fn stream_jobs(&self) -> Vec<JobInfo> {
        let feeds = self.feed_list().await.unwrap_or_default();
        let configured = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let store_error = self.shared.trouble();
        configured
            .into_iter()
            .map(|job| {
                let feed = feeds.iter().find(|f| f.symbol == job.symbol.as_str() && f.channel == job.channel.as_str());
                let progress = self.shared.progress(&job.symbol, job.channel);
                let error = job.error.or_else(|| feed.and_then(|f| f.error.clone())).or_else(|| store_error.clone());
                let state = match feed {
                    _ if job.paused => "paused".to_owned(),
                    Some(feed) => feed.state.clone(),
                    None if error.is_some() => "error".to_owned(),
                    None => "starting".to_owned(),
                };
                JobInfo {
                    job: format!("{}/{}/{}", self.adapter.name(), job.symbol, job.channel),
                    kind: "stream".to_owned(),
                    state,
                    last_run: feed.map_or(0, |f| f.last_recv),
                    last_success: progress.last_success,
                    rows: progress.rows,
                    errors: u64::from(error.is_some()),
                    consecutive_errors: u64::from(error.is_some()),
                    last_error: error,
                    next_run: 0,
                    market: None,
                    process: JobCounts { rows: progress.rows, ..JobCounts::default() },
                }
            })
            .collect()
    }
}

impl Datad for Session {
    async fn hello(self, _: Context, hello: Hello) -> Result<HelloReply, RpcError> {
        self.greeting.hello(&hello)
    }

    async fn market(self, _: Context, symbol: String) -> Result<MarketInfo, RpcError> {
        if let Some(market) = self.server.found(&symbol)? {
            return Ok(market);
        }
        self.server.renew_list().await?;
        if let Some(market) = self.server.found(&symbol)? {
            return Ok(market);
        }
        let near = self.server.searched(&symbol, 3)?;
        let known = near.into_iter().map(|hit| hit.market.symbol).collect();
        Err(RpcError::Unknown { what: "market".to_owned(), name: symbol, known })
    }

    async fn search(self, _: Context, pattern: String, limit: u32) -> Result<Vec<SearchHit>, RpcError> {
        let limit = limit.clamp(1, SEARCH_MAX) as usize;
        let hits = self.server.searched(&pattern, limit)?;
        if !hits.is_empty() {
            return Ok(hits);
        }
        self.server.renew_list().await?;
        self.server.searched(&pattern, limit)
    }

    async fn open_feed(self, _: Context, symbol: String, channel: String) -> Result<FeedInfo, RpcError> {
        let (symbol, channel) = feed_key(&symbol, &channel)?;
        let is_known = self.server.running()?.lists.known.borrow().by_symbol(&symbol).is_some();
        if !is_known {
            self.server.renew_list().await?;
        }
        let answer = self.server.ask(|reply| Command::OpenFeed { symbol, channel, configured: false, reply }).await?;
        answer.map_err(|reason| RpcError::Invalid { argument: "symbol".to_owned(), reason })
    }

    async fn close_feed(self, _: Context, symbol: String, channel: String) -> Result<FeedInfo, RpcError> {
        let (symbol, channel) = feed_key(&symbol, &channel)?;
        let answer = self.server.ask(|reply| Command::CloseFeed { symbol, channel, reply }).await?;
        answer.map_err(|reason| RpcError::Invalid { argument: "symbol".to_owned(), reason })
    }

    async fn book(self, _: Context, symbol: String, depth: u32) -> Result<BookSnapshot, RpcError> {
        let (symbol, _) = feed_key(&symbol, Channel::Book.as_str())?;
        let answer = self.server.ask(|reply| Command::Book { symbol, depth: depth as usize, reply }).await?;
        answer.map_err(|reason| RpcError::Invalid { argument: "symbol".to_owned(), reason })
    }

    async fn feeds(self, _: Context) -> Result<Vec<FeedInfo>, RpcError> {
        self.server.feed_list().await
    }

    async fn jobs(self, _: Context) -> Result<Vec<JobInfo>, RpcError> {
        Ok(self.server.job_list().await)
    }

    async fn stats(self, _: Context) -> Result<Stats, RpcError> {
        let s = &self.server.shared;
        let weights = self.server.rest.busiest();
        Ok(Stats {
            frames: s.frames.load(Ordering::Relaxed),
            records: s.records.load(Ordering::Relaxed),
            parse_errors: s.parse_errors.load(Ordering::Relaxed),
            connects: s.connects.load(Ordering::Relaxed),
            connections: s.connections.load(Ordering::Relaxed),
            gaps: s.gaps.load(Ordering::Relaxed),
            gap_repairs: s.gap_repairs.load(Ordering::Relaxed),
            frame_to_ring_p50: s.frame_to_ring.p50.load(Ordering::Relaxed),
            frame_to_ring_p99: s.frame_to_ring.p99.load(Ordering::Relaxed),
            rows_written: s.rows_written.load(Ordering::Relaxed),
            recorder_lag_bytes: s.recorder_lag(),
            recording: !s.not_recording.load(Ordering::Relaxed) && self.server.running.borrow().is_some(),
            error: s.trouble(),
            weight_used: weights.used,
            weight_limit: weights.limit,
            frozen_until: weights.frozen_until.unwrap_or(0),
            books_disagreed: s.books_disagreed.load(Ordering::Relaxed),
            reconnects: s.reconnects.load(Ordering::Relaxed),
            frame_to_ring: s.frame_to_ring.latencies(),
        })
    }

    async fn flush(self, _: Context) -> Result<FlushReport, RpcError> {
        let upto = self.server.ask(|reply| Command::JournalEnd { reply }).await?;
        let running = self.server.running()?;
        let (reply, answer) = oneshot::channel();
        running
            .recorder
            .try_send(RecorderCommand::Flush { upto, reply })
            .map_err(|_| self.server.unavailable("the recorder is busy or gone; try again"))?;
        match tokio::time::timeout(FLUSH_DEADLINE, answer).await {
            Ok(Ok(Ok(report))) => Ok(report),
            Ok(Ok(Err(reason))) => Err(RpcError::Failed { operation: "flush".to_owned(), reason }),
            Ok(Err(_)) => Err(self.server.unavailable("the recorder is gone")),
            Err(_) => Err(self.server.unavailable(format!("not flushed within {FLUSH_DEADLINE:?}"))),
        }
    }

    async fn shutdown(self, _: Context) -> Result<(), RpcError> {
        self.server.shutdown.trigger(dccd_service::ShutdownReason::Requested);
        Ok(())
    }

    async fn begin_backfill(self, _: Context, request: BackfillRequest) -> Result<String, RpcError> {
        let wanted = request.series.iter().map(history::wanted).collect::<Result<Vec<_>, _>>()?;
        if wanted.is_empty() {
            return Err(RpcError::Invalid { argument: "series".to_owned(), reason: "none was named".to_owned() });
        }
        let scope = if request.newest_only { Scope::Tail } else { Scope::Everything };
        let parallel = request.parallel;
        self.server.ask_history(|reply| HistoryCommand::Begin { wanted, scope, parallel, reply }).await
    }

    async fn backfills(self, _: Context) -> Result<Vec<BackfillInfo>, RpcError> {
        let backfills = self.server.ask_history(|reply| HistoryCommand::Backfills { reply }).await?;
        let now = crate::clock::now();
        let waits_for = self.server.rest.waits_for(now);
        Ok(backfills.iter().map(|backfill| history::backfill_info(backfill, now, waits_for.as_deref())).collect())
    }

    async fn cancel_backfill(self, _: Context, id: String) -> Result<(), RpcError> {
        let asked = id.clone();
        if self.server.ask_history(|reply| HistoryCommand::Cancel { id: asked, reply }).await? {
            return Ok(());
        }
        Err(RpcError::Unknown { what: "running backfill".to_owned(), name: id, known: Vec::new() })
    }

    async fn pause_jobs(self, _: Context, prefix: String) -> Result<Vec<String>, RpcError> {
        self.server.pause_jobs(prefix, true).await
    }

    async fn resume_jobs(self, _: Context, prefix: String) -> Result<Vec<String>, RpcError> {
        self.server.pause_jobs(prefix, false).await
    }

    async fn reload(self, _: Context) -> Result<(), RpcError> {
        self.server.order(|reply| Order::Reload { reply }).await
    }

    async fn pause_live(self, _: Context, prefix: String) -> Result<Vec<String>, RpcError> {
        self.server.order(|reply| Order::Pause { prefix, paused: true, reply }).await
    }

    async fn resume_live(self, _: Context, prefix: String) -> Result<Vec<String>, RpcError> {
        self.server.order(|reply| Order::Pause { prefix, paused: false, reply }).await
    }

    async fn run_jobs(self, _: Context, prefix: String) -> Result<Option<String>, RpcError> {
        self.server.ask_history(|reply| HistoryCommand::Run { prefix, reply }).await
    }

    async fn meet_successor(self, _: Context, profile: String) -> Result<(), RpcError> {
        self.server.meet_successor(&profile).await
    }
}

impl Server {
    /// Has the main task do something, and waits for it.
    async fn order<T>(&self, order: impl FnOnce(oneshot::Sender<Result<T, String>>) -> Order) -> Result<T, RpcError> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.orders.send(order(reply)).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(ORDER_DEADLINE, asked).await {
            Ok(Some(answer)) => answer.map_err(|reason| self.unavailable(reason)),
            Ok(None) => Err(self.unavailable("it is stopping")),
            Err(_) => Err(self.unavailable(format!("it was not done within {ORDER_DEADLINE:?}"))),
        }
    }

    async fn meet_successor(&self, profile: &str) -> Result<(), RpcError> {
        let service = || format!("datad.{}", self.adapter.name());
        let refused = |reason| RpcError::Refused { service: service(), reason };
        if profile != self.profile {
            let ours = &self.profile;
            return Err(refused(format!("it was told to collect in another way: {profile}, and not {ours}")));
        }
        let stream = std::os::unix::net::UnixStream::connect(&self.successors)
            .map_err(|error| refused(format!("nobody waits at {}: {error}", self.successors.display())))?;
        self.ask(|reply| Command::Join { stream, reply }).await?.map_err(refused)
    }

    async fn pause_jobs(&self, prefix: String, paused: bool) -> Result<Vec<String>, RpcError> {
        self.ask_history(|reply| HistoryCommand::Pause { prefix, paused, reply }).await
    }

    /// Writes the state of the jobs where `dccd status` finds it when no daemon runs; gives what it wrote.
    pub(crate) async fn save_jobs(&self, path: &Path) -> Vec<JobInfo> {
        let jobs = self.job_list().await;
        write_jobs(path, &jobs);
        jobs
    }

    /// The same at the very end, when there are no feeds to ask any more but the rows have all been written.
    pub(crate) fn save_last_jobs(&self, path: &Path, mut jobs: Vec<JobInfo>, histo: Option<Vec<JobInfo>>) {
        if let Some(histo) = histo {
            jobs.retain(|job| job.kind == "stream");
            jobs.extend(histo);
        }
        for (job, configured) in jobs.iter_mut().zip(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).iter()) {
            let progress = self.shared.progress(&configured.symbol, configured.channel);
            (job.rows, job.last_success) = (progress.rows, progress.last_success);
            if !matches!(job.state.as_str(), "error" | "paused") {
                "closed".clone_into(&mut job.state);
            }
        }
        write_jobs(path, &jobs);
    }
}

fn write_jobs(path: &Path, jobs: &[JobInfo]) {
    let Ok(text) = serde_json::to_vec_pretty(jobs) else { return }; // plain values: it can
    if let Err(error) = dccd_store::write_atomically(path, &text) {
        tracing::warn!(error = %crate::error::chain(&error), "could not save the state of the jobs");
    }
}
