//! Candles: windows landed, years published, years read; bytes a row.
//!
//! `cargo bench -p dccd-store --bench candles`. Set `DCCD_BENCH_DIR` to measure another disk than the one of the temporary
//! directory, `-- --memory` for the most that is resident while ten years are landed and published at once, `DCCD_FIXTURES` (or `../shared/fixtures` beside the repository) for recorded candles.

#![allow(clippy::print_stdout)] // it prints what it measures

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dccd_model::{Decimal, UnixNanos};
use dccd_store::{
    CandleError, CandleRow, CandleSeriesId, CandleWriter, Empties, Landing, StoreError, candle_coverage, read_candles,
};

/// 2015-01-01.
const START: i64 = 1_420_070_400_000_000_000;
const MINUTE: i64 = 60_000_000_000;
const PAGE: usize = 1_000;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    if std::env::args().any(|arg| arg == "--memory") {
        return memory(10 * 525_600);
    }
    let years = if std::env::args().any(|arg| arg == "--short") { 2 } else { 10 };
    let rows = synthetic(years * 525_600);
    fresh(&format!("{years} years of minutes, synthetic"), &rows)?;
    newest_windows(&rows)?;
    for (name, market) in recorded() {
        fresh(&name, &market)?;
    }
    Ok(())
}

fn directory() -> std::io::Result<tempfile::TempDir> {
    match std::env::var_os("DCCD_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    }
}

fn series() -> Result<CandleSeriesId, Failure> {
    Ok(CandleSeriesId { exchange: "binance".parse()?, symbol: "BTC/USDT".parse()?, span: "1m".parse()? })
}

/// A walk on a grid of cents, volumes of five digits, as Binance has them for BTC/USDT.
fn synthetic(count: usize) -> Vec<CandleRow> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut price = 6_183_763i64;
    let dec = |mantissa, exponent| Decimal::new(mantissa, exponent).to_f64();
    let mut ts = START;
    (0..count)
        .map(|_| {
            let open = price;
            price = (price + random.i64(-2_000..=2_000)).max(1_000_000);
            let (high, low) = (open.max(price) + random.i64(0..900), open.min(price) - random.i64(0..900));
            let volume = random.i64(1_000..9_000_000) * random.i64(1..20) / 10;
            let row = CandleRow {
                ts: UnixNanos(ts),
                open: dec(open, -2),
                high: dec(high, -2),
                low: dec(low, -2),
                close: dec(price, -2),
                volume: dec(volume, -5),
                quote_volume: Some(dec(volume * (open + price) / 2 + random.i64(0..1_000), -7)),
                trades: Some(random.i64(20..4_000)),
            };
            ts += MINUTE;
            row
        })
        .collect()
}

/// The recorded candles, whatever their span, on a grid of minutes.
fn recorded() -> Vec<(String, Vec<CandleRow>)> {
    let folder = std::env::var_os("DCCD_FIXTURES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures"), PathBuf::from);
    let files = ["ADABTC_5m.csv.zst", "XRPETH_1m.csv.zst", "lean_crypto_binance_minute_btcbusd_20221213_trade.csv.zst"];
    let mut all = Vec::new();
    for name in files {
        let Some(reader) = std::fs::File::open(folder.join("binance/archive").join(name)).and_then(zstd::Decoder::new).ok()
        else {
            println!("{name}: skipped, no fixtures");
            continue;
        };
        let mut ts = START;
        let rows = BufReader::new(reader).lines().map_while(Result::ok).filter_map(|line| {
            let numbers: Vec<f64> = line.split(',').skip(1).map_while(|text| text.parse().ok()).collect();
            let [open, high, low, close, volume, ..] = numbers[..] else { return None };
            ts += MINUTE;
            let ts = UnixNanos(ts);
            Some(CandleRow { ts, open, high, low, close, volume, quote_volume: None, trades: None })
        });
        all.push((format!("recorded {name}"), rows.collect()));
    }
    all
}

#[allow(clippy::cast_precision_loss)]
fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64() / 1e6
}

