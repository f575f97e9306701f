//! A successor until it takes over: it is connected, keeps what it receives until the process before it has journaled it, and knows which
//! feeds it has. Runs on what becomes the hot thread, so that its connections go on there.
//!
//! What it keeps is bounded: beyond that it doesn't read from the exchange until the other process has taken something.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use dccd_exchange::{Adapter, FeedIndex, Markets, Notice, Output, Session, Want};
use dccd_model::{BookLevel, BookState, Candle, Channel, Entry, EntryKind, Gap, Quote, Symbol, Trade, UnixNanos};
use dccd_net::{FrameBatch, LinkEvent};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tracing::{info, warn};

use super::{Kind, Message, Peer};
use crate::clock;
use crate::hot::HotContext;
use crate::links::{Links, OVERLAP};

/// What is received and not journaled yet, at most.
const KEPT_BYTES_MAX: usize = 64 << 20;
/// Pings, and whether all feeds are there, are looked at this often.
const TICK: Duration = Duration::from_millis(100);
/// Given up when no feed has come for this long ..
const PROGRESS: Duration = Duration::from_secs(45);
/// .. or so many attempts to connect have failed in a row: the exchange does not want so many connections.
const ATTEMPTS_FAILED_MAX: u32 = 5;

/// A feed that the successor is to have.
#[derive(Clone, Debug)]
pub(crate) struct WantedFeed {
    pub(crate) symbol: Symbol,
    pub(crate) channel: Channel,
    /// The configuration wants it.
    pub(crate) is_configured: bool,
    /// How many clients have opened it.
    pub(crate) holders: u32,
    /// The process before has it open.
    pub(crate) is_known: bool,
    /// The process before receives it, so it has to come here, too.
    pub(crate) is_required: bool,
}

/// How far the successor is.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// It hasn't all feeds yet; in words, what is missing.
    Connecting(String),
    /// All feeds come, and have for a while.
    Ready,
    /// The process before has left, or is gone.
    Alone(Alone),
    /// It can't be done; in words, why.
    Failed(String),
}

/// What the process before has said of the journal at last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Alone {
    /// It has left in order.
    pub(crate) has_left: bool,
    /// So many of our messages were in the journal ..
    pub(crate) taken: u64,
    /// .. up to this position, ..
    pub(crate) position: u64,
    /// .. at this time.
    pub(crate) ts: UnixNanos,
    /// Our connections.
    pub(crate) conns: BTreeSet<u32>,
}

/// What the successor is told.
pub(crate) enum Order {
    /// Have the other process leave.
    Leave,
    /// Become the hot thread. `journaled`: so many of the messages are in the journal, which ends at this time.
    TakeOver { ctx: Box<HotContext>, journaled: u64, ts: UnixNanos },
}

/// What the hot thread goes on with.
pub(crate) struct Succession {
    pub(crate) links: Links,
    /// By the links' present numbers.
    pub(crate) feeds: Vec<WantedFeed>,
    /// What was received and isn't in the journal.
    pub(crate) kept: VecDeque<Message>,
    /// The books as the process before had them.
    pub(crate) books: Vec<Message>,
    /// Connections of the process before which the journal takes for open.
    pub(crate) conns_left: Vec<u32>,
    /// When the journal ended.
    pub(crate) ts: UnixNanos,
}

/// What a successor begins with.
pub(crate) struct StandbyContext {
    pub(crate) adapter: Arc<dyn Adapter>,
    pub(crate) markets: Arc<Markets>,
    /// Without feeds.
    pub(crate) links: Links,
    pub(crate) feeds: Vec<WantedFeed>,
    pub(crate) peer: Peer,
    pub(crate) stages: watch::Sender<Stage>,
    /// Two at most ever come.
    pub(crate) orders: mpsc::Receiver<Order>,
}

/// A successor.
pub(crate) struct Standby {
    adapter: Arc<dyn Adapter>,
    links: Links,
    feeds: Vec<WantedFeed>,
    /// Tells what the messages mean; its records are nobody's.
    session: Box<dyn Session>,
    peer: Option<Peer>,
    stages: watch::Sender<Stage>,
    orders: mpsc::Receiver<Order>,
    kept: VecDeque<Message>,
    kept_bytes: usize,
    /// How many of the messages are kept no longer.
    dropped: u64,
    heard: Heard,
    /// Connections of which was said what they carry.
    told: HashSet<u32>,
    conns: BTreeSet<u32>,
    ready_since: Option<Instant>,
    /// How many feeds are missing, and since when it is no other number.
    progress: (usize, Instant),
    /// Attempts to connect that failed in a row.
    attempts_failed: u32,
    /// The other process is to leave.
    is_to_leave: bool,
    books: Vec<Message>,
    other_conns: Vec<u32>,
    alone: Alone,
    /// Why connections ended, or subscriptions were refused.
    reason: Option<String>,
}

