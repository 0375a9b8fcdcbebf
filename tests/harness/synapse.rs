//! A real Synapse, as pip installs it.
//!
//! Invariant: its folder, port and database are its own; it ends when it is dropped.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::api::Api;
use crate::certificates::Authority;
use crate::process::new_folder;
use crate::{skipped, wait};

/// How long it may take to start.
const START: Duration = Duration::from_secs(60);

/// The password of every user.
pub const PASSWORD: &str = "correct horse";

/// Settings of a homeserver for tests: SQLite, no federation keys of others, no limits.
const SETTINGS: &str = "\
report_stats: false
trusted_key_servers: []
suppress_key_server_warning: true
enable_registration: true
enable_registration_without_verification: true
rc_registration: { per_second: 1000, burst_count: 1000 }
rc_third_party_invite: { per_second: 1000, burst_count: 1000 }
";

/// A Synapse.
#[derive(Debug)]
pub struct Synapse {
    process: Child,
    port: u16,
    /// A client of it.
    pub api: Api,
    folder: TempDir,
}

/// A user with an access token.
#[derive(Clone, Debug)]
pub struct User {
    /// The Matrix user ID.
    pub id: String,
    /// The access token.
    pub token: String,
}

/// A port that was free a moment ago, for a service that has to be named before it starts.
///
/// # Panics
/// If there is none.
pub fn free_port() -> u16 {
    let probe = TcpListener::bind("127.0.0.1:0").expect("a free port");
    probe.local_addr().expect("it is bound").port()
}

impl Synapse {
    /// Starts one with this server name and further `settings`, and waits until it answers. It trusts `authority`, and has a
    /// certificate of it. `None`, and the test counts as skipped, where Synapse is not installed.
    ///
    /// # Panics
    /// If it does not start; with `CI=true` also where it is not installed.
    pub async fn start(name: &str, authority: &Authority, settings: &str) -> Option<Self> {
        let is_installed = Command::new("python3").args(["-c", "import synapse"]).stderr(Stdio::null()).status();
        if !is_installed.is_ok_and(|status| status.success()) {
            skipped::test("Synapse (pip install matrix-synapse)");
            return None;
        }
        let (folder, port) = (new_folder(), free_port());
        let (certificate, key) = authority.issue(&["127.0.0.1", name]).write_pem(folder.path());
        let ca = authority.write_pem(folder.path());
        let mut config = format!("{SETTINGS}{settings}\n");
        for (key, value) in [
            ("server_name", json!(name)),
            ("tls_certificate_path", json!(certificate)),
            ("tls_private_key_path", json!(key)),
            ("signing_key_path", json!(folder.path().join("homeserver.key"))),
            ("media_store_path", json!(folder.path().join("media"))),
            ("database", json!({ "name": "sqlite3", "args": { "database": folder.path().join("homeserver.db") } })),
            (
                "listeners",
                json!([{
                    "port": port, "bind_addresses": ["127.0.0.1"], "type": "http", "tls": true,
                    "resources": [{ "names": ["client", "federation"] }],
                }]),
            ),
        ] {
            writeln!(config, "{key}: {value}").expect("a string takes text");
        }
        let path = folder.path().join("homeserver.yaml");
        std::fs::write(&path, config).expect("the folder takes files");
        let log = std::fs::File::create(folder.path().join("log")).expect("the folder takes files");
        let errors = log.try_clone().expect("a second handle");
        let start = |arguments: &[&str]| {
            let mut command = Command::new("python3");
            command.args(["-m", "synapse.app.homeserver", "-c"]).arg(&path).args(arguments);
            command.current_dir(folder.path()).env("SSL_CERT_FILE", &ca);
            command
        };
        let keys = start(&["--generate-keys"]).output().expect("Python starts");
        assert!(keys.status.success(), "{}", String::from_utf8_lossy(&keys.stderr));
        let process = start(&[]).stdout(log).stderr(errors).spawn().expect("Python starts");
        let api = Api::trusting(&format!("https://127.0.0.1:{port}"), &authority.pem());
        let synapse = Self { process, port, api, folder };
        wait::wait_for("Synapse", START, async || {
            let answer = synapse.api.get("/_matrix/client/versions").try_send().await;
            answer.ok().filter(|answer| answer.code() == 200)
        })
        .await;
        Some(synapse)
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Registers a user.
    pub async fn register(&self, name: &str) -> User {
        let body = json!({ "username": name, "password": PASSWORD, "auth": { "type": "m.login.dummy" } });
        let answer = self.api.post("/_matrix/client/v3/register", body).send().await.expect(200);
        let text = |key: &str| answer[key].as_str().expect("a string").to_owned();
        User { id: text("user_id"), token: text("access_token") }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Synapse {
    fn drop(&mut self) {
        // An error means that it has ended already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
