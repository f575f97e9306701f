//! Health and metrics of a whole tree over HTTP: what is there, what a dead service leaves, what bad clients cost the others.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use dccd_sim::{Disconnection, Fault, Target};
use dccd_testkit::{skip, wait_for};
use dccd_tests::web::{self, Page, get, get_with, http_address};
use dccd_tests::{COLLECTOR, Exchange, PATIENCE, Place, Setup, Tree, python};
use rustix::process::{Pid, Signal, kill_process};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The configuration of a tree that serves HTTP on a port that is free; history besides the live feeds.
fn setup(exchange: &Exchange, daemon: &str) -> Setup {
    let more = format!(
        "histo_jobs: [{{exchange: binance, pairs: [BTC/USDT], span: 60}}]\ndaemon: {{http: {{address: '127.0.0.1:0'}}, {daemon}}}\n"
    );
    Setup { more, ..Setup::new(exchange) }
}

const AT_ONCE: &str = "restart: {max_restarts: 1000, window: 600, base_delay: 0, max_delay: 1}";

/// Samples with this in their series.
fn with<'a>(samples: &'a BTreeMap<String, f64>, part: &str) -> Vec<(&'a String, &'a f64)> {
    samples.iter().filter(|(series, _)| series.contains(part)).collect()
}

fn up(page: &Page) -> Option<f64> {
    page.samples().get(&format!("dccd_service_up{{service=\"{COLLECTOR}\"}}")).copied()
}

/// Whether a sample may only grow.
fn is_counter(series: &str) -> bool {
    let name = series.split('{').next().unwrap_or_default();
    name.ends_with("_total") || name.ends_with("_bucket") || name.ends_with("_count") || name.ends_with("_sum")
}

#[test]
fn the_whole_tree_tells_its_health_and_its_metrics() {
    let mut exchange = Exchange::busy(200.0, 400.0);
    let mut tree = Tree::start(&setup(&exchange, AT_ONCE));
    tree.wait_live(6);
    let at = http_address(&tree);
    assert_eq!((get(at, "/live").code, get(at, "/live").body.as_str()), (200, "live\n"));
    let ready = get(at, "/ready");
    assert_eq!((ready.code, ready.json()["ready"].clone()), (200, true.into()), "{ready:?}");
    // The host's disk is whatever it is; the rest is as it should be.
    let health = wait_for(PATIENCE, || get(at, "/health").json(), |health| health["checks"]["feeds"]["status"] == "healthy");
    for check in ["dccd-root", COLLECTOR, "feeds", "gaps", "requests"] {
        assert_eq!(health["checks"][check]["status"], "healthy", "{health}");
    }
    assert!(health["checks"][COLLECTOR]["latency_ms"].as_f64().unwrap() > 0.0, "{health}");
    assert!(health["checks"]["disk"]["message"].is_string() && health["uptime_seconds"].as_f64().unwrap() > 0.0, "{health}");

    // Every family has a sample when every part has done something once.
    let stored = |page: &Page| with(&page.samples(), "dccd_rows_written_total").iter().all(|(_, rows)| **rows > 0.0);
    let page = wait_for(PATIENCE, || get(at, "/metrics"), |page| families_without_samples(page).is_empty() && stored(page));
    assert!(page.head.contains(OPENMETRICS) && page.body.ends_with("# EOF\n"), "{page:?}");
    let samples = page.samples();
    let trades = |name: &str| {
        let labels = format!("service=\"{COLLECTOR}\",exchange=\"binance\",symbol=\"BTC/USDT\",channel=\"trades\"");
        samples[&format!("{name}{{{labels}}}")]
    };
    assert!(trades("dccd_records_total") > 0.0 && trades("dccd_job_last_success_timestamp_seconds") > 1e9);
    assert!(trades("dccd_data_age_seconds") < 30.0 && trades("dccd_feed_live") == 1.0);
    let of_exchange = |name: &str| samples[&format!("{name}{{service=\"{COLLECTOR}\",exchange=\"binance\"}}")];
    let (frames, timed) = (of_exchange("dccd_messages_total"), of_exchange("dccd_frame_to_ring_seconds_count"));
    assert!(frames > 0.0 && timed > 0.0 && timed <= frames, "{timed} of {frames} frames were timed");
    assert_eq!((of_exchange("dccd_parse_errors_total"), of_exchange("dccd_recorder_up")), (0.0, 1.0));
    assert_eq!(of_exchange("dccd_reconnects_total"), 0.0);
    assert_eq!(with(&samples, "dccd_service_up").len(), 2);
    parsed_by_others(at);

    exchange.inject(Fault::Disconnect { target: Target::default(), how: Disconnection::Abrupt });
    wait_for(
        PATIENCE,
        || get(at, "/metrics").samples(),
        |samples| with(samples, "dccd_reconnects_total").iter().any(|(_, n)| **n >= 1.0),
    );
    refused(at);
    tree.stop();
    exchange.stop();
}

