//! From what the market does to messages: trades at once, books as often as their depth is told of, tickers and candles by the clock.

use std::collections::VecDeque;
use std::rc::Rc;

use super::book::View;
use super::markets::Category;
use super::render::{Candle, Field, Head, Moved, Numbers};
use super::streams::{DEPTHS, INTERVALS, KINDS, Topic};
use super::tickers::{Before, changed};
use super::{Bybit, render};
use crate::clock::now_us;
use crate::deep::tape::Tape;
use crate::hub::Core;
use crate::market::engine::Event;
use crate::market::history::{Bar, TradeRow};
use crate::ws::queue::Conn;

/// After which a book of one level is told again although it is the same, microseconds.
const TOLD_AGAIN_US: i64 = 3_000_000;
/// Orders whose sequence numbers are kept for REST.
const SEQS_KEPT: usize = 2_000;
/// Candles that are told as closed at once, where the clock jumped.
const CLOSED_AT_ONCE: usize = 3;

/// What is kept of one market.
#[derive(Default)]
pub(super) struct Live {
    /// The book at each depth; none where nobody listens.
    views: [Option<View>; DEPTHS.len()],
    /// The last number of each depth's topic.
    u: [u64; DEPTHS.len()],
    /// When the book last changed, microseconds, and which depths have not been told.
    changed_us: i64,
    untold: [bool; DEPTHS.len()],
    /// The last trade's price, and how it came to it.
    last: Option<(i64, &'static str)>,
    /// The id of the last trade of an order, and the number that its trades share.
    seqs: VecDeque<(u64, u64)>,
    pub(super) before: Option<Before>,
    /// The ticker that subscribers have before them.
    ticker: Vec<Field>,
    ticker_untold: bool,
    /// The open candles that subscribers have before them.
    candles: [Option<Bar>; INTERVALS.len()],
    /// The deep past's part of each open candle.
    parts: [Option<Bar>; INTERVALS.len()],
}

impl Live {
    /// With numbers that begin somewhere.
    pub(super) fn starting_at(u: [u64; DEPTHS.len()]) -> Self {
        Self { u, ..Self::default() }
    }
}

/// How a price moved from the last one.
fn moved(last: Option<(i64, &'static str)>, price: i64) -> &'static str {
    match last {
        Some((before, _)) if price < before => "MinusTick",
        Some((before, way)) if price == before => match way {
            "MinusTick" | "ZeroMinusTick" => "ZeroMinusTick",
            _ => "ZeroPlusTick",
        },
        _ => "PlusTick",
    }
}

impl Bybit {
    pub(super) fn direction(&self, place: usize) -> &'static str {
        self.live.borrow()[place].last.map_or("ZeroPlusTick", |(_, way)| way)
    }

    /// Tells what a step brought about.
    pub(super) fn tell(&self, core: &mut Core, place: usize, events: &[Event], now_us: i64) {
        let is_changed = !core.symbols[place].book.take_touched().is_empty();
        let seq = core.symbols[place].book.update_id();
        let rows = events.iter().filter_map(|e| if let Event::Trade(row) = e { Some(*row) } else { None });
        self.tell_trades(core, place, rows, seq, now_us);
        if is_changed {
            let live = &mut self.live.borrow_mut()[place];
            (live.changed_us, live.untold, live.ticker_untold) = (now_us, [true; DEPTHS.len()], true);
        }
        if core.subs[place * KINDS..(place + 1) * KINDS].iter().any(|subs| !subs.is_empty()) {
            self.tell_books(core, place, now_us);
        }
    }

    fn tell_trades(&self, core: &mut Core, place: usize, rows: impl Iterator<Item = TradeRow>, seq: u64, now_us: i64) {
        let rows: Vec<Moved> = {
            let live = &mut self.live.borrow_mut()[place];
            let mut told = Vec::new();
            for row in rows {
                let way = moved(live.last, row.price);
                live.last = Some((row.price, way));
                told.push((row, way));
            }
            let Some((last, _)) = told.last() else { return };
            if live.seqs.len() == SEQS_KEPT {
                live.seqs.pop_front();
            }
            live.seqs.push_back((last.id, seq));
            told
        };
        let (market, id) = (&self.markets[place], rows.last().map_or(0, |(row, _)| row.id));
        core.publish(Topic::Trades.index(place), market.counted_id(id), |out, _| {
            render::trades(out, market, now_us, &rows, seq);
        });
    }

    /// The number that the order of a trade had. Before the first live one, trades count down by one each.
    pub(super) fn seq_of(&self, core: &Core, place: usize, id: u64) -> u64 {
        let origin = self.origin(core, place);
        let live = &self.live.borrow()[place];
        let at = live.seqs.partition_point(|(last, _)| *last < id);
        match live.seqs.get(at) {
            Some((_, seq)) if id >= origin.0 => *seq,
            _ => (i128::from(origin.1) + i128::from(id) - i128::from(origin.0)).try_into().unwrap_or(0),
        }
    }

    /// Tells of the book at each depth that is due.
    fn tell_books(&self, core: &mut Core, place: usize, now_us: i64) {
        let mut live = self.live.borrow_mut();
        let Live { views, u, changed_us, untold, .. } = &mut live[place];
        for (depth, (_, each_us)) in DEPTHS.into_iter().enumerate() {
            let topic = Topic::Book(depth);
            let stream = topic.index(place);
            if core.subs[stream].is_empty() {
                u[depth] = views[depth].take().map_or(u[depth], |view| view.u);
                continue;
            }
            let Some(view) = &mut views[depth] else { continue };
            let (market, state) = (&self.markets[place], &core.symbols[place]);
            let passed_us = now_us - view.told_us;
            // A clock that was set back must not silence a book.
            let is_due = passed_us >= each_us || passed_us < 0;
            let changes = if untold[depth] && is_due {
                untold[depth] = false;
                view.follow(&state.book, *changed_us, now_us, &state.spec)
            } else {
                None
            };
            let ladder = match changes {
                Some(changes) if depth > 0 => changes,
                // Of one level all messages are snapshots.
                Some(_) => view.ladder(&state.spec),
                None if depth == 0 && passed_us >= TOLD_AGAIN_US => view.ladder(&state.spec),
                None => continue,
            };
            view.told_us = now_us;
            let numbers = Numbers { u: view.u, seq: view.seq, changed_us: view.changed_us };
            let head = Head { is_snapshot: depth == 0, now_us };
            core.publish(stream, view.u, |out, _| render::book(out, topic, market, head, &ladder, numbers));
        }
    }

    /// The book of 1000 levels under its number: what REST gives is what that topic has told.
    pub(super) fn whole_book(&self, core: &Core, place: usize, now_us: i64) -> View {
        let last = DEPTHS.len() - 1;
        let live = &mut self.live.borrow_mut()[place];
        if core.subs[Topic::Book(last).index(place)].is_empty() {
            let told = live.views[last].take().map_or(live.u[last], |view| view.u);
            live.u[last] = told;
        }
        live.views[last].clone().unwrap_or_else(|| {
            live.u[last] += 1;
            View::of(&core.symbols[place].book, DEPTHS[last].0, live.u[last], now_us)
        })
    }

    /// Changes some of a book's levels so that no message tells of it, but that numbers are missing.
    pub(super) fn change_unheard(&self, core: &mut Core, place: usize, count: u64) -> Result<String, String> {
        let state = &mut core.symbols[place];
        let Some(engine) = &mut state.engine else { return Err("there is no market that could change".to_owned()) };
        engine.rearrange(count, &mut state.book);
        state.book.lose(count);
        let live = &mut self.live.borrow_mut()[place];
        let now_us = now_us();
        for (depth, (levels, _)) in DEPTHS.into_iter().enumerate() {
            live.u[depth] += count;
            if let Some(view) = &mut live.views[depth] {
                *view = View::of(&state.book, levels, view.u + count, now_us);
            }
        }
        Ok(format!("{count} numbers of each book of {} will never be told", state.spec.symbol()))
    }

    /// Begins all books of a market at 1, with a snapshot for whoever listens.
    pub(super) fn restart(&self, core: &mut Core, place: usize) -> String {
        let mut live = self.live.borrow_mut();
        let now_us = now_us();
        let mut told = 0;
        for (depth, (levels, _)) in DEPTHS.into_iter().enumerate() {
            live[place].u[depth] = 0;
            let topic = Topic::Book(depth);
            if core.subs[topic.index(place)].is_empty() {
                live[place].views[depth] = None;
                continue;
            }
            let (market, state) = (&self.markets[place], &core.symbols[place]);
            let view = View::of(&state.book, levels, 1, now_us);
            let (ladder, numbers) = (view.ladder(&state.spec), Numbers { u: 1, seq: view.seq, changed_us: view.changed_us });
            live[place].views[depth] = Some(view);
            told += 1;
            let head = Head { is_snapshot: true, now_us };
            core.publish(topic.index(place), 1, |out, _| render::book(out, topic, market, head, &ladder, numbers));
        }
        format!("the books of {} begin at 1, {told} depths told so", core.symbols[place].spec.symbol())
    }

    /// Sends a new subscriber what there is.
    pub(super) fn show(&self, core: &mut Core, conn: &Rc<Conn>, topic: Topic, place: usize) {
        let now_us = now_us();
        let market = &self.markets[place];
        let head = Head { is_snapshot: true, now_us };
        let mut text = Vec::new();
        let id = match topic {
            Topic::Trades => return,
            Topic::Book(depth) => {
                let is_stale = core.faults.stales_snapshot(&core.symbols[place].spec.symbol());
                let (state, levels) = (&core.symbols[place], DEPTHS[depth].0);
                let live = &mut self.live.borrow_mut()[place];
                let next = live.u[depth] + 1;
                let view = live.views[depth].get_or_insert_with(|| View::of(&state.book, levels, next, now_us));
                live.u[depth] = view.u;
                let mut numbers = Numbers { u: view.u, seq: view.seq, changed_us: view.changed_us };
                let mut ladder = view.ladder(&state.spec);
                if is_stale {
                    let (seq, first) = &core.first_books[place];
                    ladder = first.clone();
                    ladder.bids.truncate(levels);
                    ladder.asks.truncate(levels);
                    numbers = Numbers { u: self.first_u(place)[depth], seq: *seq, changed_us: core.began_us };
                }
                render::book(&mut text, topic, market, head, &ladder, numbers);
                numbers.u
            }
            Topic::Tickers => {
                let is_first = core.subs[topic.index(place)].len() < 2;
                if is_first || market.category == Category::Spot {
                    let Some(told) = self.ticker(core, place, now_us) else { return };
                    self.live.borrow_mut()[place].ticker = told;
                }
                let seq = core.symbols[place].book.update_id();
                render::ticker(&mut text, market, head, &self.live.borrow()[place].ticker, seq);
                seq
            }
            Topic::Candles(at) => {
                let Some((bar, next_us)) = self.open_candle(core, place, at, now_us) else { return };
                self.live.borrow_mut()[place].candles[at].get_or_insert(bar);
                render::candles(&mut text, market, at, now_us, &[Candle { bar, next_us, is_closed: false }]);
                0
            }
        };
        core.deliver_text(conn, topic.index(place), id, &text);
    }

    /// Tells what comes by the clock.
    pub(super) fn tick(&self, core: &mut Core, count: u64) {
        let now_us = now_us();
        for place in 0..self.markets.len() {
            if core.subs[place * KINDS..(place + 1) * KINDS].iter().all(Vec::is_empty) {
                continue;
            }
            self.tell_books(core, place, now_us);
            self.tell_ticker(core, place, count, now_us);
            if count.is_multiple_of(10) {
                (0..INTERVALS.len()).for_each(|at| self.tell_candles(core, place, at, now_us));
            }
        }
    }

    fn tell_ticker(&self, core: &mut Core, place: usize, count: u64, now_us: i64) {
        let stream = Topic::Tickers.index(place);
        if core.subs[stream].is_empty() {
            return;
        }
        {
            let live = &mut self.live.borrow_mut()[place];
            // What is drawn by the clock changes without the market.
            if !live.ticker_untold && !count.is_multiple_of(10) {
                return;
            }
            live.ticker_untold = false;
        }
        let Some(now) = self.ticker(core, place, now_us) else { return };
        let (market, seq) = (&self.markets[place], core.symbols[place].book.update_id());
        let before = std::mem::replace(&mut self.live.borrow_mut()[place].ticker, now.clone());
        let is_spot = market.category == Category::Spot;
        let told = if is_spot && now != before { now } else { changed(&before, &now) };
        if !told.is_empty() {
            let head = Head { is_snapshot: is_spot, now_us };
            core.publish(stream, seq, |out, _| render::ticker(out, market, head, &told, seq));
        }
    }

    fn tell_candles(&self, core: &mut Core, place: usize, at: usize, now_us: i64) {
        let stream = Topic::Candles(at).index(place);
        if core.subs[stream].is_empty() {
            self.live.borrow_mut()[place].candles[at] = None;
            return;
        }
        let (Some((open, next_us)), Some(tape)) = (self.open_candle(core, place, at, now_us), self.tape(core, place)) else {
            return;
        };
        let shown = self.live.borrow_mut()[place].candles[at].replace(open);
        let Some(before) = shown else { return };
        if before == open {
            return;
        }
        let interval = INTERVALS[at].1;
        let mut candles = Vec::new();
        let mut at_us = before.open_us;
        while at_us < open.open_us && candles.len() < CLOSED_AT_ONCE {
            let after_us = interval.next(at_us);
            let bar = whole(tape, at_us, after_us, now_us);
            candles.push(Candle { bar, next_us: after_us, is_closed: true });
            at_us = after_us;
        }
        candles.push(Candle { bar: open, next_us, is_closed: false });
        let market = &self.markets[place];
        let at_once = if market.category == Category::Spot { 1 } else { candles.len() };
        for part in candles.chunks(at_once) {
            core.publish(stream, 0, |out, _| render::candles(out, market, at, now_us, part));
        }
    }

    /// The open candle of the interval at this place, and when the next one opens.
    fn open_candle(&self, core: &Core, place: usize, at: usize, now_us: i64) -> Option<(Bar, i64)> {
        let tape = self.tape(core, place)?;
        let interval = INTERVALS[at].1;
        let open_us = interval.open(now_us);
        let next_us = interval.next(open_us);
        if now_us < tape.until_us {
            // The past goes on: nothing of it stands still.
            return Some((whole(tape, open_us, next_us, now_us), next_us));
        }
        let mut live = self.live.borrow_mut();
        let part = &mut live[place].parts[at];
        let known = part.filter(|bar| bar.open_us == open_us);
        let mut bar = *part
            .insert(known.unwrap_or_else(|| whole(Tape { live: &Default::default(), ..tape }, open_us, next_us, now_us)));
        let traded = tape.live.traded(open_us, next_us);
        if traded.trades > 0 {
            bar.add(&traded);
        } else if bar.trades == 0 && traded.close > 0 {
            bar = traded;
        }
        Some((bar, next_us))
    }
}

/// One candle.
fn whole(tape: Tape<'_>, open_us: i64, next_us: i64, now_us: i64) -> Bar {
    tape.bars(open_us, now_us).whole(open_us, next_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_that_stays_keeps_the_way_it_came() {
        let mut last = None;
        let mut ways = Vec::new();
        for price in [5, 5, 4, 4, 6, 6] {
            let way = moved(last, price);
            last = Some((price, way));
            ways.push(way);
        }
        assert_eq!(ways, ["PlusTick", "ZeroPlusTick", "MinusTick", "ZeroMinusTick", "PlusTick", "ZeroPlusTick"]);
    }
}
