//! The requests of homeservers: paths, methods, bodies, fields.
//!
//! Invariant: a rejected request reaches no device.

mod bodies;
mod routes;
mod shapes;
mod tolerance;
mod wire;
