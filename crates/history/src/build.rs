//! Candles from trades: one pass, any number of spans, constant memory. Exact until the end, where the nearest double is stored. Pure.

use dccd_model::{Decimal, DecimalSum, Grid, Span, Trade, UnixNanos};
use dccd_store::CandleRow;

#[derive(Clone, Copy, Debug)]
struct Growing {
    open_at: UnixNanos,
    open: Decimal,
    high: Decimal,
    low: Decimal,
    close: Decimal,
    volume: DecimalSum,
    quote_volume: DecimalSum,
    trades: i64,
}

/// Builds the candles of one span from trades in the order of their times.
#[derive(Debug)]
pub struct CandleBuilder {
    span: Span,
    grid: Grid,
    growing: Option<Growing>,
    /// The price before the first trade, and what a candle without trades stands at.
    last: Option<f64>,
    /// The opening of the next candle to give out.
    next: UnixNanos,
    /// Candles without trades are given out, flat at the last price, as the exchange itself does.
    fills: bool,
}

impl CandleBuilder {
    /// Begins with the candle that opens at `from`. `last` is the price before it, where that is known; `fills` says whether a
    /// candle without trades is one.
    #[must_use]
    pub fn new(span: Span, from: UnixNanos, last: Option<f64>, fills: bool) -> Self {
        let grid = Grid::new(span);
        Self { span, grid, growing: None, last, next: grid.floor(from), fills }
    }

    /// Its span.
    #[must_use]
    pub const fn span(&self) -> Span {
        self.span
    }

    /// The opening of the next candle to come out.
    #[must_use]
    pub const fn next(&self) -> UnixNanos {
        self.next
    }

    /// Takes a trade; candles that it closes are given to `out`. One from before [`Self::next`] only tells the price.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn push<E>(&mut self, trade: &Trade, out: &mut impl FnMut(CandleRow) -> Result<(), E>) -> Result<(), E> {
        let open_at = self.grid.floor(trade.ts_venue);
        if open_at < self.next && self.growing.is_none() {
            self.last = Some(trade.price.to_f64());
            return Ok(());
        }
        match &mut self.growing {
            // A clock that steps back a little keeps the candle that it has begun.
            Some(growing) if open_at <= growing.open_at => growing.add(trade),
            _ => {
                self.close_until(open_at, out)?;
                self.growing = Some(Growing::begin(open_at, trade));
            }
        }
        Ok(())
    }

    /// Gives out all candles that open before `until`: nothing more will come for them.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn close_until<E>(&mut self, until: UnixNanos, out: &mut impl FnMut(CandleRow) -> Result<(), E>) -> Result<(), E> {
        let until = self.grid.floor(until);
        if let Some(growing) = self.growing
            && growing.open_at < until
        {
            self.growing = None;
            self.fill(growing.open_at, out)?;
            let row = growing.row();
            self.last = Some(row.close);
            self.next = self.grid.after(growing.open_at, 1);
            out(row)?;
        }
        if self.growing.is_none() {
            self.fill(until, out)?;
        }
        Ok(())
    }

    /// Gives out flat candles up to `until`.
    fn fill<E>(&mut self, until: UnixNanos, out: &mut impl FnMut(CandleRow) -> Result<(), E>) -> Result<(), E> {
        if let Some(price) = self.last.filter(|_| self.fills) {
            while self.next < until {
                out(flat(self.next, price))?;
                self.next = self.grid.after(self.next, 1);
            }
        }
        self.next = self.next.max(until);
        Ok(())
    }
}

fn flat(ts: UnixNanos, price: f64) -> CandleRow {
    CandleRow {
        ts,
        open: price,
        high: price,
        low: price,
        close: price,
        volume: 0.0,
        quote_volume: Some(0.0),
        trades: Some(0),
    }
}

impl Growing {
    fn begin(open_at: UnixNanos, trade: &Trade) -> Self {
        let price = trade.price;
        let mut growing = Self {
            open_at,
            open: price,
            high: price,
            low: price,
            close: price,
            volume: DecimalSum::default(),
            quote_volume: DecimalSum::default(),
            trades: 0,
        };
        growing.add(trade);
        growing
    }

