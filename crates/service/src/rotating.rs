//! A log file that is put aside when it grows too large: bounded on disk, and in the trouble it makes.
//!
//! While the file can't be written, lines are dropped and counted; the count is written down when it can be again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Size at which a log file is put aside.
const FILE_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// Log files of one service, the present one included.
const FILES_MAX: u32 = 5;

/// A log file that is put aside as `<name>.1` … when it grows too large.
#[derive(Debug)]
pub struct RotatingFile {
    path: PathBuf,
    file: Option<File>,
    written: u64,
    bytes_max: u64,
    files_max: u32,
    dropped: u64,
}

impl RotatingFile {
    /// The file of that name; opened when there is something to write.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: None, written: 0, bytes_max: FILE_BYTES_MAX, files_max: FILES_MAX, dropped: 0 }
    }

    /// Appends whole lines; drops them when the file can't be written.
    pub fn append(&mut self, lines: &[u8]) {
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

#[cfg(test)]
mod tests {
    use super::*;

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
