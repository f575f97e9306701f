//! What can be subscribed to: a channel of a market. Names for faults and the ledger, dense indexes.
//!
//! A stream has the name of its channel with colons where that has dots: `book:BTC-PERPETUAL:100ms`.

use crate::market::interval::Interval;

/// How often a channel tells what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Each 100 ms, of everything since.
    Fast,
    /// The same under its other name.
    Agg2,
    /// At once, to those who have an account.
    Raw,
}

impl Pace {
    pub(super) const ALL: [Self; 3] = [Self::Fast, Self::Agg2, Self::Raw];

    const fn name(self) -> &'static str {
        match self {
            Self::Fast => "100ms",
            Self::Agg2 => "agg2",
            Self::Raw => "raw",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|pace| pace.name() == name)
    }
}

/// Widths of candles, by what the exchange calls them.
pub(super) const WIDTHS: [(&str, Interval); 12] = [
    ("1", Interval::Minutes(1)),
    ("3", Interval::Minutes(3)),
    ("5", Interval::Minutes(5)),
    ("10", Interval::Minutes(10)),
    ("15", Interval::Minutes(15)),
    ("30", Interval::Minutes(30)),
    ("60", Interval::Minutes(60)),
    ("120", Interval::Minutes(120)),
    ("180", Interval::Minutes(180)),
    ("360", Interval::Minutes(360)),
    ("720", Interval::Minutes(720)),
    ("1D", Interval::Days(1)),
];

/// The place in [`WIDTHS`] of a resolution.
pub(super) fn width(name: &str) -> Option<usize> {
    WIDTHS.iter().position(|width| width.0 == name)
}

/// Levels a side of books that are told whole each time.
pub(super) const TOPS: [usize; 3] = [1, 10, 20];

/// A channel of a market.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    Trades(Pace),
    Book(Pace),
    Ticker(Pace),
    /// The best levels, whole; a place in [`TOPS`].
    Top(usize),
    Quote,
    /// A place in [`WIDTHS`].
    Chart(usize),
}

/// Streams that a market has.
pub(super) const KINDS: usize = 3 * Pace::ALL.len() + TOPS.len() + 1 + WIDTHS.len();

impl Channel {
    fn all() -> impl Iterator<Item = Self> {
        let paced = [Self::Trades, Self::Book, Self::Ticker].into_iter().flat_map(|of| Pace::ALL.into_iter().map(of));
        paced.chain((0..TOPS.len()).map(Self::Top)).chain([Self::Quote]).chain((0..WIDTHS.len()).map(Self::Chart))
    }

    /// The channel and the instrument that this text names: `book.BTC-PERPETUAL.100ms`.
    pub(super) fn named(text: &str) -> Option<(Self, &str)> {
        let parts: Vec<&str> = text.split('.').collect();
        match parts.as_slice() {
            ["trades", id, pace] => Some((Self::Trades(Pace::named(pace)?), id)),
            ["book", id, pace] => Some((Self::Book(Pace::named(pace)?), id)),
            ["ticker", id, pace] => Some((Self::Ticker(Pace::named(pace)?), id)),
            ["book", id, "none", depth, "100ms"] => {
                let top = TOPS.iter().position(|top| depth.parse() == Ok(*top))?;
                Some((Self::Top(top), id))
            }
            ["quote", id] => Some((Self::Quote, id)),
            ["chart", "trades", id, name] => Some((Self::Chart(width(name)?), id)),
            _ => None,
        }
    }

    /// Whether only those who have an account may follow it.
    pub(super) const fn is_raw(self) -> bool {
        matches!(self, Self::Trades(Pace::Raw) | Self::Book(Pace::Raw) | Self::Ticker(Pace::Raw))
    }

    const fn place(self) -> usize {
        let paces = Pace::ALL.len();
        match self {
            Self::Trades(pace) => pace as usize,
            Self::Book(pace) => paces + pace as usize,
            Self::Ticker(pace) => 2 * paces + pace as usize,
            Self::Top(top) => 3 * paces + top,
            Self::Quote => 3 * paces + TOPS.len(),
            Self::Chart(width) => 3 * paces + TOPS.len() + 1 + width,
        }
    }

    /// The stream's index.
    pub(super) const fn index(self, market: usize) -> usize {
        market * KINDS + self.place()
    }

    /// The channel's name on the wire.
    pub(super) fn text(self, id: &str) -> String {
        match self {
            Self::Trades(pace) => format!("trades.{id}.{}", pace.name()),
            Self::Book(pace) => format!("book.{id}.{}", pace.name()),
            Self::Ticker(pace) => format!("ticker.{id}.{}", pace.name()),
            Self::Top(top) => format!("book.{id}.none.{}.100ms", TOPS[top]),
            Self::Quote => format!("quote.{id}"),
            Self::Chart(width) => format!("chart.trades.{id}.{}", WIDTHS[width].0),
        }
    }
}

/// The channel in which the exchange tells of its own state.
pub(super) const PLATFORM: &str = "platform_state";

/// The stream of a channel's name.
pub(super) fn stream(channel: &str) -> String {
    channel.replace('.', ":")
}

/// The names of all streams by their index; the platform's is the last.
pub(super) fn names<'a>(ids: impl Iterator<Item = &'a str>) -> Vec<String> {
    let markets = ids.flat_map(|id| Channel::all().map(move |channel| stream(&channel.text(id))));
    markets.chain([PLATFORM.to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_at_their_indexes() {
        let names = names(["BTC_USDC", "BTC-PERPETUAL"].into_iter());
        for text in [
            "trades.BTC-PERPETUAL.100ms",
            "trades.BTC-PERPETUAL.raw",
            "book.BTC-PERPETUAL.100ms",
            "book.BTC-PERPETUAL.agg2",
            "book.BTC-PERPETUAL.none.10.100ms",
            "ticker.BTC-PERPETUAL.raw",
            "quote.BTC-PERPETUAL",
            "chart.trades.BTC-PERPETUAL.1",
            "chart.trades.BTC-PERPETUAL.1D",
        ] {
            let (channel, id) = Channel::named(text).unwrap();
            assert_eq!((id, channel.text(id).as_str()), ("BTC-PERPETUAL", text));
            assert_eq!((names[channel.index(1)].as_str(), channel.is_raw()), (stream(text).as_str(), text.ends_with("raw")));
        }
        assert_eq!((names.len(), names[2 * KINDS].as_str()), (2 * KINDS + 1, PLATFORM));
        for bad in
            ["trades.BTC-PERPETUAL", "book.BTC-PERPETUAL.1s", "book.BTC-PERPETUAL.none.7.100ms", "chart.trades.X.7", ""]
        {
            assert_eq!(Channel::named(bad), None, "{bad}");
        }
    }
}
