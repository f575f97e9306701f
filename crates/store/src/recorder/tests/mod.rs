//! The recorder as a whole: exactly once whatever dies when, the same bytes whatever the history.

mod files;

use std::collections::BTreeMap;

use dccd_model::time::NANOS_PER_DAY;
use dccd_model::{BookSide, Decimal, Flags, GapReason, Side, TradeId};
use tempfile::TempDir;

use super::*;
use crate::disk::faults;
use crate::testing::tempdir;
use crate::{read_book, read_quotes, read_trades};

/// 2024-08-08, a bit before midnight.
const START: i64 = 19_943 * NANOS_PER_DAY + 86_390_000_000_000;
const STEP: i64 = 100_000_000;

/// One entry of the toy journal: what it yields is a function of its number alone.
enum Yield {
    Trade(Trade),
    Quote(Quote),
    Book(Vec<BookLevel>),
    Gap(Channel, Gap),
}

fn ts(n: u64) -> UnixNanos {
    UnixNanos(START + i64::try_from(n).unwrap() * STEP)
}

fn trade(n: u64, ts_venue: UnixNanos, ts_recv: UnixNanos) -> Trade {
    Trade {
        ts_venue,
        ts_recv,
        price: Decimal::new(6_183_763 + i64::try_from(n * 7919 % 500).unwrap(), -2),
        amount: Decimal::new(1 + i64::try_from(n * 104_729 % 100_000).unwrap(), -5),
        id: TradeId(u128::from(n) + 3_735_683_259),
        side: if n.is_multiple_of(3) { Side::Buy } else { Side::Sell },
        flags: Flags::NONE,
        epoch: 0,
    }
}

fn levels(n: u64, epoch: u32, is_snapshot: bool) -> Vec<BookLevel> {
    let level = |i: u64, side: BookSide| BookLevel {
        // The venue's clock steps back now and then.
        ts_venue: UnixNanos(ts(n).0 - if n.is_multiple_of(11) { 3 * STEP } else { 0 }),
        ts_recv: ts(n),
        price: Decimal::new(
            if side == BookSide::Bid { 100 - i64::try_from(i).unwrap() } else { 101 + i64::try_from(i).unwrap() },
            0,
        ),
        amount: Decimal::new(i64::try_from((n + i) % 4).unwrap() + i64::from(is_snapshot), 0),
        update_id: n,
        side,
        flags: if is_snapshot { Flags::SNAPSHOT } else { Flags::NONE },
        epoch,
        order_count: 0,
    };
    (0..5).flat_map(|i| [level(i, BookSide::Bid), level(i, BookSide::Ask)]).collect()
}

fn quote(n: u64) -> Quote {
    Quote {
        ts_venue: UnixNanos::UNKNOWN,
        ts_recv: ts(n),
        bid: Decimal::new(i64::try_from(n).unwrap(), -1),
        bid_amount: Decimal::new(1, 0),
        ask: Decimal::new(i64::try_from(n).unwrap() + 1, -1),
        ask_amount: Decimal::new(2, 0),
        flags: Flags::NONE,
    }
}

/// The toy derivation.
fn derive(n: u64) -> Vec<Yield> {
    let gap = |repaired| Gap {
        from: ts(49),
        to: ts(60),
        reason: GapReason::Disconnected,
        repaired,
        ids: Some((3_735_683_259 + 50, 3_735_683_259 + 59)),
    };
    let mut out = vec![Yield::Quote(quote(n))];
    match n {
        // Ten trades are missing, and come late: in the middle of the day before, and one of them twice.
        50..60 => {}
        60 => out.extend([Yield::Gap(Channel::Trades, gap(false)), Yield::Trade(trade(60, ts(60), ts(60)))]),
        150 => out.extend((50..55).map(|n| Yield::Trade(trade(n, ts(n), ts(150))))),
        170 => {
            out.extend((54..60).map(|n| Yield::Trade(trade(n, ts(n), ts(170)))));
            out.push(Yield::Gap(Channel::Trades, gap(true)));
        }
        _ => out.push(Yield::Trade(trade(n, ts(n), ts(n)))),
    }
    let epoch = u32::try_from(n / 70).unwrap();
    out.push(Yield::Book(levels(n, epoch, n.is_multiple_of(70))));
    if n.is_multiple_of(70) && n > 0 {
        let gap = Gap { from: ts(n - 2), to: ts(n), reason: GapReason::Integrity, repaired: false, ids: None };
        out.push(Yield::Gap(Channel::Book, gap));
    }
    out
}

