//! Running a service's listeners until it is told to stop, and stopping without losing a request.
//!
//! Invariant: after SIGTERM or SIGINT no new connection is taken, and the process waits for what it has begun.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::dev::{ServerHandle, ServiceRequest};
use actix_web::middleware::from_fn;
use actix_web::web::{Data, ServiceConfig};
use actix_web::{App, HttpServer};
use tokio::signal::unix::{SignalKind, signal};

use super::body::BodyLimits;
use super::client_address::TrustedProxies;
use super::envelope::{Headers, envelop, request_id};
use super::listen::{AdminListener, Listener};
use super::observe::{Activity, Observer, observe};
use super::operations::Operations;
use super::settings::Http;

/// A pause without any request in flight after which a stopping process may go: long enough for a request whose first
/// bytes are on their way.
const QUIET: Duration = Duration::from_millis(250);

/// Serves until SIGTERM or SIGINT; `configure` registers the routes of the main listener.
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
    let limits = BodyLimits { max: settings.max_body.get(), timeout: settings.body_timeout.get() };
    let proxies = TrustedProxies(settings.trusted_proxies.as_slice().to_vec());

    let headers = observer.headers;
    let observer = Data::new(observer);
    let mut server = HttpServer::new(move || {
        App::new()
            .wrap(from_fn(observe))
            .app_data(observer.clone())
            .app_data(Data::new(limits))
            .app_data(Data::new(proxies.clone()))
            .configure(configure.clone())
    })
    .keep_alive(settings.keep_alive.get())
    .client_request_timeout(settings.header_timeout.get())
    .max_connections(settings.max_connections)
    .shutdown_timeout(1)
    .disable_signals();
    if let Some(workers) = settings.workers {
        server = server.workers(workers.max(1));
    }
    for Listener { socket, tls } in main {
        server = match tls {
            Some(tls) => server.listen_rustls_0_23(socket, tls)?,
            None => server.listen(socket)?,
        };
    }
    let server = server.run();
    let handle = server.handle();
    let mut running = tokio::spawn(server);

    let admin_handle = match admin {
        Some((listener, operations)) => Some(run_admin(settings, listener, operations, limits, headers)?),
        None => None,
    };

    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: finishing the requests in flight"),
        _ = interrupt.recv() => tracing::info!("SIGINT: finishing the requests in flight"),
        ended = &mut running => return ended.map_err(io::Error::other)?,
    }
    drain(&handle, &activity, settings.shutdown_timeout.get()).await;
    handle.stop(true).await;
    if let Some(admin) = admin_handle {
        admin.stop(false).await;
    }
    running.await.map_err(io::Error::other)?
}

fn run_admin(
    settings: &Http,
    listener: AdminListener,
    operations: Operations,
    limits: BodyLimits,
    headers: Headers,
) -> io::Result<ServerHandle> {
    let server = HttpServer::new(move || {
        let operations = operations.clone();
        let middleware = from_fn(move |request: ServiceRequest, next| async move {
            let request_id = request_id(request.headers());
            envelop(request, next, headers, &request_id).await
        });
        App::new().wrap(middleware).app_data(Data::new(limits)).configure(move |config| operations.configure(config))
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

async fn drain(handle: &ServerHandle, activity: &Arc<Activity>, timeout: Duration) {
    activity.drain();
    handle.pause().await;
    let deadline = Instant::now() + timeout;
    let mut quiet_since = Instant::now();
    while quiet_since.elapsed() < QUIET && Instant::now() < deadline {
        if activity.in_flight() > 0 {
            quiet_since = Instant::now();
        }
        // Polling for a quarter of a second at the end of a process's life is simpler than a wake-up per request.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
