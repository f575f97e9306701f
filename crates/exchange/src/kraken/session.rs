//! Kraken's dialect: what each message and answer means.

use dccd_model::{Channel, Decimal, Entry, Symbol, TradeId};

use super::book::Book;
use super::checksum::Precision;
use super::consts::{CHANNELS, NAME};
use super::http::refusal;
use super::messages::{Batch, Message};
use super::parse::{self, TradeRow};
use super::{http, subscribe};
use crate::integrity::IdSpace;
use crate::session::{self, Answer, Feeds, Plain, Traded};
use crate::{FeedIndex, FrameError, Markets, Notice, Output};

/// How Kraken spot talks.
#[derive(Default)]
pub(super) struct Dialect {
    /// Levels a side of the books that are subscribed.
    depth: u32,
    /// The message at hand.
    batch: Batch,
}

impl Dialect {
    /// With books of this depth.
    pub(super) fn new(depth: u32) -> Self {
        Self { depth, batch: Batch::default() }
    }

    fn answer(&self, kind: Message<'_>, entry: &Entry<'_>, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
        let conn = entry.conn;
        match kind {
            Message::Ack { id, book } => {
                if let Some(id) = id {
                    out.notice(Notice::Ack { conn, id });
                }
                let subscribed =
                    book.and_then(|(symbol, depth)| Some((feeds.feed_of(text(symbol)?, Channel::Book)?, depth)));
                if let Some((feed, depth)) = subscribed {
                    feeds.of_book(feed, out, |book, _| book.subscribed(depth));
                }
            }
            Message::Refusal { id, symbol, words } => match (id, symbol.and_then(text)) {
                (Some(id), Some(symbol)) => feeds.refused_symbol(conn, id, symbol, &words, out),
                _ => feeds.refused(conn, id, 0, &words, out),
            },
            // `cancel_only` and `post_only` send what happens all the same; only maintenance is silent.
            Message::Status(system) => feeds.venue(conn, system != "maintenance", &system, out),
            Message::Alive => {}
            Message::Other => feeds.unknown(conn, out),
            Message::Trades | Message::Quotes | Message::Books { .. } => {}
        }
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

impl session::Dialect for Dialect {
    type Book = Book;

    const NAME: &'static str = NAME;
    const CHANNELS: &'static [Channel] = CHANNELS;
    const MARKETS_SUBJECT: &'static str = http::MARKETS_SUBJECT;
    /// 1 was that of a version without anything live.
    const SAVED_VERSION: u32 = 2;
    const QUOTES_NUMBERED: bool = false;

    fn id(&self, symbol: &Symbol, _: &Markets) -> String {
        subscribe::name(symbol).to_owned()
    }

    fn book(&self, symbol: &Symbol, markets: &Markets) -> Book {
        let places = |step: Option<Decimal>| step.map_or(0, |step| u8::try_from(-i16::from(step.exponent)).unwrap_or(0));
        let market = markets.by_symbol(symbol);
        let precision = Precision {
            price: places(market.and_then(|market| market.price_tick)),
            amount: places(market.and_then(|market| market.amount_step)),
        };
        Book::new(self.depth, precision)
    }

    fn frame(&mut self, entry: &Entry<'_>, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
        let (conn, ts_recv, frame) = (entry.conn, entry.ts_recv, entry.payload);
        let symbol = |place: &std::ops::Range<usize>| frame.get(place.clone()).and_then(text).unwrap_or_default();
        match parse::message(frame, &mut self.batch) {
            Ok(Message::Trades) => {
                for (place, trade) in &self.batch.trades {
                    feeds.trade(entry, symbol(place), trade, out);
                }
            }
            Ok(Message::Quotes) => {
                for (place, quote) in &self.batch.quotes {
                    feeds.quote(entry, symbol(place), quote, out);
                }
            }
            Ok(Message::Books { is_snapshot }) => {
                let batch = &self.batch;
                for (place, part) in &batch.books {
                    feeds.book(entry, symbol(place), out, |book, _, sink| {
                        if is_snapshot {
                            book.snapshot(part, batch, conn, ts_recv, sink);
                        } else {
                            book.update(part, batch, conn, ts_recv, sink);
                        }
                    });
                }
            }
            Ok(message) => self.answer(message, entry, feeds, out),
            Err(reason) => feeds.unreadable::<Self>(entry, &reason, out),
        }
    }

    fn read(&mut self, entry: &Entry<'_>, plain: &mut Plain<'_>) -> Result<(), FrameError> {
        parse::message(entry.payload, &mut self.batch)?;
        let Batch { trades, quotes, books, levels } = &self.batch;
        trades.iter().for_each(|(_, trade)| plain.trade(trade));
        quotes.iter().for_each(|(_, quote)| plain.quote(quote));
        for (_, part) in books {
            let (bids, asks) = (levels.bids.get(part.bids.clone()), levels.asks.get(part.asks.clone()));
            plain.sides(part.ts_venue, 0, bids.unwrap_or_default(), asks.unwrap_or_default());
        }
        Ok(())
    }

    fn response(&mut self, kind: Answer, feed: FeedIndex, entry: &Entry<'_>, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
        if kind == Answer::Trades {
            trades_page(feed, entry, feeds, out);
        }
    }

    fn stream_of(frame: &[u8]) -> Option<(&str, Channel)> {
        parse::stream_of(frame)
    }
}

/// A page ascends in time and in ids, and holds all that there is between its first and its last trade: an id that it jumps over
/// the exchange doesn't have. What is before its first is not proven.
fn trades_page(feed: FeedIndex, entry: &Entry<'_>, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
    let mut page = Vec::new();
    let reply = match parse::reply(entry.payload, TradeRow { ts_recv: entry.ts_recv }, &mut page) {
        Ok(reply) => reply,
        Err(error) => return feeds.unreadable_answer(entry, &FrameError::Json(error), out),
    };
    if let Some(refusal) = refusal(&reply.errors) {
        return feeds.refused(entry.conn, None, 0, &refusal.to_string(), out);
    }
    let event = "Trades";
    if let Some(field) = page.iter().find_map(|trade| match (trade.price.mantissa < 0, trade.amount.mantissa < 0) {
        (true, _) => Some("price"),
        (_, true) => Some("volume"),
        _ => None,
    }) {
        return feeds.unreadable_answer(entry, &FrameError::OutOfRange { event, field }, out);
    }
    let mut before: Option<u64> = None;
    for trade in &page {
        let TradeId(id) = trade.id;
        let Ok(id) = u64::try_from(id) else { continue };
        let passed_over =
            before.and_then(|before| before.checked_add(1)).filter(|next| *next < id).map(|next| (next, id - 1));
        before = Some(id);
        let traded = Traded {
            space: IdSpace::Single,
            id,
            ts_venue: trade.ts_venue,
            price: trade.price,
            amount: trade.amount,
            side: trade.side,
        };
        feeds.repair(feed, entry, passed_over, &traded, out);
    }
}
