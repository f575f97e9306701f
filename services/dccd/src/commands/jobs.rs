//! `dccd pause`, `resume`, `run`: acting on history jobs by their names.

use std::collections::BTreeSet;

use anyhow::anyhow;
use clap::Args;
use dccd_config::nearest;
use dccd_history::{Scope, is_meant};
use dccd_model::Channel;
use dccd_registry::Registry;
use dccd_rpc::datad::{DatadClient, JobInfo};
use dccd_rpc::{CallError, call, context};

use crate::cli::Global;
use crate::commands::backfill::{dry_run, finish};
use crate::commands::history::{self, Work};
use crate::commands::{DEADLINE, block_on, registry};
use crate::exit::Failure;
use crate::histo;
use crate::output::Out;

/// What is to be typed after `pause` and `resume`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The job, or the beginning of its name: binance/BTC/USDT; all without it
    job: Option<String>,
    /// Live jobs, too; without it only one that is named in full, as binance/BTC/USDT/trades
    #[arg(long)]
    live: bool,
    /// Print the names of the jobs as JSON
    #[arg(long)]
    json: bool,
}

/// What is to be typed after `run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// The job, or the beginning of its name: binance/BTC/USDT/1h, binance/BTC/USDT, binance
    job: String,
    /// Only print what would be done
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl RunArguments {
    /// Whether nothing is to be done.
    pub fn is_dry(&self) -> bool {
        self.dry_run
    }
}

