//! The raw journal: everything that reached one exchange's daemon, in the order in which it did. The store is derived from it.
//!
//! ```text
//! <data_path>/.dccd/journal/<exchange>/
//!   lock                              one writer: flock, its pid inside
//!   00000000000000000000.journal      segments, named by the position of their first byte
//!   00000000000067108864.journal
//!
//! segment  "DCCDJRNL" · u32 version = 1 · u32 crc32 of the next 16 bytes · u64 position · i64 created (ts_recv of its first entry)
//! entry    u32 length · u32 crc32 of all that follows · u8 kind · u32 conn · i64 ts_recv · u16 subject length · subject · payload
//! ```
//!
//! All numbers little endian; `length` counts what follows the checksum. A [`Position`] is a byte's place in the endless
//! journal: a segment's name plus an offset in it, headers included. Positions never go back and are never used twice.
//!
//! What survives: an entry is acknowledged when [`JournalWriter::commit`] returns; from then on it survives the death of any
//! process, and a power cut once [`JournalSync`] synced it (each second). A torn tail is cut when the journal is opened; damage
//! in the middle is never cut: readers report it, with file and offset, and can go on at the next segment.

mod frame;
mod reader;
mod retain;
mod segment;
mod sync;
mod writer;

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use reader::JournalReader;
pub use retain::{KEEP_BYTES, retain};
pub use sync::JournalSync;
pub use writer::{JournalOptions, JournalWriter, Recovered};

/// Byte offset in the endless journal; zero is its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub u64);

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The largest entry, subject and payload together.
pub const ENTRY_BYTES_MAX: usize = 64 << 20;

/// What is wrong with an entry or a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The checksum doesn't match.
    #[error("checksum mismatch")]
    Checksum,
    /// A length that no entry has.
    #[error("impossible length {0}")]
    Length(u32),
    /// An entry kind that this version doesn't know.
    #[error("unknown entry kind {0}")]
    Kind(u8),
    /// The subject is no text, or longer than the entry.
    #[error("unreadable subject")]
    Subject,
    /// The segment ends within an entry, though another segment follows.
    #[error("cut off")]
    CutOff,
    /// The segment that should follow is not there, but a later one is.
    #[error("the following segment is missing")]
    Missing,
    /// The segment's header is not one.
    #[error("no journal header")]
    Header,
    /// Written by a newer version.
    #[error("version {0} of the format")]
    Version(u32),
}

/// What can go wrong with a journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk is full. Nothing that was acknowledged is touched; the writer works again once there is room.
    #[error("no space left to journal to {}: {lost} entries were not written; free some space, it goes on by itself", path.display())]
    NoSpace {
        /// The segment.
        path: PathBuf,
        /// Entries of the batch that are not in the journal.
        lost: u64,
        /// What the system said.
        source: io::Error,
    },
    /// Reading or writing failed otherwise. The writer may be used again, as after [`Self::NoSpace`].
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What we were doing.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Entries of the batch that are not in the journal; 0 when none was being written.
        lost: u64,
        /// What the system said.
        source: io::Error,
    },
    /// Another process writes this journal.
    #[error("the journal {} is being written by {holder}: stop it first", path.display())]
    Locked {
        /// The journal's directory.
        path: PathBuf,
        /// Who writes it.
        holder: crate::Holder,
    },
    /// The disk failed to keep what was written. What is not durable can't be told any more: close the journal, open it again.
    #[error("syncing the journal {} failed: entries of the last seconds may not survive a power cut", path.display())]
    SyncFailed {
        /// The segment or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The entry is larger than [`ENTRY_BYTES_MAX`], or its subject longer than 65,535 bytes. It was not taken.
    #[error("an entry of {bytes} bytes does not fit the journal")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Damage in the middle of the journal: what follows in this segment can't be trusted. [`JournalReader::skip_damaged`] goes
    /// on with the next segment.
    #[error("the journal is damaged: {} at byte {offset}: {damage}", path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        damage: Damage,
    },
    /// The position's segment was deleted after its entries were recorded.
    #[error("the journal in {} begins at {first}; {asked} is gone", path.display())]
    Retired {
        /// The journal's directory.
        path: PathBuf,
        /// What was asked for.
        asked: Position,
        /// Where it begins now.
        first: Position,
    },
    /// The position lies past the journal's end.
    #[error("the journal in {} ends at {end}, before {asked}", path.display())]
    Beyond {
        /// The journal's directory.
        path: PathBuf,
        /// What was asked for.
        asked: Position,
        /// Where it ends.
        end: Position,
    },
}

impl JournalError {
    /// Entries that were handed in and are not in the journal, because of this error.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        match self {
            Self::NoSpace { lost, .. } | Self::Io { lost, .. } => *lost,
            Self::TooLarge { .. } => 1,
            _ => 0,
        }
    }

    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { doing, path: path.into(), lost: 0, source }
    }
}
