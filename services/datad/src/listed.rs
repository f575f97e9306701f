//! What the exchange lists as subscribed on each connection, held against what was asked for there. Of exchanges whose replies list all
//! that is: one that is missing was refused without a word. As large as what is subscribed. Keeps time by what it is told; does nothing itself.

use std::collections::HashMap;
use std::time::Duration;

use dccd_exchange::FeedIndex;
use tokio::time::Instant;

/// A subscription that isn't listed after this time isn't there: messages wait for their turn, and are replied to one by one.
const PATIENCE: Duration = Duration::from_secs(10);

/// A subscription that was asked for and isn't there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unlisted {
    pub(crate) conn: u32,
    pub(crate) feed: FeedIndex,
    /// When it was asked for.
    pub(crate) since: Instant,
}

/// When a subscription was asked for, and whether that it is missing has been told.
struct Asked {
    at: Instant,
    is_told: bool,
}

#[derive(Default)]
pub(crate) struct Listed {
    asked: HashMap<(u32, FeedIndex), Asked>,
    /// The last list of each connection that has sent one.
    lists: HashMap<u32, Vec<FeedIndex>>,
}

impl Listed {
    /// A feed is subscribed on a connection.
    pub(crate) fn asked(&mut self, conn: u32, feed: FeedIndex, now: Instant) {
        self.asked.insert((conn, feed), Asked { at: now, is_told: false });
    }

    /// It is unsubscribed.
    pub(crate) fn ended(&mut self, conn: u32, feed: FeedIndex) {
        self.asked.remove(&(conn, feed));
    }

    /// A connection ended.
    pub(crate) fn closed(&mut self, conn: u32) {
        self.asked.retain(|(on, _), _| *on != conn);
        self.lists.remove(&conn);
    }

    /// The exchange listed these as all that is subscribed on a connection.
    pub(crate) fn told(&mut self, conn: u32, feeds: &[FeedIndex]) {
        self.lists.insert(conn, feeds.to_vec());
    }

    /// Whether another connection than this one has the feed.
    pub(crate) fn is_elsewhere(&self, conn: u32, feed: FeedIndex) -> bool {
        self.lists.iter().any(|(on, feeds)| *on != conn && feeds.contains(&feed))
    }

    /// Those that are missing, each once for each time that it was asked for.
    pub(crate) fn missing(&mut self, now: Instant) -> Vec<Unlisted> {
        let lists = &self.lists;
        let is_missing = |conn: &u32, feed: &FeedIndex, asked: &Asked| {
            let is_late = !asked.is_told && now.duration_since(asked.at) >= PATIENCE;
            is_late && lists.get(conn).is_some_and(|feeds| !feeds.contains(feed))
        };
        let mut missing = Vec::new();
        for ((conn, feed), asked) in &mut self.asked {
            if is_missing(conn, feed, asked) {
                asked.is_told = true;
                missing.push(Unlisted { conn: *conn, feed: *feed, since: asked.at });
            }
        }
        missing.sort_unstable_by_key(|unlisted| (unlisted.conn, unlisted.feed));
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_and_isnt_listed_is_missing_once_for_each_time() {
        let begin = Instant::now();
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        let mut listed = Listed::default();
        for feed in 0..3 {
            listed.asked(1, feed, begin);
        }
        assert_eq!(listed.missing(at(60)), [], "no list, no judgement");
        listed.told(1, &[0]);
        listed.asked(1, 3, at(55));
        let missing = |conn, feed, since| Unlisted { conn, feed, since: at(since) };
        assert_eq!(listed.missing(at(60)), [missing(1, 1, 0), missing(1, 2, 0)], "3 may be on its way");
        assert_eq!(listed.missing(at(61)), []);
        // One is listed now, one is asked for again in vain, one was listed and isn't any more.
        listed.ended(1, 1);
        listed.asked(1, 1, at(62));
        listed.asked(1, 2, at(62));
        listed.told(1, &[2, 3]);
        assert_eq!(listed.missing(at(72)), [missing(1, 0, 0), missing(1, 1, 62)]);
        // What another connection has is told apart; what ended is nobody's any more.
        listed.asked(2, 0, at(72));
        listed.told(2, &[0]);
        assert_eq!([0, 1].map(|feed| listed.is_elsewhere(1, feed)), [true, false]);
        listed.asked(1, 5, at(72));
        listed.closed(1);
        listed.ended(2, 0);
        assert_eq!(listed.missing(at(99)), []);
        assert!(!listed.is_elsewhere(2, 3));
    }
}
