//! `dccd status`: the daemon's head lines and the table of jobs; without a daemon from what was saved last.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use dccd_model::Symbol;
use dccd_registry::{Registry, RuntimeDir};
use dccd_rpc::condition::{Conditions, Severity};
use dccd_rpc::datad::{FeedInfo, JobInfo, Stats};
use dccd_rpc::root::{RootStatus, ServiceInfo};
use dccd_rpc::{call, context};
use futures_util::future::join_all;
use serde::Serialize;

use crate::cli::Global;
use crate::commands::{DEADLINE, block_on, registry_if_running, services, zone};
use crate::exit::Failure;
use crate::output::{Listing, Out, instant, or_dash, rfc3339, say};

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Show services and how they ended, feeds and counters, too
    #[arg(long)]
    detailed: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `status --json`.
#[derive(Debug, Serialize)]
struct Status {
    daemon: Daemon,
    jobs: Vec<Job>,
    #[serde(skip_serializing_if = "Option::is_none")]
    services: Option<Vec<ServiceInfo>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exchanges: Option<BTreeMap<String, Exchange>>,
    /// How much is wrong just now, in words.
    #[serde(skip)]
    wrong: Option<String>,
}

/// The head: the running root, or what was saved of the last one.
#[derive(Debug, Serialize)]
struct Daemon {
    running: bool,
    pid: Option<u32>,
    version: Option<String>,
    instance: String,
    config_path: Option<String>,
    data_path: Option<String>,
    started: Option<String>,
    uptime_s: Option<f64>,
    ready: bool,
    missing: Vec<String>,
    /// When the saved state was written; null while the daemon answers for itself.
    saved: Option<String>,
    /// Services that have lost their root and go on without one.
    orphans: Vec<Orphan>,
}

/// A service without a root.
#[derive(Debug, Serialize)]
struct Orphan {
    name: String,
    pid: u32,
}

/// One job: one series.
#[derive(Debug, Serialize)]
struct Job {
    job: String,
    kind: String,
    state: String,
    last_run: Option<String>,
    last_success: Option<String>,
    rows: u64,
    errors: u64,
    consecutive_errors: u64,
    last_error: Option<String>,
    next_run: Option<String>,
    /// Why its market can't be traded, by the exchange's own list.
    market: Option<String>,
    #[serde(skip)]
    shown: (i64, i64),
    /// Why it is not as it should be just now, as far as its service says.
    #[serde(skip)]
    why: Option<String>,
}

/// What one datad says of itself.
#[derive(Debug, Default, Serialize)]
struct Exchange {
    feeds: Vec<FeedInfo>,
    stats: Option<Stats>,
    error: Option<String>,
}

impl From<JobInfo> for Job {
    fn from(job: JobInfo) -> Self {
        Self {
            shown: (job.last_run, job.last_success),
            why: job.last_error.clone().filter(|_| job.consecutive_errors > 0),
            last_run: rfc3339(job.last_run),
            last_success: rfc3339(job.last_success),
            job: job.job,
            kind: job.kind,
            state: job.state,
            rows: job.rows,
            errors: job.errors,
            consecutive_errors: job.consecutive_errors,
            last_error: job.last_error,
            next_run: rfc3339(job.next_run),
            market: job.market,
        }
    }
}

impl Job {
    /// With what was noted of its runs after the daemon told or saved it last, or by commands while none was running.
    fn with(mut self, metrics: &dccd_history::Metrics) -> Self {
        if let Some(metrics) = metrics.get(&self.job) {
            self.add_metrics(metrics);
        }
        self
    }

    fn add_metrics(&mut self, metrics: &dccd_history::JobMetrics) {
        #[expect(clippy::cast_possible_truncation, reason = "seconds since the epoch, as nanoseconds far below the limit")]
        let nanos = |seconds: Option<f64>| seconds.map_or(0, |seconds| (seconds * 1e9) as i64);
        let (last_run, last_success) = (nanos(metrics.last_run_at), nanos(metrics.last_success_at));
        self.rows = self.rows.max(metrics.rows_collected);
        if last_run >= self.shown.0 {
            self.shown = (last_run, last_success.max(self.shown.1));
            (self.last_run, self.last_success) = (rfc3339(self.shown.0), rfc3339(self.shown.1));
            self.consecutive_errors = metrics.errors_count;
            self.errors = self.errors.max(metrics.errors_count);
            if metrics.errors_count == 0 {
                (self.last_error, self.why) = (None, None);
            }
        }
    }
}

