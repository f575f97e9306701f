//! Whether and when to try a failed request again; the forms of `Retry-After`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What to do after a failed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same request would fail again.
    No,
    /// At once.
    Now,
    /// Not before this has passed.
    After(Duration),
}

/// The longest wait a server is believed: bans of three days exist, a wait of years is a mistake.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long a `Retry-After` value asks to wait from `now_ns` on: seconds (fractions are rounded up) or an HTTP date in
/// any of its three forms; a date that has passed asks for nothing. `None` where it is neither. At most seven days.
pub fn retry_after(value: &str, now_ns: i64) -> Option<Duration> {
    let value = value.trim();
    let wait = if value.starts_with(|c: char| c.is_ascii_digit()) && value.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        let seconds: f64 = value.parse().ok()?;
        Duration::try_from_secs_f64(seconds.ceil()).unwrap_or(RETRY_AFTER_MAX)
    } else {
        let until = httpdate::parse_http_date(value).ok()?;
        let now = UNIX_EPOCH + Duration::from_nanos(u64::try_from(now_ns).unwrap_or(0));
        SystemTime::duration_since(&until, now).unwrap_or(Duration::ZERO)
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT.
    const THEN_NS: i64 = 784_111_777_000_000_000;

    #[test]
    fn every_form_of_retry_after_is_read() {
        let s = |n| Some(Duration::from_secs(n));
        for (value, wait) in [
            ("0", s(0)),
            ("120", s(120)),
            (" 7 ", s(7)),
            ("1.2", s(2)),
            ("99999999999999999999999999", Some(RETRY_AFTER_MAX)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", s(60)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", s(60)),
            ("Sun Nov  6 08:50:37 1994", s(60)),
            ("Sun, 06 Nov 1994 08:40:00 GMT", s(0)),
            ("Sun, 06 Nov 2044 08:40:00 GMT", Some(RETRY_AFTER_MAX)),
            ("", None),
            ("-5", None),
            ("soon", None),
            ("1.2.3", None),
        ] {
            assert_eq!(retry_after(value, THEN_NS), wait, "{value:?}");
        }
    }
}
