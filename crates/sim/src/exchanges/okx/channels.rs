//! From what the market does to frames: trades and best prices are told at once, books and tickers each 100 ms, candles each second
//! and when they close.

use std::rc::Rc;

use super::bars::WIDTHS;
use super::book::{DEPTH, Levels, levels};
use super::render::{Numbers, Ticker};
use super::streams::{Channel, KINDS};
use super::{Okx, render};
use crate::deep::minute::MINUTE_US;
use crate::deep::tape::Tape;
use crate::hub::Core;
use crate::market::book::Book;
use crate::market::engine::Event;
use crate::market::history::{AggRow, Bar};
use crate::market::view::View;
use crate::ws::queue::Conn;

const DAY_US: i64 = 1_440 * MINUTE_US;
/// No order has more trades at one price.
const SAME_ORDER_MAX: usize = 16;
/// Pulses in a second.
const PULSES: u64 = 10;

/// Figures that would be dear to make anew each time: they stand until the next minute begins.
#[derive(Clone, Copy, Debug)]
struct Day {
    minute_us: i64,
    /// The day before it.
    bar: Bar,
    midnights: (i64, i64),
}

/// What subscribers of one market have before them.
#[derive(Debug)]
pub(super) struct Live {
    /// The book as the last update left it; REST shows the same.
    view: View,
    /// The last update's number.
    pub(super) seq: u64,
    /// The book's own number at which the exchange's begin.
    base: u64,
    /// When subscribers of the book were last told something.
    told_us: i64,
    /// Whether the ticker has changed since it was told.
    has_moved: bool,
    /// Whether there was a trade since candles were told.
    has_traded: bool,
    day: Option<Day>,
    /// When the open candle opened, and the deep past's part of it; none where nobody listens.
    bars: [Option<(i64, Bar)>; WIDTHS.len()],
}

impl Live {
    pub(super) fn of(book: &Book) -> Self {
        Self {
            view: View::of(book, DEPTH),
            seq: book.update_id(),
            base: 0,
            told_us: 0,
            has_moved: false,
            has_traded: false,
            day: None,
            bars: [None; WIDTHS.len()],
        }
    }

    /// The exchange's number of a book's own.
    fn number(&self, update_id: u64) -> u64 {
        update_id.saturating_sub(self.base)
    }

    /// Lets numbers begin anew.
    pub(super) fn begin_anew(&mut self, update_id: u64) {
        self.base = update_id.saturating_sub(1);
    }
}

impl Okx {
    /// Tells what a step brought about.
    pub(super) fn tell(&self, core: &mut Core, place: usize, events: &[Event], now_us: i64) {
        let instrument = &self.instruments[place];
        for event in events {
            match event {
                Event::Trade(row) => {
                    core.publish(Channel::TradesAll.index(place), row.id, |out, _| render::trades_all(out, instrument, row));
                }
                Event::Agg(row) => {
                    core.publish(Channel::Trades.index(place), row.last, |out, _| render::trades(out, instrument, row));
                    self.live.borrow_mut()[place].has_traded = true;
                }
                Event::Quote(quote) => {
                    let seq = self.live.borrow()[place].number(quote.update_id);
                    core.publish(Channel::Bbo.index(place), seq, |out, _| render::bbo(out, instrument, quote, seq, now_us));
                }
            }
        }
        self.live.borrow_mut()[place].has_moved |= !events.is_empty();
    }

    /// Tells what comes by the clock.
    pub(super) fn beat(&self, core: &mut Core, place: usize, count: u64, now_us: i64) {
        // Updates are made of the whole depth: nobody asks what was touched.
        core.symbols[place].book.lose(0);
        self.tell_book(core, place, now_us);
        let base = place * KINDS;
        if core.subs[base..base + KINDS].iter().all(Vec::is_empty) {
            self.live.borrow_mut()[place].bars = [None; WIDTHS.len()];
            return;
        }
        if !core.subs[Channel::Tickers.index(place)].is_empty()
            && std::mem::take(&mut self.live.borrow_mut()[place].has_moved)
            && let Some(ticker) = self.ticker(core, place, now_us)
        {
            let instrument = &self.instruments[place];
            let stream = Channel::Tickers.index(place);
            core.publish(stream, ticker.quote.update_id, |out, _| render::tickers(out, instrument, &ticker, now_us));
        }
        let is_second = count.is_multiple_of(PULSES);
        for width in 0..WIDTHS.len() {
            self.tell_candle(core, place, width, is_second, now_us);
        }
        if is_second {
            self.live.borrow_mut()[place].has_traded = false;
        }
    }

