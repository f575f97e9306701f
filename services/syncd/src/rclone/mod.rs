//! rclone: found, looked at, and run over the files of one batch. Its arguments are an array, its output is bounded and read as it comes,
//! it has a process group of its own, ends with us whatever ends us, and is stopped when nothing moves.

mod child;
mod lines;
mod log;
mod talk;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use dccd_service::Shutdown;
use tokio::io::{AsyncReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::Instant;

use crate::error::SyncError;
use crate::leash::LEASH;
use crate::redact::redact;
use child::Group;
use lines::Lines;
use log::Said;
pub(crate) use log::Stats;

/// The oldest version that knows all that is asked of it.
const VERSION_MIN: (u32, u32) = (1, 53);
const VERSION_MIN_TEXT: &str = "1.53";
/// How long it may take to say what it is, or which remotes it knows.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
/// How much of such an answer is read.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// Between two looks at whether something moves.
const LOOK: Duration = Duration::from_secs(1);
/// How long what it has said last is waited for after its end, where another process holds its output open.
const DRAIN: Duration = Duration::from_secs(2);
/// Errors of single files that are logged one by one in a run of it.
const LOGGED_MAX: usize = 20;

/// What it says of a remote that it doesn't know.
const UNKNOWN_REMOTE: &str = "didn't find section in config file";

/// Options of rclone that a user may have set in the environment for other uses, and that would make it copy less than it is told to,
/// say it elsewhere, or listen. `RCLONE_CONFIG` and the options of backends are the user's word on how to reach a remote, and stay.
const UNWANTED: [&str; 47] = [
    "BACKUP_DIR",
    "CHECK_FIRST",
    "CHECKSUM",
    "COMPARE_DEST",
    "COPY_DEST",
    "CUTOFF_MODE",
    "DRY_RUN",
    "ERROR_ON_NO_TRANSFER",
    "EXCLUDE",
    "EXCLUDE_FROM",
    "EXCLUDE_IF_PRESENT",
    "FILES_FROM",
    "FILES_FROM_RAW",
    "FILTER",
    "FILTER_FROM",
    "HASH_FILTER",
    "IGNORE_CASE",
    "IGNORE_CHECKSUM",
    "IGNORE_ERRORS",
    "IGNORE_EXISTING",
    "IGNORE_SIZE",
    "IMMUTABLE",
    "INCLUDE",
    "INCLUDE_FROM",
    "INTERACTIVE",
    "LINKS",
    "LOG_FILE",
    "LOG_FORMAT",
    "LOG_SYSTEMD",
    "MAX_AGE",
    "MAX_DEPTH",
    "MAX_DURATION",
    "MAX_SIZE",
    "MAX_TRANSFER",
    "METADATA_EXCLUDE",
    "MIN_AGE",
    "MIN_SIZE",
    "NO_CHECK_DEST",
    "ONE_FILE_SYSTEM",
    "PROGRESS",
    "QUIET",
    "RC",
    "SIZE_ONLY",
    "SUFFIX",
    "SYSLOG",
    "UPDATE",
    "VERBOSE",
];

/// How to run rclone.
#[derive(Clone, Debug)]
pub struct Rclone {
    /// The program; without a slash it is looked for in `$PATH`.
    pub program: PathBuf,
    /// The executable that plays [`LEASH`]; `None`: rclone is started directly, and outlives us where we are killed.
    pub leash: Option<PathBuf>,
    /// How long nothing may move before it is stopped.
    pub patience: Duration,
}

impl Default for Rclone {
    fn default() -> Self {
        Self { program: PathBuf::from("rclone"), leash: None, patience: Duration::from_secs(300) }
    }
}

/// What is to be copied.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    /// The directory whose content is copied.
    pub(crate) from: &'a Path,
    /// Where to, as rclone names it.
    pub(crate) to: &'a str,
    /// How many files there are.
    pub(crate) files: u64,
    /// Whether files are copied that look the same at the remote.
    pub(crate) force: bool,
}

/// What it says while it works.
#[derive(Debug)]
pub(crate) enum Event {
    /// A file was copied.
    Copied(String),
    /// Its counters.
    Stats(Box<Stats>),
}

