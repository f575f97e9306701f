//! The command line: what there is to type, and which command answers it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use dccd_config::{Config, Loaded, Lookup};
use dccd_registry::{RuntimeDir, RuntimeDirError};
use dccd_rpc::remote::RemoteAddress;
use dccd_rpc::root::ROOT_NAME;

use crate::commands;
use crate::exit::{self, Failure};
use crate::output::say;
use crate::remote::{self, Needs};

/// Collects crypto market data: live into shared memory and Parquet, lossless or its loss declared.
#[derive(Debug, Parser)]
#[command(name = "dccd", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    /// Install completions for your shell, or for the one named, and exit
    #[arg(long, value_name = "SHELL", num_args = 0..=1, exclusive = true)]
    install_completion: Option<Option<clap_complete::Shell>>,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Configuration file [default: $DCCD_CONFIG, ./config.yml, ~/.config/dccd/config.yml]
    #[arg(long, short, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Instance: its own processes, rings and lock
    #[arg(long, global = true, value_name = "NAME", default_value = dccd_registry::INSTANCE_DEFAULT, value_parser = instance)]
    pub instance: String,
    /// How much is logged [default: as configured]
    #[arg(long, global = true, value_name = "LEVEL", value_parser = ["trace", "debug", "info", "warn", "error"])]
    pub log_level: Option<String>,
    /// Ask the daemon at this address instead of the one on this host
    #[arg(long, global = true, value_name = "HOST:PORT")]
    pub address: Option<RemoteAddress>,
    /// With --address: file that holds its token [default: $DCCD_RPC_TOKEN]
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// With --address: speak TLS
    #[arg(long, global = true)]
    pub tls: bool,
    /// With --address: speak TLS, and trust the authorities in this file (PEM) alone
    #[arg(long, global = true, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
}

fn instance(text: &str) -> Result<String, RuntimeDirError> {
    RuntimeDir::resolve(text).map(|_| text.to_owned())
}

impl Global {
    /// Finds, reads and checks the configuration.
    pub fn load(&self) -> Result<Loaded, Failure> {
        Ok(Config::load(&Lookup::new(self.config.clone()))?)
    }

