//! The connections to the receiver of one app.

use shared::clock::Clock;
use url::Url;

use crate::providers::transport::{Route, Service, Transport, TransportError};

/// The receiver in the log.
const SERVICE: Service = Service { name: "the receiver", advice: "url, [outbound] proxy" };

/// Connections to `url` for `concurrent` messages at the same time.
///
/// # Errors
/// [`TransportError`] if the URL is unusable.
pub(super) fn connect(
    route: &Route,
    url: &Url,
    app: &str,
    concurrent: usize,
    clock: Clock,
) -> Result<Transport, TransportError> {
    route.to(url, SERVICE, app, concurrent, clock)
}
