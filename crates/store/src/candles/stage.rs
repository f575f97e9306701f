//! The stage of a series: windows as they were landed, appended one after the other, each in one write.
//!
//! ```text
//! stage.bin  "DCCDSTGE" · u32 version = 1 · u32 span in seconds · u32 empties (1 sent, 2 omitted) · u32 crc32 of these 20 bytes
//! frame      u32 length · u32 crc32 of what follows, which is so long
//! window     u8 1 · i64 from · i64 to · u32 gaps · u32 rows · (i64 from · i64 to)* · row*
//! row        i64 ts · f64 open high low close volume quote_volume · i64 trades      (unknown: NaN, i64::MIN)
//! listing    u8 2 · i64 open time of the market's first candle
//! ```
//!
//! Little endian. A frame that is cut short or doesn't match ends the stage: what lies behind is cut when a writer opens it, and
//! its windows are asked of the exchange again. Memory: an entry a window; rows are read where they lie.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dccd_model::{Grid, Span, UnixNanos};

use super::{CandleSeriesId, Coverage, Empties, Landing, stretch};
use crate::disk::{self, AppendFile, Disk};
use crate::error::StoreError;
use crate::layout;
use crate::ranges::Ranges;
use crate::rows::CandleRow;

/// Rows in a window at most, so that a frame is at most 8 MiB of rows.
pub(crate) const WINDOW_ROWS_MAX: usize = 131_072;

const MAGIC: &[u8; 8] = b"DCCDSTGE";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 24;
const FRAME_BYTES: usize = 8;
/// Of a window before its gaps.
const WINDOW_BYTES: usize = 25;
const GAP_BYTES: usize = 16;
const ROW_BYTES: usize = 64;
const LENGTH_MAX: usize = WINDOW_BYTES + WINDOW_ROWS_MAX * (ROW_BYTES + GAP_BYTES);
const KIND_WINDOW: u8 = 1;
const KIND_LISTING: u8 = 2;

/// A window on the stage.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) from: UnixNanos,
    pub(crate) to: UnixNanos,
    pub(crate) rows: u32,
    /// Open times of its first and last candle; `from` without any.
    pub(crate) first: UnixNanos,
    pub(crate) last: UnixNanos,
    /// Declared missing.
    pub(crate) gaps: Ranges,
    /// Where its rows lie in the file.
    offset: u64,
}

/// The file, as its one writer has it.
#[derive(Debug)]
pub(crate) struct Stage {
    path: PathBuf,
    span: Span,
    pub(crate) empties: Empties,
    file: AppendFile,
    pub(crate) windows: Vec<Window>,
    /// What was noted here and stands in no year file yet.
    pub(crate) listed: Option<UnixNanos>,
    buffer: Vec<u8>,
}

/// The file, as a reader has it; a writer beside it changes nothing of what was read.
#[derive(Debug)]
pub(crate) struct StageView {
    path: PathBuf,
    file: Arc<File>,
    span: Span,
    pub(crate) empties: Empties,
    pub(crate) windows: Vec<Window>,
    pub(crate) listed: Option<UnixNanos>,
    /// Bytes that are whole.
    len: u64,
    /// More follows than a last write that was cut short: windows are lost.
    pub(crate) is_damaged: bool,
}

pub(crate) fn path(data_path: &Path, id: &CandleSeriesId) -> PathBuf {
    layout::candle_stage_dir(data_path, id).join("stage.bin")
}

impl Stage {
    /// Opens the stage, made when missing; a torn end is cut. One that was begun for the other kind of source keeps its kind until
    /// it is emptied.
    pub(crate) fn open(
        disk: &mut Disk,
        data_path: &Path,
        id: &CandleSeriesId,
        empties: Empties,
    ) -> Result<Self, StoreError> {
        let path = path(data_path, id);
        let view = match StageView::open(data_path, id) {
            Ok(view) => view,
            Err(error) if error.is_damage() => {
                tracing::error!(file = %path.display(), error = %error, "the stage is damaged; what it holds is asked for again");
                disk::link_to_quarantine(data_path, &path)?;
                None
            }
            Err(error) => return Err(error),
        };
        let view = match view {
            Some(view) => view,
            None => {
                disk.write(&path, &[&header(id.span, empties)])?;
                StageView::open(data_path, id)?
                    .ok_or_else(|| StoreError::io("read", &path, io::ErrorKind::NotFound.into()))?
            }
        };
        if view.is_damaged {
            tracing::error!(file = %path.display(), "the stage is damaged; what it held behind the damage is asked for again");
            disk::link_to_quarantine(data_path, &path)?;
            let mut whole = vec![0; usize::try_from(view.len).unwrap_or(usize::MAX)];
            view.file.read_exact_at(&mut whole, 0).map_err(|e| StoreError::io("read", &path, e))?;
            // Under a new name: the file in the quarantine stays as it is.
            disk.write(&path, &[&whole])?;
        }
        let StageView { path, span, empties, windows, listed, len, .. } = view;
        let file = AppendFile::open(&path, len)?;
        if file.cut_bytes() > 0 {
            tracing::warn!(file = %path.display(), bytes = file.cut_bytes(), "the last window was not landed in full and is asked for again");
        }
        Ok(Self { path, span, empties, file, windows, listed, buffer: Vec::new() })
    }

