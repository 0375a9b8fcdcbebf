//! A throw-away PostgreSQL cluster for the tests of one process, with a new database for each test.
//!
//! Invariant: it is gone when the process is, however that ends: a watcher outside the process waits for the end of a
//! pipe that only the process holds open, then stops the cluster and removes its folder.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use shared::random::Random;
use tokio_postgres::NoTls;

use crate::skipped;

/// A new, empty database as `postgres://user:password@127.0.0.1:PORT/name`; the first call starts the cluster.
///
/// `None` without PostgreSQL on this machine; the test is then listed as skipped.
///
/// # Panics
/// Without PostgreSQL if `CI=true`, or if the cluster does not start.
pub async fn database() -> Option<String> {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let Some(cluster) = tokio::task::spawn_blocking(cluster).await.expect("starting the cluster does not panic") else {
        skipped::test("PostgreSQL (initdb and postgres in PATH or /usr/lib/postgresql/*/bin)");
        return None;
    };
    Some(cluster.database(&format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed))).await)
}

/// The parts of a URL of this module.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) port: u16,
}

impl Target {
    pub(crate) fn parse(url: &str) -> Self {
        let url = url::Url::parse(url).expect("a URL of this module");
        Self {
            user: url.username().to_owned(),
            password: url.password().expect("a URL with a password").to_owned(),
            port: url.port().expect("a URL with a port"),
        }
    }
}

/// A PostgreSQL server with its data.
#[derive(Debug)]
pub struct Cluster {
    port: u16,
    password: String,
    binaries: PathBuf,
    folder: PathBuf,
    user: Option<(u32, u32)>,
    server: Child,
    /// Cleans up at the end of its input. This process only holds the pipe open.
    _watcher: Child,
}

impl Cluster {
    /// A cluster of its own, which the test may stop; `None` as for [`database`].
    ///
    /// # Panics
    /// As [`database`].
    pub async fn own() -> Option<Self> {
        let started = tokio::task::spawn_blocking(|| find_binaries(&search_path()).map(|binaries| start(&binaries)));
        let cluster = started.await.expect("starting a cluster does not panic");
        if cluster.is_none() {
            skipped::test("PostgreSQL (initdb and postgres in PATH or /usr/lib/postgresql/*/bin)");
        }
        cluster
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://harness:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    /// A new, empty database; returns its URL.
    ///
    /// # Panics
    /// If the server does not create it.
    pub async fn database(&self, name: &str) -> String {
        self.execute("postgres", &format!("create database {name}")).await;
        self.url(name)
    }

    /// Ends every connection to the server.
    ///
    /// # Panics
    /// If the server does not answer.
    pub async fn end_connections(&self) {
        let others = "select pg_terminate_backend(pid) from pg_stat_activity \
            where pid <> pg_backend_pid() and backend_type = 'client backend'";
        self.execute("postgres", others).await;
    }

    /// Stops the server at once; its clients lose their connections.
    ///
    /// # Panics
    /// If it does not stop.
    pub fn stop(&mut self) {
        let stopped = Command::new("kill").args(["-INT", &self.server.id().to_string()]).status();
        assert!(stopped.expect("there is a program kill").success());
        self.server.wait().expect("the child can be waited for");
    }

    /// Starts the stopped server on its data and its port.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(&mut self) {
        self.server = listen(&self.binaries, &self.folder, self.user, self.port).expect("the port is free again");
    }

    async fn execute(&self, database: &str, statement: &str) {
        let (client, connection) =
            tokio_postgres::connect(&self.url(database), NoTls).await.expect("the cluster takes connections");
        let connection = tokio::spawn(connection);
        client.batch_execute(statement).await.expect("a valid statement");
        drop(client);
        connection.await.expect("the connection ends by itself").expect("a good end");
    }
}

/// The cluster of this process.
fn cluster() -> Option<&'static Cluster> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    CLUSTER.get_or_init(|| find_binaries(&search_path()).map(|binaries| start(&binaries))).as_ref()
}

