//! The release build of the push gateway, between homeservers that are threads of this process and push services that
//! accept everything, for the load run.
//!
//! Invariant: the settings are the defaults, so every request is processed as in production. The push services have no
//! checks and no record, so that they take little of the processor: the fakes of the harness are not used.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use harness::application_server::ApplicationServer;
use harness::binary;
use harness::fcm::Google;
use harness::huawei::Huawei;
use harness::process::{Server, new_folder};
use harness::push_service::{ALLOW, VAPID};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::DISTANCE;
use super::providers::{Provider, PushService};
use super::requests::Requests;
use super::table::Row;
use crate::connection::{self, Connection};

/// The gateway's URL for homeservers.
const PUBLIC_URL: &str = "https://push.example.net";

/// The relay; the load asks for all URLs at once.
const RELAY: &str = "[relay]\npublic_url = \"https://push.example.net\"\nsubscribe_per_ip = \"\"\n\
                     seal_keys = [\"1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"]\n";

/// The push resources of an app: enough that no device exceeds its rate limit.
const RESOURCES: usize = 2000;

/// A gateway that is ready for a load.
pub(super) struct World {
    server: Server,
    log: PathBuf,
    ca: PathBuf,
    services: Vec<Service>,
    /// The last number in a request.
    numbers: Arc<AtomicU64>,
    homeserver: ApplicationServer,
    _google: Google,
    _huawei: Huawei,
    // The push services run on it.
    _runtime: Runtime,
}

/// A push service and its app.
struct Service {
    provider: Provider,
    distant: bool,
    app_id: String,
    service: PushService,
    /// The paths of its push resources; empty without the relay.
    paths: Arc<Vec<String>>,
}

impl World {
    /// Starts push services, near and distant ones, and the gateway.
    ///
    /// # Panics
    /// If a step fails.
    pub(super) fn start() -> io::Result<Self> {
        // One thread does the work of all push services, without waking other threads.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let folder = new_folder();
        // It only issues access tokens.
        let google = runtime.block_on(Google::start());
        // Its service account alone is used.
        let huawei = runtime.block_on(Huawei::start(google.authority()));
        let ca = google.authority().write_pem(folder.path());
        let mut services = Vec::new();
        for (provider, distant) in Provider::ALL.into_iter().flat_map(|provider| [(provider, false), (provider, true)])
        {
            let delay = if distant { DISTANCE } else { Duration::ZERO };
            let service = runtime.block_on(PushService::start(provider, delay, google.authority()));
            let app_id = format!("com.example.{}.{}", provider.name(), if distant { "distant" } else { "near" });
            services.push(Service { provider, distant, app_id, service, paths: Arc::default() });
        }
        let apps: String = services.iter().map(|service| service.config(folder.path(), &google, &huawei)).collect();
        let config =
            format!("[http]\nbind = \"127.0.0.1:0\"\n[outbound]\nextra_ca_file = {ca:?}\n{ALLOW}{RELAY}{apps}");
        let log = folder.path().join("log");
        let server = Server::try_start_logging_to(&log, folder, binary::push_gateway(), &config);
        let server = runtime.block_on(server).unwrap_or_else(|failure| panic!("{failure:?}"));
        let homeserver = ApplicationServer::new();
        for service in services.iter_mut().filter(|service| service.provider == Provider::Relay) {
            service.paths = Arc::new(subscribe(server.address(), &service.app_id, &homeserver)?);
        }
        let numbers = Arc::default();
        Ok(Self { server, log, ca, services, numbers, homeserver, _google: google, _huawei: huawei, _runtime: runtime })
    }

    /// The gateway's address.
    pub(super) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// The file with the certificate authority of the push services.
    pub(super) fn ca(&self) -> &Path {
        &self.ca
    }

    pub(super) fn folder(&self) -> &Path {
        self.server.folder()
    }

    /// The push service of `row`.
    pub(super) fn service(&self, row: &Row) -> &PushService {
        &self.find(row).service
    }

    /// One request of a homeserver, repeated: for the devices of `row`.
    pub(super) fn pushes(&self, row: &Row) -> impl FnMut(&mut Connection) -> io::Result<bool> + Send + use<> {
        let (mut requests, provider) = (self.requests(row), row.provider);
        move |connection| Ok(provider.is_delivered(&connection.exchange(requests.next())?))
    }

