//! A series against a model, and through crashes, full disks and damaged files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use dccd_model::{Gap, GapReason, UnixNanos};
use tempfile::TempDir;

use super::*;
use crate::disk::faults;
use crate::error::{FileProblem, StoreError};
use crate::footer::FileInfo;
use crate::testing::tempdir;

/// 2023-12-31T20:00:00Z, four hours before a year's end.
const START: i64 = 1_704_052_800_000_000_000;
const HOUR: i64 = 3_600_000_000_000;

fn id() -> CandleSeriesId {
    CandleSeriesId { exchange: "binance".parse().unwrap(), symbol: "BTC/USDT".parse().unwrap(), span: "1h".parse().unwrap() }
}

fn at(hour: i64) -> UnixNanos {
    UnixNanos(START + hour * HOUR)
}

fn hour_of(ts: UnixNanos) -> i64 {
    (ts.0 - START) / HOUR
}

/// A candle whose numbers tell which answer it came from.
fn row(hour: i64, answer: u32) -> CandleRow {
    let price = 100.0 + f64::from(answer);
    CandleRow {
        ts: at(hour),
        open: price,
        high: price + 1.0,
        low: price - 1.0,
        close: price,
        volume: 0.1,
        quote_volume: (hour % 3 != 0).then_some(10.5),
        trades: (hour % 2 == 0).then_some(hour),
    }
}

fn rows(hours: impl IntoIterator<Item = i64>, answer: u32) -> Vec<CandleRow> {
    hours.into_iter().map(|hour| row(hour, answer)).collect()
}

fn gap(first: i64, last: i64) -> Gap {
    Gap { from: at(first), to: at(last), reason: GapReason::NoData, repaired: false, ids: None }
}

fn open(dir: &TempDir, empties: Empties) -> CandleWriter {
    CandleWriter::open(dir.path(), &id(), empties).unwrap()
}

fn land(writer: &mut CandleWriter, from: i64, to: i64, rows: &[CandleRow], gaps: &[Gap]) -> Result<(), CandleError> {
    writer.land(&Landing { from: at(from), to: at(to), rows, gaps })
}

fn read(dir: &Path, from: i64, to: i64) -> Vec<CandleRow> {
    read_candles(dir, &id(), at(from), at(to)).unwrap().map(Result::unwrap).collect()
}

fn hours(ranges: &Ranges) -> Vec<(i64, i64)> {
    ranges.iter().map(|(from, to)| (hour_of(from), hour_of(to))).collect()
}

fn year_file(dir: &TempDir, year: i32) -> std::path::PathBuf {
    dir.path().join(format!("binance/ohlc/BTC-USDT/1h/{year}.parquet"))
}

#[test]
fn a_window_is_known_from_its_landing_on_and_in_files_after_publishing() {
    let dir = tempdir();
    let mut writer = open(&dir, Empties::Sent);
    writer.note_listing(at(0)).unwrap();
    land(&mut writer, 0, 10, &rows((0..10).filter(|h| !(3..6).contains(h)), 0), &[gap(3, 5)]).unwrap();
    let staged = writer.coverage().clone();
    assert_eq!((staged.rows, staged.first, staged.last, staged.listed), (7, Some(at(0)), Some(at(9)), Some(at(0))));
    assert_eq!((hours(&staged.covered), staged.gaps()), (vec![(0, 10)], vec![gap(3, 5)]));
    assert_eq!(staged.holes(at(-2), at(12)), [(at(-2), at(0)), (at(10), at(12))]);
    assert_eq!(candle_coverage(dir.path(), &id()).unwrap(), staged);
    assert_eq!(read(dir.path(), -5, 50).len(), 7);
    drop(writer);
    let mut writer = open(&dir, Empties::Sent);
    assert_eq!((writer.coverage(), writer.staged_rows()), (&staged, 7));
    let published = writer.publish().unwrap();
    assert_eq!((published.rows, published.files, published.replaced), (7, 2, 0));
    assert_eq!((writer.coverage(), writer.staged_rows()), (&staged, 0));
    assert_eq!(candle_coverage(dir.path(), &id()).unwrap(), staged);
    // The gap crosses the year's end: each file has its part.
    let gaps = |year| FileInfo::read(&year_file(&dir, year)).unwrap().gaps;
    assert_eq!((gaps(2023), gaps(2024)), (vec![gap(3, 3)], vec![gap(4, 5)]));
    assert_eq!(read(dir.path(), 1, 7), rows([1, 2, 6], 0));
    assert_eq!(writer.publish().unwrap(), Published::default());
}