/// What is announced and has no sample.
fn families_without_samples(page: &Page) -> Vec<String> {
    let samples = page.samples();
    let names: BTreeSet<&str> = samples.keys().filter_map(|series| series.split('{').next()).collect();
    let announced = page.body.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let silent = announced.filter(|family| {
        let forms = ["", "_total", "_count"].map(|suffix| format!("{family}{suffix}"));
        !forms.iter().any(|name| names.contains(name.as_str()))
    });
    silent.map(str::to_owned).collect()
}

/// Other people's parsers have nothing to say against it.
fn parsed_by_others(at: SocketAddr) {
    let text = get_with(at, "/metrics", "Accept: text/plain\r\n");
    assert!(text.head.contains("text/plain; version=0.0.4") && !text.body.contains("# EOF"), "{text:?}");
    if let Some(mut promtool) = promtool("promtool check metrics") {
        let checked = fed(promtool.args(["check", "metrics"]), &text.body);
        assert_eq!(checked, (true, String::new()));
    }
    let name = "the OpenMetrics parser of prometheus_client";
    if let Some(python) = python(name, &["prometheus_client"]) {
        let program = "import sys\nfrom prometheus_client.openmetrics.parser import text_string_to_metric_families as parse\n\
                       families = list(parse(sys.stdin.read()))\nassert len(families) > 30 and all(f.documentation for f in families)";
        let checked = fed(Command::new(python).args(["-c", program]), &get(at, "/metrics").body);
        assert_eq!(checked, (true, String::new()));
    }
}

/// `$DCCD_PROMTOOL`, else the one on the path; without one the check is noted as skipped.
fn promtool(check: &str) -> Option<Command> {
    let program = std::env::var_os("DCCD_PROMTOOL").unwrap_or_else(|| "promtool".into());
    let found = Command::new(&program).arg("--version").output();
    if let Err(error) = found {
        skip(check, &format!("no {}: {error}", program.display()));
        return None;
    }
    Some(Command::new(program))
}

/// Runs a program on a text; whether it succeeded, and what it said.
fn fed(command: &mut Command, text: &str) -> (bool, String) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// What isn't served.
fn refused(at: SocketAddr) {
    let head = web::exchange(at, b"HEAD /metrics HTTP/1.1\r\nHost: dccd\r\nConnection: close\r\n\r\n");
    assert!(head.code == 200 && head.body.is_empty() && head.head.to_lowercase().contains("content-length: "), "{head:?}");
    let post = web::exchange(at, b"POST /live HTTP/1.1\r\nHost: dccd\r\nConnection: close\r\n\r\n");
    assert!(post.code == 405 && post.head.to_lowercase().contains("allow: get, head"), "{post:?}");
    assert_eq!(get(at, "/").code, 404);
    assert_eq!(get(at, "/metrics/../live").code, 404);
}

