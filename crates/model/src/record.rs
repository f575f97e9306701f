//! Market-data records as they travel from the parser to ring and store. Plain values: copying one copies all of it.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

use serde::{Deserialize, Serialize};

use crate::{Decimal, Span, UnixNanos};

/// Who took the liquidity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Side {
    /// The exchange doesn't say.
    #[default]
    Unknown = 0,
    /// The taker bought.
    Buy = 1,
    /// The taker sold.
    Sell = 2,
}

impl Side {
    /// `buy`, `sell`; `None` when unknown.
    #[must_use]
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Unknown => None,
            Self::Buy => Some("buy"),
            Self::Sell => Some("sell"),
        }
    }
}

/// The side of an order book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum BookSide {
    /// Those who want to buy.
    Bid = 1,
    /// Those who want to sell.
    Ask = 2,
}

impl BookSide {
    /// `bid`, `ask`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bid => "bid",
            Self::Ask => "ask",
        }
    }
}

/// Facts about a record beside its values; a set of bits, the same as in ring slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Flags(pub u8);

impl Flags {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// First record of its event (one message of the exchange).
    pub const FIRST: Self = Self(1);
    /// Last record of its event.
    pub const LAST: Self = Self(2);
    /// Part of a snapshot.
    pub const SNAPSHOT: Self = Self(4);
    /// Integrity is broken, repair is under way.
    pub const SUSPECT: Self = Self(8);
    /// The trade id is a 128-bit UUID or hash, not a number.
    pub const WIDE_ID: Self = Self(16);
    /// The candle is closed.
    pub const CLOSED: Self = Self(32);
    /// Records are missing before this one.
    pub const GAP: Self = Self(128);

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Flags {
    type Output = Self;
    fn bitor(self, rhs: Self) -> Self {
        Self(self.0 | rhs.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, rhs: Self) {
        self.0 |= rhs.0;
    }
}

/// The exchange's id of a trade: a number, or a UUID or hash where [`Flags::WIDE_ID`] is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TradeId(pub u128);

impl TradeId {
    /// The low 64 bits.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // halves are what is asked for
    pub const fn low(self) -> u64 {
        self.0 as u64
    }

    /// The high 64 bits.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)]
    pub const fn high(self) -> u64 {
        (self.0 >> 64) as u64
    }

    /// Puts two halves together.
    #[must_use]
    pub const fn from_halves(low: u64, high: u64) -> Self {
        Self((high as u128) << 64 | low as u128)
    }
}

impl fmt::Display for TradeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trade {
    /// When the exchange matched it: the exchange's clock.
    pub ts_venue: UnixNanos,
    /// When our socket read finished: host clock.
    pub ts_recv: UnixNanos,
    /// Price of one unit of the base currency, in the quote currency.
    pub price: Decimal,
    /// Units of the symbol's [`Symbol::amount_currency`](crate::Symbol::amount_currency), as all amounts of a market.
    pub amount: Decimal,
    /// The exchange's id; zero when it sends none.
    pub id: TradeId,
    /// Who took the liquidity.
    pub side: Side,
    /// Facts about the record.
    pub flags: Flags,
    /// Grows when the exchange restarts its ids; 0 where it never does.
    pub epoch: u32,
}

/// Best bid and ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// The exchange's clock; [`UnixNanos::UNKNOWN`] where the exchange sends no time (Binance spot).
    pub ts_venue: UnixNanos,
    /// When our socket read finished: host clock.
    pub ts_recv: UnixNanos,
    /// Best bid price.
    pub bid: Decimal,
    /// Amount at the best bid.
    pub bid_amount: Decimal,
    /// Best ask price.
    pub ask: Decimal,
    /// Amount at the best ask.
    pub ask_amount: Decimal,
    /// Facts about the record.
    pub flags: Flags,
}

/// One level of an order book, set to a new amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookLevel {
    /// The event's time: the exchange's clock. A snapshot without a time of its own carries the time of the first event
    /// applied on top of it.
    pub ts_venue: UnixNanos,
    /// When our socket read finished: host clock.
    pub ts_recv: UnixNanos,
    /// The level's price.
    pub price: Decimal,
    /// Amount now at this price; zero: the level is gone.
    pub amount: Decimal,
    /// The exchange's sequence number of the event; 0 where it has none.
    pub update_id: u64,
    /// Bid or ask.
    pub side: BookSide,
    /// Facts about the record.
    pub flags: Flags,
    /// Grows with every snapshot: a new epoch replaces the book, it never merges.
    pub epoch: u32,
    /// Orders at this level; 0 when unknown.
    pub order_count: u32,
}

/// Whether an order book can be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BookState {
    /// Waiting for a snapshot that links to the deltas.
    #[default]
    Syncing,
    /// Every event since the snapshot linked.
    Valid,
    /// Something didn't fit; a repair is under way.
    Suspect,
}

/// One candle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candle {
    /// When it opens: the exchange's clock.
    pub ts_open: UnixNanos,
    /// When our socket read finished: host clock.
    pub ts_recv: UnixNanos,
    /// First price.
    pub open: Decimal,
    /// Highest price.
    pub high: Decimal,
    /// Lowest price.
    pub low: Decimal,
    /// Last price.
    pub close: Decimal,
    /// Traded units of the base currency.
    pub volume: Decimal,
    /// Traded units of the quote currency; zero when unknown.
    pub quote_volume: Decimal,
    /// Number of trades; 0 when unknown.
    pub trades: u64,
    /// Its length.
    pub span: Span,
    /// Facts about the record.
    pub flags: Flags,
}
