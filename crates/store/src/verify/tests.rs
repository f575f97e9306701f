//! Each kind of fault, found by name.

use dccd_model::BookSide::{Ask, Bid};
use dccd_model::GapReason;

use super::*;
use crate::CommitMode::{Close, Step};
use crate::footer::FileInfo;
use crate::testing::{Writer, at, tempdir};

/// The report's findings as text, each with its file's name.
fn findings(dir: &Path) -> Vec<String> {
    let report = verify(dir, None).unwrap();
    report
        .series
        .iter()
        .flat_map(|s| &s.findings)
        .map(|f| format!("{}: {}", f.file.file_name().unwrap_or_default().display(), f.problem))
        .collect()
}

fn gap(from: i64, to: i64, ids: Option<(u64, u64)>, repaired: bool) -> Gap {
    Gap { from: at(from), to: at(to), reason: GapReason::Disconnected, repaired, ids }
}

#[test]
fn a_sound_store_is_clean_parts_and_open_day_included() {
    let dir = tempdir();
    let mut writer = Writer::new(&dir);
    for n in 0..20_000 {
        writer.trade(n, 1000 + n.unsigned_abs());
        writer.quote(n);
    }
    writer.commit(Step);
    writer.book(0, 0, true, &[(Bid, 100, 1), (Ask, 101, 1)]);
    for n in 20_000..20_500 {
        writer.trade(n, 1000 + n.unsigned_abs());
        writer.quote(n);
        writer.book(n, 0, false, &[(Bid, 100 - n % 5, n % 3), (Ask, 101 + n % 5, n % 2)]);
    }
    writer.commit(Step);
    let parts = dir.path().join(".dccd/parts/binance/trades/BTC-USDT/2024-08-08");
    assert_eq!(crate::layout::names(&parts).unwrap().len(), 1);
    let report = verify(dir.path(), None).unwrap();
    assert!(report.is_clean(), "{report:#?}");
    let rows: Vec<_> = report.series.iter().map(|s| (s.series.as_str(), s.files, s.rows)).collect();
    let expected =
        [("binance/BTC/USDT/trades", 2, 20_500), ("binance/BTC/USDT/quotes", 2, 20_500), ("binance/BTC/USDT/book", 1, 1002)];
    assert_eq!(rows, expected);
    let report = verify(dir.path(), Some("binance/BTC/USDT/quotes")).unwrap();
    assert_eq!(report.series.len(), 1);
}

#[test]
fn holes_in_the_ids_have_to_be_declared() {
    let check = |gaps: &[Gap], expected: &[&str]| {
        let dir = tempdir();
        let mut writer = Writer::new(&dir);
        for (seconds, id) in [(1, 10), (2, 11), (3, 15), (5, 16), (4, 17), (86_401, 18), (86_402, 25)] {
            writer.trade(seconds, id);
        }
        gaps.iter().for_each(|gap| writer.gap(Channel::Trades, gap));
        writer.commit(Close);
        let report = verify(dir.path(), None).unwrap();
        let found: Vec<_> = report.series[0].findings.iter().map(|f| f.problem.to_string()).collect();
        assert_eq!(found, expected);
    };
    let first = "trades 12 to 14 are missing and not declared, after 2024-08-08T00:00:02Z";
    let second = "trades 19 to 24 are missing and not declared, after 2024-08-09T00:00:01Z";
    check(&[], &[first, second]);
    check(&[gap(2, 3, Some((12, 14)), false)], &[second]);
    check(&[gap(2, 3, Some((12, 14)), true), gap(86_401, 86_402, Some((19, 24)), false)], &[first]);
    check(
        &[gap(2, 3, Some((12, 13)), false)],
        &["trades 14 to 14 are missing and not declared, after 2024-08-08T00:00:02Z", second],
    );
    check(&[gap(2, 3, None, false)], &[second]);
    check(&[gap(0, 100_000, None, false)], &[]);
}

#[test]
fn a_trade_stored_twice_is_found_across_days() {
    let dir = tempdir();
    let mut writer = Writer::new(&dir);
    for (seconds, id) in [(1, 10), (2, 11), (86_401, 11), (86_402, 12)] {
        writer.trade(seconds, id);
    }
    writer.commit(Close);
    assert_eq!(findings(dir.path()), ["2024-08-09.parquet: row 0: trade 11 is stored twice"]);
}

