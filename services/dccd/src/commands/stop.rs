//! `dccd stop`: everything flushed and gone, or said what is not.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use dccd_registry::{Registry, RegistryError, RuntimeDir};
use dccd_rpc::root::{StopReport, StoppedService};
use dccd_rpc::{CallError, RpcError};
use dccd_service::PidLock;
use serde::Serialize;
use tokio::time::Instant;

use crate::cli::Global;
use crate::commands::restart::{ADOPTION_DEADLINE, next_root};
use crate::commands::{DEADLINE, block_on, registry_failure, registry_if_running};
use crate::exit::Failure;
use crate::output::{Out, say};
use crate::roles;

/// Patience with services that have lost their root, and with it its configuration.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(60);

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Kill at once instead of letting services flush; what the journal has is safe all the same
    #[arg(long)]
    force: bool,
    /// Seconds that a service may take before it is killed [default: daemon.shutdown_timeout]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: Option<u64>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// `stop --json`.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// Seconds from the request to the last exit.
    took_s: f64,
    /// In the order in which they were gone.
    services: Vec<Service>,
}

/// One service of it.
#[derive(Debug, Serialize)]
struct Service {
    name: String,
    exit: String,
    killed: bool,
    took_s: f64,
    /// What it said it had made durable at the last; null where it said nothing.
    flushed: Option<BTreeMap<String, u64>>,
}

impl From<&StopReport> for Report {
    fn from(report: &StopReport) -> Self {
        let service = |service: &StoppedService| Service {
            name: service.name.clone(),
            exit: service.exit.clone(),
            killed: service.killed,
            took_s: service.took.as_secs_f64(),
            flushed: (!service.flushed.is_empty()).then(|| service.flushed.iter().cloned().collect()),
        };
        Self { took_s: report.took.as_secs_f64(), services: report.services.iter().map(service).collect() }
    }
}

/// What a service has flushed, for people; nothing where it said nothing.
fn flushed(service: &StoppedService) -> String {
    let words: Vec<_> = service.flushed.iter().map(|(what, number)| format!("{number} {what}")).collect();
    if words.is_empty() { String::new() } else { format!("; flushed at the last: {}", words.join(", ")) }
}

/// The failure that it is when services did not stop in time; `None` when all did.
pub fn killed(report: &StopReport) -> Option<anyhow::Error> {
    let names: Vec<_> = report.services.iter().filter(|service| service.killed).map(|service| &*service.name).collect();
    let names = (!names.is_empty()).then(|| names.join(", "))?;
    Some(anyhow!("{names} did not stop in time and had to be killed; what was acknowledged is safe"))
}

/// Stops the instance.
pub fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    block_on(async {
        let Some(registry) = registry_if_running(global).await? else { return without_a_root(global, arguments).await };
        let report = stop(global, arguments, registry).await?;
        for service in &report.services {
            let killed = if service.killed { ", killed" } else { "" };
            say(format_args!(
                "{} is gone ({}{killed}) after {:.1} s{}",
                service.name,
                service.exit,
                service.took.as_secs_f64(),
                flushed(service)
            ));
        }
        say(format_args!("dccd has stopped after {:.1} s", report.took.as_secs_f64()));
        if arguments.json {
            Out::new().json(&Report::from(&report))?;
        }
        killed(&report).filter(|_| !arguments.force).map_or(Ok(()), |error| Err(error.into()))
    })
}

/// Stops a root; one that hands over to the next just then stops nothing, and the next one is asked.
async fn stop(global: &Global, arguments: &Arguments, mut registry: Registry) -> Result<StopReport, Failure> {
    let deadline = Instant::now() + ADOPTION_DEADLINE;
    loop {
        let started = registry.status(DEADLINE).await?.started;
        say(format_args!("stopping dccd (pid {})", registry.root().pid));
        match registry.stop(arguments.force, arguments.timeout.map(Duration::from_secs)).await {
            Err(RegistryError::Call(CallError::Answer(RpcError::Unavailable { .. }))) => {
                say("dccd-root is just being restarted; waiting for the next one");
                registry = next_root(global, started, deadline).await?;
            }
            report => return Ok(report?),
        }
    }
}

/// Stops services whose root died; code 11 where there are none.
async fn without_a_root(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    let runtime_dir = RuntimeDir::resolve(&global.instance)?;
    let patience = arguments.timeout.map_or(ORPHAN_PATIENCE, Duration::from_secs);
    let patience = if arguments.force { Duration::ZERO } else { patience };
    let Some(killed) = orphans(&runtime_dir, &global.instance, patience).await else {
        return Err(registry_failure(RegistryError::NotRunning { socket: runtime_dir.root_socket() }));
    };
    if arguments.json {
        // Nobody was there to hear how they ended, or what they flushed.
        Out::new().json(&Report::default())?;
    }
    if killed.is_empty() || arguments.force {
        return Ok(());
    }
    Err(anyhow!("{} did not stop in time and had to be killed; what was acknowledged is safe", killed.join(", ")).into())
}

/// Ends what a root that died has left running; the services that had to be killed, or `None` where nothing runs.
pub async fn orphans(runtime_dir: &RuntimeDir, instance: &str, patience: Duration) -> Option<Vec<String>> {
    if !runtime_dir.path().is_dir() {
        return None;
    }
    // As long as it is held no root can come and adopt them.
    let _lock = PidLock::acquire(&runtime_dir.root_lock()).ok()?;
    let orphans = dccd_root::orphans(runtime_dir);
    if orphans.is_empty() {
        return None;
    }
    let mut ending = tokio::task::JoinSet::new();
    for orphan in orphans {
        say(format_args!("stopping {} (pid {}), which has lost dccd-root", orphan.name, orphan.pid));
        ending.spawn(async move {
            let killed = orphan.end(patience).await;
            (orphan.name, killed)
        });
    }
    let mut killed = Vec::new();
    for (name, was_killed) in ending.join_all().await {
        say(format_args!("{name} is gone{}", if was_killed { " (killed)" } else { "" }));
        // What a process leaves that ended in order, too: one that was killed is no crash for the next root.
        let _ = std::fs::remove_file(runtime_dir.service_record(&name));
        if was_killed {
            killed.push(name);
        }
    }
    roles::sweep_rings(instance);
    Some(killed)
}
