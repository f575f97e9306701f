//! Reading the messages of exchanges, measured against other people's work in the same run, frame for frame:
//! `cargo run --release --manifest-path benches/parse-peers/Cargo.toml [-- WORD..]`, rows that have all these words.
//!
//! - `read`: bytes to records, by `Session::read`: what the session itself begins with. Exact decimals, times and ids; no look-up of the
//!   market, no sequence, no book. That is what the others do, and what `ratio` compares with the best of them.
//! - `serde`: serde_json into a struct of borrowed text with the message's fields, each number then read as a double, times in text left
//!   as they are: what a fast reader does at least.
//! - `barter`: barter-data's own message type, and its market events of it. Prices of trades are doubles, those of books exact decimals; of
//!   books a sorted list for each event. Its look-up of the instrument, and the book that it would be put into, are left out.
//! - `session`: all that becomes of a frame in dccd, `read` included: which feed it is, ids and numbers held against the last ones, gaps,
//!   books kept and (where the exchange sends one) their checksum worked out. Allocates nothing for a record. Nobody to compare with.
//!
//! Recorded messages are read where `DCCD_FIXTURES` says and skipped by name without. Time on the processor; rounds take turns, and each
//! figure is the median of its rounds.
#![allow(dead_code)] // the frames are shared with a benchmark that uses more of them

mod barter;
#[path = "../../../crates/exchange/benches/frames/mod.rs"]
mod frames;
mod recorded;
mod serde_peer;

use std::time::Duration;

use dccd_exchange::Session;
use dccd_model::{Entry, EntryKind, UnixNanos};
use frames::{Count, apply};
use rustix::time::{ClockId, clock_gettime};

const ROUNDS: usize = 9;
/// Frames of one round, at least: few recorded ones are read again and again.
const FRAMES: usize = 10_000;

/// Reads one message; what comes of it is summed up, so that nothing can be left out.
type Read = fn(&str) -> f64;

/// A row of the table.
pub(crate) struct Case<'a> {
    pub(crate) exchange: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) name: String,
    /// What is read in order, and whether it is what is measured.
    pub(crate) frames: Vec<(bool, String)>,
    pub(crate) begin: &'a dyn Fn(&mut Count) -> Box<dyn Session>,
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Nanoseconds a frame over the measured ones; `read` gets all.
fn measure(case: &Case<'_>, mut read: impl FnMut(&str)) -> f64 {
    let mut spent = Duration::ZERO;
    for run in case.frames.chunk_by(|a, b| a.0 == b.0) {
        let begin = cpu_time();
        run.iter().for_each(|(_, frame)| read(frame));
        if run[0].0 {
            spent += cpu_time() - begin;
        }
    }
    spent.as_nanos() as f64
}

/// What comes before the measured frames is applied, so that messages mean what they did.
fn read(case: &Case<'_>, out: &mut Count) -> f64 {
    let mut session = (case.begin)(out);
    let mut spent = Duration::ZERO;
    for run in case.frames.chunk_by(|a, b| a.0 == b.0) {
        if !run[0].0 {
            run.iter().for_each(|(_, frame)| apply(session.as_mut(), EntryKind::Frame, "", frame.as_bytes(), &mut Count::default()));
            continue;
        }
        let begin = cpu_time();
        for (_, frame) in run {
            let entry =
                Entry { kind: EntryKind::Frame, conn: 1, ts_recv: UnixNanos(1), subject: "", payload: frame.as_bytes() };
            session.read(&entry, out).expect("a readable frame");
        }
        spent += cpu_time() - begin;
    }
    spent.as_nanos() as f64
}

fn whole(case: &Case<'_>, out: &mut Count) -> f64 {
    let mut session = (case.begin)(out);
    let before = session.counters();
    let time = measure(case, |frame| apply(session.as_mut(), EntryKind::Frame, "", frame.as_bytes(), out));
    let after = session.counters();
    let lost = |count: fn(&dccd_exchange::Counters) -> u64| count(&after) - count(&before);
    assert_eq!((lost(|c| c.unreadable), lost(|c| c.unrouted)), (0, 0), "{} {}", case.exchange, case.name);
    time
}

