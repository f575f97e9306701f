//! Start, look, stop: the command line against a real tree of processes and a simulated exchange.

mod common;

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Duration;

use common::{Exchange, Host, Ran};
use dccd_testkit::wait_for;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// Patience with what takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn configuration(rest_url: &str, ws_url: &str, more: &str) -> String {
    format!(
        "settings: {{data_path: ./data, timezone: UTC}}
stream_jobs:
  - {{exchange: binance, pairs: [BTC/USDT], channels: [trades, book, quotes], time_step: 1}}
exchanges:
  binance: {{rest_url: '{rest_url}', ws_url: '{ws_url}', ring_slots: 4096}}
{more}"
    )
}

fn pid(value: &Value) -> Pid {
    Pid::from_raw(i32::try_from(value.as_i64().unwrap()).unwrap()).unwrap()
}

/// Whether a process is gone, or dead and only not yet looked after by init.
fn has_ended(pid: &Value) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.map_or(true, |stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')))
}

/// The rings of the host's instance that are there.
fn rings(host: &Host) -> Vec<String> {
    dccd_ring::list(Some(host.instance())).unwrap().into_iter().map(|ring| ring.name).collect()
}

#[test]
fn a_detached_daemon_is_ready_answers_and_leaves_nothing_behind() {
    let host = Host::new();
    let exchange = Exchange::start(&host, 200);
    host.put("config.yml", &configuration(&exchange.rest_url, &exchange.ws_url, ""));
    let started = host.run_own(&["start", "--detach"]).code(0);
    assert!(started.out.is_empty() && started.err.contains("datad.binance is ready"), "{started:?}");

    // The services, in the form that other programs rely on.
    let services = host.run_own(&["services", "--json"]).code(0).json();
    assert_eq!(services[0]["name"], json!("dccd-root"));
    assert_eq!((&services[1]["name"], &services[1]["state"]), (&json!("datad.binance"), &json!("ready")));
    for key in
        ["pid", "endpoint", "uptime_s", "restarts", "last_exit", "rss_bytes", "cpu_pct", "heartbeat_age_ms", "version"]
    {
        assert!(services[1].get(key).is_some(), "{key} is missing in {services}");
    }
    let table = host.run_own(&["services"]).code(0).out;
    assert!(table.lines().nth(1).unwrap().starts_with("dccd-root"), "{table}");

    // A second root in the instance, and a second writer of the store in another.
    let again = host.run_own(&["start"]).code(10);
    assert!(again.err.contains(&format!("(pid {})", services[0]["pid"])), "{}", again.err);
    host.run_own(&["start", "--detach"]).code(10);
    let other = host.run(&["start", "--instance", &format!("{}b", host.instance())]).code(12);
    assert!(other.err.contains("cannot get hold of the store's lock"), "{}", other.err);
    assert!(other.err.contains(&services[0]["pid"].to_string()), "{}", other.err);

    // Records in the ring, rows in the store, jobs in the status.
    let trades = host.run_own(&["tail", "binance/BTC/USDT/trades", "-n", "5", "--json"]).code(0);
    let records: Vec<Value> = trades.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 5);
    assert!(records.iter().all(|record| record["kind"] == "trade" && record["price"].is_string()), "{records:?}");
    let status = wait_for(
        PATIENCE,
        || host.run_own(&["status", "--json"]).code(0).json(),
        |status| {
            status["jobs"]
                .as_array()
                .is_some_and(|jobs| jobs.len() == 3 && jobs.iter().all(|job| job["rows"].as_u64() > Some(0)))
        },
    );
    assert_eq!(status["daemon"]["running"], json!(true));
    assert_eq!(status["daemon"]["data_path"], json!(host.path().join("data")));
    let inventory = host.run_own(&["inventory", "--json"]).code(0).json();
    let types: Vec<_> = inventory.as_array().unwrap().iter().map(|row| row["type"].as_str().unwrap().to_owned()).collect();
    for kind in ["trades", "orderbook", "quotes"] {
        assert!(types.iter().any(|known| known == kind), "{inventory}");
    }
    let detailed = host.run_own(&["status", "--detailed", "--json"]).code(0).json();
    assert_eq!(detailed["exchanges"]["binance"]["feeds"].as_array().unwrap().len(), 3);
    assert!(host.run_own(&["status", "--detailed"]).code(0).out.contains("frame to ring"));
    let hits = host.run_own(&["search", "btc", "--json"]).code(0).json();
    assert_eq!(hits[0]["symbol"], json!("BTC/USDT"));

    // What it is at, for whoever asks a live one.
    kill_process(pid(&services[1]["pid"]), Signal::QUIT).unwrap();
    let dump = wait_for(
        PATIENCE,
        || host.run(&["logs", "datad.binance"]).out,
        |log| log.contains("thread") && log.contains(" hot: "),
    );
    for task in ["main", "heartbeats", "hot", "recorder", "history", "fetcher", "lister", "serving"] {
        assert!(dump.contains(&format!("task {task}: ")), "{task} is missing in {dump}");
    }

    let stopped = host.run_own(&["stop", "--json"]).code(0);
    assert!(stopped.err.contains("datad.binance is gone (exit 0)"), "{}", stopped.err);
    let report = &stopped.json()["services"][0];
    assert_eq!(
        (&report["name"], &report["exit"], &report["killed"]),
        (&json!("datad.binance"), &json!("exit 0"), &json!(false))
    );
    let flushed = report["flushed"]["rows"].as_u64().unwrap();
    assert!(stopped.err.contains(&format!("; flushed at the last: {flushed} rows, ")), "{}", stopped.err);
    assert!(has_ended(&services[0]["pid"]), "the root is still there");
    assert_eq!(rings(&host), [""; 0], "rings are left behind");
    host.run_own(&["stop"]).code(11);
    let verified = host.run(&["verify", "--json"]).code(0).json();
    assert_eq!((&verified["clean"], verified["series"].as_array().unwrap().len()), (&json!(true), 3), "{verified}");
    assert!(host.run(&["logs", "datad.binance"]).code(0).out.contains("everything received is in the store"));
    let status = host.run(&["status", "--json"]).code(0).json();
    assert_eq!(status["daemon"]["running"], json!(false));
    assert!(status["jobs"][0]["rows"].as_u64() > Some(0) && status["jobs"][0]["state"] == "stopped", "{status}");
}

