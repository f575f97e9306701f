//! Segment files: their names and headers.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dccd_model::UnixNanos;

use super::{Damage, JournalError};

/// Bytes before a segment's first entry.
pub(super) const HEADER: u64 = 32;
const MAGIC: &[u8; 8] = b"DCCDJRNL";
const VERSION: u32 = 1;

/// The file of the segment that begins at `base`.
pub(super) fn path(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{base:020}.journal"))
}

/// First positions of all segments, ascending. A directory that isn't there holds none.
pub(super) fn list(dir: &Path) -> Result<Vec<u64>, JournalError> {
    let error = |source| JournalError::io("list", dir, source);
    let entries = match fs::read_dir(dir) {
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(error)?,
    };
    let mut bases = Vec::new();
    for entry in entries {
        let name = entry.map_err(error)?.file_name();
        let base = name.to_str().and_then(|n| n.strip_suffix(".journal")).filter(|n| n.len() == 20);
        bases.extend(base.and_then(|n| n.parse::<u64>().ok()));
    }
    bases.sort_unstable();
    Ok(bases)
}

#[allow(clippy::cast_possible_truncation)] // a constant
pub(super) fn header(base: u64, created: UnixNanos) -> [u8; HEADER as usize] {
    let mut bytes = [0; HEADER as usize];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..24].copy_from_slice(&base.to_le_bytes());
    bytes[24..].copy_from_slice(&created.0.to_le_bytes());
    let crc = crc32fast::hash(&bytes[16..]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Whether `bytes` begin with the header of the segment at `base`.
pub(super) fn check_header(bytes: &[u8], base: u64) -> Result<(), Damage> {
    let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(Damage::Header)?;
    let (version, rest) = rest.split_first_chunk::<4>().ok_or(Damage::Header)?;
    let (crc, rest) = rest.split_first_chunk::<4>().ok_or(Damage::Header)?;
    let rest = rest.first_chunk::<16>().ok_or(Damage::Header)?;
    if magic != MAGIC {
        return Err(Damage::Header);
    }
    match u32::from_le_bytes(*version) {
        VERSION => {}
        other => return Err(Damage::Version(other)),
    }
    if crc32fast::hash(rest) != u32::from_le_bytes(*crc) || rest[..8] != base.to_le_bytes() {
        return Err(Damage::Header);
    }
    Ok(())
}
