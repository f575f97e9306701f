//! Measures a way of handing 64-byte records (56 bytes of payload) from one process to another that spins: one-way
//! latency at a paced rate, and throughput flat out. Generic over the way, so that a peer is measured by the same lines.
//!
//! Time is `CLOCK_MONOTONIC`, read right before sending and right after receiving: some 25 ns of each latency are that.
//! Sender and receiver are pinned to the first and second processor that we may use (`PIN=0`: not). What is reported is the
//! median of all rounds, and the best and worst round, for a machine is rarely quiet.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::CpuSet;
use rustix::time::{ClockId, clock_gettime};

/// Payload of a record: `[sequence, time of sending, ...]`.
pub type Words = [u64; 7];

/// The sending side.
pub trait Send {
    /// Opens the channel of this name.
    fn open(id: &str) -> Self;
    /// Sends one record.
    fn send(&mut self, words: &Words);
    /// Ends a batch.
    fn flush(&mut self);
}

/// What a look gave.
pub enum Got {
    /// A record.
    Record(Words),
    /// That many are lost.
    Lost(u64),
    /// Nothing yet.
    Nothing,
}

/// The receiving side.
pub trait Receive {
    /// Looks for a record; may spin for a microsecond or two.
    fn receive(&mut self) -> Got;
    /// Waits for a record for up to a second.
    fn wait(&mut self) -> Got;
}

/// One measured way.
pub trait Way {
    /// Its name in the report and as an argument.
    const NAME: &'static str;
    type Sender: Send;
    type Receiver: Receive;
    /// Whether the receiver has to be there before the sender.
    const RECEIVER_FIRST: bool;
    /// Opens the receiving side.
    fn receiver(id: &str) -> Self::Receiver;
}

