//! What the tests of `dccd-root` supervise. By `argv[0]` it is a root of its own process (`dccd-root`), or a service
//! that behaves as the file given by `--config` says.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::{BufRead, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use dccd_registry::{Registry, RuntimeDir};
use dccd_root::{Options, Policy, Root, RpcLimits, RpcOptions, RpcTls, RpcToken, ServiceSpec};
use dccd_rpc::condition::Severity;
use dccd_rpc::remote::Token;
use dccd_rpc::root::{Endpoint, Progress, Registration};
use dccd_service::log::LogFiles;
use dccd_service::{ServiceArgs, ServiceContext, Shutdown, chain};

type Result<T = (), E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().and_then(|name| name.into_string().ok()).unwrap_or_default();
    let result = if name == "dccd-root" {
        run_root(args.map(PathBuf::from).collect::<Vec<_>>())
    } else if name == "callers" {
        call(args.map(PathBuf::from).collect::<Vec<_>>())
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

/// `dccd-root RUNTIME_DIR DATA_PATH [GRACE_MS [COUNT]]`: a root with the eager services `a` and `b`, or so many called `s00` and so
/// on, which go on without it for so long. `dccd-root RUNTIME_DIR DATA_PATH GRACE_MS RPC_ADDRESS [CERTIFICATE KEY]`: the RPC asks for
/// `$TEST_RPC_TOKEN`, and limits no rate.
fn run_root(mut paths: Vec<PathBuf>) -> Result {
    let count: Option<usize> = paths.get(3).and_then(|path| path.to_string_lossy().parse().ok());
    let rpc = match paths.get(3).filter(|_| count.is_none()) {
        None => None,
        Some(address) => Some(RpcOptions {
            address: address.to_string_lossy().parse()?,
            token: RpcToken::Text(Token::parse(&std::env::var("TEST_RPC_TOKEN")?)?),
            tls: paths.get(4).zip(paths.get(5)).map(|(c, k)| RpcTls { certificate: c.clone(), key: k.clone() }),
            limits: RpcLimits { requests_per_second: u32::MAX, bytes_per_second: u32::MAX, ..RpcLimits::default() },
        }),
    };
    let grace = match paths.get(2) {
        None => dccd_service::ORPHAN_GRACE_DEFAULT,
        Some(ms) => Duration::from_millis(ms.to_string_lossy().parse()?),
    };
    let names: Vec<String> = match count {
        None => ["a", "b"].map(str::to_owned).to_vec(),
        Some(count) => (0..count).map(|n| format!("s{n:02}")).collect(),
    };
    paths.truncate(2);
    let [runtime_dir, data_path] = &paths[..] else { return Err("usage: dccd-root RUNTIME_DIR DATA_PATH [MS]".into()) };
    let mut options = Options::new("test", RuntimeDir::at(runtime_dir), data_path.clone(), std::env::current_exe()?);
    options.services = names.iter().map(|name| spec(name, runtime_dir, data_path, grace)).collect();
    options.rpc = rpc;
    options.supervision.shutdown_timeout = Duration::from_secs(5);
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let shutdown = Shutdown::new();
        shutdown.trigger_on_signals()?;
        Root::new(options).run(shutdown).await?;
        Ok(())
    })
}

/// `callers RUNTIME_DIR DATA_PATH`: asks for the service `lazy` fifty times at once, notes that it has, and never hears the end.
fn call(paths: Vec<PathBuf>) -> Result {
    let [runtime_dir, data_path] = &paths[..] else { return Err("usage: callers RUNTIME_DIR DATA_PATH".into()) };
    let runtime_dir = RuntimeDir::at(runtime_dir);
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let deadline = Duration::from_secs(60);
        let mut registries = Vec::new();
        for _ in 0..50 {
            registries.push(Registry::connect_in(&runtime_dir, deadline).await?);
        }
        let calls: Vec<_> = registries
            .into_iter()
            .map(|registry| tokio::spawn(async move { registry.ensure("lazy", deadline).await.is_ok() }))
            .collect();
        // Each has written its request when it has had its turn.
        tokio::task::yield_now().await;
        note(data_path, "asked", &std::process::id().to_string())?;
        for call in calls {
            call.await?;
        }
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
        log_files: LogFiles::default(),
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
        fixed: String::new(),
        fingerprint: String::new(),
        protocol: None,
    }
}

