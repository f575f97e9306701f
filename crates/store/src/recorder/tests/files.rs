//! Files that are damaged, out of reach, or another program's.

use super::*;

/// What dccd 3.x (Python) leaves: no metadata of ours, no `ts_recv`, ordered by time alone, everything nullable.
fn dccd_3_file() -> Vec<u8> {
    use arrow_array::{ArrayRef, Float64Array, Int64Array, LargeStringArray, RecordBatch};
    use std::sync::Arc;
    let times = [3, 5, 5, 9].map(|n| ts(n).0);
    let columns: [(&str, ArrayRef, bool); 5] = [
        ("TS", Arc::new(Int64Array::from(times.to_vec())), true),
        ("price", Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0, 4.0])), true),
        ("amount", Arc::new(Float64Array::from(vec![1.0; 4])), true),
        ("side", Arc::new(LargeStringArray::from(vec![Some("buy"), None, Some("sell"), None])), true),
        ("tid", Arc::new(LargeStringArray::from(vec!["100", "103", "102", "104"])), true),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let pair = parquet::file::metadata::KeyValue::new("dccd.provenance".to_owned(), "{}".to_owned());
    let properties = parquet::file::properties::WriterProperties::builder()
        .set_compression(parquet::basic::Compression::SNAPPY)
        .set_key_value_metadata(Some(vec![pair]))
        .build();
    let mut bytes = vec![];
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn a_file_of_dccd_3_is_read_and_gone_on_with() {
    let dir = tempdir();
    let path = dir.path().join("binance/trades/BTC-USDT/2024-08-08.parquet");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, dccd_3_file()).unwrap();
    assert_eq!(read_trades(&path).unwrap().map(|t| t.unwrap().price).collect::<Vec<_>>(), [1.0, 2.0, 3.0, 4.0]);
    let mut recorder = Recorder::open(dir.path(), &"binance".parse().unwrap(), options()).unwrap();
    let trades = recorder.series(&"BTC/USDT".parse().unwrap(), Channel::Trades).unwrap();
    for (n, id) in [(4, 101), (5, 102), (5, 105), (10, 106)] {
        recorder.trade(trades, Position(id), &Trade { id: TradeId(id.into()), ..trade(n, ts(n), ts(n)) });
    }
    let report = recorder.commit(Position(106), &[], CommitMode::Close).unwrap();
    assert!(report.quarantined.is_empty());
    let stored: Vec<_> = read_trades(&path).unwrap().map(Result::unwrap).collect();
    assert_eq!(stored.iter().map(|t| t.id.0).collect::<Vec<_>>(), [100, 101, 102, 103, 105, 104, 106]);
    assert_eq!(stored[2].price, 3.0, "what was there first stays");
    let info = crate::footer::FileInfo::read(&path).unwrap();
    assert_eq!(info.foreign, [("dccd.provenance".to_owned(), "{}".to_owned())]);
}

#[test]
fn a_damaged_file_is_kept_and_declared_wherever_it_stops_meanwhile() {
    let exchange: ExchangeName = "binance".parse().unwrap();
    let record = |dir: &TempDir, range: std::ops::Range<u64>, mode| {
        let mut recorder = Recorder::open(dir.path(), &exchange, options())?;
        let trades = recorder.series(&"BTC/USDT".parse().unwrap(), Channel::Trades)?;
        let from = recorder.checkpoint().map_or(0, |c| c.position.0);
        for n in range.filter(|n| *n >= from) {
            recorder.trade(trades, Position(n + 1), &trade(n, ts(n), ts(n)));
        }
        recorder.commit(Position(60), &[], mode)
    };
    let damaged = |dir: &TempDir| {
        let path = dir.path().join("binance/trades/BTC-USDT/2024-08-08.parquet");
        let mut recorder = Recorder::open(dir.path(), &exchange, options()).unwrap();
        let trades = recorder.series(&"BTC/USDT".parse().unwrap(), Channel::Trades).unwrap();
        for n in 0..40 {
            recorder.trade(trades, Position(n + 1), &trade(n, ts(n), ts(n)));
        }
        recorder.commit(Position(40), &[], CommitMode::Close).unwrap();
        std::fs::write(&path, b"not a bit of Parquet").unwrap();
        path
    };
    let mut reached_the_end = false;
    for n in 0..200 {
        let dir = tempdir();
        let path = damaged(&dir);
        faults::crash_at(n);
        let stopped = record(&dir, 40..60, CommitMode::Step).is_err();
        faults::clear();
        record(&dir, 40..60, CommitMode::Close).unwrap();
        let kept = dir.path().join(".dccd/quarantine/binance/trades/BTC-USDT");
        assert_eq!(layout::names(&kept).unwrap(), ["2024-08-08.parquet"], "stopped at change {n}");
        assert_eq!(std::fs::read(kept.join("2024-08-08.parquet")).unwrap(), b"not a bit of Parquet");
        assert_eq!(read_trades(&path).unwrap().count(), 20, "stopped at change {n}");
        assert_eq!(crate::footer::FileInfo::read(&path).unwrap().gaps, [gaps::whole_day(19_943)]);
        if !stopped {
            reached_the_end = true;
            break;
        }
    }
    assert!(reached_the_end);
}

