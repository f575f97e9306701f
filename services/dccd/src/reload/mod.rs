//! What a configuration that was read anew means for a running root: what is refused, what is another for each service, and
//! what has to wait for the root's next start.

mod words;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, anyhow, bail};
use datad::DatadOptions;
use dccd_config::{Config, Http, Limits, Loaded, Lookup, Remote, Rpc, Webhook};
use dccd_model::ExchangeName;
use dccd_root::{BoxError, Reload, Reloaded};
use dccd_rpc::alertd::ALERTD_NAME;
use dccd_rpc::root::ROOT_NAME;
use dccd_rpc::syncd::SYNCD_NAME;

use self::words::Words;
use crate::roles::{self, Common, Roles};

/// Reads the file that the root was started with, compared with what was read last.
pub fn reload(loaded: &Loaded, common: Common) -> Reload {
    let path = loaded.path.clone();
    let applied = Arc::new(Mutex::new(loaded.config.clone()));
    Arc::new(move || read(&path, &common, &applied).map_err(BoxError::from))
}

fn read(path: &Path, common: &Common, applied: &Arc<Mutex<Config>>) -> anyhow::Result<Reloaded> {
    // A pipe was good for a start; to be read again it would have to be written again.
    let found = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if !found.is_file() {
        bail!("{} is no regular file, and can't be read again", path.display());
    }
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

/// What is another for each service, the root among them.
fn details(old: &Config, new: &Config, common: &Common) -> BTreeMap<String, Vec<String>> {
    let exchanges = old.collected_exchanges().into_iter().chain(new.collected_exchanges());
    let told = |config: &Config, exchange: &ExchangeName| {
        roles::datad_options(config, exchange.clone(), &common.instance, config.data_path())
    };
    let of_exchange = |exchange: ExchangeName| {
        let (before, after) = (told(old, &exchange), told(new, &exchange));
        let mut words = Words::default();
        jobs(&mut words, &before, &after);
        if [old, new].iter().all(|config| config.collected_exchanges().contains(&exchange)) {
            of_datad(&mut words, &before, &after);
            limits(&mut words, &old.limits(&exchange), &new.limits(&exchange));
            words.differs("daemon.orphan_grace", &old.daemon.orphan_grace, &new.daemon.orphan_grace);
        }
        (roles::datad_name(&exchange), words.all())
    };
    let others = [(ROOT_NAME, of_root(old, new)), (SYNCD_NAME, of_syncd(old, new)), (ALERTD_NAME, of_alertd(old, new))];
    exchanges.map(of_exchange).chain(others.map(|(name, words)| (name.to_owned(), words))).collect()
}

/// What the root itself takes in, and what waits for the next one.
fn of_root(old: &Config, new: &Config) -> Vec<String> {
    let mut words = Words::default();
    words.differs("alerts.disk_low_mb", &old.alerts.disk_low_mb, &new.alerts.disk_low_mb);
    let (old, new) = (&old.daemon, &new.daemon);
    words.differs("daemon.log_level", &old.log_level, &new.log_level);
    words.differs("daemon.shutdown_timeout", &old.shutdown_timeout, &new.shutdown_timeout);
    let (before, after) = (&old.restart, &new.restart);
    words.differs("daemon.restart.max_restarts", &before.max_restarts, &after.max_restarts);
    for (key, before, after) in [
        ("window", before.window, after.window),
        ("base_delay", before.base_delay, after.base_delay),
        ("max_delay", before.max_delay, after.max_delay),
        ("heartbeat_timeout", before.heartbeat_timeout, after.heartbeat_timeout),
        ("progress_timeout", before.progress_timeout, after.progress_timeout),
        ("hung_timeout", before.hung_timeout, after.hung_timeout),
    ] {
        words.differs(&format!("daemon.restart.{key}"), &before, &after);
    }
    let mut later = Words::default();
    let (before, after) = (old.http.as_ref(), new.http.as_ref());
    later.differs("daemon.http.address", &before.map(|http| http.address), &after.map(|http| http.address));
    let token = |http: Option<&'_ Http>| http.and_then(|http| http.token.clone());
    later.differs_secretly("daemon.http.token", token(before).as_ref(), token(after).as_ref());
    rpc(&mut later, old.rpc.as_ref(), new.rpc.as_ref());
    later.differs("daemon.pid_file", &old.pid_file, &new.pid_file);
    later.differs("daemon.work_dir", &old.work_dir, &new.work_dir);
    later.differs("daemon.log_file", &old.log_file, &new.log_file);
    later.differs("daemon.log_format", &old.log_format, &new.log_format);
    let (before, after) = (&old.log_rotate, &new.log_rotate);
    later.differs("daemon.log_rotate.max_mb", &before.max_mb, &after.max_mb);
    later.differs("daemon.log_rotate.max_age_days", &before.max_age_days, &after.max_age_days);
    later.differs("daemon.log_rotate.keep", &before.keep, &after.keep);
    words.all().into_iter().chain(later.all_with(dccd_root::LATER)).collect()
}

fn rpc(words: &mut Words, old: Option<&Rpc>, new: Option<&Rpc>) {
    words.differs("daemon.rpc.address", &old.map(|rpc| rpc.address), &new.map(|rpc| rpc.address));
    let (Some(old), Some(new)) = (old, new) else { return };
    words.differs_secretly("daemon.rpc.token", old.token.as_ref(), new.token.as_ref());
    words.differs("daemon.rpc.token_file", &old.token_file, &new.token_file);
    for (key, differs) in [("auth", old.auth != new.auth), ("tls", old.tls != new.tls), ("limits", old.limits != new.limits)]
    {
        if differs {
            words.say(format!("daemon.rpc.{key} is another"));
        }
    }
}

fn of_syncd(old: &Config, new: &Config) -> Vec<String> {
    let mut words = Words::default();
    words.differs("storage.sync_interval", &old.storage.sync_interval, &new.storage.sync_interval);
    let key = "alerts.max_consecutive_errors";
    words.differs(key, &old.alerts.max_consecutive_errors, &new.alerts.max_consecutive_errors);
    limits(&mut words, &old.daemon.limits, &new.daemon.limits);
    let (before, after) = (&old.storage.remotes, &new.storage.remotes);
    let is_same = |a: &Remote, b: &Remote| (a.label(), &a.endpoint) == (b.label(), &b.endpoint);
    for remote in after {
        let label = remote.label();
        let Some(was) = before.iter().find(|was| is_same(was, remote)) else {
            words.say(format!("{label} is copied to"));
            continue;
        };
        words.differs(&format!("{label} region"), &was.region, &remote.region);
        let keys = |remote: &Remote| (remote.access_key_id.clone(), remote.secret_access_key.clone());
        let ((old_id, old_key), (new_id, new_key)) = (keys(was), keys(remote));
        words.differs_secretly(&format!("{label} access_key_id"), old_id.as_ref(), new_id.as_ref());
        words.differs_secretly(&format!("{label} secret_access_key"), old_key.as_ref(), new_key.as_ref());
    }
    for gone in before.iter().filter(|was| !after.iter().any(|remote| is_same(was, remote))) {
        words.say(format!("{} is copied to no more", gone.label()));
    }
    words.all()
}

fn of_alertd(old: &Config, new: &Config) -> Vec<String> {
    let mut words = Words::default();
    let (before, after) = (&old.alerts, &new.alerts);
    for (key, before, after) in [
        ("hold", before.hold, after.hold),
        ("clear_after", before.clear_after, after.clear_after),
        ("repeat_after", before.repeat_after, after.repeat_after),
    ] {
        words.differs(&format!("alerts.{key}"), &before, &after);
    }
    words.differs("alerts.max_per_hour", &before.max_per_hour, &after.max_per_hour);
    let (before, after) = (before.all_webhooks(), after.all_webhooks());
    // Of an address the host alone is no secret.
    let host = |webhook: &Webhook| dccd_net::host_of(webhook.url.reveal()).unwrap_or_else(|| "?".to_owned());
    for webhook in &after {
        match before.iter().find(|was| was.url == webhook.url) {
            None => words.say(format!("a webhook of {} is told", host(webhook))),
            Some(was) if was != webhook => words.say(format!("what the webhook of {} is told is another", host(webhook))),
            Some(_) => {}
        }
    }
    for gone in before.iter().filter(|was| !after.iter().any(|webhook| webhook.url == was.url)) {
        words.say(format!("a webhook of {} is told no more", host(gone)));
    }
    words.all()
}

/// The feeds and series that come, go and change.
fn jobs(words: &mut Words, old: &DatadOptions, new: &DatadOptions) {
    let exchange = &new.exchange;
    let feed = |(symbol, channel): &_| format!("{exchange}/{symbol}/{channel}");
    for come in new.feeds.iter().filter(|f| !old.feeds.contains(f)) {
        words.say(format!("{} is recorded", feed(come)));
    }
    for gone in old.feeds.iter().filter(|f| !new.feeds.contains(f)) {
        words.say(format!("{} is recorded no more", feed(gone)));
    }
    let names =
        |options: &DatadOptions| options.histo.iter().map(|w| (w.name(exchange), w.clone())).collect::<BTreeMap<_, _>>();
    let (before, after) = (names(old), names(new));
    for (name, wanted) in &after {
        match before.get(name) {
            None => words.say(format!("{name} is kept complete")),
            Some(was) => {
                words.differs(&format!("{name} start"), &was.start, &wanted.start);
                words.differs(&format!("{name} source"), &was.source, &wanted.source);
                words.differs(&format!("{name} max_retries"), &was.attempts.max, &wanted.attempts.max);
                words.differs(&format!("{name} retry_delay"), &was.attempts.delay, &wanted.attempts.delay);
            }
        }
    }
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        words.say(format!("{name} is kept complete no more"));
    }
}

