//! The root's life: boot, serve, stop.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dccd_rpc::root::{ROOT_NAME, ROOT_PROTOCOL, RootService, StopReport, StopRequest};
use dccd_rpc::{ServeLimits, serve, unix_listen};
use dccd_service::Shutdown;
use tokio::signal::unix::{SignalKind, signal};

use crate::boot::boot;
use crate::conditions;
use crate::context::Context;
use crate::http::HttpServer;
use crate::listeners::{self, Opened};
use crate::reload::reload;
use crate::remote::RpcServer;
use crate::rpc::RootServer;
use crate::stop::{finished, stop};
use crate::{Options, RootError, notify, orphans, state_file};

/// How long clients may read their last answers when everything is stopped.
const DRAIN: Duration = Duration::from_millis(200);

/// Why a root has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything is stopped.
    Stopped(StopReport),
    /// Its services run on, for the next root of the instance to adopt, which the caller is to start now.
    HandedOver,
}

/// A root that is about to run.
#[derive(Debug)]
pub struct Root {
    options: Options,
}

impl Root {
    /// A root with these options; does nothing yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options }
    }

    /// Boots, adopts what an earlier root has left, serves, and returns when everything is stopped or handed over: because `shutdown` was triggered (signals are the caller's
    /// to connect, [`Shutdown::trigger_on_signals`]) or a client asked. Returns at once with an error when it can't
    /// start; nothing is left behind then.
    ///
    /// Runs on the caller's tokio runtime, any kind. Services that fail to start are no error here: they show in the
    /// listings and in events.
    pub async fn run(self, shutdown: Shutdown) -> Result<Ended, RootError> {
        let mut options = self.options;
        let held = boot(&mut options)?;
        let listener = unix_listen(&options.runtime_dir.root_socket())?;
        // A port that is taken is no reason to leave running services without a root.
        let needed = !orphans(&options.runtime_dir).is_empty();
        let http: Option<Opened<HttpServer>> = listeners::open(options.http.take(), needed).await?;
        let rpc: Option<Opened<RpcServer>> = listeners::open(options.rpc.take(), needed).await?;
        let notify = options.notify.take();
        let order: Vec<String> = options.services.iter().map(|spec| spec.name.clone()).collect();
        let reload_on_hangup = options.reload_on_hangup;
        let ctx = Context::new(options)?;
        tracing::info!(pid = std::process::id(), instance = ctx.instance, data_path = %ctx.data_path.display(), "dccd-root is up");

        let serving = {
            let ctx = Arc::clone(&ctx);
            tokio::spawn(async move {
                let until = async { drop(finished(&ctx).await) };
                let handle = |connection: dccd_rpc::Connection| {
                    let server = RootServer::new(Arc::clone(&ctx), &connection);
                    connection.run(server.serve())
                };
                let limits = ServeLimits { drain: DRAIN, ..ServeLimits::default() };
                serve(listener, ROOT_NAME, ROOT_PROTOCOL, limits, handle, until).await;
            })
        };
        let doors = [
            http.map(|http| tokio::spawn(http.keep(Arc::clone(&ctx)))),
            rpc.map(|rpc| tokio::spawn(rpc.keep(Arc::clone(&ctx)))),
        ];
        let saving = tokio::spawn(state_file::keep(Arc::clone(&ctx)));
        let hangups = reload_on_hangup.then(|| tokio::spawn(reload_on_hangups(Arc::clone(&ctx))));
        let watching = tokio::spawn(conditions::keep(Arc::clone(&ctx)));
        ctx.prepare_limits();
        ctx.start_eager(&order);
        let notifying = notify.map(|notify| tokio::spawn(notify::keep(Arc::clone(&ctx), notify)));

        let report = tokio::select! {
            reason = shutdown.wait() => {
                tracing::info!(%reason, "told to stop");
                stop(&ctx, StopRequest { force: false, timeout: None }).await
            }
            report = finished(&ctx) => report,
        };
        // Panicking is all that can have gone wrong in there, and ending is what they were about to do.
        if let Some(hangups) = hangups {
            hangups.abort();
        }
        let _ = saving.await;
        let _ = watching.await;
        let _ = serving.await;
        for door in doors.into_iter().chain([notifying]).flatten() {
            let _ = door.await;
        }
        drop(held);
        tracing::info!("dccd-root is down");
        if ctx.handing_over.load(Ordering::Relaxed) {
            // Not before: what is let go of looks for its root at once, and is to find the next one.
            ctx.let_go();
            return Ok(Ended::HandedOver);
        }
        Ok(Ended::Stopped(report))
    }
}

/// Reads the configuration anew whenever SIGHUP says so.
async fn reload_on_hangups(ctx: Arc<Context>) {
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "SIGHUP will not reload the configuration");
            return;
        }
    };
    while hangups.recv().await.is_some() {
        tracing::info!("SIGHUP: reading the configuration anew");
        // What went wrong is in the log already.
        let _ = reload(&ctx, false).await;
    }
}