    pub(crate) fn rows(&self) -> u64 {
        self.windows.iter().map(|window| u64::from(window.rows)).sum()
    }

    /// Appends a window, in one write.
    pub(crate) fn land(&mut self, landing: &Landing<'_>, grid: Grid) -> Result<&Window, StoreError> {
        let gaps: Ranges = landing.gaps.iter().map(|gap| stretch(gap, grid)).collect();
        self.begin(KIND_WINDOW);
        self.buffer.extend_from_slice(&landing.from.0.to_le_bytes());
        self.buffer.extend_from_slice(&landing.to.0.to_le_bytes());
        for count in [gaps.len(), landing.rows.len()] {
            self.buffer.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
        }
        for (from, to) in gaps.iter() {
            self.buffer.extend_from_slice(&from.0.to_le_bytes());
            self.buffer.extend_from_slice(&to.0.to_le_bytes());
        }
        let offset = self.file.len() + self.buffer.len() as u64;
        landing.rows.iter().for_each(|row| put_row(&mut self.buffer, row));
        self.append()?;
        let ends = landing.rows.first().zip(landing.rows.last());
        let (first, last) = ends.map_or((landing.from, landing.from), |(first, last)| (first.ts, last.ts));
        let rows = u32::try_from(landing.rows.len()).unwrap_or(u32::MAX);
        self.windows.push(Window { from: landing.from, to: landing.to, rows, first, last, gaps, offset });
        Ok(&self.windows[self.windows.len() - 1])
    }

    /// Appends where the market's candles begin.
    pub(crate) fn note_listing(&mut self, first: UnixNanos) -> Result<(), StoreError> {
        self.begin(KIND_LISTING);
        self.buffer.extend_from_slice(&first.0.to_le_bytes());
        self.append()?;
        self.listed = Some(first);
        Ok(())
    }

    fn begin(&mut self, kind: u8) {
        self.buffer.clear();
        self.buffer.resize(FRAME_BYTES, 0);
        self.buffer.push(kind);
    }

    fn append(&mut self) -> Result<(), StoreError> {
        seal(&mut self.buffer);
        let appended = self.file.append(&self.buffer);
        self.buffer.shrink_to(1 << 20);
        appended
    }

    /// On the disk up to here, also after a power cut.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.file.sync()
    }

    /// Forgets all windows, because they are in year files now; `listed` is kept where no file says it. The old file stays as it is
    /// for those who read it.
    pub(crate) fn empty(&mut self, disk: &mut Disk, listed: Option<UnixNanos>, empties: Empties) -> Result<(), StoreError> {
        let mut bytes = header(self.span, empties);
        if let Some(listed) = listed {
            self.begin(KIND_LISTING);
            self.buffer.extend_from_slice(&listed.0.to_le_bytes());
            seal(&mut self.buffer);
            bytes.extend_from_slice(&self.buffer);
        }
        disk.write(&self.path, &[&bytes])?;
        self.file = AppendFile::open(&self.path, bytes.len() as u64)?;
        (self.windows, self.listed, self.empties) = (Vec::new(), listed, empties);
        Ok(())
    }

    /// Reads all of it again, row by row, into what is known.
    pub(crate) fn apply_to(&self, all: &mut Coverage) -> Result<(), StoreError> {
        apply(&self.source(), &self.windows, self.listed, all)
    }

    pub(crate) fn source(&self) -> StageRows {
        StageRows { file: Arc::clone(self.file.file()), path: self.path.clone() }
    }
}

