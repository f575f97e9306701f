//! An [`Output`] that keeps everything, for tests.

use dccd_model::{BookLevel, BookState, Candle, Gap, Quote, Trade};

use crate::{FeedIndex, Notice, Output, Want};

/// One call of an [`Output`].
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// [`Output::trade`].
    Trade(FeedIndex, Trade),
    /// [`Output::past_trade`].
    PastTrade(FeedIndex, Trade),
    /// [`Output::quote`].
    Quote(FeedIndex, Quote),
    /// [`Output::level`].
    Level(FeedIndex, BookLevel),
    /// [`Output::candle`].
    Candle(FeedIndex, Candle),
    /// [`Output::gap`].
    Gap(FeedIndex, Gap),
    /// [`Output::book_state`].
    State(FeedIndex, BookState, u32),
    /// [`Output::want`].
    Want(Want),
    /// [`Output::notice`], in words.
    Notice(String),
}

/// Keeps every call, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// What was given out so far.
    pub events: Vec<Event>,
}

impl Recorded {
    /// The trades.
    pub fn trades(&self) -> impl Iterator<Item = &Trade> {
        self.events.iter().filter_map(|e| if let Event::Trade(_, trade) = e { Some(trade) } else { None })
    }

    /// The quotes.
    pub fn quotes(&self) -> impl Iterator<Item = &Quote> {
        self.events.iter().filter_map(|e| if let Event::Quote(_, quote) = e { Some(quote) } else { None })
    }

    /// The levels of books.
    pub fn levels(&self) -> impl Iterator<Item = &BookLevel> {
        self.events.iter().filter_map(|e| if let Event::Level(_, level) = e { Some(level) } else { None })
    }

    /// The gaps.
    pub fn gaps(&self) -> impl Iterator<Item = &Gap> {
        self.events.iter().filter_map(|e| if let Event::Gap(_, gap) = e { Some(gap) } else { None })
    }

    /// What is wanted.
    pub fn wants(&self) -> impl Iterator<Item = &Want> {
        self.events.iter().filter_map(|e| if let Event::Want(want) = e { Some(want) } else { None })
    }

    /// The notices, in words.
    pub fn notices(&self) -> impl Iterator<Item = &str> {
        self.events.iter().filter_map(|e| if let Event::Notice(notice) = e { Some(notice.as_str()) } else { None })
    }
}

impl Output for Recorded {
    fn trade(&mut self, feed: FeedIndex, trade: &Trade) {
        self.events.push(Event::Trade(feed, *trade));
    }

    fn past_trade(&mut self, feed: FeedIndex, trade: &Trade) {
        self.events.push(Event::PastTrade(feed, *trade));
    }

    fn quote(&mut self, feed: FeedIndex, quote: &Quote) {
        self.events.push(Event::Quote(feed, *quote));
    }

    fn level(&mut self, feed: FeedIndex, level: &BookLevel) {
        self.events.push(Event::Level(feed, *level));
    }

    fn candle(&mut self, feed: FeedIndex, candle: &Candle) {
        self.events.push(Event::Candle(feed, *candle));
    }

    fn gap(&mut self, feed: FeedIndex, gap: &Gap) {
        self.events.push(Event::Gap(feed, gap.clone()));
    }

    fn book_state(&mut self, feed: FeedIndex, state: BookState, epoch: u32) {
        self.events.push(Event::State(feed, state, epoch));
    }

    fn want(&mut self, want: Want) {
        self.events.push(Event::Want(want));
    }

    fn notice(&mut self, notice: Notice<'_>) {
        let words = match notice {
            Notice::Unreadable { conn, reason } => format!("unreadable on {conn}: {}", chain(reason)),
            other => format!("{other:?}"),
        };
        self.events.push(Event::Notice(words));
    }
}

/// An error with what it comes from.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
