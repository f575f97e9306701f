//! Certificates and keys from PEM files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{self, CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use super::file::{self, FileError, Sort};
use super::secret::{SecretFileError, read_private};

/// No bundle of authorities is longer: those of the world have 300 kB.
const CERTIFICATES_BYTES_MAX: u64 = 4 << 20;

/// Why files are no good for TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    /// The certificate's file is missing, or none.
    #[error("the certificate can't be used")]
    CertificateFile(#[source] FileError),
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

/// The certificates of a PEM file or a pipe, in its order; one at least. Blocks.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    certificates_of(path, Sort::FileOrPipe)
}

fn certificates_of(path: &Path, sort: Sort) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let failed = |source| TlsFileError::Certificate { path: path.to_owned(), source };
    let read = file::open(path, sort).and_then(|opened| opened.read(CERTIFICATES_BYTES_MAX));
    let pem = read.map_err(TlsFileError::CertificateFile)?;
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if chain.is_empty() { Err(TlsFileError::NoCertificate { path: path.to_owned() }) } else { Ok(chain) }
}

/// What a server needs that shows this certificate (with what leads to its authority) and has this key. The key may be readable for
/// a group, as is usual for keys of certificates, for no others. Both are regular files. Blocks.
pub fn server_config(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsFileError> {
    let chain = certificates_of(certificate, Sort::File)?;
    let pem = read_private(key, Sort::File, 0o037).map_err(TlsFileError::KeyFile)?;
    let secret = PrivateKeyDer::from_pem_slice(&pem).map_err(|source| TlsFileError::Key { path: key.to_owned(), source })?;
    let pair = |source| TlsFileError::Pair { certificate: certificate.to_owned(), key: key.to_owned(), source };
    // The provider by name: one process may hold several, and then none of them is the default.
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
        .map_err(pair)?;
    Ok(Arc::new(config))
}
