//! What homeservers may ask, and how: paths, methods, bodies, fields.
//!
//! Invariant: a request that is refused has reached no device.

mod bodies;
mod routes;
mod shapes;
mod tolerance;
mod wire;
