//! Times as RFC 3339 writes them.

use dccd_model::UnixNanos;

/// Nanoseconds in the last of so many digits of a fraction.
const NANOS_OF: [i64; 10] = [1_000_000_000, 100_000_000, 10_000_000, 1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];

/// A time in UTC with any number of fraction digits; what is below a nanosecond is cut off. `None`: something else, or out of
/// the range of what nanoseconds can count.
pub(super) fn rfc3339(text: &[u8]) -> Option<UnixNanos> {
    let (moment, rest) = text.split_first_chunk::<19>()?;
    let [_, _, _, _, b'-', _, _, b'-', _, _, b'T', _, _, b':', _, _, b':', _, _] = moment else { return None };
    let [y0, y1, y2, y3, _, m0, m1, _, d0, d1, _, h0, h1, _, n0, n1, _, s0, s1] = moment.map(|byte| byte.wrapping_sub(b'0'));
    if [y0, y1, y2, y3, m0, m1, d0, d1, h0, h1, n0, n1, s0, s1].iter().any(|digit| *digit > 9) {
        return None;
    }
    let pair = |tens: u8, ones: u8| i64::from(tens * 10 + ones);
    let (year, month, day) = (pair(y0, y1) * 100 + pair(y2, y3), pair(m0, m1), pair(d0, d1));
    let (hour, minute, second) = (pair(h0, h1), pair(n0, n1), pair(s0, s1));
    let (fraction, zone) = match rest.strip_prefix(b".") {
        Some(rest) => rest.split_at(rest.iter().position(|byte| !byte.is_ascii_digit())?),
        None => (&rest[..0], rest),
    };
    if (rest.first() == Some(&b'.') && fraction.is_empty()) || !(zone == b"Z" || zone == b"+00:00") {
        return None;
    }
    let in_range = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !in_range {
        return None;
    }
    let digits = &fraction[..fraction.len().min(9)];
    let nanos = digits.iter().fold(0i64, |nanos, byte| nanos * 10 + i64::from(byte - b'0')) * NANOS_OF[digits.len()];
    // Days since the epoch, as Howard Hinnant computes them, from the year that begins in March.
    let years = if month <= 2 { year - 1 } else { year };
    let era = years.div_euclid(400);
    let year_of_era = years.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos).map(UnixNanos)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read_to_the_nanosecond() {
        let read = |text: &str| rfc3339(text.as_bytes()).map(|time| time.to_string());
        for text in [
            "1970-01-01T00:00:00Z",
            "2023-10-06T17:35:55.440295Z",
            "2024-02-29T23:59:59.999999999Z",
            "2000-12-31T12:00:00.100Z",
            "1969-07-20T20:17:40Z",
        ] {
            assert_eq!(read(text).as_deref(), Some(text), "{text}");
        }
        assert_eq!(read("2023-10-06T17:35:55.4402951239Z").as_deref(), Some("2023-10-06T17:35:55.440295123Z"));
        assert_eq!(read("2023-10-06T17:35:55+00:00").as_deref(), Some("2023-10-06T17:35:55Z"));
        for text in [
            "",
            "2023-10-06",
            "2023-10-06 17:35:55Z",
            "2023-10-06T17:35:55",
            "2023-10-06T17:35:55.Z",
            "2023-13-06T17:35:55Z",
            "2023-10-06T17:35:55+02:00",
            "2023-10-06T25:35:55Z",
            "2o23-10-06T17:35:55Z",
            "9999-10-06T17:35:55Z",
            "2023-10-06T17:35:55.5",
            "2023-1é-06T17:35:55Z",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_return(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = rfc3339(&bytes);
        }
    }
}