/// Entries `0..count` from the checkpoint on, committing after each of `commits`, closing at the end.
fn replay(dir: &TempDir, count: u64, commits: &BTreeMap<u64, CommitMode>) -> Result<Vec<CommitReport>, StoreError> {
    let mut recorder = Recorder::open(dir.path(), &"binance".parse().unwrap(), options())?;
    let symbol: Symbol = "BTC/USDT".parse().unwrap();
    let handles = [Channel::Trades, Channel::Quotes, Channel::Book].map(|c| recorder.series(&symbol, c).unwrap());
    let [trades, quotes, book] = handles;
    let from = match recorder.checkpoint() {
        None => 0,
        Some(checkpoint) => {
            assert_eq!(checkpoint.state, checkpoint.position.0.to_le_bytes());
            checkpoint.position.0 / 100
        }
    };
    let mut reports = vec![];
    for n in from..count {
        let at = Position((n + 1) * 100);
        for record in derive(n) {
            match record {
                Yield::Trade(trade) => recorder.trade(trades, at, &trade),
                Yield::Quote(quote) => recorder.quote(quotes, at, &quote),
                Yield::Book(levels) => levels.iter().for_each(|l| recorder.level(book, at, l)),
                Yield::Gap(Channel::Trades, gap) => recorder.gap(trades, at, &gap),
                Yield::Gap(_, gap) => recorder.gap(book, at, &gap),
            }
        }
        let mode = if n + 1 == count { Some(&CommitMode::Close) } else { commits.get(&n) };
        if let Some(mode) = mode {
            reports.push(recorder.commit(at, &at.0.to_le_bytes(), *mode)?);
        }
    }
    Ok(reports)
}

fn options() -> RecorderOptions {
    RecorderOptions { small_file_bytes: 0, ..RecorderOptions::default() }
}

