//! `alertd`: turns what is wrong in a tree into messages to webhooks: once for each streak, with its recovery, within a limit an hour.
//!
//! It follows the *state* of the tree, which the root keeps, not events: whatever is restarted or lost meanwhile, the next look sees
//! what is so. What it decided stands in `<data_path>/.dccd/alerts/state.json` before anything is sent, so that `kill -9` neither loses
//! a message nor begins a streak anew; a message whose delivery was not noted goes out again under the same id.

mod engine;
mod error;
mod message;
mod options;
mod rpc;
mod saved;
mod service;

pub use error::AlertdError;
pub use options::{AlertdOptions, Format, Webhook};
pub use saved::{directory, has_work};
pub use service::{Tried, list_saved, run, send_test};
