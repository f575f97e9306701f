//! Rows of a live series between two times, across days, out of day files and the parts of days that are not merged yet.

use std::path::{Path, PathBuf};

use dccd_model::{ExchangeName, Symbol, UnixNanos};

use crate::Position;
use crate::catalog::{LOOKS_MAX, LiveSeries, is_missing};
use crate::error::StoreError;
use crate::file::Rows;
use crate::footer::FileInfo;
use crate::layout::{self, Layout};
use crate::rows::{BookRow, QuoteRow, Row, TradeRow};

/// The trades of a market with times in `[from, to)`, in the store's order, each once. Works beside a running recorder.
///
/// # Errors
/// When a directory can't be listed; what is wrong with a file comes in its place and ends the rows.
pub fn read_series_trades(
    data_path: &Path,
    exchange: &ExchangeName,
    symbol: &Symbol,
    from: UnixNanos,
    to: UnixNanos,
) -> Result<SeriesRows<TradeRow>, StoreError> {
    SeriesRows::open(data_path, exchange, symbol, from, to)
}

/// The quotes of a market; see [`read_series_trades`].
///
/// # Errors
/// As there.
pub fn read_series_quotes(
    data_path: &Path,
    exchange: &ExchangeName,
    symbol: &Symbol,
    from: UnixNanos,
    to: UnixNanos,
) -> Result<SeriesRows<QuoteRow>, StoreError> {
    SeriesRows::open(data_path, exchange, symbol, from, to)
}

/// The order-book levels of a market; see [`read_series_trades`]. They may begin in the middle of an epoch.
///
/// # Errors
/// As there.
pub fn read_series_book(
    data_path: &Path,
    exchange: &ExchangeName,
    symbol: &Symbol,
    from: UnixNanos,
    to: UnixNanos,
) -> Result<SeriesRows<BookRow>, StoreError> {
    SeriesRows::open(data_path, exchange, symbol, from, to)
}

/// A file of a day, opened.
pub(crate) struct OpenFile<R: Row> {
    pub(crate) path: PathBuf,
    pub(crate) info: FileInfo,
    pub(crate) rows: Rows<R>,
    pub(crate) is_part: bool,
}

/// Files of a day, and what is wrong with others of it.
pub(crate) type OpenDay<R> = (Vec<OpenFile<R>>, Vec<(PathBuf, StoreError)>);

/// Opens a day's files at once, so that a merge can't move rows from one to the other meanwhile.
pub(crate) fn open_day<R: Row>(series: &LiveSeries, day: i64) -> Result<OpenDay<R>, StoreError> {
    let mut looks = 0;
    'again: loop {
        looks += 1;
        let day_file = series.day_file(day);
        let mut files = Vec::new();
        let mut damaged = Vec::new();
        let mut merged = Position(0);
        let mut paths = vec![day_file.clone()];
        let mut next = 0;
        while let Some(path) = paths.get(next).cloned() {
            match Rows::<R>::open_with_info(&path) {
                Ok((rows, info)) => {
                    merged = merged.max(info.position);
                    files.push(OpenFile { is_part: path != day_file, path, info, rows });
                }
                Err(error) if is_missing(&error) && next == 0 => {}
                Err(error) if is_missing(&error) && looks < LOOKS_MAX => continue 'again,
                Err(error) if error.is_damage() => damaged.push((path, error)),
                Err(error) => return Err(error),
            }
            if next == 0 {
                paths.extend(series.parts(day, merged)?);
            }
            next += 1;
        }
        return Ok((files, damaged));
    }
}

/// Rows of a live series, one after the other; an error ends them. Memory doesn't grow with them.
pub struct SeriesRows<R: Row> {
    series: LiveSeries,
    /// Still to come, the next one last.
    days: Vec<i64>,
    from: UnixNanos,
    to: UnixNanos,
    /// The files of the day, oldest rows first.
    sources: Vec<Source<R>>,
    seen: R::Seen,
}

struct Source<R: Row> {
    rows: Rows<R>,
    /// A row that has been read and not taken. Before the first it is the time in the footer that says where the source's place is.
    head: Head<R>,
}

enum Head<R: Row> {
    NotRead(UnixNanos),
    Row(R),
}

impl<R: Row> Head<R> {
    fn ts(&self) -> UnixNanos {
        match self {
            Self::NotRead(ts) => *ts,
            Self::Row(row) => row.ts(),
        }
    }
}

impl<R: Row> SeriesRows<R> {
    fn open(
        data_path: &Path,
        exchange: &ExchangeName,
        symbol: &Symbol,
        from: UnixNanos,
        to: UnixNanos,
    ) -> Result<Self, StoreError> {
        let layout = Layout::new(data_path, exchange);
        let dir = layout.series_dir(symbol, R::CHANNEL);
        let names = layout::names(&dir).map_err(|e| StoreError::io("list", &dir, e))?;
        let mut days: Vec<i64> = names.iter().filter_map(|name| layout::day_of(name)).collect();
        days.retain(|day| from < to && *day >= from.day() && *day <= UnixNanos(to.0 - 1).day());
        days.sort_unstable_by_key(|day| std::cmp::Reverse(*day));
        let series =
            LiveSeries { layout, symbol: symbol.clone(), channel: R::CHANNEL, days: days.iter().copied().collect() };
        Ok(Self { series, days, from, to, sources: Vec::new(), seen: R::Seen::default() })
    }

