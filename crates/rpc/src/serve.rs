//! Serves a tarpc service on a listening socket: connections and requests are bounded, `hello` comes first.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use tarpc::server::{BaseChannel, Channel, Serve};
use tarpc::{RequestName, ServerError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};

use crate::incoming::Incoming;
use crate::transport::{Io, framed};
use crate::{Greeting, Listener};

/// How much one listener takes on.
#[derive(Clone, Copy, Debug)]
pub struct ServeLimits {
    /// Connections at once; further ones wait in the kernel's backlog.
    pub connections: usize,
    /// Requests at once on one connection; further ones are answered with an error.
    pub requests: usize,
    /// How long open connections may stay once the service stops, so that the last answers get out.
    pub drain: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self { connections: 256, requests: 256, drain: Duration::from_secs(1) }
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A process of this host, of our own user or of root; its id where the kernel knows it.
    Process(Option<u32>),
    /// Somebody who has shown the token, over TCP from there.
    Remote(SocketAddr),
}

/// One accepted connection.
pub struct Connection {
    stream: Box<dyn Io>,
    requests: usize,
    peer: Peer,
    greeting: Greeting,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).field("greeting", &self.greeting).finish_non_exhaustive()
    }
}

impl Connection {
    /// One that was not accepted from a Unix socket, of somebody who has proved itself already. `requests`: as in [`ServeLimits`].
    #[must_use]
    pub fn remote(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        peer: SocketAddr,
        service: &str,
        protocol: u32,
        requests: usize,
    ) -> Self {
        let greeting = Greeting::new(service, protocol);
        Self { stream: Box::new(stream), requests, peer: Peer::Remote(peer), greeting }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// The connection's greeting; the service's `hello` answers with [`Greeting::hello`].
    #[must_use]
    pub fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// Answers requests until the other side closes. Handlers run concurrently in the caller's task: one that blocks
    /// delays this connection only, one that panics ends it.
    pub async fn run<S>(self, serve: S)
    where
        S: Serve + Clone,
        S::Req: for<'de> serde::Deserialize<'de>,
        S::Resp: serde::Serialize,
    {
        let gate = Gate { serve, greeting: self.greeting };
        let messages = framed::<_, Incoming<S::Req>, tarpc::Response<S::Resp>>(self.stream).map_ok(Incoming::bounded);
        BaseChannel::<S::Req, S::Resp, _>::with_defaults(messages)
            .max_concurrent_requests(self.requests)
            .execute(gate)
            .for_each_concurrent(None, |handler| handler)
            .await;
    }
}

/// Lets nothing pass before a proper `hello`.
#[derive(Clone)]
struct Gate<S> {
    serve: S,
    greeting: Greeting,
}

impl<S: Serve> Serve for Gate<S> {
    type Req = S::Req;
    type Resp = S::Resp;

    async fn serve(self, context: tarpc::context::Context, request: S::Req) -> Result<S::Resp, ServerError> {
        // tarpc names a request `Trait.method`.
        if !self.greeting.accepted() && request.name().rsplit('.').next() != Some("hello") {
            return Err(ServerError::new(
                io::ErrorKind::PermissionDenied,
                "the first call of a connection is hello".to_owned(),
            ));
        }
        self.serve.serve(context, request).await
    }
}

/// Accepts connections until `stop` resolves; then takes no more, gives the open ones [`ServeLimits::drain`] to close,
/// and removes the socket. `handle` runs one connection, in a task of its own:
/// `|connection| { let server = Server::new(&connection); connection.run(server.serve()) }`.
pub async fn serve<F, Fut, Stop>(
    listener: Listener,
    service: &str,
    protocol: u32,
    limits: ServeLimits,
    mut handle: F,
    stop: Stop,
) where
    F: FnMut(Connection) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
    Stop: Future<Output = ()>,
{
    let permits = Arc::new(Semaphore::new(limits.connections));
    let (closing, closed) = watch::channel(false);
    tokio::pin!(stop);
    loop {
        let accept = async {
            // The semaphore is never closed; an error here would mean just that, and ends the service.
            let permit = Arc::clone(&permits).acquire_owned().await.map_err(io::Error::other)?;
            listener.accept().await.map(|accepted| (permit, accepted))
        };
        let (permit, (stream, peer_pid)) = tokio::select! {
            () = &mut stop => break,
            accepted = accept => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, or a connection that was gone before we took it.
                    tracing::warn!(service, error = &error as &dyn std::error::Error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let connection = Connection {
            stream: Box::new(stream),
            requests: limits.requests,
            peer: Peer::Process(peer_pid),
            greeting: Greeting::new(service, protocol),
        };
        let run = handle(connection);
        let mut closed = closed.clone();
        tokio::spawn(async move {
            let _permit = permit;
            tokio::select! {
                () = run => {}
                _ = closed.wait_for(|closed| *closed) => {}
            }
        });
    }
    drop(listener);
    let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    // Timing out is the ordinary case: clients that keep their connection open.
    let _ = tokio::time::timeout(limits.drain, permits.acquire_many(all)).await;
    // Nobody is listening when no connection is left.
    let _ = closing.send(true);
}
