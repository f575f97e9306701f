//! What can keep a simulated exchange from starting or from obeying.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a simulated exchange could not start or do as told.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// No such exchange to play.
    #[error("there is no simulated exchange \"{name}\"; there are: {known}")]
    UnknownExchange {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A symbol that the market can't have.
    #[error("\"{symbol}\" can't be simulated: spot symbols such as BTC/USDT are wanted, each once")]
    BadSymbol {
        /// What was asked for.
        symbol: String,
    },
    /// An option's text is not one of its values.
    #[error("{name} \"{text}\" is not understood; expected {expected}")]
    Option {
        /// Which option.
        name: &'static str,
        /// What it was given.
        text: String,
        /// What it takes.
        expected: &'static str,
    },
    /// The address could not be listened on.
    #[error("could not listen on {address}; choose another port, or 0 for any free one")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The ledger could not be created.
    #[error("could not create the ledger {path}")]
    Ledger {
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A recording could not be read.
    #[error("could not read the recording {path}, line {line}")]
    Recording {
        /// Which file.
        path: PathBuf,
        /// Where in it, from 1; 0 when it could not be opened.
        line: usize,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The recordings hold nothing that the simulated exchange serves.
    #[error("the recordings hold no frame of a stream that is served (trade, aggTrade, bookTicker, depth, kline)")]
    EmptyRecording,
    /// The thread or runtime it lives in could not be created.
    #[error("could not start the thread of the simulated exchange")]
    Thread {
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// It has stopped already.
    #[error("the simulated exchange has stopped")]
    Stopped,
}