impl Rclone {
    /// Makes sure that it is there and new enough; its version.
    pub async fn check(&self) -> Result<String, SyncError> {
        let said = self.answer("version", &["version"]).await?;
        let first = said.lines().next().unwrap_or_default();
        let strange = || SyncError::StrangeRclone { asked: "version", said: redact(first, &[]) };
        let version = first.strip_prefix("rclone v").ok_or_else(strange)?.trim();
        let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
        let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else { return Err(strange()) };
        if (major, minor) < VERSION_MIN {
            return Err(SyncError::OldRclone { found: redact(version, &[]), needed: VERSION_MIN_TEXT });
        }
        Ok(version.to_owned())
    }

    /// The remotes of its configuration, without their colons.
    pub async fn remotes(&self) -> Result<Vec<String>, SyncError> {
        let said = self.answer("listremotes", &["listremotes", "--ask-password=false"]).await?;
        Ok(said.lines().filter_map(|line| line.trim().strip_suffix(':')).map(str::to_owned).collect())
    }

    /// The output of a command that answers at once.
    async fn answer(&self, asked: &'static str, args: &[&str]) -> Result<String, SyncError> {
        let mut command = self.bare(args.iter().map(OsString::from));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let no_rclone = |source| SyncError::NoRclone { program: self.program.clone(), source };
        let mut child = command.spawn().map_err(no_rclone)?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let read = async {
            let (mut said, mut wrong) = (Vec::new(), Vec::new());
            if let (Some(out), Some(err)) = (out, err) {
                let (mut out, mut err) = (out.take(ANSWER_BYTES_MAX), err.take(ANSWER_BYTES_MAX));
                tokio::try_join!(out.read_to_end(&mut said), err.read_to_end(&mut wrong))?;
            }
            Ok((child.wait().await?, said, wrong))
        };
        let stalled = SyncError::Stalled { what: "rclone", after: ANSWER_DEADLINE };
        let (status, said, wrong) =
            tokio::time::timeout(ANSWER_DEADLINE, read).await.map_err(|_| stalled)?.map_err(no_rclone)?;
        if !status.success() {
            let wrong = String::from_utf8_lossy(&wrong).into_owned();
            return Err(SyncError::StrangeRclone { asked, said: redact(wrong.lines().last().unwrap_or_default(), &[]) });
        }
        Ok(String::from_utf8_lossy(&said).into_owned())
    }

