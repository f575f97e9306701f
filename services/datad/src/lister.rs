//! Keeps the exchange's list of markets up to date while the service runs: renewed once a day, and at once when a symbol is asked for
//! that isn't on it. What is new can be opened without a restart; what is known stays as it was for those who read the journal.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dccd_exchange::{Adapter, Markets, MarketsList, Product, RestRequest};
use dccd_history::{KeptMarkets, RestClients};
use dccd_model::Symbol;
use dccd_net::Priority;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::error::chain;
use crate::hot::Command;
use crate::recorder::RecorderCommand;
use crate::shared::{Part, Shared};

/// Patience with each part of the list.
const PATIENCE: Duration = Duration::from_secs(60);
/// Before a list that couldn't be had is asked for again: longer each time, up to the latter; where something that is wanted waits
/// for it, always the former.
const AGAIN: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(1_800));
/// Between two renewals because of symbols that are unknown: what somebody who mistypes may cost.
const UNKNOWN_EVERY: Duration = Duration::from_secs(60);
/// How long the recorder may take to learn of what is new.
const RECORDER_PATIENCE: Duration = Duration::from_secs(30);

/// What is needed to ask for the list.
#[derive(Clone)]
pub(crate) struct Asking {
    pub(crate) adapter: Arc<dyn Adapter>,
    pub(crate) rest: RestClients,
    /// Where the list is kept.
    pub(crate) path: PathBuf,
    /// The products whose lists are asked for.
    pub(crate) products: Vec<Product>,
}

/// A list, and what of it couldn't be had.
pub(crate) struct Fetched {
    pub(crate) markets: Markets,
    pub(crate) missing: Option<(Product, String)>,
}

impl Asking {
    /// Fetches the markets from the exchange and keeps them, with those of `last` for what doesn't answer.
    ///
    /// # Errors
    /// In words, what went wrong: no connection, a refusal, an answer that is none.
    pub(crate) async fn fetch(&self, patience: Duration, last: Option<&KeptMarkets>) -> Result<Fetched, String> {
        let mut list = MarketsList::new(self.adapter.as_ref(), &self.products);
        let mut reason = String::new();
        while let Some(request) = list.request().cloned() {
            let part = self.part(&request, patience).await;
            match part.and_then(|body| list.answer(&body).map_err(|e| chain(&e))) {
                Ok(()) => {}
                Err(error) if list.pass_over() => reason = error,
                Err(error) => return Err(error),
            }
        }
        let missing = list.missing().map(|product| (product, reason));
        let had: Vec<Product> = list.had().collect();
        let markets = list.joined(last.map(|kept| kept.markets.as_ref()));
        if markets.is_empty() {
            return Err("the exchange lists no markets at all".to_owned());
        }
        info!(markets = markets.len(), "fetched the exchange's markets");
        if let Some((product, reason)) = &missing {
            info!(?product, reason, "without those that are listed at another address");
        }
        dccd_history::keep_markets(&self.path, &markets, &had, last);
        Ok(Fetched { markets, missing })
    }

    async fn part(&self, request: &RestRequest, patience: Duration) -> Result<bytes::Bytes, String> {
        match tokio::time::timeout(patience, self.rest.get(request, Priority::Live)).await {
            Ok(Ok(response)) => Ok(response.body),
            Ok(Err(error)) => Err(chain(&error)),
            Err(_) => Err(format!("no answer within {patience:?}")),
        }
    }
}

/// When the list is renewed. Keeps time by what it is told.
struct Schedule {
    /// How old it may get.
    every: Duration,
    due: Instant,
    /// The last attempt of this process.
    attempt: Option<Instant>,
    /// Attempts in a row that failed.
    failures: u32,
}

impl Schedule {
    fn new(every: Duration, first: Duration, now: Instant) -> Self {
        Self { every, due: now + first, attempt: None, failures: 0 }
    }

    /// Whether a symbol that is unknown is worth an attempt now.
    fn may_ask(&self, now: Instant) -> bool {
        self.attempt.is_none_or(|at| now.duration_since(at) >= UNKNOWN_EVERY)
    }

