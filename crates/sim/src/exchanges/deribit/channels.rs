//! From what the market does to frames: best prices at once, trades, books and tickers each 100 ms (to those with an account at
//! once), candles each second and when they close.

use std::rc::Rc;

use dccd_model::BookSide;

use super::book::{Levels, View};
use super::render::{Numbers, Ticker, Told};
use super::streams::{Channel, KINDS, Pace, TOPS, WIDTHS};
use super::{Deribit, render};
use crate::deep::minute::MINUTE_US;
use crate::deep::tape::Tape;
use crate::hub::Core;
use crate::market::engine::Event;
use crate::market::history::Bar;
use crate::ws::queue::Conn;

const DAY_US: i64 = 1_440 * MINUTE_US;
/// Pulses in a second.
const PULSES: u64 = 10;
/// Trades that wait for the next pulse at most; more are told at once.
const BATCH_MAX: usize = 500;
/// No step of the market has more trades.
const STEP_MAX: usize = 64;
/// The channels that each 100 ms tell the same.
const SLOW: [Pace; 2] = [Pace::Fast, Pace::Agg2];

/// What subscribers of one market have before them.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// The book as the last message of each pace left it; none where nobody listens.
    view: Option<View>,
    raw: Option<View>,
    /// The levels that were touched since.
    untold: Vec<(BookSide, i64)>,
    /// The book's own number at which the exchange's begin.
    base: u64,
    /// When the book changed, and when its best prices did.
    changed_us: i64,
    quoted_us: i64,
    /// Trades that were not told yet.
    batch: Vec<Told>,
    /// The last trade's price.
    last_price: Option<i64>,
    has_moved: bool,
    /// Whether there was a trade since candles were told.
    has_traded: bool,
    /// The minute whose day before it this is.
    day: Option<(i64, Bar)>,
    /// When the open candle opened, and the deep past's part of it; none where nobody listens.
    bars: [Option<(i64, Bar)>; WIDTHS.len()],
}

impl Live {
    pub(super) fn starting_at(now_us: i64) -> Self {
        Self { changed_us: now_us, quoted_us: now_us, ..Self::default() }
    }

    /// The exchange's number of a book's own.
    pub(super) const fn number(&self, update_id: u64) -> u64 {
        update_id.saturating_sub(self.base)
    }
}

impl Deribit {
    /// Tells what a step brought about.
    pub(super) fn tell(&self, core: &mut Core, place: usize, events: &[Event], now_us: i64) {
        let mut touched = core.symbols[place].book.take_touched();
        self.tell_raw_book(core, place, &mut touched, now_us);
        {
            let mut live = self.live.borrow_mut();
            let live = &mut live[place];
            if !touched.is_empty() {
                live.changed_us = now_us;
                // Where nobody listens nothing waits.
                if live.view.is_some() {
                    live.untold.append(&mut touched);
                }
            }
            live.has_moved |= !events.is_empty();
        }
        self.tell_trades(core, place, events);
        for event in events {
            if let Event::Quote(quote) = event {
                self.live.borrow_mut()[place].quoted_us = now_us;
                let (instrument, channel) = (&self.instruments[place], Channel::Quote);
                let name = channel.text(&instrument.id);
                core.publish(channel.index(place), quote.update_id, |out, _| {
                    render::quote(out, &name, instrument, quote, now_us);
                });
            }
        }
        let stream = Channel::Ticker(Pace::Raw).index(place);
        if !events.is_empty() && !core.subs[stream].is_empty() {
            self.tell_ticker(core, place, &[Pace::Raw], now_us);
        }
    }

    fn tell_trades(&self, core: &mut Core, place: usize, events: &[Event]) {
        let rows = events.iter().filter_map(|event| if let Event::Trade(row) = event { Some(*row) } else { None });
        let mut live = self.live.borrow_mut();
        let live = &mut live[place];
        let begin = live.batch.len();
        for row in rows {
            let before = live.last_price.replace(row.price);
            // The first that is traded live follows the last one of the past.
            let of_past =
                || self.tape(core, place)?.newest(STEP_MAX, row.time_us).iter().rfind(|one| one.id < row.id).copied();
            let before = before.or_else(|| of_past().map(|one| one.price)).unwrap_or(row.price);
            live.batch.push(Told { row, before });
        }
        let Some(last) = live.batch[begin..].last().map(|told| told.row.id) else { return };
        live.has_traded = true;
        let (instrument, channel) = (&self.instruments[place], Channel::Trades(Pace::Raw));
        let name = channel.text(&instrument.id);
        core.publish(channel.index(place), last, |out, _| render::trades(out, &name, instrument, &live.batch[begin..]));
        if live.batch.len() >= BATCH_MAX {
            self.tell_batch(core, place, live);
        }
    }

    fn tell_batch(&self, core: &mut Core, place: usize, live: &mut Live) {
        let Some(last) = live.batch.last().map(|told| told.row.id) else { return };
        for channel in SLOW.map(Channel::Trades) {
            let (instrument, name) = (&self.instruments[place], channel.text(&self.instruments[place].id));
            core.publish(channel.index(place), last, |out, _| render::trades(out, &name, instrument, &live.batch));
        }
        live.batch.clear();
    }

