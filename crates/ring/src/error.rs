//! What can go wrong with a ring, in words for whoever has to mend it.

use std::io;

/// Why a ring could not be opened, created, listed or swept.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// No such ring.
    #[error("there is no ring {name} in /dev/shm; is its feed open and its daemon running?")]
    NotFound {
        /// The ring.
        name: String,
    },
    /// Another process writes it.
    #[error("ring {name} is being written by process {pid}; a ring has one writer")]
    WriterAlive {
        /// The ring.
        name: String,
        /// The writer.
        pid: u32,
    },
    /// The shared memory is full.
    #[error(
        "no space in /dev/shm for ring {name}, needs {needed} bytes, {available} are free; free some, enlarge /dev/shm \
         (docker: --shm-size) or configure fewer slots"
    )]
    NoSpace {
        /// The ring.
        name: String,
        /// Bytes it needs.
        needed: u64,
        /// Bytes that are free.
        available: u64,
    },
    /// The segment of this name is no ring that we can read.
    #[error("{name} in /dev/shm is not a ring of layout 1: {reason}")]
    Foreign {
        /// The segment.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The segment belongs to another user, who could change it under us.
    #[error("ring {name} belongs to user id {uid}, not to us; remove /dev/shm/{name} or choose another instance name")]
    ForeignOwner {
        /// The ring.
        name: String,
        /// Its owner.
        uid: u32,
    },
    /// What was asked for cannot be a ring.
    #[error("ring {name} can't be made: {reason}")]
    Unsuitable {
        /// The ring.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// Others kept creating and removing it.
    #[error("ring {name} kept changing hands while it was being opened; another process creates or removes it all the time")]
    Contended {
        /// The ring.
        name: String,
    },
    /// This process writes too many rings.
    #[error("this process writes {limit} rings already, which is the most it can")]
    TooManyRings {
        /// The most it can.
        limit: usize,
    },
    /// A call to the system failed.
    #[error("could not {action} {name} in /dev/shm")]
    System {
        /// What we were doing.
        action: &'static str,
        /// The ring or segment.
        name: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The shared_memory crate could not make or map the segment.
    #[error("could not {action} {name} in /dev/shm")]
    Segment {
        /// What we were doing.
        action: &'static str,
        /// The ring.
        name: String,
        /// What it said.
        #[source]
        source: shared_memory::ShmemError,
    },
}

impl RingError {
    /// For `map_err`.
    pub(crate) fn system<E: Into<io::Error>>(action: &'static str, name: &str) -> impl FnOnce(E) -> Self {
        let name = name.to_owned();
        move |source| Self::System { action, name, source: source.into() }
    }
}
