//! Other people's Parquet readers on our files. Needs `DCCD_PYTHON`, a Python with pyarrow, DuckDB, Polars or pandas.

#![allow(clippy::print_stderr)] // a skipped test says so

use std::path::Path;
use std::process::Command;

use dccd_model::{
    BookLevel, BookSide, Channel, Decimal, Flags, Gap, GapReason, Quote, Side, Symbol, Trade, TradeId, UnixNanos,
};
use dccd_store::{CommitMode, Position, Recorder, RecorderOptions, verify};

/// Noon of 2024-08-08.
const START: i64 = 19_943 * 86_400 * 1_000_000_000 + 43_200 * 1_000_000_000;

/// What `readers.py` expects: 700 trades, quotes and book events of two levels, 100 s apart, over two days.
fn write_store(data_path: &Path) {
    let mut recorder = Recorder::open(data_path, &"binance".parse().unwrap(), RecorderOptions::default()).unwrap();
    let symbol: Symbol = "BTC/USDT".parse().unwrap();
    let [trades, quotes, book] =
        [Channel::Trades, Channel::Quotes, Channel::Book].map(|c| recorder.series(&symbol, c).unwrap());
    for n in 0..700i64 {
        let at = Position(u64::try_from(n).unwrap() + 1);
        let ts = UnixNanos(START + n * 100_000_000_000);
        let trade = Trade {
            ts_venue: ts,
            ts_recv: if n % 5 == 0 { UnixNanos::UNKNOWN } else { UnixNanos(ts.0 + 1) },
            price: Decimal::new(6_183_763 + n, -2),
            amount: Decimal::new(1, -3),
            id: TradeId(3_735_683_259 + u128::try_from(n).unwrap()),
            side: [Side::Buy, Side::Sell, Side::Unknown][usize::try_from(n % 3).unwrap()],
            flags: Flags::NONE,
            epoch: 0,
        };
        recorder.trade(trades, at, &trade);
        let quote = Quote {
            ts_venue: UnixNanos::UNKNOWN,
            ts_recv: ts,
            bid: Decimal::new(100 + n, -1),
            bid_amount: Decimal::new(5, 0),
            ask: Decimal::new(101 + n, -1),
            ask_amount: Decimal::new(7, 0),
            flags: Flags::NONE,
        };
        recorder.quote(quotes, at, &quote);
        for side in [BookSide::Bid, BookSide::Ask] {
            let level = BookLevel {
                ts_venue: ts,
                ts_recv: ts,
                price: Decimal::new(if side == BookSide::Bid { 100 } else { 101 }, 0),
                amount: Decimal::new(n + 1, 0),
                update_id: at.0,
                side,
                flags: if n == 0 { Flags::SNAPSHOT } else { Flags::NONE },
                epoch: 1,
                order_count: u32::try_from(n % 4).unwrap(),
            };
            recorder.level(book, at, &level);
        }
    }
    let gap =
        Gap { from: UnixNanos(START), to: UnixNanos(START + 5), reason: GapReason::Disconnected, repaired: true, ids: None };
    recorder.gap(trades, Position(700), &gap);
    recorder.commit(Position(700), &[], CommitMode::Close).unwrap();
}

#[test]
fn other_readers_read_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    write_store(dir.path());
    let report = verify(dir.path(), None).unwrap();
    assert!(report.is_clean(), "{report:?}");
    let Some(python) = std::env::var_os("DCCD_PYTHON") else {
        eprintln!("skipped: other_readers_read_what_was_written: DCCD_PYTHON is not set");
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers.py");
    let output = Command::new(python).arg(script).arg(dir.path()).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    eprintln!("{text}");
}
