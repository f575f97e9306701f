//! The questions of `dccd init`. An answer that won't do is told why, and asked for again.

use std::io::{BufRead as _, Write as _};

use dccd_exchange::{Markets, NAMES};
use dccd_model::{Channel, ExchangeName, Symbol};

use super::text::Answers;
use super::{Arguments, DATA_PATH_DEFAULT, channels, exchange, span, start};
use crate::exit::{self, Failure};
use crate::listing::objection;

/// What is suggested to be recorded live.
pub const CHANNELS_SUGGESTED: [Channel; 3] = [Channel::Trades, Channel::Book, Channel::Quotes];

/// Whom to ask.
pub trait Ask {
    /// Shows the question; `None` when there are no more answers.
    fn line(&mut self, question: &str) -> Option<String>;
    /// Says something.
    fn tell(&mut self, words: &str);
}

/// The user at the terminal.
pub struct Terminal;

impl Ask for Terminal {
    fn line(&mut self, question: &str) -> Option<String> {
        let mut stderr = std::io::stderr().lock();
        // Nobody seeing the question is no error; the answer counts.
        let _ = write!(stderr, "{question}").and_then(|()| stderr.flush());
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line).ok()?;
        (read > 0).then_some(line)
    }

    fn tell(&mut self, words: &str) {
        crate::output::say(words);
    }
}

/// Asks until the answer will do.
pub struct Asker<A>(A);

impl<A: Ask> Asker<A> {
    pub fn new(ask: A) -> Self {
        Self(ask)
    }

