//! What can be subscribed to: a channel, a market, and how deep, how long or when. Names for faults and the ledger, dense indexes.

/// Depths of a book.
pub(super) const DEPTHS: [usize; 5] = [10, 25, 100, 500, 1_000];
/// Intervals of candles, minutes. The weeks begin on Thursdays: all are multiples since the epoch.
pub(super) const INTERVALS: [i64; 9] = [1, 5, 15, 30, 60, 240, 1_440, 10_080, 21_600];

/// Streams that a market has, in the order of [`Channel::place`].
pub(super) const KINDS: usize = 3 + DEPTHS.len() + INTERVALS.len();

/// A channel with what narrows it down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    Trade,
    /// Told on each trade, or on each change of the best prices.
    Ticker {
        bbo: bool,
    },
    /// A place in [`DEPTHS`].
    Book(usize),
    /// A place in [`INTERVALS`].
    Ohlc(usize),
    /// Of all markets at once.
    Instrument,
}

impl Channel {
    /// The channel's name on the wire.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Trade => "trade",
            Self::Ticker { .. } => "ticker",
            Self::Book(_) => "book",
            Self::Ohlc(_) => "ohlc",
            Self::Instrument => "instrument",
        }
    }

    const fn place(self) -> usize {
        match self {
            Self::Trade | Self::Instrument => 0,
            Self::Ticker { bbo } => 1 + bbo as usize,
            Self::Book(depth) => 3 + depth,
            Self::Ohlc(interval) => 3 + DEPTHS.len() + interval,
        }
    }

    /// The stream's index; `markets` is how many there are.
    pub(super) const fn index(self, market: usize, markets: usize) -> usize {
        match self {
            Self::Instrument => markets * KINDS,
            _ => market * KINDS + self.place(),
        }
    }

    /// The stream's name: `book:BTC/USD:10`.
    pub(super) fn stream(self, symbol: &str) -> String {
        let name = self.name();
        match self {
            Self::Trade => format!("{name}:{symbol}"),
            Self::Ticker { bbo } => format!("{name}:{symbol}:{}", trigger(bbo)),
            Self::Book(depth) => format!("{name}:{symbol}:{}", DEPTHS[depth]),
            Self::Ohlc(interval) => format!("{name}:{symbol}:{}", INTERVALS[interval]),
            Self::Instrument => name.to_owned(),
        }
    }
}

/// What makes a ticker be told.
pub(super) const fn trigger(bbo: bool) -> &'static str {
    if bbo { "bbo" } else { "trades" }
}

/// The names of all streams by their index.
pub(super) fn names<'a>(symbols: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names = Vec::new();
    for symbol in symbols {
        names.push(Channel::Trade.stream(symbol));
        names.extend([false, true].map(|bbo| Channel::Ticker { bbo }.stream(symbol)));
        names.extend((0..DEPTHS.len()).map(|depth| Channel::Book(depth).stream(symbol)));
        names.extend((0..INTERVALS.len()).map(|interval| Channel::Ohlc(interval).stream(symbol)));
    }
    names.push(Channel::Instrument.stream(""));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_at_their_indexes() {
        let symbols = ["BTC/USD", "ETH/USD"];
        let names = names(symbols.into_iter());
        let channels = [
            (Channel::Trade, "trade:ETH/USD"),
            (Channel::Ticker { bbo: true }, "ticker:ETH/USD:bbo"),
            (Channel::Book(0), "book:ETH/USD:10"),
            (Channel::Book(4), "book:ETH/USD:1000"),
            (Channel::Ohlc(8), "ohlc:ETH/USD:21600"),
            (Channel::Instrument, "instrument"),
        ];
        for (channel, name) in channels {
            assert_eq!((names[channel.index(1, 2)].as_str(), channel.stream("ETH/USD").as_str()), (name, name));
        }
        assert_eq!(names.len(), 2 * KINDS + 1);
    }
}
