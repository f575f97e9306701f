//! `dccd pause`, `resume`, `run`: acting on history jobs by their names.

use std::collections::BTreeSet;

use anyhow::anyhow;
use clap::Args;
use dccd_config::nearest;
use dccd_history::{Scope, is_meant};
use dccd_model::Channel;
use dccd_registry::Registry;
use dccd_rpc::datad::{DatadClient, JobInfo};
use dccd_rpc::{call, context};

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
    let (names, meant) = block_on(async {
        let registry = registry(global).await?;
        let live = arguments.live || names_a_channel(&prefix);
        let names = change(&registry, &prefix, pause, live).await?;
        let meant = if names.is_empty() { meant(&registry, &prefix).await } else { String::new() };
        Ok((names, meant))
    })?;
    if names.is_empty() {
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
        return out.json(&names);
    }
    let done = if pause { "paused" } else { "resumed" };
    for name in &names {
        out.line(format_args!("{name}: {done}"))?;
    }
    out.flush()
}

/// Whether a name ends with a channel, so that it is that of one live job.
fn names_a_channel(name: &str) -> bool {
    name.rsplit_once('/').is_some_and(|(_, last)| last.parse::<Channel>().is_ok())
}

/// Tells every service whose exchange can be meant; none where one of them can't be told.
async fn change(registry: &Registry, prefix: &str, pause: bool, live: bool) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for (service, client) in &collectors(registry, prefix).await? {
        let context = context(DEADLINE);
        names.extend(if pause {
            call(service, "pause_jobs", client.pause_jobs(context, prefix.to_owned())).await?
        } else {
            call(service, "resume_jobs", client.resume_jobs(context, prefix.to_owned())).await?
        });
        if live {
            names.extend(if pause {
                call(service, "pause_live", client.pause_live(context, prefix.to_owned())).await?
            } else {
                call(service, "resume_live", client.resume_live(context, prefix.to_owned())).await?
            });
        }
    }
    Ok(names)
}

/// The services whose exchange can be meant, each ready to be told.
async fn collectors(registry: &Registry, prefix: &str) -> Result<Vec<(String, DatadClient)>, Failure> {
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
    let untold = untold.join(", ");
    Err(anyhow!("{untold}, and can't be told now; nothing was changed: try again when it runs, or name another exchange")
        .into())
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
