//! `dccd exchanges`: what can be collected of each exchange.

use clap::Args;
use dccd_exchange::{AdapterOptions, Depths, NAMES, adapter};
use dccd_model::Span;
use serde::Serialize;

use crate::exit::Failure;
use crate::output::{Listing, Out};

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One exchange, as `--json` shows it.
#[derive(Serialize)]
struct Row {
    exchange: &'static str,
    markets: &'static str,
    channels: Vec<Channel>,
    /// Levels a side of a book: `up to N`, `N`, `N, M`, `all`.
    depth: String,
    /// Labels of the spans that the exchange has candles of its own.
    spans: Vec<String>,
    /// The candles of its `ohlc` feeds are built from its trades.
    builds_live_candles: bool,
    /// Candles of other spans, and older ones, are built from its trades.
    candles_from_trades: bool,
    quirks: &'static [&'static str],
    /// Whether orders can be sent: `not yet`, `never`.
    trading: &'static str,
}

#[derive(Serialize)]
struct Channel {
    channel: &'static str,
    integrity: &'static str,
}

/// Lists them.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let rows: Vec<Row> = NAMES.iter().filter_map(|name| row(name)).collect();
    let mut out = Out::new();
    if arguments.json {
        return out.json(&rows);
    }
    let mut listing = Listing::new(&["exchange", "~markets", "~live", "~depth", "~candles of its own", "trading"]);
    for row in &rows {
        let mut channels: Vec<_> = row.channels.iter().map(|channel| channel.channel).collect();
        if row.builds_live_candles {
            channels.push("ohlc (of trades)");
        }
        let more = if row.candles_from_trades { ", others from trades" } else { "" };
        listing.row([
            row.exchange.to_owned(),
            row.markets.replace('`', ""),
            channels.join(" "),
            row.depth.clone(),
            format!("{}{more}", row.spans.join(" ")),
            row.trading.to_owned(),
        ]);
    }
    listing.print(&mut out)
}

fn row(name: &str) -> Option<Row> {
    let adapter = adapter(name, &AdapterOptions::default())?;
    let facts = adapter.facts();
    let history = adapter.history();
    let spans = history.map_or(&[] as &[u32], |history| history.spans());
    Some(Row {
        exchange: adapter.name(),
        markets: facts.markets,
        channels: facts
            .channels
            .iter()
            .map(|facts| Channel { channel: facts.channel.as_str(), integrity: facts.integrity })
            .collect(),
        builds_live_candles: adapter.capabilities().builds(dccd_model::Channel::Ohlc),
        depth: match facts.depths {
            Depths::UpTo(most) => format!("up to {most}"),
            Depths::OneOf(depths) => depths.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            Depths::Always(depth) => depth.to_string(),
            Depths::All => "all".to_owned(),
        },
        spans: spans.iter().filter_map(|seconds| Span::from_secs(*seconds)).map(|span| span.to_string()).collect(),
        candles_from_trades: history.is_some_and(|history| history.trade_pages().is_some()),
        quirks: facts.quirks,
        trading: adapter.capabilities().trading.as_str(),
    })
}
