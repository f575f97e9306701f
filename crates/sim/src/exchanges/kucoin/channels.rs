//! From what the market does to frames: trades, changes of the book and best prices are told at once; tickers, the best levels and the
//! books of unified accounts each 100 ms, candles each second, the day's figures each two.

use std::rc::Rc;

use dccd_model::BookSide;

use super::book::{Update, is_told};
use super::render::{Stats, Ticker, trade_number};
use super::streams::{Channel, Depth, KINDS, WIDTHS, all_tickers};
use super::unified::{self, Told};
use super::{Kucoin, render};
use crate::deep::minute::MINUTE_US;
use crate::deep::tape::Tape;
use crate::hub::Core;
use crate::market::Ladder;
use crate::market::book::Book;
use crate::market::engine::Event;
use crate::market::history::Bar;
use crate::market::view::View;
use crate::ws::queue::Conn;

const DAY_US: i64 = 1_440 * MINUTE_US;
/// Pulses in a second.
const PULSES: u64 = 10;
/// Levels a side of the deepest book that is told whole.
const WHOLE_MAX: usize = 50;

/// What subscribers of one market have before them.
#[derive(Debug)]
pub(super) struct Live {
    /// The number of the book's last change, that of the whole book over REST.
    seq: u64,
    /// The one it began with.
    first_seq: u64,
    /// The best levels as followers of a unified account's book have them, and their number.
    view: View,
    view_seq: u64,
    /// The best levels that were told whole.
    whole: View,
    /// Whether prices, sizes or trades have changed since the last pulse.
    has_moved: bool,
    /// Whether they have since the day's figures were told.
    has_moved_lately: bool,
    /// Whether there was a trade since candles were told.
    has_traded: bool,
    /// Whether the last trade was a buyer's.
    bought: bool,
    /// The day before this minute.
    day: Option<(i64, Bar)>,
    /// When the open candle opened, and the deep past's part of it; none where nobody listens.
    bars: [Option<(i64, Bar)>; WIDTHS.len()],
}

impl Live {
    pub(super) fn of(book: &Book) -> Self {
        let seq = book.update_id();
        Self {
            seq,
            first_seq: seq,
            view: View::of(book, unified::DEPTH),
            view_seq: seq,
            whole: View::default(),
            has_moved: false,
            has_moved_lately: false,
            has_traded: false,
            bought: false,
            day: None,
            bars: [None; WIDTHS.len()],
        }
    }

    /// Lets numbers begin anew.
    pub(super) const fn begin_anew(&mut self) {
        (self.seq, self.view_seq) = (0, 0);
    }
}

impl Kucoin {
    /// Tells what a step brought about.
    pub(super) fn tell(&self, core: &mut Core, place: usize, events: &[Event], now_us: i64) {
        let id = &self.markets[place].id;
        let mut taker = None;
        for event in events {
            match event {
                Event::Trade(row) => {
                    taker = Some(if row.buyer_is_maker { BookSide::Ask } else { BookSide::Bid });
                    let seq = trade_number(row.id);
                    core.publish(Channel::Match.index(place), seq, |out, _| render::trade(out, id, row));
                    core.publish(Channel::UnifiedTrade.index(place), seq, |out, _| unified::trade(out, id, row, now_us));
                }
                Event::Agg(_) => {}
                Event::Quote(quote) => {
                    let seq = self.live.borrow()[place].seq;
                    core.publish(Channel::Level1.index(place), seq, |out, _| render::level1(out, id, quote, now_us));
                }
            }
        }
        self.tell_changes(core, place, taker, now_us);
        let mut live = self.live.borrow_mut();
        let live = &mut live[place];
        (live.has_moved, live.has_moved_lately) = (true, true);
        if let Some(side) = taker {
            live.has_traded = true;
            live.bought = side == BookSide::Bid;
        }
    }

    /// Tells what changed in a book, after the order that took something has come in unseen.
    fn tell_changes(&self, core: &mut Core, place: usize, taker: Option<BookSide>, now_us: i64) {
        let touched = core.symbols[place].book.take_touched();
        let (id, stream) = (&self.markets[place].id, Channel::Level2.index(place));
        let mut live = self.live.borrow_mut();
        let seq = &mut live[place].seq;
        let begins_at = *seq + 1;
        let mut is_apart = false;
        if let Some(side) = taker {
            *seq += 1;
            is_apart = is_told(*seq);
            if is_apart {
                let update = Update::unseen(side, *seq);
                core.publish(stream, *seq, |out, _| render::level2(out, id, &update, now_us));
            }
        }
        let before = *seq;
        *seq += u64::try_from(touched.len()).unwrap_or(0);
        if touched.is_empty() || core.subs[stream].is_empty() {
            return;
        }
        let mut update = Update::of(&touched, before, &core.symbols[place].book, &core.symbols[place].spec);
        if !is_apart {
            update.first = begins_at;
        }
        core.publish(stream, update.last, |out, _| render::level2(out, id, &update, now_us));
    }

