//! `dccd service`: units for systemd, one template for all instances.

mod unit;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use dccd_config::{Config, Loaded};
use dccd_registry::RuntimeDir;

use self::unit::{DROP_IN, Instance, MARK, Scope, TEMPLATE};
use crate::cli::Global;
use crate::exit::Failure;
use crate::files;
use crate::output::{Out, say};

/// Where the host's units of an administrator stand.
const SYSTEM_UNITS: &str = "/etc/systemd/system";

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write the unit of this instance, and say what to type next
    Install(Install),
    /// Remove the unit of this instance; data and configuration stay
    Uninstall(Uninstall),
}

#[derive(Debug, Args)]
struct Install {
    #[command(flatten)]
    scope: ScopeArguments,
    /// The user that it runs as, of --system [default: dccd]
    #[arg(long, value_name = "USER", conflicts_with = "user", value_parser = user_name)]
    run_as: Option<String>,
    /// Replace units that dccd did not write
    #[arg(long)]
    force: bool,
    /// Print what would be written, and where
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
struct Uninstall {
    #[command(flatten)]
    scope: ScopeArguments,
    /// Remove it although it is enabled, and also what dccd did not write
    #[arg(long)]
    force: bool,
    /// Print what would be removed
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, Args)]
#[group(required = true, multiple = false)]
struct ScopeArguments {
    /// For this user: ~/.config/systemd/user
    #[arg(long)]
    user: bool,
    /// For the host: /etc/systemd/system
    #[arg(long)]
    system: bool,
}

impl ScopeArguments {
    fn scope(self) -> Scope {
        if self.system { Scope::System } else { Scope::User }
    }
}

/// A name as `useradd` takes them.
fn user_name(text: &str) -> Result<String, String> {
    let is_name = text.len() <= 31
        && text.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_');
    if is_name { Ok(text.to_owned()) } else { Err("expected a user's name such as dccd".to_owned()) }
}

/// Installs or uninstalls.
pub fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    // A name that is none is said to be so, before anything is written under it.
    RuntimeDir::resolve(&global.instance)?;
    match &arguments.action {
        Action::Install(install) => run_install(global, install),
        Action::Uninstall(uninstall) => run_uninstall(global, uninstall),
    }
}

fn run_install(global: &Global, install: &Install) -> Result<(), Failure> {
    let loaded = global.load_aloud()?;
    let scope = install.scope.scope();
    let user = (scope == Scope::System).then(|| install.run_as.as_deref().unwrap_or("dccd"));
    let executable = std::env::current_exe().context("cannot find this executable on the disk")?;
    let here = std::env::current_dir().context("cannot tell the current directory")?;
    let directory = if counts_from(&loaded.config, &here) { here } else { PathBuf::from("/") };
    let instance = Instance {
        executable: &executable,
        config: &loaded.path,
        directory: &directory,
        writes: writes(&loaded.config),
        user,
        shutdown_timeout: loaded.config.daemon.shutdown_timeout,
    };
    let units = units(scope)?;
    let files = [
        (units.join(TEMPLATE), unit::template(scope, &executable)?),
        (drop_in(&units, &global.instance), unit::drop_in(&instance)?),
    ];
    if install.dry_run {
        let mut out = Out::new();
        for (path, text) in &files {
            out.line(format_args!("# {}\n{text}", path.display()))?;
        }
        out.flush()?;
    } else {
        for (path, _) in &files {
            ours(path, install.force)?;
        }
        for (path, text) in &files {
            files::write(path, text, 0o644, true).map_err(|error| with_help(error, scope))?;
            say(format_args!("wrote {}", path.display()));
        }
    }
    say(if install.dry_run { "then:" } else { "next:" });
    for line in next_steps(global, &loaded, scope, user, &executable) {
        say(format_args!("  {line}"));
    }
    Ok(())
}

/// Whether a path of the configuration is, or may be, a relative one that counts from this directory.
fn counts_from(config: &Config, directory: &Path) -> bool {
    let local = &config.storage.local_path;
    let data = if local.as_os_str().is_empty() { &config.settings.data_path } else { local };
    let daemon = &config.daemon;
    let others = [&daemon.work_dir, &daemon.pid_file, &daemon.log_file];
    data.is_relative() || others.into_iter().flatten().any(|path| path.starts_with(directory))
}

/// Everything that an instance writes to.
fn writes(config: &Config) -> Vec<PathBuf> {
    let daemon = &config.daemon;
    let mut paths = vec![config.data_path().to_owned()];
    let beside = [&daemon.pid_file, &daemon.log_file].into_iter().flatten().filter_map(|path| path.parent());
    paths.extend(beside.map(Path::to_owned));
    paths.dedup();
    paths
}

