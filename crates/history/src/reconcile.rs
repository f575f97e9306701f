//! Candles built from trades held against the exchange's own, where there are both: a report, not silence.

use dccd_model::{Candle, UnixNanos};
use dccd_store::CandleRow;
use serde::{Deserialize, Serialize};

/// Differences kept as examples.
const EXAMPLES_MAX: usize = 10;

/// One value of one candle that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// When the candle opens.
    pub at: UnixNanos,
    /// Which value; `missing` where the exchange has no such candle, `extra` where only the exchange has it.
    pub field: String,
    /// As built from trades.
    pub built: f64,
    /// As the exchange says.
    pub own: f64,
}

/// What came of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reconciled {
    /// Candles that there are from both sources.
    pub compared: u64,
    /// How many of these differ, in whatever value.
    pub differing: u64,
    /// The first differences.
    pub examples: Vec<Difference>,
}

impl Reconciled {
    /// Compares a built candle with the exchange's own. Values that the exchange doesn't send aren't compared.
    pub fn compare(&mut self, built: &CandleRow, own: &Candle, has_quote_volume: bool, has_trades: bool) {
        let own_row = CandleRow::new(own, has_quote_volume, has_trades);
        #[allow(clippy::cast_precision_loss)] // no candle has 2^53 trades
        let count = |trades: Option<i64>| trades.map(|n| n as f64);
        let pairs = [
            ("open", Some(built.open), Some(own_row.open)),
            ("high", Some(built.high), Some(own_row.high)),
            ("low", Some(built.low), Some(own_row.low)),
            ("close", Some(built.close), Some(own_row.close)),
            ("volume", Some(built.volume), Some(own_row.volume)),
            ("quote_volume", built.quote_volume, own_row.quote_volume),
            ("trades", count(built.trades), count(own_row.trades)),
        ];
        self.compared += 1;
        let mut differs = false;
        for (field, built_value, own_value) in pairs {
            if let (Some(built_value), Some(own_value)) = (built_value, own_value)
                && !agree(built_value, own_value)
            {
                differs = true;
                self.example(built.ts, field, built_value, own_value);
            }
        }
        self.differing += u64::from(differs);
    }

    /// A candle that only one side has.
    pub fn one_sided(&mut self, at: UnixNanos, is_built: bool) {
        self.compared += 1;
        self.differing += 1;
        let (field, built, own) = if is_built { ("missing", 1.0, 0.0) } else { ("extra", 0.0, 1.0) };
        self.example(at, field, built, own);
    }

    fn example(&mut self, at: UnixNanos, field: &str, built: f64, own: f64) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(Difference { at, field: field.to_owned(), built, own });
        }
    }
}

/// Equal but for what rounding to the exchange's digits can make of a sum: less than a part in 10^9, or half of the eighth digit
/// after the point.
fn agree(a: f64, b: f64) -> bool {
    let difference = (a - b).abs();
    difference <= 5.1e-9 || difference <= 1e-9 * a.abs().max(b.abs())
}

#[cfg(test)]
mod tests {
    use dccd_model::{Decimal, Flags, Span};

    use super::*;

    #[test]
    fn differences_are_counted_and_the_first_are_shown() {
        let price = Decimal::new(10, 0);
        let own = Candle {
            ts_open: UnixNanos(60),
            ts_recv: UnixNanos(0),
            open: price,
            high: price,
            low: price,
            close: price,
            volume: Decimal::new(5, -1),
            quote_volume: Decimal::ZERO,
            trades: 3,
            span: Span::from_secs(60).unwrap(),
            flags: Flags::CLOSED,
        };
        let built = CandleRow { quote_volume: Some(5.0), ..CandleRow::new(&own, false, true) };
        let mut report = Reconciled::default();
        report.compare(&built, &own, false, true);
        assert_eq!((report.compared, report.differing), (1, 0));
        report.compare(&CandleRow { high: 11.0, trades: Some(4), ..built }, &own, false, true);
        report.one_sided(UnixNanos(120), true);
        assert_eq!((report.compared, report.differing), (3, 2));
        let fields: Vec<_> = report.examples.iter().map(|e| (e.field.as_str(), e.built, e.own)).collect();
        assert_eq!(fields, [("high", 11.0, 10.0), ("trades", 4.0, 3.0), ("missing", 1.0, 0.0)]);
    }
}
