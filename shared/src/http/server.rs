//! Runs a service's listeners until a signal stops them, and stops without losing a request.
//!
//! Invariant: after SIGTERM or SIGINT the server accepts no new connection and waits for the requests in flight.

use std::io;
use std::net::{Shutdown, TcpListener};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::dev::{ServerHandle, ServiceRequest};
use actix_web::middleware::from_fn;
use actix_web::web::{Data, ServiceConfig};
use actix_web::{App, HttpServer, web};
use rustix::process::{Resource, getrlimit};
use socket2::SockRef;
use tokio::signal::unix::{SignalKind, signal};

use super::body::BodyLimits;
use super::body_budget::Budget;
use super::client_address::TrustedProxies;
use super::connections::Connections;
use super::endpoint::not_found;
use super::envelope::{envelop, request_id};
use super::listen::{AdminListener, Listener, Tls};
use super::observe::{Activity, Observer, observe};
use super::operations::Operations;
use super::settings::Http;
use crate::telemetry;

/// A stopping process ends after this long without a request in flight: long enough for a request whose first bytes are
/// in transit.
const QUIET: Duration = Duration::from_millis(250);

/// How long the rest of an unfinished request is read after its response.
const LINGER: Duration = Duration::from_secs(5);

/// How long connections are still accepted after the signal.
const GRACE: Duration = Duration::from_millis(100);

/// Serves until SIGTERM or SIGINT. `configure` registers the routes of the main listener.
///
/// # Errors
/// If the operating system refuses a thread or a signal handler.
pub async fn run(
    settings: &Http,
    observer: Observer,
    main: Vec<Listener>,
    configure: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
    admin: Option<(AdminListener, Operations)>,
) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let activity = observer.activity.clone();
    let limits = BodyLimits {
        max: settings.max_body.get(),
        may_be_large: observer.may_be_large,
        timeout: settings.body_timeout.get(),
        budget: Budget::new(settings.body_budget.get(), settings.max_body.get()),
    };
    let max_connections = connections_within_descriptors(settings.max_connections);
    if max_connections < settings.max_connections {
        tracing::warn!(max_connections, "fewer connections than [http] max_connections: raise the limit of open files");
    }
    let proxies = TrustedProxies(settings.trusted_proxies.as_slice().to_vec());

    let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let workers = settings.workers.unwrap_or_else(cores).max(1);
    let base_path = settings.base_path.clone();
    let observer = Data::new(observer);
    let limits = Data::new(limits);
    let admin_limits = limits.clone();
    let connections = Connections::new(max_connections, proxies.clone());
    let mut server = HttpServer::new(move || {
        App::new()
            .wrap(from_fn(observe))
            .app_data(observer.clone())
            .app_data(limits.clone())
            .app_data(Data::new(proxies.clone()))
            .configure(|config| below(base_path.as_str(), config, &configure))
    })
    .on_connect(move |connection, extensions| connections.accept(connection, extensions))
    .keep_alive(settings.keep_alive.get())
    .client_request_timeout(settings.header_timeout.get())
    // After a response to an unfinished request the rest is read for a while: a reset could reach the client before the
    // response does.
    .client_disconnect_timeout(LINGER)
    .workers(workers)
    .max_connections(for_each_worker(max_connections, workers))
    .shutdown_timeout(1)
    .disable_signals();
    let mut sockets = Vec::new();
    for Listener { socket, tls } in main {
        sockets.push(socket.try_clone()?);
        server = match tls {
            Some(Tls { config, certificate }) => {
                tokio::spawn(certificate.keep_current());
                server.listen_rustls_0_23(socket, config)?
            }
            None => server.listen(socket)?,
        };
    }
    let server = server.run();
    let handle = server.handle();
    let mut running = tokio::spawn(server);

    let admin_handle = match admin {
        Some((listener, operations)) => Some(run_admin(settings, listener, operations, admin_limits)?),
        None => None,
    };

    tokio::select! {
        _ = terminate.recv() => tracing::info!("received SIGTERM, finishing the requests in flight"),
        _ = interrupt.recv() => tracing::info!("received SIGINT, finishing the requests in flight"),
        ended = &mut running => return ended.map_err(io::Error::other)?,
    }
    drain(&handle, &sockets, &activity, settings.shutdown_timeout.get()).await;
    handle.stop(true).await;
    if let Some(admin) = admin_handle {
        admin.stop(false).await;
    }
    running.await.map_err(io::Error::other)?
}

/// As many connections as asked for, or as the process may have files open besides some for everything else.
fn connections_within_descriptors(connections: usize) -> usize {
    /// For databases, push services, homeservers, and the log.
    const RESERVED: usize = 256;
    let Ok(limit) = usize::try_from(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)) else {
        return connections;
    };
    connections.min(limit.saturating_sub(RESERVED).max(limit / 2)).max(1)
}

/// A worker's share of the connections; the server counts them by worker.
fn for_each_worker(connections: usize, workers: usize) -> usize {
    (connections / workers).max(1)
}

