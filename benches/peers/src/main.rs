//! Our ring and iceoryx2, measured by the same lines in the same run, and the ratio:
//! `cargo run --release --manifest-path benches/peers/Cargo.toml -- ring [rounds]`.
#![allow(clippy::cast_precision_loss)]
#![allow(dead_code)] // the harness measures more than is compared here

use std::process::ExitCode;

#[path = "../../../crates/ring/benches/harness/mod.rs"]
mod harness;
#[path = "../../../crates/ring/benches/harness/ours.rs"]
mod ours;
mod peer;

use harness::{Round, Way, print_latency, print_throughput, round, send, spread};
use ours::Ring;
use peer::Iceoryx2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--sender", way, id, rate, count] => {
            let (rate, count) = (rate.parse().expect("a rate"), count.parse().expect("a count"));
            if way == Ring::NAME { send::<Ring>(id, rate, count) } else { send::<Iceoryx2>(id, rate, count) }
        }
        ["ring"] => compare(7),
        ["ring", rounds] => compare(rounds.parse().expect("a number of rounds")),
        _ => {
            eprintln!("usage: dccd-peers ring [rounds]");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// The two take turns, so that a disturbance of the machine meets both.
fn both(rounds: u32, rate: u64, ours: u64, theirs: u64) -> (Vec<Round>, Vec<Round>) {
    (0..rounds).map(|_| (round::<Ring>(rate, ours, false), round::<Iceoryx2>(rate, theirs, false))).unzip()
}

fn compare(rounds: u32) {
    for (rate, what) in [(1_000_000, "1 M records/s, spinning"), (100_000, "100 k records/s, spinning")] {
        let (ours, theirs) = both(rounds, rate, rate / 3, rate / 3);
        print_latency(Ring::NAME, what, &ours);
        print_latency(Iceoryx2::NAME, what, &theirs);
        let (our_p50, ..) = spread(&ours, |r| r.p50);
        let (their_p50, ..) = spread(&theirs, |r| r.p50);
        println!("ratio      {what:<28} p50 ring/iceoryx2 {:.2}", our_p50 as f64 / their_p50 as f64);
    }
    let (ours, theirs) = both(rounds, 0, 10_000_000, 500_000);
    print_throughput(Ring::NAME, &ours);
    print_throughput(Iceoryx2::NAME, &theirs);
}
