//! One request as a load, on a running server, to examine its cost.
//!
//! Invariant: only a request with the response 200 is used as a load.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use crate::connection::{Connection, request};
use crate::engine::{Load, run_requests};
use crate::table;

/// The request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    token: Option<&'a str>,
    method: &'a str,
    path: &'a str,
    body: &'a str,
}

impl Request<'_> {
    fn bytes(&self) -> Vec<u8> {
        request(self.method, self.path, self.token, self.body)
    }
}

/// Runs the load and prints the figures; false if any response was not 200.
///
/// # Errors
/// The response, if the first one is not 200.
pub(crate) fn run(load: &Load, request: &Request<'_>) -> io::Result<bool> {
    let bytes = request.bytes();
    let mut connection = Connection::new(load.address);
    let reply = connection.exchange(&bytes)?;
    if reply.status != 200 {
        return Err(io::Error::other(format!("{} {}", reply.status, String::from_utf8_lossy(reply.body))));
    }
    let figures = run_requests(load, &Arc::new(vec![bytes]));
    let good = figures.done > 0 && figures.failed == 0;
    let name = format!("{} {}", request.method, request.path);
    writeln!(io::stdout(), "{}\n{}", table::HEAD, table::row(&name, load.connections, None, vec![figures]))?;
    Ok(good)
}

/// `ADDRESS PID CONNECTIONS SECONDS [bearer:TOKEN] METHOD PATH [BODY]`
pub(crate) fn read<'a>(arguments: &[&'a str]) -> Option<(Load, Request<'a>)> {
    let [address, pid, connections, seconds, rest @ ..] = arguments else { return None };
    let load = Load {
        address: address.parse().ok()?,
        pid: pid.parse().ok()?,
        connections: connections.parse().ok().filter(|n| *n > 0)?,
        warm_up: Duration::from_secs(1),
        duration: Duration::from_secs(seconds.parse().ok()?),
    };
    let (token, rest) = match rest {
        [first, rest @ ..] if first.starts_with("bearer:") => (first.strip_prefix("bearer:"), rest),
        rest => (None, rest),
    };
    let (method, path, body) = match rest {
        [method, path] => (*method, *path, ""),
        [method, path, body] => (*method, *path, *body),
        _ => return None,
    };
    Some((load, Request { token, method, path, body }))
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn a_token_and_a_body_may_be_left_out() {
        let (load, request) = read(&["127.0.0.1:1", "7", "2", "5", "GET", "/x"]).unwrap();
        assert_eq!((load.pid, load.connections, load.duration.as_secs()), (7, 2, 5));
        assert_eq!(request.bytes(), b"GET /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        let (_, request) = read(&["127.0.0.1:1", "7", "2", "5", "bearer:t", "POST", "/x", "{}"]).unwrap();
        assert_eq!((request.token, request.method, request.body), (Some("t"), "POST", "{}"));
        assert!(read(&["127.0.0.1:1", "7", "0", "5", "GET", "/x"]).is_none());
        assert!(read(&["127.0.0.1:1", "7", "2", "5", "GET"]).is_none());
    }
}
