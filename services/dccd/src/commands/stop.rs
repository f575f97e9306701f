//! `dccd stop`: everything flushed and gone, or said what is not.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use dccd_registry::{ProcessWatch, Registry, RegistryError, RuntimeDir};
use dccd_rpc::root::{ROOT_NAME, StopReport, StoppedService};
use dccd_rpc::{CallError, RpcError, TransportError};
use dccd_service::PidLock;
use rustix::process::Signal;
use serde::Serialize;
use tokio::time::Instant;

use crate::cli::Global;
use crate::commands::restart::{ADOPTION_DEADLINE, next_root};
use crate::commands::{DEADLINE, block_on, registry_failure, registry_if_running};
use crate::exit::Failure;
use crate::manager::Manager;
use crate::output::{Out, say};
use crate::roles;

/// Patience with services that have lost their root, and with it its configuration.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(60);

/// Patience with a root that is to be stopped by force, until it is taken for one that hangs.
const FORCE_PATIENCE: Duration = Duration::from_secs(5);
/// Patience with a process after SIGKILL; only one stuck in the kernel needs longer.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Kill at once instead of letting services flush, also a dccd-root that gives no answer (unless systemd would start it again); what
    /// the journal has is safe all the same
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
    /// In the order in which they were gone; dccd-root among them only if it had to be killed.
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

