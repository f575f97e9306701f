//! The past: candles back to the listing, the newest first, those without trades left out; and trades back to the first, by their ids.
//!
//! Trades can't be asked for by time. Where they begin at a time is searched for: pages are looked at that end before the ids of a
//! binary tree, the root of which is in the midst of all ids there can be. Which node is next follows from the node alone, so a
//! cursor holds all that the search knows: the time that is wanted, in seconds, and the node. A page without trades is believed when
//! it comes twice: the search would else go past trades that nobody would miss.

use dccd_model::{Candle, Flags, Span, Trade, TradeId, UnixNanos};

use super::Coinbase;
use super::consts::{CANDLES_PER_PAGE, NAME, SPANS, TRADES_PER_PAGE};
use super::{http, parse};
use crate::candles;
use crate::session::Traded;
use crate::wire::encoded;
use crate::{CandlePages, History, HistoryError, Market, Product, RestRequest, TradeCursor, TradePage, TradePages};

/// What a page of trades is called in errors.
pub(super) const TRADES: &str = "trades";

impl History for Coinbase {
    fn spans(&self) -> &'static [u32] {
        SPANS
    }

    fn candle_pages(&self, span: Span) -> Option<CandlePages> {
        SPANS.contains(&span.as_secs()).then_some(CandlePages {
            per_page: CANDLES_PER_PAGE,
            reach: None,
            sends_empty: false,
            has_quote_volume: false,
            has_trades: false,
            begins_at_listing: false,
        })
    }

    /// Of a longer stretch than a page the exchange refuses to give anything. Whether the end is included its documents leave open: a
    /// second before the next candle is on the safe side of both.
    fn candles_request(&self, market: &Market, span: Span, from: UnixNanos, to: UnixNanos, limit: u32) -> RestRequest {
        let seconds = |time: UnixNanos| time.0.max(0).saturating_add(999_999_999) / 1_000_000_000;
        let step = i64::from(span.as_secs());
        let start = seconds(from);
        let page = step * i64::from(limit.clamp(1, CANDLES_PER_PAGE));
        let end = seconds(to).min(start.saturating_add(page)).max(start + 1) - 1;
        RestRequest {
            product: Product::Spot,
            path_and_query: format!("/products/{}/candles?granularity={step}&start={start}&end={end}", encoded(&market.id)),
            weight: 1,
            subject: format!("candles {} {span} {start}", market.symbol),
        }
    }

    fn parse_candles(&self, body: &[u8], span: Span, ts_recv: UnixNanos, out: &mut Vec<Candle>) -> Result<(), HistoryError> {
        let begin = out.len();
        parse::candles(body, candles::SUBJECT, span, ts_recv, out)?;
        candles::check(NAME, &mut out[begin..])
    }

    fn trade_pages(&self) -> Option<TradePages> {
        Some(TradePages { per_page: TRADES_PER_PAGE, contiguous_ids: true })
    }

    fn trades_page_request(&self, market: &Market, cursor: TradeCursor) -> RestRequest {
        let page = |end, name: &str| http::trades_page(&market.symbol, &market.id, end, TRADES_PER_PAGE, name);
        match Search::of(cursor) {
            Ok(Search { seconds, node, .. }) => page(u64::from(node), &format!("at {seconds} before {node}")),
            Err(from_id) => page(from_id.saturating_add(TRADES_PER_PAGE.into()), &from_id.to_string()),
        }
    }

    fn parse_trades_page(
        &self,
        body: &[u8],
        cursor: TradeCursor,
        ts_recv: UnixNanos,
        out: &mut Vec<Trade>,
    ) -> Result<TradePage, HistoryError> {
        let page = parse::trades(body, TRADES)?;
        let from_id = match Search::of(cursor) {
            Ok(search) => return Ok(search.next(&page)),
            Err(from_id) => from_id,
        };
        // Where the present is near, the page reaches back before what was asked for.
        let wanted = page.iter().filter(|trade| trade.id >= from_id);
        out.extend(wanted.map(|trade| record(trade, ts_recv)));
        let next = page.last().map_or(from_id, |last| last.id.saturating_add(1)).max(from_id);
        // A page that isn't full may lack ids that the exchange doesn't have; one without any new trade is the end.
        Ok(TradePage { next: TradeCursor::Id(next), is_last: next == from_id })
    }
}

fn record(trade: &Traded, ts_recv: UnixNanos) -> Trade {
    let Traded { id, ts_venue, price, amount, side, .. } = *trade;
    Trade { ts_venue, ts_recv, price, amount, id: TradeId(id.into()), side, flags: Flags::NONE, epoch: 0 }
}

/// A search for the first trade at or after a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Search {
    /// The time, in seconds since the epoch.
    seconds: u32,
    /// An id: the page that ends before it is looked at. A multiple of [`LEAF`].
    node: u32,
    /// The page had no trades when it was looked at first.
    again: bool,
}

/// In the midst of all ids; a market that has more than twice as many trades is searched as far.
const ROOT: u32 = 1 << 31;
/// The nodes that have no others below them lie nearer to each other than a page reaches.
const LEAF: u32 = 512;

impl Search {
    /// The search that a cursor stands for; `Err`: the id at which a page begins.
    fn of(cursor: TradeCursor) -> Result<Self, u64> {
        match cursor {
            TradeCursor::Id(id) => Err(id),
            TradeCursor::Time(time) => {
                let seconds = u32::try_from(time.0.max(0) / 1_000_000_000).unwrap_or(u32::MAX);
                Ok(Self { seconds, node: ROOT, again: false })
            }
            TradeCursor::Mark(mark) => {
                let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(u32::MAX);
                let (seconds, node) = (half(mark >> 32), half(mark));
                Ok(Self { seconds, node: node & !(LEAF - 1), again: node & 1 == 1 })
            }
        }
    }

    fn mark(self) -> TradeCursor {
        TradeCursor::Mark(u64::from(self.seconds) << 32 | u64::from(self.node) | u64::from(self.again))
    }

    /// How far the nodes right below this one are; `None`: there are none.
    fn step(self) -> Option<u32> {
        let lowest_bit = self.node & self.node.wrapping_neg();
        (lowest_bit > LEAF).then_some(lowest_bit / 2)
    }

    /// Where the search goes on after the page of its node, or where the trades begin. The page ascends.
    fn next(self, page: &[Traded]) -> TradePage {
        if page.is_empty() && !self.again {
            return TradePage { next: Self { again: true, ..self }.mark(), is_last: false };
        }
        if page.is_empty() && self.node == ROOT {
            // A market without a trade.
            return TradePage { next: self.mark(), is_last: true };
        }
        let below = |node| Self { node, again: false, ..self }.mark();
        let wanted = i64::from(self.seconds) * 1_000_000_000;
        let found = page.iter().position(|trade| trade.ts_venue.0 >= wanted).map(|at| (at, page[at].id));
        let next = match (found, self.step()) {
            // All that there is before the node is older.
            (None, Some(step)) => below(self.node + step),
            (None, None) => TradeCursor::Id(page.last().map_or(self.node.into(), |last| last.id.saturating_add(1))),
            // It may be before the page.
            (Some((0, id)), Some(step)) if id > 1 => below(self.node - step),
            (Some((_, id)), _) => TradeCursor::Id(id),
        };
        TradePage { next, is_last: false }
    }
}
