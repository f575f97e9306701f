//! What every service of dccd shares: arguments, log, signals, registration with the root, heartbeat, orderly shutdown.
//!
//! A service is `run(args, |ctx| async { … })`. It binds its socket ([`ServiceContext::endpoint_path`]), then calls
//! [`ServiceContext::register`]: registered means ready. When [`ServiceContext::shutdown`] resolves (a signal, a
//! request, no root for too long), it stops accepting, finishes what it has begun, flushes and returns.
//!
//! The root's death stops nothing: the service goes on, logs into its file by itself, and registers with the next root, which
//! adopts it. Without one for [`ServiceArgs::orphan_grace`], or refused by it, it shuts down.
//!
//! What is wrong and worth telling somebody is raised in [`Progress::conditions`] and cleared when it is over; heartbeats carry it to
//! the root, and `alertd` makes alerts of it: `ctx.progress().conditions().raise("sync_failed", remote, Severity::Warning, why)`.
//!
//! Two processes of the same name never run at once in an instance: each holds `<runtime>/<name>.lock`. Nothing here
//! survives a crash, and nothing needs to.

mod args;
mod conditions;
mod context;
pub mod dump;
mod error;
mod line;
mod link;
mod lock;
pub mod log;
pub mod process;
mod progress;
mod rotating;
mod run;
mod shutdown;
mod tasks;

pub use args::{ArgsError, ORPHAN_GRACE_DEFAULT, ServiceArgs};
pub use conditions::{CONDITIONS_MAX, Conditions, DOUBTS_MAX};
pub use context::ServiceContext;
pub use error::{ServiceError, chain};
pub use lock::{PidLock, PidLockError};
pub use progress::{Counter, Progress};
pub use rotating::{RotatingFile, Rotation, numbered};
pub use run::run;
pub use shutdown::{Shutdown, ShutdownReason};
pub use tasks::{Task, TaskState, Tasks};
