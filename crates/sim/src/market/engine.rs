//! A small market that invents itself: limit orders come and go around the touch, market orders take what rests there.
//!
//! Deterministic: the sequence of steps is a function of the seed and the symbol alone; only times are handed in. All
//! arithmetic is in whole ticks and lots.

use dccd_model::BookSide;
use fastrand::Rng;

use super::Quote;
use super::book::Book;
use super::history::{AggRow, History, TradeRow};
use super::spec::Spec;

/// What a step brought about, in this order on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Trade(TradeRow),
    Agg(AggRow),
    Quote(Quote),
}

/// Where a step takes place, and when.
pub(crate) struct Scene<'a> {
    pub now_us: i64,
    pub spec: &'a Spec,
    pub book: &'a mut Book,
    pub history: &'a mut History,
    pub events: &'a mut Vec<Event>,
}

/// Where a market begins that goes on from a past.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// The last traded price, `e8`.
    pub price: i64,
    /// The next trade's id.
    pub trade_id: u64,
}

/// The traders of one symbol.
#[derive(Debug)]
pub(crate) struct Engine {
    rng: Rng,
    next_trade: u64,
    next_agg: u64,
    /// A small order, in lots.
    unit_lots: i64,
    /// The price that traders believe in, in ticks: pulls the price back when it strays.
    anchor: i64,
    levels: usize,
    /// A market order makes a single trade, whatever its size.
    one_trade: bool,
}

/// Levels a side under which nothing is cancelled and something is added.
const LEVELS_MIN: usize = 20;
/// Price levels one market order takes at most.
const SWEEP_MAX: usize = 4;

