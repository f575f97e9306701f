//! A service that takes the place of another process: everything up to the moment at which it is the service, and the same seen from the process
//! that leaves.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use dccd_exchange::{Adapter, Product, Socket};
use dccd_history::RestClients;
use dccd_model::{Channel, UnixNanos};
use dccd_net::LinkOptions;
use dccd_registry::connect_datad;
use dccd_rpc::datad::{DATAD_PROTOCOL, DatadClient, FeedInfo};
use dccd_rpc::{call, context};
use dccd_service::{ServiceContext, Task};
use dccd_store::Position;
use dccd_store::journal::JournalReader;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use super::{DatadOptions, Parts, TICKET_TIMEOUT, TICKET_TURN, pausing, state_dir};
use crate::clock;
use crate::error::{DatadError, chain};
use crate::handover::{Alone, Order, Peer, Stage, Standby, StandbyContext, WantedFeed};
use crate::hot::{Command, Hot, HotContext};
use crate::links::Links;

/// Patience with the other process where it is asked something.
const ASK: Duration = Duration::from_secs(5);
/// The same until its store's files are up to date, which only makes the change quicker.
const FLUSH: Duration = Duration::from_secs(20);
/// Until all feeds come, as long as there is progress; the root may be less patient.
const CONNECTING: Duration = Duration::from_secs(300);
/// Until the other process has left; the root ends it before.
const LEAVING: Duration = Duration::from_secs(300);
/// From its last words to its end.
const ENDING: Duration = Duration::from_secs(20);
/// Patience of the process that leaves with its threads.
const HISTORY_LEAVE: Duration = Duration::from_secs(5);
const HOT_LEAVE: Duration = Duration::from_secs(15);

/// A successor that is the service now, and has yet to take over the journal.
pub(super) struct Successor {
    orders: mpsc::Sender<Order>,
    /// Resolves when its hot thread has ended.
    ended: oneshot::Receiver<()>,
    alone: Alone,
}

/// What decides how the exchange's messages are understood: where that is another, what one process has begun another can't go on with.
pub(super) fn profile(options: &DatadOptions) -> String {
    let DatadOptions { aggregated_trades, depth, ws_url, linear_ws_url, .. } = options;
    format!("aggregated {aggregated_trades}, depth {depth:?}, addresses {ws_url:?} {linear_ws_url:?}")
}

/// How to connect to each of the exchange's sockets.
pub(super) fn link_options(
    options: &DatadOptions,
    adapter: &Arc<dyn Adapter>,
    rest: &RestClients,
) -> Result<Vec<LinkOptions>, DatadError> {
    let (base, linear) = (&options.ws_url, &options.linear_ws_url);
    // Where the exchange has one address for all of its sockets, the one that is configured is that of all.
    let is_one = adapter.ws_url_of(Product::Linear) == adapter.ws_url();
    let ws_base = |socket: Socket| match socket.product {
        Product::Spot => base.clone(),
        Product::Linear => linear.clone().or_else(|| base.clone().filter(|_| is_one)),
    };
    // Connection numbers must differ from those of earlier processes in the same journal.
    let first_conn = u32::try_from(clock::now().as_millis() % i64::from(u32::MAX)).unwrap_or(1).max(1);
    // Of its own, because it lives on the hot thread.
    let http = rest.of(Product::Spot).apart(TICKET_TIMEOUT, TICKET_TURN).map_err(|e| DatadError::Serve(Box::new(e)))?;
    Ok(Links::options(adapter, ws_base, &Arc::new(AtomicU32::new(first_conn)), &http))
}

/// Runs the hot thread's part on a thread of its own; the receiver resolves when it ends.
pub(super) fn spawn_hot<F: Future<Output = ()>>(
    task: Task,
    run: impl FnOnce() -> F + Send + 'static,
) -> Result<oneshot::Receiver<()>, DatadError> {
    let (ended_tx, ended) = oneshot::channel();
    std::thread::Builder::new()
        .name("hot".to_owned())
        .spawn(move || {
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(async { task.run(run()).await }),
                Err(error) => error!(error = %error, "the hot thread has no runtime"),
            }
            drop(ended_tx);
        })
        .map_err(|_| DatadError::Thread { name: "hot" })?;
    Ok(ended)
}

