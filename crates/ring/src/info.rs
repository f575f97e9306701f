//! What a ring says of itself, as owned values.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::layout::Header;

/// What the writer says of its feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum FeedState {
    /// Nobody feeds it.
    Closed = 0,
    /// Connected; records come as they happen.
    Live = 1,
    /// Disconnected; records are missing until it is live again.
    Stale = 2,
    /// Connected, not yet complete (a book waits for its snapshot).
    Syncing = 3,
}

impl FeedState {
    /// `closed`, `live`, `stale`, `syncing`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Live => "live",
            Self::Stale => "stale",
            Self::Syncing => "syncing",
        }
    }

    /// The state with this number; an unknown one counts as stale.
    #[must_use]
    pub const fn from_u32(number: u32) -> Self {
        match number {
            0 => Self::Closed,
            1 => Self::Live,
            3 => Self::Syncing,
            _ => Self::Stale,
        }
    }
}

impl fmt::Display for FeedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a ring's writer is, seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WriterStatus {
    /// It runs.
    Alive,
    /// It ended; the ring is still there, and the next writer goes on in it: keep the reader.
    Dead,
    /// It ended, and the name leads to another ring or to none: open again by name.
    Detached,
}

/// A ring's header at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingInfo {
    /// Name under `/dev/shm`.
    pub name: String,
    /// Layout version, 1.
    pub layout: u32,
    /// Record kind: 1 trade, 2 quote, 3 book level, 4 candle.
    pub kind: u32,
    /// Bytes of a slot, stamp included.
    pub slot_size: u32,
    /// Bytes before the first slot.
    pub header_size: u32,
    /// Number of slots.
    pub capacity: u64,
    /// When the segment was made: ns since the epoch, host clock.
    pub created: i64,
    /// Exchange.
    pub exchange: String,
    /// Symbol in its unified form.
    pub symbol: String,
    /// Channel.
    pub channel: String,
    /// How many writers the ring has had.
    pub generation: u64,
    /// The last writer's process id, as that process sees itself.
    pub writer_pid: u32,
    /// What the writer says of the feed; nothing new when it is dead.
    pub state: FeedState,
    /// The writer's last sign of life: ns since the epoch, host clock.
    pub heartbeat: i64,
    /// Gaps declared so far.
    pub gaps: u64,
    /// Records published so far, the next one's sequence number.
    pub cursor: u64,
    /// Whether a writer holds the ring.
    pub writer: WriterStatus,
}

/// Puts text into zero-padded words; the caller has checked that it fits.
pub(crate) fn store_text(words: &[AtomicU64], text: &str) {
    for (i, word) in words.iter().enumerate() {
        let mut bytes = [0; 8];
        let part = text.as_bytes().get(i * 8..).unwrap_or_default();
        let length = part.len().min(8);
        bytes[..length].copy_from_slice(&part[..length]);
        word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
    }
}

/// Reads zero-padded text; what is no UTF-8 is replaced.
pub(crate) fn load_text(words: &[AtomicU64]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.load(Ordering::Relaxed).to_le_bytes()).collect();
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

impl RingInfo {
    /// Copies a header. Each field is from some moment, not all from the same.
    pub(crate) fn of(name: &str, header: &Header, writer: WriterStatus) -> Self {
        const R: Ordering = Ordering::Relaxed;
        Self {
            name: name.to_owned(),
            layout: header.layout.load(R),
            kind: header.kind.load(R),
            slot_size: header.slot_size.load(R),
            header_size: header.header_size.load(R),
            capacity: header.capacity.load(R),
            created: header.created.load(R),
            exchange: load_text(&header.exchange),
            symbol: load_text(&header.symbol),
            channel: load_text(&header.channel),
            generation: header.generation.load(R),
            writer_pid: header.writer_pid.load(R),
            state: FeedState::from_u32(header.state.load(R)),
            heartbeat: header.heartbeat.load(R),
            gaps: header.gaps.load(R),
            cursor: header.cursor.load(R),
            writer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_fills_its_field_to_the_last_byte() {
        let words: [AtomicU64; 2] = std::array::from_fn(|_| AtomicU64::new(u64::MAX));
        for text in ["", "a", "12345678", "123456789", "0123456789abcdef", "₿TC"] {
            store_text(&words, text);
            assert_eq!(load_text(&words), text);
        }
    }
}
