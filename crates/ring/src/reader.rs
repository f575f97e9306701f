//! The reading side: maps a ring read-only and follows it without the writer's knowledge.

use std::fs::File;
use std::io;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::thread::futex;

use crate::name::check;
use crate::protocol::Read;
use crate::segment::{ReadSegment, is_linked, open_file};
use crate::{RingError, RingInfo, WriterStatus, lock};

/// How long a waiting reader spins before it sleeps.
const SPIN: Duration = Duration::from_micros(5);
/// How long a waiting reader sleeps at most before it looks whether the writer still runs. It hears of records by being
/// woken; this bounds what happens when the writer died between publishing and waking.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// Looks at the slot between two looks at the clock while spinning.
const LOOKS_PER_CLOCK: u32 = 64;

/// What a look at the ring gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<const N: usize> {
    /// The next record.
    Record {
        /// Its number: records of a ring count from 0 without holes.
        sequence: u64,
        /// Its payload.
        words: [u64; N],
    },
    /// Nothing new.
    Empty,
    /// The writer was faster by a whole ring; reading goes on with the oldest record still there.
    Lapped {
        /// Records that this reader missed, exactly.
        lost: u64,
    },
}

/// What waiting for the ring gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited<const N: usize> {
    /// The next record.
    Record {
        /// Its number.
        sequence: u64,
        /// Its payload.
        words: [u64; N],
    },
    /// As [`Next::Lapped`].
    Lapped {
        /// Records that this reader missed, exactly.
        lost: u64,
    },
    /// Nothing came in time, or the writer is gone (then the wait ended early, after a quarter of a second at most).
    Idle {
        /// How the writer is.
        writer: WriterStatus,
    },
}

/// A reader of a ring. It starts at the next record to be published.
pub struct Reader {
    segment: ReadSegment,
    file: File,
    name: String,
    next: u64,
    /// Where reading went on after the last lap, and how far from the writer; see [`Self::resume`].
    resumed: Option<u64>,
    margin: u64,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("name", &self.name).field("next", &self.next).finish_non_exhaustive()
    }
}

impl Reader {
    /// Opens a ring by name, at its newest end.
    ///
    /// # Errors
    /// [`RingError::NotFound`]; [`RingError::Foreign`]; [`RingError::Unsuitable`] for what is no ring's name; what the
    /// system says (rings are readable for their owner and group).
    pub fn open(name: &str) -> Result<Self, RingError> {
        Self::map(name, true)
    }

