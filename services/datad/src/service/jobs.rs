//! The feeds that the configuration wants recorded: opened, tried again, and what is wrong with them.

use std::collections::{HashSet, VecDeque};
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dccd_model::{Channel, SeriesEnd, Symbol};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info};

use super::{HOT_QUEUE, Parts};
use crate::error::chain;
use crate::hot::Command;
use crate::recorder::Stored;
use crate::rpc::ConfiguredFeed;

/// Ends of series are read for so long before feeds are opened whose ends are known.
const READING_TIME: Duration = Duration::from_secs(1);

impl Parts<'_> {
    /// Opens what the configuration wants recorded.
    pub(super) async fn open_configured(&self, commands: &mpsc::Sender<Command>) {
        let wanted = |job: &&ConfiguredFeed| !job.paused;
        let feeds = self.jobs().iter().filter(wanted).map(|job| (job.symbol.clone(), job.channel)).collect();
        self.open_jobs(commands, feeds).await;
        // Fails only when the hot thread is gone, which is reported elsewhere.
        let _ = commands.send(Command::ConfiguredOpen).await;
    }

    pub(super) fn jobs(&self) -> MutexGuard<'_, Vec<ConfiguredFeed>> {
        self.server.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the feeds of jobs, asked for one behind the other so that they are subscribed together, and notes which could not be opened.
    pub(super) async fn open_jobs(&self, commands: &mpsc::Sender<Command>, mut feeds: Vec<(Symbol, Channel)>) {
        // Trades first: whether they are recorded is known before candles are built from them.
        feeds.sort_by_key(|(_, channel)| *channel == Channel::Ohlc);
        let mut waiting = VecDeque::from(feeds);
        while !waiting.is_empty() {
            let ready = self.tell_ends(commands, &mut waiting).await;
            self.open_ready(commands, ready).await;
        }
    }

    async fn open_ready(&self, commands: &mpsc::Sender<Command>, feeds: Vec<(Symbol, Channel)>) {
        let (asked, mut answers) = mpsc::channel(HOT_QUEUE);
        let ask = async move {
            for (symbol, channel) in feeds {
                let (reply, answer) = oneshot::channel();
                let command = Command::OpenFeed { symbol: symbol.clone(), channel, configured: true, reply };
                if commands.send(command).await.is_err() || asked.send((symbol, channel, answer)).await.is_err() {
                    return; // the hot thread is gone, and `until_shutdown` reports it
                }
            }
        };
        let note = async move {
            while let Some((symbol, channel, answer)) = answers.recv().await {
                let Ok(result) = answer.await else { return };
                self.note_job(&symbol, channel, result.err());
            }
        };
        tokio::join!(ask, note);
    }

    pub(super) fn unread(&self) -> MutexGuard<'_, HashSet<(Symbol, Channel)>> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is still to be read where one of the configuration's feeds ends.
    pub(super) fn is_unread(&self) -> bool {
        let unread = self.unread();
        self.options.feeds.iter().any(|feed| unread.contains(feed))
    }

    /// Takes feeds that may be opened now: of those that have files of which the journal says nothing the hot thread is told first where
    /// these end. Reading goes on for a short time only, since what isn't open isn't recorded. One that can't be looked for is left out:
    /// it would begin behind a hole that nothing tells of.
    async fn tell_ends(
        &self,
        commands: &mpsc::Sender<Command>,
        waiting: &mut VecDeque<(Symbol, Channel)>,
    ) -> Vec<(Symbol, Channel)> {
        let (begun, mut ends, mut ready) = (Instant::now(), Stored::new(), Vec::new());
        while begun.elapsed() < READING_TIME
            && let Some(feed) = waiting.pop_front()
        {
            if self.unread().contains(&feed) {
                match self.read_end(feed.clone()).await {
                    Ok(end) => ends.extend(end.map(|end| (feed.clone(), end))),
                    Err(reason) => {
                        self.note_job(&feed.0, feed.1, Some(reason));
                        continue;
                    }
                }
                self.unread().remove(&feed);
            }
            ready.push(feed);
        }
        if !ends.is_empty() {
            // Fails only when the hot thread is gone, which is reported elsewhere.
            let _ = commands.send(Command::Stored { ends }).await;
        }
        ready
    }

    async fn read_end(&self, (symbol, channel): (Symbol, Channel)) -> Result<Option<SeriesEnd>, String> {
        let (data_path, exchange) = (self.options.data_path.clone(), self.options.exchange.clone());
        let read = move || dccd_store::series_end(&data_path, &exchange, &symbol, channel).map_err(|error| chain(&error));
        tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?
    }

    /// Notes why the feed of a job could not be opened, or that it could.
    fn note_job(&self, symbol: &Symbol, channel: Channel, reason: Option<String>) {
        let mut jobs = self.jobs();
        let Some(job) = jobs.iter_mut().find(|job| job.symbol == *symbol && job.channel == channel) else { return };
        if job.error != reason {
            match &reason {
                Some(reason) => error!(%symbol, %channel, reason, "cannot open a feed; everything else goes on"),
                None => info!(%symbol, %channel, "the feed is open now"),
            }
        }
        job.error = reason;
    }

    /// What is wrong with the configuration's feeds, if anything.
    pub(super) fn job_trouble(&self) -> Option<String> {
        let jobs = self.jobs();
        let mut failed = jobs.iter().filter_map(|job| job.error.as_ref());
        let first = failed.next()?;
        Some(match failed.count() {
            0 => format!("a feed cannot be opened: {first}"),
            more => format!("{} feeds cannot be opened, the first because {first}", more + 1),
        })
    }

    /// Tries again what could not be opened: shared memory may have room now.
    pub(super) async fn retry_jobs(&self, commands: &mpsc::Sender<Command>) {
        let failed = {
            let jobs = self.jobs();
            let failed = jobs.iter().filter(|job| job.error.is_some());
            failed.map(|job| (job.symbol.clone(), job.channel)).collect()
        };
        self.open_jobs(commands, failed).await;
    }
}
