//! The hot thread: socket → journal → session → rings. It waits for nobody but the socket.
//!
//! Frames go into the journal's batch before they are interpreted, and the batch to the system right after, before readers
//! are woken and before the next frame is looked at (docs/decisions/0001). When the journal can't take them (no space), live rings go on, the
//! state says so, and recording resumes by itself with a `Lost` entry that declares the hole.

mod feeds;
mod joined;
mod takeover;
mod watch;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use dccd_exchange::{Adapter, FeedIndex, Markets, RESYNC_SILENT, Session, Want};
use dccd_model::{Channel, Entry, EntryKind, Symbol, UnixNanos};
use dccd_net::{FrameBatch, LinkEvent};
use dccd_rpc::datad::{BookSnapshot, FeedInfo};
use dccd_store::Position;
use dccd_store::journal::JournalWriter;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tracing::{error, info, warn};

use crate::bus::{Bus, BusFeed};
use crate::candles::LiveCandles;
use crate::clock;
use crate::fetch::FetchRequest;
use crate::handover::{Message, Succession};
use crate::journaling::Journaling;
use crate::latency::Latency;
use crate::links::Links;
use crate::output::{About, LiveOutput, Refusal};
use crate::recorder::{LIVE_ONLY, RECORDED, Stored};
use crate::resubscribe::Resubscribes;
use crate::shared::Shared;
use crate::silence::Silence;

/// Heartbeats, retries and planned replacements are looked at this often.
const TICK: Duration = Duration::from_millis(250);
/// Whether feeds say nothing is looked at this often.
const SILENCE_LOOK: Duration = Duration::from_secs(1);
/// A snapshot that was asked for and never came (its requests failed) is asked for again after this time.
const BOOK_RETRY: Duration = Duration::from_secs(5);
/// After so many turns that began with frames, one begins with commands and ticks.
const FRAME_TURNS: u32 = 32;

/// What other threads ask of the hot thread. The queue holds 256; a full one makes the asker wait.
pub(crate) enum Command {
    /// Open a feed, or join it. `configured`: the configuration wants it, so it is recorded and no client closes it.
    OpenFeed { symbol: Symbol, channel: Channel, configured: bool, reply: oneshot::Sender<Result<FeedInfo, String>> },
    /// Where series end in the store of which the journal says nothing yet; told before they are opened to be recorded.
    Stored { ends: Stored },
    /// Take one opening back.
    CloseFeed { symbol: Symbol, channel: Channel, reply: oneshot::Sender<Result<FeedInfo, String>> },
    /// The configuration wants this feed no more; answered when that is done.
    ReleaseFeed { symbol: Symbol, channel: Channel, reply: oneshot::Sender<()> },
    /// The configuration's feeds are open now: what an earlier process had open besides goes on where a client opened it,
    /// and ends where the configuration did.
    ConfiguredOpen,
    /// The state of all feeds.
    Feeds { reply: oneshot::Sender<Vec<FeedInfo>> },
    /// A book.
    Book { symbol: Symbol, depth: usize, reply: oneshot::Sender<Result<BookSnapshot, String>> },
    /// A REST answer that a session wanted.
    Fetched { subject: String, body: bytes::Bytes },
    /// Whether a market traded while one of its feeds said nothing; `None`: nobody could say.
    Traded { traded: Option<bool> },
    /// The list of markets has grown, and the recorder knows.
    MarketsGrew { markets: Arc<Markets> },
    /// Where the journal ends now.
    JournalEnd { reply: oneshot::Sender<Position> },
    /// A successor of this process is at the other end of this.
    Join { stream: std::os::unix::net::UnixStream, reply: oneshot::Sender<Result<(), String>> },
    /// Let the successor have all that it needs, commit, and end; answers with the journal.
    Leave { reply: oneshot::Sender<JournalWriter> },
    /// Disconnect, commit, and end; answers with the journal, which locks out every other writer of this store until the
    /// recorder has written what is in it.
    Stop { reply: oneshot::Sender<JournalWriter> },
}

