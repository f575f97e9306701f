//! What is stored: one line a series, from the footers of its files. Works beside a running recorder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dccd_model::{Channel, ExchangeName, Grid, SeriesId, SeriesKind, UnixNanos};
use serde::{Serialize, Serializer};

use crate::candles::{CandleSeriesId, Coverage, Empties, StageView, combine, stage_path, year_of_file};
use crate::catalog::{self, CandleSeries, LiveSeries};
use crate::coverage_map::CoverageMap;
use crate::error::{FileProblem, StoreError};
use crate::footer::FileInfo;
use crate::layout;
use crate::ranges::Ranges;
use crate::recorder::gaps::upsert;

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
    let mut maps = Maps { data_path, load: CoverageMap::load, open: BTreeMap::new() };
    let rows = maps.inventory()?;
    maps.open.into_values().for_each(CoverageMap::save);
    Ok(rows)
}

/// The same from the files alone, without the coverage map.
///
/// # Errors
/// As [`inventory`](fn@inventory).
pub fn inventory_from_files(data_path: &Path) -> Result<Vec<InventoryRow>, StoreError> {
    Maps { data_path, load: CoverageMap::empty, open: BTreeMap::new() }.inventory()
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
    let mut maps = Maps { data_path, load: CoverageMap::empty, open: BTreeMap::new() };
    let unreadable = maps.inventory()?.into_iter().flat_map(|row| row.unreadable).collect();
    let mut report = RepairReport { unreadable, ..RepairReport::default() };
    for (exchange, map) in maps.open {
        report.files += map.counts.files;
        report.repaired += map.differs_from(&CoverageMap::load(data_path, &exchange));
        map.write()?;
    }
    Ok(report)
}

/// What footers say, exchange by exchange.
struct Maps<'a> {
    data_path: &'a Path,
    load: fn(&Path, &ExchangeName) -> CoverageMap,
    open: BTreeMap<ExchangeName, CoverageMap>,
}