#[test]
fn books_have_to_begin_with_a_snapshot_and_hold_together() {
    let check = |write: &dyn Fn(&mut Writer), expected: &[&str]| {
        let dir = tempdir();
        let mut writer = Writer::new(&dir);
        write(&mut writer);
        writer.commit(Close);
        assert_eq!(findings(dir.path()), expected);
    };
    let snapshot = [(Bid, 99, 1), (Bid, 100, 1), (Ask, 101, 1), (Ask, 102, 1)];
    check(
        &|w| {
            w.book(1, 0, true, &snapshot);
            // Crossed within the event, not after it.
            w.book(2, 0, false, &[(Bid, 101, 1), (Ask, 101, 0), (Ask, 103, 1)]);
            // A new epoch replaces: what was there is gone.
            w.book(3, 1, true, &[(Bid, 200, 1), (Ask, 201, 1)]);
            w.book(86_400, 1, false, &[(Bid, 200, 0)]);
        },
        &[],
    );
    check(
        &|w| {
            w.book(1, 0, true, &snapshot);
            w.book(2, 0, false, &[(Bid, 101, 1)]);
            w.book(3, 0, false, &[(Bid, 101, 1)]);
            w.book(4, 1, true, &snapshot);
        },
        &["2024-08-08.parquet: row 4: the book is crossed, bid 101 at ask 101"],
    );
    check(
        &|w| {
            w.book(1, 0, true, &snapshot);
            w.book(2, 1, false, &[(Bid, 50, 1)]);
        },
        &["2024-08-08.parquet: row 4: epoch 1 does not begin with a snapshot"],
    );
    check(&|w| w.book(1, 0, false, &snapshot), &["2024-08-08.parquet: row 0: epoch 0 does not begin with a snapshot"]);
    check(
        &|w| {
            w.book(86_401, 4, false, &snapshot);
            w.gap(Channel::Book, &gap(0, 86_399, None, false));
        },
        &[],
    );
    check(
        &|w| {
            w.book(1, 1, true, &snapshot);
            w.book(2, 1, false, &[(Bid, 50, 1)]);
            w.book(3, 1, true, &snapshot);
        },
        &["2024-08-08.parquet: row 5: a snapshot within epoch 1"],
    );
    check(
        &|w| {
            w.book(1, 1, true, &snapshot);
            w.book(2, 0, true, &snapshot);
        },
        &["2024-08-08.parquet: row 4: epoch or update id go back"],
    );
}

#[test]
fn every_changed_byte_of_a_file_is_noticed_or_harmless() {
    let dir = tempdir();
    let mut writer = Writer::new(&dir);
    for n in 0..300 {
        writer.trade(n, 1000 + n.unsigned_abs());
    }
    writer.commit(Close);
    let path = dir.path().join("binance/trades/BTC-USDT/2024-08-08.parquet");
    let sound = std::fs::read(&path).unwrap();
    let rows: Vec<_> = crate::read_trades(&path).unwrap().map(Result::unwrap).collect();
    let footer = FileInfo::read(&path).unwrap().data.unwrap().bytes();
    let mut noticed = 0;
    for i in (0..sound.len()).step_by(5) {
        let mut bytes = sound.clone();
        bytes[i] ^= 0x21;
        std::fs::write(&path, &bytes).unwrap();
        let found = findings(dir.path());
        if (i as u64) < footer {
            // Never decoded, so that nobody depends on how well the decoder takes it.
            assert!(found.len() == 1 && found[0].ends_with("it does not match its checksum"), "byte {i}: {found:?}");
        }
        if found.is_empty() {
            let read: Vec<_> = crate::read_trades(&path).unwrap().map(Result::unwrap).collect();
            assert!(read == rows, "byte {i} of {} changed rows and was not noticed", sound.len());
        } else {
            noticed += 1;
        }
    }
    assert!(noticed * 5 > sound.len() / 3, "{noticed} of {}", sound.len() / 5);
}