impl StageView {
    /// The stage as it is; `None` when there is none. Every whole frame's checksum is compared.
    pub(crate) fn open(data_path: &Path, id: &CandleSeriesId) -> Result<Option<Self>, StoreError> {
        let path = path(data_path, id);
        let file = match disk::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read", &path, error)),
        };
        let mut head = [0; HEADER_BYTES];
        let damaged = || StoreError::file(&path, crate::error::FileProblem::Checksum);
        if file.read_exact_at(&mut head, 0).is_err() || &head[..8] != MAGIC {
            return Err(damaged());
        }
        if u32_at(&head, 8) != VERSION {
            return Err(StoreError::Stage { path, version: u32_at(&head, 8) });
        }
        let empties = match u32_at(&head, 16) {
            1 => Empties::Sent,
            2 => Empties::Omitted,
            _ => return Err(damaged()),
        };
        if crc32fast::hash(&head[..20]) != u32_at(&head, 20) || u32_at(&head, 12) != id.span.as_secs() {
            return Err(damaged());
        }
        let mut view = Self {
            path,
            file: Arc::new(file),
            span: id.span,
            empties,
            windows: Vec::new(),
            listed: None,
            len: HEADER_BYTES as u64,
            is_damaged: false,
        };
        view.scan().map_err(|e| StoreError::io("read", &view.path, e))?;
        Ok(Some(view))
    }

    /// Takes in every frame that is whole, up to the first that is not.
    fn scan(&mut self) -> io::Result<()> {
        let bad = self.scan_frames()?;
        // A write that was cut short is the last there is, and no longer than a frame.
        let left = self.file.metadata()?.len().saturating_sub(self.len);
        self.is_damaged = left > bad.min((FRAME_BYTES + LENGTH_MAX) as u64);
        Ok(())
    }

    /// Returns how many bytes the frame takes that ended it.
    fn scan_frames(&mut self) -> io::Result<u64> {
        let mut input = Buffered { file: &self.file, offset: self.len, buffer: Vec::new(), start: 0 };
        while let Some(head) = input.peek(FRAME_BYTES)? {
            let (length, crc) = (u32_at(head, 0) as usize, u32_at(head, 4));
            if !(1..=LENGTH_MAX).contains(&length) {
                return Ok(u64::MAX);
            }
            let Some(frame) = input.peek(FRAME_BYTES + length)? else { return Ok(u64::MAX) };
            let body = &frame[FRAME_BYTES..];
            let bad = Ok((FRAME_BYTES + length) as u64);
            if crc32fast::hash(body) != crc {
                return bad;
            }
            match body[0] {
                KIND_WINDOW => match window_of(body, self.len + FRAME_BYTES as u64) {
                    Some(window) => self.windows.push(window),
                    None => return bad,
                },
                KIND_LISTING if length == 9 => self.listed = Some(UnixNanos(i64_at(body, 1))),
                _ => return bad,
            }
            input.start += FRAME_BYTES + length;
            self.len += (FRAME_BYTES + length) as u64;
        }
        Ok(u64::MAX)
    }

    /// How large it is as far as it is whole.
    pub(crate) const fn bytes(&self) -> u64 {
        self.len
    }

    pub(crate) fn apply_to(&self, all: &mut Coverage) -> Result<(), StoreError> {
        apply(&self.source(), &self.windows, self.listed, all)
    }

    pub(crate) fn source(&self) -> StageRows {
        StageRows { file: Arc::clone(&self.file), path: self.path.clone() }
    }
}

fn apply(source: &StageRows, windows: &[Window], listed: Option<UnixNanos>, all: &mut Coverage) -> Result<(), StoreError> {
    let mut rows = Vec::new();
    for window in windows {
        rows.clear();
        // Where nothing was known before, the window's ends are all that it takes.
        if !window.gaps.is_empty() || all.covered.overlaps(window.from, window.to) {
            source.read(window, 0, window.rows, &mut rows)?;
        }
        all.apply(window, rows.iter().map(|row| row.ts));
    }
    all.listed = listed.or(all.listed);
    Ok(())
}

/// Where rows of windows are read from.
#[derive(Clone, Debug)]
pub(crate) struct StageRows {
    file: Arc<File>,
    path: PathBuf,
}

