//! Mapped segments: the writer's through `shared_memory`, the readers' read-only. Every raw pointer of the crate is here.

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use shared_memory::{Shmem, ShmemConf};

use crate::RingError;
use crate::layout::{Geometry, HEADER_SIZE, Header, LAYOUT, MAGIC};
use crate::name::ring_path;
use crate::protocol::Lane;

/// Where a mapped ring's parts lie. Owned by the mapping that it points into.
struct View {
    base: NonNull<u8>,
    stride: usize,
    words: usize,
    mask: u64,
}

impl View {
    /// # Safety
    /// `base` must be page-aligned and lead to `geometry.segment_size()` mapped bytes (readable; writable as well if
    /// anything is to be stored) for as long as the view is used.
    const unsafe fn new(base: NonNull<u8>, geometry: Geometry) -> Self {
        Self { base, stride: geometry.stride(), words: geometry.slot_words(), mask: geometry.capacity - 1 }
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: `new`'s contract: aligned, mapped, at least HEADER_SIZE long. All fields are atomics, so that other
        // processes may change them; any bits are a valid value.
        unsafe { self.base.cast::<Header>().as_ref() }
    }

    #[inline]
    fn lane(&self) -> Lane<'_, AtomicU64> {
        // SAFETY: `new`'s contract: the slots follow the header, `words` of them are mapped, 8-byte aligned since the base
        // is page-aligned and HEADER_SIZE a multiple of 8. Atomics, as above.
        let slots = unsafe { slice::from_raw_parts(self.base.add(HEADER_SIZE).cast::<AtomicU64>().as_ptr(), self.words) };
        Lane::of_checked(slots, &self.header().cursor, self.stride, self.mask)
    }
}

/// The writer's mapping.
pub(crate) struct WriteSegment {
    view: View,
    /// Keeps the mapping. An owner removes the segment by its name when dropped; ours owns only what is being made.
    shmem: Shmem,
}

// SAFETY: a mapping belongs to the process, not to a thread, and `Shmem` has no thread-bound state (it is `!Send` for its
// raw pointer alone). What is reachable through a shared reference are atomics.
unsafe impl Send for WriteSegment {}
// SAFETY: as above.
unsafe impl Sync for WriteSegment {}

impl WriteSegment {
    /// Makes a segment of zeros with its memory reserved, under a name that nobody has. It is removed on drop until
    /// [`Self::keep`].
    ///
    /// `shared_memory` only sets the length: on a full /dev/shm the first store would end the process with SIGBUS. So the
    /// pages are allocated here, before anything is stored. It also makes files with mode 0600; readers need 0640.
    pub(crate) fn create(name: &str, ring: &str, geometry: Geometry) -> Result<(Self, File), RingError> {
        let shmem = ShmemConf::new()
            .os_id(name)
            .size(geometry.segment_size())
            .create()
            .map_err(|source| RingError::Segment { action: "create", name: ring.to_owned(), source })?;
        let file = open_file(name, true).map_err(RingError::system("open", ring))?;
        allocate(&file, ring, geometry.segment_size() as u64)?;
        rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(0o640))
            .map_err(RingError::system("set the mode of", ring))?;
        Ok((Self::of(shmem, geometry, ring)?, file))
    }

    /// Maps an existing segment, which must have this geometry and be locked by the caller, so that its name stays its own.
    pub(crate) fn attach(name: &str, geometry: Geometry) -> Result<Self, RingError> {
        let shmem = ShmemConf::new().os_id(name).open().map_err(|source| RingError::Segment {
            action: "map",
            name: name.to_owned(),
            source,
        })?;
        Self::of(shmem, geometry, name)
    }

    fn of(shmem: Shmem, geometry: Geometry, ring: &str) -> Result<Self, RingError> {
        let foreign = |reason| RingError::Foreign { name: ring.to_owned(), reason };
        if shmem.len() < geometry.segment_size() {
            return Err(foreign("it is shorter than its header says"));
        }
        let base = NonNull::new(shmem.as_ptr()).ok_or_else(|| foreign("it could not be mapped"))?;
        // SAFETY: `Shmem` maps whole pages, readable and writable, and is kept beside the view. The length was checked, and
        // nobody shortens a segment.
        let view = unsafe { View::new(base, geometry) };
        Ok(Self { view, shmem })
    }

    /// Leaves the segment in place when this mapping is dropped.
    pub(crate) fn keep(&mut self) {
        self.shmem.set_owner(false);
    }

    #[inline]
    pub(crate) fn header(&self) -> &Header {
        self.view.header()
    }

    #[inline]
    pub(crate) fn lane(&self) -> Lane<'_, AtomicU64> {
        self.view.lane()
    }
}

