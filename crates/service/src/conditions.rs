//! What is wrong with a service and worth telling somebody: raised when it begins, cleared when it is over, carried by every
//! heartbeat in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use dccd_rpc::condition::{Condition, Doubt, Severity};

/// Conditions that a heartbeat carries; of more it carries the gravest, and the number of the others.
pub const CONDITIONS_MAX: usize = 64;
/// Doubts that a heartbeat carries; where there are more of a kind, the kind as a whole is in doubt.
pub const DOUBTS_MAX: usize = 64;
/// Conditions that a service keeps; further ones are ignored until some are cleared.
const KEPT_MAX: usize = 1_024;
/// Longest message, in characters.
const MESSAGE_CHARS_MAX: usize = 400;
/// Longest subject, in characters.
const SUBJECT_CHARS_MAX: usize = 120;

/// The conditions of this service; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Conditions(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    all: Mutex<BTreeMap<Name, Condition>>,
    unsettled: AtomicBool,
    doubts: Mutex<Vec<Doubt>>,
}

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

    /// Says whether this process has looked around: until it has, nothing that an earlier one said is taken for over because
    /// this one doesn't say it. A service that says nothing of this has, from the beginning.
    pub fn settled(&self, settled: bool) {
        self.0.unsettled.store(!settled, Ordering::Relaxed);
    }

    /// What this process can't tell yet, of all that an earlier one may have said; it takes the place of what was in doubt before.
    /// Everything else is known from the moment on at which it is [`Conditions::settled`].
    pub fn doubt(&self, doubts: Vec<Doubt>) {
        *self.0.doubts.lock().unwrap_or_else(PoisonError::into_inner) = bounded(doubts);
    }

    /// As it was said last.
    #[must_use]
    pub fn doubts(&self) -> Vec<Doubt> {
        self.0.doubts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it has.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.0.unsettled.load(Ordering::Relaxed)
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
        self.0.all.lock().unwrap_or_else(PoisonError::into_inner)
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

/// No more than [`DOUBTS_MAX`], kinds as a whole if need be.
fn bounded(doubts: Vec<Doubt>) -> Vec<Doubt> {
    if doubts.len() <= DOUBTS_MAX {
        let cut = |doubt: Doubt| Doubt { subject: doubt.subject.map(|s| cut(&s, SUBJECT_CHARS_MAX)), ..doubt };
        return doubts.into_iter().map(cut).collect();
    }
    let kinds: BTreeSet<String> = doubts.into_iter().map(|doubt| doubt.kind).collect();
    kinds.into_iter().map(|kind| Doubt { kind, subject: None }).collect()
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
    fn doubts_are_carried_until_there_are_others_and_too_many_of_them_are_kinds() {
        let conditions = Conditions::default();
        let doubt = |kind: &str, subject: Option<String>| Doubt { kind: kind.to_owned(), subject };
        let few = vec![doubt("k", Some("a".to_owned())), doubt("l", None)];
        conditions.doubt(few.clone());
        assert_eq!(conditions.doubts(), few);
        let long = doubt("k", Some("s".repeat(1_000)));
        conditions.doubt(vec![long]);
        assert_eq!(conditions.doubts(), [doubt("k", Some("s".repeat(SUBJECT_CHARS_MAX)))], "as the subject itself is cut");
        let many = (0..DOUBTS_MAX + 1).map(|n| doubt(if n == 0 { "l" } else { "k" }, Some(n.to_string())));
        conditions.doubt(many.collect());
        assert_eq!(conditions.doubts(), [doubt("k", None), doubt("l", None)]);
        conditions.doubt(Vec::new());
        assert_eq!(conditions.doubts(), []);
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
