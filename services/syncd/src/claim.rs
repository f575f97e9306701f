//! Whose a place is: before a store is copied to it for the first time it is made sure that nothing of another store would be replaced.
//!
//! A store has an id, made with its first copy. It lies beside the copy under the same name, so that a store made of the copy is the
//! same store. A place without one (of a former version, or of somebody's own making) is told by the files it has.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use dccd_service::Shutdown;

use crate::error::SyncError;
use crate::rclone::Rclone;
use crate::record::Record;
use crate::run::{Run, blocking};
use crate::s3::S3;
use crate::target::Destination;
use crate::tree::StoreFile;

/// Where the id lies, below the data path as at the remotes.
const ID_PATH: &str = ".dccd/store-id";
/// What stands before it.
const ID_HEAD: &str = "dccd-store 1 ";
/// In a remote's directory: what is known of whose it is.
const CLAIM: &str = "claim";
/// [`CLAIM`]: it was made sure of.
const SETTLED: &str = "settled";
/// [`CLAIM`]: whatever is there, the user wants it so.
const ALLOWED: &str = "allowed";

/// By what one store is told from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreId(String);

impl fmt::Display for StoreId {
    /// Enough of it to tell two apart.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get(..8).unwrap_or(&self.0))
    }
}

impl StoreId {
    fn new() -> Self {
        Self(format!("{:032x}", fastrand::u128(..)))
    }

    /// `None` for what is none.
    fn parse(text: &[u8]) -> Option<Self> {
        let id = std::str::from_utf8(text).ok()?.strip_prefix(ID_HEAD)?.trim_end();
        (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then(|| Self(id.to_owned()))
    }

    fn text(&self) -> String {
        format!("{ID_HEAD}{}\n", self.0)
    }

    /// That of a store; `None` where it has none yet, or what lies there is none. Blocks.
    fn of(data_path: &Path) -> Result<Option<Self>, SyncError> {
        let path = data_path.join(ID_PATH);
        match fs::read(&path) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(SyncError::File { doing: "read", path, source }),
        }
    }

    /// Gives it to a store that has none; what the store has then, should another process have been faster. Blocks.
    fn keep(self, data_path: &Path) -> Result<Self, SyncError> {
        let path = data_path.join(ID_PATH);
        let temporary = path.with_extension(format!("{}.tmp", self.0));
        let kept = (|| -> io::Result<()> {
            let mut file = File::create_new(&temporary)?;
            file.write_all(self.text().as_bytes())?;
            file.sync_all()?;
            match fs::hard_link(&temporary, &path) {
                Ok(()) => {}
                Err(_) if matches!(Self::of(data_path), Ok(Some(_))) => {}
                // What is there is none, or there are no second names here.
                Err(_) => fs::copy(&temporary, &path).map(drop)?,
            }
            Ok(())
        })();
        // One that stays is in nobody's way.
        let _ = fs::remove_file(&temporary);
        kept.map_err(|source| SyncError::File { doing: "write", path, source })?;
        Ok(Self::of(data_path)?.unwrap_or(self))
    }
}

/// How a store's files compare with those of the same names at a place.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Likeness {
    /// The same in size and time.
    same: u64,
    /// Another content.
    other: u64,
    /// The first of those.
    first_other: Option<String>,
}

impl Likeness {
    /// Notes one file.
    pub(crate) fn note(&mut self, path: &str, is_same: bool) {
        if is_same {
            self.same += 1;
            return;
        }
        self.other += 1;
        self.first_other.get_or_insert_with(|| path.to_owned());
    }

    /// Whether the place is another store's. Of an earlier copy most files are as they were, whatever else has changed.
    fn is_foreign(&self) -> bool {
        self.other > self.same
    }
}

/// A place that a store is copied to.
enum Place<'a> {
    Rclone(&'a Rclone, &'a str),
    S3(&'a S3),
}

impl Place<'_> {
    /// The id that lies there.
    async fn id(&self, stop: &Shutdown) -> Result<Option<StoreId>, SyncError> {
        let text = match self {
            Self::Rclone(rclone, to) => rclone.first_line(to, ID_PATH, stop).await?,
            Self::S3(s3) => s3.small(ID_PATH).await?,
        };
        Ok(text.and_then(|text| StoreId::parse(&text)))
    }

    async fn put_id(&self, id: &StoreId, stop: &Shutdown) -> Result<(), SyncError> {
        let text = id.text();
        match self {
            Self::Rclone(rclone, to) => rclone.put(to, ID_PATH, text.as_bytes(), stop).await,
            Self::S3(s3) => s3.put_small(ID_PATH, text.into_bytes()).await,
        }
    }

    async fn compare(&self, files: &HashMap<&str, &StoreFile>, stop: &Shutdown) -> Result<Likeness, SyncError> {
        match self {
            Self::Rclone(rclone, to) => rclone.compare(to, files, stop).await,
            Self::S3(s3) => s3.compare(files, stop).await,
        }
    }
}

