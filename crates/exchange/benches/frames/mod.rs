//! Frames of every exchange as they look today, and the sessions that read them: what is measured.

use std::hint::black_box;
use std::sync::Arc;

use dccd_exchange::conformance::Recorded;
use dccd_exchange::{AdapterOptions, FeedIndex, Notice, Output, Session, Want, adapter};
use dccd_model::{BookLevel, BookState, Candle, Entry, EntryKind, Gap, Quote, Trade, UnixNanos};

/// Gets the exchange, the kind of message, the frames, and what begins their session.
pub(crate) type Each<'e> = dyn FnMut(&str, &str, &[String], &dyn Fn(&mut dyn Session, &mut Count)) + 'e;

const EXCHANGE_INFO: &[u8] = include_bytes!("../../src/binance/testdata/exchange_info.json");
const BYBIT_SPOT: &[u8] = include_bytes!("../../src/bybit/testdata/spot.json");
const DERIBIT_FUTURE: &[u8] = include_bytes!("../../src/deribit/testdata/instruments_future.json");
const KUCOIN_SYMBOLS: &[u8] = include_bytes!("../../src/kucoin/testdata/symbols.json");
const PRODUCTS: &[u8] = include_bytes!("../../src/coinbase/testdata/products.json");
const BITFINEX_SPOT: &[u8] = include_bytes!("../../src/bitfinex/testdata/pairs_spot.json");
const EXCHANGE_INFO_USDM: &[u8] = include_bytes!("../../src/binance/testdata/exchange_info_usdm.json");
const ASSET_PAIRS: &[u8] = include_bytes!("../../src/kraken/testdata/asset_pairs.json");
const INSTRUMENTS: &[u8] = include_bytes!("../../src/okx/testdata/instruments_spot.json");
/// Few of each are enough to see that they are read rightly.
const FRAMES: u64 = if cfg!(test) { 20 } else { 100_000 };
/// Of books, whose frames are large.
const BOOK_FRAMES: u64 = if cfg!(test) { 20 } else { 20_000 };

/// Counts the records that come out, and the gaps; there are none in frames that were made.
#[derive(Default)]
pub(crate) struct Count(pub(crate) u64, pub(crate) u64);

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
    fn candle(&mut self, _: FeedIndex, candle: &Candle) {
        black_box(candle);
        self.0 += 1;
    }
    fn gap(&mut self, _: FeedIndex, _: &Gap) {
        self.1 += 1;
    }
    fn book_state(&mut self, _: FeedIndex, _: BookState, _: u32) {}
    fn want(&mut self, _: Want) {}
    fn notice(&mut self, notice: Notice<'_>) {
        assert!(!matches!(notice, Notice::Unreadable { .. } | Notice::Unrouted { .. }), "{notice:?}");
    }
}

/// A session of one market of an exchange, with its three feeds open.
pub(crate) fn session(name: &str) -> Box<dyn Session> {
    let exchange = adapter(name.trim_end_matches("-usdm"), &AdapterOptions::default()).expect("there is such an adapter");
    let (listed, symbol) = match name {
        "binance-usdm" => (EXCHANGE_INFO_USDM, "BTC/USDT:USDT"),
        "kraken" => (ASSET_PAIRS, "BTC/USD"),
        "bybit" => (BYBIT_SPOT, "BTC/USDT"),
        "deribit" => (DERIBIT_FUTURE, "BTC/USD:BTC"),
        "kucoin" => (KUCOIN_SYMBOLS, "BTC/USDT"),
        "coinbase" => (PRODUCTS, "BTC/USD"),
        "bitfinex" => (BITFINEX_SPOT, "BTC/USD"),
        "okx" => (INSTRUMENTS, "BTC/USDT"),
        _ => (EXCHANGE_INFO, "BTC/USDT"),
    };
    let markets = Arc::new(exchange.parse_markets(listed).expect("its own test data are readable"));
    let mut session = exchange.session(markets);
    let mut out = Count::default();
    for channel in ["trades", "quotes", "book"] {
        let subject = format!("{symbol} {channel}");
        let entry = Entry { kind: EntryKind::FeedOpened, conn: 0, ts_recv: UnixNanos(1), subject: &subject, payload: b"" };
        session.apply(&entry, &mut out);
    }
    session
}

