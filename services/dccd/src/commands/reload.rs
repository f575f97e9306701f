//! `dccd reload`: the running daemon takes the configuration in anew.

use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use dccd_rpc::root::{Change, ROOT_NAME, ReloadReport, ReloadedService};

use crate::cli::Global;
use crate::commands::{DEADLINE, block_on, registry};
use crate::exit::{self, Failure};
use crate::output::{Listing, Out, say};

/// Services may have to be started, or started anew.
const RELOAD_DEADLINE: Duration = Duration::from_secs(180);

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only print what would be done
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Has the configuration read anew and says what became of it.
pub fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    let report = block_on(async {
        let registry = registry(global).await?;
        // From afar a configuration only says what the token is.
        if let Some(named) = global.config.as_ref().filter(|_| global.address.is_none()) {
            let used = registry.status(DEADLINE).await?.config_path.unwrap_or_default();
            let is_same =
                std::fs::canonicalize(named).ok().is_some_and(|path| std::fs::canonicalize(&used).ok() == Some(path));
            if !is_same {
                let named = named.display();
                return Err(anyhow!("the running dccd was started with {used}, not with {named}; reload takes no other file, `dccd restart --config {named}` does").into());
            }
        }
        Ok(registry.reload(arguments.dry_run, RELOAD_DEADLINE).await?)
    })?;
    let mut out = Out::new();
    if arguments.json {
        out.json(&report)?;
    } else {
        show(&report, &mut out)?;
    }
    let failed: Vec<&str> = report.services.iter().filter(|s| s.error.is_some()).map(|s| s.name.as_str()).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let message = format!("the new configuration is in force, but not everywhere: {}; see `dccd logs`", failed.join(", "));
    Err(Failure::message(exit::COULD_NOT_START, message))
}

fn show(report: &ReloadReport, out: &mut Out) -> Result<(), Failure> {
    let nothing = report.services.iter().all(|service| service.change == Change::Unchanged && service.details.is_empty());
    if nothing {
        say(if report.dry_run { "nothing would change" } else { "nothing has changed for any service" });
    } else {
        table(report).print(out)?;
    }
    if !report.later.is_empty() {
        say(format_args!("{} will be taken up by: dccd restart dccd-root", report.later.join(", ")));
    }
    Ok(())
}

fn table(report: &ReloadReport) -> Listing {
    let mut listing = Listing::new(&["service", "change", "~what"]);
    let (root, others): (Vec<_>, Vec<_>) = report.services.iter().partition(|service| service.name == ROOT_NAME);
    for service in root.into_iter().chain(others) {
        listing.row([service.name.clone(), would(service, report.dry_run), what(service)]);
    }
    listing
}

fn would(service: &ReloadedService, dry_run: bool) -> String {
    match (service.change, dry_run) {
        // It hears of it at its start.
        (Change::Unchanged, _) if service.name != ROOT_NAME && !service.details.is_empty() => "not running".to_owned(),
        (Change::Unchanged, _) | (_, false) => service.change.to_string(),
        (change, true) => format!("would be {change}"),
    }
}

fn what(service: &ReloadedService) -> String {
    let error = service.error.iter().map(|error| format!("failed: {error}"));
    let words: Vec<String> = error.chain(service.details.iter().cloned()).collect();
    if words.is_empty() { "-".to_owned() } else { words.join("; ") }
}
