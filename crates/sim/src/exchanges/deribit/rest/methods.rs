//! The methods that are answered, by their names.

use serde_json::json;

use super::pages::{self, Wanted};
use super::{Query, Refusal, invalid, list};
use crate::deep::minute::MINUTE_US;
use crate::digits::push_i64;
use crate::exchanges::deribit::book::Levels;
use crate::exchanges::deribit::instruments::Instrument;
use crate::exchanges::deribit::render::{self, Ticker, push_number, put};
use crate::exchanges::deribit::streams::{WIDTHS, width};
use crate::exchanges::deribit::{Deribit, instruments::Kind};
use crate::hub::Core;
use crate::market::history::Bar;
use crate::rest::Answer;

/// Trades of a page at most.
const TRADES_MAX: usize = 1_000;
const DEPTH_MAX: usize = 10_000;
/// No time is later, milliseconds.
const END_OF_TIME_MS: i64 = 32_503_680_000_000;

const NOT_FOUND: Refusal = invalid("instrument not found", "instrument_name");

/// The currencies that lists can be asked for.
const CURRENCIES: [(&str, &str); 6] = [
    ("BTC", "Bitcoin"),
    ("ETH", "Ethereum"),
    ("SOL", "Solana"),
    ("USDC", "USD Coin"),
    ("USDT", "Tether USD"),
    ("EURR", "StablR Euro"),
];

impl Deribit {
    /// What a method answers; `None` for one that there is not.
    pub(in crate::exchanges::deribit) fn call(
        &self,
        core: &mut Core,
        method: &str,
        query: &mut Query,
        now_us: i64,
    ) -> Option<Result<Answer, Refusal>> {
        let told = |text: String| Ok(Answer { body: text.into_bytes(), ..Answer::default() });
        Some(match method.strip_prefix("public/")? {
            "get_time" => told(now_us.div_euclid(1_000).to_string()),
            "status" => told("{\"locked\":\"false\"}".to_owned()),
            "test" => told("{\"version\":\"1.2.26\"}".to_owned()),
            "get_currencies" => Ok(currencies()),
            "get_instruments" => self.instruments(core, query),
            "get_instrument" => self.wanted(query).map(|place| Answer::from(self.facts(core, place))),
            "ticker" => self.wanted(query).and_then(|place| self.figures(core, place, now_us)),
            "get_order_book" => self.order_book(core, query, now_us),
            "get_book_summary_by_instrument" => {
                self.wanted(query).map(|place| self.summaries(core, [place].into_iter(), now_us))
            }
            "get_book_summary_by_currency" => self.summaries_of(core, query, now_us),
            "get_last_trades_by_instrument" => self.trades(core, query, false, now_us),
            "get_last_trades_by_instrument_and_time" => self.trades(core, query, true, now_us),
            "get_tradingview_chart_data" => self.chart(core, query, now_us),
            _ => return None,
        })
    }

    fn wanted(&self, query: &mut Query) -> Result<usize, Refusal> {
        let id = query.required("instrument_name")?;
        self.place_of(&id).ok_or(NOT_FOUND)
    }

    fn facts(&self, core: &Core, place: usize) -> serde_json::Value {
        let listed = core.pasts.get(place).and_then(Option::as_ref).map_or(0, |past| past.listed);
        self.instruments[place].facts(listed * MINUTE_US)
    }

    /// The markets of a currency and a kind.
    fn of(&self, currency: Option<&str>, query: &mut Query) -> Result<Vec<usize>, Refusal> {
        let kind = query.take("kind").filter(|kind| kind != "any");
        let known = ["future", "option", "spot", "future_combo", "option_combo"];
        if kind.as_ref().is_some_and(|kind| !known.contains(&kind.as_str())) {
            return Err(invalid("invalid kind", "kind"));
        }
        let is_wanted = |instrument: &&Instrument| {
            currency.is_none_or(|currency| instrument.is_of(currency))
                && kind.as_ref().is_none_or(|kind| kind == instrument.kind_name())
        };
        let places = 0..self.instruments.len();
        Ok(places.filter(|place| is_wanted(&&self.instruments[*place])).collect())
    }

