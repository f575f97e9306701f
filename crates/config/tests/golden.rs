//! The text of every error, as a user sees it: `golden/<case>.yml` gives `golden/<case>.txt`. To write the texts anew:
//! `DCCD_UPDATE=1 cargo test -p dccd-config --test golden`, then read the difference.

use std::path::Path;

use dccd_config::Config;

fn variables(name: &str) -> Option<String> {
    match name {
        "HOME" => Some("/home/ann".to_owned()),
        "DCCD_PORT" => Some("eighty".to_owned()),
        "DCCD_EMPTY" => Some(String::new()),
        _ => None,
    }
}

#[test]
fn every_error_has_its_text() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let update = std::env::var_os("DCCD_UPDATE").is_some();
    let mut cases = 0;
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yml") {
            continue;
        }
        cases += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let name = Path::new(path.file_name().unwrap());
        let shown = match Config::parse(&text, name, &variables) {
            Ok(_) => panic!("{}: expected errors, found none", path.display()),
            Err(errors) => format!("{errors}\n"),
        };
        assert!(!shown.contains("hunter2") && !shown.contains("SECRET"), "a secret is shown:\n{shown}");
        let golden = path.with_extension("txt");
        if update {
            std::fs::write(&golden, &shown).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != shown {
            wrong.push(format!("{} says now:\n{shown}", golden.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases >= 15, "only {cases} cases found in {}", folder.display());
}

#[test]
fn errors_are_reported_all_at_once_and_in_the_order_of_the_file() {
    let text = include_str!("golden/everything_at_once.yml");
    let errors = Config::parse(text, Path::new("x.yml"), &variables).unwrap_err();
    let places: Vec<_> = errors.errors().iter().map(|error| (error.place.line, error.place.column)).collect();
    assert!(places.len() >= 25, "{places:?}");
    assert!(places.is_sorted(), "{places:?}");
    // Each error stands where the file has it: the text there is what is complained about.
    let lines: Vec<&str> = text.lines().collect();
    for error in errors.errors() {
        let line = lines[error.place.line - 1];
        assert!(error.place.column <= line.chars().count(), "{error}");
    }
}
