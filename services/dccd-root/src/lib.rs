//! `dccd-root`: service manager and registry of one instance. Spawns the services, registers them, watches over their
//! heartbeats, restarts what fails, and stops everything in order.
//!
//! It carries no market data and knows no exchange: what to run comes as [`ServiceSpec`]s from the executable. Services
//! do not outlive its `stop`, but its death: they go on, and the next root of the instance adopts them, by the records that
//! this one left in the runtime directory. What survives a crash besides is `<data_path>/.dccd/state/services.json` (the last
//! known state, for `dccd status` without a daemon) and the logs.

mod adopt;
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
mod replace;
mod rpc;
mod service;
mod state_file;
mod stop;
mod successor;
mod supervisor;
mod token;

pub use adopt::{Orphan, orphans};
pub use error::RootError;
pub use options::{
    BootGuard, BoxError, HttpOptions, Limits, Options, Policy, Resolve, RestartOptions, ServiceSpec, Supervision, Sweep,
};
pub use service::{Ended, Root};
pub use state_file::{SavedState, load as load_state, path as state_path};
pub use token::fingerprint;
