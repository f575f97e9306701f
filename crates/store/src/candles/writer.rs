//! The one writer of a series of candles.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dccd_model::{GapReason, Grid, UnixNanos};

use super::coverage::combine;
use super::publish::{Context, write_year, years_of};
use super::stage::{Stage, WINDOW_ROWS_MAX};
use super::years::{self, YearFacts};
use super::{CandleError, CandleSeriesId, Coverage, Empties, Landing, LandingProblem, stretch};
use crate::disk::{self, Disk};
use crate::error::StoreError;
use crate::layout;
use crate::lock::FileLock;
use crate::ranges::Ranges;

/// What a publishing did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Candles in the files that were written.
    pub rows: u64,
    /// Those among them that were taken over as they stood encoded in the files before.
    pub kept: u64,
    /// Files that were written.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Candles that were stored already, and of which the exchange says something else now. The newer answer stands.
    pub replaced: u64,
    /// Where damaged files went.
    pub quarantined: Vec<PathBuf>,
    /// What these had covered, and has to be asked for again.
    pub lost: Ranges,
}

/// Writes a series: windows land on a stage, and are published into year files.
///
/// Publish at the end of a run and whenever [`staged_rows`](Self::staged_rows) passes some hundred thousand: a staged row takes 64
/// bytes on the disk, and a publishing writes each year that it touches anew. Dropping a writer leaves the stage to the next one.
#[derive(Debug)]
pub struct CandleWriter {
    id: CandleSeriesId,
    data_path: PathBuf,
    grid: Grid,
    empties: Empties,
    disk: Disk,
    stage: Stage,
    years: BTreeMap<i32, YearFacts>,
    coverage: Coverage,
    _lock: FileLock,
}

impl CandleWriter {
    /// Locks the series against a second writer, cuts what a crash left half-written of the last window, and learns what is stored.
    ///
    /// # Errors
    /// [`CandleError::Lock`] when another writer has the series; when files can't be reached, or are of a form that isn't taken
    /// over (dccd 2.x's, unknown columns).
    pub fn open(data_path: &Path, id: &CandleSeriesId, empties: Empties) -> Result<Self, CandleError> {
        let own = layout::candle_stage_dir(data_path, id);
        disk::ensure_dir(&own)?;
        let lock = FileLock::acquire(&own.join("lock"), &layout::candle_dir(data_path, id))?;
        let mut disk = Disk::open(own.join("tmp"))?;
        let stage = Stage::open(&mut disk, data_path, id, empties)?;
        let grid = Grid::new(id.span);
        let staged_as = stage.empties;
        let mut writer = Self {
            id: id.clone(),
            data_path: data_path.to_owned(),
            grid,
            empties: staged_as,
            disk,
            stage,
            years: BTreeMap::new(),
            coverage: Coverage::new(grid, staged_as),
            _lock: lock,
        };
        writer.learn()?;
        if staged_as != empties {
            // What was staged for another kind of source is published as what it was.
            writer.publish()?;
            let listed = writer.stage.listed;
            writer.empties = empties;
            writer.stage.empty(&mut writer.disk, listed, empties)?;
            writer.learn()?;
        }
        Ok(writer)
    }

    fn learn(&mut self) -> Result<(), StoreError> {
        self.years = years::read_all_as(&self.data_path, &self.id, self.empties)?;
        self.combine()
    }

    fn combine(&mut self) -> Result<(), StoreError> {
        self.coverage = combine(self.years.values(), self.grid, Some(self.empties));
        self.stage.apply_to(&mut self.coverage)
    }

    /// The series.
    #[must_use]
    pub const fn id(&self) -> &CandleSeriesId {
        &self.id
    }

    /// What is known of it, in files and on the stage; always current.
    #[must_use]
    pub const fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// Remembers the open time of the market's first candle; durable with the next [`sync`](Self::sync) or [`publish`](Self::publish).
    ///
    /// # Errors
    /// When the stage can't be written.
    pub fn note_listing(&mut self, first: UnixNanos) -> Result<(), CandleError> {
        if self.coverage.listed != Some(first) {
            self.stage.note_listing(first)?;
            self.coverage.listed = Some(first);
        }
        Ok(())
    }

    /// Takes in a window. When this returns it is known, whatever process dies then; after a crash in between it is there in full or not
    /// at all. A power cut may take what was landed since the last [`sync`](Self::sync).
    ///
    /// # Errors
    /// [`CandleError::Landing`] for a window that is not what it says; [`StoreError::NoSpace`] and others when it can't be
    /// written. Nothing of it is known then, and it can be landed again.
    pub fn land(&mut self, landing: &Landing<'_>) -> Result<(), CandleError> {
        self.check(landing).map_err(|problem| CandleError::Landing {
            series: Box::new(self.id.clone()),
            from: landing.from,
            to: landing.to,
            problem,
        })?;
        let window = self.stage.land(landing, self.grid)?;
        self.coverage.apply(window, landing.rows.iter().map(|row| row.ts));
        Ok(())
    }

