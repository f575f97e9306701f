//! Stopping in order: first the lazy services, which depend on the eager ones, the last started first and one after another; then
//! the eager ones, together. One that is slow holds the others up for a while only: then they are asked as well, and each
//! has the whole patience for itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use dccd_rpc::RpcError;
use dccd_rpc::root::{ROOT_NAME, StopReport, StopRequest, StoppedService};
use tokio::sync::oneshot;

use crate::cell::{Cell, Command, Gone, StopOrder};
use crate::context::Context;

/// Patience with clearing away at the end.
const SWEEP_PATIENCE: Duration = Duration::from_secs(10);

/// How long lazy services together hold up the next ones at most.
const HOLD_MAX: Duration = Duration::from_secs(10);

/// Stops everything, or joins the stop under way (and forces it, if asked to). Returns how it went.
pub(crate) async fn stop(ctx: &Arc<Context>, request: StopRequest) -> StopReport {
    if ctx.begin_stopping() {
        // Wakes those who wait for a service that will not come any more.
        // Somebody may have forced it between the line above and this one.
        ctx.force.send_modify(|force| *force |= request.force);
        let patience = request.timeout.unwrap_or(ctx.supervision.get().shutdown_timeout);
        tracing::info!(force = request.force, patience_s = patience.as_secs_f64(), "stopping");
        // A task of its own: the caller may go away, stopping goes on.
        tokio::spawn(stop_all(Arc::clone(ctx), patience));
    } else if request.force {
        tracing::warn!("the stop under way is forced");
        ctx.force.send_replace(true);
    }
    finished(ctx).await
}

/// The same for a client; refused while the root hands over, because the services outlive this root.
pub(crate) async fn stop_on_request(ctx: &Arc<Context>, request: StopRequest) -> Result<StopReport, RpcError> {
    let handed_over = || {
        let reason = "it hands over to the next root just now; ask that one".to_owned();
        Err(RpcError::Unavailable { service: ROOT_NAME.to_owned(), reason })
    };
    if ctx.handing_over.load(Ordering::Relaxed) {
        return handed_over();
    }
    let report = stop(ctx, request).await;
    // It may have begun between the look and the stop.
    if ctx.handing_over.load(Ordering::Relaxed) { handed_over() } else { Ok(report) }
}

/// Resolves when everything is stopped, whoever asked for it.
pub(crate) async fn finished(ctx: &Context) -> StopReport {
    let mut stopped = ctx.stopped.subscribe();
    match stopped.wait_for(Option::is_some).await {
        Ok(report) => report.clone().unwrap_or_default(),
        // The sender lives in the context we hold.
        Err(_) => StopReport::default(),
    }
}

async fn stop_all(ctx: Arc<Context>, patience: Duration) {
    let begun = Instant::now();
    let mut cells = ctx.cells();
    cells.sort_by_key(|cell| std::cmp::Reverse(cell.state().start_number));
    let (eager, lazy): (Vec<_>, Vec<_>) = cells.into_iter().partition(|cell| cell.spec().eager);
    let (report, mut reports) = tokio::sync::mpsc::channel((eager.len() + lazy.len()).max(1));
    let ask = |cell: Arc<Cell>| {
        let report = report.clone();
        tokio::spawn(async move {
            if let Some(stopped) = order_stop(&cell, patience).await {
                // Room for all of them; the other end waits for the last one.
                let _ = report.send(stopped).await;
            }
        })
    };
    let hold_until = tokio::time::Instant::now() + (patience / 4).min(HOLD_MAX);
    for cell in lazy {
        let name = cell.name().to_owned();
        if tokio::time::timeout_at(hold_until, ask(cell)).await.is_err() {
            tracing::info!(service = name, "still stopping; the others are asked to, meanwhile");
        }
    }
    // The last started of them first, too. They flush side by side.
    for cell in eager {
        ask(cell);
    }
    drop(report);
    let mut services = Vec::new();
    while let Some(stopped) = reports.recv().await {
        services.push(stopped);
    }
    ctx.leftovers_gone().await;
    // No service runs any more, and none is started again: what they kept for their successors has no use now.
    if let Some(sweep) = ctx.sweep.clone() {
        // On a disk that hangs it would never end.
        match tokio::time::timeout(SWEEP_PATIENCE, tokio::task::spawn_blocking(move || sweep())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "could not clear away what services left behind");
            }
            Err(_) => tracing::error!("clearing away what services left behind takes too long; the next start does it"),
        }
    }
    let took = begun.elapsed();
    tracing::info!(services = services.len(), took_ms = took.as_millis(), "all services are stopped");
    ctx.stopped.send_replace(Some(StopReport { services, took }));
}

/// Ends the care for all services and leaves them running, for the next root. Returns when that is so.
pub(crate) async fn hand_over(ctx: &Arc<Context>) -> Result<(), RpcError> {
    if !ctx.begin_stopping() {
        let (service, reason) = (ROOT_NAME.to_owned(), "it is stopping already".to_owned());
        return Err(RpcError::Unavailable { service, reason });
    }
    tracing::info!("handing over to the next root");
    ctx.handing_over.store(true, Ordering::Relaxed);
    // Wakes those who wait for a service that will not come any more.
    ctx.force.send_modify(|_| ());
    // A task of its own: the caller may go away, handing over goes on.
    let handing = tokio::spawn(hand_over_all(Arc::clone(ctx)));
    handing.await.map_err(|error| RpcError::Failed { operation: "handing over".to_owned(), reason: error.to_string() })
}

async fn hand_over_all(ctx: Arc<Context>) {
    let begun = Instant::now();
    for cell in ctx.cells() {
        let (done, released) = oneshot::channel();
        let order = StopOrder { patience: Duration::ZERO, keep: true, done };
        if cell.command(Command::Stop(order)).await {
            // One that is just being replaced is waited for.
            let _ = released.await;
        }
    }
    ctx.leftovers_gone().await;
    let took = begun.elapsed();
    tracing::info!(took_ms = took.as_millis(), "no service is looked after any more");
    ctx.stopped.send_replace(Some(StopReport { services: Vec::new(), took }));
}

/// Stops one service; `None` when it wasn't running.
pub(crate) async fn order_stop(cell: &Cell, patience: Duration) -> Option<StoppedService> {
    let begun = Instant::now();
    let (done, stopped) = oneshot::channel();
    let order = StopOrder { patience, keep: false, done };
    if !cell.command(Command::Stop(order)).await {
        return None;
    }
    let Gone { exit, killed, flushed } = stopped.await.ok().flatten()?;
    let took = begun.elapsed();
    tracing::info!(service = cell.name(), exit, killed, took_ms = took.as_millis(), ?flushed, "service stopped");
    Some(StoppedService { name: cell.name().to_owned(), exit, killed, took, flushed })
}
