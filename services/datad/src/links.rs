//! The exchange's WebSocket connections of one datad: which feed is subscribed on which, within the exchange's limits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::task::{Context, Poll};
use std::time::Duration;

use dccd_exchange::{Adapter, ClientMessage, FeedIndex, Markets, Product, Socket};
use dccd_model::{Channel, Symbol};
use dccd_net::{ConnectBudget, FrameBatch, HttpClient, Link, LinkError, LinkEvent, LinkOptions};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::error::chain;
use crate::listed::{Listed, Unlisted};
use crate::tickets::Tickets;

/// How long old and new connection deliver side by side at a planned replacement.
pub(crate) const OVERLAP: Duration = Duration::from_secs(5);

/// One link and what is subscribed on it.
struct Slot {
    link: Link,
    /// The exchange's socket that it leads to; see [`Adapter::sockets`].
    socket: usize,
    feeds: BTreeMap<FeedIndex, (Symbol, Channel)>,
    /// Connections of it that are open, newest last.
    conns: Vec<u32>,
    /// Feeds that came when connections were open already, each with the connections on which it is yet to be subscribed.
    waiting: Vec<(FeedIndex, u32)>,
    /// Whether it ever had one.
    was_open: bool,
    /// A connection that is dropped at this time, now that another took its place.
    retiring: Option<(u32, Instant)>,
    next_message_id: u64,
    /// Which feeds each message subscribed on which connection, the latest last; see [`MESSAGES_KEPT`].
    messages: VecDeque<(u32, u64, Vec<FeedIndex>)>,
}

/// Messages remembered, so that a refusal can be told to the feeds it is about.
const MESSAGES_KEPT: usize = 256;

/// All links.
pub(crate) struct Links {
    adapter: Arc<dyn Adapter>,
    markets: Arc<Markets>,
    /// For each of the exchange's sockets.
    options: Vec<LinkOptions>,
    slots: Vec<Slot>,
    turn: usize,
    /// When pings of the exchange's own kind were last sent.
    pinged: Option<Instant>,
    /// What of it the exchange says is subscribed.
    listed: Listed,
}

impl Links {
    /// No link yet; each is made when a feed needs it.
    pub(crate) fn new(adapter: Arc<dyn Adapter>, markets: Arc<Markets>, options: Vec<LinkOptions>) -> Self {
        Self { adapter, markets, options, slots: Vec::new(), turn: 0, pinged: None, listed: Listed::default() }
    }

    /// The list of markets has grown.
    pub(crate) fn markets_grew(&mut self, markets: Arc<Markets>) {
        self.markets = markets;
    }

    /// Options of links to each of the adapter's sockets, within its limits. `ws_base` tells the base address of a socket where the
    /// configuration names one; `http` asks for the tickets of sockets that want one.
    pub(crate) fn options(
        adapter: &Arc<dyn Adapter>,
        ws_base: impl Fn(Socket) -> Option<String>,
        conn_ids: &Arc<AtomicU32>,
        http: &HttpClient,
    ) -> Vec<LinkOptions> {
        let whole = adapter.limits();
        // All sockets are the same exchange's, and attempts are counted by our address.
        let budget = ConnectBudget::new(whole.connects_per_window, whole.connect_window);
        let of = |(at, socket): (usize, &Socket)| {
            let limits = adapter.limits_of(socket.product);
            let base = ws_base(*socket).unwrap_or_else(|| adapter.ws_url_of(socket.product).to_owned());
            LinkOptions {
                addresses: Tickets::of(adapter, at, ws_base(*socket), http),
                conn_ids: conn_ids.clone(),
                read_timeout: limits.ping_interval * 2 + limits.ping_interval / 2,
                lifetime: Some(limits.lifetime),
                messages_per_second: limits.messages_per_second,
                connects_per_window: budget.clone(),
                ..LinkOptions::new(adapter.socket_url(at, &base))
            }
        };
        adapter.sockets().iter().enumerate().map(of).collect()
    }

