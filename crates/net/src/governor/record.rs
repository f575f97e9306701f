//! The ledger as bytes: one record of fixed size, little-endian, with a checksum at its end.
//!
//! ```text
//!   0  "dccdLED1"        8     16  used              4     32  frozen until      8     48  frozen by status  2
//!   8  window ends       8     20  in flight         4     40  frozen since      8     50  frozen at all     1, then 5 of padding
//!                              24  filled            8
//!  56  16 places of 32:  owner 8 · since 8 · until 8 · count 4 · priority 1 (0: nobody) · 3 of padding
//! 568  CRC-32 of all before it
//! ```
//!
//! Who changes this changes the name of the file (`place.rs`) too: processes of two versions must not read each other's
//! record as garbage, which counts as "all used".

use super::freeze::Freeze;
use super::ledger::{Ledger, QUEUE, Waiter};
use super::options::Priority;

const MAGIC: &[u8; 8] = b"dccdLED1";
const HEAD: usize = 56;
const PLACE: usize = 32;
const SUM_AT: usize = HEAD + QUEUE * PLACE;
/// Bytes of a record.
pub(super) const SIZE: usize = SUM_AT + 4;

/// The record of a ledger.
pub(super) fn encode(ledger: &Ledger) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    let freeze = ledger.freeze.unwrap_or(Freeze { until: 0, status: 0, since: 0 });
    put(&mut bytes, 0, MAGIC);
    put(&mut bytes, 8, &ledger.window_ends.to_le_bytes());
    put(&mut bytes, 16, &ledger.used.to_le_bytes());
    put(&mut bytes, 20, &ledger.in_flight.to_le_bytes());
    put(&mut bytes, 24, &ledger.filled.to_le_bytes());
    put(&mut bytes, 32, &freeze.until.to_le_bytes());
    put(&mut bytes, 40, &freeze.since.to_le_bytes());
    put(&mut bytes, 48, &freeze.status.to_le_bytes());
    put(&mut bytes, 50, &[u8::from(ledger.freeze.is_some())]);
    for (at, waiter) in (HEAD..).step_by(PLACE).zip(&ledger.queue) {
        if let Some(waiter) = waiter {
            put(&mut bytes, at, &waiter.owner.to_le_bytes());
            put(&mut bytes, at + 8, &waiter.since.to_le_bytes());
            put(&mut bytes, at + 16, &waiter.until.to_le_bytes());
            put(&mut bytes, at + 24, &waiter.count.to_le_bytes());
            put(&mut bytes, at + 28, &[number(waiter.priority)]);
        }
    }
    let sum = crc32fast::hash(&bytes[..SUM_AT]);
    put(&mut bytes, SUM_AT, &sum.to_le_bytes());
    bytes
}

/// The ledger of a record; `None` where the bytes are none.
pub(super) fn decode(bytes: &[u8; SIZE]) -> Option<Ledger> {
    let sum = u32::from_le_bytes(get(bytes, SUM_AT));
    if bytes[..8] != MAGIC[..] || crc32fast::hash(&bytes[..SUM_AT]) != sum {
        return None;
    }
    let freeze = Freeze {
        until: i64::from_le_bytes(get(bytes, 32)),
        since: i64::from_le_bytes(get(bytes, 40)),
        status: u16::from_le_bytes(get(bytes, 48)),
    };
    let mut queue = [None; QUEUE];
    for (at, place) in (HEAD..).step_by(PLACE).zip(&mut queue) {
        *place = priority(bytes[at + 28]).map(|priority| Waiter {
            owner: u64::from_le_bytes(get(bytes, at)),
            since: i64::from_le_bytes(get(bytes, at + 8)),
            until: i64::from_le_bytes(get(bytes, at + 16)),
            count: u32::from_le_bytes(get(bytes, at + 24)),
            priority,
        });
    }
    Some(Ledger {
        window_ends: i64::from_le_bytes(get(bytes, 8)),
        used: u32::from_le_bytes(get(bytes, 16)),
        in_flight: u32::from_le_bytes(get(bytes, 20)),
        filled: i64::from_le_bytes(get(bytes, 24)),
        freeze: (bytes[50] != 0).then_some(freeze),
        queue,
    })
}

fn put(bytes: &mut [u8; SIZE], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn get<const N: usize>(bytes: &[u8; SIZE], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}

fn number(priority: Priority) -> u8 {
    match priority {
        Priority::Live => 1,
        Priority::Collect => 2,
        Priority::Backfill => 3,
    }
}

fn priority(number: u8) -> Option<Priority> {
    match number {
        1 => Some(Priority::Live),
        2 => Some(Priority::Collect),
        3 => Some(Priority::Backfill),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Ledger {
        let waiter = |owner, priority| Waiter { owner, priority, since: -5, until: i64::MAX, count: 7 };
        let mut ledger = Ledger {
            window_ends: 1_700_000_060_000_000_000,
            used: 4_000,
            in_flight: 12,
            filled: -1,
            freeze: Some(Freeze { until: 3, status: 418, since: 2 }),
            ..Ledger::EMPTY
        };
        ledger.mark(9, Some(waiter(9, Priority::Backfill)));
        ledger.mark(u64::MAX, Some(waiter(u64::MAX, Priority::Live)));
        ledger
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for ledger in [Ledger::EMPTY, full(), Ledger { freeze: None, ..full() }] {
            assert_eq!(decode(&encode(&ledger)), Some(ledger));
        }
    }

    #[test]
    fn a_record_with_any_byte_changed_is_none() {
        let bytes = encode(&full());
        for at in 0..SIZE {
            let mut changed = bytes;
            changed[at] ^= 0x10;
            assert_eq!(decode(&changed), None, "byte {at}");
        }
        assert_eq!(decode(&[0; SIZE]), None);
    }
}
