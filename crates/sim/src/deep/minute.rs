//! The trades of one minute, and the candle they make.

use super::past::{BLOCK, Layout, Past, hash, mix, order_of, order_start};
use crate::market::history::{AggRow, Bar, TradeRow, volumes};

pub(crate) const MINUTE_US: i64 = 60_000_000;
/// How often prices turn: minutes (as powers of two) and their share of the price, in 1024ths.
const WAVES: [(u32, i64); 6] = [(19, 400), (16, 150), (13, 80), (10, 30), (7, 10), (4, 3)];

/// Trades of a block: what lies before them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Base {
    /// Index of the block's first trade in the whole past.
    pub(crate) trade: i64,
}

impl Past {
    /// The price around which a minute begins, in ticks: noise that turns slowly and fast.
    fn level(&self, minute: i64) -> i64 {
        let mut sum = 0;
        for (wave, (shift, share)) in WAVES.into_iter().enumerate() {
            let seed = self.seed.wrapping_add(wave as u64 + 1);
            // 21 bits with a sign.
            let at = |n: i64| (hash(seed, n) >> 43).cast_signed() - (1 << 20);
            let (turn, part) = (minute >> shift, minute & ((1 << shift) - 1));
            let (from, to) = (at(turn), at(turn + 1));
            sum += (from + (((to - from) * part) >> shift)) * share;
        }
        (self.anchor + ((self.anchor * (sum >> 10)) >> 20)).max(1)
    }

    pub(crate) fn base(&self, block: i64) -> Base {
        let (trade, ..) = self.before_block(block);
        Base { trade }
    }

    /// Gives each trade of a minute (index in its block, price in ticks, amount in lots, microseconds since the epoch, whether
    /// the buyer rested), oldest first.
    pub(crate) fn trades_in(&self, layout: &Layout, minute: i64, mut each: impl FnMut(i64, i64, i64, i64, bool)) {
        let (from, to) = layout.of(minute);
        if from == to {
            return;
        }
        let (first, last) = (order_of(from), order_of(to - 1));
        let orders = last - first + 1;
        let (level, next) = (self.level(minute), self.level(minute + 1));
        let slope = ((next - level) << 16) / orders;
        let slot = MINUTE_US / orders;
        let sway = self.anchor >> 9;
        let minute_seed = hash(self.seed ^ 0x5472_6164_6573, minute);
        let mut index = from;
        for order in 0..orders {
            let drawn = mix(minute_seed ^ order.cast_unsigned());
            let within = ((drawn >> 40) as i64 * slot) >> 24;
            // A few trades lie on the very beginning of their minute.
            let offset = if order == 0 && drawn & 0x700 == 0 { 0 } else { order * slot + within };
            let jitter = (((drawn >> 16) & 0xffff).cast_signed() - 0x8000) * sway;
            let price = (level + ((slope * order) >> 16) + (jitter >> 15)).max(1);
            let end = order_start(first + order + 1).min(to);
            let mut lots_drawn = mix(drawn);
            while index < end {
                let most = self.unit_lots << lots_drawn.trailing_ones().min(6);
                let lots = 1 + (((lots_drawn >> 40).cast_signed() * most) >> 24);
                each(index, price, lots, minute * MINUTE_US + offset, drawn & 1 == 0);
                lots_drawn = mix(lots_drawn ^ 0x7061_7274);
                index += 1;
            }
        }
    }

    /// What was traded in the base and in the quote currency, `e8`, rounded down for each trade.
    pub(crate) fn volumes(&self, ticks: i64, lots: i64) -> (i64, i64) {
        if self.tick_step > 0 && !self.is_inverse {
            return (lots * self.step, ticks * lots * self.tick_step);
        }
        volumes(ticks * self.tick, lots * self.step, self.is_inverse)
    }

