//! The last state changes of all services, numbered, for clients that follow them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use dccd_rpc::root::{Event, Events, ServiceState};
use tokio::sync::watch;

/// Events kept; a client that is further behind learns how many it missed.
const EVENTS_KEPT: usize = 1024;

/// The log of state changes.
#[derive(Debug)]
pub(crate) struct EventLog {
    events: Mutex<VecDeque<Event>>,
    last: watch::Sender<u64>,
}

impl EventLog {
    pub(crate) fn new() -> Self {
        Self { events: Mutex::new(VecDeque::with_capacity(EVENTS_KEPT)), last: watch::channel(0).0 }
    }

    pub(crate) fn push(&self, service: &str, state: ServiceState, pid: Option<u32>, reason: Option<&str>) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let sequence = *self.last.borrow() + 1;
        if events.len() == EVENTS_KEPT {
            events.pop_front();
        }
        events.push_back(Event {
            sequence,
            ts: unix_nanos(),
            service: service.to_owned(),
            state,
            pid,
            reason: reason.map(str::to_owned),
        });
        // Still under the lock, which keeps the numbers in order.
        self.last.send_replace(sequence);
    }

    /// Follows the number of the last event.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// What happened after `cursor`. A cursor from the future (another root's) starts over.
    pub(crate) fn after(&self, cursor: u64) -> Events {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let last = events.back().map_or(0, |event| event.sequence);
        let cursor = if cursor > last { 0 } else { cursor };
        let first = events.front().map_or(1, |event| event.sequence);
        Events {
            cursor: last,
            lost: first.saturating_sub(cursor + 1),
            events: events.iter().filter(|event| event.sequence > cursor).cloned().collect(),
        }
    }
}

/// Now, in nanoseconds since the epoch, host clock.
pub(crate) fn unix_nanos() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_sees_each_event_once_and_learns_what_it_missed() {
        let log = EventLog::new();
        assert_eq!(log.after(0), Events::default());
        log.push("a", ServiceState::Starting, Some(1), None);
        log.push("a", ServiceState::Ready, Some(1), None);
        let seen = log.after(0);
        assert_eq!((seen.cursor, seen.events.len(), seen.lost), (2, 2, 0));
        assert_eq!(log.after(2).events, []);
        for _ in 0..EVENTS_KEPT {
            log.push("b", ServiceState::Backoff, None, Some("exit 1"));
        }
        let seen = log.after(1);
        assert_eq!((seen.cursor, seen.events.len(), seen.lost), (1026, EVENTS_KEPT, 1));
        assert_eq!(log.after(9999).events.len(), EVENTS_KEPT);
    }
}
