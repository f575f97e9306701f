//! What has been traded: a bounded number of trades and candles per symbol, for REST answers and candle streams.

use std::collections::VecDeque;

use super::interval::Interval;
use super::spec::Spec;

/// One trade, `e8`, microseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TradeRow {
    pub id: u64,
    pub price: i64,
    pub amount: i64,
    pub time_us: i64,
    pub buyer_is_maker: bool,
}

impl TradeRow {
    /// Price times amount, `e8`, rounded down.
    pub(crate) fn quote_amount(&self) -> i64 {
        quote_amount(self.price, self.amount)
    }
}

/// What was traded in the base and in the quote currency, `e8`, what had to be reckoned rounded down.
pub(crate) fn volumes(price: i64, amount: i64, is_inverse: bool) -> (i64, i64) {
    if !is_inverse {
        return (amount, quote_amount(price, amount));
    }
    let base = i128::from(amount) * 100_000_000 / i128::from(price.max(1));
    (i64::try_from(base).unwrap_or(i64::MAX), amount)
}

fn quote_amount(price: i64, amount: i64) -> i64 {
    i64::try_from(i128::from(price) * i128::from(amount) / 100_000_000).unwrap_or(i64::MAX)
}

/// Trades of one taker order at one price, as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AggRow {
    pub id: u64,
    pub first: u64,
    pub last: u64,
    pub price: i64,
    pub amount: i64,
    pub time_us: i64,
    pub buyer_is_maker: bool,
}

/// The open time and the last instant of a candle, microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BarSpan {
    pub open_us: i64,
    pub next_us: i64,
}

/// A candle, `e8`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bar {
    pub open_us: i64,
    pub open: i64,
    pub high: i64,
    pub low: i64,
    pub close: i64,
    pub volume: i64,
    pub quote_volume: i64,
    pub taker_volume: i64,
    pub taker_quote_volume: i64,
    pub trades: u64,
    pub first_id: u64,
    pub last_id: u64,
}

impl Bar {
    /// A candle in which nothing was traded.
    pub(crate) fn flat(open_us: i64, price: i64) -> Self {
        Self { open_us, open: price, high: price, low: price, close: price, ..Self::default() }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        if self.trades == 0 {
            let open_us = self.open_us;
            *self = *other;
            self.open_us = open_us;
            return;
        }
        if other.trades == 0 {
            return;
        }
        self.high = self.high.max(other.high);
        self.low = self.low.min(other.low);
        self.close = other.close;
        self.volume += other.volume;
        self.quote_volume += other.quote_volume;
        self.taker_volume += other.taker_volume;
        self.taker_quote_volume += other.taker_quote_volume;
        self.trades += other.trades;
        self.last_id = other.last_id;
    }
}

const SECOND_US: i64 = 1_000_000;
const MINUTE_US: i64 = 60 * SECOND_US;
/// One-second candles kept.
const SECONDS_KEPT: usize = 10_000;
/// One-minute candles kept.
const MINUTES_KEPT: usize = 50_000;

/// What has been traded of one symbol.
#[derive(Debug, Default)]
pub(crate) struct History {
    trades: VecDeque<TradeRow>,
    aggs: VecDeque<AggRow>,
    seconds: VecDeque<Bar>,
    minutes: VecDeque<Bar>,
    kept: usize,
    /// Whether amounts are in the quote currency.
    is_inverse: bool,
}

impl History {
    /// Keeps this many trades.
    pub(crate) fn keeping(kept: usize) -> Self {
        Self { kept: kept.max(1), ..Self::default() }
    }

    /// The same for a market whose amounts may be in the quote currency.
    pub(crate) fn of(spec: &Spec, kept: usize) -> Self {
        Self { is_inverse: spec.is_inverse(), ..Self::keeping(kept) }
    }

    pub(crate) const fn trades(&self) -> &VecDeque<TradeRow> {
        &self.trades
    }

    pub(crate) const fn aggs(&self) -> &VecDeque<AggRow> {
        &self.aggs
    }

