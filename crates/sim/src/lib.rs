//! Simulated exchanges as their clients see them, REST and WebSocket on one port: those in `exchanges`.
//!
//! It invents a seeded market ([`MarketOptions`]) or serves recorded frames ([`ReplayOptions`]), keeps the exchange's limits
//! ([`Limits`]), misbehaves on command or by plan ([`Fault`], [`FaultPlan`]), and writes down everything it sent
//! ([`ledger`]), so that what a client stored can be held against it.
//!
//! Market, connections, ledger, faults and clock know no exchange; what one of them says and understands is a folder in
//! `exchanges`. On all but Binance the live market goes on where the deep past ends, with its ids and prices; on Binance a deep past
//! stands beside the live market. Their market is a function of its seed and of the instant at which it starts: its past has gone
//! on in between.
//!
//! Knows nothing of the clients it serves. What it does not play: accounts, orders, user streams; Binance's tickers as streams;
//! Kraken's `level3`, its WebSocket v1, and replays of all but Binance and Bybit. A replay's frames keep their recorded time unit, whatever
//! `timeUnit` a client asks for.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use dccd_sim::{Fault, Sim, SimOptions, Target};
//!
//! let sim = Sim::start(SimOptions::default()).await?;
//! println!("{} {}", sim.rest_url(), sim.ws_url());
//! sim.faults().inject(Fault::Drop { target: Target::stream("btcusdt@trade"), count: 3 }).await?;
//! sim.stop().await;
//! # Ok(())
//! # }
//! ```

pub mod audit;
mod clock;
mod control;
pub mod deep;
mod digits;
mod error;
mod exchanges;
mod faults;
mod hub;
mod instants;
pub mod ledger;
mod market;
mod options;
mod pulse;
mod replay;
mod rest;
mod server;
mod sim;
mod ws;

pub use error::SimError;
pub use exchanges::binance::usdm::UsdmOptions;
pub use exchanges::bitfinex::BitfinexOptions;
pub use exchanges::bybit::BybitOptions;
pub use exchanges::coinbase::CoinbaseOptions;
pub use exchanges::deribit::DeribitOptions;
pub use exchanges::kraken::{KrakenOptions, KrakenStats};
pub use exchanges::kucoin::KucoinOptions;
pub use exchanges::okx::OkxOptions;
pub use faults::{Corruption, Disconnection, Fault, FaultPlan, RestFault, Target};
pub use ledger::{FrameStatus, LedgerReader, LedgerRecord};
pub use options::{LedgerMode, Limits, MarketOptions, ReplayOptions, ReplayStart, SimOptions};
pub use sim::{FaultInjector, InjectError, ReplayProgress, Sim, SimBook, SimHandle, SimStats, run, run_until};
