//! From options to a running datad and back: recovery, threads, RPC, ordered shutdown.

mod jobs;
mod journal;
mod markets;
mod pausing;
mod reload;
mod shed;
mod succeed;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dccd_exchange::{Adapter, Markets, Product};
use dccd_history::{RestAddresses, RestClients};
use dccd_model::{Channel, ExchangeName, Symbol};
use dccd_net::SystemClock;
use dccd_rpc::ServeLimits;
use dccd_rpc::datad::{DATAD_PROTOCOL, Datad as _, FlushReport, JobInfo};
use dccd_service::{ServiceContext, ShutdownReason};
use dccd_store::journal::{JournalSync, JournalWriter};
use dccd_store::{Recorder, RecorderOptions};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::bus::{Bus, RingSizes};
use crate::conditions::{self, Patience};
use crate::error::{DatadError, chain};
use crate::fetch::{FetchRequest, Fetcher};
use crate::history::{HistoryCommand, HistoryOptions, HistoryThread};
use crate::hot::{Command, Hot, HotContext};
use crate::links::Links;
use crate::lister::Lister;
use crate::recorder::{RecorderCommand, RecorderContext, RecorderLoop, RecorderThread, Recovered, live_candles};
use crate::rpc::{ConfiguredFeed, Order, Running, Server, Session};
use crate::service::shed::Shedding;
use crate::shared::{Part, Shared};
use journal::{open_journal, past_the_store};
use succeed::Successor;

pub use reload::Reread;

/// Wants that wait for the fetcher; one more is dropped and counted, and raised again by later events.
const FETCH_QUEUE: usize = 1_024;
/// Commands that wait for the hot thread; one more makes its sender wait.
const HOT_QUEUE: usize = 256;
/// A recovery that takes longer goes on while the service is registered.
const RECOVERY_PATIENCE: Duration = Duration::from_secs(5);
/// How long an exchange may take to answer when it is asked for a ticket to connect with.
const TICKET_TIMEOUT: Duration = Duration::from_secs(10);
/// How long such a request may wait for its turn.
const TICKET_TURN: Duration = Duration::from_secs(15);
/// Between two looks at the threads. Their limits below are counted in looks, so that time in which the whole process
/// stood still doesn't count.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// The hot thread is reported.
const HOT_SLOW: u32 = 5;
/// The hot thread is given up, and the process with it: the root starts another.
const HOT_HUNG: u32 = 15;
/// A service that is connected to nothing is reported.
const UNCONNECTED_LOOKS: u32 = 5;
/// The recorder is reported. A merge of a large day may take a while, and nothing depends on it.
const RECORDER_SLOW: u32 = 60;
/// How long the history thread may take to stop.
const HISTORY_STOP: Duration = Duration::from_secs(30);
/// How often the state of the jobs is saved for `dccd status` without a daemon.
const SAVE_JOBS: Duration = Duration::from_secs(10);
/// Orders that wait; one more makes its sender wait.
const ORDER_QUEUE: usize = 4;
/// Patience with one.
const ORDER_PATIENCE: Duration = Duration::from_secs(20);

/// What a datad works on.
#[derive(Clone, Debug, PartialEq)]
pub struct DatadOptions {
    /// The exchange.
    pub exchange: ExchangeName,
    /// Name of the instance; part of the rings' names.
    pub instance: String,
    /// The store.
    pub data_path: PathBuf,
    /// The exchange's REST addresses, and how much may be asked of them.
    pub rest: RestAddresses,
    /// Another WebSocket address than the exchange's own.
    pub ws_url: Option<String>,
    /// The same for derivatives, where they have a socket of their own.
    pub linear_ws_url: Option<String>,
    /// What the configuration wants recorded.
    pub feeds: Vec<(Symbol, Channel)>,
    /// Series of candles that the configuration wants complete.
    pub histo: Vec<dccd_history::Wanted>,
    /// How old the newest Parquet part may be.
    pub time_step: Duration,
    /// Order-book levels a side to ask for; `None`: as many as the exchange gives.
    pub depth: Option<u32>,
    /// Collect aggregated trades where the exchange has both.
    pub aggregated_trades: bool,
    /// Slots of an order-book ring; the others have a quarter. A power of two.
    pub ring_slots: u64,
    /// Recorded journal that is kept to look things up in, bytes.
    pub journal_keep_bytes: u64,
    /// What is put up with before it is told.
    pub patience: Patience,
}

