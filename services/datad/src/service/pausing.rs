//! Live jobs that are paused: their feeds are closed until somebody resumes them, over restarts, too.

use std::collections::BTreeSet;
use std::path::Path;

use dccd_history::is_meant;
use dccd_model::{Channel, ExchangeName, Symbol};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use super::{Parts, state_dir};
use crate::hot::Command;
use crate::rpc::ConfiguredFeed;

/// Where the names of what is paused stand, as a list.
const FILE: &str = "paused.json";

/// What a live job is called.
pub(super) fn job_name(exchange: &ExchangeName, symbol: &Symbol, channel: Channel) -> String {
    format!("{exchange}/{symbol}/{channel}")
}

/// The names of the paused jobs. A file that can't be read pauses nothing: recording too much loses nothing.
pub(super) fn kept(state_dir: &Path) -> BTreeSet<String> {
    let path = state_dir.join(FILE);
    let Ok(text) = std::fs::read(&path) else { return BTreeSet::new() }; // none has been paused yet
    serde_json::from_slice(&text).unwrap_or_else(|error| {
        warn!(path = %path.display(), %error, "what is paused can't be read; nothing is");
        BTreeSet::new()
    })
}

impl Parts<'_> {
    /// Pauses or resumes the live jobs whose names begin so; gives their names.
    ///
    /// # Errors
    /// When it can't be kept; nothing has changed then.
    pub(super) async fn pause(
        &self,
        prefix: &str,
        paused: bool,
        commands: &mpsc::Sender<Command>,
    ) -> Result<Vec<String>, String> {
        let is_asked_for = |symbol: &Symbol, channel: Channel| is_meant(&self.job_name(symbol, channel), prefix);
        let meant: Vec<ConfiguredFeed> =
            self.jobs().iter().filter(|job| is_asked_for(&job.symbol, job.channel)).cloned().collect();
        // What is paused must stay so when the process dies now; what isn't kept isn't promised.
        self.keep_paused(|job| if is_asked_for(&job.symbol, job.channel) { paused } else { job.paused })?;
        let mut changed: Vec<(Symbol, Channel)> = Vec::new();
        for job in self.jobs().iter_mut().filter(|job| is_asked_for(&job.symbol, job.channel) && job.paused != paused) {
            (job.paused, job.error) = (paused, None);
            changed.push((job.symbol.clone(), job.channel));
        }
        if paused {
            self.release(changed, commands).await;
        } else {
            self.open_jobs(commands, changed).await;
        }
        let names: Vec<String> = meant.iter().map(|job| self.job_name(&job.symbol, job.channel)).collect();
        info!(jobs = names.len(), paused, prefix, "live jobs are paused or resumed");
        Ok(names)
    }

    /// Keeps which of the jobs are paused.
    pub(super) fn keep_paused(&self, is_paused: impl Fn(&ConfiguredFeed) -> bool) -> Result<(), String> {
        let names: BTreeSet<String> = {
            let jobs = self.jobs();
            let paused = jobs.iter().filter(|job| is_paused(job));
            paused.map(|job| self.job_name(&job.symbol, job.channel)).collect()
        };
        let path = state_dir(self.options).join(FILE);
        if names.is_empty() && !path.exists() {
            return Ok(());
        }
        let text = serde_json::to_vec_pretty(&names).map_err(|error| error.to_string())?;
        dccd_store::write_atomically(&path, &text).map_err(|error| crate::error::chain(&error))
    }

    /// Closes feeds that are wanted no more: candles first, that trades may be let go of.
    pub(super) async fn release(&self, mut feeds: Vec<(Symbol, Channel)>, commands: &mpsc::Sender<Command>) {
        feeds.sort_by_key(|(_, channel)| *channel != Channel::Ohlc);
        for (symbol, channel) in feeds {
            let (reply, done) = oneshot::channel();
            let is_told = commands.send(Command::ReleaseFeed { symbol, channel, reply }).await.is_ok();
            if !is_told || done.await.is_err() {
                error!("the hot thread is gone"); // and the process with it
                return;
            }
        }
    }

    fn job_name(&self, symbol: &Symbol, channel: Channel) -> String {
        job_name(&self.options.exchange, symbol, channel)
    }
}
