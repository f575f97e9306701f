//! What can be subscribed to: topics as clients write them, names for faults and the ledger, dense indexes.

use super::markets::{Category, Market};
use crate::market::interval::Interval;

/// Depths of a book, and how often at most each is told of, microseconds.
pub(super) const DEPTHS: [(usize, i64); 4] = [(1, 10_000), (50, 20_000), (200, 100_000), (1_000, 200_000)];

/// Intervals of candles as topics and requests have them.
pub(super) const INTERVALS: [(&str, Interval); 13] = [
    ("1", Interval::Minutes(1)),
    ("3", Interval::Minutes(3)),
    ("5", Interval::Minutes(5)),
    ("15", Interval::Minutes(15)),
    ("30", Interval::Minutes(30)),
    ("60", Interval::Minutes(60)),
    ("120", Interval::Minutes(120)),
    ("240", Interval::Minutes(240)),
    ("360", Interval::Minutes(360)),
    ("720", Interval::Minutes(720)),
    ("D", Interval::Days(1)),
    ("W", Interval::Week),
    ("M", Interval::Month),
];

/// Streams that a market has.
pub(super) const KINDS: usize = 2 + DEPTHS.len() + INTERVALS.len();

/// What a topic is about, its market aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    Trades,
    Tickers,
    /// A place in [`DEPTHS`].
    Book(usize),
    /// A place in [`INTERVALS`].
    Candles(usize),
}

/// Why a topic can't be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// No market has one like it.
    Topic,
    /// There is no such market.
    Symbol,
}

impl Topic {
    /// The topic and the place of its market.
    pub(super) fn parse(text: &str, category: Category, markets: &[Market]) -> Result<(Self, usize), Unknown> {
        let mut parts = text.split('.');
        let (name, second, third) = (parts.next().unwrap_or(""), parts.next(), parts.next());
        if parts.next().is_some() {
            return Err(Unknown::Topic);
        }
        let place = |list: Option<usize>| list.ok_or(Unknown::Topic);
        let (topic, id) = match (name, second, third) {
            ("publicTrade", Some(id), None) => (Self::Trades, id),
            ("tickers", Some(id), None) => (Self::Tickers, id),
            ("orderbook", Some(depth), Some(id)) => {
                (Self::Book(place(DEPTHS.iter().position(|(known, _)| known.to_string() == depth))?), id)
            }
            ("kline", Some(label), Some(id)) => {
                (Self::Candles(place(INTERVALS.iter().position(|(known, _)| *known == label))?), id)
            }
            _ => return Err(Unknown::Topic),
        };
        let market = markets.iter().position(|market| market.category == category && market.id == id);
        Ok((topic, market.ok_or(Unknown::Symbol)?))
    }

    const fn place(self) -> usize {
        match self {
            Self::Trades => 0,
            Self::Tickers => 1,
            Self::Book(depth) => 2 + depth,
            Self::Candles(interval) => 2 + DEPTHS.len() + interval,
        }
    }

    /// The stream's index.
    pub(super) const fn index(self, market: usize) -> usize {
        market * KINDS + self.place()
    }

    /// The topic as it stands in messages: `orderbook.50.BTCUSDT`.
    pub(super) fn push(self, out: &mut Vec<u8>, id: &str) {
        let (name, narrow) = self.parts();
        out.extend_from_slice(name.as_bytes());
        out.push(b'.');
        if let Some(narrow) = narrow {
            out.extend_from_slice(narrow.as_bytes());
            out.push(b'.');
        }
        out.extend_from_slice(id.as_bytes());
    }

    fn parts(self) -> (&'static str, Option<String>) {
        match self {
            Self::Trades => ("publicTrade", None),
            Self::Tickers => ("tickers", None),
            Self::Book(depth) => ("orderbook", Some(DEPTHS[depth].0.to_string())),
            Self::Candles(interval) => ("kline", Some(INTERVALS[interval].0.to_owned())),
        }
    }

    /// The stream's name: `linear:orderbook:BTCUSDT:50`. Both categories have a market of the same id.
    pub(super) fn stream(self, market: &Market) -> String {
        let (name, narrow) = self.parts();
        let narrow = narrow.map_or_else(String::new, |narrow| format!(":{narrow}"));
        format!("{}:{name}:{}{narrow}", market.category.name(), market.id)
    }
}

/// The names of all streams by their index.
pub(super) fn names(markets: &[Market]) -> Vec<String> {
    let topics = || {
        [Topic::Trades, Topic::Tickers]
            .into_iter()
            .chain((0..DEPTHS.len()).map(Topic::Book))
            .chain((0..INTERVALS.len()).map(Topic::Candles))
    };
    markets.iter().flat_map(|market| topics().map(|topic| topic.stream(market))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::markets::spec;
    use super::*;

    #[test]
    fn topics_are_read_within_their_category_and_stand_at_their_indexes() {
        let markets = ["BTC/USDT", "BTC/USDT:USDT", "ETH/USDT"].map(|s| Market::of(&spec(s).unwrap(), 1));
        let names = names(&markets);
        assert_eq!(names.len(), 3 * KINDS);
        for (text, category, place, name) in [
            ("publicTrade.BTCUSDT", Category::Linear, 1, "linear:publicTrade:BTCUSDT"),
            ("orderbook.1000.ETHUSDT", Category::Spot, 2, "spot:orderbook:ETHUSDT:1000"),
            ("kline.M.BTCUSDT", Category::Spot, 0, "spot:kline:BTCUSDT:M"),
            ("tickers.BTCUSDT", Category::Spot, 0, "spot:tickers:BTCUSDT"),
        ] {
            let (topic, market) = Topic::parse(text, category, &markets).unwrap();
            assert_eq!((market, names[topic.index(market)].as_str()), (place, name));
            let mut out = Vec::new();
            topic.push(&mut out, &markets[market].id);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
        let refused = |text| Topic::parse(text, Category::Linear, &markets).unwrap_err();
        assert_eq!(refused("publicTrade.ETHUSDT"), Unknown::Symbol);
        assert_eq!(refused("orderbook.50.btcusdt"), Unknown::Symbol);
        for bad in ["orderbook.30.BTCUSDT", "orderbook.BTCUSDT", "kline.7.BTCUSDT", "order", "", "tickers.BTCUSDT.1"] {
            assert_eq!(refused(bad), Unknown::Topic, "{bad}");
        }
    }
}
