//! What the exchange said on each connection: what its messages carry, which number each channel has, and the number that the next
//! message must have. Small and bounded; saved with the session, because messages mean nothing without it.

use dccd_model::{Channel, UnixNanos};
use serde::{Deserialize, Serialize};

use super::consts::{BULK_UPDATES, SEQ_ALL, TIMESTAMP};
use super::messages::{Kind, Tail};
use super::quotes::Top;
use crate::FrameError;

/// Connections remembered; more than are ever open at once. Past that the one that was first is forgotten.
const CONNECTIONS_MAX: usize = 64;
/// Channels of one connection remembered; more than the exchange allows. Past that the one that was first is forgotten.
const CHANNELS_MAX: usize = 64;

/// A subscription that was wanted anew and isn't after this time is wanted again.
const ATTEMPT_NANOS: i64 = 10_000_000_000;

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Subscription {
    /// The channel's number on this connection.
    pub(super) chan_id: u64,
    pub(super) kind: Subscribed,
    /// What it is about: `tBTCUSD`.
    pub(super) name: String,
    /// Whether its snapshot came.
    pub(super) is_begun: bool,
    /// What it brought, of quotes.
    pub(super) top: Top,
    /// When it was last wanted anew, by our clock; `None`: it wasn't.
    asked: Option<UnixNanos>,
}

impl Subscription {
    /// Whether it was asked for anew, and its snapshot is still to come.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.is_some() && !self.is_begun
    }

    /// Whether it is to be asked for anew now: not while an attempt is under way.
    pub(super) fn asks(&mut self, ts_recv: UnixNanos) -> bool {
        let is_due = self.asked.is_none_or(|asked| ts_recv.0.saturating_sub(asked.0) >= ATTEMPT_NANOS);
        if is_due {
            self.asked = Some(ts_recv);
        }
        is_due
    }
}

/// As [`Kind`], saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Subscribed {
    Trades,
    Book,
    Quotes,
    Other,
}

impl Subscribed {
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Trades => Kind::Trades,
            Self::Book => Kind::Book,
            Self::Quotes => Kind::Top,
            Self::Other => Kind::Other,
        }
    }

    /// The channel that is offered with it.
    pub(super) fn channel(self) -> Option<Channel> {
        match self {
            Self::Trades => Some(Channel::Trades),
            Self::Book => Some(Channel::Book),
            Self::Quotes => Some(Channel::Quotes),
            Self::Other => None,
        }
    }
}

/// What a message's number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is the next one.
    Next,
    /// It is the last one once more.
    Again,
    /// Others are missing, came in another order, or numbers begin anew.
    Break,
}

/// The numbers of one connection: one more with each message of any channel, heartbeats included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Numbers {
    last: Option<u64>,
    /// Of the last message, to tell a repetition from another message with its number.
    digest: u32,
}

impl Numbers {
    /// Only the last message once more is a repetition: were all lower numbers taken for old ones, numbers that begin anew would leave
    /// books that nobody notices to stand still.
    fn take(&mut self, number: u64, frame: &[u8]) -> Step {
        let digest = crc32fast::hash(frame);
        let step = match self.last {
            None => Step::Next,
            Some(last) if Some(number) == last.checked_add(1) => Step::Next,
            Some(last) if number == last && digest == self.digest => Step::Again,
            Some(_) => Step::Break,
        };
        *self = Self { last: Some(number), digest };
        step
    }
}

/// One connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Connection {
    pub(super) conn: u32,
    /// What the exchange confirmed of `conf`.
    flags: u64,
    numbers: Numbers,
    pub(super) channels: Vec<Subscription>,
}

impl Connection {
    /// The exchange confirmed what messages carry from now on.
    pub(super) fn configured(&mut self, flags: u64) {
        self.flags = flags;
        self.numbers = Numbers::default();
    }

    /// Whether several changes may come in one message, which then looks like a snapshot.
    pub(super) fn is_bulk(&self) -> bool {
        self.flags & BULK_UPDATES != 0
    }

    /// What a message's end says: its number, and when it was sent, [`UnixNanos::UNKNOWN`] where it doesn't say.
    pub(super) fn tail(&self, tail: Tail) -> Result<(Option<u64>, UnixNanos), FrameError> {
        let event = "channel";
        let [first, second] = tail;
        let (number, ms) = if self.flags & SEQ_ALL == 0 {
            (None, first)
        } else {
            (Some(first.ok_or(FrameError::Missing { event, field: "sequence" })?), second)
        };
        if self.flags & TIMESTAMP == 0 {
            return Ok((number, UnixNanos::UNKNOWN));
        }
        let ms = ms.ok_or(FrameError::Missing { event, field: "timestamp" })?;
        let nanos = i64::try_from(ms).ok().and_then(|ms| ms.checked_mul(1_000_000));
        Ok((number, UnixNanos(nanos.ok_or(FrameError::OutOfRange { event, field: "timestamp" })?)))
    }

    /// A message with this number came.
    pub(super) fn count(&mut self, number: u64, frame: &[u8]) -> Step {
        self.numbers.take(number, frame)
    }

    /// A message came whose number can't be read. It was the next one, if its channel is known; otherwise it may have had none.
    pub(super) fn count_unreadable(&mut self, is_of_channel: bool, frame: &[u8]) {
        let last = self.numbers.last.filter(|_| is_of_channel).and_then(|last| last.checked_add(1));
        self.numbers = Numbers { last, digest: crc32fast::hash(frame) };
    }

    /// The place of the channel with this number.
    pub(super) fn place(&self, chan_id: u64) -> Option<usize> {
        self.channels.iter().position(|channel| channel.chan_id == chan_id)
    }

    /// The exchange confirmed a subscription: its snapshot is the next of it.
    pub(super) fn subscribed(&mut self, chan_id: u64, kind: Subscribed, name: &str) {
        let is_replaced = |known: &Subscription| {
            known.chan_id == chan_id || (kind != Subscribed::Other && known.kind == kind && known.name == name)
        };
        self.channels.retain(|known| !is_replaced(known));
        if self.channels.len() >= CHANNELS_MAX {
            self.channels.remove(0);
        }
        let (name, top) = (name.to_owned(), Top::default());
        self.channels.push(Subscription { chan_id, kind, name, is_begun: false, top, asked: None });
    }
}

/// All connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Connections(Vec<Connection>);

impl Connections {
    /// A connection opened: it begins with nothing.
    pub(super) fn opened(&mut self, conn: u32) {
        self.closed(conn);
        self.of(conn);
    }

    /// A connection ended; 0: all of them did.
    pub(super) fn closed(&mut self, conn: u32) {
        self.0.retain(|known| conn != 0 && known.conn != conn);
    }

    /// What is known of this connection.
    pub(super) fn of(&mut self, conn: u32) -> &mut Connection {
        let at = match self.0.iter().position(|known| known.conn == conn) {
            Some(at) => at,
            None => {
                if self.0.len() >= CONNECTIONS_MAX {
                    self.0.remove(0);
                }
                self.0.push(Connection { conn, ..Connection::default() });
                self.0.len() - 1
            }
        };
        &mut self.0[at]
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Connection> {
        self.0.iter()
    }
}
