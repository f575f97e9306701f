//! A link against local servers: it stays connected, loses nothing, and says what happened.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Client, DEADLINE, accept, listen, numbers, options, texts, within};
use dccd_net::{CloseCause, ConnectBudget, FrameBatch, Link, LinkEvent, LinkOptions, SendError};
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};

#[tokio::test]
async fn a_link_goes_on_on_a_new_connection_when_the_server_hangs_up() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        for round in 0..3 {
            let mut socket = accept(&listener).await;
            socket.send(Message::text(format!("hello {round}"))).await.unwrap();
        }
        std::future::pending::<()>().await;
    });
    let mut client = Client::new(options(&address));
    for round in 0..3_u32 {
        assert_eq!(client.opened().await, (round + 1, None));
        assert_eq!(client.texts().await, (round + 1, vec![format!("hello {round}")]));
        let (conn, reason, retry_in) = client.closed().await;
        assert_eq!(conn, round + 1);
        assert!(retry_in.unwrap() <= Duration::from_millis(50), "{retry_in:?}");
        assert!(matches!(reason.cause, CloseCause::Ended | CloseCause::Broken { .. }), "{reason:?}");
    }
}

#[tokio::test]
async fn text_binary_and_fragmented_messages_come_in_order_with_their_times() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let mut socket = accept(&listener).await;
        socket.send(Message::text("text")).await.unwrap();
        socket.send(Message::binary(vec![0xff, 0xfe])).await.unwrap();
        socket.send(Message::Frame(Frame::message("frag", OpCode::Data(Data::Text), false))).await.unwrap();
        socket.send(Message::Frame(Frame::message("mented", OpCode::Data(Data::Continue), true))).await.unwrap();
        socket.next().await;
    });
    let mut client = Client::new(options(&address));
    let before = now_ns();
    client.opened().await;
    let mut frames = Vec::new();
    while frames.len() < 3 {
        assert!(matches!(client.event().await, LinkEvent::Frames { conn: 1 }));
        frames.extend(client.batch.iter().cloned());
    }
    let bytes: Vec<&[u8]> = frames.iter().map(|frame| &frame.bytes[..]).collect();
    assert_eq!(bytes, [&b"text"[..], &[0xff, 0xfe], b"fragmented"]);
    assert!(frames.iter().all(|frame| frame.ts_recv >= before && frame.ts_recv <= now_ns()));
    assert!(frames.is_sorted_by_key(|frame| frame.ts_recv));
}

