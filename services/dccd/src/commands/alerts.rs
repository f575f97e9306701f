//! `dccd alerts`: what is wrong and whom it was told, whether messages arrive, and that somebody knows.

use std::path::PathBuf;
use std::time::Duration;

use alertd::AlertdOptions;
use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use dccd_config::{Config, Lookup};
use dccd_registry::{Registry, RegistryError};
use dccd_rpc::alertd::{ALERTD_NAME, AlertInfo, AlertList, AlertState, WebhookInfo};
use dccd_rpc::condition::{Condition, Severity};
use dccd_rpc::{CallError, call, context};
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::cli::Global;
use crate::commands::{DEADLINE, block_on, registry, registry_if_running, zone};
use crate::exit::{self, Failure};
use crate::output::{Listing, Out, instant, or_dash, rfc3339, say};

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

impl Arguments {
    /// Whether all that is wanted is to be had from a daemon.
    pub fn asks_only(&self) -> bool {
        matches!(self.action, Action::List(_) | Action::Ack(_))
    }
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List what is wrong now and how the webhooks are; works without a daemon from the last saved state
    List(ListArguments),
    /// Send a test message to each webhook and say how that went
    Test(TestArguments),
    /// Say that you know: nothing more is told of these alerts until they recover
    Ack(AckArguments),
}

#[derive(Debug, Args)]
struct ListArguments {
    /// Also what is over
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct TestArguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct AckArguments {
    /// Ids of alerts, as `dccd alerts list` shows them, or all
    #[arg(required = true, value_name = "ID|all")]
    ids: Vec<String>,
    /// Only for so long: 30m, 2h, 1d; then what still holds is told again
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    time: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Does it.
pub fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.action {
        Action::List(arguments) => list(global, arguments),
        Action::Test(arguments) => test(global, arguments),
        Action::Ack(arguments) => acknowledge(global, arguments),
    }
}

/// The document of `list --json`.
#[derive(Serialize)]
struct Document<'a> {
    /// Whether this is of now; else of when it was saved last.
    live: bool,
    alerts: Vec<Row<'a>>,
    webhooks: Vec<Hook<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    state: AlertState,
    severity: Severity,
    service: &'a str,
    kind: &'a str,
    subject: &'a str,
    message: &'a str,
    count: u64,
    since: Option<String>,
    recovered: Option<String>,
    told: bool,
    acknowledged: bool,
    /// Null: until it recovers, or not at all.
    acknowledged_until: Option<String>,
}

#[derive(Serialize)]
struct Hook<'a> {
    host: &'a str,
    format: &'a str,
    failing: bool,
    sent: u64,
    waiting: u64,
    held_back: u64,
    lost: u64,
    last_success: Option<String>,
    failing_since: Option<String>,
    last_error: Option<&'a str>,
}

fn list(global: &Global, arguments: &ListArguments) -> Result<(), Failure> {
    let (mut known, live, options) = block_on(async {
        let Some(registry) = registry_if_running(global).await? else {
            let options = AlertdOptions::of(&global.load()?.config, &global.instance);
            let saved = alertd::list_saved(&options).context("cannot read the state of the alerts that was saved last")?;
            return Ok((saved.unwrap_or_default(), false, Some(options)));
        };
        let options = told_to(global, &registry).await?;
        let mut known = match (told(&registry).await?, &options) {
            (Some(known), _) => known,
            (None, Some(options)) => alertd::list_saved(options).ok().flatten().unwrap_or_default(),
            (None, None) => AlertList::default(),
        };
        untold(&registry, &mut known).await?;
        Ok((known, true, options))
    })?;
    if !arguments.all {
        known.alerts.retain(|alert| alert.state != AlertState::Recovered);
    }
    let mut out = Out::new();
    if arguments.json {
        let (alerts, webhooks) = (known.alerts.iter().map(row).collect(), known.webhooks.iter().map(hook).collect());
        return out.json(&Document { live, alerts, webhooks });
    }
    if !live {
        say("dccd is not running; this is what was so when it ran last");
    }
    if options.is_some_and(|options| options.webhooks.is_empty()) {
        say("nobody is told: the configuration has neither alerts.webhook_url nor alerts.webhooks");
    }
    let zone = zone(global, None);
    if known.alerts.is_empty() {
        say("nothing is wrong");
    } else {
        table(&known.alerts, &zone).print(&mut out)?;
    }
    if known.webhooks.is_empty() {
        return Ok(());
    }
    out.line("")?;
    hooks(&known.webhooks, &zone).print(&mut out)
}

