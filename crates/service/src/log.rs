//! The log of one process: lines on stderr, which the root captures into `<data_path>/.dccd/logs/<service>.log`.
//!
//! Logging never blocks and never fails the process. When the root doesn't read (it hangs, or it died), lines go
//! straight to the same file instead; when that can't be written either, they are dropped. A process whose root died puts its
//! file aside by itself when that is full, as the root would: also when the next root has adopted it.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

use crate::RotatingFile;

/// How to log.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// A level, or filter directives such as `info,datad=debug`.
    pub level: String,
    /// One JSON object a line instead of text for people.
    pub json: bool,
    /// Where lines go when stderr takes none.
    pub fallback: Option<PathBuf>,
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is no level.
    #[error("\"{level}\" is not a log level (error, warn, info, debug, trace)")]
    Level {
        /// What was given.
        level: String,
        /// The parser's words.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// The process has a log already.
    #[error("the log was set up twice")]
    Twice,
}

/// The directory of the logs of all services of a store.
#[must_use]
pub fn directory(data_path: &Path) -> PathBuf {
    data_path.join(".dccd").join("logs")
}

/// The log file of a service.
#[must_use]
pub fn file(data_path: &Path, service: &str) -> PathBuf {
    directory(data_path).join(format!("{service}.log"))
}

/// Sets up the log of this process, and a panic hook that logs.
pub fn init(options: LogOptions) -> Result<(), LogError> {
    // The RPC library reports every failed call at error level, although it is the caller who knows what it means.
    let directives = format!("{},tarpc=off", options.level);
    let filter =
        EnvFilter::try_new(&directives).map_err(|source| LogError::Level { level: options.level.clone(), source })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        // Its own complaints go to stderr by `eprintln!`, which panics when nobody reads there any more.
        .log_internal_errors(false)
        .with_writer(LogWriter::new(options.fallback));
    let set = if options.json { builder.json().try_init() } else { builder.try_init() };
    set.map_err(|_| LogError::Twice)?;
    log_panics();
    Ok(())
}

/// A line for people as a process's own log has it, for one who writes into it beside that process.
#[must_use]
pub fn line(message: &str) -> String {
    let mut line = String::new();
    // A time that can't be put into words leaves it out.
    let _ = SystemTime.format_time(&mut Writer::new(&mut line));
    line.push_str("  WARN dccd_root: ");
    line.push_str(message);
    line.push('\n');
    line
}

fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let message =
            payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let message = message.unwrap_or("(no message)");
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        let backtrace = std::backtrace::Backtrace::capture();
        let backtrace = match backtrace.status() {
            std::backtrace::BacktraceStatus::Captured => format!("\n{backtrace}"),
            _ => String::new(),
        };
        tracing::error!(thread, location, "panic: {message}{backtrace}");
    }));
}

/// Makes writing to stderr non-blocking if it is a pipe, so that a root that doesn't read delays nobody.
pub(crate) fn never_block() {
    let stderr = io::stderr();
    let fd = stderr.as_fd();
    let is_pipe = rustix::fs::fstat(fd)
        .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Fifo);
    if is_pipe && let Ok(flags) = rustix::fs::fcntl_getfl(fd) {
        // Failing leaves the pipe as it was: blocking.
        let _ = rustix::fs::fcntl_setfl(fd, flags | rustix::fs::OFlags::NONBLOCK);
    }
}

/// Whether nobody reads stderr any more.
static READER_GONE: AtomicBool = AtomicBool::new(false);

/// The root is gone: from here on lines go straight to the file. (A dying root's pipes close one after another; what is
/// written to the last of them in between would be lost without an error.)
pub(crate) fn reader_gone() {
    READER_GONE.store(true, Ordering::Relaxed);
}

/// Writes whole lines to stderr, and what that doesn't take to the fallback file.
struct LogWriter {
    fallback: Option<PathBuf>,
    /// The same file, once nobody reads stderr any more.
    own: Option<Mutex<RotatingFile>>,
}

impl LogWriter {
    fn new(fallback: Option<PathBuf>) -> Self {
        let own = fallback.clone().map(RotatingFile::new).map(Mutex::new);
        Self { fallback, own }
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter { fallback: self.fallback.as_deref(), own: self.own.as_ref() }
    }
}

struct LineWriter<'a> {
    fallback: Option<&'a Path>,
    own: Option<&'a Mutex<RotatingFile>>,
}

impl Write for LineWriter<'_> {
    /// Takes all of it, whatever becomes of it: a log that can't be written must not become an error of its own.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.own.filter(|_| READER_GONE.load(Ordering::Relaxed)) {
            Some(file) => file.lock().unwrap_or_else(PoisonError::into_inner).append(line),
            None => write_line(&mut io::stderr().lock(), self.fallback, line),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_line(primary: &mut impl Write, fallback: Option<&Path>, line: &[u8]) {
    let mut rest = line;
    while !rest.is_empty() {
        match primary.write(rest) {
            Ok(0) => break,
            Ok(n) => rest = &rest[n..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    if rest.is_empty() {
        return;
    }
    if let Some(path) = fallback
        && let Ok(mut file) = OpenOptions::new().append(true).create(true).open(path)
    {
        let _ = file.write_all(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stderr_does_not_take_goes_to_the_file() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, data: &[u8]) -> io::Result<usize> {
                let n = self.0.min(data.len());
                self.0 -= n;
                if n == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(n) }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        write_line(&mut Full(100), Some(&path), b"first\n");
        assert!(!path.exists());
        write_line(&mut Full(3), Some(&path), b"second\n");
        write_line(&mut Full(0), Some(&path), b"third\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "ond\nthird\n");
        write_line(&mut Full(0), None, b"nobody\n");
    }

    #[test]
    fn without_a_reader_lines_go_to_the_file_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        reader_gone();
        LogWriter::new(Some(path.clone())).make_writer().write_all(b"last words\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "last words\n");
    }

    #[test]
    fn a_wrong_level_is_said_so() {
        let error = init(LogOptions { level: "loud=what=is".into(), ..LogOptions::default() }).unwrap_err();
        assert!(matches!(error, LogError::Level { .. }), "{error}");
    }
}