    /// The candle of a minute from its trades up to an instant (microseconds); `None` when there were none.
    pub(crate) fn minute_bar(&self, layout: &Layout, base: Base, minute: i64, until_us: i64) -> Option<Bar> {
        let (mut high, mut low, mut open, mut close) = (0, i64::MAX, 0, 0);
        let (mut base_volume, mut quote, mut taken, mut taken_quote, mut trades) = (0, 0, 0, 0, 0);
        let mut first = 0;
        self.trades_in(layout, minute, |index, price, amount, time_us, buyer_rested| {
            if time_us > until_us {
                return;
            }
            if trades == 0 {
                (open, first) = (price, index);
            }
            high = high.max(price);
            low = low.min(price);
            close = price;
            let (volume, value) = self.volumes(price, amount);
            base_volume += volume;
            quote += value;
            if !buyer_rested {
                taken += volume;
                taken_quote += value;
            }
            trades += 1;
        });
        let first_id = self.first_id + (base.trade + first).cast_unsigned();
        (trades > 0).then(|| Bar {
            open_us: minute * MINUTE_US,
            open: open * self.tick,
            high: high * self.tick,
            low: low * self.tick,
            close: close * self.tick,
            volume: base_volume,
            quote_volume: quote,
            taker_volume: taken,
            taker_quote_volume: taken_quote,
            trades,
            first_id,
            last_id: first_id + trades - 1,
        })
    }

    /// How many trades happened up to and including an instant (microseconds).
    pub(crate) fn count_until(&self, until_us: i64) -> i64 {
        let minute = until_us.div_euclid(MINUTE_US);
        let block = minute.div_euclid(BLOCK);
        let (before, live, _) = self.before_block(block);
        if !live {
            return before;
        }
        let layout = self.layout(block);
        let mut count = before + layout.of(minute).0;
        self.trades_in(&layout, minute, |_, _, _, time_us, _| count += i64::from(time_us <= until_us));
        count
    }

    /// Trades `from..to`, counted from the first; what `each` says decides whether to go on.
    pub(crate) fn trades(&self, from: i64, to: i64, mut each: impl FnMut(TradeRow) -> bool) {
        let mut at = from.max(0);
        let mut going = true;
        while at < to && going {
            let block = self.live_block(at / self.per_block());
            let (layout, base) = (self.layout(block), self.base(block));
            let within = at - base.trade;
            let mut minute = layout.ends[1..].partition_point(|end| *end <= within);
            while minute < 60 && at < to && going {
                let open = block * BLOCK + i64::try_from(minute).unwrap_or(0);
                self.trades_in(&layout, open, |index, price, lots, time_us, buyer_is_maker| {
                    let index = base.trade + index;
                    if index >= at && index < to && going {
                        let id = self.first_id + index.cast_unsigned();
                        at = index + 1;
                        let (price, amount) = (price * self.tick, lots * self.step);
                        going = each(TradeRow { id, price, amount, time_us, buyer_is_maker });
                    }
                });
                minute += 1;
            }
        }
    }

    /// One trade.
    pub(crate) fn trade(&self, index: i64) -> Option<TradeRow> {
        let mut found = None;
        self.trades(index, index + 1, |row| {
            found = Some(row);
            true
        });
        found.filter(|_| index >= 0)
    }

    /// The price of the last trade before a minute, `e8`; before the first one the price it is about to have.
    pub(crate) fn close_before(&self, minute: i64) -> i64 {
        let block = minute.div_euclid(BLOCK);
        let (before, live, _) = self.before_block(block);
        let count = if live { before + self.layout(block).of(minute).0 } else { before };
        self.trade(count - 1).map_or_else(|| self.level(self.listed) * self.tick, |row| row.price)
    }

    /// The aggregated trade that a trade belongs to, counted from the first.
    pub(crate) const fn order_with(&self, index: i64) -> i64 {
        index / self.per_block() * self.orders_per_block() + order_of(index % self.per_block())
    }

    /// The first trade of an aggregated trade.
    pub(crate) const fn first_of_order(&self, order: i64) -> i64 {
        order / self.orders_per_block() * self.per_block() + order_start(order % self.orders_per_block())
    }

