//! REST: the envelope of all answers, and trades of the past. Pure, never panics.

use dccd_model::{Decimal, Side, UnixNanos};

use crate::HistoryError;
use crate::integrity::IdSpace;
use crate::okx::consts::{NAME, RATE_WAIT};
use crate::okx::messages::{PastTrade, Reply};
use crate::session::Traded;

/// What an answer's code and words mean when it isn't what was asked for: code, words.
pub(super) fn refused(code: &str, words: &str) -> Option<(i64, String)> {
    (code != "0").then(|| (code.parse().unwrap_or_default(), words.to_owned()))
}

/// Reads the envelope, and the exchange's own refusal in the place of rows.
pub(in crate::okx) fn reply<'a>(body: &'a [u8], subject: &'static str) -> Result<Reply<'a>, HistoryError> {
    let reply: Reply<'a> = serde_json::from_slice(body).map_err(|source| unreadable(body, subject, source))?;
    match reply.code.as_ref() {
        "0" if reply.data.is_some() => Ok(reply),
        "0" => Err(unreadable(body, subject, serde::de::Error::missing_field("data"))),
        code => {
            let message = format!("code {code}: {}", reply.msg);
            Err(match code {
                // Of the address, of the sub-account.
                "50011" | "50061" => HistoryError::RateLimited { exchange: NAME, message, wait: RATE_WAIT },
                // Unavailable, timeout, busy, fault inside.
                "50001" | "50004" | "50013" | "50026" => HistoryError::Unavailable { exchange: NAME, message },
                _ => HistoryError::Refused { exchange: NAME, message },
            })
        }
    }
}

fn unreadable(body: &[u8], subject: &'static str, source: serde_json::Error) -> HistoryError {
    HistoryError::Unreadable { exchange: NAME, subject, bytes: body.len(), source }
}

/// Milliseconds since the epoch, in text.
pub(in crate::okx) fn millis(text: &str) -> Option<UnixNanos> {
    let ms: i64 = text.parse().ok()?;
    ms.checked_mul(1_000_000).filter(|ns| *ns >= 0).map(UnixNanos)
}

/// An answer of `history-trades`, in the order of ids; the exchange sends the newest first. Amounts are as the exchange has them:
/// of swaps, contracts.
pub(in crate::okx) fn trades(body: &[u8]) -> Result<Vec<Traded>, HistoryError> {
    let subject = "trades";
    let rows = reply(body, subject)?.data.unwrap_or_default();
    let mut trades = Vec::with_capacity(rows.len());
    for (row, text) in rows.into_iter().enumerate() {
        let past: PastTrade<'_> = serde_json::from_str(text.get()).map_err(|source| unreadable(body, subject, source))?;
        trades.push(trade(&past).map_err(|field| HistoryError::BadRow { exchange: NAME, subject, row, field })?);
    }
    trades.sort_by_key(|trade| trade.id);
    Ok(trades)
}

fn trade(past: &PastTrade<'_>) -> Result<Traded, &'static str> {
    let number = |text: &str| Decimal::parse(text.as_bytes()).ok().filter(|number| number.mantissa >= 0);
    Ok(Traded {
        space: IdSpace::Single,
        id: past.trade_id.parse().map_err(|_| "tradeId")?,
        ts_venue: millis(&past.ts).ok_or("ts")?,
        price: number(&past.px).ok_or("px")?,
        amount: number(&past.sz).ok_or("sz")?,
        side: match past.side.as_ref() {
            "buy" => Side::Buy,
            "sell" => Side::Sell,
            _ => Side::Unknown,
        },
    })
}
