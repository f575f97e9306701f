//! Scenes: entries as a live side writes them, and what must come of them.

use dccd_model::{BookState, Channel, Entry, EntryKind, Flags, UnixNanos};

use super::{BookProtocol, Event, Recorded, Told, shared};
use crate::{Adapter, Ladder, Markets, Session, TradeHole, Want};

/// An entry that owns its parts.
type Scene = Vec<(EntryKind, u32, String, Vec<u8>)>;

pub(super) fn check(adapter: &dyn Adapter, protocol: &Told<'_>, markets: &Markets) {
    trades_come_once_and_gaps_are_declared_and_repaired(adapter, protocol, markets);
    uncounted_trades_come_once_and_an_outage_is_a_gap(adapter, protocol, markets);
    quotes_come_once_and_an_outage_is_a_gap(adapter, protocol, markets);
    books_begin_with_a_snapshot_and_link(adapter, protocol, markets);
    books_survive_a_replaced_connection(adapter, protocol, markets);
    what_cant_be_read_is_noticed(adapter, protocol, markets);
    a_session_goes_on_where_it_was_saved(adapter, protocol, markets);
    what_is_listed_later_opens_like_what_was_there(adapter, protocol, markets);
}

fn frame(conn: u32, text: String) -> (EntryKind, u32, String, Vec<u8>) {
    (EntryKind::Frame, conn, String::new(), text.into_bytes())
}

fn plain(kind: EntryKind, conn: u32, subject: &str) -> (EntryKind, u32, String, Vec<u8>) {
    (kind, conn, subject.to_owned(), Vec::new())
}

/// A connection to the socket on which the symbol's messages of this channel come.
fn opened(adapter: &dyn Adapter, protocol: &Told<'_>, channel: Channel, conn: u32) -> (EntryKind, u32, String, Vec<u8>) {
    let socket = adapter.socket_of(&protocol.symbol, channel);
    plain(EntryKind::Opened, conn, adapter.sockets()[socket].name)
}

fn play(
    session: &mut dyn Session,
    scene: &[(EntryKind, u32, String, Vec<u8>)],
    begin: usize,
    protocol: &Told<'_>,
) -> Recorded {
    let mut out = Recorded::default();
    for (i, (kind, conn, subject, payload)) in scene.iter().enumerate() {
        let ts_recv = UnixNanos::from_millis(1_700_000_000_000 + i64::try_from(begin + i).unwrap_or(0));
        session.apply(&Entry { kind: *kind, conn: *conn, ts_recv, subject, payload }, &mut out);
        for text in protocol.first.iter().filter(|_| *kind == EntryKind::Opened) {
            let (kind, payload) = (EntryKind::Frame, text.as_bytes());
            session.apply(&Entry { kind, conn: *conn, ts_recv, subject: "", payload }, &mut out);
        }
    }
    out
}

fn run(adapter: &dyn Adapter, markets: &Markets, scene: &Scene, protocol: &Told<'_>) -> Recorded {
    play(adapter.session(shared(markets)).as_mut(), scene, 0, protocol)
}

const BEGIN: i64 = 1_700_000_000_000;

/// Of the scene of trades.
const HOLE: TradeHole = TradeHole { from_id: 13, to_id: 15, ts_before: UnixNanos((BEGIN + 12) * 1_000_000) };

fn trades_scene(protocol: &Told<'_>, adapter: &dyn Adapter, markets: &Markets) -> Scene {
    let trade = |id: u64| (protocol.trade)(id, BEGIN + i64::try_from(id).unwrap_or(0));
    let at = adapter.trades_begin(&HOLE);
    let page = adapter.trades_request(&protocol.symbol, at, 3, markets).subject;
    vec![
        plain(EntryKind::FeedOpened, 0, &format!("{} trades", protocol.symbol)),
        opened(adapter, protocol, Channel::Trades, 1),
        frame(1, trade(10)),
        frame(1, trade(11)),
        frame(1, trade(11)),
        frame(1, trade(10)),
        frame(1, trade(12)),
        frame(1, trade(16)),
        (EntryKind::Response, 0, page.clone(), (protocol.trades_page)(12, 14).into_bytes()),
        (EntryKind::Response, 0, page, (protocol.trades_page)(13, 17).into_bytes()),
        frame(1, trade(17)),
    ]
}

