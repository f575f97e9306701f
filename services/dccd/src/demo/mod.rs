//! `dccd demo`: simulated exchange, root and collector in a temporary directory, a `kill -9` halfway, and at the end the
//! comparison of all that was sent with all that was stored. Nothing leaves the machine, nothing stays on it.

mod screen;
mod tree;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use clap::Args;
use dccd_sim::audit::Audit;
use dccd_sim::{MarketOptions, Sim, SimHandle, SimOptions};

use crate::commands::{block_on, inventory};
use crate::exit::{self, Failure};
use crate::output::{Listing, Out, say};
use screen::{Look, Screen};
use tree::Tree;

/// Between two looks at the tree.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Patience with the collector coming back after it was killed.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(20);
/// Patience with what is still on its way when the market has stopped.
const DRAIN_DEADLINE: Duration = Duration::from_secs(15);
/// The collector has everything when its counters stood still this long.
const DRAIN_CALM: Duration = Duration::from_millis(600);

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Seconds that it lasts
    #[arg(long, value_name = "S", default_value_t = 20, value_parser = clap::value_parser!(u64).range(5..=3_600))]
    seconds: u64,
    /// Trades a second, all symbols together
    #[arg(long, value_name = "RATE", default_value_t = 400.0)]
    trades: f64,
    /// Order book changes a second, all symbols together
    #[arg(long, value_name = "RATE", default_value_t = 1_000.0)]
    book_updates: f64,
    /// The same seed gives the same market
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Leave the collector alone instead of killing it halfway
    #[arg(long)]
    no_kill: bool,
    /// Keep the directory, with configuration, ledger, store and logs
    #[arg(long)]
    keep: bool,
    /// Print the comparison as JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut directory =
        tempfile::Builder::new().prefix("dccd-demo-").tempdir().context("cannot make a temporary directory")?;
    directory.disable_cleanup(arguments.keep);
    let path = directory.path().to_owned();
    let result = block_on(demo(arguments, path.clone()));
    if arguments.keep {
        say(format_args!("kept: {}", path.display()));
    }
    result
}

async fn demo(arguments: &Arguments, path: PathBuf) -> Result<(), Failure> {
    let ledger = path.join("ledger.jsonl");
    let sim = Sim::start(SimOptions {
        seed: arguments.seed,
        ledger: Some(ledger.clone()),
        market: MarketOptions {
            trades_per_second: arguments.trades,
            book_updates_per_second: arguments.book_updates,
            ..MarketOptions::default()
        },
        ..SimOptions::default()
    })
    .await?;
    let symbols = MarketOptions::default().symbols;
    let mut tree = Tree::start(&path, &sim.rest_url(), &sim.ws_url(), &symbols).await?;
    let title = format!("dccd demo · simulated exchange at {} · everything in {}", sim.rest_url(), path.display());
    let mut screen = Screen::new(title, Duration::from_secs(arguments.seconds));
    let shown = show(arguments, &mut tree, &mut screen).await;
    let drained = match shown {
        Ok(()) => drain(&sim, &mut tree, &mut screen).await,
        failed => failed,
    };
    // Whatever went wrong, nothing stays behind.
    let stopped = tree.stop().await;
    sim.stop().await;
    drained?;
    stopped?;
    let store = tree.data_path().to_owned();
    let compare = move || dccd_sim::audit::audit(&ledger, &store, "binance");
    let audit = tokio::task::spawn_blocking(compare).await.context("the comparison did not finish")??;
    report(arguments, &tree, &audit)
}

/// Shows the running tree until the time is over or Ctrl-C; kills the collector halfway.
async fn show(arguments: &Arguments, tree: &mut Tree, screen: &mut Screen) -> Result<(), Failure> {
    let started = Instant::now();
    let length = Duration::from_secs(arguments.seconds);
    let mut to_kill = !arguments.no_kill;
    let mut ticks = tokio::time::interval(LOOK_INTERVAL);
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    while started.elapsed() < length {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = &mut interrupted => {
                screen.event("interrupted; ending in order");
                return Ok(());
            }
        }
        let look = tree.look().await?;
        screen.draw(&look);
        if to_kill && started.elapsed() >= length / 2 {
            to_kill = false;
            kill(tree, screen, &look).await?;
        }
    }
    Ok(())
}

