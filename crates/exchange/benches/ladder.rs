//! An order book as a sorted vector against the same as a `BTreeMap`: updates near the touch, as markets make them.
//! `cargo bench -p dccd-exchange --bench ladder`; time on the processor (so that a busy machine disturbs
//! little), median of eleven rounds.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use dccd_exchange::Ladder;
use dccd_model::{BookLevel, BookSide, Decimal, Flags, UnixNanos};
use rustix::time::{ClockId, clock_gettime};

/// Time that this thread has spent on a processor.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

const UPDATES: usize = 200_000;
const DEPTH: i64 = 5_000;

fn level(bid: bool, ticks: i64, amount: i64) -> BookLevel {
    BookLevel {
        ts_venue: UnixNanos(1),
        ts_recv: UnixNanos(1),
        price: Decimal::new(ticks * 1_000_000, -8),
        amount: Decimal::new(amount, -8),
        update_id: 1,
        side: if bid { BookSide::Bid } else { BookSide::Ask },
        flags: Flags::LAST,
        epoch: 1,
        order_count: 0,
    }
}

fn snapshot() -> Vec<BookLevel> {
    let touch = 6_000_000;
    let mut all: Vec<BookLevel> = (1..=DEPTH).map(|d| level(true, touch - d, 1)).collect();
    all.extend((1..=DEPTH).map(|d| level(false, touch + d, 1)));
    let last = all.len() - 1;
    for (i, level) in all.iter_mut().enumerate() {
        level.flags = Flags::SNAPSHOT;
        if i == 0 {
            level.flags |= Flags::FIRST;
        }
        if i == last {
            level.flags |= Flags::LAST;
        }
    }
    all
}

/// Distance from the touch grows like 1/x: most updates at the best levels, a few deep down. A third of them remove.
fn updates() -> Vec<BookLevel> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        i64::try_from(state >> 1).unwrap_or(0)
    };
    let touch = 6_000_000;
    let mut all = Vec::new();
    all.extend((0..UPDATES).map(|_| {
        let distance = 1 + DEPTH / (1 + next() % DEPTH) * (1 + next() % 4) / 2;
        let bid = next() % 2 == 0;
        let amount = if next() % 3 == 0 { 0 } else { 1 + next() % 1_000_000 };
        level(bid, if bid { touch - distance } else { touch + distance }, amount)
    }));
    all
}

#[allow(clippy::print_stdout, clippy::cast_precision_loss)] // it is a program that prints what it measured
fn measure<B: Clone>(name: &str, book: &B, updates: &[BookLevel], mut apply: impl FnMut(&mut B, &BookLevel) -> bool) {
    let mut rounds: Vec<f64> = (0..11)
        .map(|_| {
            let mut book = book.clone();
            let begin = cpu_time();
            let mut crossed = 0;
            for update in updates {
                crossed += usize::from(apply(&mut book, update));
            }
            black_box(crossed);
            (cpu_time() - begin).as_nanos() as f64 / updates.len() as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    println!("{name:>24}: {:6.1} ns a level (best {:.1})", rounds[rounds.len() / 2], rounds[0]);
}

type Sides = [BTreeMap<Decimal, Decimal>; 2];

fn vector(book: &mut Ladder, update: &BookLevel) -> bool {
    book.apply(update);
    update.flags.contains(Flags::LAST) && book.is_crossed()
}

fn tree(sides: &mut Sides, update: &BookLevel) -> bool {
    let side = &mut sides[usize::from(update.side == BookSide::Bid)];
    if update.amount.is_zero() {
        side.remove(&update.price);
    } else {
        side.insert(update.price, update.amount);
    }
    let best = (sides[1].last_key_value(), sides[0].first_key_value());
    update.flags.contains(Flags::LAST) && matches!(best, (Some(bid), Some(ask)) if bid.0 >= ask.0)
}

fn main() {
    let (snapshot, updates) = (snapshot(), updates());
    measure("snapshot, sorted vector", &Ladder::new(), &snapshot, vector);
    measure("snapshot, BTreeMap", &Sides::default(), &snapshot, tree);
    let mut book = Ladder::new();
    let mut sides = Sides::default();
    for level in &snapshot {
        vector(&mut book, level);
        tree(&mut sides, level);
    }
    measure("updates, sorted vector", &book, &updates, vector);
    measure("updates, BTreeMap", &sides, &updates, tree);
}
