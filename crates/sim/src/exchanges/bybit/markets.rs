//! What each market is on this exchange: its category, the form of its numbers, and the ids of its trades.

use crate::SimError;
use crate::deep::past::mix;
use crate::digits::{push_fixed, push_u64};
use crate::market::spec::Spec;

/// A kind of product, each with a WebSocket of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Category {
    Spot,
    /// Perpetuals settled in their quote currency.
    Linear,
}

impl Category {
    pub(super) const ALL: [Self; 2] = [Self::Spot, Self::Linear];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Spot => "spot",
            Self::Linear => "linear",
        }
    }

    pub(super) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|category| category.name() == name)
    }
}

/// Before the counted part of a spot trade's id.
const SPOT_IDS: u64 = 2_290_000_000_000_000_000;

/// A market as the exchange lists it.
#[derive(Clone, Debug)]
pub(super) struct Market {
    pub category: Category,
    /// `BTCUSDT`, in both categories.
    pub id: String,
    pub base: String,
    pub quote: String,
    /// Smallest steps of price and amount, `e8`.
    pub tick: i64,
    pub step: i64,
    /// Decimals of prices and amounts where they are not cut short.
    pub price_digits: u32,
    pub amount_digits: u32,
    seed: u64,
}

/// Prices and steps of well-known perpetuals, all `e8`; those of others are like those of their spot market.
const KNOWN: [(&str, i64, i64, i64); 4] = [
    ("BTC/USDT", 10_000_000, 100_000, 6_186_310_000_000),
    ("ETH/USDT", 1_000_000, 1_000_000, 265_127_000_000),
    ("SOL/USDT", 1_000_000, 10_000_000, 15_407_000_000),
    ("XRP/USDT", 10_000, 10_000_000, 61_090_000),
];

/// What a unified symbol is on this exchange: a spot market, or a perpetual that is settled in its quote currency.
pub(super) fn spec(text: &str) -> Result<Spec, SimError> {
    let Some((pair, settle)) = text.split_once(':') else { return Spec::of(text) };
    let bad = || SimError::BadSymbol { symbol: text.to_owned() };
    let spot = Spec::of(pair).map_err(|_| bad())?;
    if settle.to_uppercase() != spot.quote {
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

impl Market {
    pub(super) fn of(spec: &Spec, seed: u64) -> Self {
        let category = if spec.settle.is_some() { Category::Linear } else { Category::Spot };
        // Prices of these two have a decimal more than their tick needs.
        let more = u32::from(category == Category::Linear && matches!(spec.base.as_str(), "BTC" | "SOL"));
        Self {
            category,
            id: spec.id.clone(),
            base: spec.base.clone(),
            quote: spec.quote.clone(),
            tick: spec.tick,
            step: spec.step,
            price_digits: digits(spec.tick) + more,
            amount_digits: digits(spec.step),
            seed: spec.symbol().bytes().fold(mix(seed), |h, b| mix(h ^ u64::from(b))),
        }
    }

    /// A price in books, trades and tickers.
    pub(super) fn push_price(&self, out: &mut Vec<u8>, e8: i64) {
        match self.category {
            Category::Spot => push_short(out, e8),
            Category::Linear => push_fixed(out, e8, self.price_digits),
        }
    }

    /// An amount in books, trades and tickers; of a level that is gone a bare zero.
    pub(super) fn push_amount(&self, out: &mut Vec<u8>, e8: i64) {
        match self.category {
            Category::Linear if e8 != 0 => push_fixed(out, e8, self.amount_digits),
            _ => push_short(out, e8),
        }
    }

    /// The id that the exchange gives a trade: counted on spot, drawn on linear.
    pub(super) fn push_trade_id(&self, out: &mut Vec<u8>, id: u64) {
        match self.category {
            Category::Spot => push_u64(out, SPOT_IDS + id),
            Category::Linear => out.extend_from_slice(self.uuid(id).as_bytes()),
        }
    }

    /// The number that a trade's id is where ids are counted.
    pub(super) const fn counted_id(&self, id: u64) -> u64 {
        match self.category {
            Category::Spot => SPOT_IDS + id,
            Category::Linear => id,
        }
    }

    fn uuid(&self, id: u64) -> String {
        let high = mix(self.seed ^ id.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let low = mix(high ^ id);
        let (time, mid, version) = (high >> 32, high >> 16 & 0xffff, high & 0xfff);
        let (variant, node) = (low >> 48 & 0x3fff | 0x8000, low & 0xffff_ffff_ffff);
        format!("{time:08x}-{mid:04x}-5{version:03x}-{variant:04x}-{node:012x}")
    }

    /// A number drawn for this market and a count, e.g. of seconds: the same whenever it is asked for.
    pub(super) const fn drawn(&self, what: u64, count: i64) -> u64 {
        mix(self.seed ^ mix(what ^ count.cast_unsigned()))
    }
}

/// A number of hundred-millionths without the zeros at its end: `65140.5`, `65140`, `0`.
pub(super) fn push_short(out: &mut Vec<u8>, e8: i64) {
    push_fixed(out, e8, 8);
    while out.last() == Some(&b'0') {
        out.pop();
    }
    if out.last() == Some(&b'.') {
        out.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(push: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_perpetual_has_the_name_of_its_spot_market_and_steps_of_its_own() {
        let perpetual = spec("btc/usdt:usdt").unwrap();
        assert_eq!((perpetual.id.as_str(), perpetual.symbol().as_str()), ("BTCUSDT", "BTC/USDT:USDT"));
        assert_eq!(spec("BTC/USDT").unwrap().symbol(), "BTC/USDT");
        for bad in ["BTC/USD:BTC", "BTC/USDT:USDT-261225", "BTCUSDT:USDT", ":"] {
            assert!(spec(bad).unwrap_err().to_string().contains(bad), "{bad}");
        }
    }

    #[test]
    fn numbers_are_short_on_spot_and_of_fixed_length_on_linear() {
        let spot = Market::of(&Spec::of("BTC/USDT").unwrap(), 1);
        let linear = Market::of(&spec("BTC/USDT:USDT").unwrap(), 1);
        let price = 6_514_000_000_000;
        assert_eq!(text(|out| spot.push_price(out, price)), "65140");
        assert_eq!(text(|out| spot.push_price(out, price + 50_000_000)), "65140.5");
        assert_eq!(text(|out| spot.push_amount(out, 0)), "0");
        assert_eq!(text(|out| linear.push_price(out, price)), "65140.00");
        assert_eq!(text(|out| linear.push_amount(out, 77_000_000)), "0.770");
        assert_eq!(text(|out| linear.push_amount(out, 0)), "0");
    }

    #[test]
    fn trade_ids_are_counted_on_spot_and_uuids_on_linear() {
        let spot = Market::of(&Spec::of("BTC/USDT").unwrap(), 1);
        let linear = Market::of(&spec("BTC/USDT:USDT").unwrap(), 1);
        assert_eq!(text(|out| spot.push_trade_id(out, 1_189_048_101)), "2290000001189048101");
        let ids: Vec<_> = (0..2_000).map(|id| text(|out| linear.push_trade_id(out, id))).collect();
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
        for id in &ids {
            let parts: Vec<_> = id.split('-').map(str::len).collect();
            assert_eq!((parts.as_slice(), &id[14..15], "89ab".contains(&id[19..20])), (&[8, 4, 4, 4, 12][..], "5", true));
        }
    }
}
