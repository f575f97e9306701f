//! Tokens, and files that hold secrets. No text of an error has any of it.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

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
        check_private(path, 0o077)?;
        let text = fs::read_to_string(path).map_err(|source| SecretFileError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|source| SecretFileError::Token { path: path.to_owned(), source })
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
    /// It can't be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It is a directory, a device, or too large.
    #[error("{} is no file that holds a secret", path.display())]
    Kind {
        /// The path.
        path: PathBuf,
    },
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

/// Refuses a file with one of these permission bits, or of another user. A pipe is as good as a file: `--token-file <(pass show x)`.
pub(super) fn check_private(path: &Path, forbidden: u32) -> Result<(), SecretFileError> {
    let meta = fs::metadata(path).map_err(|source| SecretFileError::Read { path: path.to_owned(), source })?;
    if !(meta.is_file() || meta.file_type().is_fifo()) || meta.len() > FILE_BYTES_MAX {
        return Err(SecretFileError::Kind { path: path.to_owned() });
    }
    let (mode, uid) = (meta.mode() & 0o7777, rustix::process::geteuid().as_raw());
    if mode & forbidden != 0 {
        return Err(SecretFileError::Open { path: path.to_owned(), mode });
    }
    if meta.uid() != uid && meta.uid() != 0 {
        return Err(SecretFileError::Foreign { path: path.to_owned(), owner: meta.uid(), uid });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
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
        assert!(matches!(Token::from_file(dir.path()), Err(SecretFileError::Kind { .. })));
        assert!(matches!(Token::from_file(&dir.path().join("none")), Err(SecretFileError::Read { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "two words").unwrap();
        let error = Token::from_file(&path).unwrap_err();
        assert!(matches!(error, SecretFileError::Token { .. }) && !error.to_string().contains("words"), "{error}");
    }
}
