//! What a process and its successor tell each other, over a socket: messages in order, each way. Nothing here waits: who owns a [`Peer`] polls it.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use dccd_model::{Entry, EntryKind, UnixNanos};
use tokio::io::{AsyncRead as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::UnixStream;

/// Longest message: a frame of the largest size that a connection takes, or a whole book.
const MESSAGE_BYTES_MAX: usize = 32 << 20;
/// Read from the socket at once.
const READ_BYTES: usize = 64 << 10;
/// Kind, connection, time, and the subject's length.
const HEAD_BYTES: usize = 1 + 4 + 8 + 2;

/// What a message is. The first ones are entries of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// From the successor: a connection opened.
    Opened = 1,
    /// A frame came on it.
    Frame = 2,
    /// It ended.
    Closed = 3,
    /// It carries these feeds.
    Carries = 4,
    /// The other process is to leave.
    Leave = 5,
    /// From the process that runs: so many messages have been journaled, up to this position. `payload`: both, u64 little endian.
    Taken = 6,
    /// Its own connections. `payload`: their numbers, u32 little endian.
    Conns = 7,
    /// The book of a feed when it left. `subject`: the symbol; `payload`: see [`super::encode_book`].
    Book = 8,
    /// It has left; the journal is complete.
    Left = 9,
    /// It can't hand over. `subject`: why.
    Refused = 10,
}

impl Kind {
    fn from_u8(number: u8) -> Option<Self> {
        let all = [
            Self::Opened,
            Self::Frame,
            Self::Closed,
            Self::Carries,
            Self::Leave,
            Self::Taken,
            Self::Conns,
            Self::Book,
            Self::Left,
            Self::Refused,
        ];
        all.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    /// Which connection; 0 where it is about none.
    pub(crate) conn: u32,
    /// When it reached the sender, or what it tells of did.
    pub(crate) ts: UnixNanos,
    pub(crate) subject: String,
    pub(crate) payload: Bytes,
}

impl Message {
    /// One that is about no connection.
    pub(crate) fn new(kind: Kind, subject: &str, payload: impl Into<Bytes>) -> Self {
        Self { kind, conn: 0, ts: UnixNanos::UNKNOWN, subject: subject.to_owned(), payload: payload.into() }
    }

    /// The entry of the journal that it is, at this time; `None`: it is none.
    pub(crate) fn entry(&self, ts_recv: UnixNanos) -> Option<Entry<'_>> {
        let kind = match self.kind {
            Kind::Opened => EntryKind::Opened,
            Kind::Frame => EntryKind::Frame,
            Kind::Closed => EntryKind::Closed,
            Kind::Carries => EntryKind::Carries,
            Kind::Leave | Kind::Taken | Kind::Conns | Kind::Book | Kind::Left | Kind::Refused => return None,
        };
        Some(Entry { kind, conn: self.conn, ts_recv, subject: &self.subject, payload: &self.payload })
    }

    /// Bytes it takes, about.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>() + self.subject.len() + self.payload.len()
    }

    fn encode(&self, to: &mut BytesMut) {
        // Reasons and names: a longer one is cut, which changes no meaning.
        let subject = &self.subject.as_bytes()[..self.subject.len().min(usize::from(u16::MAX))];
        let length = HEAD_BYTES + subject.len() + self.payload.len();
        to.reserve(4 + length);
        to.put_u32_le(u32::try_from(length).unwrap_or(u32::MAX));
        to.put_u8(self.kind as u8);
        to.put_u32_le(self.conn);
        to.put_i64_le(self.ts.0);
        to.put_u16_le(u16::try_from(subject.len()).unwrap_or(u16::MAX));
        to.put_slice(subject);
        to.put_slice(&self.payload);
    }

    /// Takes the first message out of what was read; `None`: it isn't there as a whole.
    fn decode(from: &mut BytesMut) -> io::Result<Option<Self>> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let Some(length) = from.first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if !(HEAD_BYTES..=MESSAGE_BYTES_MAX).contains(&length) {
            return Err(wrong("a message of this length can't be"));
        }
        if from.len() - 4 < length {
            return Ok(None);
        }
        from.advance(4);
        let mut message = from.split_to(length).freeze();
        let kind = Kind::from_u8(message.get_u8()).ok_or_else(|| wrong("a message of an unknown kind"))?;
        let (conn, ts) = (message.get_u32_le(), UnixNanos(message.get_i64_le()));
        let subject = usize::from(message.get_u16_le());
        if message.len() < subject {
            return Err(wrong("a message that ends within its subject"));
        }
        let subject =
            String::from_utf8(message.split_to(subject).to_vec()).map_err(|_| wrong("a subject that is no text"))?;
        Ok(Some(Self { kind, conn, ts, subject, payload: message }))
    }
}

