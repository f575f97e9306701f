//! `dccd services`: the live actors, dccd-root first.

use clap::Args;
use dccd_rpc::root::ServiceInfo;

use crate::cli::Global;
use crate::commands::{DEADLINE, block_on, registry};
use crate::exit::Failure;
use crate::output::{Listing, Out, bytes, or_dash, seconds};

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

/// Seconds with a fraction, for people.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what fits")]
pub fn whole_seconds(value: f64) -> String {
    seconds(value.clamp(0.0, 1e12) as u64)
}
