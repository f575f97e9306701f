//! Writing files so that they are whole or not there: temporary file, sync, rename, sync of the directory.
//!
//! Every change that the store makes on the disk goes through here, which is where tests cut it short.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::StoreError;
use crate::layout;

/// The disk as one recorder changes it.
#[derive(Debug)]
pub(crate) struct Disk {
    temporary: PathBuf,
    next: u64,
    /// Bytes written since it was last taken.
    pub(crate) bytes: u64,
}

impl Disk {
    /// Clears what an earlier process left half-written in `temporary`.
    pub(crate) fn open(temporary: PathBuf) -> Result<Self, StoreError> {
        for name in layout::names(&temporary).map_err(|e| StoreError::io("list", &temporary, e))? {
            remove(&temporary.join(name))?;
        }
        Ok(Self { temporary, next: 0, bytes: 0 })
    }

    /// A new temporary file; it is removed when dropped before it was published.
    pub(crate) fn create(&mut self) -> Result<TempFile, StoreError> {
        ensure_dir(&self.temporary)?;
        let path = self.temporary.join(format!("{}.tmp", self.next));
        self.next += 1;
        TempFile::create(path)
    }

    /// Makes a temporary file durable under its real name.
    pub(crate) fn publish(&mut self, file: TempFile, to: &Path) -> Result<(), StoreError> {
        if let Some(parent) = to.parent() {
            ensure_dir(parent)?;
        }
        self.bytes += file.bytes;
        file.publish(to)
    }

    /// Writes a file in pieces that follow each other.
    pub(crate) fn write(&mut self, to: &Path, pieces: &[&[u8]]) -> Result<(), StoreError> {
        let mut file = self.create()?;
        pieces.iter().try_for_each(|bytes| file.write_all(bytes)).map_err(|e| StoreError::io("write", to, e))?;
        self.publish(file, to)
    }
}

/// Bytes that are written at once.
const BUFFER_BYTES: usize = 128 << 10;

/// A file being written. What was written is seen by those who open it after [`Write::flush`] or [`TempFile::publish`].
#[derive(Debug)]
pub(crate) struct TempFile {
    file: Option<File>,
    path: PathBuf,
    buffer: Vec<u8>,
    pub(crate) bytes: u64,
    hasher: crc32fast::Hasher,
    failure: Failure,
}

/// Why a write failed, for those who hand the file to a library that makes a text of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failure(Arc<Mutex<Option<io::Error>>>);

impl Failure {
    pub(crate) fn take(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, error: io::Error) -> io::Error {
        let same = error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        same
    }
}

impl TempFile {
    /// A file of this name, to be published on the same file system.
    pub(crate) fn create(path: PathBuf) -> Result<Self, StoreError> {
        step(Op::Create(&path)).map_err(|e| StoreError::io("create", &path, e))?;
        let file = File::create(&path).map_err(|e| StoreError::io("create", &path, e))?;
        Ok(Self {
            file: Some(file),
            path,
            buffer: Vec::new(),
            bytes: 0,
            hasher: crc32fast::Hasher::new(),
            failure: Failure::default(),
        })
    }

    /// Makes it durable under its real name.
    pub(crate) fn publish(mut self, to: &Path) -> Result<(), StoreError> {
        self.flush().map_err(|e| StoreError::io("write", to, e))?;
        let handle = self.file.take();
        let published = handle
            .as_ref()
            .map_or(Ok(()), |f| step(Op::Sync(&self.path)).and_then(|()| f.sync_all()))
            .and_then(|()| step(Op::Rename(&self.path)).and_then(|()| fs::rename(&self.path, to)));
        if let Err(error) = published {
            // Put back, so that dropping it removes it.
            self.file = handle;
            return Err(StoreError::io("write", to, error));
        }
        sync_parent(to)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// CRC-32 of all bytes so far.
    pub(crate) fn checksum(&self) -> u32 {
        self.hasher.clone().finalize()
    }

    /// Where the reason of a failed write will be found.
    pub(crate) fn failure(&self) -> Failure {
        self.failure.clone()
    }
}

impl Write for TempFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        let taken = &bytes[..bytes.len().min(BUFFER_BYTES)];
        self.buffer.extend_from_slice(taken);
        self.bytes += taken.len() as u64;
        self.hasher.update(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let Some(file) = self.file.as_mut() else { return Err(io::ErrorKind::NotConnected.into()) };
        let written = match step(Op::Write(&self.path)) {
            Ok(()) => file.write_all(&self.buffer),
            // A write that is cut short leaves some of its bytes.
            Err(error) => file.write_all(&self.buffer[..self.buffer.len() / 2]).and(Err(error)),
        };
        self.buffer.clear();
        written.map_err(|error| self.failure.note(error))
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if self.file.take().is_some()
            && let Err(error) = remove(&self.path)
        {
            tracing::warn!(path = %self.path.display(), error = %error, "a temporary file stays behind");
        }
    }
}

