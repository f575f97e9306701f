//! How many trade messages a second the exchange sends to one client that does nothing but count them.
//!
//! Per ledger mode: messages per second of the wall clock, and per second of processor time of the exchange's own thread (which
//! a busy machine disturbs little). `cargo bench -p dccd-sim --bench blast`
#![allow(clippy::print_stdout, missing_docs, reason = "a program that prints its measurements")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use dccd_sim::{LedgerMode, MarketOptions, Sim, SimOptions};

const TIME: Duration = Duration::from_secs(3);

/// Nanoseconds on a processor of this process's thread with this name.
fn cpu_ns(thread: &str) -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let named = tasks.filter(|t| std::fs::read_to_string(t.path().join("comm")).is_ok_and(|c| c.trim() == thread));
    let times = named.filter_map(|t| std::fs::read_to_string(t.path().join("schedstat")).ok());
    times.filter_map(|s| s.split(' ').next()?.parse::<u64>().ok()).sum()
}

/// Counts frames for a while: how many, and their bytes.
fn count(mut socket: TcpStream) -> (u64, u64) {
    let mut buffer = vec![0u8; 1 << 20];
    let (mut held, mut frames, mut bytes) = (0, 0, 0);
    let begun = Instant::now();
    while begun.elapsed() < TIME {
        let read = socket.read(&mut buffer[held..]).expect("the exchange sends");
        assert!(read > 0, "the exchange hung up");
        held += read;
        bytes += read as u64;
        let mut at = 0;
        // Server frames: one byte of kind, then a length of one, three or nine bytes.
        while held - at >= 10 {
            let (head, length) = match buffer[at + 1] {
                126 => (4, usize::from(u16::from_be_bytes([buffer[at + 2], buffer[at + 3]]))),
                127 => panic!("no frame is that long"),
                short => (2, usize::from(short)),
            };
            if held - at < head + length {
                break;
            }
            at += head + length;
            frames += 1;
        }
        buffer.copy_within(at..held, 0);
        held -= at;
    }
    (frames, bytes)
}

fn connect(address: std::net::SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(address).expect("a connection");
    let streams = "btcusdt@trade/ethusdt@trade/solusdt@trade/xrpusdt@trade";
    let request = format!(
        "GET /stream?streams={streams} HTTP/1.1\r\nhost: sim\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).expect("a request");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).expect("an answer");
        answer.push(byte[0]);
    }
    socket
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let path: PathBuf = std::env::temp_dir().join(format!("dccd-sim-blast-{}.jsonl", std::process::id()));
    println!("ledger   | messages/s | messages per processor second | MB/s");
    for (name, ledger, ledger_mode) in [
        ("off", None, LedgerMode::Full),
        ("compact", Some(path.clone()), LedgerMode::Compact),
        ("full", Some(path.clone()), LedgerMode::Full),
    ] {
        let market = MarketOptions { blast: true, book_updates_per_second: 0.0, ..MarketOptions::default() };
        let options = SimOptions { market, ledger, ledger_mode, ..SimOptions::default() };
        let sim = runtime.block_on(Sim::start(options)).expect("the exchange starts");
        let socket = connect(sim.address());
        let before = cpu_ns("dccd-sim");
        let (frames, bytes) = count(socket);
        let cpu = cpu_ns("dccd-sim") - before;
        runtime.block_on(sim.stop());
        #[allow(clippy::cast_precision_loss, reason = "rates for reading")]
        let (frames, bytes, cpu) = (frames as f64, bytes as f64, cpu as f64 / 1e9);
        let seconds = TIME.as_secs_f64();
        println!("{name:8} | {:10.0} | {:29.0} | {:4.0}", frames / seconds, frames / cpu, bytes / seconds / 1e6);
    }
    let _ = std::fs::remove_file(path);
}