    /// Gives a feed its place: on a link to its socket with room, else on a new one. On connections that are open it is subscribed by
    /// [`Self::subscribe_waiting`], together with others: each alone would take as many messages, of which few a second are taken.
    ///
    /// # Errors
    /// When the configured address is none.
    pub(crate) fn add(&mut self, feed: FeedIndex, symbol: &Symbol, channel: Channel) -> Result<(), LinkError> {
        let socket = self.adapter.socket_of(symbol, channel).min(self.options.len().saturating_sub(1));
        let product = self.adapter.sockets().get(socket).map_or(Product::Spot, |socket| socket.product);
        let room = self.adapter.limits_of(product).streams_per_connection;
        let index = match self.slots.iter().position(|s| s.socket == socket && s.feeds.len() < room) {
            Some(index) => index,
            None => {
                self.slots.push(Slot {
                    link: Link::new(self.options[socket].clone())?,
                    socket,
                    feeds: BTreeMap::new(),
                    conns: Vec::new(),
                    waiting: Vec::new(),
                    was_open: false,
                    retiring: None,
                    next_message_id: 1,
                    messages: VecDeque::new(),
                });
                self.slots.len() - 1
            }
        };
        let slot = &mut self.slots[index];
        slot.feeds.insert(feed, (symbol.clone(), channel));
        slot.waiting.extend(slot.conns.iter().map(|conn| (feed, *conn)));
        Ok(())
    }

    /// Subscribes the feeds that were added since connections opened.
    pub(crate) fn subscribe_waiting(&mut self) {
        for link in 0..self.slots.len() {
            let slot = &mut self.slots[link];
            let waiting = std::mem::take(&mut slot.waiting);
            for conn in if waiting.is_empty() { Vec::new() } else { slot.conns.clone() } {
                let slot = &self.slots[link];
                let feeds = waiting.iter().filter(|(_, on)| *on == conn).filter_map(|(feed, _)| {
                    let (symbol, channel) = slot.feeds.get(feed)?;
                    Some((*feed, symbol.clone(), *channel))
                });
                let feeds: Vec<_> = feeds.collect();
                self.subscribe(link, conn, &feeds);
            }
        }
    }

    /// Gives the feeds other numbers; one that has none is forgotten.
    pub(crate) fn renumber(&mut self, number: impl Fn(FeedIndex) -> Option<FeedIndex>) {
        for slot in &mut self.slots {
            let feeds = std::mem::take(&mut slot.feeds);
            slot.feeds = feeds.into_iter().filter_map(|(feed, key)| Some((number(feed)?, key))).collect();
            let waiting = std::mem::take(&mut slot.waiting);
            slot.waiting = waiting.into_iter().filter_map(|(feed, conn)| Some((number(feed)?, conn))).collect();
            for (.., feeds) in &mut slot.messages {
                *feeds = feeds.iter().filter_map(|feed| number(*feed)).collect();
            }
        }
    }

    /// How many links there are.
    pub(crate) fn count(&self) -> usize {
        self.slots.len()
    }

    /// Unsubscribes a feed. `ending` tells the message for a connection where the session alone knows it.
    pub(crate) fn remove(&mut self, feed: FeedIndex, ending: impl Fn(u32) -> Option<String>) {
        for link in 0..self.slots.len() {
            let slot = &mut self.slots[link];
            let Some(key) = slot.feeds.remove(&feed) else { continue };
            for conn in slot.conns.clone() {
                self.listed.ended(conn, feed);
                if !self.slots[link].forget_waiting(feed, conn) {
                    self.unsubscribe(link, conn, &key, &ending);
                }
            }
        }
    }

    fn unsubscribe(&mut self, link: usize, conn: u32, key: &(Symbol, Channel), ending: impl Fn(u32) -> Option<String>) {
        let slot = &mut self.slots[link];
        let id = slot.next_message_id;
        let messages = if self.adapter.numbers_subscriptions() {
            ending(conn).map(|text| ClientMessage { text, id, feeds: vec![0] }).into_iter().collect()
        } else {
            self.adapter.unsubscribe(std::slice::from_ref(key), &self.markets, id)
        };
        slot.next_message_id += messages.len() as u64;
        send(&slot.link, conn, messages);
    }

