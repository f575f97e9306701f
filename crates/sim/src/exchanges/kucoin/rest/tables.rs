//! Candles of a market, newest first and without those in which nothing was traded.

use crate::deep::minute::MINUTE_US;
use crate::deep::tape::Tape;
use crate::market::history::Bar;
use crate::market::interval::Interval;

/// Rows of an answer at most.
pub(super) const CANDLES_MAX: usize = 1_500;

/// The candles that open within `from_us..to_us`, the open one among them; the newest where there are too many.
pub(super) fn candles(tape: Tape<'_>, interval: Interval, (from_us, to_us): (i64, i64), now_us: i64) -> Vec<Bar> {
    let listed_us = tape.past.listed * MINUTE_US;
    let first_us = from_us.max(interval.open(listed_us));
    let mut rows: Vec<Bar> = Vec::new();
    let mut at = interval.open(to_us.saturating_sub(1).min(now_us));
    while rows.len() < CANDLES_MAX && at >= first_us && listed_us <= now_us {
        // Those with trades are not known beforehand: as many are made as there is room for.
        let mut opens = Vec::new();
        while opens.len() < CANDLES_MAX - rows.len() && at >= first_us {
            opens.push(at);
            at = interval.open(at - 1);
        }
        let Some(oldest) = opens.last() else { break };
        let mut bars = tape.bars(*oldest, now_us);
        let mut page: Vec<Bar> = opens.iter().rev().map(|open| bars.whole(*open, interval.next(*open))).collect();
        page.reverse();
        rows.extend(page.into_iter().filter(|bar| bar.trades > 0));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deep::past::tests::past;
    use crate::market::history::History;

    #[test]
    fn candles_lie_within_their_bounds_newest_first_and_quiet_ones_are_left_out() {
        let past = past(
            "listed=2020-01-01,trades=6000,quiet=0,halts=0,outages=0,BTC/USDT.quiet=2020-01-02T00:00..2020-01-02T00:10",
        );
        let live = History::default();
        let tape = Tape { past: &past, until_us: i64::MAX, live: &live };
        let at = |minute: i64| (past.listed + minute) * MINUTE_US;
        let now_us = at(4_000) + 10_000_000;
        let opens = |from_us, to_us| {
            let rows = candles(tape, Interval::Minutes(1), (from_us, to_us), now_us);
            assert!(rows.iter().all(|bar| bar.trades > 0));
            rows.iter().map(|bar| bar.open_us / MINUTE_US - past.listed).collect::<Vec<_>>()
        };
        let down = |from: i64, to: i64| (to..=from).rev().collect::<Vec<_>>();
        assert_eq!(opens(at(3_000), at(3_003)), [3_002, 3_001, 3_000]);
        assert_eq!(opens(at(3_000) + 1, at(3_002) + 1), [3_002, 3_001]);
        assert_eq!(opens(i64::MIN, i64::MAX), down(4_000, 2_501));
        assert_eq!(opens(at(1_435), at(1_455)), [down(1_454, 1_450), down(1_439, 1_435)].concat());
        // The rows that are left out leave room for others.
        assert_eq!(opens(i64::MIN, at(1_500)), [down(1_499, 1_450), down(1_439, 0)].concat());
        assert!(opens(at(-10), at(0)).is_empty() && opens(at(4_001), at(5_000)).is_empty());
    }
}