#[test]
fn damaged_and_misplaced_files_are_named_and_only_damaged_ones_quarantined() {
    let dir = tempdir();
    let mut writer = Writer::new(&dir);
    for n in 0..300 {
        writer.trade(n, 1000 + n.unsigned_abs());
    }
    writer.commit(Close);
    let path = dir.path().join("binance/trades/BTC-USDT/2024-08-08.parquet");
    let misplaced = dir.path().join("binance/trades/ETH-USDT/2024-08-09.parquet");
    std::fs::create_dir_all(misplaced.parent().unwrap()).unwrap();
    std::fs::copy(&path, &misplaced).unwrap();
    std::fs::write(&path, b"PAR1 nothing of the kind PAR1").unwrap();
    let report = verify(dir.path(), None).unwrap();
    assert_eq!(report.series[0].findings.len(), 1);
    let text = report.series[0].findings[0].problem.to_string();
    assert!(text.starts_with("damaged: cannot read the Parquet file"), "{text}");
    let problems: Vec<_> = report.series[1].findings.iter().map(|f| f.problem.to_string()).collect();
    assert_eq!(problems[..2], ["it says that it belongs to binance/BTC/USDT", "row 0 belongs to another day"]);
    assert_eq!((report.series[1].findings.len(), report.series[1].more_findings), (100, 201));
    assert!(serde_json::to_string(&report).unwrap().contains("belongs to another day"));
    let moved = report.quarantine(dir.path()).unwrap();
    assert_eq!(moved, [dir.path().join(".dccd/quarantine/binance/trades/BTC-USDT/2024-08-08.parquet")]);
    assert_eq!(std::fs::read(&moved[0]).unwrap(), b"PAR1 nothing of the kind PAR1");
    assert!(misplaced.exists());
    // What is gone is declared, where readers, verify and inventory look.
    assert_eq!(crate::read_gaps(&path).unwrap(), [crate::recorder::gaps::whole_day(crate::testing::DAY)]);
    let report = verify(dir.path(), Some("binance/BTC/USDT/trades")).unwrap();
    assert!(report.is_clean() && report.series[0].gaps == 1, "{report:?}");
    assert_eq!(crate::inventory(dir.path()).unwrap()[0].gaps, 1);
}

#[test]
fn what_is_sound_of_a_day_stays_when_the_rest_goes_to_the_quarantine() {
    // Damage in the footer, in the rows, in a part; with and without a checkpoint.
    for (damage, checkpoint) in [(0, true), (1, true), (2, true), (0, false), (1, false), (2, false)] {
        let dir = tempdir();
        let mut writer = Writer::new(&dir);
        for n in 0..3000 {
            writer.trade(n, 1000 + n.unsigned_abs());
            writer.quote(n);
        }
        writer.commit(Step);
        for n in 3000..3100 {
            writer.trade(n, 1000 + n.unsigned_abs());
        }
        writer.commit(Step);
        drop(writer);
        if !checkpoint {
            std::fs::remove_dir_all(dir.path().join(".dccd/state")).unwrap();
        }
        let path = dir.path().join("binance/trades/BTC-USDT/2024-08-08.parquet");
        let parts = dir.path().join(".dccd/parts/binance/trades/BTC-USDT/2024-08-08");
        let part = parts.join(&crate::layout::names(&parts).unwrap()[0]);
        let damaged = if damage == 2 { &part } else { &path };
        let mut bytes = std::fs::read(damaged).unwrap();
        let place = if damage == 0 { bytes.len() - 3 } else { 100 };
        bytes[place] ^= 0xff;
        std::fs::write(damaged, &bytes).unwrap();

        let report = verify(dir.path(), None).unwrap();
        assert!(!report.is_clean());
        let moved = report.quarantine(dir.path()).unwrap();
        assert_eq!(moved.len(), 1);
        assert_eq!(std::fs::read(&moved[0]).unwrap(), bytes);
        assert!(!part.exists());
        let rows = crate::read_trades(&path).unwrap().map(Result::unwrap).count();
        assert_eq!(rows, if damage == 2 { 3000 } else { 100 });
        let report = verify(dir.path(), None).unwrap();
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(report.series.iter().map(|s| s.gaps).collect::<Vec<_>>(), [1, 0]);
        let gaps: Vec<_> = crate::inventory(dir.path()).unwrap().iter().map(|row| (row.kind.clone(), row.gaps)).collect();
        assert_eq!(gaps, [("quotes".to_owned(), 0), ("trades".to_owned(), 1)]);

        // Recording goes on.
        let mut writer = Writer::new(&dir);
        writer.trade(4000, 5000);
        writer.commit(Close);
        assert_eq!(crate::read_gaps(&path).unwrap().len(), 1);
        assert_eq!(crate::read_trades(&path).unwrap().count(), rows + 1);
    }
}

