//! Where a remote root listens: `HOST:PORT`.

use std::fmt;
use std::str::FromStr;

/// A host by name or number, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteAddress {
    host: String,
    port: u16,
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No port behind the host.
    #[error("the port is missing: write HOST:PORT, as in 192.0.2.7:5555 or [2001:db8::7]:5555")]
    NoPort,
    /// A port that is none.
    #[error("\"{port}\" is no port (1 to 65535)")]
    Port {
        /// What stands there.
        port: String,
    },
    /// A host that is none.
    #[error("\"{host}\" is no host: a name, an IPv4 address, or an IPv6 address in brackets")]
    Host {
        /// What stands there.
        host: String,
    },
}

impl RemoteAddress {
    /// The host, without the brackets of an IPv6 address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for RemoteAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once("]:").ok_or(AddressError::NoPort)?,
            None => text.rsplit_once(':').ok_or(AddressError::NoPort)?,
        };
        let bad_host = || AddressError::Host { host: host.to_owned() };
        if text.starts_with('[') {
            host.parse::<std::net::Ipv6Addr>().map_err(|_| bad_host())?;
        } else if host.is_empty() || !host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')) {
            return Err(bad_host());
        }
        match port.parse() {
            Ok(port) if port > 0 => Ok(Self { host: host.to_owned(), port }),
            _ => Err(AddressError::Port { port: port.to_owned() }),
        }
    }
}

impl fmt::Display for RemoteAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_told_apart() {
        for (text, host, port) in
            [("a.example:1", "a.example", 1), ("192.0.2.7:5555", "192.0.2.7", 5_555), ("[::1]:65535", "::1", 65_535)]
        {
            let address: RemoteAddress = text.parse().unwrap();
            assert_eq!((address.host(), address.port()), (host, port));
            assert_eq!(address.to_string(), text);
        }
        for bad in ["", "a", "a:", ":1", "a:0", "a:65536", "a:x", "[::1]", "[x]:1", "::1:5", "a b:1", "http://a:1", "u@a:1"]
        {
            assert!(bad.parse::<RemoteAddress>().is_err(), "{bad}");
        }
    }
}
