//! From the wire's bytes to the model's records. Pure: no I/O, no clock; whatever it is given, it returns.

mod live;
mod rest;

pub(super) use live::{message, snapshot, stream_of};
pub(super) use rest::{millis, reply, trades};
