//! Opens the sockets before the server runs, so that a port in use fails at start and port 0 becomes a known port.
//!
//! Invariant: an open socket reports the address that it is bound to.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;

use super::certificate::Certificate;
use super::settings::{AdminAddress, Http};
use crate::clock::Timestamp;
use crate::config::ConfigError;

/// Why a listener cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is in use, belongs to another host, or requires more rights.
    #[error("cannot listen on {address}: {source}{}", advice(.source.kind()))]
    Bind {
        /// The configured address.
        address: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// The certificate or its key is unusable.
    #[error(transparent)]
    Tls(#[from] ConfigError),
}

/// Advice for the operator.
fn advice(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::AddrInUse => "; another process listens there: stop it, or set another [http] or [admin] bind",
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address: see [http] and [admin] bind",
        io::ErrorKind::PermissionDenied => "; ports below 1024 are the system's: listen above and put a proxy in front",
        _ => "",
    }
}

/// Checks the certificate and its key, if `[http]` names them; returns what an operator should know of its dates.
///
/// # Errors
/// [`ListenError::Tls`].
pub fn check(settings: &Http, now: Timestamp) -> Result<Option<String>, ListenError> {
    Ok(tls(settings)?.and_then(|tls| tls.certificate.notice(now)))
}

/// The loaded certificate of the listeners, for the startup banner and for `/ready`.
#[derive(Clone, Debug)]
pub struct LoadedCertificate(Option<Certificate>);

impl LoadedCertificate {
    /// That of `listeners`, which share one.
    pub fn of(listeners: &[Listener]) -> Self {
        Self(listeners.iter().find_map(|listener| listener.tls.as_ref()).map(|tls| tls.certificate.clone()))
    }

    /// The problem with its dates, if any.
    pub fn notice(&self, now: Timestamp) -> Option<String> {
        self.0.as_ref()?.notice(now)
    }
}

/// A listener of the main server.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: TcpListener,
    pub(super) tls: Option<Tls>,
}

/// TLS of a listener.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    pub(super) config: ServerConfig,
    pub(super) certificate: Certificate,
}

impl Listener {
    /// The bound address.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()
    }

    /// The bound address as a URL.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        match self.socket.local_addr() {
            Ok(address) => format!("{scheme}://{address}"),
            Err(_) => format!("{scheme}://unknown"),
        }
    }
}

/// Opens every address of `[http] bind`.
///
/// # Errors
/// [`ListenError`] for the first address that cannot be opened.
pub fn listen(settings: &Http) -> Result<Vec<Listener>, ListenError> {
    let tls = tls(settings)?;
    let open = |address: &SocketAddr| Ok(Listener { socket: bind(*address)?, tls: tls.clone() });
    settings.bind.as_slice().iter().map(open).collect()
}

/// The socket of the admin listener.
#[derive(Debug)]
pub enum AdminListener {
    /// TCP.
    Tcp(TcpListener),
    /// Unix.
    Unix(UnixListener, String),
}

impl AdminListener {
    /// Opens the address. Replaces the Unix socket of a process that has ended.
    ///
    /// # Errors
    /// [`ListenError::Bind`].
    pub fn open(address: &AdminAddress) -> Result<Self, ListenError> {
        match address {
            AdminAddress::Tcp(address) => bind(*address).map(Self::Tcp),
            AdminAddress::Unix(path) => unix(path)
                .map(|socket| Self::Unix(socket, format!("unix:{}", path.display())))
                .map_err(|source| ListenError::Bind { address: path.display().to_string(), source }),
        }
    }

    /// The bound address.
    pub fn url(&self) -> String {
        match self {
            Self::Tcp(socket) => socket.local_addr().map_or_else(|_| "unknown".to_owned(), |a| format!("http://{a}")),
            Self::Unix(_, path) => path.clone(),
        }
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).map_err(|source| ListenError::Bind { address: address.to_string(), source })
}

fn unix(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::net::UnixStream;
    // Removes only a socket without a listener, so that a wrong setting deletes no file and a running process keeps its
    // listener.
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    if is_socket && UnixStream::connect(path).is_err_and(refused) {
        std::fs::remove_file(path)?;
    }
    let socket = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(socket)
}

fn tls(settings: &Http) -> Result<Option<Tls>, ListenError> {
    let (Some(chain), Some(key)) = (&settings.tls_cert_file, &settings.tls_key_file) else {
        return match (&settings.tls_cert_file, &settings.tls_key_file) {
            (None, None) => Ok(None),
            _ => {
                let problem = "needs tls_key_file, and tls_key_file needs it; set both, or none";
                Err(ConfigError::invalid("http.tls_cert_file", problem).into())
            }
        };
    };
    let certificate = Certificate::load(chain, key)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ConfigError::Invalid(error.to_string()))?;
    let config = builder.with_no_client_auth().with_cert_resolver(certificate.resolver());
    Ok(Some(Tls { config, certificate }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::unix;

    #[test]
    fn only_the_socket_of_an_ended_process_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join("left.sock");
        drop(UnixListener::bind(&left).unwrap());
        let alive = unix(&left).unwrap();
        assert!(unix(&left).is_err(), "a living one keeps its socket");
        drop(alive);

        let file = folder.path().join("precious");
        std::fs::write(&file, "x").unwrap();
        assert!(unix(&file).is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "x");
    }
}