    /// Records a trade, also in the candles.
    pub(crate) fn push_trade(&mut self, row: TradeRow) {
        if self.trades.len() == self.kept {
            self.trades.pop_front();
        }
        self.trades.push_back(row);
        self.candle(&row, 1);
    }

    /// Records an aggregated trade, and its candle where the trades themselves aren't known.
    pub(crate) fn push_agg(&mut self, row: AggRow) {
        if self.aggs.len() == self.kept {
            self.aggs.pop_front();
        }
        self.aggs.push_back(row);
        if self.trades.is_empty() {
            let AggRow { price, amount, time_us, buyer_is_maker, .. } = row;
            self.candle(&TradeRow { id: row.first, price, amount, time_us, buyer_is_maker }, row.last + 1 - row.first);
        }
    }

    fn candle(&mut self, row: &TradeRow, count: u64) {
        let (base, quote) = volumes(row.price, row.amount, self.is_inverse);
        let bought = !row.buyer_is_maker;
        let bar = Bar {
            open_us: row.time_us,
            open: row.price,
            high: row.price,
            low: row.price,
            close: row.price,
            volume: base,
            quote_volume: quote,
            taker_volume: if bought { base } else { 0 },
            taker_quote_volume: if bought { quote } else { 0 },
            trades: count,
            first_id: row.id,
            last_id: row.id + count - 1,
        };
        add_to(&mut self.seconds, &bar, SECOND_US, SECONDS_KEPT);
        add_to(&mut self.minutes, &bar, MINUTE_US, MINUTES_KEPT);
    }

    /// The candles of an interval that open within `from..=to` (microseconds), oldest first, with flat ones where nothing was
    /// traded, up to the one open at `now_us`. At most `limit`: the oldest when `from` is given, else the newest.
    pub(crate) fn bars(
        &self,
        interval: Interval,
        from: Option<i64>,
        to: i64,
        now_us: i64,
        limit: usize,
    ) -> Vec<(BarSpan, Bar)> {
        let source = if interval == Interval::Second { &self.seconds } else { &self.minutes };
        let to = to.min(now_us);
        let begin = from.map_or(0, |from| source.partition_point(|b| interval.next(interval.open(b.open_us)) <= from));
        let mut out: Vec<(BarSpan, Bar)> = Vec::new();
        for bar in source.range(begin..) {
            let open_us = interval.open(bar.open_us);
            if open_us > to {
                break;
            }
            if let Some((span, last)) = out.last_mut()
                && span.open_us == open_us
            {
                last.add(bar);
                continue;
            }
            if from.is_some() && out.len() > limit {
                break;
            }
            fill(&mut out, interval, open_us, from.is_some().then_some(limit));
            out.push((BarSpan { open_us, next_us: interval.next(open_us) }, Bar { open_us, ..*bar }));
        }
        fill(&mut out, interval, to.saturating_add(1), from.is_some().then_some(limit));
        if let Some(from) = from {
            out.retain(|(span, _)| span.open_us >= from);
            out.truncate(limit);
        } else {
            out.drain(..out.len().saturating_sub(limit));
        }
        out
    }

    /// What was traded from one whole minute up to another; without a trade flat at the price before, or at 0.
    pub(crate) fn traded(&self, from_us: i64, to_us: i64) -> Bar {
        let begin = self.minutes.partition_point(|b| b.open_us < from_us);
        let end = self.minutes.partition_point(|b| b.open_us < to_us);
        let before = begin.checked_sub(1).and_then(|i| self.minutes.get(i)).map_or(0, |b| b.close);
        let mut whole = Bar::flat(from_us, before);
        self.minutes.range(begin..end).for_each(|bar| whole.add(bar));
        whole
    }

