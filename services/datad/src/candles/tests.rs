use dccd_exchange::AdapterOptions;
use dccd_model::{Decimal, GapReason, Side, TradeId};

use super::*;

const S: i64 = 1_000_000_000;

/// Writes down what is handed on.
#[derive(Default)]
struct Written(Vec<String>);

impl CandleSink for Written {
    fn candle(&mut self, _: FeedIndex, c: &Candle) {
        if c.flags.contains(Flags::CLOSED) {
            self.0.push(format!(
                "{} {} {} {} {} x{} q{} n{}",
                c.ts_open.0 / S,
                c.open,
                c.high,
                c.low,
                c.close,
                c.volume,
                c.quote_volume,
                c.trades
            ));
        }
    }

    fn candle_gap(&mut self, _: FeedIndex, gap: &Gap, _: UnixNanos) {
        let repaired = if gap.repaired { " repaired" } else { "" };
        self.0.push(format!("gap {}..{} {}{repaired}", gap.from.0 / S, gap.to.0 / S, gap.reason.as_str()));
    }
}

/// A market's candles and trades, on an exchange that sends candles, or none.
struct Scene {
    candles: LiveCandles,
    out: Written,
    id: u128,
}

const SYMBOL: &str = "BTC/USD";
const TRADES: FeedIndex = 0;
const CANDLES: FeedIndex = 1;

fn feeds(symbol: &str) -> Vec<Feed> {
    [Channel::Trades, Channel::Ohlc].map(|channel| Feed { symbol: symbol.parse().unwrap(), channel, open: true }).to_vec()
}

impl Scene {
    fn of(exchange: &str, fills: bool) -> Self {
        Self::of_symbol(exchange, fills, SYMBOL)
    }

    fn of_symbol(exchange: &str, fills: bool, symbol: &str) -> Self {
        let adapter = dccd_exchange::adapter(exchange, &AdapterOptions::default()).unwrap();
        let mut candles = LiveCandles::new(&adapter.capabilities(), fills);
        candles.follow(&feeds(symbol), &[true, true]);
        Self { candles, out: Written::default(), id: 0 }
    }

    fn trade(&mut self, second: f64, price: &str) -> &mut Self {
        self.id += 1;
        self.trade_of(self.id, second, price)
    }

    fn trade_of(&mut self, id: u128, second: f64, price: &str) -> &mut Self {
        #[allow(clippy::cast_possible_truncation)] // small
        let ts_venue = UnixNanos((second * 1e9) as i64);
        let trade = Trade {
            ts_venue,
            ts_recv: ts_venue,
            price: price.parse_decimal(),
            amount: "0.1".parse_decimal(),
            id: TradeId(id),
            side: Side::Buy,
            flags: Flags::NONE,
            epoch: 0,
        };
        self.candles.trade(TRADES, &trade, &mut self.out);
        self.candles.settle(ts_venue, &mut self.out);
        self
    }

    fn gap(&mut self, from: i64, to: i64, ids: (u64, u64), repaired: bool) -> &mut Self {
        let gap = Gap {
            from: UnixNanos(from * S),
            to: UnixNanos(to * S),
            reason: GapReason::Disconnected,
            repaired,
            ids: Some(ids),
        };
        self.candles.gap(TRADES, &gap);
        self
    }

    fn sent(&mut self, open: i64, closed: bool, close: &str) -> &mut Self {
        let price = close.parse_decimal();
        let candle = Candle {
            ts_open: UnixNanos(open * S),
            ts_recv: UnixNanos(1),
            open: price,
            high: price,
            low: price,
            close: price,
            volume: "0.1".parse_decimal(),
            quote_volume: Decimal::ZERO,
            trades: 1,
            span: SPAN,
            flags: if closed { Flags::CLOSED } else { Flags::NONE },
        };
        self.candles.candle(CANDLES, &candle, &mut self.out);
        self
    }

    fn restored(&mut self) -> &mut Self {
        let saved = self.candles.save();
        self.candles.markets.clear();
        self.candles.resume(&saved, &feeds(SYMBOL), &[true, true]);
        assert_eq!(self.candles.save(), saved);
        self
    }

    fn expect(&mut self, lines: &[&str]) -> &mut Self {
        assert_eq!(std::mem::take(&mut self.out.0), lines);
        self
    }

    /// What waits to be stored: `[from, to)` and the candles in it.
    fn windows(&self) -> Vec<(i64, i64, usize)> {
        let windows = self.candles.markets.iter().flat_map(|market| &market.windows);
        windows.map(|window| (window.from.0 / S, window.to.0 / S, window.candles.len())).collect()
    }
}

trait ParseDecimal {
    fn parse_decimal(&self) -> Decimal;
}

