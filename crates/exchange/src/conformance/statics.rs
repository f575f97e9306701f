//! The static side of an adapter: what it says it can do and what it sends agree, and its limits hold.

use std::collections::HashSet;

use dccd_model::{Channel, Entry, EntryKind, Symbol, UnixNanos};

use super::{Recorded, history, shared};
use crate::{Adapter, Markets, TradeHole};

pub(super) fn check(adapter: &dyn Adapter, symbol: &Symbol, markets: &Markets) {
    names_and_addresses(adapter);
    capabilities_and_subscriptions_agree(adapter, symbol, markets);
    batches_keep_the_limits(adapter, symbol, markets);
    requests_are_named(adapter, symbol, markets);
    pings_are_paced(adapter);
    what_is_not_offered_does_not_open(adapter, symbol, markets);
    history::check(adapter, markets);
}

fn names_and_addresses(adapter: &dyn Adapter) {
    let name = adapter.name();
    assert!(name.parse::<dccd_model::ExchangeName>().is_ok(), "\"{name}\" is no exchange name");
    assert_eq!(adapter.capabilities().exchange, name, "capabilities are under another name");
    let products = adapter.rest_products();
    assert_eq!(products.first(), Some(&adapter.markets_request().product), "the address of the list of markets");
    let mut addresses = vec![(adapter.rest_url(), ["https://", "http://"]), (adapter.ws_url(), ["wss://", "ws://"])];
    addresses.extend(products.iter().map(|product| (adapter.rest_url_of(*product), ["https://", "http://"])));
    addresses.extend(adapter.sockets().iter().map(|socket| (adapter.ws_url_of(socket.product), ["wss://", "ws://"])));
    assert_eq!(addresses[0], addresses[2], "the first product's address");
    for (address, schemes) in addresses {
        assert!(schemes.iter().any(|s| address.starts_with(s)), "{address} has no fitting scheme");
        assert!(!address.ends_with('/'), "{address} ends with a slash");
    }
    let sockets = adapter.sockets();
    for base in ["ws://127.0.0.1:9", "ws://127.0.0.1:9/", "wss://proxy.example/prefix"] {
        let urls: Vec<String> = (0..sockets.len()).map(|socket| adapter.socket_url(socket, base)).collect();
        assert_eq!(urls.first(), Some(&adapter.connect_url(base)), "the first socket's address");
        for url in &urls {
            assert!(url.starts_with(base.trim_end_matches('/')), "{url} is not below {base}");
        }
        assert_eq!(urls.iter().collect::<HashSet<_>>().len(), sockets.len(), "sockets with one address: {urls:?}");
    }
    let names: HashSet<&str> = sockets.iter().map(|socket| socket.name).collect();
    let unnamed = sockets.iter().skip(1).any(|socket| socket.name.is_empty());
    assert!(names.len() == sockets.len() && !unnamed, "sockets without names: {sockets:?}");
}

fn capabilities_and_subscriptions_agree(adapter: &dyn Adapter, symbol: &Symbol, markets: &Markets) {
    let capabilities = adapter.capabilities();
    for channel in Channel::ALL {
        let feeds = [(symbol.clone(), channel)];
        let offered = capabilities.channels.contains(&channel);
        let checked = capabilities.check(channel);
        assert_eq!(checked.is_ok(), offered || capabilities.builds(channel), "{channel}: check and channels disagree");
        if let Err(refusal) = checked {
            let text = refusal.to_string();
            assert!(text.contains(channel.as_str()) && text.contains(adapter.name()), "refusal without names: {text}");
        }
        assert_eq!(!adapter.subscribe(&feeds, markets, 1).is_empty(), offered, "{channel}: subscribe disagrees");
        let ends = offered && !adapter.numbers_subscriptions();
        assert_eq!(!adapter.unsubscribe(&feeds, markets, 1).is_empty(), ends, "{channel}: unsubscribe disagrees");
    }
}

fn batches_keep_the_limits(adapter: &dyn Adapter, symbol: &Symbol, markets: &Markets) {
    for limits in adapter.rest_products().iter().map(|product| adapter.limits_of(*product)) {
        assert!(limits.streams_per_connection >= limits.streams_per_message && limits.trades_per_request >= 1);
    }
    let Some(channel) = adapter.capabilities().channels.first().copied() else { return };
    let limits = adapter.limits_of(adapter.sockets()[adapter.socket_of(symbol, channel)].product);
    assert!(limits.streams_per_message >= 1 && limits.messages_per_second >= 1);
    let settle = symbol.settle().map_or_else(String::new, |settle| format!(":{settle}"));
    let count = limits.streams_per_message * 2 + 1;
    let feeds: Vec<(Symbol, Channel)> = (0..count)
        .map(|i| (format!("C{i}/{}{settle}", symbol.quote()).parse().expect("a symbol of letters and digits"), channel))
        .collect();
    let (on, off) = (adapter.subscribe(&feeds, markets, 7), adapter.unsubscribe(&feeds, markets, 7));
    let ends = if adapter.numbers_subscriptions() { 0 } else { 3 };
    assert_eq!((on.len(), off.len()), (3, ends), "{count} feeds are not in three messages");
    let different: HashSet<&str> = on.iter().chain(&off).map(|message| message.text.as_str()).collect();
    assert_eq!(different.len(), on.len() + off.len(), "messages repeat");
    for (message, id) in on.iter().zip(7..) {
        let has_id = message.text.contains(&format!("{id}")) || !adapter.replies_have_ids();
        assert!(message.id == id && has_id, "message without its id {id}: {message:?}");
        assert!(message.feeds.len() <= limits.streams_per_message, "too many feeds in one message: {message:?}");
    }
    every_feed_is_in_one_message(adapter, symbol, markets);
    assert!(adapter.subscribe(&[], markets, 1).is_empty(), "nothing to subscribe to, and a message all the same");
}

