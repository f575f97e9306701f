//! What a configuration that was read anew means for a running root: what is refused, what is another for each service, and
//! what has to wait for the root's next start.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, anyhow, bail};
use datad::DatadOptions;
use dccd_config::{Config, Loaded, Lookup};
use dccd_model::ExchangeName;
use dccd_root::{BoxError, Reload, Reloaded};

use crate::roles::{self, Common, Roles};

/// Reads the file that the root was started with, compared with what was read last.
pub fn reload(loaded: &Loaded, common: Common) -> Reload {
    let path = loaded.path.clone();
    let applied = Arc::new(Mutex::new(loaded.config.clone()));
    Arc::new(move || read(&path, &common, &applied).map_err(BoxError::from))
}

fn read(path: &Path, common: &Common, applied: &Arc<Mutex<Config>>) -> anyhow::Result<Reloaded> {
    let new = Config::load(&Lookup::new(Some(path.to_owned())))?;
    for warning in new.warnings.iter().map(ToString::to_string).chain(crate::histo::warnings(&new.config)) {
        tracing::warn!(file = %path.display(), warning, "the new configuration");
    }
    if let Some(options) = roles::rpc_options(&new.config)? {
        // The files that it names; the next root would not start with them.
        dccd_root::check_rpc(&options).with_context(|| format!("{}: daemon.rpc", path.display()))?;
    }
    let old = applied.lock().unwrap_or_else(PoisonError::into_inner).clone();
    check(&old, &new.config)?;
    let Roles { services, resolve, supervision, alerting, disk_low_bytes } = common.roles(&new.config);
    let (applied, config, text, copy) = (Arc::clone(applied), new.config.clone(), new.text, common.config_copy());
    Ok(Reloaded {
        services,
        resolve,
        supervision,
        alerting,
        disk_low_bytes,
        log_level: common.level(&new.config),
        later: later(&old, &new.config),
        details: details(&old, &new.config, common),
        commit: Box::new(move || {
            roles::write_config_copy(&copy, text.as_str())?;
            *applied.lock().unwrap_or_else(PoisonError::into_inner) = config;
            Ok(())
        }),
    })
}

/// Refuses what can't be changed under running services.
fn check(old: &Config, new: &Config) -> anyhow::Result<()> {
    if old.data_path() != new.data_path() {
        let (old, new) = (old.data_path().display(), new.data_path().display());
        bail!("the store cannot move from {old} to {new} while dccd runs: `dccd restart` stops everything and begins there");
    }
    if new.collected_exchanges().is_empty() && !old.collected_exchanges().is_empty() {
        let message = "no job is left that anything would be collected for; `dccd stop` is how to stop everything";
        return Err(anyhow!(message));
    }
    Ok(())
}

/// What the root itself takes up at its next start only.
fn later(old: &Config, new: &Config) -> Vec<String> {
    let (old, new) = (&old.daemon, &new.daemon);
    let keys = [
        ("daemon.rpc", old.rpc != new.rpc),
        ("daemon.http", old.http != new.http),
        ("daemon.pid_file", old.pid_file != new.pid_file),
        ("daemon.work_dir", old.work_dir != new.work_dir),
        ("daemon.log_file", old.log_file != new.log_file),
        ("daemon.log_format", old.log_format != new.log_format),
        ("daemon.log_rotate", old.log_rotate != new.log_rotate),
    ];
    keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key.to_owned()).collect()
}

/// What is another for each service.
fn details(old: &Config, new: &Config, common: &Common) -> BTreeMap<String, Vec<String>> {
    let exchanges = old.collected_exchanges().into_iter().chain(new.collected_exchanges());
    let told = |config: &Config, exchange: &ExchangeName| {
        roles::datad_options(config, exchange.clone(), &common.instance, config.data_path())
    };
    exchanges
        .map(|exchange| {
            let (before, after) = (told(old, &exchange), told(new, &exchange));
            let mut words = jobs(&before, &after);
            let is_in_both = [old, new].iter().all(|config| config.collected_exchanges().contains(&exchange));
            if is_in_both {
                differences(&mut words, &before, &after);
                differs(&mut words, "limits", &old.limits(&exchange), &new.limits(&exchange));
                differs(&mut words, "daemon.orphan_grace", &old.daemon.orphan_grace, &new.daemon.orphan_grace);
            }
            (roles::datad_name(&exchange), words)
        })
        .collect()
}

fn differs<T: PartialEq + Debug>(words: &mut Vec<String>, what: &str, old: &T, new: &T) {
    if old != new {
        words.push(format!("{what} is another"));
    }
}

/// The feeds and series that come, go and change.
fn jobs(old: &DatadOptions, new: &DatadOptions) -> Vec<String> {
    let exchange = &new.exchange;
    let feed = |(symbol, channel): &_| format!("{exchange}/{symbol}/{channel}");
    let mut words = Vec::new();
    words.extend(new.feeds.iter().filter(|f| !old.feeds.contains(f)).map(|f| format!("{} is recorded", feed(f))));
    words.extend(old.feeds.iter().filter(|f| !new.feeds.contains(f)).map(|f| format!("{} is recorded no more", feed(f))));
    let names =
        |options: &DatadOptions| options.histo.iter().map(|w| (w.name(exchange), w.clone())).collect::<BTreeMap<_, _>>();
    let (before, after) = (names(old), names(new));
    for (name, wanted) in &after {
        match before.get(name) {
            None => words.push(format!("{name} is kept complete")),
            Some(other) if other != wanted => words.push(format!("the job of {name} is another")),
            Some(_) => {}
        }
    }
    words.extend(
        before.keys().filter(|name| !after.contains_key(*name)).map(|name| format!("{name} is kept complete no more")),
    );
    words
}

/// All the rest.
fn differences(words: &mut Vec<String>, old: &DatadOptions, new: &DatadOptions) {
    differs(words, "alerts", &old.patience, &new.patience);
    differs(words, "time_step", &old.time_step, &new.time_step);
    differs(words, "storage.journal_keep_mb", &old.journal_keep_bytes, &new.journal_keep_bytes);
    differs(words, "depth", &old.depth, &new.depth);
    differs(words, "ring_slots", &old.ring_slots, &new.ring_slots);
    differs(words, "trade_stream", &old.aggregated_trades, &new.aggregated_trades);
    differs(
        words,
        "an address or the request weight",
        &(&old.rest, &old.ws_url, &old.linear_ws_url),
        &(&new.rest, &new.ws_url, &new.linear_ws_url),
    );
}