    /// An attempt ended; says whether it is the first in a row that failed.
    fn attempted(&mut self, is_whole: bool, is_awaited: bool, now: Instant) -> bool {
        self.attempt = Some(now);
        if is_whole {
            (self.due, self.failures) = (now + self.every, 0);
            return false;
        }
        let longest = if is_awaited { AGAIN.0 } else { AGAIN.1 };
        self.due = now + AGAIN.0.saturating_mul(1 << self.failures.min(6)).min(longest);
        self.failures += 1;
        self.failures == 1
    }
}

/// Where the list is looked up, and renewed.
#[derive(Clone)]
pub(crate) struct Lists {
    /// As the exchange had it last: for those who search, and for what is said of markets.
    pub(crate) newest: watch::Receiver<Arc<Markets>>,
    /// What the sessions know: what was there when the process began, and what was listed since.
    pub(crate) known: watch::Receiver<Arc<Markets>>,
    /// Asks for a renewal; answered when it came to an end, whichever. 16 wait at most; one more makes its sender wait.
    renewals: mpsc::Sender<oneshot::Sender<()>>,
}

impl Lists {
    /// Has the list renewed because it lacks something, and waits so long for it. Nothing happens where that was done just now.
    pub(crate) async fn renew(&self, patience: Duration) {
        let (reply, answer) = oneshot::channel();
        let renewed = async {
            self.renewals.send(reply).await.ok()?;
            answer.await.ok()
        };
        // Whoever asked goes on with what there is.
        let _ = tokio::time::timeout(patience, renewed).await;
    }
}

/// What begins with a list and keeps it up to date.
pub(crate) struct Beginning {
    pub(crate) asking: Asking,
    pub(crate) markets: Arc<Markets>,
    /// When it is renewed for the first time.
    pub(crate) renew_in: Duration,
}

/// The task that renews the list.
pub(crate) struct Lister {
    asking: Asking,
    schedule: Schedule,
    /// What the configuration wants.
    wanted: watch::Receiver<Vec<Symbol>>,
    newest: watch::Sender<Arc<Markets>>,
    known: watch::Sender<Arc<Markets>>,
    renewals: mpsc::Receiver<oneshot::Sender<()>>,
    shared: Arc<Shared>,
}

impl Lister {
    /// One that begins with this list, and where it can be looked up.
    pub(crate) fn new(
        beginning: Beginning,
        every: Duration,
        wanted: watch::Receiver<Vec<Symbol>>,
        shared: Arc<Shared>,
    ) -> (Self, Lists) {
        let Beginning { asking, markets, renew_in } = beginning;
        let schedule = Schedule::new(every, renew_in, Instant::now());
        let (newest, newest_seen) = watch::channel(markets.clone());
        let (known, known_seen) = watch::channel(markets);
        let (renewals, renewals_asked) = mpsc::channel(16);
        let lists = Lists { newest: newest_seen, known: known_seen, renewals };
        (Self { asking, schedule, wanted, newest, known, renewals: renewals_asked, shared }, lists)
    }

    /// Renews the list when it is due or asked for, until nobody can ask any more. That it ends changes nothing for the others.
    pub(crate) async fn run(mut self, hot: mpsc::Sender<Command>, recorder: std::sync::mpsc::SyncSender<RecorderCommand>) {
        loop {
            let asked = tokio::select! {
                () = tokio::time::sleep_until(self.schedule.due) => None,
                asked = self.renewals.recv() => {
                    let Some(asked) = asked else { return };
                    Some(asked)
                }
            };
            if asked.is_none() || self.schedule.may_ask(Instant::now()) {
                self.renew(&hot, &recorder).await;
            }
            if let Some(asked) = asked {
                let _ = asked.send(()); // who has given up waiting needs no answer
            }
        }
    }

    async fn renew(&mut self, hot: &mpsc::Sender<Command>, recorder: &std::sync::mpsc::SyncSender<RecorderCommand>) {
        let last = dccd_history::kept_markets(&self.asking.path);
        let (is_whole, reason) = match self.asking.fetch(PATIENCE, last.as_ref()).await {
            Ok(Fetched { markets, missing }) => {
                let missing = missing.filter(|(product, _)| self.is_needed(*product));
                let learnt = self.take(markets, hot, recorder).await;
                let busy = || "the recorder is busy".to_owned();
                (learnt && missing.is_none(), missing.map_or_else(busy, |(_, reason)| reason))
            }
            Err(reason) => (false, reason),
        };
        let is_awaited = {
            let newest = self.newest.borrow();
            self.wanted.borrow().iter().any(|symbol| newest.by_symbol(symbol).is_none())
        };
        if self.schedule.attempted(is_whole, is_awaited, Instant::now()) {
            warn!(reason, "the exchange's markets could not be renewed; those of last time are used meanwhile");
        }
        if is_whole {
            self.shared.set_trouble(Part::Markets, self.contradiction());
        }
    }

