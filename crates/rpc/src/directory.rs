//! Directories that are ours alone: created with mode 0700, refused when somebody else could write or look into them.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Why a directory can't hold our sockets and locks.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It belongs to another user.
    #[error("{} belongs to user {owner}, not to this one ({uid}); remove it or choose another runtime directory", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who we are.
        uid: u32,
    },
    /// Others may enter it.
    #[error("{} is open to others (mode {mode:04o}); run: chmod 700 {}", path.display(), path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There is something else, or a link.
    #[error("{} is not a directory (links are not followed here); remove it", path.display())]
    NotDirectory {
        /// The path.
        path: PathBuf,
    },
    /// It could not be made or looked at.
    #[error("cannot create or read the directory {}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// Makes sure that `path` is a directory of this user with mode 0700 (or stricter); creates the last part of the path
/// where it is missing. Does not follow a link in the last part.
pub fn private_directory(path: &Path) -> Result<(), DirectoryError> {
    let io = |source| DirectoryError::Io { path: path.to_owned(), source };
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(io(error)),
    }
    let meta = fs::symlink_metadata(path).map_err(io)?;
    if !meta.is_dir() {
        return Err(DirectoryError::NotDirectory { path: path.to_owned() });
    }
    let uid = rustix::process::geteuid().as_raw();
    if meta.uid() != uid {
        return Err(DirectoryError::Foreign { path: path.to_owned(), owner: meta.uid(), uid });
    }
    let mode = meta.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(DirectoryError::Open { path: path.to_owned(), mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_new_directory_is_ours_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        private_directory(&path).unwrap();
        private_directory(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
    }

    #[test]
    fn an_open_directory_a_file_and_a_link_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(matches!(private_directory(&open), Err(DirectoryError::Open { mode: 0o750, .. })));
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(private_directory(&file), Err(DirectoryError::NotDirectory { .. })));
        let link = dir.path().join("link");
        symlink(dir.path(), &link).unwrap();
        assert!(matches!(private_directory(&link), Err(DirectoryError::NotDirectory { .. })));
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        // Only root can give a directory away; for everybody else the filesystem root serves as the foreign one.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("theirs");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        let foreign =
            if std::os::unix::fs::chown(&path, Some(65534), None).is_ok() { path.as_path() } else { Path::new("/") };
        assert!(matches!(private_directory(foreign), Err(DirectoryError::Foreign { .. })));
    }
}