fn land(writer: &mut CandleWriter, rows: &[CandleRow]) -> Result<(), CandleError> {
    for page in rows.chunks(PAGE) {
        let (from, to) = (page[0].ts, UnixNanos(page[page.len() - 1].ts.0 + MINUTE));
        writer.land(&Landing { from, to, rows: page, gaps: &[] })?;
    }
    Ok(())
}

fn fresh(name: &str, rows: &[CandleRow]) -> Result<(), Failure> {
    let (dir, id) = (directory()?, series()?);
    let mut writer = CandleWriter::open(dir.path(), &id, Empties::Sent)?;
    let start = Instant::now();
    land(&mut writer, rows)?;
    let landed = start.elapsed();
    drop(writer);
    let start = Instant::now();
    let mut writer = CandleWriter::open(dir.path(), &id, Empties::Sent)?;
    let opened = start.elapsed();
    let start = Instant::now();
    let published = writer.publish()?;
    let done = start.elapsed();
    drop(writer);
    let start = Instant::now();
    CandleWriter::open(dir.path(), &id, Empties::Sent)?;
    let again = start.elapsed();
    let start = Instant::now();
    candle_coverage(dir.path(), &id)?;
    let covered = start.elapsed();
    let start = Instant::now();
    let read = read_candles(dir.path(), &id, UnixNanos(0), UnixNanos(i64::MAX))?.try_fold(0, |n, row| row.map(|_| n + 1))?;
    println!(
        "{name}: land {:.1} M rows/s, open with the stage full {} ms, publish {:.2} M rows/s (verified and synced; {} ms), {} bytes a \
         row; open {} ms, coverage {} ms, read {:.1} M rows/s",
        per_second(rows.len(), landed),
        opened.as_millis(),
        per_second(rows.len(), done),
        done.as_millis(),
        published.bytes * 100 / rows.len() as u64,
        again.as_millis(),
        covered.as_millis(),
        per_second(read, start.elapsed()),
    );
    Ok(())
}

/// Pages are made as they are landed, so that nothing is resident but what the writer needs.
fn memory(count: usize) -> Result<(), Failure> {
    let (dir, id) = (directory()?, series()?);
    let mut writer = CandleWriter::open(dir.path(), &id, Empties::Sent)?;
    let page = synthetic(PAGE);
    for first in (0..count).step_by(PAGE) {
        let shift = i64::try_from(first)? * MINUTE;
        let rows: Vec<_> = page.iter().map(|row| CandleRow { ts: UnixNanos(row.ts.0 + shift), ..*row }).collect();
        land(&mut writer, &rows)?;
    }
    let staged = resident()?;
    writer.publish()?;
    println!("{count} candles: {staged} resident when all are staged, {} at most", resident()?);
    Ok(())
}

/// The most that was resident so far.
fn resident() -> Result<String, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    Ok(line.unwrap_or("?").trim().to_owned())
}

/// A year that grows by one page at a time: each publishing writes it anew.
fn newest_windows(rows: &[CandleRow]) -> Result<(), Failure> {
    let (dir, id) = (directory()?, series()?);
    let mut writer = CandleWriter::open(dir.path(), &id, Empties::Sent)?;
    let rows = &rows[..525_600];
    land(&mut writer, &rows[..500_000])?;
    writer.publish()?;
    let start = Instant::now();
    let pages = 10;
    for page in rows[500_000..].chunks(PAGE).take(pages) {
        land(&mut writer, page)?;
        writer.publish()?;
    }
    println!("a page of 1,000 behind 500,000 rows: published in {} ms", start.elapsed().as_millis() / pages as u128);
    let start = Instant::now();
    let within = (UnixNanos(START + MINUTE), UnixNanos(START + 2 * MINUTE));
    let read: Result<Vec<_>, StoreError> = read_candles(dir.path(), &id, within.0, within.1)?.collect();
    println!(
        "one candle of a year: read in {} ms",
        (read.map(|rows| start.elapsed() / u32::try_from(rows.len()).unwrap_or(1)))?.as_millis()
    );
    Ok(())
}
