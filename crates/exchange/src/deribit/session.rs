//! Deribit's dialect: what each message and answer means.

use dccd_model::{Channel, Entry, Symbol};

use super::book::Book;
use super::consts::{CHANNELS, NAME};
use super::messages::{Batch, Message, Platform};
use super::parse::Topic;
use super::{http, parse, platform, subscribe};
use crate::session::{self, Answer, Feeds, Plain};
use crate::wire::Cursor;
use crate::{FeedIndex, FrameError, HistoryError, Markets, Notice, Output, Want};

/// How Deribit talks.
#[derive(Default)]
pub(super) struct Dialect {
    /// The message at hand.
    batch: Batch,
    platform: platform::State,
}

/// What the exchange is when nothing of it is closed.
const OPEN: &str = "operative";

impl Dialect {
    /// Hands what a message brought to its feed, or says what else it means.
    fn deliver(&mut self, message: Message<'_>, entry: &Entry<'_>, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
        let conn = entry.conn;
        let Batch { trades, quote, book, levels, known } = &self.batch;
        match message {
            Message::Trades { id } => trades.iter().for_each(|trade| feeds.trade(entry, text(id), trade, out)),
            Message::Quote { id } => quote.iter().for_each(|quote| feeds.quote(entry, text(id), quote, out)),
            Message::Book { id } => {
                let Some(part) = book else { return };
                feeds.book(entry, text(id), out, |book, reason, sink| {
                    book.arrive(part, (levels, known), (conn, entry.ts_recv, reason), sink);
                });
            }
            Message::Channels { id, channels } => {
                let has_state = subscribed(conn, id, channels, feeds, out);
                if has_state && self.platform.subscribed(conn) {
                    feeds.venue(conn, true, OPEN, out);
                }
            }
            Message::Platform(told) => self.told(&told, conn, feeds, out),
            Message::Ack { id } => out.notice(Notice::Ack { conn, id }),
            Message::Refusal { id, fault } => feeds.refused(conn, id, fault.code, &fault.message, out),
            Message::TestRequest => out.want(Want::Pong { conn }),
            Message::Alive => {}
            Message::Other => feeds.unknown(conn, out),
        }
    }

    /// The exchange told its state.
    fn told(&mut self, told: &Platform<'_>, conn: u32, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
        match self.platform.told(told) {
            Some(Ok(())) => feeds.venue(conn, true, OPEN, out),
            Some(Err(closed)) => feeds.venue(conn, false, closed, out),
            None => feeds.unknown(conn, out),
        }
    }
}

/// The exchange leaves out of its answer what it doesn't know. Whether its own state is among what it subscribed.
fn subscribed(conn: u32, id: u64, mut channels: Cursor<'_>, feeds: &Feeds<Book>, out: &mut dyn Output) -> bool {
    let (mut named, mut has_state) = (Vec::new(), false);
    let mut read = || {
        channels.list()?;
        let mut first = true;
        while channels.item(&mut first)? {
            let topic = Topic::of(channels.text()?);
            has_state |= topic == Topic::Platform;
            named.extend(topic.stream().and_then(|(name, channel)| feeds.feed_of(name, channel)));
        }
        Ok::<_, FrameError>(())
    };
    match read() {
        Ok(()) => out.notice(Notice::Subscribed { conn, id, feeds: &named }),
        // A list of something else.
        Err(_) => out.notice(Notice::Ack { conn, id }),
    }
    has_state
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

impl session::Dialect for Dialect {
    type Book = Book;

    const NAME: &'static str = NAME;
    const CHANNELS: &'static [Channel] = CHANNELS;
    const MARKETS_SUBJECT: &'static str = http::MARKETS_SUBJECT;
    const SAVED_VERSION: u32 = 1;
    const QUOTES_NUMBERED: bool = false;

    fn id(&self, symbol: &Symbol, markets: &Markets) -> String {
        subscribe::id(symbol, markets)
    }

    fn book(&self, _: &Symbol, _: &Markets) -> Book {
        Book::default()
    }

    fn frame(&mut self, entry: &Entry<'_>, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
        match parse::message(entry.payload, &mut self.batch) {
            Ok(message) => self.deliver(message, entry, feeds, out),
            Err(reason) => feeds.unreadable::<Self>(entry, &reason, out),
        }
    }

    fn read(&mut self, entry: &Entry<'_>, plain: &mut Plain<'_>) -> Result<(), FrameError> {
        parse::message(entry.payload, &mut self.batch)?;
        let Batch { trades, quote, book, levels, .. } = &self.batch;
        trades.iter().for_each(|trade| plain.trade(trade));
        quote.iter().for_each(|quote| plain.quote(quote));
        book.iter().for_each(|part| plain.levels(part.ts_venue, part.change, levels));
        Ok(())
    }

    /// A page of trades holds all that there is between its first and its last: a number that it jumps over the exchange doesn't
    /// have. What is before its first is not proven.
    fn response(&mut self, kind: Answer, feed: FeedIndex, entry: &Entry<'_>, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
        if kind != Answer::Trades {
            return feeds.unknown(entry.conn, out);
        }
        let page = match parse::trades(entry.payload, feeds.feed_id(feed)) {
            Ok((page, _)) => page,
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
        self.platform.opened(conn);
    }

    fn closed(&mut self, conn: u32) {
        self.platform.closed(conn);
    }
}
