//! Walks the tree with the schema: gives the values, defaults filled in, and every error on the way.

use std::collections::HashMap;
use std::net::SocketAddr;

use dccd_model::{Channel, Span, Symbol};
use serde_yaml::Value as Yaml;

use crate::catalog;
use crate::error::{ConfigError, Place, Problem, Warning};
use crate::expand::{self, Variables};
use crate::moment::Moment;
use crate::scalar::{self, Whole};
use crate::schema::{Absent, Key, Kind, ROOT};
use crate::tree::{Entry, Node, Value, is_null_word};

/// What the walk found.
pub(crate) struct Checked {
    /// The values by key; null where one was wrong or absent without a default.
    pub(crate) values: Yaml,
    /// Where each value that the file names stands, by its path.
    pub(crate) places: HashMap<String, Place>,
}

/// Checks the whole file.
pub(crate) fn check(
    root: &Node,
    vars: &Variables<'_>,
    errors: &mut Vec<ConfigError>,
    warnings: &mut Vec<Warning>,
) -> Checked {
    let mut walk = Walk { vars, errors, warnings, places: HashMap::new() };
    let values = walk.section(Some(root), ROOT, "", root.place);
    Checked { values, places: walk.places }
}

struct Walk<'a> {
    vars: &'a Variables<'a>,
    errors: &'a mut Vec<ConfigError>,
    warnings: &'a mut Vec<Warning>,
    places: HashMap<String, Place>,
}

/// A value with all that is to be said of it: the key it belongs to and the way to it.
struct At<'a> {
    node: &'a Node,
    path: &'a str,
    secret: bool,
    may_be_empty: bool,
    /// Whether variables were filled in.
    expanded: bool,
}

