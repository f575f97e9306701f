//! Deribit's markets: their names, steps and contracts, the ids of their trades, and the list of them.
//!
//! Amounts of an inverse perpetual are in USD, all others in the base currency, in trades and books alike.

use dccd_model::Symbol;
use serde_json::{Value, json};

use crate::deep::past::mix;
use crate::error::SimError;
use crate::market::spec::Spec;

const ONE: i64 = 100_000_000;

/// Steps of price and amount on spot, of linear and of inverse perpetuals, `e8`.
type Steps = [(i64, i64); 3];

/// Of bitcoin and ether: their steps, and the price of the start, `e8`.
const KNOWN: [(&str, Steps, i64); 2] = [
    ("BTC", [(ONE, 10_000), (50_000_000, 10_000), (50_000_000, 10 * ONE)], 6_183_700_000_000),
    ("ETH", [(10_000_000, 10_000), (5_000_000, 100_000), (5_000_000, ONE)], 265_010_000_000),
];

/// What a market is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Spot,
    /// Settled in its quote currency.
    Linear,
    /// Settled in its base currency.
    Inverse,
}

/// A spot market or a perpetual.
pub(super) fn spec(text: &str) -> Result<Spec, SimError> {
    let bad = || SimError::BadSymbol { symbol: text.to_owned() };
    let symbol: Symbol = text.parse().map_err(|_| bad())?;
    let (base, quote) = (symbol.base(), symbol.quote());
    let spot = Spec::of(&format!("{base}/{quote}")).map_err(|_| bad())?;
    let (kind, id) = match symbol.settle() {
        None => (Kind::Spot, format!("{base}_{quote}")),
        Some(settle) if settle == quote => (Kind::Linear, format!("{base}_{quote}-PERPETUAL")),
        Some(settle) if settle == base && quote == "USD" => (Kind::Inverse, format!("{base}-PERPETUAL")),
        Some(_) => return Err(bad()),
    };
    let unknown = (spot.tick, if kind == Kind::Inverse { ONE } else { spot.step });
    let known = KNOWN.iter().find(|known| known.0 == base);
    let ((tick, step), start) = known.map_or((unknown, spot.start), |known| (known.1[kind as usize], known.2));
    let (settle, lower) = (symbol.settle().map(str::to_owned), id.to_ascii_lowercase());
    Ok(Spec { id, lower, settle, tick, step, start, price_unit: tick, amount_unit: step, ..spot })
}

/// What a market is on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Instrument {
    /// `BTC_USDC`, `BTC_USDC-PERPETUAL` or `BTC-PERPETUAL`.
    pub id: String,
    pub symbol: String,
    pub kind: Kind,
    base: String,
    quote: String,
    tick: i64,
    /// The smallest amount, which is that of one contract.
    pub step: i64,
    /// In front of the ids of its trades.
    prefix: String,
    /// Ids of trades are counted over all markets that are settled alike: how many those are, and which of them this one is.
    siblings: u64,
    place: u64,
    number: u64,
}

impl Instrument {
    /// All of them.
    pub(super) fn list(specs: &[&Spec]) -> Vec<Self> {
        let mut all: Vec<Self> = specs.iter().map(|spec| Self::of(spec)).collect();
        let prefixes: Vec<String> = all.iter().map(|one| one.prefix.clone()).collect();
        for (at, one) in all.iter_mut().enumerate() {
            let alike = |list: &[String]| list.iter().filter(|prefix| **prefix == one.prefix).count() as u64;
            (one.siblings, one.place) = (alike(&prefixes), alike(&prefixes[..at]));
        }
        all
    }

    fn of(spec: &Spec) -> Self {
        let kind = match &spec.settle {
            None => Kind::Spot,
            Some(settle) if *settle == spec.quote => Kind::Linear,
            Some(_) => Kind::Inverse,
        };
        let prefix = match (kind, spec.base.as_str()) {
            (Kind::Spot, _) => format!("{}-", spec.id),
            (Kind::Linear, _) => format!("{}-", spec.quote),
            (Kind::Inverse, "BTC") => String::new(),
            (Kind::Inverse, base) => format!("{base}-"),
        };
        Self {
            id: spec.id.clone(),
            symbol: spec.symbol(),
            kind,
            base: spec.base.clone(),
            quote: spec.quote.clone(),
            tick: spec.tick,
            step: spec.step,
            prefix,
            siblings: 1,
            place: 0,
            number: spec.id.bytes().fold(0, |h, b| mix(h ^ u64::from(b))) % 500_000,
        }
    }

