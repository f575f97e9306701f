//! The services this executable plays besides the command line, and what the configuration tells each of them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alertd::AlertdOptions;
use anyhow::{Context as _, anyhow};
use datad::{DatadOptions, Patience};
use dccd_config::{Config, Loaded, LogFormat, Lookup, RpcAuth, TradeStream, catalog};
use dccd_model::ExchangeName;
use dccd_registry::RuntimeDir;
use dccd_root::{
    Alerting, BootGuard, HttpOptions, Limits, Notify, Options, Policy, Resolve, RestartOptions, RpcLimits, RpcOptions,
    RpcTls, RpcToken, ServiceSpec, Supervision,
};
use dccd_rpc::alertd::{ALERTD_NAME, ALERTD_PROTOCOL};
use dccd_rpc::datad::DATAD_PROTOCOL;
use dccd_rpc::remote::Token;
use dccd_rpc::syncd::{SYNCD_NAME, SYNCD_PROTOCOL};
use dccd_service::log::LogFiles;
use dccd_service::{Rotation, ServiceArgs, ServiceContext, ShutdownReason};
use syncd::SyncOptions;

/// The prefix of `argv[0]` of the services of exchanges.
const DATAD: &str = "datad.";
/// The copy of the configuration that the services of a root read.
const CONFIG_COPY: &str = "config.yml";

/// The service of an exchange.
pub fn datad_name(exchange: &ExchangeName) -> String {
    format!("{DATAD}{exchange}")
}

/// Whether this `argv[0]` is a service's name.
pub fn is_service(name: &str) -> bool {
    name.starts_with(DATAD) || name == ALERTD_NAME || name == SYNCD_NAME
}

/// Runs the service that `argv[0]` names until it is told to stop.
///
/// # Errors
/// When its arguments or configuration make no service, or it failed; the service's own errors are in its log already.
pub fn run_service(args: impl IntoIterator<Item = OsString>) -> anyhow::Result<()> {
    let args = ServiceArgs::parse(args)?;
    let result = dccd_service::run(args, |ctx| async move {
        if ctx.name() == ALERTD_NAME {
            let config = own_config(&ctx)?;
            let options =
                AlertdOptions { data_path: ctx.data_path().to_owned(), ..AlertdOptions::of(&config, ctx.instance()) };
            return Ok(alertd::run(options, ctx).await?);
        }
        if ctx.name() == SYNCD_NAME {
            let options = sync_options(&own_config(&ctx)?, ctx.data_path())?;
            return Ok(syncd::run(options, ctx.clone()).await?);
        }
        let options = own_options(&ctx)?;
        let again = ctx.clone();
        let reread: datad::Reread = Arc::new(move || own_options(&again).map_err(|error| format!("{error:#}")));
        let result = datad::run(options, reread, ctx.clone()).await.map_err(anyhow::Error::from);
        if leaves_no_successor(ctx.shutdown().reason()) {
            // What a root would do.
            sweep_rings(ctx.instance());
        }
        result
    });
    Ok(result?)
}

/// Whether nobody will take over the rings of a service that ends for this reason. A root that is there, and refuses it, starts
/// another in its place, or clears away itself.
fn leaves_no_successor(reason: Option<ShutdownReason>) -> bool {
    reason == Some(ShutdownReason::RootGone)
}

/// What the configuration says about the exchange of this service.
fn own_options(ctx: &ServiceContext) -> anyhow::Result<DatadOptions> {
    let name = ctx.name().strip_prefix(DATAD).ok_or_else(|| anyhow!("no service is named {}", ctx.name()))?;
    let exchange: ExchangeName = name.parse()?;
    Ok(datad_options(&own_config(ctx)?, exchange, ctx.instance(), ctx.data_path()))
}

/// The configuration as its root found it valid.
fn own_config(ctx: &ServiceContext) -> anyhow::Result<Config> {
    let lookup = Lookup::new(ctx.config_path().map(Path::to_owned));
    Ok(Config::load(&lookup).context("cannot read the configuration")?.config)
}

/// What the configuration says about the copies of a store.
///
/// # Errors
/// When this executable can't be found on the disk.
pub fn sync_options(config: &Config, data_path: &Path) -> anyhow::Result<SyncOptions> {
    let executable = std::env::current_exe().context("cannot find this executable on the disk")?;
    Ok(SyncOptions {
        data_path: data_path.to_owned(),
        targets: syncd::targets(config),
        interval: config.storage.sync_interval,
        failures_max: config.alerts.max_consecutive_errors,
        rclone: syncd::Rclone { leash: Some(executable), ..syncd::Rclone::default() },
    })
}