/// A reader's mapping: read-only, so that no reader can disturb the writer. Stores through it would be faults; there are
/// none, and its loads are relaxed, which is what the standard library promises for read-only memory.
pub(crate) struct ReadSegment {
    view: View,
    length: usize,
    geometry: Geometry,
}

// SAFETY: as for `WriteSegment`; the mapping is released in `drop`, which any thread may do.
unsafe impl Send for ReadSegment {}
// SAFETY: as above.
unsafe impl Sync for ReadSegment {}

impl ReadSegment {
    /// Maps a segment's file after checking that it is a ring. `populate`: all its pages at once, some 0.2 ms for 4 MiB;
    /// otherwise each page fault in the first lap delays the records behind it by microseconds.
    pub(crate) fn map(file: &File, name: &str, populate: bool) -> Result<Self, RingError> {
        let foreign = |reason| RingError::Foreign { name: name.to_owned(), reason };
        let size = file.metadata().map_err(RingError::system("look at", name))?.size();
        let length = usize::try_from(size).map_err(|_| foreign("it is too long"))?;
        if length < HEADER_SIZE {
            return Err(foreign("it is shorter than a header"));
        }
        let flags = if populate { MapFlags::SHARED | MapFlags::POPULATE } else { MapFlags::SHARED };
        // SAFETY: a fresh mapping at an address that the kernel chooses.
        let base = unsafe { mmap(std::ptr::null_mut(), length, ProtFlags::READ, flags, file, 0) };
        let base = base.map_err(RingError::system("map", name))?;
        let base = NonNull::new(base.cast::<u8>()).ok_or_else(|| foreign("it could not be mapped"))?;
        let smallest = Geometry { kind: 0, slot_size: 0, capacity: 1 };
        // SAFETY: page-aligned and `length` bytes long, of which the header's are there. The view has no slots yet.
        let view = unsafe { View::new(base, smallest) };
        let mut segment = Self { view, length, geometry: smallest };
        segment.geometry = check_header(segment.header(), length).map_err(foreign)?;
        // SAFETY: as above, and `check_header` has compared the length with the geometry.
        segment.view = unsafe { View::new(base, segment.geometry) };
        Ok(segment)
    }

    pub(crate) const fn geometry(&self) -> Geometry {
        self.geometry
    }

    #[inline]
    pub(crate) fn header(&self) -> &Header {
        self.view.header()
    }

    #[inline]
    pub(crate) fn lane(&self) -> Lane<'_, AtomicU64> {
        self.view.lane()
    }
}

impl Drop for ReadSegment {
    fn drop(&mut self) {
        // SAFETY: this is the mapping made in `map`, and nothing borrows from it any more. It fails for a wrong address
        // only, which this isn't.
        let _ = unsafe { munmap(self.view.base.as_ptr().cast::<c_void>(), self.length) };
    }
}

/// Says what is wrong with a header, or what its ring's geometry is.
fn check_header(header: &Header, length: usize) -> Result<Geometry, &'static str> {
    const R: Ordering = Ordering::Relaxed;
    if header.magic.load(R) != u64::from_le_bytes(MAGIC) {
        return Err("its first bytes are not DCCDRING");
    }
    if header.layout.load(R) != LAYOUT || header.header_size.load(R) as usize != HEADER_SIZE {
        return Err("it has another layout version");
    }
    let geometry = Geometry::new(header.kind.load(R), header.slot_size.load(R), header.capacity.load(R))
        .ok_or("its slot size or capacity is impossible")?;
    if geometry.segment_size() > length {
        return Err("it is shorter than its header says");
    }
    Ok(geometry)
}

/// Opens a segment's file. A symbolic link is refused: /dev/shm is everybody's.
pub(crate) fn open_file(name: &str, write: bool) -> io::Result<File> {
    File::options().read(true).write(write).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(ring_path(name))
}

/// Whether the name still leads to this file.
pub(crate) fn is_linked(file: &File, name: &str) -> io::Result<bool> {
    let ours = file.metadata()?;
    match std::fs::symlink_metadata(ring_path(name)) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reserves the memory of a segment, or says how much is missing.
fn allocate(file: &File, ring: &str, needed: u64) -> Result<(), RingError> {
    use rustix::io::Errno;
    loop {
        return match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, needed) {
            Ok(()) => Ok(()),
            Err(Errno::INTR) => continue,
            Err(Errno::NOSPC | Errno::NOMEM | Errno::FBIG) => {
                let available = rustix::fs::fstatvfs(file).map_or(0, |s| s.f_bavail * s.f_frsize);
                Err(RingError::NoSpace { name: ring.to_owned(), needed, available })
            }
            Err(error) => Err(RingError::system("reserve memory for", ring)(error)),
        };
    }
}
