//! What is stored: one line a series, from the footers of its files. Works beside a running recorder.

mod gaps;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dccd_model::{Channel, ExchangeName, Gap, Grid, SeriesId, SeriesKind, UnixNanos};
use serde::{Serialize, Serializer};

use crate::candles::{CandleSeriesId, Coverage, Empties, StageView, combine, stage_path, year_of_file};
use crate::catalog::{self, CandleSeries, LiveSeries};
use crate::coverage_map::CoverageMap;
use crate::error::{FileProblem, StoreError};
use crate::footer::FileInfo;
use crate::layout;
use crate::ranges::Ranges;
use crate::recorder::gaps::upsert;

pub use gaps::{GapRow, gaps};

/// One series. Serializes as `dccd inventory --json` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InventoryRow {
    /// Where it is traded.
    pub exchange: String,
    /// The symbol.
    pub pair: String,
    /// `ohlc`, `trades`, `orderbook`, `quotes`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Label of the span; `None` for live series.
    pub span: Option<String>,
    /// Time of the first row; `None` without rows.
    #[serde(serialize_with = "rfc3339")]
    pub from: Option<UnixNanos>,
    /// Time of the last row.
    #[serde(serialize_with = "rfc3339")]
    pub to: Option<UnixNanos>,
    /// Rows, those of the open day's parts included, and candles that are staged.
    pub rows: u64,
    /// Gaps that are not repaired. Of candles every maximal run of missing ones between the first and the last, whether the exchange
    /// doesn't have them or was not asked yet; where it sends nothing for a stretch without trades, only the latter.
    pub gaps: u64,
    /// Missing candles or trade ids in them; `None` where it can't be known.
    pub missing: Option<u64>,
    /// Bytes on the disk, those of the open day's parts and of staged candles included.
    pub bytes: u64,
    /// Day or year files.
    pub files: u64,
    /// How many of the missing are candles that the exchange itself says it doesn't have.
    pub declared: u64,
    /// Files that can't be read. What they held counts as a gap, of which nobody can say how much is missing, unless candles around it
    /// tell; `verify` says what is wrong with each.
    pub unreadable: Vec<PathBuf>,
}

fn rfc3339<S: Serializer>(time: &Option<UnixNanos>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}

/// Everything that is stored, ordered by exchange, symbol, type and span. A data path without anything is an empty list.
///
/// Opens only files that changed since they were looked at last: what the others say is in the coverage map
/// (`.dccd/coverage`), which this brings up to date where it can be written.
///
/// # Errors
/// When a directory can't be read, or a file can't be reached. One that is damaged is named in its row.
pub fn inventory(data_path: &Path) -> Result<Vec<InventoryRow>, StoreError> {
    let mut maps = Maps::new(data_path, CoverageMap::load);
    let rows = maps.inventory()?;
    maps.save();
    Ok(rows)
}

/// The same from the files alone, without the coverage map.
///
/// # Errors
/// As [`inventory`](fn@inventory).
pub fn inventory_from_files(data_path: &Path) -> Result<Vec<InventoryRow>, StoreError> {
    Maps::new(data_path, CoverageMap::empty).inventory()
}

/// What making the coverage map anew found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RepairReport {
    /// Files that were read.
    pub files: u64,
    /// Entries that were missing, said something else than the file, or had no file any more.
    pub repaired: u64,
    /// Files that can't be read; `verify` says what is wrong with them.
    pub unreadable: Vec<PathBuf>,
}

/// Makes the coverage map anew from the files.
///
/// # Errors
/// When a directory or a footer can't be read, or the map can't be written.
pub fn repair_coverage(data_path: &Path) -> Result<RepairReport, StoreError> {
    let mut maps = Maps::new(data_path, CoverageMap::empty);
    let unreadable = maps.inventory()?.into_iter().flat_map(|row| row.unreadable).collect();
    let mut report = RepairReport { unreadable, ..RepairReport::default() };
    for (exchange, map) in maps.open {
        report.files += map.counts.files;
        report.repaired += map.differs_from(&CoverageMap::load(data_path, &exchange));
        map.write()?;
    }
    Ok(report)
}

/// What is known of a live series.
struct Live {
    row: InventoryRow,
    /// Those that were repaired, too.
    gaps: Vec<Gap>,
}

