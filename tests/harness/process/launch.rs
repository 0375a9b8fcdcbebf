//! Starting a service and finding out where it listens.
//!
//! Invariant: a service sees the environment that the test gives it, and nothing of the test's own but the search path.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::child::Running;
use super::{NotStarted, START};

/// A process that listens.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) child: Running,
    pub(super) address: SocketAddr,
    pub(super) admin: Option<SocketAddr>,
}

/// Starts the service with the settings in the folder, and waits until it says where it listens.
pub(super) async fn launch(
    binary: &Path,
    folder: &Path,
    environment: &[(String, String)],
    log: Option<&Path>,
) -> Result<Listening, NotStarted> {
    let config = std::fs::read_to_string(folder.join("config.toml")).expect("the configuration was written");
    let mut child = Running::spawn(prepare(binary, folder, &["serve"], environment), log);
    let wants_admin = has_admin_on_tcp(&config, environment);
    let ready = async {
        loop {
            let address = child
                .output
                .address_after("listening on http://")
                .or_else(|| child.output.address_after("listening on https://"));
            let admin = child.output.address_after("admin listener on http://");
            match address {
                Some(address) if admin.is_some() || !wants_admin => return Ok((address, admin)),
                _ => {}
            }
            if let Some(status) = child.ended() {
                return Err(status);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    match tokio::time::timeout(START, ready).await {
        Ok(Ok((address, admin))) => Ok(Listening { child, address, admin }),
        Ok(Err(status)) => {
            child.join_readers();
            Err(NotStarted { status: Some(status), output: child.output.text() })
        }
        Err(_) => Err(NotStarted { status: None, output: child.output.text() }),
    }
}

/// The command with nothing of the test's own environment but the search path.
pub(super) fn prepare(binary: &Path, folder: &Path, arguments: &[&str], environment: &[(String, String)]) -> Command {
    let mut command = Command::new(binary);
    command.args(arguments).arg("--config").arg(folder.join("config.toml")).current_dir(folder).env_clear();
    #[expect(clippy::disallowed_methods, reason = "the search path is the system's, not a setting")]
    if let Ok(path) = std::env::var("PATH") {
        command.env("PATH", path);
    }
    command.envs(environment.iter().map(|(k, v)| (k, v))).stdin(Stdio::null());
    command
}

/// Whether `[admin] bind` names a TCP address; a unix socket has no port to wait for.
pub(super) fn has_admin_on_tcp(config: &str, environment: &[(String, String)]) -> bool {
    let mut section = "";
    let in_file = config.lines().map(str::trim).any(|line| {
        if line.starts_with('[') {
            section = line;
        }
        let value = line.strip_prefix("bind").map(|rest| rest.trim_start_matches([' ', '=']));
        section == "[admin]" && value.is_some_and(|value| !value.starts_with("\"unix:"))
    });
    in_file || environment.iter().any(|(name, value)| name.ends_with("__ADMIN__BIND") && !value.starts_with("unix:"))
}