#[test]
fn a_file_says_what_it_is_and_keeps_what_others_noted() {
    let dir = tempdir();
    let mut writer = open(&dir, Empties::Omitted);
    writer.note_listing(at(-100)).unwrap();
    land(&mut writer, 5, 9, &rows([5, 8], 0), &[]).unwrap();
    writer.publish().unwrap();
    let info = FileInfo::read(&year_file(&dir, 2024)).unwrap();
    assert!(info.missing.is_empty(), "{:?}", info.missing);
    assert_eq!(hours(info.covered.as_ref().unwrap()), [(5, 9)]);
    assert_eq!((info.empties, info.listed, info.gaps.len()), (Some(Empties::Omitted), Some(at(-100)), 0));
    assert_eq!(info.columns, ["TS", "open", "high", "low", "close", "volume", "quote_volume", "trades"]);
    assert!(writer.coverage().missing().is_empty(), "a quiet stretch is no gap");
    // Windows without any candle leave a file without rows.
    land(&mut writer, -9000, -8990, &[], &[]).unwrap();
    writer.publish().unwrap();
    assert_eq!(FileInfo::read(&year_file(&dir, 2022)).unwrap().rows, 0);
    assert!(writer.coverage().covered.contains(at(-8995)));
    assert_eq!(candle_coverage(dir.path(), &id()).unwrap(), *writer.coverage());
}

#[test]
fn a_window_that_is_not_what_it_says_is_refused() {
    let dir = tempdir();
    let mut sent = open(&dir, Empties::Sent);
    let mut check = |from: i64, to: i64, rows: &[CandleRow], gaps: &[Gap]| match land(&mut sent, from, to, rows, gaps) {
        Err(CandleError::Landing { problem, .. }) => problem,
        other => panic!("{other:?}"),
    };
    let shifted = CandleRow { ts: UnixNanos(at(1).0 + 1), ..row(1, 0) };
    let infinite = CandleRow { high: f64::INFINITY, ..row(1, 0) };
    let repaired = Gap { repaired: true, ..gap(1, 2) };
    assert_eq!(check(3, 3, &[], &[]), LandingProblem::Ends);
    assert_eq!(check(0, 2, &rows([1, 1], 0), &[gap(0, 0)]), LandingProblem::Row { row: 1, ts: at(1) });
    assert_eq!(check(0, 2, &rows([0, 1, 2], 0), &[]), LandingProblem::Row { row: 2, ts: at(2) });
    assert_eq!(check(0, 2, &[row(0, 0), shifted], &[]), LandingProblem::Row { row: 1, ts: shifted.ts });
    assert_eq!(check(0, 2, &[row(0, 0), infinite], &[]), LandingProblem::NotFinite { row: 1, ts: at(1) });
    assert_eq!(check(0, 4, &rows([0, 3], 0), &[gap(2, 2)]), LandingProblem::Undeclared { ts: at(1) });
    assert_eq!(check(0, 4, &rows([0, 1], 0), &[gap(2, 2)]), LandingProblem::Undeclared { ts: at(3) });
    assert_eq!(check(0, 4, &rows([0, 3], 0), &[repaired]), LandingProblem::Gap { gap: 0 });
    assert_eq!(check(0, 4, &rows([0, 2, 3], 0), &[gap(1, 2)]), LandingProblem::Gap { gap: 0 });
    assert_eq!(check(0, 4, &rows([0, 3], 0), &[gap(1, 2), gap(4, 5)]), LandingProblem::Gap { gap: 1 });
    assert!(sent.coverage().covered.is_empty());
    drop(sent);
    land(&mut open(&dir, Empties::Omitted), 0, 4, &rows([0, 3], 0), &[]).unwrap();
}