    fn tell_raw_book(&self, core: &mut Core, place: usize, touched: &mut Vec<(BookSide, i64)>, now_us: i64) {
        let mut live = self.live.borrow_mut();
        let live = &mut live[place];
        let channel = Channel::Book(Pace::Raw);
        if core.subs[channel.index(place)].is_empty() {
            live.raw = None;
            return;
        }
        let state = &core.symbols[place];
        let id = live.number(state.book.update_id());
        let Some(view) = &mut live.raw else { return };
        let told = view.follow(&state.book, touched, &state.spec);
        if !told.is_empty() {
            let prev = Some(std::mem::replace(&mut view.id, id));
            self.publish_book(core, place, channel, &told, Numbers { id, prev, time_us: now_us });
        }
    }

    fn publish_book(&self, core: &mut Core, place: usize, channel: Channel, told: &Levels, numbers: Numbers) {
        let instrument = &self.instruments[place];
        let name = channel.text(&instrument.id);
        core.publish(channel.index(place), numbers.id, |out, _| render::book(out, &name, instrument, told, numbers));
    }

    /// Tells what comes by the clock.
    pub(super) fn beat(&self, core: &mut Core, place: usize, count: u64, now_us: i64) {
        {
            let mut live = self.live.borrow_mut();
            self.tell_batch(core, place, &mut live[place]);
            self.tell_book(core, place, &mut live[place]);
        }
        let base = place * KINDS;
        if core.subs[base..base + KINDS].iter().all(Vec::is_empty) {
            self.live.borrow_mut()[place].bars = [None; WIDTHS.len()];
            return;
        }
        let is_followed = SLOW.iter().any(|pace| !core.subs[Channel::Ticker(*pace).index(place)].is_empty());
        if is_followed && std::mem::take(&mut self.live.borrow_mut()[place].has_moved) {
            self.tell_ticker(core, place, &SLOW, now_us);
        }
        let is_second = count.is_multiple_of(PULSES);
        for width in 0..WIDTHS.len() {
            self.tell_candle(core, place, width, is_second, now_us);
        }
        if is_second {
            self.live.borrow_mut()[place].has_traded = false;
        }
    }

    fn tell_book(&self, core: &mut Core, place: usize, live: &mut Live) {
        let channels = SLOW.map(Channel::Book).into_iter().chain((0..TOPS.len()).map(Channel::Top));
        if channels.map(|channel| channel.index(place)).all(|stream| core.subs[stream].is_empty()) {
            live.view = None;
            live.untold.clear();
            return;
        }
        let state = &core.symbols[place];
        let id = live.number(state.book.update_id());
        let Some(view) = &mut live.view else { return };
        let told = view.follow(&state.book, &mut live.untold, &state.spec);
        live.untold.clear();
        if told.is_empty() {
            return;
        }
        let prev = Some(std::mem::replace(&mut view.id, id));
        let numbers = Numbers { id, prev, time_us: live.changed_us };
        for channel in SLOW.map(Channel::Book) {
            self.publish_book(core, place, channel, &told, numbers);
        }
        for (top, depth) in TOPS.into_iter().enumerate() {
            let (channel, instrument) = (Channel::Top(top), &self.instruments[place]);
            if !core.subs[channel.index(place)].is_empty() {
                let (name, book) = (channel.text(&instrument.id), view.levels(&core.symbols[place].spec));
                core.publish(channel.index(place), id, |out, _| render::top(out, &name, instrument, &book, depth, numbers));
            }
        }
    }

    fn tell_ticker(&self, core: &mut Core, place: usize, paces: &[Pace], now_us: i64) {
        let Some(ticker) = self.ticker(core, place, now_us) else { return };
        let instrument = &self.instruments[place];
        for channel in paces.iter().map(|pace| Channel::Ticker(*pace)) {
            let name = channel.text(&instrument.id);
            core.publish(channel.index(place), ticker.seq, |out, _| render::ticker(out, &name, instrument, &ticker));
        }
    }

