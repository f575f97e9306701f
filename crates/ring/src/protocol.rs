//! How a record crosses from the writer to readers without a lock: a sequence lock per slot, over any kind of atomics.
//!
//! The code is generic over [`Cell`] so that the very same lines run on shared memory and under the model checker loom
//! (`tests/loom.rs`), which tries every interleaving and every stale value that the memory model allows.
//!
//! Slot of record `n`: a stamp, then the words. The writer
//! 1. sets the stamp to 0,
//! 2. fences (release), so that whoever sees one of the new words and then fences sees the 0 or something later,
//! 3. stores the words,
//! 4. sets the stamp to `n + 1` (release), then the cursor to `n + 1` (release).
//!
//! A reader loads the stamp, fences (acquire), loads the words, fences (acquire), loads the stamp again. If both stamps
//! are `n + 1`, the words are record `n`'s:
//! - none is older, for the first stamp load read from (4), which makes all stores before it visible;
//! - none is newer: had a load returned a word of record `n + capacity`, the reader's second fence would synchronise with
//!   the writer's fence (2) after the newer 0 was stored, and the second stamp load could not return `n + 1` any more
//!   (stamps never repeat: they count up for ever).
//!
//! This is the scheme of H.-J. Boehm, "Can seqlocks get along with programming language memory models?" (MSPC 2012),
//! with the words as relaxed atomics. A torn read is not unlikely, it is impossible.
//!
//! All loads are `Relaxed`, followed by a fence where order matters: those are the only atomic accesses that
//! `std::sync::atomic` promises to work on memory mapped read-only.

/// One 64-bit atomic. All loads and plain stores are relaxed; order comes from the fences and from `store_release`.
pub trait Cell {
    /// Relaxed load.
    fn load(&self) -> u64;
    /// Relaxed store.
    fn store(&self, value: u64);
    /// Release store.
    fn store_release(&self, value: u64);
    /// Acquire fence.
    fn fence_acquire();
    /// Release fence.
    fn fence_release();
}

impl Cell for std::sync::atomic::AtomicU64 {
    #[inline]
    fn load(&self) -> u64 {
        self.load(std::sync::atomic::Ordering::Relaxed)
    }
    #[inline]
    fn store(&self, value: u64) {
        self.store(value, std::sync::atomic::Ordering::Relaxed);
    }
    #[inline]
    fn store_release(&self, value: u64) {
        self.store(value, std::sync::atomic::Ordering::Release);
    }
    #[inline]
    fn fence_acquire() {
        std::sync::atomic::fence(std::sync::atomic::Ordering::Acquire);
    }
    #[inline]
    fn fence_release() {
        std::sync::atomic::fence(std::sync::atomic::Ordering::Release);
    }
}

/// The slots and the cursor of one ring.
#[derive(Debug)]
pub struct Lane<'a, C> {
    slots: &'a [C],
    cursor: &'a C,
    stride: usize,
    mask: u64,
}

impl<C> Clone for Lane<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Lane<'_, C> {}

/// What a look at one slot found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read<const N: usize> {
    /// The record's words.
    Record([u64; N]),
    /// Not published yet.
    Empty,
    /// A later record took its slot.
    Overwritten,
}

/// The segment contradicts itself, as no crash of a writer leaves it: something else wrote into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

impl<'a, C: Cell> Lane<'a, C> {
    /// A ring of `slots.len() / stride` slots, a power of two, of `stride` cells each.
    ///
    /// # Panics
    /// If there are no slots, or their number is no power of two.
    #[inline]
    #[must_use]
    pub fn new(slots: &'a [C], cursor: &'a C, stride: usize) -> Self {
        let capacity = slots.len() / stride;
        assert!(capacity.is_power_of_two() && slots.len().is_multiple_of(stride), "a ring has a power of two of slots");
        Self::of_checked(slots, cursor, stride, capacity as u64 - 1)
    }

    /// [`Self::new`] for callers that have checked the numbers once; wrong ones panic or read nonsense, nothing worse.
    #[inline]
    pub(crate) const fn of_checked(slots: &'a [C], cursor: &'a C, stride: usize, mask: u64) -> Self {
        Self { slots, cursor, stride, mask }
    }

    /// Number of slots.
    #[inline]
    #[must_use]
    pub const fn capacity(&self) -> u64 {
        self.mask + 1
    }

    /// The stamp and the words of the slot where this record belongs.
    #[inline]
    fn slot<const N: usize>(&self, sequence: u64) -> (&'a C, &'a [C; N]) {
        assert!(N < self.stride, "the record does not fit the slot");
        #[allow(clippy::cast_possible_truncation)] // below the number of slots
        let start = (sequence & self.mask) as usize * self.stride;
        let cells = &self.slots[start..=start + N];
        match cells.split_first() {
            Some((stamp, words)) => match words.try_into() {
                Ok(words) => (stamp, words),
                Err(_) => unreachable!("the slice has N + 1 cells"),
            },
            None => unreachable!("the slice has N + 1 cells"),
        }
    }

