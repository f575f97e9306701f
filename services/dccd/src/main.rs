//! The `dccd` executable: the command line, or, by the name it is called by, one of the services.
#![allow(unreachable_pub, reason = "an executable has no public API; `pub` says what its modules offer each other")]

mod cli;
mod commands;
mod demo;
mod exit;
mod output;
mod roles;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    // A path is how people call the program; the root calls services by their bare names.
    let name = args.first().map(|name| Path::new(name).file_name().unwrap_or(name).to_string_lossy().into_owned());
    match name {
        Some(name) if roles::is_service(&name) => {
            exit::finish(roles::run_service(args.into_iter().skip(1)).map_err(Into::into))
        }
        _ => cli::run(args),
    }
}
