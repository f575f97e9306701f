//! From options to a running `syncd` and back.

use dccd_rpc::ServeLimits;
use dccd_rpc::syncd::{SYNCD_PROTOCOL, Syncd as _};
use dccd_service::ServiceContext;
use tokio::sync::oneshot;

use crate::board::Counters;
use crate::engine::{Engine, SyncOptions};
use crate::error::SyncError;
use crate::rpc::Session;

/// Runs until shutdown is asked for; then no copying is under way, and the records say what has arrived.
///
/// # Errors
/// When it can't be served or registered. What remotes do is no error: they are tried again.
pub async fn run(options: SyncOptions, ctx: ServiceContext) -> Result<(), SyncError> {
    let progress = ctx.progress();
    let counters = Counters {
        files: progress.counter("sync_files"),
        bytes: progress.counter("sync_bytes"),
        runs: progress.counter("sync_runs"),
        errors: progress.counter("sync_errors"),
    };
    let engine = Engine::new(options, counters);
    let listener = dccd_rpc::unix_listen(&ctx.endpoint_path()).map_err(|error| SyncError::Serve(Box::new(error)))?;
    let (stop_serving, stopped) = oneshot::channel::<()>();
    let (served, name) = (engine.clone(), ctx.name().to_owned());
    let serving = tokio::spawn(async move {
        let handle = move |connection: dccd_rpc::Connection| {
            let session = Session { engine: served.clone(), greeting: connection.greeting().clone() };
            connection.run(session.serve())
        };
        let stop = async {
            let _ = stopped.await; // the sender's end is the signal
        };
        dccd_rpc::serve(listener, &name, SYNCD_PROTOCOL, ServeLimits::default(), handle, stop).await;
    });
    let registered = ctx.register_protocol(SYNCD_PROTOCOL).await;
    if registered.is_ok() {
        // On this thread: what it starts ends with the thread that has started it.
        engine.work_aloud(ctx.shutdown(), progress).await;
        // One without remotes has nothing to do but answer.
        ctx.shutdown().wait().await;
    }
    drop(stop_serving);
    let _ = serving.await; // it ends within its own drain time
    registered.map_err(|error| SyncError::Serve(Box::new(error)))
}