/// All the rest of what a collector is told.
fn of_datad(words: &mut Words, old: &DatadOptions, new: &DatadOptions) {
    let (before, after) = (&old.patience, &new.patience);
    words.differs("alerts.max_consecutive_errors", &before.max_consecutive_errors, &after.max_consecutive_errors);
    words.differs("alerts.stale_after", &before.stale_after, &after.stale_after);
    words.differs("alerts.gap_after", &before.gap_after, &after.gap_after);
    words.differs("time_step", &old.time_step, &new.time_step);
    words.differs("storage.journal_keep_mb", &(old.journal_keep_bytes >> 20), &(new.journal_keep_bytes >> 20));
    words.differs("depth", &old.depth, &new.depth);
    words.differs("ring_slots", &old.ring_slots, &new.ring_slots);
    let stream = |aggregated| if aggregated { "aggregated" } else { "trade" }.to_owned();
    words.differs("trade_stream", &stream(old.aggregated_trades), &stream(new.aggregated_trades));
    let key = "rest_weight_per_minute";
    words.differs(key, &old.rest.weight_per_minute, &new.rest.weight_per_minute);
    for (key, before, after) in [
        ("rest_url", &old.rest.base, &new.rest.base),
        ("linear.rest_url", &old.rest.linear, &new.rest.linear),
        ("ws_url", &old.ws_url, &new.ws_url),
        ("linear.ws_url", &old.linear_ws_url, &new.linear_ws_url),
    ] {
        // They hold no secrets: a configuration with some is refused.
        words.differs(key, before, after);
    }
}

fn limits(words: &mut Words, old: &Limits, new: &Limits) {
    words.differs("limits.max_memory_mb", &old.max_memory_mb, &new.max_memory_mb);
    words.differs("limits.max_cpu_pct", &old.max_cpu_pct, &new.max_cpu_pct);
}
