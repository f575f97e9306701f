//! `cargo xtask ci`: everything that must hold before a change is taken.

use anyhow::Result;

use crate::shell::{cargo, output, run as sh, step};
use crate::summary::Summary;
use crate::{file_sizes, test};

/// Runs all checks, also after one has failed; returns whether none did.
pub(crate) fn run(with_python: bool) -> Result<bool> {
    let mut summary = Summary::default();

    step("Formatting");
    let formatted = sh(&mut cargo(["fmt", "--all", "--check"]))?;
    summary.check("cargo fmt --check", formatted);

    step("Lints");
    let clean = sh(&mut cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    summary.check("cargo clippy", clean);

    step("Licences, advisories, bans");
    if output(&mut cargo(["deny", "--version"])).is_ok() {
        let allowed = sh(&mut cargo(["deny", "check"]))?;
        summary.check("cargo deny check", allowed);
    } else {
        summary.skip("cargo deny check", "cargo-deny is not installed (cargo install cargo-deny)");
    }

    step("Documentation");
    let documented = sh(cargo(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    summary.check("cargo doc", documented);

    step("File sizes");
    summary.check("file sizes", file_sizes::check()?);

    test::run_into(&mut summary, with_python)?;
    Ok(summary.close())
}