/// What came of the messages.
#[derive(Default)]
struct Heard {
    /// The connection that they come on.
    conn: u32,
    /// Which connection is known to bring which feeds.
    feeds: BTreeSet<(u32, FeedIndex)>,
    acks: Vec<(u32, u64)>,
    wants: Vec<Want>,
    refused: Option<String>,
}

impl Output for Heard {
    fn trade(&mut self, feed: FeedIndex, _: &Trade) {
        self.feeds.insert((self.conn, feed));
    }
    fn quote(&mut self, feed: FeedIndex, _: &Quote) {
        self.feeds.insert((self.conn, feed));
    }
    fn level(&mut self, feed: FeedIndex, _: &BookLevel) {
        self.feeds.insert((self.conn, feed));
    }
    fn candle(&mut self, feed: FeedIndex, _: &Candle) {
        self.feeds.insert((self.conn, feed));
    }
    fn gap(&mut self, _: FeedIndex, _: &Gap) {}
    fn book_state(&mut self, _: FeedIndex, _: BookState, _: u32) {}
    fn want(&mut self, want: Want) {
        self.wants.push(want);
    }
    fn notice(&mut self, notice: Notice<'_>) {
        match notice {
            Notice::Ack { conn, id } => self.acks.push((conn, id)),
            Notice::Subscribed { conn, feeds, .. } => self.feeds.extend(feeds.iter().map(|feed| (conn, *feed))),
            Notice::ErrorReply { message, .. } | Notice::Refused { message, .. } => self.refused = Some(message.to_owned()),
            _ => {}
        }
    }
}

enum Wake {
    Tick,
    Order(Option<Order>),
    Link(usize, LinkEvent),
    Peer(io::Result<Message>),
}

impl Standby {
    /// Begins to connect. Within the runtime in which the connections are to live.
    pub(crate) fn new(ctx: StandbyContext) -> Self {
        let session = ctx.adapter.session(ctx.markets);
        let mut this = Self {
            adapter: ctx.adapter,
            links: ctx.links,
            feeds: Vec::new(),
            session,
            peer: Some(ctx.peer),
            stages: ctx.stages,
            orders: ctx.orders,
            kept: VecDeque::new(),
            kept_bytes: 0,
            dropped: 0,
            heard: Heard::default(),
            told: HashSet::new(),
            conns: BTreeSet::new(),
            ready_since: None,
            progress: (usize::MAX, Instant::now()),
            attempts_failed: 0,
            is_to_leave: false,
            books: Vec::new(),
            other_conns: Vec::new(),
            alone: Alone::default(),
            reason: None,
        };
        for feed in ctx.feeds {
            this.want(feed);
        }
        this
    }

    fn want(&mut self, feed: WantedFeed) {
        let Ok(index) = FeedIndex::try_from(self.feeds.len()) else { return };
        let subject = format!("{} {}", feed.symbol, feed.channel);
        let ts_recv = clock::now();
        self.apply(&Entry { kind: EntryKind::FeedOpened, conn: 0, ts_recv, subject: &subject, payload: b"" });
        if self.session.feeds().len() != self.feeds.len() + 1 {
            warn!(feed = subject, "a feed that cannot be opened here");
            return;
        }
        if let Err(error) = self.links.add(index, &feed.symbol, feed.channel) {
            self.reason = Some(crate::error::chain(&error));
        }
        self.feeds.push(feed);
    }