    fn next_row(&mut self) -> Result<Option<R>, StoreError> {
        loop {
            // Of one place the oldest source's row comes first; a source that was not looked into yet may have a better one.
            let best = (0..self.sources.len()).min_by(|a, b| self.compare(*a, *b));
            let Some(best) = best else {
                if !self.next_day()? {
                    return Ok(None);
                }
                continue;
            };
            let source = &mut self.sources[best];
            let next = source.rows.next().transpose()?;
            let row = match (&mut source.head, next) {
                (head @ Head::NotRead(_), Some(row)) => {
                    *head = Head::Row(row);
                    continue;
                }
                (Head::Row(head), Some(next)) => std::mem::replace(head, next),
                (Head::NotRead(_), None) => {
                    self.sources.remove(best);
                    continue;
                }
                (Head::Row(head), None) => {
                    let row = *head;
                    self.sources.remove(best);
                    row
                }
            };
            if row.ts() >= self.to {
                // Nothing that follows is earlier.
                self.sources.clear();
                self.days.clear();
                return Ok(None);
            }
            if row.ts() >= self.from && row.admit(&mut self.seen) {
                return Ok(Some(row));
            }
        }
    }

    fn compare(&self, a: usize, b: usize) -> std::cmp::Ordering {
        let (first, second) = (&self.sources[a].head, &self.sources[b].head);
        match (first, second) {
            (Head::Row(first), Head::Row(second)) => first.order(second),
            // Looked into before a row of the same time is handed out.
            _ => first.ts().cmp(&second.ts()).then_with(|| is_row(first).cmp(&is_row(second))),
        }
    }

    fn next_day(&mut self) -> Result<bool, StoreError> {
        let Some(day) = self.days.pop() else { return Ok(false) };
        let (files, damaged) = open_day::<R>(&self.series, day)?;
        if let Some((_, error)) = damaged.into_iter().next() {
            return Err(error);
        }
        let head = |info: &FileInfo| Head::NotRead(info.range.map_or(UnixNanos(i64::MIN), |(first, _)| first));
        self.sources = files.into_iter().map(|file| Source { head: head(&file.info), rows: file.rows }).collect();
        Ok(true)
    }
}

const fn is_row<R: Row>(head: &Head<R>) -> bool {
    matches!(head, Head::Row(_))
}

impl<R: Row> Iterator for SeriesRows<R> {
    type Item = Result<R, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_row();
        if next.is_err() {
            self.sources.clear();
            self.days.clear();
        }
        next.transpose()
    }
}

#[cfg(test)]
mod tests {
    use dccd_model::time::NANOS_PER_DAY;

    use super::*;
    use crate::CommitMode::Step;
    use crate::testing::{Writer, at, symbol, tempdir};

    #[test]
    fn trades_come_in_order_across_days_day_files_and_parts() {
        let dir = tempdir();
        let mut writer = Writer::new(&dir);
        let mut random = fastrand::Rng::with_seed(4);
        let (mut expected, mut id) = (Vec::new(), 1000);
        for round in 0..16 {
            for _ in 0..random.usize(if round < 13 { 100..200 } else { 1..5 }) {
                id += 1;
                // Some come late, so that parts overlap with what was merged before.
                let seconds = round * 9_000 + random.i64(0..12_000);
                writer.trade(seconds, id);
                expected.push((at(seconds).0, id));
            }
            writer.commit(Step);
        }
        expected.sort_unstable();
        let parts = crate::layout::names(&dir.path().join(".dccd/parts/binance/trades/BTC-USDT/2024-08-09")).unwrap();
        assert!(!parts.is_empty());
        let read = |from: UnixNanos, to: UnixNanos| -> Vec<(i64, u64)> {
            let rows = read_series_trades(dir.path(), &"binance".parse().unwrap(), &symbol(), from, to).unwrap();
            rows.map(Result::unwrap).map(|row| (row.ts.0, u64::try_from(row.id.0).unwrap())).collect()
        };
        assert_eq!(read(UnixNanos(0), UnixNanos(i64::MAX)), expected);
        for (from, to) in [
            (at(30_000), at(100_000)),
            (at(86_400), at(86_401)),
            (at(5), at(5)),
            (at(90_000), UnixNanos(at(0).0 + 5 * NANOS_PER_DAY)),
        ] {
            let within: Vec<_> = expected.iter().copied().filter(|(ts, _)| (from.0..to.0).contains(ts)).collect();
            assert_eq!(read(from, to), within, "{from} to {to}");
        }
    }

    #[test]
    fn a_damaged_file_ends_the_rows_with_what_is_wrong() {
        let dir = tempdir();
        let mut writer = Writer::new(&dir);
        writer.quote(5);
        writer.commit(Step);
        let path = dir.path().join("binance/quotes/BTC-USDT/2024-08-08.parquet");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[10] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let exchange = "binance".parse().unwrap();
        let mut rows = read_series_quotes(dir.path(), &exchange, &symbol(), UnixNanos(0), UnixNanos(i64::MAX)).unwrap();
        assert!(rows.next().unwrap().unwrap_err().is_damage());
        assert!(rows.next().is_none());
    }
}