impl Run<'_> {
    /// Makes sure, once for each remote, that it is this store's to copy to, and marks it as such.
    pub(crate) async fn claim<'f>(
        &self,
        s3: Option<&S3>,
        directory: &Path,
        files: impl Iterator<Item = &'f StoreFile>,
        record: &Record,
    ) -> Result<(), SyncError> {
        let path = directory.join(CLAIM);
        let said = read_claim(&path)?;
        if said == SETTLED {
            return Ok(());
        }
        let place = match (s3, &self.target.to) {
            (Some(s3), _) => Place::S3(s3),
            (None, Destination::Rclone(to)) => Place::Rclone(self.rclone, to),
            (None, Destination::S3(_)) => return Ok(()),
        };
        // Who has copied there before knows what is there, and so does who says that it is to be.
        let is_known = said == ALLOWED || !record.is_empty();
        let claimed = match is_known {
            true => self.mark(&place, None).await,
            false => self.look_and_mark(&place, files.map(|file| (file.path.as_str(), file)).collect()).await,
        };
        match claimed {
            Ok(()) => write_claim(&path, SETTLED),
            Err(SyncError::Stopped) => Err(SyncError::Stopped),
            Err(error) if is_known => {
                let error = dccd_service::chain(&error);
                tracing::warn!(
                    remote = self.target.label(),
                    error,
                    "the copy can't be marked as this store's; trying again next time"
                );
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Fails where the place is another store's.
    async fn look_and_mark(&self, place: &Place<'_>, files: HashMap<&str, &StoreFile>) -> Result<(), SyncError> {
        let (own, theirs) = (self.own_id().await?, place.id(self.stop).await?);
        let remote = || self.target.label().to_owned();
        let found_again = match (own, theirs) {
            (Some(own), Some(theirs)) if own == theirs => None,
            (Some(own), Some(theirs)) => {
                let (theirs, own) = (theirs.to_string(), Some(own.to_string()));
                return Err(SyncError::OfAnother { remote: remote(), theirs, own });
            }
            // A store that has lost its own directory, and with it its id, or another one.
            (None, Some(theirs)) => {
                let likeness = place.compare(&files, self.stop).await?;
                if likeness.same == 0 || likeness.is_foreign() {
                    return Err(SyncError::OfAnother { remote: remote(), theirs: theirs.to_string(), own: None });
                }
                Some(theirs)
            }
            (_, None) => {
                let likeness = place.compare(&files, self.stop).await?;
                if likeness.is_foreign() {
                    let Likeness { same, other, first_other } = likeness;
                    let first = first_other.unwrap_or_default();
                    return Err(SyncError::Differing { remote: remote(), other, of: same + other, first });
                }
                None
            }
        };
        self.mark(place, found_again).await
    }

    /// Puts the store's id where there is none; one that it has lost and found again there it takes up.
    async fn mark(&self, place: &Place<'_>, found_again: Option<StoreId>) -> Result<(), SyncError> {
        let id = match self.own_id().await? {
            Some(own) => own,
            None => {
                let data_path = self.data_path.to_owned();
                blocking(move || found_again.unwrap_or_else(StoreId::new).keep(&data_path)).await??
            }
        };
        if place.id(self.stop).await?.is_none() {
            place.put_id(&id, self.stop).await?;
        }
        Ok(())
    }

    async fn own_id(&self) -> Result<Option<StoreId>, SyncError> {
        let data_path = self.data_path.to_owned();
        blocking(move || StoreId::of(&data_path)).await?
    }
}

/// The directories at the top that files lie in: those of exchanges, and ours. A place may have much else.
pub(crate) fn tops(files: &HashMap<&str, &StoreFile>) -> BTreeSet<String> {
    files.keys().filter_map(|path| path.split_once('/')).map(|(top, _)| top.to_owned()).collect()
}

/// Lets the next run copy to the remote of this directory, whatever is there. Blocks.
pub(crate) fn allow(directory: &Path) -> Result<(), SyncError> {
    let path = directory.join(CLAIM);
    fs::create_dir_all(directory).map_err(|source| SyncError::File { doing: "create", path: path.clone(), source })?;
    write_claim(&path, ALLOWED)
}

fn read_claim(path: &Path) -> Result<String, SyncError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(SyncError::File { doing: "read", path: path.to_owned(), source }),
    }
}

/// One that is cut short says nothing, and it is made sure of again.
fn write_claim(path: &Path, word: &str) -> Result<(), SyncError> {
    fs::write(path, format!("{word}\n")).map_err(|source| SyncError::File { doing: "write", path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_kept_once_and_what_is_none_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(".dccd")).unwrap();
        assert_eq!(StoreId::of(dir.path()).unwrap(), None);
        let (first, second) = (StoreId::new(), StoreId::new());
        assert_ne!(first, second);
        assert_eq!(first.clone().keep(dir.path()).unwrap(), first);
        assert_eq!(second.clone().keep(dir.path()).unwrap(), first, "who comes second has what is there");
        for text in ["", "dccd-store 1 abc\n", "dccd-store 2 00000000000000000000000000000000\n"] {
            fs::write(dir.path().join(ID_PATH), text).unwrap();
            assert_eq!(StoreId::of(dir.path()).unwrap(), None, "{text}");
            assert_eq!(second.clone().keep(dir.path()).unwrap(), second);
        }
        assert_eq!(fs::read_dir(dir.path().join(".dccd")).unwrap().count(), 1, "something is left behind");
    }

    #[test]
    fn a_place_is_foreign_when_most_of_what_would_be_replaced_is_another() {
        let of = |same: u64, other: u64| {
            let mut likeness = Likeness::default();
            (0..same).for_each(|_| likeness.note("a", true));
            (0..other).for_each(|n| likeness.note(&format!("b{n}"), false));
            likeness
        };
        let foreign = [(0, 0), (9, 0), (1, 1), (9, 8), (0, 1), (2, 3)].map(|(same, other)| of(same, other).is_foreign());
        assert_eq!(foreign, [false, false, false, false, true, true]);
        assert_eq!(of(1, 2).first_other.as_deref(), Some("b0"));
    }
}
