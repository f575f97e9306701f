//! The wire, frozen: for each type a sample, as JSON (names and order) and as the bytes of the codec (positions).
//!
//! A change here breaks processes of different versions that meet. Append, raise the protocol number, then write the
//! files anew: `UPDATE_SCHEMA=1 cargo test -p dccd-rpc --test schema`.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use dccd_rpc::alertd::{ALERTD_PROTOCOL, AlertInfo, AlertList, AlertState, AlertdRequest, WebhookInfo};
use dccd_rpc::condition::{Condition, Conditions, Doubt, ServiceConditions, Severity};
use dccd_rpc::root::{
    Change, Endpoint, EnsureError, Event, Events, HeartbeatReply, Progress, ROOT_PROTOCOL, RegisterReply, Registration,
    ReloadReport, ReloadedService, RootServiceRequest, RootStatus, ServiceExit, ServiceInfo, ServiceLogLevel, ServiceState,
    StopReport, StopRequest, StoppedService,
};
use dccd_rpc::syncd::{RemoteStatus, SYNCD_PROTOCOL, SyncRun, SyncdRequest};
use dccd_rpc::{Codec, Hello, HelloReply, RpcError};
use serde::Serialize;
use tarpc::tokio_serde::Serializer;

struct Schema(String);

impl Schema {
    fn add<T: Serialize>(&mut self, name: &str, value: &T) {
        let codec = Codec::<(), T>::default();
        let bytes = Serializer::serialize(std::pin::pin!(codec).as_mut(), value).unwrap();
        let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
        writeln!(self.0, "{name}\n  {}\n  {hex}", serde_json::to_string(value).unwrap()).unwrap();
    }

    fn check(self, file: &str) {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join(file);
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(&path, &self.0).unwrap();
        }
        let frozen = std::fs::read_to_string(&path).unwrap_or_default();
        for (now, then) in self.0.lines().zip(frozen.lines()) {
            assert_eq!(now, then, "the wire of {file} has changed");
        }
        assert_eq!(self.0.lines().count(), frozen.lines().count(), "the wire of {file} has grown or shrunk");
    }
}

fn s(text: &str) -> String {
    text.to_owned()
}

