//! A whole backfill with the real executable against the simulated Binance without limits: candles a second, memory, resuming; and
//! dccd 3.8 (Python) at the same simulator in the same run, where `$DCCD_PYTHON` has it.
#![allow(clippy::print_stdout, reason = "a benchmark prints its numbers")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dccd_model::time::day_label;
use dccd_sim::LedgerMode;
use dccd_tests::Place;
use dccd_tests::past::{self, Past};

/// Ten years of minutes.
const DAYS: i64 = 3_652;
/// How many of these days the other program is given: it takes its time.
const PEER_DAYS: i64 = 180;

fn main() {
    if cfg!(debug_assertions) {
        return; // `cargo test --all-targets` builds it and should not wait for it
    }
    let mut options = past::options("binance", &["BTC/USDT"], DAYS, 600);
    options.ledger_mode = LedgerMode::Compact;
    let past = Past::start(options);
    let place = Place::new();
    place.put("config.yml", &past.config(&[("BTC/USDT", 60)], ", rest_weight_per_minute: 100000000"));
    let Measured { took, processor, peak_mib } = measured(&place, &["backfill"]);
    let data = place.path().join("data");
    let id = past.series("BTC/USDT", "1m");
    let rows = dccd_store::candle_coverage(&data, &id).unwrap().rows;
    println!(
        "{rows} candles in {:.2} s: {:.0}/s by the clock, {:.0}/s of processor time; at most {peak_mib} MiB resident",
        took.as_secs_f64(),
        rate(rows, took),
        rate(rows, processor)
    );
    for _ in 0..3 {
        let before = dccd_store::candle_coverage(&data, &id).unwrap().rows;
        wait_for_a_candle();
        let took = measured(&place, &["backfill"]).took;
        let rows = dccd_store::candle_coverage(&data, &id).unwrap().rows - before;
        println!("again, with {rows} new candle(s): {:.0} ms", took.as_secs_f64() * 1e3);
        let took = measured(&place, &["backfill"]).took;
        println!("and again, with none: {:.0} ms", took.as_secs_f64() * 1e3);
    }
    peer(&past);
}

/// Until the next candle has closed and the exchange has had the second that it is given to settle it.
fn wait_for_a_candle() {
    let minute = 60_000_000_000;
    let left = minute - past::now().0.rem_euclid(minute);
    std::thread::sleep(Duration::from_nanos(left.unsigned_abs()) + Duration::from_millis(2_200));
}

#[allow(clippy::cast_precision_loss)] // for people
fn rate(rows: u64, took: Duration) -> f64 {
    rows as f64 / took.as_secs_f64()
}

/// What a command cost.
struct Measured {
    took: Duration,
    /// Of all its threads, to a hundredth of a second.
    processor: Duration,
    /// Resident at most.
    peak_mib: u64,
}

/// Runs a command to its end.
fn measured(place: &Place, args: &[&str]) -> Measured {
    let begun = Instant::now();
    let mut child = place.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let (status, stat) = (format!("/proc/{}/status", child.id()), format!("/proc/{}/stat", child.id()));
    let (mut peak_kib, mut ticks) = (0, 0);
    loop {
        if let Some(ended) = child.try_wait().unwrap() {
            assert!(ended.success(), "{ended}");
            let processor = Duration::from_millis(ticks * 10);
            return Measured { took: begun.elapsed(), processor, peak_mib: peak_kib / 1_024 };
        }
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|kib| kib.parse().ok());
        peak_kib = peak_kib.max(kib.unwrap_or(0));
        // Behind the name, which is in brackets: the time in user mode is the 12th field, that in the kernel the 13th.
        let text = std::fs::read_to_string(&stat).unwrap_or_default();
        let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        ticks = ticks.max(fields.filter_map(|field| field.parse::<u64>().ok()).sum());
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn peer(past: &Past) {
    let Some(python) = std::env::var_os("DCCD_PYTHON") else {
        println!("skipped: dccd 3.8 (Python): $DCCD_PYTHON names no interpreter that has it");
        return;
    };
    let start = day_label((past::now().0 - PEER_DAYS * past::DAY).div_euclid(past::DAY));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/peers/dccd38_backfill.py");
    let directory = tempfile::tempdir().unwrap();
    let output =
        Command::new(python).arg(script).arg(past.exchange.rest_url()).arg(directory.path()).arg(&start).output().unwrap();
    print!("dccd 3.8 (Python), from {start} on: {}", String::from_utf8_lossy(&output.stdout));
    if !output.status.success() {
        println!("skipped: dccd 3.8 (Python): {}", String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or(""));
    }
}
