//! Holds docs/decisions/dependencies.md against the table in Cargo.toml: each dependency is there for a written reason.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use super::Graph;
use crate::shell::root;

const REASONS: &str = "docs/decisions/dependencies.md";

/// Dependencies without a reason, reasons without a dependency, and lines of the table that nobody uses.
pub(super) fn violations(graph: &Graph) -> Result<Vec<String>> {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).with_context(|| format!("cannot read {name}"));
    let table = foreign_in_table(&read("Cargo.toml")?);
    let reasoned = with_reason(&read(REASONS)?);
    let used: BTreeSet<String> = graph.crates.iter().flat_map(|krate| krate.foreign.iter().cloned()).collect();
    let mut wrong = Vec::new();
    for name in table.difference(&reasoned) {
        wrong.push(format!("{name} has no reason in {REASONS}: a line that begins with \"- `{name}`: \""));
    }
    for name in reasoned.difference(&table) {
        wrong.push(format!("{REASONS} gives a reason for {name}, which is not in [workspace.dependencies]"));
    }
    for name in table.difference(&used) {
        wrong.push(format!("{name} is in [workspace.dependencies] and no crate uses it"));
    }
    for krate in &graph.crates {
        for name in krate.foreign.difference(&table) {
            wrong.push(format!("{} depends on {name}, which is not in [workspace.dependencies]", krate.name));
        }
    }
    Ok(wrong)
}

/// The names in `[workspace.dependencies]` that aren't paths of our own.
fn foreign_in_table(manifest: &str) -> BTreeSet<String> {
    let lines = manifest.lines().map(str::trim).skip_while(|line| *line != "[workspace.dependencies]").skip(1);
    lines
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.starts_with('#') && !line.contains("path = "))
        .filter_map(|line| line.split_once('=').map(|(name, _)| name.trim().to_owned()))
        .collect()
}

/// The names that a line gives a reason for: "- `name`: reason".
fn with_reason(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("- `")?.split_once("`: "));
    lines.filter(|(_, reason)| reason.len() > 10).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_reasons_are_read() {
        let table = foreign_in_table(
            "[workspace]\n[workspace.dependencies]\nours = { path = \"x\" }\n# why\nserde = { version = \"1\" }\nbytes = \"1\"\n\n[profile.dev]\ndebug = 1\n",
        );
        assert_eq!(table.into_iter().collect::<Vec<_>>(), ["bytes", "serde"]);
        let reasons = with_reason("# Title\n- `serde`: reads and writes everything\n- `bytes`: short\n- other\n");
        assert_eq!(reasons.into_iter().collect::<Vec<_>>(), ["serde"]);
    }
}
