//! `dccd start`: the root in this process, or detached in one of its own.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use dccd_config::{Config, LogFormat};
use dccd_registry::{Registry, RegistryError, RuntimeDir};
use dccd_root::{BootGuard, Ended, NOTIFY_VARIABLES, Root, RootError};
use dccd_rpc::root::{ROOT_NAME, ServiceInfo, ServiceState, StopReport};
use dccd_service::log::{LogFiles, LogOptions, Output};
use dccd_service::{RotatingFile, Shutdown, ShutdownReason};
use tokio::time::Instant;

use crate::cli::Global;
use crate::commands::{DEADLINE, block_on, registry_if_running, stop, tail};
use crate::exit::{self, Failure};
use crate::output::say;
use crate::pid_file::PidFile;
use crate::roles;

/// Patience with everything getting ready; the root gives up on a service after 30 s.
const READY_DEADLINE: Duration = Duration::from_secs(90);
/// How often a root that doesn't listen yet is looked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Patience with a root that broke off, before it is taken for one that merely doesn't answer.
const END_DEADLINE: Duration = Duration::from_secs(2);
/// Patience with what is stopped again because something didn't start.
const UNDO_DEADLINE: Duration = Duration::from_secs(10);
/// Lines of a log that explain a failure.
const LOG_LINES: usize = 15;

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Return as soon as every service is ready, and leave it running
    #[arg(long, conflicts_with = "foreground")]
    detach: bool,
    /// Stay in the foreground until a signal (this is the default)
    #[arg(long)]
    foreground: bool,
    /// Leave the session of who started it (what --detach starts)
    #[arg(long, hide = true, requires = "foreground")]
    own_session: bool,
    /// Stop when standard input ends (what the demo starts)
    #[arg(long, hide = true, requires = "foreground")]
    stop_at_end_of_input: bool,
}

/// Starts it.
pub fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    if arguments.detach {
        return detached(global);
    }
    let report = foreground(global, arguments).map_err(Failure::at_start)?;
    stop::killed(&report).map_or(Ok(()), |error| Err(error.into()))
}

/// Runs the root until it is stopped; how that went.
fn foreground(global: &Global, arguments: &Arguments) -> Result<StopReport, Failure> {
    if arguments.own_session {
        // Fails only for the leader of a group, which is in no danger from its terminal either.
        let _ = rustix::process::setsid();
    }
    let again = Again::new()?;
    let loaded = global.load_aloud()?;
    let config = &loaded.config;
    let level = global.log_level.clone().unwrap_or_else(|| config.daemon.log_level.to_string());
    let log_files = roles::log_files(config);
    let (log, rotation) = (log_files.of(config.data_path(), ROOT_NAME), log_files.rotation);
    if config.daemon.log_file.is_some() {
        // The other logs are written beside the data, or nothing is.
        RotatingFile::new(log.clone(), rotation)
            .handle()
            .with_context(|| format!("cannot write {} (daemon.log_file)", log.display()))?;
    }
    let is_detached = arguments.own_session;
    dccd_service::log::init(LogOptions {
        level,
        json: config.daemon.log_format == LogFormat::Json,
        name: log_files.name(ROOT_NAME),
        // A detached root's standard error is that very file.
        output: if is_detached { Output::File(log, rotation) } else { Output::FileAndStderr(log, rotation) },
    })?;
    dccd_service::process::set_title(ROOT_NAME);
    if let Some(directory) = &config.daemon.work_dir {
        std::env::set_current_dir(directory)
            .with_context(|| format!("cannot work in {} (daemon.work_dir)", directory.display()))?;
    }
    let runtime_dir = RuntimeDir::resolve(&global.instance)?;
    let shutdown = Shutdown::new();
    if arguments.stop_at_end_of_input {
        stop_at_end_of_input(shutdown.clone())?;
    }
    // Only who has a terminal can lose it; to others SIGHUP says what it says to every daemon.
    let hangs_up = std::fs::File::open("/dev/tty").is_ok();
    loop {
        let common = roles::Common {
            instance: global.instance.clone(),
            runtime_dir: runtime_dir.clone(),
            log_level: global.log_level.clone(),
        };
        let mut options = roles::root_options(&loaded, common)?;
        options.reload_on_hangup = !hangs_up;
        if let Some(path) = config.daemon.pid_file.clone() {
            options
                .boot_guards
                .push(BootGuard { what: "the pid file", acquire: Box::new(move || Ok(Box::new(PidFile::write(path)?))) });
        }
        let ended = block_on(async {
            let listening = if hangs_up { shutdown.trigger_on_signals() } else { shutdown.trigger_on_orders() };
            listening.context("cannot listen for signals")?;
            Root::new(options).run(shutdown.clone()).await.map_err(root_failure)
        })?;
        match ended {
            Ended::Stopped(report) => return Ok(report),
            // Told to stop just then: the next root, in this process, adopts the services and stops them.
            Ended::HandedOver if shutdown.is_triggered() => {}
            Ended::HandedOver => {
                let error = again.replace_this_process();
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "cannot start the executable anew; going on with the present one");
            }
        }
    }
}

