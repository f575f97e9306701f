//! `dccd validate`: checks the configuration, prints its summary, and what the exchanges' lists of last time say against its markets.

use anyhow::Context as _;

use crate::cli::Global;
use crate::exit::Failure;
use crate::output::{Out, say};
use crate::roles;

/// Reads the file; everything that is wrong with it is the error.
pub fn run(global: &Global) -> Result<(), Failure> {
    let loaded = global.load_aloud()?;
    let config = &loaded.config;
    if let Some(options) = roles::rpc_options(config)? {
        // The files that it names; a root would not start with them.
        dccd_root::check_rpc(&options).with_context(|| format!("{}: daemon.rpc", loaded.path.display()))?;
    }
    say(format_args!("checked {}", loaded.path.display()));
    let local = &config.storage.local_path;
    let data_path = if local.as_os_str().is_empty() { &config.settings.data_path } else { local };
    let mut out = Out::new();
    out.line(format_args!("data_path: {}", data_path.display()))?;
    out.line(format_args!("timezone: {}", config.settings.timezone))?;
    out.line(format_args!("remotes: {}", config.storage.remotes.len()))?;
    out.line(format_args!("histo_jobs: {}", config.histo_jobs.len()))?;
    out.line(format_args!("stream_jobs: {}", config.stream_jobs.len()))?;
    for objection in crate::listing::objections(config) {
        say(format_args!("warning: {objection}"));
    }
    out.line("Config is valid.")?;
    out.flush()
}
