//! Reading the configuration anew. It is checked before anything is done, and a bad one changes nothing. Then each service that
//! is told something else takes it in by itself, is started anew where it can't, begins, or ends; the others are left alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dccd_registry::connect_datad;
use dccd_rpc::root::{Change, EnsureError, ROOT_NAME, ReloadReport, ReloadedService, ServiceState};
use dccd_rpc::{RpcError, call, context};
use dccd_service::chain;
use tokio::task::JoinSet;

use crate::adopt::Record;
use crate::cell::Cell;
use crate::context::Context;
use crate::exits::HANDED_OVER;
use crate::files;
use crate::options::LATER;
use crate::stop::order_stop;
use crate::{Reloaded, ServiceSpec};

/// Services of this prefix take a new configuration in by themselves.
const DATAD: &str = "datad.";
/// Patience with a service that takes a new configuration in: it may ask its exchange for the list of markets.
const APPLY_TIME: Duration = Duration::from_secs(30);
/// Patience with a service that is started, or started anew.
const READY_TIME: Duration = Duration::from_secs(90);

/// What is to be done about one service.
enum Step {
    /// It is new.
    Begin(ServiceSpec),
    /// It is known; what it is told from now on.
    Tell(Arc<Cell>, ServiceSpec, Change),
    /// It is wanted no more.
    End(Arc<Cell>),
}

/// Reads the configuration anew and applies it, one reload at a time; `dry_run`: only says what would be done.
///
/// # Errors
/// When the configuration is bad, or can't be taken over; nothing has changed then.
pub(crate) async fn reload(ctx: &Arc<Context>, dry_run: bool) -> Result<ReloadReport, RpcError> {
    // A task of its own: the caller may go away, what was begun is brought to its end.
    let reloading = tokio::spawn(read_and_apply(Arc::clone(ctx), dry_run));
    reloading.await.map_err(|error| failed(error.to_string()))?
}

fn failed(reason: String) -> RpcError {
    RpcError::Failed { operation: "reloading the configuration".to_owned(), reason }
}

async fn read_and_apply(ctx: Arc<Context>, dry_run: bool) -> Result<ReloadReport, RpcError> {
    let Ok(_place) = ctx.reloads.try_acquire() else {
        return Err(failed("others are under way; try again when they are done".to_owned()));
    };
    let reload = ctx.reload.lock().await;
    let Some(read) = reload.clone() else {
        return Err(failed("this root was started without a configuration file".to_owned()));
    };
    if ctx.is_stopping() {
        let (service, reason) = (ROOT_NAME.to_owned(), "it is stopping".to_owned());
        return Err(RpcError::Unavailable { service, reason });
    }
    let read = files::read(move || read()).await;
    let read = read.map_err(|error| chain(&error)).and_then(|read| read.map_err(|error| chain(error.as_ref())));
    let new = read.map_err(|reason| {
        tracing::warn!(reason, "the configuration is not reloaded; everything goes on as before");
        failed(format!("{reason}\nnothing was changed"))
    })?;
    let Reloaded { services, resolve, supervision, alerting, disk_low_bytes, log_level, later, mut details, commit } = new;
    for spec in &services {
        dccd_rpc::check_socket_path(&ctx.runtime_dir.service_socket(&spec.name))
            .map_err(|error| failed(format!("{}: {}", spec.name, chain(&error))))?;
    }
    if ctx.is_stopping() {
        return Err(failed("it is stopping".to_owned()));
    }
    let steps = plan(ctx.cells(), services, |name| resolve(name));
    let mut report = ReloadReport { dry_run, later, services: Vec::new() };
    if dry_run {
        let changed = |step: &Step| ReloadedService {
            details: details.remove(step.name()).unwrap_or_default(),
            ..ReloadedService::of(step.name(), step.change())
        };
        report.services = steps.iter().map(changed).collect();
        report.services.extend(without_a_step(details));
        return Ok(report);
    }
    tokio::task::spawn_blocking(commit)
        .await
        .map_err(|error| failed(error.to_string()))?
        .map_err(|error| failed(format!("{}\nnothing was changed", chain(error.as_ref()))))?;
    ctx.supervision.set(supervision);
    ctx.set_configured_level(log_level);
    ctx.set_resolve(resolve);
    ctx.set_alerting(alerting, disk_low_bytes);
    let mut running = JoinSet::new();
    for (place, step) in steps.into_iter().enumerate() {
        let ctx = Arc::clone(&ctx);
        running.spawn(async move { (place, step.name().to_owned(), step.change(), take(&ctx, step).await) });
    }
    let mut done = running.join_all().await;
    done.sort_by_key(|(place, ..)| *place);
    for (_, name, change, result) in done {
        let (change, how, error) = match result {
            Ok(Done { change, how }) => (change, how, None),
            Err(error) => (change, None, Some(error)),
        };
        match (&error, change) {
            (Some(error), _) => tracing::error!(service = name, error, "the new configuration did not take effect here"),
            (None, Change::Unchanged) => {}
            (None, _) => tracing::info!(service = name, change = %change, "the new configuration has taken effect"),
        }
        let details = details.remove(&name).unwrap_or_default().into_iter().chain(how).collect();
        report.services.push(ReloadedService { details, error, ..ReloadedService::of(&name, change) });
    }
    report.services.extend(without_a_step(details));
    tracing::info!("the configuration is reloaded");
    Ok(report)
}

