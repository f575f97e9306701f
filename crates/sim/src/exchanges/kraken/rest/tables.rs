//! `OHLC` and `Trades`: rows of a market's past, written without detour.

use std::io::Write as _;

use crate::deep::minute::MINUTE_US;
use crate::deep::past::{Past, hash};
use crate::deep::tape::Tape;
use crate::digits::{push_fixed, push_i64, push_u64};
use crate::market::history::{Bar, TradeRow};
use crate::market::interval::Interval;

/// Closed candles that can be had, whatever is asked for.
pub(crate) const CANDLES_REACH: i64 = 720;
/// Trades in one answer at most.
pub(crate) const TRADES_MAX: usize = 1_000;
/// Decimals of the prices of trades, at least.
const TRADE_PRICE_DIGITS: u32 = 5;
/// No order has more trades.
const SAME_TIME_MAX: usize = 16;

/// The newest closed candles of one market and interval, kept because large ones are made of many minutes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closed(Vec<Bar>);

impl Closed {
    /// Brings the candles up to date; the open one, too, when the market has begun.
    pub(crate) fn until(&mut self, tape: Tape<'_>, interval: Interval, now_us: i64) -> (&[Bar], Option<Bar>) {
        let open_us = interval.open(now_us);
        let width = interval.next(open_us) - open_us;
        let listed_us = tape.past.listed * MINUTE_US;
        let first = interval.open(listed_us).max(open_us - CANDLES_REACH * width);
        self.0.retain(|bar| bar.open_us >= first && bar.open_us < open_us);
        let mut at = self.0.last().map_or(first, |bar| bar.open_us + width);
        if listed_us > now_us {
            return (&self.0, None);
        }
        let mut bars = tape.bars(at, now_us);
        while at < open_us {
            self.0.push(bars.whole(at, at + width));
            at += width;
        }
        let open = bars.whole(open_us, open_us + width);
        (&self.0, Some(open))
    }
}

fn quoted(out: &mut Vec<u8>, e8: i64, digits: u32) {
    out.push(b'"');
    push_fixed(out, e8, digits);
    out.push(b'"');
}

/// The average price of a candle; 0 of one without a trade.
pub(crate) fn average(quote_volume: i64, volume: i64) -> i64 {
    if volume == 0 {
        return 0;
    }
    i64::try_from(i128::from(quote_volume) * 100_000_000 / i128::from(volume)).unwrap_or(i64::MAX)
}

/// `[1762777140,"106038.3","106038.3","106038.3","106038.3","106038.3","0.00032101",1]`
pub(crate) fn push_candle(out: &mut Vec<u8>, bar: &Bar, digits: u32) {
    out.push(b'[');
    push_i64(out, bar.open_us.div_euclid(1_000_000));
    for price in [bar.open, bar.high, bar.low, bar.close, average(bar.quote_volume, bar.volume)] {
        out.push(b',');
        quoted(out, price, digits);
    }
    out.push(b',');
    quoted(out, bar.volume, 8);
    out.push(b',');
    push_u64(out, bar.trades);
    out.push(b']');
}

/// When a trade happened, to the nanosecond: within the microsecond that the past has it in.
fn nanos(past: &Past, row: &TradeRow, nth: i64) -> i64 {
    let within = (hash(past.seed ^ 0x6e61_6e6f, row.time_us) % 600).cast_signed();
    row.time_us * 1_000 + within + nth
}

/// Whether the taker's order of a trade was a market order, else a limit order.
pub(crate) const fn is_market(past: &Past, row: &TradeRow) -> bool {
    hash(past.seed ^ 0x6b69_6e64, row.time_us) & 1 == 0
}

/// A page of trades.
#[derive(Debug, Default)]
pub(crate) struct TradePage {
    /// Its rows, with commas.
    pub(crate) rows: Vec<u8>,
    /// First and last id.
    pub(crate) ids: Option<(u64, u64)>,
    /// The last one's time, nanoseconds.
    pub(crate) last_ns: Option<i64>,
}

/// Which trades are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Those after this nanosecond; the newest when absent.
    pub(crate) since_ns: Option<i64>,
    pub(crate) count: usize,
    /// Nothing after it has happened, microseconds.
    pub(crate) now_us: i64,
    /// Whether trades of one order share their nanosecond.
    pub(crate) shared_times: bool,
}

/// The trades after an instant, oldest first.
pub(crate) fn trades(tape: Tape<'_>, wanted: Wanted, digits: u32) -> TradePage {
    let Wanted { since_ns, count, now_us, shared_times } = wanted;
    let digits = digits.max(TRADE_PRICE_DIGITS);
    let mut page = TradePage { rows: Vec::with_capacity(count * 64), ..TradePage::default() };
    let (mut left, mut nth, mut before) = (count, 0, i64::MIN);
    let mut take = |row: TradeRow, after_ns: i64| {
        nth = if row.time_us == before && !shared_times { nth + 1 } else { 0 };
        before = row.time_us;
        let time_ns = nanos(tape.past, &row, nth);
        if time_ns <= after_ns {
            return true;
        }
        push_trade(&mut page.rows, tape.past, &row, time_ns, digits);
        page.ids = Some((page.ids.map_or(row.id, |ids| ids.0), row.id));
        page.last_ns = Some(time_ns);
        left -= 1;
        left > 0
    };
    match since_ns {
        // From the first of its microsecond, so that the place of each among those is known.
        Some(since) => tape.since(since.div_euclid(1_000), now_us, |row| take(row, since)),
        None => {
            let rows = tape.newest(count + SAME_TIME_MAX, now_us);
            let skipped = rows.len().saturating_sub(count);
            for (place, row) in rows.into_iter().enumerate() {
                take(row, if place < skipped { i64::MAX } else { i64::MIN });
            }
        }
    }
    page
}

