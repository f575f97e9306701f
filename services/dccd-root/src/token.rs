//! The secret by which a process proves, to the root that started it and to the next ones, that it is what it says.

use std::fmt::{self, Write};

use ring::digest::{SHA256, digest};

/// What is kept of a token: enough to know it again, too little to use it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct TokenHash(String);

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

impl TokenHash {
    pub(crate) fn of(token: &str) -> Self {
        Self(fingerprint(token))
    }

    /// One that was written down, as hexadecimal digits.
    pub(crate) fn from_hex(hex: String) -> Self {
        Self(hex)
    }

    pub(crate) fn as_hex(&self) -> &str {
        &self.0
    }

    /// Whether this is the hash of that token. The time it takes tells nothing of either.
    pub(crate) fn is_of(&self, token: &str) -> bool {
        self.is_of_bytes(token.as_bytes())
    }

    /// The same for what may be no text at all.
    pub(crate) fn is_of_bytes(&self, token: &[u8]) -> bool {
        same(self.0.as_bytes(), hex(digest(&SHA256, token).as_ref()).as_bytes())
    }
}

/// SHA-256 of a text, in hexadecimal digits: two texts that differ have two fingerprints.
#[must_use]
pub fn fingerprint(text: &str) -> String {
    hex(digest(&SHA256, text.as_bytes()).as_ref())
}

/// 32 random bytes as hexadecimal digits.
pub(crate) fn new_token() -> Result<String, getrandom::Error> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes)?;
    Ok(hex(&bytes))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Compares in a time that depends on the lengths only.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_knows_its_token_and_no_other() {
        let (one, two) = (new_token().unwrap(), new_token().unwrap());
        assert_eq!((one.len(), two.len()), (64, 64));
        let hash = TokenHash::from_hex(TokenHash::of(&one).as_hex().to_owned());
        assert!(hash.is_of(&one) && !hash.is_of(&two) && !hash.is_of("") && !hash.is_of(hash.as_hex()));
        assert!(!TokenHash::from_hex(String::new()).is_of(""), "an empty record opens nothing");
        assert!(!format!("{hash:?}").contains(hash.as_hex()));
        // The standard's own example.
        assert_eq!(fingerprint("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
