//! From what the market does to messages: trades are told at once and once more with the next pulse (of an even market: the next
//! step), books each 100 ms, candles each second.

use std::collections::HashMap;
use std::rc::Rc;

use super::book::{Row, View};
use super::orders::Orders;
use super::streams::{Channel, KINDS, LENGTHS, WIDTHS, books};
use super::tickers::Day;
use super::{Bitfinex, render, session};
use crate::deep::tape::Tape;
use crate::digits::push_i64;
use crate::hub::Core;
use crate::market::book::Book;
use crate::market::engine::Event;
use crate::market::history::{Bar, TradeRow};
use crate::ws::queue::Conn;

/// Pulses in a second.
const PULSES: u64 = 10;
/// Pulses between two batches of a book of the slow pace.
const SLOW: u64 = 20;
/// Trades and candles that a subscription begins with.
const SHOWN_TRADES: usize = 30;
const SHOWN_CANDLES: usize = 240;

/// What subscribers of one market have before them.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) orders: Orders,
    /// Books that somebody follows, as they were last told, by the channel's place.
    views: HashMap<usize, View>,
    /// Trades told once.
    told_once: Vec<TradeRow>,
    /// The ticker as it was last told.
    pub(super) ticker: Vec<u8>,
    pub(super) day: Option<Day>,
    /// Whether there was a trade since candles were told.
    has_traded: bool,
    /// When the open candle opened, and the deep past's part of it; none where nobody listens.
    bars: [Option<(i64, Bar)>; WIDTHS.len()],
}

impl Live {
    pub(super) fn of(book: &Book, place: usize, markets: usize) -> Self {
        Self {
            orders: Orders::of(book, place, markets),
            views: HashMap::new(),
            told_once: Vec::new(),
            ticker: Vec::new(),
            day: None,
            has_traded: false,
            bars: [None; WIDTHS.len()],
        }
    }
}

impl Bitfinex {
    /// Tells what a step brought about.
    pub(super) fn tell(&self, core: &mut Core, place: usize, events: &[Event], now_us: i64) {
        if core.options.market.even {
            self.tell_again(core, place, now_us);
        }
        for event in events {
            let Event::Trade(row) = event else { continue };
            {
                let mut live = self.live.borrow_mut();
                live[place].has_traded = true;
                live[place].told_once.push(*row);
            }
            self.tell_trade(core, place, b"\"te\",", row, now_us);
        }
    }

    fn tell_trade(&self, core: &mut Core, place: usize, kind: &[u8], row: &TradeRow, now_us: i64) {
        let stream = Channel::Trades.index(place);
        if core.subs[stream].is_empty() {
            return;
        }
        let id = self.trade_id(place, row.id);
        let mut body = kind.to_vec();
        render::trade(&mut body, id, row);
        self.publish(core, stream, id, &body, now_us);
    }

    /// Tells the trades that were told once for the second time.
    fn tell_again(&self, core: &mut Core, place: usize, now_us: i64) {
        let told_once = std::mem::take(&mut self.live.borrow_mut()[place].told_once);
        for row in &told_once {
            self.tell_trade(core, place, b"\"tu\",", row, now_us);
        }
    }

    /// Tells what comes by the clock.
    pub(super) fn tell_by_clock(&self, core: &mut Core, place: usize, count: u64, now_us: i64) {
        self.tell_again(core, place, now_us);
        let touched = core.symbols[place].book.take_touched();
        self.live.borrow_mut()[place].orders.follow(&core.symbols[place].book, &touched);
        let base = place * KINDS;
        if core.subs[base..base + KINDS].iter().all(Vec::is_empty) {
            let live = &mut self.live.borrow_mut()[place];
            live.views.clear();
            live.bars = [None; WIDTHS.len()];
            return;
        }
        for book in books() {
            self.tell_book(core, place, book, count, now_us);
        }
        let every = u64::try_from(self.options.ticker.as_millis() / 100).unwrap_or(u64::MAX).max(1);
        if count.is_multiple_of(every) {
            self.tell_ticker(core, place, now_us);
        }
        if count.is_multiple_of(PULSES) {
            (0..WIDTHS.len()).for_each(|width| self.tell_candle(core, place, width, now_us));
            self.live.borrow_mut()[place].has_traded = false;
        }
    }

    fn tell_book(&self, core: &mut Core, place: usize, channel: Channel, count: u64, now_us: i64) {
        let Channel::Book(precision, pace, length) = channel else { return };
        let stream = channel.index(place);
        if core.subs[stream].is_empty() {
            self.live.borrow_mut()[place].views.remove(&channel.place());
            return;
        }
        if pace == 1 && !count.is_multiple_of(SLOW) {
            return;
        }
        let (rows, checksum) = {
            let live = &mut self.live.borrow_mut()[place];
            let spec = &core.symbols[place].spec;
            let view = View::of(&live.orders, spec, precision, LENGTHS[length]);
            let Some(before) = live.views.get(&channel.place()) else { return };
            let (rows, checksum) = (view.since(before), view.checksum());
            live.views.insert(channel.place(), view);
            (rows, checksum)
        };
        if rows.is_empty() {
            return;
        }
        let id = core.symbols[place].book.update_id();
        for at in 0..core.subs[stream].len() {
            let conn = Rc::clone(&core.subs[stream][at]);
            self.tell_batch(core, &conn, stream, id, &rows, checksum, now_us);
        }
    }

