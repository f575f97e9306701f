//! Implements `Alertd` by questions to the loop: one server per connection.

use std::time::Duration;

use dccd_rpc::alertd::{ALERTD_NAME, AlertInfo, AlertList, Alertd};
use dccd_rpc::{Greeting, Hello, HelloReply, RpcError};
use tarpc::context::Context;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Patience with the loop, which never waits for a webhook.
const LOOP_DEADLINE: Duration = Duration::from_secs(5);

/// A question to the loop.
pub(crate) enum Command {
    /// What it knows.
    List {
        /// Where the answer goes.
        reply: oneshot::Sender<AlertList>,
    },
    /// Somebody knows of alerts.
    Acknowledge {
        /// Their ids; none: all.
        ids: Vec<String>,
        /// Until then; 0: until they recover.
        until: i64,
        /// Where the answer goes; the error is the one for the caller.
        reply: oneshot::Sender<Result<Vec<AlertInfo>, RpcError>>,
    },
}

/// The server of one connection.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) greeting: Greeting,
}

impl Session {
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, RpcError> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.commands.send(command(reply)).await.ok()?;
            answer.await.ok()
        };
        let unavailable =
            |reason: &str| RpcError::Unavailable { service: ALERTD_NAME.to_owned(), reason: reason.to_owned() };
        match timeout(LOOP_DEADLINE, asked).await {
            Ok(answer) => answer.ok_or_else(|| unavailable("it is stopping")),
            Err(_) => Err(unavailable("it gave no answer in time")),
        }
    }
}

impl Alertd for Session {
    async fn hello(self, _: Context, hello: Hello) -> Result<HelloReply, RpcError> {
        self.greeting.hello(&hello)
    }

    async fn alerts(self, _: Context) -> Result<AlertList, RpcError> {
        self.ask(|reply| Command::List { reply }).await
    }

    async fn acknowledge(self, _: Context, ids: Vec<String>, until: i64) -> Result<Vec<AlertInfo>, RpcError> {
        self.ask(|reply| Command::Acknowledge { ids, until, reply }).await?
    }
}
