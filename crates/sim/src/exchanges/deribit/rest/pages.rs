//! Pages of trades and candles.

use crate::deep::minute::MINUTE_US;
use crate::deep::tape::Tape;
use crate::exchanges::deribit::render::Told;
use crate::market::history::{Bar, TradeRow};
use crate::market::interval::Interval;

/// Candles of a page at most.
pub(super) const CANDLES_MAX: usize = 5_000;

/// Which trades are wanted, both ends included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub seqs: (u64, u64),
    pub millis: (i64, i64),
    pub count: usize,
    /// The oldest of them, oldest first; otherwise the newest, newest first.
    pub is_ascending: bool,
}

/// Trades of a market, and whether there are more within what is wanted.
pub(super) fn trades(tape: Tape<'_>, wanted: Wanted, now_us: i64) -> (Vec<Told>, bool) {
    let (live, past) = (tape.live.trades(), tape.past);
    let from_us = wanted.millis.0.saturating_mul(1_000);
    let until_us = wanted.millis.1.saturating_add(1).saturating_mul(1_000).saturating_sub(1).min(now_us);
    // Indexes of the past, and of the live trades behind it.
    let index = |seq: u64| i64::try_from(seq.saturating_sub(past.first_id)).unwrap_or(i64::MAX);
    let past_begin = index(wanted.seqs.0).max(past.count_until(from_us.max(0).saturating_sub(1)));
    let past_end = index(wanted.seqs.1.saturating_add(1)).min(past.count_until(until_us.min(tape.until_us)));
    let live_begin = live.partition_point(|row| row.id < wanted.seqs.0 || row.time_us < from_us);
    let live_end = live.partition_point(|row| row.id <= wanted.seqs.1 && row.time_us <= until_us);
    let past_count = usize::try_from(past_end - past_begin).unwrap_or(0);
    let live_count = live_end.saturating_sub(live_begin);
    let count = wanted.count.min(past_count + live_count);
    let has_more = past_count + live_count > count;
    let (of_past, of_live) = if wanted.is_ascending {
        let of_past = count.min(past_count);
        (past_begin..past_begin + signed(of_past), live_begin..live_begin + (count - of_past))
    } else {
        let of_live = count.min(live_count);
        (past_end - signed(count - of_live)..past_end, live_begin + live_count - of_live..live_begin + live_count)
    };
    // One before the first says which way the price went.
    let mut rows: Vec<TradeRow> = Vec::with_capacity(count + 1);
    let last_of_past = past.count_until(now_us.min(tape.until_us)) - 1;
    let before = if !of_past.is_empty() {
        past.trade(of_past.start - 1)
    } else if of_live.start > 0 {
        live.get(of_live.start - 1).copied()
    } else {
        past.trade(last_of_past)
    };
    if !of_past.is_empty() {
        past.trades(of_past.start, of_past.end, |row| {
            rows.push(row);
            true
        });
    }
    rows.extend(live.range(of_live));
    let mut price = before.or(rows.first().copied()).map_or(0, |row| row.price);
    let mut told: Vec<Told> =
        rows.into_iter().map(|row| Told { row, before: std::mem::replace(&mut price, row.price) }).collect();
    if !wanted.is_ascending {
        told.reverse();
    }
    (told, has_more)
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Candles that open within these microseconds, oldest first; of more than there may be, the newest. The last one may still be open.
pub(super) fn candles(tape: Tape<'_>, interval: Interval, from_us: i64, to_us: i64, now_us: i64) -> Vec<Bar> {
    let first_us = interval.open(tape.past.listed * MINUTE_US);
    let last_us = interval.open(to_us.min(now_us));
    let from_us = from_us.max(first_us);
    let mut opens = Vec::new();
    let mut at = last_us;
    while at >= from_us && opens.len() < CANDLES_MAX {
        opens.push(at);
        at = interval.open(at - 1);
    }
    let Some(oldest) = opens.last() else { return Vec::new() };
    let mut bars = tape.bars(*oldest, now_us);
    opens.iter().rev().map(|at| bars.whole(*at, interval.next(*at))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deep::past::tests::past;
    use crate::market::history::History;

    #[test]
    fn pages_of_trades_go_on_from_the_past_to_the_live_market_in_both_directions() {
        let past = past("listed=2020-01-01,trades=700,quiet=0.3,outages=0,halts=0");
        let at = |minute: i64| (past.listed + minute) * MINUTE_US;
        let (until_us, now_us) = (at(100) + 31_234_567, at(171));
        let mut live = History::keeping(10_000);
        past.trades(past.count_until(until_us), past.count_until(now_us), |row| {
            live.push_trade(row);
            true
        });
        let tape = Tape { past: &past, until_us, live: &live };
        let last = past.first_id + past.count_until(now_us).cast_unsigned() - 1;
        let all = Wanted { seqs: (0, u64::MAX), millis: (0, i64::MAX / 2_000), count: 100, is_ascending: true };
        for is_ascending in [true, false] {
            let (mut seen, mut seqs) = (Vec::new(), all.seqs);
            loop {
                let (page, has_more) = trades(tape, Wanted { seqs, is_ascending, ..all }, now_us);
                seen.extend(page.iter().map(|told| told.row));
                let Some(end) = page.last().filter(|_| has_more).map(|told| told.row.id) else { break };
                seqs = if is_ascending { (end + 1, seqs.1) } else { (seqs.0, end - 1) };
            }
            if !is_ascending {
                seen.reverse();
            }
            assert_eq!(seen.iter().map(|row| row.id).collect::<Vec<_>>(), (past.first_id..=last).collect::<Vec<_>>());
            assert!(seen.iter().all(|row| past.trade((row.id - past.first_id).cast_signed()) == Some(*row)));
        }
        // By time, with both ends; and what went before a page is the price of the trade before it.
        let millis = (at(90) / 1_000, at(110) / 1_000);
        let (page, has_more) = trades(tape, Wanted { millis, count: 1_000, ..all }, now_us);
        let times = page.iter().map(|told| told.row.time_us);
        assert!(!has_more && page.len() > 100 && times.clone().all(|us| (at(90)..at(110) + 1_000).contains(&us)));
        let before = past.trade((page[0].row.id - past.first_id).cast_signed() - 1).unwrap();
        assert_eq!(page[0].before, before.price);
        assert!(page.windows(2).all(|pair| pair[1].before == pair[0].row.price));
        for seqs in [(last + 1, u64::MAX), (5, 4), (0, past.first_id.saturating_sub(1))] {
            let (page, has_more) = trades(tape, Wanted { seqs, millis: (0, at(0) / 1_000 - 1), ..all }, now_us);
            assert!(page.is_empty() && !has_more, "{seqs:?}");
        }
    }

    #[test]
    fn pages_of_candles_lie_between_their_ends_and_keep_the_newest() {
        let past = past("listed=2020-01-01,trades=70,quiet=0.3,outages=0,halts=0");
        let live = History::default();
        let tape = Tape { past: &past, until_us: i64::MAX, live: &live };
        let at = |minute: i64| (past.listed + minute) * MINUTE_US;
        let opens = |from, to| {
            let page = candles(tape, Interval::Minutes(1), from, to, at(6_000) + 5);
            page.iter().map(|bar| bar.open_us / MINUTE_US - past.listed).collect::<Vec<_>>()
        };
        assert_eq!(opens(at(7), at(9)), [7, 8, 9]);
        assert_eq!(opens(at(7) + 1, at(9) - 1), [8]);
        assert_eq!(opens(at(-9), at(1)), [0, 1]);
        assert_eq!(opens(0, i64::MAX), (1_001..=6_000).collect::<Vec<_>>());
        assert!(opens(at(6_001), i64::MAX).is_empty() && opens(0, at(0) - 1).is_empty());
        let days = candles(tape, Interval::Days(1), 0, i64::MAX, at(6_000));
        assert_eq!(days.len(), 5);
    }
}
