//! What can be subscribed to: a channel of a product. Names for faults and the ledger, dense indexes.

/// A channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    /// Each trade.
    Matches,
    /// With each trade.
    Ticker,
    /// Each five seconds in which there was a trade.
    TickerBatch,
    /// The book, each 50 ms.
    Book,
    /// Each second.
    Heartbeat,
    /// All products and currencies, of all products at once.
    Status,
}

/// Those of a product, in the order of [`Channel::place`].
const OF_PRODUCT: [Channel; 5] =
    [Channel::Matches, Channel::Ticker, Channel::TickerBatch, Channel::Book, Channel::Heartbeat];

/// Streams that a product has.
const KINDS: usize = OF_PRODUCT.len();

impl Channel {
    /// The channel that clients call so. The book's has two names.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "status" => Some(Self::Status),
            "level2_50" => Some(Self::Book),
            _ => OF_PRODUCT.into_iter().find(|channel| channel.name() == name),
        }
    }

    /// What clients call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Matches => "matches",
            Self::Ticker => "ticker",
            Self::TickerBatch => "ticker_batch",
            Self::Book => "level2_batch",
            Self::Heartbeat => "heartbeat",
            Self::Status => "status",
        }
    }

    /// What the exchange calls it when it tells of subscriptions.
    pub(super) const fn told_name(self) -> &'static str {
        match self {
            Self::Book => "level2_50",
            _ => self.name(),
        }
    }

    const fn place(self) -> usize {
        match self {
            Self::Matches | Self::Status => 0,
            Self::Ticker => 1,
            Self::TickerBatch => 2,
            Self::Book => 3,
            Self::Heartbeat => 4,
        }
    }

    /// The stream's index; `products` is how many there are.
    pub(super) const fn index(self, product: usize, products: usize) -> usize {
        match self {
            Self::Status => products * KINDS,
            _ => product * KINDS + self.place(),
        }
    }

    /// The stream's name: `matches:BTC-USD`.
    pub(super) fn stream(self, id: &str) -> String {
        match self {
            Self::Status => self.name().to_owned(),
            _ => format!("{}:{id}", self.name()),
        }
    }
}

/// The names of all streams by their index.
pub(super) fn names<'a>(ids: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<_> = ids.flat_map(|id| OF_PRODUCT.into_iter().map(move |channel| channel.stream(id))).collect();
    names.push(Channel::Status.stream(""));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_at_their_indexes() {
        let names = names(["BTC-USD", "ETH-USD"].into_iter());
        for name in ["matches", "ticker", "ticker_batch", "level2_batch", "heartbeat"] {
            let channel = Channel::named(name).unwrap();
            assert_eq!(names[channel.index(1, 2)], format!("{name}:ETH-USD"));
        }
        assert_eq!(names[Channel::named("status").unwrap().index(0, 2)], "status");
        assert_eq!((names.len(), Channel::named("level2_50"), Channel::named("level2")), (11, Some(Channel::Book), None));
    }
}
