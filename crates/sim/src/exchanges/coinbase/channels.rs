//! From what the market does to frames: trades are told at once, books each 50 ms, heartbeats each second.

use std::rc::Rc;

use dccd_model::BookSide;

use super::book::Told;
use super::products;
use super::render::{Match, Ticker};
use super::streams::Channel;
use super::{Coinbase, render};
use crate::deep::minute::MINUTE_US;
use crate::hub::Core;
use crate::market::engine::Event;
use crate::market::history::Bar;
use crate::market::{Ladder, SymbolState};
use crate::ws::queue::Conn;

const DAY_US: i64 = 1_440 * MINUTE_US;
/// Changes of a book are told together that happen within this time.
const BATCH_US: i64 = 50_000;
/// Pulses in a second, and in what lies between two of those that come each five.
const SECOND: u64 = 10;
const FIVE_SECONDS: u64 = 50;
/// Orders that a trade touches: the one that took, and the one that rested.
const PER_TRADE: u64 = 2;

/// What subscribers of one product have before them.
#[derive(Debug)]
pub(super) struct Live {
    /// The book as the last update left it.
    told: Told,
    told_us: i64,
    /// Of the last thing that happened to an order.
    pub(super) sequence: u64,
    /// The book's own number up to which `sequence` counts.
    counted: u64,
    /// The last trade of the live market.
    last: Option<Match>,
    /// Whether there was a trade since `ticker_batch` was told.
    has_traded: bool,
    /// The minute, and all that was traded in the day before it: dear to make anew each time.
    day: Option<(i64, Bar)>,
}

impl Live {
    pub(super) fn of(state: &SymbolState) -> Self {
        let counted = state.book.update_id();
        Self {
            told: Told::of(&state.book),
            told_us: 0,
            sequence: counted,
            counted,
            last: None,
            has_traded: false,
            day: None,
        }
    }
}

impl Coinbase {
    pub(super) fn index(&self, channel: Channel, place: usize) -> usize {
        channel.index(place, self.products.len())
    }

    /// Tells what a step brought about.
    pub(super) fn tell(&self, core: &mut Core, place: usize, events: &[Event], now_us: i64) {
        let mut first_id = None;
        for event in events {
            if let Event::Trade(row) = event {
                let told = {
                    let live = &mut self.live.borrow_mut()[place];
                    live.sequence += PER_TRADE;
                    live.has_traded = true;
                    let first_id = *first_id.get_or_insert(row.id);
                    *live.last.insert(Match { row: *row, sequence: live.sequence, first_id })
                };
                let product = &self.products[place];
                let stream = self.index(Channel::Matches, place);
                core.publish(stream, row.id, |out, _| render::matched(out, "match", product, &told));
                self.tell_ticker(core, place, Channel::Ticker, now_us);
            }
        }
        let is_due = {
            let live = &mut self.live.borrow_mut()[place];
            let update_id = core.symbols[place].book.update_id();
            live.sequence += update_id - live.counted;
            live.counted = update_id;
            now_us - live.told_us >= BATCH_US
        };
        if is_due {
            self.tell_book(core, place, now_us);
        }
    }

    /// Tells what comes by the clock.
    pub(super) fn beat(&self, core: &mut Core, place: usize, count: u64, now_us: i64) {
        self.tell_book(core, place, now_us);
        if count.is_multiple_of(SECOND)
            && let Some(last) = self.last(core, place, now_us)
        {
            let (product, sequence) = (&self.products[place], self.live.borrow()[place].sequence);
            let stream = self.index(Channel::Heartbeat, place);
            core.publish(stream, last.row.id, |out, _| render::heartbeat(out, product, last.row.id, sequence, now_us));
        }
        if count.is_multiple_of(FIVE_SECONDS) && std::mem::take(&mut self.live.borrow_mut()[place].has_traded) {
            self.tell_ticker(core, place, Channel::TickerBatch, now_us);
        }
    }

    /// Tells the state of all products, each five seconds.
    pub(super) fn tell_status(&self, core: &mut Core, count: u64) {
        let stream = self.index(Channel::Status, 0);
        if count.is_multiple_of(FIVE_SECONDS) && !core.subs[stream].is_empty() {
            let text = self.status();
            core.publish(stream, 0, |out, _| out.extend_from_slice(&text));
        }
    }

    fn status(&self) -> Vec<u8> {
        let mut text = b"{\"type\":\"status\",\"currencies\":".to_vec();
        text.extend_from_slice(products::currencies(&self.products).to_string().as_bytes());
        text.extend_from_slice(b",\"products\":");
        text.extend_from_slice(&products::list(&self.products));
        text.push(b'}');
        text
    }

