//! What arrived and wasn't taken yet: bounded in frames and bytes, in order, in batches.
//!
//! Full: `has_room` says no and socket tasks stop reading until the application has taken something. Openings and
//! closings always fit; there are at most two for each connection.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;

use super::{BATCH_FRAMES, CloseReason, Frame, LinkEvent};

/// Emptied batches kept for the next frames, so that a steady stream allocates none.
const SPARE_BATCHES: usize = 8;

#[derive(Debug)]
enum Item {
    Opened { conn: u32, replaces: Option<u32> },
    Frames { conn: u32, frames: Vec<Frame>, bytes: usize },
    Closed { conn: u32, reason: CloseReason, retry_in: Option<Duration> },
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    frames: usize,
    bytes: usize,
    spare: Vec<Vec<Frame>>,
    /// Sockets that wait for room.
    stalled: Vec<Waker>,
}

#[derive(Debug)]
pub(super) struct Inbox {
    state: Mutex<State>,
    arrived: AtomicWaker,
    frames_max: usize,
    bytes_max: usize,
}

impl Inbox {
    pub(super) fn new(frames_max: usize, bytes_max: usize) -> Self {
        Inbox {
            state: Mutex::default(),
            arrived: AtomicWaker::new(),
            frames_max: frames_max.max(1),
            bytes_max: bytes_max.max(1),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready when there is something to take; otherwise the task is woken when there is, also when the future that polled
    /// this is gone by then. One taker: only the last waker is kept.
    pub(super) fn poll_arrived(&self, cx: &Context<'_>) -> Poll<()> {
        self.arrived.register(cx.waker());
        if self.lock().items.is_empty() { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Whether another batch may be read; if not, the task is woken when that changes.
    pub(super) fn has_room(&self, cx: &Context<'_>) -> bool {
        let mut state = self.lock();
        let room = state.frames < self.frames_max && state.bytes < self.bytes_max;
        if !room && !state.stalled.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.stalled.push(cx.waker().clone());
        }
        room
    }

    pub(super) fn opened(&self, conn: u32, replaces: Option<u32>) {
        self.push(Item::Opened { conn, replaces });
    }

    pub(super) fn closed(&self, conn: u32, reason: CloseReason, retry_in: Option<Duration>) {
        self.push(Item::Closed { conn, reason, retry_in });
    }

    fn push(&self, item: Item) {
        self.lock().items.push_back(item);
        self.arrived.wake();
    }

    /// Takes all of `frames`, which is empty and has room for the next batch afterwards.
    pub(super) fn frames(&self, conn: u32, frames: &mut Vec<Frame>) {
        if frames.is_empty() {
            return;
        }
        let added: usize = frames.iter().map(|frame| frame.bytes.len()).sum();
        let mut state = self.lock();
        state.frames += frames.len();
        state.bytes += added;
        let appended = match state.items.back_mut() {
            Some(Item::Frames { conn: last, frames: queued, bytes })
                if *last == conn && queued.len() + frames.len() <= BATCH_FRAMES =>
            {
                queued.append(frames);
                *bytes += added;
                true
            }
            _ => false,
        };
        if !appended {
            let empty = state.spare.pop().unwrap_or_else(|| Vec::with_capacity(BATCH_FRAMES));
            let frames = std::mem::replace(frames, empty);
            state.items.push_back(Item::Frames { conn, frames, bytes: added });
        }
        drop(state);
        self.arrived.wake();
    }

    /// The oldest item; its frames are put into `batch`.
    pub(super) fn take(&self, batch: &mut Vec<Frame>) -> Option<LinkEvent> {
        // Letting go of the last batch's payloads may free memory: not under the lock.
        batch.clear();
        let mut state = self.lock();
        match state.items.pop_front()? {
            Item::Opened { conn, replaces } => Some(LinkEvent::Opened { conn, replaces }),
            Item::Closed { conn, reason, retry_in } => Some(LinkEvent::Closed { conn, reason, retry_in }),
            Item::Frames { conn, frames, bytes } => {
                state.frames -= frames.len();
                state.bytes -= bytes;
                let emptied = std::mem::replace(batch, frames);
                if state.spare.len() < SPARE_BATCHES {
                    state.spare.push(emptied);
                }
                let stalled = std::mem::take(&mut state.stalled);
                drop(state);
                stalled.into_iter().for_each(Waker::wake);
                Some(LinkEvent::Frames { conn })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;

    fn frames(range: std::ops::Range<i64>) -> Vec<Frame> {
        range.map(|ts_recv| Frame { ts_recv, bytes: Bytes::from_static(b"12345678") }).collect()
    }

    fn taken(inbox: &Inbox) -> Vec<i64> {
        let mut batch = Vec::new();
        assert!(matches!(inbox.take(&mut batch), Some(LinkEvent::Frames { conn: 1 })));
        batch.iter().map(|frame| frame.ts_recv).collect()
    }

    #[test]
    fn small_batches_of_one_connection_join_and_events_keep_their_place() {
        let inbox = Inbox::new(1000, 1 << 20);
        inbox.opened(1, None);
        inbox.frames(1, &mut frames(0..3));
        inbox.frames(1, &mut frames(3..5));
        inbox.opened(2, Some(1));
        inbox.frames(1, &mut frames(5..6));
        let mut batch = Vec::new();
        assert!(matches!(inbox.take(&mut batch), Some(LinkEvent::Opened { conn: 1, .. })));
        assert_eq!(taken(&inbox), [0, 1, 2, 3, 4]);
        assert!(matches!(inbox.take(&mut batch), Some(LinkEvent::Opened { conn: 2, replaces: Some(1) })));
        assert_eq!(taken(&inbox), [5]);
        assert!(inbox.take(&mut batch).is_none());
    }

    #[test]
    fn no_batch_exceeds_its_limit() {
        let inbox = Inbox::new(10_000, 1 << 20);
        for _ in 0..10 {
            inbox.frames(1, &mut frames(0..100));
        }
        let mut sizes = Vec::new();
        let mut batch = Vec::new();
        while inbox.take(&mut batch).is_some() {
            sizes.push(batch.len());
        }
        assert_eq!(sizes.iter().sum::<usize>(), 1000);
        assert!(sizes.iter().all(|size| *size <= BATCH_FRAMES), "{sizes:?}");
    }

    /// Notes that it was woken.
    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn there_is_no_room_past_either_limit_until_something_is_taken() {
        for inbox in [Inbox::new(10, 1 << 20), Inbox::new(1000, 80)] {
            let woken = Arc::new(Woken::default());
            let waker = Waker::from(Arc::clone(&woken));
            let cx = Context::from_waker(&waker);
            inbox.frames(1, &mut frames(0..9));
            assert!(inbox.has_room(&cx));
            inbox.frames(1, &mut frames(9..10));
            assert!(!inbox.has_room(&cx));
            assert!(!woken.0.load(Ordering::Relaxed));
            assert_eq!(taken(&inbox).len(), 10);
            assert!(woken.0.load(Ordering::Relaxed), "the stalled socket was not told");
            assert!(inbox.has_room(&cx));
        }
    }
}
