//! How fast a page of a thousand candles is read, ours against serde_json's own speed on the same page: into borrowed texts
//! without making numbers of them, and into its `Value`; and a page of Kraken's trades.
//! `cargo bench -p dccd-exchange --bench history`; time on the processor, median of eleven rounds.

use std::hint::black_box;
use std::time::Duration;

use dccd_exchange::{AdapterOptions, TradeCursor, adapter};
use dccd_model::{Candle, Span, Trade, UnixNanos};
use rustix::time::{ClockId, clock_gettime};

const ROWS: u64 = 1_000;
const PAGES: u64 = 200;

/// A kline as serde_json gives it without any work on the numbers.
type Borrowed<'a> = (u64, &'a str, &'a str, &'a str, &'a str, &'a str, u64, &'a str, u64, &'a str, &'a str, &'a str);

/// Time that this thread has spent on a processor.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[allow(clippy::print_stdout, clippy::cast_precision_loss)] // it is a program that prints what it measured
fn measure(name: &str, body: &[u8], mut read: impl FnMut(&[u8])) {
    let mut rounds: Vec<f64> = (0..11)
        .map(|_| {
            let begin = cpu_time();
            for _ in 0..PAGES {
                read(black_box(body));
            }
            (cpu_time() - begin).as_secs_f64() / (PAGES * ROWS) as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    let (row, bytes) = (rounds[rounds.len() / 2], body.len() as f64 / ROWS as f64);
    println!(
        "{name:>28}: {:6.1} ns a row, {:.2} M rows/s, {:.0} MB/s ({bytes:.0} bytes a row)",
        row * 1e9,
        1e-6 / row,
        bytes / row / 1e6
    );
}

fn klines() -> String {
    let rows: Vec<String> = (0..ROWS)
        .map(|n| {
            let open = 1_588_740_120_000 + n * 60_000;
            format!(
                r#"[{open},"9{n:03}.34000000","9{n:03}.99000000","9{n:03}.15000000","9{n:03}.75000000","{}.19296800",{},"281{n:03}.08800082",{},"6.35810300","57447.26912415","0"]"#,
                n % 400,
                open + 59_999,
                n * 7 % 2_000
            )
        })
        .collect();
    format!("[{}]", rows.join(","))
}

fn trades() -> String {
    let rows: Vec<String> = (0..ROWS)
        .map(|n| {
            let (fraction, id) = (n * 7_919 % 10_000_000, 10_218_208 + n);
            format!(r#"["105{n:03}.60000","0.{:08}",{}.{fraction:07},"b","l","",{id}]"#, n * 27, 1_762_795_433 + n)
        })
        .collect();
    format!(r#"{{"error":[],"result":{{"XBTUSDT":[{}],"last":"1762820035982277754"}}}}"#, rows.join(","))
}

fn main() {
    let (klines, trades_page) = (klines(), trades());
    let options = AdapterOptions::default();
    let (binance, kraken) = (adapter("binance", &options), adapter("kraken", &options));
    let (binance, kraken) = (binance.expect("there is a binance adapter"), kraken.expect("there is a kraken adapter"));
    let (candles_of, trades_of) = (binance.history().expect("a past"), kraken.history().expect("a past"));
    let span = Span::from_secs(60).expect("a minute");

    let mut candles: Vec<Candle> = Vec::new();
    measure("binance klines, ours", klines.as_bytes(), |body| {
        candles.clear();
        candles_of.parse_candles(body, span, UnixNanos(1), &mut candles).expect("its own test data are readable");
        assert_eq!(candles.len() as u64, ROWS);
    });
    measure("serde_json, borrowed texts", klines.as_bytes(), |body| {
        let rows: Vec<Borrowed<'_>> = serde_json::from_slice(body).expect("readable");
        black_box(rows);
    });
    measure("serde_json::Value", klines.as_bytes(), |body| {
        let value: serde_json::Value = serde_json::from_slice(body).expect("readable");
        black_box(value);
    });
    let mut trades: Vec<Trade> = Vec::new();
    measure("kraken trades, ours", trades_page.as_bytes(), |body| {
        trades.clear();
        let cursor = TradeCursor::Mark(1);
        trades_of.parse_trades_page(body, cursor, UnixNanos(1), &mut trades).expect("its own test data are readable");
        assert_eq!(trades.len() as u64, ROWS);
    });
    measure("serde_json::Value", trades_page.as_bytes(), |body| {
        let value: serde_json::Value = serde_json::from_slice(body).expect("readable");
        black_box(value);
    });
}
