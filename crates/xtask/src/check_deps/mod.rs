//! `cargo xtask check-deps`: who may depend on whom, and that each dependency has its reason written down.

mod graph;
mod reasons;

use anyhow::{Context, Result};

use crate::file_sizes::{rust_files, shown};
use crate::shell::root;
use graph::Graph;

/// The crate graph as it is meant to be.
const GOLDEN: &str = "docs/crate-graph.txt";

/// Prints each violation; returns whether there is none. `bless` writes the golden graph instead of comparing with it.
pub(crate) fn run(bless: bool) -> Result<bool> {
    let graph = Graph::read()?;
    let mut wrong = graph.violations();
    wrong.extend(manifests_without_lints(&graph)?);
    wrong.extend(unsafe_outside_ring()?);
    wrong.extend(reasons::violations(&graph)?);

    let golden = root().join(GOLDEN);
    let drawn = graph.to_string();
    if bless {
        std::fs::write(&golden, &drawn).with_context(|| format!("cannot write {}", golden.display()))?;
        print!("{drawn}");
    } else {
        let agreed = std::fs::read_to_string(&golden).unwrap_or_default();
        let hint = format!("if it is meant, `cargo xtask check-deps --bless` writes {GOLDEN}");
        for line in missing_in(&agreed, &drawn) {
            wrong.push(format!("new in the crate graph: `{line}`; {hint}"));
        }
        for line in missing_in(&drawn, &agreed) {
            wrong.push(format!("gone from the crate graph: `{line}`; {hint}"));
        }
    }
    for line in &wrong {
        println!("check-deps: {line}");
    }
    if wrong.is_empty() {
        println!("check-deps: {} crates in order", graph.crates.len());
    }
    Ok(wrong.is_empty())
}

/// The crates' lines of `text` that `other` lacks.
fn missing_in<'a>(other: &'a str, text: &'a str) -> impl Iterator<Item = &'a str> {
    let meant = |line: &&str| !line.is_empty() && !line.starts_with('#');
    text.lines().filter(meant).filter(|line| !other.lines().any(|known| known == *line))
}

/// Every crate inherits the workspace's lints.
fn manifests_without_lints(graph: &Graph) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for krate in &graph.crates {
        let text =
            std::fs::read_to_string(&krate.manifest).with_context(|| format!("cannot read {}", krate.manifest.display()))?;
        let lines: Vec<&str> =
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        let inherits = lines.windows(2).any(|two| two == ["[lints]", "workspace = true"]);
        if !inherits {
            wrong.push(format!("{} lacks `[lints]` with `workspace = true`", shown(&krate.manifest)));
        }
    }
    Ok(wrong)
}

/// `unsafe` is denied everywhere; only the ring lifts that.
fn unsafe_outside_ring() -> Result<Vec<String>> {
    // Put together here, so that this file doesn't find itself.
    let lifted = [concat!("allow(", "unsafe_code"), concat!("expect(", "unsafe_code"), concat!("warn(", "unsafe_code")];
    let mut wrong = Vec::new();
    for path in rust_files()? {
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if lifted.iter().any(|form| text.contains(form)) && !shown(&path).starts_with("crates/ring/") {
            wrong.push(format!("{} lifts the ban on unsafe code; only crates/ring may", shown(&path)));
        }
    }
    Ok(wrong)
}
