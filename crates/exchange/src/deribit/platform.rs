//! What the exchange tells of its own state (`platform_state`): that a maintenance begins or ends, that what is traded on an index is
//! locked or no more. It tells when that changes, and nothing of the state at the time of the subscription; a connection whose
//! subscriptions it accepts is taken for a sign that it is open.

use super::messages::Platform;

/// What is closed, at most; the exchange has fewer indices.
const CLOSED_MAX: usize = 256;

/// What was told. It is not saved: whoever goes on later does so on new connections.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Connections on which nothing was subscribed yet.
    fresh: Vec<u32>,
    /// What is closed now, in words.
    closed: Vec<String>,
}

impl State {
    pub(super) fn opened(&mut self, conn: u32) {
        self.closed(conn);
        self.fresh.push(conn);
    }

    /// A connection ended; 0: all of them did.
    pub(super) fn closed(&mut self, conn: u32) {
        self.fresh.retain(|fresh| conn != 0 && *fresh != conn);
    }

    /// The exchange accepted subscriptions on this connection; whether they are the first ones: then nothing is closed any more.
    pub(super) fn subscribed(&mut self, conn: u32) -> bool {
        let Some(at) = self.fresh.iter().position(|fresh| *fresh == conn) else { return false };
        self.fresh.remove(at);
        self.closed.clear();
        true
    }

    /// The exchange told this. What it is closed by now, or that it is open; `None`: it is about nothing known.
    pub(super) fn told(&mut self, platform: &Platform<'_>) -> Option<Result<(), &str>> {
        let lock = || format!("a lock of {}", String::from_utf8_lossy(platform.price_index));
        let (is_closed, what) = match (platform.maintenance, platform.locked) {
            (Some(is_closed), _) => (is_closed, "maintenance".to_owned()),
            (None, Some(is_closed)) => (is_closed, lock()),
            (None, None) => return None,
        };
        self.closed.retain(|closed| *closed != what);
        if is_closed && self.closed.len() < CLOSED_MAX {
            self.closed.push(what);
        }
        Some(self.closed.last().map_or(Ok(()), |closed| Err(closed)))
    }
}