    fn tell_book(&self, core: &mut Core, place: usize, now_us: i64) {
        let instrument = &self.instruments[place];
        let mut live = self.live.borrow_mut();
        let live = &mut live[place];
        let state = &core.symbols[place];
        let seq = live.number(state.book.update_id());
        let mut told = Levels::default();
        if seq != live.seq {
            let view = View::of(&state.book, DEPTH);
            told = levels(&view.since(&live.view), instrument, &state.spec);
            live.view = view;
        }
        let stream = Channel::Books.index(place);
        let quiet_us = now_us.saturating_sub(live.told_us);
        let is_due = quiet_us >= i64::try_from(self.options.keepalive.as_micros()).unwrap_or(i64::MAX);
        // What happens beyond the depth has numbers, and no update until something within it changes.
        if told.is_empty() && (!is_due || core.subs[stream].is_empty()) {
            return;
        }
        let prev = Some(live.seq);
        if !told.is_empty() {
            live.seq = seq;
        }
        live.told_us = now_us;
        let numbers = Numbers { checksum: self.checksum(live, place, core), seq: live.seq, prev, now_us };
        core.publish(stream, live.seq, |out, _| render::books(out, instrument, &told, numbers));
        let stream = Channel::Books5.index(place);
        if !told.is_empty() && !core.subs[stream].is_empty() {
            let book = levels(&live.view, instrument, &core.symbols[place].spec);
            core.publish(stream, live.seq, |out, _| render::books5(out, instrument, &book, live.seq, now_us));
        }
    }

    /// 0 as in production, or the real one.
    fn checksum(&self, live: &Live, place: usize, core: &Core) -> i32 {
        if !self.options.checksum || core.subs[Channel::Books.index(place)].is_empty() {
            return 0;
        }
        levels(&live.view, &self.instruments[place], &core.symbols[place].spec).checksum()
    }

    /// The book as subscribers have it and its number, or the one of the start when a fault says so.
    pub(super) fn book(&self, core: &mut Core, place: usize) -> (Levels, u64) {
        let instrument = &self.instruments[place];
        let live = self.live.borrow();
        if core.faults.stales_snapshot(&instrument.symbol) {
            let (id, ladder) = &core.first_books[place];
            let mut levels = Levels::of(instrument, &ladder.bids, &ladder.asks);
            levels.bids.truncate(super::book::DEPTH);
            levels.asks.truncate(super::book::DEPTH);
            return (levels, live[place].number(*id));
        }
        (levels(&live[place].view, instrument, &core.symbols[place].spec), live[place].seq)
    }

    fn tell_candle(&self, core: &mut Core, place: usize, width: usize, is_second: bool, now_us: i64) {
        let stream = Channel::Candle(width).index(place);
        if core.subs[stream].is_empty() {
            self.live.borrow_mut()[place].bars[width] = None;
            return;
        }
        let (instrument, channel) = (&self.instruments[place], Channel::Candle(width).name());
        let open_us = WIDTHS[width].open(now_us);
        let before = self.live.borrow()[place].bars[width].map(|(at, _)| at);
        let has_closed = before.is_some_and(|at| at < open_us);
        if let (true, Some(at)) = (has_closed, before)
            && let Some(bar) = self.candle(core, place, width, at, now_us)
        {
            core.publish(stream, 0, |out, _| render::candle(out, &channel, instrument, &bar, true));
        }
        let has_traded = self.live.borrow()[place].has_traded || !self.is_live;
        if (has_closed || before.is_none() || (is_second && has_traded))
            && let Some(bar) = self.candle(core, place, width, open_us, now_us)
        {
            core.publish(stream, 0, |out, _| render::candle(out, &channel, instrument, &bar, false));
        }
    }

    /// The candle that opened at this instant.
    fn candle(&self, core: &Core, place: usize, width: usize, open_us: i64, now_us: i64) -> Option<Bar> {
        let tape = self.tape(core, place)?;
        let next_us = WIDTHS[width].next(open_us);
        let mut live = self.live.borrow_mut();
        let part = &mut live[place].bars[width];
        if now_us < tape.until_us {
            // The past goes on: nothing of it stands still.
            let bar = tape.bars(open_us, now_us).whole(open_us, next_us);
            *part = Some((open_us, Bar::default()));
            return Some(bar);
        }
        let known = part.filter(|(open, _)| *open == open_us);
        let (_, mut bar) = *part.insert(known.unwrap_or_else(|| {
            let past = Tape { live: &Default::default(), ..tape };
            (open_us, past.bars(open_us, now_us).whole(open_us, next_us))
        }));
        let traded = tape.live.traded(open_us, next_us);
        if traded.trades == 0 && bar.trades == 0 && traded.close > 0 {
            return Some(traded);
        }
        bar.add(&traded);
        Some(bar)
    }