fn theirs(case: &Case<'_>, read: Read) -> f64 {
    let mut sum = 0.0;
    let mut spent = Duration::ZERO;
    for run in case.frames.chunk_by(|a, b| a.0 == b.0).filter(|run| run[0].0) {
        let begin = cpu_time();
        sum += run.iter().map(|(_, frame)| read(frame)).sum::<f64>();
        spent += cpu_time() - begin;
    }
    std::hint::black_box(sum);
    spent.as_nanos() as f64
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// One row: the median of each, in nanoseconds a frame, and reading over the best of the others.
pub(crate) fn row(case: &Case<'_>) {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let title = format!("{} {} {}", case.exchange, case.kind, case.name);
    if !words.iter().all(|word| title.contains(word)) {
        return;
    }
    let measured: Vec<&String> =
        case.frames.iter().filter(|(is_measured, _)| *is_measured).map(|(_, frame)| frame).collect();
    if measured.len() < 30 {
        println!("{title}: skipped, {} messages are too few", measured.len());
        return;
    }
    let passes = FRAMES.div_ceil(measured.len());
    let total = (passes * measured.len()) as f64;
    let barter = barter::reader(case.exchange, case.kind).filter(|read| read(measured[0]).is_finite());
    let readers = [serde_peer::reader(case.exchange, case.kind), barter];
    let (mut times, mut records) = ([vec![], vec![], vec![], vec![]], 0);
    for _ in 0..ROUNDS {
        let (mut out, mut all) = (Count::default(), Count::default());
        times[0].push((0..passes).map(|_| read(case, &mut out)).sum::<f64>() / total);
        times[3].push((0..passes).map(|_| whole(case, &mut all)).sum::<f64>() / total);
        records = out.0;
        assert!(all.0 > 0, "{title}: the session gave nothing out");
        for (reader, times) in readers.iter().zip(&mut times[1..3]) {
            if let Some(read) = reader {
                times.push((0..passes).map(|_| theirs(case, *read)).sum::<f64>() / total);
            }
        }
    }
    let bytes = measured.iter().map(|frame| frame.len()).sum::<usize>() / measured.len();
    let figures = times.map(|times| if times.is_empty() { None } else { Some(median(times)) });
    let best = figures[1..3].iter().flatten().copied().fold(f64::INFINITY, f64::min);
    let shown = |figure: Option<f64>| figure.map_or("-".to_owned(), |ns| format!("{ns:.0}"));
    println!(
        "{:<13}{:<7}{:<34}{bytes:>6}{:>9.1}{:>9}{:>9}{:>9}{:>8.2}{:>9}",
        case.exchange,
        case.kind,
        case.name,
        records as f64 / total,
        shown(figures[0]),
        shown(figures[1]),
        shown(figures[2]),
        figures[0].unwrap_or_default() / best,
        shown(figures[3])
    );
}

/// The kind of record that these frames of our own benchmark bring.
fn kind_of(name: &str) -> &'static str {
    match name {
        "publicTrade" | "trade" | "trades" | "match" | "trades-all" | "aggTrade" => "trade",
        "orderbook.1" | "ticker" | "quote" | "level1" | "book of 1" | "bbo-tbt" | "bookTicker" => "quote",
        _ => "book",
    }
}

fn main() {
    println!(
        "{:<13}{:<7}{:<34}{:>6}{:>9}{:>9}{:>9}{:>9}{:>8}{:>9}",
        "exchange", "kind", "messages", "bytes", "records", "read", "serde", "barter", "ratio", "session"
    );
    recorded::all();
    frames::all(&mut |exchange, name, frames, begin| {
        let begin = |_: &mut Count| {
            let mut session = frames::session(exchange);
            begin(session.as_mut(), &mut Count::default());
            session
        };
        let frames = frames.iter().take(20_000).map(|frame| (true, frame.clone())).collect();
        row(&Case { exchange, kind: kind_of(name), name: format!("as today: {name}"), frames, begin: &begin });
    });
    barter::skipped();
}
