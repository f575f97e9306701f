//! Reading a journal from any position, and following it while it grows. Works beside a live writer, in any process.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use dccd_model::Entry;

use super::segment::{self, HEADER};
use super::{Damage, JournalError, Position, frame};

/// What is read at once.
const CHUNK: usize = 256 << 10;
/// After this many empty looks in a row, the directory is listed for a later segment that does not follow on.
const LOOKS_PER_LISTING: u32 = 256;

/// Reads entries one after the other.
///
/// At the end of what is committed [`Self::next`] gives `None`; called again later it goes on, across segments. Holds one
/// buffer that grows to the largest entry met; a garbage length never makes it grow past the file.
#[derive(Debug)]
pub struct JournalReader {
    dir: PathBuf,
    current: Option<Segment>,
    /// Of the next entry, or the end of a segment.
    position: u64,
    buffer: Vec<u8>,
    /// What of the buffer is yet to be handed out; it belongs at `position`.
    start: usize,
    end: usize,
    /// Looks at the journal's end since the last entry.
    idle: u32,
}

#[derive(Debug)]
struct Segment {
    file: File,
    path: PathBuf,
    base: u64,
    /// A segment after it, once one was seen: then nothing is appended to this one any more.
    later: Option<u64>,
}

enum Look {
    /// A whole entry of this size stands at `start`.
    Frame(usize),
    /// The file ends before the entry does; with the bytes that are there.
    Short(usize),
    Bad(Damage),
}

impl JournalReader {
    /// A reader whose first entry is the one at `position`: zero, or a position that a reader or writer gave.
    ///
    /// A journal that does not exist yet may be opened at zero.
    ///
    /// # Errors
    /// [`JournalError::Retired`], [`JournalError::Beyond`], or [`JournalError::Io`].
    pub fn open_at(dir: &Path, position: Position) -> Result<Self, JournalError> {
        let mut reader =
            Self { dir: dir.to_owned(), current: None, position: position.0, buffer: Vec::new(), start: 0, end: 0, idle: 0 };
        let bases = segment::list(dir)?;
        let Some(first) = bases.first() else {
            return match position.0 {
                0 => Ok(reader),
                _ => Err(JournalError::Beyond { path: dir.to_owned(), asked: position, end: Position(0) }),
            };
        };
        let Some(base) = bases.iter().rev().find(|base| **base <= position.0) else {
            let (asked, first) = (position, Position(*first));
            return Err(JournalError::Retired { path: dir.to_owned(), asked, first });
        };
        let path = segment::path(dir, *base);
        let length = std::fs::metadata(&path).map_err(|e| JournalError::io("read", &path, e))?.len();
        if position.0 > base + length {
            return Err(JournalError::Beyond { path: dir.to_owned(), asked: position, end: Position(base + length) });
        }
        reader.enter(*base)?;
        Ok(reader)
    }

