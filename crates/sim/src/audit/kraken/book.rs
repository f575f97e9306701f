//! Order books without numbers: each epoch begins with a snapshot that was sent, or with the book that messages had made of one (where
//! another connection takes over which had it already), and from there on the stored rows are the sent ones, message by message, and
//! make the same book.
//!
//! Rows that end a level which fell out of the depth are in no message; they are right where the sent book doesn't have the level.
//! What a message ends that isn't there (it came again, or one before it was dropped) says nothing, and needn't have a row.

use std::collections::BTreeMap;
use std::path::PathBuf;

use dccd_model::{BookSide, Gap, UnixNanos};
use dccd_store::BookRow;

use super::super::{AuditError, SeriesAudit, gaps};
use super::Entry;

/// Is a bid, price, amount.
pub(in crate::audit) type Levels = Vec<(bool, f64, f64)>;

/// How often the two books are held against each other level by level, in messages; how many they have, each time.
const COMPARED_EACH: usize = 64;

/// A book as its rows make it. Doubles above zero are in the order of their bits.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sides {
    bids: BTreeMap<u64, f64>,
    asks: BTreeMap<u64, f64>,
}

impl Sides {
    fn side(&mut self, is_bid: bool) -> &mut BTreeMap<u64, f64> {
        if is_bid { &mut self.bids } else { &mut self.asks }
    }

    fn len(&self) -> (usize, usize) {
        (self.bids.len(), self.asks.len())
    }

    /// Whether this ends a level that isn't there.
    fn is_idle(&mut self, (is_bid, price, amount): (bool, f64, f64)) -> bool {
        amount == 0.0 && !self.side(is_bid).contains_key(&price.to_bits())
    }

    fn set(&mut self, (is_bid, price, amount): (bool, f64, f64)) {
        let side = self.side(is_bid);
        if amount == 0.0 {
            side.remove(&price.to_bits());
        } else {
            side.insert(price.to_bits(), amount);
        }
    }

    fn cut(&mut self, depth: usize) {
        while self.bids.len() > depth {
            self.bids.pop_first();
        }
        while self.asks.len() > depth {
            self.asks.pop_last();
        }
    }
}

/// An epoch of the stored book.
struct Epoch {
    number: u32,
    snapshot: Levels,
    updates: Vec<(UnixNanos, (bool, f64, f64))>,
    first_ts: UnixNanos,
    last_ts: UnixNanos,
}

fn read(files: &[PathBuf], result: &mut SeriesAudit) -> Result<Vec<Epoch>, AuditError> {
    let mut epochs: Vec<Epoch> = Vec::new();
    for file in files {
        for row in dccd_store::read_book(file)? {
            let row: BookRow = row?;
            if epochs.last().is_none_or(|epoch| epoch.number != row.epoch) {
                if !row.is_snapshot {
                    result.wrong += 1;
                    result.problem(|| format!("epoch {} does not begin with a snapshot", row.epoch));
                }
                let (snapshot, updates) = (Vec::new(), Vec::new());
                epochs.push(Epoch { number: row.epoch, snapshot, updates, first_ts: row.ts, last_ts: row.ts });
            }
            let Some(epoch) = epochs.last_mut() else { continue };
            epoch.last_ts = row.ts;
            let level = (row.side == BookSide::Bid, row.price, row.amount);
            if row.is_snapshot { epoch.snapshot.push(level) } else { epoch.updates.push((row.ts, level)) }
        }
    }
    Ok(epochs)
}

/// How the rows of an entry come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rows {
    /// All or none.
    Together,
    /// Each by itself, and a checksum later: where a gap is declared an epoch may end within an entry, and rows that no checksum proved
    /// any more are within the gap.
    OneByOne,
}

/// What was sent at each depth, in the order of its times, against the files.
pub(in crate::audit) fn audit(
    symbol: &str,
    depths: &BTreeMap<usize, Vec<Entry<Levels>>>,
    files: &[PathBuf],
) -> Result<SeriesAudit, AuditError> {
    audit_rows(symbol, depths, Rows::Together, files)
}

