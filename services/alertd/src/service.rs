//! The loop: follows the root's conditions, decides, saves, then posts. And what works without it: a test message, the saved state.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dccd_model::UnixNanos;
use dccd_net::{PostError, Retry, post_json};
use dccd_registry::{Registry, RegistryError};
use dccd_rpc::alertd::{ALERTD_NAME, ALERTD_PROTOCOL, AlertList, Alertd as _};
use dccd_rpc::condition::{Condition, Conditions, ServiceConditions, Severity};
use dccd_rpc::{DirectoryError, RpcError, ServeLimits};
use dccd_service::{ServiceContext, chain};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::engine::{Attempt, Engine};
use crate::error::AlertdError;
use crate::message::{Event, HeldBack, Message, Sender};
use crate::options::{AlertdOptions, Webhook};
use crate::rpc::{Command, Session};
use crate::saved;

/// Reports that wait for the loop; the one who follows the root waits while it is full.
const REPORTS: usize = 4;
/// Questions that wait for the loop; who asks waits while it is full.
const COMMANDS: usize = 16;
/// Patience with one attempt.
const POST_DEADLINE: Duration = Duration::from_secs(15);
/// Patience with the disk before a message goes out that doesn't stand on it.
const SAVE_DEADLINE: Duration = Duration::from_secs(3);
/// How long a report is waited for.
const WATCH_WAIT: Duration = Duration::from_secs(20);
/// How long the first one may delay the start.
const FIRST_REPORT: Duration = Duration::from_secs(3);
/// Before the root is looked for again.
const WATCH_PAUSE: Duration = Duration::from_millis(500);
/// Without a root for so long, that is wrong.
const ROOT_LOST: Duration = Duration::from_secs(30);
/// With nothing to tell for so long, the process isn't needed.
const IDLE_MAX: Duration = Duration::from_secs(600);
/// How long what is under way may take at the end.
const LAST_POSTS: Duration = Duration::from_secs(3);

/// What a test message to one webhook came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The webhook's host.
    pub host: String,
    /// Its form.
    pub format: &'static str,
    /// How long it took, or why it was not delivered.
    pub result: Result<Duration, String>,
}

/// Runs until shutdown is asked for, or there has been nothing to tell for a while.
///
/// # Errors
/// When it can't start. That webhooks can't be reached is no error: it is tried again.
pub async fn run(options: AlertdOptions, ctx: ServiceContext) -> Result<(), AlertdError> {
    match dccd_rpc::private_directory(&saved::directory(&options.data_path)) {
        // A disk that takes nothing may be what is to be told.
        Err(error @ DirectoryError::Io { .. }) => {
            tracing::error!(error = %chain(&error), "what was told can't be kept; a restart would tell it again");
        }
        made => made?,
    }
    let data_path = options.data_path.clone();
    let mut engine = Engine::new(&options, host_name(), saved::open(&data_path));
    let (commands, questions) = mpsc::channel(COMMANDS);
    let listener = dccd_rpc::unix_listen(&ctx.endpoint_path())?;
    let (stop_serving, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        let handle = move |connection: dccd_rpc::Connection| {
            let session = Session { commands: commands.clone(), greeting: connection.greeting().clone() };
            connection.run(session.serve())
        };
        let until = async {
            let _ = stopped.await; // the sender's end is the signal
        };
        dccd_rpc::serve(listener, ALERTD_NAME, ALERTD_PROTOCOL, ServeLimits::default(), handle, until).await;
    });
    let (reports_in, mut reports) = mpsc::channel(REPORTS);
    // Ends with the loop, which drops the other end. If it panicked, nothing new would be told: the loop ends then, too.
    let following = tokio::spawn(follow(ctx.clone(), reports_in));
    // Who asks for this service wants to hear of what is wrong now.
    if let Ok(Some(first)) = timeout(FIRST_REPORT, reports.recv()).await {
        engine.report(&first, now());
    }
    ctx.register_protocol(ALERTD_PROTOCOL).await?;
    let work = Loop {
        engine,
        webhooks: options.webhooks.into(),
        saver: Saver { data_path, writing: None, failing: false },
        posts: JoinSet::new(),
        idle_since: None,
        ctx,
    };
    work.run(reports, questions).await;
    following.abort();
    drop(stop_serving);
    let _ = serving.await; // it ends within its own drain time
    Ok(())
}