    /// A reader at the beginning of what is kept, wherever that is: not zero when older segments were deleted, or when the
    /// journal began past what the store had ([`super::JournalOptions::at_least`]). [`Self::position`] says where.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn open_first(dir: &Path) -> Result<Self, JournalError> {
        let first = segment::list(dir)?.first().copied().unwrap_or_default();
        Self::open_at(dir, Position(first))
    }

    /// Where the next entry is, or will be.
    #[must_use]
    pub const fn position(&self) -> Position {
        Position(self.position)
    }

    /// The next entry and the position after it; `None` at the end of what is committed.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] until [`Self::skip_damaged`] is called; [`JournalError::Io`].
    #[allow(clippy::should_implement_trait)] // lends from itself, which no `Iterator` does
    pub fn next(&mut self) -> Result<Option<(Position, Entry<'_>)>, JournalError> {
        let Some(size) = self.advance()? else { return Ok(None) };
        let bytes = &self.buffer[self.start - size..self.start];
        match frame::decode(bytes) {
            Ok(entry) => Ok(Some((Position(self.position), entry))),
            Err(damage) => {
                // Stays before the entry, so that asking again says the same.
                self.start -= size;
                self.position -= size as u64;
                Err(self.damaged(damage))
            }
        }
    }

    /// Gives up the rest of a damaged segment and goes on with the next one. Returns where that begins, or `None` when there
    /// is none yet. The entries in between are lost, which is the caller's to declare.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn skip_damaged(&mut self) -> Result<Option<Position>, JournalError> {
        let after = self.current.as_ref().map_or(self.position, |s| s.base);
        let Some(base) = self.later_segment(after)? else { return Ok(None) };
        self.position = base;
        self.enter(base)?;
        Ok(Some(Position(base)))
    }

    /// Moves past one entry; its bytes are then the `size` ones before `start`.
    fn advance(&mut self) -> Result<Option<usize>, JournalError> {
        let mut reread = false;
        let mut looked_again = false;
        loop {
            if self.current.is_none() && !self.try_enter(self.position)? {
                return Ok(None);
            }
            match self.look()? {
                Look::Frame(size) => {
                    self.start += size;
                    self.position += size as u64;
                    self.idle = 0;
                    return Ok(Some(size));
                }
                Look::Bad(_) if !reread => {
                    // The writer may have cut a torn entry after we read half of it: look at what is there now.
                    reread = true;
                    self.discard();
                }
                Look::Bad(damage) => return Err(self.damaged(damage)),
                Look::Short(there) => {
                    // Half an entry may be cut and written anew; never keep it.
                    self.discard();
                    if there == 0 && self.try_enter(self.position)? {
                        continue;
                    }
                    self.idle = self.idle.wrapping_add(1);
                    let mut later = self.current.as_ref().and_then(|s| s.later);
                    if self.idle.is_multiple_of(LOOKS_PER_LISTING) {
                        #[cfg(test)]
                        before_listing();
                        later = self.later_segment(self.current.as_ref().map_or(0, |s| s.base))?;
                        if let Some(segment) = &mut self.current {
                            segment.later = later;
                        }
                    }
                    if later.is_some() && !looked_again {
                        // The segment may have grown between the look and the listing. Now it can't any more.
                        looked_again = true;
                        continue;
                    }
                    return match later {
                        Some(_) if there > 0 => Err(self.damaged(Damage::CutOff)),
                        Some(next) if next != self.position => Err(self.damaged(Damage::Missing)),
                        _ => Ok(None),
                    };
                }
            }
        }
    }

    fn look(&mut self) -> Result<Look, JournalError> {
        let Some(segment) = &self.current else { return Ok(Look::Short(0)) };
        let io_error = |source| JournalError::io("read", &segment.path, source);
        let offset = self.position - segment.base;
        if self.end - self.start < frame::PREFIX {
            fill(segment, offset, &mut self.buffer, &mut self.start, &mut self.end, CHUNK).map_err(io_error)?;
        }
        let there = self.end - self.start;
        if offset < HEADER {
            // Only ever at offset zero: positions within a header are moved there when opening.
            if there < usize::try_from(HEADER).unwrap_or(there) {
                return Ok(Look::Short(there));
            }
            if let Err(damage) = segment::check_header(&self.buffer[self.start..self.end], segment.base) {
                return Ok(Look::Bad(damage));
            }
            self.start += usize::try_from(HEADER).unwrap_or(0);
            self.position += HEADER;
            return self.look();
        }
        let size = match frame::frame_size(&self.buffer[self.start..self.end]) {
            Ok(Some(size)) => size,
            Ok(None) => return Ok(Look::Short(there)),
            Err(damage) => return Ok(Look::Bad(damage)),
        };
        if there < size {
            let length = segment.file.metadata().map_err(io_error)?.len();
            if length < offset + size as u64 {
                return Ok(Look::Short(there.max(1)));
            }
            fill(segment, offset, &mut self.buffer, &mut self.start, &mut self.end, size.max(CHUNK)).map_err(io_error)?;
            if self.end - self.start < size {
                return Ok(Look::Short(there.max(1)));
            }
        }
        match frame::check(&self.buffer[self.start..self.start + size]) {
            Ok(()) => Ok(Look::Frame(size)),
            Err(damage) => Ok(Look::Bad(damage)),
        }
    }

    /// Whether a whole, good entry stands at `offset` of the current segment. For telling a torn tail from damage.
    pub(super) fn good_entry_at(&self, offset: u64) -> bool {
        let Some(segment) = &self.current else { return false };
        let mut prefix = [0; frame::PREFIX];
        let Ok(()) = segment.file.read_exact_at(&mut prefix, offset) else { return false };
        let Ok(Some(size)) = frame::frame_size(&prefix) else { return false };
        if segment.file.metadata().map_or(0, |m| m.len()) < offset + size as u64 {
            return false;
        }
        let mut bytes = vec![0; size];
        segment.file.read_exact_at(&mut bytes, offset).is_ok() && frame::check(&bytes).is_ok()
    }

    /// The size that the frame at the current position claims, if it claims a possible one.
    pub(super) fn claimed_size(&self) -> Option<u64> {
        let segment = self.current.as_ref()?;
        let mut prefix = [0; frame::PREFIX];
        segment.file.read_exact_at(&mut prefix, self.position - segment.base).ok()?;
        frame::frame_size(&prefix).ok().flatten().map(|size| size as u64)
    }

    fn later_segment(&self, after: u64) -> Result<Option<u64>, JournalError> {
        Ok(segment::list(&self.dir)?.into_iter().find(|base| *base > after))
    }

    fn discard(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Goes into the segment at `base` if it is there and not the current one.
    fn try_enter(&mut self, base: u64) -> Result<bool, JournalError> {
        if self.current.as_ref().is_some_and(|s| s.base == base) || !segment::path(&self.dir, base).exists() {
            return Ok(false);
        }
        self.enter(base)?;
        Ok(true)
    }

    /// Opens the segment at `base` without checking anything but that it is there.
    fn enter(&mut self, base: u64) -> Result<(), JournalError> {
        let path = segment::path(&self.dir, base);
        let file = File::open(&path).map_err(|e| JournalError::io("read", &path, e))?;
        let later = self.later_segment(base)?;
        self.current = Some(Segment { file, path, base, later });
        if self.position < base + HEADER {
            self.position = base;
        }
        self.idle = 0;
        self.discard();
        Ok(())
    }

    fn damaged(&self, damage: Damage) -> JournalError {
        let (path, base) = self.current.as_ref().map_or((self.dir.clone(), 0), |s| (s.path.clone(), s.base));
        JournalError::Damaged { path, offset: self.position - base, damage }
    }
}

/// Makes room for `want` bytes and reads as many as there are; `offset` is where `buffer[start]` belongs.
fn fill(
    segment: &Segment,
    offset: u64,
    buffer: &mut Vec<u8>,
    start: &mut usize,
    end: &mut usize,
    want: usize,
) -> io::Result<()> {
    buffer.copy_within(*start..*end, 0);
    (*start, *end) = (0, *end - *start);
    if buffer.len() < want {
        buffer.resize(want, 0);
    }
    while *end < want {
        match segment.file.read_at(&mut buffer[*end..], offset + *end as u64) {
            Ok(0) => break,
            Ok(count) => *end += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
thread_local! {
    /// What a test has the writer do between a look at the segment's end and the listing.
    pub(super) static BEFORE_LISTING: std::cell::RefCell<Option<Box<dyn FnOnce()>>> = const { std::cell::RefCell::new(None) };
}

#[cfg(test)]
fn before_listing() {
    if let Some(act) = BEFORE_LISTING.take() {
        act();
    }
}
