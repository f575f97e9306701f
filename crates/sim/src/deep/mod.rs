//! A past as deep as one likes: years of trades and candles that cost no memory, a pure function of seed, symbol and time.
//!
//! Time is cut into blocks of an hour. Each block in which a market was open at all has the same number of trades, spread over
//! its minutes by hashes, so that a trade's id and its time lead to each other without counting from the beginning
//! ([`past`]). Within a minute hashes make the trades, and the trades make the candle ([`minute`]). Larger candles are made of
//! minutes when asked for ([`bars`]). [`Truth`] gives the same to a test, row by row.
//!
//! Nothing here reads a clock. What a market does after today is as fixed as what it did before; the REST side cuts it off at
//! the present, or, where an exchange's live market goes on from its past, at the start of that ([`tape`]).

pub(crate) mod bars;
pub(crate) mod minute;
mod options;
pub(crate) mod past;
mod stretches;
pub(crate) mod tape;
mod truth;

pub use options::{DeepOptions, DeepSymbol, Stretch};
pub use truth::{Candle, DeepTrade, Truth};

use crate::SimError;
use crate::exchanges;
use crate::market::spec::Spec;
use crate::options::SimOptions;
use past::Past;

/// The past of a market, when the options give it one.
pub(crate) fn past_of(options: &SimOptions, spec: &Spec) -> Result<Option<Past>, SimError> {
    let kind = exchanges::of(&options.exchange)?;
    let default = DeepOptions::default();
    let deep = match &options.deep {
        Some(deep) => deep,
        None if kind.always_deep => &default,
        None => return Ok(None),
    };
    if let Some(stranger) = deep.markets.keys().find(|name| !options.market.symbols.contains(name)) {
        return Err(SimError::BadSymbol { symbol: stranger.clone() });
    }
    Ok(Some(Past::new(options.seed, deep, spec, kind.first_trade_id)))
}
