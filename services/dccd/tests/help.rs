//! `docs/reference/cli.md` shows what `--help` says. To write it anew: `DCCD_UPDATE=1 cargo test -p dccd --test help`.

mod common;

use std::path::Path;

use common::Host;

const DOCUMENT: &str = "docs/reference/cli.md";

#[test]
fn the_reference_shows_the_help_of_every_command() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(DOCUMENT);
    let document = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{DOCUMENT}: {error}"));
    let host = Host::new();
    let main = host.run(&["--help"]).code(0).out;
    let names: Vec<String> = commands(&main);
    assert!(names.len() >= 14, "{names:?}");
    let mut updated = document.clone();
    for name in std::iter::once("").chain(names.iter().map(String::as_str)) {
        let command = if name.is_empty() { "dccd".to_owned() } else { format!("dccd {name}") };
        let help = if name.is_empty() { main.clone() } else { host.run(&[name, "--help"]).code(0).out };
        // The options of every command stand once, in the first.
        let help = help.split("\nGlobal options:").next().unwrap_or_default().trim_end().to_owned();
        let (begin, end) = (format!("<!-- help of {command} -->\n"), format!("<!-- end of {command} -->"));
        let start = updated.find(&begin).unwrap_or_else(|| panic!("{DOCUMENT} has no line {begin}")) + begin.len();
        let stop = start + updated[start..].find(&end).unwrap_or_else(|| panic!("{DOCUMENT} has no line {end}"));
        updated.replace_range(start..stop, &format!("```text\n{help}\n```\n"));
    }
    // And what stands below a command.
    let nested: Vec<String> = document
        .lines()
        .filter_map(|line| line.strip_prefix("<!-- help of dccd ")?.strip_suffix(" -->"))
        .filter(|name| name.contains(' '))
        .map(str::to_owned)
        .collect();
    assert!(!nested.is_empty());
    for name in nested {
        let help = host.run(&[name.split(' ').collect(), vec!["--help"]].concat()).code(0).out;
        let help = help.split("\nGlobal options:").next().unwrap_or_default().trim_end();
        let (begin, end) = (format!("<!-- help of dccd {name} -->\n"), format!("<!-- end of dccd {name} -->"));
        let start = updated.find(&begin).unwrap() + begin.len();
        let stop = start + updated[start..].find(&end).unwrap_or_else(|| panic!("{DOCUMENT} has no line {end}"));
        updated.replace_range(start..stop, &format!("```text\n{help}\n```\n"));
    }
    if std::env::var_os("DCCD_UPDATE").is_some() {
        std::fs::write(&path, &updated).unwrap();
    } else {
        assert!(updated == document, "{DOCUMENT} differs from the help; DCCD_UPDATE=1 writes it anew");
    }
    let documented: Vec<&str> =
        updated.lines().filter_map(|line| line.strip_prefix("### `dccd ")?.split('`').next()).collect();
    for name in &documented {
        let name = name.split(' ').next().unwrap_or_default();
        assert!(names.iter().any(|known| known == name), "{DOCUMENT} describes {name}, which doesn't exist");
    }
    assert_eq!(documented.len(), names.len(), "{documented:?}");
}

/// The commands that the main help lists.
fn commands(help: &str) -> Vec<String> {
    let groups = help.split("\nOptions:").next().unwrap_or_default();
    let lines = groups.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    lines.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn commands_that_are_not_there_yet_do_not_exist() {
    let host = Host::new();
    let ran = host.run(&["ui"]).code(2);
    assert!(ran.err.contains("unrecognized subcommand"), "{}", ran.err);
    assert_eq!(ran.out, "");
}

#[test]
fn help_and_version_go_to_standard_output_and_usage_errors_do_not() {
    let host = Host::new();
    let version = host.run(&["--version"]).code(0);
    assert_eq!((version.out.as_str(), version.err.as_str()), (concat!("dccd ", env!("CARGO_PKG_VERSION"), "\n"), ""));
    let nothing = host.run(&[]).code(2);
    assert!(nothing.out.is_empty() && nothing.err.contains("Usage: dccd"), "{nothing:?}");
    let wrong = host.run(&["tail", "binance/BTC"]).code(2);
    assert!(wrong.err.contains("\"binance/BTC\" is not a series; one looks like binance/BTC/USDT/trades"), "{}", wrong.err);
}
