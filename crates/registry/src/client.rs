//! Calls to the root of an instance, with deadlines and errors that say what to do.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dccd_rpc::alertd::{ALERTD_NAME, ALERTD_PROTOCOL, AlertdClient};
use dccd_rpc::condition::Conditions;
use dccd_rpc::datad::{DATAD_PROTOCOL, DatadClient};
use dccd_rpc::remote::{Remote, RemoteError};
use dccd_rpc::root::{
    Endpoint, EnsureError, Events, HeartbeatReply, Progress, ROOT_NAME, ROOT_PROTOCOL, RegisterReply, Registration,
    ReloadReport, RootServiceClient, RootStatus, ServiceInfo, ServiceLogLevel, StopReport, StopRequest,
};
use dccd_rpc::syncd::{SYNCD_NAME, SYNCD_PROTOCOL, SyncdClient};
use dccd_rpc::{
    CallError, Hello, HelloReply, RpcError, TransportError, call, client_config, context, spawn_dispatch, unix_connect,
};

use crate::{ProcessWatch, RuntimeDir, RuntimeDirError};

/// What stopping may take beyond the patience with the services themselves.
const STOP_MARGIN: Duration = Duration::from_secs(30);
/// How often a remote root that has stopped is looked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Why the registry could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No root runs there.
    #[error("dccd is not running (nobody listens on {}); start it with: dccd start", socket.display())]
    NotRunning {
        /// The root's socket.
        socket: PathBuf,
    },
    /// The instance has no usable runtime directory.
    #[error("the instance cannot be reached")]
    RuntimeDir(#[from] RuntimeDirError),
    /// The socket can't be reached.
    #[error("cannot reach {service}")]
    Transport {
        /// Whom we wanted.
        service: String,
        /// The cause.
        #[source]
        source: TransportError,
    },
    /// It can't be reached at the address of a root.
    #[error("cannot reach {service}")]
    Remote {
        /// Whom we wanted.
        service: String,
        /// The cause.
        #[source]
        source: RemoteError,
    },
    /// The call failed or was refused.
    #[error(transparent)]
    Call(#[from] CallError<RpcError>),
    /// The service can't be had.
    #[error(transparent)]
    Ensure(#[from] CallError<EnsureError>),
    /// A service listens at an address this client can't use.
    #[error("{service} listens on {endpoint}, which this client cannot reach")]
    Endpoint {
        /// The service.
        service: String,
        /// Its endpoint.
        endpoint: Endpoint,
    },
    /// The root answered the stop but its process stayed.
    #[error("dccd-root (pid {pid}) has stopped its services but did not exit within {} s", waited.as_secs())]
    Lingers {
        /// The root's process.
        pid: u32,
        /// How long we waited.
        waited: Duration,
    },
}

/// A connection to the root of one instance. Clones share it.
#[derive(Clone, Debug)]
pub struct Registry {
    client: RootServiceClient,
    root: HelloReply,
    reach: Reach,
}

/// By which way services are reached.
#[derive(Clone, Debug)]
enum Reach {
    /// By the sockets of this host.
    Local,
    /// Through the root of another.
    Remote(Arc<Remote>),
}

impl Registry {
    /// Connects to the root of an instance and greets it. [`RegistryError::NotRunning`] when there is none.
    pub async fn connect(instance: &str, deadline: Duration) -> Result<Self, RegistryError> {
        Self::connect_in(&RuntimeDir::resolve(instance)?, deadline).await
    }

    /// The same, for an explicit runtime directory.
    pub async fn connect_in(runtime: &RuntimeDir, deadline: Duration) -> Result<Self, RegistryError> {
        let socket = runtime.root_socket();
        let transport = unix_connect(&socket, deadline).await.map_err(|error| match error {
            TransportError::NotListening { path } => RegistryError::NotRunning { socket: path },
            source => RegistryError::Transport { service: ROOT_NAME.to_owned(), source },
        })?;
        let client = spawn_dispatch(RootServiceClient::new(client_config(), transport));
        let root = call(ROOT_NAME, "hello", client.hello(context(deadline), Hello::new(ROOT_PROTOCOL))).await?;
        Ok(Self { client, root, reach: Reach::Local })
    }

    /// The same at an address, of this host or another. Services are reached the same way then: endpoints are names to this client.
    pub async fn connect_remote(remote: Remote, deadline: Duration) -> Result<Self, RegistryError> {
        let remote = Arc::new(remote);
        let transport = remote
            .connect(ROOT_NAME, deadline)
            .await
            .map_err(|source| RegistryError::Remote { service: ROOT_NAME.to_owned(), source })?;
        let client = spawn_dispatch(RootServiceClient::new(client_config(), transport));
        let root = call(ROOT_NAME, "hello", client.hello(context(deadline), Hello::new(ROOT_PROTOCOL))).await?;
        Ok(Self { client, root, reach: Reach::Remote(remote) })
    }

    /// Whether the root may be on another host, so that its files and processes mean nothing here.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        matches!(self.reach, Reach::Remote(_))
    }

    /// Who answered the greeting.
    #[must_use]
    pub fn root(&self) -> &HelloReply {
        &self.root
    }

    /// Where a ready service listens; starts nothing.
    pub async fn find(&self, name: &str, deadline: Duration) -> Result<Option<Endpoint>, RegistryError> {
        Ok(call(ROOT_NAME, "find", self.client.find(context(deadline), name.to_owned())).await?)
    }

    /// Starts a service if it isn't running, and waits until it is ready.
    pub async fn ensure(&self, name: &str, deadline: Duration) -> Result<Endpoint, RegistryError> {
        Ok(call(ROOT_NAME, "ensure", self.client.ensure(context(deadline), name.to_owned())).await?)
    }

    /// All services, the root first.
    pub async fn list(&self, deadline: Duration) -> Result<Vec<ServiceInfo>, RegistryError> {
        Ok(call(ROOT_NAME, "list", self.client.list(context(deadline))).await?)
    }

    /// State changes after `cursor` (0: all that are kept); waits up to `wait` for the first one.
    pub async fn watch(&self, cursor: u64, wait: Duration) -> Result<Events, RegistryError> {
        match call(ROOT_NAME, "watch", self.client.watch(context(wait), cursor)).await {
            // The root answers a little before; a deadline that passes all the same means the same: nothing yet.
            Err(CallError::Deadline { .. }) => Ok(Events { cursor, ..Events::default() }),
            result => Ok(result?),
        }
    }

    /// What is wrong in the tree; where that is of this `revision`, waits up to `wait` for a change, and `None` says that there
    /// was none. (The root says so shortly before: one that says nothing at all is stuck, and that is an error.)
    pub async fn conditions(&self, revision: u64, wait: Duration) -> Result<Option<Conditions>, RegistryError> {
        let now = call(ROOT_NAME, "watch_conditions", self.client.watch_conditions(context(wait), revision)).await?;
        Ok(Some(now).filter(|conditions| conditions.revision != revision))
    }

    /// Stops a service and starts it again; answers when it is ready.
    pub async fn restart(&self, name: &str, deadline: Duration) -> Result<Endpoint, RegistryError> {
        Ok(call(ROOT_NAME, "restart", self.client.restart(context(deadline), name.to_owned())).await?)
    }

    /// Replaces a service's process by one that is ready before the old one leaves; answers when it is.
    pub async fn replace(&self, name: &str, deadline: Duration) -> Result<Endpoint, RegistryError> {
        Ok(call(ROOT_NAME, "replace", self.client.replace(context(deadline), name.to_owned())).await?)
    }

    /// Says of this process that it could take the service over whose name it has, or why it can't.
    pub async fn stand_by(
        &self,
        registration: Registration,
        trouble: Option<String>,
        deadline: Duration,
    ) -> Result<(), RegistryError> {
        Ok(call(ROOT_NAME, "stand_by", self.client.stand_by(context(deadline), registration, trouble)).await?)
    }

    /// Lets the root replace itself: it leaves its services as they are, ends, and starts anew with the arguments it was
    /// started with. Answers when the services are let go of; the new root is to be waited for.
    pub async fn hand_over(&self, deadline: Duration) -> Result<(), RegistryError> {
        Ok(call(ROOT_NAME, "hand_over", self.client.hand_over(context(deadline))).await?)
    }

    /// Has the configuration read anew; see [`dccd_rpc::root::RootService::reload`].
    pub async fn reload(&self, dry_run: bool, deadline: Duration) -> Result<ReloadReport, RegistryError> {
        Ok(call(ROOT_NAME, "reload", self.client.reload(context(deadline), dry_run)).await?)
    }

    /// The root itself.
    pub async fn status(&self, deadline: Duration) -> Result<RootStatus, RegistryError> {
        Ok(call(ROOT_NAME, "status", self.client.status(context(deadline))).await?)
    }

    /// Stops everything and returns when it is flushed and gone, the root's own process included. `patience` is how
    /// long one service may take; `None`: as configured.
    pub async fn stop(&self, force: bool, patience: Option<Duration>) -> Result<StopReport, RegistryError> {
        // Lazy services share one patience, eager ones another; without a number the root applies its own.
        let deadline = patience.map_or(dccd_rpc::DEADLINE_MAX, |p| p * 2 + STOP_MARGIN);
        // Taken before the call, while the pid is surely the root's.
        let gone = if self.is_remote() { None } else { ProcessWatch::open(self.root.pid).ok() };
        let request = StopRequest { force, timeout: patience };
        let report = call(ROOT_NAME, "stop", self.client.stop(context(deadline), request)).await?;
        if let Reach::Remote(remote) = &self.reach {
            self.closed(remote).await?;
        }
        if let Some(gone) = gone
            && tokio::time::timeout(STOP_MARGIN, gone.exited()).await.is_err()
        {
            return Err(RegistryError::Lingers { pid: self.root.pid, waited: STOP_MARGIN });
        }
        Ok(report)
    }

    /// For services: says that this process is ready.
    pub async fn register(&self, registration: Registration, deadline: Duration) -> Result<RegisterReply, RegistryError> {
        Ok(call(ROOT_NAME, "register", self.client.register(context(deadline), registration)).await?)
    }

    /// For services: says that this process lives; hears what the root wants.
    pub async fn heartbeat(
        &self,
        name: &str,
        progress: Progress,
        deadline: Duration,
    ) -> Result<HeartbeatReply, RegistryError> {
        Ok(call(ROOT_NAME, "heartbeat", self.client.heartbeat(context(deadline), name.to_owned(), progress)).await?)
    }

    /// For services: says that this process is about to exit, and what it has made durable at the last.
    pub async fn deregister(
        &self,
        name: &str,
        reason: &str,
        flushed: Vec<(String, u64)>,
        deadline: Duration,
    ) -> Result<(), RegistryError> {
        let future = self.client.deregister(context(deadline), name.to_owned(), reason.to_owned(), flushed);
        Ok(call(ROOT_NAME, "deregister", future).await?)
    }

    /// Lets a service (`None`: all) log by these directives; `None`: as configured again.
    pub async fn set_log_level(
        &self,
        service: Option<&str>,
        directives: Option<&str>,
        deadline: Duration,
    ) -> Result<(), RegistryError> {
        let (service, directives) = (service.map(str::to_owned), directives.map(str::to_owned));
        let future = self.client.set_log_level(context(deadline), service, directives);
        Ok(call(ROOT_NAME, "set_log_level", future).await?)
    }

    /// By what directives each service logs, the root first.
    pub async fn log_levels(&self, deadline: Duration) -> Result<Vec<ServiceLogLevel>, RegistryError> {
        Ok(call(ROOT_NAME, "log_levels", self.client.log_levels(context(deadline))).await?)
    }

    /// A greeted client of `datad.<exchange>`, which is started if need be.
    pub async fn datad(&self, exchange: &str, deadline: Duration) -> Result<DatadClient, RegistryError> {
        let name = format!("datad.{exchange}");
        let endpoint = self.ensure(&name, deadline).await?;
        self.datad_at(&name, &endpoint, deadline).await
    }

    /// A greeted client of `syncd`, which is started if need be.
    pub async fn syncd(&self, deadline: Duration) -> Result<SyncdClient, RegistryError> {
        let endpoint = self.ensure(SYNCD_NAME, deadline).await?;
        let Some(path) = endpoint.unix_path() else {
            return Err(RegistryError::Endpoint { service: SYNCD_NAME.to_owned(), endpoint });
        };
        connect_syncd(path, deadline).await
    }

    /// A greeted client of the datad of this name, which listens there.
    pub async fn datad_at(&self, name: &str, endpoint: &Endpoint, deadline: Duration) -> Result<DatadClient, RegistryError> {
        match (&self.reach, endpoint.unix_path()) {
            (Reach::Local, Some(path)) => connect_datad(name, path, deadline).await,
            (Reach::Local, None) => Err(RegistryError::Endpoint { service: name.to_owned(), endpoint: endpoint.clone() }),
            (Reach::Remote(remote), _) => {
                let transport = remote
                    .connect(name, deadline)
                    .await
                    .map_err(|source| RegistryError::Remote { service: name.to_owned(), source })?;
                greeted(name, spawn_dispatch(DatadClient::new(client_config(), transport)), deadline).await
            }
        }
    }

    /// A greeted client of alertd, which listens there.
    pub async fn alertd_at(&self, endpoint: &Endpoint, deadline: Duration) -> Result<AlertdClient, RegistryError> {
        let remote = match &self.reach {
            Reach::Local => return connect_alertd(endpoint, deadline).await,
            Reach::Remote(remote) => remote,
        };
        let transport = remote
            .connect(ALERTD_NAME, deadline)
            .await
            .map_err(|source| RegistryError::Remote { service: ALERTD_NAME.to_owned(), source })?;
        greeted_alertd(spawn_dispatch(AlertdClient::new(client_config(), transport)), deadline).await
    }

    /// Waits until a remote root that has stopped listens no more: then its process is as good as gone.
    async fn closed(&self, remote: &Remote) -> Result<(), RegistryError> {
        let until = tokio::time::Instant::now() + STOP_MARGIN;
        while remote.connect::<(), ()>(ROOT_NAME, STOP_MARGIN).await.is_ok() {
            if tokio::time::Instant::now() >= until {
                return Err(RegistryError::Lingers { pid: self.root.pid, waited: STOP_MARGIN });
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }
}

/// Connects to alertd's socket and greets it.
async fn connect_alertd(endpoint: &Endpoint, deadline: Duration) -> Result<AlertdClient, RegistryError> {
    let service = || ALERTD_NAME.to_owned();
    let Some(socket) = endpoint.unix_path() else {
        return Err(RegistryError::Endpoint { service: service(), endpoint: endpoint.clone() });
    };
    let transport =
        unix_connect(socket, deadline).await.map_err(|source| RegistryError::Transport { service: service(), source })?;
    greeted_alertd(spawn_dispatch(AlertdClient::new(client_config(), transport)), deadline).await
}

async fn greeted_alertd(client: AlertdClient, deadline: Duration) -> Result<AlertdClient, RegistryError> {
    call(ALERTD_NAME, "hello", client.hello(context(deadline), Hello::new(ALERTD_PROTOCOL))).await?;
    Ok(client)
}

/// Connects to syncd's socket and greets it.
pub async fn connect_syncd(socket: &Path, deadline: Duration) -> Result<SyncdClient, RegistryError> {
    let transport = unix_connect(socket, deadline)
        .await
        .map_err(|source| RegistryError::Transport { service: SYNCD_NAME.to_owned(), source })?;
    let client = spawn_dispatch(SyncdClient::new(client_config(), transport));
    call(SYNCD_NAME, "hello", client.hello(context(deadline), Hello::new(SYNCD_PROTOCOL))).await?;
    Ok(client)
}

/// Connects to a datad's socket and greets it.
pub async fn connect_datad(name: &str, socket: &Path, deadline: Duration) -> Result<DatadClient, RegistryError> {
    let transport = unix_connect(socket, deadline)
        .await
        .map_err(|source| RegistryError::Transport { service: name.to_owned(), source })?;
    greeted(name, spawn_dispatch(DatadClient::new(client_config(), transport)), deadline).await
}

async fn greeted(name: &str, client: DatadClient, deadline: Duration) -> Result<DatadClient, RegistryError> {
    call(name, "hello", client.hello(context(deadline), Hello::new(DATAD_PROTOCOL))).await?;
    Ok(client)
}
