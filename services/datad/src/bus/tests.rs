use dccd_model::{Decimal, Side};

use super::*;

#[test]
fn a_trade_that_fills_a_gap_is_in_no_ring_whether_its_id_has_an_order_or_not() {
    let instance = format!("bus-test-{}", std::process::id());
    let mut bus = Bus::new(&instance, "bybit", RingSizes { book: 1_024, other: 1_024 }, true);
    for (feed, symbol, flags) in [(0, "BTC/USDT", Flags::NONE), (1, "BTC/USDT:USDT", Flags::WIDE_ID)] {
        bus.open(feed, symbol.parse().unwrap(), Channel::Trades, UnixNanos(1)).unwrap();
        let mut publish = |id, ms| {
            let (price, amount) = (Decimal::new(1, 0), Decimal::new(1, 0));
            let (ts_venue, ts_recv, id) = (UnixNanos::from_millis(ms), UnixNanos(9), TradeId(id));
            bus.trade(feed, &Trade { ts_venue, ts_recv, price, amount, id, side: Side::Buy, flags, epoch: 0 });
            std::mem::take(&mut bus.records)
        };
        // Of one time each is as new as the others.
        assert_eq!([publish(7, 10), publish(8, 10), publish(5, 9), publish(9, 11)], [1, 1, 0, 1], "{symbol}");
        let has_order = flags == Flags::NONE;
        assert_eq!(publish(6, 11), u64::from(!has_order), "{symbol}");
        bus.close(feed);
    }
}

fn quote(at: i64, bid: i64) -> Quote {
    let [bid, ask, amount] = [bid, bid + 1, 1].map(|value| Decimal::new(value, 0));
    let (ts_venue, ts_recv, flags) = (UnixNanos::UNKNOWN, UnixNanos::from_millis(at), Flags::NONE);
    Quote { ts_venue, ts_recv, bid, bid_amount: amount, ask, ask_amount: amount, flags }
}

fn level(at: i64, side: BookSide, price: i64, amount: i64, flags: Flags) -> BookLevel {
    let (price, amount, ts) = (Decimal::new(price, 0), Decimal::new(amount, 0), UnixNanos::from_millis(at));
    BookLevel { ts_venue: ts, ts_recv: ts, price, amount, update_id: 1, side, flags, epoch: 1, order_count: 0 }
}

/// A second of a market whose quotes say 100 and 101, and the times since which its book was said to be wrong.
fn second(bus: &mut Bus, from: i64, amount: i64) -> Vec<i64> {
    let mut said = Vec::new();
    for at in (from..from + 1_000).step_by(50) {
        bus.quote(0, &quote(at, 100));
        bus.level(1, &level(at, BookSide::Bid, 90, amount + at, Flags::FIRST | Flags::LAST));
        if at % 250 == 0 {
            while let Some((feed, since)) = bus.disagreeing(UnixNanos::from_millis(at)) {
                assert_eq!(feed, 1);
                said.push(since.as_millis());
            }
        }
    }
    said
}

#[test]
fn a_book_that_differs_from_the_quotes_is_found_while_both_are_open_and_whole() {
    let instance = format!("bus-pair-{}", std::process::id());
    let mut bus = Bus::new(&instance, "bybit", RingSizes { book: 1_024, other: 1_024 }, true);
    let symbol: Symbol = "BTC/USDT".parse().unwrap();
    let run = |bus: &mut Bus, seconds: std::ops::Range<i64>| -> Vec<i64> {
        seconds.flat_map(|n| second(bus, n * 1_000, 1)).collect()
    };
    for (feed, channel) in [(0, Channel::Quotes), (1, Channel::Book)] {
        bus.open(feed, symbol.clone(), channel, UnixNanos(1)).unwrap();
        bus.set_connected(feed, true);
    }
    bus.level(1, &level(0, BookSide::Bid, 100, 1, Flags::SNAPSHOT | Flags::FIRST));
    bus.level(1, &level(0, BookSide::Ask, 101, 1, Flags::SNAPSHOT | Flags::LAST));
    bus.book_state(1, BookState::Valid, 1);
    assert_eq!(run(&mut bus, 0..20), [0_i64; 0]);
    // The best bid is gone although nobody said so.
    bus.level(1, &level(20_000, BookSide::Bid, 100, 0, Flags::FIRST | Flags::LAST));
    let said = run(&mut bus, 20..40);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!((19_000..=20_100).contains(&said[0]), "{said:?}");
    // A suspect book is judged by nobody, nor one whose quotes are closed.
    bus.level(1, &level(40_000, BookSide::Bid, 100, 1, Flags::FIRST | Flags::LAST));
    assert_eq!(run(&mut bus, 40..42), [0_i64; 0]);
    bus.book_state(1, BookState::Suspect, 1);
    bus.level(1, &level(42_000, BookSide::Bid, 100, 0, Flags::FIRST | Flags::LAST));
    assert_eq!(run(&mut bus, 42..60), [0_i64; 0]);
    bus.close(0);
    bus.book_state(1, BookState::Valid, 2);
    assert_eq!(run(&mut bus, 60..80), [0_i64; 0]);
    bus.close(1);
}

#[test]
fn a_silent_feed_is_called_so_until_a_record_comes_and_a_marker_is_none() {
    let instance = format!("bus-silent-{}", std::process::id());
    let mut bus = Bus::new(&instance, "bybit", RingSizes { book: 1_024, other: 1_024 }, true);
    bus.open(0, "BTC/USDT".parse().unwrap(), Channel::Quotes, UnixNanos(1)).unwrap();
    bus.set_connected(0, true);
    let state = |bus: &Bus| bus.get(0).unwrap().info(true, UnixNanos(2)).state;
    assert_eq!(state(&bus), "live");
    bus.set_silent(0);
    let reason = dccd_model::GapReason::Silent;
    bus.gap(0, &Gap { from: UnixNanos(1), to: UnixNanos(2), reason, repaired: false, ids: None }, UnixNanos(2));
    assert_eq!(state(&bus), "silent");
    bus.quote(0, &quote(1, 100));
    assert_eq!(state(&bus), "live");
    bus.close(0);
}