mod candles {
    use dccd_model::SeriesKind;

    use super::*;
    use crate::candles::tests::write_foreign;
    use crate::candles::{CandleSeriesId, CandleWriter, Empties, Landing};
    use crate::disk::Disk;
    use crate::file::FileWriter;
    use crate::footer::{CandleFacts, Facts, Named};
    use crate::ranges::Ranges;
    use crate::rows::CandleRow;

    const HOUR: i64 = 3_600_000_000_000;

    fn id() -> CandleSeriesId {
        CandleSeriesId {
            exchange: "binance".parse().unwrap(),
            symbol: "BTC/USDT".parse().unwrap(),
            span: "1h".parse().unwrap(),
        }
    }

    fn hour(n: i64) -> UnixNanos {
        UnixNanos(at(0).0 + n * HOUR)
    }

    fn row(n: i64) -> CandleRow {
        CandleRow {
            ts: hour(n),
            open: 2.0,
            high: 3.0,
            low: 1.0,
            close: 2.5,
            volume: 0.0,
            quote_volume: Some(0.0),
            trades: None,
        }
    }

    fn no_data(first: i64, last: i64) -> Gap {
        Gap { from: hour(first), to: hour(last), reason: GapReason::NoData, repaired: false, ids: None }
    }

    fn year_file(dir: &Path) -> PathBuf {
        dir.join("binance/ohlc/BTC-USDT/1h/2024.parquet")
    }

    /// A file of ours that says these things, whether they are so or not.
    fn write(dir: &Path, rows: &[CandleRow], gaps: &[Gap], covered: (i64, i64), empties: Empties) {
        let mut disk = Disk::open(dir.join(".dccd/tmp/test")).unwrap();
        let mut writer = FileWriter::new(disk.create().unwrap(), &year_file(dir)).unwrap();
        writer.extend(rows).unwrap();
        let covered: Ranges = [(hour(covered.0), hour(covered.1))].into_iter().collect();
        let id = id();
        let named = Named {
            exchange: &id.exchange,
            symbol: &id.symbol,
            kind: SeriesKind::Candles(id.span),
            gaps,
            contiguous_ids: false,
            candles: Some(CandleFacts { covered: &covered, empties, listed: None }),
            foreign: &[],
        };
        let (file, _) = writer.finish(&Facts { position: crate::Position(0), named: Some(named) }).unwrap();
        disk.publish(file, &year_file(dir)).unwrap();
    }

    #[test]
    fn a_sound_series_is_clean_with_its_stage_and_its_outages() {
        let dir = tempdir();
        let mut writer = CandleWriter::open(dir.path(), &id(), Empties::Sent).unwrap();
        let landing = |from, to| (hour(from), hour(to));
        let (from, to) = landing(0, 9);
        let rows: Vec<_> = [0, 1, 2, 6, 7, 8].map(row).to_vec();
        writer.land(&Landing { from, to, rows: &rows, gaps: &[no_data(3, 5)] }).unwrap();
        writer.publish().unwrap();
        let (from, to) = landing(9, 10);
        writer.land(&Landing { from, to, rows: &[row(9)], gaps: &[] }).unwrap();
        let report = verify(dir.path(), Some("binance/BTC/USDT/1h")).unwrap();
        assert!(report.is_clean(), "{report:#?}");
        let brief: Vec<_> = report.series.iter().map(|s| (s.series.as_str(), s.files, s.rows, s.gaps)).collect();
        assert_eq!(brief, [("binance/BTC/USDT/1h", 2, 7, 1)]);
        assert!(verify(dir.path(), Some("kraken")).unwrap().series.is_empty());
    }

