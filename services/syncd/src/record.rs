//! What one remote has: of each file the version that was copied last. A text file that is only appended to, so that a process may die
//! at any moment: a line that is cut short says nothing, and what isn't in it is copied again.
//!
//! ```text
//! dccd-sync 1
//! ? path                        is being copied: the remote may have any version of it, or half of one
//! - path                        nothing is known
//! + size mtime_ns inode path    was copied
//! ```

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use crate::tree::{Identity, StoreFile};

const HEAD: &str = "dccd-sync 1\n";
/// Lines beyond one for each file, after which the record is written anew when it is opened.
const SURPLUS_MAX: usize = 10_000;

/// What is known of a file at the remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copied {
    /// It has this version.
    Settled(Identity),
    /// Copying was begun and is not known to have ended well.
    Unsure,
}

/// How a file is to be copied, if at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// The remote has it.
    None,
    /// Nothing is known, or it is another file that looks the same: only where the remote has none that looks the same.
    Compare,
    /// The remote has another version, or half of one: whatever that looks like.
    Force,
}

/// What was known of files.
pub(crate) type Known = Vec<(String, Option<Copied>)>;

/// The record of one remote.
#[derive(Debug)]
pub(crate) struct Record {
    path: PathBuf,
    copied: HashMap<String, Copied>,
    /// `None` where it is only read.
    file: Option<File>,
}

impl Record {
    /// Reads it without changing anything; empty where there is none.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let text = read_text(path)?;
        Ok(Self { path: path.to_owned(), copied: parse(&text).0, file: None })
    }

    /// Reads it to go on with it. The directory must be there.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let text = read_text(path)?;
        let (copied, lines, whole) = parse(&text);
        let mut record = Self { path: path.to_owned(), copied, file: None };
        if whole == 0 || lines > record.copied.len() + SURPLUS_MAX {
            record.rewrite()?;
        } else {
            let mut file = OpenOptions::new().write(true).open(path)?;
            // What a process that was killed left of its last line.
            file.set_len(whole as u64)?;
            file.seek(io::SeekFrom::End(0))?;
            record.file = Some(file);
        }
        Ok(record)
    }

    /// Whether nothing was ever copied, nor begun.
    pub(crate) fn is_empty(&self) -> bool {
        self.copied.is_empty()
    }

    /// What is to be done with a file.
    pub(crate) fn need(&self, file: &StoreFile) -> Need {
        match self.copied.get(&file.path) {
            None => Need::Compare,
            Some(Copied::Unsure) => Need::Force,
            Some(Copied::Settled(had)) if *had == file.identity => Need::None,
            Some(Copied::Settled(had)) if had.is_like(&file.identity) => Need::Compare,
            Some(Copied::Settled(_)) => Need::Force,
        }
    }

    /// Notes that these are about to be copied; durable when it returns. Gives what was known of them.
    pub(crate) fn begin<'a>(&mut self, files: impl IntoIterator<Item = &'a StoreFile>) -> io::Result<Known> {
        let (mut lines, mut known) = (String::new(), Vec::new());
        for file in files {
            lines.push_str(&format!("? {}\n", file.path));
            known.push((file.path.clone(), self.copied.insert(file.path.clone(), Copied::Unsure)));
        }
        self.append(&lines)?;
        self.sync()?;
        Ok(known)
    }

    /// Takes back that copying was begun: the remote was not touched.
    pub(crate) fn take_back(&mut self, known: Known) -> io::Result<()> {
        let mut lines = String::new();
        for (path, copied) in known {
            match copied {
                Some(Copied::Settled(identity)) => lines.push_str(&line(&path, &identity)),
                Some(Copied::Unsure) => continue,
                None => lines.push_str(&format!("- {path}\n")),
            }
            match copied {
                Some(copied) => drop(self.copied.insert(path, copied)),
                None => drop(self.copied.remove(&path)),
            }
        }
        self.append(&lines)
    }

    /// Notes that a version was copied; durable after [`Record::sync`].
    pub(crate) fn done(&mut self, path: &str, identity: Identity) -> io::Result<()> {
        self.append(&line(path, &identity))?;
        self.copied.insert(path.to_owned(), Copied::Settled(identity));
        Ok(())
    }

    /// Makes what was noted durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), File::sync_data)
    }

    fn append(&mut self, lines: &str) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(lines.as_bytes()),
            None => Err(io::Error::other("the record was opened to be read")),
        }
    }

    /// A line for each file, in place of all lines before.
    fn rewrite(&mut self) -> io::Result<()> {
        let temporary = self.path.with_extension("tmp");
        let mut out = BufWriter::new(File::create(&temporary)?);
        out.write_all(HEAD.as_bytes())?;
        for (path, copied) in &self.copied {
            match copied {
                Copied::Settled(identity) => out.write_all(line(path, identity).as_bytes())?,
                Copied::Unsure => writeln!(out, "? {path}")?,
            }
        }
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &self.path)?;
        self.file = Some(file);
        Ok(())
    }
}

fn line(path: &str, identity: &Identity) -> String {
    format!("+ {} {} {} {path}\n", identity.size, identity.mtime_ns, identity.inode)
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => file.read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    // A page that a power cut left unwritten is no text; what stands before it is.
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => {
            let upto = error.utf8_error().valid_up_to();
            let mut bytes = error.into_bytes();
            bytes.truncate(upto);
            Ok(String::from_utf8(bytes).unwrap_or_default())
        }
    }
}