/// Kills the collector and waits until another one is ready.
async fn kill(tree: &mut Tree, screen: &mut Screen, look: &Look) -> Result<(), Failure> {
    let Some(old) = look.services.iter().find(|s| s.name == tree::COLLECTOR).and_then(|s| s.pid) else {
        return Err(anyhow!("the collector has no process to kill").into());
    };
    let killed = Instant::now();
    tree.kill(old)?;
    screen.event(&format!("kill -9 {old} ({})", tree::COLLECTOR));
    while killed.elapsed() < RECOVERY_DEADLINE {
        let look = tree.look().await?;
        let back = look
            .services
            .iter()
            .find(|s| s.name == tree::COLLECTOR && s.state.is_ready() && s.pid.is_some_and(|p| p != old));
        if let Some(service) = back {
            let pid = service.pid.unwrap_or(0);
            screen.event(&format!(
                "{} is ready again as process {pid}, {} ms later",
                tree::COLLECTOR,
                killed.elapsed().as_millis()
            ));
            return Ok(());
        }
        screen.draw(&look);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(anyhow!("the collector did not come back within {RECOVERY_DEADLINE:?}; its log: {}", tree.log()).into())
}

/// Stops the market and waits until the collector has taken in what was sent and fetched what it missed.
async fn drain(sim: &SimHandle, tree: &mut Tree, screen: &mut Screen) -> Result<(), Failure> {
    screen.event("the market stops; what is on its way is taken in");
    sim.pause().await?;
    let started = Instant::now();
    let mut calm: Option<(Instant, u64)> = None;
    while started.elapsed() < DRAIN_DEADLINE {
        let look = tree.look().await?;
        screen.draw(&look);
        let frames = look.stats.as_ref().map_or(0, |s| s.frames);
        let mending = look.feeds.iter().any(|f| f.channel == "trades" && f.gaps_repaired < f.gaps);
        match calm {
            Some((since, count)) if count == frames && !mending => {
                if since.elapsed() >= DRAIN_CALM {
                    return Ok(());
                }
            }
            _ => calm = Some((Instant::now(), frames)),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    screen.event("not everything could be fetched in time; it stays declared");
    Ok(())
}

/// Prints the inventory and the comparison, and fails when the comparison does.
fn report(arguments: &Arguments, tree: &Tree, audit: &Audit) -> Result<(), Failure> {
    let mut out = Out::new();
    if arguments.json {
        out.json(&serde_json::json!({"series": audit.series, "total": audit.total()}))?;
    } else {
        out.line("\nInventory")?;
        inventory::table(&dccd_store::inventory(tree.data_path())?).print(&mut out)?;
        out.line("\nSent by the exchange, and stored")?;
        table(audit).print(&mut out)?;
        let total = audit.total();
        out.line(format_args!("\n{audit}"))?;
        for problem in &total.problems {
            out.line(format_args!("  {problem}"))?;
        }
        out.line(format_args!("missing {}, duplicate {}", total.missing, total.duplicate))?;
    }
    if audit.is_clean() {
        return Ok(());
    }
    Err(Failure::message(
        exit::FAILED,
        "the store is not what the exchange sent; run again with --keep and look at the logs",
    ))
}

fn table(audit: &Audit) -> Listing {
    let mut listing = Listing::new(&[
        "series",
        ">sent",
        ">stored",
        ">fetched",
        ">missing",
        ">duplicate",
        ">wrong",
        ">declared",
        ">gaps",
        ">repaired",
    ]);
    let total = audit.total();
    for s in audit.series.iter().chain([&total]) {
        let [sent, stored, fetched, missing, duplicate] =
            [s.sent, s.stored, s.fetched, s.missing, s.duplicate].map(|n| n.to_string());
        let [wrong, declared, gaps, repaired] = [s.wrong, s.declared, s.gaps, s.repaired].map(|n| n.to_string());
        listing.row([s.series.clone(), sent, stored, fetched, missing, duplicate, wrong, declared, gaps, repaired]);
    }
    listing
}
