//! The feeds that the configuration wants recorded: opened, tried again, and what is wrong with them.

use std::collections::HashSet;
use std::sync::{MutexGuard, PoisonError};

use dccd_model::{Channel, Symbol};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info};

use super::{HOT_QUEUE, Parts};
use crate::error::chain;
use crate::hot::Command;
use crate::recorder::Stored;
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
        feeds = self.tell_ends(commands, feeds).await;
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

    pub(super) fn unread(&self) -> MutexGuard<'_, HashSet<(Symbol, Channel)>> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads where those of the feeds end that have files of which the journal says nothing, and tells the hot thread. Gives back those that
    /// may be opened: one that can't be looked for would begin behind a hole that nothing tells of.
    async fn tell_ends(
        &self,
        commands: &mpsc::Sender<Command>,
        mut feeds: Vec<(Symbol, Channel)>,
    ) -> Vec<(Symbol, Channel)> {
        let unread: Vec<_> = {
            let unread = self.unread();
            feeds.iter().filter(|feed| unread.contains(feed)).cloned().collect()
        };
        if unread.is_empty() {
            return feeds;
        }
        let mut ends = Stored::new();
        for (symbol, channel) in unread {
            let (data_path, exchange, of) = (self.options.data_path.clone(), self.options.exchange.clone(), symbol.clone());
            let read = move || dccd_store::series_end(&data_path, &exchange, &of, channel).map_err(|error| chain(&error));
            match tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string()).flatten() {
                Ok(end) => {
                    let feed = (symbol, channel);
                    self.unread().remove(&feed);
                    ends.extend(end.map(|end| (feed, end)));
                }
                Err(reason) => self.note_job(&symbol, channel, Some(reason)),
            }
        }
        // Fails only when the hot thread is gone, which is reported elsewhere.
        let _ = commands.send(Command::Stored { ends }).await;
        let unread = self.unread();
        feeds.retain(|feed| !unread.contains(feed));
        feeds
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
