//! What both services need and neither owns. A module is admitted only if two of the identity server, the push
//! gateway and the tests use it.

pub mod clock;
pub mod config;
pub mod http;
pub mod outbound;
pub mod random;
pub mod rate_limit;
pub mod secret;
pub mod telemetry;
