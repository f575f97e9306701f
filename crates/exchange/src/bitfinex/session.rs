//! Bitfinex' dialect: what each message and answer means, by what was said before on its connection.

use dccd_model::{Channel, Entry, GapReason, Symbol, UnixNanos};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::book::Book;
use super::connections::{Connection, Connections, Step, Subscribed, Subscription};
use super::consts::{CHANNELS, NAME};
use super::messages::{Batch, Body, Event, Message};
use super::quotes::{Left, Quotes, Values};
use super::{history, http, parse, subscribe};
use crate::session::{self, Answer, Feeds, Plain, Quoted};
use crate::wire::Cursor;
use crate::{FeedIndex, FrameError, HistoryError, Markets, Notice, Output, Want};

/// How Bitfinex talks.
#[derive(Default)]
pub(super) struct Dialect {
    /// Levels a side of the books that are subscribed.
    depth: u32,
    said: Said,
    /// The message at hand.
    batch: Batch,
    /// What a checksum of quotes is over.
    text: Vec<u8>,
}

/// What is saved.
#[derive(Default, Serialize, Deserialize)]
struct Said {
    connections: Connections,
    quotes: Quotes,
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

impl Dialect {
    /// With books of this depth.
    pub(super) fn new(depth: u32) -> Self {
        Self { depth, ..Self::default() }
    }

    fn event(&mut self, event: &Event<'_>, entry: &Entry<'_>, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
        let conn = entry.conn;
        match (event.event, event.chan_id) {
            (b"subscribed", Some(chan_id)) => self.subscribed(chan_id, event, conn, feeds, out),
            (b"unsubscribed", Some(chan_id)) => self.unsubscribed(chan_id, entry, feeds, out),
            (b"conf", _) => match event.flags.filter(|_| event.status == b"OK") {
                Some(flags) => self.said.connections.of(conn).configured(flags),
                None => feeds.refused(conn, None, 0, "conf was not accepted: messages have no numbers", out),
            },
            (b"info", _) => info(event, conn, feeds, out),
            // That something is subscribed already is what we want.
            (b"error", _) if event.code == Some(10_301) => feeds.unknown(conn, out),
            (b"error", _) => {
                let code = event.code.and_then(|code| i64::try_from(code).ok()).unwrap_or(0);
                feeds.refused(conn, event.id, code, &event.words, out);
            }
            (b"pong", _) => {}
            _ => feeds.unknown(conn, out),
        }
    }

    fn subscribed(&mut self, chan_id: u64, event: &Event<'_>, conn: u32, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
        if let Some(id) = event.id {
            out.notice(Notice::Ack { conn, id });
        }
        let name = text(event.symbol).unwrap_or_default();
        let kind = match (event.channel, event.precision, event.length) {
            // Funding: `fUSD`.
            _ if !name.starts_with('t') => Subscribed::Other,
            (b"trades", ..) => Subscribed::Trades,
            (b"book", b"P0", Some(1)) => Subscribed::Quotes,
            (b"book", b"P0", _) => Subscribed::Book,
            _ => Subscribed::Other,
        };
        self.said.connections.of(conn).subscribed(chan_id, kind, name);
        match kind {
            Subscribed::Book => {
                if let Some((feed, length)) = feeds.feed_of(name, Channel::Book).zip(event.length) {
                    feeds.of_book(feed, out, |book, _| book.subscribed(length));
                }
            }
            Subscribed::Quotes => self.said.quotes.leave(name, conn, left(GapReason::Sequence)),
            Subscribed::Trades | Subscribed::Other => {}
        }
    }

    fn unsubscribed(&mut self, chan_id: u64, entry: &Entry<'_>, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
        let connection = self.said.connections.of(entry.conn);
        let Some(place) = connection.place(chan_id) else { return };
        let Subscription { kind, name, .. } = connection.channels.remove(place);
        match kind {
            Subscribed::Book => {
                if let Some(feed) = feeds.feed_of(&name, Channel::Book) {
                    feeds.of_book(feed, out, |book, sink| book.unsubscribed(entry.conn, entry.ts_recv, sink));
                }
            }
            Subscribed::Quotes => self.said.quotes.leave(&name, entry.conn, left(GapReason::Sequence)),
            Subscribed::Trades | Subscribed::Other => {}
        }
    }

