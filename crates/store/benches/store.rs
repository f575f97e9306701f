//! Rows a second and bytes a row of day files, bytes written in all, and the journal's rate.
//!
//! `cargo bench -p dccd-store`. With `DCCD_FIXTURES` (or `../shared/fixtures` beside the repository) the recorded Binance trades are measured
//! too. Set `DCCD_BENCH_DIR` to measure another disk than the one of the temporary directory.

#![allow(clippy::print_stdout)] // it prints what it measures

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dccd_model::{
    BookLevel, BookSide, Channel, Decimal, Entry, EntryKind, Flags, Quote, Side, Symbol, Trade, TradeId, UnixNanos,
};
use dccd_store::{
    CommitMode, JournalOptions, JournalReader, JournalWriter, Position, Recorder, RecorderOptions, StoreError,
};

const START: i64 = 19_943 * 86_400 * 1_000_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let data: Vec<(&str, Vec<Trade>)> = vec![
        ("trades, synthetic, 2 M", synthetic(2_000_000)),
        ("trades, recorded Binance BTC/USDT", recorded().unwrap_or_default()),
    ];
    for (name, trades) in &data {
        if trades.is_empty() {
            println!("{name}: skipped, no fixtures");
            continue;
        }
        for with_recv in [false, true] {
            one_file(name, trades, with_recv)?;
        }
    }
    quotes(1_000_000)?;
    book(1_000_000)?;
    a_day_in_steps(&data[0].1)?;
    journal(2_000_000)?;
    Ok(())
}

fn directory() -> std::io::Result<tempfile::TempDir> {
    match std::env::var_os("DCCD_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    }
}

/// Trades as a busy market makes them: bursts at one price and time, a walk on a grid of ticks, amounts of many sizes.
fn synthetic(count: u64) -> Vec<Trade> {
    let mut random = fastrand::Rng::with_seed(1);
    let (mut price, mut micros, mut side) = (6_183_763i64, 0i64, Side::Buy);
    (0..count)
        .map(|n| {
            // Half of all trades are fills of the same order as the one before.
            if random.bool() {
                micros += random.i64(1_000..60_000);
                side = if random.bool() { Side::Buy } else { Side::Sell };
                price += random.i64(-30..=30);
            } else if random.u32(0..4) == 0 {
                price += if side == Side::Buy { 1 } else { -1 };
            }
            let amount = if random.bool() { random.i64(1..2_000) * 10 } else { random.i64(1..500_000) };
            Trade {
                ts_venue: UnixNanos(START + micros * 1_000),
                ts_recv: UnixNanos(START + micros * 1_000 + random.i64(20_000_000..40_000_000)),
                price: Decimal::new(price, -2),
                amount: Decimal::new(amount, -5),
                id: TradeId(u128::from(3_735_683_259 + n)),
                side,
                flags: Flags::NONE,
                epoch: 0,
            }
        })
        .collect()
}

/// The trades in the recorded frames.
fn recorded() -> Option<Vec<Trade>> {
    let folder = std::env::var_os("DCCD_FIXTURES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures"), PathBuf::from);
    let path = folder.join("binance/ws_spot_BTCUSDT_depth_trade_bookticker_20240808-09.frames.jsonl.zst");
    let mut text = String::new();
    zstd::Decoder::new(std::fs::File::open(path).ok()?).ok()?.read_to_string(&mut text).ok()?;
    let mut trades = Vec::new();
    for line in BufReader::new(text.as_bytes()).lines() {
        let line: serde_json::Value = serde_json::from_str(&line.ok()?).ok()?;
        let Ok(frame) = serde_json::from_str::<serde_json::Value>(line["raw"].as_str()?) else { continue };
        let data = &frame["data"];
        if data["e"] != "trade" {
            continue;
        }
        #[allow(clippy::cast_possible_truncation)]
        let ts_recv = UnixNanos((line["ts"].as_f64()? * 1e9) as i64);
        trades.push(Trade {
            ts_venue: UnixNanos::from_millis(data["T"].as_i64()?),
            ts_recv,
            price: Decimal::parse(data["p"].as_str()?.as_bytes()).ok()?,
            amount: Decimal::parse(data["q"].as_str()?.as_bytes()).ok()?,
            id: TradeId(u128::from(data["t"].as_u64()?)),
            side: if data["m"].as_bool()? { Side::Sell } else { Side::Buy },
            flags: Flags::NONE,
            epoch: 0,
        });
    }
    Some(trades)
}

