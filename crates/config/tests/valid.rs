//! What files mean: defaults, the Python dccd's files, YAML's corners, and where the file is looked for.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dccd_config::{
    Config, ConfigErrors, Format, HistorySource, Lookup, MinSeverity, Problem, Timezone, TradeStream, WebhookFormat,
};
use dccd_model::Channel;
use proptest::prelude::*;

fn no_variables(_: &str) -> Option<String> {
    None
}

fn read(text: &str) -> (Config, Vec<String>) {
    match Config::parse(text, Path::new("config.yml"), &no_variables) {
        Ok((config, warnings)) => (config, warnings.iter().map(ToString::to_string).collect()),
        Err(errors) => panic!("{errors}"),
    }
}

#[test]
fn an_empty_file_is_all_defaults() {
    for text in ["", "# nothing\n", "{}", "settings:\nstream_jobs:\n", "---\n", "\u{feff}settings: {}"] {
        let (config, warnings) = read(text);
        assert_eq!(config.settings.data_path, PathBuf::from("./data/crypto"));
        assert_eq!(config.settings.timezone, Timezone::Local);
        assert_eq!((config.settings.ui_host.as_str(), config.settings.ui_port), ("127.0.0.1", 8080));
        assert_eq!(config.storage.sync_interval, Duration::from_secs(3600));
        assert_eq!(config.storage.journal_keep_mb, 1024);
        assert!(config.daemon.rpc.is_none() && config.daemon.http.is_none() && config.settings.ui_auth_token.is_none());
        let restart = &config.daemon.restart;
        assert_eq!((restart.max_restarts, restart.window), (5, Duration::from_secs(600)));
        assert_eq!((restart.base_delay, restart.max_delay), (Duration::from_secs(5), Duration::from_secs(60)));
        assert_eq!(restart.heartbeat_timeout, Duration::from_secs(10));
        assert_eq!(restart.progress_timeout, Duration::from_secs(30));
        assert_eq!(restart.hung_timeout, Duration::from_secs(300));
        assert_eq!(config.daemon.shutdown_timeout, Duration::from_secs(60));
        let binance = config.exchange(&"binance".parse().unwrap());
        assert_eq!((binance.connections, binance.ring_slots), (1, 65_536));
        assert_eq!(binance.trade_stream, TradeStream::Trade);
        assert_eq!(warnings, ["no jobs: add histo_jobs or stream_jobs, or nothing will be collected"]);
    }
}

#[test]
fn what_the_table_says_of_an_exchange_is_what_its_type_has_by_default() {
    let (config, _) = read("exchanges: {binance: {}}");
    assert_eq!(config.exchanges.values().next(), Some(&dccd_config::ExchangeConfig::default()));
}

