//! A client of the root's HTTP port that is as plain as can be: what it sends and gets is what stands on the wire.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::{PATIENCE, Tree};

/// An answer.
#[derive(Clone, Debug)]
pub struct Page {
    /// The status.
    pub code: u16,
    /// Status line and headers.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Page {
    /// The body as JSON.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The samples of metrics: name and labels as they stand, and the value.
    #[track_caller]
    #[must_use]
    pub fn samples(&self) -> BTreeMap<String, f64> {
        let lines = self.body.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
            (series.to_owned(), value.parse().unwrap_or_else(|error| panic!("{error}: {line}")))
        });
        pairs.collect()
    }
}

/// Where the tree's root serves HTTP; its configuration takes port 0, the log says which it became.
#[track_caller]
#[must_use]
pub fn http_address(tree: &Tree) -> SocketAddr {
    let said = tree.root_said();
    let line = said.lines().rev().find(|line| line.contains("served over HTTP"));
    let address = line.and_then(|line| line.split("address=").nth(1)?.split_whitespace().next());
    address.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("no HTTP address in:\n{said}"))
}

/// Sends this and reads until the other side closes.
#[track_caller]
#[must_use]
pub fn exchange(address: SocketAddr, request: &[u8]) -> Page {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    // Refused halfway, the rest can't be sent; the answer is there all the same.
    let _ = socket.write_all(request);
    let mut got = Vec::new();
    let mut piece = [0; 65_536];
    while let Ok(read @ 1..) = socket.read(&mut piece) {
        got.extend_from_slice(&piece[..read]);
    }
    let got = String::from_utf8(got).unwrap();
    let (head, body) = got.split_once("\r\n\r\n").unwrap_or((&got, ""));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Page { code, head: head.to_owned(), body: body.to_owned() }
}

/// GET of a path, with more headers, each ended by CRLF.
#[track_caller]
#[must_use]
pub fn get_with(address: SocketAddr, path: &str, headers: &str) -> Page {
    exchange(address, format!("GET {path} HTTP/1.1\r\nHost: dccd\r\nConnection: close\r\n{headers}\r\n").as_bytes())
}

/// GET of a path.
#[track_caller]
#[must_use]
pub fn get(address: SocketAddr, path: &str) -> Page {
    get_with(address, path, "")
}
