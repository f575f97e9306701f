//! What tests share: waiting for a condition, skipping aloud, recorded frames, files below a directory, a webhook's other end, the bytes of the RPC, the executable
//! under test.
//!
//! For tests alone: functions here panic where a test should fail. Nothing in the product depends on this crate.

mod binary;
mod contents;
mod fixtures;
mod hook;
pub mod raw;
mod skip;
mod wait;

pub use binary::dccd_binary;
pub use contents::contents;
pub use fixtures::{FixtureError, FixtureFrame, FixtureFrames, fixtures, read_fixture_frames};
pub use hook::Hook;
pub use skip::{SKIP_LOG, skip};
pub use wait::{POLL_INTERVAL, wait_for};
