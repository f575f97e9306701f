//! How much each service logs, where somebody asked for another level than the configured one. Gone with the root.

use std::collections::BTreeMap;

/// The levels asked for.
#[derive(Debug, Default)]
pub(crate) struct Levels {
    all: Option<String>,
    /// Of single services; `None` inside: as configured, whatever holds for all.
    own: BTreeMap<String, Option<String>>,
}

impl Levels {
    /// What a service logs by; `None`: as configured.
    pub(crate) fn of(&self, service: &str) -> Option<&str> {
        self.own.get(service).unwrap_or(&self.all).as_deref()
    }

    /// Sets it for a service, or for all and whatever was set for single ones before.
    pub(crate) fn set(&mut self, service: Option<&str>, directives: Option<String>) {
        match service {
            Some(service) => drop(self.own.insert(service.to_owned(), directives)),
            None => (self.all, self.own) = (directives, BTreeMap::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_service_goes_before_all() {
        let mut levels = Levels::default();
        assert_eq!(levels.of("a"), None);
        levels.set(Some("a"), Some("debug".to_owned()));
        assert_eq!((levels.of("a"), levels.of("b")), (Some("debug"), None));
        levels.set(None, Some("warn".to_owned()));
        assert_eq!((levels.of("a"), levels.of("b")), (Some("warn"), Some("warn")));
        levels.set(Some("a"), None);
        assert_eq!((levels.of("a"), levels.of("b")), (None, Some("warn")));
        levels.set(None, None);
        assert_eq!((levels.of("a"), levels.of("b")), (None, None));
    }
}
