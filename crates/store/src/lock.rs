//! Advisory locks that say who holds them: `flock` on a file with the holder's pid inside.
//!
//! The kernel lets go of the lock when the holder dies, however it dies; a file that stays behind locks nothing.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Why a lock was not obtained.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else writes here.
    #[error(
        "{} is in use by {holder}: wait until it has ended or stop it, or use another directory",
        path.display()
    )]
    Held {
        /// What is locked.
        path: PathBuf,
        /// Who holds it.
        holder: Holder,
    },
    /// The lock file could not be made or locked.
    #[error("cannot lock {}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process; `None` when that could not be read.
    pub pid: Option<u32>,
    /// What was typed to start it: `dccd backfill`; empty when that can't be told.
    pub command: String,
}

impl Holder {
    /// Whoever wrote this into the lock file.
    fn of(text: &str) -> Self {
        let pid = text.trim().parse().ok();
        Self { pid, command: pid.map(command_of).unwrap_or_default() }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pid, self.command.as_str()) {
            (None, _) => write!(f, "another process"),
            (Some(pid), "") => write!(f, "process {pid}"),
            (Some(pid), command) => write!(f, "process {pid} (`{command}`)"),
        }
    }
}

/// The program's name and its arguments; empty when the process is gone or another user's.
fn command_of(pid: u32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = line.split(|byte| *byte == 0).filter(|word| !word.is_empty()).map(String::from_utf8_lossy);
    let program = words.next().unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default().to_owned();
    words.fold(program, |line, word| line + " " + &word)
}

/// A held lock; dropping it lets go.
#[derive(Debug)]
pub(crate) struct FileLock {
    file: File,
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Out loud: a child that another thread starts just now has the descriptor, too, until it executes its program.
        let _ = self.file.unlock();
    }
}

impl FileLock {
    /// Locks `path` (made when missing) on behalf of `what`, and writes our pid into it.
    pub(crate) fn acquire(path: &Path, what: &Path) -> Result<Self, LockError> {
        let error = |source| LockError::Io { path: path.to_owned(), source };
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(error)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Without the pid the message is less of a help, nothing more.
                let _ = file.read_to_string(&mut text);
                return Err(LockError::Held { path: what.to_owned(), holder: Holder::of(&text) });
            }
            Err(TryLockError::Error(source)) => return Err(error(source)),
        }
        // The pid is for people; on a full disk the lock holds without it.
        let noted = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
        if let Err(source) = noted {
            tracing::warn!(path = %path.display(), error = %source, "the lock's pid could not be written");
        }
        Ok(Self { file })
    }
}

/// The lock of a whole store: one tree of processes writes to a data path at a time.
#[derive(Debug)]
pub struct StoreLock {
    _lock: FileLock,
}

impl StoreLock {
    /// Locks `<data_path>/.dccd/lock`; the directories are made when missing.
    ///
    /// # Errors
    /// [`LockError::Held`] with the holder's pid, [`LockError::Io`] when the file can't be made.
    pub fn acquire(data_path: &Path) -> Result<Self, LockError> {
        let directory = data_path.join(".dccd");
        let path = directory.join("lock");
        std::fs::create_dir_all(&directory).map_err(|source| LockError::Io { path: path.clone(), source })?;
        Ok(Self { _lock: FileLock::acquire(&path, data_path)? })
    }

    /// The same for work that no recorder may run beside: services whose root died go on recording without this lock.
    ///
    /// # Errors
    /// As [`Self::acquire`]; [`LockError::Held`] with the recorder's pid where one writes an exchange's journal.
    pub fn acquire_alone(data_path: &Path) -> Result<Self, LockError> {
        let own = Self::acquire(data_path)?;
        for journal in std::fs::read_dir(data_path.join(".dccd/journal")).into_iter().flatten().flatten() {
            let lock = journal.path().join("lock");
            if lock.exists() {
                drop(FileLock::acquire(&lock, data_path)?);
            }
        }
        Ok(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_learns_the_pid_and_the_lock_ends_with_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let held = StoreLock::acquire(dir.path()).unwrap();
        match StoreLock::acquire(dir.path()) {
            Err(LockError::Held { path, holder }) => {
                assert_eq!(holder.pid, Some(std::process::id()));
                let program = std::env::args().next().unwrap();
                let program = program.rsplit('/').next().unwrap();
                assert!(holder.command.starts_with(program), "{holder}");
                assert_eq!(path, dir.path());
            }
            other => panic!("{other:?}"),
        }
        drop(held);
        StoreLock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn a_recorder_without_a_root_keeps_others_from_working_alone() {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join(".dccd/journal/binance");
        std::fs::create_dir_all(&journal).unwrap();
        let recorder = FileLock::acquire(&journal.join("lock"), &journal).unwrap();
        StoreLock::acquire(dir.path()).unwrap();
        let refused = StoreLock::acquire_alone(dir.path());
        assert!(matches!(&refused, Err(LockError::Held { path, .. }) if path == dir.path()), "{refused:?}");
        drop(recorder);
        StoreLock::acquire_alone(dir.path()).unwrap();
    }
}
