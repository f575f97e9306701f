//! Journal and recorder together, with a derivation simple enough to be checked by eye.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use dccd_model::{Channel, Decimal, Entry, EntryKind, Flags, Gap, GapReason, Side, Symbol, Trade, TradeId, UnixNanos};
use dccd_store::{
    CommitMode, JournalOptions, JournalReader, JournalWriter, Position, Recorder, RecorderOptions, StoreLock, inventory,
    read_trades, verify,
};

/// 2024-08-08, three minutes before midnight.
const START: i64 = 19_944 * 86_400 * 1_000_000_000 - 180 * 1_000_000_000;

/// The toy session: a frame is `id millis price`; ids are contiguous; what is missing is a gap.
#[derive(Default)]
struct Session {
    last: Option<(u64, UnixNanos)>,
}

impl Session {
    fn restore(saved: &[u8]) -> Self {
        let text = std::str::from_utf8(saved).unwrap();
        let last = text.split_once(' ').map(|(id, ts)| (id.parse().unwrap(), UnixNanos(ts.parse().unwrap())));
        Self { last }
    }

    fn save(&self) -> Vec<u8> {
        self.last.map(|(id, ts)| format!("{id} {}", ts.0)).unwrap_or_default().into_bytes()
    }

    fn apply(&mut self, entry: &Entry<'_>) -> (Option<Gap>, Option<Trade>) {
        let text = std::str::from_utf8(entry.payload).unwrap();
        let [id, millis, price] = text.split(' ').collect::<Vec<_>>()[..] else { return (None, None) };
        let (id, ts_venue) = (id.parse().unwrap(), UnixNanos(START + millis.parse::<i64>().unwrap() * 1_000_000));
        let gap = self.last.filter(|(last, _)| *last + 1 < id).map(|(last, from)| Gap {
            from,
            to: ts_venue,
            reason: GapReason::Sequence,
            repaired: false,
            ids: Some((last + 1, id - 1)),
        });
        self.last = Some((id, ts_venue));
        let trade = Trade {
            ts_venue,
            ts_recv: entry.ts_recv,
            price: Decimal::parse(price.as_bytes()).unwrap(),
            amount: Decimal::new(1, -3),
            id: TradeId(id.into()),
            side: Side::Buy,
            flags: Flags::NONE,
            epoch: 0,
        };
        (gap, Some(trade))
    }
}

fn write_journal(dir: &Path, ids: impl Iterator<Item = u64>) {
    let options = JournalOptions { segment_bytes: 8 << 10, ..JournalOptions::default() };
    let mut writer = JournalWriter::open(dir, options).unwrap();
    for id in ids {
        let millis = id * 500;
        let payload = format!("{id} {millis} {}.{:02}", 61_000 + id % 77, id % 100);
        let ts_recv = UnixNanos(START + i64::try_from(millis).unwrap() * 1_000_000 + 3_000_000);
        let entry = Entry { kind: EntryKind::Frame, conn: 1, ts_recv, subject: "", payload: payload.as_bytes() };
        writer.append(&entry).unwrap();
        if id % 3 == 0 {
            writer.commit().unwrap();
        }
    }
}

/// Goes on from the checkpoint; commits after every `step` entries; stops after `stop` entries as a killed process does.
fn record(data_path: &Path, journal: &Path, step: u64, stop: Option<u64>) -> Position {
    let _lock = StoreLock::acquire(data_path).unwrap();
    let mut recorder = Recorder::open(data_path, &"binance".parse().unwrap(), RecorderOptions::default()).unwrap();
    let symbol: Symbol = "BTC/USDT".parse().unwrap();
    let trades = recorder.series(&symbol, Channel::Trades).unwrap();
    let (mut session, from) =
        recorder.checkpoint().map_or((Session::default(), Position(0)), |c| (Session::restore(&c.state), c.position));
    let mut reader = JournalReader::open_at(journal, from).unwrap();
    let (mut read, mut position) = (0, from);
    while let Some((after, entry)) = reader.next().unwrap() {
        position = after;
        let (gap, trade) = session.apply(&entry);
        gap.iter().for_each(|gap| recorder.gap(trades, after, gap));
        trade.iter().for_each(|trade| recorder.trade(trades, after, trade));
        read += 1;
        if Some(read) == stop {
            return position;
        }
        if read % step == 0 {
            recorder.commit(position, &session.save(), CommitMode::Step).unwrap();
        }
    }
    recorder.commit(position, &session.save(), CommitMode::Close).unwrap();
    position
}

fn files(data_path: &Path) -> BTreeMap<String, Vec<u8>> {
    let folder = data_path.join("binance/trades/BTC-USDT");
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect()
}

#[test]
fn replaying_a_journal_gives_identical_files_however_often_the_recorder_dies() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");
    // Ten ids never came.
    write_journal(&journal, (1..800).filter(|id| !(300..310).contains(id)));

    let once = dir.path().join("once");
    let end = record(&once, &journal, u64::MAX, None);
    let reference = files(&once);
    assert_eq!(reference.keys().collect::<Vec<_>>(), ["2024-08-08.parquet", "2024-08-09.parquet"]);
    let ids: Vec<u64> = ["2024-08-08", "2024-08-09"]
        .iter()
        .flat_map(|day| read_trades(&once.join(format!("binance/trades/BTC-USDT/{day}.parquet"))).unwrap())
        .map(|trade| u64::try_from(trade.unwrap().id.0).unwrap())
        .collect();
    assert!(ids.iter().copied().eq((1..800).filter(|id| !(300..310).contains(id))));

    let mut ends = BTreeSet::new();
    for (step, stop) in [(50, 120), (7, 100), (250, 249), (1, 60)] {
        let again = dir.path().join(format!("again-{step}"));
        // Killed over and over, each time somewhat further on.
        for life in 1..5 {
            record(&again, &journal, step, Some(stop * life));
        }
        ends.insert(record(&again, &journal, step, None));
        assert!(files(&again) == reference, "commits each {step} entries, killed after {stop}");
        assert!(verify(&again, None).unwrap().is_clean());
    }
    assert_eq!(ends.into_iter().collect::<Vec<_>>(), [end]);
    let rows = inventory(&once).unwrap();
    assert_eq!((rows[0].rows, rows[0].gaps, rows[0].missing), (789, 1, Some(10)));
}

#[test]
fn a_journal_that_goes_on_after_a_stop_is_recorded_on() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, parts, whole) = (dir.path().join("journal"), dir.path().join("parts"), dir.path().join("whole"));
    for range in [1..200, 200..201, 201..450, 450..800] {
        write_journal(&journal, range);
        record(&parts, &journal, 40, None);
    }
    record(&whole, &journal, 40, None);
    assert!(files(&parts) == files(&whole));
}