impl ParseDecimal for str {
    fn parse_decimal(&self) -> Decimal {
        Decimal::parse(self.as_bytes()).unwrap()
    }
}

#[test]
fn candles_are_built_from_the_first_whole_minute_on_and_closed_by_a_trade_past_their_end() {
    let mut scene = Scene::of("kraken", true);
    scene.trade(50.0, "9").trade(61.0, "10").trade(90.0, "12").trade(100.0, "8").trade(119.9, "11").expect(&[]);
    // One that comes a little out of order still finds its candle.
    scene.trade(120.5, "20").trade(119.95, "10.5").restored().expect(&[]);
    scene.trade(121.0, "21").expect(&["60 10 12 8 10.5 x0.5 q5.15 n5"]);
    // Quiet minutes are flat at the last price.
    scene.trade(301.0, "30").expect(&[
        "120 20 21 20 21 x0.2 q4.1 n2",
        "180 21 21 21 21 x0 q0 n0",
        "240 21 21 21 21 x0 q0 n0",
    ]);
    assert_eq!(scene.windows(), [(60, 300, 4)]);
    // One that comes far too late changes nothing that was given out.
    scene.trade(130.0, "1").trade(361.0, "31").expect(&["300 30 30 30 30 x0.1 q3 n1"]);
}

#[test]
fn volumes_of_inverse_contracts_are_in_the_base_currency() {
    let mut scene = Scene::of_symbol("deribit", true, "BTC/USD:BTC");
    scene.trade(50.0, "9").trade(61.0, "8").trade(62.0, "3").trade(130.0, "9").expect(&["60 8 8 3 3 x0.04583333 q0.2 n2"]);
}

#[test]
fn a_quiet_minute_is_none_where_the_exchange_has_none_and_belongs_to_the_window_all_the_same() {
    let mut scene = Scene::of("coinbase", false);
    scene.trade(50.0, "9").trade(61.0, "10").trade(301.0, "30").expect(&["60 10 10 10 10 x0.1 q1 n1"]);
    assert_eq!(scene.windows(), [(60, 300, 1)]);
    let windows: Vec<Window> = scene.candles.waiting(&[]).unwrap().1.iter().cloned().collect();
    scene.trade(361.0, "31").expect(&["300 30 30 30 30 x0.1 q3 n1"]);
    scene.candles.stored(&"BTC/USD".parse().unwrap(), &windows);
    assert_eq!(scene.windows(), [(300, 360, 1)], "what was stored no longer waits, what came meanwhile does");
}

#[test]
fn what_is_missing_of_the_trades_is_missing_of_the_candles_until_it_was_fetched() {
    let mut scene = Scene::of("kraken", true);
    scene.trade(50.0, "9").trade(61.0, "10").trade(130.0, "11").expect(&["60 10 10 10 10 x0.1 q1 n1"]);
    scene.gap(130, 250, (4, 6), false).trade_of(7, 250.0, "15").restored();
    scene.expect(&["gap 120..240 disconnected"]);
    // The minute in which the hole ends is not whole either.
    scene.trade_of(8, 301.0, "16").expect(&["gap 240..300 disconnected"]);
    assert_eq!(scene.windows(), [(60, 120, 1)]);
    scene.trade_of(4, 135.0, "12").trade_of(5, 190.0, "13").restored().trade_of(6, 241.0, "14").expect(&[]);
    scene.gap(130, 250, (4, 6), true).trade_of(9, 302.0, "17").expect(&[
        "120 11 12 11 12 x0.2 q2.3 n2",
        "180 13 13 13 13 x0.1 q1.3 n1",
        "gap 120..240 disconnected repaired",
        "240 14 15 14 15 x0.2 q2.9 n2",
        "gap 240..300 disconnected repaired",
    ]);
    assert_eq!(scene.windows(), [(60, 300, 4)]);
}

#[test]
fn what_the_exchange_does_not_have_stays_missing() {
    let mut scene = Scene::of("kraken", true);
    scene.trade(50.0, "9").trade(61.0, "10");
    scene.gap(61, 70, (3, 6), false).trade_of(7, 70.0, "15").trade_of(8, 121.0, "16").expect(&["gap 60..120 disconnected"]);
    // It is made good, and what is left takes its place.
    scene.gap(61, 70, (3, 6), true).gap(61, 70, (5, 5), false).trade_of(9, 181.0, "17");
    scene.expect(&["120 16 16 16 16 x0.1 q1.6 n1"]);
    assert_eq!(scene.windows(), [(120, 180, 1)]);
}

