//! The load run: the cost of units of work on each server, and their limits.
//!
//! Invariant: driver, fakes and server share the machine, so only figures of one run can be compared.

mod bare;
mod connection;
mod engine;
mod identity;
mod options;
mod process;
mod push;
mod single;
mod table;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use options::{Options, Service, USAGE};

/// The duration of the warm-up of each row.
const WARM_UP: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        // The alias has given cargo its "--" already; `cargo load -- --postgres` brings a second one here.
        ["--", rest @ ..] | rest => match rest {
            ["--help" | "-h", ..] => io::stdout().write_all(USAGE.as_bytes()).map(|()| true),
            ["request", rest @ ..] => match single::read(rest) {
                Some((load, request)) => single::run(&load, &request),
                None => refuse(),
            },
            [push::BARE_CLIENT, rest @ ..] => push::bare_client(rest),
            [push::BARE_CRYPTOGRAPHY, rest @ ..] => push::bare_cryptography(rest),
            [push::BARE_HANDLER] => push::bare_handler(),
            [identity::BARE_LOOKUP, rest @ ..] => identity::bare_lookup(rest),
            _ => match Options::read(rest) {
                Some(options) => whole(&options),
                None => refuse(),
            },
        },
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // A closed terminal needs no action.
            drop(writeln!(io::stderr(), "load: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn refuse() -> io::Result<bool> {
    io::stderr().write_all(USAGE.as_bytes()).map(|()| false)
}

/// The whole run; false if any unit of work failed, or none has the requested name.
fn whole(options: &Options) -> io::Result<bool> {
    let (mut rows, mut good) = (0, true);
    for (service, run) in [
        (Service::Identity, identity::run as fn(&Options) -> io::Result<table::Tally>),
        (Service::PushGateway, push::run),
    ] {
        if options.service.is_none_or(|wanted| wanted == service) {
            let tally = run(options)?;
            rows += tally.rows;
            good &= tally.good;
        }
    }
    Ok(good && rows > 0)
}
