//! What alertd knows, and where it stands: `<data_path>/.dccd/alerts/state.json` (mode 0600, in a directory of mode 0700), written
//! to a temporary file and renamed. It names webhooks by their hosts and by hashes of their addresses, never by these.

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use dccd_rpc::alertd::AlertState;
use dccd_rpc::condition::Severity;
use serde::{Deserialize, Serialize};

use crate::message::{HeldBack, Message};

/// The version of the file that this build writes and reads.
const VERSION: u32 = 1;

/// Everything that outlives a process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Saved {
    version: u32,
    /// Begins the ids of messages, so that those of two stores differ.
    pub(crate) store: String,
    /// The last number that was given to an alert or a message.
    pub(crate) number: u64,
    /// What is wrong.
    pub(crate) alerts: Vec<Alert>,
    /// What was, the latest first.
    pub(crate) recent: VecDeque<Alert>,
    /// What waits for each webhook.
    pub(crate) outboxes: Vec<Outbox>,
}

/// One streak of something being wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Alert {
    pub(crate) id: String,
    pub(crate) state: AlertState,
    pub(crate) service: String,
    pub(crate) kind: String,
    pub(crate) subject: String,
    /// The gravest so far.
    pub(crate) severity: Severity,
    pub(crate) message: String,
    /// When the streak began, ns.
    pub(crate) since: i64,
    /// Since when it holds without a pause, ns.
    pub(crate) present_since: i64,
    /// Since when it doesn't hold, ns; 0: it does, or nobody knows.
    pub(crate) absent_since: i64,
    /// Since when the root doesn't know the service any more, ns; 0: it does.
    pub(crate) unknown_since: i64,
    /// How often it came back after a pause.
    pub(crate) returns: u32,
    /// Failures that the service counted.
    pub(crate) count: u64,
    pub(crate) recovered: i64,
    /// The webhooks that were told.
    pub(crate) told_to: Vec<String>,
    /// When they were told last, ns.
    pub(crate) told_at: i64,
    /// It is to be told again: it became graver, or its silence is over.
    pub(crate) tell_again: bool,
    /// 0: not acknowledged; `i64::MAX`: until it recovers.
    pub(crate) acknowledged_until: i64,
}

/// What waits for one webhook, and how it is with it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outbox {
    /// The hash of its address.
    pub(crate) key: String,
    /// In order.
    pub(crate) queue: VecDeque<Message>,
    /// What the hourly limit kept from it.
    pub(crate) held_back: HeldBack,
    /// When the deliveries of the last hour were, ns.
    pub(crate) sent_at: VecDeque<i64>,
    /// Failed attempts in a row.
    pub(crate) failures: u32,
    /// How many of them were refusals of the first message.
    pub(crate) refusals: u32,
    /// Not before this time, ns.
    pub(crate) next_attempt: i64,
    pub(crate) failing_since: i64,
    pub(crate) last_error: Option<String>,
    pub(crate) last_success: i64,
    pub(crate) sent: u64,
    pub(crate) lost: u64,
}

impl Outbox {
    /// Whether there is something to send.
    pub(crate) fn has_work(&self) -> bool {
        !self.queue.is_empty() || !self.held_back.is_empty()
    }
}

impl Saved {
    /// Of a store in which nothing was ever wrong.
    pub(crate) fn new() -> Self {
        let store = format!("{:08x}", fastrand::u32(..));
        Self { version: VERSION, store, number: 0, alerts: Vec::new(), recent: VecDeque::new(), outboxes: Vec::new() }
    }

    /// Whether somebody has still to be told something.
    pub(crate) fn has_work(&self) -> bool {
        let open = self.alerts.iter().any(|alert| alert.state == AlertState::Open && !alert.told_to.is_empty());
        open || self.outboxes.iter().any(Outbox::has_work)
    }
}

/// Where the state of a store's alerts lies.
#[must_use]
pub fn directory(data_path: &Path) -> PathBuf {
    data_path.join(".dccd").join("alerts")
}

fn file(data_path: &Path) -> PathBuf {
    directory(data_path).join("state.json")
}

/// Whether somebody has still to be told something of this store: messages that were not delivered, recoveries that are to come.
#[must_use]
pub fn has_work(data_path: &Path) -> bool {
    load(data_path).ok().flatten().is_some_and(|saved| saved.has_work())
}

/// What was saved; `None` where nothing ever was.
///
/// # Errors
/// When it can't be read, or is not what this build writes.
pub(crate) fn load(data_path: &Path) -> io::Result<Option<Saved>> {
    match fs::read(file(data_path)) {
        Ok(bytes) => {
            let saved: Saved = serde_json::from_slice(&bytes)?;
            if saved.version != VERSION {
                let what = format!("version {} of the file, where {VERSION} was expected", saved.version);
                return Err(io::Error::other(what));
            }
            Ok(Some(saved))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same for the one who goes on with it: what can't be read is set aside, and alerts begin anew.
pub(crate) fn open(data_path: &Path) -> Saved {
    match load(data_path) {
        Ok(saved) => saved.unwrap_or_else(Saved::new),
        Err(error) => {
            let path = file(data_path);
            let aside = path.with_extension("json.damaged");
            tracing::error!(path = %path.display(), aside = %aside.display(), %error, "the state of the alerts can't be read and is set aside; alerts begin anew");
            // One that stays is written over.
            let _ = fs::rename(&path, aside);
            Saved::new()
        }
    }
}

/// Writes it; durable when it returns.
pub(crate) fn save(data_path: &Path, saved: &[u8]) -> io::Result<()> {
    let path = file(data_path);
    let temporary = path.with_extension("json.tmp");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut out = options.open(&temporary)?;
    out.write_all(saved)?;
    out.sync_data()?;
    drop(out);
    fs::rename(&temporary, &path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn the_state_is_this_users_alone_and_a_damaged_one_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let data_path = dir.path();
        fs::create_dir_all(data_path.join(".dccd")).unwrap();
        dccd_rpc::private_directory(&directory(data_path)).unwrap();
        assert_eq!(load(data_path).unwrap(), None);
        let saved = Saved { number: 7, ..Saved::new() };
        save(data_path, &serde_json::to_vec(&saved).unwrap()).unwrap();
        assert_eq!(open(data_path), saved);
        assert!(!has_work(data_path));
        assert_eq!(fs::metadata(file(data_path)).unwrap().mode() & 0o777, 0o600);
        for damage in ["{", "{\"version\":1}", "null"] {
            fs::write(file(data_path), damage).unwrap();
            assert!(load(data_path).is_err());
            let anew = open(data_path);
            assert!(anew.number == 0 && anew.store != saved.store);
            assert_eq!(fs::read_to_string(directory(data_path).join("state.json.damaged")).unwrap(), damage);
        }
        let newer = serde_json::to_vec(&Saved { version: 2, ..saved }).unwrap();
        save(data_path, &newer).unwrap();
        assert!(load(data_path).unwrap_err().to_string().contains("version 2"));
    }
}
