//! The graph of our own crates, as cargo sees it, and the rules it obeys.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use crate::shell::{cargo, output, root};

/// One of our crates.
pub(crate) struct Crate {
    pub(crate) name: String,
    pub(crate) manifest: PathBuf,
    layer: Layer,
    /// Our crates that it is built from.
    uses: BTreeSet<String>,
    /// Our crates that its tests and benchmarks use besides.
    tests_use: BTreeSet<String>,
    /// Other people's crates, of any kind, by the name they have in the workspace's table.
    pub(crate) foreign: BTreeSet<String>,
}

/// A crate may use those of lower layers; within a layer only where said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    /// The vocabulary.
    Model,
    /// The contracts and building blocks.
    Block,
    /// What daemons share; these may use each other.
    Shared,
    /// A daemon.
    Service,
    /// Simulated exchanges, and the audit of a store against what they sent.
    Simulator,
    /// The executable that plays every role.
    Executable,
    /// Helpers of tests; anybody's tests may use them.
    TestHelper,
    /// Whole trees under test.
    Tests,
    /// This tool.
    Chores,
}

impl Layer {
    fn of(name: &str, manifest: &std::path::Path) -> Option<Layer> {
        Some(match name {
            "dccd-model" => Layer::Model,
            "dccd-ring" | "dccd-net" | "dccd-config" | "dccd-rpc" | "dccd-store" | "dccd-exchange" => Layer::Block,
            "dccd-registry" | "dccd-history" | "dccd-service" => Layer::Shared,
            "dccd-sim" => Layer::Simulator,
            "dccd" => Layer::Executable,
            "dccd-tests" => Layer::Tests,
            "dccd-testkit" => Layer::TestHelper,
            "xtask" => Layer::Chores,
            _ if manifest.starts_with(root().join("services")) => Layer::Service,
            _ => return None,
        })
    }
}

/// All our crates, by name.
pub(crate) struct Graph {
    pub(crate) crates: Vec<Crate>,
    unplaced: Vec<String>,
}

impl Graph {
    /// Asks cargo.
    pub(crate) fn read() -> Result<Graph> {
        let mut command = cargo(["metadata", "--no-deps", "--format-version", "1", "--offline"]);
        let text = output(&mut command).map_err(|reason| anyhow!(reason))?;
        let metadata: Value = serde_json::from_str(&text).context("cargo metadata is no JSON")?;
        let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
        let mut graph = Graph { crates: Vec::new(), unplaced: Vec::new() };
        for package in packages {
            let name = string(&package["name"]);
            let manifest = PathBuf::from(string(&package["manifest_path"]));
            let Some(layer) = Layer::of(&name, &manifest) else {
                graph.unplaced.push(name);
                continue;
            };
            let mut krate =
                Crate { name, manifest, layer, uses: BTreeSet::new(), tests_use: BTreeSet::new(), foreign: BTreeSet::new() };
            for dependency in package["dependencies"].as_array().into_iter().flatten() {
                let own = dependency["path"].is_string();
                // A renamed crate stands in the table under its new name.
                let name =
                    string(if dependency["rename"].is_string() { &dependency["rename"] } else { &dependency["name"] });
                match (own, dependency["kind"].as_str()) {
                    (true, Some("dev")) => krate.tests_use.insert(name),
                    (true, _) => krate.uses.insert(name),
                    (false, _) => krate.foreign.insert(name),
                };
            }
            graph.crates.push(krate);
        }
        graph.crates.sort_by(|a, b| (a.layer, &a.name).cmp(&(b.layer, &b.name)));
        Ok(graph)
    }

