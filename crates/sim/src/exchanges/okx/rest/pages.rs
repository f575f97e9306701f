//! Pages of trades and candles, newest first.

use super::super::bars::Width;
use crate::deep::minute::MINUTE_US;
use crate::deep::tape::Tape;
use crate::market::history::{Bar, TradeRow};

/// Where a page of trades begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Below {
    /// With the newest.
    Nothing,
    /// With the one before this id.
    Id(u64),
    /// With the last one before this millisecond.
    Millis(i64),
}

/// Trades of a market, newest first.
pub(super) fn trades(tape: Tape<'_>, below: Below, count: usize, now_us: i64) -> Vec<TradeRow> {
    let (live, past) = (tape.live.trades(), tape.past);
    let end_us = now_us.min(tape.until_us);
    let (live_end, past_end) = match below {
        Below::Nothing => (live.len(), past.count_until(end_us)),
        Below::Id(id) => {
            let before = i64::try_from(id.saturating_sub(past.first_id)).unwrap_or(i64::MAX);
            (live.partition_point(|row| row.id < id), past.count_until(end_us).min(before))
        }
        Below::Millis(ms) => {
            let us = ms.saturating_mul(1_000);
            (live.partition_point(|row| row.time_us < us), past.count_until(end_us.min(us.saturating_sub(1))))
        }
    };
    let mut page: Vec<TradeRow> = live.range(live_end.saturating_sub(count)..live_end).rev().copied().collect();
    let left = i64::try_from(count - page.len()).unwrap_or(0);
    if left > 0 && past_end > 0 {
        let mut old = Vec::new();
        past.trades((past_end - left).max(0), past_end, |row| {
            old.push(row);
            true
        });
        page.extend(old.into_iter().rev());
    }
    page
}

/// Which candles are wanted: those that open before `after_us` and behind `before_us`, no earlier than `floor_us`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candles {
    pub width: Width,
    pub after_us: i64,
    pub before_us: i64,
    pub count: usize,
    /// Candles that reach back at most, the open one included; none: all there are.
    pub reach: Option<usize>,
    /// Whether the open candle is among them.
    pub with_open: bool,
}

/// Candles of a market, newest first, each with whether it is closed.
pub(super) fn candles(tape: Tape<'_>, wanted: Candles, now_us: i64) -> Vec<(Bar, bool)> {
    let Candles { width, after_us, before_us, count, reach, with_open } = wanted;
    let listed_us = tape.past.listed * MINUTE_US;
    if listed_us > now_us {
        return Vec::new();
    }
    let open_us = width.open(now_us);
    let first_us = width.open(listed_us);
    let mut at = open_us.min(width.open(after_us.saturating_sub(1).clamp(0, now_us)));
    if !with_open && at == open_us {
        at = width.open(open_us - 1);
    }
    // The oldest that can be had is found by stepping back: months are not all of one length.
    let mut floor_us = first_us;
    if let Some(reach) = reach {
        let mut back = open_us;
        for _ in 1..reach {
            if back <= first_us {
                break;
            }
            back = width.open(back - 1);
        }
        floor_us = back.max(first_us);
    }
    let mut opens = Vec::new();
    while opens.len() < count && at >= floor_us && at > before_us {
        opens.push(at);
        at = width.open(at - 1);
    }
    let Some(oldest) = opens.last() else { return Vec::new() };
    let mut bars = tape.bars(*oldest, now_us);
    let mut page: Vec<_> = opens.iter().rev().map(|at| (bars.whole(*at, width.next(*at)), *at < open_us)).collect();
    page.reverse();
    page
}

#[cfg(test)]
mod tests {
    use super::super::super::bars::WIDTHS;
    use super::*;
    use crate::deep::past::tests::past;
    use crate::market::history::History;

    #[test]
    fn pages_of_trades_lead_from_the_live_market_through_its_past_to_the_first() {
        let past = past("listed=2020-01-01,trades=700,quiet=0.3,outages=0,halts=0");
        let at = |minute: i64| (past.listed + minute) * MINUTE_US;
        let (until_us, now_us) = (at(100) + 31_234_567, at(171));
        let mut live = History::keeping(10_000);
        past.trades(past.count_until(until_us), past.count_until(now_us), |row| {
            live.push_trade(row);
            true
        });
        let tape = Tape { past: &past, until_us, live: &live };
        let total = past.count_until(now_us).cast_unsigned();
        let (mut below, mut seen) = (Below::Nothing, Vec::new());
        loop {
            let page = trades(tape, below, 100, now_us);
            let Some(last) = page.last() else { break };
            below = Below::Id(last.id);
            seen.extend(page.iter().map(|row| row.id));
        }
        let all: Vec<_> = (past.first_id..past.first_id + total).rev().collect();
        assert_eq!(seen, all);
        for minute in [0, 50, 100, 101, 150, 171] {
            let page = trades(tape, Below::Millis(at(minute) / 1_000), 50, now_us);
            let before = past.count_until(at(minute) - 1).cast_unsigned();
            assert_eq!(page.len(), usize::try_from(before.min(50)).unwrap());
            assert!(page.first().is_none_or(|row| row.id == past.first_id + before - 1), "{minute}");
        }
    }

    #[test]
    fn pages_of_candles_lie_between_their_bounds_newest_first() {
        let past = past("listed=2020-01-01,trades=700,quiet=0.3,outages=0,halts=0");
        let live = History::default();
        let tape = Tape { past: &past, until_us: i64::MAX, live: &live };
        let at = |minute: i64| (past.listed + minute) * MINUTE_US;
        let now_us = at(2_000) + 10_000_000;
        let minute = WIDTHS[Width::named("1m").unwrap()];
        let wanted =
            Candles { width: minute, after_us: i64::MAX, before_us: i64::MIN, count: 300, reach: None, with_open: true };
        let opens = |wanted| {
            let page = candles(tape, wanted, now_us);
            assert!(page.iter().all(|(bar, is_closed)| *is_closed == (bar.open_us < at(2_000))));
            page.iter().map(|(bar, _)| bar.open_us / MINUTE_US - past.listed).collect::<Vec<_>>()
        };
        let down = |from: i64, to: i64| (to..=from).rev().collect::<Vec<_>>();
        assert_eq!(opens(wanted), down(2_000, 1_701));
        assert_eq!(opens(Candles { with_open: false, ..wanted }), down(1_999, 1_700));
        assert_eq!(opens(Candles { after_us: at(100), before_us: at(97), ..wanted }), [99, 98]);
        assert_eq!(opens(Candles { after_us: at(100) + 1, count: 2, ..wanted }), [100, 99]);
        assert_eq!(opens(Candles { after_us: at(2), ..wanted }), [1, 0]);
        assert!(opens(Candles { after_us: at(0), ..wanted }).is_empty());
        // With the lower bound alone the newest come.
        assert_eq!(opens(Candles { before_us: at(5), count: 2, ..wanted }), [2_000, 1_999]);
        assert_eq!(opens(Candles { after_us: at(700), reach: Some(1_440), ..wanted }), down(699, 561));
    }
}
