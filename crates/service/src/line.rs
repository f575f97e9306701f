//! The line to the root: registration, heartbeats, and the same again with the next root when this one is gone.

use std::time::Duration;

use dccd_registry::{ProcessWatch, Registry, RegistryError};
use dccd_rpc::{CallError, RpcError};
use tokio::time::MissedTickBehavior;

use crate::{ServiceContext, ShutdownReason, log};

/// Patience with one call to the root.
const CALL_DEADLINE: Duration = Duration::from_secs(5);
/// How often the first registration is tried while the root lives: an answer may have been lost.
const FIRST_TRIES: u32 = 3;
/// A root that broke off a call has died when its end shows within this time.
const DEATH_SHOWS: Duration = Duration::from_secs(1);
/// First pause between two looks for the next root; they grow to the longest.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// Longest of them. Looking costs one failed `connect`.
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(500);

/// A root that knows this process.
pub(crate) struct Line {
    ctx: ServiceContext,
    protocol: u32,
    /// Its number among those that this process has had.
    root: u64,
    /// `None`: to be connected again.
    registry: Option<Registry>,
    /// Its process; `None` where it was gone as soon as it had answered.
    process: Option<ProcessWatch>,
    interval: Duration,
}

impl Line {
    /// Registers for the first time; `None` when the process is to stop before there was a root that took it.
    pub(crate) async fn first(ctx: ServiceContext, protocol: u32) -> Result<Option<Self>, RegistryError> {
        let mut tries = 1;
        loop {
            let error = match Self::open(&ctx, protocol).await {
                Ok(line) => return Ok(Some(line)),
                Err(error) => error,
            };
            // A refusal is an answer. Without one the root has died, or the answer was lost: it may know this process.
            if matches!(error, RegistryError::Call(CallError::Answer(_))) {
                return Err(error);
            }
            if tokio::time::timeout(DEATH_SHOWS, ctx.link().until_lost()).await.is_ok() {
                return Ok(Self::next(&ctx, protocol).await);
            }
            if tries == FIRST_TRIES || ctx.shutdown().is_triggered() {
                return Err(error);
            }
            tries += 1;
            tracing::warn!(error = &error as &dyn std::error::Error, "no answer to the registration; trying again");
        }
    }

    /// Connects to whatever root there is and registers with it.
    async fn open(ctx: &ServiceContext, protocol: u32) -> Result<Self, RegistryError> {
        let registry = Registry::connect_in(ctx.runtime_dir(), CALL_DEADLINE).await?;
        let process = ProcessWatch::open(registry.root().pid).ok();
        let reply = registry.register(ctx.registration(protocol), CALL_DEADLINE).await?;
        follow_level(reply.log_level.as_deref());
        let interval = reply.heartbeat_interval.max(Duration::from_millis(10));
        let root = ctx.link().attached();
        Ok(Self { ctx: ctx.clone(), protocol, root, registry: Some(registry), process, interval })
    }

    /// Looks for the next root until it takes this process, which is to stop when it doesn't.
    async fn next(ctx: &ServiceContext, protocol: u32) -> Option<Self> {
        let mut pause = LOOK_PAUSE;
        while !ctx.shutdown().is_triggered() {
            match Self::open(ctx, protocol).await {
                Ok(line) => {
                    let root = line.registry.as_ref().map(|registry| registry.root().pid);
                    tracing::info!(service = ctx.name(), root, "adopted by the next dccd-root");
                    return Some(line);
                }
                Err(RegistryError::Call(CallError::Answer(error))) if !matches!(error, RpcError::Unavailable { .. }) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the next dccd-root does not adopt this process"
                    );
                    ctx.shutdown().trigger(ShutdownReason::Refused);
                    return None;
                }
                Err(error) => tracing::trace!(error = &error as &dyn std::error::Error, "no dccd-root yet"),
            }
            // Services that lost their root together need not come back together.
            let pause_now = pause.mul_f64(0.75 + 0.5 * fastrand::f64());
            tokio::select! {
                () = tokio::time::sleep(pause_now) => pause = (pause * 2).min(LOOK_PAUSE_MAX),
                _ = ctx.shutdown().wait() => {}
            }
        }
        None
    }

    /// Beats until the process ends, also while it flushes, with one root after another.
    pub(crate) async fn keep(mut self) {
        loop {
            self.beat_on().await;
            let Some(next) = Self::next(&self.ctx, self.protocol).await else { return };
            self = next;
        }
    }

    /// Beats as long as this root lives. One that is slow or stuck is put up with: data is worth more than supervision.
    async fn beat_on(&mut self) {
        let link = self.ctx.link().clone();
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tokio::select! {
                biased;
                () = link.until_lost() => return,
                () = exited(self.process.as_ref()) => return link.lost(self.root),
                _ = ticks.tick() => {}
            }
            let mut result = self.beat().await;
            if let Err(RegistryError::Call(CallError::Connection { .. })) = result {
                // It may be another root that listens there now; it shows at once.
                result = self.beat().await;
            }
            match result {
                Ok(()) => {
                    if failing {
                        tracing::info!("dccd-root answers heartbeats again");
                    }
                    failing = false;
                }
                Err(RegistryError::NotRunning { .. }) => return link.lost(self.root),
                Err(RegistryError::Call(CallError::Answer(error))) => {
                    tracing::info!(error = &error as &dyn std::error::Error, "dccd-root does not know this process");
                    return link.lost(self.root);
                }
                Err(error) => {
                    if !failing {
                        tracing::warn!(error = &error as &dyn std::error::Error, "dccd-root does not answer heartbeats");
                    }
                    failing = true;
                }
            }
        }
    }

    async fn beat(&mut self) -> Result<(), RegistryError> {
        let connected = match self.registry.take() {
            Some(connected) => connected,
            None => Registry::connect_in(self.ctx.runtime_dir(), CALL_DEADLINE).await?,
        };
        let reply = connected.heartbeat(self.ctx.name(), self.ctx.progress().snapshot(), CALL_DEADLINE).await?;
        follow_level(reply.log_level.as_deref());
        self.registry = Some(connected);
        if reply.shed_memory {
            self.ctx.ask_to_shed();
        }
        Ok(())
    }
}

/// Logs as the root says: by these directives, or as this process was told at its start.
fn follow_level(directives: Option<&str>) {
    if let Err(error) = log::set_level(directives) {
        tracing::warn!(error = &error as &dyn std::error::Error, "dccd-root asks for a log level that is none");
    }
}

/// Resolves when the process has exited; never for one that isn't watched.
async fn exited(process: Option<&ProcessWatch>) {
    match process {
        Some(process) => process.exited().await,
        None => std::future::pending().await,
    }
}
