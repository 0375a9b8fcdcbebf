//! The `identity` binary.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    identity::run().await
}