    /// Runs until it is to take over, or nobody is left who could tell it to.
    pub(crate) async fn run(mut self) -> Option<(Box<HotContext>, Succession)> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = FrameBatch::new();
        loop {
            match self.wait(&mut tick, &mut batch).await {
                Wake::Tick => {
                    if let Some(reason) = self.tick() {
                        self.stages.send_replace(Stage::Failed(reason));
                        return None;
                    }
                }
                Wake::Link(link, event) => self.link_event(link, event, &batch),
                Wake::Peer(Ok(message)) => {
                    if message.kind == Kind::Refused {
                        self.stages.send_replace(Stage::Failed(message.subject));
                        return None;
                    }
                    self.peer_said(message);
                }
                Wake::Peer(Err(error)) => {
                    info!(error = %error, has_left = self.alone.has_left, kept = self.kept.len(), "the process before is gone");
                    self.peer = None;
                    self.alone.conns.clone_from(&self.conns);
                    self.stages.send_replace(Stage::Alone(self.alone.clone()));
                }
                Wake::Order(None) => return None,
                Wake::Order(Some(Order::Leave)) => self.is_to_leave = true,
                Wake::Order(Some(Order::TakeOver { ctx, journaled, ts })) => {
                    self.drop_taken(journaled);
                    let conns_left = if self.alone.has_left { Vec::new() } else { self.other_conns };
                    let Self { links, feeds, kept, books, .. } = self;
                    return Some((ctx, Succession { links, feeds, kept, books, conns_left, ts }));
                }
            }
            self.settle();
        }
    }

    async fn wait(&mut self, tick: &mut Interval, batch: &mut FrameBatch) -> Wake {
        std::future::poll_fn(|cx| {
            if let Poll::Ready(order) = self.orders.poll_recv(cx) {
                return Poll::Ready(Wake::Order(order));
            }
            if let Some(Poll::Ready(said)) = self.peer.as_mut().map(|peer| peer.poll_next(cx)) {
                return Poll::Ready(Wake::Peer(said));
            }
            if tick.poll_tick(cx).is_ready() {
                return Poll::Ready(Wake::Tick);
            }
            if self.kept_bytes >= KEPT_BYTES_MAX {
                return Poll::Pending; // the tick looks again
            }
            self.links.poll_next(batch, cx).map(|(link, event)| Wake::Link(link, event))
        })
        .await
    }

    fn link_event(&mut self, link: usize, event: LinkEvent, batch: &FrameBatch) {
        match event {
            LinkEvent::Frames { conn } => {
                for frame in batch.frames() {
                    let (ts, payload) = (UnixNanos(frame.ts_recv), frame.bytes.clone());
                    self.keep(Message { kind: Kind::Frame, conn, ts, subject: String::new(), payload });
                }
            }
            LinkEvent::Opened { conn, replaces } => {
                let subject = self.links.socket(link).to_owned();
                self.conns.insert(conn);
                self.attempts_failed = 0;
                self.keep(Message { kind: Kind::Opened, conn, ts: clock::now(), subject, payload: Bytes::new() });
                self.links.opened(link, conn, replaces, Instant::now());
            }
            LinkEvent::Closed { conn, reason, .. } => {
                let subject = reason.to_string();
                warn!(conn, reason = subject, "a connection of the successor ended, or did not come about");
                self.links.closed(link, conn);
                self.heard.feeds.retain(|(on, _)| *on != conn);
                self.reason = Some(subject.clone());
                if !self.conns.contains(&conn) {
                    self.attempts_failed += 1;
                } else {
                    self.keep(Message { kind: Kind::Closed, conn, ts: clock::now(), subject, payload: Bytes::new() });
                }
            }
        }
    }

    /// Keeps a message until it is in the journal, and sends it there.
    fn keep(&mut self, message: Message) {
        if let Some(entry) = message.entry(message.ts) {
            self.apply(&entry);
        }
        if let Some(peer) = &mut self.peer {
            peer.push(&message);
        }
        self.kept_bytes += message.size();
        self.kept.push_back(message);
    }

    fn apply(&mut self, entry: &Entry<'_>) {
        self.heard.conn = entry.conn;
        self.session.apply(entry, &mut self.heard);
    }

    fn drop_taken(&mut self, taken: u64) {
        while self.dropped < taken
            && let Some(message) = self.kept.pop_front()
        {
            self.kept_bytes = self.kept_bytes.saturating_sub(message.size());
            self.dropped += 1;
        }
    }

    fn peer_said(&mut self, message: Message) {
        let number = |bytes: &[u8]| bytes.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        match message.kind {
            Kind::Taken => {
                self.alone.taken = number(&message.payload);
                self.alone.position = message.payload.get(8..).map_or(0, number);
                self.alone.ts = message.ts;
                self.drop_taken(self.alone.taken);
            }
            Kind::Conns => {
                let (conns, _) = message.payload.as_chunks::<4>();
                self.other_conns = conns.iter().map(|conn| u32::from_le_bytes(*conn)).collect();
            }
            Kind::Book => self.books.push(message),
            Kind::Left => self.alone.has_left = true,
            // Not for us.
            Kind::Opened | Kind::Frame | Kind::Closed | Kind::Carries | Kind::Leave | Kind::Refused => {}
        }
    }

    /// What the messages asked for. Books begin with what comes on connections, or go on from the other process; nothing is fetched.
    fn settle(&mut self) {
        for (conn, id) in std::mem::take(&mut self.heard.acks) {
            self.heard.feeds.extend(self.links.feeds_of_message(conn, id).into_iter().map(|feed| (conn, feed)));
        }
        for want in std::mem::take(&mut self.heard.wants) {
            match want {
                Want::Pong { conn } => self.links.pong(conn),
                Want::Replace { conn } => self.links.replace(conn),
                Want::BookSnapshot { .. } | Want::Trades { .. } | Want::Resubscribe { .. } => {}
            }
        }
        if let Some(reason) = self.heard.refused.take() {
            self.reason = Some(format!("the exchange refuses a subscription: {reason}"));
        }
    }

    /// `Some`: it can't be done; in words, why.
    fn tick(&mut self) -> Option<String> {
        let now = Instant::now();
        self.links.subscribe_waiting();
        self.links.retire_due(now);
        self.links.ping_due(now);
        // Alone there is nothing to wait for, and nobody else to leave it to.
        self.peer.as_ref()?;
        if let Some((count, missing)) = self.missing() {
            self.ready_since = None;
            if count != self.progress.0 {
                self.progress = (count, now);
            }
            let why = if self.attempts_failed >= ATTEMPTS_FAILED_MAX {
                Some(format!("could not connect {} times", self.attempts_failed))
            } else {
                let waited = now.duration_since(self.progress.1);
                (waited >= PROGRESS).then(|| format!("got no further for {} s", waited.as_secs()))
            };
            let failed = why.map(|why| format!("{why}: {missing} did not come"));
            self.stages.send_replace(Stage::Connecting(missing));
            return failed;
        }
        if now.duration_since(*self.ready_since.get_or_insert(now)) < OVERLAP {
            return None;
        }
        self.tell_what_is_carried();
        if self.is_to_leave
            && let Some(peer) = &mut self.peer
        {
            self.is_to_leave = false;
            peer.push(&Message::new(Kind::Leave, "", Bytes::new()));
        }
        if !matches!(*self.stages.borrow(), Stage::Ready) {
            self.stages.send_replace(Stage::Ready);
        }
        None
    }

    /// How many feeds don't come yet, and which, in words; `None`: all do.
    fn missing(&self) -> Option<(usize, String)> {
        let unbegun: HashSet<FeedIndex> = self.session.outstanding().iter().filter_map(Want::resubscribes).collect();
        let carried: HashSet<FeedIndex> = self.heard.feeds.iter().map(|(_, feed)| *feed).collect();
        let is_missing = |(index, feed): &(FeedIndex, &WantedFeed)| {
            let is_built = self.adapter.capabilities().builds(feed.channel);
            let begins = feed.channel != Channel::Book || !unbegun.contains(index);
            feed.is_required && !is_built && !(carried.contains(index) && begins)
        };
        let mut missing = (0..).zip(&self.feeds).filter(is_missing);
        let (_, first) = missing.next()?;
        let count = missing.count();
        let others = match count {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        let reason = self.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        Some((count + 1, format!("{} {}{others}{reason}", first.symbol, first.channel)))
    }

    /// Has the other process journal which feeds come on which connection, once for each.
    fn tell_what_is_carried(&mut self) {
        let mut carried: BTreeMap<u32, String> = BTreeMap::new();
        for (conn, feed) in self.heard.feeds.iter().filter(|(conn, _)| !self.told.contains(conn)) {
            let Some(feed) = self.feeds.get(*feed as usize).filter(|feed| feed.is_known) else { continue };
            let lines = carried.entry(*conn).or_default();
            lines.push_str(&format!("{} {}\n", feed.symbol, feed.channel));
        }
        for (conn, lines) in carried {
            self.told.insert(conn);
            let (ts, payload) = (clock::now(), Bytes::from(lines));
            self.keep(Message { kind: Kind::Carries, conn, ts, subject: String::new(), payload });
        }
    }
}