    /// Opens a ring, to follow it or just to look at its header.
    pub(crate) fn map(name: &str, follow: bool) -> Result<Self, RingError> {
        check(name)?;
        let file = open_file(name, false).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => RingError::NotFound { name: name.to_owned() },
            _ => RingError::system("open", name)(error),
        })?;
        let segment = ReadSegment::map(&file, name, follow)?;
        let next = segment.lane().cursor();
        Ok(Self { segment, file, name: name.to_owned(), next, resumed: None, margin: 0 })
    }

    /// Goes to the oldest record that is still there.
    #[must_use]
    #[allow(clippy::wrong_self_convention)] // says where reading starts from
    pub fn from_oldest(self) -> Self {
        let oldest = self.segment.lane().oldest(0, 0);
        self.from_sequence(oldest)
    }

    /// Goes to the next record to be published.
    #[must_use]
    #[allow(clippy::wrong_self_convention)]
    pub fn from_newest(self) -> Self {
        let cursor = self.cursor();
        self.from_sequence(cursor)
    }

    /// Goes to record `sequence`. If it is gone, the next look says how many were lost; if it is yet to come, reading is
    /// empty until then.
    #[must_use]
    #[allow(clippy::wrong_self_convention)]
    pub fn from_sequence(mut self, sequence: u64) -> Self {
        self.next = sequence;
        self.resumed = None;
        self.margin = 0;
        self
    }

    /// The ring's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of the record to be read next.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.next
    }

    /// Records published so far.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        self.segment.lane().cursor()
    }

    /// How many writers the ring has had; it grows when a new one goes on after a crash.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.segment.header().generation.load(Ordering::Relaxed)
    }

    /// The header at this moment.
    #[must_use]
    pub fn info(&self) -> RingInfo {
        RingInfo::of(&self.name, self.segment.header(), self.writer_status())
    }

    /// Whether a process holds the ring as its writer.
    #[must_use]
    pub fn writer_alive(&self) -> bool {
        self.writer_status() == WriterStatus::Alive
    }

    /// How the writer is. Two or three system calls.
    #[must_use]
    pub fn writer_status(&self) -> WriterStatus {
        // A question that the system won't answer is no proof of death.
        if lock::is_locked(&self.file).unwrap_or(true) {
            WriterStatus::Alive
        } else if is_linked(&self.file, &self.name).unwrap_or(true) {
            WriterStatus::Dead
        } else {
            WriterStatus::Detached
        }
    }

    /// Looks for the next record. No system call, no lock; some nanoseconds.
    ///
    /// # Panics
    /// If records of `N` words are larger than the ring's slots.
    #[inline]
    pub fn try_next<const N: usize>(&mut self) -> Next<N> {
        match self.segment.lane().read::<N>(self.next) {
            Read::Record(words) => {
                let sequence = self.next;
                self.next += 1;
                Next::Record { sequence, words }
            }
            Read::Empty => Next::Empty,
            Read::Overwritten => Next::Lapped { lost: self.resume() },
        }
    }

    /// Spins for the next record; [`Next::Empty`] when the deadline passed. Uses a whole core for the lowest latency.
    #[inline]
    pub fn spin_next<const N: usize>(&mut self, deadline: Instant) -> Next<N> {
        loop {
            for _ in 0..LOOKS_PER_CLOCK {
                if self.segment.lane().is_stamped(self.next) {
                    break;
                }
                std::hint::spin_loop();
            }
            match self.try_next() {
                Next::Empty if Instant::now() < deadline => {}
                other => return other,
            }
        }
    }

    /// Waits for the next record: spins for a few microseconds, then sleeps until the writer's helper wakes us.
    ///
    /// Returns [`Waited::Idle`] when the timeout passed, and at most a quarter of a second after the writer died, so that it
    /// never hangs; a caller that wants to wait for the next writer just calls again.
    pub fn wait_next<const N: usize>(&mut self, timeout: Duration) -> Waited<N> {
        let start = Instant::now();
        let mut spin_until = start + SPIN.min(timeout);
        loop {
            let word = self.segment.header().futex.load(Ordering::Relaxed);
            // SYNC POINT: futex-word. If the word is already the one after a batch, we see the batch; if it changes after
            // this, the sleep below ends at once.
            fence(Ordering::Acquire);
            match self.spin_next(spin_until) {
                Next::Record { sequence, words } => return Waited::Record { sequence, words },
                Next::Lapped { lost } => return Waited::Lapped { lost },
                Next::Empty => spin_until = start, // once is enough
            }
            let left = timeout.saturating_sub(start.elapsed());
            let slept = self.sleep(word, left.min(CHECK_INTERVAL));
            if left.is_zero() || slept == Err(Errno::TIMEDOUT) {
                let writer = self.writer_status();
                let over = start.elapsed() >= timeout;
                if over || writer != WriterStatus::Alive {
                    // One more look: the last record may have come just before the end.
                    return match self.try_next() {
                        Next::Record { sequence, words } => Waited::Record { sequence, words },
                        Next::Lapped { lost } => Waited::Lapped { lost },
                        Next::Empty => Waited::Idle { writer },
                    };
                }
            }
        }
    }

    fn sleep(&self, word: u32, time: Duration) -> Result<(), Errno> {
        let timeout = rustix::fs::Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(time.subsec_nanos()),
        };
        // Not private: the word is shared between processes. Waiting needs no right to write (Linux 3.0 and later).
        futex::wait(&self.segment.header().futex, futex::Flags::empty(), word, Some(&timeout))
    }

    /// After a lap: moves to the oldest record that can be read, and returns how many were missed.
    ///
    /// The first lap loses as little as possible. A reader that is lapped again soon is slower than the writer; it is put
    /// further and further from the edge, up to half a ring, so that it reads long runs instead of single records.
    #[cold]
    fn resume(&mut self) -> u64 {
        let lane = self.segment.lane();
        let soon = self.resumed.is_some_and(|at| self.next - at < lane.capacity() / 8);
        self.margin = if soon { (self.margin * 2).clamp(1, lane.capacity() / 2) } else { 0 };
        let oldest = lane.oldest(self.next + 1, self.margin);
        let lost = oldest - self.next;
        self.next = oldest;
        self.resumed = Some(oldest);
        lost
    }
}
