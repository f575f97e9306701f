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
pub(crate) use uncounted::{Filled, Repetition, Uncounted, UncountedStep};

use dccd_model::{Gap, GapReason, UnixNanos};
use serde::{Deserialize, Serialize};

/// What a feed gave out so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) records: u64,
    pub(crate) duplicates: u64,
    pub(crate) gaps: u64,
    pub(crate) repaired: u64,
    pub(crate) last_recv: UnixNanos,
    /// Of a feed that was found silent before its first record: up to when that is declared, host clock.
    #[serde(default, skip_serializing_if = "is_unknown")]
    unheard: UnixNanos,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_unknown(ts: &UnixNanos) -> bool {
    *ts == UnixNanos::UNKNOWN
}

impl Tally {
    /// The feed was found silent: what is to be declared at once, because no record came before. `since`: when it was subscribed, host
    /// clock; of no concern once something is declared.
    pub(crate) fn silent(&mut self, since: Option<UnixNanos>, now: UnixNanos) -> Option<Gap> {
        if self.records > 0 {
            return None;
        }
        let from = Some(self.unheard).filter(|ts| !is_unknown(ts)).or(since)?;
        self.unheard = now;
        self.silence(from, now)
    }

    /// A record comes; what is to be declared before it, if it is the first of a feed that was found silent.
    pub(crate) fn heard(&mut self, now: UnixNanos) -> Option<Gap> {
        if is_unknown(&self.unheard) {
            return None;
        }
        let from = std::mem::take(&mut self.unheard);
        self.silence(from, now)
    }

    fn silence(&mut self, from: UnixNanos, to: UnixNanos) -> Option<Gap> {
        let gap = (from < to).then_some(Gap { from, to, reason: GapReason::Silent, repaired: false, ids: None });
        self.gaps += u64::from(gap.is_some());
        gap
    }
}
