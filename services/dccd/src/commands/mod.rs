//! The commands, one file each: `Arguments` is what clap reads, `run` does it. What several need stands here.

pub mod alerts;
pub mod backfill;
pub mod collect;
pub mod completion;
pub mod convert;
pub mod demo;
pub mod doctor;
pub mod edit;
pub mod exchanges;
pub mod export;
pub mod gaps;
pub mod history;
pub mod init;
pub mod inventory;
pub mod jobs;
pub mod log_level;
pub mod logs;
pub mod reload;
pub mod restart;
pub mod search;
pub mod service;
pub mod services;
pub mod sim;
pub mod start;
pub mod status;
pub mod stop;
pub mod sync;
pub mod tail;
pub mod validate;
pub mod verify;

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use dccd_config::{Config, Lookup, nearest};
use dccd_registry::{Registry, RegistryError, RuntimeDir};
use dccd_rpc::CallError;
use dccd_rpc::remote::RemoteError;

use crate::cli::Global;
use crate::exit::{self, Failure};
use crate::manager::Manager;
use crate::remote;

/// How long a question to a running daemon may take.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Runs a command's future on a runtime of its own.
pub fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    let result = runtime.block_on(future);
    // What still blocks in the background must not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

/// The running root of the instance, or code 11.
pub async fn registry(global: &Global) -> Result<Registry, Failure> {
    connect(global, DEADLINE).await
}

/// The root that is meant: of the instance, or at the address; code 11 where there is none.
async fn connect(global: &Global, deadline: Duration) -> Result<Registry, Failure> {
    let connected = match remote::remote(global)? {
        Some(remote) => Registry::connect_remote(remote, deadline).await,
        None => Registry::connect(&global.instance, deadline).await,
    };
    connected.map_err(|error| match &error {
        _ if global.address.is_some() => registry_failure(error),
        RegistryError::NotRunning { .. } => not_running(&global.instance, error),
        RegistryError::Call(CallError::Deadline { .. }) => silent(&global.instance, error),
        _ => registry_failure(error),
    })
}

/// No root runs; what may go on without it is named.
fn not_running(instance: &str, error: RegistryError) -> Failure {
    let orphans = RuntimeDir::resolve(instance).map(|directory| dccd_root::orphans(&directory)).unwrap_or_default();
    if orphans.is_empty() {
        return registry_failure(error);
    }
    let names: Vec<String> = orphans.iter().map(|orphan| format!("{} (pid {})", orphan.name, orphan.pid)).collect();
    let message = format!("{error}\nwithout it goes on: {}; the next dccd-root adopts what it finds", names.join(", "));
    Failure::message(exit::NOT_RUNNING, message)
}

/// The root is there and says nothing: what can be done about it.
fn silent(instance: &str, error: RegistryError) -> Failure {
    let directory = RuntimeDir::resolve(instance).ok();
    let pid = directory.and_then(|directory| dccd_service::PidLock::holder(&directory.root_lock()).ok().flatten());
    let manager = pid.and_then(Manager::of);
    match (pid, manager) {
        (Some(pid), Some(manager)) => anyhow!(
            "{error}; it hangs or is stopped, and {manager} looks after it: `kill -9 {pid}` ends it and leaves its services at work, \
             the next one that is started there adopts them; to end it for good: {}",
            manager.stop()
        )
        .into(),
        (Some(pid), None) => anyhow!(
            "{error}; it hangs or is stopped: `kill -9 {pid}` ends it and leaves its services at work, `dccd start` adopts them; \
             `dccd stop --force` ends all of them"
        )
        .into(),
        (None, _) => error.into(),
    }
}

/// The running root of the instance, if there is one. At an address there must be one: nothing else is known of it here.
pub async fn registry_if_running(global: &Global) -> Result<Option<Registry>, Failure> {
    if global.address.is_some() {
        return connect(global, DEADLINE).await.map(Some);
    }
    match Registry::connect(&global.instance, DEADLINE).await {
        Ok(registry) => Ok(Some(registry)),
        Err(RegistryError::NotRunning { .. }) => Ok(None),
        Err(error @ RegistryError::Call(CallError::Deadline { .. })) => Err(silent(&global.instance, error)),
        Err(error) => Err(error.into()),
    }
}

/// With code 11 where nothing runs, else as a failure.
pub fn registry_failure(error: RegistryError) -> Failure {
    match error {
        RegistryError::NotRunning { .. } | RegistryError::Remote { source: RemoteError::NobodyListens { .. }, .. } => {
            Failure::new(exit::NOT_RUNNING, error)
        }
        error => error.into(),
    }
}

/// "; did you mean datad.binance?" where a service was named that there isn't and one is near, also without what stands before its
/// exchange; else nothing.
pub fn did_you_mean<'a>(typed: &str, services: impl Iterator<Item = &'a str> + Clone) -> String {
    let of_exchange = format!("datad.{typed}");
    let near = nearest(typed, services.clone()).or_else(|| nearest(&of_exchange, services));
    near.map(|near| format!("; did you mean {near}?")).unwrap_or_default()
}

/// The store: of the running root, or else of the configuration.
pub async fn data_path(global: &Global) -> Result<PathBuf, Failure> {
    if global.config.is_none()
        && let Some(registry) = registry_if_running(global).await?
    {
        return Ok(PathBuf::from(registry.status(DEADLINE).await?.data_path));
    }
    Ok(global.load()?.config.data_path().to_owned())
}

/// The zone in which times are shown: as configured, the host's where no configuration is to be had. `known` is a
/// configuration file that somebody else named.
pub fn zone(global: &Global, known: Option<PathBuf>) -> jiff::tz::TimeZone {
    let loaded = Config::load(&Lookup::new(global.config.clone().or(known)));
    loaded.map_or_else(|_| jiff::tz::TimeZone::system(), |loaded| loaded.config.settings.timezone.rules())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_that_was_meant_is_found() {
        let services = ["dccd-root", "datad.binance", "datad.kraken", "syncd"];
        let meant = |typed: &str| did_you_mean(typed, services.into_iter());
        assert_eq!(meant("datad.binanse"), "; did you mean datad.binance?");
        assert_eq!(meant("binance"), "; did you mean datad.binance?");
        assert_eq!(meant("craken"), "; did you mean datad.kraken?");
        assert_eq!(meant("synd"), "; did you mean syncd?");
        assert_eq!(meant("webd-of-old"), "");
    }
}
