//! The task of one open socket: reads ahead, answers pings, sends at the server's pace, notices silence.
//!
//! Ends with the cause when the connection does, or when the supervisor asks it to say goodbye; all frames that came
//! before are in the inbox by then.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;

use super::address::Secrets;
use super::connect::Stream;
use super::inbox::Inbox;
use super::pace::Pacer;
use super::{BATCH_FRAMES, CloseCause, Frame, LinkOptions};
use crate::clock::now_ns;

/// Why a socket is asked to say goodbye.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Retired,
    Requested,
}

pub(super) struct Socket {
    conn: u32,
    stream: Stream,
    /// What the server's words must not show.
    secrets: Secrets,
    inbox: Arc<Inbox>,
    outbox: mpsc::Receiver<String>,
    /// The next message, waiting for its turn.
    unsent: Option<String>,
    stop: oneshot::Receiver<Stop>,
    pacer: Pacer,
    batch: Vec<Frame>,
    /// When the server was last heard, or we last chose not to listen.
    heard: Instant,
    pinged: Instant,
    timer: Pin<Box<Sleep>>,
    unflushed: bool,
    read_timeout: Duration,
    ping_interval: Duration,
    close_timeout: Duration,
}

impl Socket {
    pub(super) fn new(
        conn: u32,
        (stream, secrets): (Stream, Secrets),
        inbox: Arc<Inbox>,
        outbox: mpsc::Receiver<String>,
        stop: oneshot::Receiver<Stop>,
        options: &LinkOptions,
    ) -> Self {
        let now = Instant::now();
        Socket {
            conn,
            stream,
            secrets,
            inbox,
            outbox,
            unsent: None,
            stop,
            pacer: Pacer::new(options.messages_per_second),
            batch: Vec::with_capacity(BATCH_FRAMES),
            heard: now,
            pinged: now,
            timer: Box::pin(sleep_until(now + options.ping_interval.min(options.read_timeout))),
            unflushed: false,
            read_timeout: options.read_timeout,
            ping_interval: options.ping_interval,
            close_timeout: options.close_timeout,
        }
    }