fn trades_come_once_and_gaps_are_declared_and_repaired(adapter: &dyn Adapter, protocol: &Told<'_>, markets: &Markets) {
    if !adapter.capabilities().trade_ids_contiguous {
        return;
    }
    let out = run(adapter, markets, &trades_scene(protocol, adapter, markets), protocol);
    let ids: Vec<u128> = out.trades().map(|t| t.id.0).collect();
    assert_eq!(ids, [10, 11, 12, 16, 13, 14, 15, 17], "each trade once, in the order of arrival");
    let gaps: Vec<_> = out.gaps().map(|g| (g.ids, g.repaired)).collect();
    assert_eq!(gaps, [(Some((13, 15)), false), (Some((13, 15)), true)], "one gap, declared and then repaired");
    assert!(out.trades().all(|t| t.flags.contains(Flags::GAP) == (t.id.0 == 16)), "the gap's flag stands on 16 alone");
    let (symbol, TradeHole { from_id, to_id, ts_before }) = (protocol.symbol.clone(), HOLE);
    let want = Want::Trades { feed: 0, symbol, from_id, to_id, ts_before };
    assert_eq!(out.wants().collect::<Vec<_>>(), [&want], "the missing trades are asked for, once");
    let next = adapter.trades_next(&HOLE, adapter.trades_begin(&HOLE), 3, (protocol.trades_page)(12, 17).as_bytes());
    assert!(matches!(next, Ok(None)), "the hole is filled, and more is asked for: {next:?}");
}

/// Where ids don't count only the connections tell; what is missing then is on a page that reaches over the outage, or isn't to be had.
fn uncounted_trades_come_once_and_an_outage_is_a_gap(adapter: &dyn Adapter, protocol: &Told<'_>, markets: &Markets) {
    if adapter.capabilities().trade_ids_contiguous {
        return;
    }
    let trade = |conn: u32, id: u64| frame(conn, (protocol.trade)(id, BEGIN + i64::try_from(id).unwrap_or(0)));
    let request = adapter.trades_request(&protocol.symbol, adapter.trades_begin(&HOLE), 3, markets);
    let page =
        |first, last| (EntryKind::Response, 0, request.subject.clone(), (protocol.trades_page)(first, last).into_bytes());
    let mut scene = vec![
        plain(EntryKind::FeedOpened, 0, &format!("{} trades", protocol.symbol)),
        opened(adapter, protocol, Channel::Trades, 1),
        trade(1, 10),
        trade(1, 11),
        trade(1, 11),
        trade(1, 12),
        opened(adapter, protocol, Channel::Trades, 2),
        trade(2, 12),
        plain(EntryKind::Closed, 1, "retired"),
        trade(2, 12),
        plain(EntryKind::Closed, 2, "gone"),
        opened(adapter, protocol, Channel::Trades, 3),
        trade(3, 16),
    ];
    let declared = run(adapter, markets, &scene, protocol);
    let numbers: Vec<i64> = declared.trades().map(|t| t.ts_venue.as_millis() - BEGIN).collect();
    assert_eq!(numbers, [10, 11, 12, 16], "each trade once");
    let gaps = |out: &Recorded| -> Vec<_> {
        out.gaps().map(|g| (g.from.as_millis() - BEGIN, g.to.as_millis() - BEGIN, g.ids, g.repaired)).collect()
    };
    assert_eq!(gaps(&declared), [(12, 16, None, false)], "the time without a connection is a gap, a replaced one is none");
    assert!(declared.trades().all(|t| t.flags.contains(Flags::GAP) == (t.ts_venue.as_millis() == BEGIN + 16)), "its flag");
    assert_eq!(declared.wants().count(), 1, "what is missing is asked for, once");
    scene.extend([page(9, 15), page(11, 17), trade(3, 17)]);
    let out = run(adapter, markets, &scene, protocol);
    let numbers: Vec<i64> = out.trades().map(|t| t.ts_venue.as_millis() - BEGIN).collect();
    // 17 came later than the gap's end: it is the live side's.
    assert_eq!(numbers, [10, 11, 12, 16, 13, 14, 15, 17], "what was missing comes once, and what is newer in its turn");
    assert_eq!(gaps(&out), [(12, 16, None, false), (12, 16, None, true)], "a page that reaches over the gap makes it good");
}

fn quotes_scene(protocol: &Told<'_>, adapter: &dyn Adapter) -> Scene {
    vec![
        plain(EntryKind::FeedOpened, 0, &format!("{} quotes", protocol.symbol)),
        opened(adapter, protocol, Channel::Quotes, 1),
        frame(1, (protocol.quote)(10)),
        frame(1, (protocol.quote)(20)),
        frame(1, (protocol.quote)(20)),
        plain(EntryKind::Closed, 1, "gone"),
        opened(adapter, protocol, Channel::Quotes, 2),
        frame(2, (protocol.quote)(30)),
        frame(2, (protocol.quote)(31)),
    ]
}

fn quotes_come_once_and_an_outage_is_a_gap(adapter: &dyn Adapter, protocol: &Told<'_>, markets: &Markets) {
    let out = run(adapter, markets, &quotes_scene(protocol, adapter), protocol);
    assert_eq!(out.quotes().count(), 4, "each quote once");
    assert_eq!(out.gaps().count(), 1, "the outage is one gap");
    let flagged: Vec<bool> = out.quotes().map(|q| q.flags.contains(Flags::GAP)).collect();
    assert_eq!(flagged, [false, false, true, false], "the gap's flag stands on the first quote after it");
}