impl From<&Gone> for Service {
    fn from(gone: &Gone) -> Self {
        // Only its parent is told how a process ended by itself.
        let exit = if gone.killed { "SIGKILL" } else { "exit unknown" }.to_owned();
        Self { name: gone.name.clone(), exit, killed: gone.killed, took_s: gone.took.as_secs_f64(), flushed: None }
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
        let report = match ask(global, arguments).await {
            Ok(Some(report)) => report,
            Ok(None) => return without_a_root(global, arguments, None).await,
            Err(failure) if arguments.force && global.address.is_none() && is_silent(&failure) => {
                let root = kill_root(global, failure).await?;
                return without_a_root(global, arguments, Some(root)).await;
            }
            Err(failure) => return Err(failure),
        };
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

/// Has the root stop everything; `None` where there is none. One that hands over to the next just then stops nothing, and the next one
/// is asked.
async fn ask(global: &Global, arguments: &Arguments) -> Result<Option<StopReport>, Failure> {
    let mut patience = arguments.timeout.map(Duration::from_secs);
    let mut answer = DEADLINE;
    let found = if arguments.force && global.address.is_none() {
        answer = patience.unwrap_or(FORCE_PATIENCE).min(DEADLINE);
        // Nothing is waited for that is killed at once.
        patience = Some(answer);
        match Registry::connect(&global.instance, answer).await {
            Err(RegistryError::NotRunning { .. }) => None,
            connected => Some(connected?),
        }
    } else {
        registry_if_running(global).await?
    };
    let Some(mut registry) = found else { return Ok(None) };
    let deadline = Instant::now() + ADOPTION_DEADLINE;
    loop {
        let started = registry.status(answer).await?.started;
        say(format_args!("stopping dccd (pid {})", registry.root().pid));
        match registry.stop(arguments.force, patience).await {
            Err(RegistryError::Call(CallError::Answer(RpcError::Unavailable { .. }))) => {
                say("dccd-root is just being restarted; waiting for the next one");
                registry = next_root(global, started, deadline).await?;
            }
            report => return Ok(Some(report?)),
        }
    }
}

/// Whether a root is there that says nothing, or doesn't go.
fn is_silent(failure: &Failure) -> bool {
    let Failure::Error { error, .. } = failure else { return false };
    matches!(
        error.downcast_ref::<RegistryError>(),
        Some(
            RegistryError::Call(CallError::Deadline { .. })
                | RegistryError::Transport { source: TransportError::Deadline { .. }, .. }
                | RegistryError::Lingers { .. }
        )
    )
}

/// Something that was ended without its root's help.
#[derive(Debug)]
pub struct Gone {
    name: String,
    /// Whether it had to be killed.
    killed: bool,
    took: Duration,
}

impl Gone {
    fn of(name: &str, killed: bool, since: Instant) -> Self {
        let gone = Self { name: name.to_owned(), killed, took: since.elapsed() };
        let how = if killed { " (killed)" } else { "" };
        say(format_args!("{name} is gone{how} after {:.1} s", gone.took.as_secs_f64()));
        gone
    }
}

/// Kills a root that says nothing; as it was told, where nothing of it is known. One that a service manager looks after is left to that,
/// which would start everything again.
async fn kill_root(global: &Global, silent: Failure) -> Result<Gone, Failure> {
    let runtime_dir = RuntimeDir::resolve(&global.instance)?;
    let holder = || PidLock::holder(&runtime_dir.root_lock()).ok().flatten();
    let Some(pid) = holder() else { return Err(silent) };
    let Ok(watch) = ProcessWatch::open(pid) else { return Err(silent) };
    if holder() != Some(pid) {
        // It has ended just now, and its number may be another's.
        return Err(silent);
    }
    if let Some(manager) = Manager::of(pid) {
        let advice = format!(
            "dccd-root (pid {pid}) gives no answer, and is not killed: {manager} looks after it and would start it again; {}, \
             and `dccd stop` what it leaves",
            manager.stop()
        );
        return Err(silent.context(advice));
    }
    say(format_args!("dccd-root (pid {pid}) gives no answer; killing it"));
    let begun = Instant::now();
    watch.signal(Signal::KILL);
    if tokio::time::timeout(KILL_DEADLINE, watch.exited()).await.is_err() {
        let seconds = KILL_DEADLINE.as_secs();
        return Err(anyhow!("dccd-root (pid {pid}) can't be killed within {seconds} s; does it wait for a disk?").into());
    }
    Ok(Gone::of(ROOT_NAME, true, begun))
}

/// Stops services whose root died, or was killed just now; code 11 where there are none.
async fn without_a_root(global: &Global, arguments: &Arguments, root: Option<Gone>) -> Result<(), Failure> {
    let begun = Instant::now();
    let runtime_dir = RuntimeDir::resolve(&global.instance)?;
    let patience = arguments.timeout.map_or(ORPHAN_PATIENCE, Duration::from_secs);
    let patience = if arguments.force { Duration::ZERO } else { patience };
    let orphans = orphans(&runtime_dir, &global.instance, patience).await;
    if root.is_none() && orphans.is_none() {
        return Err(registry_failure(RegistryError::NotRunning { socket: runtime_dir.root_socket() }));
    }
    if let Ok(Some(pid)) = PidLock::holder(&runtime_dir.root_lock()) {
        let message =
            format!("another dccd-root (pid {pid}) has taken its place; does systemd start it? Then stop it there");
        return Err(anyhow!(message).into());
    }
    let took = begun.elapsed() + root.as_ref().map_or(Duration::ZERO, |root| root.took);
    let gone: Vec<Gone> = root.into_iter().chain(orphans.into_iter().flatten()).collect();
    say(format_args!("dccd has stopped after {:.1} s", took.as_secs_f64()));
    if arguments.json {
        let services = gone.iter().map(Service::from).collect();
        Out::new().json(&Report { took_s: took.as_secs_f64(), services })?;
    }
    let killed: Vec<&str> = gone.iter().filter(|gone| gone.killed).map(|gone| gone.name.as_str()).collect();
    if killed.is_empty() || arguments.force {
        return Ok(());
    }
    Err(anyhow!("{} did not stop in time and had to be killed; what was acknowledged is safe", killed.join(", ")).into())
}

/// Ends what a root that died has left running; `None` where nothing runs.
pub async fn orphans(runtime_dir: &RuntimeDir, instance: &str, patience: Duration) -> Option<Vec<Gone>> {
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
    let begun = Instant::now();
    for orphan in orphans {
        say(format_args!("stopping {} (pid {}), which has lost dccd-root", orphan.name, orphan.pid));
        ending.spawn(async move {
            let killed = orphan.end(patience).await;
            Gone::of(&orphan.name, killed, begun)
        });
    }
    let gone = ending.join_all().await;
    for Gone { name, .. } in &gone {
        // What a process leaves that ended in order, too: one that was killed is no crash for the next root.
        let _ = std::fs::remove_file(runtime_dir.service_record(name));
    }
    roles::sweep_rings(instance);
    Some(gone)
}
