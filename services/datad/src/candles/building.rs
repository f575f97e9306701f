//! Candles of one market out of its live trades: exact sums, closed only when nothing of them is missing.
//!
//! A candle is closed by the first trade that is a second past its end, so that a trade that comes a little out of order still finds it.
//! Where trades are known to be missing, it is not given out: a gap is, and the candle comes when they were fetched.

use std::collections::{BTreeMap, VecDeque};

use dccd_model::{Candle, Decimal, DecimalSum, Flags, Gap, GapReason, Grid, Span, Trade, UnixNanos};
use serde::{Deserialize, Serialize};

/// How far past a candle's end a trade closes it.
const SLACK: i64 = 1_000_000_000;
/// How often the candle that grows is shown, in the exchange's time.
const SHOW_EVERY: i64 = 1_000_000_000;
/// A trade further ahead of our clock than this is not believed.
const AHEAD_MAX: i64 = 3_600_000_000_000;
/// Digits behind the point of volumes that trades have in the quote currency: those of the exchanges.
const INVERSE_PLACES: u8 = 8;
/// Holes of trades, and stretches that wait for them, that are remembered; past that the oldest stay missing.
const HOLES_MAX: usize = 64;
/// A stretch of more candles than these doesn't wait for its trades: a day and more is a backfill's.
const WAITING_MAX: u64 = 1_440;

/// What becomes of a stretch of time.
pub(super) enum Made {
    /// The newest candle as it stands now.
    Growing(Candle),
    /// A candle that is complete.
    Closed(Candle),
    /// There were no trades, and the exchange has no candles of such minutes.
    Quiet(UnixNanos),
    /// Trades are missing, so candles are.
    Missing(Gap),
    /// They came, and with them the candles, given out before.
    Repaired(Gap),
    /// A trade came for a candle that had been given out, or from a time to come.
    Late,
}

/// Receives them, in order.
pub(super) type Receiver<'a> = dyn FnMut(Made) + 'a;

/// One candle while its trades come.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Growing {
    open_at: UnixNanos,
    /// Time and id of the first and the last trade: one that was missing may belong before or between them.
    first: (UnixNanos, u128),
    last: (UnixNanos, u128),
    ts_recv: UnixNanos,
    open: Decimal,
    high: Decimal,
    low: Decimal,
    close: Decimal,
    volume: DecimalSum,
    quote_volume: DecimalSum,
    trades: u64,
}

impl Growing {
    fn begin(open_at: UnixNanos, trade: &Trade, is_inverse: bool) -> Self {
        let (at, price) = ((trade.ts_venue, trade.id.0), trade.price);
        let mut growing = Self {
            open_at,
            first: at,
            last: at,
            ts_recv: trade.ts_recv,
            open: price,
            high: price,
            low: price,
            close: price,
            volume: DecimalSum::default(),
            quote_volume: DecimalSum::default(),
            trades: 0,
        };
        growing.add(trade, is_inverse);
        growing
    }

    fn add(&mut self, trade: &Trade, is_inverse: bool) {
        let is_wide = trade.flags.contains(Flags::WIDE_ID);
        // Ids that are no numbers have no order: what comes later is later.
        let at = (trade.ts_venue, if is_wide { self.last.1.saturating_add(1) } else { trade.id.0 });
        if at < self.first {
            (self.first, self.open) = (at, trade.price);
        }
        if at >= self.last {
            (self.last, self.close) = (at, trade.price);
        }
        self.high = self.high.max(trade.price);
        self.low = self.low.min(trade.price);
        self.ts_recv = self.ts_recv.max(trade.ts_recv);
        if is_inverse {
            self.volume.add_quotient(trade.amount, trade.price);
            self.quote_volume.add(trade.amount);
        } else {
            self.volume.add(trade.amount);
            self.quote_volume.add_product(trade.price, trade.amount);
        }
        self.trades += 1;
    }

    fn candle(&self, Kind { span, is_inverse, .. }: Kind, flags: Flags) -> Candle {
        Candle {
            ts_open: self.open_at,
            ts_recv: self.ts_recv,
            open: self.open,
            high: self.high,
            low: self.low,
            close: self.close,
            volume: if is_inverse { self.volume.rounded(INVERSE_PLACES) } else { self.volume.to_decimal() },
            quote_volume: self.quote_volume.to_decimal(),
            trades: self.trades,
            span,
            flags,
        }
    }
}