/// `["105433.60000","0.00027625",1762795433.9717445,"b","l","",10218208]`
fn push_trade(out: &mut Vec<u8>, past: &Past, row: &TradeRow, time_ns: i64, digits: u32) {
    if !out.is_empty() {
        out.push(b',');
    }
    out.push(b'[');
    quoted(out, row.price, digits);
    out.push(b',');
    quoted(out, row.amount, 8);
    // Writing to memory can't fail.
    let _ = write!(out, ",{}", seconds(time_ns));
    let taker: &[u8] = if row.buyer_is_maker { b",\"s\"," } else { b",\"b\"," };
    out.extend_from_slice(taker);
    out.extend_from_slice(if is_market(past, row) { b"\"m\",\"\"," } else { b"\"l\",\"\"," });
    push_u64(out, row.id);
    out.push(b']');
}

/// Nanoseconds as the exchange writes them in rows: seconds as a double, which is exact to some 240 ns.
#[allow(clippy::cast_precision_loss)] // it is the exchange's own loss
fn seconds(time_ns: i64) -> f64 {
    time_ns.div_euclid(1_000_000_000) as f64 + time_ns.rem_euclid(1_000_000_000) as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deep::past::tests::past;
    use crate::market::history::History;

    #[test]
    fn times_lose_the_digits_that_the_recorded_ones_lost() {
        // From the recorded page: `last` and the time of its last row.
        assert_eq!(seconds(1_762_820_035_982_277_754).to_string(), "1762820035.9822779");
        assert_eq!(seconds(1_762_820_040_000_000_000).to_string(), "1762820040");
    }

    #[test]
    fn numbers_have_the_digits_of_their_market() {
        let text = |e8, digits| {
            let mut out = Vec::new();
            push_fixed(&mut out, e8, digits);
            String::from_utf8(out).unwrap()
        };
        assert_eq!([text(10_603_820_000_000, 1), text(0, 1), text(123_456_789, 8)], ["106038.2", "0.0", "1.23456789"]);
        assert_eq!([text(123_456_789, 5), text(300_000_000, 0)], ["1.23456", "3"]);
    }

    #[test]
    fn pages_by_the_last_time_lose_trades_that_share_it_and_overlapping_ones_do_not() {
        let past = past("listed=2020-01-01,trades=7000,quiet=0,halts=0,outages=0");
        let now_us = (past.listed + 30) * MINUTE_US;
        let live = History::default();
        let tape = Tape { past: &past, until_us: i64::MAX, live: &live };
        let page =
            |since, count, shared_times| trades(tape, Wanted { since_ns: Some(since), count, now_us, shared_times }, 1);
        let total = past.count_until(now_us).cast_unsigned();
        let walk = |shared: bool, back: i64| {
            let (mut since, mut missed, mut next) = (0, 0, past.first_id);
            while let TradePage { ids: Some((first, last)), last_ns: Some(last_ns), .. } = page(since, 100, shared) {
                missed += first.saturating_sub(next);
                if last_ns - back <= since {
                    break;
                }
                (since, next) = (last_ns - back, last + 1);
            }
            assert_eq!(next, past.first_id + total);
            missed
        };
        assert!(walk(true, 0) > 0);
        assert_eq!((walk(true, 1), walk(false, 0)), (0, 0));
        let newest = trades(tape, Wanted { since_ns: None, count: 10, now_us, shared_times: true }, 1);
        assert_eq!(newest.ids, Some((past.first_id + total - 10, past.first_id + total - 1)));
        assert_eq!(page(now_us * 1_000, 10, true).last_ns, None);
    }

    #[test]
    fn candles_have_no_holes_and_are_the_same_when_kept() {
        let past = past("listed=2020-01-01T02:30,trades=600,halts=0,BTC/USDT.outage=2020-01-01T03:30..2020-01-01T07:10");
        let live = History::default();
        let tape = Tape { past: &past, until_us: i64::MAX, live: &live };
        for minutes in [1, 60, 1_440] {
            let interval = Interval::Minutes(minutes);
            let mut kept = Closed::default();
            for at in [400, 401, 465, 2_000] {
                let now_us = (past.listed + at) * MINUTE_US + 10_000_000;
                let mut fresh = Closed::default();
                let (bars, open) = kept.until(tape, interval, now_us);
                let expected = fresh.until(tape, interval, now_us);
                assert_eq!((bars, open), expected);
                assert!(bars.windows(2).all(|pair| pair[1].open_us - pair[0].open_us == minutes * MINUTE_US));
                assert_eq!(open.unwrap().open_us, interval.open(now_us));
                assert!(bars.len() <= 720);
                if minutes == 1 && at == 400 {
                    let out = bars.iter().filter(|b| (60..280).contains(&(b.open_us / MINUTE_US - past.listed)));
                    assert!(out.clone().count() == 220 && out.clone().all(|b| b.trades == 0 && b.open == bars[59].close));
                }
            }
        }
    }
}