#[test]
fn a_root_in_the_foreground_stops_on_sigterm_and_takes_its_pid_file_along() {
    let host = Host::new();
    let exchange = Exchange::start(&host, 200);
    host.put("config.yml", &configuration(&exchange.rest_url, &exchange.ws_url, "daemon: {pid_file: dccd.pid}\n"));
    let mut root = host.own(&["start"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let file = host.path().join("dccd.pid");
    wait_for(PATIENCE, || host.run_own(&["services", "--json"]), |ran| ran.out.contains("\"ready\""));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{}\n", root.id()));
    kill_process(Pid::from_child(&root), Signal::TERM).unwrap();
    assert_eq!(root.wait().unwrap().code(), Some(0));
    assert!(!file.exists() && !host.runtime().join("root.sock").exists());
}

#[test]
fn a_root_that_dies_while_it_is_waited_for_could_not_start() {
    let host = Host::new();
    // Takes connections and answers nothing, so that the service isn't ready at once.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = mute.local_addr().unwrap();
    host.put("config.yml", &configuration(&format!("http://{address}"), &format!("ws://{address}"), ""));
    // As large as logs may be: put aside.
    let log = host.put("data/.dccd/logs/dccd-root.log", "");
    std::fs::File::options().write(true).open(&log).unwrap().set_len((10 << 20) + 1).unwrap();
    let start = host.own(&["start", "--detach"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let services = wait_for(PATIENCE, || host.run_own(&["services", "--json"]), |ran| ran.out.contains("\"starting\""));
    kill_process(pid(&services.json()[0]["pid"]), Signal::KILL).unwrap();
    let started = Ran::from(start.wait_with_output().unwrap()).code(12);
    assert!(started.err.contains("dccd-root ended"), "{}", started.err);
    assert_eq!(std::fs::metadata(log.with_extension("log.1")).unwrap().len(), (10 << 20) + 1);
    assert!(std::fs::metadata(&log).unwrap().len() < 10 << 20);
}

#[test]
fn a_service_that_has_to_be_killed_makes_stop_fail_and_leaves_no_ring() {
    let host = Host::new();
    let exchange = Exchange::start(&host, 200);
    host.put("config.yml", &configuration(&exchange.rest_url, &exchange.ws_url, ""));
    for (args, code) in [(&["stop", "--timeout", "1"][..], 1), (&["stop", "--force"], 0)] {
        host.run_own(&["start", "--detach"]).code(0);
        let datad = host.run_own(&["services", "--json"]).code(0).json()[1]["pid"].clone();
        wait_for(PATIENCE, || rings(&host), |rings| rings.len() == 3);
        kill_process(pid(&datad), Signal::STOP).unwrap();
        let stopped = host.run_own(args).code(code);
        assert!(stopped.err.contains("datad.binance is gone (SIGKILL, killed)"), "{}", stopped.err);
        assert_eq!(stopped.err.contains("had to be killed"), code == 1, "{}", stopped.err);
        assert_eq!(rings(&host), [""; 0], "rings are left behind");
    }
}

#[test]
fn a_root_that_hangs_is_told_of_and_ended_by_force_with_all_it_has_started() {
    let host = Host::new();
    let exchange = Exchange::start(&host, 200);
    host.put("config.yml", &configuration(&exchange.rest_url, &exchange.ws_url, ""));
    host.run_own(&["start", "--detach"]).code(0);
    let services = host.run_own(&["services", "--json"]).code(0).json();
    let (root, datad) = (&services[0]["pid"], &services[1]["pid"]);
    kill_process(pid(root), Signal::STOP).unwrap();
    let hangs = host.run_own(&["start", "--detach"]).code(12);
    let advice = format!("it hangs or is stopped: `kill -9 {root}` ends it and leaves its services at work");
    assert!(hangs.err.contains(&advice) && hangs.err.contains("`dccd stop --force` ends all of them"), "{}", hangs.err);
    let stopped = host.run_own(&["stop", "--force", "--timeout", "1", "--json"]).code(0);
    for words in [
        &format!("dccd-root (pid {root}) gives no answer; killing it\n"),
        "dccd-root is gone (killed) after ",
        &format!("stopping datad.binance (pid {datad}), which has lost dccd-root\n"),
        "datad.binance is gone (killed) after ",
        "dccd has stopped after ",
    ] {
        assert!(stopped.err.contains(words), "{words}: {}", stopped.err);
    }
    let report = stopped.json();
    for (at, name) in ["dccd-root", "datad.binance"].into_iter().enumerate() {
        let service = &report["services"][at];
        let told = (&service["name"], &service["exit"], &service["killed"]);
        assert_eq!(told, (&json!(name), &json!("SIGKILL"), &json!(true)), "{report}");
    }
    assert!(has_ended(root) && has_ended(datad));
    assert_eq!(rings(&host), [""; 0], "rings are left behind");
    host.run_own(&["stop", "--force"]).code(11);
    // Nothing of it is in the way of the next one.
    host.run_own(&["start", "--detach"]).code(0);
    host.run_own(&["stop"]).code(0);
}

#[test]
fn a_reload_says_what_is_another_and_shows_no_secret() {
    let host = Host::new();
    let at = ("http://127.0.0.1:1", "ws://127.0.0.1:1");
    host.put("config.yml", &configuration(at.0, at.1, ""));
    host.run_own(&["start", "--detach"]).code(0);
    let more = "alerts: {webhooks: [{url: 'http://127.0.0.1:9/hunter2'}]}
storage:
  sync_interval: 60
  remotes: [{provider: s3, bucket: b, endpoint: 'http://127.0.0.1:9', access_key_id: AKID, secret_access_key: hunter2}]
daemon: {log_level: debug, shutdown_timeout: 30, http: {address: '127.0.0.1:9', token: hunter2hunter2hunter2}}
";
    let text = configuration("http://127.0.0.1:2", at.1, more).replace("time_step: 1", "time_step: 5");
    host.put("config.yml", &text);
    let dry = host.run_own(&["reload", "--dry-run"]).code(0);
    let done = host.run_own(&["reload"]).code(0);
    for (ran, changed) in [(&dry, "would be "), (&done, "")] {
        let row = |service: &str| ran.out.lines().find(|line| line.starts_with(service)).unwrap_or_default().to_owned();
        for (service, change, words) in [
            ("datad.binance", "restarted", "time_step: 1 s → 5 s; rest_url: http://127.0.0.1:1 → http://127.0.0.1:2"),
            ("syncd", "started", "storage.sync_interval: 3600 s → 60 s; s3://b is copied to"),
            ("dccd-root", "reloaded", "daemon.log_level: info → debug; daemon.shutdown_timeout: 60 s → 30 s; "),
        ] {
            let row = row(service);
            assert!(row.contains(&format!("{changed}{change} ")) && row.contains(words), "{words}: {row}");
        }
        assert!(row("alertd").contains("a webhook of 127.0.0.1:9 is told"), "{}", ran.out);
        let later = "daemon.http.address: none → 127.0.0.1:9, from the next dccd-root on";
        assert!(row("dccd-root").contains(later), "{}", ran.out);
        assert!(ran.err.contains("daemon.http will be taken up by: dccd restart dccd-root"), "{}", ran.err);
        assert!(!ran.out.contains("hunter2") && !ran.err.contains("hunter2"), "{ran:?}");
    }
    assert!(done.out.contains("without a moment between") || done.out.contains("stopped and started again"), "{}", done.out);
    assert!(host.run_own(&["reload"]).code(0).err.contains("nothing has changed"));
    host.run_own(&["stop"]).code(0);
}

#[test]
fn a_stop_that_comes_while_the_root_is_replaced_stops_the_next_one() {
    let host = Host::new();
    let exchange = Exchange::start(&host, 200);
    let more = "daemon: {shutdown_timeout: 2}\n";
    host.put("config.yml", &configuration(&exchange.rest_url, &exchange.ws_url, more));
    host.run_own(&["start", "--detach"]).code(0);
    let services = host.run_own(&["services", "--json"]).code(0).json();
    // It holds up its own restart, and that the hand-over.
    kill_process(pid(&services[1]["pid"]), Signal::STOP).unwrap();
    let quiet = |args: &[&str]| host.own(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut restart = quiet(&["restart", "datad.binance"]);
    wait_for(PATIENCE, || host.run_own(&["services", "--json"]), |ran| ran.out.contains("\"stopping\""));
    let mut replace = quiet(&["restart", "dccd-root"]);
    wait_for(PATIENCE, || host.run_own(&["services", "--json"]).json(), |now| now[0]["state"] == "stopping");
    let stopped = host.run_own(&["stop"]).code(0);
    assert!(stopped.err.contains("dccd-root is just being restarted; waiting for the next one"), "{}", stopped.err);
    assert!(has_ended(&services[0]["pid"]) && has_ended(&services[1]["pid"]));
    host.run_own(&["stop"]).code(11);
    restart.wait().unwrap();
    replace.wait().unwrap();
    assert_eq!(rings(&host), [""; 0], "rings are left behind");
}

#[test]
fn a_pid_file_takes_the_place_of_nothing_else() {
    let host = Host::new();
    host.put("config.yml", &configuration("http://127.0.0.1:1", "ws://127.0.0.1:1", "daemon: {pid_file: precious}\n"));
    let file = host.put("precious", "1 of a kind");
    let ran = host.run_own(&["start"]).code(12);
    assert!(ran.err.contains("precious is no pid file"), "{}", ran.err);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "1 of a kind");
    std::fs::remove_file(&file).unwrap();
    let elsewhere = host.put("elsewhere", "");
    std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
    host.run_own(&["start"]).code(12);
    assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "");
}

#[test]
fn a_service_that_dies_comes_back_and_can_be_restarted() {
    let host = Host::new();
    let exchange = Exchange::start(&host, 200);
    let text = configuration(&exchange.rest_url, &exchange.ws_url, "");
    host.put("config.yml", &text);
    host.run_own(&["start", "--detach"]).code(0);
    let datad = |host: &Host| host.run_own(&["services", "--json"]).code(0).json()[1].clone();
    let first = datad(&host);
    // A file that is being edited keeps nobody from coming back.
    host.put("config.yml", "stream_jobs: [");
    kill_process(pid(&first["pid"]), Signal::KILL).unwrap();
    let second = wait_for(PATIENCE, || datad(&host), |now| now["pid"] != first["pid"] && now["state"] == "ready");
    assert_eq!((&second["restarts"], &second["last_exit"]), (&json!(1), &json!("SIGKILL")));
    let exit = &second["exits"][0];
    assert_eq!((&exit["pid"], &exit["reason"], &exit["killed"]), (&first["pid"], &json!("SIGKILL"), &json!(false)));
    let detailed = host.run_own(&["status", "--detailed"]).code(0).out;
    assert!(detailed.contains("what is known of it") && detailed.contains("not killed by dccd; it"), "{detailed}");
    let ran = host.run_own(&["restart", "datad.binance"]).code(0);
    assert!(ran.err.contains("datad.binance is ready at unix:"), "{}", ran.err);
    assert_ne!(datad(&host)["pid"], second["pid"]);
    host.run_own(&["restart"]).code(1);
    let copy = host.runtime().join("config.yml");
    assert_eq!(std::fs::read_to_string(&copy).unwrap(), text);
    assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    let status = host.run_own(&["status", "--json"]).code(0).json();
    assert_eq!(status["daemon"]["config_path"], json!(host.path().join("config.yml")));
    host.put("config.yml", &text);
    let root = host.run_own(&["services", "--json"]).json()[0]["pid"].clone();
    host.run_own(&["restart"]).code(0);
    assert_ne!(host.run_own(&["services", "--json"]).code(0).json()[0]["pid"], root);
    let exits = datad(&host)["exits"].clone();
    let reasons: Vec<_> = exits.as_array().unwrap().iter().map(|exit| exit["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["SIGKILL", "handed over", "stop"], "kept over the root");
    let handed = &exits[1];
    assert_eq!((&handed["pid"], &handed["code"], &handed["killed"]), (&second["pid"], &json!(0), &json!(false)));
    let ran = host.run_own(&["restart", "datad.nowhere"]).code(1);
    assert!(ran.err.contains("datad.nowhere") && ran.err.contains("datad.binance"), "{ran:?}");
    host.run_own(&["stop"]).code(0);
    assert!(!copy.exists());
}

#[test]
fn a_feed_that_nobody_configured_is_opened_to_be_tailed_and_given_back() {
    let host = Host::new();
    let exchange = Exchange::start(&host, 200);
    host.put("config.yml", &configuration(&exchange.rest_url, &exchange.ws_url, ""));
    host.run_own(&["start", "--detach"]).code(0);
    let ran = host.run_own(&["tail", "binance/ETH/USDT/trades", "-n", "2"]).code(0);
    assert_eq!((ran.out.lines().count(), ran.err.as_str()), (3, "opened the feed binance/ETH/USDT/trades\n"));
    let feeds = |host: &Host| {
        host.run_own(&["status", "--detailed", "--json"]).code(0).json()["exchanges"]["binance"]["feeds"].clone()
    };
    wait_for(
        PATIENCE,
        || feeds(&host),
        |feeds| {
            let eth = feeds.as_array().unwrap().iter().find(|feed| feed["symbol"] == "ETH/USDT");
            eth.is_none_or(|feed| feed["holders"] == 0)
        },
    );
    let ran = host.run_own(&["tail", "binance/NO/SUCH/trades"]).code(1);
    assert!(ran.err.contains("NO/SUCH"), "{}", ran.err);

    // Without -n it goes on until it is interrupted.
    let mut tail =
        host.own(&["tail", "binance/BTC/USDT/trades"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    for _ in 0..5 {
        lines.next().unwrap().unwrap();
    }
    kill_process(Pid::from_child(&tail), Signal::INT).unwrap();
    assert_eq!(tail.wait().unwrap().code(), Some(130));
    host.run_own(&["stop"]).code(0);
}

#[test]
fn an_exchange_that_is_down_keeps_nobody_from_starting() {
    let host = Host::new();
    host.put("config.yml", &configuration("http://127.0.0.1:1", "ws://127.0.0.1:1", ""));
    let started = host.run_own(&["start", "--detach"]).code(0);
    assert!(started.err.contains("datad.binance is ready, but degraded: "), "{}", started.err);
    let datad = host.run_own(&["services", "--json"]).code(0).json()[1].clone();
    assert_eq!(datad["state"], json!("degraded"));
    assert!(datad["reason"].as_str().unwrap().contains("waiting for the exchange's markets"), "{datad}");
    let status = host.run_own(&["status", "--json"]).code(0).json();
    assert_eq!(status["jobs"].as_array().unwrap().len(), 3);
    // Why nothing is recorded is said to people without their asking for details.
    let told = host.run_own(&["status"]).code(0).out;
    let why = "binance/BTC/USDT/trades and 2 more: waiting for the exchange's markets";
    assert!(told.lines().any(|line| line.starts_with(why)), "{told}");
    // Who has no configuration at hand, or is just editing it, hears what is wrong all the same.
    let alerts = |command: &mut std::process::Command| Ran::from(command.output().unwrap()).code(0).json();
    let elsewhere = alerts(host.own(&["alerts", "list", "--json"]).current_dir("/"));
    assert_eq!(elsewhere["live"], json!(true), "{elsewhere}");
    host.put("config.yml", "stream_jobs: [");
    assert_eq!(alerts(&mut host.own(&["alerts", "list", "--json"]))["live"], json!(true));
    host.run_own(&["stop"]).code(0);
}

#[test]
fn what_cannot_start_is_explained_and_taken_back() {
    let host = Host::new();
    let config = |data: &str| configuration("http://127.0.0.1:1", "ws://127.0.0.1:1", "").replace("./data", data);
    // The store's directory lies below a file.
    host.put("file", "");
    host.put("config.yml", &config("./file/data"));
    for args in [&["start", "--detach"][..], &["start"]] {
        let ran = host.run_own(args).code(12);
        assert!(ran.err.contains("file/data"), "{}", ran.err);
    }
    // A service that ends as soon as it is started.
    host.put("config.yml", &config("./data"));
    host.put("data/.dccd/journal", "a file where a directory belongs");
    let ran = host.run_own(&["start", "--detach"]).code(12);
    assert!(ran.err.contains("datad.binance could not be started (backoff"), "{}", ran.err);
    assert!(ran.err.contains("the end of its log") && ran.err.contains("journal"), "{}", ran.err);
    host.run_own(&["stop"]).code(11);
    assert!(!host.runtime().join("root.sock").exists());
}
