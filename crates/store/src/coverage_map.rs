//! The coverage map: what the footers of an exchange's files say, remembered beside the files, so that an inventory opens none.
//!
//! `.dccd/coverage/<exchange>.json`, an entry a file. It is a copy: an entry counts only while the file has the size, the time of
//! change and the inode that it had when it was read, and the whole map can be deleted at any moment.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use dccd_model::{ExchangeName, Gap, Grid, UnixNanos};
use serde::{Deserialize, Serialize};

use crate::Position;
use crate::candles::YearFacts;
use crate::disk;
use crate::error::StoreError;
use crate::footer::FileInfo;

const VERSION: u32 = 1;

#[derive(Debug, Default, Serialize, Deserialize)]
struct MapFile {
    version: u32,
    files: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    identity: Identity,
    #[serde(flatten)]
    facts: Facts,
}

/// What a file has to be like still for its entry to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    size: u64,
    mtime_ns: i64,
    inode: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Facts {
    Day(DayFacts),
    Year(YearFacts),
}

/// Of a day file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct DayFacts {
    rows: u64,
    range: Option<(UnixNanos, UnixNanos)>,
    gaps: Vec<Gap>,
    position: u64,
}

impl DayFacts {
    fn into_info(self, bytes: u64) -> FileInfo {
        let Self { rows, range, gaps, position } = self;
        FileInfo { rows, bytes, range, gaps, position: Position(position), ..FileInfo::default() }
    }
}

/// The map of one exchange, as one reader of the store has it.
pub(crate) struct CoverageMap {
    path: PathBuf,
    /// What keys are relative to.
    root: PathBuf,
    known: BTreeMap<String, Entry>,
    /// Of the files that were looked at; becomes the map.
    seen: BTreeMap<String, Entry>,
    pub(crate) counts: Counts,
}

/// How looking went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) files: u64,
    /// Files that were read because the map had nothing of them that counts.
    pub(crate) read: u64,
}

impl CoverageMap {
    /// The map that is there. One that is broken is as good as none.
    pub(crate) fn load(data_path: &Path, exchange: &ExchangeName) -> Self {
        let mut map = Self::empty(data_path, exchange);
        match std::fs::read(&map.path) {
            Ok(bytes) => match serde_json::from_slice::<MapFile>(&bytes) {
                Ok(file) if file.version == VERSION => map.known = file.files,
                Ok(file) => {
                    tracing::debug!(map = %map.path.display(), version = file.version, "a coverage map of another version");
                }
                Err(error) => {
                    tracing::warn!(map = %map.path.display(), error = %error, "the coverage map is broken and is made anew");
                }
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(map = %map.path.display(), error = %error, "the coverage map can't be read, files are read instead");
            }
        }
        map
    }

    /// A map that knows nothing, so that every file is read.
    pub(crate) fn empty(data_path: &Path, exchange: &ExchangeName) -> Self {
        Self {
            path: data_path.join(".dccd").join("coverage").join(format!("{exchange}.json")),
            root: data_path.join(exchange.as_str()),
            known: BTreeMap::new(),
            seen: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    /// What a day file says: rows, range, gaps, position, size.
    pub(crate) fn day(&mut self, path: &Path) -> Result<FileInfo, StoreError> {
        let read = |path: &Path| {
            let FileInfo { rows, range, gaps, position, .. } = FileInfo::read(path)?;
            Ok(Facts::Day(DayFacts { rows, range, gaps, position: position.0 }))
        };
        match self.look(path, |facts| matches!(facts, Facts::Day(_)), read)? {
            (Facts::Day(facts), bytes) => Ok(facts.into_info(bytes)),
            (Facts::Year(_), _) => FileInfo::read(path),
        }
    }

    /// What a year file says.
    pub(crate) fn year(&mut self, path: &Path, grid: Grid) -> Result<YearFacts, StoreError> {
        let read = |path: &Path| YearFacts::read(path, grid).map(Facts::Year);
        match self.look(path, |facts| matches!(facts, Facts::Year(_)), read)? {
            (Facts::Year(facts), _) => Ok(facts),
            (Facts::Day(_), _) => YearFacts::read(path, grid),
        }
    }

    fn look(
        &mut self,
        path: &Path,
        fits: impl Fn(&Facts) -> bool,
        read: impl FnOnce(&Path) -> Result<Facts, StoreError>,
    ) -> Result<(Facts, u64), StoreError> {
        // Before the file is read: should it change in between, the entry never counts.
        let metadata = std::fs::metadata(path).map_err(|e| StoreError::io("read", path, e))?;
        let mtime_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        let identity = Identity { size: metadata.len(), mtime_ns, inode: metadata.ino() };
        let key = path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().into_owned();
        self.counts.files += 1;
        let known = self.known.get(&key).filter(|entry| entry.identity == identity && fits(&entry.facts));
        let facts = match known {
            Some(entry) => entry.facts.clone(),
            None => {
                self.counts.read += 1;
                read(path)?
            }
        };
        self.seen.insert(key, Entry { identity, facts: facts.clone() });
        Ok((facts, identity.size))
    }

    /// How many entries of `other` say something else than this one, or have no file any more.
    pub(crate) fn differs_from(&self, other: &Self) -> u64 {
        let gone = other.known.keys().filter(|key| !self.seen.contains_key(*key)).count();
        let wrong = self.seen.iter().filter(|(key, entry)| other.known.get(*key) != Some(entry)).count();
        (gone + wrong) as u64
    }

    /// Writes the map, when it changed and can be written: where it can't, files are read again the next time.
    pub(crate) fn save(self) {
        let same = self.counts.read == 0 && self.seen.len() == self.known.len();
        if same || (self.seen.is_empty() && self.known.is_empty()) {
            return;
        }
        let path = self.path.clone();
        if let Err(error) = self.write() {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::debug!(map = %path.display(), error = %error, cause, "the coverage map was not written");
        }
    }

    /// Writes the map.
    pub(crate) fn write(self) -> Result<(), StoreError> {
        let file = MapFile { version: VERSION, files: self.seen };
        let bytes = serde_json::to_vec(&file).map_err(|e| StoreError::io("write", &self.path, e.into()))?;
        disk::write_atomically(&self.path, &bytes)
    }
}
