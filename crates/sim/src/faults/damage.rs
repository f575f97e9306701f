//! How a frame is damaged.

use fastrand::Rng;

use super::Corruption;

/// The damaged text; other than the original, valid UTF-8.
pub(crate) fn corrupt(text: &[u8], how: Corruption, salt: u64) -> Vec<u8> {
    match how {
        Corruption::Truncate => {
            let mut end = text.len() / 2;
            while end > 0 && !text[end].is_ascii() {
                end -= 1;
            }
            text[..end].to_vec()
        }
        Corruption::Flip => {
            let mut out = text.to_vec();
            let mut rng = Rng::with_seed(salt);
            for _ in 0..4.min(out.len()) {
                let at = rng.usize(0..out.len());
                if out[at].is_ascii() {
                    // Never back to what it was, even when met twice.
                    out[at] = if text[at] == b'#' { b'%' } else { b'#' };
                }
            }
            out
        }
        Corruption::Checksum => {
            let mut out = text.to_vec();
            // Another last digit: still a number, still of 32 bits but where it was at the very end of them.
            if let Some(last) = checksum_at(text).and_then(|at| out.get_mut(at)) {
                *last = if *last == b'0' { b'1' } else { *last - 1 };
            }
            out
        }
        Corruption::Price => {
            let mut out = text.to_vec();
            if let Some(at) = highest_bid(text) {
                out.insert(at, b'5');
            }
            out
        }
    }
}

/// Where the price of the highest bid ends among those that aren't ends of levels.
pub(super) fn highest_bid(text: &[u8]) -> Option<usize> {
    const KEY: &str = r#""b":[["#;
    let text = std::str::from_utf8(text).ok()?;
    let begin = text.find(KEY)? + KEY.len();
    let side = &text[begin..begin + text[begin..].find("]]")?];
    let mut at = begin;
    let mut best: Option<(f64, usize)> = None;
    for level in side.split("],[") {
        if let [price, amount, ..] = level.split(',').map(|field| field.trim_matches('"')).collect::<Vec<_>>()[..]
            && let (Ok(value), Ok(amount)) = (price.parse::<f64>(), amount.parse::<f64>())
            && amount > 0.0
            && price.contains('.')
            && best.is_none_or(|(best, _)| value > best)
        {
            best = Some((value, at + 1 + price.len()));
        }
        at += level.len() + "],[".len();
    }
    best.map(|(_, at)| at)
}

/// Where the last digit of a message's checksum stands.
pub(super) fn checksum_at(text: &[u8]) -> Option<usize> {
    // Bitfinex tells it in a message of its own.
    const KEYS: [&[u8]; 2] = [b"\"checksum\":", b"\"cs\","];
    let found = |key: &[u8]| Some(text.windows(key.len()).rposition(|part| part == key)? + key.len());
    let begin = KEYS.into_iter().find_map(found)?;
    let begin = begin + usize::from(text.get(begin) == Some(&b'-'));
    let digits = text[begin..].iter().take_while(|b| b.is_ascii_digit()).count();
    (begin + digits).checked_sub(1).filter(|_| digits > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_damage() {
        let text = br#"{"e":"trade"}"#;
        for salt in 0..50 {
            for how in [Corruption::Truncate, Corruption::Flip] {
                let damaged = corrupt(text, how, salt);
                assert_ne!(damaged, text);
                assert!(std::str::from_utf8(&damaged).is_ok());
            }
        }
        let diff = br#"{"u":9,"b":[["99.10","1"],["99.30","0.0"],["99.20","2"]],"a":[["99.40","1"]]}"#;
        let wrong = br#"{"u":9,"b":[["99.10","1"],["99.30","0.0"],["99.205","2"]],"a":[["99.40","1"]]}"#;
        assert_eq!(corrupt(diff, Corruption::Price, 1), wrong);
        assert_eq!(corrupt(text, Corruption::Price, 1), text);
        // OKX writes checksums as signed numbers.
        assert_eq!(corrupt(br#"{"checksum":-1431,"seqId":9}"#, Corruption::Checksum, 1), br#"{"checksum":-1430,"seqId":9}"#);
        assert_eq!(corrupt(br#"[7,"cs",-1431,9]"#, Corruption::Checksum, 1), br#"[7,"cs",-1430,9]"#);
    }
}
