//! What each perpetual is: its steps, the decimals of its numbers, the numbers of its book, and what is drawn of it.

use crate::SimError;
use crate::deep::past::mix;
use crate::digits::push_fixed;
use crate::market::spec::Spec;

/// Price and amount steps, start (all `e8`), decimals of prices and amounts of well-known perpetuals. Others have the steps of
/// their spot market.
const KNOWN: [(&str, i64, i64, i64, u32, u32); 6] = [
    ("BTC/USDT", 10_000_000, 100_000, 6_180_020_000_000, 2, 3),
    ("ETH/USDT", 1_000_000, 100_000, 264_873_000_000, 2, 3),
    ("SOL/USDT", 1_000_000, 1_000_000, 15_396_000_000, 4, 2),
    ("XRP/USDT", 10_000, 10_000_000, 61_050_000, 4, 1),
    ("BNB/USDT", 1_000_000, 1_000_000, 52_104_000_000, 3, 2),
    ("DOGE/USDT", 1_000, 100_000_000, 10_737_000, 6, 0),
];

/// Of what in this market mark and index prices, funding and open interest are drawn.
pub(crate) mod drawn {
    pub(crate) const MARK: u64 = 1;
    pub(crate) const INDEX: u64 = 2;
    pub(crate) const FUNDING: u64 = 3;
    pub(crate) const OPEN_INTEREST: u64 = 4;
}

/// Update ids are common to all markets of the exchange: of so many, one belongs to a change of this book.
const IDS_APART: u64 = 64;

/// Between two payments of funding, microseconds.
pub(crate) const FUNDING_US: i64 = 8 * 3_600_000_000;

/// What a unified symbol is on this exchange: a spot market, or a perpetual that is settled in its quote currency.
pub(crate) fn spec(text: &str) -> Result<Spec, SimError> {
    let Some((pair, settle)) = text.split_once(':') else { return Spec::of(text) };
    let bad = || SimError::BadSymbol { symbol: text.to_owned() };
    let spot = Spec::of(pair).map_err(|_| bad())?;
    if settle.to_uppercase() != spot.quote || !matches!(spot.quote.as_str(), "USDT" | "USDC") {
        return Err(bad());
    }
    let known = KNOWN.iter().find(|known| known.0 == spot.symbol());
    let (tick, step, start) = known.map_or((spot.tick, spot.step, spot.start), |known| (known.1, known.2, known.3));
    let settle = Some(spot.quote.clone());
    Ok(Spec { settle, tick, step, start, price_unit: tick, amount_unit: step, ..spot })
}

/// How many decimals a step of hundred-millionths needs.
fn digits(step: i64) -> u32 {
    (0..=8).rev().find(|zeros| step % 10_i64.pow(*zeros) == 0).map_or(8, |zeros| 8 - zeros)
}

/// A perpetual as the exchange lists it.
#[derive(Clone, Debug)]
pub(crate) struct Market {
    /// `BTCUSDT`, as the spot market's.
    pub id: String,
    /// Decimals of prices and amounts.
    pub price_digits: u32,
    pub amount_digits: u32,
    seed: u64,
}

impl Market {
    pub(crate) fn of(spec: &Spec, seed: u64) -> Self {
        let pair = format!("{}/{}", spec.base, spec.quote);
        let known = KNOWN.iter().find(|known| known.0 == pair);
        let (price_digits, amount_digits) =
            known.map_or_else(|| (digits(spec.tick), digits(spec.step)), |known| (known.4, known.5));
        let seed = spec.symbol().bytes().fold(mix(seed), |h, b| mix(h ^ u64::from(b)));
        Self { id: spec.id.clone(), price_digits, amount_digits, seed }
    }

    pub(crate) fn push_price(&self, out: &mut Vec<u8>, e8: i64) {
        push_fixed(out, e8, self.price_digits);
    }

    pub(crate) fn push_amount(&self, out: &mut Vec<u8>, e8: i64) {
        push_fixed(out, e8, self.amount_digits);
    }

    /// What was traded, in the quote currency.
    pub(crate) fn push_value(&self, out: &mut Vec<u8>, e8: i64) {
        push_fixed(out, e8, self.price_digits + self.amount_digits);
    }

    /// The exchange's number of the book's change with this one: larger changes have larger numbers, with holes between.
    pub(crate) const fn update_id(&self, count: u64) -> u64 {
        count * IDS_APART + mix(self.seed ^ count) % IDS_APART
    }

    /// A number drawn for this market and a count, e.g. of seconds: the same whenever it is asked for.
    pub(crate) const fn drawn(&self, what: u64, count: i64) -> u64 {
        mix(self.seed ^ mix(what ^ count.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// A price moved by some hundred-thousandths, drawn anew each second.
    pub(crate) fn near(&self, what: u64, now_us: i64, price: i64) -> i64 {
        let part = i64::try_from(self.drawn(what, now_us.div_euclid(1_000_000)) % 101).unwrap_or(0) - 50;
        price + i64::try_from(i128::from(price) * i128::from(part) / 100_000).unwrap_or(0)
    }

    /// The funding rate that is paid at the end of the eight hours in which this instant lies, `e8`: within 0.02 %.
    pub(crate) fn funding_rate(&self, at_us: i64) -> i64 {
        i64::try_from(self.drawn(drawn::FUNDING, at_us.div_euclid(FUNDING_US)) % 40_001).unwrap_or(0) - 20_000
    }
}

/// When funding is paid next, microseconds.
pub(crate) const fn next_funding_us(now_us: i64) -> i64 {
    (now_us.div_euclid(FUNDING_US) + 1) * FUNDING_US
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_perpetual_has_the_name_of_its_spot_market_and_steps_of_its_own() {
        let perpetual = spec("btc/usdt:usdt").unwrap();
        assert_eq!((perpetual.id.as_str(), perpetual.symbol().as_str()), ("BTCUSDT", "BTC/USDT:USDT"));
        assert_eq!((perpetual.tick, perpetual.step), (10_000_000, 100_000));
        assert_eq!(spec("BTC/USDT").unwrap().symbol(), "BTC/USDT");
        for bad in ["BTC/USD:BTC", "BTC/USDT:USDT-261225", "ETH/BTC:BTC", "BTCUSDT:USDT", ":"] {
            assert!(spec(bad).unwrap_err().to_string().contains(bad), "{bad}");
        }
    }

    #[test]
    fn numbers_have_the_exchange_s_decimals_and_ids_grow_with_holes() {
        let market = Market::of(&spec("BTC/USDT:USDT").unwrap(), 1);
        let text = |push: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            push(&mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(&|out| market.push_price(out, 6_180_020_000_000)), "61800.20");
        assert_eq!(text(&|out| market.push_amount(out, 0)), "0.000");
        assert_eq!(text(&|out| market.push_value(out, 12_345_678)), "0.12345");
        let unknown = Market::of(&spec("FOO/USDT:USDT").unwrap(), 1);
        assert_eq!((unknown.price_digits, unknown.amount_digits), (4, 2));
        let ids: Vec<_> = (5_000_000..5_001_000).map(|n| market.update_id(n)).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(ids.windows(2).any(|pair| pair[0] + 1 < pair[1]));
    }
}
