//! What of a store goes to a remote: files that appear by an atomic rename and are never written to again.
//!
//! That is every `*.parquet` outside of hidden directories, and, of `.dccd`, what exists nowhere else: the originals of converted files and
//! what was set aside as damaged. The rest of `.dccd` is this host's alone, or is made anew from the files: a copy of it would be torn,
//! or contradict them.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Directories of `.dccd` that go, whatever is in them.
const OWN: [&str; 2] = [".dccd/legacy", ".dccd/quarantine"];
/// Directories in each other at most: the store has five, and a link that leads back to itself would have no end.
const DEPTH_MAX: usize = 12;
/// Things that can't be read of which each is told; further ones are counted.
const TROUBLES_MAX: usize = 20;

/// By what one version of a file is told from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Its length, bytes.
    pub(crate) size: u64,
    /// When its content last changed, ns since the epoch, host clock.
    pub(crate) mtime_ns: i64,
    /// Its inode.
    pub(crate) inode: u64,
}

impl Identity {
    /// Whether both have the same content, as far as size and time tell; one of them may be a copy.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        (self.size, self.mtime_ns) == (other.size, other.mtime_ns)
    }
}

impl From<&Metadata> for Identity {
    fn from(metadata: &Metadata) -> Self {
        let mtime_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        Self { size: metadata.len(), mtime_ns, inode: metadata.ino() }
    }
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreFile {
    /// Its path below the data path, with `/`.
    pub(crate) path: String,
    /// Which version of it.
    pub(crate) identity: Identity,
}

/// What a look at the store found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The files, by their paths.
    pub(crate) files: Vec<StoreFile>,
    /// What could not be looked at, in words; the first few.
    pub(crate) troubles: Vec<String>,
}

/// Looks at everything below a data path. Blocks.
///
/// # Errors
/// When the data path itself can't be read. What can't be read below it is among the troubles.
pub(crate) fn look(data_path: &Path) -> io::Result<Found> {
    let mut found = Found::default();
    if !data_path.exists() {
        // Nothing was ever stored.
        return Ok(found);
    }
    std::fs::read_dir(data_path)?;
    walk(data_path, "", 0, &|name| is_plain(name) && name.ends_with(".parquet"), &mut found);
    for own in OWN {
        let directory = data_path.join(own);
        if directory.is_dir() {
            walk(&directory, own, 0, &is_plain, &mut found);
        }
    }
    found.files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Neither hidden nor with characters that a list of names can't hold.
fn is_plain(name: &str) -> bool {
    !name.starts_with('.') && !name.chars().any(char::is_control)
}

fn walk(directory: &Path, prefix: &str, depth: usize, is_wanted: &dyn Fn(&str) -> bool, found: &mut Found) {
    let mut trouble = |what: &Path, error: &dyn std::fmt::Display| {
        if found.troubles.len() < TROUBLES_MAX {
            found.troubles.push(format!("cannot read {}: {error}", what.display()));
        }
    };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return trouble(directory, &error),
    };
    let mut directories = Vec::new();
    let mut files = Vec::new();
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                trouble(directory, &error);
                continue;
            }
        };
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = entry.path();
        // Follows links: a store may be spread over disks.
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() && is_plain(&name) => directories.push((path, join(prefix, &name))),
            Ok(metadata) if metadata.is_file() && is_wanted(&name) => {
                files.push(StoreFile { path: join(prefix, &name), identity: Identity::from(&metadata) });
            }
            Ok(_) => {}
            // Replaced or removed since it was listed; the next look sees what is there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => trouble(&path, &error),
        }
    }
    if depth >= DEPTH_MAX && !directories.is_empty() {
        trouble(directory, &format_args!("directories in each other, more than {DEPTH_MAX}; is there a link to one above?"));
        directories.clear();
    }
    found.files.extend(files);
    for (path, prefix) in directories {
        walk(&path, &prefix, depth + 1, is_wanted, found);
    }
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete_files_go_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let put = |path: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        };
        let stays = [
            ".dccd/lock",
            ".dccd/journal/binance/00.seg",
            ".dccd/parts/binance/trades/BTC-USDT/2026-01-01/0-1.parquet",
            ".dccd/parts/binance/ohlc/BTC-USDT/1h/stage.bin",
            ".dccd/state/binance/recorder.bin",
            ".dccd/coverage/binance.json",
            ".dccd/tmp/binance/x.parquet",
            ".dccd/sync/x/stage/a.parquet",
            ".dccd/logs/syncd.log",
            ".hidden/x.parquet",
            "binance/trades/BTC-USDT/.2026-01-01.parquet",
            "binance/trades/BTC-USDT/2026-01-01.parquet.tmp",
            "notes.txt",
        ];
        let goes = [
            ".dccd/legacy/binance/ohlc/BTC-USDT/1h/2024.parquet",
            ".dccd/quarantine/binance/trades/BTC-USDT/2026-01-01.parquet",
            "binance/ohlc/BTC-USDT/1h/2024.parquet",
            "binance/trades/BTC-USDT/2026-01-01.parquet",
            "kraken/quotes/BTC-USD/2026-01-01.parquet",
        ];
        stays.iter().chain(&goes[..4]).for_each(|path| put(path));
        std::fs::create_dir_all(elsewhere.path().join("quotes/BTC-USD")).unwrap();
        std::fs::write(elsewhere.path().join("quotes/BTC-USD/2026-01-01.parquet"), "on another disk").unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("kraken")).unwrap();
        let found = look(dir.path()).unwrap();
        assert_eq!(found.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), goes);
        assert_eq!(found.files[4].identity.size, 15);
        assert_eq!(found.troubles, [""; 0]);
        std::os::unix::fs::symlink(dir.path(), dir.path().join("again")).unwrap();
        let found = look(dir.path()).unwrap();
        assert!(found.troubles[0].contains("is there a link to one above?"), "{:?}", found.troubles);
        assert!(look(&dir.path().join("not there")).unwrap().files.is_empty());
    }
}
