//! A reader in another language, written from the description of layout 1 alone, reads what we write.

mod common;

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::TestRing;
use dccd_model::{BookLevel, BookSide, Candle, Decimal, Flags, Quote, Record, Side, Span, Trade, TradeId, UnixNanos};
use dccd_ring::{FeedState, RingSpec, Writer, ring_path};

/// The script under the interpreter; `None`, said aloud, where there is none.
fn reader(test: &str, arguments: &[&str]) -> Option<Command> {
    let python = std::env::var_os("DCCD_PYTHON").unwrap_or_else(|| OsString::from("python3"));
    if let Err(error) = Command::new(&python).arg("--version").output() {
        dccd_testkit::skip(test, &format!("{} does not run: {error}", python.display()));
        return None;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/readers/ring_reader.py");
    let mut command = Command::new(python);
    command.arg(script).args(arguments);
    Some(command)
}

fn lines(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap().lines().map(str::to_owned).collect()
}

fn price(mantissa: i64, exponent: i8) -> Decimal {
    Decimal::new(mantissa, exponent)
}

fn trade() -> Trade {
    Trade {
        ts_venue: UnixNanos(1_700_000_000_123_456_000),
        ts_recv: UnixNanos(1_700_000_000_123_999_001),
        price: price(6_183_763_000_000, -8),
        amount: price(i64::MAX, -18),
        id: TradeId(4_000_000_001),
        side: Side::Sell,
        flags: Flags::FIRST | Flags::LAST,
        epoch: 7,
    }
}

fn publish<const N: usize, R: Record<N>>(ring: &TestRing, records: &[R]) -> Writer {
    let slot_size = u32::try_from(R::KIND.slot_size()).unwrap();
    let spec = RingSpec { kind: R::KIND as u32, slot_size, ..ring.spec(4) };
    let mut writer = Writer::open(&spec, 1).unwrap();
    writer.set_state(FeedState::Live);
    records.iter().for_each(|record| writer.publish(&record.encode()));
    writer.end_batch();
    writer
}

#[track_caller]
fn check<const N: usize, R: Record<N>>(test: &str, records: &[R], json: &[&str], plain: &str) {
    let ring = TestRing::new();
    let _writer = publish(&ring, records);
    let Some(mut command) = reader(test, &[&ring.name, "--json"]) else { return };
    assert_eq!(lines(&command.output().unwrap()), json);
    let mut command = reader(test, &[&ring.name, "-n", "1"]).unwrap();
    assert_eq!(lines(&command.output().unwrap()), [plain]);
}

#[test]
fn python_reads_trades() {
    let wide = Trade {
        id: TradeId(0x0123_4567_89ab_cdef_0011_2233_4455_6677),
        flags: Flags::WIDE_ID,
        side: Side::Unknown,
        price: price(-5, 2),
        amount: price(0, -8),
        ..trade()
    };
    let gap = Trade { id: TradeId::from_halves(41, 45), flags: Flags::GAP, ..trade() };
    check(
        "python_reads_trades",
        &[trade(), wide, gap],
        &[
            r#"{"sequence": 0, "ts_venue": 1700000000123456000, "ts_recv": 1700000000123999001, "price": "61837.63000000", "amount": "9.223372036854775807", "side": "sell", "id": "4000000001", "epoch": 7, "flags": ["first", "last"]}"#,
            r#"{"sequence": 1, "ts_venue": 1700000000123456000, "ts_recv": 1700000000123999001, "price": "-500", "amount": "0.00000000", "side": null, "id": "0123456789abcdef0011223344556677", "epoch": 7, "flags": ["wide_id"]}"#,
            r#"{"sequence": 2, "ts_recv": 1700000000123999001, "gap_after_id": 41, "gap_before_id": 45, "epoch": 7, "flags": ["gap"]}"#,
        ],
        "0 ts_venue=1700000000123456000 ts_recv=1700000000123999001 price=61837.63000000 amount=9.223372036854775807 \
         side=sell id=4000000001 epoch=7 flags=first,last",
    );
}

#[test]
fn python_reads_quotes() {
    let quote = Quote {
        ts_venue: UnixNanos(5),
        ts_recv: UnixNanos(6),
        bid: price(6_183_763, -2),
        bid_amount: price(15, -1),
        ask: price(6_183_764, -2),
        ask_amount: price(2, 0),
        flags: Flags::SUSPECT,
    };
    check(
        "python_reads_quotes",
        &[quote],
        &[
            r#"{"sequence": 0, "ts_venue": 5, "ts_recv": 6, "bid": "61837.63", "bid_amount": "1.5", "ask": "61837.64", "ask_amount": "2", "flags": ["suspect"]}"#,
        ],
        "0 ts_venue=5 ts_recv=6 bid=61837.63 bid_amount=1.5 ask=61837.64 ask_amount=2 flags=suspect",
    );
}

#[test]
fn python_reads_book_levels() {
    let level = BookLevel {
        ts_venue: UnixNanos(5),
        ts_recv: UnixNanos(6),
        price: price(6_183_763, -2),
        amount: price(0, 0),
        update_id: u64::MAX,
        side: BookSide::Ask,
        flags: Flags::SNAPSHOT | Flags::LAST,
        epoch: u32::MAX,
        order_count: 0,
    };
    let counted = BookLevel { side: BookSide::Bid, order_count: 3, ..level };
    check(
        "python_reads_book_levels",
        &[level, counted],
        &[
            r#"{"sequence": 0, "ts_venue": 5, "ts_recv": 6, "side": "ask", "price": "61837.63", "amount": "0", "update_id": 18446744073709551615, "epoch": 4294967295, "count": null, "flags": ["last", "snapshot"]}"#,
            r#"{"sequence": 1, "ts_venue": 5, "ts_recv": 6, "side": "bid", "price": "61837.63", "amount": "0", "update_id": 18446744073709551615, "epoch": 4294967295, "count": 3, "flags": ["last", "snapshot"]}"#,
        ],
        "0 ts_venue=5 ts_recv=6 side=ask price=61837.63 amount=0 update_id=18446744073709551615 epoch=4294967295 \
         count=None flags=last,snapshot",
    );
}

#[test]
fn python_reads_candles() {
    let candle = Candle {
        ts_open: UnixNanos(60),
        ts_recv: UnixNanos(6),
        open: price(11, -1),
        high: price(12, -2),
        low: price(13, -3),
        close: price(14, -4),
        volume: price(15, -5),
        quote_volume: price(16, 1),
        trades: 99,
        span: Span::from_secs(3600).unwrap(),
        flags: Flags::CLOSED,
    };
    check(
        "python_reads_candles",
        &[candle],
        &[
            r#"{"sequence": 0, "ts_open": 60, "ts_recv": 6, "open": "1.1", "high": "0.12", "low": "0.013", "close": "0.0014", "volume": "0.00015", "quote_volume": "160", "trades": 99, "span": 3600, "flags": ["closed"]}"#,
        ],
        "0 ts_open=60 ts_recv=6 open=1.1 high=0.12 low=0.013 close=0.0014 volume=0.00015 quote_volume=160 trades=99 \
         span=3600 flags=closed",
    );
}

#[test]
fn python_follows_a_live_ring_and_knows_what_was_overwritten() {
    let ring = TestRing::new();
    let mut writer = publish(&ring, &[trade(); 10]);
    let name = "python_follows_a_live_ring_and_knows_what_was_overwritten";
    let Some(mut command) = reader(name, &[&ring.name, "-n", "3", "--from", "newest", "--timeout", "20"]) else { return };
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It describes the ring once it has opened it; what comes after that is new to it, or the next record but few.
    let mut described = String::new();
    BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut described).unwrap();
    assert!(described.contains("sim BTC/USDT trades: trade records, live, 10 published, 4 slots, 0 gaps"), "{described}");
    while child.try_wait().unwrap().is_none() {
        writer.publish(&trade().encode());
        std::thread::park_timeout(Duration::from_millis(1)); // a thousand records a second
    }
    let printed = lines(&child.wait_with_output().unwrap());
    assert_eq!(printed.len(), 3, "{printed:?}");
    let sequences: Vec<u64> = printed.iter().map(|l| l.split(' ').next().unwrap().parse().unwrap()).collect();
    assert!(sequences[0] >= 10 && sequences.is_sorted() && sequences[2] < writer.cursor(), "{sequences:?}");

    // Of a ring at rest, it gives the last four: no more are there.
    drop(writer);
    let last = Writer::open(&RingSpec { capacity: 4, ..ring.spec(4) }, 1).unwrap().cursor();
    let printed = lines(&reader(name, &[&ring.name]).unwrap().output().unwrap());
    let sequences: Vec<u64> = printed.iter().map(|l| l.split(' ').next().unwrap().parse().unwrap()).collect();
    assert_eq!(sequences, (last - 4..last).collect::<Vec<_>>());
}

#[test]
fn python_says_what_is_wrong() {
    let ring = TestRing::new();
    let run = |arguments: &[&str]| {
        let output = reader("python_says_what_is_wrong", arguments)?.output().unwrap();
        Some((output.status.code(), String::from_utf8(output.stderr).unwrap()))
    };
    let Some((code, message)) = run(&[&ring.name]) else { return };
    assert_eq!(code, Some(1));
    let expected =
        format!("ring_reader: there is no ring {} in /dev/shm; is its feed open and the daemon running?\n", ring.name);
    assert!(message.starts_with(&expected), "{message}");
    std::fs::write(ring_path(&ring.name), [0; 5000]).unwrap();
    let (code, message) = run(&[&ring.name]).unwrap();
    assert_eq!((code, message), (Some(1), format!("ring_reader: {} is no dccd ring\n", ring_path(&ring.name).display())));
    let _writer = publish(&ring, &[trade()]);
    let (code, message) = run(&[&ring.name, "-n", "2", "--timeout", "0"]).unwrap();
    assert!(code == Some(1) && message.contains("only 1 of 2 records came within 0.0 s"), "{message}");
}