fn recorder(dir: &Path) -> Result<Recorder, Box<dyn std::error::Error>> {
    Ok(Recorder::open(dir, &"binance".parse()?, RecorderOptions::default())?)
}

fn symbol() -> Result<Symbol, Box<dyn std::error::Error>> {
    Ok("BTC/USDT".parse()?)
}

#[allow(clippy::cast_precision_loss)]
fn per(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64() / 1e6
}

#[allow(clippy::cast_precision_loss)]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b.max(1) as f64
}

fn size_of_files(dir: &Path) -> std::io::Result<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir(dir)? {
        total += entry?.metadata()?.len();
    }
    Ok(total)
}

/// Everything in one commit: encode, compress, write, read back, verify, sync.
fn one_file(name: &str, trades: &[Trade], with_recv: bool) -> Result<(), Box<dyn std::error::Error>> {
    let dir = directory()?;
    let mut recorder = recorder(dir.path())?;
    let handle = recorder.series(&symbol()?, Channel::Trades)?;
    let start = Instant::now();
    for (n, trade) in (1..).zip(trades) {
        let ts_recv = if with_recv { trade.ts_recv } else { UnixNanos::UNKNOWN };
        recorder.trade(handle, Position(n), &Trade { ts_recv, ..*trade });
    }
    let pushed = start.elapsed();
    recorder.commit(Position(trades.len() as u64), &[], CommitMode::Close)?;
    let committed = start.elapsed() - pushed;
    let folder = dir.path().join("binance/trades/BTC-USDT");
    let bytes = size_of_files(&folder)?;
    let start = Instant::now();
    let mut read = 0;
    for entry in std::fs::read_dir(&folder)? {
        read += dccd_store::read_trades(&entry?.path())?.collect::<Result<Vec<_>, StoreError>>()?.len();
    }
    println!(
        "{name}, {} ts_recv: {:.2} bytes a row; commit {:.2} M rows/s (verified and synced), hand over {:.1} M rows/s, read {:.1} M rows/s",
        if with_recv { "with" } else { "without" },
        ratio(bytes, trades.len() as u64),
        per(trades.len(), committed),
        per(trades.len(), pushed),
        per(read, start.elapsed()),
    );
    Ok(())
}

fn quotes(count: u64) -> Result<(), Box<dyn std::error::Error>> {
    let mut random = fastrand::Rng::with_seed(2);
    let dir = directory()?;
    let mut recorder = recorder(dir.path())?;
    let handle = recorder.series(&symbol()?, Channel::Quotes)?;
    let (mut bid, mut time) = (6_183_763i64, START);
    for n in 1..=count {
        time += random.i64(10_000..20_000_000);
        bid += if random.u32(0..8) == 0 { random.i64(-50..=50) } else { 0 };
        let quote = Quote {
            ts_venue: UnixNanos::UNKNOWN,
            ts_recv: UnixNanos(time),
            bid: Decimal::new(bid, -2),
            bid_amount: Decimal::new(random.i64(1..1_000_000), -5),
            ask: Decimal::new(bid + 1, -2),
            ask_amount: Decimal::new(random.i64(1..1_000_000), -5),
            flags: Flags::NONE,
        };
        recorder.quote(handle, Position(n), &quote);
    }
    report("quotes, synthetic, 1 M", &mut recorder, count, &dir.path().join("binance/quotes/BTC-USDT"))
}

