//! What must hold between keys: jobs that don't repeat, channels that are offered, addresses that are protected.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;

use serde_yaml::Value as Yaml;

use crate::catalog;
use crate::check::Checked;
use crate::error::{ConfigError, Place, Problem, Warning};

/// Checks what is right by itself; what the walk already found wrong is passed over.
///
/// `base` is the directory that relative paths count from, empty where it isn't known.
pub(crate) fn check(checked: &Checked, base: &Path, errors: &mut Vec<ConfigError>, warnings: &mut Vec<Warning>) {
    let mut rules = Rules { checked, errors, warnings, seen: HashMap::new() };
    rules.stream_jobs();
    rules.histo_jobs();
    rules.paths();
    rules.remotes(base);
    rules.addresses();
    rules.webhooks();
    rules.restart();
    rules.unused();
}

/// The RPC takes no longer one.
const TOKEN_BYTES_MAX: usize = 256;
/// A token with fewer characters can be guessed.
const TOKEN_CHARS_MIN: usize = 16;

pub(crate) struct Rules<'a> {
    pub(crate) checked: &'a Checked,
    errors: &'a mut Vec<ConfigError>,
    warnings: &'a mut Vec<Warning>,
    /// The line on which each series was asked for first.
    seen: HashMap<String, usize>,
}

