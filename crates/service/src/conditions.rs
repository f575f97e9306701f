//! What is wrong with a service and worth telling somebody: raised when it begins, cleared when it is over, carried by every
//! heartbeat in between.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use dccd_rpc::condition::{Condition, Severity};

/// Conditions that a heartbeat carries; of more it carries the gravest, and the number of the others.
pub const CONDITIONS_MAX: usize = 64;
/// Conditions that a service keeps; further ones are ignored until some are cleared.
const KEPT_MAX: usize = 1_024;
/// Longest message, in characters.
const MESSAGE_CHARS_MAX: usize = 400;
/// Longest subject, in characters.
const SUBJECT_CHARS_MAX: usize = 120;

/// The conditions of this service; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Conditions(Arc<Mutex<BTreeMap<Name, Condition>>>);

/// Kind and subject.
type Name = (String, String);

impl Conditions {
    /// Something is wrong. Raised again, only what is said of it changes, and its count grows: raise it once for each failure, or
    /// as often as its state is looked at with [`Conditions::set`]. `subject` is empty where it is the service itself.
    pub fn raise(&self, kind: &str, subject: &str, severity: Severity, message: impl Into<String>) {
        note(&mut self.all(), kind, subject, severity, message.into(), 1);
    }

    /// It is over, if it ever was.
    pub fn clear(&self, kind: &str, subject: &str) {
        self.all().remove(&(kind.to_owned(), cut(subject, SUBJECT_CHARS_MAX)));
    }

    /// Whether it holds or not, as was just seen: [`Conditions::raise`] without counting, or [`Conditions::clear`].
    pub fn set(&self, kind: &str, subject: &str, wrong: Option<(Severity, String)>) {
        match wrong {
            Some((severity, message)) => note(&mut self.all(), kind, subject, severity, message, 0),
            None => self.clear(kind, subject),
        }
    }

    /// All that is wrong of one kind, by subject, as was just seen: what is not among it is over.
    pub fn set_all(&self, kind: &str, wrong: impl IntoIterator<Item = (String, Severity, String)>) {
        let wrong: Vec<_> = wrong.into_iter().map(|(subject, s, m)| (cut(&subject, SUBJECT_CHARS_MAX), s, m)).collect();
        let mut all = self.all();
        all.retain(|(known, subject), _| known != kind || wrong.iter().any(|(named, ..)| named == subject));
        for (subject, severity, message) in wrong {
            note(&mut all, kind, &subject, severity, message, 0);
        }
    }

    /// All of them, by kind and subject.
    #[must_use]
    pub fn list(&self) -> Vec<Condition> {
        self.all().values().cloned().collect()
    }

    /// What a heartbeat carries: the gravest, the oldest of those first, and how many more there are.
    pub(crate) fn snapshot(&self) -> (Vec<Condition>, u32) {
        let mut all = self.list();
        all.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.since.cmp(&b.since)));
        let more = all.len().saturating_sub(CONDITIONS_MAX);
        all.truncate(CONDITIONS_MAX);
        (all, u32::try_from(more).unwrap_or(u32::MAX))
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Name, Condition>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn note(all: &mut BTreeMap<Name, Condition>, kind: &str, subject: &str, severity: Severity, message: String, times: u64) {
    let name = (kind.to_owned(), cut(subject, SUBJECT_CHARS_MAX));
    let message = cut(&message, MESSAGE_CHARS_MAX);
    if let Some(known) = all.get_mut(&name) {
        (known.severity, known.message) = (severity, message);
        known.count = known.count.saturating_add(times);
    } else if all.len() < KEPT_MAX {
        let (kind, subject) = name.clone();
        all.insert(name, Condition { kind, subject, severity, message, since: now(), count: 1 });
    }
}

fn cut(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}

/// Nanoseconds since the epoch, host clock.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_holds_from_its_first_raising_to_its_clearing() {
        let conditions = Conditions::default();
        conditions.raise("sync_failed", "nas", Severity::Warning, "no route");
        let first = conditions.snapshot().0[0].clone();
        conditions.raise("sync_failed", "nas", Severity::Critical, "disk full");
        conditions.set("sync_failed", "nas", Some((Severity::Critical, "still full".to_owned())));
        conditions.raise("sync_failed", "s3", Severity::Warning, "forbidden");
        let (now, more) = conditions.snapshot();
        assert_eq!((now.len(), more), (2, 0));
        let expected = Condition { severity: Severity::Critical, message: "still full".to_owned(), count: 2, ..first };
        assert_eq!(now[0], expected, "the gravest first, since its beginning");
        conditions.clear("sync_failed", "nas");
        conditions.set("sync_failed", "s3", None);
        assert_eq!(conditions.snapshot(), (vec![], 0));
    }

    #[test]
    fn what_was_seen_takes_the_place_of_its_kind_and_of_nothing_else() {
        let conditions = Conditions::default();
        conditions.raise("disk_low", "", Severity::Warning, "x");
        let stale = |names: &[&str]| {
            let wrong = names.iter().map(|name| ((*name).to_owned(), Severity::Warning, "stale".to_owned()));
            conditions.set_all("data_stale", wrong);
        };
        let subjects =
            || conditions.snapshot().0.into_iter().map(|c| format!("{} {}", c.kind, c.subject)).collect::<Vec<_>>();
        stale(&["a", "b"]);
        stale(&["b", "c"]);
        assert_eq!(subjects(), ["disk_low ", "data_stale b", "data_stale c"]);
        stale(&[]);
        assert_eq!(subjects(), ["disk_low "]);
    }

    #[test]
    fn neither_their_number_nor_their_length_is_without_bound() {
        let conditions = Conditions::default();
        for n in 0..5_000 {
            conditions.raise("k", &format!("{n} {}", "s".repeat(1_000)), Severity::Info, "m".repeat(10_000));
        }
        conditions.raise("worse", "", Severity::Critical, "not kept: there are too many");
        conditions.clear("k", &format!("0 {}", "s".repeat(1_000)));
        conditions.raise("worse", "", Severity::Critical, "x");
        let (carried, more) = conditions.snapshot();
        assert_eq!((carried.len(), more as usize), (CONDITIONS_MAX, KEPT_MAX - CONDITIONS_MAX));
        assert_eq!((carried[0].kind.as_str(), carried[0].message.as_str()), ("worse", "x"));
        assert!(carried.iter().all(|c| c.message.len() <= MESSAGE_CHARS_MAX && c.subject.len() <= SUBJECT_CHARS_MAX));
    }
}
