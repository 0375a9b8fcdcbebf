//! Connections to PostgreSQL.
//!
//! They are opened by its own client and not through [`shared::outbound::connector`]: a URL may name several servers,
//! addresses, timeouts and session attributes, and the client implements all of them. TLS is the connector's.
//!
//! Invariant: no error contains a URL, which may contain a password.

mod connection;
mod direct;
mod failure;
mod listener;
mod row;
mod statement;

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use diesel::ConnectionError;
use diesel_async::pooled_connection::deadpool::Pool as Deadpool;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use futures_util::FutureExt;
use shared::outbound::tls;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use self::connection::Link;
pub(super) use self::connection::PostgresConnection;
pub(super) use self::listener::{Ended, Listener};
use super::StoreError;
use crate::config::database::{Database, PreparedStatements};

/// The default of `tcp_user_timeout` in the URL: a connection without acknowledgements for this long is lost. The system's
/// own limit is a quarter of an hour.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Parses `url`, with defaults for what it leaves out.
///
/// # Errors
/// [`StoreError::Url`].
pub(super) fn target(url: &str) -> Result<tokio_postgres::Config, StoreError> {
    // The parser's own message may quote a part of the password.
    let mut target: tokio_postgres::Config = url.parse().map_err(|_| {
        StoreError::Url(
            "expected postgres://user:password@host:port/name?option=value; a password has anything but letters and \
             digits percent-encoded (@ is %40), and there is no option sslrootcert: set [outbound] extra_ca_file"
                .to_owned(),
        )
    })?;
    // The default of the client falls back to plain text, in which a server may request the password.
    if target.get_ssl_mode() == SslMode::Prefer && !is_local(&target) {
        target.ssl_mode(SslMode::Require);
    }
    if target.get_tcp_user_timeout().is_none() {
        target.tcp_user_timeout(TCP_USER_TIMEOUT);
    }
    if target.get_application_name().is_none() {
        target.application_name("matrix-identity");
    }
    Ok(target)
}

/// Whether every server is on this machine: a unix socket or a loopback address.
fn is_local(target: &tokio_postgres::Config) -> bool {
    let is_local_host = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name.eq_ignore_ascii_case("localhost")
                || name.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
        }
    };
    // `hostaddr` overrides the address of a name.
    target.get_hostaddrs().iter().all(|ip| ip.to_canonical().is_loopback())
        && (!target.get_hostaddrs().is_empty() || target.get_hosts().iter().all(is_local_host))
}

/// Opens connections to PostgreSQL.
#[derive(Clone)]
pub(super) struct Connector {
    target: tokio_postgres::Config,
    prepared_statements: PreparedStatements,
    link: Link,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) struct ConnectFailure {
    pub(super) text: String,
    /// Whether a later attempt may succeed.
    pub(super) is_transient: bool,
}

impl Connector {
    /// A connector to `url` with the other settings of `settings`.
    ///
    /// # Errors
    /// [`StoreError`] if the URL is invalid or the authority's file is.
    pub(super) fn new(url: &str, settings: &Database, extra_ca_file: Option<&Path>) -> Result<Self, StoreError> {
        let mut target = target(url)?;
        if target.get_connect_timeout().is_none() {
            target.connect_timeout(settings.connect_timeout);
        }
        let tls = tls::client_config(extra_ca_file, true).map_err(|error| StoreError::Connect(error.to_string()))?;
        let link = Link {
            tls: MakeRustlsConnect::new(tls),
            has_named_statements: settings.prepared_statements == PreparedStatements::Named,
            statement_timeout: Some(settings.statement_timeout),
        };
        Ok(Self { target, prepared_statements: settings.prepared_statements, link })
    }