    /// Aggregated trades `from..to`, counted from the first.
    pub(crate) fn orders(&self, from: i64, to: i64, mut each: impl FnMut(AggRow)) {
        let mut open: Option<AggRow> = None;
        self.trades(self.first_of_order(from.max(0)), self.first_of_order(to.max(0)), |row| {
            let order = self.order_with((row.id - self.first_id).cast_signed()).cast_unsigned() + self.first_id;
            match &mut open {
                Some(agg) if agg.id == order => {
                    agg.last = row.id;
                    agg.amount += row.amount;
                }
                _ => {
                    let TradeRow { id, price, amount, time_us, buyer_is_maker } = row;
                    let next = AggRow { id: order, first: id, last: id, price, amount, time_us, buyer_is_maker };
                    if let Some(done) = open.replace(next) {
                        each(done);
                    }
                }
            }
            true
        });
        if let Some(done) = open {
            each(done);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::past::tests::past;
    use super::*;

    #[test]
    fn ids_and_times_lead_to_each_other() {
        let past =
            past("listed=2020-01-01T02:30,trades=100,quiet=0.3,halts=0,BTC/USDT.outage=2020-01-01T03:30..2020-01-01T07:10");
        let mut rows = Vec::new();
        past.trades(0, 1_000, |row| {
            rows.push(row);
            true
        });
        assert_eq!(rows.iter().map(|r| r.id).collect::<Vec<_>>(), (0..1_000).collect::<Vec<_>>());
        assert!(rows.is_sorted_by_key(|r| r.time_us));
        let listed = past.listed * MINUTE_US;
        assert!((listed..listed + MINUTE_US).contains(&rows[0].time_us), "the first minute has a trade");
        for (i, row) in rows.iter().enumerate().step_by(7) {
            assert_eq!(past.trade(i.try_into().unwrap()), Some(*row));
            let until = rows.iter().filter(|r| r.time_us <= row.time_us).count();
            assert_eq!(past.count_until(row.time_us), i64::try_from(until).unwrap());
        }
        assert_eq!((past.count_until(listed - 1), past.trade(-1)), (0, None));
        let (outage, _) = past.closed.ranges()[0];
        assert_eq!(past.count_until((outage + 219) * MINUTE_US), past.count_until(outage * MINUTE_US - 1));
        assert!(rows.iter().any(|r| r.time_us % MINUTE_US == 0), "some trades lie on a minute's very beginning");
    }

    #[test]
    fn a_minute_s_candle_is_made_of_its_trades() {
        let past = past("listed=2020-01-01,trades=300,quiet=0.1,outages=0,halts=0");
        for minute in past.listed..past.listed + 300 {
            let layout = past.layout(minute.div_euclid(BLOCK));
            let bar = past.minute_bar(&layout, past.base(layout.block), minute, i64::MAX);
            let (from, to) = (past.count_until(minute * MINUTE_US - 1), past.count_until((minute + 1) * MINUTE_US - 1));
            let mut rows = Vec::new();
            past.trades(from, to, |row| {
                rows.push(row);
                true
            });
            assert_eq!(bar.is_none(), rows.is_empty());
            let Some(bar) = bar else { continue };
            assert_eq!((bar.first_id, bar.last_id), (rows[0].id, rows[rows.len() - 1].id));
            assert_eq!((bar.open, bar.close), (rows[0].price, rows[rows.len() - 1].price));
            assert_eq!(bar.high, rows.iter().map(|r| r.price).max().unwrap());
            assert_eq!(bar.volume, rows.iter().map(|r| r.amount).sum::<i64>());
            assert_eq!(bar.quote_volume, rows.iter().map(TradeRow::quote_amount).sum::<i64>());
            let bought: Vec<_> = rows.iter().filter(|r| !r.buyer_is_maker).collect();
            assert_eq!(bar.taker_volume, bought.iter().map(|r| r.amount).sum::<i64>());
        }
    }

    #[test]
    fn aggregated_trades_hold_every_trade_once() {
        let past = past("listed=2020-01-01,trades=100,outages=0,halts=0");
        let mut next = 0;
        let mut count = 0;
        past.orders(0, 500, |agg| {
            assert_eq!((agg.id, agg.first), (count, next));
            next = agg.last + 1;
            count += 1;
            let mut rows = Vec::new();
            past.trades(agg.first.cast_signed(), next.cast_signed(), |row| {
                rows.push(row);
                true
            });
            assert!(
                rows.iter().all(|r| (r.price, r.time_us, r.buyer_is_maker) == (agg.price, agg.time_us, agg.buyer_is_maker))
            );
            assert_eq!(rows.iter().map(|r| r.amount).sum::<i64>(), agg.amount);
        });
        assert_eq!(count, 500);
    }
}
