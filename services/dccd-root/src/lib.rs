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
mod cgroup;
mod conditions;
mod confine;
mod context;
mod disk;
mod error;
mod events;
mod exits;
mod files;
mod health;
mod http;
mod levels;
mod listeners;
mod notify;
mod options;
mod process;
mod reload;
mod remote;
mod replace;
mod rpc;
mod service;
mod state_file;
mod stop;
mod successor;
mod supervisor;
mod takedown;
mod token;
mod watching;

pub use adopt::{Orphan, orphans};
pub use error::RootError;
pub use files::FilesError;
pub use notify::{NOTIFY_VARIABLES, Notify};
pub use options::{
    Alerting, BootGuard, BoxError, HttpOptions, LATER, Limits, Options, Policy, Refuse, Reload, Reloaded, Resolve,
    RestartOptions, ServiceSpec, Supervision, Sweep,
};
pub use remote::{RpcLimits, RpcListenError, RpcOptions, RpcTls, RpcToken, check_rpc};
pub use service::{Ended, Root};
pub use state_file::{SavedState, load as load_state, path as state_path};
pub use token::fingerprint;
