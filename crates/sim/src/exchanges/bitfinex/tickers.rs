//! The ticker: best prices, what the best levels offer, and the last day.

use super::Bitfinex;
use super::book::View;
use super::render::{self, Ticker};
use super::streams::Channel;
use crate::deep::minute::MINUTE_US;
use crate::hub::Core;
use crate::market::history::Bar;

const DAY_US: i64 = 1_440 * MINUTE_US;
/// Levels a side that sizes are summed up of.
const SUMMED: usize = 25;

/// Figures that would be dear to make anew each time: they stand until the next minute begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Day {
    minute_us: i64,
    /// The day before it.
    bar: Bar,
}

impl Bitfinex {
    /// The figures of a ticker.
    pub(super) fn ticker(&self, core: &Core, place: usize, now_us: i64) -> Option<Ticker> {
        let tape = self.tape(core, place)?;
        let minute_us = now_us.div_euclid(MINUTE_US) * MINUTE_US;
        let next_us = minute_us + MINUTE_US;
        let live = &mut self.live.borrow_mut()[place];
        let known = live.day.filter(|day| day.minute_us == minute_us);
        let day = *live.day.insert(known.unwrap_or_else(|| {
            let from_us = next_us - DAY_US;
            Day { minute_us, bar: tape.bars(from_us, minute_us - 1).whole(from_us, minute_us) }
        }));
        let mut bar = day.bar;
        bar.add(&tape.bars(minute_us, now_us).whole(minute_us, next_us));
        let view = View::of(&live.orders, &core.symbols[place].spec, 0, SUMMED);
        let best = |side: &[super::book::Row]| side.first().map_or(0, |row| row.price);
        Some(Ticker {
            bid: best(&view.bids),
            bid_size: View::offered(&view.bids),
            ask: best(&view.asks),
            ask_size: View::offered(&view.asks),
            last: tape.last(now_us).0,
            day: bar,
        })
    }

    /// The ticker's message without its ends.
    pub(super) fn ticker_body(&self, core: &Core, place: usize, now_us: i64) -> Option<Vec<u8>> {
        let mut body = vec![b'['];
        render::ticker(&mut body, &self.ticker(core, place, now_us)?);
        if self.options.appended {
            body.extend_from_slice(b",null");
        }
        body.push(b']');
        Some(body)
    }

    /// Tells the ticker where it has changed.
    pub(super) fn tell_ticker(&self, core: &mut Core, place: usize, now_us: i64) {
        let stream = Channel::Ticker.index(place);
        if core.subs[stream].is_empty() {
            return;
        }
        let Some(body) = self.ticker_body(core, place, now_us) else { return };
        if self.live.borrow()[place].ticker != body {
            self.publish(core, stream, core.symbols[place].book.update_id(), &body, now_us);
            self.live.borrow_mut()[place].ticker = body;
        }
    }
}