/// Shows it.
pub fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    let (status, zone) = block_on(async {
        match registry_if_running(global).await? {
            Some(registry) => running(global, &registry, arguments.detailed).await,
            None => saved(global, arguments.detailed),
        }
    })?;
    let mut out = Out::new();
    if arguments.json { out.json(&status) } else { print(&status, &zone, arguments.detailed, &mut out) }
}

type Shown = (Status, jiff::tz::TimeZone);

async fn running(global: &Global, registry: &Registry, detailed: bool) -> Result<Shown, Failure> {
    let root = registry.status(DEADLINE).await?;
    let list = registry.list(DEADLINE).await?;
    // What lies on the disk over there is not to be read from here.
    let data_path = (!registry.is_remote()).then(|| Path::new(&root.data_path));
    let metrics = data_path.map(metrics).unwrap_or_default();
    let mut jobs = Vec::new();
    let mut exchanges = BTreeMap::new();
    // All at once: one that hangs costs its deadline, not that of each.
    let collectors = || list.iter().filter_map(|service| Some((service, service.name.strip_prefix("datad.")?)));
    let answers = join_all(collectors().map(|(service, _)| ask(registry, service, detailed))).await;
    for ((service, exchange), answer) in collectors().zip(answers) {
        match answer {
            Ok((of_exchange, about)) => {
                jobs.extend(of_exchange.into_iter().map(|job| Job::from(job).with(&metrics)));
                exchanges.insert(exchange.to_owned(), about);
            }
            Err(error) => {
                if let Some(data_path) = data_path {
                    let why = Some(&error);
                    let saved = saved_jobs(data_path, exchange, service.state.as_str());
                    jobs.extend(saved.into_iter().map(|job| Job { why: why.cloned(), ..job }));
                }
                exchanges.insert(exchange.to_owned(), Exchange { error: Some(error), ..Exchange::default() });
            }
        }
    }
    let zone = zone(global, root.config_path.as_ref().filter(|_| !registry.is_remote()).map(PathBuf::from));
    let daemon = head(&root, true, None);
    let services = detailed.then_some(list);
    // One that can't say so is no reason to show nothing.
    let wrong = registry.conditions(0, DEADLINE).await.ok().flatten().and_then(|now| how_much(&now));
    Ok((Status { daemon, jobs, services, exchanges: detailed.then_some(exchanges), wrong }, zone))
}

/// How many things are wrong; `None` where nothing is.
fn how_much(now: &Conditions) -> Option<String> {
    let grave: Vec<Severity> = now.services.iter().flat_map(|of| of.all().map(|condition| condition.severity)).collect();
    let critical = grave.iter().filter(|severity| **severity == Severity::Critical).count();
    let critical = if critical > 0 { format!(" ({critical} critical)") } else { String::new() };
    match grave.len() {
        0 => None,
        1 => Some(format!("1 thing is wrong{critical}")),
        several => Some(format!("{several} things are wrong{critical}")),
    }
}

