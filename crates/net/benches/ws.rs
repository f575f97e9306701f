//! How many small frames a second one core takes from a loopback `ws://` socket: `cargo bench -p dccd-net --bench ws`.
//!
//! A server thread answers the upgrade by hand and writes frames it has put together beforehand, so that the receiving
//! side is what is measured. Both run on one machine; with fewer than two idle cores the server takes its share.

#![allow(clippy::print_stdout, reason = "a benchmark reports on stdout")]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use dccd_net::{FrameBatch, Link, LinkEvent, LinkOptions};

/// A trade of an exchange, as it comes in a combined stream: about 170 bytes.
const TRADE: &str = r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1672515782136000,"s":"BTCUSDT","t":1234567890,"p":"61737.63000000","q":"0.00125000","T":1672515782135000,"m":true,"M":true}}"#;

const FRAMES: usize = 4_000_000;
const FRAMES_A_WRITE: usize = 500;

fn main() {
    // `cargo test --benches` and `cargo bench` hand over arguments of the standard harness; a test run is a short one.
    let frames = if std::env::args().any(|arg| arg == "--bench") { FRAMES } else { 10_000 };
    for read_buffer_bytes in [8 << 10, 32 << 10, 128 << 10] {
        let (address, server) = serve(frames);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (elapsed, cpu, batches) = runtime.block_on(receive(&address, frames, read_buffer_bytes));
        // The link's tasks end with their runtime, and the server with them.
        drop(runtime);
        server.join().expect("the server");
        println!(
            "ws_receive read_buffer={:>3} KiB: {:.0} frames/s, {:.0} MB/s, {:.0} ns cpu/frame, {:.0} frames/batch",
            read_buffer_bytes >> 10,
            rate(frames, elapsed),
            rate(frames * TRADE.len(), elapsed) / 1e6,
            cpu.as_nanos() as f64 / frames as f64,
            frames as f64 / batches as f64,
        );
    }
}

fn rate(count: usize, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

async fn receive(address: &str, frames: usize, read_buffer_bytes: usize) -> (Duration, Duration, usize) {
    let mut link =
        Link::new(LinkOptions { read_buffer_bytes, ..LinkOptions::new(format!("ws://{address}/")) }).expect("an address");
    let mut batch = FrameBatch::new();
    let (mut received, mut batches) = (0, 0);
    let mut begun = (Instant::now(), thread_cpu());
    while received < frames {
        match link.next(&mut batch).await {
            LinkEvent::Opened { .. } => begun = (Instant::now(), thread_cpu()),
            LinkEvent::Frames { .. } => {
                received += batch.len();
                batches += 1;
                assert!(batch.iter().all(|frame| frame.bytes.len() == TRADE.len()));
            }
            LinkEvent::Closed { reason, .. } => panic!("closed early: {reason}"),
        }
    }
    (begun.0.elapsed(), thread_cpu() - begun.1, batches)
}

/// CPU time of this thread, from the kernel's account of it; in steps of a clock tick (10 ms).
fn thread_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name").split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
    Duration::from_millis(ticks * 10)
}

fn serve(frames: usize) -> (String, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a client");
        upgrade(&mut socket);
        let length = u16::try_from(TRADE.len()).expect("short");
        let mut block = Vec::new();
        for _ in 0..FRAMES_A_WRITE {
            block.extend_from_slice(&[0x81, 126]);
            block.extend_from_slice(&length.to_be_bytes());
            block.extend_from_slice(TRADE.as_bytes());
        }
        for _ in 0..frames / FRAMES_A_WRITE {
            if socket.write_all(&block).is_err() {
                return;
            }
        }
        // Stay until the client is done: it drops the link without a goodbye.
        let _ = std::io::copy(&mut socket, &mut std::io::sink());
    });
    (address, server)
}

/// Answers the upgrade request by hand.
fn upgrade(socket: &mut TcpStream) {
    let mut key = String::new();
    for line in BufReader::new(socket.try_clone().expect("a socket")).lines() {
        let line = line.expect("a request");
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("sec-websocket-key:") {
            key = line[line.len() - value.len()..].trim().to_owned();
        }
        if line.is_empty() {
            break;
        }
    }
    let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
    write!(
        socket,
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n\r\n"
    )
    .expect("an answer");
}
