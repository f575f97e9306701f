//! Stream names: `btcusdt@depth@100ms` to a symbol and kind and back.

use crate::market::interval::INTERVALS;

/// Kinds of streams a symbol has.
pub(crate) const KINDS: usize = 11 + INTERVALS.len();

/// What a stream carries. The numbers are places in [`SUFFIXES`].
pub(crate) mod kind {
    pub(crate) const TRADE: usize = 0;
    pub(crate) const AGG_TRADE: usize = 1;
    pub(crate) const BOOK_TICKER: usize = 2;
    pub(crate) const DEPTH_FAST: usize = 3;
    pub(crate) const DEPTH_SLOW: usize = 4;
    /// Six partial books: 5, 10, 20 levels, each fast and slow.
    pub(crate) const PARTIAL: usize = 5;
    /// Sixteen candle intervals.
    pub(crate) const KLINE: usize = 11;
}

const SUFFIXES: [&str; kind::KLINE] = [
    "trade",
    "aggTrade",
    "bookTicker",
    "depth@100ms",
    "depth",
    "depth5@100ms",
    "depth5",
    "depth10@100ms",
    "depth10",
    "depth20@100ms",
    "depth20",
];

/// Levels of the partial books, in the order of their kinds.
pub(crate) const PARTIAL_LEVELS: [usize; 6] = [5, 5, 10, 10, 20, 20];

/// The name of a stream.
pub(crate) fn name(symbol_lower: &str, kind: usize) -> String {
    match SUFFIXES.get(kind) {
        Some(suffix) => format!("{symbol_lower}@{suffix}"),
        None => format!("{symbol_lower}@kline_{}", INTERVALS[(kind - kind::KLINE) % INTERVALS.len()].0),
    }
}

/// The symbol (as written, lower case) and kind of a stream name; `None` when there is no such stream.
pub(crate) fn parse(name: &str) -> Option<(&str, usize)> {
    let (symbol, rest) = name.split_once('@')?;
    if symbol.is_empty() || symbol.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    if let Some(label) = rest.strip_prefix("kline_") {
        let place = INTERVALS.iter().position(|(l, _)| *l == label)?;
        return Some((symbol, kind::KLINE + place));
    }
    // The one-second pace has a second name.
    let rest = rest.strip_suffix("@1000ms").filter(|r| r.starts_with("depth")).unwrap_or(rest);
    SUFFIXES.iter().position(|s| *s == rest).map(|kind| (symbol, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_kinds_are_one_to_one() {
        for kind in 0..KINDS {
            assert_eq!(parse(&name("btcusdt", kind)), Some(("btcusdt", kind)));
        }
        for unknown in ["btcusdt", "@trade", "BTCUSDT@trade", "btcusdt@trades", "btcusdt@kline_7m", "btcusdt@trade@1000ms"] {
            assert_eq!(parse(unknown), None, "{unknown}");
        }
    }
}
