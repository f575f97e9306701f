//! What lies in a directory, to be held against what lies in another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Files below a directory with their contents, by their paths in it; of a store's own `.dccd` what is in these of its directories. What
/// goes while it is looked at is left out.
///
/// # Panics
/// When a file that is there can't be read.
#[must_use]
pub fn contents(directory: &Path, own: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open: Vec<PathBuf> = own.iter().map(|name| directory.join(".dccd").join(name)).collect();
    open.push(directory.to_owned());
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(directory).unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != ".dccd" {
                open.push(path);
            } else if path.is_file() {
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}
