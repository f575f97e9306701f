//! The log of one process. A service's lines go to stderr, which the root captures into `<data_path>/.dccd/logs/<service>.log`; the
//! root's go into its own file, and to stderr where somebody may look at that.
//!
//! Logging never blocks and never fails the process. When the root doesn't read (it hangs, or it died), a service's lines go
//! straight to the same file instead; when that can't be written either, they are dropped. A process whose root died puts its
//! file aside by itself when that is due, as the root would: also when the next root has adopted it.

mod level;
mod shape;

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, reload};

pub use level::{check as check_level, configured_level, set_configured_level, set_level};

use crate::{RotatingFile, Rotation};
use shape::Shape;

/// How to log.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// A level, or filter directives such as `info,datad=debug`.
    pub level: String,
    /// One JSON object a line instead of text for people.
    pub json: bool,
    /// Stands in each line, where several processes log into one file.
    pub name: Option<String>,
    /// Where the lines go.
    pub output: Output,
}

/// Where the lines of a process go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// To stderr, as the journal of systemd wants it where that reads there, and for people where that is a terminal.
    #[default]
    Stderr,
    /// To stderr, where a root reads; into its file when that doesn't.
    Captured(PathBuf, Rotation),
    /// Into its file.
    File(PathBuf, Rotation),
    /// Into its file, and to stderr.
    FileAndStderr(PathBuf, Rotation),
}

/// Where the services of a store log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFiles {
    /// One file for all; `None`: each has its own, [`file()`].
    pub common: Option<PathBuf>,
    /// When a file is put aside.
    pub rotation: Rotation,
}

impl LogFiles {
    /// Where a service logs.
    #[must_use]
    pub fn of(&self, data_path: &Path, service: &str) -> PathBuf {
        self.common.clone().unwrap_or_else(|| file(data_path, service))
    }

    /// The name that stands in a service's lines: where they would not be told from others'.
    #[must_use]
    pub fn name(&self, service: &str) -> Option<String> {
        self.common.as_ref().map(|_| service.to_owned())
    }
}

