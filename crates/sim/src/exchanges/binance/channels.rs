//! From what the market does to frames: trades and quotes at once, diffs and partial books each 100 ms, candles by the second.

use super::render::{self, TimeUnit};
use super::streams::{PARTIAL_LEVELS, kind};
use super::{Binance, COMBINED, unit};
use crate::clock::now_us;
use crate::hub::Core;
use crate::market::book::Pace;
use crate::market::engine::Event;
use crate::market::interval::{INTERVALS, Interval};

impl Binance {
    /// Sends what `write` writes to all who subscribed to a stream.
    fn publish(&self, core: &mut Core, stream: usize, id: u64, write: impl Fn(&mut Vec<u8>, TimeUnit)) {
        core.publish(stream, id, |out, form| {
            let is_combined = form & COMBINED != 0;
            if is_combined {
                out.extend_from_slice(&self.prefixes[stream]);
            }
            write(out, unit(form));
            if is_combined {
                out.push(b'}');
            }
        });
    }

    /// Sends trades and quotes at once.
    pub(super) fn emit(&self, core: &mut Core, place: usize, events: &[Event], now: i64) {
        let base = self.firsts[place];
        for event in events {
            let kind = match event {
                Event::Trade(_) => kind::TRADE,
                Event::Agg(_) => kind::AGG_TRADE,
                Event::Quote(_) => kind::BOOK_TICKER,
            };
            if core.subs[base + kind].is_empty() {
                continue;
            }
            // Borrowed apart from the rest: `publish` takes all of `core`.
            let id = std::mem::take(&mut core.symbols[place].spec.id);
            match event {
                Event::Trade(row) => {
                    self.publish(core, base + kind, row.id, |out, unit| render::trade(out, &id, row, now, unit));
                }
                Event::Agg(row) => {
                    self.publish(core, base + kind, row.id, |out, unit| render::agg_trade(out, &id, row, now, unit));
                }
                Event::Quote(quote) => {
                    self.publish(core, base + kind, quote.update_id, |out, _| render::book_ticker(out, &id, quote));
                }
            }
            core.symbols[place].spec.id = id;
        }
    }

    /// Ends a diff interval of a symbol.
    pub(super) fn depth_diff(&self, core: &mut Core, place: usize, pace: Pace) {
        let state = &mut core.symbols[place];
        let Some((ids, changed)) = state.book.take_diff(pace, &state.spec) else { return };
        let kind = if pace == Pace::Fast { kind::DEPTH_FAST } else { kind::DEPTH_SLOW };
        let id = state.spec.id.clone();
        let now = now_us();
        self.publish(core, self.firsts[place] + kind, ids.1, |out, unit| {
            render::depth_update(out, &id, ids, &changed, now, unit)
        });
    }

    pub(super) fn partial_books(&self, core: &mut Core, place: usize, pace: Pace) {
        for (i, levels) in PARTIAL_LEVELS.into_iter().enumerate() {
            let stream = self.firsts[place] + kind::PARTIAL + i;
            if (i % 2 == 0) == (pace == Pace::Fast) && !core.subs[stream].is_empty() {
                let ladder = core.symbols[place].ladder(levels);
                let update_id = core.symbols[place].book.update_id();
                self.publish(core, stream, update_id, |out, _| render::depth(out, update_id, &ladder));
            }
        }
    }

    /// Candle streams: the one-second candle each second, the others each two; a candle that ended is sent once more, closed.
    pub(super) fn klines(&self, core: &mut Core, place: usize, all: bool) {
        for (i, (label, interval)) in INTERVALS.into_iter().enumerate() {
            let stream = self.firsts[place] + kind::KLINE + i;
            if core.subs[stream].is_empty() {
                self.kline_open.borrow_mut()[stream] = 0;
                continue;
            }
            let now = now_us();
            let open = interval.open(now);
            let before = std::mem::replace(&mut self.kline_open.borrow_mut()[stream], open);
            if before != 0 && before != open {
                self.kline(core, (stream, place), label, (interval, before), true, now);
            }
            if all || i == 0 || before != open {
                self.kline(core, (stream, place), label, (interval, open), false, now);
            }
        }
    }

    fn kline(
        &self,
        core: &mut Core,
        (stream, place): (usize, usize),
        label: &str,
        (interval, open): (Interval, i64),
        closed: bool,
        now: i64,
    ) {
        let state = &core.symbols[place];
        let Some((span, bar)) = state.history.bar_at(interval, open) else { return };
        let id = state.spec.id.clone();
        let kline = render::Kline { id: &id, interval: label, span, bar, closed };
        self.publish(core, stream, bar.last_id, |out, unit| render::kline(out, &kline, now, unit));
    }
}
