//! Bybit's dialect: what each message and answer means, on whichever of the sockets it came.

use dccd_model::{Channel, Decimal, Entry, Symbol};

use super::book::Book;
use super::candle;
use super::consts::{CHANNELS, NAME, SOCKET_NAMES};
use super::http::{self, refusal};
use super::messages::{Batch, BookPart, Message};
use super::parse::{self, TradeRow};
use crate::session::{self, Answer, Feeds, Level, Levels, Plain, Quoted};
use crate::{FeedIndex, FrameError, Markets, Notice, Output};

/// How Bybit talks.
#[derive(Default)]
pub(super) struct Dialect {
    /// The message at hand.
    batch: Batch,
    /// The name under which feeds know what it is about.
    name: String,
}

/// The same symbol means one market on one socket and another on the other: names of all but the first bear the socket's.
fn name_of(name: &mut String, socket: usize, symbol: &str) {
    name.clear();
    if socket != 0 {
        name.push_str(SOCKET_NAMES.get(socket).copied().unwrap_or_default());
        name.push(' ');
    }
    name.push_str(symbol);
}

impl Dialect {
    fn book_message(&self, part: &BookPart<'_>, entry: &Entry<'_>, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
        let (conn, ts_recv, levels) = (entry.conn, entry.ts_recv, &self.batch.levels);
        feeds.book(entry, &self.name, out, |book, _, sink| {
            if part.is_snapshot {
                book.snapshot(part, levels, conn, ts_recv, sink);
            } else {
                book.update(part, levels, conn, ts_recv, sink);
            }
        });
    }
}

/// A book of one level is whole in each message. Where a side has none, nobody bids or asks.
fn quote(part: &BookPart<'_>, levels: &Levels) -> Result<Quoted, FrameError> {
    let event = "orderbook.1";
    if !part.is_snapshot {
        // In former years only what changed was sent; half a quote is none.
        return Err(FrameError::OutOfRange { event, field: "type" });
    }
    if levels.bids.len() > 1 || levels.asks.len() > 1 {
        return Err(FrameError::OutOfRange { event, field: if levels.bids.len() > 1 { "b" } else { "a" } });
    }
    let nobody = Level { price: Decimal::ZERO, amount: Decimal::ZERO };
    let best = |side: &[Level]| side.first().copied().unwrap_or(nobody);
    let (bid, ask) = (best(&levels.bids), best(&levels.asks));
    Ok(Quoted {
        number: part.sequence,
        ts_venue: part.ts_venue,
        bid: bid.price,
        bid_amount: bid.amount,
        ask: ask.price,
        ask_amount: ask.amount,
    })
}

impl session::Dialect for Dialect {
    type Book = Book;

    const NAME: &'static str = NAME;
    const CHANNELS: &'static [Channel] = CHANNELS;
    const MARKETS_SUBJECT: &'static str = http::MARKETS_SUBJECT;
    const SAVED_VERSION: u32 = 1;
    const QUOTES_NUMBERED: bool = true;
    const TRADES_COUNTED: bool = false;
    const SOCKETS: &'static [&'static str] = SOCKET_NAMES;

    fn id(&self, symbol: &Symbol, markets: &Markets) -> String {
        let mut name = String::new();
        name_of(&mut name, http::socket_of(symbol), &http::id(symbol, markets));
        name
    }

    fn book(&self, _: &Symbol, _: &Markets) -> Book {
        Book::default()
    }

    fn frame(&mut self, entry: &Entry<'_>, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
        let (conn, socket) = (entry.conn, feeds.socket(entry.conn));
        let reason = match parse::message(entry.payload, &mut self.batch) {
            Ok(Message::Trades(symbol)) => {
                name_of(&mut self.name, socket, symbol);
                for trade in &self.batch.trades {
                    feeds.executed(entry, &self.name, trade, out);
                }
                return;
            }
            Ok(Message::Book(part)) => {
                name_of(&mut self.name, socket, part.symbol);
                if part.depth != 1 {
                    return self.book_message(&part, entry, feeds, out);
                }
                match quote(&part, &self.batch.levels) {
                    Ok(quote) => return feeds.quote(entry, &self.name, &quote, out),
                    Err(reason) => reason,
                }
            }
            Ok(Message::Ack(id)) => {
                if let Some(id) = id {
                    out.notice(Notice::Ack { conn, id });
                }
                return;
            }
            Ok(Message::Refusal { id, words }) => return feeds.refused(conn, id, 0, &words, out),
            Ok(Message::Alive) => return,
            Ok(Message::Other) => match candle::read(entry.payload, entry.ts_recv) {
                None => return feeds.unknown(conn, out),
                Some(Ok((symbol, candles))) => {
                    name_of(&mut self.name, socket, &symbol);
                    return candles.iter().for_each(|candle| feeds.candle(entry, &self.name, candle, out));
                }
                Some(Err(reason)) => reason,
            },
            Err(reason) => reason,
        };
        let stream = parse::stream_of(entry.payload).map(|(symbol, channel)| {
            name_of(&mut self.name, socket, symbol);
            (self.name.as_str(), channel)
        });
        feeds.unreadable_of(entry, &reason, stream, out);
    }

    fn read(&mut self, entry: &Entry<'_>, plain: &mut Plain<'_>) -> Result<(), FrameError> {
        let message = parse::message(entry.payload, &mut self.batch)?;
        let Batch { trades, levels } = &self.batch;
        match message {
            Message::Trades(_) => trades.iter().for_each(|trade| plain.executed(trade)),
            Message::Book(part) if part.depth == 1 => plain.quote(&quote(&part, levels)?),
            Message::Book(part) => plain.levels(part.ts_venue, part.sequence, levels),
            Message::Ack(_) | Message::Refusal { .. } | Message::Alive | Message::Other => {}
        }
        Ok(())
    }

    fn response(&mut self, kind: Answer, feed: FeedIndex, entry: &Entry<'_>, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
        if kind != Answer::Trades {
            return;
        }
        let mut page = Vec::new();
        let reply = match parse::reply(entry.payload, TradeRow, &mut page) {
            Ok(reply) => reply,
            Err(reason) => return feeds.unreadable_answer(entry, &reason, out),
        };
        if let Some(refusal) = refusal(&reply) {
            return feeds.refused(entry.conn, None, 0, &refusal.to_string(), out);
        }
        if !reply.has_rows {
            let reason = FrameError::Missing { event: "recent-trade", field: "list" };
            return feeds.unreadable_answer(entry, &reason, out);
        }
        let limit = feeds.list().get(feed as usize).map_or(0, |feed| http::trades_per_page(&feed.symbol));
        feeds.newest(feed, entry, &page, page.len() >= limit as usize, out);
    }
}