#[test]
fn the_wire_of_the_root_is_frozen() {
    let mut schema = Schema(format!("protocol {ROOT_PROTOCOL}\n"));
    let hello = Hello { protocol: 1, build: s("b"), token: Some(s("t")) };
    let condition = |severity| Condition { kind: s("k"), subject: s("s"), severity, message: s("m"), since: 5, count: 6 };
    let progress = Progress {
        counters: vec![(s("n"), 2)],
        busy: true,
        degraded: Some(s("d")),
        rss_bytes: 3,
        cpu_us: 4,
        conditions: vec![condition(Severity::Info)],
        conditions_more: 7,
        conditions_unsettled: true,
        conditions_doubted: vec![Doubt { kind: s("k"), subject: Some(s("s")) }, Doubt { kind: s("l"), subject: None }],
    };
    let registration = Registration {
        name: s("n"),
        pid: 5,
        endpoint: Endpoint(s("unix:/e")),
        version: s("v"),
        protocol: 6,
        token: s("t"),
        degraded: Some(s("d")),
    };
    let stop = StopRequest { force: true, timeout: Some(Duration::new(7, 8)) };
    for request in [
        RootServiceRequest::Hello { hello: hello.clone() },
        RootServiceRequest::Register { registration: registration.clone() },
        RootServiceRequest::Heartbeat { name: s("n"), progress },
        RootServiceRequest::Deregister { name: s("n"), reason: s("r"), flushed: vec![(s("f"), 1)] },
        RootServiceRequest::List {},
        RootServiceRequest::Find { name: s("n") },
        RootServiceRequest::Ensure { name: s("n") },
        RootServiceRequest::Watch { cursor: 9 },
        RootServiceRequest::Stop { request: stop },
        RootServiceRequest::Restart { name: s("n") },
        RootServiceRequest::Status {},
        RootServiceRequest::HandOver {},
        RootServiceRequest::Reload { dry_run: true },
        RootServiceRequest::SetLogLevel { service: Some(s("n")), directives: Some(s("d")) },
        RootServiceRequest::LogLevels {},
        RootServiceRequest::WatchConditions { revision: 10 },
        RootServiceRequest::Replace { name: s("n") },
        RootServiceRequest::StandBy { registration, trouble: Some(s("t")) },
    ] {
        schema.add("request", &request);
    }
    schema.add("HelloReply", &HelloReply { protocol: 1, build: s("b"), service: s("s"), pid: 2 });
    let reply = RegisterReply {
        heartbeat_interval: Duration::new(1, 2),
        heartbeat_timeout: Duration::new(3, 4),
        log_level: Some(s("l")),
    };
    schema.add("RegisterReply", &reply);
    schema.add("HeartbeatReply", &HeartbeatReply { log_level: Some(s("l")), shed_memory: true });
    schema.add("ServiceLogLevel", &ServiceLogLevel { service: s("n"), level: s("l"), configured: true });
    for state in [
        ServiceState::Starting,
        ServiceState::Ready,
        ServiceState::Degraded,
        ServiceState::Stopping,
        ServiceState::Stopped,
        ServiceState::Backoff,
        ServiceState::Failed,
    ] {
        assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        schema.add("ServiceState", &state);
    }
    let exit = ServiceExit {
        ts: 1,
        pid: Some(2),
        reason: s("r"),
        code: Some(3),
        signal: Some(s("s")),
        killed: true,
        ran_s: Some(4.5),
        rss_bytes: Some(5),
        last_words: Some(s("w")),
        detail: Some(s("d")),
    };
    let info = ServiceInfo {
        name: s("n"),
        state: ServiceState::Ready,
        pid: Some(1),
        endpoint: Some(Endpoint(s("e"))),
        uptime_s: Some(2.5),
        restarts: 3,
        last_exit: Some(s("x")),
        rss_bytes: Some(4),
        cpu_pct: Some(5.5),
        heartbeat_age_ms: Some(6),
        version: Some(s("v")),
        reason: Some(s("r")),
        eager: true,
        counters: vec![(s("c"), 7)],
        exits: vec![exit],
    };
    schema.add("ServiceInfo", &info);
    let event =
        Event { sequence: 1, ts: 2, service: s("s"), state: ServiceState::Failed, pid: Some(3), reason: Some(s("r")) };
    schema.add("Events", &Events { cursor: 4, events: vec![event], lost: 5 });
    let (name, exit, flushed) = (s("n"), s("x"), vec![(s("f"), 9)]);
    let stopped = StoppedService { name, exit, killed: true, took: Duration::new(1, 2), flushed };
    schema.add("StopReport", &StopReport { services: vec![stopped], took: Duration::new(3, 4) });
    for change in [Change::Unchanged, Change::Reloaded, Change::Restarted, Change::Started, Change::Stopped] {
        assert_eq!(serde_json::to_value(change).unwrap(), change.to_string());
        schema.add("Change", &change);
    }
    let reloaded = ReloadedService { name: s("n"), change: Change::Reloaded, details: vec![s("d")], error: Some(s("e")) };
    schema.add("ReloadReport", &ReloadReport { dry_run: true, later: vec![s("l")], services: vec![reloaded] });
    let status = RootStatus {
        pid: 1,
        version: s("v"),
        instance: s("i"),
        config_path: Some(s("c")),
        data_path: s("d"),
        runtime_path: s("r"),
        started: 2,
        uptime_s: 3.5,
        stopping: true,
        ready: false,
        missing: vec![s("m")],
    };
    schema.add("RootStatus", &status);
    for error in [
        EnsureError::Unknown { name: s("n"), known: vec![s("k")] },
        EnsureError::Failed { name: s("n"), reason: s("r") },
        EnsureError::Timeout { name: s("n"), state: ServiceState::Backoff, reason: Some(s("r")) },
        EnsureError::Stopping { name: s("n") },
        EnsureError::NotOffered { name: s("n"), reason: s("r") },
        EnsureError::Kept { name: s("n"), reason: s("r") },
    ] {
        schema.add("EnsureError", &error);
    }
    for error in [
        RpcError::Protocol { service: s("s"), ours: 1, our_build: s("o"), theirs: 2, their_build: s("t") },
        RpcError::Refused { service: s("s"), reason: s("r") },
        RpcError::Unknown { what: s("w"), name: s("n"), known: vec![s("k")] },
        RpcError::Invalid { argument: s("a"), reason: s("r") },
        RpcError::Unavailable { service: s("s"), reason: s("r") },
        RpcError::Failed { operation: s("o"), reason: s("r") },
    ] {
        schema.add("RpcError", &error);
    }
    let (found, said) = (vec![condition(Severity::Warning)], vec![condition(Severity::Critical)]);
    let doubts = vec![Doubt { kind: s("k"), subject: None }];
    let services = vec![ServiceConditions { service: s("s"), heard: true, found, said, more: 2, settled: false, doubts }];
    schema.add("Conditions", &Conditions { revision: 1, services });
    schema.check("root.schema");
}

