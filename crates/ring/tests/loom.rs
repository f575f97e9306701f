//! The ring's protocol under the model checker loom: every interleaving of a writer and a reader of a tiny ring, and every
//! stale value that the memory model lets a load return. Runs with plain `cargo test -p dccd-ring --test loom`: the
//! protocol is generic over its atomics, so no `--cfg loom` is needed.

use std::sync::Arc;

use dccd_ring::protocol::{Cell, Lane, Read};
use loom::sync::atomic::{AtomicU64, Ordering, fence};

/// All fences are in place.
const SOUND: u8 = 0;
/// Without the writer's fence between the stamp's 0 and the words.
const NO_RELEASE: u8 = 1;
/// Without the reader's fences.
const NO_ACQUIRE: u8 = 2;

/// loom's atomic, with all the protocol's fences or without some: the model must find the torn read then.
struct Modelled<const FENCES: u8>(AtomicU64);

impl<const FENCES: u8> Cell for Modelled<FENCES> {
    fn load(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
    fn store(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
    fn store_release(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }
    fn fence_acquire() {
        if FENCES != NO_ACQUIRE {
            fence(Ordering::Acquire);
        }
    }
    fn fence_release() {
        if FENCES != NO_RELEASE {
            fence(Ordering::Release);
        }
    }
}

struct Ring<const FENCES: u8> {
    slots: Vec<Modelled<FENCES>>,
    cursor: Modelled<FENCES>,
}

/// Words of a record; a slot has one more.
const WORDS: usize = 2;

impl<const FENCES: u8> Ring<FENCES> {
    fn new(capacity: usize) -> Arc<Self> {
        let cell = || Modelled(AtomicU64::new(0));
        Arc::new(Self { slots: (0..capacity * (WORDS + 1)).map(|_| cell()).collect(), cursor: cell() })
    }

    fn lane(&self) -> Lane<'_, Modelled<FENCES>> {
        Lane::new(&self.slots, &self.cursor, WORDS + 1)
    }

    fn publish(&self, sequence: u64) {
        self.lane().publish(sequence, &record(sequence));
    }

    /// What the writer does before it is killed: the slot is begun, `words` of its words are stored.
    fn die_in(&self, sequence: u64, words: usize) {
        let capacity = self.slots.len() / (WORDS + 1);
        let start = usize::try_from(sequence).unwrap() % capacity * (WORDS + 1);
        self.slots[start].store(0);
        Modelled::<FENCES>::fence_release();
        for (i, word) in record(sequence).iter().take(words).enumerate() {
            self.slots[start + 1 + i].store(*word);
        }
        if words > WORDS {
            self.slots[start].store_release(sequence + 1);
        }
    }

    /// Looks `looks` times from `next` on; every record must be whole and the right one. Returns where it got to.
    fn follow(&self, mut next: u64, looks: usize) -> (u64, u64) {
        let mut lost = 0;
        for _ in 0..looks {
            match self.lane().read::<WORDS>(next) {
                Read::Record(words) => {
                    assert_eq!(words, record(next), "a torn or wrong record");
                    next += 1;
                }
                Read::Overwritten => {
                    let oldest = self.lane().oldest(next + 1, 0);
                    lost += oldest - next;
                    next = oldest;
                }
                Read::Empty => loom::thread::yield_now(),
            }
        }
        (next, lost)
    }
}

fn record(sequence: u64) -> [u64; WORDS] {
    [100 + sequence, 200 + sequence]
}

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(check);
}

fn writer_laps_a_reader<const FENCES: u8>() {
    let ring = Ring::<FENCES>::new(2);
    let writer = {
        let ring = Arc::clone(&ring);
        loom::thread::spawn(move || (0..3).for_each(|n| ring.publish(n)))
    };
    let (next, lost) = ring.follow(0, 3);
    writer.join().unwrap();
    assert!(FENCES != SOUND || next <= 3 && lost <= 1, "next {next}, lost {lost}");
    // Nothing is running any more: the rest is readable to the end.
    let (next, _) = ring.follow(next, 4);
    assert!(FENCES != SOUND || next == 3, "stuck at {next}");
}

#[test]
fn a_lapped_reader_never_sees_a_torn_record() {
    model(writer_laps_a_reader::<SOUND>);
}

#[test]
#[should_panic(expected = "a torn or wrong record")]
fn the_model_finds_the_torn_read_without_the_writers_fence() {
    model(writer_laps_a_reader::<NO_RELEASE>);
}

#[test]
#[should_panic(expected = "a torn or wrong record")]
fn the_model_finds_the_torn_read_without_the_readers_fences() {
    model(writer_laps_a_reader::<NO_ACQUIRE>);
}

#[test]
fn a_reader_between_two_writers_sees_only_whole_records() {
    for words in 0..=WORDS + 1 {
        model(move || {
            let ring = Ring::<SOUND>::new(2);
            ring.publish(0);
            ring.publish(1);
            let writer = {
                let ring = Arc::clone(&ring);
                loom::thread::spawn(move || {
                    ring.die_in(2, words);
                    // The next process: all it knows is the segment.
                    let next = ring.lane().recover().unwrap();
                    assert_eq!(next, if words > WORDS { 3 } else { 2 });
                    ring.publish(next);
                    next
                })
            };
            let (next, _) = ring.follow(0, 2);
            let last = writer.join().unwrap();
            let (next, _) = ring.follow(next, 4);
            assert_eq!(next, last + 1);
        });
    }
}

#[test]
fn who_sees_the_cursor_can_read_the_record() {
    model(|| {
        let ring = Ring::<SOUND>::new(2);
        let writer = {
            let ring = Arc::clone(&ring);
            loom::thread::spawn(move || (0..2).for_each(|n| ring.publish(n)))
        };
        let cursor = ring.lane().cursor();
        if cursor > 0 {
            assert_eq!(ring.lane().read::<WORDS>(cursor - 1), Read::Record(record(cursor - 1)));
        }
        writer.join().unwrap();
    });
}
