//! Taking a new configuration in without leaving what goes on: feeds and jobs come and go, the others don't notice.

use std::sync::Arc;
use std::time::Duration;

use dccd_model::{Channel, Symbol};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::{DatadOptions, Parts};
use crate::Patience;
use crate::history::HistoryCommand;
use crate::recorder::RecorderCommand;
use crate::rpc::{ConfiguredFeed, Running};

/// How long the exchange may take to list a market that wasn't listed before.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(10);

/// Reads what the configuration says now; its error says what is wrong with it. It may block, shortly.
pub type Reread = Arc<dyn Fn() -> Result<DatadOptions, String> + Send + Sync>;

impl DatadOptions {
    /// These options without what a running process takes in. Where two differ in the rest, only a new process will do.
    #[must_use]
    pub fn fixed(&self) -> Self {
        let (time_step, journal_keep_bytes, patience) = (Duration::ZERO, 0, Patience::default());
        Self { feeds: Vec::new(), histo: Vec::new(), time_step, journal_keep_bytes, patience, ..self.clone() }
    }
}

impl Parts<'_> {
    /// Reads the configuration anew and takes it in.
    pub(super) async fn reload(&self, told: &mut DatadOptions, running: &Running) -> Result<(), String> {
        let reread = Arc::clone(&self.reread);
        let read = tokio::task::spawn_blocking(move || reread()).await;
        let new = read.map_err(|error| error.to_string())??;
        if told.fixed() != new.fixed() {
            return Err("something is different that only a new process can take in".to_owned());
        }
        let is_asked_for = |symbol: &Symbol| self.listed.contains(&self.adapter.rest_of(symbol));
        if let Some((symbol, _)) = new.feeds.iter().find(|(symbol, _)| !is_asked_for(symbol)) {
            return Err(format!("{symbol} stands on a list of markets that only a new process asks for"));
        }
        let adjust = RecorderCommand::Adjust { time_step: new.time_step, journal_keep_bytes: new.journal_keep_bytes };
        running.recorder.try_send(adjust).map_err(|_| "the recorder is busy".to_owned())?;
        self.wanted.send_replace(super::wanted(&new));
        self.patience.send_replace(new.patience);
        self.take_feeds(&told.feeds, &new.feeds, running).await;
        let (reply, done) = oneshot::channel();
        let command = HistoryCommand::SetJobs { wanted: new.histo.clone(), reply };
        let set = async {
            self.history.commands.send(command).await.ok()?;
            done.await.ok()
        };
        set.await.ok_or_else(|| "the history thread is gone".to_owned())?;
        info!(feeds = new.feeds.len(), jobs = new.histo.len(), "the new configuration is taken in");
        *told = new;
        Ok(())
    }

    /// Closes the feeds that are wanted no more and opens those that are wanted now.
    async fn take_feeds(&self, old: &[(Symbol, Channel)], new: &[(Symbol, Channel)], running: &Running) {
        let added: Vec<_> = new.iter().filter(|feed| !old.contains(feed)).cloned().collect();
        let is_unknown = {
            let known = running.lists.known.borrow();
            added.iter().any(|(symbol, _)| known.by_symbol(symbol).is_none())
        };
        if is_unknown {
            running.lists.renew(RENEWAL_PATIENCE).await;
        }
        {
            let mut jobs = self.jobs();
            let mut known = std::mem::take(&mut *jobs);
            for (symbol, channel) in new {
                let found = known.iter().position(|job| job.symbol == *symbol && job.channel == *channel);
                jobs.push(match found {
                    Some(at) => known.swap_remove(at),
                    None => ConfiguredFeed::new(symbol.clone(), *channel),
                });
            }
        }
        // Else a pause of what has left would come back with it at some later start.
        if let Err(error) = self.keep_paused(|job| job.paused) {
            warn!(error, "what is paused cannot be kept");
        }
        // What comes first: candles that leave may let trades go that others are to be built from.
        self.open_jobs(&running.hot, added).await;
        self.release(old.iter().filter(|feed| !new.contains(feed)).cloned().collect(), &running.hot).await;
    }
}
