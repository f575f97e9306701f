//! `dccd-root`: service manager and registry of one instance. Spawns the services, registers them, watches over their
//! heartbeats, restarts what fails, and stops everything in order.
//!
//! It carries no market data and knows no exchange: what to run comes as [`ServiceSpec`]s from the executable. Services
//! outlive neither it nor its `stop`: when it dies, they notice, flush and exit by themselves. What survives a crash is
//! `<data_path>/.dccd/state/services.json` (the last known state, for `dccd status` without a daemon) and the logs.

mod boot;
mod budget;
mod capture;
mod cell;
mod context;
mod error;
mod events;
mod http;
mod options;
mod process;
mod rpc;
mod service;
mod state_file;
mod stop;
mod supervisor;

pub use capture::rotate_log;
pub use error::RootError;
pub use options::{
    BootGuard, BoxError, HttpOptions, Limits, Options, Policy, Resolve, RestartOptions, ServiceSpec, Supervision, Sweep,
};
pub use service::Root;
pub use state_file::{SavedState, load as load_state, path as state_path};