/// Why the log could not be set up, or its level changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A level is none.
    #[error("\"{level}\" is not a log level (error, warn, info, debug, trace, off)")]
    Level {
        /// What was given.
        level: String,
    },
    /// Not levels of modules either.
    #[error("\"{directives}\" cannot be understood, expected levels and MODULE=LEVEL, with commas between")]
    Directives {
        /// What was given.
        directives: String,
        /// The parser's words.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// The process has a log already.
    #[error("the log was set up twice")]
    Twice,
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
///
/// # Errors
/// When the level is none, or the process has a log already.
pub fn init(options: LogOptions) -> Result<(), LogError> {
    let (filter, handle) = reload::Layer::new(level::filter(&options.level)?);
    let in_file = |writer| layer(Shape::new(options.json, options.name.as_deref()), writer, false);
    let to_stderr = || {
        if shape::stderr_is_the_journal() {
            return layer(Shape::journal(), LogWriter::stderr(), false);
        }
        let is_terminal = io::stderr().is_terminal();
        let shape = Shape::new(options.json && !is_terminal, None);
        layer(shape, LogWriter::stderr(), is_terminal && std::env::var_os("NO_COLOR").is_none())
    };
    let layers = match options.output {
        Output::Stderr => vec![to_stderr()],
        Output::Captured(path, rotation) => vec![in_file(LogWriter::captured(RotatingFile::new(path, rotation)))],
        Output::File(path, rotation) => vec![in_file(LogWriter::file(RotatingFile::new(path, rotation)))],
        Output::FileAndStderr(path, rotation) => {
            vec![in_file(LogWriter::file(RotatingFile::new(path, rotation))), to_stderr()]
        }
    };
    tracing_subscriber::registry().with(layers).with(filter).try_init().map_err(|_| LogError::Twice)?;
    level::keep(options.level, Box::new(move |filter| handle.reload(filter).is_ok()));
    log_panics();
    Ok(())
}

/// One place where lines go, in their form.
fn layer(shape: Shape, writer: LogWriter, ansi: bool) -> Box<dyn Layer<Registry> + Send + Sync> {
    tracing_subscriber::fmt::layer()
        .event_format(shape)
        .with_ansi(ansi)
        // Its own complaints go to stderr by `eprintln!`, which panics when nobody reads there any more.
        .log_internal_errors(false)
        .with_writer(writer)
        .boxed()
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

/// Writes whole lines to stderr, and what that doesn't take to the file; or all of them to the file.
struct LogWriter {
    to_stderr: bool,
    file: Option<Mutex<RotatingFile>>,
}

impl LogWriter {
    fn stderr() -> Self {
        Self { to_stderr: true, file: None }
    }

    fn captured(file: RotatingFile) -> Self {
        Self { to_stderr: true, file: Some(Mutex::new(file)) }
    }

    fn file(file: RotatingFile) -> Self {
        Self { to_stderr: false, file: Some(Mutex::new(file)) }
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter(self)
    }
}

struct LineWriter<'a>(&'a LogWriter);

impl Write for LineWriter<'_> {
    /// Takes all of it, whatever becomes of it: a log that can't be written must not become an error of its own.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let nobody_reads = self.0.file.is_some() && READER_GONE.load(Ordering::Relaxed);
        let rest = if self.0.to_stderr && !nobody_reads { write_line(&mut io::stderr().lock(), line) } else { line };
        if let Some(file) = self.0.file.as_ref().filter(|_| !rest.is_empty()) {
            file.lock().unwrap_or_else(PoisonError::into_inner).append(rest);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a line; what was not taken of it.
fn write_line<'a>(to: &mut impl Write, line: &'a [u8]) -> &'a [u8] {
    let mut rest = line;
    while !rest.is_empty() {
        match to.write(rest) {
            Ok(0) => break,
            Ok(n) => rest = &rest[n..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stderr_does_not_take_is_left() {
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
        assert_eq!(write_line(&mut Full(100), b"first\n"), b"");
        assert_eq!(write_line(&mut Full(3), b"second\n"), b"ond\n");
        assert_eq!(write_line(&mut Full(0), b"third\n"), b"third\n");
    }

    #[test]
    fn without_a_reader_lines_go_to_the_file_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        reader_gone();
        let writer = LogWriter::captured(RotatingFile::new(path.clone(), Rotation::default()));
        writer.make_writer().write_all(b"last words\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "last words\n");
    }

    /// What is written by each shape for one event with a line break in it.
    fn written(shape: Shape) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let writer = LogWriter::file(RotatingFile::new(path.clone(), Rotation::default()));
        let subscriber = tracing_subscriber::registry().with(layer(shape, writer, false));
        tracing::subscriber::with_default(subscriber, || tracing::warn!(pair = "BTC/USDT", "one\ntwo"));
        std::fs::read_to_string(&path).unwrap()
    }

    #[test]
    fn a_line_has_the_form_of_those_who_read_it() {
        let after_time = |text: String| text.split_once(' ').unwrap().1.to_owned();
        let target = module_path!();
        assert_eq!(after_time(written(Shape::new(false, None))), format!(" WARN {target}: one\ntwo pair=\"BTC/USDT\"\n"));
        let named = after_time(written(Shape::new(false, Some("datad.x"))));
        assert_eq!(named, format!(" WARN datad.x: {target}: one\ntwo pair=\"BTC/USDT\"\n"));
        assert_eq!(written(Shape::journal()), format!("<4>{target}: one\n<4>two pair=\"BTC/USDT\"\n"));
        let json = written(Shape::new(true, None));
        assert!(json.starts_with("{\"timestamp\":\"2") && json.contains("\"message\":\"one\\ntwo\""), "{json}");
        let named = written(Shape::new(true, Some("datad.x")));
        assert!(named.starts_with("{\"service\":\"datad.x\",\"timestamp\":\"2") && named.ends_with("}\n"), "{named}");
    }

    #[test]
    fn a_wrong_level_is_said_so() {
        let error = init(LogOptions { level: "loud=what=is".into(), ..LogOptions::default() }).unwrap_err();
        assert!(matches!(error, LogError::Directives { .. }), "{error}");
    }
}