impl StageRows {
    /// Appends `count` of a window's rows, from number `first` on.
    pub(crate) fn read(&self, window: &Window, first: u32, count: u32, out: &mut Vec<CandleRow>) -> Result<(), StoreError> {
        let mut bytes = vec![0; count as usize * ROW_BYTES];
        let offset = window.offset + u64::from(first) * ROW_BYTES as u64;
        self.file.read_exact_at(&mut bytes, offset).map_err(|e| StoreError::io("read", &self.path, e))?;
        out.extend(bytes.chunks_exact(ROW_BYTES).map(row_of));
        Ok(())
    }
}

/// A file read forward, with what is looked at in one piece of memory.
struct Buffered<'a> {
    file: &'a File,
    /// Of the first byte that is not in the buffer.
    offset: u64,
    buffer: Vec<u8>,
    start: usize,
}

impl Buffered<'_> {
    /// The next `count` bytes; `None` when the file ends before.
    fn peek(&mut self, count: usize) -> io::Result<Option<&[u8]>> {
        while self.buffer.len() - self.start < count {
            self.buffer.drain(..self.start);
            self.start = 0;
            let (old, more) = (self.buffer.len(), count.max(1 << 20));
            self.buffer.resize(old + more, 0);
            let read = match self.file.read_at(&mut self.buffer[old..], self.offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Ok(0) => {
                    self.buffer.truncate(old);
                    return Ok(None);
                }
                other => other?,
            };
            self.buffer.truncate(old + read);
            self.offset += read as u64;
        }
        Ok(Some(&self.buffer[self.start..self.start + count]))
    }
}

fn header(span: Span, empties: Empties) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    let empties = match empties {
        Empties::Sent => 1,
        Empties::Omitted => 2,
    };
    [VERSION, span.as_secs(), empties].iter().for_each(|number: &u32| bytes.extend_from_slice(&number.to_le_bytes()));
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// Length and checksum into the place that was left for them.
fn seal(frame: &mut [u8]) {
    let (head, body) = frame.split_at_mut(FRAME_BYTES);
    head[..4].copy_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    head[4..].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
}

/// A window that matches its checksum; `offset` is that of its body. `None` when its counts don't fit.
fn window_of(body: &[u8], offset: u64) -> Option<Window> {
    if body.len() < WINDOW_BYTES {
        return None;
    }
    let (gaps, rows) = (u32_at(body, 17) as usize, u32_at(body, 21) as usize);
    let rows_at = WINDOW_BYTES + gaps * GAP_BYTES;
    if body.len() != rows_at + rows * ROW_BYTES {
        return None;
    }
    let from = UnixNanos(i64_at(body, 1));
    let ts = |row: usize| UnixNanos(i64_at(body, rows_at + row * ROW_BYTES));
    let gap = |n: usize| (i64_at(body, WINDOW_BYTES + n * GAP_BYTES), i64_at(body, WINDOW_BYTES + n * GAP_BYTES + 8));
    Some(Window {
        from,
        to: UnixNanos(i64_at(body, 9)),
        rows: u32::try_from(rows).ok()?,
        first: if rows == 0 { from } else { ts(0) },
        last: if rows == 0 { from } else { ts(rows - 1) },
        gaps: (0..gaps).map(gap).map(|(from, to)| (UnixNanos(from), UnixNanos(to))).collect(),
        offset: offset + rows_at as u64,
    })
}

fn put_row(out: &mut Vec<u8>, row: &CandleRow) {
    let mut bytes = [0; ROW_BYTES];
    let numbers = [row.open, row.high, row.low, row.close, row.volume, row.quote_volume.unwrap_or(f64::NAN)];
    bytes[..8].copy_from_slice(&row.ts.0.to_le_bytes());
    for (place, number) in bytes[8..56].chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    bytes[56..].copy_from_slice(&row.trades.unwrap_or(i64::MIN).to_le_bytes());
    out.extend_from_slice(&bytes);
}

fn row_of(bytes: &[u8]) -> CandleRow {
    let number = |n: usize| f64::from_bits(i64_at(bytes, 8 + n * 8).cast_unsigned());
    let trades = i64_at(bytes, 56);
    CandleRow {
        ts: UnixNanos(i64_at(bytes, 0)),
        open: number(0),
        high: number(1),
        low: number(2),
        close: number(3),
        volume: number(4),
        quote_volume: Some(number(5)).filter(|n| !n.is_nan()),
        trades: (trades != i64::MIN).then_some(trades),
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |four| u32::from_le_bytes(*four))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    bytes[at..].first_chunk().map_or(0, |eight| i64::from_le_bytes(*eight))
}
