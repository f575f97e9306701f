//! What the server knows its clients by, and shows of itself: the hash of the token, and the certificate.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dccd_rpc::remote::{Token, server_config};
use dccd_service::chain;
use tokio_rustls::TlsAcceptor;

use super::{RpcListenError, RpcTls, RpcToken};
use crate::token::TokenHash;

/// How often the files of the certificate are looked at.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(10);

/// The token that clients have to show.
pub(super) struct Lock(Option<TokenHash>);

impl Lock {
    /// Reads the token. Blocks.
    pub(super) fn of(token: &RpcToken) -> Result<Self, RpcListenError> {
        let hash = |token: &Token| Some(TokenHash::of(token.reveal()));
        Ok(Self(match token {
            RpcToken::Nothing => None,
            RpcToken::Text(token) => hash(token),
            RpcToken::File(path) => hash(&Token::from_file(path).map_err(RpcListenError::Token)?),
        }))
    }

    /// Whether one is wanted at all.
    pub(super) fn is_locked(&self) -> bool {
        self.0.is_some()
    }

    /// Whether this opens it. Hashes are compared, in a time that depends on the length of what was shown alone.
    pub(super) fn opens(&self, shown: &[u8]) -> bool {
        self.0.as_ref().is_none_or(|hash| hash.is_of_bytes(shown))
    }
}

/// The certificate, as of the files' last change.
pub(super) struct Certificate {
    files: RpcTls,
    /// As they were before they were read first.
    known: Stamp,
    acceptor: Mutex<TlsAcceptor>,
}

/// By what a changed file is known: device, inode, length, time of change.
type Stamp = [Option<(u64, u64, u64, i64, i64)>; 2];

impl Certificate {
    /// Reads the files. Blocks.
    pub(super) fn load(files: &RpcTls) -> Result<Self, RpcListenError> {
        let known = stamp(files);
        let config = server_config(&files.certificate, &files.key).map_err(RpcListenError::Tls)?;
        Ok(Self { files: files.clone(), known, acceptor: Mutex::new(config.into()) })
    }

    /// What the next connection is accepted with.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Uses the files anew when they have changed; files that are no good (half written, maybe) change nothing. Never returns.
    pub(super) async fn renew(self: Arc<Self>) {
        let mut known = self.known;
        loop {
            tokio::time::sleep(RENEWAL_INTERVAL).await;
            let this = Arc::clone(&self);
            // Files may lie on a disk that hangs.
            let look = tokio::task::spawn_blocking(move || {
                let now = stamp(&this.files);
                (now != known).then(|| (now, server_config(&this.files.certificate, &this.files.key)))
            });
            let Ok(Some((now, config))) = look.await else { continue };
            known = now;
            let certificate = self.files.certificate.display();
            match config {
                Ok(config) => {
                    *self.acceptor.lock().unwrap_or_else(PoisonError::into_inner) = config.into();
                    tracing::info!(%certificate, "the RPC's certificate has changed; new connections get the new one");
                }
                Err(error) => {
                    let error = chain(&error);
                    tracing::error!(%certificate, error, "the RPC's certificate has changed and can't be used; the old one stays");
                }
            }
        }
    }
}

/// Blocks.
fn stamp(files: &RpcTls) -> Stamp {
    let of = |path: &Path| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
    };
    [of(&files.certificate), of(&files.key)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A certificate for `localhost` that signs itself, and its key, in files of a directory.
    fn put(dir: &Path) -> RpcTls {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let files = RpcTls { certificate: dir.join("rpc.crt"), key: dir.join("rpc.key") };
        fs::write(&files.certificate, made.cert.pem()).unwrap();
        fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        fs::set_permissions(&files.key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        files
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewed_certificate_is_used_and_a_broken_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let files = put(dir.path());
        let certificate = Arc::new(Certificate::load(&files).unwrap());
        let first = certificate.acceptor();
        let is_first = |now: &Certificate| Arc::ptr_eq(now.acceptor().config(), first.config());
        let renewing = tokio::spawn(Arc::clone(&certificate).renew());
        // Its first look, at the files as they are.
        tokio::task::yield_now().await;
        fs::write(&files.certificate, "half a certif").unwrap();
        tokio::time::sleep(RENEWAL_INTERVAL * 3).await;
        assert!(is_first(&certificate));
        put(dir.path());
        tokio::time::sleep(RENEWAL_INTERVAL * 3).await;
        assert!(!is_first(&certificate));
        renewing.abort();
    }

    #[test]
    fn files_that_are_no_good_are_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let files = put(dir.path());
        let refusal = |files: &RpcTls| chain(&Certificate::load(files).map(drop).unwrap_err());
        fs::set_permissions(&files.key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        assert!(refusal(&files).contains("open to others (mode 0644)"), "{}", refusal(&files));
        fs::set_permissions(&files.key, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
        Certificate::load(&files).map(drop).unwrap();
        let swapped = RpcTls { certificate: files.key.clone(), key: files.key.clone() };
        assert!(refusal(&swapped).contains("has no certificate in it"), "{}", refusal(&swapped));
        let missing = RpcTls { certificate: dir.path().join("none"), ..files.clone() };
        assert!(refusal(&missing).contains("the certificate can't be used: cannot read "), "{}", refusal(&missing));
        let directory = RpcTls { key: dir.path().to_owned(), ..files.clone() };
        assert!(refusal(&directory).contains("is a directory; it must be a regular file"), "{}", refusal(&directory));
        let other = tempfile::tempdir().unwrap();
        let foreign = RpcTls { key: put(other.path()).key, ..files };
        assert!(refusal(&foreign).contains("don't go together"), "{}", refusal(&foreign));
    }

    #[test]
    fn a_lock_opens_with_its_token_alone() {
        let token = Token::parse("correct-horse-battery").unwrap();
        let lock = Lock::of(&RpcToken::Text(token)).unwrap();
        assert!(lock.opens(b"correct-horse-battery"));
        for wrong in [&b""[..], b"correct-horse-batterx", b"correct-horse-battery\0", &[0xff; 256]] {
            assert!(!lock.opens(wrong));
        }
        assert!(Lock::of(&RpcToken::Nothing).unwrap().opens(b"anything"));
    }
}
