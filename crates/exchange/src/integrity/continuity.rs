//! Which connections carry a feed, and whether something was lost since its last record. Small and bounded.

use dccd_model::GapReason;
use serde::{Deserialize, Serialize};

/// Connections remembered; more than are ever open at once. Past that the one that was first is forgotten.
const CONNECTIONS_MAX: usize = 64;

/// Where in the sequence of entries each connection last sent something that can't be read, and on which the exchange said that
/// it is closed. Connections are never numbered alike, so those that ended do no harm.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Connections {
    unreadable: Vec<(u32, u64)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    halted: Vec<u32>,
    /// To which of the exchange's sockets those lead that don't lead to the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sockets: Vec<(u32, usize)>,
}

impl Connections {
    /// Number of the last entry of this connection that couldn't be read; 0 when there was none.
    pub(crate) fn unreadable_at(&self, conn: u32) -> u64 {
        self.unreadable.iter().find(|(c, _)| *c == conn).map_or(0, |(_, at)| *at)
    }

    /// Whether the exchange said on this connection that it is closed, and not yet that it is open again.
    pub(crate) fn is_halted(&self, conn: u32) -> bool {
        self.halted.contains(&conn)
    }

    /// The exchange told on this connection whether it is open; says whether it opened again after it was closed.
    pub(crate) fn venue(&mut self, conn: u32, is_open: bool) -> bool {
        let known = self.halted.iter().position(|c| *c == conn);
        match (known, is_open) {
            (Some(at), true) => {
                self.halted.remove(at);
                true
            }
            (None, false) => {
                if self.halted.len() >= CONNECTIONS_MAX {
                    self.halted.remove(0);
                }
                self.halted.push(conn);
                false
            }
            _ => false,
        }
    }

    /// A connection ended; 0: all of them did.
    pub(crate) fn closed(&mut self, conn: u32) {
        self.halted.retain(|c| conn != 0 && *c != conn);
        self.sockets.retain(|(c, _)| conn != 0 && *c != conn);
    }

    /// A connection to this socket opened.
    pub(crate) fn opened(&mut self, conn: u32, socket: usize) {
        self.sockets.retain(|(c, _)| *c != conn);
        if socket == 0 {
            return;
        }
        if self.sockets.len() >= CONNECTIONS_MAX {
            self.sockets.remove(0);
        }
        self.sockets.push((conn, socket));
    }

    /// The socket that a connection leads to.
    pub(crate) fn socket(&self, conn: u32) -> usize {
        self.sockets.iter().find(|(c, _)| *c == conn).map_or(0, |(_, socket)| *socket)
    }

    pub(crate) fn unreadable(&mut self, conn: u32, entry: u64) {
        match self.unreadable.iter_mut().find(|(c, _)| *c == conn) {
            Some((_, at)) => *at = entry,
            None => {
                if self.unreadable.len() >= CONNECTIONS_MAX {
                    self.unreadable.remove(0);
                }
                self.unreadable.push((conn, entry));
            }
        }
    }
}

/// Connections that may carry one feed at once; past that the oldest is forgotten.
const CARRIERS_MAX: usize = 8;

/// What is known about the way between a feed's last record and its next.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Continuity {
    /// Connections that have delivered for this feed and are still open: each is gapless since its first delivery.
    carriers: Vec<u32>,
    /// Why something may have been lost since the last record; `None` when nothing can have been.
    broken: Option<GapReason>,
    /// Number of the entry that delivered last.
    at: u64,
}

impl Continuity {
    /// A connection ended; 0: all of them did.
    pub(crate) fn closed(&mut self, conn: u32) {
        if self.carriers.is_empty() {
            return;
        }
        self.carriers.retain(|c| conn != 0 && *c != conn);
        if self.carriers.is_empty() {
            self.broken.get_or_insert(GapReason::Disconnected);
        }
    }

    /// Something was lost for this reason, whatever the connections say.
    pub(crate) fn interrupt(&mut self, reason: GapReason) {
        if reason == GapReason::NotRecorded || self.broken.is_none() {
            self.broken = Some(reason);
        }
        if reason == GapReason::NotRecorded {
            // Among what is missing may be the end of a connection. Those that live show it with their next record.
            self.carriers.clear();
        }
    }

    /// A frame of this connection couldn't be read, and may have been of this feed.
    pub(crate) fn unreadable(&mut self, conn: u32) {
        self.missed(conn, GapReason::Unreadable);
    }

    /// Something that this connection brought, or should have, may have been of this feed and is not there.
    pub(crate) fn missed(&mut self, conn: u32, reason: GapReason) {
        if self.carriers == [conn] {
            self.interrupt(reason);
        }
    }

    /// The exchange was closed, and this connection may have heard nothing meanwhile. Neither may another that carries the feed.
    pub(crate) fn halted(&mut self, conn: u32) {
        if self.carriers.contains(&conn) {
            self.interrupt(GapReason::Silent);
        }
    }

