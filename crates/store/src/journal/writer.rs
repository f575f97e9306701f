//! Appending to a journal. One writer at a time; its lock names the holder.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dccd_model::{Entry, UnixNanos};

use super::segment::{self, HEADER};
use super::sync::{JournalSync, Shared, WAITING_MAX};
use super::{Damage, JournalError, JournalReader, Position, frame};
use crate::lock::{FileLock, LockError};

/// How a journal is written.
#[derive(Clone, Copy, Debug)]
pub struct JournalOptions {
    /// A segment takes no further batch past this size.
    pub segment_bytes: u64,
    /// What is gathered at most between two commits; past that an append commits by itself.
    pub buffer_bytes: usize,
    /// The recorder's checkpoint, or where [`crate::durable_position`] is further: that. New entries get positions past it even if
    /// the journal lost its end in a power cut, or files came from elsewhere.
    pub at_least: Position,
    /// How often the sync thread makes the journal durable.
    pub sync_interval: Duration,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, buffer_bytes: 4 << 20, at_least: Position(0), sync_interval: Duration::from_secs(1) }
    }
}

/// What opening a journal found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Bytes of a torn entry that were cut from the end.
    pub bytes_cut: u64,
    /// A segment that is damaged in the middle or has no header; it was left as it is, and a new segment begun after it.
    pub damaged: Option<PathBuf>,
    /// The end of the journal lay before [`JournalOptions::at_least`]: what was in between is gone.
    pub lost_end: bool,
}

impl Recovered {
    /// Whether entries are missing that may have been acknowledged.
    #[must_use]
    pub const fn lost_entries(&self) -> bool {
        self.bytes_cut > 0 || self.damaged.is_some() || self.lost_end
    }
}

/// Writes a journal: [`Self::append`] gathers, [`Self::commit`] hands the batch to the system in one write.
#[derive(Debug)]
pub struct JournalWriter {
    dir: PathBuf,
    options: JournalOptions,
    buffer: Vec<u8>,
    entries: u64,
    first_ts: UnixNanos,
    current: Option<Segment>,
    /// The end of what is committed, and where the next segment begins.
    end: u64,
    /// The next segment's file was begun and could not be finished; readers may be waiting in it.
    rolling: bool,
    sync: Arc<Shared>,
    recovered: Recovered,
    found_until: UnixNanos,
    _lock: FileLock,
    #[cfg(test)]
    room: Option<usize>,
}

#[derive(Debug)]
struct Segment {
    file: Arc<File>,
    path: PathBuf,
    base: u64,
    /// Bytes that are whole entries.
    length: u64,
    /// A failed write may have left bytes past `length`.
    torn: bool,
}

impl JournalWriter {
    /// Opens the journal in `dir` (made when missing), cuts a torn tail, and is ready to go on after the last whole entry.
    ///
    /// # Errors
    /// [`JournalError::Locked`] when another process writes it, [`JournalError::Io`].
    pub fn open(dir: &Path, options: JournalOptions) -> Result<Self, JournalError> {
        std::fs::create_dir_all(dir).map_err(|e| JournalError::io("create", dir, e))?;
        let lock = FileLock::acquire(&dir.join("lock"), dir).map_err(|error| match error {
            LockError::Held { path, holder } => JournalError::Locked { path, holder },
            LockError::Io { path, source } => JournalError::io("lock", path, source),
        })?;
        let mut writer = Self {
            dir: dir.to_owned(),
            options,
            buffer: Vec::new(),
            entries: 0,
            first_ts: UnixNanos::UNKNOWN,
            current: None,
            end: 0,
            rolling: false,
            sync: Arc::default(),
            recovered: Recovered::default(),
            found_until: UnixNanos::UNKNOWN,
            _lock: lock,
            #[cfg(test)]
            room: None,
        };
        writer.recover()?;
        Ok(writer)
    }

    /// What opening found: a cut tail, damage.
    #[must_use]
    pub const fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    /// When the last entry that opening found was received; unknown where the last segment is empty, or there is none.
    #[must_use]
    pub const fn found_until(&self) -> UnixNanos {
        self.found_until
    }

    /// The end of what is committed.
    #[must_use]
    pub const fn position(&self) -> Position {
        Position(self.end)
    }

    /// Starts the thread that makes the journal durable, each [`JournalOptions::sync_interval`]. Keep what it gives: dropping
    /// it syncs a last time and ends the thread.
    ///
    /// # Errors
    /// [`JournalError::Io`] when the system gives no thread.
    pub fn sync_handle(&self) -> Result<JournalSync, JournalError> {
        JournalSync::start(&self.sync, self.options.sync_interval)
            .map_err(|e| JournalError::io("start the sync thread of", &self.dir, e))
    }

