//! Tokens, and files that hold secrets. No text of an error has any of it.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::file::{self, FileError, Sort};
use super::greeting::TOKEN_BYTES_MAX;

/// Fewer characters can be guessed.
pub const TOKEN_CHARS_MIN: usize = 16;
/// No token and no key is longer than this.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// What a client proves itself with. `Debug` doesn't show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

/// Why a text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Nothing but space.
    #[error("the token is empty")]
    Empty,
    /// Longer than what is sent.
    #[error("the token has {bytes} bytes, more than {TOKEN_BYTES_MAX}")]
    Long {
        /// Its length.
        bytes: usize,
    },
    /// Something in it that nobody types.
    #[error("the token has spaces, line ends or control characters in it")]
    Unprintable,
}

impl Token {
    /// Takes a token; space around it doesn't count.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TokenError::Empty);
        }
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Long { bytes: text.len() });
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(TokenError::Unprintable);
        }
        Ok(Self(text.to_owned()))
    }

    /// Reads it from a file that nobody else may read. Blocks.
    pub fn from_file(path: &Path) -> Result<Self, SecretFileError> {
        Self::from_sort(path, Sort::File)
    }

    /// The same, or from a pipe, whose writer is waited for: `--token-file <(pass show x)`. Blocks.
    pub fn from_file_or_pipe(path: &Path) -> Result<Self, SecretFileError> {
        Self::from_sort(path, Sort::FileOrPipe)
    }

    fn from_sort(path: &Path, sort: Sort) -> Result<Self, SecretFileError> {
        let bytes = read_private(path, sort, 0o077)?;
        let text = String::from_utf8(bytes).map_err(|_| TokenError::Unprintable);
        let token = text.and_then(|text| Self::parse(&text));
        token.map_err(|source| SecretFileError::Token { path: path.to_owned(), source })
    }

    /// The text, for the one place that sends or compares it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether it is too short to be safe from guessing.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.0.chars().count() < TOKEN_CHARS_MIN
    }
}

/// Why a file with a secret can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// It can't be read, or is none.
    #[error(transparent)]
    File(#[from] FileError),
    /// Others can read or change it.
    #[error("{} is open to others (mode {mode:04o}); run: chmod 600 {}", path.display(), path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to somebody else, who can change it.
    #[error("{} belongs to user {owner}, who is neither this one ({uid}) nor root", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who we are.
        uid: u32,
    },
    /// What it holds is no token.
    #[error("{} holds no token", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: TokenError,
    },
}

/// Reads a file, unless it has one of these permission bits or belongs to another user.
pub(super) fn read_private(path: &Path, sort: Sort, forbidden: u32) -> Result<Vec<u8>, SecretFileError> {
    let opened = file::open(path, sort)?;
    let (meta, uid) = (&opened.meta, rustix::process::geteuid().as_raw());
    let mode = meta.mode() & 0o7777;
    if mode & forbidden != 0 {
        return Err(SecretFileError::Open { path: path.to_owned(), mode });
    }
    if meta.uid() != uid && meta.uid() != 0 {
        return Err(SecretFileError::Foreign { path: path.to_owned(), owner: meta.uid(), uid });
    }
    Ok(opened.read(FILE_BYTES_MAX)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_token_is_one_word_and_never_shown() {
        let token = Token::parse(" hunter2\n").unwrap();
        assert_eq!((token.reveal(), token.is_short()), ("hunter2", true));
        assert!(!format!("{token:?}").contains("hunter2"));
        assert!(!Token::parse(&"x".repeat(16)).unwrap().is_short());
        for (bad, why) in [
            ("", TokenError::Empty),
            (" \n", TokenError::Empty),
            ("a b", TokenError::Unprintable),
            ("a\nb", TokenError::Unprintable),
            (&*"x".repeat(257), TokenError::Long { bytes: 257 }),
        ] {
            assert_eq!(Token::parse(bad), Err(why));
        }
    }

    #[test]
    fn a_file_with_a_token_is_for_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "correct-horse-battery\n").unwrap();
        for (mode, is_private) in [(0o644, false), (0o640, false), (0o602, false), (0o600, true), (0o400, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let read = Token::from_file(&path);
            assert_eq!(read.is_ok(), is_private, "{mode:o}");
            assert!(is_private || matches!(&read, Err(SecretFileError::Open { mode: found, .. }) if *found == mode));
        }
        assert!(matches!(Token::from_file(dir.path()), Err(SecretFileError::File(FileError::Kind { .. }))));
        assert!(matches!(Token::from_file(&dir.path().join("none")), Err(SecretFileError::File(FileError::Read { .. }))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for bad in [&b"two words"[..], b"words\xff"] {
            fs::write(&path, bad).unwrap();
            let error = Token::from_file(&path).unwrap_err();
            assert!(matches!(error, SecretFileError::Token { .. }) && !error.to_string().contains("words"), "{error}");
        }
    }
}
