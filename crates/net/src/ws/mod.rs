//! One WebSocket address, kept connected for ever.
//!
//! A [`Link`] runs two kinds of tasks: a supervisor that decides when to connect, and one task for each open socket that
//! reads ahead of the application, answers pings, paces what is sent and notices silence. So pings are answered while the
//! application is busy elsewhere, as long as the runtime gets to run and the read-ahead has room; once it is full nothing
//! is dropped: the socket isn't read until there is room, and TCP holds the server back.
//!
//! Order: for each connection `Opened`, its frames as they came, `Closed`; a failed attempt is a `Closed` without `Opened`.

mod address;
mod connect;
mod inbox;
mod pace;
mod reason;
mod socket;
mod supervisor;

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::backoff::Backoff;
pub use address::{AddressError, AddressSource};
use connect::Target;
use inbox::Inbox;
pub use pace::ConnectBudget;
pub use reason::{CloseCause, CloseReason};
use supervisor::{Control, Supervisor};

/// How many frames a [`FrameBatch`] holds at most.
pub const BATCH_FRAMES: usize = 256;

/// How many messages may wait to be sent on one connection.
const OUTBOX_MESSAGES: usize = 256;

/// How a link connects and behaves; [`LinkOptions::new`] fills in what most want.
#[derive(Clone)]
pub struct LinkOptions {
    /// The address, `ws://` or `wss://`, with path and query; with [`LinkOptions::addresses`], what the link is called in logs.
    pub url: String,
    /// Where each attempt learns its address; `None`: it is always [`LinkOptions::url`].
    pub addresses: Option<Arc<dyn AddressSource>>,
    /// The `User-Agent` of the upgrade request.
    pub user_agent: String,
    /// Where connection numbers come from: each attempt draws the next one. Clones of these options share it.
    pub conn_ids: Arc<AtomicU32>,
    /// How long an attempt may take: name, TCP, TLS and upgrade together.
    pub connect_timeout: Duration,
    /// How long learning the address may take before that.
    pub address_timeout: Duration,
    /// Nothing heard for this long (no frame, no ping, no pong): the peer is taken for dead.
    pub read_timeout: Duration,
    /// Nothing heard for this long: a ping is sent, so that a peer that is merely quiet answers.
    pub ping_interval: Duration,
    /// How long the server lets a connection live. Its replacement is opened after 90 to 97 % of that.
    pub lifetime: Option<Duration>,
    /// How long a replaced connection goes on when nobody retires it.
    pub retire_grace: Duration,
    /// The waits between attempts.
    pub backoff: Backoff,
    /// A connection that was open for this long counts as a success: the waits begin anew.
    pub stable_after: Duration,
    /// How many messages a second the server takes from a connection, pings and pongs included; one is kept for pongs.
    pub messages_per_second: u32,
    /// How often connecting is allowed. Clones of these options share the budget, as all links to one exchange should.
    pub connects_per_window: Arc<ConnectBudget>,
    /// The largest message accepted; a larger one closes the connection.
    pub max_frame_bytes: usize,
    /// How many frames are read ahead of the application at most.
    pub read_ahead_frames: usize,
    /// How many bytes are read ahead of the application at most; one frame more may be underway.
    pub read_ahead_bytes: usize,
    /// How much is read from the socket at once. It costs this much memory and clearing it a connection and read.
    pub read_buffer_bytes: usize,
    /// How long saying goodbye may take.
    pub close_timeout: Duration,
    /// Trust for `wss://`; `None`: Mozilla's list and the host's own authorities.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The seed of all jitter.
    pub seed: u64,
}

impl LinkOptions {
    /// 10 s to connect and 30 s to learn where to, 60 s of silence at most with a ping after 15 s, no lifetime, 5 messages a second, 300 connects
    /// in 5 minutes, numbers from 1, frames of at most 16 MiB, 65,536 frames or 16 MiB read ahead, jitter from chance.
    pub fn new(url: impl Into<String>) -> Self {
        LinkOptions {
            url: url.into(),
            addresses: None,
            user_agent: concat!("dccd/", env!("CARGO_PKG_VERSION")).to_owned(),
            conn_ids: Arc::new(AtomicU32::new(1)),
            connect_timeout: Duration::from_secs(10),
            address_timeout: Duration::from_secs(30),
            read_timeout: Duration::from_secs(60),
            ping_interval: Duration::from_secs(15),
            lifetime: None,
            retire_grace: Duration::from_secs(30),
            backoff: Backoff::default(),
            stable_after: Duration::from_secs(60),
            messages_per_second: 5,
            connects_per_window: ConnectBudget::new(300, Duration::from_secs(300)),
            max_frame_bytes: 16 << 20,
            read_ahead_frames: 65_536,
            read_ahead_bytes: 16 << 20,
            read_buffer_bytes: 32 << 10,
            close_timeout: Duration::from_secs(2),
            tls: None,
            seed: fastrand::u64(..),
        }
    }
}

/// Why there can be no link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The address can't be used.
    #[error("`{url}` is no WebSocket address: expected ws:// or wss:// and a host")]
    Url {
        /// As given, without its query and without credentials.
        url: String,
    },
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// As many messages wait already as may; send fewer, or again later.
    #[error("connection {conn} has {OUTBOX_MESSAGES} messages waiting to be sent")]
    QueueFull {
        /// The connection.
        conn: u32,
    },
    /// There is no such connection, or not any more.
    #[error("connection {conn} is not open")]
    NotOpen {
        /// The connection.
        conn: u32,
    },
}

