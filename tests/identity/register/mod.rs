//! An identity server that finds homeservers as the public federation is found, by DNS and well-known files, and
//! homeservers to be found.
//!
//! Invariant: every homeserver has an address of its own (on Linux all of 127/8 is the local host), so that the fixed
//! ports of discovery do not collide between tests.

mod certificates;
mod discovery;
mod outbound_guard;
mod server_names;
mod userinfo;
mod well_known;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU8, Ordering};

use harness::api::{Answer, Api};
use harness::binary;
use harness::certificates::Authority;
use harness::dns::Dns;
use harness::homeserver::{Fault, Homeserver};
use harness::process::{Server, new_folder};
use serde_json::{Value, json};

use harness::world::identity::{Settings, v2};

/// Where the server under test looks for well-known files: only root can listen at 443.
pub(crate) const WELL_KNOWN_PORT: u16 = 4430;
/// What a registration asks the homeserver.
pub(crate) const USERINFO: &str = "/_matrix/federation/v1/openid/userinfo";
/// Where a delegation is looked for.
pub(crate) const WELL_KNOWN: &str = "/.well-known/matrix/server";

/// The server under test with its name server and the authority that it trusts.
pub(crate) struct Outside {
    pub(crate) server: Server,
    pub(crate) api: Api,
    pub(crate) dns: Dns,
    pub(crate) authority: Authority,
}

impl Outside {
    /// A server that may reach all of the local host.
    pub(crate) async fn open() -> Self {
        Self::with("", "").await
    }

    /// A server that may reach `address` and the public network, and nothing else.
    pub(crate) async fn reaching(address: IpAddr) -> Self {
        Self::with_outbound(&format!("allow_cidrs = [\"{address}\"]"), "", "").await
    }

    /// A server with these lines of `[federation]` and these tables, which may connect to all loopback addresses.
    pub(crate) async fn with(federation: &str, tables: &str) -> Self {
        Self::with_outbound("allow_cidrs = [\"127.0.0.0/8\"]", federation, tables).await
    }

    /// A server with these lines of `[outbound]` and `[federation]` and these tables.
    pub(crate) async fn with_outbound(outbound: &str, federation: &str, tables: &str) -> Self {
        let folder = new_folder();
        let (dns, authority) = (Dns::start().await, Authority::new("the world's authority"));
        let section = format!(
            "[outbound]\nextra_ca_file = {:?}\n{outbound}\n\
             [federation]\ndns_servers = [\"{}\"]\nwell_known_port = {WELL_KNOWN_PORT}\n",
            authority.write_pem(folder.path()),
            dns.address(),
        );
        let tables = format!("[limits]\nenabled = false\n{tables}");
        let config = Settings { federation, tables: &tables, ..Settings::default() }.toml(&section, "");
        let server = Server::start_in(folder, binary::identity(), &config, &[]).await;
        Self { api: Api::new(&server.url()), server, dns, authority }
    }

    /// A homeserver of that name at this address; port 0 is any.
    pub(crate) async fn homeserver(&self, name: &str, ip: IpAddr, port: u16) -> Homeserver {
        Homeserver::start_with(name, &self.authority, &format!("{ip}:{port}")).await
    }

    /// A homeserver of that name at an address of its own, to which `host` leads, and port 8448.
    pub(crate) async fn usual_homeserver(&self, host: &str) -> Homeserver {
        let ip = fresh_ip();
        self.dns.set_addresses(host, &[ip]);
        self.homeserver(host, ip, 8448).await
    }

    /// A web server for `host`, at an address of its own, that answers by `reply` when asked for the delegation.
    pub(crate) async fn well_known(&self, host: &str, reply: Fault) -> Homeserver {
        let ip = fresh_ip();
        self.dns.set_addresses(host, &[ip]);
        let web = self.homeserver(host, ip, WELL_KNOWN_PORT).await;
        web.fault("/", reply);
        web
    }

    /// Registers a user of `homeserver` under the name by which it was started.
    pub(crate) async fn register(&self, homeserver: &Homeserver) -> Answer {
        let token = homeserver.open_id_token(&format!("@alice:{}", homeserver.name()));
        self.api.post(&v2("/account/register"), token).send().await
    }

    /// Registers a user of `homeserver` as one of the server `name`.
    pub(crate) async fn register_as(&self, name: &str, homeserver: &Homeserver) -> Answer {
        let mut token = homeserver.open_id_token(&format!("@alice:{name}"));
        token["matrix_server_name"] = json!(name);
        self.api.post(&v2("/account/register"), token).send().await
    }

    /// Tries to register at a server that will not be asked.
    pub(crate) async fn register_at(&self, name: &str) -> Answer {
        let body = json!({ "access_token": "t", "matrix_server_name": name, "token_type": "Bearer", "expires_in": 1 });
        self.api.post(&v2("/account/register"), body).send().await
    }

    /// How often a homeserver could not be used for this reason, by the metrics.
    pub(crate) async fn failures(&self, kind: &str) -> u64 {
        let text = Api::new(&self.server.admin_url()).get("/metrics").send().await.text();
        let series = format!("identity_federation_errors_total{{purpose=\"openid\",kind=\"{kind}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&series)).map_or(0, |value| value.parse().expect("a number"))
    }
}

/// An address of the local host that no other test uses.
pub(crate) fn fresh_ip() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let next = NEXT.fetch_add(1, Ordering::SeqCst);
    assert!(next < 255, "more addresses than one byte can count");
    // The networks below 127.128 are those of the unit tests.
    IpAddr::V4(Ipv4Addr::new(127, 0x80 | high, low, next))
}

/// A well-known file that delegates to `server`.
pub(crate) fn delegation(server: &str) -> Fault {
    Fault::json(200, json!({ "m.server": server }))
}

/// The name in the TLS handshake and the `Host` header of each registration that came to `homeserver`.
pub(crate) fn asked_as(homeserver: &Homeserver) -> Vec<(Option<String>, String)> {
    let requests = homeserver.requests_to(USERINFO).into_iter();
    requests.map(|request| (request.sni.clone(), request.header("host").unwrap_or_default().to_owned())).collect()
}

/// Checks that registration brought a token, under both names that clients know.
#[track_caller]
pub(crate) fn registered(answer: &Answer) -> String {
    let body = answer.expect(200);
    let token = body["token"].as_str().filter(|token| !token.is_empty()).expect("a token").to_owned();
    assert_eq!(body, json!({ "token": token, "access_token": token }));
    token
}

/// Checks that the homeserver could not be used; gives the answer's body.
#[track_caller]
pub(crate) fn unreachable(answer: &Answer) -> Value {
    let body = answer.refused(502, "M_UNKNOWN");
    assert!(body["error"].as_str().is_some_and(|text| text.contains("contact")), "{answer}");
    body
}