    /// The hosts and ports, for the log.
    pub(super) fn servers(&self) -> String {
        let ports = self.target.get_ports();
        let port = |index: usize| ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        let name = |host: &Host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        };
        let names: Vec<String> = if self.target.get_hosts().is_empty() {
            self.target.get_hostaddrs().iter().map(ToString::to_string).collect()
        } else {
            self.target.get_hosts().iter().map(name).collect()
        };
        let servers = names.iter().enumerate().map(|(index, name)| format!("{name}:{}", port(index)));
        servers.collect::<Vec<_>>().join(",")
    }

    /// The same for migrations: without names, and each statement may take any time.
    pub(super) fn for_migrations(mut self) -> Self {
        self.prepared_statements = PreparedStatements::Unnamed;
        self.link.has_named_statements = false;
        self.link.statement_timeout = None;
        self
    }

    /// Opens a connection. `connect_timeout` covers the login too: a pooler accepts connections while its server is down.
    ///
    /// # Errors
    /// [`ConnectFailure`].
    pub(super) async fn connect(&self) -> Result<PostgresConnection, ConnectFailure> {
        self.within_connect_timeout(self.open()).await
    }

    async fn within_connect_timeout<T>(
        &self,
        opening: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, ConnectFailure> {
        let servers = self.target.get_hosts().len().max(self.target.get_hostaddrs().len()).max(1);
        let limit = self.target.get_connect_timeout().copied().unwrap_or_default();
        let limit = limit.saturating_mul(u32::try_from(servers).unwrap_or(u32::MAX));
        match tokio::time::timeout(limit, opening).await {
            Ok(Ok(opened)) => Ok(opened),
            Ok(Err(error)) => {
                Err(ConnectFailure { text: failure::with_causes(&error), is_transient: failure::is_transient(&error) })
            }
            Err(_) => Err(ConnectFailure {
                text: format!("PostgreSQL, no connection within {limit:?} ([database] connect_timeout)"),
                is_transient: true,
            }),
        }
    }

    async fn open(&self) -> Result<PostgresConnection, tokio_postgres::Error> {
        let (client, connection) = self.target.connect(self.link.tls.clone()).await?;
        let mut opened = PostgresConnection::new(client, connection, self.link.clone());
        if self.prepared_statements == PreparedStatements::Auto && direct::is_direct(opened.client()).await {
            opened.use_named_statements();
        }
        Ok(opened)
    }

    /// A pool of such connections.
    ///
    /// # Errors
    /// [`StoreError::Connect`].
    pub(super) fn pool(self, size: usize) -> Result<Deadpool<PostgresConnection>, StoreError> {
        let mut config = ManagerConfig::<PostgresConnection>::default();
        // The driver notices a connection that the server has closed; asking it each time would double the round trips.
        config.recycling_method = RecyclingMethod::Fast;
        config.custom_setup = Box::new(move |_| {
            let connector = self.clone();
            async move { connector.connect().await.map_err(|failure| ConnectionError::BadConnection(failure.text)) }
                .boxed()
        });
        // The pool needs no URL: the setup above has it.
        let manager = AsyncDieselConnectionManager::<PostgresConnection>::new_with_config("", config);
        Deadpool::builder(manager).max_size(size).build().map_err(|error| StoreError::Connect(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::SslMode;

    use super::target;

    #[test]
    fn beyond_this_machine_tls_is_required_unless_the_url_disables_it() {
        use SslMode::{Disable, Prefer, Require};
        for (url, mode) in [
            ("postgres://u:p@db.example/n", Require),
            ("postgres://u:p@10.0.0.5/n", Require),
            ("postgres://u:p@db.example/n?sslmode=prefer", Require),
            ("postgres://u:p@db.example/n?sslmode=require", Require),
            ("postgres://u:p@db.example/n?sslmode=disable", Disable),
            ("postgres://u:p@localhost,db.example/n", Require),
            ("postgres://u:p@localhost/n?hostaddr=10.0.0.5", Require),
            ("postgres://u:p@db.example/n?hostaddr=127.0.0.1", Prefer),
            ("postgres://u:p@localhost/n", Prefer),
            ("postgres://u:p@LOCALHOST:5433/n", Prefer),
            ("postgres://u:p@127.0.0.9/n", Prefer),
            ("postgres://u:p@[::1]/n", Prefer),
            ("postgres:///n?host=/run/postgresql&user=u", Prefer),
            ("postgres://u@localhost/n?sslmode=require", Require),
        ] {
            assert_eq!(target(url).unwrap().get_ssl_mode(), mode, "{url}");
        }
    }
}