/// Gets as far as a second process can, has the first one leave, and becomes the service.
///
/// # Errors
/// When it doesn't come so far; the root knows why, and the other process goes on.
pub(super) async fn stand_by(
    options: &DatadOptions,
    adapter: &Arc<dyn Adapter>,
    rest: &RestClients,
    ctx: &ServiceContext,
) -> Result<Successor, DatadError> {
    let stood_by = tokio::select! {
        stood_by = try_to(options, adapter, rest, ctx) => stood_by,
        reason = ctx.shutdown().wait() => Err(format!("was told to stop: {reason}")),
    };
    match stood_by {
        Ok(successor) => Ok(successor),
        Err(reason) => {
            if let Err(error) = ctx.stand_by(DATAD_PROTOCOL, Some(reason.clone())).await {
                warn!(error = %chain(&error), "dccd-root does not hear why there is no successor");
            }
            Err(DatadError::Succession { reason })
        }
    }
}

async fn try_to(
    options: &DatadOptions,
    adapter: &Arc<dyn Adapter>,
    rest: &RestClients,
    ctx: &ServiceContext,
) -> Result<Successor, String> {
    let failed = |error: &(dyn std::error::Error + 'static)| format!("failed: {}", chain(error));
    let markets = dccd_history::kept_markets(&dccd_history::markets_path(&options.data_path, &options.exchange))
        .ok_or("found no list of the exchange's markets")?
        .markets;
    let client = connect_datad(ctx.name(), &ctx.endpoint_path(), ASK).await;
    let client = client.map_err(|error| format!("can't talk to the process that runs: {}", chain(&error)))?;
    let open = call(ctx.name(), "feeds", client.feeds(context(ASK))).await.map_err(|error| failed(&error))?;
    let peer = meet(&client, options, ctx).await?;
    let mut feeds = wanted(options, &open, &pausing::kept(&state_dir(options)));
    feeds.retain(|feed| markets.by_symbol(&feed.symbol).is_some());
    let sockets = link_options(options, adapter, rest).map_err(|error| failed(&error))?;
    let (stages, mut stage) = watch::channel(Stage::Connecting("everything".to_owned()));
    // One order follows the other.
    let (orders, queue) = mpsc::channel(2);
    let links = Links::new(adapter.clone(), markets.clone(), sockets);
    let standby = StandbyContext { adapter: adapter.clone(), markets, links, feeds, peer, stages, orders: queue };
    let ended = spawn_hot(ctx.tasks().begin("hot"), move || async {
        if let Some((ctx, succession)) = Standby::new(standby).run().await {
            Hot::new(*ctx).run(Some(succession)).await;
        }
    })
    .map_err(|error| failed(&error))?;
    info!("connecting beside the process that runs");

    let reached = tokio::time::timeout(CONNECTING, stage.wait_for(|stage| !matches!(stage, Stage::Connecting(_)))).await;
    let reached = reached.ok().and_then(Result::ok).map(|stage| stage.clone());
    match reached {
        Some(Stage::Failed(reason)) => return Err(reason),
        Some(Stage::Ready) => {
            // What is in files then, need not be read from the journal while nobody publishes.
            if let Err(error) = call(ctx.name(), "flush", client.flush(context(FLUSH))).await {
                warn!(error = %chain(&error), "the process that runs did not bring its files up to date");
            }
            // Also where that has ended meanwhile: then this process is the service already.
            ctx.stand_by(DATAD_PROTOCOL, None).await.map_err(|error| failed(&error))?;
            orders.send(Order::Leave).await.map_err(|_| "ended early; see its log")?;
        }
        Some(Stage::Alone(_)) => {}
        None | Some(Stage::Connecting(_)) => {
            let waited = CONNECTING.as_secs();
            let missing = match &*stage.borrow() {
                Stage::Connecting(missing) => missing.clone(),
                _ => "something".to_owned(),
            };
            return Err(format!("did not get all feeds within {waited} s: {missing} is missing"));
        }
    }
    let over = |stage: &Stage| matches!(stage, Stage::Alone(_) | Stage::Failed(_));
    let over = tokio::time::timeout(LEAVING, stage.wait_for(over)).await.ok().and_then(Result::ok).map(|s| s.clone());
    match over {
        Some(Stage::Alone(alone)) => {
            if !alone.has_left {
                warn!(
                    "the process before has ended without a word; going on as after a crash, but for what was received here"
                );
            }
            ctx.take_over(ENDING).await.map_err(|error| failed(&error))?;
            Ok(Successor { orders, ended, alone })
        }
        Some(Stage::Failed(reason)) => Err(reason),
        _ => Err("waited in vain for the process that runs to leave".to_owned()),
    }
}

/// Has the process that runs connect to us.
async fn meet(client: &DatadClient, options: &DatadOptions, ctx: &ServiceContext) -> Result<Peer, String> {
    let path = ctx.runtime_dir().successor_socket(ctx.name());
    let no_socket = |error: &dyn std::error::Error| format!("has no socket at {}: {error}", path.display());
    dccd_rpc::check_socket_path(&path).map_err(|error| no_socket(&error))?;
    // Of a successor that was killed.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).map_err(|error| no_socket(&error))?;
    let both = async {
        tokio::join!(
            listener.accept(),
            call(ctx.name(), "meet_successor", client.meet_successor(context(ASK), profile(options)))
        )
    };
    let met = tokio::select! {
        (accepted, answer) = both => answer.map_err(|error| error.to_string()).and(accepted.map_err(|error| error.to_string())),
        () = tokio::time::sleep(ASK + ASK) => Err("no answer in time".to_owned()),
    };
    let _ = std::fs::remove_file(&path);
    let (stream, _): (UnixStream, _) = met.map_err(|reason| format!("can't meet the process that runs: {reason}"))?;
    Ok(Peer::new(stream))
}

/// The feeds that the configuration wants and nobody has paused, and those that clients have opened.
fn wanted(options: &DatadOptions, open: &[FeedInfo], paused: &BTreeSet<String>) -> Vec<WantedFeed> {
    let known = |symbol: &str, channel: &str| open.iter().find(|feed| feed.symbol == symbol && feed.channel == channel);
    let mut feeds: Vec<WantedFeed> = Vec::new();
    let is_paused = |symbol, channel| paused.contains(&pausing::job_name(&options.exchange, symbol, channel));
    for (symbol, channel) in options.feeds.iter().filter(|(symbol, channel)| !is_paused(symbol, *channel)) {
        let other = known(symbol.as_str(), channel.as_str());
        feeds.push(WantedFeed {
            symbol: symbol.clone(),
            channel: *channel,
            is_configured: true,
            holders: other.map_or(0, |feed| feed.holders),
            is_known: other.is_some(),
            is_required: other.is_some_and(is_live),
        });
    }
    for feed in open.iter().filter(|feed| !feed.recorded) {
        let (Ok(symbol), Ok(channel)) = (feed.symbol.parse(), feed.channel.parse::<Channel>()) else { continue };
        if !feeds.iter().any(|wanted| wanted.symbol == symbol && wanted.channel == channel) {
            let (holders, is_required) = (feed.holders, is_live(feed));
            feeds.push(WantedFeed { symbol, channel, is_configured: false, holders, is_known: true, is_required });
        }
    }
    // Trades first: whether they are recorded is known before candles are built from them.
    feeds.sort_by_key(|feed| feed.channel == Channel::Ohlc);
    feeds
}

fn is_live(feed: &FeedInfo) -> bool {
    feed.state == "live" && feed.error.is_none()
}

impl Successor {
    /// Lets the hot thread take over; the receiver resolves when that ends.
    pub(super) async fn take_over(self, ctx: HotContext, journal_dir: &Path) -> Result<oneshot::Receiver<()>, DatadError> {
        let gone = || DatadError::Thread { name: "hot" };
        let Alone { taken, position, ts, conns, .. } = self.alone;
        let dir = journal_dir.to_owned();
        // What it had not said of any more, because it was killed. Mostly nothing, so this reads little.
        let counted = tokio::task::spawn_blocking(move || {
            let mut journaled = (taken, if ts == UnixNanos::UNKNOWN { clock::now() } else { ts });
            if position > 0 {
                let mut reader = JournalReader::open_at(&dir, Position(position))?;
                while let Some((_, entry)) = reader.next()? {
                    journaled.0 += u64::from(conns.contains(&entry.conn));
                    journaled.1 = journaled.1.max(entry.ts_recv);
                }
            }
            Ok(journaled)
        });
        let (journaled, ts) = counted
            .await
            .map_err(|_| DatadError::Thread { name: "recovery" })?
            .map_err(|source| DatadError::Journal { dir: journal_dir.to_owned(), source })?;
        self.orders.send(Order::TakeOver { ctx: Box::new(ctx), journaled, ts }).await.map_err(|_| gone())?;
        Ok(self.ended)
    }
}

impl Parts<'_> {
    /// Leaves the service to the successor that is there: what is left is in the journal, from which it goes on.
    pub(super) async fn leave(&self, commands: &mpsc::Sender<Command>) -> Result<(), DatadError> {
        if tokio::time::timeout(HISTORY_LEAVE, self.stop_history()).await.is_err() {
            warn!("the history thread does not stop at once; what it has fetched is safe");
        }
        let (reply, answer) = oneshot::channel();
        let left = async {
            commands.send(Command::Leave { reply }).await.ok()?;
            answer.await.ok()
        };
        let Ok(Some(journal)) = tokio::time::timeout(HOT_LEAVE, left).await else {
            return Err(DatadError::Thread { name: "hot" });
        };
        info!(journal = journal.position().0, "left the service to the successor");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_has_what_the_configuration_wants_and_what_clients_opened() {
        let feed = |symbol: &str, channel: &str, state: &str, recorded, holders| FeedInfo {
            symbol: symbol.to_owned(),
            channel: channel.to_owned(),
            ring: String::new(),
            generation: 1,
            cursor: 0,
            state: state.to_owned(),
            book_state: None,
            epoch: 0,
            recorded,
            holders,
            gaps: 0,
            gaps_repaired: 0,
            score: 100.0,
            last_recv: 0,
            last_price: None,
            best: None,
            error: None,
            compared: None,
            open_gaps: 0,
        };
        let open = [
            feed("BTC/USDT", "trades", "live", true, 1),
            feed("ETH/USDT", "trades", "stale", true, 0),
            feed("SOL/USDT", "book", "live", false, 2),
            // The configuration wants it no longer.
            feed("XRP/USDT", "trades", "live", true, 0),
        ];
        let options = DatadOptions {
            exchange: "binance".parse().unwrap(),
            instance: String::new(),
            data_path: "/".into(),
            rest: Default::default(),
            ws_url: None,
            linear_ws_url: None,
            feeds: ["BTC/USDT", "ETH/USDT", "ADA/USDT"]
                .into_iter()
                .flat_map(|symbol| [Channel::Ohlc, Channel::Trades].map(|channel| (symbol.parse().unwrap(), channel)))
                .collect(),
            histo: Vec::new(),
            time_step: Duration::ZERO,
            depth: None,
            aggregated_trades: false,
            ring_slots: 1_024,
            journal_keep_bytes: 0,
            patience: Default::default(),
        };
        let paused = ["binance/ADA/USDT/ohlc".to_owned()].into();
        let told: Vec<String> = wanted(&options, &open, &paused)
            .into_iter()
            .map(|f| {
                let flags = [(f.is_configured, "configured"), (f.is_known, "known"), (f.is_required, "required")];
                let flags: Vec<&str> = flags.into_iter().filter_map(|(is, name)| is.then_some(name)).collect();
                format!("{} {} {} {}", f.symbol, f.channel, f.holders, flags.join(" "))
            })
            .collect();
        assert_eq!(
            told,
            [
                "BTC/USDT trades 1 configured known required",
                "ETH/USDT trades 0 configured known",
                "ADA/USDT trades 0 configured",
                "SOL/USDT book 2 known required",
                "BTC/USDT ohlc 0 configured",
                "ETH/USDT ohlc 0 configured",
            ]
        );
    }
}
