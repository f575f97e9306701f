//! REST: pages of trades, candles in columns, and what the exchange's errors mean. One pass over the bytes, numbers by their own
//! digits.

use dccd_model::{Candle, Decimal, Flags, Span, UnixNanos};
use serde::de::Error as _;

use super::{fault, millis, trade};
use crate::deribit::consts::{NAME, RATE_WAIT};
use crate::deribit::messages::Fault;
use crate::session::Traded;
use crate::wire::Cursor;
use crate::{FrameError, HistoryError};

/// What an error in the place of a result means. With its own HTTP status (429 for 10028, 400 or 500 for most others) it never gets here.
fn refusal(fault: &Fault<'_>) -> HistoryError {
    let message = format!("{} ({})", fault.message, fault.code);
    let exchange = NAME;
    match fault.code {
        // "too_many_requests".
        10_028 => HistoryError::RateLimited { exchange, message, wait: RATE_WAIT },
        // "retry", "settlement_in_progress", "matching_engine_queue_full", "system_maintenance", "internal_server_error",
        // "temporarily_unavailable", "unavailable", "timed_out".
        10_040 | 10_041 | 10_047 | 11_051 | 11_094 | 13_028 | 13_503 | 13_888 => {
            HistoryError::Unavailable { exchange, message }
        }
        _ => HistoryError::Refused { exchange, message },
    }
}

/// Reads `{"jsonrpc":"2.0","result":{..},"usIn":..}`; `read` gets the result, which there must be.
fn answer<'a, T>(
    body: &'a [u8],
    subject: &'static str,
    read: impl Fn(&mut Cursor<'a>) -> Result<T, FrameError>,
) -> Result<T, HistoryError> {
    let whole = || {
        let mut cursor = Cursor::new(body);
        let (mut result, mut error) = (None, None);
        cursor.object()?;
        let mut first = true;
        while let Some(key) = cursor.key(&mut first)? {
            match key {
                b"result" if cursor.peek() == Some(b'{') => result = Some(read(&mut cursor)?),
                b"error" if cursor.peek() == Some(b'{') => error = Some(fault(&mut cursor)?),
                _ => cursor.skip()?,
            }
        }
        cursor.end()?;
        match (error, result) {
            (Some(fault), _) => Ok(Err(refusal(&fault))),
            (None, Some(result)) => Ok(Ok(result)),
            (None, None) => Err(FrameError::Missing { event: subject, field: "result" }),
        }
    };
    whole().unwrap_or_else(|fault: FrameError| {
        let source = match fault {
            FrameError::Json(source) => source,
            fault => serde_json::Error::custom(fault),
        };
        Err(HistoryError::Unreadable { exchange: NAME, subject, bytes: body.len(), source })
    })
}

/// A page of trades, in the order of their numbers, and whether the exchange has more than it held:
/// `{"result":{"trades":[..],"has_more":true}}`. `id`: the instrument that it is about, where that is known.
pub(in crate::deribit) fn trades(body: &[u8], id: Option<&str>) -> Result<(Vec<Traded>, bool), HistoryError> {
    let (mut trades, has_more) = answer(body, "trades", |cursor| {
        let (mut trades, mut has_more) = (None, false);
        cursor.object()?;
        let mut first = true;
        while let Some(key) = cursor.key(&mut first)? {
            match key {
                b"trades" => {
                    let rows: &mut Vec<Traded> = trades.insert(Vec::new());
                    cursor.list()?;
                    let mut first = true;
                    while cursor.item(&mut first)? {
                        rows.push(trade(cursor, id.map(str::as_bytes))?);
                    }
                }
                b"has_more" => has_more = cursor.truth()?,
                _ => cursor.skip()?,
            }
        }
        Ok((trades.ok_or(FrameError::Missing { event: "trades", field: "trades" })?, has_more))
    })?;
    trades.sort_by_key(|trade| trade.id);
    Ok((trades, has_more))
}

/// The columns of an answer of candles, but for the times.
const COLUMNS: [&str; 6] = ["open", "high", "low", "close", "volume", "cost"];

/// `{"result":{"status":"ok","ticks":[1766483460000],"open":[87451.0],"high":[..],"low":[..],"close":[..],"volume":[2.94],"cost":[257490.0]}}`:
/// volume in the base currency, cost in the quote currency, of inverse contracts too. Appended in its order.
pub(in crate::deribit) fn candles(
    body: &[u8],
    span: Span,
    ts_recv: UnixNanos,
    out: &mut Vec<Candle>,
) -> Result<(), HistoryError> {
    let subject = crate::candles::SUBJECT;
    let (times, columns) = answer(body, subject, columns)?;
    if let Some((field, _)) = COLUMNS.iter().zip(&columns).find(|(_, column)| column.len() != times.len()) {
        let row = columns.iter().map(Vec::len).min().unwrap_or(0).min(times.len());
        return Err(HistoryError::BadRow { exchange: NAME, subject, row, field });
    }
    out.extend(times.into_iter().enumerate().map(|(row, ts_open)| {
        let [open, high, low, close, volume, quote_volume] =
            std::array::from_fn(|at| columns.get(at).and_then(|c: &Vec<Decimal>| c.get(row)).copied().unwrap_or_default());
        Candle { ts_open, ts_recv, open, high, low, close, volume, quote_volume, trades: 0, span, flags: Flags::NONE }
    }));
    Ok(())
}

fn columns(cursor: &mut Cursor<'_>) -> Result<(Vec<UnixNanos>, [Vec<Decimal>; 6]), FrameError> {
    let event = "candles";
    let (mut status, mut times) = (None, None);
    let mut columns: [Option<Vec<Decimal>>; 6] = Default::default();
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        if key == b"status" {
            status = Some(cursor.text()?);
        } else if key == b"ticks" {
            times = Some(list(cursor, |cursor| millis(cursor, event, "ticks"))?);
        } else if let Some(at) = COLUMNS.iter().position(|column| column.as_bytes() == key) {
            columns[at] = Some(list(cursor, Cursor::decimal)?);
        } else {
            cursor.skip()?;
        }
    }
    match status {
        // The lists may be empty, or not there at all.
        Some(b"no_data") => return Ok(Default::default()),
        Some(b"ok") => {}
        Some(_) => return Err(FrameError::OutOfRange { event, field: "status" }),
        None => return Err(FrameError::Missing { event, field: "status" }),
    }
    let mut whole: [Vec<Decimal>; 6] = Default::default();
    for ((to, column), field) in whole.iter_mut().zip(columns).zip(COLUMNS) {
        *to = column.ok_or(FrameError::Missing { event, field })?;
    }
    Ok((times.ok_or(FrameError::Missing { event, field: "ticks" })?, whole))
}

fn list<'a, T>(
    cursor: &mut Cursor<'a>,
    item: impl Fn(&mut Cursor<'a>) -> Result<T, FrameError>,
) -> Result<Vec<T>, FrameError> {
    let mut items = Vec::new();
    cursor.list()?;
    let mut first = true;
    while cursor.item(&mut first)? {
        items.push(item(cursor)?);
    }
    Ok(items)
}
