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
    /// Not before.
    after: Instant,
}

impl Storing {
    /// Nothing is under way.
    pub(crate) fn new(history: mpsc::Sender<HistoryCommand>, shared: Arc<Shared>) -> Self {
        Self { history, shared, under_way: None, after: Instant::now() }
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
                    self.shared.add_rows((under_way.symbol, Channel::Ohlc), rows, crate::clock::now().0);
                    self.shared.set_trouble(Part::Candles, None);
                }
                Ok(Err(reason)) => {
                    if self.shared.set_trouble(Part::Candles, Some(reason.clone())) {
                        let symbol = under_way.symbol;
                        error!(%symbol, reason, "live candles could not be stored; they are kept and tried again");
                    }
                    self.after = Instant::now() + RETRY;
                }
                // The history thread ended.
                Err(TryRecvError::Closed) => self.after = Instant::now() + RETRY,
            }
        }
        if Instant::now() < self.after {
            return;
        }
        let Some((symbol, windows)) = candles.waiting() else { return };
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
