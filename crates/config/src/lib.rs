//! The configuration: one YAML file, checked in full, explained where it is wrong, handed on typed.
//!
//! [`Config::load`] finds the file, reads it into a tree that knows where everything stands, walks that tree with the
//! [`schema`], and returns either a [`Config`] or **all** errors, each with line, column, key, what was expected, what was
//! found and the nearest valid name. It writes nothing, opens no socket, and knows no exchange beyond its name and the
//! channels it offers ([`catalog`]).
//!
//! Where YAML 1.1 (which the Python dccd reads with) and 1.2 differ, the file means what it meant there: `1_000`, `0x10`
//! and `~` are read alike, octal and base-60 numbers are read the old way and warned about, `no` and `on` are text where
//! text is wanted.

mod alerts;
pub mod catalog;
mod check;
mod edit;
mod error;
mod expand;
mod load;
mod moment;
mod remote;
mod rules;
mod scalar;
pub mod schema;
mod secret;
mod tree;
mod types;

pub use alerts::{Alerts, MinSeverity, Webhook, WebhookFormat};
pub use check::nearest;
pub use edit::{Change, EditError, EditFileError, Edited, HistoEdit, add_histo, edit_file, remove_histo};
pub use error::{ConfigError, ConfigErrors, Place, Problem, Warning};
pub use load::{Loaded, Lookup, Text};
pub use moment::Moment;
pub use remote::{RcloneRemote, is_within};
pub use secret::Secret;
pub use types::{
    Config, DEPTH_DEFAULT, Daemon, Endpoints, ExchangeConfig, Format, HistoJob, HistorySource, Http, Limits, LogFormat,
    LogLevel, LogRotate, Provider, Remote, Restart, Rpc, RpcAuth, RpcLimits, RpcTls, Settings, Storage, StreamJob, Timezone,
    TradeStream,
};
