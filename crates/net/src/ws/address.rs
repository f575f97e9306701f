//! Addresses that are good for one connection: some servers want to be asked for a ticket first.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// Tells where the next connection of a link leads. An address may hold a secret: whoever has it shows host and port of it at
/// most.
pub trait AddressSource: Send + Sync {
    /// The address for one attempt, `ws://` or `wss://`, asked for anew each time. Given up when
    /// [`LinkOptions::address_timeout`](super::LinkOptions::address_timeout) is over.
    fn address(&self) -> Pin<Box<dyn Future<Output = Result<String, AddressError>> + Send + '_>>;
}

/// Why there is no address to connect to.
#[derive(Debug, thiserror::Error)]
#[error("there is no address to connect to: {reason}")]
pub struct AddressError {
    /// Why, in words without secrets, with all that led to it.
    pub reason: String,
    /// How long to wait at least before it is asked for again.
    pub retry_after: Option<Duration>,
}

/// A part of a secret that is shorter tells nothing, and may be any word.
const TELLING: usize = 8;
/// What stands in the place of a secret.
const HIDDEN: &str = "(hidden)";

/// What of an address that was learnt nobody may be shown: the values in its query. A server that repeats them, or a part of them, in
/// its own words would bring them into logs.
#[derive(Clone, Default)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    /// Those of this address: as they stand in it, and as whoever reads the address sees them.
    pub(super) fn of(url: &str) -> Self {
        let query = url.split_once('?').map_or("", |(_, query)| query);
        let values = query.split('&').map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value));
        let mut secrets: Vec<String> = values.flat_map(|value| [value.to_owned(), decoded(value)]).collect();
        secrets.retain(|secret| secret.len() >= TELLING);
        secrets.dedup();
        Self(secrets)
    }

    /// The text without what is in any of them.
    pub(super) fn hide(&self, text: &str) -> String {
        if self.0.is_empty() {
            return text.to_owned();
        }
        let mut shown = String::with_capacity(text.len());
        let mut at = 0;
        while let Some(next) = text[at..].chars().next() {
            if let Some(length) = self.told_at(&text[at..]) {
                shown.push_str(HIDDEN);
                at += length;
            } else {
                shown.push(next);
                at += next.len_utf8();
            }
        }
        shown
    }

    /// How much of a secret the text begins with, if it is enough to tell something.
    fn told_at(&self, text: &str) -> Option<usize> {
        let part = |length: usize| text.get(..length);
        let is_told = |part: &str| self.0.iter().any(|secret| secret.contains(part));
        let longest = self.0.iter().map(String::len).max()?.min(text.len());
        part(TELLING).filter(|part| is_told(part))?;
        (TELLING..=longest)
            .take_while(|length| part(*length).is_none_or(is_told))
            .filter(|length| part(*length).is_some())
            .last()
    }
}

/// With `%2B` read as `+`; what is no such thing stays as it is.
fn decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hidden_however_much_of_it_is_repeated_and_nothing_else_is() {
        let secrets = Secrets::of("wss://host/endpoint?token=2neAiuYvAU61%2BZz%3D%3D.abcdef&connectId=7");
        let hidden = |text: &str| secrets.hide(text);
        assert_eq!(hidden("token 2neAiuYvAU61%2BZz%3D%3D.abcdef expired"), "token (hidden) expired");
        assert_eq!(hidden("token 2neAiuYvAU61+Zz==.abcdef expired"), "token (hidden) expired");
        // A goodbye has room for a part of it.
        assert_eq!(hidden("é: YvAU61+Zz==.a"), "é: (hidden)");
        assert_eq!(hidden("too many connections, connectId 7"), "too many connections, connectId 7");
        assert_eq!(Secrets::of("wss://host/").hide("2neAiuYvAU61"), "2neAiuYvAU61");
        assert_eq!(decoded("100%"), "100%");
    }
}
