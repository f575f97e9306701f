//! What goes wrong with an answer on purpose: rows that are missing, twice, in no order or of another time, bodies that are cut,
//! errors of the server, connections that end, answers that come late.

use std::time::Duration;

use fastrand::Rng;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One way in which an answer is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestFault {
    /// A page without rows, whatever there is.
    Empty,
    /// One of its rows is left out.
    Omit,
    /// One of its rows comes twice.
    Duplicate,
    /// Two of its rows change places.
    Reorder,
    /// Its rows come in reverse order.
    Descending,
    /// Its first row is of a time long before.
    Outside,
    /// The body ends in the middle.
    Truncate,
    /// 500, 502 or 503.
    Error,
    /// The connection ends without an answer.
    Reset,
    /// The answer comes late.
    Delay,
}

/// No id is as great, no time as small.
const MILLIS: i64 = 1_000_000_000_000;

impl RestFault {
    /// All of them, for plans. Not [`Self::Descending`]: an exchange answers so always or never.
    pub(crate) const PLANNED: [Self; 9] = [
        Self::Empty,
        Self::Omit,
        Self::Duplicate,
        Self::Reorder,
        Self::Outside,
        Self::Truncate,
        Self::Error,
        Self::Reset,
        Self::Delay,
    ];

    /// How late an answer comes.
    pub(crate) const LATE: Duration = Duration::from_millis(300);

    /// The word for the ledger.
    pub(crate) fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// The body with this fault; `None` where it can't have it: an answer without rows lacks none.
    pub(crate) fn damage(self, body: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
        if self == Self::Truncate {
            return Some(body[..body.len() / 2].to_vec());
        }
        let mut value: Value = serde_json::from_slice(body).ok()?;
        match columns(&value) {
            Some((names, mut rows)) => {
                self.alter(&mut rows, rng)?;
                let result = value.get_mut("result")?;
                for (at, name) in names.iter().enumerate() {
                    result[name] = rows.iter().filter_map(|row| row.get(at).cloned()).collect();
                }
            }
            None => self.alter(rows(&mut value)?, rng)?,
        }
        Some(value.to_string().into_bytes())
    }

    /// Makes these rows wrong; `None` where they can't be.
    fn alter(self, rows: &mut Vec<Value>, rng: &mut Rng) -> Option<()> {
        let count = rows.len();
        match self {
            Self::Empty if count > 0 => rows.clear(),
            Self::Omit if count > 0 => drop(rows.remove(rng.usize(..count))),
            Self::Duplicate if count > 0 => {
                let at = rng.usize(..count);
                rows.insert(at, rows[at].clone());
            }
            Self::Reorder if count > 1 => {
                let at = rng.usize(1..count);
                rows.swap(at - 1, at);
            }
            Self::Descending if count > 1 => rows.reverse(),
            Self::Outside if count > 0 => {
                let time = match &mut rows[0] {
                    Value::Array(row) => {
                        // Where ids come first, times in milliseconds come second; after prices and amounts, in seconds, third.
                        let whole = |at: usize| row.get(at).and_then(Value::as_i64);
                        let is_second = whole(0).is_some_and(|id| id < MILLIS) && whole(1).is_some_and(|ms| ms > MILLIS);
                        let is_third = row.get(2).is_some_and(Value::is_f64) && row[0].is_string();
                        row.get_mut(if is_third { 2 } else { usize::from(is_second) })?
                    }
                    row => {
                        let key = ["time", "ts", "timestamp"].into_iter().find(|key| row.get(key).is_some())?;
                        row.get_mut(key)?
                    }
                };
                *time = match time.as_str() {
                    Some(text) => Value::from(match text.parse::<i64>() {
                        Ok(number) => (number / 2).to_string(),
                        // A date: the same day of another year.
                        Err(_) if text.get(4..5) == Some("-") => format!("1996{}", &text[4..]),
                        Err(_) => return None,
                    }),
                    None => match time.as_i64() {
                        Some(number) => Value::from(number / 2),
                        None => Value::from(time.as_f64()? / 2.0),
                    },
                };
            }
            _ => return None,
        }
        Some(())
    }
}

/// The names and rows of an answer that has its candles column by column; that of their times, `ticks`, is the first.
fn columns(value: &Value) -> Option<(Vec<String>, Vec<Value>)> {
    let result = value.get("result")?.as_object()?;
    let ticks = result.get("ticks")?.as_array()?;
    let others = result.iter().filter(|(name, column)| *name != "ticks" && column.is_array());
    let names: Vec<String> =
        std::iter::once("ticks").chain(others.map(|(name, _)| name.as_str())).map(str::to_owned).collect();
    let row = |at: usize| names.iter().map(|name| result[name][at].clone()).collect();
    Some((names.clone(), (0..ticks.len()).map(row).collect()))
}

