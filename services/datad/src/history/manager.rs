//! The loop of the history thread: starts what is due, gives each series to one run at a time, notes how runs end.
//!
//! A backfill works in turns, so that the newest candles of its series are not kept waiting for its end.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use dccd_exchange::Adapter;
use dccd_history::{Backfills, Cancel, HistoryContext, Progress, RunLog, Scope, Wanted, is_meant};
use dccd_model::{Span, UnixNanos};
use dccd_rpc::datad::JobInfo;
use dccd_store::{CandleSeriesId, CandleWriter, Empties};
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::jobs::Jobs;
use super::live::Live;
use super::{HistoryCommand, HistoryOptions};
use crate::error::chain;

/// How long a backfill keeps its series at a time.
const TURN: Duration = Duration::from_secs(10);
/// Markets that a backfill works on in one turn, where they are worked on at the same time.
const MARKETS_A_TURN: usize = 8;
/// Backfills that nobody asked for, at the same time.
const OWN_FILLS_MAX: usize = 4;
/// Jobs that are run at the same time.
const RUNS_AT_ONCE: usize = 16;
/// What runs have to say; the loop takes it at once.
const EVENTS: usize = 64;
/// The longest the loop sleeps.
const NAP_MAX: Duration = Duration::from_secs(1);
/// How often progress, metrics and states are written.
const SAVE_EVERY: Duration = Duration::from_secs(2);
/// Year files are written anew at this rate at most, all series together: one series is always fresh, hundreds take their turns.
const PUBLISH_BYTES_PER_SECOND: u64 = 4 << 20;
/// Before a publishing that failed is tried again.
const PUBLISH_RETRY: Duration = Duration::from_secs(5);
/// How long a stop may spend on ending what runs, and on bringing staged rows into files. They are safe on the stage.
const STOP_RUNS: Duration = Duration::from_secs(15);
const STOP_PUBLISH: Duration = Duration::from_secs(10);

/// What a run says when it ends.
enum Event {
    /// The run of a job.
    Collected { job: String, wanted: Wanted, progress: Progress },
    /// A turn of a backfill.
    Turn { id: String },
}

struct Running {
    series: Vec<(Wanted, Progress)>,
    scope: Scope,
    parallel: bool,
    cancel: Cancel,
    /// The series that the turn under way works on; none between turns.
    taken: Vec<String>,
    /// Nobody asked for it: what is left is tried again by itself.
    is_own: bool,
    /// It was ended to be begun again for other jobs.
    begins_again: bool,
    /// Series whose end was noted.
    noted: HashSet<String>,
}

impl Running {
    fn names(&self) -> impl Iterator<Item = String> + '_ {
        let open = self.series.iter().filter(|(_, progress)| !progress.update(|p| p.state.is_final()));
        open.map(|(_, progress)| progress.update(|p| p.job.clone()))
    }

    fn is_over(&self) -> bool {
        self.series.iter().all(|(_, progress)| progress.update(|p| p.state.is_final()))
    }
}

/// Runs until it is told to stop, or nobody can tell it anything any more.
pub(super) fn run(options: HistoryOptions, commands: mpsc::Receiver<HistoryCommand>) {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let task = options.task.clone();
            LocalSet::new().block_on(&runtime, task.run(Manager::new(options).run(commands)));
        }
        Err(error) => error!(%error, "the history thread has no runtime"),
    }
}

pub(super) struct Manager {
    pub(super) options: HistoryOptions,
    pub(super) jobs: Jobs,
    backfills: Backfills,
    log: RunLog,
    running: HashMap<String, Running>,
    /// Series that a run works on.
    pub(super) busy: HashSet<String>,
    /// Series with staged rows, in the order in which they are published.
    pub(super) unpublished: VecDeque<Wanted>,
    /// Candles that come live.
    pub(super) live: Live,
    publish_after: Instant,
    saved: Instant,
    cancel: Cancel,
    collecting: usize,
    events: mpsc::Sender<Event>,
    ended: mpsc::Receiver<Event>,
}

