//! OKX's dialect: what each message and answer means. Amounts of swaps come in contracts, and leave in base units, exactly.

use dccd_model::{Channel, Decimal, Entry, Symbol};
use rustc_hash::FxHashMap;

use super::book::Book;
use super::candle;
use super::consts::{CHANNELS, NAME};
use super::copy::in_base_units;
use super::messages::{Batch, Message};
use super::{http, parse, subscribe};
use crate::session::{self, Answer, Feeds, Plain};
use crate::{FeedIndex, FrameError, HistoryError, Markets, Notice, Output};

fn contract_sizes(markets: &Markets) -> FxHashMap<String, Decimal> {
    markets.iter().filter_map(|market| Some((market.id.clone(), market.contract_size?))).collect()
}

/// How OKX talks.
#[derive(Default)]
pub(super) struct Dialect {
    /// Base units in a contract, by instrument.
    contract_sizes: FxHashMap<String, Decimal>,
    /// The message at hand.
    batch: Batch,
}

impl Dialect {
    /// With the contract sizes of these markets.
    pub(super) fn new(markets: &Markets) -> Self {
        Self { contract_sizes: contract_sizes(markets), batch: Batch::default() }
    }

    /// Base units in a contract of this instrument; `Ok(None)` where amounts are in base units. `Err`: of this one nobody knows.
    fn contract_size(&self, id: &str) -> Result<Option<Decimal>, FrameError> {
        match self.contract_sizes.get(id) {
            None if id.ends_with(subscribe::SWAP) => Err(FrameError::Missing { event: "instrument", field: "ctVal" }),
            size => Ok(size.copied()),
        }
    }

    fn answer(kind: Message<'_>, entry: &Entry<'_>, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
        let conn = entry.conn;
        match kind {
            Message::Ack { id: Some(id) } => out.notice(Notice::Ack { conn, id }),
            Message::Refusal { id, code, words } => match id.zip(instrument(&words)) {
                Some((id, name)) => feeds.refused_symbol(conn, id, name, &format!("{words} (code {code})"), out),
                None => feeds.refused(conn, id, code, &words, out),
            },
            Message::Shutdown => feeds.shutdown(conn, out),
            Message::Ack { id: None }
            | Message::Alive
            | Message::Other
            | Message::Trades { .. }
            | Message::Quotes { .. }
            | Message::Book { .. } => {}
        }
    }

    /// Puts the amounts of the message at hand into base units. The contract size, if there is one.
    fn convert(&mut self, id: &str) -> Result<Option<Decimal>, FrameError> {
        let Some(size) = self.contract_size(id)? else { return Ok(None) };
        let convert = |amount: &mut Decimal| {
            *amount =
                in_base_units(*amount, Some(size)).ok_or(FrameError::OutOfRange { event: "instrument", field: "sz" })?;
            Ok::<_, FrameError>(())
        };
        self.batch.trades.iter_mut().try_for_each(|trade| convert(&mut trade.amount))?;
        // Books keep contracts, which checksums are over, and convert what they give out; here is seen whether that will fit.
        let Batch { levels, book: part, .. } = &self.batch;
        let mut of_book = levels.bids.iter().chain(&levels.asks).filter(|_| part.is_some());
        of_book.try_for_each(|level| convert(&mut { level.amount }))?;
        self.batch.quotes.iter_mut().try_for_each(|quote| {
            convert(&mut quote.bid_amount)?;
            convert(&mut quote.ask_amount)
        })?;
        Ok(Some(size))
    }

    /// Hands what a message brought to its feed.
    fn deliver(
        &mut self,
        message: &Message<'_>,
        entry: &Entry<'_>,
        feeds: &mut Feeds<Book>,
        out: &mut dyn Output,
    ) -> Result<(), FrameError> {
        let (Message::Trades { id } | Message::Quotes { id } | Message::Book { id, .. }) = message else { return Ok(()) };
        let id = text(id);
        self.convert(id)?;
        let Batch { trades, quotes, book, levels } = &self.batch;
        match message {
            Message::Trades { .. } => trades.iter().for_each(|trade| feeds.trade(entry, id, trade, out)),
            Message::Quotes { .. } => quotes.iter().for_each(|quote| feeds.quote(entry, id, quote, out)),
            _ => {
                let Some(part) = book else { return Ok(()) };
                let is_snapshot = matches!(message, Message::Book { is_snapshot: true, .. });
                let (conn, ts_recv) = (entry.conn, entry.ts_recv);
                feeds.book(entry, id, out, |book, reason, sink| {
                    if is_snapshot {
                        book.snapshot(part, levels, conn, ts_recv, sink);
                    } else {
                        book.update(part, levels, (conn, ts_recv, reason), sink);
                    }
                });
            }
        }
        Ok(())
    }

