//! This program, started again as one of the bare programs, which do only the unavoidable work of a service.
//!
//! Invariant: each is its own process, so that its cost is measured like that of the service.

use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use actix_web::web::ServiceConfig;
use actix_web::{App, HttpServer};

/// A running bare program; killed when it is dropped.
pub(crate) struct Bare(Child);

impl Bare {
    /// Starts the one with these arguments.
    ///
    /// # Errors
    /// If it does not start.
    pub(crate) fn start(arguments: &[&str]) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map(Self)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Its address, once it serves.
    ///
    /// # Errors
    /// If it does not serve.
    pub(crate) fn address(&mut self) -> io::Result<SocketAddr> {
        self.line()?.parse().map_err(io::Error::other)
    }

    /// Its first line.
    ///
    /// # Errors
    /// If it prints none.
    pub(crate) fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        BufReader::new(self.0.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?).read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // An error means that it has exited already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Serves the handlers of `configure`, and prints the address.
///
/// # Errors
/// If it cannot listen.
pub(crate) fn serve(configure: impl Fn(&mut ServiceConfig) + Clone + Send + 'static) -> io::Result<bool> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let server = HttpServer::new(move || App::new().configure(configure.clone())).bind("127.0.0.1:0")?;
        writeln!(io::stdout(), "{}", server.addrs()[0])?;
        server.run().await.map(|()| true)
    })
}