    /// A batch as this connection wants it.
    #[allow(clippy::too_many_arguments, reason = "a batch and whom it is for")]
    fn tell_batch(
        &self,
        core: &mut Core,
        conn: &Conn,
        stream: usize,
        id: u64,
        rows: &[(bool, Row)],
        checksum: i32,
        now_us: i64,
    ) {
        let flags = self.flags(conn);
        let mut body = Vec::with_capacity(48);
        if flags & session::BULK != 0 {
            render::book(&mut body, rows.iter().map(|(is_bid, row)| (*is_bid, row)));
            self.deliver(core, conn, stream, id, &body, now_us);
        } else {
            for (is_bid, row) in rows {
                body.clear();
                row.push(&mut body, *is_bid);
                self.deliver(core, conn, stream, id, &body, now_us);
            }
        }
        if flags & session::CHECKSUM != 0 {
            body.clear();
            body.extend_from_slice(b"\"cs\",");
            push_i64(&mut body, checksum.into());
            self.deliver(core, conn, stream, id, &body, now_us);
        }
    }

    fn tell_candle(&self, core: &mut Core, place: usize, width: usize, now_us: i64) {
        let stream = Channel::Candles(width).index(place);
        if core.subs[stream].is_empty() {
            self.live.borrow_mut()[place].bars[width] = None;
            return;
        }
        let (known, has_traded) = {
            let live = &self.live.borrow()[place];
            (live.bars[width].map(|(at, _)| at), live.has_traded || !self.is_live)
        };
        if !has_traded {
            return;
        }
        let open_us = WIDTHS[width].1.open(now_us);
        // The last trades of a candle that has closed in between.
        let closed = known.filter(|at| *at < open_us);
        for at in closed.into_iter().chain([open_us]) {
            // Where nothing was traded there is no candle.
            if let Some(bar) = self.candle(core, place, width, at, now_us).filter(|bar| bar.trades > 0) {
                let mut body = Vec::with_capacity(96);
                render::candle(&mut body, &bar, self.options.dust);
                self.publish(core, stream, 0, &body, now_us);
            }
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
        if bar.trades == 0 {
            return Some(traded);
        }
        bar.add(&traded);
        Some(bar)
    }

    /// The book as those who follow it have it, or the one of the start when a fault says so.
    fn view(&self, core: &mut Core, place: usize, channel: Channel) -> View {
        let Channel::Book(precision, _, length) = channel else { return View::default() };
        let length = LENGTHS[length];
        let live = &mut self.live.borrow_mut()[place];
        let fresh = || View::of(&live.orders, &core.symbols[place].spec, precision, length);
        let view = live.views.get(&channel.place()).cloned().unwrap_or_else(fresh);
        live.views.insert(channel.place(), view.clone());
        if core.faults.stales_snapshot(&self.pairs[place].symbol) {
            return View::of_ladder(&core.first_books[place].1, precision, length);
        }
        view
    }

    /// Sends a new subscriber what there is: the last trades, the book, the ticker, the last candles.
    pub(super) fn show(&self, core: &mut Core, conn: &Rc<Conn>, channel: Channel, place: usize, now_us: i64) {
        let mut body = Vec::new();
        let Some(id) = self.shown(core, channel, place, now_us, &mut body) else { return };
        self.deliver(core, conn, channel.index(place), id, &body, now_us);
    }

    /// Writes what a new subscriber is shown; gives the id that the ledger notes of it.
    fn shown(&self, core: &mut Core, channel: Channel, place: usize, now_us: i64, out: &mut Vec<u8>) -> Option<u64> {
        match channel {
            Channel::Trades => {
                let rows = self.tape(core, place)?.newest(SHOWN_TRADES, now_us);
                out.push(b'[');
                for (at, row) in super::rest::pages::newest_first(&rows).into_iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    render::trade(out, self.trade_id(place, row.id), &row);
                }
                out.push(b']');
                Some(rows.last().map_or(0, |row| self.trade_id(place, row.id)))
            }
            Channel::Ticker => {
                out.extend(self.ticker_body(core, place, now_us)?);
                Some(core.symbols[place].book.update_id())
            }
            Channel::Book(..) => {
                let view = self.view(core, place, channel);
                render::book(out, view.rows());
                Some(core.symbols[place].book.update_id())
            }
            Channel::Candles(width) => {
                let interval = WIDTHS[width].1;
                let wanted = super::rest::pages::Candles {
                    interval,
                    start_us: 0,
                    end_us: now_us,
                    count: SHOWN_CANDLES,
                    oldest_first: false,
                };
                out.push(b'[');
                for (at, bar) in super::rest::pages::candles(self.tape(core, place)?, wanted, now_us).iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    render::candle(out, bar, self.options.dust);
                }
                out.push(b']');
                Some(0)
            }
        }
    }

    /// Changes some levels close to the best, of which nobody hears: the next checksum says so.
    pub(super) fn change_unheard(&self, core: &mut Core, place: usize, count: u64) -> String {
        let state = &mut core.symbols[place];
        if let Some(engine) = &mut state.engine {
            engine.rearrange(count, &mut state.book);
        }
        state.book.lose(count);
        let live = &mut self.live.borrow_mut()[place];
        live.orders.follow_all(&state.book);
        for book in books() {
            if let (Channel::Book(precision, _, length), Some(view)) = (book, live.views.get_mut(&book.place())) {
                *view = View::of(&live.orders, &state.spec, precision, LENGTHS[length]);
            }
        }
        format!("{count} levels of {} changed and nobody was told", self.pairs[place].id)
    }
}
