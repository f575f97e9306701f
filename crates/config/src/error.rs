//! What is wrong with a file, with where it is, and its picture for people.

use std::fmt;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Where something stands: line and column from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// How many characters of that line it takes, at least 1.
    pub length: usize,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The text is no YAML; what stands below is not read.
    #[error("not YAML: {message}")]
    Syntax {
        /// The parser's words.
        message: String,
    },
    /// A key that nothing is known of.
    #[error("unknown key, expected one of {known}")]
    UnknownKey {
        /// The keys that may stand here.
        known: String,
    },
    /// A key for trading, which no exchange is configured for.
    #[error("{why}")]
    Trading {
        /// What there is to say of that on this exchange.
        why: String,
    },
    /// The same key twice in one mapping.
    #[error("the key stands twice, first on line {first}")]
    DuplicateKey {
        /// Line of the first.
        first: usize,
    },
    /// A key that must be there is not.
    #[error("missing, expected {expected}")]
    Missing {
        /// What it must be.
        expected: String,
    },
    /// A value of another kind, or out of bounds.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What it must be.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// A variable in a value that isn't set and has no default.
    #[error("the environment variable {name} is not set and has no default")]
    Variable {
        /// Its name.
        name: String,
    },
    /// `${` without an end, or with a name that no variable has.
    #[error("expected ${{NAME}} or ${{NAME:-default}}, found {found}")]
    Expansion {
        /// What stands there.
        found: String,
    },
    /// The same series asked for by two jobs.
    #[error("{series} is already asked for on line {first}")]
    DuplicateJob {
        /// The series.
        series: String,
        /// Line of the first.
        first: usize,
    },
    /// A channel that the exchange offers, but not this version.
    #[error("{exchange} doesn't offer {channel} live, expected one of {offered}")]
    NotOffered {
        /// The exchange.
        exchange: String,
        /// The channel.
        channel: String,
        /// What it offers.
        offered: String,
    },
    /// An address that others can reach, without a token.
    #[error("{address} can be reached from other hosts and no token is set")]
    Unprotected {
        /// The address.
        address: String,
    },
    /// `auth: token` without a token.
    #[error("auth is token and no token is set")]
    NoToken,
    /// Two keys that say the same.
    #[error("{this} and {that} are both set")]
    Both {
        /// One key.
        this: &'static str,
        /// The other.
        that: &'static str,
    },
    /// A token that can be guessed.
    #[error("the token has {chars} characters, too few for an address that other hosts can reach, expected at least {min}")]
    ShortToken {
        /// How many it has.
        chars: usize,
        /// How many it must have.
        min: usize,
    },
    /// Two values that don't go together.
    #[error("expected {this} to be at most {that}")]
    OutOfOrder {
        /// One key with its value.
        this: String,
        /// The other.
        that: String,
    },
}

/// One error of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where.
    pub place: Place,
    /// The key with the way to it, as in `stream_jobs[0].pairs[1]`; empty where there is none.
    pub key: String,
    /// What.
    pub problem: Problem,
    /// What to do about it, or the nearest valid name.
    pub help: Option<String>,
    /// The column from which on the line may not be shown.
    pub(crate) hide_from: Option<usize>,
}

/// Something that works and yet should be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub place: Place,
    /// The key with the way to it.
    pub key: String,
    /// What.
    pub message: String,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigErrors {
    /// No file was named and none was found.
    #[error(
        "no configuration found: looked for {}; write one with `dccd init` or name it with \
         --config; `dccd demo` needs none",
        paths(looked)
    )]
    NotFound {
        /// Where it was looked for.
        looked: Vec<PathBuf>,
    },
    /// The file that was named cannot be read.
    #[error("cannot read the configuration {} ({by})", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Who named it: `--config`, `$DCCD_CONFIG`, …
        by: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is no text.
    #[error("the configuration {} is not UTF-8 text: byte {offset} is invalid", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The first byte that is not UTF-8.
        offset: usize,
    },
    /// The file is too large to be a configuration.
    #[error("the configuration {} has {size} bytes, expected at most {max}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        size: u64,
        /// The limit.
        max: u64,
    },
    /// The file has errors; [`fmt::Display`] shows them all with the lines they stand on.
    #[error("{}", self.picture())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Its text.
        text: String,
        /// What is wrong, in the order in which it stands there.
        errors: Vec<ConfigError>,
    },
}