/// What is another where nothing is to be done: the root takes it in by itself, and a service that doesn't run hears it at its start.
fn without_a_step(details: BTreeMap<String, Vec<String>>) -> impl Iterator<Item = ReloadedService> {
    details.into_iter().filter(|(_, words)| !words.is_empty()).map(|(name, details)| {
        let is_taken_in = name == ROOT_NAME && details.iter().any(|word| !word.ends_with(LATER));
        let change = if is_taken_in { Change::Reloaded } else { Change::Unchanged };
        ReloadedService { details, ..ReloadedService::of(&name, change) }
    })
}

/// What was done about one service.
struct Done {
    change: Change,
    /// How, where that is worth saying.
    how: Option<String>,
}

impl From<Change> for Done {
    fn from(change: Change) -> Self {
        Self { change, how: None }
    }
}

impl Step {
    fn name(&self) -> &str {
        match self {
            Self::Begin(spec) => &spec.name,
            Self::Tell(cell, ..) | Self::End(cell) => cell.name(),
        }
    }

    fn change(&self) -> Change {
        match self {
            Self::Begin(_) => Change::Started,
            Self::Tell(_, _, change) => *change,
            Self::End(_) => Change::Stopped,
        }
    }
}

/// Compares what runs with what is wanted, service by service: the wanted ones in their order, then the others.
fn plan(mut cells: Vec<Arc<Cell>>, wanted: Vec<ServiceSpec>, resolve: impl Fn(&str) -> Option<ServiceSpec>) -> Vec<Step> {
    let mut steps = Vec::new();
    for spec in wanted {
        let known = cells.iter().position(|cell| cell.name() == spec.name).map(|at| cells.swap_remove(at));
        steps.push(compare(known, spec));
    }
    cells.sort_by(|a, b| a.name().cmp(b.name()));
    for cell in cells {
        // What the configuration started ends with it; what somebody asked for goes on while there is such a service.
        match resolve(cell.name()).filter(|_| !cell.spec().eager) {
            Some(spec) => steps.push(compare(Some(cell), spec)),
            None => steps.push(Step::End(cell)),
        }
    }
    steps
}

