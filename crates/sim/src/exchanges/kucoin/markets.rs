//! KuCoin's markets: their names and steps, and the list of them. Spot alone.

use dccd_model::Symbol;
use serde_json::{Value, json};

use crate::digits::short;
use crate::error::SimError;
use crate::market::spec::Spec;

/// Steps that are other than elsewhere: price and amount, `e8`.
const STEPS: [(&str, i64, i64); 4] =
    [("BTC/USDT", 10_000_000, 1), ("ETH/USDT", 1_000_000, 10), ("SOL/USDT", 100_000, 10_000), ("ETH/BTC", 1_000, 10)];

/// A spot market.
pub(super) fn spec(text: &str) -> Result<Spec, SimError> {
    let bad = || SimError::BadSymbol { symbol: text.to_owned() };
    let symbol: Symbol = text.parse().map_err(|_| bad())?;
    let spec = Spec::of(symbol.as_str()).map_err(|_| bad())?;
    let id = format!("{}-{}", symbol.base(), symbol.quote());
    let known = STEPS.iter().find(|known| known.0 == symbol.as_str());
    let (tick, step) = known.map_or((spec.tick, spec.step), |known| (known.1, known.2));
    let lower = id.to_ascii_lowercase();
    Ok(Spec { id, lower, tick, step, price_unit: tick, amount_unit: step, ..spec })
}

/// What the exchange calls the group of markets with this quote currency.
pub(super) fn group(quote: &str) -> &str {
    match quote {
        "USDT" | "USDC" => "USDS",
        "BTC" => "BTC",
        _ => "ALTS",
    }
}

/// A market's entry in the list of symbols; keys in the exchange's order.
pub(super) fn facts(spec: &Spec) -> String {
    let (id, base, quote) = (&spec.id, &spec.base, &spec.quote);
    let (step, tick) = (short(spec.step), short(spec.tick));
    let group = group(quote);
    let smallest = short(spec.step.max(1_000));
    format!(
        "{{\"symbol\":\"{id}\",\"name\":\"{id}\",\"baseCurrency\":\"{base}\",\"quoteCurrency\":\"{quote}\",\"feeCurrency\":\"{quote}\",\
         \"market\":\"{group}\",\"baseMinSize\":\"{smallest}\",\"quoteMinSize\":\"0.1\",\"baseMaxSize\":\"10000000000\",\
         \"quoteMaxSize\":\"99999999\",\"baseIncrement\":\"{step}\",\"quoteIncrement\":\"0.000001\",\"priceIncrement\":\"{tick}\",\
         \"priceLimitRate\":\"0.1\",\"minFunds\":\"0.1\",\"isMarginEnabled\":true,\"enableTrading\":true,\"feeCategory\":1,\
         \"makerFeeCoefficient\":\"1.00\",\"takerFeeCoefficient\":\"1.00\",\"st\":false,\"callauctionIsEnabled\":false,\
         \"callauctionPriceFloor\":null,\"callauctionPriceCeiling\":null,\"callauctionFirstStageStartTime\":null,\
         \"callauctionSecondStageStartTime\":null,\"callauctionThirdStageStartTime\":null,\"tradingStartTime\":null}}"
    )
}

/// The currencies of these markets, as the exchange lists them.
pub(super) fn currencies<'a>(specs: impl Iterator<Item = &'a Spec>) -> Value {
    let mut names: Vec<&str> = specs.flat_map(|spec| [spec.base.as_str(), spec.quote.as_str()]).collect();
    names.sort_unstable();
    names.dedup();
    let one = |name: &str| {
        json!({
            "currency": name, "name": name, "fullName": name, "precision": 8, "confirms": null, "contractAddress": null,
            "isMarginEnabled": true, "isDebitEnabled": true, "chains": [],
        })
    };
    names.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markets_have_the_exchange_s_names_and_steps() {
        let spec = spec("BTC/USDT").unwrap();
        assert_eq!((spec.id.as_str(), spec.symbol().as_str()), ("BTC-USDT", "BTC/USDT"));
        let facts: Value = serde_json::from_str(&facts(&spec)).unwrap();
        let keys = ["symbol", "baseCurrency", "market", "baseIncrement", "priceIncrement", "baseMinSize"];
        assert_eq!(
            keys.map(|key| facts[key].as_str().unwrap()),
            ["BTC-USDT", "BTC", "USDS", "0.00000001", "0.1", "0.00001"]
        );
        let list = currencies([&spec].into_iter());
        assert_eq!((list[0]["currency"].as_str(), list[1]["currency"].as_str()), (Some("BTC"), Some("USDT")));
    }

    #[test]
    fn contracts_are_refused_by_name() {
        for bad in ["BTC/USDT:USDT", "BTC-USDT", ""] {
            assert!(spec(bad).unwrap_err().to_string().contains(bad));
        }
    }
}