impl Manager {
    fn new(options: HistoryOptions) -> Self {
        let now = UnixNanos(options.source.clock.now_ns());
        let jobs = Jobs::open(&options.data_path, &options.exchange, options.jobs.clone(), now);
        let (events, ended) = mpsc::channel(EVENTS);
        let log = RunLog::new(&options.data_path, &options.exchange);
        let backfills = Backfills::open(&options.data_path, &options.exchange);
        Self {
            jobs,
            backfills,
            log,
            running: HashMap::new(),
            busy: HashSet::new(),
            unpublished: VecDeque::new(),
            live: Live::default(),
            publish_after: Instant::now(),
            saved: Instant::now(),
            cancel: Cancel::default(),
            collecting: 0,
            events,
            ended,
            options,
        }
    }

    fn now(&self) -> UnixNanos {
        UnixNanos(self.options.source.clock.now_ns())
    }

    async fn run(mut self, mut commands: mpsc::Receiver<HistoryCommand>) {
        loop {
            // Before anything else takes their series again.
            self.land();
            self.start_due();
            self.start_turns();
            self.start_fill();
            self.live_due(false);
            self.publish_some();
            self.save_if_due();
            let nap = self.nap();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(HistoryCommand::Stop { reply }) => {
                        self.stop().await;
                        let _ = reply.send(self.infos()); // whoever asked may have gone
                        return;
                    }
                    Some(command) => self.obey(command),
                    None => return self.stop().await,
                },
                // The manager holds a sender, so there is always one.
                Some(event) = self.ended.recv() => self.note(event),
                () = tokio::time::sleep(nap) => {}
            }
        }
    }

    /// How long nothing is due.
    fn nap(&self) -> Duration {
        let now = self.now();
        let due =
            self.jobs.list.iter().filter(|job| !job.record.paused && !job.running).map(|job| job.next_run.since(now)).min();
        let mut nap = due.unwrap_or(NAP_MAX).min(NAP_MAX);
        if !self.unpublished.is_empty() {
            nap = nap.min(self.publish_after.saturating_duration_since(Instant::now()));
        }
        nap.max(Duration::from_millis(5))
    }

    fn obey(&mut self, command: HistoryCommand) {
        // Whoever asked may have gone; that changes nothing.
        match command {
            HistoryCommand::Begin { wanted, scope, parallel, reply } => {
                let _ = reply.send(self.begin(wanted, scope, parallel, false));
            }
            HistoryCommand::Backfills { reply } => {
                self.update_running();
                let _ = reply.send(self.backfills.list().to_vec());
            }
            HistoryCommand::Cancel { id, reply } => {
                let running = self.running.get(&id);
                if let Some(running) = running {
                    running.cancel.cancel();
                }
                let _ = reply.send(running.is_some());
            }
            HistoryCommand::Pause { prefix, paused, reply } => {
                let now = self.now();
                let names = self.jobs.pause(&prefix, paused, now);
                if paused {
                    self.end_own_fills(&names);
                }
                let _ = reply.send(names);
            }
            HistoryCommand::SetJobs { wanted, reply } => {
                let now = self.now();
                let left = self.jobs.set(&self.options.exchange, wanted, now);
                self.end_own_fills(&left);
                let _ = reply.send(());
            }
            HistoryCommand::Run { prefix, reply } => {
                let meant = self.jobs.list.iter().filter(|job| is_meant(&job.name, &prefix));
                let wanted: Vec<Wanted> = meant.map(|job| job.wanted.clone()).collect();
                let id = (!wanted.is_empty()).then(|| self.begin(wanted, Scope::Everything, true, false));
                let _ = reply.send(id);
            }
            HistoryCommand::Jobs { reply } => {
                let _ = reply.send(self.infos());
            }
            HistoryCommand::Land { landing } => self.take(landing),
            HistoryCommand::Stop { .. } => {}
        }
    }

    /// Ends what is filled of these jobs without being asked for: it begins again at once for the others that it was for, and asks
    /// for nothing twice. What somebody asked for goes on.
    fn end_own_fills(&mut self, names: &[String]) {
        for running in self.running.values_mut().filter(|running| running.is_own) {
            if running.names().any(|name| names.contains(&name)) {
                running.begins_again = true;
                running.cancel.cancel();
            }
        }
    }

    fn infos(&self) -> Vec<JobInfo> {
        self.jobs.list.iter().map(|job| job.info(self.busy.contains(&job.name))).collect()
    }

    fn ctx(&self, cancel: Cancel, publishes: bool, turn: Option<Duration>) -> HistoryContext {
        HistoryContext {
            source: self.options.source.clone(),
            exchange: self.options.exchange.clone(),
            data_path: self.options.data_path.clone(),
            cancel,
            publishes,
            turn_ends: turn.map(|turn| Instant::now() + turn),
        }
    }

    /// Runs the jobs that are due.
    fn start_due(&mut self) {
        let now = self.now();
        for index in 0..self.jobs.list.len() {
            let job = &mut self.jobs.list[index];
            if self.collecting >= RUNS_AT_ONCE || !job.is_due(now) || self.busy.contains(&job.name) {
                continue;
            }
            job.running = true;
            let (name, wanted, progress) = (job.name.clone(), job.wanted.clone(), job.progress());
            self.busy.insert(name.clone());
            self.collecting += 1;
            let ctx = self.ctx(self.cancel.clone(), false, None);
            let events = self.events.clone();
            tokio::task::spawn_local(async move {
                work(&ctx, &[(wanted.clone(), progress.clone())], Scope::Newest, false).await;
                // The loop ends only after it has waited for this.
                let _ = events.send(Event::Collected { job: name, wanted, progress }).await;
            });
        }
    }

    pub(super) fn begin(&mut self, wanted: Vec<Wanted>, scope: Scope, parallel: bool, is_own: bool) -> String {
        let exchange = &self.options.exchange;
        let series: Vec<(Wanted, Progress)> =
            wanted.into_iter().map(|w| (w.clone(), Progress::of(w.name(exchange)))).collect();
        let progress: Vec<Progress> = series.iter().map(|(_, progress)| progress.clone()).collect();
        let id = self.backfills.begin(&progress, self.now());
        info!(id, series = series.len(), "a backfill begins");
        let running = Running {
            series,
            scope,
            parallel,
            cancel: Cancel::default(),
            taken: Vec::new(),
            is_own,
            begins_again: false,
            noted: HashSet::new(),
        };
        self.running.insert(id.clone(), running);
        id
    }

    /// Gives the backfills whose series are free their next turn.
    fn start_turns(&mut self) {
        let mut ids: Vec<String> = self.running.keys().cloned().collect();
        ids.sort_unstable();
        for id in ids {
            let Some(running) = self.running.get(&id).filter(|running| running.taken.is_empty()) else { continue };
            let series = self.next_turn(running);
            if series.is_empty() {
                continue;
            }
            let ctx = self.ctx(running.cancel.clone(), true, Some(TURN));
            let Some(running) = self.running.get_mut(&id) else { continue };
            running.taken = series.iter().map(|(_, progress)| progress.update(|p| p.job.clone())).collect();
            let (scope, parallel, events) = (running.scope, running.parallel, self.events.clone());
            self.busy.extend(running.taken.iter().cloned());
            tokio::task::spawn_local(async move {
                work(&ctx, &series, scope, parallel).await;
                let _ = events.send(Event::Turn { id }).await; // see above
            });
        }
    }

    /// What a backfill works on in its next turn: the open series of its next market, or of several, as far as no other run works on
    /// them and their own job isn't due.
    fn next_turn(&self, running: &Running) -> Vec<(Wanted, Progress)> {
        let now = self.now();
        let markets_max = if running.parallel { MARKETS_A_TURN } else { 1 };
        let mut markets: HashSet<&str> = HashSet::new();
        let mut chosen = Vec::new();
        for series in &running.series {
            let (name, is_over) = series.1.update(|p| (p.job.clone(), p.state.is_final()));
            let is_due = || self.jobs.list.iter().any(|job| job.name == name && job.is_due(now));
            if is_over || self.busy.contains(&name) || is_due() {
                continue;
            }
            let market = series.0.symbol.as_str();
            if markets.contains(market) || markets.len() < markets_max {
                markets.insert(market);
                chosen.push(series.clone());
            }
        }
        chosen
    }

    /// Fills by itself what the jobs' series lack. A backfill holds what is lacked when it begins; what comes to lack something
    /// meanwhile gets one of its own.
    fn start_fill(&mut self) {
        let now = self.now();
        if self.running.values().filter(|running| running.is_own).count() >= OWN_FILLS_MAX {
            return;
        }
        let in_hand: HashSet<String> = self.running.values().flat_map(Running::names).collect();
        let wants = self.jobs.list.iter().filter(|job| job.wants_fill(now) && !in_hand.contains(&job.name));
        let wanted: Vec<Wanted> = wants.map(|job| job.wanted.clone()).collect();
        if !wanted.is_empty() {
            self.begin(wanted, Scope::Everything, false, true);
        }
    }

    fn note(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Collected { job: name, wanted, progress } => {
                self.busy.remove(&name);
                self.collecting = self.collecting.saturating_sub(1);
                let run = progress.get();
                if let Some(job) = self.jobs.find(&name) {
                    job.running = false;
                    job.ended(&run, true, now);
                    job.schedule(now);
                }
                self.log.ended("collect", &wanted, &run);
                if run.rows > 0 && !self.unpublished.iter().any(|w| w.symbol == wanted.symbol && w.span == wanted.span) {
                    self.unpublished.push_back(wanted);
                }
                if let Some(error) = &run.error {
                    warn!(job = name, error, "a run of a job failed; the next one tries again");
                }
            }
            Event::Turn { id } => {
                let Some(running) = self.running.get_mut(&id) else { return };
                for name in running.taken.drain(..) {
                    self.busy.remove(&name);
                }
                for (wanted, progress) in &running.series {
                    let run = progress.get();
                    if !run.state.is_final() || !running.noted.insert(run.job.clone()) {
                        continue;
                    }
                    let kind = if running.scope == Scope::Everything { "backfill" } else { "collect" };
                    self.log.ended(kind, wanted, &run);
                    if let Some(job) = self.jobs.find(&run.job) {
                        job.ended(&run, running.is_own, now);
                        if running.is_own && !running.begins_again {
                            job.filled(now);
                        }
                    }
                }
                if running.is_over() || running.cancel.is_cancelled() {
                    self.end_backfill(&id);
                }
            }
        }
    }

    fn end_backfill(&mut self, id: &str) {
        let Some(running) = self.running.remove(id) else { return };
        let now = self.now();
        let progress: Vec<Progress> = running.series.iter().map(|(_, progress)| progress.clone()).collect();
        for progress in &progress {
            let name = progress.update(|p| p.job.clone());
            let is_unwanted = running.is_own && running.cancel.is_cancelled() && !running.begins_again;
            if let Some(job) = self.jobs.find(&name).filter(|_| is_unwanted) {
                // Whoever ended it doesn't want it begun again at once.
                job.filled(now);
            }
            progress.update(|p| {
                if !p.state.is_final() {
                    (p.state, p.ended) = (dccd_history::State::Cancelled, Some(now));
                }
            });
        }
        self.backfills.end(id, &progress, now);
        info!(id, "a backfill has ended");
    }

    /// Brings staged rows into files, within the rate.
    fn publish_some(&mut self) {
        let now = Instant::now();
        if now < self.publish_after {
            return;
        }
        let free = self.unpublished.iter().position(|w| !self.busy.contains(&w.name(&self.options.exchange)));
        let Some(wanted) = free.and_then(|at| self.unpublished.remove(at)) else { return };
        let pause = match self.publish(&wanted) {
            Some(bytes) => Duration::from_millis(bytes.saturating_mul(1_000) / PUBLISH_BYTES_PER_SECOND),
            None => {
                self.unpublished.push_back(wanted);
                PUBLISH_RETRY
            }
        };
        self.publish_after = now + pause;
    }

    /// What the exchange's candles of this span are where nothing is traded.
    pub(super) fn empties(&self, span: Span) -> Empties {
        if sends_empty(self.options.source.adapter.as_ref(), span) { Empties::Sent } else { Empties::Omitted }
    }

    /// Publishes a series; gives the bytes that were written, `None` when it could not be done.
    fn publish(&mut self, wanted: &Wanted) -> Option<u64> {
        let id =
            CandleSeriesId { exchange: self.options.exchange.clone(), symbol: wanted.symbol.clone(), span: wanted.span };
        let published = CandleWriter::open(&self.options.data_path, &id, self.empties(wanted.span))
            .and_then(|mut writer| writer.publish());
        match published {
            Ok(published) => {
                if !published.quarantined.is_empty() {
                    error!(series = %id, files = ?published.quarantined, "damaged candle files were set aside; what they held is fetched again");
                }
                self.note_published(wanted, published.bytes);
                Some(published.bytes)
            }
            Err(error) => {
                warn!(series = %id, error = %chain(&error), "candles stay staged; they are brought into the files later");
                None
            }
        }
    }

    fn update_running(&mut self) {
        for (id, running) in &self.running {
            let progress: Vec<Progress> = running.series.iter().map(|(_, progress)| progress.clone()).collect();
            self.backfills.update(id, &progress);
        }
    }

    fn save_if_due(&mut self) {
        if self.saved.elapsed() >= SAVE_EVERY {
            self.saved = Instant::now();
            self.update_running();
            self.backfills.save_if_changed();
            self.jobs.save_if_changed();
            self.log.flush();
        }
    }

    async fn stop(&mut self) {
        self.cancel.cancel();
        for running in self.running.values() {
            running.cancel.cancel();
        }
        let deadline = Instant::now() + STOP_RUNS;
        while self.collecting > 0 || self.running.values().any(|running| !running.taken.is_empty()) {
            match tokio::time::timeout_at(deadline, self.ended.recv()).await {
                Ok(Some(event)) => self.note(event),
                Ok(None) | Err(_) => {
                    warn!("runs of the history didn't end in time; what they fetched is safe");
                    break;
                }
            }
        }
        self.land();
        self.refuse_live();
        self.live_due(true);
        let left: Vec<String> = self.running.keys().cloned().collect();
        left.iter().for_each(|id| self.end_backfill(id));
        let deadline = Instant::now() + STOP_PUBLISH;
        while Instant::now() < deadline
            && let Some(wanted) = self.unpublished.pop_front()
        {
            self.publish(&wanted);
        }
        self.backfills.save_if_changed();
        self.jobs.save();
        self.log.flush();
    }
}

/// Fetches the markets and makes the series whole; every way it ends stands in their progress.
async fn work(ctx: &HistoryContext, series: &[(Wanted, Progress)], scope: Scope, parallel: bool) {
    let symbols: Vec<_> = series.iter().map(|(wanted, _)| wanted.symbol.clone()).collect();
    match dccd_history::markets(&ctx.source, &ctx.data_path, &ctx.exchange, &symbols, &ctx.cancel).await {
        Ok(markets) => dccd_history::run(ctx, &markets, series, scope, parallel).await,
        Err(error) => {
            let is_cancelled = ctx.cancel.is_cancelled();
            for (_, progress) in series {
                progress.update(|p| {
                    p.ended = Some(ctx.now());
                    p.state = if is_cancelled { dccd_history::State::Cancelled } else { dccd_history::State::Failed };
                    p.error = (!is_cancelled).then(|| dccd_history::chain(&error));
                });
            }
        }
    }
}

/// Whether the exchange has candles of this span of stretches without trades.
pub(crate) fn sends_empty(adapter: &dyn Adapter, span: Span) -> bool {
    adapter.history().and_then(|history| history.candle_pages(span)).is_none_or(|pages| pages.sends_empty)
}
