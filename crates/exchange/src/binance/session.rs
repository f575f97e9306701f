//! Binance's dialect: what each message and answer means.

use dccd_model::{Channel, Entry, Symbol};

use super::book::{Book, Snapshot};
use super::consts::{CHANNELS, NAME};
use super::messages::{Message, TradeEvent};
use super::{http, parse, subscribe};
use crate::session::{self, Answer, Feeds, Levels, Quoted, Traded};
use crate::{FeedIndex, FrameError, Markets, Notice, Output};

/// How Binance spot talks.
#[derive(Default)]
pub(super) struct Dialect {
    /// Levels of the message at hand.
    levels: Levels,
}

impl session::Dialect for Dialect {
    type Book = Book;

    const NAME: &'static str = NAME;
    const CHANNELS: &'static [Channel] = CHANNELS;
    const MARKETS_SUBJECT: &'static str = http::MARKETS_SUBJECT;
    const SAVED_VERSION: u32 = 1;
    const QUOTES_NUMBERED: bool = true;

    fn id(&self, symbol: &Symbol, markets: &Markets) -> String {
        subscribe::id(symbol, markets)
    }

    fn book(&self, _: &Symbol, _: &Markets) -> Book {
        Book::default()
    }

    fn frame(&mut self, entry: &Entry<'_>, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
        let (conn, levels) = (entry.conn, &mut self.levels);
        match parse::message(entry.payload, levels) {
            Ok(Message::Trade(trade)) => feeds.trade(entry, &trade.symbol, &traded(&trade), out),
            Ok(Message::Quote(quote)) => {
                let quoted = Quoted {
                    number: quote.number,
                    ts_venue: quote.ts_venue,
                    bid: quote.bid,
                    bid_amount: quote.bid_amount,
                    ask: quote.ask,
                    ask_amount: quote.ask_amount,
                };
                feeds.quote(entry, &quote.symbol, &quoted, out);
            }
            Ok(Message::Depth(depth)) => feeds.book(entry, &depth.symbol, out, |book, reason, sink| {
                book.event(&depth, entry.ts_recv, levels, reason, sink);
            }),
            Ok(Message::Ack { id }) => out.notice(Notice::Ack { conn, id }),
            Ok(Message::Error { id, code, message }) => feeds.refused(conn, id, code, &message, out),
            Ok(Message::Shutdown) => feeds.shutdown(conn, out),
            Ok(Message::Other) => feeds.unknown(conn, out),
            Err(reason) => feeds.unreadable::<Self>(entry, &reason, out),
        }
    }

    fn response(&mut self, kind: Answer, feed: FeedIndex, entry: &Entry<'_>, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
        match kind {
            Answer::Snapshot => {
                let mut levels = Levels::default();
                match http::snapshot(entry.payload, &mut levels) {
                    Ok(last_update_id) => {
                        let snapshot = Snapshot { last_update_id, ts_recv: entry.ts_recv, levels };
                        feeds.of_book(feed, out, |book, sink| book.snapshot(snapshot, sink));
                    }
                    Err(reason) => {
                        bad_response(entry, &reason, feeds, out);
                        feeds.of_book(feed, out, Book::ask_again);
                    }
                }
            }
            Answer::Trades => match http::trades(entry.payload) {
                Ok(page) => trades_page(feed, &page, entry, feeds, out),
                Err(reason) => bad_response(entry, &reason, feeds, out),
            },
        }
    }

    fn stream_of(frame: &[u8]) -> Option<(&str, Channel)> {
        parse::stream_name(frame).and_then(|(id, name)| {
            let channel = match name {
                "trade" | "aggTrade" => Channel::Trades,
                "bookTicker" => Channel::Quotes,
                "depth" => Channel::Book,
                _ => return None,
            };
            Some((id, channel))
        })
    }
}

fn traded(event: &TradeEvent<'_>) -> Traded {
    Traded {
        space: event.space,
        id: event.id,
        ts_venue: event.ts_venue,
        price: event.price,
        amount: event.amount,
        side: event.side,
    }
}

/// An answer ascends from the id that was asked for, so what it passes over the exchange doesn't have. One that doesn't proves
/// nothing.
fn trades_page(feed: FeedIndex, page: &[Traded], entry: &Entry<'_>, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
    let mut next: Option<u64> = entry.subject.split_ascii_whitespace().nth(2).and_then(|id| id.parse().ok());
    for trade in page {
        let passed_over = next.filter(|from| *from < trade.id).map(|from| (from, trade.id - 1));
        next = next.filter(|from| *from <= trade.id).and_then(|_| trade.id.checked_add(1));
        feeds.repair(feed, entry, passed_over, trade, out);
    }
}

fn bad_response(entry: &Entry<'_>, reason: &FrameError, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
    match serde_json::from_slice::<http::ErrorBody<'_>>(entry.payload) {
        Ok(error) => feeds.refused(entry.conn, None, error.code, &error.msg, out),
        Err(_) => feeds.unreadable_answer(entry, reason, out),
    }
}
