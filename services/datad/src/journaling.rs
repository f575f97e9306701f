//! The journal as the hot thread uses it: it may be out of order for a while, and live data goes on meanwhile.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dccd_model::{Entry, EntryKind, UnixNanos};
use dccd_store::journal::{JournalError, JournalWriter};
use tokio::time::Instant;
use tracing::{error, info};

use crate::clock::Monotonic;
use crate::error::chain;
use crate::shared::{Part, Shared};

/// A journal that failed is tried again this often.
const JOURNAL_RETRY: Duration = Duration::from_secs(1);

/// The journal as the hot thread sees it: it may be out of order for a while.
pub(crate) struct Journaling {
    pub(crate) writer: JournalWriter,
    pub(crate) clock: Monotonic,
    /// Why entries are not being recorded, since when, and when to try again.
    broken: Option<(String, UnixNanos, Instant)>,
    /// Trying again is of no use in this process.
    pub(crate) unusable: bool,
    shared: Arc<Shared>,
}

impl Journaling {
    /// A journal in order.
    pub(crate) fn new(writer: JournalWriter, shared: Arc<Shared>) -> Self {
        let clock = Monotonic::going_on(writer.found_until());
        Self { writer, clock, broken: None, unusable: false, shared }
    }

    /// Puts an entry into the batch.
    pub(crate) fn append(&mut self, entry: &Entry<'_>) {
        if self.broken.is_none()
            && let Err(error) = self.writer.append(entry)
        {
            self.fail(&error, entry.ts_recv);
        }
    }

    /// Hands everything appended to the system: from here on it survives the end of this process.
    pub(crate) fn commit(&mut self) {
        if self.broken.is_none() {
            match self.writer.commit() {
                Ok(position) => self.shared.journal_end.store(position.0, Ordering::Relaxed),
                Err(error) => {
                    let now = self.clock.now();
                    self.fail(&error, now);
                }
            }
        }
    }

    /// Why entries are not being recorded, if they aren't.
    pub(crate) fn broken_by(&self) -> Option<&str> {
        self.broken.as_ref().map(|(reason, ..)| reason.as_str())
    }

    fn fail(&mut self, error: &JournalError, since: UnixNanos) {
        let text = chain(error);
        // What is durable can't be told any more. A new process opens the journal anew and finds out.
        self.unusable |= matches!(error, JournalError::SyncFailed { .. });
        error!(error = text, "recording stopped; live data goes on, and recording resumes when the journal can be written");
        self.shared.not_recording.store(true, Ordering::Relaxed);
        self.shared.set_trouble(Part::Journal, Some(format!("not recording: {text}")));
        self.broken = Some((text, since, Instant::now() + JOURNAL_RETRY));
    }

    /// Tries a broken journal again, if it is time to. What could not be journaled meanwhile may have been a connection or a
    /// feed, so the world as it is now comes first, and then the entry that declares the loss. `Some`: they are journaled.
    pub(crate) fn retry(
        &mut self,
        now: Instant,
        world: &[(EntryKind, u32, String, Vec<u8>)],
    ) -> Option<(UnixNanos, String)> {
        let (reason, since, _) = self.broken.clone()?;
        let ts_recv = self.clock.now();
        let lost = Entry { kind: EntryKind::Lost, conn: 0, ts_recv, subject: &reason, payload: &since.0.to_le_bytes() };
        let world =
            world.iter().map(|(kind, conn, subject, payload)| Entry { kind: *kind, conn: *conn, ts_recv, subject, payload });
        let appended = world.chain([lost]).try_for_each(|entry| self.writer.append(&entry));
        match appended.and_then(|()| self.writer.commit()) {
            Ok(position) => {
                self.broken = None;
                self.shared.journal_end.store(position.0, Ordering::Relaxed);
                self.shared.not_recording.store(false, Ordering::Relaxed);
                self.shared.set_trouble(Part::Journal, None);
                info!(since = %since, "recording resumed; what was lost is declared");
                Some((ts_recv, reason))
            }
            Err(error) => {
                self.unusable |= matches!(error, JournalError::SyncFailed { .. });
                self.broken = Some((reason, since, now + JOURNAL_RETRY));
                None
            }
        }
    }

    /// Whether the journal is broken and it is time to try it again.
    pub(crate) fn retry_is_due(&self, now: Instant) -> bool {
        self.broken.as_ref().is_some_and(|(_, _, at)| now >= *at)
    }
}
