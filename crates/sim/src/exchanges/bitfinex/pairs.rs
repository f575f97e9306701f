//! Bitfinex's markets: their names, the steps of their prices, and what the exchange tells of them.
//!
//! The exchange has codes of its own for some currencies (`UST` is USDT). Names with a code longer than three letters have a colon:
//! `tDOGE:USD`. Perpetuals are `tBTCF0:USTF0`.

use dccd_model::Symbol;
use serde_json::{Value, json};

use super::numbers::text;
use crate::error::SimError;
use crate::market::spec::Spec;

/// Currencies whose code differs from their usual one.
const CODES: [(&str, &str); 8] = [
    ("USDT", "UST"),
    ("ALGO", "ALG"),
    ("ATOM", "ATO"),
    ("DASH", "DSH"),
    ("IOTA", "IOT"),
    ("MANA", "MNA"),
    ("QTUM", "QTM"),
    ("EURT", "EUT"),
];

/// Digits that a price has.
const PRICE_DIGITS: u32 = 5;

/// From this price on amounts are traded to their last decimal, `e8`.
const DEAR: i64 = 1_000 * 100_000_000;

/// The exchange's code of a currency.
fn code(currency: &str) -> &str {
    CODES.iter().find(|known| known.0 == currency).map_or(currency, |known| known.1)
}

/// The usual code of one of the exchange's.
fn usual(code: &str) -> &str {
    CODES.iter().find(|known| known.1 == code).map_or(code, |known| known.0)
}

/// The symbol of a name on the wire, `tBTCUST`.
pub(crate) fn symbol_of(id: &str) -> Option<Symbol> {
    let pair = id.strip_prefix('t')?;
    let (base, quote) = match pair.split_once(':') {
        Some(parts) => parts,
        None => (pair.get(..3)?, pair.get(3..)?),
    };
    match (base.strip_suffix("F0"), quote.strip_suffix("F0")) {
        (Some(base), Some(quote)) => {
            let (base, quote) = (usual(base), usual(quote));
            format!("{base}/{quote}:{quote}").parse().ok()
        }
        _ => Symbol::spot(usual(base), usual(quote)).ok(),
    }
}

/// The step of prices like this one: the last of five digits. `e8` both.
fn tick(price: i64) -> i64 {
    10_i64.pow(price.max(1).ilog10().saturating_sub(PRICE_DIGITS - 1))
}

/// A spot market or a perpetual.
pub(super) fn spec(text: &str) -> Result<Spec, SimError> {
    let bad = || SimError::BadSymbol { symbol: text.to_owned() };
    let symbol: Symbol = text.parse().map_err(|_| bad())?;
    let spot = Spec::of(&format!("{}/{}", symbol.base(), symbol.quote())).map_err(|_| bad())?;
    let (base, quote) = (code(symbol.base()), code(symbol.quote()));
    let (id, settle) = match symbol.settle() {
        None if base.len() == 3 && quote.len() == 3 => (format!("t{base}{quote}"), None),
        None => (format!("t{base}:{quote}"), None),
        Some(settle) if settle == symbol.quote() => (format!("t{base}F0:{quote}F0"), Some(settle.to_owned())),
        Some(_) => return Err(bad()),
    };
    let tick = tick(spot.start);
    // Amounts have eight decimals; of what is cheap nobody trades so little.
    let step = if spot.start >= DEAR { 1 } else { spot.step };
    Ok(Spec { lower: id.to_lowercase(), id, settle, tick, step, price_unit: tick, amount_unit: step, ..spot })
}

/// What a market is on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    /// `tBTCUST`, as channels and requests have it.
    pub id: String,
    pub symbol: String,
    base: String,
    quote: String,
    pub is_perpetual: bool,
    step: i64,
}

impl Pair {
    pub(super) fn of(spec: &Spec) -> Self {
        let is_perpetual = spec.settle.is_some();
        let name = |currency: &str| format!("{}{}", code(currency), if is_perpetual { "F0" } else { "" });
        Self {
            id: spec.id.clone(),
            symbol: spec.symbol(),
            base: name(&spec.base),
            quote: name(&spec.quote),
            is_perpetual,
            step: spec.step,
        }
    }