/// A file that grows at its end, each piece in one write; what a piece that failed left behind is cut before the next.
#[derive(Debug)]
pub(crate) struct AppendFile {
    file: Arc<File>,
    path: PathBuf,
    len: u64,
    /// Bytes may lie behind `len`.
    torn: bool,
    /// How many lay behind it when it was opened.
    cut_bytes: u64,
}

impl AppendFile {
    /// A file that is there; what lies behind its first `len` bytes is cut.
    pub(crate) fn open(path: &Path, len: u64) -> Result<Self, StoreError> {
        let error = |e| StoreError::io("open", path, e);
        let file = File::options().read(true).write(true).open(path).map_err(error)?;
        let cut_bytes = file.metadata().map_err(error)?.len().saturating_sub(len);
        let mut file = Self { file: Arc::new(file), path: path.to_owned(), len, torn: cut_bytes > 0, cut_bytes };
        file.cut()?;
        Ok(file)
    }

    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    pub(crate) const fn cut_bytes(&self) -> u64 {
        self.cut_bytes
    }

    pub(crate) const fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// All of these bytes, or as good as none of them.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.cut()?;
        self.torn = true;
        let written = match step(Op::Write(&self.path)) {
            Ok(()) => self.file.write_all_at(bytes, self.len),
            // A write that is cut short leaves some of its bytes.
            Err(error) => self.file.write_all_at(&bytes[..bytes.len() / 2], self.len).and(Err(error)),
        };
        if let Err(error) = written {
            if let Err(error) = self.cut() {
                tracing::debug!(path = %self.path.display(), error = %error, "a torn end stays until the next write");
            }
            return Err(StoreError::io("write", &self.path, error));
        }
        self.len += bytes.len() as u64;
        self.torn = false;
        Ok(())
    }

    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        step(Op::Sync(&self.path)).and_then(|()| self.file.sync_data()).map_err(|e| StoreError::io("sync", &self.path, e))
    }

    fn cut(&mut self) -> Result<(), StoreError> {
        if self.torn {
            step(Op::Truncate)
                .and_then(|()| self.file.set_len(self.len))
                .map_err(|e| StoreError::io("cut the torn end of", &self.path, e))?;
            self.torn = false;
        }
        Ok(())
    }
}

/// Opens a file for reading.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    #[cfg(test)]
    faults::reading(path)?;
    File::open(path)
}

/// Deletes a file; one that isn't there is fine.
pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    match step(Op::Remove).and_then(|()| fs::remove_file(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("delete", path, error)),
        _ => Ok(()),
    }
}

/// Gives a file that does not verify a second name below the quarantine, with the path that it has. Returns that name.
pub(crate) fn link_to_quarantine(data_path: &Path, file: &Path) -> Result<PathBuf, StoreError> {
    let error = |e| StoreError::io("move to the quarantine", file, e);
    let relative = file.strip_prefix(data_path).unwrap_or(file);
    let relative = relative.strip_prefix(".dccd").unwrap_or(relative);
    let target = layout::quarantine(data_path).join(relative);
    if let Some(parent) = target.parent() {
        ensure_dir(parent)?;
    }
    let identity = |path: &Path| fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    let mut free = target.clone();
    let mut n = 1;
    while let Some(there) = identity(&free) {
        if Some(there) == identity(file) {
            // An attempt before this one came so far.
            return Ok(free);
        }
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{n}"));
        free = target.with_file_name(name);
        n += 1;
    }
    step(Op::Create(&free)).map_err(error)?;
    if fs::hard_link(file, &free).is_err() {
        // File systems without links.
        fs::copy(file, &free).and_then(|_| File::open(&free)?.sync_all()).map_err(error)?;
    }
    sync_parent(&free)?;
    Ok(free)
}

