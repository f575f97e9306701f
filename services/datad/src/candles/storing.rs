//! Closed candles on their way from the recorder to the history thread, which writes them: one market at a time, kept until they are
//! stored.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dccd_model::{Channel, Symbol};
use tokio::sync::mpsc;
use tokio::sync::oneshot::{self, error::TryRecvError};
use tracing::error;

use super::{LiveCandles, Window};
use crate::history::{HistoryCommand, Landing};
use crate::shared::{Part, Shared};

/// How long to wait before what could not be stored is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// What was handed on last.
struct UnderWay {
    symbol: Symbol,
    windows: Vec<Window>,
    answer: oneshot::Receiver<Result<u64, String>>,
}

/// Hands candles on.
pub(crate) struct Storing {
    history: mpsc::Sender<HistoryCommand>,
    shared: Arc<Shared>,
    under_way: Option<UnderWay>,
    /// Markets that could not be stored lately: the others come first.
    failed: Vec<Symbol>,
    /// Not before.
    after: Instant,
}

impl Storing {
    /// Nothing is under way.
    pub(crate) fn new(history: mpsc::Sender<HistoryCommand>, shared: Arc<Shared>) -> Self {
        Self { history, shared, under_way: None, failed: Vec::new(), after: Instant::now() }
    }

    /// Takes in what became of those before, and hands on what waits. Never blocks.
    pub(crate) fn turn(&mut self, candles: &mut LiveCandles) {
        if let Some(mut under_way) = self.under_way.take() {
            match under_way.answer.try_recv() {
                Err(TryRecvError::Empty) => {
                    self.under_way = Some(under_way);
                    return;
                }
                Ok(Ok(rows)) => {
                    candles.stored(&under_way.symbol, &under_way.windows);
                    self.failed.retain(|symbol| *symbol != under_way.symbol);
                    if self.failed.is_empty() {
                        self.shared.set_trouble(Part::Candles, None);
                    }
                    self.shared.add_rows((under_way.symbol, Channel::Ohlc), rows, crate::clock::now().0);
                }
                Ok(Err(reason)) => {
                    let symbol = under_way.symbol;
                    if self.shared.set_trouble(Part::Candles, Some(format!("{symbol}: {reason}"))) {
                        error!(%symbol, reason, "live candles could not be stored; they are kept and tried again");
                    }
                    if !self.failed.contains(&symbol) {
                        self.failed.push(symbol);
                    }
                }
                // The history thread ended.
                Err(TryRecvError::Closed) => self.after = Instant::now() + RETRY,
            }
        }
        if Instant::now() < self.after {
            return;
        }
        let others = candles.waiting(&self.failed);
        if others.is_none() {
            // All that is left has failed before: after a while each is tried again.
            self.after = Instant::now() + RETRY;
        }
        let Some((symbol, windows)) = others.or_else(|| candles.waiting(&[])) else {
            self.after = Instant::now();
            return;
        };
        let (symbol, windows): (Symbol, Vec<Window>) = (symbol.clone(), windows.iter().cloned().collect());
        let (reply, answer) = oneshot::channel();
        let landing = Landing { symbol: symbol.clone(), windows: windows.clone(), reply };
        if self.history.try_send(HistoryCommand::Land { landing }).is_ok() {
            self.under_way = Some(UnderWay { symbol, windows, answer });
        } else {
            self.after = Instant::now() + RETRY;
        }
    }
}
