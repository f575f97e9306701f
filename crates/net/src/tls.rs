//! TLS for all clients: rustls with ring, trusting Mozilla's list of authorities and the host's own.
//!
//! Both lists, because each alone fails somewhere: a bare container has no certificates, and a company's proxy is on no
//! public list.

use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

/// Makes ring the provider of every TLS connection of this process. Call it early in `main`; calling it again does nothing.
///
/// Two providers compiled into one program panic at the first handshake unless one is chosen out loud.
pub fn install_crypto_provider() {
    // An error says that a provider is installed already: by an earlier call, or by a host program that has its reasons.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// What a client trusts that isn't told otherwise. Read from the host once a process.
pub(crate) fn client_config() -> &'static Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    CONFIG.get_or_init(|| tls_trusting(&[], true))
}

/// What a client trusts that is told so: these authorities (one that is no certificate is left out), and the others besides or not.
#[must_use]
pub fn tls_trusting(authorities: &[CertificateDer<'static>], others: bool) -> Arc<ClientConfig> {
    install_crypto_provider();
    let mut roots = RootCertStore::empty();
    if others {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let host = rustls_native_certs::load_native_certs();
        for error in &host.errors {
            tracing::debug!(%error, "the host's certificates can't all be read");
        }
        let (added, ignored) = roots.add_parsable_certificates(host.certs);
        tracing::debug!(added, ignored, "certificate authorities of the host");
    }
    roots.add_parsable_certificates(authorities.iter().cloned());
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}
