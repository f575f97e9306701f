//! Candle files of dccd 2.x (Python) into ours: times in seconds, `quoteVolume`, `weightedAverage`. Never without a copy of the original.
//!
//! dccd 2.x lays a grid over what it fetched and repeats the candle before wherever one is missing, its volume too, and writes nulls
//! where there is none before. Such candles were never traded: they are left out, and become holes that a backfill fills.

use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use dccd_model::time::NANOS_PER_SECOND;
use dccd_model::{Grid, SeriesKind, UnixNanos};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use serde::Serialize;

use crate::Position;
use crate::candles::{CandleError, CandleSeriesId, Empties, SECONDS_MAX, YearFacts, add_rows};
use crate::catalog::{self, CandleSeries};
use crate::disk::{self, Disk};
use crate::error::{FileProblem, StoreError};
use crate::file::{FileWriter, check_written};
use crate::footer::{CandleFacts, Facts, FileInfo, Named, guarded};
use crate::layout;
use crate::lock::FileLock;
use crate::ranges::Ranges;
use crate::rows::CandleRow;

const PRICES: [&str; 5] = ["open", "high", "low", "close", "volume"];
/// What dccd 2.x calls the quote volume; also how it is called after that.
const QUOTE_VOLUME: [&str; 2] = ["quoteVolume", "quote_volume"];

/// What converting did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConvertReport {
    /// Files that were converted.
    pub converted: Vec<ConvertedFile>,
    /// Files of candles that were in our form already.
    pub others: u64,
}

/// A file that was converted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConvertedFile {
    /// The file, now in our form.
    pub file: PathBuf,
    /// The original.
    pub copy: PathBuf,
    /// Candles in it.
    pub rows: u64,
    /// Candles that dccd 2.x had made up where it had none: repetitions of the one before, and nulls. They are left out.
    pub made_up: u64,
}

/// Converts every file of candles that dccd 2.x wrote. Each original is copied first, below `copy_to` with the path that it has below
/// the data path. Hold the [`crate::StoreLock`]. Files that are in our form stay as they are, so that it can be run again.
///
/// # Errors
/// When a series is being written, or a file can't be read, copied or written: those before it are done, and this one is as it was.
pub fn convert_legacy(data_path: &Path, copy_to: &Path) -> Result<ConvertReport, CandleError> {
    let mut report = ConvertReport::default();
    for series in catalog::candle_series(data_path)? {
        let mut legacy = Vec::new();
        for path in &series.files {
            if is_legacy(path)? { legacy.push(path) } else { report.others += 1 }
        }
        if !legacy.is_empty() {
            convert_series(data_path, copy_to, &series, &legacy, &mut report)?;
        }
    }
    Ok(report)
}

fn convert_series(
    data_path: &Path,
    copy_to: &Path,
    series: &CandleSeries,
    legacy: &[&PathBuf],
    report: &mut ConvertReport,
) -> Result<(), CandleError> {
    let own = layout::candle_stage_dir(data_path, &series.id);
    disk::ensure_dir(&own)?;
    let _lock = FileLock::acquire(&own.join("lock"), &layout::candle_dir(data_path, &series.id))?;
    let mut disk = Disk::open(own.join("tmp"))?;
    for path in legacy {
        let (rows, made_up) = read(path)?;
        let copy = copy_aside(data_path, copy_to, path)?;
        write(&mut disk, &series.id, path, &rows)?;
        report.converted.push(ConvertedFile { file: (*path).clone(), copy, rows: rows.len() as u64, made_up });
    }
    Ok(())
}

fn is_legacy(path: &Path) -> Result<bool, StoreError> {
    // The form shows in the footer, or in the times where it says nothing of them. Other columns than these are told when it is extended.
    match YearFacts::read(path, Grid::new(dccd_model::Span::ONE_SECOND)) {
        Err(StoreError::File { problem: FileProblem::LegacyColumn { .. } | FileProblem::Seconds, .. }) => Ok(true),
        // Damaged ones are for verify, columns that nobody knows for the user.
        Err(error) if error.is_damage() => Ok(false),
        Err(error) => Err(error),
        Ok(_) => Ok(false),
    }
}

