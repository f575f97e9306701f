//! The trades that came lately: time and id of each, by time. Of hundreds of markets they are a good part of a collector's memory, so
//! times and ids lie apart, and ids that are numbers take half the room.

use std::collections::VecDeque;
use std::fmt;

use dccd_model::{TradeId, UnixNanos};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Ids as narrow as the widest of them allows.
#[derive(Clone, Debug)]
enum Ids {
    Numbers(VecDeque<u64>),
    /// UUIDs and the like, and what numbers stand between them.
    Wide(VecDeque<u128>),
}

impl Ids {
    fn get(&self, at: usize) -> Option<TradeId> {
        match self {
            Self::Numbers(ids) => ids.get(at).map(|id| TradeId(u128::from(*id))),
            Self::Wide(ids) => ids.get(at).map(|id| TradeId(*id)),
        }
    }

    fn insert(&mut self, at: usize, TradeId(id): TradeId) {
        match self {
            Self::Wide(ids) => ids.insert(at, id),
            Self::Numbers(ids) => match u64::try_from(id) {
                Ok(id) => ids.insert(at, id),
                Err(_) => {
                    let mut ids: VecDeque<u128> = ids.iter().map(|id| u128::from(*id)).collect();
                    ids.insert(at, id);
                    *self = Self::Wide(ids);
                }
            },
        }
    }

    fn pop_front(&mut self) {
        match self {
            Self::Numbers(ids) => drop(ids.pop_front()),
            Self::Wide(ids) => drop(ids.pop_front()),
        }
    }
}

/// Trades by time, those of one time as they came. Saved as times and ids, each as its distance from the one before: a checkpoint of
/// hundreds of markets consists of little else.
#[derive(Clone, Debug)]
pub(super) struct Recent {
    times: VecDeque<UnixNanos>,
    ids: Ids,
}

impl Default for Recent {
    fn default() -> Self {
        Self { times: VecDeque::new(), ids: Ids::Numbers(VecDeque::new()) }
    }
}

impl Recent {
    pub(super) fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.times.len()
    }

    /// How many there is room for.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.times.capacity()
    }

    /// The time of the oldest.
    pub(super) fn oldest(&self) -> Option<UnixNanos> {
        self.times.front().copied()
    }

    /// The time of the newest.
    pub(super) fn newest(&self) -> Option<UnixNanos> {
        self.times.back().copied()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (UnixNanos, TradeId)> {
        self.times.iter().enumerate().filter_map(|(at, ts)| Some((*ts, self.ids.get(at)?)))
    }

    /// Puts one where its time belongs, behind those of the same time.
    pub(super) fn insert(&mut self, ts: UnixNanos, id: TradeId) {
        // Nearly always the newest.
        let later = self.times.iter().rev().take_while(|known| **known > ts).count();
        let at = self.times.len() - later;
        self.times.insert(at, ts);
        self.ids.insert(at, id);
    }

    /// Forgets the oldest.
    pub(super) fn pop_front(&mut self) {
        self.times.pop_front();
        self.ids.pop_front();
    }
}

impl FromIterator<(UnixNanos, TradeId)> for Recent {
    fn from_iter<T: IntoIterator<Item = (UnixNanos, TradeId)>>(trades: T) -> Self {
        let mut recent = Self::default();
        trades.into_iter().for_each(|(ts, id)| recent.insert(ts, id));
        recent
    }
}

/// What is saved.
#[derive(Serialize, Deserialize)]
struct Distances {
    times: Vec<i64>,
    ids: Vec<i128>,
}

impl Serialize for Recent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut last = (0_i64, 0_u128);
        let distance = |(ts, id): (UnixNanos, TradeId)| {
            let distance = (ts.0.wrapping_sub(last.0), id.0.wrapping_sub(last.1).cast_signed());
            last = (ts.0, id.0);
            distance
        };
        let (times, ids) = self.iter().map(distance).unzip();
        Distances { times, ids }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Recent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Saved)
    }
}

/// Reads what is saved, and the pairs that former versions saved. (Choosing without a visitor would lose numbers of 128 bits.)
struct Saved;

impl<'de> Visitor<'de> for Saved {
    type Value = Recent;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("times and ids, or pairs of them")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Recent, A::Error> {
        let Distances { times, ids } = Distances::deserialize(MapAccessDeserializer::new(map))?;
        let (mut ts, mut id) = (0_i64, 0_u128);
        let trade = |(time, number): (i64, i128)| {
            ts = ts.wrapping_add(time);
            id = id.wrapping_add(number.cast_unsigned());
            (UnixNanos(ts), TradeId(id))
        };
        Ok(times.into_iter().zip(ids).map(trade).collect())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, pairs: A) -> Result<Recent, A::Error> {
        let pairs = Vec::<(UnixNanos, TradeId)>::deserialize(SeqAccessDeserializer::new(pairs))?;
        Ok(pairs.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trades_stand_by_time_and_those_of_one_time_as_they_came() {
        let wide = TradeId(u128::MAX);
        let mut recent = Recent::default();
        for (ts, id) in [(5, TradeId(1)), (3, TradeId(2)), (5, TradeId(3)), (4, wide), (9, TradeId(u128::from(u64::MAX)))] {
            recent.insert(UnixNanos(ts), id);
        }
        let expected = [(3, TradeId(2)), (4, wide), (5, TradeId(1)), (5, TradeId(3)), (9, TradeId(u128::from(u64::MAX)))];
        let expected = expected.map(|(ts, id)| (UnixNanos(ts), id));
        assert_eq!(recent.iter().collect::<Vec<_>>(), expected);
        assert_eq!((recent.oldest(), recent.newest(), recent.len()), (Some(UnixNanos(3)), Some(UnixNanos(9)), 5));

        let saved = serde_json::to_string(&recent).unwrap();
        assert!(saved.starts_with(r#"{"times":[3,1,1,0,4],"ids":[2,-3,2,2,"#), "{saved}");
        let pairs = serde_json::to_string(&expected).unwrap();
        for saved in [saved, pairs] {
            let read: Recent = serde_json::from_str(&saved).unwrap();
            assert_eq!(read.iter().collect::<Vec<_>>(), expected, "{saved}");
        }
        let mut read = recent;
        read.pop_front();
        assert_eq!(read.iter().collect::<Vec<_>>(), expected[1..]);
    }
}