    /// Tells what has become other than it was told.
    fn tell_book(&self, core: &mut Core, place: usize, now_us: i64) {
        let (changes, sequence) = {
            let live = &mut self.live.borrow_mut()[place];
            live.told_us = now_us;
            let SymbolState { book, spec, .. } = &mut core.symbols[place];
            let touched = book.take_touched();
            (live.told.follow(book, spec, touched), live.sequence)
        };
        if changes.bids.is_empty() && changes.asks.is_empty() {
            return;
        }
        let product = &self.products[place];
        let stream = self.index(Channel::Book, place);
        core.publish(stream, sequence, |out, _| render::update(out, product, &changes, now_us));
    }

    fn tell_ticker(&self, core: &mut Core, place: usize, channel: Channel, now_us: i64) {
        let stream = self.index(channel, place);
        if core.subs[stream].is_empty() {
            return;
        }
        let Some(ticker) = self.ticker(core, place, now_us) else { return };
        let (product, id) = (&self.products[place], ticker.told.row.id);
        core.publish(stream, id, |out, _| render::ticker(out, product, &ticker));
    }

    /// The last trade.
    fn last(&self, core: &Core, place: usize, now_us: i64) -> Option<Match> {
        let (last, sequence) = {
            let live = &self.live.borrow()[place];
            (live.last, live.sequence)
        };
        last.or_else(|| {
            let row = self.tape(core, place)?.newest(1, now_us).pop()?;
            Some(Match { row, sequence, first_id: row.id })
        })
    }

    /// The figures of a ticker.
    pub(super) fn ticker(&self, core: &Core, place: usize, now_us: i64) -> Option<Ticker> {
        let told = self.last(core, place, now_us)?;
        let tape = self.tape(core, place)?;
        let minute_us = now_us.div_euclid(MINUTE_US) * MINUTE_US;
        let next_us = minute_us + MINUTE_US;
        let live = &mut self.live.borrow_mut()[place];
        let known = live.day.filter(|(minute, _)| *minute == minute_us);
        let (_, mut day) = *live.day.insert(known.unwrap_or_else(|| {
            // All but the open minute stands as it is until the next one begins.
            let from_us = next_us - DAY_US;
            (minute_us, tape.bars(from_us, minute_us - 1).whole(from_us, minute_us))
        }));
        day.add(&tape.bars(minute_us, now_us).whole(minute_us, next_us));
        Some(Ticker { told, quote: core.symbols[place].quote(), day })
    }

    /// The book of the start when a fault says so; otherwise what `now` makes of the present one.
    pub(super) fn book(&self, core: &mut Core, place: usize, now: impl FnOnce(&Told, &SymbolState) -> Ladder) -> Ladder {
        if core.faults.stales_snapshot(&self.products[place].symbol) {
            return core.first_books[place].1.clone();
        }
        now(&self.live.borrow()[place].told, &core.symbols[place])
    }

    /// Sends a new subscriber what there is: the last trade, the ticker, the book, the status.
    pub(super) fn show(&self, core: &mut Core, conn: &Rc<Conn>, channel: Channel, place: usize, now_us: i64) {
        let mut text = Vec::new();
        let Some(id) = self.shown(core, channel, place, now_us, &mut text) else { return };
        core.deliver_text(conn, self.index(channel, place), id, &text);
    }

    /// Writes what a new subscriber is shown; gives the id that the ledger notes of it.
    fn shown(&self, core: &mut Core, channel: Channel, place: usize, now_us: i64, out: &mut Vec<u8>) -> Option<u64> {
        match channel {
            Channel::Matches => {
                let last = self.last(core, place, now_us)?;
                render::matched(out, "last_match", &self.products[place], &last);
                Some(last.row.id)
            }
            Channel::Ticker | Channel::TickerBatch => {
                let ticker = self.ticker(core, place, now_us)?;
                render::ticker(out, &self.products[place], &ticker);
                Some(ticker.told.row.id)
            }
            Channel::Book => {
                // As it was told last: what has happened since is told next.
                let ladder = self.book(core, place, |told, state| told.ladder(&state.spec));
                render::snapshot(out, &self.products[place], &ladder);
                Some(self.live.borrow()[place].sequence)
            }
            Channel::Heartbeat => None,
            Channel::Status => {
                *out = self.status();
                Some(0)
            }
        }
    }

    /// Changes the sizes of so many of the best levels, of which nobody hears.
    pub(super) fn change_unheard(&self, core: &mut Core, place: usize, count: u64, now_us: i64) -> String {
        // What is still to be told is told before.
        self.tell_book(core, place, now_us);
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
        book.lose(count);
        self.live.borrow_mut()[place].told = Told::of(book);
        format!("{count} of the best levels of {} changed and nobody was told", self.products[place].id)
    }
}
