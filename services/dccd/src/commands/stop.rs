//! `dccd stop`: everything flushed and gone, or said what is not.

use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use dccd_registry::{RegistryError, RuntimeDir};
use dccd_rpc::root::StopReport;
use dccd_service::PidLock;

use crate::cli::Global;
use crate::commands::{block_on, registry_failure, registry_if_running};
use crate::exit::Failure;
use crate::output::say;
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
        let pid = registry.root().pid;
        say(format_args!("stopping dccd (pid {pid})"));
        let report = registry.stop(arguments.force, arguments.timeout.map(Duration::from_secs)).await?;
        for service in &report.services {
            let killed = if service.killed { ", killed" } else { "" };
            say(format_args!(
                "{} is gone ({}{killed}) after {:.1} s",
                service.name,
                service.exit,
                service.took.as_secs_f64()
            ));
        }
        say(format_args!("dccd has stopped after {:.1} s", report.took.as_secs_f64()));
        killed(&report).filter(|_| !arguments.force).map_or(Ok(()), |error| Err(error.into()))
    })
}

/// Stops services whose root died; code 11 where there are none.
async fn without_a_root(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    let runtime_dir = RuntimeDir::resolve(&global.instance)?;
    let patience = arguments.timeout.map_or(ORPHAN_PATIENCE, Duration::from_secs);
    let patience = if arguments.force { Duration::ZERO } else { patience };
    let Some(killed) = orphans(&runtime_dir, &global.instance, patience).await else {
        return Err(registry_failure(RegistryError::NotRunning { socket: runtime_dir.root_socket() }));
    };
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