#[test]
fn what_the_exchange_sends_is_given_out_and_compared_with_its_trades() {
    let mut scene = Scene::of("binance", true);
    scene.trade(50.0, "9").trade(61.0, "10").sent(60, false, "10").expect(&[]);
    scene.sent(60, true, "10").restored().expect(&["60 10 10 10 10 x0.1 q0 n1"]);
    assert_eq!(scene.candles.compared(CANDLES), Some(Compared::default()));
    scene.trade(121.0, "11").trade(181.0, "12").sent(120, true, "11.5").expect(&["120 11.5 11.5 11.5 11.5 x0.1 q0 n1"]);
    assert_eq!(scene.candles.compared(CANDLES), Some(Compared { agreed: 1, differed: 1 }));
    assert_eq!(scene.windows(), [(60, 180, 2)]);
    // Of a minute that the trades don't have whole nothing is said.
    scene.gap(181, 200, (9, 9), false).trade_of(10, 241.0, "12").sent(180, true, "3");
    assert_eq!(scene.candles.compared(CANDLES), Some(Compared { agreed: 1, differed: 1 }));
    // Without trades there is nothing to compare with.
    let mut alone = feeds(SYMBOL);
    alone[0].open = false;
    scene.candles.follow(&alone, &[true, true]);
    assert_eq!(scene.candles.compared(CANDLES), None);
}

#[test]
fn markets_keep_their_trades_apart_when_one_of_them_is_over() {
    let adapter = dccd_exchange::adapter("kraken", &AdapterOptions::default()).unwrap();
    let symbols = ["A/USD", "B/USD", "C/USD"];
    let feeds = |open: [bool; 3]| -> Vec<Feed> {
        let of = |(symbol, open): (&&str, bool)| {
            feeds(symbol).into_iter().map(move |feed| Feed { open, ..feed }).collect::<Vec<_>>()
        };
        symbols.iter().zip(open).flat_map(of).collect()
    };
    let mut scene = Scene { candles: LiveCandles::new(&adapter.capabilities(), true), out: Written::default(), id: 0 };
    scene.candles.follow(&feeds([true; 3]), &[true; 6]);
    let trade = |scene: &mut Scene, feed: FeedIndex, second: i64, price: &str| {
        let ts_venue = UnixNanos(second * S);
        let (price, amount) = (price.parse_decimal(), "1".parse_decimal());
        let trade = Trade {
            ts_venue,
            ts_recv: ts_venue,
            price,
            amount,
            id: TradeId(1),
            side: Side::Buy,
            flags: Flags::NONE,
            epoch: 0,
        };
        scene.candles.trade(feed, &trade, &mut scene.out);
    };
    for (feed, price) in [(0, "1"), (2, "2"), (4, "3")] {
        [50, 70, 130].into_iter().for_each(|second| trade(&mut scene, feed, second, price));
    }
    // The first is closed while a candle of it waits, and is stored then.
    scene.candles.follow(&feeds([false, true, true]), &[true; 6]);
    let windows: Vec<Window> = scene.candles.markets[0].windows.iter().cloned().collect();
    scene.candles.stored(&"A/USD".parse().unwrap(), &windows);
    scene.out.0.clear();
    trade(&mut scene, 2, 200, "2");
    trade(&mut scene, 4, 200, "3");
    scene.expect(&["120 2 2 2 2 x1 q2 n1", "120 3 3 3 3 x1 q3 n1"]);
    scene.candles.follow(&feeds([false, true, true]), &[true; 6]);
    assert_eq!(scene.candles.markets.len(), 2);
}

#[test]
fn nothing_grows_without_end() {
    let mut scene = Scene::of("kraken", true);
    scene.trade(0.0, "1");
    for minute in 1..5_000_u32 {
        let second = f64::from(minute) * 60.0 + 5.0;
        let ids = (u64::from(minute) * 10, u64::from(minute) * 10);
        scene.gap(i64::from(minute) * 60, i64::from(minute) * 60 + 1, ids, false).trade(second, "1");
    }
    for minute in 5_000..8_000_u32 {
        scene.trade(f64::from(minute) * 60.0 + 5.0, "1");
    }
    let kept: usize = scene.windows().iter().map(|(.., candles)| candles).sum();
    assert!(kept <= KEPT_MAX && scene.candles.save().len() < 1 << 20, "{kept}");
    // A trade from a time to come closes nothing.
    scene.out.0.clear();
    scene.candles.trade(
        TRADES,
        &Trade {
            ts_venue: UnixNanos(i64::MAX),
            ts_recv: UnixNanos(S),
            price: Decimal::ZERO,
            amount: Decimal::ZERO,
            id: TradeId(0),
            side: Side::Buy,
            flags: Flags::NONE,
            epoch: 0,
        },
        &mut scene.out,
    );
    scene.expect(&[]);
}
