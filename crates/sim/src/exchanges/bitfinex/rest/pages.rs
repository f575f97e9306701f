//! Pages of trades and candles between two instants, from either end.

use crate::deep::minute::MINUTE_US;
use crate::deep::tape::Tape;
use crate::market::history::{Bar, TradeRow};
use crate::market::interval::Interval;

/// Which trades are wanted: those of whole milliseconds from and to these, both included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trades {
    pub start_ms: i64,
    pub end_ms: i64,
    pub count: usize,
    pub oldest_first: bool,
}

/// In the exchange's order: newest millisecond first, by their ids within one.
pub(crate) fn newest_first(rows: &[TradeRow]) -> Vec<TradeRow> {
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| (-row.time_us.div_euclid(1_000), row.id));
    rows
}

/// Trades of a market.
pub(crate) fn trades(tape: Tape<'_>, wanted: Trades, now_us: i64) -> Vec<TradeRow> {
    let Trades { start_ms, end_ms, count, oldest_first } = wanted;
    let start_us = start_ms.saturating_mul(1_000);
    let end_us = end_ms.saturating_mul(1_000).saturating_add(999).min(now_us);
    let mut page = Vec::new();
    if oldest_first {
        if count > 0 && start_us <= end_us {
            tape.since(start_us, end_us, |row| {
                page.push(row);
                page.len() < count
            });
        }
        return page;
    }
    let (live, past) = (tape.live.trades(), tape.past);
    let end = live.partition_point(|row| row.time_us <= end_us);
    page.extend(live.range(end.saturating_sub(count)..end));
    let left = i64::try_from(count - page.len()).unwrap_or(0);
    let past_end = past.count_until(end_us.min(tape.until_us));
    let mut old = Vec::new();
    if left > 0 && past_end > 0 {
        past.trades((past_end - left).max(0), past_end, |row| {
            old.push(row);
            true
        });
    }
    old.extend(page);
    old.retain(|row| row.time_us >= start_us);
    newest_first(&old)
}

/// Which candles are wanted: those that open from and to these instants, both included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candles {
    pub interval: Interval,
    pub start_us: i64,
    pub end_us: i64,
    pub count: usize,
    pub oldest_first: bool,
}

/// Candles of a market; where nothing was traded there are none. The open one is the last.
pub(crate) fn candles(tape: Tape<'_>, wanted: Candles, now_us: i64) -> Vec<Bar> {
    let Candles { interval, start_us, end_us, count, oldest_first } = wanted;
    let listed_us = interval.open(tape.past.listed * MINUTE_US);
    let first_us = match interval.open(start_us) {
        open if open < start_us => interval.next(open),
        open => open,
    }
    .max(listed_us);
    let last_us = interval.open(end_us.min(now_us));
    if oldest_first {
        let mut page = Vec::new();
        traded(tape, interval, (first_us, last_us), now_us, |bar| {
            page.push(bar);
            page.len() < count
        });
        page.truncate(count);
        return page;
    }
    let mut page = Vec::new();
    let mut upper_us = last_us;
    // By stretches backwards: quiet ones are left out, so how far it is nobody knows.
    while page.len() < count && upper_us >= first_us {
        let mut lower_us = upper_us;
        for _ in 0..count - page.len() {
            if lower_us <= first_us {
                break;
            }
            lower_us = interval.open(lower_us - 1);
        }
        let mut stretch = Vec::new();
        traded(tape, interval, (lower_us, upper_us), now_us, |bar| {
            stretch.push(bar);
            true
        });
        page.extend(stretch.into_iter().rev());
        upper_us = interval.open(lower_us - 1);
    }
    page.truncate(count);
    page
}