/// What the configuration says about an exchange.
pub fn datad_options(config: &Config, exchange: ExchangeName, instance: &str, data_path: &Path) -> DatadOptions {
    let settings = config.exchange(&exchange);
    let jobs: Vec<_> = config.live_jobs(&exchange).collect();
    let mut seen = BTreeSet::new();
    let mut feeds = Vec::new();
    for job in &jobs {
        for symbol in &job.pairs {
            for channel in &job.channels {
                if seen.insert((symbol.clone(), *channel)) {
                    feeds.push((symbol.clone(), *channel));
                }
            }
        }
    }
    DatadOptions {
        instance: instance.to_owned(),
        data_path: data_path.to_owned(),
        rest: crate::histo::addresses(&settings),
        ws_url: settings.ws_url,
        linear_ws_url: settings.linear.ws_url,
        feeds,
        time_step: jobs.iter().map(|job| job.time_step).min().unwrap_or(Duration::from_secs(60)),
        depth: jobs.iter().map(|job| job.depth).max(),
        aggregated_trades: settings.trade_stream == TradeStream::Aggregated,
        histo: crate::histo::jobs(config).remove(&exchange).unwrap_or_default(),
        ring_slots: settings.ring_slots,
        journal_keep_bytes: config.storage.journal_keep_mb << 20,
        patience: Patience {
            max_consecutive_errors: config.alerts.max_consecutive_errors.into(),
            stale_after: config.alerts.stale_after,
            gap_after: config.alerts.gap_after,
        },
        exchange,
    }
}

/// Where the services of a configuration log.
pub fn log_files(config: &Config) -> LogFiles {
    let rotate = &config.daemon.log_rotate;
    LogFiles {
        common: config.daemon.log_file.clone(),
        rotation: Rotation {
            bytes_max: rotate.max_mb << 20,
            age_max: Duration::from_secs(rotate.max_age_days * 86_400),
            keep: rotate.keep,
        },
    }
}

/// What a root runs, as a configuration says.
pub struct Roles {
    /// From the beginning.
    pub services: Vec<ServiceSpec>,
    /// When somebody asks for it.
    pub resolve: Resolve,
    /// How it watches over them.
    pub supervision: Supervision,
    /// Who tells people what is wrong.
    pub alerting: Option<Alerting>,
    /// With less room than this the disk is low.
    pub disk_low_bytes: u64,
}

/// What is told to all services of a root, besides their part of the configuration.
#[derive(Clone, Debug)]
pub struct Common {
    /// The instance.
    pub instance: String,
    /// Its runtime directory.
    pub runtime_dir: RuntimeDir,
    /// How much they log, whatever the configuration says; `None`: as it says.
    pub log_level: Option<String>,
}

impl Common {
    /// The copy of the configuration that services read.
    pub fn config_copy(&self) -> PathBuf {
        self.runtime_dir.path().join(CONFIG_COPY)
    }

    /// How much is logged under a configuration.
    pub fn level(&self, config: &Config) -> String {
        self.log_level.clone().unwrap_or_else(|| config.daemon.log_level.to_string())
    }

    fn args(&self, config: &Config, name: String) -> ServiceArgs {
        ServiceArgs {
            name,
            instance: self.instance.clone(),
            runtime_dir: self.runtime_dir.path().to_owned(),
            data_path: config.data_path().to_owned(),
            config_path: Some(self.config_copy()),
            log_level: self.level(config),
            log_json: config.daemon.log_format == LogFormat::Json,
            log_files: log_files(config),
            orphan_grace: config.daemon.orphan_grace,
            succeeds: None,
        }
    }

    /// `told`: what the configuration says to it, in full, and of that what it can be told at its start alone.
    fn spec(&self, config: &Config, name: &str, told: (&str, &str), limits: &dccd_config::Limits) -> ServiceSpec {
        let args = self.args(config, name.to_owned());
        // How it logs is no reason to replace it: how much, the root tells it while it runs; the rest waits for its next start.
        let (log_level, log_json, log_files) = (String::new(), false, LogFiles::default());
        let lasting = ServiceArgs { log_level, log_json, log_files, ..args.clone() }.to_args();
        ServiceSpec {
            name: args.name.clone(),
            fingerprint: dccd_root::fingerprint(&format!("{lasting:?} {}", told.0)),
            fixed: dccd_root::fingerprint(&format!("{lasting:?} {}", told.1)),
            protocol: None,
            args: args.to_args(),
            policy: Policy::Transient,
            hands_over: false,
            eager: false,
            limits: Limits { max_memory_bytes: limits.max_memory_mb.map(|mb| mb << 20), max_cpu_pct: limits.max_cpu_pct },
        }
    }

    fn datad(&self, config: &Config, exchange: &ExchangeName, eager: bool) -> ServiceSpec {
        let told = datad_options(config, exchange.clone(), &self.instance, config.data_path());
        let told = (format!("{told:?}"), format!("{:?}", told.fixed()));
        let spec = self.spec(config, &datad_name(exchange), (&told.0, &told.1), &config.limits(exchange));
        ServiceSpec { protocol: Some(DATAD_PROTOCOL), policy: Policy::Permanent, hands_over: true, eager, ..spec }
    }