#[test]
fn the_alert_rules_fire_when_they_should() {
    let Some(mut promtool) = promtool("promtool test rules") else { return };
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations");
    let output = promtool.args(["test", "rules", "alerts_test.yml"]).current_dir(rules).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_queries_of_the_dashboard_are_understood() {
    let Some(mut promtool) = promtool("promtool check rules") else { return };
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations/grafana.json");
    let board: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let targets = board["panels"].as_array().unwrap().iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    // What Grafana puts in before it asks.
    let queries = targets.map(|target| target["expr"].as_str().unwrap().replace("$__rate_interval", "1m"));
    let rules: Vec<_> = queries
        .enumerate()
        .map(|(n, expr)| serde_json::json!({"record": format!("dashboard:q{n}"), "expr": expr}))
        .collect();
    assert!(rules.len() > 20);
    let directory = tempfile::tempdir().unwrap();
    // JSON is YAML.
    let file = directory.path().join("rules.yml");
    std::fs::write(&file, serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string()).unwrap();
    let output = promtool.args(["check", "rules"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_service_that_is_killed_or_silent_has_no_series_until_it_is_back() {
    let mut exchange = Exchange::busy(200.0, 400.0);
    // The second restart waits a while, so that there is something to see.
    let mut tree = Tree::start(&setup(&exchange, "restart: {max_restarts: 1000, window: 600, base_delay: 3, max_delay: 3}"));
    tree.wait_live(6);
    let at = http_address(&tree);
    let records = |page: &Page| {
        let samples = page.samples();
        with(&samples, "dccd_records_total").iter().map(|(_, n)| **n).sum::<f64>()
    };
    let before = wait_for(PATIENCE, || records(&get(at, "/metrics")), |records| *records > 500.0);
    let first = tree.collector().and_then(|c| c.pid).unwrap();
    tree.kill(first);
    let second = tree.wait_ready(Some(first));
    tree.kill(second);
    let ready = wait_for(PATIENCE, || get(at, "/ready"), |ready| ready.code == 503);
    assert_eq!(ready.json()["missing"], serde_json::json!([COLLECTOR]), "{ready:?}");
    let reason = wait_for(PATIENCE, || get(at, "/ready").json()["reasons"][COLLECTOR].clone(), serde_json::Value::is_string);
    assert!(reason.as_str().unwrap().contains("SIGKILL"), "{reason}");
    let page = get(at, "/metrics");
    let samples = page.samples();
    assert_eq!(with(&samples, "exchange=\""), [], "the dead have no series");
    assert_eq!(up(&page), Some(0.0));
    let state = format!("dccd_service_state{{service=\"{COLLECTOR}\",state=\"backoff\"}}");
    assert_eq!(samples[&state], 1.0, "{samples:#?}");
    let health = get(at, "/health");
    assert_eq!((health.code, health.json()["status"].clone()), (503, "unhealthy".into()), "{health:?}");
    assert_eq!(get(at, "/live").code, 200);

    let third = tree.wait_ready(Some(second));
    assert_eq!(get(at, "/ready").code, 200);
    tree.wait_live(6);
    let page = wait_for(PATIENCE, || get(at, "/metrics"), |page| records(page) > before);
    assert_eq!(page.samples()[&format!("dccd_service_restarts_total{{service=\"{COLLECTOR}\"}}")], 2.0);

    // One that lives and doesn't answer is no better than a dead one, and holds nobody up for long.
    let third = Pid::from_raw(i32::try_from(third).unwrap()).unwrap();
    kill_process(third, Signal::STOP).unwrap();
    let silent = wait_for(PATIENCE, || get(at, "/metrics"), |page| up(page) == Some(0.0));
    assert_eq!(with(&silent.samples(), "exchange=\""), [], "the silent have no series");
    let health = get(at, "/health").json();
    assert_eq!(health["checks"][COLLECTOR]["status"], "unhealthy", "{health}");
    kill_process(third, Signal::CONT).unwrap();
    wait_for(PATIENCE, || get(at, "/metrics"), |page| up(page) == Some(1.0));
    tree.stop();
    exchange.stop();
}

#[test]
fn counters_never_go_back() {
    let mut exchange = Exchange::busy(300.0, 600.0);
    let mut tree = Tree::start(&setup(&exchange, AT_ONCE));
    tree.wait_live(6);
    let at = http_address(&tree);
    let mut last: BTreeMap<String, f64> = BTreeMap::new();
    let mut looks = 0;
    wait_for(
        PATIENCE,
        || {
            let samples = get(at, "/metrics").samples();
            for (series, value) in samples.iter().filter(|(series, _)| is_counter(series)) {
                let before = last.get(series).copied().unwrap_or(0.0);
                assert!(*value >= before, "{series} went from {before} to {value}");
            }
            let gone: Vec<_> = last.keys().filter(|series| !samples.contains_key(*series)).collect();
            assert!(gone.is_empty(), "{gone:?} went away");
            last = samples;
            looks += 1;
            looks
        },
        |looks| *looks > 100,
    );
    tree.stop();
    exchange.stop();
}

#[test]
fn slow_huge_and_senseless_requests_hold_up_nobody() {
    let mut exchange = Exchange::busy(50.0, 50.0);
    let mut tree = Tree::start(&setup(&exchange, AT_ONCE));
    tree.wait_live(6);
    let at = http_address(&tree);
    // Far more than there is room for, none of which ever says what it wants.
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut socket = TcpStream::connect(at).unwrap();
        // It may have been thrown out already: there is no room for all of them.
        let _ = socket.write_all(b"GET /metr");
        slow.push(socket);
        if slow.len() % 20 == 0 {
            assert_eq!(get(at, "/live").code, 200, "after {} slow clients", slow.len());
        }
    }
    let pages = ["/ready", "/metrics"].map(|path| get(at, path));
    assert!(pages.iter().all(|page| page.code == 200), "{pages:?}");
    let huge = format!("GET /live HTTP/1.1\r\nHost: dccd\r\nX-Long: {}\r\n\r\n", "x".repeat(1 << 20));
    let huge = web::exchange(at, huge.as_bytes());
    assert!([0, 431].contains(&huge.code), "{huge:?}");
    let many = format!("GET /live HTTP/1.1\r\nHost: dccd\r\n{}\r\n", "X: y\r\n".repeat(500));
    let many = web::exchange(at, many.as_bytes());
    assert!([0, 431].contains(&many.code), "{many:?}");
    let body = web::exchange(at, b"GET /live HTTP/1.1\r\nHost: dccd\r\nContent-Length: 1000000000000\r\n\r\nabc");
    assert_eq!(body.code, 413, "{body:?}");
    for senseless in [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), b"\r\n\r\nEHLO\r\n\r\n", &[0xff; 5_000]] {
        let page = web::exchange(at, senseless);
        assert!([0, 400, 431].contains(&page.code), "{page:?}");
    }
    assert_eq!(get(at, "/health").json()["checks"][COLLECTOR]["status"], "healthy");
    drop(slow);
    tree.stop();
    exchange.stop();
}

#[test]
fn a_token_is_asked_for_where_one_is_set() {
    let mut exchange = Exchange::busy(50.0, 50.0);
    let more = "daemon: {http: {address: '127.0.0.1:0', token: s3cret-words}}\n".to_owned();
    let mut tree = Tree::start(&Setup { more, ..Setup::new(&exchange) });
    let at = http_address(&tree);
    for (headers, code) in [
        ("", 401),
        ("Authorization: Bearer s3cret-word\r\n", 401),
        ("Authorization: Bearer s3cret-wordz\r\n", 401),
        ("Authorization: Basic s3cret-words\r\n", 401),
        ("Authorization: Bearer s3cret-words\r\n", 200),
        ("Authorization: bearer s3cret-words\r\n", 200),
    ] {
        for path in ["/live", "/metrics"] {
            let page = get_with(at, path, headers);
            assert_eq!(page.code, code, "{headers} {page:?}");
            assert_eq!(page.head.to_lowercase().contains("www-authenticate: bearer"), code == 401, "{page:?}");
        }
    }
    assert!(!tree.root_said().contains("s3cret"), "the token is in the log");
    tree.stop();
    exchange.stop();
}

#[test]
fn a_port_in_use_is_an_error_at_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let place = Place::new();
    let more = format!("daemon: {{http: {{address: '{address}'}}}}\n");
    let setup = Setup { more, ..Setup::at("http://127.0.0.1:1".to_owned(), "ws://127.0.0.1:1".to_owned()) };
    place.put("config.yml", &setup.text(&place.path().join("data")));
    let config = place.path().join("config.yml");
    for how in ["--foreground", "--detach"] {
        let ran = place.run(&["start", how, "--config", &config.display().to_string()]).code(12);
        assert!(ran.err.contains(&format!("cannot serve HTTP on {address}")), "{}", ran.err);
        assert!(ran.err.contains("in use") && ran.err.contains("daemon.http.address"), "{}", ran.err);
    }
    let _ = place.run(&["services", "--config", &config.display().to_string()]).code(11);
}