    /// The exchange listed these feeds as all that is subscribed on a connection.
    pub(crate) fn told(&mut self, conn: u32, feeds: &[FeedIndex]) {
        self.listed.told(conn, feeds);
    }

    /// Subscriptions that were asked for and that the exchange doesn't list.
    pub(crate) fn unlisted(&mut self, now: Instant) -> Vec<Unlisted> {
        self.listed.missing(now)
    }

    /// Whether another connection than this one has the feed.
    pub(crate) fn is_elsewhere(&self, conn: u32, feed: FeedIndex) -> bool {
        self.listed.is_elsewhere(conn, feed)
    }

    /// The connections on which a feed would be subscribed anew: this one where it is open, all of the feed's for 0.
    pub(crate) fn carriers(&self, feed: FeedIndex, conn: u32) -> Vec<u32> {
        let slot = self.slots.iter().find(|slot| slot.feeds.contains_key(&feed));
        let conns = slot.into_iter().flat_map(|slot| slot.conns.iter().copied());
        conns.filter(|open| conn == 0 || *open == conn).collect()
    }

    /// Ends a feed's subscription and begins it again, on the connections of [`Self::carriers`]. `ending` as in [`Self::remove`].
    pub(crate) fn resubscribe(&mut self, feed: FeedIndex, conn: u32, ending: impl Fn(u32) -> Option<String>) {
        let conns = self.carriers(feed, conn);
        let Some(link) = self.slots.iter().position(|slot| slot.feeds.contains_key(&feed)) else { return };
        let Some((symbol, channel)) = self.slots[link].feeds.get(&feed).cloned() else { return };
        for conn in conns {
            if !self.slots[link].forget_waiting(feed, conn) {
                self.unsubscribe(link, conn, &(symbol.clone(), channel), &ending);
            }
            self.subscribe(link, conn, &[(feed, symbol.clone(), channel)]);
        }
    }

    /// Sends pings of the exchange's own kind where it asks for them and their time has come.
    pub(crate) fn ping_due(&mut self, now: Instant) {
        let Some(every) = self.adapter.limits().client_ping_interval else { return };
        if self.pinged.is_some_and(|at| now.duration_since(at) < every) {
            return;
        }
        self.pinged = Some(now);
        for slot in &mut self.slots {
            for conn in slot.conns.clone() {
                slot.say(conn, |id| self.adapter.ping(id));
            }
        }
    }

