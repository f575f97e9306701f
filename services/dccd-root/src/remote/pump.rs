//! Bytes between a client and a service: as they are, counted, within limits.

use std::future::Future;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dccd_rpc::FRAME_BYTES_MAX;
use dccd_rpc::remote::{FrameScan, farewell};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::RpcLimits;

/// Bytes that are under way in each direction.
const CHUNK_BYTES: usize = 16 * 1024;
/// How long the other end may take to read some of them.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// For the last words to arrive.
const FAREWELL_TIME: Duration = Duration::from_secs(1);
/// What of a client's bytes is still read by then, for the last words not to be lost with them.
const LINGER_BYTES_MAX: usize = 16 << 20;

/// Why a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The client has left.
    ClientLeft,
    /// The client doesn't read.
    ClientStuck,
    /// The service has closed it.
    ServiceLeft,
    /// The service doesn't read.
    ServiceStuck,
    /// A message of this length.
    FrameTooLong(u32),
    /// Too many messages or bytes, for too long.
    TooFast,
    /// Silence.
    Idle,
    /// The root stops.
    Stopping,
}

impl Ended {
    /// Whether a limit was the reason.
    pub(super) fn is_limit(self) -> bool {
        matches!(self, Self::FrameTooLong(_) | Self::TooFast | Self::Idle | Self::ClientStuck)
    }

    /// What the client is told; `None` where it can't hear it.
    pub(super) fn words(self, limits: &RpcLimits, service: &str) -> Option<String> {
        Some(match self {
            Self::ClientLeft | Self::ClientStuck => return None,
            Self::ServiceLeft => format!("{service} has closed it"),
            Self::ServiceStuck => format!("{service} takes nothing any more"),
            Self::FrameTooLong(bytes) => format!(
                "a message of {bytes} bytes is longer than the {} that are allowed (daemon.rpc.limits.max_frame_kb)",
                limits.frame_bytes_max
            ),
            Self::TooFast => format!(
                "more than {} requests or {} bytes a second for {} s (daemon.rpc.limits.max_requests_per_second, max_kb_per_second); ask less often",
                limits.requests_per_second,
                limits.bytes_per_second,
                limits.flood_time.as_secs_f64()
            ),
            Self::Idle => {
                format!("nothing was said for {} s (daemon.rpc.limits.idle_timeout)", limits.idle_timeout.as_secs_f64())
            }
            Self::Stopping => "it is stopping".to_owned(),
        })
    }
}

/// Passes bytes on until one side ends it, a limit is broken, or `stop` resolves; tells the client why.
pub(super) async fn pump<C, S>(
    client: C,
    service: S,
    name: &str,
    limits: &RpcLimits,
    stop: impl Future<Output = ()>,
) -> Ended
where
    C: AsyncRead + AsyncWrite,
    S: AsyncRead + AsyncWrite,
{
    let (mut from_client, to_client) = tokio::io::split(client);
    let (from_service, to_service) = tokio::io::split(service);
    let heard = Mutex::new(Instant::now());
    let mut down = Down { to_client, scan: FrameScan::new(u32::try_from(FRAME_BYTES_MAX).unwrap_or(u32::MAX)), busy: false };
    let ended = tokio::select! {
        ended = up(&mut from_client, to_service, limits, &heard) => ended,
        ended = down.run(from_service, &heard) => ended,
        () = silence(&heard, limits.idle_timeout) => Ended::Idle,
        () = stop => Ended::Stopping,
    };
    if let Some(words) = ended.words(limits, name) {
        // What happens to it is the client's affair.
        let _ = timeout(FAREWELL_TIME, down.say(&words)).await;
        let _ = timeout(FAREWELL_TIME, linger(&mut from_client)).await;
    }
    ended
}

fn touch(heard: &Mutex<Instant>) {
    *heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
}

/// Resolves when nothing was heard for so long.
async fn silence(heard: &Mutex<Instant>, limit: Duration) {
    loop {
        let until = *heard.lock().unwrap_or_else(PoisonError::into_inner) + limit;
        if until <= Instant::now() {
            return;
        }
        sleep_until(until).await;
    }
}

/// From the client to the service.
async fn up<C: AsyncRead, S: AsyncWrite>(
    from_client: &mut ReadHalf<C>,
    mut to_service: WriteHalf<S>,
    limits: &RpcLimits,
    heard: &Mutex<Instant>,
) -> Ended {
    let mut scan = FrameScan::new(limits.frame_bytes_max);
    let mut rate = Rate::new(limits);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let bytes = match from_client.read(&mut chunk).await {
            Ok(0) | Err(_) => return Ended::ClientLeft,
            Ok(count) => &chunk[..count],
        };
        touch(heard);
        let found = scan.feed(bytes);
        if let Some((_, length)) = found.beyond {
            return Ended::FrameTooLong(length);
        }
        match rate.take(found.frames, bytes.len(), Instant::now()) {
            Pace::Fine => {}
            Pace::Wait(wait) => sleep(wait).await,
            Pace::Flood => return Ended::TooFast,
        }
        match timeout(WRITE_TIME, to_service.write_all(bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Ended::ServiceLeft,
            Err(_) => return Ended::ServiceStuck,
        }
    }
}