/// A year's candles in memory, and how many of its rows were made up.
fn read(path: &Path) -> Result<(Vec<CandleRow>, u64), StoreError> {
    let file = disk::open(path).map_err(|e| StoreError::io("read", path, e))?;
    let mut rows = Vec::new();
    let mut made_up = 0;
    guarded(path, || {
        let parquet_error = |e| StoreError::parquet("read", path, e);
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).map_err(parquet_error)?;
        let wanted = ["TS", "trades"].into_iter().chain(PRICES).chain(QUOTE_VOLUME);
        let mask = ProjectionMask::columns(builder.parquet_schema(), wanted);
        for batch in builder.with_projection(mask).with_batch_size(1 << 14).build().map_err(parquet_error)? {
            let batch = batch.map_err(|e| StoreError::arrow("read", path, e))?;
            made_up += decode(&batch, &mut rows).map_err(|problem| StoreError::file(path, problem))?;
        }
        Ok(())
    })?;
    rows.sort_by_key(|row| row.ts);
    // Of one time the last counts, as in dccd 2.x.
    rows.reverse();
    rows.dedup_by_key(|row| row.ts);
    rows.reverse();
    let before = rows.len();
    let mut last: Option<CandleRow> = None;
    rows.retain(|row| {
        let repeats = last.is_some_and(|last| CandleRow { ts: row.ts, ..last } == *row);
        last = Some(*row);
        // Without trades a candle may well be the one before.
        !(repeats && row.volume > 0.0)
    });
    let repeated = (before - rows.len()) as u64;
    Ok((rows, made_up + repeated))
}

/// Appends the candles of a batch; returns how many rows had no price.
fn decode(batch: &RecordBatch, rows: &mut Vec<CandleRow>) -> Result<u64, FileProblem> {
    let column = |name: &'static str| batch.column_by_name(name).ok_or(FileProblem::Column { column: name });
    let ts = column("TS")?;
    let [open, high, low, close, volume] = PRICES.map(column);
    let prices = [open?, high?, low?, close?, volume?];
    let quote_volume = QUOTE_VOLUME.iter().find_map(|name| batch.column_by_name(name));
    let trades = batch.column_by_name("trades");
    let mut empty = 0;
    for row in 0..batch.num_rows() {
        let numbers = prices.map(|column| number(column.as_ref(), row).filter(|number| number.is_finite()));
        let ([Some(open), Some(high), Some(low), Some(close), Some(volume)], Some(ts)) = (numbers, whole(ts.as_ref(), row))
        else {
            empty += 1;
            continue;
        };
        let quote_volume = quote_volume.and_then(|column| number(column.as_ref(), row)).filter(|n| n.is_finite());
        let trades = trades.and_then(|column| whole(column.as_ref(), row));
        let ts = UnixNanos(if ts < SECONDS_MAX { ts.saturating_mul(NANOS_PER_SECOND) } else { ts });
        rows.push(CandleRow { ts, open, high, low, close, volume, quote_volume, trades });
    }
    Ok(empty)
}

/// A number of whatever type it is stored in; `None` for null and for other types.
fn number(column: &dyn Array, row: usize) -> Option<f64> {
    if column.is_null(row) {
        return None;
    }
    let float = column.as_primitive_opt::<Float64Type>().map(|c| c.value(row));
    let float = float.or_else(|| column.as_primitive_opt::<Float32Type>().map(|c| f64::from(c.value(row))));
    #[allow(clippy::cast_precision_loss)] // whole prices and volumes lie far below 2^53
    float.or_else(|| whole(column, row).map(|whole| whole as f64))
}

fn whole(column: &dyn Array, row: usize) -> Option<i64> {
    if column.is_null(row) {
        return None;
    }
    let whole = column.as_primitive_opt::<Int64Type>().map(|c| c.value(row));
    let whole = whole.or_else(|| column.as_primitive_opt::<Int32Type>().map(|c| i64::from(c.value(row))));
    #[allow(clippy::cast_possible_truncation)] // saturates, and seconds are far from the ends
    whole.or_else(|| column.as_primitive_opt::<Float64Type>().map(|c| c.value(row) as i64))
}

/// Copies a file below `copy_to`, durably; an earlier copy with other bytes keeps its name.
fn copy_aside(data_path: &Path, copy_to: &Path, path: &Path) -> Result<PathBuf, StoreError> {
    let error = |e| StoreError::io("read", path, e);
    let bytes = std::fs::read(path).map_err(error)?;
    let target = copy_to.join(path.strip_prefix(data_path).unwrap_or(path));
    let mut free = target.clone();
    let mut n = 1;
    loop {
        match std::fs::read(&free) {
            Ok(there) if there == bytes => return Ok(free),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => break,
            Ok(_) => {}
            Err(error) => return Err(StoreError::io("read", &free, error)),
        }
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{n}"));
        free = target.with_file_name(name);
        n += 1;
    }
    disk::write_atomically(&free, &bytes)?;
    Ok(free)
}

