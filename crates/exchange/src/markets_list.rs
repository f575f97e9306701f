//! The list of an exchange's markets, which may come in parts: what to ask for next, and all of them together. Pure.

use crate::{Adapter, ExchangeError, Markets, RestRequest};

/// More parts than any exchange has.
const PARTS_MAX: usize = 100;

/// The list while its parts come in.
pub struct MarketsList<'a> {
    adapter: &'a dyn Adapter,
    parts: Vec<Markets>,
    next: Option<RestRequest>,
}

impl<'a> MarketsList<'a> {
    /// Nothing has come yet.
    #[must_use]
    pub fn new(adapter: &'a dyn Adapter) -> Self {
        Self { adapter, parts: Vec::new(), next: Some(adapter.markets_request()) }
    }

    /// What to ask for; `None` when all is there.
    #[must_use]
    pub const fn request(&self) -> Option<&RestRequest> {
        self.next.as_ref()
    }

    /// Takes in the answer to [`Self::request`].
    ///
    /// # Errors
    /// [`ExchangeError::Markets`] when it is none, [`ExchangeError::MarketsEndless`] when too many came.
    pub fn answer(&mut self, body: &[u8]) -> Result<(), ExchangeError> {
        let Some(request) = self.next.take() else { return Ok(()) };
        self.parts.push(self.adapter.parse_markets(body)?);
        self.next = self.adapter.markets_next(&request, body)?;
        if self.next.is_some() && self.parts.len() >= PARTS_MAX {
            return Err(ExchangeError::MarketsEndless { exchange: self.adapter.name(), parts: self.parts.len() });
        }
        Ok(())
    }

    /// All markets that came.
    #[must_use]
    pub fn joined(self) -> Markets {
        Markets::joined(self.parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AdapterOptions, adapter};

    #[test]
    fn a_list_in_parts_is_asked_for_to_its_end_and_one_without_end_is_refused() {
        let bybit = adapter("bybit", &AdapterOptions::default()).unwrap();
        let spot = include_bytes!("bybit/testdata/spot.json");
        let linear = include_bytes!("bybit/testdata/linear.json");
        let mut list = MarketsList::new(bybit.as_ref());
        assert!(list.request().unwrap().path_and_query.contains("category=spot"));
        list.answer(spot).unwrap();
        assert!(list.request().unwrap().path_and_query.contains("category=linear"));
        let linear = String::from_utf8(linear.to_vec()).unwrap();
        let ending_with = |cursor: &str| {
            let last = linear.find(r#""nextPageCursor":"#).unwrap();
            let end = last + linear[last..].find([',', '}']).unwrap();
            format!(r#"{}"nextPageCursor":"{cursor}"{}"#, &linear[..last], &linear[end..])
        };
        let refused = (0..PARTS_MAX).find_map(|part| list.answer(ending_with(&part.to_string()).as_bytes()).err());
        assert!(matches!(refused, Some(ExchangeError::MarketsEndless { parts: PARTS_MAX, .. })), "{refused:?}");
        let mut list = MarketsList::new(bybit.as_ref());
        list.answer(spot).unwrap();
        while list.request().is_some() {
            list.answer(ending_with("").as_bytes()).unwrap();
        }
        let markets = list.joined();
        assert!(["BTC/USDT", "BTC/USDT:USDT"].iter().all(|s| markets.by_symbol(&s.parse().unwrap()).is_some()));
    }
}