impl Maps<'_> {
    fn inventory(&mut self) -> Result<Vec<InventoryRow>, StoreError> {
        let mut rows = Vec::new();
        for series in catalog::live_series(self.data_path)? {
            rows.push(self.live_row(&series)?);
        }
        for series in catalog::candle_series(self.data_path)? {
            rows.extend(self.candle_row(&series)?);
        }
        rows.sort_by(|a, b| (&a.exchange, &a.pair, &a.kind, &a.span).cmp(&(&b.exchange, &b.pair, &b.kind, &b.span)));
        Ok(rows)
    }

    fn of(&mut self, exchange: &ExchangeName) -> &mut CoverageMap {
        self.open.entry(exchange.clone()).or_insert_with(|| (self.load)(self.data_path, exchange))
    }

    fn live_row(&mut self, series: &LiveSeries) -> Result<InventoryRow, StoreError> {
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
        gaps.retain(|gap| !gap.repaired);
        // Of what a file held that can't be read, nobody knows.
        row.gaps = (gaps.len() + row.unreadable.len()) as u64;
        row.missing = gaps.iter().map(dccd_model::Gap::missing).sum::<Option<u64>>().filter(|_| row.unreadable.is_empty());
        Ok(row)
    }

    /// `None` for a series of which nothing is stored.
    fn candle_row(&mut self, series: &CandleSeries) -> Result<Option<InventoryRow>, StoreError> {
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
        row.count_lost(&all, &lost, grid);
        if stage_is_lost {
            row.gaps += 1;
            row.missing = None;
        }
        Ok((staged || row.files > 0 || stage_is_lost).then_some(row))
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

    /// Years that can't be read: between candles they are counted as missing ones, before the first and behind the last as stretches of
    /// which nothing is known.
    fn count_lost(&mut self, all: &Coverage, lost: &Ranges, grid: Grid) {
        let known: Ranges = match (all.first, all.last) {
            (Some(first), Some(last)) => [(first, UnixNanos(last.0 + grid.step()))].into_iter().collect(),
            _ => Ranges::default(),
        };
        let outside = lost.minus(&known);
        self.gaps += outside.len() as u64;
        self.missing = self.missing.filter(|_| outside.is_empty());
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
mod tests {
    use dccd_model::{Gap, GapReason};

    use super::*;
    use crate::CommitMode::{Close, Step};
    use crate::testing::{Writer, at, tempdir};

    fn gap(seconds: i64, ids: Option<(u64, u64)>, repaired: bool) -> Gap {
        Gap { from: at(seconds), to: at(seconds + 1), reason: GapReason::Disconnected, repaired, ids }
    }

    #[test]
    fn counts_what_is_there_and_what_is_declared_missing() {
        let dir = tempdir();
        assert_eq!(inventory(dir.path()).unwrap(), []);
        let mut writer = Writer::new(&dir);
        for n in 0..20_000 {
            writer.trade(n, 1000 + n.unsigned_abs());
        }
        writer.quote(5);
        writer.gap(Channel::Trades, &gap(19_999, Some((21_000, 21_009)), false));
        writer.gap(Channel::Trades, &gap(50, Some((500, 510)), true));
        writer.commit(Step);
        for n in 20_001..20_100 {
            writer.trade(n, 1010 + n.unsigned_abs());
        }
        // Waits in the checkpoint, because the day file is not written at this commit.
        writer.gap(Channel::Trades, &gap(20_050, Some((30_000, 30_000)), false));
        writer.gap(Channel::Book, &gap(7, None, false));
        writer.commit(Step);
        let rows = inventory(dir.path()).unwrap();
        let brief: Vec<_> = rows.iter().map(|r| (r.kind.as_str(), r.rows, r.gaps, r.missing, r.files)).collect();
        assert_eq!(brief, [("orderbook", 0, 1, None, 0), ("quotes", 1, 0, Some(0), 1), ("trades", 20_099, 2, Some(11), 1)]);
        let before = rows[2].bytes;
        writer.commit(Close);
        let rows = inventory(dir.path()).unwrap();
        assert_eq!((rows[2].rows, rows[2].gaps, rows[2].missing), (20_099, 2, Some(11)));
        assert!(rows[2].bytes < before);
        assert_eq!(
            serde_json::to_value(&rows[2]).unwrap(),
            serde_json::json!({
                "exchange": "binance", "pair": "BTC/USDT", "type": "trades", "span": null,
                "from": "2024-08-08T00:00:00Z", "to": "2024-08-08T05:34:59Z",
                "rows": 20_099, "gaps": 2, "missing": 11, "bytes": rows[2].bytes, "files": 1, "declared": 0, "unreadable": []
            })
        );
    }

    #[test]
    fn candles_are_counted_with_their_holes_across_years() {
        use arrow_array::{ArrayRef, Int64Array, RecordBatch};
        let dir = tempdir();
        let folder = dir.path().join("kraken/ohlc/BTC-USD/1h");
        std::fs::create_dir_all(&folder).unwrap();
        let hour = 3600 * dccd_model::time::NANOS_PER_SECOND;
        for (year, hours) in [("2023", vec![0, 1, 2, 5, 6]), ("2024", vec![7, 9])] {
            let column = Int64Array::from_iter_values(hours.into_iter().map(|h| (1000 + h) * hour));
            let batch = RecordBatch::try_from_iter([("TS", std::sync::Arc::new(column) as ArrayRef)]).unwrap();
            let file = std::fs::File::create(folder.join(format!("{year}.parquet"))).unwrap();
            let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
            writer.write(&batch).unwrap();
            writer.close().unwrap();
        }
        let rows = inventory(dir.path()).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].span.as_deref(), rows[0].rows, rows[0].files), (Some("1h"), 7, 2));
        assert_eq!((rows[0].gaps, rows[0].missing), (2, Some(3)));
        assert_eq!((rows[0].from, rows[0].to), (Some(UnixNanos(1000 * hour)), Some(UnixNanos(1009 * hour))));
    }

    fn candles(hours: std::ops::Range<i64>, path: &Path, window: std::ops::Range<i64>, publish: bool) {
        use crate::{CandleRow, CandleSeriesId, CandleWriter, Landing};
        let id = CandleSeriesId {
            exchange: "binance".parse().unwrap(),
            symbol: "BTC/USDT".parse().unwrap(),
            span: "1h".parse().unwrap(),
        };
        let hour = |n: i64| UnixNanos(at(0).0 + n * 3_600_000_000_000);
        let mut writer = CandleWriter::open(path, &id, Empties::Sent).unwrap();
        let there = window.clone().filter(|n| hours.contains(n));
        let row = |n| CandleRow {
            ts: hour(n),
            open: 1.0,
            high: 1.0,
            low: 1.0,
            close: 1.0,
            volume: 0.0,
            quote_volume: None,
            trades: None,
        };
        let rows: Vec<CandleRow> = there.map(row).collect();
        let gap = |n| Gap { from: hour(n), to: hour(n), reason: GapReason::NoData, repaired: false, ids: None };
        let gaps: Vec<Gap> = window.clone().filter(|n| !hours.contains(n)).map(gap).collect();
        writer.land(&Landing { from: hour(window.start), to: hour(window.end), rows: &rows, gaps: &gaps }).unwrap();
        if publish {
            writer.publish().unwrap();
        }
    }

    #[test]
    fn staged_candles_and_outages_are_counted_and_a_run_of_missing_ones_is_one_gap() {
        let dir = tempdir();
        candles(0..8, dir.path(), 0..10, true);
        // 8 and 9 the exchange doesn't have, 10 and 11 were not asked for: one run of four.
        candles(12..20, dir.path(), 12..15, false);
        let row = inventory(dir.path()).unwrap().remove(0);
        assert_eq!((row.rows, row.gaps, row.missing, row.declared, row.files), (11, 1, Some(4), 2, 1));
        assert_eq!((row.from, row.to), (Some(at(0)), Some(at(14 * 3600))));
        assert_eq!(inventory_from_files(dir.path()).unwrap(), [row]);
    }

    #[test]
    fn the_map_is_believed_only_while_the_file_is_the_one_that_was_read() {
        let dir = tempdir();
        let mut writer = Writer::new(&dir);
        (0..50).for_each(|n| writer.trade(n, 1000 + n.unsigned_abs()));
        writer.commit(Close);
        candles(0..8, dir.path(), 0..10, true);
        let before = inventory(dir.path()).unwrap();
        let map = dir.path().join(".dccd/coverage/binance.json");
        let written = std::fs::read_to_string(&map).unwrap();
        // It is what is asked: a map that says something else of the same files is believed.
        let changed = written.replace("\"rows\":8", "\"rows\":9");
        assert_ne!(changed, written);
        std::fs::write(&map, changed).unwrap();
        assert_eq!(inventory(dir.path()).unwrap()[0].rows, 9);
        assert_eq!(inventory_from_files(dir.path()).unwrap(), before);
        assert_eq!(repair_coverage(dir.path()).unwrap(), RepairReport { files: 2, repaired: 1, unreadable: vec![] });
        assert_eq!(std::fs::read_to_string(&map).unwrap(), written);
        // Files that were written anew, or are gone, are looked at again.
        candles(0..9, dir.path(), 8..9, true);
        assert_eq!(inventory(dir.path()).unwrap()[0].rows, 9);
        assert_ne!(std::fs::read_to_string(&map).unwrap(), written);
        std::fs::remove_dir_all(dir.path().join("binance/trades")).unwrap();
        assert_eq!(inventory(dir.path()).unwrap().len(), 1);
        // A broken map is made anew, and one that can't be written is done without.
        std::fs::write(&map, "{").unwrap();
        assert_eq!(inventory(dir.path()).unwrap()[0].rows, 9);
        std::fs::remove_dir_all(dir.path().join(".dccd/coverage")).unwrap();
        std::fs::write(dir.path().join(".dccd/coverage"), "in the way").unwrap();
        assert_eq!(inventory(dir.path()).unwrap()[0].rows, 9);
    }

    #[test]
    fn a_year_that_can_t_be_read_is_a_gap_and_is_named() {
        let dir = tempdir();
        candles(0..8, dir.path(), 0..10, true);
        let damaged = dir.path().join("binance/ohlc/BTC-USDT/1h/2023.parquet");
        std::fs::write(&damaged, "no Parquet at all").unwrap();
        let row = inventory(dir.path()).unwrap().remove(0);
        assert_eq!((row.rows, row.files, row.gaps, row.missing), (8, 2, 1, None));
        assert_eq!(row.unreadable, std::slice::from_ref(&damaged));
        assert_eq!(repair_coverage(dir.path()).unwrap().unreadable, [damaged]);
        // Between candles it is known how many there must have been.
        candles(-17_000..-16_990, dir.path(), -17_000..-16_990, false);
        let row = inventory(dir.path()).unwrap().remove(0);
        assert_eq!((row.rows, row.gaps, row.missing), (18, 1, Some(16_990)));
        // Alone.
        std::fs::remove_file(dir.path().join("binance/ohlc/BTC-USDT/1h/2024.parquet")).unwrap();
        std::fs::remove_dir_all(dir.path().join(".dccd/parts")).unwrap();
        let row = inventory(dir.path()).unwrap().remove(0);
        assert_eq!((row.rows, row.from, row.gaps, row.missing, row.unreadable.len()), (0, None, 1, None, 1));
    }

    #[test]
    fn a_day_that_can_t_be_read_is_a_gap_and_holds_up_nothing() {
        let dir = tempdir();
        let mut writer = Writer::new(&dir);
        (0..50).for_each(|n| writer.trade(n, 1000 + n.unsigned_abs()));
        writer.commit(Close);
        let damaged = dir.path().join("binance/trades/BTC-USDT/2024-01-01.parquet");
        std::fs::write(&damaged, "no Parquet at all").unwrap();
        let row = inventory(dir.path()).unwrap().remove(0);
        assert_eq!((row.rows, row.files, row.gaps, row.missing, row.unreadable), (50, 2, 1, None, vec![damaged]));
        // A part hides nothing of its day.
        writer.trade(60, 1_100);
        writer.commit(Step);
        let parts = dir.path().join(".dccd/parts/binance/trades/BTC-USDT");
        let day = std::fs::read_dir(&parts).unwrap().next().unwrap().unwrap().path();
        let part = day.join("00000000000000009000-00000000000000009001.parquet");
        std::fs::write(&part, "no Parquet at all").unwrap();
        let row = inventory(dir.path()).unwrap().remove(0);
        assert_eq!((row.rows, row.unreadable.contains(&part)), (51, true), "{row:?}");
    }

    #[test]
    fn what_went_to_the_quarantine_and_was_not_fetched_again_is_a_gap() {
        let dir = tempdir();
        candles(0..8, dir.path(), 0..10, true);
        let file = dir.path().join("binance/ohlc/BTC-USDT/1h/2024.parquet");
        let aside = dir.path().join(".dccd/quarantine/binance/ohlc/BTC-USDT/1h");
        std::fs::create_dir_all(&aside).unwrap();
        std::fs::copy(&file, aside.join("2024.parquet")).unwrap();
        let before = |rows: u64| {
            let row = inventory(dir.path()).unwrap().remove(0);
            assert_eq!(row.rows, rows);
            (row.gaps, row.missing)
        };
        assert_eq!(before(8), (1, None), "of the year before the first candle nothing is known");
        candles(-6_000..0, dir.path(), -6_000..0, false);
        assert_eq!(before(6_008), (0, Some(0)), "all of it was fetched again");
        std::fs::rename(aside.join("2024.parquet"), aside.join("2022.parquet.1")).unwrap();
        assert_eq!(before(6_008), (1, None));
    }

    #[test]
    fn a_damaged_stage_is_named_and_kept() {
        let dir = tempdir();
        candles(0..8, dir.path(), 0..10, true);
        candles(10..20, dir.path(), 10..20, false);
        candles(20..30, dir.path(), 20..30, false);
        let stage = dir.path().join(".dccd/parts/binance/ohlc/BTC-USDT/1h/stage.bin");
        let mut bytes = std::fs::read(&stage).unwrap();
        bytes[60] ^= 1;
        std::fs::write(&stage, &bytes).unwrap();
        let row = inventory(dir.path()).unwrap().remove(0);
        assert_eq!((row.rows, row.gaps, row.missing, row.files), (8, 1, None, 1), "what the stage held is a gap");
        assert_eq!(row.unreadable, std::slice::from_ref(&stage));
        assert!(!crate::verify(dir.path(), None).unwrap().is_sound());
        // The writer keeps it.
        candles(30..31, dir.path(), 30..31, false);
        let aside = dir.path().join(".dccd/quarantine/parts/binance/ohlc/BTC-USDT/1h/stage.bin");
        assert_eq!(std::fs::read(aside).unwrap(), bytes);
        assert_eq!(inventory(dir.path()).unwrap()[0].rows, 9);
        // A write that was cut short is the last one, and no damage.
        let whole = std::fs::read(&stage).unwrap();
        std::fs::write(&stage, &whole[..whole.len() - 5]).unwrap();
        assert_eq!(inventory(dir.path()).unwrap()[0].unreadable, [] as [PathBuf; 0]);
    }
}
