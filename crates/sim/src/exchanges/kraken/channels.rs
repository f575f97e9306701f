//! From what the market does to frames: each step is told at once, on every channel that somebody listens to.

use std::rc::Rc;

use dccd_model::BookSide;

use super::book::{View, checksum};
use super::rest::quotes::{DAY_US, since};
use super::rest::tables::{average, is_market};
use super::streams::{Channel, DEPTHS, INTERVALS, KINDS};
use super::{Kraken, render};
use crate::deep::minute::MINUTE_US;
use crate::deep::tape::Tape;
use crate::hub::Core;
use crate::market::engine::Event;
use crate::market::history::{Bar, TradeRow};
use crate::market::interval::Interval;
use crate::ws::queue::Conn;

/// Trades in a snapshot.
const TRADES_SHOWN: usize = 50;
/// Intervals that a snapshot of candles reaches back; those without a trade are left out of it.
const CANDLES_SHOWN: i64 = 12;

/// What subscribers of one market have before them, and figures that would be dear to make anew each time.
#[derive(Default)]
pub(super) struct Live {
    /// The book at each depth; none where nobody listens.
    views: [Option<View>; DEPTHS.len()],
    /// The minute, and all that was traded in the day before it.
    day: Option<(i64, Bar)>,
    /// The deep past's part of each open candle, and when that opened.
    parts: [Option<(i64, Bar)>; INTERVALS.len()],
}

impl Kraken {
    fn index(&self, channel: Channel, place: usize) -> usize {
        channel.index(place, self.pairs.len())
    }

    /// Tells what a step brought about.
    pub(super) fn tell(&self, core: &mut Core, place: usize, events: &[Event], now_us: i64) {
        let touched = core.symbols[place].book.take_touched();
        let base = place * KINDS;
        if core.subs[base..base + KINDS].iter().all(Vec::is_empty) {
            self.live.borrow_mut()[place].views = Default::default();
            return;
        }
        let rows =
            self.rows(core, place, events.iter().filter_map(|e| if let Event::Trade(row) = e { Some(*row) } else { None }));
        if let Some((last, _)) = rows.last() {
            let pair = &self.pairs[place];
            let id = last.id;
            let stream = self.index(Channel::Trade, place);
            core.publish(stream, id, |out, _| render::trades(out, pair, false, &rows));
            self.tell_ticker(core, place, false, id, now_us);
            self.tell_candles(core, place, id, now_us);
        }
        self.tell_books(core, place, &touched, now_us);
        if events.iter().any(|e| matches!(e, Event::Quote(_))) {
            let id = core.symbols[place].book.update_id();
            self.tell_ticker(core, place, true, id, now_us);
        }
    }

    /// Trades, each with whether its taker's order was a market order.
    fn rows(&self, core: &Core, place: usize, rows: impl Iterator<Item = TradeRow>) -> Vec<(TradeRow, bool)> {
        let tape = self.tape(core, place);
        rows.map(|row| (row, tape.is_some_and(|tape| is_market(tape.past, &row)))).collect()
    }

    fn tell_books(&self, core: &mut Core, place: usize, touched: &[(BookSide, i64)], now_us: i64) {
        let mut live = self.live.borrow_mut();
        for (depth, view) in live[place].views.iter_mut().enumerate() {
            let stream = self.index(Channel::Book(depth), place);
            if core.subs[stream].is_empty() {
                *view = None;
                continue;
            }
            let Some(view) = view else { continue };
            let (pair, state) = (&self.pairs[place], &core.symbols[place]);
            let changes = view.follow(&state.book, touched);
            if changes.is_empty() {
                continue;
            }
            let (ladder, sum) = (changes.ladder(&state.spec), view.checksum(&state.spec, pair.digits));
            let id = state.book.update_id();
            core.publish(stream, id, |out, _| render::book(out, pair, false, &ladder, sum, now_us));
        }
    }

    fn tell_ticker(&self, core: &mut Core, place: usize, bbo: bool, id: u64, now_us: i64) {
        let stream = self.index(Channel::Ticker { bbo }, place);
        if core.subs[stream].is_empty() {
            return;
        }
        let Some(ticker) = self.ticker(core, place, now_us) else { return };
        let pair = &self.pairs[place];
        core.publish(stream, id, |out, _| render::ticker(out, pair, false, &ticker, now_us));
    }

    fn tell_candles(&self, core: &mut Core, place: usize, id: u64, now_us: i64) {
        for (at, minutes) in INTERVALS.into_iter().enumerate() {
            let stream = self.index(Channel::Ohlc(at), place);
            if core.subs[stream].is_empty() {
                continue;
            }
            let Some(bar) = self.open_candle(core, place, at, now_us) else { continue };
            let (pair, vwap) = (&self.pairs[place], average(bar.quote_volume, bar.volume));
            core.publish(stream, id, |out, _| render::candles(out, pair, false, minutes, &[(bar, vwap)], now_us));
        }
    }

    /// The figures of a ticker.
    fn ticker(&self, core: &Core, place: usize, now_us: i64) -> Option<render::Ticker> {
        let tape = self.tape(core, place)?;
        let minute_us = now_us.div_euclid(MINUTE_US) * MINUTE_US;
        let mut live = self.live.borrow_mut();
        let known = live[place].day.filter(|(minute, _)| *minute == minute_us);
        let (_, mut day) = *live[place].day.insert(known.unwrap_or_else(|| {
            // All but the open minute stands as it is until the next one begins.
            (minute_us, since(tape, minute_us - DAY_US + MINUTE_US, minute_us - 1))
        }));
        day.add(&since(tape, minute_us, now_us));
        let last = tape.last(now_us).0;
        Some(render::Ticker { quote: core.symbols[place].quote(), last, day, vwap: average(day.quote_volume, day.volume) })
    }

