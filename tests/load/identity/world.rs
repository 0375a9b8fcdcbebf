//! The world of the load run: the identity server for release, what is around it, and what is in it.
//!
//! Invariant: the settings are the defaults, but for the limits: those would refuse a load.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::api::Api;
use harness::homeserver::Homeserver;
use harness::mail::{Offer, Sink};
use harness::process::{Server, new_folder};
use harness::{binary, postgres};

use super::fill::{self, Filling};
use crate::options::Options;

/// A server that holds associations, ready for a load.
pub(crate) struct World {
    server: Server,
    log: PathBuf,
    /// The homeserver that vouches for its users.
    pub(crate) homeserver: Homeserver,
    /// What takes its mail.
    pub(crate) mail: Arc<Sink>,
    /// The access token of an account.
    pub(crate) access_token: String,
    /// The pepper in force.
    pub(crate) pepper: String,
    /// What was put in.
    pub(crate) filling: Filling,
    /// From the start of the process, full as it is, to its first answer.
    pub(crate) start_to_ready: Duration,
}

impl World {
    /// Starts the server, so that it makes its tables and its pepper, stops it, fills its database, and starts it again.
    ///
    /// # Panics
    /// If something does not work; without PostgreSQL on this machine, if that is asked for.
    pub(crate) async fn start(options: &Options) -> Self {
        let binary = binary::identity();
        let folder = new_folder();
        let homeserver = Homeserver::start("hs.example").await;
        let mail = Sink::start_with(Offer::default(), homeserver.authority()).await;
        let url = match options.postgres {
            true => Some(postgres::database().await.expect("PostgreSQL must be installed for --postgres")),
            false => None,
        };
        let config = config(&homeserver.config(folder.path()), &mail.config(), url.as_deref());
        let log = folder.path().join("log");
        let server = Server::try_start_logging_to(&log, folder, binary, &config).await;
        let mut server = server.unwrap_or_else(|failure| panic!("{failure:?}"));

        let api = Api::new(&server.url());
        let registration = homeserver.open_id_token("@load:hs.example");
        let answer = api.post("/_matrix/identity/v2/account/register", registration).send().await.expect(200);
        let access_token = answer["token"].as_str().expect("a token").to_owned();
        let details = api.get("/_matrix/identity/v2/hash_details").bearer(&access_token).send().await.expect(200);
        let pepper = details["lookup_pepper"].as_str().expect("a pepper").to_owned();

        let status = server.terminate(Duration::from_secs(60)).await;
        assert!(status.success(), "the server ended with {status}");
        let filling = Filling::new(options.associations, &pepper);
        match &url {
            Some(url) => fill::postgres(url, &filling).await,
            None => fill::sqlite(&server.folder().join("data/identity.db"), &filling),
        }
        let start = Instant::now();
        server.restart().await;
        Api::new(&server.url()).get("/_matrix/identity/versions").send().await.expect(200);
        let start_to_ready = start.elapsed();
        let mail = Arc::new(mail);
        Self { server, log, homeserver, mail, access_token, pepper, filling, start_to_ready }
    }

    /// Where the server listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Empties the server's log: a load writes hundreds of megabytes that nobody reads.
    ///
    /// # Panics
    /// If the file cannot be emptied.
    pub(crate) fn empty_log(&self) {
        let file = File::options().write(true).open(&self.log).and_then(|file| file.set_len(0));
        file.unwrap_or_else(|error| panic!("{}: {error}", self.log.display()));
    }
}

fn config(federation: &str, email: &str, database_url: Option<&str>) -> String {
    let database = database_url.map(|url| format!("[database]\nurl = \"{url}\"\n")).unwrap_or_default();
    format!(
        "[server]\ndata_dir = \"data\"\n[http]\nbind = \"127.0.0.1:0\"\n[limits]\nenabled = false\n\
         {database}{federation}[email]\n{email}"
    )
}