    fn add(&mut self, trade: &Trade) {
        self.high = self.high.max(trade.price);
        self.low = self.low.min(trade.price);
        self.close = trade.price;
        self.volume.add(trade.amount);
        self.quote_volume.add_product(trade.price, trade.amount);
        self.trades += 1;
    }

    fn row(&self) -> CandleRow {
        CandleRow {
            ts: self.open_at,
            open: self.open.to_f64(),
            high: self.high.to_f64(),
            low: self.low.to_f64(),
            close: self.close.to_f64(),
            volume: self.volume.to_f64(),
            quote_volume: Some(self.quote_volume.to_f64()),
            trades: Some(self.trades),
        }
    }
}

#[cfg(test)]
mod tests {
    use dccd_model::{Flags, Side, TradeId};

    use super::*;

    const S: i64 = 1_000_000_000;

    fn trade(seconds: i64, price: &str, amount: &str) -> Trade {
        Trade {
            ts_venue: UnixNanos(seconds * S),
            ts_recv: UnixNanos(1),
            price: Decimal::parse(price.as_bytes()).unwrap(),
            amount: Decimal::parse(amount.as_bytes()).unwrap(),
            id: TradeId(seconds.unsigned_abs().into()),
            side: Side::Buy,
            flags: Flags::NONE,
            epoch: 0,
        }
    }

    fn build(fills: bool, last: Option<f64>, trades: &[Trade], until: i64) -> Vec<CandleRow> {
        let mut rows = Vec::new();
        let mut out = |row| {
            rows.push(row);
            Ok::<_, std::convert::Infallible>(())
        };
        let mut builder = CandleBuilder::new(Span::from_secs(60).unwrap(), UnixNanos(0), last, fills);
        trades.iter().for_each(|t| builder.push(t, &mut out).unwrap());
        builder.close_until(UnixNanos(until * S), &mut out).unwrap();
        rows
    }

    #[test]
    fn sums_are_exact_where_doubles_are_not() {
        let trades: Vec<_> = (0..10).map(|s| trade(s, "0.1", "0.1")).collect();
        let rows = build(true, None, &trades, 60);
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].volume, rows[0].quote_volume, rows[0].trades), (1.0, Some(0.1), Some(10)));
        let rows = build(true, None, &[trade(1, "105433.60000", "0.00027625"), trade(2, "7", "1e3")], 60);
        assert_eq!(rows[0].quote_volume, Some(7029.126032));
        assert_eq!(rows[0].volume, 1000.00027625);
    }

    #[test]
    fn quiet_candles_are_flat_or_left_out_as_the_exchange_does() {
        let trades = [trade(70, "5", "1"), trade(90, "4", "2"), trade(250, "6", "1")];
        let opens = |rows: &[CandleRow]| rows.iter().map(|r| (r.ts.0 / S, r.close, r.trades)).collect::<Vec<_>>();
        assert_eq!(
            opens(&build(true, None, &trades, 360)),
            [(60, 4.0, Some(2)), (120, 4.0, Some(0)), (180, 4.0, Some(0)), (240, 6.0, Some(1)), (300, 6.0, Some(0))]
        );
        assert_eq!(opens(&build(false, None, &trades, 360)), [(60, 4.0, Some(2)), (240, 6.0, Some(1))]);
        assert_eq!(opens(&build(true, Some(9.0), &trades, 120))[0], (0, 9.0, Some(0)));
        assert_eq!(build(true, None, &trades, 120)[0].low, 4.0);
    }

    #[test]
    fn a_candle_that_is_not_over_stays_inside() {
        assert!(build(true, None, &[trade(30, "5", "1")], 59).is_empty());
        let mut rows: Vec<CandleRow> = Vec::new();
        let mut out = |row| {
            rows.push(row);
            Ok::<_, std::convert::Infallible>(())
        };
        let mut builder = CandleBuilder::new(Span::from_secs(60).unwrap(), UnixNanos(60 * S), None, true);
        builder.push(&trade(59, "3", "1"), &mut out).unwrap();
        builder.push(&trade(130, "4", "1"), &mut out).unwrap();
        let rows: Vec<_> = rows.iter().map(|r| (r.ts.0 / S, r.close)).collect();
        assert_eq!(rows, [(60, 3.0)], "the trade before the beginning tells the price");
        assert_eq!(builder.next(), UnixNanos(120 * S));
    }
}