/// How this process was started, to do it again: the same pid, arguments and terminal, another executable if the file was replaced.
struct Again {
    executable: PathBuf,
    directory: PathBuf,
}

impl Again {
    /// Remembers it. Call it first: later the file may have been replaced, and the directory is another.
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            executable: std::env::current_exe().context("cannot find this executable on the disk")?,
            directory: std::env::current_dir().context("cannot tell the current directory")?,
        })
    }

    /// Returns only if it can't be done.
    fn replace_this_process(&self) -> std::io::Error {
        let mut args = std::env::args_os();
        let mut command = Command::new(&self.executable);
        command.arg0(args.next().unwrap_or_else(|| ROOT_NAME.into())).args(args);
        command.current_dir(&self.directory).exec()
    }
}

/// Lets the end of standard input stop the root: whoever started it is gone.
fn stop_at_end_of_input(shutdown: Shutdown) -> anyhow::Result<()> {
    // A plain thread, because reading may block for ever. It ends with the process.
    let watch = move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()); // an error is an end, too
        shutdown.trigger(ShutdownReason::Requested);
    };
    std::thread::Builder::new().name("input".to_owned()).spawn(watch).context("cannot start a thread")?;
    Ok(())
}

fn root_failure(error: RootError) -> Failure {
    let code = match error {
        RootError::AlreadyRunning { .. } => exit::ALREADY_RUNNING,
        _ => exit::COULD_NOT_START,
    };
    Failure::new(code, error)
}

/// Starts the root in a process of its own and returns when every service is ready.
pub fn detached(global: &Global) -> Result<(), Failure> {
    start_detached(global).map_err(Failure::at_start)
}

fn start_detached(global: &Global) -> Result<(), Failure> {
    let loaded = global.load_aloud()?;
    block_on(async {
        if let Some(running) = registry_if_running(global).await? {
            return Err(root_failure(RootError::AlreadyRunning { pid: Some(running.root().pid) }));
        }
        let mut daemon = Daemon::spawn(global, &loaded.config, &loaded.path)?;
        let interrupted = Shutdown::new();
        interrupted.trigger_on_signals().context("cannot listen for signals")?;
        let result = tokio::select! {
            result = daemon.ready(global) => result,
            reason = interrupted.wait() => Err(tail::interrupted(reason)),
        };
        if result.is_err() {
            daemon.undo(global).await;
        }
        result
    })
}

/// A root that was started and isn't ours to keep.
struct Daemon {
    child: Child,
    data_path: PathBuf,
    log_files: LogFiles,
    log: PathBuf,
    /// How long the logs were before it, so that what is shown of them is of this start.
    log_starts: BTreeMap<PathBuf, u64>,
}

impl Daemon {
    fn spawn(global: &Global, config: &Config, config_path: &Path) -> anyhow::Result<Self> {
        let data_path = config.data_path().to_owned();
        let log_files = roles::log_files(config);
        let log = log_files.of(&data_path, ROOT_NAME);
        let failed = || format!("cannot write the log {}", log.display());
        std::fs::create_dir_all(dccd_service::log::directory(&data_path)).with_context(failed)?;
        // Put aside first where that is due, so that all of this start is in one file.
        let file = RotatingFile::new(log.clone(), log_files.rotation).handle().with_context(failed)?;
        let log_starts = log_lengths(&log, &data_path);
        let mut command = Command::new(std::env::current_exe().context("cannot find this executable on the disk")?);
        command.arg0(ROOT_NAME).args(["start", "--foreground", "--own-session", "--instance", &global.instance]);
        command.arg("--config").arg(config_path);
        if let Some(level) = &global.log_level {
            command.args(["--log-level", level]);
        }
        // Ready is what it says to us; whoever waits for this command is told by its end.
        for variable in NOTIFY_VARIABLES {
            command.env_remove(variable);
        }
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().context("cannot start a process")?;
        Ok(Self { child, data_path, log_files, log, log_starts })
    }

