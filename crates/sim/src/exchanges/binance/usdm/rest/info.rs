//! `exchangeInfo`: rate limits, assets and the perpetuals with their filters, in the exchange's own shape.

use serde_json::{Value, json};

use crate::clock::now_us;
use crate::exchanges::binance::usdm::tickers::text;
use crate::exchanges::binance::usdm::{Market, Usdm};
use crate::hub::Core;
use crate::market::spec::Spec;

/// When a perpetual is delivered, milliseconds: never (2100-12-25).
const DELIVERY_MS: i64 = 4_133_404_800_000;
/// When markets began that have no deep past, milliseconds (2019-09-25).
const ONBOARD_MS: i64 = 1_569_398_400_000;

pub(super) fn exchange_info(usdm: &Usdm, core: &Core) -> Value {
    let limit = usdm.options.weight_per_minute;
    let listed = |place: usize| core.pasts[place].as_ref().map_or(ONBOARD_MS, |past| past.listed * 60_000);
    let markets = usdm.markets.iter().enumerate().filter_map(|(place, market)| {
        let (market, _) = market.as_ref()?;
        Some(symbol(&core.symbols[place].spec, market, listed(place)))
    });
    json!({
        "timezone": "UTC",
        "serverTime": now_us().div_euclid(1_000),
        "futuresType": "U_MARGINED",
        "rateLimits": [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": limit},
            {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1_200},
            {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300},
        ],
        "exchangeFilters": [],
        "assets": [
            {"asset": "USDT", "marginAvailable": true, "autoAssetExchange": "-10000"},
            {"asset": "USDC", "marginAvailable": true, "autoAssetExchange": "-10000"},
        ],
        "symbols": markets.collect::<Vec<_>>(),
    })
}

fn symbol(spec: &Spec, market: &Market, listed_ms: i64) -> Value {
    let price = |ticks: i64| text(|out| market.push_price(out, spec.tick.saturating_mul(ticks)));
    let amount = |lots: i64| text(|out| market.push_amount(out, spec.step.saturating_mul(lots)));
    json!({
        "symbol": spec.id,
        "pair": spec.id,
        "contractType": "PERPETUAL",
        "deliveryDate": DELIVERY_MS,
        "onboardDate": listed_ms,
        "status": "TRADING",
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": spec.base,
        "quoteAsset": spec.quote,
        "marginAsset": spec.quote,
        "pricePrecision": market.price_digits,
        "quantityPrecision": market.amount_digits,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": ["PoW"],
        "triggerProtect": "0.0500",
        "liquidationFee": "0.012500",
        "marketTakeBound": "0.05",
        "maxMoveOrderLimit": 10_000,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": price(1), "maxPrice": price(45_297_640), "tickSize": price(1)},
            {"filterType": "LOT_SIZE", "minQty": amount(1), "maxQty": amount(1_000_000), "stepSize": amount(1)},
            {"filterType": "MARKET_LOT_SIZE", "minQty": amount(1), "maxQty": amount(120_000), "stepSize": amount(1)},
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 10},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
            {"filterType": "PERCENT_PRICE", "multiplierUp": "1.0500", "multiplierDown": "0.9500", "multiplierDecimal": "4"},
            {"filterType": "POSITION_RISK_CONTROL", "positionControlSide": "NONE"},
        ],
        "orderTypes": [
            "LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET",
        ],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
        "permissionSets": ["GRID", "COPY"],
    })
}
