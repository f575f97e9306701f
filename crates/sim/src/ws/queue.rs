//! What waits to be written to one connection: frames in batches, held ones, and how the connection is to end.
//!
//! Bounded in bytes. A connection whose queue is full is ended, as the exchange ends clients that read too slowly; producers
//! that may wait (replay, blast) look at [`Conn::queued_bytes`] first.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::frame::{opcode, push_head};
use crate::clock::now_us;
use crate::faults::{Action, FaultState, corrupt};
use crate::hub::Shared;
use crate::ledger::{FrameEntry, FrameStatus};

/// The stream index of replies and announcements.
pub(crate) const NO_STREAM: usize = usize::MAX;

/// Forms that a frame can have on one exchange, at most.
pub(crate) const FORMS: usize = 16;

/// Batches grow to about this size.
const BATCH_BYTES: usize = 128 << 10;

/// How a connection is to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// After what is queued, the close frame last.
    Clean(String),
    /// Now, by a reset.
    Abrupt(String),
}

/// A frame inside a batch.
struct Mark {
    start: usize,
    end: usize,
    seq: u64,
    stream: usize,
    id: u64,
    status: FrameStatus,
    /// The undamaged text of a damaged frame.
    original: Option<Box<[u8]>>,
}

#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    marks: VecDeque<Mark>,
}

struct Held {
    stream: usize,
    until: Instant,
    /// Frames that follow wait too; otherwise the next one overtakes.
    in_order: bool,
    frames: Vec<(Vec<u8>, u64)>,
}

struct Throttle {
    bytes_per_second: u32,
    until: Instant,
    last: Instant,
    allowance: f64,
}

#[derive(Default)]
struct Queue {
    batches: VecDeque<Batch>,
    /// Bytes of the first batch that the socket took.
    offset: usize,
    bytes: usize,
    seq: u64,
    sent: u64,
    held: Vec<Held>,
    throttle: Option<Throttle>,
    ending: Option<Ending>,
    spare: Option<Batch>,
}

/// What a flush left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    Empty,
    /// The socket is full.
    Blocked,
    /// The throttle lets nothing through before this time.
    Throttled(Instant),
}

/// A WebSocket connection as the rest of the exchange sees it.
pub(crate) struct Conn {
    pub id: u32,
    /// In which of the exchange's forms it gets frames; below [`FORMS`].
    pub form: Cell<u8>,
    /// What the client subscribed to, by name; an unknown name delivers nothing.
    pub streams: RefCell<BTreeMap<String, Option<usize>>>,
    /// Rings when there is something to do for the connection's task.
    pub wake: Notify,
    /// When an announced shutdown ends it.
    pub shutdown_at: Cell<Option<Instant>>,
    shared: Rc<Shared>,
    queue: RefCell<Queue>,
}

impl Conn {
    pub(crate) fn new(id: u32, shared: Rc<Shared>) -> Self {
        Self {
            id,
            form: Cell::new(0),
            streams: RefCell::default(),
            wake: Notify::new(),
            shutdown_at: Cell::new(None),
            shared,
            queue: RefCell::default(),
        }
    }

