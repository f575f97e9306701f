//! Names of rings, and where they lie. No I/O.

use std::path::PathBuf;

use crate::RingError;

/// Where segments lie: glibc's and musl's place for `shm_open`.
pub(crate) const DIRECTORY: &str = "/dev/shm";
/// Longest ring name; leaves room for the suffix of a segment under construction within the system's 255 bytes.
const NAME_BYTES_MAX: usize = 200;

/// The name of a ring: `dccd.<instance>.<exchange>.<PAIR>.<channel>`. `pair` is in its form for paths: `BTC-USDT`.
#[must_use]
pub fn ring_name(instance: &str, exchange: &str, pair: &str, channel: &str) -> String {
    format!("dccd.{instance}.{exchange}.{pair}.{channel}")
}

/// The file of a ring.
#[must_use]
pub fn ring_path(name: &str) -> PathBuf {
    PathBuf::from(DIRECTORY).join(name)
}

/// Refuses what is no name of a ring, so that no other file is ever opened, replaced or removed.
pub(crate) fn check(name: &str) -> Result<(), RingError> {
    let unsuitable = |reason| Err(RingError::Unsuitable { name: name.to_owned(), reason });
    if name.len() > NAME_BYTES_MAX {
        return unsuitable("its name is longer than 200 bytes");
    }
    if name.bytes().any(|b| b == b'/' || b <= b' ' || b == 0x7f) {
        return unsuitable("its name holds a slash, a space or a control character");
    }
    if !name.starts_with("dccd.") || name.split('.').count() < 5 || name.split('.').any(str::is_empty) {
        return unsuitable("its name is not dccd.<instance>.<exchange>.<PAIR>.<channel>");
    }
    Ok(())
}

/// The name under which a segment is built before it gets its own; no channel has a `~`.
pub(crate) fn under_construction(name: &str, pid: u32, attempt: u64) -> String {
    format!("{name}~{pid}-{attempt}")
}

/// Whether a segment has not got its own name yet.
pub(crate) fn is_under_construction(name: &str) -> bool {
    name.contains('~')
}

/// Whether this is the name of a segment of ours, of this instance or any.
pub(crate) fn belongs_to(name: &str, instance: Option<&str>) -> bool {
    let Some(rest) = name.strip_prefix("dccd.") else { return false };
    match instance {
        None => rest.split('.').count() >= 4,
        Some(instance) => rest.strip_prefix(instance).is_some_and(|r| r.starts_with('.') && r.split('.').count() >= 4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_of_its_parts() {
        assert_eq!(ring_name("main", "binance", "BTC-USDT", "trades"), "dccd.main.binance.BTC-USDT.trades");
        assert_eq!(ring_path("dccd.a.b.c.d").to_str(), Some("/dev/shm/dccd.a.b.c.d"));
    }

    #[test]
    fn what_is_no_ring_name_is_refused() {
        assert!(check("dccd.main.binance.BTC-USDT.trades").is_ok());
        let long = format!("dccd.main.binance.{}.trades", "X".repeat(200));
        for bad in ["", "x", "dccd.main", "dccd.a.b.c", "dccd.a.b.c/../../etc.d", "dccd..b.c.d", "dccd.a.b.c d.e", &long] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_instance_is_matched_whole() {
        assert!(belongs_to("dccd.main.binance.BTC-USDT.trades", Some("main")));
        assert!(belongs_to("dccd.main.binance.BTC-USDT.trades", None));
        assert!(belongs_to(&under_construction("dccd.main.binance.BTC-USDT.trades", 1, 2), Some("main")));
        assert!(!belongs_to("dccd.main2.binance.BTC-USDT.trades", Some("main")));
        assert!(!belongs_to("dccd.main", Some("main")));
        assert!(!belongs_to("other.main.a.b.c", None));
    }
}
