//! What `backfill`, `collect` and `run` have in common: a running daemon does the work, without one this process does, under the
//! store's lock. Either way its progress is shown.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use dccd_config::Config;
use dccd_history::{Backfills, Cancel, CandleSource, HistoryContext, Progress, RestClients, RunLog, Scope, State, Wanted};
use dccd_model::{ExchangeName, UnixNanos};
use dccd_registry::Registry;
use dccd_rpc::datad::{BackfillInfo, BackfillRequest, BackfillSeries, DatadClient, WantedSeries};
use dccd_rpc::{call, context};
use dccd_service::{Shutdown, ShutdownReason};
use dccd_store::StoreLock;
use serde::Serialize;

use crate::cli::Global;
use crate::commands::{DEADLINE, block_on, data_path, registry_if_running};
use crate::exit::Failure;
use crate::histo::{self, ByExchange};
use crate::output::{Listing, Out, instant, or_dash, rfc3339, say};
use crate::progress::Display;

/// Between two looks at the progress.
const LOOK: Duration = Duration::from_millis(200);
/// How long a service that has to be started first may take.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How long work that was told to end may go on.
const END_DEADLINE: Duration = Duration::from_secs(30);

/// What is to be done.
pub struct Work {
    /// For which series.
    pub series: ByExchange,
    /// How much of each.
    pub scope: Scope,
    /// Several markets at the same time.
    pub parallel: bool,
    /// `backfill` or `collect`, as the history of runs says.
    pub kind: &'static str,
}

/// How it went.
pub struct Outcome {
    /// Each series.
    pub series: Vec<SeriesOutcome>,
    /// The signal that ended it before its end.
    pub interrupted: Option<ShutdownReason>,
}

/// How one series went.
#[derive(Debug, Serialize)]
pub struct SeriesOutcome {
    job: String,
    /// `done`, `failed`, `cancelled`.
    pub state: String,
    rows: u64,
    windows: u64,
    windows_failed: u64,
    trades: u64,
    rows_per_second: f64,
    error: Option<String>,
    notes: Vec<String>,
}

impl From<&BackfillSeries> for SeriesOutcome {
    fn from(series: &BackfillSeries) -> Self {
        Self {
            job: series.job.clone(),
            state: series.state.clone(),
            rows: series.rows,
            windows: series.windows_done,
            windows_failed: series.windows_failed,
            trades: series.trades,
            rows_per_second: series.rows_per_second,
            error: series.error.clone(),
            notes: series.notes.clone(),
        }
    }
}

impl Outcome {
    /// Says what is worth knowing about single series.
    pub fn say_notes(&self) {
        for series in &self.series {
            for note in &series.notes {
                say(format_args!("{}: {note}", series.job));
            }
        }
    }
}

/// The table of outcomes.
pub fn table(series: &[SeriesOutcome]) -> Listing {
    let mut listing = Listing::new(&["series", "state", ">rows", ">windows", "?>failed", "?>rows/s", "?~error"]);
    for series in series {
        listing.row([
            series.job.clone(),
            series.state.clone(),
            series.rows.to_string(),
            series.windows.to_string(),
            series.windows_failed.to_string(),
            format!("{:.0}", series.rows_per_second),
            or_dash(series.error.as_ref()),
        ]);
    }
    listing
}

/// Does the work, shows its progress, and returns when it has ended. Ctrl-C ends it in order.
pub fn work(global: &Global, config: &Config, work: Work) -> Result<Outcome, Failure> {
    let shutdown = Shutdown::new();
    block_on(async {
        shutdown.trigger_on_signals().context("cannot listen for signals")?;
        match daemon(global, config.data_path()).await? {
            Some(registry) => by_daemon(&registry, work, &shutdown).await,
            None => by_this_process(config, work, &shutdown).await,
        }
    })
}

/// The running daemon, if it is the one of this store.
pub async fn daemon(global: &Global, data_path: &Path) -> Result<Option<Registry>, Failure> {
    let Some(registry) = registry_if_running(global).await? else { return Ok(None) };
    let status = registry.status(DEADLINE).await?;
    Ok((Path::new(&status.data_path) == data_path).then_some(registry))
}