/// Pauses or resumes jobs; they stay as they are over restarts.
pub fn run(global: &Global, arguments: &Arguments, pause: bool) -> Result<(), Failure> {
    let prefix = arguments.job.clone().unwrap_or_default();
    let (Changed { names, failed }, meant) = block_on(async {
        let registry = registry(global).await?;
        let live = arguments.live || names_a_channel(&prefix);
        let clients = collectors(&registry, &prefix, &spoken(pause, arguments.live)).await?;
        let changed = change(&clients, &prefix, pause, live).await;
        let is_unknown = changed.names.is_empty() && changed.failed.is_none();
        let meant = if is_unknown { meant(&registry, &prefix).await } else { String::new() };
        Ok((changed, meant))
    })?;
    if names.is_empty() && failed.is_none() {
        let what = if prefix.is_empty() {
            "there are no history jobs".to_owned()
        } else {
            format!("no history job's name begins with {prefix}")
        };
        let hint = if arguments.live { "" } else { "; live jobs are meant with --live, or named in full" };
        return Err(anyhow!("{what}{hint}; `dccd status` lists the jobs{meant}").into());
    }
    let mut out = Out::new();
    if arguments.json {
        out.json(&names)?;
    } else {
        let done = if pause { "paused" } else { "resumed" };
        for name in &names {
            out.line(format_args!("{name}: {done}"))?;
        }
        out.flush()?;
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// The command as it was typed, without a job.
fn spoken(pause: bool, live: bool) -> String {
    let verb = if pause { "pause" } else { "resume" };
    let live = if live { " --live" } else { "" };
    format!("dccd {verb}{live}")
}

/// Whether a name ends with a channel, so that it is that of one live job.
fn names_a_channel(name: &str) -> bool {
    name.rsplit_once('/').is_some_and(|(_, last)| last.parse::<Channel>().is_ok())
}

/// What came of it.
#[derive(Debug, Default)]
struct Changed {
    /// The jobs that are paused, or resumed, now.
    names: Vec<String>,
    /// Why those after them may not be.
    failed: Option<anyhow::Error>,
}

/// Tells these services, up to one that fails.
async fn change(clients: &[(String, DatadClient)], prefix: &str, pause: bool, live: bool) -> Changed {
    let mut changed = Changed::default();
    for (at, (service, client)) in clients.iter().enumerate() {
        if let Err(error) = tell(service, client, (prefix, pause, live), &mut changed.names).await {
            let untold: Vec<_> = clients.iter().skip(at + 1).map(|(service, _)| service.as_str()).collect();
            changed.failed = Some(anyhow::Error::new(error).context(half_done(service, changed.names.len(), &untold)));
            break;
        }
    }
    changed
}

/// Tells one; the names of its jobs are added as soon as it has said them.
async fn tell(
    service: &str,
    client: &DatadClient,
    (prefix, pause, live): (&str, bool, bool),
    names: &mut Vec<String>,
) -> Result<(), CallError> {
    let prefix = || prefix.to_owned();
    names.extend(if pause {
        call(service, "pause_jobs", client.pause_jobs(context(DEADLINE), prefix())).await?
    } else {
        call(service, "resume_jobs", client.resume_jobs(context(DEADLINE), prefix())).await?
    });
    if live {
        names.extend(if pause {
            call(service, "pause_live", client.pause_live(context(DEADLINE), prefix())).await?
        } else {
            call(service, "resume_live", client.resume_live(context(DEADLINE), prefix())).await?
        });
    }
    Ok(())
}

/// Where it stands after a service that failed.
fn half_done(service: &str, done: usize, untold: &[&str]) -> String {
    let jobs = match done {
        0 => "nothing".to_owned(),
        1 => "the job that is listed".to_owned(),
        _ => format!("the {done} jobs that are listed"),
    };
    let untold = if untold.is_empty() { String::new() } else { format!("; not told: {}", untold.join(", ")) };
    format!("{service} doesn't say that it did it; done so far: {jobs}{untold}; the same command again does the rest")
}

/// The services whose exchange can be meant, each ready to be told; none where one of them isn't.
async fn collectors(registry: &Registry, prefix: &str, command: &str) -> Result<Vec<(String, DatadClient)>, Failure> {
    let (mut clients, mut untold) = (Vec::new(), Vec::new());
    for service in registry.list(DEADLINE).await? {
        let Some(exchange) = service.name.strip_prefix("datad.") else { continue };
        let is_named = prefix.is_empty() || prefix.split('/').next() == Some(exchange);
        if !is_named {
            continue;
        }
        let Some(endpoint) = registry.find(&service.name, DEADLINE).await? else {
            untold.push(format!("{} is {}", service.name, service.state));
            continue;
        };
        match registry.datad_at(&service.name, &endpoint, DEADLINE).await {
            Ok(client) => clients.push((service.name, client)),
            Err(error) => untold.push(format!("{} gives no answer ({})", service.name, dccd_service::chain(&error))),
        }
    }
    if untold.is_empty() {
        return Ok(clients);
    }
    let others: Vec<_> = clients
        .iter()
        .filter_map(|(service, _)| service.strip_prefix("datad."))
        .map(|exchange| format!("`{command} {exchange}`"))
        .collect();
    let others = if others.is_empty() { String::new() } else { format!(", or name the others: {}", others.join(", ")) };
    let untold = untold.join(", ");
    Err(anyhow!("{untold}, and can't be told now; nothing was changed: try again when it runs{others}").into())
}

/// "; did you mean binance/BTC/USDT?" where a job, or what the names of some begin with, is near; else nothing.
async fn meant(registry: &Registry, typed: &str) -> String {
    let mut names = BTreeSet::new();
    for service in registry.list(DEADLINE).await.unwrap_or_default() {
        let (Some(exchange), Some(endpoint)) = (service.name.strip_prefix("datad."), &service.endpoint) else { continue };
        let Ok(client) = registry.datad_at(&service.name, endpoint, DEADLINE).await else { continue };
        let jobs = call(&service.name, "jobs", client.jobs(context(DEADLINE))).await.unwrap_or_default();
        names.insert(exchange.to_owned());
        for JobInfo { job, .. } in jobs {
            names.extend(beginnings(job));
        }
    }
    near(typed, &names)
}

/// A job's name, and that of its market.
fn beginnings(job: String) -> impl Iterator<Item = String> {
    let market = job.rsplit_once('/').map(|(market, _)| market.to_owned());
    market.into_iter().chain([job])
}

/// The same of these names.
fn near(typed: &str, names: &BTreeSet<String>) -> String {
    let near = nearest(typed.strip_prefix("datad.").unwrap_or(typed), names.iter().map(String::as_str));
    near.map(|near| format!("; did you mean {near}?")).unwrap_or_default()
}

/// Runs jobs now: all that their series lack.
pub fn run_now(global: &Global, arguments: &RunArguments) -> Result<(), Failure> {
    if global.address.is_some() {
        // The configuration that names the jobs is over there.
        return finish(&history::run_configured(global, &arguments.job)?, arguments.json);
    }
    let loaded = global.load_aloud()?;
    let config = &loaded.config;
    let mut series = histo::jobs(config);
    let mut names = BTreeSet::new();
    for (exchange, wanted) in &series {
        names.insert(exchange.to_string());
        names.extend(wanted.iter().flat_map(|wanted| beginnings(wanted.name(exchange))));
    }
    series.retain(|exchange, wanted| {
        wanted.retain(|wanted| is_meant(&wanted.name(exchange), &arguments.job));
        !wanted.is_empty()
    });
    if series.is_empty() {
        let job = &arguments.job;
        let meant = near(job, &names);
        return Err(anyhow!("no history job's name begins with {job}; `dccd status` lists the jobs{meant}").into());
    }
    if arguments.dry_run {
        return dry_run(config, &series, arguments.json);
    }
    let work = Work { series, scope: Scope::Everything, parallel: true, kind: "run" };
    finish(&history::work(global, config, work)?, arguments.json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_stands_is_told() {
        let end = "; the same command again does the rest";
        let text = half_done("datad.kraken", 2, &["datad.okx"]);
        assert!(
            text.contains("done so far: the 2 jobs that are listed; not told: datad.okx") && text.ends_with(end),
            "{text}"
        );
        assert!(half_done("datad.kraken", 0, &[]).contains("done so far: nothing;"));
        assert_eq!((spoken(true, false), spoken(false, true)), ("dccd pause".to_owned(), "dccd resume --live".to_owned()));
    }
}