    /// Answers the exchange, which asked for a sign of life on this connection.
    pub(crate) fn pong(&mut self, conn: u32) {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.conns.contains(&conn)) else { return };
        slot.say(conn, |id| self.adapter.pong(id));
    }

    /// The feeds of a link.
    pub(crate) fn feeds(&self, link: usize) -> impl Iterator<Item = FeedIndex> + '_ {
        self.slots[link].feeds.keys().copied()
    }

    /// Whether a link has an open connection.
    pub(crate) fn is_connected(&self, link: usize) -> bool {
        !self.slots[link].conns.is_empty()
    }

    /// The exchange's name of the socket that a link leads to.
    pub(crate) fn socket(&self, link: usize) -> &'static str {
        self.adapter.sockets().get(self.slots[link].socket).map_or("", |socket| socket.name)
    }

    /// The numbers of all open connections, each with the name of its socket.
    pub(crate) fn conns(&self) -> impl Iterator<Item = (u32, &'static str)> + '_ {
        let slots = self.slots.iter().enumerate();
        slots.flat_map(move |(link, slot)| slot.conns.iter().map(move |conn| (*conn, self.socket(link))))
    }

    /// The feeds that a message subscribed on this connection; none when it is not remembered. All of the connection for message 0,
    /// which is none: the exchange doesn't say which it was.
    pub(crate) fn feeds_of_message(&self, conn: u32, id: u64) -> Vec<FeedIndex> {
        if id == 0 {
            let slots = self.slots.iter().filter(|slot| slot.conns.contains(&conn));
            return slots.flat_map(|slot| slot.feeds.keys().copied()).collect();
        }
        let messages = self.slots.iter().flat_map(|slot| &slot.messages);
        messages.filter(|(c, i, _)| *c == conn && *i == id).flat_map(|(.., feeds)| feeds.iter().copied()).collect()
    }

    /// Connections open now.
    pub(crate) fn connections(&self) -> usize {
        self.slots.iter().map(|s| s.conns.len()).sum()
    }

    /// The next event of any link, with the link's number; frames are in `batch`. Each link gets its turn.
    pub(crate) fn poll_next(&mut self, batch: &mut FrameBatch, cx: &mut Context<'_>) -> Poll<(usize, LinkEvent)> {
        let count = self.slots.len();
        for offset in 0..count {
            let index = (self.turn + offset) % count;
            if let Poll::Ready(event) = self.slots[index].link.poll_next(cx, batch) {
                self.turn = index + 1;
                return Poll::Ready((index, event));
            }
        }
        Poll::Pending
    }

    /// What was received before [`Self::close`] and not taken yet.
    pub(crate) fn take_left(&mut self, batch: &mut FrameBatch) -> Option<(usize, LinkEvent)> {
        let mut slots = self.slots.iter_mut().enumerate();
        slots.find_map(|(index, slot)| slot.link.try_next(batch).map(|event| (index, event)))
    }

    /// A connection opened: subscribes the link's feeds on it, and lets one that it replaces go a little later. Says whether the link
    /// had a connection before.
    pub(crate) fn opened(&mut self, link: usize, conn: u32, replaces: Option<u32>, now: Instant) -> bool {
        let slot = &mut self.slots[link];
        let again = std::mem::replace(&mut slot.was_open, true);
        slot.conns.push(conn);
        slot.retiring = replaces.map(|old| (old, now + OVERLAP));
        let feeds: Vec<_> = slot.feeds.iter().map(|(index, (symbol, channel))| (*index, symbol.clone(), *channel)).collect();
        info!(conn, ?replaces, feeds = feeds.len(), "connected to the exchange");
        slot.say(conn, |id| self.adapter.greeting(id));
        self.subscribe(link, conn, &feeds);
        again
    }

    /// A connection ended; says whether the link has another one.
    pub(crate) fn closed(&mut self, link: usize, conn: u32) -> bool {
        let slot = &mut self.slots[link];
        slot.conns.retain(|c| *c != conn);
        slot.waiting.retain(|(_, on)| *on != conn);
        self.listed.closed(conn);
        if slot.retiring.is_some_and(|(old, _)| old == conn) {
            slot.retiring = None;
        }
        !slot.conns.is_empty()
    }

    /// Asks for a new connection in the place of this one, which ends only when the new one delivers.
    pub(crate) fn replace(&mut self, conn: u32) {
        for slot in &mut self.slots {
            if slot.conns.contains(&conn) {
                slot.link.replace(conn);
            }
        }
    }

    /// Lets replaced connections go whose time has come.
    pub(crate) fn retire_due(&mut self, now: Instant) {
        for slot in &mut self.slots {
            if let Some((old, at)) = slot.retiring
                && now >= at
            {
                slot.retiring = None;
                slot.link.retire(old);
            }
        }
    }

    /// Closes all connections, in bounded time.
    pub(crate) async fn close(&mut self) {
        for slot in &mut self.slots {
            slot.link.close().await;
        }
    }

    fn subscribe(&mut self, link: usize, conn: u32, feeds: &[(FeedIndex, Symbol, Channel)]) {
        if feeds.is_empty() {
            return;
        }
        let slot = &mut self.slots[link];
        let now = Instant::now();
        feeds.iter().for_each(|(feed, ..)| self.listed.asked(conn, *feed, now));
        let keys: Vec<_> = feeds.iter().map(|(_, symbol, channel)| (symbol.clone(), *channel)).collect();
        let messages = self.adapter.subscribe(&keys, &self.markets, slot.next_message_id);
        for message in &messages {
            let about = message.feeds.iter().filter_map(|place| feeds.get(*place)).map(|(index, ..)| *index);
            slot.messages.push_back((conn, message.id, about.collect()));
        }
        while slot.messages.len() > MESSAGES_KEPT {
            slot.messages.pop_front();
        }
        slot.next_message_id += messages.len() as u64;
        send(&slot.link, conn, messages);
    }
}

