//! What is logged, where, how much of it, and what never is.

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use common::Host;
use dccd_testkit::wait_for;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

fn config(daemon: &str) -> String {
    format!(
        "settings: {{data_path: ./data, timezone: UTC}}
stream_jobs:
  - {{exchange: binance, pairs: [BTC/USDT], channels: [trades]}}
exchanges:
  binance: {{rest_url: 'http://127.0.0.1:9', ws_url: 'ws://127.0.0.1:9', ring_slots: 4096}}
{daemon}"
    )
}

#[test]
fn logs_of_all_services_are_merged_by_time_however_they_are_written() {
    let host = Host::new();
    host.put("config.yml", &config(""));
    let none = host.run(&["logs"]).code(1);
    assert!(none.err.contains("there are no logs yet in"), "{}", none.err);
    host.put("data/.dccd/logs/a.log.1", "2026-01-01T00:00:01Z  INFO a: one\n");
    host.put(
        "data/.dccd/logs/a.log",
        "2026-01-01T00:00:03Z ERROR a: panic: three\n   0: f\n2026-01-01T00:00:05Z  WARN a: five\n",
    );
    host.put(
        "data/.dccd/logs/b.log",
        "{\"timestamp\":\"2026-01-01T00:00:02Z\",\"level\":\"WARN\",\"fields\":{\"message\":\"two\"}}
{\"timestamp\":\"2026-01-01T00:00:04Z\",\"level\":\"INFO\",\"fields\":{\"message\":\"four\"}}\n",
    );
    let two =
        "{\"service\":\"b\",\"timestamp\":\"2026-01-01T00:00:02Z\",\"level\":\"WARN\",\"fields\":{\"message\":\"two\"}}\n";
    let three = "a | 2026-01-01T00:00:03Z ERROR a: panic: three\na |    0: f\n";
    let five = "a | 2026-01-01T00:00:05Z  WARN a: five\n";
    let logs = |args: &[&str]| host.run(&[&["logs"], args].concat()).code(0).out;
    let all = logs(&[]);
    assert!(
        all.starts_with(&format!("a | 2026-01-01T00:00:01Z  INFO a: one\n{two}{three}")) && all.ends_with(five),
        "{all}"
    );
    assert_eq!(logs(&["--level", "warn"]), format!("{two}{three}{five}"));
    assert_eq!(logs(&["--level", "warn", "-n", "2"]), format!("{three}{five}"));
    assert_eq!(logs(&["--since", "2026-01-01T00:00:05"]), five);
    assert_eq!(logs(&["--since", "1h"]), "");
    assert_eq!(logs(&["a", "--level", "error"]), "2026-01-01T00:00:03Z ERROR a: panic: three\n   0: f\n");
    assert!(host.run(&["logs", "--since", "soon"]).code(2).err.contains("expected a time ago"));
    host.run(&["logs", "--level", "loud"]).code(2);
}

#[test]
fn followed_logs_are_those_of_services_that_come_later_too() {
    let host = Host::new();
    host.put("config.yml", &config(""));
    let path = host.put("data/.dccd/logs/a.log", "2026-01-01T00:00:01Z  INFO a: one\n");
    let mut command = host.command(&["logs", "-f", "--level", "info"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "a | 2026-01-01T00:00:01Z  INFO a: one");
    host.put("data/.dccd/logs/b.log", "2026-01-01T00:00:02Z DEBUG b: not this\n2026-01-01T00:00:02Z  INFO b: two\n");
    assert_eq!(lines.next().unwrap(), "b | 2026-01-01T00:00:02Z  INFO b: two");
    std::fs::rename(&path, path.with_extension("log.1")).unwrap();
    std::fs::write(&path, "2026-01-01T00:00:03Z  WARN a: three\n").unwrap();
    assert_eq!(lines.next().unwrap(), "a | 2026-01-01T00:00:03Z  WARN a: three");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn one_file_for_all_services_names_each_and_the_level_changes_while_they_run() {
    let host = Host::new();
    host.put("config.yml", &config("daemon: {log_file: all.log, log_format: json}\n"));
    host.run_own(&["start", "--detach"]).code(0);
    let wrong = host.run_own(&["log-level", "degub"]).code(2);
    assert!(wrong.err.contains("\"degub\" is not a log level"), "{}", wrong.err);
    host.run_own(&["log-level", "datad.nowhere", "debug"]).code(1);
    let set = host.run_own(&["log-level", "datad.binance", "info,datad=debug", "--json"]).code(0).json();
    assert_eq!((&set[0]["service"], &set[0]["configured"]), (&"datad.binance".into(), &false.into()));
    let logs = |args: &[&str]| {
        let text = host.run_own(&[&["logs"], args].concat()).code(0).out;
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect::<Vec<Value>>()
    };
    let heard = |line: &Value| line["fields"]["level"] == "info,datad=debug" && line["service"] == "datad.binance";
    wait_for(PATIENCE, || logs(&["-n", "100000"]), |lines| lines.iter().any(heard));
    host.run_own(&["log-level", "--reset"]).code(0);
    let shown = host.run_own(&["log-level", "--json"]).code(0).json();
    assert!(shown.as_array().unwrap().iter().all(|level| level["configured"] == true), "{shown}");
    // Another level in the configuration is taken in as it runs, too.
    host.put("config.yml", &config("daemon: {log_file: all.log, log_format: json, log_level: debug}\n"));
    let pid = host.run_own(&["services", "--json"]).code(0).json()[1]["pid"].clone();
    let reloaded = host.run_own(&["reload", "--json"]).code(0).json();
    assert_eq!(reloaded["later"].as_array().map(Vec::len), Some(0), "{reloaded}");
    let heard = |line: &Value| line["fields"]["level"] == "debug" && line["service"] == "datad.binance";
    wait_for(PATIENCE, || logs(&["-n", "100000"]), |lines| lines.iter().any(heard));
    assert_eq!(host.run_own(&["services", "--json"]).code(0).json()[1]["pid"], pid, "nobody was started anew for that");
    let services =
        |lines: &[Value]| lines.iter().filter_map(|line| line["service"].as_str().map(str::to_owned)).collect::<Vec<_>>();
    let (all, own) = (services(&logs(&["-n", "100000"])), services(&logs(&["datad.binance", "-n", "100000"])));
    assert!(all.iter().any(|service| service == "dccd-root") && own.iter().all(|service| service == "datad.binance"));
    assert!(!own.is_empty() && own.len() < all.len());
    let nobody = host.run_own(&["logs", "datad.binanse"]).code(1);
    let who = "datad.binanse has logged nothing in ";
    let there = "all.log; there are: datad.binance, dccd-root; did you mean datad.binance?\n";
    assert!(nobody.err.contains(who) && nobody.err.ends_with(there), "{}", nobody.err);
    let nothing = host.run_own(&["logs", "dccd-root", "-n", "0"]).code(0);
    assert_eq!((nothing.out.as_str(), nothing.err.as_str()), ("", "nothing that was asked for is in the logs\n"));
    host.run_own(&["stop"]).code(0);
    assert!(host.path().join("all.log").exists());
    assert_eq!(
        std::fs::read_dir(host.path().join("data/.dccd/logs"))
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().path().is_file())
            .count(),
        0
    );
}

/// Everything in the files below a directory.
fn read_all(directory: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            text += &read_all(&path);
        } else if path.is_file() {
            text += &String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default());
        }
    }
    text
}