#[test]
fn a_second_writer_of_a_series_learns_who_has_it() {
    let dir = tempdir();
    let held = open(&dir, Empties::Sent);
    match CandleWriter::open(dir.path(), &id(), Empties::Sent) {
        Err(CandleError::Lock(crate::LockError::Held { holder, .. })) => assert_eq!(holder.pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    drop(held);
    open(&dir, Empties::Sent);
}

#[test]
fn weeks_belong_to_the_year_in_which_they_begin() {
    let dir = tempdir();
    let id = CandleSeriesId { span: "1w".parse().unwrap(), ..id() };
    let mut writer = CandleWriter::open(dir.path(), &id, Empties::Sent).unwrap();
    let monday = |n: i64| UnixNanos(1_735_516_800_000_000_000 + n * 7 * 24 * HOUR); // 2024-12-30
    let rows: Vec<_> = (-2..1).map(|n| CandleRow { ts: monday(n), ..row(0, 0) }).collect();
    writer.land(&Landing { from: monday(-2), to: monday(1), rows: &rows, gaps: &[] }).unwrap();
    assert_eq!(writer.publish().unwrap().files, 1);
    assert_eq!(writer.coverage().covered, [(monday(-2), monday(1))].into_iter().collect());
    assert!(writer.coverage().missing().is_empty());
    let read = read_candles(dir.path(), &id, monday(-9), monday(9)).unwrap().map(Result::unwrap);
    assert_eq!(read.collect::<Vec<_>>(), rows);
}

/// What a series is, hour by hour.
#[derive(Default)]
struct Model {
    rows: BTreeMap<i64, CandleRow>,
    covered: BTreeSet<i64>,
    declared: BTreeSet<i64>,
}

impl Model {
    fn land(&mut self, from: i64, to: i64, rows: &[CandleRow], gaps: &[Gap]) {
        self.covered.extend(from..to);
        self.declared.extend(gaps.iter().flat_map(|gap| hour_of(gap.from)..=hour_of(gap.to)));
        self.rows.extend(rows.iter().map(|row| (hour_of(row.ts), *row)));
        self.declared.retain(|hour| !self.rows.contains_key(hour));
    }

    fn check(&self, dir: &TempDir, coverage: &Coverage) {
        let set = |ranges: &Ranges| hours(ranges).into_iter().flat_map(|(from, to)| from..to).collect::<BTreeSet<_>>();
        assert_eq!(set(&coverage.covered), self.covered);
        assert_eq!(set(&coverage.declared), self.declared);
        assert_eq!(read(dir.path(), -100_000, 100_000), self.rows.values().copied().collect::<Vec<_>>());
        let ends = self.rows.keys().next().zip(self.rows.keys().next_back()).map(|(a, b)| (at(*a), at(*b)));
        assert_eq!(coverage.first.zip(coverage.last), ends);
        if coverage.empties == Empties::Sent {
            assert_eq!(coverage.rows, self.rows.len() as u64);
            let Some((first, last)) = ends else { return };
            let missing = (hour_of(first)..=hour_of(last)).filter(|hour| !self.rows.contains_key(hour));
            assert_eq!(set(&coverage.missing()), missing.collect());
        }
    }
}

#[test]
fn any_order_of_windows_publishings_and_restarts_ends_as_the_model_does() {
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let empties = if seed % 2 == 0 { Empties::Sent } else { Empties::Omitted };
        let dir = tempdir();
        let (mut writer, mut model) = (Some(open(&dir, empties)), Model::default());
        for answer in 0..30 {
            match random.u32(0..6) {
                0 => drop(writer.as_mut().unwrap().publish().unwrap()),
                1 => {
                    drop(writer.take());
                    writer = Some(open(&dir, empties));
                }
                _ => {
                    // Around the ends of two years.
                    let from = random.i64(-20..25) + if random.bool() { 8784 } else { 0 };
                    let to = from + random.i64(1..12);
                    let there: Vec<i64> = (from..to).filter(|_| random.u32(0..4) > 0).collect();
                    let gaps: Vec<Gap> = match empties {
                        Empties::Sent => (from..to).filter(|h| !there.contains(h)).map(|h| gap(h, h)).collect(),
                        Empties::Omitted => Vec::new(),
                    };
                    let rows = rows(there, answer);
                    land(writer.as_mut().unwrap(), from, to, &rows, &gaps).unwrap();
                    model.land(from, to, &rows, &gaps);
                }
            }
            model.check(&dir, writer.as_ref().unwrap().coverage());
        }
        writer.as_mut().unwrap().publish().unwrap();
        model.check(&dir, &candle_coverage(dir.path(), &id()).unwrap());
    }
}

#[test]
fn the_newer_answer_wins_and_it_is_said_how_many_differed() {
    let dir = tempdir();
    let mut writer = open(&dir, Empties::Sent);
    land(&mut writer, 5, 10, &rows(5..10, 0), &[]).unwrap();
    writer.publish().unwrap();
    let mut again = rows(7..12, 0);
    again[1] = row(8, 7);
    land(&mut writer, 7, 12, &again, &[]).unwrap();
    assert_eq!(writer.publish().unwrap().replaced, 1);
    assert_eq!(read(dir.path(), 8, 10), [row(8, 7), row(9, 0)]);
    // The exchange lost a candle that it once sent: it stays, and is not declared missing.
    land(&mut writer, 5, 7, &[], &[gap(5, 6)]).unwrap();
    writer.publish().unwrap();
    assert_eq!((read(dir.path(), 5, 7), writer.coverage().gaps()), (rows([5, 6], 0), vec![]));
}

fn scenario(writer: &mut CandleWriter, acknowledged: &mut Vec<(i64, i64)>) -> Result<(), CandleError> {
    let mut land = |writer: &mut CandleWriter, from, to, rows: &[CandleRow], gaps: &[Gap]| {
        land(writer, from, to, rows, gaps).inspect(|()| acknowledged.push((from, to)))
    };
    writer.note_listing(at(-10))?;
    land(writer, -10, 2, &rows(-10..2, 0), &[])?;
    land(writer, 2, 6, &rows([2, 5], 0), &[gap(3, 4)])?;
    writer.publish()?;
    land(writer, 8, 12, &rows(8..12, 0), &[])?;
    writer.sync()?;
    land(writer, 6, 8, &[], &[gap(6, 7)])?;
    writer.publish()?;
    Ok(())
}

fn outcome(dir: &TempDir) -> Vec<Vec<u8>> {
    [2023, 2024].map(|year| std::fs::read(year_file(dir, year)).unwrap()).to_vec()
}

/// Runs the scenario with a fault at every change on the disk, each time goes on from what is left, and compares the outcome.
fn with_fault_at_every_change(fault: fn(usize)) -> usize {
    let whole = tempdir();
    scenario(&mut open(&whole, Empties::Sent), &mut Vec::new()).unwrap();
    let expected = outcome(&whole);
    for n in 0.. {
        let dir = tempdir();
        let mut acknowledged = Vec::new();
        fault(n);
        let failed = match CandleWriter::open(dir.path(), &id(), Empties::Sent) {
            Ok(mut writer) => scenario(&mut writer, &mut acknowledged).is_err(),
            Err(_) => true,
        };
        faults::clear();
        let mut writer = open(&dir, Empties::Sent);
        for (from, to) in acknowledged {
            assert_eq!(writer.coverage().holes(at(from), at(to)), [], "a window acknowledged before change {n} is gone");
        }
        let covered: i64 = hours(&writer.coverage().covered).iter().map(|(from, to)| to - from).sum();
        assert_eq!(covered as u64, writer.coverage().rows + 2 * writer.coverage().gaps().len() as u64, "change {n}");
        writer.publish().unwrap();
        // Whatever is known already: landed again it changes nothing.
        scenario(&mut writer, &mut Vec::new()).unwrap();
        assert_eq!(outcome(&dir), expected, "change {n}");
        assert_eq!(crate::layout::names(&layout_tmp(&dir)).unwrap(), Vec::<String>::new());
        if !failed {
            return n;
        }
    }
    unreachable!()
}

fn layout_tmp(dir: &TempDir) -> std::path::PathBuf {
    crate::layout::candle_stage_dir(dir.path(), &id()).join("tmp")
}

#[test]
fn stopped_at_any_change_on_the_disk_it_goes_on_to_the_same_files() {
    assert!(with_fault_at_every_change(faults::crash_at) > 40);
}

#[test]
fn a_disk_that_is_full_at_any_change_loses_nothing() {
    assert!(with_fault_at_every_change(faults::full_at) > 20);
}

#[test]
fn a_full_disk_is_told_by_name_and_the_same_writer_goes_on_when_there_is_room() {
    let dir = tempdir();
    let mut writer = open(&dir, Empties::Sent);
    land(&mut writer, 5, 6, &rows(5..6, 0), &[]).unwrap();
    let stage = crate::layout::candle_stage_dir(dir.path(), &id()).join("stage.bin");
    let bytes = std::fs::metadata(&stage).unwrap().len();
    faults::full_at(0);
    let refused = land(&mut writer, 6, 9, &rows(6..9, 0), &[]);
    assert!(matches!(refused, Err(CandleError::Store(StoreError::NoSpace { .. }))), "{refused:?}");
    assert_eq!(std::fs::metadata(&stage).unwrap().len(), bytes, "what was written of it is cut");
    assert!(matches!(writer.publish(), Err(CandleError::Store(StoreError::NoSpace { .. }))));
    faults::clear();
    assert_eq!((writer.staged_rows(), hours(&writer.coverage().covered)), (1, vec![(5, 6)]));
    land(&mut writer, 6, 9, &rows(6..9, 0), &[]).unwrap();
    drop(writer);
    let mut writer = open(&dir, Empties::Sent);
    assert_eq!(writer.publish().unwrap().rows, 4);
}

#[test]
fn a_stage_cut_or_changed_at_any_byte_gives_the_windows_before_and_no_other() {
    let dir = tempdir();
    let mut writer = open(&dir, Empties::Sent);
    let stage = crate::layout::candle_stage_dir(dir.path(), &id()).join("stage.bin");
    let mut ends = vec![];
    for hour in 0..4 {
        land(&mut writer, hour * 2, hour * 2 + 2, &rows([hour * 2], 0), &[gap(hour * 2 + 1, hour * 2 + 1)]).unwrap();
        ends.push(std::fs::metadata(&stage).unwrap().len());
    }
    drop(writer);
    let bytes = std::fs::read(&stage).unwrap();
    let mut random = fastrand::Rng::with_seed(5);
    for cut in 24..bytes.len() {
        let mut damaged = bytes.clone();
        if cut % 2 == 0 {
            damaged.truncate(cut);
        } else {
            damaged[cut] ^= 1 << random.u8(0..8);
        }
        std::fs::write(&stage, damaged).unwrap();
        let whole = ends.iter().filter(|end| **end <= cut as u64).count() as u64;
        assert_eq!(candle_coverage(dir.path(), &id()).unwrap().rows, whole, "byte {cut}");
        if cut % 16 < 2 {
            let mut writer = open(&dir, Empties::Sent);
            land(&mut writer, 8, 9, &rows([8], 0), &[]).unwrap();
            assert_eq!(candle_coverage(dir.path(), &id()).unwrap().rows, whole + 1);
        }
    }
    // One without a sound beginning goes to the quarantine.
    std::fs::write(&stage, &bytes[..20]).unwrap();
    assert_eq!(open(&dir, Empties::Sent).coverage().rows, 0);
    assert!(dir.path().join(".dccd/quarantine/parts/binance/ohlc/BTC-USDT/1h/stage.bin").exists());
}

#[test]
fn where_the_market_begins_is_remembered_whether_there_are_files_or_not() {
    let dir = tempdir();
    let mut writer = open(&dir, Empties::Sent);
    writer.note_listing(at(3)).unwrap();
    writer.publish().unwrap();
    drop(writer);
    let mut writer = open(&dir, Empties::Sent);
    assert_eq!(writer.coverage().listed, Some(at(3)));
    land(&mut writer, 5, 6, &rows([5], 0), &[]).unwrap();
    writer.publish().unwrap();
    std::fs::remove_dir_all(dir.path().join(".dccd")).unwrap();
    drop(writer);
    // Found to be earlier than it was said, while nothing is written that could say so.
    let mut writer = open(&dir, Empties::Sent);
    assert_eq!(writer.coverage().listed, Some(at(3)));
    writer.note_listing(at(-400)).unwrap();
    writer.publish().unwrap();
    drop(writer);
    assert_eq!(open(&dir, Empties::Sent).coverage().listed, Some(at(-400)));
    assert_eq!(candle_coverage(dir.path(), &id()).unwrap().listed, Some(at(-400)));
}

/// A file as another program writes it: no metadata of ours, its own encodings.
pub(crate) fn write_foreign(path: &Path, rows: &[CandleRow], extra: Option<&str>, divide: i64) {
    use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
    use std::sync::Arc;
    let number = |get: fn(&CandleRow) -> f64| Arc::new(Float64Array::from_iter_values(rows.iter().map(get))) as ArrayRef;
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("TS", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.ts.0 / divide)))),
        ("open", number(|row| row.open)),
        ("high", number(|row| row.high)),
        ("low", number(|row| row.low)),
        ("close", number(|row| row.close)),
        ("volume", number(|row| row.volume)),
        (if extra == Some("quoteVolume") { "quoteVolume" } else { "quote_volume" }, number(|_| 1.0)),
        ("trades", Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.trades)))),
    ];
    if let Some(extra) = extra.filter(|extra| *extra != "quoteVolume") {
        columns.push((extra, number(|_| 1.0)));
    }
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = std::fs::File::create(path).unwrap();
    let batch = batch.unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    let note = parquet::file::metadata::KeyValue::new("dccd.provenance".to_owned(), "{}".to_owned());
    writer.append_key_value_metadata(note);
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn files_of_another_program_are_covered_where_they_have_candles_and_extended_in_place() {
    let dir = tempdir();
    let mut theirs = rows([4, 5, 6, 9], 0);
    theirs.insert(2, row(5, 1));
    write_foreign(&year_file(&dir, 2024), &theirs, None, 1);
    let mut writer = open(&dir, Empties::Sent);
    assert_eq!((hours(&writer.coverage().covered), writer.coverage().rows), (vec![(4, 7), (9, 10)], 4));
    assert_eq!(hours(&writer.coverage().missing()), [(7, 9)]);
    land(&mut writer, 7, 9, &rows([8], 2), &[gap(7, 7)]).unwrap();
    writer.publish().unwrap();
    let read: Vec<(i64, f64)> = read(dir.path(), 0, 20).iter().map(|row| (hour_of(row.ts), row.open)).collect();
    assert_eq!(read, [(4, 100.0), (5, 101.0), (6, 100.0), (8, 102.0), (9, 100.0)]);
    let info = FileInfo::read(&year_file(&dir, 2024)).unwrap();
    assert_eq!(info.foreign, [("dccd.provenance".to_owned(), "{}".to_owned())]);
    assert_eq!(writer.coverage().gaps(), [gap(7, 7)]);
}

