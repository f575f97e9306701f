//! The list of an exchange's markets, which may come in parts: what to ask for next, and all of them together. Pure.

use crate::{Adapter, ExchangeError, Markets, Product, RestRequest};

/// More parts than any exchange has.
const PARTS_MAX: usize = 100;

/// The list while its parts come in.
pub struct MarketsList<'a> {
    adapter: &'a dyn Adapter,
    /// The products whose addresses are asked.
    products: Vec<Product>,
    parts: Vec<Markets>,
    next: Option<RestRequest>,
    /// The product whose part can't be had.
    missing: Option<Product>,
}

impl<'a> MarketsList<'a> {
    /// Nothing has come yet. Of the products that have an address of their own these are asked, and the first in any case.
    #[must_use]
    pub fn new(adapter: &'a dyn Adapter, products: &[Product]) -> Self {
        let next = adapter.markets_request();
        let products = products.iter().copied().chain([next.product]).collect();
        Self { adapter, products, parts: Vec::new(), next: Some(next), missing: None }
    }

    /// What to ask for; `None` when all is there.
    #[must_use]
    pub const fn request(&self) -> Option<&RestRequest> {
        self.next.as_ref()
    }

    /// Takes in the answer to [`Self::request`].
    ///
    /// # Errors
    /// [`ExchangeError::Markets`] when it is none, which leaves the list as it was; [`ExchangeError::MarketsEndless`] when too many
    /// came.
    pub fn answer(&mut self, body: &[u8]) -> Result<(), ExchangeError> {
        let Some(request) = &self.next else { return Ok(()) };
        let part = self.adapter.parse_markets(body)?;
        let next = self.adapter.markets_next(request, body)?;
        self.parts.push(part);
        self.next = next.filter(|next| self.products.contains(&next.product));
        if self.next.is_some() && self.parts.len() >= PARTS_MAX {
            return Err(ExchangeError::MarketsEndless { exchange: self.adapter.name(), parts: self.parts.len() });
        }
        Ok(())
    }

    /// What is to be asked for can't be had. Whether the list goes on without it: where it is of another product than the first,
    /// whose markets are of use by themselves.
    #[must_use]
    pub fn pass_over(&mut self) -> bool {
        let first = self.adapter.markets_request().product;
        self.missing = self.next.take_if(|next| next.product != first).map(|next| next.product).or(self.missing);
        self.next.is_none()
    }

    /// The product whose markets were wanted and are missing.
    #[must_use]
    pub const fn missing(&self) -> Option<Product> {
        self.missing
    }

    /// The products whose markets came.
    pub fn had(&self) -> impl Iterator<Item = Product> + '_ {
        self.adapter.rest_products().iter().copied().filter(|product| self.has(*product))
    }

    fn has(&self, product: Product) -> bool {
        self.products.contains(&product) && self.missing != Some(product)
    }

    /// All markets that came; of products that weren't asked, or didn't answer, those of `kept`.
    #[must_use]
    pub fn joined(mut self, kept: Option<&Markets>) -> Markets {
        let others = kept.into_iter().flatten().filter(|market| !self.has(self.adapter.rest_of(&market.symbol)));
        let others = others.cloned().collect();
        self.parts.push(others);
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
        let mut list = MarketsList::new(bybit.as_ref(), &[]);
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
        let mut list = MarketsList::new(bybit.as_ref(), &[]);
        list.answer(spot).unwrap();
        while list.request().is_some() {
            list.answer(ending_with("").as_bytes()).unwrap();
        }
        let markets = list.joined(None);
        assert!(["BTC/USDT", "BTC/USDT:USDT"].iter().all(|s| markets.by_symbol(&s.parse().unwrap()).is_some()));
    }

    #[test]
    fn what_another_address_does_not_tell_is_that_of_last_time_and_the_rest_is_of_use() {
        let binance = adapter("binance", &AdapterOptions::default()).unwrap();
        let (spot, linear) = (
            include_bytes!("binance/testdata/exchange_info.json"),
            include_bytes!("binance/testdata/exchange_info_usdm.json"),
        );
        let has = |markets: &Markets, symbol: &str| markets.by_symbol(&symbol.parse().unwrap()).is_some();
        let spot_alone = |products: &[Product]| {
            let mut list = MarketsList::new(binance.as_ref(), products);
            assert_eq!(list.request().map(|request| request.product), Some(Product::Spot));
            list.answer(spot).unwrap();
            list
        };
        // Nobody asked for it.
        let list = spot_alone(&[]);
        assert_eq!((list.request(), list.missing()), (None, None));
        assert_eq!(list.had().collect::<Vec<_>>(), [Product::Spot]);
        let few = list.joined(None);
        assert!(has(&few, "BTC/USDT") && !has(&few, "BTC/USDT:USDT"));
        let mut list = spot_alone(&[Product::Linear]);
        assert_eq!(list.request().map(|request| request.path_and_query.as_str()), Some("/fapi/v1/exchangeInfo"));
        list.answer(linear).unwrap();
        assert_eq!(list.had().collect::<Vec<_>>(), [Product::Spot, Product::Linear]);
        let all = list.joined(Some(&few));
        assert!(has(&all, "BTC/USDT") && has(&all, "BTC/USDT:USDT"));
        let mut list = spot_alone(&[Product::Linear, Product::Spot]);
        assert!(list.answer(b"<html>not available in your region</html>").is_err());
        assert!(list.pass_over());
        assert_eq!((list.request(), list.missing()), (None, Some(Product::Linear)));
        assert_eq!(list.had().collect::<Vec<_>>(), [Product::Spot]);
        assert!(has(&list.joined(Some(&all)), "BTC/USDT:USDT"), "it was listed the last time");
        assert!(has(&spot_alone(&[]).joined(Some(&all)), "BTC/USDT:USDT"), "it was listed when somebody asked");
        let mut list = MarketsList::new(binance.as_ref(), &[Product::Linear]);
        assert!(!list.pass_over() && list.request().is_some(), "nothing goes without the first");
        assert!(list.answer(br#"{"code":-1003,"msg":"no"}"#).is_err());
    }
}
