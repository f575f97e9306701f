//! What can go wrong in a datad, each with its facts.

use std::path::PathBuf;

/// An error of a datad.
#[derive(Debug, thiserror::Error)]
pub enum DatadError {
    /// No adapter of that name.
    #[error("there is no adapter for the exchange \"{exchange}\"; known are: {known}")]
    UnknownExchange {
        /// What was asked for.
        exchange: String,
        /// All there are.
        known: String,
    },
    /// A ring could not be opened.
    #[error("cannot open the ring {ring}")]
    Ring {
        /// Its name under `/dev/shm`.
        ring: String,
        /// Why.
        #[source]
        source: dccd_ring::RingError,
    },
    /// The journal could not be opened.
    #[error("cannot open the journal in {}", dir.display())]
    Journal {
        /// Its directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: dccd_store::journal::JournalError,
    },
    /// The store could not be opened or written.
    #[error("cannot use the store in {}", dir.display())]
    Store {
        /// Its directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: dccd_store::StoreError,
    },
    /// A checkpoint that is whole but not one of ours.
    #[error("the recorder's checkpoint of {exchange} is not understood; was it written by another version?")]
    Checkpoint {
        /// Whose.
        exchange: String,
    },
    /// A successor of the process that runs did not come so far as to take over.
    #[error("not taking over: this process {reason}")]
    Succession {
        /// Why, going on from "this process".
        reason: String,
    },
    /// A saved session could not be read.
    #[error("cannot go on from the saved session state of {exchange}")]
    Session {
        /// Whose.
        exchange: String,
        /// Why.
        #[source]
        source: dccd_exchange::ExchangeError,
    },
    /// Reading or writing one of our own files failed.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// The verb.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A thread could not be started, or ended before its work was done.
    #[error("the {name} thread is gone")]
    Thread {
        /// Which.
        name: &'static str,
    },
    /// The journal could not be brought into the store at the start.
    #[error("cannot write to the store in {} what the journal still holds: {reason}", dir.display())]
    Recovery {
        /// The store.
        dir: PathBuf,
        /// Why, with its causes.
        reason: String,
    },
    /// A thread that the service can't do without stands still.
    #[error("the {name} thread has made no progress in {looks} looks, a second apart")]
    Hung {
        /// Which.
        name: &'static str,
        /// For how many looks.
        looks: u32,
    },
    /// The socket could not be served, or the root not be reached.
    #[error("cannot serve")]
    Serve(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// An error with all its causes, outermost first.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
