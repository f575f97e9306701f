//! Clients that nobody would wish for, at a socket of the tree and at its port: some without the token, some with it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dccd_rpc::datad::DATAD_PROTOCOL;
use dccd_rpc::root::{ROOT_NAME, ROOT_PROTOCOL};
use dccd_testkit::raw;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, StreamOwned};

/// The token that opens the port.
pub(crate) const TOKEN: &str = "hunter2-opens-the-storm-door";

/// What they do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Flood {
    /// Bytes that mean nothing.
    Garbage,
    /// A frame of four gigabytes is announced.
    Huge,
    /// Half a frame, and then nothing.
    Slow,
    /// As many connections as can be had, each closed at once.
    Fleeting,
    /// As many as can be had, all held open and silent.
    Silent,
    /// A byte now and then.
    Dribble,
    /// Tokens that are guessed, where one is asked for.
    WrongToken,
    /// Bytes that mean nothing, from one who may come in.
    Nonsense,
    /// Requests that are to wait for ages, for no time, and for a time that is none.
    Ages,
    /// Requests that are as long as is allowed, and longer.
    Oversized,
}

pub(crate) const ALL: &[Flood] = &[
    Flood::Garbage,
    Flood::Huge,
    Flood::Slow,
    Flood::Fleeting,
    Flood::Silent,
    Flood::Dribble,
    Flood::WrongToken,
    Flood::Nonsense,
    Flood::Ages,
    Flood::Oversized,
];

/// Seconds and nanoseconds that are no deadlines: a thousand million nanoseconds are no part of a second.
const AGES: [(u64, u32); 6] =
    [(u64::MAX, 999_999_999), (100_000_000, 0), (1 << 40, 0), (0, 0), (0, u32::MAX), (u64::MAX, u32::MAX)];

/// Connections that are held at the same time.
const HELD: usize = 100;
/// Connections one after the other.
const FLEETING: usize = 500;
/// Connections of those who may come in.
const ADMITTED: usize = 10;
/// Patience of one such client.
const PATIENCE: Duration = Duration::from_millis(300);
/// How long one of them dribbles.
const DRIBBLES: Duration = Duration::from_secs(2);

/// Where they knock.
#[derive(Clone, Debug)]
pub(crate) enum Door {
    /// At a socket.
    Unix(PathBuf),
    /// At the port, from an address of this host that nobody honest has.
    Tcp {
        /// The port.
        address: SocketAddr,
        /// Where from.
        from: Ipv4Addr,
        /// With what it is talked to; `None`: in plain text.
        tls: Option<Arc<ClientConfig>>,
    },
}

trait Wire: Read + Write {}

impl<T: Read + Write> Wire for T {}

impl Door {
    /// The bare connection.
    fn knock(&self) -> Option<Box<dyn Wire>> {
        match self {
            Self::Unix(path) => {
                let stream = UnixStream::connect(path).ok()?;
                stream.set_read_timeout(Some(PATIENCE)).ok()?;
                stream.set_write_timeout(Some(PATIENCE)).ok()?;
                Some(Box::new(stream))
            }
            Self::Tcp { address, from, .. } => Some(Box::new(dial(*address, *from)?)),
        }
    }

    /// A connection to a service on which requests would be answered. Whether it is, shows.
    fn enter(&self, service: &str, token: &str) -> Option<Box<dyn Wire>> {
        let Self::Tcp { address, from, tls } = self else { return self.knock() };
        let stream = dial(*address, *from)?;
        let mut wire: Box<dyn Wire> = match tls {
            None => Box::new(stream),
            Some(config) => {
                let client = ClientConnection::new(Arc::clone(config), address.ip().into()).ok()?;
                Box::new(StreamOwned::new(client, stream))
            }
        };
        wire.write_all(&raw::opening(token, service)).ok()?;
        // Both verdicts.
        wire.read_exact(&mut [0; 22]).ok()?;
        Some(wire)
    }
}

