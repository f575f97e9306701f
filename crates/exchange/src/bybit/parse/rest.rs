//! Answers with a list of rows: candles and trades, from their bytes to records in one pass.

use dccd_model::{Candle, Decimal, Flags, Side, Span, UnixNanos};

use super::{millis, trade_id};
use crate::FrameError;
use crate::bybit::messages::Reply;
use crate::session::Executed;
use crate::wire::{Cursor, positive};

/// A kind of row.
pub(in crate::bybit) trait Row: Copy {
    type Record;

    fn read(self, cursor: &mut Cursor<'_>) -> Result<Self::Record, FrameError>;
}

/// Reads `{"retCode":0,"retMsg":"OK","result":{"category":"spot","symbol":"BTCUSDT","list":[..]},"time":..}` and appends its
/// rows in its order.
pub(in crate::bybit) fn reply<'a, R: Row>(
    body: &'a [u8],
    row: R,
    out: &mut Vec<R::Record>,
) -> Result<Reply<'a>, FrameError> {
    let mut cursor = Cursor::new(body);
    let mut reply = Reply::default();
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"retCode" => {
                let code = cursor.decimal()?;
                let out_of_range = FrameError::OutOfRange { event: "answer", field: "retCode" };
                reply.code = Some((code.exponent == 0).then_some(code.mantissa).ok_or(out_of_range)?);
            }
            b"retMsg" if cursor.peek() == Some(b'"') => reply.words = cursor.words()?,
            b"result" if cursor.peek() == Some(b'{') => result(&mut cursor, row, &mut reply, out)?,
            _ => cursor.skip()?,
        }
    }
    cursor.end()?;
    Ok(reply)
}

fn result<R: Row>(
    cursor: &mut Cursor<'_>,
    row: R,
    reply: &mut Reply<'_>,
    out: &mut Vec<R::Record>,
) -> Result<(), FrameError> {
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        if key != b"list" || cursor.peek() != Some(b'[') {
            cursor.skip()?;
            continue;
        }
        if reply.has_rows {
            return Err(FrameError::OutOfRange { event: "answer", field: "list" });
        }
        reply.has_rows = true;
        cursor.list()?;
        let mut first = true;
        while cursor.item(&mut first)? {
            out.push(row.read(cursor)?);
        }
    }
    Ok(())
}

/// `["1670608800000","17071","17073","17027","17055.5","268611","15.74462667"]`: open time, open, high, low, close, volume,
/// traded amount of the quote currency.
#[derive(Clone, Copy)]
pub(in crate::bybit) struct CandleRow {
    pub(in crate::bybit) span: Span,
    pub(in crate::bybit) ts_recv: UnixNanos,
}

impl Row for CandleRow {
    type Record = Candle;

    fn read(self, cursor: &mut Cursor<'_>) -> Result<Candle, FrameError> {
        const FIELDS: [&str; 6] = ["open", "high", "low", "close", "volume", "turnover"];
        let event = "kline";
        cursor.list()?;
        let mut first = true;
        if !cursor.item(&mut first)? {
            return Err(FrameError::Missing { event, field: "start" });
        }
        let ts_open = millis(cursor, event, "start")?;
        let mut numbers = [Decimal::ZERO; 6];
        for (number, field) in numbers.iter_mut().zip(FIELDS) {
            if !cursor.item(&mut first)? {
                return Err(FrameError::Missing { event, field });
            }
            *number = cursor.decimal()?;
        }
        while cursor.item(&mut first)? {
            cursor.skip()?;
        }
        let [open, high, low, close, volume, quote_volume] = numbers;
        let (span, ts_recv, flags) = (self.span, self.ts_recv, Flags::NONE);
        Ok(Candle { ts_open, ts_recv, open, high, low, close, volume, quote_volume, trades: 0, span, flags })
    }
}

/// `{"execId":"2100000000007764263","symbol":"BTCUSDT","price":"16618.49","size":"0.00012","side":"Buy","time":"1672052955758",
/// "isBlockTrade":false,"isRPITrade":false,"seq":"123"}`; the side is the taker's.
#[derive(Clone, Copy)]
pub(in crate::bybit) struct TradeRow;

impl Row for TradeRow {
    type Record = Executed;

    fn read(self, cursor: &mut Cursor<'_>) -> Result<Executed, FrameError> {
        let event = "recent-trade";
        let (mut side, mut price, mut amount, mut id, mut time) = (Side::Unknown, None, None, None, None);
        cursor.object()?;
        let mut first = true;
        while let Some(key) = cursor.key(&mut first)? {
            match key {
                b"side" => {
                    side = match cursor.text()? {
                        b"Buy" => Side::Buy,
                        b"Sell" => Side::Sell,
                        _ => Side::Unknown,
                    }
                }
                b"price" => price = Some(positive(cursor, event, "price")?),
                b"size" => amount = Some(positive(cursor, event, "size")?),
                b"execId" => {
                    id = Some(trade_id(cursor.text()?).ok_or(FrameError::OutOfRange { event, field: "execId" })?);
                }
                b"time" => time = Some(millis(cursor, event, "time")?),
                _ => cursor.skip()?,
            }
        }
        let missing = |field| FrameError::Missing { event, field };
        let (id, flags) = id.ok_or(missing("execId"))?;
        Ok(Executed {
            id,
            flags,
            ts_venue: time.ok_or(missing("time"))?,
            price: price.ok_or(missing("price"))?,
            amount: amount.ok_or(missing("size"))?,
            side,
        })
    }
}
