//! A pgbouncer in transaction mode in front of the throw-away cluster.
//!
//! Its pools have fewer server connections than the services have connections, so each transaction gets another one: a
//! service that leaves state in a session fails.
//!
//! Invariant: it ends with this process, as the cluster does.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::postgres::{self, Target};
use crate::skipped;

/// A new, empty database behind the pooler, as [`postgres::database`].
///
/// `None` without PostgreSQL or pgbouncer on this machine; the test is then listed as skipped.
///
/// # Panics
/// Without one of them if `CI=true`, or if it does not start.
pub async fn database() -> Option<String> {
    static POOLER: OnceLock<Option<Pooler>> = OnceLock::new();
    let direct = postgres::database().await?;
    let target = Target::parse(&direct);
    let pooler = move || POOLER.get_or_init(|| find_program().map(|program| start(&program, &target))).as_ref();
    let pooler = tokio::task::spawn_blocking(pooler).await.expect("starting the pooler does not panic");
    if pooler.is_none() {
        skipped::test(PROGRAM);
    }
    Some(pooler?.url(&direct))
}

const PROGRAM: &str = "pgbouncer (in PATH or /usr/sbin)";

/// A pooler in front of one cluster.
#[derive(Debug)]
pub struct Pooler {
    port: u16,
    server_port: u16,
    program: PathBuf,
    user: Option<(u32, u32)>,
    /// Ends the pooler when its input does; this process only holds the pipe open.
    watcher: Child,
    folder: TempDir,
}

impl Pooler {
    /// A pooler in front of the server of `url`; `None` as for [`database`].
    ///
    /// # Panics
    /// As [`database`].
    pub async fn before(url: &str) -> Option<Self> {
        let target = Target::parse(url);
        let started = tokio::task::spawn_blocking(move || find_program().map(|program| start(&program, &target)));
        let pooler = started.await.expect("starting the pooler does not panic");
        if pooler.is_none() {
            skipped::test(PROGRAM);
        }
        pooler
    }

    /// Kills the pooler; its clients lose their connections.
    ///
    /// # Panics
    /// If it does not end.
    pub fn stop(&mut self) {
        drop(self.watcher.stdin.take());
        self.watcher.wait().expect("the child can be waited for");
    }

    /// Starts the stopped pooler on its port.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(&mut self) {
        self.watcher = spawn(&self.program, self.folder.path(), self.user);
        assert!(is_listening(self.port, &mut self.watcher), "pgbouncer does not start again");
    }

    /// `direct`, a URL of the server, through the pooler.
    pub fn url(&self, direct: &str) -> String {
        direct.replace(&format!(":{}/", self.server_port), &format!(":{}/", self.port))
    }
}

fn find_program() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "the search path is the system's, not a setting")]
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join("pgbouncer")).find(|program| program.is_file())
}

fn start(program: &Path, target: &Target) -> Pooler {
    let folder = tempfile::Builder::new().prefix("harness-pgbouncer-").tempdir().expect("room for temporary files");
    let user = postgres::unprivileged_user(folder.path());
    let users = format!("\"{}\" \"{}\"\n", target.user, target.password);
    let give = |path: &Path| {
        if let Some((uid, gid)) = user {
            std::os::unix::fs::chown(path, Some(uid), Some(gid)).expect("root can give a file away");
        }
    };
    let users_file = folder.path().join("users");
    std::fs::write(&users_file, users).expect("a file in an own folder");
    give(folder.path());
    give(&users_file);
    // The port is free when it is chosen, and may be gone when the pooler takes it.
    for _ in 0..5 {
        let probe = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = probe.local_addr().expect("a bound socket has an address").port();
        drop(probe);
        let config = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = transaction\n\
             default_pool_size = 3\nmax_client_conn = 2000\nmax_db_connections = 3\nserver_round_robin = 1\n\
             server_idle_timeout = 1\nserver_login_retry = 1\n",
            target.port,
            users_file.display()
        );
        std::fs::write(&config, text).expect("a file in an own folder");
        let mut watcher = spawn(program, folder.path(), user);
        if is_listening(port, &mut watcher) {
            return Pooler { port, server_port: target.port, program: program.to_owned(), user, watcher, folder };
        }
    }
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    panic!("pgbouncer does not start:\n{log}")
}

/// A shell that starts the pooler and ends it at the end of its input.
fn spawn(program: &Path, folder: &Path, user: Option<(u32, u32)>) -> Child {
    const SCRIPT: &str = r#""$0" pgbouncer.ini >log 2>&1 </dev/null & pid=$!
(while kill -0 "$pid" 2>/dev/null; do sleep 0.2; done; kill $$ 2>/dev/null) &
cat >/dev/null
kill -KILL "$pid" 2>/dev/null"#;
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(SCRIPT).arg(program).current_dir(folder).stdin(Stdio::piped()).process_group(0);
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command.spawn().expect("there is a shell")
}

fn is_listening(port: u16, watcher: &mut Child) -> bool {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline && watcher.try_wait().expect("the child can be asked for").is_none() {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return true;
        }
        #[expect(clippy::disallowed_methods, reason = "polls a child process on a thread for blocking work")]
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::database;
    use tokio_postgres::NoTls;

    #[tokio::test]
    async fn each_transaction_may_get_another_server_connection() {
        let Some(url) = database().await else { return };
        let mut clients = Vec::new();
        for _ in 0..2 {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
            tokio::spawn(connection);
            clients.push(client);
        }
        let server = async |client: &tokio_postgres::Client| -> i32 {
            client.query_typed_one("select pg_backend_pid()", &[]).await.unwrap().get(0)
        };
        let first = server(&clients[0]).await;
        // The server connection of the first client is busy with the transaction of the second one.
        clients[1].batch_execute("begin").await.unwrap();
        let busy = server(&clients[1]).await;
        assert_eq!(busy, first, "the only connection so far");
        assert_ne!(server(&clients[0]).await, busy);
    }
}