    /// Tells what comes by the clock.
    pub(super) fn beat(&self, core: &mut Core, place: usize, count: u64, now_us: i64) {
        self.tell_book(core, place, now_us);
        let base = place * KINDS;
        let has_moved = std::mem::take(&mut self.live.borrow_mut()[place].has_moved);
        let all = all_tickers(self.markets.len());
        if core.subs[base..base + KINDS].iter().all(Vec::is_empty) && core.subs[all].is_empty() {
            self.live.borrow_mut()[place].bars = [None; WIDTHS.len()];
            return;
        }
        if has_moved {
            self.tell_tickers(core, place, now_us);
            self.tell_whole(core, place, now_us);
        }
        let stream = Channel::Snapshot.index(place);
        if count.is_multiple_of(2 * PULSES)
            && !core.subs[stream].is_empty()
            && std::mem::take(&mut self.live.borrow_mut()[place].has_moved_lately)
            && let Some(stats) = self.stats(core, place, now_us)
        {
            let market = &self.markets[place];
            let names = (market.id.as_str(), market.base.as_str(), market.quote.as_str());
            core.publish(stream, stats.ticker.seq, |out, _| render::snapshot(out, names, &stats));
        }
        if count.is_multiple_of(PULSES) {
            (0..WIDTHS.len()).for_each(|width| self.tell_candle(core, place, width, now_us));
            self.live.borrow_mut()[place].has_traded = false;
        }
    }

    fn tell_tickers(&self, core: &mut Core, place: usize, now_us: i64) {
        let all = all_tickers(self.markets.len());
        let [classic, unified] = [Channel::Ticker, Channel::UnifiedTicker].map(|channel| channel.index(place));
        if [classic, unified, all].iter().all(|stream| core.subs[*stream].is_empty()) {
            return;
        }
        let Some(ticker) = self.ticker(core, place, now_us) else { return };
        let (id, bought) = (&self.markets[place].id, self.live.borrow()[place].bought);
        core.publish(classic, ticker.seq, |out, _| render::ticker(out, id, false, &ticker));
        core.publish(all, ticker.seq, |out, _| render::ticker(out, id, true, &ticker));
        core.publish(unified, ticker.seq, |out, _| unified::ticker(out, id, &ticker, bought));
    }

    /// Tells the best levels to those who have them whole each time.
    fn tell_whole(&self, core: &mut Core, place: usize, now_us: i64) {
        let id = &self.markets[place].id;
        let classic =
            [(Channel::Depth5, "/spotMarket/level2Depth5", 5), (Channel::Depth50, "/spotMarket/level2Depth50", 50)];
        let whole = View::of(&core.symbols[place].book, WHOLE_MAX);
        let seq = {
            let mut live = self.live.borrow_mut();
            if whole == live[place].whole {
                return;
            }
            live[place].whole = whole;
            live[place].seq
        };
        for (channel, topic, levels) in classic {
            let stream = channel.index(place);
            if !core.subs[stream].is_empty() {
                let ladder = core.symbols[place].ladder(levels);
                core.publish(stream, seq, |out, _| render::depth(out, topic, id, &ladder, now_us));
            }
        }
        for depth in Depth::ALL {
            let stream = Channel::UnifiedBook(depth).index(place);
            if let Some(levels) = depth.whole().filter(|_| !core.subs[stream].is_empty()) {
                let told = Told { is_snapshot: true, first: seq, last: seq, ladder: core.symbols[place].ladder(levels) };
                core.publish(stream, seq, |out, _| unified::book(out, id, depth, &told, now_us));
            }
        }
    }

    /// Tells the followers of a unified account's book what changed in its depth.
    fn tell_book(&self, core: &mut Core, place: usize, now_us: i64) {
        let mut live = self.live.borrow_mut();
        let live = &mut live[place];
        if live.seq == live.view_seq {
            return;
        }
        let state = &core.symbols[place];
        let view = View::of(&state.book, unified::DEPTH);
        let ladder = view.since(&live.view).ladder(&state.spec);
        // What happens beyond the depth has numbers, and no update until something within it changes.
        if ladder == Ladder::default() {
            return;
        }
        let told = Told { is_snapshot: false, first: live.view_seq + 1, last: live.seq, ladder };
        (live.view, live.view_seq) = (view, live.seq);
        let id = &self.markets[place].id;
        for depth in Depth::ALL.into_iter().filter(|depth| depth.whole().is_none()) {
            let stream = Channel::UnifiedBook(depth).index(place);
            core.publish(stream, told.last, |out, _| unified::book(out, id, depth, &told, now_us));
        }
    }

    fn tell_candle(&self, core: &mut Core, place: usize, width: usize, now_us: i64) {
        let streams = [Channel::Candles(width), Channel::UnifiedCandles(width)].map(|channel| channel.index(place));
        if streams.iter().all(|stream| core.subs[*stream].is_empty()) {
            self.live.borrow_mut()[place].bars[width] = None;
            return;
        }
        let open_us = WIDTHS[width].1.open(now_us);
        let (before, has_traded) = {
            let live = self.live.borrow();
            (live[place].bars[width].map(|(at, _)| at), live[place].has_traded)
        };
        if !has_traded && self.is_live {
            return;
        }
        let old = before.filter(|at| *at < open_us);
        for (at, is_new) in old.map(|at| (at, false)).into_iter().chain([(open_us, old.is_some())]) {
            let Some(bar) = self.candle(core, place, width, at, now_us).filter(|bar| bar.trades > 0) else { continue };
            let (id, next_us) = (&self.markets[place].id, WIDTHS[width].1.next(at));
            core.publish(streams[0], 0, |out, _| render::candle(out, id, width, &bar, is_new, now_us));
            core.publish(streams[1], 0, |out, _| unified::candle(out, id, width, &bar, next_us, now_us));
        }
    }

