//! `identity serve`: what it makes and says when it starts, and what it says when it cannot.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use harness::api::Api;
use harness::wait::wait_for;
use tempfile::TempDir;

use super::{identity, text};

const DEADLINE: Duration = Duration::from_secs(30);

/// A running server; it ends with the test.
struct Running {
    child: Child,
    output: PathBuf,
    folder: TempDir,
}

impl Running {
    /// Starts `serve` with an empty home folder and these variables, and waits until it has said `until`.
    async fn start(variables: &[(&str, &str)], until: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("output");
        let file = File::create(&output).unwrap();
        let child = serve(folder.path(), variables).stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        let mut running = Self { child, output, folder };
        let waited = wait_for(until, DEADLINE, async || {
            let ended = running.child.try_wait().unwrap();
            let said = running.said().contains(until);
            (said || ended.is_some()).then_some(said)
        });
        assert!(waited.await, "it ended:\n{}", running.said());
        running
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.output).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `serve` on a free port. Nothing else is configured but what `variables` say.
fn serve(home: &Path, variables: &[(&str, &str)]) -> Command {
    let mut command = identity(&["serve"]);
    command.env("HOME", home).env("IDENTITY__HTTP__BIND", "127.0.0.1:0").envs(variables.iter().copied());
    command.current_dir(home);
    command
}

/// Runs `serve`, which must fail; gives what it said.
fn refusal(home: &Path, variables: &[(&str, &str)]) -> String {
    let output = serve(home, variables).output().unwrap();
    assert!(!output.status.success());
    text(&output)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nothing_configured_it_starts_and_says_where_everything_is() {
    let running = Running::start(&[], "mail is written to files;").await;
    let said = running.said();
    let data = running.folder.path().join(".local/share/matrix-identity");
    let (_, url) = said.split_once("listening on ").unwrap();
    let url = url.lines().next().unwrap();
    for line in [
        format!("identity {}\n", env!("CARGO_PKG_VERSION")),
        format!("public base URL: {url}\n"),
        format!("signing as {} with ed25519:0\n", url.trim_start_matches("http://")),
        format!("data folder: {}\n", data.display()),
        format!("database: SQLite, {}\n", data.join("identity.db").display()),
        format!("email: written as files into {} (development only", data.join("mail").display()),
        "no admin listener; set [admin] bind".to_owned(),
        "note: development only: [server] public_base_url is not set".to_owned(),
        "note: development only: mail is written to files".to_owned(),
    ] {
        assert!(said.contains(&line), "{line}:\n{said}");
    }
    assert_eq!((mode(&data), mode(&data.join("mail"))), (0o700, 0o700));
    assert_eq!((mode(&data.join("signing.key")), mode(&data.join("identity.db"))), (0o600, 0o600));
    Api::new(url).get("/_matrix/identity/v2").send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_says_where_it_listens_and_who_it_is() {
    let variables = [
        ("IDENTITY__HTTP__BIND", "127.0.0.1:0, 127.0.0.1:0"),
        ("IDENTITY__ADMIN__BIND", "127.0.0.1:0"),
        ("IDENTITY__SERVER__PUBLIC_BASE_URL", "https://id.example.org/"),
        ("IDENTITY__DATABASE__URL", "sqlite::memory:"),
        ("IDENTITY__EMAIL__HOST", "smtp.example.org"),
        ("IDENTITY__SESSIONS__NEXT_LINK_HOSTS", "app.example.org"),
        // Without these three the server notes what is open to the world.
        ("IDENTITY__HTTP__TRUSTED_PROXIES", "127.0.0.1"),
        ("IDENTITY__REGISTRATION__ALLOW_SERVERS", "example.org"),
        ("IDENTITY__INVITES__WEB_CLIENT", "https://app.example.org"),
        ("STATE_DIRECTORY", "state"),
    ];
    let running = Running::start(&variables, "email: ").await;
    let said = running.said();
    assert_eq!(said.matches("\nlistening on http://127.0.0.1:").count(), 2, "{said}");
    for line in [
        "\nconfiguration: no file and 9 environment variables\n",
        "\nadmin listener on http://127.0.0.1:",
        "\nsigning as id.example.org with ed25519:0\n",
        "\npublic base URL: https://id.example.org\n",
        "\ndata folder: state\n",
        "\ndatabase: SQLite, in memory (data is lost on exit)\n",
        "\nemail: SMTP through smtp.example.org:25 with STARTTLS\n",
    ] {
        assert!(said.contains(line), "{line}:\n{said}");
    }
    assert!(!said.contains("note: "), "{said}");
    let addresses = said.lines().filter_map(|line| line.strip_prefix("listening on "));
    for address in addresses {
        Api::new(address).get("/_matrix/identity/v2").send().await.expect(200);
    }
}

#[test]
fn a_port_in_use_is_an_error_with_an_action() {
    let home = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for variable in ["IDENTITY__HTTP__BIND", "IDENTITY__ADMIN__BIND"] {
        let said = refusal(home.path(), &[(variable, &address)]);
        assert!(said.starts_with(&format!("identity: cannot listen on {address}: ")), "{said}");
        assert!(said.contains("another process listens there") && said.contains("bind"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    let said = refusal(home.path(), &[("IDENTITY__HTTP__BIND", "192.0.2.1:8090")]);
    assert!(said.contains("this machine has no such address"), "{said}");
}

#[test]
fn an_unusable_database_is_an_error_with_its_place() {
    let home = tempfile::tempdir().unwrap();
    let garbage = home.path().join("garbage.db");
    fs::write(&garbage, "no database ".repeat(1000)).unwrap();
    let url = format!("sqlite://{}", garbage.display());
    let said = refusal(home.path(), &[("IDENTITY__DATABASE__URL", &url)]);
    assert!(said.contains("cannot connect to the database") && said.contains("garbage.db"), "{said}");

    let unused = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://u:hunter2@{}/d", unused.local_addr().unwrap());
    drop(unused);
    let at_once = [("IDENTITY__DATABASE__URL", url.as_str()), ("IDENTITY__DATABASE__START_TIMEOUT", "0s")];
    let said = refusal(home.path(), &at_once);
    assert!(said.contains("cannot connect to the database: PostgreSQL") && !said.contains("hunter2"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_folder_that_cannot_be_created_is_an_error_with_its_key() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("file"), "").unwrap();
    let said = refusal(home.path(), &[("IDENTITY__SERVER__DATA_DIR", "file/below")]);
    assert!(said.contains("file/below") && said.contains("[server] data_dir"), "{said}");
    let output = identity(&["serve"]).output().unwrap();
    assert!(!output.status.success() && text(&output).contains("[server] data_dir: not set"), "{output:?}");
}

#[test]
fn a_base_url_without_tls_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let url = ("IDENTITY__SERVER__PUBLIC_BASE_URL", "http://id.example.org");
    let said = refusal(home.path(), &[url]);
    assert!(
        said.contains("[server] public_base_url: found \"http://id.example.org\"; expected https; or set"),
        "{said}"
    );
    assert!(!home.path().join(".local").exists(), "nothing is made");
}
