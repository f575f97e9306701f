//! A process tree of its own: directory, instance, configuration, the root and what it started.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use dccd_registry::{Registry, RuntimeDir, connect_datad};
use dccd_rpc::datad::{DatadClient, FeedInfo, Stats};
use dccd_rpc::root::ServiceInfo;
use dccd_rpc::{CallError, call, context};
use dccd_sim::audit::Audit;
use dccd_testkit::wait_for;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::runtime::Runtime;

use crate::{Exchange, PATIENCE, Setup};

/// The service that collects from Binance.
pub const COLLECTOR: &str = "datad.binance";
/// Patience with one question.
const CALL_DEADLINE: Duration = Duration::from_secs(5);
/// What is there again may first have had to be given up: a root waits ten seconds for word of a process that it adopts, and as long as
/// the configuration says until that has stopped.
const READY_PATIENCE: Duration = Duration::from_secs(90);
/// The collector has everything when its counters stood still this long.
const CALM: Duration = Duration::from_millis(500);

/// A directory, an instance, and the executable in them: its own home and runtime directory, nothing of the host's.
#[derive(Debug)]
pub struct Place {
    /// What `$XDG_RUNTIME_DIR` is.
    run: PathBuf,
    directory: tempfile::TempDir,
    instance: String,
}

/// What a command gave.
#[derive(Debug)]
pub struct Ran {
    /// The exit code.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// A running root, its services, and questions to them.
#[derive(Debug)]
pub struct Tree {
    place: Place,
    root: Option<Child>,
    runtime: Runtime,
    runtime_dir: RuntimeDir,
    data_path: PathBuf,
    /// The exchange that it collects from.
    exchange: String,
    /// A root of this tree was killed: the processes that the next one adopts are not its children.
    root_was_killed: bool,
}

impl Place {
    /// An empty one.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let directory = tempfile::Builder::new().prefix("dccd-tree-").tempdir().unwrap();
        let run = directory.path().join("run");
        std::fs::create_dir(&run).unwrap();
        std::fs::set_permissions(&run, PermissionsExt::from_mode(0o700)).unwrap();
        let instance = format!("test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self { run, directory, instance }
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The name of its instance.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Uses another place's runtime directory: two stores on one host, of one user.
    pub fn share_runtime(&mut self, run: &Path) {
        self.run = run.to_owned();
    }

    /// Writes a file below its directory.
    pub fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The executable with arguments, of this instance, not yet started.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.foreign(args);
        command.args(["--instance", &self.instance]);
        command
    }

    /// The same of whatever instance the arguments name.
    #[must_use]
    pub fn foreign(&self, args: &[&str]) -> Command {
        let mut command = Command::new(dccd_testkit::dccd_binary());
        command.args(args).current_dir(self.path());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path()).env("XDG_RUNTIME_DIR", &self.run).env("TZ", "UTC");
        command
    }

    /// Runs a command of this instance to its end.
    #[must_use]
    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::from(self.command(args).output().unwrap())
    }

    /// The rings of its instance that are there.
    #[must_use]
    pub fn rings(&self) -> Vec<String> {
        dccd_ring::list(Some(&self.instance)).unwrap().into_iter().map(|ring| ring.name).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What a test that failed halfway left behind.
        let _ = dccd_ring::sweep(Some(&self.instance));
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Ran {
    /// Fails unless the code is this one.
    #[track_caller]
    #[must_use]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Standard output as the one JSON document that it must be.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}\nstderr:\n{}", self.out, self.err))
    }
}

impl Tree {
    /// Writes the configuration and starts a root in a place of its own; returns when the collector is registered.
    #[track_caller]
    #[must_use]
    pub fn start(setup: &Setup) -> Self {
        Self::start_in(Place::new(), setup)
    }

    /// The same in this place.
    #[track_caller]
    #[must_use]
    pub fn start_in(place: Place, setup: &Setup) -> Self {
        let data_path = setup.data_path.clone().unwrap_or_else(|| place.path().join("data"));
        let text = setup.text(&data_path);
        Self::start_with(place, data_path, &text, &setup.name)
    }

    /// The same with this configuration; the collector is that of this exchange until [`Self::look_at`] says another.
    #[track_caller]
    #[must_use]
    pub fn start_with(place: Place, data_path: PathBuf, config: &str, exchange: &str) -> Self {
        place.put("config.yml", config);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let runtime_dir = RuntimeDir::at(place.path().join("run/dccd").join(place.instance()));
        let mut tree = Self {
            place,
            root: None,
            runtime,
            runtime_dir,
            data_path,
            exchange: exchange.to_owned(),
            root_was_killed: false,
        };
        tree.start_root();
        tree
    }