    /// What breaks the direction.
    pub(crate) fn violations(&self) -> Vec<String> {
        let layers: BTreeMap<&str, Layer> = self.crates.iter().map(|krate| (krate.name.as_str(), krate.layer)).collect();
        let mut wrong: Vec<String> = self
            .unplaced
            .iter()
            .map(|name| {
                format!("{name} has no place in the architecture; give it one in crates/xtask/src/check_deps/graph.rs")
            })
            .collect();
        for krate in &self.crates {
            let alone = matches!(krate.name.as_str(), "dccd-ring" | "dccd-net");
            for used in &krate.uses {
                let Some(&layer) = layers.get(used.as_str()) else { continue };
                let reason = if alone {
                    "it knows no other crate of ours"
                } else if layer >= Layer::TestHelper && krate.layer != Layer::Tests {
                    "that one is for tests and chores alone"
                } else if krate.layer == Layer::Service && layer == Layer::Service {
                    "services never import each other; they meet in rpc, a ring or the store"
                } else if krate.layer == Layer::Simulator && layer > Layer::Block {
                    "a simulated exchange stands outside the product: it may share its formats, not its machinery"
                } else if layer > krate.layer {
                    "that points upwards"
                } else if layer == krate.layer && krate.layer != Layer::Shared {
                    "they are on one level"
                } else {
                    continue;
                };
                wrong.push(format!("{} depends on {used}: {reason}", krate.name));
            }
        }
        wrong
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# Who depends on whom among our own crates. Written by `cargo xtask check-deps --bless`, held by `cargo xtask check-deps`."
        )?;
        let mut layer = None;
        for krate in &self.crates {
            if layer != Some(krate.layer) {
                layer = Some(krate.layer);
                writeln!(f)?;
            }
            let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(" ");
            write!(f, "{}:", krate.name)?;
            if !krate.uses.is_empty() {
                write!(f, " {}", list(&krate.uses))?;
            }
            if !krate.tests_use.is_empty() {
                write!(f, " (tests: {})", list(&krate.tests_use))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn krate(name: &str, folder: &str, uses: &[&str]) -> Crate {
        let manifest = root().join(folder).join(name).join("Cargo.toml");
        Crate {
            layer: Layer::of(name, &manifest).unwrap(),
            name: name.to_owned(),
            manifest,
            uses: uses.iter().map(|name| (*name).to_owned()).collect(),
            tests_use: BTreeSet::new(),
            foreign: BTreeSet::new(),
        }
    }

    fn wrong(name: &str, folder: &str, uses: &[&str]) -> Vec<String> {
        let mut crates = vec![krate(name, folder, uses)];
        for used in uses {
            let folder = if matches!(*used, "datad" | "webd" | "dccd") { "services" } else { "crates" };
            crates.push(krate(used, folder, &[]));
        }
        Graph { crates, unplaced: Vec::new() }.violations()
    }

    #[test]
    fn the_direction_of_the_architecture_holds() {
        for (name, folder, uses) in [
            ("dccd-store", "crates", &["dccd-model"][..]),
            ("dccd-service", "crates", &["dccd-registry", "dccd-rpc", "dccd-model"]),
            ("datad", "services", &["dccd-service", "dccd-net", "dccd-exchange"]),
            ("dccd", "services", &["datad", "webd", "dccd-sim"]),
            ("dccd-tests", "crates", &["dccd-testkit", "dccd-sim", "datad"]),
        ] {
            assert_eq!(wrong(name, folder, uses), Vec::<String>::new(), "{name}");
        }
    }

    #[test]
    fn every_wrong_direction_is_named() {
        for (name, folder, used, reason) in [
            ("dccd-model", "crates", "dccd-store", "upwards"),
            ("dccd-net", "crates", "dccd-model", "no other crate"),
            ("dccd-store", "crates", "dccd-exchange", "one level"),
            ("dccd-store", "crates", "dccd-service", "upwards"),
            ("datad", "services", "webd", "never import each other"),
            ("datad", "services", "dccd", "upwards"),
            ("datad", "services", "dccd-sim", "upwards"),
            ("dccd-sim", "crates", "dccd-service", "outside the product"),
            ("datad", "services", "dccd-testkit", "tests and chores"),
        ] {
            let wrong = wrong(name, folder, &[used]);
            assert!(wrong.len() == 1 && wrong[0].contains(reason), "{name} -> {used}: {wrong:?}");
        }
    }
}