fn now_ns() -> i64 {
    i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

/// Sends the running number to every open connection, like an exchange that publishes one stream to all subscribers.
async fn publish(listener: TcpListener, opened: mpsc::Sender<usize>) {
    let mut sockets: Vec<WebSocketStream<TcpStream>> = Vec::new();
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    for number in 0_usize.. {
        tokio::select! {
            biased;
            connected = listener.accept() => {
                sockets.push(tokio_tungstenite::accept_async(connected.unwrap().0).await.unwrap());
                opened.send(number).await.unwrap();
            }
            _ = tick.tick() => {}
        }
        let mut open = Vec::new();
        for mut socket in sockets {
            if socket.send(Message::text(number.to_string())).await.is_ok() {
                open.push(socket);
            }
        }
        sockets = open;
    }
}

#[tokio::test]
async fn a_planned_replacement_overlaps_and_loses_nothing() {
    let (listener, address) = listen().await;
    let (opened, mut servers) = mpsc::channel(64);
    tokio::spawn(publish(listener, opened));
    let mut client =
        Client::new(LinkOptions { lifetime: Some(Duration::from_millis(150)), retire_grace: DEADLINE, ..options(&address) });

    assert_eq!(client.opened().await, (1, None));
    let first = within("the server's side", servers.recv()).await.unwrap();
    let (mut seen, mut last_of, mut replaced) = (std::collections::BTreeSet::new(), [0_usize; 8], 0);
    let mut newest = 1;
    let begun = Instant::now();
    while replaced < 3 {
        assert!(begun.elapsed() < DEADLINE, "replaced {replaced} of 3 connections");
        match client.event().await {
            LinkEvent::Opened { conn, replaces } => {
                assert_eq!((conn, replaces), (newest + 1, Some(newest)));
                newest = conn;
            }
            LinkEvent::Frames { conn } => {
                for text in texts(&client.batch) {
                    let number = text.parse().unwrap();
                    seen.insert(number);
                    last_of[conn as usize] = number;
                }
                // What a subscriber does: the new one flows, so the old one may go.
                if conn == newest && conn > 1 {
                    client.link.retire(conn - 1);
                }
            }
            LinkEvent::Closed { conn, reason, retry_in } => {
                assert!(conn < newest && retry_in.is_none(), "{conn} of {newest}: {reason}");
                assert!(matches!(reason.cause, CloseCause::Retired), "{reason}");
                assert!(last_of[conn as usize] >= first);
                replaced += 1;
            }
        }
    }
    let (low, high) = (*seen.first().unwrap(), *seen.last().unwrap());
    assert!(low <= first + 1 && high > first + 100, "{low}..{high}");
    assert_eq!(seen.len(), high - low + 1, "numbers are missing");
}

#[tokio::test]
async fn a_replaced_connection_that_nobody_retires_goes_after_its_grace() {
    let (listener, address) = listen().await;
    let (opened, _servers) = mpsc::channel(64);
    tokio::spawn(publish(listener, opened));
    let mut client = Client::new(LinkOptions { retire_grace: Duration::from_millis(50), ..options(&address) });
    assert_eq!(client.opened().await, (1, None));
    client.link.replace(1);
    client.link.replace(1);
    let mut events = Vec::new();
    let two = async {
        while events.len() < 2 {
            match client.event().await {
                LinkEvent::Frames { .. } => {}
                LinkEvent::Opened { conn, replaces } => events.push(format!("opened {conn} for {replaces:?}")),
                LinkEvent::Closed { conn, reason, retry_in } => {
                    events.push(format!("closed {conn} {retry_in:?} {:?}", reason.cause));
                }
            }
        }
    };
    // Frames come all the time; only what else comes counts.
    within("the end of the replaced connection", two).await;
    assert_eq!(events, ["opened 2 for Some(1)", "closed 1 None Retired"]);
}

#[tokio::test]
async fn the_old_connection_takes_over_again_when_its_successor_dies_first() {
    let (listener, address) = listen().await;
    let (kill, killed) = oneshot::channel::<()>();
    let (speak, spoken) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let mut first = accept(&listener).await;
        let second = accept(&listener).await;
        killed.await.unwrap();
        drop(second);
        let mut third = accept(&listener).await;
        spoken.await.unwrap();
        first.send(Message::text("still here")).await.unwrap();
        third.next().await;
    });
    let mut client = Client::new(LinkOptions { retire_grace: DEADLINE * 2, ..options(&address) });
    assert_eq!(client.opened().await, (1, None));
    client.link.replace(1);
    assert_eq!(client.opened().await, (2, Some(1)));
    kill.send(()).unwrap();
    let (conn, _, retry_in) = client.closed().await;
    assert!(conn == 2 && retry_in.is_some());
    assert_eq!(client.opened().await, (3, Some(1)));
    speak.send(()).unwrap();
    assert_eq!(client.texts().await, (1, vec!["still here".to_owned()]));
}

