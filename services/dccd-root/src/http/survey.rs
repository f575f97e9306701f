//! A look at the whole tree: every datad is asked at the same moment, each for itself and within a deadline. Who doesn't answer is
//! noted as such, and nothing of an earlier answer stands in for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dccd_registry::connect_datad;
use dccd_rpc::datad::{FeedInfo, JobInfo, Stats};
use dccd_rpc::root::ServiceInfo;
use dccd_rpc::{call, context};
use dccd_service::chain;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::context::Context;
use crate::disk::{Disk, DiskWatch};
use crate::events::unix_nanos;

/// Services of this prefix answer the questions of a datad.
const DATAD: &str = "datad.";
/// Patience with one service.
const SERVICE_TIME: Duration = Duration::from_secs(2);
/// Patience with each of its answers: what comes late is left out, and doesn't take the rest along.
const CALL_TIME: Duration = Duration::from_millis(1_500);
/// Who asks again this soon gets the same answers: many who watch cost the services no more than one.
const FRESH: Duration = Duration::from_millis(250);

/// What one look saw.
#[derive(Debug)]
pub(crate) struct Survey {
    /// When it was complete.
    taken: Instant,
    /// The same by the host's clock, ns since the epoch.
    pub(crate) ts: i64,
    /// By service, those that could be asked.
    pub(crate) answers: BTreeMap<String, Answer>,
    /// The store's disk.
    pub(crate) disk: Result<Disk, String>,
    /// How long the disk took to answer.
    pub(crate) disk_latency: Duration,
}

/// Whether a service has numbers to ask for.
pub(crate) fn is_asked(name: &str) -> bool {
    name.starts_with(DATAD)
}

/// What one service said.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The process that was asked.
    pub(crate) pid: Option<u32>,
    /// How long it took.
    pub(crate) latency: Duration,
    /// Its numbers, or why there are none.
    pub(crate) said: Result<Numbers, String>,
}

/// The numbers of a datad.
#[derive(Debug)]
pub(crate) struct Numbers {
    /// Its exchange.
    pub(crate) exchange: String,
    /// Counters of the process.
    pub(crate) stats: Stats,
    /// Its feeds; none while it is starting.
    pub(crate) feeds: Vec<FeedInfo>,
    /// Its jobs.
    pub(crate) jobs: Vec<JobInfo>,
}

impl Survey {
    /// What a service said, if it was this very process that said it.
    pub(crate) fn of(&self, service: &ServiceInfo) -> Option<&Answer> {
        let answer = self.answers.get(&service.name)?;
        (service.state.is_ready() && service.pid == answer.pid).then_some(answer)
    }
}

/// Takes one look at a time; who comes meanwhile shares it.
#[derive(Default)]
pub(crate) struct Surveyor {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    latest: Option<Arc<Survey>>,
    disk: DiskWatch,
}

impl Surveyor {
    /// A look that is no older than [`FRESH`].
    pub(crate) async fn survey(&self, ctx: &Context) -> Arc<Survey> {
        let mut state = self.state.lock().await;
        if let Some(latest) = state.latest.as_ref().filter(|latest| latest.taken.elapsed() < FRESH) {
            return Arc::clone(latest);
        }
        let began = Instant::now();
        let (answers, (disk, disk_latency)) = tokio::join!(ask_all(ctx.list()), async {
            let disk = state.disk.look(&ctx.data_path).await;
            (disk, began.elapsed())
        });
        let survey = Arc::new(Survey { taken: Instant::now(), ts: unix_nanos(), answers, disk, disk_latency });
        state.latest = Some(Arc::clone(&survey));
        survey
    }
}

/// Asks every datad that is ready.
async fn ask_all(services: Vec<ServiceInfo>) -> BTreeMap<String, Answer> {
    let mut questions = JoinSet::new();
    for service in services.into_iter().filter(|service| service.state.is_ready()) {
        let Some(exchange) = service.name.strip_prefix(DATAD).map(str::to_owned) else { continue };
        let Some(socket) = service.endpoint.as_ref().and_then(|endpoint| endpoint.unix_path()).map(PathBuf::from) else {
            continue;
        };
        questions.spawn(async move {
            let began = Instant::now();
            let said = match timeout(SERVICE_TIME, ask(&service.name, exchange, &socket)).await {
                Ok(said) => said,
                Err(_) => Err(format!("no answer within {SERVICE_TIME:?}")),
            };
            (service.name, Answer { pid: service.pid, latency: began.elapsed(), said })
        });
    }
    let mut answers = BTreeMap::new();
    while let Some(answered) = questions.join_next().await {
        // Ends by itself only: there is nothing in it that panics.
        answers.extend(answered);
    }
    answers
}

async fn ask(name: &str, exchange: String, socket: &Path) -> Result<Numbers, String> {
    let client = connect_datad(name, socket, SERVICE_TIME).await.map_err(|error| chain(&error))?;
    let (stats, feeds, jobs) = tokio::join!(
        call(name, "stats", client.stats(context(CALL_TIME))),
        call(name, "feeds", client.feeds(context(CALL_TIME))),
        call(name, "jobs", client.jobs(context(CALL_TIME))),
    );
    let stats = stats.map_err(|error| chain(&error))?;
    // While it starts it has no feeds to tell of.
    Ok(Numbers { exchange, stats, feeds: feeds.unwrap_or_default(), jobs: jobs.unwrap_or_default() })
}
