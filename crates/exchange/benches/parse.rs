//! How long one frame takes from its bytes to its records, through the session as the daemon uses it.
//! `cargo bench -p dccd-exchange --bench parse`; time on the processor (so that a busy machine disturbs
//! little), median of eleven rounds.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use dccd_exchange::{AdapterOptions, FeedIndex, Notice, Output, Session, Want, adapter};
use dccd_model::{BookLevel, BookState, Entry, EntryKind, Gap, Quote, Trade, UnixNanos};
use rustix::time::{ClockId, clock_gettime};

/// Time that this thread has spent on a processor.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

const EXCHANGE_INFO: &[u8] = include_bytes!("../src/binance/testdata/exchange_info.json");
const FRAMES: u64 = 100_000;

#[derive(Default)]
struct Count(u64);

impl Output for Count {
    fn trade(&mut self, _: FeedIndex, trade: &Trade) {
        black_box(trade);
        self.0 += 1;
    }
    fn quote(&mut self, _: FeedIndex, quote: &Quote) {
        black_box(quote);
        self.0 += 1;
    }
    fn level(&mut self, _: FeedIndex, level: &BookLevel) {
        black_box(level);
        self.0 += 1;
    }
    fn gap(&mut self, _: FeedIndex, gap: &Gap) {
        panic!("a gap in a run without any: {gap:?}");
    }
    fn book_state(&mut self, _: FeedIndex, _: BookState, _: u32) {}
    fn want(&mut self, _: Want) {}
    fn notice(&mut self, notice: Notice<'_>) {
        panic!("{notice:?}");
    }
}

fn session() -> Box<dyn Session> {
    let binance = adapter("binance", &AdapterOptions::default()).expect("there is a binance adapter");
    let markets = Arc::new(binance.parse_markets(EXCHANGE_INFO).expect("its own test data are readable"));
    let mut session = binance.session(markets);
    let mut out = Count::default();
    for channel in ["trades", "quotes", "book"] {
        let subject = format!("BTC/USDT {channel}");
        let entry = Entry { kind: EntryKind::FeedOpened, conn: 0, ts_recv: UnixNanos(1), subject: &subject, payload: b"" };
        session.apply(&entry, &mut out);
    }
    session
}

fn apply(session: &mut dyn Session, kind: EntryKind, subject: &str, payload: &[u8], out: &mut Count) {
    session.apply(&Entry { kind, conn: 1, ts_recv: UnixNanos(1_723_161_255_343_000_000), subject, payload }, out);
}

/// Times one kind of frame; `frame` makes the frame of a number.
#[allow(clippy::print_stdout, clippy::cast_precision_loss)] // it is a program that prints what it measured
fn measure(name: &str, frame: impl Fn(u64) -> String) {
    let frames: Vec<String> = (1..=FRAMES).map(&frame).collect();
    let bytes = frames.iter().map(String::len).sum::<usize>() as u64 / FRAMES;
    let mut rounds = Vec::new();
    let mut records = 0;
    for _ in 0..11 {
        let mut session = session();
        let mut out = Count::default();
        apply(
            session.as_mut(),
            EntryKind::Response,
            "depth BTC/USDT",
            br#"{"lastUpdateId":0,"bids":[["1","1"]],"asks":[["2","1"]]}"#,
            &mut out,
        );
        let begin = cpu_time();
        for frame in &frames {
            apply(session.as_mut(), EntryKind::Frame, "", frame.as_bytes(), &mut out);
        }
        rounds.push((cpu_time() - begin).as_nanos() as f64 / FRAMES as f64);
        records = out.0;
    }
    rounds.sort_by(f64::total_cmp);
    println!(
        "{name:>16}: {:7.1} ns a frame (best {:.1}), {bytes} bytes, {} records",
        rounds[rounds.len() / 2],
        rounds[0],
        records / FRAMES
    );
}

fn levels(count: usize, base: usize, number: u64) -> String {
    let levels: Vec<String> = (0..count)
        .map(|i| format!(r#"["61{:03}.{:02}000000","{}.{:05}000"]"#, base + i, i, number % 7, 12_345 + i))
        .collect();
    levels.join(",")
}

fn main() {
    measure("trade", |n| {
        format!(
            r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":1723161255343123,"s":"BTCUSDT","t":{},"p":"61837.63000000","q":"0.02000000","T":1723161255342999,"m":true,"M":true}}}}"#,
            3_735_683_258 + n
        )
    });
    measure("aggTrade", |n| {
        format!(
            r#"{{"stream":"btcusdt@aggTrade","data":{{"e":"aggTrade","E":1723161255343123,"s":"BTCUSDT","a":{},"p":"61837.63000000","q":"0.02000000","f":1,"l":2,"T":1723161255342999,"m":true,"M":true}}}}"#,
            3_035_683_258 + n
        )
    });
    measure("bookTicker", |n| {
        format!(
            r#"{{"stream":"btcusdt@bookTicker","data":{{"u":{},"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000","a":"61837.64000000","A":"1.54698000"}}}}"#,
            50_093_239_212 + n
        )
    });
    for count in [4, 20] {
        measure(&format!("depth {} levels", count * 2), |n| {
            format!(
                r#"{{"stream":"btcusdt@depth@100ms","data":{{"e":"depthUpdate","E":1723161255308123,"s":"BTCUSDT","U":{n},"u":{n},"b":[{}],"a":[{}]}}}}"#,
                levels(count, 100, n),
                levels(count, 900, n)
            )
        });
    }
}
