//! A Python interpreter for other people's programs.

use std::path::PathBuf;
use std::process::Command;

/// `$DCCD_PYTHON`, else `python3`; `None`, with the reason noted under `test`, where it lacks one of these modules.
#[must_use]
pub fn python(test: &str, modules: &[&str]) -> Option<PathBuf> {
    let interpreter = std::env::var_os("DCCD_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from);
    let mut imports = vec!["sys"];
    imports.extend_from_slice(modules);
    let asked = Command::new(&interpreter).args(["-c", &format!("import {}", imports.join(", "))]).output();
    match asked {
        Ok(output) if output.status.success() => Some(interpreter),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().unwrap_or_default().to_owned();
            dccd_testkit::skip(test, &format!("{}: {last}", interpreter.display()));
            None
        }
        Err(error) => {
            dccd_testkit::skip(test, &format!("no {}: {error}", interpreter.display()));
            None
        }
    }
}
