//! The task of one WebSocket connection: writes what is queued, reads commands, pings, and ends it.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::frame::{FrameReader, Incoming, opcode};
use super::queue::{Conn, Ending, Flushed};
use crate::clock::{now_ns, now_us};
use crate::exchanges::{Rules, Wire};
use crate::hub::Core;
use crate::ledger::LedgerRecord;

/// How long the client may take to answer a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

struct Task {
    core: Rc<RefCell<Core>>,
    conn: Rc<Conn>,
    socket: TcpStream,
    wire: Rc<dyn Wire>,
    rules: Rules,
    reader: FrameReader,
    opened: Instant,
    next_ping: Option<Instant>,
    /// When the oldest unanswered ping becomes one too many.
    pong_due: Option<Instant>,
    announced: bool,
    /// When the client last said something.
    heard: Instant,
    /// Text frames that the socket took, and when it took the last one.
    sent: (u64, Instant),
    window: (Instant, u32),
    /// Set once everything including the close frame is written.
    closing_until: Option<Instant>,
}

/// Serves a connection until it ends.
pub(crate) async fn run(core: Rc<RefCell<Core>>, conn: Rc<Conn>, socket: TcpStream, early: &[u8]) {
    let (wire, rules, drained) = {
        let core = core.borrow();
        (Rc::clone(&core.wire), core.wire.rules_of(&core, &conn), Rc::clone(&core.shared.drained))
    };
    let now = Instant::now();
    let mut task = Task {
        next_ping: rules.ping.map(|(interval, _)| now + interval),
        wire,
        rules,
        core,
        conn,
        socket,
        reader: FrameReader::default(),
        opened: now,
        pong_due: None,
        announced: false,
        heard: now,
        sent: (0, now),
        window: (now, 0),
        closing_until: None,
    };
    task.reader.extend(early);
    let reason = task.serve(&drained).await;
    if matches!(task.conn.ending(), Some(Ending::Abrupt(_))) {
        // The socket's own drop then resets the connection.
        let _ = task.socket.set_zero_linger();
    }
    let (sent, unsent) = task.conn.counts();
    let mut core = task.core.borrow_mut();
    core.forget(&task.conn);
    core.shared.ledger.record(&LedgerRecord::Closed { ts: now_ns(), conn: task.conn.id, reason, sent, unsent });
    drop(core);
    drained.notify_waiters();
}

impl Task {
    /// Returns why it ended.
    async fn serve(&mut self, drained: &tokio::sync::Notify) -> String {
        if let Err(reason) = self.messages() {
            return reason;
        }
        loop {
            self.conn.release_due(Instant::now());
            let ending = self.conn.ending();
            if let Some(Ending::Abrupt(reason)) = ending {
                return reason;
            }
            let before = self.conn.queued_bytes();
            let flushed = match self.conn.flush(&self.socket) {
                Ok(flushed) => flushed,
                Err(e) => return format!("writing to the client failed: {e}"),
            };
            if before > 0 {
                drained.notify_waiters();
            }
            if self.conn.sent() != self.sent.0 {
                self.sent = (self.conn.sent(), Instant::now());
            }
            if let (Some(Ending::Clean(reason)), Flushed::Empty) = (&ending, flushed) {
                let until = *self.closing_until.get_or_insert_with(|| Instant::now() + CLOSE_TIMEOUT);
                if Instant::now() >= until || reason.starts_with("the client") {
                    return reason.clone();
                }
            }
            let wake = self.next_wake(flushed);
            tokio::select! {
                () = self.conn.wake.notified() => {}
                ready = self.socket.writable(), if flushed == Flushed::Blocked => {
                    if let Err(e) = ready {
                        return format!("writing to the client failed: {e}");
                    }
                }
                ready = self.socket.readable() => {
                    if let Err(e) = ready.and_then(|()| self.read()) {
                        return match (ending, e.kind()) {
                            (Some(Ending::Clean(reason)), _) => reason,
                            (_, io::ErrorKind::UnexpectedEof) => "the client hung up".to_owned(),
                            _ => format!("reading from the client failed: {e}"),
                        };
                    }
                    if let Err(reason) = self.messages() {
                        return reason;
                    }
                }
                () = sleep_until(wake) => {}
            }
            self.timers(Instant::now());
        }
    }

    fn next_wake(&self, flushed: Flushed) -> Instant {
        let life = self.rules.lifetime.map(|(life, notice)| if self.announced { life } else { life.saturating_sub(notice) });
        let times = [
            self.next_ping,
            life.map(|life| self.opened + life),
            self.heartbeat_due(),
            self.idle_due(),
            self.pong_due,
            self.conn.held_until(),
            self.conn.shutdown_at.get(),
            self.closing_until,
        ];
        // Nothing is so far away that an hour's sleep would miss it for long.
        let mut wake = Instant::now() + Duration::from_secs(3_600);
        for time in times.into_iter().flatten() {
            wake = wake.min(time);
        }
        if let Flushed::Throttled(until) = flushed {
            wake = wake.min(until);
        }
        wake
    }

