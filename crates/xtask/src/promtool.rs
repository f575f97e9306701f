//! Prometheus' own checker, for the metrics and the alert rules: the one that is installed, else the one in Debian's package.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::output;
use crate::summary::Summary;

/// Debian's package that holds it; unpacked and not installed, it changes nothing on the machine.
const PACKAGE: &str = "prometheus";

/// Finds it, or fetches it into `home`, where it is kept. Where it can't be had, that is reported as skipped by name.
pub(crate) fn prepare(home: &Path, summary: &mut Summary) -> Option<PathBuf> {
    let fetched = home.join("usr/bin/promtool");
    for program in [PathBuf::from("promtool"), fetched.clone()] {
        if output(Command::new(&program).arg("--version")).is_ok() {
            println!("using {}", program.display());
            return Some(program);
        }
    }
    match fetch(home) {
        Ok(()) => Some(fetched),
        Err(reason) => {
            summary.skip("promtool", &reason);
            None
        }
    }
}

fn fetch(home: &Path) -> Result<(), String> {
    println!("fetching Debian's package {PACKAGE} into {} (it is kept)", home.display());
    let failed = |error: std::io::Error| format!("cannot use {}: {error}", home.display());
    // What an earlier attempt left is not ours to guess at.
    match std::fs::remove_dir_all(home) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => std::fs::create_dir_all(home).map_err(failed)?,
    }
    let download = || output(Command::new("apt-get").args(["-qq", "download", PACKAGE]).current_dir(home));
    if let Err(first) = download() {
        // Without lists of packages, or with old ones, it finds nothing. Only root may renew them.
        output(Command::new("apt-get").args(["-qq", "update"])).map_err(|_| first)?;
        download()?;
    }
    let entries = std::fs::read_dir(home).map_err(failed)?.flatten();
    let package = entries.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "deb"));
    let package = package.ok_or_else(|| format!("no package came into {}", home.display()))?;
    output(Command::new("dpkg-deb").arg("-x").arg(&package).arg(home))?;
    // Half of it is the server.
    for needless in [package, home.join("usr/bin/prometheus")] {
        std::fs::remove_file(needless).map_err(failed)?;
    }
    output(Command::new(home.join("usr/bin/promtool")).arg("--version")).map(drop)
}
