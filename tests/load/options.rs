//! The command line of the load run.
//!
//! Invariant: without options it is the whole run, so that its figures can be compared.

use std::time::Duration;

/// The text for `--help` and for invalid options.
pub(crate) const USAGE: &str = "\
usage: cargo load [OPTION…]
       cargo load request ADDRESS PID CONNECTIONS SECONDS [bearer:TOKEN] METHOD PATH [BODY]

Builds the servers for release, starts each in a faked world, and prints what units of work cost it: the identity
server with a homeserver, a mail server and many associations; the push gateway between homeservers and push services,
beside the same work done by programs that do nothing else.

  --service NAME        identity or push-gateway alone [both]
  --postgres            the identity server on a throw-away PostgreSQL instead of SQLite
  --associations N      how many it holds [100000]
  --index WHERE         where it answers lookups from: auto, memory or database [auto]
  --connections A,B,…   how many homeservers or clients work at the same time [1,16,64]
  --seconds N           how long each row takes [5]
  --runs N              how often each row is measured; the median is shown, with the ends [1]
  --only TEXT           only units with this in their name
  --help                this text

The second form loads a server that runs already with one request, again and again; PID is its process.
";

/// A server under load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Identity,
    PushGateway,
}

/// The options of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// `None` for both.
    pub(crate) service: Option<Service>,
    pub(crate) postgres: bool,
    pub(crate) associations: usize,
    /// `[lookup] index`.
    pub(crate) index: String,
    pub(crate) connections: Vec<usize>,
    pub(crate) duration: Duration,
    pub(crate) runs: usize,
    pub(crate) only: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            service: None,
            postgres: false,
            associations: 100_000,
            index: "auto".to_owned(),
            connections: vec![1, 16, 64],
            duration: Duration::from_secs(5),
            runs: 1,
            only: String::new(),
        }
    }
}

impl Options {
    /// Parses the arguments after the program's name; `None` if they do not match [`USAGE`].
    pub(crate) fn read(arguments: &[&str]) -> Option<Self> {
        let mut options = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match *argument {
                "--service" => {
                    options.service = Some(match *arguments.next()? {
                        "identity" => Service::Identity,
                        "push-gateway" => Service::PushGateway,
                        _ => return None,
                    });
                }
                "--postgres" => options.postgres = true,
                "--associations" => options.associations = arguments.next()?.parse().ok()?,
                "--index" => options.index = (*arguments.next()?).to_owned(),
                "--connections" => {
                    let numbers = arguments.next()?.split(',').map(|number| number.parse().ok().filter(|n| *n > 0));
                    options.connections = numbers.collect::<Option<_>>()?;
                }
                "--seconds" => options.duration = Duration::from_secs(positive(arguments.next()?)?),
                "--runs" => options.runs = usize::try_from(positive(arguments.next()?)?).ok()?,
                "--only" => options.only = (*arguments.next()?).to_owned(),
                _ => return None,
            }
        }
        Some(options)
    }
}

fn positive(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::{Options, Service};
    use std::time::Duration;

    #[test]
    fn options_come_in_any_order_and_nothing_else_is_taken() {
        assert_eq!(Options::read(&[]), Some(Options::default()));
        let line = "--runs 3 --postgres --connections 2,8 --associations 10 --index database --seconds 1 --only lookup --service identity";
        let wanted = Options {
            service: Some(Service::Identity),
            postgres: true,
            associations: 10,
            index: "database".to_owned(),
            connections: vec![2, 8],
            duration: Duration::from_secs(1),
            runs: 3,
            only: "lookup".to_owned(),
        };
        assert_eq!(Options::read(&line.split(' ').collect::<Vec<_>>()), Some(wanted));
        for wrong in
            ["--run", "--service x", "--runs", "--runs 0", "--connections 1,0", "--connections ,", "--seconds x", "x"]
        {
            assert_eq!(Options::read(&wrong.split(' ').collect::<Vec<_>>()), None, "{wrong}");
        }
    }
}
