//! The exchange's clock, read in one place: set by the host's when it is first read, and going on evenly from there. An exchange's
//! own clock doesn't step when that of the host does, on which it is simulated.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

static SET: OnceLock<(i64, Instant)> = OnceLock::new();

/// Nanoseconds since the Unix epoch.
pub(crate) fn now_ns() -> i64 {
    let (set_ns, at) = SET.get_or_init(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (i64::try_from(since.as_nanos()).unwrap_or(i64::MAX), Instant::now())
    });
    set_ns.saturating_add(i64::try_from(at.elapsed().as_nanos()).unwrap_or(i64::MAX))
}

/// Microseconds since the Unix epoch.
pub(crate) fn now_us() -> i64 {
    now_ns() / 1_000
}
