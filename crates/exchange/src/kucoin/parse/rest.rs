//! Answers with a list of rows: candles and trades, from their bytes to records in one pass.

use dccd_model::{Candle, Decimal, Flags, Side, Span, UnixNanos};

use super::live::side;
use super::{time, trade_id};
use crate::FrameError;
use crate::kucoin::messages::Reply;
use crate::session::Executed;
use crate::wire::{Cursor, positive};

/// Reads `{"code":"200000","data":[..]}`, each of its rows by `row`, in its order.
pub(in crate::kucoin) fn reply<'a>(
    body: &'a [u8],
    mut row: impl FnMut(&mut Cursor<'a>) -> Result<(), FrameError>,
) -> Result<Reply<'a>, FrameError> {
    let mut cursor = Cursor::new(body);
    let mut reply = Reply::default();
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"code" if cursor.peek() == Some(b'"') => reply.code = Some(cursor.words()?),
            b"msg" if cursor.peek() == Some(b'"') => reply.words = cursor.words()?,
            b"data" if cursor.peek() == Some(b'[') => {
                if reply.has_rows {
                    return Err(FrameError::OutOfRange { event: "answer", field: "data" });
                }
                reply.has_rows = true;
                cursor.list()?;
                let mut first = true;
                while cursor.item(&mut first)? {
                    row(&mut cursor)?;
                }
            }
            _ => cursor.skip()?,
        }
    }
    cursor.end()?;
    Ok(reply)
}

/// `["1545904980","0.058","0.049","0.058","0.049","0.018","0.000945"]`: open time in seconds, open, CLOSE, HIGH, LOW, volume, traded
/// amount of the quote currency.
pub(in crate::kucoin) fn candle(cursor: &mut Cursor<'_>, span: Span, ts_recv: UnixNanos) -> Result<Candle, FrameError> {
    const FIELDS: [&str; 6] = ["open", "close", "high", "low", "volume", "turnover"];
    let event = "candles";
    cursor.list()?;
    let mut first = true;
    if !cursor.item(&mut first)? {
        return Err(FrameError::Missing { event, field: "time" });
    }
    let ts_open = time(cursor, 1_000_000_000, event, "time")?;
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
    let [open, close, high, low, volume, quote_volume] = numbers;
    let flags = Flags::NONE;
    Ok(Candle { ts_open, ts_recv, open, high, low, close, volume, quote_volume, trades: 0, span, flags })
}

/// `{"sequence":"1545896668571","price":"0.07","size":"0.004","side":"buy","time":1545904567062140823}`; the side is the taker's.
pub(in crate::kucoin) fn trade(cursor: &mut Cursor<'_>) -> Result<Executed, FrameError> {
    let event = "histories";
    let (mut taker, mut price, mut amount, mut id, mut at) = (Side::Unknown, None, None, None, None);
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"side" => taker = side(cursor.text()?),
            b"price" => price = Some(positive(cursor, event, "price")?),
            b"size" => amount = Some(positive(cursor, event, "size")?),
            b"sequence" => id = Some(trade_id(cursor, event)?),
            b"time" => at = Some(time(cursor, 1, event, "time")?),
            _ => cursor.skip()?,
        }
    }
    let missing = |field| FrameError::Missing { event, field };
    Ok(Executed {
        id: id.ok_or(missing("sequence"))?,
        flags: Flags::NONE,
        ts_venue: at.ok_or(missing("time"))?,
        price: price.ok_or(missing("price"))?,
        amount: amount.ok_or(missing("size"))?,
        side: taker,
    })
}
