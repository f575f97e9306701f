//! `cargo xtask chaos [--seconds N] [--seed N]`: the test of everything at once, for longer than CI has time for.

use anyhow::{Result, bail};

use crate::shell::{cargo, run as sh};

/// Ten minutes.
const SECONDS: &str = "600";

/// Runs it; returns whether the tree was whole in the end.
pub(crate) fn run(mut args: &[&str]) -> Result<bool> {
    let mut test = cargo(["test", "--package", "dccd-tests", "--test", "chaos", "--", "--nocapture"]);
    test.env("CHAOS_SECONDS", SECONDS);
    loop {
        args = match args {
            [] => break,
            ["--seconds", number, rest @ ..] => {
                test.env("CHAOS_SECONDS", number);
                rest
            }
            ["--seed", number, rest @ ..] => {
                test.env("CHAOS_SEED", number);
                rest
            }
            [other, ..] => bail!("`{other}` is nothing that chaos takes; it takes --seconds N and --seed N"),
        };
    }
    Ok(sh(&mut cargo(["build", "--package", "dccd"]))? && sh(&mut test)?)
}