    /// Starts the root, again after its end.
    #[track_caller]
    pub fn start_root(&mut self) {
        let stderr = File::options().append(true).create(true).open(self.root_log()).unwrap();
        let mut command = self.place.command(&["start", "--foreground", "--stop-at-end-of-input"]);
        command.arg("--config").arg(self.place.path().join("config.yml"));
        // The end of this pipe ends the tree, should the test die.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(stderr).process_group(0);
        self.root = Some(command.spawn().unwrap());
        self.wait_ready(None);
    }

    /// Waits until the collector is registered, by another process than `old`; its pid.
    #[track_caller]
    pub fn wait_ready(&mut self, old: Option<u32>) -> u32 {
        let service = self.service();
        let found = wait_for(
            READY_PATIENCE,
            || {
                if let Some(status) = self.root.as_mut().and_then(|root| root.try_wait().unwrap()) {
                    panic!("the root ended ({status}):\n{}", self.root_said());
                }
                self.services()
            },
            |services| {
                let found = services.iter().flatten().find(|s| s.name == service);
                found.is_some_and(|s| s.state.is_ready() && s.pid.is_some() && s.pid != old)
            },
        );
        found.into_iter().flatten().find(|s| s.name == service).and_then(|s| s.pid).unwrap()
    }

    /// From now on "the collector" is that of this exchange.
    pub fn look_at(&mut self, exchange: &str) {
        exchange.clone_into(&mut self.exchange);
    }

    fn service(&self) -> String {
        format!("datad.{}", self.exchange)
    }

    /// Directory and instance.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The store.
    #[must_use]
    pub fn data_path(&self) -> &Path {
        &self.data_path
    }

    fn root_log(&self) -> PathBuf {
        self.place.path().join("dccd-root.log")
    }

    /// What the root has logged so far.
    #[must_use]
    pub fn root_said(&self) -> String {
        std::fs::read_to_string(self.root_log()).unwrap_or_default()
    }