    /// A page of trades holds all that there is between its first and its last: an id that it jumps over the exchange doesn't
    /// have. What is before its first is not proven.
    fn trades_page(&self, feed: FeedIndex, entry: &Entry<'_>, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
        let page = match parse::trades(entry.payload) {
            Ok(page) => page,
            Err(HistoryError::BadRow { field, .. }) => {
                return feeds.unreadable_answer(entry, &FrameError::OutOfRange { event: "history-trades", field }, out);
            }
            Err(HistoryError::Unreadable { source, .. }) => {
                return feeds.unreadable_answer(entry, &FrameError::Json(source), out);
            }
            Err(refusal) => return feeds.refused(entry.conn, None, 0, &refusal.to_string(), out),
        };
        let size = match feeds.feed_id(feed).map(|id| self.contract_size(id)) {
            Some(Ok(size)) => size,
            Some(Err(reason)) => return feeds.unreadable_answer(entry, &reason, out),
            None => return,
        };
        let mut before: Option<u64> = None;
        for mut trade in page {
            let Some(amount) = in_base_units(trade.amount, size) else {
                let reason = FrameError::OutOfRange { event: "history-trades", field: "sz" };
                return feeds.unreadable_answer(entry, &reason, out);
            };
            trade.amount = amount;
            let next = before.and_then(|before| before.checked_add(1)).filter(|next| *next < trade.id);
            before = Some(trade.id);
            feeds.repair(feed, entry, next.map(|next| (next, trade.id - 1)), &trade, out);
        }
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// The instrument that a refusal names: `Wrong URL or channel:books,instId:BTC-USDX doesn't exist. ..`.
fn instrument(words: &str) -> Option<&str> {
    let rest = words.split_once("instId:")?.1;
    let name = rest.split(|c: char| !(c.is_ascii_alphanumeric() || "-_".contains(c))).next()?;
    (!name.is_empty()).then_some(name)
}

impl session::Dialect for Dialect {
    type Book = Book;

    const NAME: &'static str = NAME;
    const CHANNELS: &'static [Channel] = CHANNELS;
    const MARKETS_SUBJECT: &'static str = http::MARKETS_SUBJECT;
    const SAVED_VERSION: u32 = 1;
    /// They are, but the numbers begin anew in a maintenance, and a quote that is taken for an old one would be lost unseen.
    const QUOTES_NUMBERED: bool = false;

    fn id(&self, symbol: &Symbol, markets: &Markets) -> String {
        subscribe::id(symbol, markets)
    }

    fn book(&self, symbol: &Symbol, markets: &Markets) -> Book {
        Book::new(markets.by_symbol(symbol).and_then(|market| market.contract_size))
    }

    fn markets_grew(&mut self, markets: &Markets) {
        self.contract_sizes = contract_sizes(markets);
    }

    fn frame(&mut self, entry: &Entry<'_>, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
        let read = match parse::message(entry.payload, &mut self.batch) {
            Ok(message @ (Message::Trades { .. } | Message::Quotes { .. } | Message::Book { .. })) => {
                self.deliver(&message, entry, feeds, out)
            }
            Ok(Message::Other) => match candle::read(entry.payload, entry.ts_recv) {
                None => {
                    feeds.unknown(entry.conn, out);
                    Ok(())
                }
                Some(candles) => candles.map(|(id, candles)| {
                    candles.iter().for_each(|candle| feeds.candle(entry, &id, candle, out));
                }),
            },
            Ok(message) => {
                Self::answer(message, entry, feeds, out);
                Ok(())
            }
            Err(reason) => Err(reason),
        };
        if let Err(reason) = read {
            feeds.unreadable::<Self>(entry, &reason, out);
        }
    }

    fn read(&mut self, entry: &Entry<'_>, plain: &mut Plain<'_>) -> Result<(), FrameError> {
        let message = parse::message(entry.payload, &mut self.batch)?;
        let (Message::Trades { id } | Message::Quotes { id } | Message::Book { id, .. }) = message else { return Ok(()) };
        let size = self.convert(text(id))?;
        let Batch { trades, quotes, book, levels } = &mut self.batch;
        trades.iter().for_each(|trade| plain.trade(trade));
        quotes.iter().for_each(|quote| plain.quote(quote));
        if let Some(part) = book {
            if let Some(size) = size {
                let of_book = levels.bids.iter_mut().chain(&mut levels.asks);
                of_book.for_each(|level| level.amount = in_base_units(level.amount, Some(size)).unwrap_or(level.amount));
            }
            plain.levels(part.ts_venue, part.seq.unwrap_or_default(), levels);
        }
        Ok(())
    }

    fn response(&mut self, kind: Answer, feed: FeedIndex, entry: &Entry<'_>, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
        if kind == Answer::Trades {
            return self.trades_page(feed, entry, feeds, out);
        }
        match parse::snapshot(entry.payload, &mut self.batch) {
            Ok(Ok(part)) => {
                let levels = &self.batch.levels;
                feeds.of_book(feed, out, |book, sink| book.fetched(&part, levels, entry.ts_recv, sink));
            }
            Ok(Err((code, words))) => {
                feeds.refused(entry.conn, None, code, &words, out);
                feeds.of_book(feed, out, Book::ask_again);
            }
            Err(reason) => {
                feeds.unreadable_answer(entry, &reason, out);
                feeds.of_book(feed, out, Book::ask_again);
            }
        }
    }

    fn stream_of(frame: &[u8]) -> Option<(&str, Channel)> {
        parse::stream_of(frame)
    }
}
