//! What can be subscribed to: a channel of a market, and how fine and deep or how long. Names for faults and the ledger, dense indexes.

use crate::market::interval::Interval;

/// Levels a side of a book.
pub(super) const LENGTHS: [usize; 4] = [1, 25, 100, 250];
/// How coarse the prices of a book are; the last one tells single orders.
pub(super) const PRECISIONS: [&str; 6] = ["P0", "P1", "P2", "P3", "P4", "R0"];
/// The place of single orders among them.
pub(super) const RAW: usize = 5;
/// How often a book is told.
pub(super) const PACES: [&str; 2] = ["F0", "F1"];
const BOOKS: usize = PRECISIONS.len() * PACES.len() * LENGTHS.len();

/// Widths of candles.
pub(super) const WIDTHS: [(&str, Interval); 12] = [
    ("1m", Interval::Minutes(1)),
    ("5m", Interval::Minutes(5)),
    ("15m", Interval::Minutes(15)),
    ("30m", Interval::Minutes(30)),
    ("1h", Interval::Minutes(60)),
    ("3h", Interval::Minutes(180)),
    ("6h", Interval::Minutes(360)),
    ("12h", Interval::Minutes(720)),
    ("1D", Interval::Days(1)),
    ("1W", Interval::Week),
    ("14D", Interval::Days(14)),
    ("1M", Interval::Month),
];

/// Streams that a market has.
pub(super) const KINDS: usize = 2 + BOOKS + WIDTHS.len();

/// A channel with what narrows it down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    Trades,
    Ticker,
    /// Places in [`PRECISIONS`], [`PACES`] and [`LENGTHS`].
    Book(usize, usize, usize),
    /// A place in [`WIDTHS`].
    Candles(usize),
}

/// The place of a width of candles. Case matters: `1m` is a minute, `1M` a month.
pub(super) fn width(name: &str) -> Option<usize> {
    WIDTHS.iter().position(|known| known.0 == name)
}

/// All books.
pub(super) fn books() -> impl Iterator<Item = Channel> {
    (0..BOOKS).map(|place| {
        let (rest, length) = (place / LENGTHS.len(), place % LENGTHS.len());
        Channel::Book(rest / PACES.len(), rest % PACES.len(), length)
    })
}

impl Channel {
    pub(super) const fn place(self) -> usize {
        match self {
            Self::Trades => 0,
            Self::Ticker => 1,
            Self::Book(precision, pace, length) => 2 + (precision * PACES.len() + pace) * LENGTHS.len() + length,
            Self::Candles(width) => 2 + BOOKS + width,
        }
    }

    /// The stream's index.
    pub(super) const fn index(self, market: usize) -> usize {
        market * KINDS + self.place()
    }

    /// The stream's name: `book:tBTCUSD:P0:F0:25`.
    pub(super) fn stream(self, id: &str) -> String {
        match self {
            Self::Trades => format!("trades:{id}"),
            Self::Ticker => format!("ticker:{id}"),
            Self::Book(precision, pace, length) => {
                format!("book:{id}:{}:{}:{}", PRECISIONS[precision], PACES[pace], LENGTHS[length])
            }
            Self::Candles(width) => format!("candles:{id}:{}", WIDTHS[width].0),
        }
    }
}

/// The names of all streams by their index.
pub(super) fn names<'a>(ids: impl Iterator<Item = &'a str>) -> Vec<String> {
    ids.flat_map(|id| {
        let channels = [Channel::Trades, Channel::Ticker].into_iter();
        let channels = channels.chain(books()).chain((0..WIDTHS.len()).map(Channel::Candles));
        channels.map(move |channel| channel.stream(id))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_at_their_indexes() {
        let names = names(["tBTCUSD", "tDOGE:USD"].into_iter());
        for (channel, name) in [
            (Channel::Trades, "trades:tDOGE:USD"),
            (Channel::Ticker, "ticker:tDOGE:USD"),
            (Channel::Book(0, 0, 0), "book:tDOGE:USD:P0:F0:1"),
            (Channel::Book(RAW, 1, 3), "book:tDOGE:USD:R0:F1:250"),
            (Channel::Candles(0), "candles:tDOGE:USD:1m"),
            (Channel::Candles(11), "candles:tDOGE:USD:1M"),
        ] {
            assert_eq!((names[channel.index(1)].as_str(), channel.stream("tDOGE:USD").as_str()), (name, name));
        }
        assert_eq!((names.len(), width("1M"), width("7m")), (2 * KINDS, Some(11), None));
        assert!(books().enumerate().all(|(at, book)| book.place() == 2 + at));
    }
}