    /// Started directly: what ends within seconds needs no leash.
    fn bare(&self, args: impl IntoIterator<Item = OsString>) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).stdin(Stdio::null());
        for name in UNWANTED {
            command.env_remove(format!("RCLONE_{name}"));
        }
        command
    }

    /// In a process group of its own, on a leash where there is one.
    fn leashed(&self, args: Vec<OsString>) -> Command {
        let mut command = match &self.leash {
            None => self.bare(args),
            Some(executable) => {
                let mut command = self.bare(Vec::new());
                let mut on_leash = Command::new(executable);
                on_leash.arg0(LEASH).arg(std::process::id().to_string()).arg(&self.program).args(args);
                // The environment as it was made for rclone.
                for (name, value) in command.as_std_mut().get_envs() {
                    match value {
                        Some(value) => on_leash.env(name, value),
                        None => on_leash.env_remove(name),
                    };
                }
                on_leash
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        command
    }

    /// Copies a batch; tells `event` of every file that is through. What it has said so is copied, whatever comes back.
    ///
    /// Must be called on the process's main thread: the kernel ends what is on the leash with the thread that has started it.
    pub(crate) async fn copy(
        &self,
        batch: &Batch<'_>,
        stop: &Shutdown,
        mut event: impl FnMut(Event),
    ) -> Result<(), SyncError> {
        let mut command = self.leashed(arguments(batch));
        let no_rclone = |source| SyncError::NoRclone { program: self.program.clone(), source };
        let mut child = command.spawn().map_err(no_rclone)?;
        let output = child.stderr.take();
        let mut group = Group::of(child);
        let mut run = Run { last: Stats::default(), said_stats: false, errors: Errors::default(), moved: Instant::now() };
        let mut lines = output.map(|output| Lines::new(BufReader::new(output)));
        let mut look = tokio::time::interval(LOOK);
        let mut exited = None;
        let mut open = true;
        let mut drain = Box::pin(tokio::time::sleep(Duration::MAX / 4));
        while open {
            tokio::select! {
                line = next(&mut lines), if open => match line {
                    Some(line) => run.hear(&line, &mut event),
                    None => open = false,
                },
                status = group.exited(), if exited.is_none() => {
                    exited = Some(status);
                    drain.as_mut().reset(Instant::now() + DRAIN);
                }
                () = &mut drain, if exited.is_some() => open = false,
                _ = stop.wait(), if exited.is_none() => {
                    group.end().await;
                    return Err(SyncError::Stopped);
                }
                _ = look.tick(), if exited.is_none() => {
                    if run.moved.elapsed() >= self.patience {
                        group.end().await;
                        return Err(SyncError::Stalled { what: "rclone", after: self.patience });
                    }
                }
            }
        }
        let status = match exited {
            Some(status) => status,
            None => group.exited_soon().await?,
        };
        run.outcome(status.map_err(no_rclone)?, batch)
    }
}

async fn next<R: tokio::io::AsyncBufRead + Unpin>(lines: &mut Option<Lines<R>>) -> Option<Vec<u8>> {
    // A pipe that can't be read is as good as one that was closed.
    lines.as_mut()?.next().await.ok().flatten()
}

fn arguments(batch: &Batch<'_>) -> Vec<OsString> {
    let mut args: Vec<OsString> = [
        "copy",
        "--use-json-log",
        "--log-level=INFO",
        "--stats=1s",
        "--stats-log-level=NOTICE",
        // What failed is tried again by us, with what has changed meanwhile.
        "--retries=1",
        "--low-level-retries=3",
        "--contimeout=30s",
        "--timeout=2m",
        "--ask-password=false",
        "--copy-links",
    ]
    .map(OsString::from)
    .to_vec();
    if batch.force {
        // They are known to differ, or the remote's may be half of one; looked up one by one instead of listing whole directories.
        args.extend(["--ignore-times", "--no-traverse"].map(OsString::from));
    }
    args.extend(["--".into(), batch.from.into(), batch.to.into()]);
    args
}

/// What is known of a run of it.
struct Run {
    last: Stats,
    said_stats: bool,
    errors: Errors,
    /// When something moved last.
    moved: Instant,
}

#[derive(Default)]
struct Errors {
    first: Option<String>,
    /// Of the whole, not of a file: it repeats what was said of files.
    general: Option<String>,
    count: usize,
}

impl Errors {
    fn note(&mut self, object: Option<String>, message: &str) {
        let message = redact(message, &[]);
        self.count += 1;
        match object {
            Some(object) => drop(self.first.get_or_insert(format!("{}: {message}", redact(&object, &[])))),
            None => drop(self.general.get_or_insert(message)),
        }
    }

    /// What is told of them: that of a file first.
    fn said(self) -> String {
        let said = self.first.or(self.general).unwrap_or_else(|| "it gives no reason".to_owned());
        let hint = if said.contains(UNKNOWN_REMOTE) { "; make the remote with: rclone config" } else { "" };
        said + hint
    }
}

impl Run {
    fn hear(&mut self, line: &[u8], event: &mut impl FnMut(Event)) {
        match log::read(line) {
            Said::Copied(path) => {
                self.moved = Instant::now();
                event(Event::Copied(path));
            }
            Said::Stats(stats) => {
                let counts = |stats: &Stats| (stats.bytes, stats.transfers, stats.checks);
                if counts(&stats) != counts(&self.last) {
                    self.moved = Instant::now();
                }
                self.last = (*stats).clone();
                self.said_stats = true;
                event(Event::Stats(stats));
            }
            Said::Error { object, message } => {
                if self.errors.count < LOGGED_MAX {
                    let (file, error) = (object.as_deref().unwrap_or_default(), redact(&message, &[]));
                    tracing::warn!(file, error, "rclone");
                }
                self.errors.note(object, &message);
            }
            Said::Other => {}
        }
    }

    fn outcome(self, status: std::process::ExitStatus, batch: &Batch<'_>) -> Result<(), SyncError> {
        if status.success() {
            // By its own count each file must be copied or found there: a filter that we know nothing of may have left some out.
            let accounted = self.last.transfers + if batch.force { 0 } else { self.last.checks };
            if self.said_stats && accounted >= batch.files {
                return Ok(());
            }
            return Err(SyncError::Unaccounted { accounted: accounted.min(batch.files), files: batch.files });
        }
        Err(SyncError::Rclone { exit: child::shown(status), said: self.errors.said() })
    }
}
