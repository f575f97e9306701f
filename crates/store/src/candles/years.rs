//! The year files of a series: where they are, and what each says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use dccd_model::{Gap, GapReason, Grid, UnixNanos};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use serde::{Deserialize, Serialize};

use super::coverage::no_data;
use super::{CandleSeriesId, Empties};
use crate::disk;
use crate::error::{FileProblem, StoreError};
use crate::file::Rows;
use crate::footer::{FileInfo, guarded};
use crate::layout;
use crate::ranges::Ranges;
use crate::rows::CandleRow;
use crate::rows::sealed::Codec;

/// Columns of dccd 2.x. The second has no place in ours.
pub(crate) const LEGACY_COLUMNS: [&str; 2] = ["quoteVolume", "weightedAverage"];
/// Times before this are seconds, up to the year 5138; in nanoseconds it is two minutes after the epoch. dccd 3.x extends files of 2.x so
/// that both stand in one.
pub(crate) const SECONDS_MAX: i64 = 100_000_000_000;

/// What a year file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct YearFacts {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) first: Option<UnixNanos>,
    pub(crate) last: Option<UnixNanos>,
    /// In files of other programs the runs of consecutive candles.
    pub(crate) covered: Ranges,
    pub(crate) declared: Ranges,
    /// Declared gaps of other kinds.
    pub(crate) others: Vec<Gap>,
    /// `None` in files of other programs.
    pub(crate) empties: Option<Empties>,
    pub(crate) listed: Option<UnixNanos>,
}

impl YearFacts {
    /// From the footer; of files of other programs the open times are read.
    pub(crate) fn read(path: &Path, grid: Grid) -> Result<Self, StoreError> {
        let info = FileInfo::read(path)?;
        check_form(path, &info)?;
        let declared = no_data(&info.gaps, grid);
        let others = info.gaps.into_iter().filter(|gap| gap.reason != GapReason::NoData || gap.repaired).collect();
        let mut facts =
            Self { rows: info.rows, bytes: info.bytes, declared, others, listed: info.listed, ..Self::default() };
        match (info.covered, info.empties, info.range, info.checksum) {
            (Some(covered), Some(empties), range, Some(_)) if range.is_some() || info.rows == 0 => {
                (facts.covered, facts.empties) = (covered, Some(empties));
                (facts.first, facts.last) = range.unzip();
            }
            _ => facts.count_rows(path, grid)?,
        }
        Ok(facts)
    }

    /// The same, where a missing candle is to be one that the exchange doesn't have: what another kind of source has covered then
    /// counts only where candles are.
    pub(crate) fn read_as(path: &Path, grid: Grid, empties: Empties) -> Result<Self, StoreError> {
        let mut facts = Self::read(path, grid)?;
        if facts.empties.is_none() {
            // Before anything is fetched for a file that can't be extended.
            check_columns(path)?;
        }
        if empties == Empties::Sent && facts.empties == Some(Empties::Omitted) {
            facts.count_rows(path, grid)?;
            facts.covered = facts.covered.union(&facts.declared);
        }
        Ok(facts)
    }

    fn count_rows(&mut self, path: &Path, grid: Grid) -> Result<(), StoreError> {
        (self.rows, self.covered) = (0, Ranges::default());
        let mut last: Option<i64> = None;
        let mut number = 0;
        for_each_ts(path, |ts| {
            if last.is_some_and(|last| ts < last) {
                return Err(FileProblem::Order { row: number });
            }
            number += 1;
            if last != Some(ts) {
                self.rows += 1;
                self.first = self.first.or(Some(UnixNanos(ts)));
                self.covered.insert(UnixNanos(ts), UnixNanos(ts.saturating_add(grid.step())));
                last = Some(ts);
            }
            Ok(())
        })?;
        if self.first.is_some_and(|first| first.0 < SECONDS_MAX) {
            return Err(StoreError::file(path, FileProblem::Seconds));
        }
        self.last = last.map(UnixNanos);
        Ok(())
    }
}

/// Whether every column is there that must be.
fn check_columns(path: &Path) -> Result<(), StoreError> {
    Rows::<CandleRow>::open(path).map(drop)
}

