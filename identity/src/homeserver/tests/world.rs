//! A small outside world on the loopback network: name server, certificate authority, HTTPS servers.
//!
//! Invariant: every server has an IP address of its own (the whole of 127/8 is the local host on Linux), so the fixed
//! ports of discovery do not collide between tests.

use std::collections::HashMap;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hyper::Method;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use shared::clock::{Clock, Timestamp};
use shared::outbound::failure::Failure;
use shared::outbound::settings::Outbound;
use shared::random::Random;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio_rustls::TlsAcceptor;

use crate::config::federation::Federation;
use crate::domain::server_name::ServerName;
use crate::homeserver::client::{FederationReply, FederationRequest, HomeserverClient, Purpose};

/// Where well-known files are served in these tests.
pub(super) const WELL_KNOWN_PORT: u16 = 4430;

pub(super) struct World {
    pub(super) authority: Authority,
    pub(super) clock: Clock,
    zone: Arc<Mutex<Zone>>,
    name_server: SocketAddr,
}

#[derive(Default)]
struct Zone {
    records: HashMap<(String, RecordType), Vec<RData>>,
    asked: Vec<String>,
}

/// The sections that the client under test depends on.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) federation: Federation,
    pub(super) outbound: Outbound,
}

/// A certificate authority whose root is in a file.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: tempfile::NamedTempFile,
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<Seen>>>,
    fails: Arc<AtomicBool>,
}

/// One request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) sni: Option<String>,
    pub(super) line: String,
    pub(super) host: String,
}

