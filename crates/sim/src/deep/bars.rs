//! Candles of any interval, made of minutes (or, for seconds, of trades) when asked for.

use super::minute::{Base, MINUTE_US};
use super::past::{BLOCK, Layout, Past};
use crate::market::history::Bar;
use crate::market::history::BarSpan;
use crate::market::interval::Interval;

/// Walks over minutes and remembers the block it is in.
pub(crate) struct Walker<'a> {
    past: &'a Past,
    layout: Layout,
    base: Base,
    /// The last traded price, `e8`.
    close: i64,
    now_us: i64,
}

impl<'a> Walker<'a> {
    /// A walker whose first minute will be this one; nothing after `now_us` has happened.
    pub(crate) fn new(past: &'a Past, minute: i64, now_us: i64) -> Self {
        let block = minute.div_euclid(BLOCK);
        Self { past, layout: past.layout(block), base: past.base(block), close: past.close_before(minute), now_us }
    }

    /// The candle of a minute of an open market, flat when nothing was traded. Minutes are to be asked for in order, and none
    /// that had trades left out.
    pub(crate) fn minute(&mut self, minute: i64) -> Bar {
        let block = minute.div_euclid(BLOCK);
        if block != self.layout.block {
            (self.layout, self.base) = (self.past.layout(block), self.past.base(block));
        }
        match self.past.minute_bar(&self.layout, self.base, minute, self.now_us) {
            Some(bar) => {
                self.close = bar.close;
                bar
            }
            None => Bar::flat(minute * MINUTE_US, self.close),
        }
    }

    /// The candle from `open` to `next` (minutes); `None` when the market was closed all that time.
    fn span(&mut self, open: i64, next: i64) -> Option<Bar> {
        let mut whole: Option<Bar> = None;
        let mut at = open.max(self.past.listed);
        while at < next && at * MINUTE_US <= self.now_us {
            if let Some((_, after)) = self.past.closed.holding(at) {
                at = after;
                continue;
            }
            let bar = self.minute(at);
            match &mut whole {
                Some(whole) => whole.add(&bar),
                None => whole = Some(Bar { open_us: open * MINUTE_US, ..bar }),
            }
            at += 1;
        }
        whole
    }

    /// The candle of one second of an open market.
    fn second(&mut self, open_us: i64) -> Bar {
        let minute = open_us.div_euclid(MINUTE_US);
        let block = minute.div_euclid(BLOCK);
        if block != self.layout.block {
            (self.layout, self.base) = (self.past.layout(block), self.past.base(block));
        }
        let mut whole = Bar::flat(open_us, self.close);
        let (past, base, now_us) = (self.past, self.base, self.now_us);
        past.trades_in(&self.layout, minute, |index, price, lots, time_us, buyer_rested| {
            if !(open_us..open_us + 1_000_000).contains(&time_us) || time_us > now_us {
                return;
            }
            let id = past.first_id + (base.trade + index).cast_unsigned();
            let (amount, value) = past.volumes(price, lots);
            let taken = i64::from(!buyer_rested);
            let price = price * past.tick;
            whole.add(&Bar {
                volume: amount,
                quote_volume: value,
                taker_volume: taken * amount,
                taker_quote_volume: taken * value,
                trades: 1,
                first_id: id,
                last_id: id,
                ..Bar::flat(open_us, price)
            });
        });
        self.close = whole.close;
        whole
    }
}

/// Which candles are wanted, microseconds; those that open within `from..=to`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) interval: Interval,
    /// The oldest from here on; the newest when absent.
    pub(crate) from_us: Option<i64>,
    pub(crate) to_us: i64,
    pub(crate) now_us: i64,
    pub(crate) limit: usize,
}

impl Past {
    /// Gives each wanted candle, oldest first. Candles of minutes in which the market was closed don't exist.
    pub(crate) fn bars(&self, wanted: Wanted, mut each: impl FnMut(BarSpan, &Bar)) {
        let Wanted { interval, now_us, limit, .. } = wanted;
        let to = wanted.to_us.min(now_us);
        let first = interval.open(self.listed * MINUTE_US);
        let mut open_us = match wanted.from_us {
            Some(from) if from <= first => first,
            Some(from) => {
                let open = interval.open(from);
                if open < from { interval.next(open) } else { open }
            }
            None => match self.newest(interval, to, limit, first) {
                Some(open) => open,
                None => return,
            },
        };
        if open_us > to {
            return;
        }
        let mut walker = Walker::new(self, open_us.div_euclid(MINUTE_US).max(self.listed), now_us);
        if interval == Interval::Second {
            let before = self.count_until(open_us - 1);
            walker.close = self.trade(before - 1).map_or(walker.close, |row| row.price);
        }
        let mut left = limit;
        while open_us <= to && left > 0 {
            let next_us = interval.next(open_us);
            if let Some(after_us) = self.closed_over(open_us, next_us) {
                // The candle in which the market opens again.
                open_us = interval.open(after_us).max(next_us);
                continue;
            }
            let span = BarSpan { open_us, next_us };
            let bar = match interval {
                Interval::Second => Some(walker.second(open_us)),
                Interval::Minutes(1) => Some(walker.minute(open_us.div_euclid(MINUTE_US))),
                _ => walker.span(open_us.div_euclid(MINUTE_US), next_us.div_euclid(MINUTE_US)),
            };
            if let Some(bar) = bar {
                each(span, &bar);
                left -= 1;
            }
            open_us = next_us;
        }
    }

    /// When the market opens again (microseconds), where it is closed over all of a candle.
    fn closed_over(&self, open_us: i64, next_us: i64) -> Option<i64> {
        let (open, next) = (open_us.div_euclid(MINUTE_US).max(self.listed), -(-next_us).div_euclid(MINUTE_US));
        let (_, after) = self.closed.holding(open)?;
        (after >= next).then_some(after * MINUTE_US)
    }

