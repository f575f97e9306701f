//! Candles of a series between two times, across years, and from the stage too.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dccd_model::UnixNanos;
use dccd_model::grid::{Grid, year_of};

use super::CandleSeriesId;
use super::merge::{Merge, MergeError};
use super::publish::years_of;
use super::stage::StageView;
use super::years::{self, check_form, year_file};
use crate::catalog::is_missing;
use crate::error::StoreError;
use crate::file::Rows;
use crate::layout;
use crate::rows::CandleRow;

/// The candles of a series that open in `[from, to)`, ascending. Works beside a writer: what it has landed is in them.
///
/// # Errors
/// When directories or the stage can't be read; what is wrong with a file comes in its place and ends the rows.
pub fn read_candles(
    data_path: &Path,
    id: &CandleSeriesId,
    from: UnixNanos,
    to: UnixNanos,
) -> Result<CandleRows, StoreError> {
    // The stage first: what a writer moves from there to files meanwhile is then seen twice, not never.
    let stage = StageView::open(data_path, id)?;
    let (dir, grid) = (layout::candle_dir(data_path, id), Grid::new(id.span));
    let mut years: BTreeSet<i32> = years::list(&dir)?.into_iter().collect();
    if let Some(stage) = &stage {
        years.extend(years_of(&stage.windows, grid));
    }
    let years: Vec<i32> = if from < to {
        years.range(year_of(from)..=year_of(UnixNanos(to.0 - 1))).rev().copied().collect()
    } else {
        Vec::new()
    };
    Ok(CandleRows { dir, grid, stage, years, from, to, open: None, chunk: Vec::new(), taken: 0 })
}

/// Candles, one after the other; an error ends them. Memory doesn't grow with them.
pub struct CandleRows {
    dir: PathBuf,
    grid: Grid,
    stage: Option<StageView>,
    /// Still to come, the next one last.
    years: Vec<i32>,
    from: UnixNanos,
    to: UnixNanos,
    open: Option<Merge>,
    chunk: Vec<CandleRow>,
    taken: usize,
}

impl CandleRows {
    /// Fills the chunk; `false` at the end.
    fn fill(&mut self) -> Result<bool, StoreError> {
        self.chunk.clear();
        self.taken = 0;
        loop {
            if let Some(merge) = &mut self.open {
                if merge.next(&mut self.chunk).map_err(MergeError::into_store)? {
                    return Ok(true);
                }
                self.open = None;
            }
            let Some(year) = self.years.pop() else { return Ok(false) };
            self.open = Some(self.open_year(year)?);
        }
    }

    fn open_year(&self, year: i32) -> Result<Merge, StoreError> {
        let path = year_file(&self.dir, year);
        let old = match Rows::open_with_info(&path) {
            Ok((rows, info)) => {
                check_form(&path, &info)?;
                Some((rows, info.checksum.is_some()))
            }
            Err(error) if is_missing(&error) => None,
            Err(error) => return Err(error),
        };
        let (from, to) = self.grid.year(year);
        let bounds = (self.from.max(from), self.to.min(to));
        let (source, windows) = self.stage.as_ref().map(|stage| (stage.source(), stage.windows.as_slice())).unzip();
        Merge::new(old, source, windows.unwrap_or_default(), bounds).map_err(MergeError::into_store)
    }
}

impl Iterator for CandleRows {
    type Item = Result<CandleRow, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.taken == self.chunk.len() {
            match self.fill() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    (self.years, self.open) = (Vec::new(), None);
                    self.chunk.clear();
                    return Some(Err(error));
                }
            }
        }
        let row = self.chunk[self.taken];
        self.taken += 1;
        Some(Ok(row))
    }
}