/// The same where each level that changes is a message of its own.
pub(in crate::audit) fn audit_one_by_one(
    symbol: &str,
    depths: &BTreeMap<usize, Vec<Entry<Levels>>>,
    files: &[PathBuf],
) -> Result<SeriesAudit, AuditError> {
    audit_rows(symbol, depths, Rows::OneByOne, files)
}

fn audit_rows(
    symbol: &str,
    depths: &BTreeMap<usize, Vec<Entry<Levels>>>,
    rows: Rows,
    files: &[PathBuf],
) -> Result<SeriesAudit, AuditError> {
    let mut result = SeriesAudit { series: format!("{symbol}/book"), ..SeriesAudit::default() };
    let gaps = gaps(files)?;
    result.count_gaps(&gaps);
    let mut epochs = read(files, &mut result)?;
    let ends = match rows {
        Rows::Together => Vec::new(),
        Rows::OneByOne => declared_ends(&epochs, &gaps),
    };
    for (epoch, end) in epochs.iter_mut().zip(&ends) {
        epoch.updates.retain(|(ts, _)| end.is_none_or(|end| *ts <= end));
    }
    // Which messages are stored; of each depth that the store has something of.
    let mut stored: BTreeMap<usize, Vec<bool>> = BTreeMap::new();
    for (place, epoch) in epochs.iter().enumerate() {
        let Some(Begin { depth, at, left }) = begins(epoch, depths).or_else(|| takes_over(epoch, depths, rows)) else {
            result.wrong += 1;
            result.problem(|| format!("epoch {} begins with a snapshot that was never sent", epoch.number));
            continue;
        };
        let entries = &depths[&depth];
        let met = stored.entry(depth).or_insert_with(|| vec![false; entries.len()]);
        let may_end_within = ends.get(place).is_some_and(Option::is_some);
        Walk { entries, depth, may_end_within, met, result: &mut result }.follow(epoch, at, left);
    }
    if stored.is_empty()
        && let Some((depth, entries)) = depths.first_key_value()
    {
        stored.insert(*depth, vec![false; entries.len()]);
    }
    for (depth, met) in &stored {
        for (entry, met) in depths[depth].iter().zip(met).filter(|(entry, _)| !entry.is_snapshot) {
            result.stored += u64::from(*met);
            match covered(&epochs, &gaps, entry) {
                _ if *met => result.sent += 1,
                // A checksum that is wrong must not be believed, whatever else stands beside it.
                _ if !entry.must => {}
                Covered::BeforeAll => {}
                Covered::ByGap => {
                    result.sent += 1;
                    result.declared += 1;
                }
                Covered::Not => {
                    result.sent += 1;
                    result.missing += 1;
                    result
                        .problem(|| format!("the update of {} µs was sent and is neither stored nor declared", entry.ts_us));
                }
            }
        }
    }
    Ok(result)
}

/// Of each epoch that a gap ends: from when on the gap declares it, which is its last moment or one before.
fn declared_ends(epochs: &[Epoch], gaps: &[Gap]) -> Vec<Option<UnixNanos>> {
    let end = |place: usize| {
        let (epoch, next) = (&epochs[place], epochs.get(place + 1)?);
        let is_within = |ts: UnixNanos| epoch.first_ts <= ts && ts <= epoch.last_ts;
        let ends = |gap: &&Gap| !gap.repaired && is_within(gap.from) && gap.to >= next.first_ts;
        gaps.iter().filter(ends).map(|gap| gap.from).min()
    };
    (0..epochs.len()).map(end).collect()
}

/// Where an epoch begins.
struct Begin {
    depth: usize,
    /// The place of the entry that made its book.
    at: usize,
    /// What of that entry comes after.
    left: Levels,
}

/// The book that an epoch begins with, where messages had made it of a snapshot: at the epoch's own time.
fn takes_over(epoch: &Epoch, depths: &BTreeMap<usize, Vec<Entry<Levels>>>, rows: Rows) -> Option<Begin> {
    let mut wanted = Sides::default();
    epoch.snapshot.iter().for_each(|level| wanted.set(*level));
    for (depth, entries) in depths {
        let mut sides = Sides::default();
        for (at, entry) in entries.iter().enumerate() {
            if entry.is_snapshot {
                sides = Sides::default();
            }
            let is_then = !entry.is_snapshot && UnixNanos::from_micros(entry.ts_us) == epoch.first_ts;
            for (place, level) in entry.what.iter().enumerate() {
                sides.set(*level);
                if is_then && rows == Rows::OneByOne && sides == wanted {
                    return Some(Begin { depth: *depth, at, left: entry.what[place + 1..].to_vec() });
                }
            }
            sides.cut(*depth);
            if is_then && sides == wanted {
                return Some(Begin { depth: *depth, at, left: Levels::new() });
            }
        }
    }
    None
}

