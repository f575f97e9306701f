//! The ring between two processes: `cargo bench -p dccd-ring --bench ring [-- rounds]`. In one run with iceoryx2:
//! `cargo run --release --manifest-path benches/peers/Cargo.toml -- ring`.
#![allow(missing_docs, unreachable_pub, clippy::print_stdout, clippy::cast_precision_loss)] // a program, not a library

mod harness;
#[path = "harness/ours.rs"]
mod ours;

use harness::{print_latency, print_throughput, round, send, spread};
use ours::Ring;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if let [role, _, id, rate, count] = arguments.iter().map(String::as_str).collect::<Vec<_>>()[..]
        && role == "--sender"
    {
        let (rate, count) = (rate.parse().expect("a rate"), count.parse().expect("a count"));
        return send::<Ring>(id, rate, count);
    }
    let rounds = arguments.first().and_then(|n| n.parse().ok()).unwrap_or(5);
    let run = |rate, count, wait| (0..rounds).map(|_| round::<Ring>(rate, count, wait)).collect::<Vec<_>>();
    print_latency("ring", "1 M records/s, spinning", &run(1_000_000, 1_000_000, false));
    print_latency("ring", "10 k records/s, spinning", &run(10_000, 10_000, false));
    print_throughput("ring", &run(0, 20_000_000, false));
    // At 100 a second the waker sleeps between batches, and ending a batch is the system call that wakes it.
    for (rate, what) in
        [(100, "100 batches/s, sleeping"), (1_000, "1 k batches/s, sleeping"), (10_000, "10 k batches/s, sleeping")]
    {
        let rounds = run(rate, rate, true);
        print_latency("ring", what, &rounds);
        let (p50, ..) = spread(&rounds, |r| r.flush_p50);
        let (p99, ..) = spread(&rounds, |r| r.flush_p99);
        println!("{:<10} {:<28} p50 {p50:>7} ns  p99 {p99:>8} ns", "ring", "  end_batch, for the writer");
    }
}
