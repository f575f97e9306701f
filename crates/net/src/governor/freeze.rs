//! The small file that keeps a freeze across restarts and shares it with the other processes of the host.
//!
//! Written by atomic rename, so a reader never sees half of it; looked at with one `stat` before each request. A file
//! that can't be understood is reported and counts as no freeze: it holds no data, and the exchange would say it again.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// Nothing may be sent until `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Freeze {
    /// Nanoseconds since the Unix epoch.
    pub(crate) until: i64,
    /// The HTTP status that said so.
    pub(crate) status: u16,
    /// When it was said: nanoseconds since the Unix epoch.
    pub(crate) since: i64,
}

/// The file and what it looked like when last read.
#[derive(Debug)]
pub(crate) struct FreezeFile {
    path: PathBuf,
    seen: Option<(SystemTime, u64, u64)>,
}

impl FreezeFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        FreezeFile { path, seen: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the file says, if it has changed since the last look.
    pub(crate) fn changed(&mut self) -> Option<Freeze> {
        let mark = mark(&self.path);
        if mark.is_none() || mark == self.seen {
            return None;
        }
        self.seen = mark;
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "cannot read the freeze file; going on without it");
                return None;
            }
        };
        serde_json::from_slice(&text)
            .inspect_err(|error| tracing::warn!(path = %self.path.display(), %error, "the freeze file makes no sense; going on without it"))
            .ok()
    }

    pub(crate) fn write(&mut self, freeze: &Freeze) -> std::io::Result<()> {
        if let Some(directory) = self.path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let mut new = self.path.clone().into_os_string();
        new.push(format!(".{}", std::process::id()));
        std::fs::write(&new, serde_json::to_vec(freeze)?)?;
        std::fs::rename(&new, &self.path)?;
        self.seen = mark(&self.path);
        Ok(())
    }
}

/// Tells one state of the file from another: a rename always brings another inode.
fn mark(path: &Path) -> Option<(SystemTime, u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}
