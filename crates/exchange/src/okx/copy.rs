//! A book as one connection brings it: the chain of its numbers, its checksums, and whether another one is at the same place.

use dccd_model::{BookSide, Decimal, GapReason, UnixNanos};
use serde::{Deserialize, Serialize};

use super::checksum::checksum;
use super::messages::BookPart;
use crate::Ladder;
use crate::ladder::as_levels;
use crate::session::{BookCopy, Level, Levels};

/// The book as one connection brings it. Amounts are the exchange's own, because checksums are over them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Copy {
    pub(super) conn: u32,
    #[serde(with = "as_levels")]
    pub(super) ladder: Ladder,
    /// Of the last message; `None` where the exchange numbered nothing.
    pub(super) seq: Option<u64>,
    /// What the last message said of the one before it.
    pub(super) prev: Option<u64>,
    pub(super) ts: UnixNanos,
    /// No snapshot came on this connection, so there is but the chain of its numbers.
    pub(super) is_bare: bool,
    /// Base units in one contract; `None` where amounts are in base units.
    pub(super) contract_size: Option<Decimal>,
}

/// An amount in base units; `None`: it doesn't fit.
pub(super) fn in_base_units(amount: Decimal, contract_size: Option<Decimal>) -> Option<Decimal> {
    let Some(size) = contract_size else { return Some(amount) };
    Some(Decimal::new(amount.mantissa.checked_mul(size.mantissa)?, amount.exponent.checked_add(size.exponent)?))
}

impl Copy {
    /// Applies an update. `Err`: it isn't the next one, or its checksum isn't that of what the book holds now.
    pub(super) fn apply(&mut self, part: &BookPart, levels: &Levels, text: &mut Vec<u8>) -> Result<(), GapReason> {
        if part.seq.is_some() != self.seq.is_some() || (part.seq.is_some() && part.prev != self.seq) {
            return Err(GapReason::Sequence);
        }
        for (side, levels) in [(BookSide::Bid, &levels.bids), (BookSide::Ask, &levels.asks)] {
            for level in levels {
                self.ladder.set(side, level.price, level.amount);
            }
        }
        (self.seq, self.prev, self.ts) = (part.seq, part.prev, part.ts_venue);
        if !self.is_bare && part.checksum.is_some_and(|expected| expected != checksum(&self.ladder, text)) {
            return Err(GapReason::Integrity);
        }
        Ok(())
    }

    /// The last message once more.
    pub(super) fn repeats(&self, part: &BookPart) -> bool {
        part.seq.is_some() && (part.seq, part.prev) == (self.seq, self.prev) && part.ts_venue == self.ts
    }
}

impl BookCopy for Copy {
    fn conn(&self) -> u32 {
        self.conn
    }

    fn ladder(&self) -> &Ladder {
        &self.ladder
    }

    fn ts(&self) -> UnixNanos {
        self.ts
    }

    fn update_id(&self) -> Option<u64> {
        self.seq
    }

    fn is_the_same(&self, other: &Self) -> bool {
        let at_one_moment = if self.seq.is_some() { self.seq == other.seq } else { self.ts == other.ts };
        at_one_moment && (self.is_bare || other.is_bare || self.ladder.holds_the_same(&other.ladder))
    }

    fn is_whole(&self) -> bool {
        !self.is_bare
    }

    fn complete(&mut self, same: &Self) {
        if self.is_bare {
            (self.ladder, self.is_bare) = (same.ladder.clone(), false);
        }
    }

    /// That the amount fits was seen before it was let into the book.
    fn recorded(&self, price: Decimal, amount: Decimal) -> Level {
        Level { price, amount: in_base_units(amount, self.contract_size).unwrap_or(amount) }
    }
}
