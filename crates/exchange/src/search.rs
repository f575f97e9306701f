//! Symbol search: what a person types, to the markets that are most likely meant, best first.
//!
//! Tiers, best first: the whole name, the base currency, the name's beginning, the whole name with one typing error, letters in
//! order (nucleo's fuzzy score), the name or the base with at most two typing errors. Within a tier what is traded comes before what is halted, then the quote currencies by how many of the
//! exchange's markets use them, then the fuzzy score, the shorter name, the alphabet.

use nucleo_matcher::{Config, Matcher, Utf32Str};
use rustc_hash::FxHashMap;

use crate::{Market, MarketStatus};

/// One market that was found.
#[derive(Clone, Debug)]
pub struct Match<'a> {
    /// The market.
    pub market: &'a Market,
    /// How well it fits: higher is better; comparable within one search only.
    pub score: u32,
}

/// How well a name fits; the earlier variant is better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    Exact,
    Base,
    Prefix,
    Near,
    Fuzzy,
    Typo,
}

/// Longest pattern that is looked at, in characters; the rest is ignored.
const PATTERN_MAX: usize = 64;

/// The markets that fit the pattern, best first, at most `limit`. Case, `/`, `-`, `_`, `:` and blanks don't matter; `XBT` is
/// read as `BTC`. An empty pattern fits everything.
#[must_use]
pub fn search<'a>(markets: impl IntoIterator<Item = &'a Market>, pattern: &str, limit: usize) -> Vec<Match<'a>> {
    let markets: Vec<&Market> = markets.into_iter().collect();
    let mut quotes: FxHashMap<&str, u32> = FxHashMap::default();
    for market in &markets {
        if market.status == MarketStatus::Trading {
            *quotes.entry(market.symbol.quote()).or_default() += 1;
        }
    }
    let needle = plain(pattern);
    // Both sides are upper case already; the matcher's own folding expects lower-case patterns, and panics on others.
    let mut config = Config::DEFAULT;
    (config.ignore_case, config.normalize, config.prefer_prefix) = (false, false, true);
    let mut matcher = Matcher::new(config);
    let mut scratch = Vec::new();
    let mut found: Vec<_> = markets
        .into_iter()
        .filter_map(|market| {
            let (tier, score) = rank(market, &needle, &mut matcher, &mut scratch)?;
            let halted = market.status != MarketStatus::Trading;
            let quote = quotes.get(market.symbol.quote()).copied().unwrap_or(0);
            Some((tier, halted, u32::MAX - quote, u32::MAX - score, market.symbol.as_str().len(), market))
        })
        .collect();
    found.sort_by(|a, b| (a.0, a.1, a.2, a.3, a.4, &a.5.symbol).cmp(&(b.0, b.1, b.2, b.3, b.4, &b.5.symbol)));
    let best = u32::try_from(found.len()).unwrap_or(u32::MAX);
    found.into_iter().zip(0..best).take(limit).map(|(m, i)| Match { market: m.5, score: best - i }).collect()
}

/// Upper case, letters and digits only.
fn plain(text: &str) -> String {
    let text: String = text.chars().take(PATTERN_MAX).filter(|c| c.is_alphanumeric()).flat_map(char::to_uppercase).collect();
    match text.strip_prefix("XBT") {
        Some(rest) => format!("BTC{rest}"),
        None => text,
    }
}

fn rank(market: &Market, needle: &str, matcher: &mut Matcher, scratch: &mut Vec<char>) -> Option<(Tier, u32)> {
    let symbol = plain(market.symbol.as_str());
    let id = plain(&market.id);
    if needle == symbol || needle == id {
        return Some((Tier::Exact, 0));
    }
    if needle == market.symbol.base() {
        return Some((Tier::Base, 0));
    }
    if symbol.starts_with(needle) || id.starts_with(needle) {
        return Some((Tier::Prefix, 0));
    }
    let letters = needle.chars().count();
    if letters >= 5 && edit_distance(&symbol, needle, 1).is_some() {
        // Two letters swapped are likelier than one that is wrong.
        return Some((Tier::Near, u32::from(symbol.len() == needle.len() && sorted(&symbol) == sorted(needle))));
    }
    let mut needle_buffer = Vec::new();
    let needle_text = Utf32Str::new(needle, &mut needle_buffer);
    if let Some(score) = matcher.fuzzy_match(Utf32Str::new(&symbol, scratch), needle_text) {
        return Some((Tier::Fuzzy, u32::from(score)));
    }
    let allowed = match letters {
        0..=2 => return None,
        3..=5 => 1,
        _ => 2,
    };
    let distance =
        [symbol.as_str(), market.symbol.base()].into_iter().filter_map(|name| edit_distance(name, needle, allowed)).min()?;
    Some((Tier::Typo, allowed - distance))
}

