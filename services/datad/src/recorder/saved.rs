//! What a checkpoint holds beside the position: which feeds are recorded and where the others' series end, the live candles, and the
//! session.

use dccd_exchange::FeedIndex;

use super::feeds::{Feeds, Left};

/// See the module.
pub(super) struct SavedState<'a> {
    pub(super) recorded: Vec<bool>,
    pub(super) left: Vec<(FeedIndex, Left)>,
    /// `None` where none had been thought of.
    pub(super) candles: Option<&'a [u8]>,
    pub(super) session: &'a [u8],
}

/// In the number of feeds: live candles are there, too.
const HAS_CANDLES: u32 = 1 << 31;
/// In the number of feeds: after the live candles comes where series end of feeds that aren't recorded. Mostly there are none.
const HAS_LEFT: u32 = 1 << 30;

impl<'a> SavedState<'a> {
    /// Number of feeds with flags (u32, little endian), a byte for each; the number of bytes of the live candles and those; the same of
    /// the ends, where flagged; the session's own bytes. The latter may be many megabytes, so what comes before is moved in front of
    /// them.
    pub(super) fn encode(feeds: &Feeds, candles: Vec<u8>, session: Vec<u8>) -> Vec<u8> {
        let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let (recorded, left) = (feeds.recorded(), feeds.left());
        let flags = HAS_CANDLES | if left.is_empty() { 0 } else { HAS_LEFT };
        // Plain structs of numbers: nothing in them that JSON can't hold.
        let left = if left.is_empty() { Vec::new() } else { serde_json::to_vec(&left).unwrap_or_default() };
        let mut head = (number(recorded.len()) | flags).to_le_bytes().to_vec();
        head.extend(recorded.iter().map(|r| u8::from(*r)));
        head.extend(number(candles.len()).to_le_bytes());
        head.extend(candles);
        if !left.is_empty() {
            head.extend(number(left.len()).to_le_bytes());
            head.extend(left);
        }
        let mut bytes = session;
        bytes.splice(..0, head);
        bytes
    }

    /// `None` when these bytes were not made by [`Self::encode`].
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (count, rest) = bytes.split_first_chunk::<4>()?;
        let count = u32::from_le_bytes(*count);
        let feeds = usize::try_from(count & !(HAS_CANDLES | HAS_LEFT)).ok()?;
        let (recorded, mut session) = rest.split_at_checked(feeds)?;
        let (mut candles, mut left) = (None, Vec::new());
        if count & HAS_CANDLES != 0 {
            candles = Some(piece(&mut session)?);
        }
        if count & HAS_LEFT != 0 {
            left = serde_json::from_slice(piece(&mut session)?).ok()?;
        }
        Some(Self { recorded: recorded.iter().map(|r| *r != 0).collect(), left, candles, session })
    }
}

/// Takes bytes that their number stands before.
fn piece<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_first_chunk::<4>()?;
    let (bytes, behind) = behind.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    *rest = behind;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_it_was_written_and_as_earlier_versions_wrote_it() {
        let mut feeds = Feeds::new(true);
        let earlier = [2u32.to_le_bytes().as_slice(), &[1, 0], b"session"].concat();
        let saved = SavedState::decode(&earlier).unwrap();
        assert_eq!(
            (saved.recorded.as_slice(), saved.candles, saved.session),
            ([true, false].as_slice(), None, b"session".as_slice())
        );
        feeds.resume(&saved);
        let left: Left = serde_json::from_str(r#"{"ts":7,"id":9}"#).unwrap();
        for left in [vec![], vec![(1, left)]] {
            feeds.resume(&SavedState { left: left.clone(), ..SavedState::decode(&earlier).unwrap() });
            let bytes = SavedState::encode(&feeds, b"candles".to_vec(), b"session".to_vec());
            let saved = SavedState::decode(&bytes).unwrap();
            assert_eq!((saved.recorded, saved.left), (vec![true, false], left));
            assert_eq!((saved.candles, saved.session), (Some(b"candles".as_slice()), b"session".as_slice()));
            for length in 0..bytes.len() - b"session".len() {
                assert!(SavedState::decode(&bytes[..length]).is_none(), "cut at {length}");
            }
        }
    }
}