    fn data(
        &mut self,
        chan_id: u64,
        cursor: &mut Cursor<'_>,
        entry: &Entry<'_>,
        feeds: &mut Feeds<Book>,
        out: &mut dyn Output,
    ) {
        let connection = self.said.connections.of(entry.conn);
        let place = connection.place(chan_id);
        let kind = place.and_then(|place| connection.channels.get(place)).map_or(Subscribed::Other, |channel| channel.kind);
        let read = parse::body(cursor, kind.kind(), &mut self.batch);
        let read = read.and_then(|(body, tail)| Ok((body, connection.tail(tail)?)));
        let (body, (number, ts)) = match read {
            Ok(read) => read,
            Err(reason) => return self.unreadable(place, &reason, entry, feeds, out),
        };
        match number.map(|number| connection.count(number, entry.payload)) {
            None | Some(Step::Next) => {}
            Some(Step::Again) => return,
            Some(Step::Break) => self.missed(entry, feeds, out),
        }
        match place {
            Some(place) => self.content(place, body, ts, entry, feeds, out),
            // Of a subscription that is over, or from before the journal.
            None => feeds.unrouted(entry.conn, out),
        }
    }

    /// Messages of this connection are missing: whatever it carries may be wrong.
    fn missed(&mut self, entry: &Entry<'_>, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
        feeds.missed(entry.conn, out);
        for place in 0..self.said.connections.of(entry.conn).channels.len() {
            self.quotes_begin_anew(place, left(GapReason::Sequence), entry, feeds, out);
        }
    }

    /// If this channel brings quotes, what it brought can't be believed any more. Where its snapshot is still to come, the next
    /// message of it tells whether that was lost.
    fn quotes_begin_anew(
        &mut self,
        place: usize,
        left: Left,
        entry: &Entry<'_>,
        feeds: &mut Feeds<Book>,
        out: &mut dyn Output,
    ) {
        let channel = self.said.connections.of(entry.conn).channels.get_mut(place);
        let Some(channel) = channel.filter(|channel| channel.kind == Subscribed::Quotes && channel.is_begun) else { return };
        channel.is_begun = false;
        let proven = channel.top.proven();
        self.said.quotes.begin_anew(&channel.name, entry.conn, left, proven);
        want_anew(channel, entry, feeds, out);
    }

    fn unreadable(
        &mut self,
        place: Option<usize>,
        reason: &FrameError,
        entry: &Entry<'_>,
        feeds: &mut Feeds<Book>,
        out: &mut dyn Output,
    ) {
        let connection = self.said.connections.of(entry.conn);
        connection.count_unreadable(place.is_some(), entry.payload);
        let channel = place.and_then(|place| connection.channels.get(place));
        match channel.map(|channel| (channel.name.as_str(), channel.kind.channel())) {
            Some((name, Some(channel))) => feeds.unreadable_of(entry, reason, Some((name, channel)), out),
            // Nothing of ours.
            Some((_, None)) => return feeds.unreadable_answer(entry, reason, out),
            None => feeds.unreadable_of(entry, reason, None, out),
        }
        let places = place.map_or(0..connection.channels.len(), |place| place..place + 1);
        places.for_each(|place| self.quotes_begin_anew(place, left(GapReason::Unreadable), entry, feeds, out));
    }