    fn instruments(&self, core: &Core, query: &mut Query) -> Result<Answer, Refusal> {
        let currency = query.take("currency").filter(|currency| currency != "any");
        if currency.as_ref().is_some_and(|wanted| !CURRENCIES.iter().any(|known| known.0 == wanted)) {
            return Err(invalid("invalid currency", "currency"));
        }
        let is_expired = query.take("expired").is_some_and(|text| text == "true");
        let mut places = self.of(currency.as_deref(), query)?;
        if is_expired {
            // Perpetuals don't end.
            places.clear();
        }
        Ok(list(places.into_iter().map(|place| self.facts(core, place)).collect()))
    }

    fn figures(&self, core: &Core, place: usize, now_us: i64) -> Result<Answer, Refusal> {
        let ticker = self.ticker(core, place, now_us).ok_or(NOT_FOUND)?;
        let mut body = Vec::new();
        render::figures(&mut body, &self.instruments[place], &ticker, None);
        Ok(Answer { body, ..Answer::default() })
    }

    /// The book as it is, with its number.
    fn order_book(&self, core: &mut Core, query: &mut Query, now_us: i64) -> Result<Answer, Refusal> {
        let place = self.wanted(query)?;
        let depth = query.count("depth", 5, DEPTH_MAX)?;
        let ticker = self.ticker(core, place, now_us).ok_or(NOT_FOUND)?;
        let ladder = core.symbols[place].ladder(depth);
        let id = self.live.borrow()[place].number(core.symbols[place].book.update_id());
        let levels = Levels::of(&ladder.bids, &ladder.asks);
        let mut body = Vec::new();
        render::figures(&mut body, &self.instruments[place], &ticker, Some((id, &levels)));
        Ok(Answer { body, ..Answer::default() })
    }

    fn summaries_of(&self, core: &Core, query: &mut Query, now_us: i64) -> Result<Answer, Refusal> {
        let currency = query.required("currency")?;
        if !CURRENCIES.iter().any(|known| known.0 == currency) {
            return Err(invalid("invalid currency", "currency"));
        }
        Ok(self.summaries(core, self.of(Some(&currency), query)?.into_iter(), now_us))
    }

    fn summaries(&self, core: &Core, places: impl Iterator<Item = usize>, now_us: i64) -> Answer {
        let mut body = b"[".to_vec();
        for place in places {
            let Some(ticker) = self.ticker(core, place, now_us) else { continue };
            if body.len() > 1 {
                body.push(b',');
            }
            summary(&mut body, &self.instruments[place], &ticker);
        }
        body.push(b']');
        Answer { body, ..Answer::default() }
    }

    /// Trades by their sequence numbers or their times, both ends included.
    fn trades(&self, core: &Core, query: &mut Query, by_time: bool, now_us: i64) -> Result<Answer, Refusal> {
        let place = self.wanted(query)?;
        let seq = |n: Option<i64>, default| n.map_or(default, |n| u64::try_from(n).unwrap_or(0));
        let (mut seqs, mut millis) = ((0, u64::MAX), (0, END_OF_TIME_MS));
        if by_time {
            let (from, to) = (query.integer("start_timestamp")?, query.integer("end_timestamp")?);
            millis = (from.unwrap_or(0), to.unwrap_or(END_OF_TIME_MS).min(END_OF_TIME_MS));
        } else {
            seqs = (seq(query.integer("start_seq")?, 0), seq(query.integer("end_seq")?, u64::MAX));
        }
        let is_ascending = match query.take("sorting").as_deref() {
            None | Some("default" | "desc") => false,
            Some("asc") => true,
            Some(_) => return Err(invalid("invalid value", "sorting")),
        };
        let wanted = Wanted { seqs, millis, count: query.count("count", 10, TRADES_MAX)?, is_ascending };
        let tape = self.tape(core, place).ok_or(NOT_FOUND)?;
        let (told, has_more) = pages::trades(tape, wanted, now_us);
        let mut body = b"{\"trades\":[".to_vec();
        for (i, one) in told.iter().enumerate() {
            if i > 0 {
                body.push(b',');
            }
            render::trade(&mut body, &self.instruments[place], one);
        }
        put(&mut body, &["],\"has_more\":", if has_more { "true}" } else { "false}" }]);
        let ids = told.first().zip(told.last()).map(|(first, last)| (first.row.id, last.row.id));
        Ok(Answer { body, ids, ..Answer::default() })
    }

