//! How long an inventory of 10,000 year files takes: from the files, and from the coverage map.
//!
//! `cargo bench -p dccd-store --bench coverage`. Each file is its own inode with 8,760 candles: one is written, the others are copies.

#![allow(clippy::print_stdout)] // it prints what it measures

use std::time::Instant;

use dccd_model::UnixNanos;
use dccd_store::{
    CandleRow, CandleSeriesId, CandleWriter, Empties, Landing, inventory, inventory_from_files, repair_coverage,
};

const HOUR: i64 = 3_600_000_000_000;
/// 2023-01-01.
const START: i64 = 1_672_531_200_000_000_000;
const PAIRS: u32 = 1_000;
const YEARS: u32 = 10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = match std::env::var_os("DCCD_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let id = CandleSeriesId { exchange: "binance".parse()?, symbol: "BTC/USDT".parse()?, span: "1h".parse()? };
    let mut random = fastrand::Rng::with_seed(1);
    let rows: Vec<CandleRow> = (0..8760)
        .map(|n| {
            let open = 100.0 + random.f64();
            CandleRow {
                ts: UnixNanos(START + n * HOUR),
                open,
                high: open + 1.0,
                low: open - 1.0,
                close: open,
                volume: random.f64(),
                quote_volume: Some(random.f64()),
                trades: Some(random.i64(0..1000)),
            }
        })
        .collect();
    let mut writer = CandleWriter::open(dir.path(), &id, Empties::Sent)?;
    writer.land(&Landing { from: UnixNanos(START), to: UnixNanos(START + 8760 * HOUR), rows: &rows, gaps: &[] })?;
    writer.publish()?;
    drop(writer);
    let ohlc = dir.path().join("binance/ohlc");
    let file = ohlc.join("BTC-USDT/1h/2023.parquet");
    for pair in 0..PAIRS {
        let folder = ohlc.join(format!("C{pair}-USDT/1h"));
        std::fs::create_dir_all(&folder)?;
        for year in 2010..2010 + YEARS {
            std::fs::copy(&file, folder.join(format!("{year}.parquet")))?;
        }
    }
    for round in 0..3 {
        let start = Instant::now();
        let from_files = inventory_from_files(dir.path())?;
        let files = start.elapsed();
        let start = Instant::now();
        let first = inventory(dir.path())?;
        let with_map = start.elapsed();
        assert_eq!(first, from_files, "the map says what the files say");
        println!(
            "round {round}: {} files, {} series: from the files {} ms, from the map {} ms{}",
            first.iter().map(|row| row.files).sum::<u64>(),
            first.len(),
            files.as_millis(),
            with_map.as_millis(),
            if round == 0 { " (which is written)" } else { "" }
        );
    }
    let start = Instant::now();
    let report = repair_coverage(dir.path())?;
    println!("repair: {} files, {} entries were wrong, {} ms", report.files, report.repaired, start.elapsed().as_millis());
    let bytes = std::fs::metadata(dir.path().join(".dccd/coverage/binance.json"))?.len();
    println!("the map takes {bytes} bytes");
    Ok(())
}
