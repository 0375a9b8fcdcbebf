//! The floor: programs that do only the unavoidable work of a gateway. One posts a push repeatedly; the other accepts
//! the homeservers' requests and responds.
//!
//! Invariant: each is its own process, so that its cost is measured like the gateway's.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actix_web::{HttpResponse, web};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use h2::client::SendRequest;
use harness::application_server::encrypt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::providers::Specimen;
use super::requests::{RECEIVER, RECEIVER_SECRET};
use super::table::Row;
use super::world::World;
use super::{WARM_UP, specimen};
use crate::bare::{self, Bare};
use crate::{engine, process};

/// The argument that makes this program the bare client.
pub(crate) const BARE_CLIENT: &str = "bare-client";

/// The argument that makes this program the bare cryptography.
pub(crate) const BARE_CRYPTOGRAPHY: &str = "bare-cryptography";

/// The argument that makes this program the bare handler.
pub(crate) const BARE_HANDLER: &str = "bare-handler";

/// The bytes of a message for a browser before its encryption.
const PLAINTEXT: usize = 420;

/// The cost of the floor, in CPU microseconds.
#[derive(Clone, Debug)]
pub(super) struct Floor {
    /// The bare client, for one notification.
    pub(super) client: f64,
    /// The bare handler, for one request.
    pub(super) handler: f64,
    /// The bare cryptography, for one notification; `None` where nothing is encrypted.
    pub(super) cryptography: Option<f64>,
}

/// The bare client's cost of one notification, with the number of concurrent pushes of `row`.
///
/// # Errors
/// If the gateway has not sent a push yet, or the client exits.
pub(super) fn price_of_client(world: &World, row: &Row, duration: Duration) -> io::Result<f64> {
    let service = world.service(row);
    let first = service.first().ok_or_else(|| io::Error::other("no push has arrived yet"))?;
    let path = specimen(world.folder(), row.provider);
    std::fs::write(&path, first.to_json().to_string())?;
    let in_flight = (row.connections * row.devices).to_string();
    let (address, ca) = (service.address.to_string(), world.ca().display().to_string());
    let client = Bare::start(&[BARE_CLIENT, &address, &ca, &path.display().to_string(), &in_flight])?;
    engine::wait(WARM_UP);
    let cpu = || process::cpu_time(client.pid()).ok_or_else(|| io::Error::other("the bare client has ended"));
    let (before, cpu_before) = (service.pushes(), cpu()?);
    engine::wait(duration);
    let (pushes, cpu) = (service.pushes() - before, cpu()?.saturating_sub(cpu_before));
    #[expect(clippy::cast_precision_loss, reason = "to one digit after the point")]
    let pushes = pushes.max(1) as f64;
    Ok(cpu.as_secs_f64() * 1e6 / pushes)
}

/// The bare handler's cost of one request: the result of `measure`, which gets its address and its process.
///
/// # Errors
/// If it does not start.
pub(super) fn price_of_handler(measure: impl FnOnce(SocketAddr, u32) -> f64) -> io::Result<f64> {
    let mut handler = Bare::start(&[BARE_HANDLER])?;
    Ok(measure(handler.address()?, handler.pid()))
}

/// The cost of the encryption of one message.
///
/// # Errors
/// If it does not start.
pub(super) fn price_of_cryptography(duration: Duration) -> io::Result<f64> {
    Bare::start(&[BARE_CRYPTOGRAPHY, &duration.as_millis().to_string()])?.line()?.parse().map_err(io::Error::other)
}

/// The bare cryptography: `MILLISECONDS`. Encrypts messages of the usual size for so long, on one thread, and prints how
/// many CPU microseconds each took. A signature of VAPID is made once for a push service, so it costs nothing.
///
/// # Errors
/// If the argument is wrong.
pub(crate) fn bare_cryptography(arguments: &[&str]) -> io::Result<bool> {
    let [milliseconds] = arguments else { return Err(io::ErrorKind::InvalidInput.into()) };
    let end = Instant::now() + Duration::from_millis(milliseconds.parse().map_err(io::Error::other)?);
    let cpu = || process::cpu_time(std::process::id()).ok_or_else(|| io::Error::other("no /proc"));
    let (receiver, secret, plaintext) = (RECEIVER, RECEIVER_SECRET, [b'x'; PLAINTEXT]);
    let (before, mut messages) = (cpu()?, 0_u32);
    while Instant::now() < end {
        std::hint::black_box(encrypt(receiver, secret, &plaintext));
        messages += 1;
    }
    writeln!(io::stdout(), "{}", (cpu()? - before).as_secs_f64() * 1e6 / f64::from(messages.max(1)))?;
    Ok(true)
}

