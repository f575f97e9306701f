//! `dccd init`: a first configuration, from a few questions or flags.

mod ask;
mod text;

use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use dccd_config::{Config, Moment};
use dccd_exchange::{AdapterOptions, Markets};
use dccd_model::{Channel, ExchangeName, Span, Symbol};

use self::ask::{Asker, Terminal};
use self::text::Answers;
use crate::cli::Global;
use crate::commands::{block_on, search};
use crate::exit::{self, Failure};
use crate::files;
use crate::listing;
use crate::output::say;

/// Patience with the exchange's list of markets; without it nothing is checked.
const LIST_DEADLINE: Duration = Duration::from_secs(15);
/// Where the data goes unless something else is said.
const DATA_PATH_DEFAULT: &str = "./data/crypto";

/// It may come to hold secrets.
const CONFIG_MODE: u32 = 0o600;

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The file to write [default: --config, or ./config.yml]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Exchange, as `dccd exchanges` lists them
    #[arg(long, short, value_name = "X", value_parser = exchange)]
    exchange: Option<ExchangeName>,
    /// Markets, as in BTC/USDT
    #[arg(long, value_name = "PAIR", num_args = 1.., value_delimiter = ',')]
    pairs: Vec<Symbol>,
    /// What to record live: trades, book, quotes, ohlc, or none
    #[arg(long, value_name = "CHANNEL", num_args = 1.., value_delimiter = ',')]
    channels: Vec<String>,
    /// Candles of the past to keep complete: seconds, a label such as 1h, or none
    #[arg(long, value_name = "SPAN")]
    span: Option<String>,
    /// First moment wanted of them [default: the market's listing]
    #[arg(long, value_name = "DATE", value_parser = start)]
    start: Option<String>,
    /// Directory of the data [default: ./data/crypto]
    #[arg(long, value_name = "DIR")]
    data_path: Option<String>,
    /// Another base address for REST: a mirror, a proxy, a simulator
    #[arg(long, value_name = "URL")]
    rest_url: Option<String>,
    /// Another base address for WebSockets
    #[arg(long, value_name = "URL")]
    ws_url: Option<String>,
    /// Ask nothing: what isn't said is as it would be suggested
    #[arg(long, short)]
    yes: bool,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

fn exchange(text: &str) -> Result<ExchangeName, String> {
    let name = text.to_lowercase();
    let known = dccd_exchange::NAMES.iter().find(|known| **known == name);
    let error = || format!("expected one of {}", dccd_exchange::NAMES.join(", "));
    known.and_then(|name| name.parse().ok()).ok_or_else(error)
}

fn start(text: &str) -> Result<String, String> {
    let error = "expected a date such as 2020-01-01, or a date and time such as 2020-01-01T12:00:00Z";
    Moment::from_text(text).map(|_| text.trim().to_owned()).ok_or_else(|| error.to_owned())
}

/// Channels by name; `none` for none.
fn channels(words: &[&str]) -> Result<Vec<Channel>, String> {
    if words == ["none"] {
        return Ok(Vec::new());
    }
    let mut channels = Vec::new();
    for word in words {
        let known = Channel::ALL.into_iter().find(|known| known.as_str() == word.to_lowercase());
        let channel = known.ok_or_else(|| format!("\"{word}\" is none of trades, book, quotes, ohlc"))?;
        if !channels.contains(&channel) {
            channels.push(channel);
        }
    }
    Ok(channels)
}

/// A span; `None` for `none`.
fn span(text: &str) -> Result<Option<Span>, String> {
    if text == "none" {
        return Ok(None);
    }
    let span: Result<Span, _> = text.parse();
    span.ok().filter(|span| span.as_secs() >= 60).map(Some).ok_or_else(|| {
        format!("\"{text}\" is no span: seconds, 60 or more, or a label such as 1m, 1h, 1d; none for no candles")
    })
}

/// Writes the configuration.
pub fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    let path = arguments.output.clone().or_else(|| global.config.clone()).unwrap_or_else(|| "config.yml".into());
    if !arguments.force && fs::symlink_metadata(&path).is_ok() {
        return Err(anyhow!("{} is there already; --force replaces it, -o FILE names another", path.display()).into());
    }
    let is_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let answers = if arguments.yes || !is_terminal {
        let answers = from_flags(arguments)?;
        if let Some(markets) = list(&answers) {
            checked(&answers, &markets)?;
        }
        answers
    } else {
        say("A few questions; Enter takes what stands in brackets.");
        ask::answers(arguments, &mut Asker::new(Terminal), list)?
    };
    let text = answers.text();
    // What is written is what `dccd validate` will read; that it is wrong can only come of an answer.
    let parsed = Config::parse(&text, &path, &|name| std::env::var(name).ok());
    parsed.map_err(|errors| Failure::new(exit::USAGE, errors))?;
    files::write(&path, &text, CONFIG_MODE, arguments.force)?;
    say(format_args!("wrote {}", path.display()));
    let config = if path == Path::new("config.yml") { String::new() } else { format!(" -c {}", path.display()) };
    say(format_args!(
        "next:\n  dccd doctor{config}             # is this host fit for it?\n  dccd start --detach{config}     # begins to collect"
    ));
    Ok(())
}

