//! REST: the rows of an answer become candles, trades or pairs in one pass; and the error that may stand in their place. Pure, never
//! panics.

use dccd_model::{Candle, Decimal, Flags, Span, UnixNanos};

use super::{item, millis, rest_of_list, trade};
use crate::FrameError;
use crate::session::Executed;
use crate::wire::Cursor;

/// `["error",11010,"ratelimit: error"]`: code and words; `None`: the answer is no such thing.
pub(in crate::bitfinex) fn refusal(body: &[u8]) -> Option<(i64, String)> {
    let mut cursor = Cursor::new(body);
    let mut first = true;
    cursor.list().ok()?;
    let is_error = cursor.item(&mut first).ok()? && cursor.peek() == Some(b'"') && cursor.text().ok()? == b"error";
    if !is_error {
        return None;
    }
    let mut code = 0;
    let mut words = String::new();
    while matches!(cursor.item(&mut first), Ok(true)) {
        match cursor.peek() {
            Some(b'0'..=b'9') => code = cursor.integer().ok().and_then(|code| i64::try_from(code).ok()).unwrap_or(0),
            Some(b'"') => words = cursor.words().map(std::borrow::Cow::into_owned).unwrap_or_default(),
            _ => cursor.skip().ok()?,
        }
    }
    Some((code, words))
}

/// Reads a list of rows.
fn rows(body: &[u8], mut row: impl FnMut(&mut Cursor<'_>) -> Result<(), FrameError>) -> Result<(), FrameError> {
    let mut cursor = Cursor::new(body);
    let mut first = true;
    cursor.list()?;
    while cursor.item(&mut first)? {
        row(&mut cursor)?;
    }
    cursor.end()
}

/// `[[1754820720000,118270,118270,118270,118270,0.10785853],..]`: open time, open, close, high, low, volume; in their order.
pub(in crate::bitfinex) fn candles(
    body: &[u8],
    span: Span,
    ts_recv: UnixNanos,
    out: &mut Vec<Candle>,
) -> Result<(), FrameError> {
    const FIELDS: [&str; 5] = ["open", "close", "high", "low", "volume"];
    rows(body, |cursor| {
        let event = "candles";
        let mut first = true;
        cursor.list()?;
        item(cursor, &mut first, event, "mts")?;
        let ts_open = millis(cursor, event)?;
        let mut numbers = [Decimal::ZERO; 5];
        for (number, field) in numbers.iter_mut().zip(FIELDS) {
            item(cursor, &mut first, event, field)?;
            *number = cursor.decimal()?;
        }
        rest_of_list(cursor, &mut first)?;
        let [open, close, high, low, volume] = numbers;
        let (quote_volume, flags) = (Decimal::ZERO, Flags::NONE);
        out.push(Candle { ts_open, ts_recv, open, high, low, close, volume, quote_volume, trades: 0, span, flags });
        Ok(())
    })
}

/// `[[388063448,1567526214876,1.918524,10682],..]`, in the order of time.
pub(in crate::bitfinex) fn trades(body: &[u8]) -> Result<Vec<Executed>, FrameError> {
    let mut trades = Vec::new();
    rows(body, |cursor| {
        trades.push(trade(cursor)?);
        Ok(())
    })?;
    trades.sort_by_key(|trade| (trade.ts_venue, trade.id));
    Ok(trades)
}

/// One market as `pub:info:pair` lists it.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::bitfinex) struct Pair<'a> {
    pub(in crate::bitfinex) name: &'a str,
    /// Smallest and largest amount of an order.
    pub(in crate::bitfinex) amounts: [Option<Decimal>; 2],
}

/// `[[["AAVE:USD",[null,null,null,"0.02","5000.0",null,..]],..]]`; and how many couldn't be read.
pub(in crate::bitfinex) fn pairs(body: &[u8]) -> Result<(Vec<Pair<'_>>, usize), FrameError> {
    let mut pairs = Vec::new();
    let mut skipped = 0;
    let mut cursor = Cursor::new(body);
    let mut first = true;
    cursor.list()?;
    item(&mut cursor, &mut first, "conf", "pub:info:pair")?;
    let mut first_pair = true;
    cursor.list()?;
    while cursor.item(&mut first_pair)? {
        // Each by itself, so that one that can't be read doesn't take the others along.
        let mut of_pair = cursor;
        cursor.skip()?;
        match pair(&mut of_pair) {
            Ok(pair) => pairs.push(pair),
            Err(_) => skipped += 1,
        }
    }
    rest_of_list(&mut cursor, &mut first)?;
    cursor.end()?;
    Ok((pairs, skipped))
}

fn pair<'a>(cursor: &mut Cursor<'a>) -> Result<Pair<'a>, FrameError> {
    let event = "pub:info:pair";
    let mut first = true;
    cursor.list()?;
    item(cursor, &mut first, event, "pair")?;
    let name = std::str::from_utf8(cursor.text()?).map_err(|_| FrameError::OutOfRange { event, field: "pair" })?;
    let mut amounts = [None; 2];
    if cursor.item(&mut first)? && cursor.peek() == Some(b'[') {
        let mut first = true;
        cursor.list()?;
        let mut at = 0usize;
        while cursor.item(&mut first)? {
            match at.checked_sub(3).and_then(|at| amounts.get_mut(at)) {
                Some(amount) if matches!(cursor.peek(), Some(b'"' | b'0'..=b'9')) => *amount = Some(cursor.decimal()?),
                _ => cursor.skip()?,
            }
            at += 1;
        }
    }
    Ok(Pair { name, amounts })
}