/// Runs until shutdown is asked for; then everything received is in the store. `reread` is asked for the options anew when the root
/// says that they have changed.
///
/// # Errors
/// When it can't start, or a thread of it ended before its time. What the exchange does is no error: it is waited for.
pub async fn run(options: DatadOptions, reread: Reread, ctx: ServiceContext) -> Result<(), DatadError> {
    let adapter_options =
        dccd_exchange::AdapterOptions { aggregated_trades: options.aggregated_trades, depth: options.depth };
    let adapter = dccd_exchange::adapter(options.exchange.as_str(), &adapter_options).ok_or_else(|| {
        DatadError::UnknownExchange { exchange: options.exchange.to_string(), known: dccd_exchange::NAMES.join(", ") }
    })?;
    let shared = Arc::new(Shared::default());
    let rest = RestClients::new(&options.exchange, adapter.as_ref(), &options.rest, Some(&state_dir(&options)))
        .map_err(|e| DatadError::Serve(Box::new(e)))?;
    let successor = match ctx.args().succeeds {
        Some(_) => Some(succeed::stand_by(&options, &adapter, &rest, &ctx).await?),
        None => None,
    };

    let history = HistoryThread::start(HistoryOptions {
        exchange: options.exchange.clone(),
        data_path: options.data_path.clone(),
        jobs: options.histo.clone(),
        source: dccd_history::Source { adapter: adapter.clone(), rest: rest.clone(), clock: Arc::new(SystemClock) },
        task: ctx.tasks().begin("history"),
    })?;

    let (running_tx, running) = watch::channel(None);
    let paused = pausing::kept(&state_dir(&options));
    let jobs = options.feeds.iter().map(|(symbol, channel)| ConfiguredFeed {
        paused: paused.contains(&pausing::job_name(&options.exchange, symbol, *channel)),
        ..ConfiguredFeed::new(symbol.clone(), *channel)
    });
    let (orders, order_queue) = mpsc::channel(ORDER_QUEUE);
    let server = Server {
        adapter: adapter.clone(),
        running,
        shared: shared.clone(),
        rest: rest.clone(),
        shutdown: ctx.shutdown().clone(),
        jobs: Arc::new(std::sync::Mutex::new(jobs.collect())),
        history: history.commands.clone(),
        successors: ctx.runtime_dir().successor_socket(ctx.name()),
        profile: succeed::profile(&options),
        histo_jobs: Arc::default(),
        orders,
    };

    let (patience, patience_now) = watch::channel(options.patience);
    let watching = tokio::spawn(conditions::watch(server.clone(), ctx.progress().conditions().clone(), patience_now));

    // The journal first: it locks out another datad of this exchange and cuts a torn tail before anybody reads it.
    let journal_dir = options.data_path.join(".dccd").join("journal").join(options.exchange.as_str());
    let journal = open_journal(&journal_dir, &ctx).await?;
    let journal_error = |source| DatadError::Journal { dir: journal_dir.clone(), source };
    let store_error = |source| DatadError::Store { dir: options.data_path.clone(), source };
    let recorder_options = RecorderOptions {
        time_step: options.time_step,
        contiguous_ids: adapter.capabilities().trade_ids_contiguous,
        ..RecorderOptions::default()
    };
    let recorder = Recorder::open(&options.data_path, &options.exchange, recorder_options).map_err(store_error)?;
    let journal = past_the_store(journal, &journal_dir, &recorder, &options)?;
    let sync = Arc::new(journal.sync_handle().map_err(journal_error)?);

    let endpoint = ctx.endpoint_path();
    let listener = dccd_rpc::unix_listen(&endpoint).map_err(|e| DatadError::Serve(Box::new(e)))?;
    let served = server.clone();
    let (stop_serving, stopped) = oneshot::channel::<()>();
    let name = format!("datad.{}", options.exchange);
    let serving = ctx.tasks().begin("serving");
    let serving = tokio::spawn(async move {
        let handle = move |connection: dccd_rpc::Connection| {
            let session = Session { server: served.clone(), greeting: connection.greeting().clone() };
            connection.run(session.serve())
        };
        let stop = async {
            let _ = stopped.await; // the sender's end is the signal
        };
        serving.run(dccd_rpc::serve(listener, &name, DATAD_PROTOCOL, ServeLimits::default(), handle, stop)).await;
    });

    let parts = Parts {
        options: &options,
        journal_dir,
        sync: sync.clone(),
        server: &server,
        history: &history,
        wanted: watch::channel(wanted(&options)).0,
        patience,
        listed: rest_products(&options, adapter.as_ref(), &rest),
        reread,
        unread: Mutex::default(),
        adapter,
        shared,
        rest,
    };
    let outcome = parts.run(journal, recorder, order_queue, &running_tx, &ctx, successor).await;
    if ctx.shutdown().reason() == Some(ShutdownReason::HandedOver) {
        // Clients find the successor by themselves; the sooner this process has ended the better.
        serving.abort();
    }
    drop(stop_serving);
    let _ = serving.await; // it ends within its own drain time
    watching.abort();
    drop(sync);
    outcome
}

