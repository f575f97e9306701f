//! Coinbase's products and currencies: names, steps, and the lists of them.

use std::collections::BTreeSet;

use dccd_model::Symbol;
use serde_json::{Value, json};

use crate::digits::push_fixed;
use crate::error::SimError;
use crate::market::spec::Spec;

/// Products whose steps are other than elsewhere: all have cents and hundred-millionths.
const IN_CENTS: [&str; 6] = ["BTC/USD", "ETH/USD", "SOL/USD", "BTC/EUR", "BTC/USDT", "ETH/USDT"];
const CENT: i64 = 1_000_000;

/// A spot market.
pub(super) fn spec(text: &str) -> Result<Spec, SimError> {
    let bad = || SimError::BadSymbol { symbol: text.to_owned() };
    let symbol: Symbol = text.parse().map_err(|_| bad())?;
    let spot = Spec::of(text)?;
    let is_in_cents = IN_CENTS.contains(&symbol.as_str());
    let (tick, step) = if is_in_cents { (CENT, 1) } else { (spot.tick, spot.step) };
    let id = format!("{}-{}", symbol.base(), symbol.quote());
    let lower = id.to_ascii_lowercase();
    Ok(Spec { id, lower, tick, step, price_unit: tick, amount_unit: step, ..spot })
}

/// What a market is on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Product {
    /// `BTC-USD`.
    pub id: String,
    pub symbol: String,
    base: String,
    quote: String,
    tick: i64,
    step: i64,
    /// Decimals of prices and of sizes in books.
    pub digits: (u32, u32),
}

/// Decimals that a step needs.
fn decimals(mut e8: i64) -> u32 {
    let mut digits = 8;
    while digits > 0 && e8 % 10 == 0 {
        (e8, digits) = (e8 / 10, digits - 1);
    }
    digits
}

fn fixed(e8: i64, digits: u32) -> String {
    let mut out = Vec::with_capacity(24);
    push_fixed(&mut out, e8, digits);
    String::from_utf8_lossy(&out).into_owned()
}

impl Product {
    pub(super) fn of(spec: &Spec) -> Self {
        let Spec { tick, step, .. } = *spec;
        let (base, quote) = (spec.base.clone(), spec.quote.clone());
        let digits = (decimals(tick), decimals(step));
        Self { id: spec.id.clone(), symbol: spec.symbol(), base, quote, tick, step, digits }
    }

    /// Its entry in the list of products; keys in the exchange's own order.
    pub(super) fn push(&self, out: &mut Vec<u8>) {
        let Self { id, base, quote, tick, step, digits, .. } = self;
        let (tick, step) = (fixed(*tick, digits.0), fixed(*step, digits.1));
        out.extend_from_slice(
            format!(
                "{{\"id\":\"{id}\",\"base_currency\":\"{base}\",\"quote_currency\":\"{quote}\",\"quote_increment\":\"{tick}\",\
                 \"base_increment\":\"{step}\",\"display_name\":\"{id}\",\"min_market_funds\":\"1\",\"margin_enabled\":false,\
                 \"post_only\":false,\"limit_only\":false,\"cancel_only\":false,\"status\":\"online\",\"status_message\":\"\",\
                 \"trading_disabled\":false,\"fx_stablecoin\":false,\"max_slippage_percentage\":\"0.02000000\",\
                 \"auction_mode\":false,\"high_bid_limit_percentage\":\"\"}}"
            )
            .as_bytes(),
        );
    }
}

/// `[…]` of all products.
pub(super) fn list(products: &[Product]) -> Vec<u8> {
    let mut out = b"[".to_vec();
    for (i, product) in products.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        product.push(&mut out);
    }
    out.push(b']');
    out
}

/// All currencies that products have.
pub(super) fn currencies(products: &[Product]) -> Value {
    let codes: BTreeSet<&str> = products.iter().flat_map(|p| [p.base.as_str(), p.quote.as_str()]).collect();
    codes.into_iter().map(currency).collect()
}

fn currency(code: &str) -> Value {
    let is_fiat = matches!(code, "USD" | "EUR" | "GBP");
    let least = if is_fiat { "0.01" } else { "0.00000001" };
    json!({
        "id": code,
        "name": code,
        "min_size": least,
        "status": "online",
        "message": "",
        "max_precision": least,
        "convertible_to": [],
        "details": {
            "type": if is_fiat { "fiat" } else { "crypto" },
            "symbol": null,
            "network_confirmations": 0,
            "sort_order": 0,
            "crypto_address_link": "",
            "crypto_transaction_link": "",
            "push_payment_methods": [],
            "group_types": [],
            "display_name": null,
            "processing_time_seconds": null,
            "min_withdrawal_amount": null,
            "max_withdrawal_amount": null,
        },
        "default_network": "",
        "supported_networks": [],
        "display_name": code,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_with_all_their_decimals_and_no_more() {
        let text = |symbol: &str| {
            let mut out = Vec::new();
            Product::of(&spec(symbol).unwrap()).push(&mut out);
            String::from_utf8(out).unwrap()
        };
        let steps = r#""id":"BTC-USD","base_currency":"BTC","quote_currency":"USD","quote_increment":"0.01","base_increment":"0.00000001""#;
        assert!(text("BTC/USD").contains(steps), "{}", text("BTC/USD"));
        assert!(text("XRP/USDT").contains(r#""quote_increment":"0.0001","base_increment":"0.1""#), "{}", text("XRP/USDT"));
        assert_eq!((decimals(100_000_000), decimals(1)), (0, 8));
    }

    #[test]
    fn what_is_no_spot_market_is_refused_by_name() {
        for bad in ["BTC/USD:USD", "BTC-USD", ""] {
            assert!(spec(bad).unwrap_err().to_string().contains(bad));
        }
    }
}
