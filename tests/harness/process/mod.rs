//! A service as a running process, or as several replicas: started from a configuration text, searched by its log,
//! stopped in every way a process can be stopped.
//!
//! Invariant: a process sees no environment but `PATH` and what the test gives, and never outlives its [`Server`].

pub mod balancer;
mod child;
mod launch;
mod lifetime;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};
use std::time::Duration;

use tempfile::TempDir;

use balancer::Balancer;
use launch::{Listening, launch, prepare};

use crate::deadline::Deadline;
use crate::wait::wait_until;

/// How long a start may take on a busy machine.
const START: Duration = Duration::from_secs(30);

/// A service that runs, with its folder: one process, or replicas behind a proxy.
///
/// The folder holds `config.toml` and is the current directory of each process: relative paths in the configuration lie
/// in it. A method that names no replica concerns all.
#[derive(Debug)]
pub struct Server {
    // Declared first: the processes end before their folder goes.
    replicas: Vec<Listening>,
    balancer: Option<Balancer>,
    binary: PathBuf,
    environment: Vec<(String, String)>,
    log: Option<PathBuf>,
    folder: TempDir,
    _deadline: Deadline,
}

/// A process that ended, or did not get ready, instead of listening.
#[derive(Debug)]
pub struct NotStarted {
    /// How it ended; `None` if it was still running, silent, at the deadline.
    pub status: Option<ExitStatus>,
    /// All it wrote.
    pub output: String,
}

impl Server {
    /// Starts `binary serve --config …` in a folder of its own and waits until it listens.
    ///
    /// # Panics
    /// If it does not; the message has all of its output.
    pub async fn start(binary: &Path, config: &str, environment: &[(&str, &str)]) -> Self {
        Self::start_in(new_folder(), binary, config, environment).await
    }

    /// As [`Server::start`], in a folder that the test has already put files into.
    ///
    /// # Panics
    /// As [`Server::start`].
    pub async fn start_in(folder: TempDir, binary: &Path, config: &str, environment: &[(&str, &str)]) -> Self {
        match Self::try_start_in(folder, binary, config, environment).await {
            Ok(server) => server,
            Err(failure) => panic!("{} did not start ({:?}):\n{}", binary.display(), failure.status, failure.output),
        }
    }

    /// As [`Server::start_in`], for a configuration that the service should refuse.
    ///
    /// # Errors
    /// [`NotStarted`] if the process ends or is not ready in time.
    pub async fn try_start_in(
        folder: TempDir,
        binary: &Path,
        config: &str,
        environment: &[(&str, &str)],
    ) -> Result<Self, NotStarted> {
        let environment: Vec<_> = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Self::launch_in(folder, binary, config, environment, None).await
    }

    /// As [`Server::try_start_in`], but standard error goes to the end of the file `log` and not to [`Server::logs`]:
    /// for a load run.
    ///
    /// # Errors
    /// As [`Server::try_start_in`].
    pub async fn try_start_logging_to(
        log: &Path,
        folder: TempDir,
        binary: &Path,
        config: &str,
    ) -> Result<Self, NotStarted> {
        Self::launch_in(folder, binary, config, Vec::new(), Some(log.to_path_buf())).await
    }

    async fn launch_in(
        folder: TempDir,
        binary: &Path,
        config: &str,
        environment: Vec<(String, String)>,
        log: Option<PathBuf>,
    ) -> Result<Self, NotStarted> {
        let deadline = Deadline::start();
        std::fs::write(folder.path().join("config.toml"), config).expect("the configuration can be written");
        let replicas = vec![launch(binary, folder.path(), &environment, log.as_deref()).await?];
        let (binary, balancer) = (binary.to_path_buf(), None);
        Ok(Self { replicas, balancer, binary, environment, log, folder, _deadline: deadline })
    }

    /// Adds processes until there are `count`, all behind `balancer`.
    ///
    /// # Panics
    /// If one does not start.
    pub async fn replicate(&mut self, count: usize, balancer: Balancer) {
        let log = self.log.as_deref();
        let more =
            (self.replicas.len()..count).map(|_| launch(&self.binary, self.folder.path(), &self.environment, log));
        for replica in futures_util::future::join_all(more).await {
            self.replicas.push(replica.unwrap_or_else(|failure| panic!("no replica: {failure:?}")));
        }
        self.balancer = Some(balancer);
        self.balance();
    }

