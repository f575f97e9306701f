//! Query parameters, read with the exchange's own errors.

/// A refusal: HTTP status, code, message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub status: u16,
    pub code: i32,
    pub message: String,
}

impl ApiError {
    pub(crate) fn new(code: i32, message: impl Into<String>) -> Self {
        Self { status: 400, code, message: message.into() }
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        serde_json::json!({"code": self.code, "msg": self.message}).to_string().into_bytes()
    }
}

/// The parameters of one request. What was not read by the end is an error.
#[derive(Debug)]
pub(crate) struct Params {
    pairs: Vec<(String, String, bool)>,
}

impl Params {
    pub(crate) fn parse(query: &str) -> Result<Self, ApiError> {
        let mut pairs: Vec<(String, String, bool)> = Vec::new();
        for part in query.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = decode(name);
            if pairs.iter().any(|(n, ..)| *n == name) {
                return Err(ApiError::new(-1101, "Duplicate values for a parameter detected."));
            }
            pairs.push((name, decode(value), false));
        }
        Ok(Self { pairs })
    }

    /// Parameters that did not come in an address.
    pub(crate) fn of(pairs: impl Iterator<Item = (String, String)>) -> Self {
        Self { pairs: pairs.map(|(name, value)| (name, value, false)).collect() }
    }

    /// A parameter's text; empty counts as missing.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let pair = self.pairs.iter_mut().find(|(n, ..)| n == name)?;
        pair.2 = true;
        Some(pair.1.clone()).filter(|v| !v.is_empty())
    }

    pub(crate) fn required(&mut self, name: &str) -> Result<String, ApiError> {
        self.take(name).ok_or_else(|| {
            ApiError::new(-1102, format!("Mandatory parameter '{name}' was not sent, was empty/null, or malformed."))
        })
    }

    /// A symbol's text, in the characters that symbols have.
    pub(crate) fn symbol(&mut self, text: String) -> Result<String, ApiError> {
        let legal = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
        if text.len() > 20 || !text.chars().all(legal) {
            return Err(ApiError::new(
                -1100,
                "Illegal characters found in parameter 'symbol'; legal range is '^[A-Z0-9-_.]{1,20}$'.",
            ));
        }
        Ok(text)
    }

    pub(crate) fn integer(&mut self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let digits = text.len() <= 20 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| digits).map(Some).ok_or_else(|| {
            ApiError::new(
                -1100,
                format!("Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'."),
            )
        })
    }

    /// `limit`: more than the most is the most, zero is an error.
    pub(crate) fn limit(&mut self, default: usize, most: usize) -> Result<usize, ApiError> {
        match self.integer("limit")? {
            None => Ok(default),
            Some(0) => Err(ApiError::new(-1130, "Data sent for parameter 'limit' is not valid.")),
            Some(n) => Ok(usize::try_from(n).map_or(most, |n| n.min(most))),
        }
    }

    /// A time in microseconds, sent in milliseconds or microseconds.
    pub(crate) fn time(&mut self, name: &str) -> Result<Option<i64>, ApiError> {
        // 10^14 milliseconds are the year 5138; 10^14 microseconds 1973.
        Ok(self.integer(name)?.map(|t| if t >= 100_000_000_000_000 { t } else { t.saturating_mul(1_000) }))
    }

    /// Refuses what nobody read.
    pub(crate) fn finish(&self) -> Result<(), ApiError> {
        let read = self.pairs.iter().filter(|p| p.2).count();
        let sent = self.pairs.len();
        match (read, sent) {
            _ if read == sent => Ok(()),
            (0, _) => Err(ApiError::new(-1101, format!("Too many parameters; expected '0' and received '{sent}'."))),
            _ => Err(ApiError::new(
                -1104,
                format!("Not all sent parameters were read; read '{read}' parameter(s) but was sent '{sent}'."),
            )),
        }
    }
}

/// A text whose percent signs stand for bytes.
pub(crate) fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(if bytes[at] == b'+' { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_as_the_exchange_reads_them() {
        let mut params =
            Params::parse("symbol=BTCUSDT&limit=9999&startTime=1723161255343&endTime=1723161255343000&x=%5B%22A%22%5D")
                .unwrap();
        let symbol = params.required("symbol").unwrap();
        assert_eq!(params.symbol(symbol).unwrap(), "BTCUSDT");
        assert_eq!(params.limit(500, 1_000).unwrap(), 1_000);
        assert_eq!(params.time("startTime").unwrap(), params.time("endTime").unwrap());
        assert_eq!(params.finish().unwrap_err().code, -1104);
        assert_eq!(params.take("x").unwrap(), "[\"A\"]");
        params.finish().unwrap();
    }

    #[test]
    fn what_is_wrong_has_the_exchange_s_code() {
        let code = |query: &str, read: fn(&mut Params) -> Result<(), ApiError>| {
            let mut params = Params::parse(query).unwrap();
            read(&mut params).and_then(|()| params.finish()).unwrap_err().code
        };
        assert_eq!(code("", |p| p.required("symbol").map(drop)), -1102);
        assert_eq!(code("symbol=", |p| p.required("symbol").map(drop)), -1102);
        assert_eq!(code("limit=x", |p| p.limit(1, 2).map(drop)), -1100);
        assert_eq!(code("limit=-1", |p| p.limit(1, 2).map(drop)), -1100);
        assert_eq!(code("limit=0", |p| p.limit(1, 2).map(drop)), -1130);
        assert_eq!(code("a=1", |_| Ok(())), -1101);
        assert_eq!(Params::parse("a=1&a=2").unwrap_err().code, -1101);
        assert_eq!(Params::parse("").unwrap().symbol("btcusdt".into()).unwrap_err().code, -1100);
    }
}
