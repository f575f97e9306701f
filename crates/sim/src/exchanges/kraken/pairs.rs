//! Kraken's names of assets and pairs, and the lists of them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::digits::e8_text;
use crate::market::spec::Spec;

/// Assets whose own names have the old prefix, `X` for what was coined, `Z` for what is printed.
const OLD_COINS: [&str; 11] = ["XBT", "ETH", "LTC", "XRP", "XLM", "ETC", "ZEC", "XMR", "REP", "MLN", "XDG"];
const OLD_MONEY: [&str; 6] = ["USD", "EUR", "GBP", "CAD", "JPY", "AUD"];

/// What a pair is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    /// The exchange's own name, under which rows come: `XXBTZUSD`.
    pub(crate) key: String,
    /// `XBTUSD`.
    pub(crate) altname: String,
    /// `XBT/USD`.
    pub(crate) wsname: String,
    base: String,
    quote: String,
    /// What the WebSocket calls it: `BTC/USD`.
    pub(crate) symbol: String,
    pub(crate) digits: Digits,
    pub(crate) tick: i64,
    pub(crate) step: i64,
}

/// Decimals of a pair's prices and amounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digits {
    pub(crate) price: u32,
    pub(crate) amount: u32,
}

/// What the exchange calls a currency in pairs.
fn code(currency: &str) -> &str {
    match currency {
        "BTC" => "XBT",
        "DOGE" => "XDG",
        other => other,
    }
}

/// An asset's own name, and whether it is an old one.
fn asset(code: &str) -> (String, bool) {
    if OLD_COINS.contains(&code) {
        (format!("X{code}"), true)
    } else if OLD_MONEY.contains(&code) {
        (format!("Z{code}"), true)
    } else {
        (code.to_owned(), false)
    }
}

/// How many decimals a step of hundred-millionths needs.
fn digits(step: i64) -> u32 {
    (0..=8).rev().find(|zeros| step % 10_i64.pow(*zeros) == 0).map_or(8, |zeros| 8 - zeros)
}

impl Pair {
    pub(crate) fn of(spec: &Spec) -> Self {
        let (base_code, quote_code) = (code(&spec.base), code(&spec.quote));
        let ((base, old_base), (quote, old_quote)) = (asset(base_code), asset(quote_code));
        let altname = format!("{base_code}{quote_code}");
        // XDG came late: its pairs have short names although the asset's own is XXDG.
        let long = old_base && old_quote && base_code != "XDG";
        Self {
            key: if long { format!("{base}{quote}") } else { altname.clone() },
            wsname: format!("{base_code}/{quote_code}"),
            altname,
            base,
            quote,
            symbol: spec.symbol(),
            digits: Digits { price: digits(spec.tick), amount: digits(spec.step) },
            tick: spec.tick,
            step: spec.step,
        }
    }

    /// Whether it may be asked for by this name.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        [&self.key, &self.altname, &self.wsname].into_iter().any(|own| own == name)
    }

    /// The smallest order, `e8`.
    pub(crate) fn order_min(&self) -> i64 {
        self.step.max(5_000)
    }

    /// Its entry in `AssetPairs`.
    fn facts(&self) -> Value {
        json!({
            "altname": self.altname,
            "wsname": self.wsname,
            "aclass_base": "currency",
            "base": self.base,
            "aclass_quote": "currency",
            "quote": self.quote,
            "lot": "unit",
            "cost_decimals": 5,
            "pair_decimals": self.digits.price,
            "lot_decimals": self.digits.amount,
            "lot_multiplier": 1,
            "leverage_buy": [],
            "leverage_sell": [],
            "fees": [[0, 0.4], [10_000, 0.35], [50_000, 0.24]],
            "fees_maker": [[0, 0.25], [10_000, 0.2], [50_000, 0.14]],
            "fee_volume_currency": "ZUSD",
            "margin_call": 80,
            "margin_stop": 40,
            "ordermin": short(self.order_min()),
            "costmin": "0.5",
            "tick_size": short(self.tick),
            "status": "online",
        })
    }
}

/// A number of hundred-millionths without the zeros at its end.
fn short(e8: i64) -> String {
    e8_text(e8).trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `AssetPairs` of these.
pub(crate) fn asset_pairs<'a>(pairs: impl Iterator<Item = &'a Pair>) -> Value {
    Value::Object(pairs.map(|pair| (pair.key.clone(), pair.facts())).collect::<Map<_, _>>())
}

/// `Assets` that these pairs trade, all or those asked for.
pub(crate) fn assets(pairs: &[Pair], wanted: Option<&str>) -> Value {
    let mut known = BTreeMap::new();
    for pair in pairs {
        let names = pair.wsname.split('/').zip([&pair.base, &pair.quote]);
        known.extend(names.map(|(altname, own)| (own.as_str(), altname)));
    }
    let is_wanted = |own: &str, altname: &str| wanted.is_none_or(|list| list.split(',').any(|w| w == own || w == altname));
    let listed = known.into_iter().filter(|(own, altname)| is_wanted(own, altname)).map(|(own, altname)| {
        let (decimals, display) = if own.starts_with('Z') && own.len() == 4 { (4, 2) } else { (10, 5) };
        let facts =
            json!({"aclass": "currency", "altname": altname, "decimals": decimals, "display_decimals": display, "status": "enabled"});
        (own.to_owned(), facts)
    });
    Value::Object(listed.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_have_the_names_that_the_exchange_gives_them() {
        for (symbol, key, altname, wsname) in [
            ("BTC/USD", "XXBTZUSD", "XBTUSD", "XBT/USD"),
            ("BTC/EUR", "XXBTZEUR", "XBTEUR", "XBT/EUR"),
            ("ETH/BTC", "XETHXXBT", "ETHXBT", "ETH/XBT"),
            ("BTC/USDT", "XBTUSDT", "XBTUSDT", "XBT/USDT"),
            ("SOL/USD", "SOLUSD", "SOLUSD", "SOL/USD"),
            ("DOGE/USD", "XDGUSD", "XDGUSD", "XDG/USD"),
        ] {
            let pair = Pair::of(&Spec::of(symbol).unwrap());
            assert_eq!((pair.key.as_str(), pair.altname.as_str(), pair.wsname.as_str()), (key, altname, wsname));
            assert!(
                [key, altname, wsname].into_iter().all(|name| pair.is_called(name))
                    && !pair.is_called(symbol.get(1..).unwrap())
            );
        }
        assert_eq!((digits(10_000_000), digits(1), digits(1_000_000), digits(100_000_000)), (1, 8, 2, 0));
    }

    #[test]
    fn assets_are_those_of_the_pairs() {
        let pairs: Vec<_> = ["BTC/USD", "SOL/USD"].iter().map(|s| Pair::of(&Spec::of(s).unwrap())).collect();
        let names = |value: Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(assets(&pairs, None)), ["SOL", "XXBT", "ZUSD"]);
        assert_eq!(names(assets(&pairs, Some("XBT,ZUSD"))), ["XXBT", "ZUSD"]);
        let listed = asset_pairs(pairs.iter());
        assert_eq!((&listed["XXBTZUSD"]["tick_size"], &listed["XXBTZUSD"]["ordermin"]), (&json!("0.1"), &json!("0.00005")));
    }
}