    /// `suggested` is what an empty answer means.
    fn ask<T>(
        &mut self,
        question: &str,
        suggested: &str,
        understood: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Failure> {
        loop {
            let Some(line) = self.0.line(&format!("{question} [{suggested}]: ")) else {
                return Err(Failure::message(exit::USAGE, "the answers ended before the questions; nothing is written"));
            };
            let answer = if line.trim().is_empty() { suggested } else { line.trim() };
            match understood(answer) {
                Ok(value) => return Ok(value),
                Err(why) => self.0.tell(&format!("  {why}")),
            }
        }
    }
}

/// A market that the exchange has and most know.
pub fn suggested_pair(exchange: &ExchangeName) -> Result<Symbol, Failure> {
    let pair = match exchange.as_str() {
        "bitfinex" | "coinbase" | "kraken" => "BTC/USD",
        "deribit" => "BTC/USD:BTC",
        _ => "BTC/USDT",
    };
    Ok(pair.parse()?)
}

/// Asks for what the flags don't say. `list` gets the exchange's markets, if it can.
pub fn answers<A: Ask>(
    arguments: &Arguments,
    asker: &mut Asker<A>,
    list: impl FnOnce(&Answers) -> Option<Markets>,
) -> Result<Answers, Failure> {
    let exchange = match &arguments.exchange {
        Some(exchange) => exchange.clone(),
        None => asker.ask(&format!("Exchange ({})", NAMES.join(", ")), "binance", exchange)?,
    };
    let mut answers = Answers {
        pairs: vec![suggested_pair(&exchange)?],
        exchange,
        channels: CHANNELS_SUGGESTED.to_vec(),
        span: None,
        start: None,
        data_path: DATA_PATH_DEFAULT.to_owned(),
        rest_url: arguments.rest_url.clone(),
        ws_url: arguments.ws_url.clone(),
    };
    let markets = list(&answers);
    let suggested = answers.pairs[0].to_string();
    let named: Vec<_> = arguments.pairs.iter().map(Symbol::as_str).collect();
    let read = |text: &str| pairs(text, markets.as_ref());
    answers.pairs = match read(&named.join(" ")) {
        Ok(pairs) => pairs,
        Err(why) => {
            if !named.is_empty() {
                asker.0.tell(&format!("  {why}"));
            }
            asker.ask("Markets, as in BTC/USDT ETH/USDT", &suggested, read)?
        }
    };
    loop {
        answers.channels = if arguments.channels.is_empty() {
            let read = |text: &str| channels(&words(text));
            asker.ask("Record live: trades, book, quotes, ohlc, or none", "trades book quotes", read)?
        } else {
            let words: Vec<_> = arguments.channels.iter().map(String::as_str).collect();
            channels(&words).map_err(|why| Failure::message(exit::USAGE, why))?
        };
        answers.span = match &arguments.span {
            Some(text) => span(text).map_err(|why| Failure::message(exit::USAGE, why))?,
            None => asker.ask("Candles of the past: a span such as 1m, 1h, 1d, or none", "none", span)?,
        };
        if !answers.channels.is_empty() || answers.span.is_some() {
            break;
        }
        let nothing = "that leaves nothing to collect";
        if !arguments.channels.is_empty() && arguments.span.is_some() {
            return Err(Failure::message(exit::USAGE, nothing));
        }
        asker.0.tell(&format!("  {nothing}"));
    }
    answers.start = match (&arguments.start, answers.span) {
        (Some(start), Some(_)) => Some(start.clone()),
        (None, Some(_)) => {
            let read = |text: &str| if text == "listing" { Ok(None) } else { start(text).map(Some) };
            asker.ask("Candles from when on: a date such as 2020-01-01", "listing", read)?
        }
        (_, None) => None,
    };
    answers.data_path = match &arguments.data_path {
        Some(path) => path.clone(),
        None => asker.ask("Directory of the data", DATA_PATH_DEFAULT, |text| Ok(text.to_owned()))?,
    };
    Ok(answers)
}

fn words(text: &str) -> Vec<&str> {
    text.split([' ', ',']).filter(|word| !word.is_empty()).collect()
}

/// Markets by name; all that is wrong with them at once.
fn pairs(text: &str, markets: Option<&Markets>) -> Result<Vec<Symbol>, String> {
    let (mut pairs, mut wrong) = (Vec::new(), Vec::new());
    for word in words(text) {
        match word.to_uppercase().parse::<Symbol>() {
            Ok(pair) => {
                wrong.extend(markets.and_then(|markets| objection(markets, &pair)));
                if !pairs.contains(&pair) {
                    pairs.push(pair);
                }
            }
            Err(_) => {
                let near = markets.and_then(|markets| dccd_exchange::search(markets.iter(), word, 1).pop());
                let near = near.map(|found| format!("; is {} meant?", found.market.symbol)).unwrap_or_default();
                wrong.push(format!("\"{word}\" is no market: one looks like BTC/USDT{near}"));
            }
        }
    }
    if pairs.is_empty() && wrong.is_empty() {
        wrong.push("one market at least is needed".to_owned());
    }
    if wrong.is_empty() { Ok(pairs) } else { Err(wrong.join("\n  ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        arguments: Arguments,
    }

    /// A user who answers so, and what was said.
    struct Script(Vec<&'static str>, Vec<String>);

    impl Ask for &mut Script {
        fn line(&mut self, question: &str) -> Option<String> {
            self.1.push(question.to_owned());
            (!self.0.is_empty()).then(|| format!("{}\n", self.0.remove(0)))
        }

        fn tell(&mut self, words: &str) {
            self.1.push(words.to_owned());
        }
    }

    fn run(args: &[&str], lines: &[&'static str]) -> (Result<Answers, Failure>, Vec<String>) {
        let typed = Typed::parse_from([&["init"], args].concat());
        let mut script = Script(lines.to_vec(), Vec::new());
        let answers = answers(&typed.arguments, &mut Asker::new(&mut script), |_| None);
        assert!(script.0.is_empty(), "answers that nobody asked for: {:?}", script.0);
        (answers, script.1)
    }

    #[test]
    fn enter_takes_what_is_suggested() {
        let (answers, said) = run(&[], &["", "", "", "", ""]);
        let answers = answers.unwrap();
        assert_eq!((answers.exchange.as_str(), answers.pairs[0].as_str()), ("binance", "BTC/USDT"));
        assert_eq!((answers.channels.len(), answers.span), (3, None));
        assert_eq!(said.len(), 5, "{said:?}");
    }

    #[test]
    fn wrong_answers_are_asked_for_again_and_flags_are_not_asked_for() {
        let lines =
            ["mtgox", "kraken", "btcusd", "btc/usd, ETH/USD", "none", "none", "none", "1h", "tomorrow", "2021-01-01"];
        let (answers, said) = run(&["--data-path", "/d"], &lines);
        let answers = answers.unwrap();
        assert_eq!(answers.pairs.iter().map(Symbol::as_str).collect::<Vec<_>>(), ["BTC/USD", "ETH/USD"]);
        assert_eq!((answers.channels.len(), answers.start.as_deref()), (0, Some("2021-01-01")));
        assert_eq!(answers.data_path, "/d");
        for words in ["expected one of", "\"btcusd\" is no market", "nothing to collect", "expected a date"] {
            assert!(said.iter().any(|said| said.contains(words)), "{words} was not said: {said:?}");
        }
        let (ended, _) = run(&["--exchange", "okx"], &["BTC/USDT"]);
        assert!(matches!(ended, Err(Failure::Error { code: exit::USAGE, .. })));
    }
}
