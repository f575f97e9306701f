//! A lock file that names its holder: at most one process has it, and the kernel gives it back when that process dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A held lock; given back when dropped. The file stays (removing it would let two processes lock two files of one name).
#[derive(Debug)]
pub struct PidLock {
    file: File,
}

/// Why a lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum PidLockError {
    /// Another process has it.
    #[error("{} is held by {}", path.display(), pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}")))]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The holder, as it wrote itself into the file.
        pid: Option<u32>,
    },
    /// The file can't be opened or written.
    #[error("cannot lock {}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl PidLock {
    /// Takes the lock, or says who has it; never waits.
    pub fn acquire(path: &Path) -> Result<Self, PidLockError> {
        let io = |source| PidLockError::Io { path: path.to_owned(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(PidLockError::Held { path: path.to_owned(), pid: pid_in(&mut file) });
            }
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        file.set_len(0).map_err(io)?;
        file.rewind().map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Self { file })
    }

    /// Who holds the lock now; `None` when nobody does, or the file does not exist.
    pub fn holder(path: &Path) -> Result<Option<u32>, PidLockError> {
        let io = |source| PidLockError::Io { path: path.to_owned(), source };
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        // Shared, so that two who look at the same moment don't take each other for a holder.
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(pid_in(&mut file)),
            Err(TryLockError::Error(error)) => Err(io(error)),
        }
    }
}

impl Drop for PidLock {
    fn drop(&mut self) {
        // Nobody should read our pid after us. Failing is harmless: an unlocked file's content means nothing.
        let _ = self.file.set_len(0);
        // Out loud: a child that another thread starts just now has the descriptor, too, until it executes its program.
        let _ = self.file.unlock();
    }
}

fn pid_in(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_learns_the_first_ones_pid() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        assert_eq!(PidLock::holder(&path).unwrap(), None);
        let lock = PidLock::acquire(&path).unwrap();
        assert_eq!(PidLock::holder(&path).unwrap(), Some(std::process::id()));
        let refused = PidLock::acquire(&path).unwrap_err();
        assert!(matches!(refused, PidLockError::Held { pid: Some(pid), .. } if pid == std::process::id()));
        drop(lock);
        assert_eq!(PidLock::holder(&path).unwrap(), None);
        PidLock::acquire(&path).unwrap();
    }
}