/// Registers the routes under `base_path` only.
fn below(base_path: &str, config: &mut ServiceConfig, configure: &impl Fn(&mut ServiceConfig)) {
    if base_path.is_empty() {
        configure(config);
    } else {
        let scope = web::scope(base_path).configure(configure);
        config.service(scope).default_service(web::to(not_found));
    }
}

fn run_admin(
    settings: &Http,
    listener: AdminListener,
    operations: Operations,
    limits: Data<BodyLimits>,
) -> io::Result<ServerHandle> {
    let server = HttpServer::new(move || {
        let operations = operations.clone();
        let middleware = from_fn(move |request: ServiceRequest, next| async move {
            let request_id = request_id(request.headers());
            // Without the headers of the main listener: no script of a web page reads what the operator reads.
            envelop(request, next, &[], &request_id).await
        });
        App::new().wrap(middleware).app_data(limits.clone()).configure(move |config| operations.configure(config))
    })
    .keep_alive(settings.keep_alive.get())
    .client_request_timeout(settings.header_timeout.get())
    .workers(1)
    .disable_signals();
    let server = match listener {
        AdminListener::Tcp(socket) => server.listen(socket)?,
        AdminListener::Unix(socket, _) => server.listen_uds(socket)?,
    };
    let server = server.run();
    let handle = server.handle();
    tokio::spawn(server);
    Ok(handle)
}

async fn drain(handle: &ServerHandle, sockets: &[TcpListener], activity: &Arc<Activity>, timeout: Duration) {
    activity.drain();
    // Connections that are open but not accepted yet are accepted meanwhile: closing the socket resets them.
    tokio::time::sleep(GRACE).await;
    telemetry::expect_accept_errors();
    for socket in sockets {
        // The server keeps its sockets until the end. A socket that listens no more refuses connections at once, so that a
        // proxy asks another process; without an accepting process they would hang.
        if let Err(error) = SockRef::from(socket).shutdown(Shutdown::Both) {
            tracing::debug!(%error, "a listening socket is closed already");
        }
    }
    // After that: a paused server leaves connections in the queue of the socket.
    handle.pause().await;
    let deadline = Instant::now() + timeout;
    let mut quiet_since = Instant::now();
    while Instant::now() < deadline {
        // Checked before the time, because on a busy machine this may wake up late.
        if !activity.is_idle() {
            quiet_since = Instant::now();
        } else if quiet_since.elapsed() >= QUIET {
            break;
        }
        // Polling for a quarter of a second at the end of the process is simpler than a wake-up per request.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::{TestRequest, call_service, init_service};
    use actix_web::{App, HttpResponse};

    use super::super::endpoint::{endpoint, not_found};
    use super::{BodyLimits, Budget, Data, Duration, ServiceConfig, below, for_each_worker, web};

    fn limits() -> Data<BodyLimits> {
        let timeout = Duration::from_secs(1);
        Data::new(BodyLimits { max: 10, may_be_large: |_| true, timeout, budget: Budget::new(1000, 10) })
    }

    #[actix_web::test]
    async fn routes_exist_under_the_base_path_only() {
        for base in ["", "/push"] {
            let configure = |config: &mut ServiceConfig| {
                let get = || async { HttpResponse::Ok().finish() };
                config.service(endpoint("/x").get(get)).default_service(web::to(not_found));
            };
            let limits = limits();
            let app = App::new().app_data(limits).configure(|config| below(base, config, &configure));
            let app = init_service(app).await;
            for (path, status) in [("/x", 200), ("/y", 404), ("/x/", 404)] {
                let request = TestRequest::get().uri(&format!("{base}{path}")).to_request();
                assert_eq!(call_service(&app, request).await.status(), status, "{base}{path}");
            }
            if !base.is_empty() {
                for path in ["/x", "/pushx", "/"] {
                    let request = TestRequest::get().uri(path).to_request();
                    assert_eq!(call_service(&app, request).await.status(), 404, "{path}");
                }
            }
        }
    }

    #[test]
    fn all_workers_together_respect_the_connection_limit() {
        for (connections, workers, each) in [(20_000, 16, 1250), (50, 4, 12), (7, 1, 7), (2, 8, 1), (0, 1, 1)] {
            assert_eq!(for_each_worker(connections, workers), each, "{connections} on {workers}");
        }
    }

    #[actix_web::test]
    async fn options_lists_the_methods_of_every_path() {
        let get = || async { HttpResponse::Ok().finish() };
        let limits = limits();
        let app = App::new().app_data(limits).service(endpoint("/x").get(get)).default_service(web::to(not_found));
        let app = init_service(app).await;
        for (method, path, status, allow) in [
            ("OPTIONS", "/x", 200, Some("OPTIONS, GET, HEAD")),
            ("OPTIONS", "/y", 200, Some("OPTIONS")),
            ("PUT", "/x", 405, Some("OPTIONS, GET, HEAD")),
            ("PUT", "/y", 404, None),
        ] {
            let request = TestRequest::with_uri(path).method(method.parse().unwrap()).to_request();
            let response = call_service(&app, request).await;
            let found = response.headers().get("allow").map(|value| value.to_str().unwrap());
            assert_eq!((response.status().as_u16(), found), (status, allow), "{method} {path}");
        }
    }
}
