//! The path of a live collector, measured on real processes: `cargo xtask bench path [PART] [--exchange NAME|all] [--seconds N]`.
//!
//! - *idle*: resident memory and CPU of a datad whose feeds are silent.
//! - *latency*: frame complete in user space → record visible in the ring, at a steady 10,000 messages a second.
//! - *throughput*: trades a second from the simulator's socket to ring and journal when the exchange sends as fast as we
//!   read, with memory before and after, and whether the store has every trade in the end.
//! - *symbols*: memory and CPU of a datad with 200 markets, trades, book and quotes of each, at 10,000 messages a second.
//!
//! Latency and throughput are Binance's, and symbols those of four exchanges, unless others are named. A timing is printed, never
//! asserted; what is lost or stored twice fails the run.

#![allow(clippy::print_stdout, reason = "printing is what a benchmark is for")]

mod idle;
mod latency;
mod symbols;
mod throughput;
mod usage;
mod venue;

use std::time::Duration;

use venue::Venue;

/// What is to be measured.
struct Wanted {
    part: Option<String>,
    exchange: Option<String>,
    seconds: Option<u64>,
}

impl Wanted {
    /// From the command line; `cargo bench` adds flags of its own, which say nothing.
    fn read(mut args: impl Iterator<Item = String>) -> Self {
        let mut wanted = Self { part: None, exchange: None, seconds: None };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--exchange" => wanted.exchange = args.next(),
                "--seconds" => {
                    wanted.seconds = args.next().map(|text| text.parse().expect("--seconds takes a whole number"))
                }
                flag if flag.starts_with('-') => {}
                part => wanted.part = Some(part.to_owned()),
            }
        }
        wanted
    }

    /// Those that are named, or those that are measured when none are.
    fn venues(&self, usual: &[&str]) -> Vec<&'static Venue> {
        match self.exchange.as_deref() {
            None => usual.iter().map(|name| venue::of(name)).collect(),
            Some("all") => venue::ALL.iter().collect(),
            Some(name) => vec![venue::of(name)],
        }
    }

    fn time(&self, usual: u64) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(usual))
    }
}

fn main() {
    let wanted = Wanted::read(std::env::args().skip(1));
    let is_wanted = |part| wanted.part.as_deref().is_none_or(|only| only == part);
    if is_wanted("idle") {
        println!("\nidle");
        idle::run();
    }
    if is_wanted("latency") {
        println!("\nlatency");
        wanted.venues(&["binance"]).iter().for_each(|venue| latency::run(venue, wanted.time(10)));
    }
    if is_wanted("throughput") {
        println!("\nthroughput");
        wanted.venues(&["binance"]).iter().for_each(|venue| throughput::run(venue, wanted.time(10)));
    }
    if is_wanted("symbols") {
        println!("\nsymbols");
        let usual = ["binance", "kraken", "bybit", "okx"];
        wanted.venues(&usual).iter().for_each(|venue| symbols::run(venue, wanted.time(150)));
    }
}
