//! What a look-up in the registry takes, from the call to the answer, between two processes: over the Unix socket, over TCP, and over
//! TCP with TLS: `cargo bench -p dccd-root --bench registry`.
//!
//! One client, one question at a time: where does the service `a` listen? It is ready and known, so that the answer is the way there and back.

#![allow(clippy::print_stdout, reason = "a benchmark reports on stdout")]
#![allow(dead_code, reason = "of what the tests share it uses some")]

#[path = "../tests/tree/mod.rs"]
mod tree;

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use dccd_registry::Registry;
use dccd_rpc::remote::{Remote, Token};
use hdrhistogram::Histogram;
use std::os::unix::process::CommandExt as _;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tree::process::{RootProcess, ready_pids};
use tree::{EXECUTABLE, PATIENCE, Place};

const TOKEN: &str = "correct-horse-battery-staple";

fn main() {
    // `cargo test --benches` and `cargo bench` hand over arguments of the standard harness; a test run is a short one.
    let lookups = if std::env::args().any(|arg| arg == "--bench") { 50_000 } else { 100 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(lookups));
}

async fn run(lookups: u32) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    for tls in [false, true] {
        let place = Place::new();
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let mut command = Command::new(EXECUTABLE);
        command.arg0("dccd-root").arg(place.runtime().path()).arg(place.data()).arg("5000").arg(port.to_string());
        if tls {
            let (certificate, key) = (place.dir.path().join("rpc.crt"), place.dir.path().join("rpc.key"));
            std::fs::write(&certificate, made.cert.pem()).expect("room");
            std::fs::write(&key, made.signing_key.serialize_pem()).expect("room");
            std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("our file");
            command.arg(certificate).arg(key);
        }
        command.env("TEST_RPC_TOKEN", TOKEN).stdin(Stdio::null());
        let _root = RootProcess(command.spawn().expect("a root"));
        let (local, _) = ready_pids(&place).await;
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("a certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let config = config.with_safe_default_protocol_versions().expect("a version");
        let remote = Remote {
            address: port.to_string().parse().expect("an address"),
            token: Token::parse(TOKEN).ok(),
            tls: tls.then(|| Arc::new(config.with_root_certificates(roots).with_no_client_auth())),
        };
        let far = Registry::connect_remote(remote, PATIENCE).await.expect("a connection");
        if tls {
            measure("tcp+tls", &far, lookups).await;
        } else {
            measure("unix", &local, lookups).await;
            measure("tcp", &far, lookups).await;
        }
        local.stop(false, None).await.expect("the root stops");
    }
}

async fn measure(over: &str, registry: &Registry, lookups: u32) {
    let mut times = Histogram::<u64>::new(3).expect("three digits");
    for n in 0..lookups + lookups / 10 {
        let begun = Instant::now();
        let found = registry.find("a", PATIENCE).await.expect("an answer");
        let took = begun.elapsed();
        assert!(found.is_some(), "a is ready");
        // The first tenth warms up.
        if n >= lookups / 10 {
            times.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        }
    }
    let us = |quantile: f64| times.value_at_quantile(quantile) as f64 / 1e3;
    println!(
        "registry look-up over={over:<7}: p50 {:.1} us, p90 {:.1} us, p99 {:.1} us ({lookups} look-ups)",
        us(0.5),
        us(0.9),
        us(0.99)
    );
}