fn search_path() -> Vec<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "the search path is the system's, not a setting")]
    let path = std::env::var("PATH").unwrap_or_default();
    let mut versions: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).collect())
        .unwrap_or_default();
    // The newest version first: by number, for 9.6 comes after 15 as text.
    versions.sort_by_key(|path: &PathBuf| {
        let version = path.parent().and_then(Path::file_name).and_then(OsStr::to_str).unwrap_or_default();
        std::cmp::Reverse(version.split('.').next().and_then(|major| major.parse::<u32>().ok()))
    });
    std::env::split_paths(&path).chain(versions).collect()
}

/// The first folder that holds both programs.
fn find_binaries(folders: &[PathBuf]) -> Option<PathBuf> {
    folders.iter().find(|folder| ["initdb", "postgres"].iter().all(|name| folder.join(name).is_file())).cloned()
}

fn start(binaries: &Path) -> Cluster {
    let folder = tempfile::Builder::new().prefix("harness-postgres-").tempdir().expect("room for temporary files");
    let user = unprivileged_user(folder.path());
    if let Some((uid, gid)) = user {
        std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid)).expect("root can give a folder away");
    }
    // From here on the watcher removes it.
    let folder = folder.keep();
    let watcher = watch(&folder, user);
    let password = Random.base62(24);
    let password_file = folder.join("password");
    std::fs::write(&password_file, &password).expect("a file in an own folder");
    if let Some((uid, gid)) = user {
        std::os::unix::fs::chown(&password_file, Some(uid), Some(gid)).expect("root can give a file away");
    }
    let data = folder.join("data");
    let output = command(&binaries.join("initdb"), &folder, user)
        .args(["--username=harness", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"])
        .arg("--pwfile")
        .arg(&password_file)
        .arg("--pgdata")
        .arg(&data)
        .output();
    check("initdb", output);
    // The port is free when it is chosen, and may be gone when the cluster takes it.
    let started = (0..5).find_map(|_| {
        let probe = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = probe.local_addr().expect("a bound socket has an address").port();
        drop(probe);
        Some((port, listen(binaries, &folder, user, port)?))
    });
    let (port, server) = started.unwrap_or_else(|| {
        let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        panic!("PostgreSQL does not start:\n{log}")
    });
    Cluster { port, password, binaries: binaries.to_owned(), folder, user, server, _watcher: watcher }
}

/// Starts the server on `port`; returns it when it takes connections, `None` if it ended instead.
fn listen(binaries: &Path, folder: &Path, user: Option<(u32, u32)>, port: u16) -> Option<Child> {
    let log = std::fs::File::create(folder.join("log")).expect("a file in an own folder");
    let mut server = command(&binaries.join("postgres"), folder, user)
        .arg("-D")
        .arg(folder.join("data"))
        .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="])
        .args(["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"])
        .args(["-c", "max_connections=1000", "-c", "shared_buffers=64MB"])
        .stderr(log)
        // Its own process group: an interrupt from the keyboard reaches it through the watcher, in order.
        .process_group(0)
        .spawn()
        .expect("postgres can be started");
    let deadline = Instant::now() + Duration::from_secs(60);
    while server.try_wait().expect("the child can be asked for").is_none() {
        let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        if log.contains("database system is ready to accept connections") {
            return Some(server);
        }
        assert!(Instant::now() < deadline, "PostgreSQL is not ready after a minute:\n{log}");
        #[expect(clippy::disallowed_methods, reason = "polls a child process on a thread for blocking work")]
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}

/// Starts the watcher: a shell that reads until every writer has closed the pipe, which is when this process has
/// ended, then stops the server (SIGINT: at once, but in order) and removes `folder`.
fn watch(folder: &Path, user: Option<(u32, u32)>) -> Child {
    const SCRIPT: &str = r#"cat >/dev/null
pid=$(head -n 1 data/postmaster.pid 2>/dev/null)
if [ -n "$pid" ] && kill -INT "$pid" 2>/dev/null; then
  for i in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$pid" 2>/dev/null || break; sleep 0.3; done
  kill -KILL "$pid" 2>/dev/null
fi
cd / && rm -rf "$0""#;
    command(Path::new("/bin/sh"), folder, user)
        .arg("-c")
        .arg(SCRIPT)
        .arg(folder)
        .stdin(Stdio::piped())
        // Out of reach of an interrupt from the keyboard, which ends the tests.
        .process_group(0)
        .spawn()
        .expect("there is a shell")
}

/// A program in `folder`, as `user` if there is one, without input and output.
fn command(program: &Path, folder: &Path, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // What a user has set for their own PostgreSQL is not meant for this one.
    for name in ["PGDATA", "PGPORT", "PGHOST", "PGUSER", "PGPASSWORD", "PGOPTIONS", "PGDATABASE"] {
        command.env_remove(name);
    }
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}

fn check(name: &str, output: std::io::Result<Output>) {
    let output = output.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(output.status.success(), "{name}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
}

/// Whom to run as instead of root, which PostgreSQL refuses; `None` if this process is not root's. The owner of the
/// new folder is the user of this process.
pub(crate) fn unprivileged_user(own_folder: &Path) -> Option<(u32, u32)> {
    let owner = std::fs::metadata(own_folder).expect("a folder just made").uid();
    if owner != 0 {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").expect("the list of users");
    Some(find_user(&users).expect("a user postgres or nobody, to run PostgreSQL as"))
}

/// Uid and gid of `postgres`, else of `nobody`, in the text of `/etc/passwd`.
fn find_user(users: &str) -> Option<(u32, u32)> {
    let ids = |name: &str| {
        users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find_map(|fields| match fields.as_slice() {
            [user, _, uid, gid, ..] if *user == name => Some((uid.parse().ok()?, gid.parse().ok()?)),
            _ => None,
        })
    };
    ids("postgres").or_else(|| ids("nobody"))
}

#[cfg(test)]
mod tests {
    use super::{cluster, database, find_binaries, find_user, unprivileged_user, watch};
    use tokio_postgres::NoTls;

    #[tokio::test]
    async fn each_database_is_new_and_its_own() {
        let (Some(first), Some(second)) = (database().await, database().await) else { return };
        assert_ne!(first, second);
        let (client, connection) = tokio_postgres::connect(&first, NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute("create table here (x int); insert into here values (1)").await.unwrap();
        assert_eq!(client.query("select x from here", &[]).await.unwrap().len(), 1);
        let (client, connection) = tokio_postgres::connect(&second, NoTls).await.unwrap();
        tokio::spawn(connection);
        let error = client.query("select x from here", &[]).await.unwrap_err();
        assert_eq!(error.code(), Some(&tokio_postgres::error::SqlState::UNDEFINED_TABLE));

        let password = &cluster().unwrap().password;
        let wrong = tokio_postgres::connect(&first.replace(password, "wrong"), NoTls).await.map(drop).unwrap_err();
        assert_eq!(wrong.code(), Some(&tokio_postgres::error::SqlState::INVALID_PASSWORD));
    }

    #[test]
    fn the_watcher_cleans_up_when_the_pipe_ends_and_not_before() {
        let folder = tempfile::tempdir().unwrap().keep();
        let mut watcher = watch(&folder, None);
        assert!(folder.exists() && watcher.try_wait().unwrap().is_none());
        drop(watcher.stdin.take());
        assert!(watcher.wait().unwrap().success());
        assert!(!folder.exists());
    }

    #[test]
    fn root_runs_it_as_another_user() {
        let users = "root:x:0:0::/:/bin/sh\nnobody:x:65534:65533::/:\npostgres:x:101:104:,,,:/var:/bin/bash\n";
        assert_eq!(find_user(users), Some((101, 104)));
        assert_eq!(find_user(&users.replace("postgres", "pg")), Some((65534, 65533)));
        assert_eq!(find_user("root:x:0:0::/:/bin/sh\n"), None);
        let folder = tempfile::tempdir().unwrap();
        assert_ne!(unprivileged_user(folder.path()).map(|(uid, _)| uid), Some(0));
    }

    #[test]
    fn a_folder_with_half_of_it_is_not_taken() {
        let (half, whole) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(half.path().join("initdb"), "").unwrap();
        assert_eq!(find_binaries(&[half.path().to_owned()]), None);
        for name in ["initdb", "postgres"] {
            std::fs::write(whole.path().join(name), "").unwrap();
        }
        let folders = [half.path().to_owned(), whole.path().to_owned()];
        assert_eq!(find_binaries(&folders), Some(whole.path().to_owned()));
    }
}
