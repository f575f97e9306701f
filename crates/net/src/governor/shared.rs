//! The file of a ledger that several processes draw on: locked for some microseconds, read, changed, written in place.
//!
//! The lock goes with the open file: a process that dies gives it up. A file that can't be had (its folder is read-only,
//! somebody was stopped while holding it) is reported once and tried again after a pause; meanwhile the process goes on
//! with its own numbers. A record that makes no sense counts as "all used", never as "nothing used".

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::ledger::Ledger;
use super::place::sweep;
use super::record::{SIZE, decode, encode};

/// The longest wait for the lock, which others hold for microseconds.
const LOCK_PATIENCE: Duration = Duration::from_millis(100);
/// Between two looks at a lock that is held.
const LOCK_PAUSE: Duration = Duration::from_micros(50);
/// A file that couldn't be had is left alone for so long.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What the file holds.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it lives on the stack of one call, which must not allocate")]
pub(super) enum Found {
    /// Nothing yet: it was made just now.
    Fresh,
    /// A ledger.
    Ledger(Ledger),
    /// No ledger.
    Garbage,
}

/// The file.
#[derive(Debug)]
pub(super) struct LedgerFile {
    path: PathBuf,
    file: Option<File>,
    not_before: Option<Instant>,
    reported: bool,
}

impl LedgerFile {
    /// Nothing is opened yet.
    pub(super) fn new(path: PathBuf) -> Self {
        LedgerFile { path, file: None, not_before: None, reported: false }
    }

    /// Locks the file and reads it; to be followed by [`LedgerFile::unlock`]. `None` where it can't be had now.
    pub(super) fn lock(&mut self) -> Option<Found> {
        if self.not_before.is_some_and(|then| Instant::now() < then) {
            return None;
        }
        match self.try_lock() {
            Ok(found) => {
                if std::mem::take(&mut self.reported) {
                    tracing::info!(path = %self.path.display(), "requests are counted together with other processes again");
                }
                self.not_before = None;
                Some(found)
            }
            Err(error) => {
                self.give_up(&error);
                None
            }
        }
    }

    /// Writes the ledger, if it changed, and lets the next process have the file.
    pub(super) fn unlock(&mut self, changed: Option<&Ledger>) {
        let Some(file) = &self.file else {
            return;
        };
        let written = changed.map_or(Ok(()), |ledger| file.write_all_at(&encode(ledger), 0));
        if let Err(error) = written.and(file.unlock()) {
            self.give_up(&error);
        }
    }

    fn try_lock(&mut self) -> io::Result<Found> {
        // Twice: somebody may have removed the file since it was opened, and others made a new one.
        for _ in 0..2 {
            let file = match self.file.take() {
                Some(file) => file,
                None => open(&self.path)?,
            };
            lock(&file)?;
            if file.metadata()?.nlink() > 0 {
                let found = read(&file)?;
                if matches!(found, Found::Garbage) {
                    tracing::warn!(path = %self.path.display(), "the request ledger makes no sense; counting as if all were used");
                }
                self.file = Some(file);
                return Ok(found);
            }
        }
        Err(io::Error::new(io::ErrorKind::NotFound, "it is removed again and again"))
    }

    fn give_up(&mut self, error: &io::Error) {
        // Closing it gives up the lock, whatever state it is in.
        self.file = None;
        self.not_before = Some(Instant::now() + TRY_AGAIN);
        if !std::mem::replace(&mut self.reported, true) {
            tracing::warn!(
                path = %self.path.display(), %error,
                "cannot use the request ledger that processes share; counting in this process alone"
            );
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            sweep(path);
            // Another process may make it at the same time; both get the same file then.
            options.create(true).truncate(false).open(path)
        }
        opened => opened,
    }
}

/// There is no lock with a time limit, and a held one is free again before a thread could be woken.
fn lock(file: &File) -> io::Result<()> {
    let give_up = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() >= give_up => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "another process holds its lock"));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
        }
    }
}

fn read(file: &File) -> io::Result<Found> {
    let mut bytes = [0; SIZE];
    let mut filled = 0;
    while filled < SIZE {
        match file.read_at(&mut bytes[filled..], u64::try_from(filled).unwrap_or(u64::MAX)) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(match filled {
        0 => Found::Fresh,
        SIZE => decode(&bytes).map_or(Found::Garbage, Found::Ledger),
        _ => Found::Garbage,
    })
}
