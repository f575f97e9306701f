//! What a log has said so far: the file and those that were put aside before it, read as one.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Take};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use dccd_service::numbered;

use super::entry::{Entry, Grouper};

/// How far back from the end is looked first for the last messages; eight times as far when that isn't enough.
const WINDOW_BYTES: u64 = 256 << 10;

/// The files of one log, the oldest first, as long as they were when they were opened.
pub struct Past {
    files: Vec<(File, u64)>,
}

impl Past {
    /// Opens them: those that were written to at or after `since` (ns since the epoch). With `whole_lines` what follows the last line's
    /// end is left to whoever reads on. `NotFound` where there is none.
    pub fn open(path: &Path, since: i64, whole_lines: bool) -> io::Result<Self> {
        let newest = File::open(path)?;
        let length = newest.metadata()?.len();
        let length = if whole_lines { end_of_last_line(&newest, length)? } else { length };
        let mut files = VecDeque::from([(newest, length)]);
        for n in 1.. {
            let Ok(file) = File::open(numbered(path, n)) else { break };
            let meta = file.metadata()?;
            let is_known = |(known, _): &(File, u64)| {
                known.metadata().is_ok_and(|known| (known.dev(), known.ino()) == (meta.dev(), meta.ino()))
            };
            let modified = meta.mtime().saturating_add(1).saturating_mul(1_000_000_000);
            if modified < since {
                break;
            }
            // One that was put aside just now is there under both names.
            if !files.iter().any(is_known) {
                files.push_front((file, meta.len()));
            }
        }
        Ok(Self { files: files.into() })
    }

    /// The newest file, and where reading it ended: what is appended comes after that.
    pub fn newest(mut self) -> Option<(File, u64)> {
        self.files.pop()
    }

    /// The last messages that are wanted, at most `count`.
    pub fn last(&self, count: usize, since: i64, wanted: &dyn Fn(&Entry) -> bool) -> io::Result<VecDeque<Entry>> {
        let total: u64 = self.files.iter().map(|(_, length)| length).sum();
        let mut window = WINDOW_BYTES;
        loop {
            let begin = total.saturating_sub(window);
            let mut found = VecDeque::new();
            let mut reaches_back = begin == 0;
            for entry in self.from(begin)? {
                let entry = entry?;
                reaches_back |= entry.head.time < since;
                if entry.head.time >= since && wanted(&entry) {
                    if found.len() == count {
                        found.pop_front();
                    }
                    if count > 0 {
                        found.push_back(entry);
                    }
                }
            }
            if reaches_back || found.len() >= count {
                return Ok(found);
            }
            window = window.saturating_mul(8);
        }
    }

    /// All messages from so many bytes on, from the first that is whole.
    pub fn from(&self, begin: u64) -> io::Result<impl Iterator<Item = io::Result<Entry>> + use<>> {
        let mut skip = begin;
        let mut readers: VecDeque<BufReader<Take<File>>> = VecDeque::new();
        for (file, length) in &self.files {
            let offset = skip.min(*length);
            skip -= offset;
            if offset < *length {
                let mut file = file.try_clone()?;
                file.seek(SeekFrom::Start(offset))?;
                readers.push_back(BufReader::new(file.take(length - offset)));
            }
        }
        Ok(Entries { readers, grouper: Grouper::default(), is_cut: begin > 0, line: Vec::new() })
    }
}

struct Entries {
    readers: VecDeque<BufReader<Take<File>>>,
    grouper: Grouper,
    /// Until the first head: reading began in the middle of a message.
    is_cut: bool,
    line: Vec<u8>,
}

impl Iterator for Entries {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(reader) = self.readers.front_mut() {
            self.line.clear();
            match reader.read_until(b'\n', &mut self.line) {
                Ok(0) => drop(self.readers.pop_front()),
                Ok(_) => {
                    if self.is_cut && super::entry::Head::of(&self.line).is_none() {
                        continue;
                    }
                    self.is_cut = false;
                    if let Some(entry) = self.grouper.push(&self.line) {
                        return Some(Ok(entry));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
        self.grouper.take().map(Ok)
    }
}

/// Where the last whole line of a file ends.
fn end_of_last_line(mut file: &File, length: u64) -> io::Result<u64> {
    let mut end = length;
    let mut chunk = Vec::new();
    while end > 0 {
        let begin = end.saturating_sub(64 << 10);
        file.seek(SeekFrom::Start(begin))?;
        chunk.clear();
        file.take(end - begin).read_to_end(&mut chunk)?;
        if let Some(at) = chunk.iter().rposition(|byte| *byte == b'\n') {
            return Ok(begin + at as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::super::entry::Level;
    use super::*;

    fn line(second: u32, level: &str) -> String {
        format!("2025-11-27T19:{:02}:{:02}Z {level} a: {}\n", second / 60, second % 60, "x".repeat(400))
    }

    #[test]
    fn the_last_messages_are_found_over_all_files_however_far_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let file = |seconds: std::ops::Range<u32>| {
            seconds.map(|s| line(s, if s % 500 == 0 { "WARN" } else { "INFO" })).collect::<String>()
        };
        std::fs::write(numbered(&path, 2), file(0..1000)).unwrap();
        std::fs::write(numbered(&path, 1), file(1000..2000)).unwrap();
        std::fs::write(&path, file(2000..2001) + &line(2001, "INFO") + "not a whole li").unwrap();
        let past = Past::open(&path, i64::MIN, true).unwrap();
        let all = |_: &Entry| true;
        let seconds = |entries: VecDeque<Entry>| {
            let first = 1_764_270_000;
            entries.iter().map(|entry| entry.head.time / 1_000_000_000 - first).collect::<Vec<_>>()
        };
        assert_eq!(seconds(past.last(3, i64::MIN, &all).unwrap()), [1999, 2000, 2001]);
        let warnings = |entry: &Entry| entry.head.level >= Level::Warn;
        assert_eq!(seconds(past.last(4, i64::MIN, &warnings).unwrap()), [500, 1000, 1500, 2000]);
        assert_eq!(seconds(past.last(99, i64::MIN, &warnings).unwrap()).len(), 5);
        let since = (1_764_270_000 + 1600) * 1_000_000_000;
        assert_eq!(seconds(past.last(99, since, &warnings).unwrap()), [2000]);
        assert_eq!(past.last(0, i64::MIN, &all).unwrap().len(), 0);
        assert_eq!(past.from(0).unwrap().count(), 2002);
        let (mut newest, end) = past.newest().unwrap();
        let mut rest = String::new();
        newest.seek(SeekFrom::Start(end)).unwrap();
        newest.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "not a whole li");
    }
}
