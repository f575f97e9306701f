//! Writing the ledger: lines are formatted where things happen and written by a helper thread.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::{FrameStatus, LedgerRecord};
use crate::clock::now_ns;
use crate::digits::{push_i64, push_u64};
use crate::options::LedgerMode;

/// Buffers on their way to the file. When full, the exchange waits for the disk: a ledger with holes proves nothing.
const QUEUE: usize = 16;
/// A buffer this large goes to the file before its time.
const BUFFER_BYTES: usize = 1 << 20;

/// One frame, as the ledger enters it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameEntry<'a> {
    pub conn: u32,
    pub seq: u64,
    pub stream: &'a str,
    pub status: FrameStatus,
    pub id: u64,
    pub raw: &'a [u8],
    pub wire: Option<&'a [u8]>,
}

enum Message {
    Write(Vec<u8>),
    /// Everything before this is in the file once the sender of the answer is dropped.
    Barrier(tokio::sync::oneshot::Sender<()>),
}

#[derive(Default)]
struct Batch {
    count: u64,
    first_id: u64,
    last_id: u64,
}

struct Inner {
    buffer: Vec<u8>,
    to_disk: Option<SyncSender<Message>>,
    batches: BTreeMap<(u32, String, FrameStatus), Batch>,
    thread: Option<JoinHandle<()>>,
}

/// The writing end. Without a file it swallows everything.
pub(crate) struct LedgerWriter {
    mode: LedgerMode,
    inner: RefCell<Inner>,
}

impl LedgerWriter {
    /// Creates the file and the thread that writes it.
    pub(crate) fn create(path: Option<&Path>, mode: LedgerMode) -> io::Result<Self> {
        let mut inner = Inner { buffer: Vec::new(), to_disk: None, batches: BTreeMap::new(), thread: None };
        if let Some(path) = path {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            let file = File::create(path)?;
            let (to_disk, from_sim) = sync_channel(QUEUE);
            inner.to_disk = Some(to_disk);
            inner.thread =
                Some(std::thread::Builder::new().name("dccd-sim-ledger".to_owned()).spawn(move || write(file, &from_sim))?);
        }
        Ok(Self { mode, inner: RefCell::new(inner) })
    }

    /// Enters a frame.
    pub(crate) fn frame(&self, entry: FrameEntry<'_>) {
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        if inner.to_disk.is_none() {
            return;
        }
        if self.mode == LedgerMode::Compact && !entry.stream.is_empty() && entry.wire.is_none() {
            // One look-up by a borrowed key would need a second map; a short string per frame is cheap enough here.
            let batch = inner.batches.entry((entry.conn, entry.stream.to_owned(), entry.status)).or_default();
            if batch.count == 0 {
                batch.first_id = entry.id;
            }
            batch.count += 1;
            batch.last_id = entry.id;
            return;
        }
        let out = &mut inner.buffer;
        out.extend_from_slice(b"{\"kind\":\"frame\",\"ts\":");
        push_i64(out, now_ns());
        out.extend_from_slice(b",\"conn\":");
        push_u64(out, u64::from(entry.conn));
        out.extend_from_slice(b",\"seq\":");
        push_u64(out, entry.seq);
        out.extend_from_slice(b",\"stream\":\"");
        out.extend_from_slice(entry.stream.as_bytes());
        out.extend_from_slice(b"\",\"status\":\"");
        out.extend_from_slice(entry.status.label().as_bytes());
        out.extend_from_slice(b"\",\"raw\":");
        push_text(out, entry.raw);
        if let Some(wire) = entry.wire {
            out.extend_from_slice(b",\"wire\":");
            push_text(out, wire);
        }
        out.extend_from_slice(b"}\n");
        if out.len() >= BUFFER_BYTES {
            send(inner);
        }
    }

    /// Enters anything else.
    pub(crate) fn record(&self, record: &LedgerRecord) {
        let mut inner = self.inner.borrow_mut();
        if inner.to_disk.is_none() {
            return;
        }
        // Counted frames stand before what happened after them.
        settle(&mut inner);
        match serde_json::to_writer(&mut inner.buffer, record) {
            Ok(()) => inner.buffer.push(b'\n'),
            Err(error) => tracing::error!(%error, "a ledger record could not be written as JSON"),
        }
    }

    /// Hands what is buffered to the thread that writes.
    pub(crate) fn flush(&self) {
        let mut inner = self.inner.borrow_mut();
        settle(&mut inner);
        send(&mut inner);
    }

    /// Like [`LedgerWriter::flush`]; the receiver resolves when the file has it.
    pub(crate) fn barrier(&self) -> tokio::sync::oneshot::Receiver<()> {
        self.flush();
        let (done, wait) = tokio::sync::oneshot::channel();
        if let Some(to_disk) = &self.inner.borrow().to_disk {
            let _ = to_disk.send(Message::Barrier(done));
        }
        wait
    }

