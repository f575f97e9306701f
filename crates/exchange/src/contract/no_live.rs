//! The session of an exchange whose live side doesn't exist yet: whatever reaches it is counted, named and dropped.

use dccd_model::{Channel, Entry, EntryKind};
use serde::{Deserialize, Serialize};

use super::{Counters, EntryFault, ExchangeError, Feed, FeedIndex, FeedStatus, Notice, Output, Session, Want};

/// Version of the saved state.
const SAVED_VERSION: u32 = 1;

/// A session without feeds. No feed can be opened in it: such entries are entry faults, frames are unknown messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoLive {
    counters: Counters,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    version: u32,
    /// Marks the state as that of this kind of session.
    no_live: bool,
    counters: Counters,
}

impl NoLive {
    /// One that nothing has reached yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that goes on where [`Session::save`] was called. `exchange` is for the error.
    ///
    /// # Errors
    /// [`ExchangeError::SavedState`] and [`ExchangeError::SavedVersion`] when these bytes are no saved state of it.
    pub fn restore(exchange: &'static str, saved: &[u8]) -> Result<Self, ExchangeError> {
        let state: Saved = serde_json::from_slice(saved).map_err(|source| ExchangeError::SavedState {
            exchange,
            bytes: saved.len(),
            source,
        })?;
        if state.version != SAVED_VERSION {
            return Err(ExchangeError::SavedVersion { exchange, found: state.version, expected: SAVED_VERSION });
        }
        Ok(Self { counters: state.counters })
    }

    fn fault(&mut self, subject: &str, fault: EntryFault, out: &mut dyn Output) {
        self.counters.entry_faults += 1;
        out.notice(Notice::Entry { subject, fault });
    }
}

/// Whether the last word of a feed's subject is a channel at all.
fn names_a_channel(subject: &str) -> bool {
    let word = subject.split_ascii_whitespace().last();
    Channel::ALL.iter().any(|channel| Some(channel.as_str()) == word)
}

impl Session for NoLive {
    fn apply(&mut self, entry: &Entry<'_>, out: &mut dyn Output) {
        self.counters.entries += 1;
        match entry.kind {
            EntryKind::Frame => {
                self.counters.frames += 1;
                self.counters.unknown += 1;
                out.notice(Notice::UnknownMessage { conn: entry.conn });
            }
            EntryKind::FeedOpened if names_a_channel(entry.subject) => self.fault(entry.subject, EntryFault::Channel, out),
            EntryKind::FeedOpened => self.fault(entry.subject, EntryFault::Subject, out),
            EntryKind::FeedClosed | EntryKind::Response | EntryKind::Resync => {
                self.fault(entry.subject, EntryFault::UnknownFeed, out);
            }
            EntryKind::Opened | EntryKind::Closed | EntryKind::Lost => {}
        }
    }

    fn feeds(&self) -> &[Feed] {
        &[]
    }

    fn save(&self) -> Vec<u8> {
        let saved = Saved { version: SAVED_VERSION, no_live: true, counters: self.counters };
        serde_json::to_vec(&saved).unwrap_or_default()
    }

    fn feed_status(&self, _: FeedIndex) -> FeedStatus {
        FeedStatus::default()
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn outstanding(&self) -> Vec<Want> {
        Vec::new()
    }
}