/// A book that begins, goes on, loses an event, and begins anew.
fn book_scene(protocol: &Told<'_>, adapter: &dyn Adapter, markets: &Markets) -> Scene {
    let mut scene = vec![
        plain(EntryKind::FeedOpened, 0, &format!("{} book", protocol.symbol)),
        opened(adapter, protocol, Channel::Book, 1),
    ];
    let ms = |n: u64| BEGIN + i64::try_from(n).unwrap_or(0);
    match &protocol.book {
        BookProtocol::Numbered { event, snapshot } => {
            let event = |first: u64, last: u64| frame(1, event(first, last, ms(last)));
            let subject = adapter.snapshot_request(&protocol.symbol, markets).expect("snapshots come over REST").subject;
            let snapshot = |last| (EntryKind::Response, 0, subject.clone(), snapshot(last).into_bytes());
            scene.extend([
                event(101, 110),
                snapshot(90),
                event(111, 120),
                snapshot(115),
                event(121, 130),
                event(121, 130),
                event(141, 150),
                event(151, 160),
                snapshot(155),
                event(161, 170),
            ]);
        }
        BookProtocol::OnConnection { snapshot, update } => {
            let snapshot = |n: u64| frame(1, snapshot(n, ms(n)));
            let update = |n: u64| frame(1, update(n, ms(n)));
            scene.extend([update(1), snapshot(1), update(2), update(3), update(5), update(6), snapshot(7), update(8)]);
        }
        BookProtocol::Unnumbered { snapshot, update, impossible } => {
            let snapshot = |n: u64| frame(1, snapshot(n, ms(n)));
            let update = |n: u64| frame(1, update(n, ms(n)));
            let impossible = frame(1, impossible(ms(5)));
            // What a change before the snapshot means is the exchange's own: its order is all that there is.
            scene.extend([snapshot(1), update(2), update(3), impossible, update(6), snapshot(7), update(8)]);
        }
    }
    scene
}

fn books_begin_with_a_snapshot_and_link(adapter: &dyn Adapter, protocol: &Told<'_>, markets: &Markets) {
    let out = run(adapter, markets, &book_scene(protocol, adapter, markets), protocol);
    let mut ladder = Ladder::new();
    let mut inside = false;
    let mut epochs = Vec::new();
    for level in out.levels() {
        assert_eq!(level.flags.contains(Flags::FIRST), !inside, "an event's levels stand between first and last: {level:?}");
        inside = !level.flags.contains(Flags::LAST);
        if epochs.last() != Some(&level.epoch) {
            assert!(level.flags.contains(Flags::FIRST | Flags::SNAPSHOT), "an epoch begins with a snapshot: {level:?}");
            epochs.push(level.epoch);
        }
        ladder.apply(level);
        if !inside {
            assert!(!ladder.is_crossed(), "the book is crossed after {level:?}");
        }
    }
    assert!(!inside, "the last event has no end");
    assert_eq!(epochs, [1, 2], "two epochs: the first snapshot, and the one after the hole");
    assert_eq!(out.gaps().count(), 1, "the hole is one gap");
    let wants: Vec<&Want> = out.wants().collect();
    match &protocol.book {
        BookProtocol::Numbered { .. } => {
            let all = wants.iter().all(|want| matches!(want, Want::BookSnapshot { .. }));
            assert!(all && wants.len() == 3, "wanted at the beginning, when one was too old, and after the hole: {wants:?}");
        }
        BookProtocol::OnConnection { .. } | BookProtocol::Unnumbered { .. } => {
            let want = Want::Resubscribe { feed: 0, symbol: protocol.symbol.clone(), conn: 1 };
            assert_eq!(wants, [&want], "the feed is subscribed anew once, after the hole");
        }
    }
    let states: Vec<BookState> =
        out.events.iter().filter_map(|e| if let Event::State(_, s, _) = e { Some(*s) } else { None }).collect();
    assert_eq!(states, [BookState::Valid, BookState::Suspect, BookState::Valid]);
}