/// What is left to be typed.
fn next_steps(global: &Global, loaded: &Loaded, scope: Scope, user: Option<&str>, executable: &Path) -> Vec<String> {
    let instance = &global.instance;
    let data = quoted(loaded.config.data_path());
    let config = quoted(&loaded.path);
    let mut lines = Vec::new();
    let (sudo, systemctl) = match scope {
        Scope::User => ("", "systemctl --user"),
        Scope::System => ("sudo ", "sudo systemctl"),
    };
    if let Some(user) = user {
        if unit::is_home(executable) {
            let from = quoted(executable);
            lines.push(format!("sudo install -m 755 {from} /usr/local/bin/dccd     # {user} cannot reach it at home; then install with that one"));
        }
        if !is_known(user) {
            lines.push(format!("sudo useradd --system --home-dir /var/lib/{user} --shell /usr/sbin/nologin {user}"));
        }
        lines.push(format!(
            "sudo install -d -o {user} -g {user} {data}     # what is in it already: sudo chown -R {user}: {data}"
        ));
        if !readable_by_others(&loaded.path) {
            lines.push(format!("sudo chgrp {user} {config} && sudo chmod g+r {config}     # {user} has to read it"));
        }
    }
    if loaded.text.as_str().contains("${") {
        let directory = if scope == Scope::System { "/etc" } else { "~/.config" };
        lines.push(format!("{sudo}install -m 600 /dev/null {directory}/dccd/{instance}.env     # then the configuration's variables into it, NAME=value"));
    }
    lines.push(format!("{systemctl} daemon-reload"));
    lines.push(format!("{systemctl} enable --now dccd@{instance}"));
    match user {
        None => lines.push("loginctl enable-linger     # so that it runs while you are not logged in".to_owned()),
        Some(user) => {
            let runtime = unit::runtime_directory(user);
            lines.push(format!("sudo -u {user} XDG_RUNTIME_DIR=/run/{runtime} dccd services --instance {instance}     # and so on: the commands as its user"));
        }
    }
    lines
}

fn is_known(user: &str) -> bool {
    let known = fs::read_to_string("/etc/passwd").unwrap_or_default();
    known.lines().any(|line| line.split(':').next() == Some(user))
}

fn readable_by_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o004 != 0)
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = text.chars().all(|c| c.is_alphanumeric() || "/._-+,@:".contains(c));
    if is_plain { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

fn run_uninstall(global: &Global, uninstall: &Uninstall) -> Result<(), Failure> {
    let scope = uninstall.scope.scope();
    let units = units(scope)?;
    let instance = &global.instance;
    let systemctl = if scope == Scope::System { "sudo systemctl" } else { "systemctl --user" };
    let own = drop_in(&units, instance);
    if !own.exists() {
        return Err(anyhow!("instance {instance} has no unit: there is no {}", own.display()).into());
    }
    let wanted_by = ["multi-user.target.wants", "default.target.wants"];
    let is_enabled = wanted_by.iter().any(|target| units.join(target).join(format!("dccd@{instance}.service")).is_symlink());
    if is_enabled && !uninstall.force {
        return Err(anyhow!("dccd@{instance} is enabled; first: {systemctl} disable --now dccd@{instance}").into());
    }
    let mut files = vec![own];
    if !others(&units, instance)? {
        files.push(units.join(TEMPLATE));
    }
    for path in &files {
        ours(path, uninstall.force)?;
    }
    for path in files.iter().filter(|path| path.exists()) {
        if uninstall.dry_run {
            say(format_args!("would remove {}", path.display()));
            continue;
        }
        let removed = fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()));
        removed.map_err(|error| with_help(error, scope))?;
        say(format_args!("removed {}", path.display()));
        if let Some(directory) = path.parent().filter(|directory| **directory != units) {
            // One with changes of the user's in it stays.
            let _ = fs::remove_dir(directory);
        }
    }
    say(format_args!("next:\n  {systemctl} daemon-reload"));
    Ok(())
}

/// Whether other instances have a unit of ours.
fn others(units: &Path, instance: &str) -> Result<bool, Failure> {
    let entries = fs::read_dir(units).with_context(|| format!("cannot read {}", units.display()))?;
    let own = format!("dccd@{instance}.service.d");
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names
        .filter(|name| name.starts_with("dccd@") && name.ends_with(".service.d") && *name != own)
        .any(|name| units.join(name).join(DROP_IN).exists()))
}

fn drop_in(units: &Path, instance: &str) -> PathBuf {
    units.join(format!("dccd@{instance}.service.d")).join(DROP_IN)
}

/// The directory of the units.
fn units(scope: Scope) -> anyhow::Result<PathBuf> {
    if scope == Scope::System {
        return Ok(PathBuf::from(SYSTEM_UNITS));
    }
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
    Ok(config.context("neither $XDG_CONFIG_HOME nor $HOME is set")?.join("systemd/user"))
}

/// Refuses what somebody else has put there.
fn ours(path: &Path, force: bool) -> Result<(), Failure> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Ok(text) if force || text.starts_with(MARK) => Ok(()),
        Ok(_) => Err(anyhow!("{} was not written by dccd; --force takes its place", path.display()).into()),
        Err(error) => Err(anyhow::Error::new(error).context(format!("cannot read {}", path.display())).into()),
    }
}

fn with_help(error: anyhow::Error, scope: Scope) -> anyhow::Error {
    let is_denied = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::PermissionDenied)
    };
    if scope == Scope::System && error.chain().any(is_denied) {
        error.context("units of the host are root's to change: with sudo, or --user for your own")
    } else {
        error
    }
}