/// Asks a datad for its jobs and, if wanted, for everything else; in words why it can't be asked.
async fn ask(registry: &Registry, service: &ServiceInfo, detailed: bool) -> Result<(Vec<JobInfo>, Exchange), String> {
    let name = &service.name;
    let away = || service.reason.clone().unwrap_or_else(|| format!("{name} is {}", service.state));
    let endpoint = service.endpoint.as_ref().filter(|_| service.state.is_ready()).ok_or_else(away)?;
    let words = |error: &(dyn std::error::Error + 'static)| dccd_service::chain(error);
    let client = registry.datad_at(name, endpoint, DEADLINE).await.map_err(|error| words(&error))?;
    let jobs = call(name, "jobs", client.jobs(context(DEADLINE))).await.map_err(|error| words(&error))?;
    let mut about = Exchange::default();
    if detailed {
        // While it waits for its exchange it has jobs and no feeds.
        match call(name, "feeds", client.feeds(context(DEADLINE))).await {
            Ok(feeds) => about.feeds = feeds,
            Err(error) => about.error = Some(words(&error)),
        }
        about.stats = call(name, "stats", client.stats(context(DEADLINE))).await.ok();
    }
    Ok((jobs, about))
}

fn head(root: &RootStatus, running: bool, saved: Option<i64>) -> Daemon {
    Daemon {
        running,
        pid: running.then_some(root.pid),
        version: Some(root.version.clone()),
        instance: root.instance.clone(),
        config_path: root.config_path.clone(),
        data_path: Some(root.data_path.clone()),
        started: rfc3339(root.started),
        uptime_s: running.then_some(root.uptime_s),
        ready: running && root.ready,
        missing: if running { root.missing.clone() } else { Vec::new() },
        saved: saved.and_then(rfc3339),
        orphans: Vec::new(),
    }
}

/// Without a daemon: the jobs of the configuration with what was saved of them.
fn saved(global: &Global, detailed: bool) -> Result<Shown, Failure> {
    let loaded = global.load()?;
    let config = &loaded.config;
    let data_path = config.data_path();
    let state = dccd_root::load_state(data_path).unwrap_or_else(|error| {
        say(format_args!("warning: the saved state {} cannot be read: {error}", dccd_root::state_path(data_path).display()));
        None
    });
    let mut daemon = match &state {
        Some(state) => head(&state.daemon, false, Some(state.saved)),
        None => Daemon {
            running: false,
            pid: None,
            version: None,
            instance: global.instance.clone(),
            config_path: None,
            data_path: Some(data_path.display().to_string()),
            started: None,
            uptime_s: None,
            ready: false,
            missing: Vec::new(),
            saved: None,
            orphans: Vec::new(),
        },
    };
    if let Ok(runtime_dir) = RuntimeDir::resolve(&global.instance) {
        let orphans = dccd_root::orphans(&runtime_dir).into_iter();
        daemon.orphans = orphans.map(|orphan| Orphan { pid: orphan.pid, name: orphan.name }).collect();
    }
    let mut jobs = Vec::new();
    let histo = crate::histo::jobs(config);
    let metrics = metrics(data_path);
    for exchange in config.collected_exchanges() {
        let goes_on = daemon.orphans.iter().any(|orphan| orphan.name == format!("datad.{exchange}"));
        let state = if goes_on { "orphaned" } else { "stopped" };
        let mut known = saved_jobs(data_path, exchange.as_str(), state);
        let list = crate::listing::kept(config, &exchange);
        let mut take = |name: String, kind: &str, symbol: &Symbol| {
            let at = known.iter().position(|job| job.job == name);
            let mut job = at.map_or_else(|| never_run(name, kind, state), |at| known.remove(at));
            if let Some(list) = &list {
                job.market = list.markets.objection(symbol).map(str::to_owned);
            }
            job
        };
        for job in config.live_jobs(&exchange) {
            for symbol in &job.pairs {
                for channel in &job.channels {
                    jobs.push(take(format!("{exchange}/{symbol}/{channel}"), "stream", symbol));
                }
            }
        }
        for wanted in histo.get(&exchange).into_iter().flatten() {
            jobs.push(take(wanted.name(&exchange), "histo", &wanted.symbol).with(&metrics));
        }
    }
    let services = detailed.then(|| state.map(|state| state.services).unwrap_or_default());
    let status = Status { daemon, jobs, services, exchanges: detailed.then(BTreeMap::new), wrong: None };
    Ok((status, config.settings.timezone.rules()))
}

/// What is noted of all runs of history jobs, of commands as of daemons.
fn metrics(data_path: &Path) -> dccd_history::Metrics {
    dccd_history::read_metrics(data_path).unwrap_or_else(|error| {
        let path = dccd_history::metrics_path(data_path);
        say(format_args!("warning: {} cannot be read: {error}", path.display()));
        dccd_history::Metrics::new()
    })
}

fn never_run(job: String, kind: &str, state: &str) -> Job {
    Job {
        job,
        kind: kind.to_owned(),
        state: state.to_owned(),
        last_run: None,
        last_success: None,
        rows: 0,
        errors: 0,
        consecutive_errors: 0,
        last_error: None,
        next_run: None,
        market: None,
        shown: (0, 0),
        why: None,
    }
}

/// The jobs of an exchange as its datad saved them last.
fn saved_jobs(data_path: &Path, exchange: &str, state: &str) -> Vec<Job> {
    let path = data_path.join(".dccd").join("state").join(exchange).join("jobs.json");
    let jobs: Vec<JobInfo> = match std::fs::read(&path) {
        Err(_) => return Vec::new(),
        Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|error| {
            say(format_args!("warning: the saved state {} cannot be read: {error}", path.display()));
            Vec::new()
        }),
    };
    // What was wrong then says nothing about now.
    jobs.into_iter().map(|job| Job { state: state.to_owned(), why: None, ..Job::from(job) }).collect()
}

