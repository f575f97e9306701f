//! Frames of the socket: one pass over the bytes, numbers by their own digits, keys in any order. Allocates nothing for a message of
//! the usual shape once the levels have room.

use std::borrow::Cow;

use dccd_model::Channel;

use super::{taker, whole};
use crate::FrameError;
use crate::coinbase::messages::Message;
use crate::integrity::IdSpace;
use crate::session::{Levels, Quoted, Traded};
use crate::wire::{self, Cursor, positive, values_after};

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Match,
    Ticker,
    Heartbeat,
    Snapshot,
    Update,
    Error,
    Subscriptions,
    Other,
}

impl Kind {
    fn of(name: &[u8]) -> Self {
        match name {
            b"match" | b"last_match" => Self::Match,
            b"ticker" => Self::Ticker,
            b"heartbeat" => Self::Heartbeat,
            b"snapshot" => Self::Snapshot,
            b"l2update" => Self::Update,
            b"error" => Self::Error,
            b"subscriptions" => Self::Subscriptions,
            _ => Self::Other,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::Ticker => "ticker",
            Self::Heartbeat => "heartbeat",
            Self::Snapshot => "snapshot",
            Self::Update => "l2update",
            Self::Error => "error",
            Self::Subscriptions => "subscriptions",
            Self::Other => "other",
        }
    }

    const fn channel(self) -> Option<Channel> {
        match self {
            Self::Match => Some(Channel::Trades),
            Self::Ticker => Some(Channel::Quotes),
            Self::Snapshot | Self::Update => Some(Channel::Book),
            Self::Heartbeat | Self::Error | Self::Subscriptions | Self::Other => None,
        }
    }
}

/// Reads one frame. The levels of a book are left in `levels`.
pub(in crate::coinbase) fn message<'a>(frame: &'a [u8], levels: &mut Levels) -> Result<Message<'a>, FrameError> {
    levels.clear();
    let mut cursor = Cursor::new(frame);
    cursor.object()?;
    let (kind, first) = kind(&mut cursor)?;
    let message = match kind {
        Kind::Match => trade(&mut cursor, first)?,
        Kind::Ticker => quote(&mut cursor, first)?,
        Kind::Heartbeat => heartbeat(&mut cursor, first)?,
        Kind::Snapshot | Kind::Update => book(&mut cursor, first, kind, levels)?,
        Kind::Error => refusal(&mut cursor, first)?,
        Kind::Subscriptions => {
            let (mut channels, mut first) = (None, first);
            while let Some(key) = cursor.key(&mut first)? {
                if key == b"channels" {
                    channels = Some(cursor);
                }
                cursor.skip()?;
            }
            let channels = channels.ok_or(FrameError::Missing { event: kind.name(), field: "channels" })?;
            Message::Subscriptions { channels }
        }
        Kind::Other => {
            let mut first = first;
            while cursor.key(&mut first)?.is_some() {
                cursor.skip()?;
            }
            Message::Other
        }
    };
    cursor.end()?;
    Ok(message)
}

/// What a list of subscriptions names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::coinbase) enum Told {
    Channel(Channel),
    Heartbeat,
    Other,
}

/// `[{"name":"level2_50","product_ids":["BTC-USD"]},..]`: each product with what it is subscribed on. The name of a book's channel is not
/// always that under which it is asked for.
pub(in crate::coinbase) fn subscriptions(mut channels: Cursor<'_>, mut f: impl FnMut(Told, &str)) -> Result<(), FrameError> {
    let event = "subscriptions";
    channels.list()?;
    let mut first = true;
    while channels.item(&mut first)? {
        let (mut told, mut products, mut first) = (Told::Other, None, true);
        channels.object()?;
        while let Some(key) = channels.key(&mut first)? {
            match (key, channels.peek()) {
                (b"name", Some(b'"')) => {
                    told = match channels.text()? {
                        b"matches" => Told::Channel(Channel::Trades),
                        b"ticker" => Told::Channel(Channel::Quotes),
                        b"heartbeat" => Told::Heartbeat,
                        name if name.starts_with(b"level2") => Told::Channel(Channel::Book),
                        _ => Told::Other,
                    };
                }
                (b"product_ids", Some(b'[')) => {
                    products = Some(channels);
                    channels.skip()?;
                }
                _ => channels.skip()?,
            }
        }
        let Some(mut products) = products else { continue };
        products.list()?;
        let mut first = true;
        while products.item(&mut first)? {
            f(told, product(&mut products, event)?);
        }
    }
    Ok(())
}

