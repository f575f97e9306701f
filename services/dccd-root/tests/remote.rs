//! The RPC over TCP against everything that may come: the right ones, the wrong ones, the slow, the loud and the broken.

mod tree;

use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use dccd_registry::{Registry, RegistryError};
use dccd_root::{HttpOptions, Options, Policy, Root, RootError, RpcLimits, RpcOptions, RpcTls, RpcToken};
use dccd_rpc::remote::{Remote, RemoteError, Token};
use dccd_rpc::root::{Endpoint, Progress, ROOT_PROTOCOL, Registration, ServiceState};
use dccd_service::{Shutdown, chain};
use dccd_testkit::raw;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tree::process::{ready_pids, root_process};
use tree::{PATIENCE, Place, Tree, wait_for};

const TOKEN: &str = "correct-horse-battery-staple";

/// A port that nobody listens on now.
fn free() -> SocketAddr {
    StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn token(text: &str) -> Option<Token> {
    Some(Token::parse(text).unwrap())
}

fn rpc(limits: RpcLimits) -> RpcOptions {
    let token = RpcToken::Text(Token::parse(TOKEN).unwrap());
    RpcOptions { address: free(), token, tls: None, limits }
}

fn remote(address: SocketAddr, token: Option<Token>) -> Remote {
    Remote { address: address.to_string().parse().unwrap(), token, tls: None }
}

async fn connect(address: SocketAddr) -> Result<Registry, RegistryError> {
    Registry::connect_remote(remote(address, token(TOKEN)), PATIENCE).await
}

/// A tree with the lazy service `a`, and its port.
async fn tree(limits: RpcLimits) -> (Tree, SocketAddr) {
    let place = Place::new();
    let mut options = place.options(&[place.spec("a", Policy::Permanent, false)]);
    let rpc = rpc(limits);
    let address = rpc.address;
    options.rpc = Some(rpc);
    (Tree::start_with(place, options).await, address)
}

/// A client that was greeted, without anything that understands what comes then.
async fn greeted(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&raw::opening(TOKEN, "dccd-root")).await.unwrap();
    for _ in 0..2 {
        let mut verdict = [0; 11];
        stream.read_exact(&mut verdict).await.unwrap();
        assert_eq!(&verdict, b"DCCDRPC\x01\0\0\0");
    }
    stream
}

/// What comes until the other side closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // An abrupt end is an end.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the other side closes");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_remote_client_does_what_a_local_one_does_and_is_never_taken_for_a_service() {
    let (tree, address) = tree(RpcLimits::default()).await;
    let far = connect(address).await.unwrap();
    assert!(far.is_remote());
    assert_eq!(far.find("a", PATIENCE).await.unwrap(), None);
    let endpoint = far.ensure("a", PATIENCE).await.unwrap();
    assert_eq!(far.find("a", PATIENCE).await.unwrap(), Some(endpoint.clone()));
    assert_eq!(far.list(PATIENCE).await.unwrap().len(), 2);
    assert!(!far.watch(0, PATIENCE).await.unwrap().events.is_empty());
    assert_eq!(far.status(PATIENCE).await.unwrap().pid, std::process::id());
    let before = tree.info("a").await.pid;
    far.restart("a", PATIENCE).await.unwrap();
    let now = tree.info("a").await;
    assert_ne!(now.pid, before);

    // With everything that a process of the service would say.
    let registration = Registration {
        name: "a".to_owned(),
        pid: now.pid.unwrap(),
        endpoint: Endpoint("unix:/elsewhere".to_owned()),
        version: "9".to_owned(),
        protocol: 0,
        token: "0".repeat(64),
        degraded: None,
    };
    let liar = Progress { degraded: Some("lies".to_owned()), ..Progress::default() };
    let refused = [
        far.register(registration, PATIENCE).await.map(drop),
        far.heartbeat("a", liar, PATIENCE).await.map(drop),
        far.deregister("a", "lies", Vec::new(), PATIENCE).await,
        far.hand_over(PATIENCE).await,
    ];
    for refused in refused {
        let text = chain(&refused.unwrap_err());
        assert!(text.contains("is for processes of the daemon's own host"), "{text}");
    }
    assert_eq!((tree.info("a").await.state, tree.info("a").await.endpoint), (ServiceState::Ready, Some(endpoint)));
    let unknown = remote(address, token(TOKEN)).connect::<(), ()>("datad.none", PATIENCE).await.map(drop).unwrap_err();
    assert!(unknown.to_string().ends_with("there is no service datad.none; `dccd services` lists them"), "{unknown}");

    let report = far.stop(false, None).await.unwrap();
    assert_eq!(report.services.len(), 1);
    assert!(matches!(connect(address).await, Err(RegistryError::Remote { source: RemoteError::NobodyListens { .. }, .. })));
    tree.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn wrong_tokens_are_refused_counted_and_shut_out_for_a_while() {
    let (tree, address) = tree(RpcLimits::default()).await;
    let try_with = async |token| {
        let error = remote(address, token).connect::<(), ()>("dccd-root", PATIENCE).await.map(drop).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        error
    };
    assert!(matches!(try_with(None).await, RemoteError::NoToken { .. }));
    assert!(matches!(try_with(token("hunter2-hunter2-hunter2")).await, RemoteError::WrongToken { .. }));
    // After some more the right one isn't even looked at. (A machine that is too slow for the first second of that tries again.)
    let reason = wait_for("an address to be shut out", async || {
        for _ in 0..3 {
            try_with(token("hunter2-hunter2-hunter2")).await;
        }
        let right = remote(address, token(TOKEN));
        let result = right.connect::<(), ()>("dccd-root", PATIENCE).await.map(drop);
        if let Err(RemoteError::Refused { reason, .. }) = result { Some(reason) } else { None }
    })
    .await;
    assert!(reason.starts_with("too many wrong tokens came from 127.0.0.1; try again in "), "{reason}");
    assert!(tree.registry.list(PATIENCE).await.is_ok(), "the local socket knows nothing of it");
    wait_for("the end of the block", async || connect(address).await.ok()).await;
    let counters = tree.info("dccd-root").await.counters;
    let counted = |name: &str| counters.iter().find(|(known, _)| known == name).unwrap().1;
    assert!(counted("rpc_refused_wrong_token") >= 4, "{counters:?}");
    assert!(counted("rpc_refused_throttled") >= 1);
    tree.stop().await;
}

