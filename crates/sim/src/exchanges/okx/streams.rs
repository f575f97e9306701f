//! What can be subscribed to: a channel of a market. Names for faults and the ledger, dense indexes.

use super::bars::{WIDTHS, Width};
use super::{BUSINESS, PUBLIC};

/// A channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    /// Trades of one order at one price as one.
    Trades,
    /// Each trade.
    TradesAll,
    Bbo,
    Books,
    Books5,
    Tickers,
    /// A place in [`WIDTHS`].
    Candle(usize),
}

/// Those that are not candles, in the order of [`Channel::place`].
const PLAIN: [Channel; 6] =
    [Channel::Trades, Channel::TradesAll, Channel::Bbo, Channel::Books, Channel::Books5, Channel::Tickers];

/// Streams that a market has.
pub(super) const KINDS: usize = PLAIN.len() + WIDTHS.len();

impl Channel {
    /// The channel of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name.strip_prefix("candle") {
            Some(width) => Width::named(width).map(Self::Candle),
            None => PLAIN.into_iter().find(|channel| channel.name() == name),
        }
    }

    /// The channel's name on the wire.
    pub(super) fn name(self) -> String {
        match self {
            Self::Trades => "trades".to_owned(),
            Self::TradesAll => "trades-all".to_owned(),
            Self::Bbo => "bbo-tbt".to_owned(),
            Self::Books => "books".to_owned(),
            Self::Books5 => "books5".to_owned(),
            Self::Tickers => "tickers".to_owned(),
            Self::Candle(width) => format!("candle{}", WIDTHS[width].name),
        }
    }

    /// On which address it is to be had, as the form of connections to it.
    pub(super) const fn address(self) -> u8 {
        if matches!(self, Self::TradesAll | Self::Candle(_)) { BUSINESS } else { PUBLIC }
    }

    const fn place(self) -> usize {
        match self {
            Self::Trades => 0,
            Self::TradesAll => 1,
            Self::Bbo => 2,
            Self::Books => 3,
            Self::Books5 => 4,
            Self::Tickers => 5,
            Self::Candle(width) => PLAIN.len() + width,
        }
    }

    /// The stream's index.
    pub(super) const fn index(self, market: usize) -> usize {
        market * KINDS + self.place()
    }

    /// The stream's name: `books:BTC-USDT`.
    pub(super) fn stream(self, id: &str) -> String {
        format!("{}:{id}", self.name())
    }
}

/// The names of all streams by their index.
pub(super) fn names<'a>(ids: impl Iterator<Item = &'a str>) -> Vec<String> {
    ids.flat_map(|id| {
        let channels = PLAIN.into_iter().chain((0..WIDTHS.len()).map(Channel::Candle));
        channels.map(move |channel| channel.stream(id))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_at_their_indexes() {
        let names = names(["BTC-USDT", "BTC-USDT-SWAP"].into_iter());
        for name in ["trades", "trades-all", "bbo-tbt", "books", "books5", "tickers", "candle1m", "candle1M", "candle1Dutc"]
        {
            let channel = Channel::named(name).unwrap();
            assert_eq!(names[channel.index(1)], format!("{name}:BTC-USDT-SWAP"));
            assert_eq!(channel.address() == BUSINESS, name == "trades-all" || name.starts_with("candle"));
        }
        assert_eq!((names.len(), Channel::named("candle7m"), Channel::named("books-l2-tbt")), (2 * KINDS, None, None));
    }
}
