//! The history of the exchange's markets: jobs by the clock, backfills on demand, all on one thread of their own, because they
//! write to the store and parse as fast as they can.
//!
//! The thread may be slow; nothing waits for it but those who ask it something, each with a deadline.

mod jobs;
mod live;
mod manager;
mod wire;

use std::path::PathBuf;

use dccd_history::{Backfill, Scope, Source, Wanted};
use dccd_model::ExchangeName;
use dccd_rpc::datad::JobInfo;
use tokio::sync::{mpsc, oneshot};

use crate::error::DatadError;

pub(crate) use live::Landing;
pub(crate) use manager::sends_empty;
pub(crate) use wire::wanted;
pub use wire::{backfill_info, series_info};

/// Commands that wait; one more makes its sender wait.
const COMMANDS: usize = 64;

/// What the thread works with.
pub(crate) struct HistoryOptions {
    /// The exchange.
    pub(crate) exchange: ExchangeName,
    /// The store.
    pub(crate) data_path: PathBuf,
    /// The series that the configuration wants complete.
    pub(crate) jobs: Vec<Wanted>,
    /// Requests, under the exchange's one governor.
    pub(crate) source: Source,
    /// What its thread is known as.
    pub(crate) task: dccd_service::Task,
}

/// What the thread is asked for.
pub(crate) enum HistoryCommand {
    /// Begin a backfill; answers with its id.
    Begin {
        /// Which series.
        wanted: Vec<Wanted>,
        /// How much of them.
        scope: Scope,
        /// Markets at the same time.
        parallel: bool,
        /// Gets the id.
        reply: oneshot::Sender<String>,
    },
    /// The backfills that are remembered.
    Backfills {
        /// Gets them, the newest last.
        reply: oneshot::Sender<Vec<Backfill>>,
    },
    /// End a backfill; answers whether one of this id is under way.
    Cancel {
        /// Its id.
        id: String,
        /// Gets the answer.
        reply: oneshot::Sender<bool>,
    },
    /// Pause or resume jobs; answers with their names.
    Pause {
        /// The beginning of their names.
        prefix: String,
        /// Whether they are paused from now on.
        paused: bool,
        /// Gets the names.
        reply: oneshot::Sender<Vec<String>>,
    },
    /// These are the jobs from now on.
    SetJobs {
        /// The series that the configuration wants complete.
        wanted: Vec<Wanted>,
        /// Told when it is so.
        reply: oneshot::Sender<()>,
    },
    /// Begin a backfill of jobs; answers with its id, `None` where none is meant.
    Run {
        /// The beginning of their names.
        prefix: String,
        /// Gets the id.
        reply: oneshot::Sender<Option<String>>,
    },
    /// The state of the jobs.
    Jobs {
        /// Gets it.
        reply: oneshot::Sender<Vec<JobInfo>>,
    },
    /// Bring live candles of a market into the store.
    Land {
        /// Which, and who is told what became of them.
        landing: Landing,
    },
    /// End everything; what was fetched is brought into the files as far as there is time.
    Stop {
        /// Gets the last state of the jobs when that is done.
        reply: oneshot::Sender<Vec<JobInfo>>,
    },
}

/// The running thread.
pub(crate) struct HistoryThread {
    /// Commands to it.
    pub(crate) commands: mpsc::Sender<HistoryCommand>,
    thread: std::thread::JoinHandle<()>,
}

impl HistoryThread {
    /// Starts it.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(options: HistoryOptions) -> Result<Self, DatadError> {
        let (commands, queue) = mpsc::channel(COMMANDS);
        let thread = std::thread::Builder::new()
            .name("history".to_owned())
            .spawn(move || manager::run(options, queue))
            .map_err(|_| DatadError::Thread { name: "history" })?;
        Ok(Self { commands, thread })
    }

    /// Whether it ended before its time.
    pub(crate) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}