/// Writes a file atomically: who opens it sees the old bytes or the new ones, also after a crash. Missing directories are made.
///
/// # Errors
/// [`StoreError::NoSpace`], [`StoreError::Io`]; the file is then as it was before.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    if let Some(parent) = path.parent() {
        ensure_dir(parent)?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // Two threads that write the same file don't share it.
    static COUNT: AtomicU64 = AtomicU64::new(0);
    name.push(format!(".{}-{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    let temporary = path.with_file_name(name);
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    if let Err(error) = write() {
        let _ = fs::remove_file(&temporary); // there may be none
        return Err(StoreError::io("write", path, error));
    }
    sync_parent(path)
}

/// Makes a directory and those above it, durably.
pub(crate) fn ensure_dir(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        ensure_dir(parent)?;
    }
    match step(Op::Create(path)).and_then(|()| fs::create_dir(path)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(StoreError::io("create", path, error)),
        _ => sync_parent(path),
    }
}

fn sync_parent(path: &Path) -> Result<(), StoreError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    step(Op::SyncDir).and_then(|()| File::open(parent)?.sync_all()).map_err(|e| StoreError::io("sync", parent, e))
}

/// A change about to be made.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(test), allow(dead_code))] // the paths are for tests alone
pub(crate) enum Op<'a> {
    Create(&'a Path),
    Write(&'a Path),
    Sync(&'a Path),
    Rename(&'a Path),
    SyncDir,
    Truncate,
    Remove,
}

#[cfg(not(test))]
#[allow(clippy::unnecessary_wraps, clippy::needless_pass_by_value)]
const fn step(_: Op<'_>) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
fn step(op: Op<'_>) -> io::Result<()> {
    faults::step(op)
}

/// Faults for tests, per thread: the disk fills up, or the machine stops, at the n-th change.
#[cfg(test)]
pub(crate) mod faults {
    use std::cell::RefCell;
    use std::collections::HashSet;
    use std::io;
    use std::path::{Path, PathBuf};

    use super::Op;

    #[derive(Default)]
    struct Plan {
        changes: usize,
        crash_at: Option<usize>,
        full_at: Option<usize>,
        unsynced: HashSet<PathBuf>,
    }

    thread_local! {
        static PLAN: RefCell<Plan> = RefCell::default();
        static UNREADABLE: RefCell<Option<(PathBuf, i32)>> = const { RefCell::new(None) };
    }

    /// Opening this file gives the system's error of this number, until told otherwise.
    pub(crate) fn unreadable(file: Option<(PathBuf, i32)>) {
        UNREADABLE.set(file);
    }

    pub(super) fn reading(path: &Path) -> io::Result<()> {
        UNREADABLE.with_borrow(|file| match file {
            Some((unreadable, number)) if unreadable == path => Err(io::Error::from_raw_os_error(*number)),
            _ => Ok(()),
        })
    }

    /// From the n-th change on nothing reaches the disk.
    pub(crate) fn crash_at(n: usize) {
        PLAN.with_borrow_mut(|plan| *plan = Plan { crash_at: Some(n), ..Plan::default() });
    }

    /// From the n-th change on the disk is full.
    pub(crate) fn full_at(n: usize) {
        PLAN.with_borrow_mut(|plan| *plan = Plan { full_at: Some(n), ..Plan::default() });
    }

    /// No faults any more. Returns how many changes were made, or tried, since the last call.
    pub(crate) fn clear() -> usize {
        PLAN.take().changes
    }

    pub(super) fn step(op: Op<'_>) -> io::Result<()> {
        PLAN.with_borrow_mut(|plan| {
            plan.changes += 1;
            if plan.crash_at.is_some_and(|n| plan.changes > n) {
                return Err(io::Error::other("stopped by the test"));
            }
            if plan.full_at.is_some_and(|n| plan.changes > n) && matches!(op, Op::Create(_) | Op::Write(_)) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            match op {
                Op::Write(path) => drop(plan.unsynced.insert(path.to_owned())),
                Op::Sync(path) | Op::Create(path) => drop(plan.unsynced.remove(path)),
                Op::Rename(path) => assert!(!plan.unsynced.contains(path), "renamed before it was synced: {path:?}"),
                Op::SyncDir | Op::Truncate | Op::Remove => {}
            }
            Ok(())
        })
    }
}