    /// The figures of a ticker.
    pub(super) fn ticker(&self, core: &Core, place: usize, now_us: i64) -> Option<Ticker> {
        let tape = self.tape(core, place)?;
        let minute_us = now_us.div_euclid(MINUTE_US) * MINUTE_US;
        let next_us = minute_us + MINUTE_US;
        let mut live = self.live.borrow_mut();
        let known = live[place].day.filter(|day| day.minute_us == minute_us);
        let day = *live[place].day.insert(known.unwrap_or_else(|| {
            let from_us = next_us - DAY_US;
            let open = |name: usize| {
                let at = WIDTHS[name].open(now_us);
                tape.bars(at, now_us).whole(at, at + MINUTE_US).open
            };
            let (utc, local) = (super::bars::Width::named("1Dutc"), super::bars::Width::named("1D"));
            Day {
                minute_us,
                bar: tape.bars(from_us, minute_us - 1).whole(from_us, minute_us),
                midnights: (utc.map_or(0, open), local.map_or(0, open)),
            }
        }));
        let mut bar = day.bar;
        bar.add(&tape.bars(minute_us, now_us).whole(minute_us, next_us));
        let (last, last_amount) = tape.last(now_us);
        let quote = core.symbols[place].quote();
        Some(Ticker { quote, last, last_amount, day: bar, midnights: day.midnights })
    }

    /// The newest trades of one order at one price.
    fn last_trades(&self, core: &Core, place: usize, now_us: i64) -> Option<AggRow> {
        if let Some(agg) = core.symbols[place].history.aggs().back() {
            return Some(*agg);
        }
        let rows = self.tape(core, place)?.newest(SAME_ORDER_MAX, now_us);
        let last = *rows.last()?;
        let same = rows.iter().rev().take_while(|row| {
            (row.time_us, row.price, row.buyer_is_maker) == (last.time_us, last.price, last.buyer_is_maker)
        });
        let (mut first, mut amount) = (last.id, 0);
        for row in same {
            (first, amount) = (row.id, amount + row.amount);
        }
        let (price, time_us, buyer_is_maker) = (last.price, last.time_us, last.buyer_is_maker);
        Some(AggRow { id: 0, first, last: last.id, price, amount, time_us, buyer_is_maker })
    }

    /// Sends a new subscriber what there is: the last trade, the best prices, the book, the ticker, the open candle.
    pub(super) fn show(&self, core: &mut Core, conn: &Rc<Conn>, channel: Channel, place: usize, now_us: i64) {
        let mut text = Vec::new();
        let Some(id) = self.shown(core, channel, place, now_us, &mut text) else { return };
        core.deliver_text(conn, channel.index(place), id, &text);
    }

    /// Writes what a new subscriber is shown; gives the id that the ledger notes of it.
    fn shown(&self, core: &mut Core, channel: Channel, place: usize, now_us: i64, out: &mut Vec<u8>) -> Option<u64> {
        let instrument = &self.instruments[place];
        match channel {
            Channel::Trades => {
                let row = self.last_trades(core, place, now_us)?;
                render::trades(out, instrument, &row);
                Some(row.last)
            }
            Channel::TradesAll => {
                let row = self.tape(core, place)?.newest(1, now_us).pop()?;
                render::trades_all(out, instrument, &row);
                Some(row.id)
            }
            Channel::Bbo => {
                let quote = core.symbols[place].quote();
                let seq = self.live.borrow()[place].number(quote.update_id);
                render::bbo(out, instrument, &quote, seq, now_us);
                Some(seq)
            }
            Channel::Books if !self.options.snapshot => None,
            Channel::Books => {
                let (levels, seq) = self.book(core, place);
                let checksum = if self.options.checksum { levels.checksum() } else { 0 };
                self.live.borrow_mut()[place].told_us = now_us;
                render::books(out, instrument, &levels, Numbers { checksum, seq, prev: None, now_us });
                Some(seq)
            }
            Channel::Books5 => {
                let live = self.live.borrow();
                let levels = levels(&live[place].view, instrument, &core.symbols[place].spec);
                render::books5(out, instrument, &levels, live[place].seq, now_us);
                Some(live[place].seq)
            }
            Channel::Tickers => {
                let ticker = self.ticker(core, place, now_us)?;
                render::tickers(out, instrument, &ticker, now_us);
                Some(ticker.quote.update_id)
            }
            Channel::Candle(width) => {
                let bar = self.candle(core, place, width, WIDTHS[width].open(now_us), now_us)?;
                render::candle(out, &channel.name(), instrument, &bar, false);
                Some(0)
            }
        }
    }

    /// Changes some levels close to the best, of which nobody hears: the next update names a number that no message had.
    pub(super) fn change_unheard(&self, core: &mut Core, place: usize, count: u64) -> String {
        let state = &mut core.symbols[place];
        if let Some(engine) = &mut state.engine {
            engine.rearrange(count, &mut state.book);
        }
        state.book.lose(count);
        let mut live = self.live.borrow_mut();
        let live = &mut live[place];
        live.view = View::of(&state.book, DEPTH);
        live.seq = live.number(state.book.update_id());
        format!("{count} levels of {} changed up to {} and nobody was told", self.instruments[place].id, live.seq)
    }
}
