//! Somebody honest on another host: asks over TCP all the time. While a root is there it is answered, whoever else is at the port; while
//! none is, it is told so. It never waits for longer than it wanted to.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dccd_testkit::POLL_INTERVAL;
use dccd_tests::Place;
use tokio_rustls::rustls::ClientConfig;

use crate::floods::TOKEN;

/// Ten seconds for the way there, as many for each of its questions, and what a busy machine adds to that.
const DEADLINE: Duration = Duration::from_secs(90);
/// Between two of them: an address may begin fifty connections a second, and this one isn't to be taken for a flood.
const PAUSE: Duration = Duration::from_millis(100);

/// The port, and who asks there.
pub(crate) struct Far {
    address: SocketAddr,
    /// What a client is to trust once TLS is spoken.
    trusting: Arc<ClientConfig>,
    shared: Arc<Shared>,
    asker: Option<JoinHandle<Asked>>,
}

#[derive(Default)]
struct Shared {
    /// Odd while no root need answer; another number after each such time.
    disturbed: AtomicU64,
    tls: AtomicBool,
    ended: AtomicBool,
}

/// How it went.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    answered: u64,
    in_vain: u64,
    slowest: Duration,
}

impl Far {
    /// Puts token and certificate into the place.
    pub(crate) fn new(place: &Place) -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        place.put("rpc.crt", &made.cert.pem());
        for (name, text) in [("rpc.key", made.signing_key.serialize_pem()), ("rpc.token", TOKEN.to_owned())] {
            std::fs::set_permissions(place.put(name, &text), std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        // One that nobody listens on now.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let trusting = dccd_net::tls_trusting(&[made.cert.der().clone()], false);
        Self { address, trusting, shared: Arc::default(), asker: None }
    }

    /// The key of the configuration.
    pub(crate) fn text(&self) -> String {
        let tls = if self.speaks_tls() { ", tls: {certificate: ./rpc.crt, key: ./rpc.key}" } else { "" };
        // A TLS handshake takes its time where everything else goes on at once.
        format!("  rpc: {{address: '{}', token_file: ./rpc.token, limits: {{auth_timeout: 20}}{tls}}}\n", self.address)
    }

    fn speaks_tls(&self) -> bool {
        self.shared.tls.load(Ordering::SeqCst)
    }

    /// From the root's next start on.
    pub(crate) fn speak_tls(&self) {
        self.shared.tls.store(true, Ordering::SeqCst);
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How the port is talked to.
    pub(crate) fn tls(&self) -> Option<Arc<ClientConfig>> {
        self.speaks_tls().then(|| Arc::clone(&self.trusting))
    }

    /// No root need answer, until this is dropped. Not twice at a time.
    pub(crate) fn disturb(&self) -> Disturbance {
        self.shared.disturbed.fetch_add(1, Ordering::SeqCst);
        Disturbance(Arc::clone(&self.shared))
    }

    /// Begins to ask.
    pub(crate) fn begin(&mut self, place: &Place) {
        let (shared, address) = (Arc::clone(&self.shared), self.address.to_string());
        let base = ["--address", &address, "--token-file", "rpc.token", "status", "--json"];
        let mut plain = place.foreign(&base);
        let mut secure = place.foreign(&[&base[..], &["--tls-ca", "rpc.crt"]].concat());
        self.asker = Some(std::thread::spawn(move || {
            let mut asked = Asked::default();
            while !shared.ended.load(Ordering::SeqCst) {
                std::thread::sleep(PAUSE);
                let before = shared.disturbed.load(Ordering::SeqCst);
                let command = if shared.tls.load(Ordering::SeqCst) { &mut secure } else { &mut plain };
                let begun = Instant::now();
                let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
                let ended = ended(child, begun);
                asked.slowest = asked.slowest.max(begun.elapsed());
                let is_undisturbed = before.is_multiple_of(2) && before == shared.disturbed.load(Ordering::SeqCst);
                match ended {
                    (Some(0), _) => asked.answered += 1,
                    (code, said) => {
                        assert!(!is_undisturbed, "a root was there, and {code:?}: {said}");
                        assert!(matches!(code, Some(1 | 11)) && said.contains("error: "), "{code:?}: {said}");
                        assert!(!said.contains("hunter2"), "{said}");
                        asked.in_vain += 1;
                    }
                }
            }
            asked
        }));
    }

    /// Ends it; how it went.
    pub(crate) fn end(&mut self) -> Asked {
        self.shared.ended.store(true, Ordering::SeqCst);
        let asked = self.asker.take().unwrap().join().expect("who asks from afar was answered, or told in time why not");
        assert!(asked.answered > 0, "{asked:?}");
        asked
    }
}

/// A time in which no root need answer.
pub(crate) struct Disturbance(Arc<Shared>);

impl Drop for Disturbance {
    fn drop(&mut self) {
        self.0.disturbed.fetch_add(1, Ordering::SeqCst);
    }
}

/// The end of a command within its deadline: the code, and what it said.
fn ended(mut child: std::process::Child, begun: Instant) -> (Option<i32>, String) {
    while child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < DEADLINE, "a client waits without end");
        std::thread::sleep(POLL_INTERVAL);
    }
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}
