//! `dccd services`: the live actors, dccd-root first.

use clap::Args;
use dccd_rpc::root::ServiceInfo;

use crate::cli::Global;
use crate::commands::{DEADLINE, block_on, registry};
use crate::exit::Failure;
use crate::output::{Listing, Out, bytes, instant, or_dash, seconds};

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Lists them.
pub fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    let services = block_on(async { Ok(registry(global).await?.list(DEADLINE).await?) })?;
    let mut out = Out::new();
    if arguments.json { out.json(&services) } else { table(&services).print(&mut out) }
}

/// The table of services.
pub fn table(services: &[ServiceInfo]) -> Listing {
    let mut listing = Listing::new(&[
        "name",
        "state",
        ">pid",
        "?endpoint",
        ">uptime",
        ">restarts",
        "~last exit",
        ">memory",
        ">cpu",
        "?>heartbeat",
        "?~reason",
    ]);
    for service in services {
        listing.row([
            service.name.clone(),
            service.state.to_string(),
            or_dash(service.pid),
            or_dash(service.endpoint.as_ref()),
            or_dash(service.uptime_s.map(whole_seconds)),
            service.restarts.to_string(),
            or_dash(service.last_exit.as_ref()),
            or_dash(service.rss_bytes.map(bytes)),
            or_dash(service.cpu_pct.map(|cpu| format!("{cpu:.1} %"))),
            or_dash(service.heartbeat_age_ms.map(|age| format!("{age} ms"))),
            or_dash(service.reason.as_ref()),
        ]);
    }
    listing
}

/// Exits of each service that people are shown.
const EXITS_SHOWN: usize = 5;

/// The table of the last exits of the services, the newest first; `None` where there were none.
pub fn exits(services: &[ServiceInfo], zone: &jiff::tz::TimeZone) -> Option<Listing> {
    let mut listing =
        Listing::new(&["service", "ended", "reason", "?status", ">ran", "?>memory", "?killed", "~what is known of it"]);
    let mut any = false;
    for service in services {
        for exit in service.exits.iter().rev().take(EXITS_SHOWN) {
            any = true;
            let status = exit.signal.clone().or_else(|| exit.code.map(|code| format!("exit {code}")));
            let known: Vec<_> = exit.last_words.iter().chain(&exit.detail).map(String::as_str).collect();
            listing.row([
                service.name.clone(),
                instant(exit.ts, zone),
                exit.reason.clone(),
                or_dash(status),
                or_dash(exit.ran_s.map(whole_seconds)),
                or_dash(exit.rss_bytes.map(bytes)),
                if exit.killed { "yes" } else { "no" }.to_owned(),
                or_dash((!known.is_empty()).then(|| known.join("; "))),
            ]);
        }
    }
    any.then_some(listing)
}

/// Seconds with a fraction, for people.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what fits")]
pub fn whole_seconds(value: f64) -> String {
    seconds(value.clamp(0.0, 1e12) as u64)
}