    /// When the client is to be told that there is nothing to tell.
    fn heartbeat_due(&self) -> Option<Instant> {
        let (_, quiet) = self.rules.heartbeat?;
        // What is about to be written makes it needless.
        let is_idle = self.conn.ending().is_none() && self.conn.is_flushed();
        (is_idle && !self.conn.streams.borrow().is_empty()).then(|| self.sent.1 + quiet)
    }

    /// When a connection has been silent for too long.
    fn idle_due(&self) -> Option<Instant> {
        let (idle, _) = self.rules.idle.filter(|_| self.conn.ending().is_none())?;
        Some(self.heard.max(self.sent.1) + idle)
    }

    fn timers(&mut self, now: Instant) {
        if let Some((interval, timeout)) = self.rules.ping
            && self.next_ping.is_some_and(|at| now >= at)
        {
            self.next_ping = Some(now + interval);
            let payload = (now_us() / 1_000).to_string();
            self.conn.control(opcode::PING, payload.as_bytes());
            self.pong_due.get_or_insert(now + timeout);
        }
        if let Some((_, timeout)) = self.rules.ping
            && self.pong_due.is_some_and(|due| now >= due)
        {
            self.conn.end(Ending::Abrupt(format!("no pong within {timeout:?} of a ping")));
        }
        if let Some((text, _)) = self.rules.heartbeat
            && self.heartbeat_due().is_some_and(|due| now >= due)
        {
            self.conn.reply(text.as_bytes());
        }
        if let Some((quiet, code)) = self.rules.idle
            && self.idle_due().is_some_and(|due| now >= due)
        {
            let ending = Ending::Clean(format!("No data received in {}s", quiet.as_secs()));
            match code {
                Some(code) => self.conn.end_with(code, ending),
                None => self.conn.end(ending),
            }
        }
        if let Some((life, notice)) = self.rules.lifetime {
            let age = now.duration_since(self.opened);
            if !self.announced && age >= life.saturating_sub(notice) {
                self.announced = true;
                self.wire.announce_end(&self.conn);
            }
            if age >= life {
                self.conn.end(Ending::Clean(format!("a connection lives for {life:?}")));
            }
        }
        if self.conn.shutdown_at.get().is_some_and(|at| now >= at) {
            self.conn.shutdown_at.set(None);
            self.conn.end(Ending::Clean("the server shuts down as announced".to_owned()));
        }
    }

    fn read(&mut self) -> io::Result<()> {
        let mut bytes = [0u8; 16 << 10];
        // A flood is read in portions, each of which is handled before the next.
        for _ in 0..8 {
            match self.socket.try_read(&mut bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.reader.extend(&bytes[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Handles every whole message that was read.
    fn messages(&mut self) -> Result<(), String> {
        loop {
            match self.reader.next() {
                Ok(None) => return Ok(()),
                Ok(Some(message)) => self.message(message),
                Err(why) => return Err(format!("the client broke the protocol: {why}")),
            }
        }
    }

    fn message(&mut self, message: Incoming) {
        let now = Instant::now();
        self.heard = now;
        if now.duration_since(self.window.0) >= Duration::from_secs(1) {
            self.window = (now, 0);
        }
        self.window.1 += 1;
        let limit = self.rules.messages_per_second;
        if self.window.1 > limit && !matches!(message, Incoming::Close(_)) {
            match self.rules.excess {
                Some(told) => {
                    if let Incoming::Text(text) = &message {
                        self.note(text);
                    }
                    self.conn.reply(told.as_bytes());
                }
                None => self.conn.end(Ending::Abrupt(format!("more than {limit} client messages in a second"))),
            }
            return;
        }
        match message {
            Incoming::Text(text) => {
                self.note(&text);
                self.wire.received(&mut self.core.borrow_mut(), &self.conn, &text);
            }
            Incoming::Ping(payload) => self.conn.control(opcode::PONG, &payload),
            Incoming::Pong(_) => self.pong_due = None,
            Incoming::Close(_) => self.conn.end(Ending::Clean("the client closed".to_owned())),
        }
    }
    /// Enters a client's message in the ledger.
    fn note(&self, text: &str) {
        let record = LedgerRecord::Received { ts: now_ns(), conn: self.conn.id, raw: text.to_owned() };
        self.core.borrow().shared.ledger.record(&record);
    }
}
