//! `syncd`: copies the store to its remotes, with rclone or by itself to S3-compatible stores, and remembers what each of them has.
//!
//! Only files that are complete and have changed go; nothing is ever deleted at a remote. What a remote has stands in a record
//! under `<data_path>/.dccd/sync/`, which is right whenever a process dies. Reads the store and never writes to it.

mod board;
mod claim;
mod engine;
mod error;
mod leash;
mod rclone;
mod record;
mod redact;
mod rpc;
mod run;
mod s3;
mod service;
mod stage;
mod target;
mod tree;

pub use board::Counters;
pub use engine::{Engine, SyncOptions};
pub use error::SyncError;
pub use leash::{LEASH, leash};
pub use rclone::Rclone;
pub use service::run;
pub use target::{Target, UnknownRemote, objections, targets, unknown_remotes};
