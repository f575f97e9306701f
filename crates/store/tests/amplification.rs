//! How much is written for what is kept, and how old the day file gets.

use dccd_model::{Channel, Decimal, Flags, Side, Symbol, Trade, TradeId, UnixNanos};
use dccd_store::{CommitMode, Position, Recorder, RecorderOptions, inventory, read_trades};

const START: i64 = 19_943 * 86_400 * 1_000_000_000;

/// Bytes written below 8 times the final size; the day file complete while small, never a quarter behind.
#[test]
fn bytes_written_in_all_stay_below_eight_times_the_final_size() {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let options = RecorderOptions::default();
    let mut recorder = Recorder::open(dir.path(), &"binance".parse().unwrap(), options).unwrap();
    let symbol: Symbol = "BTC/USDT".parse().unwrap();
    let trades = recorder.series(&symbol, Channel::Trades).unwrap();
    let path = dir.path().join("binance/trades/BTC-USDT/2024-08-08.parquet");
    let mut random = fastrand::Rng::with_seed(9);
    let (mut bytes, mut next, mut micros, mut price) = (0, 0u64, 0i64, 6_183_763i64);
    for commit in 0..150 {
        for _ in 0..1000 {
            micros += random.i64(0..40_000);
            price += random.i64(-9..=9);
            next += 1;
            let ts = UnixNanos(START + micros * 1000);
            let trade = Trade {
                ts_venue: ts,
                ts_recv: UnixNanos(ts.0 + random.i64(1_000_000..9_000_000)),
                price: Decimal::new(price, -2),
                amount: Decimal::new(random.i64(1..300_000), -5),
                id: TradeId(u128::from(3_735_683_259 + next)),
                side: if random.bool() { Side::Buy } else { Side::Sell },
                flags: Flags::NONE,
                epoch: 0,
            };
            recorder.trade(trades, Position(next), &trade);
        }
        bytes += recorder.commit(Position(next), &[], CommitMode::Step).unwrap().bytes;
        if commit % 10 == 0 {
            let stored = read_trades(&path).unwrap().count() as u64;
            let small = path.metadata().unwrap().len() < options.small_file_bytes;
            assert!(if small { stored == next } else { (next - stored) * 4 <= next }, "{stored} of {next}");
        }
    }
    bytes += recorder.commit(Position(next), &[], CommitMode::Close).unwrap().bytes;
    let size = path.metadata().unwrap().len();
    assert_eq!(inventory(dir.path()).unwrap()[0].bytes, size);
    assert!(bytes < 8 * size, "{bytes} bytes written for {size}");
    assert!(size < 21 * next, "{size} bytes for {next} rows");
}
