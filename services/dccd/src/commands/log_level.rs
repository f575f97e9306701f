//! `dccd log-level`: how much the services log, changed while they run.

use anyhow::{Context as _, anyhow};
use clap::Args;
use dccd_registry::Registry;
use dccd_rpc::root::{ROOT_NAME, ServiceLogLevel};

use crate::cli::Global;
use crate::commands::{DEADLINE, block_on, did_you_mean, registry};
use crate::exit::{self, Failure};
use crate::output::{Listing, Out, say};

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The service, as `dccd services` lists it; all of them without it
    #[arg(value_name = "SERVICE")]
    first: Option<String>,
    /// A level, or levels of modules such as info,datad::links=debug; without them the present ones are shown
    #[arg(value_name = "DIRECTIVES", conflicts_with = "reset")]
    second: Option<String>,
    /// Back to the configured level
    #[arg(long)]
    reset: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Wish<'a> {
    Show(Option<&'a str>),
    Set(Option<&'a str>, Option<&'a str>),
}

impl Arguments {
    /// A lone word is a service where there is one of that name, and directives elsewhere.
    fn wish(&self, is_service: impl Fn(&str) -> bool) -> Wish<'_> {
        match (self.first.as_deref(), self.second.as_deref()) {
            (service, None) if self.reset => Wish::Set(service, None),
            (None, _) => Wish::Show(None),
            (Some(service), Some(directives)) => Wish::Set(Some(service), Some(directives)),
            (Some(word), None) if is_service(word) => Wish::Show(Some(word)),
            (Some(word), None) => Wish::Set(None, Some(word)),
        }
    }
}

/// Shows or changes it.
pub fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    let levels = block_on(async {
        let registry = registry(global).await?;
        let levels = registry.log_levels(DEADLINE).await?;
        match arguments.wish(|word| levels.iter().any(|level| level.service == word)) {
            Wish::Show(service) => Ok(of(levels, service)),
            Wish::Set(service, directives) => {
                let services: Vec<&str> = levels.iter().map(|level| level.service.as_str()).collect();
                set(&registry, service, directives, &services).await?;
                Ok(of(registry.log_levels(DEADLINE).await?, service))
            }
        }
    })?;
    let mut out = Out::new();
    if arguments.json {
        return out.json(&levels);
    }
    let mut listing = Listing::new(&["service", "~level", "?from"]);
    for level in levels {
        let from = if level.configured { "configuration" } else { "log-level" };
        listing.row([level.service, level.level, from.to_owned()]);
    }
    listing.print(&mut out)
}

async fn set(
    registry: &Registry,
    service: Option<&str>,
    directives: Option<&str>,
    services: &[&str],
) -> Result<(), Failure> {
    if let Some(directives) = directives
        && let Err(error) = dccd_service::log::check_level(directives)
    {
        let meant = if service.is_none() { did_you_mean(directives, services.iter().copied()) } else { String::new() };
        let help = if meant.is_empty() {
            "; expected a level, or levels of modules: dccd log-level datad.binance info,datad::links=debug".to_owned()
        } else {
            format!(", nor a service ({}){meant}", services.join(", "))
        };
        return Err(Failure::message(exit::USAGE, format!("{error}{help}")));
    }
    if let Some(unknown) = service.filter(|service| !services.contains(service)) {
        let meant = did_you_mean(unknown, services.iter().copied());
        return Err(anyhow!("service \"{unknown}\" is unknown (known: {}){meant}", services.join(", ")).into());
    }
    registry.set_log_level(service, directives, DEADLINE).await.context("cannot change the level")?;
    if service != Some(ROOT_NAME) {
        say("services that run follow within a second; it holds until dccd-root ends, or --reset");
    }
    Ok(())
}

fn of(levels: Vec<ServiceLogLevel>, service: Option<&str>) -> Vec<ServiceLogLevel> {
    levels.into_iter().filter(|level| service.is_none_or(|service| service == level.service)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_word_is_a_service_or_a_level() {
        let typed = |first: Option<&str>, second: Option<&str>, reset| Arguments {
            first: first.map(str::to_owned),
            second: second.map(str::to_owned),
            reset,
            json: false,
        };
        let wish =
            |arguments: &Arguments, expected: Wish<'_>| assert_eq!(arguments.wish(|word| word == "datad.x"), expected);
        wish(&typed(None, None, false), Wish::Show(None));
        wish(&typed(Some("datad.x"), None, false), Wish::Show(Some("datad.x")));
        wish(&typed(Some("debug"), None, false), Wish::Set(None, Some("debug")));
        wish(&typed(Some("datad.y"), Some("debug"), false), Wish::Set(Some("datad.y"), Some("debug")));
        wish(&typed(Some("datad.x"), None, true), Wish::Set(Some("datad.x"), None));
        wish(&typed(None, None, true), Wish::Set(None, None));
    }
}
