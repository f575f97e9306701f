//! When a series is collected: soon after each of its candles closes, each job with a delay of its own. Pure.

use std::time::Duration;

use dccd_model::{Grid, Span, UnixNanos};

/// After a candle's end the exchange gets this long at least.
const DELAY_MIN: Duration = Duration::from_secs(2);
/// Jobs are spread over at most this long.
const SPREAD_MAX: Duration = Duration::from_secs(30);

/// How long after its candles close this job is run: always the same, different from job to job, so that those of one span don't
/// all ask at once. Below a tenth of the span, and half a minute.
#[must_use]
pub fn delay(job: &str, span: Span) -> Duration {
    let spread = (Duration::from_secs(u64::from(span.as_secs())) / 10).min(SPREAD_MAX);
    DELAY_MIN + spread * thousandth(job) / 1_000
}

/// A number below a thousand: always the same, different from name to name.
pub(crate) fn thousandth(name: &str) -> u32 {
    // FNV-1a: the same in every process and version.
    let hash =
        name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    u32::try_from(hash % 1_000).unwrap_or(0)
}

/// When a job with this delay is due next after `now`.
#[must_use]
pub fn next_run(span: Span, delay: Duration, now: UnixNanos) -> UnixNanos {
    let grid = Grid::new(span);
    grid.after(grid.floor(now - delay), 1) + delay
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    #[test]
    fn a_job_is_due_after_its_candle_closes_and_once_for_each() {
        let minute = Span::from_secs(60).unwrap();
        let delay = Duration::from_secs(3);
        let due = |now: i64| next_run(minute, delay, UnixNanos(now * S)).0 / S;
        assert_eq!([due(0), due(2), due(3), due(62), due(63), due(64)], [3, 3, 63, 63, 123, 123]);
    }

    #[test]
    fn five_hundred_jobs_do_not_fire_at_once() {
        let hour = Span::from_secs(3_600).unwrap();
        let mut seconds = [0; 40];
        for n in 0..500 {
            let delay = delay(&format!("binance/COIN{n}/USDT/1h"), hour);
            seconds[usize::try_from(delay.as_secs()).unwrap()] += 1;
        }
        assert_eq!(seconds[..2], [0, 0]);
        assert!(seconds.iter().max().unwrap() < &50, "{seconds:?}");
        let minute = Span::from_secs(60).unwrap();
        assert!(delay("binance/BTC/USDT/1m", minute) < Duration::from_secs(8));
    }
}
