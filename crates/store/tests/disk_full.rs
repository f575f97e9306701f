//! A disk that is really full: a small memory file system, which takes root to mount. Skipped otherwise; the same is tested with an
//! injected fault at every write inside the crate.

#![allow(clippy::print_stderr)] // a skipped test says so

use std::path::Path;
use std::process::Command;

use dccd_model::{Channel, Decimal, Entry, EntryKind, Flags, Side, Symbol, Trade, TradeId, UnixNanos};
use dccd_store::{
    CommitMode, JournalError, JournalOptions, JournalReader, JournalWriter, Position, Recorder, RecorderOptions, StoreError,
    read_trades,
};

struct Mount(tempfile::TempDir);

impl Mount {
    fn new(bytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().ok()?;
        let options = format!("size={bytes}");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir.path()).output();
        status.ok()?.status.success().then_some(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).output(); // nothing better to do in a test's cleanup
    }
}

fn fill(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("ballast");
    let mut size = 1 << 20;
    let mut bytes = std::fs::read(&path).unwrap_or_default();
    while size > 0 {
        bytes.resize(bytes.len() + size, 1);
        if std::fs::write(&path, &bytes).is_err() {
            bytes.truncate(bytes.len() - size);
            size /= 2;
        }
    }
    std::fs::write(&path, &bytes).unwrap();
    path
}

#[test]
fn a_full_disk_stops_recording_by_name_and_recording_goes_on_when_there_is_room() {
    let Some(mount) = Mount::new(4 << 20) else {
        eprintln!("skipped: a_full_disk_stops_recording_by_name: a tmpfs can't be mounted");
        return;
    };
    let journal = mount.path().join("journal");
    let mut writer = JournalWriter::open(&journal, JournalOptions::default()).unwrap();
    let entry = |n| Entry { kind: EntryKind::Frame, conn: 1, ts_recv: UnixNanos(n), subject: "", payload: &[7; 3000] };
    writer.append(&entry(1)).unwrap();
    writer.commit().unwrap();

    let mut recorder = Recorder::open(mount.path(), &"binance".parse().unwrap(), RecorderOptions::default()).unwrap();
    let symbol: Symbol = "BTC/USDT".parse().unwrap();
    let trades = recorder.series(&symbol, Channel::Trades).unwrap();
    let push = |recorder: &mut Recorder, range: std::ops::Range<u64>| {
        for n in range {
            let ts = UnixNanos(1_723_075_200_000_000_000 + i64::try_from(n).unwrap());
            let trade = Trade {
                ts_venue: ts,
                ts_recv: ts,
                price: Decimal::new(61_837, 0),
                amount: Decimal::new(1, 0),
                id: TradeId(u128::from(n)),
                side: Side::Buy,
                flags: Flags::NONE,
                epoch: 0,
            };
            recorder.trade(trades, Position(n), &trade);
        }
    };
    push(&mut recorder, 1..1000);
    recorder.commit(Position(1000), &[], CommitMode::Step).unwrap();

    let ballast = fill(mount.path());
    push(&mut recorder, 1001..2000);
    match recorder.commit(Position(2000), &[], CommitMode::Step) {
        Err(StoreError::NoSpace { .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(recorder.pending_rows(), 999);
    let mut lost = 0;
    for n in 2..10 {
        writer.append(&entry(n)).unwrap();
        match writer.commit() {
            Ok(_) => {}
            Err(error @ JournalError::NoSpace { .. }) => lost += error.lost(),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(lost > 0);

    std::fs::remove_file(ballast).unwrap();
    recorder.commit(Position(2000), &[], CommitMode::Close).unwrap();
    let path = mount.path().join("binance/trades/BTC-USDT/2024-08-08.parquet");
    assert_eq!(read_trades(&path).unwrap().count(), 1998);
    writer.append(&entry(10)).unwrap();
    writer.commit().unwrap();
    drop(writer);
    let mut reader = JournalReader::open_at(&journal, Position(0)).unwrap();
    let mut read = 0;
    while reader.next().unwrap().is_some() {
        read += 1;
    }
    assert_eq!(read, 10 - lost);
}