impl Walk<'_> {
    fn error(&mut self, place: Place, path: &str, problem: Problem, help: Option<String>) {
        self.errors.push(ConfigError { place, key: path.to_owned(), problem, help, hide_from: None });
    }

    fn unexpected(&mut self, at: &At<'_>, kind: &Kind, help: Option<String>) -> Yaml {
        let found = match &at.node.value {
            Value::Scalar { text, .. } if at.secret && !text.is_empty() => "a value that is not shown here".to_owned(),
            _ if at.expanded => format!("{} after its variables were filled in", at.node.describe()),
            _ => at.node.describe(),
        };
        let problem = Problem::Unexpected { expected: kind.expected(), found };
        let (place, key) = (at.node.place, at.path.to_owned());
        let hide_from = at.secret.then_some(place.column);
        self.errors.push(ConfigError { place, key, problem, help, hide_from });
        Yaml::Null
    }

    fn section(&mut self, node: Option<&Node>, keys: &'static [Key], path: &str, above: Place) -> Yaml {
        let node = node.filter(|node| !node.is_null());
        let entries = match node.map(|node| (node, &node.value)) {
            None => &[][..],
            Some((_, Value::Map(entries))) => entries,
            Some((node, _)) => {
                let at = At { node, path, secret: false, may_be_empty: false, expanded: false };
                return self.unexpected(&at, &Kind::Section(keys), None);
            }
        };
        let place = node.map_or(above, |node| node.place);
        for entry in entries {
            if !keys.iter().any(|key| key.name == entry.key) {
                let exchange = path.strip_prefix("exchanges.").and_then(catalog::find);
                if let Some(exchange) = exchange.filter(|_| catalog::asks_for_trading(&entry.key)) {
                    self.trading(entry, &join(path, &entry.key), exchange);
                    continue;
                }
                let names = keys.iter().map(|key| key.name);
                let near = nearest(&entry.key, names.clone());
                let help = near.map(|name| format!("did you mean {name}?"));
                // What stands behind a misspelt token is a token.
                let secret = keys.iter().any(|key| key.secret && Some(key.name) == near);
                let hide_from = secret.then_some(entry.place.column + entry.place.length + 2);
                let problem = Problem::UnknownKey { known: names.collect::<Vec<_>>().join(", ") };
                let (place, key) = (entry.place, join(path, &entry.key));
                self.errors.push(ConfigError { place, key, problem, help, hide_from });
            }
        }
        let mut out = serde_yaml::Mapping::new();
        for key in keys {
            let path = join(path, key.name);
            let value = match entries.iter().find(|entry| entry.key == key.name) {
                Some(entry) => {
                    self.places.insert(path.clone(), entry.node.place);
                    self.value(&entry.node, key, &path)
                }
                None => self.absent(key, &path, place),
            };
            out.insert(Yaml::String(key.name.to_owned()), value);
        }
        Yaml::Mapping(out)
    }

    fn absent(&mut self, key: &Key, path: &str, place: Place) -> Yaml {
        match (key.absent, key.kind) {
            (Absent::Required, kind) => {
                let place = Place { length: 1, ..place };
                self.error(place, path, Problem::Missing { expected: kind.expected() }, None);
                Yaml::Null
            }
            (Absent::Null, _) => Yaml::Null,
            (Absent::Is(text), _) => {
                // A default is read as a value would be; a test reads them all.
                let plain = !text.starts_with('"');
                let text = text.trim_matches('"').to_owned();
                let node = Node { place, value: Value::Scalar { text, plain } };
                self.value(&node, key, path)
            }
            (Absent::Empty, Kind::Section(keys)) => self.section(None, keys, path, place),
            (Absent::Empty, Kind::Sections(_) | Kind::List(_)) => Yaml::Sequence(Vec::new()),
            (Absent::Empty, _) => Yaml::Mapping(serde_yaml::Mapping::new()),
        }
    }

    fn value(&mut self, node: &Node, key: &Key, path: &str) -> Yaml {
        if node.is_null() && matches!(key.absent, Absent::Null | Absent::Empty) {
            return self.absent(key, path, node.place);
        }
        let may_be_empty = matches!(key.absent, Absent::Is("\"\""));
        let at = At { node, path, secret: key.secret, may_be_empty, expanded: false };
        match key.kind {
            Kind::Section(keys) => self.section(Some(node), keys, path, node.place),
            Kind::Sections(keys) => match &node.value {
                Value::List(items) => {
                    let each = items.iter().enumerate().map(|(index, item)| {
                        let path = format!("{path}[{index}]");
                        self.places.insert(path.clone(), item.place);
                        self.section(Some(item), keys, &path, item.place)
                    });
                    Yaml::Sequence(each.collect())
                }
                _ => self.unexpected(&at, &key.kind, Some("begin each entry with \"- \"".to_owned())),
            },
            Kind::PerExchange(keys) => self.per_exchange(&at, keys),
            Kind::List(of) => match &node.value {
                Value::List(items) if !items.is_empty() => {
                    let each = items.iter().enumerate().map(|(index, item)| {
                        let path = format!("{path}[{index}]");
                        self.places.insert(path.clone(), item.place);
                        self.single(
                            &At { node: item, path: &path, secret: key.secret, may_be_empty: false, expanded: false },
                            of,
                        )
                    });
                    Yaml::Sequence(each.collect())
                }
                Value::Scalar { text, .. } if !node.is_null() => {
                    let help = format!("a list of one is written [{text}]");
                    self.unexpected(&at, &key.kind, Some(help))
                }
                _ => self.unexpected(&at, &key.kind, None),
            },
            ref single => self.single(&at, single),
        }
    }

    /// What stands behind the key may be a secret, and is not shown.
    fn trading(&mut self, entry: &Entry, key: &str, exchange: &catalog::Exchange) {
        let problem = Problem::Trading { why: exchange.trading.refusal(exchange.name) };
        let hide_from = Some(entry.place.column + entry.place.length + 2);
        let help = Some("remove the key; what is public is collected without an account".to_owned());
        self.errors.push(ConfigError { place: entry.place, key: key.to_owned(), problem, help, hide_from });
    }

    fn per_exchange(&mut self, at: &At<'_>, keys: &'static [Key]) -> Yaml {
        let Value::Map(entries) = &at.node.value else {
            return self.unexpected(at, &Kind::PerExchange(keys), None);
        };
        let mut out = serde_yaml::Mapping::new();
        for entry in entries {
            let path = join(at.path, &entry.key);
            let names = catalog::EXCHANGES.iter().map(|exchange| exchange.name);
            if catalog::find(&entry.key).is_none() {
                let closed = catalog::closed(&entry.key).map(str::to_owned);
                let help = closed.or_else(|| nearest(&entry.key, names.clone()).map(|name| format!("did you mean {name}?")));
                let known = names.collect::<Vec<_>>().join(", ");
                self.error(entry.place, &path, Problem::UnknownKey { known }, help);
            }
            self.places.insert(path.clone(), entry.place);
            let value = self.section(Some(&entry.node), keys, &path, entry.place);
            out.insert(Yaml::String(entry.key.clone()), value);
        }
        Yaml::Mapping(out)
    }

    /// A single value: variables filled in, then read as its kind.
    fn single(&mut self, at: &At<'_>, kind: &Kind) -> Yaml {
        let Value::Scalar { text: written, plain } = &at.node.value else { return self.unexpected(at, kind, None) };
        let text = match expand::variables(written, self.vars) {
            Ok(text) => text,
            Err(problem) => {
                self.error(at.node.place, at.path, problem, None);
                return Yaml::Null;
            }
        };
        let expanded = text != *written;
        if expanded && *plain && is_null_word(&text) {
            // An unquoted value of which nothing is left is no value.
            return Yaml::Null;
        }
        let node = Node { place: at.node.place, value: Value::Scalar { text: text.clone(), plain: *plain } };
        // An address may hold a password where none belongs.
        let secret = at.secret || (matches!(kind, Kind::Url(_)) && text.contains('@'));
        let at = At { node: &node, expanded, secret, ..*at };
        if (at.node.is_null() || text.is_empty() || text.chars().any(char::is_control))
            && !(at.may_be_empty && text.is_empty())
        {
            return self.unexpected(&at, kind, None);
        }
        match self.read(&text, *plain, kind, &at) {
            Ok(value) => value,
            Err(help) => self.unexpected(&at, kind, help),
        }
    }

    fn read(&mut self, text: &str, plain: bool, kind: &Kind, at: &At<'_>) -> Result<Yaml, Option<String>> {
        let word = |text: &str| Yaml::String(text.to_owned());
        match *kind {
            Kind::Text => Ok(word(text)),
            Kind::Path => match expand::home(text, self.vars) {
                Ok(path) => Ok(word(&path)),
                Err(why) => Err(Some(why.to_owned())),
            },
            Kind::Int(min, max) => {
                self.whole(text, plain, at).filter(|n| (min..=max).contains(n)).map(Yaml::from).ok_or(None)
            }
            Kind::PowerOfTwo(min, max) => {
                let n = self.whole(text, plain, at).ok_or(None)?;
                if (min..=max).contains(&n) && n.is_power_of_two() {
                    return Ok(Yaml::from(n));
                }
                let near = n.clamp(min, max).checked_next_power_of_two().unwrap_or(max).min(max);
                Err(Some(format!("the next one is {near}")))
            }
            Kind::Number(min, max) => {
                #[expect(clippy::cast_precision_loss, reason = "bounds of the schema are small")]
                let bounds = min as f64..=max as f64;
                scalar::number(text).filter(|n| bounds.contains(n)).map(Yaml::from).ok_or(None)
            }
            Kind::Choice(words) => match words.iter().find(|known| known.eq_ignore_ascii_case(text)) {
                Some(known) => Ok(word(known)),
                None => Err(did_you_mean(text, words.iter().copied())),
            },
            Kind::Url(schemes) => base_address(text, schemes).map(Yaml::String).map_err(Some),
            Kind::WebHook => web_hook(text).map(|()| word(text)).map_err(Some),
            Kind::Address => {
                let text = text.strip_prefix("localhost:").map_or(text.to_owned(), |port| format!("127.0.0.1:{port}"));
                text.parse::<SocketAddr>().map(|address| word(&address.to_string())).map_err(|_| None)
            }
            Kind::Timezone => self.timezone(text, at).map(Yaml::String),
            Kind::Exchange => match catalog::find(text) {
                Some(exchange) => Ok(word(exchange.name)),
                None => match catalog::closed(text) {
                    Some(why) => Err(Some(why.to_owned())),
                    None => Err(did_you_mean(text, catalog::EXCHANGES.iter().map(|exchange| exchange.name))),
                },
            },
            Kind::Symbol => match text.parse::<Symbol>() {
                Ok(symbol) => Ok(word(symbol.as_str())),
                Err(_) => Err(likely_symbol(text).map(|symbol| format!("did you mean {symbol}?"))),
            },
            Kind::Channel => match text.parse::<Channel>() {
                Ok(channel) => Ok(word(channel.as_str())),
                Err(_) => Err(did_you_mean(text, Channel::ALL.into_iter().map(Channel::as_str))),
            },
            Kind::Span => {
                let seconds = match text.parse::<Span>() {
                    Ok(span) if !text.bytes().all(|b| b.is_ascii_digit()) => u64::from(span.as_secs()),
                    _ => self.whole(text, plain, at).ok_or(None)?,
                };
                if (60..=u64::from(u32::MAX)).contains(&seconds) { Ok(Yaml::from(seconds)) } else { Err(None) }
            }
            Kind::Moment => Moment::from_text(text).map(|_| word(text)).ok_or(None),
            Kind::Section(_) | Kind::Sections(_) | Kind::PerExchange(_) | Kind::List(_) => Err(None),
        }
    }

    fn whole(&mut self, text: &str, plain: bool, at: &At<'_>) -> Option<u64> {
        let value = match scalar::whole(text, plain)? {
            Whole::Clear(value) => value,
            Whole::Old(value) => {
                let message = format!("{text} is read as {value}, as YAML 1.1 has it; write {value}, or put it in quotes");
                self.warnings.push(Warning { place: at.node.place, key: at.path.to_owned(), message });
                value
            }
        };
        u64::try_from(value).ok()
    }

    fn timezone(&mut self, text: &str, at: &At<'_>) -> Result<String, Option<String>> {
        let known = |name: &str| text.eq_ignore_ascii_case(name);
        if known("local") || known("UTC") {
            return Ok(text.to_owned());
        }
        if jiff::tz::TimeZone::get(text).is_ok() {
            return Ok(text.to_owned());
        }
        if jiff::tz::db().is_definitively_empty() {
            let message = format!("{text} could not be checked: this host has no time zone database; UTC is used");
            self.warnings.push(Warning { place: at.node.place, key: at.path.to_owned(), message });
            return Ok(text.to_owned());
        }
        let names: Vec<String> = jiff::tz::db().available().map(|name| name.as_str().to_owned()).collect();
        Err(did_you_mean(text, names.iter().map(String::as_str)))
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn did_you_mean<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    nearest(text, names).map(|name| format!("did you mean {name}?"))
}

