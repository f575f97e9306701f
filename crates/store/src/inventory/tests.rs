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
    let gap = gaps(dir.path(), |_| true).unwrap().remove(0);
    assert_eq!((gap.series.as_str(), gap.reason), ("binance/BTC/USDT/1h", "not_fetched"));
    assert_eq!((gap.from, gap.to), (Some(at(8 * 3600)), Some(at(11 * 3600))));
    assert_eq!((gap.missing, gap.declared), (Some(4), 2));
}

#[test]
fn gaps_are_listed_as_they_are_counted() {
    let dir = tempdir();
    let mut writer = Writer::new(&dir);
    (0..50).for_each(|n| writer.trade(n, 1000 + n.unsigned_abs()));
    writer.gap(Channel::Trades, &gap(30, Some((2_000, 2_009)), false));
    writer.gap(Channel::Trades, &gap(10, Some((500, 510)), true));
    writer.commit(Close);
    candles(0..8, dir.path(), 0..10, true);
    candles(0..20, dir.path(), 10..20, true);
    let brief = |gaps: Vec<GapRow>| -> Vec<_> {
        gaps.into_iter().map(|gap| (gap.series, gap.from, gap.to, gap.missing, gap.reason, gap.repaired)).collect()
    };
    let trades = || "binance/BTC/USDT/trades".to_owned();
    let all = [
        ("binance/BTC/USDT/1h".to_owned(), Some(at(8 * 3600)), Some(at(9 * 3600)), Some(2), "no_data", false),
        (trades(), Some(at(10)), Some(at(11)), Some(11), "disconnected", true),
        (trades(), Some(at(30)), Some(at(31)), Some(10), "disconnected", false),
    ];
    assert_eq!(brief(gaps(dir.path(), |_| true).unwrap()), all);
    assert_eq!(brief(gaps(dir.path(), |id| id.to_string().ends_with("trades")).unwrap()), all[1..]);
    // What a file held that can't be read is a gap by itself.
    let damaged = dir.path().join("binance/ohlc/BTC-USDT/1h/2023.parquet");
    std::fs::write(&damaged, "no Parquet at all").unwrap();
    let day = dir.path().join("binance/trades/BTC-USDT/2024-01-01.parquet");
    std::fs::write(&day, "no Parquet at all").unwrap();
    let listed = gaps(dir.path(), |_| true).unwrap();
    let open = |kind: &str| listed.iter().filter(|gap| gap.kind == kind && !gap.repaired).count() as u64;
    for row in inventory(dir.path()).unwrap() {
        assert_eq!(row.gaps, open(&row.kind), "{row:?}");
    }
    let damaged: Vec<_> = listed.into_iter().filter(|gap| gap.reason == "damaged").collect();
    assert_eq!(damaged[0].from.map(dccd_model::grid::year_of), Some(2023));
    assert_eq!((damaged[1].from, damaged[1].file.as_ref()), (None, Some(&day)));
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