fn paths(looked: &[PathBuf]) -> String {
    looked.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

impl ConfigErrors {
    /// The errors of the file; empty where it couldn't even be read.
    #[must_use]
    pub fn errors(&self) -> &[ConfigError] {
        match self {
            Self::Invalid { errors, .. } => errors,
            _ => &[],
        }
    }

    fn picture(&self) -> String {
        let Self::Invalid { path, text, errors } = self else { return String::new() };
        let mut out = String::new();
        for error in errors {
            let key = if error.key.is_empty() { String::new() } else { format!("{}: ", error.key) };
            draw(&mut out, path, text, error.place, &format!("{key}{}", error.problem), error.hide_from);
            if let Some(help) = &error.help {
                let _ = writeln!(out, "{:width$} = help: {help}", "", width = gutter(error.place));
            }
            out.push('\n');
        }
        let count = errors.len();
        let _ = write!(out, "{count} error{} in {}", if count == 1 { "" } else { "s" }, path.display());
        out
    }
}

fn gutter(place: Place) -> usize {
    place.line.to_string().len()
}

/// One message over the line that it is about, with the place marked.
fn draw(out: &mut String, path: &std::path::Path, text: &str, place: Place, message: &str, hide_from: Option<usize>) {
    let width = gutter(place);
    let _ = writeln!(out, "{message}");
    let _ = writeln!(out, "{:width$}--> {}:{}:{}", "", path.display(), place.line, place.column);
    let Some(line) = text.lines().nth(place.line.saturating_sub(1)) else { return };
    let (line, column) = masked(line, place.column, hide_from);
    let (line, offset) = window(&line, column);
    let start = column.saturating_sub(1).saturating_sub(offset);
    let room = line.chars().count().saturating_sub(start);
    let marks = place.length.min(room.max(1)).max(1);
    let _ = writeln!(out, "{:width$} |", "");
    let _ = writeln!(out, "{} | {line}", place.line);
    let _ = writeln!(out, "{:width$} | {:start$}{}", "", "", "^".repeat(marks));
}

/// The line with tabs and control characters made visible as one character each and secrets hidden, and where the column
/// is then.
fn masked(line: &str, column: usize, hide_from: Option<usize>) -> (String, usize) {
    let clean = line.chars().map(|c| {
        if c == '\t' {
            '→'
        } else if c.is_control() {
            '·'
        } else {
            c
        }
    });
    match hide_from {
        Some(from) => {
            let head: String = clean.take(from.saturating_sub(1)).collect();
            mask_named(&(head + "***"), column)
        }
        None => mask_named(&clean.collect::<String>(), column),
    }
}

/// Hides what follows a key that names a secret, whatever the state of the file.
fn mask_named(line: &str, column: usize) -> (String, usize) {
    const NAMES: [&str; 7] = ["token", "webhook", "secret", "pass", "key", "uid", "client"];
    const HIDDEN: &str = "***";
    let lower = line.to_ascii_lowercase();
    let (mut out, mut moved) = (String::new(), column);
    let mut at = 0;
    while let Some(colon) = lower[at..].find(':').map(|found| at + found) {
        let name_start = lower[..colon].rfind(['{', ',', ' ', '-', '[']).map_or(0, |i| i + 1).max(at);
        let name = &lower[name_start..colon];
        out.push_str(&line[at..=colon]);
        at = colon + 1;
        if !NAMES.iter().any(|secret| name.contains(secret)) {
            continue;
        }
        let value = &line[at..];
        let lead = value.len() - value.trim_start().len();
        let shown = &value[lead..lead + value_end(&value[lead..])];
        out.push_str(&value[..lead]);
        at += lead + shown.len();
        // A reference to the environment is no secret.
        if shown.trim_matches(['"', '\'']).starts_with("${") || shown.is_empty() || matches!(shown, "null" | "~") {
            out.push_str(shown);
            continue;
        }
        out.push_str(HIDDEN);
        if column > line[..at].chars().count() {
            moved = (moved + HIDDEN.len()).saturating_sub(shown.chars().count());
        }
    }
    out.push_str(&line[at..]);
    (out, moved)
}

/// Where a value ends on its line: at its closing quote, or at what ends a plain value in a flow mapping.
fn value_end(body: &str) -> usize {
    match body.chars().next() {
        Some(quote @ ('"' | '\'')) => body[1..].find(quote).map_or(body.len(), |at| at + 2),
        _ => body.find([',', '}']).filter(|_| !body.contains("${")).unwrap_or(body.len()),
    }
}

/// At most 140 characters of the line, around the column.
fn window(line: &str, column: usize) -> (String, usize) {
    const WIDTH: usize = 140;
    let count = line.chars().count();
    if count <= WIDTH {
        return (line.to_owned(), 0);
    }
    let offset = column.saturating_sub(WIDTH / 2).min(count - WIDTH);
    (line.chars().skip(offset).take(WIDTH).collect(), offset)
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.place.line, self.place.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}", self.problem)?;
        if let Some(help) = &self.help {
            write!(f, "; {help}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            return write!(f, "{}", self.message);
        }
        write!(f, "line {}: {}: {}", self.place.line, self.key, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::mask_named;

    #[test]
    fn the_mark_stays_below_what_it_marks() {
        let line = "{token: \"long long\", auth: x}";
        let column = line.find('x').unwrap() + 1;
        let (shown, moved) = mask_named(line, column);
        assert_eq!(shown.chars().nth(moved - 1), Some('x'), "{shown}");
    }

    #[test]
    fn values_of_keys_that_name_secrets_are_hidden() {
        for (line, shown) in [
            ("  ui_auth_token: hunter2", "  ui_auth_token: ***"),
            (
                "rpc: {address: 0.0.0.0:1, token: \"a,b}c\", auth: token}",
                "rpc: {address: 0.0.0.0:1, token: ***, auth: token}",
            ),
            ("rpc: {token: abc, address: x}", "rpc: {token: ***, address: x}"),
            ("token: \"${T}\"", "token: \"${T}\""),
            ("token: null", "token: null"),
            ("webhook_url: https://hooks.example/T/B", "webhook_url: ***"),
            ("auth: token", "auth: token"),
            ("tokn: \"unclosed", "tokn: \"unclosed"),
            ("token: \"unclosed", "token: ***"),
        ] {
            assert_eq!(mask_named(line, 1), (shown.to_owned(), 1));
        }
    }
}