/// Connects from this address, which the standard library can't.
fn dial(to: SocketAddr, from: Ipv4Addr) -> Option<TcpStream> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).ok()?;
    // Connecting ends with the first of them.
    for timeout in [sockopt::Timeout::Send, sockopt::Timeout::Recv] {
        sockopt::set_socket_timeout(&socket, timeout, Some(PATIENCE)).ok()?;
    }
    bind(&socket, &SocketAddrV4::new(from, 0)).ok()?;
    connect(&socket, &to).ok()?;
    Some(TcpStream::from(socket))
}

/// Does it to a service, and returns; what the other side makes of it is no matter here.
pub(crate) fn flood(door: &Door, service: &str, what: Flood, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut noise = || {
        let length = rng.usize(1..5_000);
        std::iter::repeat_with(|| rng.u8(..)).take(length).collect::<Vec<u8>>()
    };
    let held = |count: usize| (0..count).map_while(|_| door.knock()).collect::<Vec<_>>();
    let admitted = || (0..ADMITTED).map_while(|_| door.enter(service, TOKEN)).collect::<Vec<_>>();
    match what {
        Flood::Fleeting => drop((0..FLEETING).map_while(|_| door.knock()).count()),
        Flood::Silent => {
            let held = held(HELD);
            std::thread::sleep(PATIENCE);
            drop(held);
        }
        Flood::Garbage => say(held(HELD / 4), &mut noise),
        Flood::Huge => say(held(HELD / 4), || [&[0xff; 4][..], &[7; 4_096]].concat()),
        Flood::Slow => say(held(HELD / 4), || vec![0, 0, 0, 40, 1, 2, 3]),
        Flood::Dribble => dribble(held(HELD / 10), service),
        Flood::WrongToken => drop((0..ADMITTED).map_while(|_| door.enter(service, "hunter2-is-not-it")).count()),
        Flood::Nonsense => say(admitted(), &mut noise),
        Flood::Ages => say(admitted(), || ages(service)),
        Flood::Oversized => say(admitted(), || oversized(service)),
    }
}

/// Each says its words, and hears what comes of them.
fn say(held: Vec<Box<dyn Wire>>, mut words: impl FnMut() -> Vec<u8>) {
    let mut told = held;
    // One that is closed halfway is.
    told.retain_mut(|wire| wire.write_all(&words()).and_then(|()| wire.flush()).is_ok());
    for wire in &mut told {
        let _ = wire.read(&mut [0; 4_096]);
    }
}

/// Right bytes, one after the other, with pauses in between.
fn dribble(mut held: Vec<Box<dyn Wire>>, service: &str) {
    let since = Instant::now();
    for byte in raw::opening(TOKEN, service) {
        held.retain_mut(|wire| wire.write_all(&[byte]).is_ok());
        if held.is_empty() || since.elapsed() >= DRIBBLES {
            return;
        }
        std::thread::sleep(PATIENCE / 3);
    }
}

/// The protocol of a service; methods without an argument, and with a text, that change nothing.
fn contract(service: &str) -> (u32, u32, u32) {
    // `list` and `find`; `feeds` and `market`.
    if service == ROOT_NAME { (ROOT_PROTOCOL, 4, 5) } else { (DATAD_PROTOCOL, 6, 1) }
}

fn ages(service: &str) -> Vec<u8> {
    let (protocol, question, _) = contract(service);
    let numbered = AGES.iter().enumerate().flat_map(|(n, deadline)| {
        let n = n as u64;
        let hello = raw::hello(2 * n, *deadline, protocol);
        [hello, raw::request(2 * n + 1, *deadline, question, &[])].concat()
    });
    numbered.collect()
}

fn oversized(service: &str) -> Vec<u8> {
    let (protocol, _, find) = contract(service);
    let long = |id, bytes: usize| raw::request(id, (10, 0), find, &raw::text(&"x".repeat(bytes)));
    // Beyond what comes in from afar, and beyond what comes in at all.
    [raw::hello(0, (10, 0), protocol), long(1, 900_000), long(2, 2_000_000), long(3, 9_000_000)].concat()
}
