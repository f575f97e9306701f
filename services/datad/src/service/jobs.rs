//! The feeds that the configuration wants recorded: opened, tried again, and what is wrong with them.

use std::sync::{MutexGuard, PoisonError};

use dccd_model::{Channel, Symbol};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info};

use super::{HOT_QUEUE, Parts};
use crate::hot::Command;
use crate::rpc::ConfiguredFeed;

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
