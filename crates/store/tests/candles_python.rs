//! The store of dccd 3.x (Python) is read and extended in place, ours by dccd 3.x, and files of dccd 2.x are converted. Needs
//! `DCCD_PYTHON`, a Python with `dccd==3.8.1` of the Python registry; skipped by name otherwise.

#![allow(clippy::print_stderr)] // a skipped test says so

use std::path::Path;
use std::process::Command;

use dccd_model::{Gap, GapReason, UnixNanos};
use dccd_store::{
    CandleRow, CandleSeriesId, CandleWriter, Empties, Landing, convert_legacy, inventory, read_candles, verify,
};

const HOUR: i64 = 3_600_000_000_000;
/// 2024-01-01.
const START: i64 = 1_704_067_200_000_000_000;

/// Runs `candles.py`; `None`, and the reason on stderr, where it can't be run.
fn python(test: &str, mode: &str, data_path: &Path) -> Option<String> {
    let Some(python) = std::env::var_os("DCCD_PYTHON") else {
        eprintln!("skipped: {test}: DCCD_PYTHON is not set");
        return None;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/candles.py");
    let output = Command::new(python).arg(script).arg(mode).arg(data_path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    if text.starts_with("skipped") {
        eprintln!("skipped: {test}: {text}");
        return None;
    }
    Some(text)
}

fn series(symbol: &str) -> CandleSeriesId {
    CandleSeriesId { exchange: "binance".parse().unwrap(), symbol: symbol.parse().unwrap(), span: "1h".parse().unwrap() }
}

fn at(hour: i64) -> UnixNanos {
    UnixNanos(START + hour * HOUR)
}

fn row(hour: i64) -> CandleRow {
    CandleRow {
        ts: at(hour),
        open: 1.0,
        high: 2.0,
        low: 0.5,
        close: 1.5,
        volume: 10.1,
        quote_volume: Some(15.15),
        trades: (hour % 2 == 0).then_some(hour.abs()),
    }
}

fn land(writer: &mut CandleWriter, from: i64, to: i64, missing: &[i64]) {
    let rows: Vec<CandleRow> = (from..to).filter(|hour| !missing.contains(hour)).map(row).collect();
    let gap = |hour: &i64| Gap { from: at(*hour), to: at(*hour), reason: GapReason::NoData, repaired: false, ids: None };
    let gaps: Vec<Gap> = missing.iter().map(gap).collect();
    writer.land(&Landing { from: at(from), to: at(to), rows: &rows, gaps: &gaps }).unwrap();
}

fn hours(data_path: &Path, id: &CandleSeriesId) -> Vec<(i64, f64)> {
    let rows = read_candles(data_path, id, UnixNanos(0), UnixNanos(i64::MAX)).unwrap().map(Result::unwrap);
    rows.map(|row| ((row.ts.0 - START) / HOUR, row.close)).collect()
}

#[test]
fn dccd_3_reads_our_candles_and_either_extends_what_the_other_wrote() {
    let name = "dccd_3_reads_our_candles_and_either_extends_what_the_other_wrote";
    let (dir, id) = (tempfile::tempdir().unwrap(), series("BTC/USDT"));
    let mut writer = CandleWriter::open(dir.path(), &id, Empties::Sent).unwrap();
    // Over a year's end, with an outage of two hours.
    land(&mut writer, -20, 10, &[3, 4]);
    writer.publish().unwrap();
    drop(writer);
    let Some(text) = python(name, "read", dir.path()) else { return };
    assert_eq!(text, "rows 28 hours -20 9 missing 2 null 14");

    assert_eq!(python(name, "extend", dir.path()).unwrap(), "saved 3");
    // dccd 3 writes the year anew without our notes: covered is what has candles, and the outage is asked for again.
    let mut writer = CandleWriter::open(dir.path(), &id, Empties::Sent).unwrap();
    assert_eq!(writer.coverage().holes(at(-20), at(15)), [(at(3), at(5)), (at(10), at(12)), (at(14), at(15))]);
    let report = verify(dir.path(), None).unwrap();
    assert!(report.is_sound() && !report.is_clean(), "{report:#?}");
    land(&mut writer, 3, 5, &[3, 4]);
    land(&mut writer, 10, 12, &[]);
    land(&mut writer, 14, 20, &[]);
    let published = writer.publish().unwrap();
    assert_eq!((published.replaced, writer.coverage().rows, writer.coverage().gaps().len()), (0, 38, 1));
    let close = |hour| if [9, 12, 13].contains(&hour) { 5.5 } else { 1.5 };
    let expected: Vec<(i64, f64)> =
        (-20..20).filter(|hour| ![3, 4].contains(hour)).map(|hour| (hour, close(hour))).collect();
    assert_eq!(hours(dir.path(), &id), expected);
    assert!(verify(dir.path(), None).unwrap().is_clean());
    assert_eq!(python(name, "read", dir.path()).unwrap(), "rows 38 hours -20 19 missing 2 null 17");
}

#[test]
fn a_file_of_dccd_2_is_converted_without_the_candles_that_it_made_up() {
    let name = "a_file_of_dccd_2_is_converted_without_the_candles_that_it_made_up";
    let (dir, id) = (tempfile::tempdir().unwrap(), series("ETH/USDT"));
    if python(name, "legacy", dir.path()).is_none() {
        return;
    }
    let file = dir.path().join("binance/ohlc/ETH-USDT/1h/2024.parquet");
    let original = std::fs::read(&file).unwrap();
    let refused = CandleWriter::open(dir.path(), &id, Empties::Sent).unwrap_err();
    assert!(refused.to_string().contains("dccd convert"), "{refused}");
    let legacy = dir.path().join(".dccd/legacy");
    let report = convert_legacy(dir.path(), &legacy).unwrap();
    assert_eq!((report.converted[0].rows, report.converted[0].made_up), (4, 2));
    assert_eq!(std::fs::read(legacy.join("binance/ohlc/ETH-USDT/1h/2024.parquet")).unwrap(), original);
    assert_eq!(hours(dir.path(), &id), [(0, 1.5), (1, 2.5), (4, 4.5), (5, 5.5)]);
    let row = inventory(dir.path()).unwrap().remove(0);
    assert_eq!((row.rows, row.gaps, row.missing, row.declared), (4, 1, Some(2), 0));
    assert!(verify(dir.path(), None).unwrap().is_sound());
}
