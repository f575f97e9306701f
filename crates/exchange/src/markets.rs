//! The markets of an exchange, found by unified symbol or by the exchange's own id. Serialisable, so that it can be cached.

use dccd_model::{Decimal, Symbol};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

/// Whether a market can be traded now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MarketStatus {
    /// Open for trading.
    Trading,
    /// Listed, but not traded at the moment, or for good.
    Halted,
    /// The exchange uses a word we don't know.
    Unknown,
}

/// One market.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Market {
    /// The unified symbol.
    pub symbol: Symbol,
    /// The exchange's own name of it, e.g. `BTCUSDT`.
    pub id: String,
    /// Whether it is traded now.
    pub status: MarketStatus,
    /// Prices are multiples of this; `None` when the exchange doesn't say.
    pub price_tick: Option<Decimal>,
    /// Amounts are multiples of this; `None` when the exchange doesn't say.
    pub amount_step: Option<Decimal>,
    /// Smallest amount of an order; `None` when the exchange doesn't say.
    pub amount_min: Option<Decimal>,
    /// Largest amount of an order; `None` when the exchange doesn't say.
    pub amount_max: Option<Decimal>,
    /// Smallest price times amount of an order, in the quote currency; `None` when the exchange doesn't say.
    pub notional_min: Option<Decimal>,
    /// Base units in one contract, where the exchange counts amounts in contracts; `None`: it counts units. All amounts here and
    /// in records are in units of the symbol's [`Symbol::amount_currency`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract_size: Option<Decimal>,
}

/// All markets of an exchange, in the order of their symbols.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Markets {
    list: Vec<Market>,
    by_symbol: FxHashMap<Symbol, usize>,
    by_id: FxHashMap<String, usize>,
    skipped: usize,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    markets: Vec<Market>,
    #[serde(default)]
    skipped: usize,
}

impl Markets {
    /// Of these markets; `skipped` more were listed and couldn't be read. Where several have the same symbol, the one that is
    /// traded wins, then the first.
    #[must_use]
    pub fn new(mut list: Vec<Market>, skipped: usize) -> Self {
        list.sort_by(|a, b| {
            (&a.symbol, a.status != MarketStatus::Trading).cmp(&(&b.symbol, b.status != MarketStatus::Trading))
        });
        list.dedup_by(|later, first| later.symbol == first.symbol);
        let by_symbol = list.iter().enumerate().map(|(i, m)| (m.symbol.clone(), i)).collect();
        let mut by_id = FxHashMap::default();
        for (i, market) in list.iter().enumerate() {
            by_id.entry(market.id.clone()).or_insert(i);
        }
        Self { list, by_symbol, by_id, skipped }
    }

    /// All parts of a list that came in several.
    #[must_use]
    pub fn joined(parts: Vec<Self>) -> Self {
        let skipped = parts.iter().map(|part| part.skipped).sum();
        Self::new(parts.into_iter().flat_map(|part| part.list).collect(), skipped)
    }

    /// These, and those of a later list whose symbols are new, as they are there; `None` where it has none that are. What is known
    /// stays as it was: whoever reads what was received while this list held must understand it as before.
    #[must_use]
    pub fn grown(&self, later: &Self) -> Option<Self> {
        let new: Vec<Market> = later.iter().filter(|market| self.by_symbol(&market.symbol).is_none()).cloned().collect();
        (!new.is_empty()).then(|| Self::new(self.iter().cloned().chain(new).collect(), later.skipped))
    }

    /// What a later list says otherwise of this market that decides what its messages mean: its id at the exchange, the size of a
    /// contract. In words; `None` where there is nothing.
    #[must_use]
    pub fn contradiction(&self, symbol: &Symbol, later: &Self) -> Option<String> {
        let (old, new) = (self.by_symbol(symbol)?, later.by_symbol(symbol)?);
        let size = |market: &Market| market.contract_size.map_or_else(|| "none".to_owned(), |size| size.to_string());
        let changes = [("id", old.id.clone(), new.id.clone()), ("contract size", size(old), size(new))];
        let changes = changes.into_iter().filter(|(_, old, new)| old != new);
        let words: Vec<String> = changes.map(|(what, old, new)| format!("its {what} was {old} and is {new}")).collect();
        (!words.is_empty()).then(|| format!("{symbol}: {}", words.join(", ")))
    }

    /// The market of this symbol.
    #[must_use]
    pub fn by_symbol(&self, symbol: &Symbol) -> Option<&Market> {
        self.by_symbol.get(symbol).map(|i| &self.list[*i])
    }

    /// The word of [`Self::objection`] for a market that isn't there.
    pub const NOT_LISTED: &str = "not listed";

    /// Why this symbol can't be traded, in a word, as far as the list tells; `None` where nothing is known against it. A list without
    /// any derivatives tells nothing of them: their part may not be there.
    #[must_use]
    pub fn objection(&self, symbol: &Symbol) -> Option<&'static str> {
        match self.by_symbol(symbol).map(|market| market.status) {
            None => {
                let kind = |symbol: &Symbol| symbol.settle().is_some();
                self.list.iter().any(|market| kind(&market.symbol) == kind(symbol)).then_some(Self::NOT_LISTED)
            }
            Some(MarketStatus::Halted) => Some("halted"),
            Some(MarketStatus::Trading | MarketStatus::Unknown) => None,
        }
    }

    /// The market with this id at the exchange; upper and lower case differ. Where a derivative has the same id as the spot
    /// market of its currencies: the spot market.
    #[must_use]
    pub fn by_id(&self, id: &str) -> Option<&Market> {
        self.by_id.get(id).map(|i| &self.list[*i])
    }

    /// All of them, by symbol.
    pub fn iter(&self) -> std::slice::Iter<'_, Market> {
        self.list.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Markets that the exchange listed and that couldn't be read.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.skipped
    }
}

