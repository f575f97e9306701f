//! What must hold between keys: jobs that don't repeat, channels that are offered, addresses that are protected.

use std::collections::HashMap;
use std::net::SocketAddr;

use serde_yaml::Value as Yaml;

use crate::catalog;
use crate::check::Checked;
use crate::error::{ConfigError, Place, Problem, Warning};

/// Checks what is right by itself; what the walk already found wrong is passed over.
pub(crate) fn check(checked: &Checked, errors: &mut Vec<ConfigError>, warnings: &mut Vec<Warning>) {
    let mut rules = Rules { checked, errors, warnings, seen: HashMap::new() };
    rules.stream_jobs();
    rules.histo_jobs();
    rules.paths();
    rules.addresses();
    rules.restart();
    rules.unused();
}

/// What may be configured and is not used by this version, so that nobody waits for its effect.
const UNUSED: [&str; 4] = ["storage.remotes", "alerts.webhook_url", "daemon.rpc", "daemon.log_file"];

struct Rules<'a> {
    checked: &'a Checked,
    errors: &'a mut Vec<ConfigError>,
    warnings: &'a mut Vec<Warning>,
    /// The line on which each series was asked for first.
    seen: HashMap<String, usize>,
}

impl Rules<'_> {
    fn place(&self, path: &str) -> Place {
        self.checked.places.get(path).copied().unwrap_or(Place { line: 1, column: 1, length: 1 })
    }

    fn error(&mut self, path: &str, problem: Problem, help: Option<&str>) {
        let (place, key) = (self.place(path), path.to_owned());
        self.errors.push(ConfigError { place, key, problem, help: help.map(str::to_owned), hide_from: None });
    }

    fn warn(&mut self, path: &str, message: String) {
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
            let token = !values["token"].is_null() && values["auth"].as_str() != Some("none");
            if self.errors.iter().any(|error| error.key == format!("daemon.{section}.token")) {
                // A token that is wrong was already complained of.
                continue;
            }
            let asked_for = section == "rpc" && self.checked.places.contains_key("daemon.rpc.auth");
            if reachable && !token {
                let problem = Problem::Unprotected { address: address.to_owned() };
                let help = format!("set daemon.{section}.token, or listen on 127.0.0.1");
                self.error(&format!("daemon.{section}.address"), problem, Some(&help));
            } else if asked_for && values["token"].is_null() && values["auth"].as_str() == Some("token") {
                self.error("daemon.rpc.auth", Problem::NoToken, Some("set daemon.rpc.token, or write auth: none"));
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
    fn unused(&mut self) {
        let mut set: Vec<String> = UNUSED
            .into_iter()
            .filter(|path| {
                let value = path.split('.').fold(&self.checked.values, |value, key| &value[key]);
                // A default is nobody's wish.
                self.checked.places.contains_key(*path)
                    && !value.is_null()
                    && value.as_sequence().is_none_or(|list| !list.is_empty())
            })
            .map(str::to_owned)
            .collect();
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

fn is_loopback_host(host: &str) -> bool {
    host == "localhost" || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The words of a list with their indices; what was wrong is left out.
fn words(list: &Yaml) -> Vec<(usize, &str)> {
    let items = list.as_sequence().map(Vec::as_slice).unwrap_or_default();
    items.iter().enumerate().filter_map(|(index, item)| Some((index, item.as_str()?))).collect()
}
