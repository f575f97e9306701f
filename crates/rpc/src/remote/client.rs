//! The client's side: connects to a remote root, proves itself, and is joined to the service that it wants.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig};

use super::greeting::{Answer, Verdict, read_answer, write_credentials, write_opening};
use super::stream::RemoteStream;
use super::{RemoteAddress, Token};
use crate::Codec;
use crate::transport::{Io, framed};

/// A connected transport, as [`crate::Transport`] is one over a Unix socket.
pub type RemoteTransport<Item, SinkItem> =
    tarpc::serde_transport::Transport<RemoteStream, Item, SinkItem, Codec<Item, SinkItem>>;

/// Where a remote root is, and how to get in.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Where it listens.
    pub address: RemoteAddress,
    /// What to show; `None` where it asks for nothing.
    pub token: Option<Token>,
    /// What to trust; `None`: no TLS.
    pub tls: Option<Arc<ClientConfig>>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The name means nothing.
    #[error("cannot find the host \"{}\"; check its name in the address", address.host())]
    Resolve {
        /// Where to.
        address: RemoteAddress,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Nobody listens.
    #[error(
        "nobody listens on {address}; dccd is not running there, or its configuration has no daemon.rpc with this address"
    )]
    NobodyListens {
        /// Where to.
        address: RemoteAddress,
    },
    /// The network doesn't lead there.
    #[error("cannot connect to {address}")]
    Connect {
        /// Where to.
        address: RemoteAddress,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Too slow.
    #[error(
        "no connection to {address} within {} s ({stage}); check the address, and that no firewall is in between",
        deadline.as_secs()
    )]
    Deadline {
        /// Where to.
        address: RemoteAddress,
        /// What was waited for.
        stage: &'static str,
        /// How long.
        deadline: Duration,
    },
    /// Another kind of server.
    #[error("what listens on {address} is not dccd's RPC; check the port (daemon.rpc.address in the configuration there)")]
    Foreign {
        /// Where to.
        address: RemoteAddress,
    },
    /// TLS is wanted and was not begun.
    #[error("{address} speaks TLS only; add --tls, or --tls-ca FILE where its authority is your own")]
    TlsWanted {
        /// Where to.
        address: RemoteAddress,
    },
    /// TLS was begun and is not spoken there.
    #[error(
        "{address} doesn't speak TLS; if that is dccd's RPC, leave --tls out, or set daemon.rpc.tls in the configuration there"
    )]
    NoTls {
        /// Where to.
        address: RemoteAddress,
    },
    /// Whoever listens can't show that it is who was meant.
    #[error(
        "the certificate of {address} is not to be trusted; give the authority that signed it with --tls-ca FILE, and the host's name as it stands in the certificate"
    )]
    Certificate {
        /// Where to.
        address: RemoteAddress,
        /// The cause.
        #[source]
        source: rustls::Error,
    },
    /// No token was shown.
    #[error("{address} asks for a token; set DCCD_RPC_TOKEN, or name a file that holds it with --token-file")]
    NoToken {
        /// Where to.
        address: RemoteAddress,
    },
    /// Another token was shown.
    #[error(
        "{address} refuses the token; it must be the one of daemon.rpc in the configuration there (DCCD_RPC_TOKEN, --token-file)"
    )]
    WrongToken {
        /// Where to.
        address: RemoteAddress,
    },
    /// The two sides begin differently.
    #[error("{address} speaks another version of the remote RPC ({version}); use the same version of dccd on both hosts")]
    Version {
        /// Where to.
        address: RemoteAddress,
        /// The other side's words.
        version: String,
    },
    /// Refused for another reason.
    #[error("{address} refuses the connection: {reason}")]
    Refused {
        /// Where to.
        address: RemoteAddress,
        /// The other side's words.
        reason: String,
    },
    /// It ended before it had begun.
    #[error("the connection to {address} broke before it was made")]
    Broken {
        /// Where to.
        address: RemoteAddress,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl Remote {
    /// Connects to a service by its name; the root itself is one. The transport goes into a tarpc client.
    pub async fn connect<Item, SinkItem>(
        &self,
        service: &str,
        deadline: Duration,
    ) -> Result<RemoteTransport<Item, SinkItem>, RemoteError>
    where
        Item: for<'de> serde::Deserialize<'de>,
        SinkItem: serde::Serialize,
    {
        let mut stage = "finding the host";
        let connecting = self.connected(service, &mut stage);
        let result = tokio::time::timeout(deadline, connecting).await;
        let late = |_| Err(RemoteError::Deadline { address: self.address.clone(), stage, deadline });
        Ok(framed(RemoteStream::new(result.unwrap_or_else(late)?)))
    }

    async fn connected(&self, service: &str, stage: &mut &'static str) -> Result<Box<dyn Io>, RemoteError> {
        let tcp = self.tcp(stage).await?;
        let mut stream: Box<dyn Io> = match &self.tls {
            None => Box::new(tcp),
            Some(config) => {
                *stage = "TLS";
                Box::new(self.encrypted(tcp, Arc::clone(config)).await?)
            }
        };
        *stage = "its first answer";
        write_opening(&mut stream).await.map_err(|source| self.broken(source))?;
        self.may_go_on(&mut stream).await?;
        // Not before: whatever else listens there gets no token.
        *stage = "its answer to the token";
        write_credentials(&mut stream, self.token.as_ref(), service).await.map_err(|source| self.broken(source))?;
        self.may_go_on(&mut stream).await?;
        Ok(stream)
    }

    async fn tcp(&self, stage: &mut &'static str) -> Result<TcpStream, RemoteError> {
        let address = || self.address.clone();
        let resolve = |source| RemoteError::Resolve { address: address(), source };
        let found = tokio::net::lookup_host((self.address.host(), self.address.port())).await.map_err(resolve)?;
        *stage = "TCP";
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for candidate in found {
            match TcpStream::connect(candidate).await {
                Ok(stream) => {
                    // Small requests should not wait for more to come; without it they are slower, and that's all.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => failed = error,
            }
        }
        Err(match failed.kind() {
            io::ErrorKind::ConnectionRefused => RemoteError::NobodyListens { address: address() },
            io::ErrorKind::NotFound => resolve(failed),
            _ => RemoteError::Connect { address: address(), source: failed },
        })
    }

    async fn encrypted(
        &self,
        tcp: TcpStream,
        config: Arc<ClientConfig>,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, RemoteError> {
        let address = self.address.clone();
        let Ok(name) = ServerName::try_from(self.address.host().to_owned()) else {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "no certificate can be of a host of this name");
            return Err(RemoteError::Resolve { address, source });
        };
        TlsConnector::from(config).connect(name, tcp).await.map_err(|error| {
            let known = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match known {
                Some(rustls::Error::InvalidCertificate(_)) => {
                    let source = known.cloned().unwrap_or(rustls::Error::DecryptError);
                    RemoteError::Certificate { address, source }
                }
                Some(rustls::Error::InvalidMessage(_)) => RemoteError::NoTls { address },
                _ => self.broken(error),
            }
        })
    }

    fn broken(&self, source: io::Error) -> RemoteError {
        let source = match source.kind() {
            // The library's words for it are of no use to anybody.
            io::ErrorKind::UnexpectedEof => io::Error::new(source.kind(), "the other side closed it"),
            _ => source,
        };
        RemoteError::Broken { address: self.address.clone(), source }
    }

    async fn may_go_on(&self, stream: &mut Box<dyn Io>) -> Result<(), RemoteError> {
        let address = self.address.clone();
        let (verdict, reason) = match read_answer(stream).await.map_err(|source| self.broken(source))? {
            Answer::Ours(verdict, reason) => (verdict, reason),
            Answer::OtherVersion(version) => {
                return Err(RemoteError::Version { address, version: version.to_string() });
            }
            Answer::Tls => return Err(RemoteError::TlsWanted { address }),
            Answer::Foreign => return Err(RemoteError::Foreign { address }),
        };
        match verdict {
            Verdict::GoOn => Ok(()),
            Verdict::Version => Err(RemoteError::Version { address, version: reason }),
            Verdict::TlsWanted => Err(RemoteError::TlsWanted { address }),
            Verdict::WrongToken => Err(RemoteError::WrongToken { address }),
            Verdict::NoToken => Err(RemoteError::NoToken { address }),
            Verdict::Busy | Verdict::Throttled | Verdict::Service | Verdict::Malformed => {
                Err(RemoteError::Refused { address, reason })
            }
        }
    }
}
