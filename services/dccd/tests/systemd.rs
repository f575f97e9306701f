//! Units for systemd, and how a root gets on with a service manager.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::Host;
use dccd_testkit::wait_for;
use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(30);

const CONFIG: &str = "settings: {data_path: ./data, timezone: UTC}
stream_jobs:
  - {exchange: binance, pairs: [BTC/USDT], channels: [trades]}
exchanges:
  binance: {rest_url: 'http://127.0.0.1:9', ws_url: 'ws://127.0.0.1:9', ring_slots: 4096}
";

/// The settings of a unit, as far as they are single lines.
fn settings(text: &str) -> Vec<(&str, &str)> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '[']));
    lines.map(|line| line.split_once('=').unwrap_or_else(|| panic!("{line} is no setting"))).collect()
}

fn has(text: &str, name: &str, value: &str) {
    assert!(settings(text).contains(&(name, value)), "no {name}={value} in:\n{text}");
}

/// Lets systemd read a unit; skipped where its tool isn't there.
fn verify(unit: &Path) {
    let run = |unit: &Path| {
        let mut command = Command::new("systemd-analyze");
        command.args(["verify", "--man=no", "--recursive-errors=no"]).arg(unit);
        command.output().ok().map(|output| String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let Some(said) = run(unit) else {
        dccd_testkit::skip("units are read by systemd", "systemd-analyze is not installed");
        return;
    };
    // What systemd before 254 doesn't know, it passes over, and says so.
    let said: Vec<&str> = said.lines().filter(|line| !line.contains("Unknown key 'DelegateSubgroup'")).collect();
    assert_eq!(said, [""; 0], "{}", unit.display());
    // It would say something if there were something.
    let broken = unit.with_file_name("broken@.service");
    fs::write(&broken, fs::read_to_string(unit).unwrap().replace("Restart=on-failure", "Restart=never")).unwrap();
    assert!(run(&broken).unwrap().contains("restart specifier"));
}

#[test]
fn a_users_unit_is_what_systemd_reads_and_goes_without_a_trace() {
    let host = Host::new();
    let directory = "50% of \"it\"";
    host.put(&format!("{directory}/config.yml"), CONFIG);
    let run = |args: &[&str]| {
        let mut command = host.command(args);
        common::Ran::from(command.current_dir(host.path().join(directory)).output().unwrap())
    };
    let units = host.path().join(".config/systemd/user");
    let dry = run(&["service", "install", "--user", "--instance", "test-instance", "--dry-run"]).code(0);
    assert!(dry.out.contains("Type=notify") && dry.err.contains("systemctl --user enable --now dccd@test-instance"));
    assert!(!units.exists());

    for instance in ["test-instance", "prod"] {
        let done = run(&["service", "install", "--user", "--instance", instance]).code(0);
        assert!(done.err.contains("next:\n  systemctl --user daemon-reload\n"), "{}", done.err);
    }
    let template = fs::read_to_string(units.join("dccd@.service")).unwrap();
    for (name, value) in [
        ("Type", "notify"),
        ("WatchdogSec", "30"),
        ("KillMode", "process"),
        ("OOMPolicy", "continue"),
        ("Delegate", "memory cpu"),
        ("DelegateSubgroup", "dccd-root"),
        ("Restart", "on-failure"),
        ("WantedBy", "default.target"),
    ] {
        has(&template, name, value);
    }
    let own = fs::read_to_string(units.join("dccd@test-instance.service.d/10-dccd.conf")).unwrap();
    let path = host.path().join(directory);
    let path = path.to_str().unwrap();
    has(&own, "WorkingDirectory", &path.replace('%', "%%"));
    let quoted = path.replace('%', "%%").replace('"', "\\\"");
    has(&own, "Environment", &format!("\"DCCD_CONFIG={quoted}/config.yml\""));
    verify(&units.join("dccd@.service"));
    fs::remove_file(units.join("broken@.service")).ok();

    // Enabled, it stays; the template stays for the other.
    let wants = units.join("default.target.wants");
    fs::create_dir(&wants).unwrap();
    std::os::unix::fs::symlink("../dccd@.service", wants.join("dccd@prod.service")).unwrap();
    let refused = run(&["service", "uninstall", "--user", "--instance", "prod"]).code(1);
    assert!(refused.err.contains("first: systemctl --user disable --now dccd@prod"), "{}", refused.err);
    fs::remove_dir_all(&wants).unwrap();
    run(&["service", "uninstall", "--user", "--instance", "prod"]).code(0);
    assert!(units.join("dccd@.service").exists());
    run(&["service", "uninstall", "--user", "--instance", "test-instance"]).code(0);
    assert_eq!(fs::read_dir(&units).unwrap().count(), 0);
    run(&["service", "uninstall", "--user", "--instance", "test-instance"]).code(1);

    // What somebody else has written is his.
    host.put(".config/systemd/user/dccd@.service", "[Service]\n");
    let refused = run(&["service", "install", "--user"]).code(1);
    assert!(refused.err.contains("was not written by dccd; --force"), "{}", refused.err);
    run(&["service", "install", "--user", "--force"]).code(0);
    run(&["service", "install", "--user", "--instance", "no/name"]).code(2);
    run(&["service", "install"]).code(2);
    run(&["service", "install", "--user", "--run-as", "dccd"]).code(2);
}

#[test]
fn a_unit_of_the_host_runs_as_a_user_of_its_own_and_may_write_its_store() {
    let host = Host::new();
    host.put("config.yml", &format!("{CONFIG}daemon: {{pid_file: run/x.pid}}\n"));
    let args = ["service", "install", "--system", "--run-as", "root", "--instance", "test-instance", "--dry-run"];
    let dry = host.run(&args).code(0);
    assert!(dry.err.contains("sudo systemctl daemon-reload"), "{}", dry.err);
    assert!(!dry.err.contains("useradd"), "root is known: {}", dry.err);
    let (template, own) = dry.out.split_once("# /etc/systemd/system/dccd@test-instance.service.d/10-dccd.conf\n").unwrap();
    for (name, value) in [("ProtectSystem", "strict"), ("PrivateTmp", "yes"), ("WantedBy", "multi-user.target")] {
        has(template, name, value);
    }
    has(own, "User", "root");
    has(own, "RuntimeDirectoryPreserve", "yes");
    has(own, "ReadWritePaths", &format!("\"{}\"", host.path().join("data").display()));
    has(own, "ReadWritePaths", &format!("\"{}\"", host.path().join("run").display()));
    let unit = host.put("units/dccd@.service", template);
    host.put("units/dccd@test-instance.service.d/10-dccd.conf", own);
    verify(&unit);
}

/// Messages to a service manager.
struct Ear {
    socket: UnixDatagram,
    path: PathBuf,
    heard: String,
}

impl Ear {
    fn new(host: &Host) -> Self {
        let path = host.path().join("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, path, heard: String::new() }
    }

    fn listen(&mut self) -> &str {
        let mut buffer = [0; 4096];
        while let Ok(n) = self.socket.recv(&mut buffer) {
            self.heard.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
            self.heard.push('\n');
        }
        &self.heard
    }
}

fn environment(pid: &serde_json::Value) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/environ")).unwrap()).into_owned()
}

#[test]
fn a_foreground_root_tells_the_service_manager_and_its_services_do_not() {
    let host = Host::new();
    host.put("config.yml", CONFIG);
    let mut ear = Ear::new(&host);
    let journal = fs::File::create(host.path().join("journal")).unwrap();
    let meta = journal.metadata().unwrap();
    let mut root = host
        .own(&["start"])
        .env("NOTIFY_SOCKET", &ear.path)
        .env("WATCHDOG_USEC", "200000")
        .env("JOURNAL_STREAM", format!("{}:{}", meta.dev(), meta.ino()))
        .stderr(Stdio::from(journal))
        .spawn()
        .unwrap();
    let ready = format!("READY=1\nMAINPID={}\nSTATUS=1 of 1 services ready", root.id());
    wait_for(PATIENCE, || ear.listen().to_owned(), |heard| heard.contains(&ready) && heard.contains("WATCHDOG=1"));
    let services = host.run_own(&["services", "--json"]).code(0).json();
    let of_service = environment(&services[1]["pid"]);
    assert!(of_service.contains("XDG_RUNTIME_DIR=") && !of_service.contains("NOTIFY") && !of_service.contains("WATCHDOG"));

    // Replaced, it is the same process to the service manager.
    ear.heard.clear();
    host.run_own(&["restart", "dccd-root"]).code(0);
    wait_for(PATIENCE, || ear.listen().to_owned(), |heard| heard.contains(&ready));
    let reloading = ear.heard.find("RELOADING=1\nMONOTONIC_USEC=");
    assert!(reloading.is_some() && reloading < ear.heard.find(&ready) && !ear.heard.contains("STOPPING"), "{}", ear.heard);
    kill_process(Pid::from_child(&root), Signal::TERM).unwrap();
    assert_eq!(root.wait().unwrap().code(), Some(0));
    assert!(ear.listen().contains("STOPPING=1"), "{}", ear.heard);

    // What the journal has, and the file.
    let journal = fs::read_to_string(host.path().join("journal")).unwrap();
    assert!(journal.lines().all(|line| line.starts_with("<6>") || line.starts_with("<4>")), "{journal}");
    let file = fs::read_to_string(host.path().join("data/.dccd/logs/dccd-root.log")).unwrap();
    assert!(
        journal.contains("<6>dccd_root::service: dccd-root is up")
            && file.contains("INFO dccd_root::service: dccd-root is up")
    );
}

#[test]
fn a_root_that_hangs_and_would_be_started_again_is_not_killed() {
    let host = Host::new();
    host.put("config.yml", CONFIG);
    let ear = Ear::new(&host);
    let mut root = host.own(&["start"]).env("NOTIFY_SOCKET", &ear.path).stderr(Stdio::null()).spawn().unwrap();
    wait_for(PATIENCE, || host.run_own(&["services", "--json"]), |ran| ran.out.contains("\"degraded\""));
    let hung = Pid::from_child(&root);
    kill_process(hung, Signal::STOP).unwrap();
    let refused = host.run_own(&["stop", "--force", "--timeout", "1", "--json"]);
    let silent = host.run_own(&["restart", "dccd-root"]);
    // Before anything can fail: the root must not be left standing.
    kill_process(hung, Signal::CONT).unwrap();
    let stopped = host.run_own(&["stop"]);
    let ended = root.wait().unwrap().code();
    let advice = format!("error: dccd-root (pid {}) gives no answer, and is not killed: ", hung.as_raw_nonzero());
    assert!(refused.err.contains(&advice) && refused.err.contains("would start it again"), "{}", refused.err);
    assert!(refused.err.contains("  because: ") && refused.out.is_empty(), "{}", refused.err);
    assert!(silent.err.contains(" looks after it: `kill -9 "), "{}", silent.err);
    assert_eq!((refused.code, silent.code, stopped.code, ended), (Some(1), Some(1), Some(0), Some(0)), "{}", stopped.err);
}

#[test]
fn a_detached_root_is_nobodys_main_process() {
    let host = Host::new();
    host.put("config.yml", CONFIG);
    let mut ear = Ear::new(&host);
    let mut start = host.own(&["start", "--detach"]);
    start.env("NOTIFY_SOCKET", &ear.path).env("WATCHDOG_USEC", "1000");
    common::Ran::from(start.output().unwrap()).code(0);
    let root = host.run_own(&["services", "--json"]).code(0).json()[0]["pid"].clone();
    assert!(!environment(&root).contains("NOTIFY_SOCKET"));
    host.run_own(&["stop"]).code(0);
    assert_eq!(ear.listen(), "");
}

#[test]
fn a_pid_file_is_of_a_process_that_runs() {
    let host = Host::new();
    fs::create_dir(host.path().join("work")).unwrap();
    host.put("config.yml", &format!("{CONFIG}daemon: {{pid_file: x.pid, work_dir: ./work}}\n"));
    let path = host.put("work/x.pid", &format!("{}\n", std::process::id()));
    let refused = host.run_own(&["start", "--detach"]).code(12);
    assert!(refused.err.contains(&format!("names process {}, which runs", std::process::id())), "{}", refused.err);
    let looked = host.run_own(&["doctor", "--json"]).code(1).json();
    let locks = looked.as_array().unwrap().iter().find(|finding| finding["check"] == "locks").unwrap();
    assert_eq!(locks["status"], "failed", "{locks}");
    // Nobody has this pid.
    fs::write(&path, "4194305\n").unwrap();
    host.run_own(&["start", "--detach"]).code(0);
    let root = host.run_own(&["services", "--json"]).code(0).json()[0]["pid"].clone();
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{root}\n"));
    assert_eq!(fs::read_link(format!("/proc/{root}/cwd")).unwrap(), host.path().join("work").canonicalize().unwrap());
    host.run_own(&["stop"]).code(0);
    assert_eq!(fs::read_dir(host.path().join("work")).unwrap().count(), 0);
}