    /// Takes an entry into the batch. When the batch would grow past its limit, what was gathered is committed first.
    ///
    /// # Errors
    /// [`JournalError::TooLarge`]: the entry was not taken. Otherwise those of [`Self::commit`]; the entry was not taken either,
    /// and is counted among the lost.
    pub fn append(&mut self, entry: &Entry<'_>) -> Result<(), JournalError> {
        let size = frame::size(entry).map_err(|bytes| JournalError::TooLarge { bytes })?;
        if !self.buffer.is_empty() && self.buffer.len() + size > self.options.buffer_bytes {
            self.commit().map_err(|error| with_lost(error, 1))?;
        }
        if self.entries == 0 {
            self.first_ts = entry.ts_recv;
        }
        frame::encode(entry, &mut self.buffer);
        self.entries += 1;
        Ok(())
    }

    /// Writes the batch. When this returns, the entries are acknowledged: they survive the death of the process.
    ///
    /// # Errors
    /// [`JournalError::NoSpace`] and [`JournalError::Io`]: entries that were written whole stay in the journal, the others are
    /// lost (see [`JournalError::lost`]); the writer may be used again, and should first append a `Lost` entry.
    /// [`JournalError::SyncFailed`]: nothing was written; the journal has to be opened anew.
    pub fn commit(&mut self) -> Result<Position, JournalError> {
        let result = match self.sync.failure() {
            Some(error) => Err(error),
            None if self.buffer.is_empty() => Ok(()),
            None => self.write_batch(),
        };
        self.buffer.clear();
        self.buffer.shrink_to(self.options.buffer_bytes);
        self.entries = 0;
        result.map(|()| Position(self.end))
    }

    fn write_batch(&mut self) -> Result<(), JournalError> {
        let batch = self.buffer.len() as u64;
        if let Some(segment) = &mut self.current
            && segment.torn
        {
            let cut = segment.file.set_len(segment.length);
            cut.map_err(|e| with_lost(JournalError::io("cut the torn end of", &segment.path, e), self.entries))?;
            segment.torn = false;
        }
        let full =
            |s: &Segment| s.length > HEADER && s.length.saturating_add(batch) > self.options.segment_bytes.max(HEADER);
        if self.rolling || self.current.as_ref().is_none_or(full) {
            self.roll().map_err(|error| with_lost(error, self.entries))?;
        }
        let Some(segment) = self.current.as_mut() else { return Ok(()) };
        let mut written = 0;
        self.sync.touching();
        let failure = loop {
            if written == self.buffer.len() {
                break None;
            }
            let rest = &self.buffer[written..];
            #[cfg(test)]
            let rest = match limit(&mut self.room, rest) {
                Ok(rest) => rest,
                Err(error) => break Some(error),
            };
            match segment.file.write_at(rest, segment.length + written as u64) {
                Ok(0) => break Some(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Some(error),
            }
        };
        // A reader may already have seen the entries that were written whole, so those stay.
        let (kept_bytes, kept_entries) = match failure {
            None => (written, self.entries),
            Some(_) => whole_frames(&self.buffer[..written]),
        };
        segment.length += kept_bytes as u64;
        self.end = segment.base + segment.length;
        self.sync.touched();
        match failure {
            None => Ok(()),
            Some(error) => {
                segment.torn = written > kept_bytes && segment.file.set_len(segment.length).is_err();
                Err(write_error(&segment.path, error, self.entries - kept_entries))
            }
        }
    }

    /// Begins a new segment at `end`.
    fn roll(&mut self) -> Result<(), JournalError> {
        let path = segment::path(&self.dir, self.end);
        let file =
            OpenOptions::new().write(true).create(true).truncate(true).open(&path).map_err(|e| write_error(&path, e, 0))?;
        let header = segment::header(self.end, self.first_ts);
        #[cfg(test)]
        let wrote = limit(&mut self.room, &header)
            .and_then(|part| if part.len() == header.len() { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) })
            .and_then(|()| file.write_all_at(&header, 0));
        #[cfg(not(test))]
        let wrote = file.write_all_at(&header, 0);
        if let Err(error) = wrote {
            // The file stays, because a reader may already have it open; the next batch goes into it.
            self.rolling = true;
            let _ = file.set_len(0);
            return Err(write_error(&path, error, 0));
        }
        self.rolling = false;
        let file = Arc::new(file);
        if self.sync.set_current(Arc::clone(&file), path.clone(), &self.dir) > WAITING_MAX {
            self.sync.sync()?;
        }
        self.current = Some(Segment { file, path, base: self.end, length: HEADER, torn: false });
        self.end += HEADER;
        Ok(())
    }

