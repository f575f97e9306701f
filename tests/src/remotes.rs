//! Where a store is copied to in tests: rclone, if it is here, and an S3-compatible server on this host.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use dccd_testkit::wait_for;

use crate::{PATIENCE, free_port, python};

/// Whether rclone is on the path; if not, the skipped test is named.
#[must_use]
pub fn has_rclone(test: &str) -> bool {
    match Command::new("rclone").arg("version").output() {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            dccd_testkit::skip(test, &format!("rclone: {}", output.status));
            false
        }
        Err(error) => {
            dccd_testkit::skip(test, &format!("no rclone: {error}"));
            false
        }
    }
}

/// An S3 server of Python's moto, which keeps everything in memory; ends when it is dropped.
#[derive(Debug)]
pub struct S3Server {
    child: Child,
    address: SocketAddr,
}

impl S3Server {
    /// Starts one with a bucket; `None`, with the reason noted under `test`, where Python lacks it.
    #[must_use]
    pub fn start(test: &str, bucket: &str, log: &Path) -> Option<Self> {
        let python = python(test, &["moto.server", "flask_cors"])?;
        let address = free_port();
        let mut command = Command::new(python);
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &address.port().to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(log).unwrap());
        let server = Self { child: command.spawn().unwrap(), address };
        let said = || (TcpStream::connect(address).is_ok(), std::fs::read_to_string(log).unwrap_or_default());
        wait_for(PATIENCE * 2, said, |(is_up, _)| *is_up);
        assert_eq!(server.request("PUT", &format!("/{bucket}")).0, 200);
        Some(server)
    }

    /// Its base address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Status and body of the answer to a request without a body.
    fn request(&self, method: &str, path: &str) -> (u16, Vec<u8>) {
        let mut socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        // It asks everybody for a key, and looks at none.
        let key = "AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 0\r\nAuthorization: {key}\r\n\r\n",
            self.address
        );
        socket.write_all(head.as_bytes()).unwrap();
        let mut got = Vec::new();
        socket.read_to_end(&mut got).unwrap();
        let end = got.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
        let status = String::from_utf8_lossy(&got[..end]).split(' ').nth(1).and_then(|code| code.parse().ok());
        (status.unwrap_or(0), got.split_off(end + 4))
    }

    /// Everything in a bucket by its key, but for the store's id; keys are plain, and fewer than a thousand.
    #[must_use]
    pub fn contents(&self, bucket: &str) -> BTreeMap<String, Vec<u8>> {
        let (status, listing) = self.request("GET", &format!("/{bucket}?list-type=2"));
        let listing = String::from_utf8(listing).unwrap();
        assert!(status == 200 && listing.contains("<IsTruncated>false"), "{status}: {listing}");
        let keys = listing.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
        let keys = keys.filter(|key| !key.ends_with(".dccd/store-id"));
        keys.map(|key| (key.to_owned(), self.request("GET", &format!("/{bucket}/{key}")).1)).collect()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
