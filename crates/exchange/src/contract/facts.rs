//! What a user should know about an exchange that no other part of the contract says. `dccd exchanges` shows it, and
//! `docs/reference/exchanges.md` is made of it.

use dccd_model::Channel;

/// Levels a side that books can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depths {
    /// Any number up to this.
    UpTo(u32),
    /// One of these, ascending: the next one up is taken, the last where none is.
    OneOf(&'static [u32]),
    /// Always so many.
    Always(u32),
    /// All that there are.
    All,
}

impl Depths {
    /// The depth that a wish leads to.
    #[must_use]
    pub fn of(self, wanted: u32) -> u32 {
        match self {
            Self::UpTo(most) => wanted.min(most),
            Self::OneOf(depths) => {
                let deepest = depths.last().copied().unwrap_or(wanted);
                depths.iter().copied().find(|depth| *depth >= wanted).unwrap_or(deepest)
            }
            Self::Always(depth) => depth,
            Self::All => wanted,
        }
    }
}

/// How one channel is carried, and what proves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelFacts {
    /// Which.
    pub channel: Channel,
    /// The exchange's own name of it.
    pub stream: &'static str,
    /// By what a loss is noticed, and what becomes of it.
    pub integrity: &'static str,
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// How the exchange writes its name.
    pub title: &'static str,
    /// Which of its markets are offered.
    pub markets: &'static str,
    /// How deep its books are.
    pub depths: Depths,
    /// One for each channel that is offered.
    pub channels: &'static [ChannelFacts],
    /// Path of a small answer, at a weight of one, to see whether the exchange is there: with its time in it, or at least in the
    /// head of the answer.
    pub clock: &'static str,
    /// What surprises, a sentence each.
    pub quirks: &'static [&'static str],
}