    fn recover(&mut self) -> Result<(), JournalError> {
        let mut bases = segment::list(&self.dir)?;
        while let Some(base) = bases.pop() {
            let path = segment::path(&self.dir, base);
            let length = std::fs::metadata(&path).map_err(|e| JournalError::io("read", &path, e))?.len();
            if length < HEADER {
                // Died while beginning it: nothing is in it.
                self.recovered.bytes_cut += length;
                std::fs::remove_file(&path).map_err(|e| JournalError::io("delete", &path, e))?;
                continue;
            }
            self.end = base + length;
            self.recover_segment(base, path, length)?;
            break;
        }
        if self.end < self.options.at_least.0 {
            self.recovered.lost_end = true;
            self.end = self.options.at_least.0;
            self.current = None;
        }
        // Who follows the journal has to find the segment that new entries will go into, also before there are any.
        if self.recovered.lost_end || self.recovered.damaged.is_some() { self.roll() } else { Ok(()) }
    }

    fn recover_segment(&mut self, base: u64, path: PathBuf, length: u64) -> Result<(), JournalError> {
        let mut reader = JournalReader::open_at(&self.dir, Position(base))?;
        let damage = loop {
            match reader.next() {
                Ok(Some((_, entry))) => self.found_until = entry.ts_recv,
                Ok(None) => break None,
                Err(JournalError::Damaged { damage, .. }) => break Some(damage),
                Err(error) => return Err(error),
            }
        };
        let good = reader.position().0 - base;
        let in_the_middle = match damage {
            Some(Damage::Header | Damage::Version(_) | Damage::Kind(_) | Damage::Subject) => true,
            Some(_) => reader.claimed_size().is_some_and(|size| reader.good_entry_at(good + size)),
            None => false,
        };
        if in_the_middle {
            self.recovered.damaged = Some(path);
            return Ok(());
        }
        let file = OpenOptions::new().write(true).open(&path).map_err(|e| JournalError::io("open", &path, e))?;
        if good < length {
            self.recovered.bytes_cut += length - good;
            file.set_len(good).map_err(|e| JournalError::io("cut the torn end of", &path, e))?;
        }
        self.end = base + good;
        let file = Arc::new(file);
        self.sync.set_current(Arc::clone(&file), path.clone(), &self.dir);
        self.current = Some(Segment { file, path, base, length: good, torn: false });
        Ok(())
    }
}

impl Drop for JournalWriter {
    /// Commits what was gathered: a writer that is dropped without a last commit loses nothing that could be kept.
    fn drop(&mut self) {
        if let Err(error) = self.commit() {
            tracing::error!(path = %self.dir.display(), error = %error, lost = error.lost(), "the last entries were not journaled");
        }
    }
}

/// How much of `written` is whole entries: bytes, entries.
fn whole_frames(written: &[u8]) -> (usize, u64) {
    let (mut bytes, mut entries) = (0, 0);
    while let Ok(Some(size)) = frame::frame_size(&written[bytes..])
        && bytes + size <= written.len()
    {
        bytes += size;
        entries += 1;
    }
    (bytes, entries)
}

fn write_error(path: &Path, source: io::Error, lost: u64) -> JournalError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::WriteZero => {
            JournalError::NoSpace { path: path.to_owned(), lost, source }
        }
        _ => JournalError::Io { doing: "write", path: path.to_owned(), lost, source },
    }
}

fn with_lost(error: JournalError, more: u64) -> JournalError {
    match error {
        JournalError::NoSpace { path, lost, source } => JournalError::NoSpace { path, lost: lost + more, source },
        JournalError::Io { doing, path, lost, source } => JournalError::Io { doing, path, lost: lost + more, source },
        other => other,
    }
}

/// A disk that has `room` bytes left.
#[cfg(test)]
fn limit<'a>(room: &mut Option<usize>, bytes: &'a [u8]) -> io::Result<&'a [u8]> {
    match room {
        None => Ok(bytes),
        Some(0) => Err(io::ErrorKind::StorageFull.into()),
        Some(left) => {
            let count = bytes.len().min(*left);
            *left -= count;
            Ok(&bytes[..count])
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