fn wire(wanted: &Wanted) -> WantedSeries {
    WantedSeries {
        symbol: wanted.symbol.to_string(),
        span_s: wanted.span.as_secs(),
        start: wanted.start.map(|start| start.0),
        end: wanted.end.map(|end| end.0),
        source: match wanted.source {
            CandleSource::Auto => "auto",
            CandleSource::Candles => "candles",
            CandleSource::Trades => "trades",
        }
        .to_owned(),
        max_retries: wanted.attempts.max,
        retry_delay_ms: u64::try_from(wanted.attempts.delay.as_millis()).unwrap_or(u64::MAX),
    }
}

/// A backfill of a running service: the service, its id, who answers for it.
type Begun = (String, String, DatadClient);

fn has_begun(service: &str, id: &str) {
    say(format_args!("{service} works on it as {id}; `dccd backfill --list` shows it, `--cancel {id}` ends it"));
}

/// Lets a daemon run those jobs of its own configuration whose names begin so, shows its progress, and returns when it has ended.
pub fn run_configured(global: &Global, prefix: &str) -> Result<Outcome, Failure> {
    let shutdown = Shutdown::new();
    block_on(async {
        shutdown.trigger_on_signals().context("cannot listen for signals")?;
        let registry = crate::commands::registry(global).await?;
        let mut begun: Vec<Begun> = Vec::new();
        for service in registry.list(DEADLINE).await? {
            let Some(exchange) = service.name.strip_prefix("datad.") else { continue };
            if prefix.split('/').next() != Some(exchange) {
                continue;
            }
            let client = registry.datad(exchange, START_DEADLINE).await?;
            let id = call(&service.name, "run_jobs", client.run_jobs(context(DEADLINE), prefix.to_owned())).await?;
            if let Some(id) = id {
                has_begun(&service.name, &id);
                begun.push((service.name, id, client));
            }
        }
        if begun.is_empty() {
            return Err(anyhow!("no history job's name begins with {prefix}; `dccd status` lists the jobs").into());
        }
        followed(begun, &shutdown).await
    })
}

async fn by_daemon(registry: &Registry, work: Work, shutdown: &Shutdown) -> Result<Outcome, Failure> {
    let mut begun: Vec<Begun> = Vec::new();
    for (exchange, wanted) in &work.series {
        let service = format!("datad.{exchange}");
        let client = registry.datad(exchange.as_str(), START_DEADLINE).await?;
        let request = BackfillRequest {
            series: wanted.iter().map(wire).collect(),
            newest_only: work.scope != Scope::Everything,
            parallel: work.parallel,
        };
        let id = call(&service, "begin_backfill", client.begin_backfill(context(DEADLINE), request)).await?;
        has_begun(&service, &id);
        begun.push((service, id, client));
    }
    followed(begun, shutdown).await
}

async fn followed(begun: Vec<Begun>, shutdown: &Shutdown) -> Result<Outcome, Failure> {
    let mut display = Display::new();
    let mut interrupted = None;
    let mut deadline = None;
    loop {
        let mut series: Vec<BackfillSeries> = Vec::new();
        let mut is_over = true;
        for (service, id, client) in &begun {
            let all = call(service, "backfills", client.backfills(context(DEADLINE))).await?;
            let found = all.into_iter().find(|backfill| backfill.id == *id);
            let found = found.ok_or_else(|| anyhow!("{service} knows nothing of the backfill {id} any more"))?;
            is_over &= found.state != "running";
            series.extend(found.series);
        }
        display.update(&series);
        let is_late = deadline.is_some_and(|deadline| tokio::time::Instant::now() >= deadline);
        if is_over || is_late {
            return Ok(Outcome { series: series.iter().map(SeriesOutcome::from).collect(), interrupted });
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            reason = shutdown.wait(), if interrupted.is_none() => {
                interrupted = Some(reason);
                deadline = Some(tokio::time::Instant::now() + END_DEADLINE);
                for (service, id, client) in &begun {
                    // One that has just ended can't be cancelled, and needn't.
                    let _ = call(service, "cancel_backfill", client.cancel_backfill(context(DEADLINE), id.clone())).await;
                }
            }
        }
    }
}

/// One exchange's part of the work in this process.
struct Part {
    ctx: HistoryContext,
    series: Vec<(Wanted, Progress)>,
}

