//! Layout 1 to the byte: what stands where in the segment. Nothing here reads or writes.
//!
//! ```text
//! byte    0        8        12       16        20           24        32
//!         +--------+--------+--------+---------+------------+---------+---------+
//!         | magic  | layout | kind   | slot    | header     | capacity| created |
//!         | 8 bytes| u32    | u32    | size u32| size u32   | u64     | i64 ns  |
//!         +--------+--------+--------+---------+------------+---------+---------+
//!        40        72         136        168 ... 256
//!         +---------+----------+----------+- - -+
//!         | exchange| symbol   | channel  |  0  |          written once, before the name appears
//!         | utf8 32 | utf8 64  | utf8 32  |     |
//!         +---------+----------+----------+- - -+
//!       256           264      268     272   280         288    296 ... 320
//!         +------------+--------+-------+-----+-----------+------+- - -+
//!         | generation | writer | feed  |  0  | heartbeat | gaps |  0  |   changed now and then
//!         | u64        | pid u32| state |     | i64 ns    | u64  |     |
//!         +------------+--------+-------+-----+-----------+------+- - -+
//!       320                 328 ... 384
//!         +-----------------+- - - - -+
//!         | cursor u64      |    0    |                       changed with every record
//!         +-----------------+- - - - -+
//!       384                 388 ... 4096
//!         +-----------------+- - - - -+
//!         | futex word u32  |    0    |                       changed with every batch
//!         +-----------------+- - - - -+
//!      4096 + (n mod capacity) * slot size
//!         +-----------------+---------+---------+- - -+
//!         | stamp u64       | word 0  | word 1  |     |       slot of record n
//!         | 0 or n + 1      | u64     | u64     |     |
//!         +-----------------+---------+---------+- - -+
//! ```

use std::mem::{offset_of, size_of};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64};

/// The first eight bytes of a segment.
pub const MAGIC: [u8; 8] = *b"DCCDRING";
/// The layout's version.
pub const LAYOUT: u32 = 1;
/// Bytes before the first slot.
pub const HEADER_SIZE: usize = 4096;
/// Longest exchange name, bytes.
pub const EXCHANGE_BYTES_MAX: usize = 32;
/// Longest symbol, bytes.
pub const SYMBOL_BYTES_MAX: usize = 64;
/// Longest channel name, bytes.
pub const CHANNEL_BYTES_MAX: usize = 32;

/// The first 4096 bytes of a segment. Every field is an atomic, for another process may change it at any moment.
#[repr(C)]
pub(crate) struct Header {
    pub(crate) magic: AtomicU64,
    pub(crate) layout: AtomicU32,
    pub(crate) kind: AtomicU32,
    pub(crate) slot_size: AtomicU32,
    pub(crate) header_size: AtomicU32,
    pub(crate) capacity: AtomicU64,
    pub(crate) created: AtomicI64,
    pub(crate) exchange: [AtomicU64; EXCHANGE_BYTES_MAX / 8],
    pub(crate) symbol: [AtomicU64; SYMBOL_BYTES_MAX / 8],
    pub(crate) channel: [AtomicU64; CHANNEL_BYTES_MAX / 8],
    _to_256: [AtomicU64; 11],
    pub(crate) generation: AtomicU64,
    pub(crate) writer_pid: AtomicU32,
    pub(crate) state: AtomicU32,
    _to_280: AtomicU64,
    pub(crate) heartbeat: AtomicI64,
    pub(crate) gaps: AtomicU64,
    _to_320: [AtomicU64; 3],
    pub(crate) cursor: AtomicU64,
    _to_384: [AtomicU64; 7],
    pub(crate) futex: AtomicU32,
    _to_4096: [AtomicU32; (HEADER_SIZE - 388) / 4],
}

/// Offset and name of every field of the header, in order.
pub const FIELDS: [(usize, &str); 17] = [
    (offset_of!(Header, magic), "magic"),
    (offset_of!(Header, layout), "layout"),
    (offset_of!(Header, kind), "kind"),
    (offset_of!(Header, slot_size), "slot_size"),
    (offset_of!(Header, header_size), "header_size"),
    (offset_of!(Header, capacity), "capacity"),
    (offset_of!(Header, created), "created"),
    (offset_of!(Header, exchange), "exchange"),
    (offset_of!(Header, symbol), "symbol"),
    (offset_of!(Header, channel), "channel"),
    (offset_of!(Header, generation), "generation"),
    (offset_of!(Header, writer_pid), "writer_pid"),
    (offset_of!(Header, state), "state"),
    (offset_of!(Header, heartbeat), "heartbeat"),
    (offset_of!(Header, gaps), "gaps"),
    (offset_of!(Header, cursor), "cursor"),
    (offset_of!(Header, futex), "futex"),
];

const _: () = {
    assert!(size_of::<Header>() == HEADER_SIZE);
    let expected = [0, 8, 12, 16, 20, 24, 32, 40, 72, 136, 256, 264, 268, 280, 288, 320, 384];
    let mut i = 0;
    while i < FIELDS.len() {
        assert!(FIELDS[i].0 == expected[i], "a header field is not where layout 1 puts it");
        i += 1;
    }
};

/// Number, size and reach of a ring's slots. A value of this type has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) kind: u32,
    pub(crate) slot_size: u32,
    pub(crate) capacity: u64,
}

impl Geometry {
    /// `None` unless slots are whole cache lines, their number is a power of two (at least 2), and the sum fits memory.
    pub(crate) fn new(kind: u32, slot_size: u32, capacity: u64) -> Option<Self> {
        let slots_ok = slot_size >= 64 && slot_size.is_multiple_of(64) && capacity >= 2 && capacity.is_power_of_two();
        let bytes = u64::from(slot_size).checked_mul(capacity)?;
        (slots_ok && bytes <= 1 << 46).then_some(Self { kind, slot_size, capacity })
    }

    /// Words of a slot, the stamp included.
    pub(crate) const fn stride(self) -> usize {
        self.slot_size as usize / 8
    }

    /// Words of all slots.
    #[allow(clippy::cast_possible_truncation)] // at most 2^46 bytes, and a usize has 64 bits (asserted in lib.rs)
    pub(crate) const fn slot_words(self) -> usize {
        self.stride() * self.capacity as usize
    }

    /// Bytes of the whole segment.
    pub(crate) const fn segment_size(self) -> usize {
        HEADER_SIZE + self.slot_words() * 8
    }
}