/// The answers that the flags give.
fn from_flags(arguments: &Arguments) -> Result<Answers, Failure> {
    let usage = |message: String| Failure::message(exit::USAGE, message);
    let mut missing = Vec::new();
    if !arguments.yes {
        missing.extend(arguments.exchange.is_none().then_some("--exchange"));
        missing.extend(arguments.pairs.is_empty().then_some("--pairs"));
        missing.extend((arguments.channels.is_empty() && arguments.span.is_none()).then_some("--channels or --span"));
    }
    if !missing.is_empty() {
        let message =
            format!("there is no terminal to ask on: name {}, or take what is suggested with --yes", missing.join(", "));
        return Err(usage(message));
    }
    let exchange = match &arguments.exchange {
        Some(exchange) => exchange.clone(),
        None => "binance".parse().context("the suggested exchange")?,
    };
    let words: Vec<&str> = arguments.channels.iter().map(String::as_str).filter(|word| !word.is_empty()).collect();
    let channels = match (words.is_empty(), &arguments.span) {
        (true, Some(_)) if !arguments.yes => Vec::new(),
        (true, _) => ask::CHANNELS_SUGGESTED.to_vec(),
        (false, _) => channels(&words).map_err(usage)?,
    };
    let span = arguments.span.as_deref().map(span).transpose().map_err(usage)?.flatten();
    if channels.is_empty() && span.is_none() {
        return Err(usage("neither --channels nor --span leave anything to collect".to_owned()));
    }
    if span.is_none() && arguments.start.is_some() {
        return Err(usage("--start is about candles of the past: name --span, too".to_owned()));
    }
    let pairs = if arguments.pairs.is_empty() { vec![ask::suggested_pair(&exchange)?] } else { arguments.pairs.clone() };
    Ok(Answers {
        exchange,
        pairs,
        channels,
        span,
        start: arguments.start.clone(),
        data_path: arguments.data_path.clone().unwrap_or_else(|| DATA_PATH_DEFAULT.to_owned()),
        rest_url: arguments.rest_url.clone(),
        ws_url: arguments.ws_url.clone(),
    })
}

/// The exchange's markets; `None`, and a warning, where they can't be had.
fn list(answers: &Answers) -> Option<Markets> {
    let warn = |why: &dyn std::fmt::Display| {
        let exchange = &answers.exchange;
        say(format_args!("warning: {exchange} could not be asked for its markets, so that none is checked: {why}"));
    };
    // The addresses alone matter. One that is wrong is said so when the whole is read.
    let (config, _) = Config::parse(&answers.text(), Path::new("config.yml"), &|name| std::env::var(name).ok()).ok()?;
    let adapter = dccd_exchange::adapter(answers.exchange.as_str(), &AdapterOptions::default())?;
    let fetched = block_on(async {
        let fetching = search::fetch(&answers.exchange, adapter.as_ref(), Some(&config), None);
        Ok(tokio::time::timeout(LIST_DEADLINE, fetching).await)
    });
    match fetched {
        Ok(Ok(Ok(markets))) => return Some(markets),
        Ok(Ok(Err(error))) => warn(&format_args!("{error:#}")),
        Ok(Err(_)) => warn(&format_args!("no answer within {} s", LIST_DEADLINE.as_secs())),
        Err(_) => warn(&"cannot start the runtime"),
    }
    None
}

fn checked(answers: &Answers, markets: &Markets) -> Result<(), Failure> {
    let wrong: Vec<_> = answers.pairs.iter().filter_map(|pair| listing::objection(markets, pair)).collect();
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(anyhow!("{}/{}", answers.exchange, wrong.join(&format!("\n{}/", answers.exchange))).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_channels_and_spans() {
        assert_eq!(channels(&["Trades", "book", "trades"]).unwrap(), [Channel::Trades, Channel::Book]);
        assert_eq!(channels(&["none"]).unwrap(), []);
        assert!(channels(&["trade"]).unwrap_err().contains("\"trade\" is none of trades"));
        assert_eq!(span("3600").unwrap(), span("1h").unwrap());
        assert_eq!(span("none").unwrap(), None);
        assert!(span("30").is_err() && span("soon").is_err());
        assert_eq!(exchange("Kraken").unwrap().as_str(), "kraken");
        assert!(exchange("mtgox").unwrap_err().contains("binance"));
        assert!(start("2020-1-1").is_err() && start(" 2020-01-01 ").unwrap() == "2020-01-01");
    }
}