    /// Delivers one request before the load, so that a failure has a reason.
    ///
    /// # Errors
    /// The response, or the missing push.
    pub(super) fn try_once(&self, row: &Row) -> io::Result<()> {
        let found = self.find(row);
        let mut requests = self.requests(row);
        let before = found.service.pushes();
        let mut connection = Connection::new(self.address());
        let reply = connection.exchange(requests.next())?;
        let arrived = found.service.pushes() - before;
        if row.provider.is_delivered(&reply) && arrived == row.devices {
            return Ok(());
        }
        let (name, body) = (row.name(), String::from_utf8_lossy(reply.body));
        let log = std::fs::read_to_string(&self.log)?;
        Err(io::Error::other(format!("{name}: {} {body}, {arrived} pushes arrived; the log:\n{log}", reply.status)))
    }

    /// Empties the gateway's log, because a load adds hundreds of megabytes.
    pub(super) fn empty_log(&self) {
        self.server.empty_log();
    }

    fn requests(&self, row: &Row) -> Requests {
        let Service { app_id, service, paths, .. } = self.find(row);
        if row.provider == Provider::Relay {
            let authorization = self.homeserver.authorization(PUBLIC_URL);
            return Requests::relayed(&authorization, Arc::clone(paths), Arc::clone(&self.numbers));
        }
        Requests::new(row.provider, app_id, service.address, row.devices, Arc::clone(&self.numbers))
    }

    fn find(&self, row: &Row) -> &Service {
        let found = self.services.iter().find(|s| (s.provider, s.distant) == (row.provider, row.distant));
        found.expect("there is a push service for every row")
    }
}

/// Asks for the URLs of push resources; returns their paths.
fn subscribe(address: SocketAddr, app_id: &str, homeserver: &ApplicationServer) -> io::Result<Vec<String>> {
    let (mut connection, key) = (Connection::new(address), homeserver.key());
    let mut path = |number: usize| {
        let body = json!({ "token": format!("{number:064x}"), "vapid": key }).to_string();
        let request = connection::request("POST", &format!("/wp/{app_id}"), None, &body);
        let reply: Value = serde_json::from_slice(connection.exchange(&request)?.body)?;
        let path = reply["url"].as_str().and_then(|url| url.strip_prefix(PUBLIC_URL));
        path.map(str::to_owned).ok_or_else(|| io::Error::other(format!("no URL of a push resource: {reply}")))
    };
    (0..RESOURCES).map(&mut path).collect()
}

impl Service {
    /// The app's table; writes the credentials that it names into `folder`.
    fn config(&self, folder: &Path, google: &Google, huawei: &Huawei) -> String {
        let (app_id, address) = (&self.app_id, self.service.address);
        let write = |name: &str, text: String| {
            let path = folder.join(format!("{app_id}.{name}"));
            std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            path
        };
        match self.provider {
            Provider::Apns | Provider::Relay => {
                let relay = self.provider == Provider::Relay;
                let key =
                    rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("the system has randomness");
                let path = write("p8", key.serialize_pem());
                format!(
                    "[apps.{app_id:?}]\ntype = \"apns\"\ntopic = \"com.example.app\"\nkey_file = {path:?}\n\
                     key_id = \"KEY1234567\"\nteam_id = \"TEAM123456\"\nendpoint = \"https://{address}\"\n\
                     relay = {relay}\n"
                )
            }
            Provider::Huawei => {
                let path = huawei.write_service_account(folder);
                format!(
                    "[apps.{app_id:?}]\ntype = \"huawei\"\nservice_account_file = {path:?}\n\
                     base_url = \"https://{address}\"\n"
                )
            }
            Provider::Fcm => {
                let path = google.write_service_account(folder);
                format!(
                    "[apps.{app_id:?}]\ntype = \"fcm\"\nservice_account_file = {path:?}\nbase_url = \"https://{address}\"\n"
                )
            }
            Provider::WebPush => format!("[apps.{app_id:?}]\ntype = \"webpush\"\n{VAPID}"),
            Provider::UnifiedPush => format!("[apps.{app_id:?}]\ntype = \"unifiedpush\"\n"),
        }
    }
}
