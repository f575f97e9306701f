//! `dccd restart [SERVICE]`: one service, where it can be without a moment between; everything; or the root alone under its services.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use dccd_registry::{Registry, RegistryError};
use dccd_rpc::CallError;
use dccd_rpc::root::{EnsureError, ROOT_NAME, ServiceInfo, ServiceState};
use tokio::time::Instant;

use crate::cli::Global;
use crate::commands::{DEADLINE, block_on, did_you_mean, registry, start};
use crate::exit::{self, Failure};
use crate::output::say;

/// Flushing, leaving, and getting ready again.
const RESTART_DEADLINE: Duration = Duration::from_secs(180);
/// The same where a new process gets ready first: many feeds take an exchange's limits of connections and messages to open.
const REPLACE_DEADLINE: Duration = Duration::from_secs(600);
/// Patience with the next root until it has adopted the services of the last.
pub const ADOPTION_DEADLINE: Duration = Duration::from_secs(90);
/// How often a root that doesn't listen yet is looked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The service, as `dccd services` lists it (dccd-root: that alone, the services go on); everything without it
    service: Option<String>,
    /// Stop the service before it is started again, instead of having a new process ready before the old one leaves
    #[arg(long, requires = "service")]
    cold: bool,
}

impl Arguments {
    /// The service that is named.
    pub fn service(&self) -> Option<&str> {
        self.service.as_deref()
    }
}

/// Restarts it and returns when it is ready.
pub fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    match arguments.service.as_deref() {
        Some(ROOT_NAME) => root(global),
        None => everything(global),
        Some(service) => block_on(async {
            let registry = registry(global).await?;
            say(format_args!("restarting {service}"));
            let restarted = if arguments.cold {
                registry.restart(service, RESTART_DEADLINE).await
            } else {
                registry.replace(service, REPLACE_DEADLINE).await
            };
            let endpoint = restarted.map_err(|error| match error {
                // A name mistyped is no failed start; the message names those there are.
                RegistryError::Ensure(CallError::Answer(EnsureError::Unknown { ref known, .. })) => {
                    anyhow!("{error}{}", did_you_mean(service, known.iter().map(String::as_str))).into()
                }
                RegistryError::Ensure(CallError::Answer(EnsureError::NotOffered { .. })) => error.into(),
                RegistryError::Ensure(_) => Failure::new(exit::COULD_NOT_START, error),
                error => error.into(),
            })?;
            say(format_args!("{service} is ready at {endpoint}"));
            Ok(())
        }),
    }
}

/// Stops the root and starts another, detached, with the same configuration unless another is named.
fn everything(global: &Global) -> Result<(), Failure> {
    let mut global = global.clone();
    block_on(async {
        let registry = registry(&global).await?;
        let status = registry.status(DEADLINE).await?;
        global.config = global.config.take().or(status.config_path.map(PathBuf::from));
        // A configuration that is wrong now is to be found before anything is stopped.
        global.load()?;
        say(format_args!("stopping dccd (pid {})", status.pid));
        registry.stop(false, None).await?;
        Ok(())
    })?;
    start::detached(&global)
}

/// Replaces the root, with whatever executable is on the disk now, and returns when the services are adopted by the next.
fn root(global: &Global) -> Result<(), Failure> {
    block_on(async {
        let registry = registry(global).await?;
        let status = registry.status(DEADLINE).await?;
        // A configuration that is wrong now is to be found before anything is done.
        Global { config: status.config_path.map(PathBuf::from), ..global.clone() }.load()?;
        let before = registry.list(DEADLINE).await?;
        say(format_args!("restarting dccd-root (pid {}); its services go on", status.pid));
        registry.hand_over(RESTART_DEADLINE).await?;
        let deadline = Instant::now() + ADOPTION_DEADLINE;
        let registry = next_root(global, status.started, deadline).await?;
        let after = adopted(&registry, &before, deadline).await?;
        say(format_args!("dccd-root is back (pid {})", registry.root().pid));
        for service in after.iter().filter(|service| service.name != ROOT_NAME && service.pid.is_some()) {
            let old = before.iter().find(|old| old.name == service.name).and_then(|old| old.pid);
            let (name, pid) = (&service.name, service.pid.unwrap_or_default());
            match (old, &service.last_exit) {
                (Some(old), _) if old == pid => say(format_args!("{name} goes on (pid {pid})")),
                (Some(old), Some(why)) => say(format_args!("{name} was replaced (pid {old}, now {pid}): {why}")),
                (Some(old), None) => {
                    say(format_args!("{name} was replaced (pid {old}, now {pid}): its configuration is another"));
                }
                (None, _) => say(format_args!("{name} was started (pid {pid})")),
            }
        }
        match after.iter().find(|service| service.eager && service.name != ROOT_NAME && !service.state.is_ready()) {
            None => Ok(()),
            Some(late) => {
                let reason = late.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
                let message = format!("{} is not ready ({}{reason}); see: dccd logs {0}", late.name, late.state);
                Err(Failure::message(exit::COULD_NOT_START, message))
            }
        }
    })
}

/// Waits for a root that was not started at `started`.
pub async fn next_root(global: &Global, started: i64, deadline: Instant) -> Result<Registry, Failure> {
    loop {
        let error = match Registry::connect(&global.instance, Duration::from_secs(1)).await {
            Err(error) => error,
            Ok(registry) => match registry.status(Duration::from_secs(1)).await {
                Ok(status) if status.started != started => return Ok(registry),
                Ok(_) => RegistryError::Lingers { pid: registry.root().pid, waited: ADOPTION_DEADLINE },
                Err(error) => error,
            },
        };
        if Instant::now() >= deadline {
            return Err(Failure::new(exit::COULD_NOT_START, error));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Waits until all services that are to run are ready, or it is certain that one won't be; how they are then.
async fn adopted(registry: &Registry, before: &[ServiceInfo], deadline: Instant) -> Result<Vec<ServiceInfo>, Failure> {
    let ran = |service: &ServiceInfo| before.iter().any(|old| old.name == service.name && old.state.is_ready());
    let mut cursor = 0;
    loop {
        let services = registry.list(DEADLINE).await?;
        let mut wanted = services.iter().filter(|service| service.name != ROOT_NAME && (service.eager || ran(service)));
        let settled = wanted.all(|service| service.state.is_ready() || has_ended(service));
        if settled || Instant::now() >= deadline {
            return Ok(services);
        }
        cursor = registry.watch(cursor, Duration::from_secs(1)).await?.cursor;
    }
}

fn has_ended(service: &ServiceInfo) -> bool {
    matches!(service.state, ServiceState::Failed | ServiceState::Stopped)
}
