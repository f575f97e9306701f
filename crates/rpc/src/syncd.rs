//! What `syncd` offers to clients: how far the store's copies are, and to bring them up to date now. Wire types are positional (bincode):
//! append fields and methods at the end and raise [`SYNCD_PROTOCOL`].

use serde::{Deserialize, Serialize};

use crate::{Hello, HelloReply, RpcError};

/// Version of this contract.
pub const SYNCD_PROTOCOL: u32 = 1;

/// The name of the service.
pub const SYNCD_NAME: &str = "syncd";

/// The service that copies the store to its remotes.
#[tarpc::service]
pub trait Syncd {
    /// First call of a connection; refuses a client that speaks another version.
    async fn hello(hello: Hello) -> Result<HelloReply, RpcError>;
    /// Begins to copy to these remotes (by their labels; none: to all) where that isn't under way already; answers with the runs to
    /// wait for at once.
    async fn begin(remotes: Vec<String>) -> Result<Vec<SyncRun>, RpcError>;
    /// Every remote, as it is now.
    async fn status() -> Result<Vec<RemoteStatus>, RpcError>;
}

/// A run that was begun or joined: it is over when [`RemoteStatus::runs_ended`] has reached its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncRun {
    /// Label of the remote.
    pub remote: String,
    /// Number of the run in this process.
    pub run: u64,
    /// Whether it was under way already.
    pub joined: bool,
}

/// How far one remote is. Times are ns since the epoch, 0: never.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RemoteStatus {
    /// What it is called: `mynas:crypto/`, `s3://bucket/prefix`.
    pub remote: String,
    /// `rclone`, `s3`.
    pub provider: String,
    /// `never`, `idle`, `running`, `failed`, `interrupted` (by the end of its process).
    pub state: String,
    /// When the present or last run began.
    pub began: i64,
    /// When the last run ended.
    pub ended: i64,
    /// When a run last ended well.
    pub last_success: i64,
    /// When the next is due; 0: not by the clock.
    pub next_run: i64,
    /// Runs begun in this process.
    pub runs_begun: u64,
    /// Runs that have ended in this process.
    pub runs_ended: u64,
    /// Files that the present or last run has to copy; grows when more have changed meanwhile.
    pub files_total: u64,
    /// Bytes of these.
    pub bytes_total: u64,
    /// Of these files, how many are copied.
    pub files_done: u64,
    /// Bytes copied, those of files that are under way included.
    pub bytes_done: u64,
    /// Bytes a second of the present or last run.
    pub bytes_per_second: f64,
    /// Seconds that the present run will still take; `None` while there is no pace.
    pub eta_s: Option<f64>,
    /// Some of the files that are under way.
    pub copying: Vec<String>,
    /// Files that were copied as they are now in the store.
    pub copied_files: u64,
    /// Bytes of these.
    pub copied_bytes: u64,
    /// Files that are new or have changed and were not copied since.
    pub behind_files: u64,
    /// Bytes of these.
    pub behind_bytes: u64,
    /// When the first of these changed.
    pub behind_since: i64,
    /// Runs that have failed since the last one that didn't.
    pub failures: u32,
    /// Why the last of them did.
    pub last_error: Option<String>,
}
