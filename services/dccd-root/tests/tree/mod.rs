//! A root inside the test's process, with services that are real processes, in a temporary directory.
#![allow(dead_code, unreachable_pub, reason = "shared by several test files, each of which uses its part")]

pub mod process;

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dccd_registry::{Registry, RuntimeDir};
use dccd_root::{Ended, Limits, Options, Policy, RestartOptions, Root, RootError, ServiceSpec, Supervision};
use dccd_rpc::root::{ServiceInfo, ServiceState, StopReport};
use dccd_service::log::LogFiles;
use dccd_service::{PidLock, ServiceArgs, Shutdown};
use tokio::task::JoinHandle;

/// Patience of every wait in the tests.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const EXECUTABLE: &str = env!("CARGO_BIN_EXE_test-service");

/// Short delays everywhere, long enough for a busy machine.
pub fn quick() -> Supervision {
    Supervision {
        restart: RestartOptions {
            base_delay: Duration::from_millis(40),
            max_delay: Duration::from_millis(200),
            ..RestartOptions::default()
        },
        heartbeat_interval: Duration::from_millis(50),
        shutdown_timeout: Duration::from_secs(10),
        ..Supervision::default()
    }
}

/// A directory with a runtime directory and a store in it.
pub struct Place {
    pub dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(place.data()).unwrap();
        place
    }

    pub fn runtime(&self) -> RuntimeDir {
        RuntimeDir::at(self.dir.path().join("run"))
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Says how a service behaves from its next start on.
    pub fn mode(&self, name: &str, mode: &str) {
        fs::write(self.data().join(format!("{name}.mode")), mode).unwrap();
    }

    /// Lines the services have noted in a file.
    pub fn notes(&self, file: &str) -> Vec<String> {
        fs::read_to_string(self.data().join(file)).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.data().join(".dccd/logs").join(format!("{name}.log"))).unwrap_or_default()
    }

    pub fn spec(&self, name: &str, policy: Policy, eager: bool) -> ServiceSpec {
        let args = ServiceArgs {
            name: name.to_owned(),
            instance: "test".to_owned(),
            runtime_dir: self.runtime().path().to_owned(),
            data_path: self.data(),
            config_path: Some(self.data().join(format!("{name}.mode"))),
            log_level: "info".to_owned(),
            log_json: false,
            log_files: LogFiles::default(),
            orphan_grace: dccd_service::ORPHAN_GRACE_DEFAULT,
            succeeds: None,
        };
        ServiceSpec {
            name: name.to_owned(),
            args: args.to_args(),
            policy,
            hands_over: false,
            eager,
            limits: Limits::default(),
            fixed: String::new(),
            fingerprint: String::new(),
            protocol: Some(0),
        }
    }

    pub fn options(&self, services: &[ServiceSpec]) -> Options {
        let mut options = Options::new("test", self.runtime(), self.data(), EXECUTABLE.into());
        options.services = services.to_vec();
        options.supervision = quick();
        options
    }
}

impl Drop for Place {
    /// What a test that failed halfway has left without a root goes with its directory.
    fn drop(&mut self) {
        for name in self.runtime().recorded_services() {
            if let Ok(Some(pid)) = PidLock::holder(&self.runtime().service_lock(&name)) {
                let _ = rustix::process::kill_process(pid_of(pid), rustix::process::Signal::KILL);
            }
        }
    }
}

/// A running root.
pub struct Tree {
    pub place: Place,
    pub registry: Registry,
    pub shutdown: Shutdown,
    pub task: JoinHandle<Result<Ended, RootError>>,
}

impl Tree {
    /// Starts a root with these services.
    pub async fn start(place: Place, services: &[ServiceSpec]) -> Self {
        let options = place.options(services);
        Self::start_with(place, options).await
    }

    pub async fn start_with(place: Place, options: Options) -> Self {
        let shutdown = Shutdown::new();
        let task = tokio::spawn(Root::new(options).run(shutdown.clone()));
        let runtime = place.runtime();
        let registry = wait_for("the root's socket", async || Registry::connect_in(&runtime, PATIENCE).await.ok()).await;
        Self { place, registry, shutdown, task }
    }

    pub async fn info(&self, name: &str) -> ServiceInfo {
        self.registry.list(PATIENCE).await.unwrap().into_iter().find(|info| info.name == name).unwrap()
    }

    /// Waits until a service's line fulfils a condition.
    pub async fn until(&self, name: &str, what: &str, condition: impl Fn(&ServiceInfo) -> bool) -> ServiceInfo {
        wait_for(&format!("{name} {what}"), async || Some(self.info(name).await).filter(|info| condition(info))).await
    }

    pub async fn until_state(&self, name: &str, state: ServiceState) -> ServiceInfo {
        self.until(name, state.as_str(), |info| info.state == state).await
    }

    /// Stops the root as SIGTERM would.
    pub async fn stop(self) -> (Place, StopReport) {
        self.shutdown.trigger(dccd_service::ShutdownReason::Terminate);
        let ended = tokio::time::timeout(PATIENCE, self.task).await.expect("the root stops").unwrap().unwrap();
        (self.place, report(ended))
    }

    /// Lets the root hand over: its services go on, without a root for now.
    pub async fn hand_over(self) -> Place {
        self.registry.hand_over(PATIENCE).await.unwrap();
        let ended = tokio::time::timeout(PATIENCE, self.task).await.expect("the root ends").unwrap().unwrap();
        assert_eq!(ended, Ended::HandedOver);
        self.place
    }
}

/// How a root that was stopped has stopped.
pub fn report(ended: Ended) -> StopReport {
    match ended {
        Ended::Stopped(report) => report,
        Ended::HandedOver => panic!("nobody asked for that"),
    }
}

/// Asks until the answer is there; a timeout says what was missing.
pub async fn wait_for<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < until, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn send(pid: u32, signal: rustix::process::Signal) {
    rustix::process::kill_process(pid_of(pid), signal).unwrap();
}

/// Whether a process is there and not a zombie.
pub fn alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !matches!(stat.rsplit_once(") ").map(|(_, rest)| rest.as_bytes()[0]), Some(b'Z' | b'X') | None))
}

fn pid_of(pid: u32) -> rustix::process::Pid {
    rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

pub fn mode_of(path: &Path) -> u32 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).unwrap().mode() & 0o7777
}