    /// Waits until every eager service is ready, or says which one isn't and why.
    async fn ready(&mut self, global: &Global) -> Result<(), Failure> {
        let deadline = Instant::now() + READY_DEADLINE;
        let registry = loop {
            if let Some(status) = self.child.try_wait().context("cannot look after the new process")? {
                return Err(self.ended(status));
            }
            match Registry::connect(&global.instance, Duration::from_secs(1)).await {
                Ok(registry) if registry.root().pid == self.child.id() => break registry,
                // Another root was faster; ours notices and ends.
                Ok(_) | Err(_) if Instant::now() < deadline => tokio::time::sleep(LOOK_INTERVAL).await,
                Ok(_) => return Err(Failure::message(exit::COULD_NOT_START, "another root runs in this instance")),
                Err(error) => return Err(Failure::new(exit::COULD_NOT_START, error)),
            }
        };
        let mut cursor = 0;
        loop {
            let mut services = match registry.list(DEADLINE).await {
                Ok(services) => services,
                Err(error) => return Err(self.lost(error).await),
            };
            services.retain(|service| service.eager && service.name != ROOT_NAME);
            if let Some(failed) = services.iter().find(|service| has_failed(service)) {
                return Err(self.not_ready(failed));
            }
            match services.iter().find(|service| !service.state.is_ready()) {
                None => {
                    announce(registry.root().pid, &services);
                    return Ok(());
                }
                Some(waiting) if Instant::now() >= deadline => return Err(self.not_ready(waiting)),
                Some(_) => match registry.watch(cursor, Duration::from_secs(1)).await {
                    Ok(events) => cursor = events.cursor,
                    Err(error) => return Err(self.lost(error).await),
                },
            }
        }
    }

    /// The root doesn't answer any more: most likely because it is ending.
    async fn lost(&mut self, error: RegistryError) -> Failure {
        let until = Instant::now() + END_DEADLINE;
        while Instant::now() < until {
            if let Ok(Some(status)) = self.child.try_wait() {
                return self.ended(status);
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Failure::new(exit::COULD_NOT_START, error)
    }

    /// The root ended by itself.
    fn ended(&self, status: ExitStatus) -> Failure {
        let code = match status.code() {
            Some(code) if code == i32::from(exit::ALREADY_RUNNING) => exit::ALREADY_RUNNING,
            _ => exit::COULD_NOT_START,
        };
        let text = self.logged(&self.log);
        // Its own error is its last word; what went before is context.
        let message = match text.rfind("error: ") {
            Some(at) => text[at + "error: ".len()..].trim_end().to_owned(),
            None => format!("dccd-root ended ({status}); the end of {}:\n{}", self.log.display(), last(&text)),
        };
        Failure::message(code, message)
    }

    /// What was logged since the start; all of it where the log has been rotated since.
    fn logged(&self, log: &Path) -> String {
        let text = std::fs::read(log).unwrap_or_default();
        let start =
            self.log_starts.get(log).and_then(|start| usize::try_from(*start).ok()).filter(|start| *start <= text.len());
        String::from_utf8_lossy(&text[start.unwrap_or_default()..]).into_owned()
    }

    fn not_ready(&self, service: &ServiceInfo) -> Failure {
        let name = &service.name;
        let reason = service.reason.as_ref().or(service.last_exit.as_ref());
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let log = self.log_files.of(&self.data_path, name);
        let lines = last(&self.logged(&log)).replace('\n', "\n  ");
        let log = if lines.is_empty() {
            format!("it wrote nothing into its log {}", log.display())
        } else {
            format!("the end of its log {}:\n  {lines}", log.display())
        };
        Failure::message(exit::COULD_NOT_START, format!("{name} could not be started ({}{reason}); {log}", service.state))
    }

    /// Takes back what was started.
    async fn undo(&mut self, global: &Global) {
        let stopping = async {
            let registry = Registry::connect(&global.instance, Duration::from_secs(1)).await.ok()?;
            if registry.root().pid == self.child.id() {
                registry.stop(false, Some(UNDO_DEADLINE)).await.ok()?;
            }
            Some(())
        };
        let stopped = tokio::time::timeout(UNDO_DEADLINE * 2, stopping).await;
        if !matches!(stopped, Ok(Some(()))) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        // A root that died without stopping its services has left them running.
        if let Ok(runtime_dir) = RuntimeDir::resolve(&global.instance) {
            stop::orphans(&runtime_dir, &global.instance, UNDO_DEADLINE).await;
        }
    }
}

/// The first restart comes at once and may do; a second failure will not mend itself while somebody waits.
fn has_failed(service: &ServiceInfo) -> bool {
    match service.state {
        ServiceState::Failed | ServiceState::Stopped => true,
        ServiceState::Backoff => service.restarts >= 2,
        _ => false,
    }
}

fn announce(pid: u32, services: &[ServiceInfo]) {
    say(format_args!("dccd is running (pid {pid})"));
    for service in services {
        match &service.reason {
            None => say(format_args!("{} is ready", service.name)),
            Some(reason) => say(format_args!("{} is ready, but degraded: {reason}", service.name)),
        }
    }
}

fn log_lengths(log: &Path, data_path: &Path) -> BTreeMap<PathBuf, u64> {
    let entries = std::fs::read_dir(dccd_service::log::directory(data_path)).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path()).chain([log.to_owned()]);
    paths.filter_map(|path| Some((path.clone(), std::fs::metadata(path).ok()?.len()))).collect()
}

fn last(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}
