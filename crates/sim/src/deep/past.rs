//! Where trades lie: from an id to a minute and back, by arithmetic.
//!
//! ```text
//! block (an hour)   b0        b0+1      b0+2 (dead)  b0+3
//! trades            T         T         0            T          T = trades an hour
//! first index       0         T         -            2 T        index = T × live blocks before
//! in the block      minutes weigh 0 (closed or quiet) to 8; shares of T by accumulated weight, cut at orders
//! ```
//!
//! Taker orders meet one to three resting ones: indexes 0 | 1 2 | 3 | 4 5 6 of each seven in a block are one order, hence one
//! aggregated trade. Orders never lie across minutes.

use dccd_model::time::NANOS_PER_SECOND;
use fastrand::Rng;

use super::options::{DeepOptions, Stretch};
use super::stretches::Stretches;
use crate::market::spec::Spec;

/// Minutes in a block.
pub(crate) const BLOCK: i64 = 60;
const MINUTE_NS: i64 = 60 * NANOS_PER_SECOND;
/// Outages are drawn from this minute on (2010-01-01), whenever a market opened.
const DRAWN_FROM: i64 = 21_038_400;
/// Nothing is drawn behind this minute (2070-01-01).
const DRAWN_UNTIL: i64 = 52_594_560;
/// The first hour of a market has no drawn stretch.
const DRAWN_AFTER: i64 = 60;
const YEAR_MINUTES: f64 = 525_960.0;

/// A well-mixed hash of a number (splitmix64's finalizer).
pub(crate) const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The hash of a number under a seed.
pub(crate) const fn hash(seed: u64, n: i64) -> u64 {
    mix(seed ^ n.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// The past of one market.
#[derive(Clone, Debug)]
pub(crate) struct Past {
    pub(crate) seed: u64,
    /// The minute in which it opened.
    pub(crate) listed: i64,
    /// Exchange-wide outages and halts of this market, apart and together: minutes of which there are no candles.
    #[cfg(test)]
    pub(crate) outages: Stretches,
    pub(crate) halts: Stretches,
    pub(crate) closed: Stretches,
    /// Minutes that can't have a trade: closed ones, quiet ones that were told, and those of the first block before the opening.
    silent: Stretches,
    /// Blocks without any trade: first, the one after the last, and how many dead ones lie before.
    dead: Vec<(i64, i64, i64)>,
    /// Trades in each live block.
    per_block: i64,
    /// Of 2^16 minutes, how many are quiet.
    quiet: u64,
    pub(crate) first_id: u64,
    /// So late candles are published.
    pub(crate) late_us: i64,
    /// The smallest steps of price and amount, `e8`.
    pub(crate) tick: i64,
    pub(crate) step: i64,
    /// Whether amounts are in the quote currency.
    pub(crate) is_inverse: bool,
    /// What tick × step is worth, `e8`; 0 when that is no whole number.
    pub(crate) tick_step: i64,
    /// The price it moves around, in ticks.
    pub(crate) anchor: i64,
    /// A small order, in lots.
    pub(crate) unit_lots: i64,
}

/// Which minute of a block has which trades: minute `m` those from index `[m]` up to `[m + 1]`, counted within the block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) block: i64,
    pub(crate) ends: [i64; 61],
}

impl Layout {
    /// The trades of a minute of this block, as indexes within it.
    pub(crate) const fn of(&self, minute: i64) -> (i64, i64) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // below 60
        let at = minute.rem_euclid(BLOCK) as usize;
        (self.ends[at], self.ends[at + 1])
    }
}

const ORDER_STARTS: [i64; 4] = [0, 1, 3, 4];
const ORDER_OF: [i64; 7] = [0, 1, 1, 2, 3, 3, 3];

/// The taker order that a trade of a block belongs to.
pub(crate) const fn order_of(index: i64) -> i64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // below 7
    let at = (index % 7) as usize;
    index / 7 * 4 + ORDER_OF[at]
}

/// The first trade of a taker order of a block.
pub(crate) const fn order_start(order: i64) -> i64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // below 4
    let at = (order % 4) as usize;
    order / 4 * 7 + ORDER_STARTS[at]
}