#[test]
fn what_a_file_of_another_journal_says_of_positions_takes_no_row_away() {
    // What was recorded by a journal that is gone: its position is far ahead of the new journal's.
    let dir = tempdir();
    let exchange: ExchangeName = "binance".parse().unwrap();
    let symbol: Symbol = "BTC/USDT".parse().unwrap();
    let record = |from: u64, range: std::ops::Range<u64>, commits: &[(u64, CommitMode)]| {
        let mut recorder = Recorder::open(dir.path(), &exchange, options()).unwrap();
        let [trades, quotes, book] =
            [Channel::Trades, Channel::Quotes, Channel::Book].map(|c| recorder.series(&symbol, c).unwrap());
        for n in range {
            let at = Position(from + n + 1);
            recorder.trade(trades, at, &trade(n, ts(n), ts(n)));
            recorder.quote(quotes, at, &quote(n));
            // Two rows that are the same are two rows.
            recorder.quote(quotes, at, &quote(n));
            levels(n, 0, n == 0).iter().for_each(|l| recorder.level(book, at, l));
            if let Some((_, mode)) = commits.iter().find(|(after, _)| *after == n) {
                recorder.commit(at, &[], *mode).unwrap();
            }
        }
    };
    let stored = |kind: &str, day: &str| dir.path().join(format!("binance/{kind}/BTC-USDT/{day}.parquet"));
    record(1_000_000, 0..40, &[(39, CommitMode::Close)]);
    // A part that stands behind the day file's position, as when the file was put back from elsewhere.
    record(1_000_000, 40..45, &[(44, CommitMode::Step)]);
    assert_eq!(durable_position(dir.path(), &exchange).unwrap(), Position(1_000_045));
    assert_eq!(durable_position(dir.path(), &"kraken".parse().unwrap()).unwrap(), Position(0));
    std::fs::remove_dir_all(dir.path().join(".dccd/state")).unwrap();
    let parts = dir.path().join(".dccd/parts/binance/trades/BTC-USDT/2024-08-08");
    let name = layout::names(&parts).unwrap().remove(0);
    std::fs::rename(parts.join(name), parts.join(layout::part_name(Position(7), Position(9)))).unwrap();

    // The new journal begins at zero, and some of what it brings is there already; it stops and goes on.
    record(0, 30..60, &[(44, CommitMode::Step), (50, CommitMode::Step)]);
    record(0, 51..130, &[(90, CommitMode::Step), (99, CommitMode::Step), (129, CommitMode::Close)]);
    for (day, range) in [("2024-08-08", 0..100), ("2024-08-09", 100..130)] {
        let ids: Vec<_> = read_trades(&stored("trades", day)).unwrap().map(|t| t.unwrap().id.0 - 3_735_683_259).collect();
        assert_eq!(ids, range.clone().map(u128::from).collect::<Vec<_>>());
        let quotes: Vec<_> = read_quotes(&stored("quotes", day)).unwrap().map(|q| q.unwrap().ts).collect();
        assert_eq!(quotes, range.clone().flat_map(|n| [ts(n), ts(n)]).collect::<Vec<_>>());
        let book: Vec<_> = read_book(&stored("orderbook", day)).unwrap().map(|l| l.unwrap().update_id).collect();
        assert_eq!(book, range.flat_map(|n| [n; 10]).collect::<Vec<_>>());
    }
}

#[test]
fn damaged_files_say_nothing_about_positions() {
    let dir = tempdir();
    let exchange: ExchangeName = "binance".parse().unwrap();
    replay(&dir, COUNT, &BTreeMap::new()).unwrap();
    assert_eq!(durable_position(dir.path(), &exchange).unwrap(), Position(COUNT * 100));
    for kind in ["trades", "quotes", "orderbook"] {
        std::fs::write(dir.path().join(format!("binance/{kind}/BTC-USDT/2024-08-09.parquet")), b"PAR1").unwrap();
    }
    // Late trades stand in the day before.
    assert_eq!(durable_position(dir.path(), &exchange).unwrap(), Position(171 * 100));
}