    fn content(
        &mut self,
        place: usize,
        body: Body,
        ts: UnixNanos,
        entry: &Entry<'_>,
        feeds: &mut Feeds<Book>,
        out: &mut dyn Output,
    ) {
        let (conn, ts_recv) = (entry.conn, entry.ts_recv);
        let connection = self.said.connections.of(conn);
        let is_bulk = connection.is_bulk();
        let Some(channel) = connection.channels.get_mut(place) else { return };
        let levels = &self.batch.levels;
        match (channel.kind, body) {
            (Subscribed::Trades, Body::Trade | Body::Trades) => {
                for trade in &self.batch.trades {
                    feeds.executed(entry, &channel.name, trade, out);
                }
            }
            (Subscribed::Trades, Body::Update) => {
                for trade in &self.batch.trades {
                    feeds.confirmed(entry, &channel.name, trade, out);
                }
            }
            (Subscribed::Book, Body::Levels) if !channel.is_begun || !is_bulk => {
                channel.is_begun = true;
                feeds.book(entry, &channel.name, out, |book, _, sink| book.snapshot(levels, ts, conn, ts_recv, sink));
            }
            (Subscribed::Book, Body::Levels | Body::Change) if channel.is_begun => {
                feeds.book(entry, &channel.name, out, |book, _, sink| book.update(levels, ts, conn, ts_recv, sink));
            }
            (Subscribed::Book, Body::Checksum(sum)) if channel.is_begun => {
                feeds.book(entry, &channel.name, out, |book, _, sink| book.check(sum, ts, conn, ts_recv, sink));
            }
            (Subscribed::Quotes, Body::Levels) if !channel.is_begun || !is_bulk => {
                channel.is_begun = true;
                channel.top.begin(levels, moment(ts, ts_recv));
                let values = channel.top.values(true);
                quote(&channel.name, values, ts, &mut self.said.quotes, entry, feeds, out);
            }
            (Subscribed::Quotes, Body::Levels | Body::Change) if channel.is_begun => {
                if let Err(since) = channel.top.apply(levels) {
                    let left = Left { reason: GapReason::Integrity, since: Some(since) };
                    return self.quotes_begin_anew(place, left, entry, feeds, out);
                }
                let values = channel.top.values(false);
                quote(&channel.name, values, ts, &mut self.said.quotes, entry, feeds, out);
            }
            (Subscribed::Quotes, Body::Heartbeat | Body::Checksum(_)) if channel.is_begun => {
                if let Body::Checksum(sum) = body {
                    let right = channel.top.check(sum, moment(ts, ts_recv), &mut self.text);
                    let was_right = self.said.quotes.summed(&channel.name, right.is_ok());
                    if let Err(since) = right
                        && was_right
                    {
                        let left = Left { reason: GapReason::Integrity, since: Some(since) };
                        return self.quotes_begin_anew(place, left, entry, feeds, out);
                    }
                }
                let values = channel.top.values(true);
                quote(&channel.name, values, ts, &mut self.said.quotes, entry, feeds, out);
            }
            // It lives, and its snapshot didn't come.
            (Subscribed::Quotes, Body::Heartbeat | Body::Change | Body::Checksum(_)) => {
                want_anew(channel, entry, feeds, out)
            }
            (Subscribed::Other, Body::Other) => feeds.unknown(conn, out),
            _ => {}
        }
    }
}

/// `{"event":"info","version":2,"serverId":"..","platform":{"status":1}}`, `{"event":"info","code":20051,"msg":".."}`.
fn info(event: &Event<'_>, conn: u32, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
    match (event.code, event.platform) {
        (Some(20_051), _) => feeds.shutdown(conn, out),
        (Some(20_060), _) => feeds.venue(conn, false, &event.words, out),
        (Some(20_061), _) => feeds.venue(conn, true, &event.words, out),
        (None, Some(0)) => feeds.venue(conn, false, "in maintenance", out),
        (None, Some(_)) => feeds.venue(conn, true, "operative", out),
        _ => feeds.unknown(conn, out),
    }
}

/// A connection's best levels after a message, if they are a quote.
fn quote(
    name: &str,
    values: Option<Values>,
    ts_venue: UnixNanos,
    quotes: &mut Quotes,
    entry: &Entry<'_>,
    feeds: &mut Feeds<Book>,
    out: &mut dyn Output,
) {
    let Some(values) = values.filter(|_| feeds.feed_of(name, Channel::Quotes).is_some()) else { return };
    let Some((number, left)) = quotes.arrive(name, entry.conn, values) else { return };
    if let Some(Left { reason, since }) = left {
        feeds.quotes_torn(name, reason, since);
    }
    let [bid, bid_amount, ask, ask_amount] = values;
    feeds.quote(entry, name, &Quoted { number, ts_venue, bid, bid_amount, ask, ask_amount }, out);
}

/// The feed of this channel begins anew on this connection, unless that is under way.
fn want_anew(channel: &mut Subscription, entry: &Entry<'_>, feeds: &Feeds<Book>, out: &mut dyn Output) {
    if let Some(want) = anew(channel, entry.conn, feeds)
        && channel.asks(entry.ts_recv)
    {
        out.want(want);
    }
}

/// The feed of this channel is to begin anew on this connection; `None`: it is no open feed.
fn anew(channel: &Subscription, conn: u32, feeds: &Feeds<Book>) -> Option<Want> {
    let feed = feeds.feed_of(&channel.name, channel.kind.channel()?)?;
    let symbol = feeds.list().get(feed as usize)?.symbol.clone();
    Some(Want::Resubscribe { feed, symbol, conn })
}

/// Quotes may be missing for this reason; those that were given out are right.
const fn left(reason: GapReason) -> Left {
    Left { reason, since: None }
}

/// The exchange's time, or ours where it sends none.
fn moment(ts: UnixNanos, ts_recv: UnixNanos) -> UnixNanos {
    if ts == UnixNanos::UNKNOWN { ts_recv } else { ts }
}

impl session::Dialect for Dialect {
    type Book = Book;