impl Past {
    pub(crate) fn new(seed: u64, options: &DeepOptions, spec: &Spec, first_id: u64) -> Self {
        let symbol = spec.symbol();
        let own = options.markets.get(&symbol).cloned().unwrap_or_default();
        let market_seed = symbol.bytes().fold(mix(seed ^ 0x6465_6570), |h, b| mix(h ^ u64::from(b)));
        let spread = i64::from(options.listing_spread_days) * 1_440;
        let drawn = if spread > 0 { i64::try_from(mix(market_seed ^ 1) >> 1).unwrap_or(0) % spread } else { 0 };
        let listed = own.listed_ns.map_or(options.listed_ns.div_euclid(MINUTE_NS) + drawn, |ns| ns.div_euclid(MINUTE_NS));
        let longest = i64::from(options.stretch_minutes_max.max(1));
        let set = |told: Option<&Vec<Stretch>>, rate, seed, from| match told {
            Some(told) => Stretches::new(told.iter().map(minutes), listed),
            None => Stretches::new(draw(seed, rate, longest, from), listed + DRAWN_AFTER),
        };
        // Outages are the exchange's own: the same for all its markets.
        let outages = set(own.outages.as_ref(), options.outages_per_year, mix(seed ^ 2), DRAWN_FROM);
        let halts = set(own.halts.as_ref(), options.halts_per_year, mix(market_seed ^ 3), listed);
        let both = outages.ranges().iter().chain(halts.ranges()).copied();
        let closed = Stretches::new(both.clone(), listed);
        let first_block = listed.div_euclid(BLOCK);
        let before = (first_block * BLOCK, listed);
        let quiet = own.quiet.iter().map(minutes);
        let silent = Stretches::new(both.chain(quiet).chain([before]), first_block * BLOCK);
        let mut dead = Vec::new();
        let mut count = 0;
        for (from, to) in silent.ranges() {
            let (first, after) = (from.div_euclid(BLOCK) + i64::from(from.rem_euclid(BLOCK) > 0), to.div_euclid(BLOCK));
            if first < after {
                dead.push((first, after, count));
                count += after - first;
            }
        }
        let worth: i128 = if spec.quote == "BTC" { 100_000 } else { 5_000_000_000 };
        let lot_worth = (i128::from(spec.start) * i128::from(spec.step) / 100_000_000).max(1);
        let product = i128::from(spec.tick) * i128::from(spec.step);
        let tick_step = if product % 100_000_000 == 0 { i64::try_from(product / 100_000_000).unwrap_or(0) } else { 0 };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a part of 2^16
        let quiet = (options.quiet.clamp(0.0, 1.0) * 65_536.0) as u64;
        Self {
            seed: market_seed,
            listed,
            #[cfg(test)]
            outages,
            halts,
            closed,
            silent,
            dead,
            per_block: i64::from(own.trades_per_hour.unwrap_or(options.trades_per_hour).max(1)),
            quiet,
            first_id,
            late_us: i64::from(options.late_s) * 1_000_000,
            tick: spec.tick,
            step: spec.step,
            is_inverse: spec.is_inverse(),
            tick_step,
            anchor: (spec.start / spec.tick).max(1_000),
            unit_lots: i64::try_from(worth / lot_worth).unwrap_or(1).clamp(1, 1 << 30),
        }
    }

    /// Dead blocks before a block; whether it is dead itself.
    fn dead_before(&self, block: i64) -> (i64, bool) {
        let after = self.dead.partition_point(|(_, after, _)| *after <= block);
        match self.dead.get(after) {
            Some((first, _, before)) if *first <= block => (before + block - first, true),
            _ => (after.checked_sub(1).map_or(0, |i| self.dead[i].2 + self.dead[i].1 - self.dead[i].0), false),
        }
    }

    /// Live blocks before a block; whether it is live itself.
    fn live_before(&self, block: i64) -> (i64, bool) {
        let first = self.listed.div_euclid(BLOCK);
        if block < first {
            return (0, false);
        }
        let (dead, is_dead) = self.dead_before(block);
        (block - first - dead, !is_dead)
    }

    /// Trades before the block, whether it has any, and aggregated trades before it.
    pub(crate) fn before_block(&self, block: i64) -> (i64, bool, i64) {
        let (live, is_live) = self.live_before(block);
        (live * self.per_block, is_live, live * self.orders_per_block())
    }

    /// Taker orders in each live block.
    pub(crate) const fn orders_per_block(&self) -> i64 {
        order_of(self.per_block - 1) + 1
    }

    /// Trades in each live block.
    pub(crate) const fn per_block(&self) -> i64 {
        self.per_block
    }

    /// The live block with this number of live ones before it.
    pub(crate) fn live_block(&self, number: i64) -> i64 {
        let first = self.listed.div_euclid(BLOCK);
        let behind = self.dead.partition_point(|(from, _, before)| from - first - before <= number);
        let dead = behind.checked_sub(1).map_or(0, |i| self.dead[i].2 + self.dead[i].1 - self.dead[i].0);
        first + number + dead
    }