/// Trades of an old day and of the next one, quotes: what is committed beside a file that can't be read.
fn beside_an_unreadable_file(number: i32) -> (TempDir, PathBuf, Result<CommitReport, StoreError>, Recorder) {
    let dir = tempdir();
    let exchange: ExchangeName = "binance".parse().unwrap();
    let symbol: Symbol = "BTC/USDT".parse().unwrap();
    let mut recorder = Recorder::open(dir.path(), &exchange, options()).unwrap();
    let trades = recorder.series(&symbol, Channel::Trades).unwrap();
    for n in 0..40 {
        recorder.trade(trades, Position(n + 1), &trade(n, ts(n), ts(n)));
    }
    recorder.commit(Position(40), &[], CommitMode::Close).unwrap();
    drop(recorder);
    let path = dir.path().join("binance/trades/BTC-USDT/2024-08-08.parquet");
    let mut recorder = Recorder::open(dir.path(), &exchange, options()).unwrap();
    let [trades, quotes] = [Channel::Trades, Channel::Quotes].map(|c| recorder.series(&symbol, c).unwrap());
    for n in 95..110 {
        recorder.trade(trades, Position(n + 1), &trade(n, ts(n), ts(n)));
        recorder.quote(quotes, Position(n + 1), &quote(n));
    }
    faults::unreadable(Some((path.clone(), number)));
    let result = recorder.commit(Position(110), b"later", CommitMode::Step);
    (dir, path, result, recorder)
}

#[test]
fn a_file_that_cannot_be_reached_holds_up_no_other_series_and_no_other_day() {
    const EACCES: i32 = 13;
    let (dir, path, result, mut recorder) = beside_an_unreadable_file(EACCES);
    assert!(matches!(result, Err(StoreError::Io { path: at, .. }) if at == path));
    // Only what could not be written waits, however often it is tried, and the checkpoint with it.
    assert_eq!(recorder.pending_rows(), 5);
    let [trades, quotes] =
        [Channel::Trades, Channel::Quotes].map(|c| recorder.series(&"BTC/USDT".parse().unwrap(), c).unwrap());
    recorder.trade(trades, Position(111), &trade(110, ts(110), ts(110)));
    recorder.quote(quotes, Position(111), &quote(110));
    assert!(recorder.commit(Position(111), b"later", CommitMode::Step).is_err());
    assert_eq!(recorder.pending_rows(), 5);
    assert_eq!(recorder.checkpoint().unwrap().position, Position(40));
    let stored = |kind: &str, day: &str| dir.path().join(format!("binance/{kind}/BTC-USDT/{day}.parquet"));
    let count = |recorder: &mut Recorder| {
        recorder.commit(Position(111), b"later", CommitMode::Close).map(|report| {
            let trades = ["2024-08-08", "2024-08-09"].map(|day| read_trades(&stored("trades", day)).unwrap().count());
            let quotes = ["2024-08-08", "2024-08-09"].map(|day| read_quotes(&stored("quotes", day)).unwrap().count());
            (trades, quotes, report.rows)
        })
    };
    assert!(count(&mut recorder).is_err());
    faults::unreadable(None);
    assert_eq!(count(&mut recorder).unwrap(), ([45, 11], [5, 11], vec![(trades, 16), (quotes, 16)]));
    assert_eq!(recorder.checkpoint().unwrap().position, Position(111));
}

#[test]
fn what_was_durable_beside_a_failure_is_stored_once_after_a_crash() {
    let (dir, _, result, recorder) = beside_an_unreadable_file(13);
    assert!(result.is_err());
    drop(recorder);
    faults::unreadable(None);
    let mut recorder = Recorder::open(dir.path(), &"binance".parse().unwrap(), options()).unwrap();
    assert_eq!(recorder.checkpoint().unwrap().position, Position(40));
    let [trades, quotes] =
        [Channel::Trades, Channel::Quotes].map(|c| recorder.series(&"BTC/USDT".parse().unwrap(), c).unwrap());
    for n in 95..110 {
        recorder.trade(trades, Position(n + 1), &trade(n, ts(n), ts(n)));
        recorder.quote(quotes, Position(n + 1), &quote(n));
    }
    recorder.commit(Position(110), &[], CommitMode::Close).unwrap();
    let stored = |kind: &str, day: &str| dir.path().join(format!("binance/{kind}/BTC-USDT/{day}.parquet"));
    for (day, trades, quotes) in [("2024-08-08", 45, 5), ("2024-08-09", 10, 10)] {
        assert_eq!(read_trades(&stored("trades", day)).unwrap().count(), trades);
        assert_eq!(read_quotes(&stored("quotes", day)).unwrap().count(), quotes);
    }
}

#[test]
fn a_file_that_the_disk_does_not_give_back_goes_to_the_quarantine() {
    const EIO: i32 = 5;
    let (_dir, path, result, recorder) = beside_an_unreadable_file(EIO);
    faults::unreadable(None);
    assert_eq!(result.unwrap().quarantined.len(), 1);
    assert_eq!(recorder.pending_rows(), 0);
    assert_eq!(read_trades(&path).unwrap().count(), 5);
    assert_eq!(crate::read_gaps(&path).unwrap(), [gaps::whole_day(19_943)]);
}
