//! KuCoin's dialect: what each message and answer means, on whichever of the sockets it came.

use dccd_model::{Channel, Entry, Symbol};

use super::book::Book;
use super::consts::{CHANNELS, NAME, SOCKET_NAMES, TRADES_PER_PAGE};
use super::http::{self, refusal};
use super::messages::{Batch, Message};
use super::parse;
use crate::session::{self, Answer, Feeds, Plain};
use crate::{FeedIndex, FrameError, Markets, Notice, Output};

/// How KuCoin talks.
#[derive(Default)]
pub(super) struct Dialect {
    /// The message at hand.
    batch: Batch,
}

impl session::Dialect for Dialect {
    type Book = Book;

    const NAME: &'static str = NAME;
    const CHANNELS: &'static [Channel] = CHANNELS;
    const MARKETS_SUBJECT: &'static str = http::MARKETS_SUBJECT;
    const SAVED_VERSION: u32 = 1;
    /// They come ten milliseconds apart at least, so that their times, in milliseconds, tell their order.
    const QUOTES_NUMBERED: bool = false;
    const TRADES_COUNTED: bool = false;
    const SOCKETS: &'static [&'static str] = SOCKET_NAMES;

    /// The same on both sockets, which carry different channels.
    fn id(&self, symbol: &Symbol, markets: &Markets) -> String {
        http::id(symbol, markets)
    }

    fn book(&self, _: &Symbol, _: &Markets) -> Book {
        Book::default()
    }

    fn frame(&mut self, entry: &Entry<'_>, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
        let (conn, ts_recv) = (entry.conn, entry.ts_recv);
        match parse::message(entry.payload, &mut self.batch) {
            Ok(Message::Trade(symbol, trade)) => feeds.executed(entry, symbol, &trade, out),
            Ok(Message::Quote(symbol, quote)) => feeds.quote(entry, symbol, &quote, out),
            Ok(Message::Book(part)) => {
                let levels = &self.batch.levels;
                feeds.book(entry, part.symbol, out, |book, reason, sink| {
                    if part.is_snapshot {
                        book.snapshot(&part, levels, conn, ts_recv, sink);
                    } else {
                        book.update(&part, levels, (conn, ts_recv, reason), sink);
                    }
                });
            }
            Ok(Message::Ack(Some(id))) => out.notice(Notice::Ack { conn, id }),
            Ok(Message::Refusal { id, code, words }) => feeds.refused(conn, id, code, &words, out),
            Ok(Message::Ack(None) | Message::Alive) => {}
            Ok(Message::Other) => feeds.unknown(conn, out),
            Err(reason) => feeds.unreadable::<Self>(entry, &reason, out),
        }
    }

    fn read(&mut self, entry: &Entry<'_>, plain: &mut Plain<'_>) -> Result<(), FrameError> {
        match parse::message(entry.payload, &mut self.batch)? {
            Message::Trade(_, trade) => plain.executed(&trade),
            Message::Quote(_, quote) => plain.quote(&quote),
            Message::Book(part) => plain.levels(part.ts_venue, part.last, &self.batch.levels),
            Message::Ack(_) | Message::Refusal { .. } | Message::Alive | Message::Other => {}
        }
        Ok(())
    }

    fn response(&mut self, kind: Answer, feed: FeedIndex, entry: &Entry<'_>, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
        if kind != Answer::Trades {
            return;
        }
        let mut page = Vec::new();
        let reply = parse::reply(entry.payload, |cursor| {
            page.push(parse::trade(cursor)?);
            Ok(())
        });
        let missing = |field| FrameError::Missing { event: "histories", field };
        let reason = match reply {
            Ok(reply) => match reply.code.as_deref().map(|code| refusal(code, &reply.words)) {
                None => missing("code"),
                Some(Some(refusal)) => return feeds.refused(entry.conn, None, 0, &refusal.to_string(), out),
                Some(None) if reply.has_rows => {
                    return feeds.newest(feed, entry, &page, page.len() >= TRADES_PER_PAGE as usize, out);
                }
                Some(None) => missing("data"),
            },
            Err(reason) => reason,
        };
        feeds.unreadable_answer(entry, &reason, out);
    }

    fn stream_of(frame: &[u8]) -> Option<(&str, Channel)> {
        parse::stream_of(frame)
    }
}