#[tokio::test]
async fn garbage_ends_its_own_connection_and_is_told_why() {
    let (tree, address) = tree(RpcLimits::default()).await;
    for (bytes, answer) in [
        (&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], "this is dccd's RPC"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "TLS is not spoken here"),
        (b"DCCDRPC\x07", "another one than 7"),
        (b"DCCDRPC\x01\xff\xff", "the token is wrong"),
        (&[0; 4_096], "this is dccd's RPC"),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let said = rest(&mut stream).await;
        assert!(said.contains(answer), "{bytes:?}: {said}");
    }
    // Greeted, and then no message of ours.
    let mut stream = greeted(address).await;
    stream.write_all(&[0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff]).await.unwrap();
    let said = rest(&mut stream).await;
    assert!(said.contains("dccd-root has closed it"), "{said}");
    // Then one who would wait for ages: for its answers, on the same connection.
    let mut stream = greeted(address).await;
    let hello = raw::hello(1, (u64::MAX, 0), ROOT_PROTOCOL);
    for (id, method, request) in [(1, 0, hello), (2, 4, raw::request(2, (u64::MAX, 0), 4, &[]))] {
        stream.write_all(&request).await.unwrap();
        let mut answer = vec![0; usize::try_from(stream.read_u32().await.unwrap()).unwrap()];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[..4], [id, 0, method, 0]);
    }
    // And one who names no time.
    stream.write_all(&raw::request(3, (u64::MAX, u32::MAX), 4, &[])).await.unwrap();
    let said = rest(&mut stream).await;
    assert!(said.contains("dccd-root has closed it"), "{said}");
    connect(address).await.unwrap().list(PATIENCE).await.unwrap();
    tree.stop().await;
}

#[tokio::test]
async fn who_says_nothing_keeps_nobody_out() {
    let limits = RpcLimits { unauthenticated_max: 4, auth_timeout: PATIENCE * 10, ..RpcLimits::default() };
    let (tree, address) = tree(limits).await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"D").await.unwrap();
        slow.push(stream);
    }
    connect(address).await.unwrap().list(PATIENCE).await.unwrap();
    // Long before its time, each of the first has made room.
    for stream in &mut slow[..16] {
        rest(stream).await;
    }
    tree.stop().await;
}

