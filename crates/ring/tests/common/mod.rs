//! What the ring's tests share: rings that clean up after themselves, records that carry their own proof, child processes.
#![allow(dead_code, unreachable_pub)] // each test binary uses its own part

use std::fmt::Debug;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use dccd_ring::{RingSpec, ring_name, ring_path};

/// The name of a ring that only this test has; its segment is removed at the end.
pub struct TestRing {
    pub instance: String,
    pub name: String,
}

impl TestRing {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let instance = format!("test{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let name = ring_name(&instance, "sim", "BTC-USDT", "trades");
        Self { instance, name }
    }

    pub fn spec(&self, capacity: u64) -> RingSpec<'_> {
        spec(&self.name, capacity)
    }
}

impl Drop for TestRing {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(ring_path(&self.name));
    }
}

pub fn spec(name: &str, capacity: u64) -> RingSpec<'_> {
    RingSpec { name, kind: 1, slot_size: 64, capacity, exchange: "sim", symbol: "BTC/USDT", channel: "trades" }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Record `sequence`: every word differs from every other record's, and the last is the sum of the others.
pub fn record(sequence: u64) -> [u64; 7] {
    let mut words: [u64; 7] = std::array::from_fn(|i| mix(sequence * 8 + i as u64 + 1));
    words[0] = sequence;
    words[6] = words[..6].iter().fold(0, |sum, w| sum.wrapping_add(*w));
    words
}

pub fn verify(sequence: u64, words: &[u64; 7]) {
    let sum = words[..6].iter().fold(0u64, |sum, w| sum.wrapping_add(*w));
    assert_eq!(words[6], sum, "record {sequence} is torn: {words:x?}");
    assert_eq!(words, &record(sequence), "record {sequence} is another one");
}

/// Waits for a condition; a timeout says what `status` was.
pub fn wait_for<S: Debug>(what: &str, status: impl Fn() -> S, condition: impl Fn(&S) -> bool) -> S {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let now = status();
        if condition(&now) {
            return now;
        }
        assert!(Instant::now() < deadline, "waited for {what}; now it is {now:?}");
        std::thread::yield_now();
    }
}

/// A child process that runs the ignored test `role` of this test binary; it is killed in the end.
pub struct Role(pub Child);

impl Role {
    pub fn start(role: &str, ring: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", role, "--ignored", "--nocapture"]).env("RING_UNDER_TEST", ring);
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }

    /// kill -9, and wait until it is gone.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// In a child: the ring that the parent named.
pub fn ring_under_test() -> String {
    std::env::var("RING_UNDER_TEST").expect("run by other tests only")
}
