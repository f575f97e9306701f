//! The one TLS provider: rustls with ring, chosen out loud because two compiled-in providers panic at the first handshake.

/// Makes ring the provider of every TLS connection of this process. Call it early in `main`; calling it again does nothing.
pub fn install_crypto_provider() {
    // An error says that a provider is installed already: by an earlier call, or by a host program that has its reasons.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
