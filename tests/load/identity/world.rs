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
use harness::wait::wait_for;
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
    /// Its index, unless it answers from the database.
    pub(crate) index: Option<Index>,
}

/// The index of the lookup hashes in the memory of the server.
pub(crate) struct Index {
    /// From the start of the process until lookups are answered from it.
    pub(crate) start_to_index: Duration,
    /// Its memory for an association.
    pub(crate) bytes_each: f64,
}

async fn index_of(admin: &Api, associations: usize, start: Instant) -> Index {
    let bytes = wait_for("the index", Duration::from_secs(600), async || {
        let text = admin.get("/metrics").send().await.text();
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        #[expect(clippy::cast_precision_loss, reason = "a number of rows")]
        let is_complete = value("identity_index_digests ")? >= associations as f64;
        is_complete.then(|| value("identity_index_bytes ")).flatten()
    })
    .await;
    #[expect(clippy::cast_precision_loss, reason = "a number of rows")]
    Index { start_to_index: start.elapsed(), bytes_each: bytes / associations.max(1) as f64 }
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
        let tables = format!("[limits]\nenabled = false\n[lookup]\nindex = \"{}\"\n{database}", options.index);
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
        let index = match options.index.as_str() {
            "database" => None,
            _ => Some(index_of(&Api::new(&server.admin_url()), options.associations, start).await),
        };
        let mail = Arc::new(mail);
        Self { server, homeserver, mail, access_token, pepper, filling, start_to_ready, index }
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
