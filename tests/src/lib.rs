//! Whole trees, end to end: the real executable against a simulated exchange, what it stored held against what was sent.
//!
//! For tests alone: everything here panics where a test should fail. A test that dies takes its tree along (the root ends with
//! its input), and nothing waits for a hopeful while: conditions are waited for, with a deadline.

mod every;
mod exchange;
pub mod past;
mod python;
pub mod remotes;
mod setup;
mod tree;
pub mod web;

pub use every::{EXCHANGES, config_of};
pub use exchange::{Exchange, free_port};
pub use python::python;
pub use setup::Setup;
pub use tree::{COLLECTOR, Place, Ran, Tree};

use std::time::Duration;

/// Patience with what takes milliseconds on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