    fn balance(&self) {
        if let Some(balancer) = &self.balancer {
            balancer.lead_to(self.replicas.iter().map(|replica| replica.address).collect());
        }
    }

    /// The number of processes.
    pub fn replicas(&self) -> usize {
        self.replicas.len()
    }

    /// Where it listens for clients.
    pub fn address(&self) -> SocketAddr {
        self.balancer.as_ref().map_or(self.replicas[0].address, Balancer::address)
    }

    /// `http://127.0.0.1:PORT`, or `https://127.0.0.1:PORT` if the configuration has a certificate.
    pub fn url(&self) -> String {
        let Listening { child, address, .. } = &self.replicas[0];
        let is_tls = child.output.address_after("listening on https://") == Some(*address);
        let scheme = if is_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address())
    }

    /// The address of the admin listener, of the first replica.
    ///
    /// # Panics
    /// If the configuration has none on TCP.
    pub fn admin_address(&self) -> SocketAddr {
        self.replicas[0].admin.expect("the configuration has [admin] bind on TCP")
    }

    /// `http://127.0.0.1:PORT` of the admin listener, of the first replica.
    ///
    /// # Panics
    /// If the configuration has none on TCP.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin_address())
    }

    /// `http://127.0.0.1:PORT` of each admin listener on TCP.
    pub fn admin_urls(&self) -> Vec<String> {
        self.replicas.iter().filter_map(|replica| Some(format!("http://{}", replica.admin?))).collect()
    }

    /// The folder it runs in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process id, of the first replica.
    pub fn pid(&self) -> u32 {
        self.replicas[0].child.process.id()
    }

    /// All it wrote to standard output and standard error since the first start, restarts included; one replica after
    /// another.
    pub fn logs(&self) -> String {
        self.replicas.iter().map(|replica| replica.child.output.text()).collect()
    }

    /// Empties the log file.
    ///
    /// # Panics
    /// If the server does not log to a file.
    pub fn empty_log(&self) {
        let log = self.log.as_deref().expect("the server logs to a file");
        let file = std::fs::File::options().write(true).open(log).and_then(|file| file.set_len(0));
        file.unwrap_or_else(|error| panic!("{}: {error}", log.display()));
    }

    /// Waits until its output contains `text`.
    ///
    /// # Panics
    /// If it does not within `deadline`.
    pub async fn wait_for_log(&self, text: &str, deadline: Duration) {
        wait_until(&format!("{text:?} in the log"), deadline, || self.logs().contains(text)).await;
    }

    /// Runs `binary <arguments> --config …` beside it, in the same folder and environment, to its end.
    ///
    /// # Panics
    /// If the program cannot be started.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        run(&self.binary, self.folder.path(), arguments, &self.environment).await
    }

    fn config_file(&self) -> PathBuf {
        self.folder.path().join("config.toml")
    }
}

/// Runs `binary <arguments> --config folder/config.toml` to its end.
///
/// # Panics
/// If the program cannot be started.
pub async fn run(binary: &Path, folder: &Path, arguments: &[&str], environment: &[(String, String)]) -> Output {
    let mut command = tokio::process::Command::from(prepare(binary, folder, arguments, environment));
    command.kill_on_drop(true).output().await.expect("the binary can be started")
}

/// An empty folder for a process.
///
/// # Panics
/// If the system's folder for temporary files takes none.
pub fn new_folder() -> TempDir {
    TempDir::with_prefix("harness-").expect("there is room for temporary files")
}

#[cfg(test)]
mod tests {
    use super::launch::has_admin_on_tcp;
    use super::{NotStarted, Server, new_folder};
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::time::Duration;

    const SOON: Duration = Duration::from_secs(10);

