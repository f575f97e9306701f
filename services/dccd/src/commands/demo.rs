//! `dccd demo`: the whole of it against a simulated exchange. It is more than a command: see [`crate::demo`].

pub use crate::demo::{Arguments, run};
