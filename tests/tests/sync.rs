//! Copies of the store: by rclone and by itself, from the command line and by the clock beside a recording that goes on, over kills of the
//! process that copies; and a store made of a copy.

use std::path::Path;
use std::process::Stdio;

use dccd_testkit::{contents, wait_for};
use dccd_tests::remotes::{S3Server, has_rclone};
use dccd_tests::{Exchange, PATIENCE, Place, Ran, Setup, Tree};
use rustix::process::{Pid, Signal, kill_process};

const SECRET: &str = "hunter2hunter2";
const BUCKET: &str = "archive";

/// Whatever a run of the program has written, no secret is among it.
fn no_secret(place: &Place, ran: &Ran) {
    let mut said = format!("{}{}", ran.out, ran.err);
    for (_, content) in contents(&place.path().join("data"), &["sync", "logs", "state"]) {
        said.push_str(&String::from_utf8_lossy(&content));
    }
    assert!(!said.contains(SECRET), "{said}");
}

fn config(place: &Place, remotes: &str) {
    let data = place.path().join("data");
    place.put(
        "config.yml",
        &format!("settings: {{data_path: '{}', timezone: UTC}}\nstorage: {{remotes: [{remotes}]}}\n", data.display()),
    );
}

/// Puts a file where the store would.
fn put(place: &Place, path: &str, content: &[u8]) {
    let path = place.path().join("data").join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

#[test]
fn the_command_works_without_a_daemon() {
    if !has_rclone("the_command_works_without_a_daemon") {
        return;
    }
    let place = Place::new();
    config(&place, &format!("{{remote: '{}'}}", place.path().join("copy").display()));
    put(&place, "binance/trades/BTC-USDT/2026-01-01.parquet", &[1; 1_000]);
    put(&place, "binance/trades/BTC-USDT/2026-01-02.parquet", &[2; 2_000]);
    let shown = place.run(&["sync", "--json"]).code(0).json();
    assert_eq!(
        (&shown[0]["state"], &shown[0]["behind_files"], &shown[0]["last_success"]),
        (&"never".into(), &2.into(), &serde_json::Value::Null)
    );
    let ran = place.run(&["sync", "--now"]).code(0);
    assert!(ran.err.contains("no daemon is running; this process does the copying"), "{}", ran.err);
    assert!(ran.err.contains("done, 2 of 2 files, 2.9 KiB of 2.9 KiB"), "{}", ran.err);
    assert!(ran.out.contains("idle") && ran.out.contains("2.9 KiB"), "{}", ran.out);
    let shown = place.run(&["sync", "--json"]).code(0).json();
    assert_eq!(
        (&shown[0]["state"], &shown[0]["behind_files"], &shown[0]["copied_files"]),
        (&"idle".into(), &0.into(), &2.into())
    );
    assert!(shown[0]["last_success"].as_str().unwrap().starts_with("20"), "{shown}");
    assert_eq!(contents(&place.path().join("copy"), &[]), contents(&place.path().join("data"), &[]));
    let again = place.run(&["sync", "--now"]).code(0);
    assert!(again.err.contains("up to date, nothing to copy"), "{}", again.err);
    // What goes wrong is said, and is the exit code.
    let wrong = place.run(&["sync", "--remote", "nas"]).code(1);
    assert!(wrong.err.contains("remote \"nas\" is unknown (known: "), "{}", wrong.err);
    config(&place, "{remote: 'no-such:x'}");
    let wrong = place.run(&["sync", "--now", "--remote", "no-such"]).code(1);
    assert!(wrong.err.contains("could not copy to no-such:x: rclone ended with code 1"), "{}", wrong.err);
    let shown = place.run(&["sync", "--json"]).code(0).json();
    assert_eq!((&shown[0]["state"], &shown[0]["failures"]), (&"failed".into(), &1.into()), "{shown}");
    config(&place, "");
    let none = place.run(&["sync", "--now"]).code(1);
    assert!(none.err.contains("the configuration names no remotes; add storage.remotes"), "{}", none.err);
}

#[test]
fn remotes_are_looked_at_when_the_configuration_is() {
    if !has_rclone("remotes_are_looked_at_when_the_configuration_is") {
        return;
    }
    let place = Place::new();
    config(&place, "{remote: 'mynas:crypto/'}, {remote: 'other:'}");
    place.put(".config/rclone/rclone.conf", "[other]\ntype = local\n");
    let ran = place.run(&["validate"]).code(0);
    let warning = "mynas:crypto/: rclone has no remote named mynas (it knows other); make it with: rclone config";
    assert!(ran.err.contains(warning) && !ran.err.contains("named other"), "{}", ran.err);
    let mut command = place.command(&["validate"]);
    let ran = Ran::from(command.env("PATH", "/nowhere").output().unwrap()).code(0);
    assert!(ran.err.contains("cannot run rclone; install rclone"), "{}", ran.err);
    assert!(ran.out.contains("remotes: 2") && ran.out.contains("Config is valid."), "{}", ran.out);
}

#[test]
fn a_store_is_copied_to_s3_without_rclone() {
    let place = Place::new();
    let Some(server) = S3Server::start("a_store_is_copied_to_s3_without_rclone", BUCKET, &place.path().join("s3.log"))
    else {
        return;
    };
    let of = |endpoint: &str| {
        format!(
            "{{provider: s3, bucket: {BUCKET}, prefix: crypto, endpoint: '{endpoint}', access_key_id: AKID, secret_access_key: {SECRET}}}"
        )
    };
    config(&place, &of(&server.url()));
    put(&place, "binance/trades/BTC-USDT/2026-01-01.parquet", &[1; 1_000]);
    put(&place, "kraken/ohlc/BTC-USD_USD/1h/2026.parquet", b"");
    put(&place, ".dccd/legacy/kraken/ohlc/BTC-USD/1h/2020.parquet", &[4; 10]);
    // In three parts.
    let large: Vec<u8> = (0..20_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    put(&place, "binance/book/BTC-USDT/2026-01-01.parquet", &large);
    let mut command = place.command(&["sync", "--now"]);
    // Nothing of it needs rclone.
    let ran = Ran::from(command.env("PATH", "/nowhere").output().unwrap()).code(0);
    assert!(ran.err.contains("done, 4 of 4 files"), "{}", ran.err);
    no_secret(&place, &ran);
    let stored = || contents(&place.path().join("data"), &["legacy"]);
    let there = || -> std::collections::BTreeMap<_, _> {
        let all = server.contents(BUCKET).into_iter();
        all.map(|(key, content)| (key.strip_prefix("crypto/").unwrap().to_owned(), content)).collect()
    };
    assert!(there() == stored(), "{:?} {:?}", there().keys(), stored().keys());
    assert!(place.run(&["sync", "--now"]).code(0).err.contains("up to date, nothing to copy"));
    // Without a record what is there is compared, and nothing is sent that looks the same.
    std::fs::remove_dir_all(place.path().join("data/.dccd/sync")).unwrap();
    let puts = || std::fs::read_to_string(place.path().join("s3.log")).unwrap().matches("\"PUT /archive/").count();
    let before = puts();
    put(&place, "binance/trades/BTC-USDT/2026-01-01.parquet", &[7; 1_000]);
    let _ = place.run(&["sync", "--now"]).code(0);
    assert!(there() == stored());
    assert_eq!(puts(), before + 1, "more than what has changed was sent");
    // Nobody there, and a key that is missing.
    let nobody = dccd_tests::free_port();
    config(&place, &of(&format!("http://{nobody}")));
    let ran = place.run(&["sync", "--now"]).code(1);
    assert!(ran.err.contains("could not copy to s3://archive/crypto: cannot"), "{}", ran.err);
    no_secret(&place, &ran);
    config(&place, &format!("{{provider: s3, bucket: {BUCKET}, endpoint: '{}'}}", server.url()));
    let ran = place.run(&["sync", "--now"]).code(1);
    assert!(ran.err.contains("no key: set access_key_id and secret_access_key, or AWS_ACCESS_KEY_ID"), "{}", ran.err);
    let mut command = place.command(&["sync", "--now"]);
    command.env("AWS_ACCESS_KEY_ID", "AKID").env("AWS_SECRET_ACCESS_KEY", SECRET);
    let ran = Ran::from(command.output().unwrap()).code(0);
    no_secret(&place, &ran);
}

#[test]
fn another_stores_objects_are_replaced_only_when_that_is_said() {
    const TEST: &str = "another_stores_objects_are_replaced_only_when_that_is_said";
    const DAY: &str = "binance/trades/BTC-USDT/2026-01-01.parquet";
    let (place, other) = (Place::new(), Place::new());
    let Some(server) = S3Server::start(TEST, BUCKET, &place.path().join("s3.log")) else { return };
    for (place, content) in [(&place, 1), (&other, 2)] {
        let remote = format!(
            "{{provider: s3, bucket: {BUCKET}, prefix: crypto, endpoint: '{}', access_key_id: AKID, secret_access_key: {SECRET}}}",
            server.url()
        );
        config(place, &remote);
        put(place, DAY, &[content; 1_000]);
        // The kernel's clock may not have gone on since the other one was written.
        let day = std::fs::File::options().write(true).open(place.path().join("data").join(DAY)).unwrap();
        let time = std::time::SystemTime::now() - std::time::Duration::from_secs(content.into());
        day.set_modified(time).unwrap();
    }
    let there = || server.contents(BUCKET).remove(&format!("crypto/{DAY}")).unwrap();
    let _ = place.run(&["sync", "--now"]).code(0);
    let ran = other.run(&["sync", "--now"]).code(1);
    let refused = "could not copy to s3://archive/crypto: another store is copied there already (its id begins with ";
    let way_out = "dccd sync --now --replace --remote s3://archive/crypto\n";
    assert!(ran.err.contains(refused) && ran.err.ends_with(way_out), "{}", ran.err);
    assert_eq!(there(), [1; 1_000]);
    // It is said of remotes by their names, and not of all that there are.
    let _ = other.run(&["sync", "--now", "--replace"]).code(2);
    assert_eq!(there(), [1; 1_000]);
    let _ = other.run(&["sync", "--now", "--replace", "--remote", "s3://archive/crypto"]).code(0);
    assert_eq!(there(), [2; 1_000]);
    assert!(place.run(&["sync", "--now"]).code(0).err.contains("up to date, nothing to copy"));
    // Without its own directory it is the one that most of the objects are of.
    std::fs::remove_dir_all(place.path().join("data/.dccd")).unwrap();
    let _ = place.run(&["sync", "--now"]).code(1);
    std::fs::remove_dir_all(other.path().join("data/.dccd")).unwrap();
    let _ = other.run(&["sync", "--now"]).code(0);
}

#[test]
fn rclone_copies_to_an_s3_server_too() {
    if !has_rclone("rclone_copies_to_an_s3_server_too") {
        return;
    }
    let place = Place::new();
    let Some(server) = S3Server::start("rclone_copies_to_an_s3_server_too", BUCKET, &place.path().join("s3.log")) else {
        return;
    };
    let text = format!(
        "[moto]\ntype = s3\nprovider = Other\nendpoint = {}\naccess_key_id = AKID\nsecret_access_key = {SECRET}\n",
        server.url()
    );
    place.put(".config/rclone/rclone.conf", &text);
    config(&place, &format!("{{remote: 'moto:{BUCKET}'}}"));
    put(&place, "binance/trades/BTC-USDT/2026-01-01.parquet", &[1; 1_000]);
    put(&place, "binance/trades/BTC-USDT/2026-01-02.parquet", &[2; 1_000]);
    let ran = place.run(&["sync", "--now"]).code(0);
    no_secret(&place, &ran);
    put(&place, "binance/trades/BTC-USDT/2026-01-02.parquet", &[3; 1_000]);
    assert!(place.run(&["sync", "--now"]).code(0).err.contains("1 of 1 files"));
    assert!(server.contents(BUCKET) == contents(&place.path().join("data"), &[]));
}

/// Pids of the programs that copy to this place.
fn copying(place: &Place) -> Vec<u32> {
    let stage = format!("{}/data/.dccd/sync/", place.path().display());
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_ours = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&stage)
    };
    pids.filter(is_ours).collect()
}