/// Whom the configuration of a running root names; `None` where that can't be known from here: it is on another host, or is just being
/// edited. Who names a configuration means that one.
async fn told_to(global: &Global, registry: &Registry) -> Result<Option<AlertdOptions>, Failure> {
    if registry.is_remote() {
        return Ok(None);
    }
    let loaded = match &global.config {
        Some(_) => Some(global.load()?),
        None => Config::load(&Lookup::new(registry.status(DEADLINE).await?.config_path.map(PathBuf::from))).ok(),
    };
    Ok(loaded.map(|loaded| AlertdOptions::of(&loaded.config, &global.instance)))
}

/// What alertd knows, if it runs; it isn't started for this.
async fn told(registry: &Registry) -> Result<Option<AlertList>, Failure> {
    let runs = registry.list(DEADLINE).await?.iter().any(|service| service.name == ALERTD_NAME);
    let endpoint = if runs { registry.find(ALERTD_NAME, DEADLINE).await? } else { None };
    let Some(endpoint) = endpoint else { return Ok(None) };
    let client = registry.alertd_at(&endpoint, DEADLINE).await?;
    Ok(Some(call(ALERTD_NAME, "alerts", client.alerts(context(DEADLINE))).await?))
}

/// Adds what the root knows to be wrong and alertd has not heard of: because nobody is to be told, or it was so only just now.
async fn untold(registry: &Registry, known: &mut AlertList) -> Result<(), Failure> {
    let now = registry.conditions(0, DEADLINE).await?.unwrap_or_default();
    let mut more: Vec<AlertInfo> = Vec::new();
    for of in now.services {
        for condition in of.all() {
            let is_known = known.alerts.iter().any(|alert| {
                alert.state != AlertState::Recovered
                    && (&alert.service, &alert.kind, &alert.subject) == (&of.service, &condition.kind, &condition.subject)
            });
            if !is_known {
                more.push(of_condition(&of.service, condition.clone()));
            }
        }
    }
    more.sort_by_key(|alert| (std::cmp::Reverse(alert.severity), alert.since));
    known.alerts.splice(0..0, more);
    Ok(())
}

fn of_condition(service: &str, condition: Condition) -> AlertInfo {
    AlertInfo {
        id: String::new(),
        state: AlertState::Open,
        service: service.to_owned(),
        kind: condition.kind,
        subject: condition.subject,
        severity: condition.severity,
        message: condition.message,
        since: condition.since,
        recovered: 0,
        count: condition.count,
        told: false,
        acknowledged_until: 0,
    }
}

fn row(alert: &AlertInfo) -> Row<'_> {
    let until = alert.acknowledged_until;
    Row {
        id: &alert.id,
        state: alert.state,
        severity: alert.severity,
        service: &alert.service,
        kind: &alert.kind,
        subject: &alert.subject,
        message: &alert.message,
        count: alert.count,
        since: rfc3339(alert.since),
        recovered: rfc3339(alert.recovered),
        told: alert.told,
        acknowledged: until != 0,
        acknowledged_until: if until == i64::MAX { None } else { rfc3339(until) },
    }
}

fn hook(webhook: &WebhookInfo) -> Hook<'_> {
    Hook {
        host: &webhook.host,
        format: &webhook.format,
        failing: webhook.failing_since != 0,
        sent: webhook.sent,
        waiting: webhook.waiting,
        held_back: webhook.held_back,
        lost: webhook.lost,
        last_success: rfc3339(webhook.last_success),
        failing_since: rfc3339(webhook.failing_since),
        last_error: webhook.last_error.as_deref(),
    }
}

fn table(alerts: &[AlertInfo], zone: &TimeZone) -> Listing {
    let mut listing = Listing::new(&["id", "state", "severity", "service", "~what", "~since", "told", "~message"]);
    for alert in alerts {
        let about = if alert.subject.is_empty() { String::new() } else { format!(" {}", alert.subject) };
        let told = match (alert.acknowledged_until, alert.told) {
            (0, true) => "yes".to_owned(),
            (0, false) => "no".to_owned(),
            (i64::MAX, _) => "silenced".to_owned(),
            (until, _) => format!("silenced until {}", instant(until, zone)),
        };
        listing.row([
            or_dash(Some(&alert.id).filter(|id| !id.is_empty())),
            alert.state.as_str().to_owned(),
            alert.severity.to_string(),
            alert.service.clone(),
            format!("{}{about}", alert.kind),
            instant(alert.since, zone),
            told,
            alert.message.clone(),
        ]);
    }
    listing
}