    /// `BTCUST`, as lists have it.
    pub(super) fn pair(&self) -> &str {
        self.id.strip_prefix('t').unwrap_or(&self.id)
    }
}

/// What the exchange tells under one label of its settings; nothing where there is nothing.
pub(super) fn conf(label: &str, pairs: &[Pair]) -> Value {
    let names = |perpetual: bool| -> Value {
        pairs.iter().filter(|pair| pair.is_perpetual == perpetual).map(|pair| Value::from(pair.pair())).collect()
    };
    let facts = |perpetual: bool| -> Value {
        let of = |pair: &Pair| {
            let least = text(pair.step.max(4_000));
            let margins = if perpetual { (json!(0.01), json!(0.005)) } else { (json!(0.3), json!(0.2)) };
            json!([pair.pair(), [null, null, null, least, "2000.0", null, null, null, margins.0, margins.1, null, null]])
        };
        pairs.iter().filter(|pair| pair.is_perpetual == perpetual).map(of).collect()
    };
    let mut codes: Vec<&str> = pairs.iter().flat_map(|pair| [pair.base.as_str(), pair.quote.as_str()]).collect();
    codes.sort_unstable();
    codes.dedup();
    match label {
        "pub:list:pair:exchange" | "pub:list:pair:margin" => names(false),
        "pub:list:pair:futures" => names(true),
        "pub:info:pair" => facts(false),
        "pub:info:pair:futures" => facts(true),
        "pub:list:currency" => json!(codes),
        "pub:map:currency:sym" => {
            codes.iter().filter(|code| usual(code) != **code).map(|code| json!([code, usual(code)])).collect()
        }
        "pub:map:currency:label" => codes.iter().map(|code| json!([code, usual(code)])).collect(),
        _ => json!([]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_exchange_and_lead_back() {
        for (symbol, id) in [
            ("BTC/USD", "tBTCUSD"),
            ("BTC/USDT", "tBTCUST"),
            ("DOGE/USD", "tDOGE:USD"),
            ("ATOM/USDT", "tATOUST"),
            ("AVAX/USDT", "tAVAX:UST"),
            ("BTC/USDT:USDT", "tBTCF0:USTF0"),
        ] {
            let spec = spec(symbol).unwrap();
            assert_eq!((spec.id.as_str(), Pair::of(&spec).symbol.as_str()), (id, symbol));
            assert_eq!(symbol_of(id).unwrap().as_str(), symbol);
        }
        for bad in ["BTC/USD:BTC", "BTCUSD", ""] {
            assert!(spec(bad).unwrap_err().to_string().contains(bad));
        }
        assert_eq!((symbol_of("fUSD"), symbol_of("t")), (None, None));
    }

    #[test]
    fn prices_have_five_digits() {
        let ticks = ["BTC/USD", "ETH/USD", "SOL/USD", "ETH/BTC"].map(|symbol| spec(symbol).unwrap().tick);
        assert_eq!(ticks, [100_000_000, 10_000_000, 1_000_000, 100]);
    }

    #[test]
    fn settings_have_a_list_for_each_label() {
        let pairs = ["BTC/USD", "BTC/USDT", "DOGE/USD", "BTC/USDT:USDT"].map(|symbol| Pair::of(&spec(symbol).unwrap()));
        assert_eq!(conf("pub:list:pair:exchange", &pairs), json!(["BTCUSD", "BTCUST", "DOGE:USD"]));
        assert_eq!(conf("pub:list:pair:futures", &pairs), json!(["BTCF0:USTF0"]));
        assert_eq!(conf("pub:map:currency:sym", &pairs), json!([["UST", "USDT"]]));
        let facts = conf("pub:info:pair", &pairs);
        assert_eq!((&facts[1][0], &facts[1][1][3]), (&json!("BTCUST"), &json!("0.00004")));
        assert_eq!(conf("pub:nothing", &pairs), json!([]));
    }
}