fn book(count: u64) -> Result<(), Box<dyn std::error::Error>> {
    let mut random = fastrand::Rng::with_seed(3);
    let dir = directory()?;
    let mut recorder = recorder(dir.path())?;
    let handle = recorder.series(&symbol()?, Channel::Book)?;
    for n in 1..=count {
        // Twenty levels an event, an event each 100 ms.
        let event = i64::try_from(n / 20)?;
        let side = if n % 20 < 10 { BookSide::Bid } else { BookSide::Ask };
        let distance = random.i64(0..500) * random.i64(0..20);
        let level = BookLevel {
            ts_venue: UnixNanos(START + event * 100_000_000),
            ts_recv: UnixNanos(START + event * 100_000_000 + 31_000_000),
            price: Decimal::new(6_183_763 + if side == BookSide::Bid { -distance } else { distance + 1 }, -2),
            amount: Decimal::new(if random.bool() { 0 } else { random.i64(1..1_000_000) }, -5),
            update_id: 50_093_239_202 + n / 20 * 37,
            side,
            flags: if n <= 20 { Flags::SNAPSHOT } else { Flags::NONE },
            epoch: 1,
            order_count: 0,
        };
        recorder.level(handle, Position(n), &level);
    }
    report("book levels, synthetic, 1 M", &mut recorder, count, &dir.path().join("binance/orderbook/BTC-USDT"))
}

fn report(name: &str, recorder: &mut Recorder, count: u64, folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let start = Instant::now();
    recorder.commit(Position(count), &[], CommitMode::Close)?;
    let rate = per(usize::try_from(count)?, start.elapsed());
    println!(
        "{name}: {:.2} bytes a row; commit {rate:.2} M rows/s (verified and synced)",
        ratio(size_of_files(folder)?, count)
    );
    Ok(())
}

/// A day committed each minute: what is written in all, and how long a commit takes.
fn a_day_in_steps(trades: &[Trade]) -> Result<(), Box<dyn std::error::Error>> {
    for count in [trades.len(), 500_000, 100_000, 20_000] {
        let dir = directory()?;
        let mut recorder = recorder(dir.path())?;
        let handle = recorder.series(&symbol()?, Channel::Trades)?;
        let (mut bytes, mut files, mut slowest) = (0, 0, Duration::ZERO);
        let mut next = 0;
        // The trades of one day, whatever their times: 1,440 commits.
        let spacing = 86_399_000_000_000 / i64::try_from(count)?;
        for (n, trade) in (0..).zip(&trades[..count]) {
            let ts_venue = UnixNanos(START + n * spacing);
            next += 1;
            recorder.trade(handle, Position(next), &Trade { ts_venue, ..*trade });
            if next % (count as u64 / 1440).max(1) == 0 {
                let start = Instant::now();
                let report = recorder.commit(Position(next), &[], CommitMode::Step)?;
                slowest = slowest.max(start.elapsed());
                bytes += report.bytes;
                files += report.files;
            }
        }
        bytes += recorder.commit(Position(next), &[], CommitMode::Close)?.bytes;
        let size = size_of_files(&dir.path().join("binance/trades/BTC-USDT"))?;
        println!(
            "a day of {count} trades in 1,440 commits: {:.1} MB, written {:.2} times in {files} files; slowest commit {} ms",
            ratio(size, 1_000_000),
            ratio(bytes, size),
            slowest.as_millis()
        );
    }
    Ok(())
}

fn journal(count: u64) -> Result<(), Box<dyn std::error::Error>> {
    let payload = br#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.00009000","T":1723161255342,"m":true,"M":true}}"#;
    for batch in [1, 100] {
        let dir = directory()?;
        let mut writer = JournalWriter::open(dir.path(), JournalOptions::default())?;
        let sync = writer.sync_handle()?;
        let start = Instant::now();
        for n in 0..count {
            let ts_recv = UnixNanos(START + i64::try_from(n)?);
            writer.append(&Entry { kind: EntryKind::Frame, conn: 1, ts_recv, subject: "", payload })?;
            if n % batch == 0 {
                writer.commit()?;
            }
        }
        writer.commit()?;
        let written = start.elapsed();
        drop(sync);
        let start = Instant::now();
        let mut reader = JournalReader::open_at(dir.path(), Position(0))?;
        let mut read = 0u64;
        while reader.next()?.is_some() {
            read += 1;
        }
        println!(
            "journal, {} bytes an entry, {batch} a commit: write {:.2} M entries/s, read {:.2} M entries/s",
            payload.len(),
            per(usize::try_from(count)?, written),
            per(usize::try_from(read)?, start.elapsed())
        );
    }
    Ok(())
}