/// The snapshot that an epoch begins with.
fn begins(epoch: &Epoch, depths: &BTreeMap<usize, Vec<Entry<Levels>>>) -> Option<Begin> {
    let sorted = |levels: &Levels| {
        let mut levels: Vec<_> =
            levels.iter().map(|(is_bid, price, amount)| (*is_bid, price.to_bits(), amount.to_bits())).collect();
        levels.sort_unstable();
        levels
    };
    let wanted = sorted(&epoch.snapshot);
    // Where the same book was shown several times, the one that lies next to the epoch's own time.
    let mut found: Option<(u64, (usize, usize))> = None;
    for (depth, entries) in depths {
        for (at, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.is_snapshot) {
            if entry.what.len() == epoch.snapshot.len() && sorted(&entry.what) == wanted {
                let apart = UnixNanos::from_micros(entry.ts_us).0.abs_diff(epoch.first_ts.0);
                if found.is_none_or(|(least, _)| apart < least) {
                    found = Some((apart, (*depth, at)));
                }
            }
        }
    }
    found.map(|(_, (depth, at))| Begin { depth, at, left: Levels::new() })
}

struct Walk<'a> {
    entries: &'a [Entry<Levels>],
    depth: usize,
    /// A gap is declared from its last row on, whatever of its message is missing then.
    may_end_within: bool,
    met: &'a mut [bool],
    result: &'a mut SeriesAudit,
}

impl Walk<'_> {
    /// Follows an epoch from the message at this place, of which this is still to come.
    fn follow(&mut self, epoch: &Epoch, begin: usize, rest: Levels) {
        let mut kept = Sides::default();
        epoch.snapshot.iter().for_each(|level| kept.set(*level));
        let mut sent = kept.clone();
        rest.iter().for_each(|level| sent.set(*level));
        self.met[begin] = true;
        // Where we are, what of that message is still to come or may come, and how often it may come again.
        let (mut at, mut left, mut idle, mut repeats, mut messages) = (begin, rest, Levels::new(), 0, 0);
        for (ts, level) in &epoch.updates {
            loop {
                if let Some(place) = left.iter().position(|wanted| wanted == level) {
                    left.swap_remove(place);
                    break;
                }
                if let Some(place) = idle.iter().position(|wanted| wanted == level) {
                    idle.swap_remove(place);
                    break;
                }
                let (is_bid, price, amount) = *level;
                if amount == 0.0
                    && !sent.side(is_bid).contains_key(&price.to_bits())
                    && kept.side(is_bid).contains_key(&price.to_bits())
                {
                    // It fell out of the depth.
                    break;
                }
                if !left.is_empty() {
                    self.wrong(
                        epoch,
                        format!("the row {level:?} of {ts} is not of its message, of which {left:?} is missing"),
                    );
                    break;
                }
                if sent.len() != kept.len() || (messages % COMPARED_EACH == 0 && sent != kept) {
                    self.wrong(epoch, format!("the rows before {ts} do not make the book that was sent"));
                    kept = sent.clone();
                }
                let is_next = |entry: &Entry<Levels>| !entry.is_snapshot && entry.what.contains(level);
                let next = (at + 1..self.entries.len()).find(|next| is_next(&self.entries[*next]));
                let follows = next.is_some_and(|next| self.entries[at + 1..next].iter().all(|entry| entry.is_snapshot));
                if !follows && repeats > 0 && self.entries[at].what.contains(level) {
                    repeats -= 1;
                    (idle, left) = self.levels(at, &mut sent);
                    continue;
                }
                let Some(next) = next else {
                    self.wrong(epoch, format!("the row {level:?} of {ts} was never sent"));
                    break;
                };
                self.pass_idle(at + 1..next, &mut sent);
                at = next;
                messages += 1;
                repeats = self.entries[at].repeats;
                (idle, left) = self.levels(at, &mut sent);
                left.iter().for_each(|level| sent.set(*level));
                sent.cut(self.depth);
                self.met[at] = true;
            }
            kept.set(*level);
        }
        self.pass_idle(at + 1..self.entries.len(), &mut sent);
        if !left.is_empty() && self.may_end_within {
            self.met[at] = false;
        } else if !left.is_empty() {
            self.wrong(epoch, format!("of its last message {left:?} is missing"));
        } else if sent != kept {
            self.wrong(epoch, "its rows do not make the book that was sent".to_owned());
        }
    }

    /// The levels of a message: those that say nothing of this book, as they end what isn't there, and those that do.
    fn levels(&self, at: usize, sent: &mut Sides) -> (Levels, Levels) {
        self.entries[at].what.iter().partition(|level| sent.is_idle(**level))
    }

    /// Messages that say nothing of this book need no row; the first one that does may be missing, and so may all after it.
    fn pass_idle(&mut self, range: std::ops::Range<usize>, sent: &mut Sides) {
        for at in range {
            if self.entries[at].is_snapshot {
                continue;
            }
            if !self.levels(at, sent).1.is_empty() {
                break;
            }
            self.met[at] = true;
        }
    }

    fn wrong(&mut self, epoch: &Epoch, what: String) {
        self.result.wrong += 1;
        self.result.problem(|| format!("epoch {}: {what}", epoch.number));
    }
}