#[test]
fn the_wire_of_alertd_is_frozen() {
    let mut schema = Schema(format!("protocol {ALERTD_PROTOCOL}\n"));
    for request in [
        AlertdRequest::Hello { hello: Hello { protocol: 1, build: s("b"), token: Some(s("t")) } },
        AlertdRequest::Alerts {},
        AlertdRequest::Acknowledge { ids: vec![s("i")], until: 2 },
    ] {
        schema.add("request", &request);
    }
    let alert = |state: AlertState| {
        assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        AlertInfo {
            id: s("i"),
            state,
            service: s("s"),
            kind: s("k"),
            subject: s("u"),
            severity: Severity::Warning,
            message: s("m"),
            since: 1,
            recovered: 2,
            count: 3,
            told: true,
            acknowledged_until: 4,
        }
    };
    let webhook = WebhookInfo {
        host: s("h"),
        format: s("f"),
        sent: 1,
        waiting: 2,
        held_back: 3,
        lost: 4,
        last_success: 5,
        failing_since: 6,
        last_error: Some(s("e")),
    };
    let alerts = [AlertState::Pending, AlertState::Open, AlertState::Recovered].map(alert).to_vec();
    schema.add("AlertList", &AlertList { alerts, webhooks: vec![webhook] });
    schema.check("alertd.schema");
}

#[test]
fn the_wire_of_syncd_is_frozen() {
    let mut schema = Schema(format!("protocol {SYNCD_PROTOCOL}\n"));
    let hello = Hello { protocol: 1, build: s("b"), token: Some(s("t")) };
    for request in [SyncdRequest::Hello { hello }, SyncdRequest::Begin { remotes: vec![s("r")] }, SyncdRequest::Status {}] {
        schema.add("request", &request);
    }
    schema.add("SyncRun", &SyncRun { remote: s("r"), run: 1, joined: true });
    let status = RemoteStatus {
        remote: s("r"),
        provider: s("p"),
        state: s("s"),
        began: 1,
        ended: 2,
        last_success: 3,
        next_run: 4,
        runs_begun: 5,
        runs_ended: 6,
        files_total: 7,
        bytes_total: 8,
        files_done: 9,
        bytes_done: 10,
        bytes_per_second: 11.5,
        eta_s: Some(12.5),
        copying: vec![s("c")],
        copied_files: 13,
        copied_bytes: 14,
        behind_files: 15,
        behind_bytes: 16,
        behind_since: 17,
        failures: 18,
        last_error: Some(s("e")),
    };
    schema.add("RemoteStatus", &status);
    schema.check("syncd.schema");
}

/// `services --json` is this type; its first eleven keys are what other programs rely on.
#[test]
fn a_service_has_the_keys_of_the_json_listing_in_their_order() {
    let keys = [
        "name",
        "state",
        "pid",
        "endpoint",
        "uptime_s",
        "restarts",
        "last_exit",
        "rss_bytes",
        "cpu_pct",
        "heartbeat_age_ms",
        "version",
    ];
    let frozen = std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/root.schema")).unwrap();
    let json = frozen.lines().skip_while(|line| *line != "ServiceInfo").nth(1).unwrap();
    let mut at = 0;
    for key in keys {
        let found = json[at..].find(&format!("\"{key}\":")).unwrap_or_else(|| panic!("{key} is missing or out of order"));
        at += found;
    }
}