/// The bare handler: prints its address, then responds to every request as the gateway does, without parsing it.
///
/// # Errors
/// If it cannot listen.
pub(crate) fn bare_handler() -> io::Result<bool> {
    async fn notify(_body: Bytes) -> HttpResponse {
        HttpResponse::Ok().content_type("application/json").body(r#"{"rejected":[]}"#)
    }
    async fn relay(_body: Bytes) -> HttpResponse {
        HttpResponse::Created().insert_header(("ttl", 3600)).finish()
    }
    bare::serve(|config| {
        config.route("/_matrix/push/v1/notify", web::post().to(notify));
        config.service(web::scope("/wp").default_service(web::to(relay)));
    })
}

/// The bare client: `ADDRESS CA SPECIMEN IN_FLIGHT`. Posts the specimen endlessly over one connection, on one thread,
/// `IN_FLIGHT` at the same time.
///
/// # Errors
/// If the arguments are wrong or the connection ends.
pub(crate) fn bare_client(arguments: &[&str]) -> io::Result<bool> {
    let [address, ca, specimen, in_flight] = arguments else { return Err(io::ErrorKind::InvalidInput.into()) };
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let in_flight: usize = in_flight.parse().map_err(io::Error::other)?;
    let specimen = Specimen::from_json(&serde_json::from_slice(&std::fs::read(specimen)?)?);
    let specimen = Arc::new(specimen.ok_or(io::ErrorKind::InvalidData)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let sender = connect(address, Path::new(ca)).await?;
        let numbers = Arc::new(AtomicU64::new(0));
        let mut posts = tokio::task::JoinSet::new();
        for _ in 0..in_flight {
            posts.spawn(post_again_and_again(sender.clone(), address, specimen.clone(), numbers.clone()));
        }
        match posts.join_next().await {
            Some(Ok(Err(error))) => Err(io::Error::other(error)),
            _ => Ok(false),
        }
    })
}

async fn connect(address: SocketAddr, ca: &Path) -> io::Result<SendRequest<Bytes>> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(ca).map_err(io::Error::other)?;
    roots.add(certificate).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut tls = tls.map_err(io::Error::other)?.with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let stream = TlsConnector::from(Arc::new(tls)).connect(ServerName::from(address.ip()), tcp).await?;
    let (sender, connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
    // Its end is visible in the requests.
    tokio::spawn(connection);
    Ok(sender)
}

async fn post_again_and_again(
    mut sender: SendRequest<Bytes>,
    address: SocketAddr,
    specimen: Arc<Specimen>,
    numbers: Arc<AtomicU64>,
) -> Result<(), h2::Error> {
    let body = Bytes::from(specimen.body.clone());
    loop {
        let number = format!("{:012x}", numbers.fetch_add(1, Ordering::Relaxed));
        sender = sender.ready().await?;
        let (response, mut stream) = sender.send_request(specimen.head(address, &number), false)?;
        stream.send_data(body.clone(), true)?;
        let mut answer = response.await?.into_body();
        while let Some(part) = answer.data().await {
            answer.flow_control().release_capacity(part?.len())?;
        }
    }
}

impl Specimen {
    /// The head of one more push like this one; `number` replaces the last digits of the fields that differ in each
    /// push.
    fn head(&self, address: SocketAddr, number: &str) -> Request<()> {
        let renumbered = |text: &str| format!("{}{number}", &text[..text.len() - number.len()]);
        let mut headers = self.headers.clone();
        let mut path = self.path.clone();
        if let Some(id) = headers.get_mut("apns-id") {
            let mut other = HeaderValue::try_from(renumbered(id.to_str().unwrap_or_default())).expect("digits");
            // It occurs once, so it is not worth an entry in the table of known fields.
            other.set_sensitive(true);
            *id = other;
            path = renumbered(&path);
        }
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = format!("https://{address}{path}").parse().expect("a path that has been in use");
        *request.headers_mut() = headers;
        request
    }

    fn to_json(&self) -> Value {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| json!([name.as_str(), text(value)])).collect();
        json!({ "path": self.path, "headers": headers, "body": STANDARD.encode(&self.body) })
    }

    fn from_json(json: &Value) -> Option<Self> {
        let mut headers = HeaderMap::new();
        for pair in json["headers"].as_array()? {
            let name: HeaderName = pair[0].as_str()?.parse().ok()?;
            headers.append(name, pair[1].as_str()?.parse().ok()?);
        }
        let body = STANDARD.decode(json["body"].as_str()?).ok()?;
        Some(Self { path: json["path"].as_str()?.to_owned(), headers, body })
    }
}

#[cfg(test)]
mod tests {
    use super::{HeaderMap, HeaderValue, Specimen};

    #[test]
    fn a_push_is_repeated_with_another_device_and_id() {
        let mut headers = HeaderMap::new();
        headers.insert("apns-id", HeaderValue::from_static("12345678-1234-1234-1234-123456789abc"));
        headers.insert("apns-topic", HeaderValue::from_static("com.example"));
        let specimen = Specimen { path: format!("/3/device/{}", "a".repeat(64)), headers, body: b"{}".to_vec() };
        let specimen = Specimen::from_json(&specimen.to_json()).unwrap();
        let head = specimen.head("127.0.0.1:1".parse().unwrap(), "00000000002a");
        assert_eq!(head.uri().path(), format!("/3/device/{}00000000002a", "a".repeat(52)));
        assert_eq!(head.headers()["apns-id"], "12345678-1234-1234-1234-00000000002a");
        assert_eq!((head.headers().len(), specimen.body.as_slice()), (2, b"{}".as_slice()));
    }
}