/// The rows of a page: the answer itself, its `data`, or the first list within its `result`.
fn rows(value: &mut Value) -> Option<&mut Vec<Value>> {
    match value {
        Value::Array(rows) => Some(rows),
        Value::Object(object) => {
            if object.contains_key("data") {
                return object.get_mut("data")?.as_array_mut();
            }
            object.get_mut("result")?.as_object_mut()?.values_mut().find_map(Value::as_array_mut)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_makes_of_a_page_what_it_says() {
        let body = br#"[[1000,"a"],[2000,"b"],[3000,"c"]]"#;
        let mut rng = Rng::with_seed(1);
        let mut damaged =
            |fault: RestFault| fault.damage(body, &mut rng).map(|body| String::from_utf8(body).unwrap()).unwrap_or_default();
        assert_eq!(damaged(RestFault::Empty), "[]");
        assert_eq!(damaged(RestFault::Omit).matches('"').count(), 4);
        assert_eq!(damaged(RestFault::Duplicate).matches('"').count(), 8);
        assert_eq!(damaged(RestFault::Descending), r#"[[3000,"c"],[2000,"b"],[1000,"a"]]"#);
        assert_eq!(damaged(RestFault::Outside), r#"[[500,"a"],[2000,"b"],[3000,"c"]]"#);
        assert!(serde_json::from_str::<Value>(&damaged(RestFault::Truncate)).is_err());
        let kraken = br#"{"error":[],"result":{"XXBTZUSD":[[1,"a"]],"last":"7"}}"#;
        let empty = RestFault::Empty.damage(kraken, &mut rng).unwrap();
        assert_eq!(empty, br#"{"error":[],"result":{"XXBTZUSD":[],"last":"7"}}"#);
        let trades = br#"{"error":[],"result":{"XXBTZUSD":[["30243.40000","0.34",1688669598.5,"b","m","",61]],"last":"7"}}"#;
        let outside = String::from_utf8(RestFault::Outside.damage(trades, &mut rng).unwrap()).unwrap();
        assert!(outside.contains(r#"["30243.40000","0.34",844334799.25,"#), "{outside}");
        let bybit = br#"{"result":{"category":"spot","list":[{"time":"1000"}]}}"#;
        let outside = RestFault::Outside.damage(bybit, &mut rng).unwrap();
        assert_eq!(outside, br#"{"result":{"category":"spot","list":[{"time":"500"}]}}"#);
        let okx = br#"{"code":"0","data":[{"px":"1","ts":"1000"}],"msg":""}"#;
        let outside = RestFault::Outside.damage(okx, &mut rng).unwrap();
        assert_eq!(outside, br#"{"code":"0","data":[{"px":"1","ts":"500"}],"msg":""}"#);
        let coinbase = br#"[{"time":"2026-06-19T16:43:33.739704Z"}]"#;
        let outside = RestFault::Outside.damage(coinbase, &mut rng).unwrap();
        assert_eq!(outside, br#"[{"time":"1996-06-19T16:43:33.739704Z"}]"#);
        let bitfinex = br#"[[1795583311,1755235069543,-0.5,118950]]"#;
        let outside = RestFault::Outside.damage(bitfinex, &mut rng).unwrap();
        assert_eq!(outside, br#"[[1795583311,877617534771,-0.5,118950]]"#);
        let deribit = br#"{"result":{"close":[7.5,8.0],"status":"ok","ticks":[1000,2000]}}"#;
        let reversed = RestFault::Descending.damage(deribit, &mut rng).unwrap();
        assert_eq!(reversed, br#"{"result":{"close":[8.0,7.5],"status":"ok","ticks":[2000,1000]}}"#);
        let outside = RestFault::Outside.damage(deribit, &mut rng).unwrap();
        assert_eq!(outside, br#"{"result":{"close":[7.5,8.0],"status":"ok","ticks":[500,2000]}}"#);
        let omitted = RestFault::Empty.damage(deribit, &mut rng).unwrap();
        assert_eq!(omitted, br#"{"result":{"close":[],"status":"ok","ticks":[]}}"#);
        assert_eq!(RestFault::Omit.damage(b"{}", &mut rng), None);
    }
}
