//! Stopping in order: first the lazy services, which depend on the eager ones, the last started first; then the eager
//! ones, together. Each of the two rounds has the whole patience, so that a slow dependent takes no time to flush away
//! from those that hold the data.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use dccd_rpc::RpcError;
use dccd_rpc::root::{ROOT_NAME, StopReport, StopRequest, StoppedService};
use tokio::sync::oneshot;

use crate::cell::{Cell, Command, StopOrder};
use crate::context::Context;

/// Stops everything, or joins the stop under way (and forces it, if asked to). Returns how it went.
pub(crate) async fn stop(ctx: &Arc<Context>, request: StopRequest) -> StopReport {
    if ctx.begin_stopping() {
        // Wakes those who wait for a service that will not come any more.
        // Somebody may have forced it between the line above and this one.
        ctx.force.send_modify(|force| *force |= request.force);
        let patience = request.timeout.unwrap_or(ctx.supervision.shutdown_timeout);
        tracing::info!(force = request.force, patience_s = patience.as_secs_f64(), "stopping");
        // A task of its own: the caller may go away, stopping goes on.
        tokio::spawn(stop_all(Arc::clone(ctx), patience));
    } else if request.force {
        tracing::warn!("the stop under way is forced");
        ctx.force.send_replace(true);
    }
    finished(ctx).await
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
    let mut services = Vec::new();
    let lazy_until = Instant::now() + patience;
    for cell in lazy {
        let left = lazy_until.saturating_duration_since(Instant::now());
        services.extend(order_stop(&cell, left).await);
    }
    let (report, mut reports) = tokio::sync::mpsc::channel(eager.len().max(1));
    for cell in eager {
        let report = report.clone();
        tokio::spawn(async move {
            if let Some(stopped) = order_stop(&cell, patience).await {
                // Room for all of them; the other end waits for the last one.
                let _ = report.send(stopped).await;
            }
        });
    }
    drop(report);
    while let Some(stopped) = reports.recv().await {
        services.push(stopped);
    }
    ctx.leftovers_gone().await;
    // No service runs any more, and none is started again: what they kept for their successors has no use now.
    if let Some(sweep) = ctx.sweep.clone()
        && let Err(error) = tokio::task::spawn_blocking(move || sweep()).await
    {
        tracing::error!(error = &error as &dyn std::error::Error, "could not clear away what services left behind");
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
async fn order_stop(cell: &Cell, patience: Duration) -> Option<StoppedService> {
    let begun = Instant::now();
    let (done, stopped) = oneshot::channel();
    let order = StopOrder { patience, keep: false, done };
    if !cell.command(Command::Stop(order)).await {
        return None;
    }
    let (exit, killed) = stopped.await.ok().flatten()?;
    let took = begun.elapsed();
    tracing::info!(service = cell.name(), exit, killed, took_ms = took.as_millis(), "service stopped");
    Some(StoppedService { name: cell.name().to_owned(), exit, killed, took })
}
