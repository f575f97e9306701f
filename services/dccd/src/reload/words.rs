//! What is different between two configurations, in words: the key, what it was, and what it is. Secrets are said to be others, never what
//! they are.

use std::path::PathBuf;
use std::time::Duration;

use dccd_config::{LogFormat, LogLevel, Secret};
use dccd_history::CandleSource;
use dccd_model::UnixNanos;

/// What is said of a service.
#[derive(Debug, Default)]
pub struct Words(Vec<String>);

impl Words {
    /// Says it.
    pub fn say(&mut self, word: String) {
        self.0.push(word);
    }

    /// Says of a value that it is another, if it is.
    pub fn differs<T: Shown + PartialEq>(&mut self, key: &str, old: &T, new: &T) {
        if old != new {
            self.0.push(format!("{key}: {} → {}", old.shown(), new.shown()));
        }
    }

    /// The same of a value that is not to be shown.
    pub fn differs_secretly(&mut self, key: &str, old: Option<&Secret>, new: Option<&Secret>) {
        if old == new {
            return;
        }
        let shown = |secret: Option<&Secret>| secret.map_or_else(|| "none".to_owned(), ToString::to_string);
        let hint = if old.is_some() && new.is_some() { " (another)" } else { "" };
        self.0.push(format!("{key}: {} → {}{hint}", shown(old), shown(new)));
    }

    /// All of it.
    pub fn all(self) -> Vec<String> {
        self.0
    }

    /// All of it, each with this at its end.
    pub fn all_with(self, end: &'static str) -> impl Iterator<Item = String> {
        self.0.into_iter().map(move |word| word + end)
    }
}

/// A value as people are shown it.
pub trait Shown {
    /// The words for it.
    fn shown(&self) -> String;
}

impl<T: Shown> Shown for Option<T> {
    fn shown(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), Shown::shown)
    }
}

macro_rules! as_displayed {
    ($($type:ty),*) => {$(
        impl Shown for $type {
            fn shown(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

as_displayed!(u32, u64, String, LogLevel, UnixNanos, std::net::SocketAddr);

impl Shown for Duration {
    fn shown(&self) -> String {
        format!("{} s", self.as_secs_f64())
    }
}

impl Shown for PathBuf {
    fn shown(&self) -> String {
        self.display().to_string()
    }
}

impl Shown for LogFormat {
    fn shown(&self) -> String {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
        .to_owned()
    }
}

impl Shown for CandleSource {
    fn shown(&self) -> String {
        match self {
            Self::Auto => "auto",
            Self::Candles => "candles",
            Self::Trades => "trades",
        }
        .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_said_and_no_secret_is() {
        let mut words = Words::default();
        words.differs("depth", &Some(500_u32), &Some(500));
        words.differs("depth", &Some(500_u32), &None);
        words.differs("time_step", &Duration::from_millis(500), &Duration::from_secs(60));
        words.differs("log_file", &Some(PathBuf::from("/a")), &Some(PathBuf::from("/b")));
        let (one, two) = (Secret::new("hunter2"), Secret::new("hunter3"));
        words.differs_secretly("token", Some(&one), Some(&one));
        words.differs_secretly("token", Some(&one), Some(&two));
        words.differs_secretly("token", None, Some(&two));
        words.differs("rest_url", &None, &Some("http://h".to_owned()));
        assert_eq!(
            words.all(),
            [
                "depth: 500 → none",
                "time_step: 0.5 s → 60 s",
                "log_file: /a → /b",
                "token: *** → *** (another)",
                "token: none → ***",
                "rest_url: none → http://h",
            ]
        );
    }
}