#[test]
fn the_whole_of_the_published_example_is_valid() {
    let text = r#"
settings: {data_path: ./data/crypto, timezone: local, ui_host: 127.0.0.1, ui_port: 8080, ui_auth_token: null}
storage:
  local_path: ""
  remotes: [{provider: rclone, remote: "mynas:crypto/"}]
  sync_interval: 3600
histo_jobs:
  - exchange: binance
    pairs: [BTC/USDT, ETH/USDT]
    span: 3600
    format: parquet
    start: "2020-01-01"
    max_retries: 3
    retry_delay: 2.0
stream_jobs:
  - exchange: binance
    pairs: [BTC/USDT]
    channels: [trades, book, quotes]
    time_step: 60
    depth: 1000
alerts: {webhook_url: null, max_consecutive_errors: 3}
exchanges:
  binance:
    rest_url: https://data-api.binance.vision/
    ws_url: wss://data-stream.binance.vision
    linear: {rest_url: https://fapi.binance.com, ws_url: wss://fstream.binance.com}
    connections: 1
daemon:
  rpc: {address: 127.0.0.1:5555, auth: token, token: "${DCCD_RPC_TOKEN:-correct-horse-battery}"}
  pid_file: null
  work_dir: null
  log_file: null
  log_level: info
  shutdown_timeout: 60
  orphan_grace: 300
  limits: {max_memory_mb: 4096, max_cpu_pct: 80}
  restart: {max_restarts: 5, window: 600, base_delay: 5, max_delay: 60}
  http: {address: 127.0.0.1:9090}
"#;
    let (config, _) = read(text);
    assert_eq!(config.stream_jobs[0].channels, [Channel::Trades, Channel::Book, Channel::Quotes]);
    assert_eq!(config.histo_jobs[0].span.as_secs(), 3600);
    assert_eq!(config.exchanges.values().next().unwrap().rest_url.as_deref(), Some("https://data-api.binance.vision"));
    assert_eq!(config.daemon.rpc.as_ref().unwrap().token.as_ref().unwrap().reveal(), "correct-horse-battery");
    assert_eq!(config.limits(&"binance".parse().unwrap()).max_memory_mb, Some(4096));
    assert_eq!(config.collected_exchanges().len(), 1);
    assert!(!format!("{config:?}").contains("Some(\"t\")"), "a token is printed");
}

#[test]
fn files_of_the_python_dccd_are_valid_and_mean_the_same() {
    // In the forms that its documentation shows: block lists, by_period, exchanges that are not collected here yet.
    let text = "
storage:
  local_path: /data/crypto
  sync_interval: 3_600
histo_jobs:
  - exchange: binance
    pairs:
      - BTC/USDT
      - ETH/USDT
    span: '60'
    format: csv
    by_period: M
  - exchange: kraken
    pairs: [BTC/USD]
    span: 86400.0
    start: 2020-01-01
stream_jobs:
  - exchange: gate
    pairs: [XBT/USD]
    channels: [trades, book, ohlc]
    time_step: 0x3c
";
    let (config, warnings) = read(text);
    assert_eq!(config.data_path(), Path::new("/data/crypto"));
    assert_eq!(config.storage.sync_interval.as_secs(), 3_600);
    assert_eq!((config.histo_jobs[0].span.as_secs(), config.histo_jobs[0].format), (60, Format::Csv));
    assert_eq!(config.histo_jobs[1].span.as_secs(), 86_400);
    let start = config.histo_jobs[1].start.unwrap().instant(&Timezone::Utc).unwrap();
    assert_eq!(start.to_string(), "2020-01-01T00:00:00Z");
    assert_eq!(config.stream_jobs[0].pairs[0].as_str(), "BTC/USD");
    assert_eq!(config.stream_jobs[0].time_step.as_secs(), 60);
    assert_eq!(
        warnings,
        [
            "line 11: histo_jobs[0].format: the store is Parquet, not csv",
            "line 12: histo_jobs[0].by_period: by_period has no effect: the layout of the files is fixed",
            "line 18: stream_jobs[0].exchange: this version doesn't collect gate yet: the job is kept and not run",
        ]
    );
    assert_eq!(config.collected_exchanges(), ["binance".parse().unwrap(), "kraken".parse().unwrap()]);
    assert_eq!(config.stream_jobs[0].depth, dccd_config::DEPTH_DEFAULT);
    assert_eq!(config.live_jobs(&"gate".parse().unwrap()).count(), 0, "a service gets no channel it can't collect");
}

#[test]
fn only_exchanges_with_a_job_that_this_version_runs_are_collected() {
    let (config, warnings) = read(
        "histo_jobs:
  - {exchange: gate, pairs: [BTC/USD], span: 60}
  - {exchange: kraken, pairs: [BTC/USD], span: 60, source: trades}
  - {exchange: kraken, pairs: [ETH/USD], span: 60}
stream_jobs:
  - {exchange: gate, pairs: [BTC/USDT], channels: [trades]}
",
    );
    assert_eq!(config.collected_exchanges(), ["kraken".parse().unwrap()]);
    let sources: Vec<_> = config.histo_jobs.iter().map(|job| job.source).collect();
    assert_eq!(sources, [HistorySource::Auto, HistorySource::Trades, HistorySource::Auto]);
    assert_eq!(
        warnings,
        [
            "line 2: histo_jobs[0].exchange: this version doesn't fetch the history of gate yet: the job is kept and not run",
            "line 6: stream_jobs[0].exchange: this version doesn't collect gate yet: the job is kept and not run",
        ]
    );
    let (config, _) = read("stream_jobs: [{exchange: gate, pairs: [BTC/USDT], channels: [trades]}]");
    assert!(config.collected_exchanges().is_empty(), "nothing of gate is collected");
    let (config, warnings) = read("stream_jobs: [{exchange: kraken, pairs: [BTC/USD], channels: [trades, book, quotes]}]");
    assert_eq!((config.collected_exchanges(), warnings.len()), (vec!["kraken".parse().unwrap()], 0));
    assert_eq!(config.live_jobs(&"kraken".parse().unwrap()).count(), 1);
    let (config, warnings) = read(
        "histo_jobs: [{exchange: okx, pairs: ['BTC/USDT:USDT'], span: 60}]
stream_jobs: [{exchange: okx, pairs: ['BTC/USDT', 'BTC/USDT:USDT'], channels: [trades, book, quotes]}]",
    );
    assert_eq!((config.collected_exchanges(), warnings.len()), (vec!["okx".parse().unwrap()], 0));
    let (config, warnings) = read(
        "histo_jobs: [{exchange: bitfinex, pairs: ['BTC/USD'], span: 60}]
stream_jobs: [{exchange: bitfinex, pairs: ['BTC/USD', 'BTC/USDT:USDT'], channels: [trades, book, quotes]}]",
    );
    assert_eq!((config.collected_exchanges(), warnings.len()), (vec!["bitfinex".parse().unwrap()], 0));
}

#[test]
fn only_the_socket_of_derivatives_has_an_address_of_its_own() {
    let (config, warnings) = read(
        "exchanges: {bybit: {ws_url: 'ws://127.0.0.1:1', linear: {ws_url: 'ws://127.0.0.1:2'}}}
stream_jobs: [{exchange: bybit, pairs: ['BTC/USDT:USDT'], channels: [trades]}]",
    );
    assert_eq!(warnings, [""; 0]);
    let linear = config.exchange(&"bybit".parse().unwrap()).linear;
    assert_eq!(linear.ws_url.as_deref(), Some("ws://127.0.0.1:2"));
    let (config, warnings) = read(
        "exchanges: {binance: {linear: {rest_url: 'http://127.0.0.1:2', ws_url: 'ws://127.0.0.1:2'}}}\nstream_jobs: [{exchange: binance, pairs: ['BTC/USDT:USDT'], channels: [trades, book, quotes]}]",
    );
    assert_eq!((warnings.len(), config.exchange(&"binance".parse().unwrap()).linear.rest_url.is_some()), (0, true));
    for (exchanges, unused) in [
        ("bybit: {linear: {rest_url: 'http://127.0.0.1:2'}}", "bybit.linear.rest_url"),
        ("kraken: {linear: {ws_url: 'ws://127.0.0.1:2'}}", "kraken.linear"),
    ] {
        let (_, warnings) = read(&format!("exchanges: {{{exchanges}}}"));
        let expected = format!("line 1: exchanges.{unused}: checked, and not used by this version");
        assert_eq!(warnings.last(), Some(&expected));
    }
}

#[test]
fn what_is_not_used_yet_is_said_so() {
    let text = "
storage: {remotes: [{remote: 'nas:x'}]}
daemon: {http: null}
exchanges: {binance: {connections: 2}}
stream_jobs: [{exchange: binance, pairs: [BTC/USDT], channels: [trades]}]";
    let (_, warnings) = read(text);
    let keys: Vec<_> = warnings.iter().map(|warning| warning.split(": ").nth(1).unwrap()).collect();
    assert_eq!(keys, ["storage.remotes", "exchanges.binance.connections"]);
}

#[test]
fn the_rpc_is_warned_about_where_others_may_listen_in_or_come_in() {
    let jobs = "stream_jobs: [{exchange: binance, pairs: [BTC/USDT], channels: [trades]}]";
    let long = "correct-horse-battery";
    for (rpc, said) in [
        (format!("address: 127.0.0.1:1, token: {long}"), None),
        (format!("address: 0.0.0.0:1, token: {long}, tls: {{certificate: /c, key: /k}}"), None),
        ("address: 0.0.0.0:1, token_file: ~/t, tls: {certificate: /c, key: /k}".to_owned(), None),
        (format!("address: 0.0.0.0:1, token: {long}"), Some("the token and all data go in clear text")),
        ("address: 127.0.0.1:1, token: short".to_owned(), Some("the token has 5 characters, and can be guessed")),
        ("address: 127.0.0.1:1, auth: none".to_owned(), Some("every user of this host can use the RPC")),
    ] {
        let text = format!("{jobs}\ndaemon: {{rpc: {{{rpc}}}}}");
        let home = |name: &str| (name == "HOME").then(|| "/home/ann".to_owned());
        let (config, warnings) = Config::parse(&text, Path::new("config.yml"), &home).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(warnings.len(), usize::from(said.is_some()), "{rpc}: {warnings:?}");
        assert!(said.is_none_or(|said| warnings[0].message.contains(said)), "{rpc}: {warnings:?}");
        assert!(!format!("{config:?} {warnings:?}").contains(long));
    }
    let text = format!("daemon: {{rpc: {{address: 127.0.0.1:1, token: {long}, limits: {{max_frame_kb: 64}}}}}}");
    let limits = read(&text).0.daemon.rpc.unwrap().limits;
    assert_eq!((limits.max_frame_kb, limits.max_connections, limits.max_requests_per_second), (64, 64, 1_000));
    assert_eq!((limits.auth_timeout, limits.idle_timeout), (Duration::from_secs(5), Duration::from_secs(3_600)));
}

#[test]
fn webhooks_are_counted_once_and_warned_about_where_others_can_read_them() {
    let text = "
alerts:
  webhook_url: https://hooks.example/x
  webhooks:
    - {url: 'https://hooks.example/x', format: json}
    - {url: 'http://hooks.example/y', format: json, min_severity: critical}
    - {url: 'http://[::1]:8080/z'}
stream_jobs: [{exchange: binance, pairs: [BTC/USDT], channels: [trades]}]";
    let (config, warnings) = read(text);
    let all = config.alerts.all_webhooks();
    let shown: Vec<_> = all.iter().map(|hook| (hook.url.reveal(), hook.format, hook.min_severity)).collect();
    let expected = [
        ("https://hooks.example/x", WebhookFormat::Slack, MinSeverity::Info),
        ("http://hooks.example/y", WebhookFormat::Json, MinSeverity::Critical),
        ("http://[::1]:8080/z", WebhookFormat::Slack, MinSeverity::Info),
    ];
    assert_eq!(shown, expected);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("the same address") && warnings[1].contains("https://"), "{warnings:?}");
    assert!(warnings.iter().all(|warning| !warning.contains("hooks.example")), "{warnings:?}");
}