struct Loop {
    engine: Engine,
    webhooks: Arc<[Webhook]>,
    saver: Saver,
    /// At most one for each webhook.
    posts: JoinSet<(Attempt, Result<(), PostError>)>,
    idle_since: Option<Instant>,
    ctx: ServiceContext,
}

impl Loop {
    async fn run(mut self, mut reports: mpsc::Receiver<Conditions>, mut questions: mpsc::Receiver<Command>) {
        let progress = self.ctx.progress().clone();
        let (open, sent) = (progress.counter("alerts_open"), progress.counter("alerts_sent"));
        let sent_before = self.engine.numbers().1;
        loop {
            self.engine.advance(now());
            let attempts = self.engine.due(now());
            self.saver.save(&mut self.engine).await;
            attempts.into_iter().for_each(|attempt| self.begin(attempt));
            let numbers = self.engine.numbers();
            open.set(numbers.0);
            sent.set(numbers.1 - sent_before);
            progress.degraded(self.engine.trouble());
            if self.is_done() {
                break;
            }
            let next = u64::try_from(self.engine.next_look(now()).saturating_sub(now())).unwrap_or(0);
            tokio::select! {
                _ = self.ctx.shutdown().wait() => break,
                report = reports.recv() => match report {
                    Some(report) => self.engine.report(&report, now()),
                    None => break,
                },
                Some(question) = questions.recv() => self.answer(question).await,
                Some(posted) = self.posts.join_next() => self.settle(posted),
                // A moment more: what is due is then, whatever the rounding.
                () = sleep(Duration::from_nanos(next) + Duration::from_millis(1)) => {}
            }
        }
        // What is delivered now need not be sent again by the next process.
        let _ = timeout(LAST_POSTS, async {
            while let Some(posted) = self.posts.join_next().await {
                self.settle(posted);
            }
        })
        .await;
        self.saver.save(&mut self.engine).await;
    }

    /// Whether there has been nothing to do for so long that the process isn't needed.
    fn is_done(&mut self) -> bool {
        if !self.engine.is_idle() {
            self.idle_since = None;
            return false;
        }
        let since = *self.idle_since.get_or_insert_with(Instant::now);
        since.elapsed() >= IDLE_MAX
    }

    fn begin(&mut self, attempt: Attempt) {
        let webhooks = Arc::clone(&self.webhooks);
        self.posts.spawn(async move {
            let url = webhooks[attempt.hook].url.reveal();
            let result = post_json(url, attempt.document.clone(), POST_DEADLINE).await;
            (attempt, result)
        });
    }

    fn settle(&mut self, posted: Result<(Attempt, Result<(), PostError>), tokio::task::JoinError>) {
        // There is nothing in it that panics, and nobody aborts it.
        let Ok((attempt, result)) = posted else { return };
        let result = result.map_err(|error| (chain(&error), error.retry()));
        self.engine.settle(attempt.hook, &attempt.id, result, now());
    }

    async fn answer(&mut self, question: Command) {
        // Whoever asked may have gone; that changes nothing.
        match question {
            Command::List { reply } => drop(reply.send(self.engine.list())),
            Command::Acknowledge { ids, until, reply } => {
                let done = self.engine.acknowledge(&ids, until).map_err(|name| RpcError::Unknown {
                    what: "open alert".to_owned(),
                    name,
                    known: self.engine.ids(),
                });
                // Who was told so relies on it.
                self.saver.save(&mut self.engine).await;
                drop(reply.send(done));
            }
        }
    }
}

/// Writes the state, one write at a time, and goes on without it while the disk takes none: that may be what is to be told.
struct Saver {
    data_path: std::path::PathBuf,
    writing: Option<JoinHandle<io::Result<()>>>,
    failing: bool,
}

impl Saver {
    async fn save(&mut self, engine: &mut Engine) {
        if self.writing.is_some() {
            self.written().await;
        }
        if self.writing.is_some() {
            return; // a disk that hangs is waited for by one thread, not by more and more
        }
        let Some(state) = engine.take_changes() else { return };
        let data_path = self.data_path.clone();
        self.writing = Some(tokio::task::spawn_blocking(move || saved::save(&data_path, &state)));
        self.written().await;
    }

