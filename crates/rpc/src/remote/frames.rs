//! Where frames begin in a stream of bytes, without decoding them; and the last words of a server.

/// Bytes of a frame's length.
const HEADER: usize = 4;
/// In the place of a frame's length: last words follow.
pub(super) const FAREWELL: u32 = u32::MAX;
/// Bytes of the last words.
pub(super) const FAREWELL_BYTES_MAX: usize = 512;

/// Follows the frames of one direction of a connection.
#[derive(Debug)]
pub struct FrameScan {
    limit: u32,
    header: [u8; HEADER],
    /// Bytes of the header that are there.
    have: usize,
    /// Bytes of the frame that are still to come.
    left: u32,
}

/// What was found in some bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Frames that began in them.
    pub frames: u32,
    /// A length above the limit, and where the bytes behind it begin. Nothing behind it was looked at.
    pub beyond: Option<(usize, u32)>,
}

impl FrameScan {
    /// At a connection's beginning. `limit`: the longest frame in bytes.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self { limit, header: [0; HEADER], have: 0, left: 0 }
    }

    /// Looks at the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) -> Scanned {
        let mut found = Scanned::default();
        let mut at = 0;
        while at < bytes.len() {
            let rest = bytes.len() - at;
            if self.left > 0 {
                let step = usize::try_from(self.left).map_or(rest, |left| left.min(rest));
                // No more than what is left.
                self.left = self.left.saturating_sub(u32::try_from(step).unwrap_or(u32::MAX));
                at += step;
                continue;
            }
            let step = (HEADER - self.have).min(rest);
            self.header[self.have..self.have + step].copy_from_slice(&bytes[at..at + step]);
            self.have += step;
            at += step;
            if self.have == HEADER {
                self.have = 0;
                let length = u32::from_be_bytes(self.header);
                if length > self.limit {
                    found.beyond = Some((at, length));
                    return found;
                }
                found.frames = found.frames.saturating_add(1);
                self.left = length;
            }
        }
        found
    }

    /// Whether everything so far was whole frames.
    #[must_use]
    pub fn at_boundary(&self) -> bool {
        self.have == 0 && self.left == 0
    }
}

/// The bytes in which a server says, between two frames, why it ends the connection.
#[must_use]
pub fn farewell(reason: &str) -> Vec<u8> {
    let mut end = reason.len().min(FAREWELL_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut bytes = FAREWELL.to_be_bytes().to_vec();
    bytes.extend(u16::try_from(end).unwrap_or_default().to_be_bytes());
    bytes.extend(&reason.as_bytes()[..end]);
    bytes
}

/// Text of the other side as it may be shown.
pub(super) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() { '·' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize) -> Vec<u8> {
        let mut bytes = u32::try_from(length).unwrap().to_be_bytes().to_vec();
        bytes.extend(std::iter::repeat_n(0xff, length));
        bytes
    }

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        let bytes = [frame(0), frame(5), frame(1), frame(300)].concat();
        for size in 1..bytes.len() {
            let mut scan = FrameScan::new(300);
            let mut frames = 0;
            for piece in bytes.chunks(size) {
                let found = scan.feed(piece);
                assert_eq!(found.beyond, None);
                frames += found.frames;
            }
            assert_eq!((frames, scan.at_boundary()), (4, true), "in pieces of {size}");
            scan.feed(&[0]);
            assert!(!scan.at_boundary());
        }
    }

    #[test]
    fn a_frame_beyond_the_limit_is_seen_by_its_length_alone() {
        let mut scan = FrameScan::new(10);
        let mut bytes = frame(10);
        bytes.extend(11_u32.to_be_bytes());
        bytes.push(7);
        assert_eq!(scan.feed(&bytes), Scanned { frames: 1, beyond: Some((18, 11)) });
    }

    #[test]
    fn last_words_are_cut_at_a_character() {
        let bytes = farewell(&"é".repeat(FAREWELL_BYTES_MAX));
        assert_eq!(bytes.len(), 6 + FAREWELL_BYTES_MAX);
        assert_eq!(farewell("a\u{e9}")[4..], [0, 3, b'a', 0xc3, 0xa9]);
        assert_eq!(shown(b"a\x1b[31m\xff"), "a·[31m\u{fffd}");
    }
}
