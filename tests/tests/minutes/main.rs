//! What takes whole minutes of the clock: in one executable, so that one waits while the other does.
#![allow(clippy::print_stdout, reason = "tests print their numbers")]

mod candles;
mod listed;
mod silence;
