//! An entry as bytes. Pure; reads any bytes without panicking and allocates nothing.

use dccd_model::{Entry, EntryKind, UnixNanos};

use super::{Damage, ENTRY_BYTES_MAX};

/// Length and checksum.
pub(super) const PREFIX: usize = 8;
/// Kind, connection, time, subject length.
const FIXED: usize = 1 + 4 + 8 + 2;

/// What `entry` takes, or `Err` with its size when it is too large.
pub(super) fn size(entry: &Entry<'_>) -> Result<usize, usize> {
    let body = entry.subject.len() + entry.payload.len();
    if entry.subject.len() > usize::from(u16::MAX) || body > ENTRY_BYTES_MAX { Err(body) } else { Ok(PREFIX + FIXED + body) }
}

/// Appends the entry's bytes; [`size`] accepted it.
#[allow(clippy::cast_possible_truncation)] // `size` bounds both lengths
pub(super) fn encode(entry: &Entry<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    let body = FIXED + entry.subject.len() + entry.payload.len();
    out.reserve(PREFIX + body);
    out.extend_from_slice(&(body as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.push(entry.kind as u8);
    out.extend_from_slice(&entry.conn.to_le_bytes());
    out.extend_from_slice(&entry.ts_recv.0.to_le_bytes());
    out.extend_from_slice(&(entry.subject.len() as u16).to_le_bytes());
    out.extend_from_slice(entry.subject.as_bytes());
    out.extend_from_slice(entry.payload);
    let crc = crc32fast::hash(&out[start + PREFIX..]);
    out[start + 4..start + PREFIX].copy_from_slice(&crc.to_le_bytes());
}

/// The size of the whole frame that begins with these bytes; `None` when they are too few to tell.
pub(super) fn frame_size(bytes: &[u8]) -> Result<Option<usize>, Damage> {
    let Some(length) = bytes.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length);
    let body = length as usize;
    if !(FIXED..=FIXED + ENTRY_BYTES_MAX).contains(&body) {
        return Err(Damage::Length(length));
    }
    Ok(Some(PREFIX + body))
}

/// Whether the whole frame `bytes` is what was written.
pub(super) fn check(bytes: &[u8]) -> Result<(), Damage> {
    let crc = bytes.get(4..PREFIX).and_then(<[u8]>::first_chunk::<4>).ok_or(Damage::CutOff)?;
    if crc32fast::hash(&bytes[PREFIX..]) == u32::from_le_bytes(*crc) { Ok(()) } else { Err(Damage::Checksum) }
}

/// The entry in a frame that [`check`] accepted.
pub(super) fn decode(frame: &[u8]) -> Result<Entry<'_>, Damage> {
    let body = frame.get(PREFIX..).ok_or(Damage::CutOff)?;
    let (kind, rest) = body.split_first().ok_or(Damage::CutOff)?;
    let (conn, rest) = rest.split_first_chunk::<4>().ok_or(Damage::CutOff)?;
    let (ts_recv, rest) = rest.split_first_chunk::<8>().ok_or(Damage::CutOff)?;
    let (subject_len, rest) = rest.split_first_chunk::<2>().ok_or(Damage::CutOff)?;
    let (subject, payload) = rest.split_at_checked(usize::from(u16::from_le_bytes(*subject_len))).ok_or(Damage::Subject)?;
    Ok(Entry {
        kind: EntryKind::from_u8(*kind).ok_or(Damage::Kind(*kind))?,
        conn: u32::from_le_bytes(*conn),
        ts_recv: UnixNanos(i64::from_le_bytes(*ts_recv)),
        subject: std::str::from_utf8(subject).map_err(|_| Damage::Subject)?,
        payload,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_round_trip_and_any_changed_byte_is_noticed() {
        let entry = Entry {
            kind: EntryKind::Response,
            conn: 7,
            ts_recv: UnixNanos(-5),
            subject: "depth BTC/USDT",
            payload: b"{\"lastUpdateId\":1}",
        };
        let mut bytes = Vec::new();
        encode(&entry, &mut bytes);
        assert_eq!(bytes.len(), size(&entry).unwrap());
        assert_eq!(frame_size(&bytes), Ok(Some(bytes.len())));
        check(&bytes).unwrap();
        assert_eq!(decode(&bytes).unwrap(), entry);
        for i in 4..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[i] ^= 0x10;
            assert_eq!(check(&damaged), Err(Damage::Checksum), "byte {i}");
        }
    }

    #[test]
    fn lengths_that_no_entry_has_are_refused_before_anything_is_allocated() {
        assert_eq!(frame_size(&[0; 3]), Ok(None));
        for length in [0u32, 14, u32::try_from(ENTRY_BYTES_MAX + FIXED + 1).unwrap(), u32::MAX] {
            assert_eq!(frame_size(&length.to_le_bytes()), Err(Damage::Length(length)));
        }
    }

    #[test]
    fn decoding_survives_every_truncation() {
        let entry = Entry { kind: EntryKind::Frame, conn: 1, ts_recv: UnixNanos(1), subject: "abc", payload: b"defg" };
        let mut bytes = Vec::new();
        encode(&entry, &mut bytes);
        for end in 0..PREFIX + FIXED + 3 {
            assert!(decode(&bytes[..end]).is_err(), "{end}");
        }
    }
}