/// A secret in each key that may hold one; every process at the level that says most, used.
#[test]
fn secrets_of_the_configuration_are_nowhere_but_in_it() {
    let host = Host::new();
    let secrets =
        ["hunter2-key-id", "hunter2-s3", "hunter2-ui", "hunter2-hook", "hunter2-other", "hunter2-rpc", "hunter2-http"];
    let known: Vec<String> =
        dccd_config::schema::all().into_iter().filter(|(_, key)| key.secret).map(|(path, _)| path).collect();
    assert_eq!(
        known,
        [
            "settings.ui_auth_token",
            "storage.remotes[].access_key_id",
            "storage.remotes[].secret_access_key",
            "alerts.webhook_url",
            "alerts.webhooks[].url",
            "daemon.rpc.token",
            "daemon.http.token"
        ]
    );
    let more = "storage: {remotes: [{provider: s3, bucket: b, endpoint: 'http://127.0.0.1:9', region: r, access_key_id: hunter2-key-id, secret_access_key: hunter2-s3}]}
alerts: {webhook_url: 'http://127.0.0.1:9/hunter2-hook', webhooks: [{url: 'http://127.0.0.1:9/hunter2-other'}], hold: 0}
daemon:
  rpc: {address: '127.0.0.1:0', token: hunter2-rpc-long-enough}
  http: {address: '127.0.0.1:0', token: '${HTTP_TOKEN}'}
";
    let text = config(more).replace("timezone: UTC", "timezone: UTC, ui_auth_token: hunter2-ui");
    host.put("config.yml", &text);
    let own = |args: &[&str]| {
        let mut command = host.own(args);
        common::Ran::from(command.env("HTTP_TOKEN", "hunter2-http").output().unwrap())
    };
    own(&["start", "--detach", "--log-level", "trace"]).code(0);
    let log = || std::fs::read_to_string(host.path().join("data/.dccd/logs/dccd-root.log")).unwrap();
    let port = |served: &str| {
        let log = log();
        let rest = log.split(&format!("{served} address=127.0.0.1:")).nth(1).unwrap_or_else(|| panic!("{log}"));
        rest.chars().take_while(char::is_ascii_digit).collect::<String>()
    };
    let rpc = format!("127.0.0.1:{}", port("the RPC is served over TCP"));
    for (token, code) in [("hunter2-rpc-long-enough", 0), ("hunter2-wrong-long-enough", 1)] {
        let mut asked = host.command(&["services", "--address", &rpc]);
        common::Ran::from(asked.env("DCCD_RPC_TOKEN", token).output().unwrap()).code(code);
    }
    let port = port("health and metrics are served over HTTP");
    for token in ["hunter2-http", "hunter2-wrong"] {
        let mut stream = TcpStream::connect(("127.0.0.1", port.parse::<u16>().unwrap())).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer.starts_with("HTTP/1.1 200"), token == "hunter2-http", "{answer}");
    }
    // Without an exchange there is nothing that a successor could be ready for.
    host.run_own(&["restart", "datad.binance", "--cold"]).code(0);
    let services = host.run_own(&["services", "--json"]).code(0).json();
    let mut seen = String::new();
    for service in services.as_array().unwrap().iter().filter(|service| service["pid"].is_u64()) {
        let of = |file: &str| {
            String::from_utf8_lossy(&std::fs::read(format!("/proc/{}/{file}", service["pid"])).unwrap()).into_owned()
        };
        seen += &of("cmdline");
        // What came by the environment is there: services read the configuration as it is written.
        seen += &of("environ").replace("HTTP_TOKEN=hunter2-http", "");
    }
    for args in [
        &["services", "--json"][..],
        &["status", "--json"],
        &["status", "--detailed"],
        &["log-level", "--json"],
        &["doctor", "--json"],
        &["validate"],
        &["logs", "-n", "100000"],
        &["service", "install", "--user", "--dry-run"],
    ] {
        let ran = own(args);
        seen += &(ran.out + &ran.err);
    }
    own(&["stop"]).code(0);
    own(&["start", "--detach", "--log-level", "trace"]).code(0);
    std::fs::remove_file(host.runtime().join("config.yml")).unwrap();
    seen += &read_all(&host.runtime());
    host.run_own(&["stop"]).code(0);
    seen += &read_all(&host.path().join("data"));
    assert!(seen.len() > 10_000 && seen.contains("TRACE"), "{} bytes were looked at", seen.len());
    for secret in secrets {
        let at = seen.find(secret).map(|at| &seen[at.saturating_sub(200)..at + 20]);
        assert_eq!(at, None, "{secret} was found");
    }
}
