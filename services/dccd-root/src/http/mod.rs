//! `daemon.http`: health and metrics of the whole tree, for probes and for Prometheus. Read-only: nothing that is asked here changes
//! anything.
//!
//! Everything is bounded: connections, the size and time of a request's head, the time of an answer, the life of a connection. A
//! client that is slow or talks nonsense costs one connection, and that only until another client wants it.

mod export;
mod exposition;
mod health;
mod metrics;
mod routes;
mod survey;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::context::Context;
use crate::listeners::Door;
use crate::stop::finished;
use crate::{HttpOptions, RootError};

pub(crate) use routes::Site;

/// Connections at the same time; the one that has waited longest for its next request makes room for another.
const CONNECTIONS_MAX: usize = 64;
/// How long a client may take to send a request's head, and how long an idle connection is kept.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Bytes of a request's head; a longer one is refused.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// A connection older than this ends after the request that it is at.
const LIFETIME: Duration = Duration::from_secs(300);
/// What that request may take still.
const LAST_REQUEST: Duration = Duration::from_secs(10);
/// After a connection that could not be accepted (out of file handles, most likely), others get this long to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A port that is open and not served yet.
#[derive(Debug)]
pub(crate) struct HttpServer {
    listener: TcpListener,
    options: HttpOptions,
}

/// One connection, as the one who makes room sees it.
struct Open {
    task: AbortHandle,
    /// Whether a request of it is being answered.
    busy: Arc<AtomicBool>,
}

impl Door for HttpServer {
    type Options = HttpOptions;
    const WHAT: &'static str = "HTTP";

    fn bind(options: HttpOptions) -> impl Future<Output = Result<Self, RootError>> + Send {
        Self::bind(options)
    }

    fn serve(self, ctx: Arc<Context>) -> impl Future<Output = ()> + Send {
        self.serve(ctx)
    }
}

impl HttpServer {
    /// Opens the port.
    ///
    /// # Errors
    /// When it is taken, or not ours to take.
    pub(crate) async fn bind(options: HttpOptions) -> Result<Self, RootError> {
        let address = options.address;
        let failed = |source| RootError::Http { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address: SocketAddr = listener.local_addr().map_err(failed)?;
        tracing::info!(%address, token = options.token.is_some(), "health and metrics are served over HTTP");
        Ok(Self { listener, options })
    }

    /// Serves until everything is stopped. Fails never: what can't be accepted is logged, and the next one is waited for.
    pub(crate) async fn serve(self, ctx: Arc<Context>) {
        let site = Arc::new(Site::new(Arc::clone(&ctx), self.options.token.clone()));
        // Dropped with what is in it at the end.
        let mut tasks = JoinSet::new();
        let mut open: VecDeque<Open> = VecDeque::new();
        let mut until = pin!(finished(&ctx));
        loop {
            tokio::select! {
                _ = &mut until => return,
                Some(_) = tasks.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((socket, _)) => {
                        open.retain(|connection| !connection.task.is_finished());
                        if open.len() >= CONNECTIONS_MAX && !make_room(&mut open) {
                            continue; // every one of them is being answered: this one finds the door closed
                        }
                        let busy = Arc::new(AtomicBool::new(false));
                        let task = tasks.spawn(connection(Arc::clone(&site), socket, Arc::clone(&busy)));
                        open.push_back(Open { task, busy });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "an HTTP connection could not be accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }
}

/// Ends the oldest connection that waits for its client; `false` where there is none.
fn make_room(open: &mut VecDeque<Open>) -> bool {
    let idle = open.iter().position(|connection| !connection.busy.load(Ordering::Relaxed));
    let Some(connection) = idle.and_then(|at| open.remove(at)) else { return false };
    connection.task.abort();
    true
}

async fn connection(site: Arc<Site>, socket: TcpStream, busy: Arc<AtomicBool>) {
    // Small answers should not wait for more to come.
    let _ = socket.set_nodelay(true);
    let service = service_fn(move |request| {
        let (site, busy) = (Arc::clone(&site), Arc::clone(&busy));
        async move {
            busy.store(true, Ordering::Relaxed);
            let response = site.answer(&request).await;
            busy.store(false, Ordering::Relaxed);
            Ok::<_, Infallible>(response)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(socket), service);
    let mut served = pin!(served);
    // How it ended is the client's affair.
    if timeout(LIFETIME, served.as_mut()).await.is_err() {
        served.as_mut().graceful_shutdown();
        let _ = timeout(LAST_REQUEST, served).await;
    }
}
