//! Candle intervals as the exchange names them, and where they begin.

use dccd_model::time::{day_from_label, day_label};

const SECOND_US: i64 = 1_000_000;
const DAY_US: i64 = 86_400 * SECOND_US;

/// The length of a candle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interval {
    Second,
    Minutes(i64),
    Days(i64),
    Week,
    Month,
}

/// Every interval with its label, in the order of the kline streams.
pub(crate) const INTERVALS: [(&str, Interval); 16] = [
    ("1s", Interval::Second),
    ("1m", Interval::Minutes(1)),
    ("3m", Interval::Minutes(3)),
    ("5m", Interval::Minutes(5)),
    ("15m", Interval::Minutes(15)),
    ("30m", Interval::Minutes(30)),
    ("1h", Interval::Minutes(60)),
    ("2h", Interval::Minutes(120)),
    ("4h", Interval::Minutes(240)),
    ("6h", Interval::Minutes(360)),
    ("8h", Interval::Minutes(480)),
    ("12h", Interval::Minutes(720)),
    ("1d", Interval::Days(1)),
    ("3d", Interval::Days(3)),
    ("1w", Interval::Week),
    ("1M", Interval::Month),
];

impl Interval {
    /// Case matters: `1m` is a minute, `1M` a month.
    pub(crate) fn parse(label: &str) -> Option<Self> {
        INTERVALS.iter().find(|(l, _)| *l == label).map(|(_, i)| *i)
    }

    /// When the candle that holds this instant opens (microseconds).
    pub(crate) fn open(self, at_us: i64) -> i64 {
        let step = |width: i64, shift: i64| (at_us - shift).div_euclid(width) * width + shift;
        match self {
            Self::Second => step(SECOND_US, 0),
            Self::Minutes(n) => step(n * 60 * SECOND_US, 0),
            Self::Days(n) => step(n * DAY_US, 0),
            // 1970-01-05 was a Monday.
            Self::Week => step(7 * DAY_US, 4 * DAY_US),
            Self::Month => {
                let label = day_label(at_us.div_euclid(DAY_US));
                let first = label.get(..8).and_then(|month| day_from_label(&format!("{month}01")));
                first.unwrap_or_else(|| at_us.div_euclid(DAY_US)) * DAY_US
            }
        }
    }

    /// When the candle after the one that opens at `open_us` opens.
    pub(crate) fn next(self, open_us: i64) -> i64 {
        match self {
            Self::Second => open_us + SECOND_US,
            Self::Minutes(n) => open_us + n * 60 * SECOND_US,
            Self::Days(n) => open_us + n * DAY_US,
            Self::Week => open_us + 7 * DAY_US,
            // No month is longer than 31 days, and none that follows begins later than 35 days on.
            Self::Month => self.open(open_us + 31 * DAY_US + DAY_US / 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_open_where_the_exchange_opens_them() {
        // 2024-08-08T23:54:13Z, a Thursday.
        let at = 1_723_161_253 * SECOND_US;
        for (label, open, next) in [
            ("1s", "2024-08-08 86053", "2024-08-08 86054"),
            ("5m", "2024-08-08 85800", "2024-08-08 86100"),
            ("4h", "2024-08-08 72000", "2024-08-09 0"),
            ("1w", "2024-08-05 0", "2024-08-12 0"),
            ("1M", "2024-08-01 0", "2024-09-01 0"),
        ] {
            let interval = Interval::parse(label).unwrap();
            let text = |us: i64| format!("{} {}", day_label(us.div_euclid(DAY_US)), us.rem_euclid(DAY_US) / SECOND_US);
            assert_eq!(text(interval.open(at)), open, "{label}");
            assert_eq!(text(interval.next(interval.open(at))), next, "{label}");
        }
        let february = day_from_label("2024-02-01").unwrap() * DAY_US;
        assert_eq!(Interval::Month.next(february), day_from_label("2024-03-01").unwrap() * DAY_US);
        assert_eq!(Interval::parse("7m"), None);
    }
}