/// Nanoseconds of the monotonic clock, which processes of a host share.
#[allow(clippy::cast_sign_loss)]
pub fn now() -> u64 {
    let t = clock_gettime(ClockId::Monotonic);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Pins this thread to the `index`-th processor that we may use.
fn pin(index: usize) {
    if std::env::var("PIN").as_deref() == Ok("0") {
        return;
    }
    let Ok(allowed) = rustix::thread::sched_getaffinity(None) else { return };
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    let mut set = CpuSet::new();
    set.set(cpus[index % cpus.len()]);
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

/// The sending process of a round: waits for a line on stdin, sends `count` records, `rate` a second (0: flat out), and
/// reports how long it took and what ending a batch cost it.
pub fn send<W: Way>(id: &str, rate: u64, count: u64) {
    pin(0);
    let mut sender = W::Sender::open(id);
    let _ = std::io::stdin().read_line(&mut String::new());
    let start = now();
    let mut flushes = if rate == 0 { flood(&mut sender, count) } else { pace(&mut sender, rate, count) };
    let seconds = (now() - start) as f64 / 1e9;
    println!("{seconds} {} {}", quantile(&mut flushes, 0.5), quantile(&mut flushes, 0.99));
    // Stay until the receiver has everything: some ways end with their sender.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// Records at their due times, each a batch of its own; stamped right before they are sent.
fn pace<S: Send>(sender: &mut S, rate: u64, count: u64) -> Vec<u64> {
    let start = now();
    let mut flushes = Vec::with_capacity(usize::try_from(count).expect("fits"));
    for sequence in 0..count {
        let due = start + (sequence * 1_000_000_000).checked_div(rate).expect("a rate");
        let mut sent = now();
        while sent < due {
            std::hint::spin_loop();
            sent = now();
        }
        sender.send(&[sequence, sent, 3, 4, 5, 6, 7]);
        let before = now();
        sender.flush();
        flushes.push(now() - before);
    }
    flushes
}

/// Records as fast as they go, without a clock, in batches of 256.
fn flood<S: Send>(sender: &mut S, count: u64) -> Vec<u64> {
    for sequence in 0..count {
        sender.send(&[sequence, 2, 3, 4, 5, 6, 7]);
        if sequence % 256 == 255 {
            sender.flush();
        }
    }
    Vec::new()
}

/// The `q` quantile; sorts. 0 if there are none.
pub fn quantile(values: &mut [u64], q: f64) -> u64 {
    values.sort_unstable();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let index = ((values.len() as f64 - 1.0) * q).round().max(0.0) as usize;
    values.get(index).copied().unwrap_or(0)
}

/// One round's numbers.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// One-way latencies, ns.
    pub p50: u64,
    pub p99: u64,
    pub p999: u64,
    /// Records that arrived, and that were lost (and said to be).
    pub read: u64,
    pub lost: u64,
    /// Records a second, sent and read.
    pub sent_rate: f64,
    pub read_rate: f64,
    /// What ending a batch cost the sender, ns.
    pub flush_p50: u64,
    pub flush_p99: u64,
}

struct Sender(Child);

impl Drop for Sender {
    /// Lets it clean up after itself: it ends when its stdin does.
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if let Ok(Some(_)) = self.0.try_wait() {
                return;
            }
            std::thread::yield_now();
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs one round: `rate` records a second (0: flat out), `count` of them; `wait`: the receiver sleeps instead of spinning.
pub fn round<W: Way>(rate: u64, count: u64, wait: bool) -> Round {
    std::thread::scope(|scope| scope.spawn(|| receive::<W>(rate, count, wait)).join().expect("a whole round"))
}

fn receive<W: Way>(rate: u64, count: u64, wait: bool) -> Round {
    static ROUNDS: AtomicU32 = AtomicU32::new(0);
    let id = format!("bench{}x{}", std::process::id(), ROUNDS.fetch_add(1, Ordering::Relaxed));
    let first = W::RECEIVER_FIRST.then(|| W::receiver(&id));
    let mut command = Command::new(std::env::current_exe().expect("our own path"));
    command.args(["--sender", W::NAME, &id, &rate.to_string(), &count.to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut sender = Sender(command.spawn().expect("start the sender"));
    let mut receiver = first.unwrap_or_else(|| W::receiver(&id));
    pin(1); // this thread, which ends with the round: children inherit what their parent's thread may use
    sender.0.stdin.as_mut().expect("piped").write_all(b"go\n").expect("the sender waits");
    let mut latencies = Vec::with_capacity(if rate > 0 { usize::try_from(count).expect("fits") } else { 0 });
    let (mut next, mut lost, mut begun, mut idle) = (0u64, 0u64, 0u64, 0u64);
    let deadline = Instant::now() + Duration::from_secs(60);
    while next < count {
        match if wait { receiver.wait() } else { receiver.receive() } {
            Got::Record(words) => {
                if rate > 0 {
                    latencies.push(now().saturating_sub(words[1]));
                } else if begun == 0 {
                    begun = now();
                }
                assert_eq!(words[0], next, "records out of order");
                next += 1;
            }
            Got::Lost(n) => {
                lost += n;
                next += n;
            }
            Got::Nothing => {
                // Seldom, so that looking at the clock delays no look for a record.
                idle += 1;
                let in_time = idle % 4096 != 0 || Instant::now() < deadline;
                assert!(in_time || wait, "{next} of {count} records after 60 s");
            }
        }
    }
    let read_seconds = (now() - begun) as f64 / 1e9;
    let mut report = String::new();
    BufReader::new(sender.0.stdout.as_mut().expect("piped")).read_line(&mut report).expect("a report");
    let numbers: Vec<f64> = report.split_whitespace().map(|n| n.parse().expect("a number")).collect();
    let read = next - lost;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Round {
        p50: quantile(&mut latencies, 0.5),
        p99: quantile(&mut latencies, 0.99),
        p999: quantile(&mut latencies, 0.999),
        read,
        lost,
        sent_rate: count as f64 / numbers[0],
        read_rate: if rate == 0 { read as f64 / read_seconds } else { 0.0 },
        flush_p50: numbers[1] as u64,
        flush_p99: numbers[2] as u64,
    }
}

/// The median, least and greatest of a number over all rounds.
pub fn spread<T: Copy + PartialOrd>(rounds: &[Round], of: impl Fn(&Round) -> T) -> (T, T, T) {
    let mut values: Vec<T> = rounds.iter().map(of).collect();
    values.sort_unstable_by(|a, b| a.partial_cmp(b).expect("numbers"));
    (values[values.len() / 2], values[0], values[values.len() - 1])
}

/// A line for latencies.
pub fn print_latency(name: &str, what: &str, rounds: &[Round]) {
    let (p50, best, worst) = spread(rounds, |r| r.p50);
    let (p99, ..) = spread(rounds, |r| r.p99);
    let (p999, ..) = spread(rounds, |r| r.p999);
    let lost: u64 = rounds.iter().map(|r| r.lost).sum();
    println!("{name:<10} {what:<28} p50 {p50:>7} ns ({best}..{worst})  p99 {p99:>8} ns  p99.9 {p999:>9} ns  lost {lost}");
}

/// A line for throughput.
pub fn print_throughput(name: &str, rounds: &[Round]) {
    let (sent, least, most) = spread(rounds, |r| r.sent_rate / 1e6);
    let (read, ..) = spread(rounds, |r| r.read_rate / 1e6);
    let lost: u64 = rounds.iter().map(|r| r.lost).sum();
    let total: u64 = rounds.iter().map(|r| r.lost + r.read).sum();
    let share = lost as f64 * 100.0 / total as f64;
    println!(
        "{name:<10} {:<28} written {sent:.1} M/s ({least:.1}..{most:.1})  read {read:.1} M/s  lost and declared {share:.1} %",
        "flat out, 1 reader"
    );
}
