//! Files that a configuration or an option names, read whole: neither without end nor in wait for somebody who writes.

use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// Why a file can't be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is missing, or not to be read by us.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Something else has its name.
    #[error("{} is {kind}; it must be a regular file", path.display())]
    Kind {
        /// The path.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// It has no end, or is another file than was meant.
    #[error("{} is longer than {bytes_max} bytes, which no such file is", path.display())]
    Long {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        bytes_max: u64,
    },
}

/// What may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// A regular file.
    File,
    /// A pipe as well, whose writer is waited for: `--token-file <(pass show x)`.
    FileOrPipe,
}

/// A file that is open.
pub(super) struct Opened<'a> {
    path: &'a Path,
    file: File,
    /// What it is, and whose.
    pub(super) meta: Metadata,
}

/// Opens one of this sort. Blocks; of [`Sort::File`] no longer than its disk does.
pub(super) fn open(path: &Path, sort: Sort) -> Result<Opened<'_>, FileError> {
    let failed = |source| FileError::Read { path: path.to_owned(), source };
    // Before it is opened, which is a deed to some devices.
    check(path, fs::metadata(path).map_err(failed)?.file_type(), sort)?;
    let mut options = OpenOptions::new();
    options.read(true);
    if sort == Sort::File {
        // Should it be a pipe by now.
        options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    }
    let file = options.open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    check(path, meta.file_type(), sort)?;
    Ok(Opened { path, file, meta })
}

impl Opened<'_> {
    /// All of it. Blocks.
    pub(super) fn read(self, bytes_max: u64) -> Result<Vec<u8>, FileError> {
        let mut bytes = Vec::new();
        let failed = |source| FileError::Read { path: self.path.to_owned(), source };
        self.file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > bytes_max {
            return Err(FileError::Long { path: self.path.to_owned(), bytes_max });
        }
        Ok(bytes)
    }
}

fn check(path: &Path, found: FileType, sort: Sort) -> Result<(), FileError> {
    let kind = match found {
        found if found.is_file() => return Ok(()),
        found if found.is_fifo() && sort == Sort::FileOrPipe => return Ok(()),
        found if found.is_fifo() => "a pipe",
        found if found.is_dir() => "a directory",
        found if found.is_socket() => "a socket",
        _ => "a device",
    };
    Err(FileError::Kind { path: path.to_owned(), kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What reading it led to, in words.
    fn read(path: &Path, sort: Sort) -> Result<Vec<u8>, String> {
        open(path, sort).and_then(|opened| opened.read(1_000)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_regular_file_that_is_not_too_long_is_read_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "x").unwrap();
        fs::write(at("long"), "x".repeat(1_001)).unwrap();
        // Without a byte on the disk.
        File::create(at("endless")).unwrap().set_len(1 << 40).unwrap();
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), mode).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", at("device")).unwrap();
        assert_eq!(read(&at("file"), Sort::File), Ok(b"x".to_vec()));
        let refused = |name: &str| read(&at(name), Sort::File).unwrap_err();
        for (name, why) in [("pipe", "a pipe"), ("socket", "a socket"), ("device", "a device"), ("", "a directory")] {
            assert_eq!(refused(name), format!("{} is {why}; it must be a regular file", at(name).display()));
        }
        for name in ["long", "endless"] {
            assert!(refused(name).ends_with("is longer than 1000 bytes, which no such file is"), "{}", refused(name));
        }
        assert!(refused("none").starts_with("cannot read "), "{}", refused("none"));
        // Who says so waits for a writer, and takes no device all the same.
        let pipe = at("pipe");
        let writing = std::thread::spawn(move || fs::write(pipe, "y").unwrap());
        assert_eq!(read(&at("pipe"), Sort::FileOrPipe), Ok(b"y".to_vec()));
        writing.join().unwrap();
        assert!(read(&at("device"), Sort::FileOrPipe).unwrap_err().contains("is a device"));
    }
}