/// A store with a file that takes rclone a minute at [`SLOW`].
fn slow_place() -> Place {
    let place = Place::new();
    let (data, copy) = (place.path().join("data"), place.path().join("copy"));
    let text = format!(
        "settings: {{data_path: '{}', timezone: UTC}}\nstorage: {{sync_interval: 0, remotes: [{{remote: '{}'}}]}}\n",
        data.display(),
        copy.display()
    );
    place.put("config.yml", &text);
    put(&place, "binance/trades/BTC-USDT/2026-01-01.parquet", &vec![1; 60_000_000]);
    place
}

const SLOW: (&str, &str) = ("RCLONE_BWLIMIT", "1M");

/// Asks for a copy and gives the process that waits for it, once rclone is at work.
fn asked_slowly(place: &Place) -> std::process::Child {
    let mut command = place.command(&["sync", "--now"]);
    command.env(SLOW.0, SLOW.1).stdout(Stdio::piped()).stderr(Stdio::piped());
    let asking = command.spawn().unwrap();
    wait_for(PATIENCE, || copying(place), |programs| !programs.is_empty());
    asking
}

fn signal(child: &std::process::Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn a_command_that_ends_takes_rclone_along() {
    if !has_rclone("a_command_that_ends_takes_rclone_along") {
        return;
    }
    let place = slow_place();
    let asking = asked_slowly(&place);
    signal(&asking, Signal::INT);
    let ran = Ran::from(asking.wait_with_output().unwrap()).code(130);
    assert!(ran.err.contains("stopped; what was copied is noted"), "{}", ran.err);
    assert!(copying(&place).is_empty());
    let shown = || place.run(&["sync", "--json"]).code(0).json();
    assert_eq!((&shown()[0]["state"], &shown()[0]["behind_files"]), (&"interrupted".into(), &1.into()));
    // Killed outright, it can't do anything about it; the kernel does.
    let mut asking = asked_slowly(&place);
    asking.kill().unwrap();
    asking.wait().unwrap();
    wait_for(PATIENCE, || copying(&place), |programs| programs.is_empty());
    assert_eq!((&shown()[0]["state"], &shown()[0]["failures"]), (&"interrupted".into(), &0.into()));
}

/// rclone itself ends when it finds nobody who hears it; one that hangs says nothing. So a program takes its place that only hangs.
#[test]
fn a_program_that_hangs_dies_with_the_process_that_started_it() {
    let place = slow_place();
    let fake = "#!/bin/sh\ncase \"$1\" in version) echo 'rclone v1.60.1-DEV'; exit 0;; copy) ;; *) exit 0;; esac\necho $$ > \"$HOME/pid\"\nwhile true; do sleep 1; done\n";
    let program = place.put("fakes/rclone", fake);
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", place.path().join("fakes").display(), std::env::var("PATH").unwrap());
    let mut asking = place.command(&["sync", "--now"]).env("PATH", path).spawn().unwrap();
    let pid = || std::fs::read_to_string(place.path().join("pid")).ok().and_then(|text| text.trim().parse().ok());
    let pid: u32 = wait_for(PATIENCE, pid, Option::is_some).unwrap();
    assert!(Tree::exists(pid));
    asking.kill().unwrap();
    asking.wait().unwrap();
    wait_for(PATIENCE, || copying(&place).contains(&pid), |alive| !alive);
}

#[test]
fn who_stops_waiting_leaves_the_service_at_work_and_stopping_ends_it() {
    if !has_rclone("who_stops_waiting_leaves_the_service_at_work_and_stopping_ends_it") {
        return;
    }
    let place = slow_place();
    let mut start = place.command(&["start", "--detach"]);
    let _ = Ran::from(start.env(SLOW.0, SLOW.1).output().unwrap()).code(0);
    let asking = asked_slowly(&place);
    signal(&asking, Signal::INT);
    let ran = Ran::from(asking.wait_with_output().unwrap()).code(130);
    assert!(ran.err.contains("syncd goes on copying; `dccd sync` shows how far it is"), "{}", ran.err);
    let shown = place.run(&["sync", "--json"]).code(0).json();
    assert_eq!((&shown[0]["state"], &shown[0]["files_total"]), (&"running".into(), &1.into()), "{shown}");
    assert_eq!(copying(&place).len(), 1);
    let stopped = place.run(&["stop"]).code(0);
    assert!(stopped.err.contains("syncd is gone (exit 0)"), "{}", stopped.err);
    assert!(copying(&place).is_empty());
    let shown = place.run(&["sync", "--json"]).code(0).json();
    assert_eq!((&shown[0]["state"], &shown[0]["failures"]), (&"interrupted".into(), &0.into()), "{shown}");
    // And it is finished by whoever asks next.
    let _ = place.run(&["sync", "--now"]).code(0);
    assert!(contents(&place.path().join("copy"), &[]) == contents(&place.path().join("data"), &[]));
}

#[test]
fn a_store_that_grows_is_copied_by_the_clock_and_makes_a_store_again() {
    const TEST: &str = "a_store_that_grows_is_copied_by_the_clock_and_makes_a_store_again";
    if !has_rclone(TEST) {
        return;
    }
    let place = Place::new();
    let copy = place.path().join("copy");
    let server = S3Server::start(TEST, BUCKET, &place.path().join("s3.log"));
    let s3 = server.as_ref().map(|server| {
        format!(
            ", {{provider: s3, bucket: {BUCKET}, endpoint: '{}', access_key_id: AKID, secret_access_key: {SECRET}}}",
            server.url()
        )
    });
    let mut exchange = Exchange::busy(500.0, 500.0);
    let setup = Setup::new(&exchange);
    let storage =
        format!("storage: {{sync_interval: 1, remotes: [{{remote: '{}'}}{}]}}\n", copy.display(), s3.unwrap_or_default());
    let mut tree = Tree::start_in(place, &Setup { more: setup.more.clone() + &storage, ..setup });
    tree.wait_live(6);
    let syncd = |tree: &Tree| tree.services().and_then(|all| all.into_iter().find(|s| s.name == "syncd"));
    let statuses = |tree: &Tree| tree.run(&["sync", "--json"]).json();
    let succeeded = |status: &serde_json::Value| status.as_array().unwrap().iter().all(|s| !s["last_success"].is_null());
    wait_for(PATIENCE, || statuses(&tree), |all| succeeded(all));
    // Killed at any moment, it goes on where it was, and what it has started dies with it.
    for _ in 0..5 {
        let pid = wait_for(PATIENCE, || syncd(&tree), |s| s.as_ref().is_some_and(|s| s.pid.is_some())).unwrap().pid.unwrap();
        let programs = wait_for(PATIENCE, || copying(tree.place()), |programs| !programs.is_empty());
        tree.kill(pid);
        let is_left = |program: &u32| Path::new(&format!("/proc/{program}/exe")).exists();
        wait_for(PATIENCE, || programs.iter().any(is_left), |left| !left);
        wait_for(
            PATIENCE,
            || syncd(&tree),
            |s| s.as_ref().is_some_and(|s| s.pid.is_some_and(|new| new != pid) && s.state.is_ready()),
        );
    }
    tree.wait_fresh(6);
    tree.drain(&exchange, 0);
    let ran = tree.run(&["sync", "--now", "--remote", &copy.to_string_lossy()]).code(0);
    assert!(!ran.err.contains("no daemon"), "{}", ran.err);
    let _ = tree.run(&["sync", "--now"]).code(0);
    let service = syncd(&tree).unwrap();
    assert_eq!(service.reason, None);
    assert!(service.counters.iter().any(|(name, count)| name == "sync_files" && *count > 0), "{:?}", service.counters);
    let all = statuses(&tree);
    tree.stop();
    assert!(all.as_array().unwrap().iter().all(|s| s["failures"] == 0), "{all:#}");
    // Stopping writes what was still to be written; the last copy is made without a daemon.
    let _ = tree.run(&["sync", "--now"]).code(0);
    assert!(copying(tree.place()).is_empty());
    let stored = contents(tree.data_path(), &[]);
    assert!(stored.len() >= 6, "{:?}", stored.keys());
    assert!(contents(&copy, &[]) == stored, "{:?} {:?}", contents(&copy, &[]).keys(), stored.keys());
    if let Some(server) = &server {
        assert!(server.contents(BUCKET) == stored, "{:?}", server.contents(BUCKET).keys());
    }
    tree.audit(&mut exchange);
    let inventory = tree.run(&["inventory", "--json"]).code(0).json();
    // A copy of the copy is a store.
    let restored = tree.place().path().join("restored");
    let back = std::process::Command::new("rclone").arg("copy").args([&copy, &restored]).output().unwrap();
    assert!(back.status.success(), "{back:?}");
    tree.place().put("config.yml", &format!("settings: {{data_path: '{}', timezone: UTC}}\n", restored.display()));
    let verified = tree.run(&["verify", "--json"]).code(0).json();
    assert_eq!(verified["clean"], true, "{verified:#}");
    assert_eq!(tree.run(&["inventory", "--json"]).code(0).json(), inventory);
    let log = std::fs::read_to_string(tree.data_path().join(".dccd/logs/syncd.log")).unwrap();
    assert!(!log.contains(SECRET) && !log.contains("ERROR"), "{log}");
}

#[test]
fn a_store_made_of_a_copy_takes_rows_again() {
    if !has_rclone("a_store_made_of_a_copy_takes_rows_again") {
        return;
    }
    let mut exchange = Exchange::busy(300.0, 300.0);
    let place = Place::new();
    let (copy, restored) = (place.path().join("copy"), place.path().join("restored"));
    let setup = Setup::new(&exchange);
    let storage = format!("storage: {{sync_interval: 0, remotes: [{{remote: '{}'}}]}}\n", copy.display());
    let setup = Setup { more: setup.more.clone() + &storage, ..setup };
    let mut tree = Tree::start_in(place, &setup);
    tree.wait_live(6);
    wait_for(PATIENCE, || tree.stats().map_or(0, |s| s.records), |records| *records > 2_000);
    tree.stop();
    let _ = tree.run(&["sync", "--now"]).code(0);
    let back = std::process::Command::new("rclone").arg("copy").args([&copy, &restored]).output().unwrap();
    assert!(back.status.success(), "{back:?}");
    let rows = |tree: &Tree| {
        let listing = tree.run(&["inventory", "--json"]).code(0).json();
        let trades = listing.as_array().unwrap().iter().filter(|row| row["type"] == "trades");
        trades.map(|row| row["rows"].as_u64().unwrap()).sum::<u64>()
    };
    tree.place().put("config.yml", &setup.text(&restored));
    let before = rows(&tree);
    tree.start_root();
    tree.wait_fresh(6);
    exchange.pause();
    tree.stop();
    exchange.stop();
    assert!(before > 50 && rows(&tree) > before, "{before} trades before");
    // Nothing is there twice and nothing that was there is gone; what lies between is known to `verify` alone.
    let verified = tree.run(&["verify", "--json"]).json();
    let series = verified["series"].as_array().unwrap().iter();
    let findings: Vec<_> = series.flat_map(|series| series["findings"].as_array().unwrap().clone()).collect();
    let between = ["are missing and not declared", "a snapshot within epoch"];
    let is_between =
        |finding: &serde_json::Value| between.iter().any(|words| finding["problem"].as_str().unwrap().contains(words));
    assert!(findings.iter().all(is_between), "{findings:#?}");
}

/// Who asks for it gets it, once, whatever becomes of who asked.
#[test]
fn without_an_interval_the_service_is_started_by_the_first_who_asks() {
    if !has_rclone("without_an_interval_the_service_is_started_by_the_first_who_asks") {
        return;
    }
    let exchange = Exchange::busy(50.0, 50.0);
    let place = Place::new();
    let copy = place.path().join("copy");
    let setup = Setup::new(&exchange);
    let storage = format!("storage: {{sync_interval: 0, remotes: [{{remote: '{}'}}]}}\n", copy.display());
    let mut tree = Tree::start_in(place, &Setup { more: setup.more.clone() + &storage, ..setup });
    tree.wait_live(6);
    tree.flush();
    assert!(tree.services().unwrap().iter().all(|service| service.name != "syncd"));
    assert_eq!(tree.run(&["sync", "--json"]).code(0).json()[0]["state"], "never");
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(|| tree.run(&["sync", "--now"]).code(0))).collect();
        asking.into_iter().for_each(|asked| drop(asked.join().unwrap()));
    });
    let services = tree.services().unwrap();
    assert_eq!(services.iter().filter(|service| service.name == "syncd").count(), 1, "{services:#?}");
    assert!(!contents(&copy, &[]).is_empty());
    let shown = tree.run(&["sync", "--json"]).code(0).json();
    assert_eq!((&shown[0]["next_run"], &shown[0]["state"]), (&serde_json::Value::Null, &"idle".into()), "{shown}");
    assert!(shown[0]["runs_ended"].as_u64().unwrap() <= 8);
    tree.stop();
}
