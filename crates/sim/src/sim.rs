//! Starting a simulated exchange on a thread of its own, and the handle that tests and programs hold.
//!
//! A thread of its own, because a test may stop the clock of its runtime, and a busy client must not slow the exchange down.

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread::JoinHandle;

use dccd_model::Decimal;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;

use crate::clock::now_ns;
use crate::error::SimError;
use crate::exchanges::kraken::KrakenStats;
use crate::faults::Fault;
use crate::hub::Core;
use crate::ledger::{LedgerRecord, LedgerWriter};
use crate::options::SimOptions;
use crate::replay::{self, ReplayState};
use crate::{exchanges, pulse, server};

/// Counters of a simulated exchange.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SimStats {
    /// Since the start.
    pub uptime_ms: u64,
    /// WebSocket connections that are open.
    pub connections: usize,
    /// WebSocket connections since the start.
    pub connections_opened: u32,
    /// Subscriptions to streams that exist, all connections together.
    pub subscriptions: usize,
    /// Text frames that sockets took.
    pub frames_sent: u64,
    /// Trades that happened since the start.
    pub trades_made: u64,
    /// Book changes without a trade since the start.
    pub book_updates_made: u64,
    /// REST requests since the start.
    pub rest_requests: u64,
    /// Bytes that wait for clients.
    pub queued_bytes: usize,
    /// Whether the market stands still.
    pub paused: bool,
    /// What a simulated Kraken has answered; absent for another exchange.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kraken: Option<KrakenStats>,
    /// How far a replay is; absent without one.
    pub replay: Option<ReplayProgress>,
}

/// How far a replay is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayProgress {
    /// Frames and snapshots in the recording.
    pub total: usize,
    /// How many of them have been passed.
    pub position: usize,
    /// Frames that found a subscriber.
    pub sent: u64,
    /// Frames that nobody had subscribed to.
    pub unwanted: u64,
    /// Whether it has begun, and is not waiting for subscribers.
    pub started: bool,
    /// Whether the last frame was sent.
    pub done: bool,
}

/// A book of the exchange, as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimBook {
    /// The last change it contains.
    pub update_id: u64,
    /// Price and amount, best first.
    pub bids: Vec<(Decimal, Decimal)>,
    /// Price and amount, best first.
    pub asks: Vec<(Decimal, Decimal)>,
}

enum Command {
    Fault(Fault, oneshot::Sender<Result<String, String>>),
    Stats(oneshot::Sender<SimStats>),
    Book(String, oneshot::Sender<Option<SimBook>>),
    TradeIds(String, oneshot::Sender<Option<(u64, u64)>>),
    Pause(bool, oneshot::Sender<()>),
    SpeedUp(f64, oneshot::Sender<()>),
    ReplayStart(oneshot::Sender<()>),
    FlushLedger(oneshot::Sender<oneshot::Receiver<()>>),
}

/// Commands that may wait; a sender waits when there are more.
const COMMANDS: usize = 64;

/// A simulated exchange.
#[derive(Debug)]
pub struct Sim;

impl Sim {
    /// Starts an exchange; it serves from the moment this returns until [`SimHandle::stop`] or the handle's end.
    ///
    /// # Errors
    /// When an option is wrong, the port can't be opened, or a recording or the ledger can't be.
    pub async fn start(options: SimOptions) -> Result<SimHandle, SimError> {
        let (commands, orders) = mpsc::channel(COMMANDS);
        let (started, starting) = oneshot::channel();
        let (stop, stopping) = watch::channel(false);
        let (replay_done, replay_watch) = watch::channel(false);
        let ledger = options.ledger.clone();
        let thread = std::thread::Builder::new()
            .name("dccd-sim".to_owned())
            .spawn(move || live(options, orders, stopping, replay_done, started))
            .map_err(|source| SimError::Thread { source })?;
        let address = starting.await.map_err(|_| SimError::Stopped)??;
        Ok(SimHandle { address, commands, stop, thread: Some(thread), ledger, replay_watch })
    }
}

/// A running exchange. Dropped, it stops it without waiting.
#[derive(Debug)]
pub struct SimHandle {
    address: SocketAddr,
    commands: mpsc::Sender<Command>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    ledger: Option<PathBuf>,
    replay_watch: watch::Receiver<bool>,
}

impl SimHandle {
    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Base address of the REST side.
    #[must_use]
    pub fn rest_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Base address of the WebSocket side; Binance's `/ws` and `/stream` or Kraken's `/v2` come behind it.
    #[must_use]
    pub fn ws_url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// The ledger's file, if there is one. See [`SimHandle::flush_ledger`].
    #[must_use]
    pub fn ledger(&self) -> Option<&Path> {
        self.ledger.as_deref()
    }

    /// Commands for faults, to be handed around.
    #[must_use]
    pub fn faults(&self) -> FaultInjector {
        FaultInjector { commands: self.commands.clone() }
    }

    /// Returns when everything that happened so far stands in the ledger's file.
    ///
    /// # Errors
    /// When the exchange has stopped.
    pub async fn flush_ledger(&self) -> Result<(), SimError> {
        let written = self.ask(Command::FlushLedger).await?;
        // An error means that there is no ledger, or that it can't be written: it said so in the log.
        let _ = written.await;
        Ok(())
    }