/// What `type` says, and whether the first key is still to come: mostly `type` is that, and is left behind.
fn kind(cursor: &mut Cursor<'_>) -> Result<(Kind, bool), FrameError> {
    if cursor.takes_exactly(b"\"type\":\"") {
        return Ok((Kind::of(cursor.rest_of_text()?), false));
    }
    let (mut ahead, mut first) = (*cursor, true);
    while let Some(key) = ahead.key(&mut first)? {
        if key == b"type" && ahead.peek() == Some(b'"') {
            return Ok((Kind::of(ahead.text()?), true));
        }
        ahead.skip()?;
    }
    Ok((Kind::Other, true))
}

/// The name of a product.
fn product<'a>(cursor: &mut Cursor<'a>, event: &'static str) -> Result<&'a str, FrameError> {
    std::str::from_utf8(cursor.text()?).map_err(|_| FrameError::OutOfRange { event, field: "product_id" })
}

fn trade<'a>(cursor: &mut Cursor<'a>, mut first: bool) -> Result<Message<'a>, FrameError> {
    let event = Kind::Match.name();
    let (mut about, mut side, mut price, mut amount, mut id, mut time) = (None, None, None, None, None, None);
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"product_id" => about = Some(product(cursor, event)?),
            b"side" => side = Some(taker(cursor.text()?)),
            b"price" => price = Some(positive(cursor, event, "price")?),
            b"size" => amount = Some(positive(cursor, event, "size")?),
            b"trade_id" => id = Some(whole(cursor, event, "trade_id")?),
            b"time" => time = Some(cursor.time()?),
            _ => cursor.skip()?,
        }
    }
    let missing = |field| FrameError::Missing { event, field };
    let trade = Traded {
        space: IdSpace::Single,
        id: id.ok_or(missing("trade_id"))?,
        ts_venue: time.ok_or(missing("time"))?,
        price: price.ok_or(missing("price"))?,
        amount: amount.ok_or(missing("size"))?,
        side: side.ok_or(missing("side"))?,
    };
    Ok(Message::Trade { product: about.ok_or(missing("product_id"))?, trade })
}

fn quote<'a>(cursor: &mut Cursor<'a>, mut first: bool) -> Result<Message<'a>, FrameError> {
    let event = Kind::Ticker.name();
    let (mut about, mut number, mut time) = (None, None, None);
    let (mut bid, mut bid_amount, mut ask, mut ask_amount) = (None, None, None, None);
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"product_id" => about = Some(product(cursor, event)?),
            b"sequence" => number = Some(whole(cursor, event, "sequence")?),
            b"best_bid" => bid = Some(positive(cursor, event, "best_bid")?),
            b"best_bid_size" => bid_amount = Some(positive(cursor, event, "best_bid_size")?),
            b"best_ask" => ask = Some(positive(cursor, event, "best_ask")?),
            b"best_ask_size" => ask_amount = Some(positive(cursor, event, "best_ask_size")?),
            b"time" => time = Some(cursor.time()?),
            _ => cursor.skip()?,
        }
    }
    let missing = |field| FrameError::Missing { event, field };
    let quote = Quoted {
        number: number.ok_or(missing("sequence"))?,
        ts_venue: time.ok_or(missing("time"))?,
        bid: bid.ok_or(missing("best_bid"))?,
        bid_amount: bid_amount.ok_or(missing("best_bid_size"))?,
        ask: ask.ok_or(missing("best_ask"))?,
        ask_amount: ask_amount.ok_or(missing("best_ask_size"))?,
    };
    Ok(Message::Quote { product: about.ok_or(missing("product_id"))?, quote })
}