fn compare(cell: Option<Arc<Cell>>, spec: ServiceSpec) -> Step {
    let Some(cell) = cell else { return Step::Begin(spec) };
    let old = cell.spec();
    let phase = cell.state().phase;
    let is_same = old.fingerprint == spec.fingerprint && old.limits == spec.limits && old.eager == spec.eager;
    if is_same {
        // How it logs may be another: that waits for the root's next start, as what the root captures does.
        let spec = ServiceSpec::clone(&old);
        return Step::Tell(cell, spec, Change::Unchanged);
    }
    let change = if phase == ServiceState::Stopped {
        if spec.eager { Change::Started } else { Change::Unchanged }
    } else if old.fingerprint == spec.fingerprint {
        // Its limits, or whether it runs from the beginning: the root's business alone.
        Change::Reloaded
    } else if old.fixed == spec.fixed && phase.is_ready() && spec.name.starts_with(DATAD) {
        Change::Reloaded
    } else {
        Change::Restarted
    };
    Step::Tell(cell, spec, change)
}

/// Does what is to be done about one service; gives what was done.
async fn take(ctx: &Arc<Context>, step: Step) -> Result<Done, String> {
    let deadline = Instant::now() + READY_TIME;
    match step {
        Step::Tell(cell, spec, change) => {
            let (told, name) = (cell.spec().fingerprint != spec.fingerprint, spec.name.clone());
            if change == Change::Restarted {
                return replace(ctx, spec).await;
            }
            let fingerprint = spec.fingerprint.clone();
            // From here on a process that starts is told the new.
            cell.respecify(spec.clone());
            match change {
                Change::Reloaded if told => match apply(&cell).await {
                    Ok(()) => {
                        Record::retell(&ctx.runtime_dir.service_record(&name), fingerprint);
                        Ok(Change::Reloaded.into())
                    }
                    Err(error) => {
                        tracing::warn!(service = name, error, "it can't take the new configuration in, and is started anew");
                        replace(ctx, spec).await
                    }
                },
                Change::Started => {
                    ctx.ensure(&name, deadline).await.map(|_| Change::Started.into()).map_err(|error| error.to_string())
                }
                change => Ok(change.into()),
            }
        }
        Step::End(cell) => {
            order_stop(&cell, ctx.supervision.get().shutdown_timeout).await;
            ctx.forget(cell.name());
            Ok(Change::Stopped.into())
        }
        Step::Begin(spec) => {
            let name = spec.name.clone();
            ctx.add(spec);
            ctx.ensure(&name, deadline).await.map(|_| Change::Started.into()).map_err(|error| error.to_string())
        }
    }
}

/// Has a new process take the service over, which is told this: without a moment between where that can be.
async fn replace(ctx: &Arc<Context>, spec: ServiceSpec) -> Result<Done, String> {
    let name = spec.name.clone();
    let (mut kept, deadline) = (String::new(), Instant::now() + READY_TIME);
    let replaced = match ctx.replace(&name, Some(spec.clone()), deadline).await {
        Err(EnsureError::Kept { reason, .. }) => {
            tracing::info!(service = name, reason, "it can't be replaced under way, and is restarted");
            kept = format!(": its successor {reason}");
            ctx.restart_with(&name, Some(spec), Instant::now() + READY_TIME).await
        }
        other => other,
    };
    replaced.map_err(|error| error.to_string())?;
    let last_exit = ctx.cell(&name).and_then(|cell| cell.state().last_exit.clone());
    let how = if last_exit.as_deref() == Some(HANDED_OVER) {
        "a new process took over without a moment between".to_owned()
    } else {
        format!("stopped and started again{kept}")
    };
    Ok(Done { change: Change::Restarted, how: Some(how) })
}

/// Has a running service take the new configuration in.
async fn apply(cell: &Cell) -> Result<(), String> {
    let name = cell.name();
    let endpoint = cell.state().endpoint.clone();
    let socket = endpoint.as_ref().and_then(|endpoint| endpoint.unix_path()).map(Path::to_owned);
    let Some(socket) = socket else { return Err("it is not ready".to_owned()) };
    let client = connect_datad(name, &socket, APPLY_TIME).await.map_err(|error| chain(&error))?;
    call(name, "reload", client.reload(context(APPLY_TIME))).await.map_err(|error| chain(&error))
}
