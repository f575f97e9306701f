//! What is told of a deep past; what is not told is drawn from the seed.

use std::collections::BTreeMap;
use std::str::FromStr;

use dccd_model::time::{NANOS_PER_SECOND, day_from_label, day_start};
use serde::{Deserialize, Serialize};

use crate::SimError;
use crate::options::read_rules;

/// From one instant up to, not including, another: nanoseconds since the Unix epoch. Rounded out to whole minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stretch {
    /// Its first instant.
    pub from_ns: i64,
    /// The first instant after it.
    pub to_ns: i64,
}

/// The pasts of all markets. As text: `listed=2017-08-17,trades=600,quiet=0.05,outages=2,halts=1`, and for one market
/// `BTC/USDT.outage=2020-03-01T00:00..2020-03-01T02:10`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeepOptions {
    /// When markets began: nanoseconds since the Unix epoch, rounded down to a minute.
    pub listed_ns: i64,
    /// Markets begin up to this many days later, each by its own draw.
    pub listing_spread_days: u32,
    /// Trades in each hour in which a market was open at all; at least 1.
    pub trades_per_hour: u32,
    /// Part of the minutes in which nothing is traded, 0 to 1.
    pub quiet: f64,
    /// Outages of the whole exchange a year, drawn from the seed, of up to [`DeepOptions::stretch_minutes_max`].
    pub outages_per_year: f64,
    /// Halts a year of each market, likewise.
    pub halts_per_year: f64,
    /// The longest outage or halt that is drawn, minutes.
    pub stretch_minutes_max: u32,
    /// Seconds after a candle has closed until Binance's REST side has it.
    pub late_s: u32,
    /// What is known of single markets, by unified symbol.
    pub markets: BTreeMap<String, DeepSymbol>,
}

impl Default for DeepOptions {
    fn default() -> Self {
        Self {
            // 2017-08-17T04:00Z, when Binance's first market opened.
            listed_ns: 1_502_942_400 * NANOS_PER_SECOND,
            listing_spread_days: 0,
            trades_per_hour: 600,
            quiet: 0.05,
            outages_per_year: 2.0,
            halts_per_year: 1.0,
            stretch_minutes_max: 360,
            late_s: 0,
            markets: BTreeMap::new(),
        }
    }
}

/// What is told of one market's past.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeepSymbol {
    /// When it began, instead of the common instant.
    pub listed_ns: Option<i64>,
    /// Outages, instead of drawn ones: no trades, and no candles where the exchange sends candles of quiet minutes.
    pub outages: Option<Vec<Stretch>>,
    /// Halts of this market, instead of drawn ones; they look like outages.
    pub halts: Option<Vec<Stretch>>,
    /// Stretches without a trade in which the market is open, besides the quiet minutes that are drawn.
    pub quiet: Vec<Stretch>,
    /// Trades an hour, instead of the common number.
    pub trades_per_hour: Option<u32>,
}

impl DeepOptions {
    /// Set one market's own part.
    #[must_use]
    pub fn market(mut self, symbol: &str, market: DeepSymbol) -> Self {
        self.markets.insert(symbol.to_owned(), market);
        self
    }

    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "listed" => self.listed_ns = instant(value)?,
            "spread" => self.listing_spread_days = value.parse().ok()?,
            "trades" => self.trades_per_hour = value.parse().ok()?,
            "quiet" => self.quiet = value.parse().ok().filter(|part| (0.0..=1.0).contains(part))?,
            "outages" => self.outages_per_year = value.parse().ok().filter(|n| (0.0..1e5).contains(n))?,
            "halts" => self.halts_per_year = value.parse().ok().filter(|n| (0.0..1e5).contains(n))?,
            "late" => self.late_s = value.parse().ok()?,
            "longest" => self.stretch_minutes_max = value.parse().ok()?,
            _ => {
                let (symbol, key) = key.split_once('.')?;
                let market = self.markets.entry(symbol.to_owned()).or_default();
                match key {
                    "listed" => market.listed_ns = Some(instant(value)?),
                    "trades" => market.trades_per_hour = Some(value.parse().ok()?),
                    "outage" => market.outages.get_or_insert_default().push(stretch(value)?),
                    "halt" => market.halts.get_or_insert_default().push(stretch(value)?),
                    "quiet" => market.quiet.push(stretch(value)?),
                    _ => return None,
                }
            }
        }
        Some(())
    }
}

/// `2020-03-01`, `2020-03-01T02:10` or `2020-03-01T02:10:30`, UTC.
fn instant(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (day, time) = text.split_once('T').unwrap_or((text, "00:00"));
    let mut seconds = 0;
    let mut parts = time.split(':');
    for (unit, limit) in [(3_600, 24), (60, 60), (1, 60)] {
        let part = parts.next().map_or(Some(0), |part| part.parse::<i64>().ok())?;
        seconds += Some(part).filter(|part| (0..limit).contains(part))? * unit;
    }
    Some(day_start(day_from_label(day)?).0 + seconds * NANOS_PER_SECOND).filter(|_| parts.next().is_none())
}

/// `FROM..TO`.
fn stretch(text: &str) -> Option<Stretch> {
    let (from, to) = text.split_once("..")?;
    let stretch = Stretch { from_ns: instant(from)?, to_ns: instant(to)? };
    Some(stretch).filter(|s| s.from_ns < s.to_ns)
}

impl FromStr for DeepOptions {
    type Err = SimError;

    fn from_str(text: &str) -> Result<Self, SimError> {
        let expected = "listed=2017-08-17T04:00, spread=DAYS, trades=PER_HOUR, quiet=0..1, outages=PER_YEAR, halts=PER_YEAR, \
                           longest=MINUTES, late=SECONDS, or of one market BTC/USDT.listed=WHEN, .trades=PER_HOUR, .outage=FROM..TO, \
                           .halt=FROM..TO, .quiet=FROM..TO";
        read_rules(text, Self::set, "past", expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_past_is_read_from_text_and_a_wrong_part_is_named() {
        let told: DeepOptions =
            "listed=2020-01-01,trades=60,quiet=0.5,BTC/USDT.outage=2020-03-01T00:00..2020-03-01T02:10,BTC/USDT.trades=7"
                .parse()
                .unwrap();
        assert_eq!((told.listed_ns, told.trades_per_hour, told.quiet), (1_577_836_800 * NANOS_PER_SECOND, 60, 0.5));
        let market = &told.markets["BTC/USDT"];
        let outage = market.outages.as_ref().unwrap()[0];
        assert_eq!((outage.to_ns - outage.from_ns) / NANOS_PER_SECOND, 130 * 60);
        assert_eq!((market.trades_per_hour, &market.halts), (Some(7), &None));
        for bad in ["listed", "listed=2020-13-01", "listed=2020-01-01T25:00", "quiet=2", "B.outage=2020-01-02..2020-01-01"] {
            assert!(bad.parse::<DeepOptions>().unwrap_err().to_string().contains(bad), "{bad}");
        }
        assert_eq!("".parse::<DeepOptions>().unwrap(), DeepOptions::default());
    }
}
