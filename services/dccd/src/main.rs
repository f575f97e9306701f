//! The `dccd` executable: the command line, or, by the name it is called by, one of the services.
#![allow(unreachable_pub, reason = "an executable has no public API; `pub` says what its modules offer each other")]

mod cli;
mod commands;
mod demo;
mod exit;
mod files;
mod histo;
mod listing;
mod manager;
mod output;
mod pid_file;
mod progress;
mod reload;
mod remote;
mod roles;

use std::path::Path;
use std::process::ExitCode;

use dccd_service::ServiceError;

use crate::exit::Failure;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    // A path is how people call the program; the root calls services by their bare names.
    let name = args.first().map(|name| Path::new(name).file_name().unwrap_or(name).to_string_lossy().into_owned());
    match name {
        Some(name) if name == syncd::LEASH => exit::finish(Err(anyhow::Error::new(syncd::leash(args.into_iter().skip(1)))
            .context("cannot start a program")
            .into())),
        Some(name) if roles::is_service(&name) => {
            exit::finish(roles::run_service(args.into_iter().skip(1)).map_err(service_failure))
        }
        _ => cli::run(args),
    }
}

/// A service's own errors are in its log already, and so are those of its start once it has a log.
fn service_failure(error: anyhow::Error) -> Failure {
    match error.downcast_ref::<ServiceError>() {
        None | Some(ServiceError::Log(_)) => error.into(),
        Some(_) => Failure::Silent(exit::FAILED),
    }
}
