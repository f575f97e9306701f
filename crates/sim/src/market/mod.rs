//! The market behind the exchange: books, trades and candles per symbol. No I/O and no clock; times are handed in.
//!
//! Prices and amounts are whole hundred-millionths (`e8`) at this module's edge, ticks and lots inside the book.

pub(crate) mod book;
pub(crate) mod engine;
pub(crate) mod history;
pub(crate) mod interval;
pub(crate) mod spec;
pub(crate) mod view;

use book::Book;
use engine::Engine;
use history::History;
use spec::Spec;

/// The best bid and ask, `e8`; zero where a side is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quote {
    pub update_id: u64,
    pub bid: i64,
    pub bid_amount: i64,
    pub ask: i64,
    pub ask_amount: i64,
}

/// Price levels with their amounts, `e8`, each side best first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ladder {
    pub bids: Vec<(i64, i64)>,
    pub asks: Vec<(i64, i64)>,
}

/// What the exchange holds of one symbol.
pub(crate) struct SymbolState {
    pub spec: Spec,
    pub book: Book,
    pub history: History,
    /// Invents what happens; absent in replay.
    pub engine: Option<Engine>,
}

impl SymbolState {
    /// The best `limit` levels a side.
    pub(crate) fn ladder(&self, limit: usize) -> Ladder {
        self.book.ladder(limit, &self.spec)
    }

    /// The best bid and ask.
    pub(crate) fn quote(&self) -> Quote {
        self.book.quote(&self.spec)
    }

    /// One step of the invented market; what became of it is appended to `events`.
    pub(crate) fn step(&mut self, trade: bool, now_us: i64, events: &mut Vec<engine::Event>) {
        if let Some(engine) = &mut self.engine {
            let (spec, book, history) = (&self.spec, &mut self.book, &mut self.history);
            engine.step(trade, &mut engine::Scene { now_us, spec, book, history, events });
        }
    }
}
