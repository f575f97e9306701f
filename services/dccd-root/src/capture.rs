//! Captures what a service writes to stdout and stderr into its log file, bounded in memory and on disk.
//!
//! One thread per process, blocked in `read`: a slow or full disk delays this log and nothing else. While the file can't
//! be written, lines are dropped and counted; the count is written down when it can be again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, PipeReader, Read, Write};
use std::path::{Path, PathBuf};

use tokio::sync::oneshot;

/// Size at which a log file is put aside.
const FILE_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// Log files of one service, the present one included.
const FILES_MAX: u32 = 5;
/// Longest line kept whole; a longer one is cut into pieces of this size.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// A log file that is put aside as `<name>.1` … when it grows too large.
#[derive(Debug)]
pub(crate) struct RotatingFile {
    path: PathBuf,
    file: Option<File>,
    written: u64,
    bytes_max: u64,
    files_max: u32,
    dropped: u64,
}

impl RotatingFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, file: None, written: 0, bytes_max: FILE_BYTES_MAX, files_max: FILES_MAX, dropped: 0 }
    }

    /// Appends whole lines; drops them when the file can't be written.
    fn append(&mut self, lines: &[u8]) {
        if self.try_append(lines).is_err() {
            // Opened anew next time: the directory may have been moved, the disk may have room again.
            self.file = None;
            self.dropped += lines.iter().filter(|&&b| b == b'\n').count() as u64;
        }
    }

    fn try_append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.file.is_some() && self.written + lines.len() as u64 > self.bytes_max {
            self.file = None;
            self.rotate()?;
        }
        if self.file.is_none() {
            let file = OpenOptions::new().append(true).create(true).open(&self.path)?;
            self.written = file.metadata()?.len();
            self.file = Some(file);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        if self.dropped > 0 {
            writeln!(file, "({} lines could not be written here)", self.dropped)?;
            self.dropped = 0;
        }
        file.write_all(lines)?;
        self.written += lines.len() as u64;
        Ok(())
    }

    fn rotate(&self) -> io::Result<()> {
        for n in (1..self.files_max).rev() {
            let from = if n == 1 { self.path.clone() } else { numbered(&self.path, n - 1) };
            match fs::rename(&from, numbered(&self.path, n)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

fn numbered(path: &Path, n: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    name.into()
}

/// Puts a log file aside if it is as large as one may be. For a process that appends to its own log: at its start.
///
/// # Errors
/// When it can't be renamed.
pub fn rotate_log(path: &Path) -> io::Result<()> {
    let file = RotatingFile::new(path.to_owned());
    if fs::metadata(path).is_ok_and(|meta| meta.len() > file.bytes_max) { file.rotate() } else { Ok(()) }
}

/// Copies a pipe into a log file until its last writer is gone; the receiver resolves then.
pub(crate) fn capture(pipe: PipeReader, file: RotatingFile) -> io::Result<oneshot::Receiver<()>> {
    let (done, finished) = oneshot::channel();
    std::thread::Builder::new().name("log".into()).stack_size(128 * 1024).spawn(move || {
        copy_lines(pipe, file);
        // Nobody may be waiting any more.
        let _ = done.send(());
    })?;
    Ok(finished)
}

fn copy_lines(mut pipe: impl Read, mut file: RotatingFile) {
    let mut buffer = vec![0u8; LINE_BYTES_MAX];
    let mut filled = 0;
    loop {
        let n = match pipe.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // Nothing but the end can be told from it.
            Err(_) => break,
        };
        filled += n;
        if let Some(end) = buffer[..filled].iter().rposition(|&b| b == b'\n') {
            file.append(&buffer[..=end]);
            buffer.copy_within(end + 1..filled, 0);
            filled -= end + 1;
        } else if filled == buffer.len() {
            buffer.push(b'\n');
            file.append(&buffer);
            buffer.pop();
            filled = 0;
        }
    }
    if filled > 0 {
        buffer.truncate(filled);
        buffer.push(b'\n');
        file.append(&buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_arrive_whole_and_long_ones_in_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let mut text = b"one\ntwo\n".to_vec();
        text.extend(vec![b'x'; LINE_BYTES_MAX + 5]);
        text.extend(b"\nlast without an end");
        copy_lines(text.as_slice(), RotatingFile::new(path.clone()));
        let written = fs::read_to_string(&path).unwrap();
        let lines: Vec<usize> = written.lines().map(str::len).collect();
        assert_eq!(lines, [3, 3, LINE_BYTES_MAX, 5, 19]);
    }

    #[test]
    fn full_files_are_put_aside_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let mut file = RotatingFile { bytes_max: 20, files_max: 3, ..RotatingFile::new(path.clone()) };
        for n in 0..10 {
            file.append(format!("line {n:03}\n").as_bytes());
        }
        let read = |p: &Path| fs::read_to_string(p).unwrap();
        assert_eq!(read(&path), "line 008\nline 009\n");
        assert_eq!(read(&numbered(&path, 1)), "line 006\nline 007\n");
        assert_eq!(read(&numbered(&path, 2)), "line 004\nline 005\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing").join("x.log");
        let mut file = RotatingFile::new(path.clone());
        file.append(b"a\nb\n");
        fs::create_dir(dir.path().join("missing")).unwrap();
        file.append(b"c\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "(2 lines could not be written here)\nc\n");
    }
}