    /// Candles, column by column.
    fn chart(&self, core: &Core, query: &mut Query, now_us: i64) -> Result<Answer, Refusal> {
        let place = self.wanted(query)?;
        let (from, to) = (query.required_integer("start_timestamp")?, query.required_integer("end_timestamp")?);
        let name = query.required("resolution")?;
        let interval = WIDTHS[width(&name).ok_or_else(|| invalid("invalid resolution", "resolution"))?].1;
        if from > to {
            return Err(invalid("start_timestamp is after end_timestamp", "start_timestamp"));
        }
        let micros = |ms: i64| ms.clamp(0, END_OF_TIME_MS) * 1_000;
        let tape = self.tape(core, place).ok_or(NOT_FOUND)?;
        let bars = pages::candles(tape, interval, micros(from), micros(to), now_us);
        Ok(Answer { body: columns(&bars), ..Answer::default() })
    }
}

/// A list of numbers, one of each candle.
type Column = (&'static str, fn(&Bar) -> i64);

fn columns(bars: &[Bar]) -> Vec<u8> {
    const COLUMNS: [Column; 6] = [
        ("volume", |bar| bar.volume),
        ("open", |bar| bar.open),
        ("low", |bar| bar.low),
        ("high", |bar| bar.high),
        ("cost", |bar| bar.quote_volume),
        ("close", |bar| bar.close),
    ];
    let mut out = Vec::with_capacity(64 + bars.len() * 80);
    let status = if bars.is_empty() { "no_data" } else { "ok" };
    put(&mut out, &["{\"status\":\"", status, "\",\"ticks\":["]);
    for (i, bar) in bars.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        push_i64(&mut out, bar.open_us.div_euclid(1_000));
    }
    for (name, of) in COLUMNS {
        put(&mut out, &["],\"", name, "\":["]);
        for (i, bar) in bars.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            push_number(&mut out, of(bar));
        }
    }
    out.extend_from_slice(b"]}");
    out
}

fn currencies() -> Answer {
    let rows = CURRENCIES.map(|(id, name)| {
        json!({
            "currency": id,
            "currency_long": name,
            "coin_type": "BITCOIN",
            "fee_precision": 4,
            "min_confirmations": 1,
            "min_withdrawal_fee": 0.0001,
            "withdrawal_fee": 0.0001,
            "withdrawal_priorities": [],
        })
    });
    list(rows.to_vec())
}

/// A row of a summary.
fn summary(out: &mut Vec<u8>, instrument: &Instrument, ticker: &Ticker) {
    let day = &ticker.day;
    let number = |out: &mut Vec<u8>, name: &str, e8: i64| {
        put(out, &["\"", name, "\":"]);
        push_number(out, e8);
        out.push(b',');
    };
    out.push(b'{');
    number(out, "volume_usd", day.quote_volume);
    number(out, "volume_notional", day.quote_volume);
    number(out, "volume", day.volume);
    put(out, &["\"quote_currency\":\"", instrument.quote(), "\","]);
    number(out, "price_change", ticker.price_change());
    if instrument.kind != Kind::Spot {
        let (funding, realized) = ticker.funding();
        ticker.push_open_interest(out, instrument);
        out.push(b',');
        number(out, "funding_8h", realized);
        number(out, "current_funding", funding);
    }
    number(out, "mid_price", i64::midpoint(ticker.quote.bid, ticker.quote.ask));
    number(out, "mark_price", ticker.mark());
    number(out, "low", day.low);
    number(out, "last", ticker.last);
    put(out, &["\"instrument_name\":\"", &instrument.id, "\","]);
    number(out, "high", day.high);
    number(out, "estimated_delivery_price", ticker.index());
    out.extend_from_slice(b"\"creation_timestamp\":");
    render::millis(out, ticker.now_us);
    out.push(b',');
    number(out, "bid_price", ticker.quote.bid);
    put(out, &["\"base_currency\":\"", instrument.base(), "\","]);
    out.extend_from_slice(b"\"ask_price\":");
    push_number(out, ticker.quote.ask);
    out.push(b'}');
}