async fn by_this_process(config: &Config, work: Work, shutdown: &Shutdown) -> Result<Outcome, Failure> {
    let data_path = config.data_path();
    let _lock = StoreLock::acquire_alone(data_path)?;
    let cancel = Cancel::default();
    let mut parts = Vec::new();
    for (exchange, wanted) in work.series {
        let ctx = histo::context(config, &exchange, data_path, cancel.clone())?;
        let series = wanted.into_iter().map(|w| (w.clone(), Progress::of(w.name(&exchange)))).collect();
        parts.push(Part { ctx, series });
    }
    let all: Vec<Shown> = parts
        .iter()
        .map(|part| Shown {
            rest: part.ctx.source.rest.clone(),
            series: part.series.iter().map(|(_, progress)| progress.clone()).collect(),
        })
        .collect();
    let (scope, parallel, kind) = (work.scope, work.parallel, work.kind);
    // On a thread of its own: it writes to the store, and progress is shown meanwhile.
    let mut working = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            for part in &parts {
                work_on(part, scope, parallel, kind).await;
            }
        });
        Ok(())
    });
    let mut display = Display::new();
    let mut interrupted = None;
    let ended = loop {
        tokio::select! {
            ended = &mut working => break ended,
            () = tokio::time::sleep(LOOK) => display.update(&shown(&all)),
            reason = shutdown.wait(), if interrupted.is_none() => {
                interrupted = Some(reason);
                cancel.cancel();
            }
        }
    };
    ended.context("the work ended before its time")?.context("cannot start the runtime")?;
    let series = shown(&all);
    display.update(&series);
    Ok(Outcome { series: series.iter().map(SeriesOutcome::from).collect(), interrupted })
}

/// One exchange's series, noted as a backfill while it goes on and as runs when it has ended.
async fn work_on(part: &Part, scope: Scope, parallel: bool, kind: &str) {
    let Part { ctx, series } = part;
    let progress: Vec<Progress> = series.iter().map(|(_, progress)| progress.clone()).collect();
    let mut backfills = (scope == Scope::Everything).then(|| Backfills::open(&ctx.data_path, &ctx.exchange));
    let id = backfills.as_mut().map(|backfills| backfills.begin(&progress, ctx.now()));
    let symbols: Vec<_> = series.iter().map(|(wanted, _)| wanted.symbol.clone()).collect();
    match dccd_history::markets(&ctx.source, &ctx.data_path, &ctx.exchange, &symbols, &ctx.cancel).await {
        Ok(markets) => {
            let markets = Arc::clone(&markets);
            let running = dccd_history::run(ctx, &markets, series, scope, parallel);
            tokio::pin!(running);
            loop {
                tokio::select! {
                    () = &mut running => break,
                    () = tokio::time::sleep(SAVE_EVERY) => {
                        if let (Some(backfills), Some(id)) = (&mut backfills, &id) {
                            backfills.update(id, &progress);
                            backfills.save_if_changed();
                        }
                    }
                }
            }
        }
        Err(error) => {
            let state = if ctx.cancel.is_cancelled() { State::Cancelled } else { State::Failed };
            let error = dccd_history::chain(&error);
            progress.iter().for_each(|p| p.update(|p| (p.state, p.error) = (state, Some(error.clone()))));
        }
    }
    for progress in &progress {
        progress.update(|p| {
            p.ended.get_or_insert(ctx.now());
            if !p.state.is_final() {
                p.state = State::Cancelled;
            }
        });
    }
    let mut log = RunLog::new(&ctx.data_path, &ctx.exchange);
    series.iter().for_each(|(wanted, progress)| log.ended(kind, wanted, &progress.get()));
    log.flush();
    if let (Some(backfills), Some(id)) = (&mut backfills, &id) {
        backfills.end(id, &progress, ctx.now());
    }
}

/// How often a backfill in this process is noted.
const SAVE_EVERY: Duration = Duration::from_millis(500);

fn now() -> UnixNanos {
    let now = jiff::Timestamp::now().as_nanosecond();
    UnixNanos(i64::try_from(now).unwrap_or(i64::MAX))
}

/// One exchange's part of the work as it is shown meanwhile.
struct Shown {
    rest: RestClients,
    series: Vec<Progress>,
}

