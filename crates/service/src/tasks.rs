//! What runs in this process by name, and what it did last: for the log of a service that hangs.
//!
//! A task that hangs shows in one of two ways: it is *running* and has not given way for long (it blocks its thread, or turns in a
//! circle), or it *waits* and nothing has woken it. Counting costs two clock readings a turn and takes no lock.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Most tasks that are kept by name; further ones run without.
const TASKS_MAX: usize = 256;

/// The named tasks of a process; clones share them.
#[derive(Clone, Debug)]
pub struct Tasks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    begun: Instant,
    tasks: Mutex<Vec<Weak<Entry>>>,
}

/// One task; clones share it. It leaves the list when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Task(Arc<Entry>);

#[derive(Debug)]
struct Entry {
    name: String,
    begun: Instant,
    /// The kernel's number of the thread that ran it last; 0: none yet.
    thread: AtomicI32,
    running: AtomicBool,
    /// When it last began or ceased to run, or was put into words: microseconds since `begun`.
    since_us: AtomicU64,
    turns: AtomicU64,
    doing: Mutex<&'static str>,
}

/// How a task stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskState {
    /// Its name.
    pub name: String,
    /// Whether it is running on its thread, and has not given way; otherwise it waits to be woken.
    pub running: bool,
    /// For how long it has done so.
    pub for_: Duration,
    /// How often it has run so far.
    pub turns: u64,
    /// The kernel's number of its thread; 0: it never ran.
    pub thread: i32,
    /// What it said it was doing; empty: nothing.
    pub doing: &'static str,
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, turns, thread, .. } = self;
        let seconds = self.for_.as_secs_f64();
        if self.running {
            write!(f, "task {name}: RUNNING for {seconds:.1} s without giving way, turn {turns}, on thread {thread}")?;
        } else if *turns == 0 {
            write!(f, "task {name}: has not had its first turn, for {seconds:.1} s")?;
        } else {
            write!(f, "task {name}: waiting for {seconds:.1} s, after {turns} turns, on thread {thread}")?;
        }
        if self.doing.is_empty() { Ok(()) } else { write!(f, "; last said: {}", self.doing) }
    }
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Tasks {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner { begun: Instant::now(), tasks: Mutex::default() }))
    }

    /// A task of that name.
    #[must_use]
    pub fn begin(&self, name: impl Into<String>) -> Task {
        let entry = Arc::new(Entry {
            name: name.into(),
            begun: self.0.begun,
            thread: AtomicI32::new(0),
            running: AtomicBool::new(false),
            since_us: AtomicU64::new(micros(self.0.begun)),
            turns: AtomicU64::new(0),
            doing: Mutex::new(""),
        });
        let mut tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| task.strong_count() > 0);
        if tasks.len() < TASKS_MAX {
            tasks.push(Arc::downgrade(&entry));
        }
        Task(entry)
    }

    /// Runs a future as the task of that name.
    pub async fn named<F: Future>(&self, name: impl Into<String>, future: F) -> F::Output {
        self.begin(name).run(future).await
    }

    /// How they stand now. Waits for nobody.
    #[must_use]
    pub fn states(&self) -> Vec<TaskState> {
        // Held for moments only, by threads that do nothing else meanwhile.
        let tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.iter().filter_map(Weak::upgrade).map(|task| task.state()).collect()
    }
}

impl Task {
    /// Runs a future as this task.
    pub async fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|cx| {
            self.turn();
            let result = future.as_mut().poll(cx);
            self.rest();
            result
        })
        .await
    }

    /// It runs from here on: for a thread that has no futures. [`Task::rest`] says that it waits.
    pub fn turn(&self) {
        if self.0.thread.load(Ordering::Relaxed) == 0 {
            self.0.thread.store(rustix::thread::gettid().as_raw_nonzero().get(), Ordering::Relaxed);
        }
        self.0.turns.fetch_add(1, Ordering::Relaxed);
        self.mark(true);
    }

    /// It waits from here on.
    pub fn rest(&self) {
        self.mark(false);
    }

    /// What it is about to do, in words.
    pub fn doing(&self, what: &'static str) {
        *self.0.doing.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    /// Relaxed: it is looked at from outside, now and then, and a moment too early is as good.
    fn mark(&self, running: bool) {
        self.0.since_us.store(micros(self.0.begun), Ordering::Relaxed);
        self.0.running.store(running, Ordering::Relaxed);
    }
}

impl Entry {
    fn state(&self) -> TaskState {
        let since = self.since_us.load(Ordering::Relaxed);
        TaskState {
            name: self.name.clone(),
            running: self.running.load(Ordering::Relaxed),
            for_: Duration::from_micros(micros(self.begun).saturating_sub(since)),
            turns: self.turns.load(Ordering::Relaxed),
            thread: self.thread.load(Ordering::Relaxed),
            doing: *self.doing.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

fn micros(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_waits_and_one_that_gives_no_way_are_told_apart() {
        let tasks = Tasks::new();
        let waits = tasks.begin("waits");
        waits.doing("waiting for a word");
        let (word, heard) = tokio::sync::oneshot::channel::<()>();
        let waiting = tokio::spawn(async move { waits.run(heard).await });
        tokio::task::yield_now().await;
        let seen = tasks.named("looks", async { tasks.states() }).await;
        let seen: Vec<_> = seen.iter().map(|task| (&*task.name, task.running, task.turns, task.doing)).collect();
        assert_eq!(seen, [("waits", false, 1, "waiting for a word"), ("looks", true, 1, "")]);
        let own = rustix::thread::gettid().as_raw_nonzero().get();
        assert!(tasks.states().iter().all(|task| task.thread == own), "it has ended, and is seen no more");
        assert_eq!(tasks.states().len(), 1);
        word.send(()).unwrap();
        waiting.await.unwrap().unwrap();
        assert_eq!(tasks.states(), []);
    }

    #[test]
    fn a_task_is_put_into_words_and_their_number_is_bounded() {
        let state = TaskState {
            name: "hot".to_owned(),
            running: true,
            for_: Duration::from_millis(12_340),
            turns: 7,
            thread: 42,
            doing: "",
        };
        assert_eq!(state.to_string(), "task hot: RUNNING for 12.3 s without giving way, turn 7, on thread 42");
        let state = TaskState { running: false, doing: "asking for markets", ..state };
        let words = "task hot: waiting for 12.3 s, after 7 turns, on thread 42; last said: asking for markets";
        assert_eq!(state.to_string(), words);
        let state = TaskState { turns: 0, doing: "", ..state };
        assert_eq!(state.to_string(), "task hot: has not had its first turn, for 12.3 s");
        let tasks = Tasks::new();
        let held: Vec<_> = (0..TASKS_MAX + 10).map(|n| tasks.begin(format!("{n}"))).collect();
        assert_eq!((held.len(), tasks.states().len()), (TASKS_MAX + 10, TASKS_MAX));
    }
}