    /// The candle that opened at this instant.
    fn candle(&self, core: &Core, place: usize, width: usize, open_us: i64, now_us: i64) -> Option<Bar> {
        let tape = self.tape(core, place)?;
        let next_us = WIDTHS[width].1.next(open_us);
        let mut live = self.live.borrow_mut();
        let part = &mut live[place].bars[width];
        if now_us < tape.until_us {
            // The past goes on: nothing of it stands still.
            *part = Some((open_us, Bar::default()));
            return Some(tape.bars(open_us, now_us).whole(open_us, next_us));
        }
        let known = part.filter(|(open, _)| *open == open_us);
        let (_, mut bar) = *part.insert(known.unwrap_or_else(|| {
            let past = Tape { live: &Default::default(), ..tape };
            (open_us, past.bars(open_us, now_us).whole(open_us, next_us))
        }));
        bar.add(&tape.live.traded(open_us, next_us));
        Some(bar)
    }

    /// The figures of a ticker.
    pub(super) fn ticker(&self, core: &Core, place: usize, now_us: i64) -> Option<Ticker> {
        let (last, last_amount) = self.tape(core, place)?.last(now_us);
        Some(Ticker { quote: core.symbols[place].quote(), seq: self.live.borrow()[place].seq, last, last_amount, now_us })
    }

    /// The last 24 hours.
    pub(super) fn stats(&self, core: &Core, place: usize, now_us: i64) -> Option<Stats> {
        let ticker = self.ticker(core, place, now_us)?;
        let tape = self.tape(core, place)?;
        let minute_us = now_us.div_euclid(MINUTE_US) * MINUTE_US;
        let next_us = minute_us + MINUTE_US;
        let mut live = self.live.borrow_mut();
        let known = live[place].day.filter(|day| day.0 == minute_us);
        let (_, mut day) = *live[place].day.insert(known.unwrap_or_else(|| {
            let from_us = next_us - DAY_US;
            (minute_us, tape.bars(from_us, minute_us - 1).whole(from_us, minute_us))
        }));
        day.add(&tape.bars(minute_us, now_us).whole(minute_us, next_us));
        Some(Stats { ticker, day })
    }

    /// The whole book and its number, or the one of the start when a fault says so.
    pub(super) fn book(&self, core: &mut Core, place: usize, depth: usize) -> (Ladder, u64) {
        let live = &self.live.borrow()[place];
        if core.faults.stales_snapshot(&self.markets[place].symbol()) {
            let mut ladder = core.first_books[place].1.clone();
            ladder.bids.truncate(depth);
            ladder.asks.truncate(depth);
            return (ladder, live.first_seq);
        }
        (core.symbols[place].ladder(depth), live.seq)
    }

    /// Sends a new follower of a unified account's book where it stands. Other channels show nothing.
    pub(super) fn show(&self, core: &mut Core, conn: &Rc<Conn>, channel: Channel, place: usize, now_us: i64) {
        let Channel::UnifiedBook(depth) = channel else { return };
        let (ladder, seq) = match depth.whole() {
            Some(levels) => self.book(core, place, levels),
            None if core.faults.stales_snapshot(&self.markets[place].symbol()) => {
                let mut ladder = core.first_books[place].1.clone();
                ladder.bids.truncate(unified::DEPTH);
                ladder.asks.truncate(unified::DEPTH);
                (ladder, self.live.borrow()[place].first_seq)
            }
            None => {
                let live = self.live.borrow();
                (live[place].view.ladder(&core.symbols[place].spec), live[place].view_seq)
            }
        };
        let told = Told { is_snapshot: true, first: seq, last: seq, ladder };
        let mut text = Vec::new();
        unified::book(&mut text, &self.markets[place].id, depth, &told, now_us);
        core.deliver_text(conn, channel.index(place), seq, &text);
    }

    /// Changes some levels close to the best, of which nobody hears: the next update begins behind numbers that no message had.
    pub(super) fn change_unheard(&self, core: &mut Core, place: usize, count: u64) -> String {
        let state = &mut core.symbols[place];
        if let Some(engine) = &mut state.engine {
            engine.rearrange(count, &mut state.book);
        }
        state.book.lose(count);
        let mut live = self.live.borrow_mut();
        let live = &mut live[place];
        live.seq += count;
        (live.view, live.view_seq) = (View::of(&state.book, unified::DEPTH), live.seq);
        format!("{count} levels of {} changed up to {} and nobody was told", self.markets[place].id, live.seq)
    }
}