    /// Bytes that wait.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queue.borrow().bytes
    }

    /// Text frames that the socket took.
    pub(crate) fn sent(&self) -> u64 {
        self.queue.borrow().sent
    }

    /// Whether the socket took all that it may be given now.
    pub(crate) fn is_flushed(&self) -> bool {
        self.queue.borrow().batches.is_empty()
    }

    /// Frames that the socket took, and those that wait.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let queue = self.queue.borrow();
        let marks: usize = queue.batches.iter().map(|b| b.marks.len()).sum();
        let held: usize = queue.held.iter().map(|h| h.frames.len()).sum();
        (queue.sent, u64::try_from(marks + held).unwrap_or(u64::MAX))
    }

    /// How it is to end, if it is.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.queue.borrow().ending.clone()
    }

    /// Ends the connection; the first reason stands.
    pub(crate) fn end(&self, ending: Ending) {
        self.end_with(1_000, ending);
    }

    /// Ends it, a clean end with this code.
    pub(crate) fn end_with(&self, code: u16, ending: Ending) {
        let mut queue = self.queue.borrow_mut();
        if queue.ending.is_none() {
            if let Ending::Clean(reason) = &ending {
                let mut payload = code.to_be_bytes().to_vec();
                payload.extend(reason.bytes().take(100));
                control(&mut queue, opcode::CLOSE, &payload);
            }
            queue.ending = Some(ending);
        }
        self.wake.notify_one();
    }

    /// Writes to it slowly for a while.
    pub(crate) fn throttle(&self, bytes_per_second: u32, time: Duration) {
        let now = Instant::now();
        self.queue.borrow_mut().throttle =
            Some(Throttle { bytes_per_second: bytes_per_second.max(1), until: now + time, last: now, allowance: 0.0 });
    }

    /// Queues a ping or pong.
    pub(crate) fn control(&self, opcode: u8, payload: &[u8]) {
        control(&mut self.queue.borrow_mut(), opcode, payload);
        self.wake.notify_one();
    }

    /// Queues a reply or announcement, which no fault touches.
    pub(crate) fn reply(&self, text: &[u8]) {
        self.push(NO_STREAM, 0, text, FrameStatus::Sent, None);
    }

    /// Queues a stream's frame, as the faults allow. `id` is what the ledger's compact mode notes.
    pub(crate) fn deliver(&self, stream: usize, id: u64, text: &[u8], faults: &mut FaultState) {
        if faults.quiet() && self.queue.borrow().held.is_empty() {
            self.push(stream, id, text, FrameStatus::Sent, None);
            return;
        }
        let action = faults.decide(self.id, self.shared.name(stream), text, now_us());
        let place = self.queue.borrow().held.iter().position(|h| h.stream == stream);
        if let Some(place) = place
            && !matches!(action, Action::Drop | Action::Silence)
        {
            let mut queue = self.queue.borrow_mut();
            if queue.held[place].in_order {
                queue.held[place].frames.push((text.to_vec(), id));
                queue.bytes += text.len();
                drop(queue);
                self.check_limit();
                return;
            }
            let held = queue.held.remove(place);
            drop(queue);
            self.push(stream, id, text, FrameStatus::Sent, None);
            self.release(held, FrameStatus::Reordered);
            return;
        }
        match action {
            Action::Send => self.push(stream, id, text, FrameStatus::Sent, None),
            Action::Drop => self.omit(stream, id, text, FrameStatus::Dropped),
            Action::Silence => self.omit(stream, id, text, FrameStatus::Silenced),
            Action::Duplicate => {
                self.push(stream, id, text, FrameStatus::Sent, None);
                self.push(stream, id, text, FrameStatus::Duplicated, None);
            }
            Action::Corrupt(how, salt) => {
                let damaged = corrupt(text, how, salt);
                self.push(stream, id, &damaged, FrameStatus::Corrupted, Some(text.into()));
            }
            Action::Delay(time) => self.hold(stream, id, text, time, true),
            // Without a successor within a second it goes out where it is.
            Action::Reorder => self.hold(stream, id, text, Duration::from_secs(1), false),
        }
    }

    fn hold(&self, stream: usize, id: u64, text: &[u8], time: Duration, in_order: bool) {
        let mut queue = self.queue.borrow_mut();
        let until = Instant::now() + time;
        queue.held.push(Held { stream, until, in_order, frames: vec![(text.to_vec(), id)] });
        queue.bytes += text.len();
        self.wake.notify_one();
    }

    /// When the next held frame is due.
    pub(crate) fn held_until(&self) -> Option<Instant> {
        self.queue.borrow().held.iter().map(|h| h.until).min()
    }

    /// Queues the held frames that are due.
    pub(crate) fn release_due(&self, now: Instant) {
        loop {
            let held = {
                let mut queue = self.queue.borrow_mut();
                let Some(place) = queue.held.iter().position(|h| h.until <= now) else { return };
                queue.held.remove(place)
            };
            let status = if held.in_order { FrameStatus::Delayed } else { FrameStatus::Sent };
            self.release(held, status);
        }
    }

    fn release(&self, held: Held, status: FrameStatus) {
        for (text, id) in held.frames {
            {
                let mut queue = self.queue.borrow_mut();
                queue.bytes = queue.bytes.saturating_sub(text.len());
            }
            self.push(held.stream, id, &text, status, None);
        }
    }

    /// A frame that is not sent, but told of.
    fn omit(&self, stream: usize, id: u64, text: &[u8], status: FrameStatus) {
        let seq = {
            let mut queue = self.queue.borrow_mut();
            queue.seq += 1;
            queue.seq
        };
        let name = self.shared.name(stream);
        self.shared.ledger.frame(FrameEntry { conn: self.id, seq, stream: name, status, id, raw: text, wire: None });
    }

    fn push(&self, stream: usize, id: u64, text: &[u8], status: FrameStatus, original: Option<Box<[u8]>>) {
        let mut queue = self.queue.borrow_mut();
        let queue = &mut *queue;
        if queue.ending.is_some() {
            return;
        }
        if queue.batches.is_empty() {
            self.wake.notify_one();
        }
        queue.seq += 1;
        let seq = queue.seq;
        let batch = back(queue);
        let before = batch.bytes.len();
        push_head(&mut batch.bytes, opcode::TEXT, text.len());
        let start = batch.bytes.len();
        batch.bytes.extend_from_slice(text);
        let end = batch.bytes.len();
        batch.marks.push_back(Mark { start, end, seq, stream, id, status, original });
        queue.bytes += end - before;
        if queue.bytes > self.shared.queue_bytes {
            queue.ending = Some(Ending::Abrupt(self.too_slow()));
            self.wake.notify_one();
        }
    }

    fn too_slow(&self) -> String {
        format!("the client reads too slowly: {} bytes are waiting for it", self.shared.queue_bytes)
    }

    fn check_limit(&self) {
        let mut queue = self.queue.borrow_mut();
        if queue.bytes > self.shared.queue_bytes && queue.ending.is_none() {
            queue.ending = Some(Ending::Abrupt(self.too_slow()));
            self.wake.notify_one();
        }
    }

    /// Writes what the socket takes now, up to a fair share, and enters it in the ledger.
    pub(crate) fn flush(&self, socket: &TcpStream) -> io::Result<Flushed> {
        /// Then others get their turn.
        const SHARE: usize = 1 << 20;
        let mut written = 0;
        loop {
            let mut queue = self.queue.borrow_mut();
            let queue = &mut *queue;
            let Some(batch) = queue.batches.front_mut() else { return Ok(Flushed::Empty) };
            let mut end = batch.bytes.len();
            if let Some(throttle) = &mut queue.throttle {
                let now = Instant::now();
                if now >= throttle.until {
                    queue.throttle = None;
                    continue;
                }
                let rate = f64::from(throttle.bytes_per_second);
                let gained = now.duration_since(throttle.last).as_secs_f64() * rate;
                throttle.last = now;
                throttle.allowance = (throttle.allowance + gained).min(rate);
                if throttle.allowance < 1.0 {
                    return Ok(Flushed::Throttled(now + Duration::from_millis(20)));
                }
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // between 1 and u32::MAX
                let allowed = throttle.allowance as usize;
                end = end.min(queue.offset + allowed);
            }
            match socket.try_write(&batch.bytes[queue.offset..end]) {
                Ok(n) => {
                    queue.offset += n;
                    queue.bytes = queue.bytes.saturating_sub(n);
                    written += n;
                    if let Some(throttle) = &mut queue.throttle {
                        #[allow(clippy::cast_precision_loss)] // a few kilobytes
                        let taken = n as f64;
                        throttle.allowance -= taken;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Flushed::Blocked),
                Err(e) => return Err(e),
            }
            while batch.marks.front().is_some_and(|m| m.end <= queue.offset) {
                let Some(mark) = batch.marks.pop_front() else { break };
                queue.sent += 1;
                self.enter(&mark, &batch.bytes[mark.start..mark.end]);
            }
            if queue.offset == batch.bytes.len() {
                queue.offset = 0;
                if let Some(mut done) = queue.batches.pop_front() {
                    done.bytes.clear();
                    queue.spare = Some(done);
                }
            }
            if written >= SHARE {
                return Ok(Flushed::Blocked);
            }
        }
    }

    fn enter(&self, mark: &Mark, wire: &[u8]) {
        let (raw, wire) = match &mark.original {
            Some(original) => (&**original, Some(wire)),
            None => (wire, None),
        };
        let stream = self.shared.name(mark.stream);
        let Mark { seq, status, id, .. } = *mark;
        self.shared.ledger.frame(FrameEntry { conn: self.id, seq, stream, status, id, raw, wire });
        self.shared.frames_sent.set(self.shared.frames_sent.get() + 1);
    }
}

fn back(queue: &mut Queue) -> &mut Batch {
    // The first batch is being written: it may still grow, its bytes are only ever appended to.
    if queue.batches.back().is_none_or(|b| b.bytes.len() >= BATCH_BYTES) {
        let fresh = queue.spare.take().unwrap_or_default();
        queue.batches.push_back(fresh);
    }
    let last = queue.batches.len() - 1;
    &mut queue.batches[last]
}

fn control(queue: &mut Queue, opcode: u8, payload: &[u8]) {
    if queue.ending.is_some() {
        return;
    }
    let batch = back(queue);
    let before = batch.bytes.len();
    push_head(&mut batch.bytes, opcode, payload.len());
    batch.bytes.extend_from_slice(payload);
    let added = batch.bytes.len() - before;
    queue.bytes += added;
}
