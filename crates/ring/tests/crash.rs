//! Writers in other processes that are killed at any instruction, and readers that must not notice more than a pause.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Role, TestRing, record, ring_under_test, spec, verify, wait_for};
use dccd_ring::{Next, Reader, RingError, Waited, Writer, WriterStatus, ring_path, sweep};

/// Small enough that the reader is lapped now and then, large enough that it mostly isn't.
const CAPACITY: u64 = 1 << 14;

#[test]
#[ignore = "the child process of other tests"]
fn a_writer_that_never_stops() {
    let mut writer = Writer::open(&spec(&ring_under_test(), CAPACITY), 1).unwrap();
    loop {
        for _ in 0..100 {
            let sequence = writer.cursor();
            writer.publish(&record(sequence));
        }
        writer.end_batch();
    }
}

#[test]
#[ignore = "the child process of other tests"]
fn a_writer_that_only_holds_its_ring() {
    let mut writer = Writer::open(&spec(&ring_under_test(), CAPACITY), 1).unwrap();
    writer.publish(&record(0));
    writer.end_batch();
    loop {
        std::thread::park();
    }
}

/// Waits for the ring's writer number `generation` to live.
fn attach(name: &str, generation: u64) -> Reader {
    let ready = |reader: &Reader| reader.writer_alive() && reader.generation() == generation;
    wait_for("a writer", || Reader::open(name).ok().filter(ready), Option::is_some).unwrap()
}

/// Checks every record that comes, and that none is missing undeclared.
#[derive(Debug, Default)]
struct Audit {
    next: u64,
    read: u64,
    lost: u64,
}

impl Audit {
    fn record(&mut self, sequence: u64, words: &[u64; 7]) {
        assert_eq!(sequence, self.next, "{self:?}");
        verify(sequence, words);
        self.next += 1;
        self.read += 1;
    }

    fn lapped(&mut self, lost: u64) {
        assert!(lost > 0);
        self.next += lost;
        self.lost += lost;
    }
}

/// Ends the reader however the test ends.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn kill_writers(kills: u32, follow: fn(&mut Reader, &mut Audit)) {
    let ring = TestRing::new();
    let done = AtomicBool::new(false);
    let mut half_written = 0;
    std::thread::scope(|scope| {
        let mut child = Role::start("a_writer_that_never_stops", &ring.name);
        attach(&ring.name, 1);
        let reader = scope.spawn(|| {
            let mut reader = Reader::open(&ring.name).unwrap().from_oldest();
            let mut audit = Audit { next: reader.sequence(), ..Audit::default() };
            while !done.load(Ordering::Acquire) {
                follow(&mut reader, &mut audit);
            }
            // Nobody writes any more: the rest must be there to the end.
            loop {
                match reader.try_next() {
                    Next::Record { sequence, words } => audit.record(sequence, &words),
                    Next::Lapped { lost } => audit.lapped(lost),
                    Next::Empty => return audit,
                }
            }
        });
        let end = Done(&done);
        let mut generation = 1;
        for kill in 0..kills {
            let observer = attach(&ring.name, generation);
            // Another number of records each time; the rest of the randomness is the machine's.
            let from = observer.cursor();
            let until = from + 1 + u64::from(kill % 7) * 1001;
            wait_for("records", || observer.cursor(), |cursor| *cursor > until);
            child.kill();
            assert_eq!(observer.writer_status(), WriterStatus::Dead);
            let (bytes, at) = (std::fs::read(ring_path(&ring.name)).unwrap(), observer.cursor());
            let slot = 4096 + usize::try_from(at % CAPACITY).unwrap() * 64;
            half_written += u32::from(bytes[slot..slot + 8] == [0; 8] && at >= CAPACITY);
            child = Role::start("a_writer_that_never_stops", &ring.name);
            generation += 1;
        }
        let last = attach(&ring.name, generation);
        let from = last.cursor();
        wait_for("records", || last.cursor(), |cursor| *cursor > from + 100);
        child.kill();
        drop(end);
        let audit = reader.join().unwrap();
        assert_eq!(last.generation(), u64::from(kills) + 1);
        let stamped = last.cursor() + 1;
        assert!(audit.next == last.cursor() || audit.next == stamped, "{audit:?}, cursor {}", last.cursor());
        assert!(audit.read > u64::from(kills), "{audit:?}");
        #[allow(clippy::print_stdout)] // what chance gave this time
        {
            println!("{kills} kills, {half_written} of them within a record; {audit:?}");
        }
    });
}