    fn check(&self, landing: &Landing<'_>) -> Result<(), LandingProblem> {
        let &Landing { from, to, rows, gaps } = landing;
        if from >= to || !self.grid.is_open(from) || !self.grid.is_open(to) {
            return Err(LandingProblem::Ends);
        }
        if rows.len() > WINDOW_ROWS_MAX || gaps.len() > WINDOW_ROWS_MAX {
            return Err(LandingProblem::TooLong { rows: rows.len() });
        }
        let mut gaps = (0..).zip(gaps).peekable();
        // Up to here everything is there or declared.
        let mut reached = from;
        let mut pass_gaps = |reached: &mut UnixNanos, until: UnixNanos| -> Result<(), LandingProblem> {
            while let Some((number, gap)) = gaps.next_if(|(_, gap)| gap.from < until) {
                let (begin, end) = stretch(gap, self.grid);
                let whole = self.grid.is_open(begin) && self.grid.is_open(end) && begin < end;
                if gap.reason != GapReason::NoData || gap.repaired || !whole || begin < *reached || end > until {
                    return Err(LandingProblem::Gap { gap: number });
                }
                if self.empties == Empties::Sent && begin > *reached {
                    return Err(LandingProblem::Undeclared { ts: *reached });
                }
                *reached = end;
            }
            match self.empties {
                Empties::Sent if *reached < until => Err(LandingProblem::Undeclared { ts: *reached }),
                _ => Ok(()),
            }
        };
        for (number, row) in rows.iter().enumerate() {
            let ts = row.ts;
            if ts < reached || ts >= to || !self.grid.is_open(ts) {
                return Err(LandingProblem::Row { row: number, ts });
            }
            if !row.is_finite() {
                return Err(LandingProblem::NotFinite { row: number, ts });
            }
            if ts > reached {
                pass_gaps(&mut reached, ts)?;
            }
            reached = UnixNanos(ts.0 + self.grid.step());
        }
        pass_gaps(&mut reached, to)?;
        match gaps.next() {
            Some((number, _)) => Err(LandingProblem::Gap { gap: number }),
            None => Ok(()),
        }
    }

    /// Makes everything that was landed outlast a power cut.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&mut self) -> Result<(), CandleError> {
        Ok(self.stage.sync()?)
    }

    /// How many candles wait on the stage.
    #[must_use]
    pub fn staged_rows(&self) -> u64 {
        self.stage.rows()
    }

    /// Merges the stage into year files, and empties it. Memory doesn't grow with the rows.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`] and others when a file can't be written. The stage stays as it is, years before the failing one may
    /// be written, and publishing again gives what it would have given.
    pub fn publish(&mut self) -> Result<Published, CandleError> {
        let published = self.write_years();
        if published.is_err() {
            // A year may have lost what a damaged file had covered.
            self.combine()?;
        }
        let published = published?;
        let listed = self.coverage.listed;
        let in_files = combine(self.years.values(), self.grid, Some(self.empties)).listed;
        let waits = listed.filter(|_| in_files != listed);
        if !self.stage.windows.is_empty() || self.stage.listed != waits {
            self.stage.empty(&mut self.disk, waits, self.empties)?;
            self.combine()?;
        }
        Ok(published)
    }

    fn write_years(&mut self) -> Result<Published, StoreError> {
        let mut published = Published::default();
        for year in years_of(&self.stage.windows, self.grid) {
            let ctx = Context {
                data_path: &self.data_path,
                id: &self.id,
                grid: self.grid,
                empties: self.empties,
                listed: self.coverage.listed,
                stage: Some(self.stage.source()),
                windows: &self.stage.windows,
            };
            let written = write_year(&ctx, &mut self.disk, year)?;
            tracing::debug!(series = %self.id, year, rows = written.facts.rows, kept = written.kept, "a year of candles was written");
            published.rows += written.facts.rows;
            published.kept += written.kept;
            published.files += 1;
            published.bytes += written.facts.bytes;
            published.replaced += written.replaced;
            let before = self.years.insert(year, written.facts);
            if let Some(path) = written.quarantined {
                published.quarantined.push(path);
                // A file whose damage showed when the series was opened counted for nothing from then on.
                let before = before.map(|facts| facts.covered).unwrap_or_default();
                let staged = self.stage.windows.iter().map(|window| (window.from, window.to)).collect();
                published.lost = std::mem::take(&mut published.lost).union(&before.minus(&staged));
            }
        }
        Ok(published)
    }
}
