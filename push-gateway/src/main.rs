//! The binary: installs the allocator and the TLS provider, then runs the command line.

use std::io::{self, Write};
use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A delivery allocates some dozens of small pieces on one thread and frees them on another, which the system's
/// allocator makes a quarter of its price. It does not ask for huge pages (`no_thp`): in them the process takes twice
/// the memory, and a delivery costs as much.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    // Fails only if another provider is installed already, which is impossible before the first line of main.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match push_gateway::run().await {
        Ok(code) => code,
        Err(error) => {
            // A closed standard error leaves no place to report to.
            let _ = writeln!(io::stderr(), "push-gateway: {error}");
            ExitCode::FAILURE
        }
    }
}