#[test]
fn octal_and_sexagesimal_numbers_are_read_as_before_and_warned_about() {
    let (config, warnings) = read("daemon: {orphan_grace: 010, shutdown_timeout: 1:00}");
    assert_eq!((config.daemon.orphan_grace.as_secs(), config.daemon.shutdown_timeout.as_secs()), (8, 60));
    assert!(warnings.iter().any(|warning| warning.contains("010 is read as 8")), "{warnings:?}");
    assert!(warnings.iter().any(|warning| warning.contains("1:00 is read as 60")), "{warnings:?}");
}

#[test]
fn words_that_yaml_reads_as_truth_are_text_where_text_is_wanted() {
    let (config, _) = read("storage: {remotes: [{remote: on}, {remote: no}, {remote: 2020-01-01}, {remote: 1_000}]}");
    let remotes: Vec<_> = config.storage.remotes.iter().map(|remote| remote.remote.as_str()).collect();
    assert_eq!(remotes, ["on", "no", "2020-01-01", "1_000"]);
    let (config, _) = read("daemon: {rpc: {address: 127.0.0.1:1, auth: none}}");
    assert!(config.daemon.rpc.unwrap().token.is_none());
}

#[test]
fn anchors_aliases_and_merges_work() {
    let (config, _) = read(
        "stream_jobs:
  - &base {exchange: binance, pairs: &pairs [BTC/USDT], channels: [trades], time_step: 5}
  - {<<: *base, channels: [book]}
  - {<<: [*base], pairs: [ETH/USDT], time_step: 6}
",
    );
    let jobs = &config.stream_jobs;
    assert_eq!(
        (jobs[1].pairs[0].as_str(), jobs[1].channels[0], jobs[1].time_step.as_secs()),
        ("BTC/USDT", Channel::Book, 5)
    );
    assert_eq!(
        (jobs[2].pairs[0].as_str(), jobs[2].channels[0], jobs[2].time_step.as_secs()),
        ("ETH/USDT", Channel::Trades, 6)
    );
}

