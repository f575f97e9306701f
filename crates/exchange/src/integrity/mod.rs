//! What every exchange's session needs to prove that nothing is missing: which connections carry a feed, contiguous trade
//! ids, quotes in order. Exchange-specific sequence rules of books stand in the exchange's own `book.rs`.

mod candles;
mod continuity;
mod quotes;
mod timed;
mod trades;
mod uncounted;

pub(crate) use candles::{CandleStep, Candles};
pub(crate) use continuity::{Connections, Continuity};
pub(crate) use quotes::{QuoteStep, Quotes};
pub(crate) use timed::TimedQuotes;
pub(crate) use trades::{IdSpace, TradeStep, Trades};
pub(crate) use uncounted::{Filled, Uncounted, UncountedStep};

use dccd_model::UnixNanos;
use serde::{Deserialize, Serialize};

/// What a feed gave out so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) records: u64,
    pub(crate) duplicates: u64,
    pub(crate) gaps: u64,
    pub(crate) repaired: u64,
    pub(crate) last_recv: UnixNanos,
}
