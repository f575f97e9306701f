//! The writing side: makes a ring or goes on in one that a dead writer left, publishes, and never waits for anybody.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::info::store_text;
use crate::layout::{CHANNEL_BYTES_MAX, EXCHANGE_BYTES_MAX, Geometry, HEADER_SIZE, Header, LAYOUT, MAGIC, SYMBOL_BYTES_MAX};
use crate::name::{check, ring_path, under_construction};
use crate::segment::{ReadSegment, WriteSegment, is_linked, open_file};
use crate::waker::Handle;
use crate::{FeedState, RingError, lock, waker};

/// How often opening is tried again when others create or remove the ring at the same moment.
const ATTEMPTS: u64 = 16;
/// For fields that stand alone.
const R: Ordering = Ordering::Relaxed;

/// What a ring is to be.
#[derive(Clone, Copy, Debug)]
pub struct RingSpec<'a> {
    /// Name under `/dev/shm`, see [`crate::ring_name`].
    pub name: &'a str,
    /// Record kind: 1 trade, 2 quote, 3 book level, 4 candle.
    pub kind: u32,
    /// Bytes of a slot, stamp included: 64, or another multiple of it.
    pub slot_size: u32,
    /// Number of slots, a power of two.
    pub capacity: u64,
    /// Exchange, at most 32 bytes.
    pub exchange: &'a str,
    /// Symbol in its unified form, at most 64 bytes.
    pub symbol: &'a str,
    /// Channel, at most 32 bytes.
    pub channel: &'a str,
}

impl RingSpec<'_> {
    fn check(&self) -> Result<Geometry, RingError> {
        check(self.name)?;
        let unsuitable = |reason| RingError::Unsuitable { name: self.name.to_owned(), reason };
        let too_long = self.exchange.len() > EXCHANGE_BYTES_MAX
            || self.symbol.len() > SYMBOL_BYTES_MAX
            || self.channel.len() > CHANNEL_BYTES_MAX;
        if too_long {
            return Err(unsuitable("the exchange's (32), symbol's (64) or channel's (32 bytes) name is too long"));
        }
        Geometry::new(self.kind, self.slot_size, self.capacity)
            .ok_or_else(|| unsuitable("slots must be a multiple of 64 bytes, and their number a power of two"))
    }
}

/// The one writer of a ring. Dropping it leaves the segment for the next one; [`Self::unlink`] removes it.
pub struct Writer {
    segment: Arc<WriteSegment>,
    /// Holds the lock that makes us the writer.
    file: File,
    name: String,
    next: u64,
    futex: u32,
    waker: Handle,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("name", &self.name).field("cursor", &self.next).finish_non_exhaustive()
    }
}

impl Writer {
    /// Makes the ring, or goes on in the one that is there.
    ///
    /// A segment left by a writer that ended is used again if it has the same kind, slot size and capacity: `generation`
    /// grows, sequence and gaps go on. Otherwise (and if it is damaged) a new one takes its name in one step; readers of the
    /// old one learn that they are [`crate::WriterStatus::Detached`]. `now_ns` is the host clock's time.
    ///
    /// # Errors
    /// [`RingError::WriterAlive`] with the other's pid; [`RingError::NoSpace`]; [`RingError::Unsuitable`];
    /// [`RingError::ForeignOwner`]; [`RingError::TooManyRings`]; what the system says.
    pub fn open(spec: &RingSpec<'_>, now_ns: i64) -> Result<Self, RingError> {
        let geometry = spec.check()?;
        for _ in 0..ATTEMPTS {
            let opened = match open_file(spec.name, true) {
                Ok(file) => Self::take_over(file, spec, geometry, now_ns)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(spec, geometry, 1, false, now_ns)?,
                Err(error) => return Err(RingError::system("open", spec.name)(error)),
            };
            if let Some(writer) = opened {
                return Ok(writer);
            }
        }
        Err(RingError::Contended { name: spec.name.to_owned() })
    }

    /// Goes on in an existing segment, or replaces it; `None` if it was replaced or removed in the meantime.
    fn take_over(file: File, spec: &RingSpec<'_>, geometry: Geometry, now_ns: i64) -> Result<Option<Self>, RingError> {
        let name = spec.name;
        let owner = file.metadata().map_err(RingError::system("look at", name))?.uid();
        if owner != rustix::process::geteuid().as_raw() {
            return Err(RingError::ForeignOwner { name: name.to_owned(), uid: owner });
        }
        let locked = lock::try_lock(&file).map_err(RingError::system("lock", name))?;
        let old = ReadSegment::map(&file, name, false);
        if !locked {
            let pid = old.map_or(0, |old| old.header().writer_pid.load(R));
            return Err(RingError::WriterAlive { name: name.to_owned(), pid });
        }
        if !is_linked(&file, name).map_err(RingError::system("look at", name))? {
            return Ok(None);
        }
        // From here on the name is ours: whoever wants to replace or remove the segment needs the lock first.
        let mut generation = 1;
        if let Ok(old) = old {
            generation = old.header().generation.load(R).wrapping_add(1);
            if old.geometry() == geometry {
                let segment = WriteSegment::attach(name, geometry)?;
                if let Ok(next) = segment.lane().recover() {
                    claim(segment.header(), FeedState::Stale, generation, now_ns);
                    return Self::start(segment, file, name, next).map(Some);
                }
                tracing::warn!(ring = name, "ring contradicts itself and is replaced by a new one");
            }
        }
        Self::create(spec, geometry, generation, true, now_ns)
    }

