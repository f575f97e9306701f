//! The feeds that the configuration wants recorded: opened, tried again, and what is wrong with them.

use dccd_model::Channel;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info};

use super::{HOT_QUEUE, Parts};
use crate::hot::Command;

impl Parts<'_> {
    /// Opens what the configuration wants recorded.
    pub(super) async fn open_configured(&self, commands: &mpsc::Sender<Command>) {
        let mut indices: Vec<usize> = (0..self.options.feeds.len()).collect();
        // Trades first: whether they are recorded is known before candles are built from them.
        indices.sort_by_key(|index| self.options.feeds[*index].1 == Channel::Ohlc);
        self.open_jobs(commands, &indices).await;
        // Fails only when the hot thread is gone, which is reported elsewhere.
        let _ = commands.send(Command::ConfiguredOpen).await;
    }

    /// Opens the feeds of jobs, asked for one behind the other so that they are subscribed together, and notes which could not be opened.
    async fn open_jobs(&self, commands: &mpsc::Sender<Command>, indices: &[usize]) {
        let (asked, mut answers) = mpsc::channel(HOT_QUEUE);
        let ask = async move {
            for index in indices {
                let (symbol, channel) = self.options.feeds[*index].clone();
                let (reply, answer) = oneshot::channel();
                let command = Command::OpenFeed { symbol, channel, configured: true, reply };
                if commands.send(command).await.is_err() || asked.send((*index, answer)).await.is_err() {
                    return; // the hot thread is gone, and `until_shutdown` reports it
                }
            }
        };
        let note = async move {
            while let Some((index, answer)) = answers.recv().await {
                let Ok(result) = answer.await else { return };
                self.note_job(index, result.err());
            }
        };
        tokio::join!(ask, note);
    }

    /// Notes why the feed of a job could not be opened, or that it could.
    fn note_job(&self, index: usize, reason: Option<String>) {
        let (symbol, channel) = &self.options.feeds[index];
        let mut jobs = self.server.jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if jobs[index].error != reason {
            match &reason {
                Some(reason) => error!(%symbol, %channel, reason, "cannot open a feed; everything else goes on"),
                None => info!(%symbol, %channel, "the feed is open now"),
            }
        }
        jobs[index].error = reason;
    }

    /// What is wrong with the configuration's feeds, if anything.
    pub(super) fn job_trouble(&self) -> Option<String> {
        let jobs = self.server.jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut failed = jobs.iter().filter_map(|job| job.error.as_ref());
        let first = failed.next()?;
        Some(match failed.count() {
            0 => format!("a feed cannot be opened: {first}"),
            more => format!("{} feeds cannot be opened, the first because {first}", more + 1),
        })
    }

    /// Tries again what could not be opened: shared memory may have room now.
    pub(super) async fn retry_jobs(&self, commands: &mpsc::Sender<Command>) {
        let failed: Vec<usize> = {
            let jobs = self.server.jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            jobs.iter().enumerate().filter(|(_, job)| job.error.is_some()).map(|(index, _)| index).collect()
        };
        self.open_jobs(commands, &failed).await;
    }
}