/// One message as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// When the message was complete in this process: nanoseconds since the Unix epoch, host clock.
    pub ts_recv: i64,
    /// Its payload, text or binary.
    pub bytes: Bytes,
}

/// Up to [`BATCH_FRAMES`] frames of one connection; make one and hand it to [`Link::next`] again and again.
#[derive(Debug, Default)]
pub struct FrameBatch {
    frames: Vec<Frame>,
}

impl FrameBatch {
    /// An empty batch.
    pub fn new() -> Self {
        FrameBatch { frames: Vec::with_capacity(BATCH_FRAMES) }
    }

    /// The frames, to change: their times may have to be mended.
    pub fn frames_mut(&mut self) -> &mut [Frame] {
        &mut self.frames
    }

    /// The frames, in the order in which they came.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }
}

impl std::ops::Deref for FrameBatch {
    type Target = [Frame];

    fn deref(&self) -> &[Frame] {
        &self.frames
    }
}

impl<'a> IntoIterator for &'a FrameBatch {
    type Item = &'a Frame;
    type IntoIter = std::slice::Iter<'a, Frame>;

    fn into_iter(self) -> Self::IntoIter {
        self.frames.iter()
    }
}

/// What happened on a link.
#[derive(Debug)]
pub enum LinkEvent {
    /// A connection is open: subscribe on it.
    Opened {
        /// Its number.
        conn: u32,
        /// The open connection it is to replace: once all of it flows on `conn` too, `retire` that one.
        replaces: Option<u32>,
    },
    /// Frames arrived; they are in the batch.
    Frames {
        /// The connection they came on.
        conn: u32,
    },
    /// A connection ended, or an attempt failed. Messages that waited to be sent on it are gone.
    Closed {
        /// Its number.
        conn: u32,
        /// Why, and what happens next.
        reason: CloseReason,
        /// When the next attempt begins; `None` where this connection needs no successor (replaced, or the link is closing).
        retry_in: Option<Duration>,
    },
}

/// A link: keeps itself connected until it is closed or dropped.
pub struct Link {
    inbox: Arc<Inbox>,
    control: Arc<Control>,
    supervisor: Option<JoinHandle<()>>,
    close_timeout: Duration,
}

impl Link {
    /// Begins to connect. Call it within a tokio runtime with timers and I/O.
    pub fn new(options: LinkOptions) -> Result<Link, LinkError> {
        let target =
            Target::parse(&options.url).ok_or_else(|| LinkError::Url { url: crate::http::without_secrets(&options.url) })?;
        let inbox = Arc::new(Inbox::new(options.read_ahead_frames, options.read_ahead_bytes));
        let control = Arc::new(Control::default());
        let close_timeout = options.close_timeout;
        let supervisor = Supervisor::new(options, target, Arc::clone(&inbox), Arc::clone(&control));
        Ok(Link { inbox, control, supervisor: Some(tokio::spawn(supervisor.run())), close_timeout })
    }

    /// Waits for the next event; `frames` holds the frames of a `Frames` event and is empty after any other.
    ///
    /// Cancel safe: nothing is lost when the future is dropped. After `close` it returns what is left and then waits for
    /// ever; use [`Link::try_next`] there.
    pub async fn next(&mut self, frames: &mut FrameBatch) -> LinkEvent {
        std::future::poll_fn(|cx| self.poll_next(cx, frames)).await
    }

    /// [`Link::next`] for those who wait for several things at once without a future for each: the task is woken when there
    /// is something, however short-lived the future around this call is. One task at a time.
    pub fn poll_next(&mut self, cx: &Context<'_>, frames: &mut FrameBatch) -> Poll<LinkEvent> {
        match self.inbox.poll_arrived(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => self.try_next(frames).map_or(Poll::Pending, Poll::Ready),
        }
    }

    /// The next event if there is one already.
    pub fn try_next(&mut self, frames: &mut FrameBatch) -> Option<LinkEvent> {
        self.inbox.take(&mut frames.frames)
    }

    /// Queues a text message; it goes out as soon as the connection's message rate allows, in order.
    pub fn send(&self, conn: u32, message: String) -> Result<(), SendError> {
        self.control.send(conn, message)
    }

    /// Opens a successor of `conn` now instead of at the end of its lifetime (the server announced a shutdown).
    /// Does nothing where `conn` isn't the newest connection or a successor is on its way.
    pub fn replace(&self, conn: u32) {
        self.control.replace(conn);
    }

    /// Closes the replaced connection `conn`. Closing the newest one makes the link connect anew.
    pub fn retire(&self, conn: u32) {
        self.control.retire(conn);
    }

    /// Closes all connections politely, within a bounded time. What was received until then can still be taken with
    /// [`Link::try_next`], up to the `Closed` of each connection.
    pub async fn close(&mut self) {
        self.control.close();
        if let Some(mut supervisor) = self.supervisor.take() {
            // The supervisor bounds each goodbye; twice that covers a runtime that is slow to run it.
            if tokio::time::timeout(self.close_timeout * 2, &mut supervisor).await.is_err() {
                supervisor.abort();
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(supervisor) = &self.supervisor {
            supervisor.abort();
        }
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}