/// The symbols of all that the configuration wants.
fn wanted(options: &DatadOptions) -> Vec<Symbol> {
    let live = options.feeds.iter().map(|(symbol, _)| symbol.clone());
    live.chain(options.histo.iter().map(|wanted| wanted.symbol.clone())).collect()
}

/// The products whose lists of markets are asked for: those that have an address, and those that are recorded.
fn rest_products(options: &DatadOptions, adapter: &dyn Adapter, rest: &RestClients) -> Vec<Product> {
    rest.lists().chain(options.feeds.iter().map(|(symbol, _)| adapter.rest_of(symbol))).collect()
}

/// The result of an order, or that a thread stands still: nobody watches over those while an order is carried out.
async fn in_time<T>(order: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let result = tokio::time::timeout(ORDER_PATIENCE, order).await;
    result.unwrap_or_else(|_| Err(format!("it was not done within {} s", ORDER_PATIENCE.as_secs())))
}

/// Sees whether a counter moves.
#[derive(Default)]
struct Watch {
    last: u64,
    still: u32,
}

impl Watch {
    /// How many looks in a row found this value.
    fn still_for(&mut self, value: u64) -> u32 {
        self.still = if value == self.last { self.still.saturating_add(1) } else { 0 };
        self.last = value;
        self.still
    }
}

fn state_dir(options: &DatadOptions) -> PathBuf {
    options.data_path.join(".dccd").join("state").join(options.exchange.as_str())
}

struct Parts<'a> {
    options: &'a DatadOptions,
    adapter: Arc<dyn Adapter>,
    shared: Arc<Shared>,
    rest: RestClients,
    journal_dir: PathBuf,
    sync: Arc<JournalSync>,
    server: &'a Server,
    history: &'a HistoryThread,
    /// The symbols of all that the configuration wants.
    wanted: watch::Sender<Vec<Symbol>>,
    /// What it puts up with before it says that something is wrong.
    patience: watch::Sender<Patience>,
    /// The products whose lists of markets are asked for.
    listed: Vec<Product>,
    reread: Reread,
    /// Series that have files, of which the journal says nothing and which weren't opened yet.
    unread: Mutex<HashSet<(Symbol, Channel)>>,
}

