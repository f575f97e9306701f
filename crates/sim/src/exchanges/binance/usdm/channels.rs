//! From what a perpetual's market does to frames: trades, quotes and the fastest diffs at once, all else by the clock.

use dccd_model::BookSide;

use super::market::{drawn, next_funding_us};
use super::render::{self, Ids, Kline, Mark};
use super::streams::{CANDLES, DIFFS, PARTIAL_LEVELS, interval, kind};
use super::tickers;
use super::{Market, Usdm};
use crate::clock::now_us;
use crate::exchanges::binance::COMBINED;
use crate::hub::Core;
use crate::market::Ladder;
use crate::market::book::Book;
use crate::market::engine::Event;
use crate::market::interval::Interval;
use crate::market::spec::Spec;

/// What an engine restart skips, in changes of the book.
const RESTART_SKIPS: u64 = 20_000;
/// Levels that change unheard in an engine restart.
const RESTART_CHANGES: u64 = 40;

/// Changes that the diffs of one pace have not told of. Bounded by what happens within their interval.
#[derive(Debug, Default)]
pub(super) struct Untold {
    touched: Vec<(BookSide, i64)>,
    /// The last change that diffs told of, by the book's own count; none before the first.
    told: Option<u64>,
}

impl Untold {
    /// Ends the interval: the changes in it and the levels they touched, or `None` when nothing happened.
    fn take(&mut self, book: &Book, spec: &Spec) -> Option<(Ids, Ladder)> {
        let last = book.update_id();
        let before = self.told.replace(last)?;
        if before == last {
            return None;
        }
        let ladder = book.levels_of(&mut self.touched, spec);
        self.touched.clear();
        Some(((before + 1, last), ladder))
    }

    /// Forgets all that was not told.
    fn skip(&mut self, book: &Book) {
        self.touched.clear();
        self.told = Some(book.update_id());
    }
}

impl Usdm {
    /// Sends what `write` writes to all who subscribed to a stream.
    fn publish(&self, core: &mut Core, stream: usize, id: u64, write: impl Fn(&mut Vec<u8>)) {
        core.publish(stream, id, |out, form| {
            let is_combined = form & COMBINED != 0;
            if is_combined {
                out.extend_from_slice(&self.prefixes[stream]);
            }
            write(out);
            if is_combined {
                out.push(b'}');
            }
        });
    }

    pub(super) fn market(&self, place: usize) -> Option<(&Market, usize)> {
        let (market, first) = self.markets.get(place)?.as_ref()?;
        Some((market, *first))
    }

    /// Sends trades, quotes and the diffs that wait for nothing.
    pub(in crate::exchanges::binance) fn emit(&self, core: &mut Core, place: usize, events: &[Event], now: i64) {
        let Some((market, first)) = self.market(place) else { return };
        for event in events {
            match event {
                Event::Trade(row) => {
                    self.publish(core, first + kind::TRADE, row.id, |out| render::trade(out, market, row, now));
                }
                Event::Agg(row) => {
                    self.publish(core, first + kind::AGG_TRADE, row.id, |out| render::agg_trade(out, market, row, now));
                }
                Event::Quote(quote) => {
                    let id = market.update_id(quote.update_id);
                    self.publish(core, first + kind::BOOK_TICKER, id, |out| render::book_ticker(out, market, quote, now));
                }
            }
        }
        self.gather(core, place);
        self.diff(core, place, 0, now);
    }

    /// Notes what has changed for the diffs of each pace that anybody listens to.
    fn gather(&self, core: &mut Core, place: usize) {
        let Some((_, first)) = self.market(place) else { return };
        let touched = core.symbols[place].book.take_touched();
        let book = &core.symbols[place].book;
        for (pace, untold) in self.untold.borrow_mut()[place].iter_mut().enumerate() {
            if core.subs[first + kind::DEPTH + pace].is_empty() {
                untold.skip(book);
            } else {
                untold.touched.extend_from_slice(&touched);
            }
        }
    }

    /// Ends an interval of the diffs of a pace.
    fn diff(&self, core: &mut Core, place: usize, pace: usize, now: i64) {
        let Some((market, first)) = self.market(place) else { return };
        let state = &core.symbols[place];
        let taken = self.untold.borrow_mut()[place][pace].take(&state.book, &state.spec);
        let Some((ids, ladder)) = taken else { return };
        let (stream, id) = (first + kind::DEPTH + pace, market.update_id(ids.1));
        self.publish(core, stream, id, |out| render::depth_update(out, market, ids, &ladder, now));
    }

    /// Sends what comes by the clock, each 100 ms.
    pub(in crate::exchanges::binance) fn pulse(&self, core: &mut Core, place: usize, count: u64) {
        let now = now_us();
        // 250 ms, as near as tenths of a second come to it.
        let is_due = [true, matches!(count % 5, 0 | 3), count.is_multiple_of(5)];
        for (pace, _) in is_due.iter().enumerate().filter(|(_, is_due)| **is_due) {
            self.diff(core, place, pace + 1, now);
            self.partial_books(core, place, pace, now);
        }
        if count.is_multiple_of(10) {
            self.mark_prices(core, place, count.is_multiple_of(30), now);
        }
        if count.is_multiple_of(3) {
            self.klines(core, place, now);
        }
        if count.is_multiple_of(20) {
            self.tickers(core, place, now);
        }
    }

