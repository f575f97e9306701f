//! Answers with a list of rows: candles and trades, from their bytes to records in one pass; and a refusal in their place.

use dccd_model::{Candle, Decimal, Flags, Span, UnixNanos};
use serde::de::Error as _;

use super::{taker, whole};
use crate::coinbase::consts::{NAME, RATE_WAIT};
use crate::coinbase::messages::Refusal;
use crate::integrity::IdSpace;
use crate::session::Traded;
use crate::wire::{Cursor, positive};
use crate::{FrameError, HistoryError};

/// Reads a list, row by row.
fn rows(
    body: &[u8],
    subject: &'static str,
    mut read: impl FnMut(&mut Cursor<'_>) -> Result<(), FrameError>,
) -> Result<(), HistoryError> {
    let mut cursor = Cursor::new(body);
    if cursor.peek() == Some(b'{') {
        return Err(refusal(body, subject));
    }
    let mut row = 0;
    let mut list = || {
        cursor.list()?;
        let mut first = true;
        while cursor.item(&mut first)? {
            read(&mut cursor)?;
            row += 1;
        }
        cursor.end()
    };
    let result = list();
    result.map_err(|fault| match fault {
        FrameError::OutOfRange { field, .. } => HistoryError::BadRow { exchange: NAME, subject, row, field },
        FrameError::Json(source) => unreadable(body, subject, source),
        fault => unreadable(body, subject, serde_json::Error::custom(fault)),
    })
}

fn unreadable(body: &[u8], subject: &'static str, source: serde_json::Error) -> HistoryError {
    HistoryError::Unreadable { exchange: NAME, subject, bytes: body.len(), source }
}

/// What an object in the place of a list means.
fn refusal(body: &[u8], subject: &'static str) -> HistoryError {
    let message = match serde_json::from_slice::<Refusal<'_>>(body) {
        Ok(refusal) => refusal.message.into_owned(),
        Err(source) => return unreadable(body, subject, source),
    };
    let words = message.to_ascii_lowercase();
    let has = |part: &str| words.contains(part);
    if has("rate limit") {
        HistoryError::RateLimited { exchange: NAME, message, wait: RATE_WAIT }
    } else if has("maintenance") || has("internal server error") || has("unavailable") || has("timeout") {
        HistoryError::Unavailable { exchange: NAME, message }
    } else {
        HistoryError::Refused { exchange: NAME, message }
    }
}

/// Rows `[1755496620,115703.97,115743.7,115733.6,115739.93,0.61798602]`: when it opened in seconds, low, high, open, close, volume.
/// Appended as they come, the newest first.
pub(in crate::coinbase) fn candles(
    body: &[u8],
    subject: &'static str,
    span: Span,
    ts_recv: UnixNanos,
    out: &mut Vec<Candle>,
) -> Result<(), HistoryError> {
    const FIELDS: [&str; 5] = ["low", "high", "open", "close", "volume"];
    let event = "candles";
    rows(body, subject, |cursor| {
        cursor.list()?;
        let mut first = true;
        if !cursor.item(&mut first)? {
            return Err(FrameError::Missing { event, field: "time" });
        }
        let seconds = whole(cursor, event, "time")?;
        let nanos = i64::try_from(seconds).ok().and_then(|seconds| seconds.checked_mul(1_000_000_000));
        let ts_open = UnixNanos(nanos.ok_or(FrameError::OutOfRange { event, field: "time" })?);
        let mut numbers = [Decimal::ZERO; 5];
        for (number, field) in numbers.iter_mut().zip(FIELDS) {
            if !cursor.item(&mut first)? {
                return Err(FrameError::Missing { event, field });
            }
            *number = cursor.decimal()?;
        }
        while cursor.item(&mut first)? {
            cursor.skip()?;
        }
        let [low, high, open, close, volume] = numbers;
        let (quote_volume, flags) = (Decimal::ZERO, Flags::NONE);
        out.push(Candle { ts_open, ts_recv, open, high, low, close, volume, quote_volume, trades: 0, span, flags });
        Ok(())
    })
}

/// Rows `{"trade_id":74,"side":"sell","size":"0.01000000","price":"10.00000000","time":"2019-08-14T20:42:27.265Z"}`, in the order of
/// ids; the exchange sends the newest first. The side there is the maker's, too.
pub(in crate::coinbase) fn trades(body: &[u8], subject: &'static str) -> Result<Vec<Traded>, HistoryError> {
    let event = "trades";
    let mut trades = Vec::new();
    rows(body, subject, |cursor| {
        let (mut side, mut price, mut amount, mut id, mut time) = (None, None, None, None, None);
        cursor.object()?;
        let mut first = true;
        while let Some(key) = cursor.key(&mut first)? {
            match key {
                b"side" => side = Some(taker(cursor.text()?)),
                b"price" => price = Some(positive(cursor, event, "price")?),
                b"size" => amount = Some(positive(cursor, event, "size")?),
                b"trade_id" => id = Some(whole(cursor, event, "trade_id")?),
                b"time" => time = Some(cursor.time()?),
                _ => cursor.skip()?,
            }
        }
        let missing = |field| FrameError::Missing { event, field };
        trades.push(Traded {
            space: IdSpace::Single,
            id: id.ok_or(missing("trade_id"))?,
            ts_venue: time.ok_or(missing("time"))?,
            price: price.ok_or(missing("price"))?,
            amount: amount.ok_or(missing("size"))?,
            side: side.ok_or(missing("side"))?,
        });
        Ok(())
    })?;
    trades.sort_by_key(|trade| trade.id);
    Ok(trades)
}