/// Gives the candles that open within this stretch and in which something was traded; what `each` says decides whether to go on.
fn traded(tape: Tape<'_>, interval: Interval, range: (i64, i64), now_us: i64, mut each: impl FnMut(Bar) -> bool) {
    let mut open_us = range.0;
    let mut bars = tape.bars(open_us, now_us);
    while open_us <= range.1 {
        let next_us = interval.next(open_us);
        let bar = bars.whole(open_us, next_us);
        if bar.trades > 0 && !each(Bar { open_us, ..bar }) {
            return;
        }
        open_us = next_us;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deep::past::Past;
    use crate::deep::past::tests::past;
    use crate::market::history::History;

    const QUIET: &str = "listed=2020-01-01,trades=700,quiet=0.3,outages=0,halts=0";

    fn at(past: &Past, minute: i64) -> i64 {
        (past.listed + minute) * MINUTE_US
    }

    #[test]
    fn pages_of_trades_lead_through_the_live_market_and_its_past_from_either_end() {
        let past = past(QUIET);
        let (until_us, now_us) = (at(&past, 100) + 31_234_567, at(&past, 171));
        let mut live = History::keeping(10_000);
        past.trades(past.count_until(until_us), past.count_until(now_us), |row| {
            live.push_trade(row);
            true
        });
        let tape = Tape { past: &past, until_us, live: &live };
        let total = past.count_until(now_us).cast_unsigned();
        let all: Vec<u64> = (past.first_id..past.first_id + total).collect();
        for oldest_first in [false, true] {
            let mut wanted = Trades { start_ms: 0, end_ms: now_us / 1_000, count: 150, oldest_first };
            let mut seen = std::collections::BTreeSet::new();
            loop {
                let page = trades(tape, wanted, now_us);
                let Some(last) = page.last() else { break };
                let ms = |row: &TradeRow| row.time_us / 1_000;
                assert!(page.windows(2).all(|pair| if oldest_first {
                    ms(&pair[0]) <= ms(&pair[1])
                } else {
                    ms(&pair[0]) >= ms(&pair[1])
                }));
                let before = seen.len();
                seen.extend(page.iter().map(|row| row.id));
                if seen.len() == before {
                    break;
                }
                // A page's last millisecond may go on with the next.
                if oldest_first { wanted.start_ms = ms(last) } else { wanted.end_ms = ms(last) }
            }
            assert!(seen.into_iter().eq(all.iter().copied()), "{oldest_first}");
        }
        let none = Trades { start_ms: 5, end_ms: 4, count: 10, oldest_first: true };
        assert!(trades(tape, none, now_us).is_empty());
    }

    #[test]
    fn pages_of_candles_leave_quiet_ones_out_and_reach_their_count() {
        let past = past(QUIET);
        let live = History::default();
        let tape = Tape { past: &past, until_us: i64::MAX, live: &live };
        let now_us = at(&past, 2_000) + 10_000_000;
        let minute = Interval::Minutes(1);
        let wanted = Candles { interval: minute, start_us: 0, end_us: i64::MAX, count: usize::MAX, oldest_first: true };
        let opens = |wanted| candles(tape, wanted, now_us).iter().map(|bar| bar.open_us).collect::<Vec<_>>();
        let all = opens(wanted);
        assert!((1_200..1_700).contains(&all.len()) && all.is_sorted(), "{}", all.len());
        let mut newest: Vec<_> = all.iter().rev().copied().collect();
        for count in [1, 7, 300, 1_100] {
            assert_eq!(opens(Candles { count, ..wanted }), all[..count]);
            assert_eq!(opens(Candles { count, oldest_first: false, ..wanted }), newest[..count]);
        }
        newest.retain(|open| (all[10]..=all[20]).contains(open));
        let between = Candles { start_us: all[10], end_us: all[20], count: 300, oldest_first: false, ..wanted };
        assert_eq!(opens(between), newest);
        assert_eq!(opens(Candles { oldest_first: true, ..between }), all[10..=20]);
        assert_eq!(opens(Candles { start_us: all[10] + 1, oldest_first: true, ..between }), all[11..=20]);
    }
}
