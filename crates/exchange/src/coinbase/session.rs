//! Coinbase's dialect: what each message and answer means.

use dccd_model::{Channel, Entry, Symbol, UnixNanos};
use serde_json::value::RawValue;

use super::book::Book;
use super::consts::{CHANNELS, NAME};
use super::messages::Message;
use super::parse::{self, Told};
use super::subscriptions::{Subscriptions, Verdict};
use super::{history, http};
use crate::integrity::IdSpace;
use crate::session::{self, Answer, Feeds, Levels, Plain};
use crate::wire::Cursor;
use crate::{FeedIndex, FrameError, HistoryError, Markets, Notice, Output};

/// How Coinbase Exchange talks.
#[derive(Default)]
pub(super) struct Dialect {
    /// Levels a side of the books that are given out; `None`: all.
    depth: Option<u32>,
    /// Of the message at hand.
    levels: Levels,
    subscriptions: Subscriptions,
}

impl Dialect {
    /// With books of this depth.
    pub(super) fn new(depth: Option<u32>) -> Self {
        Self { depth, ..Self::default() }
    }

    /// The exchange named all that is subscribed on this connection.
    fn replied(
        &mut self,
        channels: Cursor<'_>,
        conn: u32,
        feeds: &Feeds<Book>,
        out: &mut dyn Output,
    ) -> Result<(), FrameError> {
        let (mut named, mut heard) = (Vec::new(), Vec::new());
        parse::subscriptions(channels, |told, product| match told {
            Told::Channel(channel) => named.extend(feeds.feed_of(product, channel)),
            Told::Heartbeat => heard.extend(feeds.feed_of(product, Channel::Trades)),
            Told::Other => {}
        })?;
        let channel = |feed: FeedIndex| feeds.list().get(feed as usize).map(|feed| feed.channel);
        if let Some(connection) = self.subscriptions.of(conn) {
            let books = named.iter().filter(|feed| channel(**feed) == Some(Channel::Book));
            books.for_each(|feed| connection.name(*feed));
            connection.replied();
        }
        // Without heartbeats nothing tells of a trade that never came.
        named.retain(|feed| channel(*feed) != Some(Channel::Trades) || heard.contains(feed));
        out.notice(Notice::Subscribed { conn, id: 0, feeds: &named });
        Ok(())
    }
}

/// The product that a refusal names: `FOO-USD is not a valid product`.
fn product(reason: &str) -> Option<&str> {
    let words = reason.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words.into_iter().find(|word| word.split_once('-').is_some_and(|(base, quote)| !base.is_empty() && !quote.is_empty()))
}

impl session::Dialect for Dialect {
    type Book = Book;

    const NAME: &'static str = NAME;
    const CHANNELS: &'static [Channel] = CHANNELS;
    const MARKETS_SUBJECT: &'static str = http::MARKETS_SUBJECT;
    const SAVED_VERSION: u32 = 1;
    /// By the number of the match that each comes with.
    const QUOTES_NUMBERED: bool = true;

    fn id(&self, symbol: &Symbol, markets: &Markets) -> String {
        http::id(symbol, markets)
    }

    fn book(&self, _: &Symbol, _: &Markets) -> Book {
        Book::default()
    }