    /// Publishes a record: readers see it at once. Only the one writer calls this, with the cursor's value.
    #[inline]
    pub fn publish<const N: usize>(&self, sequence: u64, words: &[u64; N]) {
        let (stamp, cells) = self.slot::<N>(sequence);
        stamp.store(0);
        // SYNC POINT: slot-overwrite. Pairs with the fence before the second stamp load in `read`.
        C::fence_release();
        for (cell, word) in cells.iter().zip(words) {
            cell.store(*word);
        }
        // SYNC POINT: slot-publish. Pairs with the fence after the first stamp load in `read`.
        stamp.store_release(sequence + 1);
        // SYNC POINT: cursor. Pairs with the fence in `cursor`.
        self.cursor.store_release(sequence + 1);
    }

    /// Looks for record `sequence`.
    #[inline]
    #[must_use]
    pub fn read<const N: usize>(&self, sequence: u64) -> Read<N> {
        let (stamp, cells) = self.slot::<N>(sequence);
        let mut found = stamp.load();
        // SYNC POINT: slot-publish. Pairs with the release store of the stamp in `publish`.
        C::fence_acquire();
        if found == 0 && self.cursor() > sequence {
            // It was published: we either looked a moment too early, or a later record is being written over it.
            found = stamp.load();
            // SYNC POINT: slot-publish.
            C::fence_acquire();
            if found == 0 {
                return Read::Overwritten;
            }
        }
        if found != sequence + 1 {
            // Below: still the record of an earlier lap, or untouched.
            return if found > sequence { Read::Overwritten } else { Read::Empty };
        }
        let words = std::array::from_fn(|i| cells[i].load());
        // SYNC POINT: slot-overwrite. Pairs with the release fence in `publish`.
        C::fence_acquire();
        if stamp.load() == sequence + 1 { Read::Record(words) } else { Read::Overwritten }
    }

    /// Whether the slot has moved at all since record `sequence` was awaited: one load, no fence, for spinning.
    #[inline]
    #[must_use]
    pub fn is_stamped(&self, sequence: u64) -> bool {
        self.slot::<0>(sequence).0.load() > sequence
    }

    /// Records published so far. What was stored before that many were published is visible to the caller.
    #[inline]
    #[must_use]
    pub fn cursor(&self) -> u64 {
        let cursor = self.cursor.load();
        // SYNC POINT: cursor. Pairs with the release store in `publish`.
        C::fence_acquire();
        cursor
    }

    /// Where a reader should go on that wants the oldest records from `from` on: at least `margin` records away from the one
    /// which the writer overwrites next; the cursor if all are read. If the writer is very fast, the record may be gone
    /// again when it is read; the next look says so.
    #[must_use]
    pub fn oldest(&self, from: u64, mut margin: u64) -> u64 {
        let margin_max = self.capacity() / 2;
        loop {
            let cursor = self.cursor();
            let candidate = cursor.saturating_sub(self.capacity() - margin.min(margin_max)).max(from);
            let readable = candidate >= cursor || self.slot::<0>(candidate).0.load() == candidate + 1;
            if readable || margin >= margin_max {
                return candidate;
            }
            // The writer is in that very slot, or died there: leave it more room.
            margin = (margin * 2).max(1);
        }
    }

    /// Where a new writer goes on after another one died at any instruction of `publish`.
    ///
    /// A slot that was left with stamp 0 stays so: to readers it is empty, or overwritten, and the next `publish` fills it.
    ///
    /// # Errors
    /// [`Damaged`] if the slots say otherwise than the cursor.
    pub fn recover(&self) -> Result<u64, Damaged> {
        let cursor = self.cursor();
        if cursor > 0 && self.slot::<0>(cursor - 1).0.load() != cursor {
            return Err(Damaged);
        }
        let stamp_of = |sequence| self.slot::<0>(sequence).0.load();
        let previous_lap = |sequence: u64| (sequence + 1).saturating_sub(self.capacity());
        if stamp_of(cursor) != cursor + 1 {
            let untouched_or_begun = stamp_of(cursor) == previous_lap(cursor) || stamp_of(cursor) == 0;
            return if untouched_or_begun { Ok(cursor) } else { Err(Damaged) };
        }
        // Published, and perhaps read already; only the cursor was not yet moved.
        if stamp_of(cursor + 1) != previous_lap(cursor + 1) {
            return Err(Damaged);
        }
        self.cursor.store_release(cursor + 1);
        Ok(cursor + 1)
    }
}
