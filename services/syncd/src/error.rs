//! Why a copy could not be brought up to date.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// An error of `syncd`.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// rclone isn't there, or can't be run.
    #[error(
        "cannot run {}; install rclone (Debian: apt install rclone) or use provider: s3, which needs none",
        program.display()
    )]
    NoRclone {
        /// What was to be run.
        program: PathBuf,
        /// Why it can't.
        #[source]
        source: io::Error,
    },
    /// rclone is too old for what we ask of it.
    #[error("rclone {found} is too old; {needed} or later is needed")]
    OldRclone {
        /// What it calls itself.
        found: String,
        /// What it must be.
        needed: &'static str,
    },
    /// rclone answered something else than it does.
    #[error("rclone does not answer to `rclone {asked}` as it should: {said}")]
    StrangeRclone {
        /// The command.
        asked: &'static str,
        /// The first line of its answer, secrets removed.
        said: String,
    },
    /// rclone failed.
    #[error("rclone ended with {exit}: {said}")]
    Rclone {
        /// Its exit code or signal.
        exit: String,
        /// The first of its errors, secrets removed.
        said: String,
    },
    /// rclone says that it has done its work, and by its own count it hasn't.
    #[error("rclone ended well and has accounted for {accounted} of {files} files")]
    Unaccounted {
        /// How many it has copied or found there.
        accounted: u64,
        /// How many there were.
        files: u64,
    },
    /// Nothing moved for too long.
    #[error("no progress for {} s: {what} was stopped", after.as_secs())]
    Stalled {
        /// What.
        what: &'static str,
        /// How long it was waited.
        after: Duration,
    },
    /// One of our own files or directories.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// The verb.
        doing: &'static str,
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Parts of the store could not be read.
    #[error("{count} of the store's files or directories could not be read; the first: {first}")]
    Unreadable {
        /// How many.
        count: usize,
        /// The first, with the reason.
        first: String,
    },
    /// The remote is a directory in the store.
    #[error("{remote} lies in the store itself ({}): a copy must be outside of what is copied", data_path.display())]
    Within {
        /// Its label.
        remote: String,
        /// The store.
        data_path: PathBuf,
    },
    /// The remote is another store's, by its id.
    #[error(
        "another store is copied there already (its id begins with {theirs}, {}), and nothing was copied; copy to another place, or, to \
         let files of the same names be replaced there: dccd sync --now --replace --remote {remote}",
        own.as_ref().map_or_else(|| "this one has none yet".to_owned(), |own| format!("that of this one with {own}"))
    )]
    OfAnother {
        /// Its label.
        remote: String,
        /// The store's that is copied there.
        theirs: String,
        /// This store's, if it has one.
        own: Option<String>,
    },
    /// The remote has other files of the same names.
    #[error(
        "there are other files of the same names, as of another store ({other} of {of} differ; the first: {first}), and nothing was \
         copied; copy to another place, or, to let them be replaced there: dccd sync --now --replace --remote {remote}"
    )]
    Differing {
        /// Its label.
        remote: String,
        /// How many are others.
        other: u64,
        /// How many have the name of a file of this store.
        of: u64,
        /// The first that is another.
        first: String,
    },
    /// Another process copies to the same remote.
    #[error("another process is copying to {remote} already")]
    Busy {
        /// Its label.
        remote: String,
    },
    /// The client for an S3 store can't be made.
    #[error("cannot set up the connection to {remote}: {reason}")]
    Setup {
        /// Its label.
        remote: String,
        /// Why, secrets removed.
        reason: String,
    },
    /// The S3 store refused, or can't be reached.
    #[error("cannot {doing} {key}: {reason}")]
    Store {
        /// The verb.
        doing: &'static str,
        /// The object's name, or the bucket's.
        key: String,
        /// Why, secrets removed.
        reason: String,
    },
    /// What the S3 store has is not what it was sent.
    #[error("the store has {has} bytes of {key}, which has {size}")]
    Torn {
        /// The object's name.
        key: String,
        /// What it has.
        has: u64,
        /// What it should have.
        size: u64,
    },
    /// The process is to stop.
    #[error("stopped before it was done")]
    Stopped,
    /// A task of ours died.
    #[error("a task ended before its time")]
    Task,
    /// The service can't be served.
    #[error("cannot serve")]
    Serve(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl SyncError {
    /// Whether it may be about single files, while others can be copied.
    pub(crate) fn is_partial(&self) -> bool {
        matches!(self, Self::Rclone { .. } | Self::Store { .. } | Self::Torn { .. } | Self::File { doing: "read", .. })
    }
}
