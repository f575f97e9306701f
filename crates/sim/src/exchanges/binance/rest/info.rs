//! `exchangeInfo`: rate limits and the symbols with their filters, in the exchange's own shape.

use serde_json::{Value, json};

use crate::clock::now_us;
use crate::digits::e8_text;
use crate::exchanges::binance::render::TimeUnit;
use crate::hub::Core;
use crate::market::spec::Spec;
use crate::rest::params::{ApiError, Params};

/// `["BTCUSDT","ETHUSDT"]` as a list.
pub(crate) fn symbol_list(text: &str) -> Result<Vec<String>, ApiError> {
    serde_json::from_str(text).map_err(|_| {
        ApiError::new(
            -1100,
            "Illegal characters found in parameter 'symbols'; legal range is \
             '^\\[(\"[A-Z0-9-_.]{1,20}\"(,\"[A-Z0-9-_.]{1,20}\"){0,}){0,1}\\]$'.",
        )
    })
}

pub(crate) fn exchange_info(core: &Core, params: &mut Params, unit: TimeUnit) -> Result<Value, ApiError> {
    let one = params.take("symbol");
    let several = params.take("symbols");
    let permissions = params.take("permissions");
    let status = params.take("symbolStatus");
    let sets = params.take("showPermissionSets").is_none_or(|s| s != "false");
    if [&one, &several, &permissions].into_iter().flatten().count() > 1 {
        return Err(ApiError::new(-1128, "Combination of optional parameters invalid."));
    }
    let places: Vec<usize> = match (one, several) {
        (Some(text), _) => {
            let text = params.symbol(text)?;
            vec![core.known_symbol(&text)?]
        }
        (_, Some(list)) => symbol_list(&list)?.iter().map(|s| core.known_symbol(s)).collect::<Result<_, _>>()?,
        _ => core.spot_places().collect(),
    };
    let spot = permissions.is_none_or(|p| p.contains("SPOT"));
    let trading = status.is_none_or(|s| s == "TRADING");
    let symbols: Vec<Value> =
        places.into_iter().filter(|_| spot && trading).map(|place| symbol(&core.symbols[place].spec, sets)).collect();
    let limit = core.options.limits.weight_per_minute;
    Ok(json!({
        "timezone": "UTC",
        "serverTime": unit.of(now_us()),
        "rateLimits": [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": limit},
            {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
            {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 200_000},
            {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300_000},
        ],
        "exchangeFilters": [],
        "symbols": symbols,
    }))
}

fn symbol(spec: &Spec, permission_sets: bool) -> Value {
    let most = spec.tick.saturating_mul(100_000_000).min(100_000_000_000_000_000);
    json!({
        "symbol": spec.id,
        "status": "TRADING",
        "baseAsset": spec.base,
        "baseAssetPrecision": 8,
        "quoteAsset": spec.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": [
            "LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT",
        ],
        "icebergAllowed": true,
        "ocoAllowed": true,
        "otoAllowed": true,
        "quoteOrderQtyMarketAllowed": true,
        "allowTrailingStop": true,
        "cancelReplaceAllowed": true,
        "amendAllowed": true,
        "isSpotTradingAllowed": true,
        "isMarginTradingAllowed": false,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": e8_text(spec.tick), "maxPrice": e8_text(most), "tickSize": e8_text(spec.tick)},
            {"filterType": "LOT_SIZE", "minQty": e8_text(spec.step), "maxQty": "9000000.00000000", "stepSize": e8_text(spec.step)},
            {"filterType": "ICEBERG_PARTS", "limit": 10},
            {"filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": "100000.00000000", "stepSize": "0.00000000"},
            {"filterType": "TRAILING_DELTA", "minTrailingAboveDelta": 10, "maxTrailingAboveDelta": 2000,
             "minTrailingBelowDelta": 10, "maxTrailingBelowDelta": 2000},
            {"filterType": "PERCENT_PRICE_BY_SIDE", "bidMultiplierUp": "5", "bidMultiplierDown": "0.2",
             "askMultiplierUp": "5", "askMultiplierDown": "0.2", "avgPriceMins": 5},
            {"filterType": "NOTIONAL", "minNotional": "5.00000000", "applyMinToMarket": true,
             "maxNotional": "9000000.00000000", "applyMaxToMarket": false, "avgPriceMins": 5},
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
        ],
        "permissions": [],
        "permissionSets": if permission_sets { json!([["SPOT"]]) } else { json!([]) },
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT"],
    })
}
