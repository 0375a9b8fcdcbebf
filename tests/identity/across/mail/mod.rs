//! Outgoing mail: good and bad relays, the queue, the file transport, and protection against injection.
//!
//! Invariant: a relay that was not to be trusted has not seen a word of a mail, nor of a login.

mod files;
mod injection;
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

/// Whether the relay has heard a command that starts like this.
fn heard(world: &World, start: &str) -> bool {
    world.mail.commands().iter().any(|command| command.to_ascii_uppercase().starts_with(start))
}
