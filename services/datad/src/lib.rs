//! `datad.<exchange>`: the service of one exchange. Collects its live data, hands it on through shared memory, records it.
//!
//! Threads: the *hot* thread (sockets, journal, session, rings), the *recorder* thread (journal → store), the *history* thread
//! (candles by the clock, backfills), the journal's sync thread, and the calling runtime (RPC, REST, heartbeats). They share counters and bounded queues and nothing else.

mod agreement;
mod bus;
mod candles;
mod clock;
mod conditions;
mod derive;
mod doubts;
mod error;
mod fetch;
mod handover;
mod history;
mod hot;
mod journaling;
mod latency;
mod links;
mod listed;
mod lister;
mod output;
mod recorder;
mod resubscribe;
mod rpc;
mod score;
#[cfg(test)]
mod served;
mod service;
mod shared;
mod silence;
mod tickets;

pub use conditions::Patience;
pub use derive::{DeriveOptions, derive};
pub use error::{DatadError, chain};
pub use history::{backfill_info, series_info};
pub use service::{DatadOptions, Reread, run};