fn print(status: &Status, zone: &jiff::tz::TimeZone, detailed: bool, out: &mut Out) -> Result<(), Failure> {
    let daemon = &status.daemon;
    let version = daemon.version.as_deref().unwrap_or(dccd_rpc::BUILD);
    match daemon.pid {
        Some(pid) => {
            let uptime = daemon.uptime_s.map(services::whole_seconds).unwrap_or_default();
            out.line(format_args!("dccd {version} is running (pid {pid}, instance {}, up {uptime})", daemon.instance))?;
        }
        None => out.line(match &daemon.saved {
            Some(saved) => format!("dccd is not running; this is what was saved at {saved}"),
            None => "dccd is not running, and nothing was saved of an earlier run".to_owned(),
        })?,
    }
    for Orphan { name, pid } in &daemon.orphans {
        out.line(format_args!(
            "{name} (pid {pid}) goes on without dccd-root; to look after it again: dccd start; to end it: dccd stop"
        ))?;
    }
    if let Some(path) = &daemon.config_path {
        out.line(format_args!("configuration: {path}"))?;
    }
    if let Some(path) = &daemon.data_path {
        out.line(format_args!("data: {path}"))?;
    }
    if !daemon.missing.is_empty() {
        out.line(format_args!("not ready: {}", daemon.missing.join(", ")))?;
    }
    out.line("")?;
    if status.jobs.is_empty() && daemon.missing.is_empty() {
        say("there are no jobs: the configuration has neither stream_jobs nor histo_jobs");
    }
    let shown = |nanos: i64| or_dash((nanos > 0).then(|| instant(nanos, zone)));
    if detailed {
        if let Some(list) = &status.services {
            services::table(list).print(out)?;
            out.line("")?;
            if let Some(exits) = services::exits(list, zone) {
                exits.print(out)?;
                out.line("")?;
            }
        }
        for (exchange, about) in status.exchanges.iter().flatten() {
            print_exchange(exchange, about, zone, out)?;
        }
        let mut jobs = Listing::new(&[
            "job",
            "~last_run",
            "~last_success",
            ">rows",
            ">errors",
            "?kind",
            "state",
            "?>in a row",
            "?~last_error",
        ]);
        for job in &status.jobs {
            jobs.row([
                job.job.clone(),
                shown(job.shown.0),
                shown(job.shown.1),
                job.rows.to_string(),
                job.errors.to_string(),
                job.kind.clone(),
                job.state.clone(),
                job.consecutive_errors.to_string(),
                or_dash(job.last_error.as_ref()),
            ]);
        }
        jobs.print(out)?;
        return print_objections(status, out);
    }
    let mut jobs = Listing::new(&["job", "~last_run", "~last_success", ">rows", ">errors", "?state"]);
    for job in &status.jobs {
        jobs.row([
            job.job.clone(),
            shown(job.shown.0),
            shown(job.shown.1),
            job.rows.to_string(),
            job.errors.to_string(),
            job.state.clone(),
        ]);
    }
    jobs.print(out)?;
    print_reasons(&status.jobs, out)?;
    print_objections(status, out)
}

