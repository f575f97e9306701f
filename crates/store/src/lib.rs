//! The store's live part: the raw journal, what is derived from it, and proofs that both are whole.
//!
//! - [`journal`]: entries as they came, acknowledged by one write, torn tails cut, followed while it grows.
//! - [`Recorder`](recorder::Recorder): rows of trades, quotes and books into day files of Parquet, exactly once whatever dies when.
//! - [`inventory`], [`verify`](mod@verify): what is stored, and whether it is what it should be.
//! - [`StoreLock`]: one writer a store.
//!
//! Knows no exchange, no network, no ring and no clock: every time in here comes with a record or from the caller. Everything
//! blocks; call it from a thread of its own.

pub mod journal;
pub mod lock;

pub use journal::Position;
pub use lock::{LockError, StoreLock};