/// What the hot thread is given.
pub(crate) struct HotContext {
    /// The exchange's adapter.
    pub(crate) adapter: Arc<dyn Adapter>,
    /// Its markets.
    pub(crate) markets: Arc<Markets>,
    /// A session that stands where the journal ends.
    pub(crate) session: Box<dyn Session>,
    /// Which of its feeds are recorded, by index.
    pub(crate) recorded: Vec<bool>,
    /// The journal.
    pub(crate) journal: JournalWriter,
    /// The feed bus.
    pub(crate) bus: Bus,
    /// Live candles, where the journal ends.
    pub(crate) candles: LiveCandles,
    /// The connections.
    pub(crate) links: Links,
    /// What others ask.
    pub(crate) commands: mpsc::Receiver<Command>,
    /// Where wants go.
    pub(crate) fetches: mpsc::Sender<FetchRequest>,
    /// Counters.
    pub(crate) shared: Arc<Shared>,
    /// Counters that the root sees.
    pub(crate) progress: dccd_service::Progress,
    /// Triggered when a successor wants this process to leave.
    pub(crate) shutdown: dccd_service::Shutdown,
}

/// The loop and what it owns.
pub(crate) struct Hot {
    adapter: Arc<dyn Adapter>,
    markets: Arc<Markets>,
    session: Box<dyn Session>,
    recorded: Vec<bool>,
    /// Where series end in the store of which the journal says nothing yet.
    stored: Stored,
    journal: Journaling,
    bus: Bus,
    candles: LiveCandles,
    links: Links,
    commands: mpsc::Receiver<Command>,
    fetches: mpsc::Sender<FetchRequest>,
    shared: Arc<Shared>,
    progress: dccd_service::Progress,
    shutdown: dccd_service::Shutdown,
    joined: Option<joined::Joined>,
    wants: Vec<Want>,
    /// Subscriptions that the exchange refused.
    refusals: Vec<Refusal>,
    turn: u32,
    latency: Latency,
    /// When a snapshot of each book was last asked for.
    books_asked: HashMap<FeedIndex, Instant>,
    /// Books that begin with a snapshot on their connection, and are to begin anew.
    resubscribes: Resubscribes,
    /// Which feeds say nothing although they should.
    silence: Silence,
    /// Feeds that are to be subscribed anew because of that.
    silent: HashSet<FeedIndex>,
    /// Feeds that were asked for, and that the exchange doesn't list among what is subscribed.
    unlisted: HashSet<FeedIndex>,
    /// When they were last looked at.
    silence_looked: Instant,
}

enum Wake {
    Tick,
    Command(Option<Command>),
    Link(usize, LinkEvent),
    Joined(std::io::Result<Message>),
}

impl Hot {
    /// Takes over; nothing is connected before feeds are opened.
    pub(crate) fn new(ctx: HotContext) -> Self {
        let now = Instant::now();
        let resubscribes = Resubscribes::new(ctx.adapter.limits());
        Self {
            adapter: ctx.adapter,
            markets: ctx.markets,
            session: ctx.session,
            recorded: ctx.recorded,
            stored: Stored::new(),
            journal: Journaling::new(ctx.journal, ctx.shared.clone()),
            bus: ctx.bus,
            candles: ctx.candles,
            links: ctx.links,
            commands: ctx.commands,
            fetches: ctx.fetches,
            shared: ctx.shared,
            progress: ctx.progress,
            shutdown: ctx.shutdown,
            joined: None,
            wants: Vec::new(),
            refusals: Vec::new(),
            turn: 0,
            latency: Latency::new(now),
            books_asked: HashMap::new(),
            resubscribes,
            silence: Silence::new(now),
            silent: HashSet::new(),
            unlisted: HashSet::new(),
            silence_looked: now,
        }
    }

