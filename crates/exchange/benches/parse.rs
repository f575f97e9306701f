//! How long one frame takes from its bytes to its records, through the session as the daemon uses it.
//! `cargo bench -p dccd-exchange --bench parse [-- WORD..]`: those that have all these words in their names. Time on the
//! processor (so that a busy machine disturbs little), median of eleven rounds.

mod frames;

use std::time::Duration;

use dccd_exchange::Session;
use dccd_model::EntryKind;
use frames::{Count, all, apply, session};
use rustix::time::{ClockId, clock_gettime};

/// Time that this thread has spent on a processor.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Times these frames after what begins their session.
#[allow(clippy::print_stdout, clippy::cast_precision_loss)] // it is a program that prints what it measured
fn time(exchange: &str, name: &str, frames: &[String], begin: &dyn Fn(&mut dyn Session, &mut Count)) {
    let is_asked = |word: &String| word.starts_with('-') || format!("{exchange} {name}").contains(word);
    if !std::env::args().skip(1).all(|word| is_asked(&word)) {
        return;
    }
    let bytes = frames.iter().map(String::len).sum::<usize>() / frames.len();
    let mut rounds = Vec::new();
    let mut records = 0;
    for _ in 0..11 {
        let mut session = session(exchange);
        begin(session.as_mut(), &mut Count::default());
        let mut out = Count::default();
        let start = cpu_time();
        for frame in frames {
            apply(session.as_mut(), EntryKind::Frame, "", frame.as_bytes(), &mut out);
        }
        rounds.push((cpu_time() - start).as_nanos() as f64 / frames.len() as f64);
        assert_eq!(out.1, 0, "no gap in a run without any");
        records = out.0;
    }
    rounds.sort_by(f64::total_cmp);
    println!(
        "{exchange} {name:>16}: {:7.1} ns a frame (best {:.1}), {bytes} bytes, {} records",
        rounds[rounds.len() / 2],
        rounds[0],
        records / frames.len() as u64
    );
}

fn main() {
    all(&mut |exchange, name, frames, begin| time(exchange, name, frames, begin));
}
