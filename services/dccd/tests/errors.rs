//! The text of each mistake that a user can make with a daemon, as it is seen: `golden/errors.txt`. To write it anew:
//! `DCCD_UPDATE=1 cargo test -p dccd --test errors`, then read the difference.

mod common;

use std::fmt::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use common::{Host, Ran};

/// An exchange that nobody answers for, so that nothing depends on one.
const CONFIG: &str = "settings: {data_path: ./data, timezone: UTC}
stream_jobs:
  - {exchange: binance, pairs: [BTC/USDT], channels: [trades]}
exchanges:
  binance: {rest_url: 'http://127.0.0.1:9', ws_url: 'ws://127.0.0.1:9'}
";

/// What was tried and what was said, with all that differs from run to run replaced.
#[derive(Default)]
struct Transcript {
    text: String,
    replaced: Vec<(String, &'static str)>,
}

impl Transcript {
    /// From here on this text is shown as that.
    fn hide(&mut self, what: impl ToString, shown: &'static str) {
        self.replaced.push((what.to_string(), shown));
    }

    fn tried(&mut self, situation: &str, args: &[&str], ran: &Ran) {
        let code = ran.code.unwrap_or(-1);
        let mut said = ran.err.clone();
        for (what, shown) in &self.replaced {
            said = said.replace(what, shown);
        }
        assert_eq!(ran.out, "", "an error goes to standard error: {args:?}");
        let args = args.join(" ");
        let args = self.replaced.iter().fold(args, |args, (what, shown)| args.replace(what, shown));
        writeln!(self.text, "# {situation}\n$ dccd {args}\n{}\n[{code}]\n", said.trim_end()).unwrap();
    }

    fn check(&self) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/errors.txt");
        if std::env::var_os("DCCD_UPDATE").is_some() {
            std::fs::write(&path, &self.text).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(golden == self.text, "{} says something else; now it is:\n{}", path.display(), self.text);
    }
}

#[test]
fn every_mistake_has_its_text() {
    let host = Host::new();
    let mut transcript = Transcript::default();
    transcript.hide(host.path().display(), "<place>");
    transcript.hide(host.instance(), "<instance>");
    let mut case = |situation: &str, args: &[&str]| {
        let ran = host.run_own(args);
        transcript.tried(situation, args, &ran);
    };

    case("no configuration anywhere", &["start"]);
    case("a configuration that isn't there", &["validate", "--config", "nowhere.yml"]);
    case("nobody to ask", &["init"]);
    case("a unit for nobody", &["service", "install", "--user"]);
    host.put("config.yml", "stream_jobs: [");
    case("a configuration that is no YAML", &["start", "--detach"]);
    host.put("config.yml", CONFIG);
    case("a configuration that is there", &["init", "--yes"]);
    case("a unit that isn't there", &["service", "uninstall", "--user"]);
    for args in [&["services"][..], &["stop"], &["restart"], &["reload"], &["pause"], &["logs", "datad.binance"]] {
        case("nothing runs", args);
    }
    case("a series that is none", &["tail", "binance/BTC"]);
    case("a job that isn't configured", &["run", "binance/BTC/USDT/1h"]);

    let strange = ["services", "--instance", "a/b"];
    transcript.tried("an instance that can't be one", &strange, &host.run(&strange));
    let mut case = |situation: &str, args: &[&str]| {
        let ran = host.run_own(args);
        transcript.tried(situation, args, &ran);
    };
    host.put("config.yml", &CONFIG.replace("./data", "./config.yml/data"));
    case("the store can't be made", &["start", "--detach"]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    host.put("config.yml", &format!("{CONFIG}daemon: {{http: {{address: '{address}'}}}}\n"));
    transcript.hide(address.port(), "<port>");
    let mut case = |situation: &str, args: &[&str]| {
        let ran = host.run_own(args);
        transcript.tried(situation, args, &ran);
    };
    case("the port of daemon.http is taken", &["start", "--detach"]);
    host.put("config.yml", &format!("{CONFIG}daemon: {{pid_file: notes.txt}}\n"));
    host.put("notes.txt", "what I must not forget\n");
    case("the pid file is something else", &["start", "--detach"]);
    let run = host.path().join("run");
    std::fs::set_permissions(&run, std::fs::Permissions::from_mode(0o700)).unwrap();
    let open = run.join("dccd");
    std::fs::create_dir_all(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    host.put("config.yml", CONFIG);
    case("others may write into the runtime directory", &["start", "--detach"]);
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o700)).unwrap();

    let _ = host.run_own(&["start", "--detach"]).code(0);
    let services = host.run_own(&["services", "--json"]).code(0).json();
    transcript.hide(&services[0]["pid"], "<pid>");
    let mut case = |situation: &str, args: &[&str]| {
        let ran = host.run_own(args);
        transcript.tried(situation, args, &ran);
    };
    case("it runs already", &["start", "--detach"]);
    case("a service that isn't one", &["restart", "datad.binanse"]);
    case("a service by half of its name", &["restart", "binance"]);
    case("a level that is none", &["log-level", "degub"]);
    case("a service that isn't one, or a level", &["log-level", "datad.binanse"]);
    case("a level for nobody", &["log-level", "datad.binanse", "debug"]);
    case("a time that is none", &["logs", "--since", "soon"]);
    case("a service without a log", &["logs", "datad.binanse"]);
    case("a job that isn't there", &["pause", "binance/ETH/USDT"]);
    case("a service instead of a job", &["pause", "datad.binance"]);
    case("another configuration than that of the daemon", &["reload", "--config", "notes.txt"]);
    host.put("config.yml", &CONFIG.replace("binance,", "binanse,"));
    case("the configuration was broken", &["reload"]);
    case("the configuration was broken", &["restart", "dccd-root"]);
    host.put("config.yml", &CONFIG.replace("./data", "./elsewhere"));
    case("the store is to move", &["reload"]);
    host.put("other.yml", CONFIG);
    let ran = host.run(&["start", "--detach", "--config", "other.yml", "--instance", "other"]);
    transcript.tried(
        "another instance has the store",
        &["start", "--detach", "--config", "other.yml", "--instance", "other"],
        &ran,
    );
    let _ = host.run_own(&["stop"]).code(0);
    transcript.check();
}
