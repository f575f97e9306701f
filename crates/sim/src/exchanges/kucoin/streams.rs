//! What can be subscribed to: a channel of a market, on the classic socket by topic, on that of unified accounts by channel. Names for
//! faults and the ledger, dense indexes.

use crate::market::interval::Interval;

/// Widths of candles by the exchange's names. Weeks begin on Thursdays, as the epoch did.
pub(super) const WIDTHS: [(&str, Interval); 14] = [
    ("1min", Interval::Minutes(1)),
    ("3min", Interval::Minutes(3)),
    ("5min", Interval::Minutes(5)),
    ("15min", Interval::Minutes(15)),
    ("30min", Interval::Minutes(30)),
    ("1hour", Interval::Minutes(60)),
    ("2hour", Interval::Minutes(120)),
    ("4hour", Interval::Minutes(240)),
    ("6hour", Interval::Minutes(360)),
    ("8hour", Interval::Minutes(480)),
    ("12hour", Interval::Minutes(720)),
    ("1day", Interval::Days(1)),
    ("1week", Interval::Days(7)),
    ("1month", Interval::Month),
];

/// The place of a width in [`WIDTHS`].
pub(super) fn width_named(name: &str) -> Option<usize> {
    WIDTHS.iter().position(|known| known.0 == name)
}

/// How much of a book a unified account's channel tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// The best of each side, whole.
    One,
    Five,
    Fifty,
    /// Changes of the best 500. The older name of the same.
    Increment,
    /// Changes of the best 500.
    Increment10,
}

impl Depth {
    pub(super) const ALL: [Self; 5] = [Self::One, Self::Five, Self::Fifty, Self::Increment, Self::Increment10];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::One => "1",
            Self::Five => "5",
            Self::Fifty => "50",
            Self::Increment => "increment",
            Self::Increment10 => "increment@10ms",
        }
    }

    /// Levels a side of those that are told whole each time.
    pub(super) const fn whole(self) -> Option<usize> {
        match self {
            Self::One => Some(1),
            Self::Five => Some(5),
            Self::Fifty => Some(50),
            Self::Increment | Self::Increment10 => None,
        }
    }

    const fn place(self) -> usize {
        match self {
            Self::One => 0,
            Self::Five => 1,
            Self::Fifty => 2,
            Self::Increment => 3,
            Self::Increment10 => 4,
        }
    }
}

/// A channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    Match,
    Level1,
    Ticker,
    Snapshot,
    Level2,
    Depth5,
    Depth50,
    /// A place in [`WIDTHS`].
    Candles(usize),
    UnifiedTrade,
    UnifiedTicker,
    UnifiedBook(Depth),
    /// A place in [`WIDTHS`].
    UnifiedCandles(usize),
}

/// Those of the classic socket that are not candles: topic, the name of the stream.
const TOPICS: [(Channel, &str, &str); 7] = [
    (Channel::Match, "/market/match", "match"),
    (Channel::Level1, "/spotMarket/level1", "level1"),
    (Channel::Ticker, "/market/ticker", "ticker"),
    (Channel::Snapshot, "/market/snapshot", "snapshot"),
    (Channel::Level2, "/market/level2", "level2"),
    (Channel::Depth5, "/spotMarket/level2Depth5", "level2Depth5"),
    (Channel::Depth50, "/spotMarket/level2Depth50", "level2Depth50"),
];

/// The topic of candles.
pub(super) const CANDLES: &str = "/market/candles";
/// What stands for all markets in the ticker's topic.
pub(super) const ALL: &str = "all";

const UNIFIED_AT: usize = TOPICS.len() + WIDTHS.len();

/// Streams that a market has.
pub(super) const KINDS: usize = UNIFIED_AT + 2 + Depth::ALL.len() + WIDTHS.len();

impl Channel {
    /// The channel of this topic's beginning, that of candles aside.
    pub(super) fn of_topic(topic: &str) -> Option<Self> {
        TOPICS.iter().find(|known| known.1 == topic).map(|known| known.0)
    }

    const fn place(self) -> usize {
        match self {
            Self::Match => 0,
            Self::Level1 => 1,
            Self::Ticker => 2,
            Self::Snapshot => 3,
            Self::Level2 => 4,
            Self::Depth5 => 5,
            Self::Depth50 => 6,
            Self::Candles(width) => TOPICS.len() + width,
            Self::UnifiedTrade => UNIFIED_AT,
            Self::UnifiedTicker => UNIFIED_AT + 1,
            Self::UnifiedBook(depth) => UNIFIED_AT + 2 + depth.place(),
            Self::UnifiedCandles(width) => UNIFIED_AT + 2 + Depth::ALL.len() + width,
        }
    }

    /// The stream's index.
    pub(super) const fn index(self, market: usize) -> usize {
        market * KINDS + self.place()
    }

    /// The stream's name: `level2:BTC-USDT`, `candles:BTC-USDT:1min`, `obu:BTC-USDT:50`.
    pub(super) fn stream(self, id: &str) -> String {
        match self {
            Self::Candles(width) => format!("candles:{id}:{}", WIDTHS[width].0),
            Self::UnifiedTrade => format!("uta-trade:{id}"),
            Self::UnifiedTicker => format!("uta-ticker:{id}"),
            Self::UnifiedBook(depth) => format!("obu:{id}:{}", depth.name()),
            Self::UnifiedCandles(width) => format!("kline:{id}:{}", WIDTHS[width].0),
            plain => {
                let name = TOPICS.iter().find(|known| known.0 == plain).map_or("", |known| known.2);
                format!("{name}:{id}")
            }
        }
    }

    fn all() -> impl Iterator<Item = Self> {
        let classic = TOPICS.iter().map(|known| known.0).chain((0..WIDTHS.len()).map(Self::Candles));
        let books = Depth::ALL.into_iter().map(Self::UnifiedBook);
        let unified = [Self::UnifiedTrade, Self::UnifiedTicker].into_iter().chain(books);
        classic.chain(unified).chain((0..WIDTHS.len()).map(Self::UnifiedCandles))
    }
}

/// The index of the tickers of all markets, of which there are so many.
pub(super) const fn all_tickers(markets: usize) -> usize {
    markets * KINDS
}

/// The names of all streams by their index.
pub(super) fn names<'a>(ids: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = ids.flat_map(|id| Channel::all().map(move |channel| channel.stream(id))).collect();
    names.push(format!("ticker:{ALL}"));
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use dccd_model::time::day_label;

    #[test]
    fn names_stand_at_their_indexes() {
        let names = names(["BTC-USDT", "ETH-USDT"].into_iter());
        for channel in Channel::all() {
            assert_eq!(names[channel.index(1)], channel.stream("ETH-USDT"));
        }
        assert_eq!((names.len(), names[all_tickers(2)].as_str()), (2 * KINDS + 1, "ticker:all"));
        assert_eq!(Channel::of_topic("/market/level2").map(|channel| channel.stream("A-B")), Some("level2:A-B".into()));
        assert_eq!((Channel::of_topic("/market/level3"), width_named("7min")), (None, None));
    }

    #[test]
    fn weeks_begin_on_thursdays() {
        // 2022-06-01; the recorded candle of that week opened on the 26th of May.
        let (_, week) = WIDTHS[width_named("1week").unwrap()];
        let open_us = week.open(1_654_081_935_000_000);
        assert_eq!((open_us, day_label(open_us / 86_400_000_000)), (1_653_523_200_000_000, "2022-05-26".to_owned()));
    }
}
