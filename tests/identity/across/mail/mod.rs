//! Outgoing mail: good and bad relays, the queue, the file transport, and protection against injection.
//!
//! Invariant: an untrusted relay receives neither a mail nor a login.

mod files;
mod injection;
mod languages;
mod queue;
mod refusals;
mod transport;

use serde_json::{Value, json};

use harness::world::identity::World;

const BOB: &str = "bob@example.com";

/// The body of a first request for a token.
fn request(client_secret: &str, email: &str) -> Value {
    json!({ "client_secret": client_secret, "email": email, "send_attempt": 1 })
}

/// Whether the relay received a command with this start.
fn heard(world: &World, start: &str) -> bool {
    world.mail.commands().iter().any(|command| command.to_ascii_uppercase().starts_with(start))
}
