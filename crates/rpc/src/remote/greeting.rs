//! The first bytes of a connection over TCP, both sides of them. Callers bound the time.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Token;
use super::frames::shown;

const MAGIC: [u8; 7] = *b"DCCDRPC";
const VERSION: u8 = 1;
/// How a TLS connection begins: a handshake record.
const TLS_HANDSHAKE: u8 = 0x16;
/// How a TLS server answers what is no TLS: an alert record.
const TLS_ALERT: u8 = 0x15;
/// Bytes of a token.
pub const TOKEN_BYTES_MAX: usize = 256;
/// Bytes of a service's name.
pub const SERVICE_BYTES_MAX: usize = 64;
/// Bytes of a reason.
const REASON_BYTES_MAX: usize = 512;

/// What the server makes of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    /// Go on.
    GoOn = 0,
    /// Another version of these first bytes.
    Version = 1,
    /// Here one speaks TLS.
    TlsWanted = 2,
    /// Too many connections.
    Busy = 3,
    /// Too many wrong tokens from there.
    Throttled = 4,
    /// The token is wrong.
    WrongToken = 5,
    /// No token, and one is wanted.
    NoToken = 6,
    /// The service can't be had.
    Service = 7,
    /// What was sent makes no sense.
    Malformed = 8,
}

impl Verdict {
    const ALL: [Self; 9] = [
        Self::GoOn,
        Self::Version,
        Self::TlsWanted,
        Self::Busy,
        Self::Throttled,
        Self::WrongToken,
        Self::NoToken,
        Self::Service,
        Self::Malformed,
    ];
}

/// How a client begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// As one of ours.
    Ours,
    /// As one of ours of another version.
    OtherVersion(u8),
    /// With TLS.
    Tls,
    /// With something else.
    Foreign,
}

/// Whether a connection that begins with this byte may be one of ours in plain text; TLS begins otherwise.
#[must_use]
pub fn opens_like_ours(first: u8) -> bool {
    first == MAGIC[0]
}