/// What a text says, how many lines it has, and how many of its bytes are whole lines of ours.
fn parse(text: &str) -> (HashMap<String, Copied>, usize, usize) {
    let mut copied = HashMap::new();
    let Some(rest) = text.strip_prefix(HEAD) else { return (copied, 0, 0) };
    let (mut lines, mut whole) = (0, HEAD.len());
    for line in rest.split_inclusive('\n') {
        let Some(said) = line.strip_suffix('\n').and_then(parse_line) else { break };
        match said {
            (path, Some(known)) => drop(copied.insert(path, known)),
            (path, None) => drop(copied.remove(&path)),
        }
        lines += 1;
        whole += line.len();
    }
    (copied, lines, whole)
}

fn parse_line(line: &str) -> Option<(String, Option<Copied>)> {
    if let Some(path) = line.strip_prefix("? ") {
        return Some((path.to_owned(), Some(Copied::Unsure)));
    }
    if let Some(path) = line.strip_prefix("- ") {
        return Some((path.to_owned(), None));
    }
    let mut fields = line.strip_prefix("+ ")?.splitn(4, ' ');
    let size = fields.next()?.parse().ok()?;
    let mtime_ns = fields.next()?.parse().ok()?;
    let inode = fields.next()?.parse().ok()?;
    Some((fields.next()?.to_owned(), Some(Copied::Settled(Identity { size, mtime_ns, inode }))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, size: u64, inode: u64) -> StoreFile {
        StoreFile { path: path.to_owned(), identity: Identity { size, mtime_ns: -5, inode } }
    }

    #[test]
    fn what_was_copied_is_known_after_a_cut_at_any_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record");
        let (a, b) = (file("x/a b.parquet", 7, 1), file("x/ü.parquet", 8, 2));
        let mut record = Record::open(&path).unwrap();
        assert_eq!(record.need(&a), Need::Compare);
        record.begin([&a, &b]).unwrap();
        assert_eq!(record.need(&a), Need::Force);
        record.done(&a.path, a.identity).unwrap();
        record.done(&b.path, b.identity).unwrap();
        record.sync().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for cut in 0..=bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let mut record = Record::open(&path).unwrap();
            for (file, done_at) in [(&a, "1 x/a b.parquet\n"), (&b, "2 x/ü.parquet\n")] {
                let text = String::from_utf8_lossy(&bytes[..cut]).into_owned();
                let is_done = text.contains(done_at);
                assert_eq!(record.need(file) == Need::None, is_done, "cut at {cut}: {text}");
            }
            // And it can be gone on with.
            record.done("new", a.identity).unwrap();
            drop(record);
            let again = Record::read(&path).unwrap();
            assert_eq!(again.need(&StoreFile { path: "new".to_owned(), ..a.clone() }), Need::None, "cut at {cut}");
        }
    }

    #[test]
    fn another_version_is_forced_and_another_file_that_looks_the_same_is_compared() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = Record::open(&dir.path().join("record")).unwrap();
        record.done("a", file("a", 7, 1).identity).unwrap();
        assert_eq!(record.need(&file("a", 7, 1)), Need::None);
        assert_eq!(record.need(&file("a", 8, 1)), Need::Force);
        assert_eq!(record.need(&file("a", 7, 2)), Need::Compare);
    }

    #[test]
    fn what_was_begun_and_not_touched_is_as_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record");
        let mut record = Record::open(&path).unwrap();
        record.done("a", file("a", 7, 1).identity).unwrap();
        record.begin([&file("c", 1, 3)]).unwrap();
        let known = record.begin([&file("a", 8, 1), &file("b", 1, 2), &file("c", 1, 3)]).unwrap();
        record.take_back(known).unwrap();
        for record in [record, Record::read(&path).unwrap()] {
            let needs = [file("a", 7, 1), file("a", 8, 1), file("b", 1, 2), file("c", 1, 3)].map(|file| record.need(&file));
            assert_eq!(needs, [Need::None, Need::Force, Need::Compare, Need::Force]);
        }
    }

    #[test]
    fn a_long_record_is_written_anew_and_says_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record");
        let mut record = Record::open(&path).unwrap();
        let mut lines = String::new();
        for inode in 0..=SURPLUS_MAX as u64 + 2 {
            lines.push_str(&line("a", &file("a", 7, inode).identity));
        }
        record.append(&lines).unwrap();
        record.begin([&file("b", 1, 1)]).unwrap();
        drop(record);
        let record = Record::open(&path).unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() < 100);
        assert_eq!(record.need(&file("a", 7, SURPLUS_MAX as u64 + 2)), Need::None);
        assert_eq!(record.need(&file("b", 1, 1)), Need::Force);
    }

    #[test]
    fn a_file_that_is_no_record_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record");
        std::fs::write(&path, [0xff, 0x00, 0x41]).unwrap();
        let mut record = Record::open(&path).unwrap();
        record.done("a", file("a", 7, 1).identity).unwrap();
        assert_eq!(Record::read(&path).unwrap().need(&file("a", 7, 1)), Need::None);
    }
}
