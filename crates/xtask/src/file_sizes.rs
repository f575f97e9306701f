//! A ratchet on the length of source files: past a limit one splits, it isn't raised.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::shell::root;

/// The most lines a Rust file may have.
const LINES_MAX: usize = 800;

/// The folders that hold the workspace's sources.
const FOLDERS: [&str; 5] = ["crates", "services", "tests", "benches", "examples"];

/// Names every Rust file that is too long; returns whether there is none.
pub(crate) fn check() -> Result<bool> {
    let mut fits = true;
    let mut longest = (0, PathBuf::new());
    for path in rust_files()? {
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let lines = text.lines().count();
        if lines > LINES_MAX {
            println!("{}: {lines} lines, at most {LINES_MAX}: split it where a concept ends", shown(&path));
            fits = false;
        }
        if lines > longest.0 {
            longest = (lines, path);
        }
    }
    println!("the longest file is {} with {} lines", shown(&longest.1), longest.0);
    Ok(fits)
}

/// All Rust files of the repository, without build output.
pub(crate) fn rust_files() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        let folder = root().join(folder);
        if folder.is_dir() {
            collect(&folder, &mut files)?;
        }
    }
    files.sort();
    Ok(files)
}

/// A path as seen from the repository's root.
pub(crate) fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target") {
                collect(&path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}