#[test]
fn variables_and_the_home_directory_are_filled_in() {
    let variables = |name: &str| match name {
        "HOME" => Some("/home/ann".to_owned()),
        "PORT" => Some("9000".to_owned()),
        "X" => Some("binance".to_owned()),
        _ => None,
    };
    let text = "settings:
  data_path: ~/${X}
  ui_port: ${PORT}
  ui_auth_token: ${NONE:-}
stream_jobs: [{exchange: '${X}', pairs: ['${P:-BTC/USDT}'], channels: [trades]}]";
    let (config, _) = Config::parse(text, Path::new("c.yml"), &variables).unwrap();
    assert_eq!(config.settings.data_path, PathBuf::from("/home/ann/binance"));
    assert_eq!(config.settings.ui_port, 9000);
    assert!(config.settings.ui_auth_token.is_none(), "an unquoted value of which nothing is left is no value");
    assert_eq!(config.stream_jobs[0].pairs[0].as_str(), "BTC/USDT");
}

#[test]
fn the_file_is_looked_for_in_the_order_of_the_interface() {
    let directory = tempfile::tempdir().unwrap();
    let put = |path: &str, port: u16| {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("settings: {{ui_port: {port}}}")).unwrap();
        path
    };
    let load = |explicit: Option<&str>, variables: &[(&str, &Path)]| {
        let table: HashMap<_, _> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), value.display().to_string())).collect();
        let lookup = Lookup::new(explicit.map(PathBuf::from)).within(directory.path().to_owned(), table);
        Config::load(&lookup).map(|loaded| (loaded.config.settings.ui_port, loaded.config.data_path().to_owned()))
    };
    let home = directory.path().join("home");
    assert!(matches!(load(None, &[("HOME", &home)]), Err(ConfigErrors::NotFound { looked }) if looked.len() == 2));
    put("home/.config/dccd/config.yml", 1);
    assert_eq!(load(None, &[("HOME", &home)]).unwrap().0, 1);
    let xdg = directory.path().join("xdg");
    put("xdg/dccd/config.yml", 2);
    assert_eq!(load(None, &[("HOME", &home), ("XDG_CONFIG_HOME", &xdg)]).unwrap().0, 2);
    put("config.yml", 3);
    assert_eq!(load(None, &[("HOME", &home), ("XDG_CONFIG_HOME", &xdg)]).unwrap().0, 3);
    let named = put("named.yml", 4);
    assert_eq!(load(None, &[("DCCD_CONFIG", &named)]).unwrap().0, 4);
    put("explicit.yml", 5);
    let (port, data) = load(Some("explicit.yml"), &[("DCCD_CONFIG", &named)]).unwrap();
    assert_eq!((port, data), (5, directory.path().join("./data/crypto")));
    let missing = load(Some("missing.yml"), &[]).unwrap_err();
    assert!(missing.to_string().contains("missing.yml (--config)"), "{missing}");
    std::fs::write(directory.path().join("latin1.yml"), b"settings: {data_path: caf\xe9}").unwrap();
    assert!(matches!(load(Some("latin1.yml"), &[]), Err(ConfigErrors::NotText { offset: 25, .. })));
    assert!(matches!(load(Some("home"), &[]), Err(ConfigErrors::Read { .. })), "a directory is no file");
}