/// While a connection is being replaced both deliver. The book goes over to the second one without an epoch, a gap, or an event that
/// comes twice; a connection that ends with nothing in its place is a gap.
fn books_survive_a_replaced_connection(adapter: &dyn Adapter, protocol: &Told<'_>, markets: &Markets) {
    let (snapshot, update) = match &protocol.book {
        BookProtocol::Numbered { .. } => return,
        BookProtocol::OnConnection { snapshot, update } | BookProtocol::Unnumbered { snapshot, update, .. } => {
            (snapshot, update)
        }
    };
    let ms = |n: u64| BEGIN + i64::try_from(n).unwrap_or(0);
    let snapshot = |conn: u32, n: u64| frame(conn, snapshot(n, ms(n)));
    let update = |conn: u32, n: u64| frame(conn, update(n, ms(n)));
    let begin = [
        plain(EntryKind::FeedOpened, 0, &format!("{} book", protocol.symbol)),
        opened(adapter, protocol, Channel::Book, 1),
        snapshot(1, 1),
        update(1, 2),
        opened(adapter, protocol, Channel::Book, 2),
    ];
    let replaced = [
        update(1, 3),
        snapshot(2, 2),
        update(2, 3),
        update(2, 4),
        update(1, 4),
        plain(EntryKind::Closed, 1, "retired"),
        update(2, 5),
    ];
    let out = run(adapter, markets, &[begin.to_vec(), replaced.to_vec()].concat(), protocol);
    let events = |out: &Recorded| out.levels().filter(|level| level.flags.contains(Flags::FIRST)).count();
    assert_eq!((out.gaps().count(), events(&out)), (0, 5), "a snapshot and four updates: {:?}", out.events);
    assert!(out.levels().all(|level| level.epoch == 1), "a new epoch although nothing was missing");
    let mut lost = vec![plain(EntryKind::Closed, 1, "gone"), update(2, 4), snapshot(2, 4), update(2, 5)];
    if matches!(protocol.book, BookProtocol::Unnumbered { .. }) {
        // As above.
        lost.remove(1);
    }
    let out = run(adapter, markets, &[begin.to_vec(), lost].concat(), protocol);
    assert_eq!((out.gaps().count(), events(&out)), (1, 4), "two events, a gap, two events: {:?}", out.events);
}

fn what_cant_be_read_is_noticed(adapter: &dyn Adapter, protocol: &Told<'_>, markets: &Markets) {
    let whole = (protocol.trade)(1, BEGIN);
    let mut scene = vec![plain(EntryKind::FeedOpened, 0, &format!("{} trades", protocol.symbol))];
    let cuts: Vec<usize> = (0..whole.len()).filter(|at| whole.is_char_boundary(*at)).collect();
    scene.extend(cuts.iter().map(|at| frame(1, whole[..*at].to_owned())));
    scene.push(frame(1, "\u{0}\u{1}{[\"".repeat(1_000)));
    scene.push((EntryKind::Frame, 1, String::new(), vec![0xff; 100]));
    let out = run(adapter, markets, &scene, protocol);
    assert_eq!(out.notices().count(), scene.len() - 1, "each frame that can't be read is noticed once");
    assert_eq!(out.trades().count(), 0, "a trade out of half a frame");
}

fn a_session_goes_on_where_it_was_saved(adapter: &dyn Adapter, protocol: &Told<'_>, markets: &Markets) {
    let mut scene = quotes_scene(protocol, adapter);
    scene.extend(book_scene(protocol, adapter, markets));
    scene.extend(trades_scene(protocol, adapter, markets));
    let mut whole = adapter.session(shared(markets));
    let expected = play(whole.as_mut(), &scene, 0, protocol);
    for split in 0..=scene.len() {
        let mut first = adapter.session(shared(markets));
        let mut out = play(first.as_mut(), &scene[..split], 0, protocol);
        let saved = first.save();
        let mut second = match adapter.restore(shared(markets), &saved) {
            Ok(session) => session,
            Err(error) => panic!("what was saved after {split} entries can't be restored: {error}"),
        };
        assert_eq!(second.save(), saved, "restoring and saving again changes the state");
        assert_eq!(second.feeds(), first.feeds());
        out.events.extend(play(second.as_mut(), &scene[split..], split, protocol).events);
        assert_eq!(out, expected, "saved after {split} entries and restored, the session goes on differently");
        assert_eq!(second.save(), whole.save());
    }
    assert!(adapter.restore(shared(markets), b"").is_err(), "nothing is taken for a saved session");
    assert!(adapter.restore(shared(markets), b"{\"version\":0}").is_err(), "another version is taken for ours");
}

fn what_is_listed_later_opens_like_what_was_there(adapter: &dyn Adapter, protocol: &Told<'_>, markets: &Markets) {
    let mut scene = quotes_scene(protocol, adapter);
    scene.extend(book_scene(protocol, adapter, markets));
    scene.extend(trades_scene(protocol, adapter, markets));
    let before: Markets = markets.iter().filter(|market| market.symbol != protocol.symbol).cloned().collect();
    let mut session = adapter.session(shared(&before));
    match before.grown(markets) {
        Some(grown) => session.markets_grew(shared(&grown)),
        None => panic!("{} is no market of its own", protocol.symbol),
    }
    let expected = run(adapter, markets, &scene, protocol);
    assert_eq!(play(session.as_mut(), &scene, 0, protocol), expected, "a market that was listed later is another one");
}