    /// A stand-in for a service: a shell script with the same command line and the same lines of log.
    fn script(folder: &Path, body: &str) -> std::path::PathBuf {
        let path = folder.join("service");
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[tokio::test]
    async fn a_service_is_ready_when_it_logs_so_and_ends_on_a_signal() {
        let tools = new_folder();
        let binary = script(
            tools.path(),
            "trap 'echo bye; exit 3' TERM\n\
             echo \"$1 $2\" && cat \"$3\" && env >&2\n\
             echo 'INFO admin listener on http://127.0.0.1:4001'; echo 'INFO listening on http://127.0.0.1:4000 now'\n\
             while :; do sleep 0.05; done",
        );
        let config = "[admin]\nbind = \"127.0.0.1:0\"\n";
        let mut server = Server::start(&binary, config, &[("IDENTITY__X", "y")]).await;
        assert_eq!(server.url(), "http://127.0.0.1:4000");
        assert_eq!(server.admin_url(), "http://127.0.0.1:4001");
        server.wait_for_log("IDENTITY__X=y", SOON).await;
        assert!(server.logs().contains("serve --config") && server.logs().contains(config), "{}", server.logs());
        assert!(!server.logs().contains("CARGO"), "the test's own environment leaked");

        let first = server.pid();
        server.restart().await;
        assert_ne!(server.pid(), first);
        assert_eq!(server.logs().matches("serve --config").count(), 2, "logs of both runs");
        assert_eq!(server.terminate(SOON).await.code(), Some(3));
        assert!(server.logs().contains("bye"));
        server.kill();
    }

    #[tokio::test]
    async fn a_service_that_ends_instead_is_reported_with_its_output() {
        let tools = new_folder();
        let binary = script(tools.path(), "echo 'http.bind: not an address' >&2; exit 2");
        let NotStarted { status, output } = Server::try_start_in(new_folder(), &binary, "", &[]).await.unwrap_err();
        assert_eq!(status.and_then(|status| status.code()), Some(2));
        assert_eq!(output, "http.bind: not an address\n");
    }

    #[tokio::test]
    async fn a_dropped_server_leaves_neither_process_nor_folder() {
        let tools = new_folder();
        let binary = script(tools.path(), "echo listening on http://127.0.0.1:1\nexec sleep 600");
        let server = Server::start(&binary, "", &[]).await;
        let (folder, process) = (server.folder().to_path_buf(), format!("/proc/{}", server.pid()));
        drop(server);
        assert!(!folder.exists());
        assert!(!Path::new(&process).exists());
    }

    #[tokio::test]
    async fn a_log_goes_to_a_file_if_it_shall() {
        let tools = new_folder();
        let binary = script(tools.path(), "echo listening on http://127.0.0.1:1\necho line >&2\nexec sleep 600");
        let log = tools.path().join("log");
        let mut server = Server::try_start_logging_to(&log, new_folder(), &binary, "").await.unwrap();
        server.restart().await;
        let text = || std::fs::read_to_string(&log).unwrap();
        crate::wait::wait_until("both lines", SOON, || text() == "line\nline\n").await;
        assert!(!server.logs().contains("line\n"), "{}", server.logs());
    }

    #[tokio::test]
    async fn a_subcommand_runs_beside_the_service() {
        let tools = new_folder();
        let binary = script(
            tools.path(),
            "echo \"$1\"; [ \"$1\" = serve ] || exit 5\necho listening on http://127.0.0.1:1\nexec sleep 600",
        );
        let server = Server::start(&binary, "", &[]).await;
        let output = server.run(&["check-config"]).await;
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(5), b"check-config\n".as_slice()));
    }

    #[test]
    fn only_an_admin_listener_on_tcp_is_waited_for() {
        assert!(has_admin_on_tcp("[http]\nbind = \"a\"\n[admin]\nbind = \"127.0.0.1:0\"", &[]));
        assert!(!has_admin_on_tcp("[http]\nbind = \"127.0.0.1:0\"\n[admin]\ntoken = \"t\"", &[]));
        assert!(!has_admin_on_tcp("[admin]\nbind = \"unix:/tmp/a\"", &[]));
        assert!(has_admin_on_tcp("", &[("IDENTITY__ADMIN__BIND".to_owned(), "127.0.0.1:0".to_owned())]));
    }
}
