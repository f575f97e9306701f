//! Implements `RootService` on the context: one server per connection, which remembers who is at the other end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dccd_rpc::root::{
    Endpoint, EnsureError, Events, Progress, RegisterReply, Registration, RootService, RootStatus, ServiceInfo, StopReport,
    StopRequest,
};
use dccd_rpc::{Connection, Greeting, Hello, HelloReply, RpcError};
use dccd_service::PidLock;
use tokio::time::timeout_at;

use crate::cell::Cell;
use crate::context::Context;
use crate::stop::{hand_over, stop};

/// How long before a caller's deadline we answer, so that it hears our words and not its own clock.
const ANSWER_EARLY: Duration = Duration::from_millis(100);

/// The server of one connection.
#[derive(Clone)]
pub(crate) struct RootServer {
    ctx: Arc<Context>,
    greeting: Greeting,
    peer: Option<u32>,
}

impl RootServer {
    pub(crate) fn new(ctx: Arc<Context>, connection: &Connection) -> Self {
        Self { ctx, greeting: connection.greeting().clone(), peer: connection.peer_pid() }
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
        let cell = self.cell(&registration.name)?;
        let lock = self.ctx.runtime_dir.service_lock(&registration.name);
        if cell.expects(registration.pid) && matches!(PidLock::holder(&lock), Ok(Some(pid)) if pid == registration.pid) {
            cell.promote();
        }
        cell.register(registration, self.peer)
    }

    async fn heartbeat(self, _: tarpc::context::Context, name: String, progress: Progress) -> Result<(), RpcError> {
        self.cell(&name)?.beat(progress, self.peer)
    }

    async fn deregister(self, _: tarpc::context::Context, name: String, reason: String) -> Result<(), RpcError> {
        self.cell(&name)?.farewell(reason, self.peer)
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
        Ok(stop(&self.ctx, request).await)
    }

    async fn restart(self, context: tarpc::context::Context, name: String) -> Result<Endpoint, EnsureError> {
        self.ctx.restart(&name, answer_by(&context)).await
    }

    async fn status(self, _: tarpc::context::Context) -> Result<RootStatus, RpcError> {
        Ok(self.ctx.status())
    }

    async fn hand_over(self, _: tarpc::context::Context) -> Result<(), RpcError> {
        hand_over(&self.ctx).await
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
        self.cell(&registration.name)?.stand_by(&registration, trouble, self.peer)
    }
}
