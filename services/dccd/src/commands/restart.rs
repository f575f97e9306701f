//! `dccd restart [SERVICE]`: one service, or everything.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use dccd_registry::RegistryError;
use dccd_rpc::CallError;
use dccd_rpc::root::EnsureError;

use crate::cli::Global;
use crate::commands::{DEADLINE, block_on, registry, start};
use crate::exit::{self, Failure};
use crate::output::say;

/// Flushing, leaving, and getting ready again.
const RESTART_DEADLINE: Duration = Duration::from_secs(180);

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The service, as `dccd services` lists it; everything without it
    service: Option<String>,
}

/// Restarts it and returns when it is ready.
pub fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    match arguments.service.as_deref() {
        Some(dccd_rpc::root::ROOT_NAME) | None => everything(global),
        Some(service) => block_on(async {
            let registry = registry(global).await?;
            say(format_args!("restarting {service}"));
            let endpoint = registry.restart(service, RESTART_DEADLINE).await.map_err(|error| match error {
                // A name mistyped is no failed start; the message names those there are.
                RegistryError::Ensure(CallError::Answer(EnsureError::Unknown { .. })) => error.into(),
                RegistryError::Ensure(_) => Failure::new(exit::COULD_NOT_START, error),
                error => error.into(),
            })?;
            say(format_args!("{service} is ready at {endpoint}"));
            Ok(())
        }),
    }
}

/// Stops the root and starts another, detached, with the same configuration unless another is named.
fn everything(global: &Global) -> Result<(), Failure> {
    let mut global = global.clone();
    block_on(async {
        let registry = registry(&global).await?;
        let status = registry.status(DEADLINE).await?;
        global.config = global.config.take().or(status.config_path.map(PathBuf::from));
        // A configuration that is wrong now is to be found before anything is stopped.
        global.load()?;
        say(format_args!("stopping dccd (pid {})", status.pid));
        registry.stop(false, None).await?;
        Ok(())
    })?;
    start::detached(&global)
}
