//! The services this executable plays besides the command line, and what the configuration tells each of them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use datad::DatadOptions;
use dccd_config::{Config, Loaded, Lookup, TradeStream};
use dccd_model::ExchangeName;
use dccd_registry::RuntimeDir;
use dccd_root::{BootGuard, HttpOptions, Limits, Options, Policy, RestartOptions, ServiceSpec, Supervision};
use dccd_rpc::datad::DATAD_PROTOCOL;
use dccd_service::{ServiceArgs, ServiceContext, ShutdownReason};

/// The prefix of `argv[0]` of the services of exchanges.
const DATAD: &str = "datad.";
/// The copy of the configuration that the services of a root read.
const CONFIG_COPY: &str = "config.yml";

/// Whether this `argv[0]` is a service's name.
pub fn is_service(name: &str) -> bool {
    name.starts_with(DATAD)
}

/// Runs the service that `argv[0]` names until it is told to stop.
///
/// # Errors
/// When its arguments or configuration make no service, or it failed; the service's own errors are in its log already.
pub fn run_service(args: impl IntoIterator<Item = OsString>) -> anyhow::Result<()> {
    let args = ServiceArgs::parse(args)?;
    let result = dccd_service::run(args, |ctx| async move {
        let options = own_options(&ctx)?;
        let result = datad::run(options, ctx.clone()).await.map_err(anyhow::Error::from);
        if ctx.shutdown().reason() == Some(ShutdownReason::RootGone) {
            // What a root would do: no successor is there to take the rings over.
            sweep_rings(ctx.instance());
        }
        result
    });
    Ok(result?)
}

/// What the configuration says about the exchange of this service.
fn own_options(ctx: &ServiceContext) -> anyhow::Result<DatadOptions> {
    let name = ctx.name().strip_prefix(DATAD).ok_or_else(|| anyhow!("no service is named {}", ctx.name()))?;
    let exchange: ExchangeName = name.parse()?;
    let loaded =
        Config::load(&Lookup::new(ctx.config_path().map(Path::to_owned))).context("cannot read the configuration")?;
    Ok(datad_options(&loaded.config, exchange, ctx.instance(), ctx.data_path()))
}

/// What the configuration says about an exchange.
fn datad_options(config: &Config, exchange: ExchangeName, instance: &str, data_path: &Path) -> DatadOptions {
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
        time_step: jobs.iter().map(|job| job.time_step).min().unwrap_or(std::time::Duration::from_secs(60)),
        depth: jobs.iter().map(|job| job.depth).max(),
        aggregated_trades: settings.trade_stream == TradeStream::Aggregated,
        histo: crate::histo::jobs(config).remove(&exchange).unwrap_or_default(),
        ring_slots: settings.ring_slots,
        journal_keep_bytes: config.storage.journal_keep_mb << 20,
        exchange,
    }
}

/// The root of this configuration.
///
/// # Errors
/// When this executable can't be found on the disk.
pub fn root_options(loaded: &Loaded, instance: &str, runtime_dir: RuntimeDir, log_level: &str) -> anyhow::Result<Options> {
    let executable = std::env::current_exe().context("cannot find this executable on the disk")?;
    let config = &loaded.config;
    let data_path = config.data_path().to_owned();
    let copy = runtime_dir.path().join(CONFIG_COPY);
    let spec = {
        let (config, copy) = (config.clone(), copy.clone());
        let (instance, runtime_dir, log_level) = (instance.to_owned(), runtime_dir.clone(), log_level.to_owned());
        move |exchange: &ExchangeName, eager: bool| {
            let args = ServiceArgs {
                name: format!("{DATAD}{exchange}"),
                instance: instance.clone(),
                runtime_dir: runtime_dir.path().to_owned(),
                data_path: config.data_path().to_owned(),
                config_path: Some(copy.clone()),
                log_level: log_level.clone(),
                log_json: false,
                orphan_grace: config.daemon.orphan_grace,
                succeeds: None,
            };
            let told = datad_options(&config, exchange.clone(), &args.instance, &args.data_path);
            let limits = config.limits(exchange);
            ServiceSpec {
                name: args.name.clone(),
                fingerprint: dccd_root::fingerprint(&format!("{:?} {told:?}", args.to_args())),
                protocol: Some(DATAD_PROTOCOL),
                args: args.to_args(),
                policy: Policy::Permanent,
                hands_over: true,
                eager,
                limits: Limits {
                    max_memory_bytes: limits.max_memory_mb.map(|mb| mb << 20),
                    max_cpu_pct: limits.max_cpu_pct,
                },
            }
        }
    };
    let services = config.collected_exchanges().iter().map(|exchange| spec(exchange, true)).collect();
    let restart = &config.daemon.restart;
    let store = data_path.clone();
    let text = loaded.text.clone();
    let sweep_instance = instance.to_owned();
    Ok(Options {
        config_path: Some(loaded.path.clone()),
        services,
        // A client may ask for an exchange that the configuration doesn't collect.
        resolve: Arc::new(move |name| {
            let exchange = name.strip_prefix(DATAD)?;
            dccd_exchange::NAMES.contains(&exchange).then(|| exchange.parse().ok().map(|e| spec(&e, false))).flatten()
        }),
        supervision: Supervision {
            restart: RestartOptions {
                max_restarts: restart.max_restarts,
                window: restart.window,
                base_delay: restart.base_delay,
                max_delay: restart.max_delay,
                stable_after: None,
            },
            heartbeat_timeout: restart.heartbeat_timeout,
            shutdown_timeout: config.daemon.shutdown_timeout,
            ..Supervision::default()
        },
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
        sweep: Some(Arc::new(move || sweep_rings(&sweep_instance))),
        ..Options::new(instance, runtime_dir, data_path, executable)
    })
}

/// The configuration that the root found valid, in its runtime directory, which is this user's alone. Services read it
/// at each of their starts, so that a file that is being edited is no reason why one doesn't come back.
struct ConfigCopy {
    path: PathBuf,
}

impl ConfigCopy {
    fn write(path: PathBuf, text: &str) -> anyhow::Result<Self> {
        let failed = || format!("cannot write {}", path.display());
        let temporary = path.with_extension("yml.tmp");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&temporary).with_context(failed)?;
        file.write_all(text.as_bytes()).with_context(failed)?;
        std::fs::rename(&temporary, &path).with_context(failed)?;
        Ok(Self { path })
    }
}

impl Drop for ConfigCopy {
    fn drop(&mut self) {
        // One that stays is written over by the next root.
        let _ = std::fs::remove_file(&self.path);
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