    /// Where the newest `limit` candles up to `to` begin.
    fn newest(&self, interval: Interval, to: i64, limit: usize, first: i64) -> Option<i64> {
        let mut open_us = interval.open(to);
        let mut found = None;
        let mut left = limit;
        while open_us >= first && left > 0 {
            if self.closed_over(open_us, interval.next(open_us)).is_some() {
                let (from, _) = self.closed.holding(open_us.div_euclid(MINUTE_US).max(self.listed))?;
                open_us = interval.open((from * MINUTE_US - 1).min(open_us - 1));
                continue;
            }
            found = Some(open_us);
            left -= 1;
            open_us = interval.open(open_us - 1);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::past::tests::past;
    use super::*;

    const NOW: i64 = 1_600_000_000_000_000;

    fn rows(past: &Past, label: &str, from: Option<i64>, to: i64, limit: usize) -> Vec<Bar> {
        let interval = Interval::parse(label).unwrap();
        let mut rows = Vec::new();
        past.bars(Wanted { interval, from_us: from, to_us: to, now_us: NOW, limit }, |span, bar| {
            assert_eq!((span.open_us, span.next_us), (bar.open_us, interval.next(bar.open_us)));
            rows.push(*bar);
        });
        rows
    }

    #[test]
    fn closed_minutes_have_no_candle_and_quiet_ones_a_flat_one() {
        let past = past(
            "listed=2020-01-01T02:30,trades=6000,quiet=0,halts=0,\
             BTC/USDT.outage=2020-01-01T03:30..2020-01-01T07:10,BTC/USDT.quiet=2020-01-01T02:40..2020-01-01T02:45",
        );
        let all = rows(&past, "1m", Some(0), i64::MAX, 120);
        let opens: Vec<_> = all.iter().map(|b| b.open_us / MINUTE_US - past.listed).collect();
        assert_eq!(opens, (0..60).chain(280..340).collect::<Vec<_>>());
        let flat: Vec<_> = all.iter().enumerate().filter(|(_, b)| b.trades == 0).map(|(i, _)| i).collect();
        assert_eq!(flat, (10..15).collect::<Vec<_>>());
        for i in flat {
            assert_eq!((all[i].open, all[i].high, all[i].low, all[i].volume), (all[9].close, all[9].close, all[9].close, 0));
        }
        // The same page from its other end, and from the middle of it.
        let last = all[119].open_us;
        assert_eq!(rows(&past, "1m", None, last + 5, 120), all);
        assert_eq!(rows(&past, "1m", None, last, 7), all[113..]);
        assert_eq!(rows(&past, "1m", Some(all[11].open_us), all[70].open_us, 1_000), all[11..=70]);
        assert_eq!(rows(&past, "1m", Some(all[60].open_us - 10 * MINUTE_US), i64::MAX, 2), all[60..62]);
    }

    #[test]
    fn larger_candles_are_their_minutes_and_one_second_candles_make_them() {
        let past = past("listed=2020-01-01T02:30,halts=0,BTC/USDT.outage=2020-01-01T03:30..2020-01-01T07:10");
        let minutes = rows(&past, "1m", Some(0), i64::MAX, 3_000);
        for (label, interval) in [("5m", 5), ("1h", 60), ("1d", 1_440), ("1w", 10_080)] {
            let large = rows(&past, label, Some(0), minutes[2_999].open_us - interval * MINUTE_US, 5_000);
            let parsed = Interval::parse(label).unwrap();
            for bar in &large {
                let mut whole = Bar { open_us: bar.open_us, ..Bar::default() };
                let part: Vec<_> = minutes.iter().filter(|b| parsed.open(b.open_us) == bar.open_us).collect();
                part.iter().for_each(|b| whole.add(b));
                assert_eq!((bar.trades, bar.volume, bar.quote_volume), (whole.trades, whole.volume, whole.quote_volume));
                assert_eq!((bar.open, bar.high, bar.low, bar.close), (whole.open, whole.high, whole.low, whole.close));
            }
            assert!(large.len() >= usize::from(interval <= 1_440), "{label}");
            assert_eq!(rows(&past, label, None, large.last().map_or(0, |b| b.open_us), 5_000), large);
        }
        let from = minutes[40].open_us;
        let seconds = rows(&past, "1s", Some(from), from + 10 * MINUTE_US - 1, 1_000);
        assert_eq!(seconds.len(), 600);
        assert_eq!(seconds.iter().map(|b| b.volume).sum::<i64>(), minutes[40..50].iter().map(|b| b.volume).sum::<i64>());
        assert_eq!((seconds[59].close, seconds[599].close), (minutes[40].close, minutes[49].close));
    }

    #[test]
    fn the_open_candle_holds_what_has_happened_so_far() {
        let past = past("listed=2020-01-01,trades=6000,quiet=0");
        let whole = rows(&past, "1m", None, NOW, 1)[0];
        let bar_at = |at_us: i64, now_us: i64| {
            let open_us = Interval::Minutes(1).open(at_us);
            let wanted = Wanted { interval: Interval::Minutes(1), from_us: Some(open_us), to_us: open_us, now_us, limit: 1 };
            let mut found = None;
            past.bars(wanted, |_, bar| found = Some(*bar));
            found.unwrap()
        };
        let (open, ended) = (bar_at(NOW, NOW), bar_at(NOW, NOW + MINUTE_US));
        assert_eq!(whole, open);
        assert!(open.trades < ended.trades && open.first_id == ended.first_id, "{open:?} {ended:?}");
        assert_eq!(past.count_until(NOW), i64::try_from(open.last_id + 1).unwrap());
    }
}