    /// Counters.
    ///
    /// # Errors
    /// When the exchange has stopped.
    pub async fn stats(&self) -> Result<SimStats, SimError> {
        self.ask(Command::Stats).await
    }

    /// The book of a unified symbol, all levels; `None` when there is no such symbol.
    ///
    /// # Errors
    /// When the exchange has stopped.
    pub async fn book(&self, symbol: &str) -> Result<Option<SimBook>, SimError> {
        self.ask(|answer| Command::Book(symbol.to_owned(), answer)).await
    }

    /// First and last id of the trades that REST can still give for a unified symbol.
    ///
    /// # Errors
    /// When the exchange has stopped.
    pub async fn trade_ids(&self, symbol: &str) -> Result<Option<(u64, u64)>, SimError> {
        self.ask(|answer| Command::TradeIds(symbol.to_owned(), answer)).await
    }

    /// Stops the market (or replay) where it is; connections live on, pending diffs still go out.
    ///
    /// # Errors
    /// When the exchange has stopped.
    pub async fn pause(&self) -> Result<(), SimError> {
        self.ask(|answer| Command::Pause(true, answer)).await
    }

    /// Lets a paused market go on.
    ///
    /// # Errors
    /// When the exchange has stopped.
    pub async fn resume(&self) -> Result<(), SimError> {
        self.ask(|answer| Command::Pause(false, answer)).await
    }

    /// Lets the invented market go on faster by this factor, or slower by one below 1. The proportion of its events stays.
    ///
    /// # Errors
    /// [`SimError::Option`] when the factor is no positive number; when the exchange has stopped.
    pub async fn speed_up(&self, factor: f64) -> Result<(), SimError> {
        if !(factor.is_finite() && factor > 0.0) {
            return Err(SimError::Option { name: "speed", text: factor.to_string(), expected: "a positive number" });
        }
        self.ask(|answer| Command::SpeedUp(factor, answer)).await
    }

    /// Begins a replay that waits for this ([`crate::ReplayStart::Command`]), or at once whatever it waits for.
    ///
    /// # Errors
    /// When the exchange has stopped.
    pub async fn replay_start(&self) -> Result<(), SimError> {
        self.ask(Command::ReplayStart).await
    }

    /// Whether a replay has sent its last frame.
    #[must_use]
    pub fn replay_done(&self) -> bool {
        *self.replay_watch.borrow()
    }

    /// Returns when a replay has sent its last frame, or the exchange has stopped.
    pub async fn wait_replay_done(&self) {
        let mut watch = self.replay_watch.clone();
        let _ = watch.wait_for(|done| *done).await;
    }

    /// Ends the exchange and waits until its connections are closed and the ledger is written.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        self.commands.closed().await;
        if let Some(thread) = self.thread.take() {
            // It has nothing left to do but to write the ledger.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, SimError> {
        ask(&self.commands, command).await
    }
}

impl Drop for SimHandle {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

async fn ask<T>(
    commands: &mpsc::Sender<Command>,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Result<T, SimError> {
    let (answer, wait) = oneshot::channel();
    commands.send(command(answer)).await.map_err(|_| SimError::Stopped)?;
    wait.await.map_err(|_| SimError::Stopped)
}

/// Brings faults about on command.
#[derive(Clone, Debug)]
pub struct FaultInjector {
    commands: mpsc::Sender<Command>,
}

impl FaultInjector {
    /// Brings a fault about, or arms it for the frames or requests it waits for. What it did, in words.
    ///
    /// # Errors
    /// When the fault can't happen here (an unknown symbol, say), or the exchange has stopped.
    pub async fn inject(&self, fault: Fault) -> Result<String, InjectError> {
        let outcome = ask(&self.commands, |answer| Command::Fault(fault, answer)).await;
        outcome.map_err(|_| InjectError::Stopped)?.map_err(|reason| InjectError::Refused { reason })
    }
}

/// Why a fault did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InjectError {
    /// It can't happen here.
    #[error("the fault can't happen: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// There is no exchange any more.
    #[error("the simulated exchange has stopped")]
    Stopped,
}

/// The exchange's thread.
fn live(
    options: SimOptions,
    orders: mpsc::Receiver<Command>,
    stopping: watch::Receiver<bool>,
    replay_done: watch::Sender<bool>,
    started: oneshot::Sender<Result<SocketAddr, SimError>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => {
            let _ = started.send(Err(SimError::Thread { source }));
            return;
        }
    };
    let local = LocalSet::new();
    let core = local.block_on(&runtime, async {
        let (core, listener, address) = match prepare(options) {
            Ok(prepared) => prepared,
            Err(error) => {
                let _ = started.send(Err(error));
                return None;
            }
        };
        if started.send(Ok(address)).is_err() {
            return None;
        }
        tokio::task::spawn_local(server::serve(Rc::clone(&core), listener, address));
        tokio::task::spawn_local(pulse::pulse(Rc::clone(&core)));
        if core.borrow().replay.is_some() {
            tokio::task::spawn_local(replay::run(Rc::clone(&core), replay_done));
        } else {
            tokio::task::spawn_local(pulse::market(Rc::clone(&core)));
        }
        obey(&core, orders, stopping).await;
        close(&core).await;
        Some(core)
    });
    // Tasks first: they hold the exchange.
    drop(local);
    if let Some(core) = core {
        let core = core.borrow();
        core.shared.ledger.record(&LedgerRecord::Stopped { ts: now_ns() });
        core.shared.ledger.close();
    }
}