/// The name that a typing error or two away from the text, whatever its case; `None` when none is near.
#[must_use]
pub fn nearest<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let text = text.to_lowercase();
    let allowed = (text.chars().count() / 3).clamp(1, 3);
    names
        .map(|name| (strsim::osa_distance(&text, &name.to_lowercase()), name))
        .filter(|(distance, name)| {
            *distance <= allowed || (text.len() > 3 && (name.starts_with(&text) || text.starts_with(name)))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// What somebody who wrote `btcusdt` or `BTC-USDT` meant.
fn likely_symbol(text: &str) -> Option<Symbol> {
    const QUOTES: [&str; 8] = ["USDT", "USDC", "FDUSD", "USD", "EUR", "BTC", "ETH", "BNB"];
    let upper = text.to_uppercase().replace(['-', '_', ' '], "/");
    upper.parse().ok().or_else(|| {
        let quote = QUOTES.into_iter().find(|quote| upper.len() > quote.len() && upper.ends_with(quote))?;
        format!("{}/{quote}", upper[..upper.len() - quote.len()].trim_end_matches('/')).parse().ok()
    })
}

/// The address without a slash at its end, or why it is none.
fn base_address(text: &str, schemes: &[&str]) -> Result<String, String> {
    let (scheme, rest) = text
        .split_once("://")
        .ok_or_else(|| format!("it begins with no scheme, try {}://{text}", schemes[schemes.len() - 1]))?;
    if !schemes.contains(&scheme) {
        return Err(format!("it begins with {scheme}://"));
    }
    if rest.contains(['?', '#']) || rest.contains(char::is_whitespace) {
        return Err("only scheme, host, port and prefix are given; the exchange's own path is appended".to_owned());
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return Err("names and passwords don't belong into an address".to_owned());
    }
    host_and_port(authority)?;
    Ok(text.trim_end_matches('/').to_owned())
}

/// Whether it is an address that can be posted to, or why not; says nothing of what stands in it.
fn web_hook(text: &str) -> Result<(), String> {
    let (scheme, rest) = text.split_once("://").ok_or("it begins with no scheme; https:// most likely")?;
    if !matches!(scheme, "http" | "https") {
        return Err("it begins with neither http:// nor https://".to_owned());
    }
    if rest.contains(char::is_whitespace) {
        return Err("there is white space in it".to_owned());
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    host_and_port(authority.rsplit_once('@').map_or(authority, |(_, host)| host))
}

/// Whether an address has a host, and a port that can be one.
fn host_and_port(authority: &str) -> Result<(), String> {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, after)) if host.parse::<std::net::Ipv6Addr>().is_ok() => (host, after.strip_prefix(':')),
        Some(_) => return Err("the brackets hold no IPv6 address".to_owned()),
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err("the host is missing".to_owned());
    }
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err("the port is a number up to 65535".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_addresses_lose_their_last_slash_and_nothing_else() {
        for (text, out) in [
            ("https://api.binance.com", "https://api.binance.com"),
            ("http://127.0.0.1:8090/", "http://127.0.0.1:8090"),
            ("http://[::1]:8090/a/b/", "http://[::1]:8090/a/b"),
            ("https://proxy.example/binance", "https://proxy.example/binance"),
        ] {
            assert_eq!(base_address(text, &["http", "https"]).as_deref(), Ok(out));
        }
        for bad in [
            "",
            "api.binance.com",
            "wss://x",
            "https://",
            "https:///x",
            "https://h:99999",
            "https://u:p@h",
            "https://h?x",
            "https://[x]",
        ] {
            assert!(base_address(bad, &["http", "https"]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_webhook_is_checked_without_being_shown() {
        for good in [
            "https://hooks.slack.com/services/T0/B0/x",
            "http://127.0.0.1:9/",
            "https://u:p@h/x?y=z#w",
            "https://[::1]:8080",
        ] {
            assert_eq!(web_hook(good), Ok(()), "{good}");
        }
        for bad in ["", "s3cret", "ftp://s3cret", "https://", "https:///s3cret", "https://h:s3cret/", "https://h/s3 cret"] {
            let why = web_hook(bad).unwrap_err();
            assert!(!why.contains("cret"), "{why}");
        }
    }

    #[test]
    fn symbols_written_another_way_are_recognised() {
        for (text, symbol) in
            [("BTCUSDT", "BTC/USDT"), ("btc-usdt", "BTC/USDT"), ("ETH_BTC", "ETH/BTC"), ("XBTUSD", "BTC/USD")]
        {
            assert_eq!(likely_symbol(text).unwrap().as_str(), symbol);
        }
        assert_eq!(likely_symbol("???"), None);
        assert_eq!(likely_symbol("USDT"), None);
    }

    #[test]
    fn the_nearest_name_is_near() {
        let names = ["stream_jobs", "histo_jobs", "settings", "storage"];
        for (text, name) in
            [("stream_job", Some("stream_jobs")), ("setings", Some("settings")), ("xyz", None), ("Storage", Some("storage"))]
        {
            assert_eq!(nearest(text, names.into_iter()), name);
        }
    }
}