    /// Writes the rest and ends the thread.
    pub(crate) fn close(&self) {
        self.flush();
        let thread = {
            let mut inner = self.inner.borrow_mut();
            inner.to_disk = None;
            inner.thread.take()
        };
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the ledger's thread panicked");
        }
    }
}

fn settle(inner: &mut Inner) {
    for ((conn, stream, status), batch) in std::mem::take(&mut inner.batches) {
        let Batch { count, first_id, last_id } = batch;
        let record = LedgerRecord::Batch { ts: now_ns(), conn, stream, status, count, first_id, last_id };
        if serde_json::to_writer(&mut inner.buffer, &record).is_ok() {
            inner.buffer.push(b'\n');
        }
    }
}

fn send(inner: &mut Inner) {
    if inner.buffer.is_empty() {
        return;
    }
    if let Some(to_disk) = &inner.to_disk {
        let full = std::mem::replace(&mut inner.buffer, Vec::with_capacity(BUFFER_BYTES / 8));
        if to_disk.send(Message::Write(full)).is_err() {
            tracing::error!("the ledger can no longer be written; it ends here");
            inner.to_disk = None;
        }
    }
}

fn write(mut file: File, from_sim: &Receiver<Message>) {
    for message in from_sim {
        match message {
            Message::Write(bytes) => {
                if let Err(error) = file.write_all(&bytes) {
                    tracing::error!(%error, "the ledger can no longer be written; it ends here");
                    return;
                }
            }
            Message::Barrier(done) => drop(done.send(())),
        }
    }
}

/// A JSON string of these bytes. What is not UTF-8 is replaced by U+FFFD.
fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    if text.is_ascii() && !text.iter().any(|b| *b < 0x20 || *b == b'\\') {
        // Exchange messages: only quotes need care.
        for (i, part) in text.split(|b| *b == b'"').enumerate() {
            if i > 0 {
                out.extend_from_slice(b"\\\"");
            }
            out.extend_from_slice(part);
        }
        out.push(b'"');
        return;
    }
    out.pop();
    if serde_json::to_writer(&mut *out, &String::from_utf8_lossy(text)).is_err() {
        out.extend_from_slice(b"\"\"");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::LedgerReader;

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.jsonl");
        let ledger = LedgerWriter::create(Some(&path), LedgerMode::Full).unwrap();
        ledger.record(&LedgerRecord::Started { ts: 1, exchange: "binance".into(), seed: 9 });
        let raws = ["{\"a\":\"b\"}", "back\\slash\n", "ünïcode \u{1}", ""];
        for (seq, raw) in raws.iter().enumerate() {
            ledger.frame(FrameEntry {
                conn: 3,
                seq: seq as u64,
                stream: "x@trade",
                status: FrameStatus::Corrupted,
                id: 5,
                raw: raw.as_bytes(),
                wire: Some(b"#"),
            });
        }
        ledger.close();
        let records: Vec<_> = LedgerReader::open(&path).unwrap().map(Result::unwrap).collect();
        assert_eq!(records.len(), 5);
        for (record, expected) in records[1..].iter().zip(raws) {
            let LedgerRecord::Frame { raw, wire, stream, status, conn, .. } = record else { panic!("{record:?}") };
            assert_eq!((raw.as_str(), wire.as_deref(), stream.as_str(), *conn), (expected, Some("#"), "x@trade", 3));
            assert_eq!(*status, FrameStatus::Corrupted);
        }
    }

    #[test]
    fn the_compact_mode_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.jsonl");
        let ledger = LedgerWriter::create(Some(&path), LedgerMode::Compact).unwrap();
        for id in 10..20 {
            let (stream, status) = ("x@trade", FrameStatus::Sent);
            ledger.frame(FrameEntry { conn: 1, seq: id, stream, status, id, raw: b"{}", wire: None });
        }
        ledger.record(&LedgerRecord::Stopped { ts: 4 });
        ledger.close();
        let records: Vec<_> = LedgerReader::open(&path).unwrap().map(Result::unwrap).collect();
        assert!(matches!(&records[0], LedgerRecord::Batch { count: 10, first_id: 10, last_id: 19, conn: 1, .. }));
        assert_eq!(records[1..], [LedgerRecord::Stopped { ts: 4 }]);
    }

    #[test]
    fn a_torn_line_ends_the_reading_until_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.jsonl");
        std::fs::write(&path, "{\"kind\":\"stopped\",\"ts\":1}\n{\"kind\":\"sto").unwrap();
        let mut reader = LedgerReader::open(&path).unwrap();
        assert!(reader.next().unwrap().is_ok());
        assert!(reader.next().is_none());
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"pped\",\"ts\":2}\nnonsense\n").unwrap();
        assert_eq!(reader.next().unwrap().unwrap(), LedgerRecord::Stopped { ts: 2 });
        assert!(reader.next().unwrap().unwrap_err().to_string().contains("line 3"));
    }
}
