//! Symbols in ccxt's unified form, and the form they take in paths and ring names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `BTC/USDT` (spot), `BTC/USDT:USDT` (perpetual), `BTC/USD:BTC-261225` (dated), `BTC/USD:BTC-261225-100000-C` (option).
///
/// `XBT` is read as `BTC`. Letters are upper-cased.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Symbol {
    text: String,
    slash: usize,
    colon: Option<usize>,
}

/// Why a text is not a symbol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a symbol; one looks like BTC/USDT, BTC/USDT:USDT or BTC/USD:BTC-261225")]
pub struct SymbolError {
    text: String,
}

impl Symbol {
    /// A spot symbol of these two currencies.
    ///
    /// # Errors
    /// When a currency is empty or has a character that no currency code has.
    pub fn spot(base: &str, quote: &str) -> Result<Self, SymbolError> {
        format!("{base}/{quote}").parse()
    }

    /// The unified form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What is traded.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.text[..self.slash]
    }

    /// What it is priced in.
    #[must_use]
    pub fn quote(&self) -> &str {
        &self.text[self.slash + 1..self.colon.unwrap_or(self.text.len())]
    }

    /// What a derivative is settled in (with its expiry, if any); `None` for spot.
    #[must_use]
    pub fn settle(&self) -> Option<&str> {
        self.colon.map(|colon| &self.text[colon + 1..])
    }

    /// What amounts are counted in: the base currency; of a derivative that is settled in its base currency (`BTC/USD:BTC`), whose
    /// contracts are worth a fixed sum, the quote currency.
    #[must_use]
    pub fn amount_currency(&self) -> &str {
        let is_inverse = self.settle().is_some_and(|settle| settle.split('-').next() == Some(self.base()));
        if is_inverse { self.quote() } else { self.base() }
    }

    /// The form in paths and ring names: `BTC-USDT`, `BTC-USDT_USDT`.
    #[must_use]
    pub fn path_name(&self) -> String {
        self.text.replace('/', "-").replace(':', "_")
    }

    /// The symbol that a path name stands for; `None` when it is not one.
    #[must_use]
    pub fn from_path_name(name: &str) -> Option<Self> {
        let (base, rest) = name.split_once('-')?;
        format!("{base}/{}", rest.replacen('_', ":", 1)).parse().ok()
    }
}

fn is_code(part: &str) -> bool {
    // Exchanges list codes with digits and, rarely, letters of other scripts (Binance lists Chinese meme coins).
    !part.is_empty()
        && part.len() <= 48
        && part.chars().all(|c| c.is_alphanumeric() || c == '.' || c == '$')
        && !part.chars().all(|c| c == '.')
}

fn canonical(code: &str) -> String {
    let upper = code.to_uppercase();
    if upper == "XBT" { "BTC".to_owned() } else { upper }
}

impl FromStr for Symbol {
    type Err = SymbolError;

    fn from_str(text: &str) -> Result<Self, SymbolError> {
        let error = || SymbolError { text: text.to_owned() };
        let (base, rest) = text.split_once('/').ok_or_else(error)?;
        let (quote, settle) = match rest.split_once(':') {
            Some((quote, settle)) => (quote, Some(settle)),
            None => (rest, None),
        };
        let settle_ok = settle.is_none_or(|s| s.split('-').all(is_code));
        if !is_code(base) || !is_code(quote) || !settle_ok {
            return Err(error());
        }
        let mut out = canonical(base);
        let slash = out.len();
        out.push('/');
        out.push_str(&canonical(quote));
        let colon = settle.map(|settle| {
            let colon = out.len();
            let (code, expiry) = settle.split_once('-').map_or((settle, None), |(c, e)| (c, Some(e)));
            out.push(':');
            out.push_str(&canonical(code));
            if let Some(expiry) = expiry {
                out.push('-');
                out.push_str(&expiry.to_uppercase());
            }
            colon
        });
        Ok(Self { text: out, slash, colon })
    }
}

impl TryFrom<String> for Symbol {
    type Error = SymbolError;
    fn try_from(text: String) -> Result<Self, SymbolError> {
        text.parse()
    }
}

impl From<Symbol> for String {
    fn from(symbol: Symbol) -> Self {
        symbol.text
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unified_symbols_have_a_path_form_and_come_back() {
        for (text, path) in [
            ("BTC/USDT", "BTC-USDT"),
            ("BTC/USDT:USDT", "BTC-USDT_USDT"),
            ("BTC/USD:BTC-261225", "BTC-USD_BTC-261225"),
            ("BTC/USD:BTC-261225-100000-C", "BTC-USD_BTC-261225-100000-C"),
            ("1000SATS/USDT", "1000SATS-USDT"),
        ] {
            let symbol: Symbol = text.parse().unwrap();
            assert_eq!(symbol.path_name(), path);
            assert_eq!(Symbol::from_path_name(path), Some(symbol));
        }
    }

    #[test]
    fn parts_are_named_and_xbt_is_btc() {
        let symbol: Symbol = "xbt/usd:xbt-261225".parse().unwrap();
        assert_eq!((symbol.as_str(), symbol.base(), symbol.quote()), ("BTC/USD:BTC-261225", "BTC", "USD"));
        assert_eq!(symbol.settle(), Some("BTC-261225"));
        let counted = ["BTC/USD:BTC-261225", "BTC/USD:BTC", "BTC/USDT", "BTC/USDC:USDC", "BTC/USDC:USDC-261225"]
            .map(|text| text.parse::<Symbol>().unwrap().amount_currency().to_owned());
        assert_eq!(counted, ["USD", "USD", "BTC", "BTC", "BTC"]);
    }

    #[test]
    fn what_could_leave_a_directory_is_no_symbol() {
        for bad in [
            "",
            "BTC",
            "BTC/",
            "/USDT",
            "../x/USDT",
            "../..",
            "BTC/US DT",
            "BTC/USDT:",
            "A/B/C",
            "BTC/USDT:USDT-",
            "../USDT",
            "BTC/\0",
        ] {
            assert!(bad.parse::<Symbol>().is_err(), "{bad}");
        }
    }
}
