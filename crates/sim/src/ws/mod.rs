//! The WebSocket side: handshake, frames, connections, the client's commands.

pub(crate) mod commands;
pub(crate) mod conn;
pub(crate) mod frame;
pub(crate) mod handshake;
pub(crate) mod queue;
