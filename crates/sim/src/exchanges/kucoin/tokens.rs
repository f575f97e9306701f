//! Tokens with which the classic socket is opened.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use crate::deep::past::mix;

/// Tokens that are remembered at most; the oldest go first.
const KNOWN_MAX: usize = 10_000;

/// What a token is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worth {
    Good,
    Expired,
    /// None was given, or one that was never given out.
    Unknown,
}

/// The tokens that were given out, with the times (microseconds since the epoch) at which they expire.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    known: VecDeque<(String, i64)>,
    count: u64,
}

impl Tokens {
    /// A token that is good for so long.
    pub(super) fn give(&mut self, seed: u64, life: Duration, now_us: i64) -> String {
        self.count += 1;
        let mut token = String::from("2neAiuYvAU61ZDXANAGAsiL4-");
        for part in 0..4 {
            // Writing to memory can't fail.
            let _ = write!(token, "{:016x}", mix(seed ^ self.count.rotate_left(8) ^ part));
        }
        token.push_str("=.==");
        if self.known.len() == KNOWN_MAX {
            self.known.pop_front();
        }
        let life_us = i64::try_from(life.as_micros()).unwrap_or(i64::MAX);
        self.known.push_back((token.clone(), now_us.saturating_add(life_us)));
        token
    }

    pub(super) fn worth(&self, token: &str, now_us: i64) -> Worth {
        match self.known.iter().find(|known| known.0 == token) {
            None => Worth::Unknown,
            Some((_, until)) if *until <= now_us => Worth::Expired,
            Some(_) => Worth::Good,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_time_and_no_other_is_good_at_all() {
        let mut tokens = Tokens::default();
        let life = Duration::from_secs(1);
        let (one, other) = (tokens.give(7, life, 0), tokens.give(7, life, 500_000));
        assert_ne!(one, other);
        assert_eq!([999_999, 1_000_000].map(|at| tokens.worth(&one, at)), [Worth::Good, Worth::Expired]);
        assert_eq!((tokens.worth(&other, 1_000_000), tokens.worth("", 0)), (Worth::Good, Worth::Unknown));
    }
}