    /// The one that tells people what is wrong: started when something is, ends by itself.
    fn alertd(&self, config: &Config) -> ServiceSpec {
        let told = AlertdOptions::of(config, &self.instance).fingerprint();
        let spec = self.spec(config, ALERTD_NAME, (&told, &told), &config.daemon.limits);
        ServiceSpec { protocol: Some(ALERTD_PROTOCOL), ..spec }
    }

    /// The one that copies the store: from the beginning where there is something to copy by the clock, else when it is asked for.
    fn syncd(&self, config: &Config) -> ServiceSpec {
        let storage = &config.storage;
        let keys = storage.remotes.iter().map(|remote| (&remote.access_key_id, &remote.secret_access_key));
        let keys: Vec<_> = keys.map(|(id, key)| [id, key].map(|secret| secret.as_ref().map(|s| s.reveal()))).collect();
        let failures_max = config.alerts.max_consecutive_errors;
        // Of the keys a hash is all that is kept.
        let told = format!("{:?} {:?} {failures_max:?} {keys:?}", storage.remotes, storage.sync_interval);
        let spec = self.spec(config, SYNCD_NAME, (&told, &told), &config.daemon.limits);
        let eager = !storage.remotes.is_empty() && !storage.sync_interval.is_zero();
        ServiceSpec { protocol: Some(SYNCD_PROTOCOL), eager, ..spec }
    }

    /// What the root runs.
    pub fn roles(&self, config: &Config) -> Roles {
        let restart = &config.daemon.restart;
        let supervision = Supervision {
            restart: RestartOptions {
                max_restarts: restart.max_restarts,
                window: restart.window,
                base_delay: restart.base_delay,
                max_delay: restart.max_delay,
                stable_after: None,
            },
            heartbeat_timeout: restart.heartbeat_timeout,
            progress_timeout: restart.progress_timeout,
            hung_timeout: Some(restart.hung_timeout).filter(|timeout| !timeout.is_zero()),
            shutdown_timeout: config.daemon.shutdown_timeout,
            ..Supervision::default()
        };
        let alerting = (!config.alerts.all_webhooks().is_empty())
            .then(|| Alerting { service: ALERTD_NAME.to_owned(), pending: alertd::has_work(config.data_path()) });
        let disk_low_bytes = config.alerts.disk_low_mb << 20;
        let collectors = config.collected_exchanges();
        let collectors = collectors.iter().map(|exchange| self.datad(config, exchange, true));
        let services = collectors.chain(Some(self.syncd(config)).filter(|syncd| syncd.eager)).collect();
        let (common, config) = (self.clone(), config.clone());
        let resolve: Resolve = Arc::new(move |name| {
            if name == ALERTD_NAME {
                return Some(common.alertd(&config));
            }
            if name == SYNCD_NAME {
                return Some(common.syncd(&config));
            }
            // A client may ask for an exchange that the configuration doesn't collect.
            let exchange = name.strip_prefix(DATAD).filter(|exchange| dccd_exchange::NAMES.contains(exchange))?;
            exchange.parse().ok().map(|exchange| common.datad(&config, &exchange, false))
        });
        Roles { services, resolve, supervision, alerting, disk_low_bytes }
    }
}

/// Why there is no such service: nothing trades.
fn refuse(name: &str) -> Option<String> {
    let exchange = ["brokerd.", "paperd."].iter().find_map(|role| name.strip_prefix(role))?;
    catalog::find(exchange).map(|known| known.trading.refusal(known.name))
}

/// The root of this configuration.
///
/// # Errors
/// When this executable can't be found on the disk.
pub fn root_options(loaded: &Loaded, common: Common) -> anyhow::Result<Options> {
    let executable = std::env::current_exe().context("cannot find this executable on the disk")?;
    let config = &loaded.config;
    let data_path = config.data_path().to_owned();
    let Roles { services, resolve, supervision, alerting, disk_low_bytes } = common.roles(config);
    let store = data_path.clone();
    let (copy, text) = (common.config_copy(), loaded.text.clone());
    let (sweep_instance, sweep_store) = (common.instance.clone(), data_path.clone());
    Ok(Options {
        config_path: Some(loaded.path.clone()),
        services,
        resolve,
        refuse: Arc::new(refuse),
        supervision,
        boot_guards: vec![
            BootGuard {
                what: "the store's lock",
                acquire: Box::new(move || Ok(Box::new(dccd_store::StoreLock::acquire(&store)?))),
            },
            BootGuard {
                what: "a copy of the configuration",
                acquire: Box::new(move || Ok(Box::new(ConfigCopy::write(copy, text.as_str())?))),
            },
        ],
        http: config.daemon.http.as_ref().map(|http| HttpOptions {
            address: http.address,
            token: http.token.as_ref().map(|token| token.reveal().to_owned()),
        }),
        sweep: Some(Arc::new(move || {
            sweep_rings(&sweep_instance);
            sweep_store_leftovers(&sweep_store);
        })),
        log_files: log_files(config),
        notify: Notify::from_environment().unwrap_or_else(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot speak to $NOTIFY_SOCKET");
            None
        }),
        reload: Some(crate::reload::reload(loaded, common.clone())),
        rpc: rpc_options(config)?,
        alerting,
        disk_low_bytes,
        ..Options::new(&common.instance, common.runtime_dir, data_path, executable)
    })
}

