//! An edit of the file itself: checked in full before anything is written, and written whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::{EditError, Edited};
use crate::load::read_text;
use crate::{Config, ConfigErrors};

/// Why a file was not edited; it is as it was.
#[derive(Debug, thiserror::Error)]
pub enum EditFileError {
    /// It can't be read.
    #[error(transparent)]
    Read(ConfigErrors),
    /// The edit can't be made.
    #[error("cannot edit {}: {source}", path.display())]
    Edit {
        /// The file.
        path: PathBuf,
        /// Why.
        source: EditError,
    },
    /// The file would be invalid afterwards; the places are those of the text that was not written.
    #[error("nothing was written: the configuration would be invalid\n{0}")]
    Invalid(ConfigErrors),
    /// Somebody else changed it meanwhile.
    #[error("{} was changed by somebody else meanwhile; nothing was written, try again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// It can't be replaced.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Edits a file: reads it, edits the text, checks the result in full and replaces the file at once, keeping its mode and
/// owner. A symbolic link stays one; what it points to is replaced.
///
/// # Errors
/// When any of these steps fails; the file is as it was then.
pub fn edit_file(path: &Path, edit: impl Fn(&str) -> Result<Edited, EditError>) -> Result<Edited, EditFileError> {
    let by = "the file to edit";
    let unreadable =
        |source| EditFileError::Read(ConfigErrors::Read { path: path.to_owned(), by: "the file to edit", source });
    let target = std::fs::canonicalize(path).map_err(unreadable)?;
    let text = read_text(&target, by).map_err(EditFileError::Read)?;
    let edited = edit(&text).map_err(|source| EditFileError::Edit { path: path.to_owned(), source })?;
    Config::parse(&edited.text, path, &|name| std::env::var(name).ok()).map_err(EditFileError::Invalid)?;
    let failed = |source| EditFileError::Write { path: path.to_owned(), source };
    let temporary = write_beside(&target, edited.text.as_bytes()).map_err(failed)?;
    let unchanged = read_text(&target, by).is_ok_and(|now| now == text);
    let replaced = if unchanged {
        std::fs::rename(&temporary, &target).map_err(failed)
    } else {
        Err(EditFileError::Changed { path: path.to_owned() })
    };
    if let Err(error) = replaced {
        // What is left over does no harm beyond its bytes.
        let _ = std::fs::remove_file(&temporary);
        return Err(error);
    }
    if let Some(folder) = target.parent() {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    }
    Ok(edited)
}

/// Writes the bytes to a file beside the target, with the target's mode and owner.
fn write_beside(target: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let temporary = target.with_file_name(format!(".{name}.{}.new", std::process::id()));
    let meta = std::fs::metadata(target)?;
    // It may hold secrets: nobody else may read it before it has the mode of the target.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let mut fill = || {
        file.write_all(bytes)?;
        let made = file.metadata()?;
        if (made.uid(), made.gid()) != (meta.uid(), meta.gid()) {
            std::os::unix::fs::fchown(&file, Some(meta.uid()), Some(meta.gid()))?;
        }
        file.set_permissions(meta.permissions())?;
        file.sync_all()
    };
    match fill() {
        Ok(()) => Ok(temporary),
        Err(error) => {
            // What is left over does no harm beyond its bytes.
            let _ = std::fs::remove_file(&temporary);
            Err(error)
        }
    }
}