    /// Runs until it is told to stop or everybody who could tell it is gone. `succession`: what it takes over from another process.
    pub(crate) async fn run(mut self, succession: Option<Succession>) {
        match succession {
            Some(succession) => self.take_over(succession),
            None => self.process_restarted(),
        }
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = FrameBatch::default();
        loop {
            match self.wait(&mut tick, &mut batch).await {
                Wake::Tick => self.tick(),
                Wake::Link(link, event) => self.link_event(link, event, &mut batch),
                Wake::Command(Some(Command::Stop { reply })) => {
                    self.links.close().await;
                    while let Some((link, event)) = self.links.take_left(&mut batch) {
                        self.link_event(link, event, &mut batch);
                        self.settle();
                    }
                    self.journal.commit();
                    // The rings stay where they are: readers go on in them when this service starts again.
                    let _ = reply.send(self.journal.writer);
                    return;
                }
                Wake::Command(Some(Command::Leave { reply })) => {
                    self.leave(&mut batch).await;
                    let _ = reply.send(self.journal.writer);
                    return;
                }
                Wake::Joined(said) => self.joined_said(said),
                Wake::Command(Some(command)) => self.command(command),
                Wake::Command(None) => return,
            }
            self.settle();
            if self.journal.unusable {
                error!("the journal's disk failed; ending, so that a new process can open it again");
                return;
            }
        }
    }

    async fn wait(&mut self, tick: &mut Interval, batch: &mut FrameBatch) -> Wake {
        // Frames first; but under a load that never pauses, ticks and commands get a turn of their own now and then.
        self.turn = self.turn.wrapping_add(1);
        let links_first = !self.turn.is_multiple_of(FRAME_TURNS);
        let joined_first = self.turn.is_multiple_of(2);
        std::future::poll_fn(|cx| {
            let mut joined = |cx: &mut _| match self.joined.as_mut().map(|joined| joined.peer.poll_next(cx)) {
                Some(Poll::Ready(said)) => Poll::Ready(Wake::Joined(said)),
                _ => Poll::Pending,
            };
            if joined_first && let Poll::Ready(wake) = joined(cx) {
                return Poll::Ready(wake);
            }
            if links_first && let Poll::Ready((link, event)) = self.links.poll_next(batch, cx) {
                return Poll::Ready(Wake::Link(link, event));
            }
            if !joined_first && let Poll::Ready(wake) = joined(cx) {
                return Poll::Ready(wake);
            }
            if let Poll::Ready(command) = self.commands.poll_recv(cx) {
                return Poll::Ready(Wake::Command(command));
            }
            if tick.poll_tick(cx).is_ready() {
                return Poll::Ready(Wake::Tick);
            }
            if links_first {
                return Poll::Pending;
            }
            self.links.poll_next(batch, cx).map(|(link, event)| Wake::Link(link, event))
        })
        .await
    }

    /// Journals and applies one entry that is not a frame.
    fn enter(&mut self, kind: EntryKind, conn: u32, subject: &str, payload: &[u8]) {
        let entry = Entry { kind, conn, ts_recv: self.journal.clock.now(), subject, payload };
        self.journal.append(&entry);
        self.journal.commit();
        self.apply(&entry);
    }

    fn apply(&mut self, entry: &Entry<'_>) {
        let mut out = LiveOutput {
            bus: &mut self.bus,
            candles: &mut self.candles,
            wants: &mut self.wants,
            refusals: &mut self.refusals,
            shared: &self.shared,
            now: entry.ts_recv,
        };
        self.session.apply(entry, &mut out);
        self.candles.settle(entry.ts_recv, &mut self.bus);
        if matches!(entry.kind, EntryKind::FeedOpened | EntryKind::FeedClosed) {
            self.candles.follow(self.session.feeds(), &[]);
        }
    }

    /// The first entry of a process: whatever was connected before is not any more. Conn 0 stands for all.
    fn process_restarted(&mut self) {
        if !self.session.feeds().is_empty() {
            self.enter(EntryKind::Closed, 0, "process restarted", b"");
        }
    }

