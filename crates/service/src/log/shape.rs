//! What a line of a log looks like: text for people, JSON for machines, or what the journal of systemd reads.

use std::fmt;
use std::io;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Json, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The form of a log's lines.
pub(super) enum Shape {
    /// `time level target: message fields`.
    Text(Format<Full>),
    /// `time level service: target: message fields`.
    NamedText(String, Format<Full, ()>),
    /// One object a line.
    Json(Format<Json>),
    /// The same, the service's name first.
    NamedJson(String, Format<Json>),
    /// `<priority>target: message fields`; the journal has time and unit itself.
    Journal(Format<Full, ()>),
}

impl Shape {
    /// For people or for machines; with the service's name where several write into one file.
    pub(super) fn new(json: bool, name: Option<&str>) -> Self {
        let text = Format::default();
        match (json, name) {
            (false, None) => Self::Text(text),
            (false, Some(name)) => Self::NamedText(name.to_owned(), text.without_time().with_level(false)),
            (true, None) => Self::Json(text.json()),
            (true, Some(name)) => Self::NamedJson(name.to_owned(), text.json()),
        }
    }

    pub(super) fn journal() -> Self {
        Self::Journal(Format::default().without_time().with_level(false))
    }
}

impl<S, N> FormatEvent<S, N> for Shape
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => text.format_event(ctx, writer, event),
            Self::Json(json) => json.format_event(ctx, writer, event),
            Self::NamedText(name, text) => {
                SystemTime.format_time(&mut writer)?;
                write!(writer, " {:>5} {name}: ", event.metadata().level())?;
                text.format_event(ctx, writer, event)
            }
            Self::NamedJson(name, json) => {
                let mut line = String::new();
                json.format_event(ctx, Writer::new(&mut line), event)?;
                // A service's name has nothing in it that JSON would escape.
                write!(writer, "{{\"service\":\"{name}\",{}", line.strip_prefix('{').unwrap_or(&line))
            }
            Self::Journal(text) => {
                let mut line = String::new();
                text.format_event(ctx, Writer::new(&mut line), event)?;
                // The journal takes each line for a message of its own.
                let priority = priority(*event.metadata().level());
                line.lines().try_for_each(|line| writeln!(writer, "<{priority}>{line}"))
            }
        }
    }
}

/// The level as syslog has it, and the journal.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// Whether stderr leads to the journal of systemd, which says so by `$JOURNAL_STREAM`: device and inode.
pub(super) fn stderr_is_the_journal() -> bool {
    let Some(said) = std::env::var_os("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(io::stderr()).is_ok_and(|stat| said.to_str() == Some(&format!("{}:{}", stat.st_dev, stat.st_ino)))
}
