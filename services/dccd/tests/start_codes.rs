//! The exit codes of `dccd start`: scripts go by them, and systemd's units do not try again what can't mend itself.

mod common;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use common::Host;
use dccd_testkit::wait_for;
use rustix::process::{Pid, Signal, kill_process};

/// An exchange that nobody answers for, so that nothing depends on one.
const CONFIG: &str = "settings: {data_path: ./data, timezone: UTC}
stream_jobs:
  - {exchange: binance, pairs: [BTC/USDT], channels: [trades]}
exchanges:
  binance: {rest_url: 'http://127.0.0.1:9', ws_url: 'ws://127.0.0.1:9'}
";

/// In the foreground and detached.
fn tried(host: &Host, more: &[&str], code: i32, words: &str) {
    for start in [&["start"][..], &["start", "--detach"]] {
        let ran = host.run_own(&[start, more].concat()).code(code);
        assert!(ran.err.contains(words) && ran.out.is_empty(), "{start:?} {more:?}, wanted {words:?}: {ran:?}");
    }
}

#[test]
fn what_could_not_start_ends_with_12() {
    let host = Host::new();
    tried(&host, &[], 12, "no configuration found");
    tried(&host, &["--config", "nowhere.yml"], 12, "cannot read the configuration nowhere.yml");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    host.put("notes.txt", "what I must not forget\n");
    for (text, words) in [
        ("stream_jobs: [".to_owned(), "is not closed"),
        (CONFIG.replace("channels", "chanels"), "did you mean channels?"),
        (CONFIG.replace("binance,", "binanse,"), "did you mean binance?"),
        (CONFIG.replace("./data", "'${NO_SUCH_VARIABLE}'"), "NO_SUCH_VARIABLE"),
        (CONFIG.replace("./data", "./notes.txt/data"), "notes.txt/data"),
        (format!("{CONFIG}daemon: {{log_file: ./notes.txt/log}}\n"), "notes.txt/log"),
        (format!("{CONFIG}daemon: {{work_dir: ./nowhere}}\n"), "nowhere (daemon.work_dir)"),
        (format!("{CONFIG}daemon: {{pid_file: notes.txt}}\n"), "notes.txt is no pid file"),
        (format!("{CONFIG}daemon: {{http: {{address: '{taken}'}}}}\n"), "daemon.http.address"),
        (format!("{CONFIG}daemon: {{rpc: {{address: '{taken}', token_file: ./nowhere}}}}\n"), "nowhere"),
    ] {
        host.put("config.yml", &text);
        tried(&host, &[], 12, words);
    }
    host.put("config.yml", CONFIG);
    let open = host.path().join("run/dccd");
    std::fs::create_dir_all(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    tried(&host, &[], 12, "is open to others");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(std::fs::read_to_string(host.path().join("notes.txt")).unwrap(), "what I must not forget\n");
}

#[test]
fn wrong_usage_ends_with_2_a_second_root_with_10_and_a_signal_with_0() {
    let host = Host::new();
    host.put("config.yml", CONFIG);
    for args in [
        &["start", "--detached"][..],
        &["start", "now"],
        &["start", "--detach", "--foreground"],
        &["start", "--log-level", "loud"],
        &["start", "--instance", "a/b"],
        &["start", "--address", "127.0.0.1:9"],
    ] {
        let _ = host.run(args).code(2);
    }
    let mut root = host.own(&["start"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for(std::time::Duration::from_secs(30), || host.run_own(&["services", "--json"]), |ran| ran.code == Some(0));
    tried(&host, &[], 10, &format!("dccd is already running (pid {})", root.id()));
    let other = format!("{}-2", host.instance());
    for start in [&["start"][..], &["start", "--detach"]] {
        let ran = host.run(&[start, &["--instance", &other]].concat()).code(12);
        assert!(ran.err.contains("cannot get hold of the store's lock"), "{}", ran.err);
    }
    kill_process(Pid::from_child(&root), Signal::TERM).unwrap();
    assert_eq!(root.wait().unwrap().code(), Some(0));
}
