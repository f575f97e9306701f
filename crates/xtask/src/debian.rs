//! Other people's programs that tests use: the one that is installed, else the one in Debian's package.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::output;
use crate::summary::Summary;

/// A program.
pub(crate) struct Program {
    name: &'static str,
    /// Debian's package that holds it; unpacked and not installed, it changes nothing on the machine.
    package: &'static str,
    /// What it is asked to see whether it runs.
    asked: &'static str,
    /// What else the package holds that takes much room.
    needless: &'static [&'static str],
}

/// Prometheus' own checker, for the metrics and the alert rules. Half of its package is the server.
pub(crate) const PROMTOOL: Program =
    Program { name: "promtool", package: "prometheus", asked: "--version", needless: &["usr/bin/prometheus"] };
/// What copies the store to remotes.
pub(crate) const RCLONE: Program = Program { name: "rclone", package: "rclone", asked: "version", needless: &[] };

/// Finds it, or fetches it into `home`, where it is kept. Where it can't be had, that is reported as skipped by name.
pub(crate) fn prepare(program: &Program, home: &Path, summary: &mut Summary) -> Option<PathBuf> {
    let fetched = home.join("usr/bin").join(program.name);
    for path in [PathBuf::from(program.name), fetched.clone()] {
        if output(Command::new(&path).arg(program.asked)).is_ok() {
            println!("using {}", path.display());
            return Some(path);
        }
    }
    match fetch(program, home, &fetched) {
        Ok(()) => Some(fetched),
        Err(reason) => {
            summary.skip(program.name, &reason);
            None
        }
    }
}

fn fetch(program: &Program, home: &Path, fetched: &Path) -> Result<(), String> {
    println!("fetching Debian's package {} into {} (it is kept)", program.package, home.display());
    let failed = |error: std::io::Error| format!("cannot use {}: {error}", home.display());
    // What an earlier attempt left is not ours to guess at.
    match std::fs::remove_dir_all(home) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => std::fs::create_dir_all(home).map_err(failed)?,
    }
    let download = || output(Command::new("apt-get").args(["-qq", "download", program.package]).current_dir(home));
    if let Err(first) = download() {
        // Without lists of packages, or with old ones, it finds nothing. Only root may renew them.
        output(Command::new("apt-get").args(["-qq", "update"])).map_err(|_| first)?;
        download()?;
    }
    let entries = std::fs::read_dir(home).map_err(failed)?.flatten();
    let package = entries.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "deb"));
    let package = package.ok_or_else(|| format!("no package came into {}", home.display()))?;
    output(Command::new("dpkg-deb").arg("-x").arg(&package).arg(home))?;
    for needless in program.needless.iter().map(|name| home.join(name)).chain([package]) {
        std::fs::remove_file(needless).map_err(failed)?;
    }
    output(Command::new(fetched).arg(program.asked)).map(drop)
}
