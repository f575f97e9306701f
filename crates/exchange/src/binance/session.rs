//! Binance's dialect: what each message and answer means.

use dccd_model::{Channel, Entry, Symbol};

use super::book::{Book, Snapshot};
use super::consts::{CHANNELS, NAME, SOCKET_NAMES, SOCKETS};
use super::messages::{DepthEvent, Message, QuoteEvent, TradeEvent};
use super::{candle, http, parse, subscribe};
use crate::integrity::IdSpace;
use crate::session::{self, Answer, Feeds, Levels, Plain, Quoted, Traded};
use crate::{FeedIndex, FrameError, Markets, Notice, Output, Product};

/// How Binance talks, on whichever of its sockets.
#[derive(Default)]
pub(super) struct Dialect {
    /// Levels of the message at hand.
    levels: Levels,
    /// The name under which feeds know what it is about.
    name: String,
}

impl session::Dialect for Dialect {
    type Book = Book;

    const NAME: &'static str = NAME;
    const CHANNELS: &'static [Channel] = CHANNELS;
    const MARKETS_SUBJECT: &'static str = http::MARKETS_SUBJECT;
    const SAVED_VERSION: u32 = 1;
    const QUOTES_NUMBERED: bool = true;
    const SOCKETS: &'static [&'static str] = SOCKET_NAMES;

    fn id(&self, symbol: &Symbol, markets: &Markets) -> String {
        let mut name = String::new();
        subscribe::name_of(&mut name, subscribe::product(symbol), &subscribe::id(symbol, markets));
        name
    }

    fn book(&self, symbol: &Symbol, _: &Markets) -> Book {
        match subscribe::product(symbol) {
            Product::Spot => Book::default(),
            Product::Linear => Book::chained(),
        }
    }

    fn frame(&mut self, entry: &Entry<'_>, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
        let (conn, Self { levels, name }) = (entry.conn, self);
        let product = SOCKETS.get(feeds.socket(conn)).map_or(Product::Spot, |socket| socket.product);
        let reason = match parse::message(entry.payload, levels) {
            // Single trades of perpetuals are none that anybody asked for.
            Ok(Message::Trade(trade)) if product == Product::Linear && trade.space == IdSpace::Single => {
                return feeds.unknown(conn, out);
            }
            Ok(Message::Trade(trade)) => {
                subscribe::name_of(name, product, &trade.symbol);
                return feeds.trade(entry, name, &traded(&trade), out);
            }
            Ok(Message::Quote(quote)) => {
                subscribe::name_of(name, product, &quote.symbol);
                return feeds.quote(entry, name, &quoted(&quote), out);
            }
            Ok(Message::Depth(depth)) => match covered(depth, product) {
                Ok(depth) => {
                    subscribe::name_of(name, product, &depth.symbol);
                    return feeds.book(entry, name, out, |book, reason, sink| {
                        book.event(&depth, entry.ts_recv, levels, reason, sink);
                    });
                }
                Err(reason) => reason,
            },
            Ok(Message::Ack { id }) => return out.notice(Notice::Ack { conn, id }),
            Ok(Message::Error { id, code, message }) => return feeds.refused(conn, id, code, &message, out),
            Ok(Message::Shutdown) => return feeds.shutdown(conn, out),
            Ok(Message::Other) => match candle::read(entry.payload, entry.ts_recv) {
                None => return feeds.unknown(conn, out),
                Some(Ok((symbol, candle))) => {
                    subscribe::name_of(name, product, &symbol);
                    return feeds.candle(entry, name, &candle, out);
                }
                Some(Err(reason)) => reason,
            },
            Err(reason) => reason,
        };
        let stream = stream_of(entry.payload).map(|(id, channel)| {
            subscribe::name_of(name, product, id);
            (name.as_str(), channel)
        });
        feeds.unreadable_of(entry, &reason, stream, out);
    }

    fn read(&mut self, entry: &Entry<'_>, plain: &mut Plain<'_>) -> Result<(), FrameError> {
        match parse::message(entry.payload, &mut self.levels)? {
            Message::Trade(trade) => plain.trade(&traded(&trade)),
            Message::Quote(quote) => plain.quote(&quoted(&quote)),
            Message::Depth(depth) => plain.levels(depth.ts_venue, depth.last, &self.levels),
            Message::Ack { .. } | Message::Error { .. } | Message::Shutdown | Message::Other => {}
        }
        Ok(())
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
}

/// The stream that a frame is of, as far as its beginning tells.
fn stream_of(frame: &[u8]) -> Option<(&str, Channel)> {
    let (id, name) = parse::stream_name(frame)?;
    let channel = match name {
        "trade" | "aggTrade" => Channel::Trades,
        "bookTicker" => Channel::Quotes,
        "depth" => Channel::Book,
        "kline_1m" => Channel::Ohlc,
        _ => return None,
    };
    Some((id, channel))
}

/// An event with the first of the changes that it covers: of perpetuals all since the event before.
fn covered(mut event: DepthEvent<'_>, product: Product) -> Result<DepthEvent<'_>, FrameError> {
    if product == Product::Linear {
        let name = "depthUpdate";
        let previous = event.previous.ok_or(FrameError::Missing { event: name, field: "pu" })?;
        event.first = previous.checked_add(1).ok_or(FrameError::OutOfRange { event: name, field: "pu" })?;
    }
    Ok(event)
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

fn quoted(event: &QuoteEvent<'_>) -> Quoted {
    let QuoteEvent { number, ts_venue, bid, bid_amount, ask, ask_amount, .. } = *event;
    Quoted { number, ts_venue, bid, bid_amount, ask, ask_amount }
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