    /// The open candle of the interval at this place, if anything was traded in it.
    fn open_candle(&self, core: &Core, place: usize, at: usize, now_us: i64) -> Option<Bar> {
        let tape = self.tape(core, place)?;
        let interval = Interval::Minutes(INTERVALS[at]);
        let open_us = interval.open(now_us);
        let next_us = interval.next(open_us);
        let bar = if now_us < tape.until_us {
            // The past goes on: nothing of it stands still.
            whole(tape, open_us, next_us, now_us)
        } else {
            let mut live = self.live.borrow_mut();
            let part = &mut live[place].parts[at];
            let known = part.filter(|(open, _)| *open == open_us);
            let (_, mut bar) = *part.insert(known.unwrap_or_else(|| {
                let past = Tape { live: &Default::default(), ..tape };
                (open_us, whole(past, open_us, next_us, now_us))
            }));
            bar.add(&tape.live.traded(open_us, next_us));
            bar
        };
        (bar.trades > 0).then_some(bar)
    }

    /// Sends a new subscriber what there is.
    pub(super) fn show(&self, core: &mut Core, conn: &Rc<Conn>, channel: Channel, place: usize, now_us: i64) {
        let mut text = Vec::new();
        let stream = self.index(channel, place);
        let Some(id) = self.snapshot(core, channel, place, now_us, &mut text) else { return };
        core.deliver_text(conn, stream, id, &text);
    }

    /// Makes the book that a new subscriber is to follow, whether it wants to see it or not.
    pub(super) fn follow(&self, core: &Core, depth: usize, place: usize) {
        let mut live = self.live.borrow_mut();
        live[place].views[depth].get_or_insert_with(|| View::of(&core.symbols[place].book, DEPTHS[depth]));
    }

    /// Writes a snapshot; gives the id that the ledger notes of it.
    fn snapshot(&self, core: &mut Core, channel: Channel, place: usize, now_us: i64, out: &mut Vec<u8>) -> Option<u64> {
        if channel == Channel::Instrument {
            render::instruments(out, &self.pairs);
            return Some(0);
        }
        let pair = &self.pairs[place];
        let mut id = core.symbols[place].book.update_id();
        match channel {
            Channel::Trade => {
                let rows = self.tape(core, place)?.newest(TRADES_SHOWN, now_us);
                id = rows.last()?.id;
                render::trades(out, pair, true, &self.rows(core, place, rows.into_iter()));
            }
            Channel::Ticker { .. } => render::ticker(out, pair, true, &self.ticker(core, place, now_us)?, now_us),
            Channel::Book(depth) => {
                let is_stale = core.faults.stales_snapshot(&pair.symbol);
                let (state, live) = (&core.symbols[place], self.live.borrow());
                let view = live[place].views[depth].as_ref()?;
                let (ladder, sum) = if is_stale {
                    let (first_id, mut ladder) = core.first_books[place].clone();
                    id = first_id;
                    ladder.bids.truncate(DEPTHS[depth]);
                    ladder.asks.truncate(DEPTHS[depth]);
                    let sum = checksum(ladder.asks.iter().copied(), ladder.bids.iter().copied(), pair.digits);
                    (ladder, sum)
                } else {
                    (view.ladder(&state.spec), view.checksum(&state.spec, pair.digits))
                };
                render::book(out, pair, true, &ladder, sum, now_us);
            }
            Channel::Ohlc(at) => {
                let tape = self.tape(core, place)?;
                let width_us = INTERVALS[at] * MINUTE_US;
                let open_us = Interval::Minutes(INTERVALS[at]).open(now_us);
                let first_us = open_us - CANDLES_SHOWN * width_us;
                let mut bars = tape.bars(first_us, now_us);
                let rows = (0..=CANDLES_SHOWN).map(|n| bars.whole(first_us + n * width_us, first_us + (n + 1) * width_us));
                let rows: Vec<_> =
                    rows.filter(|bar| bar.trades > 0).map(|bar| (bar, average(bar.quote_volume, bar.volume))).collect();
                render::candles(out, pair, true, INTERVALS[at], &rows, now_us);
            }
            Channel::Instrument => {}
        }
        Some(id)
    }

    /// Changes the amounts of so many of the best levels, of which nobody hears.
    pub(super) fn change_unheard(&self, core: &mut Core, place: usize, count: u64) -> String {
        let book = &mut core.symbols[place].book;
        for n in 0..count {
            let side = if n % 2 == 0 { BookSide::Bid } else { BookSide::Ask };
            let nth = usize::try_from(n / 2 % 10).unwrap_or(0);
            let levels = book.side(side).iter();
            let level = if side == BookSide::Bid { levels.rev().nth(nth) } else { levels.clone().nth(nth) };
            if let Some((tick, lots)) = level.map(|(tick, lots)| (*tick, *lots)) {
                book.put(side, tick, lots + 1);
            }
        }
        let mut live = self.live.borrow_mut();
        for (view, depth) in live[place].views.iter_mut().zip(DEPTHS) {
            if view.is_some() {
                *view = Some(View::of(&core.symbols[place].book, depth));
            }
        }
        format!("{count} of the best levels of {} changed and nobody was told", self.pairs[place].symbol)
    }
}

fn whole(tape: Tape<'_>, open_us: i64, next_us: i64, now_us: i64) -> Bar {
    tape.bars(open_us, now_us).whole(open_us, next_us)
}