fn sorted(text: &str) -> Vec<char> {
    let mut letters: Vec<char> = text.chars().collect();
    letters.sort_unstable();
    letters
}

/// Typing errors (a letter wrong, missing, too many, or two swapped) between two words; `None` when there are more than `max`.
fn edit_distance(a: &str, b: &str, max: u32) -> Option<u32> {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > max as usize {
        return None;
    }
    let mut before: Vec<u32> = Vec::new();
    let mut last: Vec<u32> = (0..).take(b.len() + 1).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![last[0] + 1];
        for (j, y) in b.iter().enumerate() {
            let mut cost = (last[j] + u32::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().filter(|d| *d <= max)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Markets;

    fn markets() -> Markets {
        let trading = [
            "BTC/USDT",
            "BTC/USDC",
            "BTC/EUR",
            "ETH/USDT",
            "ETH/BTC",
            "ETH/EUR",
            "SOL/USDT",
            "XRP/USDT",
            "BTCST/USDT",
            "WBTC/BTC",
            "WBTC/USDT",
            "USDT/TRY",
            "DOGE/USDT",
            "BCH/USDT",
            "LTC/USDT",
            "BNB/USDT",
            "SOL/USDC",
            "BNB/USDC",
            "LUNC/USDT",
            "1000SATS/USDT",
        ];
        let halted = ["BTC/PAX", "BTC/TUSD", "LUNA/USDT", "DOG/USDT"];
        trading
            .iter()
            .map(|s| (s, MarketStatus::Trading))
            .chain(halted.iter().map(|s| (s, MarketStatus::Halted)))
            .map(|(symbol, status)| Market {
                symbol: symbol.parse().unwrap(),
                id: symbol.replace('/', ""),
                status,
                price_tick: None,
                amount_step: None,
                amount_min: None,
                amount_max: None,
                notional_min: None,
                contract_size: None,
            })
            .collect()
    }

    fn check(pattern: &str, expected: &[&str]) {
        let markets = markets();
        let found = search(&markets, pattern, expected.len());
        assert_eq!(found.iter().map(|m| m.market.symbol.as_str()).collect::<Vec<_>>(), expected, "{pattern}");
        assert!(found.windows(2).all(|pair| pair[0].score > pair[1].score));
    }

    #[test]
    fn the_market_that_is_meant_comes_first() {
        check("btcusdt", &["BTC/USDT"]);
        check("BTC/USDT", &["BTC/USDT"]);
        check("btc-usdt", &["BTC/USDT"]);
        check("xbt/usdt", &["BTC/USDT"]);
        check("eth eur", &["ETH/EUR"]);
        check("1000sats", &["1000SATS/USDT"]);
        // The base currency itself, by common quotes, the halted last; then longer names.
        check("btc", &["BTC/USDT", "BTC/USDC", "BTC/EUR", "BTC/PAX", "BTC/TUSD", "BTCST/USDT"]);
        check("dog", &["DOG/USDT", "DOGE/USDT"]);
        check("lun", &["LUNC/USDT", "LUNA/USDT"]);
        check("btcu", &["BTC/USDT", "BTC/USDC"]);
    }

    #[test]
    fn letters_in_order_and_typing_errors_are_understood() {
        check("slusdt", &["SOL/USDT"]);
        check("wbusdt", &["WBTC/USDT"]);
        check("btcudst", &["BTC/USDT"]);
        check("bctusdt", &["BTC/USDT"]);
        check("dogeusst", &["DOGE/USDT"]);
        check("solusdy", &["SOL/USDT"]);
        check("eht", &["ETH/USDT", "ETH/BTC", "ETH/EUR"]);
    }

    #[test]
    fn what_fits_nothing_finds_nothing_and_limits_hold() {
        let markets = markets();
        assert!(search(&markets, "zzzzzz", 10).is_empty());
        assert!(search(&markets, "q", 10).is_empty());
        assert_eq!(search(&markets, "", 3).len(), 3);
        assert_eq!(search(&markets, "usdt", 0).len(), 0);
        assert!(search(&markets, &"x".repeat(100_000), 10).is_empty());
    }

    proptest! {
        #[test]
        fn any_pattern_returns(pattern in "\\PC{0,20}") {
            let markets = markets();
            prop_assert!(search(&markets, &pattern, 5).len() <= 5);
        }
    }
}