    /// The candle that is or was open at an instant, if anything was traded up to then.
    pub(crate) fn bar_at(&self, interval: Interval, at_us: i64) -> Option<(BarSpan, Bar)> {
        let source = if interval == Interval::Second { &self.seconds } else { &self.minutes };
        let open_us = interval.open(at_us);
        let next_us = interval.next(open_us);
        let span = BarSpan { open_us, next_us };
        let begin = source.partition_point(|b| b.open_us < open_us);
        let end = source.partition_point(|b| b.open_us < next_us);
        if begin == end {
            let before = begin.checked_sub(1).and_then(|i| source.get(i))?;
            return Some((span, Bar::flat(open_us, before.close)));
        }
        let mut whole = Bar { open_us, ..Bar::default() };
        for bar in source.range(begin..end) {
            whole.add(bar);
        }
        Some((span, whole))
    }
}

/// Appends flat candles up to (not including) the one that opens at or after `until_us`.
fn fill(out: &mut Vec<(BarSpan, Bar)>, interval: Interval, until_us: i64, limit: Option<usize>) {
    while let Some((span, last)) = out.last().copied() {
        if span.next_us >= until_us || limit.is_some_and(|l| out.len() > l) {
            break;
        }
        let open_us = span.next_us;
        out.push((BarSpan { open_us, next_us: interval.next(open_us) }, Bar::flat(open_us, last.close)));
    }
}

fn add_to(bars: &mut VecDeque<Bar>, bar: &Bar, width_us: i64, kept: usize) {
    let open_us = bar.open_us.div_euclid(width_us) * width_us;
    match bars.back_mut() {
        // A clock that went back a little must not open an older candle behind a newer one.
        Some(last) if last.open_us >= open_us => last.add(bar),
        _ => {
            if bars.len() == kept {
                bars.pop_front();
            }
            bars.push_back(Bar { open_us, ..*bar });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traded(prices: &[(i64, i64)]) -> History {
        let mut history = History::keeping(100);
        for (i, (second, price)) in prices.iter().enumerate() {
            history.push_trade(TradeRow {
                id: i as u64 + 1,
                price: *price,
                amount: 100_000_000,
                time_us: second * SECOND_US,
                buyer_is_maker: i % 2 == 0,
            });
        }
        history
    }

    #[test]
    fn candles_hold_what_was_traded_and_nothing_traded_is_flat() {
        let history = traded(&[(0, 5), (30, 9), (59, 3), (200, 7)]);
        let bars = history.bars(Interval::Minutes(1), None, i64::MAX, 241 * SECOND_US, 10);
        let seen: Vec<_> =
            bars.iter().map(|(s, b)| (s.open_us / SECOND_US, b.open, b.high, b.low, b.close, b.trades)).collect();
        assert_eq!(
            seen,
            [(0, 5, 9, 3, 3, 3), (60, 3, 3, 3, 3, 0), (120, 3, 3, 3, 3, 0), (180, 7, 7, 7, 7, 1), (240, 7, 7, 7, 7, 0)]
        );
        assert_eq!((bars[0].1.volume, bars[0].1.taker_volume), (300_000_000, 100_000_000));
        assert_eq!((bars[0].1.first_id, bars[0].1.last_id), (1, 3));
    }

    #[test]
    fn a_start_gives_the_oldest_and_none_the_newest() {
        let history = traded(&[(0, 5), (60, 6), (120, 7), (180, 8)]);
        let opens = |from, limit| {
            let bars = history.bars(Interval::Minutes(1), from, i64::MAX, 200 * SECOND_US, limit);
            bars.iter().map(|(s, _)| s.open_us / MINUTE_US).collect::<Vec<_>>()
        };
        assert_eq!(opens(Some(30 * SECOND_US), 2), [1, 2]);
        assert_eq!(opens(None, 2), [2, 3]);
        assert_eq!(opens(Some(0), 10), [0, 1, 2, 3]);
        assert_eq!(
            history.bars(Interval::Minutes(5), None, i64::MAX, 200 * SECOND_US, 10)[0].1,
            Bar {
                open_us: 0,
                open: 5,
                high: 8,
                low: 5,
                close: 8,
                volume: 400_000_000,
                quote_volume: 26,
                taker_volume: 200_000_000,
                taker_quote_volume: 14,
                trades: 4,
                first_id: 1,
                last_id: 4
            }
        );
    }
}
