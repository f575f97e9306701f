//! `dccd doctor`: what usually goes wrong, looked at before it does. All checks run at the same time, each with its own deadline;
//! none needs a daemon, and none changes anything.

mod exchange;
mod host;
mod paths;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use clap::Args;
use dccd_config::{Config, ConfigErrors, Loaded, Lookup, Provider};
use dccd_registry::RuntimeDir;
use futures_util::future::join_all;
use serde::Serialize;

use crate::cli::Global;
use crate::commands::block_on;
use crate::exit::{self, Failure};
use crate::output::{Listing, Out, say};

/// Patience with one check.
const CHECK_DEADLINE: Duration = Duration::from_secs(12);

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    Warning,
    Failed,
}

/// One check, as `--json` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    check: String,
    status: Status,
    /// What was seen.
    measured: String,
    /// What to do; `None` where all is well.
    remedy: Option<String>,
}

impl Finding {
    fn ok(check: impl Into<String>, measured: impl Into<String>) -> Self {
        Self { check: check.into(), status: Status::Ok, measured: measured.into(), remedy: None }
    }

    fn warning(check: impl Into<String>, measured: impl Into<String>, remedy: impl Into<String>) -> Self {
        let remedy = Some(remedy.into());
        Self { check: check.into(), status: Status::Warning, measured: measured.into(), remedy }
    }

    fn failed(check: impl Into<String>, measured: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status: Status::Failed, ..Self::warning(check, measured, remedy) }
    }
}

/// A check under way.
type Checking<'a> = Pin<Box<dyn Future<Output = Vec<Finding>> + 'a>>;

/// A check that asks nobody but this host; off the runtime, because a dead disk blocks.
fn blocking<'a>(name: &'static str, look: impl FnOnce() -> Vec<Finding> + Send + 'static) -> Checking<'a> {
    within(name.to_owned(), async move {
        let looked = tokio::task::spawn_blocking(look).await;
        looked.unwrap_or_else(|error| vec![Finding::failed(name, error.to_string(), "report this: a check has a fault")])
    })
}

/// A check that has its deadline.
fn within<'a>(name: String, check: impl Future<Output = Vec<Finding>> + 'a) -> Checking<'a> {
    Box::pin(async move {
        tokio::time::timeout(CHECK_DEADLINE, check).await.unwrap_or_else(|_| {
            let seconds = CHECK_DEADLINE.as_secs();
            vec![Finding::failed(
                name,
                format!("no result within {seconds} s"),
                "see what it waits for: a dead disk or network?",
            )]
        })
    })
}

/// Looks and tells; code 1 when something failed.
pub fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    let loaded = Config::load(&Lookup::new(global.config.clone()));
    let runtime_dir = RuntimeDir::resolve(&global.instance)?;
    let findings = block_on(async {
        let mut findings = vec![of_configuration(&loaded)];
        let checks = checks(loaded.as_ref().ok(), &global.instance, &runtime_dir);
        findings.extend(join_all(checks).await.into_iter().flatten());
        Ok(findings)
    })?;
    let mut out = Out::new();
    if arguments.json {
        out.json(&findings)?;
    } else {
        let mut listing = Listing::new(&["check", "status", "~measured"]);
        for finding in &findings {
            let status = match finding.status {
                Status::Ok => "ok",
                Status::Warning => "warning",
                Status::Failed => "failed",
            };
            listing.row([finding.check.clone(), status.to_owned(), finding.measured.clone()]);
        }
        listing.print(&mut out)?;
        for finding in &findings {
            if let Some(remedy) = &finding.remedy {
                say(format_args!("{}: {remedy}", finding.check));
            }
        }
    }
    let failed = findings.iter().any(|finding| finding.status == Status::Failed);
    if failed { Err(Failure::Silent(exit::FAILED)) } else { Ok(()) }
}

fn of_configuration(loaded: &Result<Loaded, ConfigErrors>) -> Finding {
    let check = "configuration";
    match loaded {
        Ok(loaded) if loaded.warnings.is_empty() => Finding::ok(check, format!("{} is valid", loaded.path.display())),
        Ok(loaded) => {
            let measured = format!("{} is valid, with {} warnings", loaded.path.display(), loaded.warnings.len());
            Finding::warning(check, measured, "dccd validate shows them")
        }
        Err(ConfigErrors::NotFound { .. }) => {
            Finding::failed(check, "there is none", "dccd init writes one; --config FILE names another")
        }
        Err(ConfigErrors::Invalid { path, errors, .. }) => {
            let measured = format!("{} has {} errors", path.display(), errors.len());
            Finding::failed(check, measured, "dccd validate shows them")
        }
        Err(error) => Finding::failed(
            check,
            error.to_string().trim_end().to_owned(),
            "make it readable, or name another with --config",
        ),
    }
}

/// Everything else; what needs the configuration only where there is one.
fn checks<'a>(loaded: Option<&'a Loaded>, instance: &str, runtime_dir: &RuntimeDir) -> Vec<Checking<'a>> {
    let own = runtime_dir.clone();
    let mut checks = vec![blocking("runtime directory", move || vec![paths::runtime_directory(&own)])];
    let Some(loaded) = loaded else {
        checks.push(blocking("open files", || vec![host::open_files(0)]));
        return checks;
    };
    let config = &loaded.config;
    let data_path = config.data_path().to_owned();
    let feeds = host::Feeds::of(config);
    let (most, rings) = (feeds.most, feeds.ring_bytes);
    checks.push(blocking("open files", move || vec![host::open_files(most)]));
    let name = instance.to_owned();
    checks.push(blocking("shared memory", move || vec![host::shared_memory(&name, rings)]));
    let copy = loaded.clone();
    checks.push(blocking("secrets", move || vec![paths::secrets(&copy)]));
    let path = data_path.clone();
    checks.push(blocking("data directory", move || vec![paths::data_directory(&path)]));
    let (path, journal) = (data_path.clone(), feeds.journal_bytes(config));
    checks.push(blocking("disk", move || vec![host::disk(&path, feeds.day_bytes, journal)]));
    let (own, pid_file) = (runtime_dir.clone(), config.daemon.pid_file.clone());
    // Looks at processes through the runtime.
    checks.push(within("locks".to_owned(), async move { paths::locks(&own, &data_path, pid_file.as_deref()) }));
    let listens = [
        ("daemon.http.address", config.daemon.http.as_ref().map(|http| http.address)),
        ("daemon.rpc.address", config.daemon.rpc.as_ref().map(|rpc| rpc.address)),
    ];
    let listens: Vec<_> = listens.into_iter().filter_map(|(key, address)| Some((key, address?))).collect();
    let own = runtime_dir.clone();
    checks.push(blocking("ports", move || host::ports(listens, &own)));
    if config.storage.remotes.iter().any(|remote| remote.provider == Provider::Rclone) {
        checks.push(within("rclone".to_owned(), host::rclone(config)));
    }
    for exchange in config.collected_exchanges() {
        checks.extend(exchange::checks(config, &exchange));
    }
    checks
}