/// Whether we can take the file over without losing anything that is in it.
pub(crate) fn check_form(path: &Path, info: &FileInfo) -> Result<(), StoreError> {
    let ours = CandleRow::schema();
    for name in &info.columns {
        if let Some(column) = LEGACY_COLUMNS.iter().find(|legacy| *legacy == name) {
            return Err(StoreError::file(path, FileProblem::LegacyColumn { column }));
        }
    }
    if info.range.is_some_and(|(first, _)| first.0 < SECONDS_MAX) {
        return Err(StoreError::file(path, FileProblem::Seconds));
    }
    match info.columns.iter().find(|name| ours.field_with_name(name).is_err()) {
        Some(column) => Err(StoreError::file(path, FileProblem::UnknownColumn { column: column.clone() })),
        None => Ok(()),
    }
}

/// Reads a file's `TS` column alone.
fn for_each_ts(path: &Path, mut each: impl FnMut(i64) -> Result<(), FileProblem>) -> Result<(), StoreError> {
    let file = disk::open(path).map_err(|e| StoreError::io("read", path, e))?;
    guarded(path, || {
        let parquet_error = |e| StoreError::parquet("read", path, e);
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).map_err(parquet_error)?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), ["TS"]);
        for batch in builder.with_projection(mask).with_batch_size(1 << 14).build().map_err(parquet_error)? {
            let batch = batch.map_err(|e| StoreError::arrow("read", path, e))?;
            let column = batch.column_by_name("TS").and_then(|c| c.as_primitive_opt::<Int64Type>());
            let column = column.ok_or_else(|| StoreError::file(path, FileProblem::Column { column: "TS" }))?;
            for ts in column.iter().flatten() {
                each(ts).map_err(|problem| StoreError::file(path, problem))?;
            }
        }
        Ok(())
    })
}

/// The year of a year file's name.
pub(crate) fn year_of_file(name: &str) -> Option<i32> {
    let year = name.strip_suffix(".parquet")?;
    (year.len() == 4 && year.bytes().all(|b| b.is_ascii_digit())).then(|| year.parse().ok())?
}

/// The path of a year file in its series' directory.
pub(crate) fn year_file(dir: &Path, year: i32) -> PathBuf {
    dir.join(format!("{year:04}.parquet"))
}

/// The years of a series that have a file.
pub(crate) fn list(dir: &Path) -> Result<Vec<i32>, StoreError> {
    let names = layout::names(dir).map_err(|e| StoreError::io("list", dir, e))?;
    Ok(names.iter().filter_map(|name| year_of_file(name)).collect())
}

/// The year files of a series, ascending.
pub(crate) fn files(data_path: &Path, id: &CandleSeriesId) -> Result<Vec<PathBuf>, StoreError> {
    let dir = layout::candle_dir(data_path, id);
    let mut years = list(&dir)?;
    years.sort_unstable();
    Ok(years.into_iter().map(|year| year_file(&dir, year)).collect())
}

/// What every year file says. One that is damaged says nothing: its year counts as never asked for.
pub(crate) fn read_all(data_path: &Path, id: &CandleSeriesId) -> Result<BTreeMap<i32, YearFacts>, StoreError> {
    read_all_with(data_path, id, YearFacts::read)
}

/// The same for a writer whose source does this about empty candles.
pub(crate) fn read_all_as(
    data_path: &Path,
    id: &CandleSeriesId,
    empties: Empties,
) -> Result<BTreeMap<i32, YearFacts>, StoreError> {
    read_all_with(data_path, id, |path, grid| YearFacts::read_as(path, grid, empties))
}

fn read_all_with(
    data_path: &Path,
    id: &CandleSeriesId,
    read: impl Fn(&Path, Grid) -> Result<YearFacts, StoreError>,
) -> Result<BTreeMap<i32, YearFacts>, StoreError> {
    let (dir, grid) = (layout::candle_dir(data_path, id), Grid::new(id.span));
    let mut all = BTreeMap::new();
    for year in list(&dir)? {
        match read(&year_file(&dir, year), grid) {
            Ok(facts) => drop(all.insert(year, facts)),
            Err(error) if error.is_damage() && !error.is_foreign_form() => {
                let file = year_file(&dir, year);
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(file = %file.display(), error = %error, cause, "a year of candles is damaged and counts as not stored");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}
