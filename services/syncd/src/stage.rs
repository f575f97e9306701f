//! A directory of links to the versions that are copied: files of the store are replaced, never written to, so that a second name pins
//! one version for as long as rclone reads it, without a copy of it.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::SyncError;
use crate::tree::{Identity, StoreFile};

/// The links of one batch; removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Stage {
    directory: PathBuf,
}

impl Stage {
    /// An empty one. What an earlier process has left there goes. Blocks.
    pub(crate) fn new(directory: PathBuf) -> Result<Self, SyncError> {
        clear(&directory).map_err(|source| SyncError::File { doing: "clear", path: directory.clone(), source })?;
        std::fs::create_dir_all(&directory).map_err(|source| SyncError::File {
            doing: "create",
            path: directory.clone(),
            source,
        })?;
        Ok(Self { directory })
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.directory
    }

    /// Links files as they are now; gives those that are there, with the versions that are pinned. Blocks.
    pub(crate) fn add(&self, data_path: &Path, files: &[StoreFile]) -> Result<Vec<StoreFile>, SyncError> {
        let mut linked = Vec::with_capacity(files.len());
        for file in files {
            let staged = self.directory.join(&file.path);
            match link(&data_path.join(&file.path), &staged).and_then(|()| std::fs::metadata(&staged)) {
                Ok(metadata) => {
                    linked.push(StoreFile { path: file.path.clone(), identity: Identity::from(&metadata) });
                }
                // Replaced by nothing since it was seen.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let _ = std::fs::remove_file(&staged); // a link to nowhere, if any
                }
                Err(source) => return Err(SyncError::File { doing: "link", path: staged, source }),
            }
        }
        Ok(linked)
    }

    /// Whether a file is still the version that was pinned: no program has written into it.
    pub(crate) fn is_unchanged(&self, path: &str, pinned: Identity) -> bool {
        std::fs::metadata(self.directory.join(path)).is_ok_and(|metadata| Identity::from(&metadata) == pinned)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = clear(&self.directory) {
            tracing::debug!(directory = %self.directory.display(), %error, "links are left behind; the next run removes them");
        }
    }
}

/// Removes the links, never what they lead to.
fn clear(directory: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        cleared => cleared,
    }
}

fn link(file: &Path, staged: &Path) -> io::Result<()> {
    // Without the links that may stand for it in the store.
    let file = file.canonicalize()?;
    if let Some(parent) = staged.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match std::fs::hard_link(&file, staged) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !file.exists() => Err(error),
        // On another disk, or where there are no second names: rclone looks itself whether it changes while it is read.
        Err(_) => std::os::unix::fs::symlink(&file, staged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_stays_while_its_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        std::fs::create_dir_all(data.join("x")).unwrap();
        let file = |path: &str| StoreFile { path: path.to_owned(), identity: Identity { size: 0, mtime_ns: 0, inode: 0 } };
        std::fs::write(data.join("x/a"), "first").unwrap();
        std::fs::write(dir.path().join("new"), "the second").unwrap();
        let stage = Stage::new(data.join("stage")).unwrap();
        let linked = stage.add(&data, &[file("x/a"), file("x/gone")]).unwrap();
        assert_eq!(linked.iter().map(|f| (f.path.as_str(), f.identity.size)).collect::<Vec<_>>(), [("x/a", 5)]);
        std::fs::rename(dir.path().join("new"), data.join("x/a")).unwrap();
        assert_eq!(std::fs::read_to_string(stage.path().join("x/a")).unwrap(), "first");
        assert!(stage.is_unchanged("x/a", linked[0].identity));
        std::fs::write(stage.path().join("x/a"), "written into").unwrap();
        assert!(!stage.is_unchanged("x/a", linked[0].identity));
        let directory = stage.path().to_owned();
        drop(stage);
        assert!(!directory.exists());
        assert_eq!(std::fs::read_to_string(data.join("x/a")).unwrap(), "the second");
    }
}
