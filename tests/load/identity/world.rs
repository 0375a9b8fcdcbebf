//! The release build of the identity server with a filled database, for the load run.
//!
//! Invariant: the settings are the defaults, without limits, which would reject a load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::api::Api;
use harness::homeserver::Homeserver;
use harness::mail::Sink;
use harness::postgres;
use harness::process::Server;
use harness::world::identity;

use super::fill::{self, Filling};
use crate::options::Options;

/// A server with associations, ready for a load.
pub(crate) struct World {
    server: Server,
    /// The homeserver of its users.
    pub(crate) homeserver: Homeserver,
    /// The relay that accepts its mail.
    pub(crate) mail: Arc<Sink>,
    /// The access token of an account.
    pub(crate) access_token: String,
    /// The current pepper.
    pub(crate) pepper: String,
    /// The content of the database.
    pub(crate) filling: Filling,
    /// From the start of the process with the filled database to its first response.
    pub(crate) start_to_ready: Duration,
}

impl World {
    /// Starts the server, which creates its tables and its pepper, stops it, fills its database, and starts it again.
    ///
    /// # Panics
    /// If a step fails; without PostgreSQL on this machine, if it is requested.
    pub(crate) async fn start(options: &Options) -> Self {
        let url = match options.postgres {
            true => Some(postgres::database().await.expect("PostgreSQL must be installed for --postgres")),
            false => None,
        };
        let database = url.as_deref().map(|url| format!("[database]\nurl = \"{url}\"\n")).unwrap_or_default();
        let tables = format!("[limits]\nenabled = false\n{database}");
        let settings = identity::Settings { tables: &tables, logs_to_file: true, ..identity::Settings::default() };
        let world = identity::World::with(settings).await;
        let access_token = world.register("@load:hs.example").await;
        let pepper = world.pepper(&access_token).await;
        let identity::World { mut server, homeserver, mail, .. } = world;

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
        Self { server, homeserver, mail, access_token, pepper, filling, start_to_ready }
    }

    /// The server's address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Empties the server's log, because a load adds hundreds of megabytes.
    pub(crate) fn empty_log(&self) {
        self.server.empty_log();
    }
}
