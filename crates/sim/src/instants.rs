//! Instants as text, appended to byte buffers: microseconds since the epoch as RFC 3339 in UTC.

use dccd_model::time::day_label;

use crate::digits::push_i64;

const DAY_US: i64 = 86_400_000_000;

/// `2026-08-24T22:21:58.343688Z`
pub(crate) fn push_time(out: &mut Vec<u8>, us: i64) {
    push_instant(out, us);
    push_padded(out, us.rem_euclid(1_000_000), 6);
    out.push(b'Z');
}

/// `2026-08-24T22:21:58.343Z`
pub(crate) fn push_time_ms(out: &mut Vec<u8>, us: i64) {
    push_instant(out, us);
    push_padded(out, us.rem_euclid(1_000_000) / 1_000, 3);
    out.push(b'Z');
}

/// `2026-08-24T22:21:58.343688000Z`
pub(crate) fn push_time_ns(out: &mut Vec<u8>, us: i64) {
    push_instant(out, us);
    push_padded(out, us.rem_euclid(1_000_000) * 1_000, 9);
    out.push(b'Z');
}

/// All up to the point.
fn push_instant(out: &mut Vec<u8>, us: i64) {
    out.extend_from_slice(day_label(us.div_euclid(DAY_US)).as_bytes());
    let second = us.rem_euclid(DAY_US) / 1_000_000;
    for (mark, part) in [(b'T', second / 3_600), (b':', second / 60 % 60), (b':', second % 60)] {
        out.push(mark);
        push_padded(out, part, 2);
    }
    out.push(b'.');
}

fn push_padded(out: &mut Vec<u8>, n: i64, width: u32) {
    let mut lead = width.saturating_sub(1);
    while lead > 0 && n < 10_i64.pow(lead) {
        out.push(b'0');
        lead -= 1;
    }
    push_i64(out, n);
}