fn hooks(webhooks: &[WebhookInfo], zone: &TimeZone) -> Listing {
    let headings =
        ["webhook", "format", "state", ">sent", ">waiting", ">held back", ">lost", "~last delivered", "~last error"];
    let mut listing = Listing::new(&headings);
    for webhook in webhooks {
        let state = if webhook.failing_since != 0 { "failing" } else { "ok" };
        listing.row([
            webhook.host.clone(),
            webhook.format.clone(),
            state.to_owned(),
            webhook.sent.to_string(),
            webhook.waiting.to_string(),
            webhook.held_back.to_string(),
            webhook.lost.to_string(),
            or_dash((webhook.last_success > 0).then(|| instant(webhook.last_success, zone))),
            or_dash(webhook.last_error.as_ref()),
        ]);
    }
    listing
}

/// How a test message fared, as JSON.
#[derive(Serialize)]
struct Trial {
    host: String,
    format: &'static str,
    delivered: bool,
    took_ms: Option<u64>,
    error: Option<String>,
}

fn test(global: &Global, arguments: &TestArguments) -> Result<(), Failure> {
    let loaded = global.load_aloud()?;
    let options = AlertdOptions::of(&loaded.config, &global.instance);
    if options.webhooks.is_empty() {
        let path = loaded.path.display();
        return Err(anyhow!("{path} names no webhook; set alerts.webhook_url, or alerts.webhooks").into());
    }
    dccd_net::install_crypto_provider();
    let tried = block_on(async { Ok(alertd::send_test(&options).await) })?;
    let failed = tried.iter().filter(|tried| tried.result.is_err()).count();
    let trial = |tried: alertd::Tried| Trial {
        host: tried.host,
        format: tried.format,
        delivered: tried.result.is_ok(),
        took_ms: tried.result.as_ref().ok().map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
        error: tried.result.err(),
    };
    let trials: Vec<Trial> = tried.into_iter().map(trial).collect();
    let mut out = Out::new();
    if arguments.json {
        out.json(&trials)?;
    } else {
        for Trial { host, format, took_ms, error, .. } in &trials {
            match (error, took_ms) {
                (Some(error), _) => out.line(format_args!("{host} ({format}): not delivered: {error}"))?,
                (None, took) => out.line(format_args!("{host} ({format}): delivered in {} ms", took.unwrap_or_default()))?,
            }
        }
        out.flush()?;
    }
    // Said above, with its reason.
    if failed > 0 { Err(Failure::Silent(exit::FAILED)) } else { Ok(()) }
}

fn acknowledge(global: &Global, arguments: &AckArguments) -> Result<(), Failure> {
    let is_all = arguments.ids.iter().any(|id| id == "all");
    let ids = if is_all { Vec::new() } else { arguments.ids.clone() };
    let until = arguments.time.map_or(0, |time| {
        let now = jiff::Timestamp::now().as_nanosecond();
        i64::try_from(now.saturating_add_unsigned(time.as_nanos())).unwrap_or(i64::MAX)
    });
    let known = block_on(async {
        let registry = registry(global).await?;
        let endpoint = registry.ensure(ALERTD_NAME, DEADLINE).await?;
        let client = registry.alertd_at(&endpoint, DEADLINE).await?;
        let answer = call(ALERTD_NAME, "acknowledge", client.acknowledge(context(DEADLINE), ids, until)).await;
        Ok(answer.map_err(|error: CallError| RegistryError::from(error))?)
    })?;
    let mut out = Out::new();
    if arguments.json {
        return out.json(&known.iter().map(row).collect::<Vec<_>>());
    }
    if known.is_empty() {
        say("nothing is wrong; there is nothing to silence");
        return Ok(());
    }
    let zone = zone(global, None);
    let until = if until == 0 { "until it recovers".to_owned() } else { format!("until {}", instant(until, &zone)) };
    for alert in &known {
        let about = if alert.subject.is_empty() { String::new() } else { format!(" {}", alert.subject) };
        out.line(format_args!("{} {} {}{about}: silenced {until}", alert.id, alert.service, alert.kind))?;
    }
    out.flush()
}

/// `90s`, `30m`, `2h`, `1d`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{text}\" is no duration; write 90s, 30m, 2h or 1d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let count: u64 = text[..text.len() - unit.len_utf8()].trim().parse().map_err(|_| wrong())?;
    let total = count.checked_mul(seconds).filter(|total| (1..=366 * 86_400).contains(total));
    total.map(Duration::from_secs).ok_or_else(|| format!("\"{text}\" is not between 1s and 366d"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        let of = |text| duration(text).map(|time| time.as_secs());
        assert_eq!([of("90s"), of("30m"), of("2h"), of("1d")], [Ok(90), Ok(1_800), Ok(7_200), Ok(86_400)]);
        for wrong in ["", "h", "30", "0s", "-1h", "1.5h", "9999999999999999999d", "400d", "5 min", "1ü"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
