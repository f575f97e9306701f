//! The text of our units: one template for all instances, and beside it what is special to one.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;

/// The first line of each file that we write, by which we know it again.
pub const MARK: &str = "# Written by `dccd service install`.";
/// The template's file.
pub const TEMPLATE: &str = "dccd@.service";
/// The file of one instance, in a directory of its own.
pub const DROP_IN: &str = "10-dccd.conf";

/// Whose units they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The user's own.
    User,
    /// The host's.
    System,
}

/// What is special to an instance.
#[derive(Clone, Debug)]
pub struct Instance<'a> {
    /// What is executed.
    pub executable: &'a Path,
    /// The configuration file.
    pub config: &'a Path,
    /// Where relative paths of the configuration count from.
    pub directory: &'a Path,
    /// All that it writes to.
    pub writes: Vec<PathBuf>,
    /// The user that it runs as; of the host's units alone.
    pub user: Option<&'a str>,
    /// `daemon.shutdown_timeout`.
    pub shutdown_timeout: Duration,
}

/// The template of all instances.
///
/// # Errors
/// When the executable's path can't stand in a unit.
pub fn template(scope: Scope, executable: &Path) -> anyhow::Result<String> {
    let dccd = word(executable)?;
    let network = match scope {
        Scope::System => "After=network-online.target time-sync.target\nWants=network-online.target\n",
        // The user's manager knows neither; a collector without a network waits for it by itself.
        Scope::User => "",
    };
    let target = match scope {
        Scope::System => "multi-user.target",
        Scope::User => "default.target",
    };
    let hardening = match scope {
        Scope::System => format!("{HARDENING}{HARDENING_OF_SYSTEM}"),
        Scope::User => HARDENING.to_owned(),
    };
    Ok(format!(
        "{MARK}
# What is special to an instance NAME stands in dccd@NAME.service.d/{DROP_IN}; changes of yours go beside it
# (systemctl edit dccd@NAME), where the next installation leaves them alone.

[Unit]
Description=dccd market data, instance %i
{network}# Ten failures in ten minutes are final.
StartLimitIntervalSec=600
StartLimitBurst=10

[Service]
# Started means: every service of the configuration is ready, or has failed more than once (`systemctl status` names it).
Type=notify
NotifyAccess=main
ExecStart={dccd} start --foreground --instance %i
# What is different in the configuration is taken in under running services; a wrong one is refused and changes nothing. A new
# executable is taken up by: dccd restart dccd-root --instance %i
ExecReload={dccd} reload --instance %i
TimeoutStartSec=120
# Variables of the configuration: lines of NAME=value, in a file that nobody else reads.
EnvironmentFile=-%E/dccd/%i.env
# dccd-root says that it lives as long as its loop turns; one that hangs is killed, and started again.
WatchdogSec=30
Restart=on-failure
RestartSec=1
# 2: wrong usage, 10: it runs already. Neither mends itself. 12: it could not start; a port or a disk may come yet, a wrong
# configuration ends with the tenth failure.
RestartPreventExitStatus=2 10

# Only dccd-root is signalled. Told to stop it stops its services in order and ends last. Where it dies, or the watchdog kills it,
# the services go on collecting, and the next one (Restart=) adopts them: nothing is lost. Where none comes they
# flush and end by themselves after daemon.orphan_grace.
# The other way is KillMode=mixed: all that is left is killed the moment dccd-root is gone. Then nothing outlives the
# unit, and every death of dccd-root costs a gap in each feed, declared.
KillMode=process
# A service that the kernel kills for its memory is dccd-root's to restart, not a reason to stop the others.
OOMPolicy=continue
# Control groups of its own, for the limits of services; dccd-root in one below them (systemd 254 and later).
Delegate=memory cpu
DelegateSubgroup=dccd-root

# What dccd-root logs goes to the journal, and as what its services log into files: `dccd logs`.
StandardOutput=journal
StandardError=journal
SyslogIdentifier=dccd@%i
LimitNOFILE=65536
UMask=0027

# It needs the network, its store, shared memory for the rings, and nothing else.
{hardening}
[Install]
WantedBy={target}
"
    ))
}

/// What needs no privileges, so that a user's own manager can do it, too.
const HARDENING: &str = "\
NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
";

/// What only the host's manager can do. The control groups, which limits of services need, are left open.
const HARDENING_OF_SYSTEM: &str = "\
CapabilityBoundingSet=
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=no
";

