//! Where this process stands with its root: has it one, and which of those it has had.

use std::sync::Arc;

use tokio::sync::watch;

/// Has this process a root? Clones share it. Said by whoever notices: the thread at standard input, the heartbeats.
#[derive(Clone, Debug)]
pub(crate) struct Link(Arc<watch::Sender<Standing>>);

#[derive(Clone, Copy, Debug)]
struct Standing {
    /// Counts the roots: 0 is the one that started this process.
    root: u64,
    attached: bool,
}

/// The root that started this process.
pub(crate) const FIRST_ROOT: u64 = 0;

impl Link {
    /// With the root that started this process.
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::channel(Standing { root: FIRST_ROOT, attached: true }).0))
    }

    /// This root is gone. Late news of one that has been replaced change nothing.
    pub(crate) fn lost(&self, root: u64) {
        self.0.send_if_modified(|now| {
            let news = now.attached && now.root == root;
            now.attached &= !news;
            news
        });
    }

    /// There is a root again (or still); its number.
    pub(crate) fn attached(&self) -> u64 {
        self.0.send_if_modified(|now| {
            let news = !now.attached;
            if news {
                *now = Standing { root: now.root + 1, attached: true };
            }
            news
        });
        self.0.borrow().root
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.0.borrow().attached
    }

    /// Resolves while there is no root.
    pub(crate) async fn until_lost(&self) {
        // The sender lives in `self`.
        let _ = self.0.subscribe().wait_for(|now| !now.attached).await;
    }

    /// Resolves while there is a root.
    pub(crate) async fn until_attached(&self) {
        let _ = self.0.subscribe().wait_for(|now| now.attached).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn late_news_of_an_earlier_root_change_nothing() {
        let link = Link::new();
        assert_eq!(link.attached(), FIRST_ROOT, "still the same");
        link.lost(FIRST_ROOT);
        assert!(!link.is_attached());
        link.until_lost().await;
        assert_eq!(link.attached(), 1);
        link.until_attached().await;
        link.lost(FIRST_ROOT);
        assert!(link.is_attached(), "that one was replaced long ago");
        link.lost(1);
        assert!(!link.is_attached());
    }
}
