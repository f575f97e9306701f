//! `dccd stop`: everything flushed and gone, or said what is not.

use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use dccd_rpc::root::StopReport;

use crate::cli::Global;
use crate::commands::{block_on, registry};
use crate::exit::Failure;
use crate::output::say;

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Kill at once instead of letting services flush; what the journal has is safe all the same
    #[arg(long)]
    force: bool,
    /// Seconds that a service may take before it is killed [default: daemon.shutdown_timeout]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: Option<u64>,
}

/// The failure that it is when services did not stop in time; `None` when all did.
pub fn killed(report: &StopReport) -> Option<anyhow::Error> {
    let names: Vec<_> = report.services.iter().filter(|service| service.killed).map(|service| &*service.name).collect();
    let names = (!names.is_empty()).then(|| names.join(", "))?;
    Some(anyhow!("{names} did not stop in time and had to be killed; what was acknowledged is safe"))
}

/// Stops the instance.
pub fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    block_on(async {
        let registry = registry(global).await?;
        let pid = registry.root().pid;
        say(format_args!("stopping dccd (pid {pid})"));
        let report = registry.stop(arguments.force, arguments.timeout.map(Duration::from_secs)).await?;
        for service in &report.services {
            let killed = if service.killed { ", killed" } else { "" };
            say(format_args!(
                "{} is gone ({}{killed}) after {:.1} s",
                service.name,
                service.exit,
                service.took.as_secs_f64()
            ));
        }
        say(format_args!("dccd has stopped after {:.1} s", report.took.as_secs_f64()));
        killed(&report).filter(|_| !arguments.force).map_or(Ok(()), |error| Err(error.into()))
    })
}