    #[test]
    fn what_is_covered_has_to_be_there_or_declared_and_nothing_else() {
        let check = |rows: &[i64], gaps: &[Gap], covered, empties, expected: &[&str]| {
            let dir = tempdir();
            write(dir.path(), &rows.iter().copied().map(row).collect::<Vec<_>>(), gaps, covered, empties);
            let expected: Vec<_> = expected.iter().map(|text| format!("2024.parquet: {text}")).collect();
            assert_eq!(findings(dir.path()), expected);
        };
        let sent = Empties::Sent;
        check(&[0, 1, 2], &[], (0, 3), sent, &[]);
        check(
            &[0, 4],
            &[no_data(1, 2)],
            (0, 5),
            sent,
            &["the candles of 2024-08-08T03:00:00Z to 2024-08-08T03:00:00Z are missing and not declared"],
        );
        check(&[0, 4], &[], (0, 5), Empties::Omitted, &[]);
        check(
            &[0, 1],
            &[no_data(1, 2)],
            (0, 3),
            sent,
            &["the candle of 2024-08-08T01:00:00Z is there and declared missing"],
        );
        check(
            &[0, 1],
            &[],
            (0, 1),
            sent,
            &[
                "the candles of 2024-08-08T01:00:00Z to 2024-08-08T01:00:00Z are there or declared, and the file doesn't say that the exchange \
             was asked for them",
            ],
        );
        check(&[0], &[], (-9000, 1), Empties::Omitted, &["metadata dccd.covered is missing or unreadable"]);
    }

    #[test]
    fn a_hole_between_candles_that_nobody_asked_for_is_found() {
        let dir = tempdir();
        let rows: Vec<_> = [0, 1, 4, 5].into_iter().map(row).collect();
        write_foreign(&year_file(dir.path()), &rows, None, 1);
        let hole = "2024.parquet: the candles of 2024-08-08T02:00:00Z to 2024-08-08T03:00:00Z are neither stored nor declared: \
                    `dccd backfill` fetches them";
        assert_eq!(findings(dir.path()), [hole]);
    }

    #[test]
    fn candles_that_contradict_themselves_are_found_and_those_of_another_program_are_no_fault() {
        let check = |change: fn(&mut Vec<CandleRow>), expected: &[&str]| {
            let dir = tempdir();
            let mut rows: Vec<_> = (0..4).map(row).collect();
            change(&mut rows);
            write_foreign(&year_file(dir.path()), &rows, None, 1);
            let expected: Vec<_> = expected.iter().map(|text| format!("2024.parquet: {text}")).collect();
            // A candle that is elsewhere leaves a hole where it should be, which is found, too.
            let mut found = findings(dir.path());
            found.retain(|finding| !finding.contains("neither stored nor declared"));
            assert_eq!(found, expected);
        };
        let contradicts = "the candle of 2024-08-08T01:00:00Z does not hold together: low, open, close, high and volumes contradict each \
                           other or are no numbers";
        check(|_| {}, &[]);
        check(|rows| rows[1].high = 2.4, &[contradicts]);
        check(|rows| rows[1].low = 2.1, &[contradicts]);
        check(|rows| rows[1].volume = -1.0, &[contradicts]);
        check(|rows| rows[1].close = f64::NAN, &[contradicts]);
        check(|rows| rows[1].trades = Some(-1), &[contradicts]);
        check(|rows| rows[2].ts = rows[1].ts, &["the candle of 2024-08-08T01:00:00Z is there twice or out of order"]);
        check(|rows| rows[2].ts.0 += 1, &["no candle of this span opens at 2024-08-08T02:00:00.000000001Z"]);
        check(|rows| rows[3].ts.0 += 365 * 24 * HOUR, &["the candle of 2025-08-08T03:00:00Z belongs to another year"]);
    }

    #[test]
    fn a_damaged_year_is_moved_aside_and_one_of_another_form_is_left_alone() {
        let dir = tempdir();
        let path = year_file(dir.path());
        write_foreign(&path, &[row(0)], Some("quoteVolume"), 1_000_000_000);
        let report = verify(dir.path(), None).unwrap();
        assert!(matches!(report.series[0].findings[0].problem, Problem::ForeignForm(_)), "{report:#?}");
        assert!(report.quarantine(dir.path()).unwrap().is_empty());
        write(dir.path(), &[row(0)], &[], (0, 1), Empties::Sent);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let report = verify(dir.path(), None).unwrap();
        assert!(matches!(report.series[0].findings[0].problem, Problem::Damaged(_)), "{report:#?}");
        let moved = report.quarantine(dir.path()).unwrap();
        assert_eq!(std::fs::read(&moved[0]).unwrap(), bytes);
        assert!(!path.exists() && verify(dir.path(), None).unwrap().is_clean());
    }
}