    /// Makes a segment aside, completely, and then gives it its name in one step, in the place of the old one if `replace`.
    /// `None` if somebody was quicker.
    fn create(
        spec: &RingSpec<'_>,
        geometry: Geometry,
        generation: u64,
        replace: bool,
        now_ns: i64,
    ) -> Result<Option<Self>, RingError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let temporary = under_construction(spec.name, process::id(), COUNT.fetch_add(1, R));
        let (mut segment, file) = WriteSegment::create(&temporary, spec.name, geometry)?;
        if !lock::try_lock(&file).map_err(RingError::system("lock", spec.name))? {
            return Ok(None); // a sweep takes it for abandoned and removes it
        }
        let header = segment.header();
        header.layout.store(LAYOUT, R);
        header.kind.store(spec.kind, R);
        header.slot_size.store(spec.slot_size, R);
        #[allow(clippy::cast_possible_truncation)] // 4096
        header.header_size.store(HEADER_SIZE as u32, R);
        header.capacity.store(spec.capacity, R);
        header.created.store(now_ns, R);
        store_text(&header.exchange, spec.exchange);
        store_text(&header.symbol, spec.symbol);
        store_text(&header.channel, spec.channel);
        claim(header, FeedState::Closed, generation, now_ns);
        header.magic.store(u64::from_le_bytes(MAGIC), Ordering::Release);
        // Others find the segment by its name only, which it gets now that it is complete.
        let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        match renameat_with(CWD, ring_path(&temporary), CWD, ring_path(spec.name), flags) {
            Ok(()) => segment.keep(),
            Err(rustix::io::Errno::EXIST | rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(RingError::system("name", spec.name)(error)),
        }
        Self::start(segment, file, spec.name, 0).map(Some)
    }

    fn start(segment: WriteSegment, file: File, name: &str, next: u64) -> Result<Self, RingError> {
        let segment = Arc::new(segment);
        let waker = Handle::register(&segment, name)?;
        let futex = segment.header().futex.load(R);
        Ok(Self { segment, file, name: name.to_owned(), next, futex, waker })
    }

    /// Publishes one record; readers that look see it at once, sleeping ones after [`Self::end_batch`].
    ///
    /// # Panics
    /// If the record is larger than the ring's slots.
    #[inline]
    pub fn publish<const N: usize>(&mut self, words: &[u64; N]) {
        self.segment.lane().publish(self.next, words);
        self.next += 1;
    }

    /// Ends a batch of records: changes the futex word, and has sleeping readers woken by a helper thread.
    #[inline]
    pub fn end_batch(&mut self) {
        self.futex = self.futex.wrapping_add(1);
        // SYNC POINT: futex-word. Who sees the new value sees the batch's records.
        self.segment.header().futex.store(self.futex, Ordering::Release);
        self.waker.mark();
    }

    /// Records published so far: the next one's sequence number.
    #[must_use]
    pub const fn cursor(&self) -> u64 {
        self.next
    }

    /// How many writers the ring has had, this one included.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.segment.header().generation.load(R)
    }

    /// The ring's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Says how the feed is, and wakes readers who wait.
    pub fn set_state(&mut self, state: FeedState) {
        self.segment.header().state.store(state as u32, Ordering::Release);
        self.end_batch();
    }

    /// How the feed is, as last said.
    #[must_use]
    pub fn state(&self) -> FeedState {
        FeedState::from_u32(self.segment.header().state.load(R))
    }

    /// A sign of life, at least once a second. `now_ns` is the host clock's time.
    pub fn heartbeat(&mut self, now_ns: i64) {
        self.segment.header().heartbeat.store(now_ns, R);
    }

    /// Counts one more declared gap.
    pub fn add_gap(&mut self) {
        let gaps = &self.segment.header().gaps;
        gaps.store(gaps.load(R) + 1, R);
    }

    /// Gaps declared so far, by earlier writers as well.
    #[must_use]
    pub fn gaps(&self) -> u64 {
        self.segment.header().gaps.load(R)
    }

    /// Ends the ring: the feed is closed, then the segment removed. Readers keep what they have mapped.
    ///
    /// # Errors
    /// What the system says; the segment is then still there, as after a drop.
    pub fn unlink(mut self) -> Result<(), RingError> {
        self.set_state(FeedState::Closed);
        if is_linked(&self.file, &self.name).map_err(RingError::system("look at", &self.name))? {
            std::fs::remove_file(ring_path(&self.name)).map_err(RingError::system("remove", &self.name))?;
        }
        Ok(())
    }
}

impl Drop for Writer {
    /// What was live is stale now; sleeping readers hear of it at once.
    fn drop(&mut self) {
        if self.state() != FeedState::Closed {
            self.set_state(FeedState::Stale);
        }
        waker::wake(self.segment.header());
        lock::unlock(&self.file);
    }
}

/// Makes a header ours; the generation last.
fn claim(header: &Header, state: FeedState, generation: u64, now_ns: i64) {
    header.writer_pid.store(process::id(), R);
    header.state.store(state as u32, R);
    header.heartbeat.store(now_ns, R);
    header.generation.store(generation, Ordering::Release);
}
