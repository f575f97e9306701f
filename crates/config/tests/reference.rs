//! Holds `docs/reference/configuration.md` against the table of keys. To write its tables anew:
//! `DCCD_UPDATE=1 cargo test -p dccd-config --test reference`.

use std::fmt::Write as _;
use std::path::Path;

use dccd_config::schema::{self, Absent, Key, Kind};

const DOCUMENT: &str = "docs/reference/configuration.md";

fn row(path: &str, key: &Key) -> String {
    let kind = match key.kind {
        Kind::Int(min, max) => format!("integer {min}–{max}"),
        Kind::PowerOfTwo(min, max) => format!("power of two {min}–{max}"),
        Kind::Number(min, max) => format!("number {min}–{max}"),
        Kind::Choice(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" "),
        kind => kind.word().to_owned(),
    };
    let kind = if key.secret { format!("{kind} (secret)") } else { kind };
    let unit = if key.unit.is_empty() { "–" } else { key.unit };
    let default = match key.absent {
        Absent::Required => "required".to_owned(),
        Absent::Null => "`null`".to_owned(),
        Absent::Is(text) => format!("`{text}`"),
        Absent::Empty => "–".to_owned(),
    };
    let example = if key.example.is_empty() { "–".to_owned() } else { format!("`{}`", key.example) };
    format!("| `{path}` | {kind} | {unit} | {default} | {} | {example} |", key.about)
}

/// The tables, one for each key at the top.
fn tables() -> Vec<(&'static str, String)> {
    let all = schema::all();
    let under = |top: &str| {
        let mut table = String::from("| key | type | unit | default | meaning | example |\n|---|---|---|---|---|---|\n");
        for (path, key) in all.iter().filter(|(path, _)| path.split(['.', '[']).next() == Some(top)) {
            let _ = writeln!(table, "{}", row(path, key));
        }
        table
    };
    schema::ROOT.iter().map(|key| (key.name, under(key.name))).collect()
}

#[test]
fn the_reference_describes_every_key_and_no_other() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(DOCUMENT);
    let document = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{DOCUMENT}: {error}"));
    let mut updated = document.clone();
    for (name, table) in tables() {
        let (begin, end) = (format!("<!-- keys of {name} -->\n"), format!("<!-- end of {name} -->"));
        let start = updated.find(&begin).unwrap_or_else(|| panic!("{DOCUMENT} has no line {begin}")) + begin.len();
        let stop = start + updated[start..].find(&end).unwrap_or_else(|| panic!("{DOCUMENT} has no line {end}"));
        updated.replace_range(start..stop, &table);
    }
    if std::env::var_os("DCCD_UPDATE").is_some() {
        std::fs::write(&path, &updated).unwrap();
    } else {
        assert!(updated == document, "{DOCUMENT} differs from the table of keys; DCCD_UPDATE=1 writes it anew");
    }
    // And nothing beside the tables speaks of a key that doesn't exist.
    let known: Vec<String> = schema::all().into_iter().map(|(path, _)| path).collect();
    let rows = updated.lines().filter(|line| line.starts_with("| `"));
    let documented: Vec<&str> = rows.filter_map(|line| line.split('`').nth(1)).collect();
    assert_eq!(documented, known, "rows outside the tables");
}

#[test]
fn examples_in_the_reference_are_valid() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(DOCUMENT);
    let document = std::fs::read_to_string(&path).unwrap();
    let blocks: Vec<&str> = document.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty(), "no examples in {DOCUMENT}");
    let variables = |_: &str| Some("https://hooks.example/x".to_owned());
    for block in blocks {
        if let Err(errors) = dccd_config::Config::parse(block, Path::new(DOCUMENT), &variables) {
            panic!("{errors}");
        }
    }
}

#[test]
fn the_example_configurations_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yml") {
            count += 1;
            let text = std::fs::read_to_string(&path).unwrap();
            let (_, warnings) =
                dccd_config::Config::parse(&text, &path, &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
            assert!(warnings.is_empty(), "{}: {warnings:?}", path.display());
        }
    }
    assert!(count > 0, "no examples in {}", folder.display());
}

#[test]
fn the_reference_names_every_exchange() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(DOCUMENT);
    let document = std::fs::read_to_string(&path).unwrap();
    for exchange in dccd_config::catalog::EXCHANGES {
        assert!(document.contains(&format!("`{}`", exchange.name)), "{DOCUMENT} doesn't name {}", exchange.name);
    }
}

#[test]
fn every_example_and_default_of_the_table_is_valid_by_itself() {
    let variables = |_: &str| Some("https://hooks.example/x".to_owned());
    for (path, key) in schema::all() {
        if key.example.is_empty() {
            continue;
        }
        let mut text = format!("{}: {}", key.name, key.example);
        let mut parts: Vec<&str> = path.split('.').collect();
        parts.pop();
        for part in parts.iter().rev() {
            let (name, list) = part.strip_suffix("[]").map_or((*part, false), |name| (name, true));
            let name = if name == "<exchange>" { "binance" } else { name };
            text = if list { format!("{name}: [{{{text}}}]") } else { format!("{name}: {{{text}}}") };
        }
        let shown = dccd_config::Config::parse(&text, Path::new("x.yml"), &variables).err();
        let wrong: Vec<_> = shown
            .iter()
            .flat_map(|errors| errors.errors())
            .filter(|error| {
                // Keys that are required beside this one are missing, and that's all.
                error.key.trim_end_matches(|c: char| c.is_ascii_digit() || c == '[' || c == ']').ends_with(key.name)
            })
            .collect();
        let allowed = wrong.iter().all(|error| matches!(error.problem, dccd_config::Problem::Unprotected { .. }));
        assert!(allowed, "{text}: {wrong:?}");
    }
}