fn shown(all: &[Shown]) -> Vec<BackfillSeries> {
    let mut shown = Vec::new();
    for Shown { rest, series } in all {
        let waits_for = rest.waits_for(now());
        shown.extend(series.iter().map(|p| datad::series_info(&p.get(), now(), waits_for.as_deref())));
    }
    shown
}

/// `backfill --list`: those of the running services, and what was saved of the others.
pub fn list(global: &Global, exchange: Option<&ExchangeName>, json: bool) -> Result<(), Failure> {
    let backfills = block_on(async {
        let registry = registry_if_running(global).await?;
        // What was saved of services that don't run lies there.
        let data_path = if global.address.is_some() { None } else { Some(data_path(global).await?) };
        let mut all: BTreeMap<String, Vec<BackfillInfo>> = BTreeMap::new();
        for name in dccd_exchange::NAMES {
            let exchange_name: ExchangeName = name.parse()?;
            if exchange.is_some_and(|exchange| *exchange != exchange_name) {
                continue;
            }
            let live = match &registry {
                Some(registry) => live(registry, name).await,
                None => None,
            };
            let backfills = match (live, &data_path) {
                (Some(live), _) => live,
                (None, None) => continue,
                (None, Some(data_path)) => dccd_history::read_backfills(data_path, &exchange_name)
                    .with_context(|| format!("cannot read the backfills of {name}"))?
                    .iter()
                    .map(|backfill| datad::backfill_info(backfill, now(), None))
                    .collect(),
            };
            all.insert((*name).to_owned(), backfills);
        }
        Ok(all.into_values().flatten().collect::<Vec<_>>())
    })?;
    let mut out = Out::new();
    if json {
        return out.json(&backfills.iter().map(listed).collect::<Result<Vec<_>, _>>()?);
    }
    let zone = crate::commands::zone(global, None);
    let mut listing =
        Listing::new(&["id", "state", "~began", "series", "series state", ">windows", ">rows", ">left", "?~error"]);
    for backfill in &backfills {
        for series in &backfill.series {
            let windows = match series.windows_total {
                Some(total) => format!("{}/{total}", series.windows_done),
                None => series.windows_done.to_string(),
            };
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole seconds for people")]
            let left = series.eta_s.map(|eta| crate::output::seconds(eta.ceil() as u64));
            listing.row([
                backfill.id.clone(),
                backfill.state.clone(),
                instant(backfill.started, &zone),
                series.job.clone(),
                series.state.clone(),
                windows,
                series.rows.to_string(),
                or_dash(left),
                or_dash(series.error.as_ref()),
            ]);
        }
    }
    listing.print(&mut out)
}

/// A backfill as `--json` shows it: times in RFC 3339.
fn listed(backfill: &BackfillInfo) -> Result<serde_json::Value, Failure> {
    let mut shown = serde_json::to_value(backfill).context("cannot write a backfill as JSON")?;
    shown["started"] = rfc3339(backfill.started).into();
    shown["ended"] = rfc3339(backfill.ended).into();
    for (index, series) in backfill.series.iter().enumerate() {
        shown["series"][index]["at"] = rfc3339(series.at).into();
    }
    Ok(shown)
}

/// The backfills of a running service; `None` where it doesn't run or doesn't answer.
async fn live(registry: &Registry, exchange: &str) -> Option<Vec<BackfillInfo>> {
    let service = format!("datad.{exchange}");
    let endpoint = registry.find(&service, DEADLINE).await.ok()??;
    let client = registry.datad_at(&service, &endpoint, DEADLINE).await.ok()?;
    call(&service, "backfills", client.backfills(context(DEADLINE))).await.ok()
}

/// `backfill --cancel ID`.
pub fn cancel(global: &Global, id: &str) -> Result<(), Failure> {
    let exchange = id.rsplit_once('-').map_or(id, |(exchange, _)| exchange).to_owned();
    block_on(async {
        let registry = crate::commands::registry(global).await?;
        let service = format!("datad.{exchange}");
        let known = registry.find(&service, DEADLINE).await?;
        if known.is_none() {
            return Err(anyhow!("no backfill {id} is running; `dccd backfill --list` shows those there are").into());
        }
        let client = registry.datad(&exchange, DEADLINE).await?;
        call(&service, "cancel_backfill", client.cancel_backfill(context(DEADLINE), id.to_owned())).await?;
        say(format_args!("{id} ends; what it has fetched is stored"));
        Ok(())
    })
}
