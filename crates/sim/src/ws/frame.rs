//! WebSocket frames (RFC 6455): heads of what a server sends, and a reader of what clients send.

/// Frame kinds.
pub(crate) mod opcode {
    pub(crate) const CONTINUATION: u8 = 0;
    pub(crate) const TEXT: u8 = 1;
    pub(crate) const BINARY: u8 = 2;
    pub(crate) const CLOSE: u8 = 8;
    pub(crate) const PING: u8 = 9;
    pub(crate) const PONG: u8 = 10;
}

/// Appends the head of an unmasked, final frame.
#[allow(clippy::cast_possible_truncation)] // each length is checked before it is cut
pub(crate) fn push_head(out: &mut Vec<u8>, opcode: u8, length: usize) {
    out.push(0x80 | opcode);
    if length < 126 {
        out.push(length as u8);
    } else if length < 65_536 {
        out.push(126);
        out.extend_from_slice(&(length as u16).to_be_bytes());
    } else {
        out.push(127);
        out.extend_from_slice(&(length as u64).to_be_bytes());
    }
}

/// The largest message a client may send; its commands are far smaller.
const MESSAGE_BYTES_MAX: usize = 256 << 10;

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    Text(String),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Vec<u8>),
}

/// Collects a client's bytes and takes messages out of them.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    buffer: Vec<u8>,
    /// A fragmented message so far.
    message: Option<Vec<u8>>,
}

impl FrameReader {
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, or why the connection must be failed.
    pub(crate) fn next(&mut self) -> Result<Option<Incoming>, &'static str> {
        loop {
            let Some((head, payload)) = self.frame()? else { return Ok(None) };
            let last = head & 0x80 != 0;
            let opcode = head & 0x0f;
            if opcode >= opcode::CLOSE && (!last || payload.len() > 125) {
                return Err("a control frame was fragmented or too long");
            }
            match opcode {
                opcode::PING => return Ok(Some(Incoming::Ping(payload))),
                opcode::PONG => return Ok(Some(Incoming::Pong(payload))),
                opcode::CLOSE => return Ok(Some(Incoming::Close(payload))),
                opcode::TEXT | opcode::BINARY if self.message.is_none() => self.message = Some(payload),
                opcode::CONTINUATION => match &mut self.message {
                    Some(message) if message.len() + payload.len() <= MESSAGE_BYTES_MAX => message.extend(payload),
                    Some(_) => return Err("a message was too long"),
                    None => return Err("a continuation continued nothing"),
                },
                _ => return Err("a frame of an unknown kind or out of order"),
            }
            if last && let Some(message) = self.message.take() {
                return String::from_utf8(message).map(|text| Some(Incoming::Text(text))).map_err(|_| "a text was no UTF-8");
            }
        }
    }

    /// The next whole frame: its first byte and its payload, unmasked.
    fn frame(&mut self) -> Result<Option<(u8, Vec<u8>)>, &'static str> {
        let b = &self.buffer;
        if b.len() < 2 {
            return Ok(None);
        }
        if b[0] & 0x70 != 0 {
            return Err("a frame used a reserved bit");
        }
        if b[1] & 0x80 == 0 {
            return Err("a client's frame was not masked");
        }
        let (length, at) = match b[1] & 0x7f {
            126 if b.len() >= 4 => (u64::from(u16::from_be_bytes([b[2], b[3]])), 4),
            127 if b.len() >= 10 => (u64::from_be_bytes([b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9]]), 10),
            126 | 127 => return Ok(None),
            short => (u64::from(short), 2),
        };
        let length = usize::try_from(length).ok().filter(|l| *l <= MESSAGE_BYTES_MAX).ok_or("a message was too long")?;
        let end = at + 4 + length;
        if b.len() < end {
            return Ok(None);
        }
        let mask = [b[at], b[at + 1], b[at + 2], b[at + 3]];
        let payload = b[at + 4..end].iter().zip(mask.iter().cycle()).map(|(byte, m)| byte ^ m).collect();
        let head = b[0];
        self.buffer.drain(..end);
        Ok(Some((head, payload)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(head: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        push_head(&mut out, 0, payload.len());
        out[0] = head;
        out[1] |= 0x80;
        let mask = [1u8, 2, 3, 4];
        out.extend(mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
        out
    }

    #[test]
    fn messages_come_out_whole_however_the_bytes_arrive() {
        let long = "x".repeat(70_000);
        let mut bytes = masked(0x81, b"hello");
        bytes.extend(masked(0x01, b"in "));
        bytes.extend(masked(0x89, b"ping"));
        bytes.extend(masked(0x80, b"pieces"));
        bytes.extend(masked(0x81, long.as_bytes()));
        bytes.extend(masked(0x88, &[3, 232]));
        for step in [1, 7, 1_000, usize::MAX] {
            let mut reader = FrameReader::default();
            let mut seen = Vec::new();
            for part in bytes.chunks(step.min(bytes.len())) {
                reader.extend(part);
                while let Some(message) = reader.next().unwrap() {
                    seen.push(message);
                }
            }
            assert_eq!(
                seen,
                [
                    Incoming::Text("hello".into()),
                    Incoming::Ping(b"ping".into()),
                    Incoming::Text("in pieces".into()),
                    Incoming::Text(long.clone()),
                    Incoming::Close(vec![3, 232]),
                ]
            );
        }
    }

    #[test]
    fn what_breaks_the_protocol_is_refused() {
        let mut unmasked = Vec::new();
        push_head(&mut unmasked, opcode::TEXT, 2);
        unmasked.extend(b"hi");
        for bytes in [
            unmasked,
            masked(0xc1, b"reserved"),
            masked(0x80, b"nothing to continue"),
            masked(0x83, b"unknown"),
            masked(0x09, b"fragmented ping"),
            masked(0x81, &[0xff, 0xfe]),
        ] {
            let mut reader = FrameReader::default();
            reader.extend(&bytes);
            assert!(reader.next().is_err(), "{bytes:?}");
        }
    }
}