/// Texts that look like YAML.
fn yaml_like() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "settings",
        "stream_jobs",
        "exchange",
        "binance",
        "pairs",
        "BTC/USDT",
        "channels",
        "trades",
        ": ",
        ":",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "&a ",
        "*a",
        "<<: ",
        "\"",
        "'",
        "#",
        "|",
        ">",
        "\t",
        "${",
        "}",
        "é",
        "!!str ",
        "? ",
        "---\n",
        "...\n",
        "null",
        "1_0",
        "%",
        "@",
        "\u{0}",
        "\r\n",
        "daemon",
        "rpc",
        "token",
    ]);
    prop::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused_and_never_panics(text in prop_oneof![yaml_like(), ".{0,200}"]) {
        if let Err(errors) = Config::parse(&text, Path::new("x.yml"), &no_variables) {
            prop_assert!(!errors.errors().is_empty());
            let shown = errors.to_string();
            prop_assert!(shown.contains("x.yml"));
        }
    }

    /// What the tree makes of a text is what serde_yaml makes of it.
    #[test]
    fn strings_are_read_as_the_other_parser_reads_them(value in "[ -~é]{1,40}") {
        let map = |key: &str, value: serde_yaml::Value| {
            serde_yaml::Value::Mapping(std::iter::once((key.into(), value)).collect())
        };
        let remotes = serde_yaml::Value::from(vec![map("remote", value.as_str().into())]);
        let text = serde_yaml::to_string(&map("storage", map("remotes", remotes))).unwrap();
        match Config::parse(&text, Path::new("x.yml"), &no_variables) {
            Ok((config, _)) => prop_assert_eq!(&config.storage.remotes[0].remote, &value.replace("$${", "${")),
            Err(errors) => {
                let variable = |problem: &Problem| matches!(problem, Problem::Variable { .. } | Problem::Expansion { .. });
                prop_assert!(errors.errors().iter().all(|error| variable(&error.problem)), "{}\n{}", text, errors);
            }
        }
    }
}