/// From the service to the client.
struct Down<C> {
    to_client: WriteHalf<C>,
    scan: FrameScan,
    /// Some bytes are on their way: nobody knows how many of them have gone out.
    busy: bool,
}

impl<C: AsyncWrite> Down<C> {
    async fn run<S: AsyncRead>(&mut self, mut from_service: ReadHalf<S>, heard: &Mutex<Instant>) -> Ended {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let bytes = match from_service.read(&mut chunk).await {
                Ok(0) | Err(_) => return Ended::ServiceLeft,
                Ok(count) => &chunk[..count],
            };
            touch(heard);
            self.scan.feed(bytes);
            self.busy = true;
            let written = async {
                self.to_client.write_all(bytes).await?;
                // TLS keeps some back without it.
                self.to_client.flush().await
            };
            match timeout(WRITE_TIME, written).await {
                Ok(Ok(())) => self.busy = false,
                Ok(Err(_)) => return Ended::ClientLeft,
                Err(_) => return Ended::ClientStuck,
            }
        }
    }

    /// Last words, where they can be told from an answer.
    async fn say(&mut self, words: &str) -> io::Result<()> {
        if !self.busy && self.scan.at_boundary() {
            self.to_client.write_all(&farewell(words)).await?;
        }
        self.to_client.shutdown().await
    }
}

/// Reads what a client still sends, until it has heard that nobody listens: closing over unread bytes would take back what was said.
pub(super) async fn linger(from_client: &mut (impl AsyncRead + Unpin)) {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = LINGER_BYTES_MAX;
    while left > 0 {
        match from_client.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(count) => left = left.saturating_sub(count),
        }
    }
}

/// What a client's pace calls for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pace {
    Fine,
    Wait(Duration),
    Flood,
}

/// A connection's pace: a second's worth at once, and then as much a second.
struct Rate {
    requests: Bucket,
    bytes: Bucket,
    /// Since when it has been above.
    over_since: Option<Instant>,
    flood_time: Duration,
}

impl Rate {
    fn new(limits: &RpcLimits) -> Self {
        let now = Instant::now();
        let bucket = |per_second: u32| Bucket { per_second: per_second.into(), level: per_second.into(), at: now };
        Self {
            requests: bucket(limits.requests_per_second),
            bytes: bucket(limits.bytes_per_second),
            over_since: None,
            flood_time: limits.flood_time,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a chunk's length")]
    fn take(&mut self, requests: u32, bytes: usize, now: Instant) -> Pace {
        let wait = self.requests.take(requests.into(), now).max(self.bytes.take(bytes as f64, now));
        if wait.is_zero() {
            self.over_since = None;
            return Pace::Fine;
        }
        let since = *self.over_since.get_or_insert(now);
        if now.duration_since(since) >= self.flood_time { Pace::Flood } else { Pace::Wait(wait) }
    }
}

struct Bucket {
    per_second: f64,
    /// What may be taken at once; below zero it is owed.
    level: f64,
    at: Instant,
}

impl Bucket {
    /// Takes so much, and says how long to wait until that was right.
    fn take(&mut self, much: f64, now: Instant) -> Duration {
        let grown = now.duration_since(self.at).as_secs_f64() * self.per_second;
        self.level = (self.level + grown).min(self.per_second) - much;
        self.at = now;
        if self.level >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-self.level / self.per_second) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> RpcLimits {
        RpcLimits { requests_per_second: 10, bytes_per_second: 1_000, ..RpcLimits::default() }
    }

    #[test]
    fn a_second_at_once_then_waits_then_the_end() {
        let mut rate = Rate::new(&limits());
        let mut now = Instant::now();
        assert_eq!(rate.take(10, 0, now), Pace::Fine);
        assert_eq!(rate.take(5, 0, now), Pace::Wait(Duration::from_millis(500)));
        // One that waits as it is told and stays at the limit for long is a flood all the same.
        let mut told = 0;
        while let Pace::Wait(wait) = rate.take(1, 0, now) {
            now += wait;
            told += 1;
            assert!(told < 1_000, "it is never ended");
        }
        assert!((90..=110).contains(&told), "{told}");
        now += Duration::from_secs(2);
        assert_eq!(rate.take(10, 1_000, now), Pace::Fine, "who rests may come back");
        assert_eq!(rate.take(0, 100, now), Pace::Wait(Duration::from_millis(100)));
    }
}
