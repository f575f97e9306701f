//! Every key that a configuration may have: its kind, its default, its meaning. The one list from which files are
//! checked and against which `docs/reference/configuration.md` is held.

/// What a value must be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A mapping with these keys.
    Section(&'static [Key]),
    /// A list of mappings with these keys.
    Sections(&'static [Key]),
    /// A mapping from exchange names to mappings with these keys.
    PerExchange(&'static [Key]),
    /// A list, not empty, of single values.
    List(&'static Self),
    /// Text.
    Text,
    /// A path; `~` is expanded.
    Path,
    /// A whole number within these bounds.
    Int(u64, u64),
    /// A power of two within these bounds.
    PowerOfTwo(u64, u64),
    /// A number within these bounds.
    Number(u64, u64),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A base address with one of these schemes: scheme, host, port, prefix.
    Url(&'static [&'static str]),
    /// Where to post to: `http` or `https`, anything behind the host.
    WebHook,
    /// An IP address (or `localhost`) and a port.
    Address,
    /// `local`, `UTC` or an IANA name.
    Timezone,
    /// The name of an exchange.
    Exchange,
    /// A symbol in ccxt's unified form.
    Symbol,
    /// A live channel.
    Channel,
    /// The length of a candle, at least a minute: seconds, or a label.
    Span,
    /// A date, or a date and time of day.
    Moment,
}

/// What holds where the file doesn't name the key.
#[derive(Clone, Copy, Debug)]
pub enum Absent {
    /// That's an error.
    Required,
    /// Nothing; `null` may be written for it.
    Null,
    /// This, as it would be written.
    Is(&'static str),
    /// An empty mapping or list: the defaults of what is inside.
    Empty,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What its value must be.
    pub kind: Kind,
    /// What holds without it.
    pub absent: Absent,
    /// The unit of its value; empty where there is none.
    pub unit: &'static str,
    /// Whether its value may be shown.
    pub secret: bool,
    /// What it means.
    pub about: &'static str,
    /// A value as it may be written.
    pub example: &'static str,
}

const fn key(name: &'static str, kind: Kind, absent: Absent, about: &'static str, example: &'static str) -> Key {
    Key { name, kind, absent, unit: "", secret: false, about, example }
}

impl Key {
    const fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

use Absent::{Empty, Is, Null, Required};

const DAY: u64 = 86_400;
const HTTP: Kind = Kind::Url(&["http", "https"]);
const WS: Kind = Kind::Url(&["ws", "wss"]);

/// The keys at the top of the file.
pub const ROOT: &[Key] = &[
    key("settings", Kind::Section(SETTINGS), Empty, "General settings.", ""),
    key("storage", Kind::Section(STORAGE), Empty, "Where the data lies and where it is copied to.", ""),
    key("histo_jobs", Kind::Sections(HISTO_JOB), Empty, "Series of candles to keep complete.", ""),
    key("stream_jobs", Kind::Sections(STREAM_JOB), Empty, "Series to record live.", ""),
    key("alerts", Kind::Section(ALERTS), Empty, "Whom to tell when something fails.", ""),
    key("exchanges", Kind::PerExchange(EXCHANGE), Empty, "What holds for single exchanges.", ""),
    key("daemon", Kind::Section(DAEMON), Empty, "How the processes behave.", ""),
];

const SETTINGS: &[Key] = &[
    key(
        "data_path",
        Kind::Path,
        Is("./data/crypto"),
        "Directory of the store; a relative one counts from the directory in which dccd is started.",
        "~/crypto",
    ),
    key(
        "timezone",
        Kind::Timezone,
        Is("local"),
        "Zone in which dates are read and printed; files are always UTC.",
        "Europe/Paris",
    ),
    key("ui_host", Kind::Text, Is("127.0.0.1"), "Where the web interface listens.", "0.0.0.0"),
    key("ui_port", Kind::Int(1, 65_535), Is("8080"), "Port of the web interface.", "8080"),
    key("ui_auth_token", Kind::Text, Null, "Token that the web interface asks for.", "\"${DCCD_UI_TOKEN}\"").secret(),
];

const STORAGE: &[Key] = &[
    key("local_path", Kind::Path, Is("\"\""), "Directory of the store; empty: `settings.data_path`.", "/data/crypto"),
    key("remotes", Kind::Sections(REMOTE), Empty, "Where the store is copied to.", ""),
    key("sync_interval", Kind::Int(0, 366 * DAY), Is("3600"), "Time between two copies; 0: never by itself.", "900")
        .unit("seconds"),
    key(
        "journal_keep_mb",
        Kind::Int(0, 1 << 20),
        Is("1024"),
        "How much of the journal is kept after it was recorded: the frames as they came, to look things up in.",
        "4096",
    )
    .unit("MiB"),
];

const REMOTE: &[Key] = &[
    key("provider", Kind::Choice(&["rclone"]), Is("rclone"), "What does the copying.", "rclone"),
    key("remote", Kind::Text, Required, "Where to, as the provider names it.", "\"mynas:crypto/\""),
];

const HISTO_JOB: &[Key] = &[
    key("exchange", Kind::Exchange, Required, "Exchange.", "binance"),
    key("pairs", Kind::List(&Kind::Symbol), Required, "Symbols.", "[BTC/USDT, ETH/USDT]"),
    key("span", Kind::Span, Required, "Length of a candle, at least 60; a label such as `1h` will do.", "3600")
        .unit("seconds"),
    key(
        "format",
        Kind::Choice(&["parquet", "csv", "xlsx"]),
        Is("parquet"),
        "The store is Parquet; `csv` and `xlsx` of dccd 2.x are read, warned about, and stored as Parquet.",
        "parquet",
    ),
    key(
        "start",
        Kind::Moment,
        Null,
        "First moment wanted, in `settings.timezone` unless it has an offset; default: the market's listing.",
        "\"2020-01-01\"",
    ),
    key(
        "source",
        Kind::Choice(&["auto", "candles", "trades"]),
        Is("auto"),
        "Where candles come from: `candles`: the exchange's own; `trades`: built from its trades; `auto`: its own where they reach back, built before.",
        "trades",
    ),
    key("max_retries", Kind::Int(1, 10), Is("3"), "Attempts for one window.", "5"),
    key(
        "retry_delay",
        Kind::Number(0, 3_600),
        Is("2.0"),
        "Wait before the second attempt; attempt k waits `retry_delay * 2^(k-1)`.",
        "1.5",
    )
    .unit("seconds"),
    key(
        "by_period",
        Kind::Choice(&["Y", "M", "D"]),
        Null,
        "Of dccd 2.x: read, warned about, without effect: the layout of the files is fixed.",
        "Y",
    ),
];

const STREAM_JOB: &[Key] = &[
    key("exchange", Kind::Exchange, Required, "Exchange.", "binance"),
    key("pairs", Kind::List(&Kind::Symbol), Required, "Symbols.", "[BTC/USDT]"),
    key("channels", Kind::List(&Kind::Channel), Required, "What is recorded of each symbol: trades, order books, best bids and asks, candles of one minute.", "[trades, book, quotes, ohlc]"),
    key("time_step", Kind::Int(1, DAY), Is("60"), "How old the Parquet files of the open day get at most while they are small; larger ones lag by at most a quarter of their rows.", "10")
        .unit("seconds"),
    key("depth", Kind::Int(1, 5_000), Is("1000"), "Order book levels; where an exchange offers a few depths only ([exchanges.md](exchanges.md)), it is the next one up.", "5000").unit("levels a side"),
];

const ALERTS: &[Key] = &[
    key(
        "webhook_url",
        Kind::WebHook,
        Null,
        "Where alerts are posted to, in Slack's form ([alerts.md](../operations/alerts.md)); without it and `webhooks` nobody is told.",
        "\"${DCCD_WEBHOOK}\"",
    )
    .secret(),
    key("webhooks", Kind::Sections(WEBHOOK), Empty, "Further webhooks.", ""),
    key(
        "max_consecutive_errors",
        Kind::Int(1, 1_000_000),
        Is("3"),
        "Failures in a row at which the alert is sent, once per streak.",
        "5",
    ),
    key("hold", Kind::Number(0, DAY), Is("10"), "How long something has to be wrong before it is told; what comes and goes counts together.", "30")
        .unit("seconds"),
    key("clear_after", Kind::Number(0, DAY), Is("60"), "How long it has to be over before the recovery is told.", "120")
        .unit("seconds"),
    key("repeat_after", Kind::Number(0, 30 * DAY), Is("0"), "After how long what is still wrong is told again; 0: never.", "14400")
        .unit("seconds"),
    key(
        "max_per_hour",
        Kind::Int(1, 10_000),
        Is("20"),
        "Messages to one webhook within an hour; what is more is counted, and told in one message.",
        "60",
    ),
    key("stale_after", Kind::Number(1, 30 * DAY), Is("60"), "How long a configured feed may be without data.", "300")
        .unit("seconds"),
    key("gap_after", Kind::Number(1, 30 * DAY), Is("900"), "How long gaps of a feed may wait to be made good.", "3600")
        .unit("seconds"),
    key("disk_low_mb", Kind::Int(256, 1 << 30), Is("2048"), "With less room than this on its disk, the store is soon full.", "20480")
        .unit("MiB"),
];

const WEBHOOK: &[Key] = &[
    key("url", Kind::WebHook, Required, "Where to.", "\"${DCCD_WEBHOOK}\"").secret(),
    key(
        "format",
        Kind::Choice(&["slack", "json"]),
        Is("slack"),
        "`slack`: `{\"text\": ...}`, which Slack, Mattermost and Discord's `/slack` take; `json`: everything, in fields.",
        "json",
    ),
    key(
        "min_severity",
        Kind::Choice(&["info", "warning", "critical"]),
        Is("info"),
        "What is less grave than this is not told there.",
        "critical",
    ),
];

const EXCHANGE: &[Key] = &[
    key(
        "rest_url",
        HTTP,
        Null,
        "Another base address for REST (a mirror, a proxy, a simulator); the exchange's own path is appended.",
        "http://127.0.0.1:8090",
    ),
    key("ws_url", WS, Null, "Another base address for WebSockets.", "ws://127.0.0.1:8090"),
    key("linear", Kind::Section(LINEAR), Empty, "The same for USD-margined derivatives where they live elsewhere: Binance's; of Bybit, `ws_url` alone.", ""),
    key(
        "rest_weight_per_minute",
        Kind::Int(1, 100_000_000),
        Null,
        "Request weight (where the exchange weighs nothing: requests) that all processes of this host may use in a minute; less leaves room for others at this address, \
         more is for mirrors and simulators; default: the exchange's own limit.",
        "3000",
    )
    .unit("weight"),
    key("connections", Kind::Int(1, 2), Is("1"), "2: the same streams twice, merged record by record.", "2"),
    key(
        "trade_stream",
        Kind::Choice(&["trade", "aggregated"]),
        Is("trade"),
        "`aggregated`: trades of one taker order at one price as one record, where the exchange offers that.",
        "aggregated",
    ),
    key(
        "ring_slots",
        Kind::PowerOfTwo(1_024, 1 << 24),
        Is("65536"),
        "Capacity of an order book's ring, 64 bytes a slot; the other rings have a quarter; a power of two.",
        "1048576",
    )
    .unit("slots"),
    key("limits", Kind::Section(LIMITS), Empty, "Limits of this exchange's service, before `daemon.limits`.", ""),
];

const LINEAR: &[Key] = &[
    key("rest_url", HTTP, Null, "Base address for REST.", "https://fapi.binance.com"),
    key("ws_url", WS, Null, "Base address for WebSockets.", "wss://fstream.binance.com"),
];

const LIMITS: &[Key] = &[
    key(
        "max_memory_mb",
        Kind::Int(64, 1 << 20),
        Null,
        "Memory of a service ([limits.md](../operations/limits.md)); no limit without it.",
        "4096",
    )
    .unit("MiB"),
    key("max_cpu_pct", Kind::Int(1, 100_000), Null, "Processor time of a service (the same); no limit without it.", "80")
        .unit("% of a core"),
];

const DAEMON: &[Key] = &[
    key("rpc", Kind::Section(RPC), Null, "The RPC over TCP; without it the local socket only.", ""),
    key("pid_file", Kind::Path, Null, "File to hold the root's pid while it runs; a relative one counts from `work_dir`.", "/run/dccd.pid"),
    key("work_dir", Kind::Path, Null, "Working directory of the processes.", "/var/lib/dccd"),
    key(
        "log_file",
        Kind::Path,
        Null,
        "One log file for all, each line with its service; a relative one counts from `work_dir`; default: one per service under `<data_path>/.dccd/logs`.",
        "/var/log/dccd.log",
    ),
    key(
        "log_format",
        Kind::Choice(&["text", "json"]),
        Is("text"),
        "`json`: one JSON object a line in the log files, and on standard error where that is no terminal.",
        "json",
    ),
    key("log_rotate", Kind::Section(LOG_ROTATE), Empty, "When a log file is put aside.", ""),
    key(
        "log_level",
        Kind::Choice(&["trace", "debug", "info", "warn", "error"]),
        Is("info"),
        "How much is logged; `--log-level` goes before it, `dccd log-level` changes it while dccd runs.",
        "debug",
    ),
    key("shutdown_timeout", Kind::Int(1, DAY), Is("60"), "How long a stop may take before processes are killed.", "20")
        .unit("seconds"),
    key(
        "orphan_grace",
        Kind::Int(0, DAY),
        Is("300"),
        "How long a service whose root died goes on without one; the next root adopts it. Then it flushes and ends. 0: at once.",
        "60",
    )
    .unit("seconds"),
    key("limits", Kind::Section(LIMITS), Empty, "Limits of each service.", ""),
    key("restart", Kind::Section(RESTART), Empty, "When a service that failed is started again.", ""),
    key(
        "http",
        Kind::Section(HTTP_SERVER),
        Null,
        "Health and metrics over HTTP ([metrics.md](../operations/metrics.md)); not served without it.",
        "",
    ),
];

const LOG_ROTATE: &[Key] = &[
    key("max_mb", Kind::Int(1, 1 << 20), Is("10"), "Size at which a log file is put aside, as `<name>.1`.", "100")
        .unit("MiB"),
    key("max_age_days", Kind::Int(1, 3_650), Is("7"), "Age at which it is, too.", "1").unit("days"),
    key("keep", Kind::Int(1, 1_000), Is("4"), "How many of those are kept.", "30").unit("files"),
];

const RPC: &[Key] = &[
    key("address", Kind::Address, Required, "Where it listens.", "127.0.0.1:5555"),
    key(
        "auth",
        Kind::Choice(&["token", "none"]),
        Is("token"),
        "How a client proves itself; `none` on loopback only.",
        "token",
    ),
    key("token", Kind::Text, Null, "What it proves itself with, at least 16 characters.", "\"${DCCD_RPC_TOKEN}\"").secret(),
    key(
        "token_file",
        Kind::Path,
        Null,
        "File that holds the token instead; nobody else may read it (mode 0600).",
        "/etc/dccd/rpc.token",
    ),
    key("tls", Kind::Section(RPC_TLS), Null, "With what TLS is spoken; not spoken without it.", ""),
    key("limits", Kind::Section(RPC_LIMITS), Empty, "What clients may take ([remote.md](../operations/remote.md)).", ""),
];

const RPC_TLS: &[Key] = &[
    key(
        "certificate",
        Kind::Path,
        Required,
        "The certificate with what leads to its authority, PEM; read again when it changes.",
        "/etc/dccd/rpc.crt",
    ),
    key(
        "key",
        Kind::Path,
        Required,
        "Its private key, PEM; others may not read it (mode 0600 or 0640).",
        "/etc/dccd/rpc.key",
    ),
];

const RPC_LIMITS: &[Key] = &[
    key("max_connections", Kind::Int(1, 10_000), Is("64"), "Connections that have shown the token.", "16"),
    key(
        "max_connections_per_address",
        Kind::Int(1, 10_000),
        Is("16"),
        "The same from one address (of IPv6: from one network of 64 bits).",
        "4",
    ),
    key(
        "max_unauthenticated",
        Kind::Int(1, 1_000),
        Is("16"),
        "Connections that haven't shown it yet; the oldest makes room for the next.",
        "8",
    ),
    key("auth_timeout", Kind::Number(1, 60), Is("5"), "How long these may take.", "3").unit("seconds"),
    key(
        "idle_timeout",
        Kind::Number(1, DAY),
        Is("3600"),
        "How long a connection may be silent; a call that takes longer is cut off.",
        "600",
    )
    .unit("seconds"),
    key("max_frame_kb", Kind::Int(64, 8_192), Is("1024"), "Longest message of a client.", "256").unit("KiB"),
    key(
        "max_requests_per_second",
        Kind::Int(1, 1_000_000),
        Is("1000"),
        "Messages that a connection may send; above it is slowed down, and cut off after ten seconds of that.",
        "100",
    ),
    key("max_kb_per_second", Kind::Int(64, 1 << 20), Is("16384"), "The same in bytes.", "1024").unit("KiB"),
];

const HTTP_SERVER: &[Key] = &[
    key("address", Kind::Address, Required, "Where it listens.", "127.0.0.1:9090"),
    key("token", Kind::Text, Null, "Bearer token; needed beyond loopback.", "\"${DCCD_HTTP_TOKEN}\"").secret(),
];

const RESTART: &[Key] = &[
    key("max_restarts", Kind::Int(0, 1_000), Is("5"), "Restarts within the window after which it is given up.", "10"),
    key("window", Kind::Int(1, 30 * DAY), Is("600"), "The window.", "600").unit("seconds"),
    key(
        "base_delay",
        Kind::Number(0, DAY),
        Is("5"),
        "Wait before the second restart (the first is at once); it doubles.",
        "2",
    )
    .unit("seconds"),
    key("max_delay", Kind::Number(0, DAY), Is("60"), "Longest wait.", "120").unit("seconds"),
    key(
        "heartbeat_timeout",
        Kind::Number(1, 3_600),
        Is("10"),
        "A service that sends no heartbeat for this long hangs, and is killed.",
        "30",
    )
    .unit("seconds"),
    key(
        "progress_timeout",
        Kind::Number(1, 3_600),
        Is("30"),
        "A service that is busy and gets nowhere for this long is degraded.",
        "60",
    )
    .unit("seconds"),
    key(
        "hung_timeout",
        Kind::Number(0, DAY),
        Is("300"),
        "One that goes on so for this long hangs, and is replaced; 0: never.",
        "600",
    )
    .unit("seconds"),
];

/// Every key with its path: `settings.data_path`, `stream_jobs[].pairs`, `exchanges.<exchange>.rest_url`.
#[must_use]
pub fn all() -> Vec<(String, &'static Key)> {
    fn add(prefix: &str, keys: &'static [Key], out: &mut Vec<(String, &'static Key)>) {
        for key in keys {
            let path = if prefix.is_empty() { key.name.to_owned() } else { format!("{prefix}.{}", key.name) };
            out.push((path.clone(), key));
            match key.kind {
                Kind::Section(inner) => add(&path, inner, out),
                Kind::Sections(inner) => add(&format!("{path}[]"), inner, out),
                Kind::PerExchange(inner) => add(&format!("{path}.<exchange>"), inner, out),
                _ => {}
            }
        }
    }
    let mut out = Vec::new();
    add("", ROOT, &mut out);
    out
}

impl Kind {
    /// What a user is told to write: "a whole number from 1 to 10".
    #[must_use]
    pub fn expected(&self) -> String {
        match *self {
            Self::Section(_) => "a mapping (key: value)".to_owned(),
            Self::Sections(_) => "a list of mappings".to_owned(),
            Self::PerExchange(_) => "a mapping from exchange names to their settings".to_owned(),
            Self::List(of) => format!("a list, each of it {}", of.expected()),
            Self::Text => "text".to_owned(),
            Self::Path => "a path".to_owned(),
            Self::Int(min, max) => format!("a whole number from {min} to {max}"),
            Self::PowerOfTwo(min, max) => format!("a power of two from {min} to {max}"),
            Self::Number(min, max) => format!("a number from {min} to {max}"),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
            Self::Url(schemes) => format!("an address such as {}://host:port/prefix", schemes.join(":// or ")),
            Self::WebHook => "an http:// or https:// address".to_owned(),
            Self::Address => "an IP address and a port, such as 127.0.0.1:5555".to_owned(),
            Self::Timezone => "local, UTC or an IANA name such as Europe/Paris".to_owned(),
            Self::Exchange => {
                let names: Vec<_> = crate::catalog::EXCHANGES.iter().map(|exchange| exchange.name).collect();
                format!("one of {}", names.join(", "))
            }
            Self::Symbol => "a symbol such as BTC/USDT, BTC/USDT:USDT or BTC/USD:BTC-261225".to_owned(),
            Self::Channel => "one of trades, book, quotes, ohlc".to_owned(),
            Self::Span => "a number of seconds, 60 or more, or a label such as 1m, 4h, 1d".to_owned(),
            Self::Moment => "a date such as 2020-01-01, or a date and time such as 2020-01-01T12:00:00Z".to_owned(),
        }
    }

    /// A word for it in the reference.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match *self {
            Self::Section(_) | Self::PerExchange(_) => "mapping",
            Self::Sections(_) => "list of mappings",
            Self::List(Self::Symbol) => "list of symbols",
            Self::List(Self::Channel) => "list of channels",
            Self::List(_) => "list",
            Self::Text => "text",
            Self::Path => "path",
            Self::Int(..) | Self::PowerOfTwo(..) => "integer",
            Self::Number(..) => "number",
            Self::Choice(_) => "choice",
            Self::Url(_) | Self::WebHook => "URL",
            Self::Address => "address",
            Self::Timezone => "time zone",
            Self::Exchange => "exchange",
            Self::Symbol => "symbol",
            Self::Channel => "channel",
            Self::Span => "span",
            Self::Moment => "date",
        }
    }
}