/// Of feeds of all channels, in any order, each that is offered is subscribed by one message, and the message says by which.
fn every_feed_is_in_one_message(adapter: &dyn Adapter, symbol: &Symbol, markets: &Markets) {
    let offered = adapter.capabilities().channels;
    let feeds: Vec<(Symbol, Channel)> = (0..7)
        .flat_map(|i| Channel::ALL.map(|c| (format!("C{i}/{}", symbol.quote()).parse().expect("letters and digits"), c)))
        .collect();
    let ends = (!adapter.numbers_subscriptions()).then(|| adapter.unsubscribe(&feeds, markets, 1));
    for messages in std::iter::once(adapter.subscribe(&feeds, markets, 1)).chain(ends) {
        let mut covered: Vec<usize> = messages.iter().flat_map(|message| message.feeds.iter().copied()).collect();
        covered.sort_unstable();
        let expected: Vec<usize> = (0..feeds.len()).filter(|at| offered.contains(&feeds[*at].1)).collect();
        assert_eq!(covered, expected, "feeds that messages are about");
        let ids: Vec<u64> = messages.iter().map(|message| message.id).collect();
        assert!(ids.iter().copied().eq((1..).take(messages.len())), "ids of messages don't follow: {ids:?}");
    }
}

fn pings_are_paced(adapter: &dyn Adapter) {
    let limits = adapter.limits();
    assert_eq!(
        adapter.ping(1).is_some(),
        limits.client_ping_interval.is_some(),
        "pings without a pace, or the other way round"
    );
    assert!(limits.client_ping_interval.is_none_or(|every| every.as_millis() >= 1_000), "pings without a pause");
    let own = [adapter.greeting(4_711), adapter.pong(4_711), adapter.ping(4_711)];
    let texts: HashSet<&String> = own.iter().flatten().collect();
    assert!(
        texts.len() == own.iter().flatten().count() && !texts.contains(&String::new()),
        "messages that are the same: {own:?}"
    );
    assert!(limits.resubscribes_per_window >= 1 && !limits.resubscribe_window.is_zero(), "a broken book would stay so");
}

fn requests_are_named(adapter: &dyn Adapter, symbol: &Symbol, markets: &Markets) {
    let product = adapter.rest_of(symbol);
    let most = adapter.limits_of(product).trades_per_request;
    let hole =
        |id: u64| TradeHole { from_id: id, to_id: id, ts_before: UnixNanos::from_secs(i64::try_from(id).unwrap_or(0)) };
    let trades = |id, limit| adapter.trades_request(symbol, adapter.trades_begin(&hole(id)), limit, markets);
    let mut requests = vec![adapter.markets_request(), trades(1, 10), trades(2, u32::MAX)];
    requests.extend(adapter.snapshot_request(symbol, markets));
    for request in &requests {
        assert!(request.path_and_query.starts_with('/'), "{request:?}");
        assert!(adapter.rest_products().contains(&request.product), "{request:?}");
        let largest = adapter.limits_of(request.product).rest.largest_request();
        assert!(request.weight >= 1 && request.weight <= largest, "{request:?}");
        assert!(!request.subject.is_empty() && request.subject.len() <= usize::from(u16::MAX), "{request:?}");
    }
    assert!(
        requests.iter().skip(1).all(|request| request.product == product),
        "for another product than {product:?}: {requests:?}"
    );
    let subjects: HashSet<&str> = requests.iter().map(|r| r.subject.as_str()).collect();
    assert_eq!(subjects.len(), requests.len(), "different requests under one subject: {subjects:?}");
    // Where ids don't count the newest trades are asked for, as many as there are.
    let asks_for_a_page =
        !adapter.capabilities().trade_ids_contiguous || requests[2].path_and_query.contains(&most.to_string());
    assert!(asks_for_a_page, "more than a page asked for: {:?}", requests[2]);
}

/// Opened all the same, such a feed is named and leaves no trace but in the counters; and the session goes on from there.
fn what_is_not_offered_does_not_open(adapter: &dyn Adapter, symbol: &Symbol, markets: &Markets) {
    let capabilities = adapter.capabilities();
    let mut session = adapter.session(shared(markets));
    let mut faults = 0;
    for channel in Channel::ALL.into_iter().filter(|channel| capabilities.check(*channel).is_err()) {
        let subject = format!("{symbol} {channel}");
        let entry = |kind, payload| Entry { kind, conn: 1, ts_recv: UnixNanos(1), subject: &subject, payload };
        let mut out = Recorded::default();
        session.apply(&entry(EntryKind::FeedOpened, b""), &mut out);
        faults += 1;
        assert_eq!((out.events.len(), out.notices().count()), (1, 1), "{channel}: more than a notice: {:?}", out.events);
        assert!(session.feeds().is_empty(), "{channel}: a feed that isn't offered is open");
        assert_eq!(session.counters().entry_faults, faults, "{channel}: not counted");
        session.apply(&entry(EntryKind::Frame, b"\xff"), &mut out);
        let saved = session.save();
        let restored = adapter.restore(shared(markets), &saved).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((restored.counters(), restored.save()), (session.counters(), saved), "{channel}: not the same session");
    }
}
