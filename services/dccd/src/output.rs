//! Data to standard output, chatter to standard error, tables that fit the terminal.

use std::fmt;
use std::io::{BufWriter, IsTerminal, StdoutLock, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde::Serialize;

use crate::exit::Failure;

/// Standard output. When its reader has gone (`dccd inventory | head`), the command ends quietly.
pub struct Out {
    writer: BufWriter<StdoutLock<'static>>,
}

fn written(result: std::io::Result<()>) -> Result<(), Failure> {
    result.map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => Failure::Silent(0),
        _ => anyhow::Error::new(error).context("cannot write to standard output").into(),
    })
}

impl Out {
    /// Takes standard output.
    pub fn new() -> Self {
        Self { writer: BufWriter::new(std::io::stdout().lock()) }
    }

    /// One line.
    pub fn line(&mut self, line: impl fmt::Display) -> Result<(), Failure> {
        written(writeln!(self.writer, "{line}"))
    }

    /// Text or bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        written(self.writer.write_all(bytes))
    }

    /// The one JSON document of a listing.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value)?;
        self.line(text)?;
        self.flush()
    }

    /// Lets everything out.
    pub fn flush(&mut self) -> Result<(), Failure> {
        written(self.writer.flush())
    }
}

/// Says something to the user. Nobody hearing it is no error.
pub fn say(message: impl fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{message}");
}

/// The columns of the terminal; `None` where standard output is none.
pub fn terminal_width() -> Option<u16> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&stdout).ok()?;
    (size.ws_col > 0).then_some(size.ws_col)
}

/// A table: headings, rows, and which columns are numbers.
pub struct Listing {
    table: Table,
    columns: usize,
}

impl Listing {
    /// A table with these headings. Those that begin with `>` stand above numbers, which are aligned to the right.
    pub fn new(headings: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        if let Some(width) = terminal_width() {
            table.set_width(width);
        }
        table.set_header(headings.iter().map(|heading| heading.trim_start_matches('>')));
        for (index, heading) in headings.iter().enumerate() {
            if let Some(column) = table.column_mut(index) {
                column.set_padding((0, 2));
                if heading.starts_with('>') {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        Self { table, columns: headings.len() }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns, "a row has as many cells as there are headings");
        self.table.add_row(cells);
    }

    /// Prints it.
    pub fn print(&self, out: &mut Out) -> Result<(), Failure> {
        for line in self.table.lines() {
            out.line(line.trim_end())?;
        }
        out.flush()
    }
}

/// The value, or a dash.
pub fn or_dash(value: Option<impl fmt::Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Bytes for people: `512 B`, `3.4 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Seconds for people: `42s`, `3m05s`, `2h10m`, `5d03h`.
pub fn seconds(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// An instant for people: to the second, in the configured zone.
pub fn instant(nanos: i64, zone: &jiff::tz::TimeZone) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(nanos))
        .map(|timestamp| timestamp.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string())
        .unwrap_or_else(|_| nanos.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_short() {
        assert_eq!([0, 1023, 1024, 3_565_158, u64::MAX].map(bytes), ["0 B", "1023 B", "1.0 KiB", "3.4 MiB", "16384.0 PiB"]);
        assert_eq!([0, 59, 185, 7_800, 442_800].map(seconds), ["0s", "59s", "3m05s", "2h10m", "5d03h"]);
        assert_eq!(instant(1_723_161_253_937_000_000, &jiff::tz::TimeZone::UTC), "2024-08-08 23:54:13");
    }
}