#[tokio::test]
async fn a_connection_that_took_over_again_outlives_its_grace_and_is_missed_when_it_dies() {
    let (listener, address) = listen().await;
    let (speak, spoken) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let mut first = accept(&listener).await;
        drop(accept(&listener).await);
        let refuse = async {
            loop {
                drop(listener.accept().await.unwrap());
            }
        };
        tokio::select! {
            () = refuse => {}
            spoken = spoken => spoken.unwrap(),
        }
        first.send(Message::text("still here")).await.unwrap();
        drop((first, listener));
    });
    let grace = Duration::from_millis(60);
    let mut client = Client::new(LinkOptions { retire_grace: grace, ..options(&address) });
    assert_eq!(client.opened().await, (1, None));
    client.link.replace(1);
    assert_eq!(client.opened().await, (2, Some(1)));
    assert_eq!(client.closed().await.0, 2);
    // Successors fail for longer than the grace.
    let begun = Instant::now();
    while begun.elapsed() < grace * 3 {
        assert!(client.closed().await.0 > 2);
    }
    speak.send(()).unwrap();
    let mut texts = Vec::new();
    loop {
        match client.event().await {
            LinkEvent::Frames { conn: 1 } => texts.extend(common::texts(&client.batch)),
            LinkEvent::Closed { conn: 1, reason, retry_in } => {
                assert!(retry_in.is_some(), "{reason}");
                break;
            }
            LinkEvent::Closed { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(texts, ["still here"]);
}

#[tokio::test]
async fn pings_are_answered_while_the_application_is_not_looking() {
    let (listener, address) = listen().await;
    let mut client = Client::new(options(&address));
    let mut socket = accept(&listener).await;
    // The application doesn't call `next` here: it is busy with something else.
    for payload in [&b"a"[..], b"b", b"c"] {
        socket.send(Message::text("data")).await.unwrap();
        socket.send(Message::Ping(payload.into())).await.unwrap();
        let pong = within("a pong", socket.next()).await.unwrap().unwrap();
        assert_eq!(pong, Message::Pong(payload.into()));
    }
    client.opened().await;
    client.exactly(3).await;
}

#[tokio::test]
async fn a_peer_that_vanished_without_a_word_is_given_up_after_the_read_timeout() {
    let (listener, address) = listen().await;
    let mut client = Client::new(LinkOptions {
        read_timeout: Duration::from_millis(200),
        ping_interval: Duration::from_millis(60),
        ..options(&address)
    });
    // The socket stays open and is never read or written again: a host that lost its network.
    let _dead = accept(&listener).await;
    client.opened().await;
    let begun = Instant::now();
    let (_, reason, retry_in) = client.closed().await;
    assert!(begun.elapsed() >= Duration::from_millis(150), "{:?}", begun.elapsed());
    assert!(retry_in.is_some());
    let text = reason.to_string();
    assert!(
        text.contains(&address) && text.contains("nothing heard for 200ms") && text.contains("connecting again in"),
        "{text}"
    );
}

#[tokio::test]
async fn a_quiet_peer_that_answers_pings_stays_connected() {
    let (listener, address) = listen().await;
    let mut client = Client::new(LinkOptions {
        read_timeout: Duration::from_secs(2),
        ping_interval: Duration::from_millis(200),
        messages_per_second: 100,
        ..options(&address)
    });
    let mut socket = accept(&listener).await;
    client.opened().await;
    let begun = Instant::now();
    let mut pings = 0;
    // For longer than the time after which a peer that says nothing is left.
    while begun.elapsed() < Duration::from_secs(3) {
        // Reading is what makes the library answer.
        match within("a ping", socket.next()).await.unwrap().unwrap() {
            Message::Ping(_) => pings += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!((2..=16).contains(&pings), "{pings} pings in 3 s");
    socket.send(Message::text("alive")).await.unwrap();
    assert_eq!(client.texts().await, (1, vec!["alive".to_owned()]));
}

#[tokio::test]
async fn messages_go_out_in_order_and_never_faster_than_the_server_allows() {
    let (listener, address) = listen().await;
    let mut client = Client::new(LinkOptions { messages_per_second: 5, ..options(&address) });
    let mut socket = accept(&listener).await;
    let (conn, _) = client.opened().await;
    for n in 0..9 {
        client.link.send(conn, n.to_string()).unwrap();
    }
    let mut arrived = Vec::new();
    for n in 0..9 {
        assert_eq!(within("a message", socket.next()).await.unwrap().unwrap(), Message::text(n.to_string()));
        arrived.push(Instant::now());
        if n == 1 {
            // A ping takes its share, and its answer waits for nobody.
            socket.send(Message::Ping("now".into())).await.unwrap();
        }
        if n == 3 {
            assert!(matches!(within("a pong", socket.next()).await.unwrap().unwrap(), Message::Pong(_)));
            arrived.push(Instant::now());
        }
    }
    assert!(arrived[3] - arrived[0] < Duration::from_millis(900), "the first ones go at once");
    for window in arrived.windows(6) {
        // They arrive a little after they went.
        assert!(window[5] - window[0] > Duration::from_millis(500), "{:?}", window[5] - window[0]);
    }
}

#[tokio::test]
async fn sending_says_when_the_queue_is_full_and_when_nobody_is_there() {
    let (listener, address) = listen().await;
    let mut client = Client::new(options(&address));
    assert_eq!(client.link.send(1, String::new()), Err(SendError::NotOpen { conn: 1 }));
    let socket = accept(&listener).await;
    let (conn, _) = client.opened().await;
    let refused = (0..10_000).find_map(|_| client.link.send(conn, "x".to_owned()).err());
    assert_eq!(refused, Some(SendError::QueueFull { conn }));
    drop(socket);
    client.closed().await;
    assert_eq!(client.link.send(conn, String::new()), Err(SendError::NotOpen { conn }));
}

#[tokio::test]
async fn next_may_be_dropped_at_any_time_without_losing_a_frame() {
    let (listener, address) = listen().await;
    const COUNT: usize = 3_000;
    tokio::spawn(async move {
        let mut socket = accept(&listener).await;
        for n in 0..COUNT {
            socket.feed(Message::text(n.to_string())).await.unwrap();
            if n % 7 == 0 {
                socket.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
        }
        socket.flush().await.unwrap();
        socket.next().await;
    });
    let mut client = Client::new(options(&address));
    let mut seen = Vec::new();
    let mut dropped = 0;
    let begun = Instant::now();
    while seen.len() < COUNT {
        assert!(begun.elapsed() < DEADLINE, "{} frames, dropped {dropped} times", seen.len());
        tokio::select! {
            biased;
            event = client.link.next(&mut client.batch) => {
                if matches!(event, LinkEvent::Frames { .. }) {
                    seen.extend(texts(&client.batch));
                }
            }
            () = tokio::task::yield_now() => dropped += 1,
        }
    }
    assert_eq!(seen, numbers(0..COUNT));
    assert!(dropped > 10, "the future was hardly ever dropped: {dropped}");
}

#[tokio::test]
async fn a_full_read_ahead_holds_the_server_back_and_drops_nothing() {
    let (listener, address) = listen().await;
    const COUNT: usize = 20_000;
    let (progress, sent) = tokio::sync::watch::channel(0);
    tokio::spawn(async move {
        let mut socket = accept(&listener).await;
        let payload = "x".repeat(4_000);
        for n in 0..COUNT {
            socket.send(Message::text(format!("{n} {payload}"))).await.unwrap();
            progress.send_replace(n + 1);
        }
        socket.next().await;
    });
    let mut client = Client::new(LinkOptions {
        read_ahead_frames: 500,
        // Our own stall must not be taken for the server's silence.
        read_timeout: Duration::from_millis(300),
        ping_interval: Duration::from_millis(200),
        ..options(&address)
    });
    client.opened().await;
    // Nobody takes anything, until the server is stuck: its count stands still for longer than the read timeout.
    let mut stuck = *sent.borrow();
    loop {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let now = *sent.borrow();
        if now == stuck {
            break;
        }
        stuck = now;
    }
    assert!(stuck < COUNT, "the server was never held back");
    for (n, text) in client.exactly(COUNT).await.iter().enumerate() {
        assert!(text.starts_with(&format!("{n} ")), "{n}: {}", &text[..10]);
    }
}

#[tokio::test]
async fn a_message_past_the_limit_ends_the_connection_with_its_size() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let mut socket = accept(&listener).await;
        socket.send(Message::text("x".repeat(5_000))).await.unwrap();
        socket.next().await;
    });
    let mut client = Client::new(LinkOptions { max_frame_bytes: 1_000, ..options(&address) });
    client.opened().await;
    let (_, reason, _) = client.closed().await;
    assert!(matches!(reason.cause, CloseCause::TooLarge { size: 5_000, limit: 1_000 }), "{reason:?}");
}

#[tokio::test]
async fn a_goodbye_comes_with_its_code_and_words_after_all_frames() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let mut socket = accept(&listener).await;
        socket.send(Message::text("last")).await.unwrap();
        let frame = CloseFrame { code: 1001.into(), reason: "maintenance".into() };
        socket.send(Message::Close(Some(frame))).await.unwrap();
        socket.next().await;
    });
    let mut client = Client::new(options(&address));
    client.opened().await;
    assert_eq!(client.texts().await.1, ["last"]);
    let (_, reason, _) = client.closed().await;
    assert!(reason.to_string().contains("the server closed it with code 1001: maintenance"), "{reason}");
}

