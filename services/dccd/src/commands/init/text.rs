//! The configuration that `dccd init` writes, with what a newcomer should know beside each key.

use std::fmt::Write as _;

use dccd_model::{Channel, ExchangeName, Span, Symbol};

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    pub exchange: ExchangeName,
    pub pairs: Vec<Symbol>,
    /// Recorded live; empty: nothing is.
    pub channels: Vec<Channel>,
    /// Candles of the past; `None`: none.
    pub span: Option<Span>,
    /// First moment wanted of them, as it is written; `None`: the market's listing.
    pub start: Option<String>,
    pub data_path: String,
    pub rest_url: Option<String>,
    pub ws_url: Option<String>,
}

impl Answers {
    /// The file.
    pub fn text(&self) -> String {
        let mut text = String::from(
            "# dccd collects what stands here. `dccd validate` checks this file, `dccd doctor` this host, `dccd start` begins.
# `dccd add` and `dccd remove` edit it. Every key: docs/reference/configuration.md.

settings:
  # Where the data goes: Parquet files, one per market and day. A relative path counts from where dccd is started.
",
        );
        let _ = writeln!(text, "  data_path: {}", scalar(&self.data_path));
        text.push_str(
            "  # Zone in which dates are read and printed: local, UTC, or a name such as Europe/Paris. The files are always UTC.
  timezone: local
",
        );
        let pairs = self.pairs.iter().map(Symbol::as_str).collect::<Vec<_>>().join(", ");
        if !self.channels.is_empty() {
            let channels = self.channels.iter().map(|channel| channel.as_str()).collect::<Vec<_>>().join(", ");
            let _ = write!(
                text,
                "
# Recorded live, without a hole or with the hole declared.
stream_jobs:
  - exchange: {}
    pairs: [{pairs}]
    channels: [{channels}]      # of trades, book, quotes, ohlc
    time_step: 60               # seconds: how old the files of the open day get at most
",
                self.exchange
            );
            if self.channels.contains(&Channel::Book) {
                text.push_str("    depth: 1000                 # order book levels a side\n");
            }
        }
        if let Some(span) = self.span {
            let _ = write!(
                text,
                "
# Candles of the past, kept complete from the first moment on.
histo_jobs:
  - exchange: {}
    pairs: [{pairs}]
    span: {}                    # seconds a candle, or a label: 1m, 1h, 1d
",
                self.exchange,
                span.as_secs()
            );
            match &self.start {
                Some(start) => {
                    let _ = writeln!(text, "    start: \"{start}\"");
                }
                None => text.push_str("    # start: \"2020-01-01\"       # without it: the market's listing\n"),
            }
        }
        if self.rest_url.is_some() || self.ws_url.is_some() {
            let _ = write!(text, "\n# Other addresses than the exchange's own.\nexchanges:\n  {}:\n", self.exchange);
            for (key, url) in [("rest_url", &self.rest_url), ("ws_url", &self.ws_url)] {
                if let Some(url) = url {
                    let _ = writeln!(text, "    {key}: {}", scalar(url));
                }
            }
        }
        text.push_str(
            "
# What else is often wanted. Secrets come from the environment, as in ${DCCD_WEBHOOK}: then this file holds none.
# alerts:
#   webhook_url: \"${DCCD_WEBHOOK}\"
# daemon:
#   http: {address: 127.0.0.1:9090}        # /health, /metrics
#   limits: {max_memory_mb: 2048}          # of each service
",
        );
        text
    }
}

/// Text as YAML reads it back.
fn scalar(text: &str) -> String {
    let rest = text.strip_prefix("~/").unwrap_or(text);
    let is_plain = rest.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    if is_plain && rest.starts_with(|first: char| first.is_ascii_alphabetic() || "./".contains(first)) {
        return text.to_owned();
    }
    // YAML's double quotes know what JSON's do.
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use dccd_config::Config;

    use super::*;

    fn answers() -> Answers {
        Answers {
            exchange: "kraken".parse().unwrap(),
            pairs: vec!["BTC/USD".parse().unwrap(), "BTC/USDT:USDT".parse().unwrap()],
            channels: vec![Channel::Trades, Channel::Book],
            span: Some("1h".parse().unwrap()),
            start: Some("2021-02-03".to_owned()),
            data_path: "~/my \"data\": # all".to_owned(),
            rest_url: Some("http://127.0.0.1:1/x".to_owned()),
            ws_url: Some("ws://127.0.0.1:1".to_owned()),
        }
    }

    fn read(answers: &Answers) -> Config {
        let (config, warnings) = Config::parse(&answers.text(), Path::new("config.yml"), &|_| None)
            .unwrap_or_else(|errors| panic!("{errors}\n{}", answers.text()));
        assert!(warnings.is_empty(), "{warnings:?}");
        config
    }

    #[test]
    fn what_is_written_means_what_was_answered() {
        let all = answers();
        let config = read(&all);
        assert!(config.settings.data_path.ends_with("my \"data\": # all"), "{:?}", config.settings.data_path);
        let (live, past) = (&config.stream_jobs[0], &config.histo_jobs[0]);
        assert_eq!((&live.pairs, &live.channels), (&all.pairs, &all.channels));
        assert_eq!((&past.pairs, Some(past.span), past.start.is_some()), (&all.pairs, all.span, true));
        assert_eq!(config.exchange(&all.exchange).ws_url, all.ws_url);

        let live = Answers { span: None, start: None, rest_url: None, ws_url: None, data_path: "./data".into(), ..all };
        assert!(read(&live).histo_jobs.is_empty() && live.text().contains("\n  data_path: ./data\n"));
        let past = Answers { channels: Vec::new(), span: Some("1m".parse().unwrap()), data_path: "~".into(), ..live };
        assert!(read(&past).stream_jobs.is_empty() && read(&past).histo_jobs[0].start.is_none());
    }

    /// What stands there as a comment is right when the comment's sign is taken away.
    #[test]
    fn what_is_commented_out_is_valid() {
        let text = answers().text();
        let (before, comments) = text.split_once("# alerts:").unwrap();
        let uncommented: String =
            comments.lines().map(|line| format!("{}\n", line.strip_prefix("# ").unwrap_or(line))).collect();
        let text = format!("{before}alerts:{uncommented}");
        let variables = |_: &str| Some("https://hooks.example/x".to_owned());
        let (config, _) =
            Config::parse(&text, Path::new("config.yml"), &variables).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert!(config.daemon.http.is_some() && config.alerts.webhook_url.is_some());
    }
}
