//! A Python environment for the checks that read our data with other people's programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::output;
use crate::summary::Summary;

/// Makes or re-uses the environment at `home` with the packages of `requirements`; returns its interpreter, absolute.
///
/// Whatever is missing is reported as skipped by name: without Python all of it, without a package that package.
pub(crate) fn prepare(requirements: &Path, home: &Path, summary: &mut Summary) -> Option<PathBuf> {
    let wanted = match std::fs::read_to_string(requirements) {
        Ok(text) => text,
        Err(error) => {
            summary.skip("python", &format!("cannot read {}: {error}", requirements.display()));
            return None;
        }
    };
    let interpreter = home.join("bin/python");
    // Holds the requirements it was filled with, once all of them are in.
    let stamp = home.join("requirements-installed.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == wanted)
        && output(Command::new(&interpreter).arg("--version")).is_ok()
    {
        println!("re-using {}", home.display());
        return Some(interpreter);
    }
    println!("making {} (some hundred megabytes; it is kept)", home.display());
    if let Err(reason) = output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(home)) {
        summary.skip("python", &reason);
        return None;
    }
    let pip = |arguments: &[&str]| {
        let mut command = Command::new(&interpreter);
        command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(arguments);
        output(&mut command)
    };
    // All at once is how versions that fit each other are found; one by one is how a missing one doesn't take the rest along.
    if pip(&["-r", &requirements.to_string_lossy()]).is_ok() {
        if let Err(error) = std::fs::write(&stamp, &wanted) {
            println!("note: the environment will be made anew next time: {}: {error}", stamp.display());
        }
    } else {
        for package in packages(&wanted) {
            if let Err(reason) = pip(&[package]) {
                summary.skip(&format!("python package {package}"), &reason);
            }
        }
    }
    Some(interpreter)
}

/// The requirement lines without comments.
fn packages(requirements: &str) -> impl Iterator<Item = &str> {
    requirements.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_blank_lines_are_no_packages() {
        let lines: Vec<_> = packages("# readers\npyarrow==26.0.1\n\n  ccxt==4.5.90  # client\n").collect();
        assert_eq!(lines, ["pyarrow==26.0.1", "ccxt==4.5.90"]);
    }
}