impl Engine {
    /// An engine and the book it starts with; without an origin, prices begin as the market's own and ids anywhere.
    pub(crate) fn new(spec: &Spec, seed: u64, levels: usize, origin: Option<Origin>) -> (Self, Book) {
        // A perpetual's market is another one than that of the spot market with the same name.
        let named = spec.id.bytes().chain(spec.settle.iter().flat_map(|settle| settle.bytes()));
        let mut rng = Rng::with_seed(
            named.fold(seed ^ 0x9e37_79b9_7f4a_7c15, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)),
        );
        let anchor = (origin.map_or(spec.start, |o| o.price) / spec.tick).max(1_000);
        // Lots worth about 50 of the quote currency (0.001 where that is bitcoin).
        let worth: i128 = if spec.quote == "BTC" { 100_000 } else { 5_000_000_000 };
        let lot_worth = (i128::from(spec.start) * i128::from(spec.step) / 100_000_000).max(1);
        let unit_lots = i64::try_from(worth / lot_worth).unwrap_or(1).max(1);
        let mut book = Book::starting_at(rng.u64(1_000_000_000..50_000_000_000));
        let mut engine = Self {
            next_trade: rng.u64(1_000_000..4_000_000_000),
            next_agg: rng.u64(1_000_000..3_000_000_000),
            rng,
            unit_lots,
            anchor,
            levels: levels.max(2 * LEVELS_MIN),
            one_trade: false,
        };
        if let Some(origin) = origin {
            engine.next_trade = origin.trade_id;
        }
        for side in [BookSide::Bid, BookSide::Ask] {
            let mut distance = 0;
            for level in 0..engine.levels {
                // Dense at the touch, thinner further out.
                distance += engine.rng.i64(1..=2 + i64::try_from(level / 25).unwrap_or(0));
                let tick = match side {
                    BookSide::Bid => anchor - distance,
                    BookSide::Ask => anchor + distance,
                };
                if tick > 0 {
                    let lots = engine.order_lots(9);
                    book.set(side, tick, lots);
                }
            }
        }
        (engine, book)
    }

    /// From now on a market order makes a single trade, so that trades come one at a time.
    pub(crate) const fn trade_one_at_a_time(&mut self) {
        self.one_trade = true;
    }

    /// One thing happens: a market order (`trade`), or a limit order that comes or goes.
    pub(crate) fn step(&mut self, trade: bool, scene: &mut Scene<'_>) {
        let touch = |book: &Book| (book.best(BookSide::Bid), book.best(BookSide::Ask));
        let before = touch(scene.book);
        if trade {
            self.market_order(scene);
        } else {
            self.limit_order(scene.book);
        }
        if touch(scene.book) != before {
            scene.events.push(Event::Quote(scene.book.quote(scene.spec)));
        }
    }

    /// Makes `count` trade ids that belong to no trade.
    pub(crate) const fn lose_trades(&mut self, count: u64) -> (u64, u64) {
        let first = self.next_trade;
        self.next_trade += count;
        self.next_agg += count;
        (first, self.next_trade - 1)
    }

    /// Changes `count` levels away from the touch; the caller makes the diffs forget it.
    pub(crate) fn rearrange(&mut self, count: u64, book: &mut Book) {
        for _ in 0..count {
            let side = if self.rng.bool() { BookSide::Bid } else { BookSide::Ask };
            let Some((best, _)) = book.best(side) else { continue };
            let distance = self.rng.i64(1..40);
            let tick = if side == BookSide::Bid { best - distance } else { best + distance };
            if tick > 0 {
                let lots = self.order_lots(9);
                book.put(side, tick, lots);
            }
        }
    }

    /// A size: mostly small, now and then large.
    fn order_lots(&mut self, doublings_max: u32) -> i64 {
        let doublings = self.rng.u32(..).trailing_ones().min(doublings_max);
        1 + self.rng.i64(0..2 * (self.unit_lots << doublings))
    }

    fn market_order(&mut self, scene: &mut Scene<'_>) {
        let book = &*scene.book;
        let mid = match (book.best(BookSide::Bid), book.best(BookSide::Ask)) {
            (Some(bid), Some(ask)) => i64::midpoint(bid.0, ask.0),
            _ => self.anchor,
        };
        // One part in 256 of buying pressure per two thousandths off the anchor.
        let pull = ((self.anchor - mid) * 128_000 / self.anchor / 256).clamp(-100, 100);
        let buys = i64::from(self.rng.u8(..)) < 128 + pull;
        let side = if buys { BookSide::Ask } else { BookSide::Bid };
        let mut wanted = self.order_lots(7);
        for _ in 0..if self.one_trade { 1 } else { SWEEP_MAX } {
            if wanted == 0 || scene.book.side(side).len() <= LEVELS_MIN {
                break;
            }
            let Some((tick, resting)) = scene.book.best(side) else { break };
            let filled = wanted.min(resting);
            wanted -= filled;
            scene.book.set(side, tick, resting - filled);
            self.fill(tick, filled, !buys, scene);
        }
        // Somebody steps in where something was taken, so that the spread closes again.
        self.add(side, scene.book);
    }

    /// Up to three resting orders of one level were met: as many trades, one aggregated trade.
    fn fill(&mut self, tick: i64, lots: i64, buyer_is_maker: bool, scene: &mut Scene<'_>) {
        let Scene { now_us: time_us, spec, .. } = *scene;
        let price = tick * spec.tick;
        let first = self.next_trade;
        let mut left = lots;
        let parts = if self.one_trade { 1 } else { 1 + self.rng.u32(..).trailing_ones().min(2) };
        for part in (1..=parts).rev() {
            let taken = if part == 1 || left == 1 { left } else { self.rng.i64(1..=left) };
            left -= taken;
            let amount = taken * spec.step;
            let row = TradeRow { id: self.next_trade, price, amount, time_us, buyer_is_maker };
            self.next_trade += 1;
            scene.history.push_trade(row);
            scene.events.push(Event::Trade(row));
            if left == 0 {
                break;
            }
        }
        let agg = AggRow {
            id: self.next_agg,
            first,
            last: self.next_trade - 1,
            price,
            amount: lots * spec.step,
            time_us,
            buyer_is_maker,
        };
        self.next_agg += 1;
        scene.history.push_agg(agg);
        scene.events.push(Event::Agg(agg));
    }

    fn limit_order(&mut self, book: &mut Book) {
        let side = if self.rng.bool() { BookSide::Bid } else { BookSide::Ask };
        let count = book.side(side).len();
        if count <= LEVELS_MIN || (count < 2 * self.levels && self.rng.u8(..) < 140) {
            self.add(side, book);
        } else {
            self.cancel(side, book);
        }
    }

    /// Ticks from the touch: nearly always close to it.
    fn distance(&mut self) -> i64 {
        let reach = 4_i64 << self.rng.u32(..).trailing_ones().min(8);
        self.rng.i64(0..reach)
    }

    fn add(&mut self, side: BookSide, book: &mut Book) {
        let best = |side| book.best(side).map(|(tick, _)| tick);
        let distance = self.distance();
        let improves = self.rng.u8(..) < 80;
        let tick = match side {
            BookSide::Bid => {
                let limit = best(BookSide::Ask).map_or(i64::MAX, |ask| ask - 1);
                let touch = best(BookSide::Bid).unwrap_or(limit.min(self.anchor) - 1);
                if improves { (touch + 1 + distance / 4).min(limit) } else { touch - distance }
            }
            BookSide::Ask => {
                let limit = best(BookSide::Bid).map_or(1, |bid| bid + 1);
                let touch = best(BookSide::Ask).unwrap_or(limit.max(self.anchor) + 1);
                if improves { (touch - 1 - distance / 4).max(limit) } else { touch + distance }
            }
        };
        if tick > 0 {
            let lots = self.order_lots(9);
            let resting = book.side(side).get(&tick).copied().unwrap_or(0);
            book.set(side, tick, resting.saturating_add(lots).min(1 << 40));
        }
    }

    fn cancel(&mut self, side: BookSide, book: &mut Book) {
        let Some((best, _)) = book.best(side) else { return };
        let distance = self.distance();
        let found = match side {
            BookSide::Bid => book.side(side).range(..=best - distance).next_back(),
            BookSide::Ask => book.side(side).range(best + distance..).next(),
        };
        let Some((tick, resting)) = found.map(|(t, l)| (*t, *l)) else { return };
        let left = if self.rng.bool() { 0 } else { resting - self.rng.i64(1..=resting) };
        book.set(side, tick, left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::book::Pace;

    fn run(seed: u64, steps: usize, each: impl FnMut(&Book, &[Event])) -> Vec<Event> {
        let (engine, book) = Engine::new(&Spec::of("BTC/USDT").unwrap(), seed, 300, None);
        run_on(engine, book, steps, each)
    }

    fn run_on(mut engine: Engine, mut book: Book, steps: usize, mut each: impl FnMut(&Book, &[Event])) -> Vec<Event> {
        let spec = Spec::of("BTC/USDT").unwrap();
        let mut history = History::keeping(1_000);
        let mut all = Vec::new();
        for step in 0..steps {
            let mut events = Vec::new();
            let time = i64::try_from(step).unwrap();
            let (history, events_now) = (&mut history, &mut events);
            let scene = &mut Scene { now_us: time, spec: &spec, book: &mut book, history, events: events_now };
            engine.step(step % 3 == 0, scene);
            each(&book, &events);
            all.extend(events);
        }
        all
    }

    #[test]
    fn a_seed_gives_one_sequence_and_another_seed_another() {
        let sequence = |seed| run(seed, 5_000, |_, _| {});
        assert_eq!(sequence(7), sequence(7));
        assert_ne!(sequence(7), sequence(8));
    }

    #[test]
    fn the_book_never_crosses_stays_deep_and_trades_happen_at_the_touch() {
        let mut touch = (0, 0);
        let (mut trade_id, mut agg_id) = (0, 0);
        run(3, 60_000, |book, events| {
            let (bid, ask) = (book.best(BookSide::Bid).unwrap().0, book.best(BookSide::Ask).unwrap().0);
            assert!(bid < ask, "crossed: {bid} {ask}");
            assert!((5_000_000..7_000_000).contains(&bid), "the price strayed to {bid}");
            assert!(book.side(BookSide::Bid).len() >= LEVELS_MIN && book.side(BookSide::Ask).len() >= LEVELS_MIN);
            let first = events.iter().find_map(|e| if let Event::Trade(t) = e { Some(*t) } else { None });
            if let (Some(first), true) = (first, touch != (0, 0)) {
                let at = if first.buyer_is_maker { touch.0 } else { touch.1 };
                assert_eq!(first.price, at * 1_000_000);
            }
            for event in events {
                match event {
                    Event::Trade(row) => {
                        assert!(row.amount > 0 && (trade_id == 0 || row.id == trade_id + 1));
                        trade_id = row.id;
                    }
                    Event::Agg(row) => {
                        assert!(agg_id == 0 || row.id == agg_id + 1);
                        assert_eq!(row.last, trade_id);
                        agg_id = row.id;
                    }
                    Event::Quote(_) => {}
                }
            }
            touch = (bid, ask);
        });
    }

    #[test]
    fn diffs_rebuild_the_book() {
        let spec = Spec::of("ETH/USDT").unwrap();
        let (mut engine, mut book) = Engine::new(&spec, 5, 200, None);
        book.take_diff(Pace::Fast, &spec);
        let mut history = History::keeping(10);
        let start = book.ladder(usize::MAX, &spec);
        let mut bids: std::collections::BTreeMap<i64, i64> = start.bids.into_iter().collect();
        let mut asks: std::collections::BTreeMap<i64, i64> = start.asks.into_iter().collect();
        let mut last = book.update_id();
        let mut events = Vec::new();
        for step in 0..4_000 {
            {
                let (book, history, events) = (&mut book, &mut history, &mut events);
                engine.step(step % 4 == 0, &mut Scene { now_us: step, spec: &spec, book, history, events });
            }
            if step % 37 == 36
                && let Some(((first, to), changed)) = book.take_diff(Pace::Fast, &spec)
            {
                assert_eq!(first, last + 1);
                last = to;
                for (side, levels) in [(&mut bids, changed.bids), (&mut asks, changed.asks)] {
                    for (price, amount) in levels {
                        if amount == 0 {
                            side.remove(&price)
                        } else {
                            side.insert(price, amount)
                        };
                    }
                }
            }
        }
        if let Some((_, changed)) = book.take_diff(Pace::Fast, &spec) {
            for (side, levels) in [(&mut bids, changed.bids), (&mut asks, changed.asks)] {
                for (price, amount) in levels {
                    if amount == 0 {
                        side.remove(&price)
                    } else {
                        side.insert(price, amount)
                    };
                }
            }
        }
        let end = book.ladder(usize::MAX, &spec);
        assert_eq!(bids.into_iter().rev().collect::<Vec<_>>(), end.bids);
        assert_eq!(asks.into_iter().collect::<Vec<_>>(), end.asks);
    }

    #[test]
    fn an_order_makes_one_trade_where_that_is_wanted_and_several_otherwise() {
        let trades = |events: &[Event]| events.iter().filter(|event| matches!(event, Event::Trade(_))).count();
        let most = |one: bool| {
            let (mut engine, book) = Engine::new(&Spec::of("BTC/USDT").unwrap(), 4, 300, None);
            if one {
                engine.trade_one_at_a_time();
            }
            let mut most = 0;
            run_on(engine, book, 3_000, |_, events| most = most.max(trades(events)));
            most
        };
        assert_eq!(most(true), 1);
        assert!(most(false) > 3);
    }
}