    /// The id of a trade with this sequence number. It grows with it and is no other trade's of the same currency.
    pub(super) fn trade_id(&self, seq: u64) -> String {
        format!("{}{}", self.prefix, seq.wrapping_mul(self.siblings).wrapping_add(self.place))
    }

    /// What it is settled in; spot in the quote currency.
    pub(super) fn currency(&self) -> &str {
        if self.kind == Kind::Inverse { &self.base } else { &self.quote }
    }

    /// Whether lists of this currency have it: those that are settled in it, and spot markets of it.
    pub(super) fn is_of(&self, currency: &str) -> bool {
        self.currency() == currency || (self.kind == Kind::Spot && self.base == currency)
    }

    pub(super) const fn kind_name(&self) -> &'static str {
        if matches!(self.kind, Kind::Spot) { "spot" } else { "future" }
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) fn quote(&self) -> &str {
        &self.quote
    }

    /// Its entry in the list of instruments.
    pub(super) fn facts(&self, listed_us: i64) -> Value {
        #[allow(clippy::cast_precision_loss)] // steps are far below 2^53
        let number = |e8: i64| e8 as f64 / ONE as f64;
        let inverse = self.kind == Kind::Inverse;
        let mut facts = json!({
            "price_index": format!("{}_{}", self.base, self.quote).to_lowercase(),
            "kind": self.kind_name(),
            "instrument_name": self.id,
            "maker_commission": 0.0,
            "taker_commission": 0.0005,
            "instrument_type": if inverse { "reversed" } else { "linear" },
            "creation_timestamp": listed_us.div_euclid(1_000),
            "is_active": true,
            "state": "open",
            "tick_size": number(self.tick),
            "tick_size_steps": [],
            "contract_size": number(self.step),
            "min_trade_amount": number(self.step),
            "instrument_id": self.number,
            "base_currency": self.base,
            "counter_currency": self.quote,
            "quote_currency": self.quote,
            "expiration_timestamp": 32_503_708_800_000_i64,
        });
        if self.kind != Kind::Spot {
            facts["settlement_period"] = json!("perpetual");
            facts["settlement_currency"] = json!(self.currency());
            facts["max_leverage"] = json!(50);
            facts["future_type"] = json!(if inverse { "reversed" } else { "linear" });
            facts["max_liquidation_commission"] = json!(0.0075);
            facts["block_trade_commission"] = json!(0.00025);
            facts["block_trade_min_trade_amount"] = json!(200_000);
            facts["block_trade_tick_size"] = json!(0.01);
        }
        facts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markets_are_named_stepped_and_settled_as_on_the_exchange() {
        let specs =
            ["BTC/USDC", "BTC/USDC:USDC", "BTC/USD:BTC", "ETH/USD:ETH", "ETH/USDC:USDC"].map(|text| spec(text).unwrap());
        let list = Instrument::list(&specs.iter().collect::<Vec<_>>());
        let seen: Vec<_> = list.iter().map(|one| (one.id.as_str(), one.kind, one.currency(), one.trade_id(1_000))).collect();
        let expected = [
            ("BTC_USDC", Kind::Spot, "USDC", "BTC_USDC-1000"),
            ("BTC_USDC-PERPETUAL", Kind::Linear, "USDC", "USDC-2000"),
            ("BTC-PERPETUAL", Kind::Inverse, "BTC", "1000"),
            ("ETH-PERPETUAL", Kind::Inverse, "ETH", "ETH-1000"),
            ("ETH_USDC-PERPETUAL", Kind::Linear, "USDC", "USDC-2001"),
        ];
        assert_eq!(seen, expected.map(|(id, kind, currency, trade)| (id, kind, currency, trade.to_owned())));
        let facts = list[2].facts(1_534_167_754_000_000);
        let keys = ["tick_size", "contract_size", "min_trade_amount", "settlement_currency", "instrument_type"];
        let values = [json!(0.5), json!(10.0), json!(10.0), json!("BTC"), json!("reversed")];
        assert_eq!(keys.map(|key| facts[key].clone()), values);
        assert!(list[0].facts(0).get("settlement_period").is_none());
    }

    #[test]
    fn dated_and_other_contracts_are_refused_by_name() {
        for bad in ["BTC/USDC:BTC", "BTC/USD:ETH", "BTC/USD:BTC-261225", "BTC-PERPETUAL", ""] {
            assert!(spec(bad).unwrap_err().to_string().contains(bad));
        }
    }
}