    fn link_event(&mut self, link: usize, event: LinkEvent, batch: &mut FrameBatch) {
        match event {
            LinkEvent::Frames { conn } => self.frames(conn, batch),
            LinkEvent::Opened { conn, replaces } => {
                self.shared.connects.fetch_add(1, Ordering::Relaxed);
                self.enter(EntryKind::Opened, conn, self.links.socket(link), b"");
                let now = Instant::now();
                if self.links.opened(link, conn, replaces, now) {
                    self.shared.reconnects.fetch_add(1, Ordering::Relaxed);
                }
                for feed in self.links.feeds(link) {
                    self.resubscribes.subscribed(feed, now);
                    self.silent.remove(&feed);
                    self.unlisted.remove(&feed);
                }
                self.show_connected(link);
            }
            LinkEvent::Closed { conn, reason, retry_in } => {
                let reason = reason.to_string();
                self.enter(EntryKind::Closed, conn, &reason, b"");
                let others = self.links.closed(link, conn);
                if others {
                    info!(conn, reason, "a connection ended; another one delivers");
                } else if retry_in.is_none() {
                    info!(conn, reason, "disconnected, as asked");
                } else {
                    warn!(conn, reason, ?retry_in, "disconnected from the exchange");
                }
                self.show_connected(link);
                let feeds: Vec<FeedIndex> = self.links.feeds(link).collect();
                let connected = self.links.is_connected(link);
                for feed in feeds {
                    if let Some(feed) = self.bus.get_mut(feed) {
                        feed.error = (!connected).then(|| reason.clone());
                    }
                }
            }
        }
        let connections = u32::try_from(self.links.connections()).unwrap_or(u32::MAX);
        self.shared.connections.store(connections, Ordering::Relaxed);
        self.tell_conns();
    }

    fn show_connected(&mut self, link: usize) {
        let connected = self.links.is_connected(link);
        let feeds: Vec<FeedIndex> = self.links.feeds(link).collect();
        for feed in feeds {
            self.bus.set_connected(feed, connected);
            if connected && let Some(feed) = self.bus.get_mut(feed) {
                feed.error = None;
            }
        }
    }

    /// The hot path: all frames that were there are put into the journal's batch, interpreted one by one, and the batch is
    /// handed to the system with one write before anything else is done.
    fn frames(&mut self, conn: u32, batch: &mut FrameBatch) {
        for frame in batch.frames_mut() {
            // The journal's times never go back, whatever the host's clock does; rings and store show the same ones.
            let ts_recv = self.journal.clock.at_least(UnixNanos(frame.ts_recv));
            frame.ts_recv = ts_recv.0;
            self.journal.append(&Entry { kind: EntryKind::Frame, conn, ts_recv, subject: "", payload: &frame.bytes });
        }
        let frames = batch.frames();
        for frame in frames {
            let entry = Entry {
                kind: EntryKind::Frame,
                conn,
                ts_recv: UnixNanos(frame.ts_recv),
                subject: "",
                payload: &frame.bytes,
            };
            let mut out = LiveOutput {
                bus: &mut self.bus,
                candles: &mut self.candles,
                wants: &mut self.wants,
                refusals: &mut self.refusals,
                shared: &self.shared,
                now: entry.ts_recv,
            };
            self.session.apply(&entry, &mut out);
            self.candles.settle(entry.ts_recv, &mut self.bus);
            let delay = clock::now().0.saturating_sub(frame.ts_recv);
            self.latency.record(u64::try_from(delay).unwrap_or(0));
        }
        self.journal.commit();
        self.shared.frames.fetch_add(frames.len() as u64, Ordering::Relaxed);
    }

    /// After each turn: readers are told, and what sessions and books asked for is passed on.
    fn settle(&mut self) {
        self.bus.end_batch();
        // Feeds that are opened one after the other are subscribed together; with a tick at the latest.
        if self.commands.is_empty() {
            self.links.subscribe_waiting();
        }
        self.shared.records.store(self.bus.records, Ordering::Relaxed);
        while let Some(index) = self.bus.crossed.pop() {
            if let Some(feed) = self.bus.get(index) {
                let subject = format!("{} {}", feed.symbol, feed.channel);
                warn!(feed = subject, "the book crossed itself; building it anew");
                self.enter(EntryKind::Resync, 0, &subject, b"best bid reached best ask");
            }
        }
        for refusal in std::mem::take(&mut self.refusals) {
            self.refused(&refusal);
        }
        for want in std::mem::take(&mut self.wants) {
            match want {
                Want::Replace { conn } => self.links.replace(conn),
                Want::Pong { conn } => self.links.pong(conn),
                Want::BookSnapshot { feed, .. } => {
                    self.books_asked.insert(feed, Instant::now());
                    self.fetch(want);
                }
                Want::Resubscribe { feed, conn, .. } => self.resubscribes.ask(feed, conn, Instant::now()),
                // The recorder asks for missing trades: it knows what the store lacks.
                Want::Trades { .. } => {}
            }
            self.resubscribe_due(Instant::now());
        }
    }