    /// A record arrived: the reason there would be for a hole before it.
    pub(crate) fn reason(&self, conn: u32, connections: &Connections) -> GapReason {
        match self.broken {
            Some(reason) => reason,
            None if !self.carriers.contains(&conn) => GapReason::Disconnected,
            None if connections.unreadable_at(conn) > self.at => GapReason::Unreadable,
            None => GapReason::Sequence,
        }
    }

    /// This connection delivers the feed.
    pub(crate) fn carried(&mut self, conn: u32, entry: u64) {
        self.at = entry;
        self.carries(conn);
    }

    /// This connection is known to deliver the feed, whether something came on it or not.
    pub(crate) fn carries(&mut self, conn: u32) {
        if !self.carriers.contains(&conn) {
            if self.carriers.len() >= CARRIERS_MAX {
                self.carriers.remove(0);
            }
            self.carriers.push(conn);
        }
    }

    /// Whether this connection has brought nothing of the feed yet.
    pub(crate) fn is_new(&self, conn: u32) -> bool {
        !self.carriers.contains(&conn)
    }

    /// Whatever was lost before has been accounted for.
    pub(crate) fn mend(&mut self) {
        self.broken = None;
    }

    /// A record that was seen before came again: a connection that sends it leaves no hole behind the last record. What was
    /// received and not recorded stays lost.
    pub(crate) fn overlap(&mut self) {
        if self.broken == Some(GapReason::Disconnected) {
            self.broken = None;
        }
    }

    pub(crate) fn broken(&self) -> Option<GapReason> {
        self.broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_that_another_open_connection_carries_is_not_broken_by_a_close() {
        let mut feed = Continuity::default();
        feed.carried(1, 1);
        feed.carried(2, 2);
        feed.closed(1);
        assert_eq!(feed.broken(), None);
        feed.closed(2);
        assert_eq!(feed.broken(), Some(GapReason::Disconnected));
        feed.carried(3, 3);
        feed.overlap();
        assert_eq!(feed.broken(), None);
        feed.closed(0);
        assert_eq!(feed.broken(), Some(GapReason::Disconnected));
    }

    #[test]
    fn a_connection_that_is_known_to_carry_a_feed_keeps_it_whole_before_it_brought_anything() {
        let mut feed = Continuity::default();
        feed.carried(1, 1);
        feed.carries(2);
        feed.closed(1);
        assert_eq!(feed.broken(), None);
        feed.closed(2);
        assert_eq!(feed.broken(), Some(GapReason::Disconnected));
        // What was lost before stays lost.
        feed.carries(3);
        assert_eq!(feed.broken(), Some(GapReason::Disconnected));
    }

    #[test]
    fn reasons_name_what_happened_last_and_what_was_not_recorded_wins() {
        let mut connections = Connections::default();
        let mut feed = Continuity::default();
        feed.carried(1, 5);
        assert_eq!(feed.reason(1, &connections), GapReason::Sequence);
        assert_eq!(feed.reason(2, &connections), GapReason::Disconnected);
        connections.unreadable(1, 6);
        assert_eq!(feed.reason(1, &connections), GapReason::Unreadable);
        feed.carried(1, 7);
        assert_eq!(feed.reason(1, &connections), GapReason::Sequence);
        feed.closed(1);
        feed.interrupt(GapReason::NotRecorded);
        feed.overlap();
        assert_eq!(feed.reason(9, &connections), GapReason::NotRecorded);
        feed.mend();
        feed.interrupt(GapReason::Disconnected);
        assert_eq!(feed.reason(9, &connections), GapReason::Disconnected);
    }

    #[test]
    fn nothing_grows_without_end() {
        let mut connections = Connections::default();
        let mut feed = Continuity::default();
        for conn in 1..1_000 {
            connections.unreadable(conn, 1);
            connections.venue(conn, false);
            connections.opened(conn, 1);
            feed.carried(conn, 1);
        }
        assert_eq!((connections.sockets.len(), connections.socket(1), connections.socket(999)), (CONNECTIONS_MAX, 0, 1));
        assert_eq!((connections.unreadable.len(), feed.carriers.len()), (CONNECTIONS_MAX, CARRIERS_MAX));
        assert_eq!(connections.halted.len(), CONNECTIONS_MAX);
    }

    #[test]
    fn an_exchange_that_opens_again_is_noticed_once_and_where_it_was_closed() {
        let mut connections = Connections::default();
        let told = [(1, true), (1, false), (1, false), (2, true), (1, true), (1, true)];
        assert_eq!(told.map(|(conn, open)| connections.venue(conn, open)), [false, false, false, false, true, false]);
        connections.venue(1, false);
        connections.venue(2, false);
        connections.closed(1);
        assert_eq!((connections.venue(1, true), connections.venue(2, true)), (false, true));
    }
}
