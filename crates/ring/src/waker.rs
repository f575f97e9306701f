//! Wakes sleeping readers, so that the writer does not: waking a process takes 10 µs and more, publishing takes 20 ns.
//!
//! One thread per process serves all its rings. [`Handle::mark`] sets one bit and makes a system call only if the thread
//! sleeps, which it does once nothing was published for [`LINGER`]; while there is traffic it looks every [`NAP`] by
//! itself, or every [`LONG_NAP`] where no reader has slept for [`AWAKE`]: who reads without pause, or nobody, is not worth
//! ten thousand looks a second. So a writer pays at most one wake-up per quiet period, after its records are visible; wake-ups
//! of readers are coalesced to one per nap and ring; and an idle process uses no processor time at all.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rustix::thread::futex;

use crate::RingError;
use crate::layout::Header;
use crate::segment::WriteSegment;

/// How long readers may sleep on after a batch while there is traffic.
const NAP: Duration = Duration::from_micros(100);
/// The same when nobody has slept for [`AWAKE`]: the first reader that does may be told so late.
const LONG_NAP: Duration = Duration::from_millis(1);
/// For so long after a reader was woken others are expected to sleep.
const AWAKE: Duration = Duration::from_secs(10);
/// How long the thread goes on looking by itself when nothing comes any more.
const LINGER: Duration = Duration::from_millis(2);
/// Rings of one process: the size of the set of dirty ones. More are refused.
pub(crate) const RINGS_MAX: usize = 64 * 256;

/// The process's waker and its thread, made with the first writer. Never taken down: it sleeps when nothing is to do.
static WAKER: Mutex<Option<(Arc<Waker>, Thread)>> = Mutex::new(None);

struct Waker {
    /// One bit per ring: a batch ended and its readers were not woken yet.
    dirty: [AtomicU64; RINGS_MAX / 64],
    rings: Mutex<Vec<Option<Arc<WriteSegment>>>>,
}

/// A panic while the lock is held leaves the list whole: entries are replaced in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes all who wait for this ring, and says how many that were. Errors mean a wrong address, which a mapped header isn't.
pub(crate) fn wake(header: &Header) -> usize {
    futex::wake(&header.futex, futex::Flags::empty(), i32::MAX.unsigned_abs()).unwrap_or(0)
}

/// What a look at the dirty rings found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    /// Some ring had ended a batch.
    any: bool,
    /// Readers that slept on one of them.
    woken: usize,
}

impl Waker {
    fn run(&self) {
        // The default lets the kernel add 50 µs to each nap. Only latency depends on it, so a refusal is no failure.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let mut active = Instant::now();
        let mut slept = active;
        loop {
            let look = self.wake_dirty();
            if look.any {
                active = Instant::now();
                if look.woken > 0 {
                    slept = active;
                }
            } else if active.elapsed() >= LINGER {
                // SYNC POINT: waker-park. A bit set before the `unpark` of `mark` is seen after this returns; an `unpark`
                // that came while we were awake makes it return at once.
                thread::park();
                continue;
            }
            thread::sleep(if slept.elapsed() < AWAKE { NAP } else { LONG_NAP });
        }
    }

    fn wake_dirty(&self) -> Look {
        let mut look = Look { any: false, woken: 0 };
        for (i, word) in self.dirty.iter().enumerate() {
            if word.load(Ordering::Relaxed) == 0 {
                continue;
            }
            // SYNC POINT: waker-dirty. Pairs with the release in `mark`: the futex word's change comes before its wake.
            let mut bits = word.swap(0, Ordering::Acquire);
            look.any = true;
            let rings = lock(&self.rings);
            while bits != 0 {
                let index = i * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                if let Some(Some(segment)) = rings.get(index) {
                    look.woken += wake(segment.header());
                }
            }
        }
        look
    }
}

/// One ring's place in the process's waker.
pub(crate) struct Handle {
    waker: Arc<Waker>,
    thread: Thread,
    index: usize,
}

impl Handle {
    /// Registers a ring, and starts the thread if it is the first.
    pub(crate) fn register(segment: &Arc<WriteSegment>, name: &str) -> Result<Self, RingError> {
        let (waker, thread) = match &mut *lock(&WAKER) {
            Some((waker, thread)) => (Arc::clone(waker), thread.clone()),
            none => {
                let waker = Arc::new(Waker { dirty: [const { AtomicU64::new(0) }; _], rings: Mutex::new(Vec::new()) });
                let runner = Arc::clone(&waker);
                let started = thread::Builder::new()
                    .name("ring-waker".to_owned())
                    .stack_size(64 * 1024)
                    .spawn(move || runner.run())
                    .map_err(RingError::system("start the waker thread of", name))?;
                none.insert((waker, started.thread().clone())).clone()
            }
        };
        let index = {
            let mut rings = lock(&waker.rings);
            let index = rings.iter().position(Option::is_none).unwrap_or(rings.len());
            if index >= RINGS_MAX {
                return Err(RingError::TooManyRings { limit: RINGS_MAX });
            }
            if index == rings.len() {
                rings.push(None);
            }
            rings[index] = Some(Arc::clone(segment));
            index
        };
        Ok(Self { waker, thread, index })
    }

    /// Has the readers of this ring woken soon.
    #[inline]
    pub(crate) fn mark(&self) {
        // SYNC POINT: waker-dirty.
        self.waker.dirty[self.index / 64].fetch_or(1 << (self.index % 64), Ordering::Release);
        // SYNC POINT: waker-park.
        self.thread.unpark();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        lock(&self.waker.rings)[self.index] = None;
    }
}