    fn partial_books(&self, core: &mut Core, place: usize, pace: usize, now: i64) {
        let Some((market, first)) = self.market(place) else { return };
        for (i, levels) in PARTIAL_LEVELS.into_iter().enumerate() {
            let slot = i * 3 + pace;
            let stream = first + kind::PARTIAL + slot;
            let last = core.symbols[place].book.update_id();
            let before = std::mem::replace(&mut self.shown.borrow_mut()[place][slot], last);
            if core.subs[stream].is_empty() || before == last {
                continue;
            }
            let ladder = core.symbols[place].ladder(levels);
            let ids = (if before == 0 { last } else { before + 1 }, last);
            self.publish(core, stream, market.update_id(last), |out| {
                render::depth_update(out, market, ids, &ladder, now);
            });
        }
    }

    /// What is drawn of a market's prices beside its own.
    pub(super) fn mark(&self, core: &Core, place: usize, now: i64) -> Mark {
        let quote = core.symbols[place].quote();
        let middle = i64::midpoint(quote.bid, quote.ask);
        let near = |what| self.market(place).map_or(middle, |(market, _)| market.near(what, now, middle));
        let rate = self.market(place).map_or(0, |(market, _)| market.funding_rate(now));
        Mark { mark: near(drawn::MARK), index: near(drawn::INDEX), rate, next_funding_us: next_funding_us(now) }
    }

    fn mark_prices(&self, core: &mut Core, place: usize, all: bool, now: i64) {
        let Some((market, first)) = self.market(place) else { return };
        for stream in [first + kind::MARK_PRICE + 1, first + kind::MARK_PRICE] {
            if core.subs[stream].is_empty() || (stream == first + kind::MARK_PRICE && !all) {
                continue;
            }
            let mark = self.mark(core, place, now);
            self.publish(core, stream, 0, |out| render::mark_price(out, market, &mark, now));
        }
    }

    fn tickers(&self, core: &mut Core, place: usize, now: i64) {
        let Some((market, first)) = self.market(place) else { return };
        for (kind, is_whole) in [(kind::TICKER, true), (kind::MINI_TICKER, false)] {
            if core.subs[first + kind].is_empty() {
                continue;
            }
            let day = core.day(place);
            let last_amount = core.symbols[place].history.trades().back().map_or(0, |row| row.amount);
            let text = tickers::stream(market, &day, last_amount, now, is_whole);
            self.publish(core, first + kind, day.last_id, |out| out.extend_from_slice(text.as_bytes()));
        }
    }

    /// Candles each 300 ms; one that ended is sent once more, closed.
    fn klines(&self, core: &mut Core, place: usize, now: i64) {
        let Some((_, first)) = self.market(place) else { return };
        for i in 0..CANDLES {
            let stream = first + kind::KLINE + i;
            let (label, interval) = interval(i);
            let open = if core.subs[stream].is_empty() { 0 } else { interval.open(now) };
            let before = std::mem::replace(&mut self.kline_open.borrow_mut()[place][i], open);
            if open == 0 {
                continue;
            }
            if before != 0 && before != open {
                self.kline(core, (stream, place), label, (interval, before), true, now);
            }
            self.kline(core, (stream, place), label, (interval, open), false, now);
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
        let Some((market, _)) = self.market(place) else { return };
        let Some((span, bar)) = core.symbols[place].history.bar_at(interval, open) else { return };
        let kline = Kline { interval: label, span, bar, closed };
        self.publish(core, stream, bar.last_id, |out| render::kline(out, market, &kline, now));
    }

    /// Changes some of a book's levels so that no diff tells of it, but that its numbers don't link.
    pub(in crate::exchanges::binance) fn lose_book(&self, core: &mut Core, place: usize, count: u64) -> String {
        let now = now_us();
        // What was pending is told first, so that the hole is exactly this one.
        (0..DIFFS).for_each(|pace| self.diff(core, place, pace, now));
        let (first, last) = self.skip(core, place, count, count);
        format!("book updates {first}..={last} of {} are in no diff", core.symbols[place].spec.symbol())
    }

    /// What the exchange does about once a day: its engine restarts, what was about to be told is lost, and the next diff of each pace
    /// names a predecessor that nobody was sent.
    pub(in crate::exchanges::binance) fn restart(&self, core: &mut Core, place: usize) -> String {
        let (_, last) = self.skip(core, place, RESTART_CHANGES, RESTART_SKIPS);
        format!("the book of {} goes on after {last}, which no diff led to", core.symbols[place].spec.symbol())
    }

    /// The numbers that no diff has, as the exchange writes them.
    fn skip(&self, core: &mut Core, place: usize, changes: u64, count: u64) -> Ids {
        let state = &mut core.symbols[place];
        let first = state.book.update_id() + 1;
        if let Some(engine) = &mut state.engine {
            engine.rearrange(changes, &mut state.book);
        }
        state.book.lose(count);
        self.untold.borrow_mut()[place].iter_mut().for_each(|untold| untold.skip(&state.book));
        let id = |count| self.market(place).map_or(count, |(market, _)| market.update_id(count));
        (id(first), id(state.book.update_id()))
    }
}