impl World {
    pub(super) async fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let name_server = socket.local_addr().unwrap();
        let zone = Arc::new(Mutex::new(Zone::default()));
        tokio::spawn(answer_names(socket, Arc::clone(&zone)));
        let clock = Clock::manual(Timestamp::from_millis(1_750_000_000_000));
        Self { authority: Authority::new(), clock, zone, name_server }
    }

    pub(super) fn a(&self, name: &str, ip: IpAddr) {
        let IpAddr::V4(ip) = ip else { panic!("IPv4 only") };
        self.record(name, RecordType::A, RData::A(A(ip)));
    }

    pub(super) fn srv(&self, name: &str, priority: u16, port: u16, target: &str) {
        let target = Name::from_ascii(format!("{target}.")).unwrap();
        self.record(name, RecordType::SRV, RData::SRV(SRV::new(priority, 1, port, target)));
    }

    fn record(&self, name: &str, kind: RecordType, data: RData) {
        self.zone.lock().unwrap().records.entry((name.to_owned(), kind)).or_default().push(data);
    }

    /// The questions that the name server was asked, as `name type`.
    pub(super) fn asked(&self) -> Vec<String> {
        self.zone.lock().unwrap().asked.clone()
    }

    /// Settings for this world that allow all of its addresses.
    pub(super) fn settings(&self) -> Settings {
        let outbound = Outbound {
            extra_ca_file: Some(self.authority.file.path().to_path_buf()),
            allow_cidrs: vec!["127.0.0.0/8".parse().unwrap()].into(),
            ..Outbound::default()
        };
        let federation = Federation {
            dns_servers: vec![self.name_server].into(),
            well_known_port: WELL_KNOWN_PORT,
            ..Federation::default()
        };
        Settings { federation, outbound }
    }

    pub(super) fn client(&self, settings: &Settings) -> HomeserverClient {
        HomeserverClient::new(&settings.federation, &settings.outbound, self.clock.clone(), Random).unwrap()
    }

    /// An HTTPS server at `ip` with a certificate for `names` that gives every request the same reply.
    pub(super) async fn serve(&self, ip: IpAddr, port: u16, names: &[&str], reply: impl Into<Reply>) -> Server {
        serve(SocketAddr::new(ip, port), self.authority.server_config(names, false), reply.into()).await
    }

    /// The same with a certificate that has expired.
    pub(super) async fn serve_expired(&self, ip: IpAddr, port: u16, names: &[&str]) -> Server {
        serve(SocketAddr::new(ip, port), self.authority.server_config(names, true), json("{}").into()).await
    }

    /// The well-known file of `host`, with an address of its own.
    pub(super) async fn well_known(&self, host: &str, reply: impl Into<Reply>) -> Server {
        let ip = fresh_ip();
        self.a(host, ip);
        self.serve(ip, WELL_KNOWN_PORT, &[host], reply).await
    }
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(issuer.pem().as_bytes()).unwrap();
        Self { issuer, file }
    }

    pub(super) fn server_config(&self, names: &[&str], expired: bool) -> ServerConfig {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        if expired {
            params.not_after = date_time_ymd(2001, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap()
    }
}

impl Server {
    /// How many TCP connections there were.
    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// From now on it answers 503.
    pub(super) fn fail(&self) {
        self.fails.store(true, Ordering::SeqCst);
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// What a server answers: bytes, and whether then one more byte follows every few milliseconds, for ever.
pub(super) struct Reply {
    bytes: Vec<u8>,
    drips: bool,
}

impl From<String> for Reply {
    fn from(text: String) -> Self {
        Self { bytes: text.into_bytes(), drips: false }
    }
}

pub(super) fn dripping(text: String) -> Reply {
    Reply { bytes: text.into_bytes(), drips: true }
}

pub(super) fn json(body: &str) -> String {
    http("200 OK", "Content-Type: application/json\r\n", body)
}

pub(super) fn delegation(to: &str) -> String {
    json(&format!("{{\"m.server\":\"{to}\"}}"))
}

pub(super) fn redirect(to: &str) -> String {
    http("302 Found", &format!("Location: {to}\r\n"), "")
}

/// `headers` end with a line break each.
pub(super) fn http(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// An address of the loopback network that no other test uses.
pub(super) fn fresh_ip() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let next = NEXT.fetch_add(1, Ordering::SeqCst);
    assert!(next < 255, "more addresses than one byte can count");
    IpAddr::V4(Ipv4Addr::new(127, 1 + (high & 0x7f), low, next))
}

/// Sends `GET /x` to `server`.
pub(super) async fn get(client: &HomeserverClient, server: &str) -> Result<FederationReply, Failure> {
    let server = ServerName::parse(server).unwrap();
    let request = FederationRequest {
        purpose: Purpose::Keys,
        method: Method::GET,
        server: &server,
        path_and_query: "/x?secret=hunter2",
        body: None,
        max_reply: 5 * 1024,
    };
    client.send(request).await.map_err(|error| {
        let text = format!("{error} {error:?}");
        assert!(text.contains("contact") && text.contains(server.as_str()), "{text}");
        assert!(!text.contains("hunter2") && !text.contains("/x"), "{text}");
        error.failure
    })
}

async fn answer_names(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut buffer = [0; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let question = Message::from_vec(&buffer[..length]).unwrap();
        let query = question.queries[0].clone();
        let name = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
        let mut answer = Message::response(question.metadata.id, OpCode::Query);
        answer.metadata.recursion_desired = true;
        answer.metadata.recursion_available = true;
        answer.add_query(query.clone());
        {
            let mut zone = zone.lock().unwrap();
            zone.asked.push(format!("{name} {}", query.query_type()));
            match zone.records.get(&(name, query.query_type())) {
                Some(found) => found.iter().for_each(|data| {
                    answer.add_answer(Record::from_rdata(query.name().clone(), 60, data.clone()));
                }),
                None => answer.metadata.response_code = ResponseCode::NXDomain,
            }
        }
        socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
    }
}

async fn serve(address: SocketAddr, config: ServerConfig, reply: Reply) -> Server {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server { address, accepted: Arc::default(), seen: Arc::default(), fails: Arc::default() };
    let fails = Arc::clone(&server.fails);
    let (accepted, seen, reply) = (Arc::clone(&server.accepted), Arc::clone(&server.seen), Arc::new(reply));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            accepted.fetch_add(1, Ordering::SeqCst);
            let (acceptor, seen, reply) = (acceptor.clone(), Arc::clone(&seen), Arc::clone(&reply));
            let fails = Arc::clone(&fails);
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(tcp).await else { return };
                let sni = stream.get_ref().1.server_name().map(str::to_owned);
                while let Some(head) = read_head(&mut stream).await {
                    let header = |name: &str| {
                        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
                        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
                    };
                    let line = head.lines().next().unwrap_or_default().to_owned();
                    let host = header("host").unwrap_or_default();
                    seen.lock().unwrap().push(Seen { sni: sni.clone(), line, host });
                    let failure = b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n";
                    let bytes = if fails.load(Ordering::SeqCst) { &failure[..] } else { &reply.bytes };
                    if stream.write_all(bytes).await.is_err() {
                        return;
                    }
                    let mut interval = tokio::time::interval(Duration::from_millis(5));
                    while reply.drips && stream.write_all(b" ").await.is_ok() && stream.flush().await.is_ok() {
                        interval.tick().await;
                    }
                }
            });
        }
    });
    server
}

/// Everything up to the empty line, or `None` at the end of the connection.
pub(super) async fn read_head(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}
