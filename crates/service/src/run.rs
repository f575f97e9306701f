//! Runs one service from its first line to its last.

use std::error::Error;
use std::future::Future;
use std::io::{self, BufRead, Read};
use std::sync::mpsc;
use std::time::Duration;

use dccd_registry::RuntimeDir;

use crate::link::{FIRST_ROOT, Link};
use crate::log::{self, LogOptions, Output};
use crate::{PidLock, ServiceArgs, ServiceContext, ServiceError, Shutdown, Tasks, chain, dump, process};

/// Patience with the root's first line.
const TOKEN_DEADLINE: Duration = Duration::from_secs(10);
/// Longest token line taken, in bytes.
const TOKEN_BYTES_MAX: u64 = 256;
/// Patience with blocking tasks that are left when the service has returned.
const RUNTIME_DEADLINE: Duration = Duration::from_secs(2);

/// Sets up the process (title, log, TLS provider, lock, signals), runs `main` on a current-thread tokio runtime, and
/// says good-bye to the root. Returns what `main` returned; errors have been logged with their chain already, the
/// executable only turns them into an exit code.
///
/// `main` gets the context, binds its socket, registers, and returns once `ctx.shutdown()` has been heard and everything
/// is flushed.
pub fn run<F, Fut, E>(args: ServiceArgs, main: F) -> Result<(), ServiceError>
where
    F: FnOnce(ServiceContext) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    process::set_title(&args.name);
    log::never_block();
    log::init(LogOptions {
        level: args.log_level.clone(),
        json: args.log_json,
        name: args.log_files.name(&args.name),
        output: Output::Captured(args.log_files.of(&args.data_path, &args.name), args.log_files.rotation),
    })?;
    let result = supervised(args, main);
    if let Err(error) = &result {
        tracing::error!(error = %chain(error), "service ended with an error");
    }
    result
}

fn supervised<F, Fut, E>(args: ServiceArgs, main: F) -> Result<(), ServiceError>
where
    F: FnOnce(ServiceContext) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    // Fails only where the executable has installed one already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime_dir = RuntimeDir::at(&args.runtime_dir);
    runtime_dir.create()?;
    let shutdown = Shutdown::new();
    let tasks = Tasks::new();
    dump::on_signal(tasks.clone()).map_err(ServiceError::Runtime)?;
    let link = Link::new();
    let token = token_from_stdin(&link)?;
    // A successor takes it when the process before it has let go of it.
    let lock = match args.succeeds {
        None => Some(PidLock::acquire(&runtime_dir.service_lock(&args.name))?),
        Some(_) => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServiceError::Runtime)?;
    let result = runtime.block_on(async {
        shutdown.trigger_on_signals_of_a_service().map_err(ServiceError::Runtime)?;
        let ctx = ServiceContext::new(args, runtime_dir, token, link, shutdown.clone(), tasks.clone(), lock);
        // Ends with the runtime. If it panicked, a process without a root would stay, for the next root to deal with.
        tokio::spawn(ctx.clone().mind_the_root());
        let result = tasks.named("main", main(ctx.clone())).await.map_err(|error| ServiceError::Service(error.into()));
        let reason = match (&result, shutdown.reason()) {
            (Err(error), _) => chain(error),
            (Ok(()), Some(reason)) => reason.to_string(),
            (Ok(()), None) => "done".to_owned(),
        };
        tracing::info!(service = ctx.name(), reason, "stopped");
        ctx.deregister(&reason).await;
        result
    });
    runtime.shutdown_timeout(RUNTIME_DEADLINE);
    result
}

/// Reads the token line and goes on watching standard input: the root keeps its end open as long as it lives, so the
/// end of input means the end of the root, whatever killed it.
fn token_from_stdin(link: &Link) -> Result<String, ServiceError> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let link = link.clone();
    // A plain thread, because reading a pipe may block for ever. It ends with the process.
    std::thread::Builder::new()
        .name("root-watch".into())
        .stack_size(128 * 1024)
        .spawn(move || {
            let mut input = io::stdin().lock();
            let mut line = String::new();
            if (&mut input).take(TOKEN_BYTES_MAX).read_line(&mut line).is_ok() && line.ends_with('\n') {
                // The receiver may have given up; then the process is ending anyway.
                let _ = sender.send(line.trim_end().to_owned());
                let _ = io::copy(&mut input, &mut io::sink());
            }
            drop(sender);
            log::reader_gone();
            link.lost(FIRST_ROOT);
        })
        .map_err(ServiceError::Runtime)?;
    receiver.recv_timeout(TOKEN_DEADLINE).map_err(|_| ServiceError::NoToken { waited: TOKEN_DEADLINE })
}