enum Covered {
    /// The series begins later.
    BeforeAll,
    ByGap,
    Not,
}

/// What explains that a message is not stored: the snapshot after it, in the first epoch or after a declared gap.
fn covered(epochs: &[Epoch], gaps: &[Gap], entry: &Entry<Levels>) -> Covered {
    let ts = UnixNanos::from_micros(entry.ts_us);
    let Some(index) = epochs.iter().position(|epoch| ts <= epoch.first_ts) else { return Covered::Not };
    let Some(before) = index.checked_sub(1).map(|i| &epochs[i]) else { return Covered::BeforeAll };
    // A gap may reach back into the epoch that it ends: messages that changed places are noticed at the later one.
    let holds = |g: &Gap| !g.repaired && g.from <= before.last_ts.min(ts) && g.to >= epochs[index].first_ts;
    if gaps.iter().any(holds) { Covered::ByGap } else { Covered::Not }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_may_begin_with_the_book_that_messages_made_and_with_no_other() {
        let entry = |ts_us, is_snapshot, what: &[(bool, f64, f64)]| {
            (ts_us, Entry { ts_us, is_snapshot, must: true, repeats: 0, what: what.to_vec() })
        };
        let (bid, ask) = ((true, 99.0, 1.0), (false, 101.0, 1.0));
        let change = [(true, 99.0, 0.0), (true, 98.0, 2.0), (false, 101.0, 3.0)];
        let sent = [entry(1, true, &[bid, ask]), entry(2, false, &change), entry(3, false, &[bid])];
        let depths = BTreeMap::from([(25, sent.into_iter().map(|(_, entry)| entry).collect())]);
        let begin = |snapshot: &[(bool, f64, f64)], ts_us, rows| {
            let (first_ts, snapshot) = (UnixNanos::from_micros(ts_us), snapshot.to_vec());
            let epoch = Epoch { number: 2, snapshot, updates: Vec::new(), first_ts, last_ts: first_ts };
            takes_over(&epoch, &depths, rows).map(|begin| (begin.at, begin.left.len()))
        };
        let (within, whole) = ([(true, 98.0, 2.0), ask], [(true, 98.0, 2.0), (false, 101.0, 3.0)]);
        assert_eq!([&within, &whole].map(|book| begin(book, 2, Rows::OneByOne)), [Some((1, 1)), Some((1, 0))]);
        assert_eq!([&within, &whole].map(|book| begin(book, 2, Rows::Together)), [None, Some((1, 0))]);
        // At another time it was no such book, nor is one of other amounts.
        assert_eq!([begin(&whole, 3, Rows::OneByOne), begin(&[bid, (false, 101.0, 3.0)], 2, Rows::OneByOne)], [None, None]);
    }
}