#[tokio::test]
async fn closing_says_goodbye_and_leaves_what_came_before_to_be_taken() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        let mut socket = accept(&listener).await;
        for n in 0..600 {
            socket.send(Message::text(n.to_string())).await.unwrap();
        }
        within("the client's goodbye", socket.next()).await.unwrap().unwrap()
    });
    let mut client = Client::new(options(&address));
    client.opened().await;
    let mut seen = client.texts().await.1;
    within("the close", client.link.close()).await;
    assert!(matches!(within("the server", server).await.unwrap(), Message::Close(_)));
    loop {
        match client.link.try_next(&mut client.batch).expect("a closing comes last") {
            LinkEvent::Frames { .. } => seen.extend(texts(&client.batch)),
            LinkEvent::Closed { conn: 1, reason, retry_in: None } => {
                assert!(matches!(reason.cause, CloseCause::Requested), "{reason}");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, numbers(0..600));
    assert!(client.link.try_next(&mut client.batch).is_none());
}

#[tokio::test]
async fn closing_takes_bounded_time_though_the_peer_never_answers() {
    let (listener, address) = listen().await;
    let mut client = Client::new(options(&address));
    let _deaf = accept(&listener).await;
    client.opened().await;
    let begun = Instant::now();
    client.link.close().await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(matches!(client.link.try_next(&mut client.batch), Some(LinkEvent::Closed { conn: 1, retry_in: None, .. })));
}

#[tokio::test]
async fn attempts_stay_within_the_budget_of_connects() {
    let (listener, address) = listen().await;
    let window = Duration::from_secs(2);
    let mut client = Client::new(LinkOptions { connects_per_window: ConnectBudget::new(3, window), ..options(&address) });
    let mut accepted = Vec::new();
    for _ in 0..7 {
        drop(within("a client connects", listener.accept()).await.unwrap());
        accepted.push(Instant::now());
    }
    for four in accepted.windows(4) {
        // The server sees attempts a little after they began.
        assert!(four[3] - four[0] > window / 2, "{:?}", four[3] - four[0]);
    }
    let mut failed = 0;
    while client.link.try_next(&mut client.batch).is_some() {
        failed += 1;
    }
    assert!(failed >= 6, "each failed attempt is reported: {failed}");
}

#[tokio::test]
async fn links_with_cloned_options_draw_different_numbers() {
    let (listener, address) = listen().await;
    let options = options(&address);
    assert!(Arc::ptr_eq(&options.conn_ids, &options.clone().conn_ids));
    let (mut one, mut two) = (Client::new(options.clone()), Client::new(options));
    let _sockets = (accept(&listener).await, accept(&listener).await);
    let mut conns = [one.opened().await.0, two.opened().await.0];
    conns.sort_unstable();
    assert_eq!(conns, [1, 2]);
}

#[tokio::test]
async fn dropping_a_link_ends_its_connection() {
    let (listener, address) = listen().await;
    let link = Link::new(options(&address)).unwrap();
    let mut socket = accept(&listener).await;
    drop(link);
    assert!(within("the end of the stream", socket.next()).await.is_none_or(|last| last.is_err()));
    let _ = FrameBatch::new();
}