/// What the configuration says of the RPC over TCP; `None`: there is none.
///
/// # Errors
/// When its token is none.
pub fn rpc_options(config: &Config) -> anyhow::Result<Option<RpcOptions>> {
    let Some(rpc) = &config.daemon.rpc else { return Ok(None) };
    let token = match (rpc.auth, &rpc.token, &rpc.token_file) {
        (RpcAuth::None, ..) => RpcToken::Nothing,
        (RpcAuth::Token, None, None) => return Err(anyhow!("daemon.rpc asks for a token and has none")),
        (RpcAuth::Token, _, Some(path)) => RpcToken::File(path.clone()),
        (RpcAuth::Token, Some(token), None) => {
            RpcToken::Text(Token::parse(token.reveal()).context("the token can't be used (daemon.rpc.token)")?)
        }
    };
    let files = |tls: &dccd_config::RpcTls| RpcTls { certificate: tls.certificate.clone(), key: tls.key.clone() };
    let limits = &rpc.limits;
    let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    Ok(Some(RpcOptions {
        address: rpc.address,
        token,
        tls: rpc.tls.as_ref().map(files),
        limits: RpcLimits {
            connections_max: count(limits.max_connections),
            connections_per_address_max: count(limits.max_connections_per_address),
            unauthenticated_max: count(limits.max_unauthenticated),
            auth_timeout: limits.auth_timeout,
            idle_timeout: limits.idle_timeout,
            frame_bytes_max: limits.max_frame_kb.saturating_mul(1_024),
            requests_per_second: limits.max_requests_per_second,
            bytes_per_second: limits.max_kb_per_second.saturating_mul(1_024),
            ..RpcLimits::default()
        },
    }))
}

/// The configuration that the root found valid, in its runtime directory, which is this user's alone. Services read it
/// at each of their starts, so that a file that is being edited is no reason why one doesn't come back.
struct ConfigCopy {
    path: PathBuf,
}

/// Writes it.
pub fn write_config_copy(path: &Path, text: &str) -> anyhow::Result<()> {
    let failed = || format!("cannot write {}", path.display());
    let temporary = path.with_extension("yml.tmp");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&temporary).with_context(failed)?;
    file.write_all(text.as_bytes()).with_context(failed)?;
    std::fs::rename(&temporary, path).with_context(failed)
}

impl ConfigCopy {
    fn write(path: PathBuf, text: &str) -> anyhow::Result<Self> {
        write_config_copy(&path, text)?;
        Ok(Self { path })
    }
}

impl Drop for ConfigCopy {
    fn drop(&mut self) {
        // One that stays is written over by the next root.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Removes what killed processes left half-written of small files.
fn sweep_store_leftovers(data_path: &Path) {
    match dccd_store::sweep_leftovers(data_path) {
        Ok(swept) => {
            for file in swept {
                tracing::info!(file = %file.display(), "removed what a killed process left half-written");
            }
        }
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "could not look for what killed processes left half-written");
        }
    }
}

/// Removes the rings of this instance that no writer holds: those of the dead, and, when everything is stopped, all.
/// Readers notice that the ring was closed.
pub fn sweep_rings(instance: &str) {
    match dccd_ring::sweep(Some(instance)) {
        Ok(swept) => {
            for ring in swept {
                tracing::info!(ring = ring.name, writer_pid = ring.pid, "removed a ring without a writer");
            }
        }
        Err(error) => tracing::warn!(error = %datad::chain(&error), "could not look for rings without a writer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_are_left_to_a_successor_wherever_there_may_be_one() {
        let reasons = [
            ShutdownReason::Terminate,
            ShutdownReason::Interrupt,
            ShutdownReason::HangUp,
            ShutdownReason::Requested,
            ShutdownReason::Refused,
        ];
        assert!(!reasons.map(Some).into_iter().chain([None]).any(leaves_no_successor));
        assert!(leaves_no_successor(Some(ShutdownReason::RootGone)));
    }
}