impl Rules<'_> {
    pub(crate) fn place(&self, path: &str) -> Place {
        self.checked.places.get(path).copied().unwrap_or(Place { line: 1, column: 1, length: 1 })
    }

    pub(crate) fn error(&mut self, path: &str, problem: Problem, help: Option<&str>) {
        let (place, key) = (self.place(path), path.to_owned());
        self.errors.push(ConfigError { place, key, problem, help: help.map(str::to_owned), hide_from: None });
    }

    /// The same of a value that may not be shown.
    pub(crate) fn error_hidden(&mut self, path: &str, problem: Problem, help: Option<&str>) {
        self.error(path, problem, help);
        if let Some(error) = self.errors.last_mut() {
            error.hide_from = Some(error.place.column);
        }
    }

    /// Whether a key was complained of already.
    pub(crate) fn is_wrong(&self, path: &str) -> bool {
        self.errors.iter().any(|error| error.key == path)
    }

    pub(crate) fn warn(&mut self, path: &str, message: String) {
        self.warnings.push(Warning { place: self.place(path), key: path.to_owned(), message });
    }

    fn jobs(&self, list: &str) -> Vec<Yaml> {
        self.checked.values[list].as_sequence().cloned().unwrap_or_default()
    }

    fn stream_jobs(&mut self) {
        for (index, job) in self.jobs("stream_jobs").iter().enumerate() {
            let path = format!("stream_jobs[{index}]");
            let Some(exchange) = job["exchange"].as_str().and_then(catalog::find) else { continue };
            if exchange.live.is_none() {
                let live = if exchange.history { " live" } else { "" };
                let message =
                    format!("this version doesn't collect {}{live} yet: the job is kept and not run", exchange.name);
                self.warn(&format!("{path}.exchange"), message);
            }
            for (at, channel) in words(&job["channels"]) {
                let offered = exchange.live.unwrap_or(dccd_model::Channel::ALL.as_slice());
                if !offered.iter().any(|known| known.as_str() == channel) {
                    let offered = offered.iter().map(|known| known.as_str()).collect::<Vec<_>>().join(", ");
                    let (exchange, channel) = (exchange.name.to_owned(), channel.to_owned());
                    let problem = Problem::NotOffered { exchange, channel, offered };
                    self.error(&format!("{path}.channels[{at}]"), problem, None);
                    continue;
                }
                for (pair, symbol) in words(&job["pairs"]) {
                    let mark = if words(&job["pairs"]).len() > 1 || words(&job["channels"]).len() == 1 {
                        format!("{path}.pairs[{pair}]")
                    } else {
                        format!("{path}.channels[{at}]")
                    };
                    self.once(&mark, format!("{}/{symbol}/{channel}", exchange.name));
                }
            }
        }
    }

    fn histo_jobs(&mut self) {
        let jobs = self.jobs("histo_jobs");
        for (index, job) in jobs.iter().enumerate() {
            let path = format!("histo_jobs[{index}]");
            if let Some(exchange) = job["exchange"].as_str().and_then(catalog::find).filter(|exchange| !exchange.history) {
                let message =
                    format!("this version doesn't fetch the history of {} yet: the job is kept and not run", exchange.name);
                self.warn(&format!("{path}.exchange"), message);
            }
            if let Some(format @ ("csv" | "xlsx")) = job["format"].as_str() {
                self.warn(&format!("{path}.format"), format!("the store is Parquet, not {format}"));
            }
            if !job["by_period"].is_null() {
                let message = "by_period has no effect: the layout of the files is fixed".to_owned();
                self.warn(&format!("{path}.by_period"), message);
            }
            let (Some(exchange), Some(span)) = (job["exchange"].as_str(), job["span"].as_u64()) else { continue };
            let Some(span) = u32::try_from(span).ok().and_then(dccd_model::Span::from_secs) else { continue };
            for (pair, symbol) in words(&job["pairs"]) {
                self.once(&format!("{path}.pairs[{pair}]"), format!("{exchange}/{symbol}/{span}"));
            }
        }
        if jobs.is_empty() && self.jobs("stream_jobs").is_empty() {
            self.warn("", "no jobs: add histo_jobs or stream_jobs, or nothing will be collected".to_owned());
        }
    }

    fn once(&mut self, path: &str, series: String) {
        let line = self.place(path).line;
        match self.seen.get(&series) {
            Some(&first) => self.error(path, Problem::DuplicateJob { series, first }, Some("keep one of them")),
            None => drop(self.seen.insert(series, line)),
        }
    }

    fn paths(&mut self) {
        let both = self.checked.places.contains_key("settings.data_path");
        let local = self.checked.values["storage"]["local_path"].as_str().unwrap_or_default();
        if both && !local.is_empty() && Some(local) != self.checked.values["settings"]["data_path"].as_str() {
            let message = "storage.local_path is used and settings.data_path is not".to_owned();
            self.warn("storage.local_path", message);
        }
    }

    fn addresses(&mut self) {
        let settings = &self.checked.values["settings"];
        if let Some(host) = settings["ui_host"].as_str()
            && settings["ui_auth_token"].is_null()
            && !is_loopback_host(host)
        {
            let message = format!("{host} can be reached from other hosts and settings.ui_auth_token is not set");
            self.warn("settings.ui_host", message);
        }
        for section in ["rpc", "http"] {
            let values = &self.checked.values["daemon"][section];
            let Some(address) = values["address"].as_str() else { continue };
            let reachable = address.parse::<SocketAddr>().is_ok_and(|address| !address.ip().is_loopback());
            let is_set = !values["token"].is_null() || !values["token_file"].is_null();
            let token = is_set && values["auth"].as_str() != Some("none");
            if self.errors.iter().any(|error| error.key.starts_with(&format!("daemon.{section}.token"))) {
                // A token that is wrong was already complained of.
                continue;
            }
            if section == "rpc" {
                self.rpc(values, reachable);
            }
            if reachable && !token {
                let problem = Problem::Unprotected { address: address.to_owned() };
                let help = format!("set daemon.{section}.token, or listen on 127.0.0.1");
                self.error(&format!("daemon.{section}.address"), problem, Some(&help));
            } else if section == "rpc" && !is_set && values["auth"].as_str() == Some("token") {
                let named = self.checked.places.contains_key("daemon.rpc.auth");
                let key = if named { "daemon.rpc.auth" } else { "daemon.rpc" };
                self.error(key, Problem::NoToken, Some("set daemon.rpc.token, or write auth: none"));
            }
        }
    }

    /// `daemon.rpc`, besides what holds for every port.
    fn rpc(&mut self, values: &Yaml, reachable: bool) {
        let address = values["address"].as_str().unwrap_or_default();
        if !values["token"].is_null() && !values["token_file"].is_null() {
            let problem = Problem::Both { this: "daemon.rpc.token", that: "daemon.rpc.token_file" };
            self.error("daemon.rpc.token_file", problem, Some("keep one of them"));
        }
        if values["auth"].as_str() == Some("none") {
            if !reachable {
                let message = "every user of this host can use the RPC, and stop dccd by it".to_owned();
                self.warn("daemon.rpc.auth", message);
            }
            return;
        }
        if let Some(token) = values["token"].as_str() {
            let chars = token.trim().chars().count();
            let is_word = chars > 0 && token.len() <= TOKEN_BYTES_MAX && !token.trim().contains(char::is_whitespace);
            if !is_word {
                let expected = format!("one word of at most {TOKEN_BYTES_MAX} bytes");
                let problem = Problem::Unexpected { expected, found: "a value that is not shown here".to_owned() };
                self.error("daemon.rpc.token", problem, Some("openssl rand -hex 32 makes a good one"));
            } else if chars < TOKEN_CHARS_MIN && reachable {
                let problem = Problem::ShortToken { chars, min: TOKEN_CHARS_MIN };
                self.error("daemon.rpc.token", problem, Some("openssl rand -hex 32 makes a good one"));
            } else if chars < TOKEN_CHARS_MIN {
                let message = format!(
                    "the token has {chars} characters, and can be guessed; use {TOKEN_CHARS_MIN} at least (openssl rand -hex 32 makes a good one)"
                );
                self.warn("daemon.rpc.token", message);
            }
        }
        if reachable && values["tls"].is_null() {
            let message = format!(
                "{address} can be reached from other hosts and daemon.rpc.tls is not set: the token and all data go in clear text"
            );
            self.warn("daemon.rpc.address", message);
        }
    }

    fn webhooks(&mut self) {
        let alerts = &self.checked.values["alerts"];
        let mut all: Vec<(String, String)> = Vec::new();
        all.extend(alerts["webhook_url"].as_str().map(|url| ("alerts.webhook_url".to_owned(), url.to_owned())));
        for (index, webhook) in alerts["webhooks"].as_sequence().into_iter().flatten().enumerate() {
            all.extend(webhook["url"].as_str().map(|url| (format!("alerts.webhooks[{index}].url"), url.to_owned())));
        }
        for (index, (path, url)) in all.iter().enumerate() {
            if all[..index].iter().any(|(_, known)| known == url) {
                self.warn(path, "the same address stands above; it is told once, as is said there".to_owned());
            }
            let host = url.strip_prefix("http://").and_then(|rest| rest.split(['/', '?', '#']).next());
            let host = host.map(|host| host.rsplit_once('@').map_or(host, |(_, host)| host));
            let name = |host: &str| match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                Some((host, _)) => host.to_owned(),
                None => host.split(':').next().unwrap_or_default().to_owned(),
            };
            if host.is_some_and(|host| !is_loopback_host(&name(host))) {
                self.warn(
                    path,
                    "http:// can be read on its way, the address with its secret included; use https://".to_owned(),
                );
            }
        }
    }

    /// What has to be in this order among the keys of restarts.
    fn restart(&mut self) {
        for (less, more) in [("base_delay", "max_delay"), ("progress_timeout", "hung_timeout")] {
            let restart = &self.checked.values["daemon"]["restart"];
            let (Some(small), Some(large)) = (restart[less].as_f64(), restart[more].as_f64()) else { continue };
            // Zero: such a service is never replaced.
            let is_never = more == "hung_timeout" && large == 0.0;
            if small <= large || is_never {
                continue;
            }
            let is_set = self.checked.places.contains_key(&format!("daemon.restart.{less}"));
            let named = if is_set { less } else { more };
            let (this, that) = (format!("{less} ({small})"), format!("{more} ({large})"));
            self.error(&format!("daemon.restart.{named}"), Problem::OutOfOrder { this, that }, None);
        }
    }
}