    const NAME: &'static str = NAME;
    const CHANNELS: &'static [Channel] = CHANNELS;
    const MARKETS_SUBJECT: &'static str = http::MARKETS_SUBJECT;
    const SAVED_VERSION: u32 = 1;
    /// By us, see [`Quotes`].
    const QUOTES_NUMBERED: bool = true;
    const TRADES_COUNTED: bool = false;

    fn id(&self, symbol: &Symbol, markets: &Markets) -> String {
        http::id(symbol, markets)
    }

    fn book(&self, _: &Symbol, _: &Markets) -> Book {
        Book::new(self.depth)
    }

    fn frame(&mut self, entry: &Entry<'_>, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
        match parse::head(entry.payload) {
            Ok(Message::Data(chan_id, mut cursor)) => self.data(chan_id, &mut cursor, entry, feeds, out),
            Ok(Message::Event(event)) => self.event(&event, entry, feeds, out),
            Err(reason) => self.unreadable(None, &reason, entry, feeds, out),
        }
    }

    /// What a message is about the connection has said before; its quotes come level by level, and are quotes when both sides stand.
    fn read(&mut self, entry: &Entry<'_>, plain: &mut Plain<'_>) -> Result<(), FrameError> {
        let Message::Data(chan_id, mut cursor) = parse::head(entry.payload)? else { return Ok(()) };
        let Some(connection) = self.said.connections.iter().find(|known| known.conn == entry.conn) else { return Ok(()) };
        let channel = connection.place(chan_id).and_then(|place| connection.channels.get(place));
        let kind = channel.map_or(Subscribed::Other, |channel| channel.kind);
        let (body, tail) = parse::body(&mut cursor, kind.kind(), &mut self.batch)?;
        let (number, ts) = connection.tail(tail)?;
        match (kind, body) {
            (Subscribed::Trades, Body::Trade | Body::Trades) => {
                self.batch.trades.iter().for_each(|trade| plain.executed(trade));
            }
            (Subscribed::Book | Subscribed::Quotes, Body::Levels | Body::Change) => {
                plain.levels(ts, number.unwrap_or_default(), &self.batch.levels);
            }
            _ => {}
        }
        Ok(())
    }

    fn response(&mut self, kind: Answer, feed: FeedIndex, entry: &Entry<'_>, feeds: &mut Feeds<Book>, out: &mut dyn Output) {
        if kind != Answer::Trades {
            return;
        }
        match history::trades(entry.payload) {
            Ok(page) => {
                let is_full = page.len() >= super::consts::TRADES_PER_PAGE as usize;
                feeds.paged(feed, entry, &page, is_full, out);
            }
            Err(HistoryError::Unreadable { source, .. }) => {
                feeds.unreadable_answer(entry, &FrameError::Json(source), out);
            }
            Err(refusal) => feeds.refused(entry.conn, None, 0, &refusal.to_string(), out),
        }
    }

    fn opened(&mut self, conn: u32) {
        self.said.connections.opened(conn);
    }

    fn closed(&mut self, conn: u32) {
        self.said.connections.closed(conn);
        self.said.quotes.closed(conn);
    }

    /// Whoever goes on with the journal doesn't know the channels of connections that opened before: others take their place.
    fn lost(&mut self, out: &mut dyn Output) {
        for connection in self.said.connections.iter() {
            out.want(Want::Replace { conn: connection.conn });
        }
    }

    /// Quotes that begin anew: books know it themselves.
    fn outstanding(&self, feeds: &Feeds<Book>) -> Vec<Want> {
        let of = |known: &Connection| {
            let asked = known.channels.iter().filter(|channel| channel.is_asked());
            asked.filter_map(|channel| anew(channel, known.conn, feeds)).collect::<Vec<_>>()
        };
        self.said.connections.iter().flat_map(of).collect()
    }

    fn ending(&self, feeds: &Feeds<Book>, feed: FeedIndex, conn: u32) -> Option<String> {
        let (name, channel) = (feeds.feed_id(feed)?, feeds.list().get(feed as usize)?.channel);
        let connection = self.said.connections.iter().find(|known| known.conn == conn)?;
        let is_about = |known: &&Subscription| known.kind.channel() == Some(channel) && known.name == name;
        connection.channels.iter().find(is_about).map(|known| subscribe::end(known.chan_id))
    }

    fn saved(&self) -> Option<Box<RawValue>> {
        serde_json::value::to_raw_value(&self.said).ok()
    }

    fn resume(&mut self, saved: &RawValue) -> Result<(), serde_json::Error> {
        self.said = serde_json::from_str(saved.get())?;
        Ok(())
    }
}