fn run_service(mut args: ServiceArgs) -> Result {
    let mode = match &args.config_path {
        Some(path) => std::fs::read_to_string(path).unwrap_or_default(),
        None => String::new(),
    };
    let mode = mode.trim().to_owned();
    note(&args.data_path, "spawns", &format!("{} {}", args.name, std::process::id()))?;
    match mode.as_str() {
        "crash-early" => Err("told to crash before registering".into()),
        "tokens" => try_tokens(&args),
        "lost-answer" => {
            args.runtime_dir = behind_a_bad_line(&args.runtime_dir)?;
            Ok(dccd_service::run(args, |ctx| behave(ctx, mode))?)
        }
        _ => Ok(dccd_service::run(args, |ctx| behave(ctx, mode))?),
    }
}

async fn behave(ctx: ServiceContext, mode: String) -> Result {
    let _listener = dccd_rpc::unix_listen(&ctx.endpoint_path())?;
    let go = ctx.data_path().join("go");
    while mode == "slow-start" && !go.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
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
        "wrong" => ctx.progress().conditions().raise("sync_failed", "nas", Severity::Warning, "no route"),
        "stubborn" => std::future::pending().await,
        "blocked" => loop {
            std::thread::park();
        },
        "circle" => loop {
            std::hint::spin_loop();
        },
        "waits" => {
            ctx.progress().busy(true);
            let task = ctx.tasks().begin("asker");
            task.doing("asking one who never answers");
            task.run(std::future::pending::<()>()).await;
        }
        "sheds" => {
            let ballast = vec![1u8; 300 << 20];
            let mut shed = ctx.shed_requests();
            shed.changed().await?;
            note(ctx.data_path(), "shed", &ballast.len().to_string())?;
        }
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
    ctx.flushed("rows", 7);
    note(ctx.data_path(), "flushed", &format!("{} {reason}", ctx.name()))?;
    Ok(())
}

/// Without the service library: registrations with a wrong, a missing, the right token, and once more.
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
            ("again", Some((own, right.as_str()))),
            ("again, foreign", Some((std::os::unix::process::parent_id(), right.as_str()))),
            ("again, wrong", Some((own, wrong.as_str()))),
        ];
        for (what, registration) in tries {
            let result = match registration {
                None => registry.heartbeat(&args.name, Progress::default(), deadline).await.map(|_| ()),
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

/// A runtime directory whose root is reached through this process, which loses the answer to the first registration.
fn behind_a_bad_line(runtime_dir: &Path) -> Result<PathBuf> {
    let (real, own) = (RuntimeDir::at(runtime_dir), runtime_dir.with_extension("line"));
    RuntimeDir::at(&own).create()?;
    let listener = UnixListener::bind(RuntimeDir::at(&own).root_socket())?;
    std::thread::spawn(move || {
        for (n, near) in listener.incoming().flatten().enumerate() {
            let Ok(far) = UnixStream::connect(real.root_socket()) else { continue };
            let (Ok(near_too), Ok(far_too)) = (near.try_clone(), far.try_clone()) else { continue };
            std::thread::spawn(move || relay(near, far, usize::MAX));
            // The greeting's answer alone comes through the first time.
            std::thread::spawn(move || relay(far_too, near_too, if n == 0 { 1 } else { usize::MAX }));
        }
    });
    Ok(own)
}

/// Passes on what comes, so many pieces of it; then both ends are closed.
fn relay(mut from: UnixStream, mut to: UnixStream, pieces: usize) {
    let mut buffer = [0; 64 * 1024];
    let mut passed = 0;
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if passed == pieces || to.write_all(&buffer[..n]).is_err() {
            break;
        }
        passed += 1;
    }
    for end in [from, to] {
        let _ = end.shutdown(std::net::Shutdown::Both);
    }
}

/// Appends a line to a file of the test, in one write.
fn note(data_path: &Path, file: &str, line: &str) -> Result {
    let mut file = OpenOptions::new().append(true).create(true).open(data_path.join(file))?;
    file.write_all(format!("{line}\n").as_bytes())?;
    Ok(())
}