    /// The same, and tells the user what should be known about it.
    pub fn load_aloud(&self) -> Result<Loaded, Failure> {
        let loaded = self.load()?;
        for warning in &loaded.warnings {
            say(format_args!("warning: {}: {warning}", loaded.path.display()));
        }
        for warning in crate::histo::warnings(&loaded.config) {
            say(format_args!("warning: {}: {warning}", loaded.path.display()));
        }
        Ok(loaded)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a first configuration, from a few questions or flags
    Init(commands::init::Arguments),
    /// Check this host for what usually goes wrong, with a remedy for each
    Doctor(commands::doctor::Arguments),
    /// Check the configuration and print its summary
    Validate,
    /// Add a market to the history jobs of the configuration file
    Add(commands::edit::AddArguments),
    /// Remove a market from the history jobs of the configuration file; stored data stays
    Remove(commands::edit::Arguments),
    /// Start dccd-root and the services that the configuration needs
    Start(commands::start::Arguments),
    /// Stop everything; returns when it is flushed and gone
    Stop(commands::stop::Arguments),
    /// Replace one service without a moment between, or stop and start everything
    Restart(commands::restart::Arguments),
    /// Take the configuration file in anew: what is different changes, everything else goes on
    Reload(commands::reload::Arguments),
    /// List the running services, dccd-root first
    Services(commands::services::Arguments),
    /// Show the daemon and its jobs; works without a daemon from the last saved state
    Status(commands::status::Arguments),
    /// Stop running history jobs by the clock, or recording live, until they are resumed
    Pause(commands::jobs::Arguments),
    /// Run paused jobs again
    Resume(commands::jobs::Arguments),
    /// Run a history job now: fetch all that its series lack
    Run(commands::jobs::RunArguments),
    /// Fill every hole of the history jobs' series, from the market's listing to now
    Backfill(commands::backfill::Arguments),
    /// Fetch the newest candles of every history job, once
    Collect(commands::collect::Arguments),
    /// List what is stored
    Inventory(commands::inventory::Arguments),
    /// List when what is missing was, and why
    Gaps(commands::gaps::Arguments),
    /// Write the rows of a series as CSV, JSON lines or Parquet
    Export(commands::export::Arguments),
    /// Bring candle files of dccd 2.x into the form of today; the originals are kept
    Convert(commands::convert::Arguments),
    /// Read the stored files back and prove order, uniqueness, continuity and declared gaps
    Verify(commands::verify::Arguments),
    /// List the exchanges and what can be collected of each
    Exchanges(commands::exchanges::Arguments),
    /// Find symbols, best match first
    Search(commands::search::Arguments),
    /// Show how far the copies of the store are, or bring them up to date; works without a daemon
    Sync(commands::sync::Arguments),
    /// Print live records from the ring
    Tail(commands::tail::Arguments),
    /// Show what the services have logged, merged by time
    Logs(commands::logs::Arguments),
    /// Write units for systemd, one for each instance
    Service(commands::service::Arguments),
    /// Show how much the services log, or change it while they run
    LogLevel(commands::log_level::Arguments),
    /// Show what is wrong and whom it was told; try the webhooks; silence alerts
    Alerts(commands::alerts::Arguments),
    /// Print completions for a shell
    Completion(commands::completion::Arguments),
    /// Watch the whole of it for twenty seconds against a simulated exchange
    Demo(commands::demo::Arguments),
    /// Run a simulated exchange
    Sim(Box<commands::sim::Arguments>),
}

impl Command {
    /// What is typed for it, and what it needs of the host it runs on.
    fn needs(&self) -> (&'static str, Needs) {
        match self {
            Self::Init(_) => ("init", Needs::Configuration),
            Self::Doctor(_) => ("doctor", Needs::Configuration),
            Self::Validate => ("validate", Needs::Configuration),
            Self::Add(_) => ("add", Needs::Configuration),
            Self::Remove(_) => ("remove", Needs::Configuration),
            Self::Start(_) => ("start", Needs::Processes),
            Self::Stop(_) => ("stop", Needs::Daemon),
            Self::Restart(arguments) => match arguments.service() {
                None => ("restart", Needs::Processes),
                Some(ROOT_NAME) => ("restart dccd-root", Needs::Processes),
                Some(_) => ("restart", Needs::Daemon),
            },
            Self::Reload(_) => ("reload", Needs::Daemon),
            Self::Services(_) => ("services", Needs::Daemon),
            Self::Status(_) => ("status", Needs::Daemon),
            Self::Pause(_) => ("pause", Needs::Daemon),
            Self::Resume(_) => ("resume", Needs::Daemon),
            Self::Run(arguments) if arguments.is_dry() => ("run --dry-run", Needs::Store),
            Self::Run(_) => ("run", Needs::Daemon),
            Self::Backfill(arguments) if arguments.asks_only() => ("backfill", Needs::Daemon),
            Self::Backfill(_) => ("backfill", Needs::Store),
            Self::Collect(_) => ("collect", Needs::Store),
            Self::Inventory(_) => ("inventory", Needs::Store),
            Self::Gaps(_) => ("gaps", Needs::Store),
            Self::Export(_) => ("export", Needs::Store),
            Self::Convert(_) => ("convert", Needs::Store),
            Self::Verify(_) => ("verify", Needs::Store),
            Self::Sync(_) => ("sync", Needs::Store),
            Self::Exchanges(_) => ("exchanges", Needs::Neither),
            Self::Search(_) => ("search", Needs::Daemon),
            Self::Tail(_) => ("tail", Needs::Rings),
            Self::Logs(_) => ("logs", Needs::Logs),
            Self::Service(_) => ("service", Needs::Processes),
            Self::LogLevel(_) => ("log-level", Needs::Daemon),
            Self::Alerts(arguments) if arguments.asks_only() => ("alerts", Needs::Daemon),
            Self::Alerts(_) => ("alerts test", Needs::Configuration),
            Self::Completion(_) => ("completion", Needs::Neither),
            Self::Demo(_) => ("demo", Needs::Neither),
            Self::Sim(_) => ("sim", Needs::Neither),
        }
    }
}

/// The groups of `dccd --help`. A test sees to it that each command stands in one.
const GROUPS: &[(&str, &[&str])] = &[
    ("Set up", &["init", "doctor", "validate", "add", "remove", "completion"]),
    (
        "Run",
        &[
            "start",
            "stop",
            "restart",
            "reload",
            "services",
            "status",
            "pause",
            "resume",
            "run",
            "logs",
            "log-level",
            "alerts",
            "service",
        ],
    ),
    (
        "Data",
        &["backfill", "collect", "inventory", "gaps", "verify", "export", "convert", "sync", "exchanges", "search", "tail"],
    ),
    ("Try", &["demo", "sim"]),
];

/// The whole command line, its help grouped.
pub fn command() -> clap::Command {
    let command = Cli::command();
    let style = command.get_styles().clone();
    let (header, literal) = (style.get_header(), style.get_literal());
    let mut groups = String::new();
    for (title, names) in GROUPS {
        groups.push_str(&format!("{header}{title}:{header:#}\n"));
        for name in *names {
            let about = command.find_subcommand(name).and_then(clap::Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            groups.push_str(&format!("  {literal}{name:<12}{literal:#}{about}\n"));
        }
        groups.push('\n');
    }
    let after = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 10 already running, 11 not running, 12 could not start,
130 and 143 interrupted. Data goes to standard output, everything else to standard error.";
    command
        .help_template(format!("{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{groups}{header}Options:{header:#}\n{{options}}{{after-help}}"))
        .after_help(after)
}

/// Reads the command line and does what it says.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let parsed = command().try_get_matches_from(args).and_then(|matches| Cli::from_arg_matches(&matches));
    match parsed {
        Ok(cli) => exit::finish(dispatch(cli)),
        Err(error) => {
            // Help and version go to standard output, usage errors to standard error; nobody hearing them is no error.
            let _ = error.print();
            if error.use_stderr() { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS }
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    let global = &cli.global;
    if let Some(shell) = cli.install_completion {
        return commands::completion::install(shell);
    }
    let Some(command) = cli.command else {
        say(self::command().render_help());
        return Err(Failure::Silent(exit::USAGE));
    };
    let (name, needs) = command.needs();
    remote::check(global, name, needs)?;
    match command {
        Command::Init(arguments) => commands::init::run(global, &arguments),
        Command::Doctor(arguments) => commands::doctor::run(global, &arguments),
        Command::Validate => commands::validate::run(global),
        Command::Add(arguments) => commands::edit::add(global, &arguments),
        Command::Remove(arguments) => commands::edit::remove(global, &arguments),
        Command::Start(arguments) => commands::start::run(global, &arguments),
        Command::Stop(arguments) => commands::stop::run(global, &arguments),
        Command::Restart(arguments) => commands::restart::run(global, &arguments),
        Command::Reload(arguments) => commands::reload::run(global, &arguments),
        Command::Services(arguments) => commands::services::run(global, &arguments),
        Command::Status(arguments) => commands::status::run(global, &arguments),
        Command::Pause(arguments) => commands::jobs::run(global, &arguments, true),
        Command::Resume(arguments) => commands::jobs::run(global, &arguments, false),
        Command::Run(arguments) => commands::jobs::run_now(global, &arguments),
        Command::Backfill(arguments) => commands::backfill::run(global, &arguments),
        Command::Collect(arguments) => commands::collect::run(global, &arguments),
        Command::Inventory(arguments) => commands::inventory::run(global, &arguments),
        Command::Gaps(arguments) => commands::gaps::run(global, &arguments),
        Command::Export(arguments) => commands::export::run(global, &arguments),
        Command::Convert(arguments) => commands::convert::run(global, &arguments),
        Command::Verify(arguments) => commands::verify::run(global, &arguments),
        Command::Exchanges(arguments) => commands::exchanges::run(&arguments),
        Command::Search(arguments) => commands::search::run(global, &arguments),
        Command::Sync(arguments) => commands::sync::run(global, &arguments),
        Command::Tail(arguments) => commands::tail::run(global, &arguments),
        Command::Logs(arguments) => commands::logs::run(global, &arguments),
        Command::LogLevel(arguments) => commands::log_level::run(global, &arguments),
        Command::Service(arguments) => commands::service::run(global, &arguments),
        Command::Alerts(arguments) => commands::alerts::run(global, &arguments),
        Command::Completion(arguments) => commands::completion::run(&arguments),
        Command::Demo(arguments) => commands::demo::run(&arguments),
        Command::Sim(arguments) => commands::sim::run(global, &arguments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound_and_every_command_stands_in_one_group() {
        command().debug_assert();
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let command = command();
        let mut known: Vec<&str> =
            command.get_subcommands().filter(|sub| !sub.is_hide_set()).map(clap::Command::get_name).collect();
        grouped.sort_unstable();
        known.sort_unstable();
        assert_eq!(grouped, known);
    }

    /// Whatever a document tells people to type is understood.
    #[test]
    fn every_command_line_of_the_documents_is_one() {
        let mut found = 0;
        for document in ["README.md", "docs/guide/quickstart.md"] {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../").to_owned() + document;
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{document}: {error}"));
            let prompts = text.lines().filter_map(|line| line.trim_start().strip_prefix("$ "));
            let inline = text.split('`').skip(1).step_by(2);
            for typed in prompts.chain(inline).filter(|typed| typed.starts_with("dccd ") && !typed.contains('\n')) {
                let words = typed.split(" #").next().unwrap_or_default().split_whitespace();
                if let Err(error) = command().try_get_matches_from(words) {
                    assert!(!error.use_stderr(), "{document}: {typed}\n{error}");
                }
                found += 1;
            }
        }
        assert!(found >= 8, "only {found} command lines were found");
    }
}