#[test]
fn files_of_a_form_that_would_lose_something_are_refused_and_left_alone() {
    for (extra, divide, expected) in [
        (Some("quoteVolume"), 1, FileProblem::LegacyColumn { column: "quoteVolume" }),
        (Some("weightedAverage"), 1, FileProblem::LegacyColumn { column: "weightedAverage" }),
        (Some("vwap"), 1, FileProblem::UnknownColumn { column: "vwap".to_owned() }),
        (None, 1_000_000_000, FileProblem::Seconds),
    ] {
        let dir = tempdir();
        write_foreign(&year_file(&dir, 2024), &rows(4..9, 0), extra, divide);
        let before = std::fs::read(year_file(&dir, 2024)).unwrap();
        match CandleWriter::open(dir.path(), &id(), Empties::Sent) {
            Err(CandleError::Store(StoreError::File { problem, .. })) => assert_eq!(problem, expected),
            other => panic!("{other:?}"),
        }
        assert_eq!(std::fs::read(year_file(&dir, 2024)).unwrap(), before);
    }
}

#[test]
fn a_damaged_year_goes_to_the_quarantine_and_is_a_hole_again() {
    let damage = |path: &Path, at: usize| {
        let mut bytes = std::fs::read(path).unwrap();
        let at = if at == 0 { bytes.len() - 2 } else { at };
        bytes[at] ^= 0x55;
        std::fs::write(path, bytes).unwrap();
    };
    // In the rows, which shows when they are read, and in the footer, which shows at once.
    for place in [100, 0] {
        let dir = tempdir();
        let mut writer = open(&dir, Empties::Sent);
        land(&mut writer, 0, 9, &rows(0..9, 0), &[]).unwrap();
        writer.publish().unwrap();
        let path = year_file(&dir, 2024);
        drop(writer);
        damage(&path, place);
        let bytes = std::fs::read(&path).unwrap();
        let mut writer = open(&dir, Empties::Sent);
        let seen = hours(&writer.coverage().covered);
        assert_eq!(seen, if place == 0 { vec![(0, 4)] } else { vec![(0, 9)] });
        land(&mut writer, 7, 12, &rows(7..12, 1), &[]).unwrap();
        let published = writer.publish().unwrap();
        assert_eq!(published.quarantined.len(), 1);
        assert_eq!(std::fs::read(&published.quarantined[0]).unwrap(), bytes);
        assert_eq!(hours(&published.lost), if place == 0 { vec![] } else { vec![(4, 7)] });
        assert_eq!(hours(&writer.coverage().covered), [(0, 4), (7, 12)]);
        assert_eq!(writer.coverage().rows, 9);
        assert_eq!(candle_coverage(dir.path(), &id()).unwrap(), *writer.coverage());
        assert_eq!(read(dir.path(), 0, 20).len(), 9);
    }
}

#[test]
fn a_series_that_changes_its_kind_of_source_calls_no_quiet_stretch_an_outage() {
    let dir = tempdir();
    let mut writer = open(&dir, Empties::Omitted);
    land(&mut writer, 4, 9, &rows([4, 8], 0), &[]).unwrap();
    drop(writer);
    let mut writer = open(&dir, Empties::Sent);
    assert_eq!(writer.staged_rows(), 0);
    assert_eq!(hours(&writer.coverage().covered), [(4, 5), (8, 9)]);
    land(&mut writer, 5, 8, &rows([5, 6], 0), &[gap(7, 7)]).unwrap();
    writer.publish().unwrap();
    assert_eq!((hours(&writer.coverage().covered), writer.coverage().gaps()), (vec![(4, 9)], vec![gap(7, 7)]));
}