fn heartbeat<'a>(cursor: &mut Cursor<'a>, mut first: bool) -> Result<Message<'a>, FrameError> {
    let event = Kind::Heartbeat.name();
    let (mut about, mut last_trade_id, mut time) = (None, None, None);
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"product_id" => about = Some(product(cursor, event)?),
            b"last_trade_id" => last_trade_id = Some(whole(cursor, event, "last_trade_id")?),
            b"time" => time = Some(cursor.time()?),
            _ => cursor.skip()?,
        }
    }
    let missing = |field| FrameError::Missing { event, field };
    Ok(Message::Heartbeat {
        product: about.ok_or(missing("product_id"))?,
        last_trade_id: last_trade_id.ok_or(missing("last_trade_id"))?,
        time: time.ok_or(missing("time"))?,
    })
}

fn book<'a>(cursor: &mut Cursor<'a>, mut first: bool, kind: Kind, levels: &mut Levels) -> Result<Message<'a>, FrameError> {
    let event = kind.name();
    let is_snapshot = kind == Kind::Snapshot;
    let (mut about, mut time) = (None, None);
    let (mut bids, mut asks, mut changed) = (false, false, false);
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"product_id" => about = Some(product(cursor, event)?),
            b"time" => time = Some(cursor.time()?),
            b"bids" if is_snapshot => {
                wire::levels(cursor, event, &mut levels.bids)?;
                bids = true;
            }
            b"asks" if is_snapshot => {
                wire::levels(cursor, event, &mut levels.asks)?;
                asks = true;
            }
            b"changes" if !is_snapshot => {
                changes(cursor, event, levels)?;
                changed = true;
            }
            _ => cursor.skip()?,
        }
    }
    let missing = |field| FrameError::Missing { event, field };
    let product = about.ok_or(missing("product_id"))?;
    match (is_snapshot, bids, asks, changed) {
        (true, true, true, _) => Ok(Message::Snapshot { product, time }),
        (true, false, ..) => Err(missing("bids")),
        (true, ..) => Err(missing("asks")),
        (false, .., true) => Ok(Message::Update { product, time: time.ok_or(missing("time"))? }),
        (false, ..) => Err(missing("changes")),
    }
}

/// `[["buy","10101.80000000","0.162567"],..]`, appended to both sides.
fn changes(cursor: &mut Cursor<'_>, event: &'static str, levels: &mut Levels) -> Result<(), FrameError> {
    cursor.list()?;
    let mut first = true;
    while cursor.item(&mut first)? {
        cursor.list()?;
        let mut first = true;
        if !cursor.item(&mut first)? {
            return Err(FrameError::Missing { event, field: "side" });
        }
        let side = match cursor.text()? {
            b"buy" => &mut levels.bids,
            b"sell" => &mut levels.asks,
            _ => return Err(FrameError::OutOfRange { event, field: "side" }),
        };
        side.push(wire::level(cursor, event, &mut first)?);
    }
    Ok(())
}

fn refusal<'a>(cursor: &mut Cursor<'a>, mut first: bool) -> Result<Message<'a>, FrameError> {
    let (mut words, mut reason) = (Cow::Borrowed(""), Cow::Borrowed(""));
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"message" if cursor.peek() == Some(b'"') => words = cursor.words()?,
            b"reason" if cursor.peek() == Some(b'"') => reason = cursor.words()?,
            _ => cursor.skip()?,
        }
    }
    Ok(Message::Refusal { words, reason })
}

/// The feed that a frame is about, whatever is wrong with it: its type, and the one product that stands in it.
pub(in crate::coinbase) fn stream_of(frame: &[u8]) -> Option<(&str, Channel)> {
    let channel = Kind::of(values_after(frame, b"\"type\":\"").next()?).channel()?;
    let mut products = values_after(frame, b"\"product_id\":\"");
    let product = products.next()?;
    if products.any(|other| other != product) {
        return None;
    }
    Some((std::str::from_utf8(product).ok()?, channel))
}
