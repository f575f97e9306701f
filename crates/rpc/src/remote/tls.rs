//! Certificates and keys from PEM files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{self, CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use super::SecretFileError;
use super::secret::check_private;

/// Why files are no good for TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    /// It can't be read as PEM.
    #[error("cannot read the certificate {}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: pki_types::pem::Error,
    },
    /// There is no certificate in it.
    #[error("{} has no certificate in it (PEM: -----BEGIN CERTIFICATE-----)", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The key's file is missing, or open to others.
    #[error("the private key can't be used")]
    KeyFile(#[source] SecretFileError),
    /// The key can't be read as PEM.
    #[error("cannot read the private key {}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: pki_types::pem::Error,
    },
    /// The two don't go together, or are of a kind that isn't supported.
    #[error("the certificate {} and the key {} don't go together", certificate.display(), key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// The cause.
        #[source]
        source: rustls::Error,
    },
}

/// The certificates of a PEM file, in its order; one at least. Blocks.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let failed = |source| TlsFileError::Certificate { path: path.to_owned(), source };
    let chain = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(failed)?;
    if chain.is_empty() { Err(TlsFileError::NoCertificate { path: path.to_owned() }) } else { Ok(chain) }
}

/// What a server needs that shows this certificate (with what leads to its authority) and has this key. The key may be readable for
/// a group, as is usual for keys of certificates, for no others. Blocks.
pub fn server_config(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsFileError> {
    let chain = certificates(certificate)?;
    check_private(key, 0o037).map_err(TlsFileError::KeyFile)?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsFileError::Key { path: key.to_owned(), source })?;
    let pair = |source| TlsFileError::Pair { certificate: certificate.to_owned(), key: key.to_owned(), source };
    // The provider by name: one process may hold several, and then none of them is the default.
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
        .map_err(pair)?;
    Ok(Arc::new(config))
}
