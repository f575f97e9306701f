//! What a running service holds: who it is, where things are, and its line to the root.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dccd_registry::{Registry, RegistryError, RuntimeDir};
use dccd_rpc::root::{Endpoint, Registration};
use dccd_rpc::{BUILD, CallError};
use tokio::time::MissedTickBehavior;

use crate::{Progress, ServiceArgs, ServiceError, Shutdown, ShutdownReason, log};

/// Patience with one call to the root.
const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// A service's context; clones share it.
#[derive(Clone, Debug)]
pub struct ServiceContext(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    args: ServiceArgs,
    runtime: RuntimeDir,
    token: String,
    parent: Option<i32>,
    shutdown: Shutdown,
    progress: Progress,
    registered: AtomicBool,
}

impl ServiceContext {
    pub(crate) fn new(args: ServiceArgs, runtime: RuntimeDir, token: String, shutdown: Shutdown) -> Self {
        Self(Arc::new(Inner {
            args,
            runtime,
            token,
            parent: parent(),
            shutdown,
            progress: Progress::new(),
            registered: AtomicBool::new(false),
        }))
    }

    /// The service's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.args.name
    }

    /// The instance's name.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.0.args.instance
    }

    /// The store.
    #[must_use]
    pub fn data_path(&self) -> &Path {
        &self.0.args.data_path
    }

    /// The configuration file; `None`: defaults.
    #[must_use]
    pub fn config_path(&self) -> Option<&Path> {
        self.0.args.config_path.as_deref()
    }

    /// Everything the root said at the start.
    #[must_use]
    pub fn args(&self) -> &ServiceArgs {
        &self.0.args
    }

    /// The instance's runtime directory.
    #[must_use]
    pub fn runtime_dir(&self) -> &RuntimeDir {
        &self.0.runtime
    }

    /// Where this service listens: `<runtime>/<name>.sock`.
    #[must_use]
    pub fn endpoint_path(&self) -> PathBuf {
        self.0.runtime.service_socket(self.name())
    }

    /// What the heartbeats report.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.0.progress
    }

    /// Resolves when this process is to stop.
    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        &self.0.shutdown
    }

    /// Tells the root that this service is ready to be called at [`ServiceContext::endpoint_path`], which must be bound
    /// by now, and starts the heartbeats. Once only.
    pub async fn register(&self) -> Result<(), ServiceError> {
        self.register_protocol(0).await
    }

    /// The same, naming the protocol number of the service's own contract.
    pub async fn register_protocol(&self, protocol: u32) -> Result<(), ServiceError> {
        if self.0.registered.swap(true, Ordering::Relaxed) {
            return Err(ServiceError::RegisteredTwice);
        }
        let registry = Registry::connect_in(&self.0.runtime, CALL_DEADLINE).await.map_err(ServiceError::Register)?;
        let registration = Registration {
            name: self.name().to_owned(),
            pid: std::process::id(),
            endpoint: Endpoint::unix(&self.endpoint_path()),
            version: BUILD.to_owned(),
            protocol,
            token: self.0.token.clone(),
            degraded: self.0.progress.trouble(),
        };
        let reply = registry.register(registration, CALL_DEADLINE).await.map_err(ServiceError::Register)?;
        tracing::info!(service = self.name(), pid = std::process::id(), "ready");
        // Ends with the runtime. If it panicked, the root would miss the heartbeats and restart this process.
        tokio::spawn(self.clone().heartbeats(registry, reply.heartbeat_interval.max(Duration::from_millis(10))));
        Ok(())
    }

    /// Beats until the process ends, also while it flushes. A root that is slow or stuck is put up with as long as it
    /// lives: data is worth more than supervision.
    async fn heartbeats(self, registry: Registry, interval: Duration) {
        let mut registry = Some(registry);
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            ticks.tick().await;
            if parent() != self.0.parent {
                log::reader_gone();
                self.0.shutdown.trigger(ShutdownReason::RootGone);
                return;
            }
            match self.beat(&mut registry).await {
                Ok(()) => {
                    if failing {
                        tracing::info!("dccd-root answers heartbeats again");
                    }
                    failing = false;
                }
                Err(RegistryError::Call(CallError::Answer(error))) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "dccd-root no longer knows this process");
                    self.0.shutdown.trigger(ShutdownReason::RootGone);
                    return;
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

    async fn beat(&self, registry: &mut Option<Registry>) -> Result<(), RegistryError> {
        let connected = match registry.take() {
            Some(connected) => connected,
            None => Registry::connect_in(&self.0.runtime, CALL_DEADLINE).await?,
        };
        connected.heartbeat(self.name(), self.0.progress.snapshot(), CALL_DEADLINE).await?;
        *registry = Some(connected);
        Ok(())
    }

    /// Tells the root that this process is about to exit. Failing is harmless: the root sees the exit itself.
    pub(crate) async fn deregister(&self, reason: &str) {
        if !self.0.registered.load(Ordering::Relaxed) || parent() != self.0.parent {
            return;
        }
        let said = async {
            Registry::connect_in(&self.0.runtime, Duration::from_secs(1))
                .await?
                .deregister(self.name(), reason, Duration::from_secs(1))
                .await
        };
        if let Err(error) = said.await {
            tracing::debug!(error = &error as &dyn std::error::Error, "dccd-root took no farewell");
        }
    }
}

/// The parent process: the root, until it dies. (No parent is an answer, too: one outside of this pid namespace.)
fn parent() -> Option<i32> {
    rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get())
}
