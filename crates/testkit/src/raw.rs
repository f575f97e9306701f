//! Bytes of the RPC as no client of ours sends them: deadlines of ages, arguments without end, nonsense after the right token.
//! Numbers and texts as bincode has them, small numbers in one byte; `dccd_rpc::remote` says how a connection over TCP begins.

/// A whole number.
#[must_use]
pub fn number(number: u64) -> Vec<u8> {
    if let Ok(small) = u8::try_from(number)
        && small < 251
    {
        return vec![small];
    }
    if let Ok(short) = u16::try_from(number) {
        return [&[251][..], &short.to_le_bytes()].concat();
    }
    match u32::try_from(number) {
        Ok(word) => [&[252][..], &word.to_le_bytes()].concat(),
        Err(_) => [&[253][..], &number.to_le_bytes()].concat(),
    }
}

/// A text.
#[must_use]
pub fn text(text: &str) -> Vec<u8> {
    [number(text.len() as u64), text.as_bytes().to_vec()].concat()
}

/// These bytes as one message, with their length before them.
///
/// # Panics
/// When they are more than a length can say.
#[must_use]
pub fn frame(message: &[u8]) -> Vec<u8> {
    [&u32::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
}

/// A request. `deadline`: seconds and nanoseconds, whether they make sense or not; `method`: its place in the contract;
/// `arguments`: one after the other.
#[must_use]
pub fn request(id: u64, deadline: (u64, u32), method: u32, arguments: &[u8]) -> Vec<u8> {
    let mut message = number(0);
    message.extend(number(deadline.0));
    message.extend(number(deadline.1.into()));
    // The trace: an id of sixteen bytes, a number, whether it is sampled.
    message.extend([0; 16]);
    message.extend(number(0));
    message.extend(number(1));
    message.extend(number(id));
    message.extend(number(method.into()));
    message.extend(arguments);
    frame(&message)
}

/// The first request of every connection.
#[must_use]
pub fn hello(id: u64, deadline: (u64, u32), protocol: u32) -> Vec<u8> {
    let arguments = [number(protocol.into()), text("raw"), number(0)].concat();
    request(id, deadline, 0, &arguments)
}

/// What a client sends first over TCP. The server answers what it reads of it, with eleven bytes twice where all is well.
///
/// # Panics
/// When token or name is too long to be sent.
#[must_use]
pub fn opening(token: &str, service: &str) -> Vec<u8> {
    let mut bytes = b"DCCDRPC\x01".to_vec();
    bytes.extend(u16::try_from(token.len()).unwrap().to_be_bytes());
    bytes.extend(token.as_bytes());
    bytes.push(u8::try_from(service.len()).unwrap());
    bytes.extend(service.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_as_many_bytes_as_they_need() {
        for (value, bytes) in [(250, 1), (251, 3), (65_535, 3), (65_536, 5), (u64::from(u32::MAX), 5), (u64::MAX, 9)] {
            assert_eq!(number(value).len(), bytes, "{value}");
        }
        assert_eq!(text("ab"), [2, b'a', b'b']);
        assert_eq!(frame(b"ab"), [0, 0, 0, 2, b'a', b'b']);
    }
}