impl Parts<'_> {
    async fn run(
        &self,
        journal: JournalWriter,
        recorder: Recorder,
        orders: mpsc::Receiver<Order>,
        running: &watch::Sender<Option<Running>>,
        ctx: &ServiceContext,
        successor: Option<Successor>,
    ) -> Result<(), DatadError> {
        let mut registered = false;
        let Some(beginning) = self.markets(ctx, &mut registered).await else {
            self.stop_history().await;
            return Ok(()); // shut down before the exchange answered
        };
        let markets = beginning.markets.clone();
        let (fetches, fetch_requests) = mpsc::channel(FETCH_QUEUE);
        let (commands, command_queue) = mpsc::channel(HOT_QUEUE);

        let recovery = self.recover(recorder, markets.clone(), fetches.clone());
        tokio::pin!(recovery);
        let (recorder, recovered) = match tokio::time::timeout(RECOVERY_PATIENCE, &mut recovery).await {
            Ok(recovered) => recovered?,
            Err(_) => {
                let reason = "reading the journal since the last checkpoint".to_owned();
                self.register_degraded(ctx, &mut registered, reason).await;
                recovery.await?
            }
        };
        if recovered.entries > 0 {
            info!(entries = recovered.entries, "read the journal since the last checkpoint");
        }
        let session = match &recovered.session {
            None => self.adapter.session(markets.clone()),
            Some(saved) => self
                .adapter
                .restore(markets.clone(), saved)
                .map_err(|source| DatadError::Session { exchange: self.options.exchange.to_string(), source })?,
        };
        let recorder = RecorderThread::start(recorder, ctx.tasks().begin("recorder"))?;
        let hot_ended =
            self.start_hot(session, recovered, journal, markets.clone(), command_queue, fetches, ctx, successor).await?;
        let renew_after = dccd_history::renew_after(&self.options.exchange);
        let (lister, lists) = Lister::new(beginning, renew_after, self.wanted.subscribe(), self.shared.clone());
        let (to_hot, to_recorder, task) = (commands.clone(), recorder.commands.clone(), ctx.tasks().begin("lister"));
        let listing = tokio::spawn(async move { task.run(lister.run(to_hot, to_recorder)).await });
        let fetcher = Fetcher {
            adapter: self.adapter.clone(),
            markets: lists.known.clone(),
            rest: self.rest.clone(),
            requests: fetch_requests,
            hot: commands.clone(),
        };
        let task = ctx.tasks().begin("fetcher");
        let fetching = tokio::spawn(async move { task.run(fetcher.run()).await });
        if self.is_unread() {
            // It may take longer than a start may.
            let reason = "looking where series end that the store has and the journal doesn't know";
            self.register_degraded(ctx, &mut registered, reason.to_owned()).await;
        }
        self.open_configured(&commands).await;
        let parts = Running { hot: commands.clone(), recorder: recorder.commands.clone(), lists };
        running.send_replace(Some(parts.clone()));
        if !registered {
            ctx.progress().degraded(self.shared.trouble().or_else(|| self.job_trouble()));
            ctx.register_protocol(DATAD_PROTOCOL).await.map_err(|e| DatadError::Serve(Box::new(e)))?;
        }
        ctx.progress().degraded(self.shared.trouble().or_else(|| self.job_trouble()));

        let outcome = self.until_shutdown(ctx, &parts, &recorder, orders, hot_ended).await;
        // Flushing moves none of the counters.
        ctx.progress().busy(false);
        fetching.abort();
        listing.abort();
        let jobs_path = state_dir(self.options).join("jobs.json");
        let jobs = self.server.save_jobs(&jobs_path).await;
        running.send_replace(None);
        if outcome.is_err() {
            self.stop_history().await;
        }
        outcome?;
        if ctx.shutdown().reason() == Some(ShutdownReason::HandedOver) {
            return self.leave(&commands).await;
        }
        let (stopped, histo) = tokio::join!(self.stop(&commands, recorder), self.stop_history());
        if let Some(report) = stopped? {
            ctx.flushed("rows", report.rows);
            ctx.flushed("files", report.files);
            ctx.flushed("bytes", report.bytes);
        }
        self.server.save_last_jobs(&jobs_path, jobs, histo);
        Ok(())
    }

    /// Ends the history thread; gives the last state of its jobs. What it has fetched is safe wherever it is stopped.
    async fn stop_history(&self) -> Option<Vec<JobInfo>> {
        let (reply, answer) = oneshot::channel();
        let stopped = async {
            self.history.commands.send(HistoryCommand::Stop { reply }).await.ok()?;
            answer.await.ok()
        };
        let stopped = tokio::time::timeout(HISTORY_STOP, stopped).await;
        if stopped.is_err() {
            warn!("the history thread didn't stop in time; what it has fetched is safe");
        }
        stopped.ok().flatten()
    }

    /// Lets the root and clients know that this service lives, and why it does not collect yet.
    async fn register_degraded(&self, ctx: &ServiceContext, registered: &mut bool, reason: String) {
        ctx.progress().degraded(Some(reason));
        if !*registered {
            match ctx.register_protocol(DATAD_PROTOCOL).await {
                Ok(()) => *registered = true,
                Err(error) => warn!(error = %chain(&error), "cannot register yet"),
            }
        }
    }

    /// Brings store and session to where the journal ends; on a thread of its own, because it reads and writes files.
    async fn recover(
        &self,
        recorder: Recorder,
        markets: Arc<Markets>,
        fetches: mpsc::Sender<FetchRequest>,
    ) -> Result<(RecorderLoop, Recovered), DatadError> {
        let ctx = RecorderContext {
            adapter: self.adapter.clone(),
            markets,
            journal_dir: self.journal_dir.clone(),
            sync: Some(self.sync.clone()),
            data_path: self.options.data_path.clone(),
            journal_keep_bytes: self.options.journal_keep_bytes,
            fetches,
            history: self.history.commands.clone(),
            shared: self.shared.clone(),
        };
        let recover = move || {
            let (recorder, recovered) = RecorderLoop::recover(ctx, recorder)?;
            let unknown = recorder.unknown_series()?;
            Ok::<_, DatadError>((recorder, recovered, unknown))
        };
        let recovered = tokio::task::spawn_blocking(recover).await.map_err(|_| DatadError::Thread { name: "recovery" })?;
        let (recorder, recovered, unknown) = recovered?;
        self.unread().extend(unknown);
        Ok((recorder, recovered))
    }

    /// Starts the hot thread, or lets that of a successor begin; the receiver resolves when it ends.
    #[allow(clippy::too_many_arguments)] // each is moved into the thread
    async fn start_hot(
        &self,
        session: Box<dyn dccd_exchange::Session>,
        recovered: Recovered,
        journal: JournalWriter,
        markets: Arc<Markets>,
        commands: mpsc::Receiver<Command>,
        fetches: mpsc::Sender<FetchRequest>,
        ctx: &ServiceContext,
        successor: Option<Successor>,
    ) -> Result<oneshot::Receiver<()>, DatadError> {
        let link_options = succeed::link_options(self.options, &self.adapter, &self.rest)?;
        let mut candles = live_candles(self.adapter.as_ref());
        candles.resume(&recovered.candles, session.feeds(), &[]);
        let sizes = RingSizes { book: self.options.ring_slots, other: (self.options.ring_slots / 4).max(1_024) };
        let hot = HotContext {
            adapter: self.adapter.clone(),
            markets: markets.clone(),
            session,
            recorded: recovered.recorded,
            journal,
            bus: Bus::new(&self.options.instance, self.options.exchange.as_str(), sizes, self.adapter.quotes_follow_book()),
            candles,
            links: Links::new(self.adapter.clone(), markets, link_options),
            commands,
            fetches,
            shared: self.shared.clone(),
            progress: ctx.progress().clone(),
            shutdown: ctx.shutdown().clone(),
        };
        match successor {
            Some(successor) => successor.take_over(hot, &self.journal_dir).await,
            None => succeed::spawn_hot(ctx.tasks().begin("hot"), move || Hot::new(hot).run(None)),
        }
    }

    /// Does what a client or the root has ordered.
    async fn obey(&self, order: Order, told: &mut DatadOptions, running: &Running) {
        // Whoever asked may have given up.
        match order {
            Order::Reload { reply } => {
                let _ = reply.send(in_time(self.reload(told, running)).await);
            }
            Order::Pause { prefix, paused, reply } => {
                let _ = reply.send(in_time(self.pause(&prefix, paused, &running.hot)).await);
            }
        }
    }

    /// Says so when nothing has been connected for some looks although something should be.
    fn unconnected_for(&self, looks: &mut u32) -> Option<String> {
        let connected = self.jobs().iter().all(|job| job.paused) || self.shared.connections.load(Ordering::Relaxed) > 0;
        *looks = if connected { 0 } else { looks.saturating_add(1) };
        (*looks >= UNCONNECTED_LOOKS).then(|| "not connected to the exchange; trying on".to_owned())
    }

    /// Waits for the end, asked for or not; watches the threads and saves the jobs' state meanwhile.
    async fn until_shutdown(
        &self,
        ctx: &ServiceContext,
        running: &Running,
        recorder: &RecorderThread,
        mut orders: mpsc::Receiver<Order>,
        mut hot: oneshot::Receiver<()>,
    ) -> Result<(), DatadError> {
        let commands = &running.hot;
        let mut told = self.options.clone();
        let jobs_path = state_dir(self.options).join("jobs.json");
        let mut save = tokio::time::interval(SAVE_JOBS);
        let mut look = tokio::time::interval(WATCH_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut hot_watch = Watch::default();
        let mut recorder_watch = Watch::default();
        let mut unconnected_looks = 0;
        let mut shedding = Shedding::new(ctx);
        // From here on there is always something that counts: the turns of the hot thread, if nothing else.
        ctx.progress().busy(true);
        loop {
            tokio::select! {
                _ = ctx.shutdown().wait() => return Ok(()),
                () = shedding.wanted() => shed::shed(&self.shared, recorder),
                _ = &mut hot => return Err(DatadError::Thread { name: "hot" }),
                Some(order) = orders.recv() => tokio::select! {
                    _ = ctx.shutdown().wait() => return Ok(()),
                    () = self.obey(order, &mut told, running) => {}
                },
                _ = save.tick() => {
                    if hot_watch.still == 0 {
                        self.retry_jobs(commands).await;
                    }
                    self.server.save_jobs(&jobs_path).await;
                }
                _ = look.tick() => {
                    if recorder.thread.is_finished() {
                        return Err(DatadError::Thread { name: "recorder" });
                    }
                    if self.history.is_finished() {
                        return Err(DatadError::Thread { name: "history" });
                    }
                    let hot = hot_watch.still_for(self.shared.hot_turns.load(Ordering::Relaxed));
                    let recorder = recorder_watch.still_for(self.shared.recorder_turns.load(Ordering::Relaxed));
                    if hot >= HOT_HUNG {
                        ctx.dump("the hot thread stands still");
                        return Err(DatadError::Hung { name: "hot", looks: hot });
                    }
                    let stuck = if hot >= HOT_SLOW {
                        Some(format!("the hot thread has stood still for {hot} s"))
                    } else if recorder >= RECORDER_SLOW {
                        Some(format!("the recorder has stood still for {recorder} s; its backlog is in the journal"))
                    } else {
                        None
                    };
                    if self.shared.set_trouble(Part::Thread, stuck.clone()) && let Some(stuck) = stuck {
                        warn!(stuck, "a thread makes no progress");
                    }
                    let unconnected = self.unconnected_for(&mut unconnected_looks);
                    ctx.progress().degraded(self.shared.trouble().or(unconnected).or_else(|| self.job_trouble()));
                }
            }
        }
    }

    /// Hot thread first (no more entries), then the recorder (everything into the files).
    async fn stop(
        &self,
        commands: &mpsc::Sender<Command>,
        recorder: RecorderThread,
    ) -> Result<Option<FlushReport>, DatadError> {
        let (reply, answer) = oneshot::channel();
        let stopped = async {
            commands.send(Command::Stop { reply }).await.ok()?;
            answer.await.ok()
        };
        // Held until the recorder has written everything: another datad must not begin with this store before.
        let Ok(Some(journal)) = tokio::time::timeout(Duration::from_secs(10), stopped).await else {
            return Err(DatadError::Thread { name: "hot" });
        };
        let upto = journal.position();
        let (reply, answer) = oneshot::channel();
        let commands = recorder.commands.clone();
        // Sending may wait for room, so it must not hold up the runtime.
        let sent = tokio::task::spawn_blocking(move || commands.send(RecorderCommand::Close { upto, reply }).is_ok());
        if !sent.await.unwrap_or(false) {
            return Err(DatadError::Thread { name: "recorder" });
        }
        match answer.await {
            Ok(Ok(report)) => {
                info!(rows = report.rows, files = report.files, "everything received is in the store");
                Ok(Some(report))
            }
            Ok(Err(reason)) => {
                warn!(reason, "not everything could be written; the journal has it, and the next start writes it");
                Ok(None)
            }
            Err(_) => Err(DatadError::Thread { name: "recorder" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_stuck_only_while_its_counter_stands_still() {
        let mut watch = Watch::default();
        let seen: Vec<u32> = [1, 2, 2, 2, 3, 3].map(|turns| watch.still_for(turns)).to_vec();
        assert_eq!(seen, [0, 0, 1, 2, 0, 1]);
    }
}
