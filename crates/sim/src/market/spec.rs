//! What a symbol is: its currencies, tick and lot sizes, and the price it starts at.

use dccd_model::Symbol;

use crate::error::SimError;

/// One market.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub base: String,
    pub quote: String,
    /// What a perpetual is settled in; none of a spot market.
    pub settle: Option<String>,
    /// The exchange's name of it: `BTCUSDT`.
    pub id: String,
    /// The same in stream names: `btcusdt`.
    pub lower: String,
    /// Smallest price step, `e8`.
    pub tick: i64,
    /// Smallest amount step, `e8`.
    pub step: i64,
    /// Price at the beginning of its history, `e8`.
    pub start: i64,
    /// What one of the book's price numbers stands for, `e8`.
    pub price_unit: i64,
    /// What one of the book's amounts stands for, `e8`.
    pub amount_unit: i64,
}

/// Prices and steps of well-known markets, all `e8`.
const KNOWN: [(&str, i64, i64, i64); 12] = [
    ("BTC/USDT", 1_000_000, 1_000, 6_183_763_000_000),
    ("ETH/USDT", 1_000_000, 10_000, 265_012_000_000),
    ("SOL/USDT", 1_000_000, 100_000, 15_404_000_000),
    ("XRP/USDT", 10_000, 10_000_000, 61_080_000),
    ("BNB/USDT", 1_000_000, 100_000, 52_130_000_000),
    ("DOGE/USDT", 1_000, 100_000_000, 10_742_000),
    ("ADA/USDT", 10_000, 10_000_000, 34_720_000),
    ("ETH/BTC", 1_000, 10_000, 4_286_000),
    ("BTC/USD", 10_000_000, 1, 6_183_760_000_000),
    ("ETH/USD", 1_000_000, 1, 265_012_000_000),
    ("BTC/EUR", 10_000_000, 1, 5_683_760_000_000),
    ("SOL/USD", 1_000_000, 1, 15_404_000_000),
];

/// Quote currencies as they end exchange names, longer ones before those they contain.
const QUOTES: [&str; 22] = [
    "FDUSD", "USDT", "USDC", "TUSD", "BUSD", "BIDR", "IDRT", "BTC", "ETH", "BNB", "EUR", "TRY", "GBP", "AUD", "BRL", "RUB",
    "UAH", "DAI", "JPY", "XRP", "TRX", "USD",
];

impl Spec {
    /// A market of the invented exchange. An unknown symbol gets steps and a price drawn from its name.
    pub(crate) fn of(text: &str) -> Result<Self, SimError> {
        let bad = || SimError::BadSymbol { symbol: text.to_owned() };
        let symbol: Symbol = text.parse().map_err(|_| bad())?;
        if symbol.settle().is_some() || !format!("{}{}", symbol.base(), symbol.quote()).is_ascii() {
            return Err(bad());
        }
        let known = KNOWN.iter().find(|k| k.0 == symbol.as_str());
        let (tick, step, start) = known.map_or_else(
            || {
                let hash = symbol
                    .as_str()
                    .bytes()
                    .fold(14_695_981_039_346_656_037_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(1_099_511_628_211));
                // Between 0.5 and 300, four decimals.
                let price = 5_000 + i64::try_from(hash % 2_995_000).unwrap_or(0);
                (10_000, 1_000_000, price * 10_000)
            },
            |k| (k.1, k.2, k.3),
        );
        Ok(Self::new(symbol.base(), symbol.quote(), tick, step, start))
    }

    /// A recorded market, of which only the exchange's name is known; steps are those its numbers need.
    pub(crate) fn recorded(id: &str, tick: i64, step: i64) -> Self {
        let id = id.to_ascii_uppercase();
        let quote = QUOTES.iter().find(|q| id.len() > q.len() && id.ends_with(*q)).copied();
        let quote = quote.unwrap_or_else(|| id.get(id.len().saturating_sub(3)..).unwrap_or(""));
        let base = id[..id.len() - quote.len()].to_owned();
        // The numbers seen so far decide the steps shown; the book takes any.
        Self { price_unit: 1, amount_unit: 1, ..Self::new(&base, quote, tick, step, 0) }
    }

    fn new(base: &str, quote: &str, tick: i64, step: i64, start: i64) -> Self {
        let id = format!("{base}{quote}").to_ascii_uppercase();
        let lower = id.to_ascii_lowercase();
        Self {
            base: base.to_owned(),
            quote: quote.to_owned(),
            id,
            lower,
            settle: None,
            tick,
            step,
            start,
            price_unit: tick,
            amount_unit: step,
        }
    }

    /// Whether amounts are in the quote currency: of perpetuals that are settled in the base currency.
    pub(crate) fn is_inverse(&self) -> bool {
        self.settle.as_ref() == Some(&self.base)
    }

    /// `BTC/USDT`, of a perpetual `BTC/USDT:USDT`.
    pub(crate) fn symbol(&self) -> String {
        match &self.settle {
            Some(settle) => format!("{}/{}:{settle}", self.base, self.quote),
            None => format!("{}/{}", self.base, self.quote),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_names_fall_apart_into_currencies() {
        for (id, base, quote) in [
            ("BTCUSDT", "BTC", "USDT"),
            ("SWRVBUSD", "SWRV", "BUSD"),
            ("AAVEUPUSDT", "AAVEUP", "USDT"),
            ("BUSDTRY", "BUSD", "TRY"),
            ("RUNEEUR", "RUNE", "EUR"),
            ("ETHBTC", "ETH", "BTC"),
        ] {
            let spec = Spec::recorded(id, 1, 1);
            assert_eq!((spec.base.as_str(), spec.quote.as_str()), (base, quote));
        }
    }

    #[test]
    fn what_is_no_spot_symbol_is_refused_by_name() {
        for bad in ["BTCUSDT", "BTC/USDT:USDT", "", "ÄÖ/USDT"] {
            assert!(Spec::of(bad).unwrap_err().to_string().contains(bad));
        }
        assert_eq!(Spec::of("foo/usdt").unwrap().id, "FOOUSDT");
    }
}