/// What an instance adds to the template.
///
/// # Errors
/// When a path can't stand in a unit.
pub fn drop_in(instance: &Instance<'_>) -> anyhow::Result<String> {
    let mut text = format!("{MARK}\n[Service]\n");
    let mut line = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name}={value}");
    };
    line("Environment", &assignment("DCCD_CONFIG", instance.config)?);
    // Relative paths of the configuration count from here.
    line("WorkingDirectory", &plain(instance.directory)?);
    // Two rounds of services, each with that patience, and some time for the rest.
    line("TimeoutStopSec", &(instance.shutdown_timeout.as_secs() * 2 + 30).to_string());
    let Some(user) = instance.user else { return Ok(text) };
    line("User", user);
    // Sockets and records of services, which a restart must find again.
    let runtime = runtime_directory(user);
    line("RuntimeDirectory", &runtime);
    line("RuntimeDirectoryMode", "0700");
    line("RuntimeDirectoryPreserve", "yes");
    line("Environment", &format!("XDG_RUNTIME_DIR=%t/{runtime}"));
    for path in &instance.writes {
        line("ReadWritePaths", &word(path)?);
    }
    let own = [instance.executable, instance.config, instance.directory];
    let paths = instance.writes.iter().map(PathBuf::as_path).chain(own);
    line("ProtectHome", if paths.into_iter().any(is_home) { "read-only" } else { "yes" });
    Ok(text)
}

/// Whether a path lies in somebody's home, as systemd sees it.
pub fn is_home(path: &Path) -> bool {
    ["/home", "/root", "/run/user"].iter().any(|home| path.starts_with(home))
}

/// The directory below `/run` of a user's instances.
pub fn runtime_directory(user: &str) -> String {
    if user == "dccd" { user.to_owned() } else { format!("dccd-{user}") }
}

/// A path as one word of a setting that is a list of words.
fn word(path: &Path) -> anyhow::Result<String> {
    Ok(format!("\"{}\"", escaped(text(path)?)))
}

/// A variable as one word of `Environment=`.
fn assignment(name: &str, path: &Path) -> anyhow::Result<String> {
    Ok(format!("\"{name}={}\"", escaped(text(path)?)))
}

/// A path as a setting that is a path: no quotes are known there.
fn plain(path: &Path) -> anyhow::Result<String> {
    Ok(text(path)?.replace('%', "%%"))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%")
}

fn text(path: &Path) -> anyhow::Result<&str> {
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control));
    text.ok_or_else(|| anyhow!("{} has characters in it that cannot stand in a unit", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_what_systemd_reads_back() {
        let path = Path::new("/a b/50% of \"it\"\\x");
        assert_eq!(word(path).unwrap(), r#""/a b/50%% of \"it\"\\x""#);
        assert_eq!(assignment("A", path).unwrap(), r#""A=/a b/50%% of \"it\"\\x""#);
        assert_eq!(plain(path).unwrap(), r#"/a b/50%% of "it"\x"#);
        assert!(word(Path::new("/a\nExecStart=/bin/sh")).is_err());
    }

    #[test]
    fn an_instance_of_the_host_may_write_its_store_alone() {
        let instance = Instance {
            executable: Path::new("/usr/bin/dccd"),
            config: Path::new("/etc/dccd/prod.yml"),
            directory: Path::new("/"),
            writes: vec!["/srv/my data".into(), "/var/log/dccd".into()],
            user: Some("dccd"),
            shutdown_timeout: Duration::from_secs(60),
        };
        let text = drop_in(&instance).unwrap();
        for line in [
            "Environment=\"DCCD_CONFIG=/etc/dccd/prod.yml\"",
            "TimeoutStopSec=150",
            "User=dccd",
            "RuntimeDirectoryPreserve=yes",
            "Environment=XDG_RUNTIME_DIR=%t/dccd",
            "ReadWritePaths=\"/srv/my data\"",
            "ReadWritePaths=\"/var/log/dccd\"",
            "ProtectHome=yes",
        ] {
            assert!(text.lines().any(|has| has == line), "{line} is missing in:\n{text}");
        }
        let at_home = Instance { writes: vec!["/home/ada/crypto".into()], user: Some("ada"), ..instance.clone() };
        let text = drop_in(&at_home).unwrap();
        assert!(text.contains("ProtectHome=read-only") && text.contains("RuntimeDirectory=dccd-ada\n"), "{text}");
        let by_cargo = Instance { executable: Path::new("/root/.cargo/bin/dccd"), ..instance.clone() };
        assert!(drop_in(&by_cargo).unwrap().contains("ProtectHome=read-only"));
        let own = drop_in(&Instance { user: None, ..instance }).unwrap();
        assert!(!own.contains("User=") && !own.contains("ReadWritePaths"), "{own}");
    }
}