impl Slot {
    /// Whether a feed was yet to be subscribed on a connection; now it isn't any more.
    fn forget_waiting(&mut self, feed: FeedIndex, conn: u32) -> bool {
        let count = self.waiting.len();
        self.waiting.retain(|waiting| *waiting != (feed, conn));
        self.waiting.len() < count
    }

    /// Sends a message that is about no feed, where there is one to send.
    fn say(&mut self, conn: u32, text: impl FnOnce(u64) -> Option<String>) {
        let id = self.next_message_id;
        let Some(text) = text(id) else { return };
        self.next_message_id += 1;
        send(&self.link, conn, vec![ClientMessage { text, id, feeds: Vec::new() }]);
    }
}

fn send(link: &Link, conn: u32, messages: Vec<ClientMessage>) {
    for message in messages {
        if let Err(error) = link.send(conn, message.text) {
            // A connection whose queue is full is not taking anything: begin anew on another one.
            warn!(conn, error = %chain(&error), "could not send a message; replacing the connection");
            link.replace(conn);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use dccd_exchange::{AdapterOptions, Product, adapter};
    use futures_util::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn each_feed_is_on_a_link_to_its_own_socket() {
        let bybit = adapter("bybit", &AdapterOptions::default()).unwrap();
        // Nobody listens there; links are made all the same.
        let base = |socket: Socket| match socket.product {
            Product::Spot => Some("ws://127.0.0.1:1".to_owned()),
            Product::Linear => Some("ws://127.0.0.1:2/prefix".to_owned()),
        };
        let http = crate::tickets::client("http://127.0.0.1:1");
        let options = Links::options(&bybit, base, &Arc::new(AtomicU32::new(1)), &http);
        let urls: Vec<&str> = options.iter().map(|options| options.url.as_str()).collect();
        assert_eq!(urls, ["ws://127.0.0.1:1/v5/public/spot", "ws://127.0.0.1:2/prefix/v5/public/linear"]);
        let mut links = Links::new(bybit, Arc::default(), options);
        let symbols = ["BTC/USDT:USDT", "BTC/USDT", "ETH/USDT:USDT", "ETH/USDT"];
        for (feed, symbol) in (0..).zip(symbols) {
            links.add(feed, &symbol.parse().unwrap(), Channel::Trades).unwrap();
        }
        let feeds: Vec<(&str, Vec<FeedIndex>)> =
            (0..2).map(|link| (links.socket(link), links.feeds(link).collect())).collect();
        assert_eq!(feeds, [("linear", vec![0, 2]), ("spot", vec![1, 3])]);
        assert_eq!(links.slots.len(), 2);
    }

    /// Deribit wants a message before all others, and an answer whenever it asks.
    #[tokio::test]
    async fn a_connection_is_greeted_before_it_is_subscribed_and_an_exchange_that_asks_is_answered() {
        let deribit = adapter("deribit", &AdapterOptions::default()).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("ws://{}", listener.local_addr().unwrap());
        let http = crate::tickets::client("http://127.0.0.1:1");
        let options = Links::options(&deribit, |_| Some(base.clone()), &Arc::new(AtomicU32::new(1)), &http);
        let mut links = Links::new(deribit, Arc::default(), options);
        links.add(0, &"BTC/USD:BTC".parse().unwrap(), Channel::Book).unwrap();
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            tokio_tungstenite::accept_async(stream).await.unwrap()
        });
        let mut batch = FrameBatch::new();
        let event = std::future::poll_fn(|cx| links.poll_next(&mut batch, cx));
        let (link, event) = tokio::time::timeout(Duration::from_secs(30), event).await.unwrap();
        let LinkEvent::Opened { conn, replaces } = event else { panic!("expected an opening, got {event:?}") };
        assert!(
            !links.opened(link, conn, replaces, Instant::now()),
            "the first connection of a link comes in no other's place"
        );
        links.pong(conn);
        links.pong(conn + 1);
        let mut socket = tokio::time::timeout(Duration::from_secs(30), server).await.unwrap().unwrap();
        for (id, method) in [(1, "set_heartbeat"), (2, "subscribe"), (3, "test")] {
            let message = tokio::time::timeout(Duration::from_secs(30), socket.next()).await.unwrap().unwrap().unwrap();
            let text = message.into_text().unwrap().to_string();
            assert!(text.contains(&format!("\"id\":{id},")) && text.contains(&format!("public/{method}\"")), "{text}");
        }
        // The subscription is known by the number that it had.
        assert_eq!((links.feeds_of_message(conn, 1), links.feeds_of_message(conn, 2)), (vec![], vec![0]));
    }

    #[tokio::test]
    async fn a_refusal_that_names_no_message_may_be_about_any_feed_of_its_connection() {
        let coinbase = adapter("coinbase", &AdapterOptions::default()).unwrap();
        let base = |_: Socket| Some("ws://127.0.0.1:1".to_owned());
        let http = crate::tickets::client("http://127.0.0.1:1");
        let options = Links::options(&coinbase, base, &Arc::new(AtomicU32::new(1)), &http);
        let mut links = Links::new(coinbase, Arc::default(), options);
        for (feed, channel) in (0..).zip([Channel::Trades, Channel::Book]) {
            links.add(feed, &"BTC/USD".parse().unwrap(), channel).unwrap();
        }
        links.slots[0].conns.push(7);
        let feeds: [Vec<FeedIndex>; 3] = [(7, 0), (7, 1), (8, 0)].map(|(conn, id)| links.feeds_of_message(conn, id));
        assert_eq!(feeds, [vec![0, 1], vec![], vec![]]);
    }

    #[tokio::test]
    async fn what_is_said_first_comes_first_and_a_numbered_subscription_is_ended_by_its_number() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("ws://{}", listener.local_addr().unwrap());
        let bitfinex = adapter("bitfinex", &AdapterOptions::default()).unwrap();
        let http = crate::tickets::client("http://127.0.0.1:1");
        let options = Links::options(&bitfinex, |_| Some(address.clone()), &Arc::new(AtomicU32::new(1)), &http);
        let mut links = Links::new(bitfinex, Arc::default(), options);
        links.add(0, &"BTC/USD".parse().unwrap(), Channel::Book).unwrap();
        let mut batch = FrameBatch::new();
        let accepted = async {
            let (stream, _) = listener.accept().await.unwrap();
            tokio_tungstenite::accept_async(stream).await.unwrap()
        };
        let (mut socket, (link, event)) = tokio::join!(accepted, std::future::poll_fn(|cx| links.poll_next(&mut batch, cx)));
        let LinkEvent::Opened { conn, .. } = event else { panic!("{event:?}") };
        let book = |id: u64| {
            format!(
                r#"{{"channel":"book","event":"subscribe","freq":"F0","len":"250","prec":"P0","subId":"{id}","symbol":"tBTCUSD"}}"#
            )
        };
        links.opened(link, conn, None, Instant::now());
        links.resubscribe(0, conn, |of| (of == conn).then(|| "the end".to_owned()));
        // The exchange never confirmed it: there is no number to end it by.
        links.resubscribe(0, 0, |_| None);
        links.remove(0, |of| (of == conn).then(|| "the very end".to_owned()));
        let conf = r#"{"event":"conf","flags":229376}"#.to_owned();
        for expected in [conf, book(2), "the end".to_owned(), book(4), book(5), "the very end".to_owned()] {
            assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap().as_str(), expected);
        }
    }

    #[tokio::test]
    async fn feeds_that_come_while_a_connection_is_open_share_a_message() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("ws://{}", listener.local_addr().unwrap());
        let kraken = adapter("kraken", &AdapterOptions::default()).unwrap();
        let http = crate::tickets::client("http://127.0.0.1:1");
        let options = Links::options(&kraken, |_| Some(address.clone()), &Arc::new(AtomicU32::new(1)), &http);
        let mut links = Links::new(kraken, Arc::default(), options);
        let symbols = ["BTC/USD", "ETH/USD", "SOL/USD", "XRP/USD", "ADA/USD"];
        let add = |links: &mut Links, feed: FeedIndex| {
            links.add(feed, &symbols[feed as usize].parse().unwrap(), Channel::Trades).unwrap();
        };
        add(&mut links, 0);
        let mut batch = FrameBatch::new();
        let accepted = async {
            let (stream, _) = listener.accept().await.unwrap();
            tokio_tungstenite::accept_async(stream).await.unwrap()
        };
        let (mut socket, (link, event)) = tokio::join!(accepted, std::future::poll_fn(|cx| links.poll_next(&mut batch, cx)));
        let LinkEvent::Opened { conn, .. } = event else { panic!("{event:?}") };
        // One that comes before the connection is known is subscribed with the first.
        add(&mut links, 1);
        links.opened(link, conn, None, Instant::now());
        for feed in 2..5 {
            add(&mut links, feed);
        }
        // It was never subscribed, so there is nothing to end.
        links.remove(3, |_| None);
        links.subscribe_waiting();
        links.subscribe_waiting();
        links.remove(4, |_| None);
        for (method, about) in [("subscribe", &[0, 1][..]), ("subscribe", &[2, 4]), ("unsubscribe", &[4])] {
            let text = socket.next().await.unwrap().unwrap().into_text().unwrap().to_string();
            let named: Vec<usize> = (0..5).filter(|at| text.contains(symbols[*at])).collect();
            assert!(named == about && text.contains(&format!("\"method\":\"{method}\"")), "{text}");
        }
    }

    #[tokio::test]
    async fn perpetuals_have_their_trades_on_another_socket_than_their_books_with_limits_of_their_own() {
        let binance = adapter("binance", &AdapterOptions::default()).unwrap();
        let base = |socket: Socket| match socket.product {
            Product::Spot => Some("ws://127.0.0.1:1".to_owned()),
            Product::Linear => Some("ws://127.0.0.1:2".to_owned()),
        };
        let http = crate::tickets::client("http://127.0.0.1:1");
        let options = Links::options(&binance, base, &Arc::new(AtomicU32::new(1)), &http);
        let urls: Vec<&str> = options.iter().map(|options| options.url.as_str()).collect();
        let spot = "ws://127.0.0.1:1/stream?timeUnit=MICROSECOND";
        assert_eq!(urls, [spot, "ws://127.0.0.1:2/public/stream", "ws://127.0.0.1:2/market/stream"]);
        assert_eq!(options.iter().map(|o| o.messages_per_second).collect::<Vec<_>>(), [5, 10, 10]);
        let mut links = Links::new(binance, Arc::default(), options);
        let mut feed = 0;
        for symbol in (0..201).map(|i| format!("C{i}/USDT:USDT")).chain((0..201).map(|i| format!("C{i}/USDT"))) {
            for channel in [Channel::Trades, Channel::Quotes] {
                links.add(feed, &symbol.parse().unwrap(), channel).unwrap();
                feed += 1;
            }
        }
        let mut carried: Vec<_> = (0..links.slots.len()).map(|at| (links.socket(at), links.feeds(at).count())).collect();
        carried.sort_unstable();
        let of = |name, counts: [usize; 2]| counts.map(|count| (name, count));
        let expected = [vec![("", 402)], of("usdm/market", [1, 200]).to_vec(), of("usdm/public", [1, 200]).to_vec()];
        assert_eq!(carried, expected.concat());
    }
}
