//! What several tests of this crate build stores with.

use dccd_model::time::NANOS_PER_DAY;
use dccd_model::{BookLevel, BookSide, Channel, Decimal, Flags, Gap, Quote, Side, Symbol, Trade, TradeId, UnixNanos};
use tempfile::TempDir;

use crate::{CommitMode, Position, Recorder, RecorderOptions};

/// 2024-08-08, number of the day.
pub(crate) const DAY: i64 = 19_943;

/// In memory where that is possible: tests sync thousands of times.
pub(crate) fn tempdir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A moment of [`DAY`], in seconds.
pub(crate) fn at(seconds: i64) -> UnixNanos {
    UnixNanos(DAY * NANOS_PER_DAY + seconds * 1_000_000_000)
}

pub(crate) fn symbol() -> Symbol {
    "BTC/USDT".parse().unwrap()
}

/// A recorder and where it stands.
pub(crate) struct Writer {
    pub(crate) recorder: Recorder,
    next: u64,
}

impl Writer {
    pub(crate) fn new(dir: &TempDir) -> Self {
        let options = RecorderOptions { small_file_bytes: 0, ..RecorderOptions::default() };
        let recorder = Recorder::open(dir.path(), &"binance".parse().unwrap(), options).unwrap();
        let next = recorder.checkpoint().map_or(0, |c| c.position.0);
        Self { recorder, next }
    }

    fn entry(&mut self) -> Position {
        self.next += 100;
        Position(self.next)
    }

    pub(crate) fn trade(&mut self, seconds: i64, id: u64) {
        let handle = self.recorder.series(&symbol(), Channel::Trades).unwrap();
        let trade = Trade {
            ts_venue: at(seconds),
            ts_recv: at(seconds),
            price: Decimal::new(6_183_764 + seconds % 100, -2),
            amount: Decimal::new(1 + seconds % 1000, -5),
            id: TradeId(id.into()),
            side: if id.is_multiple_of(2) { Side::Buy } else { Side::Sell },
            flags: Flags::NONE,
            epoch: 0,
        };
        let entry = self.entry();
        self.recorder.trade(handle, entry, &trade);
    }

    pub(crate) fn quote(&mut self, seconds: i64) {
        let handle = self.recorder.series(&symbol(), Channel::Quotes).unwrap();
        let quote = Quote {
            ts_venue: UnixNanos::UNKNOWN,
            ts_recv: at(seconds),
            bid: Decimal::new(100, 0),
            bid_amount: Decimal::new(5, -1),
            ask: Decimal::new(101, 0),
            ask_amount: Decimal::new(5, -1),
            flags: Flags::NONE,
        };
        let entry = self.entry();
        self.recorder.quote(handle, entry, &quote);
    }

    /// One event: (side, price, amount) of each level.
    pub(crate) fn book(&mut self, seconds: i64, epoch: u32, snapshot: bool, levels: &[(BookSide, i64, i64)]) {
        let handle = self.recorder.series(&symbol(), Channel::Book).unwrap();
        let entry = self.entry();
        for (side, price, amount) in levels {
            let level = BookLevel {
                ts_venue: at(seconds),
                ts_recv: at(seconds),
                price: Decimal::new(*price, 0),
                amount: Decimal::new(*amount, 0),
                update_id: entry.0,
                side: *side,
                flags: if snapshot { Flags::SNAPSHOT } else { Flags::NONE },
                epoch,
                order_count: 3,
            };
            self.recorder.level(handle, entry, &level);
        }
    }

    pub(crate) fn gap(&mut self, channel: Channel, gap: &Gap) {
        let handle = self.recorder.series(&symbol(), channel).unwrap();
        let entry = self.entry();
        self.recorder.gap(handle, entry, gap);
    }

    pub(crate) fn commit(&mut self, mode: CommitMode) {
        self.recorder.commit(Position(self.next), &[], mode).unwrap();
    }
}
