//! Widths of candles as OKX names them. Days and what divides them begin at midnight in Hong Kong, unless their name says `utc`.

use crate::market::interval::Interval;

/// Eight hours.
const HONG_KONG_US: i64 = 8 * 3_600_000_000;

/// The width of a candle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Width {
    /// What the exchange calls it.
    pub name: &'static str,
    interval: Interval,
    /// How much earlier than in UTC its days begin.
    ahead_us: i64,
}

const fn utc(name: &'static str, interval: Interval) -> Width {
    Width { name, interval, ahead_us: 0 }
}

const fn local(name: &'static str, interval: Interval) -> Width {
    Width { name, interval, ahead_us: HONG_KONG_US }
}

/// All of them. Minutes to four hours begin at the same instants by either clock.
pub(super) const WIDTHS: [Width; 18] = [
    utc("1m", Interval::Minutes(1)),
    utc("3m", Interval::Minutes(3)),
    utc("5m", Interval::Minutes(5)),
    utc("15m", Interval::Minutes(15)),
    utc("30m", Interval::Minutes(30)),
    utc("1H", Interval::Minutes(60)),
    utc("2H", Interval::Minutes(120)),
    utc("4H", Interval::Minutes(240)),
    local("6H", Interval::Minutes(360)),
    local("12H", Interval::Minutes(720)),
    local("1D", Interval::Days(1)),
    local("1W", Interval::Week),
    local("1M", Interval::Month),
    utc("6Hutc", Interval::Minutes(360)),
    utc("12Hutc", Interval::Minutes(720)),
    utc("1Dutc", Interval::Days(1)),
    utc("1Wutc", Interval::Week),
    utc("1Mutc", Interval::Month),
];

impl Width {
    /// Case matters: `1m` is a minute, `1M` a month.
    pub(super) fn named(name: &str) -> Option<usize> {
        WIDTHS.iter().position(|width| width.name == name)
    }

    /// When the candle that holds this instant opens, microseconds.
    pub(super) fn open(self, at_us: i64) -> i64 {
        self.interval.open(at_us + self.ahead_us) - self.ahead_us
    }

    /// When the candle after the one that opens at `open_us` opens.
    pub(super) fn next(self, open_us: i64) -> i64 {
        self.interval.next(open_us + self.ahead_us) - self.ahead_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dccd_model::time::day_label;

    #[test]
    fn days_begin_in_hong_kong_unless_they_say_otherwise() {
        // 2024-08-08T23:54:13Z, a Thursday; in Hong Kong it is Friday.
        let at = 1_723_161_253_000_000;
        let text = |us: i64| {
            format!("{} {}", day_label(us.div_euclid(86_400_000_000)), us.rem_euclid(86_400_000_000) / 3_600_000_000)
        };
        for (name, open, next) in [
            ("1H", "2024-08-08 23", "2024-08-09 0"),
            ("6H", "2024-08-08 22", "2024-08-09 4"),
            ("6Hutc", "2024-08-08 18", "2024-08-09 0"),
            ("1D", "2024-08-08 16", "2024-08-09 16"),
            ("1Dutc", "2024-08-08 0", "2024-08-09 0"),
            ("1W", "2024-08-04 16", "2024-08-11 16"),
            ("1M", "2024-07-31 16", "2024-08-31 16"),
            ("1Mutc", "2024-08-01 0", "2024-09-01 0"),
        ] {
            let width = WIDTHS[Width::named(name).unwrap()];
            assert_eq!((text(width.open(at)).as_str(), text(width.next(width.open(at))).as_str()), (open, next), "{name}");
        }
        assert_eq!(Width::named("1d"), None);
    }
}
