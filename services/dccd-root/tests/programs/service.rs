//! What the tests of `dccd-root` supervise. By `argv[0]` it is a root of its own process (`dccd-root`), or a service
//! that behaves as the file given by `--config` says.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use dccd_registry::{Registry, RuntimeDir};
use dccd_root::{Options, Policy, Root, ServiceSpec};
use dccd_rpc::root::{Endpoint, Progress, Registration};
use dccd_service::{ServiceArgs, ServiceContext, Shutdown, chain};

type Result<T = (), E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().and_then(|name| name.into_string().ok()).unwrap_or_default();
    let result = if name == "dccd-root" {
        run_root(args.map(PathBuf::from).collect::<Vec<_>>())
    } else {
        ServiceArgs::parse(args).map_err(Into::into).and_then(run_service)
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

/// `dccd-root RUNTIME_DIR DATA_PATH [GRACE_MS]`: a root with the eager services `a` and `b`, which go on without it for so long.
fn run_root(mut paths: Vec<PathBuf>) -> Result {
    let grace = match paths.get(2) {
        None => dccd_service::ORPHAN_GRACE_DEFAULT,
        Some(ms) => Duration::from_millis(ms.to_string_lossy().parse()?),
    };
    paths.truncate(2);
    let [runtime_dir, data_path] = &paths[..] else { return Err("usage: dccd-root RUNTIME_DIR DATA_PATH [MS]".into()) };
    let mut options = Options::new("test", RuntimeDir::at(runtime_dir), data_path.clone(), std::env::current_exe()?);
    options.services = ["a", "b"].map(|name| spec(name, runtime_dir, data_path, grace)).to_vec();
    options.supervision.shutdown_timeout = Duration::from_secs(5);
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let shutdown = Shutdown::new();
        shutdown.trigger_on_signals()?;
        Root::new(options).run(shutdown).await?;
        Ok(())
    })
}

fn spec(name: &str, runtime_dir: &Path, data_path: &Path, orphan_grace: Duration) -> ServiceSpec {
    let args = ServiceArgs {
        name: name.to_owned(),
        instance: "test".to_owned(),
        runtime_dir: runtime_dir.to_owned(),
        data_path: data_path.to_owned(),
        config_path: Some(data_path.join(format!("{name}.mode"))),
        log_level: "info".to_owned(),
        log_json: false,
        orphan_grace,
        succeeds: None,
    };
    ServiceSpec {
        name: name.to_owned(),
        args: args.to_args(),
        policy: Policy::Permanent,
        hands_over: false,
        eager: true,
        limits: Default::default(),
        fingerprint: String::new(),
        protocol: None,
    }
}

fn run_service(args: ServiceArgs) -> Result {
    let mode = match &args.config_path {
        Some(path) => std::fs::read_to_string(path).unwrap_or_default(),
        None => String::new(),
    };
    let mode = mode.trim().to_owned();
    note(&args.data_path, "spawns", &format!("{} {}", args.name, std::process::id()))?;
    match mode.as_str() {
        "crash-early" => Err("told to crash before registering".into()),
        "tokens" => try_tokens(&args),
        _ => Ok(dccd_service::run(args, |ctx| behave(ctx, mode))?),
    }
}

async fn behave(ctx: ServiceContext, mode: String) -> Result {
    let _listener = dccd_rpc::unix_listen(&ctx.endpoint_path())?;
    match mode.as_str() {
        "silent" => {
            ctx.shutdown().wait().await;
            return Ok(());
        }
        "chatty" => {
            let mut out = std::io::stdout();
            writeln!(out, "on stdout")?;
            writeln!(out, "{}", "x".repeat(40_000))?;
            out.flush()?;
            writeln!(std::io::stderr(), "on stderr")?;
        }
        "grandchild" => {
            let child = std::process::Command::new("sleep").arg("1000").spawn()?;
            note(ctx.data_path(), "grandchild", &child.id().to_string())?;
        }
        _ => {}
    }
    let steps = ctx.progress().counter("steps");
    steps.add(1);
    if mode == "degraded-from-the-first" {
        ctx.progress().degraded(Some("no exchange".to_owned()));
    }
    ctx.register().await?;
    match mode.as_str() {
        "crash" => return Err("told to crash".into()),
        "panic" => panic!("told to panic"),
        "done" => return Ok(()),
        "degraded" => ctx.progress().degraded(Some("disk full".to_owned())),
        "stuck" => ctx.progress().busy(true),
        "stubborn" => std::future::pending().await,
        "log-flood" => {
            for n in 0..20_000 {
                tracing::info!(n, "a line that fills the pipe of a root that does not read");
            }
            note(ctx.data_path(), "flooded", ctx.name())?;
        }
        _ => {}
    }
    let reason = ctx.shutdown().wait().await;
    if mode == "slow-stop" {
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    tracing::info!(%reason, "flushing");
    note(ctx.data_path(), "flushed", &format!("{} {reason}", ctx.name()))?;
    Ok(())
}

/// Without the service library: one registration each with a wrong, a missing, the right and the used token.
fn try_tokens(args: &ServiceArgs) -> Result {
    let mut token = String::new();
    std::io::stdin().lock().read_line(&mut token)?;
    let right = token.trim().to_owned();
    let runtime_dir = RuntimeDir::at(&args.runtime_dir);
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let deadline = Duration::from_secs(5);
        let registry = Registry::connect_in(&runtime_dir, deadline).await?;
        let own = std::process::id();
        let wrong = "0".repeat(right.len());
        let tries = [
            ("early heartbeat", None),
            ("wrong", Some((own, wrong.as_str()))),
            ("missing", Some((own, ""))),
            ("foreign", Some((std::os::unix::process::parent_id(), right.as_str()))),
            ("right", Some((own, right.as_str()))),
            ("used", Some((own, right.as_str()))),
        ];
        for (what, registration) in tries {
            let result = match registration {
                None => registry.heartbeat(&args.name, Progress::default(), deadline).await,
                Some((pid, token)) => {
                    let registration = Registration {
                        name: args.name.clone(),
                        pid,
                        endpoint: Endpoint::unix(&runtime_dir.service_socket(&args.name)),
                        version: "test".to_owned(),
                        protocol: 0,
                        token: token.to_owned(),
                        degraded: None,
                    };
                    registry.register(registration, deadline).await.map(|_| ())
                }
            };
            let outcome = result.map_or_else(|error| chain(&error), |()| "accepted".to_owned());
            note(&args.data_path, "tokens", &format!("{what}: {outcome}"))?;
        }
        Ok(())
    })
}

/// Appends a line to a file of the test, in one write.
fn note(data_path: &Path, file: &str, line: &str) -> Result {
    let mut file = OpenOptions::new().append(true).create(true).open(data_path.join(file))?;
    file.write_all(format!("{line}\n").as_bytes())?;
    Ok(())
}
