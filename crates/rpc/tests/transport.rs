//! Sockets: modes, stale ones, taken ones, limits.
#![allow(clippy::print_stdout, reason = "tests say what they skip")]

use std::fs;
use std::future::Future;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use dccd_rpc::{
    CallError, Greeting, Hello, HelloReply, RpcError, ServeLimits, TransportError, call, client_config, context, serve,
    spawn_dispatch, unix_connect, unix_listen,
};
use dccd_testkit::raw;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const PATIENCE: Duration = Duration::from_secs(20);

#[tarpc::service]
trait Echo {
    async fn hello(hello: Hello) -> Result<HelloReply, RpcError>;
    async fn echo(text: String) -> Result<String, RpcError>;
    async fn hang() -> Result<(), RpcError>;
    async fn panic() -> Result<(), RpcError>;
}

#[derive(Clone)]
struct EchoServer(Greeting);

impl Echo for EchoServer {
    async fn hello(self, _: tarpc::context::Context, hello: Hello) -> Result<HelloReply, RpcError> {
        self.0.hello(&hello)
    }
    async fn echo(self, _: tarpc::context::Context, text: String) -> Result<String, RpcError> {
        Ok(text)
    }
    async fn hang(self, _: tarpc::context::Context) -> Result<(), RpcError> {
        std::future::pending().await
    }
    async fn panic(self, _: tarpc::context::Context) -> Result<(), RpcError> {
        panic!("told to")
    }
}

/// A path in a private directory (temporary ones are as open as the umask says).
fn socket(dir: &tempfile::TempDir) -> std::path::PathBuf {
    let run = dir.path().join("run");
    dccd_rpc::private_directory(&run).unwrap();
    run.join("x.sock")
}

async fn client(path: &std::path::Path) -> EchoClient {
    let client = spawn_dispatch(EchoClient::new(client_config(), unix_connect(path, PATIENCE).await.unwrap()));
    call("echo", "hello", client.hello(context(PATIENCE), Hello::new(1))).await.unwrap();
    client
}

fn start(
    path: &std::path::Path,
    limits: ServeLimits,
    stop: impl Future<Output = ()> + Send + 'static,
) -> tokio::task::JoinHandle<()> {
    let listener = unix_listen(path).unwrap();
    tokio::spawn(serve(
        listener,
        "echo",
        1,
        limits,
        |c| {
            let server = EchoServer(c.greeting().clone());
            c.run(server.serve())
        },
        stop,
    ))
}

#[tokio::test]
async fn a_socket_is_private_and_goes_with_its_listener() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run").join("x.sock");
    let listener = unix_listen(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o7777, 0o700);
    assert!(matches!(unix_listen(&path), Err(TransportError::InUse { .. })));
    drop(listener);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_anything_else_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = socket(&dir);
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    assert!(matches!(unix_connect::<(), ()>(&path, PATIENCE).await, Err(TransportError::NotListening { .. })));
    drop(unix_listen(&path).unwrap());
    fs::write(&path, "precious").unwrap();
    assert!(matches!(unix_listen(&path), Err(TransportError::NotSocket { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    let long = path.with_file_name("x".repeat(120));
    let error = unix_listen(&long).unwrap_err();
    assert!(error.to_string().contains("more than the 107"), "{error}");
}

#[tokio::test]
async fn a_socket_of_another_user_is_not_trusted() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: a_socket_of_another_user_is_not_trusted: needs the right to start a process as another user");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let path = dir.path().join("x.sock");
    let script = "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen()\nprint(flush=True)\nsys.stdin.read()";
    let mut command = Command::new("python3");
    command.arg("-c").arg(script).arg(&path).uid(65534).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut other = match command.spawn() {
        Ok(other) => other,
        Err(error) => {
            println!("skipped: a_socket_of_another_user_is_not_trusted: no python3 ({error})");
            return;
        }
    };
    // One line says that it listens.
    let _ = other.stdout.as_mut().unwrap().read(&mut [0]).unwrap();
    let refused = unix_connect::<(), ()>(&path, PATIENCE).await.map(drop).unwrap_err();
    drop(other.stdin.take());
    other.wait().unwrap();
    assert!(matches!(refused, TransportError::ForeignListener { uid: 65534, .. }), "{refused}");
}

#[tokio::test]
async fn another_user_is_not_served() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: another_user_is_not_served: needs the right to start a process as another user");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = socket(&dir);
    start(&path, ServeLimits::default(), std::future::pending());
    // The modes keep others out, until somebody changes them.
    for (path, mode) in [(dir.path(), 0o755), (path.parent().unwrap(), 0o755), (&*path, 0o666)] {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    let script = "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\nprint('connected')\nsys.stdout.write(repr(s.recv(1)))";
    let mut command = Command::new("python3");
    command.arg("-c").arg(script).arg(&path).uid(65_534);
    let other = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let other = match other {
        Ok(other) => other,
        Err(error) => {
            println!("skipped: another_user_is_not_served: no python3 ({error})");
            return;
        }
    };
    // Closed without a word, and the next one of our own is served.
    assert_eq!(String::from_utf8_lossy(&other.stdout), "connected\nb''", "{}", String::from_utf8_lossy(&other.stderr));
    call("echo", "echo", client(&path).await.echo(context(PATIENCE), String::new())).await.unwrap();
}

#[tokio::test]
async fn an_open_directory_holds_no_socket() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let error = unix_listen(&dir.path().join("x.sock")).unwrap_err();
    assert!(matches!(error, TransportError::Directory(_)), "{error}");
}

#[tokio::test]
async fn messages_up_to_the_frame_limit_pass_and_larger_ones_break_their_connection_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = socket(&dir);
    start(&path, ServeLimits::default(), std::future::pending());
    let (first, second) = (client(&path).await, client(&path).await);
    let large = "x".repeat(8_000_000);
    let echo = call("echo", "echo", first.echo(context(PATIENCE), large.clone())).await.unwrap();
    assert_eq!(echo.len(), large.len());
    let error = call("echo", "echo", first.echo(context(PATIENCE), "x".repeat(9_000_000))).await.unwrap_err();
    assert!(matches!(error, CallError::Connection { .. }), "{error}");
    call("echo", "echo", second.echo(context(PATIENCE), String::new())).await.unwrap();
}

