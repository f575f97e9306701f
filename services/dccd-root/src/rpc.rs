//! Implements `RootService` on the context: one server per connection, which remembers who is at the other end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dccd_rpc::condition::Conditions;
use dccd_rpc::root::{
    Endpoint, EnsureError, Events, HeartbeatReply, Progress, ROOT_NAME, RegisterReply, Registration, ReloadReport,
    RootService, RootStatus, ServiceInfo, ServiceLogLevel, StopReport, StopRequest,
};
use dccd_rpc::{Connection, Greeting, Hello, HelloReply, Peer, RpcError};
use dccd_service::PidLock;
use tokio::time::timeout_at;

use crate::cell::Cell;
use crate::conditions;
use crate::context::Context;
use crate::reload::reload;
use crate::stop::{hand_over, stop_on_request};

/// How long before a caller's deadline we answer, so that it hears our words and not its own clock.
const ANSWER_EARLY: Duration = Duration::from_millis(100);

/// The server of one connection.
#[derive(Clone)]
pub(crate) struct RootServer {
    ctx: Arc<Context>,
    greeting: Greeting,
    peer: Peer,
}

impl RootServer {
    pub(crate) fn new(ctx: Arc<Context>, connection: &Connection) -> Self {
        Self { ctx, greeting: connection.greeting().clone(), peer: connection.peer() }
    }

    /// The process at the other end, where the kernel knows it. What only a process of this host may do is refused to others, whatever
    /// they have shown.
    fn local(&self, what: &str) -> Result<Option<u32>, RpcError> {
        match self.peer {
            Peer::Process(pid) => Ok(pid),
            Peer::Remote(address) => {
                tracing::warn!(%address, what, "refused to a remote client");
                let reason = format!("{what} is for processes of the daemon's own host");
                Err(RpcError::Refused { service: ROOT_NAME.to_owned(), reason })
            }
        }
    }

    fn cell(&self, name: &str) -> Result<Arc<Cell>, RpcError> {
        self.ctx.cell(name).ok_or_else(|| RpcError::Unknown {
            what: "service".to_owned(),
            name: name.to_owned(),
            known: self.ctx.cells().iter().map(|cell| cell.name().to_owned()).collect(),
        })
    }
}

/// A little before the caller's deadline, at most a tenth of the time that is left.
fn answer_by(context: &tarpc::context::Context) -> Instant {
    let left = context.deadline.saturating_duration_since(Instant::now());
    Instant::now() + left.saturating_sub(ANSWER_EARLY.min(left / 10))
}

impl RootService for RootServer {
    async fn hello(self, _: tarpc::context::Context, hello: Hello) -> Result<HelloReply, RpcError> {
        self.greeting.hello(&hello)
    }

    async fn register(self, _: tarpc::context::Context, registration: Registration) -> Result<RegisterReply, RpcError> {
        let peer = self.local("registering")?;
        let log_level = self.ctx.log_level(&registration.name);
        let cell = self.cell(&registration.name)?;
        let lock = self.ctx.runtime_dir.service_lock(&registration.name);
        if cell.expects(registration.pid) && matches!(PidLock::holder(&lock), Ok(Some(pid)) if pid == registration.pid) {
            cell.promote();
        }
        let reply = cell.register(registration, peer)?;
        Ok(RegisterReply { log_level, ..reply })
    }

    async fn heartbeat(
        self,
        _: tarpc::context::Context,
        name: String,
        progress: Progress,
    ) -> Result<HeartbeatReply, RpcError> {
        let peer = self.local("sending heartbeats")?;
        let reply = self.cell(&name)?.beat(progress, peer)?;
        Ok(HeartbeatReply { log_level: self.ctx.log_level(&name), ..reply })
    }

    async fn deregister(
        self,
        _: tarpc::context::Context,
        name: String,
        reason: String,
        flushed: Vec<(String, u64)>,
    ) -> Result<(), RpcError> {
        let peer = self.local("deregistering")?;
        self.cell(&name)?.farewell(reason, flushed, peer)
    }

    async fn list(self, _: tarpc::context::Context) -> Result<Vec<ServiceInfo>, RpcError> {
        Ok(self.ctx.list())
    }

    async fn find(self, _: tarpc::context::Context, name: String) -> Result<Option<Endpoint>, RpcError> {
        let cell = self.cell(&name)?;
        let state = cell.state();
        Ok(state.endpoint.clone().filter(|_| state.phase.is_ready()))
    }

    async fn ensure(self, context: tarpc::context::Context, name: String) -> Result<Endpoint, EnsureError> {
        self.ctx.ensure(&name, answer_by(&context)).await
    }

    async fn watch(self, context: tarpc::context::Context, cursor: u64) -> Result<Events, RpcError> {
        let mut last = self.ctx.events.subscribe();
        let until = answer_by(&context);
        loop {
            let events = self.ctx.events.after(cursor);
            if !events.events.is_empty() || timeout_at(until.into(), last.changed()).await.is_err() {
                return Ok(events);
            }
        }
    }

    async fn stop(self, _: tarpc::context::Context, request: StopRequest) -> Result<StopReport, RpcError> {
        stop_on_request(&self.ctx, request).await
    }

    async fn restart(self, context: tarpc::context::Context, name: String) -> Result<Endpoint, EnsureError> {
        self.ctx.restart(&name, answer_by(&context)).await
    }

    async fn status(self, _: tarpc::context::Context) -> Result<RootStatus, RpcError> {
        Ok(self.ctx.status())
    }

    async fn reload(self, _: tarpc::context::Context, dry_run: bool) -> Result<ReloadReport, RpcError> {
        reload(&self.ctx, dry_run).await
    }

    async fn hand_over(self, _: tarpc::context::Context) -> Result<(), RpcError> {
        // What the next root will read can only be checked there, and from afar a root that doesn't come back can't be started.
        self.local("handing over to another dccd-root")?;
        hand_over(&self.ctx).await
    }

    async fn set_log_level(
        self,
        _: tarpc::context::Context,
        service: Option<String>,
        directives: Option<String>,
    ) -> Result<(), RpcError> {
        self.ctx.set_log_level(service, directives)
    }

    async fn log_levels(self, _: tarpc::context::Context) -> Result<Vec<ServiceLogLevel>, RpcError> {
        Ok(self.ctx.log_levels())
    }
    async fn watch_conditions(self, context: tarpc::context::Context, revision: u64) -> Result<Conditions, RpcError> {
        let mut last = self.ctx.board.subscribe();
        let until = answer_by(&context);
        loop {
            let now = conditions::report(&self.ctx);
            if now.revision != revision || timeout_at(until.into(), last.changed()).await.is_err() {
                return Ok(now);
            }
        }
    }

    async fn replace(self, context: tarpc::context::Context, name: String) -> Result<Endpoint, EnsureError> {
        self.ctx.replace(&name, None, answer_by(&context)).await
    }

    async fn stand_by(
        self,
        _: tarpc::context::Context,
        registration: Registration,
        trouble: Option<String>,
    ) -> Result<(), RpcError> {
        let peer = self.local("standing by")?;
        self.cell(&registration.name)?.stand_by(&registration, trouble, peer)
    }
}
