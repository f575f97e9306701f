//! OKX's markets: their names, steps and contracts, and the list of them.
//!
//! The market behind counts all amounts in the base currency; a perpetual's are told in contracts.

use dccd_model::Symbol;
use serde_json::{Value, json};

use crate::digits::short;
use crate::error::SimError;
use crate::market::spec::Spec;

const ONE: i64 = 100_000_000;

/// Steps of spot markets that are other than elsewhere: price and amount, `e8`.
const STEPS: [(&str, i64, i64); 2] = [("BTC/USDT", 10_000_000, 1), ("ETH/USDT", 1_000_000, 100)];

/// What one contract of a perpetual holds of its base currency, `e8`; of others it is one.
const CONTRACTS: [(&str, i64); 4] = [("BTC", 1_000_000), ("ETH", 10_000_000), ("XRP", 100 * ONE), ("DOGE", 1_000 * ONE)];

/// Contracts are traded in hundredths.
const LOT: i64 = 1_000_000;

/// What one contract of a perpetual holds of this currency, `e8`.
pub(crate) fn contract(base: &str) -> i64 {
    CONTRACTS.iter().find(|known| known.0 == base).map_or(ONE, |known| known.1)
}

/// A spot market or a linear perpetual.
pub(super) fn spec(text: &str) -> Result<Spec, SimError> {
    let bad = || SimError::BadSymbol { symbol: text.to_owned() };
    let symbol: Symbol = text.parse().map_err(|_| bad())?;
    let pair = format!("{}/{}", symbol.base(), symbol.quote());
    let spot = Spec::of(&pair).map_err(|_| bad())?;
    let id = format!("{}-{}", symbol.base(), symbol.quote());
    let (tick, step) = STEPS.iter().find(|known| known.0 == pair).map_or((spot.tick, spot.step), |known| (known.1, known.2));
    let spec = match symbol.settle() {
        None => Spec { id, tick, step, price_unit: tick, amount_unit: step, ..spot },
        Some(settle) if settle == symbol.quote() => {
            let step = contract(symbol.base()) / (ONE / LOT);
            let (settle, id) = (Some(settle.to_owned()), format!("{id}-SWAP"));
            Spec { id, settle, tick, step, price_unit: tick, amount_unit: step, ..spot }
        }
        Some(_) => return Err(bad()),
    };
    Ok(Spec { lower: spec.id.to_ascii_lowercase(), ..spec })
}

/// What a market is on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Instrument {
    /// `BTC-USDT` or `BTC-USDT-SWAP`.
    pub id: String,
    pub symbol: String,
    base: String,
    quote: String,
    pub is_swap: bool,
    tick: i64,
    step: i64,
    contract: i64,
}

impl Instrument {
    pub(super) fn of(spec: &Spec) -> Self {
        let is_swap = spec.settle.is_some();
        Self {
            id: spec.id.clone(),
            symbol: spec.symbol(),
            base: spec.base.clone(),
            quote: spec.quote.clone(),
            is_swap,
            tick: spec.tick,
            step: spec.step,
            contract: if is_swap { contract(&spec.base) } else { ONE },
        }
    }

    pub(super) const fn kind(&self) -> &'static str {
        if self.is_swap { "SWAP" } else { "SPOT" }
    }

    /// An amount of the base currency as it is told: of a perpetual in contracts. `e8` both.
    pub(super) fn size(&self, amount: i64) -> i64 {
        if self.contract == ONE {
            return amount;
        }
        i64::try_from(i128::from(amount) * i128::from(ONE) / i128::from(self.contract)).unwrap_or(i64::MAX)
    }

    /// Its entry in the list of instruments; keys as the exchange has them.
    pub(super) fn facts(&self, listed_us: i64) -> Value {
        let of_swap = |text: &str| if self.is_swap { text.to_owned() } else { String::new() };
        let of_spot = |text: &str| if self.is_swap { String::new() } else { text.to_owned() };
        let family = format!("{}-{}", self.base, self.quote);
        let lot = short(self.size(self.step));
        json!({
            "alias": "",
            "baseCcy": of_spot(&self.base),
            "category": "1",
            "ctMult": of_swap("1"),
            "ctType": of_swap("linear"),
            "ctVal": of_swap(&short(self.contract)),
            "ctValCcy": of_swap(&self.base),
            "expTime": "",
            "instFamily": of_swap(&family),
            "instId": self.id,
            "instType": self.kind(),
            "lever": if self.is_swap { "100" } else { "10" },
            "listTime": listed_us.div_euclid(1_000).to_string(),
            "lotSz": lot,
            "maxIcebergSz": "9999999999.0000000000000000",
            "maxLmtAmt": "20000000",
            "maxLmtSz": if self.is_swap { "100000000" } else { "9999999999" },
            "maxMktAmt": of_spot("1000000"),
            "maxMktSz": of_swap("30000"),
            "maxStopSz": of_swap("30000"),
            "maxTriggerSz": "9999999999.0000000000000000",
            "maxTwapSz": "9999999999.0000000000000000",
            "minSz": if self.is_swap { lot.clone() } else { short(self.step.max(1_000)) },
            "optType": "",
            "quoteCcy": of_spot(&self.quote),
            "ruleType": "normal",
            "settleCcy": of_swap(&self.quote),
            "state": "live",
            "stk": "",
            "tickSz": short(self.tick),
            "uly": of_swap(&family),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_perpetual_is_told_in_contracts_and_a_spot_market_is_not() {
        let swap = Instrument::of(&spec("BTC/USDT:USDT").unwrap());
        assert_eq!((swap.id.as_str(), swap.symbol.as_str(), swap.kind()), ("BTC-USDT-SWAP", "BTC/USDT:USDT", "SWAP"));
        // 0.0357 bitcoin are 3.57 contracts of 0.01.
        assert_eq!(swap.size(3_570_000), 357_000_000);
        let facts = swap.facts(1_611_916_828_000_000);
        let keys = ["ctVal", "lotSz", "minSz", "tickSz", "settleCcy", "baseCcy", "uly"];
        assert_eq!(keys.map(|key| facts[key].as_str().unwrap()), ["0.01", "0.01", "0.01", "0.1", "USDT", "", "BTC-USDT"]);
        let spot = Instrument::of(&spec("BTC/USDT").unwrap());
        assert_eq!((spot.id.as_str(), spot.size(12_345)), ("BTC-USDT", 12_345));
        let facts = spot.facts(0);
        assert_eq!(keys.map(|key| facts[key].as_str().unwrap()), ["", "0.00000001", "0.00001", "0.1", "", "BTC", ""]);
    }

    #[test]
    fn inverse_and_dated_contracts_are_refused_by_name() {
        for bad in ["BTC/USD:BTC", "BTC/USDT:USDT-261225", "BTC-USDT", ""] {
            assert!(spec(bad).unwrap_err().to_string().contains(bad));
        }
    }
}
