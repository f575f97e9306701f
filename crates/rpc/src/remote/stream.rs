//! The client's end of a connection: bytes as they are, and the server's last words as an error.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{FAREWELL, FAREWELL_BYTES_MAX, FrameScan, shown};
use crate::FRAME_BYTES_MAX;
use crate::transport::Io;

/// A connection to a service behind a remote root.
pub struct RemoteStream {
    inner: Box<dyn Io>,
    scan: FrameScan,
    /// What is there of the last words, once they have begun.
    farewell: Option<Vec<u8>>,
}

impl RemoteStream {
    pub(super) fn new(inner: Box<dyn Io>) -> Self {
        let scan = FrameScan::new(u32::try_from(FRAME_BYTES_MAX).unwrap_or(u32::MAX - 1));
        Self { inner, scan, farewell: None }
    }

    /// Reads the last words to their end, and gives them as an error.
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let heard = self.farewell.get_or_insert_default();
        loop {
            if let [high, low, text @ ..] = &heard[..] {
                let length = usize::from(u16::from_be_bytes([*high, *low])).min(FAREWELL_BYTES_MAX);
                if text.len() >= length {
                    return Poll::Ready(Err(ended(&text[..length])));
                }
            }
            let mut bytes = [0; FAREWELL_BYTES_MAX];
            let mut buffer = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Err(ended(heard.get(2..).unwrap_or_default())));
            }
            heard.extend_from_slice(buffer.filled());
        }
    }
}

fn ended(reason: &[u8]) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, format!("the remote dccd-root ended it: {}", shown(reason)))
}

impl AsyncRead for RemoteStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.farewell.is_some() {
            return this.poll_farewell(cx);
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buffer))?;
        let fresh = &buffer.filled()[before..];
        let Some((at, FAREWELL)) = this.scan.feed(fresh).beyond else { return Poll::Ready(Ok(())) };
        this.farewell = Some(fresh[at..].to_vec());
        // Without the mark; of one that was cut some bytes may be passed on already, and wait for a length that never comes.
        let frames = at.saturating_sub(4);
        buffer.set_filled(before + frames);
        if frames > 0 { Poll::Ready(Ok(())) } else { this.poll_farewell(cx) }
    }
}

impl AsyncWrite for RemoteStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::super::frames::farewell;
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn last_words_are_an_error_however_they_are_cut() {
        let mut sent = b"\0\0\0\x02ab\0\0\0\0".to_vec();
        let frames = sent.len();
        sent.extend(farewell("too many requests"));
        for size in 1..=sent.len() {
            let (client, mut server) = tokio::io::duplex(sent.len());
            let mut stream = RemoteStream::new(Box::new(client));
            let pieces = sent.clone();
            let writing = tokio::spawn(async move {
                for piece in pieces.chunks(size) {
                    server.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
            });
            let mut read = Vec::new();
            let error = stream.read_to_end(&mut read).await.unwrap_err();
            writing.await.unwrap();
            assert_eq!(error.to_string(), "the remote dccd-root ended it: too many requests");
            // Some of the mark at most, never of the words.
            assert!(read.starts_with(&sent[..frames]) && read.len() < frames + 4, "{read:?}");
        }
    }

    #[tokio::test]
    async fn without_last_words_the_end_is_the_end() {
        let (client, mut server) = tokio::io::duplex(64);
        server.write_all(b"\0\0\0\x01a").await.unwrap();
        drop(server);
        let mut read = Vec::new();
        RemoteStream::new(Box::new(client)).read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"\0\0\0\x01a");
    }
}
