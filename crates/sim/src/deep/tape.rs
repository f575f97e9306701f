//! A market's deep past and what is traded live after it, as one: the live market goes on with its ids and prices.

use super::bars::Walker;
use super::minute::MINUTE_US;
use super::past::Past;
use crate::market::history::{Bar, History, TradeRow};

/// All trades of a market that were ever made.
#[derive(Clone, Copy)]
pub(crate) struct Tape<'a> {
    pub past: &'a Past,
    /// Up to and with this microsecond the past is what happened.
    pub until_us: i64,
    /// What happened afterwards. Of a long life only the newest trades are kept: the oldest live ones are then missing.
    pub live: &'a History,
}

impl<'a> Tape<'a> {
    /// Gives the trades from an instant on, oldest first; what `each` says decides whether to go on.
    pub(crate) fn since(&self, from_us: i64, now_us: i64, mut each: impl FnMut(TradeRow) -> bool) {
        let end_us = now_us.min(self.until_us);
        let mut going = true;
        if from_us <= end_us {
            let (first, end) = (self.past.count_until(from_us.saturating_sub(1)), self.past.count_until(end_us));
            self.past.trades(first, end, |row| {
                going = each(row);
                going
            });
        }
        let rows = self.live.trades();
        let begin = rows.partition_point(|row| row.time_us < from_us);
        for row in rows.range(begin..) {
            if !going || row.time_us > now_us {
                return;
            }
            going = each(*row);
        }
    }

    /// The newest trades, oldest first.
    pub(crate) fn newest(&self, count: usize, now_us: i64) -> Vec<TradeRow> {
        let rows = self.live.trades();
        let mut newest = Vec::with_capacity(count);
        let from_past = count.saturating_sub(rows.len());
        if from_past > 0 {
            let end = self.past.count_until(now_us.min(self.until_us));
            self.past.trades(end - i64::try_from(from_past).unwrap_or(0), end, |row| {
                newest.push(row);
                true
            });
        }
        newest.extend(rows.range(rows.len() - (count - from_past)..));
        newest
    }

    /// The last traded price, or the one that the first trade is about to have; and what was traded at it.
    pub(crate) fn last(&self, now_us: i64) -> (i64, i64) {
        let last = self.newest(1, now_us).pop();
        last.map_or_else(|| (self.past.close_before(self.past.listed), 0), |row| (row.price, row.amount))
    }

    /// The first and last id so far.
    pub(crate) fn ids(&self, now_us: i64) -> Option<(u64, u64)> {
        Some((self.past.first_id, self.newest(1, now_us).pop()?.id))
    }

    /// The candle from a whole minute until now, flat without trades.
    pub(crate) fn whole_since(self, from_us: i64, now_us: i64) -> Bar {
        let from_us = -(-from_us).div_euclid(MINUTE_US) * MINUTE_US;
        let next_us = (now_us.div_euclid(MINUTE_US) + 1) * MINUTE_US;
        self.bars(from_us, now_us).whole(from_us, next_us)
    }

    /// What makes candles from this instant on.
    pub(crate) fn bars(self, from_us: i64, now_us: i64) -> Bars<'a> {
        let end_us = now_us.min(self.until_us);
        let minute = from_us.min(end_us).div_euclid(MINUTE_US).max(self.past.listed);
        Bars { tape: self, walker: Walker::new(self.past, minute, end_us), end_us, now_us }
    }
}

/// Makes candles, which are to be asked for in order.
pub(crate) struct Bars<'a> {
    tape: Tape<'a>,
    walker: Walker<'a>,
    /// The past is asked for nothing after this.
    end_us: i64,
    now_us: i64,
}

impl Bars<'_> {
    /// The candle from one whole minute up to another, without holes: minutes in which the market was closed are as flat as
    /// quiet ones.
    pub(crate) fn whole(&mut self, open_us: i64, next_us: i64) -> Bar {
        let first = open_us.div_euclid(MINUTE_US).max(self.tape.past.listed);
        let mut bar = if first * MINUTE_US <= self.end_us {
            let mut bar = Bar { open_us, ..self.walker.minute(first) };
            for at in first + 1..next_us.div_euclid(MINUTE_US) {
                if at * MINUTE_US > self.end_us {
                    break;
                }
                bar.add(&self.walker.minute(at));
            }
            bar
        } else {
            Bar::flat(open_us, 0)
        };
        let live = self.tape.live.traded(open_us, next_us);
        if live.trades > 0 {
            bar.add(&live);
        } else if bar.trades == 0 && live.close > 0 {
            bar = live;
        } else if bar.trades == 0 && bar.close == 0 {
            bar = Bar::flat(open_us, self.tape.last(self.now_us.min(self.end_us)).0);
        }
        bar
    }
}

#[cfg(test)]
mod tests {
    use super::super::past::tests::past;
    use super::*;
    use crate::market::interval::Interval;

    /// A past that goes on, once as itself and once cut in the middle of a minute with the rest traded live.
    #[test]
    fn a_live_market_goes_on_where_the_past_ends() {
        let past = past("listed=2020-01-01,trades=700,quiet=0.3,outages=0,halts=0");
        let at = |minute: i64, us: i64| (past.listed + minute) * MINUTE_US + us;
        let (until_us, now_us) = (at(100, 31_234_567), at(171, 7));
        let (mut live, nothing) = (History::keeping(10_000), History::default());
        past.trades(past.count_until(until_us), past.count_until(now_us), |row| {
            live.push_trade(row);
            true
        });
        assert!(live.trades().len() > 100);
        let joined = Tape { past: &past, until_us, live: &live };
        let whole = Tape { past: &past, until_us: i64::MAX, live: &nothing };
        assert_eq!((joined.ids(now_us), joined.last(now_us)), (whole.ids(now_us), whole.last(now_us)));
        for count in [1, 7, live.trades().len(), live.trades().len() + 5, 1_500] {
            assert_eq!(joined.newest(count, now_us), whole.newest(count, now_us), "{count}");
        }
        for from_us in [0, at(3, 0), until_us, until_us + 1, at(140, 5), live.trades()[9].time_us] {
            let rows = |tape: Tape<'_>| {
                let mut rows = Vec::new();
                tape.since(from_us, now_us, |row| {
                    rows.push(row);
                    rows.len() < 900
                });
                rows
            };
            assert_eq!(rows(joined), rows(whole), "{from_us}");
        }
        for minutes in [1, 5, 60] {
            let interval = Interval::Minutes(minutes);
            let mut open_us = interval.open(at(0, 0));
            let (mut one, mut other) = (joined.bars(open_us, now_us), whole.bars(open_us, now_us));
            while open_us <= now_us {
                let next_us = interval.next(open_us);
                assert_eq!(one.whole(open_us, next_us), other.whole(open_us, next_us), "{minutes} {open_us}");
                open_us = next_us;
            }
        }
        // Asked for alone, a candle is the same.
        let alone = |tape: Tape<'_>, minute| tape.bars(at(minute, 0), now_us).whole(at(minute, 0), at(minute + 1, 0));
        assert!((90..171).all(|minute| alone(joined, minute) == alone(whole, minute)));
    }
}
