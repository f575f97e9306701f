//! Making a journal durable beside its writer, so that no commit ever waits for a disk.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::JournalError;

/// Full segments that may wait for their last sync; past that the writer syncs them itself.
pub(super) const WAITING_MAX: usize = 16;

/// What writer and sync thread share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Something was written since the last sync.
    dirty: AtomicBool,
    /// A write is under way: what it wrote may be read before `dirty` says so.
    writing: AtomicBool,
    /// `state.failed` is set. SYNC POINT: journal failed.
    failed: AtomicBool,
    state: Mutex<State>,
    wake: Condvar,
    /// Syncs that were not skipped.
    #[cfg(test)]
    rounds: std::sync::atomic::AtomicU64,
    /// Held while syncing, so that who waits for a sync under way waits for its end.
    syncing: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    current: Option<(Arc<File>, PathBuf)>,
    /// Full segments not synced to their end.
    waiting: Vec<(Arc<File>, PathBuf)>,
    /// The directory has names that are not synced.
    directory: Option<PathBuf>,
    failed: Option<(PathBuf, io::Error)>,
    stop: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves nothing half-done in here: every change is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write begins, which [`Self::touched`] ends.
    pub(super) fn touching(&self) {
        // SYNC POINT: journal writing.
        self.writing.store(true, Ordering::SeqCst);
    }

    pub(super) fn touched(&self) {
        self.dirty.store(true, Ordering::SeqCst);
        // SYNC POINT: journal writing.
        self.writing.store(false, Ordering::SeqCst);
    }

    /// A new current segment; the one before waits for its last sync. Returns how many wait.
    pub(super) fn set_current(&self, file: Arc<File>, path: PathBuf, dir: &Path) -> usize {
        let mut state = self.state();
        if let Some(before) = state.current.replace((file, path)) {
            state.waiting.push(before);
        }
        state.directory = Some(dir.to_owned());
        self.dirty.store(true, Ordering::SeqCst);
        state.waiting.len()
    }

    /// The failure of an earlier sync.
    pub(super) fn failure(&self) -> Option<JournalError> {
        // SYNC POINT: journal failed.
        if !self.failed.load(Ordering::Acquire) {
            return None;
        }
        let state = self.state();
        let (path, error) = state.failed.as_ref()?;
        // An `io::Error` can't be cloned; its number or kind can.
        let source = error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
        Some(JournalError::SyncFailed { path: path.clone(), source })
    }

    pub(super) fn sync(&self) -> Result<(), JournalError> {
        let _syncing = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = self.failure() {
            return Err(error);
        }
        // Asked first: a write that ended before this has set `dirty`, and one that ends after it is synced here.
        // SYNC POINT: journal writing.
        let writing = self.writing.load(Ordering::SeqCst);
        if !self.dirty.swap(false, Ordering::SeqCst) && !writing {
            return Ok(());
        }
        #[cfg(test)]
        self.rounds.fetch_add(1, Ordering::Relaxed);
        let (files, directory) = {
            let mut state = self.state();
            let mut files = std::mem::take(&mut state.waiting);
            files.extend(state.current.clone());
            (files, state.directory.take())
        };
        let directory = directory.map(|path| File::open(&path).and_then(|d| d.sync_all()).map_err(|e| (path, e)));
        let result = files
            .into_iter()
            .map(|(file, path)| file.sync_data().map_err(|e| (path, e)))
            .chain(directory)
            .collect::<Result<(), _>>();
        if let Err((path, error)) = result {
            tracing::error!(path = %path.display(), error = %error, "the journal could not be synced");
            self.state().failed = Some((path, error));
            // SYNC POINT: journal failed.
            self.failed.store(true, Ordering::Release);
        }
        self.failure().map_or(Ok(()), Err)
    }
}

/// The thread that syncs a journal at an interval. Dropping it syncs once more and stops it.
#[derive(Debug)]
pub struct JournalSync {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl JournalSync {
    /// Starts it. A failure of a sync comes out of the writer's next commit; the thread then ends.
    pub(super) fn start(shared: &Arc<Shared>, interval: Duration) -> io::Result<Self> {
        let shared = Arc::clone(shared);
        shared.state().stop = false;
        let thread = std::thread::Builder::new().name("journal-sync".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || {
                loop {
                    let state = shared.state();
                    let (state, _) =
                        shared.wake.wait_timeout_while(state, interval, |s| !s.stop).unwrap_or_else(PoisonError::into_inner);
                    let stop = state.stop;
                    drop(state);
                    if shared.sync().is_err() || stop {
                        return;
                    }
                }
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Waits until everything committed before the call is on the disk; from any thread.
    ///
    /// # Errors
    /// [`JournalError::SyncFailed`], for ever once it happened: what is durable can't be told any more.
    pub fn sync_now(&self) -> Result<(), JournalError> {
        self.shared.sync()
    }
}

impl Drop for JournalSync {
    fn drop(&mut self) {
        self.shared.state().stop = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            // It logged what went wrong, if anything; nothing is left to tell here.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_write_under_way_has_written_is_synced() {
        let dir = crate::testing::tempdir();
        let path = dir.path().join("segment");
        let shared = Shared::default();
        let rounds = || {
            shared.sync().unwrap();
            shared.rounds.load(Ordering::Relaxed)
        };
        shared.set_current(Arc::new(File::create(&path).unwrap()), path.clone(), dir.path());
        assert_eq!([rounds(), rounds()], [1, 1]);
        shared.touching();
        // However often it was synced since the write began: its bytes may have come in between.
        assert_eq!([rounds(), rounds()], [2, 3]);
        shared.touched();
        assert_eq!([rounds(), rounds()], [4, 4]);
    }
}
