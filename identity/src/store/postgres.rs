//! Connections to PostgreSQL.
//!
//! They are opened by its own client and not through [`shared::outbound::connector`]: a URL may name several servers,
//! addresses, timeouts and session attributes, and the client implements all of them. TLS is the connector's.
//!
//! Invariant: no error contains a URL, which may contain a password.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use diesel::ConnectionError;
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::deadpool::Pool as Deadpool;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use futures_util::FutureExt;
use shared::outbound::tls;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::StoreError;
use super::connection::PostgresConn;

/// The default of `connect_timeout` in the URL.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
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
    if target.get_connect_timeout().is_none() {
        target.connect_timeout(CONNECT_TIMEOUT);
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

pub(super) fn pool(url: &str, size: usize, extra_ca_file: Option<&Path>) -> Result<Deadpool<PostgresConn>, StoreError> {
    let target = target(url)?;
    let tls = tls::client_config(extra_ca_file, true).map_err(|error| StoreError::Connect(error.to_string()))?;
    let tls = MakeRustlsConnect::new(tls);

    let mut config = ManagerConfig::<PostgresConn>::default();
    // The driver notices a connection that the server has closed; asking it each time would double the round trips.
    config.recycling_method = RecyclingMethod::Fast;
    config.custom_setup = Box::new(move |_| {
        let (target, tls) = (target.clone(), tls.clone());
        async move {
            let (client, connection) =
                target.connect(tls).await.map_err(|error| ConnectionError::BadConnection(describe(&error)))?;
            AsyncPgConnection::try_from_client_and_connection(client, connection).await
        }
        .boxed()
    });
    // The pool needs no URL: the setup above has it.
    let manager = AsyncDieselConnectionManager::<PostgresConn>::new_with_config("", config);
    Deadpool::builder(manager).max_size(size).build().map_err(|error| StoreError::Connect(error.to_string()))
}

/// The error with its causes: tokio-postgres keeps the important part ("connection refused") in the source.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = format!("PostgreSQL, {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    if text.contains("TLS handshake") || text.contains("server does not support TLS") {
        text.push_str(
            " (beyond this machine TLS is required; for a certificate of your own authority set [outbound] extra_ca_file; \
             without TLS, on a network that you trust, add ?sslmode=disable to the URL)",
        );
    }
    text
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
