//! `dccd sync`: how far the copies of the store are, and bringing them up to date now. A running daemon's syncd does the copying; without
//! a daemon this process does.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use dccd_config::Loaded;
use dccd_registry::Registry;
use dccd_rpc::syncd::{RemoteStatus, SYNCD_NAME, SyncRun, SyncdClient};
use dccd_rpc::{call, context};
use dccd_service::{Shutdown, ShutdownReason};
use syncd::{Counters, Engine};

use crate::cli::Global;
use crate::commands::tail::interrupted;
use crate::commands::{DEADLINE, block_on, registry_if_running, zone};
use crate::exit::Failure;
use crate::output::{Listing, Out, bytes, instant, rfc3339, say};
use crate::progress::Copying;
use crate::roles;

/// Between two looks at the progress.
const LOOK: Duration = Duration::from_millis(200);
/// How long the service may take to start.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Copy what has changed now, and wait until that is done
    #[arg(long)]
    now: bool,
    /// This remote alone, as the listing names it, or what stands before its colon; may be given again
    #[arg(long, value_name = "R")]
    remote: Vec<String>,
    /// Copy to the remotes named even though they have another store's files: those of the same names are replaced there
    #[arg(long, requires_all = ["now", "remote"])]
    replace: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Shows how far the copies are, or brings them up to date first.
pub fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    let shutdown = Shutdown::new();
    block_on(async {
        let registry = registry_if_running(global).await?;
        if !arguments.now {
            let statuses = match served(registry.as_ref()).await? {
                Some(client) => status(&client).await?,
                None => engine(global, registry.as_ref()).await?.status().await,
            };
            let statuses = only(statuses, &arguments.remote)?;
            show(global, &statuses, arguments.json)?;
            if !arguments.json {
                for status in &statuses {
                    status.last_error.iter().for_each(|error| say(format_args!("{}: {error}", status.remote)));
                }
            }
            return Ok(());
        }
        if arguments.replace {
            engine(global, registry.as_ref()).await?.allow(&arguments.remote)?;
        }
        shutdown.trigger_on_signals().context("cannot listen for signals")?;
        let ended = match registry {
            Some(registry) => by_daemon(&registry, &arguments.remote, &shutdown).await?,
            None => by_this_process(global, &arguments.remote, &shutdown).await?,
        };
        show(global, &ended.statuses, arguments.json)?;
        ended.judge()
    })
}

/// What became of the runs that were asked for.
struct Ended {
    runs: Vec<SyncRun>,
    statuses: Vec<RemoteStatus>,
    interrupted: Option<ShutdownReason>,
    by_daemon: bool,
}

impl Ended {
    fn judge(&self) -> Result<(), Failure> {
        if let Some(reason) = self.interrupted {
            say(if self.by_daemon {
                "syncd goes on copying; `dccd sync` shows how far it is"
            } else {
                "stopped; what was copied is noted, and `dccd sync --now` goes on from there"
            });
            return Err(interrupted(reason));
        }
        let failed: Vec<String> = self
            .statuses
            .iter()
            .filter_map(|status| Some(format!("{}: {}", status.remote, status.last_error.as_ref()?)))
            .chain(
                self.statuses
                    .iter()
                    .filter(|status| status.state == "interrupted")
                    .map(|status| format!("{}: its process ended before it was done", status.remote)),
            )
            .collect();
        match failed.as_slice() {
            [] => Ok(()),
            [one] => Err(anyhow!("could not copy to {one}").into()),
            several => {
                let all = several.join("\n  ");
                Err(anyhow!("could not copy to {} of {} remotes:\n  {all}", several.len(), self.runs.len()).into())
            }
        }
    }
}

/// A client of syncd, if it runs.
async fn served(registry: Option<&Registry>) -> Result<Option<SyncdClient>, Failure> {
    let Some(registry) = registry else { return Ok(None) };
    // One that nobody has asked for yet isn't among them, and isn't to be started for a look.
    let services = registry.list(DEADLINE).await?;
    let running = services.into_iter().find(|service| service.name == SYNCD_NAME && service.state.is_ready());
    let Some(endpoint) = running.and_then(|service| service.endpoint) else { return Ok(None) };
    let Some(path) = endpoint.unix_path() else { return Ok(None) };
    Ok(Some(dccd_registry::connect_syncd(path, DEADLINE).await?))
}

async fn status(client: &SyncdClient) -> Result<Vec<RemoteStatus>, Failure> {
    Ok(call(SYNCD_NAME, "status", client.status(context(DEADLINE))).await?)
}

/// The configuration: as named, else that of the running root.
async fn loaded(global: &Global, registry: Option<&Registry>) -> Result<Loaded, Failure> {
    let mut global = global.clone();
    if let (None, Some(registry)) = (&global.config, registry) {
        global.config = registry.status(DEADLINE).await?.config_path.map(PathBuf::from);
    }
    global.load()
}

/// Everything in this process.
async fn engine(global: &Global, registry: Option<&Registry>) -> Result<Engine, Failure> {
    let loaded = loaded(global, registry).await?;
    let mut options = roles::sync_options(&loaded.config, loaded.config.data_path())?;
    // By the clock is what the service does.
    options.interval = Duration::ZERO;
    Ok(Engine::new(options, Counters::default()))
}

