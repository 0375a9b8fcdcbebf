//! What a client may use, and how long it waits.

use std::time::Duration;

use shared::outbound::backoff::Backoff;

use super::origin::Protocols;

/// The timeouts of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// For TCP, proxy, TLS and the HTTP/2 preface together.
    pub(crate) connect: Duration,
    /// From the wait for a free stream to the last byte of the response.
    pub(crate) attempt: Duration,
    /// How long all streams stay busy before another connection opens.
    pub(crate) grow_after: Duration,
    /// A connection without traffic for this long gets a ping.
    pub(crate) ping_after: Duration,
    pub(crate) ping_timeout: Duration,
    /// A connection without traffic for this long is closed.
    pub(crate) idle: Option<Duration>,
    /// The delay after consecutive failures to connect.
    pub(crate) backoff: Backoff,
}

/// What a client may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) protocols: Protocols,
    pub(crate) max_connections: usize,
    /// The same for a server that speaks HTTP/1.1, where a request that hangs takes a connection.
    pub(crate) max_http1_connections: usize,
    /// The most that is read of a body, in bytes.
    pub(crate) max_body: usize,
    pub(crate) timing: Timing,
}
