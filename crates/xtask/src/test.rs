//! `cargo xtask test`: the whole proof that this checkout works, on a machine that has nothing but cargo.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::shell::{cargo, root, run, run_reading, step, target};
use crate::summary::Summary;
use crate::{check_deps, debian, python};

/// Runs it; returns whether nothing failed.
pub(crate) fn run_into(summary: &mut Summary, with_python: bool) -> Result<()> {
    step("Python, for the checks by third-party readers and clients");
    let interpreter = if with_python {
        python::prepare(&root().join("tests/requirements.txt"), &target().join("python"), summary)
    } else {
        summary.skip("python", "--no-python was given; checks that need it skip themselves");
        None
    };

    step("promtool, for metrics and alert rules; rclone, for copies of the store");
    let promtool = debian::prepare(&debian::PROMTOOL, &target().join("promtool"), summary);
    let rclone = debian::prepare(&debian::RCLONE, &target().join("rclone"), summary);

    step("Recorded exchange messages");
    let fixtures = fixtures();
    match &fixtures {
        Some(path) => println!("in {}", path.display()),
        None => summary.skip(
            "recorded exchange messages",
            "neither $DCCD_FIXTURES nor ../shared/fixtures is there; checks that need them skip themselves",
        ),
    }

    step("The executable");
    let built = run(&mut cargo(["build", "--package", "dccd"]))?;
    summary.check("cargo build --package dccd", built);

    step("All tests");
    let log = target().join("skipped-checks.log");
    std::fs::create_dir_all(target()).context("cannot make the target folder")?;
    std::fs::write(&log, "").with_context(|| format!("cannot write {}", log.display()))?;
    let mut command = cargo(["test", "--workspace", "--no-fail-fast"]);
    command.env("DCCD_SKIP_LOG", &log);
    match interpreter {
        Some(path) => command.env("DCCD_PYTHON", path),
        None => command.env_remove("DCCD_PYTHON"),
    };
    match promtool {
        Some(path) => command.env("DCCD_PROMTOOL", path),
        None => command.env_remove("DCCD_PROMTOOL"),
    };
    // The product looks for it on the path, and so do its tests.
    if let Some(directory) = rclone.as_deref().and_then(Path::parent).filter(|directory| !directory.as_os_str().is_empty()) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(directory.to_owned()).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(all).context("cannot put rclone on the path")?);
    }
    match fixtures {
        Some(path) => command.env("DCCD_FIXTURES", path),
        None => command.env_remove("DCCD_FIXTURES"),
    };
    let failed_before = summary.failed();
    let succeeded = run_reading(&mut command, |line| summary.harness_line(line))?;
    if !succeeded && summary.failed() == failed_before {
        // The workspace didn't compile: no harness counted that.
        summary.check("cargo test --workspace", false);
    }
    summary.skip_log(&std::fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?);

    step("The crate graph and the dependencies");
    let in_order = check_deps::run(false)?;
    summary.check("cargo xtask check-deps", in_order);
    Ok(())
}

/// `cargo xtask test`.
pub(crate) fn run_alone(with_python: bool) -> Result<bool> {
    let mut summary = Summary::default();
    run_into(&mut summary, with_python)?;
    Ok(summary.close())
}

fn fixtures() -> Option<PathBuf> {
    let path = match std::env::var_os("DCCD_FIXTURES") {
        Some(path) => PathBuf::from(path),
        None => root().join("../shared/fixtures"),
    };
    path.canonicalize().ok().filter(|path| path.is_dir())
}
