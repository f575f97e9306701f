//! Handing a service over to another process without a moment between (docs/decisions/0015).
//!
//! The *successor* has connections of its own and sends all that comes on them to the process that runs, which journals it and has its session
//! merge it, exactly as where a connection is replaced by another one. When all feeds come that way, the old process lets its own connections
//! go, journals that, and ends; the successor goes on with the journal, and with what it has received and the journal doesn't have. So
//! the store, the rings and the sessions see nothing but connections that are replaced.

mod books;
mod peer;
mod standby;

pub(crate) use books::{decode_book, encode_book};
pub(crate) use peer::{Kind, Message, Peer};
pub(crate) use standby::{Alone, Order, Stage, Standby, StandbyContext, Succession, WantedFeed};