fn write(disk: &mut Disk, id: &CandleSeriesId, path: &Path, rows: &[CandleRow]) -> Result<(), StoreError> {
    let mut covered = Ranges::default();
    add_rows(&mut covered, rows, Grid::new(id.span).step());
    let foreign = FileInfo::read(path)?.foreign;
    let named = Named {
        exchange: &id.exchange,
        symbol: &id.symbol,
        kind: SeriesKind::Candles(id.span),
        gaps: &[],
        contiguous_ids: false,
        // Covered where candles are: whatever the source does about empty ones, none is missing there.
        candles: Some(CandleFacts { covered: &covered, empties: Empties::Sent, listed: None }),
        foreign: &foreign,
    };
    let mut writer = FileWriter::new(disk.create()?, path)?;
    writer.extend(rows)?;
    let (temporary, written) = writer.finish(&Facts { position: Position(0), named: Some(named) })?;
    check_written::<CandleRow>(temporary.path(), &written, None)?;
    disk.publish(temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candles::tests::write_foreign;
    use crate::testing::tempdir;
    use crate::{inventory, read_candles};

    const HOUR: i64 = 3_600_000_000_000;
    const START: i64 = 1_704_067_200_000_000_000;

    fn row(hour: i64, price: f64, volume: f64) -> CandleRow {
        CandleRow {
            ts: UnixNanos(START + hour * HOUR),
            open: price,
            high: price,
            low: price,
            close: price,
            volume,
            quote_volume: Some(1.0),
            trades: Some(7),
        }
    }

    #[test]
    fn files_of_dccd_2_are_copied_and_then_converted_without_what_was_made_up() {
        let dir = tempdir();
        let path = dir.path().join("binance/ohlc/BTC-USDT/1h/2024.parquet");
        // 2 and 3 repeat 1; 5 repeats a candle without trades, which is as real as that one.
        let real = [
            row(0, 1.0, 2.0),
            row(1, 1.5, 2.0),
            row(4, 2.0, 0.0),
            row(5, 2.0, 0.0),
            row(6, f64::NAN, 1.0),
            row(7, 3.0, 1.0),
        ];
        let mut stored = real.to_vec();
        stored.splice(2..2, [row(2, 1.5, 2.0), row(3, 1.5, 2.0)]);
        write_foreign(&path, &stored, Some("quoteVolume"), 1_000_000_000);
        let ours = dir.path().join("binance/ohlc/ETH-USDT/1h/2024.parquet");
        write_foreign(&ours, &stored, None, 1);
        let (original, untouched) = (std::fs::read(&path).unwrap(), std::fs::read(&ours).unwrap());
        let legacy = dir.path().join(".dccd/legacy");
        let report = convert_legacy(dir.path(), &legacy).unwrap();
        let copy = legacy.join("binance/ohlc/BTC-USDT/1h/2024.parquet");
        let converted = ConvertedFile { file: path.clone(), copy: copy.clone(), rows: 5, made_up: 3 };
        assert_eq!(report, ConvertReport { converted: vec![converted], others: 1 });
        assert_eq!((std::fs::read(&copy).unwrap(), std::fs::read(&ours).unwrap()), (original, untouched));
        let id = CandleSeriesId {
            exchange: "binance".parse().unwrap(),
            symbol: "BTC/USDT".parse().unwrap(),
            span: "1h".parse().unwrap(),
        };
        let read = read_candles(dir.path(), &id, UnixNanos(0), UnixNanos(i64::MAX)).unwrap();
        let expected: Vec<_> = real.into_iter().filter(|row| row.open.is_finite()).collect();
        assert_eq!(read.map(Result::unwrap).collect::<Vec<_>>(), expected);
        assert!(crate::verify(dir.path(), Some("binance/BTC")).unwrap().is_sound());
        let rows = inventory(dir.path()).unwrap();
        assert_eq!((rows[0].rows, rows[0].gaps, rows[0].missing, rows[0].declared), (5, 2, Some(3), 0));
        // Once is enough, and another file of that name gets a copy of its own.
        assert_eq!(convert_legacy(dir.path(), &legacy).unwrap(), ConvertReport { converted: vec![], others: 2 });
        write_foreign(&path, &expected, Some("quoteVolume"), 1_000_000_000);
        let report = convert_legacy(dir.path(), &legacy).unwrap();
        assert_eq!(report.converted[0].copy, copy.with_file_name("2024.parquet.1"));
    }

    #[test]
    fn stopped_at_any_change_the_original_is_there_or_its_copy_and_the_new_file_are() {
        for n in 0.. {
            let dir = tempdir();
            let path = dir.path().join("binance/ohlc/BTC-USDT/1h/2024.parquet");
            write_foreign(&path, &[row(0, 1.0, 2.0), row(1, 1.5, 2.0)], Some("quoteVolume"), 1_000_000_000);
            let original = std::fs::read(&path).unwrap();
            let legacy = dir.path().join("copies");
            disk::faults::crash_at(n);
            let stopped = convert_legacy(dir.path(), &legacy).is_err();
            disk::faults::clear();
            let copy = legacy.join("binance/ohlc/BTC-USDT/1h/2024.parquet");
            if std::fs::read(&path).unwrap() != original {
                assert_eq!(std::fs::read(&copy).unwrap(), original);
            }
            convert_legacy(dir.path(), &legacy).unwrap();
            assert_eq!(std::fs::read(&copy).unwrap(), original);
            assert!(crate::verify(dir.path(), None).unwrap().is_sound());
            if !stopped {
                assert!(n > 10);
                return;
            }
        }
    }
}
