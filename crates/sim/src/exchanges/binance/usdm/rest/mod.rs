//! The REST side of perpetuals: its calls, what they weigh, and what it says to those who ask too much.

mod info;
mod market;

use std::net::IpAddr;

use hyper::HeaderMap;

use super::Usdm;
use crate::hub::Core;
use crate::rest::Answer;
use crate::rest::params::{ApiError, Params};

/// The calls there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Ping,
    Time,
    ExchangeInfo,
    Klines,
    AggTrades,
    HistoricalTrades,
    Trades,
    Depth,
    Ticker24h,
    TickerPrice,
    BookTicker,
    PremiumIndex,
    FundingRate,
    FundingInfo,
    OpenInterest,
}

/// Where its calls are.
pub(crate) const PREFIX: &str = "/fapi/";

impl Call {
    pub(crate) fn of(path: &str) -> Option<Self> {
        Some(match path.strip_prefix(PREFIX)? {
            "v1/ping" => Self::Ping,
            "v1/time" => Self::Time,
            "v1/exchangeInfo" => Self::ExchangeInfo,
            "v1/klines" => Self::Klines,
            "v1/aggTrades" => Self::AggTrades,
            "v1/historicalTrades" => Self::HistoricalTrades,
            "v1/trades" => Self::Trades,
            "v1/depth" => Self::Depth,
            "v1/ticker/24hr" => Self::Ticker24h,
            "v1/ticker/price" | "v2/ticker/price" => Self::TickerPrice,
            "v1/ticker/bookTicker" => Self::BookTicker,
            "v1/premiumIndex" => Self::PremiumIndex,
            "v1/fundingRate" => Self::FundingRate,
            "v1/fundingInfo" => Self::FundingInfo,
            "v1/openInterest" => Self::OpenInterest,
            _ => return None,
        })
    }

    /// Whether an answer is a page of candles or trades.
    pub(crate) const fn has_rows(self) -> bool {
        matches!(self, Self::Klines | Self::AggTrades | Self::HistoricalTrades | Self::Trades)
    }

    pub(crate) fn weight(self, query: &str) -> u32 {
        let value = |name: &str| query.split('&').find_map(|p| p.strip_prefix(name)?.strip_prefix('='));
        let limit = || value("limit").and_then(|limit| limit.parse::<u64>().ok()).unwrap_or(500);
        let is_of_all = value("symbol").is_none();
        match self {
            Self::Ping | Self::Time | Self::ExchangeInfo | Self::OpenInterest => 1,
            Self::Klines => match limit() {
                0..=99 => 1,
                100..=499 => 2,
                500..=1_000 => 5,
                _ => 10,
            },
            Self::AggTrades => 20,
            Self::HistoricalTrades => 200,
            Self::Trades => 5,
            Self::Depth => match limit() {
                0..=50 => 2,
                51..=100 => 5,
                101..=500 => 10,
                _ => 20,
            },
            Self::Ticker24h if is_of_all => 40,
            Self::TickerPrice if is_of_all => 2,
            Self::BookTicker if is_of_all => 5,
            Self::PremiumIndex if is_of_all => 10,
            Self::BookTicker => 2,
            Self::Ticker24h | Self::TickerPrice | Self::PremiumIndex => 1,
            // They have a limit of their own, which nobody has been seen to reach.
            Self::FundingRate | Self::FundingInfo => 0,
        }
    }
}

impl Usdm {
    /// What an address is told that used more weight than it may.
    pub(crate) fn too_much(&self, ip: IpAddr) -> String {
        format!(
            "Too many requests; current limit of IP({ip}) is {} requests per minute. Please use the websocket for live updates \
             to avoid polling the API.",
            self.options.weight_per_minute
        )
    }

    /// What an address is told that is banned.
    pub(crate) fn banned(ip: IpAddr, until_ms: i64) -> String {
        format!(
            "Way too many requests; IP({ip}) banned until {until_ms}. Please use the websocket for live updates to avoid bans."
        )
    }

    /// Answers a call at once.
    pub(crate) fn call(&self, core: &mut Core, call: Call, query: &str, headers: &HeaderMap) -> Result<Answer, ApiError> {
        let mut params = Params::parse(query)?;
        if call == Call::HistoricalTrades && !headers.contains_key("x-mbx-apikey") {
            return Err(ApiError { status: 401, ..ApiError::new(-2014, "API-key format invalid.") });
        }
        let answer = market::answer(self, core, call, &mut params)?;
        params.finish()?;
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_weigh_what_the_exchange_says() {
        for (call, query, weight) in [
            (Call::Klines, "symbol=X&limit=99", 1),
            (Call::Klines, "limit=100&symbol=X", 2),
            (Call::Klines, "symbol=X", 5),
            (Call::Klines, "symbol=X&limit=1000", 5),
            (Call::Klines, "symbol=X&limit=1500", 10),
            (Call::Depth, "symbol=X&limit=50", 2),
            (Call::Depth, "symbol=X&limit=100", 5),
            (Call::Depth, "symbol=X", 10),
            (Call::Depth, "symbol=X&limit=1000", 20),
            (Call::HistoricalTrades, "symbol=X", 200),
            (Call::PremiumIndex, "", 10),
        ] {
            assert_eq!(call.weight(query), weight, "{call:?} {query}");
        }
        assert_eq!(Call::of("/fapi/v1/aggTrades"), Some(Call::AggTrades));
        assert_eq!(Call::of("/api/v3/aggTrades"), None);
    }
}