/// What is known of a series of candles.
struct Candles {
    row: InventoryRow,
    all: Coverage,
    /// Years that can't be read, before the first candle that is known or behind the last.
    lost: Ranges,
    stage_is_lost: bool,
}

/// What footers say, exchange by exchange.
struct Maps<'a> {
    data_path: &'a Path,
    load: fn(&Path, &ExchangeName) -> CoverageMap,
    open: BTreeMap<ExchangeName, CoverageMap>,
}

impl<'a> Maps<'a> {
    const fn new(data_path: &'a Path, load: fn(&Path, &ExchangeName) -> CoverageMap) -> Self {
        Self { data_path, load, open: BTreeMap::new() }
    }

    /// Keeps what was learnt.
    fn save(self) {
        self.open.into_values().for_each(CoverageMap::save);
    }

    fn inventory(&mut self) -> Result<Vec<InventoryRow>, StoreError> {
        let mut rows = Vec::new();
        for series in catalog::live_series(self.data_path)? {
            rows.push(self.live(&series)?.row);
        }
        for series in catalog::candle_series(self.data_path)? {
            rows.extend(self.candles(&series)?.map(|candles| candles.row));
        }
        rows.sort_by(|a, b| (&a.exchange, &a.pair, &a.kind, &a.span).cmp(&(&b.exchange, &b.pair, &b.kind, &b.span)));
        Ok(rows)
    }

    fn of(&mut self, exchange: &ExchangeName) -> &mut CoverageMap {
        self.open.entry(exchange.clone()).or_insert_with(|| (self.load)(self.data_path, exchange))
    }

    fn live(&mut self, series: &LiveSeries) -> Result<Live, StoreError> {
        let map = self.of(&series.layout.exchange);
        let mut row = InventoryRow::new(&series.id());
        let mut gaps = Vec::new();
        for day in &series.days {
            let file = series.day_file(*day);
            let footers = series.footers_with(*day, &mut |path| map.day(path))?;
            for (path, error) in footers.damaged {
                row.note_unreadable(path, &error);
            }
            for (path, info) in footers.files {
                info.gaps.iter().for_each(|gap| upsert(&mut gaps, gap));
                row.add(&info, path != file);
            }
        }
        series.open_gaps()?.iter().for_each(|gap| upsert(&mut gaps, gap));
        let open = || gaps.iter().filter(|gap| !gap.repaired);
        // Of what a file held that can't be read, nobody knows.
        row.gaps = (open().count() + row.unreadable.len()) as u64;
        row.missing = open().map(Gap::missing).sum::<Option<u64>>().filter(|_| row.unreadable.is_empty());
        Ok(Live { row, gaps })
    }

    /// `None` for a series of which nothing is stored.
    fn candles(&mut self, series: &CandleSeries) -> Result<Option<Candles>, StoreError> {
        // The stage first: what a writer moves from there to files meanwhile is then seen twice, not never.
        let grid = Grid::new(series.id.span);
        let mut row = InventoryRow::new(&series.id.series());
        let stage = match StageView::open(self.data_path, &series.id) {
            Err(error) if error.is_damage() => {
                row.note_unreadable(stage_path(self.data_path, &series.id), &error);
                None
            }
            other => other?,
        };
        if let Some(stage) = stage.as_ref().filter(|stage| stage.is_damaged) {
            let path = stage_path(self.data_path, &series.id);
            row.note_unreadable(path.clone(), &StoreError::file(&path, FileProblem::Checksum));
            // The part of it that is whole is counted below.
            row.bytes = row.bytes.saturating_sub(stage.bytes());
        }
        // It is no year file; what it held may have been of any time.
        row.files = 0;
        let stage_is_lost = !row.unreadable.is_empty();
        let mut years = Vec::new();
        let mut lost = Ranges::default();
        // Listed after the stage was opened, for the same reason.
        for path in &crate::candles::year_files(self.data_path, &series.id)? {
            match self.of(&series.id.exchange).year(path, grid) {
                Ok(facts) => {
                    row.files += 1;
                    row.bytes += facts.bytes;
                    years.push(facts);
                }
                Err(error) if error.is_damage() => {
                    let year = path.file_name().and_then(|name| year_of_file(name.to_str()?));
                    if let Some((from, to)) = year.map(|year| grid.year(year)) {
                        lost.insert(from, to);
                    }
                    row.note_unreadable(path.clone(), &error);
                }
                Err(error) => return Err(error),
            }
        }
        let mut all = combine(years.iter(), grid, stage.as_ref().map(|stage| stage.empties));
        let mut staged = false;
        if let Some(stage) = &stage {
            staged = !stage.windows.is_empty();
            row.bytes += if staged { stage.bytes() } else { 0 };
            stage.apply_to(&mut all)?;
        }
        for year in quarantined_years(self.data_path, &series.id)? {
            lost = lost.union(&not_fetched_again(&all, grid.year(year)));
        }
        row.count_candles(&all);
        let lost = lost.minus(&known(&all, grid));
        row.count_lost(&lost);
        if stage_is_lost {
            row.gaps += 1;
            row.missing = None;
        }
        let is_stored = staged || row.files > 0 || stage_is_lost;
        Ok(is_stored.then_some(Candles { row, all, lost, stage_is_lost }))
    }
}