#[tokio::test]
async fn who_dribbles_has_the_time_of_one_who_does_not() {
    let (tree, address) = tree(RpcLimits { auth_timeout: Duration::from_millis(500), ..RpcLimits::default() }).await;
    let mut slow = TcpStream::connect(address).await.unwrap();
    let dribbling = async {
        for byte in b"DCCDRPC\x01\x01\0".iter().chain(std::iter::repeat(&b'x')) {
            if slow.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, dribbling).await.expect("it is ended");
    tree.stop().await;
}

#[tokio::test]
async fn messages_that_are_too_long_are_cut_off_with_the_reason() {
    let (tree, address) = tree(RpcLimits { frame_bytes_max: 1_000, ..RpcLimits::default() }).await;
    let far = connect(address).await.unwrap();
    far.list(PATIENCE).await.unwrap();
    let error = far.find(&"x".repeat(100_000), PATIENCE).await.unwrap_err();
    let text = chain(&error);
    assert!(text.contains("is longer than the 1000 that are allowed (daemon.rpc.limits.max_frame_kb)"), "{text}");
    // By its length alone: what it announces never comes.
    let mut stream = greeted(address).await;
    stream.write_all(&0x7fff_ffff_u32.to_be_bytes()).await.unwrap();
    let said = rest(&mut stream).await;
    assert!(said.contains("a message of 2147483647 bytes"), "{said}");
    connect(address).await.unwrap().list(PATIENCE).await.unwrap();
    tree.stop().await;
}

#[tokio::test]
async fn connections_are_limited_by_address() {
    let (tree, address) = tree(RpcLimits { connections_per_address_max: 2, ..RpcLimits::default() }).await;
    let first = greeted(address).await;
    let _second = greeted(address).await;
    let error = connect(address).await.map(drop).unwrap_err();
    assert!(chain(&error).contains("max_connections_per_address: 2); close some"), "{}", chain(&error));
    drop(first);
    wait_for("the place of who has left", async || connect(address).await.ok()).await;
    tree.stop().await;
}

#[tokio::test]
async fn silence_ends_a_connection() {
    let (tree, address) = tree(RpcLimits { idle_timeout: Duration::from_millis(200), ..RpcLimits::default() }).await;
    let said = rest(&mut greeted(address).await).await;
    assert!(said.contains("nothing was said for 0.2 s (daemon.rpc.limits.idle_timeout)"), "{said}");
    tree.stop().await;
}

#[tokio::test]
async fn a_flood_is_slowed_down_then_cut_off_and_others_are_answered_meanwhile() {
    let limits = RpcLimits { requests_per_second: 20, flood_time: Duration::from_millis(300), ..RpcLimits::default() };
    let (tree, address) = tree(limits).await;
    let far = connect(address).await.unwrap();
    let flood = tokio::spawn(async move {
        let mut asked = Vec::new();
        for _ in 0..64 {
            let far = far.clone();
            asked.push(tokio::spawn(async move {
                loop {
                    if let Err(error) = far.list(PATIENCE).await {
                        break chain(&error);
                    }
                }
            }));
        }
        let mut ends = Vec::new();
        for asked in asked {
            ends.push(asked.await.unwrap());
        }
        ends
    });
    let mut answered = 0;
    let until = std::time::Instant::now() + PATIENCE;
    while !flood.is_finished() {
        assert!(std::time::Instant::now() < until, "the flood is never cut off");
        tree.registry.list(PATIENCE).await.unwrap();
        answered += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let ends = flood.await.unwrap();
    assert!(ends.iter().any(|end| end.contains("more than 20 requests")), "{ends:?}");
    assert!(answered > 0, "nobody else was answered");
    connect(address).await.unwrap().list(PATIENCE).await.unwrap();
    tree.stop().await;
}

/// An authority, and a certificate for this host that it has signed, in files of the place.
fn certified(place: &Place) -> (RpcTls, CertificateDer<'static>) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    let files = RpcTls { certificate: place.dir.path().join("rpc.crt"), key: place.dir.path().join("rpc.key") };
    std::fs::write(&files.certificate, certificate.pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o600)).unwrap();
    (files, authority.der().clone())
}

fn trusting(authorities: &[CertificateDer<'static>]) -> Option<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities.iter().cloned());
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Some(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

#[tokio::test]
async fn tls_is_spoken_with_who_trusts_the_certificate_and_mix_ups_are_told() {
    let place = Place::new();
    let (files, authority) = certified(&place);
    let mut options = place.options(&[place.spec("a", Policy::Permanent, false)]);
    let rpc = RpcOptions { tls: Some(files), ..rpc(RpcLimits { frame_bytes_max: 1_000, ..RpcLimits::default() }) };
    let address = rpc.address;
    options.rpc = Some(rpc);
    let tree = Tree::start_with(place, options).await;
    let plain = remote(address, token(TOKEN));
    let secure = Remote { tls: trusting(&[authority]), ..plain.clone() };
    let far = Registry::connect_remote(secure.clone(), PATIENCE).await.unwrap();
    far.ensure("a", PATIENCE).await.unwrap();
    far.list(PATIENCE).await.unwrap();
    let by_name = Remote { address: format!("localhost:{}", address.port()).parse().unwrap(), ..secure.clone() };
    Registry::connect_remote(by_name, PATIENCE).await.unwrap().list(PATIENCE).await.unwrap();
    // Limits hold, and last words arrive, under TLS too.
    let text = chain(&far.find(&"x".repeat(100_000), PATIENCE).await.unwrap_err());
    assert!(text.contains("max_frame_kb"), "{text}");

    let refused = async |remote: &Remote| remote.connect::<(), ()>("dccd-root", PATIENCE).await.map(drop).unwrap_err();
    let wrong = Remote { token: token("hunter2-hunter2-hunter2"), ..secure.clone() };
    assert!(matches!(refused(&wrong).await, RemoteError::WrongToken { .. }));
    let distrustful = Remote { tls: trusting(&[]), ..plain.clone() };
    let error = refused(&distrustful).await;
    assert!(matches!(error, RemoteError::Certificate { .. }), "{error}");
    let error = refused(&plain).await;
    assert!(matches!(error, RemoteError::TlsWanted { .. }), "{error}");
    // Who takes a plain port, or one of something else, for TLS.
    let (other, at) = self::tree(RpcLimits::default()).await;
    let error = refused(&Remote { address: at.to_string().parse().unwrap(), ..secure.clone() }).await;
    assert!(matches!(error, RemoteError::NoTls { .. }), "{error}");
    other.stop().await;
    tree.stop().await;
}

#[tokio::test]
async fn other_servers_never_see_the_token() {
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = server.accept().await.unwrap();
        let mut head = [0; 8];
        stream.read_exact(&mut head).await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut more = Vec::new();
        let _ = stream.read_to_end(&mut more).await; // an abrupt end is an end
        more
    });
    let error = remote(address, token(TOKEN)).connect::<(), ()>("dccd-root", PATIENCE).await.map(drop).unwrap_err();
    assert!(matches!(error, RemoteError::Foreign { .. }), "{error}");
    assert_eq!(serving.await.unwrap(), b"");
}

#[tokio::test]
async fn a_taken_port_keeps_a_fresh_root_from_starting() {
    let place = Place::new();
    let taken = StdListener::bind("127.0.0.1:0").unwrap();
    let at = RpcOptions { address: taken.local_addr().unwrap(), ..rpc(RpcLimits::default()) };
    let with = |rpc| Options { rpc: Some(rpc), ..place.options(&[]) };
    let error = Root::new(with(at.clone())).run(Shutdown::new()).await.unwrap_err();
    assert!(matches!(error, RootError::Rpc { .. }), "{error}");
    let text = chain(&error);
    assert!(text.contains("free it, or choose another one in daemon.rpc.address"), "{text}");
    let file = place.dir.path().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = RpcOptions { address: free(), token: RpcToken::File(file.clone()), ..at };
    let error = Root::new(with(open)).run(Shutdown::new()).await.unwrap_err();
    assert!(chain(&error).contains("run: chmod 600"), "{}", chain(&error));
}

#[tokio::test]
async fn a_taken_port_keeps_no_root_from_adopting_and_is_opened_when_it_is_free() {
    let place = Place::new();
    let mut root = root_process(&place);
    let (_, pids) = ready_pids(&place).await;
    root.kill();
    let (first, second) = (StdListener::bind("127.0.0.1:0").unwrap(), StdListener::bind("127.0.0.1:0").unwrap());
    let (http, at) = (first.local_addr().unwrap(), second.local_addr().unwrap());
    let services = ["a", "b"].map(|name| place.spec(name, Policy::Permanent, true));
    let options = Options {
        http: Some(HttpOptions { address: http, token: None }),
        rpc: Some(RpcOptions { address: at, ..rpc(RpcLimits::default()) }),
        ..place.options(&services)
    };
    let tree = Tree::start_with(place, options).await;
    for (name, pid) in ["a", "b"].into_iter().zip(&pids) {
        assert_eq!(tree.until_state(name, ServiceState::Ready).await.pid, Some(*pid));
    }
    let own = tree.until_state("dccd-root", ServiceState::Degraded).await;
    let reason = own.reason.unwrap();
    assert!(reason.contains("cannot serve HTTP on") && reason.contains("cannot serve the RPC on"), "{reason}");
    drop((first, second));
    tree.until_state("dccd-root", ServiceState::Ready).await;
    connect(at).await.unwrap().list(PATIENCE).await.unwrap();
    TcpStream::connect(http).await.unwrap();
    tree.stop().await;
}
