//! `/health`: how the parts of the tree are, each in words, and all together.

use std::collections::BTreeMap;
use std::time::Duration;

use dccd_rpc::datad::FeedInfo;
use dccd_rpc::root::{ROOT_NAME, ServiceInfo, ServiceState};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::routes::json;
use super::survey::{Numbers, Survey};
use crate::context::Context;
use crate::disk::{DISK_FULL_BYTES, DISK_LOW_BYTES, Disk};

/// Names in a message; there may be thousands of feeds.
const NAMES_MAX: usize = 5;

/// How something is; the worst of all counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// As it should be.
    Healthy,
    /// It works, and something is missing or about to be.
    Degraded,
    /// It doesn't work.
    Unhealthy,
}

/// One part.
#[derive(Debug, Serialize)]
struct Check {
    status: Status,
    message: String,
    /// How long it took to find out.
    latency_ms: f64,
}

/// The whole.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    status: Status,
    checks: BTreeMap<String, Check>,
    uptime_seconds: f64,
}

impl Report {
    /// As an answer: 503 when it is unhealthy, for those who read no JSON.
    pub(super) fn response(&self) -> Response<Full<Bytes>> {
        let code = if self.status == Status::Unhealthy { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        json(code, self)
    }
}

/// What a look at the tree means.
pub(super) fn report(ctx: &Context, survey: &Survey) -> Report {
    let services = ctx.list();
    let mut checks = BTreeMap::new();
    let mut add = |name: &str, (status, message): (Status, String), latency: Duration| {
        checks.insert(name.to_owned(), Check { status, message, latency_ms: latency.as_secs_f64() * 1_000.0 });
    };
    let mut all: Vec<&Numbers> = Vec::new();
    for service in services.iter().filter(|service| service.eager || service.state != ServiceState::Stopped) {
        let answer = survey.of(service);
        let said = answer.map(|answer| answer.said.as_ref().map_err(String::as_str));
        let mut found = of_service(service, said.and_then(Result::err));
        if service.name == ROOT_NAME
            && let Some(trouble) = ctx.troubles()
        {
            found = (Status::Degraded, trouble);
        }
        add(&service.name, found, answer.map_or(Duration::ZERO, |a| a.latency));
        all.extend(said.and_then(Result::ok));
    }
    let slowest = survey.answers.values().map(|answer| answer.latency).max().unwrap_or_default();
    add("feeds", of_feeds(&all), slowest);
    add("gaps", of_gaps(&all), slowest);
    add("requests", of_requests(&all, survey.ts), slowest);
    add("disk", of_disk(survey.disk.as_ref()), survey.disk_latency);
    let status = checks.values().map(|check| check.status).max().unwrap_or(Status::Healthy);
    Report { status, checks, uptime_seconds: ctx.status().uptime_s }
}

fn of_service(service: &ServiceInfo, silence: Option<&str>) -> (Status, String) {
    if service.name == ROOT_NAME {
        // What is wrong with others stands with them.
        let stops = service.state == ServiceState::Stopping;
        return if stops { (Status::Degraded, "stopping".to_owned()) } else { (Status::Healthy, "running".to_owned()) };
    }
    if let Some(silence) = silence {
        return (Status::Unhealthy, format!("doesn't answer: {silence}"));
    }
    let status = match service.state {
        ServiceState::Ready => Status::Healthy,
        ServiceState::Starting | ServiceState::Degraded | ServiceState::Stopping => Status::Degraded,
        ServiceState::Backoff | ServiceState::Failed | ServiceState::Stopped => Status::Unhealthy,
    };
    let reason = service.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    (status, format!("{}{reason}", service.state))
}

/// Each feed for which `tell` has words, with its name.
fn feeds(all: &[&Numbers], tell: impl Fn(&FeedInfo) -> Option<String>) -> Vec<String> {
    let of = |numbers: &&Numbers| {
        let named = |feed: &FeedInfo| {
            tell(feed).map(|words| format!("{}/{}/{} ({words})", numbers.exchange, feed.symbol, feed.channel))
        };
        numbers.feeds.iter().filter_map(named).collect::<Vec<_>>()
    };
    all.iter().flat_map(of).collect()
}

/// The first few of a list.
fn first(names: &[String]) -> String {
    let more = names.len().saturating_sub(NAMES_MAX);
    let shown = names[..names.len().min(NAMES_MAX)].join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

fn of_feeds(all: &[&Numbers]) -> (Status, String) {
    let count: usize = all.iter().map(|numbers| numbers.feeds.len()).sum();
    let dead = feeds(all, |feed| (feed.state != "live").then(|| feed.error.clone().unwrap_or_else(|| feed.state.clone())));
    match dead.len() {
        0 => (Status::Healthy, format!("{count} feeds are live")),
        n => (Status::Degraded, format!("{n} of {count} feeds are not live: {}", first(&dead))),
    }
}

fn of_gaps(all: &[&Numbers]) -> (Status, String) {
    let open = feeds(all, |feed| (feed.open_gaps > 0).then(|| feed.open_gaps.to_string()));
    if open.is_empty() {
        return (Status::Healthy, "no gap waits to be made good".to_owned());
    }
    (Status::Degraded, format!("gaps are being made good: {}", first(&open)))
}

fn of_requests(all: &[&Numbers], now: i64) -> (Status, String) {
    let frozen = |numbers: &&&Numbers| numbers.stats.frozen_until > now;
    let words = |numbers: &&Numbers| {
        let seconds = (numbers.stats.frozen_until - now).div_euclid(1_000_000_000) + 1;
        format!("{} (for {seconds} s)", numbers.exchange)
    };
    let frozen: Vec<String> = all.iter().filter(frozen).map(words).collect();
    if frozen.is_empty() {
        return (Status::Healthy, "every exchange takes requests".to_owned());
    }
    (Status::Degraded, format!("these take no requests now: {}", first(&frozen)))
}

fn of_disk(disk: Result<&Disk, &String>) -> (Status, String) {
    let disk = match disk {
        Ok(disk) => disk,
        Err(reason) => return (Status::Unhealthy, reason.clone()),
    };
    let message = format!("{} MiB of {} MiB are free", disk.free >> 20, disk.size >> 20);
    match disk.free {
        ..DISK_FULL_BYTES => (Status::Unhealthy, message),
        DISK_FULL_BYTES..DISK_LOW_BYTES => (Status::Degraded, message),
        _ => (Status::Healthy, message),
    }
}

#[cfg(test)]
mod tests {
    use dccd_rpc::datad::Stats;

    use super::*;

    fn feed(symbol: &str, state: &str, open_gaps: u64) -> FeedInfo {
        FeedInfo {
            symbol: symbol.to_owned(),
            channel: "trades".to_owned(),
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
    fn what_is_stale_missing_or_frozen_is_told_by_name_and_only_so_much_of_it() {
        let stats = Stats { frozen_until: 61_000_000_000, ..Stats::default() };
        let mut feeds: Vec<_> = (0..7).map(|n| feed(&format!("C{n}/USD"), "stale", 0)).collect();
        feeds.push(feed("BTC/USD", "live", 2));
        let numbers = Numbers { exchange: "kraken".to_owned(), stats, feeds, jobs: Vec::new() };
        let all = [&numbers];
        let (status, message) = of_feeds(&all);
        assert_eq!(status, Status::Degraded);
        assert!(message.starts_with("7 of 8 feeds are not live: kraken/C0/USD/trades (stale), "), "{message}");
        assert!(message.ends_with("kraken/C4/USD/trades (stale) and 2 more"), "{message}");
        assert_eq!(of_gaps(&all), (Status::Degraded, "gaps are being made good: kraken/BTC/USD/trades (2)".to_owned()));
        let frozen = |now| of_requests(&all, now);
        assert_eq!(frozen(1), (Status::Degraded, "these take no requests now: kraken (for 61 s)".to_owned()));
        assert_eq!(frozen(61_000_000_000).0, Status::Healthy);
    }

    #[test]
    fn a_disk_that_is_low_full_or_gone_is_told_apart() {
        let of = |free| of_disk(Ok(&Disk { free, size: 1 << 40, place: (1, 2) })).0;
        let all = [of(1 << 40), of(DISK_LOW_BYTES), of(DISK_LOW_BYTES - 1), of(DISK_FULL_BYTES - 1)];
        assert_eq!(all, [Status::Healthy, Status::Healthy, Status::Degraded, Status::Unhealthy]);
        let gone = "the disk gave no answer".to_owned();
        assert_eq!(of_disk(Err(&gone)), (Status::Unhealthy, gone.clone()));
    }
}
