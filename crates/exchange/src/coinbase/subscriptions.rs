//! How far each book's subscription has come on each connection, by the exchange's replies and the order of its messages. Small and
//! bounded; saved with the session.
//!
//! Nothing numbers the messages of a book, and a snapshot has no time. But it is the first message of its subscription: a change that
//! comes before it has changed places with it, or it is lost; either way the book that the snapshot tells is not the one that the next
//! changes are about. The replies (`subscriptions`: all that is subscribed on the connection) say where one subscription ends and the
//! next begins: messages between them may still be of the old one.

use serde::{Deserialize, Serialize};

use crate::FeedIndex;

/// Connections remembered; more than are ever open at once. Past that the one that was first is forgotten.
const CONNECTIONS_MAX: usize = 64;

/// After so many changes before their snapshots on one connection it seems to be the exchange's own order; they are left out then.
const DOUBTS_MAX: u8 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Phase {
    /// Nothing came of it: its snapshot is to be the first.
    Waiting,
    /// Its snapshot came.
    Begun,
    /// A change came before its snapshot.
    Doubted,
    /// The exchange said that it is over.
    Ended,
}

/// One book's subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Subscription {
    feed: FeedIndex,
    phase: Phase,
    /// Whether the last reply named it, and whether the one at hand does.
    is_listed: bool,
    #[serde(skip)]
    is_named: bool,
    doubts: u8,
}

/// One connection, which was seen to open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Connection {
    conn: u32,
    /// By feed.
    books: Vec<Subscription>,
}

impl Connection {
    fn of(&mut self, feed: FeedIndex) -> &mut Subscription {
        let at = match self.books.binary_search_by_key(&feed, |book| book.feed) {
            Ok(at) => at,
            Err(at) => {
                let (phase, is_listed, is_named, doubts) = (Phase::Waiting, false, false, 0);
                self.books.insert(at, Subscription { feed, phase, is_listed, is_named, doubts });
                at
            }
        };
        &mut self.books[at]
    }

    /// The reply at hand names this book.
    pub(super) fn name(&mut self, feed: FeedIndex) {
        self.of(feed).is_named = true;
    }

    /// A reply named all that it names. One that wasn't named before may yet be: replies come one for each message, and a snapshot may
    /// come before its own.
    pub(super) fn replied(&mut self) {
        for book in &mut self.books {
            book.phase = match (book.is_listed, book.is_named, book.phase) {
                (true, false, _) => Phase::Ended,
                (_, true, Phase::Ended) => Phase::Waiting,
                (.., phase) => phase,
            };
            book.is_listed = std::mem::take(&mut book.is_named);
        }
    }
}

/// What becomes of a message about a book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fits,
    /// It is a change that came before its snapshot: the subscription is to begin anew.
    Early,
    /// It is of a subscription that is to begin anew.
    Doubted,
}

/// All connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Subscriptions(Vec<Connection>);

impl Subscriptions {
    /// A connection opened: nothing was subscribed on it before.
    pub(super) fn opened(&mut self, conn: u32) {
        self.closed(conn);
        if self.0.len() >= CONNECTIONS_MAX {
            self.0.remove(0);
        }
        self.0.push(Connection { conn, books: Vec::new() });
    }

    /// A connection ended; 0: all of them did.
    pub(super) fn closed(&mut self, conn: u32) {
        self.0.retain(|known| conn != 0 && known.conn != conn);
    }

    /// Entries are missing, replies maybe among them: nothing is known of the connections that are open.
    pub(super) fn lost(&mut self) {
        self.0.clear();
    }

    /// What is known of this connection.
    pub(super) fn of(&mut self, conn: u32) -> Option<&mut Connection> {
        self.0.iter_mut().find(|known| known.conn == conn)
    }

    /// A snapshot of this book came.
    pub(super) fn snapshot(&mut self, conn: u32, feed: FeedIndex) -> Verdict {
        let Some(connection) = self.of(conn) else { return Verdict::Fits };
        let book = connection.of(feed);
        if book.phase == Phase::Doubted {
            return Verdict::Doubted;
        }
        book.phase = Phase::Begun;
        Verdict::Fits
    }

    /// A change of this book came.
    pub(super) fn change(&mut self, conn: u32, feed: FeedIndex) -> Verdict {
        let Some(connection) = self.of(conn) else { return Verdict::Fits };
        let book = connection.of(feed);
        match book.phase {
            Phase::Begun | Phase::Ended => Verdict::Fits,
            Phase::Waiting if book.doubts >= DOUBTS_MAX => Verdict::Fits,
            Phase::Waiting => {
                (book.phase, book.doubts) = (Phase::Doubted, book.doubts + 1);
                Verdict::Early
            }
            Phase::Doubted => Verdict::Doubted,
        }
    }
}