/// Candles that wait for trades that are missing: `[from, to)`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Waiting {
    from: UnixNanos,
    to: UnixNanos,
    reason: GapReason,
    /// Those of which there are trades.
    growing: BTreeMap<i64, Growing>,
    /// The price before them.
    before: Option<Decimal>,
}

impl Waiting {
    fn gap(&self, repaired: bool) -> Gap {
        Gap { from: self.from, to: self.to, reason: self.reason, repaired, ids: None }
    }
}

/// What candles of a market are like.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Kind {
    /// Their length.
    pub(super) span: Span,
    /// A minute without trades has a candle, flat at the last price, as the exchange's own.
    pub(super) fills: bool,
    /// Amounts of trades are in the quote currency, and volumes in the base.
    pub(super) is_inverse: bool,
}

/// Builds the candles of one market.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Builder {
    kind: Kind,
    /// The next candle to be given out; `None` before the first trade. That trade's own minute is never whole.
    next: Option<UnixNanos>,
    newest: UnixNanos,
    shown: UnixNanos,
    /// The price at the end of the last candle.
    price: Option<Decimal>,
    growing: VecDeque<Growing>,
    holes: VecDeque<Gap>,
    waiting: VecDeque<Waiting>,
}

impl Builder {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            next: None,
            newest: UnixNanos::UNKNOWN,
            shown: UnixNanos::UNKNOWN,
            price: None,
            growing: VecDeque::new(),
            holes: VecDeque::new(),
            waiting: VecDeque::new(),
        }
    }

    const fn grid(&self) -> Grid {
        Grid::new(self.kind.span)
    }

    /// Takes a trade.
    pub(super) fn trade(&mut self, trade: &Trade, out: &mut Receiver<'_>) {
        if trade.ts_venue.0 > trade.ts_recv.0.saturating_add(AHEAD_MAX) {
            out(Made::Late);
            return;
        }
        let open_at = self.grid().floor(trade.ts_venue);
        let Some(next) = self.next else {
            self.next = Some(self.grid().after(open_at, 1));
            self.price = Some(trade.price);
            return;
        };
        if open_at < next {
            return self.belated(open_at, next, trade, out);
        }
        match self.growing.iter_mut().rev().find(|growing| growing.open_at <= open_at) {
            Some(growing) if growing.open_at == open_at => growing.add(trade, self.kind.is_inverse),
            _ => {
                let at = self.growing.partition_point(|growing| growing.open_at < open_at);
                self.growing.insert(at, Growing::begin(open_at, trade, self.kind.is_inverse));
            }
        }
        self.newest = self.newest.max(trade.ts_venue);
        self.close_past(next, out);
        if trade.ts_venue.0.saturating_sub(self.shown.0) >= SHOW_EVERY
            && let Some(growing) = self.growing.back()
        {
            self.shown = trade.ts_venue;
            out(Made::Growing(growing.candle(self.kind, Flags::NONE)));
        }
    }

    /// A trade of a stretch that is over: one that was missing, or one that comes far too late.
    fn belated(&mut self, open_at: UnixNanos, next: UnixNanos, trade: &Trade, out: &mut Receiver<'_>) {
        let is_inverse = self.kind.is_inverse;
        let is_first = self.grid().after(open_at, 1) == next && self.growing.is_empty() && self.newest == UnixNanos::UNKNOWN;
        let waiting = self.waiting.iter_mut().find(|waiting| waiting.from <= open_at && open_at < waiting.to);
        match waiting {
            Some(waiting) => {
                let growing = waiting.growing.entry(open_at.0);
                growing
                    .and_modify(|growing| growing.add(trade, is_inverse))
                    .or_insert_with(|| Growing::begin(open_at, trade, is_inverse));
            }
            // In the first minute, which is none of ours, it tells the price.
            None if is_first => self.price = Some(trade.price),
            None => out(Made::Late),
        }
    }

    fn close_past(&mut self, mut next: UnixNanos, out: &mut Receiver<'_>) {
        let grid = self.grid();
        while grid.after(next, 1).0.saturating_add(SLACK) <= self.newest.0 {
            next = match self.holes.iter().find(|hole| overlaps(hole, next, grid.after(next, 1))) {
                Some(hole) => {
                    let over = grid.floor(UnixNanos(self.newest.0 - SLACK));
                    let to = grid.after(grid.floor(hole.to), 1).min(over);
                    let reason = hole.reason;
                    self.wait(next, to, reason, out);
                    to
                }
                None => {
                    self.close(next, out);
                    grid.after(next, 1)
                }
            };
            self.next = Some(next);
        }
    }

    /// Closes one candle of which nothing is missing.
    fn close(&mut self, open_at: UnixNanos, out: &mut Receiver<'_>) {
        let growing = self.first_before(self.grid().after(open_at, 1));
        out(made(self.kind, open_at, growing.as_ref(), &mut self.price));
    }

    /// Takes the first candle that grows, where it opens before this moment.
    fn first_before(&mut self, until: UnixNanos) -> Option<Growing> {
        self.growing.front().filter(|growing| growing.open_at < until)?;
        self.growing.pop_front()
    }

    /// Lets a stretch wait for the trades that are missing of it.
    fn wait(&mut self, from: UnixNanos, to: UnixNanos, reason: GapReason, out: &mut Receiver<'_>) {
        let mut waiting = Waiting { from, to, reason, growing: BTreeMap::new(), before: self.price };
        while let Some(growing) = self.first_before(to) {
            self.price = Some(growing.close);
            waiting.growing.insert(growing.open_at.0, growing);
        }
        out(Made::Missing(waiting.gap(false)));
        if self.grid().count(from, to) > WAITING_MAX {
            return;
        }
        if self.waiting.len() >= HOLES_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(waiting);
    }

    /// Trades are missing, or were fetched.
    pub(super) fn gap(&mut self, gap: &Gap) {
        if gap.repaired {
            let is_it = |hole: &Gap| (hole.from, hole.reason, hole.ids) == (gap.from, gap.reason, gap.ids);
            if let Some(at) = self.holes.iter().position(is_it) {
                self.holes.remove(at);
            }
            return;
        }
        if self.holes.len() >= HOLES_MAX
            && let Some(forgotten) = self.holes.pop_front()
        {
            // What waited for it stays missing.
            self.waiting.retain(|waiting| !overlaps(&forgotten, waiting.from, waiting.to));
        }
        self.holes.push_back(gap.clone());
    }

    /// Gives out what needn't wait any more. To be called after an entry with gaps: a hole that is made good in part is first said to be
    /// made good, and then what is left of it.
    pub(super) fn settle(&mut self, out: &mut Receiver<'_>) {
        let mut at = 0;
        while let Some(waiting) = self.waiting.get(at) {
            if self.holes.iter().any(|hole| overlaps(hole, waiting.from, waiting.to)) {
                at += 1;
                continue;
            }
            let Some(waiting) = self.waiting.remove(at) else { break };
            let (mut open_at, mut price) = (waiting.from, waiting.before);
            while open_at < waiting.to {
                out(made(self.kind, open_at, waiting.growing.get(&open_at.0), &mut price));
                open_at = self.grid().after(open_at, 1);
            }
            out(Made::Repaired(waiting.gap(true)));
        }
    }
}

/// Whether trades may be missing of this stretch because of a hole, which lies between the trades at its ends.
fn overlaps(hole: &Gap, from: UnixNanos, to: UnixNanos) -> bool {
    hole.from < to && hole.to >= from
}

/// What a stretch of one candle is, of which all trades are there.
fn made(kind: Kind, open_at: UnixNanos, growing: Option<&Growing>, price: &mut Option<Decimal>) -> Made {
    match (growing, *price) {
        (Some(growing), _) => {
            *price = Some(growing.close);
            Made::Closed(growing.candle(kind, Flags::CLOSED))
        }
        (None, Some(flat)) if kind.fills => Made::Closed(Candle {
            ts_open: open_at,
            ts_recv: UnixNanos(open_at.0 + i64::from(kind.span.as_secs()) * 1_000_000_000),
            open: flat,
            high: flat,
            low: flat,
            close: flat,
            volume: Decimal::ZERO,
            quote_volume: Decimal::ZERO,
            trades: 0,
            span: kind.span,
            flags: Flags::CLOSED,
        }),
        (None, _) => Made::Quiet(open_at),
    }
}