type Prepared = (Rc<RefCell<Core>>, tokio::net::TcpListener, SocketAddr);

fn prepare(options: SimOptions) -> Result<Prepared, SimError> {
    let kind = exchanges::of(&options.exchange)?;
    let options = kind.settle(options);
    if options.replay.is_some() && !kind.replays {
        let expected = "binance: there are no recordings to serve for another";
        return Err(SimError::Option { name: "exchange of a replay", text: options.exchange, expected });
    }
    let replay = options.replay.as_ref().map(ReplayState::load).transpose()?;
    let ledger = LedgerWriter::create(options.ledger.as_deref(), options.ledger_mode)
        .map_err(|source| SimError::Ledger { path: options.ledger.clone().unwrap_or_default(), source })?;
    let address = options.listen;
    let listener = server::listen(address).map_err(|source| SimError::Listen { address, source })?;
    let address = listener.local_addr().map_err(|source| SimError::Listen { address, source })?;
    let core = Core::new(options, ledger, replay)?;
    Ok((Rc::new(RefCell::new(core)), listener, address))
}

/// Carries out commands until told to stop, or until nobody is left who could.
async fn obey(core: &Rc<RefCell<Core>>, mut orders: mpsc::Receiver<Command>, mut stopping: watch::Receiver<bool>) {
    loop {
        let command = tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            command = orders.recv() => command,
        };
        let Some(command) = command else { return };
        let mut core = core.borrow_mut();
        // Whoever asked may have gone; then nobody wants the answer.
        match command {
            Command::Fault(fault, answer) => drop(answer.send(core.inject(fault, "command"))),
            Command::Stats(answer) => drop(answer.send(core.stats())),
            Command::Book(symbol, answer) => drop(answer.send(core.unified_index(&symbol).map(|place| book(&core, place)))),
            Command::TradeIds(symbol, answer) => {
                let wire = Rc::clone(&core.wire);
                let _ = answer.send(core.unified_index(&symbol).and_then(|place| wire.trade_ids(&core, place)));
            }
            Command::Pause(pause, answer) => {
                core.paused = pause;
                let _ = answer.send(());
            }
            Command::SpeedUp(factor, answer) => {
                core.speed_up(factor);
                let _ = answer.send(());
            }
            Command::ReplayStart(answer) => {
                core.start_replay();
                let _ = answer.send(());
            }
            Command::FlushLedger(answer) => drop(answer.send(core.shared.ledger.barrier())),
        }
    }
}

fn book(core: &Core, place: usize) -> SimBook {
    let state = &core.symbols[place];
    let ladder = state.ladder(usize::MAX);
    let levels = |side: Vec<(i64, i64)>| side.into_iter().map(|(p, a)| (Decimal::new(p, -8), Decimal::new(a, -8))).collect();
    SimBook { update_id: core.wire.book_id(core, place), bids: levels(ladder.bids), asks: levels(ladder.asks) }
}

/// Ends all connections in order and waits for them, not for long.
async fn close(core: &Rc<RefCell<Core>>) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_millis(500);
    let drained = Rc::clone(&core.borrow().shared.drained);
    for conn in core.borrow().conns.values() {
        conn.end(crate::ws::queue::Ending::Clean("the exchange stops".to_owned()));
    }
    loop {
        let notified = drained.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if core.borrow().conns.is_empty() || tokio::time::timeout_at(deadline, notified).await.is_err() {
            break;
        }
    }
    // Whoever did not answer is cut off; the ledger says so.
    let core = core.borrow();
    for conn in core.conns.values() {
        let (sent, unsent) = conn.counts();
        let reason = "the exchange stopped".to_owned();
        core.shared.ledger.record(&LedgerRecord::Closed { ts: now_ns(), conn: conn.id, reason, sent, unsent });
    }
}

/// Runs an exchange until SIGINT or SIGTERM.
///
/// # Errors
/// When it can't start.
pub async fn run(options: SimOptions) -> Result<(), SimError> {
    run_until(options, |handle| tracing::info!(rest = handle.rest_url(), ws = handle.ws_url(), "serving"), signalled()).await
}

/// Runs an exchange until `end`; `ready` is called once it serves.
///
/// # Errors
/// When it can't start.
pub async fn run_until(
    options: SimOptions,
    ready: impl FnOnce(&SimHandle),
    end: impl Future<Output = ()>,
) -> Result<(), SimError> {
    let handle = Sim::start(options).await?;
    ready(&handle);
    end.await;
    handle.stop().await;
    Ok(())
}

async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(error) => {
            tracing::warn!(%error, "SIGTERM can't be waited for; Ctrl-C ends the exchange");
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}