impl<'a> IntoIterator for &'a Markets {
    type Item = &'a Market;
    type IntoIter = std::slice::Iter<'a, Market>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl FromIterator<Market> for Markets {
    fn from_iter<I: IntoIterator<Item = Market>>(markets: I) -> Self {
        Self::new(markets.into_iter().collect(), 0)
    }
}

impl From<Stored> for Markets {
    fn from(stored: Stored) -> Self {
        Self::new(stored.markets, stored.skipped)
    }
}

impl From<Markets> for Stored {
    fn from(markets: Markets) -> Self {
        Self { markets: markets.list, skipped: markets.skipped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn market(symbol: &str, id: &str, status: MarketStatus) -> Market {
        Market {
            symbol: symbol.parse().unwrap(),
            id: id.to_owned(),
            status,
            price_tick: Some(Decimal::new(1, -2)),
            amount_step: None,
            amount_min: None,
            amount_max: None,
            notional_min: None,
            contract_size: None,
        }
    }

    #[test]
    fn a_market_is_found_by_symbol_and_by_id_also_after_a_round_trip_through_the_cache() {
        let markets = Markets::new(
            vec![market("ETH/USDT", "ETHUSDT", MarketStatus::Trading), market("BTC/USDT", "BTCUSDT", MarketStatus::Halted)],
            3,
        );
        let text = serde_json::to_string(&markets).unwrap();
        for markets in [markets, serde_json::from_str(&text).unwrap()] {
            assert_eq!(markets.by_symbol(&"BTC/USDT".parse().unwrap()).unwrap().id, "BTCUSDT");
            assert_eq!(markets.by_id("ETHUSDT").unwrap().symbol.as_str(), "ETH/USDT");
            assert!(markets.by_id("ethusdt").is_none());
            assert_eq!((markets.len(), markets.skipped()), (2, 3));
            assert_eq!(markets.iter().map(|m| m.id.as_str()).collect::<Vec<_>>(), ["BTCUSDT", "ETHUSDT"]);
        }
    }

    #[test]
    fn a_later_list_that_gives_a_market_another_meaning_contradicts_the_one_that_is_used() {
        let sized = |size| Market { contract_size: size, ..market("BTC/USDT:USDT", "BTC-USDT-SWAP", MarketStatus::Trading) };
        let list = |market: Market| Markets::new(vec![market], 0);
        let symbol = "BTC/USDT:USDT".parse().unwrap();
        let used = list(sized(Some(Decimal::new(1, -2))));
        let halted = Market { status: MarketStatus::Halted, ..sized(Some(Decimal::new(1, -2))) };
        assert_eq!(used.contradiction(&symbol, &list(halted)), None, "its status changes no meaning");
        assert_eq!(used.contradiction(&symbol, &Markets::default()), None);
        assert_eq!(
            used.contradiction(&symbol, &list(Market { id: "BTC-USD".to_owned(), ..sized(None) })).unwrap(),
            "BTC/USDT:USDT: its id was BTC-USDT-SWAP and is BTC-USD, its contract size was 0.01 and is none"
        );
    }

    #[test]
    fn parts_of_a_list_are_one_list_and_an_id_means_the_spot_market_first() {
        let part = |symbol, skipped| Markets::new(vec![market(symbol, "BTCUSDT", MarketStatus::Trading)], skipped);
        let markets = Markets::joined(vec![part("BTC/USDT:USDT", 2), part("BTC/USDT", 1)]);
        assert_eq!((markets.len(), markets.skipped()), (2, 3));
        assert_eq!(markets.by_id("BTCUSDT").unwrap().symbol.as_str(), "BTC/USDT");
        assert_eq!(markets.by_symbol(&"BTC/USDT:USDT".parse().unwrap()).unwrap().id, "BTCUSDT");
    }

    #[test]
    fn a_list_grows_by_what_is_new_and_keeps_what_it_has() {
        let old: Markets = [market("BTC/USDT", "BTCUSDT", MarketStatus::Trading)].into_iter().collect();
        let later: Markets =
            [market("BTC/USDT", "BTC-USDT", MarketStatus::Halted), market("ETH/USDT", "ETHUSDT", MarketStatus::Trading)]
                .into_iter()
                .collect();
        let said = |symbol: &str| later.objection(&symbol.parse().unwrap());
        assert_eq!([said("BTC/USDT"), said("ETH/USDT"), said("LUNA/USDT")], [Some("halted"), None, Some("not listed")]);
        assert_eq!(said("BTC/USDT:USDT"), None, "their list may not have come");
        let grown = old.grown(&later).unwrap();
        assert_eq!(grown.iter().map(|m| m.id.as_str()).collect::<Vec<_>>(), ["BTCUSDT", "ETHUSDT"]);
        assert!(grown.grown(&later).is_none());
    }

    #[test]
    fn of_two_markets_with_one_symbol_the_traded_one_stays() {
        let markets: Markets = [
            market("LUNA/USDT", "LUNAUSDT_OLD", MarketStatus::Halted),
            market("LUNA/USDT", "LUNAUSDT", MarketStatus::Trading),
        ]
        .into_iter()
        .collect();
        assert_eq!((markets.len(), markets.iter().next().unwrap().id.as_str()), (1, "LUNAUSDT"));
        assert!(markets.by_id("LUNAUSDT_OLD").is_none());
    }
}
