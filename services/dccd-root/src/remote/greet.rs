//! A connection's first bytes: the token, then whom it wants. `dccd_rpc::remote` says what goes over the wire.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use dccd_rpc::remote::{Opening, Verdict, read_opening, read_service, read_token, write_verdict};
use dccd_rpc::root::ROOT_NAME;
use dccd_rpc::unix_stream;
use dccd_service::chain;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::Site;
use super::admission::{RpcCounters, Seat, Source};
use super::pump::linger;

/// Patience with a service's socket.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// For a refusal to arrive.
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// Somebody who may talk to a service.
pub(super) struct Greeted {
    /// The service's name.
    pub(super) service: String,
    /// Its other end.
    pub(super) target: Target,
    /// The place that is taken.
    pub(super) seat: Seat,
}

/// Where a connection leads.
pub(super) enum Target {
    /// To the root itself.
    Root,
    /// To a service's socket.
    Socket(UnixStream),
}

/// Somebody who may not.
pub(super) struct Refusal<'a> {
    verdict: Verdict,
    reason: String,
    counter: &'a AtomicU64,
}

/// What is said to who begins without TLS where that is spoken.
pub(super) fn in_plain_text(site: &Site) -> Refusal<'_> {
    let reason = "here one speaks TLS".to_owned();
    Refusal { verdict: Verdict::TlsWanted, reason, counter: &site.ctx.rpc.garbled }
}

/// Greets a client. An error: it has gone.
pub(super) async fn greet<'a, S>(
    site: &'a Site,
    stream: &mut S,
    peer: SocketAddr,
) -> io::Result<Result<Greeted, Refusal<'a>>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let counters: &RpcCounters = &site.ctx.rpc;
    let source = Source::from(peer.ip());
    let refuse = |verdict, counter, reason: &str| Ok(Err(Refusal { verdict, reason: reason.to_owned(), counter }));
    let garbled = |verdict, reason: &str| refuse(verdict, &counters.garbled, reason);
    match read_opening(stream).await? {
        Opening::Ours => {}
        Opening::OtherVersion(version) => {
            return garbled(Verdict::Version, &format!("here it is another one than {version}"));
        }
        Opening::Tls => return garbled(Verdict::Malformed, "TLS is not spoken here"),
        Opening::Foreign => return garbled(Verdict::Malformed, "this is dccd's RPC"),
    }
    if let Some(left) = site.admission.blocked(source, Instant::now()) {
        let reason =
            format!("too many wrong tokens came from {}; try again in {} s", peer.ip().to_canonical(), left.as_secs() + 1);
        return refuse(Verdict::Throttled, &counters.throttled, &reason);
    }
    write_verdict(stream, Verdict::GoOn, "").await?;
    let shown = read_token(stream).await?;
    // Before anything else of it is looked at.
    if !shown.as_ref().is_some_and(|shown| site.lock.opens(shown)) {
        let failures = site.admission.failed(source, Instant::now());
        tracing::warn!(peer = %peer, failures, "refused a remote client: its token is wrong");
        let verdict = if shown.is_some_and(|shown| shown.is_empty()) { Verdict::NoToken } else { Verdict::WrongToken };
        return refuse(verdict, &counters.wrong_token, "the token is wrong");
    }
    let Some(service) = read_service(stream).await? else {
        return garbled(Verdict::Malformed, "what should name a service is no name");
    };
    let seat = match site.admission.seat(source, Instant::now()) {
        Ok(seat) => seat,
        Err(full) => return refuse(Verdict::Busy, &counters.busy, &full),
    };
    let target = if service == ROOT_NAME {
        Target::Root
    } else {
        match socket_of(site, &service) {
            Err(reason) => return garbled(Verdict::Service, &reason),
            Ok(path) => match unix_stream(&path, CONNECT_TIME).await {
                Ok(socket) => Target::Socket(socket),
                Err(error) => {
                    let reason = format!("{service} can't be reached: {}", chain(&error));
                    return garbled(Verdict::Service, &reason);
                }
            },
        }
    };
    write_verdict(stream, Verdict::GoOn, "").await?;
    Ok(Ok(Greeted { service, target, seat }))
}

/// Where a service listens, or why it can't be talked to.
fn socket_of(site: &Site, service: &str) -> Result<PathBuf, String> {
    let cell = site.ctx.cell(service).ok_or_else(|| format!("there is no service {service}; `dccd services` lists them"))?;
    let state = cell.state();
    let path = state.endpoint.as_ref().and_then(|endpoint| endpoint.unix_path()).filter(|_| state.phase.is_ready());
    path.map(PathBuf::from).ok_or_else(|| format!("{service} is {}", state.phase))
}

/// Tells a client why not.
pub(super) async fn turn_away<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, peer: SocketAddr, refusal: Refusal<'_>) {
    RpcCounters::count(refusal.counter);
    tracing::debug!(peer = %peer, reason = refusal.reason, "a remote client was turned away");
    let telling = async {
        write_verdict(stream, refusal.verdict, &refusal.reason).await?;
        stream.shutdown().await?;
        linger(stream).await;
        io::Result::Ok(())
    };
    // Whether it arrives is the client's affair.
    let _ = timeout(REFUSAL_TIME, telling).await;
}
