//! What a look at the tree saw, as metrics. A service that is gone or doesn't answer has no series of its own: Prometheus marks them
//! stale then, where a zero would be a lie.

use dccd_rpc::alertd::ALERTD_NAME;
use std::sync::atomic::Ordering;

use dccd_rpc::datad::{FeedInfo, JobInfo};
use dccd_rpc::root::{ROOT_NAME, ServiceInfo, ServiceState};

use super::exposition::{Exposition, Labels, seconds};
use super::metrics::*;
use super::survey::{Numbers, Survey, is_asked};
use crate::conditions;
use crate::context::Context;

/// The states that `dccd_service_state` tells apart.
const STATES: [ServiceState; 7] = [
    ServiceState::Starting,
    ServiceState::Ready,
    ServiceState::Degraded,
    ServiceState::Stopping,
    ServiceState::Stopped,
    ServiceState::Backoff,
    ServiceState::Failed,
];

/// All samples.
pub(crate) fn export(ctx: &Context, survey: &Survey) -> Exposition {
    let mut out = Exposition::new();
    // A lazy one that nobody wants is neither up nor down.
    for service in ctx.list().into_iter().filter(|service| service.eager || service.state != ServiceState::Stopped) {
        let labels = Labels::default().with("service", &service.name);
        let answer = survey.of(&service);
        // One that is ready and has not been asked yet is up when it has answered.
        let answers = answer.map_or(!is_asked(&service.name), |answer| answer.said.is_ok());
        let is_up = service.name == ROOT_NAME || (service.state.is_ready() && answers);
        of_service(&mut out, &labels, &service, is_up);
        if let Some(Ok(numbers)) = answer.map(|answer| &answer.said) {
            of_exchange(&mut out, &labels, numbers, survey.ts);
        }
    }
    for of in conditions::report(ctx).services {
        let labels = Labels::default().with("service", &of.service);
        out.count(&ALERTS_OPEN, &labels, of.conditions.len() as u64 + u64::from(of.more));
    }
    let alertd = ctx.cell(ALERTD_NAME).map(|cell| cell.info().counters).unwrap_or_default();
    let sent = alertd.iter().find(|(name, _)| name == "alerts_sent").map_or(0, |(_, sent)| *sent);
    out.count(&ALERTS_SENT, &Labels::default().with("service", ALERTD_NAME), sent);
    if let Ok(disk) = survey.disk {
        let labels = Labels::default().with("service", ROOT_NAME);
        out.count(&DISK_FREE, &labels, disk.free);
        out.count(&DISK_SIZE, &labels, disk.size);
    }
    let labels = Labels::default().with("service", ROOT_NAME);
    out.count(&RPC_CONNECTIONS, &labels, ctx.rpc.open.load(Ordering::Relaxed));
    for (reason, count) in ctx.rpc.refused() {
        out.count(&RPC_REFUSED, &labels.with("reason", reason), count);
    }
    out
}

fn of_service(out: &mut Exposition, labels: &Labels, service: &ServiceInfo, is_up: bool) {
    out.count(&SERVICE_UP, labels, u64::from(is_up));
    for state in STATES {
        out.count(&SERVICE_STATE, &labels.with("state", state.as_str()), u64::from(service.state == state));
    }
    out.count(&SERVICE_RESTARTS, labels, service.restarts);
    if let Some(uptime) = service.uptime_s {
        out.gauge(&DAEMON_UPTIME, labels, uptime);
    }
    if let Some(bytes) = service.rss_bytes {
        out.count(&DAEMON_MEMORY, labels, bytes);
    }
    if let Some(percent) = service.cpu_pct {
        out.gauge(&DAEMON_CPU, labels, percent / 100.0);
    }
    if let Some(age) = service.heartbeat_age_ms {
        out.gauge(&SERVICE_HEARTBEAT_AGE, labels, seconds(age.saturating_mul(1_000_000)));
    }
}

fn of_exchange(out: &mut Exposition, service: &Labels, numbers: &Numbers, now: i64) {
    let labels = service.with("exchange", &numbers.exchange);
    let stats = &numbers.stats;
    out.count(&MESSAGES, &labels, stats.frames);
    out.count(&PARSE_ERRORS, &labels, stats.parse_errors);
    out.count(&CONNECTIONS, &labels, u64::from(stats.connections));
    out.count(&RECONNECTS, &labels, stats.reconnects);
    let times = &stats.frame_to_ring;
    out.histogram(&FRAME_TO_RING, &labels, &times.bounds_ns, &times.counts, times.sum_ns);
    out.count(&RECORDER_UP, &labels, u64::from(stats.recording));
    out.count(&RECORDER_LAG, &labels, stats.recorder_lag_bytes);
    out.count(&REQUEST_WEIGHT_USED, &labels, u64::from(stats.weight_used));
    out.count(&REQUEST_WEIGHT_LIMIT, &labels, u64::from(stats.weight_limit));
    out.gauge(&REQUEST_FROZEN, &labels, between(now, stats.frozen_until));
    for feed in &numbers.feeds {
        of_feed(out, &labels.with("symbol", &feed.symbol).with("channel", &feed.channel), feed, now);
    }
    for job in &numbers.jobs {
        if let Some((symbol, channel)) = series(&job.job) {
            of_job(out, &labels.with("symbol", symbol).with("channel", channel), job);
        }
    }
}

fn of_feed(out: &mut Exposition, labels: &Labels, feed: &FeedInfo, now: i64) {
    out.count(&RECORDS, labels, feed.cursor);
    if feed.last_recv > 0 {
        out.gauge(&DATA_AGE, labels, between(feed.last_recv, now));
    }
    out.count(&FEED_LIVE, labels, u64::from(feed.state == "live"));
    out.gauge(&FEED_SCORE, labels, feed.score / 100.0);
    out.count(&GAPS, labels, feed.gaps);
    out.count(&GAP_REPAIRS, labels, feed.gaps_repaired);
    out.count(&GAPS_OPEN, labels, feed.open_gaps);
}

fn of_job(out: &mut Exposition, labels: &Labels, job: &JobInfo) {
    let counts = &job.process;
    out.count(&ROWS_WRITTEN, labels, counts.rows);
    if let Ok(at @ 1..) = u64::try_from(job.last_success) {
        out.gauge(&JOB_LAST_SUCCESS, labels, seconds(at));
    }
    if job.kind != "histo" {
        return;
    }
    out.count(&JOB_RUNS, labels, counts.runs);
    out.count(&JOB_ERRORS, labels, counts.errors);
    if counts.last_run_ns > 0 {
        out.gauge(&JOB_DURATION, labels, seconds(counts.last_run_ns));
    }
}

/// Seconds from one moment to a later one, both ns; 0 where it isn't later.
fn between(earlier: i64, later: i64) -> f64 {
    seconds(u64::try_from(later.saturating_sub(earlier)).unwrap_or(0))
}

/// Symbol, and channel or span, of a series: `binance/BTC/USDT/1h`.
fn series(job: &str) -> Option<(&str, &str)> {
    let (_, rest) = job.split_once('/')?;
    rest.rsplit_once('/')
}
