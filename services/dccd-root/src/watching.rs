//! How services are watched over, shared by all who do, and changed for all at once when the configuration is read anew.

use std::sync::{PoisonError, RwLock};

use crate::Supervision;

/// The present [`Supervision`].
#[derive(Debug)]
pub(crate) struct Watching(RwLock<Supervision>);

impl Watching {
    pub(crate) fn new(supervision: Supervision) -> Self {
        Self(RwLock::new(supervision))
    }

    pub(crate) fn get(&self) -> Supervision {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, supervision: Supervision) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = supervision;
    }
}
