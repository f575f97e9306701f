//! The WebSocket side that all exchanges share: handshake, frames, queues, connections.

pub(crate) mod conn;
pub(crate) mod frame;
pub(crate) mod handshake;
pub(crate) mod queue;
