//! `cargo xtask bench [NAME]`: the benchmarks, each one line of a table.

use anyhow::{Result, bail};

use crate::shell::{cargo, run as sh, step};

struct Bench {
    name: &'static str,
    measures: &'static str,
    /// Arguments to cargo.
    args: &'static [&'static str],
}

/// A new benchmark is a new line here.
const BENCHES: &[Bench] = &[
    Bench {
        name: "ring",
        measures: "one-way latency and throughput of the shared-memory ring between two processes",
        args: &["bench", "--package", "dccd-ring", "--bench", "ring"],
    },
    Bench {
        name: "peers",
        measures: "the same ring benchmark against iceoryx2, in one run, as ratios",
        args: &["run", "--release", "--manifest-path", "benches/peers/Cargo.toml", "--", "ring"],
    },
    Bench {
        name: "ws",
        measures: "small frames a second from a loopback WebSocket on one core",
        args: &["bench", "--package", "dccd-net", "--bench", "ws"],
    },
    Bench {
        name: "parse",
        measures: "frames a second through the exchange parser and session",
        args: &["bench", "--package", "dccd-exchange", "--bench", "parse"],
    },
    Bench {
        name: "parse-peers",
        measures: "recorded and present messages read by dccd, by serde_json into borrowed structs and by barter-data, in one run",
        args: &["run", "--release", "--manifest-path", "benches/parse-peers/Cargo.toml"],
    },
    Bench {
        name: "ladder",
        measures: "book updates a second into a price ladder",
        args: &["bench", "--package", "dccd-exchange", "--bench", "ladder"],
    },
    Bench {
        name: "store",
        measures: "journal appends and Parquet rows a second, bytes a row",
        args: &["bench", "--package", "dccd-store", "--bench", "store"],
    },
    Bench {
        name: "path",
        measures: "a whole live collector: idle cost, frame to ring, trades a second from socket to ring and journal, 200 markets",
        args: &["bench", "--package", "dccd-tests", "--bench", "path"],
    },
    Bench {
        name: "root",
        measures: "a root with thirty services: start, crash to ready again, idle cost, look-ups",
        args: &["bench", "--package", "dccd-root", "--bench", "root"],
    },
    Bench {
        name: "tree",
        measures: "thirty-two collectors in four instances: start, crash to ready again, `dccd services` and `status`",
        args: &["bench", "--package", "dccd-tests", "--bench", "tree"],
    },
    Bench {
        name: "history",
        measures: "a whole backfill: candles a second, memory, resuming; dccd 3.8 (Python) in the same run",
        args: &["bench", "--package", "dccd-tests", "--bench", "history"],
    },
    Bench {
        name: "registry",
        measures: "a look-up in the registry, there and back: Unix socket, TCP, TLS",
        args: &["bench", "--package", "dccd-root", "--bench", "registry"],
    },
    Bench {
        name: "candles",
        measures: "pages of candles and trades parsed a second, against serde_json",
        args: &["bench", "--package", "dccd-exchange", "--bench", "history"],
    },
];

/// Runs one, with arguments that it knows itself, or all; returns whether all that ran succeeded.
pub(crate) fn run(name: Option<&str>, own: &[&str]) -> Result<bool> {
    let chosen: Vec<_> = BENCHES.iter().filter(|bench| name.is_none_or(|name| name == bench.name)).collect();
    if chosen.is_empty() {
        let known: Vec<_> = BENCHES.iter().map(|bench| format!("  {:11} {}", bench.name, bench.measures)).collect();
        bail!("no benchmark is called `{}`; there are:\n{}", name.unwrap_or_default(), known.join("\n"));
    }
    let mut succeeded = true;
    for bench in chosen {
        step(&format!("{}: {}", bench.name, bench.measures));
        if ["path", "history", "tree"].contains(&bench.name) {
            // It measures the executable, which is none of its dependencies.
            succeeded &= sh(&mut cargo(["build", "--release", "--package", "dccd"]))?;
        }
        let mut command = cargo(bench.args);
        if !own.is_empty() {
            command.arg("--").args(own);
        }
        succeeded &= sh(&mut command)?;
    }
    Ok(succeeded)
}
