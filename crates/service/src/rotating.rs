//! A log file that is put aside when it grows too large or too old: bounded on disk, and in the trouble it makes.
//!
//! Several processes may append to one file: whoever finds it full puts it aside, and the others notice. While the file can't
//! be written, lines are dropped and counted; the count is written down when it can be again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// When a log file is put aside, and how many of those are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Size at which it is, in bytes.
    pub bytes_max: u64,
    /// Age of the file at which it is, too. Where the file system doesn't know when a file was made, the time since this process
    /// opened it.
    pub age_max: Duration,
    /// Files kept besides the present one: `<name>.1` is the youngest of them.
    pub keep: u32,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { bytes_max: 10 << 20, age_max: Duration::from_secs(7 * 86_400), keep: 4 }
    }
}

/// A log file that is put aside as `<name>.1` … when it is full or old.
#[derive(Debug)]
pub struct RotatingFile {
    path: PathBuf,
    rotation: Rotation,
    open: Option<(File, SystemTime)>,
    dropped: u64,
}

impl RotatingFile {
    /// The file of that name; opened when there is something to write.
    #[must_use]
    pub fn new(path: PathBuf, rotation: Rotation) -> Self {
        Self { path, rotation, open: None, dropped: 0 }
    }

    /// Appends whole lines; drops them when the file can't be written.
    pub fn append(&mut self, lines: &[u8]) {
        if self.try_append(lines).is_err() {
            // Opened anew next time: the directory may have been moved, the disk may have room again.
            self.open = None;
            self.dropped += lines.iter().filter(|&&b| b == b'\n').count() as u64;
        }
    }

    /// A handle of the file that has this name now, to append to.
    ///
    /// # Errors
    /// When it can't be opened for that.
    pub fn handle(&mut self) -> io::Result<File> {
        self.current(0)?.try_clone()
    }

    fn try_append(&mut self, lines: &[u8]) -> io::Result<()> {
        let dropped = self.dropped;
        let file = self.current(lines.len() as u64)?;
        if dropped > 0 {
            writeln!(file, "({dropped} lines could not be written here)")?;
        }
        file.write_all(lines)?;
        self.dropped = 0;
        Ok(())
    }

    /// The file that has this name now, with room for so many bytes more.
    fn current(&mut self, more: u64) -> io::Result<&mut File> {
        // Twice: once the file that was open, or was there, is put aside, there is a new one.
        for _ in 0..2 {
            // Another process may have put it aside, or somebody removed it.
            let open = self.open.take().filter(|(file, _)| is_named(file, &self.path));
            let (file, opened) = match open {
                Some(open) => open,
                None => (OpenOptions::new().append(true).create(true).open(&self.path)?, SystemTime::now()),
            };
            let is_due = self.is_due(&file, opened, more);
            let (file, _) = self.open.insert((file, opened));
            if !is_due {
                break;
            }
            put_aside(file, &self.path, self.rotation.keep)?;
        }
        match &mut self.open {
            Some((file, _)) => Ok(file),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn is_due(&self, file: &File, opened: SystemTime, more: u64) -> bool {
        let Ok(meta) = file.metadata() else { return false };
        let age = SystemTime::now().duration_since(meta.created().unwrap_or(opened)).unwrap_or_default();
        meta.len() > 0 && (meta.len().saturating_add(more) > self.rotation.bytes_max || age >= self.rotation.age_max)
    }
}

/// Gives the file its next name, unless another process is about to, or has.
fn put_aside(file: &File, path: &Path, keep: u32) -> io::Result<()> {
    // Never waited for: who holds it may be stopped. The file grows a little beyond its size then.
    if file.try_lock().is_err() || !is_named(file, path) {
        return Ok(());
    }
    let keep = keep.max(1);
    // What was kept when more were to be.
    for n in keep + 1.. {
        if fs::remove_file(numbered(path, n)).is_err() {
            break;
        }
    }
    for n in (1..=keep).rev() {
        let from = if n == 1 { path.to_owned() } else { numbered(path, n - 1) };
        match fs::rename(&from, numbered(path, n)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Whether the path leads to this very file.
fn is_named(file: &File, path: &Path) -> bool {
    let id = |meta: fs::Metadata| (meta.dev(), meta.ino());
    matches!((file.metadata().map(id), fs::metadata(path).map(id)), (Ok(open), Ok(named)) if open == named)
}

/// The name of a file that was put aside; 1 is the youngest.
#[must_use]
pub fn numbered(path: &Path, n: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    fn small(bytes_max: u64, keep: u32) -> Rotation {
        Rotation { bytes_max, keep, ..Rotation::default() }
    }

    #[test]
    fn full_files_are_put_aside_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let mut file = RotatingFile::new(path.clone(), small(20, 2));
        for n in 0..10 {
            file.append(format!("line {n:03}\n").as_bytes());
        }
        assert_eq!(read(&path), "line 008\nline 009\n");
        assert_eq!(read(&numbered(&path, 1)), "line 006\nline 007\n");
        assert_eq!(read(&numbered(&path, 2)), "line 004\nline 005\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
        // Fewer are to be kept from now on; a full file is put aside by the next process, too.
        RotatingFile::new(path.clone(), small(20, 1)).append(b"line 010\n");
        assert_eq!((read(&path).as_str(), fs::read_dir(dir.path()).unwrap().count()), ("line 010\n", 2));
    }

    #[test]
    fn an_old_file_is_put_aside_however_small() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let rotation = Rotation { age_max: Duration::ZERO, ..Rotation::default() };
        let mut file = RotatingFile::new(path.clone(), rotation);
        file.append(b"a\n");
        file.append(b"b\n");
        assert_eq!((read(&path).as_str(), read(&numbered(&path, 1)).as_str()), ("b\n", "a\n"));
    }

    #[test]
    fn two_writers_share_a_file_through_its_rotations() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let mut writers = [(), ()].map(|()| RotatingFile::new(path.clone(), small(30, 50)));
        for n in 0..40 {
            writers[n % 2].append(format!("line {n:03}\n").as_bytes());
        }
        let files = (1..=20).rev().map(|n| numbered(&path, n)).chain([path.clone()]).filter(|path| path.exists());
        let text: String = files.map(|path| read(&path)).collect();
        let expected: String = (0..40).map(|n| format!("line {n:03}\n")).collect();
        assert_eq!(text, expected, "each line once, in order");
        assert!(read(&path).len() <= 30);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing").join("x.log");
        let mut file = RotatingFile::new(path.clone(), Rotation::default());
        file.append(b"a\nb\n");
        fs::create_dir(dir.path().join("missing")).unwrap();
        file.append(b"c\n");
        assert_eq!(read(&path), "(2 lines could not be written here)\nc\n");
    }
}
