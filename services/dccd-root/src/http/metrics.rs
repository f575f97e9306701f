//! Every metric that is exported: its name, kind, unit, labels and meaning. The one list from which `/metrics` is written and against
//! which `docs/operations/` is held.

/// A family of samples.
#[derive(Debug)]
pub(crate) struct Family {
    /// Its name; a counter's without `_total`.
    pub(crate) name: &'static str,
    /// What its samples are.
    pub(crate) kind: Kind,
    /// Its unit, with which the name ends; empty where it counts things.
    pub(crate) unit: &'static str,
    /// Its labels.
    pub(crate) labels: &'static [&'static str],
    /// What it means.
    pub(crate) help: &'static str,
}

/// What samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// They only grow, but for a restart of the service.
    Counter,
    /// They are what is so now.
    Gauge,
    /// They count what took how long, and only grow.
    Histogram,
}

impl Kind {
    /// The word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Family {
    /// What a plain sample's name has besides.
    pub(crate) const fn suffix(&self) -> &'static str {
        match self.kind {
            Kind::Counter => "_total",
            Kind::Gauge | Kind::Histogram => "",
        }
    }
}

const SERVICE: &[&str] = &["service"];
const STATE: &[&str] = &["service", "state"];
const REASON: &[&str] = &["service", "reason"];
const EXCHANGE: &[&str] = &["service", "exchange"];
const SERIES: &[&str] = &["service", "exchange", "symbol", "channel"];

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind: Kind::Counter, unit: "", labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], unit: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, unit, labels, help }
}

macro_rules! families {
    ($($id:ident = $family:expr;)*) => {
        $(pub(crate) static $id: Family = $family;)*
        /// All of them, in the order in which they are exported.
        pub(crate) static ALL: &[&Family] = &[$(&$id),*];
    };
}