#[tokio::test]
async fn a_panic_or_garbage_ends_its_connection_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = socket(&dir);
    start(&path, ServeLimits::default(), std::future::pending());
    let (first, second) = (client(&path).await, client(&path).await);
    let error = call("echo", "panic", first.panic(context(PATIENCE))).await.unwrap_err();
    assert!(matches!(error, CallError::Connection { .. }), "{error}");
    let mut garbage = tokio::net::UnixStream::connect(&path).await.unwrap();
    garbage.write_all(&[0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff]).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, garbage.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.is_empty());
    call("echo", "echo", second.echo(context(PATIENCE), String::new())).await.unwrap();
}

#[tokio::test]
async fn who_wants_to_wait_for_ages_is_answered_and_who_names_no_time_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = socket(&dir);
    start(&path, ServeLimits::default(), std::future::pending());
    let mut client = tokio::net::UnixStream::connect(&path).await.unwrap();
    client.write_all(&raw::hello(0, (u64::MAX, 999_999_999), 1)).await.unwrap();
    let answer = async |client: &mut tokio::net::UnixStream| {
        let reading = async {
            let mut bytes = vec![0; usize::try_from(client.read_u32().await.unwrap()).unwrap()];
            client.read_exact(&mut bytes).await.unwrap();
            bytes
        };
        tokio::time::timeout(PATIENCE, reading).await.unwrap()
    };
    // The request's number, that it was answered, by which method, and that it went well.
    assert_eq!(answer(&mut client).await[..4], [0; 4]);
    // Timers end after two years, dates with the year 9999, and the clock itself before all of the numbers do.
    for (id, seconds) in [(1, u64::MAX), (2, 100_000_000), (3, 1 << 40), (4, i64::MAX.unsigned_abs())] {
        client.write_all(&raw::request(id.into(), (seconds, 0), 1, &raw::text("x"))).await.unwrap();
        assert_eq!(answer(&mut client).await, [id, 0, 1, 0, 1, b'x'], "{seconds} s");
    }
    client.write_all(&raw::request(9, (u64::MAX, u32::MAX), 1, &raw::text("x"))).await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, client.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn too_many_requests_are_rejected_and_deadlines_hold() {
    let dir = tempfile::tempdir().unwrap();
    let path = socket(&dir);
    start(&path, ServeLimits { requests: 2, ..ServeLimits::default() }, std::future::pending());
    let client = client(&path).await;
    let hang = |deadline| {
        let client = client.clone();
        tokio::spawn(async move { call("echo", "hang", client.hang(context(deadline))).await.unwrap_err() })
    };
    let (first, second) = (hang(Duration::from_millis(800)), hang(Duration::from_millis(800)));
    let third = loop {
        // Until both are under way at the server.
        match call("echo", "echo", client.echo(context(PATIENCE), String::new())).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert!(matches!(third, CallError::Rejected { .. }), "{third}");
    for hanging in [first, second] {
        let error = hanging.await.unwrap();
        assert!(matches!(error, CallError::Deadline { .. }), "{error}");
    }
    // The server has let go of them.
    loop {
        if call("echo", "echo", client.echo(context(PATIENCE), String::new())).await.is_ok() {
            break;
        }
    }
}

#[tokio::test]
async fn stopping_removes_the_socket_and_closes_what_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = socket(&dir);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let limits = ServeLimits { drain: Duration::from_millis(50), ..ServeLimits::default() };
    let serving = start(&path, limits, async { drop(stopped.await) });
    let client = client(&path).await;
    let hanging = tokio::spawn(async move { client.hang(context(PATIENCE)).await });
    stop.send(()).unwrap();
    tokio::time::timeout(PATIENCE, serving).await.unwrap().unwrap();
    assert!(!path.exists());
    assert!(tokio::time::timeout(PATIENCE, hanging).await.unwrap().unwrap().is_err());
}

#[test]
fn a_deadline_is_a_day_at_most() {
    let context = context(Duration::from_secs(u64::MAX));
    assert!(context.deadline <= std::time::Instant::now() + dccd_rpc::DEADLINE_MAX);
}