impl Rules<'_> {
    /// What may be configured and is not used by this version, so that nobody waits for its effect.
    fn unused(&mut self) {
        let mut set: Vec<String> = Vec::new();
        for (name, exchange) in self.checked.values["exchanges"].as_mapping().into_iter().flatten() {
            let path = format!("exchanges.{}", name.as_str().unwrap_or_default());
            if exchange["connections"].as_u64() == Some(2) {
                set.push(format!("{path}.connections"));
            }
            // Where derivatives have a socket of their own and share the rest, only its address is used.
            let unused = match path.as_str() {
                "exchanges.binance" => continue,
                "exchanges.bybit" => ".linear.rest_url",
                _ => ".linear",
            };
            if self.checked.places.contains_key(&format!("{path}{unused}")) {
                set.push(format!("{path}{unused}"));
            }
        }
        for path in set {
            self.warn(&path, "checked, and not used by this version".to_owned());
        }
    }
}

/// Whether what follows the scheme of an address is this host.
pub(crate) fn is_loopback(address: &str) -> bool {
    let authority = address.split('/').next().unwrap_or_default();
    let host = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).map_or(authority, |(host, _)| host);
    is_loopback_host(host)
}

fn is_loopback_host(host: &str) -> bool {
    host == "localhost" || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The words of a list with their indices; what was wrong is left out.
fn words(list: &Yaml) -> Vec<(usize, &str)> {
    let items = list.as_sequence().map(Vec::as_slice).unwrap_or_default();
    items.iter().enumerate().filter_map(|(index, item)| Some((index, item.as_str()?))).collect()
}
