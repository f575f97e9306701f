//! Data to standard output, chatter to standard error, tables that fit the terminal.

use std::fmt;
use std::io::{BufWriter, IsTerminal, StdoutLock, Write};

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width};
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

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.writer.flush()
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

/// Between two columns.
const GUTTER: usize = 2;

/// A table: headings, rows, and what becomes of a column where the terminal is narrow.
pub struct Listing {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

#[derive(Clone, Copy)]
struct Column {
    heading: &'static str,
    /// Numbers are aligned to the right.
    is_number: bool,
    /// Left out where there is no room.
    is_optional: bool,
    /// Broken at spaces where there is no room; others are never broken.
    wraps: bool,
}

impl Listing {
    /// A table with these headings. Before a heading `>` stands for numbers, `?` for a column that may be left out, `~`
    /// for one that may be broken at its spaces.
    pub fn new(headings: &[&'static str]) -> Self {
        let column = |marked: &&'static str| {
            let heading = marked.trim_start_matches(['>', '?', '~']);
            let marks = &marked[..marked.len() - heading.len()];
            Column { heading, is_number: marks.contains('>'), is_optional: marks.contains('?'), wraps: marks.contains('~') }
        };
        Self { columns: headings.iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl Into<Vec<String>>) {
        let cells = cells.into();
        debug_assert_eq!(cells.len(), self.columns.len(), "a row has as many cells as there are headings");
        self.rows.push(cells);
    }

    /// Prints it, within the columns of the terminal if there is one.
    pub fn print(&self, out: &mut Out) -> Result<(), Failure> {
        for line in self.lines(terminal_width()) {
            out.line(line)?;
        }
        out.flush()
    }

    /// Width of a column's widest cell.
    fn content_width(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| row[column].chars().count());
        cells.chain([self.columns[column].heading.chars().count()]).max().unwrap_or_default()
    }

    /// Width of a column's longest word.
    fn word_width(&self, column: usize) -> u16 {
        let cells = self.rows.iter().map(|row| row[column].as_str()).chain([self.columns[column].heading]);
        let longest = cells.flat_map(str::split_whitespace).map(|word| word.chars().count()).max();
        u16::try_from(longest.unwrap_or_default()).unwrap_or(u16::MAX)
    }

    fn lines(&self, terminal: Option<u16>) -> Vec<String> {
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        let is_too_wide = |shown: &[usize], width: u16| {
            shown.iter().map(|column| self.content_width(*column) + GUTTER).sum::<usize>() > usize::from(width) + GUTTER
        };
        if let Some(width) = terminal {
            while is_too_wide(&shown, width)
                && let Some(at) = shown.iter().rposition(|column| self.columns[*column].is_optional)
            {
                shown.remove(at);
            }
        }
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header(shown.iter().map(|column| self.columns[*column].heading));
        for row in &self.rows {
            table.add_row(shown.iter().map(|column| row[*column].clone()));
        }
        if let Some(width) = terminal
            && is_too_wide(&shown, width)
        {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        for (at, index) in shown.iter().enumerate() {
            let column = self.columns[*index];
            let Some(styled) = table.column_mut(at) else { continue };
            styled.set_padding((0, if at + 1 == shown.len() { 0 } else { 2 }));
            if column.is_number {
                styled.set_cell_alignment(CellAlignment::Right);
            }
            styled.set_constraint(if column.wraps {
                let padding = styled.padding_width();
                ColumnConstraint::LowerBoundary(Width::Fixed(self.word_width(*index).saturating_add(padding)))
            } else {
                ColumnConstraint::ContentWidth
            });
        }
        table.lines().map(|line| line.trim_end().to_owned()).collect()
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

/// An instant for programs: RFC 3339 in UTC; `None` for 0, which stands for "never".
pub fn rfc3339(nanos: i64) -> Option<String> {
    (nanos > 0).then(|| dccd_model::UnixNanos(nanos).to_string())
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
    fn a_table_fits_its_terminal() {
        let mut listing = Listing::new(&["name", ">rows", "~when", "?~note"]);
        listing.row(["binance/BTC/USDT".into(), "7".into(), "2026-11-23 07:39:05".into(), "a rather long remark".into()]);
        listing.row(["x".into(), "12345".into(), "-".into(), "-".into()]);
        let wide = [
            "name               rows  when                 note",
            "binance/BTC/USDT      7  2026-11-23 07:39:05  a rather long remark",
            "x                 12345  -                    -",
        ];
        assert_eq!(listing.lines(None), wide);
        assert_eq!(listing.lines(Some(200)), wide);
        let narrow = [
            "name               rows  when",
            "binance/BTC/USDT      7  2026-11-23",
            "                         07:39:05",
            "x                 12345  -",
        ];
        assert_eq!(listing.lines(Some(38)), narrow);
        // Nothing is ever broken inside a word; a terminal too narrow for that breaks lines itself.
        assert_eq!(listing.lines(Some(20))[1].split_whitespace().next(), Some("binance/BTC/USDT"));
    }

    #[test]
    fn sizes_and_times_are_short() {
        assert_eq!([0, 1023, 1024, 3_565_158, u64::MAX].map(bytes), ["0 B", "1023 B", "1.0 KiB", "3.4 MiB", "16384.0 PiB"]);
        assert_eq!([0, 59, 185, 7_800, 442_800].map(seconds), ["0s", "59s", "3m05s", "2h10m", "5d03h"]);
        assert_eq!(instant(1_723_161_253_937_000_000, &jiff::tz::TimeZone::UTC), "2024-08-08 23:54:13");
    }
}
