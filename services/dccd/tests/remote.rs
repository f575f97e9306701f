//! The whole command line over `--address`, against a real tree; and what is said when it doesn't work, word for word in
//! `remote/<case>.txt`. To write the texts anew: `DCCD_UPDATE=1 cargo test -p dccd --test remote`, then read the difference.

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{Exchange, Host, Ran};
use dccd_testkit::wait_for;
use serde_json::{Value, json};

/// Patience with what takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);
const TOKEN: &str = "correct-horse-battery-staple";

/// A port that nobody listens on now.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A file for this user alone.
fn put_private(host: &Host, name: &str, text: &str) {
    let path = host.put(name, text);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A daemon with nothing to do but to be asked.
fn start(host: &Host, rpc: &str) {
    host.put("config.yml", &format!("settings: {{data_path: ./data, timezone: UTC}}\ndaemon: {{rpc: {{{rpc}}}}}\n"));
    host.run_own(&["start", "--detach"]).code(0);
}

/// A command as on another host: nothing of the daemon's home, instance or configuration.
fn far(command: &mut Command, token: Option<&str>, args: &[&str]) -> Ran {
    command.args(args);
    if let Some(token) = token {
        command.env("DCCD_RPC_TOKEN", token);
    }
    Ran::from(command.output().unwrap())
}

#[test]
fn every_command_that_asks_the_daemon_works_from_afar() {
    let (host, elsewhere) = (Host::new(), Host::new());
    let exchange = Exchange::start(&host, 100);
    let address = free();
    put_private(&host, "token", TOKEN);
    let token_file = host.path().join("token");
    host.put(
        "config.yml",
        &format!(
            "settings: {{data_path: ./data, timezone: UTC}}
stream_jobs:
  - {{exchange: binance, pairs: [BTC/USDT], channels: [trades], time_step: 1}}
histo_jobs:
  - {{exchange: binance, pairs: [BTC/USDT], span: 60}}
exchanges:
  binance: {{rest_url: '{}', ws_url: '{}', ring_slots: 4096}}
daemon:
  rpc: {{address: '{address}', token_file: '{}'}}
",
            exchange.rest_url,
            exchange.ws_url,
            token_file.display()
        ),
    );
    host.run(&["validate"]).code(0);
    host.run_own(&["start", "--detach"]).code(0);
    let at = address.to_string();
    let ask = |args: &[&str]| {
        let mut command = elsewhere.command(&["--address", &at]);
        far(&mut command, Some(TOKEN), args)
    };

    let services = ask(&["services", "--json"]).code(0).json();
    let near = host.run_own(&["services", "--json"]).code(0).json();
    let pids = |services: &Value| services.as_array().unwrap().iter().map(|s| s["pid"].clone()).collect::<Vec<_>>();
    assert_eq!(pids(&services), pids(&near));
    let status = wait_for(
        PATIENCE,
        || ask(&["status", "--json", "--detailed"]).code(0).json(),
        |status| {
            status["jobs"]
                .as_array()
                .is_some_and(|jobs| jobs.len() == 2 && jobs.iter().all(|j| j["rows"].as_u64() > Some(0)))
        },
    );
    assert_eq!(
        (&status["daemon"]["running"], &status["daemon"]["data_path"]),
        (&json!(true), &json!(host.path().join("data")))
    );
    assert_eq!(status["exchanges"]["binance"]["feeds"][0]["symbol"], json!("BTC/USDT"));
    assert!(ask(&["status"]).code(0).out.contains("dccd 0.1.0 is running (pid"));
    assert_eq!(ask(&["search", "btc", "--json"]).code(0).json()[0]["symbol"], json!("BTC/USDT"));
    assert_eq!(ask(&["pause", "--json"]).code(0).json(), json!(["binance/BTC/USDT/1m"]));
    assert_eq!(ask(&["resume", "binance", "--json"]).code(0).json(), json!(["binance/BTC/USDT/1m"]));
    let run = ask(&["run", "binance/BTC/USDT", "--json"]).code(0).json();
    assert_eq!((&run[0]["job"], &run[0]["state"]), (&json!("binance/BTC/USDT/1m"), &json!("done")));
    ask(&["run", "binance/ETH/USDT"]).code(1);
    assert!(!ask(&["backfill", "--list", "--json"]).code(0).json().as_array().unwrap().is_empty());
    let alerts = ask(&["alerts", "list", "--json"]).code(0).json();
    assert_eq!(alerts["live"], json!(true), "{alerts}");
    ask(&["alerts", "ack", "all"]).code(0);
    ask(&["alerts", "test"]).code(2);
    ask(&["restart", "datad.binance"]).code(0);
    assert_ne!(pids(&ask(&["services", "--json"]).code(0).json())[1], pids(&services)[1]);

    // The other ways to the token: a file, and the daemon's own configuration.
    let without = |args: &[&str]| far(&mut elsewhere.command(&["--address", &at]), None, args);
    without(&["services", "--token-file", token_file.to_str().unwrap()]).code(0);
    without(&["services", "--config", host.path().join("config.yml").to_str().unwrap()]).code(0);
    let stopped = ask(&["stop"]).code(0);
    assert!(stopped.err.contains("datad.binance is gone (exit 0)"), "{}", stopped.err);
    ask(&["status"]).code(11);
    host.run_own(&["stop"]).code(11);
    assert!(std::fs::read_dir(elsewhere.path().join("run")).unwrap().next().is_none(), "something was made here");
}

#[test]
fn tls_is_spoken_with_a_certificate_of_ones_own() {
    let (host, elsewhere) = (Host::new(), Host::new());
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let certificate = host.put("rpc.crt", &made.cert.pem());
    put_private(&host, "rpc.key", &made.signing_key.serialize_pem());
    let address = free();
    start(&host, &format!("address: '{address}', token: {TOKEN}, tls: {{certificate: ./rpc.crt, key: ./rpc.key}}"));
    let at = format!("localhost:{}", address.port());
    let authority = certificate.to_str().unwrap();
    let ask = |args: &[&str]| far(&mut elsewhere.command(&["--address", &at]), Some(TOKEN), args);
    ask(&["services", "--tls-ca", authority]).code(0);
    let distrust = ask(&["services", "--tls"]).code(1);
    assert!(distrust.err.contains("is not to be trusted; give the authority"), "{}", distrust.err);
    // The daemon's own configuration names the certificate.
    host.run(&["services", "--address", &at]).code(0);
    golden(
        "plain_to_a_tls_port",
        &far(&mut elsewhere.command(&["--address", &at]), Some(TOKEN), &["services"]).code(1),
        address,
        &host,
    );
    host.run_own(&["stop"]).code(0);
}

#[test]
fn what_does_not_work_is_told_with_what_to_do() {
    let (host, elsewhere) = (Host::new(), Host::new());
    let address = free();
    start(&host, &format!("address: '{address}', token: {TOKEN}, limits: {{max_connections: 1}}"));
    let at = address.to_string();
    let ask = |token: Option<&str>, args: &[&str]| far(&mut elsewhere.command(&[]), token, args);
    let check = |case: &str, ran: Ran| golden(case, &ran, address, &elsewhere);

    check("no_token", ask(None, &["status", "--address", &at]).code(1));
    check("wrong_token", ask(Some("hunter2-hunter2-hunter2"), &["services", "--address", &at]).code(1));
    check("tls_to_a_plain_port", ask(Some(TOKEN), &["services", "--address", &at, "--tls"]).code(1));
    let nobody = free();
    golden("nobody_listens", &ask(Some(TOKEN), &["status", "--address", &nobody.to_string()]).code(11), nobody, &elsewhere);
    check("unknown_host", ask(Some(TOKEN), &["services", "--address", "nowhere.invalid:5555"]).code(1));
    check("address_without_a_port", ask(Some(TOKEN), &["services", "--address", "localhost"]).code(2));

    // Another kind of server, and one that says nothing.
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let web_at = web.local_addr().unwrap();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = web.accept().unwrap();
        stream.read_exact(&mut [0; 8]).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    golden("another_server", &ask(Some(TOKEN), &["services", "--address", &web_at.to_string()]).code(1), web_at, &elsewhere);
    serving.join().unwrap();
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let mute_at = mute.local_addr().unwrap();
    golden("no_answer", &ask(Some(TOKEN), &["services", "--address", &mute_at.to_string()]).code(1), mute_at, &elsewhere);

    // Files.
    let open = elsewhere.put("open.token", TOKEN);
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    check("open_token_file", ask(None, &["services", "--address", &at, "--token-file", "open.token"]).code(1));
    check("no_token_file", ask(None, &["services", "--address", &at, "--token-file", "none.token"]).code(1));
    check("no_authority_file", ask(None, &["services", "--address", &at, "--tls-ca", "none.pem"]).code(1));
    check("token_file_without_an_address", ask(None, &["services", "--token-file", "open.token"]).code(2));

    // The one place is taken.
    let mut held = std::net::TcpStream::connect(address).unwrap();
    let length = u16::try_from(TOKEN.len()).unwrap().to_be_bytes();
    held.write_all(&[b"DCCDRPC\x01", &length[..], TOKEN.as_bytes(), b"\x09dccd-root"].concat()).unwrap();
    held.read_exact(&mut [0; 22]).unwrap();
    check("too_many_connections", ask(Some(TOKEN), &["services", "--address", &at]).code(1));
    drop(held);

    // What needs the host itself.
    for (case, args) in [
        ("inventory", &["inventory"][..]),
        ("tail", &["tail", "binance/BTC/USDT/trades"]),
        ("logs", &["logs"]),
        ("start", &["start"]),
        ("validate", &["validate"]),
        ("restart", &["restart"]),
        ("restart_the_root", &["restart", "dccd-root"]),
        ("exchanges", &["exchanges"]),
    ] {
        let args: Vec<&str> = args.iter().copied().chain(["--address", &*at]).collect();
        check(&format!("not_from_afar_{case}"), ask(Some(TOKEN), &args).code(2));
    }
    for command in
        [&["verify"][..], &["export", "binance/BTC/USDT/1m"], &["gaps"], &["collect"], &["backfill"], &["convert"]]
    {
        let args: Vec<&str> = command.iter().copied().chain(["--address", &*at]).collect();
        let refused = ask(Some(TOKEN), &args).code(2);
        assert!(refused.err.contains("can't be used with --address"), "{}", refused.err);
    }
    host.run_own(&["stop"]).code(0);

    // A root that can't listen.
    let taken = TcpListener::bind(address).unwrap();
    golden("taken_port", &host.run_own(&["start", "--detach"]).code(12), address, &host);
    drop(taken);
    std::fs::set_permissions(host.put("rpc.token", TOKEN), std::fs::Permissions::from_mode(0o644)).unwrap();
    host.put("config.yml", &format!("daemon: {{rpc: {{address: '{address}', token_file: ./rpc.token}}}}\n"));
    golden("open_token_file_of_the_root", &host.run_own(&["start", "--detach"]).code(12), address, &host);
    golden("open_token_file_in_validate", &host.run(&["validate"]).code(1), address, &host);
    // Nobody ever writes there.
    std::fs::remove_file(host.path().join("rpc.token")).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, host.path().join("rpc.token"), mode).unwrap();
    golden("pipe_as_token_file_of_the_root", &host.run_own(&["start", "--detach"]).code(12), address, &host);
}

/// Holds what a command said against its file; what differs from run to run is named instead.
fn golden(case: &str, ran: &Ran, address: SocketAddr, host: &Host) {
    assert_eq!(ran.out, "", "{case}");
    assert!(!ran.err.contains("hunter2") && !ran.err.contains(TOKEN), "{case} shows a secret: {}", ran.err);
    let port = format!(":{}", address.port());
    let said = ran.err.replace(&host.path().display().to_string(), "DIR").replace(&port, ":PORT");
    // Each resolver has its own words.
    let lines = said.lines().filter(|line| !line.contains("failed to lookup address information"));
    let said = format!("code {}\n{}\n", ran.code.unwrap(), lines.collect::<Vec<_>>().join("\n"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/remote").join(format!("{case}.txt"));
    if std::env::var_os("DCCD_UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &said).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(known == said, "{} says now:\n{said}", path.display());
}
