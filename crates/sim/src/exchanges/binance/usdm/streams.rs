//! Names of the streams of perpetuals: `btcusdt@depth@100ms` to a kind and back, and the route that carries each.

use crate::market::interval::{INTERVALS, Interval};

/// Candle intervals: those of spot without the second.
pub(crate) const CANDLES: usize = INTERVALS.len() - 1;

/// Kinds of streams a perpetual has.
pub(crate) const KINDS: usize = kind::KLINE + CANDLES;

/// What a stream carries. The numbers are places in [`SUFFIXES`].
pub(crate) mod kind {
    pub(crate) const TRADE: usize = 0;
    pub(crate) const BOOK_TICKER: usize = 1;
    /// Four paces of the diffs, as in [`DIFFS`](super::DIFFS).
    pub(crate) const DEPTH: usize = 2;
    /// Nine partial books: 5, 10, 20 levels, each at three paces.
    pub(crate) const PARTIAL: usize = 6;
    /// From here on `/market` carries what is before on `/public`.
    pub(crate) const AGG_TRADE: usize = 15;
    /// Each three seconds, and each second.
    pub(crate) const MARK_PRICE: usize = 16;
    pub(crate) const TICKER: usize = 18;
    pub(crate) const MINI_TICKER: usize = 19;
    /// Fifteen candle intervals.
    pub(crate) const KLINE: usize = 21;
}

const SUFFIXES: [&str; kind::KLINE] = [
    "trade",
    "bookTicker",
    "depth@0ms",
    "depth@100ms",
    "depth",
    "depth@500ms",
    "depth5@100ms",
    "depth5",
    "depth5@500ms",
    "depth10@100ms",
    "depth10",
    "depth10@500ms",
    "depth20@100ms",
    "depth20",
    "depth20@500ms",
    "aggTrade",
    "markPrice",
    "markPrice@1s",
    "ticker",
    "miniTicker",
    // Nobody is liquidated here: it is silent.
    "forceOrder",
];

/// Streams of diffs: at once, each 100, 250 and 500 ms.
pub(crate) const DIFFS: usize = 4;

/// Levels of the partial books.
pub(crate) const PARTIAL_LEVELS: [usize; 3] = [5, 10, 20];

/// Which address a connection was opened at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/public`: books, best prices, single trades. Also the old address without a route, which carries no more than that.
    Public,
    /// `/market`: all else.
    Market,
}

impl Route {
    /// The route that a path begins with, and the path behind it.
    pub(crate) fn of(path: &str) -> Option<(Self, &str)> {
        let rest = |prefix| path.strip_prefix(prefix).filter(|rest: &&str| rest.starts_with('/'));
        rest("/public").map(|rest| (Self::Public, rest)).or_else(|| rest("/market").map(|rest| (Self::Market, rest)))
    }

    /// Whether it carries a kind of stream.
    pub(crate) const fn carries(self, kind: usize) -> bool {
        matches!(self, Self::Public) == (kind < kind::AGG_TRADE)
    }
}

/// A candle interval by the place of its stream.
pub(crate) fn interval(place: usize) -> (&'static str, Interval) {
    INTERVALS[1 + place % CANDLES]
}

/// The name of a stream.
pub(crate) fn name(symbol_lower: &str, kind: usize) -> String {
    match SUFFIXES.get(kind) {
        Some(suffix) => format!("{symbol_lower}@{suffix}"),
        None => format!("{symbol_lower}@kline_{}", interval(kind - kind::KLINE).0),
    }
}

/// The symbol (as written, lower case) and kind of a stream name; `None` when there is no such stream.
pub(crate) fn parse(name: &str) -> Option<(&str, usize)> {
    let (symbol, rest) = name.split_once('@')?;
    if symbol.is_empty() || symbol.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    if let Some(label) = rest.strip_prefix("kline_") {
        let place = (0..CANDLES).position(|place| interval(place).0 == label)?;
        return Some((symbol, kind::KLINE + place));
    }
    // The common pace of books has a second name.
    let rest = rest.strip_suffix("@250ms").filter(|r| r.starts_with("depth")).unwrap_or(rest);
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
        assert_eq!(parse("btcusdt@depth@250ms"), Some(("btcusdt", kind::DEPTH + 2)));
        for unknown in ["BTCUSDT@aggTrade", "btcusdt@kline_1s", "btcusdt@depth@1000ms", "btcusdt@aggTrade@250ms"] {
            assert_eq!(parse(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn each_stream_is_on_one_route() {
        assert_eq!(Route::of("/public/ws/a@trade"), Some((Route::Public, "/ws/a@trade")));
        assert_eq!(Route::of("/market/stream"), Some((Route::Market, "/stream")));
        for path in ["/ws", "/publicws", "/private/ws", "/public"] {
            assert_eq!(Route::of(path), None, "{path}");
        }
        for (suffix, route) in [
            ("depth@100ms", Route::Public),
            ("depth20@500ms", Route::Public),
            ("bookTicker", Route::Public),
            ("trade", Route::Public),
            ("aggTrade", Route::Market),
            ("markPrice@1s", Route::Market),
            ("kline_1m", Route::Market),
            ("ticker", Route::Market),
        ] {
            let (_, kind) = parse(&format!("x@{suffix}")).unwrap();
            assert_eq!(
                [Route::Public, Route::Market].map(|r| r.carries(kind)),
                [Route::Public, Route::Market].map(|r| r == route)
            );
        }
    }
}
