//! `daemon.rpc`: the services of this root for clients on other hosts, over TCP.
//!
//! One listener for all of them: a client shows the token, names the service, and from then on bytes are passed on between it and
//! that service's socket; the root's own methods are answered here. Whoever comes this way is never taken for a process of this host:
//! it can neither register nor send heartbeats.
//!
//! Everything is bounded: connections that have shown no token (few, for seconds, and the oldest makes room), those that have (in all
//! and by address), the length of messages, their number and bytes a second, silence. What a client is refused or cut off for, it
//! is told.

mod admission;
mod credentials;
mod greet;
mod options;
mod pump;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dccd_rpc::Connection;
use dccd_rpc::remote::{SecretFileError, TlsFileError, opens_like_ours};
use dccd_rpc::root::{ROOT_NAME, ROOT_PROTOCOL, RootService as _};
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use self::admission::{Admission, Source};
use self::credentials::{Certificate, Lock};
use self::greet::{Greeted, Target, greet, turn_away};
use self::pump::pump;
use crate::RootError;
use crate::context::Context;
use crate::files::{self, FilesError};
use crate::listeners::Door;
use crate::rpc::RootServer;
use crate::stop::finished;

pub(crate) use admission::RpcCounters;
pub use options::{RpcLimits, RpcOptions, RpcTls, RpcToken};