/// The years of which a file went to the quarantine.
fn quarantined_years(data_path: &Path, id: &CandleSeriesId) -> Result<Vec<i32>, StoreError> {
    let dir = layout::candle_dir(&layout::quarantine(data_path), id);
    let names = layout::names(&dir).map_err(|e| StoreError::io("list", &dir, e))?;
    // `2024.parquet`, `2024.parquet.1`.
    let year =
        |name: &String| Some(name.find(".parquet")? + ".parquet".len()).and_then(|end| year_of_file(name.get(..end)?));
    let mut years: Vec<i32> = names.iter().filter_map(year).collect();
    years.dedup();
    Ok(years)
}

/// What of a year whose file went to the quarantine was not answered for since: from the market's listing on, and up to the last
/// candle, where that is of this year.
fn not_fetched_again(all: &Coverage, (from, to): (UnixNanos, UnixNanos)) -> Ranges {
    let from = all.listed.map_or(from, |listed| listed.max(from));
    let to = all.last.filter(|last| *last >= from && *last < to).unwrap_or(to);
    if from < to { [(from, to)].into_iter().collect::<Ranges>().minus(&all.covered) } else { Ranges::default() }
}

/// From the first candle to the end of the last.
fn known(all: &Coverage, grid: Grid) -> Ranges {
    match (all.first, all.last) {
        (Some(first), Some(last)) => [(first, UnixNanos(last.0 + grid.step()))].into_iter().collect(),
        _ => Ranges::default(),
    }
}

impl InventoryRow {
    fn new(series: &SeriesId) -> Self {
        let (kind, span) = match series.kind {
            SeriesKind::Live(channel) => (channel, None),
            SeriesKind::Candles(span) => (Channel::Ohlc, Some(span.to_string())),
        };
        Self {
            exchange: series.exchange.to_string(),
            pair: series.symbol.to_string(),
            kind: kind.directory().to_owned(),
            span,
            from: None,
            to: None,
            rows: 0,
            gaps: 0,
            missing: Some(0),
            bytes: 0,
            files: 0,
            declared: 0,
            unreadable: Vec::new(),
        }
    }

    fn count_candles(&mut self, all: &Coverage) {
        let missing: Ranges = all.missing();
        (self.from, self.to, self.rows) = (all.first, all.last, all.rows);
        self.gaps = missing.len() as u64;
        self.missing = Some(all.count(&missing));
        if let (Empties::Sent, Some(first), Some(last)) = (all.empties, all.first, all.last) {
            self.declared = all.count(&all.declared.clip(first, last));
        }
    }

    /// Years that can't be read, before the first candle and behind the last. Those between are counted as missing candles.
    fn count_lost(&mut self, lost: &Ranges) {
        self.gaps += lost.len() as u64;
        self.missing = self.missing.filter(|_| lost.is_empty());
    }

    fn note_unreadable(&mut self, path: PathBuf, error: &StoreError) {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::warn!(error = %error, cause, "a file of the store can't be read and counts as a gap");
        self.files += 1;
        self.bytes += std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        self.unreadable.push(path);
    }

    fn add(&mut self, info: &FileInfo, is_part: bool) {
        self.rows += info.rows;
        self.bytes += info.bytes;
        self.files += u64::from(!is_part);
        if let Some((from, to)) = info.range {
            self.from = Some(self.from.map_or(from, |f| f.min(from)));
            self.to = Some(self.to.map_or(to, |t| t.max(to)));
        }
    }
}

#[cfg(test)]
mod tests;