async fn by_daemon(registry: &Registry, names: &[String], shutdown: &Shutdown) -> Result<Ended, Failure> {
    let client = registry.syncd(START_DEADLINE).await?;
    let runs = call(SYNCD_NAME, "begin", client.begin(context(DEADLINE), names.to_vec())).await?;
    for run in runs.iter().filter(|run| run.joined) {
        say(format_args!("{}: joins the copying that is under way", run.remote));
    }
    let mut copying = Copying::new();
    loop {
        let statuses = meant(status(&client).await?, &runs);
        copying.update(&statuses);
        let interrupted = shutdown.reason();
        if are_over(&statuses, &runs) || interrupted.is_some() {
            copying.end();
            return Ok(Ended { runs, statuses, interrupted, by_daemon: true });
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = shutdown.wait() => {}
        }
    }
}

async fn by_this_process(global: &Global, names: &[String], shutdown: &Shutdown) -> Result<Ended, Failure> {
    let engine = engine(global, None).await?;
    let runs = engine.begin(names)?;
    say("no daemon is running; this process does the copying");
    let mut copying = Copying::new();
    let over = Shutdown::new();
    let watched = async {
        loop {
            let statuses = meant(engine.status().await, &runs);
            copying.update(&statuses);
            let interrupted = shutdown.reason();
            if are_over(&statuses, &runs) || interrupted.is_some() {
                // The work ends in order before this command does.
                over.trigger(ShutdownReason::Requested);
                return interrupted;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = shutdown.wait() => {}
            }
        }
    };
    let (interrupted, ()) = tokio::join!(watched, engine.work(&over));
    let statuses = meant(engine.status().await, &runs);
    copying.update(&statuses);
    copying.end();
    Ok(Ended { runs, statuses, interrupted, by_daemon: false })
}

fn meant(statuses: Vec<RemoteStatus>, runs: &[SyncRun]) -> Vec<RemoteStatus> {
    statuses.into_iter().filter(|status| runs.iter().any(|run| run.remote == status.remote)).collect()
}

fn are_over(statuses: &[RemoteStatus], runs: &[SyncRun]) -> bool {
    let is_over = |run: &SyncRun| statuses.iter().any(|s| s.remote == run.remote && s.runs_ended >= run.run);
    runs.iter().all(is_over)
}

/// Those that were asked for.
fn only(statuses: Vec<RemoteStatus>, names: &[String]) -> Result<Vec<RemoteStatus>, Failure> {
    let bare = |text: &str| text.trim_end_matches(['/', ':']).to_owned();
    let is_meant = |status: &RemoteStatus, name: &String| {
        let before = status.remote.split_once(':').map_or("", |(before, _)| before);
        bare(&status.remote) == bare(name) || (status.provider == "rclone" && !before.is_empty() && before == bare(name))
    };
    for name in names {
        if !statuses.iter().any(|status| is_meant(status, name)) {
            let known: Vec<&str> = statuses.iter().map(|status| status.remote.as_str()).collect();
            return Err(anyhow!("remote \"{name}\" is unknown (known: {})", known.join(", ")).into());
        }
    }
    Ok(statuses.into_iter().filter(|s| names.is_empty() || names.iter().any(|name| is_meant(s, name))).collect())
}

fn show(global: &Global, statuses: &[RemoteStatus], json: bool) -> Result<(), Failure> {
    let mut out = Out::new();
    if json {
        return out.json(&statuses.iter().map(listed).collect::<Result<Vec<_>, _>>()?);
    }
    if statuses.is_empty() {
        say("the configuration names no remotes; storage.remotes says where the store is copied to");
    }
    let zone = zone(global, None);
    let when = |nanos: i64| if nanos > 0 { instant(nanos, &zone) } else { "-".to_owned() };
    let mut listing = Listing::new(&[
        "remote",
        "state",
        "~last success",
        ">copied",
        ">size",
        ">behind",
        ">size",
        "?~since",
        "?~next",
        "?>failures",
    ]);
    for status in statuses {
        listing.row([
            status.remote.clone(),
            status.state.clone(),
            when(status.last_success),
            status.copied_files.to_string(),
            bytes(status.copied_bytes),
            status.behind_files.to_string(),
            bytes(status.behind_bytes),
            when(status.behind_since),
            when(status.next_run),
            status.failures.to_string(),
        ]);
    }
    listing.print(&mut out)
}

/// A remote as `--json` shows it: times in RFC 3339.
fn listed(status: &RemoteStatus) -> Result<serde_json::Value, Failure> {
    let mut shown = serde_json::to_value(status).context("cannot write a remote as JSON")?;
    let times = [
        ("began", status.began),
        ("ended", status.ended),
        ("last_success", status.last_success),
        ("next_run", status.next_run),
        ("behind_since", status.behind_since),
    ];
    for (name, time) in times {
        shown[name] = rfc3339(time).into();
    }
    Ok(shown)
}
