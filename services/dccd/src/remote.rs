//! `--address`: which commands can ask a daemon from afar, and what they need to get in.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use dccd_config::{Config, ConfigErrors, Lookup};
use dccd_rpc::remote::{Remote, RemoteAddress, Token, certificates};

use crate::cli::Global;
use crate::exit::{self, Failure};

/// Where the token is looked for that no option names.
pub const TOKEN_VARIABLE: &str = "DCCD_RPC_TOKEN";

/// What a command needs of the host it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: it asks the daemon.
    Daemon,
    /// The store.
    Store,
    /// The configuration file.
    Configuration,
    /// Shared memory.
    Rings,
    /// Log files.
    Logs,
    /// Its processes.
    Processes,
    /// Nothing, and no daemon either.
    Neither,
}

/// Refuses what can't be done from afar, rather than to do it here.
pub fn check(global: &Global, command: &str, needs: Needs) -> Result<(), Failure> {
    let usage = |message: String| Err(Failure::message(exit::USAGE, message));
    let Some(address) = &global.address else {
        let given =
            [("--token-file", global.token_file.is_some()), ("--tls", global.tls), ("--tls-ca", global.tls_ca.is_some())];
        return match given.into_iter().find(|(_, given)| *given) {
            Some((option, _)) => usage(format!("{option} is for a daemon at an address; add --address HOST:PORT")),
            None => Ok(()),
        };
    };
    let what = match needs {
        Needs::Daemon => return Ok(()),
        Needs::Neither => return usage(format!("`dccd {command}` asks no daemon; leave --address out")),
        Needs::Store => "works on the store",
        Needs::Configuration => "works on the configuration file",
        Needs::Rings => "reads the shared memory",
        Needs::Logs => "reads the log files",
        Needs::Processes => "starts processes",
    };
    usage(format!(
        "`dccd {command}` {what} of the host it runs on, and can't be used with --address; run it on {0} itself, as in: ssh {0} dccd {command}",
        address.host()
    ))
}

/// The daemon that `--address` names, with what to show it; `None` without that option.
pub fn remote(global: &Global) -> Result<Option<Remote>, Failure> {
    let Some(address) = global.address.clone() else { return Ok(None) };
    let own = own(global, &address)?;
    let token = token(global, own.as_ref())?;
    let configured = own.as_ref().and_then(|config| config.daemon.rpc.as_ref()?.tls.as_ref());
    let tls = match (&global.tls_ca, configured) {
        (Some(authority), _) => Some(dccd_net::tls_trusting(&read(authority)?, false)),
        // Signed by itself, as like as not.
        (None, Some(files)) => Some(dccd_net::tls_trusting(&read(&files.certificate)?, true)),
        (None, None) => global.tls.then(|| dccd_net::tls_trusting(&[], true)),
    };
    Ok(Some(Remote { address, token, tls }))
}

fn read(path: &Path) -> Result<Vec<dccd_net::CertificateDer<'static>>, Failure> {
    Ok(certificates(path)?)
}

/// The configuration of this host, where it is that of the daemon at this address.
fn own(global: &Global, address: &RemoteAddress) -> Result<Option<Config>, Failure> {
    let loaded = match Config::load(&Lookup::new(global.config.clone())) {
        Ok(loaded) => loaded,
        // Nobody has asked for it.
        Err(ConfigErrors::NotFound { .. }) => return Ok(None),
        Err(_) if global.config.is_none() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let host = if address.host() == "localhost" { "127.0.0.1" } else { address.host() };
    let meant = host.parse().ok().map(|ip| SocketAddr::new(ip, address.port()));
    let is_own = |config: &Config| config.daemon.rpc.as_ref().is_some_and(|rpc| Some(rpc.address) == meant);
    Ok(Some(loaded.config).filter(is_own))
}

fn token(global: &Global, own: Option<&Config>) -> Result<Option<Token>, Failure> {
    if let Some(path) = &global.token_file {
        return Ok(Some(Token::from_file_or_pipe(path).context("the token can't be used (--token-file)")?));
    }
    if let Some(text) = std::env::var_os(TOKEN_VARIABLE).filter(|text| !text.is_empty()) {
        let token = Token::parse(&text.to_string_lossy());
        return Ok(Some(token.with_context(|| format!("the token can't be used ({TOKEN_VARIABLE})"))?));
    }
    let Some(rpc) = own.and_then(|config| config.daemon.rpc.as_ref()) else { return Ok(None) };
    match (&rpc.token, &rpc.token_file) {
        (Some(token), _) => Ok(Some(Token::parse(token.reveal()).context("the token can't be used (daemon.rpc.token)")?)),
        (None, Some(path)) => Ok(Some(Token::from_file(path).context("the token can't be used (daemon.rpc.token_file)")?)),
        (None, None) => Ok(None),
    }
}