#[test]
fn a_spinning_reader_survives_writers_killed_mid_write() {
    kill_writers(25, |reader, audit| match reader.spin_next(Instant::now() + Duration::from_millis(1)) {
        Next::Record { sequence, words } => audit.record(sequence, &words),
        Next::Lapped { lost } => audit.lapped(lost),
        Next::Empty => {}
    });
}

#[test]
fn a_waiting_reader_survives_writers_killed_mid_write() {
    kill_writers(25, |reader, audit| match reader.wait_next(Duration::from_millis(20)) {
        Waited::Record { sequence, words } => audit.record(sequence, &words),
        Waited::Lapped { lost } => audit.lapped(lost),
        Waited::Idle { .. } => {}
    });
}

#[test]
fn a_ring_of_another_living_process_is_refused_and_named() {
    let ring = TestRing::new();
    let mut child = Role::start("a_writer_that_only_holds_its_ring", &ring.name);
    let mut reader = attach(&ring.name, 1).from_oldest();
    wait_for("the record", || reader.cursor(), |cursor| *cursor == 1);
    let error = Writer::open(&ring.spec(CAPACITY), 1).unwrap_err();
    assert!(matches!(&error, RingError::WriterAlive { pid, .. } if *pid == child.0.id()), "{error}");
    child.kill();
    assert!(matches!(reader.wait_next::<7>(Duration::from_secs(20)), Waited::Record { sequence: 0, .. }));
    let start = Instant::now();
    assert_eq!(reader.wait_next::<7>(Duration::from_secs(60)), Waited::Idle { writer: WriterStatus::Dead });
    assert!(start.elapsed() < Duration::from_secs(20), "a dead writer must not be waited for");
    assert_eq!(Writer::open(&ring.spec(CAPACITY), 1).unwrap().generation(), 2);
}

#[test]
fn sweeping_removes_the_dead_and_never_the_living() {
    let ring = TestRing::new();
    let live = Writer::open(&ring.spec(8), 1).unwrap();
    let dead = dccd_ring::ring_name(&ring.instance, "sim", "ETH-USDT", "trades");
    let mut child = Role::start("a_writer_that_only_holds_its_ring", &dead);
    let pid = child.0.id();
    wait_for("the record", || Reader::open(&dead).ok().map(|r| r.cursor()), |cursor| *cursor == Some(1));
    assert_eq!(sweep(Some(&ring.instance)).unwrap(), [], "both are alive");
    child.kill();
    // A segment whose maker died before it was complete.
    let half_made = ring_path(&format!("{dead}~999-0"));
    std::fs::write(&half_made, b"").unwrap();

    let swept = sweep(Some(&ring.instance)).unwrap();
    let found: Vec<_> = swept.iter().map(|s| (s.name.as_str(), s.pid, s.cursor)).collect();
    assert_eq!(found, [(dead.as_str(), pid, 1), (format!("{dead}~999-0").as_str(), 0, 0)]);
    assert!(!ring_path(&dead).exists() && !half_made.exists());
    assert!(Reader::open(&ring.name).unwrap().writer_alive());
    drop(live);
    assert_eq!(sweep(Some(&ring.instance)).unwrap().len(), 1);
    assert_eq!(sweep(Some("no-such-instance")).unwrap(), []);
}
