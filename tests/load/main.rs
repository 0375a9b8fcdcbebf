//! The load run: what a unit of work costs a server that runs.
//!
//! Invariant: the driver shares the machine with the server, so only figures of one run can be compared.

mod connection;
mod cpu;
mod engine;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use connection::Connection;
use engine::{Figures, Load, run_requests};

const USAGE: &str = "\
usage: load ADDRESS PID CONNECTIONS SECONDS [TOKEN] METHOD PATH [BODY]

Sends one request again and again to the server at ADDRESS (127.0.0.1:8090), whose process is PID, and prints a row:
requests/s, p50, p99, and the CPU microseconds that the server spent on one request. TOKEN is given as bearer:TOKEN.
";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let Some((load, request)) = read(&arguments) else {
        // Nothing to do about a closed terminal.
        drop(std::io::stderr().write_all(USAGE.as_bytes()));
        return ExitCode::from(2);
    };
    let name = request.name();
    if let Err(refusal) = try_once(&load, &request.bytes()) {
        drop(writeln!(std::io::stderr(), "{name}: {refusal}"));
        return ExitCode::FAILURE;
    }
    let figures = run_requests(&load, &Arc::new(vec![request.bytes()]));
    let table = format!("{}\n{}\n", Figures::HEAD, figures.row(&name));
    match std::io::stdout().write_all(table.as_bytes()) {
        Ok(()) if figures.done > 0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Sends the request once: a load of refusals would say nothing, and this shows why they come.
fn try_once(load: &Load, request: &[u8]) -> Result<(), String> {
    match Connection::new(load.address).exchange(request) {
        Ok(reply) if reply.status == 200 => Ok(()),
        Ok(reply) => Err(format!("{} {}", reply.status, String::from_utf8_lossy(reply.body))),
        Err(error) => Err(error.to_string()),
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Request<'a> {
    token: Option<&'a str>,
    method: &'a str,
    path: &'a str,
    body: &'a str,
}

impl Request<'_> {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn bytes(&self) -> Vec<u8> {
        connection::request(self.method, self.path, self.token, self.body)
    }
}

fn read<'a>(arguments: &[&'a str]) -> Option<(Load, Request<'a>)> {
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
        assert_eq!((request.token, request.body, request.name().as_str()), (Some("t"), "{}", "POST /x"));
        assert!(read(&["127.0.0.1:1", "7", "0", "5", "GET", "/x"]).is_none());
        assert!(read(&["127.0.0.1:1", "7", "2", "5", "GET"]).is_none());
    }
}