    /// Feeds that the exchange won't bring show why.
    fn refused(&mut self, Refusal { conn, id, about, reason }: &Refusal) {
        if let (0, About::AllBut(named)) = (*id, about) {
            return self.listed(*conn, named);
        }
        for index in self.links.feeds_of_message(*conn, *id) {
            let Some(feed) = self.bus.get_mut(index) else { continue };
            match about {
                About::All => {}
                About::Symbol(symbol) if feed.symbol == *symbol => {}
                About::AllBut(named) if !named.contains(&index) => {
                    warn!(conn, feed = format!("{} {}", feed.symbol, feed.channel), reason, "a subscription is refused");
                }
                About::Symbol(_) | About::AllBut(_) => continue,
            }
            feed.error = Some(reason.clone());
            self.bus.set_connected(index, false);
        }
    }

    /// Subscribes anew what is due to be.
    fn resubscribe_due(&mut self, now: Instant) {
        let (links, session, silent, unlisted) = (&self.links, &self.session, &self.silent, &self.unlisted);
        let is_asleep = |feed| silent.contains(&feed) || unlisted.contains(&feed);
        let is_wanted = |feed| is_asleep(feed) || session.outstanding().iter().any(|want| want.resubscribes() == Some(feed));
        let carriers = |feed, conn| if is_wanted(feed) { links.carriers(feed, conn) } else { Vec::new() };
        for attempt in self.resubscribes.take_due(now, carriers) {
            let Some(feed) = self.bus.get(attempt.feed) else { continue };
            let name = format!("{} {}", feed.symbol, feed.channel);
            let replaced = if attempt.replaces { self.links.carriers(attempt.feed, attempt.conn) } else { Vec::new() };
            warn!(feed = name, conn = attempt.conn, ?replaced, "no valid book; subscribing it anew");
            let session = &self.session;
            self.links.resubscribe(attempt.feed, attempt.conn, |conn| session.ending(attempt.feed, conn));
            if self.silent.remove(&attempt.feed) {
                // It may have woken up before: what comes between the two subscriptions is missing all the same.
                self.enter(EntryKind::Resync, 0, &name, RESYNC_SILENT.as_bytes());
            }
            replaced.into_iter().for_each(|conn| self.links.replace(conn));
        }
    }

