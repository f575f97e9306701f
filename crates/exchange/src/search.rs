//! Symbol search: what a person types, to the markets that are most likely meant, best first.
//!
//! Tiers, best first: the whole name, the base currency, the name's beginning, the whole name with one typing error, letters in
//! order (nucleo's fuzzy score), the name or the base with at most two typing errors. Within a tier what is traded comes before what is
//! halted, then the quote currencies by how many of the exchange's markets use them, then spot before derivatives, the fuzzy score,
//! the shorter name, the alphabet. All of this but the alphabet is in the score, so that what several exchanges have can be put in
//! one order.

use nucleo_matcher::{Config, Matcher, Utf32Str};
use rustc_hash::FxHashMap;

use crate::{Market, MarketStatus};

/// One market that was found.
#[derive(Clone, Debug)]
pub struct Match<'a> {
    /// The market.
    pub market: &'a Market,
    /// How well it fits: higher is better; comparable between exchanges for one pattern.
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
    let quotes = quote_places(&markets);
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
            let quote = quotes.get(market.symbol.quote()).copied().unwrap_or(u32::MAX);
            Some(Match { market, score: combined(market, tier, quote, score) })
        })
        .collect();
    found.sort_by(|a, b| (b.score, &a.market.symbol).cmp(&(a.score, &b.market.symbol)));
    found.truncate(limit);
    found
}

/// The place of each quote currency among those of the markets that are traded: 0 is the one that most of them use.
fn quote_places<'a>(markets: &[&'a Market]) -> FxHashMap<&'a str, u32> {
    let mut quotes: FxHashMap<&str, u32> = FxHashMap::default();
    for market in markets.iter().filter(|market| market.status == MarketStatus::Trading) {
        *quotes.entry(market.symbol.quote()).or_default() += 1;
    }
    let mut order: Vec<(std::cmp::Reverse<u32>, &str)> =
        quotes.iter().map(|(quote, n)| (std::cmp::Reverse(*n), *quote)).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, quote)| quote).zip(0..).collect()
}

/// What a match is worth, the most important highest: tier (3 bits), traded (1), place of the quote currency (8), spot (1), fuzzy
/// score (11), shortness (8).
fn combined(market: &Market, tier: Tier, quote: u32, fuzzy: u32) -> u32 {
    let length = u32::try_from(market.symbol.as_str().len()).unwrap_or(u32::MAX);
    let fields = [
        (u32::from(market.status == MarketStatus::Trading), 1),
        (255 - quote.min(255), 8),
        (u32::from(market.symbol.settle().is_none()), 1),
        (fuzzy.min(2_047), 11),
        (255 - length.min(255), 8),
    ];
    fields.into_iter().fold(7 - tier as u32, |score, (value, bits)| score << bits | value)
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

    fn market(symbol: &str, status: MarketStatus) -> Market {
        Market {
            symbol: symbol.parse().unwrap(),
            id: symbol.replace('/', ""),
            status,
            price_tick: None,
            amount_step: None,
            amount_min: None,
            amount_max: None,
            notional_min: None,
            contract_size: None,
        }
    }

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
            .map(|(symbol, status)| market(symbol, status))
            .collect()
    }

    fn check(pattern: &str, expected: &[&str]) {
        let markets = markets();
        let found = search(&markets, pattern, expected.len());
        assert_eq!(found.iter().map(|m| m.market.symbol.as_str()).collect::<Vec<_>>(), expected, "{pattern}");
        assert!(found.windows(2).all(|pair| pair[0].score >= pair[1].score));
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
    fn what_several_exchanges_have_is_in_one_order_by_the_score() {
        // Much that hardly fits, at one; what is meant, halted and traded, at others.
        let many = (0..100).map(|n| market(&format!("XBTC{n}/USDT"), MarketStatus::Trading)).collect::<Markets>();
        let few: Markets =
            [("BTC/USD", MarketStatus::Trading), ("BTC/USD:USD", MarketStatus::Trading), ("ETH/USD", MarketStatus::Trading)]
                .map(|(symbol, status)| market(symbol, status))
                .into_iter()
                .collect();
        let halted: Markets = [market("BTC/EUR", MarketStatus::Halted)].into_iter().collect();
        let mut all: Vec<Match<'_>> = [&many, &few, &halted].into_iter().flat_map(|of| search(of, "btc", 3)).collect();
        all.sort_by_key(|found| std::cmp::Reverse(found.score));
        let found: Vec<&str> = all.iter().map(|found| found.market.symbol.as_str()).take(3).collect();
        assert_eq!(found, ["BTC/USD", "BTC/USD:USD", "BTC/EUR"]);
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