/// Characters of a reason that are shown; `--detailed` and the log have all of it.
const REASON_CHARS_MAX: usize = 200;

/// Why jobs are not as they should be, each reason once.
fn print_reasons(jobs: &[Job], out: &mut Out) -> Result<(), Failure> {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for job in jobs {
        let Some(why) = job.why.as_deref() else { continue };
        match reasons.iter_mut().find(|(known, _)| *known == why) {
            Some((_, names)) => names.push(&job.job),
            None => reasons.push((why, vec![&job.job])),
        }
    }
    for (why, names) in reasons {
        let others = if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
        let line = why.lines().next().unwrap_or_default();
        let mut short: String = line.chars().take(REASON_CHARS_MAX).collect();
        if short.len() < why.trim_end().len() {
            short.push('…');
        }
        out.line(format_args!("{}{others}: {short}", names[0]))?;
    }
    Ok(())
}

/// Markets that the exchanges don't trade, and where to look for what else is wrong.
fn print_objections(status: &Status, out: &mut Out) -> Result<(), Failure> {
    let market = |job: &Job| Some((job.job.rsplit_once('/')?.0.to_owned(), job.market.clone()?));
    let found: std::collections::BTreeSet<_> = status.jobs.iter().filter_map(market).collect();
    for (market, word) in found {
        out.line(format_args!("{market}: {}", crate::listing::sentence(&word)))?;
    }
    if let Some(wrong) = &status.wrong {
        out.line(format_args!("{wrong}: dccd alerts list"))?;
    }
    out.flush()
}

fn print_exchange(exchange: &str, about: &Exchange, zone: &jiff::tz::TimeZone, out: &mut Out) -> Result<(), Failure> {
    if let Some(error) = &about.error {
        out.line(format_args!("{exchange}: {error}"))?;
    }
    if let Some(stats) = &about.stats {
        out.line(format_args!(
            "{exchange}: {} frames, {} records, {} rows written; {} gaps, {} made good; {} unreadable frames; {} of {} weight used",
            stats.frames, stats.records, stats.rows_written, stats.gaps, stats.gap_repairs, stats.parse_errors,
            stats.weight_used, stats.weight_limit,
        ))?;
        if stats.books_disagreed > 0 {
            let count = stats.books_disagreed;
            out.line(format_args!("{exchange}: {count} times a book was begun anew because it differed from the quotes"))?;
        }
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let micros = |nanos: u64| nanos as f64 / 1_000.0;
        out.line(format_args!(
            "{exchange}: frame to ring {:.1} µs (median), {:.1} µs (99th percentile); the recorder is {} bytes behind",
            micros(stats.frame_to_ring_p50),
            micros(stats.frame_to_ring_p99),
            stats.recorder_lag_bytes,
        ))?;
        if let Some(error) = stats.error.as_ref().filter(|_| !stats.recording) {
            out.line(format_args!("{exchange}: NOT RECORDING: {error}"))?;
        }
    }
    let mut feeds = Listing::new(&[
        "feed",
        "state",
        "book",
        ">records",
        ">gaps",
        "?>made good",
        ">score",
        "~last record",
        ">last price",
        "?~as its trades",
        "?~error",
    ]);
    for feed in &about.feeds {
        feeds.row([
            format!("{exchange}/{}/{}", feed.symbol, feed.channel),
            feed.state.clone(),
            or_dash(feed.book_state.as_ref()),
            feed.cursor.to_string(),
            feed.gaps.to_string(),
            feed.gaps_repaired.to_string(),
            format!("{:.2} %", feed.score),
            or_dash((feed.last_recv > 0).then(|| instant(feed.last_recv, zone))),
            or_dash(feed.last_price.as_ref()),
            or_dash(
                feed.compared
                    .filter(|(agreed, differed)| agreed + differed > 0)
                    .map(|(agreed, differed)| format!("{agreed} of {}", agreed + differed)),
            ),
            or_dash(feed.error.as_ref()),
        ]);
    }
    feeds.print(out)?;
    out.line("")
}