    fn tell_candle(&self, core: &mut Core, place: usize, width: usize, is_second: bool, now_us: i64) {
        let channel = Channel::Chart(width);
        let stream = channel.index(place);
        if core.subs[stream].is_empty() {
            self.live.borrow_mut()[place].bars[width] = None;
            return;
        }
        let name = channel.text(&self.instruments[place].id);
        let open_us = WIDTHS[width].1.open(now_us);
        let (before, has_traded) = {
            let live = &self.live.borrow()[place];
            (live.bars[width].map(|(at, _)| at), live.has_traded || !self.is_live)
        };
        // Nothing says that a candle is closed but the next one: what it ended with is told before that.
        if let Some(at) = before.filter(|at| *at < open_us)
            && let Some(bar) = self.candle(core, place, width, at, now_us)
        {
            core.publish(stream, 0, |out, _| render::chart(out, &name, &bar));
        }
        let is_new = before.is_none_or(|at| at < open_us);
        if (is_new || (is_second && has_traded))
            && let Some(bar) = self.candle(core, place, width, open_us, now_us)
        {
            core.publish(stream, 0, |out, _| render::chart(out, &name, &bar));
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
        let from_us = minute_us + MINUTE_US - DAY_US;
        let mut live = self.live.borrow_mut();
        let known = live[place].day.filter(|(at, _)| *at == minute_us);
        let (_, mut day) = *live[place].day.insert(known.unwrap_or_else(|| {
            // It would be dear to make anew each time: it stands until the next minute begins.
            (minute_us, tape.bars(from_us, minute_us - 1).whole(from_us, minute_us))
        }));
        day.add(&tape.bars(minute_us, now_us).whole(minute_us, minute_us + MINUTE_US));
        let (last, _) = tape.last(now_us);
        let seq = tape.ids(now_us).map_or(0, |(_, last)| last);
        Some(Ticker { quote: core.symbols[place].quote(), last, seq, day, now_us })
    }

    /// Sends a new subscriber what there is: the book, the best prices, the ticker. Trades and candles are told when they come.
    pub(super) fn show(&self, core: &mut Core, conn: &Rc<Conn>, channel: Channel, place: usize, now_us: i64) {
        let mut text = Vec::new();
        let Some(id) = self.shown(core, channel, place, now_us, &mut text) else { return };
        core.deliver_text(conn, channel.index(place), id, &text);
    }

    /// Writes what a new subscriber is shown; gives the id that the ledger notes of it.
    fn shown(&self, core: &mut Core, channel: Channel, place: usize, now_us: i64, out: &mut Vec<u8>) -> Option<u64> {
        let instrument = &self.instruments[place];
        let name = channel.text(&instrument.id);
        match channel {
            Channel::Trades(_) | Channel::Chart(_) => None,
            Channel::Quote => {
                let quote = core.symbols[place].quote();
                render::quote(out, &name, instrument, &quote, self.live.borrow()[place].quoted_us);
                Some(quote.update_id)
            }
            Channel::Ticker(_) => {
                let ticker = self.ticker(core, place, now_us)?;
                render::ticker(out, &name, instrument, &ticker);
                Some(ticker.seq)
            }
            Channel::Book(pace) => {
                let (levels, numbers) = self.snapshot(core, place, pace == Pace::Raw);
                render::book(out, &name, instrument, &levels, numbers);
                Some(numbers.id)
            }
            Channel::Top(top) => {
                let (levels, numbers) = self.snapshot(core, place, false);
                render::top(out, &name, instrument, &levels, TOPS[top], numbers);
                Some(numbers.id)
            }
        }
    }

    /// The book as its subscribers have it, or the one of the start when a fault says so.
    fn snapshot(&self, core: &mut Core, place: usize, is_raw: bool) -> (Levels, Numbers) {
        let mut live = self.live.borrow_mut();
        let live = &mut live[place];
        let book = &core.symbols[place].book;
        let (id, time_us) = (live.number(book.update_id()), live.changed_us);
        let view = if is_raw { &mut live.raw } else { &mut live.view };
        let view = view.get_or_insert_with(|| View::of(book, id));
        if core.faults.stales_snapshot(&self.instruments[place].symbol) {
            let (id, ladder) = &core.first_books[place];
            let id = live.number(*id);
            return (Levels::of(&ladder.bids, &ladder.asks), Numbers { id, prev: None, time_us });
        }
        (view.levels(&core.symbols[place].spec), Numbers { id: view.id, prev: None, time_us })
    }

    /// Changes some levels close to the best, of which nobody hears: the next change names a number that no message had.
    pub(super) fn change_unheard(&self, core: &mut Core, place: usize, count: u64) -> String {
        let state = &mut core.symbols[place];
        if let Some(engine) = &mut state.engine {
            engine.rearrange(count, &mut state.book);
        }
        state.book.lose(count);
        let mut live = self.live.borrow_mut();
        let live = &mut live[place];
        let id = live.number(state.book.update_id());
        live.untold.clear();
        for view in [&mut live.view, &mut live.raw].into_iter().flatten() {
            *view = View::of(&state.book, id);
        }
        format!("{count} levels of {} changed up to {id} and nobody was told", self.instruments[place].id)
    }

    /// Lets the numbers of a book begin anew, with a snapshot for whoever follows it.
    pub(super) fn restart(&self, core: &mut Core, place: usize, now_us: i64) -> String {
        let mut live = self.live.borrow_mut();
        let live = &mut live[place];
        let state = &core.symbols[place];
        live.base = state.book.update_id().saturating_sub(1);
        live.changed_us = now_us;
        live.untold.clear();
        let fresh = View::of(&state.book, live.number(state.book.update_id()));
        let (levels, numbers) = (fresh.levels(&state.spec), Numbers { id: fresh.id, prev: None, time_us: now_us });
        for view in [&mut live.view, &mut live.raw].into_iter().flatten() {
            view.clone_from(&fresh);
        }
        for channel in Pace::ALL.map(Channel::Book) {
            self.publish_book(core, place, channel, &levels, numbers);
        }
        format!("the book of {} was sent anew under {}", self.instruments[place].id, numbers.id)
    }
}