/// Applies one entry.
pub(crate) fn apply(session: &mut dyn Session, kind: EntryKind, subject: &str, payload: &[u8], out: &mut Count) {
    session.apply(&Entry { kind, conn: 1, ts_recv: UnixNanos(1_723_161_255_343_000_000), subject, payload }, out);
}

/// A book of Kraken, a thousand levels a side in whole steps of price and amount, and the messages it sends.
struct KrakenBook {
    bids: Vec<(u64, u64)>,
    asks: Vec<(u64, u64)>,
}

impl KrakenBook {
    fn new() -> Self {
        let side = |price: fn(u64) -> u64| (0..1_000).map(|i| (price(i), 150_000_000 + i)).collect();
        Self { bids: side(|i| 618_376 - i), asks: side(|i| 618_377 + i) }
    }

    fn message(&self, kind: &str, bids: &[(u64, u64)], asks: &[(u64, u64)]) -> String {
        let levels = |levels: &[(u64, u64)]| {
            let level = |(p, a): &(u64, u64)| {
                format!(r#"{{"price":{}.{},"qty":{}.{:08}}}"#, p / 10, p % 10, a / 100_000_000, a % 100_000_000)
            };
            levels.iter().map(level).collect::<Vec<_>>().join(",")
        };
        let digits: String = self.asks[..10].iter().chain(&self.bids[..10]).map(|(p, a)| format!("{p}{a}")).collect();
        let checksum = crc32fast::hash(digits.as_bytes());
        format!(
            r#"{{"channel":"book","type":"{kind}","data":[{{"symbol":"BTC/USD","bids":[{}],"asks":[{}],"checksum":{checksum},"timestamp":"2023-10-06T17:35:55.440295Z"}}]}}"#,
            levels(bids),
            levels(asks)
        )
    }

    fn snapshot(&self) -> String {
        self.message("snapshot", &self.bids, &self.asks)
    }

    /// Sets the best `count` levels of each side.
    fn update(&mut self, count: usize, number: u64) -> String {
        for side in [&mut self.bids, &mut self.asks] {
            side[..count].iter_mut().zip(0..).for_each(|(level, i)| level.1 = 100_000_000 + number * 31 + i);
        }
        self.message("update", &self.bids[..count], &self.asks[..count])
    }

    /// Moves by a step: each side loses its best level or gets a new one, and one falls out of the depth or comes in again.
    fn step(&mut self, number: u64) -> String {
        let amount = 100_000_000 + number;
        if number % 2 == 1 {
            let (best, last) = (self.asks.remove(0), self.bids.len() - 1);
            self.bids.remove(last);
            self.bids.insert(0, (best.0, amount));
            let far = (self.asks[self.asks.len() - 1].0 + 1, amount);
            self.asks.push(far);
            return self.message("update", &[(best.0, amount)], &[(best.0, 0), far]);
        }
        let (best, last) = (self.bids.remove(0), self.asks.len() - 1);
        self.asks.remove(last);
        self.asks.insert(0, (best.0, amount));
        let far = (self.bids[self.bids.len() - 1].0 - 1, amount);
        self.bids.push(far);
        self.message("update", &[(best.0, 0), far], &[(best.0, amount)])
    }
}

fn kraken(each: &mut Each<'_>) {
    let trades: Vec<String> = (1..=FRAMES)
        .map(|n| {
            format!(
                r#"{{"channel":"trade","type":"update","data":[{{"symbol":"BTC/USD","side":"buy","price":61837.6,"qty":0.02000000,"ord_type":"limit","trade_id":{},"timestamp":"2023-10-06T17:35:55.440295Z"}}]}}"#,
                10_218_207 + n
            )
        })
        .collect();
    each("kraken", "trade", &trades, &|_, _| {});
    let quotes: Vec<String> = (1..=FRAMES)
        .map(|n| {
            format!(
                r#"{{"channel":"ticker","type":"update","data":[{{"symbol":"BTC/USD","bid":61837.6,"bid_qty":3.78{:06},"ask":61837.7,"ask_qty":1.54698000,"last":61837.6,"volume":163.28908096,"vwap":61904.39279,"low":60711.0,"high":62613.1,"change":250.0,"change_pct":0.24,"timestamp":"2023-10-06T17:35:55.{n:06}Z"}}]}}"#,
                n % 1_000_000
            )
        })
        .collect();
    each("kraken", "ticker", &quotes, &|_, _| {});
    let book = KrakenBook::new();
    let snapshot = book.snapshot();
    let begin = |session: &mut dyn Session, out: &mut Count| apply(session, EntryKind::Frame, "", snapshot.as_bytes(), out);
    for count in [1, 4, 20] {
        let mut book = KrakenBook::new();
        let frames: Vec<String> = (1..=BOOK_FRAMES).map(|n| book.update(count, n)).collect();
        each("kraken", &format!("book {} levels", count * 2), &frames, &begin);
    }
    let mut book = KrakenBook::new();
    let frames: Vec<String> = (1..=BOOK_FRAMES).map(|n| book.step(n)).collect();
    each("kraken", "book steps", &frames, &begin);
}

fn bybit(each: &mut Each<'_>) {
    let frames = |frame: &dyn Fn(u64) -> String| (1..=FRAMES).map(frame).collect::<Vec<_>>();
    let trades = frames(&|n| {
        format!(
            r#"{{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":{ts},"data":[{{"T":{ts},"s":"BTCUSDT","S":"Sell","v":"0.004","p":"65114.20","L":"MinusTick","i":"a9188a0a-82bc-50de-be60-{n:012x}","BT":false,"RPI":false,"seq":{n}}}]}}"#,
            ts = 1_786_310_819_680 + n / 10
        )
    });
    each("bybit", "publicTrade", &trades, &|_, _| {});
    let book = |depth: u32, kind: &str, n: u64, bids: &str, asks: &str| {
        format!(
            r#"{{"topic":"orderbook.{depth}.BTCUSDT","type":"{kind}","ts":1786310818130,"data":{{"s":"BTCUSDT","b":[{bids}],"a":[{asks}],"u":{n},"seq":{}}},"cts":1786310818127}}"#,
            753_843_907_770 + n
        )
    };
    let quotes = frames(&|n| book(1, "snapshot", n, r#"["65114.20","6.054"]"#, &format!(r#"["65114.30","10.{n:06}"]"#)));
    each("bybit", "orderbook.1", &quotes, &|_, _| {});
    let side = |count: u64, price: &dyn Fn(u64) -> u64, n: u64| {
        let level = |i| format!(r#"["{}.{}","{}.{:03}"]"#, price(i) / 10, price(i) % 10, n % 7 + 1, i);
        (0..count).map(level).collect::<Vec<_>>().join(",")
    };
    let (bid, ask) = (|i: u64| 651_142 - i, |i: u64| 651_143 + i);
    let snapshot = book(1_000, "snapshot", 1, &side(1_000, &bid, 1), &side(1_000, &ask, 1));
    for count in [1, 4, 20] {
        let frames = frames(&|n| book(1_000, "delta", n + 1, &side(count, &bid, n), &side(count, &ask, n)));
        each("bybit", &format!("book {} levels", count * 2), &frames, &|session, out| {
            apply(session, EntryKind::Frame, "", snapshot.as_bytes(), out);
        });
    }
}

/// A message about a book of OKX: levels, and the numbers of the message before it and of its own.
fn okx_book(action: &str, bids: &str, asks: &str, (prev, seq): (i64, i64)) -> String {
    format!(
        r#"{{"arg":{{"channel":"books","instId":"BTC-USDT"}},"action":"{action}","data":[{{"asks":[{asks}],"bids":[{bids}],"ts":"1787612486507","checksum":0,"seqId":{seq},"prevSeqId":{prev}}}]}}"#
    )
}

fn okx(each: &mut Each<'_>) {
    let trades: Vec<String> = (1..=FRAMES)
        .map(|n| {
            format!(
                r#"{{"arg":{{"channel":"trades-all","instId":"BTC-USDT"}},"data":[{{"instId":"BTC-USDT","tradeId":"{}","px":"61837.6","sz":"0.02000000","side":"buy","ts":"1787612486507","source":"0"}}]}}"#,
                314_161_276 + n
            )
        })
        .collect();
    each("okx", "trades-all", &trades, &|_, _| {});
    let quotes: Vec<String> = (1..=FRAMES)
        .map(|n| {
            format!(
                r#"{{"arg":{{"channel":"bbo-tbt","instId":"BTC-USDT"}},"data":[{{"asks":[["61837.7","1.54698","0","3"]],"bids":[["61837.6","3.78{:06}","0","3"]],"ts":"{}","seqId":{n}}}]}}"#,
                n % 1_000_000,
                1_787_612_486_507 + n
            )
        })
        .collect();
    each("okx", "bbo-tbt", &quotes, &|_, _| {});
    // Four hundred levels a side.
    let side = |count: usize, price: &dyn Fn(usize) -> usize, number: usize| {
        let level = |i| {
            let price = price(i);
            format!(r#"["{}.{}","1.{:08}","0","2"]"#, price / 10, price % 10, number % 1_000 + i)
        };
        (0..count).map(level).collect::<Vec<_>>().join(",")
    };
    let (bid, ask) = (|i: usize| 618_376 - i, |i: usize| 618_377 + i);
    let snapshot = okx_book("snapshot", &side(400, &bid, 0), &side(400, &ask, 0), (-1, 0));
    let begin = |session: &mut dyn Session, out: &mut Count| apply(session, EntryKind::Frame, "", snapshot.as_bytes(), out);
    for count in [1, 4, 20] {
        let update = |n: i64| {
            let number = usize::try_from(n).unwrap_or_default();
            okx_book("update", &side(count, &bid, number), &side(count, &ask, number), (n - 1, n))
        };
        let frames: Vec<String> = (1..=BOOK_FRAMES.cast_signed()).map(update).collect();
        each("okx", &format!("books {} levels", count * 2), &frames, &begin);
    }
}

fn deribit(each: &mut Each<'_>) {
    let message = |channel: &str, data: &str| {
        format!(r#"{{"jsonrpc":"2.0","method":"subscription","params":{{"channel":"{channel}","data":{data}}}}}"#)
    };
    let frames = |frame: &dyn Fn(u64) -> String| (1..=FRAMES).map(frame).collect::<Vec<_>>();
    let trades = frames(&|n| {
        let trade = format!(
            r#"[{{"timestamp":1765531356452,"price":92294.5,"amount":10.0,"direction":"sell","index_price":92276.75,"instrument_name":"BTC-PERPETUAL","trade_seq":{},"mark_price":92287.11,"tick_direction":2,"contracts":1.0,"trade_id":"{}"}}]"#,
            271_252_854 + n,
            403_691_824 + n
        );
        message("trades.BTC-PERPETUAL.100ms", &trade)
    });
    each("deribit", "trades", &trades, &|_, _| {});
    let quotes = frames(&|n| {
        let quote = format!(
            r#"{{"timestamp":{},"instrument_name":"BTC-PERPETUAL","best_ask_price":92288.5,"best_bid_price":92288.0,"best_ask_amount":99470.0,"best_bid_amount":{n}0.0}}"#,
            1_765_541_767_174 + n
        );
        message("quote.BTC-PERPETUAL", &quote)
    });
    each("deribit", "quote", &quotes, &|_, _| {});
    // A thousand levels a side.
    let side = |action: &str, count: u64, price: &dyn Fn(u64) -> u64, n: u64| {
        let level = |i| format!(r#"["{action}",{}.{},{}0.0]"#, price(i) / 10, price(i) % 10, n % 1_000 + i + 1);
        (0..count).map(level).collect::<Vec<_>>().join(",")
    };
    let (bid, ask) = (|i: u64| 922_880 - 5 * i, |i: u64| 922_885 + 5 * i);
    let book = |kind: &str, n: u64, bids: &str, asks: &str| {
        let prev = if kind == "change" { format!(r#""prev_change_id":{},"#, n - 1) } else { String::new() };
        let data = format!(
            r#"{{"type":"{kind}","timestamp":1765541767174,{prev}"instrument_name":"BTC-PERPETUAL","change_id":{n},"bids":[{bids}],"asks":[{asks}]}}"#
        );
        message("book.BTC-PERPETUAL.100ms", &data)
    };
    const FIRST: u64 = 136_725_664_747;
    let snapshot = book("snapshot", FIRST, &side("new", 1_000, &bid, 0), &side("new", 1_000, &ask, 0));
    for count in [1, 4, 20] {
        let sides = |n| (side("change", count, &bid, n), side("change", count, &ask, n));
        let frames = frames(&|n| book("change", FIRST + n, &sides(n).0, &sides(n).1));
        each("deribit", &format!("book {} levels", count * 2), &frames, &|session, out| {
            apply(session, EntryKind::Frame, "", snapshot.as_bytes(), out);
        });
    }
}

fn levels(count: usize, base: usize, number: u64) -> String {
    let levels: Vec<String> = (0..count)
        .map(|i| format!(r#"["61{:03}.{:02}000000","{}.{:05}000"]"#, base + i, i, number % 7, 12_345 + i))
        .collect();
    levels.join(",")
}

fn kucoin(each: &mut Each<'_>) {
    let frames = |frame: &dyn Fn(u64) -> String| (1..=FRAMES).map(frame).collect::<Vec<_>>();
    let trades = frames(&|n| {
        format!(
            r#"{{"topic":"/market/match:BTC-USDT","type":"message","subject":"trade.l3match","data":{{"makerOrderId":"671b5007389355000701b1d3","price":"67523","sequence":"{id}","side":"buy","size":"0.003","symbol":"BTC-USDT","takerOrderId":"671b50161777ff00074c168d","time":"{ts}000000","tradeId":"{id}","type":"match"}}}}"#,
            id = 11_067_996_711_960_577 + n,
            ts = 1_729_843_222_921 + n / 10
        )
    });
    each("kucoin", "match", &trades, &|_, _| {});
    let quotes = frames(&|n| {
        format!(
            r#"{{"topic":"/spotMarket/level1:BTC-USDT","type":"message","subject":"level1","data":{{"asks":["68145.8","0.{n:08}"],"bids":["68145.7","1.29267802"],"timestamp":{}}}}}"#,
            1_729_816_058_766 + n * 10
        )
    });
    each("kucoin", "level1", &quotes, &|_, _| {});
    let book = |kind: &str, n: u64, bids: &str, asks: &str| {
        format!(
            r#"{{"T":"obu.SPOT","dp":"increment@10ms","t":"{kind}","P":1781672136338555550,"d":{{"C":{number},"M":1781672136333000000,"O":{number},"a":[{asks}],"b":[{bids}],"s":"BTC-USDT"}}}}"#,
            number = 33_629_695_388 + n
        )
    };
    let side = |count: u64, price: &dyn Fn(u64) -> u64, n: u64| {
        let level = |i| format!(r#"["{}.{}","{}.{:08}"]"#, price(i) / 10, price(i) % 10, n % 7 + 1, i);
        (0..count).map(level).collect::<Vec<_>>().join(",")
    };
    let (bid, ask) = (|i: u64| 659_289 - i, |i: u64| 659_290 + i);
    let snapshot = book("snapshot", 0, &side(500, &bid, 1), &side(500, &ask, 1));
    for count in [1, 4, 20] {
        let frames = frames(&|n| book("delta", n, &side(count, &bid, n), &side(count, &ask, n)));
        each("kucoin", &format!("book {} levels", count * 2), &frames, &|session, out| {
            apply(session, EntryKind::Frame, "", snapshot.as_bytes(), out);
        });
    }
}

fn coinbase(each: &mut Each<'_>) {
    let time = UnixNanos::from_millis(1_787_612_486_507);
    let trades: Vec<String> = (1..=FRAMES)
        .map(|n| {
            format!(
                r#"{{"type":"match","trade_id":{},"maker_order_id":"27fff20b-af29-4f45-8744-56dd1ef57dc0","taker_order_id":"1da6ce16-c8da-4732-9f71-6049f4c6aaf8","side":"sell","size":"0.02000000","price":"61837.63","product_id":"BTC-USD","sequence":{},"time":"2026-08-25T05:41:26.507345Z"}}"#,
                1_068_571_991 + n,
                110_324_014_180 + n
            )
        })
        .collect();
    each("coinbase", "match", &trades, &|_, _| {});
    let quotes: Vec<String> = (1..=FRAMES)
        .map(|n| {
            format!(
                r#"{{"type":"ticker","sequence":{},"product_id":"BTC-USD","price":"61837.63","open_24h":"61099.59","volume_24h":"3760.72741048","low_24h":"60949.99","high_24h":"62641.6","volume_30d":"149652.99659844","best_bid":"61837.63","best_bid_size":"3.78{:06}","best_ask":"61837.64","best_ask_size":"1.54698000","side":"buy","time":"{time}","trade_id":7,"last_size":"0.02"}}"#,
                110_324_014_180 + n,
                n % 1_000_000
            )
        })
        .collect();
    each("coinbase", "ticker", &quotes, &|_, _| {});
    // Twenty thousand levels a side, of which all are given out.
    let side = |count: usize, name: &str, price: &dyn Fn(usize) -> usize, number: usize| {
        let level = |i| {
            let price = price(i);
            format!(r#"[{name}"{}.{:02}","1.{:08}"]"#, price / 100, price % 100, number % 1_000 + i)
        };
        (0..count).map(level).collect::<Vec<_>>().join(",")
    };
    let (bid, ask) = (|i: usize| 6_183_763 - i, |i: usize| 6_183_764 + i);
    let snapshot = format!(
        r#"{{"type":"snapshot","product_id":"BTC-USD","asks":[{}],"bids":[{}]}}"#,
        side(20_000, "", &ask, 0),
        side(20_000, "", &bid, 0)
    );
    let begin = |session: &mut dyn Session, out: &mut Count| apply(session, EntryKind::Frame, "", snapshot.as_bytes(), out);
    for count in [1, 4, 20] {
        let update = |n: usize| {
            let changes = [side(count, r#""buy","#, &bid, n), side(count, r#""sell","#, &ask, n)].join(",");
            format!(r#"{{"type":"l2update","product_id":"BTC-USD","changes":[{changes}],"time":"{time}"}}"#)
        };
        let frames: Vec<String> = (1..=usize::try_from(BOOK_FRAMES).unwrap_or(1)).map(update).collect();
        each("coinbase", &format!("l2update {} levels", count * 2), &frames, &begin);
    }
}

fn bitfinex(each: &mut Each<'_>) {
    let frames = |chan: u64, content: &dyn Fn(u64) -> String| -> Vec<String> {
        (2..=FRAMES).map(|n| format!("[{chan},{},{n},{}]", content(n), 1_755_234_957_400 + n)).collect()
    };
    // Messages mean nothing without what was said before on their connection.
    let begin = |content: &'static str, chan: u64| {
        move |session: &mut dyn Session, out: &mut Count| {
            let mut all = Recorded::default();
            let mut say = |text: &str| {
                let entry =
                    Entry { kind: EntryKind::Frame, conn: 1, ts_recv: UnixNanos(1), subject: "", payload: text.as_bytes() };
                session.apply(&entry, &mut all);
            };
            say(r#"{"event":"conf","status":"OK","flags":766738432}"#);
            let book = r#","prec":"P0","freq":"F0","len""#;
            say(r#"{"event":"subscribed","channel":"trades","chanId":1,"symbol":"tBTCUSD"}"#);
            say(&format!(r#"{{"event":"subscribed","channel":"book","chanId":2,"symbol":"tBTCUSD"{book}:"1"}}"#));
            say(&format!(r#"{{"event":"subscribed","channel":"book","chanId":3,"symbol":"tBTCUSD"{book}:"250"}}"#));
            let side = |sign: &'static str, price: fn(u64) -> u64| move |i: u64| format!("[{},2,{sign}1.5{i:04}]", price(i));
            let bids = (0..250).map(side("", |i| 61_837 - i));
            let levels: Vec<String> = bids.chain((0..250).map(side("-", |i| 61_838 + i))).collect();
            let snapshot = if chan == 3 { format!("[{}]", levels.join(",")) } else { content.to_owned() };
            say(&format!("[{chan},{snapshot},1,1755234957400]"));
            out.0 = 0;
        }
    };
    let trades = frames(1, &|n| format!(r#""te",[{},{},-0.0074881,61837]"#, 658_733_916 + n, 1_755_234_957_400 + n));
    each("bitfinex", "trade", &trades, &begin("[]", 1));
    let quotes = frames(2, &|n| format!("[61837,2,1.{n:07}]"));
    each("bitfinex", "book of 1", &quotes, &begin("[[61837,1,1],[61838,1,-1]]", 2));
    for count in [1, 20] {
        let levels = |n: u64| {
            let level = |i: u64| format!("[{},2,1.{:07}],[{},1,-2.{:07}]", 61_837 - i, n + i, 61_838 + i, n + i);
            format!("[{}]", (0..count).map(level).collect::<Vec<_>>().join(","))
        };
        let frames: Vec<String> =
            (2..=BOOK_FRAMES).map(|n| format!("[3,{},{n},{}]", levels(n), 1_755_234_957_400 + n)).collect();
        each("bitfinex", &format!("book {} levels", count * 2), &frames, &begin("", 3));
    }
}

/// Perpetuals, whose connection says so.
fn usdm(each: &mut Each<'_>) {
    let frames = |frame: &dyn Fn(u64) -> String| (1..=FRAMES).map(frame).collect::<Vec<_>>();
    let opened = |socket: &'static str| {
        move |session: &mut dyn Session, out: &mut Count| apply(session, EntryKind::Opened, socket, b"", out)
    };
    let trades = frames(&|n| {
        format!(
            r#"{{"stream":"btcusdt@aggTrade","data":{{"e":"aggTrade","E":1767225600123,"s":"BTCUSDT","a":{},"p":"61837.60","q":"0.020","nq":"0.020","f":1,"l":2,"T":1767225600120,"m":true,"st":1}}}}"#,
            3_035_683_258 + n
        )
    });
    each("binance-usdm", "aggTrade", &trades, &opened("usdm/market"));
    let quotes = frames(&|n| {
        format!(
            r#"{{"stream":"btcusdt@bookTicker","data":{{"e":"bookTicker","u":{},"s":"BTCUSDT","ps":"BTCUSDT","st":1,"b":"61837.60","B":"3.788","a":"61837.70","A":"1.546","T":1767225600120,"E":1767225600123}}}}"#,
            5_123_107_852_948 + n
        )
    });
    each("binance-usdm", "bookTicker", &quotes, &opened("usdm/public"));
    for count in [4, 20] {
        let events = frames(&|n| {
            format!(
                r#"{{"stream":"btcusdt@depth@100ms","data":{{"e":"depthUpdate","E":1767225600123,"T":1767225600120,"s":"BTCUSDT","ps":"BTCUSDT","st":1,"U":{n},"u":{n},"pu":{},"b":[{}],"a":[{}]}}}}"#,
                n - 1,
                levels(count, 100, n),
                levels(count, 900, n)
            )
        });
        each("binance-usdm", &format!("depth {} levels", count * 2), &events, &|session, out| {
            opened("usdm/public")(session, out);
            let snapshot = br#"{"lastUpdateId":0,"bids":[["1","1"]],"asks":[["2","1"]]}"#;
            apply(session, EntryKind::Response, "depth BTC/USDT:USDT", snapshot, out);
        });
    }
}

/// All of them, one kind after the other.
pub(crate) fn all(each: &mut Each<'_>) {
    bybit(each);
    deribit(each);
    kraken(each);
    kucoin(each);
    coinbase(each);
    bitfinex(each);
    usdm(each);
    okx(each);
    binance(each);
}

fn binance(each: &mut Each<'_>) {
    let begin = |session: &mut dyn Session, out: &mut Count| {
        let snapshot = br#"{"lastUpdateId":0,"bids":[["1","1"]],"asks":[["2","1"]]}"#;
        apply(session, EntryKind::Response, "depth BTC/USDT", snapshot, out);
    };
    let mut measure = |name: &str, frame: &dyn Fn(u64) -> String| {
        let frames: Vec<String> = (1..=FRAMES).map(frame).collect();
        each("binance", name, &frames, &begin);
    };
    measure("trade", &|n| {
        format!(
            r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":1723161255343123,"s":"BTCUSDT","t":{},"p":"61837.63000000","q":"0.02000000","T":1723161255342999,"m":true,"M":true}}}}"#,
            3_735_683_258 + n
        )
    });
    measure("aggTrade", &|n| {
        format!(
            r#"{{"stream":"btcusdt@aggTrade","data":{{"e":"aggTrade","E":1723161255343123,"s":"BTCUSDT","a":{},"p":"61837.63000000","q":"0.02000000","f":1,"l":2,"T":1723161255342999,"m":true,"M":true}}}}"#,
            3_035_683_258 + n
        )
    });
    measure("bookTicker", &|n| {
        format!(
            r#"{{"stream":"btcusdt@bookTicker","data":{{"u":{},"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000","a":"61837.64000000","A":"1.54698000"}}}}"#,
            50_093_239_212 + n
        )
    });
    for count in [4, 20] {
        measure(&format!("depth {} levels", count * 2), &|n| {
            format!(
                r#"{{"stream":"btcusdt@depth@100ms","data":{{"e":"depthUpdate","E":1723161255308123,"s":"BTCUSDT","U":{n},"u":{n},"b":[{}],"a":[{}]}}}}"#,
                levels(count, 100, n),
                levels(count, 900, n)
            )
        });
    }
}