    fn fetch(&self, want: Want) {
        if self.fetches.try_send(FetchRequest::Want(want)).is_err() {
            self.shared.fetches_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        self.shared.hot_turns.fetch_add(1, Ordering::Relaxed);
        self.bus.heartbeat(clock::now());
        self.links.subscribe_waiting();
        self.links.retire_due(now);
        self.links.ping_due(now);
        self.progress.set("turns", self.shared.hot_turns.load(Ordering::Relaxed));
        self.progress.set("frames", self.shared.frames.load(Ordering::Relaxed));
        self.progress.set("records", self.bus.records);
        if self.journal.retry_is_due(now) {
            self.resume_recording(now);
        }
        self.latency.show(&self.shared.frame_to_ring, now);
        if self.links.connections() > 0 {
            self.ask_for_books(now);
        }
        self.begin_disagreeing_anew();
        self.look_for_unlisted(now);
        self.resubscribe_due(now);
        if now.duration_since(self.silence_looked) >= SILENCE_LOOK {
            self.silence_looked = now;
            self.look_for_silence(now);
        }
    }

    /// Tries to record again. The live session missed nothing; it only learns, like the recorder's, that the store did.
    fn resume_recording(&mut self, now: Instant) {
        let mut world = vec![(EntryKind::Closed, 0, "not recorded".to_owned(), Vec::new())];
        world.extend(self.links.conns().map(|(conn, socket)| (EntryKind::Opened, conn, socket.to_owned(), Vec::new())));
        let mut told = Vec::new();
        for (index, feed) in (0..).zip(self.session.feeds()) {
            let kind = if feed.open { EntryKind::FeedOpened } else { EntryKind::FeedClosed };
            let subject = format!("{} {}", feed.symbol, feed.channel);
            let is_recorded = self.is_recorded(index);
            let series = (feed.symbol.clone(), feed.channel);
            if let Some(end) = self.stored.get(&series).filter(|_| is_recorded) {
                world.push((EntryKind::Stored, 0, subject.clone(), feeds::encode(end)));
                told.push(series);
            }
            world.push((kind, 0, subject, if is_recorded { RECORDED } else { LIVE_ONLY }.to_vec()));
        }
        if let Some((ts_recv, reason)) = self.journal.retry(now, &world) {
            told.iter().for_each(|series| drop(self.stored.remove(series)));
            self.apply(&Entry { kind: EntryKind::Lost, conn: 0, ts_recv, subject: &reason, payload: b"" });
        }
    }

    /// A session asks once. What an earlier process asked for, or what could not be had, is asked for again here.
    fn ask_for_books(&mut self, now: Instant) {
        for want in self.session.outstanding() {
            match want {
                Want::BookSnapshot { feed, .. }
                    if self.books_asked.get(&feed).is_none_or(|at| now.duration_since(*at) >= BOOK_RETRY) =>
                {
                    self.books_asked.insert(feed, now);
                    self.fetch(want);
                }
                Want::Resubscribe { feed, conn, .. } => self.resubscribes.remind(feed, conn, now),
                Want::BookSnapshot { .. } | Want::Trades { .. } | Want::Replace { .. } | Want::Pong { .. } => {}
            }
        }
    }

    /// What clients are told of a feed.
    fn info(&self, index: FeedIndex, feed: &BusFeed, now: UnixNanos) -> FeedInfo {
        let compared = self.candles.compared(index).map(|compared| (compared.agreed, compared.differed));
        let open_gaps = self.session.feed_status(index).open_gaps as u64;
        FeedInfo { compared, open_gaps, ..feed.info(self.is_recorded(index), now) }
    }

    fn command(&mut self, command: Command) {
        // Whoever asked may have given up waiting: an answer that nobody takes is no failure.
        match command {
            Command::ReleaseFeed { symbol, channel, reply } => {
                self.release_feed(&symbol, channel);
                let _ = reply.send(());
            }
            Command::OpenFeed { symbol, channel, configured, reply } => {
                let _ = reply.send(self.open_feed(symbol, channel, configured));
            }
            Command::Stored { ends } => self.stored.extend(ends),
            Command::CloseFeed { symbol, channel, reply } => {
                let _ = reply.send(self.close_feed(&symbol, channel));
            }
            Command::ConfiguredOpen => self.settle_left_feeds(),
            Command::Feeds { reply } => {
                let now = clock::now();
                let _ = reply.send(self.bus.iter().map(|(index, feed)| self.info(index, feed, now)).collect());
            }
            Command::Book { symbol, depth, reply } => {
                let book = self.bus.find(&symbol, Channel::Book).and_then(|index| self.bus.book(index, depth));
                let _ = reply.send(book.ok_or_else(|| format!("there is no open book of {symbol}; open its feed first")));
            }
            Command::Traded { traded } => {
                self.silence.answered(traded, Instant::now());
            }
            Command::MarketsGrew { markets } => {
                self.session.markets_grew(markets.clone());
                self.links.markets_grew(markets.clone());
                self.markets = markets;
            }
            Command::Fetched { subject, body } => self.enter(EntryKind::Response, 0, &subject, &body),
            Command::JournalEnd { reply } => {
                self.journal.commit();
                let _ = reply.send(self.journal.writer.position());
            }
            Command::Join { stream, reply } => {
                let _ = reply.send(self.join(stream));
            }
            Command::Leave { .. } | Command::Stop { .. } => {} // end the loop before they get here
        }
    }
}