/// The other process.
#[derive(Debug)]
pub(crate) struct Peer {
    stream: UnixStream,
    read: BytesMut,
    unsent: VecDeque<BytesMut>,
}

impl Peer {
    /// At the other end of this.
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { stream, read: BytesMut::new(), unsent: VecDeque::new() }
    }

    /// Puts a message behind those that wait to be sent. Whoever sends much sees to it that not too many wait.
    pub(crate) fn push(&mut self, message: &Message) {
        match self.unsent.back_mut().filter(|last| last.len() < READ_BYTES) {
            Some(last) => message.encode(last),
            None => {
                let mut bytes = BytesMut::with_capacity(READ_BYTES);
                message.encode(&mut bytes);
                self.unsent.push_back(bytes);
            }
        }
    }

    /// Sends what it can, and gives the next message that has come. An error, the end of the socket among them, is final.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Message>> {
        if let Poll::Ready(Err(error)) = self.poll_send(cx)
            // What it has sent before it went can still be read.
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            return Poll::Ready(Err(error));
        }
        loop {
            match Message::decode(&mut self.read) {
                Ok(None) => {}
                Ok(Some(message)) => return Poll::Ready(Ok(message)),
                Err(error) => return Poll::Ready(Err(error)),
            }
            self.read.reserve(READ_BYTES);
            let mut buffer = [0; READ_BYTES];
            let mut buffer = ReadBuf::new(&mut buffer);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.read.extend_from_slice(buffer.filled());
        }
    }

    /// The next message of those that have come already.
    pub(crate) fn next_read(&mut self) -> io::Result<Option<Message>> {
        Message::decode(&mut self.read)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(first) = self.unsent.front_mut() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, first))?;
            first.advance(sent);
            if first.is_empty() {
                self.unsent.pop_front();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends all that waits, within this time.
    pub(crate) async fn send_all(&mut self, patience: Duration) -> io::Result<()> {
        let sending = async {
            for bytes in self.unsent.drain(..) {
                self.stream.write_all(&bytes).await?;
            }
            Ok(())
        };
        tokio::time::timeout(patience, sending).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: Kind, payload: &'static [u8]) -> Message {
        let payload = Bytes::from_static(payload);
        Message { kind, conn: 7, ts: UnixNanos(-8), subject: "BTC/USDT trades".to_owned(), payload }
    }

    #[test]
    fn a_message_is_read_once_it_is_whole() {
        let messages = [message(Kind::Frame, b"{}"), Message::new(Kind::Left, "", Bytes::new())];
        let mut wire = BytesMut::new();
        messages.iter().for_each(|message| message.encode(&mut wire));
        let mut read = BytesMut::new();
        let mut found = Vec::new();
        for byte in wire {
            read.put_u8(byte);
            found.extend(Message::decode(&mut read).unwrap());
        }
        assert_eq!(found, messages);
        for number in 0..=u8::MAX {
            assert_eq!(Kind::from_u8(number).map(|kind| kind as u8), (1..=10).contains(&number).then_some(number));
        }
    }

    #[test]
    fn nonsense_is_an_error() {
        for wire in
            [&[255, 255, 255, 255, 0][..], &[1, 0, 0, 0, 1], &[15, 0, 0, 0, 99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
        {
            assert!(Message::decode(&mut BytesMut::from(wire)).is_err(), "{wire:?}");
        }
        let mut wire = BytesMut::new();
        message(Kind::Closed, b"").encode(&mut wire);
        wire[17] = 255;
        assert!(Message::decode(&mut wire).is_err());
    }

    #[tokio::test]
    async fn what_was_sent_before_the_end_is_read_and_then_the_end() {
        let (one, other) = UnixStream::pair().unwrap();
        let (mut one, mut other) = (Peer::new(one), Peer::new(other));
        let large = message(Kind::Frame, &[b'x'; 300_000]);
        for _ in 0..3 {
            one.push(&large);
        }
        let sending = tokio::spawn(async move { one.send_all(Duration::from_secs(30)).await.map(|()| drop(one)) });
        for _ in 0..3 {
            assert_eq!(std::future::poll_fn(|cx| other.poll_next(cx)).await.unwrap(), large);
        }
        sending.await.unwrap().unwrap();
        // It has something to say, and nobody hears it.
        other.push(&large);
        let end = std::future::poll_fn(|cx| other.poll_next(cx)).await.unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    }
}