    async fn written(&mut self) {
        let Some(writing) = &mut self.writing else { return };
        let Ok(written) = timeout(SAVE_DEADLINE, writing).await else {
            self.complain("the disk gives no answer");
            return;
        };
        self.writing = None;
        match written.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) => self.failing = false,
            Err(error) => self.complain(&chain(&error)),
        }
    }

    fn complain(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(reason, "the state of the alerts can't be saved; a restart would tell some of them again");
        }
    }
}

/// Follows what is wrong, with one root after another.
async fn follow(ctx: ServiceContext, reports: mpsc::Sender<Conditions>) {
    let mut registry = None;
    let mut revision = 0;
    let mut lost: Option<Instant> = None;
    loop {
        match look(&ctx, &mut registry, revision).await {
            Ok(report) => {
                lost = None;
                let Some(report) = report else { continue };
                revision = report.revision;
                if reports.send(report).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                registry = None;
                tracing::debug!(error = %chain(&error), "dccd-root says nothing of what is wrong");
                let since = *lost.get_or_insert_with(Instant::now);
                if since.elapsed() >= ROOT_LOST && reports.send(root_lost(since.elapsed())).await.is_err() {
                    return;
                }
                sleep(WATCH_PAUSE).await;
            }
        }
    }
}

async fn look(
    ctx: &ServiceContext,
    registry: &mut Option<Registry>,
    revision: u64,
) -> Result<Option<Conditions>, RegistryError> {
    let connected = match registry.take() {
        Some(connected) => connected,
        None => Registry::connect_in(ctx.runtime_dir(), WATCH_WAIT).await?,
    };
    let report = connected.conditions(revision, WATCH_WAIT).await?;
    *registry = Some(connected);
    Ok(report)
}

/// What nobody but alertd can see.
fn root_lost(lost_for: Duration) -> Conditions {
    let since = now().saturating_sub(i64::try_from(lost_for.as_nanos()).unwrap_or(0));
    let message = "dccd-root is gone or gives no answer; without one the services go on for a while and then end: see `dccd services`, then `dccd start`".to_owned();
    let (kind, subject, severity) = ("root_gone".to_owned(), String::new(), Severity::Critical);
    let found = vec![Condition { kind, subject, severity, message, since, count: 1 }];
    let service = ALERTD_NAME.to_owned();
    let (said, doubts) = (Vec::new(), Vec::new());
    let of = ServiceConditions { service, heard: true, found, said, more: 0, settled: true, doubts };
    Conditions { revision: 0, services: vec![of] }
}

/// Sends one message to each webhook, to see whether it arrives. Outside of the hourly limit; nothing is kept of it.
pub async fn send_test(options: &AlertdOptions) -> Vec<Tried> {
    let sender = Sender { instance: options.instance.clone(), host: host_name() };
    let mut posts = JoinSet::new();
    for (index, webhook) in options.webhooks.iter().enumerate() {
        let (webhook, sender) = (webhook.clone(), sender.clone());
        posts.spawn(async move {
            let message = test_message();
            let began = Instant::now();
            let document = message.document(webhook.format, &sender, now());
            let result = post_json(webhook.url.reveal(), document, POST_DEADLINE).await;
            let result = result.map(|()| began.elapsed()).map_err(|error| {
                let hint =
                    if error.retry() == Retry::No { "; is the address right, and the webhook not withdrawn?" } else { "" };
                format!("{}{hint}", chain(&error))
            });
            (index, Tried { host: webhook.host(), format: webhook.format.as_str(), result })
        });
    }
    let mut tried = posts.join_all().await;
    tried.sort_by_key(|(index, _)| *index);
    tried.into_iter().map(|(_, tried)| tried).collect()
}

fn test_message() -> Message {
    Message {
        id: format!("test-{:08x}", fastrand::u32(..)),
        event: Event::Test,
        created: now(),
        severity: Severity::Info,
        service: ALERTD_NAME.to_owned(),
        kind: "test".to_owned(),
        alerts: Vec::new(),
        more: 0,
        held_back: HeldBack::default(),
    }
}

/// What alertd knew when it saved last; `None` where it never did.
///
/// # Errors
/// When it can't be read.
pub fn list_saved(options: &AlertdOptions) -> io::Result<Option<AlertList>> {
    let saved = saved::load(&options.data_path)?;
    Ok(saved.map(|saved| Engine::new(options, host_name(), saved).list()))
}

/// The host's name, which messages carry.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

fn now() -> i64 {
    use std::time::{SystemTime, UNIX_EPOCH};
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)).0
}
