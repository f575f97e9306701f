//! The shared-memory ring: one writer publishes fixed-size records, any number of processes read them, nobody waits for
//! anybody. Layout 1, to the byte in [`layout`]; how a record crosses without locks in [`protocol`].
//!
//! The ring knows nothing of trades or exchanges: a record is `N` words of 64 bits, a kind is a number.
//!
//! - **Writer** ([`Writer`]): one per ring, enforced by a lock that the kernel drops with the process, so that a crash
//!   never blocks the next writer and a recycled pid never looks like a live one. After a crash the next writer goes on
//!   in the same segment with the next sequence number, and `generation` grows; readers stay attached.
//! - **Reader** ([`Reader`]): maps the segment read-only, cannot disturb the writer, and learns exactly how many records
//!   it lost when it was lapped.
//! - **Limits**: a record is at most one slot; the writer never waits, so a reader slower than `capacity` records loses
//!   some; at most 16,384 rings per writing process.
//! - **What survives**: `kill -9` of the writer at any instruction (every record it published stays readable); not a
//!   reboot, for the segment is memory.
//!
//! ```no_run
//! use std::time::Duration;
//! use dccd_ring::{Reader, Waited};
//!
//! let mut reader = Reader::open("dccd.main.binance.BTC-USDT.trades")?.from_oldest();
//! loop {
//!     match reader.wait_next::<7>(Duration::from_secs(1)) {
//!         Waited::Record { sequence, words } => println!("{sequence}: {words:x?}"),
//!         Waited::Lapped { lost } => println!("{lost} records lost"),
//!         Waited::Idle { writer } => println!("nothing new; the writer is {writer:?}"),
//!     }
//! }
//! # Ok::<(), dccd_ring::RingError>(())
//! ```
// Memory that other processes change can only be reached through raw pointers: this is the one crate that has `unsafe`,
// so that no other needs it. It is confined to `segment` (mapping), and `lock` (one system call).
#![allow(unsafe_code)]

#[cfg(not(all(target_os = "linux", target_endian = "little", target_pointer_width = "64")))]
compile_error!("the ring is laid out for 64-bit little-endian Linux");

mod error;
mod info;
pub mod layout;
mod lock;
mod name;
pub mod protocol;
mod reader;
mod segment;
mod sweep;
mod waker;
mod writer;

pub use error::RingError;
pub use info::{FeedState, RingInfo, WriterStatus};
pub use name::{ring_name, ring_path};
pub use reader::{Next, Reader, Waited};
pub use sweep::{Swept, list, sweep};
pub use writer::{RingSpec, Writer};