/// Every file of the store that users see, with its bytes.
fn files(dir: &TempDir) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, dir: &Path, out: &mut BTreeMap<String, Vec<u8>>) {
        for name in layout::names(dir).unwrap() {
            let path = dir.join(&name);
            if path.is_dir() {
                if name != ".dccd" {
                    walk(root, &path, out);
                }
            } else {
                out.insert(path.strip_prefix(root).unwrap().display().to_string(), std::fs::read(&path).unwrap());
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(dir.path(), dir.path(), &mut out);
    out
}

fn assert_same(a: &BTreeMap<String, Vec<u8>>, b: &BTreeMap<String, Vec<u8>>, what: &str) {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>(), "{what}");
    for (name, bytes) in a {
        assert!(bytes == &b[name], "{what}: {name} differs");
    }
}

const COUNT: u64 = 180;

fn reference() -> BTreeMap<String, Vec<u8>> {
    let dir = tempdir();
    replay(&dir, COUNT, &BTreeMap::new()).unwrap();
    files(&dir)
}

fn every(step: u64) -> BTreeMap<u64, CommitMode> {
    (1..COUNT).filter(|n| n.is_multiple_of(step)).map(|n| (n, CommitMode::Step)).collect()
}

#[test]
fn the_same_entries_give_the_same_bytes_whatever_the_commits() {
    let reference = reference();
    assert_eq!(reference.len(), 6, "{:?}", reference.keys());
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..12 {
        let dir = tempdir();
        let commits = match round {
            0 => every(1),
            1 => every(7),
            _ => (0..random.usize(0..40))
                .map(|_| (random.u64(0..COUNT), if random.u32(0..6) == 0 { CommitMode::Close } else { CommitMode::Step }))
                .collect(),
        };
        replay(&dir, COUNT, &commits).unwrap();
        assert_same(&files(&dir), &reference, &format!("round {round}"));
        assert_eq!(layout::names(&dir.path().join(".dccd/parts/binance/trades/BTC-USDT")).unwrap(), [""; 0]);
    }
}

#[test]
fn what_is_stored_is_what_was_handed_in_in_order_and_once() {
    let dir = tempdir();
    replay(&dir, COUNT, &every(9)).unwrap();
    let path = |kind: &str, day: &str| dir.path().join(format!("binance/{kind}/BTC-USDT/{day}.parquet"));
    let trades: Vec<_> = ["2024-08-08", "2024-08-09"]
        .iter()
        .flat_map(|day| read_trades(&path("trades", day)).unwrap().map(Result::unwrap))
        .collect();
    let expected: Vec<_> = (0..COUNT)
        .filter(|n| ![150, 170].contains(n))
        .map(|n| {
            let late = match n {
                50..55 => 150,
                55..60 => 170,
                n => n,
            };
            TradeRow::new(&trade(n, ts(n), ts(late)))
        })
        .collect();
    assert_eq!(trades, expected);
    let quotes = read_quotes(&path("quotes", "2024-08-09")).unwrap().map(Result::unwrap);
    assert!(quotes.map(|q| q.ts).eq((100..COUNT).map(ts)));
    let book: Vec<_> = ["2024-08-08", "2024-08-09"]
        .iter()
        .flat_map(|day| read_book(&path("orderbook", day)).unwrap().map(Result::unwrap))
        .collect();
    let events: Vec<u64> = book.chunks(10).map(|rows| rows[0].update_id).collect();
    assert_eq!(events, (0..COUNT).collect::<Vec<_>>(), "events stay whole and in journal order");
    assert!(book.chunks(10).all(|rows| rows.iter().all(|r| r.update_id == rows[0].update_id)));
    assert!(book.is_sorted_by_key(|r| r.ts));

    let info = crate::footer::FileInfo::read(&path("trades", "2024-08-08")).unwrap();
    assert_eq!(info.gaps.len(), 1);
    assert!(info.gaps[0].repaired);
    assert!(info.missing.is_empty() && info.contiguous_ids);
    let info = crate::footer::FileInfo::read(&path("orderbook", "2024-08-08")).unwrap();
    assert_eq!(info.gaps.iter().map(|g| g.from).collect::<Vec<_>>(), [ts(68)]);
    let info = crate::footer::FileInfo::read(&path("orderbook", "2024-08-09")).unwrap();
    assert_eq!(info.gaps.iter().map(|g| g.from).collect::<Vec<_>>(), [ts(138)]);
}

#[test]
fn stopped_at_any_change_on_the_disk_it_goes_on_to_the_same_bytes() {
    let reference = reference();
    let steps = [(40, CommitMode::Step), (44, CommitMode::Step), (120, CommitMode::Close), (160, CommitMode::Step)];
    let commits = BTreeMap::from(steps);
    let dir = tempdir();
    faults::clear();
    replay(&dir, COUNT, &commits).unwrap();
    let changes = faults::clear();
    assert!(changes > 100, "{changes}");
    for n in 0..changes {
        let dir = tempdir();
        faults::crash_at(n);
        let error = replay(&dir, COUNT, &commits).map(drop);
        faults::clear();
        // Cleaning up may fail silently; everything else is an error.
        let _ = error;
        replay(&dir, COUNT, &commits).unwrap();
        assert_same(&files(&dir), &reference, &format!("stopped at change {n} of {changes}"));
        assert_eq!(layout::names(&dir.path().join(".dccd/tmp/binance")).unwrap(), [""; 0], "change {n}");
    }
}

#[test]
fn stopped_again_and_again_it_goes_on_to_the_same_bytes() {
    let reference = reference();
    let mut random = fastrand::Rng::with_seed(5);
    for round in 0..12 {
        let dir = tempdir();
        let mut attempts = 0;
        loop {
            // Where it commits differs from one life to the next.
            let commits = every(random.u64(5..60));
            faults::crash_at(random.usize(0..400));
            let result = replay(&dir, COUNT, &commits);
            faults::clear();
            attempts += 1;
            if result.is_ok() || attempts == 8 {
                break;
            }
        }
        replay(&dir, COUNT, &every(20)).unwrap();
        assert_same(&files(&dir), &reference, &format!("round {round}"));
    }
}

#[test]
fn on_a_full_disk_a_commit_fails_by_name_loses_nothing_and_works_later() {
    let reference = reference();
    let commits = BTreeMap::from([(40, CommitMode::Step), (140, CommitMode::Step)]);
    for n in (0..120).step_by(5) {
        let dir = tempdir();
        let symbol: Symbol = "BTC/USDT".parse().unwrap();
        let mut recorder = Recorder::open(dir.path(), &"binance".parse().unwrap(), options()).unwrap();
        let [trades, quotes, book] =
            [Channel::Trades, Channel::Quotes, Channel::Book].map(|c| recorder.series(&symbol, c).unwrap());
        let mut failed = 0;
        let mut rows = 0;
        faults::full_at(n);
        for entry in 0..COUNT {
            let at = Position((entry + 1) * 100);
            for record in derive(entry) {
                match record {
                    Yield::Trade(trade) => recorder.trade(trades, at, &trade),
                    Yield::Quote(quote) => recorder.quote(quotes, at, &quote),
                    Yield::Book(levels) => levels.iter().for_each(|l| recorder.level(book, at, l)),
                    Yield::Gap(Channel::Trades, gap) => recorder.gap(trades, at, &gap),
                    Yield::Gap(_, gap) => recorder.gap(book, at, &gap),
                }
            }
            let mode = if entry + 1 == COUNT { Some(&CommitMode::Close) } else { commits.get(&entry) };
            let Some(mode) = mode else { continue };
            match recorder.commit(at, &[], *mode) {
                Ok(report) => rows += report.rows.iter().map(|(_, rows)| rows).sum::<u64>(),
                Err(StoreError::NoSpace { .. }) => {
                    failed += 1;
                    assert_eq!(layout::names(&dir.path().join(".dccd/tmp/binance")).unwrap(), [""; 0]);
                    if failed == 2 || *mode == CommitMode::Close {
                        faults::clear();
                        let report = recorder.commit(at, &[], *mode).unwrap();
                        rows += report.rows.iter().map(|(_, rows)| rows).sum::<u64>();
                        assert_eq!(recorder.pending_rows(), 0);
                    }
                }
                Err(other) => panic!("{other:?}, at change {n}"),
            }
        }
        let changes = faults::clear();
        assert!(failed > 0 || changes <= n + 200, "the fault was never met");
        assert_eq!(rows, 2 * COUNT - 1 + COUNT * 10, "each row is reported once, the duplicate too");
        assert_same(&files(&dir), &reference, &format!("full at change {n}"));
    }
}

#[test]
fn a_quarter_of_the_rows_at_most_is_not_in_the_day_file() {
    let dir = tempdir();
    let mut recorder = Recorder::open(dir.path(), &"binance".parse().unwrap(), options()).unwrap();
    let trades = recorder.series(&"BTC/USDT".parse().unwrap(), Channel::Trades).unwrap();
    let day = START - START % NANOS_PER_DAY;
    let path = dir.path().join("binance/trades/BTC-USDT/2024-08-08.parquet");
    let (mut merges, mut parts) = (0, 0);
    for step in 0..200u64 {
        for n in step * 50..(step + 1) * 50 {
            let ts = UnixNanos(day + i64::try_from(n).unwrap() * 1_000_000);
            recorder.trade(trades, Position(n + 1), &trade(n, ts, ts));
        }
        let report = recorder.commit(Position((step + 1) * 50), &[], CommitMode::Step).unwrap();
        assert_eq!(report.rows, [(trades, 50)]);
        let stored = read_trades(&path).unwrap().count() as u64;
        let total = (step + 1) * 50;
        assert!(total - stored <= total / 4, "{stored} of {total}");
        if stored == total { merges += 1 } else { parts += 1 }
    }
    assert!(merges < 40 && parts > 150, "{merges} merges, {parts} parts");
    recorder.commit(Position(10_000), &[], CommitMode::Close).unwrap();
    assert_eq!(read_trades(&path).unwrap().count(), 10_000);
}

#[test]
fn many_parts_become_one_and_nothing_changes() {
    let dir = tempdir();
    let exchange: ExchangeName = "binance".parse().unwrap();
    let mut recorder = Recorder::open(dir.path(), &exchange, options()).unwrap();
    let symbol: Symbol = "BTC/USDT".parse().unwrap();
    let trades = recorder.series(&symbol, Channel::Trades).unwrap();
    let day = START - START % NANOS_PER_DAY;
    let parts = dir.path().join(".dccd/parts/binance/trades/BTC-USDT/2024-08-08");
    let mut n = 0;
    let mut most = 0;
    for step in 0..1100u64 {
        let rows = if step == 0 { 8000 } else { 1 };
        for _ in 0..rows {
            let ts = UnixNanos(day + i64::try_from(n).unwrap() * 1_000_000);
            n += 1;
            recorder.trade(trades, Position(n), &trade(n, ts, ts));
        }
        recorder.commit(Position(n), &[], CommitMode::Step).unwrap();
        most = most.max(layout::names(&parts).unwrap().len());
    }
    assert!((500..520).contains(&most), "{most}");
    // What compaction leaves when it dies before deleting is known by its positions.
    drop(recorder);
    let names = layout::names(&parts).unwrap();
    assert!(names.len() < 100, "{}", names.len());
    let (from, to) = layout::part_range(&names[0]).unwrap();
    std::fs::copy(parts.join(&names[0]), parts.join(layout::part_name(Position(from.0 + 1), Position(to.0 - 1)))).unwrap();
    let mut recorder = Recorder::open(dir.path(), &exchange, options()).unwrap();
    recorder.commit(Position(n), &[], CommitMode::Close).unwrap();
    let path = dir.path().join("binance/trades/BTC-USDT/2024-08-08.parquet");
    let ids = read_trades(&path).unwrap().map(|t| t.unwrap().id.0 - 3_735_683_259);
    assert!(ids.eq(1..=u128::from(n)));
}

#[test]
fn a_day_that_is_over_is_merged_without_being_closed() {
    let dir = tempdir();
    let mut recorder = Recorder::open(dir.path(), &"binance".parse().unwrap(), options()).unwrap();
    let trades = recorder.series(&"BTC/USDT".parse().unwrap(), Channel::Trades).unwrap();
    let path = dir.path().join("binance/trades/BTC-USDT/2024-08-08.parquet");
    let mut commit = |range: std::ops::Range<u64>, gap: Duration| {
        for n in range.clone() {
            recorder.trade(trades, Position(n + 1), &trade(n, ts(n), ts(n) + gap));
        }
        recorder.commit(Position(range.end), &[], CommitMode::Step).unwrap();
    };
    commit(0..80, Duration::ZERO);
    commit(80..95, Duration::ZERO);
    assert_eq!(read_trades(&path).unwrap().count(), 80);
    commit(100..110, Duration::from_secs(30));
    assert_eq!(read_trades(&path).unwrap().count(), 80);
    commit(110..120, Duration::from_secs(120));
    assert_eq!(read_trades(&path).unwrap().count(), 95);
}

#[test]
fn damaged_files_go_to_the_quarantine_and_the_day_is_declared() {
    for damage in 0..4 {
        let dir = tempdir();
        let exchange: ExchangeName = "binance".parse().unwrap();
        let mut recorder = Recorder::open(dir.path(), &exchange, options()).unwrap();
        let symbol: Symbol = "BTC/USDT".parse().unwrap();
        let trades = recorder.series(&symbol, Channel::Trades).unwrap();
        for n in 0..40 {
            recorder.trade(trades, Position(n + 1), &trade(n, ts(n), ts(n)));
        }
        recorder.commit(Position(40), &[], CommitMode::Step).unwrap();
        for n in 40..45 {
            recorder.trade(trades, Position(n + 1), &trade(n, ts(n), ts(n)));
        }
        recorder.commit(Position(45), &[], CommitMode::Step).unwrap();
        drop(recorder);

        let path = dir.path().join("binance/trades/BTC-USDT/2024-08-08.parquet");
        let parts = dir.path().join(".dccd/parts/binance/trades/BTC-USDT/2024-08-08");
        let part = parts.join(&layout::names(&parts).unwrap()[0]);
        let file = if damage < 3 { &path } else { &part };
        let mut bytes = std::fs::read(file).unwrap();
        match damage {
            0 => bytes.truncate(bytes.len() / 2),
            1 => bytes[20] ^= 0xff,
            // Another program's file, with a column that we would lose.
            2 => bytes = with_extra_column(),
            _ => bytes.clear(),
        }
        std::fs::write(file, &bytes).unwrap();

        let mut recorder = Recorder::open(dir.path(), &exchange, options()).unwrap();
        let trades = recorder.series(&symbol, Channel::Trades).unwrap();
        for n in 45..60 {
            recorder.trade(trades, Position(n + 1), &trade(n, ts(n), ts(n)));
        }
        let report = recorder.commit(Position(60), &[], CommitMode::Close).unwrap();
        assert_eq!(report.quarantined.len(), 1, "damage {damage}");
        assert_eq!(std::fs::read(&report.quarantined[0]).unwrap(), bytes);
        assert!(report.quarantined[0].starts_with(dir.path().join(".dccd/quarantine")));
        let expected = if damage < 3 { 20 } else { 55 };
        assert_eq!(read_trades(&path).unwrap().count(), expected, "damage {damage}");
        let info = crate::footer::FileInfo::read(&path).unwrap();
        assert_eq!(info.gaps, [gaps::whole_day(19_943)]);
        assert!(!part.exists());
    }
}

fn with_extra_column() -> Vec<u8> {
    use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    let column = |values: Vec<i64>| std::sync::Arc::new(Int64Array::from(values)) as ArrayRef;
    let batch = RecordBatch::try_from_iter([("TS", column(vec![1])), ("note", column(vec![2]))]).unwrap();
    let mut bytes = vec![];
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn a_gap_without_rows_is_kept_until_there_is_a_file_for_it() {
    let dir = tempdir();
    let exchange: ExchangeName = "binance".parse().unwrap();
    let symbol: Symbol = "BTC/USDT".parse().unwrap();
    let gap = Gap { from: ts(0), to: ts(200), reason: GapReason::Silent, repaired: false, ids: None };
    let path = |day: &str| dir.path().join(format!("binance/trades/BTC-USDT/{day}.parquet"));
    let mut recorder = Recorder::open(dir.path(), &exchange, options()).unwrap();
    let trades = recorder.series(&symbol, Channel::Trades).unwrap();
    recorder.gap(trades, Position(1), &gap);
    recorder.commit(Position(1), &[], CommitMode::Close).unwrap();
    assert!(!path("2024-08-08").exists());
    drop(recorder);
    let mut recorder = Recorder::open(dir.path(), &exchange, options()).unwrap();
    let trades = recorder.series(&symbol, Channel::Trades).unwrap();
    recorder.trade(trades, Position(2), &trade(200, ts(200), ts(200) + Duration::from_secs(90)));
    recorder.commit(Position(2), &[], CommitMode::Step).unwrap();
    for (day, rows) in [("2024-08-08", 0), ("2024-08-09", 1)] {
        assert_eq!(read_trades(&path(day)).unwrap().count(), rows);
        assert_eq!(crate::footer::FileInfo::read(&path(day)).unwrap().gaps, std::slice::from_ref(&gap));
    }
    assert!(recorder.series[0].gaps.is_empty());
}

#[test]
fn misuse_is_an_error_and_does_no_harm() {
    let dir = tempdir();
    let mut recorder = Recorder::open(dir.path(), &"binance".parse().unwrap(), options()).unwrap();
    let symbol: Symbol = "BTC/USDT".parse().unwrap();
    let trades = recorder.series(&symbol, Channel::Trades).unwrap();
    assert_eq!(recorder.series(&symbol, Channel::Trades).unwrap(), trades);
    let quotes = recorder.series(&symbol, Channel::Quotes).unwrap();
    recorder.trade(trades, Position(5), &trade(1, ts(1), ts(1)));
    let early = recorder.commit(Position(4), &[], CommitMode::Step);
    assert!(matches!(early, Err(StoreError::Backwards { reached: Position(5), .. })));
    recorder.trade(quotes, Position(5), &trade(2, ts(2), ts(2)));
    let wrong = recorder.commit(Position(5), &[], CommitMode::Step);
    assert!(matches!(wrong, Err(StoreError::WrongChannel { channel: Channel::Quotes, .. })));
    assert_eq!(recorder.pending_rows(), 1);
    recorder.commit(Position(5), &[], CommitMode::Step).unwrap();
    assert_eq!(recorder.pending_rows(), 0);
}

#[test]
fn a_commit_is_due_after_a_step_or_when_memory_fills() {
    let dir = tempdir();
    let options = RecorderOptions { pending_rows_max: 3, ..options() };
    let mut recorder = Recorder::open(dir.path(), &"binance".parse().unwrap(), options).unwrap();
    let trades = recorder.series(&"BTC/USDT".parse().unwrap(), Channel::Trades).unwrap();
    let start = Instant::now();
    assert!(!recorder.due(start));
    assert!(!recorder.due(start + Duration::from_secs(59)));
    assert!(recorder.due(start + Duration::from_secs(60)));
    recorder.commit(Position(0), &[], CommitMode::Step).unwrap();
    assert!(!recorder.due(start + Duration::from_secs(119)));
    for n in 0..3 {
        recorder.trade(trades, Position(n), &trade(n, ts(n), ts(n)));
    }
    assert!(recorder.due(start + Duration::from_secs(61)));
}

#[test]
fn trades_without_numbers_keep_their_order_and_lose_their_duplicates() {
    let dir = tempdir();
    let mut recorder = Recorder::open(dir.path(), &"bybit".parse().unwrap(), options()).unwrap();
    let trades = recorder.series(&"BTC/USDT".parse().unwrap(), Channel::Trades).unwrap();
    let wide = |n: u128| TradeId(u128::MAX - n * 12_345_678_901_234_567_890_123);
    for (at, id) in [(1, wide(1)), (2, wide(5)), (3, wide(2)), (4, wide(5)), (5, TradeId(0)), (6, TradeId(0))] {
        recorder.trade(trades, Position(at), &Trade { id, ..trade(1, ts(1), ts(at)) });
        recorder.commit(Position(at), &[], CommitMode::Step).unwrap();
    }
    recorder.commit(Position(6), &[], CommitMode::Close).unwrap();
    let path = dir.path().join("bybit/trades/BTC-USDT/2024-08-08.parquet");
    let ids: Vec<_> = read_trades(&path).unwrap().map(|t| t.unwrap().id).collect();
    assert_eq!(ids, [wide(1), wide(5), wide(2), TradeId(0), TradeId(0)]);
}
