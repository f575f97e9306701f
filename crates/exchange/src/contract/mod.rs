//! The contract between an exchange's adapter and everything else: what it is ([`Adapter`]), how entries become records
//! ([`Session`], [`Output`]), and how it says no ([`ExchangeError`]).

mod adapter;
mod error;
mod facts;
mod history;
mod session;

pub use adapter::{
    Adapter, AdapterOptions, Capabilities, ClientMessage, Limits, Product, RestQuota, RestRequest, Socket, TradeHole,
};
pub use error::{EntryFault, ExchangeError, FrameError};
pub use facts::{ChannelFacts, Depths, Facts};
pub use history::{CandlePages, History, HistoryError, TradeCursor, TradePage, TradePages};
pub(crate) use session::read_resync;
pub use session::{Counters, Feed, FeedIndex, FeedStatus, Notice, Output, RESYNC_SILENT, Session, Want, resync_since};