families! {
    DAEMON_UPTIME = gauge("dccd_daemon_uptime_seconds", SERVICE, "seconds", "Time since the process was started.");
    DAEMON_MEMORY = gauge("dccd_daemon_memory_bytes", SERVICE, "bytes", "Resident memory of the process.");
    DAEMON_CPU = gauge("dccd_daemon_cpu_ratio", SERVICE, "ratio", "Cores that the process uses: 1 is one core.");
    SERVICE_UP = gauge("dccd_service_up", SERVICE, "", "1: the service is ready and answers; 0: it doesn't, and its own series are absent.");
    SERVICE_STATE = gauge("dccd_service_state", STATE, "", "1 for the state that the service is in, 0 for the others.");
    SERVICE_RESTARTS = counter("dccd_service_restarts", SERVICE, "Restarts of the service after failures, those before the root adopted it included.");
    SERVICE_HEARTBEAT_AGE = gauge("dccd_service_heartbeat_age_seconds", SERVICE, "seconds", "Time since the service said that it lives.");
    DISK_FREE = gauge("dccd_disk_free_bytes", SERVICE, "bytes", "Room left for dccd on the file system of the store.");
    DISK_SIZE = gauge("dccd_disk_size_bytes", SERVICE, "bytes", "Size of the file system of the store.");
    RPC_CONNECTIONS = gauge("dccd_rpc_connections", SERVICE, "", "Connections to the RPC over TCP that are open and have shown the token.");
    RPC_REFUSED = counter("dccd_rpc_refused", REASON, "Connections to the RPC over TCP that were refused or cut off, by why.");
    ALERTS_OPEN = gauge("dccd_alerts_open", SERVICE, "", "What is wrong with the service now: conditions, told or not.");
    ALERTS_SENT = counter("dccd_alerts_sent", SERVICE, "Messages about it that webhooks have taken since alertd was started.");
    MESSAGES = counter("dccd_messages", EXCHANGE, "Frames received from the exchange.");
    PARSE_ERRORS = counter("dccd_parse_errors", EXCHANGE, "Frames that could not be read; each is kept in the journal.");
    CONNECTIONS = gauge("dccd_connections", EXCHANGE, "", "WebSocket connections that are open.");
    RECONNECTS = counter("dccd_reconnects", EXCHANGE, "Connections opened in the place of one that broke or was replaced as planned.");
    FRAME_TO_RING = Family { name: "dccd_frame_to_ring_seconds", kind: Kind::Histogram, unit: "seconds", labels: EXCHANGE, help: "From a frame's receipt until its records are in the ring." };
    RECORDER_UP = gauge("dccd_recorder_up", EXCHANGE, "", "1: what is received is recorded; 0: it is not.");
    RECORDER_LAG = gauge("dccd_recorder_lag_bytes", EXCHANGE, "bytes", "Journal that the recorder has not read yet.");
    REQUEST_WEIGHT_USED = gauge("dccd_request_weight_used", EXCHANGE, "", "Request weight used in the exchange's present window, by all processes of this host.");
    REQUEST_WEIGHT_LIMIT = gauge("dccd_request_weight_limit", EXCHANGE, "", "Request weight that may be used in a window.");
    REQUEST_FROZEN = gauge("dccd_request_frozen_seconds", EXCHANGE, "seconds", "Time for which the exchange takes no requests still (429, a ban); 0: it takes them.");
    RECORDS = counter("dccd_records", SERIES, "Records in the feed's ring so far; goes on when the service is restarted.");
    DATA_AGE = gauge("dccd_data_age_seconds", SERIES, "seconds", "Time since the feed's last record; absent before the first.");
    FEED_LIVE = gauge("dccd_feed_live", SERIES, "", "1: the feed delivers; 0: it is disconnected, or its book is not valid.");
    FEED_SCORE = gauge("dccd_feed_score_ratio", SERIES, "ratio", "Share of the time, since the feed was opened in this process, of which nothing is missing.");
    GAPS = counter("dccd_gaps", SERIES, "Gaps found and declared.");
    GAP_REPAIRS = counter("dccd_gap_repairs", SERIES, "Gaps made good.");
    GAPS_OPEN = gauge("dccd_gaps_open", SERIES, "", "Gaps of trades that are still being repaired; what the exchange doesn't have any more is none of them.");
    ROWS_WRITTEN = counter("dccd_rows_written", SERIES, "Rows written to the store; channel is the span for candles of the history.");
    JOB_RUNS = counter("dccd_job_runs", SERIES, "Runs of a history job that ended.");
    JOB_ERRORS = counter("dccd_job_errors", SERIES, "Runs of a history job that failed.");
    JOB_DURATION = gauge("dccd_job_duration_seconds", SERIES, "seconds", "How long the last run of a history job took; absent before the first.");
    JOB_LAST_SUCCESS = gauge("dccd_job_last_success_timestamp_seconds", SERIES, "seconds", "When rows were last made durable, or a run last succeeded: Unix time; absent before the first.");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn document(name: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations").join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The names that samples have.
    fn sample_names() -> BTreeSet<String> {
        let of = |family: &Family| match family.kind {
            Kind::Histogram => ["_bucket", "_count", "_sum"].map(|suffix| format!("{}{suffix}", family.name)).to_vec(),
            Kind::Counter | Kind::Gauge => vec![format!("{}{}", family.name, family.suffix())],
        };
        ALL.iter().flat_map(|family| of(family)).collect()
    }

    /// Words of a text that look like metrics.
    fn mentioned(text: &str) -> BTreeSet<String> {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        words.filter(|word| word.starts_with("dccd_")).map(str::to_owned).collect()
    }

    #[test]
    fn names_follow_the_rules_of_openmetrics() {
        let mut names = BTreeSet::new();
        for family in ALL {
            let Family { name, kind, unit, help, .. } = family;
            assert!(names.insert(name), "{name} stands twice");
            assert!(name.starts_with("dccd_") && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert!(unit.is_empty() || name.ends_with(&format!("_{unit}")), "{name} doesn't end in its unit");
            assert!(!name.ends_with("_total") && (*kind != Kind::Counter || unit.is_empty()), "{name}");
            assert!(help.ends_with('.') && !help.contains(['\\', '\n', '"']), "{name}: {help}");
        }
    }

    #[test]
    fn the_names_that_others_rely_on_are_all_there() {
        let names = sample_names();
        for name in [
            "dccd_daemon_uptime_seconds",
            "dccd_daemon_memory_bytes",
            "dccd_service_restarts_total",
            "dccd_messages_total",
            "dccd_records_total",
            "dccd_parse_errors_total",
            "dccd_gaps_total",
            "dccd_gap_repairs_total",
            "dccd_reconnects_total",
            "dccd_frame_to_ring_seconds_bucket",
            "dccd_data_age_seconds",
            "dccd_request_weight_used",
            "dccd_rows_written_total",
            "dccd_job_runs_total",
            "dccd_job_errors_total",
            "dccd_job_duration_seconds",
        ] {
            assert!(names.contains(name), "{name} is not exported");
        }
    }

    #[test]
    fn the_reference_has_the_line_of_every_metric_and_no_other() {
        let line = |family: &&Family| {
            let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
            let unit = if family.unit.is_empty() { "–" } else { family.unit };
            let (name, suffix) = (family.name, family.suffix());
            format!("| `{name}{suffix}` | {} | {unit} | {} | {} |", family.kind.as_str(), labels.join(" "), family.help)
        };
        let expected: Vec<String> = ALL.iter().map(line).collect();
        let text = document("metrics.md");
        let found: Vec<&str> = text.lines().filter(|line| line.starts_with("| `dccd_")).collect();
        assert_eq!(found, expected, "docs/operations/metrics.md should hold:\n{}\n", expected.join("\n"));
    }

    #[test]
    fn alerts_and_dashboard_ask_for_nothing_that_is_not_exported() {
        let names = sample_names();
        for file in ["alerts.yml", "alerts_test.yml", "grafana.json"] {
            let unknown: Vec<_> = mentioned(&document(file)).difference(&names).cloned().collect();
            assert_eq!(unknown, [""; 0], "{file}");
        }
    }

    #[test]
    fn every_alert_has_a_test_in_which_it_fires_and_every_panel_a_query() {
        let (alerts, tests) = (document("alerts.yml"), document("alerts_test.yml"));
        let named = |line: &str, key: &str| line.trim().strip_prefix(key).map(|name| name.trim().to_owned());
        let fired: BTreeSet<String> = tests.lines().filter_map(|line| named(line, "- {alertname: ")).collect();
        let alerts: Vec<String> = alerts.lines().filter_map(|line| named(line, "- alert:")).collect();
        assert!(alerts.len() > 9, "{alerts:?}");
        for alert in alerts {
            assert!(fired.iter().any(|fired| fired.starts_with(&format!("{alert},"))), "nothing shows that {alert} fires");
        }
        let board: serde_json::Value = serde_json::from_str(&document("grafana.json")).unwrap();
        let panels: Vec<_> = board["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row").collect();
        assert!(panels.len() > 9);
        for panel in panels {
            let targets = panel["targets"].as_array().unwrap();
            let has_query = |target: &serde_json::Value| target["expr"].as_str().is_some_and(|e| e.contains("dccd_"));
            assert!(!targets.is_empty() && targets.iter().all(has_query), "{panel}");
        }
    }
}