    /// The collector's log so far.
    #[must_use]
    pub fn log(&self) -> String {
        let path = self.data_path.join(".dccd/logs").join(format!("{}.log", self.service()));
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// Runs a command of this instance to its end.
    #[must_use]
    pub fn run(&self, args: &[&str]) -> Ran {
        self.place.run(args)
    }

    /// The root's list; `None` while it doesn't answer.
    #[must_use]
    pub fn services(&self) -> Option<Vec<ServiceInfo>> {
        self.runtime.block_on(async {
            let registry = Registry::connect_in(&self.runtime_dir, CALL_DEADLINE).await.ok()?;
            registry.list(CALL_DEADLINE).await.ok()
        })
    }

    /// The collector in the root's list.
    #[must_use]
    pub fn collector(&self) -> Option<ServiceInfo> {
        self.services()?.into_iter().find(|s| s.name == self.service())
    }

    /// The root's process.
    #[must_use]
    pub fn root_pid(&self) -> u32 {
        self.root.as_ref().expect("the root runs").id()
    }

    /// A connection to the collector, and what is to be asked on it.
    ///
    /// # Errors
    /// In words, why the collector can't be asked.
    pub fn ask<T, F>(&self, what: &'static str, question: impl FnOnce(DatadClient) -> F) -> Result<T, String>
    where
        F: Future<Output = Result<Result<T, dccd_rpc::RpcError>, tarpc::client::RpcError>>,
    {
        self.runtime.block_on(async {
            let service = self.service();
            let socket = self.runtime_dir.service_socket(&service);
            let client = connect_datad(&service, &socket, CALL_DEADLINE).await.map_err(|e| e.to_string())?;
            call(&service, what, question(client)).await.map_err(|e: CallError| e.to_string())
        })
    }

    /// The collector's counters; `None` while it is away.
    #[must_use]
    pub fn stats(&self) -> Option<Stats> {
        self.ask("stats", |c| async move { c.stats(context(CALL_DEADLINE)).await }).ok()
    }

    /// The collector's feeds; none while it is away.
    #[must_use]
    pub fn feeds(&self) -> Vec<FeedInfo> {
        self.ask("feeds", |c| async move { c.feeds(context(CALL_DEADLINE)).await }).unwrap_or_default()
    }

    /// Everything received so far goes into files.
    #[track_caller]
    pub fn flush(&self) {
        self.ask("flush", |c| async move { c.flush(context(PATIENCE)).await }).unwrap();
    }

    /// Waits until so many feeds are live and have delivered, books valid.
    #[track_caller]
    pub fn wait_live(&self, count: usize) -> Vec<FeedInfo> {
        self.wait_live_for(count, PATIENCE)
    }

    /// The same with this patience: many feeds take an exchange's limits of connections and messages to open.
    #[track_caller]
    pub fn wait_live_for(&self, count: usize, patience: Duration) -> Vec<FeedInfo> {
        wait_for(patience, || self.feeds(), |feeds| all_live(feeds, count))
    }

    /// Waits until every feed has records that are newer than now: whatever was lost before shows.
    #[track_caller]
    pub fn wait_fresh(&self, count: usize) {
        let before = self.wait_live(count);
        let newest = |feeds: &[FeedInfo], of: &FeedInfo| {
            feeds.iter().find(|f| f.symbol == of.symbol && f.channel == of.channel).map_or(0, |f| f.last_recv)
        };
        wait_for(
            PATIENCE,
            || self.feeds(),
            |feeds| all_live(feeds, count) && before.iter().all(|old| newest(feeds, old) > old.last_recv),
        );
    }

    /// Sends a process of the tree a `kill -9`.
    pub fn kill(&self, pid: u32) {
        kill_process(pid_of(pid), Signal::KILL).unwrap();
    }

    /// Kills the root and waits for its end; its services live on.
    pub fn kill_root(&mut self) {
        let mut root = self.root.take().expect("the root runs");
        root.kill().unwrap();
        root.wait().unwrap();
        self.root_was_killed = true;
    }

    /// Tells the root to end, and waits until it has, with everything that it looks after.
    pub fn end_root(&mut self, signal: Signal) {
        let mut root = self.root.take().expect("the root runs");
        kill_process(pid_of(root.id()), signal).unwrap();
        wait_for(PATIENCE, || root.try_wait().unwrap(), Option::is_some);
    }

    /// The instance's runtime directory.
    #[must_use]
    pub fn runtime_path(&self) -> &Path {
        self.runtime_dir.path()
    }

    /// Whether a process exists.
    #[must_use]
    pub fn exists(pid: u32) -> bool {
        test_kill_process(pid_of(pid)).is_ok()
    }

    /// Stops the market and waits until the collector has taken in what was sent, and has fetched what trades it missed but
    /// for at most `lost` of them, which the exchange doesn't have; [`u64::MAX`] where its ids don't count.
    #[track_caller]
    pub fn drain(&self, exchange: &Exchange, lost: u64) {
        exchange.pause();
        wait_for(PATIENCE, || exchange.stats().queued_bytes, |bytes| *bytes == 0);
        self.settle(lost);
    }

    /// The second half of [`Tree::drain`].
    #[track_caller]
    pub fn settle(&self, lost: u64) {
        let mut calm: Option<(Instant, u64)> = None;
        wait_for(
            PATIENCE,
            || self.stats(),
            |stats| match (stats, calm) {
                (Some(s), Some((since, frames))) if s.frames == frames && s.recorder_lag_bytes == 0 => {
                    since.elapsed() >= CALM
                }
                (stats, _) => {
                    calm = stats.as_ref().map(|s| (Instant::now(), s.frames));
                    false
                }
            },
        );
        if lost == u64::MAX {
            return self.flush();
        }
        wait_for(
            PATIENCE,
            || {
                self.flush();
                self.trades_not_stored()
            },
            |missing| missing.is_some_and(|missing| missing <= lost),
        );
    }

    /// Trade ids between a series' first and last that are in none of its files; `None` where a file went while it was read.
    #[must_use]
    pub fn trades_not_stored(&self) -> Option<u64> {
        let mut ids: BTreeMap<String, BTreeSet<u128>> = BTreeMap::new();
        for root in [format!("{}/trades", self.exchange), format!(".dccd/parts/{}/trades", self.exchange)] {
            for pair in list(&self.data_path.join(root)) {
                let ids = ids.entry(pair.file_name()?.to_string_lossy().into_owned()).or_default();
                // Parts lie in a directory for each day.
                let files = list(&pair).into_iter().flat_map(|path| if path.is_dir() { list(&path) } else { vec![path] });
                for file in files.filter(|file| file.extension().is_some_and(|e| e == "parquet")) {
                    for row in dccd_store::read_trades(&file).ok()? {
                        ids.insert(row.ok()?.id.0);
                    }
                }
            }
        }
        let hole = |ids: &BTreeSet<u128>| Some(ids.last()? - ids.first()? + 1 - ids.len() as u128);
        u64::try_from(ids.values().filter_map(hole).sum::<u128>()).ok()
    }

    /// Waits until every gap in trades is made good, where it is the exchange's quota that says how long that takes.
    #[track_caller]
    pub fn wait_repaired(&self) {
        let open = || {
            self.flush();
            let rows = dccd_store::inventory(&self.data_path).unwrap();
            rows.iter().filter(|row| row.kind == "trades").map(|row| row.gaps).sum::<u64>()
        };
        wait_for(PATIENCE * 4, open, |open| *open == 0);
    }

    /// Trade ids that the store declares missing.
    #[must_use]
    pub fn missing_trades(&self) -> u64 {
        dccd_store::inventory(&self.data_path).unwrap().iter().filter_map(|row| row.missing).sum()
    }

    /// `dccd stop`: everything goes in order and leaves nothing behind.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        let stopped = self.run(&["stop"]).code(0);
        let gone = |exit| stopped.err.contains(&format!("{} is gone ({exit})", self.service()));
        assert!(gone("exit 0") || (self.root_was_killed && gone("exit unknown, adopted")), "{}", stopped.err);
        let mut root = self.root.take().expect("the root runs");
        let status = wait_for(PATIENCE, || root.try_wait().unwrap(), Option::is_some).unwrap();
        assert!(status.success(), "{status}:\n{}", self.root_said());
        assert_eq!(self.place.rings(), [""; 0], "rings are left behind");
        assert_eq!(self.left_behind(), [""; 0], "sockets or records are left behind");
        status
    }

    /// Sockets in the runtime directory, and what a root has written down of its services.
    #[must_use]
    pub fn left_behind(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.runtime_dir.path()).into_iter().flatten();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| [".sock", ".child", ".next"].iter().any(|end| name.ends_with(end))).collect()
    }

    /// What was sent against what is stored; fails unless it is clean, and prints its numbers.
    #[track_caller]
    pub fn audit(&self, exchange: &mut Exchange) -> Audit {
        exchange.stop();
        let audit = dccd_sim::audit::audit(&exchange.ledger(), &self.data_path, &self.exchange).unwrap();
        let total = audit.total();
        println_total(&audit);
        assert!(audit.is_clean(), "{audit}\n{:#?}\n{}", total.problems, self.log());
        assert!(total.sent > 0, "nothing was sent");
        audit
    }

    /// `dccd verify`, which must find nothing.
    #[track_caller]
    pub fn verify(&self) {
        let verified = self.run(&["verify", "--json"]);
        assert_eq!((verified.code, &verified.json()["clean"]), (Some(0), &true.into()), "{}{}", verified.out, verified.err);
    }

    /// Fails for every warning or error in the collector's log that has none of these words.
    #[track_caller]
    pub fn quiet(&self, but_for: &[&str]) {
        let log = self.log();
        assert!(log.contains("INFO"), "the log is empty");
        let loud = |line: &&str| line.contains(" WARN ") || line.contains("ERROR");
        let unexpected: Vec<&str> =
            log.lines().filter(loud).filter(|line| !but_for.iter().any(|words| line.contains(words))).collect();
        assert!(unexpected.is_empty(), "not expected in the log:\n{}", unexpected.join("\n"));
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if let Some(mut root) = self.root.take() {
            drop(root.stdin.take());
            let started = Instant::now();
            while started.elapsed() < PATIENCE && matches!(root.try_wait(), Ok(None)) {
                std::thread::sleep(dccd_testkit::POLL_INTERVAL);
            }
            let _ = root.kill(); // it may have ended by itself
            let _ = root.wait();
        }
        // What a root that was killed has left, where a test failed halfway.
        if !self.runtime_dir.recorded_services().is_empty() {
            let _ = self.run(&["stop", "--force"]);
        }
    }
}

fn all_live(feeds: &[FeedInfo], count: usize) -> bool {
    feeds.len() == count
        && feeds.iter().all(|f| f.state == "live" && f.last_recv > 0 && f.book_state.as_deref().is_none_or(|s| s == "valid"))
}

/// What lies in a directory; nothing where there is none.
fn list(path: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(path).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
}

fn pid_of(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

#[allow(clippy::print_stdout, reason = "a test's own output")]
fn println_total(audit: &Audit) {
    let t = audit.total();
    println!("audit: {audit}; gaps {} open, {} made good", t.gaps, t.repaired);
}
