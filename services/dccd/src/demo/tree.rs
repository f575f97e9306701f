//! The demo's process tree: a real root, started as `dccd start` starts it, with a directory and an instance of its own.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use dccd_registry::{Registry, RuntimeDir, connect_datad};
use dccd_rpc::datad::DatadClient;
use dccd_rpc::{call, context};

use super::screen::Look;

/// The service that collects.
pub const COLLECTOR: &str = "datad.binance";
/// Patience with the tree getting ready.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// Patience with one question.
const CALL_DEADLINE: Duration = Duration::from_secs(2);
/// Patience with the tree flushing and ending.
const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// A running tree.
pub struct Tree {
    root: Child,
    registry: Registry,
    runtime_dir: RuntimeDir,
    data_path: PathBuf,
    collector: Option<DatadClient>,
}

impl Tree {
    /// Writes a configuration and starts the root with it; returns when the collector is ready.
    pub async fn start(directory: &Path, rest_url: &str, ws_url: &str, symbols: &[String]) -> anyhow::Result<Self> {
        let data_path = directory.join("data");
        let config = directory.join("config.yml");
        let text = configuration(&data_path, rest_url, ws_url, symbols);
        std::fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
        let instance = format!("demo-{}", std::process::id());
        let runtime_dir = RuntimeDir::resolve(&instance)?;
        let log = directory.join("dccd-root.log");
        let stderr = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let root = Command::new(std::env::current_exe().context("cannot find this executable on the disk")?)
            .args(["start", "--foreground", "--stop-at-end-of-input", "--instance", &instance, "--config"])
            .arg(&config)
            // The demo ends it in order. Should the demo itself be killed, the end of this pipe does.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(stderr)
            // Ctrl-C is for the demo alone.
            .process_group(0)
            .spawn()
            .context("cannot start dccd-root")?;
        let mut root = Reaped(Some(root));
        let registry = connect(&runtime_dir, &mut root, &log).await?;
        registry.ensure(COLLECTOR, START_DEADLINE).await.with_context(|| format!("{COLLECTOR} does not get ready"))?;
        let root = root.0.take().ok_or_else(|| anyhow!("dccd-root is gone"))?;
        Ok(Self { root, registry, runtime_dir, data_path, collector: None })
    }

    /// The store.
    pub fn data_path(&self) -> &Path {
        &self.data_path
    }

    /// Where the collector's log is.
    pub fn log(&self) -> String {
        dccd_service::log::file(&self.data_path, COLLECTOR).display().to_string()
    }

    /// A look at the tree. The collector may be away; the root may not.
    pub async fn look(&mut self) -> anyhow::Result<Look> {
        let services = self.registry.list(CALL_DEADLINE).await?;
        let mut look = Look { services, ..Look::default() };
        if self.collector.is_none() {
            let socket = self.runtime_dir.service_socket(COLLECTOR);
            self.collector = connect_datad(COLLECTOR, &socket, CALL_DEADLINE).await.ok();
        }
        if let Some(client) = &self.collector {
            let feeds = call(COLLECTOR, "feeds", client.feeds(context(CALL_DEADLINE))).await;
            let stats = call(COLLECTOR, "stats", client.stats(context(CALL_DEADLINE))).await;
            match (feeds, stats) {
                (Ok(feeds), Ok(stats)) => {
                    look.feeds = feeds;
                    look.stats = Some(stats);
                }
                _ => self.collector = None,
            }
        }
        Ok(look)
    }

    /// `kill -9` of a process of the tree.
    pub fn kill(&self, pid: u32) -> anyhow::Result<()> {
        let pid = i32::try_from(pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .ok_or_else(|| anyhow!("{pid} is no process"))?;
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).context("cannot kill the collector")
    }

    /// Stops everything in order; returns when it is flushed and gone.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let stopped = self.registry.stop(false, Some(STOP_DEADLINE)).await;
        // The end of its input ends a root that could not be asked.
        drop(self.root.stdin.take());
        let started = Instant::now();
        while self.root.try_wait()?.is_none() {
            if started.elapsed() > STOP_DEADLINE {
                self.root.kill()?;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let _ = std::fs::remove_dir_all(self.runtime_dir.path()); // its own, named after this process
        stopped.map(drop).context("the tree did not stop in order")
    }
}

/// Kills the root when the demo gives up before the tree stands.
struct Reaped(Option<Child>);

impl Drop for Reaped {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill(); // it may have ended by itself
            let _ = child.wait();
        }
    }
}

async fn connect(runtime_dir: &RuntimeDir, root: &mut Reaped, log: &Path) -> anyhow::Result<Registry> {
    let started = Instant::now();
    loop {
        if let Ok(registry) = Registry::connect_in(runtime_dir, CALL_DEADLINE).await {
            return Ok(registry);
        }
        let ended = root.0.as_mut().map(Child::try_wait).transpose()?.flatten();
        if let Some(status) = ended {
            let said = std::fs::read_to_string(log).unwrap_or_default();
            return Err(anyhow!("dccd-root ended ({status}):\n{}", said.trim_end()));
        }
        if started.elapsed() > START_DEADLINE {
            return Err(anyhow!("dccd-root does not answer after {START_DEADLINE:?}; its log: {}", log.display()));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn configuration(data_path: &Path, rest_url: &str, ws_url: &str, symbols: &[String]) -> String {
    format!(
        "settings:\n  data_path: {}\nstream_jobs:\n  - exchange: binance\n    pairs: [{}]\n    channels: [trades, book, quotes]\n    \
         time_step: 2\nexchanges:\n  binance:\n    rest_url: {rest_url}\n    ws_url: {ws_url}\n\
         daemon: {{orphan_grace: 0}}\n", // nobody comes back to a demo
        serde_json::Value::from(data_path.display().to_string()),
        symbols.join(", "),
    )
}