/// For servers: reads the opening.
pub async fn read_opening(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Opening> {
    let mut bytes = [0; MAGIC.len() + 1];
    stream.read_exact(&mut bytes).await?;
    Ok(match bytes {
        [magic @ .., VERSION] if magic == MAGIC => Opening::Ours,
        [magic @ .., version] if magic == MAGIC => Opening::OtherVersion(version),
        [TLS_HANDSHAKE, 3, ..] => Opening::Tls,
        _ => Opening::Foreign,
    })
}

/// For servers: says what comes of it.
pub async fn write_verdict(stream: &mut (impl AsyncWrite + Unpin), verdict: Verdict, reason: &str) -> io::Result<()> {
    let mut end = reason.len().min(REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut bytes = MAGIC.to_vec();
    bytes.extend([VERSION, verdict as u8]);
    bytes.extend(u16::try_from(end).unwrap_or_default().to_be_bytes());
    bytes.extend(&reason.as_bytes()[..end]);
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// For servers: reads the token, as bytes, to be compared and nothing else; `None` where it is longer than any token.
pub async fn read_token(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let length = usize::from(stream.read_u16().await?);
    if length > TOKEN_BYTES_MAX {
        return Ok(None);
    }
    let mut token = vec![0; length];
    stream.read_exact(&mut token).await?;
    Ok(Some(token))
}

/// For servers: reads the name of the service; `None` where it is none.
pub async fn read_service(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<String>> {
    let length = usize::from(stream.read_u8().await?);
    if length > SERVICE_BYTES_MAX {
        return Ok(None);
    }
    let mut name = vec![0; length];
    stream.read_exact(&mut name).await?;
    let is_name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    Ok(String::from_utf8(name).ok().filter(|name| !name.is_empty() && name.bytes().all(|b| is_name(&b))))
}

/// How a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// As one of ours.
    Ours(Verdict, String),
    /// As one of ours of another version.
    OtherVersion(u8),
    /// With TLS.
    Tls,
    /// With something else.
    Foreign,
}

/// For clients: the opening.
pub(super) async fn write_opening(stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut bytes = MAGIC.to_vec();
    bytes.push(VERSION);
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// For clients: reads what the server says. The first byte tells what else is there, so that nothing is waited for in vain.
pub(super) async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Answer> {
    let mut bytes = [0; MAGIC.len() + 1];
    stream.read_exact(&mut bytes[..1]).await?;
    match bytes[0] {
        TLS_ALERT => return Ok(Answer::Tls),
        first if first != MAGIC[0] => return Ok(Answer::Foreign),
        _ => stream.read_exact(&mut bytes[1..]).await?,
    };
    match bytes {
        [magic @ .., VERSION] if magic == MAGIC => {}
        [magic @ .., version] if magic == MAGIC => return Ok(Answer::OtherVersion(version)),
        _ => return Ok(Answer::Foreign),
    }
    let verdict = stream.read_u8().await?;
    let length = usize::from(stream.read_u16().await?);
    let Some(verdict) = Verdict::ALL.into_iter().find(|known| *known as u8 == verdict) else { return Ok(Answer::Foreign) };
    if length > REASON_BYTES_MAX {
        return Ok(Answer::Foreign);
    }
    let mut reason = vec![0; length];
    stream.read_exact(&mut reason).await?;
    Ok(Answer::Ours(verdict, shown(&reason)))
}

/// For clients: who it is, and whom it wants.
pub(super) async fn write_credentials(
    stream: &mut (impl AsyncWrite + Unpin),
    token: Option<&Token>,
    service: &str,
) -> io::Result<()> {
    let token = token.map(Token::reveal).unwrap_or_default().as_bytes();
    let (Ok(token_length), Ok(service_length)) = (u16::try_from(token.len()), u8::try_from(service.len())) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no service has a name of this length"));
    };
    let mut bytes = token_length.to_be_bytes().to_vec();
    bytes.extend(token);
    bytes.push(service_length);
    bytes.extend(service.as_bytes());
    stream.write_all(&bytes).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use super::super::FrameScan;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever comes: an answer or an error, and no more memory than a reason has bytes.
        #[test]
        fn readers_return_on_any_input(mut bytes in prop::collection::vec(any::<u8>(), 0..700), ours: bool) {
            if ours && bytes.len() >= 8 {
                bytes[..8].copy_from_slice(b"DCCDRPC\x01");
            }
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let _ = read_opening(&mut &bytes[..]).await;
                let token = read_token(&mut &bytes[..]).await;
                assert!(token.is_err() || token.is_ok_and(|t| t.is_none_or(|t| t.len() <= TOKEN_BYTES_MAX)));
                let _ = read_service(&mut &bytes[..]).await;
                if let Ok(Answer::Ours(_, reason)) = read_answer(&mut &bytes[..]).await {
                    assert!(reason.chars().count() <= REASON_BYTES_MAX && !reason.contains(char::is_control));
                }
            });
        }

        #[test]
        fn a_scan_finds_the_same_however_the_bytes_are_cut(bytes in prop::collection::vec(0_u8..3, 0..200), cut in 1_usize..50) {
            let whole = FrameScan::new(100_000).feed(&bytes);
            let (mut scan, mut frames, mut beyond, mut at) = (FrameScan::new(100_000), 0, None, 0);
            for piece in bytes.chunks(cut) {
                let found = scan.feed(piece);
                frames += found.frames;
                beyond = found.beyond.map(|(behind, length)| (at + behind, length));
                at += piece.len();
                if beyond.is_some() {
                    break;
                }
            }
            prop_assert_eq!((frames, beyond), (whole.frames, whole.beyond));
        }
    }

    #[tokio::test]
    async fn both_sides_understand_each_other() {
        let (mut client, mut server) = tokio::io::duplex(4_096);
        write_opening(&mut client).await.unwrap();
        assert_eq!(read_opening(&mut server).await.unwrap(), Opening::Ours);
        for verdict in Verdict::ALL {
            write_verdict(&mut server, verdict, "why\n").await.unwrap();
            assert_eq!(read_answer(&mut client).await.unwrap(), Answer::Ours(verdict, "why·".to_owned()));
        }
        let token = Token::parse("correct-horse-battery").unwrap();
        write_credentials(&mut client, Some(&token), "datad.binance").await.unwrap();
        assert_eq!(read_token(&mut server).await.unwrap().unwrap(), b"correct-horse-battery");
        assert_eq!(read_service(&mut server).await.unwrap().unwrap(), "datad.binance");
        write_credentials(&mut client, None, "").await.unwrap();
        assert_eq!(read_token(&mut server).await.unwrap().unwrap(), b"");
        assert_eq!(read_service(&mut server).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_not_ours_is_told_apart() {
        for (bytes, opening) in [
            (&b"DCCDRPC\x02"[..], Opening::OtherVersion(2)),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01", Opening::Tls),
            (b"GET / HTTP/1.1", Opening::Foreign),
        ] {
            assert_eq!(read_opening(&mut &bytes[..]).await.unwrap(), opening);
        }
        for (bytes, answer) in [
            (&b"DCCDRPC\x09\x00"[..], Answer::OtherVersion(9)),
            (b"\x15\x03\x03\x00\x02\x02\x46", Answer::Tls),
            (b"HTTP/1.1 400 Bad Request", Answer::Foreign),
            (b"DCCDRPC\x01\xee\x00\x00", Answer::Foreign),
            (b"DCCDRPC\x01\x03\xff\xff", Answer::Foreign),
        ] {
            assert_eq!(read_answer(&mut &bytes[..]).await.unwrap(), answer);
        }
        assert!(read_answer(&mut &b"DCCD"[..]).await.is_err());
        assert_eq!(read_token(&mut &b"\xff\xffx"[..]).await.unwrap(), None);
        for name in [&b"\x03a/b"[..], b"\x02\xff\xff", b"\xff"] {
            assert_eq!(read_service(&mut &name[..]).await.unwrap(), None);
        }
    }
}
