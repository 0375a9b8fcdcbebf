//! Modules that at least two of identity, push-gateway and tests import; shared/README.md lists them.

pub mod certificate_chain;
pub mod clock;
pub mod config;
pub mod doctor;
pub mod http;
pub mod outbound;
pub mod pem;
pub mod random;
pub mod rate_limit;
pub mod reload;
pub mod secret;
pub mod telemetry;
pub mod text_file;