    /// How a block's trades lie in its minutes.
    pub(crate) fn layout(&self, block: i64) -> Layout {
        let mut layout = Layout { block, ends: [0; 61] };
        if !self.live_before(block).1 {
            return layout;
        }
        let begin = block * BLOCK;
        let mut silent = self.silent.next(begin);
        let seed = self.seed ^ 0x004c_6179_6f75_7400;
        let mut weights = [0_i64; 60];
        let (mut sum, mut fallback) = (0, 0);
        for (at, weight) in weights.iter_mut().enumerate() {
            let minute = begin + i64::try_from(at).unwrap_or(0);
            while silent.is_some_and(|(_, to)| to <= minute) {
                silent = self.silent.next(minute);
            }
            if silent.is_some_and(|(from, _)| from <= minute) {
                continue;
            }
            fallback = at;
            let drawn = hash(seed, minute);
            if minute == self.listed {
                *weight = 8;
            } else if drawn & 0xffff >= self.quiet {
                *weight = 1 + ((drawn >> 16) & 7).cast_signed();
            }
            sum += *weight;
        }
        if sum == 0 {
            // The block's trades must be somewhere.
            weights[fallback] = 1;
            sum = 1;
        }
        let mut total = 0;
        for (weight, end) in weights.iter().zip(&mut layout.ends[1..]) {
            total += weight;
            let share = self.per_block * total / sum;
            *end = if total == sum { self.per_block } else { order_start(order_of(share)) };
        }
        layout
    }

    /// Whether no trade happened in a minute of a market that was open.
    pub(crate) fn is_quiet(&self, minute: i64) -> bool {
        let (from, to) = self.layout(minute.div_euclid(BLOCK)).of(minute);
        from == to && minute >= self.listed && self.closed.holding(minute).is_none()
    }
}

fn minutes(stretch: &Stretch) -> (i64, i64) {
    (stretch.from_ns.div_euclid(MINUTE_NS), -(-stretch.to_ns).div_euclid(MINUTE_NS))
}

/// Stretches drawn from a seed, from a minute on.
fn draw(seed: u64, per_year: f64, longest: i64, from: i64) -> Vec<(i64, i64)> {
    let mut stretches = Vec::new();
    if per_year <= 0.0 {
        return stretches;
    }
    let mut rng = Rng::with_seed(seed);
    #[allow(clippy::cast_possible_truncation)] // minutes of years at most
    let apart = ((YEAR_MINUTES / per_year) as i64).max(2);
    let mut at = from;
    while at < DRAWN_UNTIL {
        at += rng.i64(apart / 5..=apart * 9 / 5).max(1);
        // Short ones are the most.
        let most = rng.i64(1..=longest);
        let length = rng.i64(1..=most);
        stretches.push((at, at + length));
        at += length;
    }
    stretches
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn past(text: &str) -> Past {
        Past::new(7, &text.parse().unwrap(), &Spec::of("BTC/USDT").unwrap(), 0)
    }

    #[test]
    fn blocks_without_a_trading_minute_have_no_ids() {
        // Hours 0 to 2 of the day before the opening at 02:30, hours 4 to 6 of an outage from 03:30 to 07:10.
        let past = past(
            "listed=2020-01-01T02:30,trades=100,halts=0,BTC/USDT.outage=2020-01-01T03:30..2020-01-01T07:10,\
             BTC/USDT.outage=2020-01-01T09:00..2020-01-01T10:00",
        );
        let first = past.listed.div_euclid(BLOCK);
        let numbers = |hours: std::ops::Range<i64>| hours.map(|h| past.live_before(first + h)).collect::<Vec<_>>();
        let expected =
            [(0, true), (1, true), (2, false), (2, false), (2, false), (2, true), (3, true), (4, false), (4, true)];
        assert_eq!(numbers(0..9), expected);
        assert_eq!((0..5).map(|n| past.live_block(n) - first).collect::<Vec<_>>(), [0, 1, 5, 6, 8]);
        assert_eq!(past.layout(first).of(past.listed - 1), (0, 0));
        let counts = (0..60).map(|m| past.layout(first + 1).of((first + 1) * BLOCK + m)).collect::<Vec<_>>();
        assert!(counts[30..].iter().all(|(from, to)| (*from, *to) == (100, 100)), "{counts:?}");
        assert_eq!(counts[0].0, 0);
    }

    #[test]
    fn quiet_minutes_are_as_many_as_told_and_orders_stay_whole() {
        let past = past("listed=2020-01-01,trades=700,quiet=0.25,outages=0,halts=0");
        let quiet = (0..20_000).filter(|m| past.is_quiet(past.listed + m)).count();
        assert!((4_000..7_000).contains(&quiet), "{quiet}");
        for block in 0..200 {
            let layout = past.layout(past.listed.div_euclid(BLOCK) + block);
            assert!(layout.ends.iter().all(|end| *end == 700 || order_start(order_of(*end)) == *end));
            assert!(layout.ends.is_sorted() && layout.ends[60] == 700);
        }
    }

    #[test]
    fn outages_are_the_same_for_all_markets_and_halts_are_not() {
        let options: DeepOptions = "outages=30,halts=30".parse().unwrap();
        let one = Past::new(7, &options, &Spec::of("BTC/USDT").unwrap(), 0);
        let other = Past::new(7, &options, &Spec::of("ETH/USDT").unwrap(), 0);
        assert!(one.outages.ranges().len() > 1_000);
        assert_eq!(one.outages, other.outages);
        assert_ne!(one.halts, other.halts);
    }
}
