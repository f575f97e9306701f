//! Pages of trades and candles, newest first, and the times that clients write.

use dccd_model::time::{day_from_label, day_start};

use crate::deep::minute::MINUTE_US;
use crate::deep::tape::Tape;
use crate::market::history::{Bar, TradeRow};

const SECOND_US: i64 = 1_000_000;

/// Trades of a market with ids below `after` and above `before`, newest first, the newest `count` of them.
pub(super) fn trades(tape: Tape<'_>, after: Option<u64>, before: Option<u64>, count: usize, now_us: i64) -> Vec<TradeRow> {
    let (live, past) = (tape.live.trades(), tape.past);
    let end = past.count_until(now_us.min(tape.until_us));
    let (live_end, past_end) = match after {
        None => (live.len(), end),
        Some(id) => {
            let older = i64::try_from(id.saturating_sub(past.first_id)).unwrap_or(i64::MAX);
            (live.partition_point(|row| row.id < id), end.min(older))
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
    page.retain(|row| before.is_none_or(|id| row.id > id));
    page
}

/// Candles of this width that open within `from_us..=to_us`, newest first. One in which nothing was traded is none.
pub(super) fn candles(tape: Tape<'_>, width_us: i64, from_us: i64, to_us: i64, now_us: i64) -> Vec<Bar> {
    let open = |us: i64| us.div_euclid(width_us) * width_us;
    let listed_us = open(tape.past.listed * MINUTE_US);
    let first_us = (-open(-from_us)).max(listed_us);
    let last_us = open(to_us.min(now_us));
    if first_us > last_us {
        return Vec::new();
    }
    let mut bars = tape.bars(first_us, now_us);
    let mut page = Vec::new();
    let mut at_us = first_us;
    while at_us <= last_us {
        page.push(bars.whole(at_us, at_us + width_us));
        at_us += width_us;
    }
    page.retain(|bar| bar.trades > 0);
    page.reverse();
    page
}

/// A time in microseconds: seconds since the epoch, or ISO 8601 with or without time, fraction and zone.
pub(super) fn instant(text: &str) -> Option<i64> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if is_number {
        // Ten digits reach to the year 2286; more are no time.
        return text.parse::<i64>().ok().filter(|_| text.len() <= 10).map(|seconds| seconds * SECOND_US);
    }
    let day_us = day_start(day_from_label(text.get(..10)?)?).0 / 1_000;
    let rest = text.get(10..)?;
    if rest.is_empty() {
        return Some(day_us);
    }
    let rest = rest.strip_prefix(['T', ' '])?;
    let zone = rest.find(['Z', '+', '-', ' ']).unwrap_or(rest.len());
    let (time, zone) = rest.split_at(zone);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut us = 0;
    let mut parts = clock.split(':');
    for (unit, limit) in [(3_600, 24), (60, 60), (1, 60)] {
        let part = parts.next().map_or(Some(0), |part| part.parse::<i64>().ok())?;
        us += Some(part).filter(|part| (0..limit).contains(part))? * unit * SECOND_US;
    }
    if !fraction.bytes().all(|b| b.is_ascii_digit()) || parts.next().is_some() {
        return None;
    }
    us += format!("{fraction:0<6}").get(..6)?.parse::<i64>().ok()?;
    Some(day_us + us - offset(zone)?)
}

/// Microseconds of a zone: `Z`, `+02:00`, or nothing. A plus sign that nobody escaped has become a blank.
fn offset(zone: &str) -> Option<i64> {
    if matches!(zone, "" | "Z") {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let part = |text: &str, limit: i64| text.parse::<i64>().ok().filter(|n| (0..limit).contains(n));
    Some(sign * (part(hours, 24)? * 3_600 + part(minutes, 60)? * 60) * SECOND_US)
}

#[cfg(test)]
mod tests {
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
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let page = trades(tape, after, None, 100, now_us);
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            seen.extend(page.iter().map(|row| row.id));
        }
        let all: Vec<_> = (past.first_id..past.first_id + total).rev().collect();
        assert_eq!(seen, all);
        let ids = |after, before| trades(tape, after, before, 5, now_us).iter().map(|row| row.id).collect::<Vec<_>>();
        assert_eq!(ids(Some(all[10]), Some(all[13])), [all[11], all[12]]);
        // What is newer than an id are the newest of those, not the next.
        assert_eq!(ids(None, Some(all[100])), all[..5]);
    }

    #[test]
    fn candles_lie_within_their_bounds_and_quiet_ones_are_left_out() {
        let past = past("listed=2020-01-01,trades=700,quiet=0.3,outages=0,halts=0");
        let live = History::default();
        let tape = Tape { past: &past, until_us: i64::MAX, live: &live };
        let at = |minute: i64| (past.listed + minute) * MINUTE_US;
        let opens = |from, to| {
            let page = candles(tape, MINUTE_US, from, to, at(2_000) + 10_000_000);
            page.iter().map(|bar| bar.open_us / MINUTE_US - past.listed).collect::<Vec<_>>()
        };
        let traded = |from: i64, to: i64| (from..=to).rev().filter(|m| !past.is_quiet(past.listed + m)).collect::<Vec<_>>();
        assert_eq!(opens(at(100), at(400)), traded(100, 400));
        assert!(traded(100, 400).len() < 280);
        assert_eq!(opens(at(100) + 1, at(110) + 59_000_000), traded(101, 110));
        assert_eq!(opens(at(-500), at(3)), traded(0, 3));
        assert!(opens(at(-500), at(-3)).is_empty() && opens(at(2_001), at(2_050)).is_empty());
    }

    #[test]
    fn times_are_read_as_clients_write_them() {
        let noon = 1_614_168_000_000_000;
        for text in [
            "1614168000",
            "2021-02-24T12:00:00.000Z",
            "2021-02-24T12:00",
            "2021-02-24 12:00:00",
            "2021-02-24T14:00:00+02:00",
            "2021-02-24T14:00:00 02:00",
            "2021-02-24T10:30:00-01:30",
        ] {
            assert_eq!(instant(text), Some(noon), "{text}");
        }
        assert_eq!(instant("2021-02-24"), Some(noon - 12 * 3_600_000_000));
        assert_eq!(instant("2021-02-24T12:00:00.25Z"), Some(noon + 250_000));
        for bad in
            ["", "noon", "1614168000000", "2021-13-24", "2021-02-24T25:00", "2021-02-24T12:00:00.xZ", "2021-02-24T1:2:3:4"]
        {
            assert_eq!(instant(bad), None, "{bad}");
        }
    }
}
