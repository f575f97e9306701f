//! Clients that nobody would wish for, at a socket of the tree.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

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
}

pub(crate) const ALL: &[Flood] = &[Flood::Garbage, Flood::Huge, Flood::Slow, Flood::Fleeting, Flood::Silent];

/// Connections that are held at the same time.
const HELD: usize = 100;
/// Connections one after the other.
const FLEETING: usize = 500;
/// Patience of one such client.
const PATIENCE: Duration = Duration::from_millis(300);

/// Does it, and returns; what the other side makes of it is no matter here.
pub(crate) fn flood(socket: &Path, what: Flood, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let connect = || {
        let stream = UnixStream::connect(socket).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        Some(stream)
    };
    match what {
        Flood::Fleeting => drop((0..FLEETING).map(|_| connect().is_some()).filter(|connected| *connected).count()),
        Flood::Silent => {
            let held: Vec<_> = (0..HELD).filter_map(|_| connect()).collect();
            std::thread::sleep(PATIENCE);
            drop(held);
        }
        Flood::Garbage | Flood::Huge | Flood::Slow => {
            let mut held: Vec<UnixStream> = (0..HELD / 4).filter_map(|_| connect()).collect();
            for stream in &mut held {
                let length = rng.usize(1..5_000);
                let bytes: Vec<u8> = match what {
                    Flood::Garbage => std::iter::repeat_with(|| rng.u8(..)).take(length).collect(),
                    Flood::Huge => [0xff; 4].into_iter().chain(std::iter::repeat_n(7, 4_096)).collect(),
                    _ => vec![0, 0, 0, 40, 1, 2, 3],
                };
                let _ = stream.write_all(&bytes);
            }
            for stream in &mut held {
                let _ = stream.read(&mut [0; 64]);
            }
        }
    }
}
