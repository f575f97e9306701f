//! What a running service holds: who it is, where things are, how it stands with its root.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dccd_registry::{Registry, RuntimeDir};
use dccd_rpc::BUILD;
use dccd_rpc::root::{Endpoint, Registration};

use tokio::sync::watch;

use crate::line::Line;
use crate::link::Link;
use crate::{PidLock, PidLockError, Progress, ServiceArgs, ServiceError, Shutdown, ShutdownReason, Tasks, dump};

/// Patience with the root where a successor stands by.
const STAND_BY_DEADLINE: Duration = Duration::from_secs(5);
/// How often a successor looks whether the service is free.
const TAKE_OVER_LOOK: Duration = Duration::from_millis(2);

/// A service's context; clones share it.
#[derive(Clone, Debug)]
pub struct ServiceContext(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    args: ServiceArgs,
    runtime: RuntimeDir,
    token: String,
    link: Link,
    shutdown: Shutdown,
    progress: Progress,
    tasks: Tasks,
    /// Counts the root's requests to shed memory.
    shed: watch::Sender<u64>,
    flushed: Mutex<Vec<(String, u64)>>,
    registered: AtomicBool,
    /// Held as long as this process is the service.
    lock: Mutex<Option<PidLock>>,
}

impl ServiceContext {
    pub(crate) fn new(
        args: ServiceArgs,
        runtime: RuntimeDir,
        token: String,
        link: Link,
        shutdown: Shutdown,
        tasks: Tasks,
        lock: Option<PidLock>,
    ) -> Self {
        Self(Arc::new(Inner {
            args,
            runtime,
            token,
            link,
            shutdown,
            progress: Progress::new(),
            tasks,
            shed: watch::channel(0).0,
            flushed: Mutex::default(),
            registered: AtomicBool::new(false),
            lock: Mutex::new(lock),
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

    /// What runs here by name: what the log of a service that hangs shows.
    #[must_use]
    pub fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    /// Changes each time the root asks this process to give back what memory it can do without, because it comes near its
    /// limit.
    #[must_use]
    pub fn shed_requests(&self) -> watch::Receiver<u64> {
        self.0.shed.subscribe()
    }

    /// The root asks for memory.
    pub(crate) fn ask_to_shed(&self) {
        self.0.shed.send_modify(|n| *n += 1);
    }

    /// Says what this process has made durable at its end, for the report of whoever stopped it: number by name.
    pub fn flushed(&self, what: &str, number: u64) {
        let mut flushed = self.0.flushed.lock().unwrap_or_else(PoisonError::into_inner);
        flushed.retain(|(name, _)| name != what);
        flushed.push((what.to_owned(), number));
    }

    /// Writes into the log what this process is at, because it ends by itself over a part that hangs.
    pub fn dump(&self, why: &str) {
        dump::log(&self.0.tasks, why);
    }

    /// Resolves when this process is to stop.
    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        &self.0.shutdown
    }

    /// Tells the root that this service is ready to be called at [`ServiceContext::endpoint_path`], which must be bound
    /// by now, and starts the heartbeats. Once only. Should the root die meanwhile, it waits for the next one; when the
    /// process is to stop before one came, that is no error.
    pub async fn register(&self) -> Result<(), ServiceError> {
        self.register_protocol(0).await
    }

    /// The same, naming the protocol number of the service's own contract.
    pub async fn register_protocol(&self, protocol: u32) -> Result<(), ServiceError> {
        if self.0.registered.swap(true, Ordering::Relaxed) {
            return Err(ServiceError::RegisteredTwice);
        }
        if let Some(line) = Line::first(self.clone(), protocol).await.map_err(ServiceError::Register)? {
            tracing::info!(service = self.name(), pid = std::process::id(), "ready");
            // Ends with the runtime. If it panicked, the root would miss the heartbeats and restart this process.
            let task = self.0.tasks.begin("heartbeats");
            tokio::spawn(async move { task.run(line.keep()).await });
        }
        Ok(())
    }

    /// Tells the root that this process, a successor, could take the service over, or why it can't. After `Ok` to the former it may have the
    /// process before it leave, and has to take its place.
    pub async fn stand_by(&self, protocol: u32, trouble: Option<String>) -> Result<(), ServiceError> {
        let said = async {
            let registry = Registry::connect_in(&self.0.runtime, STAND_BY_DEADLINE).await?;
            registry.stand_by(self.registration(protocol), trouble, STAND_BY_DEADLINE).await
        };
        said.await.map_err(ServiceError::Register)
    }

    /// Becomes the service as soon as the process before this one has let go of it, which it does at the latest with its end.
    pub async fn take_over(&self, patience: Duration) -> Result<(), ServiceError> {
        let path = self.0.runtime.service_lock(self.name());
        let deadline = tokio::time::Instant::now() + patience;
        let lock = loop {
            match PidLock::acquire(&path) {
                Ok(lock) => break lock,
                Err(PidLockError::Held { .. }) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(TAKE_OVER_LOOK).await;
                }
                Err(error) => return Err(error.into()),
            }
        };
        // Whoever looks for the service's process from now on, finds this one. Without a record the next root will not adopt it.
        let _ = std::fs::rename(self.0.runtime.successor_record(self.name()), self.0.runtime.service_record(self.name()));
        *self.0.lock.lock().unwrap_or_else(PoisonError::into_inner) = Some(lock);
        Ok(())
    }

    /// Waits as long as this process has a root, and ends it when it has had none for too long. Runs beside the service.
    pub(crate) async fn mind_the_root(self) {
        let grace = self.0.args.orphan_grace;
        loop {
            self.0.link.until_lost().await;
            if !self.0.shutdown.is_triggered() {
                let grace_s = grace.as_secs_f64();
                tracing::warn!(service = self.name(), grace_s, "dccd-root is gone; going on, and waiting for the next one");
            }
            if tokio::time::timeout(grace, self.0.link.until_attached()).await.is_err() {
                if !self.0.shutdown.is_triggered() {
                    let waited_s = grace.as_secs_f64();
                    tracing::warn!(service = self.name(), waited_s, "no dccd-root has come; ending");
                }
                self.0.shutdown.trigger(ShutdownReason::RootGone);
                return;
            }
        }
    }

    /// Tells the root that this process is about to exit. Failing is harmless: the root sees the exit itself.
    pub(crate) async fn deregister(&self, reason: &str) {
        if !self.0.link.is_attached() {
            // An end in order: the next root is to find nothing that looks like a crash. Ours alone, while we hold the lock.
            let _ = std::fs::remove_file(self.0.runtime.service_record(self.name()));
            return;
        }
        if !self.0.registered.load(Ordering::Relaxed) {
            return;
        }
        let flushed = self.0.flushed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let said = async {
            Registry::connect_in(&self.0.runtime, Duration::from_secs(1))
                .await?
                .deregister(self.name(), reason, flushed, Duration::from_secs(1))
                .await
        };
        if let Err(error) = said.await {
            tracing::debug!(error = &error as &dyn std::error::Error, "dccd-root took no farewell");
        }
    }

    /// This process has a root, or had one.
    pub(crate) fn link(&self) -> &Link {
        &self.0.link
    }

    /// What this process says of itself to a root.
    pub(crate) fn registration(&self, protocol: u32) -> Registration {
        Registration {
            name: self.name().to_owned(),
            pid: std::process::id(),
            endpoint: Endpoint::unix(&self.endpoint_path()),
            version: BUILD.to_owned(),
            protocol,
            token: self.0.token.clone(),
            degraded: self.0.progress.trouble(),
        }
    }
}
