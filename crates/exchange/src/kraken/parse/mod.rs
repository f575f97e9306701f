//! Wire to model. Pure, never panics: `live` reads frames, `rest` the rows of answers.

mod live;
mod rest;

pub(super) use live::{message, stream_of};
pub(super) use rest::{CandleRow, TradeRow, reply};