    pub(super) async fn run(mut self) -> CloseCause {
        let ended = poll_fn(|cx| self.poll(cx)).await;
        match ended {
            Ended::Server(cause) => cause,
            Ended::Asked(stop) => {
                self.say_goodbye().await;
                match stop {
                    Stop::Retired => CloseCause::Retired,
                    Stop::Requested => CloseCause::Requested,
                }
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        if let Poll::Ready(stop) = Pin::new(&mut self.stop).poll(cx) {
            // Without a supervisor nobody wants this socket.
            return Poll::Ready(Ended::Asked(stop.unwrap_or(Stop::Requested)));
        }
        let read = self.poll_read(cx);
        self.inbox.frames(self.conn, &mut self.batch);
        if let Poll::Ready(Err(cause)) = read {
            return Poll::Ready(Ended::Server(cause));
        }
        let now = Instant::now();
        let written = self.poll_write(cx, now).and_then(|paced| self.poll_timer(cx, now, paced));
        if let Err(cause) = written {
            return Poll::Ready(Ended::Server(cause));
        }
        if read.is_ready() {
            // A full batch: let the application have it, then go on reading.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Reads one batch. `Pending`: no more for now; `Ready(Ok)`: the batch is full; `Ready(Err)`: the connection ended.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseCause>> {
        if !self.inbox.has_room(cx) {
            // Not the server's silence, ours.
            self.heard = Instant::now();
            return Poll::Pending;
        }
        let mut heard = false;
        let ended = loop {
            let message = match self.stream.poll_next_unpin(cx) {
                Poll::Pending => break Poll::Pending,
                Poll::Ready(None) => break Poll::Ready(Err(CloseCause::Ended)),
                Poll::Ready(Some(Err(error))) => break Poll::Ready(Err(CloseCause::from_open(error))),
                Poll::Ready(Some(Ok(message))) => message,
            };
            heard = true;
            match message {
                Message::Text(text) => self.batch.push(Frame { ts_recv: now_ns(), bytes: text.into() }),
                Message::Binary(bytes) => self.batch.push(Frame { ts_recv: now_ns(), bytes }),
                // The library has queued the pong; the next read or flush sends it.
                Message::Ping(_) => {
                    self.pacer.record(Instant::now());
                    self.unflushed = true;
                }
                Message::Pong(_) | Message::Frame(_) => {}
                Message::Close(frame) => {
                    // Our goodbye is queued; one try to send it is enough, the server is leaving anyway.
                    let _ = self.stream.poll_flush_unpin(cx);
                    break Poll::Ready(Err(goodbye(frame, &self.secrets)));
                }
            }
            if self.batch.len() >= BATCH_FRAMES {
                break Poll::Ready(Ok(()));
            }
        };
        if heard {
            self.heard = Instant::now();
        }
        ended
    }

    /// Sends what the pace allows; returns when the next message may go, if one waits for that.
    fn poll_write(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<Option<Instant>, CloseCause> {
        let mut paced = None;
        loop {
            if self.unsent.is_none() {
                match self.outbox.poll_recv(cx) {
                    Poll::Ready(Some(message)) => self.unsent = Some(message),
                    Poll::Ready(None) | Poll::Pending => break,
                }
            }
            let free_at = self.pacer.free_at(now);
            if free_at > now {
                paced = Some(free_at);
                break;
            }
            if self.stream.poll_ready_unpin(cx).map_err(CloseCause::from_open)?.is_pending() {
                break;
            }
            if let Some(message) = self.unsent.take() {
                self.write(Message::text(message), now)?;
            }
        }
        self.flush(cx)?;
        Ok(paced)
    }

    fn write(&mut self, message: Message, now: Instant) -> Result<(), CloseCause> {
        self.stream.start_send_unpin(message).map_err(CloseCause::from_open)?;
        self.pacer.record(now);
        self.unflushed = true;
        Ok(())
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), CloseCause> {
        if self.unflushed && self.stream.poll_flush_unpin(cx).map_err(CloseCause::from_open)?.is_ready() {
            self.unflushed = false;
        }
        Ok(())
    }

    /// Pings a quiet server, gives up a silent one, and sees to it that the task is woken for either.
    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Instant, paced: Option<Instant>) -> Result<(), CloseCause> {
        if now >= self.heard + self.read_timeout {
            return Err(CloseCause::Silent { silence: self.read_timeout });
        }
        let mut ping_at = self.heard.max(self.pinged) + self.ping_interval;
        if now >= ping_at {
            ping_at = self.pacer.free_at(now);
        }
        if now >= ping_at {
            self.write(Message::Ping(bytes::Bytes::new()), now)?;
            self.flush(cx)?;
            self.pinged = now;
            ping_at = now + self.ping_interval;
        }
        let mut wake = ping_at.min(self.heard + self.read_timeout);
        if let Some(paced) = paced {
            wake = wake.min(paced);
        }
        // The timer may be early, never late: moving it with every batch would cost more than a few idle wake-ups.
        if self.timer.deadline() > wake || self.timer.is_elapsed() {
            self.timer.as_mut().reset(wake);
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Ok(())
    }

    /// Closes politely; what still comes meanwhile is kept.
    async fn say_goodbye(&mut self) {
        let _ = timeout(self.close_timeout, async {
            if self.stream.close(None).await.is_err() {
                return;
            }
            while let Some(Ok(message)) = self.stream.next().await {
                match message {
                    Message::Text(text) => self.batch.push(Frame { ts_recv: now_ns(), bytes: text.into() }),
                    Message::Binary(bytes) => self.batch.push(Frame { ts_recv: now_ns(), bytes }),
                    _ => continue,
                }
                if self.batch.len() >= BATCH_FRAMES {
                    poll_fn(|cx| if self.inbox.has_room(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
                    self.inbox.frames(self.conn, &mut self.batch);
                }
            }
        })
        .await;
        self.inbox.frames(self.conn, &mut self.batch);
    }
}

enum Ended {
    Server(CloseCause),
    Asked(Stop),
}

fn goodbye(frame: Option<CloseFrame>, secrets: &Secrets) -> CloseCause {
    match frame {
        Some(frame) => CloseCause::Goodbye { code: frame.code.into(), text: secrets.hide(frame.reason.as_str()) },
        None => CloseCause::Goodbye { code: 1005, text: String::new() },
    }
}