    /// What the exchange says otherwise by now of what is wanted. Nobody can say since when: amounts of contracts whose size has changed
    /// are wrong from that moment on, and a person must look at it.
    fn contradiction(&self) -> Option<String> {
        let (known, newest) = (self.known.borrow().clone(), self.newest.borrow().clone());
        let mut wanted = self.wanted.borrow().clone();
        wanted.sort_unstable();
        let words = wanted.iter().find_map(|symbol| known.contradiction(symbol, &newest))?;
        let service = self.asking.adapter.name();
        let trouble = format!(
            "the exchange has changed a market; {words}; what is recorded since may be wrong until `dccd restart datad.{service}`"
        );
        tracing::error!(trouble, "a market is another than the one that is collected");
        Some(trouble)
    }

    fn is_needed(&self, product: Product) -> bool {
        self.wanted.borrow().iter().any(|symbol| self.asking.adapter.rest_of(symbol) == product)
    }

    /// Shows the new list, says what has become of what is wanted, and lets the sessions learn of what is new; says whether they could.
    async fn take(
        &self,
        markets: Markets,
        hot: &mpsc::Sender<Command>,
        recorder: &std::sync::mpsc::SyncSender<RecorderCommand>,
    ) -> bool {
        let markets = Arc::new(markets);
        let before = self.newest.send_replace(markets.clone());
        let mut wanted = self.wanted.borrow().clone();
        wanted.sort_unstable();
        wanted.dedup();
        for symbol in &wanted {
            match (before.objection(symbol), markets.objection(symbol)) {
                (old, new) if old == new => {}
                (_, Some(objection)) => warn!(%symbol, objection, "the exchange doesn't trade this market any more"),
                (_, None) => info!(%symbol, "the exchange trades this market now"),
            }
        }
        let known = self.known.borrow().clone();
        let Some(grown) = known.grown(&markets) else { return true };
        let (new, grown) = (grown.len() - known.len(), Arc::new(grown));
        // The recorder first: it must know what a feed is about before it reads in the journal that it was opened.
        let (reply, learnt) = oneshot::channel();
        let told = RecorderCommand::MarketsGrew { markets: grown.clone(), reply };
        if recorder.try_send(told).is_err() || !matches!(tokio::time::timeout(RECORDER_PATIENCE, learnt).await, Ok(Ok(()))) {
            return false;
        }
        self.known.send_replace(grown.clone());
        info!(new, "the exchange has listed new markets");
        // Fails only when the hot thread is gone, and the process with it.
        let _ = hot.send(Command::MarketsGrew { markets: grown }).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_list_is_renewed_daily_sooner_where_that_failed_and_for_unknown_symbols_once_a_minute() {
        let begin = Instant::now();
        let day = s(86_400);
        let mut schedule = Schedule::new(day, s(100), begin);
        assert_eq!(schedule.due, begin + s(100));
        assert!(schedule.may_ask(begin));
        assert!(!schedule.attempted(true, false, begin + s(100)));
        assert_eq!(schedule.due, begin + s(100) + day);
        assert!(!schedule.may_ask(begin + s(159)) && schedule.may_ask(begin + s(160)));
        let mut pauses = Vec::new();
        for n in 0..8 {
            let now = begin + s(1_000 * (n + 1));
            assert_eq!(schedule.attempted(false, false, now), n == 0, "said once");
            pauses.push((schedule.due - now).as_secs());
        }
        assert_eq!(pauses, [30, 60, 120, 240, 480, 960, 1_800, 1_800]);
        schedule.attempted(false, true, begin);
        assert_eq!(schedule.due, begin + s(30), "somebody waits for it");
        assert!(!schedule.attempted(true, true, begin) && schedule.attempted(false, false, begin));
    }
}
