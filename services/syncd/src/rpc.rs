//! The service that clients talk to. Every call is answered at once.

use dccd_rpc::syncd::{RemoteStatus, SyncRun, Syncd};
use dccd_rpc::{Greeting, Hello, HelloReply, RpcError};
use tarpc::context::Context;

use crate::engine::Engine;

/// The server of one connection.
#[derive(Clone)]
pub(crate) struct Session {
    /// What all connections share.
    pub(crate) engine: Engine,
    /// Whether this one has introduced itself.
    pub(crate) greeting: Greeting,
}

impl Syncd for Session {
    async fn hello(self, _: Context, hello: Hello) -> Result<HelloReply, RpcError> {
        self.greeting.hello(&hello)
    }

    async fn begin(self, _: Context, remotes: Vec<String>) -> Result<Vec<SyncRun>, RpcError> {
        self.engine.begin(&remotes)
    }

    async fn status(self, _: Context) -> Result<Vec<RemoteStatus>, RpcError> {
        Ok(self.engine.status().await)
    }
}