    fn frame(&mut self, entry: &Entry<'_>, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
        let (conn, ts_recv, depth) = (entry.conn, entry.ts_recv, self.depth);
        let message = parse::message(entry.payload, &mut self.levels);
        let levels = &self.levels;
        match message {
            Ok(Message::Trade { product, trade }) => feeds.trade(entry, product, &trade, out),
            Ok(Message::Quote { product, quote }) => feeds.quote(entry, product, &quote, out),
            Ok(Message::Heartbeat { product, last_trade_id, time }) => {
                feeds.newest_trade(entry, product, (IdSpace::Single, last_trade_id, time), out);
            }
            Ok(Message::Snapshot { product, time }) => {
                let feed = feeds.feed_of(product, Channel::Book);
                if feed.is_none_or(|feed| self.subscriptions.snapshot(conn, feed) == Verdict::Fits) {
                    feeds.book(entry, product, out, |book, _, sink| {
                        book.snapshot(levels, (time, ts_recv), depth, conn, sink);
                    });
                }
            }
            Ok(Message::Update { product, time }) => {
                let of = feeds.feed_of(product, Channel::Book).map(|feed| (feed, self.subscriptions.change(conn, feed)));
                match of {
                    Some((feed, Verdict::Early)) => feeds.of_book(feed, out, |book, sink| book.early(conn, sink)),
                    Some((_, Verdict::Doubted)) => {}
                    Some((_, Verdict::Fits)) | None => feeds.book(entry, product, out, |book, _, sink| {
                        book.update(levels, (time, ts_recv), conn, sink);
                    }),
                }
            }
            Ok(Message::Refusal { words, reason }) => {
                let text = if reason.is_empty() { words.into_owned() } else { format!("{words}: {reason}") };
                match product(&reason) {
                    Some(product) => feeds.refused_symbol(conn, 0, product, &text, out),
                    None => feeds.refused(conn, None, 0, &text, out),
                }
            }
            Ok(Message::Subscriptions { channels }) => {
                if let Err(reason) = self.replied(channels, conn, feeds, out) {
                    feeds.unreadable::<Self>(entry, &reason, out);
                }
            }
            Ok(Message::Other) => feeds.unknown(conn, out),
            Err(reason) => feeds.unreadable::<Self>(entry, &reason, out),
        }
    }

    fn read(&mut self, entry: &Entry<'_>, plain: &mut Plain<'_>) -> Result<(), FrameError> {
        match parse::message(entry.payload, &mut self.levels)? {
            Message::Trade { trade, .. } => plain.trade(&trade),
            Message::Quote { quote, .. } => plain.quote(&quote),
            Message::Snapshot { time, .. } => plain.levels(time.unwrap_or(UnixNanos::UNKNOWN), 0, &self.levels),
            Message::Update { time, .. } => plain.levels(time, 0, &self.levels),
            Message::Heartbeat { .. } | Message::Refusal { .. } | Message::Subscriptions { .. } | Message::Other => {}
        }
        Ok(())
    }

    /// A page of trades holds all that there is between its first and its last: an id that it jumps over the exchange doesn't have.
    /// What is before its first is not proven.
    fn response(&mut self, kind: Answer, feed: FeedIndex, entry: &Entry<'_>, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
        if kind != Answer::Trades {
            return;
        }
        let page = match parse::trades(entry.payload, history::TRADES) {
            Ok(page) => page,
            Err(HistoryError::BadRow { field, .. }) => {
                return feeds.unreadable_answer(entry, &FrameError::OutOfRange { event: history::TRADES, field }, out);
            }
            Err(HistoryError::Unreadable { source, .. }) => {
                return feeds.unreadable_answer(entry, &FrameError::Json(source), out);
            }
            Err(refusal) => return feeds.refused(entry.conn, None, 0, &refusal.to_string(), out),
        };
        let mut before: Option<u64> = None;
        for trade in page {
            let next = before.and_then(|before| before.checked_add(1)).filter(|next| *next < trade.id);
            before = Some(trade.id);
            feeds.repair(feed, entry, next.map(|next| (next, trade.id - 1)), &trade, out);
        }
    }

    fn stream_of(frame: &[u8]) -> Option<(&str, Channel)> {
        parse::stream_of(frame)
    }

    fn opened(&mut self, conn: u32) {
        self.subscriptions.opened(conn);
    }

    fn closed(&mut self, conn: u32) {
        self.subscriptions.closed(conn);
    }

    fn lost(&mut self, _: &mut dyn Output) {
        self.subscriptions.lost();
    }

    fn saved(&self) -> Option<Box<RawValue>> {
        serde_json::value::to_raw_value(&self.subscriptions).ok()
    }

    fn resume(&mut self, saved: &RawValue) -> Result<(), serde_json::Error> {
        self.subscriptions = serde_json::from_str(saved.get())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::product;

    #[test]
    fn a_refusal_names_its_product_or_none() {
        assert_eq!(product("FOO-USD is not a valid product"), Some("FOO-USD"));
        assert_eq!(product("subscribing to \"BTC-USD\": too many subscriptions"), Some("BTC-USD"));
        assert_eq!(product("level2 channel requires authentication - see the docs"), None);
        assert_eq!(product(""), None);
    }
}