/// After a connection that could not be accepted (out of file handles, most likely), others get this long to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long clients may read their last answers when everything is stopped.
const DRAIN: Duration = Duration::from_millis(200);
/// Bytes under way between the socket and the root's own service.
const PIPE_BYTES: usize = 64 * 1024;
/// Requests of a connection that the root answers at the same time.
const REQUESTS_MAX: usize = 64;
/// Silence after which the kernel asks whether the other host is still there, how often, and how many times.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(15), 4);

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum RpcListenError {
    /// The port is taken, or not ours to take.
    #[error("cannot open the port; free it, or choose another one in daemon.rpc.address")]
    Port(#[source] io::Error),
    /// The file with the token is no good.
    #[error("the token can't be used (daemon.rpc.token_file)")]
    Token(#[source] SecretFileError),
    /// The certificate or its key is no good.
    #[error("TLS can't be spoken (daemon.rpc.tls)")]
    Tls(#[source] TlsFileError),
    /// None of them could be read in time.
    #[error("the files of daemon.rpc can't be read (token_file, tls)")]
    Files(#[source] FilesError),
}

/// Reads the files that these options name, as a root would that starts with them. Blocks.
///
/// # Errors
/// When one of them is no good.
pub fn check_rpc(options: &RpcOptions) -> Result<(), RpcListenError> {
    read_files(options).map(drop)
}

fn read_files(options: &RpcOptions) -> Result<(Lock, Option<Certificate>), RpcListenError> {
    Ok((Lock::of(&options.token)?, options.tls.as_ref().map(Certificate::load).transpose()?))
}

/// A port that is open and not served yet.
pub(crate) struct RpcServer {
    listener: TcpListener,
    lock: Lock,
    certificate: Option<Arc<Certificate>>,
    limits: RpcLimits,
}

/// What connections share.
struct Site {
    ctx: Arc<Context>,
    lock: Lock,
    certificate: Option<Arc<Certificate>>,
    limits: RpcLimits,
    admission: Arc<Admission>,
}

/// A connection that has shown no token yet.
struct Stranger {
    source: Source,
    task: AbortHandle,
    /// Whether it has, now.
    is_known: Arc<AtomicBool>,
}

impl Door for RpcServer {
    type Options = RpcOptions;
    const WHAT: &'static str = "RPC";

    fn bind(options: RpcOptions) -> impl Future<Output = Result<Self, RootError>> + Send {
        Self::bind(options)
    }

    fn serve(self, ctx: Arc<Context>) -> impl Future<Output = ()> + Send {
        self.serve(ctx)
    }
}

impl RpcServer {
    /// Reads the token and the certificate and opens the port.
    pub(crate) async fn bind(options: RpcOptions) -> Result<Self, RootError> {
        let (address, limits) = (options.address, options.limits);
        let failed = |source| RootError::Rpc { address, source: Box::new(source) };
        let read = files::read(move || read_files(&options)).await.map_err(RpcListenError::Files);
        let (lock, certificate) = read.flatten().map_err(failed)?;
        let port = |source| failed(RpcListenError::Port(source));
        let listener = TcpListener::bind(address).await.map_err(port)?;
        let address = listener.local_addr().map_err(port)?;
        let (token, tls) = (lock.is_locked(), certificate.is_some());
        tracing::info!(%address, token, tls, "the RPC is served over TCP");
        if !tls && !address.ip().is_loopback() {
            tracing::warn!(%address, "other hosts can reach the RPC, and without daemon.rpc.tls the token and all data go in clear text");
        }
        Ok(Self { listener, lock, certificate: certificate.map(Arc::new), limits })
    }

    /// Serves until everything is stopped. Fails never: what can't be accepted is logged, and the next one is waited for.
    pub(crate) async fn serve(self, ctx: Arc<Context>) {
        let admission = Arc::new(Admission::new(self.limits, Arc::clone(&ctx.rpc)));
        let Self { listener, lock, certificate, limits } = self;
        let site = Arc::new(Site { ctx: Arc::clone(&ctx), lock, certificate, limits, admission });
        // Dropped with what is in it at the end.
        let mut tasks = JoinSet::new();
        let renewing = site.certificate.clone().map(|certificate| tasks.spawn(certificate.renew()));
        let mut strangers: VecDeque<Stranger> = VecDeque::new();
        let mut until = pin!(finished(&ctx));
        loop {
            tokio::select! {
                _ = &mut until => break,
                Some(_) = tasks.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((_, peer)) if !site.admission.knock(peer.ip().into(), std::time::Instant::now()) => {
                        // Without a word: each would cost what this is to save.
                        RpcCounters::count(&ctx.rpc.throttled);
                    }
                    Ok((socket, peer)) => {
                        strangers.retain(|s| !s.task.is_finished() && !s.is_known.load(Ordering::Relaxed));
                        if strangers.len() >= limits.unauthenticated_max {
                            make_room(&mut strangers);
                            RpcCounters::count(&ctx.rpc.busy);
                        }
                        let is_known = Arc::new(AtomicBool::new(false));
                        let task = tasks.spawn(connection(Arc::clone(&site), socket, peer, Arc::clone(&is_known)));
                        strangers.push_back(Stranger { source: peer.ip().into(), task, is_known });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection to the RPC could not be accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        if let Some(renewing) = renewing {
            renewing.abort();
        }
        // They have their last answers by then, or don't read them.
        let _ = timeout(DRAIN * 2, async { while tasks.join_next().await.is_some() {} }).await;
    }
}

/// Ends the oldest connection without a token of the address that has the most of them, so that one address can't shut out others.
fn make_room(strangers: &mut VecDeque<Stranger>) {
    let mut counts: HashMap<Source, usize> = HashMap::new();
    for stranger in strangers.iter() {
        *counts.entry(stranger.source).or_default() += 1;
    }
    let most = counts.values().max().copied();
    let oldest = strangers.iter().position(|stranger| counts.get(&stranger.source).copied() == most);
    if let Some(stranger) = oldest.and_then(|at| strangers.remove(at)) {
        stranger.task.abort();
    }
}

async fn connection(site: Arc<Site>, socket: TcpStream, peer: SocketAddr, is_known: Arc<AtomicBool>) {
    prepare(&socket);
    let deadline = Instant::now() + site.limits.auth_timeout;
    let Some(certificate) = &site.certificate else {
        return talk(&site, socket, peer, deadline, &is_known).await;
    };
    let accepting = async {
        // Who begins in plain text is told so in plain text, before it shows its token to everybody.
        let mut first = [0];
        if socket.peek(&mut first).await? > 0 && opens_like_ours(first[0]) {
            return Ok(Err(socket));
        }
        certificate.acceptor().accept(socket).await.map(Ok)
    };
    match timeout_at(deadline, accepting).await {
        Ok(Ok(Ok(stream))) => talk(&site, stream, peer, deadline, &is_known).await,
        Ok(Ok(Err(mut plain))) => {
            let refusal = greet::in_plain_text(&site);
            turn_away(&mut plain, peer, refusal).await;
        }
        Ok(Err(error)) => {
            RpcCounters::count(&site.ctx.rpc.garbled);
            tracing::debug!(%peer, %error, "a remote client and TLS came to nothing");
        }
        Err(_) => RpcCounters::count(&site.ctx.rpc.garbled),
    }
}

/// Without these it works, only slower.
fn prepare(socket: &TcpStream) {
    let (idle, interval, count) = KEEPALIVE;
    // Small answers should not wait for more to come.
    let _ = socket.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(socket, true);
    let _ = sockopt::set_tcp_keepidle(socket, idle);
    let _ = sockopt::set_tcp_keepintvl(socket, interval);
    let _ = sockopt::set_tcp_keepcnt(socket, count);
}

/// Greets a client and joins it to the service that it wants.
async fn talk<S>(site: &Arc<Site>, mut stream: S, peer: SocketAddr, deadline: Instant, is_known: &AtomicBool)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Greeted { service, target, seat } = match timeout_at(deadline, greet(site, &mut stream, peer)).await {
        Ok(Ok(Ok(greeted))) => greeted,
        Ok(Ok(Err(refusal))) => return turn_away(&mut stream, peer, refusal).await,
        Ok(Err(_)) | Err(_) => return RpcCounters::count(&site.ctx.rpc.garbled),
    };
    is_known.store(true, Ordering::Relaxed);
    tracing::debug!(%peer, service, "a remote client has come");
    let stopping = async {
        finished(&site.ctx).await;
        // The answer that it waited for is on its way.
        sleep(DRAIN).await;
    };
    let ended = match target {
        Target::Socket(socket) => pump(stream, socket, &service, &site.limits, stopping).await,
        Target::Root => {
            let (near, far) = tokio::io::duplex(PIPE_BYTES);
            let connection = Connection::remote(far, peer, ROOT_NAME, ROOT_PROTOCOL, REQUESTS_MAX);
            let server = RootServer::new(Arc::clone(&site.ctx), &connection);
            let mut answering = pin!(connection.run(server.serve()));
            let mut pumping = pin!(pump(stream, near, &service, &site.limits, stopping));
            tokio::select! {
                ended = &mut pumping => ended,
                // Its answers are still to be passed on.
                () = &mut answering => pumping.await,
            }
        }
    };
    drop(seat);
    if ended.is_limit() {
        RpcCounters::count(&site.ctx.rpc.over_limit);
        tracing::warn!(%peer, service, reason = ended.words(&site.limits, &service), "a remote client was cut off");
    } else {
        tracing::debug!(%peer, service, ?ended, "a remote client is gone");
    }
}
